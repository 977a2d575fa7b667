//! Fleets: joining one as its hub, and how its sites are doing.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;

use super::{Admin, Problem, Shared, offers, shapes, views};
use crate::domain::condition::{Condition, Urgency};
use crate::domain::fleet::Site;
use crate::domain::fleet::hub::{Fleet, SiteRecord};
use crate::domain::fleet::offer::Outcome;
use crate::domain::fleet::said::ConditionSaid;
use crate::domain::ids::SourceName;
use crate::domain::limits::{FLEET_HEARD_EVERY, FLEET_UNREACHABLE_AFTER};
use crate::domain::time::Timestamp;
use crate::platform::nats::STREAM;
use crate::store::records::SecretBytes;
use crate::store::{Reader, StoreError, catalogue, fleet, lists};
use crate::sys::clock;
use crate::work::fleet::Seen;

/// `GET /fleet`.
pub(super) async fn show(State(admin): Shared) -> Result<Json<shapes::FleetStatus>, Problem> {
    Ok(Json(admin.read(|admin, view| Ok(status(admin, view)?)).await?))
}

fn status(admin: &Admin, view: &Reader) -> Result<shapes::FleetStatus, StoreError> {
    let mut fleets = Vec::new();
    for fleet in fleet::fleets(view)? {
        let seen = admin.work.fleets.seen(&fleet.name);
        let position = fleet::position(view, &fleet.name)?;
        fleets.push(shapes::Fleet {
            state: state(&seen).to_owned(),
            trouble: seen.trouble.as_ref().map(|lost| lost.why.clone()),
            remedy: seen.trouble.as_ref().and_then(|lost| lost.remedy.clone()),
            pending: seen.pending,
            position: position.sequence,
            foreign: position.foreign.map_or(0, |foreign| foreign.count),
            sites: sites(admin, view, &fleet, &seen)?,
            name: fleet.name.to_string(),
            url: fleet.url,
            stream: fleet.stream,
        });
    }
    Ok(shapes::FleetStatus { fleets })
}

fn state(seen: &Seen) -> &'static str {
    match (&seen.trouble, seen.caught_up_at) {
        (Some(_), _) => "unreachable",
        (None, Some(_)) if seen.pending == 0 => "up_to_date",
        (None, _) => "catching_up",
    }
}

/// What a site's projects come to.
#[derive(Default)]
struct Sum {
    projects: u64,
    open: u64,
    incomplete: u64,
    synced_at: Option<Timestamp>,
}

fn sites(admin: &Admin, view: &Reader, of: &Fleet, seen: &Seen) -> Result<Vec<shapes::FleetSite>, StoreError> {
    let (now, steady) = (clock::now(), admin.work.clock.steady());
    let mut sums = sums(view, &of.name)?;
    let mut conditions: BTreeMap<Site, Vec<ConditionSaid>> = BTreeMap::new();
    for (site, condition) in fleet::conditions(view, &of.name)? {
        conditions.entry(site).or_default().push(condition);
    }
    let shown = fleet::sites(view, &of.name)?.into_iter().map(|(site, record)| {
        let sum = sums.remove(&site).unwrap_or_default();
        let mut held = conditions.remove(&site).unwrap_or_default();
        held.sort_by(|one, other| (&one.code, one.raised_at).cmp(&(&other.code, other.raised_at)));
        let teller = record.present();
        let named = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        shapes::FleetSite {
            site: site.to_string(),
            machine: teller.and_then(|teller| named(&teller.machine)),
            version: teller.and_then(|teller| named(&teller.version)),
            inventory: teller.map(|teller| teller.inventory.to_string()),
            heard_at: seen.heard_at(&site, &record, now, steady).map(|at| at.to_string()),
            silent_seconds: seen.silent_for(&site, &record, now, steady).map(|span| span.as_secs()),
            projects: sum.projects,
            open: sum.open,
            incomplete: sum.incomplete,
            synced_at: views::time(sum.synced_at),
            configuration: teller.and_then(|teller| teller.offer.clone()).map(configuration),
            conditions: held.into_iter().map(condition).collect(),
        }
    });
    Ok(shown.collect())
}

fn configuration(outcome: Outcome) -> shapes::SiteConfiguration {
    shapes::SiteConfiguration {
        serial: outcome.serial,
        state: outcome.state.as_str().to_owned(),
        why: outcome.why,
        changes: outcome.changes,
        at: views::time(outcome.at),
    }
}

fn condition(said: ConditionSaid) -> shapes::SiteCondition {
    shapes::SiteCondition {
        code: said.code,
        severity: said.severity,
        text: said.text,
        remedy: said.remedy,
        raised_at: said.raised_at.to_string(),
    }
}

