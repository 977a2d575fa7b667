//! `export`: the inventory as a file that other programs read. Written as it comes, so that its size does not
//! matter; a named file appears only when it is whole.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use hyper::header::HeaderMap;

use super::client::{Client, Failure};
use super::finding::Filters;
use super::table::{Output, clean, counted};
use super::{Session, note};
use crate::admin::shapes::trailers::{DAMAGED, FINDINGS, RUNS, UNREAD, UNSURE};
use crate::domain::finding::State;
use crate::platform::sarif::RUNS_MAX;

/// Write the inventory to a file.
#[derive(Debug, Args)]
#[command(after_help = "Without --state findings that are not closed are written.\n\n\
    SARIF has a run for each branch that was read, also where it holds nothing; one with a damaged record is left out. Who reads it takes what is absent for\n\
    closed: leave branches and projects out, but filter by severity, state or text only for readers of that part.\n\
    For DefectDojo use --suppressions false-positives: it makes false positives of all that are suppressed.\n\n\
    Examples:\n  hydrophone export --format csv -o findings.csv\n  \
    hydrophone export --format json --severity critical | jq .findings\n  \
    hydrophone export --format sarif \\\n    --project web-shop --branch main -o web-shop.sarif")]
pub struct Export {
    /// Choose the form.
    #[arg(long, value_enum)]
    format: Format,
    #[command(flatten)]
    pub(super) filters: Filters,
    #[command(flatten)]
    sarif: SarifFlags,
    /// Write to this file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One document with a list of findings.
    Json,
    /// A header row, then a row for each finding.
    Csv,
    /// A SARIF 2.1.0 log, as GitHub code scanning, DefectDojo and editors read it.
    Sarif,
}

/// What only SARIF can be told.
#[derive(Debug, Clone, Default, Args)]
pub struct SarifFlags {
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
pub enum Which {
    /// Accepted findings and false positives, as GitHub understands it.
    All,
    /// False positives, as DefectDojo understands it.
    FalsePositives,
    /// No finding.
    Off,
}

impl SarifFlags {
    /// Refuses what does not go together.
    fn check(&self, format: Format, filters: &Filters) -> Result<(), Failure> {
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

impl Export {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        self.sarif.check(self.format, &self.filters)?;
        let Some(path) = &self.output else {
            let out = &mut session.out;
            // A terminal gets cleaned text, a file or program every character.
            let trailers = if self.format == Format::Csv && io::stdout().is_terminal() {
                let mut lines = Lines { out, begun: Vec::new() };
                let trailers = self.stream(&session.client, &mut |bytes| lines.take(bytes))?;
                lines.end()?;
                trailers
            } else {
                self.stream(&session.client, &mut |bytes| out.bytes(bytes))?
            };
            tell_left_out(&trailers);
            return Ok(());
        };
        let draft = Draft::beside(path)?;
        let mut writer = BufWriter::new(&draft.file);
        let trailers = self.stream(&session.client, &mut |bytes| {
            writer.write_all(bytes).map_err(|error| cannot_write(path, &error))
        })?;
        writer.flush().map_err(|error| cannot_write(path, &error))?;
        drop(writer);
        draft.finish(path)?;
        note(&format!("Wrote {} to {}.", counted(count(&trailers, FINDINGS), "finding"), path.display()));
        tell_left_out(&trailers);
        Ok(())
    }

    fn stream(&self, client: &Client, each: Each) -> Result<HeaderMap, Failure> {
        let format = word(&self.format);
        let suppressions = self.sarif.suppressions.as_ref().map(word);
        let more = [
            ("format", Some(format.as_str())),
            ("suppressions", suppressions.as_deref()),
            ("repository", self.sarif.repository.as_deref()),
            ("revision", self.sarif.revision.as_deref()),
        ];
        client.stream(&self.filters.path_of(&["findings", "export"], &more), each)
    }
}

type Each<'e> = &'e mut dyn FnMut(&[u8]) -> Result<(), Failure>;

/// What the file lacks.
fn tell_left_out(trailers: &HeaderMap) {
    let (unread, unsure) = (count(trailers, UNREAD), count(trailers, UNSURE));
    let branches = |count| if count == 1 { "1 branch".to_owned() } else { format!("{count} branches") };
    if unread > 0 {
        note(&format!("Left out {} that no read was complete of yet.", branches(unread)));
    }
    let damaged = counted(count(trailers, DAMAGED), "finding");
    if unsure > 0 {
        note(&format!(
            "Left out {} with {damaged} whose record is damaged: see `hydrophone status`.",
            branches(unsure)
        ));
    } else if count(trailers, DAMAGED) > 0 {
        note(&format!("Left out {damaged} whose record is damaged: see `hydrophone status`."));
    }
    let runs = count(trailers, RUNS);
    if runs > RUNS_MAX as u64 {
        note(&format!(
            "The file has {}; GitHub takes {RUNS_MAX} at most: choose with --project or --branch for it.",
            counted(runs, "run")
        ));
    }
}

/// A choice as the API knows it: by the word for it on the command line.
fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn count(trailers: &HeaderMap, name: &str) -> u64 {
    trailers.get(name).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or_default()
}

/// Text for a terminal, a line at a time.
struct Lines<'o> {
    out: &'o mut Output,
    begun: Vec<u8>,
}

impl Lines<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.begun.extend_from_slice(part);
            if self.begun.ends_with(b"\n") {
                self.begun.pop();
                self.end()?;
                self.out.bytes(b"\n")?;
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        let line = std::mem::take(&mut self.begun);
        self.out.bytes(clean(&String::from_utf8_lossy(&line)).as_bytes())
    }
}

