//! Destinations: what they are, how far each has come, what it was told of each finding, and what it refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use minicbor::{Decode, Encode};

use super::changes::Cursor;
use super::records::SecretBytes;
use super::tables::{self, Key};
use super::{Batch, Counter, StoreError, View, get, keys, scan, scan_after, secrets};
use crate::domain::destination::Destination;
use crate::domain::fleet::InventoryId;
use crate::domain::ids::{ChangeNumber, DestinationId, DestinationName, FindingId, ScopeId};
use crate::domain::limits;
use crate::domain::message::{Remote, Target};
use crate::domain::time::Timestamp;
use crate::domain::triage::Order;

/// How far a destination has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Progress {
    /// Its place in the log of changes.
    #[n(0)]
    pub cursor: Cursor,
    /// Scopes that are to be told whole, to a platform that takes no single findings.
    #[n(1)]
    pub scopes: BTreeSet<ScopeId>,
    /// What the platform was told is to be looked through for what this box does not hold any more, from after this
    /// finding.
    #[n(2)]
    pub sweep: Option<FindingId>,
    /// Where the next poll of decisions goes on.
    #[n(3)]
    pub mark: Option<String>,
    /// When it was last told something.
    #[n(4)]
    pub told_at: Option<Timestamp>,
    /// The last trouble with it, until it is told something again.
    #[n(5)]
    pub trouble: Option<Woe>,
    /// It said that it wants nothing any more.
    #[n(6)]
    #[cbor(default)]
    pub gone: bool,
    /// Messages that it was told, ever.
    #[n(7)]
    #[cbor(default)]
    pub told: u64,
    /// Since when it is told the present state anew because the log no longer reached back to its place.
    #[n(8)]
    pub overtaken_at: Option<Timestamp>,
    /// When what it was told was last looked through.
    #[n(9)]
    pub swept_at: Option<Timestamp>,
    /// How often it was sent back to another place in the log.
    #[n(10)]
    #[cbor(default)]
    pub replays: u64,
    /// Decisions that stand there, and were not passed on when they were made, are to be.
    #[n(11)]
    #[cbor(default)]
    pub decisions: bool,
    /// What it was told is compared with what it shows, from after this finding.
    #[n(12)]
    pub reread: Option<FindingId>,
    /// When that was last done, or the platform first told something.
    #[n(13)]
    pub reread_at: Option<Timestamp>,
    /// Why it could not be compared as a whole the last time: it may not be asked, or a place there is gone or hidden.
    #[n(14)]
    pub lost: Option<Woe>,
    /// Under which inventory's numbers it is told, where it is told numbers of scopes. Another one begins anew.
    #[n(15)]
    pub inventory: Option<InventoryId>,
}

impl Progress {
    /// Sends it to another place in the log.
    pub fn replay(&mut self, cursor: Cursor) {
        self.cursor = cursor;
        self.replays += 1;
    }

    /// Notes that it has come to a place, unless it was sent back since somebody read how often it had been.
    pub fn advance(&mut self, replays: u64, cursor: Cursor) {
        if self.replays == replays {
            self.cursor = cursor;
        }
    }

    /// What is the matter with the destination now.
    pub fn woe(&self) -> Option<&Woe> {
        self.trouble.as_ref().or(self.lost.as_ref())
    }
}

/// What is the matter with a destination.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Woe {
    /// What happened.
    #[n(0)]
    pub why: String,
    /// What to do, where a person has to do something.
    #[n(1)]
    pub remedy: Option<String>,
    /// Since when.
    #[n(2)]
    pub since: Timestamp,
}

/// A message that a platform refused.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DeadLetter {
    /// Why.
    #[n(0)]
    pub why: String,
    /// When it was first refused.
    #[n(1)]
    pub since: Timestamp,
    /// How often it was tried.
    #[n(2)]
    pub attempts: u32,
    /// When it is tried again by itself; a refusal for good is only tried again when the finding changes or a person
    /// says so.
    #[n(3)]
    pub again_at: Option<Timestamp>,
    /// The finding's scope.
    #[n(4)]
    pub scope: ScopeId,
    /// The change that it tells of; absent where it tells the present state.
    #[n(5)]
    pub change: Option<ChangeNumber>,
}

