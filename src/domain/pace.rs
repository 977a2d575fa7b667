//! How fast one source may be asked: a budget of requests, and pauses that Sonar asked for. Kept in memory only, by a
//! clock that nobody sets; a restart begins with a full budget and without a pause.

use std::time::Duration;

use super::limits::{PAUSE_MAX, PAUSE_WISH_MAX};

/// What the settings say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests in a minute.
    pub per_minute: u32,
    /// The first pause where Sonar does not say how long.
    pub pause: Duration,
}

/// Whether a request may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Now; it is counted.
    Go,
    /// The budget is used up for so long.
    Wait(Duration),
    /// The source is left alone for so long.
    Paused(Duration),
}

/// What came of a request, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The source answers.
    Answer,
    /// HTTP 429 or 503, with the wish that came with it.
    Pause {
        /// 429 or 503.
        status: u16,
        /// What Sonar wrote.
        retry_after: Option<Duration>,
    },
}

/// A pause in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// How much is left of it.
    pub left: Duration,
    /// The status that brought it.
    pub status: u16,
}

/// One source's budget and pause.
///
/// The budget is kept as time: a full bucket is a minute, and a request costs the part of a minute that is its share.
/// So it refills as time passes, and another rate needs no conversion.
#[derive(Debug, Clone)]
pub struct Pace {
    level: Duration,
    filled_at: Duration,
    pause_until: Duration,
    pause_status: u16,
    pauses: u32,
    /// Requests by second, each beside the second that it counts.
    seconds: [(u64, u32); 60],
}

impl Pace {
    /// A full budget.
    pub fn new(now: Duration) -> Self {
        Self {
            level: FULL,
            filled_at: now,
            pause_until: Duration::ZERO,
            pause_status: 0,
            pauses: 0,
            seconds: [(0, 0); 60],
        }
    }

    /// Asks for leave to send one request. What is not urgent leaves a fifth of the budget for what is.
    pub fn ask(&mut self, rate: Rate, urgent: bool, now: Duration) -> Leave {
        if let Some(pause) = self.pause(now) {
            return Leave::Paused(pause.left);
        }
        self.level = (self.level + now.saturating_sub(self.filled_at)).min(FULL);
        self.filled_at = now.max(self.filled_at);
        let cost = FULL / rate.per_minute.max(1);
        let needed = if urgent { cost } else { cost + KEPT_FOR_URGENT };
        if let Some(lacking) = needed.checked_sub(self.level).filter(|lacking| !lacking.is_zero()) {
            return Leave::Wait(lacking);
        }
        self.level = self.level.saturating_sub(cost);
        let second = &mut self.seconds[(now.as_secs() % 60) as usize];
        if second.0 != now.as_secs() {
            *second = (now.as_secs(), 0);
        }
        second.1 += 1;
        Leave::Go
    }

    /// Notes what came of a request.
    pub fn note(&mut self, rate: Rate, heard: Heard, now: Duration) {
        let Heard::Pause { status, retry_after } = heard else {
            // An answer to a question of before the pause says nothing about it.
            if self.pause(now).is_none() {
                self.pauses = 0;
            }
            return;
        };
        // Several workers may be told at once; that is one pause.
        if self.pause(now).is_none() {
            self.pauses = self.pauses.saturating_add(1);
        }
        let own = rate.pause.saturating_mul(2_u32.saturating_pow(self.pauses.saturating_sub(1)));
        let span = retry_after.map_or(own.min(PAUSE_MAX.max(rate.pause)), |wish| wish.min(PAUSE_WISH_MAX));
        if now + span > self.pause_until {
            self.pause_until = now + span;
            self.pause_status = status;
        }
    }

    /// The pause in force.
    pub fn pause(&self, now: Duration) -> Option<Pause> {
        let left = self.pause_until.checked_sub(now).filter(|left| !left.is_zero())?;
        Some(Pause { left, status: self.pause_status })
    }

    /// Requests of the last minute.
    pub fn last_minute(&self, now: Duration) -> u32 {
        let recent = |second: u64| second <= now.as_secs() && now.as_secs() - second < 60;
        self.seconds.iter().filter(|(second, _)| recent(*second)).map(|(_, count)| count).sum()
    }
}

