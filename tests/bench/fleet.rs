//! A hub: how fast it takes in what the boxes of a fleet hold and what changes there, beside its server of NATS, and what that
//! costs in memory, disk and bytes on the wire. The boxes are played: what they say is as long as what a box says.

use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use serde_json::{Value, json};

use crate::nats::{Server, hub, usual};
use crate::peers;
use crate::process::{memory, ticks, written, written_since};
use crate::support::api;
use crate::support::gateway::Gateway;
use crate::table::{Figure, Table};
use crate::{MIB, Scale, section, standby, wait_for};

/// See the module.
#[allow(clippy::cast_precision_loss, reason = "some millions")]
pub(crate) fn measure(scale: &Scale, table: &mut Table) {
    let (sites, of_each) = asked().unwrap_or((scale.sites, scale.of_each_site));
    let changed = scale.fleet_changes;
    let all = sites * of_each;
    section(&format!("A hub of {sites} sites with {of_each} findings each"));
    if peers::tool("nats-server").is_none() {
        println!("  nats-server is not here, so the fleet is left out");
        return;
    }
    let server = Server::start(&[hub(), standby::USER.to_owned()]);
    server.make(usual());
    let bytes = publish(&server, sites, 0..all, "open");
    let stored = held(&server);
    table.noted("bytes of one message", Figure::Ratio(bytes as f64 / all as f64));
    table.noted(&format!("the stream of {all} findings on disk"), Figure::Bytes(stored.1));
    let gateway = Gateway::start();
    let before = (written(gateway.id()), ticks(gateway.id()), ticks(server.id()));
    let begin = Instant::now();
    gateway.json_with(&["source", "add", "all", "--fleet", &server.url(), "--credentials", "-"], "hub:hub-secret");
    caught_up(&gateway, stored.0);
    let took = begin.elapsed();
    table.noted("a hub from nothing has them all after", Figure::Time(took));
    table.noted("  findings a second", Figure::Rate(all as f64 / took.as_secs_f64()));
    let busy = |ticks: u64| Figure::Ratio(ticks as f64 / 100.0 / took.as_secs_f64());
    table.noted("  cores that it used", busy(ticks(gateway.id()) - before.1));
    table.noted("  cores that its server used", busy(ticks(server.id()) - before.2));
    table.limited("  its peak memory", Figure::Bytes(memory(gateway.id(), "VmHWM")), Figure::Bytes(64 * MIB));
    if let Some(written) = written_since(gateway.id(), before.0) {
        table.noted("  bytes that it wrote", Figure::Bytes(written));
    }
    let size = std::fs::metadata(gateway.state().join("hydrophone.redb")).map_or(0, |file| file.len());
    table.noted("  its database file", Figure::Bytes(size));
    let total = api::get(&gateway.state(), "findings?limit=1")["total"].as_u64();
    assert_eq!(total, Some(all as u64));

    // Every so many, so that they lie as far apart as can be.
    let step = (all / changed.min(all)).max(1);
    let folder = gateway.stop();
    publish(&server, sites, (0..changed).map(|number| number * step), "confirmed");
    let begin = Instant::now();
    let gateway = Gateway::start_in(folder, &[]).expect("it starts");
    caught_up(&gateway, held(&server).0);
    let took = begin.elapsed();
    table.noted(&format!("{changed} changes all over, after a stop"), Figure::Time(took));
    let rate = Figure::Rate(changed as f64 / took.as_secs_f64());
    table.at_least("  changes taken in a second", rate, Figure::Rate(20_000.0));
    table.limited("  its peak memory", Figure::Bytes(memory(gateway.id(), "VmHWM")), Figure::Bytes(64 * MIB));
    let confirmed = api::get(&gateway.state(), "findings?limit=1&state=confirmed")["total"].as_u64();
    assert_eq!(confirmed, Some(changed as u64));
    standby::measure(&server, &gateway, table);
    drop(gateway.stop());
}

/// Another size of the fleet: `HYDROPHONE_FLEET=100,10000` are 100 sites with 10,000 findings each.
fn asked() -> Option<(usize, usize)> {
    let text = std::env::var("HYDROPHONE_FLEET").ok()?;
    let (sites, of_each) = text.split_once(',').expect("SITES,FINDINGS");
    Some((sites.parse().expect("a number"), of_each.parse().expect("a number")))
}

