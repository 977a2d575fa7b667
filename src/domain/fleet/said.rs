//! What boxes say of what they hold, as whoever gathers it understands it.
//!
//! Names may change, numbers do not: whatever is said names the [`Origin`] by which it is known again.

use std::sync::Arc;

use minicbor::{Decode, Encode};

use super::offer::Outcome;
use super::{InventoryId, Site};
use crate::domain::finding::Observed;
use crate::domain::ids::{
    AssetName, FindingId, OrganizationKey, ProjectId, ProjectKey, ScopeId, ScopeKind, ScopeName, SourceName,
};
use crate::domain::time::Timestamp;

/// One message of a fleet's stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// Its place in the stream: of two messages about one thing the later one counts.
    pub sequence: u64,
    /// When the stream took it, by its server's clock.
    pub at: Timestamp,
    /// Whose it is, by its subject, on which nobody else may speak.
    pub site: Site,
    /// In which term of the site's lease it was said, where two boxes share the site.
    pub term: Option<u64>,
    /// What it says.
    pub said: Said,
}

/// What a box says.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// How a finding is.
    Finding(Box<FindingSaid>),
    /// How a scope stands.
    Scope(Box<ScopeSaid>),
    /// That a scope is not held any more.
    Gone {
        /// Whose number it is.
        inventory: InventoryId,
        /// The scope's number there.
        scope: ScopeId,
    },
    /// That something is the matter with the box, or is over.
    Condition(ConditionSaid),
    /// That the box is there.
    Alive(AliveSaid),
    /// That it tried the way.
    Ping,
}

/// By which numbers a box knows where something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Whose numbers these are.
    pub inventory: InventoryId,
    /// The project's.
    pub project: ProjectId,
    /// The scope's.
    pub scope: ScopeId,
    /// Whether that is the main branch.
    pub main: bool,
}

/// Under which names a box knows where something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The source.
    pub source: SourceName,
    /// The organization.
    pub organization: OrganizationKey,
    /// The project's key.
    pub project: ProjectKey,
    /// The asset that holds the project.
    pub asset: AssetName,
    /// Branch or pull request.
    pub kind: ScopeKind,
    /// The scope's name.
    pub scope: ScopeName,
}

/// How a finding is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingSaid {
    /// Where it is.
    pub origin: Origin,
    /// Under which names: those of a scope's findings are most often the same.
    pub names: Arc<Names>,
    /// Its number there.
    pub id: FindingId,
    /// What is said of it.
    pub observed: Observed,
    /// The name of its rule.
    pub rule_name: Option<String>,
    /// CWE numbers of its rule.
    pub cwe: Vec<u32>,
    /// When the box first held it.
    pub first_seen_at: Timestamp,
}

/// How a scope stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeSaid {
    /// Which it is.
    pub origin: Origin,
    /// Under which names.
    pub names: Names,
    /// The project's name.
    pub project_name: String,
    /// Where the source is.
    pub url: String,
    /// Whether that is SonarQube Cloud.
    pub cloud: bool,
    /// The clone address of the project's repository.
    pub repository: Option<String>,
    /// Sonar's last analysis.
    pub analysed_at: Option<Timestamp>,
    /// The last complete read.
    pub synced_at: Option<Timestamp>,
    /// Whether the last read was complete.
    pub complete: bool,
    /// Findings that are not closed, as Sonar counted them then.
    pub sonar_total: Option<u64>,
    /// Since when Sonar does not list it any more.
    pub retired_at: Option<Timestamp>,
}

/// That something is the matter with a box, or is over.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ConditionSaid {
    /// What the message is known again by: what its subject ends in.
    #[n(0)]
    pub subject: String,
    /// Its code.
    #[n(1)]
    pub code: String,
    /// `error`, `warning` or `info`.
    #[n(2)]
    pub severity: String,
    /// What is the matter.
    #[n(3)]
    pub text: String,
    /// What to do about it, there.
    #[n(4)]
    pub remedy: String,
    /// When it came up.
    #[n(5)]
    pub raised_at: Timestamp,
    /// When it was over.
    #[n(6)]
    pub ended_at: Option<Timestamp>,
}

/// That a box is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliveSaid {
    /// What it calls its inventory.
    pub inventory: InventoryId,
    /// The machine's name.
    pub machine: String,
    /// The version that it runs.
    pub version: String,
    /// When it speaks again, at the latest.
    pub every_seconds: u64,
    /// What became of the configuration that it was offered last.
    pub offer: Option<Outcome>,
}

/// Why a message is passed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unheard {
    /// A newer version says something that this one does not know.
    #[error("{0}")]
    Newer(String),
    /// It is not what a box says on this subject.
    #[error("{0}")]
    Foreign(String),
}
