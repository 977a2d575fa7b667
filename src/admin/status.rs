//! Health on one screen. Conditions are worked out anew from the present state, so none outlives its cause.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;

use super::{Admin, Problem, Shared, findings, shapes, views};
use crate::domain::condition::{Condition, Urgency};
use crate::domain::ids::{ScopeId, ScopeKind, SourceName};
use crate::domain::limits;
use crate::domain::settings::{POLL_MINUTES, PUBLIC_URL, REQUESTS_PER_MINUTE, REREAD_MINUTES};
use crate::domain::time::Timestamp;
use crate::store::records::{Project, Scope, Source};
use crate::store::secrets::Locked;
use crate::store::{Reader, StoreError, agenda, catalogue, deliveries, fleet, keychange, lists, settings};
use crate::sys::{clock, tls};

/// `GET /status`. Answers even when the store does not, and then says so.
pub(super) async fn show(State(admin): Shared) -> Result<Json<shapes::Status>, Problem> {
    Ok(Json(admin.run(|admin| Ok(whole(admin))).await?))
}

pub(super) fn whole(admin: &Admin) -> shapes::Status {
    match admin.store.read(|view| held(admin, view)) {
        Ok(held) => status(admin, true, held),
        Err(error) => status(admin, false, Held { conditions: vec![unreadable(&error)], ..Held::default() }),
    }
}

/// Everything that an operator should know, as far as the store can be asked.
pub(super) fn conditions(admin: &Admin) -> Result<Vec<Condition>, StoreError> {
    let mut conditions = admin.store.read(|view| held(admin, view))?.conditions;
    conditions.extend(of_store(admin));
    conditions.sort();
    Ok(conditions)
}

/// What every page and every listener is told of the box's health.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pulse {
    /// Conditions that need a person.
    pub(super) needs: usize,
    /// Numbers that differ where conditions or destinations do.
    pub(super) conditions: u64,
    pub(super) destinations: u64,
    /// Whether it gathers a fleet.
    pub(super) gathers: bool,
}

/// The last [`Pulse`], and when and after how many commits it was taken.
#[derive(Default)]
pub(super) struct Beat(Mutex<Option<(u64, Instant, Pulse)>>);

/// What is not stored changes without a commit: sources that fail, and time.
const PULSE_AGE_MAX: Duration = Duration::from_secs(5);

impl Admin {
    fn fresh_pulse(&self) -> Option<Pulse> {
        let last = *self.pulse.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (commits, at, pulse) = last?;
        (commits == self.store.commits() && at.elapsed() < PULSE_AGE_MAX).then_some(pulse)
    }

    /// How the box is. The status is worked out only where something was stored, or some seconds went by.
    pub(super) fn pulse(&self) -> Pulse {
        if let Some(pulse) = self.fresh_pulse() {
            return pulse;
        }
        // Before the look: what is stored meanwhile has the next one look again.
        let (commits, at) = (self.store.commits(), Instant::now());
        let status = whole(self);
        let pulse = Pulse {
            needs: needs(&status.conditions),
            conditions: print(&status.conditions),
            destinations: print(&status.destinations),
            gathers: self.store.read(fleet::fleets).is_ok_and(|fleets| !fleets.is_empty()),
        };
        *self.pulse.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((commits, at, pulse));
        pulse
    }

    /// How the box is, in a line.
    pub async fn in_short(self: &Arc<Self>) -> String {
        let told = self.run(|admin| Ok(in_short(&whole(admin)))).await;
        told.unwrap_or_else(|_| "its state cannot be told".to_owned())
    }

    /// Has [`needs`](Self::needs) be true.
    pub(super) async fn look_at_needs(self: &Arc<Self>) {
        if self.fresh_pulse().is_none() {
            // A page without the number is better than none.
            let _ = self.run(|admin| Ok(admin.pulse())).await;
        }
    }

    /// Whether this box gathers a fleet, as the last look found it.
    pub(super) fn gathers(&self) -> bool {
        self.pulse.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|(.., pulse)| pulse.gathers)
    }

    /// Things that need a person, as the last look found them.
    pub(super) fn needs(&self) -> usize {
        self.pulse.0.lock().unwrap_or_else(PoisonError::into_inner).map_or(0, |(.., pulse)| pulse.needs)
    }
}

