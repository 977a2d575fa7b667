//! Secrets, sealed: tokens, webhook secrets, destinations' keys, the private key of TLS, proxies' passwords. Each is sealed
//! with the box's key as the secret of its own row, so that none can be put into another's place. A store whose key is not
//! there, or is another one, is locked: everything else in it can be read, and no secret can be read or written.

use std::sync::Arc;

use minicbor::{Decode, Encode};

use super::codec::{Record, record};
use super::records::SecretBytes;
use super::tables::{self, Key, Table};
use super::{Batch, StoreError, View, get, keys};
use crate::domain::destination::Destination;
use crate::domain::masking::{has_login, without_password};
use crate::domain::time::Timestamp;
use crate::sys::clock;
use crate::sys::seal::{self, BadKey, KeyId, Place};

use super::records::Source;

/// Why no secret can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locked {
    /// The key that the secrets are sealed with.
    pub needed: KeyId,
    /// The key that was found instead.
    pub given: Option<KeyId>,
}

impl std::fmt::Display for Locked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.given {
            None => write!(f, "the sealing key {} is not there", self.needed),
            Some(given) => write!(f, "the sealing key is {given}, and the secrets were sealed with {}", self.needed),
        }
    }
}

impl Locked {
    /// What a person can do about it.
    pub const REMEDY: &'static str = "put the key back, as one of the credentials hydrophone.key.encrypted and hydrophone.key \
        or as the file hydrophone.key in the state folder (mode 0600, owned by the service's user), and restart hydrophone; it \
        is in a backup that was made with --with-keys";
}

/// What secrets are opened and sealed with.
#[doc(hidden)]
#[derive(Clone)]
pub enum Keyring {
    /// The key that everything is sealed with.
    Open(Arc<seal::Key>),
    /// The key is being changed: what is sealed is sealed with the first, and what is there may be sealed with either.
    Both(Arc<seal::Key>, Arc<seal::Key>),
    /// It is not there.
    Locked(Locked),
}

impl Keyring {
    /// For what is read before the key is known, and holds no secret.
    pub(super) const NONE: Self = Self::Locked(Locked { needed: KeyId(0), given: None });

    /// The key of a new store.
    pub(super) fn new(place: &Place) -> Result<Self, BadKey> {
        let key = match place.find()? {
            Some(key) => key,
            None => place.make()?,
        };
        Ok(Self::Open(Arc::new(key)))
    }

    /// The key of a store that is there. One that was never sealed gets a key of its own, where there is none for it.
    pub(super) fn of(view: &impl View, place: &Place) -> Result<Result<Self, BadKey>, StoreError> {
        let needed = sealed_id(view)?;
        let Some(needed) = needed else { return Ok(Self::new(place)) };
        let former = get::<u64>(view, tables::META, &sealed_before())?.map(KeyId);
        let find = |needed| {
            Ok(match place.find_needed(needed)? {
                Some(key) if key.id() == needed => Ok(Arc::new(key)),
                found => Err(Locked { needed, given: found.map(|key| key.id()) }),
            })
        };
        let open = || {
            Ok(match (find(needed)?, former.map(find).transpose()?) {
                (Err(locked), _) | (Ok(_), Some(Err(locked))) => Self::Locked(locked),
                (Ok(present), None) => Self::Open(present),
                (Ok(present), Some(Ok(former))) => Self::Both(present, former),
            })
        };
        Ok(open())
    }

    /// Opens what was sealed with the key, or with the one before while that is being changed.
    fn open(&self, record: &[u8], sealed: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let opened = self.key()?.open(record, sealed);
        Ok(match self {
            Self::Both(_, former) => opened.or_else(|| former.open(record, sealed)),
            _ => opened,
        })
    }

    /// The key before, while something may be sealed with it.
    pub(super) fn former(&self) -> Option<&seal::Key> {
        match self {
            Self::Both(_, former) => Some(former),
            _ => None,
        }
    }

    /// The key.
    pub(super) fn key(&self) -> Result<&seal::Key, StoreError> {
        match self {
            Self::Open(key) | Self::Both(key, _) => Ok(key),
            Self::Locked(locked) => Err(StoreError::Locked(*locked)),
        }
    }

