//! What has had its time, and deleting it: a little at a time, so that nobody waits long for the writer. Nothing here
//! asks what time it is; whoever calls has to know that the clock can be trusted.

use std::time::Duration;

use super::{Batch, Reader, StoreError, View, catalogue, changes, deliveries, findings, hooks, settings, trend};
use crate::domain::settings::{KEEP_CHANGES, KEEP_CLOSED, KEEP_DELIVERIES, KEEP_RETIRED};
use crate::domain::time::Timestamp;

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Webhook calls.
    pub deliveries: Duration,
    /// Closed findings, and branches that Sonar does not list any more.
    pub closed: Duration,
    /// Pull requests that Sonar does not list any more.
    pub retired: Duration,
    /// The log of changes, in bytes.
    pub changes_bytes: u64,
}

impl Keep {
    /// What the settings say.
    pub fn read(view: &impl View) -> Result<Self, StoreError> {
        let days = |key| Ok::<_, StoreError>(Duration::from_hours(24 * settings::number_of(view, key)?));
        Ok(Self {
            deliveries: days(KEEP_DELIVERIES)?,
            closed: days(KEEP_CLOSED)?,
            retired: days(KEEP_RETIRED)?,
            changes_bytes: settings::number_of(view, KEEP_CHANGES)? * 1024 * 1024,
        })
    }
}

/// Things that are deleted by a rule of their own. What goes wrong with one must not keep the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lot {
    /// Webhook calls, by age and size.
    Deliveries,
    /// Closed findings, by age.
    Closed,
    /// Branches and pull requests that Sonar does not list any more, by age.
    Retired,
    /// The log of changes, by size.
    Changes,
    /// Days of the trend, by age.
    Trend,
    /// Former secrets of webhooks, at the end of their overlap.
    Secrets,
}

impl Lot {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Deliveries, Self::Closed, Self::Retired, Self::Changes, Self::Trend, Self::Secrets];

    /// Whether it is the box's own, also where another one of its site holds the inventory.
    pub fn is_own(self) -> bool {
        matches!(self, Self::Deliveries)
    }

    /// Whether there is anything to delete. Costs a look at the oldest entry, and at the scopes' records.
    pub fn is_due(self, view: &impl View, keep: &Keep, now: Timestamp) -> Result<bool, StoreError> {
        match self {
            Self::Deliveries => deliveries::is_overfull(view, now.minus(keep.deliveries)),
            Self::Closed => findings::has_closed_before(view, now.minus(keep.closed)),
            Self::Retired => Ok(retired(view, keep, now)?.is_some()),
            Self::Changes => changes::is_overfull(view, keep.changes_bytes),
            Self::Trend => trend::is_overfull(view, now),
            Self::Secrets => hooks::any_ended(view, now),
        }
    }

    /// Deletes the oldest, as many as one batch may. Returns how many entries are gone.
    pub fn prune(self, batch: &Batch, keep: &Keep, now: Timestamp) -> Result<usize, StoreError> {
        match self {
            Self::Deliveries => deliveries::prune(batch, now.minus(keep.deliveries)),
            Self::Closed => findings::prune_closed(batch, now.minus(keep.closed)),
            // Looked for again: it may have come back since.
            Self::Retired => match retired(batch, keep, now)? {
                Some(scope) => catalogue::drop_scope(batch, scope, now).map(|()| 1),
                None => Ok(0),
            },
            Self::Changes => changes::prune(batch, keep.changes_bytes),
            Self::Trend => trend::prune(batch, now),
            Self::Secrets => hooks::prune_ended(batch, now),
        }
    }
}

/// The newest time that was noted: now is later, unless the clock is wrong, or was.
pub fn newest_time(view: &Reader) -> Result<Option<Timestamp>, StoreError> {
    let delivery = deliveries::list(view, None, 1)?.first().map(|(_, delivery, _)| delivery.received_at);
    let synced = catalogue::last_synced(view)?;
    Ok([delivery, synced, changes::newest_at(view)?].into_iter().flatten().max())
}

fn retired(view: &impl View, keep: &Keep, now: Timestamp) -> Result<Option<crate::domain::ids::ScopeId>, StoreError> {
    catalogue::retired(view, now.minus(keep.retired), now.minus(keep.closed))
}
