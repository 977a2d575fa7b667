//! What `/api/v1/standby` takes and answers.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::secret::SecretText;

/// `GET /api/v1/standby`: how this box and the other one of its site stand.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Standby {
    /// `alone`; `works`, as it has the lease; `stands_by`, as the other one has it; `unsure`, as it had it and cannot renew it.
    pub role: String,
    /// Since when.
    pub since: Option<String>,
    /// The site; absent where this box is alone.
    pub site: Option<String>,
    /// The server of NATS where the two meet.
    pub url: Option<String>,
    /// Which of the two this one is, by a number of its own.
    pub id: Option<String>,
    /// The newest term that is known: each holding of the lease has one.
    pub term: Option<u64>,
    /// The other box, if it was heard since the start.
    pub other: Option<StandbyOther>,
    /// How far this box's copy has come, as term, copy and changes since.
    pub copied: Option<String>,
    /// Whether the copy of a box that stands by was all that there was, when it last looked.
    pub current: Option<bool>,
    /// What is the matter between the two.
    pub problem: Option<String>,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// The other box of a site.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StandbyOther {
    /// Its machine's name.
    pub machine: String,
    /// Its version, where it stands by.
    pub version: Option<String>,
    /// When it last said something.
    pub heard_at: String,
    /// Whether that is short enough ago.
    pub is_there: bool,
    /// How far its copy has come, where it stands by.
    pub copied: Option<String>,
}

/// `PUT /api/v1/standby`, over the socket only: makes this box one of the two of a site.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewStandby {
    /// The server of NATS: `tls://HOST[:PORT]`.
    pub url: String,
    /// The site.
    pub site: String,
    /// What the server knows this site's boxes by: a credentials file's text, `USER:PASSWORD` or a token.
    #[schema(value_type = String)]
    pub credentials: SecretText,
    /// The key that both boxes have, as `hydrophone standby key` makes it.
    #[schema(value_type = String)]
    pub key: SecretText,
    /// Certificates (PEM) to trust beside the system's.
    pub ca_pem: Option<String>,
    /// Whether the way there is safe without TLS.
    #[serde(default)]
    pub plain: bool,
    /// Whether the inventory that this box holds is given up for the other one's.
    #[serde(default)]
    pub replace: bool,
}

/// How a box becomes one alone.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct StandbyEnd {
    /// Whether a box that stands by goes on with its copy, as the other one is gone for good.
    #[serde(default)]
    pub keep: bool,
    /// Whether a box that stands by gives up webhook calls that the other one has not taken over.
    #[serde(default)]
    pub drop_calls: bool,
}
