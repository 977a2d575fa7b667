//! What the two boxes of a site tell each other: keys of a [key-value bucket](https://docs.nats.io/nats-concepts/jetstream/key-value-store),
//! which the server lets only this site's boxes read and write, and of which it can read none.

use std::sync::Arc;

use super::super::{BadDestination, Told, Trouble};
use super::credentials::Credentials;
use super::link::{Link, Outgoing, Server, Who};
use super::{random_id, way_of};
use crate::domain::fleet::Site;
use crate::domain::standby::{BUCKET, BUCKET_STREAM, Pair};
use crate::sys::seal::Key;
use crate::sys::trust::Trust;

/// A thing that one box says to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Who works.
    Lease,
    /// What the one that stands by says.
    Post,
    /// What the holder has of that.
    Taken,
    /// Which copy there is.
    Head,
    /// A part of it.
    Copy(u32),
    /// A part of what changed since.
    Change(u32),
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lease => f.write_str("lease"),
            Self::Post => f.write_str("post"),
            Self::Taken => f.write_str("taken"),
            Self::Head => f.write_str("head"),
            Self::Copy(number) => write!(f, "copy.{number}"),
            Self::Change(number) => write!(f, "change.{number}"),
        }
    }
}

/// What a slot holds.
pub enum Found {
    /// Nothing, or what says that it was taken away, with its number in the bucket.
    Nothing(u64),
    /// What the other box, or this one, said.
    Said {
        /// Its number in the bucket.
        revision: u64,
        /// The words.
        text: Vec<u8>,
    },
    /// What cannot be opened: sealed with another key, or as something else.
    Sealed,
}

/// The way to the other box.
pub struct Speaking {
    link: Link,
    site: Site,
    key: Arc<Key>,
}

impl Speaking {
    /// Checks what was given; nothing is sent.
    ///
    /// # Errors
    /// If address or credentials cannot be right.
    pub fn open(pair: &Pair, credentials: &str, key: Arc<Key>, trust: &Trust) -> Result<Self, BadDestination> {
        let (way, credentials) = ((BUCKET_STREAM, pair.plain), Credentials::parse(credentials)?);
        let who = Who::Pair(pair.site.clone());
        let way = way_of(&pair.url, way, pair.ca_pem.as_deref(), trust, credentials, who)?;
        Ok(Self { link: Link::new(way), site: pair.site.clone(), key })
    }

    /// With which server it is spoken, as `HOST is NATS VERSION`.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub fn server(&mut self) -> Result<String, Trouble> {
        let Server { host, version, .. } = self.link.server()?;
        Ok(format!("{host} is NATS {version}"))
    }

    /// What a slot holds, which has to have been said about this.
    ///
    /// # Errors
    /// If the server cannot be asked.
    pub fn get(&mut self, slot: Slot, about: &str) -> Result<Found, Trouble> {
        let (revision, sealed) = self.link.newest(BUCKET_STREAM, &self.subject(slot))?.unwrap_or_default();
        if sealed.is_empty() {
            return Ok(Found::Nothing(revision));
        }
        let opened = self.key.open(&self.about(slot, about), &sealed);
        Ok(opened.map_or(Found::Sealed, |text| Found::Said { revision, text }))
    }

    /// Says something, in the place of what was said there before.
    ///
    /// # Errors
    /// If it was not stored.
    pub fn put(&mut self, slot: Slot, about: &str, text: &[u8]) -> Result<(), Trouble> {
        let body = self.key.seal(&self.about(slot, about), text).into();
        let (mut told, trouble) = self.link.publish(&[Outgoing { subject: self.subject(slot), id: random_id(), body }]);
        match (told.pop(), trouble) {
            (_, Some(trouble)) => Err(trouble),
            (Some(Told::Refused(why) | Told::Broke(why)), None) => Err(Trouble::later(why)),
            _ => Ok(()),
        }
    }

    /// The same, only where what is there bears this number, or, for 0, where nothing is. Its number then.
    ///
    /// # Errors
    /// If it is not known to be stored.
    pub fn exchange(&mut self, slot: Slot, revision: u64, text: &[u8]) -> Result<Option<u64>, Trouble> {
        let body = self.key.seal(&self.about(slot, ""), text);
        self.link.exchange(&self.subject(slot), revision, body.into())
    }

    /// Whether there is no bucket.
    pub fn is_missing(&self) -> bool {
        self.link.is_missing()
    }

    /// Makes the bucket.
    ///
    /// # Errors
    /// If this box may not, or it cannot be reached.
    pub fn make_bucket(&mut self) -> Result<(), Trouble> {
        self.link.make_stream()
    }

    fn subject(&self, slot: Slot) -> String {
        format!("$KV.{BUCKET}.{}.{slot}", self.site)
    }

    fn about(&self, slot: Slot, about: &str) -> Vec<u8> {
        place(&self.site, slot, about)
    }
}

/// Where something belongs: it opens there alone.
fn place(site: &Site, slot: Slot, about: &str) -> Vec<u8> {
    format!("standby {site} {slot} {about}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_anothers_place_is_not_opened() {
        let (berlin, oslo) = ("berlin".parse().unwrap(), "oslo".parse().unwrap());
        let key = Key::random();
        let there = place(&berlin, Slot::Change(1), "7.1");
        let sealed = key.seal(&there, b"rows");
        assert_eq!(key.open(&there, &sealed).as_deref(), Some(b"rows".as_slice()));
        for other in [
            place(&oslo, Slot::Change(1), "7.1"),
            place(&berlin, Slot::Change(2), "7.1"),
            place(&berlin, Slot::Copy(1), "7.1"),
            place(&berlin, Slot::Change(1), "7.2"),
            place(&berlin, Slot::Change(1), ""),
        ] {
            assert_eq!(key.open(&other, &sealed), None);
        }
        assert_eq!(Key::random().open(&there, &sealed), None);
    }
}
