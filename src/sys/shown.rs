//! The certificate that the listeners show: the box's own, one that it was given or fetched, or one that an administrator
//! put into files. It can be replaced while they run.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig};
use zeroize::Zeroizing;

use super::pair::BadPair;
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

/// What is wrong with what is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It should be another one, and why it is not.
    Other(String),
    /// It was in files at the start, and would not be taken from anybody.
    Unfit(BadPair),
}

/// What the listeners show.
#[derive(Debug)]
pub struct Shown {
    chosen: RwLock<Chosen>,
    trouble: Mutex<Option<Trouble>>,
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

    /// Notes what is wrong with what is shown, or that all is well.
    pub fn note(&self, trouble: Option<Trouble>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// What is wrong with what is shown.
    pub fn trouble(&self) -> Option<Trouble> {
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
        let mut provider = rustls::crypto::ring::default_provider();
        let (slow, quick): (Vec<_>, Vec<_>) =
            provider.cipher_suites.into_iter().partition(|suite| is_slow(suite.suite()));
        provider.cipher_suites = [quick, slow].concat();
        let mut server = ServerConfig::builder_with_provider(Arc::new(provider))
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

/// Whether a cipher suite has SHA-384 for its digest, of which a handshake takes a hundred. SHA-256 is in the processor
/// itself where anything is; what is encrypted with 128 bits is as safe.
fn is_slow(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
    )
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
    /// What they hold is not taken.
    #[error("{}: {why}; {}, or move certificate and key away to use hydrophone's own", .path.display(), .why.remedy())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: BadPair,
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

/// What an administrator put into the files. Whether it can be shown is for [`super::pair`] to say.
pub struct Filed {
    /// The certificate with its chain.
    pub certificate: String,
    /// Its key.
    pub key: Zeroizing<String>,
}

impl Files {
    /// Reads both; nothing if neither is there and nobody asked for them.
    ///
    /// # Errors
    /// If one cannot be read, or is there alone.
    pub fn read(&self) -> Result<Option<Filed>, BadFiles> {
        let of_certificate = self.content(&self.certificate)?;
        let of_key = self.content(&self.key)?;
        let half = |there: &Path, missing: &Path| BadFiles::Half { there: there.into(), missing: missing.into() };
        match (of_certificate, of_key) {
            (Some(certificate), Some(key)) => Ok(Some(Filed { certificate: certificate.to_string(), key })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(half(&self.certificate, &self.key)),
            (None, Some(_)) => Err(half(&self.key, &self.certificate)),
        }
    }

    /// That what they hold is not taken.
    pub fn refused(&self, why: BadPair) -> BadFiles {
        BadFiles::Refused { path: if why.is_of_key() { self.key.clone() } else { self.certificate.clone() }, why }
    }

    fn content(&self, path: &Path) -> Result<Option<Zeroizing<String>>, BadFiles> {
        match std::fs::read(path).map(Zeroizing::new) {
            // What is no text is no PEM either, which is told of it then.
            Ok(content) => Ok(Some(Zeroizing::new(String::from_utf8_lossy(&content).into_owned()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.asked_for => Ok(None),
            Err(error) => Err(BadFiles::Unreadable { path: path.to_owned(), error }),
        }
    }
}

/// A file with a certificate and a key, which may be either. See [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    let files = Files { certificate: PathBuf::from("crt"), key: PathBuf::from("key"), asked_for: false };
    let text = String::from_utf8_lossy(data);
    if let Err(error) = super::pair::usable(&text, &text) {
        let text = files.refused(error).to_string();
        assert!(text.len() < 20_000 && !text.contains("BEGIN CERTIFICATE"), "{text}");
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

    fn usable(files: &Files) -> Result<Arc<CertifiedKey>, BadFiles> {
        let content = files.read()?.unwrap();
        crate::sys::pair::usable(&content.certificate, &content.key).map_err(|why| files.refused(why))
    }

    #[test]
    fn a_pair_is_read_with_its_chain_and_shown_until_another_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let ((certificate, key), (other, other_key)) = (pair(), pair());
        let chain = format!("a comment\n{certificate}{other}");
        let first = usable(&files(folder.path(), Some(&chain), Some(&key))).unwrap();
        assert_eq!(first.cert.len(), 2);
        let chosen = |certified: &Arc<CertifiedKey>| Chosen {
            certified: Arc::clone(certified),
            origin: Origin::Files,
            anchor: Anchor::Itself,
        };
        let shown = Shown::new(chosen(&first));
        assert_eq!(shown.certificate(), first.cert[0].to_vec());
        assert!(!shown.replace(chosen(&first)), "it is the same");
        let second = usable(&files(folder.path(), Some(&other), Some(&other_key))).unwrap();
        assert!(shown.replace(chosen(&second)));
        assert_eq!(shown.certificate(), first.cert[1].to_vec());
    }

    #[test]
    fn without_files_there_is_none_unless_they_were_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path(), None, None);
        assert!(files.read().unwrap().is_none());
        let asked = Files { asked_for: true, ..files };
        assert!(asked.read().err().unwrap().to_string().contains("tls.crt cannot be read: No such file"));
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
            (none, Some(key), ["tls.crt: the certificate's file holds no certificate in PEM form; ", "convert it"]),
            (Some(""), Some(key), ["tls.crt: the certificate's file is empty; ", "in PEM form"]),
            (cut, Some(key), ["tls.crt: certificate 1 of the file cannot be read; ", "fetch the file"]),
            (Some(odd.as_str()), Some(key), ["tls.crt: certificate 1 of the file cannot be read", "fetch the file"]),
            (
                Some(certificate),
                none,
                ["tls.key: the key's file holds no private key in PEM form", "give the private key"],
            ),
            (Some(certificate), Some(""), ["tls.key: the key's file is empty; ", "give the private key"]),
            (Some(certificate), Some(odd_key.as_str()), ["tls.key: the key is damaged", "make one that is taken"]),
            (Some(certificate), Some(certificate), ["tls.key: the key's file holds a certificate", "are exchanged"]),
            (Some(certificate), Some(other_key), ["tls.key: the key does not belong to", "was made with"]),
            (
                Some(certificate),
                Some(include_str!("../../tests/tls/encrypted.pem")),
                ["tls.key: the key is encrypted with a password; ", "openssl pkey -in FILE"],
            ),
        ] {
            let error = usable(&files(folder.path(), of_certificate, of_key)).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "{word:?} is missing in: {error}");
            }
            assert!(!error.contains("BEGIN CERTIFICATE"), "{error}");
        }
    }
}
