//! What SIGHUP (`systemctl reload`) has read anew: the listeners' certificate, the authorities that are believed, who may
//! call, and what is logged.

use std::sync::Arc;

use crate::domain::settings::{LOG_LEVEL, NETWORKS_MODE, TRUSTED_PROXIES};
use crate::domain::time::Timestamp;
use crate::ingress::border::Border;
use crate::store::{Store, StoreError, settings};
use crate::sys::clients::Served;
use crate::sys::lists::ListFile;
use crate::sys::trust::Trust;
use crate::sys::{log, tls};
use crate::work::certificates::Certificates;

/// What can be read anew.
pub(super) struct Readable {
    pub(super) store: Store,
    pub(super) certificates: Arc<Certificates>,
    pub(super) trust: Trust,
    pub(super) border: Arc<Border>,
    pub(super) networks: Option<ListFile>,
    /// What the page is served with, and for whom; nothing where it is not.
    pub(super) served: Option<Arc<Served>>,
    pub(super) clients: Option<ListFile>,
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
        let former = [self.networks(&mut changes), self.clients(&mut changes)];
        trouble = former.into_iter().flatten().fold(trouble, |trouble, more| match trouble {
            Some(trouble) => Some(format!("{trouble}; {more}")),
            None => Some(more),
        });
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

impl Readable {
    /// Who may send webhooks. Returns why that stays as it was.
    fn networks(&self, changes: &mut Vec<String>) -> Option<String> {
        let trouble = match self.networks.as_ref()?.networks() {
            Ok(networks) => {
                let is_there = networks.is_some();
                if self.border.set_networks(networks) {
                    let now =
                        if is_there { "other networks may send webhooks" } else { "webhooks may come from everywhere" };
                    changes.push(now.to_owned());
                }
                None
            }
            Err(error) => {
                let now = if self.border.has_networks() { "the former networks" } else { "all networks" };
                Some(format!("{now} may send webhooks, as the list cannot be used: {error}"))
            }
        };
        self.border.note("webhook_networks_broken", trouble.clone());
        trouble
    }

    /// Whose clients the page is served to. Returns why that stays as it was.
    fn clients(&self, changes: &mut Vec<String>) -> Option<String> {
        let served = self.served.as_ref()?;
        let file = self.clients.as_ref()?;
        let trouble = match file.clients() {
            Ok(Some(clients)) => {
                if served.replace(clients) {
                    changes.push("the page asks for certificates of other authorities".to_owned());
                    self.border.set_page_asks(true);
                }
                None
            }
            // A file that is moved away for a moment must not open the page.
            Ok(None) if served.asks() => Some(format!(
                "the page goes on asking for certificates, although {} is gone; a restart ends that",
                file.path.display()
            )),
            Ok(None) => None,
            Err(error) if served.asks() => {
                Some(format!("the page asks for certificates of the former authorities: {error}"))
            }
            Err(error) => Some(format!("the page is served without asking for certificates: {error}")),
        };
        self.border.note("admin_client_ca_broken", trouble.clone());
        trouble
    }
}

/// What the settings say of the border between us and strangers.
pub(super) fn set_border(store: &Store, border: &Border) -> Result<(), StoreError> {
    let (proxies, mode) = store.read::<_, StoreError>(|view| {
        Ok((settings::value(view, TRUSTED_PROXIES)?, settings::value(view, NETWORKS_MODE)?))
    })?;
    border.heed(proxies.as_deref(), mode.as_deref());
    Ok(())
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
