//! What a destination does now and then: look through what it was told, and ask for decisions made there.

use std::time::Duration;

use super::gather::{self, Group};
use super::runner::{CHUNK, Ended, Runner, Swept};
use crate::domain::destination::{Destination, Words};
use crate::domain::finding::State;
use crate::domain::ids::{DestinationId, FindingId};
use crate::domain::message::{Message, Remote};
use crate::domain::time::Timestamp;
use crate::domain::triage::{self, Order, Taken};
use crate::platform::{Decision, Manner, Trouble};
use crate::store::changes::Cursor;
use crate::store::destinations::{Progress, Woe};
use crate::store::findings::{self, Trace};
use crate::store::{Batch, Reader, StoreError, destinations};
use crate::work::triage::triage;

impl Runner {
    /// Looks through what the platform was told for what is not held here any more: what was closed long ago and
    /// deleted is told as gone if the platform still has it open; what belonged to something that was removed here is
    /// forgotten, and closes nothing.
    pub(super) fn sweep(&mut self, progress: &Progress) -> Result<bool, StoreError> {
        let id = self.id;
        let findings = self.open.as_ref().is_some_and(|open| open.abilities.manner == Manner::Findings);
        if !findings || !matches!(progress.cursor, Cursor::At(_)) {
            return Ok(false);
        }
        let now = self.deliver.work.clock.now();
        let (sweep, decisions) = (progress.sweep, progress.decisions);
        // What an operator asked for since begins anew.
        let under_way = self.swept.filter(|swept| (swept.sweep, swept.decisions) == (sweep, decisions));
        let Some(after) = under_way.map(|swept| swept.after).or(sweep) else {
            if self.steady() < self.next_sweep {
                return Ok(false);
            }
            // One that lies ahead was noted before the clock was set back.
            let since = progress.swept_at.filter(|at| *at <= now).map_or(SWEEP_INTERVAL, |at| now.since(at));
            self.next_sweep = self.steady() + SWEEP_INTERVAL.saturating_sub(since);
            if since < SWEEP_INTERVAL {
                return Ok(false);
            }
            self.next_sweep = self.steady() + SWEEP_INTERVAL;
            self.swept = Some(Swept { after: FindingId(0), sweep, decisions });
            return Ok(true);
        };
        let Some((destination, words)) =
            self.open.as_ref().map(|open| (open.destination.clone(), open.abilities.words))
        else {
            return Ok(false);
        };
        let mut part = self.store().read(|view| {
            let standing = Some((&destination, words)).filter(|_| decisions);
            look_through(view, id, after, standing, now)
        })?;
        let found = !part.is_empty();
        for group in std::mem::take(&mut part.groups) {
            if matches!(self.tell_group(group, &|_| None)?, Ended::Stopped) {
                return Ok(true);
            }
        }
        let last = part.last;
        self.swept = last.map(|after| Swept { after, sweep, decisions });
        // Where nothing was found nothing is written but once at the end: an interrupted look begins again.
        let ended = last.is_none() && (after != FindingId(0) || sweep.is_some());
        if found || ended {
            let noted = self.note_part(part, now, progress, destination)?;
            // By the store it is looked through from where it was written to.
            self.swept = None;
            if !noted {
                return Ok(true);
            }
        }
        if last.is_none() {
            self.next_sweep = self.steady() + SWEEP_INTERVAL;
        }
        self.next_order = Duration::ZERO;
        Ok(true)
    }

    /// Notes what was looked through. Returns whether it still is as this step read it: what was edited or asked for
    /// meanwhile was not looked through for.
    fn note_part(
        &self,
        part: Part,
        now: Timestamp,
        read: &Progress,
        destination: Destination,
    ) -> Result<bool, StoreError> {
        let (id, sweep, decisions) = (self.id, read.sweep, read.decisions);
        self.store().write::<_, StoreError>(move |batch| {
            for finding in part.forgotten {
                destinations::remove_remote(batch, id, finding)?;
            }
            for (successor, mut remote) in part.moved {
                if matches!(destinations::memory(batch, id, successor), Ok(None)) {
                    // Changes since were not told of: as after a lost answer, it is told again how it stands.
                    remote.begin(remote.state.unwrap_or(State::Open));
                    destinations::put_remote(batch, id, successor, &remote)?;
                }
            }
            for (finding, order) in part.orders {
                destinations::put_order(batch, id, finding, &order)?;
            }
            let mut progress = destinations::progress(batch, id)?;
            let is_same = (progress.sweep, progress.decisions) == (sweep, decisions)
                && destinations::destination(batch, id)?.is_some_and(|now| now == destination);
            if !is_same {
                return Ok(false);
            }
            progress.sweep = part.last;
            if part.last.is_none() {
                progress.swept_at = Some(now);
                progress.decisions = false;
            }
            destinations::put_progress(batch, id, &progress)?;
            Ok(true)
        })
    }

