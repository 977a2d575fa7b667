//! The fixed vocabularies of SonarQube, each an enum whose variants know the word used on the wire.

macro_rules! words {
    ($(#[$meta:meta])* $name:ident: $($variant:ident = $word:literal),+ $(,)?) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $(#[doc = $word] $variant),+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.word() == word)
            }
        }
    };
}

words!(
    /// The type of an issue in the older taxonomy.
    IssueType: CodeSmell = "CODE_SMELL", Bug = "BUG", Vulnerability = "VULNERABILITY",
);

words!(
    /// Severity in the older taxonomy, mildest first.
    Severity: Info = "INFO", Minor = "MINOR", Major = "MAJOR", Critical = "CRITICAL", Blocker = "BLOCKER",
);

words!(
    /// Status in the older taxonomy. The sandbox is new and exists on Cloud and on Server from 2025. Quarantine is not
    /// SonarQube's: it stands for a state that some version to come may have.
    Status: Open = "OPEN", Confirmed = "CONFIRMED", Reopened = "REOPENED", Resolved = "RESOLVED", Closed = "CLOSED",
        InSandbox = "IN_SANDBOX", Quarantined = "QUARANTINED",
);

words!(
    /// Why an issue is resolved or closed. Note the hyphen, which `IssueStatus` does not have.
    Resolution: FalsePositive = "FALSE-POSITIVE", Wontfix = "WONTFIX", Fixed = "FIXED", Removed = "REMOVED",
);

words!(
    /// Status in the newer taxonomy; always derived from status and resolution.
    IssueStatus: Open = "OPEN", Confirmed = "CONFIRMED", FalsePositive = "FALSE_POSITIVE", Accepted = "ACCEPTED",
        Fixed = "FIXED", InSandbox = "IN_SANDBOX", Quarantined = "QUARANTINED",
);

words!(
    /// What an impact weighs on.
    Quality: Maintainability = "MAINTAINABILITY", Reliability = "RELIABILITY", Security = "SECURITY",
);

words!(
    /// Severity of an impact. INFO and BLOCKER came with Server 10.8.
    ImpactSeverity: Info = "INFO", Low = "LOW", Medium = "MEDIUM", High = "HIGH", Blocker = "BLOCKER",
);

words!(
    /// Status of a hotspot. A closed one is kept but never listed.
    HotspotStatus: ToReview = "TO_REVIEW", Reviewed = "REVIEWED", Closed = "CLOSED",
);

words!(
    /// The outcome of a hotspot's review.
    HotspotResolution: Fixed = "FIXED", Safe = "SAFE", Acknowledged = "ACKNOWLEDGED",
);

words!(
    /// How likely a hotspot is a vulnerability; the search lists the likeliest first.
    Probability: High = "HIGH", Medium = "MEDIUM", Low = "LOW",
);

words!(
    /// The colour of a quality gate.
    GateStatus: Ok = "OK", Error = "ERROR",
);

impl IssueStatus {
    pub fn of(status: Status, resolution: Option<Resolution>) -> Self {
        match (status, resolution) {
            (Status::Open | Status::Reopened, _) => IssueStatus::Open,
            (Status::Confirmed, _) => IssueStatus::Confirmed,
            (Status::InSandbox, _) => IssueStatus::InSandbox,
            (Status::Quarantined, _) => IssueStatus::Quarantined,
            (Status::Resolved, Some(Resolution::FalsePositive)) => IssueStatus::FalsePositive,
            (Status::Resolved, Some(Resolution::Wontfix)) => IssueStatus::Accepted,
            (Status::Resolved | Status::Closed, _) => IssueStatus::Fixed,
        }
    }
}

impl Severity {
    /// The impact severity an issue of this severity carries.
    pub fn impact(self) -> ImpactSeverity {
        match self {
            Severity::Info => ImpactSeverity::Info,
            Severity::Minor => ImpactSeverity::Low,
            Severity::Major => ImpactSeverity::Medium,
            Severity::Critical => ImpactSeverity::High,
            Severity::Blocker => ImpactSeverity::Blocker,
        }
    }

    /// The security rating a project gets from its worst open vulnerability: 1 (A) to 5 (E).
    pub fn rating(self) -> u8 {
        match self {
            Severity::Info => 1,
            Severity::Minor => 2,
            Severity::Major => 3,
            Severity::Critical => 4,
            Severity::Blocker => 5,
        }
    }
}
