//! The inventory: lists of findings, and one of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::views::Home;
use super::{Problem, Shared, shapes, views};
use crate::admin::answers::Query;
use crate::domain::finding::Finding;
use crate::domain::ids::{FindingId, ProjectKey, RuleKey, ScopeId, ScopeKind, SourceName};
use crate::domain::limits;
use crate::store::findings::{self, Reopened};
use crate::store::lists::{self, At, Filter, Order};
use crate::store::records::Rule;
use crate::store::{Reader, StoreError, catalogue};
use crate::sys::clock;
use crate::work::triage::TriageError;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Of this organization, as `ORG` or `SOURCE/ORG`.
    pub(super) organization: Option<String>,
    /// Of this project, by its key.
    pub(super) project: Option<String>,
    /// Of this asset.
    pub(super) asset: Option<String>,
    /// Of this site of a fleet.
    pub(super) site: Option<String>,
    /// Of this branch or pull request.
    pub(super) branch: Option<String>,
    /// `branch` or `pull_request`: only of such.
    pub(super) scope: Option<String>,
    /// Severities, separated by commas.
    pub(super) severity: Option<String>,
    /// States, separated by commas.
    pub(super) state: Option<String>,
    /// Kinds, separated by commas: `vulnerability`, `hotspot`.
    pub(super) kind: Option<String>,
    /// Beginnings of words of rule, title, message or path.
    pub(super) search: Option<String>,
    /// Also of branches and pull requests that Sonar no longer lists.
    #[serde(default)]
    pub(super) retired: bool,
    /// Also what the organization's filter keeps back.
    #[serde(default)]
    pub(super) filtered: bool,
    /// `flows`: tell the flows, too.
    pub(super) with: Option<String>,
    /// `severity` (then newest; without it), `newest` or `path`. What is not closed comes first in each.
    pub(super) sort: Option<String>,
    /// So many at most; 50 without it.
    pub(super) limit: Option<usize>,
    /// Where the next page begins, as `next` named it.
    pub(super) cursor: Option<String>,
}

/// `GET /findings`.
pub(super) async fn list(
    State(admin): Shared,
    Query(wanted): Query<Wanted>,
) -> Result<Json<shapes::FindingList>, Problem> {
    Ok(Json(admin.read(move |_, view| page(view, &wanted)).await?))
}

pub(super) fn page(view: &Reader, wanted: &Wanted) -> Result<shapes::FindingList, Problem> {
    let filter = filter(view, wanted)?;
    let order = order(wanted.sort.as_deref())?;
    let after = match wanted.cursor.as_deref() {
        None => None,
        Some(cursor) => {
            let at = At::from_cursor(cursor).filter(|at| at.order() == order);
            Some(at.ok_or_else(|| Problem::bad("the cursor is none of ours; begin without one"))?)
        }
    };
    let flows = match wanted.with.as_deref() {
        None => false,
        Some("flows") => true,
        Some(other) => return Err(Problem::bad(format!("{other:?} cannot be had with findings; flows can"))),
    };
    let most = wanted.limit.unwrap_or(50).clamp(1, limits::LIST_ROWS_MAX);
    let cache = Cache::new(view);
    let title = |scope: ScopeId, finding: &Finding| cache.rule(scope, finding).and_then(|rule| rule.name);
    let page = lists::page(view, &filter, (order, after.as_ref()), most, &title)?;
    let shown = page.findings.into_iter().filter_map(|(scope, finding)| {
        if flows { cache.shown_whole(scope, finding) } else { cache.shown(scope, finding) }
    });
    let findings: Vec<_> = shown.collect();
    // Where words are searched for, counting once more takes as long as finding them.
    let filtered = if filter.passing.is_empty() || !filter.words.is_empty() {
        0
    } else {
        let all = Filter { passing: BTreeMap::new(), ..filter };
        lists::count(view, &all)?.saturating_sub(page.total)
    };
    Ok(shapes::FindingList {
        filtered,
        total: page.total,
        total_exact: page.total_exact,
        partial: page.next.is_some() && findings.len() < most,
        examined: page.examined as u64,
        damaged: page.damaged,
        findings,
        next: page.next.as_ref().map(At::to_cursor),
    })
}

/// Scopes and rules that one page needs again and again.
pub(super) struct Cache<'v> {
    view: &'v Reader,
    homes: RefCell<BTreeMap<ScopeId, Option<std::rc::Rc<Home>>>>,
    rules: RefCell<BTreeMap<(SourceName, RuleKey), Option<Rule>>>,
}

impl<'v> Cache<'v> {
    pub(super) fn new(view: &'v Reader) -> Self {
        Self { view, homes: RefCell::default(), rules: RefCell::default() }
    }

