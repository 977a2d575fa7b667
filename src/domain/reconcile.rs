//! What a crawl found against what the inventory holds: the changes between the two.
//!
//! Both sides come as iterators ordered by Sonar's key, so that memory does not grow with the scope. A finding
//! is closed in two ways only: Sonar, asked for it by key, says how it ended; or a [`Closing`], which only a
//! complete [`Snapshot`](super::crawl::Snapshot) can make.

use std::cmp::Ordering;
use std::iter::Peekable;

use minicbor::{Decode, Encode};

use super::finding::{CloseReason, Finding, Observed, State};
use super::ids::IssueKey;

/// Why a finding that a complete snapshot does not hold is closed as removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum End {
    /// Sonar, asked by key, does not know it any more.
    #[n(0)]
    Unknown,
    /// Sonar still has it, but no longer as a security finding of this scope.
    #[n(1)]
    NoLongerSecurity,
}

/// The proof that a finding may be closed. Made by [`Snapshot::close`](super::crawl::Snapshot::close) only.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Closing {
    #[n(0)]
    pub(super) key: IssueKey,
    #[n(1)]
    pub(super) end: End,
}

impl Closing {
    /// Whose end it is.
    pub fn key(&self) -> &IssueKey {
        &self.key
    }
}

/// One thing that a crawl learnt and that the inventory does not hold yet.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Staged {
    /// Sonar shows it like this.
    #[n(0)]
    Seen(#[n(0)] Box<Observed>),
    /// It is gone.
    #[n(1)]
    Gone(#[n(0)] Closing),
    /// The finding with this former key has another one now, and is shown like this.
    #[n(2)]
    Moved(#[n(0)] IssueKey, #[n(1)] Box<Observed>),
}

impl Staged {
    /// Sonar's key of it.
    pub fn key(&self) -> &IssueKey {
        match self {
            Self::Seen(observed) | Self::Moved(_, observed) => &observed.key,
            Self::Gone(closing) => &closing.key,
        }
    }
}

/// What kind of change the log tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ChangeKind {
    /// New here.
    #[n(0)]
    Opened,
    /// Content changed, state not.
    #[n(1)]
    Updated,
    /// Sonar says it was fixed.
    #[n(2)]
    Fixed,
    /// Closed without a fix.
    #[n(3)]
    Removed,
    /// Was closed and is back.
    #[n(4)]
    Reopened,
    /// A person decided about it.
    #[n(5)]
    Triaged,
    /// Sonar gave it another key: a hotspot became an issue.
    #[n(6)]
    Moved,
}

impl ChangeKind {
    /// The word in JSON and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Updated => "updated",
            Self::Fixed => "fixed",
            Self::Removed => "removed",
            Self::Reopened => "reopened",
            Self::Triaged => "triaged",
            Self::Moved => "moved",
        }
    }
}

/// What to do with one finding. The stored finding is handed back, so that nobody has to look it up again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Store a new finding and its change.
    Open(Box<Observed>),
    /// Rewrite a stored finding; with a change unless only Sonar's own date moved.
    Rewrite {
        /// As it is stored.
        stored: Box<Finding>,
        /// As it is to be stored.
        observed: Box<Observed>,
        /// What the log tells of it.
        change: Option<ChangeKind>,
        /// Why it is closed, if it is.
        closed: Option<CloseReason>,
    },
    /// Give a stored finding another key, and rewrite it.
    Move {
        /// As it is stored.
        stored: Box<Finding>,
        /// As it is to be stored.
        observed: Box<Observed>,
    },
}

/// Walks both sides in key order. Stored findings that were not staged are left alone: what is missing from a
/// crawl was staged as a [`Closing`] if, and only if, the crawl was complete.
pub fn reconcile<S, T>(stored: S, staged: T) -> impl Iterator<Item = Step>
where
    S: Iterator<Item = Finding>,
    T: Iterator<Item = Staged>,
{
    Merge { stored: stored.peekable(), staged: staged.peekable() }
}

struct Merge<S: Iterator<Item = Finding>, T: Iterator<Item = Staged>> {
    stored: Peekable<S>,
    staged: Peekable<T>,
}

impl<S: Iterator<Item = Finding>, T: Iterator<Item = Staged>> Iterator for Merge<S, T> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            let staged = self.staged.peek()?;
            let order = match self.stored.peek() {
                Some(stored) => stored.observed.key.cmp(staged.key()),
                None => Ordering::Greater,
            };
            let step = match order {
                Ordering::Less => {
                    self.stored.next();
                    None
                }
                Ordering::Equal => compare(self.stored.next()?, self.staged.next()?),
                Ordering::Greater => open(self.staged.next()?),
            };
            if step.is_some() {
                return step;
            }
        }
    }
}

