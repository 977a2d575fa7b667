//! What a crawl learnt, staged until it can be applied.
//!
//! Rows that changed are staged page by page. When the crawl is over it is sealed; from then on the staged rows
//! are applied in key order, and each batch deletes those that it applied, so that the table is its own position:
//! after a kill the rest is applied, nothing twice. The batch that finds nothing left settles the deliveries.

use std::time::Duration;

use redb::ReadableTable;

use super::findings::Inventory;
use super::records::{Scope, SealedCrawl, Underway};
use super::tables::{self, Key};
use super::{Batch, StoreError, View, agenda, catalogue, codec, deliveries, get, keys, lists, trend};
use crate::domain::delivery::Outcome;
use crate::domain::finding::{Kind, Observed};
use crate::domain::ids::{IssueKey, ScopeId};
use crate::domain::limits;
use crate::domain::reconcile::{Staged, Step, reconcile};
use crate::domain::schedule::{self, Task};
use crate::domain::time::Timestamp;

fn key(scope: ScopeId, key: &IssueKey) -> Key {
    Key::new().u32(scope.0).tail(key.as_str().as_bytes())
}

/// Stages rows; a key that is staged already is replaced.
pub fn stage(batch: &Batch, scope: ScopeId, rows: &[Staged]) -> Result<(), StoreError> {
    if !super::has(batch, tables::SCOPES, &Key::new().u32(scope.0))? {
        // Removed meanwhile: nobody would take the rows away again.
        return Ok(());
    }
    let mut staging = batch.rows(tables::STAGING)?;
    for row in rows {
        let key = key(scope, row.key());
        staging.insert(key.0.as_slice(), codec::seal(&key.0, row).as_slice())?;
    }
    Ok(())
}

/// Takes staged rows back.
pub fn unstage(batch: &Batch, scope: ScopeId, keys: &[IssueKey]) -> Result<(), StoreError> {
    let mut staging = batch.rows(tables::STAGING)?;
    for issue in keys {
        staging.remove(key(scope, issue).0.as_slice())?;
    }
    Ok(())
}

/// Turns staged rows of new issues into the moves that they are: from each first key to each second one.
pub fn stage_moves(batch: &Batch, scope: ScopeId, pairs: &[(IssueKey, IssueKey)]) -> Result<(), StoreError> {
    for (from, to) in pairs {
        if let Some(Staged::Seen(observed)) = get::<Staged>(batch, tables::STAGING, &key(scope, to))? {
            stage(batch, scope, &[Staged::Moved(from.clone(), observed)])?;
        }
    }
    Ok(())
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
    // What is applied now, a read that was interrupted does not know.
    batch.delete(tables::READINGS, &Key::new().u32(scope.0))?;
    batch.put(tables::CRAWLS, &Key::new().u32(scope.0), crawl)
}

/// How far an interrupted crawl has come, if one was. A damaged note is as good as none.
pub fn underway(view: &impl View, scope: ScopeId) -> Result<Option<Underway>, StoreError> {
    match get(view, tables::READINGS, &Key::new().u32(scope.0)) {
        Err(StoreError::Damaged { .. }) => Ok(None),
        found => found,
    }
}

/// Notes how far a crawl has come. The rows that it learnt up to here are staged.
pub fn note(batch: &Batch, scope: ScopeId, underway: &Underway) -> Result<(), StoreError> {
    if !super::has(batch, tables::SCOPES, &Key::new().u32(scope.0))? {
        return Ok(());
    }
    batch.put(tables::READINGS, &Key::new().u32(scope.0), underway)
}

/// Forgets how far a crawl had come.
pub fn forget(batch: &Batch, scope: ScopeId) -> Result<(), StoreError> {
    batch.delete(tables::READINGS, &Key::new().u32(scope.0))
}

/// Issues that are staged and not stored, in key order from after a key, out of at most so many staged rows; and the
/// key to go on after, if there are more.
pub fn fresh_issues(
    view: &impl View,
    scope: ScopeId,
    after: Option<&IssueKey>,
    most: usize,
) -> Result<(Vec<Observed>, Option<IssueKey>), StoreError> {
    let mut found = Vec::new();
    let mut last = None;
    let mut seen = 0;
    super::scan_after::<Staged>(
        view,
        tables::STAGING,
        &Key::new().u32(scope.0),
        after.map(|after| key(scope, after)).as_ref(),
        |_, row| {
            seen += 1;
            last = Some(row.key().clone());
            if let Staged::Seen(observed) = row
                && observed.kind == Kind::Vulnerability
                && !observed.state.is_closed()
            {
                found.push(*observed);
            }
            seen < most
        },
    )?;
    let findings = view.rows(tables::FINDINGS)?;
    let mut fresh = Vec::new();
    for observed in found {
        if findings.get(super::findings::finding_key(scope, &observed.key).0.as_slice())?.is_none() {
            fresh.push(observed);
        }
    }
    Ok((fresh, last.filter(|_| seen == most)))
}

