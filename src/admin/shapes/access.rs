//! Who may use the page and the API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::secret::SecretText;

/// `POST /api/v1/session`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// Their password.
    #[schema(value_type = String)]
    pub password: SecretText,
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Caller {
    /// The user or the token; `local` over the socket.
    pub name: String,
    /// `viewer`, `operator`, `admin`.
    pub role: String,
    /// `socket`, `page`, `token`.
    pub via: String,
}

/// `POST /api/v1/setup`: chooses a password with a one-time code, and makes the first admin where there is none yet.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewPassword {
    /// The user's name; for the first admin one that they choose.
    pub user: String,
    /// The one-time code.
    #[schema(value_type = String)]
    pub code: SecretText,
    /// At least 10 characters.
    #[schema(value_type = String)]
    pub password: SecretText,
}

/// Somebody who may log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// The name that they log in with.
    pub name: String,
    /// `viewer`, `operator`, `admin`.
    pub role: String,
    /// Whether they have chosen a password.
    pub can_log_in: bool,
    /// When they were added.
    pub created_at: String,
    /// When they last logged in.
    pub login_at: Option<String>,
}

/// `GET /api/v1/users`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UserList {
    /// By name.
    pub users: Vec<User>,
}

/// `POST /api/v1/users`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewUser {
    /// The name that they log in with: letters, digits, `- _ .`.
    pub name: String,
    /// `viewer`, `operator`, `admin`.
    pub role: String,
    /// Their password. Without one they are given a link by which they choose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub password: Option<SecretText>,
}

/// `PATCH /api/v1/users/{name}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct UserEdit {
    /// Another role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Another password. It ends all their logins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub password: Option<SecretText>,
    /// Make a new link by which they choose a password; the former one stays good until they have.
    #[serde(default)]
    pub invite: bool,
}

/// A user, and the link by which they choose a password.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Invitation {
    /// The user.
    pub user: User,
    /// The link, good once and for an hour; nobody can read it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub link: Option<SecretText>,
    /// The code in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub code: Option<SecretText>,
}

/// What a program is let in with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiToken {
    /// Its name.
    pub name: String,
    /// `viewer`, `operator`, `admin`.
    pub role: String,
    /// When it was made.
    pub created_at: String,
    /// From when on it is not good any more; none if it is good for ever.
    pub expires_at: Option<String>,
    /// When it was last used, to the hour.
    pub used_at: Option<String>,
}

/// `GET /api/v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApiTokenList {
    /// By name.
    pub tokens: Vec<ApiToken>,
}

/// `POST /api/v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewApiToken {
    /// Its name: letters, digits, `- _ .`.
    pub name: String,
    /// `viewer`, `operator`, `admin`.
    pub role: String,
    /// Days that it is good for; without them for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
}

/// A token that was just made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MadeApiToken {
    /// What is known of it.
    pub token: ApiToken,
    /// The token itself; nobody can read it again.
    #[schema(value_type = String)]
    pub secret: SecretText,
}

/// Something that somebody did, or tried to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Its number, such as `12`.
    pub id: u64,
    /// When.
    pub at: String,
    /// Who: a user, a token, or `local` with the account that used the socket.
    pub who: String,
    /// `socket`, `page`, `token`.
    pub via: String,
    /// What.
    pub what: String,
    /// To what: the API's address, without its query, and after a colon what that does not tell.
    pub target: String,
    /// The HTTP status that it ended with; absent where it did not end.
    pub status: Option<u16>,
    /// From which address, where it came over the network.
    pub from: Option<String>,
}

impl AuditEntry {
    /// The heads of an entry's columns in a file.
    pub const COLUMNS: [&str; 8] = ["id", "at", "who", "via", "from", "what", "target", "status"];

    /// An entry as a row of a file: what a spreadsheet would take for a formula is marked as a text.
    pub fn columns(&self) -> [String; 8] {
        let text = |text: &str| {
            if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
        };
        let status = self.status.map(|status| status.to_string()).unwrap_or_default();
        let from = text(self.from.as_deref().unwrap_or_default());
        [
            self.id.to_string(),
            self.at.clone(),
            text(&self.who),
            self.via.clone(),
            from,
            text(&self.what),
            text(&self.target),
            status,
        ]
    }
}

/// `GET /api/v1/audit`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditList {
    /// The newest first.
    pub entries: Vec<AuditEntry>,
    /// `before` of the next page.
    pub next: Option<u64>,
}
