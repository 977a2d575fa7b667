//! The JSON of webhooks: their addresses and secrets, what Sonar was told of them, and tests of the way to this box.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::secret::SecretText;

/// A webhook's address and secret: `GET /api/v1/organizations/{org}/webhook?project=`, and with the secret
/// `POST …/webhook/reveal`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Webhook {
    /// The source.
    pub source: String,
    /// The organization.
    pub organization: String,
    /// The project, if the endpoint belongs to one.
    pub project: Option<String>,
    /// What to call it in Sonar.
    #[serde(default)]
    pub name: String,
    /// What to paste into Sonar.
    pub url: String,
    /// The secret to paste into Sonar; only where it was asked for.
    #[schema(value_type = Option<String>)]
    pub secret: Option<SecretText>,
    /// Whether this box registered it in Sonar itself.
    pub registered: bool,
    /// When Sonar last called; tests do not count.
    pub last_delivery_at: Option<String>,
    /// Whether this box takes webhooks at all.
    #[serde(default = "yes")]
    pub listening: bool,
    /// Whether somebody said at which address Sonar reaches this box; else `url` is a guess.
    #[serde(default = "yes")]
    pub address_known: bool,
    /// Sonar's own page of these webhooks.
    #[serde(default)]
    pub page: String,
    /// Minutes between two looks at a project, whether webhooks come or not.
    #[serde(default)]
    pub poll_minutes: u64,
    /// The last test since the daemon's start.
    #[serde(default)]
    pub last_test: Option<WebhookTest>,
    /// The secrets that are valid, the present one first; more than one while a rotation's overlap lasts.
    #[serde(default)]
    pub secrets: Vec<WebhookSecret>,
    /// The way on which this source's SonarQube trusts this box.
    #[serde(default)]
    pub way: super::WayTold,
}

/// `GET /api/v1/webhooks`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WebhookList {
    /// Those that were made, without their secrets.
    pub webhooks: Vec<Webhook>,
}

/// A secret that calls may be signed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookSecret {
    /// When it was made or taken over.
    pub made_at: String,
    /// Until when it is valid; absent of the present one. While the box's clock may be wrong it does not end.
    pub expires_at: Option<String>,
    /// When Sonar last signed with it, to the hour; tests do not count.
    pub used_at: Option<String>,
}

/// `POST /api/v1/organizations/{org}/webhook/rotate?project=`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewRotation {
    /// Hours for which the former secret stays valid, 2160 at most; 168 where absent. With 0 it ends at once.
    pub overlap_hours: Option<u64>,
}

/// What came of a rotation. The new secret is valid from then on, whether Sonar could be told or not.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WebhookRotation {
    /// The webhook as it is now.
    pub webhook: Webhook,
    /// `known` where Sonar's webhook was given the new secret; `created` where it had none; `by_hand` where a person has to
    /// enter it.
    pub done: String,
    /// Until when the former secret is valid; absent if it ended at once.
    pub former_ends_at: Option<String>,
    /// Why Sonar could not be told.
    pub problem: Option<String>,
    /// What would let Sonar be told.
    pub remedy: Option<String>,
    /// The clicks in Sonar by which a person enters the new secret, where one has to.
    pub clicks: Option<String>,
}

/// What became of webhooks in Sonar as a source or project was removed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Removal {
    /// The webhooks that Sonar had, as far as this box knows.
    pub webhooks: Vec<RemovedWebhook>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RemovedWebhook {
    /// The organization.
    pub organization: String,
    /// The project, if it was a project's own.
    pub project: Option<String>,
    /// `removed` from Sonar; `absent` where Sonar had it no more; `left` where it was not asked for: Sonar goes on calling an
    /// address that answers 404.
    pub done: String,
    /// The clicks in Sonar that lead to it.
    pub clicks: String,
}

fn yes() -> bool {
    true
}

/// `PUT /api/v1/organizations/{org}/webhook/secret?project=`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSecret {
    /// 16 to 200 characters.
    #[schema(value_type = String)]
    pub secret: SecretText,
}

/// `POST /api/v1/organizations/{org}/webhook/register?project=`, and `…/unregister`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WebhookRegistration {
    /// The webhook as it is now.
    pub webhook: Webhook,
    /// `created`; `known` where Sonar had it, with name, address and secret made right; `removed`; `absent` where there
    /// was nothing to remove.
    pub done: String,
    /// What may still keep Sonar's calls away.
    pub note: Option<String>,
}

/// `POST /api/v1/organizations/{org}/webhook/test?project=`: a signed call of this box to itself, through the address
/// that Sonar is given. It is in the log of deliveries with the outcome `test`, and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookTest {
    /// What was called.
    pub url: String,
    /// When.
    pub at: String,
    /// `arrived`, `failed`, or `not_judged` where this box cannot see its own address from inside.
    pub result: String,
    /// The same for a person.
    pub text: String,
    /// What to do, where there is something.
    pub remedy: Option<String>,
    /// Each hop of the way in order, up to the one that failed.
    pub hops: Vec<WebhookHop>,
    /// The delivery in the log, if it arrived.
    pub delivery: Option<String>,
}

/// One hop of a [`WebhookTest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookHop {
    /// `name`, `connection`, `certificate`, `answer`, `arrival`.
    pub hop: String,
    /// `ok`, `warning`, `failed`, `not_judged`.
    pub state: String,
    /// What was found.
    pub text: String,
    /// Milliseconds since the test began.
    pub milliseconds: u64,
}
