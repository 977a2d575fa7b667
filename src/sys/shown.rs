//! The certificate that the listeners show: the box's own, one that it was given or fetched, or one that an administrator
//! put into files. It can be replaced while they run.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;

use crate::domain::certificate::{Anchor, Origin};

/// One certificate to show.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// With its chain and key.
    pub certified: Arc<CertifiedKey>,
    /// Where it is from.
    pub origin: Origin,
    /// What makes it believed.
    pub anchor: Anchor,
}

/// What the listeners show.
#[derive(Debug)]
pub struct Shown {
    chosen: RwLock<Chosen>,
    trouble: Mutex<Option<String>>,
}

impl Shown {
    /// Begins with this one.
    pub fn new(chosen: Chosen) -> Arc<Self> {
        Arc::new(Self { chosen: RwLock::new(chosen), trouble: Mutex::default() })
    }

    /// Shows this one from the next connection on; false if it is the one that was shown already.
    pub fn replace(&self, chosen: Chosen) -> bool {
        let mut shown = self.chosen.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = shown.certified.cert != chosen.certified.cert;
        *shown = chosen;
        is_new
    }

    /// The certificate itself without its chain, DER.
    pub fn certificate(&self) -> Vec<u8> {
        let shown = self.chosen();
        shown.certified.cert.first().map(|certificate| certificate.to_vec()).unwrap_or_default()
    }

    /// What is shown.
    pub fn chosen(&self) -> Chosen {
        self.chosen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes why another one could not be shown, or that all is well.
    pub fn note(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Why another one could not be shown.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The server's side of TLS 1.2 and 1.3 on ring, for protocols by their ALPN names, the best first. Each has tickets
    /// of its own, so that nobody goes on at one listener with what was agreed on at another. A ticket holds all that is
    /// needed to go on, under a key that changes every six hours, so that nothing is kept here for whoever comes back;
    /// those who know session ids alone have a small cache.
    pub fn server(self: &Arc<Self>, protocols: &[&[u8]]) -> Arc<ServerConfig> {
        let mut server = self.server_for(protocols, WebPkiClientVerifier::no_client_auth());
        // Without tickets every connection is begun anew, which costs time and nothing else.
        if let Ok(ticketer) = rustls::crypto::ring::Ticketer::new() {
            server.ticketer = ticketer;
        }
        server.send_tls13_tickets = TICKETS;
        server.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        Arc::new(server)
    }

    /// The same for clients that show a certificate, too. Nobody goes on here with what was agreed on before: who comes back
    /// so shows no certificate, and would outlive both it and its authority.
    pub fn server_for(self: &Arc<Self>, protocols: &[&[u8]], clients: Arc<dyn ClientCertVerifier>) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the ciphers of TLS 1.2 and 1.3")
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        server.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // A client that prefers the weakest of what both know has no say.
        server.ignore_client_order = true;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server
    }
}

/// Tickets that are given at once: one to come back with, and one for a second connection.
const TICKETS: usize = 2;

/// Sessions that are kept for those who know no tickets; each has about a kilobyte.
const SESSIONS_MAX: usize = 64;

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.chosen().certified)
    }
}

/// Where an administrator puts a certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate, and those that lead to its authority, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Whether they were asked for, and must be there.
    pub asked_for: bool,
}

/// Why a certificate in files cannot be shown. Each says what a person can do.
#[derive(Debug, thiserror::Error)]
pub enum BadFiles {
    /// A file is there, and cannot be read.
    #[error(
        "{} cannot be read: {error}; it must be there and readable for the user that runs hydrophone, such as by `chown root:hydrophone` and `chmod 640`", .path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// One is there without the other.
    #[error("there is {} and no {}; put both there, or neither", .there.display(), .missing.display())]
    Half {
        /// This one.
        there: PathBuf,
        /// And not that one.
        missing: PathBuf,
    },
    /// It does not hold what it should.
    #[error("{} holds no usable {what}{why}; put one in PEM form there, or move certificate and key away to use hydrophone's own", .path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong, after a colon, if that can be said.
        why: String,
    },
    /// They do not belong together.
    #[error(
        "the key {} does not belong to the certificate {}; put the one there that the certificate was made with", .key.display(), .certificate.display()
    )]
    Mismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
}

impl BadFiles {
    /// The system's error, if it is one of its.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Unreadable { error, .. } => error.raw_os_error(),
            _ => None,
        }
    }
}

impl Files {
    /// Reads both; nothing if neither is there and nobody asked for them.
    ///
    /// # Errors
    /// If they are there and cannot be used.
    pub fn read(&self) -> Result<Option<Arc<CertifiedKey>>, BadFiles> {
        let of_certificate = self.content(&self.certificate)?;
        let of_key = self.content(&self.key)?;
        let half = |there: &Path, missing: &Path| BadFiles::Half { there: there.into(), missing: missing.into() };
        match (of_certificate, of_key) {
            (Some(certificate), Some(key)) => self.certified(&certificate, &key).map(Some),
            (None, None) => Ok(None),
            (Some(_), None) => Err(half(&self.certificate, &self.key)),
            (None, Some(_)) => Err(half(&self.key, &self.certificate)),
        }
    }

