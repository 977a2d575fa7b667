//! The HTTP server: connections, requests taken apart, faults applied, calls noted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

use super::super::web::{Moment, Reply, Wire, gone, parse_pairs};
use super::answer::{Answer, internal_error};
use super::api::{self, Asked};
use super::faults::{Fault, Mishap};
use super::multipart::Form;
use super::{Call, Shared, lock, reimport};

const BODY_BYTES_MAX: usize = 200 << 20;

/// Accepts connections until the runtime ends.
pub(super) async fn serve(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("the listener was made non-blocking");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        if shared.offline.load(Ordering::SeqCst) {
            continue;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let reset = Arc::new(AtomicBool::new(false));
            let stream = Wire::new(stream, Arc::clone(&reset));
            let service = service_fn(move |request| respond(Arc::clone(&shared), Arc::clone(&reset), request));
            // Errors here are broken connections, some of them our own doing.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// An error closes the connection without an answer.
async fn respond(
    shared: Arc<Shared>,
    reset: Arc<AtomicBool>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, io::Error> {
    if shared.offline.load(Ordering::SeqCst) {
        return Err(gone());
    }
    let asked = take_apart(request).await?;
    let call = noted(&asked);
    shared.traps.pass(&call, Moment::BeforeReading).await;
    let fault = shared.traps.strike(&call);
    let broken = |reset_too: bool| {
        reset.store(reset_too, Ordering::SeqCst);
        lock(&shared.calls).push(call.clone());
        Err(gone())
    };
    let mishap = match &fault {
        Some(Fault::NoAnswer { .. }) => return broken(false),
        Some(Fault::Reset { .. }) => return broken(true),
        Some(Fault::Status { code, body, content_type, headers, .. }) => {
            let mut response = Response::builder().status(*code).header("Content-Type", content_type);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            lock(&shared.calls).push(Call { status: *code, ..call });
            let body = Reply::spoiled(body.clone(), fault.as_ref(), reset);
            return Ok(response.body(body).expect("a fault's status and headers are well-formed"));
        }
        Some(Fault::Own { what, .. }) => Some(*what),
        Some(Fault::CutBody { .. } | Fault::ResetBody { .. } | Fault::Drip { .. }) | None => None,
    };
    if mishap == Some(Mishap::Late) && asked.is_reimport() {
        lock(&shared.late).extend(reimport::Late::begin(&shared, &asked));
        return broken(true);
    }
    // The server goes on when its client does not wait: the work is no part of the connection.
    let work = tokio::spawn(work(Arc::clone(&shared), call.clone(), asked, mishap));
    let answer = match mishap {
        Some(Mishap::Dropped { after }) => match tokio::time::timeout(after, work).await {
            Ok(done) => done,
            Err(_) => return broken(true),
        },
        Some(Mishap::Late) => {
            let _ = work.await;
            return broken(true);
        }
        _ => work.await,
    };
    let mut answer = answer.unwrap_or_else(|_| internal_error());
    if mishap == Some(Mishap::AfterCommit) {
        answer = internal_error();
    }
    shared.traps.pass(&call, Moment::BeforeAnswering).await;
    lock(&shared.calls).push(Call { status: answer.status, ..call });
    let mut response = Response::builder().status(answer.status).header("Content-Type", answer.content_type);
    if let Some(location) = answer.location {
        response = response.header("Location", location);
    }
    let body = Reply::spoiled(answer.body, fault.as_ref(), reset);
    Ok(response.body(body).expect("status and headers of an answer are well-formed"))
}

async fn work(shared: Arc<Shared>, call: Call, asked: Asked, mishap: Option<Mishap>) -> Answer {
    if mishap == Some(Mishap::TokenRevoked) {
        let mut model = lock(&shared.model);
        let token = call.token.as_deref();
        for user in model.users.iter_mut().filter(|user| user.token.is_some() && user.token.as_deref() == token) {
            user.token = None;
        }
    }
    if asked.is_reimport() {
        let breaks_after = match mishap {
            Some(Mishap::MidRows { rows }) => Some(rows),
            _ => None,
        };
        return reimport::run(&shared, &call, &asked, breaks_after).await;
    }
    api::answer(&mut lock(&shared.model), &asked, &shared.url)
}

/// The call as a test sees it, whatever becomes of it.
fn noted(asked: &Asked) -> Call {
    let content_type = asked.content_type.as_deref().unwrap_or_default();
    let form = Form::parse(content_type, &asked.body).unwrap_or_default();
    let json = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or(Value::Null);
    Call {
        method: asked.method.clone(),
        path: asked.path.clone(),
        query: asked.query.clone(),
        token: asked.authorization.as_deref().and_then(|text| text.strip_prefix("Token ")).map(str::to_owned),
        body: json(&asked.body),
        file: form.file.map_or(Value::Null, |file| json(&file.bytes)),
        form: form.fields,
        status: 0,
    }
}

async fn take_apart(request: Request<Incoming>) -> Result<Asked, io::Error> {
    let (head, body) = request.into_parts();
    let body: Bytes = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(io::Error::other)?.to_bytes();
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok(Asked {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: parse_pairs(head.uri.query().unwrap_or_default()),
        authorization: text("authorization"),
        content_type: text("content-type"),
        body: body.to_vec(),
    })
}
