//! Signed events: each change as one [event](super::cloud_events), posted to an address that the operator names and signed
//! as [Standard Webhooks 1.0.0](https://www.standardwebhooks.com) says. For SIEMs, chats, automation and platforms of
//! one's own.
//!
//! ```text
//! POST /hooks/sonar HTTP/1.1
//! content-type: application/cloudevents+json
//! webhook-id: 7d9e…                  the same for every attempt; whoever saw it may answer 2xx and forget it
//! webhook-timestamp: 1793491200      of this attempt
//! webhook-signature: v1,K5oZ… v1,g0hM…
//!
//! {"specversion":"1.0","id":"7d9e…","type":"dev.hydrophone.finding.opened",…}
//! ```
//!
//! - 2xx is success. 410 stops the destination. 401 and 403 (secret or clock), 404 and 405 (address) stop it until a
//!   person has looked; 408, 425, 429 and 5xx are tried again, after Retry-After where that is said; any other 4xx
//!   refuses this event alone. No redirect is followed.
//! - Which addresses may be told is decided by who adds the destination: one that is private is as good as any, and no
//!   answer can lead to another one.
//!
//! The secret is `whsec_` and 24 to 64 random bytes in base64 ([`new_secret`] makes one). To rotate it, give two, the
//! new one first, with white space or a line break between: both sign until the former one is taken away.
//!
//! Options:
//!
//! | option | meaning | without it |
//! |---|---|---|
//! | `plain` | `yes` takes an address that begins with `http://`; a loopback address may always | `no` |
//! | `conditions` | `yes` also tells of this box's own conditions, as `dev.hydrophone.condition.raised` and `….ended` | `no` |
//! | `timeout` | seconds that one call may take, 1 to 30 | 20 |

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::hmac;
use ureq::http::{HeaderName, Method, Uri, header};

use super::cloud_events::{Speaker, TYPES};
use super::http::{Answer, Http};
use super::{Abilities, BadDestination, Finding, Manner, Platform, Pushed, Told, Trouble};
use crate::domain::destination::Destination;
use crate::domain::limits::{EVENT_CALL_MAX, EVENT_CALL_OPTION_MAX, EVENT_CLOCK_DIFFERENCE_MAX, EVENTS_PER_PUSH_MAX};
use crate::domain::message::{Message, Place, Target};
use crate::domain::notice::Notice;
use crate::domain::signature::to_hex;
use crate::sys::trust::Trust;
use crate::sys::{clock, random, reach};

/// An address that is told every change.
pub struct Events {
    http: Http,
    url: String,
    encrypted: bool,
    secrets: Vec<Secret>,
    speaker: Speaker,
    name: String,
    /// Whether conditions of this box are told, too.
    conditions: bool,
}

impl Events {
    /// Checks what was given; nothing is sent.
    ///
    /// # Errors
    /// If address, options or secret cannot be right.
    pub fn open(destination: &Destination, secret: Option<&str>, trust: &Trust) -> Result<Self, BadDestination> {
        if let Some(odd) =
            destination.options.keys().find(|name| !["conditions", "plain", "timeout"].contains(&name.as_str()))
        {
            return Err(BadDestination(format!(
                "{odd:?} is no option of events; they are: conditions, plain, timeout"
            )));
        }
        let uri = reach::address(&destination.url).map_err(|error| BadDestination(error.to_string()))?;
        let encrypted = uri.scheme_str() == Some("https");
        if !encrypted && !may_be_plain(destination, &uri)? {
            return Err(BadDestination(format!(
                "events to {} would travel unencrypted, open to anyone on the way: use an address that begins with \
                 https://, or give the option plain=yes if the way is safe",
                destination.url
            )));
        }
        Ok(Self {
            http: Http::within(destination, trust, call_max(destination)?)?,
            url: destination.url.trim().to_owned(),
            encrypted,
            secrets: Secret::parse_all(secret.unwrap_or_default())?,
            speaker: Speaker { site: None, term: None, decisions: destination.triage_from_sonar },
            name: destination.name.to_string(),
            conditions: yes_or_no(destination, "conditions")?.unwrap_or(false),
        })
    }

    fn post(&self, id: &str, body: Vec<u8>) -> Result<Answer, Trouble> {
        let seconds = clock::now().0.div_euclid(1000);
        let headers = [
            (header::CONTENT_TYPE, "application/cloudevents+json".to_owned()),
            (HeaderName::from_static("webhook-id"), id.to_owned()),
            (HeaderName::from_static("webhook-timestamp"), seconds.to_string()),
            (HeaderName::from_static("webhook-signature"), sign(&self.secrets, id, seconds, &body)),
        ];
        self.http.send(Method::POST, &self.url, &headers, body)
    }

