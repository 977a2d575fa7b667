//! Which certificates this box believes: the system's roots, compiled-in ones only where the system has none, and
//! the authorities that a person gave for one connection.
//!
//! The TLS of outgoing calls is made here and not by ureq's own connector, for three reasons: all connections
//! share one set of roots (ureq would keep a copy for each), an authority can be added to the compiled-in roots,
//! and a certificate that is refused is described by its issuer, also through a proxy. Names and dates are always
//! checked; there is no way to switch that off.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme, StreamOwned,
};
use ureq::Agent;
use ureq::config::Config;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, TcpConnector,
    Transport, TransportAdapter,
};

/// The roots of this box. A handle: clones share what was read, and nothing is read before it is needed.
#[derive(Clone, Default)]
pub struct Trust {
    roots: Arc<Mutex<Option<Arc<Roots>>>>,
}

struct Roots {
    store: Arc<RootCertStore>,
    fell_back: bool,
}

/// Why a text cannot be a file of authorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAuthorities {
    /// No certificate in it.
    #[error("holds no certificate; PEM is expected, with lines such as -----BEGIN CERTIFICATE-----")]
    None,
    /// One of its certificates cannot be used.
    #[error("certificate {number} in it cannot be read or is not one that can be trusted")]
    Unusable {
        /// Which, from 1.
        number: usize,
    },
}

/// Why a certificate was not believed. Travels inside [`ureq::Error::Other`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// Issued by an authority that this box does not know.
    #[error("issued by an unknown authority")]
    UnknownIssuer {
        /// The issuer of the last certificate that the other side sent, where it could be read.
        issuer: Option<String>,
    },
    /// Made for another name.
    #[error("made for another name")]
    WrongName {
        /// The names that it is made for.
        presented: Vec<String>,
    },
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// Its time has not come, or the box's clock is wrong.
    #[error("not valid yet")]
    NotYetValid,
    /// Anything else that rustls found.
    #[error("{0}")]
    Other(String),
}

impl Trust {
    /// The system's roots as they are when they are first needed. A new value reads them anew.
    pub fn load() -> Self {
        Self::default()
    }

    /// Whether the system has no roots, so that the compiled-in ones are used. The operator should know: those
    /// only change with the program.
    pub fn fell_back(&self) -> bool {
        self.roots().fell_back
    }

    /// Reads the system's roots anew, where they were read; how many there were and are, if those are others. The next
    /// connections believe them.
    pub fn reload(&self) -> Option<(usize, usize)> {
        let mut roots = self.locked();
        let before = roots.take()?;
        let now = Arc::new(Roots::read());
        let counts = (before.store.len(), now.store.len());
        let is_same = before.store.roots == now.store.roots;
        // What was read before is kept where nothing changed, with the connections' configurations.
        *roots = Some(if is_same { before } else { now });
        (!is_same).then_some(counts)
    }

    /// The roots, and the authorities given beside them. Without any the set is shared, not copied.
    pub fn roots_with(&self, authorities: &Authorities) -> Arc<RootCertStore> {
        self.roots().with(authorities)
    }

    /// How to speak TLS as a client, with ring.
    pub fn client_config(&self, authorities: &Authorities) -> Arc<ClientConfig> {
        self.roots().client_config(authorities)
    }

    /// How to look at the other side once: what it shows is noted, whether it is believed or not.
    pub(super) fn noting_config(&self, authorities: &Authorities, seen: Seen) -> Arc<ClientConfig> {
        self.roots().noting_config(authorities, seen)
    }

    /// An agent that believes these roots and authorities. Roots are read at the first TLS connection.
    pub fn agent(&self, config: Config, authorities: Authorities) -> Agent {
        let tls = TlsConnector { trust: self.clone(), authorities, config: Mutex::default() };
        let connector = ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default()).chain(tls);
        Agent::with_parts(config, connector, DefaultResolver::default())
    }

    fn locked(&self) -> MutexGuard<'_, Option<Arc<Roots>>> {
        self.roots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn roots(&self) -> Arc<Roots> {
        Arc::clone(self.locked().get_or_insert_with(|| Arc::new(Roots::read())))
    }
}

impl Roots {
    fn read() -> Self {
        let mut store = RootCertStore::empty();
        // Files that cannot be read are skipped: a folder of roots often holds a broken one.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let fell_back = store.is_empty();
        if fell_back {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Self { store: Arc::new(store), fell_back }
    }

    fn with(&self, authorities: &Authorities) -> Arc<RootCertStore> {
        if authorities.0.is_empty() {
            return Arc::clone(&self.store);
        }
        let mut store = RootCertStore::clone(&self.store);
        store.add_parsable_certificates(authorities.0.iter().cloned());
        Arc::new(store)
    }

    fn client_config(&self, authorities: &Authorities) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(self.with(authorities), &provider);
        Self::configured(provider, verifier)
    }

    /// The same for one look at the other side: what it shows is noted, whether it is believed or not.
    fn noting_config(&self, authorities: &Authorities, seen: Seen) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier { seen: Some(seen), ..Verifier::new(self.with(authorities), &provider) };
        Self::configured(provider, verifier)
    }

    fn configured(provider: Arc<CryptoProvider>, verifier: Verifier) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the ciphers of TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Arc::new(config)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

/// Authorities that a person gave for one connection, beside the system's.
#[derive(Debug, Clone, Default)]
pub struct Authorities(Vec<CertificateDer<'static>>);

impl Authorities {
    /// Reads a PEM file: every certificate in it must be usable, other sections are passed over.
    pub fn parse(pem: &str) -> Result<Self, BadAuthorities> {
        let mut certificates = Vec::new();
        for (index, certificate) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
            let unusable = BadAuthorities::Unusable { number: index + 1 };
            let certificate = certificate.map_err(|_| unusable)?;
            RootCertStore::empty().add(certificate.clone()).map_err(|_| unusable)?;
            certificates.push(certificate);
        }
        if certificates.is_empty() { Err(BadAuthorities::None) } else { Ok(Self(certificates)) }
    }
}

