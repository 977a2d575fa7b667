//! The connection to a server of NATS: kept by a thread of its own, which also answers the server's pings, and made when
//! something is to be said for the first time.

use std::error::Error as _;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{CreateStreamErrorKind, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, ConnectError, ConnectErrorKind, Event, Message, RequestErrorKind};
use bytes::Bytes;
use ring::digest::{SHA256, digest};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::credentials::Credentials;
use crate::domain::fleet::{ALL_SUBJECTS, BUCKET_SUBJECTS, Site};
use crate::domain::limits::{CALL_SLACK, NATS_CALL_MAX, NATS_PUSH_MAX};
use crate::domain::signature::to_hex;
use crate::domain::standby;
use crate::platform::http::distrusted;
use crate::platform::{Told, Trouble};
use crate::sys::reach::broken;
use crate::sys::trust::{Authorities, Trust, distrust_of};
use crate::sys::{fence, loops};

/// How a server is reached, and what is said there.
pub(super) struct Way {
    /// Name or address, and the port where one was given.
    pub(super) host: String,
    /// Whether nothing may go over it without TLS.
    pub(super) tls: bool,
    pub(super) trust: Trust,
    pub(super) authorities: Authorities,
    pub(super) credentials: Credentials,
    pub(super) who: Who,
    pub(super) stream: String,
}

/// Who speaks to the server.
#[derive(Clone)]
pub(super) enum Who {
    /// The box of a site, which publishes what it knows.
    Site(Site),
    /// A hub, which reads what all say; with its source's name.
    Hub(String),
    /// The same, where it offers configuration to boxes.
    Offering(String),
    /// One of the two boxes of a site, which tells the other one what it holds.
    Pair(Site),
}

impl Who {
    /// Where answers come in: what it may subscribe to, with `.>` behind it.
    fn inbox(&self) -> String {
        match self {
            Self::Site(site) | Self::Pair(site) => site.inbox(),
            Self::Hub(_) | Self::Offering(_) => HUB_INBOX.to_owned(),
        }
    }
}

/// Where answers for hubs come in.
const HUB_INBOX: &str = "_INBOX.hydrophone-hub";

/// A message that is to be stored.
pub(super) struct Outgoing {
    pub(super) subject: String,
    /// The same for every attempt.
    pub(super) id: String,
    pub(super) body: Bytes,
}

impl Outgoing {
    /// What the stream drops this message by when it comes twice. The stream compares ids whatever the subject, and the same
    /// may have been said as another site.
    fn id_there(&self) -> String {
        to_hex(&digest(&SHA256, format!("{}\n{}", self.subject, self.id).as_bytes()).as_ref()[..16])
    }
}

/// A server that is spoken to.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) version: String,
    pub(super) encrypted: bool,
}

/// How a stream keeps what it is told.
pub(super) enum Keeping {
    /// So that it holds the newest message of each subject.
    Good,
    /// Otherwise: in a few words, how.
    Odd(String),
    /// It may not be looked at.
    Hidden,
}

/// See the module.
pub(super) struct Link {
    way: Way,
    open: Option<Open>,
    /// Whether no stream took what was last told.
    missing: bool,
}

pub(super) struct Open {
    pub(super) runtime: Runtime,
    pub(super) client: Client,
    pub(super) context: Context,
    pub(super) heard: Arc<Heard>,
}

impl Drop for Link {
    fn drop(&mut self) {
        // Whatever is under way there is not waited for.
        if let Some(open) = self.open.take() {
            open.runtime.shutdown_background();
        }
    }
}

/// What is heard of a connection beside the answers to calls: a call that is not allowed, and one whose connection breaks,
/// would be waited for in vain.
#[derive(Default)]
pub(super) struct Heard {
    last: Mutex<Option<Event>>,
    came: Notify,
}

impl Heard {
    fn note(&self, event: Event) {
        *self.last() = Some(event);
        self.came.notify_one();
    }

    fn last(&self) -> MutexGuard<'_, Option<Event>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was heard before something is asked.
    pub(super) fn forget(&self) {
        self.last().take();
    }

    /// Whether the last that was heard is that something is not allowed.
    pub(super) fn is_refused(&self) -> bool {
        matches!(&*self.last(), Some(Event::ServerError(error)) if error.to_string().contains("Permissions Violation"))
    }

