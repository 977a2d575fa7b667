//! The JSON of destinations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::secret::SecretText;

/// How a destination is doing, as `GET /api/v1/status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DestinationHealth {
    /// Its name.
    pub name: String,
    /// `defectdojo`, `conviso`, `events`, `sarif`, `github`, `nats`.
    pub kind: String,
    /// Changes that it has not been told yet; absent while it is told the present state.
    pub lag: Option<u64>,
    /// `up_to_date`, `behind`, `seeding`, `retrying`, `refused`, `gone`, `paused`.
    pub state: String,
}

/// What of the inventory a destination is told; lists that are empty stand for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DestinationFilter {
    /// `ORG` or `SOURCE/ORG`.
    pub organizations: Vec<String>,
    /// Patterns of projects' keys.
    pub projects: Vec<String>,
    /// Patterns of branches' names.
    pub branches: Vec<String>,
    /// Severities.
    pub severities: Vec<String>,
    /// `vulnerability`, `hotspot`.
    pub kinds: Vec<String>,
    /// Pull requests too.
    pub pull_requests: bool,
    /// Sites of a fleet that this box gathers; what it reads itself is of none of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<String>,
}

/// Which way decisions about findings are passed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Triage {
    /// The platform's become transitions in Sonar.
    pub to_sonar: bool,
    /// Sonar's become statuses there.
    pub from_sonar: bool,
}

/// A change of it: what is absent stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TriageEdit {
    /// See [`Triage`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_sonar: Option<bool>,
    /// See [`Triage`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_sonar: Option<bool>,
}

/// A destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Destination {
    /// Its name.
    pub name: String,
    /// Which platform.
    pub kind: String,
    /// Its address, or a folder.
    pub url: String,
    /// What only this kind knows.
    pub options: BTreeMap<String, String>,
    /// Whether certificates were given to trust beside the system's.
    pub own_ca: bool,
    /// Whether it has a secret, which is not told.
    pub has_secret: bool,
    /// Its proxy, without its password.
    pub proxy: Option<String>,
    /// What it is told.
    pub filter: DestinationFilter,
    /// What assets are called there, where that is not their own name.
    pub assets: BTreeMap<String, String>,
    /// Whether decisions are passed on.
    pub triage: Triage,
    /// See [`DestinationHealth`].
    pub state: String,
    /// See [`DestinationHealth`].
    pub lag: Option<u64>,
    /// Messages that it was told, ever.
    pub told: u64,
    /// When it was last told something.
    pub told_at: Option<String>,
    /// Messages that it refuses.
    pub dead_letters: u64,
    /// What is the matter.
    pub trouble: Option<String>,
    /// What to do about it.
    pub remedy: Option<String>,
    /// Since when.
    pub trouble_since: Option<String>,
    /// When it was added.
    pub created_at: String,
}

/// `GET /api/v1/destinations`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DestinationList {
    /// By number.
    pub destinations: Vec<Destination>,
}

/// `POST /api/v1/destinations`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDestination {
    /// Letters, digits and `- _ .`.
    pub name: String,
    /// Which platform.
    pub kind: String,
    /// Its address, or a folder; some kinds have a default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A token or key; for signed events one is made where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub secret: Option<SecretText>,
    /// What only this kind knows.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Certificates (PEM) to trust beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// Its proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub proxy: Option<SecretText>,
    /// What it is told.
    #[serde(default)]
    pub filter: DestinationFilter,
    /// What assets are called there.
    #[serde(default)]
    pub assets: BTreeMap<String, String>,
    /// Whether decisions are passed on.
    #[serde(default)]
    pub triage: Triage,
    /// Begins paused, to look at the preview first.
    #[serde(default)]
    pub paused: bool,
    /// Adds it although it cannot be asked now.
    #[serde(default)]
    pub unchecked: bool,
}

/// `PATCH /api/v1/destinations/{name}`: what is absent stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DestinationEdit {
    /// Another address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Another token or key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub secret: Option<SecretText>,
    /// Options to set; an empty value takes one away.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Another filter, whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<DestinationFilter>,
    /// Names of assets there to set; an empty name takes one away.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub assets: BTreeMap<String, String>,
    /// Whether decisions are passed on, from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triage: Option<TriageEdit>,
    /// Whether it is told nothing for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Other certificates (PEM) to trust beside the system's; an empty text takes them away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// Another proxy; an empty text takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub proxy: Option<SecretText>,
    /// Asks the platform first, and changes nothing where it does not accept what was given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub check: bool,
}

/// A line of what a look at a platform found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckLine {
    /// What was looked at.
    pub what: String,
    /// Whether it is good.
    pub good: bool,
    /// What was found, and of something bad what to do.
    pub text: String,
}

/// `POST /api/v1/destinations/{name}/check`, and the answer to a new one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DestinationCheck {
    /// The destination.
    pub destination: Destination,
    /// What was found; empty where nothing was asked.
    pub lines: Vec<CheckLine>,
    /// A secret that was made for it, told only this once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub secret: Option<SecretText>,
}

/// `GET /api/v1/destinations/{name}/preview`: what it would be told if it were told everything now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DestinationPreview {
    /// Findings that Sonar counts in the scopes that are held; absent where one was never read completely.
    pub sonar_total: Option<u64>,
    /// Findings held here that are not closed.
    pub open: u64,
    /// That would be created.
    pub create: u64,
    /// That would be changed.
    pub update: u64,
    /// That would be closed.
    pub close: u64,
    /// That would be reopened.
    pub reopen: u64,
    /// That are there as they are here.
    pub same: u64,
    /// That are left out, by reason.
    pub left_out: BTreeMap<String, u64>,
}

/// `POST /api/v1/destinations/{name}/replay`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DestinationReplay {
    /// Tell again what changed after this change; without it, the whole present state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Tell again what changed since this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// A message that a platform refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    /// The finding.
    pub finding: String,
    /// Sonar's key, while the finding is held.
    pub key: Option<String>,
    /// Its title.
    pub title: Option<String>,
    /// Why.
    pub why: String,
    /// When it was first refused.
    pub since: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried again by itself.
    pub again_at: Option<String>,
}

/// `GET /api/v1/destinations/{name}/dead-letters`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterList {
    /// In the order of findings.
    pub dead_letters: Vec<DeadLetter>,
    /// The finding to go on after.
    pub next: Option<String>,
}

/// What came of trying dead letters again, or of dropping them.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterCount {
    /// How many.
    pub dead_letters: u64,
}

/// One of our states and the platform's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MappedState {
    /// Our state.
    pub state: String,
    /// The platform's word for it.
    pub word: Option<String>,
    /// Whether an operator chose it.
    pub own: bool,
}

/// One of the platform's words and our state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MappedWord {
    /// The platform's word.
    pub word: String,
    /// What it means here; nothing where it is to mean nothing.
    pub state: Option<String>,
    /// Whether an operator chose it.
    pub own: bool,
}

/// `GET` and `PUT /api/v1/destinations/{name}/mapping`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DestinationMapping {
    /// What is told.
    pub outward: Vec<MappedState>,
    /// What is understood.
    pub inward: Vec<MappedWord>,
}

/// `PUT /api/v1/destinations/{name}/mapping`: what is absent gets the platform's default again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MappingEdit {
    /// Our state → the platform's word.
    pub outward: BTreeMap<String, String>,
    /// The platform's word → our state, or nothing.
    pub inward: BTreeMap<String, Option<String>>,
}

/// A place on the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Offer {
    /// Its id there.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// `GET /api/v1/destinations/{name}/targets`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OfferList {
    /// Places that findings can go to.
    pub targets: Vec<Offer>,
}
