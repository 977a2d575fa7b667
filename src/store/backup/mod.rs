//! Backups: all rows of the store as of one moment, while it goes on being used.
//!
//! No read of the store lasts longer than a page of rows. What is written meanwhile is noted, and read once more; the last
//! of it is read in the writer's own turn, when nothing is being written: that is the moment which the backup shows.
//! Whatever was acknowledged before it was begun is in it.

pub(super) mod format;
mod nightly;
mod restore;

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redb::{ReadableDatabase, ReadableTable, TableHandle};

use self::format::Writer;
use super::secrets::Keyring;
use super::tables::{self, Table};
use super::touched::{Row, Watch};
use super::writer::Manner;
use super::{DAMAGED_PAGE, FILE_NAME, OpenError, Opening, Shared, Store, StoreError, View, builder, codec, schema};
use crate::domain::limits::{BACKUP_LAST_ROWS_MAX, BACKUP_PAGE_BYTES, BACKUP_PAGE_ROWS, BACKUP_TOUCHED_READ};
use crate::domain::time::Timestamp;
use crate::sys::guard;
use crate::sys::seal::passphrase::Wrapping;

pub use self::format::{BadBackup, Head};
pub use self::nightly::{FORMER_NIGHTLY_NAME, NIGHTLY_NAME};
pub(super) use self::nightly::{drop_former, has_copy, revive};
pub use self::restore::{RestoreError, Restored, check, restore};

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be written where it is to go.
    #[error("the backup cannot be written: {0}")]
    Write(#[from] io::Error),
    /// There is one already.
    #[error("another backup is being made just now; wait for its end")]
    Busy,
    /// Two keys are in use.
    #[error("the key of this box is being changed just now; take the backup when that is done")]
    KeyChanging,
    /// What changed in the meantime is more than can be noted.
    #[error(
        "more changed than can be noted while the backup was written; write it to a faster place, or when less is read from Sonar"
    )]
    TooMuch,
}

/// While it lasts, what is written is noted. It ends with whoever has it, also where the commit that was to begin it failed.
struct Watching(Arc<Shared>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.watch.end();
    }
}

/// A row with its value, or without one where it is gone.
pub(super) type Found = (Table, Vec<u8>, Option<Vec<u8>>);

impl Store {
    /// Writes a backup. With a wrapping, the box's key is in it, too.
    pub fn backup(&self, out: &mut dyn Write, wrapping: Option<&Wrapping>, now: Timestamp) -> Result<u64, BackupError> {
        self.copy_tables(tables::ALL, wrapping, now, out)
    }

    pub(super) fn head(&self, wrapping: Option<&Wrapping>, now: Timestamp) -> Result<Head, StoreError> {
        Ok(match (self.shared.keyring(), wrapping) {
            (Keyring::Open(key) | Keyring::Both(key, _), wrapping) => {
                let wrapped = wrapping.map(|wrapping| key.wrap(wrapping));
                Head::new(schema::NEWEST, now, key.id(), key.is_credential(), wrapped)
            }
            (Keyring::Locked(locked), None) => Head::new(schema::NEWEST, now, locked.needed, false, None),
            (Keyring::Locked(locked), Some(_)) => return Err(StoreError::Locked(locked)),
        })
    }

    fn copy_tables(
        &self,
        tables: &[Table],
        wrapping: Option<&Wrapping>,
        now: Timestamp,
        out: &mut dyn Write,
    ) -> Result<u64, BackupError> {
        let shared = Arc::clone(&self.shared);
        // In the writer's turn: a batch that is under way now would go unnoted.
        let begun = self.submit(Manner::Deletes, move |_| {
            // There is one key in a backup, and what is sealed in it is sealed with that.
            if matches!(shared.keyring(), Keyring::Both(..)) {
                return Err(BackupError::KeyChanging);
            }
            let is_ours = shared.watch.begin();
            is_ours.then_some(Watching(shared)).ok_or(BackupError::Busy)
        });
        let _watching = begun.wait()?;
        // Not before: from here on the key stays the one it is.
        let takes = |table: &Table, _: &[u8]| tables.iter().any(|one| same(one, table));
        let as_it_is = |_: &Table, _: &[u8], _: &[u8]| Ok(None);
        let plan = Plan { tables, watch: |shared| &shared.watch, takes: &takes, becomes: &as_it_is };
        self.copy(&plan, &self.head(wrapping, now)?, out)
    }

