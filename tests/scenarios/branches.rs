//! Branches that move, are renamed, come late or go: nothing is closed because of it, and nothing is held twice.

use hydrophone::domain::schedule::Reason;
use serde_json::Value;

use crate::calls::{deliveries, delivery, idle, settled};
use crate::steps::{
    ALL_STATES, CLOUD, NEWEST_SERVER, assert_tells, branch, conditions, count, inventory, members, organization,
    sonar_with, states, sync, text, told, vulnerability,
};
use crate::support::gateway::Gateway;
use crate::support::inside::Inside;
use crate::support::sonar::{Fault, Mode, Sonar, Target};
use crate::support::{connect, findings, hook_up};

const LIST: &str = "api/project_branches/list";

/// What an import can choose.
const ONLY_MAIN: &[&str] = &[];
const EVERY_BRANCH: &[&str] = &["--branch", "*"];

/// Every kind of SonarQube with every kind of choice.
fn each() -> impl Iterator<Item = (Mode, &'static [&'static str])> {
    [CLOUD, NEWEST_SERVER].into_iter().flat_map(|mode| [(mode, ONLY_MAIN), (mode, EVERY_BRANCH)])
}

/// A gateway that holds what was chosen of `shop`, and hears of analyses.
fn holding(sonar: &Sonar, chosen: &[&str]) -> Gateway {
    let gateway = Gateway::start();
    connect(&gateway, sonar);
    let line = ["project", "import", organization(sonar), "--project", "shop", "--wait"];
    gateway.json(&[&line[..], chosen].concat());
    hook_up(&gateway, sonar, organization(sonar));
    gateway
}

/// A SonarQube with two branches, of which `main` is the main one.
fn sonar_with_develop(mode: Mode) -> Sonar {
    let sonar = sonar_with(mode, &["main-A", "main-B"]);
    sonar.edit(|model| {
        model.add_branch("shop", "develop");
        model.add_issue("shop", "develop", vulnerability("develop-A"));
    });
    sonar
}

/// Analyses a branch, which opens one finding; returns the number of the delivery that told of it.
fn analysed<'a>(gateway: &Gateway, sonar: &Sonar, target: impl Into<Target<'a>>, opens: &str) -> String {
    sonar.forget_deliveries();
    sonar.analyse("shop", target, |analysis| {
        analysis.open(vulnerability(opens));
    });
    assert_eq!(sonar.wait_deliveries(1)[0].status, Some(202));
    text(&deliveries(gateway)[0], "id")
}

/// Key, branch and state of each finding.
fn places(gateway: &Gateway) -> Vec<String> {
    members(gateway, "shop", &["key", "branch", "state"])
}

/// The same, with those of branches that Sonar does not list any more.
fn all_places(gateway: &Gateway) -> Vec<String> {
    let all = findings(gateway, &[&["--project", "shop", "--retired"][..], &ALL_STATES].concat());
    let shown = |one: &Value| ["key", "branch", "state"].map(|name| text(one, name)).join(" ");
    let mut places: Vec<_> = all.iter().map(shown).collect();
    places.sort();
    places
}

/// The names of the branches that are held, the main one with a star.
fn branches(gateway: &Gateway, organization: &str) -> Vec<String> {
    let project = gateway.json(&["project", "show", organization, "shop"]);
    let shown = |branch: &Value| {
        let star = if branch["main"] == true { "*" } else { "" };
        format!("{}{star}", text(branch, "name"))
    };
    let mut names: Vec<_> = project["branches"].as_array().unwrap().iter().map(shown).collect();
    names.sort();
    names
}

/// Findings that were held before are the same ones, under the same ids.
#[track_caller]
fn assert_kept(gateway: &Gateway, before: &[Value]) {
    let after = inventory(gateway, "shop");
    for finding in before {
        let same = after.iter().filter(|one| one["key"] == finding["key"]).collect::<Vec<_>>();
        assert_eq!(same.len(), 1, "{} is held once", finding["key"]);
        assert_eq!((&same[0]["id"], &same[0]["branch"]), (&finding["id"], &finding["branch"]), "{}", finding["key"]);
    }
}

