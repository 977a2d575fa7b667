//! Deletes what has had its time: findings of removed projects at once; old deliveries, closed findings, branches that
//! Sonar does not list any more and old changes when the settings say so. A little at a time, and nothing is
//! written where there is nothing to delete. Looks at the clock first: while it may be wrong, age counts for nothing.

use std::time::Duration;

use super::Work;
use crate::domain::limits::{COMPACT_FIRST_LOOK, COMPACT_LOOK_INTERVAL, NIGHTLY_FIRST, NIGHTLY_INTERVAL};
use crate::domain::time::Timestamp;
use crate::store::keychange::KeyChangeError;
use crate::store::retention::{Keep, Lot};
use crate::store::{Size, StoreError, catalogue, findings};

/// Runs until the daemon stops.
pub(super) fn run(work: &Work) {
    let mut upkeep =
        Upkeep { told: false, compact_look_at: COMPACT_FIRST_LOOK, copy_at: NIGHTLY_FIRST, key_trouble: None };
    while !work.is_stopping() {
        let heard = work.tidy.rings();
        if work.standby.works()
            && let Err(error) = work.standing.flush_if_due(&work.store)
        {
            tracing::warn!("what routine reads proved could not be written down: {error}");
        }
        upkeep.change_key(work);
        upkeep.copy(work);
        match upkeep.tend(work).and_then(|left| if left { Ok(true) } else { upkeep.compact(work) }) {
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
    /// When to look again whether the file is to be compacted, by the steady count.
    compact_look_at: Duration,
    /// When to copy what cannot be read again, by the steady count.
    copy_at: Duration,
    /// Why a change of the sealing key did not go on, as it was logged.
    key_trouble: Option<String>,
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
        let works = work.standby.works();
        let discarded = if works { discard(work) } else { Ok(false) };
        let keep = work.store.read(Keep::read)?;
        // A copy is what the other box makes of it.
        let pruned = Lot::ALL.map(|lot| if works || lot.is_own() { prune(work, lot, keep, now) } else { Ok(false) });
        let mut left = discarded?;
        for pruned in pruned {
            left |= pruned?;
        }
        Ok(left)
    }

    /// Goes on with a change of the sealing key that was cut short.
    fn change_key(&mut self, work: &Work) {
        let changed = loop {
            match work.store.is_changing_key().map_err(Into::into) {
                Ok(false) => break Ok(()),
                Ok(true) if work.is_stopping() => return,
                Ok(true) => {}
                Err(error) => break Err(error),
            }
            if let Err(error) = work.store.continue_key_change(work.clock.now()) {
                break Err(error);
            }
        };
        let trouble = changed.map_err(|error: KeyChangeError| error.to_string()).err();
        if let Some(trouble) = trouble.as_ref().filter(|trouble| self.key_trouble.as_ref() != Some(*trouble)) {
            tracing::warn!("the change of the sealing key is not done yet: {trouble}");
        }
        self.key_trouble = trouble;
    }

    /// Copies what cannot be read again, once a day. The former copy stays where that fails.
    fn copy(&mut self, work: &Work) {
        let steady = work.clock.steady();
        if steady < self.copy_at || work.store.is_full() || work.store.folder().as_os_str().is_empty() {
            return;
        }
        self.copy_at = steady + NIGHTLY_INTERVAL;
        if let Err(error) = work.store.copy_nightly(work.clock.now()) {
            tracing::warn!("the configuration could not be copied beside the database: {error}");
            self.copy_at = steady + NIGHTLY_FIRST;
        }
    }

    /// Makes a small file smaller that is mostly free, when there is nothing else to do.
    fn compact(&mut self, work: &Work) -> Result<bool, StoreError> {
        let steady = work.clock.steady();
        if steady < self.compact_look_at
            || !work.store.file_bytes().is_some_and(Size::may_be_compacted)
            || !work.is_idle()?
        {
            return Ok(false);
        }
        self.compact_look_at = steady + COMPACT_LOOK_INTERVAL;
        let before = work.store.size()?;
        if before.is_wasteful() && !work.store.is_full() {
            work.store.compact()?;
            tracing::info!(
                "the database had {} MiB of {} in use and was compacted",
                before.live >> 20,
                before.file >> 20
            );
        }
        Ok(false)
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
