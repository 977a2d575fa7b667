//! Projects: what a token sees, what is imported, and reading it.

pub(super) mod edit;

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::answers::{Query, Sent};
use super::webhooks::register::{Unregister, part};
use super::{Admin, Problem, Shared, destinations, shapes, views};
use crate::domain::ids::{AssetId, AssetName, OrganizationRef, ProjectId, ProjectKey};
use crate::domain::limits;
use crate::domain::schedule::{Reason, Task};
use crate::domain::selection::Selection;
use crate::domain::time::Timestamp;
use crate::sonar::wire;
use crate::store::records::{Asset, Project};
use crate::store::{Batch, StoreError, View, agenda, catalogue};
use crate::sys::clock;

#[derive(Default, Deserialize, IntoParams)]
pub(super) struct Search {
    /// A part of the name or key.
    search: Option<String>,
}

/// `GET /organizations/{organization}/projects`: all that the token sees, imported or not.
pub(super) async fn visible(
    State(admin): Shared,
    Path(organization): Path<String>,
    Query(search): Query<Search>,
) -> Result<Json<shapes::ProjectList>, Problem> {
    let projects = admin
        .ask(move |admin| {
            let organization = admin.store.read(|view| views::organization(view, &organization))?;
            let seen = all_projects(admin, &organization, search.search.as_deref())?;
            admin.store.read::<_, Problem>(|view| {
                let context = views::Context::read(view)?;
                seen.into_iter()
                    .map(|seen| match catalogue::project_id(view, &organization, &seen.key)? {
                        Some(id) => match catalogue::project(view, id)? {
                            Some(project) => Ok(context.project(admin, view, id, &project)?),
                            None => Ok(not_imported(&organization, seen)),
                        },
                        None => Ok(not_imported(&organization, seen)),
                    })
                    .collect::<Result<Vec<_>, Problem>>()
            })
        })
        .await?;
    Ok(Json(shapes::ProjectList { projects }))
}

fn not_imported(organization: &OrganizationRef, seen: wire::Project) -> shapes::Project {
    shapes::Project {
        source: organization.source.to_string(),
        organization: organization.key.to_string(),
        key: seen.key.to_string(),
        name: seen.name,
        imported: false,
        asset: None,
        selected_branches: Vec::new(),
        pull_requests: false,
        repository: None,
        branches: Vec::new(),
        error: None,
        activity: "idle".to_owned(),
        next_at: None,
        site: None,
    }
}

/// Reads all pages of projects; a page that fails fails the whole.
fn all_projects(
    admin: &Admin,
    organization: &OrganizationRef,
    search: Option<&str>,
) -> Result<Vec<wire::Project>, Problem> {
    let connected = admin.work.sources.connect(&organization.source)?;
    let mut projects: BTreeMap<ProjectKey, wire::Project> = BTreeMap::new();
    let (mut read, mut bytes) = (0, 0);
    for page in 1..=limits::PROJECT_PAGES_MAX {
        let answer = connected.client.projects(&organization.key, search, page)?;
        bytes += answer.projects.iter().map(|one| one.key.as_str().len() + one.name.len()).sum::<usize>();
        if bytes > limits::PROJECTS_BYTES_MAX {
            return Err(Problem::unreachable(format!("Sonar lists more projects of {organization} than can be held"))
                .remedy("search for a part of their names"));
        }
        read += answer.rows;
        let last = answer.rows == 0 || read >= answer.total;
        projects.extend(answer.projects.into_iter().map(|project| (project.key.clone(), project)));
        if last {
            break;
        }
    }
    Ok(projects.into_values().collect())
}

/// `GET /projects`: those that are imported.
pub(super) async fn list(State(admin): Shared) -> Result<Json<shapes::ProjectList>, Problem> {
    let projects = admin
        .read(|admin, view| {
            let context = views::Context::read(view)?;
            Ok(catalogue::projects(view)?
                .iter()
                .map(|(id, project)| context.project(admin, view, *id, project))
                .collect::<Result<Vec<_>, StoreError>>()?)
        })
        .await?;
    Ok(Json(shapes::ProjectList { projects }))
}

