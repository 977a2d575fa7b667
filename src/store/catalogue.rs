//! Sources, assets, projects, their scopes, and rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::records::{Asset, AtSite, Project, Rule, Scope, SecretBytes, Source};
use super::tables::{self, Key};
use super::{Batch, Counter, StoreError, View, agenda, deliveries, get, hooks, keys, scan, secrets, trend};
use crate::domain::delivery::{Outcome, ScopeRef};
use crate::domain::fleet::{InventoryId, Site};
use crate::domain::ids::{
    AssetId, AssetName, OrganizationRef, ProjectId, ProjectKey, RuleKey, ScopeId, ScopeKind, ScopeName, SourceName,
};
use crate::domain::limits;
use crate::domain::passing::{Choice, Passing};
use crate::domain::schedule::Task;
use crate::domain::time::Timestamp;
use crate::sys::random;

fn source_key(name: &SourceName) -> Key {
    Key::new().tail(name.as_str().as_bytes())
}

fn token_key(name: &SourceName) -> Key {
    Key::new().tail(b"token/").tail(name.as_str().as_bytes())
}

/// Where it is told which inventory this is.
pub(super) const INVENTORY: &[u8] = b"inventory";

fn inventory_key() -> Key {
    Key::new().tail(INVENTORY)
}

/// Which inventory this is among all that ever were.
pub fn inventory(view: &impl View) -> Result<InventoryId, StoreError> {
    match get(view, tables::META, &inventory_key()) {
        // It names what was told under it; under none nothing was.
        Err(StoreError::Damaged { .. }) => Ok(InventoryId::default()),
        found => Ok(found?.unwrap_or_default()),
    }
}

/// Gives a new inventory its name.
pub(super) fn name_inventory(batch: &Batch) -> Result<(), StoreError> {
    batch.put(tables::META, &inventory_key(), &InventoryId(random::bytes()))
}

/// A source by name.
pub fn source(view: &impl View, name: &SourceName) -> Result<Option<Source>, StoreError> {
    let key = source_key(name);
    let source = get::<Source>(view, tables::SOURCES, &key)?;
    source.map(|source| secrets::with_proxy(view, &key.0, source)).transpose()
}

/// All sources by name.
pub fn sources(view: &impl View) -> Result<Vec<Source>, StoreError> {
    let mut found = Vec::new();
    scan::<Source>(view, tables::SOURCES, &Key::new(), |key, source| {
        found.push((key.to_vec(), source));
        true
    })?;
    found.into_iter().map(|(key, source)| secrets::with_proxy(view, &key, source)).collect()
}

/// The sources that other sites' boxes read, each with its site. None on a box that gathers no fleet.
pub fn sources_afar(view: &impl View) -> Result<BTreeMap<SourceName, AtSite>, StoreError> {
    let mut found = BTreeMap::new();
    scan::<Source>(view, tables::SOURCES, &Key::new(), |_, source| {
        found.extend(source.at.map(|at| (source.name, at)));
        true
    })?;
    Ok(found)
}

/// The site whose box reads a source, where that is another one.
pub fn site_of(view: &impl View, source: &SourceName) -> Result<Option<Site>, StoreError> {
    let source = get::<Source>(view, tables::SOURCES, &source_key(source))?;
    Ok(source.and_then(|source| source.at).map(|at| at.site))
}

/// A source's token.
pub fn token(view: &impl View, name: &SourceName) -> Result<Option<SecretBytes>, StoreError> {
    secrets::secret(view, &token_key(name))
}

/// Stores a source, and its token where one is given.
pub fn put_source(batch: &Batch, source: &Source, token: Option<&SecretBytes>) -> Result<(), StoreError> {
    if let Some(token) = token {
        secrets::put(batch, &token_key(&source.name), token)?;
    }
    secrets::put_proxied(batch, tables::SOURCES, &source_key(&source.name), source)
}

