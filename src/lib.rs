//! Hydrophone keeps a vulnerability inventory in step with SonarQube and passes every change on.
//!
//! The layers point one way: `cli` to `daemon` to `ingress`, `work` and `admin`, from there to `store`,
//! `sonar` and `platform`, and from everywhere to `domain`, which decides and does nothing else.

pub mod admin;
pub mod cli;
pub mod daemon;
pub mod domain;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod ingress;
pub mod platform;
pub mod sonar;
pub mod store;
pub mod sys;
pub mod work;
