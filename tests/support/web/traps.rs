//! Faults and holds laid out for calls to come.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::faults::{Fault, When};
use super::lock;

/// A call as its simulation notes it.
pub trait Called {
    /// With its leading slash.
    fn path(&self) -> &str;
}

pub type Matches<C> = Box<dyn Fn(&C) -> bool + Send + Sync>;

/// Matches a path's beginning, with or without its leading slash.
pub fn path_starts<C: Called>(prefix: &str) -> Matches<C> {
    let prefix = prefix.trim_start_matches('/').to_owned();
    Box::new(move |call| call.path().trim_start_matches('/').starts_with(&prefix))
}

/// Faults and holds waiting for their request. The first that matches strikes.
pub struct Traps<C, X> {
    faults: Mutex<Vec<Trap<C, X>>>,
    holds: Mutex<Vec<Gatekeeper<C>>>,
}

impl<C, X> Default for Traps<C, X> {
    fn default() -> Traps<C, X> {
        Traps { faults: Mutex::default(), holds: Mutex::default() }
    }
}

impl<C: 'static, X: Clone> Traps<C, X> {
    /// As often as the fault itself says.
    pub fn add(&self, matches: Matches<C>, fault: Fault<X>) {
        self.add_by(When::Times(fault.times()), matches, fault);
    }

    pub fn add_by(&self, when: When, matches: Matches<C>, fault: Fault<X>) {
        assert!(when != When::EveryNth(0), "there is no 0th call");
        lock(&self.faults).push(Trap { matches, fault, when, seen: 0 });
    }

    pub fn clear(&self) {
        lock(&self.faults).clear();
    }

    /// The fault for this call. Faults added after it neither strike nor count the call.
    pub fn strike(&self, call: &C) -> Option<Fault<X>> {
        let mut faults = lock(&self.faults);
        let trap = faults.iter_mut().find_map(|trap| ((trap.matches)(call) && trap.is_due()).then_some(trap))?;
        Some(trap.fault.clone())
    }

    pub fn hold(&self, matches: Matches<C>, moment: Moment) -> Hold {
        let gate = Gate { held: Mutex::new(0), arrived: Condvar::new(), open: watch::Sender::new(false) };
        let gate = Arc::new(gate);
        lock(&self.holds).push(Gatekeeper { matches, moment, gate: Arc::clone(&gate) });
        Hold { gate }
    }

    /// Waits while a hold for this call and this moment is closed.
    pub async fn pass(&self, call: &C, moment: Moment) {
        let gate = {
            let holds = lock(&self.holds);
            let closed = |one: &&Gatekeeper<C>| !*one.gate.open.borrow() && one.moment == moment && (one.matches)(call);
            holds.iter().find(closed).map(|keeper| Arc::clone(&keeper.gate))
        };
        let Some(gate) = gate else { return };
        let mut open = gate.open.subscribe();
        *lock(&gate.held) += 1;
        gate.arrived.notify_all();
        // The sender lives in the gate, so waiting cannot fail.
        let _ = open.wait_for(|open| *open).await;
    }
}

struct Trap<C, X> {
    matches: Matches<C>,
    fault: Fault<X>,
    when: When,
    /// The matching calls so far.
    seen: usize,
}

impl<C, X> Trap<C, X> {
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

/// When a request is held: before the server looks at its data, amid its work where the simulation knows such a moment,
/// or with the finished answer in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    BeforeReading,
    Amid,
    BeforeAnswering,
}

struct Gatekeeper<C> {
    matches: Matches<C>,
    moment: Moment,
    gate: Arc<Gate>,
}

struct Gate {
    held: Mutex<usize>,
    arrived: Condvar,
    open: watch::Sender<bool>,
}

/// Holds matching requests until it is released or dropped.
pub struct Hold {
    gate: Arc<Gate>,
}

impl Hold {
    /// Blocks until this many requests have been caught.
    pub fn wait_held(&self, count: usize) {
        let held = lock(&self.gate.held);
        let waited = self.gate.arrived.wait_timeout_while(held, WAIT_MAX, |held| *held < count);
        let (held, _) = waited.expect("no thread panics while it counts");
        assert!(*held >= count, "waited for {count} held requests, {} came", *held);
    }

    /// Lets the caught go on and catches no more.
    pub fn release(&self) {
        self.gate.open.send_replace(true);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.release();
    }
}

/// How long a test waits for something that must happen.
pub const WAIT_MAX: Duration = Duration::from_secs(20);
