//! Another key for what is sealed. Both are there until nothing needs the former one, and each step is done again where it was
//! cut short:
//!
//! 1. the new key is in its place, on the disk: a credential, or the file `hydrophone.key.next`;
//! 2. one commit says that what is sealed from now on is sealed with it, and which key came before;
//! 3. some secrets after the other are sealed again, and bodies of webhook calls that were sealed;
//! 4. one commit says that nothing in the database needs the former key;
//! 5. the nightly copy is made anew, and the one before it deleted;
//! 6. pages of the database that are free, and hold secrets under the former key, are dropped where the file is small;
//! 7. the key's file gets the name that a start looks for first, which deletes the former one.
//!
//! Backups that were made before need the former key, and so do the databases that a restore has set aside.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::backup::{self, BackupError};
use super::secrets::{self, Keyring};
use super::tables::{self, Key};
use super::{Size, Store, StoreError, View, deliveries, get, schema};
use crate::domain::limits::SECRETS_PER_COMMIT_MAX;
use crate::domain::time::Timestamp;
use crate::sys::seal::{self, BadKey, KeyId};

/// Whether a change of the key was begun and is not at its end.
pub fn is_underway(view: &impl View) -> Result<bool, StoreError> {
    super::has(view, tables::META, &changed_from())
}

/// Why a key is not changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyChangeError {
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no other key.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// The last change is not at its end.
    #[error("the key of this box is being changed already")]
    Underway,
    /// What was begun with one key ends with it.
    #[error("a backup is being made just now; change the key when that is done")]
    Busy,
    /// The nightly copy cannot be made anew.
    #[error("the copy of the configuration cannot be made anew: {0}")]
    Copy(#[from] BackupError),
    /// The key's file cannot be put in its place.
    #[error("the key cannot be put in its place: {0}")]
    Place(#[from] io::Error),
}

/// A change that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// The key from now on.
    pub present: KeyId,
    /// The one before.
    pub former: KeyId,
}

/// The key, as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Which one it is.
    pub id: KeyId,
    /// Whether the service manager handed it over.
    pub is_credential: bool,
    /// The file that it was read from; none in a store of a test.
    pub file: Option<std::path::PathBuf>,
    /// Since when it is used, where that was noted.
    pub since: Option<Timestamp>,
    /// The one before, as long as it is being changed.
    pub former: Option<KeyId>,
}

/// What of a change is done next.
#[derive(Debug, Default)]
pub(super) enum Stage {
    /// Secrets after this one are sealed again.
    #[default]
    Begun,
    Secrets(Vec<u8>),
    /// Bodies after this one are.
    Bodies(Option<Vec<u8>>),
    Copy,
    Pages,
    Files,
}

/// Where it is told that a change is not at its end, and of which key.
fn changed_from() -> Key {
    Key::new().tail(b"key changed from")
}

impl Store {
    /// The key that secrets are sealed with.
    pub fn key(&self) -> Result<Shown, StoreError> {
        self.read(|view| {
            let keyring = &view.keyring;
            let key = keyring.key()?;
            Ok(Shown {
                id: key.id(),
                is_credential: key.is_credential(),
                // It may have got its name since it was read.
                file: key.file().map(
                    |file| {
                        if file.exists() { file.to_owned() } else { file.with_file_name(seal::NAME) }
                    },
                ),
                since: secrets::since(view)?,
                former: get::<u64>(view, tables::META, &changed_from())?.map(KeyId),
            })
        })
    }

    /// Whether a change of the key was begun and is not at its end.
    pub fn is_changing_key(&self) -> Result<bool, StoreError> {
        if self.locked().is_some() {
            return Ok(false);
        }
        self.read(is_underway)
    }