/// The imported project that two texts name.
pub(super) fn imported(
    view: &crate::store::Reader,
    organization: &str,
    key: &str,
) -> Result<(OrganizationRef, ProjectId, Project), Problem> {
    let organization = views::organization(view, organization)?;
    let key = ProjectKey::parse(key)?;
    let missing = || {
        Problem::missing(format!("project {key} of {organization} is not imported"))
            .remedy(format!("hydrophone project import {organization} --project {key}"))
    };
    let id = catalogue::project_id(view, &organization, &key)?.ok_or_else(missing)?;
    let project = catalogue::project(view, id)?.ok_or_else(missing)?;
    Ok((organization, id, project))
}

/// The same of one that this box reads itself; others are refused.
fn imported_here(
    view: &crate::store::Reader,
    organization: &str,
    key: &str,
) -> Result<(OrganizationRef, ProjectId, Project), Problem> {
    let (organization, id, project) = imported(view, organization, key)?;
    views::must_be_own(view, &organization.source, format_args!("project {}", project.key))?;
    Ok((organization, id, project))
}

/// `GET /organizations/{organization}/projects/{key}`.
pub(super) async fn show(
    State(admin): Shared,
    Path((organization, key)): Path<(String, String)>,
) -> Result<Json<shapes::Project>, Problem> {
    let project = admin
        .read(move |admin, view| {
            let (_, id, project) = imported(view, &organization, &key)?;
            Ok(views::Context::read(view)?.project(admin, view, id, &project)?)
        })
        .await?;
    Ok(Json(project))
}

/// `DELETE /organizations/{organization}/projects/{key}`: forgets a project here; nothing is closed anywhere.
pub(super) async fn remove(
    State(admin): Shared,
    Path((organization, key)): Path<(String, String)>,
    Query(asked): Query<Unregister>,
) -> Result<Json<shapes::Removal>, Problem> {
    let removal = admin
        .ask(move |admin| {
            let (organization, id, project) = admin.store.read(|view| imported_here(view, &organization, &key))?;
            let removal = part(admin, asked, |hook| {
                hook.organization == organization && hook.project.as_ref() == Some(&project.key)
            })?;
            // Some at a time; what is left at the end goes with the project.
            while admin
                .store
                .delete::<_, Problem>(move |batch| Ok(catalogue::drop_pending(batch, id, clock::now())?))?
            {}
            admin.store.delete::<_, Problem>(move |batch| Ok(catalogue::remove_project(batch, id, clock::now())?))?;
            admin.work.tidy();
            admin.directory.reload(&admin.store)?;
            Ok(removal)
        })
        .await?;
    Ok(Json(removal))
}

/// `POST /organizations/{organization}/projects/{key}/rename`: the project has another key in Sonar. Only a person
/// says so: what looks like the same project may be a copy.
pub(super) async fn rename(
    State(admin): Shared,
    Path((organization, key)): Path<(String, String)>,
    Sent(new): Sent<shapes::NewKey>,
) -> Result<(StatusCode, Json<shapes::Project>), Problem> {
    let project = admin
        .ask(move |admin| {
            let (organization, id, former) = admin.store.read(|view| imported_here(view, &organization, &key))?;
            let (key, to) = (former.key, ProjectKey::parse(&new.to)?);
            let taken = || {
                Problem::conflict(format!("project {to} of {organization} is imported itself: nothing is merged"))
                    .remedy(format!(
                        "remove one of the two: `hydrophone project remove {organization} {key}`, and {to} goes on; or \
                         `hydrophone project remove {organization} {to}` and this command again, and the findings of \
                         {key} keep their ids and their history"
                    ))
            };
            if key == to {
                return Err(Problem::bad(format!("project {key} has this key already")));
            }
            if admin.store.read(|view| catalogue::project_id(view, &organization, &to))?.is_some() {
                return Err(taken());
            }
            let connected = admin.work.sources.connect(&organization.source)?;
            let seen = connected.client.project(&organization.key, &to)?.ok_or_else(|| {
                Problem::missing(format!("Sonar shows no project {to} in {organization} to this token"))
                    .remedy(format!("check the key with `hydrophone project list {organization}`"))
            })?;
            if connected.client.project(&organization.key, &key)?.is_some() {
                return Err(Problem::conflict(format!("Sonar still shows project {key}, so {to} is another one"))
                    .remedy(format!("hydrophone project import {organization} --project {to}")));
            }
            let (target, store) = (to.clone(), admin.store.clone());
            let done = admin.store.write::<_, Problem>(move |batch| {
                let now = clock::now();
                let done = catalogue::rename_project(batch, id, &target, seen.name)?;
                if done {
                    agenda::ask(batch, Task::Discover(id), Reason::Manual, now, store.ticket())?;
                    ask_scopes(batch, id, Reason::Manual, now, store.ticket())?;
                }
                Ok(done)
            })?;
            if !done {
                return Err(taken());
            }
            // A project's own webhook has gone with it.
            admin.directory.reload(&admin.store)?;
            shown(admin, &[id])?.pop().ok_or_else(|| Problem::missing(format!("project {to} was removed meanwhile")))
        })
        .await?;
    Ok((StatusCode::ACCEPTED, Json(project)))
}

