//! Sonar's webhooks and the log of their calls, which a token with the right to administer may see and change.

use super::{Client, FetchError, Query, wire};
use crate::domain::ids::{OrganizationKey, ProjectKey};
use crate::domain::limits::HOOK_LOG_PAGE_ROWS;
use crate::sonar::wire::webhooks::{CallDetail, CallsPage, Webhook};

impl Client {
    /// The webhooks of an organization, or of one project of it.
    pub fn webhooks(
        &self,
        organization: &OrganizationKey,
        project: Option<&ProjectKey>,
    ) -> Result<Vec<Webhook>, FetchError> {
        let mut query: Query = Vec::new();
        if self.cloud {
            query.push(("organization", organization.to_string()));
        }
        query.extend(project.map(|project| ("project", project.to_string())));
        let what = match project {
            Some(project) => format!("the webhooks of {project}"),
            None => format!("the webhooks of {organization}"),
        };
        Ok(self.get(&self.base, "api/webhooks/list", &query, &what, |answer| wire::webhooks::webhooks(answer))?.0)
    }

    /// A page of a webhook's log, from 1, newest first.
    pub fn deliveries(&self, webhook: &str, page: u32) -> Result<CallsPage, FetchError> {
        let query = [("webhook", webhook.to_owned()), ("ps", HOOK_LOG_PAGE_ROWS.to_string()), ("p", page.to_string())];
        let path = "api/webhooks/deliveries";
        Ok(self.get(&self.base, path, &query, "a webhook's log", |answer| wire::webhooks::calls(answer))?.0)
    }

    /// One call of a webhook, with its body.
    pub fn delivery(&self, id: &str) -> Result<CallDetail, FetchError> {
        let query = [("deliveryId", id.to_owned())];
        let path = "api/webhooks/delivery";
        Ok(self.get(&self.base, path, &query, "a call of a webhook", |answer| wire::webhooks::call(answer))?.0)
    }

    /// Makes a webhook of an organization, or of one project of it.
    ///
    /// # Errors
    /// [`FetchError::NoPermission`] where the token may not administer it, [`FetchError::BadRequest`] where Sonar does not
    /// take the address or has as many webhooks as it may.
    pub fn create_webhook(
        &self,
        organization: &OrganizationKey,
        project: Option<&ProjectKey>,
        new: &NewWebhook<'_>,
    ) -> Result<(), FetchError> {
        let mut form = vec![("name", new.name), ("url", new.url), ("secret", new.secret)];
        if self.cloud {
            form.push(("organization", organization.as_str()));
        }
        form.extend(project.map(|project| ("project", project.as_str())));
        self.post("api/webhooks/create", &form, "a new webhook")
    }

    /// Gives a webhook another name, address and secret.
    ///
    /// # Errors
    /// As [`create_webhook`](Self::create_webhook).
    pub fn update_webhook(&self, webhook: &str, new: &NewWebhook<'_>) -> Result<(), FetchError> {
        let form = [("webhook", webhook), ("name", new.name), ("url", new.url), ("secret", new.secret)];
        self.post("api/webhooks/update", &form, "a change of a webhook")
    }

    /// Deletes a webhook.
    ///
    /// # Errors
    /// [`FetchError::NotFound`] where it is gone already.
    pub fn delete_webhook(&self, webhook: &str) -> Result<(), FetchError> {
        self.post("api/webhooks/delete", &[("webhook", webhook)], "the end of a webhook")
    }
}

/// What Sonar is to call.
pub struct NewWebhook<'a> {
    /// What people see in Sonar's list; at most 100 characters.
    pub name: &'a str,
    /// Where it calls; at most 512 characters.
    pub url: &'a str,
    /// What it signs with; 16 to 200 characters.
    pub secret: &'a str,
}
