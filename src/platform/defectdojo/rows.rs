//! What a finding looks like in DefectDojo: the rows of a file, and the fields that follow Sonar afterwards. Every value
//! is made to fit its column: one that does not breaks the whole import off in its middle.

use ring::digest::{Context, SHA256};
use serde_json::{Map, Value, json};

use super::status::{Status, fields};
use crate::domain::finding::{Digest, Kind, Severity};
use crate::domain::ids::ScopeKind;
use crate::domain::message::{Birth, Message, Place};
use crate::domain::time::Timestamp;

/// What a finding looks like at first: the five values that DefectDojo hashes. A row carries them for ever.
pub(super) fn birth(place: &Place, message: &Message) -> Birth {
    let observed = &message.finding.observed;
    Birth {
        title: title(message),
        cwe: message.rule.cwe.first().copied().filter(|cwe| *cwe <= NUMBER_MAX),
        path: observed.path.as_deref().map(|path| fit(path, PATH_MAX)).filter(|path| !path.is_empty()),
        line: observed.line.filter(|line| *line <= NUMBER_MAX),
        description: description(place, message),
    }
}

fn title(message: &Message) -> String {
    let title = fit(message.title(), TITLE_MAX);
    if title.is_empty() { "SonarQube finding".to_owned() } else { title }
}

/// Sonar's key and the branch's page in it make equal findings of two branches differ, wherever hashes are compared.
fn description(place: &Place, message: &Message) -> String {
    let observed = &message.finding.observed;
    let kind = match observed.kind {
        Kind::Vulnerability => "issue",
        Kind::Hotspot => "security hotspot",
    };
    let branch = match place.scope_kind {
        ScopeKind::Branch => "branch",
        ScopeKind::PullRequest => "pull request",
    };
    let text = prose(&observed.message, PROSE_MAX);
    let rule = observed.rule.as_ref().map(|rule| format!("\nRule {}", line(rule.as_str()))).unwrap_or_default();
    let page = if message.url.is_empty() { String::new() } else { format!("\n{}", line(&message.url)) };
    let (key, project) = (line(observed.key.as_str()), line(place.project.as_str()));
    format!("{text}\n\nSonarQube {kind} {key} of {project}, {branch} {}{rule}{page}", line(place.branch.as_str()))
        .trim()
        .to_owned()
}

pub(super) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "Critical",
        Severity::High => "High",
        Severity::Medium => "Medium",
        Severity::Low => "Low",
        Severity::Info => "Info",
    }
}

/// A row that tells a finding's status. `key` is the one that DefectDojo knows it by.
pub(super) fn row(
    (place, message): (&Place, &Message),
    birth: &Birth,
    key: &str,
    status: Status,
    verified_always: bool,
) -> Value {
    let observed = &message.finding.observed;
    let flags = status.flags(verified_always);
    let mut row = fields(json!({
        "title": birth.title,
        "severity": severity(observed.severity),
        "description": birth.description,
        "unique_id_from_tool": fit(key, KEY_MAX),
        "static_finding": true,
        "dynamic_finding": false,
        "active": flags.active,
        "verified": flags.verified,
        "false_p": flags.false_p,
        "out_of_scope": flags.out_of_scope,
        "risk_accepted": flags.risk_accepted,
        "is_mitigated": flags.is_mitigated,
    }));
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            row.insert(name.to_owned(), value);
        }
    };
    add("cwe", birth.cwe.map(Value::from));
    add("file_path", birth.path.as_deref().map(Value::from));
    add("line", birth.line.map(Value::from));
    add("vuln_id_from_tool", observed.rule.as_ref().map(|rule| fit(rule.as_str(), KEY_MAX).into()));
    add("date", observed.created_at.and_then(day).map(Value::from));
    // Tags of rows are read at birth only.
    add("tags", place.site.as_ref().map(|site| json!([format!("site:{site}")])));
    if status == Status::Mitigated {
        let at = observed.closed_at.or(message.finding.closed_at);
        add("mitigated", at.map(|at| at.to_string()).filter(|at| at != "-").map(Value::from));
    }
    // What explains the rule is read at birth only.
    if status != Status::Mitigated {
        let text = message.rule.description.as_deref().map(|html| prose(&plain(html), PROSE_MAX));
        add("impact", text.filter(|text| !text.is_empty()).map(Value::from));
        let cwes: Vec<String> = message.rule.cwe.iter().map(|cwe| format!("CWE-{cwe}")).collect();
        let references: Vec<String> = Some(message.url.clone()).into_iter().chain(cwes).collect();
        let references = references.join("\n");
        add("references", Some(prose(references.trim(), PROSE_MAX)).filter(|text| !text.is_empty()).map(Value::from));
    }
    Value::Object(row)
}

/// The fields that follow Sonar while the finding stays the same.
pub(super) fn visible(place: &Place, message: &Message) -> Map<String, Value> {
    let now = birth(place, message);
    fields(json!({
        "title": now.title,
        "severity": severity(message.finding.observed.severity),
        "description": now.description,
        "cwe": now.cwe.unwrap_or(0),
        "file_path": now.path,
        "line": now.line,
    }))
}

