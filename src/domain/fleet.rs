//! Many boxes that speak in one place: what a site is called, and on which subject each thing is said.
//!
//! Subjects are those of [NATS](https://docs.nats.io/nats-concepts/subjects): tokens with dots between. Everything that a
//! box says begins with `hydrophone.v1.` and its site, so that a server can confine a box to what is its own. Each
//! subject stands for one thing, of which a stream that keeps one message a subject holds the newest state.
//!
//! ```text
//! hydrophone.v1.<site>.<source>.<organization>.<project>.<finding>      a finding
//! hydrophone.v1.<site>.~scope.<source>.<organization>.<project>.<branch|pull>.<name>   what was read of a scope
//! hydrophone.v1.<site>.~condition.<code>.<number>                       a condition of the box
//! hydrophone.v1.<site>.~box                                             that the box is there
//! hydrophone.v1.<site>.~ping                                            that the way is open
//! ```
//!
//! No escaped name begins with `~`, so that nothing of Sonar's can be taken for the box's own words.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use ring::digest::{SHA256, digest};

use super::ids::{FindingId, ScopeKind};
use super::message::Place;
use super::notice::Told;
use super::signature::to_hex;

/// One place of a fleet, with a box of its own, or with a second one that stands by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site(String);

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

/// All subjects of this version: what a stream takes.
pub const ALL_SUBJECTS: &str = "hydrophone.v1.>";

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
        self.subject(format_args!("{}.{id}", project(place)))
    }

    /// The subject of a scope.
    pub fn scope(&self, place: &Place) -> String {
        let kind = match place.scope_kind {
            ScopeKind::Branch => "branch",
            ScopeKind::PullRequest => "pull",
        };
        self.subject(format_args!("~scope.{}.{kind}.{}", project(place), token(place.branch.as_str())))
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

    /// The subject on which the box tries whether the way is open.
    pub fn ping(&self) -> String {
        self.subject(format_args!("~ping"))
    }

    fn subject(&self, rest: fmt::Arguments<'_>) -> String {
        format!("hydrophone.v1.{self}.{rest}")
    }
}

fn project(place: &Place) -> String {
    format!("{}.{}.{}", token(place.source.as_str()), token(place.organization.as_str()), token(place.project.as_str()))
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
