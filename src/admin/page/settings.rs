//! Settings, and what this box is.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::Path;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use maud::{Markup, html};

use super::frame::{Frame, Here, wrong};
use super::words::{capital, number, when_told};
use crate::admin::answers::Sent;
use crate::admin::{Admin, Problem, settings, shapes, status};
use crate::domain::access::{Caller, Role};
use crate::sys::clock;

/// `GET /settings`.
pub(super) async fn show(state: State<Arc<Admin>>, Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    page(&state, &caller, &BTreeMap::new(), None).await
}

async fn page(
    admin: &Arc<Admin>,
    caller: &Caller,
    typed: &BTreeMap<String, String>,
    problem: Option<(&str, &str)>,
) -> Result<Response, Problem> {
    let list = settings::list(State(Arc::clone(admin))).await?.0.settings;
    let sets_up = caller.role() == Role::Admin;
    let fields = html! { @for one in &list { (field(one, typed.get(&one.key), problem, sets_up)) } };
    let main = html! {
        div.head { div { h1 { "Settings" } @if !sets_up { p.sub { "You may look; an admin can change this." } } } }
        @if sets_up {
            form.stack.loose method="post" action="/settings" {
                (fields)
                div { button.button.first { "Save settings" } }
            }
        } @else {
            div.stack.loose { (fields) }
        }
    };
    Ok(Frame::of(admin, "Settings", Here::Settings, caller).page(&main))
}

fn field(one: &shapes::Setting, typed: Option<&String>, problem: Option<(&str, &str)>, sets_up: bool) -> Markup {
    let problem = problem.filter(|(key, _)| *key == one.key).map(|(_, text)| text);
    let (help, error) = (format!("{}-h", one.key), format!("{}-e", one.key));
    let described = if problem.is_some() { format!("{help} {error}") } else { help.clone() };
    let own = one.value.as_ref().filter(|value| Some(*value) != one.default.as_ref());
    html! {
        div.field {
            @if sets_up {
                label for=(one.key) { (one.key) }
                input.in id=(one.key) name=(one.key) value=[typed.or(own)] placeholder=[one.default.as_deref()]
                    aria-describedby=(described) aria-invalid=[problem.map(|_| "true")];
            } @else {
                p.label { (one.key) }
                p { (one.value.as_deref().unwrap_or("not set")) }
            }
            p.help id=(help) {
                (capital(&one.help)) "."
                @if let Some(default) = &one.default { " Without a value: " (default) "." }
            }
            (wrong(&error, problem))
        }
    }
}

/// `POST /settings`: sets what differs. What was typed stays in the form where something is wrong.
pub(super) async fn save(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Form(typed): Form<BTreeMap<String, String>>,
) -> Result<Response, Problem> {
    let list = settings::list(State(Arc::clone(&admin))).await?.0.settings;
    for one in &list {
        let Some(value) = typed.get(&one.key).map(|value| value.trim()) else { continue };
        let own = one.value.as_deref().filter(|value| Some(*value) != one.default.as_deref()).unwrap_or_default();
        if value == own {
            continue;
        }
        let new = shapes::NewValue { value: Some(value.to_owned()).filter(|value| !value.is_empty()) };
        match settings::set(State(Arc::clone(&admin)), Path(one.key.clone()), Sent(new)).await {
            Ok(Json(_)) => {}
            Err(problem) if problem.status() == StatusCode::BAD_REQUEST => {
                let page = page(&admin, &caller, &typed, Some((&one.key, problem.detail()))).await?;
                return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
            }
            Err(problem) => return Err(problem),
        }
    }
    Ok(Redirect::to("/settings").into_response())
}

/// `GET /about`.
pub(super) async fn about(state: State<Arc<Admin>>, Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let shown = status::show(state).await?.0;
    let bytes = std::fs::metadata(admin.store.folder().join(crate::store::FILE_NAME)).map_or(0, |file| file.len());
    let now = clock::now();
    let main = html! {
        div.head { div { h1 { "About this box" } } }
        dl.facts {
            dt { "Hydrophone" } dd { (shown.version) " " span.soft { (std::env::consts::ARCH) } }
            dt { "Running since" } dd { (when_told(Some(&shown.started_at), now)) }
            dt { "Webhooks at" } dd.mono { (shown.webhook_listener) }
            dt { "This page at" } dd.mono { (shown.page) }
            dt { "State folder" } dd.mono { (shown.state_folder) }
            dt { "Database" } dd { (number(bytes / 1_000_000)) " MB" }
            dt { "API" } dd { a href="/api/v1/openapi.json" { "Its description" } " " span.soft { "OpenAPI 3.1" } }
            dt { "Licence" } dd { "MIT or Apache 2.0" }
        }
    };
    Ok(Frame::of(&admin, "About this box", Here::Elsewhere, &caller).page(&main))
}
