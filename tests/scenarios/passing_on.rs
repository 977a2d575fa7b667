//! Findings are passed on: to a receiver of signed events and to a folder of SARIF files, by the real daemon.

use std::collections::{BTreeMap, BTreeSet};

use hydrophone::domain::limits::DESTINATIONS_MAX;
use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::receiver::{Receiver, Reply, Verdict};
use crate::support::sonar::{Issue, Mode, Severity, Sonar};
use crate::support::{connect, hook_up, import};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// A gateway that holds two findings, A and B, and takes webhooks.
fn shop() -> (Sonar, Gateway) {
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        model.add_project("acme", "shop", "Web shop");
        model.add_issue("shop", "main", Issue::vulnerability("java:S3649", "src/a.java", 12).with_key("A"));
        model.add_issue("shop", "main", Issue::vulnerability("java:S2068", "src/b.java", 3).with_key("B"));
    });
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    import(&gateway, "acme", &["shop"]);
    hook_up(&gateway, &sonar, "acme");
    (sonar, gateway)
}

fn add_events(gateway: &Gateway, receiver: &Receiver, flags: &[&str]) -> Value {
    let url = receiver.url();
    let add = ["destination", "add", "events", "siem", "--url", &url, "--token-file", "-"];
    gateway.json_with(&[&add[..], flags].concat(), SECRET)
}

fn destination(gateway: &Gateway, name: &str) -> Value {
    gateway.json(&["destination", "show", name])
}

/// Waits until a destination is told everything, or is in another state.
fn wait_state(gateway: &Gateway, name: &str, state: &str) -> Value {
    gateway.wait(&format!("{name} to be {state}"), |gateway| {
        Some(destination(gateway, name)).filter(|shown| shown["state"] == state)
    })
}

/// What was told, as `type key state`, without the ping.
fn told(receiver: &Receiver) -> Vec<String> {
    let events = receiver.events();
    let findings = events.iter().filter(|event| event["data"]["key"].is_string());
    findings
        .map(|event| {
            let kind = event["type"].as_str().unwrap().rsplit('.').next().unwrap();
            let data = &event["data"];
            format!("{kind} {} {}", data["key"].as_str().unwrap(), data["state"].as_str().unwrap())
        })
        .collect()
}

fn wait_told(gateway: &Gateway, receiver: &Receiver, count: usize) -> Vec<String> {
    gateway.wait(&format!("{count} events"), |_| Some(told(receiver)).filter(|told| told.len() >= count))
}

#[test]
fn a_new_destination_is_told_the_present_state_and_then_every_change_in_order() {
    let (sonar, gateway) = shop();
    let receiver = Receiver::start(SECRET);
    let added = add_events(&gateway, &receiver, &[]);
    assert_eq!(added["destination"]["kind"], "events");
    assert_eq!(added.get("secret"), None, "it was given, so it is not shown");
    assert_eq!(wait_told(&gateway, &receiver, 2), ["present A open", "present B open"]);
    wait_state(&gateway, "siem", "up_to_date");

    sonar.analyse("shop", "main", |analysis| {
        analysis.fix("A");
        analysis.set_severity("B", Severity::Blocker);
        analysis.open(Issue::vulnerability("java:S5131", "src/c.java", 7).with_key("C"));
    });
    let all = wait_told(&gateway, &receiver, 5);
    let after: BTreeSet<&str> = all[2..].iter().map(String::as_str).collect();
    assert_eq!(after, ["fixed A fixed", "updated B open", "opened C open"].into());
    sonar.analyse("shop", "main", |analysis| analysis.reopen("A"));
    assert_eq!(wait_told(&gateway, &receiver, 6)[5], "reopened A open");
    assert!(receiver.calls().iter().all(|call| call.verdict == Verdict::New), "each was signed, and none came twice");
    let shown = wait_state(&gateway, "siem", "up_to_date");
    assert_eq!((&shown["lag"], &shown["told"], &shown["dead_letters"]), (&json!(0), &json!(6), &json!(0)));
    let status = gateway.json(&["status"]);
    let health = json!({"name": "siem", "kind": "events", "lag": 0, "state": "up_to_date"});
    assert_eq!(status["destinations"], json!([health]));
}

