//! What a destination refused: listed, tried again, dropped.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::named;
use crate::admin::answers::Query;
use crate::admin::{Admin, Problem, Shared, shapes, views};
use crate::domain::ids::FindingId;
use crate::domain::limits::LIST_ROWS_MAX;
use crate::store::{destinations, findings};
use crate::sys::clock;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Wanted {
    /// Those after this finding.
    after: Option<String>,
    /// So many at most; 100 without it.
    limit: Option<usize>,
}

/// `GET /destinations/{name}/dead-letters`.
pub(in crate::admin) async fn list(
    State(admin): Shared,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<shapes::DeadLetterList>, Problem> {
    let list = admin
        .read(move |_, view| {
            let (id, _) = named(view, &name)?;
            let after = wanted.after.as_deref().map(str::parse::<FindingId>).transpose()?;
            let most = wanted.limit.unwrap_or(100).clamp(1, LIST_ROWS_MAX);
            let rows = destinations::dead_letters(view, id, after, most)?;
            let next = rows.last().filter(|_| rows.len() == most).map(|(finding, _)| finding.to_string());
            let mut dead_letters = Vec::with_capacity(rows.len());
            for (finding, letter) in rows {
                let held = findings::with_id(view, finding)?.map(|(_, held)| held.observed);
                dead_letters.push(shapes::DeadLetter {
                    finding: finding.to_string(),
                    key: held.as_ref().map(|held| held.key.to_string()),
                    title: held.map(|held| held.message),
                    why: letter.why,
                    since: letter.since.to_string(),
                    attempts: letter.attempts,
                    again_at: views::time(letter.again_at),
                });
            }
            Ok(shapes::DeadLetterList { dead_letters, next })
        })
        .await?;
    Ok(Json(list))
}

/// The first of them.
pub(in crate::admin) async fn some(
    admin: &Arc<Admin>,
    name: &str,
    most: usize,
) -> Result<shapes::DeadLetterList, Problem> {
    let wanted = Wanted { after: None, limit: Some(most) };
    Ok(list(State(Arc::clone(admin)), Path(name.to_owned()), Query(wanted)).await?.0)
}

/// `POST /destinations/{name}/dead-letters/replay`: all of them.
pub(in crate::admin) async fn replay_all(
    State(admin): Shared,
    Path(name): Path<String>,
) -> Result<Json<shapes::DeadLetterCount>, Problem> {
    each_letter(admin, name, None, true).await
}

/// `POST /destinations/{name}/dead-letters/{finding}/replay`.
pub(in crate::admin) async fn replay(
    State(admin): Shared,
    Path((name, finding)): Path<(String, String)>,
) -> Result<Json<shapes::DeadLetterCount>, Problem> {
    each_letter(admin, name, Some(finding), true).await
}

/// `DELETE /destinations/{name}/dead-letters`: all of them.
pub(in crate::admin) async fn drop_all(
    State(admin): Shared,
    Path(name): Path<String>,
) -> Result<Json<shapes::DeadLetterCount>, Problem> {
    each_letter(admin, name, None, false).await
}

/// `DELETE /destinations/{name}/dead-letters/{finding}`.
pub(in crate::admin) async fn drop(
    State(admin): Shared,
    Path((name, finding)): Path<(String, String)>,
) -> Result<Json<shapes::DeadLetterCount>, Problem> {
    each_letter(admin, name, Some(finding), false).await
}

/// Has one dead letter, or all, tried again or dropped, some at a time.
async fn each_letter(
    admin: Arc<Admin>,
    name: String,
    finding: Option<String>,
    again: bool,
) -> Result<Json<shapes::DeadLetterCount>, Problem> {
    let count = admin
        .run(move |admin| {
            let one = finding.as_deref().map(str::parse::<FindingId>).transpose()?;
            let (id, _) = admin.store.read(|view| named(view, &name))?;
            let now = clock::now();
            let (mut count, mut after) = (0, None);
            loop {
                let some = match one {
                    Some(one) => vec![one],
                    None => admin.store.read::<_, Problem>(|view| {
                        let rows = destinations::dead_letters(view, id, after, LETTERS)?;
                        Ok(rows.into_iter().map(|(finding, _)| finding).collect())
                    })?,
                };
                let Some(last) = some.last().copied() else { break };
                after = Some(last);
                count += admin.store.delete::<_, Problem>(move |batch| {
                    let mut done = 0;
                    for finding in some {
                        let there = if again {
                            destinations::try_again(batch, id, finding, now)?
                        } else {
                            destinations::drop_letter(batch, id, finding)?
                        };
                        done += u64::from(there);
                    }
                    Ok(done)
                })?;
                if one.is_some() {
                    break;
                }
            }
            if let (Some(one), 0) = (one, count) {
                return Err(Problem::missing(format!("{one} is no dead letter of {name}"))
                    .remedy(format!("hydrophone destination dead-letters {name}")));
            }
            admin.deliver.kick(id);
            Ok(shapes::DeadLetterCount { dead_letters: count })
        })
        .await?;
    Ok(Json(count))
}

/// Dead letters in one batch.
const LETTERS: usize = 200;
