//! Clocks that are wrong. A box dates what it tells by its own clock and a hub what it hears by its own, and either may be days
//! off, or be set while it runs: that must close nothing that is open, delete nothing as old that is new, and make nobody look
//! silent that speaks. What ages in a fleet does so by the time of the server that took it, and only where a clock is known to be
//! right; here that server's is.

use serde_json::Value;

use super::hub::{gather, wait_union};
use super::joined;
use super::server::{Server, confined, hub, usual};
use super::storm::setting;
use super::support::gateway::Gateway;
use super::support::sonar::{Issue, Mode, Severity, Sonar};
use super::support::{connect, import};
use super::wall::{DAY, Wall};

const SITES: [&str; 3] = ["berlin", "oslo", "quito"];

/// A SonarQube whose clock is right, with two projects.
fn model() -> Sonar {
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        for (name, keys) in [("shop", &["A", "B"][..]), ("desk", &["D"])] {
            model.add_project("acme", name, name);
            for key in keys {
                let issue = Issue::vulnerability("java:S3649", "src/a.java", 12);
                model.add_issue(name, "main", issue.with_key(key));
            }
        }
    });
    sonar
}

fn holding(gateway: Gateway, sonar: &Sonar, server: &Server, site: &str) -> Gateway {
    connect(&gateway, sonar);
    import(&gateway, "acme", &["shop", "desk"]);
    joined(&gateway, server, site);
    gateway
}

fn sync(gateway: &Gateway) {
    let said = gateway.cli(&["sync", "--wait", "--timeout", "30"]);
    assert_eq!(said.code, 0, "{said:?}\n{}", gateway.log());
}

/// What a box says of itself, by code.
fn condition(gateway: &Gateway, code: &str) -> Option<String> {
    let status = gateway.json(&["status"]);
    let found = status["conditions"].as_array().unwrap().iter().find(|one| one["code"] == code)?;
    Some(found["text"].as_str().unwrap().to_owned())
}

/// What a hub says of a fleet's sites that are all there and all right.
fn assert_sane(hub: &Gateway, open: u64) {
    for code in ["fleet_site_silent", "fleet_site_twice", "fleet_site_taken", "fleet_foreign", "fleet_stream_anew"] {
        assert_eq!(condition(hub, code), None);
    }
    let status = hub.json(&["fleet", "status"]);
    let fleet = &status["fleets"][0];
    assert_eq!(fleet["state"], "up_to_date", "{status:#}");
    let sites = fleet["sites"].as_array().unwrap();
    let named: Vec<&Value> = sites.iter().map(|site| &site["site"]).collect();
    assert_eq!(named, SITES);
    for site in sites {
        assert_eq!((&site["silent_seconds"], &site["open"]), (&Value::Null, &open.into()), "{status:#}");
        assert!(site["heard_at"].is_string() && site["incomplete"] == 0, "{status:#}");
    }
}

