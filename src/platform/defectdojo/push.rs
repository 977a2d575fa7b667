//! Telling findings: what each of them needs, and the calls that bring it about, as few as there can be. Rows first where
//! only rows can do it, one import after the other.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::{Map, Value};

use super::calls::{Patched, Sent};
use super::place::encode;
use super::status::{Before, Status, Way, decide, needs_look};
use super::wire::{self, Row, SCAN_TYPE};
use super::{DefectDojo, keys, rows};
use crate::domain::finding::Digest;
use crate::domain::message::{Birth, Message, Place, Remote, Target};
use crate::domain::signature::to_hex;
use crate::domain::time::Timestamp;
use crate::platform::{Pushed, Told, Trouble};
use crate::sys::{clock, random};

/// A finding as DefectDojo holds it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    id: u64,
    status: Status,
    /// Whether this token's user mitigated it.
    ours: bool,
    /// Of what follows Sonar.
    visible: Digest,
}

/// What one message needs.
struct Deed<'m> {
    message: &'m Message,
    /// What is known of it there.
    known: Remote,
    /// What is to be remembered as its birth.
    birth: Option<Birth>,
    id: Option<u64>,
    to: Status,
    way: Way,
    /// Whether what is shown of it there is what is to be shown.
    is_shown: bool,
    /// Somebody decided otherwise there.
    decided: Option<String>,
    refused: Option<String>,
}

impl Deed<'_> {
    fn is_done(&self) -> bool {
        self.refused.is_some() || (self.way.before.is_empty() && self.way.rows.is_empty() && self.way.after.is_empty())
    }

    fn is_live(&self) -> bool {
        self.refused.is_none()
    }

    /// It is not there, or not any more: an open row makes it.
    fn make_anew(&mut self) {
        self.id = None;
        self.way = decide(Before::default(), self.to);
        self.is_shown = self.to != Status::Mitigated;
    }

    fn told(&self, place: &Place) -> Told {
        if let Some(why) = &self.refused {
            return Told::Refused(why.clone());
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
        })))
    }
}

