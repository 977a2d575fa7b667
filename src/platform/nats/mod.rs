//! A stream of [NATS JetStream](https://docs.nats.io/nats-concepts/jetstream), in which many boxes speak: each change as
//! one [event](super::cloud_events) on the [subject](crate::domain::fleet) of its finding.
//!
//! - The stream keeps the newest message of each subject, so that it holds the present state of all that was told, and
//!   whoever joins late reads that and not the history. What is gone stays as a message that says so.
//! - A message counts as told when the stream has acknowledged it, which it does when it is stored. It bears an id that is
//!   the same for every attempt, by which the stream drops what comes twice. All messages of one box come over one
//!   connection, in order; one that is told again tells the finding's present state, so that no order can make it stale.
//! - Beside findings: scopes, when something in them changed, when how they stand did, hourly, and when they are gone; conditions
//!   of this box; and once a minute that it is there.
//! - A box needs the right to publish on its own subjects, and to subscribe to its own inbox, where acknowledgements come
//!   in; nothing else. A check makes the stream where there is none and it may.
//! - A server that is not there is asked again, ever more seldom; one that refuses, when a person has looked. What is to
//!   be told waits in the log of changes meanwhile.
//!
//! Options:
//!
//! | option | meaning | without it |
//! |---|---|---|
//! | `site` | what this box's place is called; it has to be given | – |
//! | `stream` | the stream's name | `HYDROPHONE` |
//! | `plain` | `yes` takes a way without TLS to an address that is not this machine's own | `no` |

mod credentials;
pub mod feed;
mod hear;
mod link;
pub mod offer;
pub mod pair;

use std::fmt::Display;
use std::time::{Duration, Instant};

use self::credentials::Credentials;
use self::link::{Keeping, Link, Outgoing, Way, Who};
use super::cloud_events::Speaker;
use super::{Abilities, BadDestination, Finding, Life, Manner, Platform, Pushed, Told, Trouble};
use crate::domain::destination::Destination;
use crate::domain::fleet::offer::Outcome;
use crate::domain::fleet::{BUCKET_STREAM, InventoryId, Site};
use crate::domain::ids::ScopeId;
use crate::domain::limits::{FLEET_ALIVE_EVERY, NATS_PER_PUSH_MAX};
use crate::domain::message::{Message, Place, Target};
use crate::domain::notice::Notice;
use crate::domain::signature::to_hex;
use crate::sys::trust::{Authorities, Trust};
use crate::sys::{clock, random, reach};

/// A stream that is told every change.
pub(super) struct Nats {
    link: Link,
    speaker: Speaker,
    site: Site,
    /// The destination's name.
    name: String,
    credentials: &'static str,
    /// When the box last said that it is there.
    alive_at: Option<Instant>,
    /// What it said then of the configuration that it was offered.
    offer: Option<Outcome>,
}

impl Nats {
    /// Checks what was given; nothing is sent.
    ///
    /// # Errors
    /// If address, options or secret cannot be right.
    pub(super) fn open(destination: &Destination, secret: Option<&str>, trust: &Trust) -> Result<Self, BadDestination> {
        let bad = |error: &dyn Display| BadDestination(error.to_string());
        if let Some(odd) = destination.options.keys().find(|name| !OPTIONS.contains(&name.as_str())) {
            return Err(BadDestination(format!("{odd:?} is no option of nats; they are: {}", OPTIONS.join(", "))));
        }
        reach::nats_address(&destination.url).map_err(|error| bad(&error))?;
        if destination.proxy.is_some() {
            return Err(BadDestination("the proxy cannot be used: NATS is not spoken through one; a leaf node can stand where both can be reached".to_owned()));
        }
        let site = destination.option("site").ok_or_else(|| {
            BadDestination(
                "the option site says what this box's place is called, such as site=berlin; it has to be given"
                    .to_owned(),
            )
        })?;
        let site: Site = site.parse().map_err(|error| BadDestination(format!("the option site: {error}")))?;
        let stream = destination.option("stream").unwrap_or(STREAM);
        let plain = match destination.option("plain") {
            Some("yes") => true,
            Some("no") | None => false,
            Some(other) => return Err(BadDestination(format!("the option plain is yes or no, not {other:?}"))),
        };
        let credentials = Credentials::parse(secret.unwrap_or_default())?;
        let (kind, who) = (credentials.kind(), Who::Site(site.clone()));
        let way = way_of(&destination.url, (stream, plain), destination.ca_pem.as_deref(), trust, credentials, who)?;
        Ok(Self {
            link: Link::new(way),
            speaker: Speaker { site: Some(site.clone()), term: None, decisions: true },
            site,
            name: destination.name.to_string(),
            credentials: kind,
            alive_at: None,
            offer: None,
        })
    }

