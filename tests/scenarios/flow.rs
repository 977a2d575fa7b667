//! The main job, end to end: a signed webhook becomes a synced inventory.

use serde_json::Value;

use crate::support::gateway::Gateway;
use crate::support::sonar::{Issue, Mode, Severity, Sonar};
use crate::support::{connect, findings, hook_up, import};

/// The states of a project's findings by Sonar's key.
fn states(gateway: &Gateway, project: &str) -> Vec<(String, String)> {
    let all = ["--state", "open,confirmed,accepted,false_positive,fixed,removed"];
    let mut states: Vec<_> = findings(gateway, &[&["--project", project][..], &all].concat())
        .iter()
        .map(|finding| (finding["key"].as_str().unwrap().to_owned(), finding["state"].as_str().unwrap().to_owned()))
        .collect();
    states.sort();
    states
}

fn as_text(states: &[(String, String)]) -> Vec<String> {
    states.iter().map(|(key, state)| format!("{key} {state}")).collect()
}

#[test]
fn a_webhook_brings_the_inventory_in_step_with_sonar() {
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        model.add_project("acme", "shop", "Web shop");
        model.add_issue("shop", "main", Issue::vulnerability("java:S3649", "src/a.java", 12).with_key("A"));
        model.add_issue("shop", "main", Issue::vulnerability("java:S2068", "src/b.java", 3).with_key("B"));
        model.add_code_smells("shop", "main", 20);
    });
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    import(&gateway, "acme", &["shop"]);
    assert_eq!(as_text(&states(&gateway, "shop")), ["A open", "B open"]);

    hook_up(&gateway, &sonar, "acme");
    sonar.analyse("shop", "main", |analysis| {
        analysis.fix("A");
        analysis.set_severity("B", Severity::Blocker);
        analysis.open(Issue::vulnerability("java:S5131", "src/c.java", 7).with_key("C"));
    });
    let delivered = sonar.wait_deliveries(1);
    assert_eq!(delivered[0].status, Some(202), "{delivered:?}");
    gateway.wait("the finding to be fixed", |gateway| {
        (as_text(&states(gateway, "shop")) == ["A fixed", "B open", "C open"]).then_some(())
    });
    let delivery = &gateway.json(&["delivery", "list"])["deliveries"][0];
    assert_eq!(delivery["outcome"], "synced");
    assert_eq!(delivery["status"], "SUCCESS");
    let project = gateway.json(&["project", "show", "acme", "shop"]);
    let branch = &project["branches"][0];
    assert_eq!(
        (&branch["complete"], &branch["sonar_total"], &branch["stored_total"]),
        (&true.into(), &2.into(), &2.into())
    );
    let fixed = findings(&gateway, &["--state", "fixed"]).remove(0);
    let detail = gateway.json(&["finding", "show", fixed["id"].as_str().unwrap()]);
    let told: Vec<&Value> = detail["changes"].as_array().unwrap().iter().map(|change| &change["kind"]).collect();
    assert_eq!(told, ["opened", "fixed"]);
}
