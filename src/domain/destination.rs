//! A destination: a platform that is told what changes, and what of it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use super::finding::{Kind, Severity, State};
use super::fleet::Site;
use super::ids::{AssetName, DestinationName, OrganizationRef, ScopeKind};
use super::message::Place;
use super::secret::SecretText;
use super::selection::matches;
use super::time::Timestamp;

/// Which platform a destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum PlatformKind {
    /// A DefectDojo server.
    #[n(0)]
    DefectDojo,
    /// Conviso Platform.
    #[n(1)]
    Conviso,
    /// Any HTTPS address that takes signed events (Standard Webhooks, CloudEvents).
    #[n(2)]
    Events,
    /// A folder of SARIF files.
    #[n(3)]
    Sarif,
    /// GitHub code scanning.
    #[n(4)]
    GitHub,
    /// A stream of NATS JetStream, in which a fleet of boxes speaks.
    #[n(5)]
    Nats,
}

impl PlatformKind {
    /// All of them.
    pub const ALL: &'static [Self] =
        &[Self::DefectDojo, Self::Conviso, Self::Events, Self::Sarif, Self::GitHub, Self::Nats];

    /// The word in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DefectDojo => "defectdojo",
            Self::Conviso => "conviso",
            Self::Events => "events",
            Self::Sarif => "sarif",
            Self::GitHub => "github",
            Self::Nats => "nats",
        }
    }
}

impl fmt::Display for PlatformKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The word names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kind of destination; they are: defectdojo, conviso, events, sarif, github, nats")]
pub struct UnknownKind(String);

impl FromStr for PlatformKind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// A platform that is told of changes. Its secrets are stored apart.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Destination {
    /// The operator's name for it.
    #[n(0)]
    pub name: DestinationName,
    /// Which platform.
    #[n(1)]
    pub kind: PlatformKind,
    /// Where it is: an address, or a folder.
    #[n(2)]
    pub url: String,
    /// What only this kind knows, by name; checked by the platform's own module.
    #[n(3)]
    pub options: BTreeMap<String, String>,
    /// Certificates (PEM) to trust beside the system's.
    #[n(4)]
    pub ca_pem: Option<String>,
    /// Its proxy.
    #[n(5)]
    pub proxy: Option<SecretText>,
    /// What is passed on.
    #[n(6)]
    pub filter: Filter,
    /// What an asset is called there, where that is not its own name.
    #[n(7)]
    pub assets: BTreeMap<AssetName, String>,
    /// Words for states, where they are not the platform's defaults.
    #[n(8)]
    pub mapping: Mapping,
    /// Whether decisions of the platform become transitions in Sonar.
    #[n(9)]
    pub triage_to_sonar: bool,
    /// Whether decisions of Sonar become statuses of the platform.
    #[n(10)]
    pub triage_from_sonar: bool,
    /// Whether an operator has stopped it for a while.
    #[n(11)]
    pub paused: bool,
    /// When it was added.
    #[n(12)]
    pub created_at: Timestamp,
}

impl Destination {
    /// One with nothing but what is needed, which passes everything on that is on branches.
    pub fn new(name: DestinationName, kind: PlatformKind, url: String, created_at: Timestamp) -> Self {
        Self {
            name,
            kind,
            url,
            options: BTreeMap::new(),
            ca_pem: None,
            proxy: None,
            filter: Filter::default(),
            assets: BTreeMap::new(),
            mapping: Mapping::default(),
            triage_to_sonar: false,
            triage_from_sonar: false,
            paused: false,
            created_at,
        }
    }

    /// An option of the kind's own.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// Whether it is to be told of this box's own conditions: a fleet always is, others where a person says so.
    pub fn wants_conditions(&self) -> bool {
        self.kind == PlatformKind::Nats || self.option("conditions") == Some("yes")
    }

    /// What an asset is called on the platform.
    pub fn asset_name<'a>(&'a self, asset: &'a AssetName) -> &'a str {
        self.assets.get(asset).map_or(asset.as_str(), String::as_str)
    }
}

/// What of the inventory a destination is told. Every list that is empty stands for all. It decides what is passed on
/// for the first time: a finding that the platform has is followed to its end, or it would stay open there for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Filter {
    /// Organizations: `ORG` or `SOURCE/ORG`.
    #[n(0)]
    pub organizations: Vec<String>,
    /// Patterns of projects' keys.
    #[n(1)]
    pub projects: Vec<String>,
    /// Patterns of branches' names. Pull requests are told only where [`pull_requests`](Self::pull_requests) says so.
    #[n(2)]
    pub branches: Vec<String>,
    /// Severities.
    #[n(3)]
    pub severities: Vec<Severity>,
    /// Kinds.
    #[n(4)]
    pub kinds: Vec<Kind>,
    /// Pull requests too.
    #[n(5)]
    pub pull_requests: bool,
    /// Sites of a fleet. What this box reads itself is of none, and passes only where this is empty.
    #[n(6)]
    #[cbor(default)]
    pub sites: Vec<Site>,
}

