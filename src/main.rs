//! Parses the command line, dispatches it and gives the exit code.

use std::process::ExitCode;

use clap::Parser;
use hydrophone::cli::{self, Cli};

fn main() -> ExitCode {
    cli::run(Cli::parse())
}
