//! The HTTP server: connections, requests taken apart, faults applied, calls noted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::web::{Moment, Reply, Wire, gone, http_date, parse_pairs};
use super::api::{self, Answer, Asked, Host};
use super::faults::Fault;
use super::{Call, Shared, lock};

const FORM_BYTES_MAX: usize = 1 << 20;

const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// Accepts connections until the runtime ends.
pub(super) async fn serve(listener: std::net::TcpListener, shared: Arc<Shared>, host: Host) {
    let listener = TcpListener::from_std(listener).expect("the listener was made non-blocking");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        if shared.offline.load(Ordering::SeqCst) {
            continue;
        }
        let (shared, tls) = (Arc::clone(&shared), lock(&shared.tls).clone().map(TlsAcceptor::from));
        tokio::spawn(async move {
            let reset = Arc::new(AtomicBool::new(false));
            let stream = Wire::new(stream, Arc::clone(&reset));
            // A client that gives up is its own business.
            match tls {
                None => connection(stream, shared, host, reset).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        connection(stream, shared, host, reset).await;
                    }
                }
            }
        });
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: Arc<Shared>,
    host: Host,
    reset: Arc<AtomicBool>,
) {
    let service = service_fn(move |request| respond(Arc::clone(&shared), host, Arc::clone(&reset), request));
    // Errors here are broken connections, some of them our own doing.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// An error closes the connection without an answer.
async fn respond(
    shared: Arc<Shared>,
    host: Host,
    reset: Arc<AtomicBool>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, io::Error> {
    if shared.offline.load(Ordering::SeqCst) {
        return Err(gone());
    }
    let takes_bearer = lock(&shared.model).edition.since(10, 0);
    let mut asked = take_apart(host, takes_bearer, request).await?;
    let (path, method) = (asked.path.clone(), asked.method.clone());
    let mut call = Call { path, method, query: asked.pairs.clone(), status: 0 };
    shared.traps.pass(&call, Moment::BeforeReading).await;
    let fault = shared.traps.strike(&call);
    let answer = match &fault {
        Some(Fault::NoAnswer { .. } | Fault::Reset { .. }) => {
            reset.store(matches!(fault, Some(Fault::Reset { .. })), Ordering::SeqCst);
            lock(&shared.calls).push(call);
            return Err(gone());
        }
        Some(Fault::Status { code, body, content_type, headers, .. }) => {
            Answer { status: *code, content_type: content_type.clone(), body: body.clone(), headers: headers.clone() }
        }
        Some(Fault::Own { what: twist, .. }) => {
            asked.twist = Some(*twist);
            api::answer(&mut lock(&shared.model), &asked)
        }
        Some(Fault::CutBody { .. } | Fault::ResetBody { .. } | Fault::Drip { .. }) | None => {
            api::answer(&mut lock(&shared.model), &asked)
        }
    };
    shared.traps.pass(&call, Moment::BeforeAnswering).await;
    call.status = answer.status;
    lock(&shared.calls).push(call);
    let mut response = Response::builder().status(answer.status);
    // A 401 has neither a body nor a type.
    if !answer.body.is_empty() {
        response = response.header("Content-Type", answer.content_type);
    }
    // The server's clock may be a test's; a fault may tell yet another time.
    if !answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("date")) {
        response = response.header("Date", http_date(lock(&shared.model).now()));
    }
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    let reply = Reply::spoiled(answer.body, fault.as_ref(), reset);
    Ok(response.body(reply).expect("status and headers of an answer are well-formed"))
}

async fn take_apart(host: Host, takes_bearer: bool, request: Request<Incoming>) -> Result<Asked, io::Error> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, FORM_BYTES_MAX).collect().await.map_err(io::Error::other)?.to_bytes();
    let mut pairs = parse_pairs(head.uri.query().unwrap_or_default());
    let form = head.headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(FORM));
    // As a servlet reads them: a body of another kind has no parameters, and only a POST has any in its body.
    if head.method == hyper::Method::POST && form {
        pairs.extend(parse_pairs(&String::from_utf8_lossy(&body)));
    }
    let authorization = head.headers.get("authorization").and_then(|value| value.to_str().ok());
    Ok(Asked {
        host,
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        pairs,
        token: authorization.and_then(|text| token(text, takes_bearer)),
        twist: None,
    })
}

/// The token of an Authorization header. Servers before 10.0 take it as the name of Basic authentication only, and
/// read any other scheme as nobody; elsewhere another scheme names no token we know.
fn token(authorization: &str, takes_bearer: bool) -> Option<String> {
    if let Some(basic) = authorization.strip_prefix("Basic ") {
        let text = String::from_utf8(decoded(basic)).unwrap_or_default();
        return Some(text.strip_suffix(':').unwrap_or_default().to_owned());
    }
    takes_bearer.then(|| authorization.strip_prefix("Bearer ").unwrap_or_default().to_owned())
}

/// Base64 as bytes; what is none of its letters is passed over.
fn decoded(base64: &str) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    let value = |letter: u8| LETTERS.iter().position(|&one| one == letter);
    for value in base64.bytes().filter_map(value) {
        held = held << 6 | u32::try_from(value).expect("a value below 64");
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).expect("eight bits"));
        }
    }
    bytes
}
