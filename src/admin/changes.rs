//! The change log, for those who follow it.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::findings::Cache;
use super::{Problem, Shared, shapes};
use crate::admin::answers::Query;
use crate::domain::finding::Finding;
use crate::domain::ids::{FindingId, ScopeId};
use crate::domain::limits;
use crate::store::changes::{Cursor, Item, follow};
use crate::store::{Reader, StoreError, findings};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Changes after this place, as `next` named it; without it the present state comes first.
    pub(super) after: Option<String>,
    /// So many at most.
    limit: Option<usize>,
}

/// `GET /changes`.
pub(super) async fn list(
    State(admin): Shared,
    Query(wanted): Query<Wanted>,
) -> Result<Json<shapes::FollowedChanges>, Problem> {
    Ok(Json(admin.read(move |_, view| page(view, &wanted)).await?))
}

fn page(view: &Reader, wanted: &Wanted) -> Result<shapes::FollowedChanges, Problem> {
    let cursor = match wanted.after.as_deref().filter(|text| !text.is_empty()) {
        None => Cursor::New,
        Some(text) => Cursor::from_text(text)
            .ok_or_else(|| Problem::bad("the cursor is none of ours; begin without one, and be told everything"))?,
    };
    let followed = follow(view, &cursor, wanted.limit.unwrap_or(100).clamp(1, limits::LIST_ROWS_MAX))?;
    let cache = Cache::new(view);
    let changes = followed.items.into_iter().map(|item| entry(view, &cache, item)).collect::<Result<_, Problem>>()?;
    Ok(shapes::FollowedChanges {
        changes,
        next: followed.next.to_text(),
        reseeded: followed.reseeded,
        seeding: matches!(followed.next, Cursor::Seeding { .. }),
    })
}

/// A damaged finding counts as gone, and must not stop who follows: Sonar's row replaces it under a new number.
fn held(view: &Reader, id: FindingId) -> Result<Option<(ScopeId, Finding)>, StoreError> {
    match findings::with_id(view, id) {
        Err(StoreError::Damaged { .. }) => Ok(None),
        found => found,
    }
}

fn entry(view: &Reader, cache: &Cache, item: Item) -> Result<shapes::FollowedChange, Problem> {
    Ok(match item {
        Item::Current(scope, finding) => shapes::FollowedChange {
            id: None,
            at: None,
            kind: "current".to_owned(),
            finding_id: finding.id.to_string(),
            from: None,
            to: finding.observed.state.to_string(),
            finding: cache.shown(scope, *finding),
        },
        Item::Change(number, change) => shapes::FollowedChange {
            id: Some(number.to_string()),
            at: Some(change.at.to_string()),
            kind: change.kind.as_str().to_owned(),
            finding_id: change.finding.to_string(),
            from: change.from.map(|state| state.to_string()),
            to: change.to.to_string(),
            finding: held(view, change.finding)?.and_then(|(scope, finding)| cache.shown(scope, finding)),
        },
    })
}