/// Gives a sealed crawl up, as a staged row of it is damaged: the scope is to be crawled anew.
pub fn abandon(batch: &Batch, scope: ScopeId) -> Result<(), StoreError> {
    batch.delete(tables::READINGS, &Key::new().u32(scope.0))?;
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
pub fn apply(batch: &mut Batch, id: ScopeId, now: Timestamp) -> Result<Applied, StoreError> {
    let Some(crawl) = sealed(batch, id)? else { return Ok(Applied::Gone) };
    let Some(mut scope) = catalogue::scope(batch, id)? else { return Ok(Applied::Gone) };
    let Some(project) = catalogue::project(batch, scope.project)? else { return Ok(Applied::Gone) };
    let mut left = batch.findings_max;
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
        apply_bite(batch, id, &mut inventory, &mut scope, bite, (crawl.began_at, now))?;
        if left == 0 || batch.is_over() {
            break;
        }
    }
    inventory.finish(batch)?;
    catalogue::put_scope(batch, id, &scope)?;
    batch.is_full = left == 0;
    Ok(Applied::Some)
}

const BITE: usize = 100;

fn apply_bite(
    batch: &Batch,
    id: ScopeId,
    inventory: &mut Inventory,
    scope: &mut Scope,
    bite: Vec<Staged>,
    (read_at, now): (Timestamp, Timestamp),
) -> Result<(), StoreError> {
    let mut stored = Vec::with_capacity(bite.len());
    let mut moves = Vec::new();
    for row in &bite {
        let found = inventory.find(row.key())?;
        if let (None, Staged::Moved(from, observed)) = (&found, row)
            && let Some(former) = inventory.find(from)?
        {
            moves.push(Step::Move { stored: Box::new(former), observed: observed.clone() });
        }
        stored.extend(found);
    }
    {
        let mut staging = batch.rows(tables::STAGING)?;
        for row in &bite {
            staging.remove(key(id, row.key()).0.as_slice())?;
        }
    }
    let is_move = |row: &Staged| {
        moves.iter().any(|step| matches!(step, Step::Move { observed, .. } if observed.key == *row.key()))
    };
    let bite: Vec<Staged> =
        if moves.is_empty() { bite } else { bite.into_iter().filter(|row| !is_move(row)).collect() };
    for step in moves {
        inventory.apply(step, scope.slot_next, read_at, now)?;
    }
    for step in reconcile(stored.into_iter(), bite.into_iter()) {
        if inventory.apply(step, scope.slot_next, read_at, now)? {
            scope.slot_next += 1;
        }
    }
    Ok(())
}

fn first_staged(batch: &Batch, scope: ScopeId, most: usize) -> Result<Vec<Staged>, StoreError> {
    // A damaged row is not passed over: what it said would be missing from a read that counts as complete.
    let some = keys(batch, tables::STAGING, &Key::new().u32(scope.0), most)?;
    let rows = batch.rows(tables::STAGING)?;
    let mut found = Vec::with_capacity(some.len());
    for key in &some {
        if let Some(row) = rows.get(key.as_slice())? {
            found.push(codec::open(key, row.value())?);
        }
    }
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
    let stored = lists::count_open(batch, id)?;
    let was_retired = scope.retired_at.is_some();
    if let Some(total) = crawl.sonar_total.filter(|&total| total != stored) {
        // Rows that were read and then changed are applied as they were read: not what the counts were proven for.
        crawl.sonar_total = None;
        crawl.again = true;
        crawl.problem =
            Some(format!("Sonar counts {total} findings, {stored} are stored: they changed while they were read"));
    }
    let complete = crawl.sonar_total.is_some();
    let follow = if crawl.again {
        Some(schedule::after_failure(crawl.due, now, Duration::ZERO))
    } else if crawl.suspicion.is_some() {
        Some(schedule::after_failure(crawl.due, now, limits::GUARD_WAIT))
    } else {
        let later = crawl.deliveries.split_off(crawl.deliveries.len().min(limits::DELETIONS_PER_COMMIT_MAX));
        let settled = std::mem::replace(&mut crawl.deliveries, later);
        deliveries::settle(batch, scope.project, settled, Outcome::Synced, now)?;
        if !crawl.deliveries.is_empty() {
            catalogue::put_scope(batch, id, &scope)?;
            seal(batch, id, &crawl)?;
            return Ok(Applied::Some);
        }
        schedule::after_success(crawl.due, now, crawl.recent)
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
        crawled_at: if complete && !crawl.recent { Some(crawl.began_at) } else { scope.crawled_at },
        watermark: if complete { crawl.watermark.or(scope.watermark) } else { scope.watermark },
        retired_at: None,
        ..scope
    };
    catalogue::put_scope(batch, id, &standing)?;
    if was_retired {
        trend::recount(batch, now)?;
    }
    batch.delete(tables::CRAWLS, &Key::new().u32(id.0))?;
    Ok(Applied::All)
}
