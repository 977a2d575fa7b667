#![allow(dead_code, unreachable_pub, reason = "every test that includes this uses its own part of it")]
//! A receiver of signed events that trusts nothing: it verifies each signature as Standard Webhooks 1.0.0 asks for,
//! refuses what is too old, knows a replay by its id, and holds events to CloudEvents 1.0 and to their size. It shares
//! no code with the product, so that a misunderstanding in one is not repeated in the other.
//!
//! What it answers beside that is a test's to say ([`Reply`]).

use std::collections::{HashSet, VecDeque};
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use ring::hmac;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::wire::{Request, Response};

/// A running receiver; it takes no new connections once it is dropped.
pub struct Receiver {
    shared: Arc<Shared>,
    address: SocketAddr,
    authority: Option<String>,
}

/// One call as it came in.
#[derive(Clone, Debug)]
pub struct Call {
    pub request: Request,
    pub verdict: Verdict,
    /// What it was answered; nothing where the connection ended without a word.
    pub status: Option<u16>,
}

/// What the receiver thinks of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Rightly signed, and its id was never accepted.
    New,
    /// Rightly signed, and its id was accepted before.
    Replay,
    /// Not what the specifications ask for, or not signed by a secret that is known here.
    Bad(&'static str),
}

/// What a call is answered instead of what it deserves. Only the last two accept it.
#[derive(Clone, Debug)]
pub enum Reply {
    /// This status.
    Status(u16),
    /// This status with headers.
    With(u16, Vec<(&'static str, String)>),
    /// This status with a text.
    Text(u16, &'static str),
    /// Nothing, with the connection left open.
    Hang,
    /// The connection ends without a word.
    Close,
    /// It is accepted, and then answered 500.
    FailAfterAccepting,
    /// It is accepted, and then the connection ends without a word.
    CloseAfterAccepting,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    tls: Option<Arc<ServerConfig>>,
}

struct State {
    secrets: Vec<String>,
    replies: VecDeque<Reply>,
    always: Option<Reply>,
    calls: Vec<Call>,
    events: Vec<Value>,
    /// Their ids.
    ids: HashSet<String>,
    /// Nothing is answered from so many events on.
    hold_at: Option<usize>,
    /// How far this receiver's clock is ahead, in seconds.
    ahead: i64,
    ended: bool,
}

impl Receiver {
    /// Over plain HTTP on a loopback address.
    pub fn start(secret: &str) -> Receiver {
        Receiver::listen(secret, None, None)
    }

    /// Over TLS, with a certificate of a private authority.
    pub fn start_tls(secret: &str) -> Receiver {
        let (config, authority) = certified();
        Receiver::listen(secret, Some(config), Some(authority))
    }

    fn listen(secret: &str, tls: Option<Arc<ServerConfig>>, authority: Option<String>) -> Receiver {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = State {
            secrets: vec![secret.to_owned()],
            replies: VecDeque::new(),
            always: None,
            calls: Vec::new(),
            events: Vec::new(),
            ids: HashSet::new(),
            hold_at: None,
            ahead: 0,
            ended: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), tls });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.state().ended {
                    break;
                }
                let shared = Arc::clone(&accepting);
                // A client that goes away is its own business.
                thread::spawn(move || shared.connection(stream));
            }
        });
        Receiver { shared, address, authority }
    }

    /// Where it listens; no other path is known here.
    pub fn url(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{PATH}", self.address)
    }

    /// The certificate of its authority, PEM.
    pub fn authority(&self) -> String {
        self.authority.clone().expect("only a receiver with TLS has one")
    }

    /// Knows these secrets from now on, and no others.
    pub fn know(&self, secrets: &[&str]) {
        self.shared.state().secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
    }

    /// Answers the next call like this that no earlier reply is waiting for.
    pub fn answer(&self, reply: Reply) {
        self.shared.state().replies.push_back(reply);
    }

    /// Answers every call like this, or as it deserves.
    pub fn answer_always(&self, reply: Option<Reply>) {
        self.shared.state().always = reply;
    }

    /// Answers nothing once it has accepted so many events, until [`release`](Self::release).
    pub fn hold_at(&self, events: usize) {
        self.shared.state().hold_at = Some(events);
    }

    /// Blocks until it holds one.
    pub fn wait_held(&self) {
        let waiting = |state: &mut State| state.hold_at.is_some_and(|at| state.events.len() < at);
        let waited = self.shared.changed.wait_timeout_while(self.shared.state(), HANG_MAX, waiting);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        assert!(!timeout.timed_out(), "so many events did not come");
    }

    /// Answers again. What it held ends without a word.
    pub fn release(&self) {
        self.shared.state().hold_at = None;
        self.shared.changed.notify_all();
    }

    /// Sets its clock ahead of the system's.
    pub fn set_ahead(&self, seconds: i64) {
        self.shared.state().ahead = seconds;
    }

    /// Every call that came, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.state().calls.clone()
    }

    /// Every event that was accepted, each id once, in order.
    pub fn events(&self) -> Vec<Value> {
        self.shared.state().events.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.changed.notify_all();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self, stream: TcpStream) -> io::Result<()> {
        match &self.tls {
            None => self.serve(stream),
            Some(config) => {
                let connection = ServerConnection::new(Arc::clone(config)).expect("the configuration fits");
                self.serve(StreamOwned::new(connection, stream))
            }
        }
    }

    fn serve(&self, stream: impl Read + Write) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        while let Some(request) = Request::read(&mut stream)? {
            let (call, answer) = self.judge(Call { request, verdict: Verdict::New, status: None });
            self.state().calls.push(call);
            let Some(answer) = answer else { return Ok(()) };
            let seconds = self.state().now();
            answer.write(stream.get_mut(), seconds)?;
        }
        Ok(())
    }

    /// Notes a call and says what it is answered.
    fn judge(&self, mut call: Call) -> (Call, Option<Response>) {
        let mut state = self.state();
        call.verdict = state.verdict(&call);
        let reply = state.replies.pop_front().or_else(|| state.always.clone());
        let deserved = match call.verdict {
            Verdict::New | Verdict::Replay => 204,
            Verdict::Bad(TOO_LARGE) => 413,
            Verdict::Bad(UNKNOWN_PATH) => 404,
            Verdict::Bad(UNSIGNED | WRONG_SIGNATURE | TOO_OLD) => 401,
            Verdict::Bad(_) => 400,
        };
        let accepts = matches!(reply, None | Some(Reply::FailAfterAccepting | Reply::CloseAfterAccepting));
        if accepts && call.verdict == Verdict::New {
            let event: Value = serde_json::from_slice(&call.request.body).expect("only JSON is accepted");
            state.ids.insert(event["id"].as_str().expect("it was examined").to_owned());
            state.events.push(event);
            self.changed.notify_all();
        }
        let is_held = |state: &State| !state.ended && state.hold_at.is_some_and(|at| state.events.len() >= at);
        if accepts && is_held(&state) {
            let waited = self.changed.wait_timeout_while(state, HANG_MAX, |state| is_held(state));
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            return (call, None);
        }
        let answer = match reply {
            None => Some(Response::status(deserved)),
            Some(Reply::Status(status)) => Some(Response::status(status)),
            Some(Reply::With(status, headers)) => Some(Response { headers, ..Response::status(status) }),
            Some(Reply::Text(status, text)) => Some(Response { body: text.to_owned(), ..Response::status(status) }),
            Some(Reply::FailAfterAccepting) => Some(Response::status(500)),
            Some(Reply::Close | Reply::CloseAfterAccepting) => None,
            Some(Reply::Hang) => {
                let waited = self.changed.wait_timeout_while(state, HANG_MAX, |state| !state.ended);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
                None
            }
        };
        call.status = answer.as_ref().map(|answer| answer.status);
        (call, answer)
    }
}

