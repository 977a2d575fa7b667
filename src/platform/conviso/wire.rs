//! What is said to Conviso and what it answers, as plain values.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::schema::Members;
use crate::domain::finding::Severity;
use crate::domain::message::{Message, Place};
use crate::domain::time::Timestamp;

/// An answer of a GraphQL server.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "Value")]
pub(super) struct Reply {
    /// What was asked for, as far as it is there.
    pub(super) data: Option<Value>,
    /// Whether the request was begun: `data` is there then, though it may be null.
    pub(super) begun: bool,
    /// What went wrong.
    pub(super) errors: Vec<Failure>,
}

impl From<Value> for Reply {
    fn from(mut value: Value) -> Self {
        let errors = match value.get_mut("errors").map(Value::take) {
            Some(Value::Array(all)) => all.into_iter().map(Failure::from).collect(),
            // Some servers write null where nothing went wrong.
            _ => Vec::new(),
        };
        let data = value.get_mut("data").map(Value::take);
        Self { begun: data.is_some(), data: data.filter(|data| !data.is_null()), errors }
    }
}

/// One entry of `errors`. Some of Conviso's are mere texts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Value")]
pub(super) struct Failure {
    /// In words.
    pub(super) message: String,
    /// `extensions.code`, in capitals.
    pub(super) code: String,
}

impl From<Value> for Failure {
    fn from(value: Value) -> Self {
        let message = value.as_str().or_else(|| value["message"].as_str()).or_else(|| value["msg"].as_str());
        let code = value["extensions"]["code"].as_str().or_else(|| value["code"].as_str()).unwrap_or_default();
        Self { message: sentence(message.unwrap_or("no reason is told")), code: code.to_ascii_uppercase() }
    }
}

/// An issue as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Issue {
    /// Conviso's id.
    pub(super) id: String,
    /// Sonar's key.
    pub(super) key: Option<String>,
    /// Its status.
    pub(super) status: String,
    /// What it may become; nothing where the server does not say.
    pub(super) permitted: Option<Vec<String>>,
    /// When it was made.
    pub(super) created_at: Option<Timestamp>,
    /// When it was last changed.
    pub(super) updated_at: Option<Timestamp>,
    /// Why it has its status.
    pub(super) reason: Option<String>,
}

impl Issue {
    /// Reads one; nothing where it has no id or status.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let time = |of: &Value| Timestamp::parse(of.as_str()?).ok();
        let text = |of: &Value| of.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let history = value["statusHistory"].as_array();
        let newest = history.into_iter().flatten().max_by_key(|entry| time(&entry["createdAt"]));
        let permitted = value["permittedStatus"].as_array();
        Some(Self {
            id: id(&value["id"])?,
            key: text(&value["originalIssueIdFromTool"]),
            status: text(&value["status"])?,
            permitted: permitted.map(|all| all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()),
            created_at: time(&value["createdAt"]),
            updated_at: time(&value["updatedAt"]),
            reason: newest.and_then(|entry| text(&entry["reason"])),
        })
    }
}

/// An id, which Conviso writes as a text or as a number.
pub(super) fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if (1..=ID_BYTES_MAX).contains(&text.len()) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Ids are kept for every finding. Conviso's own are numbers.
const ID_BYTES_MAX: usize = 200;

/// An id as it is sent: a number where it is one. Some of Conviso's inputs take `Int`, others `ID`; a number is right
/// for both.
pub(super) fn id_value(id: &str) -> Value {
    id.parse::<i32>().map_or_else(|_| Value::from(id), Value::from)
}

/// Whether a finding is a secret in code.
pub(super) fn is_secret(message: &Message) -> bool {
    message.finding.observed.rule.as_ref().is_some_and(|rule| rule.as_str().starts_with("secrets:"))
}

/// Conviso's word for a severity.
pub(super) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "CRITICAL",
        Severity::High => "HIGH",
        Severity::Medium => "MEDIUM",
        Severity::Low => "LOW",
        Severity::Info => "NOTIFICATION",
    }
}

/// Where a finding is told to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Address<'a> {
    /// The asset's id.
    pub(super) asset: &'a str,
    /// The branch, where the asset has a repository.
    pub(super) branch: Option<&'a str>,
    /// The sync that it is part of.
    pub(super) sync: Option<&'a str>,
}

/// A finding as an input with these members. What the server does not know is left out; what it insists on and Sonar
/// does not say is empty.
pub(super) fn finding(place: &Place, message: &Message, to: Address<'_>, members: &Members) -> Value {
    let observed = &message.finding.observed;
    let cwe: Vec<String> = message.rule.cwe.iter().map(|number| format!("CWE-{number}")).collect();
    let category = if cwe.is_empty() { observed.sonar.security_category.clone() } else { Some(cwe.join(", ")) };
    let given = [
        ("assetId", Some(id_value(to.asset))),
        ("title", Some(Value::from(cut(message.title(), TITLE_CHARS_MAX)))),
        ("description", Some(Value::from(description(place, message)))),
        ("solution", Some(Value::from(solution(message)))),
        ("severity", Some(Value::from(severity(observed.severity)))),
        ("category", category.map(Value::from)),
        ("reference", Some(Value::from(message.url.as_str()))),
        ("fileName", observed.path.as_deref().map(Value::from)),
        ("vulnerableLine", observed.line.map(Value::from)),
        ("firstLine", observed.line.map(Value::from)),
        ("originalIssueIdFromTool", Some(Value::from(observed.key.as_str()))),
        ("branch", to.branch.map(Value::from)),
        ("controlSyncStatusId", to.sync.map(id_value)),
    ];
    let mut input = Map::new();
    for (name, value) in given {
        if let (Some(value), true) = (value, members.contains_key(name)) {
            input.insert(name.to_owned(), value);
        }
    }
    for (name, member) in members {
        if member.required && !input.contains_key(name) {
            let empty = match member.of.as_str() {
                "String" => json!(""),
                "Int" => json!(1),
                "Boolean" => json!(false),
                _ => continue,
            };
            input.insert(name.clone(), empty);
        }
    }
    Value::Object(input)
}