    /// Begins to seal with another key: the credential that was handed over for it, or a new one in a file beside the present
    /// one. [`continue_key_change`](Self::continue_key_change) does the rest.
    pub fn begin_key_change(&self, now: Timestamp) -> Result<Changed, KeyChangeError> {
        // Whoever begins is alone in it.
        let mut stage = self.shared.change.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_changing_key()? {
            return Err(KeyChangeError::Underway);
        }
        let present = match self.shared.keyring() {
            Keyring::Open(key) => key,
            Keyring::Both(..) => return Err(KeyChangeError::Underway),
            Keyring::Locked(locked) => return Err(StoreError::Locked(locked).into()),
        };
        let next = Arc::new(self.shared.place.next(&present)?);
        let changed = Changed { present: next.id(), former: present.id() };
        let both = Keyring::Both(next, present);
        let shared = Arc::clone(&self.shared);
        let begun = self.alone(move |database| {
            if shared.watch.is_on() {
                return Ok(false);
            }
            schema::write(database, &both, |batch| {
                secrets::note_key(batch, now)?;
                secrets::note_former(batch, Some(changed.former))?;
                batch.put(tables::META, &changed_from(), &changed.former.0)
            })?;
            shared.commits.fetch_add(1, Ordering::Release);
            *shared.keyring.write().unwrap_or_else(PoisonError::into_inner) = both;
            Ok(true)
        })?;
        if !begun {
            return Err(KeyChangeError::Busy);
        }
        *stage = Stage::Begun;
        Ok(changed)
    }

    /// Does the next step of a change of the key; whether there is another one. A step that fails is done again.
    pub fn continue_key_change(&self, now: Timestamp) -> Result<bool, KeyChangeError> {
        let mut stage = self.shared.change.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_changing_key()? {
            return Ok(false);
        }
        let held = self.key()?;
        // Whether a commit that failed is on the disk shows only when the store was opened anew.
        if self.read(secrets::sealed_id)? != Some(held.id) {
            return Err(StoreError::Stale.into());
        }
        let next = match &*stage {
            Stage::Begun => self.seal_some_again(None)?,
            Stage::Secrets(after) => self.seal_some_again(Some(after.clone()))?,
            Stage::Bodies(after) => self.seal_some_bodies_again(after.clone())?,
            Stage::Copy => {
                if self.has_folder() {
                    self.copy_nightly(now)?;
                    backup::drop_former(self.folder())?;
                }
                Stage::Pages
            }
            Stage::Pages => {
                if self.file_bytes().is_some_and(Size::may_be_compacted_at_once) {
                    self.compact()?;
                }
                Stage::Files
            }
            Stage::Files => {
                if let Some(former) = held.former.filter(|former| *former != held.id) {
                    self.shared.place.settle(held.id, former)?;
                }
                self.write::<_, StoreError>(|batch| batch.delete(tables::META, &changed_from()))?;
                *stage = Stage::default();
                return Ok(false);
            }
        };
        *stage = next;
        Ok(true)
    }

    pub(crate) fn has_folder(&self) -> bool {
        !self.folder().as_os_str().is_empty()
    }

    fn seal_some_again(&self, after: Option<Vec<u8>>) -> Result<Stage, StoreError> {
        if self.shared.keyring().former().is_none() {
            return Ok(Stage::Copy);
        }
        let sealed = move |batch: &mut super::Batch| {
            // The same secrets in another seal: also those of a copy.
            batch.stands_by = false;
            secrets::seal_again(batch, after.as_deref(), SECRETS_PER_COMMIT_MAX)
        };
        if let Some(last) = self.write::<_, StoreError>(sealed)? {
            return Ok(Stage::Secrets(last));
        }
        Ok(Stage::Bodies(None))
    }

