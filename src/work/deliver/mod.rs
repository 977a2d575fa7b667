//! Passing on: each destination has a thread of its own that follows the log of changes, so that one that is down
//! holds up nothing else. What is to be told is read from the store, told, and noted there; a thread that ends loses
//! nothing but time.

mod gather;
mod notices;
mod preview;
mod reread;
mod rounds;
mod runner;
mod scopes;
mod standing;
mod telling;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Work, small_thread};
use crate::domain::destination::Destination;
use crate::domain::ids::DestinationId;
use crate::platform::{self, BadDestination, Platform};
use crate::store::records::SecretBytes;
use crate::store::{StoreError, destinations};
use crate::sys::loops;
use crate::sys::trust::Trust;

pub use self::preview::{Preview, preview};
pub use self::runner::{Runner, Turn};

/// The threads that tell destinations, and how to reach them.
pub struct Deliver {
    work: Arc<Work>,
    threads: Mutex<BTreeMap<DestinationId, JoinHandle<()>>>,
    /// Destinations that were changed, or that a person wants to be tried now.
    kicked: Mutex<BTreeSet<DestinationId>>,
}

impl Deliver {
    /// Begins without threads.
    pub fn new(work: Arc<Work>) -> Arc<Self> {
        Arc::new(Self { work, threads: Mutex::default(), kicked: Mutex::default() })
    }

    /// Starts the thread that starts the others. It ends when the workers are told to.
    pub fn start(self: &Arc<Self>) -> JoinHandle<()> {
        let deliver = Arc::clone(self);
        small_thread("deliver".to_owned(), move || deliver.run())
    }

    fn run(self: &Arc<Self>) {
        while !self.work.is_stopping() {
            let heard = self.work.store.bell().rings();
            match self.tend() {
                Ok(()) => self.work.store.bell().wait(heard, LOOK),
                Err(error) => {
                    tracing::warn!("the destinations cannot be read: {error}");
                    self.work.store.bell().wait(heard, super::RETRY);
                }
            }
        }
        let threads = std::mem::take(&mut *self.threads());
        // Each of them is watched.
        let _rest = loops::resting();
        for thread in threads.into_values() {
            // Its panic has ended the process already.
            let _ = thread.join();
        }
    }

    /// Starts threads for destinations that have none, and clears up after those that are gone.
    fn tend(self: &Arc<Self>) -> Result<(), StoreError> {
        // Another box of the site tells them.
        if !self.work.standby.works() {
            return Ok(());
        }
        let known = self.work.store.read(destinations::ids)?;
        let mut threads = self.threads();
        threads.retain(|_, thread| !thread.is_finished());
        for id in known {
            let deliver = Arc::clone(self);
            threads.entry(id).or_insert_with(|| {
                small_thread(format!("destination {}", id.0), move || Runner::new(deliver, id).run())
            });
        }
        drop(threads);
        if self.work.store.read(destinations::has_orphans)? {
            self.work.store.delete::<_, StoreError>(|batch| destinations::clear(batch).map(drop))?;
        }
        Ok(())
    }

    fn threads(&self) -> MutexGuard<'_, BTreeMap<DestinationId, JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kicked(&self) -> MutexGuard<'_, BTreeSet<DestinationId>> {
        self.kicked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a destination tried at once, with whatever was changed about it.
    pub fn kick(&self, id: DestinationId) {
        self.kicked().insert(id);
        self.work.store.bell().ring();
    }

    /// Makes a platform from what was given; nothing is sent.
    ///
    /// # Errors
    /// If it cannot be right.
    pub fn open(
        &self,
        destination: &Destination,
        secret: Option<&SecretBytes>,
    ) -> Result<Box<dyn Platform>, BadDestination> {
        platform::open_by(
            destination,
            secret.map(SecretBytes::as_text),
            self.trust(),
            &self.work.clock,
            &self.work.dice,
        )
    }

    fn trust(&self) -> &Trust {
        self.work.sources.trust()
    }

    /// The store and what else the workers share.
    pub fn work(&self) -> &Arc<Work> {
        &self.work
    }
}

/// How long nobody looks for new destinations while nothing rings.
const LOOK: Duration = Duration::from_mins(1);
