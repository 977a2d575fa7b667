//! TLS of both listeners as real clients find it: versions, kinds of keys, suites, coming back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, SupportedProtocolVersion, version};

use crate::support::gateway::Gateway;
use crate::support::tls;

/// A certificate of an RSA key of 2048 bits, made for tests alone.
const RSA: &str = include_str!("../tls/rsa.pem");

fn listeners(gateway: &Gateway) -> [String; 2] {
    let page = gateway.json(&["status"])["page"].as_str().unwrap().to_owned();
    [gateway.address().to_owned(), page].map(|address| address.trim_start_matches("https://").to_owned())
}

/// A client that speaks this version alone, and remembers what it needs to come back.
fn client(only: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    Arc::new(tls::takes_any_of(&[only]))
}

/// A connection that asked something and was answered; a client of TLS 1.3 is told after that how to come back.
fn asked(config: &Arc<ClientConfig>, address: &str) -> ClientConnection {
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    stream.write_all(b"GET /hooks/none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(
        answer.starts_with(b"HTTP/1.1 404") || answer.starts_with(b"HTTP/1.1 303"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    connection
}

#[test]
fn both_versions_work_with_both_kinds_of_keys_and_whoever_comes_back_need_not_begin_anew() {
    let gateway = Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]);
    for kind in ["ECDSA on P-256", "RSA of 2048 bits"] {
        if kind.starts_with("RSA") {
            let file = gateway.folder().join("rsa.pem");
            std::fs::write(&file, RSA).unwrap();
            let file = file.to_str().unwrap();
            gateway.json(&["certificate", "set", "--cert", file, "--key", file]);
        }
        assert_eq!(gateway.json(&["certificate", "show"])["key"], kind);
        for address in listeners(&gateway) {
            for (only, spoken) in
                [(&version::TLS12, ProtocolVersion::TLSv1_2), (&version::TLS13, ProtocolVersion::TLSv1_3)]
            {
                let config = client(only);
                let first = asked(&config, &address);
                assert_eq!(
                    (first.protocol_version(), first.handshake_kind()),
                    (Some(spoken), Some(HandshakeKind::Full))
                );
                let suite = first.negotiated_cipher_suite().unwrap().suite();
                let name = suite.as_str().unwrap();
                assert!(name.contains("GCM") || name.contains("CHACHA20"), "{name}");
                assert!(spoken == ProtocolVersion::TLSv1_3 || name.contains("ECDHE"), "{name}");
                let again = asked(&config, &address);
                assert_eq!(again.handshake_kind(), Some(HandshakeKind::Resumed), "{kind} {spoken:?} {address}");
            }
        }
    }
}

/// What was agreed on at the webhook listener, which everybody reaches, is worth nothing at the page's.
#[test]
fn nobody_goes_on_at_one_listener_with_what_the_other_one_gave() {
    let gateway = Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]);
    let [webhooks, page] = listeners(&gateway);
    for only in [&version::TLS12, &version::TLS13] {
        let config = client(only);
        asked(&config, &webhooks);
        assert_eq!(asked(&config, &page).handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn an_older_version_is_refused() {
    let gateway = Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]);
    for address in listeners(&gateway) {
        for minor in 0..=2_u8 {
            let mut hello = vec![3, minor];
            hello.extend([7; 32]);
            // No session; two suites of those days; no compression.
            hello.extend([0, 0, 4, 0xc0, 0x13, 0xc0, 0x09, 1, 0]);
            let length = u8::try_from(hello.len()).unwrap();
            let mut record = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
            record.extend(hello);
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.write_all(&record).unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            // A fatal alert and nothing else: handshake_failure or protocol_version (RFC 8446, section 6).
            assert_eq!(
                (answer.first(), answer.get(5), answer.len()),
                (Some(&0x15), Some(&2), 7),
                "3.{minor}: {answer:?}"
            );
            assert!([40, 70].contains(&answer[6]), "3.{minor}: {answer:?}");
        }
    }
}