#[test]
fn a_destination_that_was_down_is_told_what_it_missed_and_holds_up_nothing_meanwhile() {
    let (sonar, gateway) = shop();
    let receiver = Receiver::start(SECRET);
    add_events(&gateway, &receiver, &[]);
    wait_told(&gateway, &receiver, 2);
    receiver.answer_always(Some(Reply::Status(503)));
    sonar.analyse("shop", "main", |analysis| analysis.fix("A"));
    wait_state(&gateway, "siem", "retrying");
    sonar.analyse("shop", "main", |analysis| analysis.reopen("A"));
    gateway.wait("the inventory to go on", |gateway| {
        let list = gateway.json(&["finding", "list"]);
        (list["total"] == 2).then_some(())
    });
    let shown = destination(&gateway, "siem");
    assert!(shown["trouble"].as_str().unwrap().contains("503"), "{shown}");
    let gateway = gateway.restart(Gateway::kill);
    receiver.answer_always(None);
    // A check that goes well has it tried at once.
    gateway.json(&["destination", "check", "siem"]);
    let all = wait_told(&gateway, &receiver, 4);
    // An event that comes late tells the newest state.
    assert_eq!(all[2..4], ["fixed A open", "reopened A open"]);
    let shown = wait_state(&gateway, "siem", "up_to_date");
    assert_eq!(shown["trouble"], Value::Null);
}

#[test]
fn what_a_destination_refuses_is_parked_explained_and_told_on_request() {
    let (_sonar, gateway) = shop();
    let receiver = Receiver::start(SECRET);
    add_events(&gateway, &receiver, &["--paused"]);
    receiver.answer(Reply::Text(422, "not this one"));
    gateway.json(&["destination", "resume", "siem"]);
    wait_told(&gateway, &receiver, 1);
    wait_state(&gateway, "siem", "up_to_date");
    let letters = gateway.json(&["destination", "dead-letters", "siem"]);
    let letter = &letters["dead_letters"][0];
    assert_eq!(letters["dead_letters"].as_array().unwrap().len(), 1, "{letters}");
    assert_eq!(letter["key"], "A");
    assert!(letter["why"].as_str().unwrap().contains("422"), "{letter}");
    let conditions = gateway.json(&["status"])["conditions"].clone();
    assert!(conditions.as_array().unwrap().iter().any(|condition| condition["code"] == "dead_letters"), "{conditions}");
    assert_eq!(gateway.json(&["destination", "dead-letters", "siem", "--replay", "all"])["dead_letters"], 1);
    gateway.wait("the letter to be told", |gateway| (destination(gateway, "siem")["dead_letters"] == 0).then_some(()));
    let told: BTreeSet<String> = told(&receiver).into_iter().collect();
    assert!(told.contains("present A open"), "{told:?}");
}

#[test]
fn a_receiver_that_wants_nothing_any_more_is_left_alone_until_a_person_resumes_it() {
    let (sonar, gateway) = shop();
    let receiver = Receiver::start(SECRET);
    add_events(&gateway, &receiver, &[]);
    wait_told(&gateway, &receiver, 2);
    wait_state(&gateway, "siem", "up_to_date");
    receiver.answer(Reply::Status(410));
    sonar.analyse("shop", "main", |analysis| analysis.fix("A"));
    wait_state(&gateway, "siem", "gone");
    let asked = receiver.calls().len();
    let gateway = gateway.restart(Gateway::stop);
    assert_eq!(destination(&gateway, "siem")["state"], "gone");
    assert_eq!(receiver.calls().len(), asked);
    gateway.json(&["destination", "resume", "siem"]);
    assert_eq!(wait_told(&gateway, &receiver, 3)[2], "fixed A fixed");
}

#[test]
fn a_kill_amid_the_present_state_leaves_nothing_untold() {
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        model.add_project("acme", "big", "Big");
        model.add_issues("big", "main", 300);
    });
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    import(&gateway, "acme", &["big"]);
    let receiver = Receiver::start(SECRET);
    add_events(&gateway, &receiver, &[]);
    wait_told(&gateway, &receiver, 40);
    let gateway = gateway.restart(Gateway::kill);
    wait_state(&gateway, "siem", "up_to_date");
    let keys: BTreeSet<String> = told(&receiver).into_iter().collect();
    assert_eq!(keys.len(), 300, "each finding was told at least once");
    // Whoever remembers the ids of events sees none twice.
    let fresh = receiver.calls().into_iter().filter(|call| call.verdict == Verdict::New);
    assert!(fresh.count() >= 300);
}

