//! Reads a folder of Sonar's answers, one subfolder per endpoint, through the parser of that endpoint. The folder
//! is named by `SONAR_SAMPLES`; the samples carry licences of their own and are not part of this repository.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::{env, fs};

use hydrophone::domain::delivery::{Payload, ScopeRef, TaskStatus};
use hydrophone::domain::finding::{Kind, Severity, State};
use hydrophone::domain::signature::{Secret, Signature};
use hydrophone::sonar::Dialect;
use hydrophone::sonar::wire::{self, BadAnswer, FindingsPage};
use serde_json::Value;

#[test]
fn every_sample_is_read_by_the_parser_of_its_endpoint() {
    let Some(folder) = env::var_os("SONAR_SAMPLES").map(PathBuf::from) else {
        println!("skipped: SONAR_SAMPLES names no folder of Sonar's answers");
        return;
    };
    let mut read = 0;
    for endpoint in entries(&folder).filter(|path| path.is_dir()) {
        let name = file_name(&endpoint);
        for sample in entries(&endpoint) {
            let bytes = fs::read(&sample).unwrap();
            check(&name, &sample, &bytes);
            read += 1;
        }
    }
    assert!(read > 0, "{} holds no samples", folder.display());
    println!("{read} samples read");
}

fn check(endpoint: &str, sample: &Path, bytes: &[u8]) {
    let name = file_name(sample);
    let at = format!("{endpoint}/{name}");
    let stop = |error: BadAnswer| -> ! { panic!("{at}: {error}") };
    match endpoint {
        "authentication_validate" => {
            assert_eq!(wire::validation(bytes).unwrap_or_else(|e| stop(e)), name == "valid-true.json", "{at}");
        }
        "organizations_organizations" => {
            assert!(!wire::organizations(bytes).unwrap_or_else(|e| stop(e)).is_empty(), "{at}");
        }
        "organizations_search" => {
            let page = wire::organizations_page(bytes).unwrap_or_else(|e| stop(e));
            assert_eq!(page.rows, page.organizations.len() as u64, "{at}");
        }
        "components_search" | "projects_search" | "components_search_projects" => {
            let page = wire::projects(bytes).unwrap_or_else(|e| stop(e));
            assert_eq!((page.rows, page.unusable), (page.total, 0), "{at}");
            assert_eq!(page.projects.len() as u64, page.total, "{at}");
        }
        "components_show" => drop(wire::project(bytes).unwrap_or_else(|e| stop(e))),
        "project_branches_list" => {
            let branches = wire::branches(bytes).unwrap_or_else(|e| stop(e));
            assert_eq!(branches.iter().filter(|branch| branch.main).count(), 1, "{at}");
            assert!(branches.iter().all(|branch| branch.analysed_at.is_some()), "{at}");
        }
        "project_pull_requests_list" => {
            let requests = wire::pull_requests(bytes).unwrap_or_else(|e| stop(e));
            assert!(requests.iter().all(|request| request.analysed_at.is_some() && request.base.is_some()), "{at}");
            assert!(!requests.is_empty(), "{at}");
        }
        "project_analyses_search" => {
            let dates = wire::analyses(bytes).unwrap_or_else(|e| stop(e));
            assert!(!dates.is_empty() && dates.is_sorted_by(|a, b| a.date >= b.date), "{at}: {dates:?}");
        }
        "issues_search" => issues(&name, &at, bytes),
        "hotspots_search" => {
            let page = wire::hotspots(bytes).unwrap_or_else(|e| stop(e));
            whole(&at, &page, Kind::Hotspot);
            assert_eq!((page.findings.len() as u64, page.odd_words.len()), (page.total, 0), "{at}");
            assert!(page.findings.iter().all(|hotspot| hotspot.rule.is_some()), "{at}");
        }
        "hotspots_show" if name.contains("rule-object") => rule(&name, &at, bytes),
        "hotspots_show" => {
            let hotspot = wire::hotspot(bytes).unwrap_or_else(|e| stop(e));
            assert_eq!((hotspot.severity, hotspot.state), (Severity::Low, State::Open), "{at}");
            assert!(hotspot.path.is_some() && hotspot.rule.is_some() && hotspot.sonar.hash.is_some(), "{at}");
        }
        "rules_show" => rule(&name, &at, bytes),
        "errors" => {
            let message = wire::error_message(bytes).unwrap_or_else(|| panic!("{at} has no message"));
            assert!(!message.is_empty() && !message.contains("\\u"), "{at}: {message}");
        }
        "webhook_payloads" => delivery(&at, sample, bytes),
        // Endpoints that are not asked, or not through the parsers here.
        "ce_indexation_status"
        | "ce_task"
        | "issues_changelog"
        | "measures_component"
        | "qualitygates_project_status"
        | "sources_issue_snippets"
        | "webhooks_create"
        | "webhooks_deliveries"
        | "webhooks_list"
        | "webservices_list" => drop(serde_json::from_slice::<Value>(bytes).unwrap()),
        _ => panic!("{at} is of an endpoint that has no parser here"),
    }
}

