//! The database's format: which one this version writes, and how older ones become it.

use std::path::Path;

use redb::{Database, ReadOnlyDatabase, ReadableDatabase};

use super::secrets::{self, Keyring};
use super::tables::{self, Key};
use super::{Batch, Reader, StoreError, catalogue, changes, deliveries, findings, get, standby};
use crate::sys::clock;
use crate::sys::seal::{BadKey, Place};

/// The format that this version writes.
pub(super) const NEWEST: u32 = 7;

/// Turns a database of the format before into the one after, in one transaction.
type Migration = fn(&Batch) -> Result<(), StoreError>;

/// `MIGRATIONS[n]` leads from format `n + 1` to `n + 2`. Every format ever released still opens.
const MIGRATIONS: &[Migration] = &[
    // Format 2 knows what is closed by the time, and how many bytes the log of changes has.
    |batch| {
        findings::index_closed(batch)?;
        changes::count_bytes(batch)
    },
    // Format 3 has the tables of destinations, which every step makes.
    |_| Ok(()),
    // Format 4 has an order of paths, and tables of what the page shows.
    findings::index_paths,
    // Format 5 holds its secrets sealed.
    secrets::seal_all,
    // Format 6 has its calls in the order of SonarQube's tasks.
    deliveries::order_calls,
    // Format 7 tells one inventory from another, and holds those of other boxes.
    catalogue::name_inventory,
];

/// Why a database cannot be used.
pub(super) enum Unfit {
    Newer(u32),
    /// Tables are missing.
    Damaged(String),
    Key(BadKey),
    Store(StoreError),
}

