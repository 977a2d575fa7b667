//! The JSON of the admin API, version 1. Other programs rely on these names: fields may be added, never renamed.
//! Times are RFC 3339 in UTC.

mod access;
mod backup;
mod certificate;
mod destinations;
mod doctor;
mod findings;
mod fleet;
mod imports;
mod key;
mod standby;
pub mod trailers;
mod webhooks;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::secret::SecretText;

pub use self::access::*;
pub use self::backup::*;
pub use self::certificate::*;
pub use self::destinations::*;
pub use self::doctor::*;
pub use self::findings::*;
pub use self::fleet::*;
pub use self::imports::*;
pub use self::key::*;
pub use self::standby::*;
pub use self::webhooks::*;

/// An error, as RFC 9457 wants it (`application/problem+json`).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A short name of the kind of problem; stable.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, to what.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The member of the request that is wrong, where it is one, such as `options.company`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What a look at another server found, where that is the problem.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<CheckLine>,
}

/// Something that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Condition {
    /// Stable.
    pub code: String,
    /// `error`, `warning`, `info`.
    pub severity: String,
    /// What is the matter.
    pub text: String,
    /// What to do.
    pub remedy: String,
}

/// `GET /api/v1/status`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Whether webhooks are taken and the store answers.
    pub ready: bool,
    /// Where webhooks are taken, such as `https://0.0.0.0:8443`; `off` on a box that takes none.
    pub webhook_listener: String,
    /// Where the page and the API are served over the network, such as `https://127.0.0.1:8444`; `off` where they are not.
    #[serde(default)]
    pub page: String,
    /// The state folder.
    pub state_folder: String,
    /// Since when the daemon runs.
    pub started_at: String,
    /// What an operator should know, the worst first.
    pub conditions: Vec<Condition>,
    /// Webhook calls since the start.
    pub deliveries: DeliveryCounts,
    /// Reads of Sonar.
    pub sync: SyncCounts,
    /// How current the inventory is.
    #[serde(default)]
    pub freshness: Freshness,
    /// How the sources are doing.
    #[serde(default)]
    pub sources: Vec<SourceHealth>,
    /// What is held.
    pub inventory: InventoryCounts,
    /// Platforms that changes are passed on to.
    pub destinations: Vec<DestinationHealth>,
    /// The way on which SonarQube trusts this box.
    #[serde(default)]
    pub way: WayTold,
    /// Until when the certificate of the listeners is good; absent where none speaks TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_ends_at: Option<String>,
}

/// How current the inventory is, without regard to webhooks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Freshness {
    /// Minutes between two looks at a project's branches.
    pub poll_minutes: u64,
    /// Minutes after which a branch is read again.
    pub max_minutes: u64,
    /// The branch that was proven current the longest ago.
    pub oldest: Option<OldestBranch>,
    /// Branches that were not proven current for twice that time.
    pub stale: u64,
    /// Projects all of whose branches are proven current.
    #[serde(default)]
    pub in_step: u64,
}

/// The branch that was proven current the longest ago.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OldestBranch {
    /// The source.
    pub source: String,
    /// The organization's key.
    pub organization: String,
    /// The project's key.
    pub project: String,
    /// The branch or pull request.
    pub branch: String,
    /// Its last complete read; absent if there was none.
    pub synced_at: Option<String>,
}

/// How a source is doing, as far as this run of the daemon knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceHealth {
    /// The source.
    pub name: String,
    /// Requests of the last minute.
    pub requests_last_minute: u32,
    /// Requests that a minute may have.
    pub requests_per_minute: u32,
    /// Until when it is left alone, because it asked for that.
    pub paused_until: Option<String>,
    /// Why it is left alone, or what it has been failing with.
    pub reason: Option<String>,
    /// When it last gave an answer.
    pub answered_at: Option<String>,
    /// Since when it has not.
    pub failing_since: Option<String>,
}

/// Webhook calls since the daemon's start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryCounts {
    /// Stored and answered 202, duplicates among them.
    pub accepted: u64,
    /// Refused: signature, size, address, form.
    pub rejected: u64,
    /// The same call again.
    pub duplicate: u64,
    /// Answered 503, because nothing could be committed.
    pub unavailable: u64,
}

/// Reads of Sonar that wait and that run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncCounts {
    /// On the agenda and due.
    pub queued: u64,
    /// Under way.
    pub running: u64,
    /// Planned for later: second looks and retries.
    pub later: u64,
}

