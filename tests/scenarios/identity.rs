//! A finding stays the one that it is: under another key, in another project's name, of another kind.

use serde_json::Value;

use crate::calls::{Hook, deliveries, settled};
use crate::steps::{
    CLOUD, NEWEST_SERVER, assert_refused, assert_tells, conditions, finding, holding_shop, members, organization,
    sonar_with, states, sync, text, told, told_of, vulnerability,
};
use crate::support::gateway::Gateway;
use crate::support::sonar::{Hotspot, Sonar};
use crate::support::{import, trust};

/// The conditions that tell of trouble with a project.
fn trouble(gateway: &Gateway) -> Vec<String> {
    let about = ["project_moved", "project_unread", "sync_failed", "scope_incomplete"];
    conditions(gateway).into_iter().filter(|code| about.contains(&code.as_str())).collect()
}

/// Keys of issues survive when a project gets another key. Followed as a new project, every finding would get another
/// id; followed unasked, a copy of the project could take its place.
#[test]
fn a_renamed_project_is_told_and_keeps_every_finding_once_a_person_says_so() {
    for mode in [CLOUD, NEWEST_SERVER] {
        let sonar = sonar_with(mode, &["A", "B", "C"]);
        let gateway = holding_shop(&sonar);
        let organization = organization(&sonar);
        let hook = Hook::of_project(&gateway, organization, "shop");
        trust(&gateway, &sonar);
        let url = format!("{}{}", hook.address, hook.path);
        sonar.edit(|model| model.add_webhook(Some("shop"), &url, Some(&hook.secret)));
        let before = members(&gateway, "shop", &["key", "id", "state", "first_seen_at"]);
        sonar.edit(|model| model.rename_project("shop", "store"));
        let said = gateway.cli(&["sync", "--wait", "--timeout", "30"]);
        assert_eq!(said.code, 1, "{said:?}");
        assert_eq!(members(&gateway, "shop", &["key", "id", "state", "first_seen_at"]), before, "{mode:?}");
        let remedy = format!("hydrophone project rename sonar/{organization} shop store");
        let parts = ["shop is not shown by SonarQube any more; 3 of 3 of its findings are in project store", &remedy];
        assert_tells(&told(&gateway, "project_moved"), &parts);

        gateway.json(&["project", "rename", organization, "shop", "store", "--wait", "--timeout", "30"]);
        assert_eq!(members(&gateway, "store", &["key", "id", "state", "first_seen_at"]), before, "{mode:?}");
        assert_eq!(trouble(&gateway), Vec::<String>::new());
        // Sonar's own words for the place hold the project's key.
        assert_eq!(told_of(&gateway, &finding(&gateway, "store", "A")), ["opened", "updated"]);
        let gone = gateway.cli(&["project", "show", organization, "shop"]);
        assert_refused(&gone, &["project shop of", "is not imported"]);

        // Its own webhook has gone with it.
        sonar.analyse("store", "main", |analysis| {
            analysis.fix("A");
            analysis.open(vulnerability("D"));
        });
        assert_eq!(sonar.wait_deliveries(1)[0].status, Some(202), "{mode:?}");
        settled(&gateway, &text(&deliveries(&gateway)[0], "id"), "synced");
        assert_eq!(states(&gateway, "store"), ["A fixed", "B open", "C open", "D open"], "{mode:?}");
        let gateway = gateway.restart(Gateway::kill);
        assert_eq!(members(&gateway, "store", &["key", "id"])[1..3], members_of(&before)[1..3], "{mode:?}");
    }
}

