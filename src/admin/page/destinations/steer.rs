//! What is done with one destination: asked, paused, told again, given another secret, removed; and what it would be told.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Form, Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::super::fields::{Line, Sheet, Typed, is_mendable, sentence, status_again};
use super::super::frame::{Frame, Here};
use super::super::words::{capital, counted, number};
use super::{Said, list_with, platform};
use crate::admin::answers::Sent;
use crate::admin::{Admin, Problem, destinations, shapes};
use crate::domain::access::Caller;
use crate::domain::time::Timestamp;

fn back(name: &str) -> Response {
    Redirect::to(&format!("/destinations#d-{name}")).into_response()
}

/// `POST /destinations/{name}/check`.
pub(in crate::admin::page) async fn check(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let said = match destinations::check(State(Arc::clone(&admin)), Path(name.clone())).await {
        Ok(Json(check)) => Said { saved: false, ..Said::of(check) },
        Err(problem) if is_mendable(&problem) => Said { name, problem: Some(problem), ..Said::default() },
        Err(problem) => return Err(problem),
    };
    list_with(&admin, &caller, said).await
}

/// `POST /destinations/{name}/secret`: a new token or key, which the platform has to accept before the former one goes.
pub(in crate::admin::page) async fn secret(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Form(typed): Form<Typed>,
) -> Result<Response, Problem> {
    let given = typed.given(&format!("secret-{name}"));
    let done = match given {
        None => Err(Problem::bad("nothing was entered")),
        Some(secret) => {
            let secret = Some(secret.into());
            let edit = shapes::DestinationEdit { secret, check: true, ..shapes::DestinationEdit::default() };
            let (of, asking) = (name.clone(), caller.clone());
            admin.run(move |admin| destinations::edit::edited(admin, &asking, &of, edit)).await
        }
    };
    let said = match done {
        Ok(check) => Said::of(check),
        Err(problem) if is_mendable(&problem) => Said { name, problem: Some(problem), ..Said::default() },
        Err(problem) => return Err(problem),
    };
    list_with(&admin, &caller, said).await
}

/// `POST /destinations/{name}/resume`.
pub(in crate::admin::page) async fn resume(
    state: State<Arc<Admin>>,
    caller: Extension<Caller>,
    name: Path<String>,
) -> Result<Response, Problem> {
    paused(state, caller, name, false).await
}

/// `POST /destinations/{name}/pause`.
pub(in crate::admin::page) async fn pause(
    state: State<Arc<Admin>>,
    caller: Extension<Caller>,
    name: Path<String>,
) -> Result<Response, Problem> {
    paused(state, caller, name, true).await
}

async fn paused(
    state: State<Arc<Admin>>,
    caller: Extension<Caller>,
    Path(name): Path<String>,
    paused: bool,
) -> Result<Response, Problem> {
    let edit = shapes::DestinationEdit { paused: Some(paused), ..shapes::DestinationEdit::default() };
    let Json(_) = destinations::edit::edit(state, caller, Path(name.clone()), Sent(edit)).await?;
    Ok(back(&name))
}

/// The dialog that asks from where a destination is told again.
pub(super) fn dialog(one: &shapes::Destination) -> Markup {
    let (id, heading) = (format!("replay-{}", one.name), format!("replay-{}-h", one.name));
    let sheet = Sheet { typed: &Typed::default(), problem: None };
    html! {
        dialog id=(id) aria-labelledby=(heading) { (again(one, sheet, &heading, true)) }
    }
}

fn again(one: &shapes::Destination, sheet: Sheet<'_>, heading: &str, in_dialog: bool) -> Markup {
    let since = format!("since-{}", one.name);
    let from = match sheet.typed.text("from") {
        "" if one.dead_letters > 0 => "parked",
        "" => "all",
        from => from,
    };
    let pick = |word: &str, shown: &str| {
        html! { label.choice { input type="radio" name="from" value=(word) checked[word == from]; " " span { (shown) } } }
    };
    html! {
        form.stack method="post" action={ "/destinations/" (one.name) "/replay" } {
            h2 id=(heading) { "Send again to " (one.name) }
            p.soft { (platform(&one.kind)) " gets the same messages with the same keys, so nothing appears twice. What people decided there stays as it is." }
            fieldset.field {
                legend { "From where" }
                @if one.dead_letters > 0 { (pick("parked", &format!("What is parked: {}", counted(one.dead_letters, "message")))) }
                (pick("since", "Everything since a day"))
                (pick("all", "The whole inventory"))
            }
            (sheet.line(Line { name: &since, label: "The day", help: "In UTC; only where everything since a day is chosen.", example: "2026-11-19", required: false }))
            div.row {
                @if in_dialog { button.button formmethod="dialog" formnovalidate { "Cancel" } }
                @else { a.button href={ "/destinations#d-" (one.name) } { "Cancel" } }
                button.button.first { "Send again" }
            }
        }
    }
}

/// `GET /destinations/{name}/replay`: the same as the dialog, as a page.
pub(in crate::admin::page) async fn ask_again(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    name: Path<String>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let one = destinations::show(state, name).await?.0;
    Ok(again_page(&admin, &caller, &one, Sheet { typed: &Typed::default(), problem: None }))
}

