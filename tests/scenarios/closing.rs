//! A finding is closed only after Sonar was asked for it and every answer was whole.

use hydrophone::domain::limits;
use hydrophone::domain::schedule::Reason;
use serde_json::{Value, json};

use crate::calls::{Hook, body, delivery, settled};
use crate::steps::{
    CLOUD, NEWEST_SERVER, assert_tells, branch, conditions, count, finding, holding_shop, organization, sonar_with,
    states, sync, text, told, vulnerability,
};
use crate::support::inside::Inside;
use crate::support::sonar::{Call, Fault, Mode, Moment};

const ISSUES: &str = "/api/issues/search";
const HOTSPOT: &str = "/api/hotspots/show";

/// Whether a call asks for issues by key.
fn is_by_key(call: &Call) -> bool {
    call.path == ISSUES && call.param("issues").is_some()
}

/// A key without an answer counts as unknown to Sonar, so an answer that is cut short would close what it lacks.
#[test]
fn an_incomplete_answer_by_key_closes_nothing_and_leaves_the_delivery_queued() {
    for mode in [CLOUD, NEWEST_SERVER] {
        let sonar = sonar_with(mode, &["A", "B", "C", "D", "E"]);
        let gateway = holding_shop(&sonar);
        let hook = Hook::of(&gateway, organization(&sonar));
        sonar.edit(|model| {
            model.fix("A");
            model.remove("B");
        });
        let row = json!({
            "key": "A", "rule": "java:S3649", "type": "VULNERABILITY", "severity": "BLOCKER", "message": "m",
            "impacts": [{"softwareQuality": "SECURITY", "severity": "BLOCKER"}],
            "component": "shop:src/A.java", "project": "shop",
            "status": "CLOSED", "resolution": "FIXED", "issueStatus": "FIXED",
        });
        let one_of_two = json!({
            "total": 2, "p": 1, "ps": 100, "paging": {"pageIndex": 1, "pageSize": 100, "total": 2}, "issues": [row],
        });
        sonar.fault_when(is_by_key, Fault::json(200, &one_of_two.to_string(), 1000));
        let id = hook.accepted(&body("shop", "T1"));
        let told = gateway.wait("the trouble to be told", |gateway| {
            let branch = branch(gateway, organization(&sonar), "shop", "main");
            (branch["error"] != Value::Null).then_some(branch)
        });
        assert_tells(&text(&told, "error"), &["cut short"]);
        assert_eq!(delivery(&gateway, &id)["outcome"], "queued", "{mode:?}");
        assert_eq!(states(&gateway, "shop"), ["A open", "B open", "C open", "D open", "E open"], "{mode:?}");

        sonar.clear_faults();
        sync(&gateway);
        settled(&gateway, &id, "synced");
        assert_eq!(states(&gateway, "shop"), ["A fixed", "B removed", "C open", "D open", "E open"], "{mode:?}");
        let after = branch(&gateway, organization(&sonar), "shop", "main");
        assert_eq!((&after["complete"], &after["error"]), (&true.into(), &Value::Null), "{mode:?}");
    }
}

/// The list adds up, counts per status and all, and yet lacks findings that are there when one asks for them; beside
/// them one is missing that Sonar does not know any more. As the list is wrong about some, it proves nothing about
/// that one.
#[test]
fn a_list_that_sonars_own_answers_contradict_closes_nothing() {
    for mode in [CLOUD, NEWEST_SERVER] {
        let sonar = sonar_with(mode, &["A", "B", "C", "D", "E", "F"]);
        let gateway = holding_shop(&sonar);
        sonar.edit(|model| ["A", "B", "C"].iter().for_each(|key| model.purge(key)));
        let lists = sonar.hold_when(Moment::BeforeAnswering, |call| call.path == ISSUES && !is_by_key(call));
        let said = std::thread::scope(|scope| {
            let said = scope.spawn(|| gateway.cli(&["sync", "--wait"]));
            // The list without them is on its way; whoever asks now is told that they are there.
            lists.wait_held(1);
            sonar.edit(|model| {
                model.add_issue("shop", "main", vulnerability("A"));
                model.add_issue("shop", "main", vulnerability("B"));
            });
            lists.release();
            said.join().unwrap()
        });
        assert_eq!(said.code, 1, "{said:?}");
        assert_tells(&said.err, &["shop main", "Sonar's list lacks 2 findings that it says, asked for them, are open"]);
        let open = ["A open", "B open", "C open", "D open", "E open", "F open"];
        assert_eq!(states(&gateway, "shop"), open, "{mode:?}");
        let told = branch(&gateway, organization(&sonar), "shop", "main");
        assert_eq!(told["complete"], false, "{told}");

        sync(&gateway);
        let settled = ["A open", "B open", "C removed", "D open", "E open", "F open"];
        assert_eq!(states(&gateway, "shop"), settled, "{mode:?}");
    }
}

