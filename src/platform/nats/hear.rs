//! Understanding what other boxes say: the way back from an [event](super::super::cloud_events) on its
//! [subject](crate::domain::fleet). Whose it is says the subject, on which the server lets nobody else speak; what disagrees
//! with it, or cannot be read, is passed over.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;

use super::super::cloud_events::TYPES;
use crate::domain::finding::{Observed, SonarWords};
use crate::domain::fleet::offer::{Outcome, State};
use crate::domain::fleet::said::{AliveSaid, ConditionSaid, FindingSaid, Names, Origin, Said, ScopeSaid, Unheard};
use crate::domain::fleet::{InventoryId, Site};
use crate::domain::ids::{FindingId, IssueKey, RuleKey, ScopeId, ScopeKind};
use crate::domain::limits::{FLEET_MESSAGE_BYTES_MAX, FLEET_TEXT_BYTES_MAX};
use crate::domain::time::Timestamp;

/// The names in an event about a scope. Flattening them into both would have all of an event copied first.
macro_rules! names {
    ($data:expr) => {
        Names {
            source: parsed(&$data.source)?,
            organization: parsed(&$data.organization)?,
            project: parsed(&$data.project)?,
            asset: parsed(&$data.asset)?,
            kind: if $data.pull_request { ScopeKind::PullRequest } else { ScopeKind::Branch },
            scope: parsed(&$data.branch)?,
        }
    };
}

/// Whoever listens, with the names that were heard of each scope: they are the same for all of its findings, and so they are
/// checked and kept once.
#[derive(Default)]
pub(super) struct Ear {
    scopes: BTreeMap<(InventoryId, ScopeId), Known>,
}

/// Whose message it is, in which term of the site's lease, and what it says.
pub(super) type Whose = (Site, Option<u64>, Said);

/// What was heard of a scope.
struct Known {
    names: Arc<Names>,
    /// The subject of its findings, up to their numbers.
    subject: String,
}

impl Ear {
    /// What a message says, whose it is, and in which term of the site's lease it was said.
    ///
    /// # Errors
    /// If it is passed over, with the site where the subject names one.
    pub(super) fn hear(&mut self, subject: &str, body: &[u8]) -> Result<Whose, (Option<Site>, Unheard)> {
        let Some((site, rest)) = Site::of_subject(subject) else {
            return Err((None, Unheard::Foreign("a message's subject names no site".to_owned())));
        };
        match self.understand(&site, subject, rest, body) {
            Ok((term, said)) => Ok((site, term, said)),
            Err(why) => Err((Some(site), why)),
        }
    }

    /// The names in a finding's message, where they are right and it stands on the subject that they make.
    fn names(
        &mut self,
        (site, subject): (&Site, &str),
        origin: &Origin,
        data: &FindingData<'_>,
    ) -> Result<Option<Arc<Names>>, String> {
        let key = (origin.inventory, origin.scope);
        if let Some(known) = self.scopes.get(&key)
            && data.has(&known.names)
            && is_plain_number(&data.id)
            && subject.strip_prefix(&known.subject) == Some(&*data.id)
        {
            return Ok(Some(Arc::clone(&known.names)));
        }
        let names = Arc::new(names!(data));
        let id: FindingId = parsed(&data.id)?;
        let own = site.finding_of((&names.source, &names.organization, &names.project), id);
        if own != subject {
            return Ok(None);
        }
        if self.scopes.len() >= SCOPES_KEPT {
            self.scopes.clear();
        }
        let prefix = own.strip_suffix(&*data.id).unwrap_or(&own).to_owned();
        self.scopes.insert(key, Known { names: Arc::clone(&names), subject: prefix });
        Ok(Some(names))
    }

