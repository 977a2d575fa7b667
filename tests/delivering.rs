//! What a destination is told when something is the matter with the box itself: damaged records, a process that ends at
//! the wrong moment, decisions that could not be passed on at once. The workers and a destination's runner are inside the
//! test, on a clock that it turns.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hydrophone::domain::condition::{Condition, Urgency};
use hydrophone::domain::destination::{Destination, PlatformKind};
use hydrophone::domain::finding::Kind;
use hydrophone::domain::ids::{DestinationId, DestinationName, FindingId, ProjectId};
use hydrophone::domain::limits::CONDITION_OVER_AFTER;
use hydrophone::domain::notice::compare;
use hydrophone::domain::schedule::Reason;
use hydrophone::store::destinations::{self, DeadLetter};
use hydrophone::store::records::SecretBytes;
use hydrophone::store::{FILE_NAME, StoreError, findings, notices};
use hydrophone::work::deliver::{Deliver, Runner, Turn};
use serde_json::{Value, json};
use support::damage::damage;
use support::defectdojo::{Call, DefectDojo, Fault, Moment, When};
use support::inside::Inside;
use support::receiver::{Receiver, Reply, Verdict};
use support::sonar::{Issue, Mode, Sonar};

const DAY: Duration = Duration::from_hours(24);

/// A box between a SonarQube with these projects and a DefectDojo. Each project has the issues A, B and C, with its own
/// name before them.
struct Between {
    sonar: Sonar,
    dojo: DefectDojo,
    inside: Inside,
    runner: Option<Runner>,
    id: DestinationId,
    projects: Vec<ProjectId>,
}

impl Between {
    fn new(projects: &[&str], change: impl FnOnce(&mut Destination)) -> Self {
        let sonar = Sonar::start(Mode::Cloud);
        sonar.edit(|model| {
            for project in projects {
                model.add_project("acme", project, project);
                for name in ["A", "B", "C"] {
                    let issue = Issue::vulnerability("java:S3649", &format!("src/{name}.java"), 12);
                    model.add_issue(project, "main", issue.with_key(&format!("{project}-{name}")));
                }
            }
        });
        let inside = Inside::connected(&sonar, sonar.admin_token());
        let projects = projects.iter().map(|project| inside.import(project, &[])).collect();
        let dojo = DefectDojo::start();
        let name = DestinationName::parse("dojo").unwrap();
        let mut destination = Destination::new(name, PlatformKind::DefectDojo, dojo.url(), inside.clock.now());
        change(&mut destination);
        let token = SecretBytes::new(dojo.token().into_bytes());
        let id = inside
            .store
            .write::<_, StoreError>(move |batch| destinations::add(batch, &destination, Some(&token)))
            .unwrap();
        Self { sonar, dojo, inside, runner: None, id, projects }
    }

    /// Lets time pass and tells what is due; only what is in the store is known from before if the runner is a new one.
    fn tell_after(&mut self, span: Duration) {
        self.inside.clock.advance(span);
        self.inside.settle();
        let mut runner =
            self.runner.take().unwrap_or_else(|| Runner::new(Deliver::new(Arc::clone(&self.inside.work)), self.id));
        for _ in 0..1000 {
            if runner.step().unwrap() != Turn::Worked {
                self.runner = Some(runner);
                return;
            }
        }
        panic!("there is no end of telling");
    }

    fn tell(&mut self) {
        self.tell_after(Duration::from_mins(20));
    }

    /// Ends the process, and begins anew.
    fn restart(mut self, between: impl FnOnce(&std::path::Path)) -> Self {
        self.runner = None;
        let (folder, then) = (Arc::clone(&self.inside.folder), self.inside.clock.now());
        let Self { sonar, dojo, inside, id, projects, .. } = self;
        drop(inside);
        between(&folder.path().join(FILE_NAME));
        let state = folder.path().to_owned();
        let inside = Inside::over(folder, &state);
        inside.clock.set(then);
        Self { sonar, dojo, inside, runner: None, id, projects }
    }

    /// Keys in DefectDojo, with whether they are active there, in order.
    fn there(&self) -> Vec<String> {
        let mut all = self.dojo.edit(|model| {
            let all = model.findings.values();
            all.map(|one| {
                let key = one.unique_id.clone().unwrap();
                format!("{key} {}", if one.status.active { "active" } else { "inactive" })
            })
            .collect::<Vec<_>>()
        });
        all.sort();
        all
    }

