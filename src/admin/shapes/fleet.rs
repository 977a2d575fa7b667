//! Fleets that are read, as JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /api/v1/fleet`: the fleets that this box gathers.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct FleetStatus {
    /// By name; none on a box that gathers nothing.
    pub fleets: Vec<Fleet>,
}

/// A fleet.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Fleet {
    /// The operator's name for it.
    pub name: String,
    /// Where its server is.
    pub url: String,
    /// The stream in which its boxes speak.
    pub stream: String,
    /// `up_to_date`, `catching_up`, or `unreachable`.
    pub state: String,
    /// Why it cannot be read, where it cannot.
    pub trouble: Option<String>,
    /// What to do about that, where a person has to.
    pub remedy: Option<String>,
    /// Messages that are still to be read.
    pub pending: u64,
    /// The last message that was taken in, by its place in the stream.
    pub position: u64,
    /// Messages that were passed over as no box sends them.
    pub foreign: u64,
    /// Its sites, by name.
    pub sites: Vec<FleetSite>,
}

/// A site of a fleet.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FleetSite {
    /// What its box calls it.
    pub site: String,
    /// The machine that speaks for it; absent until that said that it is there.
    pub machine: Option<String>,
    /// The version that it runs.
    pub version: Option<String>,
    /// The name of its inventory.
    pub inventory: Option<String>,
    /// When it last said that it is there, by the server's clock, as far as this box has noted it.
    pub heard_at: Option<String>,
    /// For how many seconds it has said nothing, where that is for too long.
    pub silent_seconds: Option<u64>,
    /// Its projects.
    pub projects: u64,
    /// Its findings that are not closed.
    pub open: u64,
    /// Its branches and pull requests whose last read was not complete.
    pub incomplete: u64,
    /// The oldest of the last complete reads of its branches and pull requests.
    pub synced_at: Option<String>,
    /// What its box says is the matter with it.
    pub conditions: Vec<SiteCondition>,
}

/// Something that is the matter with a site's box.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SiteCondition {
    /// Its code.
    pub code: String,
    /// `error`, `warning` or `info`.
    pub severity: String,
    /// What is the matter.
    pub text: String,
    /// What to do about it, there.
    pub remedy: String,
    /// When it came up.
    pub raised_at: String,
}