    fn understand(
        &mut self,
        site: &Site,
        subject: &str,
        rest: &str,
        body: &[u8],
    ) -> Result<(Option<u64>, Said), Unheard> {
        let foreign = |why: &str| Unheard::Foreign(format!("a message on {} {why}", shown(subject)));
        if body.len() > FLEET_MESSAGE_BYTES_MAX {
            return Err(foreign("is larger than any that a box sends"));
        }
        let head: Head = serde_json::from_slice(body).map_err(|_| foreign("is no event"))?;
        if head.site.as_deref() != Some(site.as_str()) {
            return Err(foreign("says that another site sends it"));
        }
        let Some(kind) = head.r#type.strip_prefix(TYPES) else { return Err(foreign("is no event of hydrophone's")) };
        let unreadable = |error: &dyn std::fmt::Display| {
            foreign(&format!("cannot be read: {}", short(&error.to_string()).escape_default()))
        };
        let said = if let Some(change) = kind.strip_prefix("finding.") {
            if !CHANGES.contains(&change) {
                return Err(Unheard::Newer(format!("it says of findings that they are {:?}", short(change))));
            }
            let event: Event<FindingData> = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
            let origin = event.data.origin.said().map_err(|error| unreadable(&error))?;
            let names = self.names((site, subject), &origin, &event.data).map_err(|error| unreadable(&error))?;
            let names = names.ok_or_else(|| foreign("is about another finding"))?;
            Said::Finding(Box::new(event.data.said(origin, names).map_err(|error| unreadable(&error))?))
        } else {
            match kind {
                "scope.told" => {
                    let event: Event<ScopeData> = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
                    Said::Scope(Box::new(event.data.said().map_err(|error| unreadable(&error))?))
                }
                "scope.gone" => {
                    let event: Event<GoneData> = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
                    let origin = event.data.origin;
                    let inventory = parsed(&origin.inventory).map_err(|error| unreadable(&error))?;
                    let scope = parsed(&origin.scope).map_err(|error| unreadable(&error))?;
                    Said::Gone { inventory, scope }
                }
                "condition.raised" | "condition.ended" => {
                    let event: Event<ConditionData> =
                        serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
                    Said::Condition(event.data.said(rest).map_err(|error| unreadable(&error))?)
                }
                "box.alive" => {
                    let event: Event<AliveData> = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
                    Said::Alive(event.data.said().map_err(|error| unreadable(&error))?)
                }
                "ping" => Said::Ping,
                other => return Err(Unheard::Newer(format!("it says {:?}", short(other)))),
            }
        };
        let marked = rest.starts_with('~');
        if marked == matches!(said, Said::Finding(_)) {
            return Err(foreign("is about something else"));
        }
        Ok((head.term, said))
    }
}

/// Whether a finding's number is written as boxes write it: `F012` is read as twelve, too, and is another subject.
fn is_plain_number(id: &str) -> bool {
    id.strip_prefix('F').is_some_and(|id| !id.starts_with('0') && id.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Scopes whose names are kept: a few hundred bytes each.
const SCOPES_KEPT: usize = 4096;

/// What happened to a finding, as far as this version knows.
const CHANGES: [&str; 8] = ["present", "opened", "updated", "fixed", "removed", "reopened", "triaged", "moved"];

fn shown(subject: &str) -> String {
    short(subject).escape_default().to_string()
}

/// A short text without what would move a cursor.
fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(200).collect()
}

fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

fn parsed<T: FromStr>(text: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| error.to_string())
}

fn time(text: Option<&str>) -> Result<Option<Timestamp>, String> {
    text.map(Timestamp::parse).transpose().map_err(|error| error.to_string())
}

/// A text of bounded length: boxes cut theirs.
fn bounded(text: Option<Text<'_>>) -> Result<Option<String>, String> {
    match text {
        Some(text) if text.len() > FLEET_TEXT_BYTES_MAX => Err("a text in it is too long".to_owned()),
        text => Ok(text.map(|text| text.0.into_owned())),
    }
}

/// A text as it stands in the message, where it stands there as it is: a message has twenty, and most are not kept.
#[derive(PartialEq, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    r#type: Text<'a>,
    #[serde(borrow)]
    site: Option<Text<'a>>,
    term: Option<u64>,
}

#[derive(Deserialize)]
struct Event<T> {
    data: T,
}

#[derive(Deserialize)]
struct OriginData<'a> {
    #[serde(borrow)]
    inventory: Text<'a>,
    #[serde(borrow)]
    project: Text<'a>,
    #[serde(borrow)]
    scope: Text<'a>,
    main: bool,
}

impl OriginData<'_> {
    fn said(&self) -> Result<Origin, String> {
        Ok(Origin {
            inventory: parsed(&self.inventory)?,
            project: parsed(&self.project)?,
            scope: parsed(&self.scope)?,
            main: self.main,
        })
    }
}

