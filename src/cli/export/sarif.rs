//! `export --format sarif`: a run for each branch that is meant and was read, whether it holds findings or not.

use std::io::Write;

use clap::{Args, ValueEnum};

use super::{Format, Stop, note};
use crate::admin::shapes::{self, Branch, Project, ProjectList};
use crate::cli::client::{Answer, Client, Failure, path, path_with};
use crate::cli::finding::Filters;
use crate::cli::pages::{Pages, shaped};
use crate::cli::table::counted;
use crate::domain::finding::{BadWord, Flow, FlowStep, Severity, State, TextRange};
use crate::domain::ids::ScopeKind;
use crate::platform::sarif::{Finding, Head, Log, RUNS_MAX, Rule, Suppressions};

/// What only SARIF can be told.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Flags {
    /// Tell these findings as suppressed; only with --format sarif.
    #[arg(long, value_enum, value_name = "WHICH")]
    suppressions: Option<Which>,
    /// Name the commit that the findings are of; only with --format sarif, --repository and one branch.
    #[arg(long, value_name = "COMMIT")]
    revision: Option<String>,
    /// Name the repository that the paths are in; only with --format sarif and --project.
    #[arg(long, value_name = "URL")]
    repository: Option<String>,
}

/// Which findings are told as suppressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Accepted findings and false positives, as GitHub understands it.
    All,
    /// False positives, as DefectDojo understands it.
    FalsePositives,
    /// No finding.
    Off,
}

impl Flags {
    /// Refuses what does not go together.
    pub(super) fn check(&self, format: Format, filters: &Filters) -> Result<(), Failure> {
        let refuse = |text: &str, hint| Err(Failure::Input { text: text.to_owned(), hint });
        if format != Format::Sarif {
            let given = [
                ("--suppressions", self.suppressions.is_some()),
                ("--revision", self.revision.is_some()),
                ("--repository", self.repository.is_some()),
            ];
            return match given.iter().find(|(_, given)| *given) {
                Some((flag, _)) => refuse(&format!("{flag} goes only with --format sarif"), ""),
                None => Ok(()),
            };
        }
        if let Some(closed) = filters.state.iter().find(|word| word.parse().is_ok_and(State::is_closed)) {
            return refuse(
                &format!("--state {closed} does not go with --format sarif: what is closed is absent there"),
                "Use --format json or csv for closed findings.",
            );
        }
        if let Some(url) = &self.repository {
            if !(url.starts_with("https://") || url.starts_with("http://")) {
                return refuse(&format!("--repository {url} is no http or https address"), "");
            }
            if filters.project.is_none() {
                return refuse("--repository goes only with --project, as each project has its own", "");
            }
        }
        if self.revision.is_some() && (self.repository.is_none() || filters.branch.is_none()) {
            return refuse("--revision goes only with --repository and --branch, as each branch has its own", "");
        }
        Ok(())
    }
}

/// Writes the log, and tells how many results it has.
pub(super) fn write(client: &Client, filters: &Filters, flags: &Flags, out: &mut dyn Write) -> Result<u64, Stop> {
    // Asked for before anything is written, so that a refusal leaves no half of a document.
    let branches = branches(client, filters).map_err(Stop::Read)?;
    // The filters themselves are the daemon's to judge; a word that is wrong is refused here.
    let probe: Answer<shapes::FindingList> = client.get(&filters.path(1, None)).map_err(Stop::Read)?;
    drop(probe);
    let suppressions = match flags.suppressions {
        None | Some(Which::All) => Suppressions::All,
        Some(Which::FalsePositives) => Suppressions::FalsePositives,
        Some(Which::Off) => Suppressions::Off,
    };
    let mut log = Log::begin(out, suppressions, |source: &str, key: &str| rule(client, source, key))?;
    let mut unread = 0;
    for (project, branch) in &branches {
        // Nothing is known of it: a run without results would tell readers that all is closed.
        if branch.synced_at.is_none() {
            unread += 1;
            continue;
        }
        let kind = if branch.kind == "pull_request" { ScopeKind::PullRequest } else { ScopeKind::Branch };
        log.run(&Head {
            source: &project.source,
            organization: &project.organization,
            project: &project.key,
            branch: &branch.name,
            kind,
            revision: flags.revision.as_deref(),
            analysed_at: branch.analysed_at.as_deref(),
            repository_url: flags.repository.as_deref(),
        })?;
        let filters = of_branch(filters, project, branch);
        let mut pages = Pages::new(client, |rows, cursor| {
            // A scope's kind and its findings' flows are nothing that a person filters by.
            let more = path_with(&[], &[("scope", Some(branch.kind.as_str())), ("with", Some("flows"))]);
            format!("{}&{}", filters.path(rows, cursor), more.trim_start_matches('?'))
        });
        while let Some(page) = pages.next(u64::MAX).map_err(Stop::Read)? {
            for finding in super::findings(&page.value) {
                result(&mut log, &shaped(finding).map_err(Stop::Read)?)?;
            }
        }
    }
    let (_, summary) = log.finish()?;
    if unread > 0 {
        note(&format!(
            "Left out {} that no read was complete of yet.",
            if unread == 1 { "1 branch".to_owned() } else { format!("{unread} branches") }
        ));
    }
    if summary.runs > RUNS_MAX {
        note(&format!(
            "The file has {}; GitHub takes {RUNS_MAX} at most: choose with --project or --branch for it.",
            counted(summary.runs as u64, "run")
        ));
    }
    Ok(summary.results)
}

