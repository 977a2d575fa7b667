//! What is told of conditions: that one came up, and that it is over. Worked out by comparing what holds now with what held
//! before, so that it is the same after a restart.

use minicbor::{Decode, Encode};

use super::condition::Condition;
use super::limits::{CONDITION_OVER_AFTER, CONDITIONS_HELD_MAX};
use super::time::Timestamp;

/// A condition that was told and is not over.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Held {
    /// As it was told.
    #[n(0)]
    pub told: Told,
    /// Since when it is not to be seen any more.
    #[n(1)]
    pub gone_since: Option<Timestamp>,
}

/// What is told of a condition.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Told {
    /// Its code.
    #[n(0)]
    pub code: String,
    /// `error`, `warning`, `info`.
    #[n(1)]
    pub severity: String,
    /// What is the matter.
    #[n(2)]
    pub text: String,
    /// What to do.
    #[n(3)]
    pub remedy: String,
    /// When it came up.
    #[n(4)]
    pub raised_at: Timestamp,
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Notice {
    /// Of which condition.
    #[n(0)]
    pub told: Told,
    /// When it was over; it came up if absent.
    #[n(1)]
    pub ended_at: Option<Timestamp>,
}

/// What tells a condition from others of its code: its text, but for the numbers and times in it, which change while it lasts.
fn identity(code: &str, text: &str) -> (String, String) {
    let word = |word: &str| {
        let plain = word.trim_start_matches(|character: char| !character.is_alphanumeric());
        if plain.starts_with(|first: char| first.is_ascii_digit()) { "0" } else { word }.to_owned()
    };
    (code.to_owned(), text.split_whitespace().map(word).collect::<Vec<_>>().join(" "))
}

/// What holds now beside what held before, and what is to be told of the difference, in order. One that is away for a moment
/// is not over.
pub fn compare(held: Vec<Held>, present: &[Condition], now: Timestamp) -> (Vec<Held>, Vec<Notice>) {
    let mut left: Vec<_> = present.iter().map(|one| (identity(one.code, &one.text), one)).collect();
    let (mut stays, mut notices) = (Vec::new(), Vec::new());
    for mut one in held {
        let known = identity(&one.told.code, &one.told.text);
        if let Some(at) = left.iter().position(|(identity, _)| *identity == known) {
            left.remove(at);
            one.gone_since = None;
            stays.push(one);
            continue;
        }
        let gone_since = *one.gone_since.get_or_insert(now);
        // A clock that was set back does not keep it for ever.
        if now.since(gone_since).max(gone_since.since(now)) < CONDITION_OVER_AFTER {
            stays.push(one);
        } else {
            notices.push(Notice { told: one.told, ended_at: Some(gone_since) });
        }
    }
    for (_, one) in left {
        if stays.len() >= CONDITIONS_HELD_MAX {
            break;
        }
        let told = Told {
            code: one.code.to_owned(),
            severity: one.urgency.to_string(),
            text: one.text.clone(),
            remedy: one.remedy.clone(),
            raised_at: now,
        };
        stays.push(Held { told: told.clone(), gone_since: None });
        notices.push(Notice { told, ended_at: None });
    }
    (stays, notices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::condition::Urgency;

    fn condition(code: &'static str, text: &str) -> Condition {
        Condition { urgency: Urgency::Warning, code, text: text.to_owned(), remedy: "mend it".to_owned() }
    }

    fn said(notices: &[Notice]) -> Vec<String> {
        let shown =
            |one: &Notice| format!("{} {}", if one.ended_at.is_some() { "ended" } else { "raised" }, one.told.text);
        notices.iter().map(shown).collect()
    }

    fn later(millis: i64) -> Timestamp {
        Timestamp(1_000_000 + millis)
    }

    fn over() -> i64 {
        i64::try_from(CONDITION_OVER_AFTER.as_millis()).unwrap()
    }

    #[test]
    fn a_condition_is_told_once_when_it_comes_up_and_once_when_it_is_over() {
        let full = condition("disk_full", "only 57 MiB are free");
        let (held, told) = compare(Vec::new(), std::slice::from_ref(&full), later(0));
        assert_eq!(said(&told), ["raised only 57 MiB are free"]);
        // The number changes while it lasts.
        let (held, told) = compare(held, &[condition("disk_full", "only 12 MiB are free")], later(1));
        assert_eq!(said(&told), [""; 0]);
        let (held, told) = compare(held, &[], later(2));
        assert_eq!((held.len(), said(&told).len()), (1, 0), "for a moment");
        let (held, told) = compare(held, std::slice::from_ref(&full), later(3));
        assert_eq!((held[0].gone_since, said(&told).len()), (None, 0));
        let (held, _) = compare(held, &[], later(4));
        let (held, told) = compare(held, &[], later(4 + over() - 1));
        assert_eq!((held.len(), said(&told).len()), (1, 0));
        let (held, told) = compare(held, &[], later(4 + over()));
        assert_eq!((held.len(), said(&told)), (0, vec!["ended only 57 MiB are free".to_owned()]));
        assert_eq!(told[0].ended_at, Some(later(4)), "when it was gone, and not when that was believed");
    }

    #[test]
    fn conditions_of_one_code_are_told_apart_by_what_they_are_about() {
        let two =
            [condition("source_refused", "source a: HTTP 401"), condition("source_refused", "source b: HTTP 401")];
        let (held, told) = compare(Vec::new(), &two, later(0));
        assert_eq!(said(&told), ["raised source a: HTTP 401", "raised source b: HTTP 401"]);
        let (held, _) = compare(held, &two[1..], later(1));
        let (held, told) = compare(held, &two[1..], later(1 + over()));
        assert_eq!(said(&told), ["ended source a: HTTP 401"]);
        assert_eq!(held.len(), 1);
        // The same twice is two.
        let same = [condition("x", "project 1 is gone"), condition("x", "project 2 is gone")];
        let (held, told) = compare(Vec::new(), &same, later(0));
        assert_eq!((held.len(), told.len()), (2, 2));
        assert_eq!(compare(held, &same, later(1)).1, []);
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let many: Vec<_> =
            (0..2 * CONDITIONS_HELD_MAX).map(|number| condition("x", &format!("branch b{number}"))).collect();
        let (held, told) = compare(Vec::new(), &many, later(0));
        assert_eq!((held.len(), told.len()), (CONDITIONS_HELD_MAX, CONDITIONS_HELD_MAX));
    }
}
