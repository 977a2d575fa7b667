//! A backup becomes a database again. Everything is looked at before anything is touched; the former database is kept
//! under another name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::{Database, WriteTransaction};

use super::format::{Part, Reader};
use super::{BadBackup, Head, TableVerified, Verified, is_whole, name, named};
use crate::domain::limits::{BACKUP_GROWS_MAX, FREE_SPACE_BYTES_MIN, STORE_CACHE_BYTES};
use crate::domain::time::Timestamp;
use crate::store::tables::{self, Table};
use crate::store::{FILE_NAME, schema};
use crate::sys::seal::{self, Key};

/// Why a backup was not restored. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup is of no use.
    #[error("the backup {}: {bad}", .path.display())]
    Bad {
        /// The backup.
        path: PathBuf,
        /// Why.
        bad: BadBackup,
    },
    /// A daemon uses the folder.
    #[error("the state folder {} is in use by a hydrophone that runs; stop it first: `systemctl stop hydrophone`", .0.display())]
    InUse(PathBuf),
    /// It is somebody else's.
    #[error("the state folder {} belongs to another user; restore as that user or as root: `sudo hydrophone restore FILE`", .0.display())]
    NotOwner(PathBuf),
    /// It does not fit.
    #[error("only {} MiB are free where the state folder {} is, and up to {} MiB are needed; free some space there", .free / MIB, .folder.display(), .needed / MIB)]
    NoSpace {
        /// The folder.
        folder: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that have to be.
        needed: u64,
    },
    /// The system says no.
    #[error("{} cannot be written: {error}", .path.display())]
    Write {
        /// What.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
}

const MIB: u64 = 1024 * 1024;

/// What a restore left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Rows that were restored.
    pub rows: u64,
    /// Rows among them that were damaged before the backup was made.
    pub damaged: u64,
    /// The former database, where there was one.
    pub former: Option<PathBuf>,
    /// The key that was put into the state folder.
    pub key: Option<PathBuf>,
    /// The key that lay there, and was another one.
    pub former_key: Option<PathBuf>,
}

/// Reads a whole backup, and says what it is and what of it is damaged.
pub fn check(path: &Path) -> Result<(Head, Verified), RestoreError> {
    each_row(path, |_, _, _| Ok(()))
}

/// Puts a backup into a state folder, with the key that its secrets are sealed with where that is given.
pub fn restore(path: &Path, folder: &Path, key: Option<&Key>, now: Timestamp) -> Result<Restored, RestoreError> {
    let (_, verified) = check(path)?;
    // A name alone lies where the command was given.
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (place, is_new) = match std::fs::metadata(folder) {
        Ok(found) => (found, false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            (std::fs::metadata(parent).map_err(|error| failed(parent, error))?, true)
        }
        Err(error) => return Err(failed(folder, error)),
    };
    let me = rustix::process::geteuid().as_raw();
    if !is_new && me != 0 && place.uid() != me {
        return Err(RestoreError::NotOwner(folder.to_owned()));
    }
    let file = folder.join(FILE_NAME);
    // Held to the end, so that no daemon starts in the middle.
    let _lock = lock(&file, folder)?;
    let size = std::fs::metadata(path).map_err(|error| failed(path, error))?.len();
    room_for(size, if is_new { parent } else { folder })?;
    if is_new {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().mode(0o700).create(folder).map_err(|error| failed(folder, error))?;
    }
    let owner = (me == 0 && !is_new).then(|| (place.uid(), place.gid()));
    let built = file.with_extension("redb.restoring");
    let done = build(path, &built, None).and_then(|()| own(&built, owner));
    let done = done.and_then(|()| put_in_place(&built, &file, folder, key, owner, now));
    // What was not put in its place is of no use.
    let _ = std::fs::remove_file(&built);
    Ok(Restored { rows: verified.rows, damaged: verified.damaged, ..done? })
}

fn put_in_place(
    built: &Path,
    file: &Path,
    folder: &Path,
    key: Option<&Key>,
    owner: Option<(u32, u32)>,
    now: Timestamp,
) -> Result<Restored, RestoreError> {
    let mut restored = Restored { rows: 0, damaged: 0, former: None, key: None, former_key: None };
    if let Some(key) = key {
        let path = folder.join(seal::NAME);
        let there = seal::Place::folder(folder).find();
        if !matches!(&there, Ok(Some(there)) if there.id() == key.id()) {
            if path.symlink_metadata().is_ok() {
                restored.former_key = Some(set_aside(&path, now, false)?);
            }
            seal::write(&path, key).map_err(|error| failed(&path, error))?;
            own(&path, owner)?;
        }
        restored.key = Some(path);
    }
    if file.symlink_metadata().is_ok() {
        restored.former = Some(set_aside(file, now, true)?);
    }
    // There is a database at any moment: a daemon that finds none begins a new one.
    std::fs::rename(built, file).map_err(|error| failed(file, error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(folder, error))?;
    Ok(restored)
}

/// Gives a file another name, or one more.
fn set_aside(file: &Path, now: Timestamp, stays: bool) -> Result<PathBuf, RestoreError> {
    let time: String = now.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let aside = (1..=100)
        .map(|number| match number {
            1 => format!("{name}.before-restore-{time}"),
            number => format!("{name}.before-restore-{time}-{number}"),
        })
        .map(|name| file.with_file_name(name))
        .find(|path| path.symlink_metadata().is_err())
        .ok_or_else(|| failed(file, io::ErrorKind::AlreadyExists.into()))?;
    let named = if stays { std::fs::hard_link(file, &aside) } else { std::fs::rename(file, &aside) };
    named.map_err(|error| failed(&aside, error))?;
    Ok(aside)
}

/// Takes the lock that a daemon takes.
fn lock(file: &Path, folder: &Path) -> Result<Option<File>, RestoreError> {
    let opened = match File::options().read(true).write(true).open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(file, error)),
    };
    match opened.try_lock() {
        Ok(()) => Ok(Some(opened)),
        Err(std::fs::TryLockError::WouldBlock) => Err(RestoreError::InUse(folder.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(file, error)),
    }
}

