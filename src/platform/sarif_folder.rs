//! A folder of SARIF files, one for each branch: for whatever reads SARIF, also where there is no network.
//!
//! A file is `ORGANIZATION_PROJECT_BRANCH-HASH.sarif`. What no file name should have is a `-` in it, long names are cut,
//! and the hash, of source, organization, project and branch, keeps apart what would otherwise have one name (two
//! sources, `a_b` and `c` beside `a` and `b_c`, `Shop` beside `shop`). A branch's file keeps its name for ever.
//!
//! A file is written beside its place, brought to the disk and then renamed, so that a reader meets the former one or
//! the new one, never a part, and a power cut leaves one of both. It holds what is not closed: what is fixed is absent.
//! A branch that is removed here keeps its last file, since that closes nothing.
//!
//! Options:
//!
//! | option | meaning | without it |
//! |---|---|---|
//! | `keep` | how many versions of each file stay in the folder `former`, the present one among them, with the time of Sonar's analysis in their names; 0 to 1000 | 0 |
//! | `suppressions` | `all`: accepted findings and false positives are told as suppressed; `false-positives`: only those; `none`. A reader such as DefectDojo makes false positives of all that is suppressed | `all` |

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

use super::scope_log::{self, Broken};
use super::{Abilities, BadDestination, Finding, Findings, Manner, Platform, Pushed, Trouble, sarif};
use crate::domain::destination::Destination;
use crate::domain::ids::ScopeKind;
use crate::domain::limits::SARIF_VERSIONS_MAX;
use crate::domain::message::{Message, Place, Target};
use crate::domain::signature::to_hex;
use crate::sys::{clock, loops};

/// A folder that holds each scope as a file.
pub struct SarifFolder {
    folder: PathBuf,
    keep: usize,
    suppressions: sarif::Suppressions,
}

impl SarifFolder {
    /// Checks what was given; nothing is written.
    ///
    /// # Errors
    /// If folder or options cannot be right.
    pub fn open(destination: &Destination) -> Result<Self, BadDestination> {
        if let Some(odd) = destination.options.keys().find(|name| !["keep", "suppressions"].contains(&name.as_str())) {
            return Err(BadDestination(format!("{odd:?} is no option of sarif; they are: keep, suppressions")));
        }
        let folder = Path::new(&destination.url);
        if !folder.is_absolute() {
            return Err(BadDestination(format!(
                "{:?} is no folder that can be used: give its whole path, such as /srv/sarif",
                destination.url
            )));
        }
        let keep = match destination.option("keep") {
            None => 0,
            Some(text) => text.parse().ok().filter(|keep| *keep <= SARIF_VERSIONS_MAX).ok_or_else(|| {
                BadDestination(format!("the option keep is 0 to {SARIF_VERSIONS_MAX} versions, not {text:?}"))
            })?,
        };
        Ok(Self { folder: folder.to_owned(), keep, suppressions: scope_log::suppressions(destination)? })
    }

    fn replace(&self, place: &Place, findings: &mut Findings<'_>) -> Result<(), Broken> {
        let name = file_name(place);
        let beside = self.folder.join(format!(".{name}.sarif.tmp"));
        write(&beside, |file| {
            let (out, _) = scope_log::write(BufWriter::new(file), place, (self.suppressions, None), findings)?;
            Ok(out.into_inner().map_err(io::IntoInnerError::into_error)?)
        })?;
        if self.keep > 0 {
            self.keep_version(&beside, &name, place)?;
        }
        fs::rename(&beside, self.folder.join(format!("{name}.sarif")))?;
        Ok(File::open(&self.folder)?.sync_all()?)
    }

    /// Keeps what was just written under the time of its analysis, and drops the versions that are too many.
    fn keep_version(&self, written: &Path, name: &str, place: &Place) -> io::Result<()> {
        let former = self.folder.join(FORMER);
        match fs::create_dir(&former) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let at = place.analysed_at.unwrap_or_else(clock::now).to_string().replace(['-', ':'], "");
        let beside = former.join(format!(".{name}.sarif.tmp"));
        let _ = fs::remove_file(&beside);
        if fs::hard_link(written, &beside).is_err() {
            // Not every file system has links.
            fs::copy(written, &beside)?;
            File::open(&beside)?.sync_all()?;
        }
        fs::rename(&beside, former.join(format!("{name}-{at}.sarif")))?;
        let mut versions = Vec::new();
        for entry in fs::read_dir(&former)? {
            let file = entry?.file_name();
            let time =
                file.to_str().and_then(|file| file.strip_prefix(name)?.strip_prefix('-')?.strip_suffix(".sarif"));
            if time.is_some_and(|time| time.ends_with('Z') && time.len() == at.len()) {
                versions.push(file);
            }
        }
        versions.sort_unstable();
        versions.truncate(versions.len().saturating_sub(self.keep));
        versions.iter().try_for_each(|version| fs::remove_file(former.join(version)))?;
        File::open(&former)?.sync_all()
    }

