//! Connections of both listeners: who is let in, who has to go for it, how they end. What is said on them is the
//! listener's.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;

use super::border::{Border, Coming, Reason, Refusals, Which};
use crate::domain::gate::Sender;
use crate::domain::limits;
use crate::domain::seats::{Admitted, Number, Seats};
use crate::sys::loops::Watched;

/// The seats of a listener, and its counts.
pub struct Door {
    seats: Mutex<Seated>,
    /// Those that sit, and those that were told to go and have not noticed yet.
    room: Arc<Semaphore>,
    max: usize,
    ended: AtomicU64,
    /// What was refused.
    pub refusals: Refusals,
}

struct Seated {
    seats: Seats,
    ends: BTreeMap<Number, Arc<Notify>>,
}

impl Door {
    pub(super) fn new(max: usize, per_sender: usize) -> Self {
        let seats = Seated { seats: Seats::new(max, per_sender), ends: BTreeMap::new() };
        Self {
            seats: Mutex::new(seats),
            room: Arc::new(Semaphore::new(max + limits::CONNECTIONS_ENDING_MAX)),
            max,
            ended: AtomicU64::new(0),
            refusals: Refusals::default(),
        }
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.seated().seats.count()
    }

    /// Connections that may be open.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Connections that were ended to make room.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    fn seated(&self) -> MutexGuard<'_, Seated> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives somebody a seat, and tells who has to go for it to do so.
    fn seat(&self, sender: Option<Sender>) -> (Number, Arc<Notify>) {
        let end = Arc::new(Notify::new());
        let mut seated = self.seated();
        let Admitted { number, ends } = seated.seats.admit(sender);
        seated.ends.insert(number, Arc::clone(&end));
        if let Some(other) = ends.and_then(|number| seated.ends.get(&number)) {
            other.notify_one();
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
        (number, end)
    }

    /// Everybody, whatever became of them.
    async fn empty(&self) -> bool {
        let all = u32::try_from(self.max + limits::CONNECTIONS_ENDING_MAX).expect("the limit fits");
        timeout(limits::COMMIT_WAIT_MAX, self.room.acquire_many(all)).await.is_ok()
    }
}

/// A connection's place among the others, for as long as this lives.
pub struct Seat {
    border: Arc<Border>,
    which: Which,
    number: Number,
    end: Arc<Notify>,
    /// Where it comes from.
    pub from: SocketAddr,
    /// Whom it is counted for.
    sender: Option<Sender>,
    has_begun: AtomicBool,
    is_proven: AtomicBool,
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    /// Notes that a request has come.
    pub fn begin(&self) {
        self.has_begun.store(true, Ordering::Relaxed);
    }

    /// Notes that it is one of ours: it goes last.
    pub fn prove(&self) {
        if !self.is_proven.swap(true, Ordering::Relaxed) {
            self.border.door(self.which).seated().seats.prove(self.number);
        }
    }

    /// Whose address counts for a request.
    pub fn client(&self, headers: &hyper::HeaderMap) -> IpAddr {
        self.border.client(self.from.ip(), headers)
    }

    /// Waits for a handshake, within its time; nothing if that fails, or was all that was wanted.
    pub async fn shake(
        &self,
        handshake: impl Future<Output = io::Result<Option<TlsStream<TcpStream>>>>,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<TlsStream<TcpStream>> {
        let shaken = tokio::select! {
            shaken = timeout(limits::HANDSHAKE_MAX, handshake) => shaken,
            () = self.end.notified() => return None,
            () = last_call(stop) => return None,
        };
        let what = self.which.noun();
        match shaken {
            Ok(Ok(stream)) => return stream,
            Ok(Err(error)) => {
                self.border.count(self.which, Reason::Handshake);
                tracing::debug!("a {what} connection's TLS handshake failed: {error}");
            }
            Err(_) => {
                self.border.count(self.which, Reason::HandshakeTimeout);
                tracing::debug!("a {what} connection's TLS handshake took too long");
            }
        }
        None
    }

    /// Has a connection speak until it ends or has to: at a stop, at its age, or to make room for others. Who has proved to
    /// be one of ours may end what they are at.
    pub async fn converse<C, E: Display>(
        &self,
        connection: C,
        end_kindly: fn(Pin<&mut C>),
        age_max: Option<Duration>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), E>
    where
        C: Future<Output = Result<(), E>>,
    {
        let mut connection = pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = self.end.notified() => {
                if !self.is_proven.load(Ordering::Relaxed) {
                    return Ok(());
                }
            }
            () = self.silence() => {
                self.border.count(self.which, Reason::Slow);
                return Ok(());
            }
            () = stopped(stop) => {}
            () = self.age(age_max) => {}
        }
        // hyper would close a connection that nothing has come in on, and who has just connected would call in vain.
        if !self.has_begun.load(Ordering::Relaxed) {
            tokio::select! {
                ended = connection.as_mut() => return ended,
                () = sleep(limits::LAST_CALL_MAX) => {}
            }
        }
        end_kindly(connection.as_mut());
        // Whoever neither sends nor reads any more does not hold the place for ever.
        timeout(limits::COMMIT_WAIT_MAX, connection).await.unwrap_or(Ok(()))
    }

