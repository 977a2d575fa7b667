//! Gathering: each fleet that this box reads has a thread of its own, which takes in what boxes say and notes how far it came
//! in the same commit. A fleet that cannot be reached holds up nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Work, small_thread};
use crate::domain::fleet::Site;
use crate::domain::fleet::hub::{Fleet, Foreign, Position, SiteRecord, Skipped};
use crate::domain::fleet::said::{AliveSaid, Heard, Said, Unheard};
use crate::domain::ids::SourceName;
use crate::domain::limits::{
    FLEET_ALIVE_EVERY, FLEET_HEARD_EVERY, FLEET_SILENT_INTERVALS, FLEET_SWEEP_EVERY, FLEET_SWEPT_MAX,
};
use crate::domain::retry::Failures;
use crate::domain::time::Timestamp;
use crate::platform::nats::feed::{Feed, Taken};
use crate::platform::nats::offer::Offering;
use crate::platform::{BadDestination, Trouble};
use crate::store::fleet::{self, Looked};
use crate::store::{Begun, StoreError};
use crate::sys::loops;

/// What is known of fleets beyond what is stored.
#[derive(Debug, Default)]
pub struct Fleets {
    seen: Mutex<BTreeMap<SourceName, Seen>>,
    /// Fleets that were changed, or that a person wants to be tried now.
    kicked: Mutex<BTreeSet<SourceName>>,
}

/// How reading a fleet goes.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Why it cannot be read, since it could the last time.
    pub trouble: Option<Lost>,
    /// Messages that are still to be read.
    pub pending: u64,
    /// When all were read for the first time since the connection was made, by the steady clock.
    pub caught_up_at: Option<Duration>,
    /// When sites last said that they are there, by the steady clock; only what came while all was read.
    heard: BTreeMap<Site, Duration>,
    /// What time it was at the server when it last took something that came at once, and when that was, by the steady clock.
    date: Option<(Timestamp, Duration)>,
}

/// Why a fleet cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// What happened.
    pub why: String,
    /// What to do, where a person has to do something.
    pub remedy: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// The same by the steady clock.
    pub steady: Duration,
}

impl Seen {
    /// For how long a site has said nothing, as far as this box can know: nothing while it is not connected itself, or not for
    /// long enough.
    pub fn silent_for(&self, site: &Site, record: &SiteRecord, now: Timestamp, steady: Duration) -> Option<Duration> {
        let caught_up_at = self.caught_up_at.filter(|_| self.trouble.is_none())?;
        let teller = record.present()?;
        let allowed = Duration::from_secs(teller.every_seconds.max(1)).saturating_mul(FLEET_SILENT_INTERVALS);
        let listened = steady.saturating_sub(caught_up_at);
        let silent = match self.heard.get(site) {
            Some(at) => steady.saturating_sub(*at),
            // Two clocks that differ must not make a site silent that speaks: it is listened to for as long first.
            None => now.since(teller.heard_at?).max(listened),
        };
        (silent > allowed && listened > allowed).then_some(silent)
    }
}

impl Seen {
    /// When a site last said that it is there, as far as this box knows.
    pub fn heard_at(&self, site: &Site, record: &SiteRecord, now: Timestamp, steady: Duration) -> Option<Timestamp> {
        let live = self.heard.get(site).map(|at| now.minus(steady.saturating_sub(*at)));
        live.or(record.present()?.heard_at)
    }
}

impl Fleets {
    fn seen_all(&self) -> MutexGuard<'_, BTreeMap<SourceName, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kicked(&self) -> MutexGuard<'_, BTreeSet<SourceName>> {
        self.kicked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What time it last was at the fleets' servers, and how long ago.
    pub(super) fn dates(&self, now: Duration) -> Vec<(SourceName, Timestamp, Duration)> {
        let seen = self.seen_all();
        let dates = seen.iter().filter_map(|(name, seen)| Some((name.clone(), seen.date?)));
        dates.map(|(name, (date, at))| (name, date, now.saturating_sub(at))).collect()
    }

    /// How reading a fleet goes.
    pub fn seen(&self, name: &SourceName) -> Seen {
        self.seen_all().get(name).cloned().unwrap_or_default()
    }

    fn note(&self, name: &SourceName, change: impl FnOnce(&mut Seen)) {
        change(self.seen_all().entry(name.clone()).or_default());
    }
}

impl Work {
    /// Has a fleet tried at once, with whatever was changed about it.
    pub fn kick_fleet(&self, name: &SourceName) {
        self.fleets.kicked().insert(name.clone());
        self.store.bell().ring();
    }

