//! A new secret for a webhook, without losing a call: it is valid here before Sonar is told of it, and the former one stays
//! valid for an overlap, in which a person can enter the new one where Sonar cannot be told.

use std::sync::PoisonError;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};

use super::register::{Place, tell};
use super::{Of, hook, named, shown};
use crate::admin::answers::{Query, Sent};
use crate::admin::{Admin, Problem, Shared, shapes};
use crate::domain::clock::Standing;
use crate::domain::condition::{Condition, Urgency};
use crate::domain::limits::{HOOK_SECRETS_MAX, SECRET_ENDS_SOON, SECRET_OVERLAP, SECRET_OVERLAP_MAX};
use crate::domain::signature::to_hex;
use crate::domain::time::Timestamp;
use crate::store::records::{Hook, HookSecret, SecretBytes};
use crate::store::{Reader, StoreError, hooks};
use crate::sys::{clock, random};

/// `POST /organizations/{organization}/webhook/rotate`.
pub(in crate::admin) async fn rotate(
    State(admin): Shared,
    Path(organization): Path<String>,
    Query(of): Query<Of>,
    Sent(new): Sent<shapes::NewRotation>,
) -> Result<Json<shapes::WebhookRotation>, Problem> {
    of.remark();
    let done = admin
        .ask(move |admin| {
            let overlap = overlap(new.overlap_hours)?;
            let (organization, project) = named(admin, &organization, of.project.as_deref())?;
            let hook = hook(admin, &organization, project.as_ref())?;
            let now = clock::now();
            check(admin, &hook, overlap, now)?;
            // First here, then in Sonar: whichever secret a call is signed with meanwhile, it is taken.
            let hook = renew(admin, hook, now, now.plus(overlap.max(TELLING_MAX)))?;
            let place = Place::of(admin, &hook)?;
            let told = tell(admin, &hook, &place);
            if overlap.is_zero() {
                let of = hook.clone();
                admin.store.delete::<_, StoreError>(move |batch| hooks::end_former(batch, &of))?;
                admin.directory.reload(&admin.store)?;
            }
            let webhook = admin.store.read(|view| shown(admin, view, &hook, false))?;
            let (done, problem) = match told {
                Ok(done) => (done, None),
                Err(problem) => ("by_hand", Some(problem)),
            };
            Ok(shapes::WebhookRotation {
                done: done.to_owned(),
                former_ends_at: webhook.secrets.get(1).and_then(|former| former.expires_at.clone()),
                problem: problem.as_ref().map(|problem| problem.detail().to_owned()),
                remedy: problem.as_ref().and_then(|problem| problem.hint().map(str::to_owned)),
                clicks: problem
                    .map(|_| format!("{} → the menu of \"{}\" → Update → Secret", place.clicks(), webhook.name)),
                webhook,
            })
        })
        .await?;
    Ok(Json(done))
}

fn overlap(hours: Option<u64>) -> Result<Duration, Problem> {
    let most = SECRET_OVERLAP_MAX.as_secs() / 3600;
    match hours {
        None => Ok(SECRET_OVERLAP),
        Some(hours) if hours <= most => Ok(Duration::from_hours(hours)),
        Some(_) => Err(Problem::bad(format!("an overlap is of {} days at most", most / 24)).at("overlap_hours")),
    }
}

fn check(admin: &Admin, hook: &Hook, overlap: Duration, now: Timestamp) -> Result<(), Problem> {
    // An end that is counted from a wrong time could come as soon as the clock is set right.
    if let (Standing::Wrong(_), false) = (admin.work.clock_standing(), overlap.is_zero()) {
        return Err(Problem::conflict(
            "the clock of this box cannot be believed, so that no overlap can be counted by it",
        )
        .remedy(
            "set the clock first (`hydrophone status` says what is wrong with it), or rotate with an overlap of 0",
        ));
    }
    let valid = hook.secrets.iter().filter(|secret| secret.expires_at.is_none_or(|at| now < at)).count();
    if valid >= HOOK_SECRETS_MAX && !overlap.is_zero() {
        return Err(Problem::conflict(format!("{} former secrets of this webhook are valid still", valid - 1)).remedy(
            "wait until one of them ends (`hydrophone webhook show`), or rotate with an overlap of 0, which ends all",
        ));
    }
    Ok(())
}

/// The endpoint with a new secret of 256 random bits, which the listener knows from now on.
fn renew(admin: &Admin, hook: Hook, now: Timestamp, ends_at: Timestamp) -> Result<Hook, Problem> {
    let endpoint = hook.endpoint;
    let renewed = admin.store.write::<_, Problem>(move |batch| {
        let secret = SecretBytes::new(to_hex(&random::bytes::<32>()).into_bytes());
        hooks::rotate(batch, &hook, &secret, now, ends_at)?
            .ok_or_else(|| Problem::conflict("the webhook was removed meanwhile"))
    })?;
    // It was made with the former secret.
    admin.tests.lock().unwrap_or_else(PoisonError::into_inner).remove(&endpoint);
    admin.directory.reload(&admin.store)?;
    Ok(renewed)
}

/// That Sonar still signs with a secret whose end is near, which means that nobody has entered the new one there.
pub(in crate::admin) fn conditions(view: &Reader, now: Timestamp) -> Result<Vec<Condition>, StoreError> {
    let mut conditions = Vec::new();
    for hook in hooks::records(view)? {
        let [present, former @ ..] = hook.secrets.as_slice() else { continue };
        let used = |secret: &HookSecret| hooks::last_use(view, hook.endpoint, secret.id);
        let mut ends_at = None;
        for secret in former {
            if used(secret)?.is_some() {
                ends_at = ends_at.max(secret.expires_at);
            }
        }
        let Some(ends_at) = ends_at.filter(|at| now < *at) else { continue };
        if used(present)?.is_some() {
            continue;
        }
        let (whose, typed) = match &hook.project {
            Some(project) => (project.to_string(), format!("{} --project {project}", hook.organization)),
            None => (hook.organization.to_string(), hook.organization.to_string()),
        };
        let near = ends_at.since(now) < SECRET_ENDS_SOON;
        conditions.push(Condition {
            urgency: if near { Urgency::Warning } else { Urgency::Info },
            code: "webhook_secret_ends",
            text: format!(
                "Sonar has not signed a call for {whose} with the new secret yet; the former one is valid until {ends_at}"
            ),
            remedy: format!(
                "if Sonar does not have the new one, enter it there: hydrophone webhook show {typed} --reveal; else it is \
                 settled by the next analysis"
            ),
        });
    }
    Ok(conditions)
}

/// The former secret stays valid while Sonar is told of the new one, also where it is to end at once.
const TELLING_MAX: Duration = Duration::from_mins(5);
