//! Whole-daemon scenarios: the real program between a simulated SonarQube and the people who use it, over real
//! sockets and TLS.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unreachable_pub, reason = "a test program exports nothing")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod backup;
mod bad_input;
mod branches;
mod calls;
mod certificate;
mod certificate_files;
mod client_certificates;
mod closing;
mod commands;
mod commits;
mod doctor;
mod durability;
mod filters;
mod first_push;
mod fleet;
mod flow;
mod handshake;
mod healing;
mod hostile;
mod hostile_answers;
mod http2;
mod identity;
mod ingress;
mod keeping;
mod large;
mod life;
mod manage;
mod misuse;
mod odd_requests;
mod outage;
mod page_findings;
mod page_roles;
mod passing_on;
mod planted;
mod platforms;
mod reread;
mod rotation;
mod rounds;
mod samples;
mod sarif;
mod sealing;
mod service;
mod setup_page;
mod sources;
mod start;
mod steps;
mod store_damage;
mod strangers;
mod tokens;
mod tpm;
mod trend;
mod triage;
mod webhooks;
