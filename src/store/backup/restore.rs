//! A backup becomes a database again. Everything is looked at before anything is touched; the former database is kept
//! under another name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, WriteTransaction};

use super::format::{Part, Reader};
use super::{BadBackup, Head, TableVerified, Verified, is_whole, name, named};
use crate::domain::fleet::InventoryId;
use crate::domain::limits::{BACKUP_GROWS_MAX, FREE_SPACE_BYTES_MIN, STORE_CACHE_BYTES};
use crate::domain::time::Timestamp;
use crate::store::tables::{self, Table};
use crate::store::{FILE_NAME, catalogue, codec, schema, standby};
use crate::sys::random;
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
    #[error("the state folder {} is in use by a hydrophone that runs; stop it first: `systemctl stop hydrophone.service 'hydrophone-*.socket'`", .0.display())]
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
    let size = std::fs::metadata(path).map_err(|error| failed(path, error))?.len();
    room_for(size, if is_new { parent } else { folder })?;
    if is_new {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().mode(0o700).create(folder).map_err(|error| failed(folder, error))?;
    }
    let owner = (me == 0 && !is_new).then(|| (place.uid(), place.gid()));
    let file = folder.join(FILE_NAME);
    // Held to the end, so that no daemon starts in the middle.
    let held = Held::take(&file, folder, owner)?;
    let built = file.with_extension("redb.restoring");
    let mut change = Change { folder, owner, now, made: vec![built.clone()] };
    if held.is_new {
        change.made.push(file.clone());
    }
    let done = build(path, &built, owner, &restored).and_then(|new| {
        // A daemon that starts as soon as it is in its place has to wait for the key, too.
        new.try_lock().map_err(|error| failed(&built, error.into()))?;
        let done = change.put_in_place(&built, &file, key, held.is_new);
        drop(new);
        done
    });
    if done.is_err() {
        // What was not put in its place is of no use.
        for made in &change.made {
            let _ = std::fs::remove_file(made);
        }
    }
    drop(held);
    Ok(Restored { rows: verified.rows, damaged: verified.damaged, ..done? })
}

/// A row as it is of use after some time has passed: what was numbered since the backup was made keeps its numbers for
/// itself, and nobody is signed in.
fn restored(table: Table, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let is = |one: Table| name(&one) == name(&table);
    if is(tables::SESSIONS) || (is(tables::META) && key == standby::COPIED) {
        return None;
    }
    Some(leave_numbers_out(table, key, value).unwrap_or_else(|| value.to_vec()))
}

/// Numbers that were given since a backup was made must not be given again: far more than are used meanwhile.
pub(super) const NUMBERS_LEFT_OUT: u64 = 1 << 20;

/// A counter that goes on far behind where it was, another box of two than it was, or another name for the inventory, which others may know as it was after the
/// backup; nothing if the row is neither, or a damaged one.
pub(super) fn leave_numbers_out(table: Table, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    if name(&table) != name(&tables::META) {
        return None;
    }
    if key == standby::PART {
        return Some(codec::seal(key, &standby::restored(value)));
    }
    if key == catalogue::INVENTORY {
        return Some(codec::seal(key, &InventoryId(random::bytes())));
    }
    if !key.starts_with(b"next/") {
        return None;
    }
    let next: u64 = codec::open(key, value).ok()?;
    Some(codec::seal(key, &next.saturating_add(NUMBERS_LEFT_OUT)))
}

/// The database's file with the lock that a daemon takes; made where there is none, as a daemon does.
struct Held {
    _file: File,
    is_new: bool,
}

impl Held {
    fn take(file: &Path, folder: &Path, owner: Owner) -> Result<Self, RestoreError> {
        let (opened, is_new) = match File::options().read(true).write(true).open(file) {
            Ok(opened) => (opened, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (create(file, owner)?, true),
            Err(error) => return Err(failed(file, error)),
        };
        match opened.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(RestoreError::InUse(folder.to_owned())),
            Err(std::fs::TryLockError::Error(error)) => return Err(failed(file, error)),
        }
        // Whoever held it before may have put another file in its place.
        let same = opened.metadata().and_then(|held| Ok((held.dev(), held.ino()) == named_as(file)?));
        match same {
            Ok(true) => Ok(Self { _file: opened, is_new }),
            Ok(false) => Err(RestoreError::InUse(folder.to_owned())),
            Err(error) => Err(failed(file, error)),
        }
    }
}