    /// What an answer means.
    fn judge(&self, answer: &Answer) -> Result<Told, Trouble> {
        let (host, status) = (self.http.host(), answer.status);
        if answer.is_success() {
            return Ok(Told::Yes(None));
        }
        if let Some(trouble) = answer.trouble() {
            return Err(trouble);
        }
        Err(match status {
            410 => Trouble::Gone { why: format!("{host} wants no more events (HTTP 410)") },
            401 | 403 => match clock_difference(answer) {
                Some(seconds) => Trouble::refused(
                    format!(
                        "{host} refuses the signature (HTTP {status}), and its clock is {seconds} s from this box's"
                    ),
                    "set the clock that is wrong: receivers take signatures of the last minutes only",
                ),
                None => Trouble::refused(
                    format!("{host} refuses the signature (HTTP {status})"),
                    "give the receiver this destination's secret, or this destination the receiver's",
                ),
            },
            404 | 405 => Trouble::refused(
                format!("{host} takes no events at this address (HTTP {status})"),
                "check the destination's address",
            ),
            407 => Trouble::refused(format!("the proxy before {host} wants a login (HTTP 407)"), "give it in --proxy"),
            408 | 425 => Trouble::Later {
                why: format!("{host} asks to be told again (HTTP {status})"),
                after: answer.retry_after(),
            },
            415 => Trouble::refused(
                format!("{host} does not take application/cloudevents+json (HTTP 415)"),
                "let the receiver take this type",
            ),
            _ => {
                let said = answer.excerpt();
                let said = if said.is_empty() { String::new() } else { format!(": {said}") };
                return Ok(Told::Refused(format!("{host} refuses this event (HTTP {status}){said}")));
            }
        })
    }
}

impl Platform for Events {
    fn abilities(&self) -> Abilities {
        Abilities { manner: Manner::Changes, batch_max: EVENTS_PER_PUSH_MAX, decisions: false, words: &[] }
    }

    /// Says how events travel, and sends a signed event of the type `dev.hydrophone.ping`, which is about no finding.
    fn check(&mut self) -> Result<Vec<Finding>, Trouble> {
        let host = self.http.host();
        let way = if self.encrypted { "over TLS" } else { "unencrypted" };
        let address = format!("events go to {host} {way}");
        let secret = match self.secrets.len() {
            1 => "events are signed with one secret".to_owned(),
            _ => "events are signed with two secrets; take the former one away once the receiver has the new one"
                .to_owned(),
        };
        let id = to_hex(&random::bytes::<16>());
        let answer = self.post(&id, self.speaker.ping(&id, &self.name, clock::now()))?;
        let status = answer.status;
        let (good, said) = match self.judge(&answer) {
            Ok(Told::Yes(_)) => {
                (true, format!("a signed event {TYPES}ping, which is no finding, was taken (HTTP {status})"))
            }
            Ok(Told::Refused(why) | Told::Broke(why)) => (
                false,
                format!(
                    "{why}; if the receiver refuses only types that it does not know, such as {TYPES}ping, let it answer those with 2xx"
                ),
            ),
            Err(trouble) => (false, trouble.to_string()),
        };
        Ok(vec![
            Finding { what: "address", good: true, text: address },
            Finding { what: "secret", good: true, text: secret },
            Finding { what: "ping", good, text: said },
        ])
    }

    fn push(&mut self, place: &Place, _target: &mut Target, batch: &[Message]) -> Pushed {
        let mut pushed = Pushed::default();
        for message in batch {
            let id = message.idempotency_key();
            let answer = self.post(&id, self.speaker.finding(&id, place, message));
            match answer.and_then(|answer| self.judge(&answer)) {
                Ok(told) => pushed.told.push((message.finding.id, told)),
                Err(trouble) => {
                    // What follows waits, or it would overtake this one.
                    pushed.trouble = Some(trouble);
                    break;
                }
            }
        }
        pushed
    }

    fn wants_notices(&self) -> bool {
        self.conditions
    }

    fn notify(&mut self, id: &[u8; 16], notice: &Notice) -> Result<Told, Trouble> {
        let id = to_hex(id);
        let answer = self.post(&id, self.speaker.condition(&id, notice))?;
        self.judge(&answer)
    }
}

/// A new secret: `whsec_` and 32 random bytes in base64.
pub fn new_secret() -> String {
    format!("{PREFIX}{}", BASE64.encode(random::bytes::<32>()))
}

fn may_be_plain(destination: &Destination, uri: &Uri) -> Result<bool, BadDestination> {
    // An address of this machine may always.
    Ok(yes_or_no(destination, "plain")?.unwrap_or(false) || reach::is_loopback(uri))
}

