//! The state folder: what it must be like, and what to do where it is not.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Makes the folder and an empty file that only this user may read; redb fills it.
pub(super) fn make(folder: &Path, file: &Path) -> io::Result<()> {
    if !folder.is_dir() {
        DirBuilder::new().mode(0o700).create(folder)?;
    }
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(file)?;
    Ok(())
}

/// Refuses a folder whose content anybody could exchange, and one in which root would leave files that the
/// service's user cannot write. What is not there, or cannot be looked at, is told when it is opened.
pub(super) fn check(folder: &Path) -> Result<(), String> {
    let Ok(of_folder) = fs::metadata(folder) else { return Ok(()) };
    let own = rustix::process::geteuid().as_raw();
    let path = folder.display();
    if own == 0 && of_folder.uid() != 0 {
        let owner = of_folder.uid();
        return Err(format!(
            "it belongs to user {owner}, and this is root, who would leave files in it that user {owner} cannot write; run `systemctl start hydrophone` or `setpriv --reuid={owner} --regid={} --clear-groups hydrophone serve`, or give it to root with `chown -R root {path}`",
            of_folder.gid()
        ));
    }
    let mode = of_folder.mode() & 0o7777;
    if mode & 0o002 != 0 && mode & 0o1000 == 0 {
        return Err(format!("anybody may write to it (mode {mode:o}); run `chmod 700 {path}`"));
    }
    Ok(())
}

/// The system's error for a disk without room, where there is so little that nothing can be begun on it.
pub(super) fn no_room(folder: &Path) -> Option<io::Error> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    (stat.f_bavail.saturating_mul(stat.f_frsize) < ROOM_MIN).then(|| rustix::io::Errno::NOSPC.into())
}

/// A new database takes less than this.
const ROOM_MIN: u64 = 4 * 1024 * 1024;

/// What to do where the folder cannot be written, after that was said.
pub(super) fn remedy(folder: &Path, error: &io::Error) -> String {
    let path = folder.display();
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem => "the disk is mounted read-only: `dmesg` says why, if nobody asked for it; mend it and run `mount -o remount,rw` for it, or allow the folder in the unit with ReadWritePaths=".to_owned(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => format!("make room on its disk: `df -h {path}`"),
        ErrorKind::PermissionDenied => match owner(folder) {
            Some(owner) => {
                let own = rustix::process::geteuid().as_raw();
                format!("it must exist and belong to the user that runs hydrophone: that is user {own}, and it belongs to user {owner}; run `chown -R {own} {path}`")
            }
            None => GENERAL.to_owned(),
        },
        _ => GENERAL.to_owned(),
    }
}

const GENERAL: &str = "it must exist and belong to the user that runs hydrophone";

/// Whose the folder is, or what is in it, where that is somebody else's.
fn owner(folder: &Path) -> Option<u32> {
    let own = rustix::process::geteuid().as_raw();
    let of = |path: &Path| fs::metadata(path).ok().map(|of| of.uid()).filter(|&owner| owner != own);
    of(folder).or_else(|| of(&folder.join(super::FILE_NAME)))
}
