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
use super::shapes::DiagnosisLine;
use super::webhooks::{self, Of};
use super::{Admin, Problem, Shared, shapes, views};
use crate::domain::ids::SourceName;
use crate::store::records::{Hook, Source};
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
    let round = admin.run(move |_| Round::begin(&admin_of_round, only.as_ref(), true)).await?;
    let ways = ways(&admin, asked, &round.turn).await?;
    let diagnosis = admin.block(move |_| Ok(round.end(ways))).await?;
    Ok(Json(diagnosis))
}

/// The same on a box whose daemon does not run: nobody listens, so the way to it cannot be tried.
fn without_daemon(admin: &Arc<Admin>, only: Option<&SourceName>) -> Result<shapes::Diagnosis, Problem> {
    Ok(shapes::Diagnosis { running: false, ..Round::begin(admin, only, false)?.end(Vec::new()) })
}

/// Where a part of a round says what it finds.
pub(super) struct Notes {
    part: usize,
    subject: Option<String>,
    to: Sender<(usize, Option<DiagnosisLine>)>,
}

impl Notes {
    fn note(&self, check: &str, verdict: &str, text: impl Into<String>, remedy: Option<String>) {
        let line = DiagnosisLine::new(check, self.subject.as_deref(), verdict, text.into(), remedy);
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
}

/// What is looked at together.
type Part = Box<dyn FnOnce(&Admin, &Notes) + Send>;

/// A look that has begun.
struct Round {
    begun: Instant,
    at: String,
    /// What each part looks at.
    parts: Vec<(&'static str, Option<String>)>,
    heard: Receiver<(usize, Option<DiagnosisLine>)>,
    turn: Arc<Turn>,
}

/// There is one look at a time, as each asks every platform. Held by each part of it until that ends, whether or not
/// somebody still waits: otherwise whoever asks and goes away, again and again, would have more and more threads.
struct Turn(Arc<Admin>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.diagnosing.store(false, Ordering::Release);
    }
}

impl Round {
    fn begin(admin: &Arc<Admin>, only: Option<&SourceName>, running: bool) -> Result<Self, Problem> {
        let parts = parts(admin, only, running)?;
        if admin.diagnosing.swap(true, Ordering::AcqRel) {
            return Err(
                Problem::conflict("the doctor is looking at this box already").remedy("try again in half a minute")
            );
        }
        let turn = Arc::new(Turn(Arc::clone(admin)));
        let (to, heard) = channel();
        let mut begun = Vec::new();
        for (part, (check, subject, look)) in parts.into_iter().enumerate() {
            let notes = Notes { part, subject: subject.clone(), to: to.clone() };
            let turn = Arc::clone(&turn);
            let thread = std::thread::Builder::new().name("doctor".to_owned()).spawn(move || {
                look(&turn.0, &notes);
                // Before it says so: whoever has the answer may ask again at once.
                drop(turn);
                let _ = notes.to.send((notes.part, None));
            });
            // What has no thread is told as what has not answered.
            drop(thread);
            begun.push((check, subject));
        }
        Ok(Self { begun: Instant::now(), at: clock::now().to_string(), parts: begun, heard, turn })
    }

    /// Waits for what is still being looked at, and puts it together.
    fn end(self, ways: Vec<DiagnosisLine>) -> shapes::Diagnosis {
        let mut found: Vec<Vec<DiagnosisLine>> = vec![Vec::new(); self.parts.len()];
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
            found[part].push(DiagnosisLine::new(check, subject.as_deref(), "unknown", text, None));
        }
        let mut diagnosis = shapes::Diagnosis {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            running: true,
            at: self.at,
            milliseconds: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            verdict: String::new(),
            lines: found.into_iter().flatten().chain(ways).collect(),
        };
        drop(self.turn);
        diagnosis.judge();
        diagnosis
    }
}

