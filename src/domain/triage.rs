//! A person's decision about a finding, as Sonar is told of it: `issues/do_transition`, `hotspots/change_status`.

use minicbor::{Decode, Encode};

use super::destination::{Destination, Words};
use super::finding::{Kind, State};
use super::message::Remote;
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

/// What becomes of a platform's word for a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The decision to remember; none where the platform says what it was told.
    pub decided: Option<String>,
    /// What Sonar is to be told now. Whatever was put down for it before does not count any more.
    pub order: Option<Order>,
}

/// Takes in what a platform says of a finding; nothing if it says that already. `here` is the finding's state in the
/// inventory, where it is held.
///
/// What this box told the platform comes back, too: only what differs from it was decided there, and taking that back
/// leads to the state that was told.
pub fn take_in(
    remote: &Remote,
    here: Option<State>,
    (word, reason): (&str, Option<&str>),
    destination: &Destination,
    words: &Words,
    at: Timestamp,
) -> Option<Taken> {
    let mapping = &destination.mapping;
    let ours = remote.state.and_then(|state| mapping.word(state, words));
    // What was told without an answer may have arrived, and is nobody's decision. Neither is that it is open: the way
    // from one decision to another leads over it. It is told again, and known then.
    let mut in_doubt = remote.in_doubt().flat_map(|state| [state, State::Open]);
    if in_doubt.any(|state| mapping.word(state, words).as_deref() == Some(word)) {
        return None;
    }
    let decided = (ours.as_deref() != Some(word)).then(|| word.to_owned());
    if decided == remote.decided {
        return None;
    }
    let state = match &decided {
        Some(word) => mapping.state(word, words),
        None => remote.state,
    };
    let order = state.and_then(|state| order(state, here, reason, destination, at));
    Some(Taken { decided, order })
}

/// What Sonar is to be told of a decision that stands on the platform while the finding is in another state here: it was
/// made when nothing was passed on, or while there was nothing to decide about in Sonar.
pub fn standing(
    remote: &Remote,
    here: Option<State>,
    reason: Option<&str>,
    destination: &Destination,
    words: &Words,
    at: Timestamp,
) -> Option<Order> {
    let decided = remote.decided.as_deref()?;
    order(destination.mapping.state(decided, words)?, here, reason, destination, at)
}

