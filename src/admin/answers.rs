//! Errors as RFC 9457 problem documents, and bodies that may be wrong.

use std::fmt::Display;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use super::shapes;
use crate::domain::access::BadRole;
use crate::domain::finding::BadWord;
use crate::domain::ids::BadName;
use crate::domain::limits;
use crate::domain::measure::{Bounds, Measure};
use crate::sonar::FetchError;
use crate::store::StoreError;
use crate::store::secrets::Locked;
use crate::work::WorkError;

/// An error for the person who asked: what happened, to what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    remedy: Option<String>,
    after: Option<Duration>,
    field: Option<String>,
    lines: Vec<shapes::CheckLine>,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), remedy: None, after: None, field: None, lines: Vec::new() }
    }

    /// It is not for this box to do: another site's reads what it is about.
    pub fn elsewhere(what: impl Display, site: impl Display) -> Self {
        Self::conflict(format!("{what} is read by the box at site {site}")).remedy(DO_IT_THERE)
    }

    /// What was sent cannot be used.
    pub fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// It is not there.
    pub fn missing(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// It cannot be done as things are.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// It cannot be done with what was sent, which is well-formed.
    pub fn unfit(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// Nobody knows who is asking.
    pub fn unknown_caller() -> Self {
        Self::unauthorized("this takes a login or an API token")
            .remedy("log in on the page, or make a token: `hydrophone token add NAME --role viewer`")
    }

    /// Whoever asks is not who they say they are.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// Whoever asks may not do it.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// Whoever asks has asked too often, and may ask again after a while.
    pub fn too_many(detail: impl Into<String>, after: Duration) -> Self {
        Self { after: Some(after), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// Another server did not answer as it should.
    pub fn unreachable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, detail)
    }

    /// A bug, or something as unforeseen.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    /// The HTTP status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// What happened, to what.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// What to do about it.
    pub(super) fn hint(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    /// The member of the request that is wrong.
    pub(super) fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// What a look at another server found.
    pub(super) fn lines(&self) -> &[shapes::CheckLine] {
        &self.lines
    }

    /// Which member of the request is wrong, such as `options.company`.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// What a look at another server found.
    #[must_use]
    pub fn with_lines(mut self, lines: Vec<shapes::CheckLine>) -> Self {
        self.lines = lines;
        self
    }

    /// And what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = shapes::Problem {
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            remedy: self.remedy,
            field: self.field,
            lines: self.lines,
        };
        let mut response = (self.status, Json(body)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let busy = (self.status == StatusCode::SERVICE_UNAVAILABLE).then_some(Duration::from_secs(5));
        if let Some(after) = self.after.or(busy) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110, section 15.5.2: how one might be let in.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged { .. } => Self::internal(error.to_string()),
            StoreError::Full { .. } => Self::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string())
                .remedy("free some space on the disk of the state folder"),
            StoreError::Locked(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).remedy(Locked::REMEDY)
            }
            StoreError::StandsBy => Self::conflict(error.to_string())
                .remedy("do it on the box that works; `hydrophone standby status` says which one that is"),
            StoreError::Failed(_) | StoreError::Stale | StoreError::Closed => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).remedy("try again in a moment")
            }
        }
    }
}

impl From<BadName> for Problem {
    fn from(error: BadName) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<BadRole> for Problem {
    fn from(error: BadRole) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<BadWord> for Problem {
    fn from(error: BadWord) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<FetchError> for Problem {
    fn from(error: FetchError) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, error.to_string())
    }
}

impl From<WorkError> for Problem {
    fn from(error: WorkError) -> Self {
        match error {
            WorkError::Fetch(error) => error.into(),
            WorkError::Store(error) => error.into(),
            WorkError::Gone => Self::missing("there is no such source"),
            WorkError::Stopping => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).remedy("try again in a moment")
            }
            WorkError::Elsewhere(_) => Self::conflict(error.to_string()).remedy(DO_IT_THERE),
            other => Self::conflict(other.to_string()),
        }
    }
}

/// What to do about what another site's box reads.
const DO_IT_THERE: &str = "do it there";

/// What a body may hold.
const BOUNDS: Bounds =
    Bounds { values_max: limits::ADMIN_BODY_VALUES_MAX, text_bytes_max: limits::ADMIN_BODY_BYTES_MAX };

/// Whether a body is let through to what reads it. See [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
pub(super) fn is_measured(body: &[u8]) -> bool {
    Measure::whole(BOUNDS, body).is_ok()
}

/// A JSON body; one that is wrong becomes a problem document like every other error.
pub(super) struct Sent<T>(pub(super) T);

impl<S, T> FromRequest<S> for Sent<T>
where
    Json<T>: FromRequest<S, Rejection = JsonRejection>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        // A body may be long in coming; what else was sent is not kept until then, and not copied either.
        let kind = parts.headers.remove(header::CONTENT_TYPE);
        parts.headers = kind.map(|kind| (header::CONTENT_TYPE, kind)).into_iter().collect();
        let body = match Bytes::from_request(Request::from_parts(parts.clone(), body), state).await {
            Ok(body) => body,
            Err(rejection) => return Err(Problem::new(rejection.status(), rejection.body_text())),
        };
        // Small values take many times as much memory as they have bytes.
        if let Err(problem) = Measure::whole(BOUNDS, &body) {
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body {problem}")));
        }
        match Json::<T>::from_request(Request::from_parts(parts, Body::from(body)), state).await {
            Ok(Json(sent)) => Ok(Self(sent)),
            Err(rejection) => Err(Problem::new(rejection.status(), rejection.body_text())),
        }
    }
}

/// What stands behind the question mark of an address; what is wrong there is told as any problem is.
pub(super) struct Query<T>(pub(super) T);

impl<S, T> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(given)) => Ok(Self(given)),
            Err(rejection) => Err(wrong_query(&rejection.body_text())),
        }
    }
}

/// `Failed to deserialize query string: limit: invalid digit found in string` as a problem of `limit`.
fn wrong_query(text: &str) -> Problem {
    let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(text);
    match text
        .split_once(": ")
        .filter(|(name, _)| name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_'))
    {
        Some((name, why)) => Problem::bad(format!("{name} in the address cannot be used: {why}")).at(name),
        None => Problem::bad(format!("the address cannot be used: {text}")),
    }
}

pub(super) async fn no_such_address() -> Problem {
    Problem::missing("there is nothing at this address of the API")
        .remedy("command line and daemon may have different versions: `hydrophone --version`, `hydrophone status`")
}

pub(super) async fn no_such_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address does not take that method")
}
