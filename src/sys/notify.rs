//! What the service manager is told. Without one, nothing.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The line for `systemctl status`, as long as all is well.
static STATUS: Mutex<String> = Mutex::new(String::new());

/// Whether there is a service manager that wants to be told.
pub fn is_awaited() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// The daemon takes webhooks; with a line for `systemctl status`.
pub fn ready(line: &str) {
    keep(line);
    tell(&[NotifyState::Ready, NotifyState::Status(line)]);
}

/// Another line for `systemctl status`; one that is there already is not told again.
pub fn status(line: &str) {
    if keep(line) {
        tell(&[NotifyState::Status(line)]);
    }
}

/// The line that was there before a [`trouble`].
pub fn status_again() {
    let line = STATUS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    tell(&[NotifyState::Status(&line)]);
}

/// A line in the place of the usual one.
pub fn trouble(line: &str) {
    tell(&[NotifyState::Status(&one_line(line))]);
}

/// What can be read anew is being read; [`ready`] ends that.
pub fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    // From systemd 253 on it wants to know when that began.
    states.extend(NotifyState::monotonic_usec_now().ok());
    tell(&states);
}

/// The daemon is going down.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// The daemon ends, and why; with the system's number of the error, if it is one of its.
pub fn failed(why: &str, errno: Option<i32>) {
    let line = one_line(why);
    let mut states = vec![NotifyState::Status(&line)];
    states.extend(errno.and_then(|errno| u32::try_from(errno).ok()).map(NotifyState::Errno));
    tell(&states);
}

/// After how long without [`alive`] the service manager ends the process; nothing if it does not.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

/// All loops turn.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// Notes the usual line; whether it is another one.
fn keep(line: &str) -> bool {
    let mut known = STATUS.lock().unwrap_or_else(PoisonError::into_inner);
    let is_new = *known != line;
    line.clone_into(&mut known);
    is_new
}

/// A message is lines of its own.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager could not be told: {error}");
    }
}

/// A start that may take long, such as a look at every page after a power cut: while this lives, the service manager is
/// asked for more time before its own is over.
pub struct LongStart {
    over: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LongStart {
    /// Begins to ask, if there is anybody to be asked; `doing` is the line for `systemctl status`.
    pub fn begin(doing: &str) -> Self {
        if !is_awaited() {
            return Self { over: None, thread: None };
        }
        status(doing);
        Self::asking(EXTEND_INTERVAL, EXTENSION, START_MAX, |more| {
            tell(&[NotifyState::ExtendTimeoutUsec(u32::try_from(more.as_micros()).unwrap_or(u32::MAX))]);
        })
    }

    fn asking(interval: Duration, more: Duration, most: Duration, ask: impl Fn(Duration) + Send + 'static) -> Self {
        let (over, ended) = mpsc::channel();
        let began = Instant::now();
        let thread = thread::Builder::new().name("start".to_owned()).spawn(move || {
            while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) && began.elapsed() < most {
                ask(more);
            }
        });
        Self { over: Some(over), thread: Some(thread.expect("the system can start a thread")) }
    }
}

impl Drop for LongStart {
    fn drop(&mut self) {
        self.over = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to say that was not said.
            let _ = thread.join();
        }
    }
}

/// How often more time is asked for, and how much: several requests may be lost.
const EXTEND_INTERVAL: Duration = Duration::from_secs(10);
const EXTENSION: Duration = Duration::from_mins(1);

/// A start that takes longer does not end by itself: a card that answers no more, most likely.
const START_MAX: Duration = Duration::from_hours(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_start_asks_again_and_again_until_it_is_over() {
        let (asked, heard) = mpsc::channel();
        let most = Duration::from_mins(10);
        let start = LongStart::asking(Duration::from_millis(1), Duration::from_secs(7), most, move |more| {
            asked.send(more).expect("the test listens");
        });
        for _ in 0..3 {
            assert_eq!(heard.recv_timeout(Duration::from_secs(30)), Ok(Duration::from_secs(7)));
        }
        drop(start);
        // Whoever asked is gone: what was asked before is heard, and then the end.
        while heard.recv().is_ok() {}
    }

    #[test]
    fn a_start_without_end_is_not_asked_for_for_ever() {
        let (asked, heard) = mpsc::channel();
        let interval = Duration::from_millis(1);
        let _start = LongStart::asking(interval, interval, Duration::ZERO, move |more| {
            asked.send(more).expect("the test listens");
        });
        assert!(
            heard.recv_timeout(Duration::from_secs(30)).is_err_and(|error| error == RecvTimeoutError::Disconnected)
        );
    }

    #[test]
    fn a_line_is_one() {
        assert_eq!(one_line("a\nSTATUS=b\r\nc"), "a STATUS=b  c");
    }
}
