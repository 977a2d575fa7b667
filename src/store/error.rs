//! What the store answers where it cannot do something, and what of redb's errors that is.

use std::sync::atomic::{AtomicBool, Ordering};

use super::secrets::Locked;

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
    /// Another box of the site holds the inventory; this one has a copy of it, which nobody else may change.
    #[error("this box stands by for another one, and holds a copy of its inventory")]
    StandsBy,
    /// What was staged may be gone, as the store was opened anew since.
    #[error("the store was opened anew in the middle of a read")]
    Stale,
    /// The daemon is stopping.
    #[error("the store is closed")]
    Closed,
}

/// Whether something was met since the last look that only a damaged page, or a bug, explains. The writer then opens
/// the file anew with all its checksums.
pub(super) static SUSPECT: AtomicBool = AtomicBool::new(false);

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
