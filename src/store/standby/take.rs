//! What the box that stands by makes of what the other one tells it: the same rows.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use super::super::backup::format::{BadBackup, Part as Frame, Reader};
use super::super::backup::{Found, named, same};
use super::super::tables::{self, Key as RowKey};
use super::super::writer::Manner;
use super::super::{Batch, Shared, Store, StoreError, keys, schema, secrets};
use super::{PARTLY, SHARED, UNDER_WAY, drop_rows, empty, is_shared_in, is_still, of_copied, of_pair, of_taking};
use crate::domain::limits::STORE_CHORE_MAX;
use crate::domain::standby::{BoxId, Copied, Pair};
use crate::sys::loops;
use crate::sys::seal::Key;

/// Why what the other box told is not taken in.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not what a box tells.
    #[error("what the other box told cannot be used: {0}")]
    Bad(#[from] BadBackup),
    /// It names rows that are each box's own.
    #[error("the other box told what is not to be told: a row of {0}")]
    NotShared(String),
    /// Another version's.
    #[error("the other box runs version {0}, which stores things otherwise than this one")]
    OtherForm(String),
    /// A backup is under way.
    #[error("a backup is being taken")]
    Busy,
}

impl TakeError {
    /// Whether the same may be taken in a moment later.
    pub fn is_passing(&self) -> bool {
        let of_store = |error: &StoreError| !matches!(error, StoreError::Damaged { .. });
        matches!(self, Self::Busy) || matches!(self, Self::Store(error) if of_store(error))
    }
}

impl From<io::Error> for TakeError {
    fn from(error: io::Error) -> Self {
        Self::Bad(BadBackup::Io(error))
    }
}

/// While it lasts no backup is taken: what is there is of no moment.
pub struct Taking(Arc<Shared>);

impl Drop for Taking {
    fn drop(&mut self) {
        self.0.watch.end();
    }
}

/// Rows that are written with one commit while a copy is taken in, in bytes.
const COMMIT_BYTES: usize = 1024 * 1024;

impl Store {
    /// Writes what the other box wrote since the last time.
    pub fn take_changes(&self, common: &Arc<Key>, me: BoxId, bytes: &[u8], to: Copied) -> Result<(), TakeError> {
        let mut rows = Vec::new();
        each(bytes, |row| {
            rows.push(row);
            Ok(())
        })?;
        let common = Arc::clone(common);
        self.write(move |batch| {
            is_still(batch, me)?;
            batch.stands_by = false;
            put(batch, &common, &rows)?;
            batch.put(tables::META, &of_copied(), &to)?;
            Ok(())
        })
    }

