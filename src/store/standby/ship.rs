//! What the box that works tells the one that stands by: all shared rows once, then those that were written since, each time
//! as of one moment.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redb::ReadableDatabase;

use super::super::backup::format::Writer;
use super::super::backup::{BackupError, Plan, same, values};
use super::super::tables::{self, Table};
use super::super::touched::Row;
use super::super::writer::Manner;
use super::super::{Reader, Shared, Store, StoreError, secrets};
use super::{PARTLY, SHARED, is_shared_in};
use crate::domain::time::Timestamp;
use crate::sys::seal::Key;

/// While it lasts, what is written is noted. Where it ends, the other box needs all of it anew.
pub struct Shipping {
    shared: Arc<Shared>,
    /// How often the store had been opened anew: what was not synced before may have been taken back by that.
    reopened: u64,
}

impl Drop for Shipping {
    fn drop(&mut self) {
        self.shared.shipping.end();
    }
}

/// What was written, and a view of the store in which nothing else was.
type Noted = (Option<HashSet<Row>>, Reader);

/// How a look in the writer's turn ends: as one that failed, so that nothing is committed for it.
enum Looked {
    Noted(Box<Noted>),
    Failed(StoreError),
}

impl From<StoreError> for Looked {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl Store {
    /// Begins to note what is written.
    pub fn begin_shipping(&self) -> Result<Shipping, StoreError> {
        let (shared, reopened) = (Arc::clone(&self.shared), self.shared.reopened.load(Ordering::Acquire));
        // In the writer's turn: a batch that is under way now would go unnoted.
        let begun = self.submit(Manner::Deletes, move |_| {
            shared.shipping.begin();
            Ok::<_, StoreError>(Shipping { shared, reopened })
        });
        begun.wait()
    }

    /// Writes all shared rows as of one moment; what is written later comes with the next changes. Secrets are sealed with
    /// the key that both boxes have.
    pub fn ship_copy(
        &self,
        shipping: &Shipping,
        common: &Key,
        now: Timestamp,
        out: &mut dyn Write,
    ) -> Result<u64, BackupError> {
        let all: Vec<Table> = PARTLY.iter().chain(SHARED).copied().collect();
        let copied = self.with_plan(common, &all, |plan| self.copy(plan, &self.head(None, now)?, out))?;
        self.is_as_begun(shipping)?;
        Ok(copied)
    }

    /// Whether something was written that the other box was not told yet.
    pub fn has_changes(&self, _: &Shipping) -> bool {
        self.shared.shipping.has_any()
    }

    /// Writes the shared rows that were written since the last time, as of one moment; how many.
    pub fn ship_changes(
        &self,
        shipping: &Shipping,
        common: &Key,
        now: Timestamp,
        out: &mut dyn Write,
    ) -> Result<u64, BackupError> {
        let shared = Arc::clone(&self.shared);
        let looked = self.submit::<(), Looked>(Manner::Deletes, move |batch| {
            let keyring = batch.keyring.clone();
            // The writer, whose turn this is, has it open.
            let handle = shared.handle.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            let database = handle.as_ref().ok_or_else(|| StoreError::Failed("it is not open".to_owned()))?;
            let view = database.begin_read().map_err(StoreError::from)?;
            Err(Looked::Noted(Box::new((shared.shipping.take(), Reader::new(view, keyring)))))
        });
        let (rows, view) = match looked.wait() {
            Err(Looked::Noted(noted)) => *noted,
            Err(Looked::Failed(error)) => return Err(error.into()),
            Ok(()) => return Err(StoreError::Closed.into()),
        };
        self.is_as_begun(shipping)?;
        let mut rows = rows.ok_or(BackupError::TooMuch)?;
        rows.retain(|(place, key)| super::is_shared(*place, key));
        if rows.is_empty() {
            return Ok(0);
        }
        let found = values(&view, rows)?;
        drop(view);
        self.with_plan(common, &[], |plan| {
            let mut writer = Writer::begin(out, &self.head(None, now)?)?;
            plan.write_all(&found, &mut writer)?;
            Ok(writer.end()?)
        })
    }

    fn with_plan<T>(
        &self,
        common: &Key,
        tables: &[Table],
        with: impl FnOnce(&Plan) -> Result<T, BackupError>,
    ) -> Result<T, BackupError> {
        let keyring = self.shared.keyring();
        let becomes = |table: &Table, key: &[u8], value: &[u8]| {
            let is_secret = same(table, &tables::SECRETS);
            is_secret.then(|| secrets::for_other(&keyring, common, key, value)).transpose()
        };
        with(&Plan { tables, watch: |shared| &shared.shipping, takes: &is_shared_in, becomes: &becomes })
    }

    fn is_as_begun(&self, shipping: &Shipping) -> Result<(), StoreError> {
        let reopened = self.shared.reopened.load(Ordering::Acquire);
        if reopened == shipping.reopened { Ok(()) } else { Err(StoreError::Stale) }
    }
}
