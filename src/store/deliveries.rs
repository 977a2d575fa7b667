//! Inbox and log of webhook calls. A delivery is one appended record; how it was settled is a small record beside
//! it, so that a body is never written twice.

use redb::ReadableTable;

use super::records::{Delivery, Settlement};
use super::tables::{self, Key};
use super::{Batch, Readable, StoreError, View, catalogue, codec, get, get_in, keys, scan, scan_after, secrets};
use crate::domain::delivery::{Identity, Outcome, Payload, ScopeRef};
use crate::domain::finding::Digest;
use crate::domain::ids::{DeliveryId, OrganizationRef, ProjectId, ProjectKey};
use crate::domain::limits::{self, BODIES_PER_COMMIT_MAX, DELIVERIES_LOOKED_AT_MAX};
use crate::domain::schedule::{Reason, Task};
use crate::domain::time::Timestamp;

/// The record with its body opened. One that cannot be is shown as sealed, without it.
fn opened(view: &impl View, key: &Key, record: Delivery) -> Result<Delivery, StoreError> {
    if !record.sealed {
        return Ok(record);
    }
    match secrets::open_body(view, key, &record.body) {
        Ok(Some(body)) => Ok(Delivery { body, sealed: false, ..record }),
        Ok(None) | Err(StoreError::Locked(_)) => Ok(Delivery { body: Vec::new(), ..record }),
        Err(error) => Err(error),
    }
}

/// Seals some bodies with the present key that the former one sealed, from after a key; the last one that was looked at, or
/// nothing when all were.
pub(super) fn seal_again(batch: &Batch, after: Option<&[u8]>) -> Result<Option<Vec<u8>>, StoreError> {
    let mut last = None;
    let after = after.map(|after| Key(after.to_vec()));
    let (mut looked_at, mut found) = (0, Vec::new());
    scan_after::<Delivery>(batch, tables::DELIVERIES, &Key::new(), after.as_ref(), |key, delivery| {
        last = Some(key.to_vec());
        looked_at += 1;
        if delivery.sealed {
            found.push((Key(key.to_vec()), delivery));
        }
        found.len() < BODIES_PER_COMMIT_MAX && looked_at < DELIVERIES_LOOKED_AT_MAX && !batch.is_over()
    })?;
    for (key, delivery) in found {
        if let Some(body) = secrets::body_sealed_again(batch, &key, &delivery.body)? {
            batch.put(tables::DELIVERIES, &key, &Delivery { body, ..delivery })?;
        }
    }
    Ok(last)
}

fn log_bytes_key() -> Key {
    Key::new().tail(b"delivery log bytes")
}

/// Bytes that the records of the log take.
pub(super) fn log_bytes(view: &impl View) -> Result<u64, StoreError> {
    Ok(passing_over(get(view, tables::META, &log_bytes_key()))?.unwrap_or(0))
}

pub(super) fn set_log_bytes(batch: &Batch, bytes: u64) -> Result<(), StoreError> {
    batch.put(tables::META, &log_bytes_key(), &bytes)
}

/// A damaged value that only helps to decide must not keep a delivery from being stored: the worst that follows
/// is another look at Sonar.
pub(super) fn passing_over<T>(found: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Err(StoreError::Damaged { .. }) => Ok(None),
        other => other,
    }
}

/// A call, as others are the same as it.
pub(super) struct Call {
    pub(super) key: Key,
    identity: Identity,
}

impl Call {
    pub(super) fn of(organization: &OrganizationRef, payload: &Payload, body: &[u8]) -> Self {
        let identity = payload.identity(body);
        let organization = Key::new().name(organization.source.as_str()).name(organization.key.as_str());
        Self { key: call_key(&organization.0, payload.task.as_deref(), &identity.digest.0), identity }
    }