    fn home(&self, scope: ScopeId) -> Option<std::rc::Rc<Home>> {
        let mut homes = self.homes.borrow_mut();
        homes.entry(scope).or_insert_with(|| Home::read(self.view, scope).ok().flatten().map(std::rc::Rc::new)).clone()
    }

    fn rule(&self, scope: ScopeId, finding: &Finding) -> Option<Rule> {
        let source = self.home(scope)?.source().clone();
        let rule = finding.observed.rule.clone()?;
        let mut rules = self.rules.borrow_mut();
        rules
            .entry((source, rule))
            .or_insert_with_key(|(source, rule)| {
                // The text is not needed for a list, and it is the larger part.
                let rule = catalogue::rule(self.view, source, rule).ok().flatten()?;
                Some(Rule { description: None, ..rule })
            })
            .clone()
    }

    /// A finding with its names, without its flows; nothing if its scope is gone.
    pub(super) fn shown(&self, scope: ScopeId, mut finding: Finding) -> Option<shapes::Finding> {
        finding.observed.flows.clear();
        self.shown_whole(scope, finding)
    }

    fn shown_whole(&self, scope: ScopeId, finding: Finding) -> Option<shapes::Finding> {
        let rule = self.rule(scope, &finding);
        Some(self.home(scope)?.finding(finding, rule.as_ref()))
    }
}

fn filter(view: &Reader, wanted: &Wanted) -> Result<Filter, Problem> {
    let mut filter = Filter {
        scopes: scopes(view, wanted)?,
        severities: words(wanted.severity.as_deref())?,
        states: words(wanted.state.as_deref())?,
        kind: wanted.kind.as_deref().map(str::parse).transpose()?,
        ..Filter::default()
    };
    if !wanted.retired && wanted.branch.is_none() {
        filter.hide(catalogue::retired_scopes(view)?);
    }
    if !wanted.filtered {
        filter.passing = catalogue::filtered_scopes(view)?;
    }
    if let Some(search) = &wanted.search {
        filter.search(search);
        if filter.words.is_empty() {
            return Err(Problem::bad(format!("{search:?} has no word to search for")));
        }
    }
    Ok(filter)
}

fn order(sort: Option<&str>) -> Result<Order, Problem> {
    match sort {
        None | Some("severity") => Ok(Order::Severity),
        Some("newest") => Ok(Order::Newest),
        Some("path") => Ok(Order::Path),
        Some(other) => Err(Problem::bad(format!("{other:?} is none of: severity, newest, path"))),
    }
}

/// Words separated by commas.
fn words<T: FromStr<Err = crate::domain::finding::BadWord> + Ord>(text: Option<&str>) -> Result<BTreeSet<T>, Problem> {
    let words = text.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty());
    Ok(words.map(str::parse).collect::<Result<_, _>>()?)
}

/// The scopes that organization, project, asset, site and branch leave; nothing where none of them is given.
pub(super) fn scopes(view: &Reader, wanted: &Wanted) -> Result<Option<BTreeSet<ScopeId>>, Problem> {
    let Wanted { organization, project, asset, site, branch, scope, .. } = wanted;
    if [organization, project, asset, site, branch, scope].iter().all(|given| given.is_none()) {
        return Ok(None);
    }
    let kind = match scope.as_deref() {
        None => None,
        Some("branch") => Some(ScopeKind::Branch),
        Some("pull_request") => Some(ScopeKind::PullRequest),
        Some(other) => return Err(Problem::bad(format!("{other:?} is none of: branch, pull_request"))),
    };
    let organization = organization.as_deref().map(|text| views::organization(view, text)).transpose()?;
    let key = project.as_deref().map(ProjectKey::parse).transpose()?;
    let asset = asset.as_deref().map(|name| super::assets::named(view, name)).transpose()?.map(|(id, _)| id);
    let at_site = site.as_deref().map(|site| super::fleet::sources_at(view, site)).transpose()?;
    let mut found = BTreeSet::new();
    let mut known = false;
    for (id, project) in catalogue::projects(view)? {
        let of = organization.as_ref().is_none_or(|organization| project.organization == *organization)
            && key.as_ref().is_none_or(|key| project.key == *key);
        known |= of;
        let elsewhere = at_site.as_ref().is_some_and(|sources| !sources.contains(&project.organization.source));
        if !of || elsewhere || asset.is_some_and(|asset| project.asset != asset) {
            continue;
        }
        for (scope, record) in catalogue::scopes(view, id)? {
            if branch.as_deref().is_none_or(|branch| record.name.as_str() == branch)
                && kind.is_none_or(|kind| record.kind == kind)
            {
                found.insert(scope);
            }
        }
    }
    match key {
        Some(key) if !known => Err(Problem::missing(format!("project {key} is not imported"))
            .remedy("`hydrophone status` and `hydrophone asset list` show what is held")),
        _ => Ok(Some(found)),
    }
}

