//! What was ever true: the states of every finding in their order, as SonarQube went through them.

use std::collections::{BTreeMap, BTreeSet};

use hydrophone::domain::finding::State;

use crate::support::sonar::{Branch, Hotspot, HotspotResolution, HotspotStatus, Issue, IssueStatus, Model, Resolution};

/// See the module.
#[derive(Default)]
pub struct Truth {
    states: BTreeMap<String, Vec<State>>,
    /// New keys of findings whose keys changed.
    moved: BTreeMap<String, String>,
    /// Keys of branches that were deleted: nothing happens to them any more.
    frozen: BTreeSet<String>,
}

pub fn issue_state(issue: &Issue) -> State {
    match (issue.issue_status(), issue.resolution) {
        (IssueStatus::Open | IssueStatus::InSandbox | IssueStatus::Quarantined, _) => State::Open,
        (IssueStatus::Confirmed, _) => State::Confirmed,
        (IssueStatus::FalsePositive, _) => State::FalsePositive,
        (IssueStatus::Accepted, _) => State::Accepted,
        (IssueStatus::Fixed, Some(Resolution::Removed)) => State::Removed,
        (IssueStatus::Fixed, _) => State::Fixed,
    }
}

pub fn hotspot_state(hotspot: &Hotspot) -> State {
    match (hotspot.status, hotspot.resolution) {
        // No answer shows one that is closed, so nobody can know why it is gone.
        (HotspotStatus::Closed, _) => State::Removed,
        (_, Some(HotspotResolution::Fixed)) => State::Fixed,
        (_, Some(HotspotResolution::Safe)) => State::FalsePositive,
        (_, Some(HotspotResolution::Acknowledged)) => State::Accepted,
        _ => State::Open,
    }
}

/// The findings of a branch with their states.
pub fn findings(branch: &Branch) -> BTreeMap<String, State> {
    let issues = branch.issues().iter().filter(|issue| issue.has_security_impact());
    let issues = issues.map(|issue| (issue.key.clone(), issue_state(issue)));
    issues.chain(branch.hotspots.iter().map(|hotspot| (hotspot.key.clone(), hotspot_state(hotspot)))).collect()
}

impl Truth {
    /// Takes in how everything is now.
    pub fn look(&mut self, model: &Model) {
        let branches = model.projects.iter().flat_map(|project| &project.branches);
        let now: BTreeMap<String, State> = branches.flat_map(findings).collect();
        for (key, state) in &now {
            let states = self.states.entry(key.clone()).or_default();
            if states.last() != Some(state) {
                states.push(*state);
            }
        }
        for (key, states) in &mut self.states {
            // Under its new key it may be closed before anybody looked: then nothing shows that it is the same.
            let there = |key: &String| match self.moved.get(key) {
                Some(to) => now.get(to).is_some_and(|state| !state.is_closed()),
                None => now.contains_key(key),
            };
            let gone = !there(key) && !self.frozen.contains(key);
            if gone && states.last() != Some(&State::Removed) {
                states.push(State::Removed);
            }
        }
    }

    /// A finding has another key from now on.
    pub fn moved(&mut self, from: &str, to: &str) {
        if from != to {
            self.moved.insert(from.to_owned(), to.to_owned());
        }
    }

    /// The branch of these findings was deleted.
    pub fn freeze(&mut self, keys: impl IntoIterator<Item = String>) {
        self.frozen.extend(keys);
    }

    /// Whether a log that ends at this key may tell of these states, one after the other: SonarQube went through them
    /// in this order, if not through them alone.
    pub fn tells(&self, key: &str, log: &[State]) -> bool {
        let former = self.moved.iter().find(|(_, to)| *to == key).map(|(from, _)| from.as_str());
        let former = former.and_then(|former| self.states.get(former)).cloned().unwrap_or_default();
        let mut truth = former.iter().chain(self.states.get(key).into_iter().flatten());
        log.iter().all(|state| truth.any(|one| one == state))
    }

    pub fn of(&self, key: &str) -> Vec<State> {
        self.states.get(key).cloned().unwrap_or_default()
    }
}
