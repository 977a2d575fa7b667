//! Configuration that this box is offered by its fleet: taken where somebody signed it whom the box was set to trust, and
//! carried out once.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ring::digest::{SHA256, digest};

use super::{Work, small_thread};
use crate::domain::fleet::Site;
use crate::domain::fleet::offer::{Accepted, Apply, Outcome, State, Unapplied, accept, signers};
use crate::domain::limits::FLEET_OFFER_AGAIN;
use crate::domain::settings::FLEET_SIGNER;
use crate::store::audit::{self, Entry, Kind};
use crate::store::{StoreError, offer, settings};

/// What is known of offers beyond what is stored.
#[derive(Default)]
pub struct Offers {
    apply: OnceLock<Arc<Apply>>,
    state: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    is_busy: bool,
    /// What could not be done before is not tried before this, by the steady clock.
    again: Option<Duration>,
    /// Why no offer can be read.
    trouble: Option<String>,
}

impl Offers {
    /// Says how documents are carried out; without it none is.
    pub fn carried_out_by(&self, apply: Arc<Apply>) {
        // It is said once, at the start.
        let _ = self.apply.set(apply);
    }

    /// Why no offer can be read, if so.
    pub fn trouble(&self) -> Option<String> {
        self.now().trouble.clone()
    }

    /// Notes whether offers can be read.
    pub fn note(&self, trouble: Option<String>) {
        self.now().trouble = trouble;
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    /// Looks at what is offered to this box as a site's, and has it carried out where that is to be done.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub fn look_at_offer(self: &Arc<Self>, site: &Site, offered: &str) -> Result<(), StoreError> {
        let digest = digest(&SHA256, offered.as_bytes()).as_ref().to_vec();
        let (trusted, known) = self
            .store
            .read::<_, StoreError>(|view| Ok((settings::value(view, FLEET_SIGNER)?, offer::outcome(view)?)))?;
        let trusted = trusted.and_then(|text| signers(&text).ok()).unwrap_or_default();
        let now = Some(self.clock.now());
        // Each is carried out once, whatever was offered in between.
        let is_taken = known.digest == digest;
        if is_taken && known.is_done {
            if known.state != State::Applied {
                let again = Outcome { state: State::Applied, why: None, at: now, ..known };
                self.store.write::<_, StoreError>(move |batch| offer::put(batch, &again))?;
            }
            return Ok(());
        }
        let least = if is_taken { known.serial } else { known.serial.saturating_add(1) };
        let again = self.offers.now().again.filter(|_| is_taken);
        match accept(offered, &trusted, site, least) {
            Ok(_) if again.is_some_and(|at| at > self.clock.steady()) => {}
            Ok(accepted) => self.begin_configuration(digest, accepted),
            Err(bad) => {
                let why = Some(bad.to_string());
                if known.state != State::Refused || known.why != why {
                    tracing::warn!("the configuration that this box is offered is not taken: {bad}");
                    let refused = Outcome { why, at: now, state: State::Refused, changes: 0, ..known };
                    self.store.write::<_, StoreError>(move |batch| offer::put(batch, &refused))?;
                }
            }
        }
        Ok(())
    }

    /// On a thread of its own: it asks Sonar, and what is to be told to others must not wait for that.
    fn begin_configuration(self: &Arc<Self>, digest: Vec<u8>, accepted: Accepted) {
        let Some(apply) = self.offers.apply.get().cloned() else { return };
        if std::mem::replace(&mut self.offers.now().is_busy, true) {
            return;
        }
        let work = Arc::clone(self);
        small_thread("configuration".to_owned(), move || {
            if let Err(error) = work.configure(&digest, accepted, &*apply) {
                tracing::warn!("what became of the configuration that this box was offered cannot be noted: {error}");
            }
            work.offers.now().is_busy = false;
        });
    }

    fn configure(&self, digest: &[u8], accepted: Accepted, apply: &Apply) -> Result<(), StoreError> {
        let Accepted { signer, claims } = accepted;
        let outcome = |state, why: Option<String>, changes| {
            let (digest, serial, at) = (digest.to_vec(), claims.serial, Some(self.clock.now()));
            let is_done = state == State::Applied;
            // It is told to others, in a message of bounded length.
            let why = why.map(|why| why.chars().take(WHY_CHARACTERS_MAX).collect());
            Outcome { digest, serial, state, why, changes, at, is_done }
        };
        let entry = Entry {
            at: self.clock.now(),
            who: format!("signer {signer}"),
            via: "fleet".to_owned(),
            what: "Take the configuration that the fleet offers".to_owned(),
            target: format!("serial {}", claims.serial),
            status: None,
            from: None,
        };
        let (begun, noted) = (outcome(State::Begun, None, 0), entry.clone());
        // From here on none before it is taken, whatever ends when.
        let number = self.store.write::<_, StoreError>(move |batch| {
            offer::put(batch, &begun)?;
            audit::note(batch, Kind::Change, &noted)
        })?;
        tracing::info!("brings this box to the configuration with the serial {} that it is offered", claims.serial);
        let (ended, entry) = match apply(&claims.configuration) {
            Ok(changes) => {
                tracing::info!("this box is as the configuration says; that took {changes} changes");
                (outcome(State::Applied, None, changes), entry.ended(200, None))
            }
            Err(Unapplied { why, changes }) => {
                tracing::warn!("the configuration that this box is offered could not be carried out: {why}");
                self.offers.now().again = Some(self.clock.steady() + FLEET_OFFER_AGAIN);
                (outcome(State::Failed, Some(why), changes), entry.ended(if changes > 0 { 207 } else { 409 }, None))
            }
        };
        self.store.write::<_, StoreError>(move |batch| {
            offer::put(batch, &ended)?;
            audit::ended(batch, number, &entry)
        })
    }
}

/// Of what was the matter so much is kept and told.
const WHY_CHARACTERS_MAX: usize = 500;
