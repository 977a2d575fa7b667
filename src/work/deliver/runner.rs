//! One destination being told: what follows its cursor is gathered, told and noted, again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Deliver;
use super::gather::{self};
use super::standing::Stood;
use crate::domain::destination::Destination;
use crate::domain::ids::{DestinationId, FindingId, ScopeId};
use crate::domain::limits::{self, FLEET_ALIVE_EVERY, PLATFORM_CALL_MAX};
use crate::domain::retry::Failures;
use crate::domain::settings::FLEET_SIGNER;
use crate::platform::{Abilities, Life, Manner, Platform, Trouble};
use crate::store::changes::Cursor;
use crate::store::destinations::{Progress, Woe};
use crate::store::{Store, StoreError, catalogue, destinations, offer, settings};
use crate::sys::fence;

/// What one step of a destination was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Something was told or noted; there may be more.
    Worked,
    /// There is nothing to do, for so long at most unless the store's bell rings.
    Idle(Duration),
    /// The destination was removed.
    Ended,
}

/// See the module.
pub struct Runner {
    pub(super) deliver: Arc<Deliver>,
    pub(super) id: DestinationId,
    pub(super) open: Option<Open>,
    pub(super) failures: Failures,
    /// By the steady clock; nothing is asked before.
    pub(super) until: Option<Duration>,
    /// When dead letters may have to be tried again, by the steady clock.
    pub(super) next_letters: Duration,
    /// Scopes that cannot be told now.
    pub(super) postponed: BTreeMap<ScopeId, Postponed>,
    /// Scopes whose place was looked for again because it was gone when it was compared, and until when that is enough.
    pub(super) placed_anew: BTreeMap<ScopeId, Duration>,
    /// The last that was told were dead letters; the log has its turn.
    had_letters: bool,
    /// When to look through what was told, by the steady clock.
    pub(super) next_sweep: Duration,
    /// How far it was looked through, where that is under way.
    pub(super) swept: Option<Swept>,
    /// When to ask for decisions.
    pub(super) next_poll: Duration,
    /// Before this it is not compared with what it was told.
    pub(super) next_reread: Duration,
    /// Whether a place there was gone when it was compared, since the beginning of what was told; not known where another
    /// process began that.
    pub(super) has_lost: Option<bool>,
    /// When to tell Sonar of them.
    pub(super) next_order: Duration,
    /// A notice could not be told, and is not tried before, by the steady clock.
    pub(super) notice_until: Option<Duration>,
    /// Those up to this finding were tried, and failed.
    pub(super) orders_after: Option<FindingId>,
    /// What was told of how scopes stand.
    pub(super) standing: Stood,
    /// When to look whether this box is offered configuration, by the steady clock.
    next_offer: Duration,
}

/// A destination that can be told.
pub(super) struct Open {
    pub(super) destination: Destination,
    pub(super) platform: Box<dyn Platform>,
    /// In which term of the site's lease it is told something.
    term: Option<u64>,
    pub(super) abilities: Abilities,
    /// Scopes whose place there was looked at since the start.
    pub(super) prepared: BTreeSet<ScopeId>,
}

/// A scope that cannot be told now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Postponed {
    /// When it is tried again, by the steady clock.
    pub(super) until: Duration,
    /// Why, with the remedy.
    pub(super) why: String,
}

/// How far it was looked through what was told, and what was to be done at that time by the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Swept {
    pub(super) after: FindingId,
    pub(super) sweep: Option<FindingId>,
    pub(super) decisions: bool,
}

/// How a group of messages ended.
pub(super) enum Ended {
    /// All are told, parked or need nothing.
    Done,
    /// The platform cannot be told more now.
    Stopped,
}

impl Runner {
    /// For a destination of the store.
    pub fn new(deliver: Arc<Deliver>, id: DestinationId) -> Self {
        Self {
            deliver,
            id,
            open: None,
            failures: Failures::default(),
            until: None,
            next_letters: Duration::ZERO,
            postponed: BTreeMap::new(),
            placed_anew: BTreeMap::new(),
            had_letters: false,
            next_sweep: Duration::ZERO,
            swept: None,
            next_poll: Duration::ZERO,
            next_reread: Duration::ZERO,
            has_lost: None,
            next_order: Duration::ZERO,
            notice_until: None,
            orders_after: None,
            standing: Stood::default(),
            next_offer: Duration::ZERO,
        }
    }