    /// Asks for decisions that were made on the platform, and remembers them.
    pub(super) fn poll(&mut self, progress: &Progress) -> Result<bool, StoreError> {
        if self.steady() < self.next_poll {
            return Ok(false);
        }
        Ok(matches!(self.ask(progress, false)?, Heard::Answer(true) | Heard::Stopped))
    }

    /// The same whether or not it is time. Where it is asked for the sake of something else that may fail, what was the
    /// matter is not over because it answers.
    pub(super) fn ask(&mut self, progress: &Progress, aside: bool) -> Result<Heard, StoreError> {
        self.next_poll = self.steady() + POLL_INTERVAL;
        let Some(open) = &mut self.open else { return Ok(Heard::Nothing) };
        if !open.abilities.decisions || matches!(progress.cursor, Cursor::New) {
            return Ok(Heard::Nothing);
        }
        let polled = match open.platform.decisions(progress.mark.as_deref()) {
            Ok(polled) => polled,
            // What it may be told does not depend on what may be asked.
            Err(Trouble::Refused { why, remedy }) => {
                let since = self.deliver.work.clock.now();
                return self.woe(Woe { why, remedy: Some(remedy), since }).map(|()| Heard::Nothing);
            }
            Err(trouble) => return self.stop(trouble).map(|()| Heard::Stopped),
        };
        if !aside {
            self.failures.succeed();
        }
        // It answers, and nothing is left to tell it: whatever was the matter is over.
        let is_over = !aside && progress.trouble.is_some();
        if polled.decisions.is_empty() && polled.mark == progress.mark && !is_over {
            return Ok(Heard::Answer(false));
        }
        let (id, words, now) = (self.id, open.abilities.words, self.deliver.work.clock.now());
        let destination = open.destination.clone();
        self.store().write::<_, StoreError>(move |batch| {
            for decision in &polled.decisions {
                take_in(batch, id, &destination, words, decision, now)?;
            }
            let mut progress = destinations::progress(batch, id)?;
            progress.mark = polled.mark;
            if is_over {
                progress.trouble = None;
            }
            destinations::put_progress(batch, id, &progress)
        })?;
        self.next_order = Duration::ZERO;
        Ok(Heard::Answer(true))
    }

    /// Tells Sonar of decisions that were made on the platform, one at a time.
    pub(super) fn pass_back(&mut self) -> Result<bool, StoreError> {
        let (id, after) = (self.id, self.orders_after);
        if self.steady() < self.next_order {
            return Ok(false);
        }
        let Some((finding, order)) = self.store().read(|view| destinations::next_order(view, id, after))? else {
            // Those that failed have their turn again after a while.
            self.next_order = if after.is_some() { self.steady() + ORDER_AGAIN } else { Duration::MAX };
            self.orders_after = None;
            return Ok(false);
        };
        let done = order.clone();
        let by = self.name();
        match triage(&self.deliver.work, finding, order.state, &order.comment, (&by, "destination")) {
            Ok(_) => {
                self.store().write::<_, StoreError>(move |batch| destinations::end_order(batch, id, finding, &done))?;
            }
            Err(error) if error.is_final() => {
                let why = error.to_string();
                tracing::warn!("{}: a decision about finding {finding} is not passed on: {why}", self.name());
                let refused = Order { refused: Some(why), ..order };
                self.store()
                    .write::<_, StoreError>(move |batch| destinations::put_order(batch, id, finding, &refused))?;
            }
            Err(error) => {
                tracing::warn!("{}: the decision about finding {finding} is passed on later: {error}", self.name());
                // The next one after it has its turn in a while, so that one which always fails holds up no other.
                self.orders_after = Some(finding);
                self.next_order = self.steady() + ORDER_AGAIN;
            }
        }
        Ok(true)
    }
}

