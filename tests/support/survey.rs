#![allow(dead_code, reason = "shared by programs of which none uses all of it")]
//! What `tests/survive` prints at its end: each test of faults tells what it tried, how often, and what came of it.

use std::io::Write;

/// Appends a line to the file that `HYDROPHONE_SURVEY` names, if it names one.
pub fn note(what: &str, times: usize, outcome: &str) {
    let line = format!("{what}\t{times}\t{outcome}\n");
    eprint!("{line}");
    if let Some(path) = std::env::var_os("HYDROPHONE_SURVEY") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("the survey's file");
        file.write_all(line.as_bytes()).expect("the survey's file can be written");
    }
}

/// A number from the environment, for runs that are longer than the usual one.
pub fn number(variable: &str, otherwise: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is to be a number, not {text:?}")),
        Err(_) => otherwise,
    }
}
