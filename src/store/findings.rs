//! Findings with everything that leads to them: numbers, orders, words, counts and the change log. One finding
//! and its change are always written in one transaction.

use std::collections::BTreeMap;

use super::codec;
use super::records::{Change, Decision};
use super::tables::{self, Key};
use super::touched::Rows;
use super::words::Index;
use super::{Batch, Counter, StoreError, View, catalogue, changes, destinations, get, keys, trend};
use crate::domain::finding::{CloseReason, ClosedBy, Finding, Kind, Observed, Severity, State};
use crate::domain::ids::{ChangeNumber, DestinationId, FindingId, IssueKey, ScopeId, SourceName};
use crate::domain::limits;
use crate::domain::reconcile::{ChangeKind, Step, change};
use crate::domain::time::Timestamp;

pub(super) fn finding_key(scope: ScopeId, key: &IssueKey) -> Key {
    Key::new().u32(scope.0).tail(key.as_str().as_bytes())
}

pub(super) fn closed_key(at: Timestamp, scope: ScopeId, key: &IssueKey) -> Key {
    Key::new().time(at).u32(scope.0).tail(key.as_str().as_bytes())
}

/// Closed last, worst first, newest first, then by number: the order of lists, and a place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub(super) closed: bool,
    pub(super) severity: Severity,
    pub(super) age: u64,
    pub(super) id: FindingId,
}

impl Place {
    pub(super) fn of(finding: &Finding) -> Self {
        let created = finding.observed.created_at.unwrap_or(finding.first_seen_at);
        Self {
            closed: finding.observed.state.is_closed(),
            severity: finding.observed.severity,
            // Newest first, in unsigned bytes that order like the signed number.
            age: !(created.0.cast_unsigned() ^ (1 << 63)),
            id: finding.id,
        }
    }

    pub(super) fn append(self, key: Key) -> Key {
        key.byte(u8::from(self.closed)).byte(self.severity as u8).u64(self.age).u64(self.id.0)
    }

    pub(super) fn read(key: &[u8]) -> Option<Self> {
        Some(Self {
            // One place has one form: another byte is none that was written here.
            closed: match *key.first()? {
                0 => false,
                1 => true,
                _ => return None,
            },
            severity: *Severity::ALL.get(usize::from(*key.get(1)?))?,
            age: tables::u64_at(key, 2)?,
            id: FindingId(tables::u64_at(key, 10)?),
        })
    }
}

/// The place of a finding in the order of paths. What has no path comes last; long paths are cut, at their end.
pub(super) fn path_key(finding: &Finding) -> Key {
    let closed = Key::new().byte(u8::from(finding.observed.state.is_closed()));
    let path = finding.observed.path.as_deref().unwrap_or_default();
    let path = &path.as_bytes()[..path.len().min(PATH_BYTES_MAX)];
    // A NUL ends the path.
    let path = path.split(|&byte| byte == 0).next().unwrap_or_default();
    let ended = closed.byte(u8::from(path.is_empty())).tail(path).byte(0);
    ended.u32(finding.observed.line.unwrap_or(0)).u64(finding.id.0)
}

/// Longer paths are no help for finding a place by its path.
const PATH_BYTES_MAX: usize = 200;

/// The longest key of the order of paths.
pub(super) const PATH_KEY_BYTES_MAX: usize = PATH_BYTES_MAX + 15;

/// What the order of paths says of a finding, so that it need not be read to be passed over: as the key of its count.
fn path_value(scope: ScopeId, finding: &Finding) -> Key {
    Cell::of(&finding.observed).key(scope)
}

/// A cell of the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    pub(super) kind: Kind,
    pub(super) state: State,
    pub(super) severity: Severity,
}

impl Cell {
    fn of(observed: &Observed) -> Self {
        Self { kind: observed.kind, state: observed.state, severity: observed.severity }
    }

    fn key(self, scope: ScopeId) -> Key {
        Key::new().u32(scope.0).byte(self.kind as u8).byte(self.state as u8).byte(self.severity as u8)
    }

    pub(super) fn read(key: &[u8]) -> Option<Self> {
        let word = |at: usize| key.get(at).map(|&byte| usize::from(byte));
        Some(Self {
            kind: *Kind::ALL.get(word(4)?)?,
            state: *State::ALL.get(word(5)?)?,
            severity: *Severity::ALL.get(word(6)?)?,
        })
    }
}

/// The counts under this number are those of all scopes together.
pub(super) const ALL_SCOPES: ScopeId = ScopeId(0);

/// The tables of findings, open for one batch.
pub(super) struct Inventory<'t> {
    scope: ScopeId,
    source: SourceName,
    findings: Rows<'t>,
    ids: Rows<'t>,
    order: Rows<'t>,
    scope_order: Rows<'t>,
    paths: Rows<'t>,
    closed: Rows<'t>,
    changes: Rows<'t>,
    finding_changes: Rows<'t>,
    decisions: Rows<'t>,
    index: Index<'t>,
    finding_next: u64,
    change_next: u64,
    destination_next: DestinationId,
    log_bytes: u64,
    counts: BTreeMap<ScopeId, BTreeMap<Cell, i64>>,
    /// What was opened and fixed, and the last time of it.
    flows: BTreeMap<ScopeId, (Timestamp, Flows)>,
    /// Places of new findings, written in their order, see [`Index`].
    places: BTreeMap<Place, (ScopeId, IssueKey)>,
    /// New rows of the order of paths, the same way.
    new_paths: BTreeMap<Key, Key>,
}

