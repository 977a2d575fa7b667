//! One finding as a SARIF result.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::digest;
use serde_json::{Map, Value, json};

use super::rules::Met;
use super::{Finding, ROOT, Suppressions, TEXT_CHARACTERS_MAX, cut, filled};
use crate::domain::finding::{Flow, FlowStep, Kind, Severity, State, TextRange};

/// The result. `line` is its line as a number, and how many results of the run with that number there are by now.
pub(super) fn of(finding: &Finding, rule: Met, line: (u64, u32), suppressions: Suppressions) -> Value {
    let mut result = json!({
        "ruleId": rule.id,
        "ruleIndex": rule.index,
        "kind": "fail",
        "level": level(finding.severity),
        "message": { "text": message(finding) },
        "locations": [{ "physicalLocation": place(finding.path, finding.line, finding.range) }],
        "fingerprints": { "sonarIssueKey/v1": finding.key },
        "partialFingerprints": { "primaryLocationLineHash": format!("{:016x}:{}", line.0, line.1) },
        "properties": properties(finding),
    });
    if !finding.cwe.is_empty() {
        result["taxa"] = finding.cwe.iter().map(|&number| super::rules::weakness(number)).collect();
    }
    let flows: Vec<Value> = finding.flows.iter().filter_map(|flow| code_flow(flow, finding.path)).collect();
    if !flows.is_empty() {
        result["codeFlows"] = flows.into();
    }
    if let Some(url) = filled(Some(finding.url)).and_then(uri) {
        result["hostedViewerUri"] = url.into();
    }
    if let Some(suppression) = suppression(finding.state, suppressions) {
        result["suppressions"] = json!([suppression]);
    }
    result
}

/// What makes a line of a branch the same line on another branch, where Sonar's keys differ: rule, file and Sonar's
/// hash of the line. Without one, or a file, the key has to do.
pub(super) fn line(finding: &Finding) -> u64 {
    let mut hash = digest::Context::new(&digest::SHA256);
    let parts = match (filled(finding.line_hash), filled(finding.path)) {
        (Some(line), Some(path)) => ["line", finding.rule.unwrap_or_default(), path, line],
        _ => ["key", finding.key, "", ""],
    };
    for part in parts {
        hash.update(part.as_bytes());
        hash.update(&[0]);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finish().as_ref()[..8]);
    u64::from_be_bytes(first)
}

pub(super) fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "note",
    }
}

/// Sonar's message and, whatever its length, the key.
fn message(finding: &Finding) -> String {
    let key = format!("(Sonar key {})", cut(finding.key, TEXT_CHARACTERS_MAX / 2));
    let message = cut(finding.message.trim(), TEXT_CHARACTERS_MAX - key.chars().count() - 1);
    if message.is_empty() { key } else { format!("{message} {key}") }
}

/// A file and a region of it, of which GitHub wants all four bounds. A finding on the project is at its root.
fn place(path: Option<&str>, line: Option<u32>, range: Option<TextRange>) -> Value {
    json!({
        "artifactLocation": { "uri": path.and_then(path_uri).unwrap_or_else(|| "./".to_owned()), "uriBaseId": ROOT },
        "region": region(line, range),
    })
}

fn region(line: Option<u32>, range: Option<TextRange>) -> Value {
    let line = line.unwrap_or(1).max(1);
    let unknown = TextRange { start_line: line, end_line: line, start_offset: 0, end_offset: 0 };
    let range = range.filter(|range| range.start_line > 0 && range.end_line >= range.start_line).unwrap_or(unknown);
    // Sonar counts columns from 0, and its end is the first one that is not meant, as in SARIF.
    let start_column = range.start_offset.saturating_add(1);
    let end_column = range.end_offset.saturating_add(1);
    let end_column = if range.end_line == range.start_line { end_column.max(start_column) } else { end_column };
    json!({
        "startLine": range.start_line,
        "startColumn": start_column,
        "endLine": range.end_line,
        "endColumn": end_column,
    })
}

fn code_flow(flow: &Flow, own: Option<&str>) -> Option<Value> {
    let steps: Vec<Value> = flow.0.iter().filter_map(|step| flow_location(step, own)).collect();
    (!steps.is_empty()).then(|| json!({ "threadFlows": [{ "locations": steps }] }))
}

fn flow_location(step: &FlowStep, own: Option<&str>) -> Option<Value> {
    let path = step.path.as_deref().or(own)?;
    let mut location = json!({ "physicalLocation": {
        "artifactLocation": { "uri": path_uri(path)?, "uriBaseId": ROOT },
    }});
    if step.range.is_some() {
        location["physicalLocation"]["region"] = region(None, step.range);
    }
    if !step.message.trim().is_empty() {
        location["message"] = json!({ "text": cut(step.message.trim(), TEXT_CHARACTERS_MAX) });
    }
    Some(json!({ "location": location }))
}

fn suppression(state: State, wanted: Suppressions) -> Option<Value> {
    let justification = match (state, wanted) {
        (State::FalsePositive, Suppressions::All | Suppressions::FalsePositives) => "false positive in SonarQube",
        (State::Accepted, Suppressions::All) => "accepted in SonarQube",
        _ => return None,
    };
    Some(json!({ "kind": "external", "status": "accepted", "justification": justification }))
}

/// Sonar's own words, but for those that are told elsewhere and those about people.
fn properties(finding: &Finding) -> Value {
    let mut properties = Map::new();
    let kind = match finding.kind {
        Kind::Vulnerability => "vulnerability",
        Kind::Hotspot => "hotspot",
    };
    for (name, text) in [("hydrophone/id", finding.id), ("hydrophone/kind", kind)] {
        properties.insert(name.to_owned(), text.into());
    }
    properties.insert("hydrophone/state".to_owned(), finding.state.as_str().into());
    properties.insert("hydrophone/severity".to_owned(), finding.severity.as_str().into());
    if let Some(site) = filled(finding.site) {
        properties.insert("hydrophone/site".to_owned(), site.into());
    }
    for name in SONAR_WORDS {
        let value = &finding.sonar[*name];
        let empty = match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(values) => values.is_empty(),
            _ => false,
        };
        if !empty {
            properties.insert(format!("sonar/{name}"), value.clone());
        }
    }
    properties.into()
}

const SONAR_WORDS: &[&str] = &[
    "type",
    "severity",
    "status",
    "resolution",
    "issueStatus",
    "impacts",
    "tags",
    "vulnerabilityProbability",
    "securityCategory",
];

/// A path as a URI below the root. Nothing in it may look like a scheme, a host or a query.
fn path_uri(path: &str) -> Option<String> {
    let path = path.trim_start_matches('/');
    (!path.is_empty()).then(|| utf8_percent_encode(path, PATH).to_string())
}

/// An address without anything that no URI may hold; nothing if it is none.
pub(super) fn uri(text: &str) -> Option<String> {
    (text.starts_with("http://") || text.starts_with("https://"))
        .then(|| utf8_percent_encode(text, ADDRESS).to_string())
}

const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

const ADDRESS: &AsciiSet = &percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
