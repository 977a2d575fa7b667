//! Telling findings: what each of them needs, and the calls that bring it about, as few as there can be. Rows first where
//! only rows can do it, one import after the other.

use std::collections::{HashMap, VecDeque};

use serde_json::Map;

use super::calls::Patched;
use super::imports::{Import, id_of};
use super::read::Seen;
use super::status::{Before, Status, Way, decide};
use super::{DefectDojo, keys, rows};
use crate::domain::message::{Birth, Message, Place, Remote, Target};
use crate::platform::{Pushed, Told, Trouble};

/// What one message needs.
pub(super) struct Deed<'m> {
    pub(super) message: &'m Message,
    /// What is known of it there.
    pub(super) known: Remote,
    /// What is to be remembered as its birth.
    pub(super) birth: Option<Birth>,
    pub(super) id: Option<u64>,
    pub(super) to: Status,
    pub(super) way: Way,
    /// Whether what is shown of it there is what is to be shown.
    is_shown: bool,
    /// Somebody decided otherwise there.
    decided: Option<String>,
    pub(super) refused: Option<String>,
    /// It was not refused in so many words: the server broke at it and at nothing else.
    pub(super) broke: bool,
}

impl Deed<'_> {
    fn is_done(&self) -> bool {
        self.refused.is_some() || (self.way.before.is_empty() && self.way.rows.is_empty() && self.way.after.is_empty())
    }

    fn is_live(&self) -> bool {
        self.refused.is_none()
    }

    /// It is not there, or not any more: an open row makes it.
    fn make_anew(&mut self, place: &Place) {
        self.id = None;
        self.birth = Some(rows::birth(place, self.message));
        self.way = decide(Before::default(), self.to);
        self.is_shown = self.to != Status::Mitigated;
    }

    fn told(&self, place: &Place) -> Told {
        if let Some(why) = &self.refused {
            return if self.broke { Told::Broke(why.clone()) } else { Told::Refused(why.clone()) };
        }
        let message = self.message;
        Told::Yes(Some(Box::new(Remote {
            scope: place.scope,
            id: self.id.map(|id| id.to_string()),
            key: message.finding.observed.key.clone(),
            state: Some(message.state),
            content: if self.is_shown { Some(message.content()) } else { self.known.content },
            birth: self.birth.clone(),
            decided: self.decided.clone(),
            since: self.known.since,
            telling: None,
            unanswered: Vec::new(),
        })))
    }
}

impl DefectDojo {
    /// Waits for an import that may be under way, and announces the next one.
    pub(super) fn announce(&mut self, target: &mut Target, batch: &[Message]) -> Result<(), Trouble> {
        if let (Some(mark), Some(test)) = (target.get(keys::IMPORTING), target.get(keys::TEST)) {
            let (build_id, test) = (id_of(mark).to_owned(), test.to_owned());
            if !self.calls.has_ended(&test, &build_id)? {
                // By the steady count, which nobody sets: two imports at once make everything twice.
                let now = self.clock.steady();
                let since = match &self.awaited {
                    Some((awaited, since)) if *awaited == build_id => *since,
                    _ => now,
                };
                self.awaited = Some((build_id, since));
                if now.saturating_sub(since) < self.patience {
                    let why = format!("an import into Test {test} of {} may still be under way", self.calls.host());
                    return Err(Trouble::Later { why, after: Some(LOOK_AGAIN) });
                }
            }
            self.awaited = None;
            self.look_back = Some(test);
            target.0.remove(keys::IMPORTING);
        }
        let sends = |message: &Message| {
            let told = message.known.as_ref().and_then(|known| known.state);
            let telling = message.known.as_ref().is_some_and(|known| known.telling.is_some());
            telling || told.map(|told| self.status(told)) != Some(self.status(message.state))
        };
        if batch.iter().any(sends) {
            target.set(keys::IMPORTING, self.dice.label().to_string());
        }
        Ok(())
    }

    pub(super) fn tell(&mut self, place: &Place, target: &mut Target, batch: &[Message]) -> Pushed {
        let mut deeds = Vec::new();
        let trouble = self.tell_all(place, target, batch, &mut deeds).err();
        let done = deeds.iter().filter(|deed| trouble.is_none() || deed.is_done());
        Pushed { told: done.map(|deed| (deed.message.finding.id, deed.told(place))).collect(), trouble }
    }

