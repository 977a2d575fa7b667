//! The log of changes as those who follow it read it: from a place that they keep, as far as there is one.
//!
//! Whoever begins is first told the present state, finding by finding, and then what changed since that began. The
//! log is not kept for ever: who comes back after the oldest change that he needs is gone is told the present state
//! anew, and that it is so. What is deleted is not told as a change: it was closed long before, or its project was
//! removed here, which closes nothing elsewhere.

use std::time::Instant;

use minicbor::{Decode, Encode};
use redb::ReadableTable;

use super::codec;
use super::findings::finding_key;
use super::records::Change;
use super::tables::{self, Key};
use super::{Batch, StoreError, View, get, has};
use crate::domain::finding::Finding;
use crate::domain::ids::{ChangeNumber, IssueKey, ScopeId};
use crate::domain::limits::{DELETIONS_PER_COMMIT_MAX, READ_MAX};
use crate::domain::signature::{hex, to_hex};
use crate::domain::time::Timestamp;

/// How far a follower has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub enum Cursor {
    /// Nowhere yet.
    #[default]
    #[n(0)]
    New,
    /// It is being told the present state.
    #[n(1)]
    Seeding {
        /// The newest change when that began; from there it goes on.
        #[n(0)]
        began: ChangeNumber,
        /// The last finding that it was told of.
        #[n(1)]
        scope: ScopeId,
        /// Its key; absent where none of the scope was told yet.
        #[n(2)]
        key: Option<IssueKey>,
    },
    /// It knows everything up to this change.
    #[n(2)]
    At(#[n(0)] ChangeNumber),
}

codec::record!(Cursor = "cursor");

impl Cursor {
    /// The cursor as text that means nothing to whoever keeps it.
    pub fn to_text(&self) -> String {
        let mut bytes = Vec::new();
        minicbor::encode(self, &mut bytes).expect("encoding to memory cannot fail");
        to_hex(&bytes)
    }

    /// Reads such a text back.
    pub fn from_text(text: &str) -> Option<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let mut bytes = vec![0; text.len() / 2];
        hex(text.as_bytes(), &mut bytes)?;
        let mut decoder = minicbor::Decoder::new(&bytes);
        let cursor = decoder.decode().ok()?;
        (decoder.position() == bytes.len()).then_some(cursor)
    }

    /// Where to go on if the log has changes from `oldest` to `newest`, and whether the follower has to be told
    /// everything anew: it was overtaken, or knows a change that there is none of, as after a restore.
    fn standing(
        &self,
        oldest: ChangeNumber,
        newest: ChangeNumber,
        is_kept: impl Fn(ChangeNumber) -> Result<bool, StoreError>,
    ) -> Result<(Self, bool), StoreError> {
        let known = match self {
            Self::New => return Ok((Self::seed(newest), false)),
            Self::Seeding { began, .. } => *began,
            Self::At(number) => *number,
        };
        let is_overtaken = known.0.saturating_add(1) < oldest.0;
        if known > newest || is_overtaken || (oldest..newest).contains(&known) && !is_kept(known)? {
            return Ok((Self::seed(newest), true));
        }
        Ok((self.clone(), false))
    }

    fn seed(began: ChangeNumber) -> Self {
        Self::Seeding { began, scope: ScopeId(0), key: None }
    }
}

/// A cursor's key has at most 255 bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// Something that a follower is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A finding as it is.
    Current(ScopeId, Box<Finding>),
    /// A change of one.
    Change(ChangeNumber, Change),
}

impl Item {
    /// The scope that it is about.
    pub fn scope(&self) -> ScopeId {
        match self {
            Self::Current(scope, _) => *scope,
            Self::Change(_, change) => change.scope,
        }
    }
}

/// What a follower is told at once.
#[derive(Debug, PartialEq, Eq)]
pub struct Followed {
    /// In order.
    pub items: Vec<Item>,
    /// Where it goes on.
    pub next: Cursor,
    /// Whether it is told the present state anew from here on: what it is not told of until that ends is gone.
    pub reseeded: bool,
}

