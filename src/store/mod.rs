//! The embedded store, and the only place that knows redb.
//!
//! One thread, the [`writer`], owns every write transaction. Others hand it batches: deliveries first, which share
//! a commit and are answered after it; then one batch at a time of everything else. Reads are short and see the
//! last commit. After an error redb refuses all further work until it is opened anew, so the handle can be
//! replaced while the daemon runs.

pub mod access;
pub mod agenda;
pub mod backup;
pub mod catalogue;
pub mod changes;
mod codec;
pub mod crawls;
pub mod deliveries;
pub mod destinations;
pub mod findings;
pub mod hooks;
pub mod lists;
mod place;
pub mod records;
pub mod retention;
mod schema;
pub mod secrets;
pub mod settings;
mod tables;
mod touched;
pub mod trend;
mod words;
mod writer;

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;

use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, TableHandle,
    WriteTransaction,
};

use self::codec::Record;
use self::secrets::{Keyring, Locked};
use self::tables::{Key, Table};
use self::touched::{Rows, Watch};
use self::writer::{Delivered, Queue};
use crate::domain::limits;
use crate::domain::time::Timestamp;
use crate::sys::answer::{self, Awaited};
use crate::sys::bell::Bell;
use crate::sys::seal::{BadKey, Place};
use crate::sys::{guard, loops, notify, random};

pub use self::deliveries::{Accepted, Arrival};
pub use self::writer::Reply;

/// The database's name in the state folder.
pub const FILE_NAME: &str = "hydrophone.redb";

/// Why the store cannot do something just now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Reading or writing failed; the store is being opened anew.
    #[error("the store failed and is being opened anew: {0}")]
    Failed(String),
    /// Too little free space to admit anything but deletions.
    #[error("only {} MiB are free where the store is; below {} MiB nothing new is taken in", .free / 1_048_576, .least / 1_048_576)]
    Full {
        /// Bytes that are free.
        free: u64,
        /// Bytes that must be.
        least: u64,
    },
    /// A value's checksum or form is wrong. Only this value is lost.
    #[error("a stored {what} is damaged")]
    Damaged {
        /// What kind of value.
        what: &'static str,
    },
    /// Secrets cannot be read or written without the key that they are sealed with.
    #[error("the box is locked: {0}")]
    Locked(Locked),
    /// What was staged may be gone, as the store was opened anew since.
    #[error("the store was opened anew in the middle of a read")]
    Stale,
    /// The daemon is stopping.
    #[error("the store is closed")]
    Closed,
}

/// Whether something was met since the last look that only a damaged page, or a bug, explains. The writer then opens
/// the file anew with all its checksums.
static SUSPECT: AtomicBool = AtomicBool::new(false);

impl From<redb::StorageError> for StoreError {
    fn from(error: redb::StorageError) -> Self {
        if matches!(error, redb::StorageError::Corrupted(_)) {
            SUSPECT.store(true, Ordering::Relaxed);
        }
        Self::Failed(error.to_string())
    }
}

impl From<redb::TableError> for StoreError {
    fn from(error: redb::TableError) -> Self {
        match error {
            redb::TableError::Storage(error) => error.into(),
            // All tables are made with the file.
            other => {
                SUSPECT.store(true, Ordering::Relaxed);
                Self::Failed(other.to_string())
            }
        }
    }
}

macro_rules! from_redb {
    ($($type:ident),+) => {
        $(impl From<redb::$type> for StoreError {
            fn from(error: redb::$type) -> Self {
                match error {
                    redb::$type::Storage(error) => error.into(),
                    other => Self::Failed(other.to_string()),
                }
            }
        })+
    };
}
from_redb!(TransactionError, CommitError);

impl From<redb::SetDurabilityError> for StoreError {
    fn from(error: redb::SetDurabilityError) -> Self {
        Self::Failed(error.to_string())
    }
}

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
    `Environment=HYDROPHONE_SET_DAMAGED_ASIDE=1` with `systemctl edit --runtime hydrophone`, then `systemctl restart hydrophone`, \
    then `systemctl revert hydrophone`)";

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

    fn of(error: DatabaseError, folder: &Path) -> Self {
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

/// Opens the database; makes it only the first time.
type Opener = Box<dyn Fn(Opening) -> Result<Database, DatabaseError> + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    First,
    /// The first time, comparing every page with its checksum.
    FirstChecked,
    /// After an error: if the file is not there any more, a new one must not take its place.
    Again,
    /// As `Again`, comparing every page with its checksum.
    AgainChecked,
}

