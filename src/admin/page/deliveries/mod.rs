//! Did it arrive: the log of webhook calls.

pub(super) mod one;
pub(super) mod sonar;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::frame::{Frame, Here};
use super::marks::{actions_column, column};
use super::words::{number, when_told};
use crate::admin::answers::Query;
use crate::admin::deliveries::{self, Paging};
use crate::admin::{Admin, Problem, shapes, status};
use crate::domain::access::{Caller, Role};
use crate::domain::time::Timestamp;
use crate::sys::clock;

/// `GET /deliveries`.
pub(super) async fn list(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    paging: Query<Paging>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let counts = status::show(State(Arc::clone(&state))).await?.0.deliveries;
    let page = deliveries::list(state, paging).await?.0;
    let (now, steers) = (clock::now(), caller.role() >= Role::Operator);
    let main = html! {
        div.head {
            div {
                h1 { "Deliveries" }
                p.sub { "Every webhook call that came in, and those that Sonar says it sent but that never arrived." }
                @if !steers { p.sub { "You may look; an operator can change this." } }
            }
            @if steers { div.row { a.button href="/deliveries/sonar" { "What Sonar's own log says" } } }
        }
        dl.figures #figures data-live {
            div { dt { "Accepted" } dd { (number(counts.accepted)) } dd { "since the start" } }
            div { dt { "Duplicates" } dd { (number(counts.duplicate)) } dd { "counted, not read again" } }
            div { dt { "Refused" } dd { (number(counts.rejected)) } }
            div { dt { "Not taken" } dd { (number(counts.unavailable)) } dd { "the store was not writable" } }
        }
        @if page.deliveries.is_empty() {
            section.empty {
                h2 { "No webhook has come in yet" }
                p.soft { "On the box: " code { "hydrophone webhook show ORG --reveal" } " says what to paste into Sonar." }
            }
        } @else {
            (table(&page.deliveries, steers, now))
            nav.pager aria-label="Pages" {
                span { (number(page.deliveries.len() as u64)) " shown" }
                @if let Some(next) = &page.next { a.button.little href={ "/deliveries?before=" (next) } rel="next" { "Older" } }
            }
        }
    };
    Ok(Frame::of(&admin, "Deliveries", Here::Deliveries, &caller).page(&main))
}

fn table(list: &[shapes::Delivery], steers: bool, now: Timestamp) -> Markup {
    html! {
        table.rows role="table" {
            caption.hide { "Deliveries, newest first" }
            thead role="rowgroup" { tr role="row" {
                (column("Project"))
                (column("Outcome"))
                (column("Sonar's task"))
                th.num role="columnheader" scope="col" aria-sort="descending" { "Received" }
                @if steers { (actions_column()) }
            } }
            tbody role="rowgroup" {
                @for delivery in list {
                    tr role="row" {
                        th role="rowheader" scope="row" {
                            a href={ "/deliveries/" (delivery.id) } {
                                @match &delivery.project { Some(project) => { (project) } None => { "A call without a project" } }
                            }
                            @if let Some(branch) = &delivery.branch { " " span.soft { (branch) } }
                        }
                        td role="cell" {
                            (outcome(delivery))
                            @if let Some(detail) = &delivery.detail { " " span.under { (detail) } }
                        }
                        td.full role="cell" { span.mono.soft { (delivery.task_id.as_deref().unwrap_or("–")) } }
                        td.num.soft role="cell" { (when_told(Some(&delivery.received_at), now)) }
                        @if steers {
                            td.act role="cell" {
                                @if can_run_again(delivery) {
                                    form method="post" action={ "/deliveries/" (delivery.id) "/replay" } {
                                        button.button.plain.little { "Replay" }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Whether running it again could do anything: a test asked for nothing, and what was not understood is not the second time.
fn can_run_again(delivery: &shapes::Delivery) -> bool {
    !matches!(delivery.outcome.as_str(), "test" | "malformed")
}

pub(super) fn outcome(delivery: &shapes::Delivery) -> Markup {
    let (tone, word) = match delivery.outcome.as_str() {
        _ if delivery.healed.is_some() => ("warn", "Never arrived; found in Sonar's log"),
        "queued" => ("busy", "Waits to be read"),
        "synced" => ("ok", "Synced"),
        "not_imported" => ("none", "Project is not imported"),
        "not_selected" => ("none", "Branch is not chosen"),
        "task_failed" => ("bad", "Analysis failed in Sonar"),
        "duplicate" => ("none", "Duplicate"),
        "malformed" => ("bad", "Not understood"),
        "dropped" => ("none", "Project was removed"),
        "test" => ("ok", "Test of the way"),
        "handed_over" => ("ok", "Handed over"),
        other => ("none", other),
    };
    html! { span.{ "is " (tone) } { (word) } }
}

/// `POST /deliveries/{id}/replay`: leads to the new one.
pub(super) async fn replay(state: State<Arc<Admin>>, id: Path<String>) -> Result<Response, Problem> {
    let (_, Json(new)) = deliveries::replay(state, id).await?;
    Ok(Redirect::to(&format!("/deliveries/{}", new.id)).into_response())
}
