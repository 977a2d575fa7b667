//! The client's side of TLS, for tests that look at what the gateway shows.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

/// A connection that takes any certificate: it is there to look at, not to be trusted.
pub fn connect(address: &str) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").expect("it is a name");
    let connection = ClientConnection::new(Arc::new(takes_any()), name).expect("the configuration fits");
    StreamOwned::new(connection, TcpStream::connect(address).expect("the gateway listens"))
}

/// A client that takes any certificate.
pub fn takes_any() -> ClientConfig {
    takes_any_of(rustls::DEFAULT_VERSIONS)
}

/// The same for these versions.
pub fn takes_any_of(versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("ring knows them")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakesAny(provider)))
        .with_no_client_auth()
}

/// The certificate that a server shows, PEM.
pub fn certificate_of(address: &str) -> String {
    let mut stream = connect(address);
    stream.conn.complete_io(&mut stream.sock).expect("the handshake ends well");
    let certificate = stream.conn.peer_certificates().and_then(|chain| chain.first()).expect("it shows one");
    pem(certificate)
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for (line, bytes) in certificate.chunks(48).enumerate() {
        if line > 0 {
            text.push('\n');
        }
        for three in bytes.chunks(3) {
            let number =
                three.iter().fold(0_u32, |number, &byte| number << 8 | u32::from(byte)) << (8 * (3 - three.len()));
            for digit in 0..4 {
                let filled = digit <= three.len();
                let value = usize::try_from(number >> (18 - 6 * digit) & 63).expect("six bits");
                text.push(if filled { char::from(DIGITS[value]) } else { '=' });
            }
        }
    }
    text.push_str("\n-----END CERTIFICATE-----\n");
    text
}

/// Sends raw bytes over TLS and reads the answer until the server closes.
pub fn exchange(address: &str, request: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(request).expect("it can be sent");
    let mut answer = Vec::new();
    // A server that closes without TLS's own goodbye has still answered.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[derive(Debug)]
struct TakesAny(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for TakesAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
