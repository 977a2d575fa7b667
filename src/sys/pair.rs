//! A certificate with its chain and its key, as a person hands them over: looked at whole before anything shows them.

mod bad;

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

pub use self::bad::{BadPair, Found};
use super::tls::{Described, describe};
use super::trust::{Authorities, Trust};
use crate::domain::certificate::{self, Anchor, Origin};
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

/// Reads a pair and judges it.
///
/// # Errors
/// If it must not be shown.
pub fn check(certificate: &str, key: &str, judge: &Judge) -> Result<Pair, BadPair> {
    let (chain, twice) = chain_of(certificate)?;
    let read = read(&chain)?;
    let certified = certified(&chain, key, &read)?;
    in_order(&chain, &read, judge)?;
    fit(&read, judge)?;
    in_time(&read, judge)?;
    let anchor = rests_on(&chain, &read, judge)?;
    let mut warnings = Vec::new();
    warnings.extend(twice.map(|place| {
        let subject = describe(&chain[place]).map(|told| told.subject).unwrap_or_default();
        format!("the file holds the certificate of \"{subject}\" twice: it is shown once")
    }));
    let own = &read[0].1;
    if judge.clock_wrong {
        warnings.push(
            "this box's clock is wrong, so whether the certificate is good now was not judged: timedatectl".to_owned(),
        );
    } else {
        let (begins, ends) = (seconds(own.not_before), seconds(own.not_after));
        let ending = certificate::ending(Origin::Given, begins, ends, judge.now, String::new());
        warnings.extend(ending.map(|ending| format!("{}: have the next one ready", ending.text)));
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
    warnings.extend(judge.host.and_then(|host| misnamed(&chain[0], host)));
    Ok(Pair { certified: Arc::new(certified), anchor, warnings })
}

/// A pair that can be shown at all, whatever those who look at it think of it.
///
/// # Errors
/// If TLS cannot be spoken with it.
pub fn usable(certificate: &str, key: &str) -> Result<Arc<CertifiedKey>, BadPair> {
    let (chain, _) = chain_of(certificate)?;
    certified(&chain, key, &read(&chain)?).map(Arc::new)
}

/// That a certificate is made for other names than the one that SonarQube calls.
pub fn misnamed(certificate: &CertificateDer<'_>, host: &str) -> Option<String> {
    if covers(certificate, host) {
        return None;
    }
    let mut names = describe(certificate).map(|told| told.names).unwrap_or_default();
    let more = names.len().saturating_sub(NAMES_TOLD_MAX);
    names.truncate(NAMES_TOLD_MAX);
    let names = match (names.is_empty(), more) {
        (true, _) => "no name".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    };
    Some(format!(
        "the certificate is made for {names}, and SonarQube calls {host}: its calls fail unless a proxy is in front"
    ))
}

/// Names of a certificate that a sentence tells: authorities issue for a hundred.
const NAMES_TOLD_MAX: usize = 5;

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
    if is_known(chain, trust) { Anchor::System } else { Anchor::Private }
}

/// Whether an authority that the system knows stands behind a chain, at a time at which all of it was good.
fn is_known(chain: &[CertificateDer<'static>], trust: &Trust) -> bool {
    let Some((own, others)) = chain.split_first() else { return false };
    let roots = trust.roots_with(&Authorities::default());
    let parsed = ParsedCertificate::try_from(own);
    parsed.is_ok_and(|parsed| verified(&parsed, others, &roots, good_time(chain)).is_ok())
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
    let (chain, _) = chain_of(certificate)?;
    let key = key_of(key)?;
    let provider = rustls::crypto::ring::default_provider();
    let certified = CertifiedKey::from_der(chain, key, &provider);
    certified.map(Arc::new).map_err(|error| BadPair::UnfitKey { kind: format!("one that cannot be used ({error})") })
}

/// The certificates, and which of them the file holds more than once.
fn chain_of(pem: &str) -> Result<(Vec<CertificateDer<'static>>, Option<usize>), BadPair> {
    let (mut chain, mut twice): (Vec<CertificateDer<'static>>, _) = (Vec::new(), None);
    for (index, certificate) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
        let certificate = certificate.map_err(|_| BadPair::Unreadable { number: index + 1 })?;
        // Bundles that were put together by hand name one twice.
        match chain.iter().position(|one| *one == certificate) {
            Some(place) => twice = Some(place),
            None => chain.push(certificate),
        }
    }
    match chain.len() {
        0 => Err(BadPair::NoCertificate { found: Found::in_text(pem, "PRIVATE KEY-----") }),
        count if count > CHAIN_CERTIFICATES_MAX => Err(BadPair::TooMany { count }),
        _ => Ok((chain, twice)),
    }
}

fn key_of(pem: &str) -> Result<PrivateKeyDer<'static>, BadPair> {
    if pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || pem.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(BadPair::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| match error {
        PemError::NoItemsFound => BadPair::NoKey { found: Found::in_text(pem, "BEGIN CERTIFICATE-----") },
        _ => BadPair::UnfitKey { kind: "damaged".to_owned() },
    })
}

type Read<'a> = (X509Certificate<'a>, Described);