/// The store. Cheap to clone; the writer thread ends when [`Store::close`] is called.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

/// A batch that was handed to the writer.
#[must_use = "whether it was written is not known before its end"]
pub struct Begun<T, E>(Awaited<Result<T, E>>);

impl<T, E: From<StoreError>> Begun<T, E> {
    /// Waits for its end.
    pub fn wait(self) -> Result<T, E> {
        self.0.wait().unwrap_or_else(|| Err(StoreError::Closed.into()))
    }
}

struct Shared {
    handle: RwLock<Option<Database>>,
    opener: Opener,
    folder: PathBuf,
    queue: Queue,
    bell: Arc<Bell>,
    tickets: AtomicU64,
    free_space_min: AtomicU64,
    reopened: AtomicU64,
    commits: AtomicU64,
    writer: RwLock<Option<JoinHandle<()>>>,
    keyring: Keyring,
    watch: Watch,
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
        let opener = |file: PathBuf| move |opening| builder(opening).open(&file);
        let found = guard::quietly(|| opener(path.clone())(Opening::Again));
        let database = found.unwrap_or_else(|_| Err(redb::StorageError::Corrupted(DAMAGED_PAGE.to_owned()).into()));
        let database = database.map_err(|error| OpenError::of(error, folder))?;
        let found = schema::format_of(&database);
        if let Some(found) = found.filter(|&found| found > schema::NEWEST) {
            return Err(OpenError::Newer { path: folder.to_owned(), found, known: schema::NEWEST });
        }
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
        let (database, keyring) = guard::quietly(|| {
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
            Ok((database, keyring))
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
            keyring,
            watch: Watch::default(),
        });
        let thread = writer::start(Arc::clone(&shared));
        *shared.writer.write().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(Self { shared })
    }

    /// Reads the last commit. Keep it short: a long reader pins pages (`limits::READ_MAX`).
    pub fn read<T, E: From<StoreError>>(&self, read: impl FnOnce(&Reader) -> Result<T, E>) -> Result<T, E> {
        let (mut read, mut result) = (Some(read), None);
        let looked = self.look(&mut |view| {
            let found = read.take().map(|read| read(view));
            let is_good = found.as_ref().is_some_and(Result::is_ok);
            result = found;
            is_good
        });
        match (looked, result) {
            (Ok(()), Some(result)) => result,
            (looked, _) => Err(looked.err().unwrap_or(StoreError::Closed).into()),
        }
    }

    /// What every read does, once for all of them; `read` says whether it went well.
    fn look(&self, read: &mut dyn FnMut(&Reader) -> bool) -> Result<(), StoreError> {
        // Whoever has the store for itself is watched.
        let waiting = loops::resting();
        let handle = self.shared.handle.read().unwrap_or_else(PoisonError::into_inner);
        drop(waiting);
        let _step = loops::within(limits::STORE_STEP_MAX);
        let database = handle.as_ref().ok_or_else(|| StoreError::Failed("it is being opened anew".to_owned()))?;
        // redb may panic over a damaged page; that must not take more than this read with it.
        let looked = guard::quietly(|| Ok(read(&Reader::new(database.begin_read()?, &self.shared.keyring))))
            .unwrap_or_else(|panic| {
                SUSPECT.store(true, Ordering::Relaxed);
                Err(StoreError::Failed(format!("a read ended in a panic: {panic}")))
            });
        if !matches!(looked, Ok(true)) {
            self.shared.queue.push_probe();
        }
        looked.map(|_| ())
    }

    /// Runs a batch in a transaction of its own and returns after its commit is synced to disk. A batch that
    /// returns an error has changed nothing.
    pub fn write<T, E>(&self, batch: impl FnOnce(&mut Batch) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.submit(writer::Manner::Durable, batch).wait()
    }

    /// As [`write`](Self::write), for rows whose loss by a power cut costs only work: their sync comes with a later
    /// commit.
    pub fn write_unsynced<T, E>(&self, batch: impl FnOnce(&mut Batch) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.submit(writer::Manner::Unsynced, batch).wait()
    }

    /// As [`write_unsynced`](Self::write_unsynced), without waiting for it. What is handed in later comes later.
    pub fn begin_unsynced<T, E>(&self, batch: impl FnOnce(&mut Batch) -> Result<T, E> + Send + 'static) -> Begun<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.submit(writer::Manner::Unsynced, batch)
    }

    /// As [`write`](Self::write), for deletions, which are admitted when the disk is nearly full.
    pub fn delete<T, E>(&self, batch: impl FnOnce(&mut Batch) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.submit(writer::Manner::Deletes, batch).wait()
    }

    fn submit<T, E>(
        &self,
        manner: writer::Manner,
        batch: impl FnOnce(&mut Batch) -> Result<T, E> + Send + 'static,
    ) -> Begun<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = answer::pair();
        self.shared.queue.push_work(writer::job(manner, batch, move |result| reply.give(result)));
        Begun(answer)
    }

    /// Hands a delivery to the writer. The reply comes after the commit that holds it is synced to disk.
    pub fn accept(&self, arrival: Arrival, reply: Box<dyn Reply>) {
        self.shared.queue.push_delivery(Delivered { arrival, reply });
    }

    /// As [`accept`](Self::accept), and waits for the reply.
    pub fn accept_and_wait(&self, arrival: Arrival) -> Result<Accepted, StoreError> {
        let (reply, answer) = mpsc::sync_channel(1);
        let _rest = loops::resting();
        self.accept(arrival, Box::new(WaitedFor(reply)));
        answer.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Why no secret can be read, if that is so.
    pub fn locked(&self) -> Option<Locked> {
        self.shared.keyring.locked()
    }

    /// Rings after every commit.
    pub fn bell(&self) -> &Arc<Bell> {
        &self.shared.bell
    }

    /// A number that no other call of this process, or an earlier one, returned.
    pub fn ticket(&self) -> u64 {
        self.shared.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Free bytes where the database is; nothing where that is not a file system.
    pub fn free_space(&self) -> Option<u64> {
        self.shared.free_space()
    }

    /// Sets the free space below which only deletions are admitted.
    pub fn set_free_space_min(&self, bytes: u64) {
        self.shared.free_space_min.store(bytes, Ordering::Relaxed);
    }

    /// Whether too little space is free to admit anything but deletions.
    pub fn is_full(&self) -> bool {
        self.shared.free_space().is_some_and(|free| free < self.shared.free_space_min.load(Ordering::Relaxed))
    }

    /// Values that were met damaged since the start.
    pub fn damaged(&self) -> u64 {
        codec::DAMAGED.load(Ordering::Relaxed)
    }

    /// How often the database was opened anew after an error since the start.
    pub fn reopened(&self) -> u64 {
        self.shared.reopened.load(Ordering::Relaxed)
    }

    /// Commits since the start: while it stays as it is, so does everything that is stored.
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Acquire)
    }

    /// How large the file is, and how much of that is in use. Reads all of it, and nobody else has it meanwhile: for
    /// small files, and when there is nothing else to do.
    pub fn size(&self) -> Result<Size, StoreError> {
        self.alone(|database| measure(database))
    }

    /// How large the file is; nothing where it is none.
    pub fn file_bytes(&self) -> Option<u64> {
        std::fs::metadata(self.shared.folder.join(FILE_NAME)).ok().map(|file| file.len())
    }

    /// Makes the file as small as it can be. Nobody else has it meanwhile: for small files only.
    pub fn compact(&self) -> Result<(), StoreError> {
        self.alone(|database| {
            database.compact().map_err(|error| StoreError::Failed(error.to_string()))?;
            // Compacting ends without it, and an opening after a kill would walk the whole file.
            let mut transaction = database.begin_write()?;
            transaction.set_quick_repair(true);
            Ok(transaction.commit()?)
        })
    }

    /// Does something with the whole database, in the writer's turn and while nobody reads.
    fn alone<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.shared.queue.push_chore(Box::new(move |database| {
            let (result, outcome) = match database.map(task) {
                Some(Ok(value)) => (Ok(value), Ok(())),
                Some(Err(error)) => (Err(error.clone()), Err(error)),
                None => (Err(StoreError::Failed("it is not open".to_owned())), Ok(())),
            };
            // A caller that went away does not need the answer.
            let _ = reply.send(result);
            outcome
        }));
        let _rest = loops::resting();
        answer.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// The folder that holds the database.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// Finishes what is queued, ends the writer and closes the file. Later calls answer [`StoreError::Closed`].
    pub fn close(&self) {
        self.shared.queue.close();
        let thread = self.shared.writer.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The writer's panic has already ended the process' work; there is nothing more to do about it here.
            let _ = thread.join();
        }
        *self.shared.handle.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

