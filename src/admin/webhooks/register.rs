//! Telling Sonar itself where to call, and taking that back.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Of, hook, name, named, shown};
use crate::admin::answers::Query;
use crate::admin::{Admin, Problem, Shared, shapes};
use crate::sonar::FetchError;
use crate::sonar::client::hooks::NewWebhook;
use crate::sonar::wire::webhooks::Webhook;
use crate::store::records::Hook;
use crate::store::{StoreError, catalogue, hooks};
use crate::sys::reach::is_private_url;
use crate::work::sources::Connected;

/// `POST /organizations/{organization}/webhook/register`. One that Sonar has already is known by the endpoint in its
/// address, which nobody else has; its name, address and secret are made right.
pub(in crate::admin) async fn register(
    State(admin): Shared,
    Path(organization): Path<String>,
    Query(of): Query<Of>,
) -> Result<Json<shapes::WebhookRegistration>, Problem> {
    of.remark();
    let done = admin
        .ask(move |admin| {
            let (organization, project) = named(admin, &organization, of.project.as_deref())?;
            let hook = hook(admin, &organization, project.as_ref())?;
            let place = Place::of(admin, &hook)?;
            let done = tell(admin, &hook, &place)?;
            let webhook = admin.store.read(|view| shown(admin, view, &hook, false))?;
            let note = place.note(&webhook);
            Ok(shapes::WebhookRegistration { webhook, done: done.to_owned(), note })
        })
        .await?;
    Ok(Json(done))
}

/// `POST /organizations/{organization}/webhook/unregister`. The endpoint stays, so that it can be registered again.
pub(in crate::admin) async fn unregister(
    State(admin): Shared,
    Path(organization): Path<String>,
    Query(of): Query<Of>,
) -> Result<Json<shapes::WebhookRegistration>, Problem> {
    of.remark();
    let done = admin
        .ask(move |admin| {
            let (organization, project) = named(admin, &organization, of.project.as_deref())?;
            let hook = hook(admin, &organization, project.as_ref())?;
            let done = take_away(admin, &hook, &Place::of(admin, &hook)?)?;
            let webhook = admin.store.read(|view| shown(admin, view, &hook, false))?;
            Ok(shapes::WebhookRegistration { webhook, done: done.to_owned(), note: None })
        })
        .await?;
    Ok(Json(done))
}

/// Gives Sonar's webhook name, address and the present secret; makes it where there is none.
pub(super) fn tell(admin: &Admin, hook: &Hook, place: &Place) -> Result<&'static str, Problem> {
    let webhook = admin.store.read(|view| shown(admin, view, hook, true))?;
    check(&webhook)?;
    let secret = webhook.secret.as_deref().ok_or_else(|| Problem::conflict("the webhook has no secret"))?;
    let new = NewWebhook { name: &name(), url: &webhook.url, secret };
    let (connected, listed) = place.ask(admin, hook)?;
    // Each of them signs its calls, such as one that leads to a former address of this box.
    for known in &listed {
        connected.client.update_webhook(&known.key, &new).map_err(|error| place.refusal(error))?;
    }
    if listed.is_empty() {
        let (organization, project) = (&hook.organization.key, hook.project.as_ref());
        let made = connected.client.create_webhook(organization, project, &new);
        made.map_err(|error| place.refusal(error))?;
    }
    let done = if listed.is_empty() { "created" } else { "known" };
    note(admin, hook, true)?;
    Ok(done)
}

fn take_away(admin: &Admin, hook: &Hook, place: &Place) -> Result<&'static str, Problem> {
    let (connected, listed) = place.ask(admin, hook)?;
    for webhook in &listed {
        match connected.client.delete_webhook(&webhook.key) {
            // Somebody was quicker.
            Ok(()) | Err(FetchError::NotFound { .. }) => {}
            Err(error) => return Err(place.refusal(error)),
        }
    }
    note(admin, hook, false)?;
    Ok(if listed.is_empty() { "absent" } else { "removed" })
}

/// Whether webhooks are to be taken away from Sonar with what they belong to.
#[derive(Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(default)]
pub(in crate::admin) struct Unregister {
    /// Takes its webhooks away from Sonar first; where Sonar refuses that, nothing is removed.
    pub(in crate::admin) unregister: bool,
}

/// Before endpoints are forgotten: takes those webhooks away from Sonar which it has as far as is known, or says that they
/// are left there.
pub(in crate::admin) fn part(
    admin: &Admin,
    asked: Unregister,
    of: impl Fn(&Hook) -> bool,
) -> Result<shapes::Removal, Problem> {
    let hooks = admin.store.read::<_, Problem>(|view| {
        let mut known = Vec::new();
        for hook in hooks::records(view)?.into_iter().filter(|hook| of(hook)) {
            let mut called = hook.registered;
            for secret in &hook.secrets {
                called = called || hooks::last_use(view, hook.endpoint, secret.id)?.is_some();
            }
            if called {
                known.push(hook);
            }
        }
        Ok(known)
    })?;
    let mut webhooks = Vec::new();
    for hook in hooks {
        let place = Place::of(admin, &hook)?;
        let done = if asked.unregister {
            take_away(admin, &hook, &place).map_err(|problem| {
                let clicks = place.clicks();
                let way =
                    format!("leave its webhooks in Sonar as you remove it, and delete them there by hand: {clicks}");
                let hint = problem.hint().map(|hint| format!("{hint}; or {way}"));
                Problem::conflict(format!("nothing is removed yet: {}", problem.detail())).remedy(hint.unwrap_or(way))
            })?
        } else {
            "left"
        };
        webhooks.push(shapes::RemovedWebhook {
            organization: hook.organization.key.to_string(),
            project: hook.project.as_ref().map(ToString::to_string),
            done: done.to_owned(),
            clicks: place.clicks(),
        });
    }
    Ok(shapes::Removal { webhooks })
}

