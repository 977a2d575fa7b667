//! Assets: what the security team manages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::answers::Sent;
use super::destinations::edit::look_again;
use super::guard::remark;
use super::{Problem, Shared, shapes, views};
use crate::domain::asset::{BadImpact, tags};
use crate::domain::ids::{AssetId, AssetName, ProjectId, ScopeId, SourceName};
use crate::domain::passing::Choice;
use crate::store::lists::Filter;
use crate::store::records::{Asset, AtSite, Project};
use crate::store::{Reader, StoreError, View, catalogue};
use crate::sys::clock;

/// `GET /assets`.
pub(super) async fn list(State(admin): Shared) -> Result<Json<shapes::AssetList>, Problem> {
    let assets = admin
        .read(|_, view| {
            let projects = catalogue::projects(view)?;
            let assets = catalogue::assets(view)?;
            let passing = catalogue::filtered_scopes(view)?;
            let sites = catalogue::sources_afar(view)?;
            Ok(assets
                .into_iter()
                .map(|(id, asset)| shown(view, (id, asset), &projects, &passing, &sites))
                .collect::<Result<Vec<_>, StoreError>>()?)
        })
        .await?;
    Ok(Json(shapes::AssetList { assets }))
}

fn shown(
    view: &Reader,
    (id, asset): (AssetId, Asset),
    projects: &[(ProjectId, Project)],
    passing: &BTreeMap<ScopeId, Arc<Choice>>,
    sites: &BTreeMap<SourceName, AtSite>,
) -> Result<shapes::Asset, StoreError> {
    let mut scopes = BTreeSet::new();
    let mut names = Vec::new();
    for (number, project) in projects.iter().filter(|(_, project)| project.asset == id) {
        let listed = catalogue::scopes(view, *number)?.into_iter().filter(|(_, scope)| scope.retired_at.is_none());
        scopes.extend(listed.map(|(scope, _)| scope));
        names.push(shapes::ProjectName {
            source: project.organization.source.to_string(),
            organization: project.organization.key.to_string(),
            key: project.key.to_string(),
            name: project.name.clone(),
            site: views::site_in(sites, &project.organization.source),
        });
    }
    let passing = passing.iter().filter(|(scope, _)| scopes.contains(scope));
    let passing = passing.map(|(scope, choice)| (*scope, Arc::clone(choice))).collect();
    Ok(shapes::Asset {
        id: id.to_string(),
        name: asset.name.to_string(),
        description: asset.description,
        business_impact: asset.impact.map(|impact| impact.to_string()),
        tags: asset.tags,
        projects: names,
        open: views::open_by_severity(view, &Filter { scopes: Some(scopes), passing, ..Filter::default() })?,
    })
}

/// The asset that a text names.
pub(super) fn named(view: &impl View, name: &str) -> Result<(AssetId, Asset), Problem> {
    let name = AssetName::parse(name)?;
    let missing = || Problem::missing(format!("there is no asset {name}")).remedy("`hydrophone asset list` shows them");
    let id = catalogue::asset_named(view, &name)?.ok_or_else(missing)?;
    Ok((id, catalogue::asset(view, id)?.ok_or_else(missing)?))
}

fn one(view: &Reader, name: &str) -> Result<shapes::Asset, Problem> {
    let (projects, passing) = (catalogue::projects(view)?, catalogue::filtered_scopes(view)?);
    Ok(shown(view, named(view, name)?, &projects, &passing, &catalogue::sources_afar(view)?)?)
}

fn must_be_free(view: &impl View, name: &AssetName) -> Result<(), Problem> {
    match catalogue::asset_named(view, name)? {
        None => Ok(()),
        Some(_) => Err(Problem::conflict(format!("there is an asset {name} already")).at("name")),
    }
}

fn name(text: &str) -> Result<AssetName, Problem> {
    AssetName::parse(text).map_err(|error| Problem::from(error).at("name"))
}

