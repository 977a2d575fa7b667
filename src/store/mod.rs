//! The embedded store, and the only place that knows redb.
//!
//! One thread, the [`writer`], owns every write transaction. Others hand it batches: deliveries first, which share
//! a commit and are answered after it; then one batch at a time of everything else. Reads are short and see the
//! last commit. After an error redb refuses all further work until it is opened anew, so the handle can be
//! replaced while the daemon runs.

pub mod access;
pub mod agenda;
pub mod audit;
pub mod backup;
pub mod catalogue;
pub mod certificates;
pub mod changes;
mod codec;
mod counter;
pub mod crawls;
pub mod deliveries;
pub mod destinations;
mod error;
pub mod findings;
pub mod fleet;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod hooks;
mod intake;
pub mod keychange;
pub mod lists;
pub mod notices;
pub mod offer;
mod opening;
mod place;
pub mod records;
pub mod retention;
mod schema;
pub mod secrets;
pub mod settings;
pub mod standby;
mod tables;
mod touched;
pub mod trend;
mod words;
mod writer;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableHandle, WriteTransaction};

use self::codec::Record;
use self::counter::Counter;
use self::error::SUSPECT;
use self::opening::{DAMAGED_PAGE, Opener, Opening, builder};
use self::secrets::{Keyring, Locked};
use self::tables::{Key, Table};
use self::touched::{Rows, Watch};
use self::writer::{Delivered, Queue};
use crate::domain::limits;
use crate::sys::answer::{self, Awaited};
use crate::sys::bell::Bell;
use crate::sys::seal::Place;
use crate::sys::{guard, loops};

pub use self::error::StoreError;
pub use self::intake::{Accepted, Arrival};
pub use self::opening::OpenError;
pub use self::writer::Reply;

/// The database's name in the state folder.
pub const FILE_NAME: &str = "hydrophone.redb";

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
    keyring: RwLock<Keyring>,
    /// Where other keys are looked for.
    place: Place,
    /// How far a change of the key has come.
    change: Mutex<keychange::Stage>,
    /// What is written while a backup is read.
    watch: Watch,
    /// What is written that the box which stands by is to be told.
    shipping: Watch,
    /// Whether only what is this box's own may be written.
    stands_by: AtomicBool,
}

impl Store {
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
        let looked = guard::quietly(|| Ok(read(&Reader::new(database.begin_read()?, self.shared.keyring()))))
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
        self.shared.keyring().locked()
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

    /// Whether a file of this size is compacted in a moment.
    pub fn may_be_compacted_at_once(file: u64) -> bool {
        file <= limits::COMPACT_FILE_BYTES_MAX
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
    /// What secrets are opened and sealed with. It changes only while nobody reads or writes.
    fn keyring(&self) -> Keyring {
        self.keyring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether somebody wants to know what is written.
    fn notes_rows(&self) -> bool {
        self.watch.is_on() || self.shipping.is_on()
    }

    fn free_space(&self) -> Option<u64> {
        if self.folder.as_os_str().is_empty() {
            return None;
        }
        let stat = rustix::fs::statvfs(&self.folder).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// A table that is open.
#[doc(hidden)]
pub trait Readable: ReadableTable<&'static [u8], &'static [u8]> {}
impl<T: ReadableTable<&'static [u8], &'static [u8]>> Readable for T {}

/// What both kinds of transaction can be asked.
pub trait View {
    /// A table that can be read.
    #[doc(hidden)]
    type Rows<'a>: Readable
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
    fn new(transaction: ReadTransaction, keyring: Keyring) -> Self {
        Self { transaction, keyring }
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
    /// Whether it may write only what is this box's own.
    stands_by: bool,
}

impl View for Batch<'_> {
    type Rows<'a>
        = Rows<'a>
    where
        Self: 'a;

    fn rows(&self, table: Table) -> Result<Self::Rows<'_>, StoreError> {
        let place = || tables::ALL.iter().position(|one| one.name() == table.name()).unwrap_or_default();
        let (touched, stands_by) = (self.touched.as_ref(), self.stands_by);
        let place = if touched.is_some() || stands_by { place() } else { 0 };
        Ok(Rows { table: self.transaction.open_table(table)?, place, touched, stands_by })
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
            stands_by: false,
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

/// The last key of a table.
fn last_key(view: &impl View, table: Table) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(view.rows(table)?.last()?.map(|(key, _)| key.value().to_vec()))
}

/// The record at a key.
fn get<R: Record>(view: &impl View, table: Table, key: &Key) -> Result<Option<R>, StoreError> {
    get_in(&view.rows(table)?, key)
}

/// The record at a key of a table that is open.
fn get_in<R: Record>(rows: &impl Readable, key: &Key) -> Result<Option<R>, StoreError> {
    rows.get(key.0.as_slice())?.map(|value| codec::open(&key.0, value.value())).transpose()
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
