//! What is stored beside findings. Members are numbered for the store's codec: a number is never used again.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::codec::record;
use crate::domain::asset::Impact;
use crate::domain::crawl::{Crawl, Gathered, Suspicion};
use crate::domain::delivery::{BadPayload, Outcome, ScopeRef, TaskStatus};
use crate::domain::destination::Destination;
use crate::domain::finding::State;
use crate::domain::fleet::Site;
use crate::domain::fleet::hub::{Fleet, Position, SiteRecord};
use crate::domain::fleet::said::ConditionSaid;
use crate::domain::ids::{
    AssetId, AssetName, DeliveryId, EndpointId, FindingId, OrganizationKey, OrganizationRef, ProjectId, ProjectKey,
    ScopeId, ScopeKind, ScopeName, SourceName,
};
use crate::domain::message::Remote;
use crate::domain::passing::Passing;
use crate::domain::reconcile::ChangeKind;
use crate::domain::schedule::Due;
use crate::domain::secret::SecretText;
use crate::domain::selection::Selection;
use crate::domain::time::Timestamp;
use crate::domain::triage::Order;

/// A SonarQube that this box reads. Its token is among the secrets.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Source {
    /// The operator's name for it.
    #[n(0)]
    pub name: SourceName,
    /// Cloud, or a Server.
    #[n(1)]
    pub cloud: bool,
    /// Where it is.
    #[n(2)]
    pub url: String,
    /// Cloud's second API.
    #[n(3)]
    pub api_url: Option<String>,
    /// Certificates (PEM) to trust beside the system's.
    #[n(4)]
    pub ca_pem: Option<String>,
    /// Its proxy.
    #[n(5)]
    pub proxy: Option<SecretText>,
    /// Overrides the public URL in its webhook addresses.
    #[n(6)]
    pub webhook_url: Option<String>,
    /// A Server's version, as it says it.
    #[n(7)]
    pub version: Option<String>,
    /// A Server in Standard Experience mode is read by type.
    #[n(8)]
    pub standard_mode: bool,
    /// When it was last checked.
    #[n(9)]
    pub checked_at: Option<Timestamp>,
    /// When the token ends.
    #[n(10)]
    pub token_expires_at: Option<Timestamp>,
    /// What the last check or read failed with, if a person has to act.
    #[n(11)]
    pub error: Option<String>,
    /// Organizations that were seen with this token.
    #[n(12)]
    pub organizations: Vec<Organization>,
    /// Whether it was seen not to sort by update date, so that large scopes can only be read whole.
    #[n(13)]
    #[cbor(default)]
    pub unsorted: bool,
    /// What passes of organizations whose findings do not all pass. Beside the organizations, as a check that does not
    /// see one of them says nothing of its filter.
    #[n(14)]
    #[cbor(default)]
    pub filters: BTreeMap<OrganizationKey, Passing>,
    /// The site whose box reads it, where that is another one, which tells this one what it holds.
    #[n(15)]
    pub at: Option<AtSite>,
}

/// A site of a fleet.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AtSite {
    /// The fleet, by this box's name for it.
    #[n(0)]
    pub fleet: SourceName,
    /// The site.
    #[n(1)]
    pub site: Site,
}

impl Source {
    /// One that a site's box reads, of which nothing but its name is known yet.
    pub fn at_site(name: SourceName, at: AtSite) -> Self {
        Self {
            name,
            cloud: false,
            url: String::new(),
            api_url: None,
            ca_pem: None,
            proxy: None,
            webhook_url: None,
            version: None,
            standard_mode: false,
            checked_at: None,
            token_expires_at: None,
            error: None,
            organizations: Vec::new(),
            unsorted: false,
            filters: BTreeMap::new(),
            at: Some(at),
        }
    }
}

/// An organization as the last check saw it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Organization {
    /// Sonar's key.
    #[n(0)]
    pub key: OrganizationKey,
    /// Its name.
    #[n(1)]
    pub name: String,
}

