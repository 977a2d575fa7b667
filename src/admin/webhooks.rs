//! Webhook addresses and their secrets.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::answers::Sent;
use super::{Admin, Problem, Shared, shapes, views};
use crate::domain::ids::{EndpointId, OrganizationRef, ProjectKey};
use crate::domain::settings::{POLL_MINUTES, PUBLIC_URL};
use crate::domain::signature::{Secret, to_hex};
use crate::store::records::{Hook, SecretBytes};
use crate::store::{Reader, catalogue, deliveries, hooks, settings};
use crate::sys::{clock, random};

#[derive(Deserialize, IntoParams)]
pub(super) struct Of {
    /// The webhook of this project rather than of the whole organization.
    project: Option<String>,
}

/// `GET /organizations/{organization}/webhook`: the endpoint is made as soon as it is first asked for.
pub(super) async fn show(
    State(admin): Shared,
    Path(organization): Path<String>,
    Query(of): Query<Of>,
) -> Result<Json<shapes::Webhook>, Problem> {
    Ok(Json(admin.run(move |admin| asked(admin, &organization, &of, false)).await?))
}

/// `POST /organizations/{organization}/webhook/reveal`: the same with the secret. It changes nothing; being a POST it is
/// in the audit log, and in no history of a browser.
pub(super) async fn reveal(
    State(admin): Shared,
    Path(organization): Path<String>,
    Query(of): Query<Of>,
) -> Result<Json<shapes::Webhook>, Problem> {
    Ok(Json(admin.run(move |admin| asked(admin, &organization, &of, true)).await?))
}

fn asked(admin: &Admin, organization: &str, of: &Of, reveal: bool) -> Result<shapes::Webhook, Problem> {
    let (organization, project) = named(admin, organization, of.project.as_deref())?;
    let hook = hook(admin, &organization, project.as_ref())?;
    admin.store.read(|view| shown(admin, view, &hook, reveal))
}

/// `PUT /organizations/{organization}/webhook/secret`: takes a secret over that exists in Sonar.
pub(super) async fn secret(
    State(admin): Shared,
    Path(organization): Path<String>,
    Query(of): Query<Of>,
    Sent(new): Sent<shapes::NewSecret>,
) -> Result<Json<shapes::Webhook>, Problem> {
    let webhook = admin
        .run(move |admin| {
            Secret::parse(&new.secret).map_err(|error| Problem::bad(error.to_string()))?;
            let (organization, project) = named(admin, &organization, of.project.as_deref())?;
            let hook = hook(admin, &organization, project.as_ref())?;
            let secret = SecretBytes::new(new.secret.clone().into_bytes());
            let changed = hook.clone();
            admin
                .store
                .write::<_, Problem>(move |batch| Ok(hooks::replace_secret(batch, changed, &secret, clock::now())?))?;
            admin.directory.reload(&admin.store)?;
            admin.store.read(|view| shown(admin, view, &hook, false))
        })
        .await?;
    Ok(Json(webhook))
}

fn named(
    admin: &Admin,
    organization: &str,
    project: Option<&str>,
) -> Result<(OrganizationRef, Option<ProjectKey>), Problem> {
    let organization = admin.store.read(|view| views::organization(view, organization))?;
    Ok((organization, project.map(ProjectKey::parse).transpose()?))
}

/// The endpoint, made with 128 random bits and a secret of 256 if it is not there yet.
fn hook(admin: &Admin, organization: &OrganizationRef, project: Option<&ProjectKey>) -> Result<Hook, Problem> {
    if let Some(hook) = admin.store.read::<_, Problem>(|view| Ok(hooks::hook(view, organization, project)?))? {
        // The listener may have missed it, if the store failed just after it was made.
        if admin.directory.find(hook.endpoint).is_none() {
            admin.directory.reload(&admin.store)?;
        }
        return Ok(hook);
    }
    let (organization, project) = (organization.clone(), project.cloned());
    let hook = admin.store.write::<_, Problem>(move |batch| {
        let secret = SecretBytes::new(to_hex(&random::bytes::<32>()).into_bytes());
        let endpoint = EndpointId(random::bytes());
        Ok(hooks::make(batch, &organization, project.as_ref(), endpoint, &secret, clock::now())?)
    })?;
    admin.directory.reload(&admin.store)?;
    Ok(hook)
}

fn shown(admin: &Admin, view: &Reader, hook: &Hook, reveal: bool) -> Result<shapes::Webhook, Problem> {
    let secret = hooks::hook(view, &hook.organization, hook.project.as_ref())?
        .filter(|_| reveal)
        .map(|hook| hooks::secrets(view, &hook))
        .transpose()?
        .and_then(|secrets| secrets.first().map(|secret| secret.as_text().to_owned()));
    Ok(shapes::Webhook {
        source: hook.organization.source.to_string(),
        organization: hook.organization.key.to_string(),
        project: hook.project.as_ref().map(ToString::to_string),
        url: format!("{}/hooks/{}", public_url(admin, view, hook)?, hook.endpoint),
        secret,
        registered: hook.registered,
        last_delivery_at: views::time(deliveries::last_received(view, &hook.organization, hook.project.as_ref())?),
        listening: admin.webhook_address.is_some(),
        poll_minutes: settings::number_of(view, POLL_MINUTES)?,
    })
}

/// The address that Sonar reaches the listener at: of the source, of this run, of the configuration; else what
/// the box can say of itself.
fn public_url(admin: &Admin, view: &Reader, hook: &Hook) -> Result<String, Problem> {
    let of_source = catalogue::source(view, &hook.organization.source)?.and_then(|source| source.webhook_url);
    let url = match of_source.or_else(|| admin.public_url.clone()) {
        Some(url) => url,
        None => match settings::value(view, PUBLIC_URL)? {
            Some(url) => url,
            // Without a listener there is nothing to be told but the path.
            None if admin.webhook_address.is_none() => String::new(),
            None => admin.listener_url(),
        },
    };
    Ok(url.trim_end_matches('/').to_owned())
}
