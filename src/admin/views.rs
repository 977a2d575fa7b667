//! Stored records as the API shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::utf8_percent_encode;

use super::{Admin, Problem, filters, shapes};
use crate::domain::finding::{Finding, Flow, FlowStep, Severity, SonarWords, State, TextRange};
use crate::domain::ids::{
    AssetId, ChangeNumber, DeliveryId, OrganizationKey, OrganizationRef, ProjectId, RuleKey, ScopeId, ScopeKind,
    SourceName,
};
use crate::domain::limits;
use crate::domain::masking::without_password;
use crate::domain::message;
use crate::domain::schedule::{Due, Task};
use crate::domain::settings::REREAD_MINUTES;
use crate::domain::time::Timestamp;
use crate::store::records::{Asset, AtSite, Change, Delivery, Organization, Project, Rule, Scope, Settlement, Source};
use crate::store::{Reader, StoreError, View, agenda, catalogue, findings, lists, settings};
use crate::sys::clock;

pub(super) fn time(time: Option<Timestamp>) -> Option<String> {
    time.map(|time| time.to_string())
}

pub(super) fn source(source: &Source, projects: u64) -> shapes::Source {
    shapes::Source {
        name: source.name.to_string(),
        kind: if source.cloud { "cloud" } else { "server" }.to_owned(),
        url: source.url.clone(),
        api_url: source.api_url.clone(),
        version: source.version.clone(),
        own_ca: source.ca_pem.is_some(),
        proxy: source.proxy.as_deref().map(without_password),
        webhook_url: source.webhook_url.clone(),
        checked_at: time(source.checked_at),
        token_expires_at: time(source.token_expires_at),
        error: source.error.clone(),
        projects,
        site: source.at.as_ref().map(|at| at.site.to_string()),
        stream: None,
        plain: false,
    }
}

pub(super) fn organizations(source: &Source) -> Vec<shapes::Organization> {
    let shown = |key: &OrganizationKey, name: &str| shapes::Organization {
        source: source.name.to_string(),
        key: key.to_string(),
        name: name.to_owned(),
        filter: filters::choice(&source.filters.get(key).cloned().unwrap_or_default().choice),
    };
    let seen = source.organizations.iter();
    let mut all: Vec<_> = seen.map(|organization| shown(&organization.key, &organization.name)).collect();
    // Cloud need not list one for its projects to be seen.
    let is_seen = |key: &OrganizationKey| source.organizations.iter().any(|organization| organization.key == *key);
    all.extend(source.filters.keys().filter(|key| !is_seen(key)).map(|key| shown(key, key.as_str())));
    all
}

/// All sources by name. Those of other sites come with the organizations that were told of them, as no token of this box
/// sees any.
pub(super) fn sources(view: &Reader) -> Result<Vec<Source>, StoreError> {
    let mut sources = catalogue::sources(view)?;
    if sources.iter().all(|source| source.at.is_none()) {
        return Ok(sources);
    }
    let projects = catalogue::projects(view)?;
    for source in sources.iter_mut().filter(|source| source.at.is_some()) {
        let told = projects.iter().map(|(_, project)| &project.organization);
        let keys: BTreeSet<_> = told.filter(|of| of.source == source.name).map(|of| &of.key).collect();
        source.organizations =
            keys.into_iter().map(|key| Organization { key: key.clone(), name: key.to_string() }).collect();
    }
    Ok(sources)
}

/// The organization that `ORG` or `SOURCE/ORG` names.
pub(super) fn organization(view: &Reader, text: &str) -> Result<OrganizationRef, Problem> {
    let sources = sources(view)?;
    if sources.is_empty() {
        return Err(Problem::missing("no source is connected yet")
            .remedy("hydrophone source add NAME --cloud --token-file FILE"));
    }
    if let Some((source, key)) = text.split_once('/') {
        let (source, key) = (SourceName::parse(source)?, OrganizationKey::parse(key)?);
        let known = sources.iter().find(|known| known.name == source).ok_or_else(|| no_source(&source))?;
        return sees(known, &key).then(|| OrganizationRef { source, key: key.clone() }).ok_or_else(|| not_seen(text));
    }
    let key = OrganizationKey::parse(text)?;
    let mut seeing = sources.iter().filter(|source| sees(source, &key));
    match (seeing.next(), seeing.next()) {
        (Some(source), None) => Ok(OrganizationRef { source: source.name.clone(), key }),
        (Some(one), Some(other)) => Err(Problem::conflict(format!(
            "both {} and {} have an organization {key}; write {}/{key} or {}/{key}",
            one.name, other.name, one.name, other.name
        ))),
        (None, _) => Err(not_seen(text)),
    }
}

