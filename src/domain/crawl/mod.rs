//! Reading a scope whole, as a state machine that is told what each page held and says which page comes next.
//!
//! Sonar shows the first 10,000 rows of a list and no more. A longer list is read in slices that do not overlap: by
//! creation date, oldest first, each slice ending where its window ends; what was created in one second and is still
//! too much, by severity, state, rule, folder and file. A slice counts only when the different keys that were read
//! are as many as Sonar counts in it; the whole counts only when its slices add up to what Sonar counts in the whole.
//! No bound comes from a clock of ours: the dates are those of the rows, and the last slice is open-ended.
//!
//! Only a crawl whose counts add up becomes a [`Snapshot`], and only a snapshot can close a finding. A crawl that
//! ends otherwise is [`Incomplete`]: what it read may add and update, and closes nothing.
//!
//! A crawl under way can be stored and gone on with.

mod gathered;
mod guard;
mod slice;

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};

pub use self::gathered::Gathered;
pub use self::guard::{Met, Suspicion, is_suspicious};
pub use self::slice::{Ask, Facet, List, Lists, Page, Row, Slice};
use super::ids::IssueKey;
use super::limits::{
    CRAWL_ATTEMPTS_MAX, CRAWL_PAGES_MAX, HOTSPOT_FILES_PER_SLICE, SONAR_PAGE_ROWS, SONAR_WINDOW, SONAR_WINDOW_PAGES,
};
use super::reconcile::{Closing, End};
use super::time::Timestamp;

/// Why a crawl proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Encode, Decode)]
pub enum Incomplete {
    /// More than Sonar's window shows, however the list is cut.
    #[error(
        "more than 10,000 of this scope's {list} are alike in all that they can be asked for by, and Sonar shows no more"
    )]
    #[n(0)]
    TooLarge {
        /// Which list.
        #[n(0)]
        list: List,
    },
    /// The different keys are not as many as Sonar counts: rows moved between pages, or are missing.
    #[error("Sonar counts {total} {list}, {distinct} different ones were read")]
    #[n(1)]
    Miscounted {
        /// Which list.
        #[n(0)]
        list: List,
        /// Sonar's count.
        #[n(1)]
        total: u64,
        /// What was read.
        #[n(2)]
        distinct: u64,
    },
    /// The counts per status do not add up to the total.
    #[error("Sonar's counts per status add up to {facets} issues, its total says {total}")]
    #[n(2)]
    FacetDisagrees {
        /// The sum of the counts.
        #[n(0)]
        facets: u64,
        /// Sonar's total.
        #[n(1)]
        total: u64,
    },
    /// The answer had no counts per status, so there is nothing to prove the total with.
    #[error("Sonar's answer had no counts per status")]
    #[n(3)]
    NoFacet,
}

impl Incomplete {
    /// Whether reading again soon may help.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Miscounted { .. } | Self::FacetDisagrees { .. })
    }
}

/// A crawl under way.
#[derive(Debug, Clone, Encode, Decode)]
pub struct Crawl {
    #[cbor(skip)]
    lists: Lists,
    #[n(0)]
    list: List,
    /// Slices still to be read, the next one last.
    #[n(1)]
    todo: Vec<Part>,
    /// The slice under way; none when the crawl is over.
    #[n(2)]
    open: Option<Open>,
    /// A slice that was read up to where the one under way begins: the counts of both windows tell how many it has.
    #[n(3)]
    owed: Option<Owed>,
    /// The second that is being read by severity, state and so on.
    #[n(4)]
    second: Option<Second>,
    /// How many the list has in all, as first counted.
    #[n(5)]
    whole: Option<u64>,
    /// How many keys were read in slices of this list that counted.
    #[n(6)]
    proven: u64,
    /// The same for the lists before.
    #[n(7)]
    proven_before: u64,
    /// Whether the list had to be cut.
    #[n(8)]
    sliced: bool,
    /// Whether the list was cut by files that may not be all there are.
    #[n(9)]
    by_files: bool,
    #[n(10)]
    problem: Option<Incomplete>,
    /// Pages that were read.
    #[n(11)]
    #[cbor(default)]
    pages: u32,
}