impl<E: Into<StoreError>> From<E> for Unfit {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

/// Makes the tables of a new database, leads an older one to the newest format, refuses a newer one. A database
/// of the newest format is not written to, so that starting costs no write. Returns what its secrets are sealed with.
pub(super) fn prepare(database: &Database, key: &Place) -> Result<Keyring, Unfit> {
    let format = found(database)?;
    let keyring = match format {
        // Nothing of it is understood.
        Some(found) if found > NEWEST => return Err(Unfit::Newer(found)),
        // What has tables is not new: it would look like an inventory without findings.
        None if has_tables(database)? => return Err(Unfit::Damaged("its format is not to be found".to_owned())),
        None => Keyring::new(key).map_err(Unfit::Key)?,
        Some(_) => Keyring::of(&reader(database)?, key)?.map_err(Unfit::Key)?,
    };
    match format {
        Some(found) => {
            migrate(database, &keyring, found, MIGRATIONS)?;
            let reader = reader(database)?;
            for &table in tables::ALL {
                match reader.transaction.open_table(table) {
                    Ok(_) => {}
                    Err(redb::TableError::Storage(error)) => return Err(Unfit::Store(error.into())),
                    Err(error) => return Err(Unfit::Damaged(error.to_string())),
                }
            }
        }
        None => {
            write(database, &keyring, |batch| {
                for &table in tables::ALL {
                    batch.transaction.open_table(table)?;
                }
                secrets::note_key(batch, clock::now())?;
                catalogue::name_inventory(batch)?;
                set_format(batch, NEWEST)
            })?;
        }
    }
    Ok(keyring)
}

/// What the secrets of a database of the newest format are sealed with, if that is to be found.
pub(super) fn keyring(database: &Database, key: &Place) -> Option<Keyring> {
    let keyring = Keyring::of(&reader(database).ok()?, key).ok()?.ok()?;
    keyring.locked().is_none().then_some(keyring)
}

/// Whether only what is the box's own may be written.
pub(super) fn stands_by(database: &Database) -> Result<bool, StoreError> {
    standby::stands_by(&reader(database)?)
}

fn reader(database: &impl ReadableDatabase) -> Result<Reader, StoreError> {
    Ok(Reader::new(database.begin_read()?, Keyring::NONE))
}

/// Overwrites, as far as redb can be brought to it, what free pages still hold of secrets that are sealed by now. Without
/// success it stays due.
pub(super) fn scrub_where_due(database: &mut Database, keyring: &Keyring) -> Result<(), StoreError> {
    if !secrets::is_unscrubbed(&reader(database)?)? {
        return Ok(());
    }
    tracing::info!("the secrets are sealed from here on; what was stored of them before is being removed");
    database.compact().map_err(|error| StoreError::Failed(error.to_string()))?;
    write(database, keyring, secrets::note_scrubbed)
}

/// The database's format; nothing where it is not to be found, as in an empty file in its place.
pub(super) fn format_of(database: &Database) -> Option<u32> {
    found(database).ok().flatten()
}

/// The format of a file that this version does not know yet, found without a change to a byte of it.
pub(super) fn newer_in(file: &Path) -> Option<u32> {
    let database = ReadOnlyDatabase::open(file).ok()?;
    found(&database).ok().flatten().filter(|&found| found > NEWEST)
}

fn has_tables(database: &Database) -> Result<bool, StoreError> {
    Ok(database.begin_read()?.list_tables()?.next().is_some())
}

fn found(database: &impl ReadableDatabase) -> Result<Option<u32>, Unfit> {
    let reader = reader(database)?;
    match reader.transaction.open_table(tables::META) {
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(Unfit::Store(error.into())),
        Ok(_) => Ok(get(&reader, tables::META, &key())?),
    }
}

fn migrate(database: &Database, keyring: &Keyring, found: u32, migrations: &[Migration]) -> Result<(), Unfit> {
    let first = (found as usize).saturating_sub(1);
    for (step, migration) in migrations.iter().enumerate().skip(first) {
        write(database, keyring, |batch| {
            for &table in tables::ALL {
                batch.transaction.open_table(table)?;
            }
            migration(batch)?;
            set_format(batch, u32::try_from(step).unwrap_or(u32::MAX).saturating_add(2))
        })?;
    }
    Ok(())
}

fn set_format(batch: &Batch, format: u32) -> Result<(), StoreError> {
    batch.put(tables::META, &key(), &format)
}

/// Where the format is told.
pub(super) const KEY: &[u8] = b"schema";

fn key() -> Key {
    Key::new().tail(KEY)
}

/// Changes the database in a transaction of its own, while nobody else does.
pub(super) fn write(
    database: &Database,
    keyring: &Keyring,
    change: impl FnOnce(&Batch) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    change(&Batch::new(&transaction, keyring, std::time::Instant::now(), None))?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Database {
        Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap()
    }

    #[test]
    fn a_new_database_gets_the_newest_format() {
        let database = database();
        assert!(prepare(&database, &Place::nowhere()).is_ok());
        assert!(matches!(found(&database), Ok(Some(NEWEST))));
    }

    #[test]
    fn a_database_that_lacks_a_table_is_damaged_and_not_made_new() {
        for &table in tables::ALL {
            let database = database();
            assert!(prepare(&database, &Place::nowhere()).is_ok());
            let transaction = database.begin_write().unwrap();
            assert!(transaction.delete_table(table).unwrap());
            transaction.commit().unwrap();
            assert!(matches!(prepare(&database, &Place::nowhere()), Err(Unfit::Damaged(_))), "{table}");
            let view = database.begin_read().unwrap();
            assert_eq!(view.list_tables().unwrap().count(), tables::ALL.len() - 1, "{table}");
        }
    }

    #[test]
    fn a_newer_database_is_refused() {
        let database = database();
        assert!(prepare(&database, &Place::nowhere()).is_ok());
        write(&database, &Keyring::NONE, |batch| set_format(batch, NEWEST + 1)).unwrap();
        assert!(matches!(prepare(&database, &Place::nowhere()), Err(Unfit::Newer(found)) if found == NEWEST + 1));
    }

    /// The way back is another one than that of a disk that fails, and a look must tell it, too.
    #[test]
    fn a_database_of_a_newer_version_is_told_from_a_damaged_one() {
        use crate::store::{FILE_NAME, OpenError, Store};
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE_NAME);
        let open = || Store::open(folder.path(), std::sync::Arc::default()).err();
        Store::open(folder.path(), std::sync::Arc::default()).unwrap().close();
        let database = Database::open(&file).unwrap();
        write(&database, &Keyring::NONE, |batch| set_format(batch, NEWEST + 1)).unwrap();
        drop(database);
        let looked = Store::open_to_look(folder.path()).err();
        assert!(matches!(looked, Some(OpenError::Newer { found, .. }) if found == NEWEST + 1), "{looked:?}");
        // The form of redb's own file, at the head of each of its two commits.
        let mut bytes = std::fs::read(&file).unwrap();
        (bytes[64], bytes[192]) = (9, 9);
        std::fs::write(&file, &bytes).unwrap();
        for refused in [open(), Store::open_to_look(folder.path()).err()] {
            let refused = refused.unwrap();
            assert!(matches!(refused, OpenError::NewerFile { .. }) && refused.needs_person(), "{refused}");
            let said = refused.to_string();
            assert!(said.contains("found 9") && said.contains("install the newer hydrophone"), "{said}");
        }
        assert!(std::fs::read(&file).unwrap() == bytes, "it stays as it is");
    }

    #[test]
    fn an_older_database_goes_through_every_step_that_it_lacks() {
        fn mark(batch: &Batch, name: &[u8]) -> Result<(), StoreError> {
            batch.put(tables::META, &Key::new().tail(name), &1_u32)
        }
        let steps: &[Migration] = &[|batch| mark(batch, b"one"), |batch| mark(batch, b"two")];
        let database = database();
        write(&database, &Keyring::NONE, |batch| set_format(batch, 2)).unwrap();
        assert!(migrate(&database, &Keyring::NONE, 2, steps).is_ok());
        let reader = reader(&database).unwrap();
        let has = |name: &[u8]| get::<u32>(&reader, tables::META, &Key::new().tail(name)).unwrap().is_some();
        assert_eq!((has(b"one"), has(b"two")), (false, true));
        assert!(matches!(found(&database), Ok(Some(3))));
    }
}
