//! An organization's filter: everything is held, and only what passes is shown and passed on. Whatever is done to the
//! filter, nothing counts as fixed that is not; and an import can be tried out.

use std::sync::atomic::Ordering;

use hydrophone::domain::ids::ProjectKey;
use hydrophone::domain::passing::Choice;
use hydrophone::domain::selection::Selection;
use hydrophone::work::WorkError;
use hydrophone::work::foresee::{Allowance, Subject, foresee};
use serde_json::{Value, json};

use crate::support::conviso::Conviso;
use crate::support::gateway::Gateway;
use crate::support::inside::Inside;
use crate::support::receiver::Receiver;
use crate::support::sonar::{Call, Hotspot, Issue, Mode, Moment, Severity, Sonar};
use crate::support::{connect, findings, hook_up, import};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

fn issue(key: &str, severity: Severity) -> Issue {
    Issue::vulnerability("java:S5131", &format!("src/{key}.java"), 7).with_key(key).with_severity(severity)
}

/// A SonarQube with a project of two findings: A is critical, B is for information.
fn sonar() -> Sonar {
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        model.add_project("acme", "shop", "Web shop");
        model.add_issue("shop", "main", issue("A", Severity::Blocker));
        model.add_issue("shop", "main", issue("B", Severity::Info));
    });
    sonar
}

fn gateway(sonar: &Sonar) -> Gateway {
    let gateway = Gateway::start();
    connect(&gateway, sonar);
    gateway
}

/// With both findings held, and webhooks.
fn shop() -> (Sonar, Gateway) {
    let sonar = sonar();
    let gateway = gateway(&sonar);
    import(&gateway, "acme", &["shop"]);
    hook_up(&gateway, &sonar, "acme");
    (sonar, gateway)
}

fn keys(findings: &[Value]) -> Vec<&str> {
    let mut keys: Vec<&str> = findings.iter().map(|finding| finding["key"].as_str().unwrap()).collect();
    keys.sort_unstable();
    keys
}

fn wait_up_to_date(gateway: &Gateway, name: &str) {
    gateway.wait(&format!("{name} to be up to date"), |gateway| {
        (gateway.json(&["destination", "show", name])["state"] == "up_to_date").then_some(())
    });
}

/// Waits until a finding is held in a state.
fn wait_state(gateway: &Gateway, key: &str, state: &str) {
    gateway.wait(&format!("{key} to be {state}"), |gateway| {
        let all = findings(gateway, &["--filtered", "--state", "open,fixed,removed"]);
        all.iter().any(|finding| finding["key"] == key && finding["state"] == state).then_some(())
    });
}

