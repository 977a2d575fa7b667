//! Reading a scope whole, as a state machine that is told what each page held and says which page comes next.
//!
//! Only a crawl whose counts add up becomes a [`Snapshot`], and only a snapshot can close a finding. A crawl that
//! ends otherwise is [`Incomplete`]: what it read may add and update, and closes nothing.

use minicbor::{Decode, Encode};

use super::finding::Digest;
use super::ids::IssueKey;
use super::limits::{GUARD_WAIT, SONAR_PAGE_ROWS, SONAR_WINDOW};
use super::reconcile::{Closing, End};
use super::time::Timestamp;

/// One of Sonar's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// `issues/search`.
    Issues,
    /// `hotspots/search`; Servers only.
    Hotspots,
}

/// What a source's lists are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lists {
    /// Whether `paging.total` stops at the window (Cloud), so that reaching it means "unknown".
    pub total_capped: bool,
    /// Whether the source still has hotspots.
    pub hotspots: bool,
}

/// The next page to fetch, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Which list.
    pub list: List,
    /// Which page.
    pub page: u32,
}

/// What a page held, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageCount {
    /// Rows on the page.
    pub rows: u64,
    /// Rows whose key no earlier page of this crawl had.
    pub new_keys: u64,
    /// `paging.total`.
    pub total: u64,
    /// The status facet, summed over the statuses that were asked for; asked with the first page of issues.
    pub facet_sum: Option<u64>,
}

/// Why a crawl proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Incomplete {
    /// More than Sonar's window shows.
    #[error("Sonar shows only the first 10,000 of this scope's {list}")]
    TooLarge {
        /// In words: `issues` or `hotspots`.
        list: &'static str,
    },
    /// The distinct keys are not as many as the total says: rows moved between pages, or are missing.
    #[error("Sonar's total says {total} {list}, {distinct} different ones were read")]
    Miscounted {
        /// In words.
        list: &'static str,
        /// Sonar's total.
        total: u64,
        /// What was read.
        distinct: u64,
    },
    /// The counts per status do not add up to the total.
    #[error("Sonar's counts per status add up to {facets} issues, its total says {total}")]
    FacetDisagrees {
        /// The sum of the counts.
        facets: u64,
        /// Sonar's total.
        total: u64,
    },
    /// The answer had no counts per status, so there is nothing to prove the total with.
    #[error("Sonar's answer had no counts per status")]
    NoFacet,
}

impl Incomplete {
    /// Whether reading again at once may help.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Miscounted { .. } | Self::FacetDisagrees { .. })
    }
}

/// A crawl under way.
#[derive(Debug, Clone)]
pub struct Crawl {
    lists: Lists,
    list: List,
    page: u32,
    distinct: u64,
    distinct_before: u64,
    total: u64,
    facet_sum: Option<u64>,
    problem: Option<Incomplete>,
    done: bool,
}

impl Crawl {
    /// Begins with the first page of issues.
    pub fn new(lists: Lists) -> Self {
        Self {
            lists,
            list: List::Issues,
            page: 1,
            distinct: 0,
            distinct_before: 0,
            total: 0,
            facet_sum: None,
            problem: None,
            done: false,
        }
    }

    /// What to fetch next; nothing when the crawl is over.
    pub fn next(&self) -> Option<Ask> {
        (!self.done).then_some(Ask { list: self.list, page: self.page })
    }

    /// How many rows this crawl expects in all, for a progress bar.
    pub fn expected(&self) -> u64 {
        self.distinct_before + self.total
    }

    /// How many different findings were read.
    pub fn read(&self) -> u64 {
        self.distinct_before + self.distinct
    }

    /// Takes in the page that [`next`](Self::next) asked for.
    pub fn page(&mut self, page: PageCount) {
        self.distinct += page.new_keys;
        self.total = page.total;
        if self.page == 1 {
            self.facet_sum = page.facet_sum;
        }
        let rows_max = u64::from(SONAR_PAGE_ROWS);
        let read_to = u64::from(self.page) * rows_max;
        if page.rows == rows_max && read_to < page.total && read_to < SONAR_WINDOW {
            self.page += 1;
        } else {
            self.end_list();
        }
    }

