//! Reads secrets and other files that are named on the command line. A secret is never an argument: arguments
//! show in the list of processes and in the shell's history.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::client::Failure;
use crate::domain::secret::SecretText;

/// Reads a secret from a file, or from standard input for `-`. One newline at its end does not belong to it.
pub fn read_secret(path: &Path, what: &str) -> Result<SecretText, Failure> {
    let text = if path == Path::new("-") { from_stdin(what)? } else { from_file(path, what)? };
    let secret = without_newline(&text);
    if secret.is_empty() {
        let text = format!("{} holds no {what}", name(path));
        return Err(Failure::Input { text, hint: "The file should hold the secret and nothing else." });
    }
    Ok(secret.into())
}

/// Reads a file of certificates, or standard input for `-`.
pub fn read_certificates(path: &Path) -> Result<String, Failure> {
    let bytes = if path == Path::new("-") {
        bytes(io::stdin().lock(), path)?
    } else {
        bytes(open(path, "certificates")?, path)?
    };
    let refuse = |what: &str, hint| Failure::Input { text: format!("{} {what}", name(path)), hint };
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    if text.contains("-----BEGIN CERTIFICATE-----") {
        return Ok(text.to_owned());
    }
    Err(match form(&bytes) {
        Form::Empty => refuse("is empty", "Name the file that holds the certificate, in PEM form."),
        Form::Pkcs12 => refuse(
            "is not PEM, but PKCS#12",
            "Convert it: `openssl pkcs12 -in FILE -nodes -out FILE.pem`, which then holds certificates and key.",
        ),
        Form::Der => refuse("is not PEM, but DER", "Convert it: `openssl x509 -inform der -in FILE -out FILE.pem`."),
        Form::Text if text.contains("PRIVATE KEY-----") => {
            refuse("holds a private key and no certificate", "Are the files of certificate and key exchanged?")
        }
        Form::Text => refuse(
            "holds no certificate in PEM form",
            "Name a file with a line such as -----BEGIN CERTIFICATE-----, or convert it with `openssl x509`.",
        ),
    })
}

/// Reads a certificate with its chain, and its key; either may be standard input.
pub fn read_pair(certificate: &Path, key: &Path) -> Result<(String, SecretText), Failure> {
    let stdin = Path::new("-");
    if certificate == stdin && key == stdin {
        let text = "certificate and key cannot both be read from standard input".to_owned();
        return Err(Failure::Input { text, hint: "Name a file for one of them." });
    }
    let exchanged = |failure| match failure {
        Failure::Input { text, .. } if text.ends_with("holds a private key and no certificate") => {
            Failure::Input { text, hint: EXCHANGED }
        }
        failure => failure,
    };
    let certificate = read_certificates(certificate).map_err(exchanged)?;
    Ok((certificate, read_key(key)?))
}

const EXCHANGED: &str = "Are --cert and --key exchanged?";

/// What a private key's file holds, if that may be one.
fn read_key(path: &Path) -> Result<SecretText, Failure> {
    let bytes = if path == Path::new("-") {
        ask("private key");
        bytes(io::stdin().lock(), path)?
    } else {
        bytes(opened(path, "private key")?, path)?
    };
    let refuse = |what: &str, hint| Failure::Input { text: format!("{} {what}", name(path)), hint };
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    if text.contains("PRIVATE KEY-----") {
        return Ok(without_newline(text).into());
    }
    Err(match form(&bytes) {
        Form::Empty => refuse("is empty", "Name the file that holds the private key, in PEM form."),
        Form::Pkcs12 => refuse(
            "is not PEM, but PKCS#12",
            "Convert it: `openssl pkcs12 -in FILE -nodes -out FILE.pem`, which then holds certificates and key.",
        ),
        Form::Der => refuse("is not PEM, but DER", "Convert it: `openssl pkey -inform der -in FILE -out FILE.pem`."),
        Form::Text if text.contains("-----BEGIN CERTIFICATE-----") => {
            refuse("holds a certificate and no private key", EXCHANGED)
        }
        Form::Text => refuse(
            "holds no private key in PEM form",
            "Name the file that the certificate was made with; it has a line such as -----BEGIN PRIVATE KEY-----.",
        ),
    })
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

fn from_stdin(what: &str) -> Result<Zeroizing<String>, Failure> {
    ask(what);
    read(io::stdin().lock(), Path::new("-"))
}

fn ask(what: &str) {
    if io::stdin().is_terminal() {
        super::note(&format!("Type the {what}, then Enter and Ctrl-D. It is shown as you type."));
    }
}

fn from_file(path: &Path, what: &str) -> Result<Zeroizing<String>, Failure> {
    read(opened(path, what)?, path)
}

/// A file that nobody else should read.
fn opened(path: &Path, what: &str) -> Result<File, Failure> {
    let file = open(path, what)?;
    let mode = file.metadata().map_or(0, |metadata| metadata.permissions().mode());
    if mode & OTHERS_READ != 0 {
        super::note(&format!("warning: {0} can be read by every user; `chmod 600 {0}` ends that", name(path)));
    }
    Ok(file)
}

fn open(path: &Path, what: &str) -> Result<File, Failure> {
    File::open(path).map_err(|error| Failure::Input {
        text: format!("cannot read the {what} from {}: {error}", name(path)),
        hint: "Name a file that exists, or - for standard input.",
    })
}

fn read(reader: impl Read, path: &Path) -> Result<Zeroizing<String>, Failure> {
    let bytes = bytes(reader, path)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(Failure::Input { text: format!("cannot read {}: it is no text", name(path)), hint: "" }),
    }
}

fn bytes(reader: impl Read, path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::new());
    let problem = match reader.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes) {
        Ok(length) if length as u64 <= FILE_BYTES_MAX => return Ok(bytes),
        Ok(_) => format!("{} is longer than {FILE_BYTES_MAX} bytes", name(path)),
        Err(error) => format!("cannot read {}: {error}", name(path)),
    };
    Err(Failure::Input { text: problem, hint: "" })
}

fn without_newline(text: &str) -> &str {
    text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text)
}

fn name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// The permission bit that lets every user read a file.
const OTHERS_READ: u32 = 0o004;

/// A file named on the command line; a bundle of all public roots is a quarter of it.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn one_newline_at_the_end_does_not_belong_to_a_secret() {
        for (content, secret) in [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), (" s \n\n", " s \n"), ("s", "s")] {
            let file = file(content.as_bytes());
            assert_eq!(&*read_secret(file.path(), "token").unwrap(), secret);
        }
    }

    #[test]
    fn a_missing_or_empty_file_is_named() {
        let empty = file(b"\n");
        let failure = read_secret(empty.path(), "token").unwrap_err();
        assert_eq!(failure.to_string(), format!("{} holds no token", empty.path().display()));
        let failure = read_secret(Path::new("/nowhere/token"), "token").unwrap_err();
        assert!(failure.to_string().starts_with("cannot read the token from /nowhere/token: "), "{failure}");
    }

    #[test]
    fn a_file_that_is_no_text_or_too_long_is_refused() {
        assert!(read_secret(file(b"\xff\xfe").path(), "token").is_err());
        let most = usize::try_from(FILE_BYTES_MAX).unwrap();
        assert!(read_secret(file(&vec![b'a'; most]).path(), "token").is_ok());
        assert!(read_secret(file(&vec![b'a'; most + 1]).path(), "token").is_err());
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