/// What passes of an organization; everything where nobody chose.
pub fn passing(view: &impl View, organization: &OrganizationRef) -> Result<Passing, StoreError> {
    let source = source(view, &organization.source)?;
    Ok(source.and_then(|mut source| source.filters.remove(&organization.key)).unwrap_or_default())
}

/// The scopes of organizations of which not everything passes, each with what does.
pub fn filtered_scopes(view: &impl View) -> Result<BTreeMap<ScopeId, Arc<Choice>>, StoreError> {
    let mut choices: BTreeMap<OrganizationRef, Arc<Choice>> = BTreeMap::new();
    for source in sources(view)? {
        for (key, passing) in source.filters.into_iter().filter(|(_, passing)| !passing.choice.is_all()) {
            choices.insert(OrganizationRef { source: source.name.clone(), key }, Arc::new(passing.choice));
        }
    }
    let mut found = BTreeMap::new();
    // Mostly there are none, and no project has to be looked at.
    if choices.is_empty() {
        return Ok(found);
    }
    for (id, project) in projects(view)? {
        let Some(choice) = choices.get(&project.organization) else { continue };
        found.extend(scope_ids(view, id)?.into_iter().map(|scope| (scope, Arc::clone(choice))));
    }
    Ok(found)
}

/// Forgets a source, its token, its endpoints and what was read of its rules. Its projects must be gone before.
pub fn remove_source(batch: &Batch, name: &SourceName) -> Result<(), StoreError> {
    for rule in keys(batch, tables::RULES, &Key::new().name(name.as_str()), usize::MAX)? {
        batch.delete(tables::RULES, &Key::new().tail(&rule))?;
    }
    hooks::remove(batch, |hook| hook.organization.source == *name)?;
    secrets::delete(batch, &token_key(name))?;
    secrets::delete_proxied::<Source>(batch, tables::SOURCES, &source_key(name))
}

/// An asset by number.
pub fn asset(view: &impl View, id: AssetId) -> Result<Option<Asset>, StoreError> {
    get(view, tables::ASSETS, &Key::new().u32(id.0))
}

/// An asset by exact name.
pub fn asset_named(view: &impl View, name: &AssetName) -> Result<Option<AssetId>, StoreError> {
    Ok(get(view, tables::ASSET_NAMES, &Key::new().tail(name.as_str().as_bytes()))?.map(AssetId))
}

/// All assets by number.
pub fn assets(view: &impl View) -> Result<Vec<(AssetId, Asset)>, StoreError> {
    let mut found = Vec::new();
    scan::<Asset>(view, tables::ASSETS, &Key::new(), |key, asset| {
        found.extend(tables::u32_at(key, 0).map(|id| (AssetId(id), asset)));
        true
    })?;
    Ok(found)
}

/// Makes an asset. Its name must be free.
pub fn add_asset(batch: &Batch, asset: &Asset) -> Result<AssetId, StoreError> {
    let id = AssetId(batch.next_small_number(Counter::Asset)?);
    put_asset(batch, id, asset)?;
    Ok(id)
}

/// Rewrites an asset; a new name must be free.
pub fn put_asset(batch: &Batch, id: AssetId, asset: &Asset) -> Result<(), StoreError> {
    let key = Key::new().u32(id.0);
    if let Some(former) = get::<Asset>(batch, tables::ASSETS, &key)? {
        batch.delete(tables::ASSET_NAMES, &Key::new().tail(former.name.as_str().as_bytes()))?;
    }
    batch.put(tables::ASSET_NAMES, &Key::new().tail(asset.name.as_str().as_bytes()), &id.0)?;
    batch.put(tables::ASSETS, &key, asset)
}

/// Forgets an asset. No project may belong to it.
pub fn remove_asset(batch: &Batch, id: AssetId, asset: &Asset) -> Result<(), StoreError> {
    batch.delete(tables::ASSET_NAMES, &Key::new().tail(asset.name.as_str().as_bytes()))?;
    batch.delete(tables::ASSETS, &Key::new().u32(id.0))
}