    /// The end of the time in which something has to come. hyper sees to that itself, but for the beginning of HTTP/2.
    async fn silence(&self) {
        sleep(2 * limits::HEADER_WAIT_MAX).await;
        if self.has_begun.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    /// The end of its time. Where senders of ours have as much as they want, strangers have not.
    async fn age(&self, most: Option<Duration>) {
        sleep(most.unwrap_or(limits::CONNECTION_AGE_MAX)).await;
        if most.is_none() && self.is_proven.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    /// Notes how a connection ended.
    pub fn note(&self, ended: Option<&(dyn std::error::Error + 'static)>) {
        let Some(error) = ended else { return };
        // One that was kept open, and nobody needed any more, ends so as well.
        if !self.is_proven.load(Ordering::Relaxed)
            && let Some(error) = error.downcast_ref::<hyper::Error>()
        {
            if error.is_timeout() {
                self.border.count(self.which, Reason::Slow);
            } else if error.is_parse() {
                self.border.count(self.which, Reason::Headers);
            }
        }
        tracing::debug!("a {} connection ended early: {error}", self.which.noun());
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.filter(|_| !*self.has_begun.get_mut()) {
            self.border.silent(sender);
        }
        let mut seated = self.border.door(self.which).seated();
        seated.seats.leave(self.number);
        seated.ends.remove(&self.number);
    }
}

impl Which {
    fn noun(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Page => "page",
        }
    }
}

/// What a listener does with a connection.
pub type Handle = Box<dyn Fn(TcpStream, Seat) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Takes connections until told to stop, then lets those that are open end what they are at.
pub async fn serve(
    border: Arc<Border>,
    which: Which,
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
    handle: Handle,
) {
    let name = which.noun();
    let door = border.door(which);
    let turns = Watched::task(&format!("{name} listener"));
    loop {
        turns.rest();
        let permit = tokio::select! {
            () = stopped(&mut stop) => break,
            permit = Arc::clone(&door.room).acquire_owned() => permit.expect("nobody closes the semaphore"),
        };
        let (stream, from) = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: wait for connections to end instead of spinning.
                    border.not_accepted(&format!("{name} listener"), &error);
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        turns.begin(limits::ACCEPT_STEP_MAX);
        // Closed before a handshake: it costs most, and a word about it would help nobody but whoever looks around.
        let Coming::Welcome(sender) = border.coming(which, from.ip()) else { continue };
        let (number, end) = door.seat(sender);
        let seat = Seat {
            border: Arc::clone(&border),
            which,
            number,
            end,
            from,
            sender,
            has_begun: AtomicBool::new(false),
            is_proven: AtomicBool::new(false),
            _permit: permit,
        };
        // Answers are small and complete: there is nothing to gain from waiting for more.
        let _ = stream.set_nodelay(true);
        tokio::spawn(handle(stream, seat));
    }
    drop(turns);
    drop(listener);
    if !door.empty().await {
        tracing::warn!("some {name} connections were still open when the listener stopped");
    }
}

pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the daemon is gone altogether, which is as good as being told to stop.
    let _ = stop.wait_for(|&stop| stop).await;
}

/// The end of the time that is left to those who have connected and not called yet.
async fn last_call(stop: &mut watch::Receiver<bool>) {
    stopped(stop).await;
    sleep(limits::LAST_CALL_MAX).await;
}
