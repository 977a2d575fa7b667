//! What strangers meet on both listeners before anything of theirs costs much: networks that may call, proxies that are
//! believed, budgets for what was in vain, and counts of all that was refused. Nothing of it is ever written to disk, and
//! of the log it takes a few lines a minute.

use std::array;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use hyper::HeaderMap;

use super::connections::Door;
use crate::domain::condition::{Condition, Urgency};
use crate::domain::gate::{Gate, Sender, Spent};
use crate::domain::limits;
use crate::domain::networks::{self, Networks};
use crate::domain::settings::REFUSE;
use crate::sys::acme::challenges::Challenges;
use crate::sys::clock::Clock;

/// Which listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// That takes webhooks.
    Webhook,
    /// That serves the page and the API over the network.
    Page,
}

/// Why something was refused or cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A call without a right signature.
    Signature,
    /// Too much in vain from that address before.
    Budget,
    /// Not from a network that may call.
    Network,
    /// To no endpoint.
    UnknownEndpoint,
    /// Not what Sonar sends: method or type.
    NotAWebhook,
    /// A body over the limit.
    TooLarge,
    /// A head or body that did not come in time.
    Slow,
    /// A head that cannot be read, or is too large.
    Headers,
    /// A TLS handshake that failed.
    Handshake,
    /// One that did not come to its end.
    HandshakeTimeout,
}

impl Reason {
    /// All of them, as metrics name them.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::Signature, "signature"),
        (Self::Budget, "budget"),
        (Self::Network, "network"),
        (Self::UnknownEndpoint, "unknown_endpoint"),
        (Self::NotAWebhook, "not_a_webhook"),
        (Self::TooLarge, "too_large"),
        (Self::Slow, "slow"),
        (Self::Headers, "headers"),
        (Self::Handshake, "handshake"),
        (Self::HandshakeTimeout, "handshake_timeout"),
    ];
}

/// What one listener refused since the start.
#[derive(Debug)]
pub struct Refusals([AtomicU64; Reason::ALL.len()]);

