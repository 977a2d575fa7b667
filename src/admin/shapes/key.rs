//! The key that secrets are sealed with.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which key it is, and nothing of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SealingKey {
    /// Tells keys apart.
    pub id: String,
    /// Whether the service manager handed it over as a credential, which may be bound to the box's TPM.
    pub credential: bool,
    /// The credential's name, or the file's.
    pub name: Option<String>,
    /// Where it was read from.
    pub place: Option<String>,
    /// Since when it is used, where that was noted.
    pub since: Option<String>,
    /// The key before, as long as a change to this one is not at its end.
    pub former: Option<String>,
}

/// A key that took another's place.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyRotated {
    /// The key from now on.
    pub id: String,
    /// The one before.
    pub former: String,
    /// Whether nothing needs the former one any more. Else the rest follows by itself.
    pub finished: bool,
    /// Whether the new one is a credential.
    pub credential: bool,
}
