//! `sync`: read Sonar now.

use clap::Args;

use super::Session;
use super::client::{Answer, Failure};
use super::table::{counted, now};
use super::wait::{self, Wait};
use crate::admin::shapes::{NewSync, ProjectList};

/// Read Sonar now.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hydrophone sync\n  hydrophone sync acme web-shop --full --wait")]
pub struct Sync {
    /// Read this organization only, as ORG or SOURCE/ORG.
    #[arg(value_name = "ORG")]
    organization: Option<String>,
    /// Read this project only.
    #[arg(value_name = "KEY")]
    project: Option<String>,
    /// Read everything, not only what changed.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    wait: Wait,
}

impl Sync {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        let since = now();
        let new = NewSync { organization: self.organization, project: self.project, full: self.full };
        let answer: Answer<ProjectList> = session.client.post_long("sync", &new)?;
        let projects = &answer.value.projects;
        if self.wait.wait && !projects.is_empty() {
            return wait::until_read(session, projects, since, self.wait);
        }
        session.show(&answer, |out, list| {
            if list.projects.is_empty() {
                return out.line("Nothing to read: no project is imported. See: hydrophone project import --help");
            }
            out.line(format_args!("Sonar is being read for {}.", counted(list.projects.len() as u64, "project")))?;
            out.line("See how far it is: hydrophone status")
        })
    }
}
