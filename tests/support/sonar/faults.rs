//! What goes wrong on the way: answers of a test's choosing, cut ones, and requests held until the test lets them go.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::{Call, lock};

/// A wrong answer given instead of, or made of, the right one, a number of times.
#[derive(Clone, Debug)]
pub enum Fault {
    Status {
        code: u16,
        body: String,
        content_type: String,
        headers: Vec<(String, String)>,
        times: usize,
    },
    /// The right answer with its right length, but the connection breaks halfway through the body.
    CutBody {
        times: usize,
    },
    /// The connection closes without a word.
    NoAnswer {
        times: usize,
    },
}

impl Fault {
    /// 429 without any hint when to come back, as Cloud answers.
    pub fn too_many_requests(times: usize) -> Fault {
        Fault::json(429, r#"{"errors":[{"msg":"Too many requests"}]}"#, times)
    }

    /// 503 as a proxy in front answers it: HTML.
    pub fn unavailable(times: usize) -> Fault {
        Fault::html(503, times)
    }

    /// An HTML page where JSON was expected.
    pub fn html(code: u16, times: usize) -> Fault {
        let body = "<!DOCTYPE html><html><body><h1>Sorry</h1></body></html>".to_owned();
        Fault::Status { code, body, content_type: "text/html".to_owned(), headers: Vec::new(), times }
    }

    pub fn json(code: u16, body: &str, times: usize) -> Fault {
        let content_type = "application/json".to_owned();
        Fault::Status { code, body: body.to_owned(), content_type, headers: Vec::new(), times }
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Fault {
        if let Fault::Status { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    fn times(&mut self) -> &mut usize {
        match self {
            Fault::Status { times, .. } | Fault::CutBody { times } | Fault::NoAnswer { times } => times,
        }
    }
}

pub(super) type Matches = Box<dyn Fn(&Call) -> bool + Send + Sync>;

/// Matches a path's beginning, with or without its leading slash.
pub(super) fn path_starts(prefix: &str) -> Matches {
    let prefix = prefix.trim_start_matches('/').to_owned();
    Box::new(move |call| call.path.trim_start_matches('/').starts_with(&prefix))
}

/// Faults and holds waiting for their request. The first that matches strikes.
#[derive(Default)]
pub(super) struct Traps {
    faults: Mutex<Vec<(Matches, Fault)>>,
    holds: Mutex<Vec<Arc<Gatekeeper>>>,
}

impl Traps {
    pub(super) fn add(&self, matches: Matches, fault: Fault) {
        lock(&self.faults).push((matches, fault));
    }

    pub(super) fn clear(&self) {
        lock(&self.faults).clear();
    }

    /// The fault for this call, spent by one.
    pub(super) fn strike(&self, call: &Call) -> Option<Fault> {
        let mut faults = lock(&self.faults);
        let (_, fault) = faults.iter_mut().find(|(matches, fault)| *fault.clone().times() > 0 && matches(call))?;
        *fault.times() -= 1;
        Some(fault.clone())
    }

    pub(super) fn hold(&self, matches: Matches, moment: Moment) -> Hold {
        let keeper = Gatekeeper {
            matches,
            moment,
            held: Mutex::new(0),
            arrived: Condvar::new(),
            open: watch::Sender::new(false),
        };
        let keeper = Arc::new(keeper);
        lock(&self.holds).push(Arc::clone(&keeper));
        Hold { keeper }
    }

    /// Waits while a hold for this call and this moment is closed.
    pub(super) async fn pass(&self, call: &Call, moment: Moment) {
        let keeper = {
            let holds = lock(&self.holds);
            let closed = |one: &&Arc<Gatekeeper>| !*one.open.borrow() && one.moment == moment && (one.matches)(call);
            holds.iter().find(closed).map(Arc::clone)
        };
        let Some(keeper) = keeper else { return };
        let mut open = keeper.open.subscribe();
        *lock(&keeper.held) += 1;
        keeper.arrived.notify_all();
        // The sender lives in the keeper, so waiting cannot fail.
        let _ = open.wait_for(|open| *open).await;
    }
}

/// When a request is held: before SonarQube looks at its data, or with the finished answer in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    BeforeReading,
    BeforeAnswering,
}

struct Gatekeeper {
    matches: Matches,
    moment: Moment,
    held: Mutex<usize>,
    arrived: Condvar,
    open: watch::Sender<bool>,
}

/// Holds matching requests until it is released or dropped.
pub struct Hold {
    keeper: Arc<Gatekeeper>,
}

impl Hold {
    /// Blocks until this many requests have been caught.
    pub fn wait_held(&self, count: usize) {
        let held = lock(&self.keeper.held);
        let waited = self.keeper.arrived.wait_timeout_while(held, WAIT_MAX, |held| *held < count);
        let (held, _) = waited.expect("no thread panics while it counts");
        assert!(*held >= count, "waited for {count} held requests, {} came", *held);
    }

    /// Lets the caught go on and catches no more.
    pub fn release(&self) {
        self.keeper.open.send_replace(true);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.release();
    }
}

/// How long a test waits for something that must happen.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(20);
