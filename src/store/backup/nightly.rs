//! The way back when the database is damaged: what cannot be read from SonarQube again is copied once a day into a small file
//! beside it, in a backup's form. Findings, their history and the log of calls are not in it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::restore::{build, check, leave_numbers_out};
use super::{BackupError, RestoreError, name};
use crate::domain::time::Timestamp;
use crate::store::codec::{self, Record};
use crate::store::destinations::Progress;
use crate::store::records::Project;
use crate::store::tables::{self, Key, Table};
use crate::store::{Store, schema, secrets, standby};

/// The copy's name in the state folder.
pub const NIGHTLY_NAME: &str = "hydrophone.nightly";

/// The name of the copy before.
pub const FORMER_NIGHTLY_NAME: &str = "hydrophone.nightly.former";

/// What is copied.
const COPIED: &[Table] = &[
    tables::META,
    tables::SETTINGS,
    tables::SECRETS,
    tables::SOURCES,
    tables::HOOKS,
    tables::ASSETS,
    tables::ASSET_NAMES,
    tables::PROJECTS,
    tables::PROJECT_NAMES,
    tables::FLEETS,
    tables::DESTINATIONS,
    tables::PROGRESS,
    tables::USERS,
    tables::TOKENS,
    tables::TOKEN_NAMES,
];

