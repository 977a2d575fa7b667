//! TLS with whoever connects to the webhook listener: SonarQube, or an ACME server that looks whether this box answers for
//! its name (RFC 8737). The latter is answered only while a proof is laid out, and is told nothing else.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use crate::sys::acme::challenges::{ALPN, Challenges};

/// Both sides that a handshake may have.
pub struct Handshake {
    calls: TlsAcceptor,
    proofs: Arc<ServerConfig>,
    challenges: Arc<Challenges>,
}

impl Handshake {
    /// Takes calls with this configuration.
    pub fn new(calls: Arc<ServerConfig>, challenges: Arc<Challenges>) -> Arc<Self> {
        Arc::new(Self { calls: TlsAcceptor::from(calls), proofs: challenges.server(), challenges })
    }

    /// Agrees on TLS; nothing if that was all, as whoever connected came for a proof.
    ///
    /// # Errors
    /// If it is not agreed on.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Option<TlsStream<TcpStream>>> {
        if !self.challenges.awaits_tls() {
            return self.calls.accept(stream).await.map(Some);
        }
        let begun = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        let is_proof = begun.client_hello().alpn().is_some_and(|offered| offered.eq([ALPN]));
        if !is_proof {
            return begun.into_stream(Arc::clone(self.calls.config())).await.map(Some);
        }
        let mut stream = begun.into_stream(Arc::clone(&self.proofs)).await?;
        stream.shutdown().await?;
        Ok(None)
    }
}
