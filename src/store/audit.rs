//! The log of what was done by whom. What changed nothing is kept apart from what did, in the same table and with numbers of
//! the same row, and is forgotten by itself: logins and refused calls can be made at will by whoever may only look.

use minicbor::{Decode, Encode};
use redb::{ReadableTable, ReadableTableMetadata};

use super::tables::{self, Key};
use super::{Batch, Counter, StoreError, View, codec, get, keys};
use crate::domain::limits;
use crate::domain::time::Timestamp;

/// Something that somebody did.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// When.
    #[n(0)]
    pub at: Timestamp,
    /// Who: a user, a token, or `local`.
    #[n(1)]
    pub who: String,
    /// By which way: `socket`, `page`, `token`.
    #[n(2)]
    pub via: String,
    /// What, as the API's description says it.
    #[n(3)]
    pub what: String,
    /// To what: the address, without its query.
    #[n(4)]
    pub target: String,
    /// The HTTP status that it ended with; absent while it is being done, or where the process ended in its middle.
    #[n(5)]
    pub status: Option<u16>,
    /// From which address, where it came over the network.
    #[n(6)]
    pub from: Option<String>,
}

super::codec::record!(Entry = "entry of the audit log");

/// Whether something may be different after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It may.
    Change,
    /// It is not: a login, a look, what was refused.
    Passing,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Change, Self::Passing];

    /// What keys begin with. No change has the number that others begin with.
    fn prefix(self) -> Key {
        match self {
            Self::Change => Key::new(),
            Self::Passing => Key::new().u64(PASSING),
        }
    }

    fn key(self, number: u64) -> Key {
        self.prefix().u64(number)
    }

    /// The number in a key of this kind.
    fn number(self, key: &[u8]) -> Option<u64> {
        match self {
            Self::Change => tables::u64_at(key, 0).filter(|number| *number != PASSING),
            Self::Passing => tables::u64_at(key, 8),
        }
    }

    fn most(self) -> u64 {
        match self {
            Self::Change => limits::AUDIT_ENTRIES_MAX,
            Self::Passing => limits::AUDIT_PASSING_MAX,
        }
    }
}

const PASSING: u64 = u64::MAX;

/// Writes an entry, and forgets the oldest of its kind beyond their length. Returns its number.
pub fn note(batch: &Batch, kind: Kind, entry: &Entry) -> Result<u64, StoreError> {
    let number = batch.next_number(Counter::Audit)?;
    put(batch, kind, number, entry)?;
    Ok(number)
}

impl Entry {
    /// The same, ended, with what its address does not tell.
    #[must_use]
    pub fn ended(self, status: u16, remark: Option<&str>) -> Self {
        let target = remark.map_or_else(|| self.target.clone(), |remark| format!("{}: {remark}", self.target));
        Self { status: Some(status), target, ..self }
    }
}

/// Notes how something ended. What was refused changed nothing.
pub fn ended(batch: &Batch, number: u64, entry: &Entry) -> Result<(), StoreError> {
    for kind in Kind::ALL {
        let key = kind.key(number);
        // It may be forgotten by now.
        if super::access::passing(get::<Entry>(batch, tables::AUDIT, &key))?.is_none() {
            continue;
        }
        if kind == Kind::Change && entry.status.is_some_and(|status| status >= 400) {
            batch.delete(tables::AUDIT, &key)?;
            return put(batch, Kind::Passing, number, entry);
        }
        return batch.put(tables::AUDIT, &key, entry);
    }
    Ok(())
}

fn put(batch: &Batch, kind: Kind, number: u64, entry: &Entry) -> Result<(), StoreError> {
    let mut passing = passing_count(batch)? + u64::from(kind == Kind::Passing);
    batch.put(tables::AUDIT, &kind.key(number), entry)?;
    let all = batch.rows(tables::AUDIT)?.len()?;
    let count = if kind == Kind::Passing { passing } else { all.saturating_sub(passing) };
    // A few at a time, in case the length was another one.
    let over = usize::try_from(count.saturating_sub(kind.most())).unwrap_or(usize::MAX).min(DELETIONS_MAX);
    for key in keys(batch, tables::AUDIT, &kind.prefix(), over)? {
        if kind.number(&key).is_some() {
            batch.delete(tables::AUDIT, &Key(key))?;
            passing -= u64::from(kind == Kind::Passing);
        }
    }
    if kind == Kind::Passing {
        batch.put(tables::META, &count_key(), &passing)?;
    }
    Ok(())
}

const DELETIONS_MAX: usize = 8;

fn count_key() -> Key {
    Key::new().tail(b"audit/passing")
}

/// How many entries changed nothing. Counted where that is not to be read.
fn passing_count(view: &impl View) -> Result<u64, StoreError> {
    match super::access::passing(get(view, tables::META, &count_key()))? {
        Some(count) => Ok(count),
        None => Ok(keys(view, tables::AUDIT, &Kind::Passing.prefix(), usize::MAX)?.len() as u64),
    }
}

