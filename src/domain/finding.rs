//! A security finding: what Sonar says of it, and what this box makes of that.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use super::ids::{DestinationId, FindingId, IssueKey, RuleKey};
use super::time::Timestamp;

/// Which of Sonar's two lists a finding came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// An issue with a security impact, or of the type vulnerability.
    #[n(0)]
    Vulnerability,
    /// A security hotspot: code that a person should review.
    #[n(1)]
    Hotspot,
}

/// How bad, in our words; the order is from worst to least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Severity {
    /// Sonar's BLOCKER.
    #[n(0)]
    Critical,
    /// Sonar's HIGH or CRITICAL.
    #[n(1)]
    High,
    /// Sonar's MEDIUM or MAJOR.
    #[n(2)]
    Medium,
    /// Sonar's LOW or MINOR.
    #[n(3)]
    Low,
    /// Sonar's INFO.
    #[n(4)]
    Info,
}

/// Where a finding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum State {
    /// To be looked at.
    #[n(0)]
    Open,
    /// Somebody confirmed it.
    #[n(1)]
    Confirmed,
    /// A person decided to live with it.
    #[n(2)]
    Accepted,
    /// A person decided that it is none.
    #[n(3)]
    FalsePositive,
    /// Closed: Sonar says it was fixed.
    #[n(4)]
    Fixed,
    /// Closed without a fix: rule off, file out of scope, or no longer known to Sonar.
    #[n(5)]
    Removed,
}

/// The text is none of the words that the type has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is none of: {words}")]
pub struct BadWord {
    given: String,
    words: String,
}

macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $type {
            /// All values in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in JSON, on the command line and on the page.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = BadWord;
            fn from_str(text: &str) -> Result<Self, BadWord> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(BadWord { given: text.to_owned(), words: [$($word),+].join(", ") }),
                }
            }
        }
    };
}

words!(Kind { Vulnerability = "vulnerability", Hotspot = "hotspot" });
words!(Severity { Critical = "critical", High = "high", Medium = "medium", Low = "low", Info = "info" });
words!(State {
    Open = "open",
    Confirmed = "confirmed",
    Accepted = "accepted",
    FalsePositive = "false_positive",
    Fixed = "fixed",
    Removed = "removed",
});

impl State {
    /// Whether the finding is gone, for whichever reason.
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Fixed | Self::Removed)
    }
}

/// Where in a file, as Sonar counts: lines from 1, columns from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct TextRange {
    /// First line.
    #[n(0)]
    pub start_line: u32,
    /// Last line.
    #[n(1)]
    pub end_line: u32,
    /// Column in the first line.
    #[n(2)]
    pub start_offset: u32,
    /// Column in the last line.
    #[n(3)]
    pub end_offset: u32,
}

/// One entry of Sonar's newer model: what an issue harms, and how much.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Impact {
    /// `SECURITY`, `RELIABILITY`, `MAINTAINABILITY`.
    #[n(0)]
    pub software_quality: String,
    /// `BLOCKER`, `HIGH`, `MEDIUM`, `LOW`, `INFO`.
    #[n(1)]
    pub severity: String,
}

/// Sonar's own words, kept verbatim beside ours. Every one may be absent on the wire. Names and addresses of
/// people (`author`) are not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct SonarWords {
    /// `VULNERABILITY`, `CODE_SMELL`, `BUG`; older model.
    #[n(0)]
    pub r#type: Option<String>,
    /// `BLOCKER` … `INFO`; older model.
    #[n(1)]
    pub severity: Option<String>,
    /// `OPEN` … `CLOSED`; for a hotspot `TO_REVIEW` or `REVIEWED`.
    #[n(2)]
    pub status: Option<String>,
    /// Why it is resolved; for a hotspot `FIXED`, `SAFE`, `ACKNOWLEDGED`.
    #[n(3)]
    pub resolution: Option<String>,
    /// `OPEN`, `CONFIRMED`, `ACCEPTED`, `FALSE_POSITIVE`, `FIXED`, `IN_SANDBOX`; newer model.
    #[n(4)]
    pub issue_status: Option<String>,
    /// The newer model's severities.
    #[n(5)]
    pub impacts: Vec<Impact>,
    /// Tags of the issue.
    #[n(6)]
    pub tags: Vec<String>,
    /// Sonar's hash of the line.
    #[n(7)]
    pub hash: Option<String>,
    /// A hotspot's `HIGH`, `MEDIUM`, `LOW`.
    #[n(8)]
    pub vulnerability_probability: Option<String>,
    /// A hotspot's category, such as `sql-injection`.
    #[n(9)]
    pub security_category: Option<String>,
    /// Login of the person it is assigned to.
    #[n(10)]
    pub assignee: Option<String>,
    /// The component as Sonar names it; it may have no path.
    #[n(11)]
    pub component: Option<String>,
}

