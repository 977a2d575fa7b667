//! The sites of a fleet that this box gathers: who speaks for them, since when, and what is the matter there.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Response;
use maud::{Markup, html};

use super::frame::{Frame, Here};
use super::marks::{column, number_column};
use super::words::{between, coded, counted, encoded, number, sentence, when_told};
use crate::admin::{Admin, Problem, fleet, shapes};
use crate::domain::access::Caller;
use crate::domain::time::Timestamp;
use crate::sys::clock;

/// `GET /fleet`.
pub(super) async fn show(state: State<Arc<Admin>>, Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let fleets = fleet::show(state).await?.0.fleets;
    let now = clock::now();
    let main = html! {
        div.head { div {
            h1 { "Sites" }
            p.sub { "Each has a box of its own, which reads Sonar there and tells this one what it holds." }
        } }
        @if fleets.is_empty() {
            section.empty {
                h2 { "This box gathers no fleet" }
                p.soft { "Have it do so on the command line: " code { "hydrophone source add NAME --fleet URL --credentials FILE" } }
            }
        }
        div.stack.loose #fleets data-live { @for one in &fleets { (shown(one, now)) } }
    };
    Ok(Frame::of(&admin, "Sites", Here::Fleet, &caller).page(&main))
}

fn shown(one: &shapes::Fleet, now: Timestamp) -> Markup {
    let heading = format!("fleet-{}", one.name);
    html! {
        section.stack aria-labelledby=(heading) {
            div.ends { h2 #(heading) { "Fleet " (one.name) } (state(one)) }
            @if let Some(trouble) = &one.trouble {
                div.notice.boxed {
                    span.is.bad { span.hide { "Error" } }
                    div {
                        p { strong { (coded(&sentence(trouble))) } }
                        @if let Some(remedy) = &one.remedy { p { (coded(remedy)) } }
                    }
                }
            }
            @if one.sites.is_empty() {
                div.empty {
                    h3 { "No site has said anything yet" }
                    p.soft { "Join one, on its box: " code { "hydrophone destination add nats NAME --url URL --option site=SITE --token-file FILE" } }
                }
            } @else {
                (table(&one.sites, now))
                (conditions(&one.sites, now))
            }
        }
    }
}

fn state(one: &shapes::Fleet) -> Markup {
    html! {
        @match one.state.as_str() {
            "up_to_date" => { span.is.ok { "All is read" } }
            "catching_up" => { span.is.busy { (counted(one.pending, "message")) " to go" } }
            _ => { span.is.bad { "Cannot be read" } }
        }
    }
}

fn table(sites: &[shapes::FleetSite], now: Timestamp) -> Markup {
    html! {
        table.rows role="table" {
            caption.hide { "Sites" }
            thead role="rowgroup" { tr role="row" {
                (column("Site"))
                (column("Heard"))
                (number_column("Projects"))
                (number_column("Open findings"))
                (number_column("Oldest read"))
                (column("Problems"))
            } }
            tbody role="rowgroup" { @for site in sites { tr role="row" {
                th role="rowheader" scope="row" {
                    a href={ "/findings?site=" (encoded(&site.site)) } { (site.site) }
                    span.under {
                        (site.machine.as_deref().unwrap_or("machine not known"))
                        @if let Some(version) = &site.version { " · " (version) }
                    }
                }
                td role="cell" data-l="Heard" { (heard(site, now)) }
                td.num role="cell" data-l="Projects" { (number(site.projects)) }
                td.num role="cell" data-l="Open findings" { (number(site.open)) }
                td.num.soft role="cell" data-l="Oldest read" { (when_told(site.synced_at.as_deref(), now)) }
                td role="cell" data-l="Problems" { (problems(site)) }
            } } }
        }
    }
}

fn heard(site: &shapes::FleetSite, now: Timestamp) -> Markup {
    html! {
        @match site.silent_seconds {
            Some(seconds) => {
                span.is.bad { "Silent for " (between(now.minus(std::time::Duration::from_secs(seconds)), now)) }
            }
            None => (when_told(site.heard_at.as_deref(), now)),
        }
    }
}

fn problems(site: &shapes::FleetSite) -> Markup {
    let serious = site.conditions.iter().filter(|condition| condition.severity != "info").count() as u64;
    html! {
        @if site.incomplete == 0 && serious == 0 { span.is.ok { "None" } }
        @if serious > 0 { span.is.warn { (counted(serious, "condition")) } }
        @if site.incomplete > 0 { " " span.is.warn { (number(site.incomplete)) " read incompletely" } }
    }
}

/// What the boxes say is the matter with them.
fn conditions(sites: &[shapes::FleetSite], now: Timestamp) -> Markup {
    html! {
        @if sites.iter().any(|site| !site.conditions.is_empty()) {
            h3 { "What the boxes say" }
            div.notices { @for site in sites { @for condition in &site.conditions {
                @let (tone, word) = match condition.severity.as_str() {
                    "error" => ("bad", "Error"),
                    "warning" => ("warn", "Warning"),
                    _ => ("none", "Note"),
                };
                div.notice {
                    span.{ "is " (tone) } { span.hide { (word) } }
                    div {
                        p { strong { (site.site) ": " (coded(&sentence(&condition.text))) } }
                        p { "There: " (coded(&condition.remedy)) span.soft { " · " (when_told(Some(&condition.raised_at), now)) } }
                    }
                }
            } } }
        }
    }
}
