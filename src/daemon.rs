//! Builds everything, runs it, and takes it down in order: first the listeners, then the workers, then the store.

pub mod doctor;
mod failure;
mod listeners;
pub mod offline;
mod reload;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use self::failure::StartError;
use self::listeners::Passed;
use self::reload::Readable;
use crate::admin::{self, Admin};
use crate::domain::fleet::offer::Apply;
use crate::domain::limits;
use crate::domain::settings::{FREE_SPACE_MIN, SYNC_WORKERS, check_url};
use crate::ingress::directory::Directory;
use crate::ingress::handshake::Handshake;
use crate::ingress::{self, Counters, Ingress};
use crate::store::secrets::Locked;
use crate::store::{Store, StoreError, settings};
use crate::sys::acme::challenges::Challenges;
use crate::sys::bell::Bell;
use crate::sys::clients::Served;
use crate::sys::clock::Clock;
use crate::sys::dice::Dice;
use crate::sys::lists::ListFile;
use crate::sys::loops::Watched;
use crate::sys::notify::LongStart;
use crate::sys::pair::Judge;
use crate::sys::seal::Place;
use crate::sys::shown::{Files, Shown, Trouble};
use crate::sys::trust::Trust;
use crate::sys::watchdog::Watchdog;
use crate::sys::{clock, guard, log, notify};
use crate::work::Work;
use crate::work::certificates::{self, Certificates, Doors};
use crate::work::deliver::Deliver;
use crate::work::progress::Progress;
use crate::work::sources::Sources;

/// What `serve` was told.
#[derive(Clone)]
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
    /// Where an administrator may have put a certificate for the listeners.
    pub certificate: Option<Files>,
    /// Where an administrator may have put a list of the networks that may send webhooks.
    pub networks: Option<ListFile>,
    /// Where an administrator may have put authorities, whose clients alone are served the page.
    pub clients: Option<ListFile>,
    /// Where an ACME server may ask for proofs by plain HTTP; nowhere without it.
    pub acme_http_listen: Option<SocketAddr>,
    /// Logs as JSON.
    pub log_json: bool,
    /// How configuration is carried out that this box is offered by its fleet.
    pub carried_out: Arc<Apply>,
}

/// Runs the gateway until it is told to stop.
pub fn serve(options: &Options) -> ExitCode {
    log::start(options.log_json);
    guard::keep_memory_to_itself();
    // First of all: no thread runs yet.
    match Passed::take().and_then(|passed| run(options, passed)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.tell();
            error.exit_code()
        }
    }
}

fn run(options: &Options, passed: Passed) -> Result<(), StartError> {
    if let Some(url) = &options.public_url {
        check_url(url).map_err(StartError::PublicUrl)?;
    }
    let bell = Arc::new(Bell::default());
    let key = Place::of_process(options.state);
    let start = LongStart::begin("opening the database");
    let store = if options.set_damaged_aside {
        Store::open_or_set_aside(options.state, bell, &key, clock::now())?
    } else {
        Store::open_with(options.state, bell, &key)?
    };
    drop(start);
    log::choose(reload::level(&store)?.as_deref());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(limits::BLOCKING_THREADS_MAX)
        .thread_keep_alive(Duration::from_secs(5))
        .thread_stack_size(512 * 1024)
        .thread_name("async")
        .enable_all()
        .build()
        .map_err(StartError::Runtime)?;
    let result = runtime.block_on(run_with(options, passed, &store));
    // Whatever is still being done for an API call may end, but not hold the daemon up.
    runtime.shutdown_timeout(Duration::from_secs(1));
    store.close();
    if result.is_ok() {
        tracing::info!("stopped");
        notify::status("stopped");
    }
    result
}