/// `POST /imports`.
pub(super) async fn import(
    State(admin): Shared,
    Sent(new): Sent<shapes::NewImport>,
) -> Result<(StatusCode, Json<shapes::ProjectList>), Problem> {
    let projects = admin
        .ask(move |admin| {
            let organization = admin.store.read(|view| views::organization(view, &new.organization))?;
            let wanted = wanted(admin, &organization, &new)?;
            let placing = Placing::of(&new)?;
            admin.store.read(|view| placing.check(view))?;
            let (selection, repository) = (selection(&new)?, repository(&new)?);
            let mut ids = Vec::with_capacity(wanted.len());
            // Some at a time, so that deliveries are answered in between.
            for some in wanted.chunks(PROJECTS_PER_COMMIT) {
                let (some, organization) = (some.to_vec(), organization.clone());
                let (placing, selection, store) = (placing.clone(), selection.clone(), admin.store.clone());
                let repository = repository.clone();
                ids.extend(admin.store.write::<_, Problem>(move |batch| {
                    let now = clock::now();
                    some.into_iter()
                        .map(|seen| {
                            take_in(
                                batch,
                                &organization,
                                seen,
                                (&placing, &selection, repository.clone()),
                                now,
                                store.ticket(),
                            )
                        })
                        .collect::<Result<Vec<_>, _>>()
                })?);
            }
            if !matches!(placing, Placing::OwnName) {
                destinations::edit::look_again(admin)?;
            }
            shown(admin, &ids)
        })
        .await?;
    Ok((StatusCode::ACCEPTED, Json(shapes::ProjectList { projects })))
}

const PROJECTS_PER_COMMIT: usize = 50;

/// Refuses what [`import`] would refuse without asking Sonar.
pub(super) fn check(admin: &Admin, new: &shapes::NewImport) -> Result<(), Problem> {
    let placing = Placing::of(new)?;
    admin.store.read(|view| placing.check(view))?;
    repository(new)?;
    selection(new).map(drop)
}

/// The projects that an import names, as Sonar shows them to this token.
pub(super) fn wanted(
    admin: &Admin,
    organization: &OrganizationRef,
    new: &shapes::NewImport,
) -> Result<Vec<wire::Project>, Problem> {
    let what = format_args!("organization {organization}");
    admin.store.read(|view| views::must_be_own(view, &organization.source, what))?;
    match (new.all, new.projects.is_empty()) {
        (true, true) => {
            let all = all_projects(admin, organization, None)?;
            if all.is_empty() {
                return Err(Problem::missing(format!("the token sees no project in {organization}"))
                    .remedy("it needs the permission Browse on the projects"));
            }
            Ok(all.into_iter().filter(|seen| !new.except.iter().any(|key| key == seen.key.as_str())).collect())
        }
        (false, false) => {
            let connected = admin.work.sources.connect(&organization.source)?;
            let keys = new.projects.iter().map(|key| ProjectKey::parse(key)).collect::<Result<Vec<_>, _>>()?;
            keys.into_iter()
                .map(|key| {
                    connected.client.project(&organization.key, &key)?.ok_or_else(|| {
                        Problem::missing(format!("Sonar shows no project {key} in {organization} to this token")).remedy(
                            format!("check the key with `hydrophone project list {organization}`; the token needs the permission Browse on it"),
                        )
                    })
                })
                .collect()
        }
        _ => Err(Problem::bad("an import names projects, or all of them")),
    }
}

/// The branches that an import names.
pub(super) fn selection(new: &shapes::NewImport) -> Result<Selection, Problem> {
    selected(&new.branches, new.pull_requests)
}

fn selected(branches: &[String], pull_requests: bool) -> Result<Selection, Problem> {
    for pattern in branches {
        if pattern.is_empty() || pattern.len() > 255 || pattern.chars().any(char::is_control) {
            return Err(Problem::bad(format!("{pattern:?} cannot be a branch's name or pattern")).at("branches"));
        }
    }
    Ok(Selection { branches: branches.to_vec(), pull_requests })
}

