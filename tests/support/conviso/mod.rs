//! A simulated Conviso Platform: its GraphQL API over a small model, as far as the gateway uses it. Documents are
//! parsed, validated and executed by a GraphQL library against a schema that holds only what published clients and
//! documents of Conviso show. It shares no code with the product.
//!
//! `Conviso` is the handle a test holds. `schema` is the text of the schema, `model` what the platform knows and how
//! that changes, `execute` the GraphQL side, `http` the server and what goes wrong on the way.
//!
//! What nobody outside knows of the real platform is a guess, and every guess is a switch in [`Guesses`]; the gateway
//! has to do well under each answer.

#![allow(dead_code, unreachable_pub, reason = "every test that includes this uses its own part of it")]

mod execute;
mod http;
mod model;
mod schema;

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use apollo_compiler::Schema;
use apollo_compiler::validation::Valid;
use serde_json::Value;

#[allow(unused_imports, reason = "every test that includes this uses its own part of it")]
pub use self::model::{Asset, Issue, Model, Sync};

/// The written list of guesses.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub struct Guesses {
    /// By what `createOrUpdate…` knows an issue again.
    pub upsert_key: UpsertKey,
    /// Findings that a batch may have.
    pub batch_max: usize,
    /// How a batch answers where some of it failed.
    pub batch_answer: BatchAnswer,
    /// Whether one bad finding fails the whole batch.
    pub batch_is_atomic: bool,
    /// Values of `ToolTypeCategory` for Sonar.
    pub sonar_tools: &'static [&'static str],
    /// Rows of a page.
    pub per_page_max: usize,
    /// Whether a larger page is refused; otherwise it is silently made smaller.
    pub per_page_refuses: bool,
    /// Whether CREATED may go to `FIX_ACCEPTED` directly.
    pub created_may_be_fixed: bool,
    /// Whether an issue that is reported anew goes from `FIX_ACCEPTED` to IDENTIFIED by itself.
    pub upsert_reopens: bool,
    /// Whether ids of assets in inputs are numbers (`Int!`) or ids (`ID!`).
    pub asset_ids_are_numbers: bool,
    /// Whether a finding needs a snippet of its code.
    pub snippet_required: bool,
    /// Whether `search.name` finds parts of names.
    pub search_finds_parts: bool,
    /// Whether an unknown company is an error; otherwise it is null.
    pub unknown_company_is_an_error: bool,
    /// Whether input types of queries have the names that the gateway supposes.
    pub usual_input_names: bool,
    /// Whether the schema may be asked for.
    pub introspection: bool,
    /// Whether the gateway's secrets have a place of their own.
    pub secrets: bool,
    /// Whether permitted statuses are told.
    pub permitted_status_told: bool,
    /// Whether a request that is not even begun is answered with 400; otherwise with 200.
    pub refusals_are_400: bool,
    /// Whether `errors` is null where there are none; otherwise it is absent.
    pub null_errors: bool,
    /// Searches that pass before a new issue is among what they find.
    pub searches_lag: usize,
}

impl Default for Guesses {
    fn default() -> Self {
        Self {
            upsert_key: UpsertKey::ToolId,
            batch_max: 50,
            batch_answer: BatchAnswer::LeftOut,
            batch_is_atomic: false,
            sonar_tools: &["SONARCLOUD", "SONARQUBE"],
            per_page_max: 100,
            per_page_refuses: false,
            created_may_be_fixed: true,
            upsert_reopens: false,
            asset_ids_are_numbers: true,
            snippet_required: false,
            search_finds_parts: true,
            unknown_company_is_an_error: true,
            usual_input_names: true,
            introspection: true,
            secrets: true,
            permitted_status_told: true,
            refusals_are_400: false,
            null_errors: false,
            searches_lag: 0,
        }
    }
}

/// By what an issue is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpsertKey {
    ToolId,
    ToolIdAndBranch,
    /// Title, file and line.
    Place,
}

/// The list `issues` of a batch's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchAnswer {
    /// Without those that failed.
    LeftOut,
    /// With null for those that failed.
    Padded,
    /// Without those that failed, in another order.
    Reordered,
}

/// What the account's schema has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Batches, branches, `scanRunId`, reasons in the history.
    New,
    /// None of these.
    Old,
    /// As old, and findings can only be created.
    Oldest,
}

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status and this body instead of an answer; nothing is done.
    Answer { status: u16, body: String, headers: Vec<(String, String)> },
    /// It is done, and answered with 500.
    FailsAfterCommit,
    /// It is done, and the connection ends without an answer.
    LosesAnswer,
    /// It is done, and half of the answer's JSON is sent as if it were all.
    CutsJson,
    /// It is done after so long.
    Slow(Duration),
    /// It is done, and answered when the test lets it.
    Waits(Arc<Gate>),
    /// From now on the key is no longer good.
    RevokesKey,
}