impl Default for Refusals {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Refusals {
    /// Counts one.
    pub fn count(&self, reason: Reason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many, by reason.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Reason::ALL.iter().map(|&(reason, name)| (name, self.0[reason as usize].load(Ordering::Relaxed)))
    }
}

/// What was set, and can be set anew at any time.
#[derive(Debug, Clone, Default)]
struct Rules {
    /// Proxies whose word about addresses counts.
    trusted: Networks,
    /// Who may call; everybody where there is no list.
    networks: Option<Networks>,
    /// Whether others are refused, and not only counted.
    refuses: bool,
    /// The webhook listener speaks no TLS: something stands in front of it.
    is_plain: bool,
}

/// See the module.
pub struct Border {
    /// The two listeners.
    doors: [Door; 2],
    rules: RwLock<Arc<Rules>>,
    gate: Mutex<Gate>,
    lines: Mutex<[Lines; 4]>,
    outside: AtomicU64,
    /// Whether the page asks for client certificates.
    page_asks: AtomicBool,
    troubles: Mutex<BTreeMap<&'static str, String>>,
    challenges: OnceLock<Arc<Challenges>>,
    clock: Clock,
}

/// Lines of one kind that the log was given.
#[derive(Debug, Default)]
struct Lines {
    spent: Spent,
    left_out: u64,
}

/// A kind of line.
#[derive(Clone, Copy)]
enum About {
    Budget,
    Silence,
    Network,
    Accept,
}

/// What becomes of a connection, by where it comes from.
pub(super) enum Coming {
    /// It may not call.
    Refused,
    /// It may; counted for this address, if for one.
    Welcome(Option<Sender>),
}

impl Border {
    /// One that lets everybody try, until it is told otherwise.
    pub fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            doors: [
                Door::new(limits::WEBHOOK_CONNECTIONS_MAX, limits::WEBHOOK_CONNECTIONS_PER_SENDER),
                Door::new(limits::ADMIN_CONNECTIONS_MAX, limits::ADMIN_CONNECTIONS_PER_SENDER),
            ],
            rules: RwLock::default(),
            gate: Mutex::default(),
            lines: Mutex::default(),
            outside: AtomicU64::new(0),
            page_asks: AtomicBool::new(false),
            troubles: Mutex::default(),
            challenges: OnceLock::new(),
            clock,
        })
    }

    /// One of the listeners.
    pub fn door(&self, which: Which) -> &Door {
        &self.doors[which as usize]
    }

    /// Calls and connections from outside the networks that may call, refused or not.
    pub fn outside(&self) -> u64 {
        self.outside.load(Ordering::Relaxed)
    }

    /// What the settings say: `trusted-proxies` and `webhook-networks-mode`, which were checked when they were set.
    pub fn heed(&self, proxies: Option<&str>, mode: Option<&str>) {
        let trusted = proxies.and_then(|proxies| Networks::parse_list(proxies).ok()).unwrap_or_default();
        self.change(|rules| {
            rules.trusted = trusted;
            rules.refuses = mode == Some(REFUSE);
        });
    }

    /// Who may call; false if it was the same before.
    pub fn set_networks(&self, networks: Option<Networks>) -> bool {
        let is_new = self.rules().networks != networks;
        self.change(|rules| rules.networks = networks);
        is_new
    }

    /// Whether there is a list of who may call.
    pub fn has_networks(&self) -> bool {
        self.rules().networks.is_some()
    }

    /// Who may come, in sentences: to the webhooks, through which proxies, and to the page.
    pub fn described(&self) -> [(&'static str, String); 3] {
        let rules = self.rules();
        let outside = self.outside();
        let networks = match &rules.networks {
            None => "webhooks may come from everywhere".to_owned(),
            Some(list) => {
                let (count, done) =
                    (list.count(), if rules.refuses { "refused" } else { "let in, as the list is tried out" });
                format!("webhooks may come from {count} networks; {outside} from elsewhere were {done} since the start")
            }
        };
        let proxies = match rules.trusted.count() {
            0 if rules.is_plain => {
                "none is trusted, so that all webhooks seem to come from the one in front".to_owned()
            }
            0 => "none is trusted; callers are known by the address that they connect from".to_owned(),
            count => format!("{count} are trusted to forward the address of who calls"),
        };
        let page = if self.page_asks.load(Ordering::Relaxed) {
            "the page asks for a client certificate (mutual TLS) over the network"
        } else {
            "the page asks for no client certificate over the network"
        };
        [("networks", networks), ("proxies", proxies), ("page", page.to_owned())]
    }

    /// Whether the page asks for client certificates.
    pub fn set_page_asks(&self, asks: bool) {
        self.page_asks.store(asks, Ordering::Relaxed);
    }

    /// Where an ACME server's proofs are laid out: as long as one is, it may come from anywhere.
    pub fn set_challenges(&self, challenges: Arc<Challenges>) {
        let _ = self.challenges.set(challenges);
    }

    /// That the webhook listener speaks no TLS.
    pub fn set_plain(&self) {
        self.change(|rules| rules.is_plain = true);
    }

    /// Whether all webhooks come from a proxy that nobody named: then its address says nothing about who calls.
    pub fn tells_nobody_apart(&self) -> bool {
        let rules = self.rules();
        rules.is_plain && rules.trusted.is_empty()
    }

    /// Notes why a file was not taken, by the condition's code, or that all is well with it.
    pub fn note(&self, code: &'static str, trouble: Option<String>) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(trouble) => troubles.insert(code, trouble),
            None => troubles.remove(code),
        };
    }

    /// Whose address counts for a request.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let lines = headers.get_all("x-forwarded-for").into_iter().map(hyper::header::HeaderValue::as_bytes);
        networks::client(peer, &self.rules().trusted, lines)
    }

    /// Whom a webhook call is counted for; nobody where all come from a proxy that nobody was named for: its address is
    /// Sonar's as much as anybody's.
    pub(super) fn sender(&self, client: IpAddr) -> Option<Sender> {
        (!self.tells_nobody_apart()).then(|| Sender::of(client))
    }

    pub(super) fn coming(&self, which: Which, from: IpAddr) -> Coming {
        // A proxy that is trusted says for each request whose it is.
        if self.rules().trusted.contains(from) {
            return Coming::Welcome(None);
        }
        let sender = match which {
            // Where an ACME server comes from nobody knows; its calls are refused like others'.
            Which::Webhook if !self.awaits_proof() && self.keeps_out(from) => return Coming::Refused,
            Which::Webhook => self.sender(from),
            Which::Page => Some(Sender::of(from)),
        };
        match sender {
            Some(sender) if self.turns_away(which, sender) => Coming::Refused,
            sender => Coming::Welcome(sender),
        }
    }

    /// Whether a connection is closed because too many of that address brought nothing.
    fn turns_away(&self, which: Which, sender: Sender) -> bool {
        let Some(refused) = self.gate().turns_away(sender, self.clock.steady()) else { return false };
        self.count(which, Reason::Budget);
        if refused.begins
            && let Some(more) = self.line(About::Silence)
        {
            tracing::warn!("connections from {sender} are closed for now: too many ended without a request{more}");
        }
        true
    }

    /// Notes a connection that ended without a request.
    pub(super) fn silent(&self, sender: Sender) {
        self.gate().silent(sender, self.clock.steady());
    }

    /// Whether a call is refused whose connection was let in for the sake of a proxy, or of a proof.
    pub(super) fn keeps_out_of(&self, peer: IpAddr, client: IpAddr) -> bool {
        let rules = self.rules();
        (rules.refuses || rules.trusted.contains(peer)) && self.keeps_out(client)
    }

    fn awaits_proof(&self) -> bool {
        self.challenges.get().is_some_and(|challenges| challenges.awaits_tls())
    }

    /// Whether who calls from there is refused. Where the list is only tried out, it is logged.
    fn keeps_out(&self, client: IpAddr) -> bool {
        let rules = self.rules();
        if rules.networks.as_ref().is_none_or(|networks| networks.contains(client)) {
            return false;
        }
        self.outside.fetch_add(1, Ordering::Relaxed);
        if rules.refuses {
            self.count(Which::Webhook, Reason::Network);
        }
        if let Some(more) = self.line(About::Network) {
            if rules.refuses {
                tracing::info!("refused {client}: it is in none of the networks that may send webhooks{more}");
            } else {
                tracing::info!(
                    "{client} is in none of the networks that may send webhooks; it was let in, as webhook-networks-mode \
                     is `log`{more}"
                );
            }
        }
        rules.refuses
    }

    /// How long a sender has to wait before anything of theirs is read.
    pub(super) fn refuses(&self, sender: Option<Sender>) -> Option<Duration> {
        let sender = sender?;
        let refused = self.gate().refuses(sender, self.clock.steady())?;
        self.count(Which::Webhook, Reason::Budget);
        if refused.begins
            && let Some(more) = self.line(About::Budget)
        {
            tracing::warn!(
                "webhook calls from {sender} are answered 429 for now: too many had a wrong signature. Calls of SonarQube \
                 from there are refused, too; what they would tell is found by the regular reads{more}"
            );
        }
        Some(refused.wait)
    }

    pub(super) fn wrong_signature(&self, sender: Option<Sender>, bytes: usize) {
        self.count(Which::Webhook, Reason::Signature);
        if let Some(sender) = sender {
            self.gate().wrong_signature(sender, bytes as u64, self.clock.steady());
        }
    }

    pub(super) fn in_vain(&self, sender: Option<Sender>, reason: Reason, bytes: usize) {
        self.count(Which::Webhook, reason);
        if let Some(sender) = sender {
            self.gate().in_vain(sender, bytes as u64, self.clock.steady());
        }
    }

    /// Notes a call that is none of Sonar's; how long to wait if there are too many.
    pub(super) fn stray(&self, sender: Option<Sender>, reason: Reason) -> Option<Duration> {
        let wait = sender.and_then(|sender| self.gate().stray(sender, self.clock.steady()));
        self.count(Which::Webhook, if wait.is_some() { Reason::Budget } else { reason });
        wait
    }

    pub(super) fn not_accepted(&self, what: &str, error: &std::io::Error) {
        if let Some(more) = self.line(About::Accept) {
            tracing::warn!("a connection to the {what} could not be accepted: {error}{more}");
        }
    }

    /// Counts what was refused.
    pub fn count(&self, which: Which, reason: Reason) {
        self.door(which).refusals.count(reason);
    }

    /// Addresses whose calls are refused for now.
    pub fn refused_senders(&self) -> usize {
        self.gate().refused(self.clock.steady()).len()
    }

    /// What an operator should know of it.
    pub fn conditions(&self) -> Vec<Condition> {
        let refused = self.gate().refused(self.clock.steady());
        let names: Vec<_> = refused.iter().take(NAMES_MAX).map(ToString::to_string).collect();
        let more = match refused.len() - names.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let refused = (!refused.is_empty()).then(|| Condition {
            urgency: Urgency::Info,
            code: "webhook_sender_refused",
            text: format!(
                "webhook calls from {}{more} are refused for now, as too many had a wrong signature; calls of SonarQube from \
                 there are refused, too, and what they would tell is found by the regular reads",
                names.join(", ")
            ),
            remedy: "nothing, if those are strangers; if SonarQube calls from there, give its webhook the right secret: \
                     hydrophone webhook show ORG --reveal"
                .to_owned(),
        });
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let troubles = troubles.iter().map(|(code, trouble)| Condition {
            urgency: Urgency::Error,
            code,
            text: trouble.clone(),
            remedy: "mend it, then run `systemctl reload hydrophone`".to_owned(),
        });
        let rules = self.rules();
        let unlisted = (rules.refuses && rules.networks.is_none()).then(|| Condition {
            urgency: Urgency::Warning,
            code: "webhook_networks_missing",
            text: "webhook-networks-mode is `refuse`, but there is no list of networks: webhooks may come from everywhere"
                .to_owned(),
            remedy: "put one network a line into /etc/hydrophone/webhook-networks, or where `serve --webhook-networks` says, \
                     and run `systemctl reload hydrophone`; or `hydrophone config set webhook-networks-mode log`"
                .to_owned(),
        });
        troubles.chain(refused).chain(unlisted).collect()
    }

    /// Whether the log is given another line of a kind, and then what to add to it.
    fn line(&self, about: About) -> Option<String> {
        let now = self.clock.steady();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Lines { spent, left_out } = &mut lines[about as usize];
        if spent.wait(limits::LINES_ABOUT_STRANGERS, now).is_some() {
            *left_out += 1;
            return None;
        }
        spent.spend(limits::LINES_ABOUT_STRANGERS, 1, now);
        match std::mem::take(left_out) {
            0 => Some(String::new()),
            more => Some(format!(" ({more} lines like this one were left out)")),
        }
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Rules)) {
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut rules));
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Addresses named in one condition.
const NAMES_MAX: usize = 3;