/// The clone address that an import gives, if it gives one.
fn repository(new: &shapes::NewImport) -> Result<Option<String>, Problem> {
    let Some(url) = new.repository.as_deref().map(str::trim).filter(|url| !url.is_empty()) else { return Ok(None) };
    let is_address = ["https://", "http://", "ssh://", "git@"].iter().any(|start| url.starts_with(start));
    // What stands there is told to platforms.
    let has_password = url.starts_with("http") && url.contains('@');
    if !is_address || has_password || url.len() > 500 || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Problem::bad(format!("{url:?} is no clone address of a repository"))
            .at("repository")
            .remedy("one looks like https://git.example/team/shop.git"));
    }
    Ok(Some(url.to_owned()))
}

/// Which asset the projects of an import get.
#[derive(Clone)]
pub(super) enum Placing {
    /// One that exists.
    Existing(AssetName),
    /// One that is made for them.
    New(AssetName),
    /// The one with the project's name, made if it is not there.
    OwnName,
}

impl Placing {
    pub(super) fn of(new: &shapes::NewImport) -> Result<Self, Problem> {
        match (&new.asset, &new.new_asset) {
            (None, None) => Ok(Self::OwnName),
            (Some(name), None) => Ok(Self::Existing(AssetName::parse(name)?)),
            (None, Some(name)) => {
                Ok(Self::New(AssetName::parse(name).map_err(|error| Problem::from(error).at("new_asset"))?))
            }
            (Some(_), Some(_)) => Err(Problem::bad("an asset is either new or exists")),
        }
    }

    /// A name for a new asset must be free: joining another team's by accident would go unnoticed.
    pub(super) fn check(&self, view: &impl View) -> Result<(), Problem> {
        match self {
            Self::New(name) if catalogue::asset_named(view, name)?.is_some() => {
                Err(Problem::conflict(format!("there is an asset {name} already"))
                    .at("new_asset")
                    .remedy("--asset adds to it"))
            }
            _ => Ok(()),
        }
    }

    fn place(&self, batch: &Batch, project: &wire::Project, now: Timestamp) -> Result<AssetId, Problem> {
        match self {
            Self::OwnName => Self::named(batch, &own_name(project)?, now),
            _ => self.of_name(batch, now),
        }
    }

    /// The asset that is named.
    fn of_name(&self, batch: &Batch, now: Timestamp) -> Result<AssetId, Problem> {
        match self {
            Self::Existing(name) => Self::existing(batch, name),
            Self::New(name) => Self::named(batch, name, now),
            Self::OwnName => Err(Problem::bad("no asset is named")),
        }
    }

    /// The asset that a project would get, and whether there is one; `known` is the project as it is imported.
    pub(super) fn foresee(
        &self,
        view: &impl View,
        known: Option<&Project>,
        project: &wire::Project,
    ) -> Result<(AssetName, bool), Problem> {
        let name = match (self, known) {
            (Self::Existing(name), _) => Self::existing(view, name).map(|_| name.clone())?,
            (Self::New(name), _) => name.clone(),
            (Self::OwnName, Some(known)) => match catalogue::asset(view, known.asset)? {
                Some(asset) => asset.name,
                None => own_name(project)?,
            },
            (Self::OwnName, None) => own_name(project)?,
        };
        let exists = catalogue::asset_named(view, &name)?.is_some();
        Ok((name, exists))
    }

    fn existing(view: &impl View, name: &AssetName) -> Result<AssetId, Problem> {
        catalogue::asset_named(view, name)?.ok_or_else(|| {
            Problem::missing(format!("there is no asset {name}"))
                .remedy("`hydrophone asset list` shows them; --new-asset makes one")
        })
    }

    fn named(batch: &Batch, name: &AssetName, now: Timestamp) -> Result<AssetId, Problem> {
        if let Some(id) = catalogue::asset_named(batch, name)? {
            return Ok(id);
        }
        Ok(catalogue::add_asset(batch, &Asset::new(name.clone(), now))?)
    }
}

fn own_name(project: &wire::Project) -> Result<AssetName, Problem> {
    let name: String = project.name.chars().filter(|c| !c.is_control()).collect();
    Ok(AssetName::parse(&name).or_else(|_| AssetName::parse(project.key.as_str()))?)
}

