//! Reading a stream in which many boxes speak, from a place in it on: the present state first, then what changes.
//!
//! How far it was read is noted by whoever reads, together with what followed from it, so that nothing is taken in twice or
//! left out whatever ends when; the server keeps no account of it. A gap is seen, and what it left out is read.

use std::time::{Duration, Instant};

use async_nats::Message;
use async_nats::jetstream::consumer::pull::{Config as Pull, Stream as Messages};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::Info;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::super::{BadDestination, Finding, Trouble};
use super::credentials::Credentials;
use super::hear::Ear;
use super::link::{Link, STREAMS, Who, oddity};
use super::way_of;
use crate::domain::fleet::hub::{Fleet, Position};
#[cfg(any(test, fuzzing))]
use crate::domain::fleet::said::Said;
use crate::domain::fleet::said::{Heard, Unheard};
use crate::domain::fleet::{ALL_SUBJECTS, Site};
use crate::domain::limits::{CALL_SLACK, FLEET_TAKEN_BYTES_MAX, FLEET_TAKEN_MAX, NATS_CALL_MAX};
use crate::domain::signature::to_hex;
use crate::domain::time::Timestamp;
use crate::sys::trust::Trust;
use crate::sys::{loops, random};

/// A fleet's stream that is read.
pub struct Feed {
    link: Link,
    credentials: &'static str,
    reading: Option<Reading>,
}

/// A place in the stream.
struct Reading {
    messages: Messages,
    /// The number of the last message, counted from where reading began: each message has the next.
    counted: u64,
    /// Whether it has to begin anew.
    is_over: bool,
    ear: Ear,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Taken {
    /// What boxes say, in order.
    pub heard: Vec<Heard>,
    /// What was passed over: by its place in the stream, and whose it seems to be.
    pub passed_over: Vec<(u64, Option<Site>, Unheard)>,
    /// The last message that was looked at.
    pub last: Option<u64>,
    /// How many more there are.
    pub pending: u64,
}

/// The stream as reading of it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// When it was made.
    pub made_at: Timestamp,
    /// How many messages it holds.
    pub messages: u64,
    /// The newest of them.
    pub last: u64,
    /// How many of them are to be read.
    pub pending: u64,
}

impl Feed {
    /// Checks what was given; nothing is sent.
    ///
    /// # Errors
    /// If address, stream or credentials cannot be right.
    pub fn open(fleet: &Fleet, credentials: &str, trust: &Trust) -> Result<Self, BadDestination> {
        let credentials = Credentials::parse(credentials)?;
        let kind = credentials.kind();
        let who = Who::Hub(fleet.name.to_string());
        let way = way_of(&fleet.url, (&fleet.stream, fleet.plain), fleet.ca_pem.as_deref(), trust, credentials, who)?;
        Ok(Self { link: Link::new(way), credentials: kind, reading: None })
    }

    /// Looks whether address, credentials and rights are good. Changes nothing there.
    ///
    /// # Errors
    /// If it cannot even be asked.
    pub fn check(&mut self) -> Result<Vec<Finding>, Trouble> {
        let server = self.link.server()?;
        let way = if server.encrypted { "over TLS" } else { "unencrypted" };
        let text = format!("{} is NATS {} and is spoken to {way}", server.host, server.version);
        let mut lines = vec![Finding { what: "address", good: true, text }];
        let text = format!("it knows this hub by {}", self.credentials);
        lines.push(Finding { what: "credentials", good: true, text });
        let info = self.info()?;
        let (messages, stream) = (info.state.messages, self.link.stream().to_owned());
        let text = match oddity(&info.config) {
            None => format!("the stream {stream} keeps the newest message of each subject, and holds {messages}"),
            Some(odd) => format!(
                "the stream {stream}: {odd}, so that it does not hold the fleet's present state; see Many boxes in the README for its settings"
            ),
        };
        lines.push(Finding { what: "stream", good: oddity(&info.config).is_none(), text });
        self.begin(&Position { sequence: info.state.last_sequence, ..Position::default() })?;
        lines.push(Finding { what: "read", good: true, text: format!("this hub may read the stream {stream}") });
        Ok(lines)
    }

