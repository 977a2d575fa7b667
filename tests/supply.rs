//! What is built is known: each dependency has its reason beside it, none of our crates may be unsafe, and nothing of ours
//! runs while it is built. What the dependencies themselves may be, `deny.toml` says.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The dependencies of a manifest that have no reason: neither on their line nor above their paragraph.
fn without_reason(manifest: &str) -> Vec<String> {
    let (mut is_dependency, mut has_reason) = (false, false);
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            // What is said above a table is said of all that is in it up to an empty line.
            is_dependency = line.ends_with("dependencies]");
        } else if line.is_empty() {
            has_reason = false;
        } else if line.starts_with('#') {
            has_reason = true;
        } else if is_dependency && line.contains('=') && !has_reason && !line.contains(" # ") {
            found.push(line.to_owned());
        }
    }
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_dependency_has_its_reason() {
    for manifest in ["Cargo.toml", "tests/fuzz/Cargo.toml"] {
        assert_eq!(without_reason(&read(&folder().join(manifest))), Vec::<String>::new(), "{manifest}");
    }
    let bare = "# A table.\n[package]\nversion = \"1\"\n\n[dependencies]\n# Why.\na = \"1\"\n\nb = \"1\"\nc = \"1\" # why\n[lints]\nd = \"x\"\n";
    assert_eq!(without_reason(bare), ["b = \"1\""]);
}

/// Cargo's table holds for everything that it builds of a package: programs, tests, examples and benchmarks too.
#[test]
fn none_of_our_crates_may_be_unsafe() {
    for manifest in ["Cargo.toml", "tests/fuzz/Cargo.toml"] {
        let text = read(&folder().join(manifest));
        let lints = text.split("[lints.rust]").nth(1).unwrap_or_default();
        let of_rust = lints.split("\n[").next().unwrap_or_default();
        assert!(of_rust.contains("unsafe_code = \"forbid\""), "{manifest}");
    }
    for target in fs::read_dir(folder().join("tests/fuzz/targets")).unwrap() {
        let path = target.unwrap().path();
        assert!(read(&path).contains("#![forbid(unsafe_code)]"), "{}", path.display());
    }
}

#[test]
fn nothing_of_ours_runs_while_it_is_built() {
    for place in ["", "tests/fuzz"] {
        assert!(!folder().join(place).join("build.rs").exists(), "{place}");
        assert!(!read(&folder().join(place).join("Cargo.toml")).contains("\nbuild ="), "{place}");
    }
}

/// Another provider of TLS in the tree would be a second one to look after, and OpenSSL is no part of a static program.
#[test]
fn no_other_cryptography_is_in_the_tree() {
    let lock = read(&folder().join("Cargo.lock"));
    for name in ["openssl", "openssl-sys", "openssl-src", "native-tls", "aws-lc-rs", "aws-lc-sys", "boring-sys"] {
        assert!(!lock.contains(&format!("\nname = \"{name}\"\n")), "{name}");
    }
    let sources = lock.lines().filter(|line| line.starts_with("source = "));
    assert_eq!(
        sources.filter(|line| !line.contains("registry+https://github.com/rust-lang/crates.io-index")).count(),
        0
    );
}
