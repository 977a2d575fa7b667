//! One webhook call: what was sent, and what came of it.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::response::Response;
use maud::{Markup, html};

use super::super::fields::sentence;
use super::super::frame::{Frame, Here};
use super::super::words::{capital, counted, number, when_told};
use super::{can_run_again, outcome};
use crate::admin::{Admin, Problem, deliveries, shapes};
use crate::domain::access::{Caller, Role};
use crate::domain::time::Timestamp;
use crate::sys::clock;

/// `GET /deliveries/{id}`.
pub(in crate::admin::page) async fn show(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    id: Path<String>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let detail = deliveries::show(state, id).await?.0;
    let (delivery, now) = (&detail.delivery, clock::now());
    let name = delivery.project.as_deref().unwrap_or("a call without a project");
    let main = html! {
        div.head {
            div {
                nav aria-label="You are here" { ol.row.small.soft.crumbs {
                    li { a href="/deliveries" { "Deliveries" } } li { (delivery.id) }
                } }
                h1 { (name) @if let Some(branch) = &delivery.branch { " " span.soft { (branch) } } }
                p.sub id="outcome" data-live { (outcome(delivery)) " " (when_told(Some(&delivery.received_at), now)) }
            }
            @if caller.role() >= Role::Operator && can_run_again(delivery) {
                div.row { form method="post" action={ "/deliveries/" (delivery.id) "/replay" } { button.button { "Replay" } } }
            }
        }
        div.cols.wide {
            section.stack { (sent(&detail)) }
            section.stack {
                h2 { "What came of it" }
                (came(&detail, now))
                h2 { "The call" }
                (facts(delivery))
            }
        }
    };
    let title = format!("Delivery {}", delivery.id);
    Ok(Frame::of(&admin, &title, Here::Deliveries, &caller).page(&main))
}

fn sent(detail: &shapes::DeliveryDetail) -> Markup {
    html! {
        h2 { "What Sonar sent " span.soft { (number(detail.payload_bytes)) " bytes" @if detail.delivery.healed.is_none() { ", signature right" } } }
        @match &detail.payload {
            Some(payload) => {
                pre.code.flat tabindex="0" aria-label="Payload" { (serde_json::to_string_pretty(payload).unwrap_or_default()) }
                p.help { "Values of " code { "properties" } " and whatever else may be a secret are hidden." }
            }
            None if detail.sealed => { p.soft { "It is sealed, and the key that opens it is not there." } }
            None => { p.soft { "Nothing that could be shown: what was sent is no JSON, or was not kept." } }
        }
    }
}

fn came(detail: &shapes::DeliveryDetail, now: Timestamp) -> Markup {
    let delivery = &detail.delivery;
    let tone = match delivery.outcome.as_str() {
        "synced" => "ok",
        "task_failed" | "malformed" => "bad",
        _ => "new",
    };
    html! {
        ol.log #came data-live {
            li.ok {
                @match (&delivery.healed, &delivery.replay_of) {
                    (Some(how), _) => { "Never arrived (" (how) "); taken in from Sonar's log" }
                    (None, Some(former)) => { "Run again; it came first as " a href={ "/deliveries/" (former) } { (former) } }
                    (None, None) => { "Received and written to disk" }
                }
                span.when { (when_told(Some(&delivery.received_at), now)) }
            }
            li.(tone) {
                (outcome_said(delivery))
                @if delivery.synced_at.is_some() { span.when { (when_told(delivery.synced_at.as_deref(), now)) } }
            }
            @if delivery.outcome == "synced" { (changes(detail)) }
            @if !detail.changes.is_empty() {
                @if !detail.passed_to.is_empty() { li.ok { "Passed on: " (listed(&detail.passed_to)) " is past these changes" } }
                @if !detail.waiting.is_empty() { li { "Not there yet: " (listed(&detail.waiting)) } }
            }
        }
    }
}

fn listed(names: &[String]) -> Markup {
    html! {
        @for (index, name) in names.iter().enumerate() {
            @if index > 0 { ", " } a href={ "/destinations#d-" (name) } { (name) }
        }
    }
}

/// How it ended, in a sentence.
fn outcome_said(delivery: &shapes::Delivery) -> Markup {
    html! {
        @match delivery.outcome.as_str() {
            "queued" => { "Its branch waits to be read" }
            "synced" => { "Its branch was read, and the read was complete" }
            "not_imported" => { "Its project is not imported, so nothing was read" }
            "not_selected" => { "Its branch is not among those that were chosen, so nothing was read" }
            "handed_over" => { "The box that works for this site has it; this one stands by" }
            "task_failed" => { "The analysis failed in Sonar; what it said before still holds" }
            "duplicate" => {
                "The same call as one that came before"
                @if let Some(first) = &delivery.duplicate_of { ", " a href={ "/deliveries/" (first) } { (first) } }
                "; it was not read again"
            }
            "malformed" => { "Refused: " (delivery.detail.as_deref().map(sentence).unwrap_or_default()) }
            "dropped" => { "Given up: its project or branch was removed here, or Sonar does not list it" }
            other => { (capital(&other.replace('_', " "))) }
        }
    }
}

fn changes(detail: &shapes::DeliveryDetail) -> Markup {
    html! {
        @if detail.changes.is_empty() {
            li { @if detail.whole { "Nothing changed from when it came to the end of that read" } @else { "What changed cannot be told any more" } }
        }
        @for change in &detail.changes {
            @let tone = match change.kind.as_str() { "opened" | "reopened" => "bad", "fixed" | "removed" => "ok", _ => "new" };
            li.(tone) {
                (capital(&change.kind)) ": "
                @match &change.title {
                    Some(title) => { a href={ "/findings/" (change.finding) } { (title) } }
                    None => { (change.finding) ", which is not held any more" }
                }
                span.when { "change " (change.id) }
            }
        }
        @if !detail.whole && !detail.changes.is_empty() { li { "and more: the first " (counted(detail.changes.len() as u64, "change")) " are shown" } }
    }
}

fn facts(delivery: &shapes::Delivery) -> Markup {
    html! {
        dl.facts {
            dt { "Organization" } dd { (delivery.source) "/" (delivery.organization) }
            dt { "Sonar's task" } dd.mono { (delivery.task_id.as_deref().unwrap_or("–")) }
            dt { "Sonar's status" } dd { (delivery.status.as_deref().unwrap_or("–")) }
        }
    }
}
