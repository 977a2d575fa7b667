//! Opening the database: what may keep it from being opened, with what a person can do about each, and the ways to open
//! it: as the daemon does, only to look, or with a new one in the place of a damaged one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redb::{Database, DatabaseError, StorageBackend};

use super::touched::Watch;
use super::writer::{self, Queue};
use super::{FILE_NAME, SUSPECT, Shared, Store, StoreError, backup, place, schema};
use crate::domain::limits;
use crate::domain::time::Timestamp;
use crate::sys::bell::Bell;
use crate::sys::seal::{BadKey, Place};
use crate::sys::{guard, notify, random};

/// Why the store cannot be opened at start. Each says what a person can do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the state folder {} is in use by another hydrophone; stop that one (`systemctl stop hydrophone.service 'hydrophone-*.socket'`), or give this one another folder with --state", .0.display()
    )]
    InUse(PathBuf),
    /// The folder or the file cannot be written.
    #[error("cannot write to the state folder {}: {error}; {}", .path.display(), place::remedy(path, error))]
    NotWritable {
        /// The folder.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// The folder is not what a state folder must be.
    #[error("the state folder {}: {why}", .path.display())]
    Unsafe {
        /// The folder.
        path: PathBuf,
        /// What is wrong, and the remedy.
        why: String,
    },
    /// Written by a newer version.
    #[error(
        "the database in {} has format {found}, this version knows up to {known}; install the newer hydrophone again, put back a backup that was made before the upgrade, or start with an empty folder, which reads everything anew from Sonar", .path.display()
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// The database's format.
        found: u32,
        /// The newest format that this version knows.
        known: u32,
    },
    /// Written by a newer version, in a form of file that this one does not know.
    #[error("the database {} has a form that this version does not know ({problem}); install the newer hydrophone again, put back a backup that was made before the upgrade (`sudo hydrophone restore FILE`), or start with an empty folder, which reads everything anew from Sonar", .path.display())]
    NewerFile {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// There is no database, and a copy of the configuration of one that was there.
    #[error("the database {} is not there, and the copy of its configuration is; put a backup in its place (`sudo hydrophone restore FILE`), or begin a new one with that configuration {}, or remove {} and {} to begin an empty one", .0.display(), SET_ASIDE, backup::NIGHTLY_NAME, backup::FORMER_NIGHTLY_NAME)]
    Gone(PathBuf),
    /// The copy that a new database was to be made of cannot be used.
    #[error("nothing was changed in {}, as no database can be made of the copy of its configuration: {problem}; mend that, put a backup in its place (`sudo hydrophone restore FILE`), or remove {} and {} to begin an empty one", .folder.display(), backup::NIGHTLY_NAME, backup::FORMER_NIGHTLY_NAME)]
    Copy {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The file is no database, or a damaged one.
    #[error("the database {} is damaged ({problem}); put a backup in its place (`sudo hydrophone restore FILE`), or have it kept under another name and a new one begun with last night's configuration, where that was copied {}: findings are read anew from Sonar", .path.display(), SET_ASIDE)]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The key that its secrets are sealed with is of no use.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// The disk does not give the file, or not now.
    #[error("the database {} cannot be used: {problem}; look after the disk (`df`, `dmesg`), then start again", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        problem: String,
    },
}

/// How to begin anew: by hand, and where systemd starts the gateway.
const SET_ASIDE: &str = "(start once with `hydrophone serve --set-damaged-aside`; where it is installed, write `[Service]` and \
    `Environment=HYDROPHONE_SET_DAMAGED_ASIDE=1` with `systemctl edit --runtime hydrophone`, then `systemctl restart hydrophone`; \
    with a database that is whole it changes nothing, and the next boot forgets it)";

impl OpenError {
    /// Whether only a person can change anything about it.
    pub fn needs_person(&self) -> bool {
        !matches!(self, Self::InUse(_) | Self::Unusable { .. })
    }