/// One way that Sonar shows of how a finding comes about, such as from where a value enters to where it does harm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Flow(#[n(0)] pub Vec<FlowStep>);

/// A place on a flow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct FlowStep {
    /// Path in the project; absent where it is the finding's own, which is most of them.
    #[n(0)]
    pub path: Option<String>,
    /// The exact place.
    #[n(1)]
    pub range: Option<TextRange>,
    /// What happens there; may be empty.
    #[n(2)]
    pub message: String,
}

/// What one row of Sonar's lists says, in our words.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Observed {
    /// Sonar's key.
    #[n(0)]
    pub key: IssueKey,
    /// Which list it came from.
    #[n(1)]
    pub kind: Kind,
    /// The rule that found it. Old Servers do not say it for hotspots.
    #[n(2)]
    pub rule: Option<RuleKey>,
    /// Sonar's message for this place.
    #[n(3)]
    pub message: String,
    /// How bad.
    #[n(4)]
    pub severity: Severity,
    /// Where it stands.
    #[n(5)]
    pub state: State,
    /// Path in the project; absent for findings on the project itself.
    #[n(6)]
    pub path: Option<String>,
    /// Line, from 1.
    #[n(7)]
    pub line: Option<u32>,
    /// The exact place.
    #[n(8)]
    pub range: Option<TextRange>,
    /// When Sonar says it was introduced; may lie before it was found.
    #[n(9)]
    pub created_at: Option<Timestamp>,
    /// When Sonar last touched it. Moves for many reasons, and stays when only the line shifts.
    #[n(10)]
    pub updated_at: Option<Timestamp>,
    /// When Sonar closed it.
    #[n(11)]
    pub closed_at: Option<Timestamp>,
    /// Sonar's own words.
    #[n(12)]
    pub sonar: SonarWords,
    /// How it comes about, within limits; none for hotspots, and in findings that were stored before these were kept.
    /// Shifts with every edit above it: alone it is no change that the log tells.
    #[n(13)]
    #[cbor(default)]
    pub flows: Vec<Flow>,
}

/// Sixteen bytes of a SHA-256: enough to tell texts apart that nobody chose to collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Digest(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 16]);

/// A finding of the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Finding {
    /// Stable for ever.
    #[n(0)]
    pub id: FindingId,
    /// Its place in the scope's map of what a crawl has seen; never used again. Of a site's, who told it last.
    #[n(1)]
    pub slot: u32,
    /// What Sonar last said.
    #[n(2)]
    pub observed: Observed,
    /// When this box first held it.
    #[n(3)]
    pub first_seen_at: Timestamp,
    /// When this box closed it; absent while it is not closed.
    #[n(4)]
    pub closed_at: Option<Timestamp>,
    /// Why it is closed; absent while it is not, and in findings that were closed before this was noted.
    #[n(5)]
    pub closed_by: Option<ClosedBy>,
    /// What it was before, each once: filters ask for it, and a destination that was told of it then is told of its end.
    /// Nothing in findings that were stored before this was noted.
    #[n(6)]
    #[cbor(default)]
    pub former: Vec<Former>,
}

/// A kind and severity that a finding had once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Former {
    /// The kind.
    #[n(0)]
    pub kind: Kind,
    /// The severity.
    #[n(1)]
    pub severity: Severity,
    /// The number that the next new destination was to get when it ended: later ones never heard of it.
    #[n(2)]
    pub until: DestinationId,
}

