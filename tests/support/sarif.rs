#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "shared by tests of which none uses all of it")]
//! Judges SARIF: by the official schema of version 2.1.0, and by what GitHub code scanning asks beyond it.

use std::collections::HashMap;
use std::process::Command;
use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::Value;

/// Holds a log to the official schema, its formats of addresses and times among it.
///
/// # Panics
/// If it is not valid.
#[track_caller]
pub fn assert_valid(log: &Value) {
    static SCHEMA: OnceLock<Validator> = OnceLock::new();
    let schema = SCHEMA.get_or_init(|| {
        let validator = jsonschema::options().should_validate_formats(true).build(&schema());
        validator.unwrap_or_else(|error| panic!("the schema cannot be used: {error}"))
    });
    let errors: Vec<String> =
        schema.iter_errors(log).take(5).map(|error| error.to_string().chars().take(400).collect()).collect();
    assert!(errors.is_empty(), "not valid SARIF 2.1.0:\n{}", errors.join("\n"));
}

/// The schema comes with a package that is fetched like every other and never built; cargo knows where it lies.
fn schema() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let package = metadata["packages"].as_array().unwrap().iter().find(|package| package["name"] == "serde-sarif");
    let manifest = package.unwrap()["manifest_path"].as_str().unwrap();
    let schema = std::path::Path::new(manifest).with_file_name("src").join("schema.json");
    // The pattern for languages has a bracket too many, which strict readers of patterns refuse. We name no language.
    let text = std::fs::read_to_string(schema).unwrap().replace("{2}]?$", "{2}$");
    serde_json::from_str(&text).unwrap()
}

/// Holds a log to what GitHub documents: required members, limits, no empty text, and results that it can tell apart.
///
/// # Panics
/// If GitHub would refuse it or take two results for one.
#[track_caller]
pub fn assert_fit_for_github(log: &Value) {
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].is_string());
    assert_no_empty_text("$", log);
    let runs = log["runs"].as_array().unwrap();
    assert!(runs.len() <= 20);
    for run in runs {
        assert!(run["automationDetails"]["id"].as_str().unwrap().ends_with('/'));
        let driver = &run["tool"]["driver"];
        assert!(driver["name"].is_string());
        let rules = driver["rules"].as_array().unwrap();
        let results = run["results"].as_array().unwrap();
        assert!(rules.len() <= 25_000 && results.len() <= 25_000);
        rules.iter().for_each(assert_rule);
        let mut ids: Vec<_> = rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        assert!(ids.windows(2).all(|two| two[0] != two[1]), "{ids:?}");
        let mut told = HashMap::new();
        for result in results {
            assert_result(result, rules);
            let uri = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
            let line = &result["partialFingerprints"]["primaryLocationLineHash"];
            let place = (result["ruleId"].to_string(), uri.to_string(), line.to_string());
            if let Some(other) = told.insert(place, result) {
                panic!("GitHub takes these for one:\n{other}\n{result}");
            }
        }
    }
}

fn assert_rule(rule: &Value) {
    for text in ["shortDescription", "fullDescription"] {
        let text = rule[text]["text"].as_str().unwrap();
        assert!(text.chars().count() <= 1024, "{text}");
    }
    assert!(rule["help"]["text"].is_string() && rule["id"].is_string(), "{rule}");
    let tags = rule["properties"]["tags"].as_array().unwrap();
    assert!(tags.contains(&"security".into()) && tags.len() <= 10, "{tags:?}");
    let score: f64 = rule["properties"]["security-severity"].as_str().unwrap().parse().unwrap();
    assert!((0.0..=10.0).contains(&score), "{rule}");
}

fn assert_result(result: &Value, rules: &[Value]) {
    let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
    assert_eq!(rules[index]["id"], result["ruleId"]);
    assert!(result["message"]["text"].as_str().unwrap().chars().count() <= 1024, "{result}");
    let locations = result["locations"].as_array().unwrap();
    assert_eq!(locations.len(), 1, "{result}");
    let place = &locations[0]["physicalLocation"];
    let uri = place["artifactLocation"]["uri"].as_str().unwrap();
    assert!(!uri.starts_with('/') && !uri.contains([' ', '#', '?', ':']) && uri.is_ascii(), "{uri}");
    let region =
        ["startLine", "startColumn", "endLine", "endColumn"].map(|name| place["region"][name].as_u64().unwrap());
    assert!(region.iter().all(|&number| number > 0), "{result}");
    assert!((region[0], region[1]) <= (region[2], region[3]), "{result}");
}

fn assert_no_empty_text(at: &str, value: &Value) {
    match value {
        Value::String(text) => assert!(!text.is_empty(), "{at} is empty"),
        Value::Array(values) => values.iter().for_each(|value| assert_no_empty_text(at, value)),
        Value::Object(members) => {
            for (name, value) in members {
                assert!(!name.is_empty() && !value.is_null(), "{at}.{name}");
                assert_no_empty_text(&format!("{at}.{name}"), value);
            }
        }
        _ => {}
    }
}
