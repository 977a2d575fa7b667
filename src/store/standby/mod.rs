//! A box that stands by for another one of its site: what both share of the store, and what is each one's own.
//!
//! The one that works tells the other one which rows it wrote ([`ship`]), and that one writes the same ([`take`]): its
//! inventory is the other's by construction, with the same numbers, and what platforms know of it. Whatever it writes
//! besides touches what is its own, or is refused with [`StoreError::StandsBy`].

mod ship;
mod take;

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::backup::same;
use super::changes::Cursor;
use super::records::SecretBytes;
use super::tables::{self, Key, Table};
use super::{
    Batch, Counter, Store, StoreError, View, agenda, catalogue, codec, deliveries, destinations, get, keys, secrets,
};
use crate::domain::delivery::Outcome;
use crate::domain::destination::PlatformKind;
use crate::domain::ids::{DeliveryId, FindingId};
use crate::domain::schedule::{Reason, Task};
use crate::domain::standby::{BoxId, Copied, Pair, Part, Taken};
use crate::domain::time::Timestamp;
use crate::sys::random;

pub use self::ship::Shipping;
pub use self::take::{TakeError, Taking};

super::codec::record!(
    Pair = "way to the other box of the site",
    Part = "part of this box in its site",
    Copied = "place in another box's changes",
    Taken = "place in another box's calls"
);

/// Tables that both boxes share whole.
const SHARED: &[Table] = &[
    tables::SOURCES,
    tables::HOOKS,
    tables::ASSETS,
    tables::ASSET_NAMES,
    tables::PROJECTS,
    tables::PROJECT_NAMES,
    tables::SCOPES,
    tables::SCOPE_NAMES,
    tables::DISCARDED,
    tables::RULES,
    tables::FINDINGS,
    tables::FINDING_IDS,
    tables::ORDER,
    tables::SCOPE_ORDER,
    tables::PATHS,
    tables::CLOSED,
    tables::WORDS,
    tables::TEXTS,
    tables::COUNTS,
    tables::TREND,
    tables::CHANGES,
    tables::FINDING_CHANGES,
    tables::DECISIONS,
    tables::DESTINATIONS,
    tables::PROGRESS,
    tables::TARGETS,
    tables::REMOTES,
    tables::REMOTE_IDS,
    tables::DEAD_LETTERS,
    tables::ORDERS,
    tables::FLEETS,
    tables::FLEET_POSITIONS,
    tables::SITES,
    tables::SITE_CONDITIONS,
    tables::FLEET_IDS,
];

/// Tables of which both share some rows.
const PARTLY: &[Table] = &[tables::META, tables::SECRETS];

/// Tables of what is under way: of no use to another box, nor to the same one once that has worked.
const UNDER_WAY: &[Table] = &[tables::STAGING, tables::CRAWLS, tables::READINGS];

/// How the keys of those rows of [`PARTLY`] begin that both share.
const SHARED_META: &[&[u8]] = &[
    catalogue::INVENTORY,
    catalogue::RETIRED,
    b"change log bytes",
    b"fleet/offer",
    b"next/asset",
    b"next/project",
    b"next/scope",
    b"next/finding",
    b"next/change",
    b"next/destination",
    b"next/teller",
];

/// See [`SHARED_META`].
const SHARED_SECRETS: &[&[u8]] = &[b"token/", b"destination/", b"hook/", b"proxy/", b"fleet/"];

/// Whether both boxes of a site share a row: its table is named by its place among all.
pub(super) fn is_shared(place: usize, key: &[u8]) -> bool {
    tables::ALL.get(place).is_some_and(|table| is_shared_in(table, key))
}

fn is_shared_in(table: &Table, key: &[u8]) -> bool {
    let begins = |starts: &[&[u8]]| starts.iter().any(|start| key.starts_with(start));
    if same(table, &tables::META) {
        begins(SHARED_META)
    } else if same(table, &tables::SECRETS) {
        begins(SHARED_SECRETS)
    } else {
        SHARED.iter().any(|shared| same(shared, table))
    }
}

