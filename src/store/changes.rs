//! The log of changes: how large it is, and what goes when it is too large.

use redb::ReadableTable;

use super::codec;
use super::records::Change;
use super::tables::{self, Key};
use super::{Batch, StoreError, View, get};
use crate::domain::limits::DELETIONS_PER_COMMIT_MAX;

/// What a change takes: its record, and the keys that lead to it.
pub(super) fn bytes(record: &[u8]) -> u64 {
    record.len() as u64 + 24
}

fn log_bytes_key() -> Key {
    Key::new().tail(b"change log bytes")
}

/// Bytes that the log takes. A damaged count counts as none; the log then grows past its size once.
fn log_bytes(view: &impl View) -> Result<u64, StoreError> {
    match get(view, tables::META, &log_bytes_key()) {
        Err(StoreError::Damaged { .. }) => Ok(0),
        found => Ok(found?.unwrap_or(0)),
    }
}

/// Counts what was added to the log.
pub(super) fn grow(batch: &Batch, by: u64) -> Result<(), StoreError> {
    batch.put(tables::META, &log_bytes_key(), &(log_bytes(batch)? + by))
}

/// Counts the whole log, for a database that had no count.
pub(super) fn count_bytes(batch: &Batch) -> Result<(), StoreError> {
    let mut sum = 0;
    for row in batch.rows(tables::CHANGES)?.iter()? {
        sum += bytes(row?.1.value());
    }
    batch.put(tables::META, &log_bytes_key(), &sum)
}

/// Whether the log has more bytes than it may.
pub fn is_overfull(view: &impl View, bytes_max: u64) -> Result<bool, StoreError> {
    Ok(log_bytes(view)? > bytes_max)
}

/// Deletes the oldest changes while the log has too many bytes, as many as one batch may; also from the history of
/// their findings. Returns how many are gone. The newest always stays.
pub fn prune(batch: &Batch, bytes_max: u64) -> Result<usize, StoreError> {
    let mut left = log_bytes(batch)?;
    let mut gone = 0;
    {
        let newest = Key::new().u64(super::findings::last_change(batch)?.0);
        let mut changes = batch.rows(tables::CHANGES)?;
        let mut of_findings = batch.rows(tables::FINDING_CHANGES)?;
        while left > bytes_max && gone < DELETIONS_PER_COMMIT_MAX && !(gone > 0 && batch.is_over()) {
            let Some((key, record)) =
                changes.first()?.map(|(key, value)| (key.value().to_vec(), value.value().to_vec()))
            else {
                left = 0;
                break;
            };
            if key >= newest.0 {
                left = bytes(&record);
                break;
            }
            changes.remove(key.as_slice())?;
            // Where a damaged one leads back to is not known; a row that leads to nothing is passed over.
            if let Ok(change) = codec::open::<Change>(&record) {
                of_findings.remove(Key::new().u64(change.finding.0).tail(&key).0.as_slice())?;
            }
            left = left.saturating_sub(bytes(&record));
            gone += 1;
        }
    }
    batch.put(tables::META, &log_bytes_key(), &left)?;
    Ok(gone)
}
