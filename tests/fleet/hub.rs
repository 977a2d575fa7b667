//! Hubs: boxes that gather what others tell. At rest each holds the union of what the boxes hold, whatever broke in between.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Value, json};

use super::server::{Server, confined, hub, usual};
use super::support::gateway::{Gateway, SOON, Said};
use super::support::sonar::{Issue, Severity};
use super::support::{connect, import};
use super::{joined, refused, shop, wait_state};

/// Has a gateway gather what is told a server.
pub(super) fn gather(gateway: &Gateway, server: &Server) {
    let said = source(gateway, &server.url(), "hub:hub-secret", &[]);
    assert_eq!(said.code, 0, "{said:?}\n{}", gateway.log());
}

pub fn source(gateway: &Gateway, url: &str, credentials: &str, flags: &[&str]) -> Said {
    let add = ["source", "add", "all", "--fleet", url, "--credentials", "-"];
    gateway.cli_with(&[&add[..], flags].concat(), credentials)
}

/// What a gateway holds, as `site source/organization/project branch key state severity title`, in order. A box's own is given
/// its site.
pub(super) fn inventory(gateway: &Gateway, own: Option<&str>) -> Vec<String> {
    let all = "open,confirmed,accepted,false_positive,fixed,removed";
    let list = gateway.json(&["finding", "list", "--state", all, "--retired", "--limit", "10000"]);
    assert_eq!(list["next"], Value::Null);
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut rows: Vec<String> = list["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let source = match own {
                Some(site) => format!("{}@{site}", text(&one["source"])),
                None => text(&one["source"]),
            };
            // Each site has assets of its own on a hub.
            let asset = match own {
                Some(site) => format!("{} ({site})", text(&one["asset"])),
                None => text(&one["asset"]),
            };
            let parts = ["organization", "project", "branch", "key", "kind", "state", "severity"];
            let more = ["title", "path", "url", "created_at", "first_seen_at", "rule"];
            let rest: Vec<_> = parts.iter().chain(&more).map(|name| text(&one[name])).collect();
            format!("{source} {} {} {} {asset}", rest.join(" "), one["line"], one["cwe"])
        })
        .collect();
    rows.sort();
    rows
}

/// Waits until a hub holds what these boxes hold.
pub fn wait_union(hub: &Gateway, boxes: &[(&str, &Gateway)]) {
    wait_rows(hub, boxes.iter().flat_map(|(site, gateway)| inventory(gateway, Some(site))).collect());
}

/// Waits until a hub holds exactly these, as [`inventory`] shows them.
pub(super) fn wait_rows(hub: &Gateway, mut expected: Vec<String>) {
    expected.sort();
    let end = Instant::now() + SOON;
    loop {
        let held = inventory(hub, None);
        if held == expected {
            return;
        }
        if Instant::now() > end {
            let only = |these: &[String], those: &[String]| {
                let those: BTreeSet<&String> = those.iter().collect();
                these.iter().filter(|row| !those.contains(row)).take(20).cloned().collect::<Vec<_>>()
            };
            let (more, less) = (only(&held, &expected), only(&expected, &held));
            let counts = (held.len(), expected.len());
            panic!(
                "of {counts:?} findings the hub alone holds {more:#?}\nand the boxes alone {less:#?}\n{}",
                hub.log()
            );
        }
    }
}

#[test]
fn a_hub_holds_what_the_boxes_of_all_sites_hold() {
    let server = Server::start(&[confined("berlin"), confined("oslo"), hub()]);
    server.make(usual());
    let (sonar, berlin) = shop();
    joined(&berlin, &server, "berlin");
    wait_state(&berlin, "up_to_date");
    let gateway = Gateway::start();
    gather(&gateway, &server);
    wait_union(&gateway, &[("berlin", &berlin)]);
    // What changes, and who joins later.
    sonar.analyse("com.acme:shop", "main", |analysis| {
        analysis.fix("A");
        analysis.set_severity("B", Severity::Blocker);
        analysis.open(Issue::vulnerability("java:S5131", "src/c.java", 7).with_key("C"));
    });
    let (_other, oslo) = shop();
    joined(&oslo, &server, "oslo");
    berlin.wait("the change", |berlin| (inventory(berlin, None).len() == 3).then_some(()));
    wait_union(&gateway, &[("berlin", &berlin), ("oslo", &oslo)]);
    let status = gateway.json(&["fleet", "status"]);
    let sites = status["fleets"][0]["sites"].as_array().unwrap().clone();
    let named: Vec<&str> = sites.iter().map(|site| site["site"].as_str().unwrap()).collect();
    assert_eq!(named, ["berlin", "oslo"], "{status:#}");
}

