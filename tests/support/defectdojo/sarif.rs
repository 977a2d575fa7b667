//! The file of a SARIF import, as far as a gateway's own files go: one finding for each location, severities by rule,
//! the first fingerprint as unique id.

use jiff::Timestamp;
use serde_json::Value;

use super::answer::{Answer, bad_file, internal_error};
use super::finding::Finding;
use super::rows::{Report, Row, parse};

impl Report {
    pub(super) fn sarif(bytes: &[u8], now: Timestamp) -> Result<Report, Answer> {
        let root = parse(bytes)?;
        if !root.is_object() {
            return Err(internal_error());
        }
        let runs = root["runs"].as_array().map_or(&[][..], Vec::as_slice);
        // Only the first run decides, and without one the type is the bare one.
        let driver = runs.first().and_then(|run| run["tool"]["driver"]["name"].as_str());
        let test_type = driver.map_or("SARIF".to_owned(), |name| format!("{name} Scan (SARIF)"));
        let mut rows = Vec::new();
        for run in runs {
            for result in run["results"].as_array().into_iter().flatten() {
                let unique_id = unique_id(result)?;
                let locations = result["locations"].as_array().filter(|all| !all.is_empty());
                let none = [Value::Null];
                for location in locations.map_or(&none[..], Vec::as_slice) {
                    rows.push(row(run, result, location, unique_id.clone(), now));
                }
            }
        }
        Ok(Report { test_type, rows })
    }
}

fn row(run: &Value, result: &Value, location: &Value, unique_id: Option<String>, now: Timestamp) -> Row {
    let rule_id = result["ruleId"].as_str();
    let rules = run["tool"]["driver"]["rules"].as_array();
    let rule = rules.into_iter().flatten().find(|rule| rule["id"].as_str() == rule_id);
    let message = result["message"]["text"].as_str().unwrap_or_default();
    let place = &location["physicalLocation"];
    let mut finding = Finding {
        title: message.chars().take(150).collect(),
        severity: severity(result, rule).to_owned(),
        description: format!("**Result message:** {message}\n"),
        file_path: place["artifactLocation"]["uri"].as_str().map(str::to_owned),
        line: place["region"]["startLine"].as_i64(),
        unique_id,
        vuln_id: rule_id.map(str::to_owned),
        date: now.strftime("%Y-%m-%d").to_string(),
        ..Finding::default()
    };
    // Whatever their kind or status.
    let suppressed = result["suppressions"].as_array().is_some_and(|all| !all.is_empty());
    (finding.status.active, finding.status.false_p) = (!suppressed, suppressed);
    finding.hash_code = finding.hash();
    Row { finding, breaks: false }
}

/// A rule's number or word first, the result's level then.
fn severity(result: &Value, rule: Option<&Value>) -> &'static str {
    let stated = rule.map(|rule| &rule["properties"]["security-severity"]).filter(|one| !one.is_null());
    let stated = stated.map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned));
    if let Some(stated) = stated {
        if let Some(word) = super::finding::SEVERITIES.into_iter().find(|word| *word == stated) {
            return word;
        }
        match stated.parse::<f64>() {
            Ok(number) if number >= 9.0 => return "Critical",
            Ok(number) if number >= 7.0 => return "High",
            Ok(number) if number >= 4.0 => return "Medium",
            Ok(number) if number > 0.0 => return "Low",
            Ok(_) => return "Info",
            Err(_) => {}
        }
    }
    match result["level"].as_str() {
        Some("note") => "Info",
        Some("error") => "High",
        _ => "Medium",
    }
}

/// The first fingerprint's value, or all partial ones. A name may end in `/v` and a number, or have no slash.
fn unique_id(result: &Value) -> Result<Option<String>, Answer> {
    let Some(prints) = result["fingerprints"].as_object().filter(|prints| !prints.is_empty()) else {
        let partial = result["partialFingerprints"].as_object().filter(|prints| !prints.is_empty());
        let pairs = |prints: &serde_json::Map<String, Value>| {
            let pairs: Vec<_> = prints.iter().map(|(n, v)| format!("{n}:{}", v.as_str().unwrap_or_default())).collect();
            pairs.join("|")
        };
        return Ok(partial.map(pairs));
    };
    for name in prints.keys() {
        if let Some((_, version)) = name.rsplit_once('/') {
            let number = version.strip_prefix('v').unwrap_or(version);
            if number.parse::<u32>().is_err() {
                return Err(bad_file(&format!("invalid literal for int() with base 10: '{number}'")));
            }
        }
    }
    Ok(prints.values().next().and_then(Value::as_str).map(str::to_owned))
}