pub(super) fn room_for(size: u64, folder: &Path) -> Result<(), RestoreError> {
    let stat = rustix::fs::statvfs(folder).map_err(|error| failed(folder, error.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let needed = size.saturating_mul(BACKUP_GROWS_MAX).saturating_add(FREE_SPACE_BYTES_MIN);
    if free < needed {
        return Err(RestoreError::NoSpace { folder: folder.to_owned(), free, needed });
    }
    Ok(())
}

fn own(path: &Path, owner: Option<(u32, u32)>) -> Result<(), RestoreError> {
    match owner {
        Some((user, group)) => {
            std::os::unix::fs::chown(path, Some(user), Some(group)).map_err(|error| failed(path, error))
        }
        None => Ok(()),
    }
}

fn failed(path: &Path, error: io::Error) -> RestoreError {
    RestoreError::Write { path: path.to_owned(), error }
}

/// What becomes of a row; nothing where it is left out.
type Becomes = dyn Fn(Table, &[u8], &[u8]) -> Option<Vec<u8>>;

/// Makes a database of the backup's rows.
pub(super) fn build(path: &Path, built: &Path, becomes: Option<&Becomes>) -> Result<(), RestoreError> {
    // Of a restore that was cut short.
    let _ = std::fs::remove_file(built);
    File::options().write(true).create_new(true).mode(0o600).open(built).map_err(|error| failed(built, error))?;
    let broken = |error: redb::Error| failed(built, io::Error::other(error));
    let mut builder = Database::builder();
    builder.set_cache_size(STORE_CACHE_BYTES);
    let database = builder.create(built).map_err(|error| broken(error.into()))?;
    let begin = || database.begin_write().map(Some).map_err(|error| broken(error.into()));
    let mut transaction = begin()?;
    for &table in tables::ALL {
        let open = transaction.as_ref().expect("it was begun");
        open.open_table(table).map_err(|error| broken(error.into()))?;
    }
    let mut bytes = 0;
    each_row(path, |table, key, value| {
        bytes += key.len() + value.map_or(0, <[u8]>::len);
        if bytes > TRANSACTION_BYTES {
            bytes = 0;
            // There is one at a time.
            transaction.take().map_or(Ok(()), WriteTransaction::commit).map_err(|error| broken(error.into()))?;
            transaction = begin()?;
        }
        let other = value.zip(becomes).map(|(value, becomes)| becomes(table, key, value));
        let value = other.as_ref().map_or(value, Option::as_deref);
        put(transaction.as_ref().expect("it was begun"), table, key, value).map_err(broken)
    })?;
    let mut last = transaction.expect("it was begun");
    last.set_quick_repair(true);
    last.commit().map_err(|error| broken(error.into()))
}

/// Large enough to be quick, small enough for the memory of a small box.
const TRANSACTION_BYTES: usize = 4 * 1024 * 1024;

fn put(transaction: &WriteTransaction, table: Table, key: &[u8], value: Option<&[u8]>) -> Result<(), redb::Error> {
    let mut rows = transaction.open_table(table)?;
    match value {
        Some(value) => drop(rows.insert(key, value)?),
        None => drop(rows.remove(key)?),
    }
    Ok(())
}

/// Feeds every row of a backup, in order, and counts. What a later row replaces is counted, too.
fn each_row(
    path: &Path,
    mut each: impl FnMut(Table, &[u8], Option<&[u8]>) -> Result<(), RestoreError>,
) -> Result<(Head, Verified), RestoreError> {
    let bad = |bad| RestoreError::Bad { path: path.to_owned(), bad };
    let file = File::open(path).map_err(|error| bad(error.into()))?;
    let (mut reader, head) = Reader::begin(BufReader::with_capacity(256 * 1024, file)).map_err(bad)?;
    let newer = || bad(BadBackup::Newer(format!(" (version {})", head.version)));
    if head.schema > schema::NEWEST {
        return Err(newer());
    }
    let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    loop {
        let at = reader.at();
        let rows = match reader.next().map_err(bad)? {
            Part::End => break,
            Part::Rows(rows) => rows,
        };
        let known = rows.each(|of, key, value| {
            // Its format is not newer, so that there is no other table in it.
            let table = named(of).ok_or_else(|| bad(BadBackup::Damaged { at }))?;
            let (rows, damaged) = counts.entry(name(&table).to_owned()).or_default();
            *rows += 1;
            *damaged += u64::from(value.is_some_and(|value| !is_whole(of, key, value)));
            each(table, key, value)
        })?;
        if !known {
            return Err(bad(BadBackup::Damaged { at }));
        }
    }
    let mut verified = Verified::default();
    for (table, (rows, damaged)) in counts {
        verified.add(TableVerified { table, rows, damaged });
    }
    Ok((head, verified))
}