fn description(place: &Place, message: &Message) -> String {
    let observed = &message.finding.observed;
    let rule = observed.rule.as_ref().map_or("unknown", |rule| rule.as_str());
    let site = place.site.as_ref().map(|site| format!(", site {site}")).unwrap_or_default();
    let (said, project, branch) = (&observed.message, &place.project, &place.branch);
    let text = format!("{said}\n\nRule {rule}, project {project}, {branch}{site}\n{}", message.url);
    cut(&text, TEXT_CHARS_MAX)
}

fn solution(message: &Message) -> String {
    let text = message.rule.description.as_deref().map(plain).unwrap_or_default();
    if text.is_empty() { format!("See {}", message.url) } else { cut(&text, TEXT_CHARS_MAX) }
}

/// The text of a piece of HTML: without tags, its entities resolved, no line empty twice.
fn plain(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        text.push_str(&rest[..open]);
        let Some(close) = rest[open..].find('>') else {
            rest = &rest[open..];
            break;
        };
        let tag = rest[open + 1..open + close].to_ascii_lowercase();
        // One line break an item is enough.
        let tag = if tag.starts_with("/li") { "" } else { tag.trim_start_matches('/') };
        let name = tag.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        if matches!(name, "p" | "br" | "li" | "ul" | "ol" | "pre" | "div" | "h1" | "h2" | "h3" | "h4" | "tr") {
            text.push('\n');
        }
        rest = &rest[open + close + 1..];
    }
    text.push_str(rest);
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")];
    for (entity, character) in entities {
        text = text.replace(entity, character);
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let mut kept: Vec<&str> = Vec::new();
    for line in lines {
        if !line.is_empty() || kept.last().is_some_and(|last| !last.is_empty()) {
            kept.push(line);
        }
    }
    kept.join("\n").trim().to_owned()
}

/// A server's words as a part of one of our sentences: one line, not long, without a full stop.
pub(super) fn sentence(text: &str) -> String {
    let line: String = text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim().trim_end_matches('.').to_owned()
}

fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Longer titles are cut. The platform's limit is not known; this is what a database column commonly takes.
const TITLE_CHARS_MAX: usize = 250;
/// Longer descriptions are cut, so that a batch of fifty stays below a megabyte.
const TEXT_CHARS_MAX: usize = 8_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_in_three_forms() {
        let text = r#"{"errors":["plain.",{"message":"no","extensions":{"code":"record_not_unique"}},{"msg":"x"}]}"#;
        let reply: Reply = serde_json::from_str(text).expect("an answer");
        let failure = |message: &str, code: &str| Failure { message: message.into(), code: code.into() };
        let errors = vec![failure("plain", ""), failure("no", "RECORD_NOT_UNIQUE"), failure("x", "")];
        assert_eq!(reply, Reply { data: None, begun: false, errors });
        let null: Reply = serde_json::from_str(r#"{"data":null,"errors":null}"#).expect("an answer");
        assert_eq!(null, Reply { data: None, begun: true, errors: Vec::new() });
    }

    #[test]
    fn an_issue_is_read_with_its_newest_reason() {
        let value = json!({"id": 7, "status": "IDENTIFIED", "originalIssueIdFromTool": "AX", "permittedStatus": ["X"],
            "updatedAt": "2026-01-02T00:00:00Z", "statusHistory": [
                {"status": "IDENTIFIED", "createdAt": "2026-01-02T00:00:00Z", "reason": "new"},
                {"status": "CREATED", "createdAt": "2026-01-01T00:00:00Z", "reason": "old"}]});
        let issue = Issue::read(&value).expect("an issue");
        assert_eq!((issue.id.as_str(), issue.key.as_deref(), issue.reason.as_deref()), ("7", Some("AX"), Some("new")));
        assert_eq!(issue.permitted, Some(vec!["X".to_owned()]));
        assert_eq!(Issue::read(&json!({"id": "7"})), None);
        let bare = Issue::read(&json!({"id": "7", "status": "CREATED"})).expect("an issue");
        assert_eq!((bare.permitted, bare.key), (None, None));
    }

    #[test]
    fn ids_are_numbers_where_they_are_numbers() {
        assert_eq!(id_value("12"), json!(12));
        assert_eq!(id_value("a12"), json!("a12"));
        assert_eq!(id_value("99999999999"), json!("99999999999"));
    }

    #[test]
    fn html_becomes_text() {
        let html = "<h2>Why</h2>\n<p>a &lt; b &amp;&amp; c</p>\n\n\n<ul><li>one</li><li>two</li></ul>";
        assert_eq!(plain(html), "Why\n\na < b && c\n\none\ntwo");
        assert_eq!(plain("x < y"), "x < y");
        assert_eq!(plain("&amp;lt;"), "&lt;");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("äöü", 2), "äö…");
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(sentence("a\nb.\n"), "a b");
    }
}