    fn content(&self, path: &Path) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, BadFiles> {
        match std::fs::read(path) {
            Ok(content) => Ok(Some(content.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.asked_for => Ok(None),
            Err(error) => Err(BadFiles::Unreadable { path: path.to_owned(), error }),
        }
    }

    fn certified(&self, certificate: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, BadFiles> {
        let broken = |path: &Path, what, why: &dyn std::fmt::Display| {
            let why = why.to_string();
            let why = if why.is_empty() { why } else { format!(": {why}") };
            BadFiles::Broken { path: path.to_owned(), what, why }
        };
        let of_certificate = |why: &dyn std::fmt::Display| broken(&self.certificate, "certificate", why);
        let of_key = |why: &dyn std::fmt::Display| broken(&self.key, "private key", why);
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| of_certificate(&of_pem(&error)))?;
        if chain.is_empty() {
            return Err(of_certificate(&""));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| of_key(&of_pem(&error)))?;
        let provider = rustls::crypto::ring::default_provider();
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                BadFiles::Mismatch { certificate: self.certificate.clone(), key: self.key.clone() }
            }
            rustls::Error::InvalidCertificate(_) => of_certificate(&"it cannot be read"),
            _ => of_key(&"its kind is not known; RSA, ECDSA on P-256 or P-384, and Ed25519 are"),
        })?;
        Ok(Arc::new(certified))
    }
}

/// A file with a certificate and a key, which may be either. See [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    let files = Files { certificate: PathBuf::from("crt"), key: PathBuf::from("key"), asked_for: false };
    if let Err(error) = files.certified(data, data) {
        let text = error.to_string();
        assert!(text.len() < 1000 && !text.contains("BEGIN"), "{text}");
    }
}

fn of_pem(error: &PemError) -> &'static str {
    match error {
        PemError::NoItemsFound => "",
        _ => "its PEM form is damaged",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::sys::tls::Identity;

    fn pem(what: &str, der: &[u8]) -> String {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {what}-----\n{text}\n-----END {what}-----\n")
    }

    fn pair() -> (String, String) {
        let identity = Identity::self_signed(vec!["box.example".to_owned()]).unwrap();
        (pem("CERTIFICATE", &identity.certificate), pem("PRIVATE KEY", &identity.key))
    }

    fn files(folder: &Path, certificate: Option<&str>, key: Option<&str>) -> Files {
        let files = Files { certificate: folder.join("tls.crt"), key: folder.join("tls.key"), asked_for: false };
        for (path, content) in [(&files.certificate, certificate), (&files.key, key)] {
            match content {
                Some(content) => std::fs::write(path, content).unwrap(),
                None => drop(std::fs::remove_file(path)),
            }
        }
        files
    }

    #[test]
    fn a_pair_is_read_with_its_chain_and_shown_until_another_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let ((certificate, key), (other, other_key)) = (pair(), pair());
        let chain = format!("a comment\n{certificate}{other}");
        let first = files(folder.path(), Some(&chain), Some(&key)).read().unwrap().unwrap();
        assert_eq!(first.cert.len(), 2);
        let chosen = |certified: &Arc<CertifiedKey>| Chosen {
            certified: Arc::clone(certified),
            origin: Origin::Files,
            anchor: Anchor::Itself,
        };
        let shown = Shown::new(chosen(&first));
        assert_eq!(shown.certificate(), first.cert[0].to_vec());
        assert!(!shown.replace(chosen(&first)), "it is the same");
        let second = files(folder.path(), Some(&other), Some(&other_key)).read().unwrap().unwrap();
        assert!(shown.replace(chosen(&second)));
        assert_eq!(shown.certificate(), first.cert[1].to_vec());
    }

    #[test]
    fn without_files_there_is_none_unless_they_were_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path(), None, None);
        assert!(files.read().unwrap().is_none());
        let asked = Files { asked_for: true, ..files };
        assert!(asked.read().unwrap_err().to_string().contains("tls.crt cannot be read: No such file"));
    }

    #[test]
    fn each_fault_names_the_file_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let (pair, other) = (pair(), pair());
        let (certificate, key, other_key) = (pair.0.as_str(), pair.1.as_str(), other.1.as_str());
        let (none, cut) = (Some("no certificate"), Some("-----BEGIN CERTIFICATE-----\nAAAA\n"));
        let (odd, odd_key) = (pem("CERTIFICATE", b"odd"), pem("PRIVATE KEY", b"odd"));
        for (of_certificate, of_key, words) in [
            (Some(certificate), None, ["tls.crt and no ", "put both there, or neither"]),
            (None, Some(key), ["tls.key and no ", "put both there, or neither"]),
            (none, Some(key), ["tls.crt holds no usable certificate; ", "PEM form"]),
            (cut, Some(key), ["tls.crt holds no usable certificate: its PEM form is damaged", "put one"]),
            (Some(odd.as_str()), Some(key), ["tls.crt holds no usable certificate: it cannot be read", "put one"]),
            (Some(certificate), none, ["tls.key holds no usable private key; ", "PEM form"]),
            (Some(certificate), Some(odd_key.as_str()), ["tls.key holds no usable private key: its kind", "put one"]),
            (Some(certificate), Some(certificate), ["tls.key holds no usable private key; ", "PEM form"]),
            (Some(certificate), Some(other_key), ["tls.key does not belong to", "was made with"]),
        ] {
            let error = files(folder.path(), of_certificate, of_key).read().unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "{word:?} is missing in: {error}");
            }
            assert!(!error.contains("BEGIN"), "{error}");
        }
    }
}
