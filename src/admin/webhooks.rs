//! Webhook addresses and their secrets.

pub(super) mod register;
pub(super) mod rotate;
pub(super) mod test;

use std::sync::{Arc, PoisonError};

use axum::Json;
use axum::extract::{Path, State};
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::answers::{Query, Sent};
use super::{Admin, Problem, Shared, guard, shapes, views};
use crate::domain::ids::{EndpointId, OrganizationRef, ProjectKey};
use crate::domain::message::QUERY;
use crate::domain::settings::{POLL_MINUTES, PUBLIC_URL};
use crate::domain::signature::{Secret, to_hex};
use crate::store::records::{Hook, SecretBytes, Source};
use crate::store::{Reader, catalogue, deliveries, hooks, settings};
use crate::sys::{clock, random};

#[derive(Clone, Default, Deserialize, IntoParams)]
pub(super) struct Of {
    /// The webhook of this project rather than of the whole organization.
    pub(super) project: Option<String>,
}

impl Of {
    /// For the audit log: the address does not say whether it is about a project's own webhook.
    fn remark(&self) {
        if let Some(project) = &self.project {
            guard::remark(&format!("project {project}"));
        }
    }
}

/// `GET /organizations/{organization}/webhook`: the endpoint is made as soon as it is first asked for.
pub(super) async fn show(
    State(admin): Shared,
    Path(organization): Path<String>,
    Query(of): Query<Of>,
) -> Result<Json<shapes::Webhook>, Problem> {
    Ok(Json(admin.run(move |admin| asked(admin, &organization, &of, false)).await?))
}

/// `GET /webhooks`: those that are there; none is made for this.
pub(super) async fn list(State(admin): Shared) -> Result<Json<shapes::WebhookList>, Problem> {
    let webhooks = admin
        .read(|admin, view| hooks::records(view)?.iter().map(|hook| shown(admin, view, hook, false)).collect())
        .await?;
    Ok(Json(shapes::WebhookList { webhooks }))
}

/// `POST /organizations/{organization}/webhook/reveal`: the same with the secret. It changes nothing; being a POST it is
/// in the audit log, and in no history of a browser.
pub(super) async fn reveal(
    State(admin): Shared,
    Path(organization): Path<String>,
    Query(of): Query<Of>,
) -> Result<Json<shapes::Webhook>, Problem> {
    of.remark();
    Ok(Json(admin.run(move |admin| asked(admin, &organization, &of, true)).await?))
}

fn asked(admin: &Admin, organization: &str, of: &Of, reveal: bool) -> Result<shapes::Webhook, Problem> {
    let (organization, project) = named(admin, organization, of.project.as_deref())?;
    if let (Some(project), false) = (&project, reveal) {
        refuse_unknown(admin, &organization, project)?;
    }
    let hook = hook(admin, &organization, project.as_ref())?;
    admin.store.read(|view| shown(admin, view, &hook, reveal))
}

/// Whoever only looks or tests makes endpoints of imported projects, and of no others: there is no end of names.
fn refuse_unknown(admin: &Admin, organization: &OrganizationRef, project: &ProjectKey) -> Result<(), Problem> {
    let known = admin.store.read::<_, Problem>(|view| {
        let held = catalogue::project_id(view, organization, project)?.is_some();
        Ok(held || hooks::hook(view, organization, Some(project))?.is_some())
    })?;
    if known {
        return Ok(());
    }
    Err(Problem::missing(format!("project {project} of {organization} is not imported"))
        .remedy(format!("hydrophone project import {organization} --project {project}")))
}

/// `PUT /organizations/{organization}/webhook/secret`: takes a secret over that exists in Sonar.
pub(super) async fn secret(
    State(admin): Shared,
    Path(organization): Path<String>,
    Query(of): Query<Of>,
    Sent(new): Sent<shapes::NewSecret>,
) -> Result<Json<shapes::Webhook>, Problem> {
    of.remark();
    let webhook = admin
        .run(move |admin| {
            Secret::parse(&new.secret).map_err(|error| Problem::bad(error.to_string()))?;
            let (organization, project) = named(admin, &organization, of.project.as_deref())?;
            let hook = hook(admin, &organization, project.as_ref())?;
            let secret = SecretBytes::new(new.secret.as_bytes().to_vec());
            let of = hook.clone();
            let replaced = admin
                .store
                .write::<_, Problem>(move |batch| Ok(hooks::replace_secret(batch, &of, &secret, clock::now())?));
            if !replaced? {
                return Err(Problem::conflict("the webhook was removed meanwhile"));
            }
            // It was made with the former secret.
            admin.tests.lock().unwrap_or_else(PoisonError::into_inner).remove(&hook.endpoint);
            admin.directory.reload(&admin.store)?;
            admin.store.read(|view| shown(admin, view, &hook, false))
        })
        .await?;
    Ok(Json(webhook))
}

