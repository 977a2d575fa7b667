//! Sonar's webhooks and the log of their calls, which a token with the right to administer may see.

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
}