    pub(super) fn locked(&self) -> Option<Locked> {
        match self {
            Self::Open(_) | Self::Both(..) => None,
            Self::Locked(locked) => Some(*locked),
        }
    }
}

/// Where it is told which key the secrets are sealed with.
pub(super) const SEALED_WITH: &[u8] = b"sealed with";

fn sealed_with() -> Key {
    Key::new().tail(SEALED_WITH)
}

/// Where it is told since when.
pub(super) const SEALED_SINCE: &[u8] = b"sealed since";

fn sealed_since() -> Key {
    Key::new().tail(SEALED_SINCE)
}

/// Where it is told, while the key is being changed, which other key something may be sealed with.
fn sealed_before() -> Key {
    Key::new().tail(b"sealed before")
}

/// A sealed secret as it is stored.
#[derive(Encode, Decode)]
#[cbor(transparent)]
struct Sealed(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>);

impl Record for Sealed {
    const NAME: &'static str = "secret";
    /// The first form was the secret as it is.
    const VERSION: u8 = 2;
}

/// A secret as formats 1 to 4 stored it.
#[derive(Encode, Decode)]
#[cbor(transparent)]
struct Plain(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>);

record!(Plain = "secret");

/// What a secret is sealed as the secret of.
fn about(key: &Key) -> Vec<u8> {
    [b"secret ".as_slice(), &key.0].concat()
}

/// Whether there is one, which need not be opened for that.
pub(super) fn has_secret(view: &impl View, key: &Key) -> Result<bool, StoreError> {
    Ok(get::<Sealed>(view, tables::SECRETS, key)?.is_some())
}

/// A secret, opened.
pub(super) fn secret(view: &impl View, key: &Key) -> Result<Option<SecretBytes>, StoreError> {
    let Some(sealed) = get::<Sealed>(view, tables::SECRETS, key)? else { return Ok(None) };
    match view.keyring().open(&about(key), &sealed.0)? {
        Some(secret) => Ok(Some(SecretBytes::new(secret))),
        None => Err(StoreError::Damaged { what: "secret" }),
    }
}

/// Whether a stored secret can be opened, as far as that can be told without the key.
pub(super) fn opens(keyring: &Keyring, key: &[u8], value: &[u8]) -> bool {
    let key = Key(key.to_vec());
    let Ok(sealed) = super::codec::open::<Sealed>(&key.0, value) else { return false };
    match keyring.open(&about(&key), &sealed.0) {
        Ok(opened) => opened.map(SecretBytes::new).is_some(),
        Err(_) => true,
    }
}

/// A stored secret sealed with the key that this box has in common with another one.
pub(super) fn for_other(
    keyring: &Keyring,
    common: &seal::Key,
    key: &[u8],
    value: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let key = Key(key.to_vec());
    let sealed = super::codec::open::<Sealed>(&key.0, value)?;
    let opened = keyring.open(&about(&key), &sealed.0)?.map(SecretBytes::new);
    let opened = opened.ok_or(StoreError::Damaged { what: "secret" })?;
    Ok(common.seal(&about(&key), opened.as_bytes()))
}

/// The other way round; nothing if it is none of that key's.
pub(super) fn of_other(
    keyring: &Keyring,
    common: &seal::Key,
    key: &[u8],
    value: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    let key = Key(key.to_vec());
    let Some(opened) = common.open(&about(&key), value).map(SecretBytes::new) else { return Ok(None) };
    let sealed = keyring.key()?.seal(&about(&key), opened.as_bytes());
    Ok(Some(super::codec::seal(&key.0, &Sealed(sealed))))
}

/// Stores a secret.
pub(super) fn put(batch: &Batch, key: &Key, secret: &SecretBytes) -> Result<(), StoreError> {
    let sealed = batch.keyring().key()?.seal(&about(key), secret.as_bytes());
    batch.put(tables::SECRETS, key, &Sealed(sealed))
}