/// Waits until a hub has taken in everything up to a message.
fn caught_up(gateway: &Gateway, last: u64) {
    wait_for(Duration::from_mins(20), "the hub to have read it all", || {
        // Looking is work for the hub, too.
        std::thread::sleep(Duration::from_millis(100));
        let status = api::get(&gateway.state(), "fleet");
        let fleet = &status["fleets"][0];
        fleet["state"] == "up_to_date" && fleet["position"].as_u64() >= Some(last)
    });
}

/// The last message of the stream, and its size on disk.
fn held(server: &Server) -> (u64, u64) {
    server.ask(async |context| {
        let stream = context.get_stream("HYDROPHONE").await.expect("it is there");
        let state = &stream.cached_info().state;
        (state.last_sequence, state.bytes)
    })
}

/// Says of findings that they are so; returns how many bytes that are.
fn publish(server: &Server, sites: usize, findings: impl Iterator<Item = usize>, state: &str) -> usize {
    server.ask(async |context: Context| {
        let (mut bytes, mut last) = (0, String::new());
        for number in findings {
            let (site, of) = (number % sites, number / sites);
            let subject = format!("hydrophone.v1.site-{site}.cloud.acme.service-{}.F{}", of / OF_PROJECT, of + 1);
            let body = event(site, of, state).to_string();
            bytes += body.len() + subject.len();
            if number % 5_000 == 4_999 {
                // Now and then one that is acknowledged, so that the server keeps up.
                let stored = context.publish(subject, body.into()).await.expect("it is there");
                stored.await.expect("it is stored");
            } else {
                last.clone_from(&subject);
                context.client().publish(subject, body.into()).await.expect("it is there");
            }
        }
        let stored = context.publish("hydrophone.v1.site-0.~ping", PING.into()).await.expect("it is there");
        stored.await.expect("it is stored");
        bytes
    })
}

const PING: &str = r#"{"type":"dev.hydrophone.ping","site":"site-0","data":{}}"#;

/// Findings of each project.
const OF_PROJECT: usize = 500;

fn event(site: usize, number: usize, state: &str) -> Value {
    let (project, rule) = (number / OF_PROJECT, number % 60);
    let severity = ["critical", "high", "medium", "low", "info"][number % 5];
    let minute =
        format!("2026-{:02}-{:02}T{:02}:{:02}:00Z", number % 12 + 1, number % 28 + 1, number % 24, number % 60);
    let name = format!("service-{project}");
    // Most messages of a rule are the same.
    let what = ["a query", "a path", "an address"][number % 3];
    json!({
        "specversion": "1.0", "id": format!("{:032x}", site * 1_000_003 + number),
        "source": format!("hydrophone://site-{site}/cloud/acme/{name}"),
        "type": format!("dev.hydrophone.finding.{}", if state == "open" { "opened" } else { "triaged" }),
        "subject": format!("F{}", number + 1), "time": minute, "datacontenttype": "application/json",
        "site": format!("site-{site}"),
        "data": {
            "id": format!("F{}", number + 1), "key": format!("AZx{site:05}Qv{number:09}Kw"), "source": "cloud",
            "organization": "acme", "project": name, "branch": "main", "pull_request": false, "asset": name,
            "kind": "vulnerability", "rule": format!("java:S{}", 2000 + rule),
            "title": format!("Rule {rule} should be followed where data that users control is used"),
            "message": format!("Change this code so that it does not build {what} from data that users control."),
            "severity": severity, "state": state,
            "path": format!("src/main/java/com/example/module{}/Handler{}.java", number % 40, number % 900),
            "line": number % 700 + 1, "cwe": [79, 89],
            "url": format!("https://sonarcloud.io/project/issues?id={name}&issues=AZx{site:05}Qv{number:09}Kw&open=AZx{site:05}Qv{number:09}Kw"),
            "created_at": minute, "updated_at": minute, "closed_at": null, "first_seen_at": minute,
            "previous_state": null, "change": format!("C{}", number + 1),
            "origin": { "inventory": format!("{:016x}", site + 1), "project": format!("P{}", project + 1),
                        "scope": format!("S{}", project + 1), "main": true },
        },
    })
}