#[derive(Deserialize)]
struct FindingData<'a> {
    #[serde(borrow)]
    origin: OriginData<'a>,
    #[serde(borrow)]
    source: Text<'a>,
    #[serde(borrow)]
    organization: Text<'a>,
    #[serde(borrow)]
    project: Text<'a>,
    #[serde(borrow)]
    branch: Text<'a>,
    pull_request: bool,
    #[serde(borrow)]
    asset: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    key: Text<'a>,
    #[serde(borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    rule: Option<Text<'a>>,
    #[serde(borrow)]
    title: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(borrow)]
    severity: Text<'a>,
    #[serde(borrow)]
    state: Text<'a>,
    #[serde(borrow)]
    path: Option<Text<'a>>,
    line: Option<u32>,
    #[serde(default)]
    cwe: Vec<u32>,
    #[serde(borrow)]
    created_at: Option<Text<'a>>,
    #[serde(borrow)]
    updated_at: Option<Text<'a>>,
    #[serde(borrow)]
    closed_at: Option<Text<'a>>,
    #[serde(borrow)]
    first_seen_at: Text<'a>,
}

impl FindingData<'_> {
    /// Whether it stands under these names.
    fn has(&self, names: &Names) -> bool {
        *self.source == *names.source.as_str()
            && *self.organization == *names.organization.as_str()
            && *self.project == *names.project.as_str()
            && *self.asset == *names.asset.as_str()
            && *self.branch == *names.scope.as_str()
            && self.pull_request == (names.kind == ScopeKind::PullRequest)
    }

    fn said(self, origin: Origin, names: Arc<Names>) -> Result<FindingSaid, String> {
        let rule = self.rule.as_deref().map(RuleKey::parse).transpose().map_err(|error| error.to_string())?;
        // Where the rule has no name, what a person reads first is the message.
        let rule_name = (rule.is_some() && self.title != self.message).then_some(self.title);
        Ok(FindingSaid {
            origin,
            names,
            id: parsed(&self.id)?,
            observed: Observed {
                key: IssueKey::parse(&self.key).map_err(|error| error.to_string())?,
                kind: parsed(&self.kind)?,
                rule,
                message: bounded(Some(self.message))?.unwrap_or_default(),
                severity: parsed(&self.severity)?,
                state: parsed(&self.state)?,
                path: bounded(self.path)?,
                line: self.line,
                range: None,
                created_at: time(self.created_at.as_deref())?,
                updated_at: time(self.updated_at.as_deref())?,
                closed_at: time(self.closed_at.as_deref())?,
                sonar: SonarWords::default(),
                flows: Vec::new(),
            },
            rule_name: bounded(rule_name)?,
            cwe: self.cwe,
            first_seen_at: Timestamp::parse(&self.first_seen_at).map_err(|error| error.to_string())?,
        })
    }
}

#[derive(Deserialize)]
struct ScopeData<'a> {
    #[serde(borrow)]
    origin: OriginData<'a>,
    #[serde(borrow)]
    source: Text<'a>,
    #[serde(borrow)]
    organization: Text<'a>,
    #[serde(borrow)]
    project: Text<'a>,
    #[serde(borrow)]
    branch: Text<'a>,
    pull_request: bool,
    #[serde(borrow)]
    asset: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    url: Text<'a>,
    cloud: bool,
    #[serde(borrow)]
    repository: Option<Text<'a>>,
    #[serde(borrow)]
    analysed_at: Option<Text<'a>>,
    #[serde(borrow)]
    synced_at: Option<Text<'a>>,
    #[serde(borrow)]
    retired_at: Option<Text<'a>>,
    complete: bool,
    sonar_total: Option<u64>,
}

impl ScopeData<'_> {
    fn said(self) -> Result<ScopeSaid, String> {
        Ok(ScopeSaid {
            origin: self.origin.said()?,
            names: names!(self),
            project_name: bounded(Some(self.name))?.unwrap_or_default(),
            url: bounded(Some(self.url))?.unwrap_or_default(),
            cloud: self.cloud,
            repository: bounded(self.repository)?,
            analysed_at: time(self.analysed_at.as_deref())?,
            synced_at: time(self.synced_at.as_deref())?,
            complete: self.complete,
            sonar_total: self.sonar_total,
            retired_at: time(self.retired_at.as_deref())?,
        })
    }
}

