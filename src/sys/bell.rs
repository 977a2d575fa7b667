//! A bell: threads wake each other with it. It carries no data, so a lost ring costs only time.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::loops;

/// See the module.
#[derive(Debug, Default)]
pub struct Bell {
    rings: Mutex<u64>,
    rung: Condvar,
}

impl Bell {
    /// Wakes all that wait.
    pub fn ring(&self) {
        *self.rings.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.rung.notify_all();
    }

    /// How often it was rung. Read it before looking for work, and give it to [`wait`](Self::wait), so that no
    /// ring between the two is missed.
    pub fn rings(&self) -> u64 {
        *self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the bell was rung more often than `heard`, or for so long at most.
    pub fn wait(&self, heard: u64, most: Duration) {
        let _rest = loops::resting();
        let rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        drop(
            self.rung.wait_timeout_while(rings, most, |rings| *rings == heard).unwrap_or_else(PoisonError::into_inner),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Instant;

    #[test]
    fn a_ring_before_the_wait_is_not_missed() {
        let bell = Bell::default();
        let heard = bell.rings();
        bell.ring();
        let began = Instant::now();
        bell.wait(heard, Duration::from_mins(1));
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_ring_wakes_another_thread() {
        let bell = Arc::new(Bell::default());
        let heard = bell.rings();
        let waiter = std::thread::spawn({
            let bell = Arc::clone(&bell);
            move || bell.wait(heard, Duration::from_mins(1))
        });
        bell.ring();
        waiter.join().unwrap();
    }
}
