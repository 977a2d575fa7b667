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
    /// The connection is reset instead of an answer.
    Reset {
        times: usize,
    },
    /// The right answer with its right length, but the connection is reset halfway through the body.
    ResetBody {
        times: usize,
    },
    /// The right answer, its body in so many pieces with a pause before each but the first.
    Drip {
        pieces: usize,
        pause: Duration,
        times: usize,
    },
    /// The right answer in its right form, but not telling the truth. Only the two searches can be twisted; any other
    /// call is answered as ever.
    Twist {
        twist: Twist,
        times: usize,
    },
}

/// How the answer of a search departs from the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twist {
    /// No row and a total of 0, while the facets count on.
    Empty,
    /// No row, a total of 0, and no facet counts anything.
    EmptyThroughout,
    /// The totals and the sum of each facet are lower by this many. The rows are all there.
    Undercount { by: usize },
    /// The totals, the sum of each facet and the rows are lower by this many: the answer agrees with itself, and the
    /// last rows of its order are in none of its pages.
    Shortened { by: usize },
    /// The totals and the facets are right, but this many rows are missing at the end of the page.
    RowsMissing { rows: usize },
    /// Every page after the first has the rows of the page before it.
    PageRepeated,
    /// The first row of every page after the first is the last row of the page before it, so that one is missing.
    RowRepeated,
    /// The list of facets is empty.
    FacetsEmpty,
    /// There is no list of facets at all.
    FacetsAbsent,
}

/// How often a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Times(usize),
    /// The n-th, 2n-th, 3n-th call, until the faults are cleared.
    EveryNth(usize),
    /// Every call, until the faults are cleared.
    Always,
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

    /// 503 in SonarQube's own words while its index is built anew.
    pub fn indexing(times: usize) -> Fault {
        let message = "Results are temporarily unavailable. Indexing of issues is in progress.";
        Fault::json(503, &format!(r#"{{"errors":[{{"msg":"{message}"}}]}}"#), times)
    }

    /// 500 as a Server answers when something broke inside.
    pub fn internal_error(times: usize) -> Fault {
        let message = "An error has occurred. Please contact your administrator";
        Fault::json(500, &format!(r#"{{"errors":[{{"msg":"{message}"}}]}}"#), times)
    }

    /// 401 with neither body nor type, as for a bad token.
    pub fn unauthorized(times: usize) -> Fault {
        Fault::json(401, "", times)
    }

    pub fn twist(twist: Twist, times: usize) -> Fault {
        Fault::Twist { twist, times }
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

    fn times(&self) -> usize {
        match self {
            Fault::Status { times, .. }
            | Fault::CutBody { times }
            | Fault::NoAnswer { times }
            | Fault::Reset { times }
            | Fault::ResetBody { times }
            | Fault::Drip { times, .. }
            | Fault::Twist { times, .. } => *times,
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
    faults: Mutex<Vec<Trap>>,
    holds: Mutex<Vec<Arc<Gatekeeper>>>,
}

impl Traps {
    /// As often as the fault itself says.
    pub(super) fn add(&self, matches: Matches, fault: Fault) {
        self.add_by(When::Times(fault.times()), matches, fault);
    }

    pub(super) fn add_by(&self, when: When, matches: Matches, fault: Fault) {
        assert!(when != When::EveryNth(0), "there is no 0th call");
        lock(&self.faults).push(Trap { matches, fault, when, seen: 0 });
    }

    pub(super) fn clear(&self) {
        lock(&self.faults).clear();
    }

    /// The fault for this call. Faults added after it neither strike nor count the call.
    pub(super) fn strike(&self, call: &Call) -> Option<Fault> {
        let mut faults = lock(&self.faults);
        let trap = faults.iter_mut().find_map(|trap| ((trap.matches)(call) && trap.is_due()).then_some(trap))?;
        Some(trap.fault.clone())
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

struct Trap {
    matches: Matches,
    fault: Fault,
    when: When,
    /// The matching calls so far.
    seen: usize,
}

impl Trap {
    /// Counts a matching call and says whether it is struck.
    fn is_due(&mut self) -> bool {
        self.seen += 1;
        match self.when {
            When::Times(times) => self.seen <= times,
            When::EveryNth(n) => self.seen.is_multiple_of(n),
            When::Always => true,
        }
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