    /// What comes from now on that says why a call about one of these subjects is not answered.
    pub(super) async fn why_not(&self, way: &Way, subjects: &[&str]) -> Trouble {
        loop {
            match self.last().take() {
                Some(Event::ServerError(error)) => {
                    let said = error.to_string();
                    if said.contains("Permissions Violation") && subjects.iter().any(|subject| said.contains(subject)) {
                        return not_allowed(way);
                    }
                }
                Some(Event::Disconnected) => return lost(&way.host),
                _ => {}
            }
            self.came.notified().await;
        }
    }
}

/// What messages are published on, and where their acknowledgements come in.
const OWN: &[&str] = &["hydrophone.v1.", "$KV.", "_INBOX."];

/// Where single messages of a stream are asked for.
const NEWEST: &[&str] = &["$JS.API.DIRECT.", "_INBOX."];

/// What is asked about streams.
pub(super) const STREAMS: &[&str] = &["$JS.API.", "_INBOX."];

/// Why a message was not stored.
enum Unstored {
    /// This one never will be.
    Refused(String),
    /// None takes it.
    NoStream,
    /// None can be now.
    Trouble(Trouble),
}

impl Link {
    /// Connects when something is to be said.
    pub(super) fn new(way: Way) -> Self {
        Self { way, open: None, missing: false }
    }

    /// The stream's name.
    pub(super) fn stream(&self) -> &str {
        &self.way.stream
    }

    /// Connects, and tells with whom.
    pub(super) fn server(&mut self) -> Result<Server, Trouble> {
        let open = Self::opened_of(&self.way, &mut self.open)?;
        let info = open.client.server_info();
        let encrypted = self.way.tls || info.tls_required;
        Ok(Server { host: self.way.host.clone(), version: info.version, encrypted })
    }

    /// Has messages stored, in order. What became of those that it came to, and why it came no further.
    pub(super) fn publish(&mut self, messages: &[Outgoing]) -> (Vec<Told>, Option<Trouble>) {
        self.missing = false;
        let mut told = Vec::with_capacity(messages.len());
        let mut rest = messages;
        loop {
            match self.attempt(rest, &mut told) {
                Ok(()) => return (told, None),
                Err(Unstored::Refused(why)) => told.push(Told::Refused(why)),
                Err(Unstored::NoStream) => {
                    self.missing = true;
                    self.close();
                    return (told, Some(self.no_stream("")));
                }
                Err(Unstored::Trouble(trouble)) => {
                    // A connection that is broken is made anew next time, and one that a person mended, too.
                    self.close();
                    return (told, Some(trouble));
                }
            }
            rest = &messages[told.len()..];
        }
    }

    /// Sends all of them and waits for what the stream says to each, up to the first that is not stored.
    fn attempt(&mut self, messages: &[Outgoing], told: &mut Vec<Told>) -> Result<(), Unstored> {
        let open = Self::opened_of(&self.way, &mut self.open).map_err(Unstored::Trouble)?;
        let Way { host, stream, .. } = &self.way;
        let _step = loops::within(NATS_PUSH_MAX + CALL_SLACK);
        if !fence::allows(NATS_PUSH_MAX) {
            return Err(Unstored::Trouble(Trouble::later(fence::SHUT)));
        }
        open.heard.forget();
        if open.client.connection_state() != State::Connected {
            // What is sent now would be kept until there is a connection, and overtake what is told before that.
            return Err(Unstored::Trouble(lost(host)));
        }
        let late = || Trouble::later(format!("{host} did not acknowledge what it was told in time"));
        let sending = async {
            let mut waiting = Vec::with_capacity(messages.len());
            let mut ended = Ok(());
            for message in messages {
                let publish = PublishMessage::build()
                    .payload(message.body.clone())
                    .message_id(message.id_there())
                    .expected_stream(stream);
                match open.context.send_publish(message.subject.clone(), publish).await {
                    Ok(acknowledged) => waiting.push(acknowledged),
                    Err(error) => {
                        ended = Err(unstored(host, &error));
                        break;
                    }
                }
            }
            for acknowledged in waiting {
                let acknowledged = tokio::select! {
                    acknowledged = acknowledged.into_future() => acknowledged,
                    trouble = open.heard.why_not(&self.way, OWN) => return Err(Unstored::Trouble(trouble)),
                };
                match acknowledged {
                    Ok(_) => told.push(Told::Yes(None)),
                    Err(error) => return Err(unstored(host, &error)),
                }
            }
            ended
        };
        let ended = open.runtime.block_on(async { timeout(NATS_PUSH_MAX, sending).await });
        ended.unwrap_or_else(|_| Err(Unstored::Trouble(late())))
    }

