//! Looks at everything that has to work, and says of each what is the matter and what helps: for whoever stands before the
//! box with somebody on the phone. Each part looks on a thread of its own; what has not answered in time is told as that.

mod home;
mod sonar;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, State};

use super::answers::{Query, Sent};
use super::webhooks::{self, Of};
use super::{Admin, Problem, Shared, shapes, views};
use crate::domain::ids::SourceName;
use crate::store::records::Hook;
use crate::store::{StoreError, catalogue, destinations, hooks};
use crate::sys::clock;

/// `POST /doctor`.
pub(super) async fn look(
    State(admin): Shared,
    Sent(new): Sent<shapes::NewDiagnosis>,
) -> Result<Json<shapes::Diagnosis>, Problem> {
    let only = new.source.as_deref().map(SourceName::parse).transpose()?;
    let asked = only.clone();
    let admin_of_round = Arc::clone(&admin);
    let round = admin.run(move |_| Round::begin(&admin_of_round, only.as_ref())).await?;
    let ways = ways(&admin, asked).await?;
    let diagnosis = admin.block(move |_| Ok(round.end(ways))).await?;
    Ok(Json(diagnosis))
}

/// The same on a box whose daemon does not run: nobody listens, so the way to it cannot be tried.
fn without_daemon(admin: &Arc<Admin>, only: Option<&SourceName>) -> Result<shapes::Diagnosis, Problem> {
    Ok(shapes::Diagnosis { running: false, ..Round::begin(admin, only)?.end(Vec::new()) })
}

/// Where a part of a round says what it finds.
pub(super) struct Notes {
    part: usize,
    subject: Option<String>,
    to: Sender<(usize, Option<shapes::DiagnosisLine>)>,
}

impl Notes {
    fn note(&self, check: &str, verdict: &str, text: impl Into<String>, remedy: Option<String>) {
        let line = line(check, self.subject.as_deref(), verdict, text.into(), remedy);
        // Nobody may be waiting any more.
        let _ = self.to.send((self.part, Some(line)));
    }

    pub(super) fn ok(&self, check: &str, text: impl Into<String>) {
        self.note(check, "ok", text, None);
    }

    pub(super) fn warning(&self, check: &str, text: impl Into<String>, remedy: impl Into<String>) {
        self.note(check, "warning", text, Some(remedy.into()));
    }

    pub(super) fn fault(&self, check: &str, text: impl Into<String>, remedy: impl Into<String>) {
        self.note(check, "fault", text, Some(remedy.into()));
    }

    pub(super) fn unknown(&self, check: &str, text: impl Into<String>) {
        self.note(check, "unknown", text, None);
    }

    /// A problem of the API's as a fault.
    pub(super) fn problem(&self, check: &str, problem: &Problem) {
        self.note(check, "fault", problem.detail(), problem.hint().map(str::to_owned));
    }
}

fn line(
    check: &str,
    subject: Option<&str>,
    verdict: &str,
    text: String,
    remedy: Option<String>,
) -> shapes::DiagnosisLine {
    shapes::DiagnosisLine {
        check: check.to_owned(),
        subject: subject.map(str::to_owned),
        verdict: verdict.to_owned(),
        text,
        remedy,
    }
}

/// What is looked at together.
type Part = Box<dyn FnOnce(&Admin, &Notes) + Send>;

/// A look that has begun.
struct Round {
    begun: Instant,
    at: String,
    /// What each part looks at.
    parts: Vec<(&'static str, Option<String>)>,
    heard: Receiver<(usize, Option<shapes::DiagnosisLine>)>,
    running: Running,
}

/// There is one look at a time, as each asks every platform. Held until it ends.
struct Running(Arc<Admin>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.diagnosing.store(false, Ordering::Release);
    }
}

