//! Configuration that is offered to the boxes of a fleet: signed by whoever looks after it, and taken by a box only where that
//! trusts the signer.
//!
//! An offer is a JSON Web Signature in its compact form ([RFC 7515](https://www.rfc-editor.org/rfc/rfc7515)) with an Ed25519
//! signature ([RFC 8037](https://www.rfc-editor.org/rfc/rfc8037)), of
//!
//! ```text
//! {"serial":1764000000000,"sites":["berlin"],"configuration":{"hydrophone":1,"settings":{…}}}
//! ```
//!
//! `configuration` is what `config export` writes. An offer names its sites, so that one site's cannot be put before another,
//! and a serial, so that an old one cannot be put before anybody again.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD as BASE64, BASE64_URL_SAFE_NO_PAD as BASE64URL};
use minicbor::{Decode, Encode};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::Site;
use crate::domain::limits::{FLEET_OFFER_BYTES_MAX, FLEET_SIGNERS_MAX};
use crate::domain::time::Timestamp;

/// Whoever may offer configuration: an Ed25519 public key. Its text is that of a JSON Web Key's `x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signer([u8; 32]);

/// The text is no signer's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a signer is named by 43 characters, as `hydrophone fleet key` prints them")]
pub struct BadSigner;

impl FromStr for Signer {
    type Err = BadSigner;

    fn from_str(text: &str) -> Result<Self, BadSigner> {
        let bytes = BASE64URL.decode(text).map_err(|_| BadSigner)?;
        Ok(Self(bytes.try_into().map_err(|_| BadSigner)?))
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL.encode(self.0))
    }
}

/// Reads the signers of a setting, with commas between.
///
/// # Errors
/// If one is none, or they are too many.
pub fn signers(text: &str) -> Result<Vec<Signer>, String> {
    let all: Result<Vec<Signer>, BadSigner> = text.split(',').map(|one| one.trim().parse()).collect();
    let all = all.map_err(|bad| format!("names signers with commas between: {bad}"))?;
    if all.len() > FLEET_SIGNERS_MAX {
        return Err(format!("names at most {FLEET_SIGNERS_MAX} signers"));
    }
    Ok(all)
}

/// The key that offers are signed with.
pub struct SigningKey(Ed25519KeyPair);

/// The text is no key of the right kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no Ed25519 private key in PKCS #8 form")]
pub struct BadKey;