#[test]
fn a_hub_begins_where_it_ended_and_one_from_nothing_comes_to_the_same() {
    let server = Server::start(&[confined("berlin"), hub()]);
    server.make(usual());
    let (sonar, berlin) = shop();
    sonar.edit(|model| {
        model.add_project("acme", "other", "Other");
        model.add_issues("other", "main", 700)
    });
    import(&berlin, "acme", &["other"]);
    joined(&berlin, &server, "berlin");
    let gateway = Gateway::start();
    gather(&gateway, &server);
    // In the middle of it.
    let gateway = gateway.restart(Gateway::kill);
    gateway.wait("all to come", |hub| (inventory_count(hub) == 702).then_some(()));
    let gateway = gateway.restart(Gateway::kill);
    sonar.analyse("com.acme:shop", "main", |analysis| analysis.fix("A"));
    gateway.wait("the change to come", |hub| (inventory_count(hub) == 701).then_some(()));
    let other = Gateway::start();
    gather(&other, &server);
    other.wait("all to come", |hub| (inventory_count(hub) == 701).then_some(()));
    assert_eq!(keys(&gateway), keys(&other));
    // A project that is not held there any more is not held here.
    assert_eq!(berlin.cli(&["project", "remove", "acme", "other"]).code, 0);
    for hub in [&gateway, &other] {
        hub.wait("the project to be gone", |hub| (inventory_count(hub) == 1).then_some(()));
    }
}

fn inventory_count(gateway: &Gateway) -> u64 {
    gateway.json(&["finding", "list", "--limit", "1"])["total"].as_u64().unwrap()
}

fn keys(gateway: &Gateway) -> BTreeSet<String> {
    let list = gateway.json(&["finding", "list", "--limit", "1000"]);
    list["findings"].as_array().unwrap().iter().map(|one| one["key"].to_string()).collect()
}

#[test]
fn what_a_hub_cannot_read_is_said_in_words() {
    let server = Server::start(&[confined("berlin"), hub()]);
    let gateway = Gateway::start();
    refused(&source(&gateway, &server.url(), "hub:wrong", &[]), &["refuses the credentials"]);
    refused(&source(&gateway, &server.url(), "hub:hub-secret", &[]), &["no stream of 127.0.0.1", "Many boxes"]);
    server.make(usual());
    refused(
        &source(&gateway, &server.url(), "berlin:berlin-secret", &[]),
        &["does not let this hub read the stream HYDROPHONE", "$JS.API and _INBOX.hydrophone-hub.>"],
    );
    refused(&source(&gateway, "nats://nats.example/x", "hub:hub-secret", &[]), &["must not have a path"]);
    gather(&gateway, &server);
    refused(&source(&gateway, &server.url(), "hub:hub-secret", &[]), &["there is a source all already"]);
    assert_eq!(gateway.json(&["source", "check", "all"])["source"]["kind"], "fleet");
    assert_eq!(gateway.cli(&["source", "remove", "all"]).code, 0);
    assert_eq!(gateway.json(&["source", "list"])["sources"], Value::Array(Vec::new()));
}

/// Says something as a server's keeper may: on any subject.
fn say(server: &Server, subject: &str, body: &Value) {
    let (subject, body) = (subject.to_owned(), body.to_string());
    server.ask(async |context| context.publish(subject, body.into()).await.unwrap().await.map(drop).unwrap());
}

fn condition(gateway: &Gateway, code: &str) -> Option<String> {
    let status = gateway.json(&["status"]);
    let found = status["conditions"].as_array().unwrap().iter().find(|one| one["code"] == code)?;
    Some(format!("{} {}", found["text"].as_str().unwrap(), found["remedy"].as_str().unwrap()))
}

