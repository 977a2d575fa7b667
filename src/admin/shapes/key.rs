//! The key that secrets are sealed with.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which key it is, and nothing of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SealingKey {
    /// Tells keys apart. Of a box that is locked it is the one that is missing.
    pub id: String,
    /// Why the box is locked, where it is: this key is not there, and what is, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
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
