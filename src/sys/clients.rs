//! Whom the page's listener speaks with: everybody, or those alone who show a certificate that one of an administrator's
//! own authorities signed. That can be replaced while it runs; connections that are open stay.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::x509::X509Version;

use super::lists::{BadList, ListFile};
use super::shown::Shown;
use super::tls::describe;

/// What the listener speaks TLS with.
#[derive(Debug)]
pub struct Served {
    shown: Arc<Shown>,
    protocols: &'static [&'static [u8]],
    config: RwLock<Arc<ServerConfig>>,
    /// The authorities that it believes, as they were read.
    authorities: Mutex<Option<Vec<CertificateDer<'static>>>>,
}

impl Served {
    /// Begins with these authorities, or with none, and protocols by their ALPN names, the best first.
    pub fn new(shown: Arc<Shown>, protocols: &'static [&'static [u8]], clients: Option<Clients>) -> Arc<Self> {
        let config = RwLock::new(shown.server(protocols));
        let served = Self { shown, protocols, config, authorities: Mutex::default() };
        if let Some(clients) = clients {
            served.replace(clients);
        }
        Arc::new(served)
    }

    /// For the next connection.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a certificate is asked for.
    pub fn asks(&self) -> bool {
        self.authorities.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Believes these authorities from the next connection on; false if they were believed already.
    pub fn replace(&self, clients: Clients) -> bool {
        let mut authorities = self.authorities.lock().unwrap_or_else(PoisonError::into_inner);
        if authorities.as_ref() == Some(&clients.authorities) {
            return false;
        }
        let config = self.shown.server_for(self.protocols, clients.verifier);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        *authorities = Some(clients.authorities);
        true
    }
}

/// Authorities whose clients are let in.
pub struct Clients {
    authorities: Vec<CertificateDer<'static>>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ListFile {
    /// Reads certificates of authorities, PEM; nothing if the file is not there and nobody asked for it.
    ///
    /// # Errors
    /// If it is there and cannot be used.
    pub fn clients(&self) -> Result<Option<Clients>, BadList> {
        let Some(content) = self.content()? else { return Ok(None) };
        let broken = |why: &dyn std::fmt::Display| {
            let remedy = "put the certificates of your own authorities there, in PEM form";
            BadList::broken(&self.path, &format_args!("{why}; {remedy}"))
        };
        let authorities: Vec<_> = CertificateDer::pem_slice_iter(&content)
            .collect::<Result<_, _>>()
            .map_err(|_| broken(&"its PEM form is damaged"))?;
        if authorities.is_empty() {
            return Err(broken(&"it holds no certificate"));
        }
        if let Some(subject) = authorities.iter().find_map(|one| no_authority(one)) {
            let why = format_args!(
                "{subject} is no authority (CA:FALSE); put the certificate that signed the clients' there"
            );
            return Err(BadList::broken(&self.path, &why));
        }
        let mut roots = RootCertStore::empty();
        for (number, authority) in authorities.iter().enumerate() {
            let unusable = |_| broken(&format_args!("certificate {} in it cannot be read", number + 1));
            roots.add(authority.clone()).map_err(unusable)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let verifier = verifier.map_err(|error| broken(&error))?;
        Ok(Some(Clients { authorities, verifier }))
    }
}

/// Whose certificate this is, if it cannot have signed any: everybody would be kept out. One that signed itself is the one
/// that it lets in.
fn no_authority(der: &CertificateDer<'_>) -> Option<String> {
    let (_, read) = x509_parser::parse_x509_certificate(der).ok()?;
    let told = describe(der)?;
    (read.version() == X509Version::V3 && !read.is_ca() && !told.self_signed).then_some(told.subject)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_file_without_authorities_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = ListFile { path: folder.path().join("admin-client-ca.crt"), asked_for: false };
        assert!(file.clients().unwrap().is_none());
        for (content, words) in [
            ("", "admin-client-ca.crt: it holds no certificate; put"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", "its PEM form is damaged; put"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "certificate 1 in it cannot be read; put",
            ),
        ] {
            std::fs::write(&file.path, content).unwrap();
            let told = file.clients().err().unwrap().to_string();
            assert!(told.contains(words), "{told}");
        }
        // A client's certificate in the place of its authority's.
        let key = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::new(rcgen::CertificateParams::new(Vec::new()).unwrap(), &key);
        let mut params = rcgen::CertificateParams::new(vec!["ines.example".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "ines");
        std::fs::write(&file.path, params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        let told = file.clients().err().unwrap().to_string();
        assert!(told.ends_with(
            "admin-client-ca.crt: CN=ines is no authority (CA:FALSE); put the certificate that signed the clients' there"
        ), "{told}");
        std::fs::remove_file(&file.path).unwrap();
        file.asked_for = true;
        assert!(file.clients().err().unwrap().to_string().contains("cannot be read: No such file"));
    }
}