fn wait_condition(gateway: &Gateway, code: &str, words: &[&str]) {
    let said = gateway.wait(code, |gateway| condition(gateway, code));
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

#[test]
fn what_no_box_says_and_what_a_newer_one_says_is_passed_over_and_told() {
    let server = Server::start(&[confined("berlin"), hub()]);
    server.make(usual());
    let gateway = Gateway::start();
    gather(&gateway, &server);
    // As somebody who stole a site's credentials, and means another.
    let forged = json!({"specversion": "1.0", "type": "dev.hydrophone.finding.fixed", "site": "oslo", "data": {}});
    say(&server, "hydrophone.v1.berlin.cloud.acme.shop.F1", &forged);
    wait_condition(&gateway, "fleet_foreign", &["site berlin", "says that another site sends it", "credentials"]);
    let newer = json!({"specversion": "1.0", "type": "dev.hydrophone.box.retired", "site": "berlin", "data": {}});
    say(&server, "hydrophone.v1.berlin.~retired", &newer);
    wait_condition(&gateway, "fleet_newer", &["site berlin runs a newer version", "box.retired", "install the newer"]);
    // What comes behind them is taken in.
    let (_sonar, berlin) = shop();
    joined(&berlin, &server, "berlin");
    wait_union(&gateway, &[("berlin", &berlin)]);
    // A person has seen to it.
    gateway.json(&["source", "check", "all"]);
    assert_eq!(condition(&gateway, "fleet_foreign"), None);
    assert!(condition(&gateway, "fleet_newer").is_some(), "only a newer version ends that");
}

#[test]
fn a_hub_goes_on_when_the_server_is_back_and_says_so_meanwhile() {
    let mut server = Server::start(&[confined("berlin"), hub()]);
    server.make(usual());
    let (sonar, berlin) = shop();
    joined(&berlin, &server, "berlin");
    let gateway = Gateway::start();
    gather(&gateway, &server);
    wait_union(&gateway, &[("berlin", &berlin)]);
    server.kill();
    gateway.wait("the loss to be noticed", |gateway| {
        (gateway.json(&["fleet", "status"])["fleets"][0]["state"] == "unreachable").then_some(())
    });
    // Local work goes on on both.
    sonar.analyse("com.acme:shop", "main", |analysis| analysis.fix("A"));
    berlin.wait("the change", |berlin| inventory(berlin, None)[0].contains(" fixed ").then_some(()));
    assert_eq!(inventory(&gateway, None).len(), 2);
    server.again();
    berlin.json(&["destination", "resume", "fleet"]);
    gateway.json(&["source", "check", "all"]);
    wait_union(&gateway, &[("berlin", &berlin)]);
}

#[test]
fn a_stream_that_was_made_anew_is_told_and_told_everything_again() {
    let server = Server::start(&[confined("berlin"), hub()]);
    server.make(usual());
    let (_sonar, berlin) = shop();
    joined(&berlin, &server, "berlin");
    let gateway = Gateway::start();
    gather(&gateway, &server);
    wait_union(&gateway, &[("berlin", &berlin)]);
    server.ask(async |context| context.delete_stream("HYDROPHONE").await.map(drop).unwrap());
    server.make(usual());
    gateway.json(&["source", "check", "all"]);
    wait_condition(&gateway, "fleet_stream_anew", &["made anew", "hydrophone destination replay"]);
    // What it holds stays, and what is told under smaller numbers counts.
    assert_eq!(inventory(&gateway, None).len(), 2);
    assert_eq!(berlin.cli(&["destination", "replay", "fleet"]).code, 0);
    wait_union(&gateway, &[("berlin", &berlin)]);
    gateway.wait("it to be read", |gateway| {
        let fleet = gateway.json(&["fleet", "status"])["fleets"][0].clone();
        (fleet["state"] == "up_to_date" && fleet["position"].as_u64() > Some(2)).then_some(())
    });
    gateway.json(&["source", "check", "all"]);
    assert_eq!(condition(&gateway, "fleet_stream_anew"), None);
}

#[test]
fn a_box_that_is_set_up_anew_tells_the_same_findings() {
    let server = Server::start(&[confined("berlin"), hub()]);
    server.make(usual());
    let (sonar, berlin) = shop();
    joined(&berlin, &server, "berlin");
    let gateway = Gateway::start();
    gather(&gateway, &server);
    wait_union(&gateway, &[("berlin", &berlin)]);
    drop(berlin.stop());
    let anew = Gateway::start();
    connect(&anew, &sonar);
    sonar.edit(|model| {
        model.add_project("acme", "first", "First");
        model.add_issues("first", "main", 5)
    });
    // In another order, so that every number is another one.
    import(&anew, "acme", &["first"]);
    import(&anew, "acme", &["com.acme:shop"]);
    joined(&anew, &server, "berlin");
    gateway.wait("all to come", |hub| (inventory(hub, None).len() == 7).then_some(()));
    wait_union_but_for_times(&gateway, &anew);
    wait_condition(&gateway, "fleet_site_twice", &["two boxes speak as site berlin", "within the hour"]);
}

#[test]
fn of_two_fleets_with_a_site_of_one_name_the_second_is_passed_over_and_that_is_told() {
    let servers = [(); 2].map(|()| {
        let may = r#"publish: ["hydrophone.v1.berlin.>", "hydrophone.v1.berlin-2.>"],
            subscribe: ["_INBOX.hydrophone.berlin.>", "_INBOX.hydrophone.berlin-2.>"]"#;
        let user = format!("{{ user: berlin, password: berlin-secret, permissions: {{ {may} }} }}");
        let server = Server::start(&[user, hub()]);
        server.make(usual());
        server
    });
    let (_sonar, berlin) = shop();
    joined(&berlin, &servers[0], "berlin");
    let gateway = Gateway::start();
    gather(&gateway, &servers[0]);
    wait_union(&gateway, &[("berlin", &berlin)]);
    let (_other_sonar, other) = shop();
    joined(&other, &servers[1], "berlin");
    let (url, add) = (servers[1].url(), ["source", "add", "others", "--fleet"]);
    let said = gateway.cli_with(&[&add[..], &[&url, "--credentials", "-"]].concat(), "hub:hub-secret");
    assert_eq!(said.code, 0, "{said:?}");
    wait_condition(&gateway, "fleet_site_taken", &["what site berlin of fleet others says", "site=berlin-2"]);
    wait_union(&gateway, &[("berlin", &berlin)]);
    // As the remedy has it.
    assert_eq!(other.cli(&["destination", "edit", "fleet", "--option", "site=berlin-2"]).code, 0);
    wait_union(&gateway, &[("berlin", &berlin), ("berlin-2", &other)]);
}

/// As [`wait_union`], where the box has begun anew: when it first saw something is another time.
fn wait_union_but_for_times(hub: &Gateway, gateway: &Gateway) {
    let keys = |list: Vec<String>| -> BTreeSet<String> {
        list.iter().map(|row| row.split(' ').take(8).collect::<Vec<_>>().join(" ")).collect()
    };
    hub.wait("the same findings", |hub| {
        (keys(inventory(hub, None)) == keys(inventory(gateway, Some("berlin")))).then_some(())
    });
}

/// The server stores and delivers it as it is, and takes it for nothing of its own.
#[test]
fn a_message_that_no_client_can_take_does_not_keep_the_others_from_being_heard() {
    use std::io::{BufRead, BufReader, Write};
    let server = Server::start(&[confined("berlin"), confined("oslo"), hub()]);
    server.make(usual());
    let gateway = Gateway::start();
    gather(&gateway, &server);
    for headers in ["NATS/1.0 503\r\n\r\n", "NATS/1.0 100 Idle Heartbeat\r\n\r\n", "NATS/1.0\r\nnothing\r\n\r\n"] {
        let mut stolen = std::net::TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        let connect = r#"{"verbose":false,"headers":true,"user":"oslo","pass":"oslo-secret"}"#;
        let publish = format!("HPUB hydrophone.v1.oslo.x{} {2} {2}\r\n{1}\r\n", headers.len(), headers, headers.len());
        write!(stolen, "CONNECT {connect}\r\n{publish}PING\r\n").unwrap();
        let mut lines = BufReader::new(stolen).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "PONG"), "the server took it");
    }
    let (_sonar, berlin) = shop();
    joined(&berlin, &server, "berlin");
    wait_union(&gateway, &[("berlin", &berlin)]);
    wait_condition(&gateway, "fleet_foreign", &["site oslo", "headers"]);
}
