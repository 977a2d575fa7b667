//! A box that is away for a week. Everything that can happen to findings happens to it meanwhile, more than one push holds, and
//! its branches, pull requests and projects come and go; others go on, and nobody takes its silence for anything but that. When
//! it is back, each hub holds what the boxes hold: one that was there all the time, and one that was off as well.
//!
//! The week is the box's own: each day begins with a restart by a clock that is a day later, as is that of its SonarQube, so that
//! what has had its time is deleted. The server's time is the right one all along, so that this is also a box of which everything
//! is dated a week ahead.

use std::sync::Arc;

use serde_json::json;

use super::hub::{gather, inventory, wait_rows, wait_union};
use super::relay::{Relay, Way};
use super::server::{Server, confined, hub, usual};
use super::support::connect;
use super::support::gateway::Gateway;
use super::support::sonar::{Issue, Mode, Severity, Sonar, Target};
use super::wall::{DAY, Wall};
use super::{join, joined, shop, wait_state};

/// Findings of the largest project: what happens to them in a day is several pushes.
const MANY: usize = 1_500;

/// A SonarQube with branches, a pull request, and a project that will be gone.
fn model() -> Sonar {
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        model.add_project("acme", "big", "Big");
        model.add_issues("big", "main", 40);
        model.add_project("acme", "shop", "Shop");
        model.add_branch("shop", "next");
        model.add_pull_request("shop", "7", "fix", "main");
        for (branch, count) in [("main", 10), ("next", 6)] {
            model.add_issues("shop", branch, count);
        }
        model.add_issue(
            "shop",
            Target::PullRequest("7"),
            Issue::vulnerability("java:S3649", "src/pull.java", 3).with_key("PULL"),
        );
        model.add_project("acme", "old", "Old");
        model.add_issues("old", "main", 20);
    });
    for (project, branch) in [("big", "main"), ("shop", "main"), ("shop", "next"), ("old", "main")] {
        sonar.analyse(project, branch, |_| {});
    }
    sonar.analyse("shop", Target::PullRequest("7"), |_| {});
    sonar
}

/// What happens on a day; `keys` are those of the large project that came on the first.
fn happens(day: i64, sonar: &Sonar, gateway: &Gateway, keys: &mut Vec<String>) {
    match day {
        1 => drop(sonar.analyse("big", "main", |analysis| *keys = analysis.add_issues("big", "main", MANY))),
        2 => drop(sonar.analyse("big", "main", |analysis| keys[..600].iter().for_each(|key| analysis.fix(key)))),
        3 => drop(sonar.analyse("big", "main", |analysis| {
            keys[..250].iter().for_each(|key| analysis.reopen(key));
            keys[700..1_100].iter().for_each(|key| analysis.set_severity(key, Severity::Blocker));
        })),
        4 => sonar.edit(|model| {
            model.delete_branch("shop", "next");
            model.delete_branch("shop", Target::PullRequest("7"));
        }),
        5 => sonar.edit(|model| {
            keys[1_200..1_230].iter().for_each(|key| model.accept(key));
            keys[1_230..1_260].iter().for_each(|key| model.mark_false_positive(key));
        }),
        6 => assert_eq!(gateway.cli(&["project", "remove", "acme", "old"]).code, 0),
        _ => drop(sonar.analyse("shop", "main", |analysis| {
            analysis.fix(&keys[0]);
            analysis.open(Issue::vulnerability("java:S5131", "src/last.java", 7).with_key("LAST"));
        })),
    }
}

fn sync(gateway: &Gateway) {
    let said = gateway.cli(&["sync", "--full", "--wait", "--timeout", "60"]);
    assert_eq!(said.code, 0, "{said:?}\n{}", gateway.log());
}

