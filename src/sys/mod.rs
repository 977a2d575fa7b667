//! What the system gives: time, bells, certificates, logs, the service manager.

pub mod bell;
pub mod clock;