impl Authorities {
    /// One certificate, such as the box's own.
    pub fn of_certificate(certificate: CertificateDer<'static>) -> Self {
        Self(vec![certificate])
    }
}

/// Why a handshake failed, where that was the other side's certificate.
pub fn distrust_of(error: &io::Error) -> Option<Distrust> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            inner.downcast_ref::<Distrust>().cloned()
        }
        _ => None,
    }
}

/// The usual checks, with an error that says who issued what was refused.
#[derive(Debug)]
struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    seen: Option<Seen>,
}

/// Certificates that the other side showed, its own first; DER.
pub(super) type Seen = Arc<Mutex<Vec<Vec<u8>>>>;

impl Verifier {
    fn new(roots: Arc<RootCertStore>, provider: &Arc<CryptoProvider>) -> Self {
        let webpki = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
            .build()
            .expect("there is at least the compiled-in set of roots, and no revocation list to be wrong");
        Self { webpki, seen: None }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(seen) = &self.seen {
            let shown = std::iter::once(end_entity).chain(intermediates).map(|one| one.to_vec()).collect();
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        }
        self.webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now).map_err(|error| {
            let distrust = distrust(error, intermediates.last().unwrap_or(end_entity));
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(distrust))))
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

fn distrust(error: rustls::Error, last_of_chain: &CertificateDer<'_>) -> Distrust {
    let rustls::Error::InvalidCertificate(problem) = error else {
        return Distrust::Other(error.to_string());
    };
    match problem {
        // An authority that was made anew under its former name signs with another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            Distrust::UnknownIssuer { issuer: issuer(last_of_chain) }
        }
        CertificateError::NotValidForName => Distrust::WrongName { presented: Vec::new() },
        CertificateError::NotValidForNameContext { presented, .. } => {
            Distrust::WrongName { presented: presented.iter().take(NAMES_MAX).map(|name| plain_name(name)).collect() }
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Distrust::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Distrust::NotYetValid,
        other => Distrust::Other(other.to_string()),
    }
}

/// Names of a certificate that a message mentions.
const NAMES_MAX: usize = 5;

/// rustls prints `DnsName("a.example")`; a person wants the name.
fn plain_name(presented: &str) -> String {
    let address = presented.strip_prefix("IpAddress(").and_then(|rest| rest.strip_suffix(')'));
    address.or_else(|| presented.split('"').nth(1)).unwrap_or(presented).to_owned()
}

fn issuer(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = certificate.issuer().to_string();
    // The other side wrote it: only what can be printed, and not at any length.
    Some(name.chars().filter(|c| !c.is_control()).take(200).collect())
}

/// Wraps connections of `https` addresses in TLS.
struct TlsConnector {
    trust: Trust,
    authorities: Authorities,
    /// Made from these roots.
    config: Mutex<Option<(Arc<Roots>, Arc<ClientConfig>)>>,
}

impl TlsConnector {
    /// The configuration, made anew where the roots were read anew.
    fn config(&self) -> Arc<ClientConfig> {
        let roots = self.trust.roots();
        let mut made = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((of, config)) if Arc::ptr_eq(of, &roots) => Arc::clone(config),
            _ => {
                let config = roots.client_config(&self.authorities);
                *made = Some((roots, Arc::clone(&config)));
                config
            }
        }
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConnector")
    }
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else {
            return Ok(None);
        };
        // A tunnel through an https proxy says that it is not TLS yet, so the way to the far end is wrapped too.
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name =
            ServerName::try_from(host).map_err(|_| ureq::Error::Tls("a host name that no certificate can have"))?;
        let mut connection = ClientConnection::new(self.config(), name).map_err(ureq::Error::Rustls)?;
        let mut socket = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        socket.set_timeout(details.timeout);
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).map_err(handshake_failure)?;
        }
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(TlsTransport { buffers, stream: StreamOwned::new(connection, socket) })))
    }
}

fn handshake_failure(error: io::Error) -> ureq::Error {
    if let Some(distrust) = distrust_of(&error) {
        return ureq::Error::Other(Box::new(distrust));
    }
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(other) => ureq::Error::Rustls(other.clone()),
        None => ureq::Error::from(error),
    }
}

struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn authority() -> String {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn a_file_of_authorities_holds_at_least_one_certificate_and_no_broken_one() {
        assert_eq!(Authorities::parse("").unwrap_err(), BadAuthorities::None);
        assert_eq!(Authorities::parse("no certificate").unwrap_err(), BadAuthorities::None);
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        assert_eq!(Authorities::parse(&key).unwrap_err(), BadAuthorities::None);
        let good = authority();
        assert_eq!(Authorities::parse(&format!("a comment\n{good}{}", authority())).unwrap().0.len(), 2);
        let broken = format!("{good}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert_eq!(Authorities::parse(&broken).unwrap_err(), BadAuthorities::Unusable { number: 2 });
    }

    #[test]
    fn without_authorities_of_its_own_a_connection_shares_the_roots() {
        let trust = Trust::load();
        assert!(trust.locked().is_none(), "nothing is read before it is needed");
        let shared = trust.clone().roots_with(&Authorities::default());
        assert!(Arc::ptr_eq(&shared, &trust.roots_with(&Authorities::default())));
        assert!(!shared.is_empty());
        let added = trust.roots_with(&Authorities::parse(&authority()).unwrap());
        assert_eq!(added.len(), shared.len() + 1);
    }
}