    fn end_list(&mut self) {
        let words = match self.list {
            List::Issues => "issues",
            List::Hotspots => "hotspots",
        };
        let unknown = if self.lists.total_capped && self.list == List::Issues {
            self.total >= SONAR_WINDOW
        } else {
            self.total > SONAR_WINDOW
        };
        let problem = if unknown {
            Some(Incomplete::TooLarge { list: words })
        } else if self.distinct != self.total {
            Some(Incomplete::Miscounted { list: words, total: self.total, distinct: self.distinct })
        } else if self.list == List::Issues {
            match self.facet_sum {
                None => Some(Incomplete::NoFacet),
                Some(facets) if facets != self.total => Some(Incomplete::FacetDisagrees { facets, total: self.total }),
                Some(_) => None,
            }
        } else {
            None
        };
        self.problem = self.problem.or(problem);
        if self.list == List::Issues && self.lists.hotspots {
            self.list = List::Hotspots;
            self.page = 1;
            self.distinct_before = self.distinct;
            self.distinct = 0;
            self.total = 0;
        } else {
            self.done = true;
        }
    }

    /// The proof, if the crawl ran to its end and everything adds up.
    pub fn finish(self) -> Result<Snapshot, Incomplete> {
        assert!(self.done, "a crawl is finished after its last page");
        match self.problem {
            None => Ok(Snapshot { held: self.read() }),
            Some(problem) => Err(problem),
        }
    }
}

/// The proof that a crawl read all of a scope. It can only come from [`Crawl::finish`].
#[derive(Debug)]
pub struct Snapshot {
    held: u64,
}

impl Snapshot {
    /// Findings that the snapshot holds.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// The right to close a finding that this snapshot does not hold.
    pub fn close(&self, key: IssueKey, end: End) -> Closing {
        Closing { key, end }
    }
}

/// Whether so many findings that Sonar no longer knows need a second crawl that agrees: all of a scope's, or
/// more than the larger of 3 and a tenth.
pub fn is_suspicious(unknown: u64, stored: u64) -> bool {
    unknown > 0 && (unknown >= stored || unknown > (stored / 10).max(3))
}

/// What was missing when so much was missing that a second crawl has to agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Suspicion {
    /// When it was first seen.
    #[n(0)]
    pub since: Timestamp,
    /// A digest of the keys that were missing.
    #[n(1)]
    pub keys: Digest,
}

impl Suspicion {
    /// Whether a crawl that finds the very same keys missing now confirms it.
    pub fn is_confirmed(self, now: Timestamp) -> bool {
        now.since(self.since) >= GUARD_WAIT
    }
}

/// Which findings of a scope a crawl has met: one bit each, by slot, so that a scope of a million findings
/// takes 125 kB.
#[derive(Debug, Clone, Default)]
pub struct Met {
    bits: Vec<u64>,
}

impl Met {
    /// Marks a slot and says whether it was not yet marked.
    pub fn mark(&mut self, slot: u32) -> bool {
        let (word, bit) = (slot as usize / 64, 1_u64 << (slot % 64));
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        let fresh = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        fresh
    }

