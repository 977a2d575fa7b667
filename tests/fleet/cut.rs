//! A network that loses everything and says nothing, as when a cable is pulled behind the next switch: nobody hears that a
//! connection is over. The server stands in a network namespace of its own, with a hub beside it; a box and another hub on
//! this side of the only way there. Namespaces end with the last process in them, so that nothing is left over.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::hub::{inventory, source, wait_rows, wait_union};
use super::server::{Server, confined, hub, usual};
use super::support::gateway::{Gateway, program};
use super::support::sonar::{Issue, Severity};
use super::{join, shop};

/// Says to the test's own program that it is in a namespace of its own.
const APART: &str = "HYDROPHONE_IN_A_NETWORK";

const NEAR: &str = "10.99.0.1";
const FAR: &str = "10.99.0.2";

/// How long it takes at most until a connection counts as lost about which nothing is heard, or is made again.
const PATIENCE: Duration = Duration::from_mins(2);

#[test]
fn a_network_that_loses_everything_is_noticed_and_waited_for() {
    let flags: &[&str] = if rustix::process::geteuid().is_root() { &["--net"] } else { &["--map-root-user", "--net"] };
    let apart = |words: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(flags).arg("--").args(words).stdin(Stdio::null());
        command
    };
    let tried = "ip link add near type veth peer name far && exec unshare --net true";
    if !apart(&["sh", "-c", tried]).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: this user may not make a network of its own, or Debian's package iproute2 is not there");
        return;
    }
    let own = std::env::current_exe().unwrap();
    let test = [own.to_str().unwrap(), "--exact", "cut::on_the_near_side", "--ignored", "--nocapture"];
    let output = apart(&test).env(APART, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Runs a program that has to succeed.
fn run(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A namespace with the other end of the way. A process holds it, which ends with this one.
struct Far(Child);

impl Far {
    fn make() -> Self {
        let pipes = (Stdio::piped(), Stdio::piped());
        let mut held = Command::new("unshare").args(["--net", "cat"]).stdin(pipes.0).stdout(pipes.1).spawn().unwrap();
        // It answers once it is there.
        writeln!(held.stdin.as_mut().unwrap(), "?").unwrap();
        BufReader::new(held.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let far = Self(held);
        let pid = far.0.id().to_string();
        run(&["ip", "link", "set", "lo", "up"]);
        run(&["ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", &pid]);
        run(&["ip", "addr", "add", &format!("{NEAR}/30"), "dev", "near"]);
        run(&["ip", "link", "set", "near", "up"]);
        far.run(&["ip", "link", "set", "lo", "up"]);
        far.run(&["ip", "addr", "add", &format!("{FAR}/30"), "dev", "far"]);
        far.run(&["ip", "link", "set", "far", "up"]);
        far
    }

    /// What has to stand before a command that is to run there.
    fn words(&self) -> Vec<String> {
        ["nsenter", "--target", &self.0.id().to_string(), "--net", "--"].map(str::to_owned).to_vec()
    }

    fn run(&self, words: &[&str]) {
        let all = self.words();
        run(&all.iter().map(String::as_str).chain(words.iter().copied()).collect::<Vec<_>>());
    }

    fn gateway(&self) -> Gateway {
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(program().get_program());
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Gateway::start_as(command, folder, &[], [Stdio::null(), Stdio::null()])
            .unwrap_or_else(|log| panic!("the gateway does not start:\n{log}"))
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A way of losing what is sent.
#[derive(Debug, Clone, Copy)]
enum Loss {
    /// The far end of the way is down.
    Everything,
    /// What is sent arrives, and the answers do not.
    Answers,
}

impl Loss {
    fn set(self, far: &Far, is_lost: bool) {
        match self {
            Self::Everything => far.run(&["ip", "link", "set", "far", if is_lost { "down" } else { "up" }]),
            Self::Answers => far.run(&["ip", "route", if is_lost { "add" } else { "del" }, "blackhole", NEAR]),
        }
    }
}

fn fleet(gateway: &Gateway, state: &str) -> String {
    gateway.wait_for(PATIENCE, &format!("the fleet to be {state}"), |gateway| {
        let fleet = gateway.json(&["fleet", "status"])["fleets"][0].clone();
        (fleet["state"] == state).then(|| fleet["trouble"].as_str().unwrap_or_default().to_owned())
    })
}

fn told(gateway: &Gateway, state: &str) -> String {
    gateway.wait_for(PATIENCE, &format!("the destination to be {state}"), |gateway| {
        let shown = gateway.json(&["destination", "show", "fleet"]);
        (shown["state"] == state).then(|| shown["trouble"].as_str().unwrap_or_default().to_owned())
    })
}

#[test]
#[ignore = "run by a_network_that_loses_everything_is_noticed_and_waited_for, in a namespace of its own"]
fn on_the_near_side() {
    if std::env::var_os(APART).is_none() {
        return;
    }
    let far = Far::make();
    let server = Server::start_at(FAR, 4222, far.words(), &[confined("berlin"), hub()]);
    server.make(usual());
    let (sonar, berlin) = shop();
    let said = join(&berlin, &server.url(), "berlin", "berlin:berlin-secret", &["--option", "plain=yes"]);
    assert_eq!(said.code, 0, "{said:?}");
    let (beside, near) = (far.gateway(), Gateway::start());
    for hub in [&beside, &near] {
        let said = source(hub, &server.url(), "hub:hub-secret", &["--plain"]);
        assert_eq!(said.code, 0, "{said:?}");
        wait_union(hub, &[("berlin", &berlin)]);
    }
    for (number, loss) in [Loss::Everything, Loss::Answers].into_iter().enumerate() {
        told(&berlin, "up_to_date");
        let before = inventory(&berlin, Some("berlin"));
        let key = format!("C{number}");
        loss.set(&far, true);
        sonar.analyse("com.acme:shop", "main", |analysis| {
            analysis.set_severity("B", [Severity::Blocker, Severity::Minor][number]);
            analysis.open(Issue::vulnerability("java:S5131", "src/c.java", 7).with_key(&key));
        });
        let trouble = told(&berlin, "retrying");
        let words = ["did not acknowledge a message in time", "was lost", "cannot be reached", "does not answer"];
        assert!(words.iter().any(|word| trouble.contains(word)) && trouble.contains(FAR), "{loss:?}: {trouble}");
        let trouble = fleet(&near, "unreachable");
        assert!(words.iter().any(|word| trouble.contains(word)) && trouble.contains(FAR), "{loss:?}: {trouble}");
        // All else goes on meanwhile, and nobody forgets anything.
        sonar.analyse(
            "com.acme:shop",
            "main",
            |analysis| if number == 0 { analysis.fix("A") } else { analysis.reopen("A") },
        );
        let state = [" A ", [" fixed ", " open "][number]];
        berlin.wait("the change", |berlin| {
            let rows = inventory(berlin, None);
            rows.iter().any(|row| state.iter().all(|word| row.contains(word))).then_some(())
        });
        wait_rows(&near, before.clone());
        if matches!(loss, Loss::Everything) {
            wait_rows(&beside, before);
        }
        // Nobody has to do anything for it.
        loss.set(&far, false);
        told(&berlin, "up_to_date");
        fleet(&near, "up_to_date");
        for hub in [&beside, &near] {
            wait_union(hub, &[("berlin", &berlin)]);
        }
    }
}