/// Whether what a row brings at birth is what is to be seen.
pub(super) fn shows_all(place: &Place, message: &Message, birth: &Birth) -> bool {
    self::birth(place, message) == *birth
}

/// A digest of the fields of [`visible`], as a finding of DefectDojo's has them, too: it changes the case of titles.
pub(super) fn digest(visible: &Map<String, Value>) -> Digest {
    let mut context = Context::new(&SHA256);
    for name in ["title", "severity", "description", "cwe", "file_path", "line"] {
        let text = match visible.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) if name == "title" => text.to_lowercase(),
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(other) if name == "cwe" && *other == json!(0) => String::new(),
            Some(other) => other.to_string(),
        };
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    let digest = context.finish();
    Digest(digest.as_ref()[..16].try_into().expect("a SHA-256 has 32 bytes"))
}

/// The title of a scope's Test.
pub(super) fn test_title(place: &Place) -> String {
    let (organization, project, branch) = (&place.organization, &place.project, &place.branch);
    // Two sites may read the same project, each on its own.
    let at = place.site.as_ref().map(|site| format!("@{site}")).unwrap_or_default();
    let title = match place.scope_kind {
        ScopeKind::Branch => format!("sonar{at}:{organization}:{project}:{branch}"),
        ScopeKind::PullRequest => format!("sonar{at}:{organization}:{project}:pull-request:{branch}"),
    };
    let title = line(&title);
    if title.chars().count() <= NAME_MAX {
        return title;
    }
    // Its column is not wider; two long ones must stay two.
    let digest = ring::digest::digest(&SHA256, title.as_bytes());
    let hex = crate::domain::signature::to_hex(&digest.as_ref()[..8]);
    format!("{}~{hex}", fit(&title, NAME_MAX - 17))
}

fn day(at: Timestamp) -> Option<String> {
    at.to_string().split_once('T').map(|(day, _)| day.to_owned())
}

/// One line of at most so many characters.
pub(super) fn fit(text: &str, characters_max: usize) -> String {
    line(text).chars().take(characters_max).collect::<String>().trim().to_owned()
}

fn line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.trim().to_owned()
}

/// Text that may have several lines.
fn prose(text: &str, characters_max: usize) -> String {
    let keep = |c: char| if c.is_control() && c != '\n' && c != '\t' { ' ' } else { c };
    text.replace("\r\n", "\n").chars().map(keep).take(characters_max).collect::<String>().trim().to_owned()
}

/// HTML as Sonar writes it, without its marks. Blocks become lines.
fn plain(html: &str) -> String {
    let (mut text, mut rest) = (String::with_capacity(html.len()), html);
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(before);
        let Some((mark, after)) = after.split_once('>') else {
            rest = "";
            break;
        };
        let name = mark.trim_start_matches('/').split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        if BLOCKS.contains(&name.to_ascii_lowercase().as_str()) && !text.ends_with('\n') {
            text.push('\n');
        }
        rest = after;
    }
    text.push_str(rest);
    let marks = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")];
    marks.iter().fold(text, |text, (mark, sign)| text.replace(mark, sign)).trim().to_owned()
}

const BLOCKS: [&str; 14] =
    ["p", "h1", "h2", "h3", "h4", "li", "ul", "ol", "pre", "br", "div", "tr", "table", "blockquote"];

const TITLE_MAX: usize = 511;

const KEY_MAX: usize = 500;

const PATH_MAX: usize = 4000;

/// Columns of numbers have 32 bits.
const NUMBER_MAX: u32 = i32::MAX as u32;

/// Names of products and titles of Tests.
pub(super) const NAME_MAX: usize = 255;