/// A slice still to be read.
#[derive(Debug, Clone, Encode, Decode)]
struct Part {
    #[n(0)]
    slice: Slice,
    /// The slice before it and this one have so many together: if the other has them all, this one is empty.
    #[n(1)]
    with_former: Option<u64>,
}

/// The slice under way.
#[derive(Debug, Clone, Encode, Decode)]
struct Open {
    #[n(0)]
    slice: Slice,
    #[n(1)]
    attempt: u32,
    #[n(2)]
    step: Step,
    #[n(3)]
    page: u32,
    #[n(4)]
    last_page: u32,
    /// What Sonar counts in it.
    #[n(5)]
    count: u64,
    /// The creation date of its first row.
    #[n(6)]
    first: Option<Timestamp>,
    /// Rows created from here on belong to the next slice.
    #[n(7)]
    upto: Option<Timestamp>,
    /// Hashes of the keys that were read.
    #[n(8)]
    keys: BTreeSet<u64>,
    /// Files that were met, where a list can only be cut by them.
    #[n(9)]
    files: BTreeSet<String>,
}

/// What the page under way is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
enum Step {
    /// The slice's first page, with its count.
    #[n(0)]
    First,
    /// The window's last page: its dates say where to cut.
    #[n(1)]
    Probe,
    /// The pages between.
    #[n(2)]
    Pages,
    /// All that can be read of a slice that cannot be cut.
    #[n(3)]
    Window,
    /// The window of a list of hotspots, for the files to cut it by.
    #[n(4)]
    Gather,
    /// Counts by rule, folder or file, to cut by.
    #[n(5)]
    Rules,
    #[n(6)]
    Directories,
    #[n(7)]
    Files,
    /// The whole list's count, once more.
    #[n(8)]
    Recount,
}

#[derive(Debug, Clone, Encode, Decode)]
struct Owed {
    #[n(0)]
    slice: Slice,
    /// What Sonar counted from its beginning on.
    #[n(1)]
    count: u64,
    /// How many different keys it has.
    #[n(2)]
    distinct: u64,
}

/// Whether slices by severity and so on overlap is Sonar's affair; two that do must not count twice.
#[derive(Debug, Clone, Encode, Decode)]
struct Second {
    #[n(0)]
    from: Timestamp,
    #[n(1)]
    keys: BTreeSet<u64>,
    #[n(2)]
    proven: u64,
}

const PAGE: u64 = SONAR_PAGE_ROWS as u64;
const LAST_PAGE: u32 = SONAR_WINDOW_PAGES;
const _: () = assert!(SONAR_WINDOW == PAGE * SONAR_WINDOW_PAGES as u64);

impl Crawl {
    /// Begins with the first page of issues.
    pub fn new(lists: Lists) -> Self {
        Self {
            lists,
            list: List::Issues,
            todo: Vec::new(),
            open: Some(Open::new(Slice::default(), 1)),
            owed: None,
            second: None,
            whole: None,
            proven: 0,
            proven_before: 0,
            sliced: false,
            by_files: false,
            problem: None,
            pages: 0,
        }
    }

    /// A crawl that was stored goes on; `lists` is not stored with it.
    #[must_use]
    pub fn resume(self, lists: Lists) -> Self {
        Self { lists, ..self }
    }

    /// What to fetch next; nothing when the crawl is over.
    pub fn next(&self) -> Option<Ask> {
        let open = self.open.as_ref()?;
        let facet = match open.step {
            Step::First | Step::Recount if self.list == List::Issues => Some(Facet::Status),
            Step::Rules => Some(Facet::Rules),
            Step::Directories => Some(Facet::Directories),
            Step::Files => Some(Facet::Files),
            _ => None,
        };
        Some(Ask { list: self.list, slice: open.slice.clone(), page: open.page, facet })
    }

    /// How many pages were read.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// How many rows this crawl expects in all, for a progress bar.
    pub fn expected(&self) -> u64 {
        self.proven_before + self.whole.unwrap_or(0)
    }

    /// How many different findings were read.
    pub fn read(&self) -> u64 {
        let owed = self.owed.as_ref().map_or(0, |owed| owed.distinct);
        self.proven_before + self.proven + owed + self.open.as_ref().map_or(0, |open| open.keys.len() as u64)
    }

