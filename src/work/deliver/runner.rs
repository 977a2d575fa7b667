//! One destination being told: what follows its cursor is gathered, told and noted, again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Deliver;
use super::gather::{self, Group, Unreadable};
use crate::domain::destination::{Destination, Words};
use crate::domain::finding::State;
use crate::domain::ids::{ChangeNumber, DestinationId, FindingId, ScopeId};
use crate::domain::limits;
use crate::domain::message::{Message, Place, Remote, Target};
use crate::domain::retry::Failures;
use crate::domain::time::Timestamp;
use crate::domain::triage;
use crate::platform::{Abilities, Manner, Platform, Pushed, Told, Trouble};
use crate::store::changes::Cursor;
use crate::store::destinations::{DeadLetter, Progress, Woe};
use crate::store::{Batch, Store, StoreError, destinations};

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
    /// Scopes whose place there cannot be used, and when each is tried again, by the steady clock.
    pub(super) postponed: BTreeMap<ScopeId, Duration>,
    /// When to look through what was told, by the steady clock.
    pub(super) next_sweep: Duration,
    /// How far it was looked through, where that is under way.
    pub(super) swept: Option<FindingId>,
    /// When to ask for decisions.
    pub(super) next_poll: Duration,
    /// Before this it is not compared with what it was told.
    pub(super) next_reread: Duration,
    /// Whether a place there was gone when it was compared.
    pub(super) has_lost: bool,
    /// When to tell Sonar of them.
    pub(super) next_order: Duration,
    /// Those up to this finding were tried, and failed.
    pub(super) orders_after: Option<FindingId>,
}

/// A destination that can be told.
pub(super) struct Open {
    pub(super) destination: Destination,
    pub(super) platform: Box<dyn Platform>,
    pub(super) abilities: Abilities,
    /// Scopes whose place there was looked at since the start.
    prepared: BTreeSet<ScopeId>,
}

/// A batch that is noted as about to be told, and which of it were never told before.
type Intended = (Vec<(Message, usize)>, BTreeSet<FindingId>);