/// What the inventory holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InventoryCounts {
    /// Sources.
    pub sources: u64,
    /// Imported projects.
    pub projects: u64,
    /// Assets.
    pub assets: u64,
    /// Findings that are not closed, by severity, worst first.
    pub open: Vec<SeverityCount>,
    /// Findings that are closed.
    pub closed: u64,
    /// Findings that are not closed and that organizations' filters keep back; they are not among those above.
    #[serde(default)]
    pub filtered: u64,
}

/// A number beside a severity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SeverityCount {
    /// `critical` … `info`.
    pub severity: String,
    /// How many.
    pub count: u64,
}

/// `POST /api/v1/sources`: a new source. Its token is checked before anything is stored.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSource {
    /// Letters, digits, `- _ .`.
    pub name: String,
    /// `cloud` or `server`; or `fleet`: a stream of NATS JetStream in which other boxes tell what they hold.
    pub kind: String,
    /// `eu` (default) or `us`; Cloud only.
    #[serde(default)]
    pub region: Option<String>,
    /// The address of the Server, or of the fleet's server of NATS; on Cloud, replaces the region's.
    #[serde(default)]
    pub url: Option<String>,
    /// Replaces the address of the region's second API; Cloud only.
    #[serde(default)]
    pub api_url: Option<String>,
    /// The token; a fleet's credentials.
    #[schema(value_type = String)]
    pub token: SecretText,
    /// Certificates (PEM) to trust beside the system's.
    #[serde(default)]
    pub ca_pem: Option<String>,
    /// A proxy for this source.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub proxy: Option<SecretText>,
    /// Overrides the public URL in this source's webhook addresses.
    #[serde(default)]
    pub webhook_url: Option<String>,
    /// The fleet's stream; `HYDROPHONE` without it.
    #[serde(default)]
    pub stream: Option<String>,
    /// The way to the fleet's server is safe without TLS.
    #[serde(default)]
    pub plain: bool,
}

/// A source: `GET /api/v1/sources` answers `{"sources":[…]}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Source {
    /// The operator's name for it.
    pub name: String,
    /// `cloud`, `server` or `fleet`.
    pub kind: String,
    /// Where it is.
    pub url: String,
    /// Cloud's second API.
    pub api_url: Option<String>,
    /// A Server's version.
    pub version: Option<String>,
    /// Whether a certificate of one's own is trusted.
    pub own_ca: bool,
    /// Its proxy.
    pub proxy: Option<String>,
    /// Overrides the public URL.
    pub webhook_url: Option<String>,
    /// When it was last checked.
    pub checked_at: Option<String>,
    /// When the token ends, where Sonar says it.
    pub token_expires_at: Option<String>,
    /// What the last call ended with, if it failed.
    pub error: Option<String>,
    /// Projects imported from it.
    pub projects: u64,
    /// The site whose box reads it, where that is another one.
    pub site: Option<String>,
    /// A fleet's stream.
    pub stream: Option<String>,
    /// Whether the way to a fleet's server may go without TLS.
    #[serde(default)]
    pub plain: bool,
}

/// `POST /api/v1/sources/{name}/check`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SourceCheck {
    /// As stored after the check.
    pub source: Source,
    /// What the token sees.
    pub organizations: Vec<Organization>,
}

/// `PUT /api/v1/sources/{name}/token`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// The token.
    #[schema(value_type = String)]
    pub token: SecretText,
}

/// An organization: `GET /api/v1/organizations?source=` answers `{"organizations":[…]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Organization {
    /// The source.
    pub source: String,
    /// Sonar's key; for a Server, the source's name.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Which of its findings are shown and passed on, where not all are; all of them are held.
    #[serde(default, skip_serializing_if = "FilterChoice::is_all")]
    pub filter: FilterChoice,
}

