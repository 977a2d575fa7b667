//! Once a day: does a platform still show what it was told? Polls tell of decisions only. What somebody deleted there is
//! made anew, what somebody edited is put back, and a status that was lost is told again; what somebody decided stays.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::gather::{self, Names, compose};
use super::rounds::{Heard, take_in};
use super::runner::{CHUNK, Ended, Runner};
use crate::domain::destination::Destination;
use crate::domain::finding::State;
use crate::domain::ids::{DestinationId, FindingId, ScopeId};
use crate::domain::message::{Cause, Message, Place, Remote, Target};
use crate::domain::time::Timestamp;
use crate::platform::{Decision, Known, Manner, Seen, Trouble};
use crate::store::changes::Cursor;
use crate::store::destinations::{Progress, Untold, Woe};
use crate::store::{Reader, StoreError, destinations};

/// Some of what a platform was told.
struct Page {
    /// By scope, what can be compared.
    told: Vec<(ScopeId, Message)>,
    places: BTreeMap<ScopeId, (Place, Target)>,
    /// Scopes whose place there is not known.
    placeless: BTreeMap<ScopeId, Place>,
    /// What was begun to be put right and is not.
    pending: Vec<FindingId>,
    /// Where the next page begins; nothing at the end.
    next: Option<FindingId>,
}

/// What a page came to.
#[derive(Default)]
struct Found {
    /// What is remembered of findings from now on, so that they are told.
    wrong: Vec<(FindingId, Remote)>,
    /// Scopes whose place is gone.
    nowhere: BTreeSet<ScopeId>,
}

impl Runner {
    /// Compares a page of what the platform was told with what it shows; false if none is due. What changes meanwhile
    /// is told between two pages.
    pub(super) fn reread(&mut self, progress: &Progress) -> Result<bool, StoreError> {
        let Some(destination) = self.open.as_ref().map(|open| open.destination.clone()) else { return Ok(false) };
        let findings = self.open.as_ref().is_some_and(|open| open.abilities.manner == Manner::Findings);
        if !findings || !matches!(progress.cursor, Cursor::At(_)) || self.steady() < self.next_reread {
            return Ok(false);
        }
        let now = self.deliver.work.clock.now();
        let Some(after) = progress.reread else { return self.begin_reread(progress, now) };
        if after == FindingId(0) {
            self.has_lost = Some(false);
        } else if self.has_lost.is_none() {
            // The process that began it noted only why.
            self.has_lost = Some(progress.lost.as_ref().is_some_and(|lost| lost.remedy.is_some()));
        }
        let id = self.id;
        let mut page = self.store().read(|view| page(view, id, &destination, after, now))?;
        let looked = match self.look(&page) {
            Ok(looked) => looked,
            // What it may be told does not depend on what may be asked.
            Err(Trouble::Refused { why, remedy } | Trouble::Target { why, remedy }) => {
                return self.put_off(Woe { why, remedy: Some(remedy), since: now }).map(|()| false);
            }
            Err(Trouble::Later { why, after: None }) => {
                return self.put_off(Woe { why, remedy: None, since: now }).map(|()| false);
            }
            Err(trouble) => return self.stop_reread(Some(trouble)).map(|()| true),
        };
        let Some(looked) = looked else { return self.end_page(progress, None, now).map(|()| true) };
        let Some(looked) = self.hear(&mut page, looked, progress)? else {
            return self.stop_reread(None).map(|()| true);
        };
        let found = judge(&page, looked);
        let gone = found.nowhere.iter().map(|scope| &page.places[scope].0);
        for place in page.placeless.values().chain(gone) {
            // With its place it is compared again, or told anew.
            if self.place_anew(place)? {
                return Ok(true);
            }
        }
        let wrong: Vec<Untold> = found
            .wrong
            .iter()
            .map(|(finding, _)| *finding)
            .chain(page.pending)
            .map(|finding| (finding, None))
            .collect();
        self.note_wrong(found.wrong)?;
        let gathered =
            self.store().read(|view| gather::of_findings(view, id, &destination, Manner::Findings, &wrong))?;
        for group in gathered.groups {
            tracing::info!("{}: {} findings are put right", self.name(), group.messages.len());
            if matches!(self.tell_group(group, &|_| None)?, Ended::Stopped) {
                return self.stop_reread(None).map(|()| true);
            }
        }
        self.end_page(progress, page.next, now)?;
        Ok(true)
    }

    /// The first is due a day after something was told.
    fn begin_reread(&mut self, progress: &Progress, now: Timestamp) -> Result<bool, StoreError> {
        let Some(last) = progress.reread_at else {
            if progress.told > 0 {
                self.note(move |progress| progress.reread_at = Some(now))?;
            }
            return Ok(false);
        };
        let interval = if progress.lost.is_some() { LOOK_AGAIN } else { INTERVAL };
        // Of a clock that was set back nobody waits for the time that it showed.
        if last <= now && now.since(last) < interval {
            return Ok(false);
        }
        self.note(|progress| progress.reread = Some(FindingId(0)))?;
        Ok(true)
    }