impl Followed {
    /// The change after which the present state is told, where it is told.
    pub fn began(&self) -> ChangeNumber {
        match &self.next {
            Cursor::Seeding { began, .. } | Cursor::At(began) => *began,
            Cursor::New => unreachable!("nobody is sent back to the beginning"),
        }
    }

    /// Where to go on for one who took only the first so many items in.
    pub fn after(&self, taken: usize, former: &Cursor) -> Cursor {
        if taken >= self.items.len() {
            return self.next.clone();
        }
        let began = self.began();
        match taken.checked_sub(1).and_then(|last| self.items.get(last)) {
            None if self.reseeded => Cursor::New,
            None => former.clone(),
            Some(Item::Change(number, _)) => Cursor::At(*number),
            Some(Item::Current(scope, finding)) => {
                Cursor::Seeding { began, scope: *scope, key: Some(finding.observed.key.clone()) }
            }
        }
    }
}

/// What follows a cursor, at most so many items, and no more than can be read in `limits::READ_MAX`. At the end of
/// the log there are no items, and the cursor stays as it is.
pub fn follow(view: &impl View, cursor: &Cursor, most: usize) -> Result<Followed, StoreError> {
    let newest = super::findings::last_change(view)?;
    let is_kept = |number: ChangeNumber| has(view, tables::CHANGES, &Key::new().u64(number.0));
    let (cursor, reseeded) = cursor.standing(oldest(view, newest)?, newest, is_kept)?;
    let (began, scope, key, reseeded) = match cursor {
        Cursor::Seeding { began, scope, key } => (began, scope, key, reseeded),
        Cursor::At(number) => {
            if let Some((items, next)) = changes(view, number, most)? {
                return Ok(Followed { items, next: Cursor::At(next), reseeded });
            }
            // A change that cannot be read is made up for by the state that it led to.
            (newest, ScopeId(0), None, true)
        }
        Cursor::New => unreachable!("a new cursor's standing is at the seed's beginning"),
    };
    let (items, next) = seed(view, began, scope, key, most)?;
    Ok(Followed { items, next, reseeded })
}

/// The oldest change kept; the one after the newest if none is.
fn oldest(view: &impl View, newest: ChangeNumber) -> Result<ChangeNumber, StoreError> {
    let changes = view.rows(tables::CHANGES)?;
    let first = changes.first()?.and_then(|(key, _)| tables::u64_at(key.value(), 0));
    Ok(ChangeNumber(first.unwrap_or(newest.0 + 1)))
}

/// Changes after a number; nothing if one of them is damaged.
fn changes(
    view: &impl View,
    after: ChangeNumber,
    most: usize,
) -> Result<Option<(Vec<Item>, ChangeNumber)>, StoreError> {
    let began = Instant::now();
    let (mut items, mut last) = (Vec::new(), after);
    let rows = view.rows(tables::CHANGES)?;
    let start = Key::new().u64(after.0.saturating_add(1));
    for row in rows.range::<&[u8]>(start.0.as_slice()..)?.take(most) {
        let (key, value) = row?;
        let (Some(number), Ok(change)) = (tables::u64_at(key.value(), 0), codec::open(key.value(), value.value()))
        else {
            return Ok(None);
        };
        last = ChangeNumber(number);
        items.push(Item::Change(last, change));
        if began.elapsed() >= READ_MAX / 2 {
            break;
        }
    }
    Ok(Some((items, last)))
}

