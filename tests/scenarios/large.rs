//! Projects of more findings than Sonar's window shows: complete, at the price of the pages they have, whatever comes
//! between.

use std::collections::BTreeSet;
use std::time::Duration;

use hydrophone::domain::finding::{Finding, State};
use hydrophone::domain::ids::ProjectId;
use hydrophone::domain::limits;
use hydrophone::domain::schedule::{Reason, Task};
use hydrophone::store::{StoreError, agenda, findings};
use serde_json::Value;

use crate::steps::{CLOUD, NEWEST_SERVER, count, organization, vulnerability};
use crate::support::connect;
use crate::support::gateway::Gateway;
use crate::support::inside::Inside;
use crate::support::sonar::{Call, DAY_SECONDS, Fault, Mode, Moment, Severity, Sonar, When};

const BRANCHES: &str = "/api/project_branches/list";
const ISSUES: &str = "/api/issues/search";
const RULES: &str = "/api/rules/show";

/// For reading tens of thousands of findings, unoptimised and beside other tests.
const PATIENCE: Duration = Duration::from_mins(2);

/// A SonarQube with a project of so many findings.
fn sonar_of(mode: Mode, findings: usize) -> Sonar {
    let sonar = Sonar::start(mode);
    sonar.edit(|model| {
        model.add_project("acme", "big", "Big");
        model.add_issues("big", "main", findings);
    });
    sonar
}

/// Has a gateway import the project, without waiting for it.
fn begin(gateway: &Gateway, sonar: &Sonar) {
    gateway.json(&["project", "import", organization(sonar), "--project", "big"]);
}

/// Waits until the project was read.
fn imported(gateway: &Gateway, sonar: &Sonar) {
    let branch = gateway.wait_for(PATIENCE, "the import", |gateway| {
        let project = gateway.json(&["project", "show", organization(sonar), "big"]);
        let branch = project["branches"].as_array()?.first()?.clone();
        (branch["synced_at"].is_string() && branch["activity"] == "idle").then_some(branch)
    });
    assert_eq!((&branch["complete"], &branch["error"]), (&true.into(), &Value::Null), "{branch}");
}

/// That the gateway holds the very findings that Sonar has, each once.
fn assert_complete(gateway: &Gateway, sonar: &Sonar) {
    let there: BTreeSet<String> =
        sonar.edit(|model| model.branch("big", "main").unwrap().issues().iter().map(|one| one.key.clone()).collect());
    let said = gateway.cli(&["export", "--format", "csv"]);
    let mut lines = said.out.lines();
    let place = lines.next().unwrap().split(',').position(|name| name == "key").unwrap();
    let held: Vec<&str> =
        lines.filter_map(|line| line.split(',').nth(place)).filter(|key| there.contains(*key)).collect();
    assert_eq!(held.len(), there.len());
    assert!(held.iter().copied().collect::<BTreeSet<_>>().iter().copied().eq(&there), "some twice, some never");
}

/// What can be asked for again: everything that the import asks of its own accord.
fn is_of_the_read(call: &Call) -> bool {
    [BRANCHES, ISSUES, RULES].contains(&call.path.as_str())
}

fn searches(calls: &[Call], status: u16) -> usize {
    calls.iter().filter(|call| call.path == ISSUES && call.status == status).count()
}

/// A page of the list by what tells it apart.
fn page_of(call: &Call) -> String {
    let param = |name| call.param(name).unwrap_or_default();
    format!("{} {} {}", param("createdAfter"), param("createdBefore"), param("p"))
}

/// More were created in one second than the window shows, as by the first analysis of a large project; Cloud counts no
/// further than the window. The benchmark reads 35,000, of which 12,000 are of one second.
#[test]
fn a_second_of_more_findings_than_the_window_shows_is_read_complete_and_at_little_cost() {
    let sonar = sonar_of(CLOUD, 500);
    sonar.edit(|model| {
        let then = (model.now() / DAY_SECONDS - 300) * DAY_SECONDS;
        model.add_issues_at("big", "main", 10_500, then);
    });
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    begin(&gateway, &sonar);
    imported(&gateway, &sonar);
    assert_complete(&gateway, &sonar);
    let (asked, ideal) = (searches(&sonar.requests(), 200), 11_000 / 500);
    // Of so few pages the looks that find where to cut, and five severities' last pages, are a larger part.
    assert!(asked * 10 <= ideal * 13 + 50, "{asked} requests for {ideal} pages");
}

