//! What of an organization's findings passes: is shown and passed on. Everything is held, whatever passes, so that
//! the inventory stays complete and a change of the filter closes nothing.
//!
//! A filter decides what a platform hears of for the first time. What it may have heard of before the filter was
//! narrowed is followed to its end, or it would stay open there for ever, or count as fixed where it is just not told.

use minicbor::{Decode, Encode};

use super::destination::LeftOut;
use super::finding::{Finding, Kind, Severity};
use super::ids::{DestinationId, FindingId};

/// Which findings pass, by what they are. A list that is empty stands for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Choice {
    /// Severities, worst first.
    #[n(0)]
    pub severities: Vec<Severity>,
    /// Kinds.
    #[n(1)]
    pub kinds: Vec<Kind>,
}

impl Choice {
    /// Of these, in order and each once.
    pub fn new(mut severities: Vec<Severity>, mut kinds: Vec<Kind>) -> Self {
        severities.sort_unstable();
        severities.dedup();
        kinds.sort_unstable();
        kinds.dedup();
        Self { severities, kinds }
    }

    /// Whether a finding of this kind and severity passes, or why not.
    pub fn takes(&self, kind: Kind, severity: Severity) -> Result<(), LeftOut> {
        if !self.severities.is_empty() && !self.severities.contains(&severity) {
            return Err(LeftOut::OrganizationSeverity);
        }
        if !self.kinds.is_empty() && !self.kinds.contains(&kind) {
            return Err(LeftOut::OrganizationKind);
        }
        Ok(())
    }

    /// Whether everything passes.
    pub fn is_all(&self) -> bool {
        self.covers(&Self::default())
    }

    /// Whether everything passes that passes the other.
    fn covers(&self, other: &Self) -> bool {
        Kind::ALL.iter().all(|&kind| {
            let both = |&severity| other.takes(kind, severity).is_err() || self.takes(kind, severity).is_ok();
            Severity::ALL.iter().all(both)
        })
    }

    /// What takes everything that either takes.
    fn joined(self, other: Self) -> Self {
        Self::new(joined(self.severities, other.severities), joined(self.kinds, other.kinds))
    }
}

fn joined<T>(one: Vec<T>, mut other: Vec<T>) -> Vec<T> {
    if one.is_empty() || other.is_empty() {
        return Vec::new();
    }
    other.extend(one);
    other
}

/// An organization's filter: what passes, and what passed before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Passing {
    /// What passes now.
    #[n(0)]
    pub choice: Choice,
    /// What passed before and does not any more, oldest first.
    #[n(1)]
    former: Vec<Former>,
}

/// What passed until the filter was changed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct Former {
    #[n(0)]
    choice: Choice,
    #[n(1)]
    until: Until,
}

/// Where the numbers had come to when a filter was changed. They only grow, whatever is done to the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Until {
    /// The number that the next new finding was to get.
    #[n(0)]
    pub finding: FindingId,
    /// The number that the next new destination was to get.
    #[n(1)]
    pub destination: DestinationId,
}

impl Passing {
    /// Lets pass what is chosen from here on. Returns whether something passes now that did not before, which
    /// destinations are to be told.
    pub fn change(&mut self, choice: Choice, until: Until) -> bool {
        if choice == self.choice {
            return false;
        }
        let former = std::mem::replace(&mut self.choice, choice);
        let widened = !former.covers(&self.choice);
        self.former.retain(|older| !former.covers(&older.choice));
        self.former.push(Former { choice: former, until });
        // Whatever passes now needs no memory; the next change makes one of it.
        let now = &self.choice;
        self.former.retain(|former| !now.covers(&former.choice));
        while self.former.len() > FORMER_MAX {
            // Too much counts as known rather than too little.
            let oldest = self.former.remove(0);
            let next = &mut self.former[0];
            next.choice = oldest.choice.joined(std::mem::take(&mut next.choice));
        }
        widened
    }

    /// Whether a finding passes, or why not.
    pub fn takes(&self, finding: &Finding) -> Result<(), LeftOut> {
        self.choice.takes(finding.observed.kind, finding.observed.severity)
    }

    /// Whether a destination of which nobody remembers what it was told is told of a finding of this kind and severity:
    /// it passes, or it passed while both were there.
    pub fn follows(
        &self,
        finding: FindingId,
        (kind, severity): (Kind, Severity),
        destination: DestinationId,
    ) -> Result<(), LeftOut> {
        let knows = |former: &Former| {
            finding < former.until.finding
                && destination < former.until.destination
                && former.choice.takes(kind, severity).is_ok()
        };
        self.choice
            .takes(kind, severity)
            .or_else(|left_out| if self.former.iter().any(knows) { Ok(()) } else { Err(left_out) })
    }
}

