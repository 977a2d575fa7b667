//! The life of the .deb.

mod care;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::calls::{Hook, Load};
use crate::installed::{
    SOCKETS, STATE, UNIT, active, ask, deliveries, enable, journal, main_pid, mode, must, open_findings, package,
    property, try_run, wait, with_project, without,
};
use crate::support::damage::make_newer;
use crate::support::tls;

fn install() {
    without();
    must("dpkg", &["--install", &package(false, "_amd64.deb")]);
}

fn start() {
    install();
    enable();
}

#[test]
fn a_first_install_brings_files_and_a_user_and_starts_nothing() {
    install();
    assert_eq!(must("dpkg", &["--verify", "hydrophone"]), "", "files are as they were packed");
    let version = must("hydrophone", &["--version"]);
    assert_eq!(version, concat!("hydrophone ", env!("CARGO_PKG_VERSION")));
    let user = must("getent", &["passwd", "hydrophone"]);
    assert!(user.ends_with(":/var/lib/hydrophone:/usr/sbin/nologin"), "{user}");
    assert_eq!(mode("/etc/hydrophone"), "750 root:hydrophone");
    for unit in [UNIT].iter().chain(&SOCKETS) {
        assert_eq!(try_run("systemctl", &["is-enabled", unit]).out.trim(), "disabled", "{unit}");
        assert_eq!(try_run("systemctl", &["is-active", unit]).out.trim(), "inactive", "{unit}");
    }
    for file in [
        "/usr/share/man/man1/hydrophone.1.gz",
        "/usr/share/man/man1/hydrophone-project-import.1.gz",
        "/usr/share/bash-completion/completions/hydrophone",
        "/usr/share/zsh/vendor-completions/_hydrophone",
        "/usr/share/fish/vendor_completions.d/hydrophone.fish",
        "/usr/share/doc/hydrophone/third-party.txt.gz",
    ] {
        assert!(Path::new(file).is_file(), "{file}");
    }
}

#[test]
fn one_command_starts_it_ready_to_take_webhooks_over_tls() {
    start();
    assert!(property("StatusText").contains("8443"), "the status says what it does: {:?}", property("StatusText"));
    for unit in [UNIT].iter().chain(&SOCKETS) {
        assert_eq!(try_run("systemctl", &["is-enabled", unit]).out.trim(), "enabled", "{unit}");
    }
    let (sonar, hook) = with_project(2);
    assert_eq!(open_findings(), 2);
    let fixed = sonar.edit(|model| model.branch("shop", "main").unwrap().issues()[0].key.clone());
    sonar.analyse("shop", "main", |analysis| analysis.fix(&fixed));
    assert_eq!(sonar.wait_deliveries(1)[0].status, Some(202));
    wait("the finding to be fixed", || open_findings() == 1);
    let wrong = Hook { secret: "0123456789abcdef".to_owned(), ..hook };
    assert_eq!(wrong.call("shop").unwrap().0, 401);
    assert!(!journal().is_empty(), "it logs to the journal");
    assert!(must("systemctl", &["status", UNIT]).contains("8443"), "the status is shown");
}

/// Seen from the process and the file systems that it sees, not from what the unit says.
#[test]
fn the_process_has_no_rights_that_it_does_not_need() {
    start();
    let pid = main_pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
        line.split_once(':').unwrap().1.trim().to_owned()
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!((field("NoNewPrivs").as_str(), field("Seccomp").as_str()), ("1", "2"));
    let user = must("id", &["--user", "hydrophone"]);
    assert_eq!(field("Uid"), format!("{user}\t{user}\t{user}\t{user}"));
    for namespace in ["mnt", "user"] {
        let of = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
        assert_ne!(of(pid), of(1), "it has a {namespace} namespace of its own");
    }
    // Root itself, among the file systems that the process sees.
    let pid = pid.to_string();
    let within =
        |program: &[&str]| try_run("nsenter", &[&["--target", &pid, "--mount", "--wd=/", "--"], program].concat());
    for folder in ["/etc/hydrophone", "/usr", "/var", "/opt", "/boot"] {
        let said = within(&["touch", &format!("{folder}/file")]);
        assert!(said.err.contains("Read-only file system"), "{folder}: {said:?}");
    }
    assert_eq!(within(&["touch", &format!("{STATE}/file")]).code, 0, "its state is its own");
    fs::write("/root/secret", "of somebody else").unwrap();
    assert_ne!(within(&["cat", "/root/secret"]).code, 0, "it sees no home");
    let devices = within(&["ls", "/dev"]).out;
    assert!(!devices.lines().any(|device| ["kmsg", "mem", "sda", "vda", "fuse"].contains(&device)), "{devices}");
    fs::remove_file("/root/secret").unwrap();
    fs::remove_file(format!("{STATE}/file")).unwrap();

    must("systemd-analyze", &["verify", "--man=no", &format!("/usr/lib/systemd/system/{UNIT}")]);
    // In tenths; the command fails above it.
    must("systemd-analyze", &["security", "--threshold=15", UNIT]);
}

#[test]
fn killed_it_comes_back_with_all_that_it_had_acknowledged() {
    start();
    let (_sonar, hook) = with_project(1);
    let (status, delivery) = hook.call("shop").unwrap();
    assert_eq!(status, 202);
    must("kill", &["-KILL", &main_pid().to_string()]);
    wait("it to come back", || property("NRestarts") == "1" && active());
    assert!(deliveries().contains(&delivery), "{delivery} is lost");
    assert_eq!(open_findings(), 1);
}