/// How many of the conditions need a person.
pub(super) fn needs(conditions: &[shapes::Condition]) -> usize {
    conditions.iter().filter(|condition| condition.severity != "info").count()
}

/// Numbers, and what a person should look at first: errors come before warnings.
fn in_short(status: &shapes::Status) -> String {
    let shapes::InventoryCounts { sources, projects, open, .. } = &status.inventory;
    let open: u64 = open.iter().map(|severity| severity.count).sum();
    let counts = format!("sources {sources}, projects {projects}, open findings {open}");
    match (needs(&status.conditions), status.conditions.first()) {
        (0, _) | (_, None) => counts,
        (1, Some(first)) => format!("{counts}; needs a person: {}", first.text),
        (more, Some(first)) => format!("{counts}; {more} things need a person, the first: {}", first.text),
    }
}

fn print(value: &impl serde::Serialize) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(value).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

fn status(admin: &Admin, ready: bool, held: Held) -> shapes::Status {
    let Held { sync, inventory, freshness, sources, destinations, mut conditions } = held;
    conditions.extend(of_store(admin));
    conditions.sort();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    shapes::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ready: ready && !admin.store.is_full() && admin.store.locked().is_none(),
        webhook_listener: admin.listener_url(),
        page: admin.page_address.map_or_else(|| "off".to_owned(), |address| format!("https://{address}")),
        state_folder: admin.store.folder().display().to_string(),
        started_at: admin.started_at.to_string(),
        conditions: conditions.into_iter().map(condition).collect(),
        deliveries: shapes::DeliveryCounts {
            accepted: count(&admin.counters.accepted),
            rejected: count(&admin.counters.rejected),
            duplicate: count(&admin.counters.duplicate),
            unavailable: count(&admin.counters.unavailable),
        },
        sync,
        freshness,
        sources,
        inventory,
        destinations,
        way: admin.way_told(None),
        certificate_ends_at: admin.certificate().and_then(|shown| tls::describe(&shown)).map(|told| ends_at(&told)),
    }
}

fn ends_at(told: &tls::Described) -> String {
    Timestamp(told.not_after.saturating_mul(1000)).to_string()
}

fn condition(condition: Condition) -> shapes::Condition {
    shapes::Condition {
        code: condition.code.to_owned(),
        severity: condition.urgency.to_string(),
        text: condition.text,
        remedy: condition.remedy,
    }
}

/// What the store tells of itself.
#[derive(Default)]
struct Held {
    sync: shapes::SyncCounts,
    inventory: shapes::InventoryCounts,
    freshness: shapes::Freshness,
    sources: Vec<shapes::SourceHealth>,
    destinations: Vec<shapes::DestinationHealth>,
    conditions: Vec<Condition>,
}