    fn tell_all<'m>(
        &mut self,
        place: &Place,
        target: &mut Target,
        batch: &'m [Message],
        deeds: &mut Vec<Deed<'m>>,
    ) -> Result<(), Trouble> {
        let Some(test) = target.get(keys::TEST).map(str::to_owned) else {
            return Err(Trouble::target("the scope has no Test", "it is looked for again"));
        };
        // Where it ends before an import was sent, none is to be waited for.
        let none_sent = |target: &mut Target, trouble| {
            target.0.remove(keys::IMPORTING);
            trouble
        };
        let planned = self.plan(place, target, &test, batch).map_err(|trouble| none_sent(target, trouble))?;
        // Only now is anything done with them; before that none is done.
        deeds.extend(planned);
        for deed in deeds.iter_mut().filter(|deed| !deed.way.before.is_empty()) {
            self.patch_before(place, deed).map_err(|trouble| none_sent(target, trouble))?;
        }
        let mut import = Import::new(&test, place, target.get(keys::IMPORTING), &self.dice);
        loop {
            let next: Vec<usize> =
                (0..deeds.len()).filter(|at| deeds[*at].is_live() && !deeds[*at].way.rows.is_empty()).collect();
            if next.is_empty() {
                break;
            }
            if let Err(trouble) = self.import(place, target, deeds, &next, &mut import) {
                // What was made by parts of it that did pass is not known yet.
                self.look_back = Some(test);
                return Err(unfound(deeds, trouble));
            }
        }
        target.0.remove(keys::IMPORTING);
        if let Err(trouble) = self.find_ids(place, deeds, &import) {
            self.look_back = Some(test);
            return Err(unfound(deeds, trouble));
        }
        self.look_back = None;
        for deed in deeds.iter_mut().filter(|deed| deed.is_live() && !deed.way.after.is_empty()) {
            let Some(id) = deed.id else {
                deed.way.after.clear();
                continue;
            };
            let patched = self.calls.patch_finding(id, &deed.way.after)?;
            deed.way.after.clear();
            match patched {
                Patched::Done => deed.is_shown = true,
                Patched::Missing => {}
                Patched::Refused(why) => deed.refused = Some(why),
            }
        }
        Ok(())
    }

    /// What each message needs, after looking at what must not be told blindly.
    fn plan<'m>(
        &mut self,
        place: &Place,
        target: &Target,
        test: &str,
        batch: &'m [Message],
    ) -> Result<Vec<Deed<'m>>, Trouble> {
        let unknown = |message: &Message| message.known.as_ref().is_none_or(|known| known.state.is_none());
        let begun = batch.iter().filter(|message| unknown(message)).count();
        let look_back = self.look_back.as_deref() == Some(test);
        let mut back = HashMap::new();
        if begun > 0 && look_back {
            back = self.read(test, Some(begun))?;
        }
        if begun > 0 && target.get(keys::ADOPTED).is_some() {
            self.hold(test)?;
        }
        let looked = self.look_at(test, batch)?;
        let by_key = Self::goes_by_key(target);
        let mut deeds = Vec::with_capacity(batch.len());
        for message in batch {
            let key = message.finding.observed.key.as_str();
            let known = message.known.clone().unwrap_or_else(|| self.intended(place, message));
            let held = self.held.as_ref().filter(|(of, _)| of == test).and_then(|(_, all)| all.get(key));
            let mut seen = back.get(key).or(held).filter(|_| known.state.is_none()).cloned();
            let adopted = seen.is_some() && !back.contains_key(key);
            let told = known.state.map(|state| self.status(state));
            let mut id = known.id.as_deref().and_then(|id| id.parse().ok());
            let to = self.status(message.state);
            if let Some(found) = looked.get(&message.finding.id) {
                seen.clone_from(found);
                id = seen.as_ref().map(|seen| seen.id);
            } else if let Some(seen) = &seen {
                id = Some(seen.id);
            }
            let missing = looked.get(&message.finding.id).is_some_and(Option::is_none);
            let telling: Vec<Status> = known.in_doubt().map(|state| self.status(state)).collect();
            let before = Before {
                told: told.filter(|_| !missing),
                seen: seen.as_ref().map(|seen| (seen.status, seen.ours)),
                decided: message.known.as_ref().and_then(|known| known.decided.as_deref()),
                telling: &telling,
            };
            let mut deed = Deed {
                message,
                // Another life's birth values are not known any more; without a row nothing has to match them.
                birth: known.birth.clone().filter(|_| !adopted),
                id,
                to,
                way: decide(before, to),
                is_shown: known.content == Some(message.content()),
                decided: agreed(known.decided.as_deref(), told, before, to),
                known,
                refused: None,
                broke: false,
            };
            follow(place, &mut deed, before, seen.as_ref());
            if !by_key && deed.id.is_some() && deed.birth.is_none() {
                deed.way = deed.way.by_patches();
            }
            deeds.push(deed);
        }
        Ok(deeds)
    }

    fn intended(&self, place: &Place, message: &Message) -> Remote {
        crate::platform::Platform::intend(self, place, message)
    }

    fn patch_before(&self, place: &Place, deed: &mut Deed<'_>) -> Result<(), Trouble> {
        let Some(id) = deed.id else {
            deed.make_anew(place);
            return Ok(());
        };
        match self.calls.patch_finding(id, &deed.way.before)? {
            Patched::Done => deed.way.before = Map::new(),
            Patched::Missing => deed.make_anew(place),
            Patched::Refused(why) => deed.refused = Some(why),
        }
        Ok(())
    }

    /// Finds the ids of what was made.
    fn find_ids(&mut self, place: &Place, deeds: &mut [Deed<'_>], import: &Import) -> Result<(), Trouble> {
        let test = import.test.as_str();
        let wanted = |deed: &Deed<'_>| deed.is_live() && deed.id.is_none() && deed.to != Status::Mitigated;
        let new = deeds.iter().filter(|deed| wanted(deed)).count();
        // More may be made than was meant to be: findings that were deleted there, and are back.
        let made = import.made.map_or(new, |made| usize::try_from(made).unwrap_or(new));
        if import.sent == 0 || (made == 0 && new == 0) {
            return Ok(());
        }
        if made > 0 {
            let found = self.read(test, Some(made.min(READ_MAX)))?;
            for deed in deeds.iter_mut().filter(|deed| deed.is_live()) {
                let Some(seen) = found.get(deed.message.finding.observed.key.as_str()) else { continue };
                if deed.id.replace(seen.id).is_some_and(|former| former != seen.id) && deed.to != Status::Mitigated {
                    // It was made again as it was at birth.
                    let visible = rows::visible(place, deed.message);
                    if rows::digest(&visible) != seen.visible {
                        deed.way.after.extend(visible);
                    }
                }
            }
        }
        let missing: Vec<usize> = (0..deeds.len()).filter(|at| wanted(&deeds[*at])).collect();
        if missing.len() > SINGLY_MAX {
            self.held = None;
            self.hold(test)?;
        }
        for at in missing {
            let key = deeds[at].message.finding.observed.key.as_str();
            let held = self.held.as_ref().filter(|(of, _)| of == test).and_then(|(_, all)| all.get(key)).cloned();
            let seen = match held {
                Some(seen) => Some(seen),
                None => self.find(test, key)?,
            };
            deeds[at].id = seen.map(|seen| seen.id);
        }
        Ok(())
    }
}

