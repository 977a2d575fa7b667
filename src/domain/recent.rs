//! Reading only what changed: which reads may, when such a read is over, and what proves it.
//!
//! Sonar sorts issues by the date when it last touched them, so the newest rows down to a watermark are what changed.
//! That is proven by the counts per state: what the inventory would hold afterwards must be what Sonar counts. A line
//! that only shifts does not move the date, so a read of the whole has to follow.

use std::time::Duration;

use super::finding::State;
use super::limits::{RECENT_OVERLAP, RECENT_PAGES_MAX, SONAR_PAGE_ROWS};
use super::schedule::Reason;
use super::time::Timestamp;

/// What is known of a scope before it is read.
#[derive(Debug, Clone, Copy)]
pub struct History {
    /// Findings that are stored as not closed.
    pub open: u64,
    /// Whether the last read was complete.
    pub complete: bool,
    /// The last complete read of the whole.
    pub crawled_at: Option<Timestamp>,
    /// What Sonar touched before this was read.
    pub watermark: Option<Timestamp>,
    /// Whether the source sorts by the date of the last touch.
    pub sorted: bool,
    /// A scope of up to so many is read whole: of few pages, it costs no more.
    pub whole_max: u64,
}

/// How much of a scope is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// What was touched since then.
    Recent {
        /// By Sonar's dates.
        since: Timestamp,
    },
}

/// How much to read.
pub fn extent(history: &History, reason: Reason, whole_every: Duration, now: Timestamp) -> Extent {
    // By a clock that went back the last whole read may seem to lie ahead; then it is as good as long ago.
    let fresh = history.crawled_at.is_some_and(|at| at <= now && now.since(at) < whole_every);
    match (reason, history.watermark) {
        (Reason::Full | Reason::Import | Reason::Whole, _) | (_, None) => Extent::Whole,
        (_, Some(since)) if history.complete && history.sorted && fresh && history.open > history.whole_max => {
            Extent::Recent { since: since.minus(RECENT_OVERLAP) }
        }
        _ => Extent::Whole,
    }
}

/// A read of what changed, under way.
#[derive(Debug, Clone)]
pub struct Recent {
    since: Timestamp,
    page: u32,
    pages_max: u32,
    last: Option<Timestamp>,
    newest: Option<Timestamp>,
}

/// What follows a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// This page.
    Page(u32),
    /// Nothing: all that was touched since is read.
    Done,
    /// The rows are not in the order that was asked for. Only reading the whole helps.
    Unsorted,
    /// So much changed that reading the whole is no dearer.
    Much,
}

impl Recent {
    /// Begins with page 1 of what was touched since a time, in a scope of so many findings.
    pub fn new(since: Timestamp, open: u64) -> Self {
        let half = u32::try_from(open / u64::from(SONAR_PAGE_ROWS) / 2).unwrap_or(u32::MAX);
        Self { since, page: 1, pages_max: half.clamp(1, RECENT_PAGES_MAX), last: None, newest: None }
    }

    /// Takes in when each row of the page was last touched, in the page's order, and how many there are in all.
    pub fn page(&mut self, touched: &[Option<Timestamp>], total: u64) -> Next {
        // Within a page only: where rows move to the top while pages are turned, the next page begins with rows of this
        // one, which may be newer than its last.
        let mut former = None;
        for at in touched {
            let Some(at) = *at else { return Next::Unsorted };
            if former.is_some_and(|former| at > former) {
                return Next::Unsorted;
            }
            former = Some(at);
            self.newest = self.newest.max(former);
        }
        self.last = former.or(self.last);
        let full = touched.len() >= SONAR_PAGE_ROWS as usize;
        let more = u64::from(self.page) * u64::from(SONAR_PAGE_ROWS) < total;
        if !full || !more || self.last.is_none_or(|last| last < self.since) {
            return Next::Done;
        }
        if self.page >= self.pages_max {
            return Next::Much;
        }
        self.page += 1;
        Next::Page(self.page)
    }

    /// The watermark after it: all that was touched before is read.
    pub fn watermark(&self) -> Timestamp {
        self.newest.map_or(self.since, |newest| newest.max(self.since))
    }
}

/// Issues that are not closed by what Sonar counts apart: its status RESOLVED is both of our accepted and false positive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ByState {
    /// To be looked at.
    pub open: i64,
    /// Confirmed.
    pub confirmed: i64,
    /// Accepted, or no issue.
    pub resolved: i64,
}

impl ByState {
    /// From the values of Sonar's facet of statuses. A word that is not known counts as open, as its findings do.
    pub fn counted(values: &[(String, u64)]) -> Self {
        let mut counts = Self::default();
        for (status, count) in values {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            match status.as_str() {
                "CONFIRMED" => counts.confirmed += count,
                "RESOLVED" => counts.resolved += count,
                "CLOSED" => {}
                _ => counts.open += count,
            }
        }
        counts
    }