    fn dead_letters(&self) -> Vec<(FindingId, DeadLetter)> {
        self.inside.store.read(|view| destinations::dead_letters(view, self.id, None, 100)).unwrap()
    }
}

fn condition(text: &str) -> Condition {
    Condition { urgency: Urgency::Error, code: "source_refused", text: text.to_owned(), remedy: "mend it".to_owned() }
}

/// Has the box look for conditions, and find these.
fn find(inside: &Inside, present: &[&str]) {
    let present: Vec<_> = present.iter().map(|text| condition(text)).collect();
    let before = inside.store.read::<_, StoreError>(notices::held).unwrap();
    let (held, told) = compare(before, &present, inside.clock.now());
    inside.store.write::<_, StoreError>(move |batch| notices::note(batch, held, told)).unwrap();
}

/// What came up on a box has to reach a person, also where the receiver is away for a while, and a receiver that refuses it
/// must be told findings all the same.
#[test]
fn conditions_are_told_in_order_with_lasting_ids_and_hold_up_no_finding() {
    let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let receiver = Receiver::start(secret);
    let mut between = Between::new(&["shop"], |_| ());
    let add = |inside: &Inside, name: &str, conditions: &str| {
        let name = DestinationName::parse(name).unwrap();
        let mut destination = Destination::new(name, PlatformKind::Events, receiver.url(), inside.clock.now());
        destination.options.insert("conditions".to_owned(), conditions.to_owned());
        let secret = SecretBytes::new(secret.as_bytes().to_vec());
        inside.store.write::<_, StoreError>(move |batch| destinations::add(batch, &destination, Some(&secret))).unwrap()
    };
    between.id = add(&between.inside, "siem", "yes");
    find(&between.inside, &["source a: HTTP 401"]);
    // The first that it is told does not arrive; it is tried again, after the findings.
    receiver.answer(Reply::Status(503));
    between.tell_after(Duration::from_secs(1));
    let of = |what: &str| -> Vec<Value> {
        let events = receiver.events().into_iter();
        events.filter(|event| event["type"].as_str().unwrap().contains(what)).collect()
    };
    assert_eq!((of("condition").len(), of("finding").len()), (0, 3), "{:?}", receiver.events());
    between.tell();
    find(&between.inside, &[]);
    between.inside.clock.advance(CONDITION_OVER_AFTER);
    find(&between.inside, &["source b: HTTP 403"]);
    // This one is refused for good, and holds up no other.
    receiver.answer(Reply::Status(422));
    between.tell();
    let told = of("condition");
    let shown =
        |event: &Value| format!("{} {}", event["type"].as_str().unwrap(), event["data"]["text"].as_str().unwrap());
    let said: Vec<_> = told.iter().map(shown).collect();
    assert_eq!(
        said,
        ["dev.hydrophone.condition.raised source a: HTTP 401", "dev.hydrophone.condition.raised source b: HTTP 403"]
    );
    assert_eq!(
        (&told[0]["subject"], &told[0]["data"]["severity"], &told[0]["data"]["remedy"], &told[0]["data"]["ended_at"]),
        (&json!("source_refused"), &json!("error"), &json!("mend it"), &Value::Null)
    );
    // The id of an attempt that was lost is that of the one that arrived.
    let ids: Vec<_> =
        receiver.calls().iter().filter_map(|call| call.request.header("webhook-id").map(str::to_owned)).collect();
    let first = told[0]["id"].as_str().unwrap();
    assert_eq!(ids.iter().filter(|id| id.as_str() == first).count(), 2, "{ids:?}");
    // Who did not ask for them is told none.
    let before = of("condition").len();
    between.id = add(&between.inside, "other", "no");
    between.runner = None;
    between.tell();
    // It was told the findings, under the ids that this receiver knows.
    assert!(receiver.calls().iter().any(|call| call.verdict == Verdict::Replay));
    assert_eq!(of("condition").len(), before);
}

const ALL: [&str; 3] = ["shop-A active", "shop-B active", "shop-C active"];

