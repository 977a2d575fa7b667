//! Changes, conditions and whatever else a receiver of events is told, each as one
//! [CloudEvents 1.0](https://cloudevents.io) event in JSON.
//!
//! ```text
//! {"specversion":"1.0","id":"7d9e…","source":"hydrophone:/cloud/acme/shop","type":"dev.hydrophone.finding.opened",
//!  "subject":"F12","time":"2026-11-01T00:00:00Z","datacontenttype":"application/json",
//!  "data":{"id":"F12","key":"AY…","source":"cloud","organization":"acme","project":"shop","branch":"main",…,
//!          "previous_state":null,"change":"C40"}}
//! ```
//!
//! - `type` ends in what happened: `opened`, `updated`, `fixed`, `removed`, `reopened`, `triaged`, `moved`; or `present`
//!   where the present state is told, to a new destination or anew.
//! - `data` is the finding as the API shows it, without Sonar's own words, and as it is now: an event that comes late
//!   tells the newest state, `previous_state` the one before the change. Where texts had to be shortened to keep an
//!   event below 20 kB, `cut` names them.
//! - `data.site` is there where another site's box reads it, which tells this one what it holds, and names that site.
//! - Where many boxes speak in one place, each event also says its `site`, an attribute of its own, and its `source`
//!   begins with it: `hydrophone://berlin/cloud/acme/shop`. `data.origin` has the numbers that the box knows project and
//!   scope by, with the inventory that they belong to. Where two boxes share the site, `term` says in which holding of their
//!   [lease](crate::domain::standby) it was said: what bears an older one than was heard before does not count.

use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value, json};

use super::Life;
use crate::domain::fleet::{InventoryId, Site};
use crate::domain::ids::{RuleKey, ScopeId, ScopeKind};
use crate::domain::limits::{EVENT_BYTES_MAX, EVENT_CWE_MAX};
use crate::domain::message::{Cause, Message, Place, QUERY, told_state};
use crate::domain::notice::Notice;
use crate::domain::time::Timestamp;

/// Whose events these are.
#[derive(Debug, Clone, Default)]
pub(super) struct Speaker {
    /// Where it stands, if many speak in one place.
    pub(super) site: Option<Site>,
    /// In which term of the site's lease it speaks, where two boxes share the site.
    pub(super) term: Option<u64>,
    /// Whether Sonar's decisions are passed on, so that the state before is told by the same rule as the state.
    pub(super) decisions: bool,
}

/// What an event says beside its data.
#[derive(Clone, Copy)]
struct Envelope<'a> {
    id: &'a str,
    /// The end of its type.
    kind: &'a str,
    /// Below what it came up, from a slash on.
    path: &'a str,
    subject: Option<&'a str>,
    time: Timestamp,
}

impl Speaker {
    /// The event of a change. The same for every attempt, unless the finding changed meanwhile.
    pub(super) fn finding(&self, id: &str, place: &Place, message: &Message) -> Vec<u8> {
        let whole = self.finding_cut(id, place, message, usize::MAX);
        if whole.len() <= EVENT_BYTES_MAX {
            return whole;
        }
        // Names are bounded by their types, so that the last of these always fits.
        let cut = |characters| self.finding_cut(id, place, message, characters);
        let fits = |body: &Vec<u8>| body.len() <= EVENT_BYTES_MAX;
        [4000, 1000].into_iter().map(cut).find(fits).unwrap_or_else(|| cut(250))
    }

    fn finding_cut(&self, id: &str, place: &Place, message: &Message, characters_max: usize) -> Vec<u8> {
        let (finding, observed) = (&message.finding, &message.finding.observed);
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let (kind, at, from, change) = match &message.cause {
            Cause::Present | Cause::Seeded(_) => {
                ("present", observed.updated_at.unwrap_or(finding.first_seen_at), None, None)
            }
            Cause::Changed { number, kind, from, at } => (kind.as_str(), *at, *from, Some(number.to_string())),
        };
        let mut data = json!({
            "id": finding.id.to_string(),
            "key": observed.key.as_str(),
            "source": place.source.as_str(),
            "organization": place.organization.as_str(),
            "project": place.project.as_str(),
            "branch": place.branch.as_str(),
            "pull_request": place.scope_kind == ScopeKind::PullRequest,
            "asset": place.asset.as_str(),
            "kind": observed.kind.as_str(),
            "rule": observed.rule.as_ref().map(RuleKey::as_str),
            "title": message.title(),
            "message": observed.message,
            "severity": observed.severity.as_str(),
            "state": message.state.as_str(),
            "path": observed.path,
            "line": observed.line,
            "cwe": message.rule.cwe.get(..EVENT_CWE_MAX).unwrap_or(&message.rule.cwe),
            "url": message.url,
            "created_at": time(observed.created_at),
            "updated_at": time(observed.updated_at),
            "closed_at": time(observed.closed_at.filter(|_| observed.state.is_closed()).or(finding.closed_at)),
            "first_seen_at": finding.first_seen_at.to_string(),
            "previous_state": from.map(|from| told_state(from, self.decisions).as_str()),
            "change": change,
        });
        let mut cut = Vec::new();
        for name in ["title", "message", "path"] {
            let Some(text) = data[name].as_str() else { continue };
            if let Some((end, _)) = text.char_indices().nth(characters_max) {
                data[name] = Value::from(format!("{}…", &text[..end]));
                cut.push(name);
            }
        }
        if !cut.is_empty() {
            data["cut"] = json!(cut);
        }
        add_site(&mut data, place);
        self.add_origin(&mut data, place);
        let (kind, subject) = (format!("finding.{kind}"), finding.id.to_string());
        self.written(Envelope { id, kind: &kind, path: &project(place), subject: Some(&subject), time: at }, data)
    }