#[test]
fn a_filter_and_a_preview_say_what_is_passed_on_and_why_not() {
    let (sonar, gateway) = shop();
    sonar.edit(|model| {
        let issue = Issue::vulnerability("java:S5131", "src/c.java", 7).with_key("C");
        model.add_issue("shop", "main", issue.with_severity(Severity::Info));
    });
    gateway.json(&["sync", "acme", "shop", "--full", "--wait"]);
    let severities: BTreeMap<String, String> = gateway.json(&["finding", "list"])["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["key"].as_str().unwrap().to_owned(), row["severity"].as_str().unwrap().to_owned()))
        .collect();
    let wanted = severities["A"].clone();
    let passed = severities.values().filter(|severity| **severity == wanted).count();
    let receiver = Receiver::start(SECRET);
    add_events(&gateway, &receiver, &["--paused", "--severity", &wanted]);
    let preview = gateway.json(&["destination", "preview", "siem"]);
    assert_eq!((&preview["sonar_total"], &preview["open"]), (&json!(3), &json!(3)));
    assert_eq!(preview["create"], json!(passed), "{preview}");
    assert_eq!(preview["left_out"]["of another severity"], json!(3 - passed), "{preview}");
    let text = gateway.cli(&["destination", "preview", "siem"]);
    assert!(text.out.starts_with(&format!("Sonar says 3, we hold 3, {passed} pass the filter.")), "{}", text.out);
    gateway.json(&["destination", "resume", "siem"]);
    wait_state(&gateway, "siem", "up_to_date");
    assert_eq!(told(&receiver).len(), passed);
    // What passes now is told with the next change, or when it is told everything again.
    gateway.json(&["destination", "edit", "siem", "--no-filter"]);
    gateway.json(&["destination", "replay", "siem"]);
    wait_told(&gateway, &receiver, 3);
}

#[test]
fn a_folder_always_holds_the_present_state_of_a_branch() {
    let (sonar, gateway) = shop();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    gateway.json(&["destination", "add", "sarif", "files", "--url", path]);
    let results = |count: usize| {
        gateway.wait(&format!("{count} results"), |_| {
            let mut files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
            let file = files.find(|file| file.extension().is_some_and(|end| end == "sarif"))?;
            let log: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
            let found = log["runs"][0]["results"].as_array()?.len();
            (found == count).then_some(())
        });
    };
    results(2);
    sonar.analyse("shop", "main", |analysis| {
        analysis.open(Issue::vulnerability("java:S5131", "src/c.java", 7).with_key("C"));
    });
    results(3);
    sonar.analyse("shop", "main", |analysis| {
        analysis.fix("A");
        analysis.fix("B");
        analysis.fix("C");
    });
    results(0);
    wait_state(&gateway, "files", "up_to_date");
}

#[test]
fn a_destination_that_is_removed_is_told_nothing_and_leaves_nothing_behind() {
    let (sonar, gateway) = shop();
    let receiver = Receiver::start(SECRET);
    add_events(&gateway, &receiver, &[]);
    wait_told(&gateway, &receiver, 2);
    gateway.json(&["destination", "remove", "siem"]);
    assert_eq!(gateway.json(&["destination", "list"])["destinations"], json!([]));
    let asked = receiver.calls().len();
    sonar.analyse("shop", "main", |analysis| analysis.fix("A"));
    gateway.wait("the finding to be fixed", |gateway| (gateway.json(&["finding", "list"])["total"] == 1).then_some(()));
    assert_eq!(receiver.calls().len(), asked);
    // The name is free again, and whoever has it now begins anew, without what was closed before.
    let another = Receiver::start(SECRET);
    add_events(&gateway, &another, &[]);
    wait_state(&gateway, "siem", "up_to_date");
    assert_eq!(told(&another), ["present B open"]);
}

#[test]
fn a_secret_is_made_where_none_is_given_and_shown_once() {
    let (_sonar, gateway) = shop();
    let receiver = Receiver::start(SECRET);
    let url = receiver.url();
    let added = gateway.json(&["destination", "add", "events", "siem", "--url", &url, "--unchecked"]);
    let secret = added["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"), "{secret}");
    receiver.know(&[&secret]);
    gateway.json(&["destination", "check", "siem"]);
    wait_told(&gateway, &receiver, 2);
    let shown = destination(&gateway, "siem").to_string() + &gateway.json(&["destination", "list"]).to_string();
    assert!(!shown.contains(&secret), "{shown}");
    assert!(!gateway.log().contains(&secret));
}