/// Findings after a place, in the order of scopes and keys. Those of removed scopes are on their way out.
fn seed(
    view: &impl View,
    began: ChangeNumber,
    mut scope: ScopeId,
    mut after: Option<IssueKey>,
    most: usize,
) -> Result<(Vec<Item>, Cursor), StoreError> {
    let start = Instant::now();
    let mut items = Vec::new();
    let findings = view.rows(tables::FINDINGS)?;
    'scopes: loop {
        let held = has(view, tables::SCOPES, &Key::new().u32(scope.0))?;
        if held {
            let prefix = Key::new().u32(scope.0);
            let from = after.as_ref().map_or_else(|| prefix.clone(), |key| finding_key(scope, key).byte(0));
            for row in findings.range::<&[u8]>(from.0.as_slice()..)? {
                let (key, value) = row?;
                if !key.value().starts_with(&prefix.0) {
                    break;
                }
                // A damaged one is replaced by Sonar's row with the next whole read, which is a change.
                let Ok(finding) = codec::open::<Finding>(key.value(), value.value()) else { continue };
                after = Some(finding.observed.key.clone());
                items.push(Item::Current(scope, Box::new(finding)));
                if items.len() >= most || start.elapsed() >= READ_MAX / 2 {
                    break 'scopes;
                }
            }
        }
        let Some(next) = scope.0.checked_add(1) else { return Ok((items, Cursor::At(began))) };
        let following = findings.range::<&[u8]>(Key::new().u32(next).0.as_slice()..)?.next().transpose()?;
        match following.and_then(|(key, _)| tables::u32_at(key.value(), 0)) {
            Some(next) => (scope, after) = (ScopeId(next), None),
            None => return Ok((items, Cursor::At(began))),
        }
    }
    Ok((items, Cursor::Seeding { began, scope, key: after }))
}

/// What a change takes: its record, and the keys that lead to it.
pub(super) fn bytes(record: &[u8]) -> u64 {
    record.len() as u64 + 24
}

fn log_bytes_key() -> Key {
    Key::new().tail(b"change log bytes")
}

/// Bytes that the log takes. A damaged count counts as none; the log then grows past its size once.
fn log_bytes(view: &impl View) -> Result<u64, StoreError> {
    match get(view, tables::META, &log_bytes_key()) {
        Err(StoreError::Damaged { .. }) => Ok(0),
        found => Ok(found?.unwrap_or(0)),
    }
}

/// Counts what was added to the log.
pub(super) fn grow(batch: &Batch, by: u64) -> Result<(), StoreError> {
    batch.put(tables::META, &log_bytes_key(), &(log_bytes(batch)? + by))
}

/// Counts the whole log, for a database that had no count.
pub(super) fn count_bytes(batch: &Batch) -> Result<(), StoreError> {
    let mut sum = 0;
    for row in batch.rows(tables::CHANGES)?.iter()? {
        sum += bytes(row?.1.value());
    }
    batch.put(tables::META, &log_bytes_key(), &sum)
}

/// Whether the log has more bytes than it may.
pub fn is_overfull(view: &impl View, bytes_max: u64) -> Result<bool, StoreError> {
    Ok(log_bytes(view)? > bytes_max)
}

/// Deletes the oldest changes while the log has too many bytes, as many as one batch may; also from the history of
/// their findings. Returns how many are gone. The newest always stays.
pub fn prune(batch: &Batch, bytes_max: u64) -> Result<usize, StoreError> {
    let mut left = log_bytes(batch)?;
    let mut gone = 0;
    {
        let newest = Key::new().u64(super::findings::last_change(batch)?.0);
        let mut changes = batch.rows(tables::CHANGES)?;
        let mut of_findings = batch.rows(tables::FINDING_CHANGES)?;
        while left > bytes_max && gone < DELETIONS_PER_COMMIT_MAX && !(gone > 0 && batch.is_over()) {
            let Some((key, record)) =
                changes.first()?.map(|(key, value)| (key.value().to_vec(), value.value().to_vec()))
            else {
                left = 0;
                break;
            };
            if key >= newest.0 {
                left = bytes(&record);
                break;
            }
            changes.remove(key.as_slice())?;
            // Where a damaged one leads back to is not known; a row that leads to nothing is passed over.
            if let Ok(change) = codec::open::<Change>(&key, &record) {
                of_findings.remove(Key::new().u64(change.finding.0).tail(&key).0.as_slice())?;
            }
            left = left.saturating_sub(bytes(&record));
            gone += 1;
        }
    }
    batch.put(tables::META, &log_bytes_key(), &left)?;
    Ok(gone)
}

