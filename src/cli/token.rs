//! `token`: what programs are let in with.

use clap::{Args, Subcommand};
use serde::de::IgnoredAny;

use super::Session;
use super::client::{Answer, Failure, path};
use super::table::{cell, clean, minute_ago, now, table};
use super::user::ROLES;
use crate::admin::shapes::{ApiTokenList, MadeApiToken, NewApiToken};

/// What can be done with API tokens.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List API tokens, with when each was last used.
    List,
    /// Make an API token, and print it once.
    #[command(after_help = "Example:\n  hydrophone token add prometheus --role viewer\n  \
        curl -H \"Authorization: Bearer $TOKEN\" https://BOX:8444/metrics")]
    Add(Add),
    /// Remove an API token; it is not good any more at once.
    Remove {
        /// Name the token.
        name: String,
    },
}

/// A new token.
#[derive(Debug, Args)]
pub struct Add {
    /// Name the token, such as what uses it.
    name: String,
    /// Let it look (viewer), also steer (operator), or also set up (admin).
    #[arg(long, value_name = "ROLE", value_parser = ROLES)]
    role: String,
    /// Let it be good for so many days [default: for ever].
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: Option<u32>,
}

impl Command {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self {
            Self::List => list(session),
            Self::Add(Add { name, role, days }) => {
                let answer: Answer<MadeApiToken> = session.client.post("tokens", &NewApiToken { name, role, days })?;
                session.show(&answer, |out, made| {
                    out.field("Token", &made.secret)?;
                    out.line("Keep it now: it is not shown again.")
                })
            }
            Self::Remove { name } => {
                let answer: Answer<IgnoredAny> = session.client.delete(&path(&["tokens", &name]))?;
                session.show(&answer, |out, _| out.line(format_args!("Removed the token {}.", clean(&name))))
            }
        }
    }
}

fn list(session: &mut Session) -> Result<(), Failure> {
    let answer: Answer<ApiTokenList> = session.client.get("tokens")?;
    session.show(&answer, |out, list| {
        if list.tokens.is_empty() {
            return out.line("No API tokens: hydrophone token add NAME --role viewer");
        }
        let mut rows = table(&["token", "role", "expires", "last used"]);
        for token in &list.tokens {
            let used = token.used_at.as_deref().map_or_else(|| "never".to_owned(), |at| minute_ago(at, now()));
            let expires = token.expires_at.as_deref().unwrap_or("never");
            rows.add_row([cell(&token.name), cell(&token.role), cell(expires), cell(used)]);
        }
        out.table(rows)
    })
}