fn held(admin: &Admin, view: &Reader) -> Result<Held, StoreError> {
    let now = clock::now();
    let agenda = agenda::all(view)?;
    let due = agenda.iter().filter(|(_, due)| due.at <= now).count() as u64;
    let running = admin.work.progress.running();
    let sync = shapes::SyncCounts { queued: due.saturating_sub(running), running, later: agenda.len() as u64 - due };
    let mut sources = catalogue::sources(view)?;
    let known = sources.len() as u64;
    // What is the matter with what another site's box reads is said there, and told this one.
    let afar: BTreeSet<SourceName> = sources.extract_if(.., |source| source.at.is_some()).map(|one| one.name).collect();
    let projects = catalogue::projects(view)?;
    let (open, closed, filtered) = findings::counts(view)?;
    let inventory = shapes::InventoryCounts {
        sources: known,
        projects: projects.len() as u64,
        assets: catalogue::assets(view)?.len() as u64,
        open,
        closed,
        filtered,
    };
    let mut conditions: Vec<Condition> = Vec::new();
    for source in &sources {
        conditions.extend(source.error.as_ref().map(|error| Condition {
            urgency: Urgency::Error,
            code: "source_refused",
            text: format!("source {}: {error}", source.name),
            remedy: format!("hydrophone source check {}", source.name),
        }));
        conditions.extend(source.unsorted.then(|| Condition {
            urgency: Urgency::Info,
            code: "source_unsorted",
            text: format!(
                "source {} does not sort findings by update date; large branches are read whole, which takes more requests",
                source.name
            ),
            remedy: format!("`hydrophone source check {}` has it tried again, as after an upgrade", source.name),
        }));
    }
    for source in &sources {
        conditions.extend(of_token(admin, view, source, now)?);
    }
    let mut ages = Ages::new(view)?;
    for (id, project) in &projects {
        let scopes = catalogue::scopes(view, *id)?;
        if afar.contains(&project.organization.source) {
            let listed = || scopes.iter().filter(|(_, scope)| scope.retired_at.is_none());
            let is_in_step = listed().next().is_some() && listed().all(|(_, scope)| scope.complete);
            ages.freshness.in_step += u64::from(is_in_step);
            continue;
        }
        conditions.extend(of_project(project));
        conditions.extend(moved(view, project)?);
        conditions.extend(retired(view, project, &scopes)?);
        let mut is_in_step = project.error.is_none() && !scopes.is_empty();
        for (id, scope) in scopes {
            conditions.extend(of_scope(project, &scope));
            is_in_step &= ages.add(admin, id, project, &scope);
        }
        ages.freshness.in_step += u64::from(is_in_step);
    }
    let (freshness, stale) = ages.end();
    conditions.extend(stale);
    let per_minute = u32::try_from(settings::number_of(view, REQUESTS_PER_MINUTE)?).unwrap_or(u32::MAX);
    let mut health = Vec::new();
    for source in &sources {
        let (shown, condition) = of_source(admin, source, per_minute, now);
        health.push(shown);
        conditions.extend(condition);
    }
    conditions.extend(missed(view, now)?);
    conditions.extend(super::access::tokens::conditions(view, now)?);
    conditions.extend(key_changing(admin, view)?);
    conditions.extend(super::webhooks::rotate::conditions(view, now)?);
    if !sources.is_empty()
        && admin.webhook_address.is_some()
        && admin.public_url.is_none()
        && settings::value(view, PUBLIC_URL)?.is_none()
    {
        conditions.extend(sources.iter().any(|source| source.webhook_url.is_none()).then(no_public_url));
    }
    conditions.extend(super::fleet::conditions(admin, view)?);
    conditions.extend(super::standby::conditions(admin, view)?);
    let (destinations, of_destinations) = super::destinations::health(view, now)?;
    conditions.extend(of_destinations);
    Ok(Held { sync, inventory, freshness, sources: health, destinations, conditions })
}

/// How a source is doing. A person has to act only where its error says so; that is told of the source itself.
fn of_source(
    admin: &Admin,
    source: &Source,
    per_minute: u32,
    now: Timestamp,
) -> (shapes::SourceHealth, Option<Condition>) {
    let health = admin.work.sources.health(&source.name);
    let pause = health.pause.map(|pause| (now.plus(pause.left), format!("SonarQube answered HTTP {}", pause.status)));
    let failing = health.failing.as_ref();
    let shown = shapes::SourceHealth {
        name: source.name.to_string(),
        requests_last_minute: health.requests_last_minute,
        requests_per_minute: per_minute,
        paused_until: pause.as_ref().map(|(until, _)| until.to_string()),
        reason: pause.map(|(_, reason)| reason).or_else(|| failing.map(|failing| failing.error.clone())),
        answered_at: health.answered_at.map(|at| at.to_string()),
        failing_since: failing.map(|failing| failing.since.to_string()),
    };
    let lasting = failing.filter(|failing| failing.span > limits::UNREACHABLE_AFTER);
    let condition = lasting.map(|failing| Condition {
        urgency: Urgency::Warning,
        code: "source_unreachable",
        text: format!("source {} has given no usable answer since {}: {}", source.name, failing.since, failing.error),
        remedy: format!("it is asked again by itself; `hydrophone source check {}` asks at once", source.name),
    });
    (shown, condition)
}