/// Whether a source's token sees an organization. Where Cloud would not list any, the word of the person counts:
/// asking for its projects shows whether it is right.
fn sees(source: &Source, key: &OrganizationKey) -> bool {
    source.organizations.iter().any(|organization| organization.key == *key)
        || (source.cloud && source.at.is_none() && source.organizations.is_empty())
}

/// Refuses what is done where a source is read, for one that another site's box reads. `what` names what it is about.
pub(super) fn must_be_own(view: &impl View, source: &SourceName, what: impl Display) -> Result<(), Problem> {
    match catalogue::site_of(view, source)? {
        Some(site) => Err(Problem::elsewhere(what, site)),
        None => Ok(()),
    }
}

pub(super) fn no_source(name: &SourceName) -> Problem {
    Problem::missing(format!("there is no source {name}")).remedy("hydrophone source list")
}

fn not_seen(text: &str) -> Problem {
    Problem::missing(format!("no connected source sees an organization {text}")).remedy(
        "`hydrophone organization list` shows those that are seen; `hydrophone source check NAME` asks Sonar again",
    )
}

/// After this a scope that was not proven current is stale.
pub(super) fn stale_after(view: &Reader) -> Result<Duration, StoreError> {
    Ok(Duration::from_mins(settings::number_of(view, REREAD_MINUTES)?) * limits::STALE_INTERVALS)
}

/// The site of a source, among those that other sites' boxes read.
pub(super) fn site_in(sites: &BTreeMap<SourceName, AtSite>, source: &SourceName) -> Option<String> {
    sites.get(source).map(|at| at.site.to_string())
}

/// What many projects are shown with, read once.
pub(super) struct Context {
    assets: BTreeMap<AssetId, Asset>,
    agenda: Vec<(Task, Due)>,
    now: Timestamp,
    stale_after: Duration,
    sites: BTreeMap<SourceName, AtSite>,
}

impl Context {
    pub(super) fn read(view: &Reader) -> Result<Self, StoreError> {
        Ok(Self {
            assets: catalogue::assets(view)?.into_iter().collect(),
            agenda: agenda::all(view)?,
            now: clock::now(),
            stale_after: stale_after(view)?,
            sites: catalogue::sources_afar(view)?,
        })
    }

    fn is_queued(&self, task: Task) -> bool {
        self.agenda.iter().any(|(other, due)| *other == task && due.at <= self.now)
    }

    /// When a task has its turn that has not come yet.
    fn next_at(&self, task: Task) -> Option<String> {
        let due = self.agenda.iter().find(|(other, _)| *other == task)?.1;
        (due.at > self.now).then(|| due.at.to_string())
    }

    pub(super) fn project(
        &self,
        admin: &Admin,
        view: &Reader,
        id: ProjectId,
        project: &Project,
    ) -> Result<shapes::Project, StoreError> {
        let mut branches = catalogue::scopes(view, id)?
            .into_iter()
            .map(|(id, scope)| self.branch(admin, view, id, scope, project.imported_at))
            .collect::<Result<Vec<_>, _>>()?;
        let site = site_in(&self.sites, &project.organization.source);
        if site.is_some() {
            // Its own box says when it is; this one hears of what is as it was only now and then.
            for branch in &mut branches {
                branch.stale = false;
            }
        }
        let choice = catalogue::passing(view, &project.organization)?.choice;
        if !choice.is_all() {
            let choice = Arc::new(choice);
            for ((id, _), branch) in catalogue::scopes(view, id)?.iter().zip(&mut branches) {
                let passing = BTreeMap::from([(*id, Arc::clone(&choice))]);
                let filter = lists::Filter { scopes: Some([*id].into()), passing, ..lists::Filter::default() };
                branch.passing_total = Some(lists::count(view, &filter)?);
            }
        }
        let queued = self.is_queued(Task::Discover(id));
        Ok(shapes::Project {
            source: project.organization.source.to_string(),
            organization: project.organization.key.to_string(),
            key: project.key.to_string(),
            name: project.name.clone(),
            imported: true,
            asset: self.assets.get(&project.asset).map(|asset| asset.name.to_string()),
            selected_branches: project.selection.branches.clone(),
            pull_requests: project.selection.pull_requests,
            repository: project.repository.clone(),
            // While its branches are asked for, an error of before is no news.
            error: project.error.clone().filter(|_| !queued),
            activity: if queued { "queued" } else { "idle" }.to_owned(),
            next_at: self.next_at(Task::Discover(id)),
            site,
            branches,
        })
    }