/// Many findings are gone without a trace, and between the two reads that have to agree on them others are fixed, as
/// always. Those are closed at once, and are no reason to wait for yet another read.
#[test]
fn what_is_fixed_meanwhile_does_not_hold_back_a_mass_closing() {
    for mode in ["suspected", "other"] {
        let sonar = sonar_with(CLOUD, &["A", "B", "C", "D", "E", "F", "G", "H", "I"]);
        let inside = Inside::connected(&sonar, sonar.token());
        let shop = inside.import("shop", &[]);
        // Such a wait is counted by Sonar's clock.
        let pass = |span| {
            let then = inside.clock.now().plus(span);
            sonar.edit(|model| model.freeze_clock(Some(then.0 / 1000 + 1)));
            inside.pass(span);
        };
        sonar.edit(|model| {
            for key in ["A", "B", "C", "D"] {
                model.purge(key);
            }
            model.fix("E");
        });
        inside.ask(shop, Reason::Manual);
        inside.settle();
        let (_, main) = inside.scope(shop, "main").unwrap();
        assert!(main.suspicion.is_some() && !main.complete);
        let held_back = ["A open", "B open", "C open", "D open", "E fixed", "F open", "G open", "H open", "I open"];
        assert_eq!(inside.states(shop, "main"), held_back);

        sonar.edit(|model| model.fix("F"));
        if mode == "other" {
            // One of them is there again: those that are gone now are not those that were gone before.
            sonar.edit(|model| {
                model.add_issue("shop", "main", vulnerability("A"));
                model.purge("I");
            });
        }
        pass(limits::GUARD_WAIT);
        let expected = match mode {
            "suspected" => {
                ["A removed", "B removed", "C removed", "D removed", "E fixed", "F fixed", "G open", "H open", "I open"]
            }
            _ => ["A open", "B open", "C open", "D open", "E fixed", "F fixed", "G open", "H open", "I open"],
        };
        assert_eq!(inside.states(shop, "main"), expected, "{mode}");
        let (_, main) = inside.scope(shop, "main").unwrap();
        assert_eq!((main.complete, main.suspicion.is_some()), (mode == "suspected", mode == "other"));

        // In the end both are told the same way.
        pass(limits::GUARD_WAIT * 2);
        let open = |states: Vec<String>| states.iter().filter(|state| state.ends_with("open")).count();
        assert_eq!(open(inside.states(shop, "main")), 3);
        assert!(inside.scope(shop, "main").unwrap().1.complete);
    }
}

/// A version to come may have a state that is not known here, and that no list can be asked for. What has it counts as
/// open, in what is stored and in what Sonar is said to count; it is neither closed nor a contradiction.
#[test]
fn a_finding_in_a_state_that_is_not_known_stays_open_and_the_branch_complete() {
    for mode in [CLOUD, NEWEST_SERVER, Mode::Server { version: "9.9.1.69595", mqr: false }] {
        let sonar = sonar_with(mode, &["A", "B", "C"]);
        let gateway = holding_shop(&sonar);
        sonar.edit(|model| {
            model.quarantine("A");
            model.fix("B");
        });
        // The second look asks anew, and finds nothing new.
        for _ in 0..2 {
            sync(&gateway);
            assert_eq!(states(&gateway, "shop"), ["A open", "B fixed", "C open"], "{mode:?}");
            let branch = branch(&gateway, organization(&sonar), "shop", "main");
            let standing = (&branch["complete"], &branch["error"], &branch["sonar_total"], &branch["stored_total"]);
            assert_eq!(standing, (&true.into(), &Value::Null, &2.into(), &2.into()), "{mode:?}");
            assert_tells(&told(&gateway, "unknown_words"), &["QUARANTINED", "count as open"]);
        }
        assert_eq!(finding(&gateway, "shop", "A")["sonar"]["status"], "QUARANTINED", "{mode:?}");

        sonar.edit(|model| model.fix("A"));
        sync(&gateway);
        assert_eq!(states(&gateway, "shop"), ["A fixed", "B fixed", "C open"], "{mode:?}");
        assert!(!conditions(&gateway).contains(&"unknown_words".to_owned()), "{mode:?}");
    }
}

/// Hotspots are asked for one by one, and only so many after one read. The others are not unknown because of that.
/// Few enough of all are missing that closing them does not have to wait for a second read.
#[test]
fn a_hotspot_that_was_not_asked_for_is_not_closed() {
    let sonar = sonar_with(NEWEST_SERVER, &["A"]);
    let keys = sonar.edit(|model| model.add_hotspots("shop", "main", 600));
    let gateway = holding_shop(&sonar);
    sonar.edit(|model| keys[..56].iter().for_each(|key| model.close_hotspot(key)));
    sonar.forget_requests();
    let closed = || gateway.json(&["finding", "list", "--state", "fixed,removed", "--limit", "1"])["total"].clone();
    let said = gateway.cli(&["sync", "--wait"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert_tells(&said.err, &["shop main", "6 hotspots that are gone from Sonar's list are still to be asked for"]);
    let asked: Vec<String> = sonar
        .requests()
        .iter()
        .filter(|call| call.path == HOTSPOT)
        .map(|call| call.param("hotspot").unwrap().to_owned())
        .collect();
    assert_eq!((asked.len(), closed()), (50, json!(50)));
    let ended = crate::support::findings(&gateway, &["--state", "fixed,removed"]);
    assert!(ended.iter().all(|finding| asked.contains(&text(finding, "key"))), "only what was asked for is closed");
    let told = branch(&gateway, "sonar", "shop", "main");
    assert_eq!((&told["complete"], &told["stored_total"]), (&false.into(), &551.into()));

    sync(&gateway);
    assert_eq!((count(&sonar.requests(), HOTSPOT), closed()), (56, json!(56)));
    let after = branch(&gateway, "sonar", "shop", "main");
    assert_eq!(
        (&after["complete"], &after["error"], &after["sonar_total"], &after["stored_total"]),
        (&true.into(), &Value::Null, &545.into(), &545.into())
    );
}