    /// Takes in the page that [`next`](Self::next) asked for.
    ///
    /// # Panics
    /// If the crawl is over.
    pub fn page(&mut self, page: &Page) {
        let open = self.open.take().expect("a page was asked for");
        self.pages += 1;
        if self.pages > CRAWL_PAGES_MAX {
            self.fail(Incomplete::TooLarge { list: self.list });
            return;
        }
        match open.step {
            Step::First => self.first(open, page),
            Step::Probe => self.probe(open, page),
            Step::Pages | Step::Window | Step::Gather => self.further(open, page),
            Step::Rules | Step::Directories | Step::Files => self.values(&open, page),
            Step::Recount => self.recount(page),
        }
    }

    fn first(&mut self, mut open: Open, page: &Page) {
        let count = match (self.list, page.sum) {
            (List::Hotspots, _) => page.total,
            (List::Issues, None) => {
                self.fail(Incomplete::NoFacet);
                page.total
            }
            (List::Issues, Some(sum)) => {
                if sum != page.total && !self.is_capped(page.total) {
                    let problem = Incomplete::FacetDisagrees { facets: sum, total: page.total };
                    return self.again(open, problem);
                }
                sum
            }
        };
        if let Some(owed) = self.owed.take() {
            self.settle(owed, count);
        }
        self.whole.get_or_insert(count);
        if let Some(next) = self.todo.last()
            && next.with_former == Some(count)
            && next.slice.from == open.slice.before
        {
            self.todo.pop();
        }
        if page.keys.iter().any(|row| !open.slice.may_hold(row.created_at)) {
            // It does not cut by date what it is asked to cut.
            return self.read_window(open);
        }
        open.count = count;
        open.first = page.keys.first().and_then(|row| row.created_at);
        Self::take(&mut open, page);
        if count > SONAR_WINDOW || self.is_capped(page.total) {
            self.cut(open);
        } else if count > PAGE && page.rows == PAGE {
            self.go_on(open, Step::Pages, u32::try_from(count.div_ceil(PAGE)).unwrap_or(LAST_PAGE));
        } else {
            self.end(open);
        }
    }

    /// Whether a total says no more than that there are as many as the window holds, or more.
    fn is_capped(&self, total: u64) -> bool {
        self.lists.total_capped && self.list == List::Issues && total >= SONAR_WINDOW
    }

    /// Compares what was read of the slice before with the difference of two counts.
    fn settle(&mut self, owed: Owed, count: u64) {
        if owed.count.checked_sub(count) == Some(owed.distinct) {
            self.proven += owed.distinct;
        } else {
            // Something changed meanwhile: by itself the slice has a count of its own.
            self.todo.push(Part { slice: owed.slice, with_former: None });
        }
    }

    fn take(open: &mut Open, page: &Page) {
        for row in page.keys {
            let belongs = match (open.upto, row.created_at) {
                (Some(upto), Some(created)) => created < upto,
                _ => true,
            };
            if belongs {
                open.keys.insert(row.key);
            }
            if open.step == Step::Gather
                && let Some(path) = row.path
            {
                open.files.insert(path.to_owned());
            }
        }
    }

    /// The slice has more than the window shows.
    fn cut(&mut self, mut open: Open) {
        self.sliced = true;
        if self.list == List::Hotspots {
            return self.cut_hotspots(open);
        }
        if !open.slice.is_one_second() {
            if open.first.is_none() {
                return self.read_window(open);
            }
            open.step = Step::Probe;
            open.page = LAST_PAGE;
            self.open = Some(open);
            return;
        }
        if self.second.is_none() {
            self.second = open.slice.from.map(|from| Second { from, keys: BTreeSet::new(), proven: 0 });
        }
        let slice = &open.slice;
        if slice.severity.is_none() && !self.lists.severities.is_empty() {
            let severity = |word: &str| Slice { severity: Some(word.to_owned()), ..slice.clone() };
            self.parts(self.lists.severities.iter().map(|word| severity(word)).collect());
        } else if slice.status.is_none() && !self.lists.statuses.is_empty() {
            let status = |word: &str| Slice { status: Some(word.to_owned()), ..slice.clone() };
            self.parts(self.lists.statuses.iter().map(|word| status(word)).collect());
        } else {
            let step = match (&slice.rule, &slice.directory, slice.files.is_empty()) {
                (None, ..) => Step::Rules,
                (_, None, _) => Step::Directories,
                (.., true) => Step::Files,
                (.., false) => return self.read_window(open),
            };
            self.open = Some(Open { step, page: 1, ..open });
        }
    }

