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
    let wanted = "\"CN=hooks\", then \"CN=Middle\", then \"CN=Root\"".to_owned();
    assert_eq!(refused(&[&leaf, &root, &middle], &key), BadPair::Order { wanted: wanted.clone() });
    assert_eq!(refused(&[&root, &middle, &leaf], &key), BadPair::Order { wanted });
    let other = Family::new();
    // Its name is right, its key is not.
    assert_eq!(
        refused(&[&leaf, &middle, &other.root], &key),
        BadPair::WrongIssuer { subject: "CN=Middle".into(), issuer: "CN=Root".into() }
    );
    let gap = BadPair::Gap { subject: "CN=hooks".into(), issuer: "CN=Middle".into(), next: "CN=Root".into() };
    assert_eq!(refused(&[&leaf, &root], &key), gap);
    assert_eq!(gap.to_string(), "\"CN=Middle\", which issued \"CN=hooks\", is missing");
    assert_eq!(gap.remedy(), "put it between \"CN=hooks\" and \"CN=Root\"");
    let root_missing = refused(&[&leaf, &middle], &key);
    assert!(root_missing.remedy().starts_with("add the certificate of \"CN=Root\" to the end"), "{root_missing:?}");
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
    for (text, found) in [("nothing", Found::Something), (" \n", Found::Nothing), (&family.leaf, Found::Other)] {
        assert_eq!(refused(&[&family.leaf], text), BadPair::NoKey { found });
    }
    for (text, found) in [("nothing", Found::Something), ("", Found::Nothing), (&family.key, Found::Other)] {
        assert_eq!(refused(&[text], &family.key), BadPair::NoCertificate { found });
    }
    assert_eq!(refused(&[&family.leaf], include_str!("../../tests/tls/encrypted.pem")), BadPair::EncryptedKey);
    for (pair, kind) in [
        (include_str!("../../tests/tls/rsa1024.pem"), "RSA of 1024 bits"),
        (include_str!("../../tests/tls/p521.pem"), "ECDSA on P-521"),
    ] {
        let bad = refused(&[pair], pair);
        assert_eq!(bad, BadPair::UnfitKey { kind: kind.to_owned() });
        assert!(bad.remedy().contains("RSA of 2048 to 4096 bits"), "{bad}");
    }
    let rsa = include_str!("../../tests/tls/rsa.pem");
    let pair = judged(rsa, rsa, None, false).unwrap();
    assert_eq!(kind(&pair.certified.cert[0]), "RSA of 2048 bits");
    for (algorithm, name) in
        [(&rcgen::PKCS_ECDSA_P256_SHA256, "ECDSA on P-256"), (&rcgen::PKCS_ECDSA_P384_SHA384, "ECDSA on P-384")]
    {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let own = CertificateParams::new(vec!["box.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        assert!(judged(&own.pem(), &key.serialize_pem(), None, false).is_ok(), "{name}");
        assert_eq!(kind(own.der()), name);
    }
    // The Java of a Server may not know it.
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let own = CertificateParams::new(vec!["box.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    assert_eq!(refused(&[&own.pem()], &key.serialize_pem()), BadPair::UnfitKey { kind: "Ed25519".to_owned() });
    assert!(usable(&own.pem(), &key.serialize_pem()).is_ok(), "TLS can be spoken with it");
}

#[test]
fn a_certificate_that_names_no_host_is_refused_with_the_host_that_it_should_name() {
    let family = Family::with(|params| params.subject_alt_names.clear());
    let chain = [family.leaf.as_str(), &family.middle, &family.root].concat();
    let bad = judged(&chain, &family.key, Some("hooks.example"), false).err().unwrap();
    assert_eq!(bad, BadPair::NoName { subject: "CN=hooks".into(), host: Some("hooks.example".into()) });
    assert_eq!(bad.to_string(), "the certificate \"CN=hooks\" names no host (subject alternative name)");
    assert_eq!(bad.remedy(), "have one issued for hooks.example");
}

/// As openssl makes one without a file of extensions, which has no place for names at all.
#[test]
fn one_of_a_former_version_names_no_host_either() {
    let (pem, key) = (include_str!("../../tests/tls/version1.pem"), include_str!("../../tests/tls/version1.pem"));
    assert!(matches!(refused(&[pem], key), BadPair::NoName { .. }));
}

#[test]
fn an_authoritys_own_certificate_is_none_of_a_box() {
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let root = authority("Root").self_signed(&root_key).unwrap().pem();
    let alone = refused(&[&root], &root_key.serialize_pem());
    assert_eq!(alone, BadPair::Authority { subject: "CN=Root".into() });
    let middle = authority("Middle").signed_by(&key, &Issuer::new(authority("Root"), root_key)).unwrap().pem();
    let bad = refused(&[&middle, &root], &key.serialize_pem());
    assert_eq!(bad.to_string(), "\"CN=Middle\" is an authority's own certificate");
}

#[test]
fn a_certificate_that_is_signed_with_sha_1_is_refused_in_a_sentence() {
    let pem = include_str!("../../tests/tls/sha1.pem");
    let bad = refused(&[pem], pem);
    assert_eq!(bad.to_string(), "\"CN=hooks.example\" is signed with SHA-1, which nobody believes");
}

#[test]
fn an_authority_that_may_issue_nothing_is_told_in_words() {
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = authority("Root");
    params.is_ca = IsCa::ExplicitNoCa;
    let root = params.self_signed(&root_key).unwrap().pem();
    let mut leaf = CertificateParams::new(vec!["hooks.example".to_owned()]).unwrap();
    leaf.distinguished_name.push(DnType::CommonName, "hooks");
    let leaf = leaf.signed_by(&key, &Issuer::new(params, root_key)).unwrap().pem();
    let bad = refused(&[&leaf, &root], &key.serialize_pem()).to_string();
    assert!(bad.contains("CN=hooks") && bad.len() < 200 && !bad.contains('{') && !bad.contains("OtherError"), "{bad}");
}

#[test]
fn one_that_ends_soon_or_stands_in_the_file_twice_is_taken_with_a_word_about_it() {
    let family = Family::with(|params| params.not_after = rcgen::date_time_ymd(2027, 6, 20));
    let chain = [family.leaf.as_str(), &family.leaf, &family.middle, &family.root].concat();
    let warnings = judged(&chain, &family.key, None, false).unwrap().warnings;
    assert!(warnings[0].contains("\"CN=hooks\" twice"), "{warnings:?}");
    assert!(warnings[1].contains("ends in 18 days") || warnings[1].contains("ends in 19 days"), "{warnings:?}");
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