    fn branch(
        &self,
        admin: &Admin,
        view: &Reader,
        id: ScopeId,
        scope: Scope,
        since: Timestamp,
    ) -> Result<shapes::Branch, StoreError> {
        let synced_at = admin.work.standing.synced_at(id, &scope);
        let age = admin.work.standing.age(id, &scope, since);
        let step = admin.work.progress.of(id);
        let activity = match step {
            Some(_) => "running",
            None if self.is_queued(Task::Sync(id)) => "queued",
            None => "idle",
        };
        Ok(shapes::Branch {
            name: scope.name.to_string(),
            kind: match scope.kind {
                ScopeKind::Branch => "branch",
                ScopeKind::PullRequest => "pull_request",
            }
            .to_owned(),
            main: scope.main,
            analysed_at: time(scope.analysed_at),
            quality_gate: scope.gate,
            synced_at: time(synced_at),
            stale: scope.retired_at.is_none() && age > self.stale_after,
            retired_at: time(scope.retired_at),
            complete: scope.complete,
            sonar_total: scope.sonar_total,
            stored_total: lists::count_open(view, id)?,
            passing_total: None,
            error: scope.error,
            activity: activity.to_owned(),
            next_at: self.next_at(Task::Sync(id)),
            read: step.map_or(0, |step| step.read),
            expected: step.map_or(0, |step| step.expected),
        })
    }
}

pub(super) fn delivery(id: DeliveryId, delivery: Delivery, settlement: Option<Settlement>) -> shapes::Delivery {
    let outcome = settlement.map_or(delivery.outcome, |settlement| settlement.outcome);
    shapes::Delivery {
        id: id.to_string(),
        received_at: delivery.received_at.to_string(),
        source: delivery.organization.source.to_string(),
        organization: delivery.organization.key.to_string(),
        project: delivery.project.map(|project| project.to_string()),
        branch: delivery.branch.map(|branch| branch.to_string()),
        task_id: delivery.task,
        status: delivery.status.map(|status| status.as_str().to_owned()),
        outcome: outcome.as_str().to_owned(),
        detail: delivery.problem.map(|problem| problem.to_string()),
        duplicate_of: delivery.duplicate_of.map(|id| id.to_string()),
        replay_of: delivery.replay_of.map(|id| id.to_string()),
        healed: delivery.healed,
        synced_at: settlement
            .filter(|settlement| settlement.outcome == crate::domain::delivery::Outcome::Synced)
            .map(|settlement| settlement.at.to_string()),
    }
}

/// A change with the finding that it is of.
pub(super) fn change_of(
    view: &Reader,
    number: ChangeNumber,
    change: &Change,
) -> Result<shapes::DeliveryChange, StoreError> {
    let title = match findings::with_id(view, change.finding) {
        Err(StoreError::Damaged { .. }) => None,
        held => held?.map(|(_, held)| held.observed.message),
    };
    Ok(shapes::DeliveryChange {
        id: number.to_string(),
        at: change.at.to_string(),
        kind: change.kind.as_str().to_owned(),
        to: change.to.to_string(),
        finding: change.finding.to_string(),
        title,
    })
}

/// What findings of one scope are shown with.
pub(super) struct Home {
    source: Source,
    project: Project,
    scope: Scope,
    asset: Option<String>,
}

impl Home {
    pub(super) fn read(view: &Reader, id: ScopeId) -> Result<Option<Self>, StoreError> {
        let Some(scope) = catalogue::scope(view, id)? else { return Ok(None) };
        let Some(project) = catalogue::project(view, scope.project)? else { return Ok(None) };
        let Some(source) = catalogue::source(view, &project.organization.source)? else { return Ok(None) };
        let asset = catalogue::asset(view, project.asset)?.map(|asset| asset.name.to_string());
        Ok(Some(Self { source, project, scope, asset }))
    }

    pub(super) fn source(&self) -> &SourceName {
        &self.source.name
    }

