//! How findings ended that a complete crawl did not meet: Sonar is asked for each by key.
//!
//! What Sonar says was fixed or removed is closed on its word. What it no longer knows at all is closed on the
//! snapshot's, unless so many are unknown that a second crawl has to find the very same ones unknown first. Where
//! an answer contradicts the list, the list is not believed and nothing is closed because of it.

use std::collections::BTreeSet;

use super::WorkError;
use super::sources::Connected;
use super::sync::{Reading, hash};
use crate::domain::crawl::{Gathered, Snapshot, Suspicion, is_suspicious};
use crate::domain::finding::{Digest, Finding, Kind, Observed};
use crate::domain::ids::IssueKey;
use crate::domain::limits;
use crate::domain::moves::{self, Sighting};
use crate::domain::reconcile::{Closing, End, Staged};
use crate::domain::time::Timestamp;
use crate::sonar::FindingsPage;
use crate::store::{crawls, findings, lists};

/// What came of asking.
pub(super) enum Gone {
    /// What became of every missing finding is known and staged.
    Settled {
        /// Those that are as open as before, in a state whose word no list can be asked for yet.
        unlisted: u64,
        /// Such words.
        odd_words: BTreeSet<String>,
    },
    /// The list contradicts the answers, or not all could be asked for: the scope is to be read again soon.
    Disputed(String),
    /// Too many are unknown to close them on one crawl's word.
    Suspicious(Suspicion),
}

/// Asks for what the crawl did not meet, and stages the answers.
pub(super) fn settle(reading: &Reading, gathered: &Gathered, snapshot: &Snapshot) -> Result<Gone, WorkError> {
    let moved = moved(reading, gathered)?;
    // By Sonar's clock where it says the time: ours may be set at any moment.
    let now = reading.connected.client.server_date().unwrap_or(reading.began_at);
    let former = reading.scope.suspicion;
    let mut asking = Asking {
        reading,
        snapshot,
        open: reading.work.store.read(|view| lists::count_open(view, reading.id))?,
        may_agree: former.is_some_and(|former| former.is_confirmed(now)),
        unknown: 0,
        keys: ring::digest::Context::new(&ring::digest::SHA256),
        held: Vec::new(),
        closings: Vec::new(),
        hotspots_asked: 0,
        hotspots_left: 0,
        still_open: 0,
        unlisted: 0,
        odd_words: BTreeSet::new(),
        canary: gathered.canary.as_ref(),
        canary_missed: false,
    };
    each_missing(reading, gathered, &moved, |some| asking.ask(some))?;
    let mut keys = [0; 16];
    keys.copy_from_slice(&asking.keys.clone().finish().as_ref()[..16]);
    let keys = Digest(keys);
    let agreed = former.filter(|former| former.keys == keys);
    if let Some(doubt) = asking.doubt(agreed.unwrap_or(Suspicion { since: now, keys }), now) {
        unstage(reading, gathered, &moved, asking.closings)?;
        return Ok(doubt);
    }
    asking.end()
}

/// Takes back closings that were staged in the hope that this read would agree with an earlier one.
fn unstage(
    reading: &Reading,
    gathered: &Gathered,
    moved: &BTreeSet<IssueKey>,
    mut closings: Vec<u64>,
) -> Result<(), WorkError> {
    if closings.is_empty() {
        return Ok(());
    }
    closings.sort_unstable();
    each_missing(reading, gathered, moved, |some| {
        let keys = some.iter().map(|row| row.key.clone()).filter(|key| closings.binary_search(&hash(key)).is_ok());
        let (id, keys) = (reading.id, keys.collect::<Vec<_>>());
        if !keys.is_empty() {
            reading.work.store.write_unsynced(move |batch| crawls::unstage(batch, id, &keys))?;
        }
        Ok(true)
    })
}

