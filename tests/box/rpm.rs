//! The life of the .rpm, as far as Debian's rpm can show it: `--nodeps` stands for what no rpm here provides.

use std::fs;
use std::path::Path;

use crate::installed::{
    SOCKETS, STATE, UNIT, active, enable, main_pid, mode, must, open_findings, package, try_run, wait, with_project,
    without,
};

#[test]
fn it_is_installed_upgraded_and_erased() {
    without();
    must("rpm", &["--install", "--nodeps", &package(true, ".x86_64.rpm")]);
    assert_eq!(mode("/etc/hydrophone"), "750 root:hydrophone");
    // Whose group it is, tmpfiles said after it was unpacked.
    let changed = try_run("rpm", &["--verify", "--nodeps", "hydrophone"]).out;
    assert_eq!(changed.trim(), "......G..    /etc/hydrophone");
    assert_eq!(try_run("systemctl", &["is-enabled", UNIT]).out.trim(), "disabled");
    assert!(!active());
    for file in ["/usr/share/licenses/hydrophone/third-party.txt", "/usr/share/zsh/site-functions/_hydrophone"] {
        assert!(Path::new(file).is_file(), "{file}");
    }

    enable();
    let (_sonar, hook) = with_project(2);
    fs::write("/etc/hydrophone/mine", "kept").unwrap();
    let former = main_pid();
    must("rpm", &["--upgrade", "--nodeps", &package(false, ".x86_64.rpm")]);
    wait("the new one", || active() && main_pid() != former);
    assert_eq!(hook.call("shop").unwrap().0, 202);
    assert_eq!(must("rpm", &["--query", "--queryformat", "%{VERSION}", "hydrophone"]), env!("CARGO_PKG_VERSION"));
    for unit in [UNIT].iter().chain(&SOCKETS) {
        assert_eq!(try_run("systemctl", &["is-enabled", unit]).out.trim(), "enabled", "{unit}");
    }

    must("rpm", &["--erase", "hydrophone"]);
    assert!(!active() && !Path::new("/usr/bin/hydrophone").exists());
    assert!(!Path::new("/etc/systemd/system/multi-user.target.wants").join(UNIT).exists());
    assert!(Path::new("/etc/hydrophone/mine").is_file() && Path::new(STATE).is_dir());

    must("rpm", &["--install", "--nodeps", &package(false, ".x86_64.rpm")]);
    enable();
    assert_eq!(open_findings(), 2);
}
