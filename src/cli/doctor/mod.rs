//! `doctor`: everything that has to work, looked at, with what helps where it does not.

mod bundle;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Session;
use super::client::{Answer, Failure};
use super::table::{Output, clean, counted};
use crate::admin::shapes::{Diagnosis, DiagnosisLine, NewDiagnosis};
use crate::daemon;

/// Look at everything that has to work, and say what helps where it does not.
#[derive(Debug, Args)]
#[command(
    after_help = "Clock, name, proxy, certificates, token and its permissions of each source; the way that Sonar takes to \
    this box,\nand Sonar's own log of its calls; database, disk and its wear, certificate, destinations. It takes 20 seconds \
    at most.\nWhile the daemon does not run or answer, what can be seen without it.\n\n\
    --bundle writes a file for support: versions, settings, status, verdicts, heads of the last webhook calls, the log's \
    end;\nwithout secrets, and without findings unless --with-findings is given.\n\n\
    Examples:\n  hydrophone doctor\n  hydrophone doctor lab\n  hydrophone doctor --bundle support.json\n\n\
    Exit codes: 0 no fault, 1 a fault, 2 wrong usage."
)]
pub struct Doctor {
    /// Of the sources, look at this one alone.
    source: Option<String>,
    /// Write a file for support, with every secret removed.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Put the newest findings with their text into the bundle, too.
    #[arg(long, requires = "bundle")]
    with_findings: bool,
}

impl Doctor {
    /// Does it.
    pub(super) fn run(self, session: &mut Session) -> Result<(), Failure> {
        self.run_within(session, ANSWER_MAX)
    }

    fn run_within(self, session: &mut Session, limit: Duration) -> Result<(), Failure> {
        let new = NewDiagnosis { source: self.source.clone() };
        let diagnosis = match session.client.post_within("doctor", &new, limit) {
            Ok(answer) => answer,
            // The service manager holds the socket of a service that does not start: whoever connects is never answered, or
            // the connection ends.
            Err(failure @ (Failure::NoDaemon { .. } | Failure::TimedOut { .. } | Failure::Lost(_))) => {
                let found = match failure {
                    Failure::NoDaemon { .. } => {
                        daemon::doctor::look(&session.paths.state, self.source.as_deref(), None)
                    }
                    failure => {
                        let why = failure.to_string();
                        daemon::doctor::look(&session.paths.state, self.source.as_deref(), Some(&why))
                    }
                };
                let document = serde_json::to_string(&found).map_err(|error| Failure::Lost(error.to_string()))?;
                Answer { value: found, document }
            }
            Err(failure) => return Err(failure),
        };
        session.show(&diagnosis, print)?;
        if let Some(path) = &self.bundle {
            bundle::write(session, &diagnosis.value, path, self.with_findings)?;
            super::note(&format!("wrote {}; look into it before you send it", path.display()));
        }
        if diagnosis.value.verdict == "fault" { Err(Failure::Told) } else { Ok(()) }
    }
}

fn print(out: &mut Output, diagnosis: &Diagnosis) -> Result<(), Failure> {
    let own = env!("CARGO_PKG_VERSION");
    for line in &diagnosis.lines {
        let mark = match line.verdict.as_str() {
            "ok" => "ok     ",
            "warning" => "WARNING",
            "fault" => "FAULT  ",
            _ => "?      ",
        };
        out.line(format_args!("{mark} {:<12} {}", label(line), clean(&line.text)))?;
        if let Some(remedy) = &line.remedy {
            out.line(format_args!("        → {}", clean(remedy)))?;
        }
    }
    if diagnosis.version != own {
        out.line(format_args!(
            "WARNING daemon       it is of version {}, this command of {own}",
            clean(&diagnosis.version)
        ))?;
        out.line("        → restart it: systemctl restart hydrophone")?;
    }
    let count = |verdict: &str| diagnosis.lines.iter().filter(|line| line.verdict == verdict).count() as u64;
    let (ok, warnings, faults, unknown) = (count("ok"), count("warning"), count("fault"), count("unknown"));
    out.line(format_args!(
        "{}, {}, {unknown} not judged, {ok} ok, in {} ms.",
        counted(faults, "fault"),
        counted(warnings, "warning"),
        diagnosis.milliseconds
    ))
}

