//! The forms that DefectDojo's API sends and takes.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::status::Flags;

/// A page of a list. Everything else of it means nothing here.
#[derive(Debug, Deserialize)]
pub(super) struct Page<T> {
    pub(super) results: Vec<T>,
    pub(super) next: Option<String>,
    #[serde(default)]
    pub(super) count: u64,
}

/// Anything that has a number.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Numbered {
    pub(super) id: u64,
}

/// A product, a product type or an engagement.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Named {
    pub(super) id: u64,
    pub(super) name: String,
    #[serde(default)]
    pub(super) authorized_users: Vec<Value>,
}

/// A Test: the place of one scope's findings.
#[allow(clippy::struct_field_names, reason = "the names are DefectDojo's")]
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Test {
    pub(super) id: u64,
    pub(super) title: Option<String>,
    #[serde(default)]
    pub(super) test_type_name: String,
    pub(super) test_type: u64,
    pub(super) scan_type: Option<String>,
    /// Absent before 2026-07.
    pub(super) deduplication_algorithm: Option<String>,
}

/// What a reimport answers.
#[derive(Debug, Deserialize)]
pub(super) struct Imported {
    pub(super) test: u64,
    #[serde(default)]
    pub(super) statistics: Statistics,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Statistics {
    delta: Option<Delta>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delta {
    created: Counts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    total: Total,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Total {
    total: u64,
}

impl Statistics {
    /// How many findings an import made, where it says so.
    pub(super) fn created(&self) -> Option<u64> {
        self.delta.as_ref().map(|delta| delta.created.total.total)
    }
}

/// One import that came to its end.
#[derive(Debug, Deserialize)]
pub(super) struct TestImport {
    pub(super) build_id: Option<String>,
}

/// A finding of a list.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    pub(super) id: u64,
    pub(super) unique_id_from_tool: Option<String>,
    #[serde(flatten)]
    pub(super) flags: Flags,
    pub(super) mitigated_by: Option<Value>,
    pub(super) last_status_update: Option<String>,
    #[serde(default)]
    pub(super) accepted_risks: Vec<AcceptedRisk>,
    pub(super) title: Option<String>,
    pub(super) severity: Option<String>,
    pub(super) description: Option<String>,
    pub(super) cwe: Option<i64>,
    pub(super) file_path: Option<String>,
    pub(super) line: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AcceptedRisk {
    pub(super) name: Option<String>,
}

impl Row {
    /// The fields that follow Sonar.
    pub(super) fn visible(&self) -> Map<String, Value> {
        super::status::fields(serde_json::json!({
            "title": self.title, "severity": self.severity, "description": self.description,
            "cwe": self.cwe.unwrap_or(0), "file_path": self.file_path, "line": self.line,
        }))
    }
}

/// The id of an object that may be written as a number or as an object with one.
pub(super) fn id(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.get("id")?.as_u64())
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Profile {
    pub(super) user: User,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct User {
    pub(super) id: u64,
    pub(super) username: String,
    #[serde(default)]
    pub(super) is_staff: bool,
    #[serde(default)]
    pub(super) is_superuser: bool,
}

/// Of the schema only this: it is large.
#[derive(Debug, Deserialize)]
pub(super) struct Schema {
    pub(super) info: Info,
}

#[derive(Debug, Deserialize)]
pub(super) struct Info {
    #[serde(default)]
    pub(super) title: String,
    pub(super) version: String,
}

/// What a body says that is no success, out of the five shapes that DefectDojo has for it.
pub(super) fn complaint(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let text = match &value {
        Value::String(text) => text.clone(),
        Value::Array(all) => texts(all),
        Value::Object(fields) => {
            let named = fields.iter().filter(|(name, _)| *name != "message" && *name != "pro");
            let named: Vec<String> =
                named.filter_map(|(name, value)| Some(format!("{name}: {}", texts(value.as_array()?)))).collect();
            match (fields.get("detail"), fields.get("message")) {
                (Some(Value::String(text)), _) => text.clone(),
                _ if !named.is_empty() => named.join("; "),
                (_, Some(Value::String(text))) => text.clone(),
                _ => return None,
            }
        }
        _ => return None,
    };
    let plain: String = text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let plain = plain.trim().to_owned();
    (!plain.is_empty()).then_some(plain)
}

fn texts(all: &[Value]) -> String {
    let text = |one: &Value| one.as_str().map_or_else(|| one.to_string(), str::to_owned);
    all.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Whatever the answer is to. See [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(body: &[u8]) {
    let complaint = complaint(body);
    assert!(complaint.is_none_or(|text| text.chars().count() <= 300 && !text.contains(char::is_control)));
    for row in serde_json::from_slice::<Page<Row>>(body).map(|page| page.results).unwrap_or_default() {
        drop(row.visible());
        let _ = row.mitigated_by.as_ref().and_then(id);
        let _ = super::status::Status::of(row.flags, false);
    }
    let _ = serde_json::from_slice::<Imported>(body).map(|imported| imported.statistics.created());
    drop(serde_json::from_slice::<Page<Named>>(body));
    drop(serde_json::from_slice::<Page<Test>>(body));
    drop(serde_json::from_slice::<Page<TestImport>>(body));
    drop(serde_json::from_slice::<Profile>(body));
    drop(serde_json::from_slice::<Schema>(body));
}

/// A form with a file of findings in it. The boundary is random, so that no value can hold it.
pub(super) fn form(fields: &[(&str, String)], findings: &[Value], boundary: &str) -> Vec<u8> {
    let mut body = String::new();
    for (name, value) in fields {
        // Writing to a text cannot fail.
        let _ = write!(body, "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    let _ = write!(
        body,
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"findings.json\"\r\n\
         Content-Type: application/json\r\n\r\n"
    );
    let mut body = body.into_bytes();
    let file = serde_json::json!({ "type": TYPE, "findings": findings });
    body.extend_from_slice(file.to_string().as_bytes());
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    body
}

/// Never to be changed: a Test takes no file of another type.
const TYPE: &str = "Hydrophone";

/// What DefectDojo makes of [`TYPE`].
pub(super) const TEST_TYPE: &str = "Hydrophone Scan (Generic Findings Import)";

/// The parser of our files.
pub(super) const SCAN_TYPE: &str = "Generic Findings Import";

/// What a Test is told to be so that its findings go by Sonar's key alone: DefectDojo looks an algorithm up by the name
/// of the test type first, and ours is in no table.
pub(super) const SWITCHED: &str = "SonarQube Scan detailed";

/// What it reports then.
pub(super) const BY_KEY: &str = "unique_id_from_tool";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_complaint_is_read() {
        let said = |body: &str| complaint(body.as_bytes());
        assert_eq!(said(r#"{"detail":"Invalid token."}"#).as_deref(), Some("Invalid token."));
        assert_eq!(said(r#"{"severity":["No."],"message":"m","pro":["p"]}"#).as_deref(), Some("severity: No."));
        assert_eq!(said(r#"{"message":"['No']","pro":[]}"#).as_deref(), Some("['No']"));
        assert_eq!(said(r#"["Test \"224\" does not exist"]"#).as_deref(), Some("Test \"224\" does not exist"));
        assert_eq!(said(r#""No.""#).as_deref(), Some("No."));
        assert_eq!(said("<html>"), None);
        assert_eq!(said("{}"), None);
    }

    #[test]
    fn a_form_ends_with_its_file() {
        let body = String::from_utf8(form(&[("test", "7".to_owned())], &[], "b")).unwrap();
        let file = body.strip_prefix(
            "--b\r\nContent-Disposition: form-data; name=\"test\"\r\n\r\n7\r\n--b\r\nContent-Disposition: form-data; \
             name=\"file\"; filename=\"findings.json\"\r\nContent-Type: application/json\r\n\r\n",
        );
        let file = file.and_then(|file| file.strip_suffix("\r\n--b--\r\n")).unwrap();
        let file: serde_json::Value = serde_json::from_str(file).unwrap();
        assert_eq!(file, serde_json::json!({ "findings": [], "type": "Hydrophone" }));
    }

    #[test]
    fn an_answer_says_how_many_findings_it_made() {
        let of = |text: &str| serde_json::from_str::<Imported>(text).unwrap().statistics.created();
        assert_eq!(of(r#"{"test":1,"statistics":{"delta":{"created":{"total":{"total":8}}},"after":{}}}"#), Some(8));
        assert_eq!(of(r#"{"test":1,"statistics":{"after":{}}}"#), None);
    }
}
