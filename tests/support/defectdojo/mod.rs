//! A simulated DefectDojo 3.2: a real HTTP server over a small model, with the matching, the refusals and the oddities of
//! the open source edition. It shares no code with the product, so that a misunderstanding in one is not repeated in the
//! other.
//!
//! `DefectDojo` is the handle a test holds. `model` is what DefectDojo knows, `people` what a person does on its pages,
//! `finding` what saving a finding does to it; `reimport` takes files in, `matching` is what they do to findings, `rows`
//! and `sarif` read them; `api`, `edit` and `filter` answer everything else; `faults` is what goes wrong.

#![allow(clippy::struct_field_names, clippy::struct_excessive_bools, reason = "the names and flags are DefectDojo's")]
#![allow(dead_code, unreachable_pub, reason = "every test that includes this uses its own part of it")]

mod answer;
mod api;
mod edit;
mod faults;
mod filter;
mod finding;
mod http;
mod matching;
mod model;
mod multipart;
mod people;
mod reimport;
mod rows;
mod sarif;
mod text;

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::{Builder, Handle, Runtime};

#[allow(unused_imports, reason = "every test that includes this uses its own part of it")]
pub use self::{
    faults::{Fault, Mishap},
    finding::{Finding, Note, Status},
    model::{
        Algorithm, Engagement, Model, Product, ProductType, RiskAcceptance, Settings, Test, TestImport, TestType, User,
    },
};
#[allow(unused_imports, reason = "every test that includes this uses its own part of it")]
pub use super::web::{Hold, Moment, When};
use super::web::{lock, path_starts};

use self::faults::Traps;

/// The handle of a running simulation, which ends when it is dropped.
pub struct DefectDojo {
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

/// What the handle and the server share.
struct Shared {
    model: Mutex<Model>,
    calls: Mutex<Vec<Call>>,
    traps: Traps,
    offline: AtomicBool,
    /// Reimports that nobody waits for, and that are not at their end yet.
    late: Mutex<Vec<reimport::Late>>,
    url: String,
}

/// One request that was answered, in the order of the answers. A connection cut without an answer has status 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub method: String,
    /// With its leading slash.
    pub path: String,
    pub query: Vec<(String, String)>,
    pub token: Option<String>,
    /// A multipart form's fields.
    pub form: Vec<(String, String)>,
    /// A multipart form's file, if it is JSON.
    pub file: Value,
    /// The body of a call that sends JSON.
    pub body: Value,
    pub status: u16,
}

impl Call {
    /// The value of a query's parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    /// The value of a form's field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    pub fn is_reimport(&self) -> bool {
        self.method == "POST" && self.path == "/api/v2/reimport-scan/"
    }

    /// The rows of a reimport's file.
    pub fn rows(&self) -> &[Value] {
        self.file["findings"].as_array().map_or(&[], Vec::as_slice)
    }
}

impl DefectDojo {
    /// The product type that the gateway's user is a member of.
    pub const PRODUCT_TYPE: &str = "Applications";
    /// The gateway's user.
    pub const USER: &str = "hydrophone";

    /// Starts on a free port of the loopback address, with an administrator, one product type and, as its member, the
    /// gateway's user. There are no products.
    pub fn start() -> DefectDojo {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback address has a free port");
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let url = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("defectdojo")
            .enable_all()
            .build()
            .expect("threads start");
        let mut model = Model::new();
        let administrator = model.add_user("admin");
        (administrator.staff, administrator.superuser) = (true, true);
        assert_eq!(administrator.id, people::ADMINISTRATOR, "the first object is the administrator");
        let user = model.add_user(Self::USER).id;
        model.add_product_type(Self::PRODUCT_TYPE).authorized_users.push(user);
        let shared = Arc::new(Shared {
            model: Mutex::new(model),
            calls: Mutex::default(),
            traps: Traps::default(),
            offline: AtomicBool::new(false),
            late: Mutex::default(),
            url,
        });
        runtime.spawn(http::serve(listener, Arc::clone(&shared)));
        DefectDojo { shared, runtime: Some(runtime) }
    }

    /// The web address; the API is under `/api/v2/`.
    pub fn url(&self) -> String {
        self.shared.url.clone()
    }

    /// The token of the gateway's user, unless it was revoked.
    pub fn token(&self) -> String {
        self.token_of(Self::USER)
    }

    pub fn admin_token(&self) -> String {
        self.token_of("admin")
    }

    pub fn token_of(&self, user: &str) -> String {
        self.edit(|model| model.user(user).token.clone().expect("the token was not revoked"))
    }

    /// Makes a token unknown from now on; the user may be given another.
    pub fn revoke_token(&self, user: &str) {
        self.edit(|model| model.user_mut(user).token = None);
    }

    /// Changes (or reads) the model under its lock.
    pub fn edit<R>(&self, change: impl FnOnce(&mut Model) -> R) -> R {
        change(&mut lock(&self.shared.model))
    }

    pub fn requests(&self) -> Vec<Call> {
        lock(&self.shared.calls).clone()
    }

    /// The reimports that were answered, or cut off.
    pub fn reimports(&self) -> Vec<Call> {
        self.requests().into_iter().filter(Call::is_reimport).collect()
    }

    pub fn forget_requests(&self) {
        lock(&self.shared.calls).clear();
    }

    /// Spoils the next answers to calls of a path. Faults strike in the order they were added.
    pub fn fault(&self, path_prefix: &str, fault: Fault) {
        self.shared.traps.add(path_starts(path_prefix), fault);
    }

    pub fn fault_when(&self, matches: impl Fn(&Call) -> bool + Send + Sync + 'static, fault: Fault) {
        self.shared.traps.add(Box::new(matches), fault);
    }

    pub fn fault_by(&self, when: When, matches: impl Fn(&Call) -> bool + Send + Sync + 'static, fault: Fault) {
        self.shared.traps.add_by(when, Box::new(matches), fault);
    }

    /// Spoils every call of a path until the faults are cleared, however often the fault says it strikes.
    pub fn fault_always(&self, path_prefix: &str, fault: Fault) {
        self.shared.traps.add_by(When::Always, path_starts(path_prefix), fault);
    }

    pub fn clear_faults(&self) {
        self.shared.traps.clear();
    }

    /// Holds calls until the handle releases them or is dropped. `Moment::Amid` holds a reimport whose rows are matched and
    /// none of them stored.
    pub fn hold_when(&self, moment: Moment, matches: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Hold {
        self.shared.traps.hold(Box::new(matches), moment)
    }

    /// Lets reimports end that are [late](Mishap::Late), in their order.
    pub fn end_late(&self) {
        let late = std::mem::take(&mut *lock(&self.shared.late));
        for one in late {
            one.end(&self.shared);
        }
    }

    /// While offline, connections are closed without an answer.
    pub fn set_offline(&self, offline: bool) {
        self.shared.offline.store(offline, Ordering::SeqCst);
    }
}

impl Drop for DefectDojo {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        if Handle::try_current().is_ok() {
            runtime.shutdown_background();
        } else {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}
