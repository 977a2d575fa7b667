//! The admin API: one set of handlers, described by the shapes of [`shapes`]. In this version it is served on a
//! unix socket, whose file permission is the right to use it.

mod access;
mod answers;
mod assets;
mod backup;
mod changes;
mod deliveries;
mod describe;
mod destinations;
mod doctor;
mod document;
mod events;
mod export;
mod filters;
mod findings;
mod fleet;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod guard;
mod handlers;
mod health;
mod imports;
mod key;
mod listener;
mod metrics;
mod notices;
mod offers;
mod page;
mod projects;
mod repeats;
mod routes;
pub mod settings;
pub mod shapes;
mod sources;
mod standby;
mod status;
mod trend;
mod triage;
mod views;
mod webhooks;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, oneshot, watch};

pub use self::access::Peer;
pub use self::answers::Problem;
pub use self::document::document;
pub use self::listener::serve_network;
pub use self::notices::watch_conditions;
pub use self::page::pages;
use crate::domain::certificate::{self, Origin, Way};
use crate::domain::ids::EndpointId;
use crate::domain::limits;
use crate::domain::time::Timestamp;
use crate::ingress::Counters;
use crate::ingress::border::Border;
use crate::ingress::directory::Directory;
use crate::store::{Reader, Store};
use crate::work::Work;
use crate::work::certificates::Certificates;
use crate::work::deliver::Deliver;

/// What the handlers need.
pub struct Admin {
    /// The store.
    pub store: Store,
    /// Workers, their connections and their progress.
    pub work: Arc<Work>,
    /// What tells the destinations.
    pub deliver: Arc<Deliver>,
    /// The listener's endpoints.
    pub directory: Arc<Directory>,
    /// The listener's counts.
    pub counters: Arc<Counters>,
    /// What strangers meet.
    pub border: Arc<Border>,
    /// Where webhooks are taken; nowhere on a box that only polls.
    pub webhook_address: Option<SocketAddr>,
    /// Whether the listener speaks TLS itself.
    pub webhook_tls: bool,
    /// The address that Sonar reaches the listener at, given for this run.
    pub public_url: Option<String>,
    /// When the daemon started.
    pub started_at: Timestamp,
    /// Where the page and the API are served over the network; nowhere if they are not.
    pub page_address: Option<SocketAddr>,
    /// The listeners' certificate; nothing where nobody serves.
    certificates: OnceLock<Arc<Certificates>>,
    access: access::Access,
    pulse: status::Beat,
    news: events::News,
    /// One password is hashed at a time; the others wait without a thread.
    hashing: Semaphore,
    reads: Semaphore,
    /// What asks Sonar or a platform waits for them, and must not hold up reads.
    questions: Semaphore,
    /// Files that are being taken out hold a thread each.
    exports: Arc<Semaphore>,
    /// A backup, or a look at every record, waits for no export.
    backups: Arc<Semaphore>,
    repeats: Arc<repeats::Repeats>,
    /// One look at what an import would bring at a time: it asks Sonar for minutes, and must not hold up reads.
    previews: Arc<Semaphore>,
    /// The last test of each webhook, for whoever looks at it again.
    tests: Mutex<BTreeMap<EndpointId, shapes::WebhookTest>>,
    /// Whether the doctor is looking.
    diagnosing: doctor::Diagnosing,
}

impl Admin {
    /// Puts the handlers' state together.
    #[allow(clippy::too_many_arguments, reason = "a list of parts that the daemon has built, each of its own type")]
    pub fn new(
        store: Store,
        work: Arc<Work>,
        deliver: Arc<Deliver>,
        directory: Arc<Directory>,
        counters: Arc<Counters>,
        webhook_address: Option<SocketAddr>,
        webhook_tls: bool,
        public_url: Option<String>,
        started_at: Timestamp,
        page_address: Option<SocketAddr>,
    ) -> Arc<Self> {
        let reads = Semaphore::new(limits::ADMIN_READS_MAX);
        let border = Border::new(work.clock.clone());
        Arc::new(Self {
            store,
            work,
            deliver,
            directory,
            counters,
            border,
            webhook_address,
            webhook_tls,
            public_url,
            started_at,
            page_address,
            certificates: OnceLock::new(),
            access: access::Access::default(),
            pulse: status::Beat::default(),
            news: events::News::default(),
            hashing: Semaphore::new(1),
            reads,
            questions: Semaphore::new(limits::ADMIN_QUESTIONS_MAX),
            exports: Arc::new(Semaphore::new(limits::EXPORTS_MAX)),
            backups: Arc::new(Semaphore::new(limits::BACKUPS_MAX)),
            repeats: repeats::Repeats::new(),
            previews: Arc::new(Semaphore::new(1)),
            tests: Mutex::default(),
            diagnosing: doctor::Diagnosing::default(),
        })
    }

    /// Has it know the listeners' certificate.
    pub fn hold(&self, certificates: Arc<Certificates>) {
        // There is one set of listeners.
        let _ = self.certificates.set(certificates);
    }

    /// What to do for another certificate.
    fn renewal(&self) -> String {
        self.certificates.get().map_or_else(|| certificate::renewal(Origin::Files, None), |held| held.renewal())
    }

    /// The certificate that this box shows, DER; nothing if it speaks no TLS.
    fn certificate(&self) -> Option<Vec<u8>> {
        Some(self.certificates.get()?.shown()?.certificate())
    }