/// A full bucket.
const FULL: Duration = Duration::from_mins(1);

/// What tasks that are not urgent leave of it.
const KEPT_FOR_URGENT: Duration = Duration::from_secs(12);

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_minute: 60, pause: Duration::from_mins(1) };

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// How many requests get leave at once.
    fn burst(pace: &mut Pace, urgent: bool, now: Duration) -> u32 {
        (0..1000).take_while(|_| pace.ask(RATE, urgent, now) == Leave::Go).count().try_into().unwrap()
    }

    #[test]
    fn a_minutes_worth_may_go_at_once_and_then_it_refills_evenly() {
        let mut pace = Pace::new(secs(0));
        assert_eq!(burst(&mut pace, true, secs(0)), 60);
        assert_eq!(pace.ask(RATE, true, secs(0)), Leave::Wait(secs(1)));
        assert_eq!(burst(&mut pace, true, secs(10)), 10);
        assert_eq!(pace.last_minute(secs(10)), 70);
        assert_eq!(pace.last_minute(secs(60)), 10);
        assert_eq!(burst(&mut pace, true, secs(3600)), 60);
    }

    #[test]
    fn what_is_not_urgent_leaves_a_fifth() {
        let mut pace = Pace::new(secs(0));
        assert_eq!(burst(&mut pace, false, secs(0)), 48);
        assert_eq!(pace.ask(RATE, false, secs(0)), Leave::Wait(secs(1)));
        assert_eq!(burst(&mut pace, true, secs(0)), 12);
        assert_eq!(pace.ask(RATE, false, secs(0)), Leave::Wait(secs(13)));
    }

    #[test]
    fn a_rate_that_was_changed_counts_at_once() {
        let mut pace = Pace::new(secs(0));
        assert_eq!(burst(&mut pace, true, secs(0)), 60);
        let faster = Rate { per_minute: 600, ..RATE };
        assert_eq!(pace.ask(faster, true, secs(0)), Leave::Wait(Duration::from_millis(100)));
    }

    fn told(pace: &mut Pace, retry_after: Option<u64>, now: u64) {
        pace.note(RATE, Heard::Pause { status: 429, retry_after: retry_after.map(secs) }, secs(now));
    }

    #[test]
    fn sonars_wish_counts_and_without_one_pauses_double_to_ten_minutes() {
        let mut pace = Pace::new(secs(0));
        told(&mut pace, Some(5), 0);
        assert_eq!(pace.ask(RATE, true, secs(4)), Leave::Paused(secs(1)));
        assert_eq!(pace.ask(RATE, true, secs(5)), Leave::Go);
        pace.note(RATE, Heard::Answer, secs(5));
        let (mut now, mut pauses) = (10, Vec::new());
        for _ in 0..6 {
            told(&mut pace, None, now);
            let left = pace.pause(secs(now)).unwrap().left.as_secs();
            pauses.push(left);
            now += left;
        }
        assert_eq!(pauses, [60, 120, 240, 480, 600, 600]);
        pace.note(RATE, Heard::Answer, secs(now));
        told(&mut pace, None, now);
        assert_eq!(pace.pause(secs(now)).unwrap().left, secs(60));
    }

    #[test]
    fn three_workers_told_at_once_make_one_pause() {
        let mut pace = Pace::new(secs(0));
        for _ in 0..3 {
            told(&mut pace, None, 0);
        }
        // Another worker's question was answered before.
        pace.note(RATE, Heard::Answer, secs(1));
        assert_eq!(pace.pause(secs(0)), Some(Pause { left: secs(60), status: 429 }));
        told(&mut pace, None, 60);
        assert_eq!(pace.pause(secs(60)).unwrap().left, secs(120));
    }

    #[test]
    fn a_longer_wish_prolongs_a_pause_and_a_shorter_one_does_not_end_it() {
        let mut pace = Pace::new(secs(0));
        told(&mut pace, Some(100), 0);
        told(&mut pace, Some(5), 1);
        assert_eq!(pace.pause(secs(1)).unwrap().left, secs(99));
        told(&mut pace, Some(200), 2);
        assert_eq!(pace.pause(secs(2)).unwrap().left, secs(200));
    }
}
