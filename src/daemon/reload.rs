//! What SIGHUP (`systemctl reload`) has read anew: the listeners' certificate, the authorities that are believed, and
//! what is logged.

use std::sync::Arc;

use crate::domain::settings::LOG_LEVEL;
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError, settings};
use crate::sys::trust::Trust;
use crate::sys::{log, tls};
use crate::work::certificates::Certificates;

/// What can be read anew.
pub(super) struct Readable {
    pub(super) store: Store,
    pub(super) certificates: Arc<Certificates>,
    pub(super) trust: Trust,
}

impl Readable {
    /// Reads it; what changed, in words, and what could not be read. What was there before stays in use then.
    pub(super) fn reload(&self) -> (Vec<String>, Option<String>) {
        let mut changes = Vec::new();
        let mut trouble = None;
        if let Some((before, now)) = self.trust.reload() {
            changes.push(format!("other authorities are believed, {now} after {before}"));
        }
        if let Some(shown) = self.certificates.shown() {
            match self.certificates.show_anew() {
                Ok(true) => changes.push(format!("the listeners show {}", describe(&shown.certificate()))),
                Ok(false) => {}
                Err(error) => trouble = Some(format!("the listeners show the former certificate: {error}")),
            }
        }
        match level(&self.store) {
            Ok(level) if log::choose(level.as_deref()) => changes.push(match level {
                Some(level) => format!("the log's level is {level}"),
                None => "the log's level is the usual one".to_owned(),
            }),
            Ok(_) => {}
            Err(error) => trouble = trouble.or_else(|| Some(error.to_string())),
        }
        (changes, trouble)
    }
}

/// What the setting has logged.
pub(super) fn level(store: &Store) -> Result<Option<String>, StoreError> {
    store.read(|view| settings::value(view, LOG_LEVEL))
}

fn describe(der: &[u8]) -> String {
    match tls::describe(der) {
        Some(read) => {
            let until = Timestamp(read.not_after.saturating_mul(1000));
            format!("another certificate, {} of {}, good until {until}", read.subject, read.issuer)
        }
        None => "another certificate".to_owned(),
    }
}
