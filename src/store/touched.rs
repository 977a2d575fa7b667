//! Which rows are written while a backup is read, or another box is told of all that changes. A backup is read in short pieces, each of them of another moment; what
//! was written after its piece was read is read once more, and the last of it in the writer's own turn, so that all of it
//! is of one moment.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::RangeBounds;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{AccessGuard, ReadableTable, ReadableTableMetadata, StorageError, TableStats};

use super::{StoreError, standby};
use crate::domain::limits::BACKUP_TOUCHED_MAX;

/// A row: the place of its table in the list of all, and its key.
pub(super) type Row = (usize, Vec<u8>);

/// See the module.
#[derive(Default)]
pub(super) struct Watch {
    is_on: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    rows: HashSet<Row>,
    is_over: bool,
}

impl Watch {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to note; false if somebody has already. In the writer's turn, or a batch under way would go unnoted.
    pub(super) fn begin(&self) -> bool {
        if self.is_on.swap(true, Ordering::AcqRel) {
            return false;
        }
        *self.seen() = Seen::default();
        true
    }

    pub(super) fn end(&self) {
        self.is_on.store(false, Ordering::Release);
        *self.seen() = Seen::default();
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Notes what a batch wrote, after its commit: whoever takes the rows then and reads them sees it.
    pub(super) fn note(&self, rows: Vec<Row>) {
        let mut seen = self.seen();
        if seen.rows.len() + rows.len() > BACKUP_TOUCHED_MAX {
            *seen = Seen { rows: HashSet::new(), is_over: true };
        }
        if !seen.is_over {
            seen.rows.extend(rows);
        }
    }

    /// Whether anything was written, or more than is kept.
    pub(super) fn has_any(&self) -> bool {
        let seen = self.seen();
        seen.is_over || !seen.rows.is_empty()
    }

    /// How many rows are noted.
    pub(super) fn count(&self) -> usize {
        self.seen().rows.len()
    }

    /// Takes what is noted; nothing if that was more than is kept.
    pub(super) fn take(&self) -> Option<HashSet<Row>> {
        let mut seen = self.seen();
        (!seen.is_over).then(|| std::mem::take(&mut seen.rows))
    }
}

/// A table open for writing.
#[doc(hidden)]
pub struct Rows<'t> {
    pub(super) table: redb::Table<'t, &'static [u8], &'static [u8]>,
    pub(super) place: usize,
    /// Where to note what is written, while somebody wants to know.
    pub(super) touched: Option<&'t RefCell<Vec<Row>>>,
    /// Whether only what is this box's own may be written.
    pub(super) stands_by: bool,
}

impl Rows<'_> {
    fn touch(&self, key: &[u8]) -> Result<(), StoreError> {
        if self.stands_by && standby::is_shared(self.place, key) {
            return Err(StoreError::StandsBy);
        }
        if let Some(touched) = self.touched {
            touched.borrow_mut().push((self.place, key.to_vec()));
        }
        Ok(())
    }

    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.touch(key)?;
        Ok(self.table.insert(key, value).map(drop)?)
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Result<Option<AccessGuard<'_, &'static [u8]>>, StoreError> {
        self.touch(key)?;
        Ok(self.table.remove(key)?)
    }
}

impl ReadableTableMetadata for Rows<'_> {
    fn stats(&self) -> Result<TableStats, StorageError> {
        self.table.stats()
    }

    fn len(&self) -> Result<u64, StorageError> {
        self.table.len()
    }
}

type Guard<'g> = AccessGuard<'g, &'static [u8]>;

impl ReadableTable<&'static [u8], &'static [u8]> for Rows<'_> {
    fn get<'a>(&self, key: impl std::borrow::Borrow<&'a [u8]>) -> Result<Option<Guard<'_>>, StorageError> {
        self.table.get(key)
    }

    fn range<'a, KR>(
        &self,
        range: impl RangeBounds<KR> + 'a,
    ) -> Result<redb::Range<'_, &'static [u8], &'static [u8]>, StorageError>
    where
        KR: std::borrow::Borrow<&'a [u8]> + 'a,
    {
        self.table.range(range)
    }

    fn first(&self) -> Result<Option<(Guard<'_>, Guard<'_>)>, StorageError> {
        self.table.first()
    }

    fn last(&self) -> Result<Option<(Guard<'_>, Guard<'_>)>, StorageError> {
        self.table.last()
    }
}