/// That a record here is damaged says nothing about Sonar.
#[test]
fn a_damaged_finding_is_not_told_as_gone_and_not_told_twice_when_it_is_read_again() {
    let mut between = Between::new(&["shop"], |_| ());
    between.tell();
    assert_eq!(between.there(), ALL);

    let mut between = between.restart(|file| damage(file, "findings", 1));
    between.tell_after(DAY + DAY);
    assert_eq!(between.there(), ALL);

    between.inside.ask(between.projects[0], Reason::Manual);
    between.tell();
    between.tell_after(DAY + DAY);
    assert_eq!(between.there(), ALL);

    // What it is known by now is followed.
    between.sonar.edit(|model| model.fix("shop-B"));
    between.inside.ask(between.projects[0], Reason::Manual);
    between.tell();
    assert_eq!(between.there(), ["shop-A active", "shop-B inactive", "shop-C active"]);
}

/// What is remembered of what a platform was told may be damaged, too. It was told: its end is told as well, and nothing
/// is made there twice.
#[test]
fn a_finding_of_which_the_memory_is_damaged_is_followed_and_not_made_twice() {
    let mut between = Between::new(&["shop"], |_| ());
    between.tell();
    let mut between = between.restart(|file| {
        damage(file, "remotes", 0);
        damage(file, "remotes", 1);
    });
    between.sonar.edit(|model| {
        model.fix("shop-A");
        model.shift_line("shop-B", 99);
    });
    between.inside.ask(between.projects[0], Reason::Manual);
    between.tell();
    assert_eq!(between.there(), ["shop-A inactive", "shop-B active", "shop-C active"]);
    assert_eq!(between.dojo.edit(|model| model.finding_with("shop-B").line), Some(99));
    // Both are remembered again.
    between.sonar.edit(|model| {
        model.reopen("shop-A");
        model.fix("shop-B");
    });
    between.inside.ask(between.projects[0], Reason::Manual);
    between.tell_after(DAY + DAY);
    assert_eq!(between.there(), ["shop-A active", "shop-B inactive", "shop-C active"]);
}

/// A finding whose record was damaged gets another number. Where a filter keeps that one back by now, it is all the same
/// the one that the platform was told of.
#[test]
fn a_finding_under_another_number_is_followed_though_a_filter_would_keep_it_back() {
    let mut between = Between::new(&["shop"], |_| ());
    between.tell();
    let mut between = between.restart(|file| damage(file, "findings", 1));
    let id = between.id;
    let narrowed = between.inside.store.write::<_, StoreError>(move |batch| {
        let mut destination = destinations::destination(batch, id)?.expect("it is there");
        destination.filter.kinds = vec![Kind::Hotspot];
        destinations::put(batch, id, &destination, None)
    });
    narrowed.unwrap();
    between.inside.ask(between.projects[0], Reason::Manual);
    between.tell();
    between.tell_after(DAY + DAY);
    between.sonar.edit(|model| model.fix("shop-B"));
    between.inside.ask(between.projects[0], Reason::Manual);
    between.tell();
    assert_eq!(between.there(), ["shop-A active", "shop-B inactive", "shop-C active"]);
}

/// What was closed long ago is deleted here in the end; a platform that had not heard of it by then is told all the same.
#[test]
fn what_is_really_not_held_any_more_is_told_as_gone() {
    let mut between = Between::new(&["shop"], |_| ());
    between.tell();
    // Nobody tells it of the closing in time.
    between.sonar.edit(|model| model.fix("shop-B"));
    between.inside.ask(between.projects[0], Reason::Manual);
    between.inside.settle();
    let later = between.inside.clock.now().plus(DAY);
    let pruned = between.inside.store.delete::<_, StoreError>(move |batch| findings::prune_closed(batch, later));
    assert_eq!(pruned.unwrap(), 1);
    between.tell_after(DAY + DAY);
    assert_eq!(between.there(), ["shop-A active", "shop-B inactive", "shop-C active"]);
}

#[test]
fn a_damaged_project_holds_up_no_other_and_is_told_when_it_can_be_read() {
    let between = Between::new(&["one", "two"], |_| ());
    let mut undamaged = Vec::new();
    let mut between = between.restart(|file| {
        undamaged = std::fs::read(file).unwrap();
        damage(file, "projects", 0);
    });
    between.tell();
    assert_eq!(between.there(), ["two-A active", "two-B active", "two-C active"]);
    let letters = between.dead_letters();
    assert_eq!(letters.len(), 3, "{letters:?}");
    assert!(letters.iter().all(|(_, letter)| letter.why.contains("damaged") && letter.again_at.is_some()));
    let preview = between.inside.json(&["destination", "preview", "dojo"]);
    assert_eq!(preview["left_out"]["of a project whose record here is damaged"], 3, "{preview}");

    // The bit is flipped back.
    let mut between = between.restart(|file| damage(file, "projects", 0));
    between.tell_after(Duration::from_hours(1));
    let all = ["one-A", "one-B", "one-C", "two-A", "two-B", "two-C"].map(|key| format!("{key} active"));
    assert_eq!(between.there(), all);
    assert_eq!(between.dead_letters(), []);
}

