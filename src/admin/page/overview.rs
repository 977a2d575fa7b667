//! Is something wrong, what is open, did it arrive: the first page.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Response;
use maud::{Markup, html};

use super::connect;
use super::frame::{Frame, Here};
use super::words::{counted, number, when_told};
use crate::admin::{Admin, Problem, shapes, status};
use crate::domain::access::Caller;
use crate::domain::time::Timestamp;
use crate::sys::clock;

/// `GET /`.
pub(super) async fn show(state: State<Arc<Admin>>, Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let shown = status::show(state).await?.0;
    let now = clock::now();
    let needs = shown.conditions.iter().filter(|condition| condition.severity != "info").count();
    admin.needs.store(needs, std::sync::atomic::Ordering::Relaxed);
    if shown.inventory.sources == 0 {
        let main = connect::welcome(&shown, caller.role(), connect::is_reached(&admin).await?);
        return Ok(Frame { title: "Welcome", here: Here::Overview, caller: &caller, needs }.page(&main));
    }
    let main = html! {
        div.head { div {
            h1 { "Overview" }
            p.sub { (state_of(&shown, now)) }
        } }
        (attention(&shown.conditions))
        (figures(&shown))
        (destinations(&shown.destinations))
    };
    Ok(Frame { title: "Overview", here: Here::Overview, caller: &caller, needs }.page(&main))
}

fn state_of(status: &shapes::Status, now: Timestamp) -> Markup {
    let oldest = status.freshness.oldest.as_ref();
    html! {
        (counted(status.inventory.projects, "project")) " in " (counted(status.inventory.assets, "asset")) ". "
        @if let Some(oldest) = oldest {
            "The oldest reading is of " strong { (oldest.project) } ", " (when_told(oldest.synced_at.as_deref(), now)) "."
        }
    }
}

/// What needs a person, with what to do. With nothing to do there is no such list.
fn attention(conditions: &[shapes::Condition]) -> Markup {
    html! {
        @if !conditions.is_empty() {
            section #attention aria-labelledby="attention-h" {
                h2.hide #attention-h { "Needs a person" }
                div.notices {
                    @for condition in conditions {
                        @let (tone, word) = match condition.severity.as_str() {
                            "error" => ("bad", "Error"),
                            "warning" => ("warn", "Warning"),
                            _ => ("none", "Note"),
                        };
                        div.notice {
                            span.{ "is " (tone) } { span.hide { (word) } }
                            div { p { strong { (condition.text) } } p { (condition.remedy) } }
                        }
                    }
                }
            }
        }
    }
}

fn figures(status: &shapes::Status) -> Markup {
    let of = |severity: &str| {
        let all = status.inventory.open.iter();
        all.filter(|count| count.severity == severity).map(|count| count.count).sum::<u64>()
    };
    let open: u64 = status.inventory.open.iter().map(|count| count.count).sum();
    html! {
        dl.figures {
            div { dt { "Open findings" } dd { (number(open)) } }
            div { dt { "Critical and high" } dd { (number(of("critical") + of("high"))) } }
            div { dt { "Webhooks accepted" } dd { (number(status.deliveries.accepted)) } dd { "since the start" } }
            div { dt { "Reads under way" } dd { (number(status.sync.running)) } dd { (number(status.sync.queued)) " wait" } }
            div { dt { "Stale branches" } dd { (number(status.freshness.stale)) } }
        }
    }
}

fn destinations(destinations: &[shapes::DestinationHealth]) -> Markup {
    html! {
        @if !destinations.is_empty() {
            section {
                div.ends { h2 { "Passed on" } a href="/destinations" { "All destinations" } }
                dl.facts {
                    @for one in destinations {
                        dt { (one.name) }
                        dd { (one.state.replace('_', " ")) " " span.soft { @if let Some(lag) = one.lag { (number(lag)) " behind" } } }
                    }
                }
            }
        }
    }
}