/// A finding as another box tells it.
pub(super) struct Told<'a> {
    /// The number here under which it was taken in before.
    pub(super) known: Option<FindingId>,
    /// As it is said to be.
    pub(super) observed: &'a Observed,
    /// When that box first held it.
    pub(super) first_seen_at: Timestamp,
    /// Who tells it.
    pub(super) teller: u32,
    /// When it was told.
    pub(super) at: Timestamp,
}

/// How many were opened, and how many fixed.
type Flows = BTreeMap<(Kind, Severity), (u64, u64)>;

impl<'t> Inventory<'t> {
    pub(super) fn open(batch: &'t Batch, scope: ScopeId, source: &SourceName) -> Result<Self, StoreError> {
        // Before the tables are open: where one is damaged, they are asked.
        let (finding_next, change_next) = (Counter::Finding.next(batch)?, Counter::Change.next(batch)?);
        let destination_next = destinations::next_id(batch)?;
        Ok(Self {
            scope,
            source: source.clone(),
            findings: batch.rows(tables::FINDINGS)?,
            ids: batch.rows(tables::FINDING_IDS)?,
            order: batch.rows(tables::ORDER)?,
            scope_order: batch.rows(tables::SCOPE_ORDER)?,
            paths: batch.rows(tables::PATHS)?,
            closed: batch.rows(tables::CLOSED)?,
            changes: batch.rows(tables::CHANGES)?,
            finding_changes: batch.rows(tables::FINDING_CHANGES)?,
            decisions: batch.rows(tables::DECISIONS)?,
            index: Index::open(batch)?,
            finding_next,
            change_next,
            destination_next,
            log_bytes: 0,
            counts: BTreeMap::new(),
            flows: BTreeMap::new(),
            places: BTreeMap::new(),
            new_paths: BTreeMap::new(),
        })
    }

    /// Turns to another scope.
    pub(super) fn turn(&mut self, scope: ScopeId, source: &SourceName) {
        self.scope = scope;
        self.source.clone_from(source);
    }

    fn count(&mut self, observed: &Observed, difference: i64) {
        *self.counts.entry(self.scope).or_default().entry(Cell::of(observed)).or_default() += difference;
    }

    /// The stored finding with a key. A damaged one counts as none: Sonar's row replaces it.
    pub(super) fn find(&self, key: &IssueKey) -> Result<Option<Finding>, StoreError> {
        use redb::ReadableTable;
        let key = finding_key(self.scope, key);
        let stored = self.findings.get(key.0.as_slice())?;
        Ok(stored.and_then(|value| codec::open(&key.0, value.value()).ok()))
    }

    /// Carries a step out that a read which began at `read_at` came to. `slot` is used for a new finding; returns
    /// whether it was.
    pub(super) fn apply(
        &mut self,
        step: Step,
        slot: u32,
        read_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        match step {
            Step::Open(observed) => {
                let id = FindingId(self.finding_next);
                self.finding_next += 1;
                let finding = Finding {
                    id,
                    slot,
                    observed: *observed,
                    first_seen_at: now,
                    closed_at: None,
                    closed_by: None,
                    former: Vec::new(),
                };
                self.insert(&finding)?;
                self.log(&finding, None, ChangeKind::Opened, now)?;
                Ok(true)
            }
            Step::Rewrite { stored, observed, change, closed } => {
                let closed_at = match (stored.closed_at, observed.state.is_closed()) {
                    (_, false) => None,
                    (Some(closed_at), true) => Some(closed_at),
                    (None, true) => Some(now),
                };
                let before = stored.observed.state;
                let closed_by = match (closed, before.is_closed()) {
                    (None, _) => None,
                    (Some(_), true) => stored.closed_by,
                    (Some(reason), false) => Some(ClosedBy { reason, read_at, from: before }),
                };
                let former = stored.former_beside(&observed, self.destination_next);
                let finding = Finding { observed: *observed, closed_at, closed_by, former, ..(*stored).clone() };
                self.rewrite(&stored, &finding)?;
                if let Some(kind) = change {
                    self.log(&finding, Some(before), kind, now)?;
                }
                Ok(false)
            }
            Step::Move { stored, observed } => {
                let before = stored.observed.state;
                let closed_at = observed.state.is_closed().then_some(now);
                let former = stored.former_beside(&observed, self.destination_next);
                let finding = Finding { observed: *observed, closed_at, closed_by: None, former, ..(*stored).clone() };
                self.remove(&stored)?;
                self.insert(&finding)?;
                self.log(&finding, Some(before), ChangeKind::Moved, now)?;
                Ok(false)
            }
        }
    }

