//! The certificate that the listeners show: chosen among those that there are, exchanged at once, and fetched anew by a
//! thread of its own where an ACME server gives it.

mod choose;
mod fetch;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use self::choose::SecretsOf;
pub use self::choose::{called_host, choose, unfit};
use super::Work;
use crate::domain::certificate::{self, Anchor, Authority, Origin, Way};
use crate::domain::clock::Standing;
use crate::domain::condition::{Condition, Urgency};
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::certificates::{self as kept, Acme, Given, Tried};
use crate::sys::acme::Stop;
use crate::sys::acme::challenges::Challenges;
use crate::sys::bell::Bell;
use crate::sys::guard::EndWithMe;
use crate::sys::loops::Watched;
use crate::sys::pair::{self, BadPair, Judge};
use crate::sys::shown::{BadFiles, Files, Shown, Trouble};
use crate::sys::tls::{self, BadIdentity, Identity, own_names};
use crate::sys::trust::Trust;

/// Where an ACME server may look for its proofs.
#[derive(Debug, Clone, Default)]
pub struct Doors {
    /// The ports of the webhook listener, where there is one.
    pub webhook: Vec<u16>,
    /// Whether it speaks TLS itself.
    pub tls: bool,
    /// The plain listener of http-01.
    pub http: Option<SocketAddr>,
}

/// The listeners' certificate.
pub struct Certificates {
    work: Arc<Work>,
    files: Option<Files>,
    /// The public URL of this run.
    public_url: Option<String>,
    /// Nothing where no listener speaks TLS.
    shown: Option<Arc<Shown>>,
    doors: Doors,
    challenges: Arc<Challenges>,
    state: Mutex<State>,
    bell: Bell,
    stop: Stop,
    /// Spreads attempts.
    share: u8,
}