    fn seal_some_bodies_again(&self, after: Option<Vec<u8>>) -> Result<Stage, StoreError> {
        let sealed = move |batch: &mut super::Batch| deliveries::seal_again(batch, after.as_deref());
        if let Some(last) = self.write::<_, StoreError>(sealed)? {
            return Ok(Stage::Bodies(Some(last)));
        }
        let shared = Arc::clone(&self.shared);
        self.alone(move |database| {
            let keyring = shared.keyring();
            let Keyring::Both(present, _) = &keyring else { return Ok(()) };
            let alone = Keyring::Open(Arc::clone(present));
            schema::write(database, &alone, |batch| secrets::note_former(batch, None))?;
            shared.commits.fetch_add(1, Ordering::Release);
            // Nobody reads meanwhile what the former key has to open.
            *shared.keyring.write().unwrap_or_else(PoisonError::into_inner) = alone;
            Ok(())
        })?;
        Ok(Stage::Copy)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::backup::{FORMER_NIGHTLY_NAME, NIGHTLY_NAME};
    use crate::store::records::SecretBytes;
    use crate::store::{FILE_NAME, settings};
    use crate::sys::bell::Bell;
    use crate::sys::seal::{NAME, NEXT_NAME, Place};

    const SECRETS: usize = 2 * SECRETS_PER_COMMIT_MAX + 7;

    fn open(folder: &Path) -> Store {
        Store::open(folder, Arc::new(Bell::default())).unwrap()
    }

    fn text(number: usize) -> SecretBytes {
        SecretBytes::new(format!("planted-secret-{number}").into_bytes())
    }

    fn filled(folder: &Path) -> Store {
        let store = open(folder);
        let put = |batch: &mut crate::store::Batch| {
            (0..SECRETS).try_for_each(|number| settings::set_secret(batch, &format!("s/{number}"), &text(number)))
        };
        store.write::<_, StoreError>(put).unwrap();
        store.copy_nightly(Timestamp(1)).unwrap();
        store.copy_nightly(Timestamp(2)).unwrap();
        store
    }

    fn assert_whole(store: &Store) {
        assert_eq!(store.locked(), None);
        let whole = store.read::<_, StoreError>(|view| {
            (0..SECRETS).try_for_each(|number| {
                assert_eq!(settings::secret(view, &format!("s/{number}"))?, Some(text(number)), "{number}");
                Ok(())
            })
        });
        assert_eq!(whole, Ok(()));
        assert_eq!(store.verify(&|| true).unwrap().damaged, 0);
    }

    /// As a power cut leaves it: what is on the disk now.
    fn cut(folder: &Path) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        copy
    }

    fn key_ids(folder: &Path) -> Vec<(&'static str, Option<KeyId>)> {
        let id = |name| Place::of_file(&folder.join(name)).map(|key| key.id());
        [NAME, NEXT_NAME].map(|name| (name, id(name))).to_vec()
    }

    /// Ends the change, opens everything with the new key alone, and finds nothing of the former one.
    fn assert_ends(folder: &Path, changed: Changed) {
        let store = open(folder);
        assert_whole(&store);
        while store.continue_key_change(Timestamp(9)).unwrap() {
            assert_whole(&store);
        }
        assert!(!store.is_changing_key().unwrap());
        let shown = store.key().unwrap();
        let file = Some(folder.join(NAME));
        assert_eq!(
            (shown.id, shown.former, shown.since, shown.file),
            (changed.present, None, Some(Timestamp(8)), file)
        );
        store.close();
        assert_eq!(key_ids(folder), [(NAME, Some(changed.present)), (NEXT_NAME, None)]);
        assert!(!folder.join(FORMER_NIGHTLY_NAME).exists());
        assert_eq!(backup::check(&folder.join(NIGHTLY_NAME)).unwrap().0.key(), changed.present);
        let store = open(folder);
        assert_whole(&store);
        store.close();
        // The nightly copy is of use with the new key alone.
        std::fs::write(folder.join(FILE_NAME), "damaged").unwrap();
        let revived =
            Store::open_or_set_aside(folder, Arc::new(Bell::default()), &Place::folder(folder), Timestamp(10)).unwrap();
        assert_whole(&revived);
        revived.close();
    }

