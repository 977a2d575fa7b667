//! Messages that a platform refuses: each with the reason, tried again or dropped.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::super::fields::sentence;
use super::super::frame::{Frame, Here};
use super::super::marks::{actions_column, column, number_column};
use super::super::words::{counted, when_told};
use crate::admin::answers::Query;
use crate::admin::destinations::dead_letters;
use crate::admin::{Admin, Problem, destinations, shapes};
use crate::domain::access::{Caller, Role};
use crate::domain::time::Timestamp;
use crate::sys::clock;

/// Those of one destination, folded together, on the page of all destinations.
pub(super) fn parked(one: &shapes::Destination, some: &[shapes::DeadLetter], role: Role, now: Timestamp) -> Markup {
    html! {
        details open[one.trouble.is_some()] {
            summary { (counted(one.dead_letters, "parked message")) }
            (table(&one.name, some, role, now))
            @if one.dead_letters > some.len() as u64 {
                p { a href={ "/destinations/" (one.name) "/parked" } { "All that are parked" } }
            }
            @if role >= Role::Operator { (all_of(one)) }
        }
    }
}

fn all_of(one: &shapes::Destination) -> Markup {
    html! {
        div.row {
            form method="post" action={ "/destinations/" (one.name) "/retry" } { button.button.little { "Try all again" } }
            form method="post" action={ "/destinations/" (one.name) "/drop" } { button.button.little { "Drop all" } }
        }
    }
}

fn table(name: &str, some: &[shapes::DeadLetter], role: Role, now: Timestamp) -> Markup {
    let steers = role >= Role::Operator;
    html! {
        table.rows role="table" {
            caption.hide { "Parked messages" }
            thead role="rowgroup" { tr role="row" {
                (column("Finding"))
                (column("What it refused"))
                (number_column("Tried"))
                (number_column("Since"))
                @if steers { (actions_column()) }
            } }
            tbody role="rowgroup" {
                @for letter in some {
                    tr role="row" {
                        th role="rowheader" scope="row" {
                            @match &letter.title {
                                Some(title) => { a href={ "/findings/" (letter.finding) } { (title) } }
                                None => { span.soft { "A finding that is not held any more" } }
                            }
                            span.under { (letter.finding) @if let Some(key) = &letter.key { " · " span.mono { (key) } } }
                        }
                        td.full role="cell" { (sentence(&letter.why))
                            @if let Some(again) = &letter.again_at { span.under { "It is tried again by itself " (when_told(Some(again), now)) "." } }
                        }
                        td.num.soft role="cell" data-l="Tried" { (counted(u64::from(letter.attempts), "time")) }
                        td.num.soft role="cell" data-l="Since" { (when_told(Some(&letter.since), now)) }
                        @if steers { td.act role="cell" { (deeds(name, letter)) } }
                    }
                }
            }
        }
    }
}

fn deeds(name: &str, letter: &shapes::DeadLetter) -> Markup {
    html! {
        div.row {
            @for (deed, title) in [("retry", "Try again"), ("drop", "Drop")] {
                form method="post" action={ "/destinations/" (name) "/parked/" (letter.finding) "/" (deed) } {
                    button.button.plain.little aria-label={ (title) " " (letter.finding) } { (title) }
                }
            }
        }
    }
}

/// `GET /destinations/{name}/parked`: all of them, some at a time.
pub(in crate::admin::page) async fn list(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    name: Path<String>,
    wanted: Query<dead_letters::Wanted>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let one = destinations::show(State(Arc::clone(&admin)), Path(name.0.clone())).await?.0;
    let list = dead_letters::list(state, name, wanted).await?.0;
    let main = html! {
        div.head {
            div {
                nav aria-label="You are here" { ol.row.small.soft.crumbs {
                    li { a href="/destinations" { "Destinations" } } li { a href={ "/destinations#d-" (one.name) } { (one.name) } }
                } }
                h1 { "Parked messages of " (one.name) }
                p.sub { "What the platform refuses one by one. Everything else is passed on; a message that was dropped is told again when its finding changes." }
            }
            @if caller.role() >= Role::Operator && !list.dead_letters.is_empty() { (all_of(&one)) }
        }
        @if list.dead_letters.is_empty() { section.empty { h2 { "Nothing is parked" } } }
        @else { (table(&one.name, &list.dead_letters, caller.role(), clock::now())) }
        @if let Some(next) = &list.next {
            nav.pager aria-label="Pages" { span {} a.button.little href={ "/destinations/" (one.name) "/parked?after=" (next) } rel="next" { "Next" } }
        }
    };
    let title = format!("Parked messages of {}", one.name);
    Ok(Frame::of(&admin, &title, Here::Destinations, &caller).page(&main))
}

fn back(name: &str) -> Response {
    Redirect::to(&format!("/destinations#d-{name}")).into_response()
}

/// `POST /destinations/{name}/retry`: all of them.
pub(in crate::admin::page) async fn retry_all(
    state: State<Arc<Admin>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let Json(_) = dead_letters::replay_all(state, Path(name.clone())).await?;
    Ok(back(&name))
}

/// `POST /destinations/{name}/drop`: all of them.
pub(in crate::admin::page) async fn drop_all(
    state: State<Arc<Admin>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let Json(_) = dead_letters::drop_all(state, Path(name.clone())).await?;
    Ok(back(&name))
}

/// `POST /destinations/{name}/parked/{finding}/retry`.
pub(in crate::admin::page) async fn retry(
    state: State<Arc<Admin>>,
    Path((name, finding)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let Json(_) = dead_letters::replay(state, Path((name.clone(), finding))).await?;
    Ok(back(&name))
}

/// `POST /destinations/{name}/parked/{finding}/drop`.
pub(in crate::admin::page) async fn drop(
    state: State<Arc<Admin>>,
    Path((name, finding)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let Json(_) = dead_letters::drop(state, Path((name.clone(), finding))).await?;
    Ok(back(&name))
}
