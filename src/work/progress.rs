//! How far the running reads are, in memory only.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::ids::ScopeId;

/// How far one read is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    /// Findings read.
    pub read: u64,
    /// Findings that Sonar says there are.
    pub expected: u64,
    /// Whether it was interrupted, further on than where it began.
    pub interrupted: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Progress {
    running: Mutex<BTreeMap<ScopeId, Step>>,
}

impl Progress {
    /// Notes how far a read is.
    pub fn set(&self, scope: ScopeId, step: Step) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(scope, step);
    }

    /// Notes that a read is over.
    pub fn end(&self, scope: ScopeId) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&scope);
    }

    /// How far a scope's read is, if one is running.
    pub fn of(&self, scope: ScopeId) -> Option<Step> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).get(&scope).copied()
    }

    /// How many reads are running, and how many findings they have read and expect together.
    pub fn sum(&self) -> (u64, u64, u64) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.values().fold((0, 0, 0), |(count, read, expected), step| {
            (count + 1, read + step.read, expected + step.expected.max(step.read))
        })
    }

    /// How many reads are running.
    pub fn running(&self) -> u64 {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }
}