/// Each branch has findings of its own in Sonar. If the former main branch's scope were taken for the new one's, its
/// findings would be missing there and be closed, and those of the new main branch would be held twice.
#[test]
fn another_main_branch_closes_nothing_and_holds_nothing_twice() {
    for (mode, chosen) in each() {
        let sonar = sonar_with_develop(mode);
        let gateway = holding(&sonar, chosen);
        let before = inventory(&gateway, "shop");
        sonar.edit(|model| model.set_main("shop", "develop"));
        let id = analysed(&gateway, &sonar, "develop", "develop-B");
        settled(&gateway, &id, "synced");
        let mut expected = vec![
            "develop-A develop open".to_owned(),
            "develop-B develop open".to_owned(),
            "main-A main open".to_owned(),
            "main-B main open".to_owned(),
        ];
        assert_eq!(places(&gateway), expected, "{mode:?} {chosen:?}");
        assert_eq!(branches(&gateway, organization(&sonar)), ["develop*", "main"], "{mode:?} {chosen:?}");
        assert_kept(&gateway, &before);

        // The former main branch is read on, as any other branch that is held.
        let id = analysed(&gateway, &sonar, "main", "main-C");
        settled(&gateway, &id, "synced");
        sync(&gateway);
        expected.push("main-C main open".to_owned());
        assert_eq!(places(&gateway), expected, "{mode:?} {chosen:?}");
        for name in ["develop", "main"] {
            let branch = branch(&gateway, organization(&sonar), "shop", name);
            assert_eq!((&branch["complete"], &branch["error"]), (&true.into(), &Value::Null), "{branch}");
            assert_eq!(branch["sonar_total"], branch["stored_total"], "{branch}");
        }

        assert_eq!(gateway.cli(&["project", "remove", organization(&sonar), "shop"]).code, 0);
        gateway.wait("all findings to be deleted", |gateway| {
            let inventory = gateway.json(&["status"])["inventory"].clone();
            let open: u64 =
                inventory["open"].as_array().unwrap().iter().map(|one| one["count"].as_u64().unwrap()).sum();
            (open == 0 && inventory["closed"] == 0 && inventory["projects"] == 0).then_some(())
        });
        assert_eq!(findings(&gateway, &[]).len(), 0);
    }
}

#[test]
fn another_main_branch_is_found_without_any_webhook() {
    for (mode, chosen) in each() {
        let sonar = sonar_with_develop(mode);
        let gateway = holding(&sonar, chosen);
        let before = inventory(&gateway, "shop");
        sonar.edit(|model| {
            model.set_main("shop", "develop");
            model.fix("main-B");
        });
        sync(&gateway);
        idle(&gateway);
        let expected = ["develop-A develop open", "main-A main open", "main-B main fixed"];
        assert_eq!(places(&gateway), expected, "{mode:?} {chosen:?}");
        assert_eq!(branches(&gateway, organization(&sonar)), ["develop*", "main"], "{mode:?} {chosen:?}");
        assert_kept(&gateway, &before);
    }
}

#[test]
fn a_main_branch_that_moves_there_and_back_is_as_it_was() {
    for (mode, chosen) in each() {
        let sonar = sonar_with_develop(mode);
        let gateway = holding(&sonar, chosen);
        for (main, opens) in [("develop", "develop-B"), ("main", "main-C")] {
            sonar.edit(|model| model.set_main("shop", main));
            let id = analysed(&gateway, &sonar, main, opens);
            settled(&gateway, &id, "synced");
        }
        let expected = [
            "develop-A develop open",
            "develop-B develop open",
            "main-A main open",
            "main-B main open",
            "main-C main open",
        ];
        assert_eq!(places(&gateway), expected, "{mode:?} {chosen:?}");
        assert_eq!(branches(&gateway, organization(&sonar)), ["develop", "main*"], "{mode:?} {chosen:?}");
    }
}

#[test]
fn a_renamed_main_branch_keeps_its_scope_and_its_findings() {
    for (mode, chosen) in each() {
        let sonar = sonar_with(mode, &["A", "B"]);
        let gateway = holding(&sonar, chosen);
        let ids = members(&gateway, "shop", &["key", "id"]);
        sonar.edit(|model| model.rename_branch("shop", "main", "trunk"));
        let id = analysed(&gateway, &sonar, "trunk", "C");
        settled(&gateway, &id, "synced");
        assert_eq!(branches(&gateway, organization(&sonar)), ["trunk*"], "{mode:?} {chosen:?}");
        assert_eq!(places(&gateway), ["A trunk open", "B trunk open", "C trunk open"], "{mode:?} {chosen:?}");
        assert_eq!(members(&gateway, "shop", &["key", "id"])[..2], ids, "{mode:?} {chosen:?}");
    }
}

