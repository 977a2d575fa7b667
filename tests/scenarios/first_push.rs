//! The first push of thousands of findings, and the daemon killed in its middle. A platform takes a part of it and its
//! answer reaches nobody; what was noted before tells the next start where to look. In the end both sides are equal, and
//! nothing is there twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::support::conviso::{Conviso, Fault, Gate};
use crate::support::defectdojo::{DefectDojo, Moment};
use crate::support::gateway::Gateway;
use crate::support::receiver::Receiver;
use crate::support::sonar::{Mode, Sonar};
use crate::support::{connect, import};

const COUNT: usize = 2_400;

/// Thousands of requests take their time on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_mins(3);

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// A gateway that holds so many findings, and their keys.
fn full() -> (Sonar, Gateway, BTreeSet<String>) {
    let sonar = Sonar::start(Mode::Cloud);
    let keys = sonar.edit(|model| {
        model.add_project("acme", "big", "Big");
        model.add_issues("big", "main", COUNT)
    });
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    import(&gateway, "acme", &["big"]);
    (sonar, gateway, keys.into_iter().collect())
}

fn wait_up_to_date(gateway: &Gateway, name: &str) -> Value {
    gateway.wait_for(PATIENCE, &format!("{name} to be up to date"), |gateway| {
        Some(gateway.json(&["destination", "show", name])).filter(|shown| shown["state"] == "up_to_date")
    })
}

#[test]
fn a_kill_amid_the_first_push_to_defectdojo_makes_nothing_twice_and_leaves_nothing_out() {
    let (_sonar, gateway, keys) = full();
    let dojo = DefectDojo::start();
    // The third file is taken, and half of its way is done, when the daemon dies.
    let files = std::sync::atomic::AtomicUsize::new(0);
    let hold = dojo.hold_when(Moment::BeforeAnswering, move |call| {
        let is_file = call.is_reimport() && !call.rows().is_empty();
        is_file && files.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 2
    });
    let url = dojo.url();
    gateway.json_with(&["destination", "add", "defectdojo", "dojo", "--url", &url, "--token-file", "-"], &dojo.token());
    hold.wait_held(1);
    let there = dojo.edit(|model| model.findings.len());
    assert!((1_000..COUNT).contains(&there), "{there} are there");
    let gateway = gateway.restart(Gateway::kill);
    hold.release();
    wait_up_to_date(&gateway, "dojo");
    let there = dojo.edit(|model| {
        let active = model.findings.values().filter(|one| one.status.active);
        active.filter_map(|one| one.unique_id.clone()).collect::<BTreeSet<String>>()
    });
    assert_eq!(there, keys);
    assert_eq!(dojo.edit(|model| model.findings.len()), COUNT, "nothing is there twice");
    assert_eq!(gateway.json(&["destination", "dead-letters", "dojo"])["dead_letters"], serde_json::json!([]));
}

#[test]
fn a_kill_amid_the_first_push_to_conviso_makes_nothing_twice_and_leaves_nothing_out() {
    let (_sonar, gateway, keys) = full();
    let conviso = Conviso::start();
    let gate = Arc::new(Gate::default());
    conviso.fault_times("batchCreateOrUpdateFindings", Fault::Waits(Arc::clone(&gate)), 21, 1);
    let url = conviso.url();
    let add =
        ["destination", "add", "conviso", "conviso", "--url", &url, "--option", "company=42", "--token-file", "-"];
    gateway.json_with(&add, Conviso::KEY);
    gate.wait_held();
    let there = conviso.edit(|model| model.issues.len());
    assert!((1_000..COUNT).contains(&there), "{there} are there");
    let gateway = gateway.restart(Gateway::kill);
    gate.open();
    wait_up_to_date(&gateway, "conviso");
    let all: Vec<String> = conviso.edit(|model| model.issues.iter().filter_map(|one| one.tool_id.clone()).collect());
    assert_eq!(all.len(), COUNT, "nothing is there twice");
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), keys);
    // What was lost is looked for once, and what follows is not.
    let searches = conviso.calls().iter().filter(|call| call.variables["filters"]["assetIds"].is_array()).count();
    assert!(searches <= COUNT / 100 + 1, "{searches} pages were looked through");
}

#[test]
fn a_kill_amid_the_first_events_tells_each_finding_once_to_whoever_remembers_ids() {
    let (_sonar, gateway, keys) = full();
    let receiver = Receiver::start(SECRET);
    receiver.hold_at(1_007);
    let url = receiver.url();
    gateway.json_with(&["destination", "add", "events", "siem", "--url", &url, "--token-file", "-"], SECRET);
    receiver.wait_held();
    let gateway = gateway.restart(Gateway::kill);
    receiver.release();
    wait_up_to_date(&gateway, "siem");
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for event in receiver.events() {
        if let Some(key) = event["data"]["key"].as_str() {
            *told.entry(key.to_owned()).or_default() += 1;
        }
    }
    assert!(told.values().all(|times| *times == 1), "an event came under two ids");
    assert_eq!(told.into_keys().collect::<BTreeSet<_>>(), keys);
    let again = receiver.calls().len() - receiver.events().len();
    assert!(again <= 20, "{again} were told again");
}