/// `GET /findings/{id}`.
pub(super) async fn show(State(admin): Shared, Path(id): Path<String>) -> Result<Json<shapes::FindingDetail>, Problem> {
    Ok(Json(admin.read(move |_, view| detail(view, id.parse()?)).await?))
}

/// `GET /rules/{source}/{key}`.
pub(super) async fn rule(
    State(admin): Shared,
    Path((source, key)): Path<(String, String)>,
) -> Result<Json<shapes::Rule>, Problem> {
    let read = move |_: &super::Admin, view: &Reader| {
        let (name, key) = (SourceName::parse(&source)?, RuleKey::parse(&key)?);
        let source = catalogue::source(view, &name)?.ok_or_else(|| views::no_source(&name))?;
        let rule = catalogue::rule(view, &name, &key)?
            .ok_or_else(|| Problem::missing(format!("nothing is known of a rule {key} of {name}")))?;
        Ok(views::rule(&source, &key, rule))
    };
    Ok(Json(admin.read(read).await?))
}

/// `POST /findings/{id}/reopen`.
pub(super) async fn reopen(
    State(admin): Shared,
    Path(id): Path<String>,
) -> Result<Json<shapes::FindingDetail>, Problem> {
    let detail = admin
        .run(move |admin| {
            let (id, now) = (id.parse()?, clock::now());
            admin.store.read(|view| must_be_own(view, id))?;
            match admin.store.write::<_, Problem>(move |batch| Ok(findings::reopen(batch, id, now)?))? {
                Reopened::Done(_) => admin.store.read(|view| detail(view, id)),
                Reopened::NotClosed(state) => Err(Problem::conflict(format!(
                    "finding {id} is not closed, its state is {state}: there is nothing to reopen"
                ))),
                Reopened::NotRead => Err(Problem::conflict(format!(
                    "Sonar no longer lists the branch or pull request of finding {id}, so that no read would ever close it again"
                ))
                .remedy("`hydrophone finding show` says where Sonar had it")),
                Reopened::Missing => Err(missing(id)),
            }
        })
        .await?;
    Ok(Json(detail))
}

/// Refuses what is decided about a finding where it is read, for one that another site's box reads.
pub(super) fn must_be_own(view: &Reader, id: FindingId) -> Result<(), Problem> {
    let Some((scope, _)) = findings::with_id(view, id)? else { return Ok(()) };
    let Some(home) = Home::read(view, scope)? else { return Ok(()) };
    views::must_be_own(view, home.source(), format_args!("finding {id}"))
}

impl From<TriageError> for Problem {
    fn from(error: TriageError) -> Self {
        match error {
            TriageError::Missing(id) => missing(id),
            TriageError::Work(error) => error.into(),
            other => Self::conflict(other.to_string()),
        }
    }
}

fn missing(id: FindingId) -> Problem {
    Problem::missing(format!("there is no finding {id}, or its project was removed here"))
        .remedy("`hydrophone finding list` shows them")
}

pub(super) fn detail(view: &Reader, id: FindingId) -> Result<shapes::FindingDetail, Problem> {
    let (scope, finding) = findings::with_id(view, id)?.ok_or_else(|| missing(id))?;
    let home = Home::read(view, scope)?.ok_or_else(|| missing(id))?;
    let rule = match &finding.observed.rule {
        Some(rule) => catalogue::rule(view, home.source(), rule)?,
        None => None,
    };
    let changes = findings::changes_of(view, id)?
        .into_iter()
        .map(|(number, change)| shapes::Change {
            id: number.to_string(),
            at: change.at.to_string(),
            kind: change.kind.as_str().to_owned(),
            from: change.from.map(|state| state.to_string()),
            to: change.to.to_string(),
            by: change.by,
            why: change.why,
            via: change.via,
        })
        .collect();
    Ok(shapes::FindingDetail {
        finding: home.finding(finding, rule.as_ref()),
        rule_description: rule.and_then(|rule| rule.description).filter(|text| !text.is_empty()),
        changes,
    })
}

/// Findings that are not closed by severity, how many are closed, and how many that are not closed no filter passes;
/// without those of branches and pull requests that Sonar does not list any more.
pub(super) fn counts(view: &Reader) -> Result<(Vec<shapes::SeverityCount>, u64, u64), StoreError> {
    let listed = Filter { hidden: catalogue::retired_scopes(view)?, ..Filter::default() };
    let passing = Filter { passing: catalogue::filtered_scopes(view)?, ..listed.clone() };
    let closed = lists::count(view, &Filter { states: views::closed_states(), ..passing.clone() })?;
    let filtered = lists::count(view, &listed)?.saturating_sub(lists::count(view, &passing)?);
    Ok((views::open_by_severity(view, &passing)?, closed, filtered))
}
