//! The webhook listener: limit, read, verify, store, answer. In that order, and nothing is parsed before the
//! signature over its raw bytes was found right. A call is answered 202 when, and only when, the commit that
//! holds it is synced to disk.

pub mod border;
pub mod connections;
pub mod directory;
pub mod handshake;
pub mod proofs;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot, watch};
use tokio::time::timeout;

use self::border::{Border, Reason, Which};
use self::connections::Seat;
use self::directory::{Directory, Endpoint};
use self::handshake::Handshake;
use crate::domain::delivery::{BadPayload, Outcome, Payload};
use crate::domain::ids::EndpointId;
use crate::domain::limits;
use crate::domain::signature::{self, Signature};
use crate::store::{Accepted, Arrival, Reply, Store, StoreError};
use crate::sys::clock;

/// Calls by how they ended, since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Answered 202.
    pub accepted: AtomicU64,
    /// Among those, the same call again.
    pub duplicate: AtomicU64,
    /// Answered 400 to 499.
    pub rejected: AtomicU64,
    /// Answered 503.
    pub unavailable: AtomicU64,
}

/// Turns true when the daemon is to stop.
type Stop = watch::Receiver<bool>;

/// What the listener needs.
pub struct Ingress {
    store: Store,
    directory: Arc<Directory>,
    counters: Arc<Counters>,
    /// Whether the clock may end the validity of a secret.
    is_clock_right: Box<dyn Fn() -> bool + Send + Sync>,
    border: Arc<Border>,
    bodies: Arc<Semaphore>,
}

