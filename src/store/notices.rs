//! What is to be told of conditions, in order, until every destination that wants it has been told: some rows among the
//! numbers and names of the store, as there are few of them.

use minicbor::{Decode, Encode};

use super::tables::{self, Key};
use super::{Batch, StoreError, View, get, keys, scan_after};
use crate::domain::ids::DestinationId;
use crate::domain::limits::NOTICES_KEPT_MAX;
use crate::domain::notice::{Held, Notice};
use crate::sys::random;

/// A notice as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Kept {
    /// The same for every attempt to tell it, and for every receiver.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub id: [u8; 16],
    /// What it says.
    #[n(1)]
    pub notice: Notice,
}

/// All conditions that were told and are not over.
#[derive(Default, Encode, Decode)]
#[cbor(transparent)]
struct AllHeld(#[n(0)] Vec<Held>);

super::codec::record!(Kept = "notice", AllHeld = "conditions that hold", Mark = "mark in the notices");

fn of_held() -> Key {
    Key::new().tail(b"conditions held")
}

fn of_kept() -> Key {
    Key::new().tail(b"notice/")
}

fn of_told(id: DestinationId) -> Key {
    Key::new().tail(b"notices told/").u32(id.0)
}

/// Conditions that were told and are not over. A damaged note counts as none: they are told again.
pub fn held(view: &impl View) -> Result<Vec<Held>, StoreError> {
    match get::<AllHeld>(view, tables::META, &of_held()) {
        Err(StoreError::Damaged { .. }) => Ok(Vec::new()),
        found => Ok(found?.unwrap_or_default().0),
    }
}

/// Notes what holds now, and what is to be told. Of more than are kept the oldest are forgotten.
pub fn note(batch: &Batch, held: Vec<Held>, notices: Vec<Notice>) -> Result<(), StoreError> {
    batch.put(tables::META, &of_held(), &AllHeld(held))?;
    let all = keys(batch, tables::META, &of_kept(), usize::MAX)?;
    let mut next = all.last().and_then(|key| number(key)).unwrap_or(0) + 1;
    let gone = (all.len() + notices.len()).saturating_sub(NOTICES_KEPT_MAX);
    for key in all.into_iter().take(gone) {
        batch.delete(tables::META, &Key(key))?;
    }
    for notice in notices {
        batch.put(tables::META, &of_kept().u64(next), &Kept { id: random::bytes(), notice })?;
        next += 1;
    }
    Ok(())
}

fn number(key: &[u8]) -> Option<u64> {
    tables::u64_at(key, of_kept().0.len())
}

/// How far a destination was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Mark {
    /// The last notice that it was told.
    #[n(0)]
    told: u64,
    /// The last that there was when it came: of those before it is told only what held then.
    #[n(1)]
    joined: u64,
}

/// The first notice that a destination was not told, and how far it is told with it. One that was never told any is told what
/// holds, and not what was over before it came.
pub fn next(view: &impl View, id: DestinationId) -> Result<Option<(Mark, Kept)>, StoreError> {
    let mark = match get::<Mark>(view, tables::META, &of_told(id)) {
        Err(StoreError::Damaged { .. }) => None,
        mark => mark?,
    };
    let Mark { told, joined } = match mark {
        Some(mark) => mark,
        None => Mark { told: 0, joined: last(view)? },
    };
    let held = held(view)?;
    let is_due = |number: u64, notice: &Notice| {
        number > joined || notice.ended_at.is_none() && held.iter().any(|held| held.told == notice.told)
    };
    let mut found = None;
    scan_after::<Kept>(view, tables::META, &of_kept(), Some(&of_kept().u64(told)), |key, kept| {
        if let Some(number) = number(key).filter(|number| is_due(*number, &kept.notice)) {
            found = Some((Mark { told: number, joined }, kept));
        }
        found.is_none()
    })?;
    Ok(found)
}

/// The number of the last notice.
fn last(view: &impl View) -> Result<u64, StoreError> {
    Ok(keys(view, tables::META, &of_kept(), usize::MAX)?.last().and_then(|key| number(key)).unwrap_or(0))
}

