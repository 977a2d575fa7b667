//! The one thread that writes.
//!
//! Deliveries go first: all that wait share one commit, and each is answered after it. Everything else runs one
//! batch at a time, so that a delivery never waits for more than one of them. Batches keep themselves short
//! (`limits::BATCH_MAX`), and end as soon as a delivery waits.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use redb::{Database, DatabaseError, Durability, StorageError};

use super::intake::{Accepted, Arrival, Intake};
use super::tables::{self, Key};
use super::touched::Row;
use super::{Batch, OpenError, Opening, SUSPECT, Shared, StoreError, schema};
use crate::domain::limits::{
    BATCH_MAX, COMMIT_AIM, DELIVERIES_PER_COMMIT_MAX, FINDINGS_PER_COMMIT_MAX, FINDINGS_PER_COMMIT_MIN,
    QUICK_REPAIR_INTERVAL_MAX, STORE_CHORE_MAX, STORE_STEP_MAX,
};
use crate::sys::guard::{self, EndWithMe};
use crate::sys::loops::{self, Watched};

/// Where the outcome of a delivery goes. A reply that is dropped unsent means that nothing was stored.
pub trait Reply: Send {
    /// Whether anybody still waits for it. What nobody waits for is not stored: its sender was told so.
    fn is_wanted(&self) -> bool;
    /// Hands the outcome over, after the commit.
    fn send(self: Box<Self>, result: Result<Accepted, StoreError>);
}

pub(super) struct Delivered {
    pub(super) arrival: Arrival,
    pub(super) reply: Box<dyn Reply>,
}

/// How a batch is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Deliveries together: synced before they are answered.
    Deliveries,
    /// Synced before it is answered.
    Durable,
    /// Synced with a later commit.
    Unsynced,
    /// Synced, and admitted when the disk is nearly full.
    Deletes,
}

/// What the opening after a kill has to repair once a transaction is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repair {
    /// Nothing: it opens at once.
    None,
    /// The whole file is read.
    Full,
    /// What the commit before it leaves, which is the one that a kill would go back to.
    AsBefore,
}

/// What a batch's first half returns: the second half, which tells the caller after the commit.
type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A batch's first half: does the work, or tells the caller at once why it cannot be done. The error is the
/// store's own, where it was that.
type Run = Box<dyn FnOnce(Result<&mut Batch, StoreError>) -> Result<Finish, Option<StoreError>> + Send>;

pub(super) struct Job {
    manner: Manner,
    run: Run,
}

/// Wraps a batch so that its caller hears of it exactly once: at once if it fails, else after the commit.
pub(super) fn job<T, E>(
    manner: Manner,
    batch: impl FnOnce(&mut Batch) -> Result<T, E> + Send + 'static,
    reply: impl FnOnce(Result<T, E>) + Send + 'static,
) -> Job
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    Job {
        manner,
        run: Box::new(move |transaction| {
            let transaction = match transaction {
                Ok(transaction) => transaction,
                Err(error) => {
                    reply(Err(error.clone().into()));
                    return Err(Some(error));
                }
            };
            match batch(transaction) {
                Ok(value) => Ok(Box::new(move |commit| reply(commit.map(|()| value).map_err(E::from)))),
                Err(error) => {
                    reply(Err(error));
                    Err(None)
                }
            }
        }),
    }
}

/// What needs the whole database for itself; nothing where it is not open.
pub(super) type Chore = Box<dyn FnOnce(Option<&mut Database>) -> Result<(), StoreError> + Send>;

#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    deliveries: VecDeque<Delivered>,
    work: VecDeque<Job>,
    chores: VecDeque<Chore>,
    probe: bool,
    closed: bool,
}

enum Turn {
    Deliveries(Vec<Delivered>),
    Work(Job),
    Chore(Chore),
    /// Look whether the store still answers.
    Probe,
    /// Nothing came for a while after a burst: commit once more, so that the store opens at once after a kill.
    Rest,
    Close,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push_delivery(&self, delivered: Delivered) {
        let mut waiting = self.lock();
        if waiting.closed {
            drop(waiting);
            delivered.reply.send(Err(StoreError::Closed));
            return;
        }
        waiting.deliveries.push_back(delivered);
        self.wake.notify_one();
    }

