//! What nobody speaks of is found all the same: without any webhook, after an hour, after a night without power. And
//! what is found costs Sonar and the disk no more than it must.

use std::time::Duration;

use hydrophone::domain::ids::SourceName;
use hydrophone::domain::schedule::{Reason, Task};

use crate::calls::{Hook, body, settled};
use crate::steps::{CLOUD, conditions, count, sonar_with, vulnerability};
use crate::support::connect;
use crate::support::gateway::Gateway;
use crate::support::inside::Inside;
use crate::support::sonar::{Fault, Sonar};

const BRANCHES: &str = "/api/project_branches/list";
const ISSUES: &str = "/api/issues/search";
const MINUTE: Duration = Duration::from_mins(1);

fn minutes(minutes: u64) -> Duration {
    Duration::from_mins(minutes)
}

/// A SonarQube with the project `shop`, and workers that hold it and have had their first rounds.
fn at_rest(keys: &[&str], branches: &[&str]) -> (Sonar, Inside, hydrophone::domain::ids::ProjectId) {
    let sonar = sonar_with(CLOUD, keys);
    let inside = Inside::connected(&sonar, sonar.token());
    let shop = inside.import("shop", branches);
    inside.pass(minutes(2));
    sonar.forget_requests();
    (sonar, inside, shop)
}

#[test]
fn an_analysis_without_any_webhook_is_found_by_polling() {
    let (sonar, inside, shop) = at_rest(&["A", "B"], &[]);
    assert_eq!(inside.states(shop, "main"), ["A open", "B open"]);
    sonar.analyse("shop", "main", |analysis| {
        analysis.fix("A");
        analysis.open(vulnerability("C"));
    });
    inside.pass(minutes(16));
    assert_eq!(inside.states(shop, "main"), ["A fixed", "B open", "C open"]);
    assert!(inside.agenda().is_empty());
    // The same analysis is no news the next time.
    sonar.forget_requests();
    inside.pass(minutes(15));
    assert_eq!((count(&sonar.requests(), BRANCHES), count(&sonar.requests(), ISSUES)), (1, 0));
}

/// Whoever asks for a read and waits for it waits for one that began since. The rest of an older one would say that the
/// branch was last read before, and nothing would be left to be done.
#[test]
fn a_read_that_was_asked_for_begins_anew_even_if_its_first_attempt_fails() {
    let (sonar, inside, shop) = at_rest(&[], &[]);
    sonar.edit(|model| drop(model.add_issues("shop", "main", 700)));
    sonar.fault_when(|call| call.path == ISSUES && call.param("p") == Some("2"), Fault::internal_error(1));
    inside.ask(shop, Reason::Import);
    inside.settle();
    assert!(inside.agenda().iter().any(|(_, due)| due.reason == Reason::Retry), "it was interrupted in its middle");

    inside.clock.advance(Duration::from_secs(1));
    let asked_at = inside.clock.now();
    sonar.fault(BRANCHES, Fault::internal_error(1));
    inside.ask(shop, Reason::Manual);
    inside.settle();
    inside.pass(MINUTE);
    let (_, main) = inside.scope(shop, "main").unwrap();
    assert_eq!((main.complete, main.sonar_total), (true, Some(700)));
    assert!(main.synced_at >= Some(asked_at), "{:?} is before {asked_at}", main.synced_at);
}

#[test]
fn what_people_decide_in_sonar_is_found_within_the_hour() {
    let (sonar, inside, shop) = at_rest(&["A", "B"], &[]);
    sonar.edit(|model| model.mark_false_positive("A"));
    inside.pass(minutes(61));
    assert_eq!(inside.states(shop, "main"), ["A falsepositive", "B open"]);
}

#[test]
fn a_branch_that_comes_and_is_chosen_is_found_by_polling() {
    let (sonar, inside, shop) = at_rest(&["A"], &["*"]);
    assert!(inside.scope(shop, "release/1").is_none());
    sonar.edit(|model| {
        model.add_branch("shop", "release/1");
        model.add_issue("shop", "release/1", vulnerability("R"));
    });
    inside.pass(minutes(16));
    assert_eq!(inside.states(shop, "release/1"), ["R open"]);
}