    pub(super) fn finding(&self, finding: Finding, rule: Option<&Rule>) -> shapes::Finding {
        let url = self.url(&finding);
        let passing = self.source.filters.get(&self.project.organization.key);
        let filtered = passing.is_some_and(|passing| passing.takes(&finding).is_err());
        let last_seen_at = match finding.closed_at {
            None => self.scope.synced_at,
            Some(_) => None,
        };
        let observed = finding.observed;
        shapes::Finding {
            id: finding.id.to_string(),
            key: observed.key.to_string(),
            source: self.source.name.to_string(),
            organization: self.project.organization.key.to_string(),
            project: self.project.key.to_string(),
            branch: self.scope.name.to_string(),
            asset: self.asset.clone(),
            kind: observed.kind.to_string(),
            rule: observed.rule.map(|rule| rule.to_string()),
            title: rule.and_then(|rule| rule.name.clone()).unwrap_or_else(|| observed.message.clone()),
            message: observed.message,
            severity: observed.severity.to_string(),
            state: observed.state.to_string(),
            flows: flows(observed.flows, observed.path.as_deref()),
            path: observed.path,
            line: observed.line,
            range: observed.range.map(range),
            cwe: rule.map(|rule| rule.cwe.clone()).unwrap_or_default(),
            url,
            created_at: time(observed.created_at),
            updated_at: time(observed.updated_at),
            closed_at: time(observed.closed_at.filter(|_| observed.state.is_closed()).or(finding.closed_at)),
            closed_by: finding.closed_by.map(|by| shapes::ClosedBy {
                reason: by.reason.to_string(),
                read_at: by.read_at.to_string(),
                from: by.from.to_string(),
            }),
            first_seen_at: finding.first_seen_at.to_string(),
            last_seen_at: time(last_seen_at),
            site: self.source.at.as_ref().map(|at| at.site.to_string()),
            retired: self.scope.retired_at.is_some(),
            filtered,
            sonar: words(observed.sonar),
        }
    }

    /// Where Sonar shows it.
    fn url(&self, finding: &Finding) -> String {
        let place = (self.scope.kind, self.scope.main, &self.scope.name);
        message::page(&self.source.url, &self.project.key, place, &finding.observed)
    }
}

fn range(range: TextRange) -> shapes::Range {
    let TextRange { start_line, end_line, start_offset, end_offset } = range;
    shapes::Range { start_line, end_line, start_offset, end_offset }
}

fn flows(flows: Vec<Flow>, own: Option<&str>) -> Vec<Vec<shapes::FlowStep>> {
    let step = |step: FlowStep| shapes::FlowStep {
        path: step.path.or_else(|| own.map(str::to_owned)),
        range: step.range.map(range),
        message: step.message,
    };
    flows.into_iter().map(|flow| flow.0.into_iter().map(step).collect()).collect()
}

pub(super) fn rule(source: &Source, key: &RuleKey, rule: Rule) -> shapes::Rule {
    let encoded = utf8_percent_encode(key.as_str(), message::QUERY);
    shapes::Rule {
        source: source.name.to_string(),
        key: key.to_string(),
        name: rule.name,
        description: rule.description.filter(|text| !text.is_empty()),
        cwe: rule.cwe,
        url: format!("{}/coding_rules?open={encoded}&rule_key={encoded}", source.url.trim_end_matches('/')),
        read_at: rule.read_at.to_string(),
    }
}

/// Sonar's own words, without those that it did not say.
fn words(words: SonarWords) -> serde_json::Value {
    let impacts: Vec<_> = words
        .impacts
        .iter()
        .map(|impact| serde_json::json!({ "softwareQuality": impact.software_quality, "severity": impact.severity }))
        .collect();
    let said = [
        ("type", words.r#type),
        ("severity", words.severity),
        ("status", words.status),
        ("resolution", words.resolution),
        ("issueStatus", words.issue_status),
        ("hash", words.hash),
        ("vulnerabilityProbability", words.vulnerability_probability),
        ("securityCategory", words.security_category),
        ("assignee", words.assignee),
        ("component", words.component),
    ];
    let mut object: serde_json::Map<_, _> =
        said.into_iter().filter_map(|(name, word)| Some((name.to_owned(), word?.into()))).collect();
    if !impacts.is_empty() {
        object.insert("impacts".to_owned(), impacts.into());
    }
    if !words.tags.is_empty() {
        object.insert("tags".to_owned(), words.tags.into());
    }
    object.into()
}

/// Findings that are not closed by severity, worst first.
pub(super) fn open_by_severity(view: &Reader, of: &lists::Filter) -> Result<Vec<shapes::SeverityCount>, StoreError> {
    let counts = lists::count_by_severity(view, of)?;
    let count = |severity: &Severity| counts.get(severity).copied().unwrap_or_default();
    let of = |severity| shapes::SeverityCount { severity: ToString::to_string(severity), count: count(severity) };
    Ok(Severity::ALL.iter().map(of).collect())
}

/// The states that are closed.
pub(super) fn closed_states() -> BTreeSet<State> {
    State::ALL.iter().copied().filter(|state| state.is_closed()).collect()
}
