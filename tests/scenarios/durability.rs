//! What was acknowledged is never lost, and what was closed was really gone: kills, failed reads, calls in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hydrophone::domain::finding::State;
use hydrophone::domain::ids::{ChangeNumber, FindingId};
use hydrophone::domain::reconcile::ChangeKind as Kind;
use hydrophone::store::{Store, StoreError, findings as stored_findings, lists};
use hydrophone::sys::bell::Bell;
use serde_json::{Value, json};

use crate::calls::{Hook, body, deliveries, delivery, idle, settled};
use crate::support::gateway::Gateway;
use crate::support::sonar::{Call, Fault, Issue, Mode, Moment, Sonar};
use crate::support::{connect, findings, import};

const ISSUES: &str = "/api/issues/search";

/// A gateway that is connected to a SonarQube Cloud and holds its project `shop`.
struct Scene {
    sonar: Sonar,
    gateway: Gateway,
    hook: Hook,
}

impl Scene {
    /// With so many issues, which are read already.
    fn with_issues(count: usize) -> Self {
        let scene = Self::unread(count);
        import(&scene.gateway, "acme", &["shop"]);
        idle(&scene.gateway);
        scene.sonar.forget_requests();
        scene
    }

    /// With so many issues of a project that is not imported yet.
    fn unread(count: usize) -> Self {
        let sonar = Sonar::start(Mode::Cloud);
        sonar.edit(|model| {
            model.add_project("acme", "shop", "Web shop");
            model.add_issues("shop", "main", count);
        });
        let gateway = Gateway::start();
        connect(&gateway, &sonar);
        let hook = Hook::of(&gateway, "acme");
        Self { sonar, gateway, hook }
    }

    fn killed_and_restarted(self) -> Self {
        let gateway = self.gateway.restart(Gateway::kill);
        Self { hook: Hook { address: gateway.address().to_owned(), ..self.hook }, gateway, ..self }
    }

    fn stopped_and_restarted(self) -> Self {
        let gateway = self.gateway.restart(Gateway::stop);
        Self { hook: Hook { address: gateway.address().to_owned(), ..self.hook }, gateway, ..self }
    }

    /// The main branch as `project show` tells of it.
    fn branch(&self) -> Value {
        self.gateway.json(&["project", "show", "acme", "shop"])["branches"][0].clone()
    }

    /// State by key of what is held of the project, closed findings too.
    fn held(&self) -> BTreeMap<String, String> {
        let states = "open,confirmed,accepted,false_positive,fixed,removed";
        let found = findings(&self.gateway, &["--project", "shop", "--state", states]);
        let text = |finding: &Value, member: &str| finding[member].as_str().unwrap().to_owned();
        found.iter().map(|finding| (text(finding, "key"), text(finding, "state"))).collect()
    }

    /// Crawls of the main branch that began since requests were last forgotten.
    fn crawls(&self) -> usize {
        self.sonar.requests().iter().filter(|call| is_page(call, 1)).count()
    }
}

/// Whether a call asks for a page of a branch's issues.
fn is_page(call: &Call, page: u32) -> bool {
    call.path == ISSUES && call.param("issues").is_none() && call.param("p").unwrap_or("1") == page.to_string()
}

#[test]
fn a_delivery_that_was_acknowledged_survives_a_kill_and_is_synced() {
    let scene = Scene::with_issues(3);
    let added = scene.sonar.edit(|model| {
        model.add_issue("shop", "main", Issue::vulnerability("java:S5131", "src/c.java", 7).with_key("NEW"))
    });
    // Sonar does not answer, so that the call cannot be settled before the kill.
    let hold = scene.sonar.hold("/api/");
    let id = scene.hook.accepted(&body("shop", "T1"));
    let scene = scene.killed_and_restarted();
    assert_eq!(delivery(&scene.gateway, &id)["outcome"], "queued");
    hold.release();
    settled(&scene.gateway, &id, "synced");
    assert_eq!(scene.held().get(&added).map(String::as_str), Some("open"));
    assert_eq!(deliveries(&scene.gateway).len(), 1);
}