/// Forgets a secret.
pub(super) fn delete(batch: &Batch, key: &Key) -> Result<(), StoreError> {
    batch.delete(tables::SECRETS, key)
}

/// A record with the address of a proxy in it, which may hold a password.
pub(super) trait Proxied: Record + Clone {
    /// Where the whole address is kept.
    const PREFIX: &'static [u8];
    /// The address.
    fn proxy(&self) -> Option<&str>;
    /// Another one.
    fn set_proxy(&mut self, proxy: String);
}

impl Proxied for Source {
    const PREFIX: &'static [u8] = b"proxy/source/";

    fn proxy(&self) -> Option<&str> {
        self.proxy.as_deref()
    }

    fn set_proxy(&mut self, proxy: String) {
        self.proxy = Some(proxy.into());
    }
}

impl Proxied for Destination {
    const PREFIX: &'static [u8] = b"proxy/destination/";

    fn proxy(&self) -> Option<&str> {
        self.proxy.as_deref()
    }

    fn set_proxy(&mut self, proxy: String) {
        self.proxy = Some(proxy.into());
    }
}

fn of_proxy<R: Proxied>(key: &[u8]) -> Key {
    Key::new().tail(R::PREFIX).tail(key)
}

/// Stores a record; the password of its proxy is kept as a secret, and not in it.
pub(super) fn put_proxied<R: Proxied>(batch: &Batch, table: Table, key: &Key, record: &R) -> Result<(), StoreError> {
    let Some(whole) = record.proxy().filter(|proxy| has_login(proxy)) else {
        delete(batch, &of_proxy::<R>(&key.0))?;
        return batch.put(table, key, record);
    };
    put(batch, &of_proxy::<R>(&key.0), &SecretBytes::new(whole.as_bytes().to_vec()))?;
    let mut shown = record.clone();
    shown.set_proxy(without_password(whole));
    batch.put(table, key, &shown)
}

/// Forgets the proxy of a record.
pub(super) fn delete_proxied<R: Proxied>(batch: &Batch, table: Table, key: &Key) -> Result<(), StoreError> {
    delete(batch, &of_proxy::<R>(&key.0))?;
    batch.delete(table, key)
}