    /// Stores a finding as another box tells it. What is closed when it is heard of for the first time is stored without a
    /// change: it is history.
    pub(super) fn take(&mut self, told: &Told<'_>, now: Timestamp) -> Result<Finding, StoreError> {
        let Told { observed, teller, .. } = *told;
        let (closed_at, mut stored) =
            (observed.state.is_closed().then_some(observed.closed_at.unwrap_or(told.at)), None);
        let by_key = self.find(&observed.key)?;
        let is_other = |one: &Finding| told.known.is_some_and(|known| known != one.id);
        if let Some(known) = told.known.filter(|_| by_key.as_ref().is_none_or(is_other)) {
            stored = self.with_id(known)?;
        }
        // Its former holder has another key by now, or is gone.
        let stored = match (stored, by_key) {
            (Some(stored), Some(other)) => {
                self.remove(&other)?;
                Some(stored)
            }
            (stored, by_key) => stored.or(by_key),
        };
        let Some(stored) = stored else {
            let id = FindingId(self.finding_next);
            self.finding_next += 1;
            let finding = Finding {
                id,
                slot: teller,
                observed: observed.clone(),
                first_seen_at: told.first_seen_at,
                closed_at,
                closed_by: None,
                former: Vec::new(),
            };
            self.insert(&finding)?;
            if closed_at.is_none() {
                self.log(&finding, None, ChangeKind::Opened, now)?;
            }
            return Ok(finding);
        };
        let before = stored.observed.state;
        let reason = match observed.state {
            State::Fixed => Some(CloseReason::Fixed),
            State::Removed => Some(CloseReason::Removed),
            _ => None,
        };
        let closed_by = match (reason, before.is_closed()) {
            (None, _) => None,
            (Some(_), true) => stored.closed_by,
            (Some(reason), false) => Some(ClosedBy { reason, read_at: told.at, from: before }),
        };
        let former = stored.former_beside(observed, self.destination_next);
        let observed = Observed { sonar: stored.observed.sonar.clone(), ..observed.clone() };
        let change = change(&stored.observed, &observed);
        let (first_seen_at, moved) = (told.first_seen_at, stored.observed.key != observed.key);
        let finding = Finding { id: stored.id, slot: teller, observed, first_seen_at, closed_at, closed_by, former };
        if moved {
            self.remove(&stored)?;
            self.insert(&finding)?;
        } else if finding != stored {
            self.rewrite(&stored, &finding)?;
        }
        if let Some(kind) = change {
            self.log(&finding, Some(before), kind, now)?;
        }
        Ok(finding)
    }

    /// Closes a finding that its box does not tell any more, although it has read the scope completely.
    pub(super) fn close_untold(&mut self, stored: &Finding, now: Timestamp) -> Result<(), StoreError> {
        let from = stored.observed.state;
        let observed = Observed { state: State::Removed, ..stored.observed.clone() };
        let closed_by = Some(ClosedBy { reason: CloseReason::Removed, read_at: now, from });
        let finding = Finding { observed, closed_at: Some(now), closed_by, ..stored.clone() };
        self.rewrite(stored, &finding)?;
        self.log(&finding, Some(from), ChangeKind::Removed, now)
    }

    /// A finding of the scope by its number.
    fn with_id(&self, id: FindingId) -> Result<Option<Finding>, StoreError> {
        use redb::ReadableTable;
        let Some(key) = self.ids.get(Key::new().u64(id.0).0.as_slice())? else { return Ok(None) };
        if tables::u32_at(key.value(), 0) != Some(self.scope.0) {
            return Ok(None);
        }
        let stored = self.findings.get(key.value())?;
        let found = stored.and_then(|value| codec::open::<Finding>(key.value(), value.value()).ok());
        Ok(found.filter(|finding| finding.id == id))
    }

    fn insert(&mut self, finding: &Finding) -> Result<(), StoreError> {
        let key = finding_key(self.scope, &finding.observed.key);
        self.findings.insert(key.0.as_slice(), codec::seal(&key.0, finding).as_slice())?;
        self.ids.insert(Key::new().u64(finding.id.0).0.as_slice(), key.0.as_slice())?;
        self.place(finding);
        self.new_paths.insert(path_key(finding), path_value(self.scope, finding));
        self.note_closed(finding)?;
        self.index.link(&self.source, finding.id, &finding.observed)?;
        self.count(&finding.observed, 1);
        Ok(())
    }

    fn place(&mut self, finding: &Finding) {
        self.places.insert(Place::of(finding), (self.scope, finding.observed.key.clone()));
    }

    fn displace(&mut self, finding: &Finding) -> Result<(), StoreError> {
        let place = Place::of(finding);
        if self.places.remove(&place).is_none() {
            self.order.remove(place.append(Key::new()).0.as_slice())?;
            self.scope_order.remove(place.append(Key::new().u32(self.scope.0)).0.as_slice())?;
        }
        Ok(())
    }

    fn forget_path(&mut self, finding: &Finding) -> Result<(), StoreError> {
        let key = path_key(finding);
        if self.new_paths.remove(&key).is_none() {
            self.paths.remove(key.0.as_slice())?;
        }
        Ok(())
    }

