//! The proxy through which something is reached, as it is named on the command line.

use std::path::PathBuf;

use clap::Args;

use super::client::Failure;
use super::secret::read_secret;
use crate::domain::secret::SecretText;

/// A proxy's URL, in the open or from a file.
#[derive(Debug, Args)]
pub struct Proxy {
    /// Go through this proxy; an empty one means none. With a name and password it belongs into a file.
    #[arg(long, value_name = "URL")]
    proxy: Option<SecretText>,
    /// Read the proxy's URL, with its name and password, from this file, or from standard input for `-`.
    #[arg(long, value_name = "FILE", conflicts_with = "proxy")]
    proxy_file: Option<PathBuf>,
}

impl Proxy {
    /// What was named, if anything was.
    ///
    /// # Errors
    /// A file that cannot be read; a password in an argument, which every user of the machine can see.
    pub fn read(self) -> Result<Option<SecretText>, Failure> {
        if let Some(file) = &self.proxy_file {
            return read_secret(file, "proxy's URL").map(Some);
        }
        // Wherever it stands: where exactly a name ends is nothing to be clever about.
        if self.proxy.as_ref().is_some_and(|url| url.contains('@')) {
            return Err(Failure::Input {
                text: "a proxy's password is no argument: every user of this machine can see those".to_owned(),
                hint: "Write the URL into a file of mode 600 and name it with --proxy-file, or give it on standard input: --proxy-file -",
            });
        }
        Ok(self.proxy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Proxy {
        Proxy { proxy: Some(url.to_owned().into()), proxy_file: None }
    }

    #[test]
    fn a_password_comes_from_a_file_alone() {
        let url = "http://proxy.example:3128";
        assert_eq!(of(url).read().unwrap().as_deref(), Some(url));
        assert_eq!(of("").read().unwrap().as_deref(), Some(""));
        for url in ["http://me:hunter2@proxy.example:3128", "me:hunter2@proxy.example", "http://me:a/b@c@proxy.example"]
        {
            let failure = of(url).read().unwrap_err().to_string();
            assert!(failure.contains("no argument"), "{failure}");
            assert!(!failure.contains("hunter2"), "{failure}");
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), format!("{url}\n")).unwrap();
            let read = Proxy { proxy: None, proxy_file: Some(file.path().to_owned()) }.read().unwrap();
            assert_eq!(read.as_deref(), Some(url));
        }
    }
}
