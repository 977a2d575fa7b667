//! What a destination does now and then: look through what it was told, and ask for decisions made there.

use std::time::Duration;

use super::gather::{self, Group};
use super::runner::{CHUNK, Ended, Runner};
use crate::domain::destination::{Destination, Words};
use crate::domain::ids::{DestinationId, FindingId};
use crate::domain::message::{Message, Remote};
use crate::domain::time::Timestamp;
use crate::domain::triage::{self, Order, Taken};
use crate::platform::{Decision, Manner, Trouble};
use crate::store::changes::Cursor;
use crate::store::destinations::{Progress, Woe};
use crate::store::{Batch, StoreError, catalogue, destinations};
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
        let Some(after) = progress.sweep else {
            if self.steady() >= self.next_sweep {
                self.next_sweep = self.steady() + SWEEP_INTERVAL;
                // Costs a write a day, and only where something was told.
                if self.store().read(|view| destinations::remotes(view, id, None, 1))?.is_empty() {
                    return Ok(false);
                }
                self.note(|progress| progress.sweep = Some(FindingId(0)))?;
                return Ok(true);
            }
            return Ok(false);
        };
        let now = self.deliver.work.clock.now();
        let (groups, forgotten, last) = self.store().read::<_, StoreError>(|view| {
            let remotes = destinations::remotes(view, id, Some(after), CHUNK)?;
            let last = remotes.last().map(|(finding, _)| *finding);
            let (mut groups, mut forgotten): (Vec<Group>, Vec<FindingId>) = (Vec::new(), Vec::new());
            for (finding, remote) in remotes {
                if gather::held(view, finding)?.is_some() {
                    continue;
                }
                let open = remote.state.is_none_or(|state| !state.is_closed());
                let place = match catalogue::scope(view, remote.scope)? {
                    Some(_) if open => gather::place(view, remote.scope)?,
                    _ => None,
                };
                let Some(place) = place else {
                    forgotten.push(finding);
                    continue;
                };
                let message = (Message::gone(finding, remote, now), 0);
                match groups.iter_mut().find(|group| group.place.scope == place.scope) {
                    Some(group) => group.messages.push(message),
                    None => groups.push(Group { place, messages: vec![message] }),
                }
            }
            Ok((groups, forgotten, last))
        })?;
        for group in groups {
            if matches!(self.tell_group(group, &|_| None)?, Ended::Stopped) {
                return Ok(true);
            }
        }
        let next = last;
        self.store().write::<_, StoreError>(move |batch| {
            for finding in forgotten {
                destinations::remove_remote(batch, id, finding)?;
            }
            let mut progress = destinations::progress(batch, id)?;
            progress.sweep = next;
            if next.is_none() {
                progress.swept_at = Some(now);
            }
            destinations::put_progress(batch, id, &progress)
        })?;
        if next.is_none() {
            self.next_sweep = self.steady() + SWEEP_INTERVAL;
        }
        Ok(true)
    }

    /// Asks for decisions that were made on the platform, and remembers them.
    pub(super) fn poll(&mut self, progress: &Progress) -> Result<bool, StoreError> {
        let now = self.steady();
        if now < self.next_poll {
            return Ok(false);
        }
        self.next_poll = now + POLL_INTERVAL;
        let Some(open) = &mut self.open else { return Ok(false) };
        if !open.abilities.decisions || matches!(progress.cursor, Cursor::New) {
            return Ok(false);
        }
        let polled = match open.platform.decisions(progress.mark.as_deref()) {
            Ok(polled) => polled,
            // What it may be told does not depend on what may be asked.
            Err(Trouble::Refused { why, remedy }) => {
                let since = self.deliver.work.clock.now();
                return self.woe(Woe { why, remedy: Some(remedy), since }).map(|()| false);
            }
            Err(trouble) => return self.stop(trouble).map(|()| true),
        };
        self.failures.succeed();
        // It answers, and nothing is left to tell it: whatever was the matter is over.
        if polled.decisions.is_empty() && polled.mark == progress.mark && progress.trouble.is_none() {
            return Ok(false);
        }
        let (id, words, now) = (self.id, open.abilities.words, self.deliver.work.clock.now());
        let destination = open.destination.clone();
        self.store().write::<_, StoreError>(move |batch| {
            for decision in &polled.decisions {
                take_in(batch, id, &destination, words, decision, now)?;
            }
            let mut progress = destinations::progress(batch, id)?;
            progress.mark = polled.mark;
            progress.trouble = None;
            destinations::put_progress(batch, id, &progress)
        })?;
        self.next_order = Duration::ZERO;
        Ok(true)
    }

    /// Tells Sonar of decisions that were made on the platform, one at a time.
    pub(super) fn pass_back(&mut self) -> Result<bool, StoreError> {
        let id = self.id;
        if self.steady() < self.next_order {
            return Ok(false);
        }
        let Some((finding, order)) = self.store().read(|view| destinations::next_order(view, id))? else {
            self.next_order = Duration::MAX;
            return Ok(false);
        };
        let done = order.clone();
        match triage(&self.deliver.work, finding, order.state, &order.comment) {
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
                tracing::warn!("{}: decisions are passed on later: {error}", self.name());
                self.next_order = self.steady() + ORDER_AGAIN;
            }
        }
        Ok(true)
    }
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
