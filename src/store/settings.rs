//! Settings and secrets by name.

use super::records::SecretBytes;
use super::tables::{self, Key};
use super::{Batch, StoreError, View, get};

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
    get(view, tables::SECRETS, &Key::new().tail(purpose.as_bytes()))
}

/// Stores a secret.
pub fn set_secret(batch: &Batch, purpose: &str, secret: &SecretBytes) -> Result<(), StoreError> {
    batch.put(tables::SECRETS, &Key::new().tail(purpose.as_bytes()), secret)
}
