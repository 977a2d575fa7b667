//! What is to be read, and when: the queue of the workers. It survives everything that the store survives.

use redb::ReadableTable;

use super::tables::{self, Key};
use super::{Batch, StoreError, View, codec, get};
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
    for row in view.rows(tables::AGENDA)?.iter()? {
        let (key, value) = row?;
        let number = tables::u32_at(key.value(), 1).unwrap_or_default();
        let task = match key.value().first() {
            Some(0) => Task::Discover(ProjectId(number)),
            Some(1) => Task::Sync(ScopeId(number)),
            _ => continue,
        };
        found.push((task, codec::open(key.value(), value.value()).unwrap_or(DAMAGED)));
    }
    Ok(found)
}

/// What an entry whose value is damaged counts as: its key still says what is to be done, so it is done at once.
const DAMAGED: Due = Due { at: Timestamp(0), reason: Reason::Webhook, attempts: 0, ticket: 0 };

/// A task's entry.
pub fn of(view: &impl View, task: Task) -> Result<Option<Due>, StoreError> {
    match get(view, tables::AGENDA, &key(task)) {
        Err(StoreError::Damaged { .. }) => Ok(Some(DAMAGED)),
        found => found,
    }
}

/// Puts a task on the agenda, at once.
pub fn ask(batch: &Batch, task: Task, reason: Reason, now: Timestamp, ticket: u64) -> Result<(), StoreError> {
    put(batch, task, &schedule::asked(of(batch, task)?, reason, now, ticket))
}

pub(super) fn put(batch: &Batch, task: Task, due: &Due) -> Result<(), StoreError> {
    batch.put(tables::AGENDA, &key(task), due)
}

/// Replaces the entry that a worker has worked off by what follows from it, unless somebody asked again meanwhile.
pub fn follow(batch: &Batch, task: Task, done: Due, then: Option<Due>) -> Result<(), StoreError> {
    if of(batch, task)? != Some(done) {
        return Ok(());
    }
    match then {
        Some(then) => put(batch, task, &then),
        None => forget(batch, task),
    }
}

/// Takes everything off the agenda, as another box does it.
pub(super) fn clear(batch: &Batch) -> Result<(), StoreError> {
    for key in super::keys(batch, tables::AGENDA, &Key::new(), usize::MAX)? {
        batch.delete(tables::AGENDA, &Key::new().tail(&key))?;
    }
    Ok(())
}

/// Takes a task off the agenda, as its scope or project is gone.
pub(super) fn forget(batch: &Batch, task: Task) -> Result<(), StoreError> {
    batch.delete(tables::AGENDA, &key(task))
}