#[test]
fn what_a_filter_keeps_back_is_held_and_counted_but_not_shown() {
    let sonar = sonar();
    let gateway = gateway(&sonar);
    let set = gateway.json(&["organization", "filter", "acme", "--min-severity", "high"]);
    assert_eq!(set["filter"], json!({"severities": ["critical", "high"], "kinds": []}));
    import(&gateway, "acme", &["shop"]);

    assert_eq!(keys(&findings(&gateway, &[])), ["A"]);
    let list = gateway.json(&["finding", "list"]);
    assert_eq!((&list["total"], &list["filtered"]), (&json!(1), &json!(1)));
    let text = gateway.cli(&["finding", "list"]).out;
    assert!(text.ends_with("1 of 1 shown\n1 more are kept back by a filter; --filtered shows them\n"), "{text}");
    let all = findings(&gateway, &["--filtered"]);
    assert_eq!(keys(&all), ["A", "B"]);
    let filtered = |finding: &Value| finding["filtered"] == true;
    assert_eq!(all.iter().filter(|finding| filtered(finding)).count(), 1);
    assert_eq!(keys(&findings(&gateway, &["--search", "src"])), ["A"]);
    let exported = |flags: &[&str]| {
        let document = gateway.json(&[&["export", "--format", "json"][..], flags].concat());
        document["findings"].as_array().unwrap().len()
    };
    assert_eq!((exported(&[]), exported(&["--filtered"])), (1, 2));

    // What is held is all that Sonar has, and says so.
    let project = gateway.json(&["project", "show", "acme", "shop"]);
    let branch = &project["branches"][0];
    assert_eq!((&branch["sonar_total"], &branch["stored_total"]), (&json!(2), &json!(2)));
    assert_eq!((&branch["complete"], &branch["passing_total"]), (&json!(true), &json!(1)));
    let inventory = gateway.json(&["status"])["inventory"].clone();
    assert_eq!(
        (&inventory["filtered"], &inventory["open"][0]),
        (&json!(1), &json!({"severity": "critical", "count": 1}))
    );
    assert_eq!(inventory["open"][4], json!({"severity": "info", "count": 0}));
    let asset = gateway.json(&["asset", "show", "Web shop"]);
    assert_eq!(asset["open"][4], json!({"severity": "info", "count": 0}));
    assert!(gateway.cli(&["organization", "filter", "acme"]).out.contains("We hold 2, 1 pass the filter."));

    // Neither a check of the source nor a restart forgets it.
    gateway.json(&["source", "check", "sonar"]);
    let gateway = gateway.restart(Gateway::kill);
    let organizations = gateway.json(&["organization", "list"]);
    assert_eq!(organizations["organizations"][0]["filter"]["severities"], json!(["critical", "high"]));
    gateway.json(&["organization", "filter", "acme", "--no-filter"]);
    assert_eq!(keys(&findings(&gateway, &[])), ["A", "B"]);
    assert_eq!(gateway.json(&["finding", "list"])["filtered"], 0);
    assert_eq!(gateway.json(&["project", "show", "acme", "shop"])["branches"][0]["passing_total"], Value::Null);
}

#[test]
fn a_kind_may_pass_alone() {
    let sonar = Sonar::start(Mode::Server { version: "9.9.0.65466", mqr: false });
    sonar.edit(|model| {
        model.add_project("lab", "shop", "Web shop");
        model.add_issue("shop", "main", issue("A", Severity::Blocker));
        model.add_hotspot("shop", "main", Hotspot::new("java:S2068", "src/h.java", 3).with_key("H"));
    });
    let gateway = gateway(&sonar);
    gateway.json(&["organization", "filter", "sonar", "--kind", "hotspot"]);
    let preview = gateway.json(&["project", "import", "sonar", "--project", "shop", "--dry-run"]);
    let branch = &preview["projects"][0]["branches"][0];
    assert_eq!((&branch["sonar_total"], &branch["passing"], &branch["create"]), (&json!(2), &json!(1), &json!(2)));
    assert_eq!(branch["left_out"], json!({"of a kind that its organization's filter keeps back": 1}));
    import(&gateway, "sonar", &["shop"]);
    assert_eq!(keys(&findings(&gateway, &[])), ["H"]);
    assert_eq!(keys(&findings(&gateway, &["--filtered"])), ["A", "H"]);
}

