//! Which loops turn. A loop says how long the step may take that it begins, or that it rests and waits for work; the
//! [watchdog](super::watchdog) tells the service manager that all is well only while none has overrun what it said.
//!
//! Threads say so where they do what takes time: at a bell, a call over the network, a turn of the store. What lies
//! between two such places has [`BETWEEN_MAX`]. A thread that is not watched may pass the same places; nothing is
//! noted then.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A loop's calculations between two steps: a crawl of a large branch is compared in seconds, on a small box too.
const BETWEEN_MAX: Duration = Duration::from_secs(30);

struct Loop {
    name: String,
    /// When its step must have ended, in milliseconds since [`START`]; [`RESTING`] if it may take for ever.
    until: AtomicU64,
}

const RESTING: u64 = u64::MAX;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

static LOOPS: Mutex<Vec<Arc<Loop>>> = Mutex::new(Vec::new());

thread_local! {
    /// This thread's loop, and how many steps are open, one inside the other.
    static OWN: RefCell<Option<(Arc<Loop>, u32)>> = const { RefCell::new(None) };
}

fn loops() -> MutexGuard<'static, Vec<Arc<Loop>>> {
    LOOPS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn moment() -> u64 {
    millis(START.elapsed())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(RESTING - 1)
}

/// A loop that is watched for as long as this lives.
pub struct Watched(Arc<Loop>);

impl Watched {
    /// A loop of a task, which says itself what it begins. It rests at first.
    pub fn task(name: &str) -> Self {
        let new = Arc::new(Loop { name: name.to_owned(), until: AtomicU64::new(RESTING) });
        loops().push(Arc::clone(&new));
        Self(new)
    }

    /// The loop that this thread is. Whatever the thread does says for it what it begins.
    pub fn thread(name: &str) -> Self {
        let new = Self::task(name);
        new.begin(BETWEEN_MAX);
        OWN.with_borrow_mut(|own| *own = Some((Arc::clone(&new.0), 0)));
        new
    }

    /// Begins a step that takes no longer than this.
    pub fn begin(&self, most: Duration) {
        self.0.until.store(moment().saturating_add(millis(most)), Ordering::Relaxed);
    }

    /// Whether it waits for work.
    pub fn is_resting(&self) -> bool {
        self.0.until.load(Ordering::Relaxed) == RESTING
    }

    /// Waits for work, for as long as there is none.
    pub fn rest(&self) {
        self.0.until.store(RESTING, Ordering::Relaxed);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        loops().retain(|one| !Arc::ptr_eq(one, &self.0));
        // What ends may be a thread's whole loop, or a task's on any thread.
        let _ = OWN.try_with(|own| {
            own.borrow_mut().take_if(|(own, _)| Arc::ptr_eq(own, &self.0));
        });
    }
}

/// A step of this thread's loop, until it is dropped.
#[must_use = "the step ends with it"]
pub struct Step {
    /// What held before.
    before: u64,
    rests: bool,
}

/// Begins a step of this thread's loop that takes no longer than this.
pub fn within(most: Duration) -> Step {
    enter(moment().saturating_add(millis(most)))
}

/// This thread's loop waits for somebody else, who is watched too or may take as long as need be.
pub fn resting() -> Step {
    enter(RESTING)
}

fn enter(until: u64) -> Step {
    let before = OWN.with_borrow_mut(|own| {
        let (own, depth) = own.as_mut()?;
        *depth += 1;
        Some(own.until.swap(until, Ordering::Relaxed))
    });
    Step { before: before.unwrap_or(RESTING), rests: until == RESTING }
}

impl Drop for Step {
    fn drop(&mut self) {
        OWN.with_borrow_mut(|own| {
            let Some((own, depth)) = own else { return };
            *depth = depth.saturating_sub(1);
            // A step inside another one does not lengthen it; a wait for somebody else may, and shortens nothing.
            let afresh = moment().saturating_add(millis(BETWEEN_MAX));
            let until = match *depth {
                0 => afresh,
                _ if self.rests => self.before.max(afresh),
                _ => self.before,
            };
            own.until.store(until, Ordering::Relaxed);
        });
    }
}

/// A loop that should have moved by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overrun {
    /// Its name.
    pub name: String,
    /// How long ago its step should have ended.
    pub by: Duration,
}

/// The loop that is late by most.
pub fn overrun() -> Option<Overrun> {
    let now = moment();
    let late = |one: &Arc<Loop>| {
        let by = now.checked_sub(one.until.load(Ordering::Relaxed)).filter(|&by| by > 0)?;
        Some(Overrun { name: one.name.clone(), by: Duration::from_millis(by) })
    };
    loops().iter().filter_map(late).max_by_key(|late| late.by)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests share the list of loops, so each looks for its own.
    fn is_late(name: &str) -> bool {
        let now = moment() + 1;
        loops().iter().any(|one| one.name == name && one.until.load(Ordering::Relaxed) < now)
    }

    fn until(name: &str) -> u64 {
        loops().iter().find(|one| one.name == name).expect("it is watched").until.load(Ordering::Relaxed)
    }

    fn is_listed(name: &str) -> bool {
        loops().iter().any(|one| one.name == name)
    }

    #[test]
    fn a_task_is_late_after_its_step_and_not_while_it_rests() {
        let task = Watched::task("a task");
        assert!(!is_late("a task"), "it has not begun");
        task.begin(Duration::ZERO);
        assert!(is_late("a task"));
        task.begin(Duration::from_mins(1));
        assert!(!is_late("a task"));
        task.begin(Duration::ZERO);
        task.rest();
        assert!(!is_late("a task"));
        drop(task);
        assert!(!is_listed("a task"));
    }

    #[test]
    fn a_thread_is_late_where_its_step_is() {
        std::thread::spawn(|| {
            let watched = Watched::thread("a thread");
            assert!(!is_late("a thread"), "it may calculate for a while");
            let step = within(Duration::ZERO);
            assert!(is_late("a thread"));
            drop(step);
            assert!(!is_late("a thread"), "the step is over");
            let rest = resting();
            assert!(!is_late("a thread"));
            drop(rest);
            drop(watched);
            assert!(!is_listed("a thread"));
            drop(within(Duration::ZERO));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_step_inside_another_one_changes_nothing_about_it() {
        std::thread::spawn(|| {
            let _watched = Watched::thread("nested");
            let _outer = within(Duration::ZERO);
            drop(within(Duration::from_mins(1)));
            assert!(is_late("nested"), "the outer step is as late as before");
            drop(resting());
            assert!(!is_late("nested"), "nobody is late who waited for somebody else");
            let long = within(BETWEEN_MAX * 10);
            drop(resting());
            let left = until("nested").saturating_sub(moment());
            assert!(
                left > millis(BETWEEN_MAX * 5),
                "who waited within a long step still has the rest of it: {left} ms"
            );
            drop(long);
            let _rest = resting();
            drop(within(Duration::ZERO));
            assert!(!is_late("nested"), "who waits for somebody still does");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn who_is_not_watched_is_never_late() {
        let _step = within(Duration::ZERO);
        assert!(OWN.with_borrow(Option::is_none));
    }

    #[test]
    fn the_latest_of_all_is_named() {
        let task = Watched::task("the latest");
        // Before everything else that could be late in this process.
        task.0.until.store(0, Ordering::Relaxed);
        std::thread::yield_now();
        while moment() == 0 {
            std::hint::spin_loop();
        }
        assert_eq!(overrun().map(|late| late.name).as_deref(), Some("the latest"));
    }
}
