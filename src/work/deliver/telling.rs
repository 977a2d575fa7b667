//! Telling one scope's messages: its place on the platform, what is noted before and after, and what is put aside.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::gather::{Group, Unreadable};
use super::runner::{CHUNK, Ended, Runner};
use crate::domain::destination::{Destination, Words};
use crate::domain::finding::State;
use crate::domain::ids::{ChangeNumber, DestinationId, FindingId, ScopeId};
use crate::domain::limits;
use crate::domain::message::{Message, Place, Remote, Target};
use crate::domain::time::Timestamp;
use crate::domain::triage;
use crate::platform::{Manner, Pushed, Told, Trouble};
use crate::store::changes::Cursor;
use crate::store::destinations::{DeadLetter, Untold};
use crate::store::{Batch, StoreError, destinations};

/// A batch that is noted as about to be told, and which of it were never told before.
type Intended = (Vec<(Message, usize)>, BTreeSet<FindingId>);

/// Why a batch cannot be told now, and the batch.
type NotIntended = (Trouble, Vec<(Message, usize)>);

impl Runner {
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
        // It refused this place a moment ago: once an hour is enough, however much waits for that.
        if let Some((why, left)) = self.is_postponed(scope.scope) {
            let why = why.to_owned();
            self.park(scope.scope, letters_of(messages), &why, left)?;
            return Ok(Ended::Done);
        }
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
        self.postpone(scope.scope, text.clone());
        self.park(scope.scope, letters_of(messages), &text, limits::DEAD_LETTER_WAIT)?;
        Ok(Ended::Done)
    }

    /// Parks what cannot be told now and may be after a while.
    fn park(&mut self, scope: ScopeId, findings: Vec<Untold>, why: &str, wait: Duration) -> Result<(), StoreError> {
        let (id, now, why) = (self.id, self.deliver.work.clock.now(), why.to_owned());
        self.next_letters = Duration::ZERO;
        self.store().write::<_, StoreError>(move |batch| {
            for (finding, change) in findings {
                let again_at = Some(now.plus(wait));
                let letter = DeadLetter { why: why.clone(), since: now, attempts: 0, again_at, scope, change };
                destinations::park(batch, id, finding, letter)?;
            }
            Ok(())
        })
    }

    /// What belongs to a damaged record waits until that is mended, and holds up nothing else.
    pub(super) fn park_unreadable(&mut self, unreadable: Vec<Unreadable>) -> Result<(), StoreError> {
        let mut scopes: BTreeMap<ScopeId, Vec<_>> = BTreeMap::new();
        for one in unreadable {
            scopes.entry(one.scope).or_default().push((one.finding, one.change));
        }
        for (scope, findings) in scopes {
            self.park(scope, findings, UNREADABLE, limits::DEAD_LETTER_WAIT)?;
        }
        Ok(())
    }

    /// Where a scope's findings go, looked at once after each start.
    pub(super) fn target(&mut self, place: &Place) -> Result<Result<Target, Trouble>, StoreError> {
        let (id, scope) = (self.id, place.scope);
        let stored = self.store().read(|view| destinations::target(view, id, scope))?;
        let Some(open) = &mut self.open else { return Ok(Err(Trouble::later("it is not open"))) };
        let prepared = match stored.clone() {
            Some((known, false)) if open.prepared.contains(&scope) => return Ok(Ok(known)),
            Some((lost, true)) => open.platform.prepare_again(place, lost),
            Some((known, false)) => open.platform.prepare(place, Some(known)),
            None => open.platform.prepare(place, None),
        };
        let target = match prepared {
            Ok(target) => target,
            Err(trouble) => return Ok(Err(trouble)),
        };
        self.postponed.remove(&scope);
        let is_elsewhere = stored.as_ref().is_some_and(|(former, _)| open.platform.is_elsewhere(former, &target));
        if is_elsewhere {
            // First of all: that it is another place is only known as long as the former one is noted.
            self.tell_anew(scope)?;
        }
        if stored.is_none_or(|(known, lost)| lost || known != target) {
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
    ) -> Result<Result<Intended, NotIntended>, StoreError> {
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
}

fn letters_of(messages: Vec<(Message, usize)>) -> Vec<Untold> {
    messages.into_iter().map(|(message, _)| (message.finding.id, message.cause.change())).collect()
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

const UNREADABLE: &str = "the record of its branch, project, asset or source is damaged here";

const NO_OUTCOME: &str = "the platform's answer says nothing about it; please report this as a fault of hydrophone";