impl DefectDojo {
    /// Waits for an import that may be under way, and announces the next one.
    pub(super) fn announce(&mut self, target: &mut Target, batch: &[Message]) -> Result<(), Trouble> {
        let now = clock::now();
        if let (Some(mark), Some(test)) = (target.get(keys::IMPORTING), target.get(keys::TEST)) {
            let (build_id, at) = mark.split_once(' ').unwrap_or((mark, "0"));
            let (build_id, test) = (build_id.to_owned(), test.to_owned());
            let at = Timestamp(at.parse().unwrap_or(0));
            if !self.calls.has_ended(&test, &build_id)? {
                if at > now {
                    // The clock went back; it is waited for from now.
                    target.set(keys::IMPORTING, format!("{build_id} {}", now.0));
                }
                if now.since(at) < self.patience {
                    let why = format!("an import into Test {test} of {} may still be under way", self.calls.host());
                    return Err(Trouble::Later { why, after: Some(LOOK_AGAIN) });
                }
            }
            self.look_back = Some(test);
            target.0.remove(keys::IMPORTING);
        }
        let sends = |message: &Message| {
            let told = message.known.as_ref().and_then(|known| known.state);
            told.map(|told| self.status(told)) != Some(self.status(message.state))
        };
        if batch.iter().any(sends) {
            target.set(keys::IMPORTING, mark(&to_hex(&random::bytes::<12>()), now));
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
        let planned = self.plan(place, target, &test, batch)?;
        // Only now is anything done with them; before that none is done.
        deeds.extend(planned);
        for deed in deeds.iter_mut().filter(|deed| !deed.way.before.is_empty()) {
            self.patch_before(deed)?;
        }
        let mut import = Import::new(&test, place, target.get(keys::IMPORTING));
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
        if let Err(trouble) = self.find_ids(&test, deeds, &import) {
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
            if known.state.is_some()
                && let Some(found) = looked.get(&message.finding.id)
            {
                seen = found.clone();
                id = seen.as_ref().map(|seen| seen.id);
            } else if let Some(seen) = &seen {
                id = Some(seen.id);
            }
            let missing = looked.get(&message.finding.id).is_some_and(Option::is_none);
            let before = Before {
                told: told.filter(|_| !missing),
                seen: seen.as_ref().map(|seen| (seen.status, seen.ours)),
                decided: message.known.as_ref().and_then(|known| known.decided.as_deref()),
            };
            let mut deed = Deed {
                message,
                // Another life's birth values are not known any more; without a row nothing has to match them.
                birth: known.birth.clone().filter(|_| !adopted),
                id,
                to,
                way: decide(before, to),
                is_shown: known.content == Some(message.content()),
                decided: known.decided.clone(),
                known,
                refused: None,
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

    fn patch_before(&mut self, deed: &mut Deed<'_>) -> Result<(), Trouble> {
        let Some(id) = deed.id else {
            deed.make_anew();
            return Ok(());
        };
        match self.calls.patch_finding(id, &deed.way.before)? {
            Patched::Done => deed.way.before = Map::new(),
            Patched::Missing => deed.make_anew(),
            Patched::Refused(why) => deed.refused = Some(why),
        }
        Ok(())
    }

    /// Sends the next row of each of these, in halves where the whole is not taken.
    fn import(
        &mut self,
        place: &Place,
        target: &mut Target,
        deeds: &mut [Deed<'_>],
        which: &[usize],
        import: &mut Import,
    ) -> Result<(), Trouble> {
        let rows: Vec<Value> = which.iter().map(|at| self.row(place, &deeds[*at])).collect();
        let why = match self.send(target, import, &rows)? {
            Taken::Yes => {
                for at in which {
                    deeds[*at].way.rows.pop_front();
                }
                return Ok(());
            }
            Taken::No(why) => why,
        };
        if let ([only], Some(sentence)) = (which, &why.refused) {
            deeds[*only].refused = Some(sentence.clone());
            return Ok(());
        }
        if let [only] = which {
            // Is it this row, or does the server take none?
            return match self.send(target, import, &[])? {
                Taken::Yes => {
                    let sentence = format!("DefectDojo cannot store this finding; its import breaks off: {}", why.text);
                    deeds[*only].refused = Some(sentence);
                    Ok(())
                }
                Taken::No(why) => {
                    Err(Trouble::later(format!("{} takes no imports for now: {}", self.calls.host(), why.text)))
                }
            };
        }
        let (first, second) = which.split_at(which.len() / 2);
        self.import(place, target, deeds, first, import)?;
        self.import(place, target, deeds, second, import)
    }

    fn row(&self, place: &Place, deed: &Deed<'_>) -> Value {
        let status = deed.way.rows.front().copied().unwrap_or(deed.to);
        let key = match deed.id {
            // The new key was handed over.
            Some(_) => &deed.message.finding.observed.key,
            None if deed.known.state.is_some() && deed.to == Status::Mitigated => &deed.known.key,
            None => &deed.message.finding.observed.key,
        };
        let of_now;
        let birth = match &deed.birth {
            Some(birth) => birth,
            None => {
                of_now = rows::birth(place, deed.message);
                &of_now
            }
        };
        rows::row(deed.message, birth, key.as_str(), status, self.verified_always)
    }

    /// One import, and whether it was taken.
    fn send(&mut self, target: &mut Target, import: &mut Import, rows: &[Value]) -> Result<Taken, Trouble> {
        if import.sent >= IMPORTS_MAX {
            return Err(Trouble::later(format!("{} refuses row after row", self.calls.host())));
        }
        let build_id = import.next_id();
        target.set(keys::IMPORTING, mark(&build_id, clock::now()));
        let taken = match self.calls.reimport(&import.form(&build_id), rows) {
            Sent::Done(imported) => {
                import.made = import.made.zip(imported.statistics.created()).map(|(all, new)| all + new);
                Taken::Yes
            }
            Sent::Broke(text) => {
                import.made = None;
                if self.calls.has_ended(&import.test, &build_id)? {
                    Taken::Yes
                } else {
                    Taken::No(Why { text, refused: None })
                }
            }
            Sent::Refused(text) => {
                let refused = Some(format!("DefectDojo refuses this finding: {text}"));
                Taken::No(Why { text, refused })
            }
            Sent::Not(trouble) => {
                target.0.remove(keys::IMPORTING);
                return Err(trouble);
            }
            Sent::Unknown(trouble) => return Err(trouble),
        };
        target.0.remove(keys::IMPORTING);
        Ok(taken)
    }

    /// Finds the ids of what was made.
    fn find_ids(&mut self, test: &str, deeds: &mut [Deed<'_>], import: &Import) -> Result<(), Trouble> {
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
                if let Some(seen) = found.get(deed.message.finding.observed.key.as_str()) {
                    deed.id = Some(seen.id);
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

    /// The findings that must be looked at before they are told, as far as they are there.
    fn look_at(
        &mut self,
        test: &str,
        batch: &[Message],
    ) -> Result<BTreeMap<crate::domain::ids::FindingId, Option<Seen>>, Trouble> {
        let (mut looked, mut by_id) = (BTreeMap::new(), BTreeMap::new());
        for message in batch {
            let Some(known) = &message.known else { continue };
            let to = self.status(message.state);
            let told = known.state.map(|state| self.status(state));
            let Some(told) = told else { continue };
            let changes = known.content != Some(message.content()) && to != Status::Mitigated;
            match known.id.as_deref().and_then(|id| id.parse::<u64>().ok()) {
                Some(id) if needs_look(Some(told), to) => {
                    by_id.insert(id, message.finding.id);
                }
                None if changes || known.key != message.finding.observed.key || needs_look(Some(told), to) => {
                    looked.insert(message.finding.id, self.find(test, known.key.as_str())?);
                }
                _ => {}
            }
        }
        let ids: Vec<u64> = by_id.keys().copied().collect();
        for some in ids.chunks(PAGE) {
            let list: Vec<String> = some.iter().map(u64::to_string).collect();
            let page = self.calls.findings(&format!("id={}&limit={}", list.join(","), some.len()))?;
            for row in &page.results {
                if let Some(finding) = by_id.get(&row.id) {
                    let seen = self.seen(row)?;
                    looked.insert(*finding, Some(seen));
                }
            }
            for id in some {
                looked.entry(by_id[id]).or_insert(None);
            }
        }
        Ok(looked)
    }

    /// The finding with exactly this key.
    fn find(&mut self, test: &str, key: &str) -> Result<Option<Seen>, Trouble> {
        let query = format!("test={test}&unique_id_from_tool={}&o=id&limit={PAGE}", encode(key));
        let page = self.calls.findings(&query)?;
        let row = page.results.iter().find(|row| row.unique_id_from_tool.as_deref() == Some(key));
        row.map(|row| self.seen(row)).transpose()
    }

    /// Reads a Test's findings by key: the newest, or all of them. Of two with one key the older counts, as it does in
    /// an import.
    fn read(&mut self, test: &str, newest: Option<usize>) -> Result<HashMap<String, Seen>, Trouble> {
        let mut all = HashMap::new();
        let most = newest.unwrap_or(usize::MAX);
        let mut read = 0;
        while read < most {
            let limit = (most - read).min(READ_PAGE);
            let page = self.calls.findings(&format!("test={test}&o=-id&limit={limit}&offset={read}"))?;
            for row in &page.results {
                if let Some(key) = row.unique_id_from_tool.clone() {
                    let seen = self.seen(row)?;
                    all.insert(key, seen);
                }
            }
            read += page.results.len();
            if page.next.is_none() || page.results.is_empty() {
                break;
            }
        }
        Ok(all)
    }

    /// Reads everything that a Test held before us, once.
    fn hold(&mut self, test: &str) -> Result<(), Trouble> {
        if self.held.as_ref().is_none_or(|(of, _)| of != test) {
            self.held = None;
            let all = self.read(test, None)?;
            self.held = Some((test.to_owned(), all));
        }
        Ok(())
    }

    fn seen(&mut self, row: &Row) -> Result<Seen, Trouble> {
        let by = row.mitigated_by.as_ref().and_then(wire::id);
        let ours = match by {
            Some(by) => by == self.me()?.id,
            None => false,
        };
        let status = Status::of(row.flags, self.verified_always);
        Ok(Seen { id: row.id, status, ours, visible: rows::digest(&row.visible()) })
    }
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

/// The imports of one push.
struct Import {
    test: String,
    fields: Vec<(&'static str, String)>,
    id: String,
    sent: usize,
    /// How many findings they made, as long as each of them says so.
    made: Option<u64>,
}

impl Import {
    fn new(test: &str, place: &Place, announced: Option<&str>) -> Self {
        let id = announced.and_then(|mark| mark.split(' ').next()).map(str::to_owned);
        let mut fields = vec![
            ("scan_type", SCAN_TYPE.to_owned()),
            ("test", test.to_owned()),
            // Nothing is closed by being absent.
            ("close_old_findings", "false".to_owned()),
            // With the answer everything is done.
            ("deduplication_execution_mode", "sync".to_owned()),
            // What is left out is wiped on the Test.
            ("branch_tag", rows::fit(place.branch.as_str(), TAG_MAX)),
        ];
        if let Some(at) = place.analysed_at {
            fields.push(("version", at.to_string()));
        }
        fields.retain(|(_, value)| !value.is_empty());
        let id = id.unwrap_or_else(|| to_hex(&random::bytes::<12>()));
        Self { test: test.to_owned(), fields, id, sent: 0, made: Some(0) }
    }

    /// What the server's history will know the next import by. The first has the announced one.
    fn next_id(&mut self) -> String {
        self.sent += 1;
        if self.sent == 1 { self.id.clone() } else { format!("{}.{}", self.id, self.sent) }
    }

    fn form(&self, build_id: &str) -> Vec<(&'static str, String)> {
        let mut form = self.fields.clone();
        form.push(("build_id", build_id.to_owned()));
        form
    }
}

enum Taken {
    Yes,
    No(Why),
}

/// Why a file was not taken.
struct Why {
    text: String,
    /// For a row that is alone in it, where that is enough to know.
    refused: Option<String>,
}

fn mark(build_id: &str, at: Timestamp) -> String {
    format!("{build_id} {}", at.0)
}

/// An import that may be under way is looked for again after this.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(5);

/// To find one bad row among 500 takes nine halvings.
const IMPORTS_MAX: usize = 100;

/// Findings looked at in one question.
const PAGE: usize = 100;

/// Findings that are read in one page; each is some kilobytes.
const READ_PAGE: usize = 500;

/// The newest that are read to find ids.
const READ_MAX: usize = 2000;

/// So many are asked for singly before a whole Test is read.
const SINGLY_MAX: usize = 10;

/// Of a branch's name the column takes so much.
const TAG_MAX: usize = 150;