/// What the security team manages.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Asset {
    /// Its name; unique.
    #[n(0)]
    pub name: AssetName,
    /// What the team says of it.
    #[n(1)]
    pub description: Option<String>,
    /// When it was made.
    #[n(2)]
    pub created_at: Timestamp,
    /// What it would mean if something happened to it, where the team has said so.
    #[n(3)]
    pub impact: Option<Impact>,
    /// What the team finds it by; in order.
    #[n(4)]
    #[cbor(default)]
    pub tags: Vec<String>,
}

impl Asset {
    /// One with nothing but its name.
    pub fn new(name: AssetName, created_at: Timestamp) -> Self {
        Self { name, description: None, created_at, impact: None, tags: Vec::new() }
    }
}

/// An imported project.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Project {
    /// Its organization.
    #[n(0)]
    pub organization: OrganizationRef,
    /// Sonar's key.
    #[n(1)]
    pub key: ProjectKey,
    /// Sonar's name of it.
    #[n(2)]
    pub name: String,
    /// The asset that it belongs to.
    #[n(3)]
    pub asset: AssetId,
    /// Which scopes are held.
    #[n(4)]
    pub selection: Selection,
    /// The main branch, once Sonar said which it is.
    #[n(5)]
    pub main: Option<ScopeId>,
    /// When it was imported.
    #[n(6)]
    pub imported_at: Timestamp,
    /// Why its branches could not be asked for.
    #[n(7)]
    pub error: Option<String>,
    /// Where it seems to have gone, if Sonar does not show it any more. Nothing follows until a person confirms it.
    #[n(8)]
    pub moved: Option<Moved>,
    /// The clone address of its repository, as a person gave it.
    #[n(9)]
    pub repository: Option<String>,
}

/// A project of another key that has a project's findings.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Moved {
    /// The other key.
    #[n(0)]
    pub to: ProjectKey,
    /// Findings that were asked for by key.
    #[n(1)]
    pub asked: u32,
    /// Those of them that the other project has.
    #[n(2)]
    pub found: u32,
    /// When it was first seen.
    #[n(3)]
    pub since: Timestamp,
}

/// A branch or pull request that is held.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Scope {
    /// Its project.
    #[n(0)]
    pub project: ProjectId,
    /// Branch or pull request.
    #[n(1)]
    pub kind: ScopeKind,
    /// Its name.
    #[n(2)]
    pub name: ScopeName,
    /// Whether it is the main branch.
    #[n(3)]
    pub main: bool,
    /// The next free place in the map of what a crawl has met; of a site's, who told it last.
    #[n(4)]
    pub slot_next: u32,
    /// Sonar's last analysis, as of the last read.
    #[n(5)]
    pub analysed_at: Option<Timestamp>,
    /// The quality gate's colour then.
    #[n(6)]
    pub gate: Option<String>,
    /// The last complete read.
    #[n(7)]
    pub synced_at: Option<Timestamp>,
    /// Whether the last read was complete.
    #[n(8)]
    pub complete: bool,
    /// Findings that are not closed, as Sonar counted them at the last complete read.
    #[n(9)]
    pub sonar_total: Option<u64>,
    /// Why the last read failed or proved nothing.
    #[n(10)]
    pub error: Option<String>,
    /// What a mass closing waits for that a second crawl has to confirm.
    #[n(11)]
    pub suspicion: Option<Suspicion>,
    /// Words of Sonar's that this version does not know.
    #[n(12)]
    pub odd_words: Vec<String>,
    /// The last complete read of the whole scope; a later `synced_at` is of a read of what had changed, proven by
    /// counts.
    #[n(13)]
    pub crawled_at: Option<Timestamp>,
    /// What Sonar touched before this, by its own dates, was read.
    #[n(14)]
    pub watermark: Option<Timestamp>,
    /// Since when Sonar does not list the branch or pull request any more.
    #[n(15)]
    pub retired_at: Option<Timestamp>,
}

