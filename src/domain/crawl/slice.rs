//! The parts that a list is asked for in, the questions, and what an answer held.

use std::fmt;

use minicbor::{Decode, Encode};

use crate::domain::time::Timestamp;

/// One of Sonar's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum List {
    /// `issues/search`.
    #[n(0)]
    Issues,
    /// `hotspots/search`; Servers only.
    #[n(1)]
    Hotspots,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Issues => "issues",
            Self::Hotspots => "hotspots",
        })
    }
}

/// What a source's lists are like, in its own words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lists {
    /// Whether `paging.total` stops at the window (Cloud), so that reaching it means "unknown".
    pub total_capped: bool,
    /// Whether the source still has hotspots.
    pub hotspots: bool,
    /// The severities that issues can be filtered by, each issue having one.
    pub severities: &'static [&'static str],
    /// The states that issues which are not closed can be filtered by.
    pub statuses: &'static [&'static str],
    /// The resolutions that reviewed hotspots can be filtered by.
    pub resolutions: &'static [&'static str],
}

/// A part of a list: what it is filtered by. The default is the whole list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Slice {
    /// Created at or after this second.
    #[n(0)]
    pub from: Option<Timestamp>,
    /// Created before this second.
    #[n(1)]
    pub before: Option<Timestamp>,
    /// Of this severity.
    #[n(2)]
    pub severity: Option<String>,
    /// In this state.
    #[n(3)]
    pub status: Option<String>,
    /// Reviewed to this end; hotspots only.
    #[n(4)]
    pub resolution: Option<String>,
    /// Found by this rule.
    #[n(5)]
    pub rule: Option<String>,
    /// In this folder.
    #[n(6)]
    pub directory: Option<String>,
    /// In one of these files; in any, if none is named.
    #[n(7)]
    pub files: Vec<String>,
}

impl Slice {
    /// Whether a row of this date can be in it. Of one without a date nothing is known.
    pub fn may_hold(&self, created_at: Option<Timestamp>) -> bool {
        let Some(at) = created_at else { return true };
        self.from.is_none_or(|from| at >= from) && self.before.is_none_or(|before| at < before)
    }

    /// Whether it cannot be cut further by creation date.
    pub fn is_one_second(&self) -> bool {
        self.from.zip(self.before).is_some_and(|(from, before)| before.0 - from.0 <= 1000)
    }
}

/// What is to be counted by the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Facet {
    /// Issues by state: what proves a total.
    #[n(0)]
    Status,
    /// By rule, the hundred most frequent.
    #[n(1)]
    Rules,
    /// By folder, the hundred most frequent.
    #[n(2)]
    Directories,
    /// By file, the hundred most frequent.
    #[n(3)]
    Files,
}

impl Facet {
    /// Sonar's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "statuses",
            Self::Rules => "rules",
            Self::Directories => "directories",
            Self::Files => "files",
        }
    }
}

/// The next page to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Which list.
    pub list: List,
    /// Which part of it.
    pub slice: Slice,
    /// Which page, from 1; issues oldest first.
    pub page: u32,
    /// What to count; issues only.
    pub facet: Option<Facet>,
}

/// What a page held, counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Page<'a> {
    /// Rows on the page, whether they can be used or not.
    pub rows: u64,
    /// `paging.total`.
    pub total: u64,
    /// The status facet, summed over the states that were asked for; absent if the answer has none.
    pub sum: Option<u64>,
    /// The values of another facet.
    pub values: &'a [(String, u64)],
    /// The rows that can be used.
    pub keys: &'a [Row<'a>],
}

/// A row, as far as counting goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// A hash of its key. Two that collide make a read incomplete, never complete.
    pub key: u64,
    /// When Sonar says it was introduced.
    pub created_at: Option<Timestamp>,
    /// Its file.
    pub path: Option<&'a str>,
}
