//! Deletes what has had its time: findings of removed projects at once; old deliveries, closed findings, branches that
//! Sonar does not list any more and old changes when the settings say so. A little at a time, and nothing is
//! written where there is nothing to delete. Looks at the clock first: while it may be wrong, age counts for nothing.

use super::Work;
use crate::domain::time::Timestamp;
use crate::store::retention::{Keep, Lot};
use crate::store::{StoreError, catalogue, findings};

/// Runs until the daemon stops.
pub(super) fn run(work: &Work) {
    let mut upkeep = Upkeep { told: false };
    while !work.is_stopping() {
        let heard = work.tidy.rings();
        match upkeep.tend(work) {
            Ok(true) => {}
            Ok(false) => work.tidy.wait(heard, super::IDLE_MAX),
            Err(error) => {
                tracing::warn!("the upkeep could not do its work: {error}");
                work.tidy.wait(work.tidy.rings(), super::RETRY);
            }
        }
    }
}

struct Upkeep {
    /// Whether it was logged that the clock is wrong.
    told: bool,
}

impl Upkeep {
    /// Deletes some of everything that has had its time; true if more is left. What goes wrong with one must not keep
    /// the others from being deleted.
    fn tend(&mut self, work: &Work) -> Result<bool, StoreError> {
        let (now, standing) = work.look_at_clock();
        let condition = standing.condition();
        if let Some(condition) = condition.as_ref().filter(|_| !self.told) {
            tracing::warn!("{}", condition.text);
        }
        self.told = condition.is_some();
        // What a clock says that may be wrong ends nothing; what is too large goes all the same.
        let now = if standing.is_trusted() { now } else { NO_TIME };
        let discarded = discard(work);
        let keep = work.store.read(Keep::read)?;
        let pruned = Lot::ALL.map(|lot| prune(work, lot, keep, now));
        let mut left = discarded?;
        for pruned in pruned {
            left |= pruned?;
        }
        Ok(left)
    }
}

/// Before everything: nothing is older.
const NO_TIME: Timestamp = Timestamp(i64::MIN);

/// Deletes some findings of a scope that was removed; true if more are left.
fn discard(work: &Work) -> Result<bool, StoreError> {
    let Some(scope) = work.store.read(catalogue::discarded)? else { return Ok(false) };
    work.store.delete(move |batch| findings::discard(batch, scope))?;
    Ok(true)
}

/// Deletes some of a lot; true if more may be left.
fn prune(work: &Work, lot: Lot, keep: Keep, now: Timestamp) -> Result<bool, StoreError> {
    if !work.store.read(|view| lot.is_due(view, &keep, now))? {
        return Ok(false);
    }
    Ok(work.store.delete(move |batch| lot.prune(batch, &keep, now))? > 0)
}
