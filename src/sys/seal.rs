//! The key that secrets are sealed with at rest, and where it comes from: one of two systemd credentials, or else a file
//! beside the database, made at the first start. A database says which key it needs, and that one is looked for in all of them.
//!
//! The file protects copies of the database (backups, a card that was read while the box ran from another one) and not
//! the disk that both lie on; a credential that is bound to the box's TPM protects the disk, too.

pub mod passphrase;

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use zeroize::{Zeroize, Zeroizing};

use super::random;

/// The name of the credential, and of the file in the state folder.
pub const NAME: &str = "hydrophone.key";

/// The name of the credential that lies encrypted on the disk: a unit cannot name the same one in both ways.
pub const ENCRYPTED_NAME: &str = "hydrophone.key.encrypted";

/// The name of the key that is to take the present one's place: of a credential that was handed over for it, or of the file
/// in the state folder until the change is done.
pub const NEXT_NAME: &str = "hydrophone.key.next";

/// The name of the key in the state folder that a restore is about to put in its place.
pub const RESTORING_NAME: &str = "hydrophone.key.restoring";

/// Tells keys apart without saying anything of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId(pub u64);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The box's sealing key: 256 random bits, from which one key a purpose is derived. `Debug` prints its id alone.
pub struct Key {
    master: Zeroizing<[u8; BYTES]>,
    /// Seals secrets in the store.
    records: LessSafeKey,
    id: KeyId,
    /// The file that it was read from; none of a key that everybody knows.
    file: Option<PathBuf>,
    /// Whether the service manager handed it over.
    is_credential: bool,
}

const BYTES: usize = 32;

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl Key {
    /// A new one.
    pub fn random() -> Self {
        Self::of(Zeroizing::new(random::bytes()))
    }

    fn of(master: Zeroizing<[u8; BYTES]>) -> Self {
        let derive = |purpose: &[u8], bytes: &mut [u8]| {
            let whole = Salt::new(HKDF_SHA256, b"hydrophone").extract(&*master);
            // The length of the digest is the length of a key.
            let info = [purpose];
            let derived = whole.expand(&info, HKDF_SHA256).expect("32 bytes can be derived");
            derived.fill(bytes).expect("32 bytes were asked for");
        };
        let mut bytes = Zeroizing::new([0; BYTES]);
        derive(b"id", &mut *bytes);
        let id = KeyId(u64::from_be_bytes(*bytes.first_chunk().expect("there are 32")));
        derive(b"secrets in the store", &mut *bytes);
        let records = aead(&bytes);
        Self { master, records, id, file: None, is_credential: false }
    }

    /// Reads a key as its file has it: one line of 64 hexadecimal digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?.trim_end_matches(['\n', '\r', ' ']);
        if text.len() != 2 * BYTES || !text.is_ascii() {
            return None;
        }
        let mut master = Zeroizing::new([0; BYTES]);
        for (byte, digits) in master.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digit = |at: usize| char::from(digits[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            *byte = digit(0)? << 4 | digit(1)?;
        }
        Some(Self::of(master))
    }

    /// As [`parse`](Self::parse) reads it.
    pub fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(2 * BYTES + 1));
        for byte in self.master.iter() {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(digit), 16).expect("four bits are a digit"));
            }
        }
        text.push('\n');
        text
    }

    /// Writes it as its file has it, and syncs that.
    pub fn write_to(&self, file: &mut std::fs::File) -> io::Result<()> {
        file.write_all(self.text().as_bytes())?;
        file.sync_all()
    }

    /// Which key it is.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Whether the service manager handed it over, and it may be bound to this box.
    pub fn is_credential(&self) -> bool {
        self.is_credential
    }

    /// The file that it was read from.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Seals a secret of a record, so that it opens as that record's only.
    pub fn seal(&self, record: &[u8], secret: &[u8]) -> Vec<u8> {
        seal(&self.records, record, secret)
    }

    /// Opens what [`seal`](Self::seal) sealed; nothing if it was changed, or is another record's or key's.
    pub fn open(&self, record: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        open(&self.records, record, sealed)
    }
}

fn aead(key: &[u8; BYTES]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("32 bytes are a key"))
}

/// A random nonce, then the sealed bytes with their tag. Two nonces of one key meet by chance after some billion secrets.
fn seal(key: &LessSafeKey, about: &[u8], plain: &[u8]) -> Vec<u8> {
    let nonce: [u8; NONCE_LEN] = random::bytes();
    let tag_bytes = CHACHA20_POLY1305.tag_len();
    // Sealed where it lies, and not moved while it is readable.
    let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + tag_bytes);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plain);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = key
        .seal_in_place_separate_tag(nonce, Aad::from(about), &mut sealed[NONCE_LEN..])
        .expect("a secret is far shorter than what can be sealed");
    sealed.extend_from_slice(tag.as_ref());
    sealed
}

