//! The JSON of organizations' filters.

use serde::{Deserialize, Serialize};

/// Which findings of an organization are shown and passed on; a list that is empty stands for all.
/// `PUT /api/v1/organizations/{org}/filter` takes one and answers an [`OrganizationFilter`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterChoice {
    /// Severities, worst first.
    pub severities: Vec<String>,
    /// `vulnerability`, `hotspot`.
    pub kinds: Vec<String>,
}

impl FilterChoice {
    /// Whether nothing was chosen, so that everything passes.
    pub fn is_all(&self) -> bool {
        self.severities.is_empty() && self.kinds.is_empty()
    }
}

/// `GET /api/v1/organizations/{org}/filter`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrganizationFilter {
    /// The source.
    pub source: String,
    /// The organization's key.
    pub organization: String,
    /// What passes.
    pub filter: FilterChoice,
    /// Findings of it that are held and not closed.
    pub open: u64,
    /// Those of them that pass.
    pub passing: u64,
    /// Destinations that are told the present state because more passes now.
    #[serde(default)]
    pub told_anew: Vec<String>,
}