    fn write_places(&mut self) -> Result<(), StoreError> {
        for (key, value) in std::mem::take(&mut self.new_paths) {
            self.paths.insert(key.0.as_slice(), value.0.as_slice())?;
        }
        for (place, (scope, key)) in &self.places {
            let of_finding = finding_key(*scope, key);
            self.order.insert(place.append(Key::new()).0.as_slice(), of_finding.0.as_slice())?;
        }
        let mut scoped: Vec<_> = std::mem::take(&mut self.places).into_iter().collect();
        // Those of one scope stay in their order.
        scoped.sort_by_key(|(_, (scope, _))| *scope);
        for (place, (scope, key)) in scoped {
            let scoped = place.append(Key::new().u32(scope.0));
            self.scope_order.insert(scoped.0.as_slice(), key.as_str().as_bytes())?;
        }
        Ok(())
    }

    fn note_closed(&mut self, finding: &Finding) -> Result<(), StoreError> {
        if let Some(at) = finding.closed_at {
            self.closed.insert(closed_key(at, self.scope, &finding.observed.key).0.as_slice(), &[][..])?;
        }
        Ok(())
    }

    fn forget_closed(&mut self, finding: &Finding) -> Result<(), StoreError> {
        if let Some(at) = finding.closed_at {
            self.closed.remove(closed_key(at, self.scope, &finding.observed.key).0.as_slice())?;
        }
        Ok(())
    }

    fn rewrite(&mut self, before: &Finding, after: &Finding) -> Result<(), StoreError> {
        let key = finding_key(self.scope, &after.observed.key);
        self.findings.insert(key.0.as_slice(), codec::seal(&key.0, after).as_slice())?;
        if Place::of(before) != Place::of(after) {
            self.displace(before)?;
            self.place(after);
        }
        let (row, former) =
            ((path_key(after), path_value(self.scope, after)), (path_key(before), path_value(self.scope, before)));
        if row != former {
            if row.0 != former.0 {
                self.forget_path(before)?;
            }
            self.new_paths.insert(row.0, row.1);
        }
        if before.closed_at != after.closed_at {
            self.forget_closed(before)?;
            self.note_closed(after)?;
        }
        let texts = |finding: &Finding| {
            (finding.observed.rule.clone(), finding.observed.message.clone(), finding.observed.path.clone())
        };
        if texts(before) != texts(after) {
            self.index.unlink(&self.source, before.id, &before.observed)?;
            self.index.link(&self.source, after.id, &after.observed)?;
        }
        self.count(&before.observed, -1);
        self.count(&after.observed, 1);
        Ok(())
    }

    fn remove(&mut self, finding: &Finding) -> Result<(), StoreError> {
        self.findings.remove(finding_key(self.scope, &finding.observed.key).0.as_slice())?;
        self.ids.remove(Key::new().u64(finding.id.0).0.as_slice())?;
        self.displace(finding)?;
        self.forget_path(finding)?;
        self.decisions.remove(Key::new().u64(finding.id.0).0.as_slice())?;
        self.forget_closed(finding)?;
        self.index.unlink(&self.source, finding.id, &finding.observed)?;
        self.count(&finding.observed, -1);
        Ok(())
    }

    /// Removes what is at a key of the table, damaged or not.
    fn remove_at(&mut self, key: &[u8]) -> Result<(), StoreError> {
        use redb::ReadableTable;
        let finding = self.findings.get(key)?.and_then(|value| codec::open::<Finding>(key, value.value()).ok());
        if let Some(finding) = finding {
            self.remove(&finding)
        } else {
            self.findings.remove(key)?;
            Ok(())
        }
    }

    /// Removes the finding that a row of the closed ones leads to, and the row.
    fn prune_closed(&mut self, row: &[u8]) -> Result<(), StoreError> {
        use redb::ReadableTable;
        self.closed.remove(row)?;
        let finding =
            self.findings.get(&row[8..])?.and_then(|value| codec::open::<Finding>(&row[8..], value.value()).ok());
        // A row that a damaged finding left behind leads to its successor, which may well be open.
        match finding {
            Some(finding) if finding.closed_at == tables::time_at(row, 0) => self.remove(&finding),
            _ => Ok(()),
        }
    }

    fn log(
        &mut self,
        finding: &Finding,
        from: Option<State>,
        kind: ChangeKind,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let (logged_at, flows) = self.flows.entry(self.scope).or_insert_with(|| (at, Flows::new()));
        *logged_at = at.max(*logged_at);
        let (opened, fixed) = flows.entry((finding.observed.kind, finding.observed.severity)).or_default();
        match kind {
            ChangeKind::Opened | ChangeKind::Reopened if !finding.observed.state.is_closed() => *opened += 1,
            ChangeKind::Fixed => *fixed += 1,
            _ => {}
        }
        let number = self.change_next;
        self.change_next += 1;
        let decision = self.decided(finding, kind)?;
        let via = decision.as_ref().and_then(|decision| decision.via.clone());
        let (by, why) = decision.map(|decision| (decision.by, decision.why)).unzip();
        let to = finding.observed.state;
        let change = Change { at, kind, finding: finding.id, scope: self.scope, from, to, by, why, via };
        let key = Key::new().u64(number);
        let record = codec::seal(&key.0, &change);
        self.log_bytes += changes::bytes(&record);
        self.changes.insert(key.0.as_slice(), record.as_slice())?;
        let of_finding = Key::new().u64(finding.id.0).u64(number);
        self.finding_changes.insert(of_finding.0.as_slice(), &[][..])?;
        Ok(())
    }