fn issues(name: &str, at: &str, bytes: &[u8]) {
    let page = wire::issues(bytes).unwrap_or_else(|error| panic!("{at}: {error}"));
    whole(at, &page, Kind::Vulnerability);
    let json: Value = serde_json::from_slice(bytes).unwrap();
    let listed = json.as_array().or_else(|| json["issues"].as_array()).unwrap();
    assert_eq!(page.rows, listed.len() as u64, "{at}");
    let total = json["paging"]["total"].as_u64().unwrap_or(page.rows);
    assert_eq!(page.total, total, "{at}");
    for (ours, theirs) in page.findings.iter().zip(listed) {
        assert_eq!(ours.key.as_str(), theirs["key"], "{at}");
        assert_eq!(ours.sonar.component.as_deref(), theirs["component"].as_str(), "{at}");
        assert_eq!(ours.line.map(u64::from), theirs["line"].as_u64(), "{at}");
        assert_eq!(ours.state.is_closed(), theirs["status"] == "CLOSED", "{at}");
    }
    match name {
        "server-10.x-recorded-page-past-end.json" => assert_eq!((page.rows, page.total), (0, 8), "{at}"),
        "server-2025-example.json" => {
            let issue = &page.findings[0];
            assert!(Dialect::cloud().lists_it(issue), "{at}");
            assert_eq!((issue.severity, issue.state), (Severity::High, State::Accepted), "{at}");
        }
        "cloud-2022-recorded.json" => {
            let issue = &page.findings[0];
            assert!(!Dialect::cloud().lists_it(issue), "{at}");
            assert_eq!((issue.path.as_deref(), issue.severity), (Some("index.py"), Severity::Medium), "{at}");
        }
        _ => {}
    }
}

fn whole(at: &str, page: &FindingsPage, kind: Kind) {
    assert_eq!((page.unusable, page.findings.len() as u64), (0, page.rows), "{at}");
    for finding in &page.findings {
        assert_eq!(finding.kind, kind, "{at}");
        assert!(!finding.message.is_empty(), "{at}");
        assert!(finding.created_at.is_some() && finding.updated_at.is_some(), "{at}: {finding:?}");
    }
}

fn rule(name: &str, at: &str, bytes: &[u8]) {
    let rule = wire::rule(bytes).unwrap_or_else(|error| panic!("{at}: {error}"));
    assert!(!rule.name.is_empty() && rule.description_html.contains('<'), "{at}");
    match name {
        "defectdojo-rule-object-only.json" => assert_eq!(rule.cwe, [259, 798], "{at}"),
        "defectdojo-rule-object-htmlDesc.json" => assert_eq!(rule.cwe, [563], "{at}"),
        "server-2025-descriptionSections.json" => assert_eq!(rule.language.as_deref(), Some("java"), "{at}"),
        _ => {}
    }
}

/// A payload is signed with the secret that the file beside it states.
fn delivery(at: &str, sample: &Path, bytes: &[u8]) {
    if at.ends_with(".hmac.json") {
        return;
    }
    let beside: Value = serde_json::from_slice(&fs::read(sample.with_extension("hmac.json")).unwrap()).unwrap();
    let secret = Secret::parse(beside["secret"].as_str().unwrap()).unwrap();
    let signature = Signature::parse(beside["hmac_sha256_hex"].as_str().unwrap().as_bytes()).unwrap();
    assert!(signature.verifies(bytes, [&secret].into_iter()), "{at}");
    let header = beside["headers"]["X-SonarQube-Project"].as_str();
    let payload = Payload::parse(bytes, header).unwrap_or_else(|error| panic!("{at}: {error}"));
    assert_eq!(payload.status == TaskStatus::Failed, at.contains("failed-task"), "{at}");
    assert_eq!(matches!(payload.scope, ScopeRef::Named { .. }), expects_a_name(bytes), "{at}");
}

fn expects_a_name(bytes: &[u8]) -> bool {
    let payload: Value = serde_json::from_slice(bytes).unwrap();
    let branch = &payload["branch"];
    branch["name"].is_string() && branch["isMain"] != true
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.into_iter()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}
