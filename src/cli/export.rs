//! `export`: the inventory as a file that other programs read. Written page by page, so that its size does not
//! matter; a named file appears only when it is whole.

mod sarif;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::client::{Client, Failure};
use super::finding::Filters;
use super::pages::Pages;
use super::table::{Output, clean, counted};
use super::{Session, note};
use crate::admin::shapes::{cells, columns};

/// Write the inventory to a file.
#[derive(Debug, Args)]
#[command(after_help = "Without --state findings that are not closed are written.\n\n\
    SARIF has a run for each branch that was read, also where it holds nothing. Who reads it takes what is absent for\n\
    closed: leave branches and projects out, but filter by severity, state or text only for readers of that part.\n\
    For DefectDojo use --suppressions false-positives: it makes false positives of all that are suppressed.\n\n\
    Examples:\n  hydrophone export --format csv -o findings.csv\n  \
    hydrophone export --format json --severity critical | jq .findings\n  \
    hydrophone export --format sarif --project web-shop --branch main -o web-shop.sarif")]
pub struct Export {
    /// Choose the form.
    #[arg(long, value_enum)]
    format: Format,
    #[command(flatten)]
    pub(super) filters: Filters,
    #[command(flatten)]
    sarif: sarif::Flags,
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

impl Export {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        self.sarif.check(self.format, &self.filters)?;
        let Some(path) = &self.output else {
            self.write(&session.client, &mut Stdout(&mut session.out))?;
            return Ok(());
        };
        let draft = Draft::beside(path)?;
        let mut writer = BufWriter::new(&draft.file);
        let count = self.write(&session.client, &mut writer)?;
        writer.flush().map_err(|error| cannot_write(path, &error))?;
        drop(writer);
        draft.finish(path)?;
        note(&format!("Wrote {} to {}.", counted(count, "finding"), path.display()));
        Ok(())
    }

    fn write(&self, client: &Client, writer: &mut dyn Write) -> Result<u64, Failure> {
        let mut pages = Pages::new(client, |rows, cursor| self.filters.path(rows, cursor));
        let mut next_page = || pages.next(u64::MAX).map(|page| page.map(|page| page.value));
        let written = match self.format {
            Format::Json => write_json(&mut next_page, writer),
            Format::Csv => write_csv(&mut next_page, writer, self.output.is_none() && io::stdout().is_terminal()),
            Format::Sarif => sarif::write(client, &self.filters, &self.sarif, writer),
        };
        written.map_err(|stop| match (stop, &self.output) {
            (Stop::Read(failure), _) => failure,
            (Stop::Write(error), Some(path)) => cannot_write(path, &error),
            (Stop::Write(error), None) => Failure::from_write(error),
        })
    }
}

type NextPage<'a> = dyn FnMut() -> Result<Option<Value>, Failure> + 'a;