    /// A connection to a fleet; nothing is sent yet.
    ///
    /// # Errors
    /// If what was given cannot be right.
    pub fn open_fleet(&self, fleet: &Fleet, credentials: &str) -> Result<Feed, BadDestination> {
        Feed::open(fleet, credentials, self.sources.trust())
    }

    /// A connection over which its boxes are offered configuration; nothing is sent yet.
    ///
    /// # Errors
    /// If what was given cannot be right.
    pub fn open_offering(&self, fleet: &Fleet, credentials: &str) -> Result<Offering, BadDestination> {
        Offering::open(fleet, credentials, self.sources.trust())
    }
}

/// Starts the thread that starts the others. It ends when the workers are told to.
pub fn start(work: &Arc<Work>) -> JoinHandle<()> {
    let work = Arc::clone(work);
    small_thread("fleets".to_owned(), move || Gatherer { work, threads: BTreeMap::new() }.run())
}

struct Gatherer {
    work: Arc<Work>,
    threads: BTreeMap<SourceName, JoinHandle<()>>,
}

impl Gatherer {
    fn run(mut self) {
        while !self.work.is_stopping() {
            let heard = self.work.store.bell().rings();
            match self.tend() {
                Ok(true) => {}
                Ok(false) => self.work.store.bell().wait(heard, LOOK),
                Err(error) => {
                    tracing::warn!("the fleets cannot be read: {error}");
                    self.work.store.bell().wait(heard, super::RETRY);
                }
            }
        }
        // Each of them is watched.
        let _rest = loops::resting();
        for thread in self.threads.into_values() {
            // Its panic has ended the process already.
            let _ = thread.join();
        }
    }

    /// Starts threads for fleets that have none, and clears up after those that are gone. True where more is to be cleared.
    fn tend(&mut self) -> Result<bool, StoreError> {
        // The other box of the site does.
        if !self.work.standby.works() {
            return Ok(false);
        }
        let known = self.work.store.read(fleet::fleets)?;
        self.threads.retain(|_, thread| !thread.is_finished());
        for Fleet { name, .. } in known {
            let work = Arc::clone(&self.work);
            self.threads.entry(name.clone()).or_insert_with(|| {
                let thread = format!("fleet {name}");
                small_thread(thread, move || Reader::new(work, name).run())
            });
        }
        if !self.work.store.read(fleet::has_orphans)? {
            return Ok(false);
        }
        let now = self.work.clock.now();
        let left = self.work.store.delete::<_, StoreError>(move |batch| fleet::clear(batch, now))?;
        self.work.tidy();
        Ok(left)
    }
}

/// One fleet being read.
struct Reader {
    work: Arc<Work>,
    name: SourceName,
    open: Option<Open>,
    failures: Failures,
    /// By the steady clock; nothing is asked before.
    until: Option<Duration>,
}

struct Open {
    fleet: Fleet,
    feed: Feed,
    position: Position,
    /// Who was heard since that was noted.
    beats: BTreeMap<Site, Heard>,
    /// What of them is stored, so that only news is written.
    known: BTreeMap<Site, AliveSaid>,
    noted_at: Duration,
    sweep: Sweep,
    /// Whether nothing was read yet.
    is_fruitless: bool,
    /// What is being stored while more is read.
    storing: Option<Storing>,
}

/// Messages of which a part is being stored. Their sync comes with a later commit: what a power cut takes is still in the stream.
struct Storing {
    heard: Arc<Vec<Heard>>,
    position: Arc<Position>,
    /// Whether everything before them had been read.
    is_live: bool,
    /// How many were stored before.
    from: usize,
    under_way: Begun<usize, StoreError>,
}

/// Looking through what was told for what is not any more.
struct Sweep {
    /// When the next begins, by the steady clock.
    next_at: Duration,
    /// Who is still to be looked through, and how far the first of them was.
    left: Vec<(Site, Looked)>,
    after: Option<Vec<u8>>,
    /// Whether messages may be deleted, as far as is known.
    may_forget: bool,
}

/// What a step was.
enum Turn {
    Worked,
    Idle(Duration),
    Ended,
}

impl Reader {
    fn new(work: Arc<Work>, name: SourceName) -> Self {
        Self { work, name, open: None, failures: Failures::default(), until: None }
    }

