//! The page in a real browser: Debian's Chromium, headless, driven through its chromedriver, before the real daemon
//! and a simulated SonarQube. `tests/run` runs this where both are installed; `cargo test --test browser` does by hand.
//!
//! Nothing here waits for a time: it waits for what should come, with a deadline that a busy machine meets.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unreachable_pub, reason = "a test program exports nothing")]

#[path = "../support/mod.rs"]
mod support;

mod accessible;
mod browser;
mod driver;
mod finding;
mod keys;
mod live;
mod pages;
mod pictures;
mod plainly;
mod removing;
mod setting_up;
mod signing;
mod world;
