//! Fleets that are read, how far, and what is known of their sites.

mod sweep;
mod take;

use super::records::{SecretBytes, Source};
use super::tables::{self, Key};
use super::{Batch, Counter, StoreError, View, catalogue, get, has, keys, scan, secrets};
use crate::domain::fleet::hub::{Fleet, Position, SiteRecord};
use crate::domain::fleet::said::ConditionSaid;
use crate::domain::fleet::{InventoryId, Site};
use crate::domain::ids::SourceName;
use crate::domain::limits::{DELETIONS_PER_COMMIT_MAX, FLEET_TELLERS_MAX};
use crate::domain::time::Timestamp;

pub use self::sweep::{Looked, Stale, forget_teller, is_as_looked, look, looked, sweep, tells};
pub use self::take::take;

fn fleet_key(name: &SourceName) -> Key {
    Key::new().tail(name.as_str().as_bytes())
}

fn secret_key(name: &SourceName) -> Key {
    Key::new().tail(b"fleet/").tail(name.as_str().as_bytes())
}

fn of_fleet(name: &SourceName) -> Key {
    Key::new().name(name.as_str())
}

fn site_key(name: &SourceName, site: &Site) -> Key {
    of_fleet(name).tail(site.as_str().as_bytes())
}

fn condition_key(name: &SourceName, site: &Site, subject: &str) -> Key {
    of_fleet(name).name(site.as_str()).tail(subject.as_bytes())
}

/// A fleet by name.
pub fn fleet(view: &impl View, name: &SourceName) -> Result<Option<Fleet>, StoreError> {
    get(view, tables::FLEETS, &fleet_key(name))
}

/// All fleets by name.
pub fn fleets(view: &impl View) -> Result<Vec<Fleet>, StoreError> {
    let mut found = Vec::new();
    scan::<Fleet>(view, tables::FLEETS, &Key::new(), |_, fleet| {
        found.push(fleet);
        true
    })?;
    Ok(found)
}

/// A fleet's credentials.
pub fn credentials(view: &impl View, name: &SourceName) -> Result<Option<SecretBytes>, StoreError> {
    secrets::secret(view, &secret_key(name))
}

/// Stores a fleet, and its credentials where they are given.
pub fn put(batch: &Batch, fleet: &Fleet, credentials: Option<&SecretBytes>) -> Result<(), StoreError> {
    if let Some(credentials) = credentials {
        secrets::put(batch, &secret_key(&fleet.name), credentials)?;
    }
    batch.put(tables::FLEETS, &fleet_key(&fleet.name), fleet)
}

/// Forgets a fleet, how far it was read and what is known of its sites. What they told stays until [`clear`] has deleted it,
/// some at a time.
pub fn remove(batch: &Batch, name: &SourceName) -> Result<(), StoreError> {
    batch.delete(tables::FLEETS, &fleet_key(name))?;
    batch.delete(tables::FLEET_POSITIONS, &fleet_key(name))?;
    secrets::delete(batch, &secret_key(name))
}

/// How far a fleet was read. Where that is damaged it is read anew, which changes nothing that is as it was.
pub fn position(view: &impl View, name: &SourceName) -> Result<Position, StoreError> {
    match get(view, tables::FLEET_POSITIONS, &fleet_key(name)) {
        Err(StoreError::Damaged { .. }) => Ok(Position::default()),
        found => Ok(found?.unwrap_or_default()),
    }
}

/// Notes how far a fleet was read, unless it was removed meanwhile.
pub fn put_position(batch: &Batch, name: &SourceName, position: &Position) -> Result<(), StoreError> {
    if !has(batch, tables::FLEETS, &fleet_key(name))? {
        return Ok(());
    }
    batch.put(tables::FLEET_POSITIONS, &fleet_key(name), position)
}

fn site(view: &impl View, name: &SourceName, site: &Site) -> Result<SiteRecord, StoreError> {
    match get(view, tables::SITES, &site_key(name, site)) {
        Err(StoreError::Damaged { .. }) => Ok(SiteRecord::default()),
        found => Ok(found?.unwrap_or_default()),
    }
}

/// What is known of a fleet's sites, by name.
pub fn sites(view: &impl View, name: &SourceName) -> Result<Vec<(Site, SiteRecord)>, StoreError> {
    let mut found = Vec::new();
    let prefix = of_fleet(name);
    scan::<SiteRecord>(view, tables::SITES, &prefix, |key, record| {
        let site = key.get(prefix.0.len()..).and_then(|site| std::str::from_utf8(site).ok()?.parse().ok());
        found.extend(site.map(|site| (site, record)));
        true
    })?;
    Ok(found)
}

/// What is the matter with the boxes of a fleet, by site.
pub fn conditions(view: &impl View, name: &SourceName) -> Result<Vec<(Site, ConditionSaid)>, StoreError> {
    let mut found = Vec::new();
    let prefix = of_fleet(name);
    scan::<ConditionSaid>(view, tables::SITE_CONDITIONS, &prefix, |key, condition| {
        let site = key.get(prefix.0.len()..).and_then(|rest| rest.split(|&byte| byte == 0).next());
        let site = site.and_then(|site| std::str::from_utf8(site).ok()?.parse().ok());
        found.extend(site.map(|site| (site, condition)));
        true
    })?;
    Ok(found)
}