    /// How the stream keeps what it is told, as far as that may be asked.
    pub(super) fn keeping(&mut self) -> Result<Keeping, Trouble> {
        let open = Self::opened_of(&self.way, &mut self.open)?;
        let Way { host, stream, .. } = &self.way;
        let _step = loops::within(NATS_CALL_MAX + CALL_SLACK);
        open.heard.forget();
        let asked = async {
            tokio::select! {
                stream = open.context.get_stream(stream) => stream.ok(),
                _ = open.heard.why_not(&self.way, STREAMS) => None,
            }
        };
        let found = open.runtime.block_on(async { timeout(NATS_CALL_MAX, asked).await });
        match found {
            Ok(Some(stream)) => Ok(oddity(&stream.cached_info().config).map_or(Keeping::Good, Keeping::Odd)),
            Ok(None) => Ok(Keeping::Hidden),
            Err(_) => Err(Trouble::later(format!("{host} does not say how the stream {stream} keeps messages"))),
        }
    }

    /// The newest message on a subject, with its number; none where there is none, or no such stream.
    pub(super) fn newest(&mut self, stream: &str, subject: &str) -> Result<Option<(u64, Bytes)>, Trouble> {
        self.missing = false;
        let open = Self::opened_of(&self.way, &mut self.open)?;
        let host = &self.way.host;
        let _step = loops::within(NATS_CALL_MAX + CALL_SLACK);
        open.heard.forget();
        if open.client.connection_state() != State::Connected {
            let lost = lost(host);
            self.close();
            return Err(lost);
        }
        let question = format!("$JS.API.DIRECT.GET.{stream}.{subject}");
        let asked = async {
            tokio::select! {
                answer = open.client.request(question.clone(), Bytes::new()) => match answer {
                    Ok(answer) => Ok(Some(answer)),
                    Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(None),
                    Err(error) => Err(Trouble::later(format!("{host} does not say what {subject} is: {error}"))),
                },
                trouble = open.heard.why_not(&self.way, NEWEST) => Err(match trouble {
                    Trouble::Refused { .. } => Trouble::refused(
                        format!("{host} does not let this box read {subject}"),
                        format!("give its user the right to publish on {question}"),
                    ),
                    other => other,
                }),
            }
        };
        let Ok(answer) = open.runtime.block_on(async { timeout(NEWEST_MAX, asked).await }) else {
            // Of a stream that is not there the server says nothing at all.
            self.missing = open.client.connection_state() == State::Connected;
            return Err(Trouble::later(format!("{host} does not say what {subject} is")));
        };
        let answer = answer?;
        // A status stands for what is not there; what was taken away has no text.
        let found = answer.filter(|answer| answer.status.is_none());
        let number = |answer: &Message| answer.headers.as_ref()?.get(NATS_SEQUENCE)?.as_str().parse().ok();
        Ok(found.map(|answer| (number(&answer).unwrap_or_default(), answer.payload)))
    }

