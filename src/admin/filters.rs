//! What of an organization's findings passes: is shown and passed on. All are held.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};

use super::answers::Sent;
use super::{Problem, Shared, shapes, views};
use crate::domain::finding::{Kind, Severity};
use crate::domain::ids::{DestinationId, OrganizationRef};
use crate::domain::passing::{Choice, Until};
use crate::store::lists::{self, Filter};
use crate::store::{Batch, Reader, StoreError, catalogue, destinations, findings, trend};
use crate::sys::clock;

/// `GET /organizations/{organization}/filter`.
pub(super) async fn show(
    State(admin): Shared,
    Path(organization): Path<String>,
) -> Result<Json<shapes::OrganizationFilter>, Problem> {
    let read = move |_: &super::Admin, view: &Reader| {
        let organization = views::organization(view, &organization)?;
        Ok(shown(view, &organization, Vec::new())?)
    };
    Ok(Json(admin.read(read).await?))
}

/// `PUT /organizations/{organization}/filter`. Destinations are told the present state where something passes now that
/// did not before; what does not pass any more is closed nowhere.
pub(super) async fn set(
    State(admin): Shared,
    Path(organization): Path<String>,
    Sent(choice): Sent<shapes::FilterChoice>,
) -> Result<Json<shapes::OrganizationFilter>, Problem> {
    let shown = admin
        .run(move |admin| {
            let choice = chosen(&choice)?;
            let organization = admin.store.read(|view| views::organization(view, &organization))?;
            let of = organization.clone();
            let told = admin.store.write::<_, Problem>(move |batch| {
                if !change(batch, &of, choice)? {
                    return Ok(Vec::new());
                }
                Ok(tell_anew(batch, &of)?)
            })?;
            for (id, _) in &told {
                admin.deliver.kick(*id);
            }
            let names = told.into_iter().map(|(_, name)| name).collect();
            Ok(admin.store.read(|view| shown(view, &organization, names))?)
        })
        .await?;
    Ok(Json(shown))
}

fn chosen(choice: &shapes::FilterChoice) -> Result<Choice, Problem> {
    let severities = choice.severities.iter().map(|word| word.parse::<Severity>()).collect::<Result<_, _>>()?;
    let kinds = choice.kinds.iter().map(|word| word.parse::<Kind>()).collect::<Result<_, _>>()?;
    Ok(Choice::new(severities, kinds))
}

/// The choice as the API shows it.
pub(super) fn choice(choice: &Choice) -> shapes::FilterChoice {
    shapes::FilterChoice {
        severities: choice.severities.iter().map(ToString::to_string).collect(),
        kinds: choice.kinds.iter().map(ToString::to_string).collect(),
    }
}

/// Stores what is to pass. Returns whether something passes that did not before.
fn change(batch: &Batch, organization: &OrganizationRef, choice: Choice) -> Result<bool, Problem> {
    let mut source =
        catalogue::source(batch, &organization.source)?.ok_or_else(|| views::no_source(&organization.source))?;
    let until = Until { finding: findings::next_id(batch)?, destination: destinations::next_id(batch)? };
    let mut passing = source.filters.remove(&organization.key).unwrap_or_default();
    let widened = passing.change(choice, until);
    if passing != crate::domain::passing::Passing::default() {
        source.filters.insert(organization.key.clone(), passing);
    }
    catalogue::put_source(batch, &source, None)?;
    trend::recount(batch, clock::now())?;
    Ok(widened)
}

/// Has the destinations that are told of an organization told its present state; those that were.
fn tell_anew(batch: &Batch, organization: &OrganizationRef) -> Result<Vec<(DestinationId, String)>, StoreError> {
    if !catalogue::projects(batch)?.iter().any(|(_, project)| project.organization == *organization) {
        return Ok(Vec::new());
    }
    let all = destinations::destinations(batch)?.into_iter();
    let told = all.filter(|(_, destination)| destination.filter.takes_organization(organization));
    told.map(|(id, destination)| {
        destinations::tell_anew(batch, id)?;
        Ok((id, destination.name.to_string()))
    })
    .collect()
}

fn shown(
    view: &Reader,
    organization: &OrganizationRef,
    told: Vec<String>,
) -> Result<shapes::OrganizationFilter, StoreError> {
    let mut scopes = BTreeSet::new();
    for (id, _) in catalogue::projects(view)?.iter().filter(|(_, project)| project.organization == *organization) {
        let listed = catalogue::scopes(view, *id)?.into_iter().filter(|(_, scope)| scope.retired_at.is_none());
        scopes.extend(listed.map(|(scope, _)| scope));
    }
    let held = Filter { scopes: Some(scopes), ..Filter::default() };
    let open = lists::count(view, &held)?;
    let passing = lists::count(view, &Filter { passing: catalogue::filtered_scopes(view)?, ..held })?;
    Ok(shapes::OrganizationFilter {
        source: organization.source.to_string(),
        organization: organization.key.to_string(),
        filter: choice(&catalogue::passing(view, organization)?.choice),
        open,
        passing,
        told_anew: told,
    })
}