/// A project. `GET /api/v1/organizations/{org}/projects?search=` answers `{"projects":[…]}` with all that the
/// token sees; `GET /api/v1/projects` those that are imported; `GET /api/v1/organizations/{org}/projects/{key}` one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Project {
    /// The source.
    pub source: String,
    /// The organization's key.
    pub organization: String,
    /// Sonar's key.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Whether it is imported.
    pub imported: bool,
    /// The asset that it belongs to.
    pub asset: Option<String>,
    /// Patterns of branches that were chosen; empty means the main branch.
    #[serde(default)]
    pub selected_branches: Vec<String>,
    /// Whether pull requests were asked for.
    #[serde(default)]
    pub pull_requests: bool,
    /// The clone address of its repository, where somebody gave it.
    #[serde(default)]
    pub repository: Option<String>,
    /// The branches and pull requests that are held.
    pub branches: Vec<Branch>,
    /// Why its branches could not be asked for, or that none was found.
    #[serde(default)]
    pub error: Option<String>,
    /// `queued` while Sonar is to be asked for its branches, else `idle`.
    #[serde(default)]
    pub activity: String,
    /// When Sonar is to be asked for its branches, where that is planned for later.
    #[serde(default)]
    pub next_at: Option<String>,
    /// The site whose box reads it; null for what this box reads itself.
    #[serde(default)]
    pub site: Option<String>,
}

/// A scope of a project.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Branch {
    /// Its name, or the pull request's key.
    pub name: String,
    /// `branch` or `pull_request`.
    pub kind: String,
    /// Whether it is the main branch.
    pub main: bool,
    /// Sonar's last analysis.
    pub analysed_at: Option<String>,
    /// The quality gate's colour.
    pub quality_gate: Option<String>,
    /// The last complete read.
    pub synced_at: Option<String>,
    /// Whether it was not proven current for twice the time after which branches are read again.
    #[serde(default)]
    pub stale: bool,
    /// Since when Sonar does not list it any more.
    #[serde(default)]
    pub retired_at: Option<String>,
    /// Whether the last read was proven complete.
    pub complete: bool,
    /// Findings that are not closed, as Sonar counts them.
    pub sonar_total: Option<u64>,
    /// Findings that are not closed, as held here.
    pub stored_total: u64,
    /// Those of them that pass the organization's filter; absent where it has none.
    #[serde(default)]
    pub passing_total: Option<u64>,
    /// Why the last read failed or proved nothing.
    pub error: Option<String>,
    /// `queued`, `running` or `idle`.
    pub activity: String,
    /// When it is to be read again, where that is planned for later; the hourly reads are not.
    #[serde(default)]
    pub next_at: Option<String>,
    /// Findings read by the running sync so far.
    #[serde(default)]
    pub read: u64,
    /// Findings that the running sync expects.
    #[serde(default)]
    pub expected: u64,
}

/// `POST /api/v1/imports`. Answers `{"projects":[…]}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewImport {
    /// `ORG` or `SOURCE/ORG`.
    pub organization: String,
    /// Keys of projects.
    #[serde(default)]
    pub projects: Vec<String>,
    /// All that the token sees.
    #[serde(default)]
    pub all: bool,
    /// But for these, where all are meant.
    #[serde(default)]
    pub except: Vec<String>,
    /// An asset that exists.
    #[serde(default)]
    pub asset: Option<String>,
    /// An asset to make.
    #[serde(default)]
    pub new_asset: Option<String>,
    /// Names or patterns (`release/*`); none means the main branch.
    #[serde(default)]
    pub branches: Vec<String>,
    /// Pull requests too.
    #[serde(default)]
    pub pull_requests: bool,
    /// The clone address of the project's repository, such as `https://git.example/team/shop.git`; one that was given
    /// before stays without it.
    #[serde(default)]
    pub repository: Option<String>,
}

/// `PATCH /api/v1/organizations/{org}/projects/{key}`: what is absent stays as it is. Answers the [`Project`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProjectEdit {
    /// Moves it to an asset that exists. Nothing is closed, and nothing is told twice: platforms keep what they were
    /// told where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asset: Option<String>,
    /// Moves it to an asset that is made for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_asset: Option<String>,
    /// Names or patterns of branches, all of them; an empty list means the main branch. Branches that are held stay so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branches: Option<Vec<String>>,
    /// Pull requests too, or no new ones any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_requests: Option<bool>,
}

/// `POST /api/v1/organizations/{org}/projects/{key}/rename`. Answers the [`Project`].
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// The key that Sonar shows it under now.
    pub to: String,
}

/// `POST /api/v1/sync`. Answers `{"projects":[…]}`, the projects concerned.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSync {
    /// `ORG` or `SOURCE/ORG`; all without it.
    #[serde(default)]
    pub organization: Option<String>,
    /// One project.
    #[serde(default)]
    pub project: Option<String>,
    /// Read whole, whatever else would do.
    #[serde(default)]
    pub full: bool,
}

