//! SARIF of what a list shows: a run for each branch that is meant and was read, whether it holds findings or not.

use std::io::{self, Write};

use super::findings::{self, Wanted};
use super::{Admin, Asked, Format, Problem, Written, each, failed};
use crate::admin::{shapes, views};
use crate::domain::finding::{Flow, FlowStep, Severity, State, TextRange};
use crate::domain::ids::{RuleKey, ScopeId, ScopeKind, SourceName};
use crate::platform::sarif::{Finding, Head, Log, Rule, Suppressions};
use crate::store::catalogue;
use crate::store::records::{Project, Scope};

/// What only SARIF tells.
pub(super) struct Told {
    suppressions: Suppressions,
    repository: Option<String>,
    revision: Option<String>,
}

impl Told {
    /// Refuses what does not go together.
    pub(super) fn parse(asked: &Asked, format: Format) -> Result<Self, Problem> {
        let suppressions = match asked.suppressions.as_deref() {
            None | Some("all") => Suppressions::All,
            Some("false-positives") => Suppressions::FalsePositives,
            Some("off") => Suppressions::Off,
            Some(other) => {
                let text = format!("suppressions: {other:?} is none of: all, false-positives, off");
                return Err(Problem::bad(text).at("suppressions"));
            }
        };
        let given = [
            ("suppressions", asked.suppressions.is_some()),
            ("repository", asked.repository.is_some()),
            ("revision", asked.revision.is_some()),
        ];
        if format != Format::Sarif {
            return match given.iter().find(|(_, given)| *given) {
                Some((name, _)) => Err(Problem::bad(format!("{name} goes only with the format sarif")).at(*name)),
                None => Ok(Self { suppressions, repository: None, revision: None }),
            };
        }
        let mut states = asked.state.iter().flat_map(|words| words.split(','));
        if states.any(|word| word.parse().is_ok_and(State::is_closed)) {
            let problem = Problem::bad("what is closed is absent in SARIF").at("state");
            return Err(problem.remedy("take csv or json for closed findings"));
        }
        if let Some(url) = &asked.repository {
            if !(url.starts_with("https://") || url.starts_with("http://")) {
                return Err(Problem::bad(format!("repository: {url} is no http or https address")).at("repository"));
            }
            if asked.project.is_none() {
                return Err(Problem::bad("repository goes only with a project, as each has its own").at("repository"));
            }
        }
        if asked.revision.is_some() && (asked.repository.is_none() || asked.branch.is_none()) {
            let text = "revision goes only with a repository and a branch, as each branch has its own";
            return Err(Problem::bad(text).at("revision"));
        }
        Ok(Self { suppressions, repository: asked.repository.clone(), revision: asked.revision.clone() })
    }
}

/// Writes the log.
pub(super) fn write(admin: &Admin, asked: &Asked, told: &Told, out: &mut dyn Write) -> io::Result<Written> {
    let places = places(admin, asked).map_err(failed)?;
    let mut log = Log::begin(out, told.suppressions, |source: &str, key: &str| rule(admin, source, key))?;
    let mut written = Written::default();
    let sites = admin.store.read::<_, Problem>(|view| Ok(catalogue::sources_afar(view)?)).map_err(failed)?;
    for (project, scope) in places {
        // Nothing is known of one that was not read: a run without results would say that all is closed.
        if scope.synced_at.is_none() {
            written.unread += 1;
            continue;
        }
        let of_scope = |cursor| of_scope(asked, &project, &scope, cursor);
        // And a run without the damaged ones would say that those are closed.
        let damaged = each(admin, &of_scope, &mut |_| Ok(()))?.damaged;
        if damaged > 0 {
            written.damaged += damaged;
            written.unsure += 1;
            continue;
        }
        let organization = &project.organization;
        let site = sites.get(&organization.source).map(|at| at.site.as_str());
        log.run(&Head {
            site,
            source: organization.source.as_str(),
            organization: organization.key.as_str(),
            project: project.key.as_str(),
            branch: scope.name.as_str(),
            kind: scope.kind,
            revision: told.revision.as_deref(),
            analysed_at: views::time(scope.analysed_at).as_deref(),
            repository_url: told.repository.as_deref(),
        })?;
        each(admin, &of_scope, &mut |finding| result(&mut log, finding))?;
    }
    let (_, summary) = log.finish()?;
    Ok(Written { findings: summary.results, runs: summary.runs as u64, ..written })
}

fn of_scope(asked: &Asked, project: &Project, scope: &Scope, cursor: Option<String>) -> Wanted {
    Wanted {
        organization: Some(project.organization.to_string()),
        project: Some(project.key.to_string()),
        branch: Some(scope.name.to_string()),
        scope: Some(if scope.kind == ScopeKind::Branch { "branch" } else { "pull_request" }.to_owned()),
        with: Some("flows".to_owned()),
        // In the others a finding whose severity or path changes while pages are read may move past them: it would be
        // absent, and count as closed.
        sort: Some("newest".to_owned()),
        ..asked.list(cursor)
    }
}

/// The branches and pull requests that the filters leave.
fn places(admin: &Admin, asked: &Asked) -> Result<Vec<(Project, Scope)>, Problem> {
    let wanted = asked.list(None);
    admin.store.read(|view| {
        let chosen = findings::scopes(view, &wanted)?;
        let is_shown = |id: &ScopeId, scope: &Scope| {
            chosen.as_ref().is_none_or(|chosen| chosen.contains(id))
                && (scope.retired_at.is_none() || wanted.retired || wanted.branch.is_some())
        };
        let mut found = Vec::new();
        for (id, project) in catalogue::projects(view)? {
            let scopes = catalogue::scopes(view, id)?.into_iter().filter(|(id, scope)| is_shown(id, scope));
            found.extend(scopes.map(|(_, scope)| (project.clone(), scope)));
        }
        Ok(found)
    })
}

fn rule(admin: &Admin, source: &str, key: &str) -> io::Result<Option<Rule>> {
    let (Ok(source), Ok(key)) = (SourceName::parse(source), RuleKey::parse(key)) else { return Ok(None) };
    let found = admin.store.read(|view| {
        let Some(of) = catalogue::source(view, &source)? else { return Ok(None) };
        Ok(catalogue::rule(view, &source, &key)?.map(|rule| views::rule(&of, &key, rule)))
    });
    let found: Option<shapes::Rule> = found.map_err(failed)?;
    Ok(found.map(|rule| Rule { name: rule.name, description: rule.description, cwe: rule.cwe, url: Some(rule.url) }))
}

fn result<W: Write, R>(log: &mut Log<W, R>, finding: &shapes::Finding) -> io::Result<()>
where
    R: FnMut(&str, &str) -> io::Result<Option<Rule>>,
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
        kind: finding.kind.parse().map_err(io::Error::other)?,
        rule: finding.rule.as_deref(),
        message: &finding.message,
        severity: finding.severity.parse::<Severity>().map_err(io::Error::other)?,
        state: finding.state.parse().map_err(io::Error::other)?,
        path: finding.path.as_deref(),
        line: finding.line,
        range: finding.range.map(range),
        flows: &flows,
        cwe: &finding.cwe,
        line_hash: finding.sonar["hash"].as_str(),
        url: &finding.url,
        sonar: &finding.sonar,
        site: finding.site.as_deref(),
    })
}
