//! Builds everything, runs it, and takes it down in order: first the listeners, then the workers, then the store.

pub mod offline;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::admin::{self, Admin, NoSocket};
use crate::domain::limits;
use crate::domain::settings::{FREE_SPACE_MIN, PUBLIC_URL, SYNC_WORKERS, check_url};
use crate::ingress::directory::Directory;
use crate::ingress::{Counters, Ingress};
use crate::store::records::SecretBytes;
use crate::store::secrets::Locked;
use crate::store::{OpenError, Store, StoreError, settings};
use crate::sys::bell::Bell;
use crate::sys::clock::Clock;
use crate::sys::dice::Dice;
use crate::sys::seal::Place;
use crate::sys::tls::{BadIdentity, Identity, own_names};
use crate::sys::trust::Trust;
use crate::sys::{clock, log, notify};
use crate::work::Work;
use crate::work::deliver::Deliver;
use crate::work::progress::Progress;
use crate::work::sources::Sources;

/// What `serve` was told.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// The state folder.
    pub state: &'a Path,
    /// The admin socket.
    pub socket: &'a Path,
    /// Where webhooks are taken; without it none are, and SonarQube is only polled.
    pub webhook_listen: Option<SocketAddr>,
    /// Where the page and the API are served; without it they are not, but for the socket.
    pub admin_listen: Option<SocketAddr>,
    /// Without TLS, behind a proxy or tunnel that adds it.
    pub webhook_plain: bool,
    /// The address that Sonar reaches the listener at, for this run.
    pub public_url: Option<String>,
    /// A damaged database is renamed and a new one begun.
    pub set_damaged_aside: bool,
    /// Logs as JSON.
    pub log_json: bool,
}

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("webhooks cannot be taken on {address}: {error}{hint}")]
    Listen { address: SocketAddr, error: io::Error, hint: &'static str },
    #[error("the page cannot be served on {address}: {error}{hint}")]
    Page { address: SocketAddr, error: io::Error, hint: &'static str },
    #[error(transparent)]
    Socket(#[from] NoSocket),
    #[error(transparent)]
    Certificate(#[from] BadIdentity),
    #[error("--public-url {0}")]
    PublicUrl(String),
    #[error("the daemon cannot start its threads: {0}")]
    Runtime(io::Error),
}

impl StartError {
    /// 78 where only a person can change anything, so that the service manager does not try again; else 1.
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Open(
                OpenError::NotWritable { .. } | OpenError::Newer { .. } | OpenError::Damaged { .. } | OpenError::Key(_),
            )
            | Self::PublicUrl(_) => ExitCode::from(78),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Runs the gateway until it is told to stop.
pub fn serve(options: &Options) -> ExitCode {
    log::start(options.log_json);
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("hydrophone does not start: {error}");
            error.exit_code()
        }
    }
}

fn run(options: &Options) -> Result<(), StartError> {
    if let Some(url) = &options.public_url {
        check_url(url).map_err(StartError::PublicUrl)?;
    }
    let bell = Arc::new(Bell::default());
    let key = Place::of_process(options.state);
    let store = if options.set_damaged_aside {
        Store::open_or_set_aside(options.state, bell, &key, clock::now())?
    } else {
        Store::open_with(options.state, bell, &key)?
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(limits::BLOCKING_THREADS_MAX)
        .thread_keep_alive(Duration::from_secs(5))
        .thread_stack_size(512 * 1024)
        .thread_name("async")
        .enable_all()
        .build()
        .map_err(StartError::Runtime)?;
    let result = runtime.block_on(run_with(options, &store));
    // Whatever is still being done for an API call may end, but not hold the daemon up.
    runtime.shutdown_timeout(Duration::from_secs(1));
    store.close();
    if result.is_ok() {
        tracing::info!("stopped");
    }
    result
}

async fn run_with(options: &Options<'_>, store: &Store) -> Result<(), StartError> {
    let started_at = clock::now();
    // Taken before anybody is told that we run: a signal that comes at once must end us in order, too.
    let signals = Signals::take();
    // Bound before anything else is made, so that a port that is taken leaves nothing behind.
    let webhooks = match options.webhook_listen {
        Some(wanted) => {
            let listener = listen(wanted).await?;
            let address = listener.local_addr().map_err(|error| failed(wanted, error))?;
            Some((listener, address))
        }
        None => None,
    };
    let address = webhooks.as_ref().map(|(_, address)| *address);
    let pages = match options.admin_listen {
        Some(wanted) => {
            let listener = TcpListener::bind(wanted).await.map_err(|error| unserved(wanted, error))?;
            let address = listener.local_addr().map_err(|error| unserved(wanted, error))?;
            Some((listener, address))
        }
        None => None,
    };
    let (free_space_min, workers) = store.read::<_, StoreError>(|view| {
        Ok((settings::number_of(view, FREE_SPACE_MIN)?, settings::number_of(view, SYNC_WORKERS)?))
    })?;
    store.set_free_space_min(free_space_min * 1024 * 1024);
    let takes_tls = webhooks.is_some() && !options.webhook_plain;
    let identity =
        (takes_tls || pages.is_some()).then(|| identity(store, options.public_url.as_deref())).transpose()?;
    let tls = match &identity {
        Some(identity) if takes_tls => Some(TlsAcceptor::from(identity.server(&[HTTP_1])?)),
        _ => None,
    };
    let directory = Arc::new(Directory::default());
    directory.reload(store)?;
    let counters = Arc::new(Counters::default());
    let clock = Clock::system();
    let sources = Arc::new(Sources::new(store.clone(), Trust::load(), clock.clone()));
    let work = Work::new(store.clone(), sources, Arc::new(Progress::default()), clock, Dice::system());
    let deliver = Deliver::new(Arc::clone(&work));
    let admin = Admin::new(
        store.clone(),
        Arc::clone(&work),
        Arc::clone(&deliver),
        Arc::clone(&directory),
        Arc::clone(&counters),
        address,
        !options.webhook_plain,
        options.public_url.clone(),
        started_at,
        pages.as_ref().map(|(_, address)| *address),
    );
    let socket = admin::bind(options.socket)?;
    let (stop, stopped) = watch::channel(false);
    let ingress = webhooks.map(|(listener, _)| {
        tokio::spawn(Ingress::new(store.clone(), directory, counters).serve(listener, tls, stopped.clone()))
    });
    let page = match (pages, &identity) {
        (Some((listener, address)), Some(identity)) => {
            tell_set_up(&admin, address)?;
            let tls = TlsAcceptor::from(identity.server(&[HTTP_2, HTTP_1])?);
            Some(tokio::spawn(admin::serve_network(listener, tls, Arc::clone(&admin), stopped.clone())))
        }
        _ => None,
    };
    let api = tokio::spawn(admin::serve(socket, admin, stopped));
    let mut threads = Vec::new();
    let locked = store.locked();
    if locked.is_none() {
        threads = work.start(usize::try_from(workers).unwrap_or(1));
        threads.push(deliver.start());
    }
    let doing = match address {
        Some(address) if options.webhook_plain => format!("takes webhooks on http://{address}"),
        Some(address) => format!("takes webhooks on https://{address}"),
        None => "takes no webhooks and polls SonarQube".to_owned(),
    };
    tracing::info!("hydrophone {} {doing}", env!("CARGO_PKG_VERSION"));
    tracing::info!("admin socket {}, state folder {}", options.socket.display(), options.state.display());
    if let Some(locked) = locked {
        let text = format!("locked: {locked}; {}", Locked::REMEDY);
        tracing::error!("{text}");
        notify::ready(&text);
    } else {
        notify::ready(&doing);
    }

    signals.told_to_stop().await;
    tracing::info!("stopping");
    notify::stopping();
    work.stop();
    // The receivers are gone only if both servers have ended already.
    let _ = stop.send(true);
    let drained = async {
        if let Some(ingress) = ingress {
            let _ = ingress.await;
        }
        if let Some(page) = page {
            let _ = page.await;
        }
        let _ = api.await;
    };
    if tokio::time::timeout(DRAIN_MAX, drained).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
    let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
    if tokio::time::timeout(DRAIN_MAX, joined).await.is_err() {
        // A call to Sonar may take that long; what it asked for is still on the agenda.
        tracing::warn!("a read of Sonar was still under way; it begins anew at the next start");
    }
    if let Err(error) = work.standing.flush(store) {
        tracing::warn!("what routine reads proved could not be written down: {error}");
    }
    // Only now, so that no command finds a socket that nobody answers on.
    let _ = std::fs::remove_file(options.socket);
    Ok(())
}

/// How long connections, and then workers, may take to end.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// The signals that ask us to stop. From the moment they are taken, none of them ends the process by itself.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn take() -> Self {
        let take = |kind| signal(kind).expect("the system has signals");
        Self { terminate: take(SignalKind::terminate()), interrupt: take(SignalKind::interrupt()) }
    }

    async fn told_to_stop(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| failed(address, error))
}

fn unserved(address: SocketAddr, error: io::Error) -> StartError {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program has this port: choose another one with --admin-listen, `--admin-listen off`, or stop that program"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need a right that hydrophone does not have: choose another one with --admin-listen"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address: see `ip address`",
        _ => "",
    };
    StartError::Page { address, error, hint }
}