    /// Begins to read behind a place, or with the first message where it is none of this stream.
    ///
    /// # Errors
    /// If the stream cannot be read.
    pub fn begin(&mut self, position: &Position) -> Result<Begun, Trouble> {
        self.reading = None;
        let info = self.info()?;
        let made_at = Timestamp(i64::try_from(info.created.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX));
        let is_this = position.made_at.is_none_or(|known| known == made_at);
        let after = if is_this { position.sequence } else { 0 };
        let (open, way) = self.link.open()?;
        let _step = loops::within(NATS_CALL_MAX + CALL_SLACK);
        open.heard.forget();
        let config = Pull {
            // Where it has a name, that is in the subject on which it is asked for, by which rights are given.
            name: Some(format!("hydrophone-{}", to_hex(&random::bytes::<8>()))),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: after.saturating_add(1) },
            ack_policy: AckPolicy::None,
            inactive_threshold: FORGOTTEN_AFTER,
            memory_storage: true,
            ..Pull::default()
        };
        let asked = async {
            let making = async {
                let stream = open.context.get_stream_no_info(&way.stream).await.map_err(|error| error.to_string())?;
                let consumer = stream.create_consumer(config).await.map_err(|error| error.to_string())?;
                let messages = consumer.stream().max_messages_per_batch(AHEAD).heartbeat(BEAT).expires(PULL).messages();
                let pending = consumer.cached_info().num_pending;
                messages.await.map(|messages| (messages, pending)).map_err(|error| error.to_string())
            };
            tokio::select! {
                made = making => made.map_err(|why| Trouble::later(format!("the stream {} of {} cannot be read: {why}", way.stream, way.host))),
                trouble = open.heard.why_not(way, STREAMS) => Err(trouble),
            }
        };
        let made = open.runtime.block_on(async { timeout(NATS_CALL_MAX, asked).await });
        match made {
            Ok(Ok((messages, pending))) => {
                self.reading = Some(Reading { messages, counted: 0, is_over: false, ear: Ear::default() });
                let state = &info.state;
                Ok(Begun { made_at, messages: state.messages, last: state.last_sequence, pending })
            }
            Ok(Err(trouble)) => {
                self.close();
                Err(trouble)
            }
            Err(_) => {
                let trouble = Trouble::later(format!("{} does not answer what is asked about a stream", way.host));
                self.close();
                Err(trouble)
            }
        }
    }

    /// What follows, as much as is there and can be taken in at once; nothing if nothing came for a moment.
    ///
    /// # Errors
    /// If the connection is lost, or something was left out. Reading has to [begin](Self::begin) anew then.
    pub fn read(&mut self) -> Result<Taken, Trouble> {
        let host = self.link.host().to_owned();
        let Some(reading) = &mut self.reading else { return Err(Trouble::later("reading was not begun")) };
        let (open, _) = self.link.open()?;
        if reading.is_over {
            self.close();
            return Err(Trouble::later(format!("the connection to {host} was lost")));
        }
        let _step = loops::within(GATHER_MAX + WAIT + CALL_SLACK);
        let gathered = open.runtime.block_on(gather(reading, &host));
        if gathered.is_err() {
            self.close();
        }
        gathered
    }

    /// The message behind a place, if its headers are such that no client takes it: a status in place of headers, as only a
    /// server sends, or none at all. Where many follow each other, the last of some, so that they are passed over together.
    pub fn unreadable(&mut self, after: u64) -> Option<(u64, Option<Site>)> {
        let (open, way) = self.link.open().ok()?;
        let _step = loops::within(NATS_CALL_MAX + CALL_SLACK);
        open.heard.forget();
        let subject = format!("$JS.API.STREAM.MSG.GET.{}", way.stream);
        let mut found = None;
        let asked = async {
            for _ in 0..UNREADABLE_MAX {
                let after = found.as_ref().map_or(after, |(sequence, _)| *sequence);
                let question = json!({ "seq": after.saturating_add(1), "next_by_subj": ALL_SUBJECTS }).to_string();
                let answer = tokio::select! {
                    answer = open.client.request(subject.clone(), question.into()) => answer.ok(),
                    _ = open.heard.why_not(way, STREAMS) => None,
                };
                let Some(next) = answer.and_then(|answer| unreadable_of(&answer.payload)) else { return };
                found = Some(next);
            }
        };
        // What was found until then is found.
        let _ = open.runtime.block_on(async { timeout(UNREADABLE_TIME, asked).await });
        found
    }

    /// Deletes messages by their places in the stream, where this hub may. False where it may not.
    ///
    /// # Errors
    /// If it could not be asked in time.
    pub fn forget(&mut self, sequences: &[u64]) -> Result<bool, Trouble> {
        let (open, way) = self.link.open()?;
        let _step = loops::within(NATS_CALL_MAX + CALL_SLACK);
        open.heard.forget();
        let late = || Trouble::later(format!("{} takes too long to delete messages", way.host));
        let asked = async {
            let deleting = async {
                let stream = open.context.get_stream_no_info(&way.stream).await.map_err(|_| late())?;
                for sequence in sequences {
                    // One that is gone already was deleted by another hub, or replaced.
                    if stream.delete_message(*sequence).await.is_err() && open.heard.is_refused() {
                        return Ok(false);
                    }
                }
                Ok(true)
            };
            tokio::select! {
                done = deleting => done,
                trouble = open.heard.why_not(way, STREAMS) => match trouble {
                    Trouble::Refused { .. } => Ok(false),
                    other => Err(other),
                },
            }
        };
        let done = open.runtime.block_on(async { timeout(NATS_CALL_MAX, asked).await });
        done.unwrap_or_else(|_| Err(late()))
    }

    fn info(&mut self) -> Result<Info, Trouble> {
        let (open, way) = self.link.open()?;
        let _step = loops::within(NATS_CALL_MAX + CALL_SLACK);
        open.heard.forget();
        let asked = async {
            tokio::select! {
                stream = open.context.get_stream(&way.stream) => match stream {
                    Ok(stream) => Ok(Some(stream.cached_info().clone())),
                    Err(error) => match error.kind() {
                        GetStreamErrorKind::JetStream(_) => Ok(None),
                        _ => Err(Trouble::later(format!("{} does not answer what is asked about a stream: {error}", way.host))),
                    },
                },
                trouble = open.heard.why_not(way, STREAMS) => Err(trouble),
            }
        };
        let asked = open.runtime.block_on(async { timeout(NATS_CALL_MAX, asked).await });
        let found = match asked {
            Ok(Ok(Some(info))) => return Ok(info),
            Ok(Ok(None)) => self.link.no_stream(""),
            Ok(Err(trouble)) => trouble,
            Err(_) => Trouble::later(format!("{} does not answer what is asked about a stream", way.host)),
        };
        self.close();
        Err(found)
    }

    fn close(&mut self) {
        self.reading = None;
        self.link.close();
    }
}

