//! DefectDojo's statuses, and the way from one to another. A file can set and reopen; only a PATCH takes a decision back.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use crate::domain::destination::Words;
use crate::domain::finding::State;

/// Where a finding stands in DefectDojo: what its flags come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Active,
    Verified,
    RiskAccepted,
    FalsePositive,
    OutOfScope,
    Mitigated,
    /// Of another finding; its flags stay what they were.
    Duplicate,
    /// Neither active nor anything else.
    Inactive,
}

/// Our states in DefectDojo's words. The first word of a state is the one that is told; what is out of scope there is
/// accepted here, since Sonar has no other word for a finding that is real and left alone.
pub(super) const WORDS: &Words = &[
    (State::Open, "active"),
    (State::Confirmed, "verified"),
    (State::Accepted, "risk_accepted"),
    (State::Accepted, "out_of_scope"),
    (State::FalsePositive, "false_positive"),
    (State::Fixed, "mitigated"),
    (State::Removed, "mitigated"),
];

const ALL: [(Status, &str); 8] = [
    (Status::Active, "active"),
    (Status::Verified, "verified"),
    (Status::RiskAccepted, "risk_accepted"),
    (Status::FalsePositive, "false_positive"),
    (Status::OutOfScope, "out_of_scope"),
    (Status::Mitigated, "mitigated"),
    (Status::Duplicate, "duplicate"),
    (Status::Inactive, "inactive"),
];

/// The flags of a finding that make its status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools, reason = "the flags are DefectDojo's")]
pub(super) struct Flags {
    pub(super) active: bool,
    pub(super) verified: bool,
    pub(super) false_p: bool,
    pub(super) out_of_scope: bool,
    pub(super) risk_accepted: bool,
    pub(super) is_mitigated: bool,
    pub(super) duplicate: bool,
}

impl Status {
    /// The word that means it in mappings and decisions.
    pub(super) fn word(self) -> &'static str {
        ALL.iter().find(|(status, _)| *status == self).map_or("inactive", |(_, word)| word)
    }

    /// The status that can be told by a word.
    pub(super) fn told_by(word: &str) -> Option<Self> {
        let found = ALL.iter().find(|(_, of)| *of == word).map(|(status, _)| *status);
        found.filter(|status| !matches!(status, Self::Duplicate | Self::Inactive))
    }

    /// What flags come to. Where everything is told as verified, that flag says nothing.
    pub(super) fn of(flags: Flags, verified_always: bool) -> Self {
        match flags {
            Flags { false_p: true, .. } => Self::FalsePositive,
            Flags { out_of_scope: true, .. } => Self::OutOfScope,
            Flags { risk_accepted: true, .. } => Self::RiskAccepted,
            Flags { duplicate: true, .. } => Self::Duplicate,
            Flags { is_mitigated: true, .. } => Self::Mitigated,
            Flags { active: true, verified: true, .. } if !verified_always => Self::Verified,
            Flags { active: true, .. } => Self::Active,
            _ => Self::Inactive,
        }
    }

    /// The flags of a row. None that exclude each other: DefectDojo would store both.
    pub(super) fn flags(self, verified_always: bool) -> Flags {
        let verified = match self {
            Self::Verified => true,
            Self::FalsePositive | Self::OutOfScope => false,
            _ => verified_always,
        };
        Flags {
            active: matches!(self, Self::Active | Self::Verified),
            verified,
            false_p: self == Self::FalsePositive,
            out_of_scope: self == Self::OutOfScope,
            risk_accepted: self == Self::RiskAccepted,
            is_mitigated: self == Self::Mitigated,
            duplicate: false,
        }
    }

    pub(super) fn is_live(self) -> bool {
        matches!(self, Self::Active | Self::Verified)
    }

    pub(super) fn is_decision(self) -> bool {
        matches!(self, Self::RiskAccepted | Self::FalsePositive | Self::OutOfScope)
    }

    /// The PATCH that sets it, for a finding that no row can be trusted to meet.
    fn patch(self) -> Map<String, Value> {
        fields(match self {
            Self::Active => json!({ "active": true, "is_mitigated": false }),
            Self::Verified => json!({ "active": true, "is_mitigated": false, "verified": true }),
            Self::RiskAccepted => json!({ "risk_accepted": true, "active": false }),
            Self::FalsePositive => json!({ "false_p": true, "active": false, "verified": false }),
            Self::OutOfScope => json!({ "out_of_scope": true, "active": false, "verified": false }),
            Self::Mitigated => json!({ "is_mitigated": true, "active": false }),
            Self::Duplicate | Self::Inactive => json!({}),
        })
    }
}

/// What leads a finding to its status, in this order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Way {
    /// Fields of a PATCH before any row.
    pub(super) before: Map<String, Value>,
    /// Rows, each in a reimport after the former's.
    pub(super) rows: VecDeque<Status>,
    /// Fields of a PATCH after the rows.
    pub(super) after: Map<String, Value>,
}

impl Way {
    /// By rows, which carry Sonar's dates and need no right to accept risks.
    fn by_rows(rows: &[Status]) -> Self {
        Self { rows: rows.iter().copied().collect(), ..Self::default() }
    }

    /// The same without rows.
    pub(super) fn by_patches(mut self) -> Self {
        for status in std::mem::take(&mut self.rows) {
            self.after.extend(status.patch());
        }
        if self.before.is_empty() {
            self.before = std::mem::take(&mut self.after);
        }
        self
    }
}