fn open(key: &LessSafeKey, about: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut plain = rest.to_vec();
    let opened = key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(about), &mut plain);
    let Ok(length) = opened.map(|opened| opened.len()) else {
        plain.zeroize();
        return None;
    };
    plain.truncate(length);
    Some(plain)
}

/// Where a box's key is looked for.
#[derive(Debug, Clone)]
pub struct Place {
    credentials: Option<PathBuf>,
    folder: Option<PathBuf>,
}

/// Why there is no use in a key, or none can be made. Only a person can change it.
#[derive(Debug, thiserror::Error)]
pub enum BadKey {
    /// It is something else.
    #[error("the sealing key {} is not one: it has to be a line of 64 hexadecimal digits; put the right one there, from where you keep a copy", .0.display())]
    Malformed(PathBuf),
    /// It is there and cannot be read.
    #[error("the sealing key {} cannot be read: {error}; it has to be a file that the user who runs hydrophone may read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// Others may read it, too.
    #[error("the sealing key {} may be read by others (mode {mode:04o}); keep it to its owner: `chmod 600 {}`", .path.display(), .path.display())]
    Shared {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Only who made the present one can make another.
    #[error(
        "the sealing key is a credential, which hydrophone cannot exchange by itself; hand another one over as the credential {NEXT_NAME}, as `hydrophone key rotate --help` shows"
    )]
    NoNext,
    /// A new one cannot be written.
    #[error("a sealing key cannot be made as {}: {error}; the state folder must belong to the user that runs hydrophone", .path.display())]
    NotMade {
        /// The file.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
}

impl Place {
    /// A credential of this process, and a file in the state folder.
    pub fn of_process(state: &Path) -> Self {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
        Self { credentials: credentials.map(PathBuf::from), folder: Some(state.to_owned()) }
    }

    /// A file in a folder.
    pub fn folder(folder: &Path) -> Self {
        Self { credentials: None, folder: Some(folder.to_owned()) }
    }

    /// Credentials of one's own, and a file in a folder.
    #[cfg(test)]
    pub(crate) fn with_credentials(credentials: &Path, folder: &Path) -> Self {
        Self { credentials: Some(credentials.to_owned()), folder: Some(folder.to_owned()) }
    }

    /// The key that a file holds.
    #[cfg(test)]
    pub(crate) fn of_file(path: &Path) -> Option<Key> {
        read(path, false).unwrap()
    }

    /// Nowhere: a key that everybody knows, for stores of tests that are in no folder.
    pub fn nowhere() -> Self {
        Self { credentials: None, folder: None }
    }

    /// Where a key may lie, the first choice first, and whether that is a credential.
    fn all(&self) -> Vec<(PathBuf, bool)> {
        let credentials = self.credentials.iter();
        let credentials = credentials.flat_map(|folder| [ENCRYPTED_NAME, NAME].map(|name| (folder.join(name), true)));
        credentials.chain(self.folder.iter().map(|folder| (folder.join(NAME), false))).collect()
    }

    /// Where the key may lie that a change of the key began with.
    fn all_next(&self) -> Vec<(PathBuf, bool)> {
        let credential = self.credentials.iter().map(|folder| (folder.join(NEXT_NAME), true));
        credential.chain(self.folder.iter().map(|folder| (folder.join(NEXT_NAME), false))).collect()
    }

    fn known_to_all(&self) -> Option<Key> {
        self.folder.is_none().then(|| Key::of(Zeroizing::new([0; BYTES])))
    }

    /// The first key that is there.
    pub fn find(&self) -> Result<Option<Key>, BadKey> {
        for (path, is_credential) in self.all() {
            if let Some(key) = read(&path, is_credential)? {
                return Ok(Some(key));
            }
        }
        Ok(self.known_to_all())
    }

    /// The needed key, wherever it is; the first one that is there, if none of them is it.
    pub fn find_needed(&self, needed: KeyId) -> Result<Option<Key>, BadKey> {
        let (mut other, mut bad) = (None, None);
        for (path, is_credential) in self.all().into_iter().chain(self.all_next()) {
            match read(&path, is_credential) {
                Ok(Some(key)) if key.id() == needed => {
                    if let Some(bad) = bad {
                        tracing::warn!("{bad}; the key in {} is taken", path.display());
                    }
                    return Ok(Some(key));
                }
                Ok(key) => other = other.or(key),
                Err(error) => bad = bad.or(Some(error)),
            }
        }
        match (self.end_restore(needed), bad) {
            (Some(key), _) => Ok(Some(key)),
            (None, Some(bad)) => Err(bad),
            (None, None) => Ok(other.or_else(|| self.known_to_all())),
        }
    }