/// An asset: `GET /api/v1/assets` answers `{"assets":[…]}`; `POST /api/v1/assets` takes an [`AssetEdit`];
/// `GET`, `PATCH`, `DELETE /api/v1/assets/{name}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Asset {
    /// Its number.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What the team says of it.
    pub description: Option<String>,
    /// What it would mean if something happened to it: `low`, `medium`, `high`; absent where nobody has said so.
    #[serde(default)]
    pub business_impact: Option<String>,
    /// What the team finds it by; in order.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The projects that belong to it.
    pub projects: Vec<ProjectName>,
    /// Findings that are not closed, by severity.
    pub open: Vec<SeverityCount>,
}

/// Names a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectName {
    /// The source.
    pub source: String,
    /// The organization's key.
    pub organization: String,
    /// Sonar's key.
    pub key: String,
    /// Its name.
    pub name: String,
    /// The site whose box reads it; null for what this box reads itself.
    #[serde(default)]
    pub site: Option<String>,
}

/// A new asset, or what is to be changed of one.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssetEdit {
    /// Its (new) name.
    #[serde(default)]
    pub name: Option<String>,
    /// Its (new) description; an empty one takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its (new) business impact: `low`, `medium`, `high`; an empty one takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub business_impact: Option<String>,
    /// Its (new) tags, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
}

/// A webhook call: `GET /api/v1/deliveries?before=&limit=` answers `{"deliveries":[…],"next":…}`, newest first;
/// `GET /api/v1/deliveries/{id}`; `POST /api/v1/deliveries/{id}/replay` answers the new one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// Its number.
    pub id: String,
    /// When it arrived.
    pub received_at: String,
    /// The source.
    pub source: String,
    /// The organization.
    pub organization: String,
    /// The project that the body names.
    pub project: Option<String>,
    /// The branch or pull request; absent where the body names none.
    pub branch: Option<String>,
    /// Sonar's task.
    pub task_id: Option<String>,
    /// `SUCCESS` or `FAILED`.
    pub status: Option<String>,
    /// `queued`, `synced`, `not_imported`, `not_selected`, `task_failed`, `duplicate`, `malformed`, `dropped`;
    /// `handed_over` by a box that stands by to the one that works;
    /// `test` for what this box sent to itself.
    pub outcome: String,
    /// In words, where the outcome needs them.
    pub detail: Option<String>,
    /// The first delivery of the same call.
    pub duplicate_of: Option<String>,
    /// The delivery that this one replays.
    pub replay_of: Option<String>,
    /// When the read that it asked for was done.
    pub synced_at: Option<String>,
    /// How the call failed, if it never arrived and was taken from Sonar's log of webhooks.
    #[serde(default)]
    pub healed: Option<String>,
}

/// `GET /api/v1/deliveries/{id}`: a webhook call with what only one of them is shown with.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeliveryDetail {
    /// The call.
    #[serde(flatten)]
    pub delivery: Delivery,
    /// What was sent: of a duplicate, with the first call. Values of `properties`, and whatever else may be a secret, are
    /// hidden.
    pub payload: Option<Value>,
    /// Bytes that were sent.
    pub payload_bytes: u64,
    /// What was sent is sealed, and cannot be opened now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
    /// Changes of its branch from when it came to the end of the read that it asked for, the oldest first.
    pub changes: Vec<DeliveryChange>,
    /// Whether those are all.
    pub whole: bool,
    /// Destinations that have followed the log beyond those changes.
    pub passed_to: Vec<String>,
    /// Destinations that have not come there yet.
    pub waiting: Vec<String>,
}

/// A change that a webhook call led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryChange {
    /// The change's number.
    pub id: String,
    /// When.
    pub at: String,
    /// As of a [`Change`].
    pub kind: String,
    /// The state after.
    pub to: String,
    /// The number of the finding.
    pub finding: String,
    /// Sonar's message, while the finding is held.
    pub title: Option<String>,
}

/// `GET /api/v1/organizations/{org}/webhook/calls`: what Sonar's own log says of its calls to this box. Sonar is asked
/// when this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SonarCalls {
    /// The source.
    pub source: String,
    /// The organization.
    pub organization: String,
    /// When Sonar was asked.
    pub asked_at: String,
    /// Why the log cannot be seen; then there are no webhooks.
    pub problem: Option<String>,
    /// What to do about it.
    pub remedy: Option<String>,
    /// The webhooks in Sonar that call this box.
    pub webhooks: Vec<SonarWebhook>,
}