/// Somebody deleted the Test, and the process ends before another one is found: nothing is known in that one.
#[test]
fn a_place_that_was_lost_before_a_restart_is_told_everything_anew() {
    let mut between = Between::new(&["shop"], |_| ());
    between.tell();
    between.dojo.edit(|model| {
        let tests: Vec<u64> = model.tests.iter().map(|test| test.id).collect();
        for test in tests {
            model.delete_test(test);
        }
    });
    between.sonar.edit(|model| model.fix("shop-A"));
    between.inside.ask(between.projects[0], Reason::Manual);
    between.dojo.fault_when(|call| call.method == "POST" && call.path == "/api/v2/tests/", Fault::internal_error(1000));
    between.tell();
    assert_eq!(between.there(), [""; 0]);

    let mut between = between.restart(|_| ());
    between.dojo.clear_faults();
    between.tell_after(Duration::from_hours(2));
    assert_eq!(between.there(), ["shop-B active", "shop-C active"]);
}

/// Rights that were taken for an hour are not the end of a Test, and people give Tests other names.
#[test]
fn a_place_that_was_hidden_for_a_while_is_found_again_by_its_number() {
    let mut between = Between::new(&["shop"], |_| ());
    between.tell();
    let (users, test) =
        between.dojo.edit(|model| (std::mem::take(&mut model.product_types[0].authorized_users), model.tests[0].id));
    between.sonar.edit(|model| model.fix("shop-A"));
    between.inside.ask(between.projects[0], Reason::Manual);
    between.tell();
    assert_eq!((between.dead_letters().len(), between.there()), (1, ALL.map(str::to_owned).to_vec()));
    between.dojo.edit(|model| {
        model.rename_test(test, "Ann's");
        model.product_types[0].authorized_users = users;
    });
    between.tell_after(Duration::from_hours(2));
    assert_eq!(between.there(), ["shop-A inactive", "shop-B active", "shop-C active"]);
    assert_eq!(between.dojo.edit(|model| model.tests.len()), 1);
    assert_eq!(between.dead_letters(), []);
}

/// Thousands may wait for one place. They must not be what a server is asked about all day, nor hold up the others.
#[test]
fn what_waits_for_one_place_asks_for_it_once_an_hour_and_takes_turns_with_what_is_new() {
    let issue = |name: &str| Issue::vulnerability("java:S3649", &format!("src/{name}.java"), 12).with_key(name);
    let mut between = Between::new(&["one", "two"], |_| ());
    between.sonar.edit(|model| {
        for number in 0..250 {
            model.add_issue("one", "main", issue(&format!("one-{number}")));
        }
    });
    between.inside.ask(between.projects[0], Reason::Manual);
    let of_one = |call: &Call| call.is_reimport() && call.field("product_name") == Some("one");
    let refusal = Fault::json(403, r#"{"detail":"You do not have permission to perform this action."}"#, 1);
    between.dojo.fault_by(When::Always, of_one, refusal);
    between.tell();
    let refused = |between: &Between| between.dojo.requests().into_iter().filter(of_one).count();
    assert_eq!((between.there().len(), between.dead_letters().len(), refused(&between)), (3, 100, 1));
    for asked in 2..4 {
        between.tell_after(Duration::from_hours(1));
        assert_eq!(refused(&between), asked);
    }
    // What is new in it waits, too.
    between.sonar.edit(|model| model.add_issue("one", "main", issue("one-new")));
    between.inside.ask(between.projects[0], Reason::Manual);
    between.tell();
    assert_eq!(refused(&between), 3);

    between.dojo.clear_faults();
    between.dojo.forget_requests();
    between.sonar.edit(|model| model.add_issue("two", "main", issue("two-new")));
    between.inside.ask(between.projects[1], Reason::Manual);
    between.tell_after(Duration::from_hours(1));
    assert_eq!((between.there().len(), between.dead_letters().len()), (3 + 3 + 250 + 2, 0));
    let told: Vec<Vec<Value>> = between.dojo.reimports().iter().map(|call| call.rows().to_vec()).collect();
    let is_new = |rows: &Vec<Value>| rows.iter().any(|row| row["unique_id_from_tool"] == "two-new");
    let new = told.iter().position(is_new).unwrap();
    assert!(new + 1 < told.len(), "what is new waited for all the others: it came at {new} of {}", told.len());
}

/// Keys in the SARIF file of each project that has one.
fn in_files(folder: &std::path::Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut files = BTreeMap::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        let Some(project) = file.file_name().to_str().unwrap().split('_').nth(1).map(str::to_owned) else { continue };
        let log: Value = serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
        let results = log["runs"][0]["results"].as_array().unwrap().iter();
        let keys = results.map(|one| one["fingerprints"]["sonarIssueKey/v1"].as_str().unwrap().to_owned());
        files.insert(project, keys.collect());
    }
    files
}

