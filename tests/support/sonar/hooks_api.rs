//! `api/webhooks/…`: the list, making, changing and deleting one, and the log of what was delivered.

use std::net::IpAddr;

use super::api::{Answer, Asked, Outcome, known_organization};
use super::json::Json;
use super::model::Model;
use super::params::{Given, any, paging, required};
use super::render;
use super::webhook::{LoggedDelivery, Webhook, masked};

/// The most webhooks of one level.
const LEVEL_MAX: usize = 10;

/// What takes a POST.
pub(super) const POSTS: [&str; 3] = ["api/webhooks/create", "api/webhooks/update", "api/webhooks/delete"];

pub(super) fn list(model: &Model, asked: &Asked) -> Outcome {
    let mut table = vec![any("project")];
    if model.edition.cloud {
        table.push(required("organization"));
    }
    let given = Given::check(&table, &asked.pairs)?;
    administers(model, asked)?;
    let organization = given.text("organization");
    level(model, given.text("project"), organization)?;
    let here = |hook: &&Webhook| hook.is_of(given.text("project"), organization);
    Ok(Answer::json(Json::object(|json| {
        json.list("webhooks", |json| {
            for hook in model.webhooks.iter().filter(here) {
                json.item(|json| {
                    describe(json, hook);
                    // Until 10.1 the secret itself was shown.
                    if !model.edition.since(10, 1) {
                        json.text_if("secret", hook.secret.as_deref());
                    }
                    let latest = model.deliveries.iter().rev().find(|one| one.webhook == hook.key);
                    if let Some(latest) = latest {
                        json.nested("latestDelivery", |json| delivery_line(json, model, latest));
                    }
                });
            }
        });
    })))
}

pub(super) fn create(model: &mut Model, asked: &Asked) -> Outcome {
    let mut table = vec![required("name"), required("url"), any("secret"), any("project")];
    if model.edition.cloud {
        table.push(required("organization"));
    }
    let given = Given::check(&table, &asked.pairs)?;
    let secret_min = if model.edition.server_since(10, 6) { 16 } else { 1 };
    lengths(model, &given, secret_min)?;
    administers(model, asked)?;
    let (project, organization) = (given.text("project"), given.text("organization"));
    level(model, project, organization)?;
    let url = good_url(model, &given)?;
    if model.webhooks.iter().filter(|hook| hook.is_of(project, organization)).count() >= LEVEL_MAX {
        let of = project.map_or_else(|| "this installation".to_owned(), |project| format!("project {project}"));
        return Err(Answer::error(400, &format!("Maximum number of webhook reached for {of}")));
    }
    let hook = Webhook {
        key: model.new_key(),
        name: given.the("name").to_owned(),
        url,
        secret: given.text("secret").map(str::to_owned),
        project: project.map(str::to_owned),
        organization: organization.map(str::to_owned),
    };
    let body = Json::object(|json| json.nested("webhook", |json| describe(json, &hook)));
    model.webhooks.push(hook);
    Ok(Answer::json(body))
}

/// A secret that is absent stays, a blank one is removed.
pub(super) fn update(model: &mut Model, asked: &Asked) -> Outcome {
    let table = [required("webhook"), required("name"), required("url"), any("secret")];
    let given = Given::check(&table, &asked.pairs)?;
    lengths(model, &given, 0)?;
    administers(model, asked)?;
    let url = good_url(model, &given)?;
    let hook = one(model, given.the("webhook"))?;
    given.the("name").clone_into(&mut hook.name);
    hook.url = url;
    if let Some((_, secret)) = asked.pairs.iter().find(|(name, _)| name == "secret") {
        hook.secret = Some(secret.clone()).filter(|secret| !secret.trim().is_empty());
    }
    Ok(Answer::empty(204))
}

pub(super) fn delete(model: &mut Model, asked: &Asked) -> Outcome {
    let given = Given::check(&[required("webhook")], &asked.pairs)?;
    administers(model, asked)?;
    let key = one(model, given.the("webhook"))?.key.clone();
    model.webhooks.retain(|hook| hook.key != key);
    Ok(Answer::empty(204))
}

fn one<'m>(model: &'m mut Model, key: &str) -> Result<&'m mut Webhook, Answer> {
    let found = model.webhooks.iter_mut().find(|hook| hook.key == key);
    found.ok_or_else(|| Answer::error(404, &format!("No webhook with key '{key}'")))
}

fn lengths(model: &Model, given: &Given, secret_min: usize) -> Result<(), Answer> {
    let project_max = if model.edition.cloud { 100 } else { 400 };
    for (name, min, max) in
        [("name", 1, 100), ("url", 1, 512), ("secret", secret_min, 200), ("project", 1, project_max)]
    {
        let Some(text) = given.text(name) else { continue };
        let length = text.chars().count();
        if length < min {
            let message = format!("'{name}' length ({length}) is shorter than the minimum authorized ({min})");
            return Err(Answer::error(400, &message));
        }
        if length > max {
            let message = format!("'{name}' length ({length}) is longer than the maximum authorized ({max})");
            return Err(Answer::error(400, &message));
        }
    }
    Ok(())
}