fn project_name(organization: &OrganizationRef, key: &ProjectKey) -> Key {
    Key::new().name(organization.source.as_str()).name(organization.key.as_str()).tail(key.as_str().as_bytes())
}

/// The number of an imported project.
pub fn project_id(
    view: &impl View,
    organization: &OrganizationRef,
    key: &ProjectKey,
) -> Result<Option<ProjectId>, StoreError> {
    match get(view, tables::PROJECT_NAMES, &project_name(organization, key)) {
        // The records say the same, only slower.
        Err(StoreError::Damaged { .. }) => Ok(projects(view)?
            .into_iter()
            .find(|(_, project)| project.organization == *organization && project.key == *key)
            .map(|(id, _)| id)),
        found => Ok(found?.map(ProjectId)),
    }
}

/// An imported project.
pub fn project(view: &impl View, id: ProjectId) -> Result<Option<Project>, StoreError> {
    get(view, tables::PROJECTS, &Key::new().u32(id.0))
}

/// All imported projects by number.
pub fn projects(view: &impl View) -> Result<Vec<(ProjectId, Project)>, StoreError> {
    let mut found = Vec::new();
    scan::<Project>(view, tables::PROJECTS, &Key::new(), |key, project| {
        found.extend(tables::u32_at(key, 0).map(|id| (ProjectId(id), project)));
        true
    })?;
    Ok(found)
}

/// Takes a project in, under a new number.
pub fn add_project(batch: &Batch, project: &Project) -> Result<ProjectId, StoreError> {
    let id = ProjectId(batch.next_small_number(Counter::Project)?);
    batch.put(tables::PROJECT_NAMES, &project_name(&project.organization, &project.key), &id.0)?;
    put_project(batch, id, project)?;
    Ok(id)
}

/// Rewrites a project.
pub fn put_project(batch: &Batch, id: ProjectId, project: &Project) -> Result<(), StoreError> {
    batch.put(tables::PROJECTS, &Key::new().u32(id.0), project)
}

/// Gives a project another key, as Sonar has done; its number, scopes and findings stay. False if another project of
/// the organization is imported under that key.
pub fn rename_project(batch: &Batch, id: ProjectId, to: &ProjectKey, name: String) -> Result<bool, StoreError> {
    let Some(former) = project(batch, id)? else { return Ok(false) };
    if project_id(batch, &former.organization, to)?.is_some() {
        return Ok(false);
    }
    hooks::rename(batch, &former.organization, &former.key, to)?;
    batch.delete(tables::PROJECT_NAMES, &project_name(&former.organization, &former.key))?;
    batch.put(tables::PROJECT_NAMES, &project_name(&former.organization, to), &id.0)?;
    put_project(batch, id, &Project { key: to.clone(), name, error: None, moved: None, ..former })?;
    Ok(true)
}

/// Gives a project of another site the names that its box knows it by now; false if another one bears them.
pub(super) fn readdress_project(
    batch: &Batch,
    id: ProjectId,
    to: (&OrganizationRef, &ProjectKey),
) -> Result<bool, StoreError> {
    let Some(former) = project(batch, id)? else { return Ok(false) };
    if project_id(batch, to.0, to.1)?.is_some() {
        return Ok(false);
    }
    batch.delete(tables::PROJECT_NAMES, &project_name(&former.organization, &former.key))?;
    batch.put(tables::PROJECT_NAMES, &project_name(to.0, to.1), &id.0)?;
    put_project(batch, id, &Project { organization: to.0.clone(), key: to.1.clone(), ..former })?;
    Ok(true)
}

