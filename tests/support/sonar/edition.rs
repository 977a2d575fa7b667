//! Which SonarQube is simulated, and what that one can do.

/// Cloud, or a Server of some version in one of its two modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Cloud,
    Server {
        /// As `api/server/version` prints it, such as `10.6.0.92116` or `2026.3.0.1`.
        version: &'static str,
        /// Multi-quality rule mode; only servers from 10.8 have a choice.
        mqr: bool,
    },
}

/// The abilities that differ between versions. Cloud has them all unless said otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Edition {
    pub mode: Mode,
    pub cloud: bool,
    number: (u32, u32),
}

impl Edition {
    pub(super) fn of(mode: Mode) -> Edition {
        match mode {
            Mode::Cloud => Edition { mode, cloud: true, number: (u32::MAX, 0) },
            Mode::Server { version, .. } => {
                let mut parts = version.split('.').map(|part| part.parse().expect("a version is made of numbers"));
                let number = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
                Edition { mode, cloud: false, number }
            }
        }
    }

    pub fn version(&self) -> &'static str {
        match self.mode {
            Mode::Cloud => "8.0.0.58347",
            Mode::Server { version, .. } => version,
        }
    }

    /// Whether this is Cloud or a Server of at least this version.
    pub fn since(&self, major: u32, minor: u32) -> bool {
        self.number >= (major, minor)
    }

    /// Whether this is a Server of at least this version.
    pub fn server_since(&self, major: u32, minor: u32) -> bool {
        !self.cloud && self.since(major, minor)
    }

    pub fn has_impacts(&self) -> bool {
        self.since(10, 2)
    }

    pub fn has_issue_status(&self) -> bool {
        self.since(10, 4)
    }

    /// INFO and BLOCKER among the impact severities.
    pub fn has_wide_impacts(&self) -> bool {
        self.since(10, 8)
    }

    pub fn has_sandbox(&self) -> bool {
        self.since(2025, 1)
    }
}