    /// The system's number of the error, if it is one of its.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::NotWritable { error, .. } => error.raw_os_error(),
            _ => None,
        }
    }

    pub(super) fn of(error: DatabaseError, folder: &Path) -> Self {
        use io::ErrorKind;
        let (folder, path) = (folder.to_owned(), folder.join(FILE_NAME));
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Self::InUse(folder),
            DatabaseError::Storage(redb::StorageError::Io(error)) => match error.kind() {
                ErrorKind::PermissionDenied
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::StorageFull
                | ErrorKind::QuotaExceeded => Self::NotWritable { path: folder, error },
                ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
                    Self::Damaged { path, problem: "it does not have a database's form".to_owned() }
                }
                _ => Self::Unusable { path, problem: error.to_string() },
            },
            // Of a redb that is newer than ours; redb has no error of its own for it.
            DatabaseError::Storage(redb::StorageError::Corrupted(problem)) if problem.contains("format version") => {
                Self::NewerFile { path, problem }
            }
            other => Self::Damaged { path, problem: other.to_string() },
        }
    }
}

/// Refuses a database of a newer version before it is opened for writing, which changes the file.
fn not_newer(folder: &Path, file: &Path) -> Result<(), OpenError> {
    match guard::quietly(|| schema::newer_in(file)) {
        Ok(Some(found)) => Err(OpenError::Newer { path: folder.to_owned(), found, known: schema::NEWEST }),
        // Whatever else is the matter shows when it is opened.
        _ => Ok(()),
    }
}

/// Opens the database; makes it only the first time.
pub(super) type Opener = Box<dyn Fn(Opening) -> Result<Database, DatabaseError> + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    First,
    /// The first time, comparing every page with its checksum.
    FirstChecked,
    /// After an error: if the file is not there any more, a new one must not take its place.
    Again,
    /// As `Again`, comparing every page with its checksum.
    AgainChecked,
}

impl Store {
    /// Opens or makes the database in a folder, which is made too if its parent exists. The bell rings after
    /// every commit.
    pub fn open(folder: &Path, bell: Arc<Bell>) -> Result<Self, OpenError> {
        Self::open_with(folder, bell, &Place::folder(folder))
    }

    /// Opens a database that is there, to look into it where no daemon runs. One of an earlier format is left to the daemon,
    /// which leads it to the newest one.
    pub fn open_to_look(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join(FILE_NAME);
        not_newer(folder, &path)?;
        let opener = |file: PathBuf| move |opening| builder(opening).open(&file);
        let found = guard::quietly(|| opener(path.clone())(Opening::Again));
        let database = found.unwrap_or_else(|_| Err(redb::StorageError::Corrupted(DAMAGED_PAGE.to_owned()).into()));
        let database = database.map_err(|error| OpenError::of(error, folder))?;
        let found = schema::format_of(&database);
        if found != Some(schema::NEWEST) {
            let problem = "it is of another version; start the service, which can tell more".to_owned();
            return Err(OpenError::Unusable { path, problem });
        }
        drop(database);
        Self::start(
            Opening::Again,
            Box::new(opener(path)),
            folder.to_owned(),
            Arc::new(Bell::default()),
            &Place::of_process(folder),
        )
    }

    /// As [`open`](Self::open), with the key from a place of one's own.
    pub fn open_with(folder: &Path, bell: Arc<Bell>, key: &Place) -> Result<Self, OpenError> {
        Self::open_as(Opening::First, folder, bell, key)
    }

    /// As [`open_with`](Self::open_with), after a look at every page. A damaged database is renamed, with the time, and a new one
    /// is begun, from the nightly copy where there is one; so it is where there is only the copy. Any other reason not to open
    /// it stands.
    pub fn open_or_set_aside(folder: &Path, bell: Arc<Bell>, key: &Place, now: Timestamp) -> Result<Self, OpenError> {
        match Self::open_as(Opening::FirstChecked, folder, Arc::clone(&bell), key) {
            Err(OpenError::Damaged { problem, .. }) => begin_anew(folder, Some(&problem), now)?,
            Err(OpenError::Gone(_)) => begin_anew(folder, None, now)?,
            other => return other,
        }
        Self::open_as(Opening::First, folder, bell, key)
    }