    fn cut_hotspots(&mut self, open: Open) {
        let slice = &open.slice;
        if slice.status.is_none() {
            let reviewed = |word: &str| Slice {
                status: Some("REVIEWED".to_owned()),
                resolution: Some(word.to_owned()),
                ..slice.clone()
            };
            let mut parts = vec![Slice { status: Some("TO_REVIEW".to_owned()), ..slice.clone() }];
            parts.extend(self.lists.resolutions.iter().map(|word| reviewed(word)));
            self.parts(parts);
        } else if slice.files.is_empty() {
            self.go_on(open, Step::Gather, LAST_PAGE);
        } else if slice.files.len() > 1 {
            let (some, others) = slice.files.split_at(slice.files.len() / 2);
            let halves = [some, others].map(|files| Slice { files: files.to_vec(), ..slice.clone() });
            self.parts(halves.into());
        } else {
            self.read_window(open);
        }
    }

    /// Looks at the dates on the window's last page, and cuts there.
    fn probe(&mut self, mut open: Open, page: &Page) {
        let date = |row: Option<&Row>| row.and_then(|row| row.created_at);
        let (Some(first), Some(low), Some(high)) = (open.first, date(page.keys.first()), date(page.keys.last())) else {
            return self.again(open, self.miscounted(page.total, 0));
        };
        if first > low || low > high || !open.slice.may_hold(Some(high)) {
            // Not oldest first: its dates are of no use.
            return self.read_window(open);
        }
        if low < high {
            open.upto = Some(high);
            Self::take(&mut open, page);
            return self.go_on(open, Step::Pages, LAST_PAGE - 1);
        }
        // A whole page of one second: what was created before it is read by itself first.
        let later = |from: Timestamp| Slice { from: Some(from), ..open.slice.clone() };
        if first < high {
            self.todo.push(Part { slice: later(high), with_former: None });
            self.begin(Slice { before: Some(high), ..open.slice });
        } else {
            let next = Timestamp(high.0 + 1000);
            self.todo.push(Part { slice: later(next), with_former: Some(open.count) });
            self.begin(Slice { from: Some(high), before: Some(next), ..open.slice });
        }
    }

    fn further(&mut self, mut open: Open, page: &Page) {
        Self::take(&mut open, page);
        if open.page >= open.last_page || page.rows < PAGE {
            self.end(open);
        } else {
            open.page += 1;
            self.open = Some(open);
        }
    }

    fn values(&mut self, open: &Open, page: &Page) {
        // Whatever a server says: no number holds all of them together.
        let covered = page.values.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        if covered < open.count {
            // Sonar names a hundred values, and there are more; or some rows have none.
            self.fail(Incomplete::TooLarge { list: self.list });
        }
        let slice = |value: &String| match open.step {
            Step::Rules => Slice { rule: Some(value.clone()), ..open.slice.clone() },
            Step::Directories => Slice { directory: Some(value.clone()), ..open.slice.clone() },
            _ => Slice { files: vec![value.clone()], ..open.slice.clone() },
        };
        let used = page.values.iter().filter(|(_, count)| *count > 0);
        self.parts(used.map(|(value, _)| slice(value)).collect());
    }

    fn recount(&mut self, page: &Page) {
        let count = page.sum.unwrap_or(page.total);
        self.whole = Some(count);
        if count != self.proven {
            self.fail(self.miscounted(count, self.proven));
        }
        self.end_list();
    }

