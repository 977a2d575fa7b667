//! The packages in a real systemd: installed, started, killed, upgraded, removed. It changes the system that it runs in,
//! so it runs in none but the box that `packaging/box` boots, one test after the other; `tests/run` does so.
//!
//! What the box cannot show is said there. Of the .rpm it shows files, modes, scripts with rpm's real arguments and a
//! real systemctl; not how dependencies are called on Fedora, RHEL or openSUSE, SELinux, presets, dnf and signatures.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unreachable_pub, reason = "a test program exports nothing")]

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod deb;
mod installed;
mod rpm;
