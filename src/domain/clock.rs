//! Whether the box's clock can be believed. A small box may have none when it starts, and somebody may set it wrong;
//! then nothing that has a time limit may end, as what is deleted does not come back.
//!
//! The clock counts as right once a source has said about the same time, in the `Date` of an answer, since the start
//! or since the clock last jumped. The date of this version, and the newest time in the store, are a floor: a clock
//! below it is wrong, and says so before any source is asked.

use std::fmt;
use std::time::Duration;

use super::condition::{Condition, Urgency};
use super::ids::SourceName;
use super::limits::{CLOCK_DIFFERENCE_MAX, RELEASED_AT};
use super::time::Timestamp;

/// What a source said the time was, and when that was by the steady count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Who.
    pub source: SourceName,
    /// The time that it said.
    pub date: Timestamp,
    /// When it was heard.
    pub at: Duration,
}

/// Watches the clock.
#[derive(Debug)]
pub struct Watch {
    /// The newest time in the store at the start.
    stored: Option<Timestamp>,
    /// What was heard before this says nothing of the clock as it is set now.
    since: Duration,
    last: Option<(Timestamp, Duration)>,
    confirmed: bool,
    jumped: Option<Wrong>,
    standing: Standing,
}

/// What is to be thought of the clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has confirmed it yet, and nobody contradicts it.
    Unconfirmed,
    /// It is right.
    Confirmed,
    /// It is not to be believed.
    Wrong(Wrong),
}

/// Why the clock is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// It is earlier than it can be.
    BelowFloor {
        /// What it says.
        now: Timestamp,
        /// What was before now.
        floor: Timestamp,
        /// Whether the floor is the newest time in the store.
        stored: bool,
    },
    /// A source says another time.
    Disagrees {
        /// What the clock says.
        now: Timestamp,
        /// Who says another time.
        source: SourceName,
        /// The time that it says.
        theirs: Timestamp,
    },
    /// It was set while we ran, and nobody has confirmed the new time yet.
    Jumped {
        /// What it would have said.
        expected: Timestamp,
        /// What it said.
        now: Timestamp,
    },
}

impl Watch {
    /// Begins at the start of the daemon, with the newest time that the store holds.
    pub fn new(stored: Option<Timestamp>) -> Self {
        Self {
            stored,
            since: Duration::ZERO,
            last: None,
            confirmed: false,
            jumped: None,
            standing: Standing::Unconfirmed,
        }
    }

    /// Looks at the clock, the steady count, and what sources have said last.
    pub fn look(&mut self, now: Timestamp, steady: Duration, heard: &[Heard]) -> &Standing {
        if let Some((before, then)) = self.last {
            let expected = before.plus(steady.saturating_sub(then));
            if apart(now, expected) > CLOCK_DIFFERENCE_MAX {
                self.since = steady;
                self.confirmed = false;
                self.jumped = Some(Wrong::Jumped { expected, now });
            }
        }
        self.last = Some((now, steady));
        self.standing = self.judge(now, steady, heard);
        &self.standing
    }

    fn judge(&mut self, now: Timestamp, steady: Duration, heard: &[Heard]) -> Standing {
        let below = |floor: Timestamp| now.plus(CLOCK_DIFFERENCE_MAX) < floor;
        if below(RELEASED_AT) {
            self.confirmed = false;
            return Standing::Wrong(Wrong::BelowFloor { now, floor: RELEASED_AT, stored: false });
        }
        for Heard { source, date, at } in heard {
            let age = steady.saturating_sub(*at);
            // The steady count may stand still while a machine sleeps, so that what was heard long ago proves nothing.
            if *at < self.since || age > CLOCK_DIFFERENCE_MAX {
                continue;
            }
            let theirs = date.plus(age);
            if apart(now, theirs) > CLOCK_DIFFERENCE_MAX {
                self.confirmed = false;
                return Standing::Wrong(Wrong::Disagrees { now, source: source.clone(), theirs });
            }
            self.confirmed = true;
        }
        if self.confirmed {
            // A source's word outweighs what the store holds from a time when the clock was ahead: else nothing
            // would ever be deleted again.
            self.jumped = None;
            return Standing::Confirmed;
        }
        match self.stored.filter(|&stored| below(stored)) {
            Some(floor) => Standing::Wrong(Wrong::BelowFloor { now, floor, stored: true }),
            None => self.jumped.clone().map_or(Standing::Unconfirmed, Standing::Wrong),
        }
    }

    /// What the last look came to.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }
}

impl Standing {
    /// Whether something may end because its time has come.
    pub fn is_trusted(&self) -> bool {
        *self == Self::Confirmed
    }

    /// What an operator should know of it.
    pub fn condition(&self) -> Option<Condition> {
        let Self::Wrong(wrong) = self else { return None };
        let what = match wrong {
            Wrong::BelowFloor { now, floor, stored } => {
                let floor_is = if *stored { "the newest time in the database" } else { "when this version was made" };
                format!("it says {now}, {} before {floor_is}, {floor}", Span(apart(*now, *floor)))
            }
            Wrong::Disagrees { now, source, theirs } => {
                let way = if now > theirs { "ahead of" } else { "behind" };
                format!("it says {now}, {} {way} source {source}, which says {theirs}", Span(apart(*now, *theirs)))
            }
            Wrong::Jumped { expected, now } => {
                let way = if now > expected { "forward" } else { "back" };
                format!(
                    "it was set {way} by {} to {now}, and no source has confirmed that yet",
                    Span(apart(*now, *expected))
                )
            }
        };
        Some(Condition {
            urgency: Urgency::Warning,
            code: "clock_wrong",
            text: format!("the clock of this box cannot be believed: {what}; until it can, nothing expires"),
            remedy:
                "set the clock, or have it set: `timedatectl set-ntp true`; if it is right, look at that of the source"
                    .to_owned(),
        })
    }
}

