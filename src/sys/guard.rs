//! A thread without which the daemon must not look alive.

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
