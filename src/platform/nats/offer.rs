//! Offering configuration to the boxes of a fleet: a key of a [key-value bucket](https://docs.nats.io/nats-concepts/jetstream/key-value-store)
//! for each site, of which a box can be allowed to read its own and no other.

use super::super::{BadDestination, Told, Trouble};
use super::credentials::Credentials;
use super::link::{Link, Outgoing, Who};
use super::{random_id, way_of};
use crate::domain::fleet::hub::Fleet;
use crate::domain::fleet::{BUCKET_STREAM, Site};
use crate::sys::trust::Trust;

/// A fleet whose boxes are offered something.
pub struct Offering {
    link: Link,
}

impl Offering {
    /// Checks what was given; nothing is sent.
    ///
    /// # Errors
    /// If address or credentials cannot be right.
    pub fn open(fleet: &Fleet, credentials: &str, trust: &Trust) -> Result<Self, BadDestination> {
        let who = Who::Offering(fleet.name.to_string());
        let (way, credentials) = ((BUCKET_STREAM, fleet.plain), Credentials::parse(credentials)?);
        Ok(Self { link: Link::new(way_of(&fleet.url, way, fleet.ca_pem.as_deref(), trust, credentials, who)?) })
    }

    /// Puts an offer before sites, in the place of what they were offered before. Makes the bucket where there is none.
    ///
    /// # Errors
    /// If not all could be reached; those before are.
    pub fn put(&mut self, sites: &[Site], offer: &str) -> Result<(), Trouble> {
        for site in sites {
            let outgoing = [Outgoing { subject: site.offer(), id: random_id(), body: offer.to_owned().into() }];
            let (mut told, mut trouble) = self.link.publish(&outgoing);
            if trouble.is_some() && self.link.is_missing() {
                self.link.make_stream()?;
                (told, trouble) = self.link.publish(&outgoing);
            }
            match (told.pop(), trouble) {
                (_, Some(trouble)) => return Err(trouble),
                (Some(Told::Refused(why) | Told::Broke(why)), None) => return Err(Trouble::later(why)),
                _ => {}
            }
        }
        Ok(())
    }
}