fn label(line: &DiagnosisLine) -> String {
    match &line.subject {
        Some(subject) => format!("{} {}", line.check, clean(subject)),
        None => line.check.clone(),
    }
}

/// A daemon that runs has answered within 20 s.
const ANSWER_MAX: Duration = Duration::from_secs(25);

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    use serde_json::{Value, json};

    use super::super::table::tests::Shared;
    use super::super::{Client, Paths};
    use super::*;

    use super::super::client::tests::FakeDaemon;
    use super::super::tests::told;

    /// Runs the doctor against a socket, with a limit of no length where nobody will answer.
    fn looked(folder: &std::path::Path, limit: Duration) -> Value {
        let shared = Shared::default();
        let socket = folder.join("admin.sock");
        let paths = Paths { state: folder.join("state"), socket: socket.clone() };
        let client = Client::new(&socket).unwrap();
        let mut session = Session { client, out: Output::to(Box::new(shared.clone()), true), paths };
        let doctor = Doctor { source: None, bundle: None, with_findings: false };
        let done = doctor.run_within(&mut session, limit);
        assert!(matches!(done, Err(Failure::Told)), "{done:?}");
        session.out.flush().unwrap();
        serde_json::from_str(&shared.text()).unwrap()
    }

    /// The service manager holds the socket and starts the service when somebody connects. Where that cannot start, the
    /// connection stays without an answer, or ends: just then somebody wants to know why.
    #[test]
    fn where_the_socket_is_held_and_nobody_answers_it_looks_without_the_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("admin.sock")).unwrap();
        let found = looked(folder.path(), Duration::ZERO);
        assert_eq!((&found["running"], &found["lines"][0]["check"]), (&json!(false), &json!("daemon")));
        assert!(found["lines"][0]["text"].as_str().unwrap().contains("did not answer within"), "{found}");
        assert_eq!(found["lines"][1]["check"], "store", "{found}");
        drop(listener.accept().unwrap());

        let closing = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 16]);
        });
        let found = looked(folder.path(), ANSWER_MAX);
        closing.join().unwrap();
        assert_eq!(found["running"], false);
        assert!(found["lines"][0]["text"].as_str().unwrap().contains("no usable answer from the daemon"), "{found}");
        assert!(found["lines"][0]["remedy"].as_str().unwrap().contains("systemctl status hydrophone"), "{found}");
    }

    #[test]
    fn each_line_has_its_verdict_and_a_fault_is_told_by_the_exit_code() {
        let line = |verdict: &str, remedy: Option<&str>| json!({"check": "tls", "subject": "lab", "verdict": verdict, "text": "text\u{1b}", "remedy": remedy});
        let answer = move |lines: &[serde_json::Value], verdict: &str| {
            json!({"version": env!("CARGO_PKG_VERSION"), "running": true, "at": "", "milliseconds": 7,
                   "verdict": verdict, "lines": lines})
            .to_string()
        };
        let good = answer(&[line("ok", None), line("unknown", None)], "unknown");
        let bad = answer(&[line("warning", Some("wait")), line("fault", Some("renew it"))], "fault");
        let daemon =
            FakeDaemon::start(move |_, body| (200, if body["source"].is_null() { good.clone() } else { bad.clone() }));
        let (text, done) = told(&daemon, &["doctor"]);
        assert!(done.is_ok(), "{done:?}");
        assert_eq!(
            text,
            "ok      tls lab      text\u{fffd}\n?       tls lab      text\u{fffd}\n0 faults, 0 warnings, 1 not judged, 1 ok, in 7 ms.\n"
        );
        let (text, done) = told(&daemon, &["doctor", "lab"]);
        assert!(matches!(done, Err(Failure::Told)), "{done:?}");
        assert!(text.ends_with("1 fault, 1 warning, 0 not judged, 0 ok, in 7 ms.\n"), "{text}");
        assert!(text.contains("FAULT   tls lab      text\u{fffd}\n        → renew it\n"), "{text}");
    }
}
