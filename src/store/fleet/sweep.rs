//! Clearing up behind fleets: what an inventory told that is not told any more, as its box was set up anew or restored; numbers
//! of what is not held here any more; and the messages that stand for them, which nobody needs.

use super::super::findings::{self, Inventory};
use super::super::records::Scope;
use super::super::tables::{self, Key};
use super::super::{Batch, StoreError, View, catalogue, get, has, scan_after, trend};
use super::take::{FINDING, Local, SCOPE, id_key};
use super::{put_site, site};
use crate::domain::fleet::Site;
use crate::domain::fleet::hub::SiteRecord;
use crate::domain::ids::{FindingId, ScopeId, SourceName};
use crate::domain::limits::{FLEET_FORMER_AFTER, FLEET_MESSAGE_KEPT};
use crate::domain::time::Timestamp;

/// Whose numbers are looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// Who tells them.
    pub teller: u32,
    /// Since when another inventory speaks for its site instead, where one does.
    pub former_since: Option<Timestamp>,
}

/// A number that stands for nothing any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    key: Vec<u8>,
    end: End,
    /// The message that told it, where nobody needs that any more.
    pub sequence: Option<u64>,
    /// Whether the number stays until its message can go.
    stays: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Only the number goes.
    Number,
    /// The inventory that speaks for the site has read the scope completely, and the finding is not in it.
    Close(ScopeId, FindingId),
    /// The scope is not in the inventory that speaks for the site.
    Leave(ScopeId),
}

/// Looks through some of the numbers of findings that somebody told, from after a key; what stands for nothing, and where to go
/// on.
pub fn look(
    view: &impl View,
    of: Looked,
    (epoch, now): (u32, Timestamp),
    after: Option<&[u8]>,
    most: usize,
) -> Result<(Vec<Stale>, Option<Vec<u8>>), StoreError> {
    let prefix = Key::new().u32(of.teller).byte(FINDING);
    let (mut rows, mut last) = (Vec::new(), None);
    scan_after::<Local>(
        view,
        tables::FLEET_IDS,
        &prefix,
        after.map(|key| Key(key.to_vec())).as_ref(),
        |key, local| {
            last = Some(key.to_vec());
            rows.push((key.to_vec(), local));
            rows.len() < most
        },
    )?;
    let next = last.filter(|_| rows.len() == most);
    let mut stale = Vec::new();
    for (key, local) in rows {
        let is_told = has(view, tables::FLEET_IDS, &id_key(of.teller, SCOPE, local.scope.into()))?;
        let held = findings::with_id(view, FindingId(local.number));
        let held = match held {
            Err(StoreError::Damaged { .. }) => continue,
            held => held?,
        };
        let end = match held {
            None => End::Number,
            // Another one may tell it, too; which of them counts is not known yet.
            Some(_) if of.former_since.is_none() => continue,
            Some((_, finding)) if finding.slot != of.teller => End::Number,
            Some((scope, finding)) => match catalogue::scope(view, scope)? {
                None => End::Number,
                Some(Scope { slot_next, .. }) if slot_next == of.teller => End::Leave(scope),
                // Read since, and not only known from a backup.
                Some(Scope { complete: true, synced_at, .. }) if synced_at > of.former_since => {
                    End::Close(scope, finding.id)
                }
                // The new box has not read it yet.
                Some(_) => continue,
            },
        };
        // An open finding whose record is gone here may well be needed by others.
        let needless = local.closed || !is_told || of.former_since.is_some();
        let can_go = needless && local.epoch == epoch && local.sequence > 0;
        if can_go && now.since(local.at) < FLEET_MESSAGE_KEPT {
            // Its message is to go, too, and not before every hub can have heard of it.
            if end != End::Number {
                stale.push(Stale { key, end, sequence: None, stays: true });
            }
            continue;
        }
        stale.push(Stale { key, end, sequence: can_go.then_some(local.sequence), stays: false });
    }
    Ok((stale, next))
}

/// Clears up what was found. What was told anew meanwhile is left as it is.
pub fn sweep(batch: &Batch, stale: &[Stale], now: Timestamp) -> Result<(), StoreError> {
    let mut has_left = false;
    for one in stale {
        let key = Key(one.key.clone());
        let Some(local) = get::<Local>(batch, tables::FLEET_IDS, &key)? else { continue };
        if one.sequence.is_some_and(|sequence| sequence != local.sequence) {
            continue;
        }
        match one.end {
            End::Number => {}
            End::Close(scope, id) => close(batch, scope, id, now)?,
            End::Leave(scope) => {
                has_left = true;
                leave(batch, scope, now)?;
            }
        }
        if !one.stays {
            batch.delete(tables::FLEET_IDS, &key)?;
        }
    }
    if has_left { trend::recount(batch, now) } else { Ok(()) }
}

fn close(batch: &Batch, scope: ScopeId, id: FindingId, now: Timestamp) -> Result<(), StoreError> {
    let Some((_, finding)) = findings::with_id(batch, id)? else { return Ok(()) };
    let Some(record) = catalogue::scope(batch, scope)? else { return Ok(()) };
    let Some(project) = catalogue::project(batch, record.project)? else { return Ok(()) };
    if finding.observed.state.is_closed() {
        return Ok(());
    }
    let mut inventory = Inventory::open(batch, scope, &project.organization.source)?;
    inventory.close_untold(&finding, now)?;
    inventory.finish(batch)
}

fn leave(batch: &Batch, scope: ScopeId, now: Timestamp) -> Result<(), StoreError> {
    let Some(record) = catalogue::scope(batch, scope)? else { return Ok(()) };
    catalogue::drop_scope(batch, scope, now)?;
    if catalogue::scopes(batch, record.project)?.is_empty() {
        catalogue::remove_project(batch, record.project, now)?;
    }
    Ok(())
}

/// Who told a site's inventories, as is known now.
pub fn looked(record: &SiteRecord) -> Vec<Looked> {
    let since = record.present().and_then(|present| present.first_at);
    let former: Vec<u32> = record.former(FLEET_FORMER_AFTER).map(|teller| teller.number).collect();
    let tellers = record.tellers.iter().map(|teller| teller.number);
    tellers.map(|teller| Looked { teller, former_since: since.filter(|_| former.contains(&teller)) }).collect()
}

/// Whether what was to be thought of an inventory is still so.
pub fn is_as_looked(view: &impl View, fleet: &SourceName, of: &Site, one: Looked) -> Result<bool, StoreError> {
    Ok(looked(&site(view, fleet, of)?).contains(&one))
}

/// Whether numbers of findings of somebody who told an inventory are left.
pub fn tells(view: &impl View, teller: u32) -> Result<bool, StoreError> {
    Ok(!super::keys(view, tables::FLEET_IDS, &Key::new().u32(teller).byte(FINDING), 1)?.is_empty())
}

/// Forgets who told an inventory as a site's, once nothing that it told is left.
pub fn forget_teller(batch: &Batch, fleet: &SourceName, of: &Site, teller: u32) -> Result<(), StoreError> {
    let mut record = site(batch, fleet, of)?;
    record.tellers.retain(|one| one.number != teller);
    put_site(batch, fleet, of, &record)?;
    // What is left are numbers of scopes and projects, few and of no use.
    for key in super::keys(batch, tables::FLEET_IDS, &Key::new().u32(teller), usize::MAX)? {
        batch.delete(tables::FLEET_IDS, &Key(key))?;
    }
    Ok(())
}