fn open(staged: Staged) -> Option<Step> {
    match staged {
        // What was closed before this box ever held it is history that nobody asked for.
        Staged::Seen(observed) | Staged::Moved(_, observed) if !observed.state.is_closed() => {
            Some(Step::Open(observed))
        }
        Staged::Seen(_) | Staged::Moved(..) | Staged::Gone(_) => None,
    }
}

fn compare(stored: Finding, staged: Staged) -> Option<Step> {
    let before = stored.observed.state;
    let (observed, closed) = match staged {
        Staged::Seen(observed) | Staged::Moved(_, observed) => {
            let closed = match observed.state {
                State::Fixed => Some(CloseReason::Fixed),
                State::Removed => Some(CloseReason::Removed),
                _ => None,
            };
            (observed, closed)
        }
        Staged::Gone(_) if before.is_closed() => return None,
        Staged::Gone(closing) => {
            let reason = match closing.end {
                End::Unknown => CloseReason::Unknown,
                End::NoLongerSecurity => CloseReason::NoLongerSecurity,
            };
            (Box::new(Observed { state: State::Removed, ..stored.observed.clone() }), Some(reason))
        }
    };
    let change = change(&stored.observed, &observed);
    if change.is_none() && stored.observed == *observed {
        return None;
    }
    Some(Step::Rewrite { stored: Box::new(stored), observed, change, closed })
}

/// What the log tells of a finding that was like the one and is like the other; nothing where that is no news.
pub fn change(before: &Observed, after: &Observed) -> Option<ChangeKind> {
    match (before.state, after.state) {
        _ if before.key != after.key => Some(ChangeKind::Moved),
        (was, is) if was == is => content_differs(before, after).then_some(ChangeKind::Updated),
        (_, State::Fixed) => Some(ChangeKind::Fixed),
        (_, State::Removed) => Some(ChangeKind::Removed),
        (was, _) if was.is_closed() => Some(ChangeKind::Reopened),
        _ => Some(ChangeKind::Triaged),
    }
}