    /// Says one thing.
    fn say(&mut self, subject: String, id: String, body: Vec<u8>) -> Result<Told, Trouble> {
        let (mut told, trouble) = self.link.publish(&[Outgoing { subject, id, body: body.into() }]);
        match (told.pop(), trouble) {
            (_, Some(trouble)) => Err(trouble),
            (Some(told), None) => Ok(told),
            (None, None) => Err(Trouble::later("the server said nothing")),
        }
    }
}

impl Platform for Nats {
    fn abilities(&self) -> Abilities {
        Abilities { manner: Manner::Changes, batch_max: NATS_PER_PUSH_MAX, decisions: false, words: &[] }
    }

    /// Connects, looks how the stream keeps what it is told, and says something that is about no finding.
    fn check(&mut self) -> Result<Vec<Finding>, Trouble> {
        let server = self.link.server()?;
        let way = if server.encrypted { "over TLS" } else { "unencrypted" };
        let mut lines = vec![
            Finding {
                what: "address",
                good: true,
                text: format!("{} is NATS {} and is spoken to {way}", server.host, server.version),
            },
            Finding { what: "credentials", good: true, text: format!("it knows this box by {}", self.credentials) },
        ];
        let id = random_id();
        let ping = self.speaker.ping(&id, &self.name, clock::now());
        let subject = self.site.ping();
        let mut said = self.say(subject.clone(), id.clone(), ping.clone());
        if said.is_err() && self.link.is_missing() {
            self.link.make_stream()?;
            let text = format!("the stream {} was not there, and was made", self.link.stream());
            lines.push(Finding { what: "stream", good: true, text });
            said = self.say(subject.clone(), id, ping);
        }
        let text = match said? {
            Told::Yes(_) => {
                lines.push(Finding {
                    what: "publish",
                    good: true,
                    text: format!("the stream {} acknowledged a message on {subject}", self.link.stream()),
                });
                None
            }
            Told::Refused(why) | Told::Broke(why) => Some(why),
        };
        if let Some(text) = text {
            lines.push(Finding { what: "publish", good: false, text });
        }
        let (good, text) = match self.link.keeping()? {
            Keeping::Hidden => {
                (true, "how it keeps messages may not be looked at with these credentials, as it should be".to_owned())
            }
            Keeping::Good => (true, "it keeps the newest message of each subject, on disk".to_owned()),
            Keeping::Odd(odd) => (
                false,
                format!(
                    "{odd}, so that it does not hold the fleet's present state; see Many boxes in the README for its settings"
                ),
            ),
        };
        lines.push(Finding { what: "stream", good, text });
        Ok(lines)
    }

    /// The subject of the scope, by which it is told that it is gone when its names are not known any more.
    fn prepare(&mut self, place: &Place, known: Option<Target>) -> Result<Target, Trouble> {
        let mut target = known.unwrap_or_default();
        target.set(SUBJECT, self.site.scope(place.held.inventory, place.scope));
        Ok(target)
    }

    fn wants_scopes(&self) -> bool {
        true
    }

    fn set_term(&mut self, term: Option<u64>) {
        self.speaker.term = term;
    }

    fn stand(&mut self, places: &[Place]) -> Result<(), Trouble> {
        for some in places.chunks(NATS_PER_PUSH_MAX) {
            let outgoing = some.iter().map(|place| {
                let id = random_id();
                let body = self.speaker.scope(&id, place, clock::now());
                Outgoing { subject: self.site.scope(place.held.inventory, place.scope), id, body: body.into() }
            });
            let outgoing: Vec<_> = outgoing.collect();
            if let (_, Some(trouble)) = self.link.publish(&outgoing) {
                return Err(trouble);
            }
        }
        Ok(())
    }

