//! The page and the API over the network: TLS only, HTTP/1.1 and HTTP/2 (event streams would use up the few connections
//! that a browser opens for HTTP/1.1).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::access::Peer;
use super::{Admin, of_network};
use crate::domain::limits;
use crate::sys::loops::Watched;

/// Serves the page and the API until told to stop, then lets requests end.
pub async fn serve_network(
    listener: TcpListener,
    tls: TlsAcceptor,
    admin: Arc<Admin>,
    mut stop: watch::Receiver<bool>,
) {
    let connections = Arc::new(Semaphore::new(limits::ADMIN_CONNECTIONS_MAX));
    let router = of_network(&admin);
    let turns = Watched::task("page's listener");
    loop {
        turns.rest();
        let permit = tokio::select! {
            () = stopped(&mut stop) => break,
            permit = Arc::clone(&connections).acquire_owned() => permit.expect("nobody closes the semaphore"),
        };
        let (stream, from) = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: wait for connections to end instead of spinning.
                    tracing::warn!("a connection to the page could not be accepted: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        turns.begin(limits::ACCEPT_STEP_MAX);
        let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
        tokio::spawn(async move {
            connection(stream, &tls, router, Peer(from), stop).await;
            drop(permit);
        });
    }
    drop(turns);
    drop(listener);
    let all = u32::try_from(limits::ADMIN_CONNECTIONS_MAX).expect("the limit fits");
    if timeout(limits::COMMIT_WAIT_MAX, connections.acquire_many(all)).await.is_err() {
        tracing::warn!("some connections to the page were still open when the listener stopped");
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the daemon is gone altogether, which is as good as being told to stop.
    let _ = stop.wait_for(|&stop| stop).await;
}

async fn connection(stream: TcpStream, tls: &TlsAcceptor, router: Router, peer: Peer, mut stop: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let stream = match timeout(limits::HANDSHAKE_MAX, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!("a TLS handshake of the page's listener failed: {error}"),
        Err(_) => return tracing::debug!("a TLS handshake of the page's listener took too long"),
    };
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request.map(Body::new))
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER_WAIT_MAX)
        .max_buf_size(limits::HEADER_BYTES_MAX)
        .max_headers(limits::HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits::HTTP2_PING_INTERVAL)
        .max_concurrent_streams(limits::HTTP2_STREAMS_MAX)
        .max_header_list_size(u32::try_from(limits::HEADER_BYTES_MAX).expect("the limit fits"));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return note(ended),
        () = stopped(&mut stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    if let Ok(ended) = timeout(limits::COMMIT_WAIT_MAX, connection).await {
        note(ended);
    }
}

fn note(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!("a connection to the page ended: {error}");
    }
}