    /// Stores a message on a subject if the last one there bears this number, or, for 0, if there is none; its number then.
    pub(super) fn exchange(&mut self, subject: &str, expected: u64, body: Bytes) -> Result<Option<u64>, Trouble> {
        self.missing = false;
        let open = Self::opened_of(&self.way, &mut self.open)?;
        let Way { host, stream, .. } = &self.way;
        let _step = loops::within(NATS_CALL_MAX + CALL_SLACK);
        open.heard.forget();
        if open.client.connection_state() != State::Connected {
            // What is sent now would be kept until there is a connection, and nobody would count on it any more.
            let lost = lost(host);
            self.close();
            return Err(lost);
        }
        let publish =
            PublishMessage::build().payload(body).expected_stream(stream).expected_last_subject_sequence(expected);
        let storing = async {
            let acknowledged =
                open.context.send_publish(subject.to_owned(), publish).await.map_err(|error| unstored(host, &error))?;
            tokio::select! {
                acknowledged = acknowledged.into_future() => match acknowledged {
                    Ok(acknowledged) => Ok(Some(acknowledged.sequence)),
                    Err(error) if is_overtaken(&error) => Ok(None),
                    Err(error) => Err(unstored(host, &error)),
                },
                trouble = open.heard.why_not(&self.way, OWN) => Err(Unstored::Trouble(trouble)),
            }
        };
        let late = |_| Err(Unstored::Trouble(Trouble::later(format!("{host} did not acknowledge a message in time"))));
        let stored = open.runtime.block_on(async { timeout(NATS_CALL_MAX, storing).await }).unwrap_or_else(late);
        stored.map_err(|why| {
            // Whatever is still on its way is not to arrive behind the next one.
            self.close();
            match why {
                Unstored::Refused(why) => Trouble::later(why),
                Unstored::NoStream => {
                    self.missing = true;
                    self.no_stream("")
                }
                Unstored::Trouble(trouble) => trouble,
            }
        })
    }

    /// Whether no stream took what was last told, or none answered what was last asked.
    pub(super) fn is_missing(&self) -> bool {
        self.missing
    }

    /// Makes the stream, which nobody has made yet, where this box may. What was told before is not in it.
    pub(super) fn make_stream(&mut self) -> Result<(), Trouble> {
        let open = Self::opened_of(&self.way, &mut self.open)?;
        let Way { host, stream: name, .. } = &self.way;
        let _step = loops::within(NATS_CALL_MAX + CALL_SLACK);
        open.heard.forget();
        let making = async {
            tokio::select! {
                made = open.context.create_stream(wanted(name, &self.way.who)) => match made {
                    Ok(_) => Ok(()),
                    Err(error) => match error.kind() {
                        // Somebody else made it a moment ago, or it is there with other settings, which publishing shows.
                        CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST => Ok(()),
                        CreateStreamErrorKind::JetStream(error) => Err(format!(", and it cannot be made: {error}")),
                        _ => Err(String::new()),
                    },
                },
                _ = open.heard.why_not(&self.way, STREAMS) => Err(", and this box may not make it".to_owned()),
            }
        };
        let made = open.runtime.block_on(async { timeout(NATS_CALL_MAX, making).await });
        match made {
            Ok(Ok(())) => {
                tracing::info!("made the stream {name} at {host}");
                Ok(())
            }
            Ok(Err(why)) => Err(self.no_stream(&why)),
            Err(_) => Err(self.no_stream("")),
        }
    }

    pub(super) fn no_stream(&self, why: &str) -> Trouble {
        Trouble::later(format!(
            "no stream of {} takes {}{why}: whoever looks after the server makes it, or `hydrophone destination check` of a \
             box that may; it needs JetStream, and its settings are in the README, Many boxes",
            self.way.host,
            match &self.way.who {
                Who::Site(site) => site.subjects(),
                Who::Hub(_) => ALL_SUBJECTS.to_owned(),
                Who::Offering(_) => BUCKET_SUBJECTS.to_owned(),
                Who::Pair(_) => standby::BUCKET_SUBJECTS.to_owned(),
            }
        ))
    }

    /// Whom it leads to.
    pub(super) fn host(&self) -> &str {
        &self.way.host
    }

    /// The connection, made where there is none.
    pub(super) fn open(&mut self) -> Result<(&Open, &Way), Trouble> {
        let open = Self::opened_of(&self.way, &mut self.open)?;
        Ok((open, &self.way))
    }

    /// Ends the connection; the next call makes one.
    pub(super) fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.runtime.shutdown_background();
        }
    }

    fn opened_of<'a>(way: &Way, open: &'a mut Option<Open>) -> Result<&'a Open, Trouble> {
        if open.is_none() {
            *open = Some(connect(way)?);
        }
        Ok(open.as_ref().expect("it was just made"))
    }
}

