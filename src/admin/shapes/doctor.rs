//! The JSON of the doctor: what is checked, what was found, and what helps.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /api/v1/doctor`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewDiagnosis {
    /// Of the sources, only this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// What a look at everything found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Diagnosis {
    /// The daemon's version, or the command line's where no daemon runs.
    pub version: String,
    /// Whether the daemon runs; else only what can be seen without it was looked at.
    pub running: bool,
    /// When it began.
    pub at: String,
    /// How long it took.
    pub milliseconds: u64,
    /// The worst of the verdicts: `fault`, `warning`, `unknown`, `ok`.
    pub verdict: String,
    /// The box first, then sources, webhooks and destinations.
    pub lines: Vec<DiagnosisLine>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiagnosisLine {
    /// What was looked at: `daemon`, `clock`, `store`, `disk`, `wear`, `certificate`, `way`, `acme`, `networks`, `proxies`,
    /// `page`, `key`, `condition`, `proxy`, `name`, `tls`, `token`, `permissions`, `webhook`, `calls`, `address`,
    /// `destination`.
    pub check: String,
    /// Of which source, webhook or destination.
    pub subject: Option<String>,
    /// `ok`, `warning`, `fault`; `unknown` where it cannot be judged.
    pub verdict: String,
    /// What was found.
    pub text: String,
    /// What to do.
    pub remedy: Option<String>,
}

impl DiagnosisLine {
    /// Puts one together.
    pub fn new(check: &str, subject: Option<&str>, verdict: &str, text: String, remedy: Option<String>) -> Self {
        let subject = subject.map(str::to_owned);
        Self { check: check.to_owned(), subject, verdict: verdict.to_owned(), text, remedy }
    }
}

impl Diagnosis {
    /// Works out the worst verdict.
    pub fn judge(&mut self) {
        let worst = ["fault", "warning", "unknown", "ok"];
        let is_there = |verdict: &&str| self.lines.iter().any(|line| line.verdict == **verdict);
        let found = worst.iter().find(|verdict| is_there(verdict)).copied();
        self.verdict = found.unwrap_or("ok").to_owned();
    }
}
