//! A simulated SonarQube: a real HTTP server over a small model, with the answers, refusals, oddities and webhooks of
//! SonarQube Cloud or of a SonarQube Server. It shares no code with the product, so that a misunderstanding in one is
//! not repeated in the other.
//!
//! `Sonar` is the handle a test holds. `model` is what SonarQube knows and how that changes, `api` and `search` what it
//! answers, `params` what it refuses, `webhook` what it sends, `faults` what goes wrong.

#![allow(dead_code, unreachable_pub, reason = "every test that includes this uses its own part of it")]

mod analysis;
mod api;
mod dates;
mod edition;
mod faults;
mod hooks_api;
mod hotspots;
mod http;
mod issue;
mod json;
mod model;
mod params;
mod render;
mod rules;
mod search;
mod tls;
mod triage;
mod webhook;
mod words;

use std::fmt;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_rustls::rustls::ServerConfig;

#[allow(unused_imports, reason = "every test that includes this uses its own part of it")]
pub use self::{
    analysis::{Analysis, Verdict},
    dates::{DAY_SECONDS, Zone},
    edition::{Edition, Mode},
    faults::{Fault, Twist},
    issue::{Change, Hotspot, Issue, Step, TextRange},
    model::{
        AnalysisRecord, Branch, Browse, Condition, Gate, Model, Organization, Place, Project, Settings, Target, Token,
    },
    rules::{Raises, Rule},
    webhook::{Delivered, LoggedDelivery, Webhook, signature},
    words::{
        GateStatus, HotspotResolution, HotspotStatus, ImpactSeverity, IssueStatus, IssueType, Probability, Quality,
        Resolution, Severity, Status,
    },
};

#[allow(unused_imports, reason = "every test that includes this uses its own part of it")]
pub use super::web::{Hold, Moment, When};
use super::web::{lock, path_starts};

use self::api::Host;
use self::faults::{Matches, Traps};
use self::webhook::{Event, Sender};

/// The handle of a running simulation, which ends when it is dropped.
pub struct Sonar {
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
    url: String,
    api_url: String,
    token: String,
    admin_token: String,
    ca_pem: Option<String>,
}

/// What the handle, the server and the sender share.
struct Shared {
    model: Mutex<Model>,
    calls: Mutex<Vec<Call>>,
    traps: Traps,
    /// What new connections are shown, with HTTPS.
    tls: Mutex<Option<Arc<ServerConfig>>>,
    offline: AtomicBool,
    sender: Sender,
    runtime: Handle,
}

/// One request that was answered, in the order of the answers. A connection cut without an answer has status 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// With its leading slash.
    pub path: String,
    pub method: String,
    pub query: Vec<(String, String)>,
    pub status: u16,
}

impl Call {
    /// The value of a parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }
}

/// The identity of an analysis task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TaskId(pub String);

impl fmt::Display for TaskId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Sonar {
    const TOKEN: &str = "squ_3f1c5e0b7a9d4e2c8b6a1f0e9d8c7b6a5f4e3d2c";
    const ADMIN_TOKEN: &str = "squ_0a1b2c3d4e5f60718293a4b5c6d7e8f901234567";

    /// Starts on a free port of the loopback address.
    pub fn start(mode: Mode) -> Sonar {
        Sonar::start_with(mode, false)
    }

    /// Starts with HTTPS and a certificate of a private authority, see `ca_pem`.
    pub fn start_tls(mode: Mode) -> Sonar {
        Sonar::start_with(mode, true)
    }