fn failed(address: SocketAddr, error: io::Error) -> StartError {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program has this port: choose another one with --webhook-listen, or stop that program"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need a right that hydrophone does not have: choose another one with --webhook-listen"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address: see `ip address`",
        _ => "",
    };
    StartError::Listen { address, error, hint }
}

/// The box's certificate, made at the first start; one of this run alone while its private key cannot be read.
fn identity(store: &Store, public_url: Option<&str>) -> Result<Identity, StartError> {
    let is_locked = store.locked().is_some();
    let (stored, public_url) = store.read::<_, StoreError>(|view| {
        let secret = |purpose| if is_locked { Ok(None) } else { settings::secret(view, purpose) };
        let (certificate, key) = (secret(settings::CERTIFICATE)?, secret(KEY)?);
        let url = match public_url {
            Some(url) => Some(url.to_owned()),
            None => settings::value(view, PUBLIC_URL)?,
        };
        Ok((certificate.zip(key), url))
    })?;
    let identity = if let Some((certificate, key)) = stored {
        Identity { certificate: certificate.as_bytes().to_vec(), key: key.as_bytes().to_vec() }
    } else {
        let host = public_url.as_deref().and_then(host);
        let identity = Identity::self_signed(own_names(host))?;
        if is_locked {
            return Ok(identity);
        }
        let (certificate, key) =
            (SecretBytes::new(identity.certificate.clone()), SecretBytes::new(identity.key.clone()));
        store.write::<_, StoreError>(move |batch| {
            settings::set_secret(batch, settings::CERTIFICATE, &certificate)?;
            settings::set_secret(batch, KEY, &key)
        })?;
        tracing::info!(
            "made a self-signed certificate; SonarQube does not trust it by itself, and browsers ask before they do"
        );
        identity
    };
    Ok(identity)
}

/// HTTP/1.1 and HTTP/2 as ALPN names them.
const HTTP_1: &[u8] = b"http/1.1";
const HTTP_2: &[u8] = b"h2";

/// Tells whoever reads the log how the first admin is made, as long as there is none.
fn tell_set_up(admin: &Admin, address: SocketAddr) -> Result<(), StartError> {
    if let Some(link) = admin.new_setup_link()? {
        tracing::info!("nobody can log in yet; within an hour, make the first admin at {link}");
    } else {
        tracing::info!("the page is at https://{address}");
    }
    Ok(())
}

const KEY: &str = "tls/webhook/key";

/// The host of an address, without port and brackets.
fn host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split('/').next()?;
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => authority.split(':').next(),
    }
}
