//! The webhook listener's TLS: a certificate that is made at the first start, and the server's configuration.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate chain and its key.
pub struct Identity {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// The private key, PKCS #8 DER.
    pub key: Vec<u8>,
}

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum BadIdentity {
    /// It could not be made.
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    /// The stored one is refused.
    #[error("the stored certificate cannot be used: {0}")]
    Use(#[from] rustls::Error),
}

impl Identity {
    /// Makes a certificate for these names and addresses, signed by itself: ECDSA on P-256, valid for ten years.
    /// SonarQube does not trust it by itself; it is there so that the first start needs nothing.
    pub fn self_signed(names: Vec<String>) -> Result<Self, BadIdentity> {
        let mut parameters = rcgen::CertificateParams::new(names)?;
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "Hydrophone");
        parameters.not_before = rcgen::date_time_ymd(2024, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2036, 1, 1);
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let certificate = parameters.self_signed(&key)?;
        Ok(Self { certificate: certificate.der().to_vec(), key: key.serialize_der() })
    }

    /// The server's side of TLS 1.2 and 1.3 on ring, for protocols by their ALPN names, the best first.
    pub fn server(&self, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, BadIdentity> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(self.certificate.clone())], key)?;
        server.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(server))
    }
}

/// The names that a certificate of this box should have: its host name, and what loopback calls itself.
pub fn own_names(public_host: Option<&str>) -> Vec<String> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(public_host.map(str::to_owned));
    if !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
        names.push(host);
    }
    names.dedup();
    names
}