impl SigningKey {
    /// Reads one from PEM, as `hydrophone fleet key` and `openssl genpkey -algorithm ed25519` write it.
    ///
    /// # Errors
    /// If it is another one.
    pub fn parse(pem: &str) -> Result<Self, BadKey> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| BadKey)?;
        // OpenSSL leaves the public part out.
        Ok(Self(Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der()).map_err(|_| BadKey)?))
    }

    /// The PEM of a key that is made from 32 random bytes ([RFC 8410](https://www.rfc-editor.org/rfc/rfc8410), section 7).
    pub fn pem(random: &[u8; 32]) -> Zeroizing<String> {
        const BEFORE: [u8; 16] = [0x30, 46, 2, 1, 0, 0x30, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
        let der = Zeroizing::new([&BEFORE[..], random].concat());
        let text = Zeroizing::new(BASE64.encode(&der));
        Zeroizing::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", *text))
    }

    /// Whom boxes are to trust.
    pub fn signer(&self) -> Signer {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        Signer(bytes)
    }

    /// Signs an offer.
    pub fn sign(&self, claims: &Claims) -> String {
        let header = BASE64URL.encode(format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, self.signer()));
        let claims = BASE64URL.encode(serde_json::to_vec(claims).expect("it is text and numbers"));
        let signed = format!("{header}.{claims}");
        let signature = BASE64URL.encode(self.0.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// What is signed.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
pub struct Claims {
    /// Larger than that of every offer before it: milliseconds since 1970 of when it was signed.
    pub serial: u64,
    /// For whom it is.
    pub sites: Vec<String>,
    /// The document.
    pub configuration: Value,
}

/// Why an offer is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOffer {
    /// It has another form.
    #[error("it is no signed configuration")]
    Form,
    /// Nobody who is trusted signed it.
    #[error("none of the signers that this box trusts signed it")]
    Signer,
    /// It was made for others.
    #[error("it is for other sites than {0}")]
    Site(Site),
    /// A later one was taken.
    #[error("it is older than the one that was taken last")]
    Old,
}

/// Reads an offer's claims without asking who signed it.
///
/// # Errors
/// If it has another form.
pub fn claims(offer: &str) -> Result<Claims, BadOffer> {
    let (signed, _) = parts(offer)?;
    let (_, claims) = signed.split_once('.').ok_or(BadOffer::Form)?;
    let claims = BASE64URL.decode(claims).map_err(|_| BadOffer::Form)?;
    serde_json::from_slice(&claims).map_err(|_| BadOffer::Form)
}

fn parts(offer: &str) -> Result<(&str, Vec<u8>), BadOffer> {
    if offer.len() > FLEET_OFFER_BYTES_MAX {
        return Err(BadOffer::Form);
    }
    let (signed, signature) = offer.rsplit_once('.').ok_or(BadOffer::Form)?;
    Ok((signed, BASE64URL.decode(signature).map_err(|_| BadOffer::Form)?))
}

/// An offer that may be taken.
#[derive(Debug, PartialEq)]
pub struct Accepted {
    /// Who signed it.
    pub signer: Signer,
    /// What it says.
    pub claims: Claims,
}

/// An offer's claims, if it is one that a site may take: signed by one of these, for this site, and with this
/// serial at the least. The signature comes first of all; nothing else is read of what somebody else signed.
///
/// # Errors
/// If it is none.
pub fn accept(offer: &str, signers: &[Signer], site: &Site, least: u64) -> Result<Accepted, BadOffer> {
    let (text, signature) = parts(offer)?;
    // The algorithm is the keys', whatever the header says.
    let is_by =
        |signer: &Signer| UnparsedPublicKey::new(&ED25519, signer.0).verify(text.as_bytes(), &signature).is_ok();
    let signer = *signers.iter().find(|signer| is_by(signer)).ok_or(BadOffer::Signer)?;
    let claims = claims(offer)?;
    if !claims.sites.iter().any(|one| one == site.as_str()) {
        return Err(BadOffer::Site(site.clone()));
    }
    if claims.serial < least {
        return Err(BadOffer::Old);
    }
    Ok(Accepted { signer, claims })
}

/// Brings this box to what a document says, and says how many changes that took.
pub type Apply = dyn Fn(&Value) -> Result<u32, Unapplied> + Send + Sync;

/// A document that could not be carried out whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unapplied {
    /// What was the matter.
    pub why: String,
    /// How many changes were made before.
    pub changes: u32,
}

/// What became of the last offer that a box looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Outcome {
    /// SHA-256 of the last that was taken.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub digest: Vec<u8>,
    /// The serial of the last that was taken.
    #[n(1)]
    pub serial: u64,
    /// How far it came; or that another one, which came since, was refused.
    #[n(2)]
    pub state: State,
    /// What was the matter, where something was.
    #[n(3)]
    pub why: Option<String>,
    /// How many changes it made.
    #[n(4)]
    pub changes: u32,
    /// Since when it is so.
    #[n(5)]
    pub at: Option<Timestamp>,
    /// Whether the last that was taken was carried out whole.
    #[n(6)]
    pub is_done: bool,
}

/// How far an offer came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub enum State {
    /// There was none yet.
    #[n(0)]
    #[default]
    None,
    /// It is being carried out.
    #[n(1)]
    Begun,
    /// The box is as it says.
    #[n(2)]
    Applied,
    /// Nothing of it was done, as it is not to be.
    #[n(3)]
    Refused,
    /// Something of it could not be done, and is tried again.
    #[n(4)]
    Failed,
}

