//! Parses the command line, dispatches it and gives the exit code.

use std::process::ExitCode;

use clap::Parser;
use hydrophone::cli::{self, Cli};

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    cli::run(Cli::parse())
}
