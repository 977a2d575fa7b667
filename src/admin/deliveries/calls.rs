//! What Sonar's own log says of its webhook calls to this box, asked when somebody wants to see it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};

use crate::admin::{Admin, Problem, Shared, shapes, views};
use crate::domain::ids::{DeliveryId, OrganizationRef};
use crate::domain::limits::LIST_ROWS_MAX;
use crate::domain::time::Timestamp;
use crate::sonar::FetchError;
use crate::sonar::client::Client;
use crate::sonar::wire::webhooks::Call;
use crate::store::records::Hook;
use crate::store::{deliveries, hooks};
use crate::sys::clock;
use crate::work::WorkError;

/// `GET /organizations/{organization}/webhook/calls`.
pub(in crate::admin) async fn show(
    State(admin): Shared,
    Path(organization): Path<String>,
) -> Result<Json<shapes::SonarCalls>, Problem> {
    let calls = admin
        .ask(move |admin| {
            let organization = admin.store.read(|view| views::organization(view, &organization))?;
            let hooks: Vec<Hook> = admin.store.read::<_, Problem>(|view| {
                let all = hooks::all(view)?.into_iter().map(|(hook, _)| hook);
                Ok(all.filter(|hook| hook.organization == organization).collect())
            })?;
            let (source, asked_at) = (organization.source.clone(), clock::now());
            let mut shown = shapes::SonarCalls {
                source: source.to_string(),
                organization: organization.key.to_string(),
                asked_at: asked_at.to_string(),
                problem: None,
                remedy: None,
                webhooks: Vec::new(),
            };
            match ask(admin, &organization, &hooks) {
                Ok(webhooks) => shown.webhooks = webhooks,
                // Seeing the log takes a right that nothing else here takes. A 404 is Sonar's word for it, too.
                Err(WorkError::Fetch(
                    FetchError::Refused { .. }
                    | FetchError::NoPermission { .. }
                    | FetchError::NotFound { .. }
                    | FetchError::BadRequest { .. },
                )) => {
                    shown.problem = Some(format!("the token of {source} may not see Sonar's log of webhook calls"));
                    shown.remedy = Some(
                        "give its user the permission to administer the organization or the project; until then nothing \
                         is lost: every analysis is found by the polls, only later"
                            .to_owned(),
                    );
                }
                Err(error) => return Err(error.into()),
            }
            Ok(shown)
        })
        .await?;
    Ok(Json(calls))
}

fn ask(admin: &Admin, organization: &OrganizationRef, hooks: &[Hook]) -> Result<Vec<shapes::SonarWebhook>, WorkError> {
    let connected = admin.work.sources.connect(&organization.source)?;
    let mut shown = Vec::new();
    for hook in hooks {
        let ours = hook.endpoint.to_string();
        let listed = connected.client.webhooks(&organization.key, hook.project.as_ref())?;
        for webhook in listed.into_iter().filter(|webhook| webhook.url.contains(&ours)) {
            shown.push(log_of(admin, &connected.client, (organization, hook), &webhook.key)?);
        }
    }
    Ok(shown)
}

fn log_of(
    admin: &Admin,
    client: &Client,
    (organization, hook): (&OrganizationRef, &Hook),
    webhook: &str,
) -> Result<shapes::SonarWebhook, WorkError> {
    let page = client.deliveries(webhook, 1)?;
    let known = match page.calls.iter().map(|call| call.at).min() {
        Some(oldest) => known_since(admin, organization, oldest)?,
        None => BTreeMap::new(),
    };
    let shown = |call: Call| {
        let delivery = call.task.as_ref().and_then(|task| known.get(task));
        shapes::SonarCall {
            at: call.at.to_string(),
            task_id: call.task.clone(),
            success: call.success,
            status: call.status,
            delivery: delivery.map(|(id, _)| id.to_string()),
            healed: delivery.is_some_and(|(_, healed)| *healed),
        }
    };
    Ok(shapes::SonarWebhook {
        project: hook.project.as_ref().map(ToString::to_string),
        total: page.total,
        calls: page.calls.into_iter().map(shown).collect(),
    })
}

/// Deliveries of an organization by Sonar's task, and whether each was taken from Sonar's log, since a time; as far back
/// as a few pages of our own log reach.
fn known_since(
    admin: &Admin,
    organization: &OrganizationRef,
    since: Timestamp,
) -> Result<BTreeMap<String, (DeliveryId, bool)>, WorkError> {
    let (mut known, mut before) = (BTreeMap::new(), None);
    for _ in 0..PAGES_MAX {
        let page = admin.store.read::<_, WorkError>(|view| Ok(deliveries::list(view, before, LIST_ROWS_MAX)?))?;
        let Some((last, oldest, _)) = page.last() else { break };
        let is_last = oldest.received_at < since;
        before = Some(*last);
        for (id, delivery, _) in page {
            if delivery.organization == *organization
                && delivery.replay_of.is_none()
                && delivery.duplicate_of.is_none()
                && let Some(task) = delivery.task
            {
                known.insert(task, (id, delivery.healed.is_some()));
            }
        }
        if is_last {
            break;
        }
    }
    Ok(known)
}

/// Pages of our own log that are looked through.
const PAGES_MAX: usize = 10;
