//! What is wrong with a certificate, its chain or its key: what it is, and what to do about it.

use rustls::CertificateError;

use crate::domain::time::Timestamp;

/// What stands in a file in place of what should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A key in place of a certificate, or a certificate in place of a key.
    Other,
    /// Anything else.
    Something,
}

impl Found {
    /// What it is, by the mark of the other one.
    pub(super) fn in_text(text: &str, other: &str) -> Self {
        if text.trim().is_empty() {
            Self::Nothing
        } else if text.contains(other) {
            Self::Other
        } else {
            Self::Something
        }
    }
}

/// Why a pair is not taken: what it is in one sentence, and [`remedy`](Self::remedy) says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPair {
    /// There is no certificate in it.
    #[error("the certificate's file {}", match .found {
        Found::Nothing => "is empty",
        Found::Other => "holds a private key and no certificate",
        Found::Something => "holds no certificate in PEM form",
    })]
    NoCertificate {
        /// What there is.
        found: Found,
    },
    /// One of the certificates cannot be read.
    #[error("certificate {number} of the file cannot be read")]
    Unreadable {
        /// Which, from 1.
        number: usize,
    },
    /// So many are no chain.
    #[error("the file holds {count} certificates")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// There is no key in it.
    #[error("the key's file {}", match .found {
        Found::Nothing => "is empty",
        Found::Other => "holds a certificate and no private key",
        Found::Something => "holds no private key in PEM form, with a line such as -----BEGIN PRIVATE KEY-----",
    })]
    NoKey {
        /// What there is.
        found: Found,
    },
    /// It takes a password.
    #[error("the key is encrypted with a password")]
    EncryptedKey,
    /// It cannot sign, or not so that all who call know it.
    #[error("the key is {kind}")]
    UnfitKey {
        /// What it is.
        kind: String,
    },
    /// It belongs to another certificate, or to none of these.
    #[error("the key does not belong to the certificate \"{subject}\"")]
    Mismatch {
        /// Whose the first certificate is.
        subject: String,
    },
    /// The right certificates in another order.
    #[error("the certificates are in another order than needed")]
    Order {
        /// Subjects, the box's own first.
        wanted: String,
    },
    /// Something that has nothing to do with the rest.
    #[error("\"{subject}\" is no part of the chain, which ends before it with \"{last}\"")]
    Stray {
        /// Whose certificate that is.
        subject: String,
        /// The end of the chain.
        last: String,
    },
    /// Whoever signed one in the middle is missing.
    #[error("\"{issuer}\", which issued \"{subject}\", is missing")]
    Gap {
        /// The last one before the gap.
        subject: String,
        /// Who is missing.
        issuer: String,
        /// The first one behind it.
        next: String,
    },
    /// Whoever signed the last one is missing.
    #[error(
        "\"{subject}\" was issued by \"{issuer}\", which is neither in the file nor an authority that this box's system knows"
    )]
    MissingIssuer {
        /// The last certificate that there is.
        subject: String,
        /// Who is missing.
        issuer: String,
    },
    /// The name fits and the signature does not.
    #[error("\"{subject}\" was not signed by the certificate of \"{issuer}\" that follows it")]
    WrongIssuer {
        /// The certificate.
        subject: String,
        /// What should have signed it.
        issuer: String,
    },
    /// An authority's certificate in place of one of a box.
    #[error("\"{subject}\" is an authority's own certificate")]
    Authority {
        /// Whose it is.
        subject: String,
    },
    /// It is good for nobody.
    #[error("the certificate \"{subject}\" names no host (subject alternative name)")]
    NoName {
        /// Whose it is.
        subject: String,
        /// The host of the public URL.
        host: Option<String>,
    },
    /// It is signed in a way that can be forged.
    #[error("\"{subject}\" is signed with {how}, which nobody believes")]
    OldSignature {
        /// Whose it is.
        subject: String,
        /// How it is signed.
        how: &'static str,
    },
    /// Its time is over.
    #[error("\"{subject}\" has ended at {ended}, and this box's clock says {now}")]
    Ended {
        /// Whose it is.
        subject: String,
        /// Until when it was good.
        ended: Timestamp,
        /// What the clock says.
        now: Timestamp,
    },
    /// Its time has not come.
    #[error("\"{subject}\" is good from {begins} on, and this box's clock says {now}")]
    NotYet {
        /// Whose it is.
        subject: String,
        /// From when on it is good.
        begins: Timestamp,
        /// What the clock says.
        now: Timestamp,
    },
    /// Nobody who checks takes it.
    #[error("\"{subject}\" is refused by whoever checks it: {why}")]
    Refused {
        /// Whose it is.
        subject: String,
        /// Why.
        why: String,
    },
}

