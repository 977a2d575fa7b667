#![allow(clippy::unwrap_used, reason = "tests")]
//! Whole-daemon scenarios: the real program between a simulated SonarQube and the people who use it, over real
//! sockets and TLS.

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod commands;
mod flow;
mod sources;
mod steps;