impl Finding {
    /// What it was before, where it is now as Sonar says here. `next` is the number that the next new destination will
    /// get.
    pub fn former_beside(&self, observed: &Observed, next: DestinationId) -> Vec<Former> {
        let (kind, severity) = (self.observed.kind, self.observed.severity);
        let mut former = self.former.clone();
        if (kind, severity) != (observed.kind, observed.severity) {
            former.retain(|one| (one.kind, one.severity) != (kind, severity));
            former.push(Former { kind, severity, until: next });
        }
        former
    }
}

/// On whose word a finding was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ClosedBy {
    /// The reason.
    #[n(0)]
    pub reason: CloseReason,
    /// When the read began that closed it.
    #[n(1)]
    pub read_at: Timestamp,
    /// The state that it had before.
    #[n(2)]
    pub from: State,
}

/// Why a finding is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum CloseReason {
    /// Sonar says that it was fixed.
    #[n(0)]
    Fixed,
    /// Sonar says that it was closed without a fix: its rule is off, or its file out of scope.
    #[n(1)]
    Removed,
    /// A complete snapshot does not hold it, and Sonar, asked for it by key, does not know it.
    #[n(2)]
    Unknown,
    /// Sonar still has it, but no longer as a security finding of this scope.
    #[n(3)]
    NoLongerSecurity,
}

words!(CloseReason {
    Fixed = "fixed",
    Removed = "removed",
    Unknown = "unknown_to_sonar",
    NoLongerSecurity = "no_longer_security",
});

/// Our severity from Sonar's words: the SECURITY impact, else the old severity, else a hotspot's probability.
/// A word that is not known counts as medium, so that nothing is hidden by a new word.
pub fn severity(words: &SonarWords) -> Severity {
    let impact = words.impacts.iter().find(|impact| impact.software_quality == "SECURITY");
    let word = impact
        .map(|impact| impact.severity.as_str())
        .or(words.severity.as_deref())
        .or(words.vulnerability_probability.as_deref());
    match word {
        Some("BLOCKER") => Severity::Critical,
        Some("HIGH" | "CRITICAL") => Severity::High,
        Some("LOW" | "MINOR") => Severity::Low,
        Some("INFO") => Severity::Info,
        Some("MEDIUM" | "MAJOR" | _) | None => Severity::Medium,
    }
}

/// Our state from an issue's words, the newer model first. IN_SANDBOX and words that are not known count as
/// open: nothing is closed because a word is new.
pub fn issue_state(words: &SonarWords) -> State {
    match words.issue_status.as_deref() {
        Some("CONFIRMED") => return State::Confirmed,
        Some("ACCEPTED") => return State::Accepted,
        Some("FALSE_POSITIVE") => return State::FalsePositive,
        Some("FIXED") if words.resolution.as_deref() == Some("REMOVED") => return State::Removed,
        Some("FIXED") => return State::Fixed,
        Some(_) => return State::Open,
        None => {}
    }
    match (words.status.as_deref(), words.resolution.as_deref()) {
        (_, Some("FALSE-POSITIVE" | "FALSE_POSITIVE")) => State::FalsePositive,
        (_, Some("WONTFIX")) => State::Accepted,
        (Some("CLOSED" | "RESOLVED"), Some("REMOVED")) => State::Removed,
        (Some("CLOSED"), _) | (Some("RESOLVED"), Some("FIXED")) => State::Fixed,
        (Some("CONFIRMED"), _) => State::Confirmed,
        _ => State::Open,
    }
}