    /// The decision that a change is the outcome of. Whatever else happened to the finding ends it, too.
    fn decided(&mut self, finding: &Finding, kind: ChangeKind) -> Result<Option<Decision>, StoreError> {
        if matches!(kind, ChangeKind::Opened | ChangeKind::Updated) {
            return Ok(None);
        }
        let key = Key::new().u64(finding.id.0);
        let Some(stored) = self.decisions.remove(key.0.as_slice())? else { return Ok(None) };
        let decision = codec::open::<Decision>(&key.0, stored.value()).ok();
        Ok(decision.filter(|decision| kind == ChangeKind::Triaged && decision.state == finding.observed.state))
    }

    /// Writes what was gathered, numbers and counts; the batch is not to be committed without it.
    pub(super) fn finish(mut self, batch: &Batch) -> Result<(), StoreError> {
        self.write_places()?;
        self.index.write()?;
        let Self { finding_next, change_next, log_bytes, counts, mut flows, .. } = self;
        if log_bytes > 0 {
            changes::grow(batch, log_bytes)?;
        }
        Counter::Finding.set(batch, finding_next)?;
        Counter::Change.set(batch, change_next)?;
        let mut all: BTreeMap<Cell, i64> = BTreeMap::new();
        for (scope, counts) in &counts {
            for (cell, &difference) in counts.iter().filter(|(_, difference)| **difference != 0) {
                count(batch, &cell.key(*scope), difference)?;
                *all.entry(*cell).or_default() += difference;
            }
        }
        for (cell, difference) in all.into_iter().filter(|(_, difference)| *difference != 0) {
            count(batch, &cell.key(ALL_SCOPES), difference)?;
        }
        // Behind all counts, which a day begins with, and once for all scopes, as it holds the differences of all then. What was
        // not logged is not shown either: it is closed, or its scope is gone.
        let (mut flow, mut logged_at) = (trend::Flow::default(), None);
        for (scope, counts) in &counts {
            if let Some((at, flows)) = flows.remove(scope)
                && add_flow(batch, *scope, (counts, &flows), &mut flow)?
            {
                logged_at = logged_at.max(Some(at));
            }
        }
        match logged_at {
            Some(at) => trend::note(batch, at, &flow),
            None => Ok(()),
        }
    }
}

/// Adds what lists show of what was done to a scope's findings; false where they show nothing of the scope.
fn add_flow(
    batch: &Batch,
    scope: ScopeId,
    (counts, flows): (&BTreeMap<Cell, i64>, &Flows),
    flow: &mut trend::Flow,
) -> Result<bool, StoreError> {
    let Some(record) = catalogue::scope(batch, scope)?.filter(|record| record.retired_at.is_none()) else {
        return Ok(false);
    };
    let Some(project) = catalogue::project(batch, record.project)? else { return Ok(false) };
    let choice = catalogue::passing(batch, &project.organization)?.choice;
    for (cell, difference) in counts {
        if !cell.state.is_closed() && choice.takes(cell.kind, cell.severity).is_ok() {
            flow.open[cell.severity as usize] += difference;
        }
    }
    for (&(kind, severity), (opened, fixed)) in flows {
        if choice.takes(kind, severity).is_ok() {
            // What the first read finds was there before.
            flow.opened[severity as usize] += if record.synced_at.is_some() { *opened } else { 0 };
            flow.fixed[severity as usize] += fixed;
        }
    }
    Ok(true)
}

fn count(batch: &Batch, key: &Key, difference: i64) -> Result<(), StoreError> {
    let count = get::<u64>(batch, tables::COUNTS, key)?.unwrap_or(0);
    put_count(batch, key, count.saturating_add_signed(difference))
}

fn put_count(batch: &Batch, key: &Key, count: u64) -> Result<(), StoreError> {
    match count {
        0 => batch.delete(tables::COUNTS, key),
        count => batch.put(tables::COUNTS, key, &count),
    }
}

/// Findings of a scope by kind, state and severity, counted one by one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<Cell, u64>);

impl Tally {
    /// Counts one.
    pub fn count(&mut self, finding: &Finding) {
        *self.0.entry(Cell::of(&finding.observed)).or_default() += 1;
    }
}

/// Sets a scope's counts to what was counted, and those of all scopes with them. A damaged finding that was replaced is
/// counted twice until then. Returns whether anything was wrong.
pub fn recount(batch: &Batch, scope: ScopeId, tally: &Tally) -> Result<bool, StoreError> {
    let mut wrong = false;
    for kind in Kind::ALL {
        for state in State::ALL {
            for severity in Severity::ALL {
                let cell = Cell { kind: *kind, state: *state, severity: *severity };
                let stored = match get::<u64>(batch, tables::COUNTS, &cell.key(scope)) {
                    Err(StoreError::Damaged { .. }) => 0,
                    stored => stored?.unwrap_or(0),
                };
                let counted = tally.0.get(&cell).copied().unwrap_or(0);
                let difference = counted.cast_signed().saturating_sub(stored.cast_signed());
                if difference != 0 {
                    wrong = true;
                    put_count(batch, &cell.key(scope), counted)?;
                    count(batch, &cell.key(ALL_SCOPES), difference)?;
                }
            }
        }
    }
    Ok(wrong)
}

