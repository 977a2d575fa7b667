//! Telling findings: what is new or changed is created or updated, then each issue is read back, and its status set
//! where that is due. Reading back ties Conviso's ids to Sonar's keys whatever order an answer has.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, Failed};
use super::documents::{BATCH, CHANGE_STATUS, CREATE_SAST, Mutation, SYNC_BEGIN, SYNC_END, UPSERT_SAST, UPSERT_SECRET};
use super::schema::{Route, Schema};
use super::status::{self, Step, WORDS};
use super::wire::{self, Address, Failure, Issue, id, id_value};
use crate::domain::destination::Mapping;
use crate::domain::finding::State;
use crate::domain::limits::{CONVISO_BATCH_MAX, CONVISO_PAGE};
use crate::domain::message::{Message, Place, Remote};
use crate::domain::time::Timestamp;
use crate::platform::{Told, Trouble};
use crate::sys::clock;

/// What is remembered between pushes.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Issues of an asset by Sonar's key, where the asset was there before this box knew it.
    issues: BTreeMap<String, HashMap<String, String>>,
    /// How many findings the server takes at once, where it refused more.
    batch_max: Option<usize>,
}

/// A message on its way.
pub(super) struct Item<'a> {
    pub(super) message: &'a Message,
    /// What became of it.
    pub(super) told: Option<Told>,
    /// Conviso's id.
    id: Option<String>,
    /// The issue that an update left behind, where the server made another one of it.
    superseded: Option<String>,
    /// Whether it has to be created or updated.
    upsert: bool,
}

impl<'a> Item<'a> {
    pub(super) fn new(message: &'a Message) -> Self {
        let told = message.known.as_ref().filter(|known| known.state.is_some() && known.id.is_some());
        let changed = told.is_none_or(|known| known.content != Some(message.content()));
        Self {
            message,
            told: None,
            id: message.known.as_ref().and_then(|known| known.id.clone()),
            superseded: None,
            // What is gone only changes its status.
            upsert: changed && !message.state.is_closed(),
        }
    }

    fn key(&self) -> &str {
        self.message.finding.observed.key.as_str()
    }

    fn known(&self) -> Option<&Remote> {
        self.message.known.as_ref()
    }

    /// Whether the platform was told exactly this before.
    fn is_settled(&self) -> bool {
        let is_told = |known: &Remote| known.state == Some(self.message.state) && known.telling.is_none();
        !self.upsert && self.id.is_some() && self.known().is_some_and(is_told)
    }

    fn remember(&mut self, place: &Place, decided: Option<String>) {
        let known = self.message.known.as_ref();
        // The content of what is gone was not told.
        let content = if self.message.state.is_closed() {
            known.and_then(|known| known.content)
        } else {
            Some(self.message.content())
        };
        self.told = Some(Told::Yes(Some(Box::new(Remote {
            scope: place.scope,
            id: self.id.clone(),
            key: self.message.finding.observed.key.clone(),
            state: Some(self.message.state),
            content,
            birth: None,
            decided,
            since: known.map_or_else(clock::now, |known| known.since),
            telling: None,
            unanswered: Vec::new(),
        }))));
    }
}

/// One push.
pub(super) struct Telling<'a> {
    pub(super) client: &'a mut Client,
    pub(super) memory: &'a mut Memory,
    pub(super) mapping: &'a Mapping,
    pub(super) place: &'a Place,
    pub(super) asset: &'a str,
    pub(super) branch: Option<&'a str>,
    /// Whether the asset was there before this box knew it.
    pub(super) existing: bool,
}

