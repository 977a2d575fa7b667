//! What the system gives: time, bells, certificates, logs, the service manager.

pub mod acme;
pub mod answer;
pub mod bell;
pub mod chain;
pub mod clients;
pub mod clock;
pub mod dice;
pub mod fence;
pub mod guard;
pub mod lists;
pub mod log;
pub mod loops;
pub mod notify;
pub mod pair;
pub mod password;
pub mod random;
pub mod reach;
pub mod seal;
pub mod shown;
pub mod tls;
pub mod trust;
pub mod watchdog;
pub mod wear;
