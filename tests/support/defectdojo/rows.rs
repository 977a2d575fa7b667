//! The file of a Generic Findings Import, read as strictly as DefectDojo reads it: one unknown key refuses it whole, while
//! a value too long for its column breaks the import at its row.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::answer::{Answer, bad_file, internal_error};
use super::finding::{Finding, SEVERITIES};
use super::text::moment;

/// A file taken apart.
pub(super) struct Report {
    /// The name of the Test type it makes.
    pub(super) test_type: String,
    pub(super) rows: Vec<Row>,
}

/// A finding not yet stored, or what breaks when one tries to.
pub(super) struct Row {
    pub(super) finding: Finding,
    pub(super) breaks: bool,
}

impl Report {
    pub(super) fn generic(bytes: &[u8], now: Timestamp) -> Result<Report, Answer> {
        let root = parse(bytes)?;
        // Python calls a method of objects on it.
        let Value::Object(root) = root else { return Err(internal_error()) };
        let test_type = match root.get("type") {
            None => BARE_TYPE.to_owned(),
            Some(Value::String(name)) if name == BARE_TYPE => BARE_TYPE.to_owned(),
            Some(Value::String(name)) => format!("{name} Scan ({BARE_TYPE})"),
            Some(_) => return Err(internal_error()),
        };
        let rows = match root.get("findings") {
            None => Vec::new(),
            Some(Value::Array(rows)) => rows.iter().map(|row| read(row, now)).collect::<Result<_, _>>()?,
            Some(_) => return Err(internal_error()),
        };
        Ok(Report { test_type, rows })
    }
}

pub(super) fn parse(bytes: &[u8]) -> Result<Value, Answer> {
    serde_json::from_slice(bytes).map_err(|error| {
        bad_file(&format!("Expecting value: line {} column {} (char {0})", error.line(), error.column()))
    })
}

/// Severities are checked later, when the Test exists already.
pub(super) fn check_severities(rows: &[Row]) -> Result<(), Answer> {
    match rows.iter().find(|row| !SEVERITIES.contains(&row.finding.severity.as_str())) {
        None => Ok(()),
        Some(row) => Err(bad_file(&format!(
            "Finding severity \"{}\" is not supported. Any of the following are supported: \
             ['Info', 'Low', 'Medium', 'High', 'Critical'].",
            row.finding.severity
        ))),
    }
}

fn read(row: &Value, now: Timestamp) -> Result<Row, Answer> {
    let Value::Object(row) = row else { return Err(internal_error()) };
    for name in ["date", "mitigated"] {
        if let Some(value) = row.get(name) {
            let text = value.as_str().ok_or_else(internal_error)?;
            if moment(text).is_none() {
                return Err(bad_file(&format!("Unknown string format: {text}")));
            }
        }
    }
    let missing: Vec<&str> =
        ["description", "severity", "title"].into_iter().filter(|name| !row.contains_key(*name)).collect();
    if !missing.is_empty() {
        return Err(bad_file(&format!("Required fields are missing: {}", python_list(&missing))));
    }
    let mut unknown: Vec<&str> = row.keys().map(String::as_str).filter(|name| !is_allowed(name)).collect();
    unknown.sort_unstable();
    if !unknown.is_empty() {
        return Err(bad_file(&format!("Not allowed fields are present: {}", python_list(&unknown))));
    }
    let (finding, fits) = fill(row, now);
    Ok(Row { breaks: !fits, finding })
}

