//! The inventory as a file: CSV, JSON or SARIF of what a list shows, written page by page while it is sent, so that
//! memory does not grow with it.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use serde::Deserialize;
use utoipa::IntoParams;

use super::findings::{self, Wanted};
use super::{Admin, Problem, Shared, shapes, views};
use crate::admin::answers::Query;
use crate::domain::finding::{Flow, FlowStep, Severity, State as FindingState, TextRange};
use crate::domain::ids::{RuleKey, ScopeId, ScopeKind, SourceName};
use crate::domain::limits;
use crate::platform::sarif::{Finding, Head, Log, Rule, Suppressions};
use crate::store::catalogue;
use crate::store::records::{Project, Scope};
use crate::sys::clock;

/// What is to be in a file. As a list takes it, but for what says where a page begins and ends.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// `csv`, `json` or `sarif`.
    format: String,
    /// Of this organization, as `ORG` or `SOURCE/ORG`.
    organization: Option<String>,
    /// Of this project, by its key.
    project: Option<String>,
    /// Of this asset.
    asset: Option<String>,
    /// Of this branch or pull request.
    branch: Option<String>,
    /// Of branches or of pull requests: `branch`, `pull_request`.
    scope: Option<String>,
    /// Severities, separated by commas.
    severity: Option<String>,
    /// States, separated by commas.
    state: Option<String>,
    /// Kinds, separated by commas: `vulnerability`, `hotspot`.
    kind: Option<String>,
    /// Beginnings of words of rule, title, message or path.
    search: Option<String>,
    /// Also of branches and pull requests that Sonar no longer lists.
    #[serde(default)]
    retired: bool,
    /// Also what the organization's filter keeps back.
    #[serde(default)]
    filtered: bool,
    /// `severity` (then newest; without it), `newest` or `path`; not of SARIF.
    sort: Option<String>,
}

impl Asked {
    fn list(&self, cursor: Option<String>) -> Wanted {
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Wanted {
            organization: some(&self.organization),
            project: some(&self.project),
            asset: some(&self.asset),
            branch: some(&self.branch),
            scope: some(&self.scope),
            severity: some(&self.severity),
            state: some(&self.state),
            kind: some(&self.kind),
            search: some(&self.search),
            retired: self.retired,
            filtered: self.filtered,
            sort: some(&self.sort),
            limit: Some(limits::LIST_ROWS_MAX),
            cursor,
            ..Wanted::default()
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Csv,
    Json,
    Sarif,
}

impl Format {
    fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "csv" => Ok(Self::Csv),
            "json" => Ok(Self::Json),
            "sarif" => Ok(Self::Sarif),
            other => Err(Problem::bad(format!("{other:?} is none of: csv, json, sarif"))),
        }
    }

    fn kind(self) -> (&'static str, &'static str) {
        match self {
            Self::Csv => ("text/csv; charset=utf-8", "csv"),
            Self::Json => ("application/json", "json"),
            Self::Sarif => ("application/sarif+json", "sarif"),
        }
    }
}

/// `GET /findings/export?format=`: the findings that a list of the same filters has, all of them. SARIF has a run for
/// each branch that was read, and nothing that is closed.
pub(super) async fn show(State(admin): Shared, Query(asked): Query<Asked>) -> Result<Response, Problem> {
    let format = Format::parse(&asked.format)?;
    // Asked for before anything is sent, so that a refusal leaves no half of a file.
    let probe = Wanted { limit: Some(1), ..asked.list(None) };
    admin.read(move |_, view| findings::page(view, &probe)).await?;
    if matches!(format, Format::Sarif)
        && asked
            .state
            .iter()
            .flat_map(|words| words.split(','))
            .any(|word| word.parse().is_ok_and(FindingState::is_closed))
    {
        return Err(Problem::bad("what is closed is absent in SARIF").remedy("take csv or json for closed findings"));
    }
    let Ok(permit) = Arc::clone(&admin.exports).try_acquire_owned() else {
        return Err(Problem::too_many("others are taking files out just now", Duration::from_secs(10)));
    };
    let (kind, end) = format.kind();
    let name = file_name(end);
    let (sender, channel) = Channel::<Bytes, io::Error>::new(1);
    let sent = Sent::new(sender);
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let mut writer = BufWriter::with_capacity(CHUNK_BYTES, sent);
        if let Err(error) = write(&admin, &asked, format, &mut writer).and_then(|()| writer.flush()) {
            tracing::warn!("an export ended early: {error}");
            // Without it what was sent would look whole.
            if let Ok(sent) = writer.into_inner() {
                sent.abort(error);
            }
        }
    });
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""))
        .unwrap_or(HeaderValue::from_static("attachment"));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-store")),
    ];
    Ok((headers, Body::new(channel)).into_response())
}