/// What became of asking for decisions.
pub(super) enum Heard {
    /// There is nobody to ask, or it may not be asked.
    Nothing,
    /// It answered, and whether something was noted.
    Answer(bool),
    /// It cannot be asked now.
    Stopped,
}

/// What was found in a part of what a platform was told.
struct Part {
    /// What is gone there, to be told.
    groups: Vec<Group>,
    /// What is not to be remembered any more.
    forgotten: Vec<FindingId>,
    /// What is remembered of another number from now on, unless that has a memory of its own.
    moved: Vec<(FindingId, Remote)>,
    /// What Sonar is to be told of decisions that stand there.
    orders: Vec<(FindingId, Order)>,
    /// The last that was looked at; nothing at the end.
    last: Option<FindingId>,
}

impl Part {
    fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.forgotten.is_empty() && self.moved.is_empty() && self.orders.is_empty()
    }
}

/// Looks through what a platform was told, after a finding.
///
/// Only of what has left no trace here, in a branch that was read completely, is it known that it is gone: a record
/// that is damaged is a fault of this box, and Sonar may well have the finding. `standing` says that decisions which were
/// not passed on are to be.
fn look_through(
    view: &Reader,
    id: DestinationId,
    after: FindingId,
    standing: Option<(&Destination, &Words)>,
    now: Timestamp,
) -> Result<Part, StoreError> {
    let remotes = destinations::remotes(view, id, Some(after), CHUNK)?;
    let last = remotes.last().map(|(finding, _)| *finding);
    let mut part = Part { groups: Vec::new(), forgotten: Vec::new(), moved: Vec::new(), orders: Vec::new(), last };
    for (finding, remote) in remotes {
        if let Some((destination, words)) = standing.filter(|_| remote.decided.is_some()) {
            let here = gather::held(view, finding)?.map(|(_, held)| held.observed.state);
            let order = triage::standing(&remote, here, None, destination, words, now);
            part.orders.extend(order.map(|order| (finding, order)));
        }
        match findings::trace(view, finding, remote.scope, &remote.key)? {
            Trace::Held | Trace::Unreadable => continue,
            Trace::Replaced(successor) => {
                part.moved.push((successor, remote));
                part.forgotten.push(finding);
                continue;
            }
            Trace::None => {}
        }
        let open = remote.state.is_none_or(|state| !state.is_closed());
        let place = match gather::place(view, remote.scope) {
            Err(StoreError::Damaged { .. }) => continue,
            place => place?,
        };
        match place.filter(|_| open) {
            None => part.forgotten.push(finding),
            // What is missing from a part may be in the rest.
            Some(place) if !place.complete => {}
            Some(place) => {
                let message = (Message::gone(finding, remote, now), 0);
                match part.groups.iter_mut().find(|group| group.place.scope == place.scope) {
                    Some(group) => group.messages.push(message),
                    None => part.groups.push(Group { place, messages: vec![message] }),
                }
            }
        }
    }
    Ok(part)
}

/// What a platform was told is looked through this often.
const SWEEP_INTERVAL: Duration = Duration::from_hours(24);

/// Decisions are asked for this often.
const POLL_INTERVAL: Duration = Duration::from_mins(1);

/// A decision that Sonar could not be told is tried again after this.
const ORDER_AGAIN: Duration = Duration::from_mins(1);

/// Remembers a decision, and puts it down for Sonar where it is one that this box did not tell the platform itself.
pub(super) fn take_in(
    batch: &Batch,
    id: DestinationId,
    destination: &Destination,
    words: &Words,
    decision: &Decision,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(finding) = destinations::finding_of(batch, id, &decision.id)? else { return Ok(()) };
    let Some(remote) = destinations::remote(batch, id, finding)? else { return Ok(()) };
    let held = gather::held(batch, finding)?;
    let here = held.map(|(_, held)| held.observed.state);
    let said = (decision.word.as_str(), decision.reason.as_deref());
    let Some(Taken { decided, order }) = triage::take_in(&remote, here, said, destination, words, now) else {
        return Ok(());
    };
    destinations::put_remote(batch, id, finding, &Remote { decided, ..remote })?;
    match order {
        Some(order) => destinations::put_order(batch, id, finding, &order),
        // One that waits is of a decision that does not stand any more.
        None => destinations::remove_order(batch, id, finding),
    }
}