fn connect(way: &Way) -> Result<Open, Trouble> {
    let _step = loops::within(NATS_CALL_MAX + CALL_SLACK);
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(2)
        .thread_name("nats")
        .thread_stack_size(512 * 1024)
        .enable_all()
        .build()
        .map_err(|error| Trouble::later(format!("no thread can be started: {error}")))?;
    let heard = Arc::new(Heard::default());
    let noting = Arc::clone(&heard);
    let options = way
        .credentials
        .options()
        .name(match &way.who {
            Who::Site(site) => format!("hydrophone {site}"),
            Who::Pair(site) => format!("hydrophone {site} standby"),
            Who::Hub(name) | Who::Offering(name) => format!("hydrophone hub {name}"),
        })
        .custom_inbox_prefix(way.who.inbox())
        .connection_timeout(NATS_CALL_MAX)
        .request_timeout(Some(NATS_CALL_MAX))
        .ping_interval(PING_EVERY)
        // A person named one server, and the way to it; after that one attempt it is for us to say when the next one is.
        .ignore_discovered_servers()
        .max_reconnects(1)
        .require_tls(way.tls)
        .tls_client_config((*way.trust.client_config(&way.authorities)).clone())
        .event_callback(move |event| {
            if matches!(event, Event::ServerError(_) | Event::Disconnected) {
                noting.note(event);
            }
            async {}
        });
    let scheme = if way.tls { "tls" } else { "nats" };
    let address = format!("{scheme}://{}", way.host);
    let connecting = async { timeout(NATS_CALL_MAX, options.connect(address)).await };
    let client = match runtime.block_on(connecting) {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => {
            runtime.shutdown_background();
            return Err(unreachable(&way.host, &error));
        }
        Err(_) => {
            runtime.shutdown_background();
            return Err(Trouble::later(format!("{} does not answer as a server of NATS does", way.host)));
        }
    };
    let mut context = {
        // It starts a task of its own.
        let _within = runtime.enter();
        jetstream::new(client.clone())
    };
    context.set_timeout(NATS_CALL_MAX);
    Ok(Open { runtime, client, context, heard })
}

/// What a stream is to be like: it takes all subjects of a fleet, and holds the newest message of each on disk.
fn wanted(name: &str, who: &Who) -> Config {
    match who {
        Who::Offering(_) => {
            return bucket(name, BUCKET_SUBJECTS, "Configuration that Hydrophone's boxes are offered");
        }
        Who::Pair(_) => {
            return bucket(name, standby::BUCKET_SUBJECTS, "What the two Hydrophones of a site tell each other");
        }
        Who::Site(_) | Who::Hub(_) => {}
    }
    Config {
        name: name.to_owned(),
        description: Some("What Hydrophone's boxes know, one message for each finding".to_owned()),
        subjects: vec![ALL_SUBJECTS.to_owned()],
        max_messages_per_subject: 1,
        max_messages: -1,
        max_bytes: -1,
        max_message_size: 64 * 1024,
        discard: DiscardPolicy::Old,
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: 1,
        ..Config::default()
    }
}

/// What a key-value bucket is to be like, as
/// [ADR-8](https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-8.md) has it.
fn bucket(name: &str, subjects: &str, description: &str) -> Config {
    Config {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        subjects: vec![subjects.to_owned()],
        max_messages_per_subject: 1,
        max_messages: -1,
        max_bytes: -1,
        max_message_size: -1,
        discard: DiscardPolicy::New,
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: 1,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        ..Config::default()
    }
}

/// What is odd about a stream that is to hold the present state of a fleet.
pub(super) fn oddity(config: &Config) -> Option<String> {
    let odd = if config.max_messages_per_subject != 1 {
        match config.max_messages_per_subject {
            ..=0 => "it keeps every message of a subject".to_owned(),
            many => format!("it keeps {many} messages of each subject"),
        }
    } else if config.storage != StorageType::File {
        "it keeps messages in memory".to_owned()
    } else if config.retention != RetentionPolicy::Limits {
        "it drops messages once they were read".to_owned()
    } else if config.max_age != Duration::ZERO {
        format!("it drops messages after {} s", config.max_age.as_secs())
    } else if config.discard == DiscardPolicy::Old && (config.max_bytes > 0 || config.max_messages > 0) {
        "it drops old messages when it is full".to_owned()
    } else if config.no_ack {
        "it acknowledges nothing".to_owned()
    } else {
        return None;
    };
    Some(odd)
}

