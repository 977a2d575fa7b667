//! Panics: those that end the process, and those that are caught; and what a crash leaves behind.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::thread;

/// Ends the process, exit code 70, when the thread that holds it panics: the service manager starts it anew.
#[derive(Debug)]
pub struct EndWithMe(pub &'static str);

impl Drop for EndWithMe {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!("the {} failed; the process ends so that it is started anew", self.0);
            std::process::exit(70);
        }
    }
}

/// Ends the process, exit code 78, as only a person can help: the service manager does not start it anew.
pub fn end_for_a_person(why: &dyn std::fmt::Display) -> ! {
    let why = why.to_string();
    tracing::error!("hydrophone stops: {why}");
    super::notify::failed(&why, None);
    std::process::exit(78)
}

/// Has the kernel write no core of this process, whatever the limits say, and let nobody but root look into its memory: keys
/// and tokens are in it.
pub fn keep_memory_to_itself() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    // A kernel that cannot do it has nothing else for it; the unit's limit stands.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!("a crash may leave this process' memory on the disk: {error}");
    }
}

/// Does something that may panic; a panic is not printed but returned, as its text.
pub fn quietly<T>(action: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(action));
    QUIET.set(before);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word").to_owned()
    })
}

static HOOK: Once = Once::new();

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_text() {
        assert_eq!(quietly(|| 7), Ok(7));
        assert_eq!(quietly(|| panic!("page {}", 7)), Err::<(), _>("page 7".to_owned()));
        assert_eq!(quietly(|| panic!("page")), Err::<(), _>("page".to_owned()));
    }
}