impl Telling<'_> {
    pub(super) fn tell(&mut self, items: &mut [Item<'_>]) -> Result<(), Trouble> {
        let schema = self.client.schema()?.clone();
        for item in items.iter_mut().filter(|item| item.is_settled()) {
            let decided = item.known().and_then(|known| known.decided.clone());
            item.remember(self.place, decided);
        }
        self.find_known(items)?;
        for item in items.iter_mut().filter(|item| item.told.is_none() && item.id.is_none() && !item.upsert) {
            // It came and went before the platform heard of it.
            item.told = Some(Told::Yes(None));
        }
        if items.iter().all(|item| item.told.is_some()) {
            return Ok(());
        }
        let sync = self.begin_sync(&schema, items);
        // What a page reads back at once is told before the next: trouble with one does not have all told again.
        let mut parts = items.chunks_mut(CONVISO_PAGE);
        let outcome = parts.try_for_each(|part| self.tell_all(&schema, part, sync.as_deref()));
        if let Some(sync) = sync {
            self.end_sync(&schema, &sync, items);
        }
        outcome
    }

    fn tell_all(&mut self, schema: &Schema, items: &mut [Item<'_>], sync: Option<&str>) -> Result<(), Trouble> {
        let made = self.upsert_all(schema, items, sync)?;
        let mut ids: BTreeSet<String> = made.into_iter().collect();
        let waiting = items.iter().filter(|item| item.told.is_none());
        ids.extend(waiting.flat_map(|item| [&item.id, &item.superseded]).flatten().cloned());
        let ids: Vec<String> = ids.into_iter().collect();
        let mut read = Vec::with_capacity(ids.len());
        for part in ids.chunks(CONVISO_PAGE) {
            read.extend(self.client.issues_by_id(part)?);
        }
        for item in items.iter_mut().filter(|item| item.told.is_none()) {
            self.settle(schema, item, &read, sync)?;
        }
        Ok(())
    }

    /// Looks up what may be there without our knowing: after a lost answer, or a lost database.
    fn find_known(&mut self, items: &mut [Item<'_>]) -> Result<(), Trouble> {
        let lost = |item: &Item<'_>| item.told.is_none() && item.id.is_none();
        if !items.iter().any(lost) {
            return Ok(());
        }
        if self.existing && !self.memory.issues.contains_key(self.asset) {
            let all = self.read_issues(None)?;
            self.memory.issues.insert(self.asset.to_owned(), all);
        }
        if let Some(issues) = self.memory.issues.get(self.asset) {
            for item in items.iter_mut().filter(|item| lost(item)) {
                item.id = issues.get(item.key()).cloned();
            }
        }
        // Intended, but the answer was lost.
        let since = items.iter().filter(|item| lost(item)).filter_map(|item| Some(item.known()?.since)).min();
        if let Some(since) = since {
            let recent = self.read_issues(Some(since.minus(CLOCK_ALLOWANCE)))?;
            for item in items.iter_mut().filter(|item| lost(item)) {
                item.id = recent.get(item.key()).cloned();
            }
        }
        Ok(())
    }

    /// Issues of the asset by Sonar's key, all or those made since a time.
    fn read_issues(&mut self, since: Option<Timestamp>) -> Result<HashMap<String, String>, Trouble> {
        let mut found = HashMap::new();
        let sort = if since.is_some() { ("CREATED_AT", "DESC") } else { ("ID", "ASC") };
        self.client.each_issue(&json!({ "assetIds": [id_value(self.asset)] }), sort, |issue| {
            if since.is_some_and(|since| issue.created_at.is_some_and(|at| at < since)) {
                return false;
            }
            if let Some(key) = issue.key {
                found.entry(key).or_insert(issue.id);
            }
            true
        })?;
        Ok(found)
    }

    /// Creates or updates what is due; the ids that the server told.
    fn upsert_all(
        &mut self,
        schema: &Schema,
        items: &mut [Item<'_>],
        sync: Option<&str>,
    ) -> Result<Vec<String>, Trouble> {
        let due: Vec<usize> = (0..items.len()).filter(|&at| items[at].told.is_none() && items[at].upsert).collect();
        let Some(route) = schema.route() else {
            if due.is_empty() {
                return Ok(Vec::new());
            }
            return Err(Trouble::refused(
                "this account's API has no operation that takes findings",
                "ask Conviso to enable it for the company, and see what `check` says",
            ));
        };
        let mut ids = Vec::new();
        // Findings that the server did not even look at, and what it says.
        let mut invalid: Vec<usize> = Vec::new();
        let mut rest: Vec<Vec<usize>> =
            due.chunks(self.memory.batch_max.unwrap_or(CONVISO_BATCH_MAX)).map(<[_]>::to_vec).rev().collect();
        while let Some(part) = rest.pop() {
            let inputs: Vec<(bool, Value)> =
                part.iter().map(|&at| self.input(schema, route, items[at].message, sync)).collect();
            if route == Route::Batch {
                let findings: Vec<&Value> = inputs.iter().map(|(_, input)| input).collect();
                match self.client.mutate(BATCH, &json!({ "findings": findings })) {
                    Ok(answer) => self.read_batch(&answer, &part, items, &mut ids)?,
                    Err(Failed::Refused { failure, invalid: unread }) if part.len() == 1 => {
                        invalid.extend(part.iter().filter(|_| unread));
                        self.refuse(&mut items[part[0]], &failure)?;
                    }
                    // One of them is bad, or they are too many: halves tell which.
                    Err(Failed::Refused { failure, .. }) => {
                        if failure.message.to_ascii_lowercase().contains("too many") {
                            self.memory.batch_max = Some(part.len().div_ceil(2));
                        }
                        let (first, second) = part.split_at(part.len() / 2);
                        rest.push(second.to_vec());
                        rest.push(first.to_vec());
                    }
                    Err(Failed::Trouble(trouble)) => return Err(trouble),
                }
                continue;
            }
            for (&at, (secret, input)) in part.iter().zip(&inputs) {
                let mutation = single(route, *secret);
                match self.client.mutate(mutation, input) {
                    Ok(answer) => match id(&answer["issue"]["id"]) {
                        Some(id) => take_id(&mut items[at], &id),
                        None => return Err(Trouble::later("Conviso took a finding and did not say its id")),
                    },
                    Err(Failed::Refused { failure, invalid: unread }) => {
                        invalid.extend(Some(at).filter(|_| unread));
                        self.refuse(&mut items[at], &failure)?;
                    }
                    Err(Failed::Trouble(trouble)) => return Err(trouble),
                }
            }
        }
        // Not one of several was even looked at: it is not the findings that are bad, but the form that they are told in.
        if invalid.len() > 1 && invalid.len() == due.len() {
            let said = items[invalid[0]].told.take();
            for at in invalid {
                items[at].told = None;
            }
            self.client.forget_schema();
            let Some(Told::Refused(why)) = said else { return Ok(ids) };
            return Err(Trouble::refused(why, "its API may have changed; see what `check` says, and report it"));
        }
        Ok(ids)
    }

    /// A finding as the input of a route, and whether it is told as a secret.
    fn input(&self, schema: &Schema, route: Route, message: &Message, sync: Option<&str>) -> (bool, Value) {
        let to = Address { asset: self.asset, branch: self.branch, sync };
        let members = |secret| schema.finding_members(route, secret);
        let secret = wire::is_secret(message) && members(true).is_some();
        let finding = members(secret).map_or(Value::Null, |members| wire::finding(self.place, message, to, members));
        if route != Route::Batch {
            return (secret, finding);
        }
        let mut element = json!({ if secret { "secret" } else { "sast" }: finding });
        if schema.takes(super::schema::BATCH_FINDING, "assetId") {
            element["assetId"] = id_value(self.asset);
        }
        (secret, element)
    }

    fn read_batch(
        &mut self,
        answer: &Value,
        part: &[usize],
        items: &mut [Item<'_>],
        ids: &mut Vec<String>,
    ) -> Result<(), Trouble> {
        for error in answer["findingErrors"].as_array().into_iter().flatten() {
            let index = error["index"].as_u64().and_then(|index| usize::try_from(index).ok());
            if let Some(&at) = index.and_then(|index| part.get(index)) {
                self.refuse(&mut items[at], &Failure::from(error.clone()))?;
            }
        }
        let issues: Vec<Option<String>> =
            answer["issues"].as_array().into_iter().flatten().map(|issue| id(&issue["id"])).collect();
        // Where each finding of the batch has its place in the answer, refused ones being null or left out, the order
        // is a hint; what is read back decides.
        let taken: Vec<usize> = part.iter().copied().filter(|&at| items[at].told.is_none()).collect();
        if issues.len() == part.len() {
            for (&at, id) in part.iter().zip(&issues) {
                if let (Some(id), None) = (id, &items[at].told) {
                    take_id(&mut items[at], id);
                }
            }
        } else if issues.len() == taken.len() {
            for (&at, id) in taken.iter().zip(issues.iter().flatten()) {
                take_id(&mut items[at], id);
            }
        }
        ids.extend(issues.into_iter().flatten());
        Ok(())
    }

    /// A finding that the server refuses: known already, or bad, or its asset is gone.
    fn refuse(&mut self, item: &mut Item<'_>, failure: &Failure) -> Result<(), Trouble> {
        let Failure { message, code } = failure;
        if code.contains("RECORD_NOT_UNIQUE") {
            let all = self.read_issues(None)?;
            if let Some(id) = all.get(item.key()) {
                item.id = Some(id.clone());
                return Ok(());
            }
        }
        let lower = message.to_ascii_lowercase();
        if code.contains("NOT_FOUND") && (lower.contains("asset") || code.contains("ASSET")) {
            return Err(Trouble::target(
                format!("Conviso no longer has the asset {}: {message}", self.asset),
                "it is looked for again by its name, and made if there is none",
            ));
        }
        item.told = Some(Told::Refused(format!("Conviso refuses this finding: {message}")));
        Ok(())
    }

    /// Sets the status of an issue that was read back, and notes what is to be remembered.
    fn settle(
        &mut self,
        schema: &Schema,
        item: &mut Item<'_>,
        read: &[Issue],
        sync: Option<&str>,
    ) -> Result<(), Trouble> {
        let key = item.key().to_owned();
        let own = |issue: &&Issue| issue.key.as_deref().is_none_or(|one| one == key);
        let by_key = |exact: &str| read.iter().find(|issue| issue.key.as_deref() == Some(exact));
        let issue = match &item.id {
            Some(id) => read.iter().find(|issue| issue.id == *id).filter(own).or_else(|| by_key(&key)),
            None => by_key(&key),
        };
        let Some(issue) = issue else {
            if item.message.state.is_closed() {
                item.remember(self.place, None);
                return Ok(());
            }
            if item.upsert && read.iter().any(|issue| Some(&issue.id) == item.id.as_ref()) {
                // It was taken, and stands there under another finding's key: the server holds both for one.
                item.remember(self.place, None);
                return Ok(());
            }
            if item.id.take().is_some() && !item.upsert {
                // Somebody deleted it there.
                item.upsert = true;
                self.upsert_all(schema, std::slice::from_mut(item), sync)?;
                if item.told.is_none() && item.id.is_some() {
                    let read = self.client.issues_by_id(&[item.id.clone().unwrap_or_default()])?;
                    return self.settle(schema, item, &read, sync);
                }
            }
            return match item.told {
                Some(_) => Ok(()),
                None => Err(Trouble::later("Conviso took findings and does not show them yet")),
            };
        };
        item.id = Some(issue.id.clone());
        // An update that made another issue leaves one behind, which nobody would ever close.
        if let Some(old) = item.superseded.take().filter(|old| *old != issue.id) {
            let left = read.iter().find(|issue| issue.id == old && issue.key.as_deref() == Some(&key));
            if let Some(left) = left {
                let _ = self.change(schema, left, State::Removed, false, sync)?;
            }
        }
        let word_of = |state| self.mapping.word(state, WORDS);
        let ours = status::is_ours(issue, item.known(), word_of);
        match self.change(schema, issue, item.message.state, ours, sync)? {
            Ok(decided) => item.remember(self.place, decided),
            Err(why) => item.told = Some(Told::Refused(why)),
        }
        Ok(())
    }

    /// Brings an issue to the word for a state; which decision of a person stands there, or why it cannot be.
    fn change(
        &mut self,
        schema: &Schema,
        issue: &Issue,
        state: State,
        mut ours: bool,
        sync: Option<&str>,
    ) -> Result<Result<Option<String>, String>, Trouble> {
        let Some(wanted) = self.mapping.word(state, WORDS) else { return Ok(Ok(None)) };
        let mut issue = issue.clone();
        let mut written = false;
        // At most: to an intermediate status, then to the wanted one.
        for _ in 0..3 {
            let (next, last) = match status::step(&issue, state, &wanted, ours) {
                Step::Stay if !written && !ours && status::is_decision(&issue.status) => {
                    return Ok(Ok(Some(issue.status)));
                }
                Step::Stay => return Ok(Ok(None)),
                Step::Decided => return Ok(Ok(Some(issue.status))),
                Step::Forbidden => break,
                Step::Change(next) => (next, true),
                Step::Through(next) => (next, false),
            };
            let mut input = json!({
                "id": id_value(&issue.id), "status": next, "reason": status::reason(state),
            });
            if let Some(sync) = sync.filter(|_| schema.takes(CHANGE_STATUS.name, "controlSyncStatusId")) {
                input["controlSyncStatusId"] = id_value(sync);
            }
            match self.client.mutate(CHANGE_STATUS, &input) {
                Ok(_) if last => return Ok(Ok(None)),
                Ok(_) => {
                    (written, ours) = (true, true);
                    match self.client.issues_by_id(std::slice::from_ref(&issue.id))?.into_iter().next() {
                        Some(now) => issue = now,
                        None => return Ok(Ok(None)),
                    }
                }
                Err(Failed::Refused { failure, .. }) => {
                    let Issue { id, status, .. } = &issue;
                    let why = &failure.message;
                    return Ok(Err(format!("Conviso refuses to change issue {id} from {status} to {next}: {why}")));
                }
                Err(Failed::Trouble(trouble)) => return Err(trouble),
            }
        }
        let permitted = issue.permitted.unwrap_or_default().join(", ");
        let permitted = if permitted.is_empty() { "nothing" } else { &permitted };
        let Issue { id, status, .. } = issue;
        Ok(Err(format!("Conviso does not let issue {id} go from {status} to {wanted}; it permits {permitted}")))
    }

    /// Begins what Conviso shows as one sync. It is a courtesy: whatever stands in its way, findings are told without;
    /// if it stands in the way of those, too, they say so.
    fn begin_sync(&mut self, schema: &Schema, items: &[Item<'_>]) -> Option<String> {
        if !schema.has(SYNC_BEGIN) || !schema.has(SYNC_END) {
            return None;
        }
        let count = items.iter().filter(|item| item.told.is_none()).count();
        let mut input = json!({
            "assetId": id_value(self.asset), "integration": schema.integration().0, "externalVulnerabilityCount": count,
        });
        if let Some(branch) = self.branch.filter(|_| schema.takes(SYNC_BEGIN.name, "branchName")) {
            input["branchName"] = Value::from(branch);
        }
        let answer = self.client.mutate(SYNC_BEGIN, &input).ok()?;
        id(&answer["controlSyncStatus"]["id"])
    }

    fn end_sync(&mut self, schema: &Schema, sync: &str, items: &[Item<'_>]) {
        let refused = || {
            items.iter().filter_map(|item| match &item.told {
                Some(Told::Refused(why)) => Some(why.as_str()),
                _ => None,
            })
        };
        let failed = refused().count() + items.iter().filter(|item| item.told.is_none()).count();
        let mut input = json!({
            "controlSyncStatusId": id_value(sync), "assetId": id_value(self.asset),
            "successCount": items.len() - failed, "failureCount": failed, "integration": schema.integration().0,
        });
        if let Some(why) = refused().next() {
            input["failureReason"] = Value::from(why);
        }
        // What was told is told; the count is not worth telling it again.
        let _ = self.client.mutate(SYNC_END, &input);
    }
}

fn single(route: Route, secret: bool) -> Mutation {
    match (route, secret) {
        (Route::CreateOnly, _) => CREATE_SAST,
        (_, true) => UPSERT_SECRET,
        (_, false) => UPSERT_SAST,
    }
}

fn take_id(item: &mut Item<'_>, id: &str) {
    if let Some(old) = item.id.replace(id.to_owned()).filter(|old| old != id) {
        item.superseded = Some(old);
    }
}

/// How far Conviso's clock and this box's may differ where an issue is looked for by its time.
const CLOCK_ALLOWANCE: Duration = Duration::from_hours(24);
