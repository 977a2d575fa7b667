//! Boxes whose time of day is another one: libfaketime, of Debian's package `faketime`, stands between a process and the
//! system's clock. It moves the time of day alone, not the steady count by which everything is waited for. The server of NATS
//! asks the kernel itself, so that its time is always right.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use super::support::gateway::{Gateway, program};

/// A clock that a test sets, for the gateways that it starts by it.
pub struct Wall {
    library: PathBuf,
    folder: tempfile::TempDir,
}

pub const DAY: i64 = 24 * 60 * 60;

impl Wall {
    /// One that is right at first. None where there is no libfaketime.
    pub fn find() -> Option<Self> {
        let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH);
        // A static program has its own way to the kernel.
        if !Path::new(&library).exists() || std::env::var_os("HYDROPHONE_BINARY").is_some() {
            eprintln!("skipped: another time of day takes Debian's package faketime, and a program that is not static");
            return None;
        }
        let wall = Self { library: library.into(), folder: tempfile::tempdir().unwrap() };
        wall.set(0);
        Some(wall)
    }

    /// Sets it so many seconds ahead of the right time, also for gateways that run.
    pub fn set(&self, ahead: i64) {
        let file = self.folder.path().join("ahead");
        let next = file.with_extension("next");
        std::fs::write(&next, format!("{ahead:+}\n")).unwrap();
        // In one step: it is read at any moment.
        std::fs::rename(next, file).unwrap();
    }

    /// Starts a gateway by this clock in a new folder.
    pub fn start(&self) -> Gateway {
        self.start_in(Arc::new(tempfile::tempdir().unwrap()))
    }

    /// Starts a gateway by this clock.
    pub fn start_in(&self, folder: Arc<tempfile::TempDir>) -> Gateway {
        let mut command = program();
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", self.folder.path().join("ahead"))
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_DISABLE_SHM", "1")
            .env("NO_FAKE_STAT", "1");
        Gateway::start_as(command, folder, &[], [Stdio::null(), Stdio::null()])
            .unwrap_or_else(|log| panic!("the gateway does not start:\n{log}"))
    }
}
