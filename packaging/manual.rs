//! Writes what a package brings for people at a prompt: a manual page of the command and of each subcommand, and the
//! completions of three shells. Usage: `cargo run --example manual -- FOLDER`.
//!
//! An example and no command of the program, so that nothing of it is in the binary that is shipped.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use hydrophone::cli::Cli;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(folder), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: manual FOLDER");
        return ExitCode::from(2);
    };
    match write(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path) -> io::Result<()> {
    let (pages, completions) = (folder.join("man1"), folder.join("completions"));
    fs::create_dir_all(&pages)?;
    fs::create_dir_all(&completions)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "hydrophone", &completions)?;
    }
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    page(&command, &pages)
}

/// Writes the page of a command and those of its subcommands.
fn page(command: &Command, folder: &Path) -> io::Result<()> {
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        page(subcommand, folder)?;
    }
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let manual = Man::new(command.clone().version(env!("CARGO_PKG_VERSION")))
        .title(name.to_uppercase())
        .source(concat!("hydrophone ", env!("CARGO_PKG_VERSION")))
        .manual("Hydrophone");
    manual.generate_to(folder)?;
    Ok(())
}
