//! A certificate with its chain and its key, as a person hands them over: looked at whole before anything shows them.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore};
use x509_parser::certificate::X509Certificate;
use x509_parser::public_key::PublicKey;

use super::tls::{Described, describe};
use super::trust::{Authorities, Trust};
use crate::domain::certificate::Anchor;
use crate::domain::limits::CHAIN_CERTIFICATES_MAX;
use crate::domain::time::Timestamp;

/// A pair that can be shown.
pub struct Pair {
    /// The chain with the key in a form that signs.
    pub certified: Arc<CertifiedKey>,
    /// What makes it believed.
    pub anchor: Anchor,
    /// What a person should know of it, and what does not keep it from being shown.
    pub warnings: Vec<String>,
}

/// What a pair is judged by.
pub struct Judge<'j> {
    /// Now.
    pub now: Timestamp,
    /// Whether that may be wrong.
    pub clock_wrong: bool,
    /// The roots that are known.
    pub trust: &'j Trust,
    /// The host of the public URL.
    pub host: Option<&'j str>,
}

/// Why a pair is not taken. Each is one sentence with its remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPair {
    /// There is no certificate in it.
    #[error(
        "the certificate's file holds no certificate in PEM form; convert it: openssl x509 -inform der -in FILE -out FILE.pem"
    )]
    NoCertificate,
    /// One of the certificates cannot be read.
    #[error("certificate {number} of the file cannot be read; fetch the file from its authority again")]
    Unreadable {
        /// Which, from 1.
        number: usize,
    },
    /// So many are no chain.
    #[error("the file holds {count} certificates; leave only the box's own and those between it and its authority")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// There is no key in it.
    #[error("the key's file holds no private key in PEM form, with a line such as -----BEGIN PRIVATE KEY-----")]
    NoKey,
    /// It takes a password.
    #[error("the key is encrypted with a password; write it without one: openssl pkey -in FILE -out FILE.plain")]
    EncryptedKey,
    /// It cannot sign.
    #[error("the key is {kind}; make one that is taken: ECDSA on P-256 or P-384, or RSA of 2048 to 4096 bits")]
    UnfitKey {
        /// What it is.
        kind: String,
    },
    /// It belongs to another certificate, or to none of these.
    #[error("the key does not belong to the certificate \"{subject}\"; give the one that it was made with")]
    Mismatch {
        /// Whose the first certificate is.
        subject: String,
    },
    /// The right certificates in another order.
    #[error("the certificates are in another order than needed; put them into this one: {wanted}")]
    Order {
        /// Subjects, the box's own first.
        wanted: String,
    },
    /// Something that has nothing to do with the rest.
    #[error("\"{subject}\" is no part of the chain, which ends before it with \"{last}\"; leave it out")]
    Stray {
        /// Whose certificate that is.
        subject: String,
        /// The end of the chain.
        last: String,
    },
    /// Whoever signed the last one is missing.
    #[error(
        "\"{subject}\" was issued by \"{issuer}\", which is neither in the file nor an authority that this box's system knows; add \
         that certificate to the end of the file"
    )]
    MissingIssuer {
        /// The last certificate that there is.
        subject: String,
        /// Who is missing.
        issuer: String,
    },
    /// The name fits and the signature does not.
    #[error(
        "\"{subject}\" was not signed by the certificate of \"{issuer}\" that follows it; fetch the chain from the authority again"
    )]
    WrongIssuer {
        /// The certificate.
        subject: String,
        /// What should have signed it.
        issuer: String,
    },
    /// Its time is over.
    #[error(
        "\"{subject}\" has ended at {ended}, and this box's clock says {now}; renew it, or set the clock if that is wrong"
    )]
    Ended {
        /// Whose it is.
        subject: String,
        /// Until when it was good.
        ended: Timestamp,
        /// What the clock says.
        now: Timestamp,
    },
    /// Its time has not come.
    #[error(
        "\"{subject}\" is good from {begins} on, and this box's clock says {now}; wait, or set the clock if that is wrong"
    )]
    NotYet {
        /// Whose it is.
        subject: String,
        /// From when on it is good.
        begins: Timestamp,
        /// What the clock says.
        now: Timestamp,
    },
    /// Nobody who checks takes it.
    #[error("\"{subject}\" is refused by whoever checks it: {why}; have the authority issue another one")]
    Refused {
        /// Whose it is.
        subject: String,
        /// Why.
        why: String,
    },
}