fn sums(view: &Reader, name: &SourceName) -> Result<BTreeMap<Site, Sum>, StoreError> {
    let sources = catalogue::sources(view)?.into_iter();
    let at: BTreeMap<SourceName, Site> = sources
        .filter_map(|source| source.at.filter(|at| at.fleet == *name).map(|at| (source.name, at.site)))
        .collect();
    let mut sums: BTreeMap<Site, Sum> = BTreeMap::new();
    for (id, project) in catalogue::projects(view)? {
        let Some(site) = at.get(&project.organization.source) else { continue };
        let sum = sums.entry(site.clone()).or_default();
        sum.projects += 1;
        for (id, scope) in catalogue::scopes(view, id)? {
            if scope.retired_at.is_some() {
                continue;
            }
            sum.open += lists::count_open(view, id)?;
            sum.incomplete += u64::from(!scope.complete);
            sum.synced_at = match (sum.synced_at, scope.synced_at) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
    }
    Ok(sums)
}

/// The sources of a site.
///
/// # Errors
/// If no site of that name has said anything.
pub(super) fn sources_at(view: &Reader, site: &str) -> Result<BTreeSet<SourceName>, Problem> {
    let afar = catalogue::sources_afar(view)?.into_iter().filter(|(_, at)| at.site.as_str() == site);
    let sources: BTreeSet<SourceName> = afar.map(|(name, _)| name).collect();
    if sources.is_empty() && !names(view)?.iter().any(|known| known.as_str() == site) {
        return Err(Problem::missing(format!("no site {site} has said anything"))
            .remedy("`hydrophone fleet status` shows those that have"));
    }
    Ok(sources)
}

/// All sites that have said anything, by name.
pub(super) fn names(view: &Reader) -> Result<BTreeSet<Site>, StoreError> {
    let mut names: BTreeSet<Site> = catalogue::sources_afar(view)?.into_values().map(|at| at.site).collect();
    for of in fleet::fleets(view)? {
        names.extend(fleet::sites(view, &of.name)?.into_iter().map(|(site, _)| site));
    }
    Ok(names)
}

/// What an operator should know of fleets and their sites.
pub(super) fn conditions(admin: &Admin, view: &Reader) -> Result<Vec<Condition>, StoreError> {
    let (now, steady) = (clock::now(), admin.work.clock.steady());
    let mut found = Vec::from_iter(offers::condition(admin, view)?);
    for of in fleet::fleets(view)? {
        let (name, seen) = (&of.name, admin.work.fleets.seen(&of.name));
        found.extend(lost(name, &seen, steady));
        let position = fleet::position(view, name)?;
        let check = format!("hydrophone source check {name}");
        if let Some(anew_at) = position.anew_at {
            found.push(Condition {
                urgency: Urgency::Warning,
                code: "fleet_stream_anew",
                text: format!("the stream of fleet {name} was made anew, as seen at {anew_at}: it holds only what boxes have told since"),
                remedy: format!(
                    "have each box tell everything again: `hydrophone destination replay NAME`; then `{check}` ends this"
                ),
            });
        }
        if let Some(skipped) = position.skipped {
            let whose = skipped.site.map_or_else(|| "a box".to_owned(), |site| format!("the box at site {site}"));
            found.push(Condition {
                urgency: Urgency::Warning,
                code: "fleet_newer",
                text: format!("{whose} runs a newer version, which this one does not understand: {}", skipped.what),
                remedy: "install the newer hydrophone here; what was passed over is read again then".to_owned(),
            });
        }
        // One that was there long ago is no news.
        if let Some(foreign) = position.foreign.filter(|foreign| now.since(foreign.at) < FOREIGN_TOLD) {
            let whose = foreign.site.map_or_else(String::new, |site| format!(" of site {site}"));
            found.push(Condition {
                urgency: Urgency::Warning,
                code: "fleet_foreign",
                text: format!(
                    "on the subjects{whose} of fleet {name} somebody says what no box says ({} times, the last at {}): {}",
                    foreign.count, foreign.at, foreign.why
                ),
                remedy: "look at who has that site's credentials, and exchange them".to_owned(),
            });
        }
        let sites = fleet::sites(view, name)?;
        found.extend(silent(name, &seen, &sites, now, steady));
        found.extend(sites.iter().filter_map(|(site, record)| twice(site, record)));
        let is_passed_over = |record: &SiteRecord| record.passed_over_at.is_some_and(|at| now.since(at) < FOREIGN_TOLD);
        found.extend(sites.iter().filter(|(_, record)| is_passed_over(record)).map(|(site, _)| Condition {
            urgency: Urgency::Error,
            code: "fleet_site_taken",
            text: format!(
                "what site {site} of fleet {name} says is passed over: another fleet has a site of this name"
            ),
            remedy: format!(
                "give one of them another name, at its box: `hydrophone destination edit NAME --option site={site}-2`"
            ),
        }));
    }
    Ok(found)
}

fn lost(name: &SourceName, seen: &Seen, steady: std::time::Duration) -> Option<Condition> {
    let lost = seen.trouble.as_ref()?;
    if lost.remedy.is_none() && steady.saturating_sub(lost.steady) < FLEET_UNREACHABLE_AFTER {
        return None;
    }
    let (since, why) = (lost.since, &lost.why);
    let own = "it is tried again by itself; what boxes say meanwhile waits in the stream";
    Some(Condition {
        urgency: if lost.remedy.is_some() { Urgency::Error } else { Urgency::Warning },
        code: if lost.remedy.is_some() { "fleet_refused" } else { "fleet_unreachable" },
        text: format!("fleet {name} has not been read since {since}: {why}"),
        remedy: lost.remedy.clone().unwrap_or_else(|| own.to_owned()),
    })
}

/// Sites that have said nothing for too long; where they are many, in one sentence.
fn silent(
    name: &SourceName,
    seen: &Seen,
    sites: &[(Site, SiteRecord)],
    now: Timestamp,
    steady: std::time::Duration,
) -> Vec<Condition> {
    let silent: Vec<_> = sites
        .iter()
        .filter(|(site, record)| seen.silent_for(site, record, now, steady).is_some())
        .map(|(site, record)| (site, seen.heard_at(site, record, now, steady)))
        .collect();
    let warning = |text| {
        Condition {
        urgency: Urgency::Warning,
        code: "fleet_site_silent",
        text,
        remedy: "look at the box there: `hydrophone status` and `hydrophone destination list`; what is held of it is as of then"
            .to_owned(),
    }
    };
    if silent.len() > SILENT_ONE_BY_ONE {
        let some: Vec<&str> = silent.iter().take(SILENT_ONE_BY_ONE).map(|(site, _)| site.as_str()).collect();
        let text = format!("{} sites of fleet {name} are silent, among them {}", silent.len(), some.join(", "));
        return vec![warning(text)];
    }
    let told = silent.into_iter().map(|(site, at)| match at {
        Some(at) => warning(format!("the box at site {site} of fleet {name} has said nothing since {at}")),
        None => warning(format!("the box at site {site} of fleet {name} says nothing")),
    });
    told.collect()
}

/// A site for which two boxes speak.
fn twice(site: &Site, record: &SiteRecord) -> Option<Condition> {
    // All by the server's time: this box's own clock may say another.
    let last = record.tellers.iter().filter_map(|teller| teller.heard_at).max()?;
    let is_alive = |at: Timestamp| last.since(at) < FLEET_HEARD_EVERY * 2;
    let alive: Vec<_> = record.tellers.iter().filter(|teller| teller.heard_at.is_some_and(is_alive)).collect();
    let [.., one, other] = alive.as_slice() else { return None };
    Some(Condition {
        urgency: Urgency::Error,
        code: "fleet_site_twice",
        text: format!(
            "two boxes speak as site {site}, on {} and on {}, each with an inventory of its own",
            one.machine, other.machine
        ),
        remedy: "a box that was set up anew ends this within the hour. Else give one of them another site, or stop it; then have \
                 the other one tell everything again: `hydrophone destination replay NAME`"
            .to_owned(),
    })
}

/// More silent sites than these are told together.
const SILENT_ONE_BY_ONE: usize = 5;

/// For so long it is told that somebody says what no box says.
const FOREIGN_TOLD: std::time::Duration = std::time::Duration::from_hours(24);

/// A fleet as a source is shown.
pub(super) fn shown(fleet: &Fleet, projects: u64, error: Option<String>) -> shapes::Source {
    shapes::Source {
        name: fleet.name.to_string(),
        kind: FLEET.to_owned(),
        url: fleet.url.clone(),
        api_url: None,
        version: None,
        own_ca: fleet.ca_pem.is_some(),
        proxy: None,
        webhook_url: None,
        checked_at: None,
        token_expires_at: None,
        error,
        projects,
        site: None,
        stream: Some(fleet.stream.clone()),
        plain: fleet.plain,
    }
}

/// What a fleet is called among kinds of sources.
pub(super) const FLEET: &str = "fleet";

/// All fleets as sources are shown.
pub(super) fn list(admin: &Admin, view: &Reader) -> Result<Vec<shapes::Source>, StoreError> {
    let fleets = fleet::fleets(view)?;
    if fleets.is_empty() {
        return Ok(Vec::new());
    }
    let shown = fleets.into_iter().map(|fleet| {
        let sums = sums(view, &fleet.name)?;
        let lost = admin.work.fleets.seen(&fleet.name).trouble;
        Ok(shown(&fleet, sums.values().map(|sum| sum.projects).sum(), lost.map(|lost| lost.why)))
    });
    shown.collect()
}

/// The fleet of a name.
pub(super) fn named(admin: &Admin, name: &SourceName) -> Result<Option<Fleet>, Problem> {
    admin.store.read(|view| Ok(fleet::fleet(view, name)?))
}

/// Joins a fleet as its hub, if its stream can be read.
pub(super) fn add(admin: &Admin, new: &shapes::NewSource, name: SourceName) -> Result<shapes::SourceCheck, Problem> {
    let given = |other: &Option<String>, field: &'static str| match other {
        Some(_) => Err(Problem::bad(format!("a fleet has no {}", field.replace('_', " "))).at(field)),
        None => Ok(()),
    };
    given(&new.region, "region")?;
    given(&new.api_url, "api_url")?;
    given(&new.webhook_url, "webhook_url")?;
    if new.proxy.is_some() {
        return Err(Problem::bad(
            "NATS is not spoken through a proxy; a leaf node can stand where both can be reached",
        )
        .at("proxy"));
    }
    let url = new.url.clone().ok_or_else(|| Problem::bad("a fleet needs the address of its server").at("url"))?;
    let stream = new.stream.clone().unwrap_or_else(|| STREAM.to_owned());
    let added_at = clock::now();
    let fleet = Fleet { name, url, stream, plain: new.plain, ca_pem: new.ca_pem.clone(), added_at };
    let credentials = SecretBytes::trimmed(&new.token);
    tried(admin, &fleet, &credentials)?;
    let stored = fleet.clone();
    admin.store.write::<_, Problem>(move |batch| {
        if fleet::fleet(batch, &stored.name)?.is_some() || catalogue::source(batch, &stored.name)?.is_some() {
            return Err(super::sources::taken(&stored.name));
        }
        if fleet::has_traces(batch, &stored.name)? {
            return Err(Problem::conflict(format!(
                "what the former fleet {} told is still being deleted",
                stored.name
            ))
            .remedy("try again in a moment, or choose another name")
            .at("name"));
        }
        Ok(fleet::put(batch, &stored, Some(&credentials))?)
    })?;
    admin.work.kick_fleet(&fleet.name);
    Ok(shapes::SourceCheck { source: shown(&fleet, 0, None), organizations: Vec::new() })
}