impl Fault {
    pub fn status(status: u16) -> Fault {
        Fault::Answer { status, body: r#"{"errors":["sorry"]}"#.to_owned(), headers: Vec::new() }
    }

    /// An error inside a success.
    pub fn error(code: &str, message: &str) -> Fault {
        let error = serde_json::json!({"message": message, "extensions": {"code": code}});
        Fault::Answer {
            status: 200,
            body: serde_json::json!({"errors": [error], "data": null}).to_string(),
            headers: Vec::new(),
        }
    }
}

/// Where an answer waits.
#[derive(Debug, Default)]
pub struct Gate {
    /// Whether one came, and whether it may go on.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    /// Blocks until an answer waits here.
    pub fn wait_held(&self) {
        let waited = self.changed.wait_timeout_while(lock(&self.state), WAIT_MAX, |(held, _)| !*held);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(state.0, "nothing came to wait");
    }

    /// Lets it go on.
    pub fn open(&self) {
        lock(&self.state).1 = true;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = lock(&self.state);
        state.0 = true;
        self.changed.notify_all();
        let waited = self.changed.wait_timeout_while(state, WAIT_MAX, |(_, open)| !*open);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

/// How long anything is waited for.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// One request: the operation, its variables, and the status of the answer (0 if there was none).
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub operation: String,
    pub variables: Value,
    pub status: u16,
}

struct Trap {
    operation: String,
    fault: Fault,
    /// Requests of this operation that pass before it strikes.
    after: usize,
    times: usize,
}

struct Shared {
    model: Mutex<Model>,
    schema: Valid<Schema>,
    guesses: Guesses,
    key: Mutex<String>,
    calls: Mutex<Vec<Call>>,
    traps: Mutex<Vec<Trap>>,
    /// When requests of the last minute came.
    recent: Mutex<Vec<Instant>>,
    per_minute: Mutex<usize>,
    /// What every request is answered with while it is down; 0 for nothing at all.
    down: Mutex<Option<u16>>,
    ended: AtomicBool,
}

/// A running simulation; it ends when this is dropped.
pub struct Conviso {
    shared: Arc<Shared>,
    address: std::net::SocketAddr,
}

impl Conviso {
    pub const KEY: &str = "cvs-key-7f3a";
    /// The one company.
    pub const COMPANY: &str = "42";

    pub fn start() -> Conviso {
        Conviso::start_as(Variant::New, Guesses::default())
    }

    pub fn start_as(variant: Variant, guesses: Guesses) -> Conviso {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback address has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let schema = Schema::parse_and_validate(schema::text(variant, &guesses), "conviso.graphql");
        let shared = Arc::new(Shared {
            model: Mutex::new(Model::new(guesses.clone())),
            schema: schema.unwrap_or_else(|bad| panic!("the schema is wrong: {}", bad.errors)),
            guesses,
            key: Mutex::new(Conviso::KEY.to_owned()),
            calls: Mutex::default(),
            traps: Mutex::default(),
            recent: Mutex::default(),
            per_minute: Mutex::new(1_200),
            down: Mutex::new(None),
            ended: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || http::serve(&listener, &serving));
        Conviso { shared, address }
    }

    pub fn url(&self) -> String {
        format!("http://{}/graphql", self.address)
    }

    /// Changes or reads what it knows.
    pub fn edit<R>(&self, change: impl FnOnce(&mut Model) -> R) -> R {
        change(&mut lock(&self.shared.model))
    }

    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.calls).clone()
    }

    /// How often an operation was asked for.
    pub fn count(&self, operation: &str) -> usize {
        lock(&self.shared.calls).iter().filter(|call| call.operation == operation).count()
    }

    pub fn forget_calls(&self) {
        lock(&self.shared.calls).clear();
    }

    /// Spoils the next request for an operation.
    pub fn fault(&self, operation: &str, fault: Fault) {
        self.fault_times(operation, fault, 0, 1);
    }

    /// Spoils requests for an operation after some have passed.
    pub fn fault_times(&self, operation: &str, fault: Fault, after: usize, times: usize) {
        lock(&self.shared.traps).push(Trap { operation: operation.to_owned(), fault, after, times });
    }

    /// Answers every request with this status, or, with 0, ends each connection without a word.
    pub fn set_down(&self, status: Option<u16>) {
        *lock(&self.shared.down) = status;
    }

    pub fn limit_per_minute(&self, requests: usize) {
        *lock(&self.shared.per_minute) = requests;
    }

    pub fn set_key(&self, key: &str) {
        key.clone_into(&mut lock(&self.shared.key));
    }
}

impl Drop for Conviso {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = std::net::TcpStream::connect(self.address);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