    #[test]
    fn a_change_of_the_key_that_is_cut_short_anywhere_goes_on_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path());
        let former = store.key().unwrap().id;
        let changed = store.begin_key_change(Timestamp(8)).unwrap();
        assert_eq!(changed.former, former);
        assert!(changed.present != former);
        assert!(matches!(store.begin_key_change(Timestamp(8)), Err(KeyChangeError::Underway)));
        let mut steps = 0;
        loop {
            // Secrets go on being stored and read meanwhile.
            store
                .write::<_, StoreError>(move |batch| settings::set_secret(batch, &format!("new/{steps}"), &text(steps)))
                .unwrap();
            assert_whole(&store);
            assert_ends(cut(folder.path()).path(), changed);
            if !store.continue_key_change(Timestamp(8)).unwrap() {
                break;
            }
            steps += 1;
        }
        assert!(steps >= 6, "{steps} steps");
        store.close();
        assert_ends(folder.path(), changed);
    }

    /// The file of the next key may be there before anything says that it is in use, and a power cut may come then.
    #[test]
    fn a_change_that_did_not_come_to_its_first_commit_changed_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path());
        let former = store.key().unwrap().id;
        store.close();
        let next = seal::Key::random();
        seal::write(&folder.path().join(NEXT_NAME), &next).unwrap();
        let store = open(folder.path());
        assert_whole(&store);
        assert_eq!((store.key().unwrap().id, store.is_changing_key().unwrap()), (former, false));
        assert!(!store.continue_key_change(Timestamp(8)).unwrap());
        // It is not lost, and as good as another one.
        assert_eq!(store.begin_key_change(Timestamp(8)).unwrap().present, next.id());
    }

    #[test]
    fn in_the_middle_of_a_change_a_box_without_one_of_its_keys_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path());
        let changed = store.begin_key_change(Timestamp(8)).unwrap();
        store.continue_key_change(Timestamp(8)).unwrap();
        store.close();
        for (name, needed) in [(NAME, changed.former), (NEXT_NAME, changed.present)] {
            let copy = cut(folder.path());
            std::fs::remove_file(copy.path().join(name)).unwrap();
            let store = open(copy.path());
            assert_eq!(store.locked().map(|locked| locked.needed), Some(needed), "{name}");
            assert!(matches!(store.begin_key_change(Timestamp(9)), Err(KeyChangeError::Store(StoreError::Locked(_)))));
            assert!(!store.is_changing_key().unwrap(), "nobody is to go on with it");
            store.close();
            std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
            assert_ends(copy.path(), changed);
        }
    }

    /// A backup's place that has the key changed meanwhile.
    struct Trying<'s>(&'s Store);
    impl io::Write for Trying<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            assert!(matches!(self.0.begin_key_change(Timestamp(8)), Err(KeyChangeError::Busy)));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_backup_and_a_change_of_the_key_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path());
        store.backup(&mut Trying(&store), None, Timestamp(7)).unwrap();
        let changed = store.begin_key_change(Timestamp(8)).unwrap();
        let refused = store.backup(&mut Vec::new(), None, Timestamp(8));
        assert!(matches!(refused, Err(BackupError::KeyChanging)), "{refused:?}");
        while store.continue_key_change(Timestamp(8)).unwrap() {}
        let mut bytes = Vec::new();
        store.backup(&mut bytes, None, Timestamp(9)).unwrap();
        let file = folder.path().join("backup");
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(backup::check(&file).unwrap().0.key(), changed.present);
    }

    /// Only who made it can exchange it; and a key that is bound to the box must not be replaced by one that lies on its disk.
    #[test]
    fn a_credential_is_changed_for_another_credential_alone() {
        let (folder, credentials) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let place = Place::with_credentials(credentials.path(), folder.path());
        let (former, next) = (seal::Key::random(), seal::Key::random());
        seal::write(&credentials.path().join(seal::ENCRYPTED_NAME), &former).unwrap();
        let open = || Store::open_with(folder.path(), Arc::new(Bell::default()), &place).unwrap();
        let store = open();
        store.write::<_, StoreError>(|batch| settings::set_secret(batch, "x", &text(1))).unwrap();
        let refused = store.begin_key_change(Timestamp(8));
        assert!(matches!(refused, Err(KeyChangeError::Key(BadKey::NoNext))), "{refused:?}");
        seal::write(&credentials.path().join(NEXT_NAME), &next).unwrap();
        let changed = store.begin_key_change(Timestamp(8)).unwrap();
        assert_eq!((changed.present, changed.former), (next.id(), former.id()));
        while store.continue_key_change(Timestamp(8)).unwrap() {}
        let shown = store.key().unwrap();
        assert_eq!((shown.is_credential, shown.file), (true, Some(credentials.path().join(NEXT_NAME))));
        store.close();
        assert_eq!(key_ids(folder.path()), [(NAME, None), (NEXT_NAME, None)]);
        // Under its own name it is the same key.
        std::fs::rename(credentials.path().join(NEXT_NAME), credentials.path().join(seal::ENCRYPTED_NAME)).unwrap();
        let store = open();
        assert_eq!(store.locked(), None);
        assert_eq!(store.read::<_, StoreError>(|view| settings::secret(view, "x")).unwrap(), Some(text(1)));
    }

    /// From a file to a credential, nothing is left of either in the state folder.
    #[test]
    fn a_file_may_give_way_to_a_credential() {
        let (folder, credentials) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        filled(folder.path()).close();
        let place = Place::with_credentials(credentials.path(), folder.path());
        seal::write(&credentials.path().join(NEXT_NAME), &seal::Key::random()).unwrap();
        let store = Store::open_with(folder.path(), Arc::new(Bell::default()), &place).unwrap();
        store.begin_key_change(Timestamp(8)).unwrap();
        while store.continue_key_change(Timestamp(8)).unwrap() {}
        assert_whole(&store);
        assert_eq!(key_ids(folder.path()), [(NAME, None), (NEXT_NAME, None)]);
    }

    /// Bodies may hold users' secrets; they are sealed where that is asked for, and those that were there stay as they are.
    #[test]
    fn sealed_bodies_open_with_the_present_key_and_are_shown_as_sealed_without_it() {
        use crate::domain::delivery::Payload;
        use crate::domain::ids::{OrganizationKey, OrganizationRef, SourceName};
        use crate::domain::settings::SEAL_BODIES;
        use crate::store::{Arrival, deliveries};
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path());
        let accept = |task: &str| {
            let body = format!(
                r#"{{"taskId":"{task}","status":"SUCCESS","project":{{"key":"shop"}},"properties":{{"p":"planted-in-{task}"}}}}"#
            );
            let arrival = Arrival {
                at: Timestamp(5),
                organization: OrganizationRef {
                    source: SourceName::parse("eu").unwrap(),
                    key: OrganizationKey::parse("acme").unwrap(),
                },
                payload: Payload::parse(body.as_bytes(), None),
                body: body.into_bytes(),
                replay_of: None,
                healed: None,
                signed_by: None,
            };
            store.accept_and_wait(arrival).unwrap().id
        };
        let plain = accept("one");
        store.write::<_, StoreError>(|batch| settings::set(batch, SEAL_BODIES, Some("yes"))).unwrap();
        let sealed = accept("two");
        let shown = |store: &Store, id| {
            let (delivery, _) = store.read::<_, StoreError>(move |view| deliveries::show(view, id)).unwrap().unwrap();
            (String::from_utf8(delivery.body).unwrap(), delivery.sealed)
        };
        let assert_shown = |store: &Store| {
            for (id, what) in [(plain, "planted-in-one"), (sealed, "planted-in-two")] {
                let (body, is_sealed) = shown(store, id);
                assert!(body.contains(what) && !is_sealed, "{body}");
            }
        };
        assert_shown(&store);
        let changed = store.begin_key_change(Timestamp(8)).unwrap();
        while store.continue_key_change(Timestamp(8)).unwrap() {
            assert_shown(&store);
        }
        assert_shown(&store);
        store.close();
        let bytes = std::fs::read(folder.path().join(FILE_NAME)).unwrap();
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert_eq!((holds("planted-in-one"), holds("planted-in-two")), (true, false));
        let (key, kept) = (folder.path().join(NAME), folder.path().join("kept"));
        std::fs::rename(&key, &kept).unwrap();
        let locked = open(folder.path());
        assert_eq!(locked.locked().map(|locked| locked.needed), Some(changed.present));
        assert_eq!((shown(&locked, sealed), shown(&locked, plain).1), ((String::new(), true), false));
        locked.close();
        std::fs::rename(&kept, &key).unwrap();
        let store = open(folder.path());
        assert_shown(&store);
        // What is deleted takes the trace of its call with it, sealed or not.
        let mut pruned = 0;
        while pruned < 2 {
            pruned += store.delete::<_, StoreError>(|batch| deliveries::prune(batch, Timestamp(i64::MAX))).unwrap();
        }
        let calls =
            store.read::<_, StoreError>(|view| crate::store::keys(view, tables::CALLS, &Key::new(), 9)).unwrap();
        assert_eq!(calls, [[0_u8; 0]; 0]);
    }

    /// Whoever has the former key, and the database after the change, has nothing.
    #[test]
    fn nothing_that_the_former_key_opens_is_left_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path());
        let row = store
            .read::<_, StoreError>(|view| {
                Ok(super::super::View::rows(view, tables::SECRETS)?.get(b"s/7".as_slice())?.unwrap().value().to_vec())
            })
            .unwrap();
        let holds = || {
            let bytes = std::fs::read(folder.path().join(FILE_NAME)).unwrap();
            bytes.windows(row.len()).any(|window| window == row)
        };
        assert!(holds());
        store.begin_key_change(Timestamp(8)).unwrap();
        while store.continue_key_change(Timestamp(8)).unwrap() {}
        store.close();
        assert!(!holds());
    }
}
