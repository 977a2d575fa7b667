//! Where findings are passed on to, the failing ones first.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::frame::{Frame, Here};
use super::words::{counted, number, when_told};
use crate::admin::answers::Sent;
use crate::admin::{Admin, Problem, destinations, shapes};
use crate::domain::access::{Caller, Role};
use crate::domain::time::Timestamp;
use crate::sys::clock;

/// `GET /destinations`.
pub(super) async fn list(state: State<Arc<Admin>>, Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let mut list = destinations::list(state).await?.0.destinations;
    list.sort_by_key(|one| one.trouble.is_none());
    let now = clock::now();
    let main = html! {
        div.head { div {
            h1 { "Destinations" }
            p.sub { "Platforms that every change is passed on to. Nothing is closed there that was not really gone." }
        } }
        @if list.is_empty() {
            section.empty {
                h2 { "Nothing is passed on yet" }
                p.soft { "On the box: " code { "hydrophone destination add --help" } " shows each platform." }
            }
        }
        @for one in &list { (section(one, caller.role(), now)) }
    };
    Ok(Frame::of(&admin, "Destinations", Here::Destinations, &caller).page(&main))
}

fn section(one: &shapes::Destination, role: Role, now: Timestamp) -> Markup {
    html! {
        section.item {
            div.ends {
                h2 { (one.name) " " span.soft.small { (platform(&one.kind)) } }
                (state(one))
            }
            @if let Some(trouble) = &one.trouble {
                div.notice.boxed.bad {
                    span.is.bad { span.hide { "Error" } }
                    div {
                        p { strong { (trouble) } }
                        p {
                            @if let Some(remedy) = &one.remedy { (remedy) ". " }
                            "Since " (when_told(one.trouble_since.as_deref(), now)) "; nothing is lost."
                        }
                    }
                }
            }
            dl.facts {
                dt { "Address" } dd.mono { (one.url) }
                dt { "Told" } dd { (counted(one.told, "message")) ", last " (when_told(one.told_at.as_deref(), now)) }
                @if let Some(lag) = one.lag { dt { "Waits" } dd { (counted(lag, "change")) } }
                dt { "Decisions" } dd {
                    (if one.triage.to_sonar { "its own go to Sonar" } else { "its own stay there" }) "; "
                    (if one.triage.from_sonar { "Sonar's are told" } else { "Sonar's are not told" })
                }
                @if one.dead_letters > 0 {
                    dt { "Parked" } dd { span.is.warn { (counted(one.dead_letters, "message")) " it refuses" } }
                }
            }
            @if role >= Role::Operator {
                div.row {
                    @if one.state == "paused" { @if role == Role::Admin { (button(&one.name, "resume", "Resume")) } }
                    @else if role == Role::Admin { (button(&one.name, "pause", "Pause")) }
                    (button(&one.name, "replay", "Tell everything again"))
                    @if one.dead_letters > 0 { (button(&one.name, "retry", "Try parked messages again")) }
                }
            }
        }
    }
}

fn button(name: &str, deed: &str, title: &str) -> Markup {
    html! { form method="post" action={ "/destinations/" (name) "/" (deed) } { button.button.little { (title) } } }
}

fn platform(kind: &str) -> &str {
    match kind {
        "defectdojo" => "DefectDojo",
        "conviso" => "Conviso Platform",
        "events" => "signed events",
        "sarif" => "SARIF folder",
        "github" => "GitHub code scanning",
        other => other,
    }
}

fn state(one: &shapes::Destination) -> Markup {
    let (tone, word) = match one.state.as_str() {
        "up_to_date" => ("ok", "Up to date"),
        "behind" => ("busy", "Catching up"),
        "seeding" => ("busy", "Being told what is open"),
        "retrying" => ("warn", "Tried again"),
        "refused" => ("bad", "Needs a person"),
        "gone" => ("bad", "Wants nothing any more"),
        "paused" => ("pause", "Paused"),
        other => ("none", other),
    };
    html! { span.{ "is " (tone) } { (word) @if let Some(lag) = one.lag.filter(|lag| *lag > 0) { ", " (number(lag)) " wait" } } }
}

/// `POST /destinations/{name}/{deed}`: what the buttons do.
pub(super) async fn resume(state: State<Arc<Admin>>, name: Path<String>) -> Result<Response, Problem> {
    paused(state, name, false).await
}

/// See [`resume`].
pub(super) async fn pause(state: State<Arc<Admin>>, name: Path<String>) -> Result<Response, Problem> {
    paused(state, name, true).await
}

async fn paused(state: State<Arc<Admin>>, name: Path<String>, paused: bool) -> Result<Response, Problem> {
    let edit = shapes::DestinationEdit { paused: Some(paused), ..shapes::DestinationEdit::default() };
    let Json(_) = destinations::edit(state, name, Sent(edit)).await?;
    Ok(back())
}

/// See [`resume`].
pub(super) async fn replay(state: State<Arc<Admin>>, name: Path<String>) -> Result<Response, Problem> {
    let Json(_) = destinations::replay(state, name, Sent(shapes::DestinationReplay::default())).await?;
    Ok(back())
}

/// See [`resume`].
pub(super) async fn retry(state: State<Arc<Admin>>, name: Path<String>) -> Result<Response, Problem> {
    let Json(_) = destinations::dead_letters::replay_all(state, name).await?;
    Ok(back())
}

fn back() -> Response {
    Redirect::to("/destinations").into_response()
}