/// Why something is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeftOut {
    /// Another site, or none.
    Site,
    /// Another organization.
    Organization,
    /// Another project.
    Project,
    /// Another branch.
    Branch,
    /// A pull request.
    PullRequest,
    /// Another severity.
    Severity,
    /// Another kind.
    Kind,
    /// A severity that does not pass its organization's filter.
    OrganizationSeverity,
    /// A kind that does not pass its organization's filter.
    OrganizationKind,
    /// It was closed before the platform heard of it.
    Closed,
    /// A person decided about it in Sonar before the platform heard of it, and decisions are not passed on.
    Decided,
    /// What it belongs to cannot be read here.
    Unreadable,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Site => "of another site",
            Self::Organization => "of another organization",
            Self::Project => "of another project",
            Self::Branch => "of another branch",
            Self::PullRequest => "of a pull request",
            Self::Severity => "of another severity",
            Self::Kind => "of another kind",
            Self::OrganizationSeverity => "of a severity that its organization's filter keeps back",
            Self::OrganizationKind => "of a kind that its organization's filter keeps back",
            Self::Closed => "closed before the platform heard of it",
            Self::Decided => "accepted or a false positive in Sonar, whose decisions are not passed on",
            Self::Unreadable => "of a project whose record here is damaged",
        })
    }
}

impl Filter {
    /// Whether anything of an organization is passed on.
    pub fn takes_organization(&self, organization: &OrganizationRef) -> bool {
        let full = format!("{}/{}", organization.source, organization.key);
        let names = |one: &String| *one == full || one == organization.key.as_str();
        self.organizations.is_empty() || self.organizations.iter().any(names)
    }

    /// Whether anything of a site is passed on; of none, anything that this box reads itself.
    pub fn takes_site(&self, site: Option<&Site>) -> bool {
        self.sites.is_empty() || site.is_some_and(|site| self.sites.contains(site))
    }

    /// Whether a scope is passed on, or why not.
    pub fn takes_place(&self, place: &Place) -> Result<(), LeftOut> {
        let any = |list: &[String], fits: &dyn Fn(&str) -> bool| list.is_empty() || list.iter().any(|one| fits(one));
        let organization = OrganizationRef { source: place.source.clone(), key: place.organization.clone() };
        if !self.takes_organization(&organization) {
            return Err(LeftOut::Organization);
        }
        if !self.takes_site(place.site.as_ref()) {
            return Err(LeftOut::Site);
        }
        if !any(&self.projects, &|one| matches(one, place.project.as_str())) {
            return Err(LeftOut::Project);
        }
        match place.scope_kind {
            ScopeKind::PullRequest if self.pull_requests => Ok(()),
            ScopeKind::PullRequest => Err(LeftOut::PullRequest),
            ScopeKind::Branch if any(&self.branches, &|one| matches(one, place.branch.as_str())) => Ok(()),
            ScopeKind::Branch => Err(LeftOut::Branch),
        }
    }

    /// Whether a finding of this kind and severity, in such a scope, is passed on, or why not.
    pub fn takes(&self, kind: Kind, severity: Severity) -> Result<(), LeftOut> {
        if !self.severities.is_empty() && !self.severities.contains(&severity) {
            return Err(LeftOut::Severity);
        }
        if !self.kinds.is_empty() && !self.kinds.contains(&kind) {
            return Err(LeftOut::Kind);
        }
        Ok(())
    }
}

/// Which of our states is which word of the platform, both ways. Only what differs from the platform's defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Mapping {
    /// Our state → the platform's word.
    #[n(0)]
    pub outward: BTreeMap<u8, String>,
    /// The platform's word → our state, by its number; none of ours where the word is to mean nothing.
    #[n(1)]
    pub inward: BTreeMap<String, Option<u8>>,
}

/// A platform's own words: what a state is called there, and what a word means here.
pub type Words = [(State, &'static str)];

impl Mapping {
    /// The word for a state.
    pub fn word(&self, state: State, defaults: &Words) -> Option<String> {
        let own = self.outward.get(&(state as u8)).cloned();
        own.or_else(|| defaults.iter().find(|(of, _)| *of == state).map(|(_, word)| (*word).to_owned()))
    }

    /// The state that a word means; nothing where it means none.
    pub fn state(&self, word: &str, defaults: &Words) -> Option<State> {
        match self.inward.get(word) {
            Some(own) => own.and_then(|number| State::ALL.get(usize::from(number)).copied()),
            None => defaults.iter().find(|(_, default)| *default == word).map(|(state, _)| *state),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_filter_by_site_takes_those_sites_and_nothing_of_this_box() {
        let site = |name: &str| name.parse::<Site>().unwrap();
        let (berlin, oslo) = (site("berlin"), site("oslo"));
        let all = Filter::default();
        assert!(all.takes_site(None) && all.takes_site(Some(&berlin)));
        let some = Filter { sites: vec![berlin.clone()], ..Filter::default() };
        assert!(some.takes_site(Some(&berlin)));
        assert!(!some.takes_site(Some(&oslo)) && !some.takes_site(None));
    }
}
