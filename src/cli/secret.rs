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

/// Reads a file of certificates.
pub fn read_certificates(path: &Path) -> Result<String, Failure> {
    let file = open(path, "certificates")?;
    let text = read(file, path)?;
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        let text = format!("{} holds no certificate in PEM form", name(path));
        return Err(Failure::Input { text, hint: "Convert it: `openssl x509 -inform der -in FILE -out FILE.pem`." });
    }
    Ok(text.to_string())
}

fn from_stdin(what: &str) -> Result<Zeroizing<String>, Failure> {
    if io::stdin().is_terminal() {
        super::note(&format!("Type the {what}, then Enter and Ctrl-D. It is shown as you type."));
    }
    read(io::stdin().lock(), Path::new("-"))
}

fn from_file(path: &Path, what: &str) -> Result<Zeroizing<String>, Failure> {
    let file = open(path, what)?;
    let mode = file.metadata().map_or(0, |metadata| metadata.permissions().mode());
    if mode & OTHERS_READ != 0 {
        super::note(&format!("warning: {0} can be read by every user; `chmod 600 {0}` ends that", name(path)));
    }
    read(file, path)
}

fn open(path: &Path, what: &str) -> Result<File, Failure> {
    File::open(path).map_err(|error| Failure::Input {
        text: format!("cannot read the {what} from {}: {error}", name(path)),
        hint: "Name a file that exists, or - for standard input.",
    })
}

fn read(reader: impl Read, path: &Path) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let problem = match reader.take(FILE_BYTES_MAX + 1).read_to_string(&mut text) {
        Ok(length) if length as u64 <= FILE_BYTES_MAX => return Ok(text),
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
}