impl State {
    /// In a word, as the API says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Begun => "begun",
            Self::Applied => "applied",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// The other way round.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::None, Self::Begun, Self::Applied, Self::Refused, Self::Failed]
            .into_iter()
            .find(|one| one.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl genpkey -algorithm ed25519`.
    const BY_OPENSSL: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n-----END PRIVATE KEY-----\n";

    #[test]
    fn a_key_is_written_as_openssl_writes_it() {
        let random: [u8; 32] = std::array::from_fn(|index| u8::try_from(index).unwrap());
        assert_eq!(*SigningKey::pem(&random), BY_OPENSSL);
        assert!(SigningKey::parse("").is_err());
    }

    fn key() -> SigningKey {
        SigningKey::parse(BY_OPENSSL).unwrap()
    }

    fn offer(serial: u64, sites: &[&str]) -> String {
        let sites = sites.iter().map(|&site| site.to_owned()).collect();
        key().sign(&Claims { serial, sites, configuration: serde_json::json!({ "hydrophone": 1 }) })
    }

    fn berlin() -> Site {
        "berlin".parse().unwrap()
    }

    /// The public key that belongs to the bytes 0 to 31, as in SLIP-0010's and many others' tables.
    #[test]
    fn a_signer_goes_by_its_public_key() {
        let signer = key().signer();
        assert_eq!(signer.to_string(), "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg");
        assert_eq!(signer.to_string().parse(), Ok(signer));
        assert_eq!(signers(&format!("{signer}, {signer}")), Ok(vec![signer, signer]));
        for bad in
            ["", "x", "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbgA", "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"]
        {
            assert!(signers(bad).is_err(), "{bad}");
        }
        assert!(signers(&vec![signer.to_string(); FLEET_SIGNERS_MAX + 1].join(",")).is_err());
    }

    #[test]
    fn what_was_signed_for_a_site_is_taken_there_and_nowhere_else() {
        let (signer, offer) = (key().signer(), offer(7, &["munich", "berlin"]));
        let taken = accept(&offer, &[signer], &berlin(), 7).unwrap();
        assert_eq!(
            (taken.signer, taken.claims.serial, taken.claims.configuration),
            (signer, 7, serde_json::json!({ "hydrophone": 1 }))
        );
        let paris: Site = "paris".parse().unwrap();
        assert_eq!(accept(&offer, &[signer], &paris, 0).unwrap_err(), BadOffer::Site(paris));
        assert_eq!(accept(&offer, &[signer], &berlin(), 8).unwrap_err(), BadOffer::Old);
        assert_eq!(accept(&offer, &[], &berlin(), 0).unwrap_err(), BadOffer::Signer);
        assert_eq!(accept(&offer, &[Signer([1; 32])], &berlin(), 0).unwrap_err(), BadOffer::Signer);
    }

    #[test]
    fn what_was_changed_after_it_was_signed_is_not_taken() {
        let (signer, offer) = (key().signer(), offer(7, &["berlin"]));
        for at in 0..offer.len() {
            let mut changed = offer.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(accept(&changed, &[signer], &berlin(), 0).is_err(), "at {at}");
        }
        for cut in ["", ".", "..", "a.b", "a.b.c", &offer[1..], &offer[..offer.len() - 1]] {
            assert!(accept(cut, &[signer], &berlin(), 0).is_err(), "{cut}");
        }
        // One that says that nobody has to sign it.
        let (_, rest) = offer.split_once('.').unwrap();
        let unsigned = format!("{}.{}.", BASE64URL.encode(r#"{"alg":"none"}"#), rest.split_once('.').unwrap().0);
        assert_eq!(accept(&unsigned, &[signer], &berlin(), 0).unwrap_err(), BadOffer::Signer);
    }
}
