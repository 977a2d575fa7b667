//! What a crawl learnt, staged until it can be applied.
//!
//! Rows that changed are staged page by page. When the crawl is over it is sealed; from then on the staged rows
//! are applied in key order, and each batch deletes those that it applied, so that the table is its own position:
//! after a kill the rest is applied, nothing twice. The batch that finds nothing left settles the deliveries.

use std::time::Duration;

use super::findings::Inventory;
use super::records::{Scope, SealedCrawl};
use super::tables::{self, Key};
use super::{Batch, StoreError, View, agenda, catalogue, codec, deliveries, get, keys};
use crate::domain::delivery::Outcome;
use crate::domain::ids::{IssueKey, ScopeId};
use crate::domain::limits::{self, FINDINGS_PER_COMMIT_MAX};
use crate::domain::reconcile::{Staged, reconcile};
use crate::domain::schedule::{self, Task};
use crate::domain::time::Timestamp;

fn key(scope: ScopeId, key: &IssueKey) -> Key {
    Key::new().u32(scope.0).tail(key.as_str().as_bytes())
}

/// Stages rows; a key that is staged already is replaced. Says of each row whether its key was new.
pub fn stage(batch: &Batch, scope: ScopeId, rows: &[Staged]) -> Result<Vec<bool>, StoreError> {
    if !super::has(batch, tables::SCOPES, &Key::new().u32(scope.0))? {
        // Removed meanwhile: nobody would take the rows away again.
        return Ok(vec![false; rows.len()]);
    }
    let mut staging = batch.rows(tables::STAGING)?;
    rows.iter()
        .map(|row| {
            let key = key(scope, row.key());
            let former = staging.insert(key.0.as_slice(), codec::seal(&key.0, row).as_slice())?;
            Ok(former.is_none())
        })
        .collect()
}

/// Drops rows that a crawl without end left behind, as many as one batch may. Returns whether some are left.
pub fn clear(batch: &Batch, scope: ScopeId) -> Result<bool, StoreError> {
    let staged = keys(batch, tables::STAGING, &Key::new().u32(scope.0), limits::DELETIONS_PER_COMMIT_MAX)?;
    for key in &staged {
        batch.delete(tables::STAGING, &Key::new().tail(key))?;
    }
    Ok(staged.len() == limits::DELETIONS_PER_COMMIT_MAX)
}

/// Whether a scope has staged rows.
pub fn has_staged(view: &impl View, scope: ScopeId) -> Result<bool, StoreError> {
    Ok(!keys(view, tables::STAGING, &Key::new().u32(scope.0), 1)?.is_empty())
}

/// A sealed crawl that waits to be applied.
pub fn sealed(view: &impl View, scope: ScopeId) -> Result<Option<SealedCrawl>, StoreError> {
    get(view, tables::CRAWLS, &Key::new().u32(scope.0))
}

/// Seals a crawl: all its rows are staged, and applying them may begin.
pub fn seal(batch: &Batch, scope: ScopeId, crawl: &SealedCrawl) -> Result<(), StoreError> {
    if !super::has(batch, tables::SCOPES, &Key::new().u32(scope.0))? {
        return Ok(());
    }
    batch.put(tables::CRAWLS, &Key::new().u32(scope.0), crawl)
}

/// Gives a sealed crawl up, as a staged row of it is damaged: the scope is to be crawled anew.
pub fn abandon(batch: &Batch, scope: ScopeId) -> Result<(), StoreError> {
    batch.delete(tables::CRAWLS, &Key::new().u32(scope.0))
}

/// How far applying has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Rows are left for another batch.
    Some,
    /// All is applied and the deliveries are settled.
    All,
    /// The scope is gone; there is nothing to apply to.
    Gone,
}

