//! The log of webhook calls, and running one again.

pub(super) mod calls;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Admin, Problem, Shared, shapes, views};
use crate::admin::answers::Query;
use crate::domain::delivery::{Outcome, Payload};
use crate::domain::ids::{ChangeNumber, DeliveryId};
use crate::domain::limits;
use crate::domain::masking::mask;
use crate::domain::time::Timestamp;
use crate::store::changes::Cursor;
use crate::store::records::{Change, Delivery};
use crate::store::{Accepted, Arrival, Reader, StoreError, catalogue, changes, deliveries, destinations};
use crate::sys::clock;

#[derive(Deserialize, IntoParams)]
pub(super) struct Paging {
    /// Calls before this one.
    before: Option<String>,
    /// So many at most; 50 without it.
    limit: Option<usize>,
}

/// `GET /deliveries`.
pub(super) async fn list(
    State(admin): Shared,
    Query(paging): Query<Paging>,
) -> Result<Json<shapes::DeliveryList>, Problem> {
    let list = admin
        .read(move |_, view| {
            let before = paging.before.as_deref().map(str::parse::<DeliveryId>).transpose()?;
            let most = paging.limit.unwrap_or(50).clamp(1, limits::LIST_ROWS_MAX);
            let mut found = deliveries::list(view, before, most + 1)?;
            let more = found.len() > most;
            found.truncate(most);
            let next = found.last().filter(|_| more).map(|(id, ..)| id.to_string());
            let deliveries =
                found.into_iter().map(|(id, delivery, settlement)| views::delivery(id, delivery, settlement)).collect();
            Ok(shapes::DeliveryList { deliveries, next })
        })
        .await?;
    Ok(Json(list))
}

fn missing(id: DeliveryId) -> Problem {
    Problem::missing(format!("there is no delivery {id}"))
        .remedy("`hydrophone delivery list` shows them; they are kept for 30 days")
}

fn one(view: &Reader, id: DeliveryId) -> Result<shapes::Delivery, Problem> {
    let (delivery, settlement) = deliveries::show(view, id)?.ok_or_else(|| missing(id))?;
    Ok(views::delivery(id, delivery, settlement))
}

/// `GET /deliveries/{id}`: with what was sent, and what came of it.
pub(super) async fn show(
    State(admin): Shared,
    Path(id): Path<String>,
) -> Result<Json<shapes::DeliveryDetail>, Problem> {
    Ok(Json(admin.read(move |_, view| detail(view, id.parse()?)).await?))
}

fn detail(view: &Reader, id: DeliveryId) -> Result<shapes::DeliveryDetail, Problem> {
    let (delivery, settlement) = deliveries::show(view, id)?.ok_or_else(|| missing(id))?;
    let (body, sealed) = deliveries::body(view, &delivery)?;
    let settled = settlement.filter(|settlement| settlement.outcome == Outcome::Synced);
    let led = match settled {
        Some(settled) => led_to(view, &delivery, settled.at)?,
        None => None,
    };
    let (changes, whole) = led.unwrap_or((Vec::new(), true));
    let last = changes.last().map(|(number, _)| *number);
    let (mut passed_to, mut waiting) = (Vec::new(), Vec::new());
    if let Some(last) = last {
        for (destination, record) in destinations::destinations(view)? {
            let is_past = matches!(destinations::progress(view, destination)?.cursor, Cursor::At(at) if at >= last);
            if is_past { &mut passed_to } else { &mut waiting }.push(record.name.to_string());
        }
    }
    let changes = changes.into_iter().map(|(number, change)| views::change_of(view, number, &change));
    let changes = changes.collect::<Result<_, StoreError>>()?;
    let payload_bytes = body.len() as u64;
    let delivery = views::delivery(id, delivery, settlement);
    let payload = payload(&body);
    Ok(shapes::DeliveryDetail { delivery, payload, payload_bytes, sealed, changes, whole, passed_to, waiting })
}

/// What was sent, as a person may see it.
fn payload(body: &[u8]) -> Option<serde_json::Value> {
    let mut payload = serde_json::from_slice(body).ok()?;
    mask(&mut payload);
    Some(payload)
}

type Led = (Vec<(ChangeNumber, Change)>, bool);

/// The changes of its branch from when it came to the end of the read that it asked for.
fn led_to(view: &Reader, delivery: &Delivery, until: Timestamp) -> Result<Option<Led>, StoreError> {
    let (Some(key), Some(scope)) = (&delivery.project, &delivery.scope) else { return Ok(None) };
    let Some(id) = catalogue::project_id(view, &delivery.organization, key)? else { return Ok(None) };
    let Some(project) = catalogue::project(view, id)? else { return Ok(None) };
    let Some(scope) = catalogue::scope_id(view, id, &project, scope)? else { return Ok(None) };
    Ok(Some(changes::of_scope(view, scope, (delivery.received_at, until), CHANGES_SHOWN)?))
}

/// Changes that a delivery is shown with.
const CHANGES_SHOWN: usize = 100;

/// `POST /deliveries/{id}/replay`: stores the same body anew and runs it again. Never a duplicate.
pub(super) async fn replay(
    State(admin): Shared,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<shapes::Delivery>), Problem> {
    let delivery = admin
        .run(move |admin| {
            let id: DeliveryId = id.parse()?;
            let accepted = accept_again(admin, id)?;
            admin.store.read(|view| one(view, accepted.id))
        })
        .await?;
    Ok((StatusCode::ACCEPTED, Json(delivery)))
}

fn accept_again(admin: &Admin, id: DeliveryId) -> Result<Accepted, Problem> {
    let (organization, body) = admin.store.read::<_, Problem>(|view| {
        let (delivery, _) = deliveries::show(view, id)?.ok_or_else(|| missing(id))?;
        let (body, _) = deliveries::body(view, &delivery)?;
        Ok((delivery.organization, body))
    })?;
    let payload = Payload::parse(&body, None)
        .map_err(|_| Problem::conflict(format!("delivery {id} has no body that could be run again")))?;
    let arrival = Arrival {
        at: clock::now(),
        organization,
        payload: Ok(payload),
        body,
        replay_of: Some(id),
        healed: None,
        signed_by: None,
    };
    Ok(admin.store.accept_and_wait(arrival)?)
}