/// Where a scope's findings go: a [`Target`] as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct Goal {
    #[n(0)]
    names: BTreeMap<String, String>,
    #[n(1)]
    #[cbor(default)]
    lost: bool,
}

super::codec::record!(Progress = "destination's progress", DeadLetter = "dead letter", Goal = "destination's target");

fn key(id: DestinationId) -> Key {
    Key::new().u32(id.0)
}

fn of_finding(id: DestinationId, finding: FindingId) -> Key {
    key(id).u64(finding.0)
}

fn of_remote(id: DestinationId, remote: &str) -> Key {
    key(id).tail(remote.as_bytes())
}

fn of_secret(id: DestinationId) -> Key {
    Key::new().tail(b"destination/").u32(id.0)
}

/// A destination by number.
pub fn destination(view: &impl View, id: DestinationId) -> Result<Option<Destination>, StoreError> {
    let key = key(id);
    let destination = get::<Destination>(view, tables::DESTINATIONS, &key)?;
    destination.map(|destination| secrets::with_proxy(view, &key.0, destination)).transpose()
}

/// All destinations by number.
pub fn destinations(view: &impl View) -> Result<Vec<(DestinationId, Destination)>, StoreError> {
    let mut found = Vec::new();
    scan::<Destination>(view, tables::DESTINATIONS, &Key::new(), |key, destination| {
        found.extend(tables::u32_at(key, 0).map(|id| (DestinationId(id), destination)));
        true
    })?;
    let whole = |(id, destination)| Ok((id, secrets::with_proxy(view, &key(id).0, destination)?));
    found.into_iter().map(whole).collect()
}

/// The numbers of all destinations.
pub fn ids(view: &impl View) -> Result<Vec<DestinationId>, StoreError> {
    let keys = keys(view, tables::DESTINATIONS, &Key::new(), usize::MAX)?;
    Ok(keys.iter().filter_map(|key| tables::u32_at(key, 0)).map(DestinationId).collect())
}

/// A destination by name.
pub fn named(view: &impl View, name: &DestinationName) -> Result<Option<(DestinationId, Destination)>, StoreError> {
    Ok(destinations(view)?.into_iter().find(|(_, destination)| destination.name == *name))
}

/// Tells a destination the present state anew.
pub fn tell_anew(batch: &Batch, id: DestinationId) -> Result<(), StoreError> {
    let mut progress = progress(batch, id)?;
    progress.replay(Cursor::New);
    put_progress(batch, id, &progress)
}

/// The number that the next new destination will get.
pub fn next_id(view: &impl View) -> Result<DestinationId, StoreError> {
    let number = Counter::Destination.next(view)?;
    Ok(DestinationId(u32::try_from(number).unwrap_or(u32::MAX)))
}

/// Whether a destination has a secret; known also where it cannot be opened.
pub fn has_secret(view: &impl View, id: DestinationId) -> Result<bool, StoreError> {
    secrets::has_secret(view, &of_secret(id))
}

/// A destination's secret.
pub fn secret(view: &impl View, id: DestinationId) -> Result<Option<SecretBytes>, StoreError> {
    secrets::secret(view, &of_secret(id))
}

/// Adds a destination, whose name must be free. It begins with the present state.
pub fn add(
    batch: &Batch,
    destination: &Destination,
    secret: Option<&SecretBytes>,
) -> Result<DestinationId, StoreError> {
    let id = DestinationId(batch.next_small_number(Counter::Destination)?);
    put(batch, id, destination, secret)?;
    put_progress(batch, id, &Progress::default())?;
    Ok(id)
}

/// Rewrites a destination, and its secret where one is given.
pub fn put(
    batch: &Batch,
    id: DestinationId,
    destination: &Destination,
    secret: Option<&SecretBytes>,
) -> Result<(), StoreError> {
    if let Some(secret) = secret {
        secrets::put(batch, &of_secret(id), secret)?;
    }
    secrets::put_proxied(batch, tables::DESTINATIONS, &key(id), destination)
}

