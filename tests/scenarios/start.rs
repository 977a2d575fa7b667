//! What keeps the gateway from starting, and what it says then: exit code 78, one sentence with the place and the
//! remedy, and the same in `systemctl status`.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::steps::{assert_tells, serve};
use crate::support::gateway::{Gateway, Said, program};

fn folder_of_mode(mode: u32) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::DirBuilder::new().mode(0o700).create(&state).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(mode)).unwrap();
    (folder, state)
}

fn serve_in(command: &mut Command, state: &Path) -> Said {
    serve(command, &["--state", state.to_str().unwrap(), "--webhook-listen", "127.0.0.1:0"])
}

/// A command that runs the gateway in a mount namespace of its own, after this script has mounted something at `$1`.
/// Nothing where this user may not.
fn mounted(script: &str, place: &Path) -> Option<Command> {
    let flags: &[&str] = if rustix::process::geteuid().is_root() { &["-m"] } else { &["-r", "-m"] };
    let tried = Command::new("unshare").args(flags).arg("true").stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this user may not make a mount namespace");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(flags).args(["sh", "-c", &format!(r#"set -e; at=$1; shift; {script}; exec "$0" "$@""#)]);
    command.arg(program().get_program()).arg(place);
    Some(command)
}

#[test]
fn a_state_folder_that_anybody_can_change_is_refused() {
    let (_folder, state) = folder_of_mode(0o777);
    let said = serve_in(&mut program(), &state);
    assert_eq!(said.code, 78, "{said:?}");
    assert_tells(&said.err, &["anybody may write to it (mode 777)", "chmod 700", state.to_str().unwrap()]);
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0, "nothing was written");
}

#[test]
fn an_admin_socket_that_cannot_be_made_is_told_with_what_helps() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let long = folder.path().join("x".repeat(120));
    for (path, remedy) in [
        (folder.path().join("nowhere/admin.sock"), "make the folder "),
        (file.join("admin.sock"), "make the folder "),
        (file.clone(), "move that file away"),
        (long, "name a shorter path"),
    ] {
        let path = path.to_str().unwrap();
        let line = ["--state", state.to_str().unwrap(), "--webhook-listen", "127.0.0.1:0", "--socket", path];
        let said = serve(&mut program(), &line);
        assert_eq!(said.code, 78, "{said:?}");
        let last = said.err.lines().last().unwrap();
        assert_tells(last, &[&format!("the admin socket {path} cannot be made: "), remedy, "--socket"]);
    }
    assert!(file.is_file(), "it is left as it was");
}

#[test]
fn root_leaves_no_files_in_somebody_elses_state_folder() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let (_folder, state) = folder_of_mode(0o700);
    chown(&state, Some(65_534), Some(65_534)).unwrap();
    let said = serve_in(&mut program(), &state);
    assert_eq!(said.code, 78, "{said:?}");
    assert_tells(
        &said.err,
        &["belongs to user 65534, and this is root", "systemctl start hydrophone", "chown -R root"],
    );
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0, "nothing was written");
}

#[test]
fn a_disk_without_room_is_told_with_the_place() {
    let (_folder, state) = folder_of_mode(0o700);
    let Some(mut command) = mounted("mount -t tmpfs -o size=16k,mode=700 none \"$at\"", &state) else { return };
    let said = serve_in(&mut command, &state);
    assert_eq!(said.code, 78, "{said:?}");
    assert_tells(
        &said.err,
        &["cannot write to the state folder", "No space left", "make room", state.to_str().unwrap()],
    );
}

#[test]
fn a_disk_that_is_read_only_is_told_with_the_remedy() {
    let folder = Gateway::start().stop();
    let state = folder.path().join("state");
    let before = std::fs::read(state.join("hydrophone.redb")).unwrap();
    let script = "mount --bind \"$at\" \"$at\" && mount -o remount,bind,ro \"$at\"";
    let Some(mut command) = mounted(script, &state) else { return };
    let said = serve_in(&mut command, &state);
    assert_eq!(said.code, 78, "{said:?}");
    assert_tells(&said.err, &["cannot write to the state folder", "mounted read-only", "remount,rw"]);
    assert_eq!(std::fs::read(state.join("hydrophone.redb")).unwrap(), before);
}

#[test]
fn the_service_manager_is_told_the_sentence_and_the_systems_error() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("notify");
    let told = UnixDatagram::bind(&socket).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let state = folder.path().join("state");
    let mut command = Command::new("sh");
    command.args(["-c", r#"NOTIFY_SOCKET=$1; export NOTIFY_SOCKET; shift; exec "$0" "$@""#]);
    command.arg(program().get_program()).arg(&socket);
    let said = serve(&mut command, &["--state", state.to_str().unwrap(), "--webhook-listen", &address]);
    assert_eq!(said.code, 78, "{said:?}");
    // It has ended: whatever it told is there.
    told.set_nonblocking(true).unwrap();
    let mut bytes = [0; 8192];
    let mut last = String::new();
    while let Ok(length) = told.recv(&mut bytes) {
        last = String::from_utf8(bytes[..length].to_vec()).unwrap();
    }
    let status = last.lines().find(|line| line.starts_with("STATUS=does not start: ")).expect(&last);
    assert_tells(status, &[&address, "another program has this port", "--webhook-listen"]);
    assert!(last.lines().any(|line| line == "ERRNO=98"), "{last}");
}