/// Notes how far a destination was told.
pub fn put_told(batch: &Batch, id: DestinationId, mark: Mark) -> Result<(), StoreError> {
    batch.put(tables::META, &of_told(id), &mark)
}

/// Forgets what a destination was told.
pub(super) fn forget(batch: &Batch, id: DestinationId) -> Result<(), StoreError> {
    batch.delete(tables::META, &of_told(id))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::condition::{Condition, Urgency};
    use crate::domain::notice::compare;
    use crate::domain::time::Timestamp;
    use crate::store::Store;

    fn look(store: &Store, present: &[&str], at: i64) {
        let present: Vec<_> = present
            .iter()
            .map(|text| Condition {
                urgency: Urgency::Error,
                code: "source_refused",
                text: (*text).to_owned(),
                remedy: String::new(),
            })
            .collect();
        let before = store.read::<_, StoreError>(held).unwrap();
        let (held, notices) = compare(before, &present, Timestamp(at));
        store.write::<_, StoreError>(move |batch| note(batch, held, notices)).unwrap();
    }

    /// Tells a destination what there is for it.
    fn told(store: &Store, id: u32) -> Vec<(String, [u8; 16])> {
        let id = DestinationId(id);
        std::iter::from_fn(|| {
            let (mark, kept) = store.read::<_, StoreError>(|view| next(view, id)).unwrap()?;
            let again = store.read::<_, StoreError>(|view| next(view, id)).unwrap();
            assert_eq!(again, Some((mark, kept.clone())), "it is the same until it is told");
            store.write::<_, StoreError>(move |batch| put_told(batch, id, mark)).unwrap();
            let way = if kept.notice.ended_at.is_some() { "ended" } else { "raised" };
            Some((format!("{way} {}", kept.notice.told.text), kept.id))
        })
        .collect()
    }

    #[test]
    fn each_destination_is_told_every_notice_once_in_order_and_a_new_one_what_holds() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Arc::default()).unwrap();
        let (hour, texts) =
            (3_600_000, |told: &[(String, [u8; 16])]| told.iter().map(|(text, _)| text.clone()).collect::<Vec<_>>());
        look(&store, &["a", "b"], 0);
        let first = told(&store, 1);
        assert_eq!(texts(&first), ["raised a", "raised b"]);
        look(&store, &["b"], hour);
        look(&store, &["b"], 2 * hour);
        assert_eq!(texts(&told(&store, 1)), ["ended a"]);
        let other = told(&store, 2);
        assert_eq!(texts(&other), ["raised b"], "what was over before it came is not told");
        assert_eq!(other[0].1, first[1].1, "a notice has one id, whoever is told");
        assert_eq!((told(&store, 1), told(&store, 2)), (vec![], vec![]));
        look(&store, &["b", "c"], 3 * hour);
        assert_eq!(
            (texts(&told(&store, 1)), texts(&told(&store, 2))),
            (vec!["raised c".to_owned()], vec!["raised c".to_owned()])
        );
    }

    #[test]
    fn there_is_an_end_to_what_nobody_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Arc::default()).unwrap();
        let told_of = |text: String| Notice {
            told: crate::domain::notice::Told {
                code: "x".to_owned(),
                severity: "error".to_owned(),
                text,
                remedy: String::new(),
                raised_at: Timestamp(0),
            },
            ended_at: Some(Timestamp(1)),
        };
        store.write::<_, StoreError>(|batch| put_told(batch, DestinationId(1), Mark { told: 0, joined: 0 })).unwrap();
        for round in 0..3 {
            let notices = (0..NOTICES_KEPT_MAX / 2 + 7).map(|one| told_of(format!("{round} {one}"))).collect();
            store.write::<_, StoreError>(|batch| note(batch, Vec::new(), notices)).unwrap();
        }
        let left = told(&store, 1);
        assert_eq!(left.len(), NOTICES_KEPT_MAX);
        assert_eq!(
            left.last().map(|(text, _)| text.as_str()),
            Some(format!("ended 2 {}", NOTICES_KEPT_MAX / 2 + 6).as_str())
        );
    }
}