/// What a person decided there, when something else is told. Whoever decided first what Sonar decides now has decided it,
/// unless that was told from here and the answer was lost.
fn agreed(decided: Option<&str>, told: Option<Status>, before: Before<'_>, to: Status) -> Option<String> {
    let seen = before.seen.map(|(seen, _)| seen);
    if told.is_some_and(|told| told != to) {
        let closes = to == Status::Mitigated || told == Some(Status::Mitigated);
        if closes && decided == Some(Status::Mitigated.word()) {
            return None;
        }
        if seen == Some(to) && to.is_decision() && !before.telling.contains(&to) {
            return Some(to.word().to_owned());
        }
    }
    decided.map(str::to_owned)
}

/// Adds to a deed what is shown of the finding beside its status.
fn follow(place: &Place, deed: &mut Deed<'_>, before: Before<'_>, seen: Option<&Seen>) {
    if let (None, Some((status, _))) = (before.told, before.seen)
        && status != deed.to
        && deed.way == Way::default()
    {
        deed.decided = Some(status.word().to_owned());
    }
    // What is gone is not worth more than its closing.
    if deed.to == Status::Mitigated {
        hand_over(deed);
        return;
    }
    let visible = rows::visible(place, deed.message);
    match (before.told, seen) {
        (None, None) => {
            let birth = deed.birth.get_or_insert_with(|| rows::birth(place, deed.message));
            deed.is_shown = true;
            if !rows::shows_all(place, deed.message, birth) {
                deed.way.after.extend(visible);
            }
        }
        (None, Some(seen)) => {
            deed.is_shown = true;
            if seen.visible != rows::digest(&visible) {
                deed.way.before.extend(visible);
            }
        }
        (Some(_), _) if !deed.is_shown => {
            deed.is_shown = true;
            deed.way.before.extend(visible);
        }
        _ => {}
    }
    hand_over(deed);
}

/// A finding that has another key in Sonar now is given it before any row speaks of it.
fn hand_over(deed: &mut Deed<'_>) {
    let key = &deed.message.finding.observed.key;
    if deed.known.key != *key && deed.id.is_some() {
        deed.way.before.insert("unique_id_from_tool".to_owned(), key.as_str().into());
    }
}

/// Those whose rows were sent and whose ids were not found are not done.
fn unfound(deeds: &mut [Deed<'_>], trouble: Trouble) -> Trouble {
    for deed in deeds.iter_mut().filter(|deed| deed.is_live() && deed.id.is_none() && deed.to != Status::Mitigated) {
        if deed.way.rows.is_empty() {
            deed.way.rows = VecDeque::from([deed.to]);
        }
    }
    trouble
}

/// An import that may be under way is looked for again after this.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(5);

/// The newest that are read to find ids.
const READ_MAX: usize = 2000;

/// So many are asked for singly before a whole Test is read.
const SINGLY_MAX: usize = 10;
