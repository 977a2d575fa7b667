//! The doctor's look at a box whose daemon does not run: the same checks over the database, as long as nobody holds it, and
//! over the network. Nothing listens and nothing works meanwhile.

use std::path::Path;
use std::sync::Arc;

use crate::admin::Admin;
use crate::admin::shapes::{self, DiagnosisLine};
use crate::domain::limits::FREE_SPACE_BYTES_MIN;
use crate::ingress::Counters;
use crate::ingress::directory::Directory;
use crate::store::Store;
use crate::sys::clock::{self, Clock};
use crate::sys::dice::Dice;
use crate::sys::trust::Trust;
use crate::sys::wear;
use crate::work::Work;
use crate::work::deliver::Deliver;
use crate::work::progress::Progress;
use crate::work::sources::Sources;

/// Looks at everything that can be seen from the state folder and the network; `silence` is what came instead of an answer
/// where something holds the daemon's socket.
pub fn look(state: &Path, source: Option<&str>, silence: Option<&str>) -> shapes::Diagnosis {
    let (text, remedy) = match silence {
        None => (
            "the daemon does not run",
            "start it: systemctl start hydrophone; if it ends again: systemctl status hydrophone, journalctl -u hydrophone",
        ),
        Some(silence) => (
            silence,
            "it does not start, or hangs: systemctl status hydrophone and journalctl -u hydrophone say why; then: \
             systemctl restart hydrophone",
        ),
    };
    let down = line("daemon", "fault", text.to_owned(), Some(remedy));
    let mut diagnosis = match Store::open_to_look(state) {
        Ok(store) => {
            let found = of_store(&store, source);
            store.close();
            found
        }
        Err(error) => shapes::Diagnosis {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: clock::now().to_string(),
            lines: unopened(state, &error.to_string()),
            ..shapes::Diagnosis::default()
        },
    };
    diagnosis.lines.insert(0, down);
    diagnosis.judge();
    diagnosis
}

fn unopened(state: &Path, error: &str) -> Vec<DiagnosisLine> {
    // What is the matter, and after it what to do.
    let (text, remedy) = error.split_once("; ").unwrap_or((error, "journalctl -u hydrophone says more"));
    let mut lines = vec![line("store", "fault", text.to_owned(), Some(remedy))];
    if let Some((free, all)) = wear::space(state) {
        let text = format!("{} MiB of {} MiB are free where {} is", free >> 20, all >> 20, state.display());
        lines.push(if free < FREE_SPACE_BYTES_MIN {
            line("disk", "fault", format!("{text}: webhooks are answered 503"), Some("free some space on that disk"))
        } else {
            line("disk", "ok", text, None)
        });
    }
    lines.push(line(
        "name",
        "unknown",
        "without the database it is not known which sources there are".to_owned(),
        None,
    ));
    lines
}

fn of_store(store: &Store, source: Option<&str>) -> shapes::Diagnosis {
    let clock = Clock::system();
    let sources = Arc::new(Sources::new(store.clone(), Trust::load(), clock.clone()));
    let work = Work::new(store.clone(), sources, Arc::new(Progress::default()), clock, Dice::system());
    let deliver = Deliver::new(Arc::clone(&work));
    let (directory, counters) = (Arc::new(Directory::default()), Arc::new(Counters::default()));
    let now = clock::now();
    let admin = Admin::new(store.clone(), work, deliver, directory, counters, None, false, None, now, None);
    admin.diagnose(source).unwrap_or_else(|problem| shapes::Diagnosis {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at: now.to_string(),
        lines: vec![line("source", "fault", problem, None)],
        ..shapes::Diagnosis::default()
    })
}

fn line(check: &str, verdict: &str, text: String, remedy: Option<&str>) -> DiagnosisLine {
    DiagnosisLine::new(check, None, verdict, text, remedy.map(str::to_owned))
}