    /// The delivery that was the same call, if one is in the log.
    pub(super) fn former(
        &self,
        calls: &impl Readable,
        log: &impl Readable,
        now: Timestamp,
    ) -> Result<Option<DeliveryId>, StoreError> {
        let Some(id) = passing_over(get_in::<u64>(calls, &self.key))?.map(DeliveryId) else { return Ok(None) };
        let Some(former) = passing_over(get_in::<Delivery>(log, &Key::new().u64(id.0)))? else { return Ok(None) };
        let same = self.identity.lasting || now.since(former.received_at) <= limits::SAME_BODY_WINDOW;
        Ok(same.then_some(id))
    }
}

/// What an organization's calls are found by. The names of SonarQube's tasks begin with the time, so that calls which come
/// one after the other stand beside each other, and those of one commit change a page or two instead of one each.
fn call_key(organization: &[u8], task: Option<&str>, digest: &[u8]) -> Key {
    let mut order = [0; TASK_LENGTH];
    order.iter_mut().zip(task.unwrap_or_default().bytes()).for_each(|(at, byte)| *at = byte);
    Key::new().tail(organization).tail(&order).tail(digest)
}

/// Bytes of a task's name, of which the first eight are the time. Longer ones are told apart by the digest.
const TASK_LENGTH: usize = 20;

const DIGEST_LENGTH: usize = size_of::<Digest>();

/// Gives the calls that stood in the order of their digests the one that they have now.
pub(super) fn order_calls(batch: &Batch) -> Result<(), StoreError> {
    let (mut calls, log) = (batch.rows(tables::CALLS)?, batch.rows(tables::DELIVERIES)?);
    let (mut former, mut ordered): (Vec<Vec<u8>>, Vec<(Key, u64)>) = Default::default();
    for row in calls.iter()? {
        let (key, value) = row?;
        former.push(key.value().to_vec());
        // What is not to be read any more says of no call that it came before, in either order.
        let Ok(id) = codec::open::<u64>(key.value(), value.value()) else { continue };
        let Some(delivery) = passing_over(get_in::<Delivery>(&log, &Key::new().u64(id)))? else { continue };
        let Some((organization, digest)) = key.value().split_last_chunk::<DIGEST_LENGTH>() else { continue };
        ordered.push((call_key(organization, delivery.task.as_deref(), digest), id));
    }
    for key in former {
        calls.remove(key.as_slice())?;
    }
    for (key, id) in ordered {
        calls.insert(key.0.as_slice(), codec::seal(&key.0, &id).as_slice())?;
    }
    Ok(())
}

/// Whether the same call is in the log already.
pub fn is_known(
    view: &impl View,
    organization: &OrganizationRef,
    payload: &Payload,
    body: &[u8],
    now: Timestamp,
) -> Result<bool, StoreError> {
    let call = Call::of(organization, payload, body);
    Ok(call.former(&view.rows(tables::CALLS)?, &view.rows(tables::DELIVERIES)?, now)?.is_some())
}

/// Deliveries that were taken from Sonar's log, because they never arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healed {
    /// How many.
    pub count: usize,
    /// When the first of them was taken in.
    pub since: Timestamp,
    /// How the newest of them had failed.
    pub how: String,
}

/// What never arrived and was taken in since a time, if anything; at most a thousand are counted. Beside the log, as
/// this is asked for often, and the log is long.
pub fn healed_since(view: &impl View, since: Timestamp) -> Result<Option<Healed>, StoreError> {
    let rows = view.rows(tables::META)?;
    let prefix = Key::new().tail(HEALED);
    let end = prefix.end().unwrap_or_default();
    let mut found: Option<Healed> = None;
    for row in rows.range::<&[u8]>(prefix.0.as_slice()..end.as_slice())?.rev().take(HEALED_MAX) {
        let (key, value) = row?;
        let Ok(at) = codec::open::<u64>(key.value(), value.value()) else { continue };
        let at = Timestamp(at.cast_signed());
        if at < since {
            break;
        }
        if let Some(found) = &mut found {
            (found.count, found.since) = (found.count + 1, at);
            continue;
        }
        let newest = tables::u64_at(key.value(), HEALED.len()).map(|id| Key::new().u64(id));
        let newest = newest.map(|key| passing_over(get::<Delivery>(view, tables::DELIVERIES, &key))).transpose()?;
        let how = newest.flatten().and_then(|delivery| delivery.healed).unwrap_or_default();
        found = Some(Healed { count: 1, since: at, how });
    }
    Ok(found)
}