    /// What it means that something cannot be written.
    fn trouble(&self, error: &io::Error) -> Trouble {
        let folder = self.folder.display();
        match error.kind() {
            ErrorKind::NotFound => Trouble::refused(
                format!("the folder {folder} does not exist"),
                "make or mount it, with the right to write for the service's user, hydrophone",
            ),
            ErrorKind::NotADirectory => Trouble::refused(format!("{folder} is no folder"), "give the path of one"),
            ErrorKind::PermissionDenied => Trouble::refused(
                format!("this service may not write into {folder}"),
                "give its user, hydrophone, the right to, and list the folder under ReadWritePaths= of the unit",
            ),
            ErrorKind::ReadOnlyFilesystem => Trouble::refused(
                format!("{folder} can only be read by this service"),
                "list it under ReadWritePaths= of the unit (systemctl edit hydrophone), or mount it writable",
            ),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                Trouble::later(format!("there is no room left for {folder}: make some on that disk"))
            }
            _ => Trouble::later(format!("{folder} cannot be written: {error}")),
        }
    }
}

impl Platform for SarifFolder {
    fn abilities(&self) -> Abilities {
        Abilities { manner: Manner::Scopes, batch_max: 1, decisions: false, words: &[] }
    }

    /// Writes a small file, and takes it away again.
    fn check(&mut self) -> Result<Vec<Finding>, Trouble> {
        let path = self.folder.join(".hydrophone-check.tmp");
        let written = write(&path, |mut file| {
            file.write_all(b"This shows that the folder can be written.\n")?;
            Ok(file)
        });
        let outcome = match written {
            Ok(()) => fs::remove_file(&path).map_err(|error| self.trouble(&error)),
            Err(Broken::Write(error)) => Err(self.trouble(&error)),
            Err(Broken::Told(trouble)) => Err(trouble),
        };
        let (good, text) = match outcome {
            Ok(()) => (true, format!("files can be written into {}", self.folder.display())),
            Err(trouble) => (false, trouble.to_string()),
        };
        Ok(vec![Finding { what: "folder", good, text }])
    }

    fn push(&mut self, _place: &Place, _target: &mut Target, _batch: &[Message]) -> Pushed {
        let trouble = Trouble::refused("a folder takes whole branches only", "report this as a fault of hydrophone");
        Pushed { told: Vec::new(), trouble: Some(trouble) }
    }

    fn publish(&mut self, place: &Place, _target: &mut Target, findings: &mut Findings<'_>) -> Result<(), Trouble> {
        // A share on the network may hang for as long as it likes: that is no reason to end the gateway.
        let _rest = loops::resting();
        self.replace(place, findings).map_err(|broken| match broken {
            Broken::Write(error) => self.trouble(&error),
            Broken::Told(trouble) => trouble,
        })
    }
}

/// Writes a file whole, beside its place. What is there from an attempt that was cut short is replaced.
fn write(path: &Path, write: impl FnOnce(File) -> Result<File, Broken>) -> Result<(), Broken> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let written = write(file).and_then(|file| Ok(file.sync_all()?));
    if written.is_err() {
        // A part of a file is of no use, and on a full disk it is in the way.
        let _ = fs::remove_file(path);
    }
    written
}

/// The name of a scope's file, without its end. No two scopes have the same.
fn file_name(place: &Place) -> String {
    let (organization, project, branch) = (place.organization.as_str(), place.project.as_str(), place.branch.as_str());
    let pull = match place.scope_kind {
        ScopeKind::Branch => "",
        ScopeKind::PullRequest => "pull-",
    };
    let mut hash = Context::new(&SHA256);
    for part in [place.source.as_str(), organization, project, pull, branch] {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let hash = to_hex(&hash.finish().as_ref()[..HASH_BYTES]);
    format!("{}_{}_{pull}{}-{hash}", plain(organization), plain(project), plain(branch))
}

/// A text as a part of a file name: letters, digits and `- _ .` of it, not too many, and none that hides the file.
fn plain(text: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let text: String = text.chars().map(safe).take(NAME_CHARACTERS_MAX).collect();
    match text.strip_prefix('.') {
        Some(rest) => format!("-{rest}"),
        None => text,
    }
}

const FORMER: &str = "former";

/// Of each of the three names; file names have at most 255 bytes.
const NAME_CHARACTERS_MAX: usize = 60;

/// So that a million scopes share no name but by an accident of one in five hundred.
const HASH_BYTES: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_obstacle_is_one_sentence_with_what_to_do() {
        let folder = SarifFolder { folder: "/srv/sarif".into(), keep: 0, suppressions: sarif::Suppressions::All };
        for (kind, later, text) in [
            (ErrorKind::StorageFull, true, "there is no room left for /srv/sarif: make some on that disk"),
            (ErrorKind::QuotaExceeded, true, "there is no room left for /srv/sarif: make some on that disk"),
            (ErrorKind::NotADirectory, false, "/srv/sarif is no folder; give the path of one"),
            (
                ErrorKind::NotFound,
                false,
                "the folder /srv/sarif does not exist; make or mount it, with the right to write for the service's \
                 user, hydrophone",
            ),
            (
                ErrorKind::PermissionDenied,
                false,
                "this service may not write into /srv/sarif; give its user, hydrophone, the right to, and list the \
                 folder under ReadWritePaths= of the unit",
            ),
            (
                ErrorKind::ReadOnlyFilesystem,
                false,
                "/srv/sarif can only be read by this service; list it under ReadWritePaths= of the unit (systemctl \
                 edit hydrophone), or mount it writable",
            ),
        ] {
            let trouble = folder.trouble(&kind.into());
            assert_eq!(trouble.to_string(), text);
            assert_eq!(matches!(trouble, Trouble::Later { .. }), later, "{text}");
        }
    }
}
