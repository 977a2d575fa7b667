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
/// So it refills as time passes, and another rate needs no conversion. After a rest a minute's worth may go at once, and
/// as it refills meanwhile, what went in the last minute is limited too.
#[derive(Debug, Clone)]
pub struct Pace {
    level: Duration,
    /// Since when what is not urgent had to wait for what is. A stream of webhooks must not leave it nothing for ever.
    starved_since: Option<Duration>,
    /// What urgent requests have earned meanwhile for the others.
    earned: Duration,
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
            starved_since: None,
            earned: Duration::ZERO,
            filled_at: now,
            pause_until: Duration::ZERO,
            pause_status: 0,
            pauses: 0,
            seconds: [(0, 0); 60],
        }
    }

    /// Asks for leave to send one request. What is not urgent leaves a fifth of the budget for what is, and has a fifth of
    /// what goes where urgent requests would take everything.
    pub fn ask(&mut self, rate: Rate, urgent: bool, now: Duration) -> Leave {
        if let Some(pause) = self.pause(now) {
            return Leave::Paused(pause.left);
        }
        self.level = (self.level + now.saturating_sub(self.filled_at)).min(FULL);
        self.filled_at = now.max(self.filled_at);
        let cost = FULL / rate.per_minute.max(1);
        if urgent && self.level >= cost + KEPT_FOR_URGENT {
            // There is enough for all, or nobody else asks any more.
            (self.starved_since, self.earned) = (None, Duration::ZERO);
        }
        let starved = self.starved_since.is_some_and(|since| now.saturating_sub(since) >= STARVED_AFTER);
        let owed = starved && self.earned >= cost;
        let first = urgent || owed;
        let needed = match (urgent, owed) {
            // One is left for whoever has waited so long.
            (true, true) => (2 * cost).min(FULL),
            (true, false) | (false, true) => cost,
            (false, false) => cost + KEPT_FOR_URGENT,
        };
        if let Some(lacking) = needed.checked_sub(self.level).filter(|lacking| !lacking.is_zero()) {
            if !urgent {
                self.starved_since.get_or_insert(now);
            }
            return Leave::Wait(lacking);
        }
        let limit = if first { rate.per_minute.saturating_add(rate.per_minute / 4) } else { rate.per_minute };
        if let Some(wait) = self.until_below(limit.max(1), now) {
            return Leave::Wait(wait);
        }
        self.level = self.level.saturating_sub(cost);
        if urgent && self.starved_since.is_some() {
            self.earned = (self.earned + cost / 4).min(EARNED_MAX.max(cost));
        } else if !urgent && owed {
            self.earned -= cost;
        } else if !urgent {
            (self.starved_since, self.earned) = (None, Duration::ZERO);
        }
        let second = &mut self.seconds[(now.as_secs() % 60) as usize];
        if second.0 != now.as_secs() {
            *second = (now.as_secs(), 0);
        }
        second.1 += 1;
        Leave::Go
    }

    /// How long until fewer than so many requests are of the last minute; nothing if they are.
    fn until_below(&self, limit: u32, now: Duration) -> Option<Duration> {
        let mut lacking = self.last_minute(now).checked_sub(limit)? + 1;
        let mut seconds: Vec<_> = self.seconds.iter().filter(|(second, _)| is_of_last_minute(*second, now)).collect();
        seconds.sort_unstable();
        for (second, count) in seconds {
            let Some(left) = lacking.checked_sub(*count).filter(|left| *left > 0) else {
                return Some(Duration::from_secs(second + 60).saturating_sub(now));
            };
            lacking = left;
        }
        // A limit of none.
        Some(FULL)
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
        self.seconds.iter().filter(|(second, _)| is_of_last_minute(*second, now)).map(|(_, count)| count).sum()
    }
}

fn is_of_last_minute(second: u64, now: Duration) -> bool {
    second <= now.as_secs() && now.as_secs() - second < 60
}

/// A full bucket.
const FULL: Duration = Duration::from_mins(1);

/// After so long what is not urgent has its share beside what is.
const STARVED_AFTER: Duration = Duration::from_secs(15);

/// The most that is kept of what urgent requests have earned for the others.
const EARNED_MAX: Duration = Duration::from_secs(3);

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
    fn no_minute_has_much_more_than_the_budget_even_after_a_rest() {
        for (urgent, most) in [(false, 60), (true, 75)] {
            let mut pace = Pace::new(secs(0));
            let mut sent = 0;
            for now in 0..600 {
                sent += burst(&mut pace, urgent, secs(now));
                assert!(pace.last_minute(secs(now)) <= most, "at {now} s");
                if let Leave::Wait(wait) = pace.ask(RATE, urgent, secs(now)) {
                    assert!(!wait.is_zero() && wait <= FULL, "{wait:?} at {now} s");
                }
            }
            // In the long run it is the budget, whatever is waited for.
            assert!((9 * 60..=11 * 60).contains(&sent), "{sent}");
        }
    }

    #[test]
    fn a_stream_of_urgent_requests_leaves_a_fifth_to_the_others() {
        let mut pace = Pace::new(secs(0));
        let (mut urgent, mut others) = (0, 0);
        for step in 0..6000_u64 {
            let now = Duration::from_millis(step * 100);
            urgent += burst(&mut pace, true, now);
            others += burst(&mut pace, false, now);
        }
        let both = urgent + others;
        assert!((9 * 60..=11 * 60 + 1).contains(&both), "{both}");
        assert!((both / 10..=both / 4).contains(&others), "{others} beside {urgent}");
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
