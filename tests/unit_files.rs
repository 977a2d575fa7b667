//! The files of `systemd/`: they agree with the program, and systemd's own tools find them right and tight.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{fs, io};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

fn text(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn values<'t>(unit: &'t str, key: &str) -> Vec<&'t str> {
    unit.lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(one, _)| *one == key)
        .map(|(_, value)| value)
        .collect()
}

fn sockets() -> Vec<String> {
    let names = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut sockets: Vec<_> = names.filter(|name| name.ends_with(".socket")).collect();
    sockets.sort();
    sockets
}

/// Runs one of systemd's tools; nothing where it is not installed.
fn analyze(arguments: &[&str]) -> Option<Output> {
    match Command::new("systemd-analyze").args(arguments).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            eprintln!("skipped: systemd-analyze is not installed");
            None
        }
        output => Some(output.unwrap()),
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[test]
fn the_service_takes_every_socket_that_there_is_a_unit_for() {
    let service = text("hydrophone.service");
    let all: BTreeSet<_> = sockets().into_iter().collect();
    assert_eq!(all.len(), 3);
    for key in ["Sockets", "Also"] {
        let named: BTreeSet<_> = values(&service, key)[0].split(' ').map(str::to_owned).collect();
        assert_eq!(named, all, "{key}=");
    }
}

#[test]
fn a_socket_has_the_name_and_the_place_that_the_program_knows() {
    let listeners = fs::read_to_string(folder().join("../src/daemon/listeners.rs")).unwrap();
    let serve = fs::read_to_string(folder().join("../src/cli/serve.rs")).unwrap();
    for socket in sockets() {
        let unit = text(&socket);
        let name = socket.strip_prefix("hydrophone-").and_then(|name| name.strip_suffix(".socket")).unwrap();
        assert_eq!(values(&unit, "FileDescriptorName"), [name], "{socket}");
        assert!(listeners.contains(&format!("= {name:?};")), "{name} is not known to the program");
        assert_eq!(values(&unit, "Service"), ["hydrophone.service"], "{socket}");
    }
    // The defaults of `serve` and those of the units are the same.
    assert_eq!(values(&text("hydrophone-webhook.socket"), "ListenStream"), ["0.0.0.0:8443"]);
    assert!(serve.contains("[default: 0.0.0.0:8443]"));
    assert_eq!(values(&text("hydrophone-admin-tls.socket"), "ListenStream"), ["127.0.0.1:8444"]);
    assert!(serve.contains("[default: 127.0.0.1:8444]"));
    let local = text("hydrophone-admin-local.socket");
    for (key, value) in
        [("SocketUser", "root"), ("SocketGroup", "hydrophone"), ("SocketMode", "0660"), ("DirectoryMode", "0750")]
    {
        assert_eq!(values(&local, key), [value]);
    }
}

/// systemd 252 starts a service whose credential is missing only if it is named without a path.
#[test]
fn a_credential_that_is_missing_does_not_keep_the_service_from_starting() {
    let unit = text("hydrophone.service");
    assert_eq!(values(&unit, "LoadCredential"), ["hydrophone.key"]);
    assert_eq!(values(&unit, "LoadCredentialEncrypted"), ["hydrophone.key.encrypted", "hydrophone.key.next"]);
}

/// Where files run out, no connection is taken any more: the limits of both listeners have to be met first, also where the
/// program is run by hand with the 1024 files that a process has by default.
#[test]
fn both_listeners_at_their_limits_leave_files_for_the_rest() {
    use hydrophone::domain::limits;
    let seats = limits::WEBHOOK_CONNECTIONS_MAX + limits::ADMIN_CONNECTIONS_MAX + 2 * limits::CONNECTIONS_ENDING_MAX;
    let rest = 4 * limits::DESTINATIONS_MAX + 64;
    assert!(seats + rest <= 1024, "{seats} and {rest}");
    let limit: usize = values(&text("hydrophone.service"), "LimitNOFILE")[0].parse().unwrap();
    assert!(limit >= 1024, "{limit}");
}

#[test]
fn systemd_finds_the_units_right() {
    let copies = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for name in sockets().into_iter().chain(["hydrophone.service".to_owned()]) {
        // The program need not be installed here.
        let unit = text(&name).replace("/usr/bin/hydrophone serve", "/bin/true serve");
        let copy = copies.path().join(&name);
        fs::write(&copy, unit).unwrap();
        units.push(copy.to_str().unwrap().to_owned());
    }
    let arguments: Vec<_> = ["verify", "--man=no"].into_iter().chain(units.iter().map(String::as_str)).collect();
    let Some(output) = analyze(&arguments) else { return };
    let told = told(&output);
    let ours: Vec<_> = told.lines().filter(|line| line.contains("hydrophone")).collect();
    assert!(ours.is_empty() && output.status.success(), "{told}");
}

#[test]
fn the_service_is_exposed_to_1_5_of_10_at_most() {
    let unit = folder().join("hydrophone.service");
    let Some(output) = analyze(&["security", "--offline=true", "--threshold=15", unit.to_str().unwrap()]) else {
        return;
    };
    assert!(output.status.success(), "{}", told(&output));
}
