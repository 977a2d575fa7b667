//! Which of our states is which status of a platform, both ways.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Form, Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::super::fields::{Line, Sheet, Typed, is_mendable, status_again};
use super::super::frame::{Frame, Here};
use super::super::words::capital;
use super::platform;
use crate::admin::answers::Sent;
use crate::admin::{Admin, Problem, destinations, shapes};
use crate::domain::access::{Caller, Role};

/// `GET /destinations/{name}/mapping`.
pub(in crate::admin::page) async fn show(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    name: Path<String>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let one = destinations::show(State(Arc::clone(&admin)), Path(name.0.clone())).await?.0;
    let mapping = destinations::mapping::show(state, name).await?.0;
    let typed = as_typed(&mapping);
    Ok(page(&admin, &caller, (&one, &mapping), Sheet { typed: &typed, problem: None }))
}

fn as_typed(mapping: &shapes::DestinationMapping) -> Typed {
    let mut typed = Typed::default();
    for one in mapping.outward.iter().filter(|one| one.own) {
        typed.put(format!("outward.{}", one.state), one.word.clone().unwrap_or_default());
    }
    for one in &mapping.inward {
        let chosen = if one.own { one.state.as_deref().unwrap_or(NOTHING) } else { "" };
        typed.put(format!("inward.{}", one.word), chosen);
    }
    typed
}

/// Stands for "it is to mean nothing" where a word of the platform is mapped.
const NOTHING: &str = "nothing";

const STATES: [&str; 6] = ["open", "confirmed", "accepted", "false_positive", "fixed", "removed"];

fn called(state: &str) -> String {
    capital(&state.replace('_', " "))
}

fn page(
    admin: &Admin,
    caller: &Caller,
    (one, mapping): (&shapes::Destination, &shapes::DestinationMapping),
    sheet: Sheet<'_>,
) -> Response {
    let sets_up = caller.role() == Role::Admin;
    let main = html! {
        div.head { div {
            nav aria-label="You are here" { ol.row.small.soft.crumbs {
                li { a href="/destinations" { "Destinations" } } li { a href={ "/destinations#d-" (one.name) } { (one.name) } }
            } }
            h1 { "Statuses of " (one.name) }
            p.sub {
                "What each of our states is called on " (platform(&one.kind)) ", and what its words mean here."
                @if !sets_up { " You may look; an admin can change this." }
            }
        } }
        (sheet.summary("The statuses are not changed yet", "Everything that you chose is kept."))
        @if sets_up { (form(one, mapping, sheet)) } @else { (shown(mapping)) }
    };
    let title = format!("Statuses of {}", one.name);
    Frame::of(admin, &title, Here::Destinations, caller).page(&main)
}

fn form(one: &shapes::Destination, mapping: &shapes::DestinationMapping, sheet: Sheet<'_>) -> Markup {
    html! {
        form.stack.loose method="post" action={ "/destinations/" (one.name) "/mapping" } {
            div.cols {
                fieldset.stack {
                    legend { h2 { "What is told" } }
                    @for row in &mapping.outward {
                        (sheet.line(Line {
                            name: &format!("outward.{}", row.state),
                            label: &called(&row.state),
                            help: "",
                            example: row.word.as_deref().filter(|_| !row.own).unwrap_or("the platform's own word"),
                            required: false,
                        }))
                    }
                }
                @if !mapping.inward.is_empty() { fieldset.stack {
                    legend { h2 { "What is understood" } }
                    @for row in &mapping.inward { (understood(row, sheet)) }
                } }
            }
            p.help { "What is left empty is as the platform has it by itself." }
            div.row { button.button.first { "Save statuses" } a.button href={ "/destinations#d-" (one.name) } { "Cancel" } }
        }
        form method="post" action={ "/destinations/" (one.name) "/mapping" } {
            button.button.little { "Restore the platform's own" }
        }
    }
}

fn understood(row: &shapes::MappedWord, sheet: Sheet<'_>) -> Markup {
    let by_itself = match (&row.state, row.own) {
        (Some(state), false) => format!("As by itself: {}", called(state)),
        _ => "As by itself".to_owned(),
    };
    let states: Vec<(&str, String)> = STATES.iter().map(|state| (*state, called(state))).collect();
    let mut words: Vec<(&str, &str)> = vec![("", &by_itself), (NOTHING, "Nothing")];
    words.extend(states.iter().map(|(state, shown)| (*state, shown.as_str())));
    let name = format!("inward.{}", row.word);
    sheet.choice(Line { name: &name, label: &row.word, ..Line::default() }, &words)
}

fn shown(mapping: &shapes::DestinationMapping) -> Markup {
    html! {
        div.cols {
            section.stack {
                h2 { "What is told" }
                dl.facts { @for row in &mapping.outward {
                    dt { (called(&row.state)) }
                    dd { @match &row.word { Some(word) => { (word) } None => { span.is.none { "nothing" } } } @if row.own { " " span.badge { "chosen" } } }
                } }
            }
            section.stack {
                h2 { "What is understood" }
                dl.facts { @for row in &mapping.inward {
                    dt { (row.word) }
                    dd { @match &row.state { Some(state) => { (called(state)) } None => { span.is.none { "nothing" } } } @if row.own { " " span.badge { "chosen" } } }
                } }
            }
        }
    }
}

/// `POST /destinations/{name}/mapping`: without a field it is the platform's own again.
pub(in crate::admin::page) async fn save(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    name: Path<String>,
    Form(typed): Form<Typed>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let one = destinations::show(State(Arc::clone(&admin)), Path(name.0.clone())).await?.0;
    let mapping = destinations::mapping::show(State(Arc::clone(&admin)), Path(name.0.clone())).await?.0;
    let own = |name: String| typed.given(&name);
    let outward: BTreeMap<String, String> =
        STATES.iter().filter_map(|state| Some(((*state).to_owned(), own(format!("outward.{state}"))?))).collect();
    let inward: BTreeMap<String, Option<String>> = mapping
        .inward
        .iter()
        .filter_map(|row| Some((row.word.clone(), own(format!("inward.{}", row.word))?)))
        .map(|(word, state)| (word, Some(state).filter(|state| state != NOTHING)))
        .collect();
    match destinations::mapping::set(state, name, Sent(shapes::MappingEdit { outward, inward })).await {
        Ok(Json(_)) => Ok(Redirect::to(&format!("/destinations/{}/mapping", one.name)).into_response()),
        Err(problem) if is_mendable(&problem) => {
            let page = page(&admin, &caller, (&one, &mapping), Sheet { typed: &typed, problem: Some(&problem) });
            Ok((status_again(&problem), page).into_response())
        }
        Err(problem) => Err(problem),
    }
}