pub(super) fn healed_key(id: u64) -> Key {
    Key::new().tail(HEALED).u64(id)
}

const HEALED: &[u8] = b"healed delivery ";

/// See [`healed_since`].
const HEALED_MAX: usize = 1000;

/// A delivery and how it was settled.
pub fn show(view: &impl View, id: DeliveryId) -> Result<Option<(Delivery, Option<Settlement>)>, StoreError> {
    let key = Key::new().u64(id.0);
    let Some(delivery) = get(view, tables::DELIVERIES, &key)? else { return Ok(None) };
    Ok(Some((opened(view, &key, delivery)?, get(view, tables::SETTLEMENTS, &key)?)))
}

/// What was sent with a delivery, and whether it is sealed and cannot be opened now. That of the same call again is kept with
/// its first delivery.
pub fn body(view: &impl View, delivery: &Delivery) -> Result<(Vec<u8>, bool), StoreError> {
    match delivery.duplicate_of {
        Some(first) => Ok(show(view, first)?.map(|(first, _)| (first.body, first.sealed)).unwrap_or_default()),
        None => Ok((delivery.body.clone(), delivery.sealed)),
    }
}

/// Deliveries before a number, newest first, at most so many.
pub fn list(
    view: &impl View,
    before: Option<DeliveryId>,
    most: usize,
) -> Result<Vec<(DeliveryId, Delivery, Option<Settlement>)>, StoreError> {
    let rows = view.rows(tables::DELIVERIES)?;
    let end = Key::new().u64(before.map_or(u64::MAX, |before| before.0));
    let mut found = Vec::new();
    for row in rows.range::<&[u8]>(..end.0.as_slice())?.rev() {
        if found.len() >= most {
            break;
        }
        let (key, value) = row?;
        let Some(id) = tables::u64_at(key.value(), 0) else { continue };
        // One damaged record must not hide the others.
        let Ok(delivery) = codec::open::<Delivery>(key.value(), value.value()) else { continue };
        let settlement = passing_over(get(view, tables::SETTLEMENTS, &Key::new().u64(id)))?;
        // Nobody lists bodies, and a page of them may be large.
        found.push((DeliveryId(id), Delivery { body: Vec::new(), ..delivery }, settlement));
    }
    Ok(found)
}

/// The newest test of an organization's webhook with this mark, if it arrived; among what came since it was sent.
pub fn test_arrived(
    view: &impl View,
    organization: &OrganizationRef,
    mark: &str,
    sent_at: Timestamp,
) -> Result<Option<DeliveryId>, StoreError> {
    let is_it = |delivery: &Delivery| {
        delivery.outcome == Outcome::Test
            && delivery.organization == *organization
            && delivery.task.as_deref() == Some(mark)
    };
    let mut before = None;
    loop {
        let newest = list(view, before, 100)?;
        if let Some((id, ..)) = newest.iter().find(|(_, delivery, _)| is_it(delivery)) {
            return Ok(Some(*id));
        }
        match newest.last() {
            Some((id, delivery, _)) if delivery.received_at >= sent_at => before = Some(*id),
            _ => return Ok(None),
        }
    }
}

/// When Sonar last called for an organization, or for one project of it; among the newest thousand. Neither what this
/// box sent itself nor what was taken from Sonar's log says that Sonar reaches it.
pub fn last_received(
    view: &impl View,
    organization: &OrganizationRef,
    project: Option<&ProjectKey>,
) -> Result<Option<Timestamp>, StoreError> {
    Ok(list(view, None, 1000)?
        .into_iter()
        .find(|(_, delivery, _)| {
            delivery.organization == *organization
                && delivery.replay_of.is_none()
                && delivery.healed.is_none()
                && delivery.outcome != Outcome::Test
                && project.is_none_or(|project| delivery.project.as_ref() == Some(project))
        })
        .map(|(_, delivery, _)| delivery.received_at))
}

