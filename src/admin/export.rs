//! The inventory as a file: CSV, JSON or SARIF of what a list shows, written page by page while it is sent, so that
//! memory does not grow with it.

mod sarif;

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use serde::Deserialize;
use utoipa::IntoParams;

use super::findings::{self, Wanted};
use super::shapes::trailers;
use super::{Admin, Problem, Shared, shapes};
use crate::admin::answers::Query;
use crate::domain::limits;
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
    /// Of this site of a fleet.
    site: Option<String>,
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
    /// Of SARIF: what is told as suppressed, `all` (without it), `false-positives` or `off`.
    suppressions: Option<String>,
    /// Of SARIF: the repository that the paths are in; goes with `project`.
    repository: Option<String>,
    /// Of SARIF: the commit that the findings are of; goes with `repository` and `branch`.
    revision: Option<String>,
}

impl Asked {
    fn list(&self, cursor: Option<String>) -> Wanted {
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Wanted {
            organization: some(&self.organization),
            project: some(&self.project),
            asset: some(&self.asset),
            site: some(&self.site),
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    let sarif = sarif::Told::parse(&asked, format)?;
    // Asked for before anything is sent, so that a refusal leaves no half of a file.
    let probe = Wanted { limit: Some(1), ..asked.list(None) };
    admin.read(move |_, view| findings::page(view, &probe)).await?;
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
        let written = write(&admin, &asked, format, &sarif, &mut writer);
        let written = written.and_then(|written| writer.flush().map(|()| written));
        let Ok(Sent { mut sender, handle, .. }) = writer.into_inner() else { return };
        match written {
            // Whoever asked may be gone.
            Ok(written) => drop(handle.block_on(sender.send_trailers(written.trailers()))),
            Err(error) => {
                tracing::warn!("an export ended early: {error}");
                // Without it what was sent would look whole.
                sender.abort(error);
            }
        }
    });
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""))
        .unwrap_or(HeaderValue::from_static("attachment"));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-store")),
        (header::TRAILER, HeaderValue::from_str(&trailers::ALL.join(", ")).expect("names can be sent")),
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

/// The body of the answer, as something to write to.
pub(super) struct Sent {
    sender: Sender<Bytes, io::Error>,
    handle: tokio::runtime::Handle,
    bytes: u64,
    /// How long the reader was waited for.
    waited: Duration,
}

impl Sent {
    /// In a request's own task.
    pub(super) fn new(sender: Sender<Bytes, io::Error>) -> Self {
        Self { sender, handle: tokio::runtime::Handle::current(), bytes: 0, waited: Duration::ZERO }
    }

    /// Ends the body so that what was sent does not look whole.
    pub(super) fn abort(self, error: io::Error) {
        self.sender.abort(error);
    }
}

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (data, begun) = (self.sender.send_data(Bytes::copy_from_slice(bytes)), Instant::now());
        let patience = patience(self.bytes, self.waited);
        let sent = self.handle.block_on(async { tokio::time::timeout(patience, data).await });
        self.waited += begun.elapsed();
        self.bytes += bytes.len() as u64;
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

/// How long the next piece of a file may take, after so many bytes for which the reader was waited for so long.
fn patience(bytes: u64, waited: Duration) -> Duration {
    let fair = Duration::from_secs(bytes / limits::FILE_BYTES_PER_SECOND_MIN);
    (limits::FILE_STALLED_MAX + fair).saturating_sub(waited).min(limits::FILE_STALLED_MAX)
}

/// What was written, and what was left out: told behind the file to whoever takes trailers (RFC 9110, section 6.5).
#[derive(Debug, Default)]
struct Written {
    findings: u64,
    runs: u64,
    /// Findings whose records are damaged.
    damaged: u64,
    /// Branches that no read was complete of yet.
    unread: u64,
    /// Branches with damaged records.
    unsure: u64,
}

impl Written {
    fn trailers(&self) -> HeaderMap {
        let counts = [self.findings, self.runs, self.damaged, self.unread, self.unsure];
        let named = trailers::ALL.into_iter().zip(counts);
        named.map(|(name, count)| (HeaderName::from_static(name), HeaderValue::from(count))).collect()
    }
}

fn write(admin: &Admin, asked: &Asked, format: Format, told: &sarif::Told, out: &mut dyn Write) -> io::Result<Written> {
    let list = |cursor| asked.list(cursor);
    match format {
        Format::Csv => {
            let mut rows = csv::Writer::from_writer(out);
            rows.write_record(shapes::columns())?;
            let mut row =
                |finding: &shapes::Finding| Ok(rows.write_record(shapes::cells(&serde_json::to_value(finding)?))?);
            let written = each(admin, &list, &mut row)?;
            rows.flush()?;
            Ok(written)
        }
        Format::Json => {
            out.write_all(b"{\"findings\":[")?;
            let mut is_first = true;
            let written = each(admin, &list, &mut |finding| {
                out.write_all(if std::mem::take(&mut is_first) { b"\n" } else { b",\n" })?;
                Ok(serde_json::to_writer(&mut *out, finding)?)
            })?;
            out.write_all(b"\n]}\n")?;
            Ok(written)
        }
        Format::Sarif => sarif::write(admin, asked, told, out),
    }
}

/// Feeds the findings of all pages, and counts them. No read of the store lasts while something is sent.
fn each(
    admin: &Admin,
    wanted: &dyn Fn(Option<String>) -> Wanted,
    each: &mut dyn FnMut(&shapes::Finding) -> io::Result<()>,
) -> io::Result<Written> {
    let mut cursor = None;
    let mut written = Written::default();
    loop {
        if admin.work.is_stopping() {
            return Err(io::Error::other("the daemon is stopping"));
        }
        let wanted = wanted(cursor);
        let page = admin.store.read(|view| findings::page(view, &wanted)).map_err(failed)?;
        page.findings.iter().try_for_each(&mut *each)?;
        written.findings += page.findings.len() as u64;
        written.damaged += page.damaged;
        cursor = page.next;
        if cursor.is_none() {
            return Ok(written);
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn failed(problem: Problem) -> io::Error {
    io::Error::other(problem.detail().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_a_file_out_drop_by_drop_is_cut_off_and_a_slow_line_is_not() {
        let seconds = Duration::from_secs;
        assert_eq!(patience(0, seconds(0)), seconds(30));
        assert_eq!(patience(0, seconds(30)), seconds(0));
        // A piece every 29 seconds was a way to hold a thread for as long as one liked.
        let (mut bytes, mut waited, mut pieces) = (0, seconds(0), 0);
        while patience(bytes, waited) >= seconds(29) {
            (bytes, waited, pieces) = (bytes + CHUNK_BYTES as u64, waited + seconds(29), pieces + 1);
        }
        assert_eq!(pieces, 1);
        // A megabit a second for an hour.
        assert_eq!(patience(3600 * 125_000, seconds(3600)), seconds(30));
    }
}
