//! Sonar's Web API. [`client`] asks, [`dialect`] knows which words a version of Sonar understands, [`wire`] reads
//! the answers; the last two do no IO and can be tested alone. What the answers mean for the inventory is decided
//! in `domain`, and when to ask is decided in `work`.

pub mod client;
pub mod dialect;
mod failure;
pub mod wire;

pub use client::{BadConnection, BadToken, Client, Connection, Pacer, Token, TokenCheck};
pub use dialect::{Dialect, Mode, Version};
pub use failure::{CertificateProblem, FetchError};
pub use wire::{Branch, FindingsPage, Organization, Project, ProjectsPage, PullRequest, Rule};