/// Deliveries of a project that wait for a read, with the scope that each speaks of.
pub fn pending(view: &impl View, project: ProjectId) -> Result<Vec<(DeliveryId, ScopeRef)>, StoreError> {
    let mut found = Vec::new();
    scan::<ScopeRef>(view, tables::PENDING, &Key::new().u32(project.0), |key, scope| {
        if let Some(id) = tables::u64_at(key, 4) {
            found.push((DeliveryId(id), scope));
        }
        true
    })?;
    Ok(found)
}

/// Deliveries that wait for a read, the oldest first, with the project of each; at most so many after a number.
pub fn waiting(view: &impl View, after: u64, most: usize) -> Result<Vec<(DeliveryId, ProjectId)>, StoreError> {
    let mut found = Vec::new();
    for row in view.rows(tables::PENDING)?.iter()? {
        let (key, _) = row?;
        let numbers = tables::u32_at(key.value(), 0).zip(tables::u64_at(key.value(), 4));
        found.extend(numbers.filter(|(_, id)| *id > after).map(|(project, id)| (DeliveryId(id), ProjectId(project))));
    }
    found.sort_unstable();
    found.truncate(most);
    Ok(found)
}

/// What calls wait under that came to a box which stands by, and whose project its copy does not have or choose.
pub(super) const UNPLACED: ProjectId = ProjectId(0);

/// Finds the places of such calls in what is held now, as this box is to read them itself.
pub(super) fn place_again(batch: &Batch, now: Timestamp, ticket: u64) -> Result<(), StoreError> {
    for (id, scope) in pending(batch, UNPLACED)? {
        let key = Key::new().u64(id.0);
        let known = passing_over(get::<Delivery>(batch, tables::DELIVERIES, &key))?;
        let named = known.and_then(|one| Some((one.organization, one.project?)));
        let project = match named {
            Some((organization, project)) => catalogue::project_id(batch, &organization, &project)?,
            None => None,
        };
        let Some(project) = project else {
            settle(batch, UNPLACED, [id], Outcome::NotImported, now)?;
            continue;
        };
        batch.delete(tables::PENDING, &Key::new().u32(UNPLACED.0).u64(id.0))?;
        batch.put(tables::PENDING, &Key::new().u32(project.0).u64(id.0), &scope)?;
        super::agenda::ask(batch, Task::Discover(project), Reason::Webhook, now, ticket)?;
    }
    Ok(())
}

/// The first delivery that was received since a time, or the next one where none was.
pub fn first_since(view: &impl View, since: Timestamp) -> Result<DeliveryId, StoreError> {
    let (mut first, mut older) = (None, 0);
    for row in view.rows(tables::DELIVERIES)?.iter()?.rev() {
        let (key, value) = row?;
        let Some(id) = tables::u64_at(key.value(), 0) else { continue };
        let after = *first.get_or_insert(id + 1);
        match codec::open::<Delivery>(key.value(), value.value()) {
            // Those that another box handed over came there before they came here.
            Ok(delivery) if delivery.received_at < since => older += 1,
            _ => (first, older) = (Some(after.min(id)), 0),
        }
        if older > OLDER_MAX {
            break;
        }
    }
    Ok(DeliveryId(first.unwrap_or(0)))
}

/// So many older ones are looked at before it is believed that none that is newer lies before them.
const OLDER_MAX: usize = 300;