/// Numbers that a box may have given that another one did not hear of. Those of few things have 32 bits.
const MANY_LEFT_OUT: u64 = 1 << 20;

/// See [`MANY_LEFT_OUT`].
const FEW_LEFT_OUT: u64 = 1 << 12;

/// Where it is told how the other box is reached.
pub(super) const PAIR: &[u8] = b"standby/pair";

/// Where it is told which of the two this box is.
pub(super) const PART: &[u8] = b"standby/part";

/// Where it is told how far a copy has come.
pub(super) const COPIED: &[u8] = b"standby/copied";

fn of_pair() -> Key {
    Key::new().tail(PAIR)
}

fn of_part() -> Key {
    Key::new().tail(PART)
}

fn of_copied() -> Key {
    Key::new().tail(COPIED)
}

/// Of a box that was restored: another one than it was, which works only when whoever looks after the two says so. The other
/// one may have taken over, and the one that it was may run.
pub(super) fn restored(value: &[u8]) -> Part {
    let term = codec::open::<Part>(PART, value).map_or(1, |part| part.term);
    Part { me: BoxId(random::bytes()), works: false, term, tells_again: false }
}

/// That a copy is being taken in: what is there is neither the former inventory nor the other one.
fn of_taking() -> Key {
    Key::new().tail(b"standby/taking")
}

fn of_calls_taken() -> Key {
    Key::new().tail(b"standby/calls")
}

fn of_unsure() -> Key {
    Key::new().tail(b"standby/unsure")
}

fn of_credentials() -> Key {
    Key::new().tail(b"standby/credentials")
}

fn of_key() -> Key {
    Key::new().tail(b"standby/key")
}

/// How the other box of the site is reached; nothing where there is none.
pub fn pair(view: &impl View) -> Result<Option<Pair>, StoreError> {
    get(view, tables::META, &of_pair())
}

/// What this box knows of itself as one of two.
pub fn part(view: &impl View) -> Result<Part, StoreError> {
    match get(view, tables::META, &of_part()) {
        // It waits for as long as a lease lasts, and is another one from here on.
        Err(StoreError::Damaged { .. }) => Ok(Part { term: 1, ..Part::default() }),
        found => Ok(found?.unwrap_or_default()),
    }
}

/// Notes it.
pub fn put_part(batch: &Batch, part: Part) -> Result<(), StoreError> {
    batch.put(tables::META, &of_part(), &part)
}

/// Notes it, where this box is the same one of two still.
pub fn put_part_still(batch: &Batch, part: Part) -> Result<(), StoreError> {
    is_still(batch, part.me)?;
    put_part(batch, part)
}

/// Notes it of a box that works: what it holds is given up for nobody's any more.
pub fn put_working(batch: &Batch, part: Part) -> Result<(), StoreError> {
    if let Some(pair) = pair(batch)?.filter(|pair| pair.replaces) {
        batch.put(tables::META, &of_pair(), &Pair { replaces: false, ..pair })?;
    }
    batch.delete(tables::META, &of_unsure())?;
    put_part_still(batch, part)
}

/// Notes, where it is not noted yet, from which call on the other box may work: of what follows it hears nothing.
pub fn put_unsure(batch: &Batch, now: Timestamp) -> Result<(), StoreError> {
    if is_unsure(batch)? {
        return Ok(());
    }
    let first = deliveries::first_since(batch, now.minus(UNSURE_BEFORE))?;
    batch.put(tables::META, &of_unsure(), &first.0)
}

/// Whether that is noted.
pub fn is_unsure(view: &impl View) -> Result<bool, StoreError> {
    super::has(view, tables::META, &of_unsure())
}

/// Notes that this box has the lease as before: nobody else has worked meanwhile.
pub fn put_sure(batch: &Batch) -> Result<(), StoreError> {
    batch.delete(tables::META, &of_unsure())
}