    fn run(mut self) {
        let work = Arc::clone(&self.work);
        while !work.is_stopping() {
            let heard = work.store.bell().rings();
            match self.step() {
                Ok(Turn::Worked) => {}
                Ok(Turn::Idle(most)) => work.store.bell().wait(heard, most.clamp(TICK, LOOK)),
                Ok(Turn::Ended) => break,
                Err(error) => {
                    tracing::warn!("what fleet {} says cannot be stored: {error}", self.name);
                    // What was read and is not stored is read again.
                    self.open = None;
                    work.store.bell().wait(heard, super::RETRY);
                }
            }
        }
        if let Err(error) = self.note_beats().and_then(|()| self.settle()) {
            tracing::warn!("when sites were heard cannot be stored: {error}");
        }
        work.fleets.seen_all().remove(&self.name);
    }

    fn step(&mut self) -> Result<Turn, StoreError> {
        if !self.work.standby.works() {
            return Ok(Turn::Ended);
        }
        if self.work.fleets.kicked().remove(&self.name) {
            (self.open, self.until, self.failures) = (None, None, Failures::default());
        }
        let name = &self.name;
        let Some(fleet) = self.work.store.read(|view| fleet::fleet(view, name))? else { return Ok(Turn::Ended) };
        let now = self.work.clock.steady();
        if let Some(left) = self.until.and_then(|until| until.checked_sub(now)).filter(|left| !left.is_zero()) {
            return Ok(Turn::Idle(left));
        }
        self.until = None;
        if self.open.as_ref().is_none_or(|open| open.fleet != fleet)
            && let Err(trouble) = self.open(fleet)?
        {
            self.stop(trouble);
            return Ok(Turn::Worked);
        }
        let Some(open) = &mut self.open else { return Ok(Turn::Idle(LOOK)) };
        match open.feed.read() {
            Ok(taken) => {
                let is_all = taken.pending == 0;
                self.take(taken)?;
                if is_all {
                    // Nothing more comes for the moment that it could be read meanwhile.
                    self.settle()?;
                    self.sweep()?;
                }
            }
            Err(trouble) => self.lose(trouble)?,
        }
        Ok(Turn::Worked)
    }

    /// The connection was lost. Where nothing at all came over it, the next message may be such that no client can take it, which
    /// is passed over then: nobody who can say something is to keep the others from being heard.
    fn lose(&mut self, trouble: Trouble) -> Result<(), StoreError> {
        self.settle()?;
        let now = self.work.clock.now();
        if let Some(open) = self.open.as_mut().filter(|open| open.is_fruitless)
            && let Some((sequence, site)) = open.feed.unreadable(open.position.sequence)
        {
            let why = Unheard::Foreign("a message's headers are none that a box sends".to_owned());
            pass_over(&mut open.position, (sequence, site, why), now);
            open.position.sequence = sequence;
            let position = open.position.clone();
            self.store(Vec::new(), position, false)?;
            self.settle()?;
            self.open = None;
            return Ok(());
        }
        self.stop(trouble);
        Ok(())
    }