impl Scope {
    /// One that was never read.
    pub fn new(project: ProjectId, kind: ScopeKind, name: ScopeName, main: bool) -> Self {
        Self {
            project,
            kind,
            name,
            main,
            slot_next: 0,
            analysed_at: None,
            gate: None,
            synced_at: None,
            complete: false,
            sonar_total: None,
            error: None,
            suspicion: None,
            odd_words: Vec::new(),
            crawled_at: None,
            watermark: None,
            retired_at: None,
        }
    }
}

/// A webhook's endpoint. Its secrets are among the secrets, under the ids given here.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hook {
    /// The address's secret part.
    #[n(0)]
    pub endpoint: EndpointId,
    /// The organization that it belongs to.
    #[n(1)]
    pub organization: OrganizationRef,
    /// The one project that it accepts, if it belongs to a project.
    #[n(2)]
    pub project: Option<ProjectKey>,
    /// Secrets, the present one first.
    #[n(3)]
    pub secrets: Vec<HookSecret>,
    /// Whether this box registered it in Sonar itself.
    #[n(4)]
    pub registered: bool,
}

/// One of an endpoint's secrets.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct HookSecret {
    /// Names it among the secrets.
    #[n(0)]
    pub id: u32,
    /// When it was made or taken over.
    #[n(1)]
    pub made_at: Timestamp,
    /// Until when it is valid; for ever if absent.
    #[n(2)]
    pub expires_at: Option<Timestamp>,
}

/// A rule's text, read once.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Rule {
    /// Its name; absent if Sonar does not know the rule.
    #[n(0)]
    pub name: Option<String>,
    /// CWE numbers that its text names.
    #[n(1)]
    pub cwe: Vec<u32>,
    /// Its text, HTML as Sonar writes it.
    #[n(2)]
    pub description: Option<String>,
    /// When it was read.
    #[n(3)]
    pub read_at: Timestamp,
}

/// A webhook call that came in.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Delivery {
    /// When.
    #[n(0)]
    pub received_at: Timestamp,
    /// Whose endpoint it came to.
    #[n(1)]
    pub organization: OrganizationRef,
    /// The project that the body names.
    #[n(2)]
    pub project: Option<ProjectKey>,
    /// The scope that it speaks of.
    #[n(3)]
    pub scope: Option<ScopeRef>,
    /// The branch's name where the body says it.
    #[n(4)]
    pub branch: Option<ScopeName>,
    /// Sonar's task.
    #[n(5)]
    pub task: Option<String>,
    /// How the task ended.
    #[n(6)]
    pub status: Option<TaskStatus>,
    /// What became of it when it arrived.
    #[n(7)]
    pub outcome: Outcome,
    /// Why it was answered 400.
    #[n(8)]
    pub problem: Option<BadPayload>,
    /// The first delivery of the same call.
    #[n(9)]
    pub duplicate_of: Option<DeliveryId>,
    /// The delivery that this one replays.
    #[n(10)]
    pub replay_of: Option<DeliveryId>,
    /// The body as it came; kept with the first delivery of a call only.
    #[cbor(n(11), with = "minicbor::bytes")]
    pub body: Vec<u8>,
    /// How the call failed according to Sonar's log, if it never arrived and was taken from there.
    #[n(12)]
    pub healed: Option<String>,
    /// Whether the body is sealed; of one that was read, that it could not be opened.
    #[n(13)]
    #[cbor(default)]
    pub sealed: bool,
}

/// How a queued delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Settlement {
    /// What became of it.
    #[n(0)]
    pub outcome: Outcome,
    /// When.
    #[n(1)]
    pub at: Timestamp,
}

