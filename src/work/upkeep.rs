//! Deletes what has had its time: findings of removed projects, and old deliveries. A little at a time, and
//! nothing is written where there is nothing to delete.

use super::Work;
use crate::domain::limits;
use crate::store::{StoreError, catalogue, deliveries, findings};

/// Runs until the daemon stops.
pub(super) fn run(work: &Work) {
    while !work.is_stopping() {
        let heard = work.tidy.rings();
        if let Err(error) = work.standing.flush_if_due(&work.store) {
            tracing::warn!("what routine reads proved could not be written down: {error}");
        }
        // One of the two failing must not keep the other from its work.
        let (discarded, pruned) = (discard(work), prune(work));
        let left = discarded.and_then(|left| Ok(pruned? || left));
        match left {
            Ok(true) => {}
            Ok(false) => work.tidy.wait(heard, super::IDLE_MAX),
            Err(error) => {
                tracing::warn!("the upkeep could not delete: {error}");
                work.tidy.wait(work.tidy.rings(), super::RETRY);
            }
        }
    }
}

/// Deletes some findings of a scope that was removed; true if more are left.
fn discard(work: &Work) -> Result<bool, StoreError> {
    let Some(scope) = work.store.read(catalogue::discarded)? else { return Ok(false) };
    work.store.delete(move |batch| findings::discard(batch, scope))?;
    Ok(true)
}

/// Deletes some deliveries that are too old, or too many; true if more are left.
fn prune(work: &Work) -> Result<bool, StoreError> {
    let before = work.clock.now().minus(limits::DELIVERY_AGE_MAX);
    if !work.store.read(|view| deliveries::is_overfull(view, before))? {
        return Ok(false);
    }
    Ok(work.store.delete(move |batch| deliveries::prune(batch, before))? > 0)
}
