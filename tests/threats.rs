//! The threat model (`packaging/threats.md`): whatever it claims, it names what shows it, and that exists.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every function that is a test, by its name.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root().join("tests"), root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(path).unwrap();
                // The attribute, perhaps others, then the function.
                let after = text.split("#[test]").skip(1);
                found.extend(after.filter_map(|text| {
                    let name = text.split("fn ").nth(1)?.split(['(', '<']).next()?;
                    Some(name.to_owned())
                }));
            }
        }
    }
    found
}

/// The last cell of each row that says something, and the row's first.
fn rows(text: &str) -> Vec<(&str, &str)> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.map(|row| (row.split(" | ").next().unwrap(), row.rsplit(" | ").next().unwrap()));
    rows.filter(|(_, shown)| *shown != "shown by").collect()
}

fn code(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn each_line_of_the_threat_model_names_what_shows_it() {
    let text = fs::read_to_string(root().join("packaging/threats.md")).unwrap();
    let (rows, tests) = (rows(&text), tests());
    assert!(rows.len() > 30, "{} rows are all that is found", rows.len());
    let is_there = |name: &str| {
        if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return tests.contains(name);
        }
        match name.strip_prefix("cargo bench -- ") {
            Some(matter) => {
                fs::read_to_string(root().join("tests/bench/bench.rs")).unwrap().contains(&format!("(\"{matter}\""))
            }
            // A file, or what is to be found in the manifest.
            None => root().join(name).exists() || fs::read_to_string(root().join("Cargo.toml")).unwrap().contains(name),
        }
    };
    for (threat, shown) in rows {
        assert!(code(shown).next().is_some(), "nothing shows the answer to: {threat}");
        let missing: Vec<_> = code(shown).filter(|name| !is_there(name) && *name != "Cargo.toml").collect();
        assert!(missing.is_empty(), "{threat}: {missing:?} is not there");
    }
}

#[test]
fn a_test_that_is_not_there_would_be_missed() {
    let tests = tests();
    assert!(tests.contains("a_test_that_is_not_there_would_be_missed"));
    assert!(!tests.contains("each_line_of_the_threat_model"));
    let row = "| a stranger … | is refused | `one`, `two` |";
    assert_eq!(rows(row), [("a stranger …", "`one`, `two`")]);
    assert_eq!(code("`one`, `two`").collect::<Vec<_>>(), ["one", "two"]);
}