/// A list answers with whole findings, 500 of them at once.
const PROSE_MAX: usize = 4000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::finding::{Finding, Observed, SonarWords, State};
    use crate::domain::ids::{
        AssetName, FindingId, IssueKey, OrganizationKey, ProjectKey, RuleKey, ScopeId, ScopeName, SourceName,
    };
    use crate::domain::message::{Cause, Held, RuleText};

    fn place(branch: &str, kind: ScopeKind) -> Place {
        Place {
            scope: ScopeId(1),
            source: SourceName::parse("sonar").unwrap(),
            site: None,
            source_url: "https://sonar.example".to_owned(),
            cloud: true,
            organization: OrganizationKey::parse("acme").unwrap(),
            project: ProjectKey::parse("shop").unwrap(),
            project_name: "Shop".to_owned(),
            repository: None,
            asset: AssetName::parse("Shop").unwrap(),
            branch: ScopeName::parse(branch).unwrap(),
            scope_kind: kind,
            main: true,
            analysed_at: None,
            revision: None,
            complete: true,
            held: Held::default(),
        }
    }

    fn message(text: &str, path: &str, line: u32) -> Message {
        let observed = Observed {
            key: IssueKey::parse("K1").unwrap(),
            kind: Kind::Vulnerability,
            rule: Some(RuleKey::parse("java:S1").unwrap()),
            message: text.to_owned(),
            severity: Severity::High,
            state: State::Open,
            path: Some(path.to_owned()),
            line: Some(line),
            range: None,
            created_at: Some(Timestamp(1_700_000_000_000)),
            updated_at: None,
            closed_at: None,
            sonar: SonarWords::default(),
            flows: Vec::new(),
        };
        let finding = Finding {
            id: FindingId(7),
            slot: 0,
            observed,
            first_seen_at: Timestamp(0),
            closed_at: None,
            closed_by: None,
            former: Vec::new(),
        };
        let rule = RuleText { name: None, cwe: vec![89, 79], description: Some("<p>Use &lt;this&gt;</p>".to_owned()) };
        Message {
            cause: Cause::Present,
            finding,
            state: State::Open,
            rule: Arc::new(rule),
            known: None,
            url: "https://sonar.example/x".to_owned(),
        }
    }

    #[test]
    fn no_value_is_larger_than_its_column() {
        let bad = message(&"t\0".repeat(2000), &"ä/\0".repeat(4000), u32::MAX);
        let place = place("main", ScopeKind::Branch);
        let birth = birth(&place, &bad);
        assert_eq!((birth.title.chars().count(), birth.line), (511, None));
        assert_eq!(birth.path.as_ref().unwrap().chars().count(), 4000);
        let row = row((&place, &bad), &birth, "K1", Status::Active, false).to_string();
        assert!(!row.contains("\\u0000"), "{row}");
    }

    #[test]
    fn a_row_has_what_is_hashed_from_birth_and_the_rest_from_now() {
        let place = place("main", ScopeKind::Branch);
        let birth = birth(&place, &message("Old text.", "src/A.java", 3));
        let mut later = message("New text.", "src/B.java", 9);
        later.finding.closed_at = Some(Timestamp(1_700_000_000_000));
        let row = row((&place, &later), &birth, "K1", Status::Mitigated, false);
        assert_eq!((&row["line"], &row["file_path"], &row["cwe"]), (&json!(3), &json!("src/A.java"), &json!(89)));
        assert_eq!((&row["is_mitigated"], &row["active"]), (&json!(true), &json!(false)));
        assert_eq!((&row["mitigated"], &row["date"]), (&json!("2023-11-14T22:13:20Z"), &json!("2023-11-14")));
        assert!(!shows_all(&place, &later, &birth));
        assert_eq!(visible(&place, &later)["line"], 9);
    }

    #[test]
    fn what_another_sites_box_reads_is_tagged_with_the_site() {
        let own = place("main", ScopeKind::Branch);
        let told = Place { site: Some("berlin".parse().unwrap()), ..own.clone() };
        let message = message("Text.", "a", 1);
        let tags = |place| row((place, &message), &birth(place, &message), "K1", Status::Active, false)["tags"].clone();
        assert_eq!((tags(&own), tags(&told)), (Value::Null, json!(["site:berlin"])));
        assert_eq!(test_title(&told), "sonar@berlin:acme:shop:main");
    }

    #[test]
    fn descriptions_of_two_branches_differ_and_tell_where_it_is() {
        let one = birth(&place("main", ScopeKind::Branch), &message("Text.", "a", 1)).description;
        assert_eq!(one, "Text.\n\nSonarQube issue K1 of shop, branch main\nRule java:S1\nhttps://sonar.example/x");
        assert_ne!(one, birth(&place("next", ScopeKind::Branch), &message("Text.", "a", 1)).description);
    }

    #[test]
    fn titles_of_tests_keep_scopes_apart_however_long() {
        assert_eq!(test_title(&place("main", ScopeKind::Branch)), "sonar:acme:shop:main");
        assert_eq!(test_title(&place("7", ScopeKind::PullRequest)), "sonar:acme:shop:pull-request:7");
        let long = |end: &str| test_title(&place(&format!("{}{end}", "b".repeat(250)), ScopeKind::Branch));
        assert_eq!(long("1").chars().count(), NAME_MAX);
        assert_ne!(long("1"), long("2"));
    }

    #[test]
    fn a_rules_html_becomes_text() {
        assert_eq!(plain("<h2>Why</h2><p>A &lt;b&gt; &amp;amp; c</p><ul><li>x</li></ul>"), "Why\nA <b> &amp; c\nx");
        assert_eq!(plain("a < b"), "a");
    }

    #[test]
    fn the_case_of_a_title_does_not_make_it_another() {
        let place = place("main", ScopeKind::Branch);
        let ours = visible(&place, &message("use of it", "a", 1));
        let mut theirs = ours.clone();
        theirs.insert("title".to_owned(), json!("Use of It"));
        assert_eq!(digest(&ours), digest(&theirs));
        theirs.insert("line".to_owned(), json!(2));
        assert_ne!(digest(&ours), digest(&theirs));
    }
}
