//! Many boxes that speak in one place: what a site is called, and on which subject each thing is said.
//!
//! Subjects are those of [NATS](https://docs.nats.io/nats-concepts/subjects): tokens with dots between. Everything that a
//! box says begins with `hydrophone.v1.` and its site, so that a server can confine a box to what is its own. Each
//! subject stands for one thing, of which a stream that keeps one message a subject holds the newest state.
//!
//! ```text
//! hydrophone.v1.<site>.<source>.<organization>.<project>.<finding>      a finding
//! hydrophone.v1.<site>.~scope.<inventory>.<scope>                       how a branch or pull request stands, by its number
//! hydrophone.v1.<site>.~condition.<code>.<number>                       a condition of the box
//! hydrophone.v1.<site>.~box                                             that the box is there
//! hydrophone.v1.<site>.~ping                                            that the way is open
//! ```
//!
//! No escaped name begins with `~`, so that nothing of Sonar's can be taken for the box's own words.

pub mod hub;
pub mod offer;
pub mod said;

use std::fmt::{self, Write as _};
use std::str::FromStr;

use minicbor::{Decode, Encode};
use ring::digest::{SHA256, digest};

use super::ids::{FindingId, OrganizationKey, ProjectKey, ScopeId, SourceName};
use super::message::Place;
use super::notice::Told;
use super::signature::{hex, to_hex};

/// One place of a fleet, with a box of its own, or with a second one that stands by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Site(#[n(0)] String);

/// The name cannot be a site's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no site: 1 to {SITE_CHARACTERS_MAX} letters, digits, - and _ are, such as berlin-2")]
pub struct BadSite(String);

const SITE_CHARACTERS_MAX: usize = 64;

impl FromStr for Site {
    type Err = BadSite;

    fn from_str(text: &str) -> Result<Self, BadSite> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if (1..=SITE_CHARACTERS_MAX).contains(&text.len()) && text.bytes().all(good) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadSite(text.to_owned()))
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Names an inventory among all that ever were: a number of a finding, a scope or a project means something within one only.
/// It is made with the database and goes with it, also into a backup and to another machine.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct InventoryId(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 8]);

impl fmt::Display for InventoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&to_hex(&self.0))
    }
}

impl fmt::Debug for InventoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text names no inventory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an inventory is named by 16 lower-case hex digits")]
pub struct BadInventory;

impl FromStr for InventoryId {
    type Err = BadInventory;

    fn from_str(text: &str) -> Result<Self, BadInventory> {
        let mut bytes = [0; 8];
        hex(text.as_bytes(), &mut bytes).ok_or(BadInventory)?;
        Ok(Self(bytes))
    }
}

/// All subjects of this version: what a stream takes.
pub const ALL_SUBJECTS: &str = "hydrophone.v1.>";

/// The key-value bucket in which configuration is offered to boxes.
pub const BUCKET: &str = "HYDROPHONE_CONFIG";

/// All of its keys.
pub const BUCKET_SUBJECTS: &str = "$KV.HYDROPHONE_CONFIG.>";

/// The stream that JetStream keeps that bucket in.
pub const BUCKET_STREAM: &str = "KV_HYDROPHONE_CONFIG";

impl Site {
    /// All that this site's box says: what it may publish on, and nothing else.
    pub fn subjects(&self) -> String {
        self.subject(format_args!(">"))
    }

    /// Where acknowledgements for this site come in: what its box may subscribe to, with `.>` behind it.
    pub fn inbox(&self) -> String {
        format!("_INBOX.hydrophone.{self}")
    }

    /// The subject of a finding.
    pub fn finding(&self, place: &Place, id: FindingId) -> String {
        self.finding_of((&place.source, &place.organization, &place.project), id)
    }

    /// The same by the names alone.
    pub fn finding_of(&self, project: Address<'_>, id: FindingId) -> String {
        self.subject(format_args!("{}.{id}", address(project)))
    }

