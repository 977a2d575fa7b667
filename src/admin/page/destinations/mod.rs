//! Where findings are passed on to, the failing ones first.

pub(super) mod form;
mod kinds;
pub(super) mod letters;
pub(super) mod mapping;
pub(super) mod steer;

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use self::kinds::Kind;
use super::fields::{Line, Sheet, Typed, lines, sentence, status_again};
use super::frame::{Frame, Here};
use super::words::{counted, number, when_told};
use crate::admin::destinations::dead_letters;
use crate::admin::{Admin, Problem, destinations, shapes};
use crate::domain::access::{Caller, Role};
use crate::domain::time::Timestamp;
use crate::sys::clock;

/// What is to be said of one destination on the page of all: what it answered, or what was wrong with its new secret.
#[derive(Default)]
pub(super) struct Said {
    name: String,
    lines: Vec<shapes::CheckLine>,
    problem: Option<Problem>,
    saved: bool,
}

impl Said {
    /// What it said when it was changed.
    pub(super) fn of(check: shapes::DestinationCheck) -> Self {
        Self { name: check.destination.name, lines: check.lines, problem: None, saved: true }
    }
}

/// `GET /destinations`.
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    list_with(&admin, &caller, Said::default()).await
}

pub(super) async fn list_with(admin: &Arc<Admin>, caller: &Caller, said: Said) -> Result<Response, Problem> {
    let mut all = destinations::list(State(Arc::clone(admin))).await?.0.destinations;
    all.sort_by_key(|one| (one.trouble.is_none(), one.dead_letters == 0));
    let mut shown = Vec::with_capacity(all.len());
    for one in all {
        let parked = match one.dead_letters {
            0 => Vec::new(),
            _ => dead_letters::some(admin, &one.name, PARKED_SHOWN).await?.dead_letters,
        };
        shown.push((one, parked));
    }
    let (now, role) = (clock::now(), caller.role());
    let main = html! {
        div.head {
            div {
                h1 { "Destinations" }
                p.sub { "Platforms that follow the change log, each at its own pace. One that is down catches up by itself when it returns." }
                @if role < Role::Operator { p.sub { "You may look; an operator can change this." } }
            }
            @if role == Role::Admin && !shown.is_empty() {
                div.row { a.button.first href="/destinations/add" { "Add a destination" } }
            }
        }
        @if shown.is_empty() { (nothing(role)) }
        @for (one, parked) in &shown { (section(one, parked, role, now, Some(&said).filter(|said| said.name == one.name))) }
    };
    let page = Frame::of(admin, "Destinations", Here::Destinations, caller).at("/destinations").page(&main);
    let status = said.problem.as_ref().map_or(StatusCode::OK, status_again);
    Ok((status, page).into_response())
}

/// Dead letters that stand on the page of all destinations.
const PARKED_SHOWN: usize = 10;

fn nothing(role: Role) -> Markup {
    html! {
        section.empty {
            h2 { "Nothing is passed on yet" }
            p.soft { "DefectDojo, Conviso Platform, GitHub code scanning, SARIF files, NATS and signed events can be told what changes here." }
            @if role == Role::Admin { a.button.first href="/destinations/add" { "Add a destination" } }
        }
    }
}

fn section(
    one: &shapes::Destination,
    parked: &[shapes::DeadLetter],
    role: Role,
    now: Timestamp,
    said: Option<&Said>,
) -> Markup {
    let heading = format!("d-{}", one.name);
    html! {
        section.item aria-labelledby=(heading) {
            div.ends {
                div {
                    h2 id=(heading) { (one.name) " " span.soft { (platform(&one.kind)) } }
                    p.soft.mono { (one.url) }
                }
                (actions(one, role))
            }
            @if let Some(said) = said { (answered(one, said)) }
            @if let Some(trouble) = &one.trouble { (notice(one, trouble, role, now, said)) }
            (standing(one, now))
            @if one.dead_letters > 0 { (letters::parked(one, parked, role, now)) }
            @if role >= Role::Operator { (steer::dialog(one)) }
        }
    }
}

fn actions(one: &shapes::Destination, role: Role) -> Markup {
    let at = |deed: &str| format!("/destinations/{}/{deed}", one.name);
    html! {
        div.row {
            @if role >= Role::Operator {
                (button(&at("check"), "Check connection"))
                @if role == Role::Admin {
                    @if one.state == "paused" || one.state == "gone" { (button(&at("resume"), "Resume")) }
                    @else { (button(&at("pause"), "Pause")) }
                }
                a.button.little href=(at("replay")) data-dialog={ "replay-" (one.name) } { "Send again …" }
            }
            a.button.little href=(at("preview")) { "Preview" }
            @if has_statuses(&one.kind) { a.button.little href=(at("mapping")) { "Statuses" } }
            @if role == Role::Admin { a.button.little href=(at("edit")) { "Change" } }
        }
    }
}

fn button(address: &str, title: &str) -> Markup {
    html! { form method="post" action=(address) { button.button.little { (title) } } }
}

