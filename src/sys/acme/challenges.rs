//! Proofs for an ACME server that this box answers for its names: a certificate of RFC 8737 at the webhook listener, or a
//! text by plain HTTP. Each is there only while the server may ask for it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// What a server that looks for a proof calls its protocol.
pub const ALPN: &[u8] = b"acme-tls/1";

/// The proofs that are laid out.
#[derive(Default)]
pub struct Challenges {
    by_name: Mutex<BTreeMap<String, Arc<CertifiedKey>>>,
    by_token: Mutex<BTreeMap<String, String>>,
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenges")
    }
}

/// A proof that is laid out until this is dropped.
#[must_use = "the proof is there for as long as this"]
pub struct Placed {
    challenges: Arc<Challenges>,
    key: String,
    by_http: bool,
}

impl Drop for Placed {
    fn drop(&mut self) {
        if self.by_http {
            locked(&self.challenges.by_token).remove(&self.key);
        } else {
            locked(&self.challenges.by_name).remove(&self.key);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Challenges {
    /// Lays out the certificate that proves a name by TLS.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn place_tls(self: &Arc<Self>, name: &str, digest: &[u8]) -> Result<Placed, rcgen::Error> {
        let key = name.to_ascii_lowercase();
        let mut parameters = rcgen::CertificateParams::new(vec![key.clone()])?;
        parameters.custom_extensions.push(rcgen::CustomExtension::new_acme_identifier(digest));
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let certificate = parameters.self_signed(&pair)?;
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let signing = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
        let provider = rustls::crypto::ring::default_provider();
        // Not `from_der`: to whoever reads a certificate for a connection, that extension is one that is not known.
        let signing = provider.key_provider.load_private_key(signing).map_err(|_| rcgen::Error::RemoteKeyError)?;
        let certified = CertifiedKey::new(chain, signing);
        locked(&self.by_name).insert(key.clone(), Arc::new(certified));
        Ok(Placed { challenges: Arc::clone(self), key, by_http: false })
    }

    /// Lays out the text that proves a name by HTTP.
    pub fn place_http(self: &Arc<Self>, token: &str, text: &str) -> Placed {
        locked(&self.by_token).insert(token.to_owned(), text.to_owned());
        Placed { challenges: Arc::clone(self), key: token.to_owned(), by_http: true }
    }

    /// Whether a server may come and look by TLS.
    pub fn awaits_tls(&self) -> bool {
        !locked(&self.by_name).is_empty()
    }

    /// The text of a token.
    pub fn text(&self, token: &str) -> Option<String> {
        locked(&self.by_token).get(token).cloned()
    }

    /// The server's side of a look by TLS: this protocol and no other, the certificate of the name that is asked for, and
    /// nothing to come back with.
    pub fn server(self: &Arc<Self>) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the ciphers of TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(Arc::clone(self))));
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Arc::new(server)
    }
}

#[derive(Debug)]
struct Resolver(Arc<Challenges>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_ascii_lowercase();
        locked(&self.0.by_name).get(&name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_there_for_as_long_as_it_is_held() {
        let challenges = Arc::new(Challenges::default());
        assert!(!challenges.awaits_tls());
        let one = challenges.place_tls("Hooks.Example", &[7; 32]).unwrap();
        let text = challenges.place_http("token", "token.thumb");
        assert!(challenges.awaits_tls());
        assert_eq!((challenges.text("token").as_deref(), challenges.text("toke")), (Some("token.thumb"), None));
        let shown = Arc::clone(&locked(&challenges.by_name)["hooks.example"]);
        let (_, read) = x509_parser::parse_x509_certificate(&shown.cert[0]).unwrap();
        let extension = read.extensions().iter().find(|one| one.oid.to_id_string() == "1.3.6.1.5.5.7.1.31").unwrap();
        assert!(extension.critical && extension.value == [&[4, 32][..], &[7; 32]].concat());
        drop((one, text));
        assert!(!challenges.awaits_tls() && challenges.text("token").is_none());
    }
}