    fn look(&mut self, page: &Page) -> Result<Option<Vec<(FindingId, Seen)>>, Trouble> {
        let Some(open) = &mut self.open else { return Ok(None) };
        let known: Vec<Known<'_>> = page
            .told
            .iter()
            .map(|(scope, message)| {
                let (place, target) = &page.places[scope];
                Known { place, target, message }
            })
            .collect();
        if known.is_empty() { Ok(Some(Vec::new())) } else { open.platform.look(&known) }
    }

    /// Takes in what people said, so that no decision is taken for something that was lost: first what was seen, then what
    /// the platform tells when it is asked after that, which is newer. Of whom nobody can be asked nothing was lost.
    /// Nothing where the platform cannot be told more now.
    fn hear(
        &mut self,
        page: &mut Page,
        looked: Vec<(FindingId, Seen)>,
        progress: &Progress,
    ) -> Result<Option<Vec<(FindingId, Seen)>>, StoreError> {
        self.note_said(page, &looked)?;
        let has_slipped = |(_, seen): &(FindingId, Seen)| matches!(seen, Seen::There { slipped: true, .. });
        let heard = if looked.iter().any(has_slipped) { self.ask(progress, true)? } else { Heard::Nothing };
        if matches!(heard, Heard::Stopped) {
            return Ok(None);
        }
        let id = self.id;
        self.store().read::<_, StoreError>(|view| {
            for (_, message) in &mut page.told {
                message.known = destinations::remote(view, id, message.finding.id)?;
            }
            Ok(())
        })?;
        let is_news = |one: &(FindingId, Seen)| matches!(heard, Heard::Answer(_)) || !has_slipped(one);
        Ok(Some(looked.into_iter().filter(is_news).collect()))
    }

    /// Notes what people decided, as it was seen.
    fn note_said(&self, page: &Page, looked: &[(FindingId, Seen)]) -> Result<(), StoreError> {
        let told: BTreeMap<FindingId, &Message> = page.told.iter().map(|one| (one.1.finding.id, &one.1)).collect();
        let said = looked.iter().filter_map(|(finding, seen)| {
            let Seen::There { word, slipped: false, .. } = seen else { return None };
            let id = told.get(finding)?.known.as_ref()?.id.clone()?;
            Some(Decision { id, key: None, word: word.clone(), reason: None, at: None })
        });
        let said: Vec<Decision> = said.collect();
        let Some(open) = self.open.as_ref().filter(|_| !said.is_empty()) else { return Ok(()) };
        let (id, words, now) = (self.id, open.abilities.words, self.deliver.work.clock.now());
        let destination = open.destination.clone();
        self.store().write::<_, StoreError>(move |batch| {
            for decision in &said {
                take_in(batch, id, &destination, words, decision, now)?;
            }
            Ok(())
        })
    }

    /// Looks for a scope's place again, once an hour at most. Returns whether there is something new.
    fn place_anew(&mut self, place: &Place) -> Result<bool, StoreError> {
        let steady = self.steady();
        self.placed_anew.retain(|_, until| steady < *until);
        if self.placed_anew.contains_key(&place.scope) || self.is_postponed(place.scope).is_some() {
            self.has_lost = Some(true);
            return Ok(false);
        }
        self.lose_target(place.scope)?;
        self.placed_anew.insert(place.scope, steady + LOOK_AGAIN);
        match self.target(place)? {
            Ok(_) => Ok(true),
            Err(Trouble::Target { why, remedy }) => {
                tracing::warn!("{}: {why}; {remedy}", self.name());
                self.postpone(place.scope, format!("{why}; {remedy}"));
                let lost = Woe { why, remedy: Some(remedy), since: self.deliver.work.clock.now() };
                self.has_lost = Some(true);
                self.note_lost(lost).map(|()| false)
            }
            Err(trouble) => self.stop_reread(Some(trouble)).map(|()| true),
        }
    }

    /// Notes what is wrong before it is put right, so that an end in the middle leaves nothing undone.
    fn note_wrong(&self, wrong: Vec<(FindingId, Remote)>) -> Result<(), StoreError> {
        if wrong.is_empty() {
            return Ok(());
        }
        let id = self.id;
        self.store().write::<_, StoreError>(move |batch| {
            for (finding, remote) in &wrong {
                destinations::put_remote(batch, id, *finding, remote)?;
            }
            Ok(())
        })
    }

    /// Puts the rest off, because the platform cannot be asked or told more now. Where nothing more is to be compared
    /// than this, its answers to everything else would have it tried again without a pause.
    fn stop_reread(&mut self, trouble: Option<Trouble>) -> Result<(), StoreError> {
        if let Some(trouble) = trouble {
            self.stop(trouble)?;
        }
        let id = self.id;
        let progress = self.store().read(|view| destinations::progress(view, id))?;
        match progress.trouble {
            // What is told anew is compared when that is done.
            Some(woe) if matches!(progress.cursor, Cursor::At(_)) => self.put_off(woe),
            _ => Ok(()),
        }
    }