/// The way from one status to another.
pub(super) fn way(from: Status, to: Status) -> Way {
    use Status::{Active, Mitigated, Verified};
    if from == to {
        return Way::default();
    }
    if from.is_decision() {
        // An open row changes nothing about a decision, and neither does a row with another one.
        let flag = match from {
            Status::RiskAccepted => "risk_accepted",
            Status::FalsePositive => "false_p",
            _ => "out_of_scope",
        };
        let mut before = fields(json!({ "active": true, flag: false }));
        if to == Verified {
            before.insert("verified".to_owned(), json!(true));
        }
        let rows = if to.is_live() { VecDeque::new() } else { VecDeque::from([to]) };
        return Way { before, rows, after: Map::new() };
    }
    match (from, to) {
        (Active | Verified, Active | Verified) => {
            Way { before: fields(json!({ "verified": to == Verified })), ..Way::default() }
        }
        (Mitigated, Verified) => Way { after: fields(json!({ "verified": true })), ..Way::by_rows(&[Active]) },
        // A decision's row only reopens what is mitigated; it takes a second one.
        (Mitigated, _) if to.is_decision() => Way::by_rows(&[Active, to]),
        _ => Way::by_rows(&[to]),
    }
}

/// What is known of a finding in DefectDojo before it is told.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Before<'a> {
    /// What it was told last.
    pub(super) told: Option<Status>,
    /// What it says now, and whether that was our doing, where it was asked.
    pub(super) seen: Option<(Status, bool)>,
    /// What a person decided there, as far as it was heard.
    pub(super) decided: Option<&'a str>,
    /// What it was being told since it was last heard of: an answer never came.
    pub(super) telling: &'a [Status],
}

/// What is to be done about a finding that is to have this status; nothing where a person has decided otherwise there.
pub(super) fn decide(before: Before<'_>, to: Status) -> Way {
    match (before.told, before.seen) {
        // It was never there: there is nothing to close.
        (None, None) if to == Status::Mitigated => Way::default(),
        (None, None) => Way::by_rows(&[to]),
        (Some(from), None) => way(from, to),
        (_, Some((seen, _))) if seen == to => Way::default(),
        // Otherwise a row closes what is open, and leaves decisions alone that a person made.
        (told, Some((seen, ours))) => {
            let theirs = before.decided == Some(seen.word());
            if !theirs
                && (told == Some(seen) || before.telling.contains(&seen) || seen.is_live() || (told.is_none() && ours))
            {
                way(seen, to)
            } else if to == Status::Mitigated {
                Way::by_rows(&[to])
            } else {
                Way::default()
            }
        }
    }
}

/// Whether a change must not be made without looking at the finding first. Closing and reopening are what rows do
/// without harm to anybody's decision.
pub(super) fn needs_look(told: Option<Status>, to: Status) -> bool {
    match told {
        None => false,
        Some(told) if told == to => false,
        Some(told) if told.is_live() && to == Status::Mitigated => false,
        Some(Status::Mitigated) if to == Status::Active => false,
        Some(_) => true,
    }
}

pub(super) fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TELLABLE: [Status; 6] = [
        Status::Active,
        Status::Verified,
        Status::RiskAccepted,
        Status::FalsePositive,
        Status::OutOfScope,
        Status::Mitigated,
    ];

    #[test]
    fn every_status_is_told_by_its_word_and_read_from_its_flags() {
        for status in TELLABLE {
            assert_eq!(Status::told_by(status.word()), Some(status));
            assert_eq!(Status::of(status.flags(false), false), status);
            let flags = status.flags(true);
            assert!(!(flags.active && (flags.risk_accepted || flags.false_p || flags.is_mitigated)), "{status:?}");
        }
        assert_eq!(Status::told_by("duplicate"), None);
        assert_eq!(Status::of(Status::Verified.flags(true), true), Status::Active);
    }

    #[test]
    fn a_decision_is_taken_back_before_anything_else_is_told() {
        let way = way(Status::FalsePositive, Status::RiskAccepted);
        assert_eq!(way.before, fields(json!({ "active": true, "false_p": false })));
        assert_eq!(way.rows, [Status::RiskAccepted]);
        assert_eq!(super::way(Status::RiskAccepted, Status::Active).rows, [Status::Active; 0]);
    }

    #[test]
    fn what_is_mitigated_is_reopened_before_it_is_decided() {
        assert_eq!(way(Status::Mitigated, Status::FalsePositive).rows, [Status::Active, Status::FalsePositive]);
        assert_eq!(way(Status::Mitigated, Status::Active).rows, [Status::Active]);
    }

    #[test]
    fn nobody_elses_decision_is_undone() {
        let look = |told, seen, decided| Before { told: Some(told), seen: Some((seen, false)), decided, telling: &[] };
        for theirs in [Status::RiskAccepted, Status::OutOfScope, Status::Mitigated, Status::Inactive, Status::Duplicate]
        {
            let before = look(Status::FalsePositive, theirs, None);
            assert_eq!(decide(before, Status::Active), Way::default(), "{theirs:?}");
            let rows = decide(before, Status::Mitigated);
            assert!(rows.before.is_empty(), "{theirs:?} is not taken back when it is fixed");
        }
        let reopened = look(Status::FalsePositive, Status::Active, Some("active"));
        assert_eq!(decide(reopened, Status::RiskAccepted), Way::default());
        // What we took back ourselves before an answer was lost goes on.
        assert_eq!(decide(Before { decided: None, ..reopened }, Status::RiskAccepted).rows, [Status::RiskAccepted]);
    }

    #[test]
    fn what_was_never_there_is_not_closed() {
        assert_eq!(decide(Before::default(), Status::Mitigated), Way::default());
        assert_eq!(decide(Before::default(), Status::FalsePositive).rows, [Status::FalsePositive]);
    }

    #[test]
    fn without_rows_a_patch_does_the_same() {
        let way = way(Status::Mitigated, Status::FalsePositive).by_patches();
        assert_eq!(way.before["false_p"], true);
        assert!(way.rows.is_empty() && way.after.is_empty());
    }
}
