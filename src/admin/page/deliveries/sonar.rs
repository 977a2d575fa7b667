//! What Sonar's own log says of its calls to this box. It is not kept here: Sonar is asked when the page is opened.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::response::Response;
use maud::{Markup, html};

use super::super::fields::sentence;
use super::super::frame::{Frame, Here};
use super::super::marks::{column, number_column};
use super::super::words::{counted, encoded, number, when_told};
use crate::admin::answers::Query;
use crate::admin::{Admin, Problem, deliveries, shapes, sources};
use crate::domain::access::Caller;
use crate::domain::time::Timestamp;
use crate::sys::clock;

fn head(crumb: &Markup, title: &str, inside: &Markup) -> Markup {
    html! {
        div.head { div {
            nav aria-label="You are here" { ol.row.small.soft.crumbs { li { a href="/deliveries" { "Deliveries" } } (crumb) } }
            h1 { (title) }
            p.sub { (inside) }
        } }
    }
}

/// `GET /deliveries/sonar`: the organizations that can be asked about.
pub(in crate::admin::page) async fn list(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let known = sources::list(state.clone()).await?.0.sources;
    let mut list = sources::organizations(state, Query(sources::OfSource::default())).await?.0.organizations;
    // Of what other sites' boxes read, Sonar calls them.
    list.retain(|one| known.iter().all(|source| source.name != one.source || source.site.is_none()));
    let main = html! {
        (head(&html! {}, "What Sonar's own log says", &html! {
            "Sonar notes each webhook call that it makes. Calls that never arrived are taken in from there by themselves, where the token may see it."
        }))
        @if list.is_empty() {
            section.empty { h2 { "No organization is known yet" } p.soft { "Connect a source first." } }
        } @else {
            ul.stack {
                @for one in &list {
                    @let name = format!("{}/{}", one.source, one.key);
                    li { a href={ "/deliveries/sonar/" (encoded(&name)) } { (one.name) } " " span.soft { (name) } }
                }
            }
        }
    };
    Ok(Frame::of(&admin, "What Sonar's own log says", Here::Deliveries, &caller).page(&main))
}

/// `GET /deliveries/sonar/{organization}`: asks Sonar.
pub(in crate::admin::page) async fn show(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    organization: Path<String>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let asked = deliveries::calls::show(state, organization).await?.0;
    let now = clock::now();
    let name = format!("{}/{}", asked.source, asked.organization);
    let title = format!("Sonar's log of {name}");
    let main = html! {
        (head(
            &html! { li { a href="/deliveries/sonar" { "Sonar's own log" } } },
            &title,
            &html! { "Sonar was asked " (when_told(Some(&asked.asked_at), now)) ". Opening this page asks it again." },
        ))
        @if let Some(problem) = &asked.problem {
            div.notice.boxed {
                span.is.warn { span.hide { "Warning" } }
                div {
                    p { strong { (sentence(problem)) } }
                    @if let Some(remedy) = &asked.remedy { p { (sentence(remedy)) } }
                }
            }
        } @else if asked.webhooks.is_empty() {
            section.empty {
                h2 { "No webhook in Sonar calls this box" }
                p.soft { "Its token may see the webhooks of " (name) ", and none of them has an address of this box." }
            }
        }
        @for webhook in &asked.webhooks { (log(webhook, now)) }
    };
    // Each time it is made, Sonar is asked.
    Ok(Frame { still: true, ..Frame::of(&admin, &title, Here::Deliveries, &caller) }.page(&main))
}

fn log(webhook: &shapes::SonarWebhook, now: Timestamp) -> Markup {
    let missed = webhook.calls.iter().filter(|call| !call.success).count() as u64;
    html! {
        section {
            div.ends {
                h2 { @match &webhook.project { Some(project) => { "The webhook of " (project) } None => { "The webhook of the organization" } } }
                span.soft {
                    "The newest " (number(webhook.calls.len() as u64)) " of " (counted(webhook.total, "call"))
                    @if missed > 0 { ", " (number(missed)) " of them without success" }
                }
            }
            table.rows role="table" {
                caption.hide { "Calls, newest first" }
                thead role="rowgroup" { tr role="row" {
                    (column("Sonar's task"))
                    (column("What Sonar saw"))
                    (column("Here"))
                    (number_column("Made"))
                } }
                tbody role="rowgroup" {
                    @for call in &webhook.calls { tr role="row" {
                        th role="rowheader" scope="row" { span.mono { (call.task_id.as_deref().unwrap_or("none: a change of an issue")) } }
                        td role="cell" { (saw(call)) }
                        td role="cell" { (here(call)) }
                        td.num.soft role="cell" { (when_told(Some(&call.at), now)) }
                    } }
                }
            }
        }
    }
}

fn saw(call: &shapes::SonarCall) -> Markup {
    html! {
        @match (call.success, call.status) {
            (true, Some(status)) => { span.is.ok { "Answered (HTTP " (status) ")" } }
            (true, None) => { span.is.ok { "Answered" } }
            (false, Some(status)) => { span.is.bad { "Refused (HTTP " (status) ")" } }
            (false, None) => { span.is.bad { "No answer" } }
        }
    }
}

fn here(call: &shapes::SonarCall) -> Markup {
    html! {
        @match &call.delivery {
            Some(id) if call.healed => { span.is.warn { span { "Never arrived; taken in as " a href={ "/deliveries/" (id) } { (id) } } } }
            Some(id) => { span.is.ok { a href={ "/deliveries/" (id) } { (id) } } }
            None if call.task_id.is_none() => { span.is.none { "cannot be told" } }
            None => { span.is.warn { "Not here" } }
        }
    }
}
