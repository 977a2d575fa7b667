//! What became of the configuration that a fleet offered to this box: a row among the numbers and names of the store.

use super::tables::{self, Key};
use super::{Batch, StoreError, View, get};
use crate::domain::fleet::offer::Outcome;

super::codec::record!(Outcome = "outcome of a configuration");

fn key() -> Key {
    Key::new().tail(b"fleet/offer")
}

/// What became of the last one. A damaged note counts as none.
pub fn outcome(view: &impl View) -> Result<Outcome, StoreError> {
    match get(view, tables::META, &key()) {
        Err(StoreError::Damaged { .. }) => Ok(Outcome::default()),
        found => Ok(found?.unwrap_or_default()),
    }
}

/// Notes it.
pub fn put(batch: &Batch, outcome: &Outcome) -> Result<(), StoreError> {
    batch.put(tables::META, &key(), outcome)
}