fn yes_or_no(destination: &Destination, option: &str) -> Result<Option<bool>, BadDestination> {
    match destination.option(option) {
        Some("yes") => Ok(Some(true)),
        Some("no") => Ok(Some(false)),
        None => Ok(None),
        Some(other) => Err(BadDestination(format!("the option {option} is yes or no, not {other:?}"))),
    }
}

fn call_max(destination: &Destination) -> Result<Duration, BadDestination> {
    let Some(text) = destination.option("timeout") else { return Ok(EVENT_CALL_MAX) };
    let longest = EVENT_CALL_OPTION_MAX.as_secs();
    match text.parse() {
        Ok(seconds) if (1..=longest).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(BadDestination(format!("the option timeout is 1 to {longest} seconds, not {text:?}"))),
    }
}

/// How far the receiver's clock is from this box's, where that alone would make it refuse a signature.
fn clock_difference(answer: &Answer) -> Option<u64> {
    let (there, here) = (answer.date()?, clock::now());
    let apart = there.since(here).max(here.since(there));
    (apart > EVENT_CLOCK_DIFFERENCE_MAX).then_some(apart.as_secs())
}

/// One of the secrets that an address shares with this box.
struct Secret(hmac::Key);

impl Secret {
    /// One secret, or the present and the former one.
    fn parse_all(text: &str) -> Result<Vec<Self>, BadDestination> {
        let secrets: Vec<_> = text.split_whitespace().map(Self::parse).collect::<Result<_, _>>()?;
        match secrets.len() {
            1 | 2 => Ok(secrets),
            0 => Err(BadDestination("events are signed with a secret, and none was given".to_owned())),
            many => Err(BadDestination(format!(
                "{many} secrets were given; give one, or two while the receiver goes over to a new one"
            ))),
        }
    }

    fn parse(text: &str) -> Result<Self, BadDestination> {
        let bytes = text.strip_prefix(PREFIX).and_then(|rest| BASE64.decode(rest).ok()).ok_or_else(|| {
            BadDestination("the secret is none of Standard Webhooks: it is written as whsec_ and base64".to_owned())
        })?;
        if !SECRET_BYTES.contains(&bytes.len()) {
            return Err(BadDestination(format!(
                "the secret holds {} bytes; those of Standard Webhooks hold 24 to 64",
                bytes.len()
            )));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }
}

/// A signature by each secret, over the id, the time in seconds and the body.
fn sign(secrets: &[Secret], id: &str, seconds: i64, body: &[u8]) -> String {
    let signature = |Secret(key): &Secret| {
        let mut context = hmac::Context::with_key(key);
        context.update(format!("{id}.{seconds}.").as_bytes());
        context.update(body);
        format!("v1,{}", BASE64.encode(context.sign()))
    };
    secrets.iter().map(signature).collect::<Vec<_>>().join(" ")
}

const PREFIX: &str = "whsec_";

/// What the specification allows a secret to have.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Secrets are found with and without padding; signatures are written with it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_the_libraries_of_standard_webhooks_test_for() {
        let secrets = Secret::parse_all("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = sign(&secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_has_24_to_64_bytes_and_there_are_one_or_two() {
        let of = |bytes: usize| format!("whsec_{}", BASE64.encode(vec![7; bytes]));
        let count = |text: &str| Secret::parse_all(text).map(|secrets| secrets.len()).map_err(|bad| bad.0);
        assert_eq!(count(&of(24)), Ok(1));
        assert_eq!(count(&format!("{}\n", of(64))), Ok(1));
        assert_eq!(count(&format!("{}\n{}\n", of(32), of(32).trim_end_matches('='))), Ok(2));
        for (bad, why) in [
            (of(23), "the secret holds 23 bytes; those of Standard Webhooks hold 24 to 64"),
            (of(65), "the secret holds 65 bytes; those of Standard Webhooks hold 24 to 64"),
            (of(32)[6..].to_owned(), "the secret is none of Standard Webhooks: it is written as whsec_ and base64"),
            ("whsec_###".to_owned(), "the secret is none of Standard Webhooks: it is written as whsec_ and base64"),
            (" \n".to_owned(), "events are signed with a secret, and none was given"),
            (
                [of(32), of(33), of(34)].join(" "),
                "3 secrets were given; give one, or two while the receiver goes over to a new one",
            ),
        ] {
            assert_eq!(count(&bad), Err(why.to_owned()), "{bad}");
        }
    }

    #[test]
    fn a_new_secret_is_a_good_one_and_none_is_like_another() {
        let secret = new_secret();
        assert_eq!(Secret::parse_all(&secret).map(|secrets| secrets.len()), Ok(1));
        assert_ne!(secret, new_secret());
    }
}