/// A token that ends soon, or that SonarQube Cloud may remove because nobody uses it.
fn of_token(admin: &Admin, view: &Reader, source: &Source, now: Timestamp) -> Result<Option<Condition>, StoreError> {
    let name = &source.name;
    let renew = format!("make a new token in SonarQube and give it: hydrophone source token {name} --token-file FILE");
    let warning = |code, text, remedy| Some(Condition { urgency: Urgency::Warning, code, text, remedy });
    if let Some(ends) = source.token_expires_at.filter(|ends| ends.since(now) < limits::TOKEN_ENDS_SOON) {
        let days = ends.since(now).as_secs() / 86_400;
        let text = if ends <= now {
            format!("the token of source {name} ended at {ends}")
        } else {
            format!("the token of source {name} ends at {ends}, in {days} days")
        };
        return Ok(warning("token_ends", text, renew));
    }
    if !source.cloud {
        return Ok(None);
    }
    let mut used = source.checked_at.max(admin.work.sources.health(name).answered_at);
    for (id, project) in catalogue::projects(view)? {
        if project.organization.source == *name {
            for (id, scope) in catalogue::scopes(view, id)? {
                used = used.max(admin.work.standing.synced_at(id, &scope));
            }
        }
    }
    // Before it was ever used there is nothing to count from.
    let idle = used.filter(|used| now.since(*used) > limits::TOKEN_IDLE);
    Ok(idle.and_then(|used| {
        let text = format!(
            "the token of source {name} was last used at {used}; SonarQube Cloud removes a token that nobody uses for 60 days"
        );
        warning("token_idle", text, format!("hydrophone source check {name} uses it; if it is refused, {renew}"))
    }))
}

/// How long ago each scope was proven current.
struct Ages {
    freshness: shapes::Freshness,
    stale_after: Duration,
    oldest: Duration,
    /// One condition a source: where it cannot be reached, everything of it goes stale.
    stale: BTreeMap<SourceName, Stale>,
}

struct Stale {
    count: u64,
    age: Duration,
    name: String,
    since: Option<Timestamp>,
    reason: Option<String>,
}

impl Ages {
    fn new(view: &Reader) -> Result<Self, StoreError> {
        let freshness = shapes::Freshness {
            poll_minutes: settings::number_of(view, POLL_MINUTES)?,
            max_minutes: settings::number_of(view, REREAD_MINUTES)?,
            ..shapes::Freshness::default()
        };
        Ok(Self { freshness, stale_after: views::stale_after(view)?, oldest: Duration::ZERO, stale: BTreeMap::new() })
    }

    /// Takes a scope in, and says whether it is proven current.
    fn add(&mut self, admin: &Admin, id: ScopeId, project: &Project, scope: &Scope) -> bool {
        if scope.retired_at.is_some() {
            return true;
        }
        let age = admin.work.standing.age(id, scope, project.imported_at);
        let synced_at = admin.work.standing.synced_at(id, scope);
        if self.freshness.oldest.is_none() || age > self.oldest {
            self.oldest = age;
            self.freshness.oldest = Some(shapes::OldestBranch {
                source: project.organization.source.to_string(),
                organization: project.organization.key.to_string(),
                project: project.key.to_string(),
                branch: scope.name.to_string(),
                synced_at: views::time(synced_at),
            });
        }
        if age <= self.stale_after {
            return scope.complete;
        }
        self.freshness.stale += 1;
        let name = &project.organization.source;
        let known = self.stale.get(name);
        let count = known.map_or(0, |known| known.count) + 1;
        if known.is_none_or(|known| age > known.age) {
            let reason = scope.error.clone().or_else(|| Some(admin.work.sources.health(name).failing?.error));
            let stale = Stale {
                count,
                age,
                name: format!("{}/{} {}", project.organization, project.key, scope.name),
                since: synced_at,
                reason,
            };
            self.stale.insert(name.clone(), stale);
        } else if let Some(known) = self.stale.get_mut(name) {
            known.count = count;
        }
        false
    }

    fn end(self) -> (shapes::Freshness, Vec<Condition>) {
        let minutes = self.stale_after.as_secs() / 60;
        let conditions = self.stale.into_values().map(|stale| {
            let since = stale.since.map_or_else(|| "ever".to_owned(), |since| since.to_string());
            let reason = stale.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            let text = match stale.count {
                1 => format!("{} was not proven current since {since}{reason}", stale.name),
                count => format!(
                    "{count} branches were not proven current for {minutes} minutes, the longest {} since {since}{reason}",
                    stale.name
                ),
            };
            let remedy = "they are read again by themselves; `hydrophone sync` reads them at once".to_owned();
            Condition { urgency: Urgency::Warning, code: "scope_stale", text, remedy }
        });
        (self.freshness, conditions.collect())
    }
}