/// The last change before a time; where the log does not reach back to it, the one before the oldest. Changes are
/// numbered in the order in which they were written, so that a clock that was set back shows only as a place that is a
/// little early.
pub fn before(view: &impl View, time: Timestamp) -> Result<ChangeNumber, StoreError> {
    let newest = super::findings::last_change(view)?;
    let (mut low, mut high) = (oldest(view, newest)?.0, newest.0 + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        // Numbers may be left out.
        let rows = view.rows(tables::CHANGES)?;
        let next = rows.range::<&[u8]>(Key::new().u64(middle).0.as_slice()..)?.next().transpose()?;
        let (number, at) = next.map_or((middle, None), |(key, value)| {
            let change = codec::open::<Change>(key.value(), value.value());
            (tables::u64_at(key.value(), 0).unwrap_or(middle), change.ok().map(|change| change.at))
        });
        // One that cannot be read is looked at again rather than left out.
        if at.is_some_and(|at| at < time) { low = number + 1 } else { high = middle }
    }
    Ok(ChangeNumber(low.saturating_sub(1)))
}

/// The changes of a scope between two times, the oldest first, at most so many; and whether those are all. Not more than
/// [`EXAMINED_MAX`] changes are looked at, as others may have happened in between.
pub fn of_scope(
    view: &impl View,
    scope: ScopeId,
    (from, until): (Timestamp, Timestamp),
    most: usize,
) -> Result<(Vec<(ChangeNumber, Change)>, bool), StoreError> {
    let first = Key::new().u64(before(view, from)?.0 + 1);
    let rows = view.rows(tables::CHANGES)?;
    let mut found = Vec::new();
    for (examined, row) in rows.range::<&[u8]>(first.0.as_slice()..)?.enumerate() {
        if examined >= EXAMINED_MAX || found.len() >= most {
            return Ok((found, false));
        }
        let (key, value) = row?;
        let (Some(number), Ok(change)) =
            (tables::u64_at(key.value(), 0), codec::open::<Change>(key.value(), value.value()))
        else {
            continue;
        };
        if change.at > until {
            break;
        }
        if change.scope == scope {
            found.push((ChangeNumber(number), change));
        }
    }
    Ok((found, true))
}

/// See [`of_scope`].
const EXAMINED_MAX: usize = 20_000;

