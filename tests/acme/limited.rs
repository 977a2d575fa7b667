//! As much of an ACME server as it takes to be told that one asks too often, or to be asked for too much.

use std::io::BufReader;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use crate::support::wire::{Request, Response};

/// What it does with orders; accounts it takes.
#[derive(Clone, Copy)]
enum Manner {
    /// Refuses them, and asks to be left alone for so many seconds.
    Refuses(u64),
    /// Wants proofs without an end.
    IsGreedy,
}

pub struct Limited {
    port: u16,
    orders: Arc<AtomicUsize>,
    folder: tempfile::TempDir,
}

impl Limited {
    /// One that asks to be left alone for so many seconds.
    pub fn start(retry_after: u64) -> Self {
        Self::start_as(Manner::Refuses(retry_after))
    }

    /// One that has the same name proven again and again.
    pub fn greedy() -> Self {
        Self::start_as(Manner::IsGreedy)
    }

    fn start_as(manner: Manner) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), own.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let orders = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&orders);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = BufReader::new(StreamOwned::new(connection, stream));
                while let Ok(Some(request)) = Request::read(&mut stream) {
                    let answer = answer(&request, port, manner, &counted);
                    let now = jiff::Timestamp::now().as_second();
                    if answer.write(stream.get_mut(), now).is_err() {
                        break;
                    }
                }
            }
        });
        Self { port, orders, folder }
    }

    /// The command line that has a certificate fetched from it.
    pub fn line(&self, name: &'static str) -> Vec<&str> {
        // It lives as long as the test.
        let own = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
        let directory = own(format!("https://localhost:{}/dir", self.port));
        let ca = own(self.folder.path().join("ca.pem").to_str().unwrap().to_owned());
        vec!["certificate", "acme", "--domain", name, "--directory", directory, "--ca-file", ca, "--agree-to-terms"]
    }

    /// Orders that it was asked for, or proofs, if it is greedy.
    pub fn orders(&self) -> usize {
        self.orders.load(Ordering::Relaxed)
    }
}

fn answer(request: &Request, port: u16, manner: Manner, orders: &AtomicUsize) -> Response {
    let at = |path: &str| format!("https://localhost:{port}{path}");
    let nonce = ("replay-nonce", "bm9uY2U".to_owned());
    let (status, mut headers, body) = match request.path.as_str() {
        "/dir" => {
            let directory = json!({ "newNonce": at("/nonce"), "newAccount": at("/account"), "newOrder": at("/order") });
            (200, vec![], directory.to_string())
        }
        "/account" => (201, vec![("location", at("/account/1"))], json!({ "status": "valid" }).to_string()),
        "/order" if matches!(manner, Manner::IsGreedy) => {
            let proofs: Vec<_> = (0..1_000).map(|number| at(&format!("/proof/{number}"))).collect();
            let order = json!({ "status": "pending", "authorizations": proofs, "finalize": at("/finalize") });
            (201, vec![("location", at("/order/1"))], order.to_string())
        }
        path if path.starts_with("/proof/") => {
            orders.fetch_add(1, Ordering::Relaxed);
            let challenge =
                json!({ "type": "tls-alpn-01", "url": at("/challenge"), "token": "t", "status": "pending" });
            let name = json!({ "type": "dns", "value": "hooks.example.com" });
            (200, vec![], json!({ "status": "pending", "identifier": name, "challenges": [challenge] }).to_string())
        }
        "/challenge" => {
            let challenge =
                json!({ "type": "tls-alpn-01", "url": at("/challenge"), "token": "t", "status": "processing" });
            (200, vec![], challenge.to_string())
        }
        "/order" => {
            orders.fetch_add(1, Ordering::Relaxed);
            let Manner::Refuses(retry_after) = manner else { unreachable!("the others are answered above") };
            let problem = json!({ "type": "urn:ietf:params:acme:error:rateLimited", "status": 429,
                "detail": "too many certificates already issued for this name" });
            (429, vec![("retry-after", retry_after.to_string())], problem.to_string())
        }
        _ => (200, vec![], String::new()),
    };
    headers.push(nonce);
    Response { status, headers, body }
}
