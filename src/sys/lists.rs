//! Lists that an administrator puts into files: of networks that may call.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::domain::limits;
use crate::domain::networks::Networks;

/// Where a list may lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListFile {
    /// The file.
    pub path: PathBuf,
    /// Whether it was asked for, and must be there.
    pub asked_for: bool,
}

/// Why a list cannot be used. Each says what a person can do.
#[derive(Debug, thiserror::Error)]
pub enum BadList {
    /// It is there, and cannot be read; or it is not, and should be.
    #[error(
        "{} cannot be read: {error}; it must be there and readable for the user that runs hydrophone, such as by `chown root:hydrophone` and `chmod 640`", .path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// It does not hold what it should.
    #[error("{}: {why}", .path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl BadList {
    /// The system's error, if it is one of its.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Unreadable { error, .. } => error.raw_os_error(),
            Self::Broken { .. } => None,
        }
    }

    pub(super) fn broken(path: &Path, why: &dyn Display) -> Self {
        Self::Broken { path: path.to_owned(), why: why.to_string() }
    }
}

impl ListFile {
    /// Reads networks; nothing if it is not there and nobody asked for it.
    ///
    /// # Errors
    /// If it is there and cannot be used.
    pub fn networks(&self) -> Result<Option<Networks>, BadList> {
        let Some(bytes) = self.content()? else { return Ok(None) };
        let text = String::from_utf8(bytes).map_err(|_| BadList::broken(&self.path, &"it is no text"))?;
        let networks = Networks::parse_lines(&text).map_err(|why| BadList::broken(&self.path, &why))?;
        Ok(Some(networks))
    }

    pub(super) fn content(&self) -> Result<Option<Vec<u8>>, BadList> {
        let unreadable = |error| BadList::Unreadable { path: self.path.clone(), error };
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.asked_for => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let mut content = Vec::new();
        file.take(limits::LIST_BYTES_MAX + 1).read_to_end(&mut content).map_err(unreadable)?;
        if content.len() as u64 > limits::LIST_BYTES_MAX {
            let why = format_args!("it has more than {} bytes", limits::LIST_BYTES_MAX);
            return Err(BadList::broken(&self.path, &why));
        }
        Ok(Some(content))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_list_is_read_or_its_fault_is_told_with_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = ListFile { path: folder.path().join("webhook-networks"), asked_for: false };
        assert_eq!(file.networks().unwrap(), None);
        for (content, words) in [
            (&b"192.0.2.0/24\n192.0.2.0/40\n"[..], "webhook-networks: line 2: \"192.0.2.0/40\" is no network"),
            (b"# none\n", "webhook-networks: it names no network"),
            (b"\xff\xfe", "webhook-networks: it is no text"),
            (&vec![b'#'; 1024 * 1024 + 1], "webhook-networks: it has more than 1048576 bytes"),
        ] {
            std::fs::write(&file.path, content).unwrap();
            let told = file.networks().unwrap_err().to_string();
            assert!(told.contains(words), "{told}");
        }
        std::fs::write(&file.path, "192.0.2.0/24").unwrap();
        assert!(file.networks().unwrap().unwrap().contains("192.0.2.9".parse().unwrap()));
        std::fs::remove_file(&file.path).unwrap();
        file.asked_for = true;
        assert!(file.networks().unwrap_err().to_string().contains("webhook-networks cannot be read: No such file"));
    }
}