/// When the newest change was.
pub fn newest_at(view: &impl View) -> Result<Option<Timestamp>, StoreError> {
    let number = super::findings::last_change(view)?;
    match get::<Change>(view, tables::CHANGES, &Key::new().u64(number.0)) {
        Err(StoreError::Damaged { .. }) => Ok(None),
        found => Ok(found?.map(|change| change.at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Counter;

    fn at(number: u64) -> Cursor {
        Cursor::At(ChangeNumber(number))
    }

    #[test]
    fn a_cursor_is_overtaken_when_the_change_after_it_is_gone() {
        let standing = |cursor: Cursor| cursor.standing(ChangeNumber(5), ChangeNumber(9), |_| Ok(true)).unwrap();
        for kept in [4, 5, 9] {
            assert_eq!(standing(at(kept)), (at(kept), false), "{kept}");
        }
        let seed = || Cursor::seed(ChangeNumber(9));
        for lost in [0, 3, 10] {
            assert_eq!(standing(at(lost)), (seed(), true), "{lost}");
        }
        assert_eq!(standing(Cursor::New), (seed(), false));
        let seeding = |began| Cursor::Seeding { began: ChangeNumber(began), scope: ScopeId(7), key: None };
        assert_eq!(standing(seeding(4)), (seeding(4), false));
        assert_eq!(standing(seeding(3)), (seed(), true));
    }

    #[test]
    fn of_a_log_without_changes_only_a_cursor_at_its_end_is_good() {
        let none = |_| Ok(false);
        let standing = |cursor: Cursor| cursor.standing(ChangeNumber(10), ChangeNumber(9), none).unwrap().1;
        assert_eq!([8, 9, 10].map(|number| standing(at(number))), [true, false, true]);
        assert!(!at(0).standing(ChangeNumber(1), ChangeNumber(0), none).unwrap().1);
    }

    /// A backup of change 7 was put back, and what came after it has numbers from 20: who knows 8 knows what never was.
    #[test]
    fn a_cursor_at_a_change_that_a_restore_took_back_is_told_everything_anew() {
        let kept = |number: ChangeNumber| Ok((5..=7).contains(&number.0) || number.0 >= 20);
        let standing = |known: u64, newest| at(known).standing(ChangeNumber(5), ChangeNumber(newest), kept).unwrap().1;
        assert_eq!(
            [4, 7, 8, 19, 20, 21, 22].map(|known| standing(known, 21)),
            [false, false, true, true, false, false, true]
        );
        assert_eq!([4, 7, 8].map(|known| standing(known, 7)), [false, false, true]);
    }

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        let key = Some(IssueKey::parse(&"k".repeat(255)).unwrap());
        let cursors =
            [Cursor::New, at(u64::MAX), Cursor::Seeding { began: ChangeNumber(3), scope: ScopeId(u32::MAX), key }];
        for cursor in cursors {
            assert_eq!(Cursor::from_text(&cursor.to_text()), Some(cursor));
        }
        let text = at(3).to_text();
        for bad in ["", "0", "zz", &text[1..], &text[2..], &format!("{text}00"), &"0".repeat(5000)] {
            assert_eq!(Cursor::from_text(bad), None, "{bad}");
        }
    }

    /// After a restore numbers are left out. Nobody may stop at them, or count them.
    #[test]
    fn numbers_that_are_left_out_are_passed_over() {
        use crate::domain::finding::State;
        use crate::domain::ids::FindingId;
        use crate::domain::reconcile::ChangeKind;
        use crate::store::Store;
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), std::sync::Arc::default()).unwrap();
        let far = 1 << 20;
        let numbers = [5, 6, 7, far, far + 1];
        let written = store.write::<_, StoreError>(move |batch| {
            Counter::Change.set(batch, far + 2)?;
            numbers.into_iter().enumerate().try_for_each(|(place, number)| {
                let at = Timestamp(i64::try_from(place).unwrap() * 10);
                let (kind, finding, scope) = (ChangeKind::Opened, FindingId(number), ScopeId(1));
                let change =
                    Change { at, kind, finding, scope, from: None, to: State::Open, by: None, via: None, why: None };
                batch.put(tables::CHANGES, &Key::new().u64(number), &change)
            })
        });
        assert_eq!(written, Ok(()));
        let looked = store.read::<_, StoreError>(|view| {
            for (time, expected) in [(0, 4), (5, 5), (10, 5), (25, 7), (30, 7), (35, far), (40, far), (99, far + 1)] {
                assert_eq!(before(view, Timestamp(time))?, ChangeNumber(expected), "{time}");
            }
            let (found, is_all) = of_scope(view, ScopeId(1), (Timestamp(5), Timestamp(35)), 9)?;
            let found: Vec<u64> = found.into_iter().map(|(number, _)| number.0).collect();
            assert_eq!((found, is_all), (vec![6, 7, far], true));
            let told = |known: u64| {
                let followed = follow(view, &at(known), 9)?;
                let numbers = followed.items.iter().filter_map(|item| match item {
                    Item::Change(number, _) => Some(number.0),
                    Item::Current(..) => None,
                });
                Ok::<_, StoreError>((numbers.collect::<Vec<_>>(), followed.reseeded))
            };
            assert_eq!(told(7)?, (vec![far, far + 1], false));
            assert_eq!(told(8)?, (Vec::new(), true), "it was taken back");
            assert_eq!(told(far + 1)?, (Vec::new(), false));
            Ok(())
        });
        assert_eq!(looked, Ok(()));
    }
}