async fn run_with(options: &Options<'_>, mut passed: Passed, store: &Store) -> Result<(), StartError> {
    let started_at = clock::now();
    // Taken before anybody is told that we run: a signal that comes at once must end us in order, too.
    let signals = Signals::take();
    // Bound before anything else is made, so that a port that is taken leaves nothing behind.
    let webhooks = passed.webhooks(options.webhook_listen).await?;
    let pages = passed.pages(options.admin_listen).await?;
    let proofs = passed.proofs(options.acme_http_listen).await?;
    let address = webhooks.address;
    let (free_space_min, workers) = store.read::<_, StoreError>(|view| {
        Ok((settings::number_of(view, FREE_SPACE_MIN)?, settings::number_of(view, SYNC_WORKERS)?))
    })?;
    store.set_free_space_min(free_space_min * 1024 * 1024);
    let takes_tls = address.is_some() && !options.webhook_plain;
    let trust = Trust::load();
    let shown = (takes_tls || pages.address.is_some()).then(|| first_shown(options, store, &trust)).transpose()?;
    let challenges = Arc::new(Challenges::default());
    let tls = shown.as_ref().filter(|_| takes_tls);
    let tls = tls.map(|shown| Handshake::new(shown.server(&[HTTP_1]), Arc::clone(&challenges)));
    let networks = options.networks.as_ref().map(ListFile::networks).transpose().map_err(StartError::Networks)?;
    let clients = options.clients.as_ref().map(ListFile::clients).transpose().map_err(StartError::Clients)?;
    let directory = Arc::new(Directory::default());
    directory.reload(store)?;
    let counters = Arc::new(Counters::default());
    let clock = Clock::system();
    let (reloaded, of_store) = (Arc::clone(&directory), store.clone());
    let sources = Arc::new(Sources::new(store.clone(), trust.clone(), clock.clone()));
    let work = Work::new(store.clone(), sources, Arc::new(Progress::default()), clock, Dice::system());
    work.standby.on_change(Box::new(move || {
        if let Err(error) = reloaded.reload(&of_store) {
            tracing::warn!("the endpoints of webhooks could not be read anew: {error}");
        }
    }));
    work.offers.carried_out_by(Arc::clone(&options.carried_out));
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
        pages.address,
    );
    let border = Arc::clone(&admin.border);
    border.set_challenges(Arc::clone(&challenges));
    border.set_networks(networks.flatten());
    if options.webhook_plain {
        border.set_plain();
    }
    reload::set_border(store, &border)?;
    if address.is_some() && border.tells_nobody_apart() {
        tracing::info!(
            "webhooks come in without TLS, and no proxy is named: callers are not told apart by address, so limits hold for \
             all of them together; `hydrophone config set trusted-proxies ADDRESS` tells them apart"
        );
    }
    let doors = Doors { webhook: webhooks.ports(), tls: takes_tls, http: proofs.address };
    let certificates = Certificates::new(
        Arc::clone(&work),
        options.certificate.clone(),
        options.public_url.clone(),
        shown.clone(),
        doors,
        Arc::clone(&challenges),
    );
    admin.hold(Arc::clone(&certificates));
    let local = passed.local(options.socket)?;
    let (stop, stopped) = watch::channel(false);
    let mut servers = JoinSet::new();
    let clock = Arc::clone(&work);
    let is_clock_right = Box::new(move || clock.clock_standing().is_trusted());
    let ingress = Ingress::new(store.clone(), directory, counters, Arc::clone(&border), is_clock_right);
    for listener in webhooks.all {
        servers.spawn(Arc::clone(&ingress).serve(listener, tls.clone(), stopped.clone()));
    }
    let mut served = None;
    if let (Some(address), Some(shown)) = (pages.address, &shown) {
        tell_set_up(&admin, address)?;
        let tls = Served::new(Arc::clone(shown), &[HTTP_2, HTTP_1], clients.flatten());
        for listener in pages.all {
            servers.spawn(admin::serve_network(listener, Arc::clone(&tls), Arc::clone(&admin), stopped.clone()));
        }
        border.set_page_asks(tls.asks());
        served = Some(tls);
    }
    for listener in proofs.all {
        servers.spawn(ingress::proofs::serve(listener, Arc::clone(&challenges), stopped.clone()));
    }
    servers.spawn(admin::serve(local.listener, Arc::clone(&admin), stopped));
    let watching = tokio::spawn(admin::watch_conditions(Arc::clone(&admin)));
    let mut threads = Vec::new();
    let locked = store.locked();
    if locked.is_none() {
        threads = work.start(usize::try_from(workers).unwrap_or(1));
        threads.push(deliver.start());
        threads.push(crate::work::fleet::start(&work));
        threads.push(crate::work::standby::start(&work));
        threads.push(certificates.start());
    }
    let doing = match address {
        Some(address) if options.webhook_plain => format!("takes webhooks on http://{address}"),
        Some(address) => format!("takes webhooks on https://{address}"),
        None => "takes no webhooks and polls SonarQube".to_owned(),
    };
    tracing::info!("hydrophone {} {doing}", env!("CARGO_PKG_VERSION"));
    tracing::info!("admin socket {}, state folder {}", options.socket.display(), options.state.display());
    let doing = match locked {
        None => doing,
        Some(locked) => {
            let text = format!("locked: {locked}; {}", Locked::REMEDY);
            tracing::error!("{text}");
            text
        }
    };
    notify::ready(&doing);
    let _watchdog = watchdog();
    let readable = Readable {
        store: store.clone(),
        certificates: Arc::clone(&certificates),
        trust,
        border,
        networks: options.networks.clone(),
        served,
        clients: options.clients.clone(),
    };
    life(signals, &admin, &doing, Arc::new(readable)).await;
    tracing::info!("stopping");
    notify::stopping();
    watching.abort();
    work.stop();
    certificates.stop();
    // The receivers are gone only if both servers have ended already.
    let _ = stop.send(true);
    // What went wrong in one of them was told there.
    let drained = async { while servers.join_next().await.is_some() {} };
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
    if let Some(own) = local.own {
        let _ = std::fs::remove_file(own);
    }
    Ok(())
}

