//! What is done with a state folder while no daemon runs in it: putting a backup back, and looking at every record.

use std::path::Path;

use crate::store::OpenError;
use crate::store::backup::{self, Head, RestoreError, Restored, Verified};
use crate::store::secrets::Locked;
use crate::sys::clock;
use crate::sys::seal::{self, Key, KeyId, Place};

pub use crate::store::backup::Verified as Records;

/// A backup that was read to its end and found whole.
pub struct Checked {
    /// What it says of itself.
    pub head: Head,
    /// Its rows.
    pub verified: Verified,
}

impl Checked {
    /// The key of its secrets, if it is in it and this is its passphrase.
    pub fn key(&self, passphrase: &str) -> Option<Key> {
        self.head.wrapped.as_ref()?.unwrap(passphrase, self.head.key())
    }
}

/// Reads a backup to its end.
pub fn check(file: &Path) -> Result<Checked, RestoreError> {
    let (head, verified) = backup::check(file)?;
    Ok(Checked { head, verified })
}

/// Puts a backup into a state folder in which no daemon runs.
pub fn restore(file: &Path, state: &Path, key: Option<&Key>) -> Result<Restored, RestoreError> {
    backup::restore(file, state, key, clock::now())
}

/// Whether a key lies in the state folder as a file.
pub fn has_key(state: &Path, key: KeyId) -> bool {
    matches!(Place::folder(state).find(), Ok(Some(found)) if found.id() == key)
}

/// Another key that lies in a state folder as a file, under the name that this one would have there.
pub fn other_key(state: &Path, key: KeyId) -> Option<KeyId> {
    match Place::folder(state).find() {
        Ok(Some(found)) if found.id() != key => Some(found.id()),
        _ => None,
    }
}

/// What helps a box whose key is missing.
pub const LOCKED_REMEDY: &str = Locked::REMEDY;

/// The name of the key's file, and of its credential.
pub const KEY_NAME: &str = seal::NAME;

/// The name of its credential that lies encrypted on the disk.
pub const ENCRYPTED_KEY_NAME: &str = seal::ENCRYPTED_NAME;

/// Reads every record of the database in a state folder in which no daemon runs.
pub fn verify(state: &Path) -> Result<Verified, OpenError> {
    backup::verify_stopped(state)
}
