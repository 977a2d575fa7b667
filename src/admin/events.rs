//! What happens, as it happens: server-sent events (WHATWG HTML, section 9.2). An event says that there is something new,
//! and little more; what it is, is asked for. One look a second serves everybody who listens, and nobody listening means
//! that nobody looks.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{Admin, Problem, Shared, views};
use crate::domain::ids::DeliveryId;
use crate::store::{Reader, StoreError, deliveries, findings};

/// What all who listen are told, by one who looks for them.
pub(super) struct News {
    told: watch::Sender<Option<Told>>,
    /// Whether somebody looks.
    looking: Mutex<bool>,
}

impl Default for News {
    fn default() -> Self {
        Self { told: watch::Sender::new(None), looking: Mutex::new(false) }
    }
}

/// What was last seen.
#[derive(Default, PartialEq, Eq, Clone, Copy)]
struct Told {
    newest: u64,
    running: u64,
    read: u64,
    expected: u64,
    /// The newest delivery, and a number that differs where one of the newest came to something.
    delivery: u64,
    deliveries: u64,
    needs: usize,
    /// Numbers that differ where conditions or destinations do.
    conditions: u64,
    destinations: u64,
}

/// `GET /events`: `hello` with how often something was stored; `changes` when findings changed, with the number of the
/// newest change; `progress` while Sonar is read, with how far that is; `deliveries` when a webhook call came in or came
/// to something, `conditions` with how many need a person, `destinations` when one of them is in another state; a comment
/// each quarter of a minute, so that whoever sits between does not close the connection. It ends after a few minutes, and
/// browsers begin it again: who may no longer look is not told for ever.
pub(super) async fn show(State(admin): Shared) -> Result<Response, Problem> {
    let (sender, channel) = Channel::<Bytes, std::io::Error>::new(4);
    let news = listen(&admin);
    tokio::spawn(tell(admin, news, sender));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::new(channel)).into_response())
}

/// Begins to listen; whoever is first has somebody look.
fn listen(admin: &Arc<Admin>) -> watch::Receiver<Option<Told>> {
    let mut looking = admin.news.looking.lock().unwrap_or_else(PoisonError::into_inner);
    let news = admin.news.told.subscribe();
    if !std::mem::replace(&mut *looking, true) {
        tokio::spawn(look_on(Arc::clone(admin)));
    }
    news
}

/// Looks again and again until nobody listens any more.
async fn look_on(admin: Arc<Admin>) {
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = None;
    loop {
        ticks.tick().await;
        {
            let mut looking = admin.news.looking.lock().unwrap_or_else(PoisonError::into_inner);
            if admin.work.is_stopping() || admin.news.told.receiver_count() == 0 {
                // What is known now is old when somebody listens again.
                admin.news.told.send_replace(None);
                *looking = false;
                return;
            }
        }
        // A store that cannot be read now may be readable in a moment.
        let Ok((now, commits)) = admin.run(move |admin| Ok(look(admin, seen)?)).await else { continue };
        seen = Some((now, commits));
        admin.news.told.send_if_modified(|told| told.replace(now) != Some(now));
    }
}

/// What there is. Where nothing was stored since the last look, only what is in memory is looked at.
fn look(admin: &Admin, seen: Option<(Told, u64)>) -> Result<(Told, u64), StoreError> {
    let commits = admin.store.commits();
    let mut told = match seen {
        Some((told, then)) if then == commits => told,
        _ => admin.store.read(stored)?,
    };
    (told.running, told.read, told.expected) = admin.work.progress.sum();
    let pulse = admin.pulse();
    (told.needs, told.conditions, told.destinations) = (pulse.needs, pulse.conditions, pulse.destinations);
    Ok((told, commits))
}

fn stored(view: &Reader) -> Result<Told, StoreError> {
    let mut hasher = DefaultHasher::new();
    let newest = deliveries::list(view, None, DELIVERIES)?;
    let delivery = newest.first().map_or(0, |(id, ..)| id.0);
    for (id, delivery, settlement) in newest {
        let shown = views::delivery(id, delivery, settlement);
        (shown.id, shown.outcome, shown.synced_at).hash(&mut hasher);
    }
    let newest = findings::last_change(view)?.0;
    Ok(Told { newest, delivery, deliveries: hasher.finish(), ..Told::default() })
}

/// Tells one listener, until that one is gone or its time is over.
async fn tell(admin: Arc<Admin>, mut news: watch::Receiver<Option<Told>>, mut sender: Sender<Bytes, std::io::Error>) {
    let ends = Instant::now() + STREAM_MAX;
    let hello = event("hello", &json!({ "commits": admin.store.commits() }));
    let mut text = format!("retry: {RETRY_MILLISECONDS}\n\n{hello}");
    let mut told = None;
    while !admin.work.is_stopping() && Instant::now() < ends {
        let now = *news.borrow_and_update();
        if let Some(now) = now {
            text.push_str(&since(told.replace(now), now));
        }
        // Whoever listened is gone.
        if !text.is_empty() && sender.send_data(Bytes::from(std::mem::take(&mut text))).await.is_err() {
            return;
        }
        match timeout(QUIET_MAX, news.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => text.push_str(":\n\n"),
        }
    }
}

/// The events of what is new.
fn since(before: Option<Told>, now: Told) -> String {
    let is_new = |of: fn(&Told) -> (u64, u64, u64)| before.is_none_or(|before| of(&before) != of(&now));
    let mut text = String::new();
    if is_new(|told| (told.newest, 0, 0)) {
        text.push_str(&event("changes", &json!({ "newest": format!("C{}", now.newest) })));
    }
    if is_new(|told| (told.running, told.read, told.expected)) {
        let progress = json!({ "running": now.running, "read": now.read, "expected": now.expected });
        text.push_str(&event("progress", &progress));
    }
    if is_new(|told| (told.deliveries, 0, 0)) {
        let newest = (now.delivery > 0).then(|| DeliveryId(now.delivery).to_string());
        text.push_str(&event("deliveries", &json!({ "newest": newest, "print": format!("{:x}", now.deliveries) })));
    }
    if is_new(|told| (told.conditions, 0, 0)) {
        text.push_str(&event("conditions", &json!({ "needs": now.needs, "print": format!("{:x}", now.conditions) })));
    }
    if is_new(|told| (told.destinations, 0, 0)) {
        text.push_str(&event("destinations", &json!({ "print": format!("{:x}", now.destinations) })));
    }
    text
}

fn event(name: &str, data: &serde_json::Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// What is new is looked for this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Among so many of the newest calls it is seen that one came to something.
const DELIVERIES: usize = 10;

/// After so long without anything new a comment is sent.
const QUIET_MAX: Duration = Duration::from_secs(15);

/// A stream lasts this long.
const STREAM_MAX: Duration = Duration::from_mins(10);

/// A browser waits so long before it begins a stream again.
const RETRY_MILLISECONDS: u32 = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_told() {
        let before = Told { newest: 7, needs: 1, conditions: 3, ..Told::default() };
        assert_eq!(since(Some(before), before), "");
        assert_eq!(since(Some(before), Told { newest: 8, ..before }), "event: changes\ndata: {\"newest\":\"C8\"}\n\n");
        assert_eq!(
            since(Some(before), Told { needs: 2, conditions: 4, ..before }),
            "event: conditions\ndata: {\"needs\":2,\"print\":\"4\"}\n\n"
        );
        let all = since(None, before);
        for name in ["changes", "progress", "deliveries", "conditions", "destinations"] {
            assert!(all.contains(&format!("event: {name}\n")), "{name} in {all}");
        }
    }
}
