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
    /// What became of the configuration that its box was offered last, as it says; absent where it takes none.
    pub configuration: Option<SiteConfiguration>,
    /// What its box says is the matter with it.
    pub conditions: Vec<SiteCondition>,
}

/// What became of the configuration that a box was offered.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SiteConfiguration {
    /// The serial of the last that it took.
    pub serial: u64,
    /// `none`, `begun`, `applied`, `refused`, or `failed`.
    pub state: String,
    /// What was the matter, where something was.
    pub why: Option<String>,
    /// How many changes it made.
    pub changes: u32,
    /// Since when it is so.
    pub at: Option<String>,
}

/// `POST /api/v1/fleet/offers`: a signed configuration for boxes of a fleet.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOffer {
    /// The fleet; may be left out where there is one only.
    pub fleet: Option<String>,
    /// A JSON Web Signature in its compact form, of `serial`, `sites` and `configuration`.
    pub offer: String,
}

/// A configuration that was offered.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Offered {
    /// The fleet.
    pub fleet: String,
    /// Its serial.
    pub serial: u64,
    /// To whom.
    pub sites: Vec<String>,
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