    /// Puts the needed key in its place where a restore was cut short before it did. The key that was there before has been
    /// given another name by then.
    fn end_restore(&self, needed: KeyId) -> Option<Key> {
        let folder = self.folder.as_ref()?;
        let begun = folder.join(RESTORING_NAME);
        let key = read(&begun, false).ok()?.filter(|key| key.id() == needed)?;
        let path = folder.join(NAME);
        match std::fs::rename(&begun, &path).and_then(|()| std::fs::File::open(folder)?.sync_all()) {
            Ok(()) => tracing::warn!("a restore was cut short; its key is now in {}", path.display()),
            Err(error) => {
                tracing::warn!("a restore was cut short, and its key stays in {}: {error}", begun.display());
            }
        }
        Some(key)
    }

    /// The key that is to take the place of the one in use: the credential that was handed over for it, else a new one, whose
    /// file lies beside the present one's. One that an earlier change left there before anything was sealed with it is as
    /// good, and is not lost to whoever put an older database back.
    pub fn next(&self, present: &Key) -> Result<Key, BadKey> {
        for (path, is_credential) in self.all_next() {
            match read(&path, is_credential)? {
                Some(key) if key.id() != present.id() => return Ok(key),
                _ => {}
            }
        }
        if present.is_credential {
            return Err(BadKey::NoNext);
        }
        let key = Key::random();
        let Some(folder) = &self.folder else { return Ok(key) };
        let path = folder.join(NEXT_NAME);
        write(&path, &key).map_err(|error| BadKey::NotMade { path: path.clone(), error })?;
        Ok(Key { file: Some(path), ..key })
    }

    /// Ends a change of keys in the state folder: the present key has the place that a start looks at first, and the former
    /// one is gone. Done again it changes nothing.
    pub fn settle(&self, present: KeyId, former: KeyId) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let (path, next) = (folder.join(NAME), folder.join(NEXT_NAME));
        let is = |path: &Path, id: KeyId| matches!(read(path, false), Ok(Some(key)) if key.id() == id);
        if is(&next, present) {
            // Somebody may have put another key there meanwhile, which is not ours to delete.
            if path.symlink_metadata().is_ok() && !is(&path, former) && !is(&path, present) {
                return Err(io::Error::other(format!("{} holds a key that is not in use", path.display())));
            }
            std::fs::rename(&next, &path)?;
        } else if is(&path, former) {
            std::fs::remove_file(&path)?;
        }
        std::fs::File::open(folder)?.sync_all()
    }

    /// Makes a key and its file. One that was begun and not finished is not met again.
    pub fn make(&self) -> Result<Key, BadKey> {
        let key = Key::random();
        let Some(folder) = &self.folder else { return Ok(key) };
        let path = folder.join(NAME);
        write(&path, &key).map_err(|error| BadKey::NotMade { path: path.clone(), error })?;
        Ok(Key { file: Some(path), ..key })
    }
}

/// Reads a key from its file. A credential's mode is the service manager's business.
fn read(path: &Path, is_credential: bool) -> Result<Option<Key>, BadKey> {
    let unreadable = |error| BadKey::Unreadable { path: path.to_owned(), error };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o7777;
    if !is_credential && mode & 0o077 != 0 {
        return Err(BadKey::Shared { path: path.to_owned(), mode });
    }
    // Of something else no more is read than shows that it is something else.
    let mut text = Zeroizing::new(Vec::with_capacity(128));
    file.take(128).read_to_end(&mut text).map_err(unreadable)?;
    let key = Key::parse(&text).ok_or_else(|| BadKey::Malformed(path.to_owned()))?;
    Ok(Some(Key { is_credential, file: Some(path.to_owned()), ..key }))
}

