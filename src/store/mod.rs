//! The embedded store, and the only place that knows redb.
//!
//! One thread, the [`writer`], owns every write transaction. Others hand it batches: deliveries first, which share
//! a commit and are answered after it; then one batch at a time of everything else. Reads are short and see the
//! last commit. After an error redb refuses all further work until it is opened anew, so the handle can be
//! replaced while the daemon runs.

pub mod agenda;
pub mod catalogue;
mod codec;
pub mod crawls;
pub mod deliveries;
pub mod findings;
pub mod hooks;
pub mod lists;
pub mod records;
mod schema;
pub mod settings;
mod tables;
mod words;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;

use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, WriteTransaction,
};

use self::codec::Record;
use self::tables::{Key, Table};
use self::writer::{Delivered, Queue};
use crate::domain::limits;
use crate::sys::bell::Bell;
use crate::sys::random;

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
    /// The daemon is stopping.
    #[error("the store is closed")]
    Closed,
}

macro_rules! from_redb {
    ($($type:ty),+) => {
        $(impl From<$type> for StoreError {
            fn from(error: $type) -> Self {
                Self::Failed(error.to_string())
            }
        })+
    };
}
from_redb!(redb::StorageError, redb::TableError, redb::TransactionError, redb::CommitError, redb::SetDurabilityError);

/// Why the store cannot be opened at start. Each says what a person can do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the state folder {} is in use by another hydrophone; stop that one (`systemctl stop hydrophone`), or give this one another folder with --state", .0.display()
    )]
    InUse(PathBuf),
    /// The folder or the file cannot be written.
    #[error("cannot write to the state folder {}: {error}; it must exist and belong to the user that runs hydrophone", .path.display())]
    NotWritable {
        /// The folder.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// Written by a newer version.
    #[error(
        "the database in {} has format {found}, this version knows up to {known}; install the newer hydrophone again, or start with an empty folder", .path.display()
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// The database's format.
        found: u32,
        /// The newest format that this version knows.
        known: u32,
    },
    /// The file is no database, or a damaged one.
    #[error("the database {} cannot be read: {problem}; put it aside and start again: all but configuration is read anew from Sonar", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// Opens the database; makes it only the first time.
type Opener = Box<dyn Fn(Opening) -> Result<Database, DatabaseError> + Send + Sync>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    First,
    /// After an error: if the file is not there any more, a new one must not take its place.
    Again,
}