/// The finding of a scope with Sonar's key.
pub fn with_key(view: &impl View, scope: ScopeId, key: &IssueKey) -> Result<Option<Finding>, StoreError> {
    get(view, tables::FINDINGS, &finding_key(scope, key))
}

/// A finding and its scope. The number of a damaged one, which Sonar's row replaced under a new number, leads to
/// nothing.
pub fn with_id(view: &impl View, id: FindingId) -> Result<Option<(ScopeId, Finding)>, StoreError> {
    use redb::ReadableTable;
    let ids = view.rows(tables::FINDING_IDS)?;
    let Some(key) = ids.get(Key::new().u64(id.0).0.as_slice())? else { return Ok(None) };
    let Some(scope) = tables::u32_at(key.value(), 0) else { return Ok(None) };
    let finding = get::<Finding>(view, tables::FINDINGS, &Key::new().tail(key.value()))?;
    Ok(finding.filter(|finding| finding.id == id).map(|finding| (ScopeId(scope), finding)))
}

/// What there is of a finding that was told somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// It is held.
    Held,
    /// Something is there that cannot be read: it may be held.
    Unreadable,
    /// Sonar's key leads to this number: the record was damaged, and Sonar's row replaced it.
    Replaced(FindingId),
    /// Nothing.
    None,
}

/// What there is of a finding by its number, and by the scope and key that it was last known by.
pub fn trace(view: &impl View, id: FindingId, scope: ScopeId, key: &IssueKey) -> Result<Trace, StoreError> {
    match with_id(view, id) {
        Ok(Some(_)) => return Ok(Trace::Held),
        Err(StoreError::Damaged { .. }) => return Ok(Trace::Unreadable),
        Ok(None) => {}
        Err(error) => return Err(error),
    }
    match get::<Finding>(view, tables::FINDINGS, &finding_key(scope, key)) {
        Ok(Some(successor)) => Ok(Trace::Replaced(successor.id)),
        Err(StoreError::Damaged { .. }) => Ok(Trace::Unreadable),
        // A number that leads somewhere is not gone.
        Ok(None) if super::has(view, tables::FINDING_IDS, &Key::new().u64(id.0))? => Ok(Trace::Unreadable),
        Ok(None) => Ok(Trace::None),
        Err(error) => Err(error),
    }
}

/// Looks many keys of a scope up with one opening of the table. A damaged finding counts as none.
pub fn with_keys<'k>(
    view: &impl View,
    scope: ScopeId,
    keys: impl Iterator<Item = &'k IssueKey>,
) -> Result<Vec<Option<Finding>>, StoreError> {
    use redb::ReadableTable;
    let findings = view.rows(tables::FINDINGS)?;
    keys.map(|key| {
        let key = finding_key(scope, key);
        let stored = findings.get(key.0.as_slice())?;
        Ok(stored.and_then(|value| codec::open(&key.0, value.value()).ok()))
    })
    .collect()
}

/// Findings of a scope in key order from after a key, at most so many that one read stays short. Damaged ones are
/// passed over.
pub fn after(
    view: &impl View,
    scope: ScopeId,
    after: Option<&IssueKey>,
    most: usize,
) -> Result<Vec<Finding>, StoreError> {
    rows_after(view, scope, after, most, |_, _| Ok(()))
}

/// The same for a list that must not lack what is open.
///
/// # Errors
/// Also if one is damaged that was not closed when it was last written.
pub fn all_after(
    view: &impl View,
    scope: ScopeId,
    after: Option<&IssueKey>,
    most: usize,
) -> Result<Vec<Finding>, StoreError> {
    rows_after(
        view,
        scope,
        after,
        most,
        |key, damaged| if is_closed(view, scope, key)? { Ok(()) } else { Err(damaged) },
    )
}

fn rows_after(
    view: &impl View,
    scope: ScopeId,
    after: Option<&IssueKey>,
    most: usize,
    unreadable: impl Fn(&[u8], StoreError) -> Result<(), StoreError>,
) -> Result<Vec<Finding>, StoreError> {
    use redb::ReadableTable;
    use std::ops::Bound;
    let findings = view.rows(tables::FINDINGS)?;
    let prefix = Key::new().u32(scope.0);
    let start = after.map(|key| finding_key(scope, key));
    let end = prefix.end();
    let range: (Bound<&[u8]>, Bound<&[u8]>) = (
        start.as_ref().map_or(Bound::Included(prefix.0.as_slice()), |key| Bound::Excluded(key.0.as_slice())),
        end.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
    );
    let mut found = Vec::new();
    for row in findings.range::<&[u8]>(range)? {
        let (key, value) = row?;
        match codec::open(key.value(), value.value()) {
            Ok(finding) => found.push(finding),
            Err(error) => unreadable(key.value(), error)?,
        }
        if found.len() == most {
            break;
        }
    }
    Ok(found)
}

