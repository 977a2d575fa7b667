//! What analysers find: issues and hotspots, how one is made, and how one changes.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::rules;
use super::words::{
    HotspotResolution, HotspotStatus, ImpactSeverity, IssueStatus, IssueType, Probability, Quality, Resolution,
    Severity, Status,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRange {
    pub start_line: u32,
    pub end_line: u32,
    pub start_offset: u32,
    pub end_offset: u32,
}

/// One place an issue's story passes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub path: String,
    pub line: u32,
    pub message: String,
}

/// An issue with the members of both taxonomies. The dates are seconds since 1970; what is empty or zero when the
/// issue is added to a branch (key, hash, dates) is filled in there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    pub key: String,
    pub rule: String,
    pub kind: IssueType,
    pub severity: Severity,
    pub impacts: Vec<(Quality, ImpactSeverity)>,
    pub status: Status,
    pub resolution: Option<Resolution>,
    /// Absent when the issue sits on the project itself.
    pub path: Option<String>,
    pub text_range: Option<TextRange>,
    pub hash: Option<String>,
    pub message: String,
    pub tags: Vec<String>,
    pub author: String,
    pub assignee: Option<String>,
    pub created: i64,
    pub updated: i64,
    pub closed: Option<i64>,
    pub flows: Vec<Vec<Step>>,
    pub external_engine: Option<String>,
    /// What people wrote to it, oldest first.
    pub comments: Vec<String>,
}

impl Issue {
    /// A security issue with the severity and the message of its rule.
    pub fn vulnerability(rule: &str, path: &str, line: u32) -> Issue {
        let (severity, name) = rules::known(rule).unwrap_or((Severity::Major, "Change this code."));
        Issue {
            key: String::new(),
            rule: rule.to_owned(),
            kind: IssueType::Vulnerability,
            severity,
            impacts: vec![(Quality::Security, severity.impact())],
            status: Status::Open,
            resolution: None,
            path: Some(path.to_owned()),
            text_range: Some(line_range(line)),
            hash: Some(line_hash(&format!("{rule} {path} {line}"))),
            message: name.to_owned(),
            tags: vec!["cwe".to_owned()],
            author: "dev@example.com".to_owned(),
            assignee: None,
            created: 0,
            updated: 0,
            closed: None,
            flows: Vec::new(),
            external_engine: None,
            comments: Vec::new(),
        }
    }

    /// An issue that has nothing to do with security.
    pub fn code_smell(rule: &str, path: &str, line: u32) -> Issue {
        let base = Issue::vulnerability(rule, path, line);
        Issue {
            kind: IssueType::CodeSmell,
            impacts: vec![(Quality::Maintainability, base.severity.impact())],
            tags: Vec::new(),
            ..base
        }
    }

    /// Where the two taxonomies part: not a vulnerability in the older one, yet with an impact on security.
    pub fn smell_with_security_impact(rule: &str, path: &str, line: u32) -> Issue {
        let base = Issue::vulnerability(rule, path, line);
        let severity = base.severity.impact();
        Issue {
            kind: IssueType::CodeSmell,
            impacts: vec![(Quality::Maintainability, severity), (Quality::Security, severity)],
            ..base
        }
    }

    /// An imported finding that sits on the project: no file, no line, no hash, an empty author.
    pub fn external(engine: &str, rule: &str, message: &str) -> Issue {
        Issue {
            rule: format!("external_{engine}:{rule}"),
            path: None,
            text_range: None,
            hash: None,
            message: message.to_owned(),
            author: String::new(),
            external_engine: Some(engine.to_owned()),
            ..Issue::vulnerability(rule, "", 0)
        }
    }

