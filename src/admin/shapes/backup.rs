//! Backups, and what a look at every record finds.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::secret::SecretText;

/// What a backup is to hold.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BackupAsked {
    /// The key of the box goes with it, sealed with this: made of a passphrase by `hydrophone backup --with-keys`. Taken over
    /// the local socket alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub wrapping: Option<SecretText>,
}

/// What a look at every record found.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Verified {
    /// Records that were read.
    pub rows: u64,
    /// Those that are not what was written.
    pub damaged: u64,
    /// By table, those that have records.
    pub tables: Vec<VerifiedTable>,
}

/// The records of one table.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VerifiedTable {
    /// Its name.
    pub table: String,
    /// Records that were read.
    pub rows: u64,
    /// Those that are not what was written.
    pub damaged: u64,
}