/// Reads a pair and judges it.
///
/// # Errors
/// If it must not be shown.
pub fn check(certificate: &str, key: &str, judge: &Judge) -> Result<Pair, BadPair> {
    let chain = chain_of(certificate)?;
    let mut read = Vec::new();
    for (index, der) in chain.iter().enumerate() {
        let unreadable = BadPair::Unreadable { number: index + 1 };
        let (_, parsed) = x509_parser::parse_x509_certificate(der).map_err(|_| unreadable.clone())?;
        read.push((parsed, describe(der).ok_or(unreadable)?));
    }
    let certified = certified(&chain, key, &read)?;
    in_order(&read)?;
    in_time(&read, judge)?;
    let anchor = rests_on(&chain, &read, judge)?;
    let mut warnings = Vec::new();
    let own = &read[0].1;
    if judge.clock_wrong {
        warnings.push(
            "this box's clock is wrong, so whether the certificate is good now was not judged: timedatectl".to_owned(),
        );
    }
    match anchor {
        Anchor::System => {}
        Anchor::Itself => warnings.push(
            "the certificate is signed by itself: SonarQube refuses it unless it was told to trust it".to_owned(),
        ),
        Anchor::Private => warnings.push(format!(
            "\"{}\", at the end of the chain, is an authority that this box's system does not know: SonarQube refuses it unless \
             it was told to trust it",
            read[read.len() - 1].1.subject
        )),
    }
    if let Some(host) = judge.host.filter(|host| !covers(&chain[0], host)) {
        warnings.push(format!(
            "the certificate is made for {}, and SonarQube calls {host}: its calls fail unless a proxy is in front",
            if own.names.is_empty() { "no name".to_owned() } else { own.names.join(", ") }
        ));
    }
    Ok(Pair { certified: Arc::new(certified), anchor, warnings })
}

/// What a chain that is shown already rests on, as far as that can be told without its end in time.
pub fn anchor(chain: &[CertificateDer<'static>], trust: &Trust) -> Anchor {
    let is_itself = |der: &CertificateDer<'_>| {
        x509_parser::parse_x509_certificate(der).is_ok_and(|(_, read)| read.subject() == read.issuer())
    };
    let Some((own, others)) = chain.split_first() else { return Anchor::Itself };
    // Without a look at the system's roots, which a box that polls through a proxy may never need.
    if others.is_empty() && is_itself(own) {
        return Anchor::Itself;
    }
    let roots = trust.roots_with(&Authorities::default());
    match ParsedCertificate::try_from(own) {
        Ok(parsed) if verified(&parsed, others, &roots, good_time(chain)).is_ok() => Anchor::System,
        _ => Anchor::Private,
    }
}

/// Whether a certificate is made for this name or address.
pub fn covers(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let host = host.trim_matches(['[', ']']).to_owned();
    let (Ok(parsed), Ok(name)) = (ParsedCertificate::try_from(certificate), ServerName::try_from(host)) else {
        return false;
    };
    verify_server_name(&parsed, &name).is_ok()
}

/// What kind of key a certificate is for.
pub fn kind(certificate: &[u8]) -> String {
    let Ok((_, read)) = x509_parser::parse_x509_certificate(certificate) else { return "unknown".to_owned() };
    kind_of(&read)
}