fn answered(one: &shapes::Destination, said: &Said) -> Markup {
    html! {
        @if said.problem.is_none() {
            div.notice.boxed role="status" {
                span.is.ok { span.hide { "Done" } }
                div.stack {
                    p { strong {
                        @if said.saved { (one.name) " is changed" } @else { (platform(&one.kind)) " answers" }
                    } }
                    @if !said.lines.is_empty() { (lines(&said.lines)) }
                }
            }
        } @else if let Some(problem) = said.problem.as_ref().filter(|_| one.trouble.is_none()) {
            div.notice.boxed.bad role="alert" {
                span.is.bad { span.hide { "Error" } }
                div.stack { p { strong { (sentence(problem.detail())) } } @if let Some(hint) = problem.hint() { p { (sentence(hint)) } } }
            }
        }
    }
}

/// What is the matter, with the field that mends it.
fn notice(one: &shapes::Destination, trouble: &str, role: Role, now: Timestamp, said: Option<&Said>) -> Markup {
    let kind = Kind::of(&one.kind);
    let secret = kind.and_then(|kind| kind.secret).filter(|_| one.state == "refused" && is_about_secret(one));
    html! {
        div.notice.boxed.bad {
            span.is.bad { span.hide { "Error" } }
            div.stack {
                div {
                    p { strong { (sentence(trouble)) } }
                    p {
                        "Since " (when_told(one.trouble_since.as_deref(), now)) ". "
                        @if let Some(remedy) = &one.remedy { (sentence(remedy)) " " }
                        @match one.lag {
                            Some(lag) if lag > 0 => { (counted(lag, "change")) @if lag == 1 { " waits" } @else { " wait" } "; none is lost." }
                            _ => { "Nothing is lost." }
                        }
                    }
                }
                @if let Some((label, _)) = secret.filter(|_| role == Role::Admin) { (new_secret(one, label, said)) }
            }
        }
    }
}

/// Whether a new token or key is what helps.
fn is_about_secret(one: &shapes::Destination) -> bool {
    let texts = [one.trouble.as_deref(), one.remedy.as_deref()];
    texts.into_iter().flatten().any(|text| ["token", " key", "secret"].iter().any(|word| text.contains(word)))
}

fn new_secret(one: &shapes::Destination, label: &str, said: Option<&Said>) -> Markup {
    // Several of them may stand on one page.
    let (id, typed) = (format!("secret-{}", one.name), Typed::default());
    let problem = said.and_then(|said| said.problem.clone()).map(|problem| problem.at(&*id));
    let sheet = Sheet { typed: &typed, problem: problem.as_ref() };
    let label = format!("New {}", super::words::uncapital(label));
    html! {
        form.row method="post" action={ "/destinations/" (one.name) "/secret" } {
            (sheet.secret(Line { name: &id, label: &label, required: true, ..Line::default() }))
            button.button.first { "Save and check" }
        }
    }
}

fn standing(one: &shapes::Destination, now: Timestamp) -> Markup {
    html! {
        dl.pairs id={ "s-" (one.name) } data-live {
            div { dt { "State" } dd { (state(one)) } }
            div { dt { "Waiting" } dd {
                @match one.lag {
                    Some(0) => { "none" }
                    Some(lag) => { (counted(lag, "change")) }
                    None => { span.is.busy { "all that is open" } }
                }
            } }
            div { dt { "Parked" } dd { @if one.dead_letters == 0 { "none" } @else { (counted(one.dead_letters, "message")) } } }
            div { dt { "Told so far" } dd { (number(one.told)) } }
            div { dt { "Last success" } dd { (when_told(one.told_at.as_deref(), now)) } }
            div { dt { "Decisions" } dd { (decisions(one.triage)) } }
            @if one.filter != shapes::DestinationFilter::default() { div { dt { "Filter" } dd { (narrowed(&one.filter)) } } }
        }
    }
}

fn decisions(triage: shapes::Triage) -> &'static str {
    match (triage.to_sonar, triage.from_sonar) {
        (true, true) => "both ways",
        (true, false) => "told to Sonar",
        (false, true) => "told from Sonar",
        (false, false) => "not passed on",
    }
}

/// What a filter lets through, in a few words.
fn narrowed(filter: &shapes::DestinationFilter) -> String {
    let lists =
        [&filter.sites, &filter.organizations, &filter.projects, &filter.branches, &filter.severities, &filter.kinds];
    let mut parts: Vec<String> = lists.iter().filter(|list| !list.is_empty()).map(|list| list.join(", ")).collect();
    if filter.pull_requests {
        parts.push("pull requests too".to_owned());
    }
    parts.join("; ")
}

pub(super) fn platform(kind: &str) -> &str {
    Kind::of(kind).map_or(kind, |kind| kind.name)
}

/// Whether a platform has statuses that ours are mapped to.
fn has_statuses(kind: &str) -> bool {
    Kind::of(kind).is_some_and(|kind| kind.to_sonar)
}

fn state(one: &shapes::Destination) -> Markup {
    let (tone, word) = match one.state.as_str() {
        "up_to_date" => ("ok", "In step"),
        "behind" => ("busy", "Catching up"),
        "seeding" => ("busy", "Being told what is open"),
        "retrying" => ("warn", "Does not answer; tried again by itself"),
        "refused" => ("bad", "Needs a person"),
        "gone" => ("bad", "Wants nothing any more"),
        "paused" => ("pause", "Paused"),
        other => ("none", other),
    };
    html! { span.{ "is " (tone) } { (word) } }
}