/// Sonar's `updateDate` moves for many reasons, and flows shift with every edit in any of their files; alone neither
/// is a change that anybody should be told of. Both are stored as they are now.
fn content_differs(before: &Observed, after: &Observed) -> bool {
    *before != Observed { updated_at: before.updated_at, flows: before.flows.clone(), ..after.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::{Flow, FlowStep, Kind, Severity, SonarWords, TextRange};
    use crate::domain::ids::FindingId;
    use crate::domain::time::Timestamp;

    fn observed(key: &str, state: State) -> Observed {
        Observed {
            key: IssueKey::parse(key).unwrap(),
            kind: Kind::Vulnerability,
            rule: None,
            message: "m".to_owned(),
            severity: Severity::High,
            state,
            path: None,
            line: Some(1),
            range: None,
            created_at: None,
            updated_at: Some(Timestamp(1)),
            closed_at: None,
            sonar: SonarWords::default(),
            flows: Vec::new(),
        }
    }

    fn stored(key: &str, state: State) -> Finding {
        Finding {
            id: FindingId(1),
            slot: 0,
            observed: observed(key, state),
            first_seen_at: Timestamp(0),
            closed_at: None,
            closed_by: None,
            former: Vec::new(),
        }
    }

    fn seen(observed: Observed) -> Staged {
        Staged::Seen(Box::new(observed))
    }

    fn gone(key: &str) -> Staged {
        Staged::Gone(Closing { key: IssueKey::parse(key).unwrap(), end: End::Unknown })
    }

    /// Key, change and new state of every step.
    fn steps(before: Vec<Finding>, staged: Vec<Staged>) -> Vec<(String, Option<ChangeKind>, State)> {
        reconcile(before.into_iter(), staged.into_iter())
            .map(|step| match step {
                Step::Open(observed) => (observed.key.to_string(), Some(ChangeKind::Opened), observed.state),
                Step::Rewrite { observed, change, .. } => (observed.key.to_string(), change, observed.state),
                Step::Move { .. } => unreachable!("nothing was moved"),
            })
            .collect()
    }

    #[test]
    fn what_is_not_staged_stays_as_it_is() {
        let before = vec![stored("A", State::Open), stored("B", State::Confirmed)];
        assert_eq!(steps(before, vec![]), vec![]);
    }

    #[test]
    fn an_equal_row_changes_nothing() {
        assert_eq!(steps(vec![stored("A", State::Open)], vec![seen(observed("A", State::Open))]), vec![]);
    }

    #[test]
    fn every_way_a_finding_can_change_has_its_word() {
        let before = vec![
            stored("B", State::Open),
            stored("C", State::Fixed),
            stored("D", State::Open),
            stored("E", State::Open),
            stored("F", State::Open),
            stored("G", State::Removed),
        ];
        let staged = vec![
            seen(observed("A", State::Open)),
            seen(observed("B", State::Fixed)),
            seen(observed("C", State::Open)),
            gone("D"),
            seen(observed("E", State::Accepted)),
            seen(Observed { line: Some(2), ..observed("F", State::Open) }),
            gone("G"),
        ];
        let expected = [
            ("A", ChangeKind::Opened, State::Open),
            ("B", ChangeKind::Fixed, State::Fixed),
            ("C", ChangeKind::Reopened, State::Open),
            ("D", ChangeKind::Removed, State::Removed),
            ("E", ChangeKind::Triaged, State::Accepted),
            ("F", ChangeKind::Updated, State::Open),
        ];
        let expected: Vec<_> =
            expected.into_iter().map(|(key, change, state)| (key.to_owned(), Some(change), state)).collect();
        assert_eq!(steps(before, staged), expected);
    }

    #[test]
    fn a_date_that_moves_alone_is_stored_without_a_change() {
        let staged = vec![seen(Observed { updated_at: Some(Timestamp(2)), ..observed("A", State::Open) })];
        assert_eq!(steps(vec![stored("A", State::Open)], staged), vec![("A".to_owned(), None, State::Open)]);
    }

    #[test]
    fn flows_that_shift_alone_are_stored_without_a_change() {
        let shifted = |line| {
            let range = TextRange { start_line: line, end_line: line, start_offset: 0, end_offset: 1 };
            let step = FlowStep { range: Some(range), ..FlowStep::default() };
            Observed { flows: vec![Flow(vec![step])], ..observed("A", State::Open) }
        };
        let before = Finding { observed: shifted(1), ..stored("A", State::Open) };
        assert_eq!(steps(vec![before.clone()], vec![seen(shifted(1))]), vec![]);
        assert_eq!(steps(vec![before.clone()], vec![seen(shifted(2))]), vec![("A".to_owned(), None, State::Open)]);
        let moved = seen(Observed { line: Some(2), ..shifted(2) });
        assert_eq!(steps(vec![before], vec![moved]), vec![("A".to_owned(), Some(ChangeKind::Updated), State::Open)]);
    }

    #[test]
    fn what_was_closed_before_it_was_ever_held_is_not_taken_in() {
        assert_eq!(steps(vec![], vec![seen(observed("A", State::Fixed)), gone("B")]), vec![]);
    }

    proptest::proptest! {
        /// Whatever is stored and staged: after the steps, every staged row is as staged, everything else as it
        /// was, and a change is told exactly where more than Sonar's date differs.
        #[test]
        fn applying_the_steps_makes_the_inventory_what_was_staged(
            before in proptest::collection::btree_map(0..30_u8, 0..6_usize, 0..20),
            staged in proptest::collection::btree_map(0..30_u8, proptest::option::of(0..6_usize), 0..20),
        ) {
            let key = |number: &u8| format!("K{number:02}");
            let stored: Vec<_> = before.iter().map(|(k, s)| stored(&key(k), State::ALL[*s])).collect();
            let rows: Vec<_> = staged
                .iter()
                .map(|(k, s)| s.map_or_else(|| gone(&key(k)), |s| seen(observed(&key(k), State::ALL[s]))))
                .collect();
            let mut after: std::collections::BTreeMap<_, _> =
                stored.iter().map(|f| (f.observed.key.clone(), f.observed.state)).collect();
            let mut told = 0;
            for step in reconcile(stored.into_iter(), rows.into_iter()) {
                let (observed, change) = match step {
                    Step::Open(observed) => (observed, Some(ChangeKind::Opened)),
                    Step::Rewrite { observed, change, .. } => (observed, change),
                    Step::Move { .. } => unreachable!("nothing was moved"),
                };
                told += usize::from(change.is_some());
                after.insert(observed.key.clone(), observed.state);
            }
            let mut expected = std::collections::BTreeMap::new();
            let mut differ = 0;
            for number in 0..30_u8 {
                let was = before.get(&number).map(|&s| State::ALL[s]);
                let is = match staged.get(&number) {
                    None => was,
                    Some(Some(s)) => was.or(Some(State::ALL[*s]).filter(|s| !s.is_closed())).map(|_| State::ALL[*s]),
                    Some(None) => was.map(|was| if was.is_closed() { was } else { State::Removed }),
                };
                differ += usize::from(is != was);
                expected.extend(is.map(|is| (IssueKey::parse(&key(&number)).unwrap(), is)));
            }
            proptest::prop_assert_eq!(after, expected);
            proptest::prop_assert_eq!(told, differ);
        }
    }
}
