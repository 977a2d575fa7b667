//! One connection a source, made when it is first needed and kept while nothing about it changes.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::WorkError;
use crate::domain::ids::SourceName;
use crate::domain::pace::{Heard, Leave, Pace, Pause, Rate};
use crate::domain::settings::{PAUSE_SECONDS, REQUESTS_PER_MINUTE};
use crate::domain::time::Timestamp;
use crate::sonar::FetchError;
use crate::sonar::client::{Client, Connection, Pacer, Token};
use crate::sonar::dialect::{Dialect, Mode, Version};
use crate::store::records::{AtSite, Source};
use crate::store::{Store, StoreError, catalogue, settings};
use crate::sys::clock::Clock;
use crate::sys::loops;
use crate::sys::trust::Trust;

/// A source that can be asked.
pub struct Connected {
    /// Asks it.
    pub client: Client,
    /// How it wants to be asked.
    pub dialect: Dialect,
}

/// See the module.
pub struct Sources {
    store: Store,
    trust: Trust,
    connected: Mutex<HashMap<SourceName, Arc<Connected>>>,
    /// Outlive connections: a new token is no reason to hurry.
    gates: Mutex<BTreeMap<SourceName, Arc<Gate>>>,
    clock: Clock,
    stopping: Arc<AtomicBool>,
}

impl Sources {
    /// Begins without connections.
    pub fn new(store: Store, trust: Trust, clock: Clock) -> Self {
        Self { store, trust, connected: Mutex::default(), gates: Mutex::default(), clock, stopping: Arc::default() }
    }

    /// Ends waits for the budget: the daemon is stopping.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// How a source is doing.
    pub fn health(&self, name: &SourceName) -> Health {
        self.gate(name).health()
    }

    /// Ends a source's pause, as it was seen to answer.
    pub(super) fn resume(&self, name: &SourceName) {
        let gate = self.gate(name);
        let now = gate.clock.steady();
        let mut state = gate.state();
        state.pace = Pace::new(now);
        state.failing = None;
    }

    fn gate(&self, name: &SourceName) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || {
            let pace = Pace::new(self.clock.steady());
            Arc::new(Gate {
                state: Mutex::new(GateState { pace, answered_at: None, failing: None }),
                store: self.store.clone(),
                clock: self.clock.clone(),
                stopping: Arc::clone(&self.stopping),
            })
        };
        Arc::clone(gates.entry(name.clone()).or_insert_with(fresh))
    }

    /// The authorities that connections trust.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The connection to a source.
    pub fn connect(&self, name: &SourceName) -> Result<Arc<Connected>, WorkError> {
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = connected.get(name) {
            return Ok(Arc::clone(known));
        }
        let (source, token) = self.store.read::<_, WorkError>(|view| {
            let source = catalogue::source(view, name)?.ok_or(WorkError::Gone)?;
            if let Some(AtSite { site, .. }) = source.at {
                return Err(WorkError::Elsewhere(site));
            }
            let token = catalogue::token(view, name)?.ok_or(WorkError::Gone)?;
            Ok((source, token))
        })?;
        let token = Token::parse(token.as_text()).map_err(|error| WorkError::Connect(error.to_string()))?;
        let dialect = dialect(&source);
        let client = Client::new(connection(&source, token), &self.trust)
            .map_err(|error| WorkError::Connect(error.to_string()))?
            .paced(self.gate(name));
        let fresh = Arc::new(Connected { client, dialect });
        connected.insert(name.clone(), Arc::clone(&fresh));
        Ok(fresh)
    }

    /// What the connected sources said last the time was, and how long ago.
    pub fn dates(&self) -> Vec<(SourceName, Timestamp, Duration)> {
        let connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        let said = |(name, source): (&SourceName, &Arc<Connected>)| {
            let (date, ago) = source.client.last_date()?;
            Some((name.clone(), date, ago))
        };
        connected.iter().filter_map(said).collect()
    }

    /// Forgets all connections, as another box may have changed whatever they were made of.
    pub fn forget_all(&self) {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Forgets a connection, as its source was changed or removed.
    pub fn forget(&self, name: &SourceName) {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// How a source is doing, as far as this run of the daemon knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Requests of the last minute.
    pub requests_last_minute: u32,
    /// The pause that Sonar asked for.
    pub pause: Option<Pause>,
    /// When it last gave an answer.
    pub answered_at: Option<Timestamp>,
    /// What it has been failing with since then.
    pub failing: Option<Failing>,
}

/// A source that cannot be reached, or cannot answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// Since when.
    pub since: Timestamp,
    /// For how long, whatever was done to the clock.
    pub span: Duration,
    /// The last error.
    pub error: String,
}

/// What stands before every request to one source.
struct Gate {
    state: Mutex<GateState>,
    store: Store,
    clock: Clock,
    stopping: Arc<AtomicBool>,
}

