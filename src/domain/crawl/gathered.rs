//! What a crawl gathers beside the rows that changed.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};

use super::Met;
use crate::domain::ids::RuleKey;

/// See the module.
#[derive(Debug, Clone, Default, Encode, Decode)]
pub struct Gathered {
    /// Stored findings that were met.
    #[n(0)]
    pub met: Met,
    /// Hashes of the keys of rows that are closed: Sonar's lists of what is not closed hold some all the same.
    #[n(1)]
    pub closed: BTreeSet<u64>,
    /// Rules of the rows.
    #[n(2)]
    pub rules: BTreeSet<RuleKey>,
    /// Words of Sonar's that are not known.
    #[n(3)]
    pub odd_words: BTreeSet<String>,
}