    fn put_off(&mut self, why: Woe) -> Result<(), StoreError> {
        self.next_reread = self.steady() + LOOK_AGAIN;
        self.note_lost(why)
    }

    /// Notes why it cannot be compared as a whole. Since when is kept, and what a person has to do comes first.
    fn note_lost(&self, why: Woe) -> Result<(), StoreError> {
        let id = self.id;
        let known = self.store().read(|view| destinations::progress(view, id))?.lost;
        let lost = match known.clone() {
            Some(known) if known.remedy.is_some() && why.remedy.is_none() => return Ok(()),
            Some(known) if known.remedy.is_some() == why.remedy.is_some() => Woe { since: known.since, ..why },
            _ => why,
        };
        if known.as_ref() == Some(&lost) {
            return Ok(());
        }
        self.note(|progress| progress.lost = Some(lost))
    }

    /// Notes how far it came, unless it was told meanwhile to begin anew.
    fn end_page(&self, read: &Progress, next: Option<FindingId>, now: Timestamp) -> Result<(), StoreError> {
        let is_found = next.is_none() && self.has_lost != Some(true);
        let (reread, replays) = (read.reread, read.replays);
        self.note(move |progress| {
            if (progress.reread, progress.replays) != (reread, replays) {
                return;
            }
            progress.reread = next;
            if next.is_none() {
                progress.reread_at = Some(now);
            }
            if is_found {
                progress.lost = None;
            }
        })
    }
}

/// Reads what the platform was told of some findings that are held here.
fn page(
    view: &Reader,
    id: DestinationId,
    destination: &Destination,
    after: FindingId,
    now: Timestamp,
) -> Result<Page, StoreError> {
    let remotes = destinations::remotes(view, id, Some(after), CHUNK)?;
    let next = remotes.last().map(|(finding, _)| *finding);
    let (told, places, placeless, pending) = (Vec::new(), BTreeMap::new(), BTreeMap::new(), Vec::new());
    let mut page = Page { told, places, placeless, pending, next };
    let mut names = Names::new(view);
    for (finding, remote) in remotes {
        let Some((scope, held)) = gather::held(view, finding)? else { continue };
        // What it refuses is tried again by itself, or by a person.
        if destinations::dead_letter(view, id, finding)?.is_some() {
            continue;
        }
        let is_open = remote.state.is_none_or(|state| !state.is_closed());
        // It came and went before the platform heard of it.
        if remote.state.is_none() && held.observed.state.is_closed() {
            continue;
        }
        if remote.state.is_none() || remote.telling.is_some() || (is_open && remote.content.is_none()) {
            page.pending.push(finding);
            continue;
        }
        if remote.id.is_none() || now.since(remote.since) < SETTLED {
            continue;
        }
        if !page.places.contains_key(&scope) {
            let place = match gather::place(view, scope) {
                Err(StoreError::Damaged { .. }) => None,
                place => place?,
            };
            let Some(place) = place else { continue };
            let Some((target, false)) = destinations::target(view, id, scope)? else {
                page.placeless.insert(scope, place);
                continue;
            };
            page.places.insert(scope, (place, target));
        }
        let place = &page.places[&scope].0;
        let message = compose(view, &mut names, (id, destination, Manner::Findings), place, held, Cause::Present)?;
        page.told.push((scope, message));
    }
    Ok(page)
}

/// What is to be done about what was seen.
fn judge(page: &Page, looked: Vec<(FindingId, Seen)>) -> Found {
    let mut found = Found::default();
    let told: BTreeMap<FindingId, &(ScopeId, Message)> = page.told.iter().map(|one| (one.1.finding.id, one)).collect();
    for (finding, seen) in looked {
        let Some((scope, message)) = told.get(&finding) else { continue };
        let Some(remote) = &message.known else { continue };
        let Some(state) = remote.state else { continue };
        match seen {
            Seen::Nowhere => {
                found.nowhere.insert(*scope);
            }
            // What is closed need not be there.
            Seen::Missing if state.is_closed() => {}
            Seen::Missing => {
                let remote = remote.clone();
                let forgotten = Remote { id: None, state: None, content: None, decided: None, ..remote };
                found.wrong.push((finding, forgotten));
            }
            Seen::There { slipped, shown, .. } => {
                let mut right = remote.clone();
                if !shown && !state.is_closed() && remote.content == Some(message.content()) {
                    right.content = None;
                }
                if slipped && remote.decided.is_none() {
                    right.telling = Some(if state.is_closed() { State::Open } else { State::Fixed });
                }
                if right != *remote {
                    found.wrong.push((finding, right));
                }
            }
        }
    }
    found
}

/// A platform is compared with what it was told this often.
const INTERVAL: Duration = Duration::from_hours(24);

/// A platform that may not be asked, or where a place is gone, is asked again after this.
const LOOK_AGAIN: Duration = Duration::from_hours(1);

/// What was told a moment ago may not be shown yet.
const SETTLED: Duration = Duration::from_hours(1);