    fn open(&mut self, fleet: Fleet) -> Result<Result<(), Trouble>, StoreError> {
        self.open = None;
        let name = &self.name;
        let (credentials, position, sites) = self.work.store.read::<_, StoreError>(|view| {
            Ok((fleet::credentials(view, name)?, fleet::position(view, name)?, fleet::sites(view, name)?))
        })?;
        let credentials = credentials.as_ref().map_or("", |secret| secret.as_text());
        let mut feed = match self.work.open_fleet(&fleet, credentials) {
            Ok(feed) => feed,
            Err(bad) => {
                let remedy = "see `hydrophone source --help`, and add it anew";
                return Ok(Err(Trouble::refused(bad.to_string(), remedy)));
            }
        };
        let position = again(position);
        let mut begun = match feed.begin(&position) {
            Ok(begun) => begun,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let position = match position.made_at {
            // One that was put back to what it was has given its later numbers to others.
            Some(made_at) if made_at != begun.made_at || begun.last < position.sequence => {
                let what = "was made anew: boxes tell only what changes from here on";
                tracing::warn!("the stream of fleet {} {what}", self.name);
                let (anew_at, made_at) = (Some(self.work.clock.now()), Some(begun.made_at));
                let epoch = position.epoch + 1;
                let position = Position { sequence: 0, made_at, anew_at, skipped: None, epoch, ..position };
                begun = match feed.begin(&position) {
                    Ok(begun) => begun,
                    Err(trouble) => return Ok(Err(trouble)),
                };
                position
            }
            _ => Position { made_at: Some(begun.made_at), ..position },
        };
        tracing::info!("reads fleet {}, whose stream holds {} messages", self.name, begun.messages);
        let known = sites.into_iter().filter_map(|(site, record)| {
            let teller = record.present()?.clone();
            teller.heard_at?;
            let said = AliveSaid {
                inventory: teller.inventory,
                machine: teller.machine,
                version: teller.version,
                every_seconds: teller.every_seconds,
                offer: teller.offer,
            };
            Some((site, said))
        });
        let noted_at = self.work.clock.steady();
        // Not before a site's present box can have spoken.
        let next_at = noted_at + Duration::from_secs(FLEET_ALIVE_EVERY.as_secs() * 2);
        let sweep = Sweep { next_at, left: Vec::new(), after: None, may_forget: true };
        let known = known.collect();
        let beats = BTreeMap::new();
        self.open =
            Some(Open { fleet, feed, position, beats, known, noted_at, sweep, is_fruitless: true, storing: None });
        self.work.fleets.note(&self.name, |seen| {
            (seen.pending, seen.caught_up_at) = (begun.pending, (begun.pending == 0).then_some(noted_at));
            seen.trouble = None;
            seen.heard.clear();
        });
        Ok(Ok(()))
    }

    /// Takes in what was read. Signs of life that are no news are kept in memory, and noted with what comes.
    fn take(&mut self, taken: Taken) -> Result<(), StoreError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let (now, steady) = (self.work.clock.now(), self.work.clock.steady());
        self.failures.succeed();
        open.is_fruitless &= taken.last.is_none();
        let Taken { heard, passed_over, last, pending } = taken;
        let was_live = self.work.fleets.seen(&self.name).caught_up_at.is_some();
        let date = heard.last().filter(|_| was_live && pending == 0).map(|last| (last.at, steady));
        let mut news = Vec::with_capacity(heard.len());
        let mut spoke = BTreeSet::new();
        for one in heard {
            let Said::Alive(said) = &one.said else {
                news.push(one);
                continue;
            };
            spoke.insert(one.site.clone());
            if open.known.get(&one.site) == Some(said) {
                open.beats.insert(one.site.clone(), one);
            } else {
                open.known.insert(one.site.clone(), said.clone());
                open.beats.remove(&one.site);
                news.push(one);
            }
        }
        self.work.fleets.note(&self.name, |seen| {
            seen.trouble = None;
            if last.is_some() {
                seen.pending = pending;
            }
            if seen.pending == 0 && seen.caught_up_at.is_none() {
                seen.caught_up_at = Some(steady);
            }
            seen.date = date.or(seen.date);
            if was_live {
                seen.heard.extend(spoke.into_iter().map(|site| (site, steady)));
            }
        });
        let is_noticed = !passed_over.is_empty();
        for (sequence, site, why) in passed_over {
            pass_over(&mut open.position, (sequence, site, why), now);
        }
        if let Some(last) = last {
            open.position.sequence = last;
        }
        let is_due = !open.beats.is_empty() && steady.saturating_sub(open.noted_at) >= FLEET_HEARD_EVERY;
        if news.is_empty() && !is_noticed && !is_due {
            return Ok(());
        }
        open.noted_at = steady;
        news.extend(std::mem::take(&mut open.beats).into_values());
        news.sort_by_key(|heard| heard.sequence);
        let position = open.position.clone();
        self.store(news, position, was_live)
    }

