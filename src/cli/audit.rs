//! `audit`: who changed what.

use clap::Args;

use super::Session;
use super::client::{Answer, Failure, path_with};
use super::table::{cell, cell_of, table};
use crate::admin::shapes::AuditList;

/// Show who changed what, the newest first.
#[derive(Debug, Args)]
#[command(after_help = "Example: everything, for a program\n  hydrophone audit --json --limit 500")]
pub struct Audit {
    /// Show so many.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Show those before this one.
    #[arg(long, value_name = "ID")]
    before: Option<u64>,
}

impl Audit {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        let (limit, before) = (self.limit.to_string(), self.before.map(|before| before.to_string()));
        let parameters = [("limit", Some(limit.as_str())), ("before", before.as_deref())];
        let answer: Answer<AuditList> = session.client.get(&path_with(&["audit"], &parameters))?;
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
                    if entry.via == "socket" { "local".to_owned() } else { format!("{} ({})", entry.who, entry.via) };
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