    /// Counts so many more, or fewer, in a state.
    pub fn add(&mut self, state: State, count: i64) {
        match state {
            State::Open => self.open += count,
            State::Confirmed => self.confirmed += count,
            State::Accepted | State::FalsePositive => self.resolved += count,
            State::Fixed | State::Removed => {}
        }
    }

    /// All together.
    pub fn total(self) -> u64 {
        u64::try_from(self.open + self.confirmed + self.resolved).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn history() -> History {
        History {
            open: 100_000,
            complete: true,
            crawled_at: Some(Timestamp(0)),
            watermark: Some(Timestamp(1_000_000)),
            sorted: true,
            whole_max: 5_000,
        }
    }

    #[test]
    fn a_large_scope_that_was_read_whole_today_is_read_by_what_changed() {
        let at = |history: History, reason| extent(&history, reason, DAY, Timestamp(5));
        assert_eq!(at(history(), Reason::Webhook), Extent::Recent { since: Timestamp(700_000) });
        assert_eq!(at(history(), Reason::Sweep), Extent::Recent { since: Timestamp(700_000) });
        for reason in [Reason::Full, Reason::Import, Reason::Whole] {
            assert_eq!(at(history(), reason), Extent::Whole);
        }
        for other in [
            History { open: 5_000, ..history() },
            History { complete: false, ..history() },
            History { crawled_at: None, ..history() },
            History { watermark: None, ..history() },
            History { sorted: false, ..history() },
            History { crawled_at: Some(Timestamp(6)), ..history() },
        ] {
            assert_eq!(at(other, Reason::Webhook), Extent::Whole, "{other:?}");
        }
        let tomorrow = Timestamp(0).plus(DAY);
        assert_eq!(extent(&history(), Reason::Webhook, DAY, tomorrow), Extent::Whole);
    }

    fn dates(range: std::ops::RangeInclusive<i64>) -> Vec<Option<Timestamp>> {
        range.rev().map(|at| Some(Timestamp(at))).collect()
    }

    #[test]
    fn pages_are_turned_until_the_watermark_is_passed() {
        let mut recent = Recent::new(Timestamp(900), 100_000);
        assert_eq!(recent.page(&dates(1_001..=1_500), 100_000), Next::Page(2));
        assert_eq!(recent.page(&dates(501..=1_000), 100_000), Next::Done);
        assert_eq!(recent.watermark(), Timestamp(1_500));
        assert_eq!(Recent::new(Timestamp(900), 100_000).page(&dates(1..=3), 3), Next::Done);
        assert_eq!(Recent::new(Timestamp(900), 100_000).page(&[], 0), Next::Done);
    }

    #[test]
    fn rows_in_another_order_are_not_believed() {
        let mut recent = Recent::new(Timestamp(0), 100_000);
        assert_eq!(recent.page(&[Some(Timestamp(5)), Some(Timestamp(6))], 2), Next::Unsorted);
        assert_eq!(Recent::new(Timestamp(0), 1).page(&[None], 1), Next::Unsorted);
    }

    #[test]
    fn rows_that_come_again_on_the_next_page_are_in_order() {
        let mut recent = Recent::new(Timestamp(0), 100_000);
        assert_eq!(recent.page(&dates(1_001..=1_500), 100_000), Next::Page(2));
        assert_eq!(recent.page(&dates(504..=1_003), 100_000), Next::Page(3));
    }

    #[test]
    fn when_much_changed_the_whole_is_read() {
        let mut recent = Recent::new(Timestamp(0), 6_000);
        let mut next = Next::Page(1);
        for _ in 0..6 {
            next = recent.page(&vec![Some(Timestamp(5)); 500], 60_000);
        }
        assert_eq!(next, Next::Much);
    }

    #[test]
    fn sonars_counts_are_compared_by_what_it_counts_apart() {
        let facet = [
            ("OPEN", 3),
            ("REOPENED", 1),
            ("CONFIRMED", 2),
            ("RESOLVED", 4),
            ("CLOSED", 99),
            ("IN_SANDBOX", 1),
            ("QUARANTINED", 2),
        ];
        let facet = facet.map(|(word, count)| (word.to_owned(), count));
        let mut ours = ByState::default();
        for (state, count) in [(State::Open, 7), (State::Confirmed, 2), (State::Accepted, 1), (State::FalsePositive, 3)]
        {
            ours.add(state, count);
        }
        ours.add(State::Fixed, 7);
        assert_eq!(ByState::counted(&facet), ours);
        assert_eq!(ours.total(), 13);
    }
}
