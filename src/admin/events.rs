//! What happens, as it happens: server-sent events (WHATWG HTML, section 9.2). An event says that there is something new,
//! and little more; what it is, is asked for.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::{Admin, Problem, Shared};
use crate::store::{StoreError, findings};

/// `GET /events`: `changes` when findings changed, with the number of the newest change; `progress` while Sonar is read,
/// with how far that is; a comment each quarter of a minute, so that whoever sits between does not close the connection.
pub(super) async fn show(State(admin): Shared) -> Result<Response, Problem> {
    let (sender, channel) = Channel::<Bytes, std::io::Error>::new(4);
    tokio::spawn(tell(admin, sender));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::new(channel)).into_response())
}

/// What was last told.
#[derive(Default, PartialEq, Eq, Clone, Copy)]
struct Told {
    newest: u64,
    running: u64,
    read: u64,
    expected: u64,
}

async fn tell(admin: Arc<Admin>, mut sender: Sender<Bytes, std::io::Error>) {
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut told, mut quiet) = (None::<Told>, 0);
    while !admin.work.is_stopping() {
        ticks.tick().await;
        // A store that cannot be read now may be readable in a moment.
        let Ok(now) = admin.run(|admin| Ok(look(admin)?)).await else { continue };
        let mut text = String::new();
        let before = told.replace(now);
        if before.is_none_or(|before| before.newest != now.newest) {
            text.push_str(&event("changes", &json!({ "newest": format!("C{}", now.newest) })));
        }
        if before.is_none_or(|before| before != Told { newest: before.newest, ..now }) {
            let progress = json!({ "running": now.running, "read": now.read, "expected": now.expected });
            text.push_str(&event("progress", &progress));
        }
        quiet = if text.is_empty() { quiet + 1 } else { 0 };
        if quiet == QUIET_MAX {
            text.push_str(":\n\n");
            quiet = 0;
        }
        // Whoever listened is gone.
        if !text.is_empty() && sender.send_data(Bytes::from(text)).await.is_err() {
            return;
        }
    }
}

fn event(name: &str, data: &serde_json::Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

fn look(admin: &Admin) -> Result<Told, StoreError> {
    let newest = admin.store.read(findings::last_change)?.0;
    let (running, read, expected) = admin.work.progress.sum();
    Ok(Told { newest, running, read, expected })
}

/// What is new is looked for this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// After so many looks without anything new a comment is sent.
const QUIET_MAX: u32 = 15;