    /// Looks through some of what was told, while nothing comes.
    fn sweep(&mut self) -> Result<(), StoreError> {
        let (now, steady) = (self.work.clock.now(), self.work.clock.steady());
        let is_right = self.work.clock_standing().is_trusted();
        let Some(open) = &mut self.open else { return Ok(()) };
        let seen = self.work.fleets.seen(&self.name);
        if seen.caught_up_at.is_none() || seen.pending > 0 {
            return Ok(());
        }
        let name = &self.name;
        if open.sweep.left.is_empty() {
            if steady < open.sweep.next_at || !is_right {
                return Ok(());
            }
            open.sweep.next_at = steady + FLEET_SWEEP_EVERY;
            for (site, record) in self.work.store.read(|view| fleet::sites(view, name))? {
                open.sweep.left.extend(fleet::looked(&record).into_iter().map(|looked| (site.clone(), looked)));
            }
            return Ok(());
        }
        let Some((site, looked)) = open.sweep.left.first().cloned() else { return Ok(()) };
        let (after, epoch) = (open.sweep.after.take(), open.position.epoch);
        let (stale, next) =
            self.work.store.read(|view| fleet::look(view, looked, (epoch, now), after.as_deref(), FLEET_SWEPT_MAX))?;
        let needless: Vec<u64> = stale.iter().filter_map(|one| one.sequence).collect();
        let (is_last, is_former) = (next.is_none(), looked.former_since.is_some());
        // First of all: as long as the number is known, its message can be found.
        if open.sweep.may_forget && !needless.is_empty() {
            match open.feed.forget(&needless) {
                Ok(may) => open.sweep.may_forget = may,
                Err(trouble) => {
                    self.stop(trouble);
                    return Ok(());
                }
            }
        }
        if !stale.is_empty() || (is_last && is_former) {
            let name = self.name.clone();
            self.work.store.delete::<_, StoreError>(move |batch| {
                // Its box may have come back meanwhile.
                if !fleet::is_as_looked(batch, &name, &site, looked)? {
                    return Ok(());
                }
                fleet::sweep(batch, &stale, now)?;
                if is_last && is_former && !fleet::tells(batch, looked.teller)? {
                    fleet::forget_teller(batch, &name, &site, looked.teller)?;
                }
                Ok(())
            })?;
            self.work.tidy();
        }
        if is_last {
            open.sweep.left.remove(0);
        }
        open.sweep.after = next;
        Ok(())
    }

    fn note_beats(&mut self) -> Result<(), StoreError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let beats: Vec<Heard> = std::mem::take(&mut open.beats).into_values().collect();
        let position = open.position.clone();
        if beats.is_empty() { Ok(()) } else { self.store(beats, position, false) }
    }

    /// Hands messages to the store, once those before them are stored.
    fn store(&mut self, heard: Vec<Heard>, position: Position, is_live: bool) -> Result<(), StoreError> {
        self.settle()?;
        let (heard, position) = (Arc::new(heard), Arc::new(position));
        let under_way = self.begin((&heard, is_live), &position, 0);
        if let Some(open) = &mut self.open {
            open.storing = Some(Storing { heard, position, is_live, from: 0, under_way });
        }
        Ok(())
    }

    fn begin(
        &self,
        (heard, is_live): (&Arc<Vec<Heard>>, bool),
        position: &Arc<Position>,
        from: usize,
    ) -> Begun<usize, StoreError> {
        let (heard, position, name) = (Arc::clone(heard), Arc::clone(position), self.name.clone());
        let now = self.work.clock.now();
        let added_at = self.open.as_ref().map_or(Timestamp(0), |open| open.fleet.added_at);
        self.work.store.begin_unsynced(move |batch| {
            let rest = heard.get(from..).unwrap_or_default();
            fleet::take(batch, (&name, added_at), (rest, is_live), &position, now)
        })
    }

    /// Waits until what was handed to the store is stored.
    fn settle(&mut self) -> Result<(), StoreError> {
        let Some(storing) = self.open.as_mut().and_then(|open| open.storing.take()) else { return Ok(()) };
        let Storing { heard, position, is_live, mut from, mut under_way } = storing;
        loop {
            from += under_way.wait()?;
            if from >= heard.len() {
                break;
            }
            under_way = self.begin((&heard, is_live), &position, from);
        }
        if heard.iter().any(|one| matches!(one.said, Said::Gone { .. })) {
            self.work.tidy();
        }
        Ok(())
    }

    /// Notes trouble and waits: ever longer, or for a person.
    fn stop(&mut self, trouble: Trouble) {
        self.open = None;
        let (wait, remedy, why) = match trouble {
            Trouble::Later { why, after } => (self.failures.fail(after, self.work.dice.byte()), None, why),
            Trouble::Refused { why, remedy } | Trouble::Target { why, remedy } => (PERSON_WAIT, Some(remedy), why),
            Trouble::Gone { why } => (PERSON_WAIT, None, why),
        };
        let steady = self.work.clock.steady();
        self.until = Some(steady + wait);
        if self.failures.count() <= 1 {
            tracing::warn!("fleet {}: {why}", self.name);
        }
        let now = self.work.clock.now();
        self.work.fleets.note(&self.name, |seen| {
            let (since, began) = seen.trouble.as_ref().map_or((now, steady), |lost| (lost.since, lost.steady));
            seen.trouble = Some(Lost { why, remedy, since, steady: began });
            seen.caught_up_at = None;
        });
    }
}