/// The finding, and whether every value fits its column.
fn fill(row: &Map<String, Value>, now: Timestamp) -> (Finding, bool) {
    let mut fits = true;
    let mut text = |name: &str, characters_max: usize| match row.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => {
            fits &= text.chars().count() <= characters_max && !text.contains('\0');
            Some(text.clone())
        }
        Some(other) => Some(other.to_string()),
    };
    let mut finding = Finding {
        title: text("title", usize::MAX).unwrap_or_default(),
        severity: text("severity", usize::MAX).unwrap_or_default(),
        description: text("description", usize::MAX).unwrap_or_default(),
        file_path: text("file_path", 4000),
        unique_id: text("unique_id_from_tool", 500),
        vuln_id: text("vuln_id_from_tool", 500),
        service: text("service", 200),
        ..Finding::default()
    };
    for name in OTHER_TEXTS {
        if let Some(value) = text(name, usize::MAX) {
            finding.other.insert((*name).to_owned(), value.into());
        }
    }
    for name in ["title", "severity", "description"] {
        fits &= !row[name].is_null();
    }
    let mut flag = |name: &str, default: bool| match row.get(name) {
        None => default,
        Some(Value::Bool(flag)) => *flag,
        Some(_) => {
            fits = false;
            default
        }
    };
    let status = &mut finding.status;
    // A row that says nothing is active.
    (status.active, status.verified) = (flag("active", true), flag("verified", false));
    (status.false_p, status.out_of_scope) = (flag("false_p", false), flag("out_of_scope", false));
    (status.risk_accepted, status.is_mitigated) = (flag("risk_accepted", false), flag("is_mitigated", false));
    finding.under_review = flag("under_review", false);
    for (name, default) in [("static_finding", false), ("dynamic_finding", true)] {
        finding.other.insert(name.to_owned(), flag(name, default).into());
    }
    let mut number = |name: &str| {
        let value = row.get(name)?;
        let number = value.as_i64().or_else(|| value.as_str()?.parse().ok())?;
        fits &= i32::try_from(number).is_ok();
        Some(number)
    };
    finding.line = number("line");
    finding.cwe = number("cwe").unwrap_or(0);
    if let Some(line) = number("sast_source_line") {
        finding.other.insert("sast_source_line".to_owned(), line.into());
    }
    take_cwes(&mut finding, row.get("cwes"));
    finding.status.mitigated = row.get("mitigated").and_then(Value::as_str).and_then(moment);
    let date = row.get("date").and_then(Value::as_str).and_then(moment).unwrap_or(now);
    finding.date = date.strftime("%Y-%m-%d").to_string();
    finding.tags = row.get("tags").and_then(Value::as_array).into_iter().flatten().map(tag).collect();
    finding.hash_code = finding.hash();
    (finding, fits)
}

/// `[89, 79]` or `["CWE-89"]`: the first is the primary unless `cwe` named one.
fn take_cwes(finding: &mut Finding, cwes: Option<&Value>) {
    let number = |one: &Value| one.as_i64().or_else(|| one.as_str()?.trim_start_matches("CWE-").parse().ok());
    let mut numbers: Vec<i64> = cwes.and_then(Value::as_array).into_iter().flatten().filter_map(number).collect();
    if finding.cwe == 0 {
        finding.cwe = numbers.first().copied().unwrap_or(0);
    } else {
        numbers.retain(|one| *one != finding.cwe);
        numbers.insert(0, finding.cwe);
    }
    finding.cwes = numbers.iter().map(|number| format!("CWE-{number}")).collect();
}

/// Tags of a file lose their blanks instead of being refused.
fn tag(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned).replace(' ', "_")
}

pub(super) fn python_list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    format!("[{}]", quoted.join(", "))
}

fn is_allowed(name: &str) -> bool {
    OTHER_TEXTS.contains(&name) || OTHER_KEYS.contains(&name)
}

pub(super) const BARE_TYPE: &str = "Generic Findings Import";

const OTHER_TEXTS: &[&str] = &[
    "mitigation",
    "impact",
    "steps_to_reproduce",
    "severity_justification",
    "references",
    "param",
    "payload",
    "component_name",
    "component_version",
    "sast_source_object",
    "sast_sink_object",
    "sast_source_file_path",
    "planned_remediation_version",
    "effort_for_fixing",
    "fix_version",
];
const OTHER_KEYS: &[&str] = &[
    "title",
    "severity",
    "description",
    "date",
    "cwe",
    "cwes",
    "cve",
    "epss_score",
    "epss_percentile",
    "cvssv3",
    "cvssv3_score",
    "cvssv4",
    "cvssv4_score",
    "active",
    "verified",
    "false_p",
    "out_of_scope",
    "risk_accepted",
    "under_review",
    "is_mitigated",
    "thread_id",
    "mitigated",
    "numerical_severity",
    "line",
    "file_path",
    "static_finding",
    "dynamic_finding",
    "scanner_confidence",
    "unique_id_from_tool",
    "vuln_id_from_tool",
    "sast_source_line",
    "nb_occurences",
    "publish_date",
    "service",
    "planned_remediation_date",
    "tags",
    "kev_date",
    "known_exploited",
    "ransomware_used",
    "fix_available",
    "endpoints",
    "files",
    "vulnerability_ids",
];