#[test]
fn a_process_that_hangs_is_ended_and_started_anew() {
    install();
    let folder = "/run/systemd/system/hydrophone.service.d";
    fs::create_dir_all(folder).unwrap();
    fs::write(format!("{folder}/soon.conf"), "[Service]\nWatchdogSec=3s\n").unwrap();
    must("systemctl", &["daemon-reload"]);
    enable();
    let pid = main_pid();
    must("kill", &["-STOP", &pid.to_string()]);
    wait("the watchdog", || property("NRestarts") != "0" && active());
    assert_ne!(main_pid(), pid);
    let log = must("journalctl", &["--unit", UNIT, "--no-pager"]);
    assert!(log.contains("Watchdog timeout"), "{log}");
}

#[test]
fn a_reload_goes_on_with_the_same_process() {
    start();
    let (_sonar, hook) = with_project(1);
    let pid = main_pid();
    must("systemctl", &["reload", UNIT]);
    assert_eq!(hook.call("shop").unwrap().0, 202);
    assert!(active());
    assert_eq!(main_pid(), pid);
}

#[test]
fn a_call_while_it_is_stopped_starts_it() {
    start();
    let (_sonar, hook) = with_project(1);
    // The sockets stay; systemctl warns of that.
    must("systemctl", &["stop", UNIT]);
    assert_eq!((property("Result").as_str(), property("ActiveState").as_str()), ("success", "inactive"));
    assert_eq!(hook.call("shop").unwrap().0, 202);
    wait("it to be active", active);
    let mut stop = vec!["stop", UNIT];
    stop.extend(SOCKETS);
    must("systemctl", &stop);
    assert!(std::net::TcpStream::connect(Hook::ADDRESS).is_err(), "nobody listens any more");
    must("systemctl", &["start", UNIT]);
    assert_eq!(hook.call("shop").unwrap().0, 202, "starting it brings its sockets");
}

/// What can go wrong: SonarQube makes a call once. One that is refused, or cut off, while the program is exchanged is
/// lost. systemd holds the sockets, so that calls wait; the program that ends answers what it took.
#[test]
fn an_upgrade_under_load_loses_and_refuses_no_call() {
    without();
    must("dpkg", &["--install", &package(true, "_amd64.deb")]);
    enable();
    let (_sonar, hook) = with_project(3);
    fs::write("/etc/hydrophone/mine", "kept").unwrap();
    let former = main_pid();
    let load = Load::start(&hook, "shop", 4);
    wait("calls", || load.made() > 50);
    must("dpkg", &["--install", &package(false, "_amd64.deb")]);
    let so_far = load.made();
    wait("more calls", || load.made() > so_far + 50);
    let accepted: BTreeSet<String> = load.stop().into_iter().collect();
    assert!(active());
    assert_ne!(main_pid(), former, "the new one runs");
    assert_eq!(property("NRestarts"), "0", "it was asked to");
    let kept: BTreeSet<String> = deliveries().into_iter().collect();
    assert_eq!(accepted.difference(&kept).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(open_findings(), 3);
    assert_eq!(fs::read_to_string("/etc/hydrophone/mine").unwrap(), "kept");
    assert_eq!(
        must("dpkg-query", &["--show", "--showformat=${Version}", "hydrophone"]),
        concat!(env!("CARGO_PKG_VERSION"), "-1")
    );
}

#[test]
fn a_database_of_a_newer_version_stops_it_with_a_sentence_and_the_way_back() {
    start();
    must("systemctl", &["stop", UNIT]);
    let file = format!("{STATE}/hydrophone.redb");
    make_newer(Path::new(&file));
    let before = fs::read(&file).unwrap();
    assert_ne!(try_run("systemctl", &["start", UNIT]).code, 0);
    assert_eq!(property("ExecMainStatus"), "78");
    assert_eq!((property("ActiveState").as_str(), property("NRestarts").as_str()), ("failed", "0"));
    let status = try_run("systemctl", &["status", "--no-pager", "--lines=20", UNIT]).out;
    assert!(status.contains("has format 23") && status.contains("install the newer hydrophone again"), "{status}");
    assert!(fs::read(&file).unwrap() == before, "it is left alone");
}

#[test]
fn removed_it_keeps_what_it_knew_and_purged_it_leaves_nothing() {
    start();
    let (_sonar, _hook) = with_project(2);
    fs::write("/etc/hydrophone/mine", "kept").unwrap();
    let certificate = tls::certificate_of(Hook::ADDRESS);
    must("dpkg", &["--remove", "hydrophone"]);
    assert!(std::net::TcpStream::connect(Hook::ADDRESS).is_err(), "nobody listens any more");
    for unit in [UNIT].iter().chain(&SOCKETS) {
        assert_ne!(try_run("systemctl", &["is-active", unit]).out.trim(), "active", "{unit}");
        assert!(!Path::new("/etc/systemd/system/sockets.target.wants").join(unit).exists(), "{unit}");
    }
    assert!(!Path::new("/etc/systemd/system/multi-user.target.wants").join(UNIT).exists());
    assert!(Path::new("/etc/hydrophone/mine").is_file());

    must("dpkg", &["--install", &package(false, "_amd64.deb")]);
    enable();
    assert_eq!(ask(&["finding", "list"], "")["findings"].as_array().unwrap().len(), 2);
    assert_eq!(tls::certificate_of(Hook::ADDRESS), certificate);
    let owner = fs::metadata(format!("{STATE}/hydrophone.redb")).unwrap().uid();

    must("dpkg", &["--purge", "hydrophone"]);
    for path in [STATE, "/etc/hydrophone", "/run/hydrophone", "/usr/bin/hydrophone", "/usr/share/doc/hydrophone"] {
        assert!(!Path::new(path).exists(), "{path} is left");
    }
    let user = must("id", &["--user", "hydrophone"]);
    assert_eq!(user, owner.to_string(), "the user stays, so that its number is never another's");
}