/// Such as `findings-gw-north-2-2026-11-19.csv`.
fn file_name(end: &str) -> String {
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let node: String =
        node.chars().filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.')).collect();
    let day: String = clock::now().to_string().chars().take(10).collect();
    format!("findings-{node}-{day}.{end}")
}

/// What is sent at once.
pub(super) const CHUNK_BYTES: usize = 32 * 1024;

/// Whoever takes nothing for so long gets no more.
const STALLED_MAX: Duration = Duration::from_secs(30);

/// The body of the answer, as something to write to.
pub(super) struct Sent {
    sender: Sender<Bytes, io::Error>,
    handle: tokio::runtime::Handle,
}

impl Sent {
    /// In a request's own task.
    pub(super) fn new(sender: Sender<Bytes, io::Error>) -> Self {
        Self { sender, handle: tokio::runtime::Handle::current() }
    }

    /// Ends the body so that what was sent does not look whole.
    pub(super) fn abort(self, error: io::Error) {
        self.sender.abort(error);
    }
}

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let data = self.sender.send_data(Bytes::copy_from_slice(bytes));
        let sent = self.handle.block_on(async { tokio::time::timeout(STALLED_MAX, data).await });
        match sent {
            Ok(Ok(())) => Ok(bytes.len()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(admin: &Admin, asked: &Asked, format: Format, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Csv => {
            let mut rows = csv::Writer::from_writer(out);
            rows.write_record(shapes::columns())?;
            each(
                admin,
                |cursor| asked.list(cursor),
                |finding| Ok(rows.write_record(shapes::cells(&serde_json::to_value(finding)?))?),
            )?;
            rows.flush()
        }
        Format::Json => {
            out.write_all(b"{\"findings\":[")?;
            let mut is_first = true;
            each(
                admin,
                |cursor| asked.list(cursor),
                |finding| {
                    out.write_all(if std::mem::take(&mut is_first) { b"\n" } else { b",\n" })?;
                    Ok(serde_json::to_writer(&mut *out, finding)?)
                },
            )?;
            out.write_all(b"\n]}\n")
        }
        Format::Sarif => sarif(admin, asked, out),
    }
}

/// Feeds the findings of all pages. No read of the store lasts while something is sent.
fn each(
    admin: &Admin,
    wanted: impl Fn(Option<String>) -> Wanted,
    mut each: impl FnMut(&shapes::Finding) -> io::Result<()>,
) -> io::Result<()> {
    let mut cursor = None;
    loop {
        if admin.work.is_stopping() {
            return Err(io::Error::other("the daemon is stopping"));
        }
        let wanted = wanted(cursor);
        let page = admin.store.read(|view| findings::page(view, &wanted)).map_err(failed)?;
        page.findings.iter().try_for_each(&mut each)?;
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn failed(problem: Problem) -> io::Error {
    io::Error::other(problem.detail().to_owned())
}

fn sarif(admin: &Admin, asked: &Asked, out: &mut impl Write) -> io::Result<()> {
    let places = places(admin, asked).map_err(failed)?;
    let mut log = Log::begin(out, Suppressions::All, |source: &str, key: &str| rule(admin, source, key))?;
    for (project, scope) in places {
        // Nothing is known of one that was not read: a run without results would say that all is closed.
        if scope.synced_at.is_none() {
            continue;
        }
        let analysed_at = views::time(scope.analysed_at);
        let (organization, kind) = (&project.organization, scope.kind);
        log.run(&Head {
            source: organization.source.as_str(),
            organization: organization.key.as_str(),
            project: project.key.as_str(),
            branch: scope.name.as_str(),
            kind,
            revision: None,
            analysed_at: analysed_at.as_deref(),
            repository_url: None,
        })?;
        let of_scope = |cursor| Wanted {
            organization: Some(organization.to_string()),
            project: Some(project.key.to_string()),
            branch: Some(scope.name.to_string()),
            scope: Some(if kind == ScopeKind::Branch { "branch" } else { "pull_request" }.to_owned()),
            with: Some("flows".to_owned()),
            sort: None,
            ..asked.list(cursor)
        };
        each(admin, of_scope, |finding| result(&mut log, finding))?;
    }
    log.finish()?;
    Ok(())
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
    })
}
