#![allow(clippy::unwrap_used, reason = "tests")]
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use super::*;

/// An authority, one below it, and a certificate of that one.
struct Family {
    root: String,
    middle: String,
    leaf: String,
    key: String,
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Family {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let keys = || KeyPair::generate().unwrap();
        let (root_key, middle_key, key) = (keys(), keys(), keys());
        let root = authority("Root").self_signed(&root_key).unwrap().pem();
        let root_issuer = Issuer::new(authority("Root"), root_key);
        let middle = authority("Middle").signed_by(&middle_key, &root_issuer).unwrap().pem();
        let mut params = CertificateParams::new(vec!["hooks.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "hooks");
        change(&mut params);
        let leaf = params.signed_by(&key, &Issuer::new(authority("Middle"), middle_key)).unwrap().pem();
        Self { root, middle, leaf, key: key.serialize_pem() }
    }
}

/// 2027-06-01.
const NOW: Timestamp = Timestamp(1_811_808_000_000);

fn judged(chain: &str, key: &str, host: Option<&str>, clock_wrong: bool) -> Result<Pair, BadPair> {
    check(chain, key, &Judge { now: NOW, clock_wrong, trust: &Trust::load(), host })
}

fn refused(chain: &[&str], key: &str) -> BadPair {
    match judged(&chain.concat(), key, None, false) {
        Ok(_) => panic!("it was taken"),
        Err(bad) => bad,
    }
}

#[test]
fn a_chain_up_to_a_root_of_ones_own_is_taken_with_a_word_about_it() {
    let family = Family::new();
    let chain = [family.leaf.as_str(), &family.middle, &family.root].concat();
    let pair = judged(&chain, &family.key, Some("hooks.example"), false).unwrap();
    assert_eq!((pair.anchor, pair.certified.cert.len(), pair.warnings.len()), (Anchor::Private, 3, 1));
    assert!(pair.warnings[0].contains("\"CN=Root\"") && pair.warnings[0].contains("SonarQube refuses it"));
    // A box whose public URL is another one is told.
    let pair = judged(&chain, &family.key, Some("other.example"), false).unwrap();
    assert!(
        pair.warnings[1].contains("made for hooks.example, and SonarQube calls other.example"),
        "{:?}",
        pair.warnings
    );
    assert_eq!(anchor(&pair.certified.cert, &Trust::load()), Anchor::Private);
    // As it is stored, and one that a bundle names twice.
    let written = pem(&pair.certified.cert);
    assert_eq!(stored(&written, &family.key).unwrap().cert, pair.certified.cert);
    let twice = [family.leaf.as_str(), &family.leaf, &family.middle, &family.root].concat();
    assert_eq!(judged(&twice, &family.key, None, false).unwrap().certified.cert.len(), 3);
}

#[test]
fn a_certificate_that_signed_itself_is_taken_with_a_word_about_it() {
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["box.example".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let pair = judged(&own, &key.serialize_pem(), None, false).unwrap();
    assert_eq!((pair.anchor, pair.warnings.len()), (Anchor::Itself, 1));
}

#[test]
fn what_is_missing_of_a_chain_is_named() {
    let Family { root, middle, leaf, key } = Family::new();
    let missing =
        |subject: &str, issuer: &str| BadPair::MissingIssuer { subject: subject.into(), issuer: issuer.into() };
    assert_eq!(refused(&[&leaf], &key), missing("CN=hooks", "CN=Middle"));
    assert_eq!(refused(&[&leaf, &middle], &key), missing("CN=Middle", "CN=Root"));
    let wanted = "CN=hooks; then CN=Middle; then CN=Root".to_owned();
    assert_eq!(refused(&[&leaf, &root, &middle], &key), BadPair::Order { wanted: wanted.clone() });
    assert_eq!(refused(&[&root, &middle, &leaf], &key), BadPair::Order { wanted });
    let other = Family::new();
    // Its name is right, its key is not.
    assert_eq!(
        refused(&[&leaf, &middle, &other.root], &key),
        BadPair::WrongIssuer { subject: "CN=Middle".into(), issuer: "CN=Root".into() }
    );
    let stray = authority("Stray").self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    assert_eq!(
        refused(&[&leaf, &middle, &root, &stray], &key),
        BadPair::Stray { subject: "CN=Stray".into(), last: "CN=Root".into() }
    );
}

#[test]
fn a_key_has_to_belong_to_the_certificate_and_to_be_one_that_signs() {
    let family = Family::new();
    let other = KeyPair::generate().unwrap().serialize_pem();
    assert_eq!(refused(&[&family.leaf], &other), BadPair::Mismatch { subject: "CN=hooks".into() });
    assert_eq!(refused(&[&family.leaf], "nothing"), BadPair::NoKey);
    assert_eq!(refused(&["nothing"], &family.key), BadPair::NoCertificate);
    assert_eq!(refused(&[&family.leaf], include_str!("../../tests/tls/encrypted.pem")), BadPair::EncryptedKey);
    for (pair, kind) in [
        (include_str!("../../tests/tls/rsa1024.pem"), "RSA of 1024 bits"),
        (include_str!("../../tests/tls/p521.pem"), "ECDSA of 521 bits"),
    ] {
        let bad = refused(&[pair], pair);
        assert!(matches!(&bad, BadPair::UnfitKey { kind: found } if found.starts_with(&kind[..8])), "{bad}");
        assert!(bad.to_string().contains("RSA of 2048 to 4096 bits"), "{bad}");
    }
    let rsa = include_str!("../../tests/tls/rsa.pem");
    let pair = judged(rsa, rsa, None, false).unwrap();
    assert_eq!(kind(&pair.certified.cert[0]), "RSA of 2048 bits");
    for (algorithm, name) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, "ECDSA on P-256"),
        (&rcgen::PKCS_ECDSA_P384_SHA384, "ECDSA on P-384"),
        (&rcgen::PKCS_ED25519, "Ed25519"),
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let own = CertificateParams::new(vec!["box.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        assert!(judged(&own.pem(), &key.serialize_pem(), None, false).is_ok(), "{name}");
        assert_eq!(kind(own.der()), name);
    }
}

#[test]
fn a_certificate_that_is_not_good_now_is_refused_unless_the_clock_is_known_to_be_wrong() {
    let of = |from: i32, until: i32| {
        Family::with(|params| {
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(until, 1, 1);
        })
    };
    for (family, ended) in [(of(2024, 2025), true), (of(2028, 2029), false)] {
        let chain = [family.leaf.as_str(), &family.middle, &family.root].concat();
        let bad = refused(&[&chain], &family.key);
        assert_eq!(matches!(bad, BadPair::Ended { .. }), ended, "{bad}");
        assert_eq!(matches!(bad, BadPair::NotYet { .. }), !ended, "{bad}");
        assert!(bad.to_string().contains("this box's clock says 2027-06-01T"), "{bad}");
        let pair = judged(&chain, &family.key, None, true).unwrap();
        assert!(pair.warnings[0].contains("clock is wrong"), "{:?}", pair.warnings);
    }
}

#[test]
fn a_certificate_that_is_not_for_servers_is_refused() {
    let family = Family::with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    let bad = refused(&[&family.leaf, &family.middle, &family.root], &family.key);
    assert!(bad.to_string().contains("not made for servers"), "{bad}");
}

#[test]
fn every_refusal_says_what_to_do() {
    let family = Family::new();
    for bad in [
        refused(&["nothing"], &family.key),
        refused(&[&family.leaf], &family.key),
        refused(&[&family.leaf], "nothing"),
        refused(&[&family.root, &family.middle, &family.leaf], &family.key),
    ] {
        let text = bad.to_string();
        assert!(text.contains("; ") || text.contains(", with a line such as"), "{text}");
    }
}
