//! `audit`: who changed what.

use clap::Args;

use super::Session;
use super::client::{Answer, Failure, path_with};
use super::table::{cell, cell_of, table};
use crate::admin::shapes::{AuditEntry, AuditList};

/// Show who changed what, the newest first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hydrophone audit --who ines --what destination\n  \
    hydrophone audit --export csv > audit.csv")]
pub struct Audit {
    /// Show so many.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Show those before this one.
    #[arg(long, value_name = "ID")]
    before: Option<u64>,
    /// Show what was done by whoever has this in their name.
    #[arg(long, value_name = "TEXT")]
    who: Option<String>,
    /// Show what has this in what was done, or in what it was done to.
    #[arg(long, value_name = "TEXT")]
    what: Option<String>,
    /// Write all that matches as rows, or as a JSON document a line.
    #[arg(long, value_name = "csv|jsonl", value_parser = ["csv", "jsonl"], conflicts_with = "limit")]
    export: Option<String>,
}

impl Audit {
    fn page(&self, session: &Session, limit: u32, before: Option<u64>) -> Result<Answer<AuditList>, Failure> {
        let (limit, before) = (limit.to_string(), before.map(|before| before.to_string()));
        let parameters = [
            ("limit", Some(limit.as_str())),
            ("before", before.as_deref()),
            ("who", self.who.as_deref()),
            ("what", self.what.as_deref()),
        ];
        session.client.get(&path_with(&["audit"], &parameters))
    }

    fn export(&self, session: &mut Session, rows: bool) -> Result<(), Failure> {
        let mut before = self.before;
        if rows {
            session.out.line(AuditEntry::COLUMNS.join(","))?;
        }
        loop {
            let page = self.page(session, PAGE, before)?.value;
            for entry in &page.entries {
                if rows {
                    session.out.line(row(entry))?;
                } else {
                    session.out.line(serde_json::to_string(entry).unwrap_or_default())?;
                }
            }
            match page.next {
                Some(next) => before = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        if let Some(form) = &self.export {
            return self.export(session, form == "csv");
        }
        let answer = self.page(session, self.limit, self.before)?;
        session.show(&answer, |out, list| {
            if list.entries.is_empty() {
                return out.line("Nobody has changed anything yet.");
            }
            let mut rows = table(&["when", "who", "from", "what", "to what", "outcome"]);
            for entry in &list.entries {
                let outcome = match entry.status {
                    Some(status) if status < 400 => "done".to_owned(),
                    Some(status) => format!("refused ({status})"),
                    None => "did not end".to_owned(),
                };
                let who =
                    if entry.via == "socket" { entry.who.clone() } else { format!("{} ({})", entry.who, entry.via) };
                let target = entry.target.strip_prefix("/api/v1").unwrap_or(&entry.target);
                rows.add_row([
                    cell(&entry.at),
                    cell(who),
                    cell_of(entry.from.as_deref()),
                    cell(&entry.what),
                    cell(target),
                    cell(outcome),
                ]);
            }
            out.table(rows)?;
            match list.next {
                Some(next) => out.line(format_args!("There are more: hydrophone audit --before {next}")),
                None => Ok(()),
            }
        })
    }
}

/// A row of a file, with quotes where they are needed (RFC 4180).
fn row(entry: &AuditEntry) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let written = writer.write_record(entry.columns()).is_ok();
    let bytes = if written { writer.into_inner().unwrap_or_default() } else { Vec::new() };
    String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned()
}

/// Entries that are asked for at once.
const PAGE: u32 = 500;