/// What makes no sense to tell Sonar.
fn check(webhook: &shapes::Webhook) -> Result<(), Problem> {
    if !webhook.listening {
        return Err(Problem::conflict("this box takes no webhooks: it was started with --webhook-listen off")
            .remedy("start it with an address for webhooks, or leave it: Sonar is asked every few minutes instead"));
    }
    if !webhook.address_known {
        return Err(Problem::conflict("nobody has said yet at which address Sonar reaches this box")
            .at("public-url")
            .remedy("say it: hydrophone config set public-url https://NAME"));
    }
    Ok(())
}

fn note(admin: &Admin, hook: &Hook, registered: bool) -> Result<(), Problem> {
    let hook = hook.clone();
    Ok(admin.store.write::<_, StoreError>(move |batch| hooks::set_registered(batch, &hook, registered))?)
}

/// Where in Sonar a webhook belongs, for asking and for words.
pub(super) struct Place {
    cloud: bool,
    /// The organization or project as a person knows it.
    whose: String,
    source: String,
    project: bool,
}

impl Place {
    pub(super) fn of(admin: &Admin, hook: &Hook) -> Result<Self, Problem> {
        let name = &hook.organization.source;
        let source = admin
            .store
            .read::<_, Problem>(|view| Ok(catalogue::source(view, name)?))?
            .ok_or_else(|| crate::admin::views::no_source(name))?;
        let whose = hook.project.as_ref().map_or_else(|| hook.organization.key.to_string(), ToString::to_string);
        Ok(Self { cloud: source.cloud, whose, source: name.to_string(), project: hook.project.is_some() })
    }

    /// The connection, and the webhooks of Sonar's that lead to this endpoint, whatever the address before it.
    fn ask(&self, admin: &Admin, hook: &Hook) -> Result<(std::sync::Arc<Connected>, Vec<Webhook>), Problem> {
        let connected = admin.work.sources.connect(&hook.organization.source)?;
        let listed = connected.client.webhooks(&hook.organization.key, hook.project.as_ref());
        let ours = hook.endpoint.to_string();
        let listed = listed.map_err(|error| self.refusal(error))?;
        Ok((connected, listed.into_iter().filter(|webhook| webhook.url.contains(&ours)).collect()))
    }

    /// The clicks that lead to the list of webhooks.
    pub(super) fn clicks(&self) -> String {
        match (self.project, self.cloud) {
            (true, _) => format!("{} → Project Settings → Webhooks", self.whose),
            (false, true) => format!("{} → Administration → Webhooks", self.whose),
            (false, false) => "Administration → Configuration → Webhooks".to_owned(),
        }
    }

    fn refusal(&self, error: FetchError) -> Problem {
        let said = match &error {
            FetchError::BadRequest { message, .. } => message.to_lowercase(),
            _ => String::new(),
        };
        match error {
            // A 404 is Sonar's word for a project that this token may not administer, too.
            FetchError::NoPermission { .. } | FetchError::NotFound { .. } => self.no_right(),
            FetchError::BadRequest { .. } if said.contains("maximum number") => {
                Problem::conflict(format!("{} has 10 webhooks already, which is the most that Sonar keeps", self.whose))
                    .remedy(format!("in Sonar, delete one that nobody needs ({}), then register again", self.clicks()))
            }
            FetchError::BadRequest { .. }
                if ["private", "loopback", "local", "wildcard"].iter().any(|word| said.contains(word)) =>
            {
                self.private_refused()
            }
            FetchError::BadRequest { message, .. } => {
                Problem::conflict(format!("Sonar does not take the webhook: {message}"))
                    .remedy(format!("enter it by hand, where Sonar says what is wrong: {} → Create", self.clicks()))
            }
            other => other.into(),
        }
    }

    fn no_right(&self) -> Problem {
        let (right, grant) = match (self.project, self.cloud) {
            (true, _) => ("Administer", format!("{} → Project Settings → Permissions", self.whose)),
            (false, true) => ("Administer Organization", format!("{} → Administration → Permissions", self.whose)),
            (false, false) => ("Administer System", "Administration → Security → Global Permissions".to_owned()),
        };
        Problem::conflict(format!("the token of {} may not administer the webhooks of {}", self.source, self.whose))
            .remedy(format!(
                "in Sonar, give the token's user the permission \"{right}\" ({grant}); or enter the webhook by hand: {} → Create",
                self.clicks()
            ))
    }

    fn private_refused(&self) -> Problem {
        if self.cloud {
            return Problem::conflict("SonarQube Cloud calls no private address").at("public-url").remedy(
                "give this box an address that the internet reaches: hydrophone config set public-url https://NAME",
            );
        }
        Problem::conflict("this SonarQube Server refuses webhooks to private addresses (sonar.validateWebhooks)").remedy(
            "in Sonar, as an administrator: Administration → Configuration → General Settings → Security, switch off \
             \"Enable local webhooks validation\" (or set sonar.validateWebhooks=false), then register again",
        )
    }

    /// What Sonar has not refused and may still not reach.
    fn note(&self, webhook: &shapes::Webhook) -> Option<String> {
        (self.cloud && is_private_url(&webhook.url))
            .then(|| "The address is a private one, which SonarQube Cloud cannot reach.".to_owned())
    }
}