/// Key and id of what was shown with more.
fn members_of(shown: &[String]) -> Vec<String> {
    shown.iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_project_that_is_shown_again_has_not_moved() {
    let sonar = sonar_with(CLOUD, &["A", "B"]);
    let gateway = holding_shop(&sonar);
    sonar.edit(|model| model.rename_project("shop", "store"));
    assert_eq!(gateway.cli(&["sync", "--wait", "--timeout", "30"]).code, 1);
    assert!(trouble(&gateway).contains(&"project_moved".to_owned()));
    sonar.edit(|model| model.rename_project("store", "shop"));
    sync(&gateway);
    assert_eq!(trouble(&gateway), Vec::<String>::new());
    assert_eq!(states(&gateway, "shop"), ["A open", "B open"]);
}

#[test]
fn a_project_is_not_renamed_to_one_that_is_another() {
    let sonar = sonar_with(CLOUD, &["A"]);
    sonar.edit(|model| {
        model.add_project("acme", "store", "Store");
        model.add_issue("store", "main", vulnerability("S"));
        model.add_project("acme", "other", "Other");
    });
    let gateway = holding_shop(&sonar);
    import(&gateway, "acme", &["store"]);
    let rename = |to: &str| gateway.cli(&["project", "rename", "acme", "shop", to]);
    assert_refused(&rename("shop"), &["project shop has this key already"]);
    assert_refused(&rename("nowhere"), &["Sonar shows no project nowhere"]);
    assert_refused(&rename("other"), &["Sonar still shows project shop", "project import"]);
    assert_refused(&rename("store"), &["is imported itself", "remove one of the two"]);
    sonar.edit(|model| {
        model.delete_project("store");
        model.rename_project("shop", "store");
    });
    assert_refused(&rename("store"), &["is imported itself", "remove one of the two"]);
    assert_eq!((states(&gateway, "shop"), states(&gateway, "store")), (vec!["A open".into()], vec!["S open".into()]));
    let id = finding(&gateway, "shop", "A")["id"].clone();

    // As the message says.
    assert_eq!(gateway.cli(&["project", "remove", "acme", "store"]).code, 0);
    gateway.json(&["project", "rename", "acme", "shop", "store", "--wait", "--timeout", "30"]);
    assert_eq!(finding(&gateway, "store", "A")["id"], id);
}

/// Hotspots on lines of their own, beside issues enough that closing a few needs no second read.
fn sonar_with_hotspots(places: &[(&str, u32)]) -> Sonar {
    let sonar = sonar_with(NEWEST_SERVER, &["A", "B", "C"]);
    sonar.edit(|model| {
        for (key, line) in places {
            model.add_hotspot("shop", "main", Hotspot::new("java:S4502", "src/h.java", *line).with_key(key));
        }
    });
    sonar
}

/// Newer Servers raise issues where older ones had hotspots: the same findings, not one closed and one new.
#[test]
fn a_hotspot_that_became_an_issue_is_the_same_finding() {
    for keep_key in [false, true] {
        let sonar = sonar_with_hotspots(&[("hot1", 4), ("hot2", 9)]);
        let gateway = holding_shop(&sonar);
        let before = finding(&gateway, "shop", "hot1");
        let key = sonar.edit(|model| model.convert_hotspot("hot1", keep_key));
        sync(&gateway);
        let after = finding(&gateway, "shop", &key);
        assert_eq!((&after["id"], &after["first_seen_at"]), (&before["id"], &before["first_seen_at"]), "{keep_key}");
        assert_eq!((&before["kind"], &after["kind"]), (&"hotspot".into(), &"vulnerability".into()), "{keep_key}");
        assert_eq!(told_of(&gateway, &after), ["opened", if keep_key { "updated" } else { "moved" }]);
        assert_eq!(members(&gateway, "shop", &["key"]).len(), 5, "nothing is held twice");
        let closed: Vec<Value> = crate::support::findings(&gateway, &["--state", "fixed,removed"]);
        assert_eq!(closed, Vec::<Value>::new(), "{keep_key}");
    }
}

#[test]
fn hotspots_that_cannot_be_told_apart_end_as_issues_begin() {
    let sonar = sonar_with_hotspots(&[("hot1", 4), ("hot2", 4)]);
    let gateway = holding_shop(&sonar);
    let keys = sonar.edit(|model| ["hot1", "hot2"].map(|key| model.convert_hotspot(key, false)));
    sync(&gateway);
    for key in ["hot1", "hot2"] {
        assert_eq!(told_of(&gateway, &finding(&gateway, "shop", key)), ["opened", "removed"]);
    }
    for key in keys {
        assert_eq!(told_of(&gateway, &finding(&gateway, "shop", &key)), ["opened"]);
    }
}
