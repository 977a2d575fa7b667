//! Which endpoints there are, in memory, so that a call to none of them is answered before anything is read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::domain::ids::{EndpointId, OrganizationRef, ProjectKey};
use crate::domain::signature::{Secret, Signature};
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError, hooks};

/// An endpoint as the listener knows it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The organization that it belongs to.
    pub organization: OrganizationRef,
    /// The one project that it accepts, if it belongs to a project.
    pub project: Option<ProjectKey>,
    secrets: Vec<(Secret, Option<Timestamp>)>,
}

impl Endpoint {
    /// Whether a secret that is still valid made the signature.
    pub fn verifies(&self, signature: &Signature, body: &[u8], now: Timestamp) -> bool {
        let valid = self.secrets.iter().filter(|(_, expires_at)| expires_at.is_none_or(|expires_at| now < expires_at));
        signature.verifies(body, valid.map(|(secret, _)| secret))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Directory {
    endpoints: RwLock<Arc<HashMap<EndpointId, Arc<Endpoint>>>>,
    /// Held while endpoints are read and set, so that an older reading never replaces a newer one.
    reloading: Mutex<()>,
}

impl Directory {
    /// Looks an endpoint up.
    pub fn find(&self, endpoint: EndpointId) -> Option<Arc<Endpoint>> {
        self.endpoints.read().unwrap_or_else(PoisonError::into_inner).get(&endpoint).cloned()
    }

    /// Reads all endpoints anew, after one was made or changed.
    pub fn reload(&self, store: &Store) -> Result<(), StoreError> {
        let _alone = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let hooks = store.read(hooks::all)?;
        let endpoints = hooks.into_iter().map(|(hook, secrets)| {
            let secrets = secrets.iter().zip(&hook.secrets);
            let secrets = secrets
                .filter_map(|(text, secret)| Some((Secret::parse(text.as_text()).ok()?, secret.expires_at)))
                .collect();
            (hook.endpoint, Arc::new(Endpoint { organization: hook.organization, project: hook.project, secrets }))
        });
        *self.endpoints.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(endpoints.collect());
        Ok(())
    }
}
