//! A person's decision about a finding, as Sonar is told of it: `issues/do_transition`, `hotspots/change_status`.

use minicbor::{Decode, Encode};

use super::finding::{Kind, State};
use super::time::Timestamp;

/// One request to Sonar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `issues/do_transition` with this transition.
    Transition(&'static str),
    /// `hotspots/change_status` with this status and resolution.
    Hotspot {
        /// `TO_REVIEW` or `REVIEWED`.
        status: &'static str,
        /// `SAFE` or `ACKNOWLEDGED`; only of a reviewed one.
        resolution: Option<&'static str>,
    },
}

/// Why a finding cannot be brought into a state by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// Only an analysis closes a finding.
    #[error("{0} is nothing that a person decides: an analysis closes findings")]
    Closing(State),
    /// It is closed; there is nothing to decide.
    #[error("the finding is {0}, and there is nothing left to decide")]
    Closed(State),
    /// Hotspots have no such state.
    #[error("a hotspot cannot be confirmed in Sonar; it is open, accepted or a false positive")]
    HotspotConfirmed,
}

/// The requests that lead a finding from one state to another; none if it is there. `accepts` says whether the source
/// knows the transition `accept` (Cloud, Server 10.4 and later); older ones call it `wontfix`.
///
/// # Errors
/// If no request does.
pub fn steps(kind: Kind, from: State, to: State, accepts: bool) -> Result<Vec<Step>, Impossible> {
    if from.is_closed() {
        return Err(Impossible::Closed(from));
    }
    if to.is_closed() {
        return Err(Impossible::Closing(to));
    }
    if from == to {
        return Ok(Vec::new());
    }
    if kind == Kind::Hotspot {
        let (status, resolution) = match to {
            State::FalsePositive => ("REVIEWED", Some("SAFE")),
            State::Accepted => ("REVIEWED", Some("ACKNOWLEDGED")),
            State::Confirmed => return Err(Impossible::HotspotConfirmed),
            State::Open | State::Fixed | State::Removed => ("TO_REVIEW", None),
        };
        return Ok(vec![Step::Hotspot { status, resolution }]);
    }
    let decided = matches!(from, State::Accepted | State::FalsePositive);
    let accept = if accepts { "accept" } else { "wontfix" };
    Ok(match to {
        State::Open | State::Fixed | State::Removed if decided => vec![Step::Transition("reopen")],
        State::Open | State::Fixed | State::Removed => vec![Step::Transition("unconfirm")],
        // Sonar leads from one decision to another only by way of open.
        State::Confirmed if decided => vec![Step::Transition("reopen"), Step::Transition("confirm")],
        State::Confirmed => vec![Step::Transition("confirm")],
        State::Accepted if decided => vec![Step::Transition("reopen"), Step::Transition(accept)],
        State::Accepted => vec![Step::Transition(accept)],
        State::FalsePositive if decided => vec![Step::Transition("reopen"), Step::Transition("falsepositive")],
        State::FalsePositive => vec![Step::Transition("falsepositive")],
    })
}

/// A decision that Sonar is to be told of.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Order {
    /// The state that was decided.
    #[n(0)]
    pub state: State,
    /// Why, as Sonar's comment says it, with where it was decided.
    #[n(1)]
    pub comment: String,
    /// When it was decided, or seen.
    #[n(2)]
    pub at: Timestamp,
    /// Why Sonar refuses it; it is not tried again then.
    #[n(3)]
    pub refused: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issues_go_from_decision_to_decision_by_way_of_open() {
        let names = |from, to, accepts| -> Vec<&str> {
            let steps = steps(Kind::Vulnerability, from, to, accepts).unwrap();
            steps
                .iter()
                .map(|step| if let Step::Transition(name) = step { *name } else { panic!("{step:?}") })
                .collect()
        };
        assert_eq!(names(State::Open, State::FalsePositive, true), ["falsepositive"]);
        assert_eq!(names(State::Open, State::Accepted, true), ["accept"]);
        assert_eq!(names(State::Open, State::Accepted, false), ["wontfix"]);
        assert_eq!(names(State::FalsePositive, State::Open, true), ["reopen"]);
        assert_eq!(names(State::Confirmed, State::Open, true), ["unconfirm"]);
        assert_eq!(names(State::FalsePositive, State::Accepted, true), ["reopen", "accept"]);
        assert_eq!(names(State::Open, State::Open, true), [""; 0]);
    }

    #[test]
    fn hotspots_are_reviewed_and_cannot_be_confirmed() {
        let step = |to| steps(Kind::Hotspot, State::Open, to, true);
        let safe = Step::Hotspot { status: "REVIEWED", resolution: Some("SAFE") };
        assert_eq!(step(State::FalsePositive), Ok(vec![safe]));
        assert_eq!(step(State::Confirmed), Err(Impossible::HotspotConfirmed));
        let back = steps(Kind::Hotspot, State::Accepted, State::Open, true);
        assert_eq!(back, Ok(vec![Step::Hotspot { status: "TO_REVIEW", resolution: None }]));
    }

    #[test]
    fn nobody_closes_by_hand_and_nothing_is_decided_about_what_is_closed() {
        for kind in Kind::ALL {
            assert_eq!(steps(*kind, State::Open, State::Fixed, true), Err(Impossible::Closing(State::Fixed)));
            assert_eq!(steps(*kind, State::Removed, State::Open, true), Err(Impossible::Closed(State::Removed)));
        }
    }
}