/// A crawl whose rows are all staged: what is left is to apply them. Its existence means that applying may begin,
/// and goes on after a kill.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SealedCrawl {
    /// Findings that are not closed, as Sonar counts them; only of a complete crawl.
    #[n(0)]
    pub sonar_total: Option<u64>,
    /// Why it is not complete.
    #[n(1)]
    pub problem: Option<String>,
    /// Whether it is to be read again soon.
    #[n(2)]
    pub again: bool,
    /// When the crawl began: what arrived before is covered by it.
    #[n(3)]
    pub began_at: Timestamp,
    /// Sonar's last analysis.
    #[n(4)]
    pub analysed_at: Option<Timestamp>,
    /// The quality gate's colour.
    #[n(5)]
    pub gate: Option<String>,
    /// Deliveries that it settles.
    #[n(6)]
    pub deliveries: Vec<DeliveryId>,
    /// The agenda's entry that it works off.
    #[n(7)]
    pub due: Due,
    /// What a mass closing waits for.
    #[n(8)]
    pub suspicion: Option<Suspicion>,
    /// Words of Sonar's that are not known.
    #[n(9)]
    pub odd_words: Vec<String>,
    /// Whether only what had changed was read.
    #[n(10)]
    #[cbor(default)]
    pub recent: bool,
    /// What Sonar touched before this was read.
    #[n(11)]
    pub watermark: Option<Timestamp>,
}

/// A crawl that was interrupted, and how far it has come. The rows that it learnt are staged.
#[derive(Debug, Clone, Encode, Decode)]
pub struct Underway {
    /// What to ask next.
    #[n(0)]
    pub crawl: Crawl,
    /// What it gathered beside the staged rows.
    #[n(1)]
    pub gathered: Gathered,
    /// When it began.
    #[n(2)]
    pub began_at: Timestamp,
    /// When this was noted.
    #[n(3)]
    pub noted_at: Timestamp,
    /// Sonar's last analysis when it began.
    #[n(4)]
    pub analysed_at: Option<Timestamp>,
    /// What Sonar touched before this will have been read at its end.
    #[n(5)]
    pub watermark: Option<Timestamp>,
    /// A digest of the words that the source is asked in: with others it cannot go on.
    #[n(6)]
    pub words: u64,
    /// Deliveries that waited for it when it began. One that came later asks for a look that begins later.
    #[n(7)]
    pub deliveries: Vec<DeliveryId>,
    /// The ticket of who asked for it. Whoever asked later has another one.
    #[n(8)]
    #[cbor(default)]
    pub ticket: u64,
}

/// An entry of the change log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Change {
    /// When.
    #[n(0)]
    pub at: Timestamp,
    /// What kind.
    #[n(1)]
    pub kind: ChangeKind,
    /// Of which finding.
    #[n(2)]
    pub finding: FindingId,
    /// In which scope.
    #[n(3)]
    pub scope: ScopeId,
    /// The state before; absent for a new finding.
    #[n(4)]
    pub from: Option<State>,
    /// The state after.
    #[n(5)]
    pub to: State,
    /// Who decided, where Sonar was told so by this box.
    #[n(6)]
    #[cbor(default)]
    pub by: Option<String>,
    /// And why, as Sonar was told it.
    #[n(7)]
    #[cbor(default)]
    pub why: Option<String>,
    /// By which way: `user`, `token`, `socket` or `destination`.
    #[n(8)]
    #[cbor(default)]
    pub via: Option<String>,
}

/// A decision that Sonar was told, until a read shows it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Decision {
    /// The state that was decided.
    #[n(0)]
    pub state: State,
    /// By whom: a person's name, or a destination's.
    #[n(1)]
    pub by: String,
    /// Why, as Sonar was told it.
    #[n(2)]
    pub why: String,
    /// By which way, as [`Change::via`].
    #[n(3)]
    #[cbor(default)]
    pub via: Option<String>,
}

/// Secret bytes, stored sealed: see [`secrets`](super::secrets).
pub use crate::domain::secret::SecretBytes;

record!(
    Source = "source",
    Asset = "asset",
    Project = "project",
    Scope = "scope",
    Hook = "webhook endpoint",
    Rule = "rule",
    Delivery = "delivery",
    Settlement = "settlement",
    SealedCrawl = "crawl",
    Underway = "crawl under way",
    Change = "change",
    Destination = "destination",
    Remote = "platform's record of a finding",
    Order = "decision",
    Decision = "told decision",
    Fleet = "fleet",
    Position = "place in a fleet's stream",
    SiteRecord = "site",
    ConditionSaid = "condition of a site",
);
