//! `organization`: what the tokens see.

use clap::Subcommand;

use super::Session;
use super::client::{Answer, Failure, path_with};
use super::table::{cell, table};
use crate::admin::shapes::OrganizationList;

/// What can be done with organizations.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the organizations that the tokens see.
    List {
        /// Show those of this source only.
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
    },
}

impl Command {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        let Self::List { source } = self;
        let path = path_with(&["organizations"], &[("source", source.as_deref())]);
        let answer: Answer<OrganizationList> = session.client.get(&path)?;
        session.show(&answer, |out, list| {
            if list.organizations.is_empty() {
                return out.line("No organizations yet. Connect a source: hydrophone source add --help");
            }
            let mut rows = table(&["source", "organization", "name"]);
            for organization in &list.organizations {
                rows.add_row([cell(&organization.source), cell(&organization.key), cell(&organization.name)]);
            }
            out.table(rows)
        })
    }
}
