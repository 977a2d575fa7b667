//! What is to be read, and when: the queue of the workers. It survives everything that the store survives.

use super::tables::{self, Key};
use super::{Batch, StoreError, View, get, scan};
use crate::domain::ids::{ProjectId, ScopeId};
use crate::domain::schedule::{self, Due, Reason, Task};
use crate::domain::time::Timestamp;

fn key(task: Task) -> Key {
    match task {
        Task::Discover(project) => Key::new().byte(0).u32(project.0),
        Task::Sync(scope) => Key::new().byte(1).u32(scope.0),
    }
}

/// The whole agenda. It holds what waits for something, not every scope, so it is short at rest.
pub fn all(view: &impl View) -> Result<Vec<(Task, Due)>, StoreError> {
    let mut found = Vec::new();
    scan::<Due>(view, tables::AGENDA, &Key::new(), |key, due| {
        let number = tables::u32_at(key, 1).unwrap_or_default();
        match key.first() {
            Some(0) => found.push((Task::Discover(ProjectId(number)), due)),
            Some(1) => found.push((Task::Sync(ScopeId(number)), due)),
            _ => {}
        }
        true
    })?;
    Ok(found)
}

/// Puts a task on the agenda, at once.
pub fn ask(batch: &Batch, task: Task, reason: Reason, now: Timestamp, ticket: u64) -> Result<(), StoreError> {
    let key = key(task);
    let former = match get(batch, tables::AGENDA, &key) {
        // A damaged entry is replaced by the new one.
        Err(StoreError::Damaged { .. }) => None,
        found => found?,
    };
    batch.put(tables::AGENDA, &key, &schedule::asked(former, reason, now, ticket))
}

/// Replaces the entry that a worker has worked off by what follows from it, unless somebody asked again meanwhile.
pub fn follow(batch: &Batch, task: Task, done: Due, then: Option<Due>) -> Result<(), StoreError> {
    let key = key(task);
    if get::<Due>(batch, tables::AGENDA, &key)? != Some(done) {
        return Ok(());
    }
    match then {
        Some(then) => batch.put(tables::AGENDA, &key, &then),
        None => batch.delete(tables::AGENDA, &key),
    }
}

/// Takes a task off the agenda, as its scope or project is gone.
pub(super) fn forget(batch: &Batch, task: Task) -> Result<(), StoreError> {
    batch.delete(tables::AGENDA, &key(task))
}