/// How long connections, and then workers, may take to end.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// What the listeners show from the start on.
fn first_shown(options: &Options, store: &Store, trust: &Trust) -> Result<Arc<Shown>, StartError> {
    let public_url = options.public_url.as_deref();
    let host = certificates::called_host(store, public_url)?;
    // Whether the clock is right is not known yet.
    let judge = Judge { now: clock::now(), clock_wrong: false, trust, host: host.as_deref() };
    let (chosen, trouble) = certificates::choose(store, options.certificate.as_ref(), public_url, &judge, None)?;
    match (&trouble, &options.certificate) {
        (Some(Trouble::Other(why)), _) => {
            tracing::error!("the listeners show another certificate than they should: {why}");
        }
        (Some(Trouble::Unfit(why)), Some(files)) => {
            tracing::warn!("{}; {}", certificates::unfit(files, why), why.remedy());
        }
        _ => {}
    }
    let shown = Shown::new(chosen);
    shown.note(trouble);
    Ok(shown)
}

/// Carries out what the service manager asks for, and tells it how things are, until the daemon is to stop.
async fn life(mut signals: Signals, admin: &Arc<Admin>, doing: &str, readable: Arc<Readable>) {
    let mut look = tokio::time::interval(STATUS_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let reloads = tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            _ = signals.reload.recv() => true,
            _ = look.tick(), if notify::is_awaited() => false,
        };
        let task = async {
            if reloads {
                reload(doing, Arc::clone(&readable)).await;
            } else {
                let state = admin.in_short().await;
                notify::status(&format!("{doing}; {state}"));
            }
        };
        // A store that answers nobody must not keep the daemon from ending.
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            () = task => {}
        }
    }
}

/// How often `systemctl status` is told anew how things are.
const STATUS_INTERVAL: Duration = Duration::from_mins(1);

/// Reads anew what can be, and says what changed.
async fn reload(doing: &str, readable: Arc<Readable>) {
    tracing::info!("reading certificates, authorities, networks and the log's level anew");
    notify::reloading();
    let read = tokio::task::spawn_blocking(move || readable.reload()).await;
    let (changes, trouble) = read.unwrap_or_else(|panic| (Vec::new(), Some(panic.to_string())));
    let told = if changes.is_empty() { "nothing has changed".to_owned() } else { changes.join("; ") };
    tracing::info!("reloaded: {told}");
    if let Some(trouble) = trouble {
        tracing::error!("{trouble}");
        notify::ready(&format!("{doing}; {trouble}"));
    } else {
        notify::ready(&format!("{doing}; reloaded: {told}"));
    }
}

/// Has the service manager told that all is well, while the loops turn and connections are answered.
fn watchdog() -> Option<Watchdog> {
    let runtime = tokio::runtime::Handle::current();
    let turns = Arc::new(Watched::task("connections"));
    Watchdog::start(move || {
        // What was asked before is still to be answered.
        if turns.is_resting() {
            turns.begin(limits::ACCEPT_STEP_MAX);
            let turns = Arc::clone(&turns);
            drop(runtime.spawn(async move { turns.rest() }));
        }
    })
}

/// The signals that are for us. From the moment they are taken, none of them ends the process by itself.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn take() -> Self {
        let take = |kind| signal(kind).expect("the system has signals");
        Self {
            terminate: take(SignalKind::terminate()),
            interrupt: take(SignalKind::interrupt()),
            reload: take(SignalKind::hangup()),
        }
    }
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