    /// Tells the destination what there is until it is removed or the daemon stops.
    pub fn run(mut self) {
        let work = Arc::clone(&self.deliver.work);
        let _behind = fence::guard_thread(&work.standby.fence);
        while !work.is_stopping() {
            let heard = work.store.bell().rings();
            match self.step() {
                Ok(Turn::Worked) => {}
                Ok(Turn::Idle(most)) => work.store.bell().wait(heard, most.clamp(TICK, IDLE_MAX)),
                // The other box of the site tells it from here on.
                Ok(Turn::Ended) | Err(StoreError::StandsBy) => return,
                Err(error) => {
                    tracing::warn!("a destination's messages cannot be read: {error}");
                    work.store.bell().wait(heard, super::super::RETRY);
                }
            }
        }
    }

    pub(super) fn store(&self) -> &Store {
        &self.deliver.work.store
    }

    pub(super) fn steady(&self) -> Duration {
        self.deliver.work.clock.steady()
    }

    /// Does what is next.
    ///
    /// # Errors
    /// If the store cannot be read or written. What goes wrong with the platform is noted with the destination.
    pub fn step(&mut self) -> Result<Turn, StoreError> {
        if self.deliver.kicked().remove(&self.id) {
            (self.open, self.until, self.failures) = (None, None, Failures::default());
            (self.next_poll, self.next_order, self.next_letters) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
            (self.next_sweep, self.next_reread, self.next_offer) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
            self.swept = None;
            self.postponed.clear();
            self.placed_anew.clear();
            self.standing = Stood::default();
        }
        let id = self.id;
        if !self.deliver.work.standby.works() {
            // The threads of a box that works again are others.
            return Ok(Turn::Ended);
        }
        if !self.deliver.work.standby.fence.allows(PLATFORM_CALL_MAX) {
            self.open = None;
            return Ok(Turn::Idle(FENCED));
        }
        let read = self.store().read::<_, StoreError>(|view| {
            let Some(destination) = destinations::destination(view, id)? else { return Ok(None) };
            Ok(Some((destination, destinations::progress(view, id)?)))
        })?;
        let Some((destination, progress)) = read else {
            self.deliver.work.offers.note(None);
            return Ok(Turn::Ended);
        };
        if destination.paused || progress.gone {
            // A connection that is not needed.
            if self.open.take().is_some() {
                self.deliver.work.offers.note(None);
            }
            return Ok(Turn::Idle(IDLE_MAX));
        }
        let now = self.steady();
        if let Some(left) = self.until.and_then(|until| until.checked_sub(now)).filter(|left| !left.is_zero()) {
            return Ok(Turn::Idle(left));
        }
        self.until = None;
        let term = self.deliver.work.standby.term();
        if self.open.as_ref().is_none_or(|open| open.destination != destination || open.term != term)
            && let Err(trouble) = self.open(destination)?
        {
            return self.stop(trouble).map(|()| Turn::Worked);
        }
        self.tell(&progress)
    }

    /// Makes the platform anew.
    fn open(&mut self, destination: Destination) -> Result<Result<(), Trouble>, StoreError> {
        let id = self.id;
        let secret = self.store().read(|view| destinations::secret(view, id))?;
        self.open = None;
        match self.deliver.open(&destination, secret.as_ref()) {
            Ok(mut platform) => {
                let (abilities, term) = (platform.abilities(), self.deliver.work.standby.term());
                platform.set_term(term);
                self.standing = Stood::default();
                self.open = Some(Open { destination, platform, term, abilities, prepared: BTreeSet::new() });
                Ok(Ok(()))
            }
            Err(bad) => {
                Ok(Err(Trouble::refused(bad.to_string(), "see `hydrophone destination --help`, and add it anew")))
            }
        }
    }

    fn tell(&mut self, progress: &Progress) -> Result<Turn, StoreError> {
        let Some(manner) = self.open.as_ref().map(|open| open.abilities.manner) else {
            return Ok(Turn::Idle(IDLE_MAX));
        };
        if self.begin_inventory(progress)? {
            return Ok(Turn::Worked);
        }
        let noticed = self.tell_notice()?;
        // In turns, or thousands of dead letters would hold up what is new.
        let had_letters = std::mem::take(&mut self.had_letters);
        if !had_letters && self.tell_letters(manner)? {
            self.had_letters = true;
            return Ok(Turn::Worked);
        }
        let worked = match manner {
            Manner::Findings | Manner::Changes => self.tell_log(manner, progress)?,
            Manner::Scopes => self.tell_scopes(progress)?,
        };
        if !worked && had_letters && self.tell_letters(manner)? {
            self.had_letters = true;
            return Ok(Turn::Worked);
        }
        if worked
            || noticed
            || self.sweep(progress)?
            || self.poll(progress)?
            || self.pass_back()?
            || self.reread(progress)?
        {
            return Ok(Turn::Worked);
        }
        let attended = match self.attend()? {
            Ok(next) => next,
            Err(trouble) => return self.stop(trouble).map(|()| Turn::Worked),
        };
        // What it could not be told is nothing to tell any more.
        if manner == Manner::Changes && progress.trouble.is_some() && self.notice_until.is_none() {
            self.note(|progress| progress.trouble = None)?;
            return Ok(Turn::Worked);
        }
        let now = self.steady();
        let next = self.next_sweep.min(self.next_poll).min(self.next_order).min(self.next_letters);
        let next = self.notice_until.map_or(next, |until| next.min(until));
        Ok(Turn::Idle(next.saturating_sub(now).min(attended)))
    }