#[test]
fn every_delivery_of_a_burst_that_was_acknowledged_is_there_after_a_kill() {
    let scene = Scene::with_issues(1);
    let hold = scene.sonar.hold("/api/");
    let mut acknowledged: Vec<String> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..8)
            .map(|sender| {
                let hook = &scene.hook;
                scope.spawn(move || {
                    let calls = (0..5).map(|call| hook.accepted(&body("shop", &format!("T{sender}-{call}"))));
                    calls.collect::<Vec<_>>()
                })
            })
            .collect();
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    });
    let scene = scene.killed_and_restarted();
    let mut logged: Vec<String> =
        deliveries(&scene.gateway).iter().map(|delivery| delivery["id"].as_str().unwrap().to_owned()).collect();
    acknowledged.sort();
    logged.sort();
    assert_eq!(logged, acknowledged);
    assert_eq!(logged.len(), 40);
    hold.release();
    for id in &acknowledged {
        settled(&scene.gateway, id, "synced");
    }
}

#[test]
fn deliveries_and_what_became_of_them_survive_a_clean_stop() {
    let scene = Scene::with_issues(3);
    let synced = scene.hook.accepted(&body("shop", "T1"));
    settled(&scene.gateway, &synced, "synced");
    scene.hook.accepted(&body("till", "T2"));
    idle(&scene.gateway);
    let before = deliveries(&scene.gateway);
    let held = scene.held();
    let scene = scene.stopped_and_restarted();
    assert_eq!(deliveries(&scene.gateway), before);
    assert_eq!(scene.held(), held);
    // The address and the secret are the same too.
    let again = scene.hook.post(&body("shop", "T1"));
    assert_eq!((again.status, &again.json()["duplicate"]), (202, &json!(true)));
}

