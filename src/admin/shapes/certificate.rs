//! The certificate of the listeners, and how SonarQube comes to trust it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::certificate::{Authority, Way};
use crate::domain::secret::SecretText;

/// `GET /api/v1/certificate`: the certificate that this box shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// Whose it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Whether it signed itself, so that nobody trusts it who was not told to.
    pub self_signed: bool,
    /// Host names and addresses that it is good for.
    pub names: Vec<String>,
    /// SHA-256 of it, in pairs of hex digits with colons between them.
    pub fingerprint: String,
    /// From when on it is good.
    pub not_before: String,
    /// Until when it is good.
    pub not_after: String,
    /// Days until then; 0 once it has ended.
    pub days_left: i64,
    /// Where it is shown.
    pub listeners: Vec<CertificateUse>,
    /// Where it is from: `files` of an administrator, `set` by hand, `acme`, `own`. The first of these that there is counts.
    #[serde(default)]
    pub origin: String,
    /// The same as a sentence, with what else there is.
    #[serde(default)]
    pub why: String,
    /// What makes it believed: an authority that the box's `system` knows, a `private` one, or nothing but `itself`.
    #[serde(default)]
    pub anchor: String,
    /// What kind of key it is for.
    #[serde(default)]
    pub key: String,
    /// The certificate and those that lead to its authority, PEM.
    #[serde(default)]
    pub pem: String,
    /// The authority of one's own at the end of the chain, which a Server has to be told of; absent where it is generally known.
    #[serde(default)]
    pub authority: Option<String>,
    /// The certificate at the end of the chain, PEM, where the chain holds it: the authority's, or the box's own that signed itself.
    #[serde(default)]
    pub ca_pem: Option<String>,
    /// That it does not bear the name that SonarQube calls, and what to do.
    #[serde(default)]
    pub misnamed: Option<String>,
    /// The way on which SonarQube trusts this box.
    #[serde(default)]
    pub way: WayTold,
    /// How it is fetched, where it is.
    #[serde(default)]
    pub acme: Option<Fetching>,
}

/// A listener that shows the certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateUse {
    /// `webhooks` or `page`.
    pub what: String,
    /// Where it listens.
    pub address: String,
}

/// The way on which SonarQube trusts this box, or does without.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WayTold {
    /// `acme`, `own_certificate`, `trust_store` (SonarQube has to be told), `proxy`, `poll_only`.
    pub code: String,
    /// The same as a sentence.
    pub text: String,
    /// What is to be done, where something is.
    pub remedy: Option<String>,
}

impl WayTold {
    /// For a SonarQube Cloud (true), a Server (false), or whichever.
    pub fn of(way: Way, cloud: Option<bool>, authority: Option<&Authority>) -> Self {
        Self { code: way.word().to_owned(), text: way.text().to_owned(), remedy: way.remedy(cloud, authority) }
    }
}

/// `PUT /api/v1/certificate`: a certificate and its key. Everything about them is checked before anything changes.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCertificate {
    /// The certificate and those that lead to its authority, PEM, in this order.
    pub certificate: String,
    /// Its key, PEM.
    #[schema(value_type = String)]
    pub key: SecretText,
}

/// What came of a change.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CertificateChange {
    /// The certificate that is shown now.
    pub certificate: Certificate,
    /// The files that stand before what was kept just now, so that it is not shown.
    #[serde(default)]
    pub hidden_by: Option<String>,
    /// What a person should know of it.
    pub notes: Vec<String>,
}

/// `PUT /api/v1/certificate/acme`: has a certificate fetched, and fetched anew before it ends.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewFetching {
    /// The names of the certificate.
    pub domains: Vec<String>,
    /// Whether somebody agrees to the terms of the server's operator; nothing is fetched otherwise.
    #[serde(default)]
    pub agree_to_terms: bool,
    /// The server's directory; Let's Encrypt's without one.
    #[serde(default)]
    pub directory: Option<String>,
    /// Mail addresses that the server's operator may write to.
    #[serde(default)]
    pub contact: Vec<String>,
    /// Certificates (PEM) to trust beside the system's for the server.
    #[serde(default)]
    pub ca_pem: Option<String>,
    /// A proxy to the server.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub proxy: Option<SecretText>,
    /// How the server looks at this box: `tls-alpn-01` (port 443, the default) or `http-01` (port 80).
    #[serde(default)]
    pub challenge: Option<String>,
    /// The id of the key that binds the account to one at the operator (external account binding).
    #[serde(default)]
    pub eab_id: Option<String>,
    /// That key, as the operator gives it (base64url).
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub eab_key: Option<SecretText>,
}

/// `GET /api/v1/certificate/acme`: how a certificate is fetched, and how it went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fetching {
    /// The server's directory.
    pub directory: String,
    /// The names of the certificate.
    pub domains: Vec<String>,
    /// `tls-alpn-01` or `http-01`.
    pub challenge: String,
    /// `working` while the server is asked; `fetched`; `failed`; `waiting` before the first attempt.
    pub state: String,
    /// Why the last attempt failed.
    pub problem: Option<String>,
    /// What to do about it.
    pub remedy: Option<String>,
    /// When the last attempt was made.
    pub tried_at: Option<String>,
    /// When the next one is made by itself.
    pub next_at: String,
    /// When the certificate came that is there.
    pub fetched_at: Option<String>,
    /// What has to be for the server to see this box.
    pub reach: String,
    /// What a person should know of what was set up just now.
    #[serde(default)]
    pub notes: Vec<String>,
}