/// SD cards die of writes. Polls of an hour in which nothing happens leave the very same bytes on the disk.
#[test]
fn polls_that_find_nothing_new_write_nothing() {
    let (sonar, inside, _) = at_rest(&["A"], &[]);
    inside.set("reread-minutes", "600");
    inside.pass(minutes(2));
    sonar.forget_requests();
    let before = inside.file();
    inside.pass(minutes(60));
    assert_eq!((count(&sonar.requests(), BRANCHES), count(&sonar.requests(), ISSUES)), (4, 0));
    assert!(inside.file() == before, "something was written");
}

#[test]
fn a_box_that_was_off_for_a_day_is_in_step_a_minute_after_it_is_back() {
    let (sonar, inside, shop) = at_rest(&["A"], &[]);
    sonar.analyse("shop", "main", |analysis| {
        analysis.open(vulnerability("B"));
    });
    let inside = inside.restarted_after(Duration::from_hours(24));
    inside.settle();
    inside.pass(MINUTE);
    assert_eq!(inside.states(shop, "main"), ["A open", "B open"]);
}

/// A source that is down is asked ever less often, costs no write, and is not forgotten: when it is back, all is well.
#[test]
fn a_source_that_is_down_is_asked_ever_less_often_and_nothing_is_written() {
    let (sonar, inside, shop) = at_rest(&["A"], &[]);
    let name = SourceName::parse("sonar").unwrap();
    sonar.analyse("shop", "main", |analysis| {
        analysis.open(vulnerability("B"));
    });
    sonar.fault("/api/", Fault::NoAnswer { times: usize::MAX });
    sonar.forget_requests();
    let before = inside.file();
    inside.pass(minutes(120));
    let asked = sonar.requests().len();
    // After 15 minutes the first poll fails, then 1, 2, 4, 8 minutes pass, then 15 each time.
    assert!((8..=14).contains(&asked), "{asked} requests in two hours");
    assert!(inside.file() == before, "something was written");
    let failing = inside.work.sources.health(&name).failing.expect("it is failing");
    assert!(failing.span > minutes(60), "{failing:?}");
    assert!(inside.told("source_unreachable")[0].contains("cannot be reached"));
    inside.pass(minutes(10));
    let stale = inside.told("scope_stale");
    assert!(stale[0].contains("sonar/acme/shop main was not proven current since") && stale.len() == 1, "{stale:?}");
    let status = inside.json(&["status"]);
    assert_eq!((&status["freshness"]["stale"], &status["freshness"]["max_minutes"]), (&1.into(), &60.into()));
    assert_eq!(status["freshness"]["oldest"]["branch"], "main");
    assert!(status["sources"][0]["failing_since"].is_string(), "{status}");
    assert_eq!(inside.json(&["project", "show", "sonar/acme", "shop"])["branches"][0]["stale"], true);

    sonar.clear_faults();
    inside.pass(minutes(16));
    assert_eq!(inside.states(shop, "main"), ["A open", "B open"]);
    assert_eq!(inside.told("source_unreachable").len() + inside.told("scope_stale").len(), 0);
    assert_eq!(inside.work.sources.health(&name).failing, None);
}

/// 429 means the whole source. A task that meets the pause has done nothing wrong: it waits, without a trace.
#[test]
fn a_pause_holds_for_the_whole_source_and_leaves_no_trace() {
    let (sonar, inside, shop) = at_rest(&["A"], &[]);
    let (scope, _) = inside.scope(shop, "main").unwrap();
    sonar.fault(BRANCHES, Fault::too_many_requests(1).with_header("Retry-After", "300"));
    inside.pass(minutes(14));
    let health = inside.work.sources.health(&SourceName::parse("sonar").unwrap());
    assert_eq!(health.pause.unwrap().status, 429);
    let asked = sonar.requests().len();

    let (now, ticket) = (inside.clock.now(), inside.store.ticket());
    inside
        .store
        .write::<_, hydrophone::store::StoreError>(move |batch| {
            hydrophone::store::agenda::ask(batch, Task::Sync(scope), Reason::Webhook, now, ticket)
        })
        .unwrap();
    let (before, due) = (inside.file(), inside.agenda());
    inside.pass(minutes(3));
    let source = &inside.json(&["status"])["sources"][0];
    assert!(source["paused_until"].is_string(), "{source}");
    assert_eq!(source["reason"], "SonarQube answered HTTP 429");
    assert_eq!(sonar.requests().len(), asked, "the source is left alone");
    assert_eq!(inside.agenda(), due, "as it was, without an attempt");
    assert!(inside.file() == before, "something was written");
    inside.pass(minutes(3));
    assert!(sonar.requests().len() > asked);
    assert_eq!(inside.scope(shop, "main").unwrap().1.error, None);
}