    /// Copies all rows that are to be, as of one moment, while somebody notes what is written.
    pub(super) fn copy(&self, plan: &Plan, head: &Head, out: &mut dyn Write) -> Result<u64, BackupError> {
        let reopened = self.shared.reopened.load(Ordering::Acquire);
        let mut writer = Writer::begin(out, head)?;
        let watch = plan.watch;
        for table in plan.tables {
            let mut after = None;
            while let Some(page) = self.page(*table, after.as_deref())? {
                for (key, value) in &page {
                    plan.write((table, key, Some(value)), &mut writer)?;
                }
                after = page.into_iter().next_back().map(|(key, _)| key);
                if watch(&self.shared).count() >= BACKUP_TOUCHED_READ {
                    self.copy_touched(plan, &mut writer)?;
                }
            }
        }
        loop {
            while self.copy_touched(plan, &mut writer)? >= BACKUP_LAST_ROWS_MAX {}
            // Nothing is written in the writer's turn, so that what is read in it is of one moment.
            let shared = Arc::clone(&self.shared);
            let last = self.submit(Manner::Deletes, move |batch| {
                if watch(&shared).count() > BACKUP_LAST_ROWS_MAX {
                    return Ok(None);
                }
                let Some(rows) = watch(&shared).take() else { return Err(BackupError::TooMuch) };
                Ok(Some(values(batch, rows)?))
            });
            let Some(last) = last.wait()? else { continue };
            // What was not synced before may be taken back by it.
            if self.shared.reopened.load(Ordering::Acquire) != reopened {
                return Err(StoreError::Stale.into());
            }
            plan.write_all(&last, &mut writer)?;
            return Ok(writer.end()?);
        }
    }

    /// Copies what was written since it was last looked; how many rows that were.
    fn copy_touched(&self, plan: &Plan, writer: &mut Writer) -> Result<usize, BackupError> {
        let rows = (plan.watch)(&self.shared).take().ok_or(BackupError::TooMuch)?;
        let count = rows.len();
        let mut rows = rows.into_iter();
        loop {
            let some: HashSet<Row> = rows.by_ref().take(BACKUP_PAGE_ROWS).collect();
            if some.is_empty() {
                return Ok(count);
            }
            let found = self.read(|view| values(view, some))?;
            plan.write_all(&found, writer)?;
        }
    }

    /// Some rows of a table after a key, and nothing after its last.
    fn page(&self, table: Table, after: Option<&[u8]>) -> Result<Option<Page>, StoreError> {
        self.read(|view| {
            use std::ops::Bound;
            let rows = view.rows(table)?;
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let (mut page, mut bytes) = (Vec::new(), 0);
            for row in rows.range::<&[u8]>((from, Bound::Unbounded))? {
                let (key, value) = row?;
                bytes += key.value().len() + value.value().len();
                page.push((key.value().to_vec(), value.value().to_vec()));
                if bytes >= BACKUP_PAGE_BYTES || page.len() >= BACKUP_PAGE_ROWS {
                    break;
                }
            }
            Ok(Some(page).filter(|page| !page.is_empty()))
        })
    }