/// The store. Cheap to clone; the writer thread ends when [`Store::close`] is called.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
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
    writer: RwLock<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens or makes the database in a folder, which is made too if its parent exists. The bell rings after
    /// every commit.
    pub fn open(folder: &Path, bell: Arc<Bell>) -> Result<Self, OpenError> {
        let path = folder.join(FILE_NAME);
        let not_writable = |error| OpenError::NotWritable { path: folder.to_owned(), error };
        make_private(folder, &path).map_err(not_writable)?;
        let file = path.clone();
        let opener: Opener = Box::new(move |opening| match opening {
            Opening::First => builder().create(&file),
            Opening::Again => builder().open(&file),
        });
        Self::start(opener, folder.to_owned(), bell)
    }

    /// Opens a database on a storage of one's own, for tests of faults.
    pub fn open_on<B: StorageBackend>(
        storage: impl Fn() -> B + Send + Sync + 'static,
        bell: Arc<Bell>,
    ) -> Result<Self, OpenError> {
        Self::start(Box::new(move |_| builder().create_with_backend(storage())), PathBuf::new(), bell)
    }

    fn start(opener: Opener, folder: PathBuf, bell: Arc<Bell>) -> Result<Self, OpenError> {
        let path = folder.join(FILE_NAME);
        let database = opener(Opening::First).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                OpenError::InUse(folder.clone())
            }
            DatabaseError::Storage(redb::StorageError::Io(error))
                if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) =>
            {
                OpenError::NotWritable { path: folder.clone(), error }
            }
            other => OpenError::Damaged { path: path.clone(), problem: other.to_string() },
        })?;
        schema::prepare(&database).map_err(|error| match error {
            schema::Unfit::Newer(found) => OpenError::Newer { path: folder.clone(), found, known: schema::NEWEST },
            schema::Unfit::Store(error) => OpenError::Damaged { path, problem: error.to_string() },
        })?;
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
            writer: RwLock::new(None),
        });
        let thread = writer::start(Arc::clone(&shared));
        *shared.writer.write().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(Self { shared })
    }

    /// Reads the last commit. Keep it short: a long reader pins pages (`limits::READ_MAX`).
    pub fn read<T, E: From<StoreError>>(&self, read: impl FnOnce(&Reader) -> Result<T, E>) -> Result<T, E> {
        let handle = self.shared.handle.read().unwrap_or_else(PoisonError::into_inner);
        let database = handle.as_ref().ok_or_else(|| StoreError::Failed("it is being opened anew".to_owned()))?;
        let result =
            database.begin_read().map_err(|error| StoreError::from(error).into()).and_then(|view| read(&Reader(view)));
        if result.is_err() {
            self.shared.queue.push_probe();
        }
        result
    }

    /// Runs a batch in a transaction of its own and returns after its commit is synced to disk. A batch that
    /// returns an error has changed nothing.
    pub fn write<T, E>(&self, batch: impl FnOnce(&mut Batch) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.submit(writer::Manner::Durable, batch)
    }

    /// As [`write`](Self::write), for rows whose loss by a power cut costs only work: their sync comes with a later
    /// commit.
    pub fn write_unsynced<T, E>(&self, batch: impl FnOnce(&mut Batch) -> Result<T, E> + Send + 'static) -> Result<T, E>
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
        self.submit(writer::Manner::Deletes, batch)
    }

    fn submit<T, E>(
        &self,
        manner: writer::Manner,
        batch: impl FnOnce(&mut Batch) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = mpsc::sync_channel(1);
        self.shared.queue.push_work(writer::job(manner, batch, move |result| {
            // A caller that went away does not need the answer.
            let _ = reply.send(result);
        }));
        answer.recv().unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// Hands a delivery to the writer. The reply comes after the commit that holds it is synced to disk.
    pub fn accept(&self, arrival: Arrival, reply: Box<dyn Reply>) {
        self.shared.queue.push_delivery(Delivered { arrival, reply });
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

impl Shared {
    fn free_space(&self) -> Option<u64> {
        if self.folder.as_os_str().is_empty() {
            return None;
        }
        let stat = rustix::fs::statvfs(&self.folder).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(limits::STORE_CACHE_BYTES);
    builder
}

/// Makes the folder and an empty file that only this user may read; redb fills it.
fn make_private(folder: &Path, file: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    if !folder.is_dir() {
        std::fs::DirBuilder::new().mode(0o700).create(folder)?;
    }
    std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(file)?;
    Ok(())
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
}

/// A view of the last commit.
pub struct Reader(ReadTransaction);

impl View for Reader {
    type Rows<'a> = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

    fn rows(&self, table: Table) -> Result<Self::Rows<'_>, StoreError> {
        Ok(self.0.open_table(table)?)
    }
}

/// A write transaction, lent by the writer.
pub struct Batch<'t> {
    transaction: &'t WriteTransaction,
    deadline: std::time::Instant,
}

impl View for Batch<'_> {
    type Rows<'a>
        = redb::Table<'a, &'static [u8], &'static [u8]>
    where
        Self: 'a;

    fn rows(&self, table: Table) -> Result<Self::Rows<'_>, StoreError> {
        Ok(self.transaction.open_table(table)?)
    }
}

impl Batch<'_> {
    /// Whether this batch has held the writer for as long as it may; the rest belongs into another one.
    pub fn is_over(&self) -> bool {
        std::time::Instant::now() >= self.deadline
    }

    fn put<R: Record>(&self, table: Table, key: &Key, record: &R) -> Result<(), StoreError> {
        self.put_bytes(table, key, &codec::seal(record))
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
    fn next_number(&self, counter: &str) -> Result<u64, StoreError> {
        let key = Key::new().tail(b"next/").tail(counter.as_bytes());
        let number = get::<u64>(self, tables::META, &key)?.unwrap_or(1);
        self.put(tables::META, &key, &(number + 1))?;
        Ok(number)
    }

    fn next_small_number(&self, counter: &str) -> Result<u32, StoreError> {
        let number = self.next_number(counter)?;
        u32::try_from(number).map_err(|_| StoreError::Failed(format!("the {counter} numbers are used up")))
    }
}

/// The record at a key.
fn get<R: Record>(view: &impl View, table: Table, key: &Key) -> Result<Option<R>, StoreError> {
    view.rows(table)?.get(key.0.as_slice())?.map(|value| codec::open(value.value())).transpose()
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
        match codec::open(value.value()) {
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