fn apart(one: Timestamp, other: Timestamp) -> Duration {
    one.since(other).max(other.since(one))
}

/// A span in its two largest units.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.0.as_secs() / 60;
        let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
        match (days, hours) {
            (0, 0) => write!(f, "{minutes} min"),
            (0, _) => write!(f, "{hours} h {minutes} min"),
            (1, _) => write!(f, "1 day {hours} h"),
            _ => write!(f, "{days} days {hours} h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const HOUR: Duration = Duration::from_hours(1);
    const NOON: Timestamp = Timestamp(RELEASED_AT.0 + 30 * 24 * 3_600_000);

    fn heard(date: Timestamp, at: Duration) -> Vec<Heard> {
        vec![Heard { source: SourceName::parse("cloud").unwrap(), date, at }]
    }

    fn text(standing: &Standing) -> String {
        standing.condition().map(|condition| condition.text).unwrap_or_default()
    }

    #[test]
    fn without_a_word_from_a_source_nothing_expires_and_nothing_is_wrong() {
        let mut watch = Watch::new(Some(NOON));
        let standing = watch.look(NOON, Duration::ZERO, &[]);
        assert_eq!((standing.is_trusted(), standing.condition()), (false, None));
    }

    #[test]
    fn a_source_within_an_hour_confirms_and_its_word_lasts() {
        for (date, confirms) in [
            (NOON, true),
            (NOON.plus(HOUR), true),
            (NOON.minus(HOUR), true),
            (NOON.plus(HOUR + MINUTE), false),
            (NOON.minus(HOUR + MINUTE), false),
        ] {
            let mut watch = Watch::new(None);
            // What was heard a minute ago is a minute later by now.
            let standing = watch.look(NOON.plus(MINUTE), MINUTE, &heard(date, Duration::ZERO));
            assert_eq!(standing.is_trusted(), confirms, "{date}");
            let later = watch.look(NOON.plus(MINUTE * 2), MINUTE * 2, &[]);
            assert_eq!(later.is_trusted(), confirms, "{date}");
        }
    }

    #[test]
    fn a_clock_before_its_version_or_the_newest_stored_time_is_wrong() {
        let mut watch = Watch::new(None);
        let start = Timestamp(0);
        let standing = watch.look(start, Duration::ZERO, &heard(start, Duration::ZERO));
        assert!(!standing.is_trusted(), "no source is right about that");
        assert!(text(standing).contains("it says 1970-01-01T00:00:00Z, 20"), "{standing:?}");
        let mut watch = Watch::new(Some(NOON.plus(HOUR * 49)));
        let standing = watch.look(NOON, Duration::ZERO, &[]).clone();
        assert!(text(&standing).contains("2 days 1 h before the newest time in the database"), "{standing:?}");
        let mut watch = Watch::new(Some(NOON.plus(HOUR)));
        assert_eq!(*watch.look(NOON, Duration::ZERO, &[]), Standing::Unconfirmed, "a clock may be set a little");
    }

    /// Else a box whose clock was once ahead by years would never delete anything again.
    #[test]
    fn a_source_outweighs_a_time_that_a_wrong_clock_left_in_the_store() {
        let mut watch = Watch::new(Some(NOON.plus(HOUR * 24 * 365)));
        assert!(!watch.look(NOON, Duration::ZERO, &[]).is_trusted());
        assert!(watch.look(NOON, Duration::ZERO, &heard(NOON, Duration::ZERO)).is_trusted());
    }

    #[test]
    fn after_a_jump_only_what_is_heard_later_counts() {
        let mut watch = Watch::new(None);
        assert!(watch.look(NOON, MINUTE, &heard(NOON, MINUTE)).is_trusted());
        // An hour is no jump: time servers and summer times do that.
        assert!(watch.look(NOON.plus(HOUR + MINUTE), MINUTE * 2, &[]).is_trusted());
        let far = NOON.plus(HOUR * 24 * 400);
        let standing = watch.look(far, MINUTE * 3, &heard(NOON, MINUTE)).clone();
        assert!(text(&standing).contains("set forward by 399 days 22 h"), "{standing:?}");
        assert_eq!(*watch.look(far.plus(MINUTE), MINUTE * 4, &[]), standing, "until somebody confirms it");
        let standing = watch.look(far.plus(MINUTE), MINUTE * 4, &heard(NOON, MINUTE * 4)).clone();
        assert!(text(&standing).contains("ahead of source cloud"), "{standing:?}");
        let back = watch.look(NOON.plus(MINUTE * 5), MINUTE * 5, &[]).clone();
        assert!(text(&back).contains("set back by"), "{back:?}");
        let date = NOON.plus(MINUTE * 6);
        let standing = watch.look(date, MINUTE * 6, &heard(date, MINUTE * 6));
        assert_eq!((standing.is_trusted(), standing.condition()), (true, None));
    }

    #[test]
    fn one_source_that_disagrees_is_enough() {
        let mut both = heard(NOON, Duration::ZERO);
        both.extend(heard(NOON.plus(HOUR * 3), Duration::ZERO));
        let standing = Watch::new(None).look(NOON, Duration::ZERO, &both).clone();
        assert!(text(&standing).contains("3 h 0 min behind source cloud"), "{standing:?}");
    }

    #[test]
    fn what_was_heard_long_ago_neither_confirms_nor_contradicts() {
        let mut watch = Watch::new(None);
        let standing = watch.look(NOON, HOUR * 2, &heard(NOON.plus(HOUR * 9), Duration::ZERO));
        assert_eq!(*standing, Standing::Unconfirmed);
    }
}