/// Has calls from a number on wait again, so that they are handed over: what this box made of them is given up for what
/// another one holds, which may not have heard of them. How many.
pub(super) fn wait_again(batch: &Batch, from: DeliveryId) -> Result<usize, StoreError> {
    let (mut again, from) = (Vec::new(), Key::new().u64(from.0));
    for row in batch.rows(tables::DELIVERIES)?.range::<&[u8]>(from.0.as_slice()..)? {
        let (key, value) = row?;
        let Some(id) = tables::u64_at(key.value(), 0) else { continue };
        let Ok(Delivery { outcome, scope: Some(scope), .. }) = codec::open(key.value(), value.value()) else {
            continue;
        };
        let is_for_reading = matches!(outcome, Outcome::Queued | Outcome::NotImported | Outcome::NotSelected);
        let is_done = match get::<Settlement>(batch, tables::SETTLEMENTS, &Key::new().u64(id)) {
            Err(StoreError::Damaged { .. }) => true,
            settled => match settled? {
                Some(settled) => settled.outcome != Outcome::HandedOver,
                // What is queued waits still.
                None => outcome != Outcome::Queued,
            },
        };
        if is_for_reading && is_done {
            again.push((id, scope));
        }
    }
    for (id, scope) in &again {
        batch.delete(tables::SETTLEMENTS, &Key::new().u64(*id))?;
        batch.put(tables::PENDING, &Key::new().u32(UNPLACED.0).u64(*id), scope)?;
    }
    Ok(again.len())
}

/// Settles the deliveries up to a number that wait, as another box has taken them over, or nobody will; whatever was to be read
/// because of them is not this box's to read.
pub fn end_waiting(batch: &Batch, up_to: u64, outcome: Outcome, now: Timestamp) -> Result<(), StoreError> {
    let mut is_rest = false;
    for (id, project) in waiting(batch, 0, usize::MAX)? {
        if id.0 > up_to {
            is_rest = true;
        } else if super::has(batch, tables::DELIVERIES, &Key::new().u64(id.0))? {
            settle(batch, project, [id], outcome, now)?;
        } else {
            batch.delete(tables::PENDING, &Key::new().u32(project.0).u64(id.0))?;
        }
    }
    if is_rest { Ok(()) } else { super::agenda::clear(batch) }
}

/// A delivery with what was sent; nothing of one that is not there any more or is damaged.
pub fn whole(view: &impl View, id: DeliveryId) -> Result<Option<(Delivery, Vec<u8>)>, StoreError> {
    let Some((delivery, _)) = passing_over(show(view, id))? else { return Ok(None) };
    match body(view, &delivery) {
        Err(StoreError::Damaged { .. }) => Ok(None),
        found => Ok(Some((delivery, found?.0))),
    }
}

/// Whether a delivery still waits for a read.
pub fn is_pending(view: &impl View, project: ProjectId, id: DeliveryId) -> Result<bool, StoreError> {
    super::has(view, tables::PENDING, &Key::new().u32(project.0).u64(id.0))
}

/// Settles the deliveries that wait for a task which cannot be done, as many as one batch may; returns whether some
/// are left.
pub fn give_up(batch: &Batch, id: ProjectId, task: Task, now: Timestamp) -> Result<bool, StoreError> {
    let Some(project) = catalogue::project(batch, id)? else { return Ok(false) };
    let mut waiting = Vec::new();
    for (delivery, scope) in pending(batch, id)? {
        let waits = match task {
            Task::Discover(_) => true,
            Task::Sync(wanted) => catalogue::scope_id(batch, id, &project, &scope)? == Some(wanted),
        };
        if waits {
            waiting.push(delivery);
        }
    }
    let left = waiting.len() > limits::DELETIONS_PER_COMMIT_MAX;
    waiting.truncate(limits::DELETIONS_PER_COMMIT_MAX);
    settle(batch, id, waiting, Outcome::Dropped, now)?;
    Ok(left)
}

/// Settles queued deliveries of a project.
pub fn settle(
    batch: &Batch,
    project: ProjectId,
    deliveries: impl IntoIterator<Item = DeliveryId>,
    outcome: Outcome,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (mut settlements, mut pending) = (batch.rows(tables::SETTLEMENTS)?, batch.rows(tables::PENDING)?);
    for id in deliveries {
        let key = Key::new().u64(id.0);
        settlements.insert(&key.0, &codec::seal(&key.0, &Settlement { outcome, at }))?;
        pending.remove(&Key::new().u32(project.0).u64(id.0).0)?;
    }
    Ok(())
}

