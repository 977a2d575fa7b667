//! What a page knows when it is made, so that its script can tell what is new.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use crate::admin::Admin;
use crate::domain::access::Caller;

tokio::task_local! {
    static STAMP: u64;
}

/// Notes before a page is made how often something was stored, and has the number of conditions be true on it.
pub(super) async fn note(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    if *request.method() == Method::GET && request.extensions().get::<Caller>().is_some() {
        admin.look_at_needs().await;
    }
    STAMP.scope(admin.store.commits(), next.run(request)).await
}

/// How often something had been stored before the page was made.
pub(super) fn stamp() -> Option<u64> {
    STAMP.try_with(|stamp| *stamp).ok()
}
