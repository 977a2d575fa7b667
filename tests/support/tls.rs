//! The client's side of TLS, for tests that look at what the gateway shows.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use tokio::net::TcpSocket;

/// A connection that takes any certificate: it is there to look at, not to be trusted.
pub fn connect(address: &str) -> StreamOwned<ClientConnection, TcpStream> {
    over(TcpStream::connect(address).expect("the gateway listens"))
}

/// A TCP connection from another address of this machine.
pub fn connected(address: &str, from: IpAddr) -> TcpStream {
    connect_from(from, address.parse().expect("it is an address")).expect("the gateway listens")
}

/// The same, where it need not succeed. The standard library lets nobody choose an address to call from.
pub fn connect_from(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let stream = runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        socket.connect(to).await?.into_std()
    })?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// A TCP connection that takes next to nothing unless somebody reads it.
pub fn connect_narrow(address: &str) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let stream = runtime.block_on(async {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("it can be narrow");
        let address = address.parse().expect("it is an address");
        socket.connect(address).await.and_then(tokio::net::TcpStream::into_std).expect("the gateway listens")
    });
    stream.set_nonblocking(false).expect("it can wait");
    stream
}

/// The same over a TCP connection that there is.
pub fn over(stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
    let config = config(None);
    let name = ServerName::try_from("localhost").expect("it is a name");
    let connection = ClientConnection::new(config, name).expect("the configuration fits");
    StreamOwned::new(connection, stream)
}

/// What a client speaks TLS with that takes any certificate, and may show one of its own.
pub fn config(shown: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>) -> Arc<ClientConfig> {
    let builder = taking_any(rustls::DEFAULT_VERSIONS);
    Arc::new(match shown {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).expect("the key fits"),
    })
}

/// A client that takes any certificate.
pub fn takes_any() -> ClientConfig {
    takes_any_of(rustls::DEFAULT_VERSIONS)
}

/// The same for these versions.
pub fn takes_any_of(versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
    taking_any(versions).with_no_client_auth()
}

fn taking_any(
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("ring knows them")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakesAny(provider)))
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