/// The branches and pull requests that the filters leave.
fn branches(client: &Client, filters: &Filters) -> Result<Vec<(Project, Branch)>, Failure> {
    let all: Answer<ProjectList> = client.get("projects")?;
    let mut found = Vec::new();
    for mut project in all.value.projects {
        let given = |wanted: &Option<String>, held: &str| wanted.as_deref().is_none_or(|wanted| wanted == held);
        let organization = filters.organization.as_deref().is_none_or(|wanted| match wanted.split_once('/') {
            Some((source, key)) => source == project.source && key == project.organization,
            None => wanted == project.organization,
        });
        if !organization
            || !given(&filters.project, &project.key)
            || !given(&filters.asset, project.asset.as_deref().unwrap_or_default())
        {
            continue;
        }
        for branch in std::mem::take(&mut project.branches) {
            let shown = branch.retired_at.is_none() || filters.retired || filters.branch.is_some();
            if shown && given(&filters.branch, &branch.name) {
                found.push((project.clone(), branch));
            }
        }
    }
    Ok(found)
}

fn of_branch(filters: &Filters, project: &Project, branch: &Branch) -> Filters {
    Filters {
        organization: Some(format!("{}/{}", project.source, project.organization)),
        project: Some(project.key.clone()),
        branch: Some(branch.name.clone()),
        ..filters.clone()
    }
}

fn rule(client: &Client, source: &str, key: &str) -> Result<Option<Rule>, Stop> {
    let answer: Result<Answer<shapes::Rule>, Failure> = client.get(&path(&["rules", source, key]));
    match answer {
        Ok(Answer { value, .. }) => {
            Ok(Some(Rule { name: value.name, description: value.description, cwe: value.cwe, url: Some(value.url) }))
        }
        Err(failure) if failure.is_not_found() => Ok(None),
        Err(failure) => Err(Stop::Read(failure)),
    }
}

fn result<W: Write, R>(log: &mut Log<W, R>, finding: &shapes::Finding) -> Result<(), Stop>
where
    R: FnMut(&str, &str) -> Result<Option<Rule>, Stop>,
{
    let range = |range: shapes::Range| TextRange {
        start_line: range.start_line,
        end_line: range.end_line,
        start_offset: range.start_offset,
        end_offset: range.end_offset,
    };
    let step = |step: &shapes::FlowStep| FlowStep {
        path: step.path.clone(),
        range: step.range.map(range),
        message: step.message.clone(),
    };
    let flows: Vec<Flow> = finding.flows.iter().map(|flow| Flow(flow.iter().map(step).collect())).collect();
    log.result(&Finding {
        id: &finding.id,
        key: &finding.key,
        kind: finding.kind.parse().map_err(|word| newer(&word))?,
        rule: finding.rule.as_deref(),
        message: &finding.message,
        severity: finding.severity.parse::<Severity>().map_err(|word| newer(&word))?,
        state: finding.state.parse().map_err(|word| newer(&word))?,
        path: finding.path.as_deref(),
        line: finding.line,
        range: finding.range.map(range),
        flows: &flows,
        cwe: &finding.cwe,
        line_hash: finding.sonar["hash"].as_str(),
        url: &finding.url,
        sonar: &finding.sonar,
    })
}

/// A word of a daemon that is newer than this command line.
fn newer(word: &BadWord) -> Stop {
    Stop::Read(Failure::Lost(format!("it is not what this version expects ({word})")))
}