impl BadPair {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::NoCertificate { found: Found::Other } | Self::NoKey { found: Found::Other } => {
                "see whether certificate and key are exchanged".to_owned()
            }
            Self::NoCertificate { found: Found::Nothing } => {
                "give the certificate in PEM form, and after it those that lead to its authority".to_owned()
            }
            Self::NoCertificate { found: Found::Something } => {
                "convert it: openssl x509 -inform der -in FILE -out FILE.pem".to_owned()
            }
            Self::NoKey { .. } => "give the private key that the certificate was made with, in PEM form".to_owned(),
            Self::Unreadable { .. } => "fetch the file from its authority again".to_owned(),
            Self::TooMany { .. } => "leave only the box's own and those between it and its authority".to_owned(),
            Self::EncryptedKey => "write it without one: openssl pkey -in FILE -out FILE.plain".to_owned(),
            Self::UnfitKey { .. } => {
                "make one that is taken: ECDSA on P-256 or P-384, or RSA of 2048 to 4096 bits".to_owned()
            }
            Self::Mismatch { .. } => "give the one that it was made with".to_owned(),
            Self::Order { wanted } => format!("put them into this one: {wanted}"),
            Self::Stray { .. } => "leave it out".to_owned(),
            Self::Gap { subject, next, .. } => format!("put it between \"{subject}\" and \"{next}\""),
            Self::MissingIssuer { issuer, .. } => format!(
                "add the certificate of \"{issuer}\" to the end of the file; where that is an authority of your own, the \
                 system's store does, too (update-ca-certificates)"
            ),
            Self::WrongIssuer { .. } => "fetch the chain from the authority again".to_owned(),
            Self::Authority { .. } => "give one that it issued for this box, with that one's key".to_owned(),
            Self::NoName { host, .. } => match host {
                Some(host) => format!("have one issued for {host}"),
                None => "have one issued for the name that SonarQube calls".to_owned(),
            },
            Self::OldSignature { .. } => "have the authority issue another one, signed with SHA-256".to_owned(),
            Self::Ended { .. } => "renew it, or set the clock if that is wrong".to_owned(),
            Self::NotYet { .. } => "wait, or set the clock if that is wrong".to_owned(),
            Self::Refused { .. } => "have the authority issue another one".to_owned(),
        }
    }

    /// Whether it is the key that is at fault.
    pub fn is_of_key(&self) -> bool {
        matches!(self, Self::NoKey { .. } | Self::EncryptedKey | Self::UnfitKey { .. } | Self::Mismatch { .. })
    }
}

/// What whoever checks a chain found, for a person.
pub(super) fn in_words(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(problem) = error else { return short(&error.to_string()) };
    match problem {
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not made for servers (extended key usage)".to_owned()
        }
        // The checker's own words are names of its code.
        CertificateError::Other(other) => match other.to_string().as_str() {
            "EndEntityUsedAsCa" => "one that issued another in the chain is no authority (CA:FALSE)".to_owned(),
            "PathLenConstraintViolated" => "an authority in the chain may have none below it (path length)".to_owned(),
            "NameConstraintViolation" => "its authority may not issue for its names (name constraints)".to_owned(),
            "UnsupportedCriticalExtension" => "it has a critical extension that is not known".to_owned(),
            "UnsupportedCertVersion" => "one of the chain is X.509 of a former version".to_owned(),
            name => short(name),
        },
        CertificateError::BadEncoding => "it is damaged".to_owned(),
        problem => match format!("{problem:?}") {
            name if name.starts_with("UnsupportedSignatureAlgorithm") => {
                "it is signed in a way that is not believed".to_owned()
            }
            _ => short(&problem.to_string()),
        },
    }
}

/// Not at any length: what a checker says of its own accord may hold all that it looked at.
fn short(text: &str) -> String {
    let plain: String = text.chars().filter(|letter| !letter.is_control()).collect();
    match plain.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &plain[..end]),
        None => plain,
    }
}