#[test]
fn what_cannot_be_a_destination_is_refused_in_one_sentence_with_the_remedy() {
    let (_sonar, gateway) = shop();
    let receiver = Receiver::start(SECRET);
    let url = receiver.url();
    let refused = |arguments: &[&str], parts: &[&str]| {
        let text = gateway.refused(&[&["destination"], arguments].concat(), SECRET);
        assert!(text.starts_with("error: "), "{text}");
        for part in parts {
            assert!(text.contains(part), "{part:?} in {text:?}");
        }
    };
    let events = |name, url| ["add", "events", name, "--url", url, "--token-file", "-"];
    refused(&["add", "events", "siem"], &["needs its address"]);
    refused(&events("two words", &url), &["name"]);
    refused(&events("siem", "ftp://siem.example"), &["https://"]);
    refused(&events("siem", "http://siem.example/x"), &["https"]);
    refused(&events("siem", "http://127.0.0.1:1/x"), &["connection was refused"]);
    receiver.answer(Reply::Status(404));
    refused(&events("siem", &url), &["404"]);
    receiver.answer(Reply::With(302, vec![("location", "https://elsewhere.example/".to_owned())]));
    refused(&events("siem", &url), &["moved"]);
    refused(&["add", "sarif", "files", "--url", "relative/folder"], &["whole path"]);
    refused(&["add", "sarif", "files", "--url", "/no/such/folder"], &["/no/such/folder"]);
    refused(&[&events("siem", &url)[..], &["--option", "nonsense=1"]].concat(), &["nonsense"]);
    for command in ["show", "check", "pause", "resume", "preview", "replay", "mapping", "dead-letters", "remove"] {
        refused(&[command, "nobody"], &["there is no destination nobody"]);
    }
    assert_eq!(gateway.json(&["destination", "list"])["destinations"], json!([]), "nothing of it was kept");
    add_events(&gateway, &receiver, &[]);
    refused(&events("siem", &url), &["already"]);
    refused(&["replay", "siem", "--after", "C999"], &["no change C999"]);
    refused(&["replay", "siem", "--since", "yesterday"], &["no time"]);
    refused(&["dead-letters", "siem", "--replay", "F1"], &["no dead letter"]);
}

#[test]
fn there_are_as_many_destinations_as_the_box_can_serve_and_no_more() {
    let gateway = Gateway::start();
    let folder = gateway.folder().to_str().unwrap();
    for number in 1..=DESTINATIONS_MAX {
        gateway.json(&["destination", "add", "sarif", &format!("files{number}"), "--url", folder, "--paused"]);
    }
    let text = gateway.refused(&["destination", "add", "sarif", "more", "--url", folder], "");
    assert!(text.contains("the most there may be") && text.contains("remove one"), "{text}");
    assert_eq!(gateway.cli(&["destination", "remove", "files1"]).code, 0);
    gateway.json(&["destination", "add", "sarif", "more", "--url", folder]);
}

/// Nobody looks at a page all day: what came up on the box reaches those whom events reach.
#[test]
fn a_condition_that_comes_up_reaches_a_receiver_that_wants_to_know() {
    let receiver = Receiver::start(SECRET);
    let (sonar, gateway) = shop();
    add_events(&gateway, &receiver, &["--conditions"]);
    let told = |code: &str| {
        let raised = |event: &Value| event["type"] == "dev.hydrophone.condition.raised" && event["subject"] == code;
        receiver.events().into_iter().find(raised)
    };
    let known = gateway.wait("a condition that held before to be told", |_| told("no_public_url"));
    assert_eq!(known["data"]["severity"], "info", "{known}");
    assert!(known["data"]["remedy"].as_str().is_some_and(|remedy| remedy.contains("public-url")), "{known}");
    sonar.edit(|model| model.token_mut(sonar.token()).expires = Some(0));
    gateway.cli(&["sync", "--wait", "--timeout", "20"]);
    let new = gateway.wait("a new condition to be told", |_| told("source_refused"));
    assert_ne!(known["id"], new["id"]);
    assert!(!new["data"].to_string().contains(sonar.token()));

    // A receiver that cannot be told of conditions is not up to date, whatever it knows of findings.
    receiver.answer_always(Some(Reply::Status(503)));
    gateway.json(&["config", "set", "webhook-networks-mode", "refuse"]);
    let state = || gateway.json(&["destination", "show", "siem"]);
    gateway.wait("it to be told", |_| (state()["state"] == "retrying").then_some(()));
    assert!(state()["trouble"].to_string().contains("503"), "{}", state());
    // Who does not want to know any more is not asked for it again.
    receiver.answer_always(None);
    gateway.json(&["destination", "edit", "siem", "--conditions", "no"]);
    gateway.wait("it to be well", |_| (state()["state"] == "up_to_date").then_some(()));
    assert!(told("webhook_networks_missing").is_none());
}
