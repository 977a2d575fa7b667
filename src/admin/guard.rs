//! Who is let in to which operation, and the audit log of what was changed.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body as _;
use ring::digest::{SHA256, digest};

use super::access::Peer;
use super::access::local::Local;
use super::repeats::{self, Begun};
use super::{Admin, Problem};
use crate::domain::access::{Caller, Role};
use crate::domain::limits;
use crate::domain::signature::to_hex;
use crate::store::StoreError;
use crate::store::audit::{self, Entry, Kind};
use crate::sys::clock;

/// What an operation asks of whoever wants it.
#[derive(Clone)]
pub(super) struct Needs {
    pub(super) admin: Arc<Admin>,
    pub(super) role: Option<Role>,
    pub(super) what: &'static str,
    pub(super) changes: bool,
    pub(super) despite: Despite,
    /// Whether it may be asked for twice with an `Idempotency-Key`.
    pub(super) repeatable: bool,
}

/// What a change is done in spite of. Of most, a part would be done on a box whose secrets cannot be read, and a part not;
/// and each is in the audit log before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Despite {
    /// It is not.
    Nothing,
    /// A lock: it touches no sealed secret.
    Lock,
    /// A lock, and a store that does not answer: it only looks, and that is what it looks at.
    LockAndStore,
}

impl Needs {
    /// Of something that whoever may look may see.
    pub(super) fn look(admin: &Arc<Admin>, what: &'static str) -> Self {
        Self {
            admin: Arc::clone(admin),
            role: Some(Role::Viewer),
            what,
            changes: false,
            despite: Despite::Nothing,
            repeatable: false,
        }
    }
}

impl Needs {
    /// Why it is not done as the box is.
    fn refusal(&self) -> Option<Problem> {
        let locked = self.admin.store.locked().filter(|_| self.changes && self.despite == Despite::Nothing)?;
        Some(StoreError::Locked(locked).into())
    }
}

impl Needs {
    fn kind(&self) -> Kind {
        if LOOKS.contains(&self.what) { Kind::Passing } else { Kind::Change }
    }
}

/// What changes nothing, though it asks or has something read.
pub(super) const LOOKS: [&str; 6] = [
    "Look at everything that has to work",
    "Check a source",
    "Try an import out",
    "Read Sonar now",
    "Test the way of a webhook",
    "Check a destination",
];

/// It is in the audit log only where there was a login to end.
pub(super) const NOTES_ITSELF: &str = "Log out";

/// Lets a request through to its operation, or says why not. What changes something is in the audit log before it is
/// done, and its outcome after.
pub(super) async fn let_in(State(needs): State<Needs>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().cloned();
    let Some(role) = needs.role else {
        // Nobody has said who they are, and many may send much at the same time.
        let request = request.map(|body| Body::new(Limited::new(body, limits::STRANGER_BODY_BYTES_MAX)));
        return match needs.refusal() {
            Some(problem) => problem.into_response(),
            None => next.run(request).await,
        };
    };
    let Some(caller) = caller else { return Problem::unknown_caller().into_response() };
    if caller.role() < role {
        return Problem::forbidden(format!(
            "this takes the role {role}, and {} has the role {}",
            caller.name(),
            caller.role()
        ))
        .remedy("an admin can change that: `hydrophone user list`, `hydrophone token list`")
        .into_response();
    }
    if !needs.changes {
        return tagged(request, next).await;
    }
    if let Some(problem) = needs.refusal() {
        return problem.into_response();
    }
    if needs.what == NOTES_ITSELF {
        return next.run(request).await;
    }
    match repeats::key(request.headers()) {
        Ok(Some(key)) if needs.repeatable => once(needs, caller, key, request, next).await,
        Err(problem) if needs.repeatable => problem.into_response(),
        _ => noted(needs, &caller, request, next).await,
    }
}

/// Does something once for a key, whoever may have stopped listening meanwhile.
async fn once(needs: Needs, caller: Caller, key: String, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, limits::ADMIN_BODY_BYTES_MAX).await else {
        return Problem::bad("the body cannot be read, or is too long").into_response();
    };
    let target = format!("{} {}", parts.method, parts.uri);
    let who = format!("{} {}", caller.via(), caller.name());
    let now = needs.admin.work.clock.steady();
    let ticket = match needs.admin.repeats.begin((&who, key), &target, &body, now) {
        Begun::Run(ticket) => ticket,
        Begun::Answered(response) => return response,
    };
    let request = Request::from_parts(parts, Body::from(body));
    let done = tokio::spawn(async move {
        let (parts, body) = noted(needs, &caller, request, next).await.into_parts();
        // It lies in memory already.
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        ticket.done(parts.status, parts.headers.get(header::CONTENT_TYPE), &body);
        Response::from_parts(parts, Body::from(body))
    });
    done.await.unwrap_or_else(|_| Problem::internal("the request failed inside hydrophone").into_response())
}

