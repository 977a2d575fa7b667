//! Until when this box may tell others anything. Where two boxes share a site, that ends with the lease of the one that works;
//! a thread that tells platforms asks before each call whether it will be over by then.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::clock::Clock;

/// See the module. Open until somebody says otherwise.
#[derive(Debug)]
pub struct Fence {
    clock: Clock,
    /// Milliseconds of the clock's count that goes on while the machine sleeps.
    until: AtomicU64,
    /// How many threads do their work behind it.
    threads: AtomicUsize,
}

/// A thread does its work behind a fence for as long as this lives.
#[derive(Debug)]
pub struct Behind(Arc<Fence>);

impl Drop for Behind {
    fn drop(&mut self) {
        self.0.threads.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Fence {
    /// An open one.
    pub fn new(clock: Clock) -> Self {
        Self { clock, until: AtomicU64::new(u64::MAX), threads: AtomicUsize::new(0) }
    }

    /// Opens it for good.
    pub fn open(&self) {
        self.until.store(u64::MAX, Ordering::Release);
    }

    /// Opens it until then, by [`Clock::awake_or_asleep`].
    pub fn open_until(&self, until: Duration) {
        self.until.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX - 1), Ordering::Release);
    }

    /// Shuts it.
    pub fn shut(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// Whether any thread does its work behind it.
    pub fn is_busy(&self) -> bool {
        self.threads.load(Ordering::Acquire) > 0
    }

    /// Whether something that takes this long may begin now.
    pub fn allows(&self, span: Duration) -> bool {
        match self.until.load(Ordering::Acquire) {
            u64::MAX => true,
            until => self.clock.awake_or_asleep() + span < Duration::from_millis(until),
        }
    }
}

thread_local! {
    static OF_THREAD: RefCell<Option<Arc<Fence>>> = const { RefCell::new(None) };
}

/// Puts what this thread does from here on behind a fence.
pub fn guard_thread(fence: &Arc<Fence>) -> Behind {
    OF_THREAD.set(Some(Arc::clone(fence)));
    fence.threads.fetch_add(1, Ordering::AcqRel);
    Behind(Arc::clone(fence))
}

/// Whether this thread may begin a call that takes this long. One that nobody put behind a fence may: it asks for a person.
pub fn allows(span: Duration) -> bool {
    OF_THREAD.with_borrow(|fence| fence.as_ref().is_none_or(|fence| fence.allows(span)))
}

/// Why a call does not begin.
pub const SHUT: &str = "this box does not have its site's lease just now, and tells nobody anything";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    #[test]
    fn what_would_end_behind_it_does_not_begin() {
        let clock = Clock::by_hand(Timestamp(0));
        let fence = Arc::new(Fence::new(clock.clone()));
        assert!(fence.allows(Duration::MAX / 2));
        fence.open_until(Duration::from_secs(100));
        assert!(fence.allows(Duration::from_secs(99)) && !fence.allows(Duration::from_secs(100)));
        clock.advance(Duration::from_secs(50));
        assert!(fence.allows(Duration::from_secs(49)) && !fence.allows(Duration::from_secs(50)));
        // The time of day says nothing.
        clock.set(Timestamp(-1_000_000));
        assert!(!fence.allows(Duration::from_secs(50)));
        assert!(allows(Duration::from_hours(1)), "another thread");
        let _behind = guard_thread(&fence);
        assert!(fence.is_busy());
        assert!(!allows(Duration::from_hours(1)) && allows(Duration::from_secs(1)));
        fence.shut();
        assert!(!allows(Duration::ZERO));
        fence.open();
        assert!(allows(Duration::from_hours(1)));
    }
}