    pub(super) fn push_work(&self, job: Job) {
        let mut waiting = self.lock();
        if waiting.closed {
            drop(waiting);
            // The reply tells the caller; there is nobody else to tell.
            let _ = (job.run)(Err(StoreError::Closed));
            return;
        }
        waiting.work.push_back(job);
        self.wake.notify_one();
    }

    /// A chore that is never done is dropped with its reply.
    pub(super) fn push_chore(&self, chore: Chore) {
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.chores.push_back(chore);
            self.wake.notify_one();
        }
    }

    /// Has the writer look whether the store still answers.
    pub(super) fn push_probe(&self) {
        self.lock().probe = true;
        self.wake.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    pub(super) fn has_deliveries(&self) -> bool {
        !self.lock().deliveries.is_empty()
    }

    /// What is next; [`Turn::Rest`] if nothing came until then.
    fn next(&self, rest_at: Option<Instant>) -> Turn {
        let mut waiting = self.lock();
        loop {
            if !waiting.deliveries.is_empty() {
                let most = waiting.deliveries.len().min(DELIVERIES_PER_COMMIT_MAX);
                return Turn::Deliveries(waiting.deliveries.drain(..most).collect());
            }
            if std::mem::take(&mut waiting.probe) {
                return Turn::Probe;
            }
            if let Some(job) = waiting.work.pop_front() {
                return Turn::Work(job);
            }
            if waiting.closed {
                waiting.chores.clear();
                return Turn::Close;
            }
            if let Some(chore) = waiting.chores.pop_front() {
                return Turn::Chore(chore);
            }
            waiting = match rest_at.map(|at| at.saturating_duration_since(Instant::now())) {
                None => self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return Turn::Rest,
                Some(left) => self.wake.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

pub(super) fn start(shared: Arc<Shared>) -> JoinHandle<()> {
    thread::Builder::new()
        .name("writer".to_owned())
        .spawn(move || {
            let _guard = EndWithMe("writer");
            let _watched = Watched::thread("writer");
            let mut writer = Writer {
                shared,
                quick_repair_at: Instant::now(),
                rest_at: None,
                full: None,
                findings_max: FINDINGS_PER_COMMIT_MIN,
            };
            while writer.turn() {}
        })
        .expect("the system can start a thread")
}

/// Once the disk is well again reads go on within 5 s, and this is a part of them.
const REOPEN_DELAY_MAX: Duration = Duration::from_secs(2);

/// How many findings the next batch may touch, after a commit that took so long, of as many as it might or not.
fn findings_max(now: usize, full: bool, took: Duration) -> usize {
    if took > COMMIT_AIM {
        (now / 2).max(FINDINGS_PER_COMMIT_MIN)
    } else if full && took < COMMIT_AIM / 2 {
        (now * 2).min(FINDINGS_PER_COMMIT_MAX)
    } else {
        now
    }
}

struct Writer {
    shared: Arc<Shared>,
    /// When the last commit was made from which the store opens at once after a kill.
    quick_repair_at: Instant,
    /// When the next such commit is due, if others were made since.
    rest_at: Option<Instant>,
    full: Option<(Instant, Option<u64>)>,
    /// Findings that the next batch may touch.
    findings_max: usize,
}

impl Writer {
    /// Works off what is next; false when the store was closed.
    fn turn(&mut self) -> bool {
        let waiting = loops::resting();
        let turn = self.shared.queue.next(self.rest_at);
        drop(waiting);
        if matches!(turn, Turn::Close) {
            return false;
        }
        let step = loops::within(if matches!(turn, Turn::Chore(_)) { STORE_CHORE_MAX } else { STORE_STEP_MAX });
        let is_silent = matches!(turn, Turn::Probe | Turn::Rest);
        let taken = guard::quietly(|| self.take(turn));
        drop(step);
        match taken {
            // Nothing was written, so nobody has to be woken.
            Ok(Ok(())) if is_silent => {}
            Ok(Ok(())) => self.shared.bell.ring(),
            Ok(Err(StoreError::Failed(problem))) => self.reopen(&problem),
            Ok(Err(
                StoreError::Damaged { .. }
                | StoreError::Full { .. }
                | StoreError::Locked(_)
                | StoreError::StandsBy
                | StoreError::Stale
                | StoreError::Closed,
            )) => {}
            // A damaged page and a bug of ours look the same; the file's checksums tell which it is.
            Err(panic) => {
                SUSPECT.store(true, Ordering::Relaxed);
                self.reopen(&format!("a write ended in a panic: {panic}"));
                panic!("{panic}");
            }
        }
        true
    }

    fn take(&mut self, turn: Turn) -> Result<(), StoreError> {
        match turn {
            Turn::Deliveries(delivered) => self.take_deliveries(delivered),
            Turn::Work(job) => self.work(job),
            Turn::Chore(chore) => {
                let shared = Arc::clone(&self.shared);
                let mut handle = shared.handle.write().unwrap_or_else(PoisonError::into_inner);
                chore(handle.as_mut())
            }
            Turn::Probe => self.probe(),
            Turn::Rest => {
                // Once: where it fails, the store is opened anew, and the next commit makes good for it.
                self.rest_at = None;
                self.transaction(Manner::Deletes, |_| Ok(()))
            }
            Turn::Close => Ok(()),
        }
    }

    fn take_deliveries(&mut self, delivered: Vec<Delivered>) -> Result<(), StoreError> {
        let mut answers = Vec::with_capacity(delivered.len());
        let shared = Arc::clone(&self.shared);
        let result = self.admit(Manner::Deliveries).and_then(|()| {
            self.transaction(Manner::Deliveries, |batch| {
                let mut intake = Intake::open(batch)?;
                for Delivered { arrival, reply } in delivered {
                    // Whoever was told 503 in the meantime counts on nothing being stored.
                    let accepted = if reply.is_wanted() {
                        Some(intake.accept(arrival, shared.tickets.fetch_add(1, Ordering::Relaxed)))
                    } else {
                        None
                    };
                    answers.push((reply, accepted));
                    if let Some((_, Some(Err(error)))) = answers.last() {
                        return Err(error.clone());
                    }
                }
                intake.finish()
            })
        });
        for (reply, accepted) in answers {
            match (&result, accepted) {
                (Ok(()), Some(accepted)) => reply.send(accepted),
                (Ok(()), None) => {}
                (Err(error), _) => reply.send(Err(error.clone())),
            }
        }
        result
    }

    fn work(&mut self, job: Job) -> Result<(), StoreError> {
        if let Err(error) = self.admit(job.manner) {
            // The reply tells the caller.
            let _ = (job.run)(Err(error.clone()));
            return Err(error);
        }
        let shared = Arc::clone(&self.shared);
        let handle = shared.handle.read().unwrap_or_else(PoisonError::into_inner);
        let begun = handle
            .as_ref()
            .ok_or_else(|| StoreError::Failed("it is not open".to_owned()))
            .and_then(|database| self.begin(database, job.manner));
        let (transaction, repair) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                let _ = (job.run)(Err(error.clone()));
                return Err(error);
            }
        };
        let keyring = shared.keyring();
        let mut batch = Batch {
            findings_max: self.findings_max,
            touched: shared.notes_rows().then(RefCell::default),
            stands_by: shared.stands_by.load(Ordering::Acquire),
            ..Batch::new(&transaction, &keyring, Instant::now() + BATCH_MAX, Some(&shared.queue))
        };
        match (job.run)(Ok(&mut batch)) {
            Ok(finish) => {
                let (full, committing_since, touched) = (batch.is_full, Instant::now(), batch.touched.take());
                let result = transaction.commit().map_err(StoreError::from);
                if result.is_ok() {
                    self.committed(repair);
                }
                self.note(touched);
                self.shared.commits.fetch_add(1, Ordering::Release);
                self.findings_max = findings_max(self.findings_max, full, committing_since.elapsed());
                finish(result.clone());
                result
            }
            // The caller's reason is not known here: most often a refusal, perhaps a failure of the store.
            Err(None) => {
                transaction.abort()?;
                self.shared.queue.push_probe();
                Ok(())
            }
            Err(Some(error)) => {
                transaction.abort()?;
                Err(error)
            }
        }
    }

    /// Looks whether the store still answers, and changes nothing. Whoever met an error that may have been the
    /// store's has this done, so that it is opened anew soon and not with the next write, whenever that is.
    fn probe(&mut self) -> Result<(), StoreError> {
        if SUSPECT.load(Ordering::Relaxed) {
            return Err(StoreError::Failed("a page may be damaged".to_owned()));
        }
        let shared = Arc::clone(&self.shared);
        let handle = shared.handle.read().unwrap_or_else(PoisonError::into_inner);
        let database = handle.as_ref().ok_or_else(|| StoreError::Failed("it is not open".to_owned()))?;
        let (transaction, _) = self.begin(database, Manner::Deletes)?;
        let keyring = shared.keyring();
        let batch = Batch::new(&transaction, &keyring, Instant::now(), None);
        let found = super::has(&batch, tables::META, &Key::new().tail(b"schema"));
        transaction.abort()?;
        if found? { Ok(()) } else { Err(StoreError::Failed("the store's tables are gone".to_owned())) }
    }

    fn transaction(
        &mut self,
        manner: Manner,
        change: impl FnOnce(&mut Batch) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let handle = shared.handle.read().unwrap_or_else(PoisonError::into_inner);
        let database = handle.as_ref().ok_or_else(|| StoreError::Failed("it is not open".to_owned()))?;
        let (transaction, repair) = self.begin(database, manner)?;
        let keyring = shared.keyring();
        let mut batch = Batch::new(&transaction, &keyring, Instant::now() + BATCH_MAX, None);
        batch.touched = shared.notes_rows().then(RefCell::default);
        batch.stands_by = shared.stands_by.load(Ordering::Acquire);
        change(&mut batch)?;
        let touched = batch.touched.take();
        transaction.commit()?;
        self.committed(repair);
        self.note(touched);
        self.shared.commits.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Tells the backup that is being made what was written, and whoever tells the box that stands by.
    fn note(&self, touched: Option<RefCell<Vec<Row>>>) {
        let Some(rows) = touched.map(RefCell::into_inner) else { return };
        if self.shared.shipping.is_on() {
            let shared = rows.iter().filter(|(place, key)| super::standby::is_shared(*place, key));
            self.shared.shipping.note(shared.cloned().collect());
        }
        if self.shared.watch.is_on() {
            self.shared.watch.note(rows);
        }
    }

    fn begin(&self, database: &Database, manner: Manner) -> Result<(redb::WriteTransaction, Repair), StoreError> {
        let mut transaction = database.begin_write()?;
        let repair = if manner == Manner::Unsynced {
            transaction.set_durability(Durability::None)?;
            Repair::AsBefore
        } else if manner == Manner::Deliveries && self.quick_repair_at.elapsed() < QUICK_REPAIR_INTERVAL_MAX {
            Repair::Full
        } else {
            // Two and a half times the cost of a commit, for opening at once after a kill, whatever the file's size.
            // Only a burst of deliveries does without, and not for longer than a second.
            transaction.set_quick_repair(true);
            Repair::None
        };
        Ok((transaction, repair))
    }

    /// Notes what a commit that was made leaves to do. One that was begun and not made has changed nothing of that.
    fn committed(&mut self, repair: Repair) {
        match repair {
            Repair::AsBefore => {}
            Repair::Full => self.rest_at = Some(self.quick_repair_at + QUICK_REPAIR_INTERVAL_MAX),
            Repair::None => (self.quick_repair_at, self.rest_at) = (Instant::now(), None),
        }
    }

    /// Refuses all but deletions when little space is free, so that redb does not meet a full disk.
    fn admit(&mut self, manner: Manner) -> Result<(), StoreError> {
        if manner == Manner::Deletes {
            return Ok(());
        }
        let free = match self.full {
            Some((at, free)) if at.elapsed() < Duration::from_secs(1) => free,
            _ => {
                let free = self.shared.free_space();
                self.full = Some((Instant::now(), free));
                free
            }
        };
        let least = self.shared.free_space_min.load(Ordering::Relaxed);
        match free {
            Some(free) if free < least => Err(StoreError::Full { free, least }),
            _ => Ok(()),
        }
    }

    /// Replaces the handle after an error: redb answers everything with an error until it is opened anew. Readers
    /// are waited for, and see an error while there is no handle.
    fn reopen(&mut self, problem: &str) {
        // A look at every page takes as long as the file is large, and a disk that is away is waited for.
        let _rest = loops::resting();
        tracing::error!("the store failed and is opened anew: {problem}");
        let opening = if SUSPECT.swap(false, Ordering::Relaxed) { Opening::AgainChecked } else { Opening::Again };
        let mut delay = Duration::from_millis(50);
        loop {
            let mut handle = self.shared.handle.write().unwrap_or_else(PoisonError::into_inner);
            // The file's lock goes with the former handle.
            if let Err(panic) = guard::quietly(|| *handle = None) {
                tracing::error!("closing the store ended in a panic: {panic}");
            }
            let opened = guard::quietly(|| (self.shared.opener)(opening))
                .unwrap_or_else(|panic| Err(DatabaseError::Storage(StorageError::Corrupted(panic))));
            match opened {
                Ok(database) if schema::format_of(&database) != Some(schema::NEWEST) => {
                    tracing::error!("the file in the store's place is not the store that was open");
                }
                Ok(database) => {
                    // Whether the commit that failed changed the key shows now.
                    if let Some(keyring) = schema::keyring(&database, &self.shared.place) {
                        *self.shared.keyring.write().unwrap_or_else(PoisonError::into_inner) = keyring;
                    }
                    *handle = Some(database);
                    self.shared.reopened.fetch_add(1, Ordering::Relaxed);
                    tracing::info!("the store is open again");
                    return;
                }
                Err(error) => match OpenError::of(error, &self.shared.folder) {
                    // What is damaged stays so; to go on would show a part of the inventory as the whole.
                    damaged @ OpenError::Damaged { .. } if opening == Opening::AgainChecked => {
                        guard::end_for_a_person(&damaged)
                    }
                    error => tracing::error!("the store cannot be opened yet: {error}"),
                },
            }
            drop(handle);
            // Nobody is to wait for a store that may not come back; what is refused was not acknowledged.
            for delivered in std::mem::take(&mut self.shared.queue.lock().deliveries) {
                delivered.reply.send(Err(StoreError::Failed(problem.to_owned())));
            }
            if self.shared.queue.lock().closed {
                return;
            }
            thread::sleep(delay);
            delay = (delay * 2).min(REOPEN_DELAY_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_while_commits_are_quick_and_shrink_when_one_is_slow() {
        let (quick, slow) = (COMMIT_AIM / 4, COMMIT_AIM * 2);
        let mut now = FINDINGS_PER_COMMIT_MIN;
        assert_eq!(findings_max(now, false, quick), now);
        for _ in 0..10 {
            now = findings_max(now, true, quick);
        }
        assert_eq!(now, FINDINGS_PER_COMMIT_MAX);
        assert_eq!(findings_max(now, true, COMMIT_AIM), now);
        assert_eq!(findings_max(now, false, slow), now / 2);
        for _ in 0..10 {
            now = findings_max(now, true, slow);
        }
        assert_eq!(now, FINDINGS_PER_COMMIT_MIN);
    }
}