#[derive(Deserialize)]
struct GoneData<'a> {
    #[serde(borrow)]
    origin: GoneOrigin<'a>,
}

#[derive(Deserialize)]
struct GoneOrigin<'a> {
    #[serde(borrow)]
    inventory: Text<'a>,
    #[serde(borrow)]
    scope: Text<'a>,
}

#[derive(Deserialize)]
struct ConditionData<'a> {
    #[serde(borrow)]
    code: Text<'a>,
    #[serde(borrow)]
    severity: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    remedy: Text<'a>,
    #[serde(borrow)]
    raised_at: Text<'a>,
    #[serde(borrow)]
    ended_at: Option<Text<'a>>,
}

impl ConditionData<'_> {
    fn said(self, subject: &str) -> Result<ConditionSaid, String> {
        let text = |text| Ok::<_, String>(bounded(Some(text))?.unwrap_or_default());
        Ok(ConditionSaid {
            subject: short(subject),
            code: text(self.code)?,
            severity: text(self.severity)?,
            text: text(self.text)?,
            remedy: text(self.remedy)?,
            raised_at: Timestamp::parse(&self.raised_at).map_err(|error| error.to_string())?,
            ended_at: time(self.ended_at.as_deref())?,
        })
    }
}

#[derive(Deserialize)]
struct AliveData<'a> {
    #[serde(borrow)]
    r#box: Text<'a>,
    #[serde(borrow)]
    version: Text<'a>,
    #[serde(borrow)]
    inventory: Text<'a>,
    every_seconds: u64,
    #[serde(borrow)]
    configuration: Option<OfferData<'a>>,
}

#[derive(Deserialize)]
struct OfferData<'a> {
    serial: u64,
    #[serde(borrow)]
    state: Text<'a>,
    #[serde(borrow)]
    why: Option<Text<'a>>,
    changes: u32,
    #[serde(borrow)]
    at: Option<Text<'a>>,
}

impl OfferData<'_> {
    fn said(self) -> Result<Outcome, String> {
        Ok(Outcome {
            digest: Vec::new(),
            serial: self.serial,
            // One that a newer version knows is none of these.
            state: State::parse(&self.state).unwrap_or_default(),
            why: self.why.as_deref().map(plain),
            changes: self.changes,
            at: time(self.at.as_deref())?,
            is_done: false,
        })
    }
}

