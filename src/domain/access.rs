//! Who may do what: roles, the life of a login, and how long somebody who guesses has to wait.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use minicbor::{Decode, Encode};

use super::ids::UserName;
use super::time::Timestamp;

/// What somebody may do. Each may do all that the ones before may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// Look at everything but secrets.
    #[n(0)]
    Viewer,
    /// Steer what is set up: read Sonar now, decide about findings, replay, pause.
    #[n(1)]
    Operator,
    /// Set up, see secrets, and say who may do what.
    #[n(2)]
    Admin,
}

impl Role {
    /// All, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no role {0:?}; the roles are viewer, operator and admin")]
pub struct BadRole(String);

impl FromStr for Role {
    type Err = BadRole;

    fn from_str(text: &str) -> Result<Self, BadRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| BadRole(text.to_owned()))
    }
}

/// Who asks for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Whoever may use the unix socket: root and the service's group.
    Socket,
    /// Somebody who is logged in on the page.
    Session {
        /// Who.
        user: UserName,
        /// What they may do.
        role: Role,
    },
    /// A program with a token.
    Token {
        /// The token's name.
        name: String,
        /// What it may do.
        role: Role,
    },
}

impl Caller {
    /// What the caller may do.
    pub fn role(&self) -> Role {
        match self {
            Self::Socket => Role::Admin,
            Self::Session { role, .. } | Self::Token { role, .. } => *role,
        }
    }

    /// By which way it came, as the audit log says it.
    pub fn via(&self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Session { .. } => "page",
            Self::Token { .. } => "token",
        }
    }

    /// Who it is, as the audit log says it.
    pub fn name(&self) -> &str {
        match self {
            Self::Socket => "local",
            Self::Session { user, .. } => user.as_str(),
            Self::Token { name, .. } => name,
        }
    }
}

/// How long a login lasts without being used.
pub const SESSION_IDLE_MAX: Duration = Duration::from_hours(12);

/// How long a login lasts at all.
pub const SESSION_AGE_MAX: Duration = Duration::from_hours(7 * 24);

/// How long a one-time code is good for.
pub const CODE_AGE_MAX: Duration = Duration::from_hours(1);

/// How often a one-time code may be got wrong.
pub const CODE_TRIES_MAX: u32 = 5;

/// The shortest password, in characters. NIST SP 800-63B asks for no more than length.
pub const PASSWORD_CHARACTERS_MIN: usize = 10;

/// The longest password, in bytes, so that hashing one costs what hashing costs.
pub const PASSWORD_BYTES_MAX: usize = 256;

/// Whether a password can be one, or what is wrong with it.
///
/// # Errors
/// With a sentence that goes on after the field's name.
pub fn check_password(text: &str) -> Result<(), &'static str> {
    if text.chars().count() < PASSWORD_CHARACTERS_MIN {
        return Err("is shorter than 10 characters");
    }
    if text.len() > PASSWORD_BYTES_MAX {
        return Err("is longer than 256 bytes");
    }
    Ok(())
}

/// Whether a login that began and was last used at these times is still good.
pub fn is_session_good(created_at: Timestamp, used_at: Timestamp, now: Timestamp) -> bool {
    now.since(created_at) < SESSION_AGE_MAX && now.since(used_at.max(created_at)) < SESSION_IDLE_MAX
}

/// Wrong passwords of one account, or from one address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Guesses {
    count: u32,
    /// By the steady clock.
    last: Duration,
}

/// So many wrong passwords are nobody's business.
const GUESSES_FREE: u32 = 5;

/// The longest that somebody is kept waiting.
const GUESS_WAIT_MAX: Duration = Duration::from_mins(15);

/// After so long without a wrong password all is forgotten.
const GUESSES_FORGOTTEN: Duration = Duration::from_hours(1);

impl Guesses {
    /// How long nothing more is tried; zero if something may be.
    pub fn wait(&self, now: Duration) -> Duration {
        let Some(over) = self.count.checked_sub(GUESSES_FREE) else { return Duration::ZERO };
        let wait = Duration::from_secs(2).saturating_mul(1 << over.min(16)).min(GUESS_WAIT_MAX);
        (self.last + wait).saturating_sub(now)
    }

    /// Notes a wrong one.
    pub fn fail(&mut self, now: Duration) {
        if self.is_forgotten(now) {
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.last = now;
    }

    /// When the last one was, by the steady clock.
    pub fn last(&self) -> Duration {
        self.last
    }

    /// Whether it is so long ago that it does not count.
    fn is_forgotten(&self, now: Duration) -> bool {
        now.saturating_sub(self.last) >= GUESSES_FORGOTTEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_ordered_and_read_back() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert!("root".parse::<Role>().is_err());
    }

    #[test]
    fn whoever_guesses_waits_ever_longer_and_is_let_in_again() {
        let mut guesses = Guesses::default();
        let mut now = Duration::from_hours(5);
        let mut waits = Vec::new();
        for _ in 0..16 {
            guesses.fail(now);
            let wait = guesses.wait(now);
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(guesses.wait(now), Duration::ZERO);
        }
        assert_eq!(waits, [0, 0, 0, 0, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
        guesses.fail(now + GUESSES_FORGOTTEN);
        assert_eq!(guesses.wait(now + GUESSES_FORGOTTEN), Duration::ZERO);
    }

    #[test]
    fn a_login_ends_when_it_is_not_used_and_when_it_is_old() {
        let at = |hours: u64| Timestamp(0).plus(Duration::from_hours(hours));
        assert!(is_session_good(at(0), at(0), at(11)));
        assert!(!is_session_good(at(0), at(0), at(12)));
        assert!(is_session_good(at(0), at(160), at(167)));
        assert!(!is_session_good(at(0), at(167), at(168)));
    }

    #[test]
    fn a_password_has_a_length() {
        assert!(check_password("short").is_err());
        assert!(check_password("äöüäöüäöüä").is_ok());
        assert!(check_password(&"x".repeat(257)).is_err());
    }
}
