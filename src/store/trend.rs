//! How many findings were open on each day, and how many were opened and fixed on it. A day's row is written in the
//! commits of the changes that alter it, so that no timer has to be awake for it to be right; a day on which nothing
//! changed has no row, and reads as the one before it.
//!
//! What counts is what lists show: nothing of branches that Sonar no longer lists, nothing that an organization's filter
//! keeps back. A project that is removed, or a filter that is changed, alters the day on which that happens and none
//! before it: those rows say what was held then. What the first read of a branch finds was not opened on that day; it
//! shows in what is open only.

use minicbor::{Decode, Encode};

use super::tables::{self, Key};
use super::{Batch, Reader, StoreError, View, catalogue, codec, get, keys, lists};
use crate::domain::finding::Severity;
use crate::domain::limits::TREND_DAYS_MAX;
use crate::domain::time::Timestamp;

/// Numbers by severity, worst first.
pub type BySeverity = [u64; Severity::ALL.len()];

/// One day, in UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Day {
    /// Findings that were not closed at its end.
    #[n(0)]
    pub open: BySeverity,
    /// Opened on it, and back after being closed.
    #[n(1)]
    pub opened: BySeverity,
    /// Fixed on it.
    #[n(2)]
    pub fixed: BySeverity,
}

codec::record!(Day = "day of the trend");

/// Days since 1970-01-01, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DayNumber(pub u32);

impl DayNumber {
    /// The day of a time.
    pub fn of(at: Timestamp) -> Self {
        Self(u32::try_from(at.0.div_euclid(DAY)).unwrap_or(0))
    }

    /// When it begins.
    pub fn begins(self) -> Timestamp {
        Timestamp(i64::from(self.0) * DAY)
    }

    /// So many days earlier.
    #[must_use]
    pub fn less(self, days: u32) -> Self {
        Self(self.0.saturating_sub(days))
    }

    fn key(self) -> Key {
        Key::new().u32(self.0)
    }
}

/// Milliseconds.
const DAY: i64 = 86_400_000;

/// What a batch did with the findings of one scope that lists show.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// How many more are open.
    pub(super) open: [i64; Severity::ALL.len()],
    pub(super) opened: BySeverity,
    pub(super) fixed: BySeverity,
}

/// Notes what a batch did. The day's first row is counted; after that the differences are enough.
pub(super) fn note(batch: &Batch, at: Timestamp, flow: &Flow) -> Result<(), StoreError> {
    let number = DayNumber::of(at);
    let later = later(batch, number)?;
    let mut day = match stored(batch, number)? {
        Some(mut day) if later.is_none() => {
            for (open, more) in day.open.iter_mut().zip(flow.open) {
                *open = open.saturating_add_signed(more);
            }
            day
        }
        Some(day) => Day { open: open(batch)?, ..day },
        None => Day { open: open(batch)?, ..Day::default() },
    };
    // Around midnight another batch may have begun the next day; after a clock was set back there may be any. Their
    // differences are of what was counted then, and not of this.
    if let Some(later) = later
        && let Some(day) = stored(batch, later)?
    {
        batch.put(tables::TREND, &later.key(), &Day { open: open(batch)?, ..day })?;
    }
    for (sum, more) in day.opened.iter_mut().zip(flow.opened).chain(day.fixed.iter_mut().zip(flow.fixed)) {
        *sum += more;
    }
    batch.put(tables::TREND, &number.key(), &day)
}

/// Counts what lists show anew, after something else than a finding altered that: a filter, a project that is removed, a
/// branch that Sonar no longer lists.
pub fn recount(batch: &Batch, at: Timestamp) -> Result<(), StoreError> {
    let number = DayNumber::of(at);
    for number in [Some(number), later(batch, number)?].into_iter().flatten() {
        let day = stored(batch, number)?.unwrap_or_default();
        batch.put(tables::TREND, &number.key(), &Day { open: open(batch)?, ..day })?;
    }
    Ok(())
}