impl Store {
    /// Copies what cannot be read again, and keeps the copy before. Returns how many rows that are.
    pub fn copy_nightly(&self, now: Timestamp) -> Result<u64, BackupError> {
        let (path, begun) = (self.folder().join(NIGHTLY_NAME), self.folder().join("hydrophone.nightly.new"));
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&begun)?;
        let mut out = BufWriter::new(&file);
        let rows = self.copy_tables(COPIED, None, now, &mut out)?;
        out.flush()?;
        drop(out);
        file.sync_all()?;
        match std::fs::rename(&path, self.folder().join(FORMER_NIGHTLY_NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        std::fs::rename(&begun, &path)?;
        File::open(self.folder())?.sync_all()?;
        Ok(rows)
    }
}

/// Deletes the copy before, as when what it was sealed with is not to open anything any more.
pub(in crate::store) fn drop_former(folder: &Path) -> io::Result<()> {
    match std::fs::remove_file(folder.join(FORMER_NIGHTLY_NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::open(folder)?.sync_all()
}

/// A database that was made of a nightly copy, and is not in its place yet.
pub(in crate::store) struct Revived {
    /// Where it is.
    pub(in crate::store) built: PathBuf,
    /// When the copy was made.
    pub(in crate::store) made_at: Timestamp,
}

fn copies(folder: &Path) -> impl Iterator<Item = PathBuf> {
    [NIGHTLY_NAME, FORMER_NIGHTLY_NAME].map(|name| folder.join(name)).into_iter().filter(|path| path.is_file())
}

/// Whether there is a nightly copy in a folder.
pub(in crate::store) fn has_copy(folder: &Path) -> bool {
    copies(folder).next().is_some()
}

/// Makes a database of the nightly copy, beside the place where it belongs; of the copy before, where the last one is
/// damaged. Nothing where there is no copy.
pub(in crate::store) fn revive(folder: &Path) -> Result<Option<Revived>, RestoreError> {
    let mut bad = None;
    for path in copies(folder) {
        match check(&path) {
            Ok((head, _)) => {
                let built = folder.join("hydrophone.redb.restoring");
                drop(build(&path, &built, None, &alive)?);
                return Ok(Some(Revived { built, made_at: head.made_at }));
            }
            Err(error) => bad = bad.or(Some(error)),
        }
    }
    bad.map_or(Ok(None), Err)
}

/// A row as it is of use without findings and branches; nothing where it is of none.
fn alive(table: Table, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let is = |one: Table| name(&one) == name(&table);
    if is(tables::META) {
        if [schema::KEY, secrets::SEALED_WITH, secrets::SEALED_SINCE, standby::PAIR].contains(&key) {
            return Some(value.to_vec());
        }
        return leave_numbers_out(table, key, value);
    }
    if is(tables::PROJECTS) {
        return changed(key, value, |project: Project| Project { main: None, error: None, moved: None, ..project });
    }
    if is(tables::PROGRESS) {
        // It is told the present state anew; where it asks for decisions next, it knows.
        return changed(key, value, |progress: Progress| Progress { mark: progress.mark, ..Progress::default() });
    }
    Some(value.to_vec())
}

fn changed<R: Record>(key: &[u8], value: &[u8], change: impl FnOnce(R) -> R) -> Option<Vec<u8>> {
    Some(codec::seal(&Key::new().tail(key).0, &change(codec::open(key, value).ok()?)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::restore::NUMBERS_LEFT_OUT;
    use super::*;
    use crate::domain::ids::{AssetName, OrganizationKey, OrganizationRef, ProjectKey, ScopeId, SourceName};
    use crate::domain::selection::Selection;
    use crate::store::records::{Asset, SecretBytes};
    use crate::store::{FILE_NAME, OpenError};
    use crate::store::{StoreError, catalogue, settings};
    use crate::sys::bell::Bell;
    use crate::sys::seal::Place;

    /// A damaged database ends what was read from SonarQube, and not what people set up.
    #[test]
    fn a_database_that_is_set_aside_leaves_what_was_set_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let (bell, key) = (Arc::new(Bell::default()), Place::folder(path));
        let store = Store::open(path, Arc::clone(&bell)).unwrap();
        let organization =
            OrganizationRef { source: SourceName::parse("eu").unwrap(), key: OrganizationKey::parse("acme").unwrap() };
        let made = store.write::<_, StoreError>(move |batch| {
            settings::set(batch, "public-url", Some("https://hooks.example"))?;
            settings::set_secret(batch, "tls/x", &SecretBytes::new(b"planted-secret".to_vec()))?;
            let asset = catalogue::add_asset(batch, &Asset::new(AssetName::parse("Shop").unwrap(), Timestamp(1)))?;
            let project = Project {
                organization,
                key: ProjectKey::parse("shop").unwrap(),
                name: "Web shop".to_owned(),
                asset,
                selection: Selection::default(),
                main: Some(ScopeId(7)),
                imported_at: Timestamp(1),
                error: Some("x".to_owned()),
                moved: None,
                repository: None,
            };
            Ok((asset, catalogue::add_project(batch, &project)?))
        });
        let (asset, project) = made.unwrap();
        assert!(store.copy_nightly(Timestamp(2)).unwrap() >= 6);
        store.close();
        let copy = std::fs::read(path.join(NIGHTLY_NAME)).unwrap();
        assert!(!copy.windows(14).any(|window| window == b"planted-secret"), "it is sealed");
        std::fs::write(path.join(FILE_NAME), "This is a letter to the editor.").unwrap();
        let store = Store::open_or_set_aside(path, bell, &key, Timestamp(3)).unwrap();
        store
            .read::<_, StoreError>(|view| {
                assert_eq!(settings::value(view, "public-url")?.as_deref(), Some("https://hooks.example"));
                let secret = settings::secret(view, "tls/x")?.unwrap();
                assert_eq!(secret.as_bytes(), b"planted-secret");
                let found = catalogue::project(view, project)?.unwrap();
                assert_eq!((found.asset, found.main, found.error), (asset, None, None));
                Ok(())
            })
            .unwrap();
        let added = store.write::<_, StoreError>(|batch| {
            catalogue::add_asset(batch, &Asset::new(AssetName::parse("Other").unwrap(), Timestamp(4)))
        });
        assert!(u64::from(added.unwrap().0) > NUMBERS_LEFT_OUT, "no number is given twice");
    }

    fn settle(path: &Path, name: &'static str) {
        let store = Store::open(path, Arc::new(Bell::default())).unwrap();
        let set = store.write::<_, StoreError>(move |batch| settings::set(batch, "public-url", Some(name)));
        assert_eq!(set, Ok(()));
        store.copy_nightly(Timestamp(2)).unwrap();
        store.close();
    }

    fn settled(store: &Store) -> Option<String> {
        store.read::<_, StoreError>(|view| settings::value(view, "public-url")).unwrap()
    }

    fn set_aside(path: &Path) -> Result<Store, OpenError> {
        Store::open_or_set_aside(path, Arc::new(Bell::default()), &Place::folder(path), Timestamp(3))
    }

    /// Whoever begins with nothing has the only copy of the configuration overwritten an hour later. So a start never does
    /// that by itself where there is a copy: the file may have been removed by mistake, or by a way back that was cut short.
    #[test]
    fn a_database_that_is_gone_is_not_begun_anew_where_there_is_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        settle(path, "https://one.example");
        let copy = std::fs::read(path.join(NIGHTLY_NAME)).unwrap();
        for begun in [false, true] {
            std::fs::remove_file(path.join(FILE_NAME)).unwrap();
            if begun {
                std::fs::write(path.join(FILE_NAME), "").unwrap();
            }
            let refused = Store::open(path, Arc::new(Bell::default())).err().unwrap();
            assert!(matches!(refused, OpenError::Gone(_)) && refused.needs_person(), "{refused}");
            assert_eq!(path.join(FILE_NAME).exists(), begun, "no database is begun");
            assert_eq!(std::fs::read(path.join(NIGHTLY_NAME)).unwrap(), copy);
            let store = set_aside(path).unwrap();
            assert_eq!(settled(&store).as_deref(), Some("https://one.example"));
            store.close();
        }
        std::fs::remove_file(path.join(FILE_NAME)).unwrap();
        std::fs::remove_file(path.join(NIGHTLY_NAME)).unwrap();
        assert_eq!(settled(&Store::open(path, Arc::new(Bell::default())).unwrap()), None, "without one it is");
    }

    /// A revival that fails must leave everything as it is: the damaged database, and the copy.
    #[test]
    fn a_copy_that_is_of_no_use_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::write(path.join(FILE_NAME), "This is a letter to the editor.").unwrap();
        std::fs::write(path.join(NIGHTLY_NAME), "And this is another one.").unwrap();
        let refused = set_aside(path).err().unwrap();
        assert!(matches!(refused, OpenError::Copy { .. }) && refused.needs_person(), "{refused}");
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 2, "nothing was moved");
        std::fs::remove_file(path.join(NIGHTLY_NAME)).unwrap();
        assert!(set_aside(path).is_ok());
    }

    #[test]
    fn the_copy_before_is_kept_and_takes_the_place_of_a_damaged_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        settle(path, "https://one.example");
        settle(path, "https://two.example");
        std::fs::write(path.join(FILE_NAME), "This is a letter to the editor.").unwrap();
        let whole = std::fs::read(path.join(NIGHTLY_NAME)).unwrap();
        std::fs::write(path.join(NIGHTLY_NAME), &whole[..whole.len() / 2]).unwrap();
        assert_eq!(settled(&set_aside(path).unwrap()).as_deref(), Some("https://one.example"));
    }
}
