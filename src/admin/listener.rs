//! The page and the API over the network: TLS only, HTTP/1.1 and HTTP/2 (event streams would use up the few connections
//! that a browser opens for HTTP/1.1). Whoever is logged in or shows a token holds their connection when others crowd in.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::response::IntoResponse;
use axum::{BoxError, Router};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::access::{On, Peer};
use super::{Admin, of_network};
use crate::domain::limits;
use crate::ingress::border::Which;
use crate::ingress::connections::{self, Seat};
use crate::sys::clients::Served;

/// Serves the page and the API until told to stop, then lets requests end.
pub async fn serve_network(listener: TcpListener, tls: Arc<Served>, admin: Arc<Admin>, stop: watch::Receiver<bool>) {
    let router = of_network(&admin);
    let told = stop.clone();
    let handle = move |stream, seat| {
        let (tls, router, stop) = (Arc::clone(&tls), router.clone(), told.clone());
        Box::pin(async move { connection(stream, &tls, router, seat, stop).await })
            as Pin<Box<dyn Future<Output = ()> + Send>>
    };
    connections::serve(Arc::clone(&admin.border), Which::Page, listener, stop, Box::new(handle)).await;
}

async fn connection(stream: TcpStream, tls: &Served, router: Router, seat: Seat, mut stop: watch::Receiver<bool>) {
    let shaking = async { TlsAcceptor::from(tls.config()).accept(stream).await.map(Some) };
    let Some(stream) = seat.shake(shaking, &mut stop).await else { return };
    let is_http_2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let seat = Arc::new(seat);
    let on = Arc::clone(&seat);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        on.begin();
        let client = SocketAddr::new(on.client(request.headers()), on.from.port());
        request.extensions_mut().insert(Peer(client));
        request.extensions_mut().insert(On(Arc::downgrade(&on)));
        let router = router.clone();
        async move {
            // HTTP/1.1 has its limit in the reader; for HTTP/2 a line may be two bytes that were sent once before.
            if request.headers().len() > limits::HEADERS_MAX {
                return Ok(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response());
            }
            router.oneshot(request.map(Timely::body)).await
        }
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
        .max_header_list_size(limits::HTTP2_HEADER_BYTES_MAX);
    // What was agreed in the handshake; to wait for the first bytes to tell would be to wait without a limit.
    let builder = if is_http_2 { builder.http2_only() } else { builder.http1_only() };
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let end_kindly = |connection: Pin<&mut _>| auto::Connection::graceful_shutdown(connection);
    let ended = seat.converse(connection, end_kindly, None, &mut stop).await;
    seat.note(ended.as_ref().err().map(|error| &**error as _));
}

/// A body that has to be there by then: whoever sends none takes a request's memory all the same.
struct Timely {
    body: Incoming,
    until: Pin<Box<Sleep>>,
}

impl Timely {
    fn body(body: Incoming) -> Body {
        if body.is_end_stream() {
            return Body::empty();
        }
        Body::new(Self { body, until: Box::pin(tokio::time::sleep(limits::ADMIN_BODY_WAIT_MAX)) })
    }
}

impl hyper::body::Body for Timely {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending if self.until.as_mut().poll(cx).is_ready() => {
                let most = limits::ADMIN_BODY_WAIT_MAX.as_secs();
                Poll::Ready(Some(Err(format!("the body did not come within {most} s").into())))
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