fn good_url(model: &Model, given: &Given) -> Result<String, Answer> {
    let url = given.the("url");
    if !(url.starts_with("http://") || url.starts_with("https://")) {
        return Err(Answer::error(400, "Url parameter with value '...' is not a valid url"));
    }
    match refusal_of_address(model, url) {
        Some(reason) => Err(Answer::error(400, reason)),
        None => Ok(url.to_owned()),
    }
}

pub(super) fn deliveries(model: &Model, asked: &Asked) -> Outcome {
    let mut table = vec![any("webhook"), any("componentKey"), any("ceTaskId")];
    table.extend(paging());
    let given = Given::check(&table, &asked.pairs)?;
    let page = given.page(10, Some(500))?;
    administers(model, asked)?;
    let (webhook, component, task) = (given.text("webhook"), given.text("componentKey"), given.text("ceTaskId"));
    if [webhook, component, task].iter().flatten().count() != 1 {
        let message = "Either 'ceTaskId' or 'componentKey' or 'webhook' must be provided";
        return Err(Answer::error(400, message));
    }
    let here = |one: &&LoggedDelivery| {
        webhook.is_none_or(|key| key == one.webhook)
            && component.is_none_or(|key| key == one.component)
            && task.is_none_or(|id| Some(id) == one.task.as_deref())
    };
    // The newest first.
    let all: Vec<_> = model.deliveries.iter().rev().filter(here).collect();
    Ok(Answer::json(Json::object(|json| {
        render::paging(json, page, all.len());
        json.list("deliveries", |json| {
            for one in page.of(&all) {
                json.item(|json| delivery_line(json, model, one));
            }
        });
    })))
}

pub(super) fn delivery(model: &Model, asked: &Asked) -> Outcome {
    let given = Given::check(&[required("deliveryId")], &asked.pairs)?;
    administers(model, asked)?;
    let id = given.the("deliveryId");
    let found = model.deliveries.iter().find(|one| one.id == id);
    let one = found.ok_or_else(|| Answer::error(404, &format!("Webhook delivery not found : {id}")))?;
    Ok(Answer::json(Json::object(|json| {
        json.nested("delivery", |json| {
            delivery_line(json, model, one);
            json.text("payload", &one.payload);
            json.text_if("errorStacktrace", one.error.as_deref());
        });
    })))
}

/// Why webhooks to this address are refused, where the installation checks them. A name is taken as it is.
pub(super) fn refusal_of_address(model: &Model, url: &str) -> Option<&'static str> {
    if !model.settings.validate_webhooks {
        return None;
    }
    let uri: hyper::Uri = url.parse().ok()?;
    let host = uri.host()?.trim_matches(['[', ']']);
    let address: IpAddr = if host == "localhost" { [127, 0, 0, 1].into() } else { host.parse().ok()? };
    if address.is_loopback() || address.is_unspecified() {
        return Some("Invalid URL: loopback and wildcard addresses are not allowed for webhooks.");
    }
    let private = match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || v4.octets() == [100, 100, 100, 200],
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    let inside = private || address.is_multicast();
    (inside && model.edition.server_since(2026, 1))
        .then_some("Invalid URL: private addresses are not allowed for webhooks.")
}

fn administers(model: &Model, asked: &Asked) -> Result<(), Answer> {
    if asked.token(model).is_some_and(|token| token.admin) { Ok(()) } else { Err(Answer::forbidden()) }
}

fn level(model: &Model, project: Option<&str>, organization: Option<&str>) -> Result<(), Answer> {
    if let Some(key) = organization {
        known_organization(model, key)?;
    }
    match project {
        Some(key) if model.project(key).is_none() => Err(Answer::error(404, &format!("Project '{key}' not found"))),
        _ => Ok(()),
    }
}

fn describe(json: &mut Json, hook: &Webhook) {
    json.text("key", &hook.key);
    json.text("name", &hook.name);
    json.text("url", &masked(&hook.url));
    json.flag("hasSecret", hook.secret.is_some());
}

fn delivery_line(json: &mut Json, model: &Model, one: &LoggedDelivery) {
    json.text("id", &one.id);
    json.text("componentKey", &one.component);
    json.text_if("ceTaskId", one.task.as_deref());
    json.text("name", &one.name);
    json.text("url", &masked(&one.url));
    json.text("at", &model.settings.zone.show(one.at));
    json.flag("success", one.status.is_some_and(|status| (200..300).contains(&status)));
    if let Some(status) = one.status {
        json.number("httpStatus", status);
    }
    json.number("durationMs", i64::try_from(one.duration.as_millis()).unwrap_or(i64::MAX));
}
