//! Decides. Nothing in here does IO, reads a clock, starts a thread or knows tokio, so that every rule of the
//! product can be read and tested alone; `tests/layers.rs` keeps it that way.

pub mod access;
pub mod asset;
pub mod certificate;
pub mod clock;
pub mod condition;
pub mod crawl;
pub mod delivery;
pub mod destination;
pub mod finding;
pub mod fleet;
pub mod gate;
pub mod ids;
pub mod limits;
mod loose;
pub mod masking;
pub mod measure;
pub mod message;
pub mod moves;
pub mod networks;
pub mod notice;
pub mod pace;
pub mod passing;
pub mod recent;
pub mod reconcile;
pub mod retry;
pub mod rounds;
pub mod rule;
pub mod schedule;
pub mod seats;
pub mod secret;
pub mod selection;
pub mod settings;
pub mod signature;
pub mod standby;
pub mod time;
pub mod triage;
