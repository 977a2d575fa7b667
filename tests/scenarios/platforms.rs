//! The real daemon between the simulated SonarQube and each simulated platform: whatever happens on either side, both
//! end up equal, and nothing is there twice.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::conviso::Conviso;
use crate::support::gateway::Gateway;
use crate::support::sonar::{Issue, Mode, Severity, Sonar};
use crate::support::{connect, hook_up, import};

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

fn wait_up_to_date(gateway: &Gateway, name: &str) -> Value {
    gateway.wait(&format!("{name} to be up to date"), |gateway| {
        Some(gateway.json(&["destination", "show", name])).filter(|shown| shown["state"] == "up_to_date")
    })
}

/// Statuses on Conviso by Sonar's key. Each key is there once.
fn on_conviso(conviso: &Conviso) -> BTreeMap<String, String> {
    conviso.edit(|model| {
        let all = model.issues.iter().filter_map(|issue| Some((issue.tool_id.clone()?, issue.status.clone())));
        let all: Vec<_> = all.collect();
        let statuses: BTreeMap<_, _> = all.iter().cloned().collect();
        assert_eq!(statuses.len(), all.len(), "something is there twice: {all:?}");
        statuses
    })
}

fn wait_conviso(gateway: &Gateway, conviso: &Conviso, expected: &[(&str, &[&str])]) {
    gateway.wait(&format!("{expected:?} on Conviso"), |_| {
        let there = on_conviso(conviso);
        let fits = |(key, statuses): &(&str, &[&str])| {
            there.get(*key).is_some_and(|status| statuses.contains(&status.as_str()))
        };
        (there.len() == expected.len() && expected.iter().all(fits)).then_some(())
    });
}

const OPEN: &[&str] = &["CREATED", "IDENTIFIED"];
const FIXED: &[&str] = &["FIX_ACCEPTED"];

#[test]
fn conviso_follows_the_life_of_findings_and_keeps_what_people_decide_there() {
    let (sonar, gateway) = shop();
    let conviso = Conviso::start();
    let url = conviso.url();
    let add =
        ["destination", "add", "conviso", "conviso", "--url", &url, "--option", "company=42", "--token-file", "-"];
    let added = gateway.json_with(&add, Conviso::KEY);
    assert!(added["lines"].as_array().unwrap().iter().all(|line| line["good"] == true), "{added}");
    wait_conviso(&gateway, &conviso, &[("A", OPEN), ("B", OPEN)]);
    wait_up_to_date(&gateway, "conviso");

    sonar.analyse("shop", "main", |analysis| {
        analysis.fix("A");
        analysis.set_severity("B", Severity::Blocker);
        analysis.open(Issue::vulnerability("java:S5131", "src/c.java", 7).with_key("C"));
    });
    wait_conviso(&gateway, &conviso, &[("A", FIXED), ("B", OPEN), ("C", OPEN)]);
    gateway.wait("the severity", |_| {
        conviso.edit(|model| model.issue("B").said.get("severity").is_some_and(|s| s == "CRITICAL")).then_some(())
    });
    sonar.analyse("shop", "main", |analysis| analysis.reopen("A"));
    wait_conviso(&gateway, &conviso, &[("A", OPEN), ("B", OPEN), ("C", OPEN)]);

    // A person decides there; nothing of ours undoes it.
    conviso.edit(|model| model.decide("B", "FALSE_POSITIVE", "a constant"));
    sonar.analyse("shop", "main", |analysis| analysis.shift_line("B", 9));
    sonar.analyse("shop", "main", |analysis| analysis.fix("C"));
    wait_conviso(&gateway, &conviso, &[("A", OPEN), ("B", &["FALSE_POSITIVE"]), ("C", FIXED)]);

    // Its key is made anew while things go on; and everything is told once more.
    conviso.set_key("made-anew");
    sonar.analyse("shop", "main", |analysis| {
        analysis.fix("A");
        analysis.reopen("C");
        analysis.open(Issue::vulnerability("java:S5131", "src/d.java", 1).with_key("D"));
    });
    gateway.wait("the destination to be in trouble", |gateway| {
        (gateway.json(&["destination", "show", "conviso"])["state"] == "refused").then_some(())
    });
    let conditions = gateway.json(&["status"])["conditions"].to_string();
    assert!(conditions.contains("destination_refused"), "{conditions}");
    conviso.set_key(Conviso::KEY);
    let gateway = gateway.restart(Gateway::kill);
    wait_conviso(&gateway, &conviso, &[("A", FIXED), ("B", &["FALSE_POSITIVE"]), ("C", OPEN), ("D", OPEN)]);
    let before = conviso.edit(|model| model.issues.len());
    gateway.json(&["destination", "replay", "conviso"]);
    wait_up_to_date(&gateway, "conviso");
    wait_conviso(&gateway, &conviso, &[("A", FIXED), ("B", &["FALSE_POSITIVE"]), ("C", OPEN), ("D", OPEN)]);
    assert_eq!(conviso.edit(|model| model.issues.len()), before);
    let letters = gateway.json(&["destination", "dead-letters", "conviso"]);
    assert_eq!(letters["dead_letters"], json!([]));
}

#[test]
fn the_mapping_of_statuses_is_shown_changed_and_reset() {
    let (_sonar, gateway) = shop();
    let conviso = Conviso::start();
    let url = conviso.url();
    let add =
        ["destination", "add", "conviso", "conviso", "--url", &url, "--option", "company=42", "--token-file", "-"];
    gateway.json_with(&add, Conviso::KEY);
    let word = |mapping: &Value, state: &str| {
        let row = mapping["outward"].as_array().unwrap().iter().find(|row| row["state"] == state).unwrap().clone();
        (row["word"].as_str().unwrap_or_default().to_owned(), row["own"] == true)
    };
    let mapping = |arguments: &[&str]| gateway.json(&[&["destination", "mapping", "conviso"], arguments].concat());
    assert_eq!(word(&mapping(&[]), "accepted"), ("RISK_ACCEPTED".to_owned(), false));
    let changed = mapping(&["--tell", "accepted=IDENTIFIED", "--understand", "SUPPRESSED=accepted"]);
    assert_eq!(word(&changed, "accepted"), ("IDENTIFIED".to_owned(), true));
    assert_eq!(mapping(&[]), changed, "it stays");
    let suppressed = changed["inward"].as_array().unwrap().iter().find(|row| row["word"] == "SUPPRESSED").unwrap();
    assert_eq!(suppressed["state"], "accepted");
    assert_eq!(word(&mapping(&["--reset"]), "accepted"), ("RISK_ACCEPTED".to_owned(), false));
    let text = gateway.refused(&["destination", "mapping", "conviso", "--tell", "severe=X"], "");
    assert!(text.contains("is none of"), "{text}");
}
