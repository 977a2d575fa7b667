//! Connections and bodies that can break: a socket that ends with a reset, a body that comes in pieces or breaks off.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::Fault;

/// A connection that ends with a reset instead of a proper end once it is told to.
pub struct Wire {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Wire {
    /// What is written goes out at once: a reset would drop what waits for the other side to say that it has the rest.
    pub fn new(stream: TcpStream, reset: Arc<AtomicBool>) -> Wire {
        let _ = stream.set_nodelay(true);
        Wire { stream, reset }
    }

    fn check(&self) -> io::Result<()> {
        if self.reset.load(Ordering::SeqCst) { Err(gone()) } else { Ok(()) }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::SeqCst) {
            // Closing a socket that may not linger drops what is unsent and resets the connection.
            self.stream.set_zero_linger().expect("a connected socket takes this option");
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Not even the farewell of TLS.
        self.check()?;
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A proper end would come before the reset.
        self.check()?;
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

pub fn gone() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionAborted)
}

/// A body that may come in pieces, and may break off in its middle.
pub struct Reply {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// How long every piece after the first is waited for.
    pause: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    end: End,
}

enum End {
    Whole,
    /// The connection breaks, with a reset if there is a connection to tell.
    Broken(Option<Arc<AtomicBool>>),
    /// Waiting one turn, in which the connection writes out the half it has.
    Breaking(Option<Arc<AtomicBool>>),
}

impl Reply {
    /// The body as a fault has it.
    pub fn spoiled<X>(body: String, fault: Option<&Fault<X>>, reset: Arc<AtomicBool>) -> Reply {
        match fault {
            Some(Fault::CutBody { .. }) => Reply::cut(body, None),
            Some(Fault::ResetBody { .. }) => Reply::cut(body, Some(reset)),
            Some(Fault::Drip { pieces, pause, .. }) => Reply::drip(body, *pieces, *pause),
            _ => Reply::whole(body),
        }
    }

    pub fn whole(body: String) -> Reply {
        Reply::drip(body, 1, Duration::ZERO)
    }

    pub fn cut(body: String, reset: Option<Arc<AtomicBool>>) -> Reply {
        let mut reply = Reply::whole(body);
        for piece in &mut reply.pieces {
            piece.truncate(reply.bytes / 2);
        }
        Reply { end: End::Broken(reset), ..reply }
    }

    pub fn drip(body: String, pieces: usize, pause: Duration) -> Reply {
        let bytes = body.len();
        let mut rest = Bytes::from(body);
        let size = bytes.div_ceil(pieces.max(1));
        let mut pieces = VecDeque::new();
        while !rest.is_empty() {
            pieces.push_back(rest.split_to(size.min(rest.len())));
        }
        Reply { pieces, bytes, pause, waiting: None, end: End::Whole }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(waiting) = &mut self.waiting {
            ready!(waiting.as_mut().poll(context));
            self.waiting = None;
        }
        if let Some(piece) = self.pieces.pop_front() {
            if !self.pieces.is_empty() {
                self.waiting = Some(Box::pin(sleep(self.pause)));
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match std::mem::replace(&mut self.end, End::Whole) {
            End::Whole => Poll::Ready(None),
            End::Broken(reset) => {
                self.end = End::Breaking(reset);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            End::Breaking(reset) => {
                if let Some(reset) = reset {
                    reset.store(true, Ordering::SeqCst);
                }
                Poll::Ready(Some(Err(gone())))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes as u64)
    }
}