/// Whether the log holds deliveries that arrived before a time, or more bytes than it may.
pub fn is_overfull(view: &impl View, before: Timestamp) -> Result<bool, StoreError> {
    let mut older = false;
    scan::<Delivery>(view, tables::DELIVERIES, &Key::new(), |_, delivery| {
        older = delivery.received_at < before;
        false
    })?;
    Ok(older || log_bytes(view)? > limits::DELIVERY_LOG_BYTES_MAX)
}

/// Since when the log is whole: of what came before, some was deleted. Nothing while nothing was.
pub fn whole_since(view: &impl View) -> Result<Option<Timestamp>, StoreError> {
    if let Some(pruned) = passing_over(get::<u64>(view, tables::META, &pruned_key()))? {
        return Ok(Some(Timestamp(pruned.cast_signed())));
    }
    // Where that was not noted, the first number tells that something was deleted, and its time until when.
    let mut first = None;
    scan::<Delivery>(view, tables::DELIVERIES, &Key::new(), |key, delivery| {
        first = Some((tables::u64_at(key, 0), delivery.received_at));
        false
    })?;
    Ok(first.filter(|(number, _)| *number != Some(1)).map(|(_, at)| at))
}

fn pruned_key() -> Key {
    Key::new().tail(b"delivery log pruned")
}

/// Deletes the oldest deliveries: those that arrived before a time, and more while the log has too many bytes; as
/// many as one batch may. Returns how many are gone. A read that one of them still waits for stays on the agenda.
pub fn prune(batch: &Batch, before: Timestamp) -> Result<usize, StoreError> {
    let mut gone = 0;
    let mut newest: Option<Timestamp> = None;
    let mut bytes = log_bytes(batch)?;
    for key in keys(batch, tables::DELIVERIES, &Key::new(), limits::DELETIONS_PER_COMMIT_MAX)? {
        let key = Key::new().tail(&key);
        let length = batch.rows(tables::DELIVERIES)?.get(key.0.as_slice())?.map_or(0, |value| value.value().len());
        let delivery = passing_over(get::<Delivery>(batch, tables::DELIVERIES, &key))?;
        let older = delivery.as_ref().is_none_or(|delivery| delivery.received_at < before);
        if (gone > 0 && batch.is_over()) || !(older || bytes > limits::DELIVERY_LOG_BYTES_MAX) {
            break;
        }
        if let Some(delivery) = delivery {
            newest = newest.max(Some(delivery.received_at));
            if delivery.healed.is_some()
                && let Some(id) = tables::u64_at(&key.0, 0)
            {
                batch.delete(tables::META, &healed_key(id))?;
            }
            forget_call(batch, &key, &delivery)?;
        }
        batch.delete(tables::DELIVERIES, &key)?;
        batch.delete(tables::SETTLEMENTS, &key)?;
        batch.delete(tables::PENDING, &Key::new().u32(UNPLACED.0).tail(&key.0))?;
        bytes = bytes.saturating_sub(length as u64);
        gone += 1;
    }
    set_log_bytes(batch, bytes)?;
    if let Some(newest) = newest.max(whole_since(batch)?) {
        batch.put(tables::META, &pruned_key(), &newest.0.cast_unsigned())?;
    }
    Ok(gone)
}

fn forget_call(batch: &Batch, key: &Key, delivery: &Delivery) -> Result<(), StoreError> {
    let opened = if delivery.sealed { Some(opened(batch, key, delivery.clone())?) } else { None };
    let delivery = opened.as_ref().unwrap_or(delivery);
    if let Ok(payload) = Payload::parse(&delivery.body, None) {
        batch.delete(tables::CALLS, &Call::of(&delivery.organization, &payload, &delivery.body).key)?;
    }
    if let Some(project) = &delivery.project
        && let Some(project) = catalogue::project_id(batch, &delivery.organization, project)?
    {
        batch.delete(tables::PENDING, &Key::new().u32(project.0).tail(&key.0))?;
    }
    Ok(())
}