/// Writes into the audit log what is done, and how it ended.
async fn noted(needs: Needs, caller: &Caller, request: Request, next: Next) -> Response {
    let entry = entry(caller, &request, needs.what);
    let (kind, noted) = (needs.kind(), entry.clone());
    let noting = needs.admin.run(move |admin| Ok(note(admin, kind, noted)?));
    let number = if needs.despite == Despite::LockAndStore {
        tokio::time::timeout(NOTE_MAX, noting).await.ok().and_then(Result::ok)
    } else {
        match noting.await {
            Ok(number) => Some(number),
            Err(problem) => return problem.into_response(),
        }
    };
    let run = async { (next.run(request).await, REMARK.with(RefCell::take)) };
    let (response, remark) = REMARK.scope(RefCell::default(), run).await;
    let status = response.status().as_u16();
    let ended = entry.ended(status, remark.as_deref());
    tell(&ended);
    let Some(number) = number else { return response };
    // That it was begun is in the log in any case.
    let noting = move |admin: &Admin| {
        Ok(admin.store.delete::<_, StoreError>(move |batch| audit::ended(batch, number, &ended))?)
    };
    let _ = needs.admin.run(noting).await;
    response
}

/// Says what is in the audit log in the log of the service too, which whoever collects logs has elsewhere.
pub(super) fn tell(entry: &Entry) {
    let from = entry.from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
    let status = entry.status.unwrap_or_default();
    tracing::info!(target: AUDIT_TARGET, "{} by {}{from}: {}: {}: {status}", entry.who, entry.via, entry.what, entry.target);
}

/// By this name the lines can be chosen.
const AUDIT_TARGET: &str = "hydrophone::audit";

tokio::task_local! {
    static REMARK: RefCell<Option<String>>;
}

/// Adds to what the audit log says of the request that is being answered: what its address does not tell. Nothing where
/// none is, and only where it is asynchronous.
pub(super) fn remark(text: &str) {
    let text = text.chars().take(TARGET_CHARACTERS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _ = REMARK.try_with(|remark| remark.replace(Some(text)));
}

/// Written also on a full disk, as deletions are: what frees space must not be refused for being noted.
fn note(admin: &Admin, kind: Kind, entry: Entry) -> Result<u64, StoreError> {
    admin.store.delete::<_, StoreError>(move |batch| audit::note(batch, kind, &entry))
}

/// An entry of the audit log for a request.
fn entry(caller: &Caller, request: &Request, what: &str) -> Entry {
    let peer = request.extensions().get::<Peer>().copied();
    let who = match request.extensions().get::<ConnectInfo<Local>>() {
        Some(ConnectInfo(local)) if *caller == Caller::Socket => format!("{} ({local})", caller.name()),
        _ => caller.name().to_owned(),
    };
    Entry {
        at: clock::now(),
        who,
        via: caller.via().to_owned(),
        what: what.to_owned(),
        target: request.uri().path().chars().take(TARGET_CHARACTERS_MAX).collect(),
        status: None,
        from: peer.map(|peer| peer.0.ip().to_string()),
    }
}

/// What is read has a tag, so that whoever asks again and again is sent only what is new.
async fn tagged(request: Request, next: Next) -> Response {
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let is_get = *request.method() == Method::GET;
    let response = next.run(request).await;
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    // What is sent while it is written, such as an export, does not lie in memory.
    let is_whole = response.body().size_hint().exact().is_some();
    if !is_get || !is_json || !is_whole || response.status() != StatusCode::OK {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let tag = format!("\"{}\"", to_hex(&digest(&SHA256, &body).as_ref()[..16]));
    let same = known.as_ref().and_then(|known| known.to_str().ok()).is_some_and(|known| matches_tag(known, &tag));
    let value = HeaderValue::from_str(&tag).expect("a tag is plain text");
    parts.headers.insert(header::ETAG, value);
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if same {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(body))
}

/// Whether one of the tags of an `If-None-Match` is this one (RFC 9110, section 13.1.2: compared weakly).
fn matches_tag(known: &str, tag: &str) -> bool {
    known.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// What is done without being in the audit log waits so long for it.
const NOTE_MAX: Duration = Duration::from_secs(1);

/// Addresses in the audit log are cut to this.
const TARGET_CHARACTERS_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_met_among_others_and_weakly() {
        assert!(matches_tag("\"a\"", "\"a\"") && matches_tag("\"b\", W/\"a\"", "\"a\"") && matches_tag("*", "\"a\""));
        assert!(!matches_tag("\"b\"", "\"a\"") && !matches_tag("", "\"a\""));
    }
}