/// Our state from a hotspot's words.
pub fn hotspot_state(words: &SonarWords) -> State {
    match (words.status.as_deref(), words.resolution.as_deref()) {
        (Some("CLOSED"), _) | (Some("REVIEWED"), Some("FIXED")) => State::Fixed,
        (Some("REVIEWED"), Some("SAFE")) => State::FalsePositive,
        (Some("REVIEWED"), Some("ACKNOWLEDGED")) => State::Accepted,
        _ => State::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn impact(quality: &str, severity: &str) -> Impact {
        Impact { software_quality: quality.to_owned(), severity: severity.to_owned() }
    }

    fn finding(severity: Severity, former: Vec<Former>) -> Finding {
        let observed = Observed {
            key: IssueKey::parse("A").unwrap(),
            kind: Kind::Vulnerability,
            rule: None,
            message: String::new(),
            severity,
            state: State::Open,
            path: None,
            line: None,
            range: None,
            created_at: None,
            updated_at: None,
            closed_at: None,
            sonar: SonarWords::default(),
            flows: Vec::new(),
        };
        let (closed_at, closed_by) = (None, None);
        Finding { id: FindingId(1), slot: 0, observed, first_seen_at: Timestamp(0), closed_at, closed_by, former }
    }

    #[test]
    fn what_a_finding_was_is_noted_once_and_with_its_last_end() {
        let was = |severity, until| Former { kind: Kind::Vulnerability, severity, until: DestinationId(until) };
        let high = finding(Severity::High, Vec::new());
        let low =
            finding(Severity::Low, high.former_beside(&finding(Severity::Low, Vec::new()).observed, DestinationId(2)));
        assert_eq!(low.former, [was(Severity::High, 2)]);
        assert_eq!(low.former_beside(&low.observed, DestinationId(3)), low.former, "it is what it was");
        let high = finding(Severity::High, low.former_beside(&high.observed, DestinationId(4)));
        let former = high.former_beside(&low.observed, DestinationId(5));
        assert_eq!(former, [was(Severity::Low, 4), was(Severity::High, 5)]);
    }

    #[test]
    fn a_finding_that_was_stored_before_its_former_severities_were_is_read() {
        #[derive(Encode)]
        struct Before {
            #[n(0)]
            id: FindingId,
            #[n(1)]
            slot: u32,
            #[n(2)]
            observed: Observed,
            #[n(3)]
            first_seen_at: Timestamp,
            #[n(4)]
            closed_at: Option<Timestamp>,
            #[n(5)]
            closed_by: Option<ClosedBy>,
        }
        let now = finding(Severity::High, Vec::new());
        let Finding { id, slot, observed, first_seen_at, closed_at, closed_by, .. } = now.clone();
        let before = minicbor::to_vec(Before { id, slot, observed, first_seen_at, closed_at, closed_by }).unwrap();
        assert_eq!(minicbor::decode::<Finding>(&before).unwrap(), now);
    }

    #[test]
    fn the_security_impact_decides_before_the_old_severity() {
        let words = SonarWords {
            severity: Some("MINOR".to_owned()),
            impacts: vec![impact("MAINTAINABILITY", "LOW"), impact("SECURITY", "BLOCKER")],
            ..SonarWords::default()
        };
        assert_eq!(severity(&words), Severity::Critical);
    }

    #[test]
    fn without_a_security_impact_the_old_severity_and_then_the_probability_decide() {
        let old = |word: &str| SonarWords { severity: Some(word.to_owned()), ..SonarWords::default() };
        let expected = [
            ("BLOCKER", Severity::Critical),
            ("CRITICAL", Severity::High),
            ("MAJOR", Severity::Medium),
            ("MINOR", Severity::Low),
            ("INFO", Severity::Info),
            ("NEW_WORD", Severity::Medium),
        ];
        for (word, ours) in expected {
            assert_eq!(severity(&old(word)), ours, "{word}");
        }
        let hotspot = SonarWords { vulnerability_probability: Some("HIGH".to_owned()), ..SonarWords::default() };
        assert_eq!(severity(&hotspot), Severity::High);
        assert_eq!(severity(&SonarWords::default()), Severity::Medium);
    }

    #[test]
    fn states_follow_either_model_and_unknown_words_are_open() {
        let newer = |word: &str| SonarWords { issue_status: Some(word.to_owned()), ..SonarWords::default() };
        assert_eq!(issue_state(&newer("ACCEPTED")), State::Accepted);
        assert_eq!(issue_state(&newer("FALSE_POSITIVE")), State::FalsePositive);
        assert_eq!(issue_state(&newer("FIXED")), State::Fixed);
        assert_eq!(issue_state(&newer("IN_SANDBOX")), State::Open);
        assert_eq!(issue_state(&newer("SOMETHING_NEW")), State::Open);
        let older = |status: &str, resolution: Option<&str>| SonarWords {
            status: Some(status.to_owned()),
            resolution: resolution.map(str::to_owned),
            ..SonarWords::default()
        };
        assert_eq!(issue_state(&older("RESOLVED", Some("FALSE-POSITIVE"))), State::FalsePositive);
        assert_eq!(issue_state(&older("RESOLVED", Some("WONTFIX"))), State::Accepted);
        assert_eq!(issue_state(&older("CLOSED", Some("REMOVED"))), State::Removed);
        assert_eq!(issue_state(&older("CLOSED", Some("FIXED"))), State::Fixed);
        assert_eq!(issue_state(&older("REOPENED", None)), State::Open);
        assert_eq!(issue_state(&SonarWords::default()), State::Open);
    }

    #[test]
    fn a_reviewed_hotspot_follows_its_resolution() {
        let hotspot = |status: &str, resolution: Option<&str>| SonarWords {
            status: Some(status.to_owned()),
            resolution: resolution.map(str::to_owned),
            ..SonarWords::default()
        };
        assert_eq!(hotspot_state(&hotspot("TO_REVIEW", None)), State::Open);
        assert_eq!(hotspot_state(&hotspot("REVIEWED", Some("SAFE"))), State::FalsePositive);
        assert_eq!(hotspot_state(&hotspot("REVIEWED", Some("ACKNOWLEDGED"))), State::Accepted);
        assert_eq!(hotspot_state(&hotspot("REVIEWED", Some("FIXED"))), State::Fixed);
        assert_eq!(hotspot_state(&hotspot("REVIEWED", None)), State::Open);
    }

    #[test]
    fn words_read_back_and_a_wrong_one_is_told_the_right_ones() {
        for state in State::ALL {
            assert_eq!(state.as_str().parse::<State>().as_ref(), Ok(state));
        }
        let error = "severe".parse::<Severity>().unwrap_err();
        assert_eq!(error.to_string(), r#""severe" is none of: critical, high, medium, low, info"#);
    }

    /// One of Sonar's words, of any time and of none, or something else.
    fn word() -> impl proptest::strategy::Strategy<Value = Option<String>> {
        use proptest::strategy::Strategy as _;
        const WORDS: [&str; 26] = [
            "OPEN",
            "CONFIRMED",
            "REOPENED",
            "RESOLVED",
            "CLOSED",
            "ACCEPTED",
            "FALSE_POSITIVE",
            "FALSE-POSITIVE",
            "FIXED",
            "IN_SANDBOX",
            "WONTFIX",
            "REMOVED",
            "TO_REVIEW",
            "REVIEWED",
            "SAFE",
            "ACKNOWLEDGED",
            "BLOCKER",
            "HIGH",
            "CRITICAL",
            "MAJOR",
            "MEDIUM",
            "LOW",
            "MINOR",
            "INFO",
            "",
            "fixed",
        ];
        let known = proptest::sample::select(&WORDS[..]).prop_map(|word| Some(word.to_owned()));
        proptest::prop_oneof![4 => known, 1 => proptest::strategy::Just(None)]
    }

    proptest::proptest! {
        /// Whatever words meet: closed is only what a word says is closed, and a word of the newer model is not overruled
        /// by one of the older.
        #[test]
        fn nothing_is_closed_but_by_a_word_that_says_so(
            issue_status in word(), status in word(), resolution in word(), old in word(), probability in word(),
        ) {
            let words = SonarWords {
                issue_status, status, resolution, severity: old, vulnerability_probability: probability,
                ..SonarWords::default()
            };
            let is = |of: &Option<String>, word: &str| of.as_deref() == Some(word);
            let state = issue_state(&words);
            if state.is_closed() {
                let by_older = words.issue_status.is_none() && (is(&words.status, "CLOSED") || is(&words.status, "RESOLVED"));
                proptest::prop_assert!(is(&words.issue_status, "FIXED") || by_older, "{words:?}");
            }
            if words.issue_status.is_some() {
                let alone = SonarWords { status: None, ..words.clone() };
                proptest::prop_assert_eq!(issue_state(&alone), state);
            }
            if hotspot_state(&words).is_closed() {
                proptest::prop_assert!(is(&words.status, "CLOSED") || is(&words.status, "REVIEWED"), "{words:?}");
            }
            let secure = Impact { software_quality: "SECURITY".to_owned(), severity: "INFO".to_owned() };
            let newer = SonarWords { impacts: vec![secure], ..words };
            proptest::prop_assert_eq!(severity(&newer), Severity::Info);
        }
    }
}
