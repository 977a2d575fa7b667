//! What the daemon needs of the machine under it.

pub mod trust;