    fn open_as(first: Opening, folder: &Path, bell: Arc<Bell>, key: &Place) -> Result<Self, OpenError> {
        let path = folder.join(FILE_NAME);
        let not_writable = |error| OpenError::NotWritable { path: folder.to_owned(), error };
        place::check(folder).map_err(|why| OpenError::Unsafe { path: folder.to_owned(), why })?;
        // An empty file is one that was begun and never written to.
        if std::fs::metadata(&path).map_or(true, |file| file.len() == 0) && backup::has_copy(folder) {
            return Err(OpenError::Gone(path));
        }
        not_newer(folder, &path)?;
        place::make(folder, &path).map_err(not_writable)?;
        let file = path.clone();
        let opener: Opener = Box::new(move |opening| match opening {
            Opening::First | Opening::FirstChecked => builder(opening).create(&file),
            Opening::Again | Opening::AgainChecked => builder(opening).open(&file),
        });
        let is_new = std::fs::metadata(&path).is_ok_and(|file| file.len() == 0);
        Self::start(first, opener, folder.to_owned(), bell, key).inspect_err(|error| {
            // Whoever has it may have begun it just now.
            if is_new && !matches!(error, OpenError::InUse(_)) {
                // What was begun, and failed such as for lack of room, must not look like a damaged database later.
                let _ = std::fs::remove_file(&path);
            }
        })
    }

    /// Opens a database on a storage of one's own, for tests of faults. Its secrets are sealed with a key that everybody
    /// knows.
    pub fn open_on<B: StorageBackend>(
        storage: impl Fn() -> B + Send + Sync + 'static,
        bell: Arc<Bell>,
    ) -> Result<Self, OpenError> {
        let opener: Opener = Box::new(move |opening| builder(opening).create_with_backend(storage()));
        Self::start(Opening::First, opener, PathBuf::new(), bell, &Place::nowhere())
    }

    fn start(first: Opening, opener: Opener, folder: PathBuf, bell: Arc<Bell>, key: &Place) -> Result<Self, OpenError> {
        let path = folder.join(FILE_NAME);
        // A plain opening trusts the file and may panic where it is damaged.
        let (database, keyring, stands_by) = guard::quietly(|| {
            let mut database = opener(first).map_err(|error| OpenError::of(error, &folder))?;
            SUSPECT.store(false, Ordering::Relaxed);
            let keyring = schema::prepare(&database, key).map_err(|error| match error {
                schema::Unfit::Key(bad) => OpenError::Key(bad),
                schema::Unfit::Newer(found) => OpenError::Newer { path: folder.clone(), found, known: schema::NEWEST },
                schema::Unfit::Damaged(problem) => OpenError::Damaged { path: path.clone(), problem },
                schema::Unfit::Store(error) => match error {
                    StoreError::Failed(problem) if !SUSPECT.swap(false, Ordering::Relaxed) => {
                        match place::no_room(&folder) {
                            Some(error) => OpenError::NotWritable { path: folder.clone(), error },
                            None => OpenError::Unusable { path: path.clone(), problem },
                        }
                    }
                    error => OpenError::Damaged { path: path.clone(), problem: error.to_string() },
                },
            })?;
            // Whoever only looks changes nothing.
            if first != Opening::Again
                && let Err(error) = schema::scrub_where_due(&mut database, &keyring)
            {
                tracing::warn!(
                    "free pages of the database may still hold secrets from before they were sealed: {error}; the next start tries again"
                );
                // After an error redb refuses all further work.
                drop(database);
                database = opener(Opening::Again).map_err(|error| OpenError::of(error, &folder))?;
            }
            let stands_by = schema::stands_by(&database)
                .map_err(|error| OpenError::Damaged { path: path.clone(), problem: error.to_string() })?;
            Ok((database, keyring, stands_by))
        })
        .unwrap_or_else(|_| Err(OpenError::Damaged { path, problem: DAMAGED_PAGE.to_owned() }))?;
        let shared = Arc::new(Shared {
            handle: RwLock::new(Some(database)),
            opener,
            folder,
            queue: Queue::default(),
            bell,
            // Tickets only have to differ from those that an earlier process left on the agenda.
            tickets: AtomicU64::new(u64::from_be_bytes(random::bytes())),
            free_space_min: AtomicU64::new(limits::FREE_SPACE_BYTES_MIN),
            reopened: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            writer: RwLock::new(None),
            keyring: RwLock::new(keyring),
            place: key.clone(),
            change: Mutex::default(),
            watch: Watch::default(),
            shipping: Watch::default(),
            stands_by: AtomicBool::new(stands_by),
        });
        let thread = writer::start(Arc::clone(&shared));
        *shared.writer.write().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(Self { shared })
    }
}