    /// What a hotspot becomes when its rule is rewritten to raise issues: the same finding, reviewed as it was.
    pub(super) fn from_hotspot(hotspot: Hotspot, key: &str, now: i64) -> Issue {
        let (status, resolution) = match (hotspot.status, hotspot.resolution) {
            (HotspotStatus::ToReview, _) | (HotspotStatus::Reviewed, None) => (Status::Open, None),
            (HotspotStatus::Reviewed, Some(HotspotResolution::Safe)) => {
                (Status::Resolved, Some(Resolution::FalsePositive))
            }
            (HotspotStatus::Reviewed, Some(HotspotResolution::Acknowledged)) => {
                (Status::Resolved, Some(Resolution::Wontfix))
            }
            (HotspotStatus::Reviewed, Some(HotspotResolution::Fixed)) => (Status::Resolved, Some(Resolution::Fixed)),
            (HotspotStatus::Closed, _) => (Status::Closed, Some(Resolution::Fixed)),
        };
        Issue {
            key: key.to_owned(),
            status,
            resolution,
            text_range: hotspot.text_range,
            hash: hotspot.hash,
            message: hotspot.message,
            author: hotspot.author,
            assignee: hotspot.assignee,
            created: hotspot.created,
            updated: now,
            closed: (status == Status::Closed).then_some(hotspot.updated),
            comments: hotspot.comments,
            ..Issue::vulnerability(&hotspot.rule, &hotspot.path, 0)
        }
    }

    #[must_use]
    pub fn with_key(self, key: &str) -> Issue {
        Issue { key: key.to_owned(), ..self }
    }

    #[must_use]
    pub fn with_severity(mut self, severity: Severity) -> Issue {
        self.set_severity(severity);
        self
    }

    #[must_use]
    pub fn with_message(self, message: &str) -> Issue {
        Issue { message: message.to_owned(), ..self }
    }

    /// Creation dates may lie before the analysis: SonarQube dates an issue back to its commit.
    #[must_use]
    pub fn created_at(self, created: i64) -> Issue {
        Issue { created, ..self }
    }

    pub fn line(&self) -> Option<u32> {
        self.text_range.as_ref().map(|range| range.start_line)
    }

    pub fn issue_status(&self) -> IssueStatus {
        IssueStatus::of(self.status, self.resolution)
    }

    pub fn has_security_impact(&self) -> bool {
        self.impacts.iter().any(|(quality, _)| *quality == Quality::Security)
    }

    pub fn component(&self, project: &str) -> String {
        component(project, self.path.as_deref())
    }

    pub fn directory(&self) -> Option<&str> {
        self.path.as_deref().map(|path| path.rsplit_once('/').map_or("/", |(directory, _)| directory))
    }

    fn set_severity(&mut self, severity: Severity) {
        self.severity = severity;
        for (_, impact) in &mut self.impacts {
            *impact = severity.impact();
        }
    }
}

/// Something that happens to one issue, by an analysis or by a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The code no longer holds it: CLOSED, FIXED.
    Fix,
    /// Its rule or its file went out of scope: CLOSED, REMOVED.
    Remove,
    /// Back with the same key, from closed or from a triage.
    Reopen,
    Accept,
    /// Said by a person to be fixed; the next analysis closes it, or reopens it.
    Resolve,
    FalsePositive,
    Confirm,
    /// It gets a state that no published table names.
    Quarantine,
    Severity(Severity),
    /// The file was moved and SonarQube noticed.
    MoveFile(String),
    /// Lines were added above. This does not touch the update date.
    ShiftLine(u32),
}

impl Issue {
    pub fn apply(&mut self, change: Change, now: i64) {
        if change == Change::Fix || change == Change::Remove {
            self.closed = Some(now);
        } else if matches!(
            change,
            Change::Reopen | Change::Accept | Change::Resolve | Change::FalsePositive | Change::Confirm
        ) {
            self.closed = None;
        }
        match change {
            Change::Fix => self.set_state(Status::Closed, Some(Resolution::Fixed)),
            Change::Remove => self.set_state(Status::Closed, Some(Resolution::Removed)),
            Change::Reopen => self.set_state(Status::Reopened, None),
            Change::Accept => self.set_state(Status::Resolved, Some(Resolution::Wontfix)),
            Change::Resolve => self.set_state(Status::Resolved, Some(Resolution::Fixed)),
            Change::FalsePositive => self.set_state(Status::Resolved, Some(Resolution::FalsePositive)),
            Change::Confirm => self.set_state(Status::Confirmed, None),
            Change::Quarantine => self.set_state(Status::Quarantined, None),
            Change::Severity(severity) => self.set_severity(severity),
            Change::MoveFile(path) => self.path = Some(path),
            Change::ShiftLine(line) => {
                self.text_range = Some(line_range(line));
                return;
            }
        }
        self.updated = now;
    }

