//! Decisions about findings: Sonar is told, and the inventory follows with the read that is asked for.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};

use super::answers::Sent;
use super::{Admin, Problem, Shared, findings, guard, shapes};
use crate::domain::access::Caller;
use crate::domain::finding::State as FindingState;
use crate::domain::ids::FindingId;
use crate::work::triage::{self, TriageError};

/// `POST /findings/{id}/triage`.
pub(super) async fn one(
    State(admin): Shared,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Sent(decision): Sent<shapes::TriageDecision>,
) -> Result<Json<shapes::FindingDetail>, Problem> {
    let (id, state) = (id.parse()?, decision.state.parse::<FindingState>()?);
    let comment = comment(&decision.comment)?;
    guard::remark(&format!("{state}, {}", decision.comment.trim()));
    let detail = admin
        .ask(move |admin| {
            admin.store.read(|view| findings::must_be_own(view, id))?;
            triage::triage(&admin.work, id, state, &comment, (caller.name(), way(&caller)))?;
            admin.store.read(|view| findings::detail(view, id))
        })
        .await?;
    Ok(Json(detail))
}

/// By which way somebody decides, as the history says it.
fn way(caller: &Caller) -> &'static str {
    match caller {
        Caller::Socket => "socket",
        Caller::Session { .. } => "user",
        Caller::Token { .. } => "token",
    }
}

fn comment(given: &str) -> Result<String, Problem> {
    let given = given.trim();
    if given.is_empty() {
        return Err(Problem::bad("a decision needs a comment: it is what others read in Sonar")
            .remedy("say why with --comment"));
    }
    Ok(format!("{given} (decided in Hydrophone)"))
}

/// `POST /findings/triage`: the same about many, one after the other. What cannot be decided about one leaves the others
/// as they are decided; when Sonar cannot be asked, the rest is not tried.
pub(super) async fn many(
    State(admin): Shared,
    Extension(caller): Extension<Caller>,
    Sent(batch): Sent<shapes::TriageBatch>,
) -> Result<Json<shapes::TriageOutcomes>, Problem> {
    let state = batch.state.parse::<FindingState>()?;
    let comment = comment(&batch.comment)?;
    let mut ids: Vec<FindingId> = Vec::with_capacity(batch.ids.len().min(FINDINGS_MAX));
    for id in &batch.ids {
        let id = id.parse()?;
        if !ids.contains(&id) {
            ids.push(id);
        }
        if ids.len() > FINDINGS_MAX {
            return Err(Problem::bad(format!("a decision takes {FINDINGS_MAX} findings at most at a time")));
        }
    }
    if ids.is_empty() {
        return Err(Problem::bad("no finding is chosen"));
    }
    let named: Vec<String> = ids.iter().map(ToString::to_string).collect();
    guard::remark(&format!("{state}, {}: {}", batch.comment.trim(), named.join(" ")));
    // It takes Sonar's time, and goes on to its end where whoever asked has gone away.
    let decided = tokio::spawn(async move { decide_all(&admin, ids, state, &comment, &caller).await });
    let outcomes = decided
        .await
        .unwrap_or_else(|_| Err(Problem::internal("the decisions failed inside hydrophone; its log says more")))?;
    Ok(Json(shapes::TriageOutcomes { outcomes }))
}

async fn decide_all(
    admin: &Arc<Admin>,
    ids: Vec<FindingId>,
    state: FindingState,
    comment: &str,
    caller: &Caller,
) -> Result<Vec<shapes::TriageOutcome>, Problem> {
    let mut outcomes = Vec::with_capacity(ids.len());
    let mut is_silent = false;
    for id in ids {
        let (outcome, problem) = if is_silent {
            ("not_tried", None)
        } else {
            let (outcome, problem, silent) = decide(admin, id, state, comment.to_owned(), caller.clone()).await?;
            is_silent = silent;
            (outcome, problem)
        };
        outcomes.push(shapes::TriageOutcome { id: id.to_string(), outcome: outcome.to_owned(), problem });
    }
    Ok(outcomes)
}

/// Findings that one decision may be about.
pub(super) const FINDINGS_MAX: usize = 100;

/// Decides about one, and says what became of it and whether Sonar could not be asked. Between two of them others have
/// their turn.
async fn decide(
    admin: &Arc<Admin>,
    id: FindingId,
    state: FindingState,
    comment: String,
    caller: Caller,
) -> Result<(&'static str, Option<String>, bool), Problem> {
    admin
        .ask(move |admin| {
            Ok(match triage::triage(&admin.work, id, state, &comment, (caller.name(), way(&caller))) {
                Ok(before) if before == state => ("unchanged", None, false),
                Ok(_) => ("decided", None, false),
                Err(error) => {
                    let silent = matches!(error, TriageError::Work(_)) && !error.is_final();
                    ("refused", Some(error.to_string()), silent)
                }
            })
        })
        .await
}