impl State {
    fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
        i64::try_from(since.as_secs()).expect("it is not that late") + self.ahead
    }

    fn verdict(&self, call: &Call) -> Verdict {
        match self.examine(&call.request) {
            Err(why) => Verdict::Bad(why),
            Ok(id) if self.ids.contains(id) => Verdict::Replay,
            Ok(_) => Verdict::New,
        }
    }

    /// The event's id, if the call is as it has to be.
    fn examine<'a>(&self, call: &'a Request) -> Result<&'a str, &'static str> {
        let header = |name: &str| call.headers.get(name).map(String::as_str);
        if call.path != PATH {
            return Err(UNKNOWN_PATH);
        }
        if call.method != "POST" {
            return Err("not posted");
        }
        if call.body.len() >= BODY_BYTES_MAX {
            return Err(TOO_LARGE);
        }
        let (Some(id), Some(time), Some(signatures)) =
            (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"))
        else {
            return Err(UNSIGNED);
        };
        let seconds: i64 = time.parse().map_err(|_| UNSIGNED)?;
        if (self.now() - seconds).abs() > TOLERANCE_SECONDS {
            return Err(TOO_OLD);
        }
        let signed = [id.as_bytes(), b".", time.as_bytes(), b".", &call.body].concat();
        let mut right = false;
        for secret in &self.secrets {
            let bytes = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("a secret");
            let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
            for signature in signatures.split(' ') {
                let bytes = signature.strip_prefix("v1,").and_then(|text| BASE64_STANDARD.decode(text).ok());
                // In constant time, as ring compares.
                right |= bytes.is_some_and(|bytes| hmac::verify(&key, &signed, &bytes).is_ok());
            }
        }
        if !right {
            return Err(WRONG_SIGNATURE);
        }
        let kind = header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
        if kind != "application/cloudevents+json" {
            return Err("another content type");
        }
        let event: Value = serde_json::from_slice(&call.body).map_err(|_| "no JSON")?;
        let text = |name: &str| event[name].as_str().filter(|text| !text.is_empty());
        let whole = text("specversion") == Some("1.0")
            && text("id") == Some(id)
            && text("type").is_some()
            && text("source").is_some_and(|source| source.is_ascii() && !source.contains(' '))
            && text("time").is_none_or(|time| time.ends_with('Z') && time.contains('T'))
            && text("datacontenttype") == Some("application/json")
            && event["data"].is_object();
        if whole { Ok(id) } else { Err("no CloudEvent") }
    }
}

/// A server configuration whose certificate a private authority issued, and that authority's certificate.
fn certified() -> (Arc<ServerConfig>, String) {
    let mut authority = CertificateParams::new(Vec::new()).expect("no names to be wrong");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().expect("ring makes a key");
    let authority_pem = authority.self_signed(&authority_key).expect("a fresh key signs").pem();
    let issuer = Issuer::new(authority, authority_key);
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("the name is good");
    let leaf_key = KeyPair::generate().expect("ring makes a key");
    let leaf = leaf.signed_by(&leaf_key, &issuer).expect("a fresh key signs");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring speaks the default versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("key and certificate were made together");
    (Arc::new(config), authority_pem)
}

const PATH: &str = "/hooks/findings";

/// How old a signature may be, as the specification's libraries have it.
const TOLERANCE_SECONDS: i64 = 5 * 60;

const BODY_BYTES_MAX: usize = 20 * 1024;

/// Longer than any client waits.
const HANG_MAX: Duration = Duration::from_mins(2);

const UNSIGNED: &str = "unsigned";
const TOO_OLD: &str = "too old or too new";
const WRONG_SIGNATURE: &str = "wrong signature";
const TOO_LARGE: &str = "too large";
const UNKNOWN_PATH: &str = "unknown path";