/// Takes one project in, or changes what is held of one that is imported already.
fn take_in(
    batch: &Batch,
    organization: &OrganizationRef,
    seen: wire::Project,
    (placing, selection, repository): (&Placing, &Selection, Option<String>),
    now: Timestamp,
    ticket: u64,
) -> Result<ProjectId, Problem> {
    let id = if let Some(id) = catalogue::project_id(batch, organization, &seen.key)? {
        let known = catalogue::project(batch, id)?
            .ok_or_else(|| Problem::internal(format!("the record of project {} is missing", seen.key)))?;
        let asset = match placing {
            // Importing again without naming an asset leaves the project where it is.
            Placing::OwnName => known.asset,
            _ => placing.place(batch, &seen, now)?,
        };
        let repository = repository.or(known.repository);
        let project =
            Project { name: seen.name, asset, selection: selection.clone(), error: None, repository, ..known };
        catalogue::put_project(batch, id, &project)?;
        // Whoever imports again wants to see the present state.
        ask_scopes(batch, id, Reason::Manual, now, ticket)?;
        id
    } else {
        let asset = placing.place(batch, &seen, now)?;
        let project = Project {
            organization: organization.clone(),
            key: seen.key,
            name: seen.name,
            asset,
            selection: selection.clone(),
            main: None,
            imported_at: now,
            error: None,
            moved: None,
            repository,
        };
        catalogue::add_project(batch, &project)?
    };
    agenda::ask(batch, Task::Discover(id), Reason::Manual, now, ticket)?;
    Ok(id)
}

/// Has the scopes of a project read, but for those that Sonar does not list any more: whoever lists the branches
/// sees whether they are back.
fn ask_scopes(batch: &Batch, id: ProjectId, reason: Reason, now: Timestamp, ticket: u64) -> Result<(), StoreError> {
    for (scope, record) in catalogue::scopes(batch, id)? {
        if record.retired_at.is_none() {
            agenda::ask(batch, Task::Sync(scope), reason, now, ticket)?;
        }
    }
    Ok(())
}

fn shown(admin: &Admin, ids: &[ProjectId]) -> Result<Vec<shapes::Project>, Problem> {
    admin.store.read(|view| {
        let context = views::Context::read(view)?;
        let mut projects = Vec::with_capacity(ids.len());
        for &id in ids {
            if let Some(project) = catalogue::project(view, id)? {
                projects.push(context.project(admin, view, id, &project)?);
            }
        }
        Ok(projects)
    })
}

/// `POST /sync`.
pub(super) async fn sync(
    State(admin): Shared,
    Sent(new): Sent<shapes::NewSync>,
) -> Result<(StatusCode, Json<shapes::ProjectList>), Problem> {
    let projects = admin
        .run(move |admin| {
            let ids = concerned(admin, &new)?;
            let reason = if new.full { Reason::Full } else { Reason::Manual };
            for some in ids.chunks(PROJECTS_PER_COMMIT) {
                let (some, store) = (some.to_vec(), admin.store.clone());
                admin.store.write::<_, Problem>(move |batch| {
                    let now = clock::now();
                    for id in some {
                        agenda::ask(batch, Task::Discover(id), Reason::Manual, now, store.ticket())?;
                        ask_scopes(batch, id, reason, now, store.ticket())?;
                    }
                    Ok(())
                })?;
            }
            shown(admin, &ids)
        })
        .await?;
    Ok((StatusCode::ACCEPTED, Json(shapes::ProjectList { projects })))
}

fn concerned(admin: &Admin, new: &shapes::NewSync) -> Result<Vec<ProjectId>, Problem> {
    admin.store.read(|view| match (&new.organization, &new.project) {
        (Some(organization), Some(key)) => Ok(vec![imported_here(view, organization, key)?.1]),
        (None, Some(_)) => Err(Problem::bad("a project is named together with its organization")),
        (organization, None) => {
            let organization = organization.as_deref().map(|text| views::organization(view, text)).transpose()?;
            if let Some(organization) = &organization {
                views::must_be_own(view, &organization.source, format_args!("organization {organization}"))?;
            }
            let (projects, afar) = (catalogue::projects(view)?, catalogue::sources_afar(view)?);
            let of = projects.into_iter().filter(|(_, project)| {
                organization.as_ref().is_none_or(|organization| project.organization == *organization)
                    && !afar.contains_key(&project.organization.source)
            });
            Ok(of.map(|(id, _)| id).collect())
        }
    })
}