/// Forgets a project: from here on it is not imported. Its findings are deleted in batches of their own; closing
/// them on a platform is not for us to decide.
pub fn remove_project(batch: &Batch, id: ProjectId, now: Timestamp) -> Result<(), StoreError> {
    let Some(project) = project(batch, id)? else { return Ok(()) };
    for (scope, record) in scopes(batch, id)? {
        remove_scope(batch, scope, &record, &project.organization.source)?;
    }
    drop_pending(batch, id, now)?;
    agenda::forget(batch, Task::Discover(id))?;
    hooks::remove(batch, |hook| {
        hook.organization == project.organization && hook.project.as_ref() == Some(&project.key)
    })?;
    batch.delete(tables::PROJECT_NAMES, &project_name(&project.organization, &project.key))?;
    batch.delete(tables::PROJECTS, &Key::new().u32(id.0))?;
    trend::recount(batch, now)
}

/// Forgets a scope and marks its findings for deletion.
fn remove_scope(batch: &Batch, id: ScopeId, scope: &Scope, source: &SourceName) -> Result<(), StoreError> {
    agenda::forget(batch, Task::Sync(id))?;
    batch.delete(tables::SCOPE_NAMES, &scope_name(scope.project, scope.kind, &scope.name))?;
    batch.delete(tables::CRAWLS, &Key::new().u32(id.0))?;
    batch.delete(tables::READINGS, &Key::new().u32(id.0))?;
    batch.delete(tables::SCOPES, &Key::new().u32(id.0))?;
    batch.delete(tables::META, &retired_key(id))?;
    batch.put(tables::DISCARDED, &Key::new().u32(id.0), source)
}

/// The projects that other sites' boxes read: what is said of their times was said by other clocks.
fn projects_afar(view: &impl View) -> Result<BTreeSet<ProjectId>, StoreError> {
    let afar = sources_afar(view)?;
    if afar.is_empty() {
        return Ok(BTreeSet::new());
    }
    let all = projects(view)?.into_iter();
    Ok(all.filter(|(_, project)| afar.contains_key(&project.organization.source)).map(|(id, _)| id).collect())
}

/// When a scope was last read completely by this box.
pub fn last_synced(view: &impl View) -> Result<Option<Timestamp>, StoreError> {
    let (mut newest, afar) = (None, projects_afar(view)?);
    scan::<Scope>(view, tables::SCOPES, &Key::new(), |_, scope| {
        if !afar.contains(&scope.project) {
            newest = newest.max(scope.synced_at);
        }
        true
    })?;
    Ok(newest)
}

/// A scope that Sonar has not listed for long: a pull request, or a branch, since before a time. The main branch is
/// never among them: without it there is no project, and that is for a person to decide.
pub fn retired(
    view: &impl View,
    requests_before: Timestamp,
    branches_before: Timestamp,
) -> Result<Option<ScopeId>, StoreError> {
    // Other boxes say themselves when they forget one.
    let (mut found, afar) = (None, projects_afar(view)?);
    scan::<Scope>(view, tables::SCOPES, &Key::new(), |key, scope| {
        let before = match scope.kind {
            ScopeKind::PullRequest => requests_before,
            ScopeKind::Branch => branches_before,
        };
        if !scope.main && scope.retired_at.is_some_and(|at| at < before) && !afar.contains(&scope.project) {
            found = tables::u32_at(key, 0).map(ScopeId);
        }
        found.is_none()
    })?;
    Ok(found)
}

/// Forgets a scope, and gives up the deliveries that wait for it; where those are too many for one batch, only some
/// of them, and the scope with another one. Its findings are deleted in batches of their own.
pub fn drop_scope(batch: &Batch, id: ScopeId, now: Timestamp) -> Result<(), StoreError> {
    let Some(record) = scope(batch, id)? else { return Ok(()) };
    let Some(project) = project(batch, record.project)? else { return Ok(()) };
    if deliveries::give_up(batch, record.project, Task::Sync(id), now)? {
        return Ok(());
    }
    remove_scope(batch, id, &record, &project.organization.source)
}

/// A scope whose findings wait for deletion.
pub fn discarded(view: &impl View) -> Result<Option<ScopeId>, StoreError> {
    Ok(keys(view, tables::DISCARDED, &Key::new(), 1)?.first().and_then(|key| tables::u32_at(key, 0)).map(ScopeId))
}

