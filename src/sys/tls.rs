//! The box's own certificate, made at the first start, and what a certificate says.

use std::net::IpAddr;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;

/// A certificate chain and its key.
pub struct Identity {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// The private key, PKCS #8 DER.
    pub key: Vec<u8>,
}

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum BadIdentity {
    /// It could not be made.
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    /// The stored one is refused.
    #[error("the stored certificate cannot be used: {0}")]
    Use(#[from] rustls::Error),
}

impl Drop for Identity {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
    }
}

impl Identity {
    /// Makes a certificate for these names and addresses, signed by itself: ECDSA on P-256, valid for ten years.
    /// SonarQube does not trust it by itself; it is there so that the first start needs nothing.
    pub fn self_signed(names: Vec<String>) -> Result<Self, BadIdentity> {
        let mut parameters = rcgen::CertificateParams::new(names)?;
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "Hydrophone");
        parameters.not_before = rcgen::date_time_ymd(2024, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2036, 1, 1);
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let certificate = parameters.self_signed(&key)?;
        Ok(Self { certificate: certificate.der().to_vec(), key: key.serialize_der() })
    }

    /// With its key in a form that can sign.
    pub fn certified(&self) -> Result<Arc<CertifiedKey>, BadIdentity> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let chain = vec![CertificateDer::from(self.certificate.clone())];
        let provider = rustls::crypto::ring::default_provider();
        Ok(Arc::new(CertifiedKey::from_der(chain, key, &provider)?))
    }
}

/// The names that a certificate of this box should have: its host name, and what loopback calls itself.
pub fn own_names(public_host: Option<&str>) -> Vec<String> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(public_host.map(str::to_owned));
    if !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
        names.push(host);
    }
    names.dedup();
    names
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Whose it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Whether those are the same.
    pub self_signed: bool,
    /// Host names and addresses that it is good for.
    pub names: Vec<String>,
    /// Its SHA-256, in pairs of hex digits.
    pub fingerprint: String,
    /// From when on it is good, in seconds since 1970.
    pub not_before: i64,
    /// Until when it is good.
    pub not_after: i64,
}

/// Whose the certificates are that this box makes for itself.
pub const OWN_SUBJECT: &str = "CN=Hydrophone";

/// Names of a certificate that are read: authorities issue for a hundred.
const NAMES_MAX: usize = 200;

/// Reads a certificate (DER); nothing if it is none.
pub fn describe(der: &[u8]) -> Option<Described> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    // The other side wrote it: only what can be printed, and not at any length.
    let plain = |text: &str| text.chars().filter(|letter| !letter.is_control()).take(255).collect::<String>();
    let names = certificate.subject_alternative_name().ok().flatten();
    let names =
        names.iter().flat_map(|names| &names.value.general_names).take(NAMES_MAX).filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(plain(name)),
            GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
            _ => None,
        });
    let pairs: Vec<String> = digest(&SHA256, der).as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    Some(Described {
        subject: plain(&certificate.subject().to_string()),
        issuer: plain(&certificate.issuer().to_string()),
        self_signed: certificate.subject() == certificate.issuer(),
        names: names.collect(),
        fingerprint: pairs.join(":"),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let of_four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    of_four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_of_our_own_is_described() {
        let names = ["box.example", "127.0.0.1", "::1"].map(str::to_owned);
        let identity = Identity::self_signed(names.to_vec()).expect("it is made");
        let described = describe(&identity.certificate).expect("it can be read");
        assert_eq!((described.subject.as_str(), described.self_signed), (OWN_SUBJECT, true));
        assert_eq!(described.names, names);
        assert_eq!((described.not_before, described.not_after), (1_704_067_200, 2_082_758_400));
        assert_eq!((described.fingerprint.len(), described.fingerprint.matches(':').count()), (95, 31));
        assert_eq!(describe(b"none"), None);
    }
}