/// Why no connection came to be.
fn unreachable(host: &str, error: &ConnectError) -> Trouble {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    if let Some(distrust) = cause.and_then(distrust_of) {
        return distrusted(host, &distrust);
    }
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => Trouble::refused(
            format!("{host} refuses the credentials"),
            "give those that the server knows with `hydrophone destination edit NAME --token-file FILE`",
        ),
        ConnectErrorKind::Tls if error.to_string().contains("platform certs") => Trouble::refused(
            format!("{host} cannot be reached: one of the system's files of authorities cannot be read"),
            "mend or take away the file that the log of `HYDROPHONE_LOG=debug` names, below /etc/ssl/certs most often",
        ),
        ConnectErrorKind::Dns => Trouble::later(format!("{host} cannot be reached: its name is not known (DNS)")),
        ConnectErrorKind::TimedOut => Trouble::later(format!("{host} does not answer as a server of NATS does")),
        _ => {
            let why = match (cause, error.source()) {
                (Some(cause), _) => broken(cause),
                (None, Some(source)) => source.to_string(),
                (None, None) => error.to_string(),
            };
            Trouble::later(format!("{host} cannot be reached: {why}"))
        }
    }
}

/// Whether another message was stored before.
fn is_overtaken(error: &PublishError) -> bool {
    if error.kind() == PublishErrorKind::WrongLastSequence {
        return true;
    }
    let said = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    said.is_some_and(|said| said.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE)
}

/// What it means that a message was not acknowledged.
fn unstored(host: &str, error: &PublishError) -> Unstored {
    let said = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    match (error.kind(), said.map(jetstream::Error::error_code)) {
        (PublishErrorKind::StreamNotFound, _) => Unstored::NoStream,
        (PublishErrorKind::MaxPayloadExceeded, _) => {
            Unstored::Refused(format!("{host} takes no message as large as this one"))
        }
        (_, Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM)) => {
            Unstored::Refused(format!("the stream of {host} takes no message as large as this one"))
        }
        (_, Some(ErrorCode::STREAM_NOT_MATCH)) => Unstored::Trouble(Trouble::refused(
            format!("another stream of {host} takes what this box says"),
            "name it with --option stream=NAME",
        )),
        (_, Some(ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT)) => {
            Unstored::NoStream
        }
        (PublishErrorKind::TimedOut, _) => {
            Unstored::Trouble(Trouble::later(format!("{host} did not acknowledge a message in time")))
        }
        (PublishErrorKind::BrokenPipe, _) => Unstored::Trouble(lost(host)),
        _ => {
            let why = said.map_or_else(|| error.to_string(), ToString::to_string);
            Unstored::Trouble(Trouble::later(format!("the stream of {host} does not store what it is told: {why}")))
        }
    }
}

fn lost(host: &str) -> Trouble {
    Trouble::later(format!("the connection to {host} was lost"))
}

/// In the same words each time, whichever of the rights that are needed the server names first.
fn not_allowed(way: &Way) -> Trouble {
    let host = &way.host;
    match &way.who {
        Who::Site(site) => Trouble::refused(
            format!(
                "{host} does not let this box publish on {}, or hear on {}.> that it was heard",
                site.subjects(),
                site.inbox()
            ),
            "give its user both rights, or this box the credentials of its own site",
        ),
        Who::Offering(_) => Trouble::refused(
            format!("{host} does not let this hub offer configuration"),
            format!("give its user the right to publish on {BUCKET_SUBJECTS}"),
        ),
        Who::Pair(site) => Trouble::refused(
            format!("{host} does not let this box speak to the other one of {site}"),
            "give its user the rights on the bucket HYDROPHONE_STANDBY that the README names, Standby",
        ),
        Who::Hub(_) => Trouble::refused(
            format!("{host} does not let this hub read the stream {}", way.stream),
            format!("give its user the rights on $JS.API and {HUB_INBOX}.> that the README names, Many boxes"),
        ),
    }
}

/// How long it is waited for a single message of a stream.
const NEWEST_MAX: Duration = Duration::from_secs(5);

/// The header that says which number a message bears.
const NATS_SEQUENCE: &str = "Nats-Sequence";

/// A connection that died without a word is noticed after two of these.
const PING_EVERY: Duration = Duration::from_secs(20);
