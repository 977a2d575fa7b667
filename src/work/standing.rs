//! What routine reads proved, in memory only: most of them find nothing new, and a box that writes an hour's reads down
//! wears its card out. Written to the scopes' records every few hours and at a clean stop; a kill loses nothing that the
//! first read after it would not find again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::ids::ScopeId;
use crate::domain::limits;
use crate::domain::time::Timestamp;
use crate::store::records::Scope;
use crate::store::{Store, StoreError, catalogue};
use crate::sys::clock::Clock;

/// What is known of a scope beyond its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// When the last complete read began.
    pub synced_at: Timestamp,
    /// When the last complete read of the whole scope began, if that was later than the record says.
    pub crawled_at: Option<Timestamp>,
}

/// See the module.
#[derive(Debug)]
pub struct Standings {
    clock: Clock,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    unwritten: BTreeMap<ScopeId, Standing>,
    proved: BTreeMap<ScopeId, Duration>,
    flushed_at: Duration,
}

impl Standings {
    pub(super) fn new(clock: Clock) -> Self {
        let inner = Inner { flushed_at: clock.steady(), ..Inner::default() };
        Self { clock, inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a complete read that changed nothing.
    pub fn note(&self, scope: ScopeId, synced_at: Timestamp, crawled_at: Option<Timestamp>) {
        let now = self.clock.steady();
        let mut inner = self.inner();
        let former = inner.unwritten.get(&scope).and_then(|former| former.crawled_at);
        inner.unwritten.insert(scope, Standing { synced_at, crawled_at: crawled_at.or(former) });
        inner.proved.insert(scope, now);
    }

    /// Notes that a scope was just proven current and that its record says so.
    pub(super) fn prove(&self, scope: ScopeId) {
        let now = self.clock.steady();
        self.inner().proved.insert(scope, now);
    }

    /// What is known of a scope beyond its record, if anything.
    pub fn of(&self, scope: ScopeId) -> Option<Standing> {
        self.inner().unwritten.get(&scope).copied()
    }

    /// When a scope was last proven current: by its record, or by what was read since.
    pub fn synced_at(&self, id: ScopeId, scope: &Scope) -> Option<Timestamp> {
        scope.synced_at.max(self.of(id).map(|standing| standing.synced_at))
    }

    /// How long ago a scope was proven current. What this run of the daemon saw is counted by the clock that nobody
    /// sets; what it only has from the record, or from `since` if it was never read, by the time of day.
    pub fn age(&self, id: ScopeId, scope: &Scope, since: Timestamp) -> Duration {
        let proved = self.inner().proved.get(&id).copied();
        if let Some(proved) = proved {
            return self.clock.steady().saturating_sub(proved);
        }
        let now = self.clock.now();
        // A time that lies ahead was noted by a clock that was wrong, and says nothing.
        now.since(self.synced_at(id, scope).filter(|at| *at <= now).unwrap_or(since))
    }

    /// Forgets scopes that are gone.
    pub(super) fn keep(&self, is_there: impl Fn(ScopeId) -> bool) {
        let mut inner = self.inner();
        inner.unwritten.retain(|id, _| is_there(*id));
        inner.proved.retain(|id, _| is_there(*id));
    }

    /// Writes everything down if it is time.
    pub(super) fn flush_if_due(&self, store: &Store) -> Result<(), StoreError> {
        let now = self.clock.steady();
        if now.saturating_sub(self.inner().flushed_at) < limits::STANDING_FLUSH {
            return Ok(());
        }
        self.inner().flushed_at = now;
        self.flush(store)
    }

    /// Writes everything down.
    pub fn flush(&self, store: &Store) -> Result<(), StoreError> {
        let all: Vec<(ScopeId, Standing)> = self.inner().unwritten.iter().map(|(id, known)| (*id, *known)).collect();
        for some in all.chunks(limits::FINDINGS_PER_COMMIT_MIN) {
            let written = some.to_vec();
            store.write::<_, StoreError>(move |batch| {
                for (id, known) in written {
                    let Some(scope) = catalogue::scope(batch, id)? else { continue };
                    let (synced_at, crawled_at) =
                        (scope.synced_at.max(Some(known.synced_at)), scope.crawled_at.max(known.crawled_at));
                    if (synced_at, crawled_at) != (scope.synced_at, scope.crawled_at) {
                        catalogue::put_scope(batch, id, &Scope { synced_at, crawled_at, ..scope })?;
                    }
                }
                Ok(())
            })?;
            let mut inner = self.inner();
            for (id, known) in some {
                // Another read may have ended meanwhile.
                if inner.unwritten.get(id) == Some(known) {
                    inner.unwritten.remove(id);
                }
            }
        }
        Ok(())
    }
}