    /// Looks once a minute whether this box is offered configuration. That it cannot be asked for holds up nothing else for long.
    fn look_at_offer(&mut self) -> Result<(), StoreError> {
        let now = self.steady();
        let Some(open) = self.open.as_mut().filter(|_| self.next_offer <= now) else { return Ok(()) };
        self.next_offer = now + FLEET_ALIVE_EVERY;
        let work = &self.deliver.work;
        match open.platform.offered() {
            Ok(found) => {
                work.offers.note(None);
                if let Some((site, offered)) = found {
                    work.look_at_offer(&site, &offered)?;
                }
            }
            Err(trouble @ Trouble::Refused { .. }) => work.offers.note(Some(trouble.to_string())),
            // Nobody has offered anything yet, or what is told shows the same.
            Err(_) => self.next_offer = now + FLEET_ALIVE_EVERY * 2,
        }
        Ok(())
    }

    /// Tells everything anew where the inventory is another one than it was: that of a backup, in which later numbers are missing.
    fn begin_inventory(&mut self, progress: &Progress) -> Result<bool, StoreError> {
        if !self.open.as_ref().is_some_and(|open| open.platform.wants_scopes()) {
            return Ok(false);
        }
        let inventory = self.store().read(catalogue::inventory)?;
        if progress.inventory == Some(inventory) {
            return Ok(false);
        }
        self.note(move |progress| {
            if progress.inventory.replace(inventory).is_some() {
                progress.replay(Cursor::New);
            }
        })?;
        Ok(true)
    }