/// Whether the order of lists has a finding among those that are closed, by its key in the table of findings.
fn is_closed(view: &impl View, scope: ScopeId, key: &[u8]) -> Result<bool, StoreError> {
    use redb::ReadableTable;
    let order = view.rows(tables::SCOPE_ORDER)?;
    let (start, end) = (Key::new().u32(scope.0).byte(1), Key::new().u32(scope.0).end());
    let closed = match &end {
        Some(end) => order.range::<&[u8]>(start.0.as_slice()..end.as_slice())?,
        None => order.range::<&[u8]>(start.0.as_slice()..)?,
    };
    for row in closed {
        if Some(row?.1.value()) == key.get(size_of::<u32>()..) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Notes who decides about a finding, before Sonar is told: a read may come right after.
pub fn note_decision(batch: &Batch, id: FindingId, decision: &Decision) -> Result<(), StoreError> {
    batch.put(tables::DECISIONS, &Key::new().u64(id.0), decision)
}

/// Forgets a decision that Sonar did not take.
pub fn forget_decision(batch: &Batch, id: FindingId) -> Result<(), StoreError> {
    batch.delete(tables::DECISIONS, &Key::new().u64(id.0))
}

/// What happened to a finding, oldest first.
pub fn changes_of(view: &impl View, id: FindingId) -> Result<Vec<(ChangeNumber, Change)>, StoreError> {
    keys(view, tables::FINDING_CHANGES, &Key::new().u64(id.0), limits::LIST_ROWS_MAX)?
        .iter()
        .filter_map(|key| tables::u64_at(key, 8))
        .filter_map(|number| {
            get(view, tables::CHANGES, &Key::new().u64(number))
                .map(|change| change.map(|change| (ChangeNumber(number), change)))
                .transpose()
        })
        .collect()
}

/// The newest change's number; 0 if there was none. After a restore it is far behind the next one's.
pub fn last_change(view: &impl View) -> Result<ChangeNumber, StoreError> {
    match super::last_key(view, tables::CHANGES)?.and_then(|key| tables::u64_at(&key, 0)) {
        Some(number) => Ok(ChangeNumber(number)),
        None => Ok(ChangeNumber(Counter::Change.next(view)?.saturating_sub(1))),
    }
}

/// The number that the next new finding will get.
pub fn next_id(view: &impl View) -> Result<FindingId, StoreError> {
    Ok(FindingId(Counter::Finding.next(view)?))
}

/// What came of reopening a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reopened {
    /// It has the state again that it had before it was closed.
    Done(State),
    /// It is not closed.
    NotClosed(State),
    /// Its branch is not read any more, so that nothing would ever close it again.
    NotRead,
    /// There is none, or its project was removed here.
    Missing,
}

/// Undoes a closing. The next complete read closes the finding again if Sonar still says so.
pub fn reopen(batch: &Batch, id: FindingId, now: Timestamp) -> Result<Reopened, StoreError> {
    let Some((scope, stored)) = with_id(batch, id)? else { return Ok(Reopened::Missing) };
    let Some(record) = catalogue::scope(batch, scope)? else { return Ok(Reopened::Missing) };
    let Some(project) = catalogue::project(batch, record.project)? else { return Ok(Reopened::Missing) };
    let before = stored.observed.state;
    if !before.is_closed() {
        return Ok(Reopened::NotClosed(before));
    }
    if record.retired_at.is_some() {
        return Ok(Reopened::NotRead);
    }
    let state = stored.closed_by.map(|by| by.from).filter(|from| !from.is_closed()).unwrap_or(State::Open);
    let observed = Observed { state, closed_at: None, ..stored.observed.clone() };
    let finding = Finding { observed, closed_at: None, closed_by: None, ..stored.clone() };
    let mut inventory = Inventory::open(batch, scope, &project.organization.source)?;
    inventory.rewrite(&stored, &finding)?;
    inventory.log(&finding, Some(before), ChangeKind::Reopened, now)?;
    inventory.finish(batch)?;
    Ok(Reopened::Done(state))
}

/// Deletes findings of a discarded scope, as many as one batch may. Returns whether some are left.
pub fn discard(batch: &Batch, scope: ScopeId) -> Result<bool, StoreError> {
    let Some(source) = get::<SourceName>(batch, tables::DISCARDED, &Key::new().u32(scope.0))? else {
        return Ok(false);
    };
    for staged in keys(batch, tables::STAGING, &Key::new().u32(scope.0), limits::DELETIONS_PER_COMMIT_MAX)? {
        batch.delete(tables::STAGING, &Key::new().tail(&staged))?;
    }
    let prefix = Key::new().u32(scope.0);
    let gone = keys(batch, tables::FINDINGS, &prefix, limits::DELETIONS_PER_COMMIT_MAX)?;
    let mut inventory = Inventory::open(batch, scope, &source)?;
    let mut removed = 0;
    for key in &gone {
        // On a slow disk even as many hold the writer for too long.
        if removed > 0 && batch.is_over() {
            break;
        }
        inventory.remove_at(key)?;
        removed += 1;
    }
    inventory.finish(batch)?;
    let left = removed < gone.len()
        || gone.len() == limits::DELETIONS_PER_COMMIT_MAX
        || !keys(batch, tables::STAGING, &Key::new().u32(scope.0), 1)?.is_empty();
    if !left {
        batch.delete(tables::DISCARDED, &Key::new().u32(scope.0))?;
    }
    Ok(left)
}

/// Whether findings are held that were closed before a time.
pub fn has_closed_before(view: &impl View, before: Timestamp) -> Result<bool, StoreError> {
    Ok(first_closed(view, before, 1)?.len() == 1)
}

fn first_closed(view: &impl View, before: Timestamp, most: usize) -> Result<Vec<Vec<u8>>, StoreError> {
    use redb::ReadableTable;
    let end = Key::new().time(before);
    let closed = view.rows(tables::CLOSED)?;
    closed.range::<&[u8]>(..end.0.as_slice())?.take(most).map(|row| Ok(row?.0.value().to_vec())).collect()
}

/// Deletes findings that were closed before a time, the longest closed first, with all that leads to them but the
/// change log; as many as one batch may. Returns how many rows are gone.
pub fn prune_closed(batch: &Batch, before: Timestamp) -> Result<usize, StoreError> {
    let mut of_scope: BTreeMap<ScopeId, Vec<Vec<u8>>> = BTreeMap::new();
    for key in first_closed(batch, before, limits::DELETIONS_PER_COMMIT_MAX)? {
        of_scope.entry(ScopeId(tables::u32_at(&key, 8).unwrap_or_default())).or_default().push(key);
    }
    let mut gone = 0;
    for (scope, keys) in of_scope {
        let source = source_of(batch, scope)?;
        let mut inventory = source.as_ref().map(|source| Inventory::open(batch, scope, source)).transpose()?;
        let mut closed = None;
        for key in keys {
            // At least one, so that the slowest disk gets there in the end.
            if gone > 0 && batch.is_over() {
                break;
            }
            match &mut inventory {
                Some(inventory) => inventory.prune_closed(&key)?,
                // Scope and findings are gone; this row was left behind.
                None => drop(closed.get_or_insert(batch.rows(tables::CLOSED)?).remove(key.as_slice())?),
            }
            gone += 1;
        }
        if let Some(inventory) = inventory {
            inventory.finish(batch)?;
        }
    }
    Ok(gone)
}

/// Fills the table of closed findings from a database that had none. Only what is closed is read, row by row, so
/// that memory does not grow with it.
pub(super) fn index_closed(batch: &Batch) -> Result<(), StoreError> {
    use redb::ReadableTable;
    let (order, findings) = (batch.rows(tables::ORDER)?, batch.rows(tables::FINDINGS)?);
    let mut closed = batch.rows(tables::CLOSED)?;
    for row in order.range::<&[u8]>(Key::new().byte(1).0.as_slice()..)? {
        let (_, key) = row?;
        let Some(finding) = findings.get(key.value())? else { continue };
        let Ok(finding) = codec::open::<Finding>(key.value(), finding.value()) else { continue };
        if let (Some(at), Some(scope)) = (finding.closed_at, tables::u32_at(key.value(), 0)) {
            closed.insert(closed_key(at, ScopeId(scope), &finding.observed.key).0.as_slice(), &[][..])?;
        }
    }
    Ok(())
}

/// Fills the order of paths from a database that had none.
pub(super) fn index_paths(batch: &Batch) -> Result<(), StoreError> {
    use redb::ReadableTable;
    let (findings, mut paths) = (batch.rows(tables::FINDINGS)?, batch.rows(tables::PATHS)?);
    for row in findings.iter()? {
        let (key, value) = row?;
        let Ok(finding) = codec::open::<Finding>(key.value(), value.value()) else { continue };
        if let Some(scope) = tables::u32_at(key.value(), 0) {
            paths.insert(path_key(&finding).0.as_slice(), path_value(ScopeId(scope), &finding).0.as_slice())?;
        }
    }
    Ok(())
}

/// The source of a scope that is held, or whose findings wait for deletion.
fn source_of(view: &impl View, scope: ScopeId) -> Result<Option<SourceName>, StoreError> {
    if let Some(scope) = catalogue::scope(view, scope)? {
        return Ok(catalogue::project(view, scope.project)?.map(|project| project.organization.source));
    }
    get(view, tables::DISCARDED, &Key::new().u32(scope.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_and_orders_open_worst_newest_first() {
        let place = |closed, severity, created: i64, id| Place {
            closed,
            severity,
            age: !(created.cast_unsigned() ^ (1 << 63)),
            id: FindingId(id),
        };
        let expected = [
            place(false, Severity::Critical, 9, 7),
            place(false, Severity::Critical, 5, 1),
            place(false, Severity::Critical, -5, 2),
            place(false, Severity::Low, 99, 3),
            place(true, Severity::Critical, 9, 4),
        ];
        let keys: Vec<_> = expected.iter().map(|place| place.append(Key::new()).0).collect();
        assert!(keys.is_sorted());
        for (place, key) in expected.iter().zip(&keys) {
            assert_eq!(Place::read(key), Some(*place));
        }
    }
}
