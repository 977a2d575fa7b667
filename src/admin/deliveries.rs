//! The log of webhook calls, and running one again.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Admin, Problem, Shared, shapes, views};
use crate::domain::delivery::Payload;
use crate::domain::ids::DeliveryId;
use crate::domain::limits;
use crate::store::{Accepted, Arrival, Reader, deliveries};
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

/// `GET /deliveries/{id}`.
pub(super) async fn show(State(admin): Shared, Path(id): Path<String>) -> Result<Json<shapes::Delivery>, Problem> {
    Ok(Json(admin.read(move |_, view| one(view, id.parse()?)).await?))
}

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
        // A duplicate's body is kept with the first delivery of its call.
        let body = match delivery.duplicate_of {
            Some(first) => deliveries::show(view, first)?.map(|(first, _)| first.body).unwrap_or_default(),
            None => delivery.body,
        };
        Ok((delivery.organization, body))
    })?;
    let payload = Payload::parse(&body, None)
        .map_err(|_| Problem::conflict(format!("delivery {id} has no body that could be run again")))?;
    let arrival =
        Arrival { at: clock::now(), organization, payload: Ok(payload), body, replay_of: Some(id), healed: None };
    Ok(admin.store.accept_and_wait(arrival)?)
}