/// A file under another name beside the one that is wanted; removed unless it is finished.
pub(super) struct Draft {
    pub(super) file: File,
    path: PathBuf,
    finished: bool,
}

impl Draft {
    /// Where it lies until then.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn beside(wanted: &Path) -> Result<Self, Failure> {
        let name = wanted.file_name().ok_or_else(|| Failure::Input {
            text: format!("{} does not name a file", wanted.display()),
            hint: "Name a file that can be made.",
        })?;
        if wanted.exists() && !wanted.is_file() {
            let text = format!("{} is not a regular file", wanted.display());
            return Err(Failure::Input { text, hint: "Name another one." });
        }
        let mut draft = std::ffi::OsString::from(".");
        draft.push(name);
        draft.push(format!(".{}.tmp", std::process::id()));
        let path = wanted.with_file_name(draft);
        // Findings tell where a product is weak: nobody else reads the file unless its owner wants it.
        let opened = File::options().write(true).create_new(true).mode(0o600).open(&path);
        let file = opened.map_err(|error| cannot_write(&path, &error))?;
        Ok(Self { file, path, finished: false })
    }

    /// Writes a whole text as a file.
    pub(super) fn write(wanted: &Path, text: &str) -> Result<(), Failure> {
        let draft = Self::beside(wanted)?;
        writeln!(&draft.file, "{text}").map_err(|error| cannot_write(wanted, &error))?;
        draft.finish(wanted)
    }

    pub(super) fn finish(mut self, wanted: &Path) -> Result<(), Failure> {
        let named = self.file.sync_all().and_then(|()| std::fs::rename(&self.path, wanted));
        named.map_err(|error| cannot_write(wanted, &error))?;
        self.finished = true;
        // Its new name must outlive a power cut, too. Who may write to a folder need not be let read it.
        let folder = wanted.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match File::open(folder) {
            Ok(folder) => folder.sync_all().map_err(|error| cannot_write(wanted, &error)),
            Err(_) => Ok(()),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            // What failed is being told already; a draft that stays is marked by its name.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

pub(super) fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Input { text: format!("cannot write {}: {error}", path.display()), hint: "" }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::client::tests::FakeDaemon;
    use super::super::table::tests::Shared;
    use super::super::tests::told;
    use super::super::{Cli, Command, Paths};
    use super::*;

    fn daemon() -> FakeDaemon {
        FakeDaemon::start(|line, _| match line {
            "GET /api/v1/findings/export?severity=high&format=csv" | "GET /api/v1/findings/export?format=csv" => {
                (200, FILE.to_owned())
            }
            other => panic!("{other}"),
        })
    }

    const FILE: &str = "id,message\n1,\"a, \"\"b\"\"\"\n";

    #[test]
    fn what_the_daemon_sends_is_written() {
        let (text, ended) = told(&daemon(), &["export", "--format", "csv", "--severity", "high"]);
        assert!(ended.is_ok());
        assert_eq!(text, FILE);
    }

    #[test]
    fn a_terminal_gets_each_line_cleaned_however_it_is_cut() {
        let shared = Shared::default();
        let mut out = Output::to(Box::new(shared.clone()), false);
        let mut lines = Lines { out: &mut out, begun: Vec::new() };
        for piece in ["a\u{1b}[2", "Jb\nc", "d\n", "e"] {
            lines.take(piece.as_bytes()).unwrap();
        }
        lines.end().unwrap();
        assert_eq!(shared.text(), "a\u{fffd}[2Jb\ncd\ne");
    }

    #[test]
    fn a_reader_that_closes_the_pipe_ends_an_export_quietly() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let daemon = daemon();
        let args = Cli::try_parse_from(["hydrophone", "export", "--format", "csv"]).unwrap();
        let Command::Export(export) = args.command else { panic!("an export") };
        let paths = Paths { state: daemon.socket(), socket: daemon.socket() };
        let mut session = Session { client: daemon.client(), out: Output::to(Box::new(Closed), false), paths };
        assert!(matches!(export.run(&mut session), Err(Failure::ReaderGone)));
    }

    #[test]
    fn a_named_file_is_replaced_only_by_a_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        std::fs::write(&path, "former").unwrap();
        let line = ["export", "--format", "csv", "-o", path.to_str().unwrap()];
        let broken = FakeDaemon::start(|_, _| (503, String::new()));
        assert!(told(&broken, &line).1.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "former");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(told(&daemon(), &line).1.is_ok());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), FILE);
    }
}
