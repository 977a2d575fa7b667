//! Webhook endpoints and their secrets.

use std::time::Duration;

use super::records::{Hook, HookSecret, SecretBytes};
use super::tables::{self, Key};
use super::{Batch, StoreError, View, get, scan, secrets};
use crate::domain::ids::{EndpointId, OrganizationRef, ProjectKey};
use crate::domain::time::Timestamp;

fn key(organization: &OrganizationRef, project: Option<&ProjectKey>) -> Key {
    Key::new()
        .name(organization.source.as_str())
        .name(organization.key.as_str())
        .tail(project.map(ProjectKey::as_str).unwrap_or_default().as_bytes())
}

fn secret_key(endpoint: EndpointId, id: u32) -> Key {
    Key::new().tail(b"hook/").tail(&endpoint.0).u32(id)
}

/// The endpoint of an organization, or of one project of it.
pub fn hook(
    view: &impl View,
    organization: &OrganizationRef,
    project: Option<&ProjectKey>,
) -> Result<Option<Hook>, StoreError> {
    get(view, tables::HOOKS, &key(organization, project))
}

/// Where the last use of a secret is noted, beside its endpoint's record, which is not written for each call.
fn used_key(endpoint: EndpointId, id: u32) -> Key {
    Key::new().tail(b"hook used/").tail(&endpoint.0).u32(id)
}

/// Every endpoint, without its secrets.
pub fn records(view: &impl View) -> Result<Vec<Hook>, StoreError> {
    let mut hooks = Vec::new();
    scan::<Hook>(view, tables::HOOKS, &Key::new(), |_, hook| {
        hooks.push(hook);
        true
    })?;
    Ok(hooks)
}

/// A secret that can be read, with what is known of it.
pub type Whole = (HookSecret, SecretBytes);

/// Every endpoint with its secrets that can be read.
pub fn all(view: &impl View) -> Result<Vec<(Hook, Vec<Whole>)>, StoreError> {
    let hooks = records(view)?;
    let mut found = Vec::with_capacity(hooks.len());
    for hook in hooks {
        let mut whole = Vec::with_capacity(hook.secrets.len());
        for known in &hook.secrets {
            match secret_of(view, &hook, known) {
                Ok(secret) => whole.push((known.clone(), secret)),
                // The others must work; a call that is signed with this one is answered 401.
                Err(StoreError::Damaged { what }) => {
                    tracing::error!("a {what} of {} is damaged: take its secret over anew", hook.organization);
                }
                // The listener says 503 until the key is there.
                Err(StoreError::Locked(_)) => {}
                Err(error) => return Err(error),
            }
        }
        found.push((hook, whole));
    }
    Ok(found)
}

fn secret_of(view: &impl View, hook: &Hook, known: &HookSecret) -> Result<SecretBytes, StoreError> {
    secrets::secret(view, &secret_key(hook.endpoint, known.id))?.ok_or(StoreError::Damaged { what: "webhook secret" })
}

/// The secret that an endpoint has at present.
pub fn present_secret(view: &impl View, hook: &Hook) -> Result<Option<SecretBytes>, StoreError> {
    hook.secrets.first().map(|known| secret_of(view, hook, known)).transpose()
}

/// The endpoint that is there, or the one given.
pub fn make(
    batch: &Batch,
    organization: &OrganizationRef,
    project: Option<&ProjectKey>,
    endpoint: EndpointId,
    secret: &SecretBytes,
    now: Timestamp,
) -> Result<Hook, StoreError> {
    if let Some(hook) = hook(batch, organization, project)? {
        return Ok(hook);
    }
    let hook = Hook {
        endpoint,
        organization: organization.clone(),
        project: project.cloned(),
        secrets: vec![HookSecret { id: 1, made_at: now, expires_at: None }],
        registered: false,
    };
    secrets::put(batch, &secret_key(endpoint, 1), secret)?;
    batch.put(tables::HOOKS, &key(organization, project), &hook)?;
    Ok(hook)
}

/// Replaces every secret of an endpoint by one; false if the endpoint is gone.
pub fn replace_secret(batch: &Batch, of: &Hook, secret: &SecretBytes, now: Timestamp) -> Result<bool, StoreError> {
    let Some(mut hook) = known(batch, of)? else { return Ok(false) };
    let id = hook.secrets.iter().map(|secret| secret.id).max().unwrap_or(0) + 1;
    for former in &hook.secrets {
        forget_secret(batch, hook.endpoint, former.id)?;
    }
    hook.secrets = vec![HookSecret { id, made_at: now, expires_at: None }];
    secrets::put(batch, &secret_key(hook.endpoint, id), secret)?;
    put(batch, &hook)?;
    Ok(true)
}

