//! How many findings were open, opened and fixed on each day.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Problem, Shared, shapes};
use crate::admin::answers::Query;
use crate::domain::time::Timestamp;
use crate::store::trend::{self, Day, DayNumber};
use crate::store::{Reader, StoreError};
use crate::sys::clock;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// So many days up to today, at most 400; 30 without it.
    days: Option<u32>,
}

/// `GET /trend`.
pub(super) async fn show(State(admin): Shared, Query(wanted): Query<Wanted>) -> Result<Json<shapes::Trend>, Problem> {
    let days = wanted.days.unwrap_or(DAYS);
    Ok(Json(admin.read(move |_, view| Ok(read(view, clock::now(), days)?)).await?))
}

const DAYS: u32 = 30;

/// The trend up to now.
pub(super) fn read(view: &Reader, now: Timestamp, days: u32) -> Result<shapes::Trend, StoreError> {
    let shown = |(number, day): (DayNumber, Day)| shapes::TrendDay {
        day: number.begins().to_string().chars().take_while(|letter| *letter != 'T').collect(),
        open: day.open.into(),
        opened: day.opened.into(),
        fixed: day.fixed.into(),
    };
    let days = trend::days(view, DayNumber::of(now), days)?.into_iter().map(shown).collect();
    Ok(shapes::Trend { days })
}