/// Writes a key to a file that only this user may read, whole or not at all. What is there is not overwritten.
pub fn write(path: &Path, key: &Key) -> io::Result<()> {
    let begun = path.with_extension("key.new");
    // Left by a start that was cut short, and never in use.
    match std::fs::remove_file(&begun) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&begun)?;
    key.write_to(&mut file)?;
    // A link, as it takes no other's place.
    let linked = std::fs::hard_link(&begun, path);
    std::fs::remove_file(&begun)?;
    linked?;
    match path.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_opens_with_its_key_as_its_record_and_unchanged_only() {
        let key = Key::random();
        let sealed = key.seal(b"token/eu", b"squ_0123456789");
        assert_eq!(key.open(b"token/eu", &sealed).as_deref(), Some(&b"squ_0123456789"[..]));
        assert_eq!(key.open(b"token/us", &sealed), None);
        assert_eq!(Key::random().open(b"token/eu", &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open(b"token/eu", &changed), None, "byte {at}");
            assert_eq!(key.open(b"token/eu", &sealed[..at]), None, "cut at {at}");
        }
        assert!(!sealed.windows(4).any(|bytes| bytes == b"squ_"));
        assert_ne!(sealed, key.seal(b"token/eu", b"squ_0123456789"), "the nonce is another one each time");
        assert_eq!(key.open(b"r", &key.seal(b"r", b"")).as_deref(), Some(&b""[..]));
    }

    #[test]
    fn a_key_prints_its_id_and_nothing_of_itself() {
        let key = Key::parse(&[b'7'; 64]).unwrap();
        assert_eq!(format!("{key:?}"), format!("Key({})", key.id()));
        assert!(!format!("{key:?}").contains("7777"));
        assert_eq!(key.id(), Key::parse(key.text().as_bytes()).unwrap().id());
        assert_ne!(key.id(), Key::random().id());
    }

    #[test]
    fn a_key_is_64_hexadecimal_digits() {
        let good = "0123456789abcdefABCDEF9876543210".repeat(2);
        assert!(Key::parse(good.as_bytes()).is_some() && Key::parse(format!("{good}\r\n").as_bytes()).is_some());
        for bad in ["", "\n", &good[1..], &format!("{good}0"), &good.replace('a', "g"), &good.replace("01", "é"), "+1"]
        {
            assert!(Key::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(Key::parse(&[0xff; 64]).is_none());
    }

    #[test]
    fn a_credential_goes_before_the_file_and_a_made_key_is_found_again() {
        let (state, credentials) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let place = Place { credentials: Some(credentials.path().to_owned()), folder: Some(state.path().to_owned()) };
        assert!(place.find().unwrap().is_none());
        let made = place.make().unwrap();
        assert_eq!(place.find().unwrap().unwrap().id(), made.id());
        let file = state.path().join(NAME);
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 1, "nothing else is left");
        assert!(matches!(place.make(), Err(BadKey::NotMade { .. })), "no key takes another's place");
        assert_eq!(place.find().unwrap().unwrap().id(), made.id());
        std::fs::write(credentials.path().join(NAME), "ab".repeat(32)).unwrap();
        let other = place.find().unwrap().unwrap();
        assert!(other.id() != made.id() && other.is_credential());
        write(&credentials.path().join(ENCRYPTED_NAME), &Key::random()).unwrap();
        let first = place.find().unwrap().unwrap();
        assert!(first.id() != other.id() && first.id() != made.id() && first.is_credential());
        // Whichever a database needs is found, wherever it is.
        for needed in [&made, &other, &first] {
            let found = place.find_needed(needed.id()).unwrap().unwrap();
            assert_eq!((found.id(), found.is_credential()), (needed.id(), needed.id() != made.id()));
        }
        assert_eq!(place.find_needed(KeyId(1)).unwrap().unwrap().id(), first.id());
        // What is of no use keeps no other from being found, and is told where there is no other.
        std::fs::write(credentials.path().join(NAME), "nonsense").unwrap();
        assert_eq!(place.find_needed(made.id()).unwrap().unwrap().id(), made.id());
        assert!(matches!(place.find_needed(other.id()), Err(BadKey::Malformed(_))));
    }

    #[test]
    fn a_key_that_a_restore_did_not_come_to_put_in_place_is() {
        let state = tempfile::tempdir().unwrap();
        let place = Place::folder(state.path());
        let (former, new) = (place.make().unwrap(), Key::random());
        let begun = state.path().join(RESTORING_NAME);
        write(&begun, &new).unwrap();
        assert_eq!(place.find_needed(former.id()).unwrap().unwrap().id(), former.id());
        assert_eq!(place.find_needed(KeyId(1)).unwrap().unwrap().id(), former.id());
        assert!(begun.exists(), "nobody needs it");
        assert_eq!(place.find_needed(new.id()).unwrap().unwrap().id(), new.id());
        assert!(!begun.exists());
        assert_eq!(place.find().unwrap().unwrap().id(), new.id());
    }

    #[test]
    fn a_key_that_is_of_no_use_is_named() {
        let state = tempfile::tempdir().unwrap();
        let (place, file) = (Place::folder(state.path()), state.path().join(NAME));
        place.make().unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        let said = place.find().unwrap_err().to_string();
        assert!(said.contains("mode 0640") && said.contains(&format!("chmod 600 {}", file.display())), "{said}");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&file, "squ_0123").unwrap();
        let said = place.find().unwrap_err().to_string();
        assert!(said.contains("64 hexadecimal digits") && !said.contains("squ_"), "{said}");
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(matches!(place.find(), Err(BadKey::Unreadable { .. })));
    }
}