fn again_page(admin: &Admin, caller: &Caller, one: &shapes::Destination, sheet: Sheet<'_>) -> Response {
    let main = html! { h1.hide { "Send again" } div.narrow { (again(one, sheet, "replay-h", false)) } };
    Frame::of(admin, "Send again", Here::Destinations, caller).page(&main)
}

/// `POST /destinations/{name}/replay`.
pub(in crate::admin::page) async fn replay(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Form(typed): Form<Typed>,
) -> Result<Response, Problem> {
    let field = format!("since-{name}");
    let (state, of) = (State(Arc::clone(&admin)), Path(name.clone()));
    let done = match typed.text("from") {
        "parked" => destinations::dead_letters::replay_all(state, of).await.map(drop),
        "since" => match since(typed.text(&field)) {
            Ok(since) => {
                let from = shapes::DestinationReplay { since: Some(since), after: None };
                destinations::replay(state, of, Sent(from)).await.map(drop)
            }
            Err(problem) => Err(problem.at(field)),
        },
        "all" | "" => destinations::replay(state, of, Sent(shapes::DestinationReplay::default())).await.map(drop),
        other => Err(Problem::bad(format!("{other:?} is nowhere to begin from"))),
    };
    match done {
        Ok(()) => Ok(back(&name)),
        Err(problem) if is_mendable(&problem) => {
            let one = destinations::show(State(Arc::clone(&admin)), Path(name)).await?.0;
            let page = again_page(&admin, &caller, &one, Sheet { typed: &typed, problem: Some(&problem) });
            Ok((status_again(&problem), page).into_response())
        }
        Err(problem) => Err(problem),
    }
}

/// A day, or a time, as the API wants it.
fn since(text: &str) -> Result<String, Problem> {
    let whole = if text.len() == "2026-11-19".len() { format!("{text}T00:00:00Z") } else { text.to_owned() };
    match Timestamp::parse(&whole) {
        Ok(_) => Ok(whole),
        Err(_) => Err(Problem::bad(format!("{text:?} is no day; one looks like 2026-11-19"))),
    }
}

/// `GET /destinations/{name}/remove`: asks whether it is to be.
pub(in crate::admin::page) async fn ask_remove(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    name: Path<String>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let one = destinations::show(state, name).await?.0;
    let main = html! {
        form.stack.narrow method="post" action={ "/destinations/" (one.name) "/remove" } {
            h1 { "Remove " (one.name) "?" }
            p { (platform(&one.kind)) " keeps what it was told: nothing is closed or deleted there, and nothing changes there from then on." }
            p.soft {
                "This box forgets the destination with its key, its filter and its statuses"
                @if let Some(lag) = one.lag.filter(|lag| *lag > 0) { ", and does not tell the " (counted(lag, "change")) " that " @if lag == 1 { "waits" } @else { "wait" } }
                ". Added anew, "
                @if matches!(one.kind.as_str(), "events" | "nats") { "it is told everything that is open once more." } @else { "it finds again what it was told." }
            }
            div.row {
                a.button href={ "/destinations#d-" (one.name) } { "Cancel" }
                button.button.danger { "Remove " (one.name) }
            }
        }
    };
    let title = format!("Remove {}", one.name);
    Ok(Frame::of(&admin, &title, Here::Destinations, &caller).page(&main))
}

/// `POST /destinations/{name}/remove`.
pub(in crate::admin::page) async fn remove(state: State<Arc<Admin>>, name: Path<String>) -> Result<Response, Problem> {
    destinations::remove(state, name).await?;
    Ok(Redirect::to("/destinations").into_response())
}

/// `GET /destinations/{name}/preview`.
pub(in crate::admin::page) async fn preview(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    name: Path<String>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let one = destinations::show(State(Arc::clone(&admin)), Path(name.0.clone())).await?.0;
    let preview = destinations::preview_of(state, name).await?.0;
    let main = html! {
        div.head {
            div {
                nav aria-label="You are here" { ol.row.small.soft.crumbs {
                    li { a href="/destinations" { "Destinations" } } li { a href={ "/destinations#d-" (one.name) } { (one.name) } }
                } }
                h1 { "What " (one.name) " would be told" }
                p.sub { "If it were told everything now. Looking tells it nothing." }
            }
        }
        dl.figures {
            div { dt { "Created" } dd { (number(preview.create)) } }
            div { dt { "Changed" } dd { (number(preview.update)) } }
            div { dt { "Closed" } dd { (number(preview.close)) } }
            div { dt { "Reopened" } dd { (number(preview.reopen)) } }
            div { dt { "There as here" } dd { (number(preview.same)) } }
        }
        section.stack {
            h2 { "From what Sonar counts to what it is told" }
            dl.facts {
                dt { "In Sonar" } dd {
                    @match preview.sonar_total {
                        Some(total) => { (counted(total, "open finding")) }
                        None => { span.is.none { "not known: a branch was never read completely" } }
                    }
                }
                dt { "Held here" } dd { (counted(preview.open, "open finding")) }
                @for (why, count) in &preview.left_out {
                    dt { "Left out" } dd { (counted(*count, "finding")) " " (why) }
                }
            }
            @if preview.left_out.is_empty() { p.soft { (sentence(&capital("nothing is left out"))) } }
        }
    };
    let title = format!("What {} would be told", one.name);
    Ok(Frame::of(&admin, &title, Here::Destinations, &caller).page(&main))
}