/// Why an export ended early.
#[derive(Debug)]
enum Stop {
    Read(Failure),
    Write(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<csv::Error> for Stop {
    fn from(error: csv::Error) -> Self {
        // Converted whole, it would hide the kind that tells a closed pipe.
        Self::Write(match error.into_kind() {
            csv::ErrorKind::Io(error) => error,
            other => io::Error::other(format!("{other:?}")),
        })
    }
}

fn write_json(next_page: &mut NextPage, writer: &mut dyn Write) -> Result<u64, Stop> {
    let mut count = 0;
    // Read before anything is written, so that a refusal leaves no half of a document.
    let mut next = next_page().map_err(Stop::Read)?;
    writer.write_all(b"{\"findings\":[")?;
    while let Some(page) = next {
        for finding in findings(&page) {
            writer.write_all(if count == 0 { b"\n" } else { b",\n" })?;
            serde_json::to_writer(&mut *writer, finding).map_err(io::Error::from)?;
            count += 1;
        }
        next = next_page().map_err(Stop::Read)?;
    }
    writer.write_all(b"\n]}\n")?;
    writer.flush()?;
    Ok(count)
}

/// A terminal gets cleaned text, a file or program every character.
fn write_csv(next_page: &mut NextPage, writer: &mut dyn Write, terminal: bool) -> Result<u64, Stop> {
    let mut count = 0;
    let mut next = next_page().map_err(Stop::Read)?;
    let mut rows = csv::Writer::from_writer(writer);
    rows.write_record(columns())?;
    while let Some(page) = next {
        for finding in findings(&page) {
            let cells = cells(finding);
            rows.write_record(cells.map(|text| if terminal { clean(&text).into_owned() } else { text }))?;
            count += 1;
        }
        next = next_page().map_err(Stop::Read)?;
    }
    rows.flush()?;
    Ok(count)
}

fn findings(page: &Value) -> &[Value] {
    page["findings"].as_array().map(Vec::as_slice).unwrap_or_default()
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

    pub(super) fn finish(mut self, wanted: &Path) -> Result<(), Failure> {
        let named = self.file.sync_all().and_then(|()| std::fs::rename(&self.path, wanted));
        named.map_err(|error| cannot_write(wanted, &error))?;
        self.finished = true;
        Ok(())
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

/// Standard output as a writer of bytes.
struct Stdout<'a>(&'a mut Output);

impl Write for Stdout<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.bytes(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(Failure::Write(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::super::client::tests::FakeDaemon;
    use super::super::finding::tests::finding;
    use super::super::tests::told;
    use super::super::{Cli, Command};
    use super::*;

    fn two_pages() -> FakeDaemon {
        FakeDaemon::start(|line, _| match line {
            "GET /api/v1/findings?limit=500" => {
                let list = json!({"findings": [finding("1", "=cmd()"), finding("2", "a, \"b\"")], "total": 3,
                                  "total_exact": true, "next": "c"});
                (200, list.to_string())
            }
            "GET /api/v1/findings?limit=500&cursor=c" => {
                let list = json!({"findings": [finding("3", "m")], "total": 3, "total_exact": true, "next": null});
                (200, list.to_string())
            }
            other => panic!("{other}"),
        })
    }

    #[test]
    fn json_holds_the_findings_of_all_pages() {
        let text = told(&two_pages(), &["export", "--format", "json"]).0;
        let document: Value = serde_json::from_str(&text).unwrap();
        let expected = json!({"findings": [finding("1", "=cmd()"), finding("2", "a, \"b\""), finding("3", "m")]});
        assert_eq!(document, expected);
    }

    #[test]
    fn csv_has_a_header_and_a_row_for_each_finding() {
        let text = told(&two_pages(), &["export", "--format", "csv"]).0;
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().unwrap().clone();
        assert_eq!(header.len(), columns().count());
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        let column = |name: &str| header.iter().position(|column| column == name).unwrap();
        let of = |name: &str| rows.iter().map(|row| row[column(name)].to_owned()).collect::<Vec<_>>();
        assert_eq!(of("id"), ["1", "2", "3"]);
        assert_eq!(of("message"), ["'=cmd()", "a, \"b\"", "m"]);
        assert_eq!(of("cwe"), ["79 89"; 3]);
        assert_eq!(of("sonar_type"), ["VULNERABILITY"; 3]);
        assert_eq!(of("sonar_resolution"), [""; 3]);
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
        let daemon = two_pages();
        for format in ["json", "csv"] {
            let args = Cli::try_parse_from(["hydrophone", "export", "--format", format]).unwrap();
            let Command::Export(export) = args.command else { panic!("an export") };
            let mut session =
                Session { client: daemon.client(), out: Output::to(Box::new(Closed), false), state: PathBuf::new() };
            assert!(matches!(export.run(&mut session), Err(Failure::ReaderGone)), "{format}");
        }
    }

    #[test]
    fn sarif_has_a_run_for_each_branch_that_was_read() {
        let daemon = FakeDaemon::start(|line, _| {
            let branch = |name: &str, synced_at: Value| {
                json!({"name": name, "kind": "branch", "main": name == "main", "complete": true, "stored_total": 0,
                       "activity": "idle", "synced_at": synced_at})
            };
            let branches = [branch("main", "2026-11-21T14:03:00Z".into()), branch("next", Value::Null)];
            let project = json!({"source": "eu", "organization": "acme", "key": "web", "name": "Web", "imported": true,
                                 "branches": branches});
            let mut found = finding("1", "m");
            found["flows"] = json!([[{"path": "b.java", "range": null, "message": "x"}]]);
            let list = json!({"findings": [found], "total": 1, "total_exact": true, "next": null});
            let of_branch = "organization=eu%2Facme&project=web&branch=main&limit=500&scope=branch&with=flows";
            match line {
                "GET /api/v1/projects" => (200, json!({"projects": [project]}).to_string()),
                "GET /api/v1/rules/eu/java%3AS1" => (404, String::new()),
                "GET /api/v1/findings?limit=1" => (200, list.to_string()),
                other if other == format!("GET /api/v1/findings?{of_branch}") => (200, list.to_string()),
                other => panic!("{other}"),
            }
        });
        let text = told(&daemon, &["export", "--format", "sarif"]).0;
        let log: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(log["runs"].as_array().unwrap().len(), 1);
        assert_eq!(log["runs"][0]["results"][0]["message"]["text"], "m (Sonar key AX)");
        assert!(log["runs"][0]["results"][0]["codeFlows"].is_array(), "{text}");
        assert_eq!(log["runs"][0]["tool"]["driver"]["rules"][0]["id"], "java:S1/high");
    }

    #[test]
    fn an_empty_inventory_is_a_whole_document() {
        let daemon = FakeDaemon::start(|_, _| (200, r#"{"findings":[],"next":null}"#.to_owned()));
        assert_eq!(told(&daemon, &["export", "--format", "json"]).0, "{\"findings\":[\n]}\n");
        assert_eq!(told(&daemon, &["export", "--format", "csv"]).0.lines().count(), 1);
    }

    #[test]
    fn a_named_file_is_replaced_only_by_a_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.json");
        std::fs::write(&path, "former").unwrap();
        let line = ["export", "--format", "json", "-o", path.to_str().unwrap()];
        let broken = FakeDaemon::start(|line, _| {
            let list = json!({"findings": [finding("1", "m")], "next": "c"});
            if line.contains("cursor") { (503, String::new()) } else { (200, list.to_string()) }
        });
        assert!(told(&broken, &line).1.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "former");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(told(&two_pages(), &line).1.is_ok());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let document: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(document["findings"].as_array().unwrap().len(), 3);
    }
}
