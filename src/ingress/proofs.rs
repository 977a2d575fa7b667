//! Proofs for an ACME server by plain HTTP (http-01, RFC 8555, section 8.3): the text of a token that is laid out, and 404
//! for all else. It is there only where somebody wants it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::connections::stopped;
use crate::domain::limits;
use crate::sys::acme::challenges::Challenges;
use crate::sys::loops::Watched;

/// Answers until told to stop. Whoever is in the middle of something then loses it: servers ask again.
pub async fn serve(listener: TcpListener, challenges: Arc<Challenges>, mut stop: watch::Receiver<bool>) {
    let connections = Arc::new(Semaphore::new(limits::ACME_CONNECTIONS_MAX));
    let turns = Watched::task("listener of proofs");
    loop {
        turns.rest();
        let permit = tokio::select! {
            () = stopped(&mut stop) => return,
            permit = Arc::clone(&connections).acquire_owned() => permit.expect("nobody closes the semaphore"),
        };
        let stream = tokio::select! {
            () = stopped(&mut stop) => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: wait for connections to end instead of spinning.
                    tracing::warn!("a connection for a proof could not be accepted: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        turns.begin(limits::ACCEPT_STEP_MAX);
        let challenges = Arc::clone(&challenges);
        tokio::spawn(async move {
            connection(stream, &challenges).await;
            drop(permit);
        });
    }
}

async fn connection(stream: TcpStream, challenges: &Challenges) {
    let service = service_fn(async |request: Request<Incoming>| Ok::<_, Infallible>(answer(&request, challenges)));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER_WAIT_MAX)
        .max_headers(limits::HEADERS_MAX)
        .max_buf_size(limits::HEADER_BYTES_MAX)
        // One question, one answer.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Also whoever does not read what is answered has no more time.
    if let Ok(Err(error)) = timeout(limits::HEADER_WAIT_MAX * 2, served).await {
        tracing::debug!("a connection for a proof ended early: {error}");
    }
}

fn answer<B>(request: &Request<B>, challenges: &Challenges) -> Response<Full<Bytes>> {
    let token = request.uri().path().strip_prefix("/.well-known/acme-challenge/");
    let asks = matches!(*request.method(), Method::GET | Method::HEAD);
    let text = token.filter(|_| asks).and_then(|token| challenges.text(token));
    let mut response = Response::new(Full::default());
    match text {
        Some(text) => {
            *response.body_mut() = Full::from(text);
            let kind = HeaderValue::from_static("application/octet-stream");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        None => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_all_that_is_told_and_only_while_it_is_laid_out() {
        let challenges = Arc::new(Challenges::default());
        let status = |method: Method, path: &str| {
            let request = Request::builder().method(method).uri(path).body(()).unwrap();
            answer(&request, &challenges).status()
        };
        let path = "/.well-known/acme-challenge/token";
        assert_eq!(status(Method::GET, path), StatusCode::NOT_FOUND);
        let placed = challenges.place_http("token", "token.thumb");
        assert_eq!(status(Method::GET, path), StatusCode::OK);
        for (method, path) in [
            (Method::POST, path),
            (Method::GET, "/"),
            (Method::GET, "/.well-known/acme-challenge/"),
            (Method::GET, "/.well-known/acme-challenge/token/"),
            (Method::GET, "/hooks/0123456789abcdef0123456789abcdef"),
        ] {
            assert_eq!(status(method, path), StatusCode::NOT_FOUND, "{path}");
        }
        drop(placed);
        assert_eq!(status(Method::GET, path), StatusCode::NOT_FOUND);
    }
}
