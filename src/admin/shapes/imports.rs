//! The JSON of organizations' filters, and of what an import would bring.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which findings of an organization are shown and passed on; a list that is empty stands for all.
/// `PUT /api/v1/organizations/{org}/filter` takes one and answers an [`OrganizationFilter`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

/// `POST /api/v1/imports/preview` takes a [`NewImport`](super::NewImport): what it would bring, which Sonar is asked for
/// and nothing is stored of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportPreview {
    /// The projects that would be imported.
    pub projects: Vec<ProjectPreview>,
}

/// What importing one project would bring.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectPreview {
    /// The source.
    pub source: String,
    /// The organization's key.
    pub organization: String,
    /// Sonar's key.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Whether it is imported already.
    pub imported: bool,
    /// The asset that it would belong to.
    pub asset: String,
    /// Whether that asset would be made.
    pub asset_is_new: bool,
    /// The organization's filter.
    pub filter: FilterChoice,
    /// The branches and pull requests that would be held.
    pub branches: Vec<BranchPreview>,
    /// Why Sonar could not be asked, or that nothing is chosen.
    pub error: Option<String>,
}

/// What reading one branch or pull request would bring, in findings that are not closed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BranchPreview {
    /// Its name, or the pull request's key.
    pub name: String,
    /// `branch` or `pull_request`.
    pub kind: String,
    /// Whether it is the main branch.
    pub main: bool,
    /// What Sonar counts; absent where it was not asked.
    pub sonar_total: Option<u64>,
    /// Held here.
    pub open: u64,
    /// Whether all of it was read, so that what follows is exact; else it is of what was read.
    pub read: bool,
    /// Of what Sonar has, those that pass the organization's filter.
    pub passing: u64,
    /// Held back by it, by reason.
    pub left_out: BTreeMap<String, u64>,
    /// That would be created.
    pub create: u64,
    /// That would be changed.
    pub update: u64,
    /// That would be reopened.
    pub reopen: u64,
    /// Held here and no longer among what Sonar lists: each is asked for by its key before it is closed.
    pub close: u64,
    /// That are here as they are in Sonar.
    pub same: u64,
    /// Why not all of it was read.
    pub problem: Option<String>,
}
