//! How many findings were open on each day, as the change log, filters and removals leave it.
//!
//! What can go wrong: a change is committed and the day's row is not, a row is written twice, the first read of a project
//! looks as if all its findings had been opened that day, or what lists no longer show is still counted.

use serde_json::{Value, json};

use crate::steps::{CLOUD, holding_shop, sonar_with, sync, vulnerability};
use crate::support::api;
use crate::support::gateway::Gateway;
use crate::support::sonar::{Severity, Sonar};

/// Today: what is open, opened and fixed, all severities together.
#[track_caller]
fn today(gateway: &Gateway) -> [u64; 3] {
    let trend = api::get(&gateway.state(), "trend?days=7");
    let day = trend["days"].as_array().unwrap().last().expect("something was held").clone();
    ["open", "opened", "fixed"].map(|name| sum(&day[name]))
}

fn sum(numbers: &Value) -> u64 {
    numbers.as_object().unwrap().values().map(|number| number.as_u64().unwrap()).sum()
}

fn shop(keys: &[&str]) -> (Sonar, Gateway) {
    let sonar = sonar_with(CLOUD, keys);
    let gateway = holding_shop(&sonar);
    (sonar, gateway)
}

#[test]
fn a_box_that_holds_nothing_has_no_days() {
    let gateway = Gateway::start();
    assert_eq!(api::get(&gateway.state(), "trend"), json!({ "days": [] }));
}

#[test]
fn each_change_is_in_the_day_that_it_was_committed_on() {
    let (sonar, gateway) = shop(&["A", "B", "C"]);
    assert_eq!(today(&gateway), [3, 0, 0], "the first read finds what was there before");
    sonar.edit(|model| {
        model.add_issue("shop", "main", vulnerability("D"));
        model.fix("A");
    });
    sync(&gateway);
    assert_eq!(today(&gateway), [3, 1, 1]);
    sonar.edit(|model| model.reopen("A"));
    sync(&gateway);
    assert_eq!(today(&gateway), [4, 2, 1], "what is back was opened again");
    // Nothing changed: nothing is counted twice.
    sync(&gateway);
    assert_eq!(today(&gateway), [4, 2, 1]);
    let gateway = gateway.restart(Gateway::kill);
    assert_eq!(today(&gateway), [4, 2, 1], "it is in the commits of the changes");
}

#[test]
fn severities_are_told_apart_and_a_change_of_one_is_no_news() {
    let (sonar, gateway) = shop(&["A", "B"]);
    sonar.edit(|model| model.set_severity("A", Severity::Minor));
    sync(&gateway);
    let trend = api::get(&gateway.state(), "trend");
    let day = &trend["days"][0];
    assert_eq!((day["open"]["low"].as_u64(), sum(&day["open"]), sum(&day["opened"])), (Some(1), 2, 0), "{day}");
}

#[test]
fn what_lists_do_not_show_does_not_count() {
    let (sonar, gateway) = shop(&["A", "B"]);
    sonar.edit(|model| {
        model.set_severity("A", Severity::Minor);
        model.add_project("acme", "desk", "Desk");
        model.add_issue("desk", "main", vulnerability("E"));
    });
    crate::support::import(&gateway, "acme", &["desk"]);
    sync(&gateway);
    assert_eq!(today(&gateway)[0], 3);
    gateway.json(&["organization", "filter", "acme", "--severity", "low"]);
    assert_eq!(today(&gateway)[0], 1, "a filter keeps the others back");
    gateway.json(&["organization", "filter", "acme", "--no-filter"]);
    assert_eq!(today(&gateway)[0], 3);
    gateway.json(&["project", "remove", "acme", "desk"]);
    assert_eq!(today(&gateway)[0], 2, "what was removed is not open any more");
}
