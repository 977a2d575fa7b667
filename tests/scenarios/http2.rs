//! What a stranger may take up at the page's listener over HTTP/2, where much fits into little.

use std::sync::Arc;

use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes};
use hyper::client::conn::http2;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::gateway::Gateway;
use crate::support::tls;

/// Asks once over a connection of its own.
async fn ask<B>(page: &str, request: Request<B>) -> hyper::Result<Response<Bytes>>
where
    B: Body<Data = Bytes, Error = std::convert::Infallible> + Send + Unpin + 'static,
{
    let stream = TcpStream::connect(page).await.unwrap();
    let mut config = tls::takes_any();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let running = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    running.abort();
    Ok(Response::from_parts(head, body))
}

fn scene() -> (Gateway, String, tokio::runtime::Runtime) {
    let gateway = Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]);
    let page = gateway.json(&["status"])["page"].as_str().unwrap().replace("https://", "");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    (gateway, page, runtime)
}

#[test]
fn a_head_that_would_fill_the_memory_is_refused_over_http_2() {
    let (_gateway, page, runtime) = scene();
    let with = |lines: usize, length: usize| {
        let mut request = Request::get(format!("https://{page}/sign-in"));
        for line in 0..lines {
            request = request.header(format!("x-{line}"), "v".repeat(length));
        }
        let answer = runtime.block_on(ask(&page, request.body(Empty::new()).unwrap()));
        answer.map(|answer| answer.status())
    };
    assert_eq!(with(40, 1).unwrap(), StatusCode::SEE_OTHER, "nobody is set up yet");
    assert_eq!(with(80, 1).unwrap(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    // Whether the client sees the answer or the end of the stream first is left open by the protocol.
    let large = with(20, 1_000);
    assert!(large.as_ref().map_or(true, |status| *status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE), "{large:?}");
}

#[test]
fn a_body_that_never_comes_is_not_waited_for_over_http_2() {
    let (_gateway, page, runtime) = scene();
    let (_sender, never) = Channel::<Bytes, std::convert::Infallible>::new(1);
    let request = Request::post(format!("https://{page}/api/v1/session")).header("content-type", "application/json");
    let answer = runtime.block_on(ask(&page, request.body(never).unwrap())).unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let said = String::from_utf8_lossy(answer.body()).into_owned();
    assert!(said.contains("did not come within 30 s"), "{said}");
}