struct WaitedFor(mpsc::SyncSender<Result<Accepted, StoreError>>);

impl Reply for WaitedFor {
    fn is_wanted(&self) -> bool {
        true
    }

    fn send(self: Box<Self>, result: Result<Accepted, StoreError>) {
        // Whoever waits does so without a limit.
        let _ = self.0.send(result);
    }
}

/// The database doubles its file when it needs room, and pages are two thirds full: two to three times the live data
/// is how it lives. A file that was compacted to its pages doubles with the next commit, so that doing it sooner would
/// be done again every day, and make the file larger than leaving it alone (measured: 2.8 times instead of 2.2).
const COMPACT_TIMES: u64 = 4;

/// How large the database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Bytes that the file has.
    pub file: u64,
    /// Bytes of keys and values, and of what leads to them; without what is free in pages and between them.
    pub live: u64,
}

impl Size {
    /// Whether so little of a small file is in use that it is worth a second to make it smaller.
    pub fn is_wasteful(self) -> bool {
        Self::may_be_compacted(self.file) && self.file > COMPACT_TIMES * self.live
    }

    /// Whether a file of this size is neither too small to be worth it nor too large to be compacted in passing.
    pub fn may_be_compacted(file: u64) -> bool {
        (limits::COMPACT_FILE_BYTES_MIN..=limits::COMPACT_FILE_BYTES_MAX).contains(&file)
    }
}