/// Looks whether a fleet can be read.
fn tried(admin: &Admin, fleet: &Fleet, credentials: &SecretBytes) -> Result<(), Problem> {
    let mut feed = admin.work.open_fleet(fleet, credentials.as_text())?;
    match feed.check()?.into_iter().find(|line| !line.good) {
        Some(bad) => Err(Problem::unreachable(bad.text)),
        None => Ok(()),
    }
}

/// Looks at a fleet as it is stored, and ends what a person has seen to.
pub(super) fn check(admin: &Admin, fleet: &Fleet) -> Result<shapes::SourceCheck, Problem> {
    let name = fleet.name.clone();
    let credentials = admin.store.read::<_, Problem>(|view| Ok(fleet::credentials(view, &name)?))?;
    tried(admin, fleet, &credentials.unwrap_or_else(|| SecretBytes::new(Vec::new())))?;
    admin.store.write::<_, Problem>(move |batch| {
        let mut position = fleet::position(batch, &name)?;
        position.anew_at = None;
        position.foreign = None;
        Ok(fleet::put_position(batch, &name, &position)?)
    })?;
    admin.work.kick_fleet(&fleet.name);
    checked(admin, fleet)
}

fn checked(admin: &Admin, fleet: &Fleet) -> Result<shapes::SourceCheck, Problem> {
    let sums = admin.store.read::<_, Problem>(|view| Ok(sums(view, &fleet.name)?))?;
    let source = shown(fleet, sums.values().map(|sum| sum.projects).sum(), None);
    Ok(shapes::SourceCheck { source, organizations: Vec::new() })
}

/// Gives a fleet other credentials, if its stream can be read with them.
pub(super) fn renew(admin: &Admin, fleet: &Fleet, credentials: &str) -> Result<shapes::SourceCheck, Problem> {
    let secret = SecretBytes::trimmed(credentials);
    tried(admin, fleet, &secret)?;
    let stored = fleet.clone();
    admin.store.write::<_, Problem>(move |batch| Ok(fleet::put(batch, &stored, Some(&secret))?))?;
    admin.work.kick_fleet(&fleet.name);
    checked(admin, fleet)
}

/// Leaves a fleet: what its boxes told is deleted here, and nothing is closed anywhere.
pub(super) fn remove(admin: &Admin, fleet: &Fleet) -> Result<(), Problem> {
    let name = fleet.name.clone();
    admin.store.delete::<_, Problem>(move |batch| Ok(fleet::remove(batch, &name)?))?;
    admin.store.bell().ring();
    Ok(())
}
