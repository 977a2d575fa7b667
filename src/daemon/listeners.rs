//! Where connections come in. Sockets that the service manager holds and passes win over flags and settings: it goes
//! on to hold them while we restart, so that whoever calls meanwhile waits instead of being refused. What it does not
//! pass is bound here.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use super::failure::StartError;
use crate::admin;

/// Names of the sockets, as the socket units have them.
const WEBHOOK: &str = "webhook";
const ADMIN_TLS: &str = "admin-tls";
const ADMIN_LOCAL: &str = "admin-local";
const ACME_HTTP: &str = "acme-http";

/// The sockets that were passed.
#[derive(Default)]
pub(super) struct Passed {
    webhook: Vec<std::net::TcpListener>,
    page: Vec<std::net::TcpListener>,
    proofs: Vec<std::net::TcpListener>,
    local: Option<StdUnixListener>,
}

impl Passed {
    /// Takes them. Before any thread is started: it clears the environment of what told of them.
    pub(super) fn take() -> Result<Self, StartError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut sockets = ListenFd::from_env();
        let mut passed = Self::default();
        for (index, name) in (0..sockets.len()).zip(names.split(':').chain(std::iter::repeat("unknown"))) {
            match name {
                WEBHOOK => passed.webhook.push(tcp(&mut sockets, index, WEBHOOK)?),
                ADMIN_TLS => passed.page.push(tcp(&mut sockets, index, ADMIN_TLS)?),
                ACME_HTTP => passed.proofs.push(tcp(&mut sockets, index, ACME_HTTP)?),
                ADMIN_LOCAL if passed.local.is_none() => passed.local = Some(unix(&mut sockets, index)?),
                ADMIN_LOCAL => return Err(unfit(ADMIN_LOCAL, &"there is one already; one ListenStream= is enough")),
                other => tracing::warn!(
                    "the service manager passed a socket named {other:?}, which is left alone; FileDescriptorName= is \
                     {WEBHOOK}, {ADMIN_TLS}, {ADMIN_LOCAL} or {ACME_HTTP}"
                ),
            }
        }
        Ok(passed)
    }

    /// Where webhooks are taken.
    pub(super) async fn webhooks(&mut self, wanted: Option<SocketAddr>) -> Result<Listeners, StartError> {
        let passed = std::mem::take(&mut self.webhook);
        let bound = |address, error| StartError::Listen { address, error };
        listeners(WEBHOOK, "webhooks", "--webhook-listen", passed, wanted, bound).await
    }

    /// Where the page and the API are served.
    pub(super) async fn pages(&mut self, wanted: Option<SocketAddr>) -> Result<Listeners, StartError> {
        let passed = std::mem::take(&mut self.page);
        let bound = |address, error| StartError::Page { address, error };
        listeners(ADMIN_TLS, "page", "--admin-listen", passed, wanted, bound).await
    }

    /// Where an ACME server asks for proofs by plain HTTP; nowhere unless somebody wants it.
    pub(super) async fn proofs(&mut self, wanted: Option<SocketAddr>) -> Result<Listeners, StartError> {
        let passed = std::mem::take(&mut self.proofs);
        if passed.is_empty() && wanted.is_none() {
            return Ok(Listeners::default());
        }
        let bound = |address, error| StartError::Proofs { address, error };
        // A socket that is passed is wanted.
        let wanted = wanted.or_else(|| passed.first().and_then(|socket| socket.local_addr().ok()));
        listeners(ACME_HTTP, "proofs for ACME", "--acme-http-listen", passed, wanted, bound).await
    }

    /// The admin socket.
    pub(super) fn local<'p>(&mut self, path: &'p Path) -> Result<Local<'p>, StartError> {
        let Some(socket) = self.local.take() else {
            return Ok(Local { listener: admin::bind(path)?, own: Some(path) });
        };
        let failed = |error: io::Error| unfit(ADMIN_LOCAL, &error);
        socket.set_nonblocking(true).map_err(failed)?;
        let listener = UnixListener::from_std(socket).map_err(failed)?;
        Ok(Local { listener, own: None })
    }
}

/// Listeners of one kind, and the address of the first.
#[derive(Default)]
pub(super) struct Listeners {
    pub(super) all: Vec<TcpListener>,
    pub(super) address: Option<SocketAddr>,
}

impl Listeners {
    /// The ports of all.
    pub(super) fn ports(&self) -> Vec<u16> {
        self.all.iter().filter_map(|listener| listener.local_addr().ok()).map(|address| address.port()).collect()
    }
}

/// The admin socket; its path, where it was made here and is to be removed at the end.
pub(super) struct Local<'p> {
    pub(super) listener: UnixListener,
    pub(super) own: Option<&'p Path>,
}

async fn listeners(
    name: &'static str,
    what: &str,
    flag: &str,
    passed: Vec<std::net::TcpListener>,
    wanted: Option<SocketAddr>,
    failed: fn(SocketAddr, io::Error) -> StartError,
) -> Result<Listeners, StartError> {
    let mut all = Vec::new();
    for socket in passed {
        let unusable = |error: io::Error| unfit(name, &error);
        socket.set_nonblocking(true).map_err(unusable)?;
        let listener = TcpListener::from_std(socket).map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        if wanted.is_none() {
            tracing::warn!(
                "{what}: `{flag} off` is not heeded, as the service manager passed {address}; \
                 `systemctl mask --now hydrophone-{name}.socket` has it passed no more"
            );
        } else {
            tracing::info!("{what}: the service manager passed {address}, which wins over {flag}");
        }
        all.push(listener);
    }
    if let (true, Some(wanted)) = (all.is_empty(), wanted) {
        all.push(TcpListener::bind(wanted).await.map_err(|error| failed(wanted, error))?);
    }
    let address = match (all.first(), wanted) {
        (Some(first), wanted) => Some(first.local_addr().map_err(|error| match wanted {
            Some(wanted) => failed(wanted, error),
            None => unfit(name, &error),
        })?),
        (None, _) => None,
    };
    Ok(Listeners { all, address })
}

fn tcp(sockets: &mut ListenFd, index: usize, name: &'static str) -> Result<std::net::TcpListener, StartError> {
    let wrong = "it is no listening TCP socket; its unit needs a ListenStream= with a port";
    sockets.take_tcp_listener(index).ok().flatten().ok_or_else(|| unfit(name, &wrong))
}

fn unix(sockets: &mut ListenFd, index: usize) -> Result<StdUnixListener, StartError> {
    let wrong = "it is no listening unix socket; its unit needs a ListenStream= with a path";
    sockets.take_unix_listener(index).ok().flatten().ok_or_else(|| unfit(ADMIN_LOCAL, &wrong))
}

fn unfit(name: &'static str, why: &dyn Display) -> StartError {
    StartError::Passed { name, why: why.to_string() }
}