impl Round {
    fn begin(admin: &Arc<Admin>, only: Option<&SourceName>) -> Result<Self, Problem> {
        let parts = parts(admin, only)?;
        if admin.diagnosing.swap(true, Ordering::AcqRel) {
            return Err(
                Problem::conflict("the doctor is looking at this box already").remedy("try again in half a minute")
            );
        }
        let running = Running(Arc::clone(admin));
        let (to, heard) = channel();
        let mut begun = Vec::new();
        for (part, (check, subject, look)) in parts.into_iter().enumerate() {
            let notes = Notes { part, subject: subject.clone(), to: to.clone() };
            let admin = Arc::clone(admin);
            let thread = std::thread::Builder::new().name("doctor".to_owned()).spawn(move || {
                look(&admin, &notes);
                let _ = notes.to.send((notes.part, None));
            });
            // What has no thread is told as what has not answered.
            drop(thread);
            begun.push((check, subject));
        }
        Ok(Self { begun: Instant::now(), at: clock::now().to_string(), parts: begun, heard, running })
    }

    /// Waits for what is still being looked at, and puts it together.
    fn end(self, ways: Vec<shapes::DiagnosisLine>) -> shapes::Diagnosis {
        let mut found: Vec<Vec<shapes::DiagnosisLine>> = vec![Vec::new(); self.parts.len()];
        let mut open: Vec<bool> = vec![true; self.parts.len()];
        while open.contains(&true) {
            let left = ROUND_MAX.saturating_sub(self.begun.elapsed());
            match self.heard.recv_timeout(left) {
                Ok((part, Some(line))) => found[part].push(line),
                Ok((part, None)) => open[part] = false,
                Err(_) => break,
            }
        }
        for (part, _) in open.iter().enumerate().filter(|(_, open)| **open) {
            let (check, subject) = &self.parts[part];
            let text = format!("no answer within {} s", ROUND_MAX.as_secs());
            found[part].push(line(check, subject.as_deref(), "unknown", text, None));
        }
        let mut diagnosis = shapes::Diagnosis {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            running: true,
            at: self.at,
            milliseconds: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            verdict: String::new(),
            lines: found.into_iter().flatten().chain(ways).collect(),
        };
        drop(self.running);
        diagnosis.judge();
        diagnosis
    }
}

