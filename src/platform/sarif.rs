//! Writes findings as one SARIF 2.1.0 log, in the profile that GitHub code scanning and DefectDojo both take.
//!
//! A log has a run for each branch. Results are written as they come; what a run says of its rules follows them, so
//! that memory grows with the rules of a run and not with its results, but for a small number each that keeps equal
//! lines apart. The texts of rules are asked for one by one while they are written.
//!
//! A run says what is open: what is closed is absent, and a run without results closes what its readers hold.
//! Whoever writes must therefore not begin a run for a branch that was never read.
//!
//! - A result's place among those of its branch is its issue's key: in `fingerprints`, and in the message's text, since
//!   DefectDojo takes results with equal message and place for one.
//! - Severity belongs to a rule in SARIF. So each severity of a rule is a rule of its own, such as `java:S2077/low`, also
//!   where it has but one: ids stay the same when another severity comes or goes.
//! - More results than GitHub takes in a run go on in a further run, `…/part-2/`; nothing is left out.

mod result;
mod rules;

use std::collections::HashMap;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use self::rules::Rules;
use crate::domain::finding::{Flow, Kind, Severity, State, TextRange};
use crate::domain::ids::ScopeKind;

/// What a run is about: one branch or pull request.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The site whose box reads it, where that is another one.
    pub site: Option<&'a str>,
    /// The operator's name for the SonarQube.
    pub source: &'a str,
    /// The organization's key.
    pub organization: &'a str,
    /// The project's key.
    pub project: &'a str,
    /// The name of the branch, or the pull request's key.
    pub branch: &'a str,
    /// Which of the two.
    pub kind: ScopeKind,
    /// The commit that was analysed.
    pub revision: Option<&'a str>,
    /// When Sonar analysed it; RFC 3339 in UTC.
    pub analysed_at: Option<&'a str>,
    /// Where the code is.
    pub repository_url: Option<&'a str>,
}

/// A finding, as far as SARIF tells of it.
#[derive(Debug, Clone, Copy)]
pub struct Finding<'a> {
    /// The inventory's id of it.
    pub id: &'a str,
    /// Sonar's key.
    pub key: &'a str,
    /// Which of Sonar's lists it is from.
    pub kind: Kind,
    /// Sonar's rule; old Servers do not say it for hotspots.
    pub rule: Option<&'a str>,
    /// Sonar's message for this place.
    pub message: &'a str,
    /// How bad.
    pub severity: Severity,
    /// Where it stands. One that is closed is not written.
    pub state: State,
    /// Path in the project; absent for findings on the project itself.
    pub path: Option<&'a str>,
    /// Line, from 1.
    pub line: Option<u32>,
    /// The exact place, as Sonar counts.
    pub range: Option<TextRange>,
    /// How it comes about.
    pub flows: &'a [Flow],
    /// CWE numbers of the rule.
    pub cwe: &'a [u32],
    /// Sonar's hash of the line.
    pub line_hash: Option<&'a str>,
    /// Where Sonar shows it.
    pub url: &'a str,
    /// Sonar's own words, as the API shows them.
    pub sonar: &'a Value,
    /// The site whose box reads it, where that is another one.
    pub site: Option<&'a str>,
}

/// What is known of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Its title.
    pub name: Option<String>,
    /// Its text, HTML as Sonar writes it.
    pub description: Option<String>,
    /// The CWE numbers that its text names.
    pub cwe: Vec<u32>,
    /// Where Sonar shows it.
    pub url: Option<String>,
}

/// Which findings are told as suppressed. GitHub shows those as closed; DefectDojo makes every one of them a false
/// positive for ever, so that a file meant for it has to say less.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Suppressions {
    /// Those that are accepted, and false positives.
    #[default]
    All,
    /// False positives; those that are accepted are told like all others.
    FalsePositives,
    /// None.
    Off,
}

/// What a log holds once it is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Runs.
    pub runs: usize,
    /// Results in all of them.
    pub results: u64,
}

/// Writes one log. `rule` is asked for the rule of a source and key, once for each rule of a run; its errors are the
/// writer's.
pub struct Log<W, R> {
    out: W,
    rule: R,
    suppressions: Suppressions,
    run: Option<Run>,
    summary: Summary,
}

/// A run that is being written.
struct Run {
    /// What is written of it after its results, but for the rules.
    head: Map<String, Value>,
    /// The part of `automationDetails.id` that all its parts begin with.
    id: String,
    source: String,
    part: usize,
    results: usize,
    rules: Rules,
    /// How often a line was met.
    lines: HashMap<u64, u32>,
}

impl<W: Write, E: From<io::Error>, R: FnMut(&str, &str) -> Result<Option<Rule>, E>> Log<W, R> {
    /// Begins a log.
    pub fn begin(mut out: W, suppressions: Suppressions, rule: R) -> Result<Self, E> {
        write!(out, "{{\"$schema\":\"{SCHEMA}\",\"version\":\"2.1.0\",\"runs\":[")?;
        Ok(Self { out, rule, suppressions, run: None, summary: Summary::default() })
    }

    /// Begins a run, and ends the one before.
    pub fn run(&mut self, head: &Head) -> Result<(), E> {
        self.end_run()?;
        let place = match head.kind {
            ScopeKind::Branch => head.branch.to_owned(),
            ScopeKind::PullRequest => format!("pull/{}", head.branch),
        };
        let run = Run {
            head: members(head),
            id: match head.site {
                // Two sites may read the same project, and neither's list is to end what is in the other's.
                Some(site) => format!("sonar@{site}/{}/{}/{place}/", head.organization, head.project),
                None => format!("sonar/{}/{}/{place}/", head.organization, head.project),
            },
            source: head.source.to_owned(),
            part: 1,
            results: 0,
            rules: Rules::default(),
            lines: HashMap::new(),
        };
        self.open(run)
    }