/// The second look that follows a webhook must not wait because nobody can wait for a clock that stands still.
#[test]
fn a_budget_that_is_used_up_is_waited_for() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let inside = Inside::connected(&sonar, sonar.token());
    inside.set("requests-per-minute", "10");
    for number in 0..5 {
        sonar.edit(|model| {
            model.add_project("acme", &format!("p{number}"), "One of many");
        });
        inside.import(&format!("p{number}"), &[]);
    }
    let asked = sonar.requests().len();
    assert!(asked <= 10, "{asked} requests at once");
    inside.pass(minutes(1));
    let asked = sonar.requests().len();
    assert!((11..=20).contains(&asked), "{asked} requests in a minute");
    inside.pass(minutes(10));
    assert!(inside.agenda().is_empty(), "{:?}", inside.agenda());
}

/// Three imports that take their time would keep three workers busy, and a webhook waiting.
#[test]
fn imports_leave_a_worker_for_webhooks() {
    let sonar = sonar_with(CLOUD, &["A"]);
    for key in ["slow1", "slow2", "slow3"] {
        sonar.edit(|model| {
            model.add_project("acme", key, key);
        });
    }
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    crate::support::import(&gateway, "acme", &["shop"]);
    let hook = Hook::of(&gateway, "acme");
    let hold = sonar.hold_when(crate::support::sonar::Moment::BeforeReading, |call| {
        call.path == ISSUES && call.query.iter().any(|(_, value)| value.starts_with("slow"))
    });
    let slow = ["--project", "slow1", "--project", "slow2", "--project", "slow3"];
    gateway.json(&[&["project", "import", "acme"][..], &slow].concat());
    gateway.wait("two reads to be held", |gateway| (gateway.json(&["status"])["sync"]["running"] == 2).then_some(()));
    let id = hook.accepted(&body("shop", "T1"));
    settled(&gateway, &id, "synced");
    hold.release();
    assert!(!conditions(&gateway).contains(&"source_unreachable".to_owned()));
}

/// What a routine read proved is known at once, on the disk after some hours, and after a clean stop in any case.
#[test]
fn what_routine_reads_prove_is_shown_at_once_and_written_at_a_clean_stop() {
    let (_sonar, inside, shop) = at_rest(&["A"], &[]);
    let (id, scope) = inside.scope(shop, "main").unwrap();
    let later = inside.clock.now().plus(minutes(30));
    inside.work.standing.note(id, later, Some(later));
    assert_eq!(inside.work.standing.of(id).unwrap().synced_at, later);
    let shown = inside.json(&["project", "show", "sonar/acme", "shop"]);
    assert_eq!(shown["branches"][0]["synced_at"], later.to_string());
    assert_eq!(inside.scope(shop, "main").unwrap().1, scope);
    let inside = inside.restarted_after(minutes(1));
    let written = inside.scope(shop, "main").unwrap().1;
    assert_eq!((written.synced_at, written.crawled_at), (Some(later), Some(later)));
}

#[test]
fn a_box_without_a_listener_says_that_it_only_polls() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let gateway = Gateway::start_with(&["--webhook-listen", "off"]);
    connect(&gateway, &sonar);
    crate::support::import(&gateway, "acme", &["shop"]);
    assert_eq!(crate::steps::states(&gateway, "shop"), ["A open"]);
    let status = gateway.json(&["status"]);
    assert_eq!((&status["webhook_listener"], &status["ready"]), (&"off".into(), &true.into()));
    assert!(conditions(&gateway).is_empty(), "{status}");
    let said = gateway.cli(&["status"]).out;
    assert!(said.contains("off: this box only polls") && said.contains("polled every 15 min"), "{said}");
    let said = gateway.cli(&["webhook", "show", "acme"]).out;
    assert!(said.contains("takes no webhooks") && said.contains("every 15 minutes"), "{said}");
    let restarted = gateway.restart(Gateway::stop);
    assert_eq!(crate::steps::states(&restarted, "shop"), ["A open"]);
}