    /// The slice's pages are read.
    fn end(&mut self, open: Open) {
        let distinct = open.keys.len() as u64;
        match (open.step, open.upto) {
            (Step::Window, _) => self.next_part(),
            (Step::Gather, _) => {
                self.by_files = true;
                let files: Vec<String> = open.files.into_iter().collect();
                let some = |files: &[String]| Slice { files: files.to_vec(), ..open.slice.clone() };
                self.parts(files.chunks(HOTSPOT_FILES_PER_SLICE).map(some).collect());
            }
            (_, Some(upto)) => {
                let slice = Slice { before: Some(upto), ..open.slice.clone() };
                self.owed = Some(Owed { slice, count: open.count, distinct });
                self.begin(Slice { from: Some(upto), ..open.slice });
            }
            _ if distinct == open.count => {
                self.proven += distinct;
                if let Some(second) = &mut self.second {
                    second.proven += distinct;
                    second.keys.extend(open.keys);
                }
                self.next_part();
            }
            _ => {
                let problem = self.miscounted(open.count, distinct);
                self.again(open, problem);
            }
        }
    }

    /// Reads a slice again that did not add up, a few times; then the crawl goes on without a proof.
    fn again(&mut self, open: Open, problem: Incomplete) {
        if open.attempt < CRAWL_ATTEMPTS_MAX {
            self.open = Some(Open::new(open.slice, open.attempt + 1));
        } else {
            self.fail(problem);
            self.next_part();
        }
    }

    /// Reads what can be read of a slice that cannot be cut.
    fn read_window(&mut self, open: Open) {
        self.fail(Incomplete::TooLarge { list: self.list });
        self.go_on(open, Step::Window, LAST_PAGE);
    }

    fn go_on(&mut self, open: Open, step: Step, last_page: u32) {
        self.open = Some(Open { step, page: 2, last_page, ..open });
    }

    fn begin(&mut self, slice: Slice) {
        self.open = Some(Open::new(slice, 1));
    }

    fn parts(&mut self, slices: Vec<Slice>) {
        self.todo.extend(slices.into_iter().rev().map(|slice| Part { slice, with_former: None }));
        self.next_part();
    }

    fn next_part(&mut self) {
        let next = self.todo.pop();
        if let Some(second) = &self.second
            && next.as_ref().is_none_or(|next| next.slice.from != Some(second.from) || !next.slice.is_one_second())
        {
            let distinct = second.keys.len() as u64;
            if second.proven > distinct {
                self.fail(self.miscounted(second.proven, distinct));
            }
            self.second = None;
        }
        match next {
            Some(next) => self.begin(next.slice),
            None => self.whole_is_read(),
        }
    }

    fn whole_is_read(&mut self) {
        if self.sliced && self.problem.is_none() && self.whole != Some(self.proven) {
            if self.by_files {
                // Files beyond the window of hotspots are not known.
                self.fail(Incomplete::TooLarge { list: self.list });
            } else {
                self.open = Some(Open { step: Step::Recount, ..Open::new(Slice::default(), 1) });
                return;
            }
        }
        self.end_list();
    }

    fn end_list(&mut self) {
        self.proven_before += self.proven;
        self.proven = 0;
        self.whole = None;
        if self.list == List::Issues && self.lists.hotspots {
            self.list = List::Hotspots;
            self.sliced = false;
            self.begin(Slice::default());
        }
    }

    fn fail(&mut self, problem: Incomplete) {
        self.problem.get_or_insert(problem);
    }

    fn miscounted(&self, total: u64, distinct: u64) -> Incomplete {
        Incomplete::Miscounted { list: self.list, total, distinct }
    }

    /// The proof, if the crawl ran to its end and everything adds up.
    ///
    /// # Panics
    /// If the crawl is not over.
    pub fn finish(self) -> Result<Snapshot, Incomplete> {
        assert!(self.open.is_none(), "a crawl is finished after its last page");
        match self.problem {
            None => Ok(Snapshot { held: self.read() }),
            Some(problem) => Err(problem),
        }
    }
}

impl Open {
    fn new(slice: Slice, attempt: u32) -> Self {
        Self {
            slice,
            attempt,
            step: Step::First,
            page: 1,
            last_page: 1,
            count: 0,
            first: None,
            upto: None,
            keys: BTreeSet::new(),
            files: BTreeSet::new(),
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

#[cfg(test)]
mod tests;