/// A webhook in Sonar that calls this box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SonarWebhook {
    /// The project that it belongs to; absent where it is the organization's.
    pub project: Option<String>,
    /// Its newest calls, the newest first.
    pub calls: Vec<SonarCall>,
    /// How many Sonar's log has.
    pub total: u64,
}

/// A call as Sonar noted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SonarCall {
    /// When it was made.
    pub at: String,
    /// Sonar's task.
    pub task_id: Option<String>,
    /// Whether it was answered with success.
    pub success: bool,
    /// The status of the answer, where there was one.
    pub status: Option<u16>,
    /// The delivery here that tells of the same task.
    pub delivery: Option<String>,
    /// Whether that one never arrived, and was taken from Sonar's log.
    pub healed: bool,
}

/// A page of deliveries.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeliveryList {
    /// Newest first.
    pub deliveries: Vec<Delivery>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// A security finding.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// Stable for ever.
    pub id: String,
    /// Sonar's key.
    pub key: String,
    /// The source.
    pub source: String,
    /// The organization's key.
    pub organization: String,
    /// The project's key.
    pub project: String,
    /// The branch or pull request.
    pub branch: String,
    /// The asset.
    pub asset: Option<String>,
    /// `vulnerability` or `hotspot`.
    pub kind: String,
    /// Sonar's rule.
    pub rule: Option<String>,
    /// The rule's name, else the message.
    pub title: String,
    /// Sonar's message for this place.
    pub message: String,
    /// `critical` … `info`.
    pub severity: String,
    /// `open`, `confirmed`, `accepted`, `false_positive`, `fixed`, `removed`.
    pub state: String,
    /// Path in the project.
    pub path: Option<String>,
    /// Line, from 1.
    pub line: Option<u32>,
    /// The exact place, where Sonar gives one.
    #[serde(default)]
    pub range: Option<Range>,
    /// CWE numbers of the rule.
    pub cwe: Vec<u32>,
    /// Where Sonar shows it.
    pub url: String,
    /// When Sonar says it came about.
    pub created_at: Option<String>,
    /// When Sonar last touched it.
    pub updated_at: Option<String>,
    /// When it was closed.
    pub closed_at: Option<String>,
    /// Why and by which read it was closed; absent while it is not, and if that was before this was noted.
    #[serde(default)]
    pub closed_by: Option<ClosedBy>,
    /// When this box first held it.
    pub first_seen_at: String,
    /// When a complete read last held it.
    pub last_seen_at: Option<String>,
    /// The site whose box reads it; null for what this box reads itself.
    #[serde(default)]
    pub site: Option<String>,
    /// Whether Sonar does not list its branch or pull request any more.
    #[serde(default)]
    pub retired: bool,
    /// Whether its organization's filter keeps it back.
    #[serde(default)]
    pub filtered: bool,
    /// Sonar's own words.
    pub sonar: Value,
    /// How it comes about: each flow a list of places. Only for one finding, and in lists asked for `with=flows`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<Vec<FlowStep>>,
}

/// A place in a file, as Sonar counts: lines from 1, columns from 0, the end column the first that is not meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Range {
    /// First line.
    pub start_line: u32,
    /// Last line.
    pub end_line: u32,
    /// Column in the first line.
    pub start_offset: u32,
    /// Column in the last line.
    pub end_offset: u32,
}

/// A place on a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowStep {
    /// Path in the project; absent for findings on the project itself.
    pub path: Option<String>,
    /// The exact place.
    pub range: Option<Range>,
    /// What happens there; may be empty.
    pub message: String,
}

/// A rule of a source: `GET /api/v1/rules/{source}/{key}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Rule {
    /// The source.
    pub source: String,
    /// Sonar's key.
    pub key: String,
    /// Its title; absent if Sonar does not know it.
    pub name: Option<String>,
    /// Its text, HTML as Sonar writes it.
    pub description: Option<String>,
    /// The CWE numbers that its text names.
    pub cwe: Vec<u32>,
    /// Where Sonar shows it.
    pub url: String,
    /// When it was read.
    pub read_at: String,
}

/// On whose word a finding was closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClosedBy {
    /// `fixed`, `removed`, `unknown_to_sonar`, `no_longer_security`.
    pub reason: String,
    /// When the read began that closed it.
    pub read_at: String,
    /// The state that it had before.
    pub from: String,
}

