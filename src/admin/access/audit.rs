//! The audit log, read.

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::admin::{Problem, Shared, shapes};
use crate::domain::limits::LIST_ROWS_MAX;
use crate::store::access;

/// Which part of the log.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Wanted {
    /// Entries before this one.
    before: Option<u64>,
    /// So many at most; 100 without it.
    limit: Option<usize>,
}

/// `GET /audit`.
pub(in crate::admin) async fn list(
    State(admin): Shared,
    Query(wanted): Query<Wanted>,
) -> Result<Json<shapes::AuditList>, Problem> {
    let most = wanted.limit.unwrap_or(100).clamp(1, LIST_ROWS_MAX);
    let rows = admin.read(move |_, view| Ok(access::audited(view, wanted.before, most)?)).await?;
    let next = rows.last().filter(|_| rows.len() == most).map(|(number, _)| *number);
    let entries = rows.into_iter().map(|(id, entry)| shapes::AuditEntry {
        id,
        at: entry.at.to_string(),
        who: entry.who,
        via: entry.via,
        what: entry.what,
        target: entry.target,
        status: entry.status,
        from: entry.from,
    });
    Ok(Json(shapes::AuditList { entries: entries.collect(), next }))
}
