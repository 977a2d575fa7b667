//! Certificates and keys in files that are named on the command line. They have to be PEM; whatever else is there is named
//! by what it is, with the way to make PEM of it.

use std::path::Path;

use super::client::Failure;
use super::secret::{name, plain_bytes, secret_bytes, without_newline};
use crate::domain::secret::SecretText;

/// Reads a file of certificates, or standard input for `-`.
pub fn read_certificates(path: &Path) -> Result<String, Failure> {
    certificates(path, "Name the file of the certificate itself.")
}

/// Reads a certificate with its chain, and its key; either may be standard input.
pub fn read_pair(certificate: &Path, key: &Path) -> Result<(String, SecretText), Failure> {
    let stdin = Path::new("-");
    if certificate == stdin && key == stdin {
        let text = "certificate and key cannot both be read from standard input".to_owned();
        return Err(Failure::Input { text, hint: "Name a file for one of them." });
    }
    let exchanged = "Are --cert and --key exchanged?";
    Ok((certificates(certificate, exchanged)?, read_key(key, exchanged)?))
}

/// `exchanged` is what to do where a key is in its place.
fn certificates(path: &Path, exchanged: &'static str) -> Result<String, Failure> {
    let bytes = plain_bytes(path, "certificates")?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    if text.contains(CERTIFICATE) {
        return Ok(text.to_owned());
    }
    Err(match form(&bytes) {
        Form::Der => refused(path, DER, "Convert it: `openssl x509 -inform der -in FILE -out FILE.pem`."),
        Form::Text if text.contains(KEY) => refused(path, "holds a private key and no certificate", exchanged),
        Form::Text => refused(
            path,
            "holds no certificate in PEM form",
            "Name a file with a line such as -----BEGIN CERTIFICATE-----, or convert it with `openssl x509`.",
        ),
        Form::Empty => refused(path, EMPTY, "Name the file that holds the certificate, in PEM form."),
        Form::Pkcs12 => refused(path, PKCS12, FROM_PKCS12),
    })
}

/// What a private key's file holds, if that may be one.
fn read_key(path: &Path, exchanged: &'static str) -> Result<SecretText, Failure> {
    let bytes = secret_bytes(path, "private key")?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    if text.contains(KEY) {
        return Ok(without_newline(text).into());
    }
    Err(match form(&bytes) {
        Form::Der => refused(path, DER, "Convert it: `openssl pkey -inform der -in FILE -out FILE.pem`."),
        Form::Text if text.contains(CERTIFICATE) => refused(path, "holds a certificate and no private key", exchanged),
        Form::Text => refused(
            path,
            "holds no private key in PEM form",
            "Name the file that the certificate was made with; it has a line such as -----BEGIN PRIVATE KEY-----.",
        ),
        Form::Empty => refused(path, EMPTY, "Name the file that holds the private key, in PEM form."),
        Form::Pkcs12 => refused(path, PKCS12, FROM_PKCS12),
    })
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
/// The end of the line that a key begins with, whatever its kind.
const KEY: &str = "PRIVATE KEY-----";
const EMPTY: &str = "is empty";
const DER: &str = "is not PEM, but DER";
const PKCS12: &str = "is not PEM, but PKCS#12";
const FROM_PKCS12: &str =
    "Convert it: `openssl pkcs12 -in FILE -nodes -out FILE.pem`, which then holds certificates and key.";

fn refused(path: &Path, what: &str, hint: &'static str) -> Failure {
    Failure::Input { text: format!("{} {what}", name(path)), hint }
}

/// In which form a file is that should be PEM.
enum Form {
    Empty,
    Text,
    Der,
    Pkcs12,
}

fn form(bytes: &[u8]) -> Form {
    // A sequence with its length in one byte, or in as many more as the first says.
    let content = match bytes {
        [0x30, length, rest @ ..] => rest.get(usize::from(length.saturating_sub(0x80))..).unwrap_or_default(),
        _ if bytes.trim_ascii().is_empty() => return Form::Empty,
        _ => return Form::Text,
    };
    match content {
        // The version that all of PKCS#12 has; a certificate and a key begin otherwise.
        [0x02, 0x01, 0x03, ..] => Form::Pkcs12,
        // A digit is the same byte, and what follows it in a text is none that DER has there.
        [0x02 | 0x30, ..] => Form::Der,
        _ => Form::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn certificates_are_taken_in_pem_form_only() {
        let pem = "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n";
        assert_eq!(read_certificates(file(pem.as_bytes()).path()).unwrap(), pem);
        assert!(read_certificates(file(b"MII=").path()).is_err());
    }

    #[test]
    fn what_is_no_certificate_or_key_is_named_by_what_it_is() {
        use base64::Engine as _;
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["box.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        // As `openssl pkcs12 -export` begins it.
        let pkcs12 = base64::prelude::BASE64_STANDARD.decode("MIIJKgIBAzCCCOAGCSqGSIb3DQEHAaCCCNEE").unwrap();
        let (good, good_key) = (made.pem(), key.serialize_pem());
        let told = |certificate: &[u8], key: &[u8]| match read_pair(file(certificate).path(), file(key).path()) {
            Ok(_) => "taken".to_owned(),
            Err(Failure::Input { text, hint }) => format!("{text}; {hint}"),
            Err(other) => other.to_string(),
        };
        let (crt, pem) = (good.as_bytes(), good_key.as_bytes());
        assert_eq!(told(crt, pem), "taken");
        assert_eq!(told(&[crt, pem].concat(), &[crt, pem].concat()), "taken");
        for (certificate, key, words) in [
            (made.der().as_ref(), pem, ["is not PEM, but DER", "openssl x509 -inform der"]),
            (&pkcs12, pem, ["is not PEM, but PKCS#12", "openssl pkcs12 -in FILE -nodes"]),
            (b" \n", pem, ["is empty", "holds the certificate"]),
            (b"0 1 2 3 text", pem, ["holds no certificate in PEM form", "openssl x509"]),
            (pem, crt, ["holds a private key and no certificate", "Are --cert and --key exchanged?"]),
            (crt, crt, ["holds a certificate and no private key", "Are --cert and --key exchanged?"]),
            (crt, &key.serialize_der(), ["is not PEM, but DER", "openssl pkey -inform der"]),
            (crt, &pkcs12, ["is not PEM, but PKCS#12", "openssl pkcs12 -in FILE -nodes"]),
            (crt, b"", ["is empty", "holds the private key"]),
            (crt, b"secret", ["holds no private key in PEM form", "BEGIN PRIVATE KEY"]),
        ] {
            let told = told(certificate, key);
            assert!(words.iter().all(|word| told.contains(word)), "{told}");
        }
        let both = read_pair(Path::new("-"), Path::new("-")).unwrap_err();
        assert!(both.to_string().contains("cannot both be read from standard input"), "{both}");
    }
}
