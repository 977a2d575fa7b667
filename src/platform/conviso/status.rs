//! Which status an issue gets: pure decisions. What a person decided on the platform stands, and no status is written
//! that the platform would refuse.

use super::wire::Issue;
use crate::domain::destination::Words;
use crate::domain::finding::State;
use crate::domain::message::Remote;

/// Our states in Conviso's words, which also is what its words mean here: the first entry with a word wins.
pub(in crate::platform) const WORDS: &Words = &[
    (State::Open, IDENTIFIED),
    (State::Confirmed, IDENTIFIED),
    (State::Accepted, "RISK_ACCEPTED"),
    (State::FalsePositive, "FALSE_POSITIVE"),
    (State::Fixed, "FIX_ACCEPTED"),
    (State::Removed, "FIX_ACCEPTED"),
];

/// What to do about an issue's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// It is as it should be, or as near as people there want it.
    Stay,
    /// A person decided otherwise on the platform; that stands.
    Decided,
    /// It gets this status.
    Change(String),
    /// It gets this status first, as the platform does not let it go to the wanted one at once.
    Through(String),
    /// The platform does not let it go there.
    Forbidden,
}

/// What to do about an issue that is to have this status. `ours` says that its present status is what this box told.
pub(super) fn step(issue: &Issue, state: State, wanted: &str, ours: bool) -> Step {
    let now = issue.status.as_str();
    if now == wanted {
        return Step::Stay;
    }
    if DECIDED.contains(&now) && !ours {
        return Step::Decided;
    }
    // Somebody works on it there, or has not looked at it yet: it is open in every sense that matters here.
    if state == State::Open && wanted == IDENTIFIED && UNDER_WAY.contains(&now) {
        return Step::Stay;
    }
    if state == State::Confirmed && wanted == IDENTIFIED && matches!(now, "IN_PROGRESS" | "AWAITING_VALIDATION") {
        return Step::Stay;
    }
    let may = |status: &str| issue.permitted.as_ref().is_none_or(|all| all.iter().any(|one| one == status));
    if may(wanted) {
        Step::Change(wanted.to_owned())
    } else if now != IDENTIFIED && may(IDENTIFIED) {
        Step::Through(IDENTIFIED.to_owned())
    } else {
        Step::Forbidden
    }
}

/// Whether an issue's present status is one that this box told it, and no person chose since.
pub(super) fn is_ours(issue: &Issue, known: Option<&Remote>, word_of: impl Fn(State) -> Option<String>) -> bool {
    known.is_some_and(|known| {
        known.decided.is_none()
            && known.state.is_some_and(|told| !matches!(told, State::Open | State::Confirmed))
            && known.state.and_then(word_of).is_some_and(|word| word == issue.status)
    })
}

/// Whether a person's last word about an issue is such a status.
pub(super) fn is_decision(status: &str) -> bool {
    DECIDED.contains(&status)
}

/// What is written beside a change of ours, by which it is known again.
pub(super) fn reason(state: State) -> String {
    let what = match state {
        State::Open => "open in SonarQube",
        State::Confirmed => "confirmed in SonarQube",
        State::Accepted => "accepted in SonarQube",
        State::FalsePositive => "a false positive in SonarQube",
        State::Fixed => "fixed, says SonarQube",
        State::Removed => "no longer reported by SonarQube",
    };
    format!("{OWN}{what}")
}

/// Whether a reason is one of ours.
pub(super) fn is_own(reason: Option<&str>) -> bool {
    reason.is_some_and(|reason| reason.starts_with(OWN))
}

/// How every reason of ours begins.
pub(super) const OWN: &str = "Hydrophone: ";

/// Found and not dealt with.
const IDENTIFIED: &str = "IDENTIFIED";

/// Decisions of people, which nothing here undoes.
const DECIDED: &[&str] = &["RISK_ACCEPTED", "FALSE_POSITIVE", "SUPPRESSED"];

/// Open, in whichever way.
const UNDER_WAY: &[&str] = &["CREATED", "DRAFT", "IN_PROGRESS", "AWAITING_VALIDATION"];

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(status: &str, permitted: Option<&[&str]>) -> Issue {
        Issue {
            id: "1".to_owned(),
            key: None,
            status: status.to_owned(),
            permitted: permitted.map(|all| all.iter().map(|one| (*one).to_owned()).collect()),
            created_at: None,
            updated_at: None,
            reason: None,
        }
    }

    #[test]
    fn what_a_person_decided_stands() {
        for status in ["RISK_ACCEPTED", "FALSE_POSITIVE", "SUPPRESSED"] {
            for (state, wanted) in WORDS.iter().filter(|(_, word)| *word != status) {
                assert_eq!(step(&issue(status, None), *state, wanted, false), Step::Decided, "{status}, {state}");
            }
        }
        let taken_back = step(&issue("RISK_ACCEPTED", None), State::Open, "IDENTIFIED", true);
        assert_eq!(taken_back, Step::Change("IDENTIFIED".to_owned()), "our own is taken back");
    }

    #[test]
    fn work_under_way_is_left_alone_until_the_finding_is_gone() {
        for status in ["IN_PROGRESS", "AWAITING_VALIDATION"] {
            for state in [State::Open, State::Confirmed] {
                assert_eq!(step(&issue(status, None), state, "IDENTIFIED", false), Step::Stay, "{status}, {state}");
            }
            let gone = step(&issue(status, None), State::Fixed, "FIX_ACCEPTED", false);
            assert_eq!(gone, Step::Change("FIX_ACCEPTED".to_owned()));
        }
        assert_eq!(step(&issue("CREATED", None), State::Open, "IDENTIFIED", false), Step::Stay);
        let confirmed = step(&issue("CREATED", None), State::Confirmed, "IDENTIFIED", false);
        assert_eq!(confirmed, Step::Change("IDENTIFIED".to_owned()));
    }

    #[test]
    fn only_what_is_permitted_is_written() {
        let close = |permitted: &[&str]| step(&issue("CREATED", Some(permitted)), State::Fixed, "FIX_ACCEPTED", false);
        assert_eq!(close(&["IDENTIFIED", "FIX_ACCEPTED"]), Step::Change("FIX_ACCEPTED".to_owned()));
        assert_eq!(close(&["IDENTIFIED"]), Step::Through("IDENTIFIED".to_owned()));
        assert_eq!(close(&[]), Step::Forbidden);
        let again = step(&issue("IDENTIFIED", Some(&["IDENTIFIED"])), State::Fixed, "FIX_ACCEPTED", false);
        assert_eq!(again, Step::Forbidden, "no going in circles");
    }

    #[test]
    fn a_reason_of_ours_is_known_again() {
        for state in State::ALL {
            assert!(is_own(Some(&reason(*state))));
        }
        assert!(!is_own(Some("fixed")) && !is_own(None));
    }

    #[test]
    fn a_word_means_the_first_state_that_has_it() {
        let mapping = crate::domain::destination::Mapping::default();
        assert_eq!(mapping.state("IDENTIFIED", WORDS), Some(State::Open));
        assert_eq!(mapping.state("FIX_ACCEPTED", WORDS), Some(State::Fixed));
        assert_eq!(mapping.state("IN_PROGRESS", WORDS), None);
    }
}
