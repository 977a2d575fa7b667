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
    secrets: Vec<KnownSecret>,
}

#[derive(Debug, Clone)]
struct KnownSecret {
    id: u32,
    secret: Secret,
    expires_at: Option<Timestamp>,
}

impl Endpoint {
    /// The secret that made the signature, among those that are still valid. All of them are tried, so that the answer's
    /// time says nothing. A clock that may be wrong ends none; it is asked for only where one would have ended.
    pub fn verifies(
        &self,
        signature: &Signature,
        body: &[u8],
        now: Timestamp,
        is_clock_right: impl Fn() -> bool,
    ) -> Option<u32> {
        let ended = |secret: &KnownSecret| secret.expires_at.is_some_and(|at| at <= now) && is_clock_right();
        let mut made_by = None;
        for known in self.secrets.iter().filter(|secret| !ended(secret)) {
            if signature.verifies(body, std::iter::once(&known.secret)) {
                made_by = Some(known.id);
            }
        }
        made_by
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
            let secrets = secrets
                .into_iter()
                .filter_map(|(known, text)| {
                    let secret = Secret::parse(text.as_text()).ok()?;
                    Some(KnownSecret { id: known.id, secret, expires_at: known.expires_at })
                })
                .collect();
            (hook.endpoint, Arc::new(Endpoint { organization: hook.organization, project: hook.project, secrets }))
        });
        *self.endpoints.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(endpoints.collect());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{OrganizationKey, SourceName};

    #[test]
    fn a_former_secret_ends_only_by_a_clock_that_is_right() {
        let secret = |text: &str| Secret::parse(text).expect("it is long enough");
        let known = |id, text, expires_at: Option<i64>| KnownSecret {
            id,
            secret: secret(text),
            expires_at: expires_at.map(Timestamp),
        };
        let endpoint = Endpoint {
            organization: OrganizationRef {
                source: SourceName::parse("eu").expect("a name"),
                key: OrganizationKey::parse("acme").expect("a key"),
            },
            project: None,
            secrets: vec![known(2, "the new secret of it", None), known(1, "the former secret of it", Some(1000))],
        };
        let signed = |text: &str| Signature::parse(secret(text).sign(b"{}").as_bytes()).expect("it has the form");
        let by = |text: &str, now, right| endpoint.verifies(&signed(text), b"{}", Timestamp(now), || right);
        assert_eq!(by("the new secret of it", 5000, true), Some(2));
        assert_eq!(by("the former secret of it", 999, true), Some(1));
        assert_eq!(by("the former secret of it", 1000, true), None);
        assert_eq!(by("the former secret of it", 1000, false), Some(1));
        assert_eq!(by("a secret of somebody else", 999, false), None);
    }
}
