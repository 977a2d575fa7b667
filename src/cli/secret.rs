//! Reads secrets from files that are named on the command line. A secret is never an argument: arguments
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
    let bytes = secret_bytes(path, what)?;
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Err(Failure::Input { text: format!("cannot read {}: it is no text", name(path)), hint: "" });
    };
    let secret = without_newline(text);
    if secret.is_empty() {
        let text = format!("{} holds no {what}", name(path));
        return Err(Failure::Input { text, hint: "The file should hold the secret and nothing else." });
    }
    Ok(secret.into())
}

/// The bytes of a file that nobody else should read, or of standard input for `-`.
pub(super) fn secret_bytes(path: &Path, what: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if path == Path::new("-") {
        if io::stdin().is_terminal() {
            super::note(&format!("Type the {what}, then Enter and Ctrl-D. It is shown as you type."));
        }
        return bytes(io::stdin().lock(), path);
    }
    let file = open(path, what)?;
    let mode = file.metadata().map_or(0, |metadata| metadata.permissions().mode());
    if mode & OTHERS_READ != 0 {
        super::note(&format!("warning: {0} can be read by every user; `chmod 600 {0}` ends that", name(path)));
    }
    bytes(file, path)
}

/// The bytes of a file that everybody may read, or of standard input for `-`.
pub(super) fn plain_bytes(path: &Path, what: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if path == Path::new("-") { bytes(io::stdin().lock(), path) } else { bytes(open(path, what)?, path) }
}

fn open(path: &Path, what: &str) -> Result<File, Failure> {
    File::open(path).map_err(|error| Failure::Input {
        text: format!("cannot read the {what} from {}: {error}", name(path)),
        hint: "Name a file that exists, or - for standard input.",
    })
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

pub(super) fn without_newline(text: &str) -> &str {
    text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text)
}

pub(super) fn name(path: &Path) -> String {
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
}
