//! Something that an operator should know: a stable code, a sentence, and what to do about it.

use std::fmt;

/// How much a condition matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Something is not working.
    Error,
    /// Something will stop working, or is less than it should be.
    Warning,
    /// Good to know.
    Info,
}

impl fmt::Display for Urgency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        })
    }
}

/// A condition. Conditions are worked out anew from the present state, so none can outlive its cause.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// How much it matters.
    pub urgency: Urgency,
    /// Stable; other programs may rely on it.
    pub code: &'static str,
    /// What is the matter.
    pub text: String,
    /// What to do.
    pub remedy: String,
}