/// Certificates as PEM.
pub fn pem(chain: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    for der in chain {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = BASE64_STANDARD.encode(der);
        for line in encoded.as_bytes().chunks(64) {
            text.extend(line.iter().map(|&byte| char::from(byte)));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// Reads a pair that was checked when it was stored.
///
/// # Errors
/// If it cannot be used after all.
pub fn stored(certificate: &str, key: &str) -> Result<Arc<CertifiedKey>, BadPair> {
    let chain = chain_of(certificate)?;
    let key = key_of(key)?;
    let provider = rustls::crypto::ring::default_provider();
    let certified = CertifiedKey::from_der(chain, key, &provider);
    certified.map(Arc::new).map_err(|error| BadPair::UnfitKey { kind: format!("one that cannot be used ({error})") })
}

fn chain_of(pem: &str) -> Result<Vec<CertificateDer<'static>>, BadPair> {
    let mut chain: Vec<CertificateDer<'static>> = Vec::new();
    for (index, certificate) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
        let certificate = certificate.map_err(|_| BadPair::Unreadable { number: index + 1 })?;
        // Bundles that were put together by hand name one twice.
        if !chain.contains(&certificate) {
            chain.push(certificate);
        }
    }
    match chain.len() {
        0 => Err(BadPair::NoCertificate),
        count if count > CHAIN_CERTIFICATES_MAX => Err(BadPair::TooMany { count }),
        _ => Ok(chain),
    }
}

fn key_of(pem: &str) -> Result<PrivateKeyDer<'static>, BadPair> {
    if pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || pem.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(BadPair::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| match error {
        PemError::NoItemsFound => BadPair::NoKey,
        _ => BadPair::UnfitKey { kind: "damaged".to_owned() },
    })
}

type Read<'a> = (X509Certificate<'a>, Described);

/// The key with its certificate, which has to be the first one.
fn certified(chain: &[CertificateDer<'static>], key: &str, read: &[Read]) -> Result<CertifiedKey, BadPair> {
    let key = key_of(key)?;
    let provider = rustls::crypto::ring::default_provider();
    // That a key cannot sign has its reason in its kind, which the certificate tells.
    let unfit = || {
        let kind = kind_of(&read[0].0);
        let is_taken = kind.starts_with("ECDSA on P-") || (kind.starts_with("RSA") && !weak(&read[0].0));
        BadPair::UnfitKey { kind: if is_taken { "damaged, or none that can be used".to_owned() } else { kind } }
    };
    let signing = provider.key_provider.load_private_key(key).map_err(|_| unfit())?;
    if weak(&read[0].0) {
        return Err(unfit());
    }
    let own = signing.public_key();
    let is_own = |der: &CertificateDer<'_>| {
        let parsed = ParsedCertificate::try_from(der).ok();
        parsed.is_some_and(|parsed| own.as_ref().is_some_and(|own| *own == parsed.subject_public_key_info()))
    };
    if !is_own(&chain[0]) {
        return Err(match chain.iter().position(is_own) {
            Some(place) => {
                let mut wanted: Vec<_> = read.iter().map(|(_, told)| told.subject.as_str()).collect();
                wanted[..=place].reverse();
                BadPair::Order { wanted: wanted.join("; then ") }
            }
            None => BadPair::Mismatch { subject: read[0].1.subject.clone() },
        });
    }
    Ok(CertifiedKey::new(chain.to_vec(), signing))
}

/// Each was issued by the next one.
fn in_order(read: &[Read]) -> Result<(), BadPair> {
    let issues = |issuer: &Read, of: &Read| issuer.0.subject() == of.0.issuer();
    for (index, pair) in read.windows(2).enumerate() {
        let [this, next] = pair else { continue };
        if issues(next, this) {
            continue;
        }
        if !read[index + 1..].iter().any(|other| issues(other, this)) {
            return Err(BadPair::Stray { subject: next.1.subject.clone(), last: this.1.subject.clone() });
        }
        // Those that are needed, from the box's own on.
        let mut wanted = vec![&read[0]];
        while let Some(next) = read.iter().find(|other| {
            wanted.last().is_some_and(|last| issues(other, last)) && !wanted.iter().any(|one| one.1 == other.1)
        }) {
            wanted.push(next);
        }
        let wanted: Vec<_> = wanted.into_iter().map(|(_, told)| told.subject.as_str()).collect();
        return Err(BadPair::Order { wanted: wanted.join("; then ") });
    }
    Ok(())
}

fn in_time(read: &[Read], judge: &Judge) -> Result<(), BadPair> {
    if judge.clock_wrong {
        return Ok(());
    }
    let now = judge.now;
    for (_, told) in read {
        let (begins, ended) = (seconds(told.not_before), seconds(told.not_after));
        if ended <= now {
            return Err(BadPair::Ended { subject: told.subject.clone(), ended, now });
        }
        if begins > now {
            return Err(BadPair::NotYet { subject: told.subject.clone(), begins, now });
        }
    }
    Ok(())
}

