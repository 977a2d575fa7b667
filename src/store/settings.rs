//! Settings and secrets by name.

use super::records::SecretBytes;
use super::tables::{self, Key};
use super::{Batch, StoreError, View, get, secrets};
use crate::domain::settings::known;

/// A setting's value, if it has one of its own.
pub fn value(view: &impl View, setting: &str) -> Result<Option<String>, StoreError> {
    get(view, tables::SETTINGS, &Key::new().tail(setting.as_bytes()))
}

/// Gives a setting a value, or takes it away.
pub fn set(batch: &Batch, setting: &str, value: Option<&str>) -> Result<(), StoreError> {
    let key = Key::new().tail(setting.as_bytes());
    match value {
        Some(value) => batch.put(tables::SETTINGS, &key, &value.to_owned()),
        None => batch.delete(tables::SETTINGS, &key),
    }
}

/// A secret by its purpose, such as `tls/webhook`.
pub fn secret(view: &impl View, purpose: &str) -> Result<Option<SecretBytes>, StoreError> {
    secrets::secret(view, &Key::new().tail(purpose.as_bytes()))
}

/// The certificate that the webhook listener shows, as a secret's purpose; DER.
pub const CERTIFICATE: &str = "tls/webhook/certificate";

/// Stores a secret.
pub fn set_secret(batch: &Batch, purpose: &str, secret: &SecretBytes) -> Result<(), StoreError> {
    secrets::put(batch, &Key::new().tail(purpose.as_bytes()), secret)
}

/// The number that a setting has in force: its own, else its default.
pub fn number_of(view: &impl View, key: &str) -> Result<u64, StoreError> {
    let own = value(view, key)?.and_then(|value| value.parse().ok());
    let default = || known(key)?.default?.parse().ok();
    Ok(own.or_else(default).unwrap_or_default())
}
