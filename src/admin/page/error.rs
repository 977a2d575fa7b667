//! What went wrong, as a page: the API's problem documents in the page's own dress, and the way to sign in.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http_body_util::BodyExt;
use maud::html;
use percent_encoding::utf8_percent_encode;

use super::frame::{Frame, Here, entry};
use super::strictly;
use crate::admin::answers::no_such_address;
use crate::admin::{Admin, shapes};
use crate::domain::access::Caller;
use crate::domain::message::QUERY;

/// Turns a problem document into a page; whoever is not let in is led to the sign-in page, and back from there.
pub(super) async fn dress(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().cloned();
    let wanted = request.uri().path_and_query().map_or("/", |wanted| wanted.as_str()).to_owned();
    let is_get = *request.method() == Method::GET;
    let response = next.run(request).await;
    let is_problem =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
    if !is_problem {
        return response;
    }
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED {
        let next = if is_get { format!("?next={}", utf8_percent_encode(&wanted, QUERY)) } else { String::new() };
        return Redirect::to(&format!("/sign-in{next}")).into_response();
    }
    let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let problem: Option<shapes::Problem> = serde_json::from_slice(&body).ok();
    let (detail, remedy) = match &problem {
        Some(problem) => (problem.detail.as_str(), problem.remedy.as_deref()),
        None => ("this box could not answer", None),
    };
    dressed(&admin, caller.as_ref(), status, detail, remedy)
}

/// What is answered where there is nothing: a page for a browser, a problem document for a program.
pub(in crate::admin) async fn nowhere(State(admin): State<Arc<Admin>>, request: Request) -> Response {
    let wants_page = request.headers().get(header::ACCEPT).and_then(|kinds| kinds.to_str().ok());
    if request.uri().path().starts_with("/api/") || !wants_page.is_some_and(|kinds| kinds.contains("text/html")) {
        return no_such_address().await.into_response();
    }
    let caller = request.extensions().get::<Caller>();
    let (detail, remedy) = ("There is no such page.", "See whether the address is typed as it was told.");
    strictly(dressed(&admin, caller, StatusCode::NOT_FOUND, detail, Some(remedy)))
}

fn dressed(admin: &Admin, caller: Option<&Caller>, status: StatusCode, detail: &str, remedy: Option<&str>) -> Response {
    let inside = html! {
        div.notice.boxed.bad role="alert" {
            span.is.bad { span.hide { "Error" } }
            div { p { strong { (detail) } } @if let Some(remedy) = remedy { p { (remedy) } } }
        }
        p { a href="/" { "To the overview" } }
    };
    let title = status.canonical_reason().unwrap_or("Error");
    let page = match caller {
        Some(caller) => Frame::of(admin, title, Here::Elsewhere, caller).page(&html! { h1 { (title) } (inside) }),
        None => entry(title, &inside),
    };
    (status, page).into_response()
}