struct GateState {
    pace: Pace,
    answered_at: Option<Timestamp>,
    failing: Option<(Timestamp, Duration, String)>,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Read each time, so that a change counts at once. A store that fails must not make us faster.
    fn rate(&self) -> Rate {
        let numbers = self.store.read::<_, StoreError>(|view| {
            Ok((settings::number_of(view, REQUESTS_PER_MINUTE)?, settings::number_of(view, PAUSE_SECONDS)?))
        });
        let (per_minute, pause) = numbers.unwrap_or((60, 60));
        Rate { per_minute: u32::try_from(per_minute).unwrap_or(u32::MAX), pause: Duration::from_secs(pause) }
    }

    /// Reads nothing of the store: whoever asks may be reading it, and a second read inside a first one waits for ever
    /// where somebody is about to open the store anew.
    fn health(&self) -> Health {
        let now = self.clock.steady();
        let state = self.state();
        Health {
            requests_last_minute: state.pace.last_minute(now),
            pause: state.pace.pause(now),
            answered_at: state.answered_at,
            failing: state.failing.as_ref().map(|(since, began, error)| Failing {
                since: *since,
                span: now.saturating_sub(*began),
                error: error.clone(),
            }),
        }
    }
}

impl Pacer for Gate {
    fn before(&self) -> Result<(), FetchError> {
        let rate = self.rate();
        // The pace may ask for a long wait.
        let _rest = loops::resting();
        loop {
            let leave = self.state().pace.ask(rate, is_urgent(), self.clock.steady());
            let wait = match leave {
                Leave::Go => return Ok(()),
                Leave::Paused(left) => return Err(FetchError::Paused { retry_after: left }),
                Leave::Wait(wait) => wait,
            };
            // A clock that stands still would be waited for in vain, and who stops does not wait.
            if !self.clock.is_running() || self.stopping.load(Ordering::Relaxed) {
                return Err(FetchError::Paused { retry_after: wait });
            }
            std::thread::sleep(wait.min(STEP));
        }
    }

    fn after(&self, failed: Option<&FetchError>) {
        let (rate, now, steady) = (self.rate(), self.clock.now(), self.clock.steady());
        let heard = match failed {
            Some(FetchError::Throttled { retry_after }) => {
                Some(Heard::Pause { status: 429, retry_after: *retry_after })
            }
            // Sonar's own 503 without a wish is about one project, whose index is being built or broken: the others are
            // not to wait for it.
            Some(FetchError::Unavailable { status: 503, retry_after, message, .. })
                if retry_after.is_some() || message.is_none() =>
            {
                Some(Heard::Pause { status: 503, retry_after: *retry_after })
            }
            // Neither an answer nor a wish: who cannot be reached has not asked for anything.
            Some(error) if !error.needs_person() => None,
            _ => Some(Heard::Answer),
        };
        let mut state = self.state();
        if let Some(heard) = heard {
            state.pace.note(rate, heard, steady);
        }
        match failed.filter(|error| !error.needs_person()) {
            None => {
                state.answered_at = Some(now);
                state.failing = None;
            }
            Some(error) => {
                let (since, began) = state.failing.take().map_or((now, steady), |(since, began, _)| (since, began));
                state.failing = Some((since, began, error.to_string()));
            }
        }
    }
}

/// A wait for the budget looks this often whether the daemon is stopping.
const STEP: Duration = Duration::from_millis(100);

thread_local! {
    /// A worker has one task at a time, so its thread knows how urgent its requests are, without every question to
    /// Sonar having to be told. Other threads are asking for a person.
    static URGENT: Cell<bool> = const { Cell::new(true) };
}

fn is_urgent() -> bool {
    URGENT.get()
}

/// Does something whose requests to Sonar are as urgent as this.
pub(super) fn with_urgency<T>(urgent: bool, task: impl FnOnce() -> T) -> T {
    let former = URGENT.replace(urgent);
    let done = task();
    URGENT.set(former);
    done
}

/// What a client needs to know of a source.
pub fn connection(source: &Source, token: Token) -> Connection {
    Connection {
        name: source.name.clone(),
        url: source.url.clone(),
        api_url: source.api_url.clone(),
        cloud: source.cloud,
        version: source.version.as_deref().and_then(Version::parse),
        token,
        ca_pem: source.ca_pem.clone(),
        proxy: source.proxy.clone(),
    }
}

/// How a source wants to be asked, from what the last check found out.
fn dialect(source: &Source) -> Dialect {
    if source.cloud {
        return Dialect::cloud();
    }
    let version = source.version.as_deref().and_then(Version::parse).unwrap_or(Version::new(9, 9));
    let mode = if source.standard_mode { Mode::Standard } else { Mode::MultiQuality };
    Dialect::server(version, Dialect::has_modes(version).then_some(mode))
}