/// `GET /api/v1/findings/{id}`: a finding with what only one of them is shown with.
/// `POST /api/v1/findings/{id}/reopen` undoes its closing, and answers the same.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FindingDetail {
    /// The finding.
    #[serde(flatten)]
    pub finding: Finding,
    /// The rule's text, HTML as Sonar writes it.
    pub rule_description: Option<String>,
    /// What happened to it here, oldest first.
    pub changes: Vec<Change>,
}

/// An entry of the change log.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// Its number.
    pub id: String,
    /// When.
    pub at: String,
    /// `opened`, `updated`, `fixed`, `removed`, `reopened`, `triaged`, `moved`.
    pub kind: String,
    /// The state before.
    pub from: Option<String>,
    /// The state after.
    pub to: String,
    /// Who decided, where that was done here or on a platform; absent where it was done in Sonar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, as Sonar was told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// By which way it was decided: `user`, `token`, `socket`, `destination`; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
}

/// What a follower of the change log is told next.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FollowedChange {
    /// The change's number; absent where the present state is told.
    pub id: Option<String>,
    /// When.
    pub at: Option<String>,
    /// As of a [`Change`]; or `current` where the present state is told.
    pub kind: String,
    /// The number of the finding.
    pub finding_id: String,
    /// The state before.
    pub from: Option<String>,
    /// The state after.
    pub to: String,
    /// The finding as it is now, which may be after later changes; absent if it is gone.
    pub finding: Option<Finding>,
}

/// `GET /api/v1/changes?after=&limit=`: what happened after a cursor, oldest first. Without a cursor the present state
/// is told first. At the end of the log there are no changes, and `next` stays as it is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FollowedChanges {
    /// In order.
    pub changes: Vec<FollowedChange>,
    /// What to ask with next. Keep it together with what was done about the changes.
    pub next: String,
    /// The cursor was too old, or none of this box: the present state is told anew from here on, and what is not among
    /// it when `seeding` ends is gone.
    pub reseeded: bool,
    /// Whether more of the present state follows.
    pub seeding: bool,
}

/// A page of findings:
/// `GET /api/v1/findings?organization=&project=&asset=&branch=&scope=branch|pull_request&severity=a,b&state=a,b&kind=&search=&retired=true&filtered=true&with=flows&sort=severity|newest|path&limit=&cursor=`.
/// Without `state`, findings that are not closed; without `retired` or `branch`, none of branches and pull requests that
/// Sonar does not list any more.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FindingList {
    /// In the order that was asked for.
    pub findings: Vec<Finding>,
    /// How many match.
    pub total: u64,
    /// Whether the total is exact.
    pub total_exact: bool,
    /// How many more would match if organizations' filters kept none back; not counted where words are searched for.
    #[serde(default)]
    pub filtered: u64,
    /// Whether the page ended before it was full, because enough findings were looked through: `next` goes on.
    #[serde(default)]
    pub partial: bool,
    /// Findings that were looked through for this page.
    #[serde(default)]
    pub examined: u64,
    /// Records on the way that are damaged: what they hold is not known, so that they are in no page.
    #[serde(default)]
    pub damaged: u64,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// `GET /api/v1/config` answers `{"settings":[…]}`; `PUT /api/v1/config/{key}` takes a [`NewValue`].
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Setting {
    /// Its name, such as `public-url`.
    pub key: String,
    /// The value in force; absent if there is neither a value nor a default.
    pub value: Option<String>,
    /// The value without any of one's own.
    pub default: Option<String>,
    /// What it is, with its unit.
    pub help: String,
    /// What a person should know who set it just now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A setting's new value.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewValue {
    /// The value; none takes one's own away.
    pub value: Option<String>,
}

macro_rules! list {
    ($(#[$doc:meta])* $type:ident { $field:ident: $item:ty }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
        pub struct $type {
            /// The entries.
            pub $field: Vec<$item>,
        }
    };
}

list!(
    /// Sources.
    SourceList { sources: Source }
);
list!(
    /// Organizations.
    OrganizationList { organizations: Organization }
);
list!(
    /// Projects.
    ProjectList { projects: Project }
);
list!(
    /// Assets.
    AssetList { assets: Asset }
);
list!(
    /// Settings.
    SettingList { settings: Setting }
);

/// `POST /api/v1/findings/{id}/triage`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TriageDecision {
    /// `open`, `confirmed`, `accepted`, `false_positive`.
    pub state: String,
    /// Why.
    pub comment: String,
}
