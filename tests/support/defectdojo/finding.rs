//! One finding, and what saving it does to its flags. `settle` is the heart: DefectDojo runs it whenever a finding is
//! stored, whoever stored it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::text::{Hashed, shown};

/// One finding as the database has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finding {
    pub id: u64,
    pub test: u64,
    /// The types of the Test at its birth.
    pub found_by: Vec<u64>,
    pub title: String,
    pub severity: String,
    pub description: String,
    pub cwe: i64,
    pub cwes: Vec<String>,
    pub line: Option<i64>,
    pub file_path: Option<String>,
    pub unique_id: Option<String>,
    pub vuln_id: Option<String>,
    pub service: Option<String>,
    /// Made at birth. No later change moves it.
    pub hash_code: String,
    pub status: Status,
    pub duplicate: bool,
    pub duplicate_finding: Option<u64>,
    pub under_review: bool,
    pub date: String,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub last_status_update: Timestamp,
    pub reporter: u64,
    pub notes: Vec<Note>,
    pub tags: Vec<String>,
    pub metadata: Vec<(String, String)>,
    /// `mitigation`, `impact`, `references` and the like, which nothing depends on.
    pub other: BTreeMap<String, Value>,
}

/// The fields a change of which moves `last_status_update`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub active: bool,
    pub verified: bool,
    pub false_p: bool,
    pub out_of_scope: bool,
    pub risk_accepted: bool,
    pub is_mitigated: bool,
    pub mitigated: Option<Timestamp>,
    pub mitigated_by: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub author: u64,
    pub entry: String,
}

impl Finding {
    /// What a file's row is matched by when the Test goes by hash.
    pub(super) fn hash(&self) -> String {
        Hashed {
            title: &self.title,
            cwe: self.cwe,
            line: self.line,
            file_path: self.file_path.as_deref(),
            description: &self.description,
            service: self.service.as_deref(),
        }
        .code()
    }

    /// Settles the flags as every save does. Without a former status the finding is new.
    pub(super) fn settle(&mut self, former: Option<&Status>, user: u64, now: Timestamp) {
        self.updated = now;
        let changed = |of: fn(&Status) -> bool| former.is_none_or(|former| of(former) != of(&self.status));
        let any = former.is_none_or(|former| *former != self.status);
        if !any {
            return;
        }
        let (activity, falseness) = (changed(|one| one.active), changed(|one| one.false_p));
        let (scope, mitigation) = (changed(|one| one.out_of_scope), changed(|one| one.is_mitigated));
        let status = &mut self.status;
        if mitigation && !status.is_mitigated {
            (status.mitigated, status.mitigated_by) = (None, None);
        }
        if status.is_mitigated {
            status.mitigated.get_or_insert(now);
            status.mitigated_by.get_or_insert(user);
        }
        if activity && status.active {
            (status.false_p, status.out_of_scope, status.is_mitigated) = (false, false, false);
            (status.mitigated, status.mitigated_by) = (None, None);
        }
        if (falseness || scope) && (status.false_p || status.out_of_scope) {
            status.mitigated.get_or_insert(now);
            status.mitigated_by.get_or_insert(user);
            (status.is_mitigated, status.active, status.verified) = (true, false, false);
        }
        if !self.duplicate {
            self.duplicate_finding = None;
        }
        self.last_status_update = now;
    }

    pub(super) fn note(&mut self, author: u64, entry: impl Into<String>) {
        self.notes.push(Note { author, entry: entry.into() });
    }