/// A filter that is narrowed must not have the platforms believe that what does not pass any more was fixed: not the one
/// that is told findings, not the one that is told changes, not the one that is told whole branches, where what is
/// absent counts as gone. All of them go on to hear of what they know until it really ends, and of nothing new.
#[test]
fn what_falls_out_of_a_narrowed_filter_is_not_told_as_fixed_until_it_is() {
    let (sonar, gateway) = shop();
    let (conviso, receiver, folder) = (Conviso::start(), Receiver::start(SECRET), tempfile::tempdir().unwrap());
    let (url, events, path) = (conviso.url(), receiver.url(), folder.path().to_str().unwrap());
    let add = ["destination", "add", "conviso", "conviso", "--url", &url, "--option", "company=42"];
    gateway.json_with(&[&add[..], &["--token-file", "-"]].concat(), Conviso::KEY);
    gateway.json_with(&["destination", "add", "events", "siem", "--url", &events, "--token-file", "-"], SECRET);
    gateway.json(&["destination", "add", "sarif", "files", "--url", path]);
    for name in ["conviso", "siem", "files"] {
        wait_up_to_date(&gateway, name);
    }
    let on_conviso = |key: &str| {
        let of = |model: &mut crate::support::conviso::Model| {
            let found = model.issues.iter().find(|issue| issue.tool_id.as_deref() == Some(key));
            found.map(|issue| issue.status.clone())
        };
        conviso.edit(of)
    };
    let in_file = || {
        let mut files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let file = files.find(|file| file.extension().is_some_and(|end| end == "sarif")).unwrap();
        let log: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let results = log["runs"][0]["results"].as_array().unwrap().clone();
        let mut files: Vec<String> = results
            .iter()
            .map(|result| {
                result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap().to_owned()
            })
            .collect();
        files.sort_unstable();
        files
    };
    assert_eq!(in_file(), ["src/A.java", "src/B.java"]);

    let set = gateway.json(&["organization", "filter", "acme", "--severity", "critical"]);
    assert_eq!((&set["open"], &set["passing"], &set["told_anew"]), (&json!(2), &json!(1), &json!([])));
    // Something else changes, so that the branch is told anew; C does not pass, and D does.
    sonar.analyse("shop", "main", |analysis| {
        analysis.open(issue("C", Severity::Info));
        analysis.open(issue("D", Severity::Blocker));
    });
    wait_state(&gateway, "D", "open");
    for name in ["conviso", "siem", "files"] {
        wait_up_to_date(&gateway, name);
    }
    assert_eq!(in_file(), ["src/A.java", "src/B.java", "src/D.java"]);
    assert!(on_conviso("B").is_some_and(|status| status != "FIX_ACCEPTED"));
    assert_eq!((on_conviso("C"), on_conviso("D").is_some()), (None, true));
    let preview = gateway.json(&["destination", "preview", "conviso"]);
    assert_eq!(preview["left_out"], json!({"of a severity that its organization's filter keeps back": 1}));
    assert_eq!((&preview["open"], &preview["same"], &preview["close"]), (&json!(4), &json!(3), &json!(0)));

    // Now it is really gone, and so is what nobody was told of.
    sonar.analyse("shop", "main", |analysis| {
        analysis.fix("B");
        analysis.fix("C");
    });
    wait_state(&gateway, "C", "fixed");
    for name in ["conviso", "siem", "files"] {
        wait_up_to_date(&gateway, name);
    }
    assert_eq!(in_file(), ["src/A.java", "src/D.java"]);
    assert_eq!((on_conviso("B").as_deref(), on_conviso("C")), (Some("FIX_ACCEPTED"), None));
    let told: Vec<String> = receiver
        .events()
        .iter()
        .filter(|event| event["data"]["key"].is_string())
        .map(|event| format!("{} {}", event["data"]["key"].as_str().unwrap(), event["data"]["state"].as_str().unwrap()))
        .collect();
    assert_eq!(told, ["A open", "B open", "D open", "B fixed"]);
}