impl AliveData<'_> {
    fn said(self) -> Result<AliveSaid, String> {
        Ok(AliveSaid {
            inventory: parsed(&self.inventory)?,
            machine: plain(&self.r#box),
            version: plain(&self.version),
            every_seconds: self.every_seconds,
            offer: self.configuration.map(OfferData::said).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::finding;

    const SUBJECT: &str = "hydrophone.v1.berlin.cloud.acme.com%2Eacme%3Ashop.F12";

    fn event() -> Value {
        json!({"specversion": "1.0", "id": "7d", "source": "hydrophone://berlin/cloud/acme/com.acme%3Ashop",
               "type": "dev.hydrophone.finding.fixed", "site": "berlin", "time": "2026-11-01T00:00:00Z",
               "data": {"id": "F12", "key": "AY1", "source": "cloud", "organization": "acme",
                        "project": "com.acme:shop", "branch": "main", "pull_request": false, "asset": "Shop",
                        "kind": "vulnerability", "rule": "java:S1", "title": "Say \"no\"", "message": "Do not",
                        "severity": "high", "state": "fixed", "path": "src/a.java", "line": 3, "cwe": [79],
                        "url": "https://sonarcloud.io/x", "created_at": "2026-11-01T00:00:00Z", "updated_at": null,
                        "closed_at": "2026-11-02T00:00:00Z", "first_seen_at": "2026-11-01T00:00:00Z",
                        "previous_state": "open", "change": "C4", "something": {"new": [1]},
                        "origin": {"inventory": "00000000000000a1", "project": "P2", "scope": "S5", "main": true}}})
    }

    fn heard(subject: &str, event: &Value) -> Result<(Site, Said), (Option<Site>, Unheard)> {
        Ear::default().hear(subject, event.to_string().as_bytes()).map(|(site, _, said)| (site, said))
    }

    #[test]
    fn the_term_of_two_boxes_is_heard() {
        let mut event = event();
        event["term"] = json!(7);
        assert!(matches!(Ear::default().hear(SUBJECT, event.to_string().as_bytes()), Ok((_, Some(7), _))));
        event["term"] = json!("7");
        assert!(heard(SUBJECT, &event).is_err());
    }

    #[test]
    fn a_finding_is_understood_with_members_that_are_not_known() {
        let (site, Said::Finding(finding)) = heard(SUBJECT, &event()).unwrap() else { panic!("a finding") };
        assert_eq!((site.as_str(), finding.id.0, finding.origin.scope.0), ("berlin", 12, 5));
        assert_eq!((finding.observed.state, finding.rule_name.as_deref()), (finding::State::Fixed, Some("Say \"no\"")));
        assert_eq!(finding.names.project.as_str(), "com.acme:shop");
    }

    #[test]
    fn what_is_said_on_anothers_subject_is_passed_over() {
        let foreign = |subject: &str, event: &Value| {
            assert!(matches!(heard(subject, event), Err((_, Unheard::Foreign(_)))), "{subject} {event}");
        };
        foreign("hydrophone.v1.oslo.cloud.acme.com%2Eacme%3Ashop.F12", &event());
        foreign("hydrophone.v1.berlin.cloud.acme.com%2Eacme%3Ashop.F13", &event());
        foreign("hydrophone.v1.berlin.cloud.acme.other.F12", &event());
        foreign("hydrophone.v1.berlin.~box", &event());
        foreign("hydrophone.v1.ber lin.x", &event());
        foreign("other", &event());
        let with = |name: &str, value: Value| {
            let mut event = event();
            event["data"][name] = value;
            event
        };
        foreign(SUBJECT, &with("key", json!("")));
        foreign(SUBJECT, &with("branch", json!("a\u{1}")));
        foreign(SUBJECT, &with("message", json!("x".repeat(FLEET_TEXT_BYTES_MAX + 1))));
        foreign(SUBJECT, &with("origin", json!({"inventory": "x", "project": "P2", "scope": "S5", "main": true})));
        let mut other = event();
        other["site"] = json!("oslo");
        foreign(SUBJECT, &other);
        assert!(matches!(Ear::default().hear(SUBJECT, b"\xff{"), Err((Some(_), Unheard::Foreign(_)))));
    }

    /// Names that were heard of a scope before are no reason to believe those of another message.
    #[test]
    fn what_was_heard_before_hides_nothing_of_what_comes() {
        let mut ear = Ear::default();
        let mut said = |subject: &str, event: &Value| ear.hear(subject, event.to_string().as_bytes());
        let names = |said: Result<Whose, _>| match said {
            Ok((_, _, Said::Finding(finding))) => (finding.names.asset.to_string(), finding.id.0),
            other => panic!("{other:?}"),
        };
        assert_eq!(names(said(SUBJECT, &event())), ("Shop".to_owned(), 12));
        let with = |changes: &[(&str, Value)]| {
            let mut event = event();
            for (name, value) in changes {
                event["data"][*name] = value.clone();
            }
            event
        };
        assert_eq!(names(said(SUBJECT, &with(&[("asset", json!("Other"))]))), ("Other".to_owned(), 12));
        let next = SUBJECT.replace("F12", "F13");
        assert_eq!(names(said(&next, &with(&[("id", json!("F13"))]))), ("Shop".to_owned(), 13));
        for (subject, event) in [
            (next.as_str(), event()),
            (SUBJECT, with(&[("id", json!("F13"))])),
            (SUBJECT, with(&[("project", json!("other"))])),
            (SUBJECT, with(&[("branch", json!("a\u{1}"))])),
            (&SUBJECT.replace("berlin", "oslo"), event()),
            (&SUBJECT.replace("F12", "F012"), with(&[("id", json!("F012"))])),
            (&SUBJECT.replace("F12", "F+12"), with(&[("id", json!("F+12"))])),
        ] {
            assert!(said(subject, &event).is_err(), "{subject} {event}");
        }
    }

    #[test]
    fn what_a_newer_version_says_is_told_from_nonsense() {
        for kind in ["finding.split", "project.told", "box.stopped"] {
            let mut event = event();
            event["type"] = json!(format!("dev.hydrophone.{kind}"));
            assert!(matches!(heard(SUBJECT, &event), Err((Some(_), Unheard::Newer(_)))), "{kind}");
        }
    }
}