/// A change of the sealing key that is not at its end.
fn key_changing(admin: &Admin, view: &Reader) -> Result<Option<Condition>, StoreError> {
    let underway = admin.store.locked().is_none() && keychange::is_underway(view)?;
    Ok(underway.then(|| Condition {
        urgency: Urgency::Info,
        code: "key_changing",
        text: "secrets are being sealed with another key; until that is done the key before is needed, too".to_owned(),
        remedy: "it goes on by itself, also after a restart; if it does not end, the log says why".to_owned(),
    }))
}

/// Webhooks that did not arrive.
fn missed(view: &Reader, now: Timestamp) -> Result<Option<Condition>, StoreError> {
    let Some(healed) = deliveries::healed_since(view, now.minus(limits::MISSED_SHOWN_FOR))? else { return Ok(None) };
    let deliveries::Healed { count, since, how } = healed;
    let webhooks = match count {
        1 => "1 webhook".to_owned(),
        count => format!("{count} webhooks"),
    };
    Ok(Some(Condition {
        urgency: Urgency::Warning,
        code: "webhooks_missed",
        text: format!(
            "{webhooks} did not arrive since {since}: Sonar's log says {how}; their analyses were read all the same"
        ),
        remedy: "check the address that Sonar calls and the way to it: hydrophone webhook show ORG".to_owned(),
    }))
}

fn of_project(project: &Project) -> Option<Condition> {
    project.error.as_ref().map(|error| Condition {
        urgency: Urgency::Warning,
        code: "project_unread",
        text: format!("the branches of {}/{} are not known: {error}", project.organization, project.key),
        remedy: format!("hydrophone project show {} {}", project.organization, project.key),
    })
}

/// That the project seems to have another key in Sonar now.
fn moved(view: &Reader, project: &Project) -> Result<Option<Condition>, StoreError> {
    let Some(moved) = &project.moved else { return Ok(None) };
    let (organization, key, to) = (&project.organization, &project.key, &moved.to);
    let remedy = if catalogue::project_id(view, organization, to)?.is_some() {
        format!("{to} is imported itself: hydrophone project rename {organization} {key} {to} says what can be done")
    } else {
        format!("hydrophone project rename {organization} {key} {to}")
    };
    Ok(Some(Condition {
        urgency: Urgency::Warning,
        code: "project_moved",
        text: format!(
            "{organization}/{key} is not shown by SonarQube any more; {} of {} of its findings are in project {to}",
            moved.found, moved.asked
        ),
        remedy,
    }))
}

/// Branches that Sonar does not list any more. Pull requests come and go: they are no news.
fn retired(view: &Reader, project: &Project, scopes: &[(ScopeId, Scope)]) -> Result<Option<Condition>, StoreError> {
    let gone: Vec<_> = scopes
        .iter()
        .filter(|(_, scope)| scope.kind == ScopeKind::Branch)
        .filter_map(|(id, scope)| Some((*id, scope.name.as_str(), scope.retired_at?)))
        .collect();
    let Some(since) = gone.iter().map(|(_, _, at)| *at).min() else { return Ok(None) };
    let of = lists::Filter { scopes: Some(gone.iter().map(|(id, ..)| *id).collect()), ..lists::Filter::default() };
    let held = lists::count(view, &of)?;
    let names: Vec<_> = gone.iter().take(NAMES_MAX).map(|(_, name, _)| *name).collect();
    let more = match gone.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let are = if gone.len() == 1 { ("branch", "is", "its") } else { ("branches", "are", "their") };
    Ok(Some(Condition {
        urgency: Urgency::Info,
        code: "branch_retired",
        text: format!(
            "{}: {} {}{more} {} no longer listed by SonarQube since {since}; {} {held} open findings are kept, and hidden from lists",
            project.key,
            are.0,
            names.join(", "),
            are.1,
            are.2
        ),
        remedy: format!(
            "nothing is to be done; hydrophone finding list --project {} --retired shows them",
            project.key
        ),
    }))
}