/// A finding may fall out of a filter that nobody touched: its severity is lowered in SonarQube. A platform that is told
/// whole branches would take it for fixed, and one that is told changes would never hear of its end. One that came later
/// knows nothing of it.
#[test]
fn what_falls_out_of_a_filter_by_its_severity_is_told_to_its_end() {
    let sonar = sonar();
    let gateway = gateway(&sonar);
    gateway.json(&["organization", "filter", "acme", "--min-severity", "medium"]);
    import(&gateway, "acme", &["shop"]);
    let receiver = Receiver::start(SECRET);
    let (folders, events) = ([tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()], receiver.url());
    let paths = [folders[0].path().to_str().unwrap(), folders[1].path().to_str().unwrap()];
    gateway.json_with(&["destination", "add", "events", "siem", "--url", &events, "--token-file", "-"], SECRET);
    // Its own filter counts as the organization's does.
    gateway.json(&["destination", "add", "sarif", "files", "--url", paths[0], "--severity", "critical"]);
    let read = |names: &[&str]| {
        gateway.json(&["sync", "acme", "shop", "--full", "--wait"]);
        for name in names {
            wait_up_to_date(&gateway, name);
        }
    };
    let in_file = |folder: usize| {
        let mut files = std::fs::read_dir(paths[folder]).unwrap().map(|entry| entry.unwrap().path());
        let file = files.find(|file| file.extension().is_some_and(|end| end == "sarif")).unwrap();
        let log: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let results = log["runs"][0]["results"].as_array().unwrap().clone();
        let file = |result: &Value| result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].clone();
        results.iter().map(file).collect::<Vec<Value>>()
    };
    read(&["siem", "files"]);
    assert_eq!(in_file(0), ["src/A.java"]);

    sonar.edit(|model| model.set_severity("A", Severity::Info));
    read(&["siem", "files"]);
    assert_eq!(in_file(0), ["src/A.java"], "it is not fixed");
    assert_eq!(findings(&gateway, &[]), [] as [Value; 0]);
    gateway.json(&["destination", "add", "sarif", "later", "--url", paths[1]]);
    sonar.edit(|model| model.add_issue("shop", "main", issue("C", Severity::Blocker)));
    read(&["siem", "files", "later"]);
    assert_eq!(in_file(1), ["src/C.java"]);

    sonar.edit(|model| model.fix("A"));
    read(&["siem", "files", "later"]);
    assert_eq!(in_file(0), ["src/C.java"]);
    let told: Vec<String> = receiver
        .events()
        .iter()
        .filter(|event| event["data"]["key"].is_string())
        .map(|event| ["key", "severity", "state"].map(|part| event["data"][part].as_str().unwrap()).join(" "))
        .collect();
    assert_eq!(told, ["A critical open", "A info open", "C critical open", "A info fixed"]);
}

#[test]
fn what_passes_a_widened_filter_is_told_without_being_asked_for() {
    let sonar = sonar();
    let gateway = gateway(&sonar);
    gateway.json(&["organization", "filter", "acme", "--severity", "critical"]);
    import(&gateway, "acme", &["shop"]);
    let conviso = Conviso::start();
    let url = conviso.url();
    let add = ["destination", "add", "conviso", "conviso", "--url", &url, "--option", "company=42"];
    gateway.json_with(&[&add[..], &["--token-file", "-"]].concat(), Conviso::KEY);
    let other = ["destination", "add", "conviso", "elsewhere", "--url", &url, "--option", "company=43"];
    let other = [&other[..], &["--token-file", "-", "--organization", "umbrella", "--unchecked", "--paused"]].concat();
    gateway.json_with(&other, Conviso::KEY);
    wait_up_to_date(&gateway, "conviso");
    let there = || {
        let of = |model: &mut crate::support::conviso::Model| {
            model.issues.iter().filter_map(|issue| issue.tool_id.clone()).collect::<Vec<_>>()
        };
        let mut keys = conviso.edit(of);
        keys.sort_unstable();
        keys
    };
    assert_eq!(there(), ["A"]);
    let widened = gateway.json(&["organization", "filter", "acme", "--min-severity", "info"]);
    assert_eq!((&widened["passing"], &widened["told_anew"]), (&json!(2), &json!(["conviso"])));
    gateway.wait("B on Conviso", |_| (there() == ["A", "B"]).then_some(()));
    wait_up_to_date(&gateway, "conviso");
    // The same in other words is no reason to tell it again.
    let same = gateway.json(&["organization", "filter", "acme", "--no-filter"]);
    assert_eq!(same["told_anew"], json!([]));
}