/// Gives a record that was read its proxy's password back. A locked store shows it without.
pub(super) fn with_proxy<R: Proxied>(view: &impl View, key: &[u8], mut record: R) -> Result<R, StoreError> {
    if record.proxy().is_some_and(has_login) {
        match secret(view, &of_proxy::<R>(key)) {
            Ok(Some(whole)) => record.set_proxy(whole.as_text().to_owned()),
            // Whoever uses it is told by the proxy.
            Ok(None) | Err(StoreError::Locked(_) | StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(record)
}

/// Notes which key seals the store, from here on.
pub(super) fn note_key(batch: &Batch, now: Timestamp) -> Result<(), StoreError> {
    let id = batch.keyring().key()?.id();
    batch.put(tables::META, &sealed_since(), &now.0.cast_unsigned())?;
    batch.put(tables::META, &sealed_with(), &id.0)
}

/// Which key seals the store.
pub(super) fn sealed_id(view: &impl View) -> Result<Option<KeyId>, StoreError> {
    Ok(get::<u64>(view, tables::META, &sealed_with())?.map(KeyId))
}

/// Since when the key seals the store; nothing of one that is older than the note.
pub(super) fn since(view: &impl View) -> Result<Option<Timestamp>, StoreError> {
    Ok(get::<u64>(view, tables::META, &sealed_since())?.map(|at| Timestamp(at.cast_signed())))
}

/// Notes that what is there may be sealed with another key, or not any more.
pub(super) fn note_former(batch: &Batch, former: Option<KeyId>) -> Result<(), StoreError> {
    match former {
        Some(former) => batch.put(tables::META, &sealed_before(), &former.0),
        None => batch.delete(tables::META, &sealed_before()),
    }
}

fn about_body(key: &Key) -> Vec<u8> {
    [b"body ".as_slice(), &key.0].concat()
}

/// The body of a delivery, sealed as that one's.
pub(super) fn seal_body(batch: &Batch, key: &Key, body: &[u8]) -> Result<Vec<u8>, StoreError> {
    Ok(batch.keyring().key()?.seal(&about_body(key), body))
}

/// Opens it; nothing if it is another's, or damaged.
pub(super) fn open_body(view: &impl View, key: &Key, sealed: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    view.keyring().open(&about_body(key), sealed)
}

/// It sealed with the present key, if the former one had sealed it.
pub(super) fn body_sealed_again(batch: &Batch, key: &Key, sealed: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let (present, about) = (batch.keyring().key()?, about_body(key));
    if present.open(&about, sealed).map(SecretBytes::new).is_some() {
        return Ok(None);
    }
    let former = batch.keyring().former().and_then(|former| former.open(&about, sealed)).map(SecretBytes::new);
    Ok(former.map(|body| present.seal(&about, body.as_bytes())))
}

/// Seals some secrets with the present key that the former one sealed, from after a key; the last one that was looked at, or
/// nothing when all were. What neither opens is damaged, and stays as it is.
pub(super) fn seal_again(batch: &Batch, after: Option<&[u8]>, most: usize) -> Result<Option<Vec<u8>>, StoreError> {
    let (present, former) = (batch.keyring().key()?, batch.keyring().former());
    let all = keys(batch, tables::SECRETS, &Key::new(), usize::MAX)?;
    let mut last = None;
    for key in all.into_iter().filter(|key| after.is_none_or(|after| key.as_slice() > after)).take(most).map(Key) {
        let sealed = match get::<Sealed>(batch, tables::SECRETS, &key) {
            Ok(sealed) => sealed,
            Err(StoreError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        if let (Some(sealed), Some(former)) = (sealed, former)
            && present.open(&about(&key), &sealed.0).map(SecretBytes::new).is_none()
            && let Some(secret) = former.open(&about(&key), &sealed.0).map(SecretBytes::new)
        {
            put(batch, &key, &secret)?;
        }
        last = Some(key.0);
    }
    Ok(last)
}

/// Seals everything that formats 1 to 4 stored as it is.
pub(super) fn seal_all(batch: &Batch) -> Result<(), StoreError> {
    note_key(batch, clock::now())?;
    for key in keys(batch, tables::SECRETS, &Key::new(), usize::MAX)?.into_iter().map(Key) {
        match get::<Plain>(batch, tables::SECRETS, &key) {
            Ok(Some(plain)) => put(batch, &key, &SecretBytes::new(plain.0))?,
            Ok(None) => {}
            // It was of no use as it was, and might be read by somebody else.
            Err(StoreError::Damaged { .. }) => {
                tracing::warn!("a stored secret is damaged and was not kept; give it anew");
                delete(batch, &key)?;
            }
            Err(error) => return Err(error),
        }
    }
    seal_proxies::<Source>(batch, tables::SOURCES)?;
    seal_proxies::<Destination>(batch, tables::DESTINATIONS)?;
    batch.put(tables::META, &unscrubbed(), &1_u32)
}

fn seal_proxies<R: Proxied>(batch: &Batch, table: Table) -> Result<(), StoreError> {
    for key in keys(batch, table, &Key::new(), usize::MAX)?.into_iter().map(Key) {
        match get::<R>(batch, table, &key) {
            Ok(Some(record)) if record.proxy().is_some() => put_proxied(batch, table, &key, &record)?,
            Ok(_) | Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn unscrubbed() -> Key {
    Key::new().tail(b"unscrubbed")
}

/// Whether pages that are free may still hold what was sealed since.
pub(super) fn is_unscrubbed(view: &impl View) -> Result<bool, StoreError> {
    super::has(view, tables::META, &unscrubbed())
}

/// Notes that they do not.
pub(super) fn note_scrubbed(batch: &Batch) -> Result<(), StoreError> {
    batch.delete(tables::META, &unscrubbed())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use redb::Database;

    use super::*;
    use crate::domain::ids::SourceName;
    use crate::store::{FILE_NAME, Store, catalogue, settings};
    use crate::sys::bell::Bell;

    const TOKEN: &str = "squ_0123456789abcdef0123456789abcdef";
    const PROXY: &str = "http://box:hunter2-hunter2@proxy.example:3128";

    fn eu() -> SourceName {
        SourceName::parse("eu").unwrap()
    }

    fn source() -> Source {
        Source {
            name: eu(),
            cloud: true,
            url: "https://sonarcloud.io".to_owned(),
            api_url: None,
            ca_pem: None,
            proxy: Some(PROXY.into()),
            webhook_url: None,
            version: None,
            standard_mode: false,
            checked_at: None,
            token_expires_at: None,
            error: None,
            organizations: Vec::new(),
            unsorted: false,
            filters: std::collections::BTreeMap::new(),
            at: None,
        }
    }

    fn open(folder: &Path) -> Store {
        Store::open(folder, Arc::new(Bell::default())).unwrap()
    }

    fn holds(folder: &Path, text: &str) -> bool {
        let bytes = std::fs::read(folder.join(FILE_NAME)).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// The tables as format 4 had them, several times over, so that free pages hold secrets, too.
    fn unsealed(folder: &Path) {
        open(folder).close();
        std::fs::remove_file(folder.join(seal::NAME)).unwrap();
        let database = Database::open(folder.join(FILE_NAME)).unwrap();
        for round in 0..20_u32 {
            let transaction = database.begin_write().unwrap();
            let batch = Batch::new(&transaction, &Keyring::NONE, Instant::now(), None);
            batch.put(tables::META, &Key::new().tail(b"schema"), &4_u32).unwrap();
            batch.delete(tables::META, &sealed_with()).unwrap();
            batch.put(tables::SOURCES, &Key::new().tail(b"eu"), &source()).unwrap();
            let token = |number: u32| Plain(format!("{TOKEN}-{number}").into_bytes());
            batch.put(tables::SECRETS, &Key::new().tail(b"token/eu"), &token(round)).unwrap();
            for number in 0..200 {
                let key = Key::new().tail(format!("other/{round}/{number}").as_bytes());
                batch.put(tables::SECRETS, &key, &token(number)).unwrap();
                if round % 3 > 0 {
                    let former = Key::new().tail(format!("other/{}/{number}", round - 1).as_bytes());
                    batch.delete(tables::SECRETS, &former).unwrap();
                }
            }
            drop(batch);
            transaction.commit().unwrap();
        }
    }

    #[test]
    fn a_database_of_format_4_is_sealed_and_nothing_readable_is_left_in_its_file() {
        let folder = tempfile::tempdir().unwrap();
        unsealed(folder.path());
        assert!(holds(folder.path(), TOKEN) && holds(folder.path(), "hunter2"));
        for _ in 0..2 {
            let store = open(folder.path());
            assert_eq!(store.locked(), None);
            store
                .read::<_, StoreError>(|view| {
                    let token = catalogue::token(view, &eu())?.unwrap();
                    assert_eq!(token.as_text(), format!("{TOKEN}-19"));
                    assert_eq!(catalogue::source(view, &eu())?, Some(source()));
                    assert_eq!(catalogue::sources(view)?, [source()]);
                    assert!(!is_unscrubbed(view)?);
                    Ok(())
                })
                .unwrap();
            store.close();
            assert!(!holds(folder.path(), "squ_0123456789"), "a token is left");
            assert!(!holds(folder.path(), "hunter2"), "a proxy's password is left");
        }
    }

    /// What free pages still hold is worth a try at each start, and no reason not to start. Who only looks does not try.
    #[test]
    fn a_database_whose_free_pages_cannot_be_emptied_is_opened_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        unsealed(folder.path());
        let due = |store: &Store| {
            let due = store.read::<_, StoreError>(is_unscrubbed).unwrap();
            store.close();
            due
        };
        let file = folder.path().join(FILE_NAME);
        // While there is one, redb does not compact.
        let database = Database::open(&file).unwrap();
        let transaction = database.begin_write().unwrap();
        let savepoint = transaction.persistent_savepoint().unwrap();
        transaction.commit().unwrap();
        drop(database);
        for _ in 0..2 {
            assert!(due(&open(folder.path())));
        }
        let database = Database::open(&file).unwrap();
        let transaction = database.begin_write().unwrap();
        assert!(transaction.delete_persistent_savepoint(savepoint).unwrap());
        transaction.commit().unwrap();
        drop(database);
        assert!(due(&Store::open_to_look(folder.path()).unwrap()));
        assert!(!due(&open(folder.path())));
    }

    #[test]
    fn a_store_without_its_key_is_locked_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (file, kept) = (folder.path().join(seal::NAME), folder.path().join("kept"));
        let store = open(folder.path());
        let token = SecretBytes::new(TOKEN.as_bytes().to_vec());
        let given = token.clone();
        store.write::<_, StoreError>(move |batch| catalogue::put_source(batch, &source(), Some(&given))).unwrap();
        store.close();
        std::fs::rename(&file, &kept).unwrap();
        for other in [false, true] {
            if other {
                seal::write(&file, &seal::Key::random()).unwrap();
            }
            let store = open(folder.path());
            let locked = store.locked().expect("it is locked");
            assert_eq!(locked.given.is_some(), other);
            let shown = store.read::<_, StoreError>(catalogue::sources).unwrap();
            assert_eq!(shown[0].proxy.as_deref(), Some("http://***@proxy.example:3128"));
            let asked = store.read::<_, StoreError>(|view| catalogue::token(view, &eu()));
            assert_eq!(asked, Err(StoreError::Locked(locked)));
            let given = token.clone();
            let written = store.write::<_, StoreError>(move |batch| settings::set_secret(batch, "tls/x", &given));
            assert_eq!(written, Err(StoreError::Locked(locked)), "nothing is stored without sealing");
            let changed = store.write::<_, StoreError>(move |batch| catalogue::put_source(batch, &source(), None));
            assert_eq!(changed, Err(StoreError::Locked(locked)));
            store.close();
            assert_eq!(file.exists(), other, "no other key is made");
        }
        std::fs::rename(&kept, &file).unwrap();
        let store = open(folder.path());
        let asked = store.read::<_, StoreError>(|view| catalogue::token(view, &eu())).unwrap();
        assert_eq!((store.locked(), asked), (None, Some(token)));
    }

    #[test]
    fn a_secret_in_anothers_place_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let written = store.write::<_, StoreError>(|batch| {
            settings::set_secret(batch, "one", &SecretBytes::new(b"secret of one".to_vec()))?;
            let sealed = get::<Sealed>(batch, tables::SECRETS, &Key::new().tail(b"one"))?.unwrap();
            batch.put(tables::SECRETS, &Key::new().tail(b"other"), &sealed)
        });
        assert_eq!(written, Ok(()));
        let asked = store.read::<_, StoreError>(|view| settings::secret(view, "other"));
        assert_eq!(asked, Err(StoreError::Damaged { what: "secret" }));
    }

    #[test]
    fn a_proxy_without_a_password_leaves_no_secret_behind() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let secrets = |store: &Store| {
            store.read::<_, StoreError>(|view| keys(view, tables::SECRETS, &Key::new(), 9)).unwrap().len()
        };
        for (proxy, kept) in [(Some(PROXY), 1), (Some("http://proxy.example:3128"), 0), (Some(PROXY), 1), (None, 0)] {
            let source = Source { proxy: proxy.map(Into::into), ..source() };
            let expected = source.clone();
            store.write::<_, StoreError>(move |batch| catalogue::put_source(batch, &source, None)).unwrap();
            assert_eq!(secrets(&store), kept, "{proxy:?}");
            let read = store.read::<_, StoreError>(|view| catalogue::source(view, &eu())).unwrap();
            assert_eq!(read, Some(expected));
        }
        let source = source();
        store.write::<_, StoreError>(move |batch| catalogue::put_source(batch, &source, None)).unwrap();
        store.write::<_, StoreError>(|batch| catalogue::remove_source(batch, &eu())).unwrap();
        assert_eq!(secrets(&store), 0);
    }
}