fn measure(database: &Database) -> Result<Size, StoreError> {
    let transaction = database.begin_write()?;
    let stats = transaction.stats();
    transaction.abort()?;
    let stats = stats?;
    let live = stats.stored_bytes() + stats.metadata_bytes();
    Ok(Size { file: live + stats.fragmented_bytes(), live })
}

impl Shared {
    fn free_space(&self) -> Option<u64> {
        if self.folder.as_os_str().is_empty() {
            return None;
        }
        let stat = rustix::fs::statvfs(&self.folder).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

fn builder(opening: Opening) -> redb::Builder {
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

const DAMAGED_PAGE: &str = "a page of it does not hold what was written";

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

/// What both kinds of transaction can be asked.
pub trait View {
    /// A table that can be read.
    #[doc(hidden)]
    type Rows<'a>: ReadableTable<&'static [u8], &'static [u8]>
    where
        Self: 'a;

    /// Opens a table.
    #[doc(hidden)]
    fn rows(&self, table: Table) -> Result<Self::Rows<'_>, StoreError>;

    /// What secrets are opened with.
    #[doc(hidden)]
    fn keyring(&self) -> &Keyring;
}

/// A view of the last commit.
pub struct Reader {
    transaction: ReadTransaction,
    keyring: Keyring,
}

impl Reader {
    fn new(transaction: ReadTransaction, keyring: &Keyring) -> Self {
        Self { transaction, keyring: keyring.clone() }
    }
}

impl View for Reader {
    type Rows<'a> = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

    fn rows(&self, table: Table) -> Result<Self::Rows<'_>, StoreError> {
        Ok(self.transaction.open_table(table)?)
    }

    fn keyring(&self) -> &Keyring {
        &self.keyring
    }
}

/// A write transaction, lent by the writer.
pub struct Batch<'t> {
    transaction: &'t WriteTransaction,
    keyring: &'t Keyring,
    deadline: std::time::Instant,
    /// Where those wait that go first.
    queue: Option<&'t Queue>,
    /// Findings that it may touch.
    findings_max: usize,
    /// Whether it touched as many.
    is_full: bool,
    /// What it wrote, while somebody wants to know.
    touched: Option<RefCell<Vec<touched::Row>>>,
}

impl View for Batch<'_> {
    type Rows<'a>
        = Rows<'a>
    where
        Self: 'a;