    /// S0 for Critical to S4 for Info.
    pub(super) fn numerical_severity(&self) -> &'static str {
        let rank = SEVERITIES.iter().position(|one| *one == self.severity).expect("a severity was checked");
        ["S0", "S1", "S2", "S3", "S4"][rank]
    }

    fn display_status(&self) -> String {
        let status = &self.status;
        let words = [
            (status.active, "Active"),
            (!status.active, "Inactive"),
            (status.verified, "Verified"),
            (status.is_mitigated, "Mitigated"),
            (status.false_p, "False Positive"),
            (status.out_of_scope, "Out Of Scope"),
            (self.duplicate, "Duplicate"),
            (status.risk_accepted, "Risk Accepted"),
        ];
        words.iter().filter(|(holds, _)| *holds).map(|(_, word)| *word).collect::<Vec<_>>().join(", ")
    }

    /// As the API shows it.
    pub(super) fn shown(&self, accepted_risks: &[Value], note: impl Fn(&Note) -> Value) -> Value {
        let status = &self.status;
        let mut all = Map::new();
        for name in EMPTY_BY_DEFAULT {
            all.insert((*name).to_owned(), Value::Null);
        }
        for name in FALSE_BY_DEFAULT {
            all.insert((*name).to_owned(), json!(false));
        }
        for name in LISTS_BY_DEFAULT {
            all.insert((*name).to_owned(), json!([]));
        }
        all.extend(self.other.iter().map(|(name, value)| (name.clone(), value.clone())));
        let own = json!({
            "id": self.id, "test": self.test, "found_by": self.found_by, "title": self.title, "date": self.date,
            "severity": self.severity, "numerical_severity": self.numerical_severity(),
            "description": self.description, "cwe": self.cwe,
            "cwes": self.cwes.iter().map(|one| json!({ "cwe": one })).collect::<Vec<_>>(),
            "line": self.line, "file_path": self.file_path, "unique_id_from_tool": self.unique_id,
            "vuln_id_from_tool": self.vuln_id, "service": self.service, "hash_code": self.hash_code,
            "active": status.active, "verified": status.verified, "false_p": status.false_p,
            "out_of_scope": status.out_of_scope, "risk_accepted": status.risk_accepted,
            "is_mitigated": status.is_mitigated, "mitigated": status.mitigated.map(shown),
            "mitigated_by": status.mitigated_by, "duplicate": self.duplicate,
            "duplicate_finding": self.duplicate_finding, "under_review": self.under_review,
            "created": shown(self.created), "updated": shown(self.updated),
            "last_status_update": shown(self.last_status_update), "reporter": self.reporter,
            "display_status": self.display_status(), "accepted_risks": accepted_risks,
            "notes": self.notes.iter().map(note).collect::<Vec<_>>(), "tags": self.tags,
            "finding_meta": self.metadata.iter().map(metadata_shown).collect::<Vec<_>>(),
            "request_response": { "req_resp": [] }, "thread_id": 0,
        });
        let Value::Object(own) = own else { unreachable!("an object was written") };
        all.extend(own);
        Value::Object(all)
    }
}

pub(super) fn metadata_shown((name, value): &(String, String)) -> Value {
    json!({ "name": name, "value": value })
}

/// From the worst to the least.
pub(super) const SEVERITIES: [&str; 5] = ["Critical", "High", "Medium", "Low", "Info"];

const EMPTY_BY_DEFAULT: &[&str] = &[
    "related_fields",
    "jira_creation",
    "jira_change",
    "sla_start_date",
    "sla_expiration_date",
    "sla_days_remaining",
    "epss_score",
    "epss_percentile",
    "kev_date",
    "cvssv3",
    "cvssv3_score",
    "cvssv4",
    "cvssv4_score",
    "url",
    "mitigation",
    "fix_available",
    "fix_version",
    "impact",
    "steps_to_reproduce",
    "severity_justification",
    "references",
    "last_reviewed",
    "param",
    "payload",
    "component_name",
    "component_version",
    "scanner_confidence",
    "sast_source_object",
    "sast_sink_object",
    "sast_source_line",
    "sast_source_file_path",
    "nb_occurences",
    "publish_date",
    "planned_remediation_date",
    "planned_remediation_version",
    "effort_for_fixing",
    "review_requested_by",
    "defect_review_requested_by",
    "last_reviewed_by",
    "sonarqube_issue",
];
const FALSE_BY_DEFAULT: &[&str] = &["push_to_jira", "known_exploited", "ransomware_used", "under_defect_review"];
const LISTS_BY_DEFAULT: &[&str] = &["vulnerability_ids", "endpoints", "finding_groups", "reviewers", "files"];