/// Notes that this box stands by, as the other one has taken the lease: it is handed the calls that it may not have heard of.
/// How many those are.
pub fn put_replaced(batch: &Batch, part: Part, now: Timestamp) -> Result<usize, StoreError> {
    put_part_still(batch, part)?;
    put_unsure(batch, now)?;
    let from = deliveries::passing_over(get::<u64>(batch, tables::META, &of_unsure()))?;
    batch.delete(tables::META, &of_unsure())?;
    deliveries::wait_again(batch, DeliveryId(from.unwrap_or_default()))
}

/// It is noticed so much later at most that the lease is over, and clocks may be set back a little.
const UNSURE_BEFORE: Duration = Duration::from_mins(5);

/// Fails where this box has ceased to be one of two, or has become another one, since whoever asks looked.
pub fn is_still(view: &impl View, me: BoxId) -> Result<(), StoreError> {
    let is_pair = super::has(view, tables::META, &of_pair())?;
    if is_pair && part(view)?.me == me { Ok(()) } else { Err(StoreError::Stale) }
}

/// How far the copy of the other one's inventory has come; none of a box that has none.
pub fn copied(view: &impl View) -> Result<Option<Copied>, StoreError> {
    match get(view, tables::META, &of_copied()) {
        Err(StoreError::Damaged { .. }) => Ok(None),
        found => found,
    }
}

/// Whether a copy is being taken in, so that there is no whole inventory.
pub fn is_taking(view: &impl View) -> Result<bool, StoreError> {
    super::has(view, tables::META, &of_taking())
}

/// Up to which call of which other box this one has them.
pub fn calls_taken(view: &impl View) -> Result<Taken, StoreError> {
    match get(view, tables::META, &of_calls_taken()) {
        Err(StoreError::Damaged { .. }) => Ok(Taken::default()),
        found => Ok(found?.unwrap_or_default()),
    }
}

/// Notes it.
pub fn put_calls_taken(batch: &Batch, taken: Taken) -> Result<(), StoreError> {
    batch.put(tables::META, &of_calls_taken(), &taken)
}

/// What the server knows this box by, and the key that both boxes have.
pub fn secrets_of(view: &impl View) -> Result<(Option<SecretBytes>, Option<SecretBytes>), StoreError> {
    Ok((secrets::secret(view, &of_credentials())?, secrets::secret(view, &of_key())?))
}

/// Whether nothing is held that would be given up for another inventory.
pub fn is_empty(view: &impl View) -> Result<bool, StoreError> {
    Ok(catalogue::sources(view)?.is_empty()
        && destinations::ids(view)?.is_empty()
        && super::fleet::fleets(view)?.is_empty())
}

/// Makes this box one of two. It works on as before until it knows who is to.
pub fn put_pair(batch: &Batch, pair: &Pair, credentials: &SecretBytes, key: &SecretBytes) -> Result<(), StoreError> {
    secrets::put(batch, &of_credentials(), credentials)?;
    secrets::put(batch, &of_key(), key)?;
    let known = get::<Pair>(batch, tables::META, &of_pair())?;
    if known.is_none() {
        put_part(batch, Part { me: BoxId(random::bytes()), works: true, ..Part::default() })?;
    }
    // What was told by another way is another copy.
    if known.is_none_or(|known| known.site != pair.site || known.url != pair.url) {
        batch.delete(tables::META, &of_copied())?;
    }
    batch.put(tables::META, &of_pair(), pair)
}

