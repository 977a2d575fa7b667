//! One analysis of a branch: what it finds, and what it leaves behind.

use std::ops::{Deref, DerefMut};

use super::TaskId;
use super::issue::{Hotspot, Issue};
use super::model::{AnalysisRecord, Gate, Model, Target};
use super::webhook::Event;
use super::words::GateStatus;

/// An analysis under way. It stands for the model, whose clock shows the analysis date, so that everything a test does
/// to an issue through it happens at that moment.
pub struct Analysis<'a> {
    model: &'a mut Model,
    project: &'a str,
    target: Target<'a>,
    pub date: i64,
    pub revision: Option<String>,
    pub properties: Vec<(String, String)>,
    pub verdict: Verdict,
}

/// Where the gate's colour comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// From the open vulnerabilities.
    Judged,
    Forced(GateStatus),
    /// No gate, and no `qualityGate` in the webhook.
    NoGate,
}

impl Analysis<'_> {
    /// A new issue on the analysed branch.
    pub fn open(&mut self, issue: Issue) -> String {
        self.model.add_issue(self.project, self.target, issue)
    }

    pub fn open_hotspot(&mut self, hotspot: Hotspot) -> String {
        self.model.add_hotspot(self.project, self.target, hotspot)
    }

    pub fn property(&mut self, name: &str, value: &str) {
        self.properties.push((name.to_owned(), value.to_owned()));
    }
}

impl Deref for Analysis<'_> {
    type Target = Model;

    fn deref(&self) -> &Model {
        self.model
    }
}

impl DerefMut for Analysis<'_> {
    fn deref_mut(&mut self) -> &mut Model {
        self.model
    }
}

pub(super) fn analyse(
    model: &mut Model,
    project: &str,
    target: Target<'_>,
    change: impl FnOnce(&mut Analysis),
) -> Event {
    assert!(model.branch(project, target).is_some(), "no {target:?} of {project} in the model");
    let clock = model.clock();
    let date = model.begin_analysis();
    model.freeze_clock(Some(date));
    let revision = Some(format!("{:040x}", model.new_number()));
    let mut analysis =
        Analysis { model, project, target, date, revision, properties: Vec::new(), verdict: Verdict::Judged };
    change(&mut analysis);
    let Analysis { model, date, revision, properties, verdict, .. } = analysis;
    let gate = match verdict {
        Verdict::Judged => model.judge(project, target),
        Verdict::Forced(GateStatus::Ok) => Some(Gate::sonar_way(GateStatus::Ok, 1)),
        Verdict::Forced(GateStatus::Error) => Some(Gate::sonar_way(GateStatus::Error, 5)),
        Verdict::NoGate => None,
    };
    let key = model.new_key();
    let branch = model.branch_mut(project, target);
    branch.gate.clone_from(&gate);
    branch.analyses.push(AnalysisRecord { key, date, revision: revision.clone() });
    let task = TaskId(model.new_key());
    // A stopped clock moves on to the analysis; a running one is already held to it.
    model.freeze_clock(clock.map(|at| at.max(date)));
    Event { task: Some(task), failed: false, analysed_at: Some(date), changed_at: date, revision, gate, properties }
}