    /// Reads every row of the store, some at a time, as long as somebody wants to know.
    pub fn verify(&self, is_wanted: &dyn Fn() -> bool) -> Result<Verified, StoreError> {
        let mut verified = Verified::default();
        for table in tables::ALL {
            let mut of_table = TableVerified { table: name(table).to_owned(), rows: 0, damaged: 0 };
            let mut after = None;
            while is_wanted()
                && let Some(page) = self.page(*table, after.as_deref())?
            {
                for (key, value) in &page {
                    of_table.rows += 1;
                    of_table.damaged += u64::from(!self.is_good(table, key, value));
                }
                after = page.into_iter().next_back().map(|(key, _)| key);
            }
            verified.add(of_table);
        }
        Ok(verified)
    }

    fn is_good(&self, table: &Table, key: &[u8], value: &[u8]) -> bool {
        is_whole(name(table), key, value)
            && (!same(table, &tables::SECRETS) || super::secrets::opens(&self.shared.keyring(), key, value))
    }
}

/// Reads every row of the database in a folder in which no daemon runs, and compares every page with its checksum.
pub fn verify_stopped(folder: &Path) -> Result<Verified, OpenError> {
    let file = folder.join(FILE_NAME);
    let damaged = |problem: String| OpenError::Damaged { path: file.clone(), problem };
    let read = || {
        let database = builder(Opening::AgainChecked).open(&file).map_err(|error| OpenError::of(error, folder))?;
        let view = database.begin_read().map_err(|error| damaged(error.to_string()))?;
        let mut verified = Verified::default();
        for table in tables::ALL {
            let rows = view.open_table(*table).map_err(|error| damaged(error.to_string()))?;
            let mut of_table = TableVerified { table: name(table).to_owned(), rows: 0, damaged: 0 };
            for row in rows.iter().map_err(|error| damaged(error.to_string()))? {
                let (key, value) = row.map_err(|error| damaged(error.to_string()))?;
                of_table.rows += 1;
                of_table.damaged += u64::from(!is_whole(name(table), key.value(), value.value()));
            }
            verified.add(of_table);
        }
        Ok(verified)
    };
    guard::quietly(read).unwrap_or_else(|_| Err(damaged(DAMAGED_PAGE.to_owned())))
}

type Page = Vec<(Vec<u8>, Vec<u8>)>;

pub(super) fn values(view: &impl View, rows: HashSet<Row>) -> Result<Vec<Found>, StoreError> {
    let mut rows: Vec<Row> = rows.into_iter().collect();
    rows.sort_unstable();
    let mut found = Vec::with_capacity(rows.len());
    for (place, key) in rows {
        let table = tables::ALL[place];
        let value = view.rows(table)?.get(key.as_slice())?.map(|value| value.value().to_vec());
        found.push((table, key, value));
    }
    Ok(found)
}

/// What is copied, and how.
pub(super) struct Plan<'p> {
    /// From which tables.
    pub(super) tables: &'p [Table],
    /// Where it is noted what is written meanwhile.
    pub(super) watch: fn(&Shared) -> &Watch,
    /// Whether a row is.
    pub(super) takes: &'p dyn Fn(&Table, &[u8]) -> bool,
    /// Another form of its value, where it is to have one.
    pub(super) becomes: &'p Becomes<'p>,
}

/// Another form of a row's value, by its table and key, where it is to have one.
pub(super) type Becomes<'b> = dyn Fn(&Table, &[u8], &[u8]) -> Result<Option<Vec<u8>>, StoreError> + 'b;

impl Plan<'_> {
    fn write(
        &self,
        (table, key, value): (&Table, &[u8], Option<&[u8]>),
        writer: &mut Writer,
    ) -> Result<(), BackupError> {
        if !(self.takes)(table, key) {
            return Ok(());
        }
        let other = value.map(|value| (self.becomes)(table, key, value)).transpose()?.flatten();
        Ok(writer.row(name(table), key, other.as_deref().or(value))?)
    }

    pub(super) fn write_all(&self, found: &[Found], writer: &mut Writer) -> Result<(), BackupError> {
        found.iter().try_for_each(|(table, key, value)| self.write((table, key, value.as_deref()), writer))
    }
}

fn name(table: &Table) -> &str {
    table.name()
}