    fn start_with(mode: Mode, secure: bool) -> Sonar {
        let (tls, ca_pem) = if secure { Some(tls::server()).unzip() } else { (None, None) };
        let scheme = if secure { "https" } else { "http" };
        let listen = || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback address has a free port");
            listener.set_nonblocking(true).expect("a socket can be made non-blocking");
            let address = listener.local_addr().expect("a bound socket has an address");
            (listener, format!("{scheme}://{address}"))
        };
        let (web, url) = listen();
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("sonar")
            .enable_all()
            .build()
            .expect("threads start");
        let mut model = Model::new(mode, &url);
        model.add_token(Self::TOKEN, Browse::All);
        let admin = model.add_token(Self::ADMIN_TOKEN, Browse::All);
        (admin.admin, admin.administers_issues, admin.administers_hotspots) = (true, true, true);
        let shared = Arc::new(Shared {
            model: Mutex::new(model),
            calls: Mutex::default(),
            traps: Traps::default(),
            tls: Mutex::new(tls),
            offline: AtomicBool::new(false),
            sender: Sender::new(),
            runtime: runtime.handle().clone(),
        });
        runtime.spawn(http::serve(web, Arc::clone(&shared), Host::Web));
        let api_url = if mode == Mode::Cloud {
            let (api, api_url) = listen();
            runtime.spawn(http::serve(api, Arc::clone(&shared), Host::Api));
            api_url
        } else {
            format!("{url}/api/v2")
        };
        let [token, admin_token] = [Self::TOKEN, Self::ADMIN_TOKEN].map(str::to_owned);
        Sonar { shared, runtime: Some(runtime), url, api_url, token, admin_token, ca_pem }
    }

    /// The private authority's certificate, when started with HTTPS.
    pub fn ca_pem(&self) -> Option<String> {
        self.ca_pem.clone()
    }

    /// From now on its certificate is of another authority, which has the same name.
    pub fn change_authority(&self) {
        *lock(&self.shared.tls) = Some(tls::server().0);
    }

    /// The web address; the v1 API is under `/api`.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The root of the v2 API: Cloud's second host, a Server's `/api/v2`.
    pub fn api_url(&self) -> String {
        self.api_url.clone()
    }

    /// Browses every project and administers nothing.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Browses every project, and may manage webhooks and decide about issues and hotspots.
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// Changes (or reads) the model under its lock.
    pub fn edit<R>(&self, change: impl FnOnce(&mut Model) -> R) -> R {
        let mut model = lock(&self.shared.model);
        model.found.forget();
        change(&mut model)
    }

    pub fn requests(&self) -> Vec<Call> {
        lock(&self.shared.calls).clone()
    }

    pub fn forget_requests(&self) {
        lock(&self.shared.calls).clear();
    }

    /// Analyses a branch: the closure says what changed; then the date is set, the gate judged and webhooks sent.
    pub fn analyse<'a>(
        &self,
        project: &str,
        target: impl Into<Target<'a>>,
        change: impl FnOnce(&mut Analysis),
    ) -> TaskId {
        let target = target.into();
        self.edit(|model| {
            let event = analysis::analyse(model, project, target, change);
            let task = event.task.clone().expect("an analysis is a task");
            self.send(model, project, target, &event);
            task
        })
    }

    /// A task that fails: nothing changes, yet webhooks are sent.
    pub fn send_failed_task<'a>(&self, project: &str, target: impl Into<Target<'a>>) -> TaskId {
        let target = target.into();
        self.edit(|model| {
            let task = TaskId(model.new_key());
            let at = model.now();
            let event = Event {
                task: Some(task.clone()),
                failed: true,
                analysed_at: Some(at),
                changed_at: at,
                revision: None,
                gate: None,
                properties: Vec::new(),
            };
            self.send(model, project, target, &event);
            task
        })
    }

    /// A person changes issues. Webhooks are sent, without a task, only if that turns the gate; says whether it did.
    pub fn triage<'a>(&self, project: &str, target: impl Into<Target<'a>>, change: impl FnOnce(&mut Model)) -> bool {
        let target = target.into();
        self.edit(|model| {
            change(model);
            let gate = model.judge(project, target);
            self.turn_gate(model, project, target, gate)
        })
    }

    /// Turns the gate of a branch to its other colour, as if by a person's change, and sends the webhooks.
    pub fn gate_flip<'a>(&self, project: &str, target: impl Into<Target<'a>>) {
        let target = target.into();
        self.edit(|model| {
            let old = model.branch_mut(project, target).gate.as_ref().map(|gate| gate.status);
            let gate = match old {
                Some(GateStatus::Error) => Gate::sonar_way(GateStatus::Ok, 1),
                Some(GateStatus::Ok) | None => Gate::sonar_way(GateStatus::Error, 5),
            };
            self.turn_gate(model, project, target, Some(gate));
        });
    }

    fn turn_gate(&self, model: &mut Model, project: &str, target: Target<'_>, gate: Option<Gate>) -> bool {
        let at = model.now();
        let branch = model.branch_mut(project, target);
        let old = std::mem::replace(&mut branch.gate, gate.clone());
        if old.map(|gate| gate.status) == gate.as_ref().map(|gate| gate.status) {
            return false;
        }
        let last = branch.analyses.last();
        let (analysed_at, revision) = (last.map(|one| one.date), last.and_then(|one| one.revision.clone()));
        let event =
            Event { task: None, failed: false, analysed_at, changed_at: at, revision, gate, properties: Vec::new() };
        self.send(model, project, target, &event);
        true
    }

    fn send(&self, model: &Model, project: &str, target: Target<'_>, event: &Event) {
        let project = model.project(project).expect("the project was looked up before");
        let branch = project.branches.iter().find(|branch| branch.is(target)).expect("the branch was looked up before");
        webhook::send(&self.shared, model, project, branch, event);
    }

    /// Lets the webhook sender trust a server's certificate or authority.
    pub fn trust(&self, pem: &str) {
        self.shared.sender.trust(pem);
    }

    /// Blocks until this many webhook calls were finished since the start or since they were forgotten.
    pub fn wait_deliveries(&self, count: usize) -> Vec<Delivered> {
        self.shared.sender.wait_finished(count)
    }

    pub fn forget_deliveries(&self) {
        self.shared.sender.forget();
    }

    /// While webhooks get lost they are not sent, but logged as failed: the receiver did not answer in time.
    pub fn lose_webhooks(&self, lose: bool) {
        self.shared.sender.losing.store(lose, Ordering::SeqCst);
    }

    /// Spoils the next answers to calls of a path. Faults strike in the order they were added.
    pub fn fault(&self, path_prefix: &str, fault: Fault) {
        self.shared.traps.add(path_starts(path_prefix), fault);
    }

    pub fn fault_when(&self, matches: impl Fn(&Call) -> bool + Send + Sync + 'static, fault: Fault) {
        self.shared.traps.add(Box::new(matches), fault);
    }

    /// Spoils every n-th call of a path until the faults are cleared, however often the fault says it strikes.
    pub fn fault_every(&self, path_prefix: &str, n: usize, fault: Fault) {
        self.shared.traps.add_by(When::EveryNth(n), path_starts(path_prefix), fault);
    }

    /// Spoils every call of a path until the faults are cleared, however often the fault says it strikes.
    pub fn fault_always(&self, path_prefix: &str, fault: Fault) {
        self.shared.traps.add_by(When::Always, path_starts(path_prefix), fault);
    }

    pub fn fault_by(&self, when: When, matches: impl Fn(&Call) -> bool + Send + Sync + 'static, fault: Fault) {
        self.shared.traps.add_by(when, Box::new(matches), fault);
    }

    pub fn clear_faults(&self) {
        self.shared.traps.clear();
    }

    /// Holds calls of a path before their data are read, until the handle releases them or is dropped.
    pub fn hold(&self, path_prefix: &str) -> Hold {
        self.shared.traps.hold(path_starts(path_prefix), Moment::BeforeReading)
    }

    pub fn hold_when(&self, moment: Moment, matches: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Hold {
        let matches: Matches = Box::new(matches);
        self.shared.traps.hold(matches, moment)
    }

    /// While offline, connections are closed without an answer. Webhooks still leave.
    pub fn set_offline(&self, offline: bool) {
        self.shared.offline.store(offline, Ordering::SeqCst);
    }
}

impl Drop for Sonar {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        if Handle::try_current().is_ok() {
            runtime.shutdown_background();
        } else {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}