    /// The way on which SonarQube trusts this box.
    fn way(&self) -> Way {
        match self.certificates.get() {
            Some(held) => held.way(),
            None => certificate::way(self.webhook_address.is_some(), self.webhook_tls, None),
        }
    }

    /// The same with what is to be done, for a SonarQube Cloud (true), a Server (false) or whichever.
    fn way_told(&self, cloud: Option<bool>) -> shapes::WayTold {
        let authority = self.certificates.get().and_then(|held| held.authority());
        shapes::WayTold::of(self.way(), cloud, authority.as_ref())
    }

    /// Does something that blocks, as one of a few at a time.
    async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        task: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let _permit = self.reads.acquire().await.expect("nobody closes the semaphore");
        self.block(task).await
    }

    /// Asks Sonar or a platform something, as one of a few at a time.
    async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        task: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let _permit = self.questions.acquire().await.expect("nobody closes the semaphore");
        self.block(task).await
    }

    /// Does something that blocks.
    async fn block<T: Send + 'static>(
        self: &Arc<Self>,
        task: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        self.hand_over(Box::new(move |admin| {
            // Whoever asked may be gone.
            let _ = reply.send(task(admin));
        }));
        answer
            .await
            .unwrap_or_else(|_| Err(Problem::internal("the request failed inside hydrophone; its log says more")))
    }

    /// Once for all tasks: a runtime's task holds much code for each type of what it does.
    fn hand_over(self: &Arc<Self>, task: Box<dyn FnOnce(&Self) + Send>) {
        let admin = Arc::clone(self);
        drop(tokio::task::spawn_blocking(move || task(&admin)));
    }

    /// Reads the store, as one of a few at a time.
    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self, &Reader) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.run(move |admin| admin.store.read(|view| read(admin, view))).await
    }
}

type Shared = axum::extract::State<Arc<Admin>>;

/// What is served to whoever may use the socket.
fn of_socket(admin: &Arc<Admin>) -> Router {
    router(admin).layer(from_fn(access::by_socket)).with_state(Arc::clone(admin))
}

/// What is served over the network.
pub(crate) fn of_network(admin: &Arc<Admin>) -> Router {
    let pages = page::router(admin);
    router(admin)
        .merge(pages)
        .fallback(page::nowhere)
        .layer(from_fn_with_state(Arc::clone(admin), access::by_network))
        .with_state(Arc::clone(admin))
}

fn router(admin: &Arc<Admin>) -> Router<Arc<Admin>> {
    Router::new()
        .nest("/api/v1", routes::router(admin))
        .route(
            "/metrics",
            get(metrics::show).layer(from_fn_with_state(guard::Needs::look(admin, "Show metrics"), guard::let_in)),
        )
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .fallback(answers::no_such_address)
        .method_not_allowed_fallback(answers::no_such_method)
        .layer(DefaultBodyLimit::max(limits::ADMIN_BODY_BYTES_MAX))
}

/// Why the admin socket cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("the admin socket {} cannot be made: {error}; {}", .path.display(), remedy(path, error))]
pub struct NoSocket {
    path: PathBuf,
    error: io::Error,
}

impl NoSocket {
    /// Whether only a person can change anything about it.
    pub fn needs_person(&self) -> bool {
        // What answers there may be about to end.
        self.error.kind() != io::ErrorKind::AddrInUse
    }

    /// The system's number of the error, if it is one of its.
    pub fn errno(&self) -> Option<i32> {
        self.error.raw_os_error()
    }
}

/// What to do about a socket that cannot be made.
fn remedy(path: &Path, error: &io::Error) -> String {
    let folder = path.parent().unwrap_or(path).display();
    match error.kind() {
        io::ErrorKind::AddrInUse => "stop that one, or give this one another with --socket".to_owned(),
        io::ErrorKind::AlreadyExists => "move that file away, or name another path with --socket".to_owned(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!(
                "the user that runs hydrophone must be able to write to {folder}; or name another path with --socket"
            )
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            format!("make the folder {folder}, or name another path with --socket")
        }
        // The path of a socket has room for 107 bytes.
        io::ErrorKind::InvalidInput => "name a shorter path with --socket".to_owned(),
        _ => "name another path with --socket".to_owned(),
    }
}

/// Binds the admin socket: readable and writable for the service's user and group. The state folder's lock has
/// made sure that no other daemon of this folder uses a socket that is there.
pub fn bind(path: &Path) -> Result<UnixListener, NoSocket> {
    let failed = |error| NoSocket { path: path.to_owned(), error };
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(failed(io::Error::new(io::ErrorKind::AddrInUse, "another daemon answers on it"))),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let kind = std::fs::symlink_metadata(path).map_err(failed)?.file_type();
            if !kind.is_socket() {
                return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket")));
            }
            std::fs::remove_file(path).map_err(failed)?;
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}

/// Serves the API until told to stop, then lets requests end.
pub async fn serve(listener: UnixListener, admin: Arc<Admin>, mut stop: watch::Receiver<bool>) {
    let stopped = async move {
        // An error means that the daemon is gone altogether, which is as good as being told to stop.
        let _ = stop.wait_for(|&stop| stop).await;
    };
    let router = of_socket(&admin).into_make_service_with_connect_info::<access::local::Local>();
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
        tracing::error!("the admin socket failed: {error}");
    }
}