    /// Whether a slot was marked.
    pub fn has(&self, slot: u32) -> bool {
        self.bits.get(slot as usize / 64).is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOUD: Lists = Lists { total_capped: true, hotspots: false };
    const SERVER: Lists = Lists { total_capped: false, hotspots: true };

    fn page(rows: u64, total: u64) -> PageCount {
        PageCount { rows, new_keys: rows, total, facet_sum: Some(total) }
    }

    /// Feeds pages until the crawl asks for no more; the answer to each comes from `answer`.
    fn run(lists: Lists, mut answer: impl FnMut(Ask) -> PageCount) -> (Vec<Ask>, Result<u64, Incomplete>) {
        let mut crawl = Crawl::new(lists);
        let mut asked = vec![];
        while let Some(ask) = crawl.next() {
            asked.push(ask);
            crawl.page(answer(ask));
        }
        (asked, crawl.finish().map(|snapshot| snapshot.held()))
    }

    fn pages_of(total: u64) -> impl FnMut(Ask) -> PageCount {
        move |ask| page(total.saturating_sub(u64::from(ask.page - 1) * 500).min(500), total)
    }

    #[test]
    fn an_empty_scope_is_one_page_and_a_proof() {
        let (asked, held) = run(CLOUD, pages_of(0));
        assert_eq!((asked.len(), held), (1, Ok(0)));
    }

    #[test]
    fn no_more_pages_are_asked_than_the_total_needs() {
        for (total, pages) in [(1, 1), (500, 1), (501, 2), (9_000, 18), (9_999, 20)] {
            let (asked, held) = run(CLOUD, pages_of(total));
            assert_eq!((asked.len(), held), (pages, Ok(total)), "{total}");
        }
    }

    #[test]
    fn ten_thousand_on_cloud_means_unknown_and_on_a_server_it_is_a_number() {
        assert_eq!(run(CLOUD, pages_of(10_000)).1, Err(Incomplete::TooLarge { list: "issues" }));
        let issues = |ask: Ask| match ask.list {
            List::Issues => pages_of(10_000)(ask),
            List::Hotspots => page(0, 0),
        };
        assert_eq!(run(SERVER, issues).1, Ok(10_000));
        let more = |ask: Ask| match ask.list {
            List::Issues => pages_of(10_001)(ask),
            List::Hotspots => page(0, 0),
        };
        let (asked, held) = run(SERVER, more);
        assert_eq!(held, Err(Incomplete::TooLarge { list: "issues" }));
        assert_eq!(asked.len(), 21, "the window is read, never passed");
    }

    #[test]
    fn a_row_that_comes_twice_leaves_the_proof_short() {
        let twice = |ask: Ask| PageCount {
            new_keys: if ask.page == 2 { 99 } else { 500 },
            ..page(if ask.page == 2 { 100 } else { 500 }, 600)
        };
        let problem = run(CLOUD, twice).1.unwrap_err();
        assert_eq!(problem, Incomplete::Miscounted { list: "issues", total: 600, distinct: 599 });
        assert!(problem.is_passing());
    }

    #[test]
    fn an_answer_that_is_cut_short_or_has_no_counts_proves_nothing() {
        assert_eq!(run(CLOUD, |_| page(3, 8)).1, Err(Incomplete::Miscounted { list: "issues", total: 8, distinct: 3 }));
        assert_eq!(
            run(CLOUD, |_| PageCount { facet_sum: Some(9), ..page(8, 8) }).1,
            Err(Incomplete::FacetDisagrees { facets: 9, total: 8 })
        );
        assert_eq!(run(CLOUD, |_| PageCount { facet_sum: None, ..page(8, 8) }).1, Err(Incomplete::NoFacet));
    }

    #[test]
    fn hotspots_are_read_after_the_issues_and_counted_apart() {
        let (asked, held) = run(SERVER, |ask| match ask.list {
            List::Issues => pages_of(600)(ask),
            List::Hotspots => PageCount { facet_sum: None, ..page(7, 7) },
        });
        assert_eq!(asked.last(), Some(&Ask { list: List::Hotspots, page: 1 }));
        assert_eq!(held, Ok(607));
        let short = run(SERVER, |ask| match ask.list {
            List::Issues => page(1, 1),
            List::Hotspots => page(6, 7),
        });
        assert_eq!(short.1, Err(Incomplete::Miscounted { list: "hotspots", total: 7, distinct: 6 }));
    }

    #[test]
    fn the_guard_lets_few_unknown_findings_pass_and_stops_many() {
        for (unknown, stored, suspicious) in
            [(0, 0, false), (0, 9, false), (1, 1, true), (3, 9, false), (4, 9, true), (10, 100, false), (11, 100, true)]
        {
            assert_eq!(is_suspicious(unknown, stored), suspicious, "{unknown} of {stored}");
        }
    }

    #[test]
    fn a_suspicion_is_confirmed_after_ten_minutes() {
        let suspicion = Suspicion { since: Timestamp(0), keys: Digest([7; 16]) };
        assert!(!suspicion.is_confirmed(Timestamp(599_999)));
        assert!(suspicion.is_confirmed(Timestamp(600_000)));
        assert!(!Suspicion { since: Timestamp(900_000), ..suspicion }.is_confirmed(Timestamp(600_000)));
    }

    #[test]
    fn a_slot_is_met_once() {
        let mut met = Met::default();
        assert!(met.mark(70));
        assert!(!met.mark(70));
        assert!(met.has(70) && !met.has(69) && !met.has(100_000));
    }

    proptest::proptest! {
        /// Whatever rows the pages hold: a snapshot is made only if as many different keys were read as there are.
        #[test]
        fn a_snapshot_never_holds_less_than_sonar_says(
            total in 0..1600_u64,
            facet_sum in proptest::option::weighted(0.9, 0..1600_u64),
            rows in proptest::collection::vec(proptest::collection::vec(0..1600_u64, 0..500), 4),
            honest in proptest::bool::ANY,
        ) {
            let mut read = std::collections::BTreeSet::new();
            let (_, held) = run(CLOUD, |ask| {
                let first = u64::from(ask.page - 1) * 500;
                let page: Vec<u64> = if honest {
                    (first..total.min(first + 500)).collect()
                } else {
                    rows.get(ask.page as usize - 1).cloned().unwrap_or_default()
                };
                let new_keys = page.iter().filter(|&&key| read.insert(key)).count() as u64;
                let facet_sum = if honest { Some(total) } else { facet_sum };
                PageCount { rows: page.len() as u64, new_keys, total, facet_sum }
            });
            if honest {
                proptest::prop_assert_eq!(&held, &Ok(total));
            }
            if let Ok(held) = held {
                proptest::prop_assert_eq!(held, read.len() as u64);
                proptest::prop_assert_eq!(held, total);
            }
        }
    }
}
