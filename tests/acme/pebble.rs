//! A real ACME server: Debian's package `pebble`, with a DNS server beside it that leads every name to this machine.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;

use crate::support::gateway::SOON;

/// An ACME server that runs. It is ended when dropped.
pub struct Pebble {
    folder: tempfile::TempDir,
    server: Option<Child>,
    names: Child,
    port: u16,
    names_port: u16,
    config: serde_json::Value,
    pub environment: Vec<(&'static str, &'static str)>,
}

/// How one is to be.
#[derive(Default)]
pub struct Wanted {
    /// Where names are looked at by TLS.
    pub tls_port: u16,
    /// Where by HTTP.
    pub http_port: u16,
    /// For how long its certificates are good, in seconds; years without it.
    pub seconds: Option<u64>,
    /// Whether an account has to be bound to another one, whose key is `kid-1`'s.
    pub bound: bool,
    /// Whether the certificate that it shows itself has ended.
    pub ended: bool,
    /// More of its environment.
    pub environment: Vec<(&'static str, &'static str)>,
}

/// What `kid-1` proves itself with.
pub const EAB_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// A port that nobody uses just now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Pebble {
    pub fn start(wanted: Wanted) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = own_certificate(&folder, wanted.ended);
        let names_port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let names = Command::new("pebble-challtestsrv")
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-dns01", &format!("127.0.0.1:{names_port}"), "-management", &format!("127.0.0.1:{}", free_port())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Debian's package pebble is installed");
        let port = free_port();
        let mut config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{}", free_port()),
            "certificate": certificate,
            "privateKey": key,
            "httpPort": wanted.http_port,
            "tlsPort": wanted.tls_port,
            "externalAccountBindingRequired": wanted.bound,
            "externalAccountMACKeys": { "kid-1": EAB_KEY },
            "domainBlocklist": ["blocked.example.test"],
        } });
        if let Some(seconds) = wanted.seconds {
            config["pebble"]["certificateValidityPeriod"] = seconds.into();
        }
        let environment = wanted.environment;
        let mut pebble = Self { folder, server: None, names, port, names_port, config, environment };
        pebble.again();
        pebble
    }

    /// Starts it, without anything that it knew before.
    pub fn again(&mut self) {
        let config = self.folder.path().join("pebble.json");
        std::fs::write(&config, self.config.to_string()).unwrap();
        let mut command = Command::new("pebble");
        command.arg("-config").arg(config).args(["-dnsserver", &format!("127.0.0.1:{}", self.names_port)]);
        for (name, value) in [("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "0"), ("PEBBLE_AUTHZREUSE", "0")] {
            command.env(name, value);
        }
        for (name, value) in &self.environment {
            if value.is_empty() {
                command.env_remove(name)
            } else {
                command.env(name, value)
            };
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("pebble is installed");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (ready, is_ready) = channel();
        // Read to its end, so that it never waits for us.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.contains("ACME directory available") {
                    let _ = ready.send(());
                }
            }
        });
        self.server = Some(child);
        is_ready.recv_timeout(SOON).expect("pebble starts");
    }

    /// Ends it.
    pub fn end(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Where it is found.
    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// The authority of its own certificate.
    pub fn ca_file(&self) -> String {
        self.folder.path().join("ca.pem").to_str().unwrap().to_owned()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.end();
        let _ = self.names.kill();
        let _ = self.names.wait();
    }
}

/// What the server shows itself, with an authority of its own.
fn own_certificate(folder: &tempfile::TempDir, ended: bool) -> (PathBuf, PathBuf) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut own = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    if ended {
        own.not_before = rcgen::date_time_ymd(2020, 1, 1);
        own.not_after = rcgen::date_time_ymd(2021, 1, 1);
    }
    let own = own.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    file("ca.pem", root.pem());
    (file("pebble.crt", own.pem()), file("pebble.key", key.serialize_pem()))
}