/// The newest day that has a row, where it is after this one.
fn later(batch: &Batch, number: DayNumber) -> Result<Option<DayNumber>, StoreError> {
    let rows = batch.rows(tables::TREND)?;
    let newest = redb::ReadableTable::last(&rows)?.and_then(|(key, _)| tables::u32_at(key.value(), 0)).map(DayNumber);
    Ok(newest.filter(|newest| *newest > number))
}

/// A damaged row is counted anew; what came and went on its day is lost.
fn stored(batch: &Batch, number: DayNumber) -> Result<Option<Day>, StoreError> {
    match get(batch, tables::TREND, &number.key()) {
        Err(StoreError::Damaged { .. }) => Ok(None),
        found => found,
    }
}

/// The days that are too old at a time, the oldest first; as many as one batch may delete.
fn old(view: &impl View, now: Timestamp) -> Result<Vec<Vec<u8>>, StoreError> {
    let oldest = DayNumber::of(now).less(TREND_DAYS_MAX - 1).key();
    let mut all = keys(view, tables::TREND, &Key::new(), PRUNED_MAX)?;
    all.retain(|key| key.as_slice() < oldest.0.as_slice());
    Ok(all)
}

/// Whether there are days that are too old.
pub(super) fn is_overfull(view: &impl View, now: Timestamp) -> Result<bool, StoreError> {
    Ok(!old(view, now)?.is_empty())
}

/// Deletes them. Returns how many are gone.
pub(super) fn prune(batch: &Batch, now: Timestamp) -> Result<usize, StoreError> {
    let old = old(batch, now)?;
    for key in &old {
        batch.delete(tables::TREND, &Key::new().tail(key))?;
    }
    Ok(old.len())
}

/// Each day pushes one out; after a long rest some more.
const PRUNED_MAX: usize = 32;

/// What lists show by severity.
fn open(view: &impl View) -> Result<BySeverity, StoreError> {
    let shown = lists::Filter {
        hidden: catalogue::hidden_scopes(view)?,
        passing: catalogue::filtered_scopes(view)?,
        ..lists::Filter::default()
    };
    let counts = lists::count_by_severity(view, &shown)?;
    let mut open = BySeverity::default();
    for (severity, count) in counts {
        open[severity as usize] = count;
    }
    Ok(open)
}

/// The last `most` days up to and with `today`, oldest first, as far as anything was held. Days without a row are filled
/// in, and today is as it is now.
pub fn days(view: &Reader, today: DayNumber, most: u32) -> Result<Vec<(DayNumber, Day)>, StoreError> {
    let first = today.less(most.clamp(1, TREND_DAYS_MAX) - 1);
    let rows = view.rows(tables::TREND)?;
    let mut last = None;
    for row in rows.range::<&[u8]>(..first.key().0.as_slice())?.rev() {
        let (key, value) = row?;
        if let Ok(day) = codec::open::<Day>(key.value(), value.value()) {
            last = Some(Day { opened: BySeverity::default(), fixed: BySeverity::default(), ..day });
            break;
        }
    }
    let mut held = std::collections::BTreeMap::new();
    let end = DayNumber(today.0.saturating_add(1));
    for row in rows.range::<&[u8]>(first.key().0.as_slice()..end.key().0.as_slice())? {
        let (key, value) = row?;
        if let (Some(number), Ok(day)) =
            (tables::u32_at(key.value(), 0), codec::open::<Day>(key.value(), value.value()))
        {
            held.insert(number, day);
        }
    }
    let mut found = Vec::new();
    for number in first.0..=today.0 {
        let row = held.remove(&number);
        last = row.as_ref().or(last.as_ref()).map(|day| Day { open: day.open, ..Day::default() });
        found.extend(row.or_else(|| last.clone()).map(|day| (DayNumber(number), day)));
    }
    if let Some((_, day)) = found.last_mut() {
        day.open = open(view)?;
    }
    Ok(found)
}