#[test]
fn whatever_clocks_say_hubs_hold_what_the_boxes_hold() {
    let walls = [(); 4].map(|()| Wall::find());
    let [Some(ahead), Some(behind), Some(set), Some(hubs)] = walls else { return };
    let server = Server::start(&[confined("berlin"), confined("oslo"), confined("quito"), hub()]);
    server.make(usual());
    ahead.set(3 * DAY);
    behind.set(-3 * DAY);
    hubs.set(3 * DAY);
    let sonars = [(); 3].map(|()| model());
    let starts = [ahead.start(), behind.start(), set.start()];
    let mut boxes: Vec<Gateway> = (starts.into_iter().zip(&sonars).zip(SITES))
        .map(|((gateway, sonar), site)| holding(gateway, sonar, &server, site))
        .collect();
    let (right, mut wrong) = (Gateway::start(), hubs.start());
    for hub in [&right, &wrong] {
        // Who dated what it heard by the wrong clock would delete it as old, or not know that it is.
        hub.json(&["config", "set", "keep-closed-days", "1"]);
        gather(hub, &server);
    }
    let settled = |boxes: &[Gateway], wrong: &Gateway, states: [&str; 4], open: u64| {
        for gateway in boxes {
            sync(gateway);
        }
        let sites: Vec<(&str, &Gateway)> = SITES.into_iter().zip(boxes).collect();
        for hub in [&right, wrong] {
            wait_union(hub, &sites);
            hub.wait("the sites to be all right", |hub| {
                let status = hub.json(&["fleet", "status"]);
                let sites = status["fleets"][0]["sites"].as_array()?;
                let is_heard = |site: &Value| site["heard_at"].is_string() && site["incomplete"] == 0;
                (sites.len() == 3 && sites.iter().all(is_heard)).then_some(())
            });
            assert_sane(hub, open);
        }
        // The boxes themselves hold what is so.
        let told: Vec<String> = SITES.iter().flat_map(|site| states.map(|state| format!("{site} {state}"))).collect();
        let told: Vec<&str> = told.iter().map(String::as_str).filter(|told| !told.ends_with('-')).collect();
        assert_eq!(server.findings(), told);
    };
    settled(&boxes, &wrong, ["A open", "B open", "-", "D open"], 3);
    for sonar in &sonars {
        sonar.analyse("shop", "main", |analysis| {
            analysis.fix("A");
            analysis.set_severity("B", Severity::Blocker);
            analysis.open(Issue::vulnerability("java:S5131", "src/c.java", 7).with_key("C"));
        });
    }
    settled(&boxes, &wrong, ["A fixed", "B open", "C open", "D open"], 3);
    // Set while they run, by days each way, and one that was ahead comes to be behind what it has stored.
    for (days, key) in [(3, "B"), (-3, "C")] {
        set.set(days * DAY);
        hubs.set(-days * DAY);
        for sonar in &sonars {
            sonar.analyse("shop", "main", |analysis| analysis.fix(key));
        }
        let states = if key == "B" {
            ["A fixed", "B fixed", "C open", "D open"]
        } else {
            ["A fixed", "B fixed", "C fixed", "D open"]
        };
        settled(&boxes, &wrong, states, if key == "B" { 2 } else { 1 });
    }
    // The same by other processes.
    ahead.set(-3 * DAY);
    behind.set(3 * DAY);
    hubs.set(-3 * DAY);
    boxes =
        (boxes.into_iter().zip([&ahead, &behind, &set])).map(|(gateway, wall)| wall.start_in(gateway.kill())).collect();
    wrong = hubs.start_in(wrong.kill());
    for sonar in &sonars {
        sonar.analyse("shop", "main", |analysis| analysis.reopen("A"));
    }
    settled(&boxes, &wrong, ["A open", "B fixed", "C fixed", "D open"], 2);

    // A box and a hub find out, each from whom it asks, and a hub is told so of its boxes. All of them look when something is to
    // be deleted.
    for gateway in &boxes {
        assert_eq!(gateway.cli(&["project", "remove", "acme", "desk"]).code, 0);
        let said = gateway.wait("its clock to be doubted", |gateway| condition(gateway, "clock_wrong"));
        assert!(said.contains("source sonar") && said.contains(" days "), "{said}");
    }
    let said = wrong.wait("its clock to be doubted", |hub| condition(hub, "clock_wrong"));
    assert!(said.contains(" behind source all, which says "), "{said}");
    for hub in [&right, &wrong] {
        hub.wait("the conditions of the boxes", |hub| {
            let status = hub.json(&["fleet", "status"]);
            let sites = status["fleets"][0]["sites"].as_array()?;
            let is_told = |site: &Value| site["conditions"].to_string().contains("\"clock_wrong\"");
            sites.iter().all(is_told).then_some(())
        });
    }
    assert_eq!(condition(&right, "clock_wrong"), None);
    // That the branch is gone is told by itself.
    settled(&boxes, &wrong, ["A open", "B fixed", "C fixed", "D open"], 1);
    // A site is silent after five minutes: this looks for longer where it is asked to.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(setting("HYDROPHONE_WATCH_SECONDS", 0));
    while std::time::Instant::now() < end {
        assert_sane(&right, 1);
        assert_sane(&wrong, 1);
    }
}

/// Two boxes that speak as one site overwrite what each other tells. The hub's own clock has no part in that.
#[test]
fn two_boxes_of_one_site_are_noticed_by_a_hub_whose_clock_is_wrong() {
    let walls = [(); 2].map(|()| Wall::find());
    let [Some(ahead), Some(behind)] = walls else { return };
    ahead.set(DAY);
    behind.set(-DAY);
    let server = Server::start(&[confined("berlin"), hub()]);
    server.make(usual());
    let hubs = [Gateway::start(), behind.start(), ahead.start()];
    for hub in &hubs {
        gather(hub, &server);
    }
    let sonar = model();
    let _boxes = [(); 2].map(|()| holding(Gateway::start(), &sonar, &server, "berlin"));
    for hub in &hubs {
        let said = hub.wait("two boxes to be noticed", |hub| condition(hub, "fleet_site_twice"));
        assert!(said.contains("two boxes speak as site berlin"), "{said}");
    }
}