/// Former filters that are remembered one by one.
const FORMER_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::{Observed, SonarWords, State};
    use crate::domain::ids::IssueKey;
    use crate::domain::time::Timestamp;

    fn finding(id: u64, severity: Severity) -> Finding {
        let observed = Observed {
            key: IssueKey::parse("A").unwrap(),
            kind: Kind::Vulnerability,
            rule: None,
            message: String::new(),
            severity,
            state: State::Open,
            path: None,
            line: None,
            range: None,
            created_at: None,
            updated_at: None,
            closed_at: None,
            sonar: SonarWords::default(),
            flows: Vec::new(),
        };
        Finding {
            id: FindingId(id),
            slot: 0,
            observed,
            first_seen_at: Timestamp(0),
            closed_at: None,
            closed_by: None,
            former: Vec::new(),
        }
    }

    fn of(severities: &[Severity]) -> Choice {
        Choice::new(severities.to_vec(), Vec::new())
    }

    fn until(finding: u64, destination: u32) -> Until {
        Until { finding: FindingId(finding), destination: DestinationId(destination) }
    }

    #[test]
    fn what_does_not_pass_says_why() {
        let choice = Choice::new(vec![Severity::High], vec![Kind::Hotspot]);
        assert_eq!(choice.takes(Kind::Hotspot, Severity::High), Ok(()));
        assert_eq!(choice.takes(Kind::Hotspot, Severity::Low), Err(LeftOut::OrganizationSeverity));
        assert_eq!(choice.takes(Kind::Vulnerability, Severity::High), Err(LeftOut::OrganizationKind));
        assert!(Choice::default().is_all() && Choice::new(Severity::ALL.to_vec(), Kind::ALL.to_vec()).is_all());
        assert!(!choice.is_all());
    }

    #[test]
    fn only_what_widens_a_filter_is_news() {
        let mut passing = Passing::default();
        assert!(!passing.change(of(&[Severity::High]), until(1, 1)));
        assert!(!passing.change(of(&[Severity::High]), until(2, 1)));
        assert!(passing.change(of(&[Severity::Low]), until(3, 1)), "neither covers the other");
        assert!(passing.change(Choice::default(), until(4, 1)));
        assert!(!passing.change(of(Severity::ALL), until(5, 1)), "the same in other words");
    }

    #[test]
    fn a_destination_goes_on_with_what_passed_while_both_were_there() {
        let mut passing = Passing::default();
        passing.change(of(&[Severity::High]), until(10, 3));
        let is = |severity| (Kind::Vulnerability, severity);
        let low = |passing: &Passing, id, destination| passing.follows(id, is(Severity::Low), destination).is_ok();
        let follows = |passing: &Passing, id, destination| low(passing, FindingId(id), DestinationId(destination));
        assert!(passing.takes(&finding(9, Severity::Low)).is_err());
        assert!(follows(&passing, 9, 2));
        assert!(!follows(&passing, 10, 2), "it was found later");
        assert!(!follows(&passing, 9, 3), "the destination came later");
        // Narrowed further, and widened again, it is still followed.
        passing.change(of(&[Severity::Critical]), until(20, 5));
        assert!(follows(&passing, 9, 2) && !follows(&passing, 15, 2));
        assert!(passing.follows(FindingId(15), is(Severity::High), DestinationId(4)).is_ok());
        passing.change(Choice::default(), until(30, 5));
        passing.change(of(&[Severity::Critical]), until(40, 5));
        assert!(follows(&passing, 35, 4) && !follows(&passing, 45, 4));
    }

    #[test]
    fn many_changes_of_mind_are_remembered_in_little() {
        let mut passing = Passing::default();
        passing.change(of(&[Severity::Medium, Severity::Low]), until(2, 2));
        for turn in 0..100_u64 {
            let severity = Severity::ALL[usize::try_from(turn % 5).unwrap()];
            let kind = Kind::ALL[usize::try_from(turn % 2).unwrap()];
            passing.change(Choice::new(vec![severity], vec![kind]), until(turn + 3, 2));
            assert!(passing.former.len() <= FORMER_MAX);
            assert!(passing.follows(FindingId(1), (Kind::Vulnerability, Severity::Info), DestinationId(1)).is_ok());
        }
    }
}