/// Stages hotspots that Sonar turned into issues as what they are: the same findings. Returns their former keys.
fn moved(reading: &Reading, gathered: &Gathered) -> Result<BTreeSet<IssueKey>, WorkError> {
    if !has_open_hotspots(reading)? {
        return Ok(BTreeSet::new());
    }
    let mut gone = Vec::new();
    each_missing(reading, gathered, &BTreeSet::new(), |some| {
        gone.extend(some.iter().filter(|row| row.kind == Kind::Hotspot).map(Sighting::of));
        Ok(true)
    })?;
    if gone.is_empty() {
        return Ok(BTreeSet::new());
    }
    let (id, store) = (reading.id, &reading.work.store);
    let (mut fresh, mut after) = (Vec::new(), None);
    loop {
        let (rows, next) = store.read(|view| crawls::fresh_issues(view, id, after.as_ref(), STORED_PER_READ))?;
        fresh.extend(rows.iter().map(Sighting::of));
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let pairs = moves::pair(gone, fresh);
    let former = pairs.iter().map(|(from, _)| from.clone()).collect();
    for some in pairs.chunks(limits::DELETIONS_PER_COMMIT_MAX) {
        let some = some.to_vec();
        store.write_unsynced(move |batch| crawls::stage_moves(batch, id, &some))?;
    }
    Ok(former)
}

/// Takes back new issues that may be hotspots which Sonar turned into them: only a complete read can tell, and once they
/// were opened as findings of their own it is too late.
pub(super) fn hold_back(reading: &Reading, gathered: &Gathered) -> Result<(), WorkError> {
    let (id, store) = (reading.id, &reading.work.store);
    if !has_open_hotspots(reading)? {
        return Ok(());
    }
    let mut places = BTreeSet::new();
    each_missing(reading, gathered, &BTreeSet::new(), |some| {
        let hotspots = some.iter().filter(|row| row.kind == Kind::Hotspot);
        places.extend(hotspots.map(|row| (row.rule.clone(), row.path.clone())));
        Ok(true)
    })?;
    let mut after = None;
    loop {
        let (rows, next) = store.read(|view| crawls::fresh_issues(view, id, after.as_ref(), STORED_PER_READ))?;
        let doubtful = rows.into_iter().filter(|row| places.contains(&(row.rule.clone(), row.path.clone())));
        let doubtful: Vec<IssueKey> = doubtful.map(|row| row.key).collect();
        if !doubtful.is_empty() {
            store.write_unsynced(move |batch| crawls::unstage(batch, id, &doubtful))?;
        }
        match next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

fn has_open_hotspots(reading: &Reading) -> Result<bool, WorkError> {
    let counts = reading.work.store.read(|view| lists::by_state(view, reading.id))?;
    Ok(counts.keys().any(|(kind, state)| *kind == Kind::Hotspot && !state.is_closed()))
}

/// Feeds the stored findings that are open and were not met, in key order and in portions that one question to
/// Sonar can hold, until `each` says that it has enough.
fn each_missing(
    reading: &Reading,
    gathered: &Gathered,
    moved: &BTreeSet<IssueKey>,
    mut each: impl FnMut(&[Observed]) -> Result<bool, WorkError>,
) -> Result<(), WorkError> {
    let mut after: Option<IssueKey> = None;
    loop {
        reading.work.go_on()?;
        let stored: Vec<Finding> =
            reading.work.store.read(|view| findings::after(view, reading.id, after.as_ref(), STORED_PER_READ))?;
        let Some(last) = stored.last() else { return Ok(()) };
        after = Some(last.observed.key.clone());
        let missing: Vec<Observed> = stored
            .into_iter()
            .filter(|finding| !finding.observed.state.is_closed() && !gathered.met.has(finding.slot))
            .map(|finding| finding.observed)
            .filter(|row| !moved.contains(&row.key))
            .collect();
        // One place is for the canary.
        for some in missing.chunks(limits::SONAR_KEYS_PER_QUESTION - 1) {
            if !each(some)? {
                return Ok(());
            }
        }
    }
}

/// Stored findings looked at in one read of the store.
const STORED_PER_READ: usize = 1000;

/// The questions of one crawl.
struct Asking<'r> {
    reading: &'r Reading<'r>,
    snapshot: &'r Snapshot,
    /// Findings of the scope that are stored as not closed.
    open: u64,
    /// Whether an earlier crawl, long enough ago, found as many unknown: perhaps the very same.
    may_agree: bool,
    unknown: u64,
    /// The keys that Sonar does not know, in order.
    keys: ring::digest::Context,
    /// Closings that wait until all unknown findings are counted; given up once they are too many.
    held: Vec<Staged>,
    /// Hashes of the keys of closings that are staged already, as they may be too many to be held.
    closings: Vec<u64>,
    hotspots_asked: usize,
    hotspots_left: u64,
    still_open: u64,
    unlisted: u64,
    odd_words: BTreeSet<String>,
    /// An issue that the list has.
    canary: Option<&'r IssueKey>,
    /// Whether an answer by key lacked it: then what else it lacks means nothing.
    canary_missed: bool,
}

impl Asking<'_> {
    /// Asks for some; false when there is no point in asking on.
    fn ask(&mut self, some: &[Observed]) -> Result<bool, WorkError> {
        self.reading.work.go_on()?;
        let FindingsPage { findings: answers, odd_words, .. } = self.issues(some)?;
        self.odd_words.extend(odd_words);
        if self.canary_missed {
            return Ok(false);
        }
        let mut rows = Vec::new();
        for row in some {
            let answer = if row.kind == Kind::Vulnerability {
                answers.iter().find(|answer| answer.key == row.key).cloned()
            } else if self.hotspots_asked < limits::HOTSPOT_QUESTIONS_MAX {
                self.hotspots_asked += 1;
                self.reading.connected.client.hotspot(&row.key)?
            } else {
                // Not asked for is not unknown: it stays as it is until the next crawl asks.
                self.hotspots_left += 1;
                continue;
            };
            rows.extend(self.judge(row, answer));
        }
        self.reading.stage(rows)?;
        // On to the end, however many are unknown: a second crawl has to find the very same ones.
        Ok(true)
    }

    fn issues(&mut self, some: &[Observed]) -> Result<FindingsPage, WorkError> {
        let mut keys: Vec<IssueKey> =
            some.iter().filter(|row| row.kind == Kind::Vulnerability).map(|row| row.key.clone()).collect();
        if keys.is_empty() {
            return Ok(FindingsPage::default());
        }
        keys.extend(self.canary.cloned());
        let Connected { client, dialect } = &*self.reading.connected;
        let project = &self.reading.project;
        let scope = &self.reading.scope_ref;
        let answers = client.issues_by_key(*dialect, &project.organization.key, &project.key, scope, &keys)?;
        self.canary_missed =
            self.canary.is_some_and(|canary| !answers.findings.iter().any(|answer| answer.key == *canary));
        Ok(answers)
    }

    /// What to stage for a missing finding after Sonar's answer.
    fn judge(&mut self, row: &Observed, answer: Option<Observed>) -> Option<Staged> {
        match answer {
            Some(answer) if answer.state.is_closed() => Some(Staged::Seen(Box::new(answer))),
            Some(answer) if self.reading.connected.dialect.lists_it(&answer) => {
                if !self.reading.connected.dialect.asks_for(&answer) {
                    self.unlisted += 1;
                    return (answer != *row).then(|| Staged::Seen(Box::new(answer)));
                }
                self.still_open += 1;
                Some(Staged::Seen(Box::new(answer)))
            }
            Some(_) => Some(Staged::Gone(self.snapshot.close(row.key.clone(), End::NoLongerSecurity))),
            None => self.unknown(self.snapshot.close(row.key.clone(), End::Unknown)),
        }
    }

    fn unknown(&mut self, closing: Closing) -> Option<Staged> {
        self.unknown += 1;
        self.keys.update(closing.key().as_str().as_bytes());
        self.keys.update(&[0]);
        if self.may_agree {
            self.closings.push(hash(closing.key()));
            return Some(Staged::Gone(closing));
        }
        if self.is_suspicious() {
            self.held = Vec::new();
        } else {
            self.held.push(Staged::Gone(closing));
        }
        None
    }

    /// Where some are unknown, those that could not be asked for yet may be as well: else many could go unnoticed, a
    /// few with each crawl.
    fn is_suspicious(&self) -> bool {
        let may_be_unknown = if self.unknown > 0 { self.unknown + self.hotspots_left } else { 0 };
        is_suspicious(may_be_unknown, self.open)
    }

    /// Why nothing is closed that Sonar does not know, if there is a reason.
    fn doubt(&self, suspicion: Suspicion, now: Timestamp) -> Option<Gone> {
        if self.canary_missed {
            return Some(Gone::Disputed(
                "Sonar's answer by key lacks a finding that its list has, so what else it lacks is not believed"
                    .to_owned(),
            ));
        }
        if self.is_suspicious() && !suspicion.is_confirmed(now) {
            return Some(Gone::Suspicious(suspicion));
        }
        (self.still_open > 0).then(|| {
            Gone::Disputed(format!(
                "Sonar's list lacks {} findings that it says, asked for them, are open",
                self.still_open
            ))
        })
    }

    fn end(self) -> Result<Gone, WorkError> {
        self.reading.stage(self.held)?;
        if self.hotspots_left > 0 {
            return Ok(Gone::Disputed(format!(
                "{} hotspots that are gone from Sonar's list are still to be asked for",
                self.hotspots_left
            )));
        }
        Ok(Gone::Settled { unlisted: self.unlisted, odd_words: self.odd_words })
    }
}