/// Puts a secret in the first place; those before it stay valid until then at the most. Returns the endpoint as it is now;
/// nothing if it is gone.
pub fn rotate(
    batch: &Batch,
    of: &Hook,
    secret: &SecretBytes,
    now: Timestamp,
    ends_at: Timestamp,
) -> Result<Option<Hook>, StoreError> {
    let Some(mut hook) = known(batch, of)? else { return Ok(None) };
    let id = hook.secrets.iter().map(|secret| secret.id).max().unwrap_or(0) + 1;
    for former in &mut hook.secrets {
        former.expires_at = Some(former.expires_at.map_or(ends_at, |known| known.min(ends_at)));
    }
    hook.secrets.insert(0, HookSecret { id, made_at: now, expires_at: None });
    secrets::put(batch, &secret_key(hook.endpoint, id), secret)?;
    put(batch, &hook)?;
    Ok(Some(hook))
}

/// Forgets all secrets of an endpoint but the present one.
pub fn end_former(batch: &Batch, of: &Hook) -> Result<(), StoreError> {
    match known(batch, of)? {
        Some(hook) => keep_secrets(batch, hook, |index, _| index == 0).map(drop),
        None => Ok(()),
    }
}

/// The endpoint as it is now; nothing if it is gone, or another one has taken its place.
fn known(view: &impl View, of: &Hook) -> Result<Option<Hook>, StoreError> {
    Ok(hook(view, &of.organization, of.project.as_ref())?.filter(|known| known.endpoint == of.endpoint))
}

fn put(batch: &Batch, hook: &Hook) -> Result<(), StoreError> {
    batch.put(tables::HOOKS, &key(&hook.organization, hook.project.as_ref()), hook)
}

fn forget_secret(batch: &Batch, endpoint: EndpointId, id: u32) -> Result<(), StoreError> {
    batch.delete(tables::META, &used_key(endpoint, id))?;
    secrets::delete(batch, &secret_key(endpoint, id))
}

/// Returns how many secrets are gone.
fn keep_secrets(batch: &Batch, mut hook: Hook, keep: impl Fn(usize, &HookSecret) -> bool) -> Result<usize, StoreError> {
    let (kept, gone): (Vec<_>, Vec<_>) =
        std::mem::take(&mut hook.secrets).into_iter().enumerate().partition(|(index, secret)| keep(*index, secret));
    if gone.is_empty() {
        return Ok(0);
    }
    for (_, secret) in &gone {
        forget_secret(batch, hook.endpoint, secret.id)?;
    }
    hook.secrets = kept.into_iter().map(|(_, secret)| secret).collect();
    put(batch, &hook)?;
    Ok(gone.len())
}

fn has_ended(secret: &HookSecret, now: Timestamp) -> bool {
    secret.expires_at.is_some_and(|at| at <= now)
}

/// Whether a secret's time is over.
pub fn any_ended(view: &impl View, now: Timestamp) -> Result<bool, StoreError> {
    Ok(records(view)?.iter().any(|hook| hook.secrets.iter().any(|secret| has_ended(secret, now))))
}

/// Forgets secrets whose time is over. Returns how many.
pub fn prune_ended(batch: &Batch, now: Timestamp) -> Result<usize, StoreError> {
    let mut gone = 0;
    for hook in records(batch)? {
        gone += keep_secrets(batch, hook, |_, secret| !has_ended(secret, now))?;
    }
    Ok(gone)
}

/// Notes that Sonar has signed with a secret: the first time at once, then to the hour. Part of a commit that is made
/// anyway.
pub(super) fn note_use(batch: &Batch, (endpoint, id): (EndpointId, u32), at: Timestamp) -> Result<(), StoreError> {
    let key = used_key(endpoint, id);
    let noted = last_use(batch, endpoint, id)?;
    if noted.is_some_and(|noted| at.since(noted).max(noted.since(at)) < USE_NOTED_AFTER) {
        return Ok(());
    }
    batch.put(tables::META, &key, &at.0.cast_unsigned())
}