    /// Says what is to be said although nothing changed, and when that is to be done again.
    fn attend(&mut self) -> Result<Result<Duration, Trouble>, StoreError> {
        let again = match self.tell_standing()? {
            Ok(again) => again,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let (inventory, trusts, outcome) = self.store().read::<_, StoreError>(|view| {
            let trusts = settings::value(view, FLEET_SIGNER)?.is_some();
            Ok((catalogue::inventory(view)?, trusts, offer::outcome(view)?))
        })?;
        if trusts {
            self.look_at_offer()?;
        }
        let offer = Some(&outcome).filter(|_| trusts);
        Ok(match self.open.as_mut().map(|open| open.platform.attend(Life { inventory, offer })) {
            Some(Err(trouble)) => Err(trouble),
            Some(Ok(Some(next))) => {
                self.failures = Failures::default();
                Ok(next.min(again))
            }
            Some(Ok(None)) | None => Ok(IDLE_MAX),
        })
    }

    /// Tries dead letters again whose time has come; false if there are none.
    fn tell_letters(&mut self, manner: Manner) -> Result<bool, StoreError> {
        let (id, now) = (self.id, self.deliver.work.clock.now());
        if self.next_letters > self.steady() {
            return Ok(false);
        }
        let Some(destination) = self.open.as_ref().map(|open| open.destination.clone()) else {
            return Ok(false);
        };
        let (gathered, due, next) = self.store().read::<_, StoreError>(|view| {
            let (due, next) = destinations::due_letters(view, id, now, LETTERS)?;
            Ok((gather::of_findings(view, id, &destination, manner, &due)?, due, next))
        })?;
        if due.is_empty() {
            self.next_letters = next.map_or(Duration::MAX, |next| self.steady() + next);
            return Ok(false);
        }
        let mut told: BTreeSet<FindingId> = gathered.unreadable.iter().map(|one| one.finding).collect();
        self.park_unreadable(gathered.unreadable)?;
        for group in gathered.groups {
            told.extend(group.messages.iter().map(|(message, _)| message.finding.id));
            if matches!(self.tell_group(group, &|_| None)?, Ended::Stopped) {
                return Ok(true);
            }
        }
        // Those that the platform need not hear of any more.
        let settled: Vec<FindingId> =
            due.into_iter().map(|(finding, _)| finding).filter(|finding| !told.contains(finding)).collect();
        if !settled.is_empty() {
            self.store().write::<_, StoreError>(move |batch| {
                for finding in settled {
                    destinations::drop_letter(batch, id, finding)?;
                }
                Ok(())
            })?;
        }
        Ok(true)
    }

    /// Tells what follows the cursor; false if nothing does.
    fn tell_log(&mut self, manner: Manner, progress: &Progress) -> Result<bool, StoreError> {
        let id = self.id;
        let Some(destination) = self.open.as_ref().map(|open| open.destination.clone()) else { return Ok(false) };
        let cursor = &progress.cursor;
        let (gathered, followed) =
            self.store().read(|view| gather::gather(view, id, &destination, manner, cursor, CHUNK))?;
        if followed.items.is_empty() && followed.next == *cursor && !followed.reseeded {
            return Ok(false);
        }
        // Before anything moves the place in the log beyond them.
        self.park_unreadable(gathered.unreadable)?;
        let replays = progress.replays;
        let place = |taken: usize| (manner == Manner::Changes).then(|| (replays, followed.after(taken, cursor)));
        for group in gathered.groups {
            if matches!(self.tell_group(group, &place)?, Ended::Stopped) {
                return Ok(true);
            }
        }
        // Whoever is told everything is also told what is gone.
        let anew = followed.reseeded || *cursor == Cursor::New;
        let overtaken = followed.reseeded.then(|| self.deliver.work.clock.now());
        let next = followed.next;
        if anew {
            self.swept = None;
        }
        self.note(move |progress| {
            progress.advance(replays, next);
            if anew {
                progress.sweep = Some(FindingId(0));
            }
            if overtaken.is_some() {
                progress.overtaken_at = overtaken;
                // For so long that it may have lost something, too.
                progress.reread = Some(FindingId(0));
            }
        })?;
        Ok(true)
    }

    /// Notes trouble and waits: for as long as was asked for, or ever longer; for a person, a quarter of an hour.
    pub(super) fn stop(&mut self, trouble: Trouble) -> Result<(), StoreError> {
        let now = self.deliver.work.clock.now();
        let chance = self.deliver.work.dice.byte();
        let (wait, remedy, why) = match trouble {
            Trouble::Later { why, after } => (self.failures.fail(after, chance), None, why),
            Trouble::Refused { why, remedy } | Trouble::Target { why, remedy } => (PERSON_WAIT, Some(remedy), why),
            Trouble::Gone { why } => {
                tracing::warn!("{} wants nothing any more: {why}", self.name());
                self.note(|progress| progress.gone = true)?;
                (PERSON_WAIT, Some("`hydrophone destination resume` tells it again".to_owned()), why)
            }
        };
        self.until = Some(self.steady() + wait);
        if self.failures.count() <= 1 {
            tracing::warn!("{}: {why}", self.name());
        }
        self.woe(Woe { why, remedy, since: now })
    }

    /// Shows trouble with the destination. What is shown already is not written again.
    pub(super) fn woe(&self, woe: Woe) -> Result<(), StoreError> {
        let id = self.id;
        let progress = self.store().read(|view| destinations::progress(view, id))?;
        if progress.trouble.as_ref().is_some_and(|known| known.why == woe.why && known.remedy == woe.remedy) {
            return Ok(());
        }
        self.note(move |progress| {
            let since = progress.trouble.as_ref().map_or(woe.since, |known| known.since);
            progress.trouble = Some(Woe { since, ..woe });
        })
    }

    pub(super) fn note(&self, change: impl FnOnce(&mut Progress) + Send + 'static) -> Result<(), StoreError> {
        let id = self.id;
        self.store().write::<_, StoreError>(move |batch| {
            let mut progress = destinations::progress(batch, id)?;
            change(&mut progress);
            destinations::put_progress(batch, id, &progress)
        })
    }

    /// Notes that a scope cannot be told for a while.
    pub(super) fn postpone(&mut self, scope: ScopeId, why: String) {
        let until = self.steady() + limits::DEAD_LETTER_WAIT;
        self.postponed.insert(scope, Postponed { until, why });
    }

    /// Why a scope cannot be told now, and for how long.
    pub(super) fn is_postponed(&self, scope: ScopeId) -> Option<(&str, Duration)> {
        let postponed = self.postponed.get(&scope)?;
        let left = postponed.until.checked_sub(self.steady()).filter(|left| !left.is_zero())?;
        Some((&postponed.why, left))
    }

    pub(super) fn name(&self) -> String {
        match &self.open {
            Some(open) => format!("destination {}", open.destination.name),
            None => format!("destination {}", self.id),
        }
    }
}

/// How long a box waits that may not tell anything, unless somebody rings.
const FENCED: Duration = Duration::from_secs(5);

/// Items of the log in one part.
pub(super) const CHUNK: usize = 500;

/// Dead letters that are tried again in one go.
const LETTERS: usize = 100;

/// What a person has to mend is tried again after this.
const PERSON_WAIT: Duration = Duration::from_mins(15);

const IDLE_MAX: Duration = Duration::from_mins(1);

const TICK: Duration = Duration::from_millis(10);

pub(super) const UNREADABLE_REMEDY: &str =
    "`hydrophone status` says more; reading the project again mends what Sonar knows";
