//! The doctor's look at everything that has to work, for whoever has no shell on the box.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Response;
use maud::{Markup, html};

use super::frame::{Frame, Here};
use super::marks::column;
use super::words::{capital, counted};
use crate::admin::answers::Sent;
use crate::admin::{Admin, Problem, doctor, shapes};
use crate::domain::access::{Caller, Role};

/// `GET /doctor`.
pub(super) async fn show(State(admin): State<Arc<Admin>>, Extension(caller): Extension<Caller>) -> Response {
    page(&admin, &caller, None)
}

/// `POST /doctor`.
pub(super) async fn look(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let found = doctor::look(State(Arc::clone(&admin)), Sent(shapes::NewDiagnosis::default())).await?.0;
    Ok(page(&admin, &caller, Some(&found)))
}

fn page(admin: &Arc<Admin>, caller: &Caller, found: Option<&shapes::Diagnosis>) -> Response {
    let main = html! {
        div.head { div {
            h1 { "Doctor" }
            p.sub { "Looks at everything that has to work: clock, certificates, tokens, webhooks, disk, destinations. It changes nothing, but its own test calls stand in the log of webhook calls. It takes 20 seconds at most." }
        } }
        @if caller.role() >= Role::Operator {
            form method="post" action="/doctor" {
                button.button.first { @if found.is_some() { "Look again" } @else { "Look" } }
            }
        }
        @if let Some(found) = found { (table(found)) }
    };
    Frame::of(admin, "Doctor", Here::Elsewhere, caller).page(&main)
}

fn table(found: &shapes::Diagnosis) -> Markup {
    let count = |verdict: &str| found.lines.iter().filter(|line| line.verdict == verdict).count() as u64;
    html! {
        p role="status" { (counted(count("fault"), "fault")) ", " (counted(count("warning"), "warning")) ", "
            (count("unknown")) " not judged, " (count("ok")) " well." }
        table.rows role="table" {
            caption.hide { "What was found" }
            thead role="rowgroup" { tr role="row" { (column("Check")) (column("Of")) (column("Found")) } }
            tbody role="rowgroup" { @for line in &found.lines {
                @let (tone, word) = match line.verdict.as_str() {
                    "ok" => ("ok", "Well"),
                    "warning" => ("warn", "Warning"),
                    "fault" => ("bad", "Fault"),
                    _ => ("none", "Not judged"),
                };
                tr role="row" {
                    th role="rowheader" scope="row" { span.{ "is " (tone) } { span.hide { (word) ": " } (capital(&line.check)) } }
                    td role="cell" { (line.subject.as_deref().unwrap_or("this box")) }
                    td.full role="cell" { (capital(&line.text))
                        @if let Some(remedy) = &line.remedy { span.under { (capital(remedy)) } } }
                }
            } }
        }
    }
}