    /// The subject of a scope, the same whatever its names become, and another than that of one which gets its names.
    pub fn scope(&self, inventory: InventoryId, scope: ScopeId) -> String {
        self.subject(format_args!("~scope.{inventory}.{scope}"))
    }

    /// The subject of a condition, the same from when it came up until it is over, and when it comes up again.
    pub fn condition(&self, told: &Told) -> String {
        let identity = digest(&SHA256, told.text.as_bytes());
        self.subject(format_args!("~condition.{}.{}", token(&told.code), to_hex(&identity.as_ref()[..8])))
    }

    /// The subject on which the box says that it is there.
    pub fn alive(&self) -> String {
        self.subject(format_args!("~box"))
    }

    /// Where configuration is offered to this site's box: a key of the bucket [`BUCKET`].
    pub fn offer(&self) -> String {
        format!("$KV.{BUCKET}.{self}")
    }

    /// The subject on which the box tries whether the way is open.
    pub fn ping(&self) -> String {
        self.subject(format_args!("~ping"))
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whose subject this is, and what follows the site in it; nothing where it is none of a fleet.
    pub fn of_subject(subject: &str) -> Option<(Self, &str)> {
        let (site, rest) = subject.strip_prefix("hydrophone.v1.")?.split_once('.')?;
        Some((site.parse().ok()?, rest))
    }

    fn subject(&self, rest: fmt::Arguments<'_>) -> String {
        format!("hydrophone.v1.{self}.{rest}")
    }
}

/// Source, organization and key of a project, as its box knows them.
pub type Address<'a> = (&'a SourceName, &'a OrganizationKey, &'a ProjectKey);

fn address((source, organization, project): Address<'_>) -> String {
    format!("{}.{}.{}", token(source.as_str()), token(organization.as_str()), token(project.as_str()))
}

/// A name as one token of a subject: letters, digits, `-` and `_` as they are, of everything else each byte as `%` and two
/// hex digits. Two names never give the same token, and none gives an empty one.
pub fn token(name: &str) -> String {
    if name.is_empty() {
        return "%".to_owned();
    }
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            token.push(char::from(byte));
        } else {
            write!(token, "%{byte:02X}").expect("a text takes more text");
        }
    }
    token
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The way back, which shows that nothing was lost.
    fn name(token: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = token.as_bytes();
        while let [first, more @ ..] = rest {
            rest = match (first, more) {
                (b'%', []) => &[],
                (b'%', [high, low, more @ ..]) => {
                    let digits = [*high, *low];
                    bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                    more
                }
                (byte, more) => {
                    bytes.push(*byte);
                    more
                }
            };
        }
        bytes
    }

    proptest! {
        #[test]
        fn any_name_fits_into_one_token_and_can_be_told_from_any_other(text in any::<String>()) {
            let token = token(&text);
            prop_assert!(!token.is_empty());
            prop_assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_%".contains(&byte)), "{token}");
            prop_assert_eq!(name(&token), text.as_bytes());
        }
    }

    #[test]
    fn what_means_something_in_a_subject_is_escaped() {
        assert_eq!(token("com.acme:shop > *"), "com%2Eacme%3Ashop%20%3E%20%2A");
        assert_eq!(token("~box"), "%7Ebox");
        assert_eq!(token("Geschäft"), "Gesch%C3%A4ft");
    }

    #[test]
    fn a_site_is_a_token_as_it_is() {
        for good in ["berlin", "Site_2-b", &"x".repeat(64)] {
            let site: Site = good.parse().unwrap();
            assert_eq!(site.subjects(), format!("hydrophone.v1.{good}.>"));
        }
        for bad in ["", "a.b", "a b", "*", ">", "~x", "ä", &"x".repeat(65)] {
            assert_eq!(bad.parse::<Site>(), Err(BadSite(bad.to_owned())));
        }
    }
}
