//! The system that a package is installed in, as its administrator sees it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::calls::Hook;
use crate::support::gateway::{SOON, Said, run};
use crate::support::sonar::{Issue, Mode, Sonar};
use crate::support::tls;

/// The unit.
pub const UNIT: &str = "hydrophone.service";
/// What `systemctl enable` enables with it.
pub const SOCKETS: [&str; 3] =
    ["hydrophone-webhook.socket", "hydrophone-admin-tls.socket", "hydrophone-admin-local.socket"];
/// Where what is kept is kept.
pub const STATE: &str = "/var/lib/hydrophone";

/// Runs a program to its end.
pub fn try_run(program: &str, arguments: &[&str]) -> Said {
    run(Command::new(program).args(arguments), "")
}

/// Runs a program that has to succeed, and returns what it printed.
pub fn must(program: &str, arguments: &[&str]) -> String {
    let said = try_run(program, arguments);
    assert_eq!(said.code, 0, "{program} {arguments:?}: {} {}\n{}", said.out, said.err, journal());
    said.out.trim().to_owned()
}

/// Everything that the unit logged.
pub fn journal() -> String {
    try_run("journalctl", &["--unit", UNIT, "--no-pager", "--output", "cat"]).out
}

/// A property of the unit.
pub fn property(name: &str) -> String {
    must("systemctl", &["show", "--property", name, "--value", UNIT])
}

/// The number of the process that runs.
pub fn main_pid() -> u32 {
    let pid = property("MainPID").parse().unwrap();
    assert_ne!(pid, 0, "it does not run:\n{}", journal());
    pid
}

/// Whether it runs and said that it is ready.
pub fn active() -> bool {
    property("ActiveState") == "active" && property("SubState") == "running"
}

/// Waits until something is so.
pub fn wait(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !so() {
        assert!(Instant::now() < end, "waited in vain for {what}:\n{}", journal());
        // What is asked takes a process each, and so a moment.
        std::thread::yield_now();
    }
}

/// A package that was made for these tests: this version's or the former one's, by how its name ends.
pub fn package(former: bool, ending: &str) -> String {
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.ends_with(ending) && name.contains(env!("CARGO_PKG_VERSION")) != former
    };
    let mut found = fs::read_dir("/mnt").unwrap().map(|entry| entry.unwrap().path()).filter(fits);
    let path = found.next().unwrap_or_else(|| panic!("no package for {ending} in /mnt"));
    assert_eq!(found.next(), None, "more than one package for {ending}");
    path.to_str().unwrap().to_owned()
}

/// A system without it, whatever the test before this one left.
pub fn without() {
    let container = fs::read_to_string("/run/systemd/container").unwrap_or_default();
    assert!(
        container.trim() == "systemd-nspawn" && Path::new("/mnt").read_dir().is_ok(),
        "only packaging/box runs this"
    );
    for unit in [UNIT].iter().chain(&SOCKETS) {
        try_run("systemctl", &["disable", "--now", unit]);
    }
    try_run("dpkg", &["--purge", "hydrophone"]);
    if Path::new("/usr/bin/rpm").exists() {
        try_run("rpm", &["--erase", "hydrophone"]);
    }
    for folder in [STATE, "/etc/hydrophone", "/run/hydrophone", "/run/systemd/system/hydrophone.service.d"] {
        let _ = fs::remove_dir_all(folder);
    }
    must("systemctl", &["daemon-reload"]);
    try_run("systemctl", &["reset-failed"]);
}

/// Asks for it at each start, now too.
pub fn enable() {
    must("systemctl", &["enable", "--now", UNIT]);
    assert!(active(), "enabled, started, and not active:\n{}", journal());
}

/// Runs its command line as root, which has to succeed, and returns its JSON.
pub fn ask(arguments: &[&str], input: &str) -> Value {
    let said = run(Command::new("/usr/bin/hydrophone").arg("--json").args(arguments), input);
    assert_eq!(said.code, 0, "{arguments:?}: {} {}\n{}", said.out, said.err, journal());
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", said.out))
}

/// A SonarQube with one project, `shop`, of this many findings, that is connected and imported; and its webhook.
pub fn with_project(findings: usize) -> (Sonar, Hook) {
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        model.add_project("acme", "shop", "Web shop");
        for line in 0..u32::try_from(findings).unwrap() {
            model.add_issue("shop", "main", Issue::vulnerability("java:S3649", "src/a.java", line + 1));
        }
    });
    let (url, api_url) = (sonar.url(), sonar.api_url());
    let source = ["source", "add", "sonar", "--cloud", "--url", &url, "--api-url", &api_url, "--token-file", "-"];
    ask(&source, sonar.token());
    ask(&["project", "import", "acme", "--wait", "--project", "shop"], "");
    let webhook = ask(&["webhook", "show", "acme", "--reveal"], "");
    let text = |member: &str| webhook[member].as_str().unwrap().to_owned();
    let url = text("url");
    let path = url[url.find("/hooks/").unwrap()..].to_owned();
    sonar.trust(&tls::certificate_of(Hook::ADDRESS));
    let address = format!("https://{}{path}", Hook::ADDRESS);
    sonar.edit(|model| model.add_webhook(None, &address, Some(&text("secret"))));
    (sonar, Hook { path, secret: text("secret") })
}

/// Ids of all deliveries in the log.
pub fn deliveries() -> Vec<String> {
    let list = ask(&["delivery", "list", "--limit", "1000000"], "");
    list["deliveries"].as_array().unwrap().iter().map(|delivery| delivery["id"].as_str().unwrap().to_owned()).collect()
}

/// How many findings are open.
pub fn open_findings() -> usize {
    ask(&["finding", "list", "--limit", "500"], "")["findings"].as_array().unwrap().len()
}

/// Mode, owner and group of a file.
pub fn mode(path: &str) -> String {
    must("stat", &["--format", "%a %U:%G", path])
}