/// Forgets a destination. What is remembered of what it was told goes with [`clear`], some at a time.
pub fn remove(batch: &Batch, id: DestinationId) -> Result<(), StoreError> {
    secrets::delete_proxied::<Destination>(batch, tables::DESTINATIONS, &key(id))?;
    batch.delete(tables::PROGRESS, &key(id))?;
    super::notices::forget(batch, id)?;
    secrets::delete(batch, &of_secret(id))
}

/// Tables whose keys begin with a destination's number.
const OF_DESTINATIONS: [tables::Table; 5] =
    [tables::TARGETS, tables::REMOTES, tables::REMOTE_IDS, tables::DEAD_LETTERS, tables::ORDERS];

/// Deletes what is remembered for destinations that are gone, as much as one batch may. Returns whether some is left.
pub fn clear(batch: &Batch) -> Result<bool, StoreError> {
    for table in OF_DESTINATIONS {
        let Some(id) = orphan(batch, table)? else { continue };
        let some = keys(batch, table, &key(id), limits::DELETIONS_PER_COMMIT_MAX)?;
        let mut rows = batch.rows(table)?;
        for key in &some {
            rows.remove(key.as_slice())?;
        }
        return Ok(true);
    }
    Ok(false)
}

/// Whether something is remembered for a destination that is gone.
pub fn has_orphans(view: &impl View) -> Result<bool, StoreError> {
    for table in OF_DESTINATIONS {
        if orphan(view, table)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The first number in a table that no destination has. Skips from destination to destination.
fn orphan(view: &impl View, table: tables::Table) -> Result<Option<DestinationId>, StoreError> {
    use redb::ReadableTable;
    let rows = view.rows(table)?;
    let mut next = 0;
    loop {
        let first = rows.range::<&[u8]>(Key::new().u32(next).0.as_slice()..)?.next().transpose()?;
        let Some(id) = first.and_then(|(key, _)| tables::u32_at(key.value(), 0)) else { return Ok(None) };
        if !super::has(view, tables::DESTINATIONS, &Key::new().u32(id))? {
            return Ok(Some(DestinationId(id)));
        }
        let Some(following) = id.checked_add(1) else { return Ok(None) };
        next = following;
    }
}

/// How far a destination has come. Where that is damaged it begins anew, which a platform does not mind.
pub fn progress(view: &impl View, id: DestinationId) -> Result<Progress, StoreError> {
    match get(view, tables::PROGRESS, &key(id)) {
        Err(StoreError::Damaged { .. }) => Ok(Progress::default()),
        found => Ok(found?.unwrap_or_default()),
    }
}

/// Notes how far a destination has come, unless it was removed meanwhile.
pub fn put_progress(batch: &Batch, id: DestinationId, progress: &Progress) -> Result<(), StoreError> {
    if !super::has(batch, tables::DESTINATIONS, &key(id))? {
        return Ok(());
    }
    batch.put(tables::PROGRESS, &key(id), progress)
}

/// Where a scope's findings go, and whether the platform said since that there is no such place. A damaged one is found
/// again by its names.
pub fn target(view: &impl View, id: DestinationId, scope: ScopeId) -> Result<Option<(Target, bool)>, StoreError> {
    match get::<Goal>(view, tables::TARGETS, &key(id).u32(scope.0)) {
        Err(StoreError::Damaged { .. }) => Ok(None),
        found => Ok(found?.map(|goal| (Target(goal.names), goal.lost))),
    }
}

/// The scopes of which it is noted where their findings go.
pub fn targets(view: &impl View, id: DestinationId) -> Result<Vec<(ScopeId, Target)>, StoreError> {
    let mut found = Vec::new();
    super::scan::<Goal>(view, tables::TARGETS, &key(id), |key, goal| {
        found.extend(tables::u32_at(key, 4).map(|scope| (ScopeId(scope), Target(goal.names))));
        true
    })?;
    Ok(found)
}

/// Forgets where the findings of a scope went that is not held any more.
pub fn remove_target(batch: &Batch, id: DestinationId, scope: ScopeId) -> Result<(), StoreError> {
    batch.delete(tables::TARGETS, &key(id).u32(scope.0))
}

/// Notes where a scope's findings go.
pub fn put_target(batch: &Batch, id: DestinationId, scope: ScopeId, target: &Target) -> Result<(), StoreError> {
    let goal = Goal { names: target.0.clone(), lost: false };
    batch.put(tables::TARGETS, &key(id).u32(scope.0), &goal)
}

/// Notes that the place where a scope's findings go cannot be used. It is kept until another is found, so that it is
/// known then, also after a restart, whether that is the same one.
pub fn lose_target(batch: &Batch, id: DestinationId, scope: ScopeId) -> Result<(), StoreError> {
    let Some((target, false)) = target(batch, id, scope)? else { return Ok(()) };
    batch.put(tables::TARGETS, &key(id).u32(scope.0), &Goal { names: target.0, lost: true })
}

/// What a platform knows of a finding. A damaged record counts as none: the platform finds the finding by its key.
pub fn remote(view: &impl View, id: DestinationId, finding: FindingId) -> Result<Option<Remote>, StoreError> {
    match memory(view, id, finding) {
        Err(StoreError::Damaged { .. }) => Ok(None),
        found => found,
    }
}

/// The same, where it matters whether there is a damaged record.
///
/// # Errors
/// If the record is damaged, or the store cannot be read.
pub fn memory(view: &impl View, id: DestinationId, finding: FindingId) -> Result<Option<Remote>, StoreError> {
    get(view, tables::REMOTES, &of_finding(id, finding))
}

/// Remembers what a platform knows of a finding.
pub fn put_remote(batch: &Batch, id: DestinationId, finding: FindingId, remote: &Remote) -> Result<(), StoreError> {
    let former = self::remote(batch, id, finding)?.and_then(|former| former.id);
    if former != remote.id {
        if let Some(former) = former {
            forget_id(batch, id, &former, finding)?;
        }
        if let Some(new) = &remote.id {
            batch.put(tables::REMOTE_IDS, &of_remote(id, new), &finding.0)?;
        }
    }
    batch.put(tables::REMOTES, &of_finding(id, finding), remote)
}

/// Forgets that a platform's id leads to a finding. After a project was imported anew it leads to another one.
fn forget_id(batch: &Batch, id: DestinationId, remote: &str, finding: FindingId) -> Result<(), StoreError> {
    if finding_of(batch, id, remote)? == Some(finding) {
        batch.delete(tables::REMOTE_IDS, &of_remote(id, remote))?;
    }
    Ok(())
}

/// Forgets what a platform knows of a finding.
pub fn remove_remote(batch: &Batch, id: DestinationId, finding: FindingId) -> Result<(), StoreError> {
    if let Some(remote) = remote(batch, id, finding)?.and_then(|remote| remote.id) {
        forget_id(batch, id, &remote, finding)?;
    }
    batch.delete(tables::DEAD_LETTERS, &of_finding(id, finding))?;
    batch.delete(tables::ORDERS, &of_finding(id, finding))?;
    batch.delete(tables::REMOTES, &of_finding(id, finding))
}

/// The finding that a platform knows by this id.
pub fn finding_of(view: &impl View, id: DestinationId, remote: &str) -> Result<Option<FindingId>, StoreError> {
    match get::<u64>(view, tables::REMOTE_IDS, &of_remote(id, remote)) {
        Err(StoreError::Damaged { .. }) => Ok(None),
        found => Ok(found?.map(FindingId)),
    }
}

/// What a platform knows, in the order of findings, from after one of them.
pub fn remotes(
    view: &impl View,
    id: DestinationId,
    after: Option<FindingId>,
    most: usize,
) -> Result<Vec<(FindingId, Remote)>, StoreError> {
    rows(view, tables::REMOTES, id, after, most)
}

/// What a platform refuses, in the order of findings, from after one of them.
pub fn dead_letters(
    view: &impl View,
    id: DestinationId,
    after: Option<FindingId>,
    most: usize,
) -> Result<Vec<(FindingId, DeadLetter)>, StoreError> {
    rows(view, tables::DEAD_LETTERS, id, after, most)
}

fn rows<R: super::codec::Record>(
    view: &impl View,
    table: tables::Table,
    id: DestinationId,
    after: Option<FindingId>,
    most: usize,
) -> Result<Vec<(FindingId, R)>, StoreError> {
    let mut found = Vec::new();
    scan_after::<R>(view, table, &key(id), after.map(|after| of_finding(id, after)).as_ref(), |key, record| {
        found.extend(tables::u64_at(key, 4).map(|finding| (FindingId(finding), record)));
        found.len() < most
    })?;
    Ok(found)
}

/// A dead letter, if the platform refuses the finding.
pub fn dead_letter(view: &impl View, id: DestinationId, finding: FindingId) -> Result<Option<DeadLetter>, StoreError> {
    match get(view, tables::DEAD_LETTERS, &of_finding(id, finding)) {
        Err(StoreError::Damaged { .. }) => Ok(None),
        found => found,
    }
}

/// Parks a message, or notes that it was refused once more: since when and how often is known here.
pub fn park(batch: &Batch, id: DestinationId, finding: FindingId, letter: DeadLetter) -> Result<(), StoreError> {
    let former = dead_letter(batch, id, finding)?;
    let letter = DeadLetter {
        since: former.as_ref().map_or(letter.since, |former| former.since),
        attempts: former.map_or(0, |former| former.attempts).saturating_add(1),
        ..letter
    };
    batch.put(tables::DEAD_LETTERS, &of_finding(id, finding), &letter)
}

/// Has a parked message tried again at a time. Returns whether there is one.
pub fn try_again(batch: &Batch, id: DestinationId, finding: FindingId, at: Timestamp) -> Result<bool, StoreError> {
    let Some(letter) = dead_letter(batch, id, finding)? else { return Ok(false) };
    let letter = DeadLetter { again_at: Some(at), ..letter };
    batch.put(tables::DEAD_LETTERS, &of_finding(id, finding), &letter)?;
    Ok(true)
}

/// Drops a dead letter. Returns whether there was one.
pub fn drop_letter(batch: &Batch, id: DestinationId, finding: FindingId) -> Result<bool, StoreError> {
    let there = dead_letter(batch, id, finding)?.is_some();
    batch.delete(tables::DEAD_LETTERS, &of_finding(id, finding))?;
    Ok(there)
}

/// A finding that a destination is to be told, and the change that it was not told of.
pub type Untold = (FindingId, Option<ChangeNumber>);

/// Dead letters that are to be tried again by now, and the change that each tells of; and how long it is until the
/// next one. None is put off for longer than [`limits::DEAD_LETTER_WAIT_MAX`]: one that lies further ahead was put there
/// before the clock was set back.
pub fn due_letters(
    view: &impl View,
    id: DestinationId,
    now: Timestamp,
    most: usize,
) -> Result<(Vec<Untold>, Option<Duration>), StoreError> {
    let (mut due, mut next) = (Vec::new(), None::<Duration>);
    scan::<DeadLetter>(view, tables::DEAD_LETTERS, &key(id), |key, letter| {
        let Some(wait) = letter.again_at.map(|at| at.since(now)) else { return true };
        if wait.is_zero() || wait > limits::DEAD_LETTER_WAIT_MAX {
            due.extend(tables::u64_at(key, 4).map(|finding| (FindingId(finding), letter.change)));
        } else {
            next = Some(next.map_or(wait, |next| next.min(wait)));
        }
        due.len() < most
    })?;
    Ok((due, next))
}

/// How many messages a platform refuses, counted up to a limit.
pub fn dead_letter_count(view: &impl View, id: DestinationId) -> Result<u64, StoreError> {
    Ok(keys(view, tables::DEAD_LETTERS, &key(id), DEAD_LETTERS_COUNTED)?.len() as u64)
}

/// Dead letters are counted one by one; beyond this many, the exact number tells nobody more.
pub const DEAD_LETTERS_COUNTED: usize = 10_000;

/// Notes a decision that Sonar is to be told of; a later one about the same finding takes its place.
pub fn put_order(batch: &Batch, id: DestinationId, finding: FindingId, order: &Order) -> Result<(), StoreError> {
    batch.put(tables::ORDERS, &of_finding(id, finding), order)
}

/// Forgets a decision that Sonar was told of, unless there is a later one.
pub fn end_order(batch: &Batch, id: DestinationId, finding: FindingId, done: &Order) -> Result<(), StoreError> {
    let key = of_finding(id, finding);
    match get::<Order>(batch, tables::ORDERS, &key) {
        Ok(Some(order)) if order != *done => Ok(()),
        Err(StoreError::Damaged { .. }) | Ok(_) => batch.delete(tables::ORDERS, &key),
        Err(error) => Err(error),
    }
}

/// Forgets a decision that Sonar was to be told of.
pub fn remove_order(batch: &Batch, id: DestinationId, finding: FindingId) -> Result<(), StoreError> {
    batch.delete(tables::ORDERS, &of_finding(id, finding))
}

/// The first decision after a finding that Sonar is to be told of; those that it refuses are passed over.
pub fn next_order(
    view: &impl View,
    id: DestinationId,
    mut after: Option<FindingId>,
) -> Result<Option<(FindingId, Order)>, StoreError> {
    loop {
        let some = orders(view, id, after, ORDERS)?;
        let Some((last, _)) = some.last() else { return Ok(None) };
        after = Some(*last);
        if let Some(next) = some.into_iter().find(|(_, order)| order.refused.is_none()) {
            return Ok(Some(next));
        }
    }
}

/// Decisions that Sonar is to be told of, or refuses, in the order of findings.
pub fn orders(
    view: &impl View,
    id: DestinationId,
    after: Option<FindingId>,
    most: usize,
) -> Result<Vec<(FindingId, Order)>, StoreError> {
    rows(view, tables::ORDERS, id, after, most)
}

/// Decisions looked at at once.
const ORDERS: usize = 500;

/// How many decisions made there Sonar refuses, counted up to a limit.
pub fn refused_orders(view: &impl View, id: DestinationId) -> Result<u64, StoreError> {
    let mut count = 0;
    scan::<Order>(view, tables::ORDERS, &key(id), |_, order| {
        count += u64::from(order.refused.is_some());
        count < DEAD_LETTERS_COUNTED as u64
    })?;
    Ok(count)
}

/// Has decisions that Sonar refused told again, as many as one batch may.
pub fn retry_orders(batch: &Batch, id: DestinationId) -> Result<(), StoreError> {
    let mut refused = Vec::new();
    scan::<Order>(batch, tables::ORDERS, &key(id), |at, order| {
        if order.refused.is_some() {
            refused.extend(tables::u64_at(at, 4).map(|finding| (FindingId(finding), order)));
        }
        refused.len() < limits::DELETIONS_PER_COMMIT_MAX
    })?;
    for (finding, order) in refused {
        put_order(batch, id, finding, &Order { refused: None, ..order })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::ChangeNumber;

    #[test]
    fn who_was_sent_back_while_being_told_something_stays_there() {
        let mut progress = Progress::default();
        let told = progress.replays;
        progress.advance(told, Cursor::At(ChangeNumber(7)));
        assert_eq!(progress.cursor, Cursor::At(ChangeNumber(7)));
        progress.replay(Cursor::New);
        progress.advance(told, Cursor::At(ChangeNumber(9)));
        assert_eq!(progress.cursor, Cursor::New);
        progress.advance(progress.replays, Cursor::At(ChangeNumber(9)));
        assert_eq!(progress.cursor, Cursor::At(ChangeNumber(9)));
    }
}
