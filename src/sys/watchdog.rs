//! Tells the service manager that all is well, while all is. It ends a process that it has not heard of for long
//! enough, and starts it anew.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::loops::{self, Overrun};
use super::notify;

/// The thread that tells it. Dropped, it ends.
pub struct Watchdog {
    over: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts it, where the service manager asks for it. `look` runs before each look at the loops, so that what has no
    /// thread of its own can be tried.
    pub fn start(look: impl Fn() + Send + 'static) -> Option<Self> {
        let most = notify::watchdog_interval()?;
        // Several times in that interval, as a busy box may be late; a quarter of a minute is often enough.
        let interval = (most / 4).min(Duration::from_secs(15));
        let over = Arc::new((Mutex::new(false), Condvar::new()));
        let thread = thread::Builder::new().name("watchdog".to_owned()).spawn({
            let over = Arc::clone(&over);
            move || {
                let mut told: Option<String> = None;
                loop {
                    told = tell(told.as_deref(), loops::overrun());
                    look();
                    let (ended, wake) = &*over;
                    let ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
                    let waited = wake.wait_timeout_while(ended, interval, |ended| !*ended);
                    if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                        return;
                    }
                }
            }
        });
        let thread = thread.expect("the system can start a thread");
        Some(Self { over, thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        *self.over.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.over.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say that was not said.
            let _ = thread.join();
        }
    }
}

/// What is to be said after a look at the loops.
#[derive(Debug, PartialEq, Eq)]
enum Word<'t> {
    Alive,
    /// The loop of this name had stood still.
    AliveAgain(&'t str),
    /// One has stood still for too long, and nobody was told.
    Stuck,
    Nothing,
}

/// Says that all is well, or once for each loop why not. Nothing is said of a loop that stands still, so that the
/// service manager's patience ends.
fn word<'t>(told: Option<&'t str>, late: Option<&Overrun>) -> Word<'t> {
    match (told, late) {
        (None, None) => Word::Alive,
        (Some(name), None) => Word::AliveAgain(name),
        (told, Some(late)) if told != Some(late.name.as_str()) => Word::Stuck,
        (_, Some(_)) => Word::Nothing,
    }
}

fn tell(told: Option<&str>, late: Option<Overrun>) -> Option<String> {
    match (word(told, late.as_ref()), &late) {
        (Word::Alive, _) => notify::alive(),
        (Word::AliveAgain(name), _) => {
            tracing::info!("the loop {name} goes on");
            notify::status_again();
            notify::alive();
        }
        (Word::Stuck, Some(late)) => {
            let text = format!("the loop {} has stood still for {} s longer than it may", late.name, late.by.as_secs());
            tracing::error!("{text}; unless it goes on, the service manager starts hydrophone anew");
            notify::trouble(&text);
        }
        _ => {}
    }
    late.map(|late| late.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_still_is_told_once_and_ends_the_good_news() {
        let late = |name: &str| Overrun { name: name.to_owned(), by: Duration::from_secs(1) };
        assert_eq!(word(None, None), Word::Alive);
        assert_eq!(word(None, Some(&late("writer"))), Word::Stuck);
        assert_eq!(word(Some("writer"), Some(&late("writer"))), Word::Nothing);
        assert_eq!(word(Some("writer"), Some(&late("sync 1"))), Word::Stuck);
        assert_eq!(word(Some("sync 1"), None), Word::AliveAgain("sync 1"));
    }
}
