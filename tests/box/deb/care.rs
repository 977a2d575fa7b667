//! What keeps it well once it runs: keys that systemd hands over, certificates, backups, the doctor.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use super::start;
use crate::calls::Hook;
use crate::installed::{
    SOCKETS, STATE, UNIT, active, ask, enable, journal, main_pid, must, open_findings, property, try_run, wait,
    with_project,
};
use crate::support::damage::make_newer;
use crate::support::tls;

const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const STORES: [&str; 2] = ["/etc/credstore", "/etc/credstore.encrypted"];

/// Folders in which systemd looks for credentials, for root alone, and empty.
fn stores() {
    for store in STORES {
        let _ = fs::remove_dir_all(store);
        fs::create_dir(store).unwrap();
        fs::set_permissions(store, fs::Permissions::from_mode(0o700)).unwrap();
    }
}

fn is_locked() -> bool {
    let status = ask(&["status"], "");
    status["conditions"].as_array().unwrap().iter().any(|condition| condition["code"] == "locked")
}

fn restart() {
    must("systemctl", &["restart", UNIT]);
    assert!(active());
}

/// Without a credential it starts, with a key of its own: all other tests show that.
#[test]
fn a_key_that_systemd_hands_over_is_on_no_disk_of_the_service() {
    super::install();
    stores();
    fs::write(format!("{}/hydrophone.key", STORES[0]), KEY).unwrap();
    enable();
    with_project(2);
    assert!(!Path::new(STATE).join("hydrophone.key").exists(), "it made no key of its own");

    // The same key encrypted, here by a secret of this system; a TPM's is used in the same way.
    let encrypted = format!("{}/hydrophone.key.encrypted", STORES[1]);
    let plain = format!("{}/hydrophone.key", STORES[0]);
    must("systemd-creds", &["encrypt", "--with-key=host", "--name=hydrophone.key.encrypted", &plain, &encrypted]);
    assert!(!fs::read_to_string(&encrypted).unwrap().contains(KEY));
    restart();
    fs::remove_file(&plain).unwrap();
    restart();
    assert!(!is_locked());
    assert_eq!(open_findings(), 2);

    fs::remove_file(&encrypted).unwrap();
    restart();
    assert!(is_locked());
    assert!(property("StatusText").contains("locked"), "{}", property("StatusText"));
    assert!(!Path::new(STATE).join("hydrophone.key").exists(), "it made no other one");
    assert_eq!(open_findings(), 2, "what it knows can still be read");
    stores();
}

/// It is systemd that cannot read it, so the sentence is systemd's.
#[test]
fn a_key_that_cannot_be_decrypted_keeps_it_from_starting_and_systemd_says_so() {
    super::install();
    stores();
    fs::write(format!("{}/hydrophone.key.encrypted", STORES[1]), "of another machine").unwrap();
    assert_ne!(try_run("systemctl", &["enable", "--now", UNIT]).code, 0);
    assert_eq!((property("ExecMainStatus").as_str(), property("NRestarts").as_str()), ("243", "0"));
    let status = try_run("systemctl", &["status", "--no-pager", UNIT]).out;
    assert!(status.contains("243/CREDENTIALS"), "{status}");
    stores();
    enable();
}

/// Certificate and key are root's and its group's, as README has them.
#[test]
fn a_certificate_is_exchanged_by_a_reload() {
    start();
    let (_sonar, hook) = with_project(1);
    let own = tls::certificate_of(Hook::ADDRESS);
    let group = must("id", &["--group", "hydrophone"]).parse().unwrap();
    let made = rcgen::generate_simple_self_signed(["gateway.example".to_owned()]).unwrap();
    for (file, text) in [("tls.crt", made.cert.pem()), ("tls.key", made.signing_key.serialize_pem())] {
        let path = format!("/etc/hydrophone/{file}");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        chown(&path, Some(0), Some(group)).unwrap();
    }
    let pid = main_pid();
    must("systemctl", &["reload", UNIT]);
    wait("the certificate", || tls::certificate_of(Hook::ADDRESS) == made.cert.pem());
    assert_ne!(own, made.cert.pem());
    assert_eq!(hook.call("shop").unwrap().0, 202);
    fs::write("/etc/hydrophone/tls.crt", "broken").unwrap();
    must("systemctl", &["reload", UNIT]);
    wait("it to be said", || property("StatusText").contains("tls.crt"));
    assert_eq!(hook.call("shop").unwrap().0, 202, "the former one stays");
    assert_eq!(main_pid(), pid);
}

#[test]
fn what_was_backed_up_is_on_a_new_box_after_one_restore() {
    start();
    let (_sonar, hook) = with_project(3);
    let (_, delivery) = hook.call("shop").unwrap();
    let file = "/root/gateway.bak";
    must("hydrophone", &["backup", file]);
    must("hydrophone", &["verify", file]);
    // The same box, which lost all but its key.
    let mut stop = vec!["stop", UNIT];
    stop.extend(SOCKETS);
    must("systemctl", &stop);
    let key = fs::read_to_string(format!("{STATE}/hydrophone.key")).unwrap();
    fs::remove_dir_all(STATE).unwrap();
    enable();
    must("systemctl", &stop);
    fs::write(format!("{STATE}/hydrophone.key"), key).unwrap();
    must("hydrophone", &["restore", file]);
    enable();
    assert!(!is_locked());
    assert_eq!(open_findings(), 3);
    assert!(crate::installed::deliveries().contains(&delivery));
    assert_eq!(hook.call("shop").unwrap().0, 202, "its webhook is known");
}

/// A call that waits has systemd try again, a few times, and then close the door: who calls is refused, and not kept waiting.
#[test]
fn what_only_a_person_can_mend_ends_the_calls_too_until_the_next_start() {
    start();
    let (_sonar, hook) = with_project(1);
    must("systemctl", &["stop", UNIT]);
    let file = format!("{STATE}/hydrophone.redb");
    let before = fs::read(&file).unwrap();
    make_newer(Path::new(&file));
    let waiting = std::net::TcpStream::connect(Hook::ADDRESS).unwrap();
    wait("systemd to give up", || property("Result") == "start-limit-hit" || property("ActiveState") == "failed");
    wait("the door to be closed", || std::net::TcpStream::connect(Hook::ADDRESS).is_err());
    drop(waiting);
    assert!(journal().contains("install the newer hydrophone again"), "{}", journal());
    let said = try_run("hydrophone", &["doctor"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("newer"), "{said:?}");

    // The way back: what the newer version left aside, or a backup.
    fs::write(&file, before).unwrap();
    must("systemctl", &["reset-failed"]);
    must("systemctl", &["start", UNIT]);
    assert_eq!(hook.call("shop").unwrap().0, 202);
    assert_eq!(open_findings(), 1);
}

#[test]
fn the_doctor_looks_at_an_installed_box() {
    start();
    let (_sonar, _hook) = with_project(1);
    let found = ask(&["doctor"], "");
    let lines = found["lines"].as_array().unwrap();
    for check in ["store", "disk", "certificate"] {
        assert!(lines.iter().any(|line| line["check"] == check && line["verdict"] == "ok"), "{check}: {found}");
    }
    // In a box without a network nobody knows what time it is elsewhere; nothing else is a fault.
    let faults: Vec<_> = lines.iter().filter(|line| line["verdict"] == "fault").collect();
    assert!(faults.is_empty(), "{faults:?}");
}