impl Ingress {
    /// Puts the listener together; [`serve`](Self::serve) starts it.
    pub fn new(
        store: Store,
        directory: Arc<Directory>,
        counters: Arc<Counters>,
        border: Arc<Border>,
        is_clock_right: Box<dyn Fn() -> bool + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            directory,
            counters,
            is_clock_right,
            border,
            bodies: Arc::new(Semaphore::new(limits::BODIES_BYTES_MAX / BODY_UNIT)),
        })
    }

    /// Takes connections until told to stop, then lets those that are open end what they are at.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, tls: Option<Arc<Handshake>>, stop: Stop) {
        let border = Arc::clone(&self.border);
        let told = stop.clone();
        let handle = move |stream, seat| {
            let (ingress, tls, stop) = (Arc::clone(&self), tls.clone(), told.clone());
            Box::pin(ingress.connection(stream, tls, seat, stop)) as Pin<Box<dyn Future<Output = ()> + Send>>
        };
        connections::serve(border, Which::Webhook, listener, stop, Box::new(handle)).await;
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, tls: Option<Arc<Handshake>>, seat: Seat, mut stop: Stop) {
        match tls {
            None => self.requests(TokioIo::new(stream), seat, stop).await,
            Some(tls) => {
                if let Some(stream) = seat.shake(tls.accept(stream), &mut stop).await {
                    self.requests(TokioIo::new(stream), seat, stop).await;
                }
            }
        }
    }

    async fn requests<I>(self: Arc<Self>, io: I, seat: Seat, mut stop: Stop)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin,
    {
        let told = stop.clone();
        let service = service_fn(|request| {
            seat.begin();
            let (ingress, told, seat) = (&self, &told, &seat);
            async move {
                let mut answer = ingress.answer(request, seat).await;
                if *told.borrow() {
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits::HEADER_WAIT_MAX)
            .max_headers(limits::HEADERS_MAX)
            .max_buf_size(limits::HEADER_BYTES_MAX)
            .serve_connection(io, service);
        let end_kindly = |connection: Pin<&mut _>| http1::Connection::graceful_shutdown(connection);
        let ended = seat.converse(connection, end_kindly, Some(limits::CONNECTION_AGE_MAX), &mut stop).await;
        seat.note(ended.as_ref().err().map(|error| error as _));
    }

    async fn answer(&self, request: Request<Incoming>, seat: &Seat) -> Response<Full<Bytes>> {
        let result = self.take(request, seat).await;
        let counter = match &result {
            // A test of this box's own says nothing of Sonar.
            Ok(accepted) if accepted.outcome == Outcome::Test => return accepted_answer(*accepted),
            Ok(accepted) => {
                if accepted.duplicate {
                    self.counters.duplicate.fetch_add(1, Ordering::Relaxed);
                }
                &self.counters.accepted
            }
            Err(Refusal::Unavailable) => &self.counters.unavailable,
            Err(_) => &self.counters.rejected,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        match result {
            Ok(accepted) => accepted_answer(accepted),
            Err(refusal) => refusal.answer(),
        }
    }

    /// The steps in their order; each refusal costs as little as it can.
    async fn take(&self, request: Request<Incoming>, seat: &Seat) -> Result<Accepted, Refusal> {
        let client = seat.client(request.headers());
        if self.border.keeps_out_of(seat.from.ip(), client) {
            return Err(Refusal::Network);
        }
        let sender = self.border.sender(client);
        let stray = |reason, refusal| match self.border.stray(sender, reason) {
            None => refusal,
            Some(wait) => Refusal::TooMany(wait),
        };
        let Some((id, endpoint)) = self.endpoint(request.uri().path()) else {
            return Err(stray(Reason::UnknownEndpoint, Refusal::NotFound));
        };
        if request.method() != Method::POST {
            return Err(stray(Reason::NotAWebhook, Refusal::Method));
        }
        if !is_json(request.headers().get(header::CONTENT_TYPE)) {
            return Err(stray(Reason::NotAWebhook, Refusal::Type));
        }
        if let Some(wait) = self.border.refuses(sender) {
            return Err(Refusal::TooMany(wait));
        }
        let unsigned = |bytes: usize| {
            self.border.wrong_signature(sender, bytes);
            Refusal::Signature
        };
        let signature = request
            .headers()
            .get(signature::HEADER)
            .and_then(|value| Signature::parse(value.as_bytes()))
            .ok_or_else(|| unsigned(0))?;
        // Nobody can tell whether the signature is right, and the sweep finds what was analysed.
        if self.store.locked().is_some() {
            return Err(Refusal::Unavailable);
        }
        let project = match request.headers().get(PROJECT_HEADER).map(HeaderValue::as_bytes) {
            None => Ok(None),
            // Java writes header text as Latin-1 or UTF-8; what is neither ASCII nor UTF-8 cannot be compared.
            Some(bytes) => std::str::from_utf8(bytes).map(|text| Some(text.to_owned())),
        };
        let mut received = Received::default();
        if let Err(refusal) = self.body(request.into_body(), &mut received).await {
            match refusal {
                Refusal::TooLarge => self.border.in_vain(sender, Reason::TooLarge, received.bytes.len()),
                Refusal::Slow => self.border.in_vain(sender, Reason::Slow, received.bytes.len()),
                _ => {}
            }
            return Err(refusal);
        }
        let Received { bytes: body, room: _room } = received;
        let now = clock::now();
        let secret =
            endpoint.verifies(&signature, &body, now, &self.is_clock_right).ok_or_else(|| unsigned(body.len()))?;
        // Before the commit: nobody is to be sent away who waits for it.
        seat.prove();
        let payload = match project {
            Ok(project) => Payload::parse(&body, project.as_deref()),
            Err(_) => Payload::parse(&body, None),
        };
        let payload = payload.and_then(|payload| match &endpoint.project {
            Some(only) if *only != payload.project => Err(BadPayload::OtherProject),
            _ => Ok(payload),
        });
        let problem = payload.as_ref().err().copied();
        let arrival = Arrival {
            at: now,
            organization: endpoint.organization.clone(),
            payload,
            body,
            replay_of: None,
            healed: None,
            signed_by: Some((id, secret)),
        };
        let accepted = self.store(arrival).await?;
        match problem {
            None => Ok(accepted),
            Some(problem) => Err(Refusal::Payload(problem)),
        }
    }

    fn endpoint(&self, path: &str) -> Option<(EndpointId, Arc<Endpoint>)> {
        let id: EndpointId = path.strip_prefix("/hooks/")?.parse().ok()?;
        Some((id, self.directory.find(id)?))
    }

    /// Reads a body up to its limit, within its time, and within what all bodies together may take.
    async fn body<'i>(&'i self, body: Incoming, received: &mut Received<'i>) -> Result<(), Refusal> {
        if body.size_hint().lower() > limits::WEBHOOK_BODY_BYTES_MAX as u64 {
            return Err(Refusal::TooLarge);
        }
        timeout(limits::BODY_WAIT_MAX, self.frames(body, received)).await.unwrap_or(Err(Refusal::Slow))
    }

    /// Room is taken as bytes arrive, not as they are announced: whoever announces much and sends nothing takes
    /// nothing away from others. For the first bytes there is always some.
    async fn frames<'i>(&'i self, mut body: Incoming, received: &mut Received<'i>) -> Result<(), Refusal> {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame.map_err(|_| Refusal::Slow)?.into_data() else { continue };
            if received.bytes.len() + frame.len() > limits::WEBHOOK_BODY_BYTES_MAX {
                return Err(Refusal::TooLarge);
            }
            let beyond = (received.bytes.len() + frame.len()).saturating_sub(limits::BODY_BYTES_FREE).min(frame.len());
            if beyond > 0 {
                let units = u32::try_from(beyond.div_ceil(BODY_UNIT)).expect("the limit fits");
                let more = self.bodies.try_acquire_many(units).map_err(|_| Refusal::Unavailable)?;
                match &mut received.room {
                    Some(room) => room.merge(more),
                    None => received.room = Some(more),
                }
            }
            received.bytes.extend_from_slice(&frame);
        }
        Ok(())
    }

    async fn store(&self, arrival: Arrival) -> Result<Accepted, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.store.accept(arrival, Box::new(Waiting(reply)));
        match timeout(limits::COMMIT_WAIT_MAX, answer).await {
            Ok(Ok(Ok(accepted))) => Ok(accepted),
            Ok(Ok(Err(error))) => {
                tracing::debug!("a webhook was answered 503: {error}");
                Err(Refusal::Unavailable)
            }
            Ok(Err(_)) | Err(_) => Err(Refusal::Unavailable),
        }
    }
}