/// Makes this box one alone again: with what it holds, where it worked or is to keep its copy; else it gives that up.
pub fn leave(batch: &mut Batch, keep: bool, now: Timestamp, ticket: u64) -> Result<(), StoreError> {
    let part = part(batch)?;
    batch.stands_by = false;
    match (part.works, keep) {
        (true, _) => {}
        (false, true) => take_over(batch, part, now, ticket)?,
        (false, false) => {
            deliveries::end_waiting(batch, u64::MAX, Outcome::Dropped, now)?;
            take::wipe(batch)?;
            catalogue::name_inventory(batch)?;
        }
    }
    batch.delete(tables::META, &of_taking())?;
    for key in [of_pair(), of_part(), of_copied(), of_calls_taken(), of_unsure()] {
        batch.delete(tables::META, &key)?;
    }
    secrets::delete(batch, &of_credentials())?;
    secrets::delete(batch, &of_key())
}

/// Whether only what is a box's own may be written to its store.
pub(super) fn stands_by(view: &impl View) -> Result<bool, StoreError> {
    Ok(super::has(view, tables::META, &of_pair())? && !part(view)?.works)
}

impl Store {
    /// Has only what is this box's own written from here on, or everything again.
    pub fn stand_by(&self, stands_by: bool) {
        self.shared.stands_by.store(stands_by, Ordering::Release);
    }

    /// Whether only what is this box's own may be written.
    pub fn stands_by(&self) -> bool {
        self.shared.stands_by.load(Ordering::Acquire)
    }
}

/// Begins to work with what the other box told, which may have done more than it told: numbers that it may have given are
/// left out, platforms are told and compared anew, and all projects are looked at.
pub fn take_over(batch: &mut Batch, part: Part, now: Timestamp, ticket: u64) -> Result<(), StoreError> {
    batch.stands_by = false;
    put_working(batch, part)?;
    batch.delete(tables::META, &of_copied())?;
    deliveries::place_again(batch, now, ticket)?;
    leave_out_numbers(batch)?;
    tell_streams(batch)?;
    for id in destinations::ids(batch)? {
        let mut progress = destinations::progress(batch, id)?;
        progress.reread = Some(FindingId(0));
        progress.trouble = None;
        destinations::put_progress(batch, id, &progress)?;
    }
    for (project, record) in catalogue::projects(batch)? {
        if catalogue::source(batch, &record.organization.source)?.is_some_and(|source| source.at.is_none()) {
            agenda::ask(batch, Task::Discover(project), Reason::Retry, now, ticket)?;
        }
    }
    // What reads have gathered that did not end.
    UNDER_WAY.iter().try_for_each(|table| empty(batch, *table))
}

/// Has streams told everything anew: they keep the newest message of each thing, which may be what the other box said last.
pub fn tell_streams(batch: &Batch) -> Result<(), StoreError> {
    for (id, destination) in destinations::destinations(batch)? {
        if destination.kind == PlatformKind::Nats {
            let mut progress = destinations::progress(batch, id)?;
            progress.replay(Cursor::New);
            destinations::put_progress(batch, id, &progress)?;
        }
    }
    Ok(())
}

fn leave_out_numbers(batch: &Batch) -> Result<(), StoreError> {
    for counter in [Counter::Finding, Counter::Change] {
        counter.set(batch, counter.next(batch)?.saturating_add(MANY_LEFT_OUT))?;
    }
    for counter in [Counter::Asset, Counter::Project, Counter::Scope, Counter::Destination, Counter::Teller] {
        counter.set(batch, counter.next(batch)?.saturating_add(FEW_LEFT_OUT))?;
    }
    Ok(())
}

/// Deletes all rows of a table: one by one, where somebody wants to know which.
fn empty(batch: &Batch, table: Table) -> Result<(), StoreError> {
    if batch.touched.is_none() {
        return drop_rows(batch, table);
    }
    keys(batch, table, &Key::new(), usize::MAX)?.into_iter().try_for_each(|key| batch.delete(table, &Key(key)))
}

/// The same, for whoever has seen to it that nobody wants to know.
fn drop_rows(batch: &Batch, table: Table) -> Result<(), StoreError> {
    batch.transaction.delete_table(table)?;
    batch.transaction.open_table(table)?;
    Ok(())
}

#[cfg(test)]
mod tests;