    /// Puts a copy of the other box's inventory into the place of the one that is here. Where it is cut short it has to be
    /// done again: what is there until then is none.
    pub fn take_copy(&self, common: &Arc<Key>, me: BoxId, file: &Path, of: Copied) -> Result<(), TakeError> {
        let reopened = self.reopened();
        // All of it is there, and is what was told, before anything is touched.
        let step = loops::within(STORE_CHORE_MAX);
        each(BufReader::with_capacity(256 * 1024, File::open(file)?), |_| Ok(()))?;
        drop(step);
        let shared = Arc::clone(&self.shared);
        let begun = self.submit(Manner::Deletes, move |_| {
            let is_ours = shared.watch.begin();
            is_ours.then_some(Taking(shared)).ok_or(TakeError::Busy)
        });
        let _taking = begun.wait()?;
        self.delete::<_, TakeError>(move |batch| {
            is_still(batch, me)?;
            batch.stands_by = false;
            batch.put(tables::META, &of_taking(), &of)?;
            Ok(batch.delete(tables::META, &of_copied())?)
        })?;
        // One at a time: calls are stored in between.
        for &table in SHARED {
            self.delete::<_, StoreError>(move |batch| {
                is_still(batch, me)?;
                drop_rows(batch, table)
            })?;
        }
        self.delete::<_, StoreError>(move |batch| {
            is_still(batch, me)?;
            batch.stands_by = false;
            wipe_rows(batch)
        })?;
        let (mut some, mut bytes) = (Vec::new(), 0);
        each(BufReader::with_capacity(256 * 1024, File::open(file)?), |row| {
            bytes += row.1.len() + row.2.as_ref().map_or(0, Vec::len);
            some.push(row);
            if bytes >= COMMIT_BYTES {
                let (rows, common) = (std::mem::take(&mut some), Arc::clone(common));
                bytes = 0;
                self.write_unsynced::<_, TakeError>(move |batch| {
                    is_still(batch, me)?;
                    batch.stands_by = false;
                    put(batch, &common, &rows)
                })?;
            }
            Ok(())
        })?;
        let (common, store) = (Arc::clone(common), self.clone());
        self.write(move |batch| {
            is_still(batch, me)?;
            // What was not synced before may have been taken back.
            if store.reopened() != reopened {
                return Err(StoreError::Stale.into());
            }
            batch.stands_by = false;
            put(batch, &common, &some)?;
            if let Some(pair) = super::pair(batch)? {
                batch.put(tables::META, &of_pair(), &Pair { replaces: false, ..pair })?;
            }
            batch.put(tables::META, &of_copied(), &of)?;
            batch.delete(tables::META, &of_taking())?;
            Ok(())
        })
    }

    /// Which copy was being taken in when that was cut short.
    pub fn taking(&self) -> Result<Option<Copied>, StoreError> {
        self.read(|view| super::super::get(view, tables::META, &of_taking()))
    }
}

/// Deletes what is shared.
pub(super) fn wipe(batch: &Batch) -> Result<(), StoreError> {
    SHARED.iter().try_for_each(|table| empty(batch, *table))?;
    wipe_rows(batch)
}

fn wipe_rows(batch: &Batch) -> Result<(), StoreError> {
    UNDER_WAY.iter().try_for_each(|table| empty(batch, *table))?;
    for table in PARTLY {
        for key in keys(batch, *table, &RowKey::new(), usize::MAX)? {
            if is_shared_in(table, &key) {
                batch.delete(*table, &RowKey::new().tail(&key))?;
            }
        }
    }
    Ok(())
}

fn put(batch: &Batch, common: &Key, rows: &[Found]) -> Result<(), TakeError> {
    for of_table in rows.chunk_by(|one, other| same(&one.0, &other.0)) {
        let table = of_table[0].0;
        let is_secret = same(&table, &tables::SECRETS);
        let mut open = super::super::View::rows(batch, table)?;
        for (_, key, value) in of_table {
            match value {
                Some(value) if is_secret => {
                    let own = secrets::of_other(batch.keyring, common, key, value)?;
                    open.insert(key, &own.ok_or(StoreError::Damaged { what: "secret of the other box" })?)?;
                }
                Some(value) => open.insert(key, value)?,
                None => drop(open.remove(key)?),
            }
        }
    }
    Ok(())
}

/// Feeds all rows, up to the end, which has to be there.
fn each(from: impl Read, mut row: impl FnMut(Found) -> Result<(), TakeError>) -> Result<(), TakeError> {
    let (mut reader, head) = Reader::begin(from)?;
    if head.schema != schema::NEWEST {
        return Err(TakeError::OtherForm(head.version));
    }
    loop {
        let rows = match reader.next()? {
            Frame::End => return Ok(()),
            Frame::Rows(rows) => rows,
        };
        let at = reader.at();
        let known = rows.each(|name, key, value| {
            let table = named(name).filter(|table| is_shared_in(table, key));
            let table = table.ok_or_else(|| TakeError::NotShared(name.chars().take(40).collect()))?;
            row((table, key.to_vec(), value.map(<[u8]>::to_vec)))
        })?;
        if !known {
            return Err(BadBackup::Damaged { at }.into());
        }
    }
}
