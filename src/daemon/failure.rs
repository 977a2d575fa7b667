//! Why the daemon does not start, and what its exit code says to the service manager.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use crate::admin::NoSocket;
use crate::store::{OpenError, StoreError};
use crate::sys::lists::BadList;
use crate::sys::notify;
use crate::sys::shown::BadFiles;
use crate::sys::tls::BadIdentity;
use crate::work::certificates::NoCertificate;

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("webhooks cannot be taken on {address}: {error}{}", hint(error, "--webhook-listen", ""))]
    Listen { address: SocketAddr, error: io::Error },
    #[error(
        "the page cannot be served on {address}: {error}{}",
        hint(error, "--admin-listen", "`--admin-listen off`, ")
    )]
    Page { address: SocketAddr, error: io::Error },
    #[error("the service manager passed a socket named {name} that cannot be used: {why}")]
    Passed { name: &'static str, why: String },
    #[error(transparent)]
    Socket(#[from] NoSocket),
    #[error(transparent)]
    Certificate(#[from] BadIdentity),
    #[error("the certificate for the listeners cannot be used: {0}")]
    Files(#[from] BadFiles),
    #[error("the networks that may send webhooks cannot be read: {0}")]
    Networks(BadList),
    #[error("the authorities for clients of the page cannot be read: {0}")]
    Clients(BadList),
    #[error("proofs for an ACME server cannot be shown on {address}: {error}{}", hint(error, "--acme-http-listen", ""))]
    Proofs { address: SocketAddr, error: io::Error },
    #[error("--public-url {0}")]
    PublicUrl(String),
    #[error("the daemon cannot start its threads: {0}")]
    Runtime(io::Error),
}

impl StartError {
    /// Says so where people look: in the log and in `systemctl status`.
    pub(super) fn tell(&self) {
        tracing::error!("hydrophone does not start: {self}");
        notify::failed(&format!("does not start: {self}"), self.errno());
    }

    /// 78 where only a person can change anything, so that the service manager does not try again; else 1.
    pub(super) fn exit_code(&self) -> ExitCode {
        let needs_person = match self {
            Self::Open(error) => error.needs_person(),
            Self::Listen { error, .. } | Self::Page { error, .. } | Self::Proofs { error, .. } => {
                // An address may still be on its way to this machine.
                matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
            }
            Self::Socket(error) => error.needs_person(),
            Self::Passed { .. } | Self::Files(_) | Self::Networks(_) | Self::Clients(_) | Self::PublicUrl(_) => true,
            Self::Store(_) | Self::Certificate(_) | Self::Runtime(_) => false,
        };
        if needs_person { ExitCode::from(78) } else { ExitCode::FAILURE }
    }

    fn errno(&self) -> Option<i32> {
        match self {
            Self::Open(error) => error.errno(),
            Self::Listen { error, .. }
            | Self::Page { error, .. }
            | Self::Proofs { error, .. }
            | Self::Runtime(error) => error.raw_os_error(),
            Self::Files(error) => error.errno(),
            Self::Networks(error) | Self::Clients(error) => error.errno(),
            Self::Socket(error) => error.errno(),
            _ => None,
        }
    }
}

impl From<NoCertificate> for StartError {
    fn from(error: NoCertificate) -> Self {
        match error {
            NoCertificate::Files(error) => Self::Files(error),
            NoCertificate::Identity(error) => Self::Certificate(error),
            NoCertificate::Store(error) => Self::Store(error),
        }
    }
}

/// What to do about an address that cannot be had.
fn hint(error: &io::Error, flag: &str, off: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "; another program has this port (`ss -ltnp` shows which): choose another one with {flag}, {off}or stop that program"
        ),
        io::ErrorKind::PermissionDenied => {
            format!(
                "; ports below 1024 need a right that hydrophone does not have: choose another one with {flag}, or let systemd hold it with the socket unit"
            )
        }
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address: see `ip address`".to_owned(),
        _ => String::new(),
    }
}