#[test]
fn a_box_that_was_away_for_a_week_is_told_whole_and_so_is_a_hub() {
    let Some(wall) = Wall::find() else { return };
    let server = Server::start(&[confined("berlin"), confined("oslo"), hub()]);
    server.make(usual());
    let (sonar, relay) = (model(), Relay::to(server.port()));
    let mut berlin = wall.start();
    connect(&berlin, &sonar);
    berlin.json(&["project", "import", "acme", "--all", "--branch", "*", "--pull-requests", "--wait"]);
    berlin.json(&["config", "set", "keep-retired-days", "1"]);
    let said = join(&berlin, &relay.url(), "berlin", "berlin:berlin-secret", &["--pull-requests"]);
    assert_eq!(said.code, 0, "{said:?}\n{}", berlin.log());
    let (oslos, oslo) = shop();
    joined(&oslo, &server, "oslo");
    let (stays, leaves) = (Gateway::start(), Gateway::start());
    for hub in [&stays, &leaves] {
        gather(hub, &server);
        wait_union(hub, &[("berlin", &berlin), ("oslo", &oslo)]);
    }
    let before = inventory(&berlin, Some("berlin"));
    assert_eq!(before.len(), 40 + 10 + 6 + 1 + 20);

    relay.set(Way::Cut);
    let left: Arc<_> = leaves.kill();
    let today = sonar.edit(|model| model.now());
    let mut keys = Vec::new();
    for day in 1..=7 {
        let folder = if day % 2 == 0 { berlin.stop() } else { berlin.kill() };
        wall.set(day * DAY);
        sonar.edit(|model| model.freeze_clock(Some(today + day * DAY)));
        berlin = wall.start_in(folder);
        happens(day, &sonar, &berlin, &mut keys);
        sync(&berlin);
        if day == 3 {
            oslos.analyse("com.acme:shop", "main", |analysis| {
                analysis.fix("A");
                analysis.open(Issue::vulnerability("java:S5131", "src/c.java", 7).with_key("C"));
            });
            oslo.wait("the change", |oslo| (inventory(oslo, None).len() == 3).then_some(()));
            // Others go on, and of a box that says nothing stays what it said last.
            wait_rows(&stays, [&before[..], &inventory(&oslo, Some("oslo"))].concat());
        }
    }
    let trouble = wait_state(&berlin, "retrying")["trouble"].as_str().unwrap().to_owned();
    assert!(trouble.contains("cannot be reached"), "{trouble}");
    // The box's own account: what is gone from SonarQube is kept or has had its time, by the box's clock.
    let held = berlin.wait("what has had its time to be deleted", |berlin| {
        let held = inventory(berlin, Some("berlin"));
        (!held.iter().any(|row| row.contains(" PULL "))).then_some(held)
    });
    let count = |what: &str| held.iter().filter(|row| row.contains(what)).count();
    let some = [" fixed ", " accepted ", " false_positive ", " next "].map(count);
    assert_eq!((held.len(), some), (40 + MANY + 10 + 6 + 1, [351, 30, 30, 6]));
    assert_eq!(count(" LAST "), 1);
    wait_rows(&stays, [&before[..], &inventory(&oslo, Some("oslo"))].concat());

    relay.set(Way::Open);
    let leaves = Gateway::start_in(left, &[]).expect("it starts after every end");
    berlin.json(&["destination", "resume", "fleet"]);
    wait_state(&berlin, "up_to_date");
    for hub in [&stays, &leaves] {
        wait_union(hub, &[("berlin", &berlin), ("oslo", &oslo)]);
        let status = hub.json(&["fleet", "status"]);
        let sites = &status["fleets"][0]["sites"];
        assert_eq!([&sites[0]["silent_seconds"], &sites[1]["silent_seconds"]], [&json!(null); 2], "{status:#}");
    }
    // It goes on from there, dated a week ahead.
    sonar.analyse("shop", "main", |analysis| analysis.set_severity("LAST", Severity::Minor));
    sync(&berlin);
    for hub in [&stays, &leaves] {
        wait_union(hub, &[("berlin", &berlin), ("oslo", &oslo)]);
    }
}
