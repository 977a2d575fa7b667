//! The one place that asks what time it is.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::Timestamp;

/// Now, by the system's clock.
pub fn now() -> Timestamp {
    let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    };
    Timestamp(millis)
}

/// The time of day, which somebody may set, and a steady count, which nobody can. The workers ask this instead of the
/// system, so that a test can let a day pass in a moment.
#[derive(Clone)]
pub struct Clock(Kind);

#[derive(Clone)]
enum Kind {
    System(Instant),
    ByHand(Arc<Mutex<(Timestamp, Duration)>>),
}

impl Clock {
    /// The system's.
    pub fn system() -> Self {
        Self(Kind::System(Instant::now()))
    }

    /// One that stands still until it is [advanced](Self::advance) or [set](Self::set).
    pub fn by_hand(now: Timestamp) -> Self {
        Self(Kind::ByHand(Arc::new(Mutex::new((now, Duration::ZERO)))))
    }

    /// The time of day. May jump.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Kind::System(_) => now(),
            Kind::ByHand(hands) => hands.lock().unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    /// How long this clock has been running. Never jumps.
    pub fn steady(&self) -> Duration {
        match &self.0 {
            Kind::System(start) => start.elapsed(),
            Kind::ByHand(hands) => hands.lock().unwrap_or_else(PoisonError::into_inner).1,
        }
    }

    /// How long the machine has been running, also while it slept: what a lease is measured by, as others count on it.
    pub fn awake_or_asleep(&self) -> Duration {
        match &self.0 {
            Kind::System(_) => {
                let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                Duration::new(since.tv_sec.unsigned_abs(), u32::try_from(since.tv_nsec).unwrap_or_default())
            }
            Kind::ByHand(_) => self.steady(),
        }
    }

    /// Whether time passes by itself. Nobody may wait for a clock on which it does not.
    pub fn is_running(&self) -> bool {
        matches!(self.0, Kind::System(_))
    }

    /// Lets time pass on a clock that stands still.
    ///
    /// # Panics
    /// On the system's clock.
    pub fn advance(&self, span: Duration) {
        self.turn(|(now, steady)| {
            *now = now.plus(span);
            *steady += span;
        });
    }

    /// Sets the time of day of a clock that stands still, as a person or a time server would.
    ///
    /// # Panics
    /// On the system's clock.
    pub fn set(&self, time: Timestamp) {
        self.turn(|(now, _)| *now = time);
    }

    fn turn(&self, turn: impl FnOnce(&mut (Timestamp, Duration))) {
        match &self.0 {
            Kind::System(_) => panic!("nobody turns the system's clock from here"),
            Kind::ByHand(hands) => turn(&mut hands.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({:?})", self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_the_time_of_day_leaves_the_steady_count_alone() {
        let clock = Clock::by_hand(Timestamp(1_000));
        clock.advance(Duration::from_secs(5));
        assert_eq!((clock.now(), clock.steady()), (Timestamp(6_000), Duration::from_secs(5)));
        clock.set(Timestamp(0));
        assert_eq!((clock.now(), clock.steady()), (Timestamp(0), Duration::from_secs(5)));
    }
}