#[test]
fn an_import_can_be_tried_out() {
    let sonar = sonar();
    sonar.edit(|model| {
        model.add_project("acme", "empty", "Empty");
        model.add_branch("shop", "release/1");
    });
    let gateway = gateway(&sonar);
    gateway.json(&["organization", "filter", "acme", "--min-severity", "high"]);
    let dry_run = |flags: &[&str]| gateway.json(&[&["project", "import", "acme", "--dry-run"][..], flags].concat());
    let tried = dry_run(&["--all"]);
    let shop = tried["projects"].as_array().unwrap().iter().find(|project| project["key"] == "shop").unwrap();
    assert_eq!(
        (&shop["imported"], &shop["asset"], &shop["asset_is_new"]),
        (&json!(false), &json!("Web shop"), &json!(true))
    );
    let branches = shop["branches"].as_array().unwrap();
    assert_eq!(branches.len(), 1, "only the main branch is chosen: {shop}");
    let expected = json!({"name": "main", "kind": "branch", "main": true, "sonar_total": 2, "open": 0, "read": true,
        "passing": 1, "left_out": {"of a severity that its organization's filter keeps back": 1}, "create": 2,
        "update": 0, "reopen": 0, "close": 0, "same": 0, "problem": null});
    assert_eq!(branches[0], expected);
    let text = gateway.cli(&["project", "import", "acme", "--all", "--dry-run"]);
    for part in [
        "Sonar says 2, we hold 0, 1 pass the filter.\n",
        "Passed on:      severity critical or high\n",
        "hold, but not show or pass on: of a severity that its organization's filter keeps back  1\n",
        "2 projects, of which 0 imported already; 2 assets would be made.\nNothing was imported.\n",
    ] {
        assert!(text.out.contains(part), "{part} in {}{}", text.out, text.err);
    }
    // Nothing came of it.
    let inventory = gateway.json(&["status"])["inventory"].clone();
    assert_eq!((&inventory["projects"], &inventory["assets"]), (&json!(0), &json!(0)));
    let refused = gateway.refused(&["project", "import", "acme", "--project", "absent", "--dry-run"], "");
    assert!(refused.contains("Sonar shows no project absent"), "{refused}");
    let refused = gateway.refused(&["project", "import", "acme", "--all", "--asset", "None", "--dry-run"], "");
    assert!(refused.contains("there is no asset None"), "{refused}");
    let none = dry_run(&["--project", "shop", "--branch", "feature/*"]);
    assert_eq!(none["projects"][0]["error"], "no branch matches feature/*");
    assert_eq!(
        dry_run(&["--project", "shop", "--branch", "release/*"])["projects"][0]["branches"][0]["sonar_total"],
        0
    );

    // What was foreseen is what comes.
    import(&gateway, "acme", &["shop"]);
    assert_eq!(gateway.json(&["finding", "list", "--filtered"])["total"], 2);
    let again = &dry_run(&["--project", "shop"])["projects"][0];
    assert_eq!((&again["imported"], &again["asset_is_new"]), (&json!(true), &json!(false)));
    let counts =
        |branch: &Value| ["create", "update", "reopen", "close", "same"].map(|name| branch[name].as_u64().unwrap());
    assert_eq!(counts(&again["branches"][0]), [0, 0, 0, 0, 2]);

    sonar.edit(|model| model.add_issue("shop", "main", issue("F", Severity::Minor)));
    gateway.json(&["sync", "acme", "shop", "--full", "--wait"]);
    sonar.edit(|model| model.fix("F"));
    gateway.json(&["sync", "acme", "shop", "--full", "--wait"]);
    sonar.edit(|model| {
        model.reopen("F");
        model.fix("A");
        model.shift_line("B", 70);
        model.add_issue("shop", "main", issue("C", Severity::Blocker));
    });
    let foreseen = dry_run(&["--project", "shop"])["projects"][0]["branches"][0].clone();
    assert_eq!(counts(&foreseen), [1, 1, 1, 1, 0], "{foreseen}");
    assert_eq!((&foreseen["sonar_total"], &foreseen["open"], &foreseen["passing"]), (&json!(3), &json!(2), &json!(1)));
    assert_eq!(keys(&findings(&gateway, &["--filtered"])), ["A", "B"], "it is only foreseen");
}

