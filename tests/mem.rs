//! What packaging/mem.c puts in the place of libc's functions does what those do.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

const NAMES: [&str; 4] = ["memmove", "memcpy", "memcmp", "bcmp"];

/// Compiled as packaging/build does it, and linked beside libc's under other names.
#[test]
fn copying_and_comparing_is_as_libc_does_it() {
    let folder = tempfile::tempdir().unwrap();
    let [object, renamed, check] = ["mem.o", "renamed.o", "check"].map(|name| folder.path().join(name));
    let source = |path: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let script = std::fs::read_to_string(source("packaging/build")).unwrap();
    let line = script.lines().find_map(|line| line.trim().strip_prefix("mem_flags=(")).unwrap();
    let flags = line.trim_end_matches(')').split(' ');
    run(Command::new("cc").args(flags).arg("-c").arg(source("packaging/mem.c")).arg("-o").arg(&object));
    let options = NAMES.map(|name| format!("--redefine-sym={name}=tested_{name}"));
    run(Command::new("objcopy").args(options).args([&object, &renamed]));
    let main = source("tests/mem/check.c");
    run(Command::new("cc").args(["-O1", "-fno-builtin"]).arg(main).arg(&renamed).arg("-o").arg(&check));
    run(&mut Command::new(check));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
}