/// Whether a project has a webhook of its own that this box registered in Sonar.
pub(super) async fn is_registered(admin: &Arc<Admin>, organization: &str, project: &str) -> Result<bool, Problem> {
    let (organization, project) = (organization.to_owned(), ProjectKey::parse(project)?);
    admin
        .read(move |_, view| {
            let organization = views::organization(view, &organization)?;
            Ok(hooks::hook(view, &organization, Some(&project))?.is_some_and(|hook| hook.registered))
        })
        .await
}

fn named(
    admin: &Admin,
    organization: &str,
    project: Option<&str>,
) -> Result<(OrganizationRef, Option<ProjectKey>), Problem> {
    let organization = admin.store.read::<_, Problem>(|view| {
        let organization = views::organization(view, organization)?;
        views::must_be_own(view, &organization.source, format_args!("organization {organization}"))?;
        Ok(organization)
    })?;
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

pub(super) fn shown(admin: &Admin, view: &Reader, hook: &Hook, reveal: bool) -> Result<shapes::Webhook, Problem> {
    // As it is now: whoever asks may have changed it.
    let hook = &hooks::hook(view, &hook.organization, hook.project.as_ref())?.unwrap_or_else(|| hook.clone());
    let secret = if reveal { hooks::present_secret(view, hook)? } else { None };
    let secret = secret.as_ref().map(Into::into);
    let source = catalogue::source(view, &hook.organization.source)?
        .ok_or_else(|| views::no_source(&hook.organization.source))?;
    let address = public_url(admin, view, &source)?;
    let address_known = address.is_some();
    let url = format!("{}/hooks/{}", address.unwrap_or_else(|| guessed_url(admin)), hook.endpoint);
    // A test of another address says nothing of this one.
    let last_test = admin.tests.lock().unwrap_or_else(PoisonError::into_inner).get(&hook.endpoint).cloned();
    Ok(shapes::Webhook {
        source: hook.organization.source.to_string(),
        organization: hook.organization.key.to_string(),
        project: hook.project.as_ref().map(ToString::to_string),
        name: name(),
        address_known,
        last_test: last_test.filter(|test| test.url == url),
        url,
        secret,
        registered: hook.registered,
        last_delivery_at: views::time(deliveries::last_received(view, &hook.organization, hook.project.as_ref())?),
        listening: admin.webhook_address.is_some(),
        secrets: secrets_shown(view, hook)?,
        page: page(&source, hook),
        poll_minutes: settings::number_of(view, POLL_MINUTES)?,
        way: admin.way_told(Some(source.cloud)),
    })
}

fn secrets_shown(view: &Reader, hook: &Hook) -> Result<Vec<shapes::WebhookSecret>, Problem> {
    let shown = hook.secrets.iter().map(|secret| {
        Ok(shapes::WebhookSecret {
            made_at: secret.made_at.to_string(),
            expires_at: views::time(secret.expires_at),
            used_at: views::time(hooks::last_use(view, hook.endpoint, secret.id)?),
        })
    });
    shown.collect()
}

/// What to call a webhook of this box in Sonar, which takes 100 characters.
fn name() -> String {
    let name = format!("hydrophone {}", rustix::system::uname().nodename().to_string_lossy());
    name.chars().take(100).collect()
}

/// Where Sonar shows the webhooks of the organization or project, as its own menus lead there.
fn page(source: &Source, hook: &Hook) -> String {
    let root = source.url.trim_end_matches('/');
    match &hook.project {
        Some(project) => format!("{root}/project/webhooks?id={}", utf8_percent_encode(project.as_str(), QUERY)),
        None if source.cloud => {
            format!("{root}/organizations/{}/webhooks", utf8_percent_encode(hook.organization.key.as_str(), QUERY))
        }
        None => format!("{root}/admin/webhooks"),
    }
}

/// The address that somebody said Sonar reaches the listener at: of the source, of this run, of the configuration.
fn public_url(admin: &Admin, view: &Reader, source: &Source) -> Result<Option<String>, Problem> {
    let url = match source.webhook_url.clone().or_else(|| admin.public_url.clone()) {
        Some(url) => Some(url),
        None => settings::value(view, PUBLIC_URL)?,
    };
    Ok(url.map(|url| url.trim_end_matches('/').to_owned()))
}

/// What the box can say of itself. Without a listener there is nothing to be told but the path; and nobody calls all
/// addresses, nor is a certificate made for them.
fn guessed_url(admin: &Admin) -> String {
    match admin.webhook_address {
        None => String::new(),
        Some(address) if address.ip().is_unspecified() => {
            let scheme = if admin.webhook_tls { "https" } else { "http" };
            // A machine need not know the name localhost.
            let host = if address.is_ipv4() { "127.0.0.1" } else { "[::1]" };
            format!("{scheme}://{host}:{}", address.port())
        }
        Some(_) => admin.listener_url(),
    }
}