    fn leave(&mut self, inventory: InventoryId, scope: ScopeId, target: &Target) -> Result<(), Trouble> {
        let Some(subject) = target.get(SUBJECT) else { return Ok(()) };
        let id = random_id();
        let body = self.speaker.gone(&id, inventory, scope, clock::now());
        match self.say(subject.to_owned(), id, body)? {
            Told::Yes(_) => Ok(()),
            Told::Refused(why) | Told::Broke(why) => Err(Trouble::later(why)),
        }
    }

    fn push(&mut self, place: &Place, _target: &mut Target, batch: &[Message]) -> Pushed {
        let outgoing = |message: &Message| {
            let id = message.idempotency_key();
            let body = self.speaker.finding(&id, place, message);
            Outgoing { subject: self.site.finding(place, message.finding.id), id, body: body.into() }
        };
        let mut all: Vec<_> = batch.iter().map(outgoing).collect();
        // Behind its findings, so that whoever reads it knows at least these.
        let id = random_id();
        let body = self.speaker.scope(&id, place, clock::now());
        all.push(Outgoing { subject: self.site.scope(place.held.inventory, place.scope), id, body: body.into() });
        let (told, trouble) = self.link.publish(&all);
        let mut told = told;
        if trouble.is_some() && told.len() == batch.len() {
            // The scope was not told: it is with its last finding, once more.
            told.pop();
        }
        let ids = batch.iter().map(|message| message.finding.id);
        Pushed { told: ids.zip(told).collect(), trouble }
    }

    fn attend(&mut self, life: Life<'_>) -> Result<Option<Duration>, Trouble> {
        let is_news = self.offer.as_ref() != life.offer;
        let since = self.alive_at.filter(|_| !is_news).map_or(FLEET_ALIVE_EVERY, |at| at.elapsed());
        let left = FLEET_ALIVE_EVERY.saturating_sub(since);
        if !left.is_zero() {
            return Ok(Some(left));
        }
        let id = random_id();
        let body = self.speaker.alive(&id, life, FLEET_ALIVE_EVERY.as_secs(), clock::now());
        if let Told::Refused(why) | Told::Broke(why) = self.say(self.site.alive(), id, body)? {
            return Err(Trouble::later(why));
        }
        (self.alive_at, self.offer) = (Some(Instant::now()), life.offer.cloned());
        Ok(Some(FLEET_ALIVE_EVERY))
    }

    fn offered(&mut self) -> Result<Option<(Site, String)>, Trouble> {
        let found = self.link.newest(BUCKET_STREAM, &self.site.offer())?;
        let found = found.filter(|(_, offer)| !offer.is_empty());
        Ok(found.map(|(_, offer)| (self.site.clone(), String::from_utf8_lossy(&offer).into_owned())))
    }

    fn wants_notices(&self) -> bool {
        true
    }

    fn notify(&mut self, id: &[u8; 16], notice: &Notice) -> Result<Told, Trouble> {
        let id = to_hex(id);
        let body = self.speaker.condition(&id, notice);
        self.say(self.site.condition(&notice.told), id, body)
    }
}

/// Under which name a scope's subject is kept.
const SUBJECT: &str = "subject";

/// The way to a server, from what a person gave.
fn way_of(
    url: &str,
    (stream, plain): (&str, bool),
    ca_pem: Option<&str>,
    trust: &Trust,
    credentials: Credentials,
    who: Who,
) -> Result<Way, BadDestination> {
    let bad = |error: &dyn Display| BadDestination(error.to_string());
    let uri = reach::nats_address(url).map_err(|error| bad(&error))?;
    if stream.is_empty() || !stream.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        let problem = format!("the option stream is a name of letters, digits, - and _, not {stream:?}");
        return Err(BadDestination(problem));
    }
    let authorities = match ca_pem {
        Some(pem) => Authorities::parse(pem).map_err(|error| bad(&reach::BadWay::from(error)))?,
        None => Authorities::default(),
    };
    Ok(Way {
        host: uri.authority().map(ToString::to_string).unwrap_or_default(),
        // The address of one's own machine is as safe as TLS.
        tls: uri.scheme_str() == Some("tls") || !(plain || reach::is_loopback(&uri)),
        trust: trust.clone(),
        authorities,
        credentials,
        who,
        stream: stream.to_owned(),
    })
}

const OPTIONS: [&str; 3] = ["plain", "site", "stream"];

/// The stream's name where none is given.
pub const STREAM: &str = "HYDROPHONE";

fn random_id() -> String {
    to_hex(&random::bytes::<16>())
}