/// Why a batch cannot be told now, and the batch.
type Untold = (Trouble, Vec<(Message, usize)>);

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
            next_sweep: Duration::ZERO,
            swept: None,
            next_poll: Duration::ZERO,
            next_reread: Duration::ZERO,
            has_lost: false,
            next_order: Duration::ZERO,
            orders_after: None,
        }
    }

    /// Tells the destination what there is until it is removed or the daemon stops.
    pub fn run(mut self) {
        let work = Arc::clone(&self.deliver.work);
        while !work.is_stopping() {
            let heard = work.store.bell().rings();
            match self.step() {
                Ok(Turn::Worked) => {}
                Ok(Turn::Idle(most)) => work.store.bell().wait(heard, most.clamp(TICK, IDLE_MAX)),
                Ok(Turn::Ended) => return,
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
            (self.next_sweep, self.next_reread) = (Duration::ZERO, Duration::ZERO);
            self.postponed.clear();
        }
        let id = self.id;
        let read = self.store().read::<_, StoreError>(|view| {
            let Some(destination) = destinations::destination(view, id)? else { return Ok(None) };
            Ok(Some((destination, destinations::progress(view, id)?)))
        })?;
        let Some((destination, progress)) = read else { return Ok(Turn::Ended) };
        if destination.paused || progress.gone {
            return Ok(Turn::Idle(IDLE_MAX));
        }
        let now = self.steady();
        if let Some(left) = self.until.and_then(|until| until.checked_sub(now)).filter(|left| !left.is_zero()) {
            return Ok(Turn::Idle(left));
        }
        self.until = None;
        if self.open.as_ref().is_none_or(|open| open.destination != destination)
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
            Ok(platform) => {
                let abilities = platform.abilities();
                self.open = Some(Open { destination, platform, abilities, prepared: BTreeSet::new() });
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
        if self.tell_letters(manner)? {
            return Ok(Turn::Worked);
        }
        let worked = match manner {
            Manner::Findings | Manner::Changes => self.tell_log(manner, progress)?,
            Manner::Scopes => self.tell_scopes(progress)?,
        };
        if worked || self.sweep(progress)? || self.poll(progress)? || self.pass_back()? || self.reread(progress)? {
            return Ok(Turn::Worked);
        }
        // What it could not be told is nothing to tell any more.
        if manner == Manner::Changes && progress.trouble.is_some() {
            self.note(|progress| progress.trouble = None)?;
            return Ok(Turn::Worked);
        }
        let now = self.steady();
        let next = self.next_sweep.min(self.next_poll).min(self.next_order).min(self.next_letters);
        Ok(Turn::Idle(next.saturating_sub(now)))
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

    /// Tells messages of one scope, in batches. `place` says where in the log the destination is when so many items of
    /// the part are done with, and of how many replays that is, where every single one counts.
    pub(super) fn tell_group(
        &mut self,
        group: Group,
        place: &dyn Fn(usize) -> Option<(u64, Cursor)>,
    ) -> Result<Ended, StoreError> {
        let Group { place: scope, messages } = group;
        let mut messages = messages;
        let mut again = false;
        while !messages.is_empty() {
            let Some(batch_max) = self.open.as_ref().map(|open| open.abilities.batch_max.max(1)) else {
                return Ok(Ended::Stopped);
            };
            let mut target = match self.target(&scope)? {
                Ok(target) => target,
                Err(trouble) => return self.give_up_on(trouble, &scope, messages),
            };
            let rest = messages.split_off(messages.len().min(batch_max));
            let (batch, fresh) = match self.intend(&scope, &mut target, messages)? {
                Ok(intended) => intended,
                Err((trouble, batch)) => {
                    messages = batch.into_iter().chain(rest).collect();
                    if matches!(trouble, Trouble::Target { .. }) && !again {
                        again = true;
                        self.lose_target(scope.scope)?;
                        continue;
                    }
                    return self.give_up_on(trouble, &scope, messages);
                }
            };
            let former = target.clone();
            let pushed = match &mut self.open {
                Some(open) => {
                    let mut plain: Vec<Message> = batch.iter().map(|(message, _)| message.clone()).collect();
                    // What was never told is nowhere, and need not be looked for.
                    for message in plain.iter_mut().filter(|message| fresh.contains(&message.finding.id)) {
                        message.known = None;
                    }
                    open.platform.push(&scope, &mut target, &plain)
                }
                None => return Ok(Ended::Stopped),
            };
            let trouble = pushed.trouble.clone();
            let changed = (target != former).then_some(target);
            let left = self.remember(&scope, batch, pushed, changed, place)?;
            messages = left.into_iter().chain(rest).collect();
            match trouble {
                None => {}
                Some(Trouble::Target { .. }) if !again => {
                    again = true;
                    self.lose_target(scope.scope)?;
                }
                Some(trouble) => return self.give_up_on(trouble, &scope, messages),
            }
        }
        Ok(Ended::Done)
    }

    /// What cannot be told to one scope's place is parked, so that the others go on; any other trouble stops all.
    fn give_up_on(
        &mut self,
        trouble: Trouble,
        scope: &Place,
        messages: Vec<(Message, usize)>,
    ) -> Result<Ended, StoreError> {
        let Trouble::Target { why, remedy } = trouble else {
            self.stop(trouble)?;
            return Ok(Ended::Stopped);
        };
        let text = format!("{why}; {remedy}");
        tracing::warn!("{}: {text}", self.name());
        self.lose_target(scope.scope)?;
        let letters = messages.into_iter().map(|(message, _)| (message.finding.id, message.cause.change()));
        self.park(scope.scope, letters.collect(), &text)?;
        Ok(Ended::Done)
    }

    /// Parks what cannot be told now and may be later.
    fn park(
        &mut self,
        scope: ScopeId,
        findings: Vec<(FindingId, Option<ChangeNumber>)>,
        why: &str,
    ) -> Result<(), StoreError> {
        let (id, now, why) = (self.id, self.deliver.work.clock.now(), why.to_owned());
        self.next_letters = Duration::ZERO;
        self.store().write::<_, StoreError>(move |batch| {
            for (finding, change) in findings {
                let again_at = Some(now.plus(limits::DEAD_LETTER_WAIT));
                let letter = DeadLetter { why: why.clone(), since: now, attempts: 0, again_at, scope, change };
                destinations::park(batch, id, finding, letter)?;
            }
            Ok(())
        })
    }

    /// What belongs to a damaged record waits until that is mended, and holds up nothing else.
    fn park_unreadable(&mut self, unreadable: Vec<Unreadable>) -> Result<(), StoreError> {
        let mut scopes: BTreeMap<ScopeId, Vec<_>> = BTreeMap::new();
        for one in unreadable {
            scopes.entry(one.scope).or_default().push((one.finding, one.change));
        }
        for (scope, findings) in scopes {
            self.park(scope, findings, UNREADABLE)?;
        }
        Ok(())
    }

    /// Where a scope's findings go, looked at once after each start.
    pub(super) fn target(&mut self, place: &Place) -> Result<Result<Target, Trouble>, StoreError> {
        let (id, scope) = (self.id, place.scope);
        let stored = self.store().read(|view| destinations::target(view, id, scope))?;
        let Some(open) = &mut self.open else { return Ok(Err(Trouble::later("it is not open"))) };
        let known = match &stored {
            Some((known, false)) if open.prepared.contains(&scope) => return Ok(Ok(known.clone())),
            Some((known, false)) => Some(known.clone()),
            Some((_, true)) | None => None,
        };
        let target = match open.platform.prepare(place, known.clone()) {
            Ok(target) => target,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let is_elsewhere = stored.is_some_and(|(former, _)| open.platform.is_elsewhere(&former, &target));
        if is_elsewhere {
            // First of all: that it is another place is only known as long as the former one is noted.
            self.tell_anew(scope)?;
        }
        if known.as_ref() != Some(&target) {
            let target = target.clone();
            self.store().write::<_, StoreError>(move |batch| destinations::put_target(batch, id, scope, &target))?;
        }
        if let Some(open) = &mut self.open {
            open.prepared.insert(scope);
        }
        if is_elsewhere {
            return Ok(Err(Trouble::later(format!("the place of {} there is a new one", place.project))));
        }
        Ok(Ok(target))
    }

    /// Forgets what was told of a scope, and begins again with the present state.
    fn tell_anew(&mut self, scope: ScopeId) -> Result<(), StoreError> {
        let (id, mut after) = (self.id, Some(FindingId(0)));
        while let Some(from) = after {
            let some = self.store().read(|view| destinations::remotes(view, id, Some(from), CHUNK))?;
            after = some.last().map(|(finding, _)| *finding);
            let of_scope: Vec<FindingId> =
                some.into_iter().filter(|(_, remote)| remote.scope == scope).map(|(finding, _)| finding).collect();
            self.store().delete::<_, StoreError>(move |batch| {
                for finding in of_scope {
                    destinations::remove_remote(batch, id, finding)?;
                }
                Ok(())
            })?;
        }
        self.note(|progress| progress.cursor = Cursor::New)
    }

    pub(super) fn lose_target(&mut self, scope: ScopeId) -> Result<(), StoreError> {
        let id = self.id;
        if let Some(open) = &mut self.open {
            open.prepared.remove(&scope);
        }
        self.store().write::<_, StoreError>(move |batch| destinations::lose_target(batch, id, scope))
    }

    /// Notes what is about to be told for the first time, and that it is about to be told, so that an answer that is
    /// lost leaves a trace. Returns the batch, and which of it were never told before.
    fn intend(
        &mut self,
        place: &Place,
        target: &mut Target,
        messages: Vec<(Message, usize)>,
    ) -> Result<Result<Intended, Untold>, StoreError> {
        let mut fresh = BTreeSet::new();
        let Some(open) = &mut self.open else { return Ok(Ok((messages, fresh))) };
        if open.abilities.manner != Manner::Findings {
            return Ok(Ok((messages, fresh)));
        }
        let mut intended: Vec<(FindingId, Remote)> = Vec::new();
        let mut plain: Vec<Message> = messages.iter().map(|(message, _)| message.clone()).collect();
        for message in &mut plain {
            match &message.known {
                None => {
                    let mut remote = open.platform.intend(place, message);
                    remote.begin(message.state);
                    intended.push((message.finding.id, remote.clone()));
                    message.known = Some(remote);
                    fresh.insert(message.finding.id);
                }
                // Until it answers it may know what it was told before, or what it is told now.
                Some(known) => {
                    let shown = known.content.filter(|known| *known == message.content() || message.state.is_closed());
                    let mut remote = Remote { content: shown, ..known.clone() };
                    remote.begin(message.state);
                    if remote != *known {
                        intended.push((message.finding.id, remote));
                    }
                }
            }
        }
        let former = target.clone();
        if let Err(trouble) = open.platform.begin(place, target, &plain) {
            // Since when something is waited for is kept, or a clock that was set back has it waited for for ever.
            if *target != former {
                let (id, scope, target) = (self.id, place.scope, target.clone());
                self.store()
                    .write::<_, StoreError>(move |batch| destinations::put_target(batch, id, scope, &target))?;
            }
            return Ok(Err((trouble, messages)));
        }
        let begun = (*target != former).then(|| target.clone());
        if !intended.is_empty() || begun.is_some() {
            let (id, scope) = (self.id, place.scope);
            self.store().write::<_, StoreError>(move |batch| {
                if let Some(target) = &begun {
                    destinations::put_target(batch, id, scope, target)?;
                }
                for (finding, remote) in &intended {
                    destinations::put_remote(batch, id, *finding, remote)?;
                }
                Ok(())
            })?;
        }
        let batch = plain.into_iter().zip(messages).map(|(message, (_, index))| (message, index)).collect();
        Ok(Ok((batch, fresh)))
    }

    /// Notes what became of a batch. Returns the messages that nothing became of.
    fn remember(
        &mut self,
        place: &Place,
        batch: Vec<(Message, usize)>,
        pushed: Pushed,
        target: Option<Target>,
        cursor: &dyn Fn(usize) -> Option<(u64, Cursor)>,
    ) -> Result<Vec<(Message, usize)>, StoreError> {
        let (id, scope, now) = (self.id, place.scope, self.deliver.work.clock.now());
        let (mut done, mut left) = (0, Vec::new());
        let mut outcomes = pushed.told.into_iter().peekable();
        let mut notes: Vec<Note> = Vec::new();
        // Outcomes come in the order of the batch, as far as it came; without trouble what is not mentioned is told.
        for (message, index) in batch {
            let finding = message.finding.id;
            match outcomes.next_if(|(of, _)| *of == finding) {
                Some((_, told)) => {
                    notes.push(Note::of(&message, told));
                    done = done.max(index);
                }
                None => left.push((message, index)),
            }
        }
        if pushed.trouble.is_none() {
            // Nobody said what became of these: a fault of ours, which must neither lose them nor go on for ever.
            for (message, index) in left.drain(..) {
                done = done.max(index);
                notes.push(Note::of(&message, Told::Refused(NO_OUTCOME.to_owned())));
            }
        }
        let told = notes.iter().filter(|note| matches!(note.told, Told::Yes(_))).count() as u64;
        if told > 0 {
            self.failures.succeed();
            self.next_order = Duration::ZERO;
        }
        if notes.iter().any(|note| matches!(note.told, Told::Broke(_))) {
            self.next_letters = Duration::ZERO;
        }
        if notes.is_empty() && target.is_none() {
            return Ok(left);
        }
        let cursor = if notes.is_empty() { None } else { cursor(done) };
        let Some((destination, words)) =
            self.open.as_ref().map(|open| (open.destination.clone(), open.abilities.words))
        else {
            return Ok(left);
        };
        self.store().write::<_, StoreError>(move |batch| {
            if let Some(target) = &target {
                destinations::put_target(batch, id, scope, target)?;
            }
            for note in notes {
                note.put(batch, id, scope, (&destination, words), now)?;
            }
            let mut progress = destinations::progress(batch, id)?;
            if let Some((replays, cursor)) = cursor {
                progress.advance(replays, cursor);
            }
            if told > 0 {
                progress.told += told;
                progress.told_at = Some(now);
                progress.trouble = None;
            }
            destinations::put_progress(batch, id, &progress)
        })?;
        Ok(left)
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

    pub(super) fn name(&self) -> String {
        match &self.open {
            Some(open) => format!("destination {}", open.destination.name),
            None => format!("destination {}", self.id),
        }
    }
}

/// What became of a message.
struct Note {
    finding: FindingId,
    change: Option<ChangeNumber>,
    told: Told,
    /// It was told that this finding is gone, which is not held here any more.
    gone: bool,
    /// It was told that this finding is back.
    back: Option<State>,
}

impl Note {
    fn of(message: &Message, told: Told) -> Self {
        let closed = message.known.as_ref().and_then(|known| known.state).is_some_and(State::is_closed);
        Self {
            finding: message.finding.id,
            change: message.cause.change(),
            told,
            gone: message.state.is_closed() && message.url.is_empty(),
            back: (closed && !message.state.is_closed()).then_some(message.finding.observed.state),
        }
    }

    fn put(
        self,
        batch: &Batch,
        id: DestinationId,
        scope: ScopeId,
        (destination, words): (&Destination, &Words),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Self { finding, change, told, gone, back } = self;
        match told {
            Told::Yes(_) if gone => destinations::remove_remote(batch, id, finding),
            Told::Yes(remote) => {
                if let Some(mut remote) = remote {
                    remote.settle();
                    // What was decided there while it was gone stands when it is back.
                    if let Some(order) = triage::standing(&remote, back, None, destination, words, now) {
                        destinations::put_order(batch, id, finding, &order)?;
                    }
                    destinations::put_remote(batch, id, finding, &remote)?;
                }
                destinations::drop_letter(batch, id, finding).map(drop)
            }
            Told::Refused(why) => {
                let letter = DeadLetter { why, since: now, attempts: 0, again_at: None, scope, change };
                destinations::park(batch, id, finding, letter)
            }
            Told::Broke(why) => {
                let attempts = destinations::dead_letter(batch, id, finding)?.map_or(0, |letter| letter.attempts);
                let wait = limits::DEAD_LETTER_WAIT.saturating_mul(2_u32.saturating_pow(attempts));
                let again_at = Some(now.plus(wait.min(limits::DEAD_LETTER_WAIT_MAX)));
                destinations::park(
                    batch,
                    id,
                    finding,
                    DeadLetter { why, since: now, attempts, again_at, scope, change },
                )
            }
        }
    }
}

/// Items of the log in one part.
pub(super) const CHUNK: usize = 500;

/// Dead letters that are tried again in one go.
const LETTERS: usize = 100;

/// What a person has to mend is tried again after this.
const PERSON_WAIT: Duration = Duration::from_mins(15);

const IDLE_MAX: Duration = Duration::from_mins(1);

const TICK: Duration = Duration::from_millis(10);

const UNREADABLE: &str = "the record of its branch, project, asset or source is damaged here";

pub(super) const UNREADABLE_REMEDY: &str =
    "`hydrophone status` says more; reading the project again mends what Sonar knows";

const NO_OUTCOME: &str = "the platform's answer says nothing about it; please report this as a fault of hydrophone";