fn scope_name(project: ProjectId, kind: ScopeKind, name: &ScopeName) -> Key {
    Key::new().u32(project.0).byte(u8::from(kind == ScopeKind::PullRequest)).tail(name.as_str().as_bytes())
}

/// A scope.
pub fn scope(view: &impl View, id: ScopeId) -> Result<Option<Scope>, StoreError> {
    get(view, tables::SCOPES, &Key::new().u32(id.0))
}

/// The number of the scope that a call speaks of, if it is held.
pub fn scope_id(
    view: &impl View,
    id: ProjectId,
    project: &Project,
    scope: &ScopeRef,
) -> Result<Option<ScopeId>, StoreError> {
    match scope {
        ScopeRef::Main => Ok(project.main),
        ScopeRef::Named { kind, name } => {
            Ok(get(view, tables::SCOPE_NAMES, &scope_name(id, *kind, name))?.map(ScopeId))
        }
    }
}

/// The scopes of a project: branches by name, then pull requests.
pub fn scopes(view: &impl View, project: ProjectId) -> Result<Vec<(ScopeId, Scope)>, StoreError> {
    let ids = scope_ids(view, project)?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        match scope(view, id) {
            Ok(scope) => found.extend(scope.map(|scope| (id, scope))),
            // One damaged record must not hide the others.
            Err(StoreError::Damaged { what }) => tracing::warn!("a stored {what} is damaged; it was passed over"),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn scope_ids(view: &impl View, project: ProjectId) -> Result<Vec<ScopeId>, StoreError> {
    let mut ids = Vec::new();
    scan::<u32>(view, tables::SCOPE_NAMES, &Key::new().u32(project.0), |_, id| {
        ids.push(ScopeId(id));
        true
    })?;
    Ok(ids)
}

/// Makes a scope.
pub fn add_scope(batch: &Batch, scope: &Scope) -> Result<ScopeId, StoreError> {
    let id = ScopeId(batch.next_small_number(Counter::Scope)?);
    batch.put(tables::SCOPE_NAMES, &scope_name(scope.project, scope.kind, &scope.name), &id.0)?;
    put_scope(batch, id, scope)?;
    Ok(id)
}

/// Rewrites a scope.
pub fn put_scope(batch: &Batch, id: ScopeId, scope: &Scope) -> Result<(), StoreError> {
    let mark = retired_key(id);
    match (scope.retired_at, super::has(batch, tables::META, &mark)?) {
        (Some(_), false) => batch.put(tables::META, &mark, &scope.project.0)?,
        (None, true) => batch.delete(tables::META, &mark)?,
        _ => {}
    }
    batch.put(tables::SCOPES, &Key::new().u32(id.0), scope)
}

/// Beside the record, so that nobody has to read all scopes to know that none is retired.
fn retired_key(id: ScopeId) -> Key {
    Key::new().tail(RETIRED).u32(id.0)
}

pub(super) const RETIRED: &[u8] = b"retired scope ";

/// The scopes that Sonar does not list any more; mostly none.
pub fn retired_scopes(view: &impl View) -> Result<BTreeSet<ScopeId>, StoreError> {
    let marks = keys(view, tables::META, &Key::new().tail(RETIRED), usize::MAX)?;
    Ok(marks.iter().filter_map(|key| tables::u32_at(key, RETIRED.len())).map(ScopeId).collect())
}

/// Those, and the scopes whose findings wait to be deleted.
pub(super) fn hidden_scopes(view: &impl View) -> Result<BTreeSet<ScopeId>, StoreError> {
    let mut hidden = retired_scopes(view)?;
    let discarded = keys(view, tables::DISCARDED, &Key::new(), usize::MAX)?;
    hidden.extend(discarded.iter().filter_map(|key| tables::u32_at(key, 0)).map(ScopeId));
    Ok(hidden)
}

/// Notes that Sonar does not list a scope any more. Its findings stay as they are; the trend is for the caller to recount.
pub fn note_retired(batch: &Batch, id: ScopeId, record: Scope, now: Timestamp) -> Result<(), StoreError> {
    // A read that was under way may have noted its failure since.
    if record.retired_at.is_some() && record.error.is_none() && record.suspicion.is_none() {
        return Ok(());
    }
    let retired_at = record.retired_at.or(Some(now));
    put_scope(batch, id, &Scope { retired_at, error: None, suspicion: None, ..record })
}

/// Notes that Sonar does not list a scope any more, and settles deliveries that wait for it, as many as one batch may;
/// returns whether some are left. Its findings stay as they are.
pub fn retire(batch: &Batch, id: ScopeId, now: Timestamp) -> Result<bool, StoreError> {
    let Some(record) = scope(batch, id)? else { return Ok(false) };
    let project = record.project;
    note_retired(batch, id, record, now)?;
    trend::recount(batch, now)?;
    deliveries::give_up(batch, project, Task::Sync(id), now)
}

/// Gives a scope another name, as the main branch may get one; false if another scope of its project bears it.
pub fn rename_scope(batch: &Batch, id: ScopeId, name: &ScopeName) -> Result<bool, StoreError> {
    let Some(former) = scope(batch, id)? else { return Ok(false) };
    let key = scope_name(former.project, former.kind, name);
    if super::has(batch, tables::SCOPE_NAMES, &key)? {
        return Ok(false);
    }
    batch.delete(tables::SCOPE_NAMES, &scope_name(former.project, former.kind, &former.name))?;
    batch.put(tables::SCOPE_NAMES, &key, &id.0)?;
    put_scope(batch, id, &Scope { name: name.clone(), ..former })?;
    Ok(true)
}

/// Notes which branch of a project is the main one, on the project and on its scopes. It may not be held.
pub fn set_main(batch: &Batch, id: ProjectId, name: Option<&ScopeName>) -> Result<(), StoreError> {
    let mut main = None;
    for (scope, record) in scopes(batch, id)? {
        let is_main = record.kind == ScopeKind::Branch && Some(&record.name) == name;
        if is_main {
            main = Some(scope);
        }
        if record.main != is_main {
            put_scope(batch, scope, &Scope { main: is_main, ..record })?;
        }
    }
    match project(batch, id)? {
        Some(record) if record.main != main => put_project(batch, id, &Project { main, ..record }),
        _ => Ok(()),
    }
}

/// Settles deliveries of a project, as many as one batch may; returns whether some are left.
pub fn drop_pending(batch: &Batch, id: ProjectId, now: Timestamp) -> Result<bool, StoreError> {
    let pending = deliveries::pending(batch, id)?;
    let some = pending.iter().take(limits::DELETIONS_PER_COMMIT_MAX).map(|(delivery, _)| *delivery);
    deliveries::settle(batch, id, some, Outcome::Dropped, now)?;
    Ok(pending.len() > limits::DELETIONS_PER_COMMIT_MAX)
}

fn rule_key(source: &SourceName, rule: &RuleKey) -> Key {
    Key::new().name(source.as_str()).tail(rule.as_str().as_bytes())
}

/// What is known of a rule.
pub fn rule(view: &impl View, source: &SourceName, rule: &RuleKey) -> Result<Option<Rule>, StoreError> {
    get(view, tables::RULES, &rule_key(source, rule))
}

/// Stores a rule's text, and makes its findings found by it.
pub fn put_rule(batch: &Batch, source: &SourceName, key: &RuleKey, rule: &Rule) -> Result<(), StoreError> {
    if let Some(name) = &rule.name {
        let mut index = super::words::Index::open(batch)?;
        index.add(super::words::rule_text(source, key), name);
        index.write()?;
    }
    batch.put(tables::RULES, &rule_key(source, key), rule)
}