    fn rows(&self, table: Table) -> Result<Self::Rows<'_>, StoreError> {
        let place = || tables::ALL.iter().position(|one| one.name() == table.name()).unwrap_or_default();
        let touched = self.touched.as_ref();
        Ok(Rows { table: self.transaction.open_table(table)?, place: touched.map_or(0, |_| place()), touched })
    }

    fn keyring(&self) -> &Keyring {
        self.keyring
    }
}

impl<'t> Batch<'t> {
    fn new(
        transaction: &'t WriteTransaction,
        keyring: &'t Keyring,
        deadline: std::time::Instant,
        queue: Option<&'t Queue>,
    ) -> Self {
        Self {
            transaction,
            keyring,
            deadline,
            queue,
            findings_max: limits::FINDINGS_PER_COMMIT_MIN,
            is_full: false,
            touched: None,
        }
    }

    /// Ends its time, as on a slow disk: it does the least that it may.
    pub fn hurry(&mut self) {
        self.deadline = std::time::Instant::now();
    }

    /// Whether this batch has held the writer for as long as it may, which is no longer once a delivery waits; the rest
    /// belongs into another one.
    pub fn is_over(&self) -> bool {
        std::time::Instant::now() >= self.deadline || self.queue.is_some_and(Queue::has_deliveries)
    }

    fn put<R: Record>(&self, table: Table, key: &Key, record: &R) -> Result<(), StoreError> {
        self.put_bytes(table, key, &codec::seal(&key.0, record))
    }

    fn put_bytes(&self, table: Table, key: &Key, value: &[u8]) -> Result<(), StoreError> {
        self.rows(table)?.insert(key.0.as_slice(), value)?;
        Ok(())
    }

    fn delete(&self, table: Table, key: &Key) -> Result<(), StoreError> {
        self.rows(table)?.remove(key.0.as_slice())?;
        Ok(())
    }

    /// The next number of a row that counts, from 1.
    fn next_number(&self, counter: Counter) -> Result<u64, StoreError> {
        let number = counter.next(self)?;
        counter.set(self, number + 1)?;
        Ok(number)
    }

    fn next_small_number(&self, counter: Counter) -> Result<u32, StoreError> {
        let number = self.next_number(counter)?;
        u32::try_from(number).map_err(|_| StoreError::Failed(format!("the {} numbers are used up", counter.name())))
    }
}

/// What is numbered, from 1; a number is used once.
#[derive(Debug, Clone, Copy)]
enum Counter {
    Delivery,
    Asset,
    Project,
    Scope,
    Finding,
    Change,
    Destination,
    Audit,
}