fn read<'c>(chain: &'c [CertificateDer<'static>]) -> Result<Vec<Read<'c>>, BadPair> {
    let each = chain.iter().enumerate().map(|(index, der)| {
        let unreadable = BadPair::Unreadable { number: index + 1 };
        let (_, parsed) = x509_parser::parse_x509_certificate(der).map_err(|_| unreadable.clone())?;
        Ok((parsed, describe(der).ok_or(unreadable)?))
    });
    each.collect()
}

/// The key with its certificate, which has to be the first one.
fn certified(chain: &[CertificateDer<'static>], key: &str, read: &[Read]) -> Result<CertifiedKey, BadPair> {
    let key = key_of(key)?;
    let provider = rustls::crypto::ring::default_provider();
    // That a key cannot sign has its reason in its kind, which the certificate tells.
    let unfit = || {
        let kind = kind_of(&read[0].0);
        let is_taken = is_taken(&read[0].0);
        BadPair::UnfitKey { kind: if is_taken { "damaged, or none that can be used".to_owned() } else { kind } }
    };
    let signing = provider.key_provider.load_private_key(key).map_err(|_| unfit())?;
    if weak(&read[0].0) {
        return Err(unfit());
    }
    let own = signing.public_key();
    let is_own = |one: &Read| own.as_ref().is_some_and(|own| own.as_ref() == one.0.public_key().raw);
    if !is_own(&read[0]) {
        return Err(match read.iter().position(is_own) {
            Some(place) => {
                let mut wanted: Vec<_> = read.iter().collect();
                wanted[..=place].reverse();
                BadPair::Order { wanted: row(&wanted) }
            }
            None => BadPair::Mismatch { subject: read[0].1.subject.clone() },
        });
    }
    Ok(CertifiedKey::new(chain.to_vec(), signing))
}

/// Subjects in their order.
fn row(certificates: &[&Read]) -> String {
    let subjects: Vec<_> = certificates.iter().map(|(_, told)| format!("\"{}\"", told.subject)).collect();
    subjects.join(", then ")
}

/// Each was issued by the next one.
fn in_order(chain: &[CertificateDer<'static>], read: &[Read], judge: &Judge) -> Result<(), BadPair> {
    let issues = |issuer: &Read, of: &Read| issuer.0.subject() == of.0.issuer();
    for (index, pair) in read.windows(2).enumerate() {
        let [this, next] = pair else { continue };
        if issues(next, this) {
            continue;
        }
        if !read[index + 1..].iter().any(|other| issues(other, this)) {
            let (subject, next) = (this.1.subject.clone(), next.1.subject.clone());
            let is_whole = this.1.self_signed || is_known(&chain[..=index], judge.trust);
            return Err(if is_whole {
                BadPair::Stray { subject: next, last: subject }
            } else {
                BadPair::Gap { subject, issuer: this.1.issuer.clone(), next }
            });
        }
        // Those that are needed, from the box's own on.
        let mut wanted = vec![&read[0]];
        while let Some(next) = read.iter().find(|other| {
            wanted.last().is_some_and(|last| issues(other, last)) && !wanted.iter().any(|one| one.1 == other.1)
        }) {
            wanted.push(next);
        }
        return Err(BadPair::Order { wanted: row(&wanted) });
    }
    Ok(())
}

/// What nobody who checks would find fault with, as far as single certificates go.
fn fit(read: &[Read], judge: &Judge) -> Result<(), BadPair> {
    let (own, told) = &read[0];
    let subject = || told.subject.clone();
    if !is_taken(own) {
        return Err(BadPair::UnfitKey { kind: kind_of(own) });
    }
    // One that signed itself says so of itself as openssl makes it, and is believed as it is; without a name it is a root.
    if own.is_ca() && !(read.len() == 1 && told.self_signed && !told.names.is_empty()) {
        return Err(BadPair::Authority { subject: subject() });
    }
    if told.names.is_empty() {
        return Err(BadPair::NoName { subject: subject(), host: judge.host.map(str::to_owned) });
    }
    // Nobody asks how a root signed itself.
    let signed = read.iter().enumerate().filter(|(index, one)| *index == 0 || !one.1.self_signed);
    for (_, (certificate, told)) in signed {
        let how = match certificate.signature_algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => "SHA-1",
            "1.2.840.113549.1.1.4" => "MD5",
            _ => continue,
        };
        return Err(BadPair::OldSignature { subject: told.subject.clone(), how });
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
        error => return Err(refused(own, &error)),
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
        Err(error) => Err(refused(own, &error)),
    }
}

fn refused(own: &Described, error: &rustls::Error) -> BadPair {
    BadPair::Refused { subject: own.subject.clone(), why: bad::in_words(error) }
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
            // As whole bytes of its points tell it.
            521 | 528 => "ECDSA on P-521".to_owned(),
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

/// Keys that every SonarQube's Java knows, and every browser.
fn is_taken(read: &X509Certificate<'_>) -> bool {
    match read.public_key().parsed() {
        Ok(PublicKey::RSA(_)) => !weak(read),
        Ok(PublicKey::EC(point)) => matches!(point.key_size(), 256 | 384),
        _ => false,
    }
}

/// Keys that sign, and that others take for too short.
fn weak(read: &X509Certificate<'_>) -> bool {
    matches!(read.public_key().parsed(), Ok(PublicKey::RSA(_))) && bits(read) < 2048
}

#[cfg(test)]
#[path = "pair_tests.rs"]
mod tests;