/// The place to begin at: what another version did not understand is read again.
fn again(position: Position) -> Position {
    match &position.skipped {
        Some(skipped) if skipped.version != env!("CARGO_PKG_VERSION") => {
            let sequence = position.sequence.min(skipped.from.saturating_sub(1));
            Position { sequence, skipped: None, ..position }
        }
        _ => position,
    }
}

/// Notes a message that is passed over.
fn pass_over(position: &mut Position, (sequence, site, why): (u64, Option<Site>, Unheard), now: Timestamp) {
    match why {
        Unheard::Newer(what) => {
            let from = position.skipped.as_ref().map_or(sequence, |skipped| skipped.from.min(sequence));
            let version = env!("CARGO_PKG_VERSION").to_owned();
            position.skipped = Some(Skipped { from, version, site, what });
        }
        Unheard::Foreign(why) => {
            let count = position.foreign.as_ref().map_or(0, |foreign| foreign.count).saturating_add(1);
            position.foreign = Some(Foreign { count, at: now, site, why });
        }
    }
}

/// How long nobody looks for new fleets while nothing rings.
const LOOK: Duration = Duration::from_mins(1);

/// What a person has to mend is tried again after this.
const PERSON_WAIT: Duration = Duration::from_mins(5);

const TICK: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fleet::InventoryId;
    use crate::domain::fleet::hub::Teller;

    const MINUTE: Duration = Duration::from_mins(1);

    fn record(heard_at: Option<Timestamp>) -> SiteRecord {
        let (machine, version) = ("box".to_owned(), "0.1.0".to_owned());
        let inventory = InventoryId([1; 8]);
        let (first_at, last_at) = (None, Timestamp(0));
        let teller = Teller {
            number: 1,
            inventory,
            machine,
            version,
            every_seconds: 60,
            heard_at,
            first_at,
            last_at,
            offer: None,
        };
        SiteRecord { tellers: vec![teller], ..SiteRecord::default() }
    }

    fn silent(seen: &Seen, heard_at: i64, now: i64, steady: Duration) -> Option<u64> {
        let site = "berlin".parse().unwrap();
        let span = seen.silent_for(&site, &record(Some(Timestamp(heard_at))), Timestamp(now), steady);
        span.map(|span| span.as_secs() / 60)
    }

    #[test]
    fn a_site_is_silent_once_it_was_listened_to_for_long_enough() {
        let caught_up = Seen { caught_up_at: Some(MINUTE * 10), ..Seen::default() };
        let day = 24 * 60 * 60 * 1000;
        // It may be this box that was away, or whose clock is a day ahead.
        assert_eq!(silent(&caught_up, 0, day, MINUTE * 14), None);
        assert_eq!(silent(&caught_up, 0, day, MINUTE * 16), Some(24 * 60));
        // A clock that is behind makes nobody seem to have spoken lately.
        assert_eq!(silent(&caught_up, day, 0, MINUTE * 16), Some(6));
        let mut heard = caught_up.clone();
        heard.heard.insert("berlin".parse().unwrap(), MINUTE * 30);
        assert_eq!(silent(&heard, 0, day, MINUTE * 34), None);
        assert_eq!(silent(&heard, 0, day, MINUTE * 36), Some(6));
    }

    #[test]
    fn while_the_fleet_cannot_be_read_nobody_is_called_silent() {
        let lost = Lost { why: String::new(), remedy: None, since: Timestamp(0), steady: Duration::ZERO };
        let away = Seen { caught_up_at: Some(MINUTE), trouble: Some(lost), ..Seen::default() };
        assert_eq!(silent(&away, 0, 0, MINUTE * 60), None);
        assert_eq!(silent(&Seen::default(), 0, 0, MINUTE * 60), None);
    }

    #[test]
    fn another_version_reads_again_what_this_one_did_not_understand() {
        let skipped = |version: &str| Skipped { from: 7, version: version.to_owned(), site: None, what: String::new() };
        let position = |version| Position { sequence: 20, skipped: Some(skipped(version)), ..Position::default() };
        assert_eq!(again(position(env!("CARGO_PKG_VERSION"))).sequence, 20);
        let anew = again(position("0.0.1"));
        assert_eq!((anew.sequence, anew.skipped), (6, None));
    }
}
