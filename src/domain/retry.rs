//! When a destination that failed is tried again. Between two attempts it is left alone altogether, and each attempt is a
//! single request, so that one that is down is spared without a circuit breaker beside this.

use std::time::Duration;

/// How a destination has been failing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures {
    count: u32,
}

/// The first delay; it doubles from there.
pub const DELAY_MIN: Duration = Duration::from_secs(2);

/// The longest delay.
pub const DELAY_MAX: Duration = Duration::from_mins(15);

impl Failures {
    /// So many in a row.
    pub fn of(count: u32) -> Self {
        Self { count }
    }

    /// Failures in a row.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Notes a success.
    pub fn succeed(&mut self) {
        self.count = 0;
    }

    /// Notes a failure, and returns how long to wait: what was asked for, else twice as long as before, less up to a
    /// quarter by `chance` (0 to 255), so that many boxes do not come back in one moment.
    pub fn fail(&mut self, asked: Option<Duration>, chance: u8) -> Duration {
        self.count = self.count.saturating_add(1);
        let own = DELAY_MIN.saturating_mul(1 << (self.count - 1).min(16)).min(DELAY_MAX);
        let spread = own.mul_f64(1.0 - f64::from(chance) / 255.0 / 4.0);
        asked.map_or(spread, |asked| asked.clamp(Duration::from_secs(1), super::limits::PAUSE_WISH_MAX).max(DELAY_MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let mut failures = Failures::default();
        let waits: Vec<u64> = (0..11).map(|_| failures.fail(None, 0).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        failures.succeed();
        assert_eq!(failures.fail(None, 0), DELAY_MIN);
    }

    #[test]
    fn chance_takes_up_to_a_quarter_off() {
        for chance in [0, 100, 255] {
            let wait = Failures::of(5).fail(None, chance);
            assert!(wait <= Duration::from_secs(64) && wait >= Duration::from_secs(48), "{chance} {wait:?}");
        }
    }

    #[test]
    fn what_the_platform_asks_for_counts_within_reason() {
        let mut failures = Failures::default();
        assert_eq!(failures.fail(Some(Duration::from_secs(40)), 255), Duration::from_secs(40));
        assert_eq!(failures.fail(Some(Duration::ZERO), 255), DELAY_MIN);
        assert_eq!(failures.fail(Some(Duration::MAX), 255), super::super::limits::PAUSE_WISH_MAX);
    }
}