fn keys(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

/// What is missing from a list counts as fixed for whoever is told whole lists.
#[test]
fn a_list_that_a_damaged_finding_is_missing_from_is_not_told_and_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().to_str().unwrap().to_owned();
    let mut between = Between::new(&["one", "two"], |one| (one.kind, one.url) = (PlatformKind::Sarif, url));
    between.tell();
    let all = |name: &str| keys(&["A", "B", "C"].map(|key| format!("{name}-{key}")).each_ref().map(String::as_str));
    let both: BTreeMap<_, _> = ["one", "two"].map(|name| (name.to_owned(), all(name))).into();
    assert_eq!(in_files(folder.path()), both);
    let trouble = |between: &Between| {
        let progress = between.inside.store.read(|view| destinations::progress(view, between.id)).unwrap();
        progress.trouble.map(|woe| woe.why)
    };
    let tell_anew = |between: &mut Between| {
        for file in std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()) {
            if file.to_str().unwrap().contains("_two_") {
                std::fs::remove_file(file).unwrap();
            }
        }
        let id = between.id;
        between.inside.store.write::<_, StoreError>(move |batch| destinations::tell_anew(batch, id)).unwrap();
        between.tell_after(Duration::from_hours(2));
    };

    let mut between = between.restart(|file| damage(file, "findings", 0));
    tell_anew(&mut between);
    assert_eq!(in_files(folder.path()), both);
    assert!(
        trouble(&between).unwrap().contains("main of one is not told: a stored finding is damaged"),
        "{:?}",
        trouble(&between)
    );

    between.inside.ask(between.projects[0], Reason::Manual);
    between.tell();
    tell_anew(&mut between);
    assert_eq!((in_files(folder.path()), trouble(&between)), (both, None));

    // What is closed is in no list.
    between.sonar.edit(|model| model.fix("one-A"));
    between.inside.ask(between.projects[0], Reason::Manual);
    between.tell_after(Duration::from_hours(2));
    let mut between = between.restart(|file| damage(file, "findings", 0));
    tell_anew(&mut between);
    let now = [("one".to_owned(), keys(&["one-B", "one-C"])), ("two".to_owned(), all("two"))];
    assert_eq!((in_files(folder.path()), trouble(&between)), (now.into(), None));
}

/// A clock that is set back by a year must not have a message wait for a year.
#[test]
fn what_waits_for_its_time_does_not_wait_for_a_clock_that_was_set_back() {
    let between = Between::new(&["one"], |_| ());
    let mut between = between.restart(|file| damage(file, "projects", 0));
    between.tell();
    assert_eq!(between.dead_letters().len(), 3);
    let mut between = between.restart(|file| damage(file, "projects", 0));
    between.inside.clock.set(between.inside.clock.now().minus(365 * DAY));
    between.tell();
    assert_eq!(between.dead_letters(), []);
    assert_eq!(between.there(), ["one-A active", "one-B active", "one-C active"]);
}

fn in_dojo(between: &Between, key: &str) -> u64 {
    between.dojo.edit(|model| model.finding_with(key).id)
}

fn in_sonar(between: &Between, key: &str) -> String {
    between.sonar.edit(|model| format!("{:?}", model.issue(key).unwrap().1.issue_status()))
}

#[test]
fn decisions_made_while_nothing_was_passed_on_are_passed_on_when_that_is_switched_on() {
    let mut between = Between::new(&["shop"], |_| ());
    between.tell();
    let finding = in_dojo(&between, "shop-A");
    between.dojo.edit(|model| model.mark_false_positive(finding));
    between.tell();
    assert_eq!(in_sonar(&between, "shop-A"), "Open");

    between.inside.json(&["destination", "edit", "dojo", "--triage-to-sonar", "yes"]);
    between.tell();
    assert_eq!(in_sonar(&between, "shop-A"), "FalsePositive");
    assert_eq!(in_sonar(&between, "shop-B"), "Open");
}