pub(super) fn builder(opening: Opening) -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(limits::STORE_CACHE_BYTES);
    if matches!(opening, Opening::First | Opening::FirstChecked) {
        builder.set_repair_callback(|repair| {
            notify::status(&format!("looking through the database, {:.0} %", repair.progress() * 100.0));
        });
    }
    builder.set_check_integrity_on_open(matches!(opening, Opening::FirstChecked | Opening::AgainChecked));
    if opening == Opening::AgainChecked {
        // redb takes a commit back whose pages are not whole, as after a power cut. While we run, the last commit was
        // synced and perhaps answered: it is damaged, and nobody may take it back unasked.
        builder.set_repair_callback(|repair| {
            if (0.2..0.5).contains(&repair.progress()) {
                repair.abort();
            }
        });
    }
    builder
}

pub(super) const DAMAGED_PAGE: &str = "a page of it does not hold what was written";

/// Puts a database that was made of the nightly copy in the place of a damaged one, or one that is gone. There is one of them
/// at any moment, so that nothing that is cut short looks like a new box.
fn begin_anew(folder: &Path, problem: Option<&str>, now: Timestamp) -> Result<(), OpenError> {
    let path = folder.join(FILE_NAME);
    let not_writable = |error| OpenError::NotWritable { path: folder.to_owned(), error };
    let unusable =
        |error: backup::RestoreError| OpenError::Copy { folder: folder.to_owned(), problem: error.to_string() };
    let revived = backup::revive(folder).map_err(unusable)?;
    if let Some(problem) = problem {
        let aside = set_aside(&path, revived.is_some(), now).map_err(not_writable)?;
        tracing::warn!(
            "the database is damaged ({problem}); it is kept as {}, and a new one is begun",
            aside.display()
        );
    }
    if let Some(revived) = revived {
        std::fs::rename(&revived.built, &path)
            .and_then(|()| std::fs::File::open(folder)?.sync_all())
            .map_err(not_writable)?;
        tracing::warn!(
            "sources, projects, destinations, users and settings are as they were at {}; findings are read anew",
            revived.made_at
        );
    }
    Ok(())
}

/// Gives a damaged database another name, or one more, and returns it. Nothing is overwritten.
fn set_aside(file: &Path, stays: bool, now: Timestamp) -> io::Result<PathBuf> {
    let time: String = now.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let name = |number: u32| match number {
        1 => format!("{FILE_NAME}.damaged-{time}"),
        number => format!("{FILE_NAME}.damaged-{time}-{number}"),
    };
    // One name a second and some more; whoever has as many has another trouble.
    let aside = (1..=100)
        .map(|number| file.with_file_name(name(number)))
        .find(|path| path.symlink_metadata().is_err())
        .ok_or(io::ErrorKind::AlreadyExists)?;
    if stays { std::fs::hard_link(file, &aside) } else { std::fs::rename(file, &aside) }?;
    if let Some(folder) = file.parent() {
        // The new file must not outlive a power cut that the other name does not.
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(aside)
}