/// Which file has a name.
fn named_as(file: &Path) -> io::Result<(u64, u64)> {
    std::fs::metadata(file).map(|found| (found.dev(), found.ino()))
}

/// Whose files are to be, where that is not who makes them.
type Owner = Option<(u32, u32)>;

/// Makes a file that only its owner may read. The folder is the service's: a name in it may lead anywhere, so that nothing
/// that is there is opened or given to anybody.
fn create(path: &Path, owner: Owner) -> Result<File, RestoreError> {
    let made = File::options().read(true).write(true).create_new(true).mode(0o600).open(path);
    let file = made.map_err(|error| failed(path, error))?;
    if let Some((user, group)) = owner {
        std::os::unix::fs::fchown(&file, Some(user), Some(group)).map_err(|error| failed(path, error))?;
    }
    Ok(file)
}

/// A state folder that is being changed.
struct Change<'f> {
    folder: &'f Path,
    owner: Owner,
    now: Timestamp,
    /// Files that are of no use if it fails.
    made: Vec<PathBuf>,
}

impl Change<'_> {
    /// Everything that can fail is done before the database is exchanged, and the key is exchanged last: where that is cut
    /// short, the next start finds the key of the new database beside the former one, and ends it.
    fn put_in_place(
        &mut self,
        built: &Path,
        file: &Path,
        key: Option<&Key>,
        is_new: bool,
    ) -> Result<Restored, RestoreError> {
        let mut restored = Restored { rows: 0, damaged: 0, former: None, key: None, former_key: None };
        let path = self.folder.join(seal::NAME);
        let begun = key.map(|key| self.prepare_key(key, &path, &mut restored)).transpose()?.flatten();
        if !is_new {
            restored.former = Some(self.link_aside(file)?);
        }
        self.sync()?;
        // There is a database at any moment: a daemon that finds none begins a new one.
        std::fs::rename(built, file).map_err(|error| failed(file, error))?;
        if let Some(begun) = begun {
            std::fs::rename(&begun, &path).map_err(|error| {
                if let Some(former) = &restored.former {
                    // If that fails, too, the key stays where the next start finds it.
                    if std::fs::rename(former, file).is_err() {
                        self.made.clear();
                    }
                }
                failed(&path, error)
            })?;
        }
        // From here on it is done, whatever the disk says.
        self.made.clear();
        self.sync()?;
        Ok(restored)
    }

    /// Writes the key beside the one that is there, under the name that a start knows. Nothing where it is that one.
    fn prepare_key(
        &mut self,
        key: &Key,
        path: &Path,
        restored: &mut Restored,
    ) -> Result<Option<PathBuf>, RestoreError> {
        restored.key = Some(path.to_owned());
        if matches!(seal::Place::folder(self.folder).find(), Ok(Some(there)) if there.id() == key.id()) {
            return Ok(None);
        }
        let begun = self.folder.join(seal::RESTORING_NAME);
        // Of a restore that was cut short; it may be the only copy of the key of the database that is there.
        if begun.symlink_metadata().is_ok() {
            let aside = self.aside(&begun)?;
            std::fs::rename(&begun, &aside).map_err(|error| failed(&begun, error))?;
        }
        let mut file = create(&begun, self.owner)?;
        self.made.push(begun.clone());
        key.write_to(&mut file).map_err(|error| failed(&begun, error))?;
        if path.symlink_metadata().is_ok() {
            restored.former_key = Some(self.link_aside(path)?);
        }
        Ok(Some(begun))
    }

    /// Gives a file one more name.
    fn link_aside(&mut self, file: &Path) -> Result<PathBuf, RestoreError> {
        let aside = self.aside(file)?;
        std::fs::hard_link(file, &aside).map_err(|error| failed(file, error))?;
        self.made.push(aside.clone());
        Ok(aside)
    }

    /// A name for a file that is kept.
    fn aside(&self, file: &Path) -> Result<PathBuf, RestoreError> {
        let time: String = self.now.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        (1..=100)
            .map(|number| match number {
                1 => format!("{name}.before-restore-{time}"),
                number => format!("{name}.before-restore-{time}-{number}"),
            })
            .map(|name| file.with_file_name(name))
            .find(|path| path.symlink_metadata().is_err())
            .ok_or_else(|| failed(file, io::ErrorKind::AlreadyExists.into()))
    }

    fn sync(&self) -> Result<(), RestoreError> {
        File::open(self.folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(self.folder, error))
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

fn failed(path: &Path, error: io::Error) -> RestoreError {
    RestoreError::Write { path: path.to_owned(), error }
}

/// What becomes of a row; nothing where it is left out.
type Becomes = dyn Fn(Table, &[u8], &[u8]) -> Option<Vec<u8>>;

/// Makes a database of the backup's rows, and returns its file.
pub(super) fn build(path: &Path, built: &Path, owner: Owner, becomes: &Becomes) -> Result<File, RestoreError> {
    // Of a restore that was cut short.
    let _ = std::fs::remove_file(built);
    let file = create(built, owner)?;
    let made = file.try_clone().map_err(|error| failed(built, error))?;
    let broken = |error: redb::Error| failed(built, io::Error::other(error));
    let mut builder = Database::builder();
    builder.set_cache_size(STORE_CACHE_BYTES);
    let backend = FileBackend::new(file).map_err(|error| broken(error.into()))?;
    let database = builder.create_with_backend(backend).map_err(|error| broken(error.into()))?;
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
        let value = value.and_then(|value| becomes(table, key, value));
        put(transaction.as_ref().expect("it was begun"), table, key, value.as_deref()).map_err(broken)
    })?;
    let mut last = transaction.expect("it was begun");
    last.set_quick_repair(true);
    last.commit().map_err(|error| broken(error.into()))?;
    Ok(made)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use super::*;
    use crate::domain::ids::AssetName;
    use crate::store::records::{Asset, SecretBytes};
    use crate::store::tables::Key as RowKey;
    use crate::store::{OpenError, Store, StoreError, catalogue, settings};
    use crate::sys::bell::Bell;

    fn open(folder: &Path) -> Result<Store, OpenError> {
        Store::open(folder, Arc::new(Bell::default()))
    }

    /// A box of a name, its key, and a backup of it.
    fn boxed(name: &'static str) -> (tempfile::TempDir, Key, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).unwrap();
        let written = store.write::<_, StoreError>(move |batch| {
            settings::set_secret(batch, "name", &SecretBytes::new(name.as_bytes().to_vec()))?;
            catalogue::add_asset(batch, &Asset::new(AssetName::parse(name).unwrap(), Timestamp(1)))?;
            batch.put(tables::SESSIONS, &RowKey::new().tail(b"somebody"), &1_u32)
        });
        assert_eq!(written, Ok(()));
        let file = folder.path().join("backup");
        store.backup(&mut File::create(&file).unwrap(), None, Timestamp(2)).unwrap();
        store.close();
        let key = seal::Place::folder(folder.path()).find().unwrap().unwrap();
        (folder, key, file)
    }

    fn name_of(folder: &Path) -> String {
        let store = open(folder).unwrap();
        let name = store.read::<_, StoreError>(|view| settings::secret(view, "name")).unwrap().unwrap();
        store.close();
        name.as_text().to_owned()
    }

    fn files(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), std::fs::read(path).ok())).collect()
    }

    /// With the key of another database, or none, a box is locked. So the former key stays until the new one can take its
    /// place, and nothing of what fails before is left.
    #[test]
    fn a_key_that_cannot_be_put_in_place_changes_nothing() {
        let ((there, own, _), (_other, key, backup)) = (boxed("there"), boxed("other"));
        let path = there.path().join(seal::NAME);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let before = files(there.path());
        let failed = restore(&backup, there.path(), Some(&key), Timestamp(3));
        assert!(matches!(failed, Err(RestoreError::Write { .. })), "{failed:?}");
        assert_eq!(files(there.path()), before);
        std::fs::remove_dir(&path).unwrap();
        seal::write(&path, &own).unwrap();
        assert_eq!(name_of(there.path()), "there");
        let restored = restore(&backup, there.path(), Some(&key), Timestamp(3)).unwrap();
        assert_eq!(name_of(there.path()), "other");
        // What was there is a whole box, too.
        std::fs::rename(restored.former.unwrap(), there.path().join(FILE_NAME)).unwrap();
        std::fs::rename(restored.former_key.unwrap(), &path).unwrap();
        assert_eq!(name_of(there.path()), "there");
    }

    /// Cut short between the two, the box has the new database and the former key; the new key lies beside it.
    #[test]
    fn a_restore_that_was_cut_short_before_its_key_is_ended_by_the_next_start() {
        let ((there, own, _), (_other, key, backup)) = (boxed("there"), boxed("other"));
        restore(&backup, there.path(), Some(&key), Timestamp(3)).unwrap();
        let path = there.path().join(seal::NAME);
        std::fs::rename(&path, there.path().join(seal::RESTORING_NAME)).unwrap();
        seal::write(&path, &own).unwrap();
        assert_eq!(name_of(there.path()), "other");
        assert!(!there.path().join(seal::RESTORING_NAME).exists());
        // One that is begun again instead overwrites no key.
        seal::write(&there.path().join(seal::RESTORING_NAME), &own).unwrap();
        restore(&backup, there.path(), Some(&Key::random()), Timestamp(4)).unwrap();
        let kept = there.path().join(format!("{}.before-restore-19700101T000000Z", seal::RESTORING_NAME));
        assert!(kept.exists(), "{:?}", files(there.path()).keys());
    }

    /// Findings, deliveries and changes are known by their numbers elsewhere: none is given to two things. And who was signed
    /// out since the backup does not come back.
    #[test]
    fn what_is_numbered_after_a_restore_has_numbers_of_its_own_and_nobody_is_signed_in() {
        let (there, _, backup) = boxed("there");
        restore(&backup, there.path(), None, Timestamp(3)).unwrap();
        let store = open(there.path()).unwrap();
        let sessions = store.read::<_, StoreError>(|view| crate::store::last_key(view, tables::SESSIONS)).unwrap();
        assert_eq!(sessions, None);
        let added = store.write::<_, StoreError>(|batch| {
            catalogue::add_asset(batch, &Asset::new(AssetName::parse("Other").unwrap(), Timestamp(4)))
        });
        assert!(u64::from(added.unwrap().0) > NUMBERS_LEFT_OUT);
    }

    /// Without a database there is nothing to lock; a daemon that starts in the middle would take calls into a database of its
    /// own, and lose them when it is replaced.
    #[test]
    fn no_daemon_begins_a_database_where_one_is_being_restored() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE_NAME);
        let held = Held::take(&file, folder.path(), None).unwrap();
        assert!(held.is_new);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
        for _ in 0..2 {
            assert!(matches!(open(folder.path()), Err(OpenError::InUse(_))));
            assert!(matches!(Held::take(&file, folder.path(), None), Err(RestoreError::InUse(_))));
            assert!(file.exists(), "the file that is held keeps its name");
        }
        drop(held);
        open(folder.path()).unwrap().close();
    }

    /// The service could have put links into its folder: root gives away, and writes to, only what it made.
    #[test]
    fn a_link_in_the_folder_leads_a_restore_nowhere() {
        use std::os::unix::fs::symlink;
        let ((there, ..), (_other, key, backup)) = (boxed("there"), boxed("other"));
        let is_root = rustix::process::geteuid().is_root();
        let other = 65_534;
        if is_root {
            std::os::unix::fs::chown(there.path(), Some(other), Some(other)).unwrap();
        }
        let victim = tempfile::tempdir().unwrap();
        let victim = victim.path().join("victim");
        std::fs::write(&victim, "mine").unwrap();
        for name in [seal::RESTORING_NAME, "hydrophone.redb.restoring"] {
            symlink(&victim, there.path().join(name)).unwrap();
        }
        restore(&backup, there.path(), Some(&key), Timestamp(3)).unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "mine");
        let owner = |path: &Path| std::fs::symlink_metadata(path).unwrap().uid();
        assert_eq!(owner(&victim), rustix::process::geteuid().as_raw());
        if is_root {
            assert_eq!([FILE_NAME, seal::NAME].map(|name| owner(&there.path().join(name))), [other; 2]);
        }
    }
}
