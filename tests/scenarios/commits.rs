//! The commit that Sonar analysed, in what whole branches are told.

use std::fs;

use serde_json::Value;

use self::github::GitHub;
use crate::steps::{CLOUD, finding, holding_shop, sonar_with, sync, vulnerability};
use crate::support::gateway::Gateway;
use crate::support::sonar::Fault;
use crate::support::wire;

#[path = "../support/github.rs"]
mod github;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const NEWER: &str = "89abcdef0123456789abcdef0123456789abcdef";
const TOKEN: &str = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";

const ANALYSES: &str = "/api/project_analyses";

/// The run of the only file in a folder, and how many results it has.
fn only_run(folder: &std::path::Path) -> Option<(Value, usize)> {
    let mut files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let file = files.find(|file| file.extension().is_some_and(|kind| kind == "sarif"))?;
    let log: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap().len();
    Some((log["runs"][0].clone(), results))
}

fn await_run(gateway: &Gateway, folder: &std::path::Path, results: usize) -> Value {
    gateway.wait("a file", |_| only_run(folder).filter(|(_, held)| *held == results)).0
}

#[test]
fn a_file_names_the_commit_and_does_without_where_sonar_does_not_say() {
    let sonar = sonar_with(CLOUD, &["A"]);
    sonar.analyse("shop", "main", |analysis| analysis.revision = Some(COMMIT.to_owned()));
    let gateway = holding_shop(&sonar);
    let folder = gateway.folder().join("sarif");
    fs::create_dir(&folder).unwrap();
    gateway.json(&["destination", "add", "sarif", "files", "--url", folder.to_str().unwrap()]);
    assert_eq!(await_run(&gateway, &folder, 1)["properties"]["revision"], COMMIT);

    sonar.analyse("shop", "main", |analysis| {
        analysis.revision = Some(NEWER.to_owned());
        analysis.open(vulnerability("B"));
    });
    sync(&gateway);
    assert_eq!(await_run(&gateway, &folder, 2)["properties"]["revision"], NEWER);

    sonar.fault_always(ANALYSES, Fault::internal_error(1));
    sonar.analyse("shop", "main", |analysis| {
        analysis.open(vulnerability("C"));
    });
    sync(&gateway);
    assert_eq!(await_run(&gateway, &folder, 3)["properties"].get("revision"), None);
    gateway.wait_for_log("shop main is told without its commit");
}

#[test]
fn github_is_told_of_the_commit_and_waits_for_sonar_to_say_it() {
    let github = GitHub::start(TOKEN, "acme/shop", &[("refs/heads/main", COMMIT)]);
    let sonar = sonar_with(CLOUD, &["A"]);
    sonar.analyse("shop", "main", |analysis| analysis.revision = Some(COMMIT.to_owned()));
    let gateway = holding_shop(&sonar);
    sonar.fault_always(ANALYSES, Fault::internal_error(1));
    let url = github.url();
    let line = ["destination", "add", "github", "code", "--url", &url, "--option", "repository=acme/shop"];
    gateway.json_with(&[&line[..], &["--token-file", "-"]].concat(), TOKEN);
    gateway.wait_for_log("Sonar cannot be asked which commit of main it analysed");
    assert!(github.alerts("acme/shop").is_empty());

    sonar.clear_faults();
    // As an operator would who does not want to wait for the next attempt.
    for line in [["destination", "pause", "code"], ["destination", "resume", "code"]] {
        gateway.json(&line);
    }
    gateway.wait("an analysis", |_| (!github.alerts("acme/shop").is_empty()).then_some(()));
    let commit = github.edit(|model| model.repositories["acme/shop"].uploads[0].commit.clone());
    assert_eq!(commit, COMMIT);
    assert_eq!(finding(&gateway, "shop", "A")["state"], "open");
}