/// The former main branch is gone and another that is held is the main one: this is no rename either.
#[test]
fn a_main_branch_deleted_after_another_took_its_place_closes_nothing_and_is_told() {
    for mode in [CLOUD, NEWEST_SERVER] {
        let sonar = sonar_with_develop(mode);
        let gateway = holding(&sonar, EVERY_BRANCH);
        sonar.edit(|model| {
            model.set_main("shop", "develop");
            model.delete_branch("shop", "main");
        });
        let id = analysed(&gateway, &sonar, "develop", "develop-B");
        settled(&gateway, &id, "synced");
        sync(&gateway);
        assert_eq!(places(&gateway), ["develop-A develop open", "develop-B develop open"], "{mode:?}");
        let all = ["develop-A develop open", "develop-B develop open", "main-A main open", "main-B main open"];
        assert_eq!(all_places(&gateway), all, "{mode:?}");
        assert_eq!(branches(&gateway, organization(&sonar)), ["develop*", "main"]);
        assert_tells(&told(&gateway, "branch_retired"), &["shop: branch main is no longer listed by SonarQube since"]);
    }
}

/// Sonar tells of an analysis before its list of branches, read from an index, has caught up.
#[test]
fn a_delivery_for_a_branch_that_sonar_does_not_list_yet_waits_for_it() {
    for mode in [CLOUD, NEWEST_SERVER] {
        let sonar = sonar_with(mode, &["A"]);
        sonar.edit(|model| model.add_branch("shop", "release/1"));
        let gateway = holding(&sonar, &["--branch", "release/*"]);
        sonar.edit(|model| {
            model.add_branch("shop", "release/2");
            model.add_branch("shop", "feature/x");
        });
        let older = r#"{"branches":[{"name":"main","isMain":true,"type":"LONG","status":{}},
            {"name":"release/1","isMain":false,"type":"LONG","status":{}}]}"#;
        sonar.fault(LIST, Fault::json(200, older, 1));
        let id = analysed(&gateway, &sonar, "release/2", "fresh");
        // The list was asked for and had no such branch: what is left to do is planned for later.
        gateway.wait("the branches to be asked for", |gateway| {
            (gateway.json(&["status"])["sync"]["later"] == 1).then_some(())
        });
        assert_eq!(delivery(&gateway, &id)["outcome"], "queued", "{mode:?}");
        assert_eq!(states(&gateway, "shop"), Vec::<String>::new(), "{mode:?}");

        // One that nobody chose does not wait with it.
        let other = analysed(&gateway, &sonar, "feature/x", "other");
        assert_eq!(delivery(&gateway, &other)["outcome"], "not_selected", "{mode:?}");

        sync(&gateway);
        settled(&gateway, &id, "synced");
        assert_eq!(places(&gateway), ["fresh release/2 open"], "{mode:?}");
    }
}

#[test]
fn a_branch_that_sonar_lists_late_is_asked_for_again_unasked() {
    let sonar = sonar_with(CLOUD, &["A"]);
    sonar.edit(|model| model.add_branch("shop", "release/1"));
    let gateway = holding(&sonar, &["--branch", "release/*"]);
    sonar.edit(|model| model.add_branch("shop", "release/2"));
    let older = r#"{"branches":[{"name":"release/1","isMain":false,"type":"LONG"}]}"#;
    sonar.fault(LIST, Fault::json(200, older, 1));
    let id = analysed(&gateway, &sonar, "release/2", "fresh");
    settled(&gateway, &id, "synced");
    assert_eq!(places(&gateway), ["fresh release/2 open"]);
}

/// The list is put together from an index and a database, which may both name a branch for a moment.
#[test]
fn a_branch_that_sonar_lists_twice_is_read_once() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let inside = Inside::connected(&sonar, sonar.token());
    let shop = inside.import("shop", &["*"]);
    let twice = r#"{"branches":[{"name":"main","isMain":false,"type":"LONG"},
        {"name":"main","isMain":true,"type":"LONG"}]}"#;
    sonar.fault_always(LIST, Fault::json(200, twice, 1));
    sonar.edit(|model| model.fix("A"));
    sonar.forget_requests();
    inside.ask(shop, Reason::Manual);
    inside.settle();
    assert_eq!(inside.states(shop, "main"), ["A fixed"]);
    let (_, main) = inside.scope(shop, "main").unwrap();
    assert_eq!((main.main, main.complete, main.error), (true, true, None));
    assert_eq!(count(&sonar.requests(), "/api/project_branches/list"), 1);
}