/// Applies staged rows of a sealed crawl, as many as one batch may, each finding with its change.
pub fn apply(batch: &Batch, id: ScopeId, now: Timestamp) -> Result<Applied, StoreError> {
    let Some(crawl) = sealed(batch, id)? else { return Ok(Applied::Gone) };
    let Some(mut scope) = catalogue::scope(batch, id)? else { return Ok(Applied::Gone) };
    let Some(project) = catalogue::project(batch, scope.project)? else { return Ok(Applied::Gone) };
    let mut left = FINDINGS_PER_COMMIT_MAX;
    let mut inventory = Inventory::open(batch, id, &project.organization.source)?;
    // Small bites, so that a slow disk does not make a batch hold the writer for long; and at least one, so that
    // the slowest disk gets there in the end.
    loop {
        let bite = first_staged(batch, id, left.min(BITE))?;
        if bite.is_empty() {
            inventory.finish(batch)?;
            return settle(batch, id, scope, crawl, now);
        }
        left -= bite.len();
        apply_bite(batch, id, &mut inventory, &mut scope, bite, now)?;
        if left == 0 || batch.is_over() {
            break;
        }
    }
    inventory.finish(batch)?;
    catalogue::put_scope(batch, id, &scope)?;
    Ok(Applied::Some)
}

const BITE: usize = 100;

fn apply_bite(
    batch: &Batch,
    id: ScopeId,
    inventory: &mut Inventory,
    scope: &mut Scope,
    bite: Vec<Staged>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut stored = Vec::with_capacity(bite.len());
    for row in &bite {
        stored.extend(inventory.find(row.key())?);
    }
    {
        let mut staging = batch.rows(tables::STAGING)?;
        for row in &bite {
            staging.remove(key(id, row.key()).0.as_slice())?;
        }
    }
    for step in reconcile(stored.into_iter(), bite.into_iter()) {
        if inventory.apply(step, scope.slot_next, now)? {
            scope.slot_next += 1;
        }
    }
    Ok(())
}

fn first_staged(batch: &Batch, scope: ScopeId, most: usize) -> Result<Vec<Staged>, StoreError> {
    let mut found = Vec::with_capacity(most);
    super::scan::<Staged>(batch, tables::STAGING, &Key::new().u32(scope.0), |_, row| {
        found.push(row);
        found.len() < most
    })?;
    Ok(found)
}

/// The last batches of a crawl: its deliveries, some at a time; then the scope's new standing, and what follows on
/// the agenda.
fn settle(
    batch: &Batch,
    id: ScopeId,
    scope: Scope,
    mut crawl: SealedCrawl,
    now: Timestamp,
) -> Result<Applied, StoreError> {
    let complete = crawl.sonar_total.is_some();
    let follow = if crawl.again {
        Some(schedule::after_failure(crawl.due, now, Duration::ZERO))
    } else if crawl.suspicion.is_some() {
        Some(schedule::after_failure(crawl.due, now, limits::GUARD_WAIT))
    } else {
        let later = crawl.deliveries.split_off(crawl.deliveries.len().min(limits::DELETIONS_PER_COMMIT_MAX));
        for delivery in std::mem::replace(&mut crawl.deliveries, later) {
            deliveries::settle(batch, scope.project, delivery, Outcome::Synced, now)?;
        }
        if !crawl.deliveries.is_empty() {
            catalogue::put_scope(batch, id, &scope)?;
            seal(batch, id, &crawl)?;
            return Ok(Applied::Some);
        }
        schedule::after_success(crawl.due, now)
    };
    agenda::follow(batch, Task::Sync(id), crawl.due, follow)?;
    let standing = Scope {
        analysed_at: crawl.analysed_at.or(scope.analysed_at),
        gate: crawl.gate.or_else(|| scope.gate.clone()),
        synced_at: if complete { Some(crawl.began_at) } else { scope.synced_at },
        complete,
        sonar_total: crawl.sonar_total.or(scope.sonar_total),
        error: crawl.problem,
        suspicion: crawl.suspicion,
        odd_words: crawl.odd_words,
        ..scope
    };
    catalogue::put_scope(batch, id, &standing)?;
    batch.delete(tables::CRAWLS, &Key::new().u32(id.0))?;
    Ok(Applied::All)
}