/// Branches named in one condition.
const NAMES_MAX: usize = 5;

fn of_scope(project: &Project, scope: &Scope) -> Vec<Condition> {
    let name = format!("{}/{} {}", project.organization, project.key, scope.name);
    let look = format!("hydrophone project show {} {}", project.organization, project.key);
    let mut conditions = Vec::new();
    if scope.suspicion.is_some() {
        conditions.push(Condition {
            urgency: Urgency::Warning,
            code: "closing_held_back",
            text: format!("{name}: {}", scope.error.clone().unwrap_or_default()),
            remedy:
                "nothing is to be done unless the findings should still be there: then look at the project in Sonar"
                    .to_owned(),
        });
    } else if let Some(error) = &scope.error {
        conditions.push(Condition {
            urgency: Urgency::Warning,
            code: if scope.complete { "sync_failed" } else { "scope_incomplete" },
            text: format!("{name}: {error}"),
            remedy: look.clone(),
        });
    }
    if !scope.odd_words.is_empty() {
        conditions.push(Condition {
            urgency: Urgency::Info,
            code: "unknown_words",
            text: format!(
                "{name}: Sonar says states that this version does not know ({}); those findings count as open",
                scope.odd_words.join(", ")
            ),
            remedy: "a newer version of hydrophone may know them".to_owned(),
        });
    }
    conditions
}

fn of_store(admin: &Admin) -> Vec<Condition> {
    let mut conditions = Vec::new();
    conditions.extend(admin.store.locked().map(|locked| Condition {
        urgency: Urgency::Error,
        code: "locked",
        text: format!(
            "the box is locked: {locked}; lists can be read, webhooks are answered 503, and nothing is read from SonarQube \
             or passed on"
        ),
        remedy: Locked::REMEDY.to_owned(),
    }));
    if admin.store.is_full() {
        conditions.push(Condition {
            urgency: Urgency::Error,
            code: "disk_full",
            text: format!(
                "only {} MiB are free where the state folder is: webhooks are answered 503, nothing is lost that was acknowledged",
                admin.store.free_space().unwrap_or_default() / 1024 / 1024
            ),
            remedy: "free some space on that disk".to_owned(),
        });
    }
    if admin.store.damaged() > 0 {
        conditions.push(Condition {
            urgency: Urgency::Error,
            code: "store_damaged",
            text: format!("{} stored values were met damaged since the start and passed over", admin.store.damaged()),
            remedy: "check the disk; `hydrophone sync --full` reads the findings anew".to_owned(),
        });
    }
    conditions.extend(admin.border.conditions());
    conditions.extend(admin.certificates.get().into_iter().flat_map(|held| held.conditions()));
    conditions.extend(admin.work.clock_standing().condition());
    if admin.work.sources.trust().fell_back() {
        conditions.push(Condition {
            urgency: Urgency::Info,
            code: "no_system_authorities",
            text: "the system has no certificate authorities; those that hydrophone brings along are used".to_owned(),
            remedy: "install the package ca-certificates and run `systemctl reload hydrophone`".to_owned(),
        });
    }
    conditions
}

fn no_public_url() -> Condition {
    Condition {
        urgency: Urgency::Info,
        code: "no_public_url",
        text:
            "the address at which SonarQube reaches this box is not known, so webhook addresses show the listener's own"
                .to_owned(),
        remedy: "hydrophone config set public-url https://…".to_owned(),
    }
}

fn unreadable(error: &StoreError) -> Condition {
    Condition {
        urgency: Urgency::Error,
        code: "store_failed",
        text: error.to_string(),
        remedy: "it is opened anew by itself; if this stays, look at the disk and at `journalctl -u hydrophone`"
            .to_owned(),
    }
}

impl Admin {
    /// Where the page is, as far as the box itself can say.
    pub(super) fn page_url(&self) -> String {
        self.page_address.map_or_else(|| "https://localhost:8444".to_owned(), |address| format!("https://{address}"))
    }

    /// Where webhooks are taken, as far as the box itself can say.
    pub(super) fn listener_url(&self) -> String {
        let scheme = if self.webhook_tls { "https" } else { "http" };
        self.webhook_address.map_or_else(|| "off".to_owned(), |address| format!("{scheme}://{address}"))
    }
}