/// Deletes what is left of fleets that are gone, as much as one batch may. Returns whether some is left.
pub fn clear(batch: &Batch, now: Timestamp) -> Result<bool, StoreError> {
    let Some(left) = left(batch)? else { return Ok(false) };
    match left {
        Left::Source(source) => {
            let projects = catalogue::projects(batch)?;
            let of_source = projects.iter().filter(|(_, project)| project.organization.source == source);
            let some: Vec<_> = of_source.map(|(id, _)| *id).take(PROJECTS_AT_ONCE).collect();
            for project in &some {
                catalogue::remove_project(batch, *project, now)?;
            }
            if some.len() < PROJECTS_AT_ONCE {
                catalogue::remove_source(batch, &source)?;
            }
        }
        Left::Rows(table, prefix) => {
            for key in keys(batch, table, &prefix, DELETIONS_PER_COMMIT_MAX)? {
                batch.delete(table, &Key::new().tail(&key))?;
            }
        }
    }
    Ok(true)
}

/// Projects of a fleet that is gone which are removed with one commit.
const PROJECTS_AT_ONCE: usize = 20;

/// Whether something is left of a fleet of this name, whether that is gone or not.
pub fn has_traces(view: &impl View, name: &SourceName) -> Result<bool, StoreError> {
    let told = |source: &Source| source.at.as_ref().is_some_and(|at| at.fleet == *name);
    Ok(!keys(view, tables::SITES, &of_fleet(name), 1)?.is_empty() || catalogue::sources(view)?.iter().any(told))
}

/// Whether something is left of a fleet that is gone.
pub fn has_orphans(view: &impl View) -> Result<bool, StoreError> {
    Ok(left(view)?.is_some())
}

/// Something that is left of a fleet that is gone.
enum Left {
    Source(SourceName),
    Rows(tables::Table, Key),
}

fn left(view: &impl View) -> Result<Option<Left>, StoreError> {
    // By their keys: a damaged record is no reason to forget a fleet.
    let known: Vec<SourceName> = keys(view, tables::FLEETS, &Key::new(), usize::MAX)?
        .into_iter()
        .filter_map(|key| SourceName::parse(std::str::from_utf8(&key).ok()?).ok())
        .collect();
    let is_gone = |source: &Source| source.at.as_ref().is_some_and(|at| !known.contains(&at.fleet));
    if let Some(source) = catalogue::sources(view)?.into_iter().find(is_gone) {
        return Ok(Some(Left::Source(source.name)));
    }
    // What they told goes last of all but their records, which name whose it is.
    for (table, is_sites) in [(tables::SITE_CONDITIONS, false), (tables::SITES, true)] {
        if let Some((name, key)) = first_of_gone(view, table, &known)? {
            if is_sites {
                let record: SiteRecord = get(view, table, &key)?.unwrap_or_default();
                for teller in record.tellers {
                    let prefix = Key::new().u32(teller.number);
                    if !keys(view, tables::FLEET_IDS, &prefix, 1)?.is_empty() {
                        return Ok(Some(Left::Rows(tables::FLEET_IDS, prefix)));
                    }
                }
                return Ok(Some(Left::Rows(table, key)));
            }
            return Ok(Some(Left::Rows(table, of_fleet(&name))));
        }
    }
    Ok(None)
}

/// The first row of a table that is about a fleet which is gone. Skips from fleet to fleet.
fn first_of_gone(
    view: &impl View,
    table: tables::Table,
    known: &[SourceName],
) -> Result<Option<(SourceName, Key)>, StoreError> {
    use redb::ReadableTable;
    let rows = view.rows(table)?;
    let mut next: Vec<u8> = Vec::new();
    loop {
        let Some(row) = rows.range::<&[u8]>(next.as_slice()..)?.next().transpose()? else { return Ok(None) };
        let key = row.0.value().to_vec();
        let name = key.split(|&byte| byte == 0).next().and_then(|name| std::str::from_utf8(name).ok());
        let Some(name) = name.and_then(|name| SourceName::parse(name).ok()) else { return Ok(None) };
        if !known.contains(&name) {
            return Ok(Some((name, Key(key))));
        }
        let Some(end) = of_fleet(&name).end() else { return Ok(None) };
        next = end;
    }
}

/// The number of who tells an inventory as a site's; a new one gets the next. Nothing where a site has had too many: somebody
/// makes them up.
fn teller(
    batch: &Batch,
    name: &SourceName,
    of: &Site,
    inventory: InventoryId,
    (at, is_live): (Timestamp, bool),
) -> Result<Option<u32>, StoreError> {
    let mut record = site(batch, name, of)?;
    if let Some(known) = record.tellers.iter().find(|teller| teller.inventory == inventory) {
        return Ok(Some(known.number));
    }
    if record.tellers.len() >= FLEET_TELLERS_MAX {
        return Ok(None);
    }
    let number = batch.next_small_number(Counter::Teller)?;
    record.tellers.push(crate::domain::fleet::hub::Teller {
        number,
        inventory,
        machine: String::new(),
        version: String::new(),
        every_seconds: 0,
        heard_at: None,
        first_at: is_live.then_some(at),
        last_at: at,
        offer: None,
    });
    put_site(batch, name, of, &record)?;
    Ok(Some(number))
}

fn put_site(batch: &Batch, name: &SourceName, of: &Site, record: &SiteRecord) -> Result<(), StoreError> {
    batch.put(tables::SITES, &site_key(name, of), record)
}

#[cfg(test)]
mod tests;