/// What is looked at, of which thing, and how.
type Named = (&'static str, Option<String>, Part);

fn parts(admin: &Admin, only: Option<&SourceName>, running: bool) -> Result<Vec<Named>, Problem> {
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
    let afar = only.and_then(|only| sources.iter().find(|source| source.name == *only)?.at.as_ref());
    if let (Some(only), Some(at)) = (only, afar) {
        return Err(Problem::elsewhere(only, &at.site));
    }
    // What another site's box reads is looked at there.
    let here = |source: &Source| source.at.is_none() && only.is_none_or(|only| source.name == *only);
    let of_home: Part = Box::new(move |admin, notes| home::look(admin, running, notes));
    let mut parts = vec![("store", None, of_home)];
    for source in sources.into_iter().filter(here) {
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
async fn ways(admin: &Arc<Admin>, only: Option<SourceName>, turn: &Arc<Turn>) -> Result<Vec<DiagnosisLine>, Problem> {
    if admin.webhook_address.is_none() {
        let text = "this box takes no webhooks (--webhook-listen off): SonarQube is polled, with the same results";
        return Ok(vec![DiagnosisLine::new("webhook", None, "ok", text.to_owned(), None)]);
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
        return Ok(vec![DiagnosisLine::new(
            "webhook",
            None,
            "unknown",
            "no webhook was made yet".to_owned(),
            Some(remedy),
        )]);
    }
    let mut tests = Vec::new();
    for hook in known.into_iter().take(WAYS_MAX) {
        let admin = Arc::clone(admin);
        let whose = hook.project.as_ref().map_or_else(|| hook.organization.to_string(), ToString::to_string);
        let turn = Arc::clone(turn);
        let test = tokio::spawn(async move {
            let _turn = turn;
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
        lines.push(DiagnosisLine::new("webhook", Some(&whose), verdict, text, remedy));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use tokio::sync::watch;

    use super::*;
    use crate::admin;
    use crate::ingress::{Counters, directory::Directory};
    use crate::store::Store;
    use crate::sys::bell::Bell;
    use crate::sys::clock::Clock;
    use crate::sys::dice::Dice;
    use crate::sys::trust::Trust;
    use crate::work::deliver::Deliver;
    use crate::work::{Work, progress::Progress, sources::Sources};

    fn box_in(folder: &std::path::Path) -> Arc<Admin> {
        let store = Store::open(folder, Arc::new(Bell::default())).unwrap();
        let clock = Clock::system();
        let sources = Arc::new(Sources::new(store.clone(), Trust::load(), clock.clone()));
        let work = Work::new(store.clone(), sources, Arc::new(Progress::default()), clock, Dice::system());
        let deliver = Deliver::new(Arc::clone(&work));
        let (directory, counters) = (Arc::new(Directory::default()), Arc::new(Counters::default()));
        Admin::new(store, work, deliver, directory, counters, None, false, None, clock::now(), None)
    }

    fn of_store(diagnosis: &shapes::Diagnosis) -> Vec<(&str, &str)> {
        let lines = diagnosis.lines.iter().filter(|line| line.check == "store");
        lines.map(|line| (line.verdict.as_str(), line.text.as_str())).collect()
    }

    /// To count what is in use all of the file is read, and nobody else has it meanwhile: of two gigabytes on a card, that keeps
    /// webhooks waiting until they are refused.
    #[test]
    fn a_large_database_is_told_by_its_size_and_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let admin = box_in(folder.path());
        let small = admin.diagnose(None).unwrap();
        assert!(of_store(&small)[0].1.ends_with(" MiB are in use"), "{small:?}");
        // A file with a hole takes no room.
        let file = std::fs::OpenOptions::new().write(true).open(folder.path().join("hydrophone.redb")).unwrap();
        file.set_len(2 << 30).unwrap();
        assert_eq!(of_store(&admin.diagnose(None).unwrap()), [("ok", "the database answers; 2048 MiB")]);
    }

    /// A store that takes nothing cannot have it in the audit log that somebody wants to know why.
    #[test]
    fn a_store_that_does_not_answer_is_told_although_it_notes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let admin = box_in(folder.path());
        let socket = folder.path().join("admin.sock");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (_stop, stopped) = watch::channel(false);
        let listener = runtime.block_on(async { admin::bind(&socket).unwrap() });
        runtime.spawn(admin::serve(listener, Arc::clone(&admin), stopped));
        admin.store.close();
        let post = |path: &str| {
            let mut stream = UnixStream::connect(&socket).unwrap();
            let head = format!("POST /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close");
            write!(stream, "{head}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        let answer = post("doctor");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("the database does not answer: "), "{answer}");
        let answer = post("sync");
        assert!(answer.starts_with("HTTP/1.1 503 "), "what changes something is not done: {answer}");
        runtime.shutdown_background();
    }
}