/// A token may see thousands of projects, and whoever asked may have gone home: what is read for one question has an end,
/// all its projects together.
#[test]
fn what_an_import_would_bring_is_not_read_without_end() {
    let sonar = sonar();
    sonar.edit(|model| model.add_issue("shop", "main", issue("C", Severity::Major)));
    let inside = Inside::connected(&sonar, sonar.token());
    let (organization, key) = (Inside::organization(), ProjectKey::parse("shop").unwrap());
    let (selection, choice) = (Selection::default(), Choice::default());
    let subject = Subject { organization: &organization, key: &key, id: None, selection: &selection, choice: &choice };
    let whole = Allowance::default().pages;
    let mut allowance = Allowance::default();
    let found = foresee(&inside.work, &subject, &mut allowance).unwrap().unwrap();
    assert_eq!((found[0].sonar_total, &found[0].problem), (Some(3), &None));
    let one = whole - allowance.pages;
    // The second project comes to the end of what is left, the third is not asked for.
    let mut allowance = Allowance { pages: 2 * one - 1, ..Allowance::default() };
    let mut problem = || {
        let found = foresee(&inside.work, &subject, &mut allowance).unwrap();
        found.map(|found| found[0].problem.clone())
    };
    assert_eq!(problem(), Some(None));
    let too_large = problem().flatten();
    assert!(too_large.as_ref().is_some_and(|why| why.contains("too large")), "{too_large:?}");
    sonar.forget_requests();
    assert_eq!(problem(), None);
    // Nobody waits any more.
    let allowance = &mut Allowance::default();
    allowance.given_up.store(true, Ordering::Relaxed);
    assert!(matches!(foresee(&inside.work, &subject, allowance), Err(WorkError::Stopping)));
    assert!(sonar.requests().is_empty());
}

/// Of two that are tried out at once the second has its turn after the first, and both are answered; nothing else waits.
#[test]
fn imports_are_tried_out_one_after_the_other() {
    let sonar = sonar();
    sonar.edit(|model| {
        model.add_project("acme", "till", "Till");
    });
    let gateway = gateway(&sonar);
    let hold = sonar.hold_when(Moment::BeforeReading, |call| {
        call.path.contains("search") && call.query.iter().any(|(_, value)| value.contains("shop"))
    });
    std::thread::scope(|scope| {
        let try_out = |key| {
            let (gateway, key): (&Gateway, &str) = (&gateway, key);
            scope.spawn(move || gateway.json(&["project", "import", "acme", "--project", key, "--dry-run"]))
        };
        let shop = try_out("shop");
        hold.wait_held(1);
        let till = try_out("till");
        for _ in 0..5 {
            assert_eq!(gateway.json(&["finding", "list"])["total"], 0);
        }
        hold.release();
        for (tried, key) in [(shop, "shop"), (till, "till")] {
            assert_eq!(tried.join().unwrap()["projects"][0]["key"], key);
        }
    });
    let calls = sonar.requests();
    let asked = |key: &str| {
        let about = |call: &Call| call.query.iter().any(|(_, value)| value == key);
        calls.iter().enumerate().filter(|(_, call)| about(call)).map(|(at, _)| at).collect::<Vec<_>>()
    };
    let (shop, till) = (asked("shop"), asked("till"));
    assert!(shop.len() > 1 && shop.last() < till.first(), "{shop:?} {till:?}");
}

#[test]
fn a_filter_that_makes_no_sense_is_refused() {
    let sonar = sonar();
    let gateway = gateway(&sonar);
    let usage = |flags: &[&str]| gateway.cli(&[&["organization", "filter", "acme"][..], flags].concat()).code;
    assert_eq!(usage(&["--severity", "dire"]), 2);
    assert_eq!(usage(&["--kind", "smell"]), 2);
    assert_eq!(usage(&["--min-severity", "high", "--severity", "low"]), 2);
    assert_eq!(usage(&["--no-filter", "--kind", "hotspot"]), 2);
    let refused = gateway.refused(&["organization", "filter", "nobody", "--no-filter"], "");
    assert!(refused.contains("no connected source sees an organization nobody"), "{refused}");
}
