//! `completions`: the script that a shell completes our commands with.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::client::Failure;
use super::{Cli, Session};

/// Print a shell's completion script.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hydrophone completions bash > /etc/bash_completion.d/hydrophone")]
pub struct Completions {
    /// Choose the shell.
    pub shell: Shell,
}

impl Completions {
    /// Prints it.
    pub fn run(&self, session: &mut Session) -> Result<(), Failure> {
        // Into memory first: the generator panics if it cannot write.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "hydrophone", &mut script);
        session.out.bytes(&script)
    }
}
