//! What is known of the two boxes of a site, for whoever asks: threads that may work or not, pages, answers, conditions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::domain::standby::Copied;
use crate::domain::time::Timestamp;
use crate::store::{Store, standby};
use crate::sys::bell::Bell;
use crate::sys::clock::Clock;
use crate::sys::fence::Fence;

/// What others ask about it.
pub struct Standby {
    /// Until when platforms may be told anything.
    pub fence: Arc<Fence>,
    /// Whether this box reads SonarQube, and looks after what it holds.
    pub(super) works: AtomicBool,
    state: Mutex<Seen>,
    pub(super) bell: Bell,
    pub(super) hands_over: AtomicBool,
    /// What is to be done when what was read from the store at the start may be another.
    on_change: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// What is known of the two boxes.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What this box does.
    pub role: Role,
    /// Since when.
    pub since: Option<Timestamp>,
    /// The same by the steady count.
    pub steady: Duration,
    /// The newest term.
    pub term: u64,
    /// What is known of the other box.
    pub other: Option<Other>,
    /// Of a box that stands by: how far its copy has come.
    pub copied: Option<Copied>,
    /// Of a box that stands by: whether its copy was all that there was when it last looked.
    pub is_current: bool,
    /// Why the other box cannot be spoken to, since when by the clock and the steady count, and what a person can do.
    pub trouble: Option<Lost>,
    /// What is the matter between the two boxes: what, and what to do about it.
    pub problem: Option<(String, &'static str)>,
}

/// What a box does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// It is no part of a pair.
    #[default]
    Alone,
    /// It has the lease.
    Works,
    /// It had the lease when it was last known who does.
    Unsure,
    /// The other one has it.
    StandsBy,
}

impl Role {
    /// In a word, as the API says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Works => "works",
            Self::Unsure => "unsure",
            Self::StandsBy => "stands_by",
        }
    }
}

/// The other box.
#[derive(Debug, Clone)]
pub struct Other {
    /// Its machine's name.
    pub machine: String,
    /// Its version, of one that stands by.
    pub version: Option<String>,
    /// When it last said something.
    pub heard_at: Timestamp,
    /// The same by the steady count.
    pub heard: Duration,
    /// How far its copy has come, of one that stands by.
    pub copied: Option<Copied>,
}

/// Why the other box cannot be spoken to.
#[derive(Debug, Clone)]
pub struct Lost {
    /// Why.
    pub why: String,
    /// What a person can do about it.
    pub remedy: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// The same by the steady count.
    pub steady: Duration,
}

impl Standby {
    /// Of a box whose store says what it last was.
    pub fn new(store: &Store, clock: &Clock) -> Self {
        let fence = Arc::new(Fence::new(clock.clone()));
        let is_paired = store.read(standby::pair).is_ok_and(|pair| pair.is_some());
        if is_paired {
            fence.shut();
        }
        let works = !store.stands_by();
        let role = match (is_paired, works) {
            (false, _) => Role::Alone,
            (true, true) => Role::Unsure,
            (true, false) => Role::StandsBy,
        };
        let seen = Seen { role, since: is_paired.then(|| clock.now()), ..Seen::default() };
        Self {
            fence,
            works: AtomicBool::new(works),
            state: Mutex::new(seen),
            bell: Bell::default(),
            hands_over: AtomicBool::new(false),
            on_change: OnceLock::new(),
        }
    }

    /// Says what is to be done when hooks, or anything else that was read at the start, may have changed.
    pub fn on_change(&self, task: Box<dyn Fn() + Send + Sync>) {
        // It is said once, at the start.
        let _ = self.on_change.set(task);
    }

    /// Whether this box reads SonarQube, and looks after what it holds.
    pub fn works(&self) -> bool {
        self.works.load(Ordering::Acquire)
    }

    /// The term that this box works in; none where it is alone.
    pub fn term(&self) -> Option<u64> {
        let seen = self.state();
        (seen.role == Role::Works).then_some(seen.term)
    }

    /// What is known of the two boxes.
    pub fn seen(&self) -> Seen {
        self.state().clone()
    }

    /// Looks at once, as it was set up, changed or ended.
    pub fn kick(&self) {
        self.bell.ring();
    }

    /// Has this box give the lease back, once the other one has all that it wrote.
    pub fn hand_over(&self) {
        self.hands_over.store(true, Ordering::Release);
        self.bell.ring();
    }

    fn state(&self) -> MutexGuard<'_, Seen> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.state());
    }

    pub(super) fn be(&self, role: Role, clock: &Clock) {
        let mut seen = self.state();
        if seen.role != role {
            (seen.role, seen.since, seen.steady) = (role, Some(clock.now()), clock.steady());
        }
    }

    pub(super) fn changed(&self) {
        if let Some(task) = self.on_change.get() {
            task();
        }
    }
}