/// A body, and its share of what all bodies together may take until it is stored.
#[derive(Default)]
struct Received<'i> {
    bytes: Vec<u8>,
    room: Option<SemaphorePermit<'i>>,
}

/// Bodies are counted in this many bytes.
const BODY_UNIT: usize = 1024;

/// The header that names the project; it is not signed.
const PROJECT_HEADER: &str = "x-sonarqube-project";

struct Waiting(oneshot::Sender<Result<Accepted, StoreError>>);

impl Reply for Waiting {
    fn is_wanted(&self) -> bool {
        !self.0.is_closed()
    }

    fn send(self: Box<Self>, result: Result<Accepted, StoreError>) {
        // Whoever waited may have given up just now; the delivery is stored all the same.
        let _ = self.0.send(result);
    }
}

/// Why a call is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    NotFound,
    Method,
    Type,
    /// Missing, malformed or wrong: the caller is not told which.
    Signature,
    TooLarge,
    Slow,
    /// From outside the networks that may call, through a proxy.
    Network,
    /// Too much in vain from there; for so long.
    TooMany(Duration),
    Payload(BadPayload),
    Unavailable,
}

impl Refusal {
    fn answer(self) -> Response<Full<Bytes>> {
        let (status, detail) = match self {
            Self::NotFound => (StatusCode::NOT_FOUND, None),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, None),
            Self::Type => (StatusCode::UNSUPPORTED_MEDIA_TYPE, None),
            Self::Signature => (StatusCode::UNAUTHORIZED, None),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, None),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, None),
            Self::Network => (StatusCode::FORBIDDEN, None),
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, None),
            Self::Payload(problem) => (StatusCode::BAD_REQUEST, Some(problem.to_string())),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, None),
        };
        let body = detail.map_or_else(Bytes::new, |error| serde_json::json!({ "error": error }).to_string().into());
        let mut response = json_answer(status, body);
        let headers = response.headers_mut();
        match self {
            Self::Method => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            Self::Unavailable => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
            }
            Self::TooMany(wait) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
            }
            _ => {}
        }
        // What is left of the body is not worth reading, and what would come after it neither.
        if matches!(self, Self::TooLarge | Self::Slow | Self::Network | Self::TooMany(_)) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

fn accepted_answer(accepted: Accepted) -> Response<Full<Bytes>> {
    debug_assert!(accepted.outcome != Outcome::Malformed, "what is malformed is answered 400");
    let mut body = serde_json::json!({ "delivery": accepted.id.to_string() });
    if accepted.duplicate {
        body["duplicate"] = true.into();
    }
    json_answer(StatusCode::ACCEPTED, body.to_string().into())
}

fn json_answer(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let empty = body.is_empty();
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    // Nothing here is for a browser, whatever it is shown.
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    if !empty {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

/// `application/json`, whatever its parameters.
fn is_json(content_type: Option<&HeaderValue>) -> bool {
    content_type
        .and_then(|value| value.to_str().ok())
        .map(|text| text.split(';').next().unwrap_or_default().trim())
        .is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}