#[test]
fn a_decision_about_a_finding_that_is_gone_is_passed_on_when_it_is_back() {
    let mut between = Between::new(&["shop"], |one| one.triage_to_sonar = true);
    between.tell();
    between.sonar.edit(|model| model.fix("shop-A"));
    between.inside.ask(between.projects[0], Reason::Manual);
    between.tell();
    let finding = in_dojo(&between, "shop-A");
    between.dojo.edit(|model| model.mark_false_positive(finding));
    between.tell();
    between.sonar.edit(|model| model.reopen("shop-A"));
    between.inside.ask(between.projects[0], Reason::Manual);
    between.tell();
    assert_eq!(in_sonar(&between, "shop-A"), "FalsePositive");
}

#[test]
fn a_decision_that_sonar_cannot_be_told_holds_up_no_other() {
    let mut between = Between::new(&["shop"], |one| one.triage_to_sonar = true);
    between.tell();
    for key in ["shop-A", "shop-B"] {
        let finding = in_dojo(&between, key);
        between.dojo.edit(|model| model.mark_false_positive(finding));
    }
    let transition =
        |call: &support::sonar::Call| call.path == "/api/issues/do_transition" && call.param("issue") == Some("shop-A");
    between.sonar.fault_when(transition, support::sonar::Fault::internal_error(1000));
    for _ in 0..3 {
        between.tell();
    }
    assert_eq!([in_sonar(&between, "shop-A"), in_sonar(&between, "shop-B")], ["Open", "FalsePositive"]);
    between.sonar.clear_faults();
    for _ in 0..3 {
        between.tell();
    }
    assert_eq!(in_sonar(&between, "shop-A"), "FalsePositive");
}

/// What an operator switches on while it is looked through what was told concerns also what was looked at already.
#[test]
fn decisions_that_are_switched_on_in_the_middle_of_a_look_are_all_passed_on() {
    let mut between = Between::new(&["shop"], |_| ());
    between.tell();
    let finding = in_dojo(&between, "shop-A");
    between.dojo.edit(|model| model.mark_false_positive(finding));
    between.tell();
    // Something is to be told in the middle of the look: what is gone here, and was never told so.
    between.sonar.edit(|model| model.fix("shop-C"));
    between.inside.ask(between.projects[0], Reason::Manual);
    between.inside.settle();
    let later = between.inside.clock.now().plus(DAY);
    between.inside.store.delete::<_, StoreError>(move |batch| findings::prune_closed(batch, later)).unwrap();
    let hold = between.dojo.hold_when(Moment::BeforeReading, |call| call.method != "GET");
    let (store, id) = (between.inside.store.clone(), between.id);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            hold.wait_held(1);
            // As `destination edit` does it.
            let edit = store.write::<_, StoreError>(move |batch| {
                let mut destination = destinations::destination(batch, id)?.unwrap();
                destination.triage_to_sonar = true;
                destinations::put(batch, id, &destination, None)?;
                let mut progress = destinations::progress(batch, id)?;
                (progress.decisions, progress.sweep) = (true, Some(FindingId(0)));
                destinations::put_progress(batch, id, &progress)
            });
            edit.unwrap();
            hold.release();
        });
        between.tell_after(DAY + DAY);
    });
    assert_eq!(between.there(), ["shop-A inactive", "shop-B active", "shop-C inactive"]);
    between.tell();
    assert_eq!(in_sonar(&between, "shop-A"), "FalsePositive");
}

/// Nothing changes, nothing is written: an SD card lives for years on that.
#[test]
fn looking_through_what_was_told_is_noted_once_a_day() {
    let mut between = Between::new(&["shop"], |_| ());
    between.tell();
    between.tell_after(DAY + DAY);
    let swept = |between: &Between| between.inside.store.read(|view| destinations::progress(view, between.id)).unwrap();
    let before = swept(&between);
    assert!(before.swept_at.is_some());
    // A start does not begin it anew.
    let mut between = between.restart(|_| ());
    between.tell();
    assert_eq!(swept(&between).swept_at, before.swept_at);
    between.tell_after(DAY);
    assert!(swept(&between).swept_at > before.swept_at);
}