/// What is looked at, of which thing, and how.
type Named = (&'static str, Option<String>, Part);

fn parts(admin: &Admin, only: Option<&SourceName>) -> Result<Vec<Named>, Problem> {
    let read =
        admin.store.read::<_, StoreError>(|view| Ok((catalogue::sources(view)?, destinations::destinations(view)?)));
    let (sources, destinations) = read.unwrap_or_else(|error| {
        // The store's own line says so, too.
        tracing::debug!("the doctor cannot read the store: {error}");
        (Vec::new(), Vec::new())
    });
    if let Some(only) = only.filter(|only| !sources.iter().any(|source| source.name == **only)) {
        return Err(views::no_source(only));
    }
    let of_home: Part = Box::new(home::look);
    let mut parts = vec![("store", None, of_home)];
    for source in sources.into_iter().filter(|source| only.is_none_or(|only| source.name == *only)) {
        let name = source.name.to_string();
        let look: Part = Box::new(move |admin, notes| sonar::look(admin, &source, notes));
        parts.push(("source", Some(name), look));
    }
    for (id, destination) in destinations {
        let name = destination.name.to_string();
        let look: Part = Box::new(move |admin, notes| home::destination(admin, id, &destination, notes));
        parts.push(("destination", Some(name), look));
    }
    Ok(parts)
}

/// Tries the way that Sonar takes to this box, for each webhook that there is.
async fn ways(admin: &Arc<Admin>, only: Option<SourceName>) -> Result<Vec<shapes::DiagnosisLine>, Problem> {
    if admin.webhook_address.is_none() {
        let text = "this box takes no webhooks (--webhook-listen off): SonarQube is polled, with the same results";
        return Ok(vec![line("webhook", None, "ok", text.to_owned(), None)]);
    }
    let known: Vec<Hook> = admin
        .read(move |_, view| {
            let known = hooks::records(view)?.into_iter();
            Ok(known.filter(|hook| only.as_ref().is_none_or(|only| hook.organization.source == *only)).collect())
        })
        .await
        .unwrap_or_else(|_| Vec::new());
    if known.is_empty() {
        let remedy = "hydrophone webhook show ORG; until Sonar calls, it is polled".to_owned();
        return Ok(vec![line("webhook", None, "unknown", "no webhook was made yet".to_owned(), Some(remedy))]);
    }
    let mut tests = Vec::new();
    for hook in known.into_iter().take(WAYS_MAX) {
        let admin = Arc::clone(admin);
        let whose = hook.project.as_ref().map_or_else(|| hook.organization.to_string(), ToString::to_string);
        let test = tokio::spawn(async move {
            let of = Query(Of { project: hook.project.map(|project| project.to_string()) });
            let test = webhooks::test::test(State(admin), Path(hook.organization.to_string()), of);
            tokio::time::timeout(WAY_MAX, test).await
        });
        tests.push((whose, test));
    }
    let mut lines = Vec::new();
    for (whose, test) in tests {
        let (verdict, text, remedy) = match test.await {
            Ok(Ok(Ok(Json(test)))) => judged(test),
            Ok(Ok(Err(problem))) => ("fault", problem.detail().to_owned(), problem.hint().map(str::to_owned)),
            Ok(Err(_)) => ("unknown", format!("the way to this box was not gone within {} s", WAY_MAX.as_secs()), None),
            Err(_) => ("unknown", "the test failed inside hydrophone; its log says more".to_owned(), None),
        };
        lines.push(line("webhook", Some(&whose), verdict, text, remedy));
    }
    Ok(lines)
}

fn judged(test: shapes::WebhookTest) -> (&'static str, String, Option<String>) {
    let odd = test.hops.iter().find(|hop| hop.state != "ok").map(|hop| format!(": {}", hop.text)).unwrap_or_default();
    // Where it is reached; the endpoint is nobody's business.
    let place = test.url.split("/hooks/").next().unwrap_or_default();
    let verdict = match test.result.as_str() {
        "arrived" if test.remedy.is_some() => "warning",
        "arrived" => "ok",
        "failed" => "fault",
        _ => "unknown",
    };
    (verdict, format!("{place}: {}{odd}", test.text.trim_end_matches('.')), test.remedy)
}

impl Admin {
    /// What can be said while nobody serves.
    ///
    /// # Errors
    /// If there is no such source.
    pub fn diagnose(self: &Arc<Self>, source: Option<&str>) -> Result<shapes::Diagnosis, String> {
        let only = source.map(SourceName::parse).transpose().map_err(|error| error.to_string())?;
        without_daemon(self, only.as_ref()).map_err(|problem| problem.detail().to_owned())
    }

    /// Organizations and projects whose webhooks Sonar is asked about, with the address that it is given.
    fn known_hooks(&self, source: &SourceName) -> Result<Vec<(Hook, shapes::Webhook)>, Problem> {
        self.store.read(|view| {
            let of = hooks::records(view)?.into_iter().filter(|hook| hook.organization.source == *source);
            of.map(|hook| {
                let webhook = webhooks::shown(self, view, &hook, false)?;
                Ok((hook, webhook))
            })
            .collect()
        })
    }
}

/// A whole look: support waits on the phone.
const ROUND_MAX: Duration = Duration::from_secs(17);

/// The way to this box; its steps have their own limits, each as patient as Sonar.
const WAY_MAX: Duration = Duration::from_secs(14);

/// Webhooks that are tried: they mostly share their way.
const WAYS_MAX: usize = 5;

/// Kept by [`Admin`]: whether a look is going on.
pub(super) type Diagnosing = AtomicBool;
