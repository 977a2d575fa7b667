//! The JSON of what is done with many findings, and of how many there were.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// `POST /api/v1/findings/triage`: one decision about up to 100 findings.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TriageBatch {
    /// Their numbers.
    pub ids: Vec<String>,
    /// `open`, `confirmed`, `accepted`, `false_positive`.
    pub state: String,
    /// Why.
    pub comment: String,
}

/// What became of a decision about many findings, in the order in which they were named.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TriageOutcomes {
    /// One for each finding.
    pub outcomes: Vec<TriageOutcome>,
}

/// What became of a decision about one of many findings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TriageOutcome {
    /// The finding.
    pub id: String,
    /// `decided`: Sonar was told, and its branch is read; `unchanged`: it was in that state; `refused`; `not_tried`, as
    /// Sonar could not be asked.
    pub outcome: String,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Numbers by severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BySeverity {
    /// How many are critical.
    pub critical: u64,
    /// How many are high.
    pub high: u64,
    /// How many are medium.
    pub medium: u64,
    /// How many are low.
    pub low: u64,
    /// How many are info.
    pub info: u64,
}

impl BySeverity {
    /// All together.
    pub fn sum(&self) -> u64 {
        self.values().iter().sum()
    }

    /// Worst first.
    pub fn values(&self) -> [u64; 5] {
        [self.critical, self.high, self.medium, self.low, self.info]
    }
}

impl From<[u64; 5]> for BySeverity {
    fn from([critical, high, medium, low, info]: [u64; 5]) -> Self {
        Self { critical, high, medium, low, info }
    }
}

/// `GET /api/v1/trend?days=`: how many findings there were on each day, oldest first, as far as anything was held. Counted
/// is what lists show without a filter.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Trend {
    /// The days, in UTC; the last is today.
    pub days: Vec<TrendDay>,
}

/// One day of the trend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrendDay {
    /// Such as `2026-11-19`.
    pub day: String,
    /// Findings that were not closed at its end.
    pub open: BySeverity,
    /// Opened on it, and back after being closed; without what the first read of a branch found.
    pub opened: BySeverity,
    /// Fixed on it.
    pub fixed: BySeverity,
}

/// The names of the columns of a finding in CSV.
pub fn columns() -> impl Iterator<Item = &'static str> {
    let theirs = SONAR_FIELDS.iter().map(|(column, _)| *column);
    FIELDS.iter().copied().chain(theirs).chain(LATER_FIELDS.iter().copied())
}

/// The cells of a finding in CSV.
pub fn cells(finding: &Value) -> impl Iterator<Item = String> {
    let ours = FIELDS.iter().map(|field| &finding[*field]);
    let theirs = SONAR_FIELDS.iter().map(|(_, names)| first_of(&finding["sonar"], names));
    ours.chain(theirs).chain(LATER_FIELDS.iter().map(|field| &finding[*field])).map(|value| guarded(text_of(value)))
}

fn first_of<'a>(sonar: &'a Value, names: &[&str]) -> &'a Value {
    names.iter().map(|name| &sonar[*name]).find(|value| !value.is_null()).unwrap_or(&Value::Null)
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(text_of).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// A spreadsheet takes a cell that begins like this for a formula, and the text of a finding comes from outside.
fn guarded(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
}

/// The columns of a finding's own fields, in the order of the API's shape.
const FIELDS: &[&str] = &[
    "id",
    "key",
    "source",
    "organization",
    "project",
    "branch",
    "asset",
    "kind",
    "rule",
    "title",
    "message",
    "severity",
    "state",
    "path",
    "line",
    "cwe",
    "url",
    "created_at",
    "updated_at",
    "closed_at",
    "first_seen_at",
    "last_seen_at",
    "retired",
    "filtered",
];

/// The columns of Sonar's own words, and how they may be spelt.
const SONAR_FIELDS: &[(&str, &[&str])] = &[
    ("sonar_type", &["type"]),
    ("sonar_severity", &["severity"]),
    ("sonar_status", &["status"]),
    ("sonar_resolution", &["resolution"]),
    ("sonar_issue_status", &["issue_status", "issueStatus"]),
];

/// Columns of its own fields that came later: at the end, so that whoever counts columns finds the others where they were.
const LATER_FIELDS: &[&str] = &["site"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_that_a_spreadsheet_would_run_are_guarded() {
        for text in ["=1", "+1", "-1", "@x", "\tx", "\rx"] {
            assert_eq!(guarded(text.to_owned()), format!("'{text}"));
        }
        for text in ["", "a=1", "1-1", "'=1"] {
            assert_eq!(guarded(text.to_owned()), text);
        }
    }

    proptest::proptest! {
        /// Whatever stands in a finding: a row of a file reads back as it was written, and no cell of it is a formula.
        #[test]
        fn a_row_reads_back_as_it_was_written_and_no_cell_runs(
            message in proptest::collection::vec(proptest::char::any(), 0..40),
            path in proptest::option::of(proptest::sample::select(&["=1+1", "+x", "-x", "@x", "\tx", "a,b\"c\nd", "x"][..])),
        ) {
            let finding = serde_json::json!({ "message": String::from_iter(message), "path": path, "cwe": [1, 2] });
            let row: Vec<String> = cells(&finding).collect();
            let mut file = csv::Writer::from_writer(Vec::new());
            file.write_record(columns()).unwrap();
            file.write_record(&row).unwrap();
            let bytes = file.into_inner().unwrap();
            let back = csv::Reader::from_reader(&bytes[..]).records().next().unwrap().unwrap();
            proptest::prop_assert_eq!(back.iter().collect::<Vec<_>>(), row.iter().map(String::as_str).collect::<Vec<_>>());
            proptest::prop_assert!(!back.iter().any(|cell| cell.starts_with(['=', '+', '-', '@', '\t', '\r'])));
        }
    }
}