    fn set_state(&mut self, status: Status, resolution: Option<Resolution>) {
        self.status = status;
        self.resolution = resolution;
    }
}

/// A security hotspot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hotspot {
    pub key: String,
    pub rule: String,
    pub category: String,
    pub probability: Probability,
    pub status: HotspotStatus,
    pub resolution: Option<HotspotResolution>,
    pub path: String,
    pub text_range: Option<TextRange>,
    pub hash: Option<String>,
    pub message: String,
    pub author: String,
    pub assignee: Option<String>,
    pub created: i64,
    pub updated: i64,
    /// What people wrote to it, oldest first.
    pub comments: Vec<String>,
}

impl Hotspot {
    pub fn new(rule: &str, path: &str, line: u32) -> Hotspot {
        let all = 0..4;
        let known = all.map(rules::hotspot_rule).find(|one| one.0 == rule);
        let (_, name, probability, category) = known.unwrap_or(("", "Check this code.", Probability::Medium, "others"));
        Hotspot {
            key: String::new(),
            rule: rule.to_owned(),
            category: category.to_owned(),
            probability,
            status: HotspotStatus::ToReview,
            resolution: None,
            path: path.to_owned(),
            text_range: Some(line_range(line)),
            hash: Some(line_hash(&format!("{rule} {path} {line}"))),
            message: name.to_owned(),
            author: String::new(),
            assignee: None,
            created: 0,
            updated: 0,
            comments: Vec::new(),
        }
    }

    #[must_use]
    pub fn with_key(self, key: &str) -> Hotspot {
        Hotspot { key: key.to_owned(), ..self }
    }
}

/// The key of a file, or of the project when there is none.
pub fn component(project: &str, path: Option<&str>) -> String {
    path.map_or_else(|| project.to_owned(), |path| format!("{project}:{path}"))
}

fn line_range(line: u32) -> TextRange {
    TextRange { start_line: line, end_line: line, start_offset: 8, end_offset: 42 }
}

/// Thirty-two hexadecimal digits standing for the text of a line; a moved line keeps them.
pub fn line_hash(text: &str) -> String {
    format!("{:016x}{:016x}", scramble(text, 1), scramble(text, 2))
}

/// The `number`th issue of a deterministic large project: all rules, some 800 files, creation dates spread over two
/// years before `now`.
pub fn numbered(number: usize, security: bool, now: i64) -> Issue {
    let mixed = scramble("issue", number);
    let file = usize::try_from(mixed % 800).expect("a remainder below 800 is a usize");
    let line = u32::try_from(number / 800 * 3 + 1).expect("a line number fits 32 bits");
    let age = i64::try_from(mixed / 800 % 63_072_000).expect("two years of seconds fit 63 bits");
    let path = format!("src/main/module{}/package{}/File{}.java", file / 100, file / 10 % 10, file % 10);
    let issue = if security {
        let (rule, _, _) = rules::security_rule(number % rules::SECURITY_RULES);
        Issue::vulnerability(&rule, &path, line)
    } else {
        Issue::code_smell(rules::smell_rule(number).0, &path, line)
    };
    let message = format!("{} (place {number})", issue.message);
    issue.with_message(&message).created_at(now - age)
}

/// A number that looks like chance but is the same in every run.
pub fn scramble(text: &str, number: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    number.hash(&mut hasher);
    hasher.finish()
}
