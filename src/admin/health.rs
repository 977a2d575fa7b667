//! One word for whoever watches the box: is it alive, does it do its work. Open to everybody, and saying no more.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::Admin;
use crate::store::{StoreError, access};

/// `GET /livez`: the process answers.
pub(super) async fn live() -> &'static str {
    "alive\n"
}

/// `GET /readyz`: the store can be read, with its secrets.
pub(super) async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, &'static str) {
    let is_locked = admin.store.locked().is_some();
    let read =
        admin.run(|admin| Ok(admin.store.read::<_, StoreError>(|view| access::setup_code(view).map(drop))?)).await;
    match read {
        Ok(()) if !is_locked => (StatusCode::OK, "ready\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "unready\n"),
    }
}
