//! Webhook endpoints and their secrets.

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

/// Every endpoint with the secrets that belong to it, in the order of the record.
pub fn all(view: &impl View) -> Result<Vec<(Hook, Vec<SecretBytes>)>, StoreError> {
    let mut hooks = Vec::new();
    scan::<Hook>(view, tables::HOOKS, &Key::new(), |_, hook| {
        hooks.push(hook);
        true
    })?;
    let mut found = Vec::with_capacity(hooks.len());
    for hook in hooks {
        match secrets_of(view, &hook) {
            Ok(secrets) => found.push((hook, secrets)),
            // The others must work; calls to this one are answered 401.
            Err(StoreError::Damaged { what }) => {
                tracing::error!("a {what} of {} is damaged: take its secret over anew", hook.organization);
                found.push((hook, Vec::new()));
            }
            // The listener says 503 until the key is there.
            Err(StoreError::Locked(_)) => found.push((hook, Vec::new())),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The secrets of an endpoint, the present one first.
pub fn secrets_of(view: &impl View, hook: &Hook) -> Result<Vec<SecretBytes>, StoreError> {
    hook.secrets
        .iter()
        .map(|secret| {
            secrets::secret(view, &secret_key(hook.endpoint, secret.id))?
                .ok_or(StoreError::Damaged { what: "webhook secret" })
        })
        .collect()
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

/// Replaces every secret of an endpoint by one.
pub fn replace_secret(batch: &Batch, mut hook: Hook, secret: &SecretBytes, now: Timestamp) -> Result<(), StoreError> {
    let id = hook.secrets.iter().map(|secret| secret.id).max().unwrap_or(0) + 1;
    for former in &hook.secrets {
        secrets::delete(batch, &secret_key(hook.endpoint, former.id))?;
    }
    hook.secrets = vec![HookSecret { id, made_at: now, expires_at: None }];
    secrets::put(batch, &secret_key(hook.endpoint, id), secret)?;
    batch.put(tables::HOOKS, &key(&hook.organization, hook.project.as_ref()), &hook)
}

/// Notes whether this box has registered an endpoint in Sonar.
pub fn set_registered(batch: &Batch, of: &Hook, registered: bool) -> Result<(), StoreError> {
    // It may have been changed or removed while Sonar was asked.
    match hook(batch, &of.organization, of.project.as_ref())? {
        Some(known) if known.endpoint == of.endpoint && known.registered != registered => {
            let key = key(&known.organization, known.project.as_ref());
            batch.put(tables::HOOKS, &key, &Hook { registered, ..known })
        }
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
            secrets::delete(batch, &secret_key(hook.endpoint, secret.id))?;
        }
        batch.delete(tables::HOOKS, &key(&hook.organization, hook.project.as_ref()))?;
    }
    Ok(())
}