/// Takes over what is given of an asset beside its name; what is empty is taken away.
fn describe(asset: &mut Asset, edit: &shapes::AssetEdit) -> Result<(), Problem> {
    if let Some(description) = &edit.description {
        if description.chars().count() > DESCRIPTION_CHARACTERS_MAX {
            let problem = format!("a description has at most {DESCRIPTION_CHARACTERS_MAX} characters");
            return Err(Problem::bad(problem).at("description"));
        }
        asset.description = Some(description.clone()).filter(|text| !text.is_empty());
    }
    if let Some(impact) = &edit.business_impact {
        asset.impact = match impact.as_str() {
            "" => None,
            word => {
                Some(word.parse().map_err(|error: BadImpact| Problem::bad(error.to_string()).at("business_impact"))?)
            }
        };
    }
    if let Some(given) = &edit.tags {
        asset.tags =
            tags(given.iter().map(String::as_str)).map_err(|error| Problem::bad(error.to_string()).at("tags"))?;
    }
    Ok(())
}

/// Characters of what a team says of an asset.
const DESCRIPTION_CHARACTERS_MAX: usize = 2000;

/// `GET /assets/{name}`.
pub(super) async fn show(State(admin): Shared, Path(name): Path<String>) -> Result<Json<shapes::Asset>, Problem> {
    Ok(Json(admin.read(move |_, view| one(view, &name)).await?))
}

/// `POST /assets`.
pub(super) async fn add(
    State(admin): Shared,
    Sent(new): Sent<shapes::AssetEdit>,
) -> Result<(StatusCode, Json<shapes::Asset>), Problem> {
    remark(new.name.as_deref().unwrap_or_default());
    let asset = admin
        .run(move |admin| {
            let name = name(new.name.as_deref().unwrap_or_default())?;
            let mut asset = Asset::new(name.clone(), clock::now());
            describe(&mut asset, &new)?;
            admin.store.write::<_, Problem>(move |batch| {
                must_be_free(batch, &asset.name)?;
                Ok(catalogue::add_asset(batch, &asset)?)
            })?;
            admin.store.read(|view| one(view, name.as_str()))
        })
        .await?;
    Ok((StatusCode::CREATED, Json(asset)))
}

/// `PATCH /assets/{name}`.
pub(super) async fn edit(
    State(admin): Shared,
    Path(name): Path<String>,
    Sent(edit): Sent<shapes::AssetEdit>,
) -> Result<Json<shapes::Asset>, Problem> {
    let asset = admin
        .run(move |admin| {
            let new_name = edit.name.as_deref().map(self::name).transpose()?;
            let shown = new_name.as_ref().map_or(name.clone(), ToString::to_string);
            let renamed = admin.store.write::<_, Problem>(move |batch| {
                let (id, mut asset) = named(batch, &name)?;
                let new_name = new_name.filter(|new_name| *new_name != asset.name);
                let renamed = new_name.is_some();
                if let Some(new_name) = new_name {
                    must_be_free(batch, &new_name)?;
                    asset.name = new_name;
                }
                describe(&mut asset, &edit)?;
                catalogue::put_asset(batch, id, &asset)?;
                Ok(renamed)
            })?;
            if renamed {
                look_again(admin)?;
            }
            admin.store.read(|view| one(view, &shown))
        })
        .await?;
    Ok(Json(asset))
}

/// `DELETE /assets/{name}`.
pub(super) async fn remove(State(admin): Shared, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    admin
        .run(move |admin| {
            admin.store.delete::<_, Problem>(move |batch| {
                let (id, asset) = named(batch, &name)?;
                let projects = catalogue::projects(batch)?;
                let holds: Vec<_> = projects
                    .iter()
                    .filter(|(_, project)| project.asset == id)
                    .map(|(_, project)| project.key.to_string())
                    .collect();
                if !holds.is_empty() {
                    return Err(Problem::conflict(format!("asset {name} holds {}", holds.join(", ")))
                        .remedy("move them first (`hydrophone project edit ORG KEY --asset OTHER`) or remove them"));
                }
                Ok(catalogue::remove_asset(batch, id, &asset)?)
            })?;
            Ok(StatusCode::NO_CONTENT)
        })
        .await
}