    /// How a scope stands: what was read of it and when.
    pub(super) fn scope(&self, id: &str, place: &Place, now: Timestamp) -> Vec<u8> {
        let mut data = json!({
            "source": place.source.as_str(),
            "organization": place.organization.as_str(),
            "project": place.project.as_str(),
            "name": place.project_name,
            "branch": place.branch.as_str(),
            "pull_request": place.scope_kind == ScopeKind::PullRequest,
            "main": place.main,
            "asset": place.asset.as_str(),
            "analysed_at": place.analysed_at.map(|at| at.to_string()),
            "revision": place.revision,
            "complete": place.complete,
            "url": place.source_url,
            "cloud": place.cloud,
            "repository": place.repository,
            "synced_at": place.held.synced_at.map(|at| at.to_string()),
            "retired_at": place.held.retired_at.map(|at| at.to_string()),
            "sonar_total": place.held.sonar_total,
        });
        add_site(&mut data, place);
        self.add_origin(&mut data, place);
        let subject = Some(place.branch.as_str());
        self.written(Envelope { id, kind: "scope.told", path: &project(place), subject, time: now }, data)
    }

    /// That a scope is not held here any more.
    pub(super) fn gone(&self, id: &str, inventory: InventoryId, scope: ScopeId, now: Timestamp) -> Vec<u8> {
        let data = json!({ "origin": { "inventory": inventory.to_string(), "scope": scope.to_string() } });
        self.written(Envelope { id, kind: "scope.gone", path: "/", subject: None, time: now }, data)
    }

    /// By which numbers it is known where it comes from: names may change.
    fn add_origin(&self, data: &mut Value, place: &Place) {
        if self.site.is_some() {
            data["origin"] = json!({
                "inventory": place.held.inventory.to_string(),
                "project": place.held.project.to_string(),
                "scope": place.scope.to_string(),
                "main": place.main,
            });
        }
    }

    /// That a condition of this box came up, or is over. `box` says which machine it is.
    pub(super) fn condition(&self, id: &str, notice: &Notice) -> Vec<u8> {
        let Notice { told, ended_at } = notice;
        let kind = if ended_at.is_some() { "condition.ended" } else { "condition.raised" };
        let short = |text: &str| text.chars().take(CONDITION_CHARACTERS_MAX).collect::<String>();
        let data = json!({
            "code": told.code,
            "severity": told.severity,
            "text": short(&told.text),
            "remedy": short(&told.remedy),
            "raised_at": told.raised_at.to_string(),
            "ended_at": ended_at.map(|at| at.to_string()),
            "box": this_box(),
        });
        let time = ended_at.unwrap_or(told.raised_at);
        self.written(Envelope { id, kind, path: "/", subject: Some(&told.code), time }, data)
    }

    /// That this box is there, and speaks again within so many seconds.
    pub(super) fn alive(&self, id: &str, life: Life<'_>, every_seconds: u64, now: Timestamp) -> Vec<u8> {
        let mut data = json!({
            "box": this_box(),
            "version": env!("CARGO_PKG_VERSION"),
            "inventory": life.inventory.to_string(),
            "every_seconds": every_seconds,
        });
        if let Some(offer) = life.offer {
            data["configuration"] = json!({
                "serial": offer.serial,
                "state": offer.state.as_str(),
                "why": offer.why,
                "changes": offer.changes,
                "at": offer.at.map(|at| at.to_string()),
            });
        }
        self.written(Envelope { id, kind: "box.alive", path: "/", subject: None, time: now }, data)
    }

    /// That the way is open; about no finding.
    pub(super) fn ping(&self, id: &str, destination: &str, now: Timestamp) -> Vec<u8> {
        let data = json!({
            "destination": destination,
            "text": "This event shows that the way is open. It is about no finding.",
        });
        self.written(Envelope { id, kind: "ping", path: "/", subject: None, time: now }, data)
    }

    fn written(&self, envelope: Envelope<'_>, data: Value) -> Vec<u8> {
        let Envelope { id, kind, path, subject, time } = envelope;
        let source = match &self.site {
            Some(site) => format!("hydrophone://{site}{path}"),
            None => format!("hydrophone:{path}"),
        };
        let mut event = Map::new();
        let mut set = |name: &str, value: String| event.insert(name.to_owned(), Value::String(value));
        set("specversion", "1.0".to_owned());
        set("id", id.to_owned());
        set("source", source);
        set("type", format!("{TYPES}{kind}"));
        if let Some(subject) = subject {
            set("subject", subject.to_owned());
        }
        set("time", time.to_string());
        set("datacontenttype", "application/json".to_owned());
        if let Some(site) = &self.site {
            set("site", site.to_string());
        }
        if let Some(term) = self.term {
            event.insert("term".to_owned(), term.into());
        }
        event.insert("data".to_owned(), data);
        Value::Object(event).to_string().into_bytes()
    }
}

/// What the type of every event of ours begins with.
pub(super) const TYPES: &str = "dev.hydrophone.";

/// The site whose box reads it, where that is another one than this event's speaker.
fn add_site(data: &mut Value, place: &Place) {
    if let Some(site) = &place.site {
        data["site"] = site.as_str().into();
    }
}

/// A project's path in `source`.
fn project(place: &Place) -> String {
    let segment = |text: &str| utf8_percent_encode(text, QUERY).to_string();
    let (source, organization) = (segment(place.source.as_str()), segment(place.organization.as_str()));
    format!("/{source}/{organization}/{}", segment(place.project.as_str()))
}

/// This machine's name.
fn this_box() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The longest texts name a project and repeat what a server said.
const CONDITION_CHARACTERS_MAX: usize = 2_000;