impl Counter {
    fn name(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Asset => "asset",
            Self::Project => "project",
            Self::Scope => "scope",
            Self::Finding => "finding",
            Self::Change => "change",
            Self::Destination => "destination",
            Self::Audit => "audit",
        }
    }

    fn key(self) -> Key {
        Key::new().tail(b"next/").tail(self.name().as_bytes())
    }

    /// The next number. A counter that is damaged must not keep everything from being written: the rows that it counted
    /// tell how far it had come, and rows that lead to such as are deleted by now.
    fn next(self, view: &impl View) -> Result<u64, StoreError> {
        match get(view, tables::META, &self.key()) {
            Err(StoreError::Damaged { .. }) => {
                let next = self.last(view)? + 1;
                tracing::warn!("a counter is damaged; the next {} gets number {next}", self.name());
                Ok(next)
            }
            found => Ok(found?.unwrap_or(1)),
        }
    }

    fn set(self, batch: &Batch, next: u64) -> Result<(), StoreError> {
        batch.put(tables::META, &self.key(), &next)
    }

    /// The highest number in use, as far as rows tell.
    fn last(self, view: &impl View) -> Result<u64, StoreError> {
        let small = |table| Ok::<_, StoreError>(last_key(view, table)?.and_then(|key| tables::u32_at(&key, 0)));
        let large = |table| Ok::<_, StoreError>(last_key(view, table)?.and_then(|key| tables::u64_at(&key, 0)));
        Ok(match self {
            Self::Delivery => large(tables::DELIVERIES)?.max(large(tables::SETTLEMENTS)?),
            Self::Asset => small(tables::ASSETS)?.map(u64::from),
            Self::Project => small(tables::PROJECTS)?.max(small(tables::SCOPE_NAMES)?).map(u64::from),
            // What is left of a removed one must not become a new one's.
            Self::Scope => {
                let of = [tables::SCOPES, tables::DISCARDED, tables::FINDINGS, tables::STAGING, tables::COUNTS];
                of.into_iter().map(small).collect::<Result<Vec<_>, _>>()?.into_iter().max().flatten().map(u64::from)
            }
            Self::Audit => large(tables::AUDIT)?,
            Self::Finding => large(tables::FINDING_IDS)?.max(large(tables::FINDING_CHANGES)?),
            Self::Change => large(tables::CHANGES)?,
            // Of a removed one rows may be left that are still to be deleted.
            Self::Destination => {
                let of = [tables::DESTINATIONS, tables::REMOTES, tables::TARGETS, tables::DEAD_LETTERS];
                of.into_iter().map(small).collect::<Result<Vec<_>, _>>()?.into_iter().max().flatten().map(u64::from)
            }
        }
        .unwrap_or(0))
    }
}

/// The last key of a table.
fn last_key(view: &impl View, table: Table) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(view.rows(table)?.last()?.map(|(key, _)| key.value().to_vec()))
}

/// The record at a key.
fn get<R: Record>(view: &impl View, table: Table, key: &Key) -> Result<Option<R>, StoreError> {
    view.rows(table)?.get(key.0.as_slice())?.map(|value| codec::open(&key.0, value.value())).transpose()
}

/// Whether there is anything at a key.
fn has(view: &impl View, table: Table, key: &Key) -> Result<bool, StoreError> {
    Ok(view.rows(table)?.get(key.0.as_slice())?.is_some())
}

/// All records whose key begins like `prefix`, in order, until `each` says that it has enough. A damaged record is
/// passed over, and counted: one must not hide the others.
fn scan<R: Record>(
    view: &impl View,
    table: Table,
    prefix: &Key,
    each: impl FnMut(&[u8], R) -> bool,
) -> Result<(), StoreError> {
    scan_after(view, table, prefix, None, each)
}

/// As [`scan`], from after a key.
fn scan_after<R: Record>(
    view: &impl View,
    table: Table,
    prefix: &Key,
    after: Option<&Key>,
    mut each: impl FnMut(&[u8], R) -> bool,
) -> Result<(), StoreError> {
    use std::ops::Bound;
    let rows = view.rows(table)?;
    let end = prefix.end();
    let range: (Bound<&[u8]>, Bound<&[u8]>) = (
        after.map_or(Bound::Included(prefix.0.as_slice()), |after| Bound::Excluded(after.0.as_slice())),
        end.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
    );
    for row in rows.range::<&[u8]>(range)? {
        let (key, value) = row?;
        match codec::open(key.value(), value.value()) {
            Ok(record) => {
                if !each(key.value(), record) {
                    break;
                }
            }
            Err(error) => tracing::warn!("{error}; it was passed over"),
        }
    }
    Ok(())
}

/// Keys that begin like `prefix`, in order, at most so many.
fn keys(view: &impl View, table: Table, prefix: &Key, most: usize) -> Result<Vec<Vec<u8>>, StoreError> {
    let rows = view.rows(table)?;
    let end = prefix.end();
    let range: (std::ops::Bound<&[u8]>, std::ops::Bound<&[u8]>) = (
        std::ops::Bound::Included(prefix.0.as_slice()),
        end.as_deref().map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded),
    );
    rows.range::<&[u8]>(range)?.take(most).map(|row| Ok(row?.0.value().to_vec())).collect()
}
