//! `user`: who may use the page.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::de::IgnoredAny;

use super::Session;
use super::client::{Answer, Failure, path};
use super::secret::read_secret;
use super::table::{Output, cell, clean, minute_ago, now, table};
use crate::admin::shapes::{Invitation, NewUser, UserEdit, UserList};
use crate::domain::secret::SecretText;

/// What can be done with users.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List who may log in.
    List,
    /// Add a user, and print the link by which they choose a password.
    #[command(after_help = "Example:\n  hydrophone user add ines --role admin")]
    Add(Add),
    /// Give a user another role.
    Role {
        /// Name the user.
        name: String,
        /// Let them do this.
        #[arg(value_name = "ROLE", value_parser = ROLES)]
        role: String,
    },
    /// Print a new link by which a user chooses a password, or set one.
    Passwd(Passwd),
    /// Remove a user, and end their logins.
    Remove {
        /// Name the user.
        name: String,
    },
}

/// A new user.
#[derive(Debug, Args)]
pub struct Add {
    /// Name the user: letters, digits, `- _ .`.
    name: String,
    /// Let them look (viewer), also steer (operator), or also set up (admin).
    #[arg(long, value_name = "ROLE", value_parser = ROLES)]
    role: String,
    /// Set this password instead of printing a link; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// A user's password.
#[derive(Debug, Args)]
pub struct Passwd {
    /// Name the user.
    name: String,
    /// Set this password instead of printing a link; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// The words for roles.
pub(super) const ROLES: [&str; 3] = ["viewer", "operator", "admin"];

impl Command {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self {
            Self::List => list(session),
            Self::Add(Add { name, role, password_file }) => {
                let password = password(password_file)?;
                let answer: Answer<Invitation> = session.client.post("users", &NewUser { name, role, password })?;
                session.show(&answer, |out, made| {
                    out.line(format_args!("Added {} as {}.", clean(&made.user.name), made.user.role))?;
                    invite(out, made)
                })
            }
            Self::Role { name, role } => {
                let edit = UserEdit { role: Some(role), ..UserEdit::default() };
                let answer: Answer<Invitation> = session.client.patch(&path(&["users", &name]), &edit)?;
                session.show(&answer, |out, made| {
                    out.line(format_args!("{} is {} now.", clean(&made.user.name), made.user.role))
                })
            }
            Self::Passwd(Passwd { name, password_file }) => {
                let password = password(password_file)?;
                let edit = UserEdit { role: None, invite: password.is_none(), password };
                let answer: Answer<Invitation> = session.client.patch(&path(&["users", &name]), &edit)?;
                session.show(&answer, |out, made| {
                    if made.link.is_none() {
                        let name = clean(&made.user.name);
                        return out.line(format_args!("Set the password of {name}; their logins are ended."));
                    }
                    invite(out, made)
                })
            }
            Self::Remove { name } => {
                let answer: Answer<IgnoredAny> = session.client.delete(&path(&["users", &name]))?;
                session.show(&answer, |out, _| out.line(format_args!("Removed {}.", clean(&name))))
            }
        }
    }
}

fn password(file: Option<PathBuf>) -> Result<Option<SecretText>, Failure> {
    file.map(|file| read_secret(&file, "password")).transpose()
}

fn invite(out: &mut Output, made: &Invitation) -> Result<(), Failure> {
    let Some(link) = &made.link else { return Ok(()) };
    out.line("The link is good once, and for an hour:")?;
    out.line(format_args!("  {}", &**link))
}

fn list(session: &mut Session) -> Result<(), Failure> {
    let answer: Answer<UserList> = session.client.get("users")?;
    session.show(&answer, |out, list| {
        if list.users.is_empty() {
            return out.line("Nobody can log in yet: hydrophone user add NAME --role admin");
        }
        let mut rows = table(&["user", "role", "last login"]);
        for user in &list.users {
            let last = match &user.login_at {
                Some(at) => minute_ago(at, now()),
                None if user.can_log_in => "never".to_owned(),
                None => "has not chosen a password".to_owned(),
            };
            rows.add_row([cell(&user.name), cell(&user.role), cell(last)]);
        }
        out.table(rows)
    })
}