/// The highest number in use, as far as rows tell.
pub(super) fn last(view: &impl View) -> Result<Option<u64>, StoreError> {
    let rows = view.rows(tables::AUDIT)?;
    let mut last = None;
    for kind in Kind::ALL {
        let (begin, end) = (kind.prefix(), kind.key(u64::MAX));
        let row = rows.range::<&[u8]>(begin.0.as_slice()..end.0.as_slice())?.next_back().transpose()?;
        last = last.max(row.and_then(|(key, _)| kind.number(key.value())));
    }
    Ok(last)
}

/// Entries before a number, the newest first.
pub fn before(view: &impl View, before: Option<u64>, most: usize) -> Result<Vec<(u64, Entry)>, StoreError> {
    let rows = view.rows(tables::AUDIT)?;
    let mut found = Vec::new();
    for kind in Kind::ALL {
        let (begin, end) = (kind.prefix(), kind.key(before.unwrap_or(u64::MAX)));
        let mut count = 0;
        for row in rows.range::<&[u8]>(begin.0.as_slice()..end.0.as_slice())?.rev() {
            let (key, value) = row?;
            // A damaged one is counted, and hides no other.
            let Ok(entry) = codec::open::<Entry>(key.value(), value.value()) else { continue };
            found.extend(kind.number(key.value()).map(|number| (number, entry)));
            count += 1;
            if count >= most {
                break;
            }
        }
    }
    found.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
    found.truncate(most);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::Store;

    fn opened() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Arc::default()).unwrap();
        (folder, store)
    }

    fn entry(what: &str) -> Entry {
        Entry {
            at: Timestamp(1),
            who: "ines".to_owned(),
            via: "page".to_owned(),
            what: what.to_owned(),
            target: "/x".to_owned(),
            status: None,
            from: None,
        }
    }

    fn noted(store: &Store, kind: Kind, what: &'static str, times: u64) {
        let note = move |batch: &mut Batch<'_>| (0..times).try_for_each(|_| note(batch, kind, &entry(what)).map(drop));
        store.write::<_, StoreError>(note).unwrap();
    }

    fn told(store: &Store, from: Option<u64>, most: usize) -> Vec<(u64, String)> {
        let found = store.read(|view| before(view, from, most)).unwrap();
        found.into_iter().map(|(number, entry)| (number, entry.what)).collect()
    }

    fn told_as(numbers: &[(u64, &str)]) -> Vec<(u64, String)> {
        numbers.iter().map(|(number, what)| (*number, (*what).to_owned())).collect()
    }

    #[test]
    fn both_kinds_are_read_as_one_log_the_newest_first() {
        let (_folder, store) = opened();
        for kind in [Kind::Change, Kind::Passing, Kind::Passing, Kind::Change] {
            noted(&store, kind, if kind == Kind::Change { "change" } else { "login" }, 1);
        }
        assert_eq!(told(&store, None, 9), told_as(&[(4, "change"), (3, "login"), (2, "login"), (1, "change")]));
        assert_eq!(told(&store, Some(4), 2), told_as(&[(3, "login"), (2, "login")]));
        assert_eq!(store.read(last).unwrap(), Some(4));
        noted(&store, Kind::Passing, "login", 1);
        assert_eq!(store.read(last).unwrap(), Some(5));
    }

    #[test]
    fn what_was_refused_changed_nothing_and_keeps_its_number() {
        let (_folder, store) = opened();
        noted(&store, Kind::Change, "change", 2);
        noted(&store, Kind::Passing, "look", 1);
        for (number, what, status) in [(1, "change", 404), (2, "change", 200), (3, "look", 200), (4, "nothing", 200)] {
            let end = move |batch: &mut Batch<'_>| ended(batch, number, &entry(what).ended(status, Some("more")));
            store.write::<_, StoreError>(end).unwrap();
        }
        let found = store.read(|view| before(view, None, 9)).unwrap();
        let ends: Vec<_> = found.iter().map(|(number, entry)| (*number, entry.status, entry.target.as_str())).collect();
        assert_eq!(ends, [(3, Some(200), "/x: more"), (2, Some(200), "/x: more"), (1, Some(404), "/x: more")]);
        assert_eq!(store.read(passing_count).unwrap(), 2);
    }

    /// Whoever may only look can log in and out for as long as they like.
    #[test]
    fn what_changed_nothing_pushes_out_nothing_that_did() {
        let (_folder, store) = opened();
        noted(&store, Kind::Change, "change", 3);
        noted(&store, Kind::Passing, "login", limits::AUDIT_PASSING_MAX + 5);
        let kept = told(&store, None, usize::MAX);
        assert_eq!(kept.len() as u64, 3 + limits::AUDIT_PASSING_MAX);
        assert_eq!(kept[kept.len() - 4..], told_as(&[(9, "login"), (3, "change"), (2, "change"), (1, "change")]));
        assert_eq!(store.read(passing_count).unwrap(), limits::AUDIT_PASSING_MAX);
        // The count is made anew where it is not to be read.
        store.write::<_, StoreError>(|batch| batch.delete(tables::META, &count_key())).unwrap();
        noted(&store, Kind::Passing, "login", 1);
        assert_eq!(told(&store, None, usize::MAX).len() as u64, 3 + limits::AUDIT_PASSING_MAX);
    }
}