/// What the server says of one message.
#[derive(Deserialize)]
struct Stored {
    message: StoredMessage,
}

#[derive(Deserialize)]
struct StoredMessage {
    subject: String,
    seq: u64,
    hdrs: Option<String>,
}

/// The message that the server tells of, if no client takes it.
fn unreadable_of(answer: &[u8]) -> Option<(u64, Option<Site>)> {
    let Stored { message } = serde_json::from_slice(answer).ok()?;
    let headers = BASE64.decode(message.hdrs?).ok()?;
    let whose = Site::of_subject(&message.subject).map(|(site, _)| site);
    (!is_plain(&headers)).then_some((message.seq, whose))
}

/// Whether headers are lines of names and values, without a status.
fn is_plain(headers: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(headers) else { return false };
    let mut lines = text.trim_end().lines();
    lines.next() == Some("NATS/1.0") && lines.all(|line| line.contains(':'))
}

async fn gather(reading: &mut Reading, host: &str) -> Result<Taken, Trouble> {
    let mut taken = Taken::default();
    let (mut wait, mut bytes, end) = (WAIT, 0, Instant::now() + GATHER_MAX);
    loop {
        if Instant::now() > end {
            return Ok(taken);
        }
        let message = match timeout(wait, reading.messages.next()).await {
            Err(_) => return Ok(taken),
            // What came before it counts; the next call says what is the matter.
            Ok(None | Some(Err(_))) if taken.last.is_some() => {
                reading.is_over = true;
                return Ok(taken);
            }
            Ok(None) => return Err(Trouble::later(format!("{host} ended the reading"))),
            Ok(Some(Err(error))) => return Err(Trouble::later(format!("the connection to {host} was lost: {error}"))),
            Ok(Some(Ok(message))) => message,
        };
        let Ok(info) = message.info() else { return Err(Trouble::later(format!("{host} sent what is no message"))) };
        reading.counted += 1;
        if info.consumer_sequence != reading.counted && taken.last.is_some() {
            reading.is_over = true;
            return Ok(taken);
        }
        if info.consumer_sequence != reading.counted {
            return Err(Trouble::later(format!("a message of {host} was lost on the way; it is asked for again")));
        }
        let at = Timestamp(i64::try_from(info.published.unix_timestamp_nanos() / 1_000_000).unwrap_or_default());
        let (sequence, pending) = (info.stream_sequence, info.pending);
        let Message { subject, payload, .. } = &message.message;
        bytes += payload.len();
        match reading.ear.hear(subject, payload) {
            Ok((site, term, said)) => taken.heard.push(Heard { sequence, at, site, term, said }),
            Err((site, why)) => taken.passed_over.push((sequence, site, why)),
        }
        (taken.last, taken.pending) = (Some(sequence), pending);
        let count = taken.heard.len() + taken.passed_over.len();
        if pending == 0 || count >= FLEET_TAKEN_MAX || bytes >= FLEET_TAKEN_BYTES_MAX {
            return Ok(taken);
        }
        wait = LULL;
    }
}