fn seconds(seconds: i64) -> Timestamp {
    Timestamp(seconds.saturating_mul(1000))
}

/// What the chain rests on: the system's roots, the last certificate in it, or nothing.
fn rests_on(chain: &[CertificateDer<'static>], read: &[Read], judge: &Judge) -> Result<Anchor, BadPair> {
    let (own, last) = (&read[0].1, &read[read.len() - 1].1);
    if chain.len() == 1 && own.self_signed {
        return Ok(Anchor::Itself);
    }
    let unreadable = BadPair::Unreadable { number: 1 };
    let parsed = ParsedCertificate::try_from(&chain[0]).map_err(|_| unreadable.clone())?;
    let now = if judge.clock_wrong {
        good_time(chain)
    } else {
        UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(judge.now.0).unwrap_or_default()))
    };
    let known = judge.trust.roots_with(&Authorities::default());
    let error = match verified(&parsed, &chain[1..], &known, now) {
        Ok(()) => return Ok(Anchor::System),
        Err(error) => error,
    };
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {}
        error => return Err(refused(own, error)),
    }
    if !last.self_signed {
        return Err(BadPair::MissingIssuer { subject: last.subject.clone(), issuer: last.issuer.clone() });
    }
    let mut private = RootCertStore::empty();
    private.add(chain[chain.len() - 1].clone()).map_err(|_| unreadable)?;
    match verified(&parsed, &chain[1..], &private, now) {
        Ok(()) => Ok(Anchor::Private),
        Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            Err(BadPair::WrongIssuer { subject: read[read.len() - 2].1.subject.clone(), issuer: last.subject.clone() })
        }
        Err(error) => Err(refused(own, error)),
    }
}

fn refused(own: &Described, error: rustls::Error) -> BadPair {
    let why = match error {
        rustls::Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
        ) => "it is not made for servers (extended key usage)".to_owned(),
        rustls::Error::InvalidCertificate(problem) => problem.to_string(),
        error => error.to_string(),
    };
    BadPair::Refused { subject: own.subject.clone(), why }
}

fn verified(
    own: &ParsedCertificate<'_>,
    others: &[CertificateDer<'_>],
    roots: &RootCertStore,
    now: UnixTime,
) -> Result<(), rustls::Error> {
    let algorithms: &[&dyn SignatureVerificationAlgorithm] =
        rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(own, roots, others, now, algorithms)
}

/// A time at which all of a chain was good, where there is one.
fn good_time(chain: &[CertificateDer<'_>]) -> UnixTime {
    let begins = chain.iter().filter_map(|der| describe(der)).map(|told| told.not_before).max().unwrap_or_default();
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(begins).unwrap_or_default()))
}

fn kind_of(read: &X509Certificate<'_>) -> String {
    let key = read.public_key();
    match key.parsed() {
        Ok(PublicKey::RSA(_)) => format!("RSA of {} bits", bits(read)),
        Ok(PublicKey::EC(point)) => match point.key_size() {
            256 => "ECDSA on P-256".to_owned(),
            384 => "ECDSA on P-384".to_owned(),
            size => format!("ECDSA of {size} bits"),
        },
        Ok(PublicKey::DSA(_)) => "DSA".to_owned(),
        _ if key.algorithm.algorithm.to_id_string() == "1.3.101.112" => "Ed25519".to_owned(),
        _ => "of a kind that is not known".to_owned(),
    }
}

fn bits(read: &X509Certificate<'_>) -> usize {
    match read.public_key().parsed() {
        // As DER writes it, with a zero before a first bit that is set.
        Ok(PublicKey::RSA(key)) => {
            let significant = key.modulus.iter().skip_while(|byte| **byte == 0);
            let mut significant = significant.copied();
            let first = significant.next().unwrap_or_default();
            8 * (significant.count() + 1) - usize::try_from(first.leading_zeros()).unwrap_or_default()
        }
        _ => 0,
    }
}

/// Keys that sign, and that others take for too short.
fn weak(read: &X509Certificate<'_>) -> bool {
    matches!(read.public_key().parsed(), Ok(PublicKey::RSA(_))) && bits(read) < 2048
}

#[cfg(test)]
#[path = "pair_tests.rs"]
mod tests;