    fn open(&mut self, run: Run) -> Result<(), E> {
        self.out.write_all(if self.summary.runs == 0 { b"\n{\"results\":[" } else { b",\n{\"results\":[" })?;
        self.summary.runs += 1;
        self.run = Some(run);
        Ok(())
    }

    /// Writes a finding of the run that was begun last.
    ///
    /// # Panics
    /// If no run was begun.
    pub fn result(&mut self, finding: &Finding) -> Result<(), E> {
        if finding.state.is_closed() {
            return Ok(());
        }
        if self.run.as_ref().is_some_and(|run| run.results == RESULTS_MAX) {
            self.next_part()?;
        }
        let run = self.run.as_mut().expect("a result belongs to a run that was begun");
        let rule = run.rules.meet(finding);
        let line = result::line(finding);
        let nth = run.lines.entry(line).or_insert(0);
        *nth += 1;
        let value = result::of(finding, rule, (line, *nth), self.suppressions);
        self.out.write_all(if run.results == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut self.out, &value).map_err(io::Error::from)?;
        run.results += 1;
        self.summary.results += 1;
        Ok(())
    }

    fn next_part(&mut self) -> Result<(), E> {
        let Some(run) = self.run.take() else { return Ok(()) };
        let (head, id, source, part) = (run.head.clone(), run.id.clone(), run.source.clone(), run.part + 1);
        self.close(run)?;
        self.open(Run { head, id, source, part, results: 0, rules: Rules::default(), lines: HashMap::new() })
    }

    fn end_run(&mut self) -> Result<(), E> {
        match self.run.take() {
            Some(run) => self.close(run),
            None => Ok(()),
        }
    }

    fn close(&mut self, run: Run) -> Result<(), E> {
        let id = if run.part == 1 { run.id } else { format!("{}part-{}/", run.id, run.part) };
        write!(self.out, "\n],\"automationDetails\":{}", json!({ "id": id }))?;
        for (name, value) in &run.head {
            write!(self.out, ",\"{name}\":{value}")?;
        }
        self.out.write_all(b",")?;
        let source = run.source;
        run.rules.write(&mut self.out, |key| (self.rule)(&source, key))?;
        self.out.write_all(b"}")?;
        Ok(())
    }

    /// Ends the log.
    pub fn finish(mut self) -> Result<(W, Summary), E> {
        self.end_run()?;
        self.out.write_all(b"\n]}\n")?;
        self.out.flush()?;
        Ok((self.out, self.summary))
    }
}

/// What is written of a run but for its results and rules.
fn members(head: &Head) -> Map<String, Value> {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
    put("columnKind", "utf16CodeUnits".into());
    put("originalUriBaseIds", json!({ ROOT: { "description": { "text": "The root of the project." } } }));
    let mut invocation = json!({ "executionSuccessful": true });
    if let Some(at) = filled(head.analysed_at) {
        invocation["endTimeUtc"] = at.into();
    }
    put("invocations", json!([invocation]));
    if let Some(url) = filled(head.repository_url).and_then(result::uri) {
        let mut details = json!({ "repositoryUri": url, "mappedTo": { "uriBaseId": ROOT } });
        if let Some(revision) = filled(head.revision) {
            details["revisionId"] = revision.into();
        }
        if head.kind == ScopeKind::Branch {
            details["branch"] = head.branch.into();
        }
        put("versionControlProvenance", json!([details]));
    }
    put("conversion", json!({ "tool": { "driver": { "name": "Hydrophone", "version": env!("CARGO_PKG_VERSION") } } }));
    let mut properties = json!({
        "source": head.source,
        "organization": head.organization,
        "project": head.project,
        "branch": head.branch,
        "scope": match head.kind { ScopeKind::Branch => "branch", ScopeKind::PullRequest => "pull_request" },
    });
    if let Some(site) = filled(head.site) {
        properties["site"] = site.into();
    }
    if let Some(revision) = filled(head.revision) {
        properties["revision"] = revision.into();
    }
    put("properties", properties);
    members
}

/// GitHub refuses empty strings.
fn filled(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.trim().is_empty())
}

/// A text without control characters but line breaks and tabs, at most so many characters long.
fn cut(text: &str, characters_max: usize) -> String {
    let mut shown = text.chars().map(|c| match c {
        '\n' | '\t' => c,
        c if c.is_control() => ' ',
        c => c,
    });
    let mut kept: String = shown.by_ref().take(characters_max).collect();
    if shown.next().is_some() {
        kept.pop();
        kept.push('…');
    }
    kept
}

/// The address by which GitHub knows the schema.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// Stands for wherever a reader has the code.
const ROOT: &str = "%SRCROOT%";

/// GitHub refuses a run with more results. A run has no more rules than results, and GitHub takes as many of those.
pub const RESULTS_MAX: usize = 25_000;

/// GitHub refuses a log with more runs. The caller's concern: a log is none the less valid.
pub const RUNS_MAX: usize = 20;

/// GitHub keeps so much of a title, a description or a message.
const TEXT_CHARACTERS_MAX: usize = 1024;

/// GitHub keeps so many tags of a rule.
const TAGS_MAX: usize = 10;

#[cfg(test)]
mod tests;