pub(super) fn named(name: &str) -> Option<Table> {
    tables::ALL.iter().find(|table| table.name() == name).copied()
}

pub(super) fn same(one: &Table, other: &Table) -> bool {
    name(one) == name(other)
}

/// See [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(data: &[u8]) {
    format::fuzz(data);
}

/// What a look at every row found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Rows that there are.
    pub rows: u64,
    /// Rows that are not what was written.
    pub damaged: u64,
    /// By table, those that have rows.
    pub tables: Vec<TableVerified>,
}

/// The rows of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableVerified {
    /// Its name.
    pub table: String,
    /// Rows that it has.
    pub rows: u64,
    /// Those that are not what was written.
    pub damaged: u64,
}

impl Verified {
    fn add(&mut self, table: TableVerified) {
        self.rows += table.rows;
        self.damaged += table.damaged;
        if table.rows > 0 {
            self.tables.push(table);
        }
    }
}

/// Whether a row is what was written, as far as its checksum tells; rows of indexes have none, as they can be made anew.
fn is_whole(table: &str, key: &[u8], value: &[u8]) -> bool {
    tables::INDEXES.iter().any(|index| name(index) == table) || codec::is_whole(key, value)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::records::SecretBytes;
    use crate::store::settings;
    use crate::sys::bell::Bell;

    /// Enough for several pages.
    const ROWS: u32 = 2_500;

    fn open(folder: &Path) -> Store {
        Store::open(folder, Arc::new(Bell::default())).unwrap()
    }

    fn value(round: u32) -> String {
        format!("{round} {}", "x".repeat(400))
    }

    /// Writes a round: the same into every row that it touches, in one batch; and one row comes, and one goes.
    fn write_round(store: &Store, round: u32) {
        let written = store.write::<_, StoreError>(move |batch| {
            for row in (0..ROWS).step_by(50) {
                settings::set(batch, &format!("row {row:05}"), Some(&value(round)))?;
            }
            settings::set(batch, &format!("a {round}"), Some("there"))?;
            settings::set(batch, &format!("a {}", round.wrapping_sub(1)), None)?;
            settings::set_secret(batch, "round", &SecretBytes::new(round.to_be_bytes().to_vec()))
        });
        assert_eq!(written, Ok(()));
    }

    /// A place to write to that has the store written to, each time.
    struct Busy<'s> {
        store: &'s Store,
        bytes: Vec<u8>,
        round: u32,
    }

    impl Write for Busy<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.round += 1;
            write_round(self.store, self.round);
            self.bytes.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn filled(folder: &Path) -> Store {
        let store = open(folder);
        let written = store.write::<_, StoreError>(|batch| {
            (0..ROWS).try_for_each(|row| settings::set(batch, &format!("row {row:05}"), Some(&value(0))))
        });
        assert_eq!(written, Ok(()));
        write_round(&store, 1);
        store
    }

    fn round_of(store: &Store) -> u32 {
        let round = store.read::<_, StoreError>(|view| settings::secret(view, "round")).unwrap().unwrap();
        u32::from_be_bytes(round.as_bytes().try_into().unwrap())
    }

    /// Read page by page, a backup would hold some rows as they were before a batch, and others as they were after it:
    /// a state that never was. What was written meanwhile is read once more.
    #[test]
    fn a_backup_is_of_one_moment_whatever_is_written_meanwhile() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = filled(folder.path());
        let mut out = Busy { store: &store, bytes: Vec::new(), round: 1 };
        store.backup(&mut out, None, Timestamp(7)).unwrap();
        let (bytes, last) = (out.bytes, out.round);
        assert!(last > 10, "it was written to {last} times");
        assert_eq!(round_of(&store), last, "the store went on");
        let file = other.path().join("backup");
        std::fs::write(&file, &bytes).unwrap();
        std::fs::copy(folder.path().join("hydrophone.key"), other.path().join("hydrophone.key")).unwrap();
        let restored = restore(&file, other.path(), None, Timestamp(8)).unwrap();
        assert_eq!((restored.damaged, restored.former), (0, None));
        let restored = open(other.path());
        let round = round_of(&restored);
        assert!(round > 1 && round <= last, "{round} of {last}");
        let read = |name: String| restored.read::<_, StoreError>(move |view| settings::value(view, &name)).unwrap();
        for row in 0..ROWS {
            let expected = if row % 50 == 0 { value(round) } else { value(0) };
            assert!(read(format!("row {row:05}")) == Some(expected), "row {row}");
        }
        for other in 0..=last {
            assert_eq!(read(format!("a {other}")).is_some(), other == round, "{other} of {round}");
        }
        assert_eq!(restored.verify(&|| true).unwrap().damaged, 0);
        // And again: nothing is left of the first.
        let mut again = Vec::new();
        store.backup(&mut again, None, Timestamp(9)).unwrap();
        let head = Head::new(schema::NEWEST, Timestamp(9), key_of(&restored), false, None);
        std::fs::write(&file, &again).unwrap();
        assert_eq!(check(&file).unwrap().0, head);
    }

    fn key_of(store: &Store) -> crate::sys::seal::KeyId {
        match store.shared.keyring() {
            Keyring::Open(key) | Keyring::Both(key, _) => key.id(),
            Keyring::Locked(locked) => locked.needed,
        }
    }

    /// Whoever takes the backup is gone before its end: the next one is not refused.
    #[test]
    fn a_backup_that_cannot_be_written_ends_and_leaves_the_way_free() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path());
        assert!(matches!(store.backup(&mut Full, None, Timestamp(7)), Err(BackupError::Write(_))));
        assert!(store.backup(&mut Vec::new(), None, Timestamp(7)).is_ok());
    }

    #[test]
    fn a_restore_needs_room_and_a_folder_that_nobody_uses() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path());
        let file = folder.path().join("backup");
        let mut bytes = Vec::new();
        store.backup(&mut bytes, None, Timestamp(7)).unwrap();
        std::fs::write(&file, &bytes).unwrap();
        let used = restore(&file, folder.path(), None, Timestamp(8));
        assert!(matches!(used, Err(RestoreError::InUse(_))), "{used:?}");
        assert!(matches!(restore::room_for(u64::MAX / 8, folder.path()), Err(RestoreError::NoSpace { .. })));
        let before = std::fs::read_dir(folder.path()).unwrap().count();
        store.close();
        bytes.truncate(bytes.len() - 1);
        std::fs::write(&file, &bytes).unwrap();
        assert!(matches!(restore(&file, folder.path(), None, Timestamp(8)), Err(RestoreError::Bad { .. })));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), before, "nothing is left behind");
        assert_eq!(round_of(&open(folder.path())), 1);
    }

    #[test]
    fn what_nobody_wants_to_know_any_more_is_not_read_on() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path());
        let pages = std::cell::Cell::new(0);
        let whole = store.verify(&|| true).unwrap();
        let part = store.verify(&|| pages.replace(pages.get() + 1) < 1).unwrap();
        assert!(part.rows < whole.rows, "{} of {}", part.rows, whole.rows);
    }

    #[test]
    fn a_damaged_row_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path());
        let written = store.write::<_, StoreError>(|batch| {
            batch.put_bytes(tables::SETTINGS, &super::super::tables::Key::new().tail(b"row 00007"), b"\x81not it")
        });
        assert_eq!(written, Ok(()));
        let verified = store.verify(&|| true).unwrap();
        assert_eq!(verified.damaged, 1);
        let of_settings = verified.tables.iter().find(|table| table.table == "settings").unwrap();
        assert_eq!((of_settings.damaged, of_settings.rows), (1, u64::from(ROWS) + 1));
        store.close();
        assert_eq!(verify_stopped(folder.path()).unwrap().damaged, 1);
    }
}