#[test]
fn a_delivery_is_synced_although_the_gateway_stops_in_the_middle_of_its_read() {
    let scene = Scene::with_issues(3);
    let hold = scene.sonar.hold(ISSUES);
    let id = scene.hook.accepted(&body("shop", "T1"));
    hold.wait_held(1);
    let process = rustix::process::Pid::from_raw(scene.gateway.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    scene.gateway.wait_for_log("stopping");
    hold.release();
    let scene = scene.stopped_and_restarted();
    settled(&scene.gateway, &id, "synced");
    assert_eq!(scene.held().len(), 3);
}

#[test]
fn a_crawl_cut_short_by_a_kill_closes_nothing_and_is_made_again() {
    let scene = Scene::with_issues(1200);
    let keys = scene.sonar.edit(|model| {
        let keys: Vec<String> =
            model.branch("shop", "main").unwrap().issues().iter().map(|one| one.key.clone()).collect();
        model.fix(&keys[0]);
        model.fix(&keys[700]);
        keys
    });
    let added = scene.sonar.edit(|model| model.add_issues("shop", "main", 5));
    let hold = scene.sonar.hold_when(Moment::BeforeAnswering, |call| is_page(call, 2));
    let id = scene.hook.accepted(&body("shop", "T1"));
    hold.wait_held(1);
    let scene = scene.killed_and_restarted();
    assert_eq!(delivery(&scene.gateway, &id)["outcome"], "queued");
    assert_eq!(scene.branch()["stored_total"], 1200, "half a crawl closes and opens nothing");
    hold.release();
    settled(&scene.gateway, &id, "synced");
    let branch = scene.branch();
    assert_eq!(
        (&branch["complete"], &branch["sonar_total"], &branch["stored_total"], &branch["error"]),
        (&json!(true), &json!(1203), &json!(1203), &json!(null))
    );
    let fixed = findings(&scene.gateway, &["--state", "fixed"]);
    let mut fixed: Vec<&str> = fixed.iter().map(|finding| finding["key"].as_str().unwrap()).collect();
    fixed.sort_unstable();
    let mut expected = [keys[0].as_str(), keys[700].as_str()];
    expected.sort_unstable();
    assert_eq!(fixed, expected);
    let kept = stored(&scene.gateway.stop());
    assert_eq!(kept.len(), 1205);
    for key in &added {
        assert_eq!(kept[key].changes, [Kind::Opened], "{key}");
    }
    for key in expected {
        assert_eq!(kept[key].changes, [Kind::Opened, Kind::Fixed], "{key}");
    }
}

/// A large crawl is applied in many short transactions. A kill between two of them must neither lose nor repeat one:
/// the staged rows that are left are the position, and go with the findings in one commit.
#[test]
fn a_large_snapshot_cut_short_by_a_kill_is_applied_to_its_end_each_finding_once() {
    const COUNT: usize = 2000;
    let scene = Scene::unread(COUNT);
    scene.gateway.json(&["project", "import", "acme", "--project", "shop"]);
    scene.gateway.wait("some findings to be applied", |_| {
        let branch = scene.branch();
        (branch["stored_total"].as_u64()? > 0).then_some(())
    });
    let folder = scene.gateway.kill();
    // What was asked for before the end of it counts, to the last request.
    let requests = scene.sonar.requests().len();
    let applied = stored(&folder);
    assert!(!applied.is_empty() && applied.len() < COUNT, "the kill came in the middle: {} of {COUNT}", applied.len());
    assert!(applied.values().all(|stored| stored.changes == [Kind::Opened]), "a finding and its change are one");

    let gateway = Gateway::start_in(folder, &[]).unwrap();
    let scene = Scene { hook: Hook { address: gateway.address().to_owned(), ..scene.hook }, gateway, ..scene };
    scene.gateway.wait("the snapshot to be applied", |_| {
        let branch = scene.branch();
        (branch["complete"] == true && branch["stored_total"] == COUNT).then_some(())
    });
    assert_eq!(scene.sonar.requests().len(), requests, "what was read is not read again");
    let held = stored(&scene.gateway.stop());
    assert_eq!(held.len(), COUNT);
    for (key, before) in &applied {
        assert_eq!(held[key], *before, "an id is for ever, and so is a change");
    }
    assert!(held.values().all(|stored| stored.changes == [Kind::Opened]), "each was opened once");
    let ids: BTreeSet<u64> = held.values().map(|stored| stored.id.0).collect();
    assert_eq!(ids.len(), COUNT);
}

/// What the store holds of a finding.
#[derive(Debug, PartialEq, Eq)]
struct Stored {
    id: FindingId,
    changes: Vec<Kind>,
    numbers: Vec<ChangeNumber>,
}

/// The findings of a gateway that does not run, by key, as the store has them.
fn stored(folder: &tempfile::TempDir) -> BTreeMap<String, Stored> {
    let store = Store::open(&folder.path().join("state"), Arc::new(Bell::default())).unwrap();
    let all = lists::Filter { states: State::ALL.iter().copied().collect(), ..lists::Filter::default() };
    let mut found = BTreeMap::new();
    let mut after: Option<lists::At> = None;
    loop {
        let (page, next) = store
            .read::<_, StoreError>(|view| {
                let page = lists::page(view, &all, (lists::Order::Severity, after.as_ref()), 500, &|_, _| None)?;
                let findings = page.findings.into_iter().map(|(_, finding)| {
                    let changes = stored_findings::changes_of(view, finding.id)?;
                    let numbers = changes.iter().map(|(number, _)| *number).collect();
                    let changes = changes.into_iter().map(|(_, change)| change.kind).collect();
                    Ok((finding.observed.key.to_string(), Stored { id: finding.id, changes, numbers }))
                });
                Ok((findings.collect::<Result<Vec<_>, StoreError>>()?, page.next))
            })
            .unwrap();
        for (key, stored) in page {
            assert!(found.insert(key, stored).is_none(), "a finding is there twice");
        }
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    store.close();
    found
}

/// A call that comes while its scope is read may speak of something that the read is already past.
#[test]
fn calls_during_a_read_cause_exactly_one_more() {
    let scene = Scene::with_issues(3);
    let key = scene.held().into_keys().next().unwrap();
    let hold = scene.sonar.hold_when(Moment::BeforeAnswering, |call| is_page(call, 1));
    let first = scene.hook.accepted(&body("shop", "T0"));
    hold.wait_held(1);
    // Sonar's answer is made, and knows nothing of this yet.
    scene.sonar.edit(|model| model.fix(&key));
    let others: Vec<String> = (1..=5).map(|number| scene.hook.accepted(&body("shop", &format!("T{number}")))).collect();
    hold.release();
    settled(&scene.gateway, &first, "synced");
    for id in &others {
        settled(&scene.gateway, id, "synced");
    }
    assert_eq!(scene.held()[&key], "fixed");
    idle(&scene.gateway);
    assert_eq!(scene.crawls(), 2);
}

#[test]
fn calls_that_wait_together_share_one_read() {
    let scene = Scene::with_issues(3);
    let hold = scene.sonar.hold("/api/project_branches/list");
    // One is being carried out; the five behind it wait.
    scene.hook.accepted(&body("shop", "T0"));
    hold.wait_held(1);
    let others: Vec<String> = (1..=5).map(|number| scene.hook.accepted(&body("shop", &format!("T{number}")))).collect();
    let status = scene.gateway.json(&["status"]);
    assert_eq!((&status["sync"]["running"], &status["deliveries"]["accepted"]), (&json!(1), &json!(6)), "{status}");
    hold.release();
    for id in &others {
        settled(&scene.gateway, id, "synced");
    }
    idle(&scene.gateway);
    assert_eq!(scene.crawls(), 2);
}

#[test]
fn a_second_look_is_planned_after_a_call_and_after_nothing_else() {
    let scene = Scene::with_issues(3);
    assert_eq!(idle(&scene.gateway)["sync"]["later"], 0, "an import needs none");
    scene.gateway.json(&["sync", "--wait"]);
    assert_eq!(idle(&scene.gateway)["sync"]["later"], 0, "nor does a person");
    let id = scene.hook.accepted(&body("shop", "T1"));
    settled(&scene.gateway, &id, "synced");
    assert_eq!(idle(&scene.gateway)["sync"]["later"], 1);
    let scene = scene.killed_and_restarted();
    assert_eq!(idle(&scene.gateway)["sync"]["later"], 1, "it outlives a kill");
    // A person who asks meanwhile does not take it away.
    scene.gateway.json(&["sync", "--wait"]);
    assert_eq!(idle(&scene.gateway)["sync"]["later"], 1);
}

#[test]
fn a_replay_runs_again_and_is_never_a_duplicate() {
    let scene = Scene::with_issues(3);
    let first = scene.hook.accepted(&body("shop", "T1"));
    settled(&scene.gateway, &first, "synced");
    let duplicate = scene.hook.accepted(&body("shop", "T1"));
    settled(&scene.gateway, &duplicate, "duplicate");
    idle(&scene.gateway);
    assert_eq!(scene.crawls(), 1, "a duplicate of a settled call reads nothing");
    for (crawls, replayed) in [(2, &first), (3, &first), (4, &duplicate)] {
        let replay = scene.gateway.json(&["delivery", "replay", replayed]);
        assert_eq!((&replay["replay_of"], &replay["duplicate_of"]), (&json!(replayed), &json!(null)), "{replay}");
        let synced = settled(&scene.gateway, replay["id"].as_str().unwrap(), "synced");
        assert_eq!((&synced["project"], &synced["task_id"]), (&json!("shop"), &json!("T1")));
        idle(&scene.gateway);
        assert_eq!(scene.crawls(), crawls);
    }
    let told = scene.gateway.refused(&["delivery", "replay", "D999"], "");
    assert!(told.contains("there is no delivery D999"), "{told}");
}

#[test]
fn a_duplicate_of_a_call_that_is_unsettled_or_was_not_imported_runs_again() {
    let scene = Scene::with_issues(3);
    let hold = scene.sonar.hold_when(Moment::BeforeAnswering, |call| is_page(call, 1));
    let first = scene.hook.accepted(&body("shop", "T1"));
    hold.wait_held(1);
    let again = scene.hook.post(&body("shop", "T1")).json();
    assert_eq!(again["duplicate"], true);
    let again = again["delivery"].as_str().unwrap();
    let shown = delivery(&scene.gateway, again);
    assert_eq!((&shown["outcome"], &shown["duplicate_of"]), (&json!("queued"), &json!(first)));
    hold.release();
    settled(&scene.gateway, &first, "synced");
    settled(&scene.gateway, again, "synced");
    idle(&scene.gateway);
    assert_eq!(scene.crawls(), 2);

    scene.sonar.edit(|model| {
        model.add_project("acme", "till", "Till");
        model.add_issues("till", "main", 2);
    });
    let before = scene.hook.accepted(&body("till", "T1"));
    settled(&scene.gateway, &before, "not_imported");
    import(&scene.gateway, "acme", &["till"]);
    let after = scene.hook.accepted(&body("till", "T1"));
    let synced = settled(&scene.gateway, &after, "synced");
    assert_eq!(synced["duplicate_of"], json!(before));
    assert_eq!(delivery(&scene.gateway, &before)["outcome"], "not_imported", "the log is not rewritten");
}

/// Whatever goes wrong while Sonar is read, the delivery waits, nothing is closed, and the operator is told; when
/// Sonar recovers, all is well.
#[test]
fn a_failed_read_closes_nothing_and_the_delivery_waits_for_sonar_to_recover() {
    let always = usize::MAX;
    let refused = r#"{"errors":[{"msg":"no"}]}"#;
    let branches = "/api/project_branches/list";
    let faults = [
        (ISSUES, Fault::json(500, refused, always)),
        (ISSUES, Fault::json(401, "", always)),
        (ISSUES, Fault::json(403, refused, always)),
        (ISSUES, Fault::too_many_requests(always).with_header("Retry-After", "600")),
        (ISSUES, Fault::unavailable(always)),
        (ISSUES, Fault::html(200, always)),
        (ISSUES, Fault::json(200, "{}", always)),
        (ISSUES, Fault::json(200, r#"{"issues":[]}"#, always)),
        (ISSUES, Fault::CutBody { times: always }),
        (ISSUES, Fault::NoAnswer { times: always }),
        (branches, Fault::json(404, r#"{"errors":[{"msg":"Project not found"}]}"#, always)),
        (branches, Fault::json(200, r#"{"branches":[]}"#, always)),
        (branches, Fault::html(200, always)),
    ];
    let scene = Scene::with_issues(faults.len() + 3);
    let mut expected = scene.held();
    for (number, (path, fault)) in faults.into_iter().enumerate() {
        let key = expected.iter().find(|(_, state)| *state == "open").unwrap().0.clone();
        scene.sonar.edit(|model| model.fix(&key));
        scene.sonar.fault(path, fault.clone());
        let id = scene.hook.accepted(&body("shop", &format!("T{number}")));
        let branch = scene.gateway.wait(&format!("{fault:?} to be told"), |_| {
            let branch = scene.branch();
            branch["error"].is_string().then_some(branch)
        });
        assert_eq!(delivery(&scene.gateway, &id)["outcome"], "queued", "{fault:?}");
        assert_eq!(scene.held(), expected, "{fault:?}: {branch}");
        let status = scene.gateway.json(&["status"]);
        let mut conditions = status["conditions"].as_array().unwrap().iter();
        assert!(conditions.any(|condition| condition["code"] == "sync_failed"), "{fault:?}: {status}");

        scene.sonar.clear_faults();
        // After 429 and 503 the source is left alone until a person sees that it answers.
        scene.gateway.json(&["source", "check", "sonar"]);
        scene.gateway.json(&["sync"]);
        settled(&scene.gateway, &id, "synced");
        // The person's question looks at the branches too, which may ask for one more read.
        idle(&scene.gateway);
        expected.insert(key, "fixed".to_owned());
        assert_eq!(scene.held(), expected, "{fault:?}");
        let branch = scene.branch();
        assert_eq!((&branch["error"], &branch["complete"]), (&json!(null), &json!(true)), "{fault:?}: {branch}");
    }
    assert!(!scene.gateway.log().contains(scene.sonar.token()), "{}", scene.gateway.log());
}

#[test]
fn a_list_that_turns_up_empty_by_mistake_closes_nothing() {
    let scene = Scene::with_issues(5);
    let expected = scene.held();
    let empty = json!({
        "total": 0, "p": 1, "ps": 500, "paging": {"pageIndex": 1, "pageSize": 500, "total": 0},
        "issues": [], "components": [], "rules": [], "users": [], "languages": [],
        "facets": [{"property": "statuses", "values": []}, {"property": "issueStatuses", "values": []}],
    });
    scene.sonar.fault_when(|call| is_page(call, 1), Fault::json(200, &empty.to_string(), 1));
    let id = scene.hook.accepted(&body("shop", "T1"));
    settled(&scene.gateway, &id, "synced");
    assert_eq!(scene.held(), expected);
    let branch = scene.branch();
    assert_eq!((&branch["sonar_total"], &branch["stored_total"]), (&json!(5), &json!(5)), "{branch}");
}
