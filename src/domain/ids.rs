//! Names and numbers, each with a type of its own so that two of them cannot be swapped. A value is checked
//! once, where it enters; beyond that it is right because of its type.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use super::fleet::Site;

/// Why a text is not a name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct BadName {
    what: &'static str,
    problem: String,
}

fn check(what: &'static str, text: &str, bytes_max: usize, allowed: fn(char) -> bool) -> Result<(), BadName> {
    let problem = if text.is_empty() {
        "must not be empty".to_owned()
    } else if text.len() > bytes_max {
        format!("is {} bytes long, {bytes_max} is the most", text.len())
    } else if let Some(odd) = text.chars().find(|&c| !allowed(c)) {
        format!("must not contain {odd:?}")
    } else {
        return Ok(());
    };
    Err(BadName { what, problem })
}

/// Letters, digits and `- _ .`: safe in a file name, a URL and a table.
fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// What Sonar or a person may have written: anything that can be printed.
fn printable(c: char) -> bool {
    !c.is_control()
}

/// Sonar's own keys: printable and without spaces. Sonar is stricter; we only refuse what would harm us.
fn key(c: char) -> bool {
    !c.is_control() && !c.is_whitespace()
}

fn source(c: char) -> bool {
    plain(c) || c == '@'
}

fn organization(c: char) -> bool {
    key(c) && c != '/'
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $bytes_max:literal, $allowed:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $type(#[n(0)] String);

        impl $type {
            /// The longest that is taken, in bytes of UTF-8.
            pub const BYTES_MAX: usize = $bytes_max;

            /// Checks length and characters.
            pub fn parse(text: &str) -> Result<Self, BadName> {
                check($what, text, Self::BYTES_MAX, $allowed)?;
                Ok(Self(text.to_owned()))
            }

            /// The text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $type {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                Self::parse(text)
            }
        }
    };
}

name!(
    /// The operator's name for a source: letters, digits, `- _ .`; behind an `@` the site whose box reads it, where that is
    /// another one.
    SourceName, "a source's name", 200, source
);

impl SourceName {
    /// The longest that a person may give, in bytes.
    pub const GIVEN_BYTES_MAX: usize = 64;

    /// A name that a person gives to a source of this box.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and if it would be one of another site.
    pub fn given(text: &str) -> Result<Self, BadName> {
        check("a source's name", text, Self::GIVEN_BYTES_MAX, plain)?;
        Ok(Self(text.to_owned()))
    }

    /// What a source of this name is called where many sites are gathered.
    ///
    /// # Errors
    /// If the name comes to be too long.
    pub fn at_site(&self, site: &Site) -> Result<Self, BadName> {
        Self::parse(&format!("{self}@{site}"))
    }
}
name!(
    /// Sonar's key of an organization; for a Server, the source's name.
    OrganizationKey, "an organization's key", 255, organization
);
name!(
    /// Sonar's key of a project: case-sensitive, at most 400 characters.
    ProjectKey, "a project's key", 400, key
);
name!(
    /// A branch's name, or a pull request's key.
    ScopeName, "a branch's name", 255, printable
);
name!(
    /// Sonar's key of an issue or hotspot. Opaque; the same key may come back after it was closed.
    IssueKey, "an issue's key", 255, key
);
name!(
    /// Sonar's key of a rule, `repository:rule`.
    RuleKey, "a rule's key", 400, printable
);
name!(
    /// The operator's name for a destination: letters, digits, `- _ .`.
    DestinationName, "a destination's name", 64, plain
);
name!(
    /// The name that somebody logs in with: letters, digits, `- _ .`.
    UserName, "a user's name", 64, plain
);
name!(
    /// The name of an API token: letters, digits, `- _ .`.
    TokenName, "a token's name", 64, plain
);
name!(
    /// The name of an asset.
    AssetName, "an asset's name", 400, printable
);

macro_rules! number {
    ($(#[$doc:meta])* $type:ident, $raw:ty, $letter:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $type(#[n(0)] pub $raw);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{}"), self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $type {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                text.strip_prefix($letter)
                    .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
                    .and_then(|digits| digits.parse().ok())
                    .map(Self)
                    .ok_or_else(|| BadName {
                        what: $what,
                        problem: format!(concat!("looks like ", $letter, "12, not like {:?}"), text),
                    })
            }
        }
    };
}

number!(
    /// An asset's number in this box.
    AssetId, u32, "A", "an asset's id"
);
number!(
    /// An imported project's number in this box; never used again.
    ProjectId, u32, "P", "a project's id"
);
number!(
    /// A scope's number in this box; never used again.
    ScopeId, u32, "S", "a scope's id"
);
number!(
    /// A finding's number in this box: stable for ever, whatever key Sonar gives it.
    FindingId, u64, "F", "a finding's id"
);
number!(
    /// A destination's number in this box; never used again.
    DestinationId, u32, "T", "a destination's id"
);
number!(
    /// A delivery's number, in order of arrival.
    DeliveryId, u64, "D", "a delivery's id"
);
number!(
    /// An entry's number in the change log, without gaps.
    ChangeNumber, u64, "C", "a change's number"
);

/// The secret part of a webhook's address: 128 random bits, written as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct EndpointId(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 16]);

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EndpointId {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let mut bytes = [0; 16];
        super::signature::hex(text.as_bytes(), &mut bytes)
            .ok_or(BadName { what: "an endpoint", problem: "is 32 lower-case hex digits".to_owned() })?;
        Ok(Self(bytes))
    }
}

/// An organization of one source. Two sources may share an organization's key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct OrganizationRef {
    /// The source.
    #[n(0)]
    pub source: SourceName,
    /// Sonar's key.
    #[n(1)]
    pub key: OrganizationKey,
}

impl fmt::Display for OrganizationRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.source, self.key)
    }
}

/// What a scope is: the unit of syncing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum ScopeKind {
    /// A branch.
    #[n(0)]
    Branch,
    /// A pull request; its name is the request's key.
    #[n(1)]
    PullRequest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_key_of_400_bytes_is_taken_and_one_more_is_not() {
        assert!(ProjectKey::parse(&"k".repeat(400)).is_ok());
        let error = ProjectKey::parse(&"k".repeat(401)).unwrap_err();
        assert_eq!(error.to_string(), "a project's key is 401 bytes long, 400 is the most");
    }

    #[test]
    fn names_that_would_break_a_table_or_an_address_are_refused() {
        assert!(SourceName::parse("").is_err());
        assert!(SourceName::parse("a/b").is_err());
        assert!(OrganizationKey::parse("a/b").is_err());
        assert!(ProjectKey::parse("a b").is_err());
        assert!(AssetName::parse("two\nlines").is_err());
        assert!(AssetName::parse("Shop (main)").is_ok());
    }

    #[test]
    fn a_number_reads_back_what_it_prints() {
        assert_eq!("F12".parse::<FindingId>(), Ok(FindingId(12)));
        assert_eq!(FindingId(12).to_string(), "F12");
        for bad in ["12", "F", "F-1", "F+1", "D12", "F99999999999999999999"] {
            assert!(bad.parse::<FindingId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_endpoint_is_exactly_32_lower_case_hex_digits() {
        let text = "00ff12ab00ff12ab00ff12ab00ff12ab";
        assert_eq!(text.parse::<EndpointId>().unwrap().to_string(), text);
        assert!(text.to_uppercase().parse::<EndpointId>().is_err());
        assert!(text[1..].parse::<EndpointId>().is_err());
    }
}