/// The pages that were answered, in that order.
fn pages(calls: &[Call]) -> Vec<String> {
    calls.iter().filter(|call| call.path == ISSUES && call.status == 200).map(page_of).collect()
}

/// What an import is refused every so often, and how it is ended in its middle.
struct Trouble {
    mode: Mode,
    every: usize,
    fault: Fault,
    killed: bool,
}

/// The import goes on where it was, and misses nothing. Returns how many pages were asked for twice.
fn repeated(trouble: Trouble) -> usize {
    let sonar = sonar_of(trouble.mode, 6_500);
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    gateway.json(&["config", "set", "pause-seconds", "1"]);
    sonar.fault_by(When::EveryNth(trouble.every), is_of_the_read, trouble.fault);
    let hold = sonar.hold_when(Moment::BeforeReading, |call| call.path == ISSUES && call.param("p") == Some("12"));
    begin(&gateway, &sonar);
    hold.wait_held(1);
    let before = pages(&sonar.requests());
    assert_eq!(before.len(), 11);
    let gateway = if trouble.killed {
        gateway.restart(Gateway::kill)
    } else {
        let id = rustix::process::Pid::from_raw(gateway.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        hold.release();
        gateway.restart(|gateway| gateway.ended().1)
    };
    hold.release();
    imported(&gateway, &sonar);
    assert_complete(&gateway, &sonar);
    let calls = sonar.requests();
    assert!(calls.iter().any(|call| call.path == ISSUES && call.status == 429), "no page was refused");
    let all = pages(&calls);
    let noted = &before[..limits::PAGES_PER_NOTE as usize];
    assert!(noted.iter().all(|page| all.iter().filter(|one| *one == page).count() == 1), "a noted page came again");
    all.len() - all.iter().collect::<BTreeSet<_>>().len()
}

#[test]
fn an_import_that_is_refused_and_killed_goes_on_from_its_last_note() {
    let fault = Fault::too_many_requests(1).with_header("Retry-After", "1");
    let repeated = repeated(Trouble { mode: CLOUD, every: 9, fault, killed: true });
    assert!(repeated < limits::PAGES_PER_NOTE as usize, "{repeated} pages were read twice");
}

#[test]
fn an_import_that_is_refused_without_a_hint_and_stopped_goes_on_where_it_was() {
    let fault = Fault::too_many_requests(1);
    let repeated = repeated(Trouble { mode: NEWEST_SERVER, every: 6, fault, killed: false });
    assert_eq!(repeated, 0, "pages were read twice");
}

/// Workers that hold a project of many findings, by the measure that is set, and have come to rest.
fn inside_of(sonar: &Sonar, whole_max: &'static str) -> (Inside, ProjectId) {
    let inside = Inside::connected(sonar, sonar.token());
    inside.set("whole-read-max", whole_max);
    let project = inside.import("big", &[]);
    inside.pass(minutes(2));
    sonar.forget_requests();
    (inside, project)
}

/// What follows a webhook at once.
fn webhook(inside: &Inside, project: ProjectId) {
    let (scope, _) = inside.scope(project, "main").unwrap();
    let (now, ticket) = (inside.clock.now(), inside.store.ticket());
    inside
        .store
        .write::<_, StoreError>(move |batch| agenda::ask(batch, Task::Sync(scope), Reason::Webhook, now, ticket))
        .unwrap();
    inside.settle();
}

fn held(inside: &Inside, project: ProjectId) -> Vec<Finding> {
    let (scope, _) = inside.scope(project, "main").unwrap();
    inside.store.read(|view| findings::after(view, scope, None, 10_000)).unwrap()
}

/// The keys of findings that are not as they were.
fn changed(before: &[Finding], after: &[Finding]) -> BTreeSet<String> {
    let before: BTreeSet<_> = before.iter().map(|one| format!("{:?}", one.observed)).collect();
    let differs = |one: &&Finding| !before.contains(&format!("{:?}", one.observed));
    after.iter().filter(differs).map(|one| one.observed.key.to_string()).collect()
}

/// What changed is seen for the price of what changed. A line that only shifted leaves its date as it was: the read of
/// the whole that follows sees it, and nothing else.
#[test]
fn a_webhook_costs_what_changed_and_the_whole_that_follows_finds_what_has_no_date() {
    let sonar = sonar_of(CLOUD, 3_000);
    let (inside, project) = inside_of(&sonar, "1000");
    let before = held(&inside, project);
    let mut touched = sonar.edit(|model| {
        let keys: Vec<String> =
            model.branch("big", "main").unwrap().issues().iter().map(|issue| issue.key.clone()).collect();
        model.fix(&keys[7]);
        model.fix(&keys[1_007]);
        model.accept(&keys[2_007]);
        model.set_severity(&keys[2_999], Severity::Info);
        model.shift_line(&keys[1_500], 4_711);
        vec![keys[7].clone(), keys[1_007].clone(), keys[2_007].clone(), keys[2_999].clone(), keys[1_500].clone()]
    });
    let shifted = touched.pop().unwrap();
    touched.push(sonar.edit(|model| model.add_issue("big", "main", vulnerability("new"))));
    webhook(&inside, project);
    let asked = sonar.requests();
    assert!(asked.len() <= 6, "{asked:?}");
    let then = held(&inside, project);
    assert_eq!(changed(&before, &then), touched.into_iter().collect());
    assert_eq!(then.len(), 3_001);

    sonar.forget_requests();
    inside.pass(minutes(8));
    let asked = sonar.requests();
    let searches = count(&asked, ISSUES);
    assert!((6..=8).contains(&searches), "the second look, and the pages of the whole: {searches}");
    assert_eq!(changed(&then, &held(&inside, project)), BTreeSet::from([shifted]));
    assert!(inside.agenda().is_empty(), "{:?}", inside.agenda());
}

/// Sonar that ignores the order it is asked for is found out by its dates: nothing is missed, the person is told what it
/// costs, and a check has it tried again.
#[test]
fn a_source_that_does_not_sort_is_read_whole_and_says_so() {
    let sonar = sonar_of(CLOUD, 1_200);
    sonar.edit(|model| model.settings.sorts_by_update_date = false);
    let (inside, project) = inside_of(&sonar, "500");
    assert_eq!(inside.told("source_unsorted").len(), 0);
    let by_date = || sonar.requests().iter().filter(|call| call.param("s") == Some("UPDATE_DATE")).count();
    let fix = |number: usize| {
        let key = sonar.edit(|model| {
            let key = model.branch("big", "main").unwrap().issues()[number].key.clone();
            model.fix(&key);
            key
        });
        sonar.forget_requests();
        webhook(&inside, project);
        let found = held(&inside, project);
        let state = found.iter().find(|one| one.observed.key.as_str() == key).map(|one| one.observed.state);
        assert_eq!(state, Some(State::Fixed));
        (by_date(), count(&sonar.requests(), ISSUES))
    };
    // The page that shows it, the whole, and the question about the one that is gone.
    assert_eq!(fix(3), (1, 1 + 3 + 1));
    let told = inside.told("source_unsorted");
    assert!(told.len() == 1 && told[0].contains("source sonar does not sort findings by update date"), "{told:?}");
    assert_eq!(fix(400), (0, 3 + 1));

    sonar.edit(|model| model.settings.sorts_by_update_date = true);
    inside.json(&["source", "check", "sonar"]);
    assert_eq!(inside.told("source_unsorted").len(), 0);
    assert_eq!(fix(800), (1, 1));
}

/// Rules are asked for after the findings were read. A refusal there must not leave them without a name for a day.
#[test]
fn rules_that_could_not_be_asked_for_are_asked_for_by_the_next_read() {
    let sonar = sonar_of(CLOUD, 1_200);
    sonar.fault(RULES, Fault::too_many_requests(1).with_header("Retry-After", "1"));
    let (inside, _) = inside_of(&sonar, "500");
    inside.pass(minutes(61));
    let asked = sonar.requests();
    assert!(count(&asked, RULES) > 10 && count(&asked, ISSUES) == 1, "{asked:?}");
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_mins(minutes)
}