#[derive(Debug, Default)]
struct State {
    /// Whether a person wants an attempt at once.
    asked: bool,
    /// Whether one is being made.
    working: bool,
}

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum NoCertificate {
    /// The files of an administrator.
    #[error(transparent)]
    Files(#[from] BadFiles),
    /// The box's own.
    #[error(transparent)]
    Identity(#[from] BadIdentity),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a certificate is not taken, or none is fetched.
#[derive(Debug, thiserror::Error)]
pub enum Declined {
    /// It must not be shown.
    #[error(transparent)]
    Pair(#[from] BadPair),
    /// Nobody would show it.
    #[error("neither listener of this box speaks TLS by itself, so that it shows no certificate")]
    Nowhere,
    /// Nobody would answer the server.
    #[error("{0}")]
    NoDoor(&'static str),
    /// It is not fetched from anywhere.
    #[error("no ACME server is set up")]
    NotFetched,
    /// It was asked for too often, or the server wants to be left alone.
    #[error("the next attempt may be made at {0}: the server is not asked more often")]
    NotYet(Timestamp),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something of the box.
    #[error("{0}")]
    Box(String),
}

/// How fetching stands.
#[derive(Debug, Clone)]
pub struct Fetching {
    /// What is fetched, and from where.
    pub acme: Acme,
    /// How it went.
    pub tried: Tried,
    /// Whether an attempt is being made.
    pub working: bool,
    /// When the next one is made by itself.
    pub next: Timestamp,
    /// The certificate that came last.
    pub fetched: Option<(Timestamp, tls::Described)>,
    /// What has to be for the server to see this box.
    pub reach: String,
}

impl Certificates {
    /// Puts it together; [`start`](Self::start) has it fetch.
    pub fn new(
        work: Arc<Work>,
        files: Option<Files>,
        public_url: Option<String>,
        shown: Option<Arc<Shown>>,
        doors: Doors,
        challenges: Arc<Challenges>,
    ) -> Arc<Self> {
        let share = work.dice.byte();
        Arc::new(Self {
            work,
            files,
            public_url,
            shown,
            doors,
            challenges,
            state: Mutex::default(),
            bell: Bell::default(),
            stop: Stop::default(),
            share,
        })
    }

    /// What the listeners show; nothing where none speaks TLS.
    pub fn shown(&self) -> Option<&Arc<Shown>> {
        self.shown.as_ref()
    }

    /// Looks anew which certificate is to be shown, and shows it; whether it is another one. What was shown before stays where
    /// there is none.
    ///
    /// # Errors
    /// If there is none.
    pub fn show_anew(&self) -> Result<bool, NoCertificate> {
        let Some(shown) = &self.shown else { return Ok(false) };
        let (host, before) = (self.host()?, shown.chosen());
        let judge = self.judge(host.as_deref());
        let found = choose(&self.work.store, self.files.as_ref(), self.public_url.as_deref(), &judge, Some(&before));
        match found {
            Ok((chosen, trouble)) => {
                shown.note(trouble);
                Ok(shown.replace(chosen))
            }
            Err(error) => {
                shown.note(Some(Trouble::Other(error.to_string())));
                Err(error)
            }
        }
    }

    /// Takes a certificate, after everything about it was checked, and shows it. What a person should know of it comes back.
    /// None is fetched any more.
    ///
    /// # Errors
    /// If it must not be shown; nothing is changed then.
    pub fn set(&self, chain: &str, key: &str) -> Result<Vec<String>, Declined> {
        if self.shown.is_none() {
            return Err(Declined::Nowhere);
        }
        let host = self.host()?;
        let judge = self.judge(host.as_deref());
        let checked = pair::check(chain, key, &judge)?;
        let chain = pair::pem(&checked.certified.cert);
        let given = Given { fetched: false, chain, key: key.trim().to_owned(), at: judge.now };
        let mut warnings = checked.warnings;
        warnings.extend(self.ends_fetching()?);
        // Admitted on a full disk as deletions are: it takes next to no room.
        self.work.store.delete::<_, StoreError>(move |batch| {
            kept::set_given(batch, Some(&given))?;
            kept::set_acme(batch, None)
        })?;
        warnings.extend(self.show_kept()?);
        Ok(warnings)
    }

    /// Has the box make a certificate of its own anew, and shows it in place of one that was given or fetched.
    ///
    /// # Errors
    /// If it cannot be made or kept.
    pub fn make_own(&self) -> Result<Vec<String>, Declined> {
        if self.shown.is_none() {
            return Err(Declined::Nowhere);
        }
        let host = self.host()?;
        let made = Identity::self_signed(own_names(host.as_deref()));
        let made = made.map_err(|error| Declined::Box(error.to_string()))?;
        let secrets = SecretsOf::from(&made);
        let mut notes = Vec::from_iter(self.ends_fetching()?);
        self.work.store.delete::<_, StoreError>(move |batch| {
            kept::set_given(batch, None)?;
            kept::set_acme(batch, None)?;
            secrets.write(batch)
        })?;
        notes.extend(self.show_kept()?);
        Ok(notes)
    }

    /// Has certificates fetched from now on. What has to be for the server to see this box comes back.
    ///
    /// # Errors
    /// If nobody would answer the server.
    pub fn fetch(&self, acme: Acme) -> Result<Vec<String>, Declined> {
        if self.shown.is_none() {
            return Err(Declined::Nowhere);
        }
        if acme.by_http && self.doors.http.is_none() {
            return Err(Declined::NoDoor(
                "http-01 is answered by a plain listener that this box was not started with; start it with `serve \
                 --acme-http-listen ADDR`, or let systemd pass a socket named acme-http",
            ));
        }
        if !acme.by_http && (self.doors.webhook.is_empty() || !self.doors.tls) {
            return Err(Declined::NoDoor(
                "tls-alpn-01 is answered by the webhook listener, which does not speak TLS on this box; choose http-01 instead",
            ));
        }
        let now = self.work.clock.now();
        let mut tries = self.tried()?.tries();
        let next = tries.next_by_hand(now);
        // What failed with other settings says nothing of these.
        tries.failed = 0;
        let anew = Tried::new(&tries, None);
        let mut notes = Vec::new();
        if next > now {
            notes.push(format!("the first attempt is made at {next}: the server is not asked more often"));
        }
        notes.extend(self.forward(&acme));
        notes.extend(self.covered_by_files());
        self.work.store.delete::<_, StoreError>(move |batch| {
            kept::set_acme(batch, Some(&acme))?;
            kept::set_tried(batch, &anew)
        })?;
        let mut state = self.state();
        state.asked = true;
        // Whoever looks at once must not find what was before.
        state.working = next <= now;
        drop(state);
        self.bell.ring();
        Ok(notes)
    }

    /// Has an attempt made now.
    ///
    /// # Errors
    /// If none may be made.
    pub fn renew(&self) -> Result<(), Declined> {
        if self.work.store.read::<_, StoreError>(kept::acme)?.is_none() {
            return Err(Declined::NotFetched);
        }
        let now = self.work.clock.now();
        let next = self.tried()?.tries().next_by_hand(now);
        if next > now {
            return Err(Declined::NotYet(next));
        }
        let mut state = self.state();
        state.asked = true;
        state.working = true;
        drop(state);
        self.bell.ring();
        Ok(())
    }

    /// How fetching stands, where it is set up.
    ///
    /// # Errors
    /// If the store cannot tell.
    pub fn fetching(&self) -> Result<Option<Fetching>, StoreError> {
        let (acme, given, tried) = self
            .work
            .store
            .read::<_, StoreError>(|view| Ok((kept::acme(view)?, kept::given(view)?, kept::tried(view)?)))?;
        let Some(acme) = acme else { return Ok(None) };
        let fetched = given.filter(|given| given.fetched).and_then(|given| {
            let first = leaf(&given.chain)?;
            Some((given.at, tls::describe(&first)?))
        });
        let now = self.work.clock.now();
        let due =
            fetched.as_ref().filter(|(_, told)| has_all(told, &acme.domains)).map_or(now, |(_, told)| renew_at(told));
        let next = tried.tries().next(now, self.share).max(due);
        let reach = self.reach(&acme);
        Ok(Some(Fetching { acme, tried, working: self.state().working, next, fetched, reach }))
    }

    /// The way on which SonarQube trusts this box.
    pub fn way(&self) -> Way {
        let shown = self.shown.as_ref().map(|shown| shown.chosen()).map(|chosen| (chosen.origin, chosen.anchor));
        certificate::way(!self.doors.webhook.is_empty(), self.doors.tls, shown)
    }

    /// What to do for another certificate in place of the one that is shown.
    pub fn renewal(&self) -> String {
        let origin = self.shown.as_ref().map_or(Origin::Files, |shown| shown.chosen().origin);
        let files = self.files.as_ref();
        let files = files.map(|files| (files.certificate.display().to_string(), files.key.display().to_string()));
        certificate::renewal(origin, files.as_ref().map(|(certificate, key)| (certificate.as_str(), key.as_str())))
    }

    /// What an operator should know of the certificate.
    pub fn conditions(&self) -> Vec<Condition> {
        let now = self.work.clock.now();
        let mut conditions = Vec::new();
        if let Some(shown) = &self.shown {
            conditions.extend(shown.trouble().and_then(|trouble| self.troubled(trouble)));
            conditions.extend(self.misnamed().map(|(text, remedy)| Condition {
                urgency: Urgency::Warning,
                code: "certificate_name",
                text,
                remedy,
            }));
            // What a clock says that is wrong ends nothing, and its own condition names it.
            if let Some(told) = tls::describe(&shown.certificate()).filter(|_| !self.is_clock_wrong()) {
                let (begin, end) = (seconds(told.not_before), seconds(told.not_after));
                let origin = shown.chosen().origin;
                conditions.extend(certificate::ending(origin, begin, end, now, self.renewal()));
            }
        }
        // A store that does not answer, or is locked, has conditions of its own.
        let Ok(Some(fetching)) = self.fetching() else { return conditions };
        let names = fetching.acme.domains.join(", ");
        if let (Some(problem), true) = (&fetching.tried.problem, fetching.tried.tries().failed == 0) {
            conditions.push(Condition {
                urgency: Urgency::Warning,
                code: "certificate_clock",
                text: problem.clone(),
                remedy: fetching.tried.remedy.clone().unwrap_or_default(),
            });
        } else if let (Some(problem), false) = (&fetching.tried.problem, fetching.working) {
            let remedy = fetching.tried.remedy.as_deref().filter(|remedy| !remedy.is_empty());
            let next = format!(
                "the next attempt is made at {}; `hydrophone certificate renew` makes it at once",
                fetching.next
            );
            conditions.push(Condition {
                urgency: if fetching.fetched.is_some() { Urgency::Warning } else { Urgency::Error },
                code: "certificate_not_fetched",
                text: format!("no certificate could be fetched for {names}: {problem}"),
                remedy: remedy.map_or_else(|| next.clone(), |remedy| format!("{remedy}; {next}")),
            });
        } else if fetching.fetched.is_some() && fetching.next <= now && self.is_clock_wrong() {
            conditions.push(Condition {
                urgency: Urgency::Warning,
                code: "certificate_not_fetched",
                text: format!("the certificate for {names} is not fetched anew while this box's clock is wrong"),
                remedy: "set the clock: timedatectl".to_owned(),
            });
        }
        conditions
    }

    /// That what is shown is not what it should be.
    fn troubled(&self, trouble: Trouble) -> Option<Condition> {
        let error = |code, text, remedy| Some(Condition { urgency: Urgency::Error, code, text, remedy });
        match trouble {
            Trouble::Other(why) => error(
                "certificate_broken",
                format!("the listeners show another certificate than they should: {why}"),
                "mend it, then run `systemctl reload hydrophone`".to_owned(),
            ),
            // The first has a condition of its own; the second is over by itself.
            Trouble::Unfit(BadPair::Ended { .. }) => None,
            Trouble::Unfit(BadPair::NotYet { begins, .. }) if begins <= self.work.clock.now() => None,
            Trouble::Unfit(why) => {
                let text = match &self.files {
                    Some(files) => unfit(files, &why),
                    None => why.to_string(),
                };
                error("certificate_unfit", text, format!("{}; then run `systemctl reload hydrophone`", why.remedy()))
            }
        }
    }

    /// That what is shown does not bear the name that SonarQube calls, and what to do. What a proxy shows in this box's place is
    /// not known here.
    pub fn misnamed(&self) -> Option<(String, String)> {
        if self.doors.webhook.is_empty() || !self.doors.tls {
            return None;
        }
        let host = self.host().ok().flatten()?;
        let chosen = self.shown.as_ref()?.chosen();
        let text = pair::misnamed(chosen.certified.cert.first()?, &host)?;
        Some((text, certificate::renaming(chosen.origin, &host)))
    }

    /// The same for whoever set the public URL just now.
    pub fn public_url_note(&self) -> Option<String> {
        let (_, remedy) = self.misnamed()?;
        let host = self.host().ok().flatten()?;
        Some(format!("the certificate does not name {host}: {remedy}"))
    }

    /// The authority that a Server has to be told of; nothing where it is generally known, or there is none.
    pub fn authority(&self) -> Option<Authority> {
        let chosen = self.shown.as_ref()?.chosen();
        let last = tls::describe(chosen.certified.cert.last()?)?;
        let is_private = chosen.anchor == Anchor::Private;
        is_private.then_some(Authority { name: last.issuer, held: last.self_signed })
    }

    /// Starts the thread that fetches.
    pub fn start(self: &Arc<Self>) -> JoinHandle<()> {
        let certificates = Arc::clone(self);
        thread::Builder::new()
            .name("certificates".to_owned())
            .spawn(move || {
                let _guard = EndWithMe("certificates");
                let _watched = Watched::thread("certificates");
                certificates.run();
            })
            .expect("the system can start a thread")
    }

    /// Tells the thread to end after the request that it is at.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.bell.ring();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trust(&self) -> &Trust {
        self.work.sources.trust()
    }

    fn is_clock_wrong(&self) -> bool {
        matches!(self.work.clock_standing(), Standing::Wrong(_))
    }

    fn tried(&self) -> Result<Tried, StoreError> {
        self.work.store.read(kept::tried)
    }

    fn judge<'j>(&'j self, host: Option<&'j str>) -> Judge<'j> {
        Judge { now: self.work.clock.now(), clock_wrong: self.is_clock_wrong(), trust: self.trust(), host }
    }

    /// The host of the public URL.
    fn host(&self) -> Result<Option<String>, StoreError> {
        called_host(&self.work.store, self.public_url.as_deref())
    }

    /// That none will be fetched any more.
    fn ends_fetching(&self) -> Result<Option<String>, StoreError> {
        let acme = self.work.store.read::<_, StoreError>(kept::acme)?;
        Ok(acme.map(|acme| format!("none is fetched from {} any more", acme.directory)))
    }

    /// Shows what was kept just now, or says what stands before it.
    fn show_kept(&self) -> Result<Option<String>, Declined> {
        match self.show_anew() {
            Ok(_) => Ok(self.covered_by_files()),
            Err(NoCertificate::Files(error)) => Ok(Some(format!("the listeners show the former certificate: {error}"))),
            Err(error) => Err(Declined::Box(error.to_string())),
        }
    }

    /// The files that stand before whatever is set or fetched.
    pub fn hidden_by(&self) -> Option<String> {
        let files = self.files.as_ref()?;
        let stands = |shown: &Arc<Shown>| {
            // Those that are not taken stand before it, too.
            let is_refused = matches!(shown.trouble(), Some(Trouble::Other(_))) && files.certificate.exists();
            shown.chosen().origin == Origin::Files || is_refused
        };
        self.shown
            .as_ref()
            .is_some_and(stands)
            .then(|| format!("{} and {}", files.certificate.display(), files.key.display()))
    }

    /// That they do, and what to do.
    fn covered_by_files(&self) -> Option<String> {
        let files = self.hidden_by()?;
        Some(format!(
            "the listeners go on to show {files}, which stand before it: move both away, then systemctl reload hydrophone"
        ))
    }

    /// The port at which the server looks, and the one at which this box listens for that.
    fn ports(&self, acme: &Acme) -> (u16, Option<u16>) {
        if acme.by_http {
            return (80, self.doors.http.map(|door| door.port()));
        }
        let ports = &self.doors.webhook;
        (443, ports.iter().find(|port| **port == 443).or(ports.first()).copied())
    }

    /// What has to be for the server to see this box.
    fn reach(&self, acme: &Acme) -> String {
        let names = acme.domains.join(", ");
        let unit = if acme.by_http { "hydrophone-acme-http.socket" } else { "hydrophone-webhook.socket" };
        match self.ports(acme) {
            (wanted, Some(port)) if port != wanted => format!(
                "let port {wanted} of {names} lead to port {port} of this box: a forward of the router, or `ListenStream={wanted}` \
                 for {unit} (README, Certificates)"
            ),
            (wanted, _) => {
                format!(
                    "let port {wanted} of {names} lead to this box: its DNS record, the router's forward, the firewall"
                )
            }
        }
    }

    /// That a forward is needed.
    fn forward(&self, acme: &Acme) -> Option<String> {
        let (wanted, port) = self.ports(acme);
        let port = port.filter(|port| *port != wanted)?;
        Some(format!("the server looks at port {wanted}, and this box listens on port {port}: {}", self.reach(acme)))
    }
}

/// The certificate of a chain.
fn leaf(chain: &str) -> Option<Vec<u8>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    Some(CertificateDer::from_pem_slice(chain.as_bytes()).ok()?.to_vec())
}

fn has_all(told: &tls::Described, domains: &[String]) -> bool {
    domains.iter().all(|domain| told.names.iter().any(|name| name.eq_ignore_ascii_case(domain)))
}

fn renew_at(told: &tls::Described) -> Timestamp {
    // The same for this certificate whenever it is asked for, and another for the next one.
    let share = u8::from_str_radix(told.fingerprint.get(..2).unwrap_or_default(), 16).unwrap_or_default();
    certificate::renew_at(seconds(told.not_before), seconds(told.not_after), share)
}

fn seconds(seconds: i64) -> Timestamp {
    Timestamp(seconds.saturating_mul(1000))
}

/// How long the thread sleeps at most: the clock may be set meanwhile.
const LOOK_MAX: Duration = Duration::from_hours(1);