/// Deleted branches are deleted on purpose, mostly: no error, nothing closed, and nothing of them among what is to be
/// done. A branch that is there again is the one that was held.
#[test]
fn a_branch_or_pull_request_deleted_in_sonar_is_kept_hidden_until_it_is_back() {
    for mode in [CLOUD, NEWEST_SERVER] {
        let sonar = sonar_with_develop(mode);
        let fill = |model: &mut crate::support::sonar::Model| {
            model.add_pull_request("shop", "7", "develop", "main");
            model.add_issue("shop", Target::PullRequest("7"), vulnerability("request-A"));
        };
        sonar.edit(fill);
        let gateway = holding(&sonar, &["--branch", "*", "--pull-requests"]);
        let organization = organization(&sonar);
        let before = inventory(&gateway, "shop");
        assert_eq!(before.len(), 4);
        sonar.edit(|model| {
            model.delete_branch("shop", Target::PullRequest("7"));
            model.delete_branch("shop", "develop");
        });
        sync(&gateway);
        for name in ["7", "develop"] {
            let branch = branch(&gateway, organization, "shop", name);
            assert_eq!((&branch["error"], &branch["stored_total"]), (&Value::Null, &1.into()), "{branch}");
            assert_ne!(branch["retired_at"], Value::Null, "{branch}");
        }
        let main = branch(&gateway, organization, "shop", "main");
        let standing = (&main["complete"], &main["error"], &main["retired_at"]);
        assert_eq!(standing, (&true.into(), &Value::Null, &Value::Null));

        assert_eq!(places(&gateway), ["main-A main open", "main-B main open"], "{mode:?}");
        assert_eq!(all_places(&gateway).len(), 4);
        assert_eq!(gateway.json(&["finding", "list"])["total"], 2);
        assert_eq!(gateway.json(&["finding", "list", "--retired"])["total"], 4);
        let named = findings(&gateway, &["--branch", "develop"]);
        assert_eq!((named.len(), &named[0]["retired"]), (1, &true.into()));
        assert_eq!(findings(&gateway, &[])[0]["retired"], false);
        assert_eq!(findings(&gateway, &["--search", "develop"]).len(), 0);
        assert_eq!(findings(&gateway, &["--search", "develop", "--retired"]).len(), 1);
        let exported = |more: &[&str]| {
            let said = gateway.cli(&[&["export", "--format", "csv"][..], more].concat());
            said.out.lines().count() - 1
        };
        assert_eq!((exported(&[]), exported(&["--retired"])), (2, 4));
        let status = gateway.json(&["status"]);
        let open = status["inventory"]["open"].as_array().unwrap().iter().map(|one| one["count"].as_u64().unwrap());
        assert_eq!(open.sum::<u64>(), 2);
        let told = told(&gateway, "branch_retired");
        assert_tells(&told, &["shop: branch develop is no longer listed", "its 1 open findings are kept, and hidden"]);
        assert!(gateway.cli(&["project", "show", organization, "shop"]).out.contains("not listed by SonarQube since"));

        // Nobody asks for what is not listed.
        sonar.forget_requests();
        sync(&gateway);
        assert!(sonar.requests().iter().all(|call| call.param("branch").is_none_or(|name| name != "develop")));

        sonar.edit(fill);
        sonar.edit(|model| {
            model.add_branch("shop", "develop");
            model.add_issue("shop", "develop", vulnerability("develop-A"));
        });
        sync(&gateway);
        assert_kept(&gateway, &before);
        assert_eq!(places(&gateway).len(), 4, "{mode:?}");
        assert_eq!(branch(&gateway, organization, "shop", "develop")["retired_at"], Value::Null);
        assert!(!conditions(&gateway).contains(&"branch_retired".to_owned()));
    }
}

#[test]
fn a_webhook_brings_a_branch_back_that_was_not_listed_for_a_while() {
    let sonar = sonar_with_develop(CLOUD);
    let gateway = holding(&sonar, EVERY_BRANCH);
    sonar.edit(|model| model.delete_branch("shop", "develop"));
    sync(&gateway);
    assert_eq!(places(&gateway).len(), 2);
    sonar.edit(|model| {
        model.add_branch("shop", "develop");
        model.add_issue("shop", "develop", vulnerability("develop-A"));
    });
    let id = analysed(&gateway, &sonar, "develop", "develop-B");
    settled(&gateway, &id, "synced");
    let expected = ["develop-A develop open", "develop-B develop open", "main-A main open", "main-B main open"];
    assert_eq!(places(&gateway), expected);
    assert!(!conditions(&gateway).contains(&"branch_retired".to_owned()));
}