/// When Sonar last signed with a secret, to the hour. What cannot be read was not noted.
pub fn last_use(view: &impl View, endpoint: EndpointId, id: u32) -> Result<Option<Timestamp>, StoreError> {
    match get::<u64>(view, tables::META, &used_key(endpoint, id)) {
        Ok(at) => Ok(at.map(|at| Timestamp(at.cast_signed()))),
        Err(StoreError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

const USE_NOTED_AFTER: Duration = Duration::from_hours(1);

/// Notes whether this box has registered an endpoint in Sonar.
pub fn set_registered(batch: &Batch, of: &Hook, registered: bool) -> Result<(), StoreError> {
    // It may have been changed or removed while Sonar was asked.
    match known(batch, of)? {
        Some(known) if known.registered != registered => put(batch, &Hook { registered, ..known }),
        _ => Ok(()),
    }
}

/// Lets a project's endpoint go with the project to its new key. If somebody has made one for the new key already,
/// that one is the newer wish, and the former is forgotten.
pub(super) fn rename(
    batch: &Batch,
    organization: &OrganizationRef,
    from: &ProjectKey,
    to: &ProjectKey,
) -> Result<(), StoreError> {
    let Some(former) = hook(batch, organization, Some(from))? else { return Ok(()) };
    if hook(batch, organization, Some(to))?.is_some() {
        return remove(batch, |hook| hook.endpoint == former.endpoint);
    }
    batch.delete(tables::HOOKS, &key(organization, Some(from)))?;
    batch.put(tables::HOOKS, &key(organization, Some(to)), &Hook { project: Some(to.clone()), ..former })
}

/// Forgets the endpoints of a source, or of one organization or project.
pub(super) fn remove(batch: &Batch, of: impl Fn(&Hook) -> bool) -> Result<(), StoreError> {
    let mut gone = Vec::new();
    scan::<Hook>(batch, tables::HOOKS, &Key::new(), |_, hook| {
        if of(&hook) {
            gone.push(hook);
        }
        true
    })?;
    for hook in gone {
        for secret in &hook.secrets {
            forget_secret(batch, hook.endpoint, secret.id)?;
        }
        batch.delete(tables::HOOKS, &key(&hook.organization, hook.project.as_ref()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::ids::{OrganizationKey, SourceName};
    use crate::store::{Store, keys};
    use crate::sys::bell::Bell;

    fn acme() -> OrganizationRef {
        OrganizationRef { source: SourceName::parse("eu").unwrap(), key: OrganizationKey::parse("acme").unwrap() }
    }

    fn text(text: &str) -> SecretBytes {
        SecretBytes::new(text.as_bytes().to_vec())
    }

    /// A store with an endpoint, its first secret, and what `then` made of it.
    fn with_hook(
        then: impl FnOnce(&mut Batch, Hook) -> Result<(), StoreError> + Send + 'static,
    ) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Arc::new(Bell::default())).unwrap();
        let written = store.write::<_, StoreError>(move |batch| {
            let hook = make(batch, &acme(), None, EndpointId([7; 16]), &text("first"), Timestamp(1))?;
            then(batch, hook)
        });
        assert_eq!(written, Ok(()));
        (folder, store)
    }

    fn known_secrets(store: &Store) -> Vec<(u32, String)> {
        let all = store.read::<_, StoreError>(all).unwrap();
        all.into_iter()
            .flat_map(|(_, secrets)| secrets)
            .map(|(known, secret)| (known.id, secret.as_text().to_owned()))
            .collect()
    }

    /// A secret that is over, or soon will be, must not take the one with it that SonarQube signs with.
    #[test]
    fn a_damaged_secret_leaves_the_others_of_its_endpoint() {
        let (_folder, store) = with_hook(|batch, hook| {
            rotate(batch, &hook, &text("second"), Timestamp(2), Timestamp(9))?;
            batch.put_bytes(tables::SECRETS, &secret_key(hook.endpoint, 1), b"\x82noise")
        });
        assert_eq!(known_secrets(&store), [(2, "second".to_owned())]);
        let damaged = store.write::<_, StoreError>(|batch| {
            batch.delete(tables::SECRETS, &secret_key(EndpointId([7; 16]), 2))?;
            rotate(batch, &hook(batch, &acme(), None)?.unwrap(), &text("third"), Timestamp(3), Timestamp(9)).map(drop)
        });
        assert_eq!(damaged, Ok(()));
        assert_eq!(known_secrets(&store), [(3, "third".to_owned())]);
        let present = store.read::<_, StoreError>(|view| {
            let hook = hook(view, &acme(), None)?.unwrap();
            Ok((
                present_secret(view, &hook)?,
                present_secret(view, &Hook { secrets: hook.secrets[1..].to_vec(), ..hook }),
            ))
        });
        let (present, former) = present.unwrap();
        assert_eq!(present, Some(text("third")));
        assert_eq!(
            former,
            Err(StoreError::Damaged { what: "webhook secret" }),
            "a former one is not told as the present one"
        );
    }

    /// Between reading an endpoint and replacing its secret others may have changed or removed it.
    #[test]
    fn a_secret_is_replaced_of_the_endpoint_as_it_is_now() {
        let (_folder, store) = with_hook(|batch, seen| {
            rotate(batch, &seen, &text("second"), Timestamp(2), Timestamp(9))?;
            assert!(replace_secret(batch, &seen, &text("own"), Timestamp(3))?);
            Ok(())
        });
        assert_eq!(known_secrets(&store), [(3, "own".to_owned())]);
        let rows = store.read::<_, StoreError>(|view| keys(view, tables::SECRETS, &Key::new().tail(b"hook/"), 9));
        assert_eq!(rows.unwrap().len(), 1, "no former secret is left");
        let (_folder, store) = with_hook(|batch, seen| {
            remove(batch, |_| true)?;
            assert!(!replace_secret(batch, &seen, &text("own"), Timestamp(3))?);
            Ok(())
        });
        let left =
            store.read::<_, StoreError>(|view| Ok((records(view)?, keys(view, tables::SECRETS, &Key::new(), 9)?)));
        assert_eq!(left, Ok((Vec::new(), Vec::new())), "what was removed does not come back");
    }
}