/// Reads what may be a message of a fleet: its subject, a line's end, its body.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (Ok(subject), body) = (std::str::from_utf8(&data[..end]), &data[end + 1..]) else { return };
    match Ear::default().hear(subject, body) {
        Ok((site, _, said)) => {
            assert!(subject.starts_with(&format!("hydrophone.v1.{site}.")), "nobody speaks for another site");
            if let Said::Finding(finding) = said {
                let names = &finding.names;
                let own = site.finding_of((&names.source, &names.organization, &names.project), finding.id);
                assert_eq!(own, subject, "each finding has one subject");
            }
        }
        Err((_, Unheard::Newer(why) | Unheard::Foreign(why))) => {
            assert!(!why.contains(char::is_control) && why.chars().count() < 2_000, "{why:?}");
        }
    }
}

/// Messages that no client takes which are passed over together, and how long it is looked for them.
const UNREADABLE_MAX: usize = 1_000;

/// See [`UNREADABLE_MAX`].
const UNREADABLE_TIME: Duration = Duration::from_secs(5);

/// How long it is waited for a message.
const WAIT: Duration = Duration::from_secs(1);

/// How long messages are gathered that come slowly.
const GATHER_MAX: Duration = Duration::from_secs(5);

/// How long it is waited for the next one while others could be taken in.
const LULL: Duration = Duration::from_millis(50);

/// Messages that are asked for ahead. Each may be as large as the server takes them: 1 MiB, unless its stream has a limit.
const AHEAD: usize = 200;

/// How often the server says that there is nothing; after two without it the connection counts as lost.
const BEAT: Duration = Duration::from_secs(5);

/// How long one request for messages stands.
const PULL: Duration = Duration::from_secs(30);

/// The server forgets about a hub that has asked for nothing for so long.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(2);