fn order(
    state: State,
    here: Option<State>,
    reason: Option<&str>,
    destination: &Destination,
    at: Timestamp,
) -> Option<Order> {
    let differs = here.is_some_and(|here| !here.is_closed() && here != state);
    if !destination.triage_to_sonar || state.is_closed() || !differs {
        return None;
    }
    let comment = match reason.filter(|reason| !reason.is_empty()) {
        Some(reason) => format!("Decided in {} ({}): {reason}", destination.name, destination.kind),
        None => format!("Decided in {} ({}).", destination.name, destination.kind),
    };
    Some(Order { state, comment, at, refused: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::destination::PlatformKind;
    use crate::domain::ids::{DestinationName, IssueKey, ScopeId};

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

    const WORDS: &Words = &[
        (State::Open, "Active"),
        (State::Confirmed, "Verified"),
        (State::Accepted, "Risk accepted"),
        (State::FalsePositive, "False positive"),
        (State::Fixed, "Mitigated"),
    ];

    const NOW: Timestamp = Timestamp(1_900_000_000_000);

    /// A finding whose platform was told that it is in a state, and where this was decided since.
    fn told(state: State, decided: Option<&str>) -> Remote {
        Remote {
            scope: ScopeId(1),
            id: Some("7".to_owned()),
            key: IssueKey::parse("A").unwrap(),
            state: Some(state),
            content: None,
            birth: None,
            decided: decided.map(str::to_owned),
            since: Timestamp(0),
            telling: None,
            unanswered: Vec::new(),
        }
    }

    fn dojo() -> Destination {
        let name = DestinationName::parse("dojo").unwrap();
        let destination =
            Destination::new(name, PlatformKind::DefectDojo, "https://dojo.example".to_owned(), Timestamp(0));
        Destination { triage_to_sonar: true, ..destination }
    }

    #[allow(clippy::unnecessary_wraps, reason = "stands beside what was taken in")]
    fn taken(decided: Option<&str>, order: Option<(State, &str)>) -> Option<Taken> {
        let order = order.map(|(state, comment)| Order { state, comment: comment.to_owned(), at: NOW, refused: None });
        Some(Taken { decided: decided.map(str::to_owned), order })
    }

    #[test]
    fn what_was_told_without_an_answer_is_nobodys_decision() {
        let (dojo, open) = (dojo(), Some(State::Open));
        let confirmed = Remote { telling: Some(State::FalsePositive), ..told(State::Open, None) };
        assert_eq!(take_in(&confirmed, open, ("False positive", None), &dojo, WORDS, NOW), None);
        assert_eq!(take_in(&confirmed, open, ("Active", None), &dojo, WORDS, NOW), None);
        let theirs = take_in(&confirmed, open, ("Verified", None), &dojo, WORDS, NOW);
        assert_eq!(theirs.and_then(|taken| taken.decided).as_deref(), Some("Verified"));
        // Half the way from one decision to another, which an answer that was lost cut off; and what was told before.
        let other = Remote { unanswered: vec![State::Confirmed], ..confirmed };
        let half = Remote { telling: Some(State::Accepted), ..told(State::FalsePositive, None) };
        assert_eq!(take_in(&half, Some(State::Accepted), ("Active", None), &dojo, WORDS, NOW), None);
        assert_eq!(take_in(&other, open, ("Verified", None), &dojo, WORDS, NOW), None);
    }

    #[test]
    fn a_decision_is_remembered_and_told_to_sonar_once() {
        let (dojo, open) = (dojo(), Some(State::Open));
        let take = |remote: &Remote, word, reason| take_in(remote, open, (word, reason), &dojo, WORDS, NOW);
        let fresh = told(State::Open, None);
        let comment = "Decided in dojo (defectdojo): Not reachable.";
        assert_eq!(
            take(&fresh, "False positive", Some("Not reachable.")),
            taken(Some("False positive"), Some((State::FalsePositive, comment)))
        );
        assert_eq!(
            take(&fresh, "Verified", Some("")),
            taken(Some("Verified"), Some((State::Confirmed, "Decided in dojo (defectdojo).")))
        );
        // The same again, whatever the reason is by now.
        assert_eq!(take(&told(State::Open, Some("False positive")), "False positive", Some("Other")), None);
        let other = take(&told(State::Open, Some("False positive")), "Risk accepted", None);
        let comment = "Decided in dojo (defectdojo).";
        assert_eq!(other, taken(Some("Risk accepted"), Some((State::Accepted, comment))));
    }

    #[test]
    fn what_this_box_told_is_no_decision_when_it_comes_back() {
        let dojo = dojo();
        for (state, word) in WORDS {
            assert_eq!(take_in(&told(*state, None), Some(*state), (word, None), &dojo, WORDS, NOW), None, "{word}");
        }
        // Sonar has gone on, and the platform is not told yet: its word is still the one that it was told.
        let behind = take_in(&told(State::Open, None), Some(State::Accepted), ("Active", None), &dojo, WORDS, NOW);
        assert_eq!(behind, None);
    }

    #[test]
    fn a_decision_that_is_taken_back_leads_to_the_state_that_was_told() {
        let (dojo, decided) = (dojo(), told(State::Open, Some("False positive")));
        let take = |here| take_in(&decided, Some(here), ("Active", None), &dojo, WORDS, NOW);
        let back = taken(None, Some((State::Open, "Decided in dojo (defectdojo).")));
        assert_eq!(take(State::FalsePositive), back);
        // Sonar was not told yet. What waits for it is forgotten, as the order of what was taken in is none.
        assert_eq!(take(State::Open), taken(None, None));
    }

    #[test]
    fn a_word_that_means_no_state_of_ours_is_remembered_only() {
        let (dojo, remote) = (dojo(), told(State::Open, Some("False positive")));
        let take = |word| take_in(&remote, Some(State::FalsePositive), (word, None), &dojo, WORDS, NOW);
        assert_eq!(take("Under review"), taken(Some("Under review"), None));
        // Only an analysis closes.
        assert_eq!(take("Mitigated"), taken(Some("Mitigated"), None));
    }

    #[test]
    fn nothing_is_told_of_what_is_closed_or_not_held_or_already_so() {
        let dojo = dojo();
        for here in [Some(State::Fixed), Some(State::Removed), Some(State::FalsePositive), None] {
            let taken_in = take_in(&told(State::Open, None), here, ("False positive", None), &dojo, WORDS, NOW);
            assert_eq!(taken_in, taken(Some("False positive"), None), "{here:?}");
        }
        // Where telling it was begun and the answer is not known, its first word is as good as a decision.
        let begun = Remote { state: None, ..told(State::Open, None) };
        let taken_in = take_in(&begun, Some(State::Open), ("Active", None), &dojo, WORDS, NOW);
        assert_eq!(taken_in, taken(Some("Active"), None));
    }

    #[test]
    fn a_destination_that_passes_no_decisions_on_only_remembers_them() {
        let silent = Destination { triage_to_sonar: false, ..dojo() };
        let remote = told(State::Open, None);
        let taken_in = take_in(&remote, Some(State::Open), ("False positive", None), &silent, WORDS, NOW);
        assert_eq!(taken_in, taken(Some("False positive"), None));
    }

    #[test]
    fn a_mapping_that_was_edited_counts_for_what_is_decided_from_then_on() {
        let mut dojo = dojo();
        dojo.mapping.inward.insert("Out of scope".to_owned(), Some(State::Accepted as u8));
        dojo.mapping.inward.insert("False positive".to_owned(), None);
        dojo.mapping.outward.insert(State::Open as u8, "New".to_owned());
        let take = |remote: &Remote, word| take_in(remote, Some(State::Open), (word, None), &dojo, WORDS, NOW);
        let comment = "Decided in dojo (defectdojo).";
        assert_eq!(
            take(&told(State::Open, None), "Out of scope"),
            taken(Some("Out of scope"), Some((State::Accepted, comment)))
        );
        assert_eq!(take(&told(State::Open, None), "False positive"), taken(Some("False positive"), None));
        assert_eq!(take(&told(State::Open, None), "New"), None);
        // It was told under the former word, which still means open.
        assert_eq!(take(&told(State::Open, None), "Active"), taken(Some("Active"), None));
        // What was decided before is not decided anew.
        assert_eq!(take(&told(State::Open, Some("Out of scope")), "Out of scope"), None);
    }

    #[test]
    fn nobody_closes_by_hand_and_nothing_is_decided_about_what_is_closed() {
        for kind in Kind::ALL {
            assert_eq!(steps(*kind, State::Open, State::Fixed, true), Err(Impossible::Closing(State::Fixed)));
            assert_eq!(steps(*kind, State::Removed, State::Open, true), Err(Impossible::Closed(State::Removed)));
        }
    }
}
