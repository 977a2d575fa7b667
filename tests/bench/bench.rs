//! Measures the promises of the main job with the real program, over real sockets, TLS and disk, and prints one table.
//!
//! `cargo bench` takes a few minutes; `cargo bench -- --smoke` runs the same with little data, to see that it works;
//! `cargo bench -- push` measures one matter alone.
//! What a figure was measured on stands above the table: compare figures of one machine only.

#[path = "../support/mod.rs"]
mod support;

#[path = "../browser/browser.rs"]
#[allow(dead_code, unreachable_pub, reason = "only little of what tests do with a browser is measured")]
mod browser;
#[path = "../browser/driver.rs"]
#[allow(unreachable_pub, reason = "it belongs to a test program")]
mod driver;

#[path = "../fleet/server.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "it belongs to a test program")]
mod nats;

mod client;
mod commits;
mod defence;
mod fleet;
mod growth;
mod idle;
mod large;
mod page;
mod peers;
mod process;
mod push;
mod reread;
mod standby;
mod table;
mod webhook;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use client::Hook;
use process::{machine, memory, written, written_since};
use support::gateway::Gateway;
use support::sonar::{Mode, Severity, Sonar};
use support::{api, connect};
use table::{Figure, Table};

fn main() -> ExitCode {
    let asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    // Without `cargo bench` nobody wants to wait for figures, as when all targets are tested.
    let smoke = asked("--smoke") || !asked("--bench");
    let scale = if smoke { &SMOKE } else { &FULL };
    let begin = Instant::now();
    let mut table = Table::default();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let machine = machine(folder.path());
    // Somebody may want the figures of one matter alone.
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for (_, measure) in MATTERS.iter().filter(|(name, _)| name.contains(&only)) {
        measure(scale, &mut table);
    }
    println!();
    for line in machine {
        println!("{line}");
    }
    println!("others    {}", peers::versions());
    println!("took      {:.0} s\n", begin.elapsed().as_secs_f64());
    let over = table.print();
    if smoke {
        println!("\nLittle data: these figures say that the measuring works, and nothing else.");
    } else if over > 0 {
        println!("\n{over} over their limits");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Measures a matter with so much data.
type Measure = fn(&Scale, &mut Table);

/// What is measured, in this order.
const MATTERS: &[(&str, Measure)] = &[
    ("webhook", webhook::measure),
    ("import", first_import),
    ("large-second", large::of_one_second),
    ("large-nearby", large::nearby),
    ("large-webhook", large::webhook),
    ("large-again", reread::measure),
    ("push", push::first),
    ("fleet", fleet::measure),
    ("inventory", large_inventory),
    ("growth-page", growth::measure),
    ("idle", idle::measure),
    ("defence", defence::measure),
    ("peers", peers::measure),
    ("commits", commits::measure),
];

/// How much of everything.
struct Scale {
    /// Findings of the project whose webhook is timed, those that each analysis changes, and how many analyses.
    watched: usize,
    changed: usize,
    analyses: usize,
    /// Findings of the two imports that are compared.
    small: usize,
    large: usize,
    /// The inventory: projects, and findings of each. Sonar's window keeps a project below 10,000.
    projects: usize,
    of_each: usize,
    /// Projects whose findings the page shows, as many of each.
    shown_projects: usize,
    /// Findings of a project on Cloud, and how many of them were created in one second.
    cloud: usize,
    of_one_second: usize,
    /// Findings of a project on a Server, and every how many requests one is refused.
    server: usize,
    refused: [usize; 2],
    /// Findings of the largest project, and up to how many a project is read whole.
    largest: usize,
    whole_max: &'static str,
    /// Findings of the first push to each platform.
    pushed: usize,
    /// Sites of a fleet, findings of each, and how many of them all change at once.
    sites: usize,
    of_each_site: usize,
    fleet_changes: usize,
    /// How often the start is timed.
    starts: usize,
    /// Webhooks and connections of the burst.
    webhooks: usize,
    connections: usize,
    /// For how long the gateway has nothing to do.
    idle: Duration,
    /// For how long everybody has a turn with webhooks as fast as they are answered, and how many turns.
    load: Duration,
    turns: usize,
    /// Strangers: how many connections, for how long they are rude, bytes of a body that nobody takes, calls with wrong
    /// signatures, and signatures of which the time is taken.
    strangers: usize,
    rude: Duration,
    body: u64,
    lies: u64,
    samples: usize,
}

const FULL: Scale = Scale {
    watched: 1_000,
    changed: 10,
    analyses: 100,
    small: 900,
    large: 9_000,
    projects: 11,
    of_each: 9_100,
    shown_projects: 110,
    cloud: 35_000,
    of_one_second: 12_000,
    server: 50_000,
    refused: [45, 20],
    largest: 100_000,
    whole_max: "5000",
    pushed: 10_000,
    sites: 100,
    of_each_site: 2_000,
    fleet_changes: 100_000,
    starts: 5,
    webhooks: 2_000,
    connections: 16,
    idle: Duration::from_mins(10),
    load: Duration::from_secs(5),
    turns: 3,
    strangers: 10_000,
    rude: Duration::from_secs(10),
    body: 200_000_000,
    lies: 1_000_000,
    samples: 100_000,
};

const SMOKE: Scale = Scale {
    watched: 50,
    changed: 4,
    analyses: 2,
    small: 30,
    large: 700,
    projects: 2,
    of_each: 700,
    shown_projects: 2,
    cloud: 700,
    of_one_second: 300,
    server: 1_700,
    refused: [5, 3],
    largest: 1_700,
    whole_max: "500",
    pushed: 1_200,
    sites: 4,
    of_each_site: 700,
    fleet_changes: 300,
    starts: 1,
    webhooks: 64,
    connections: 4,
    idle: Duration::from_secs(1),
    load: Duration::from_secs(1),
    turns: 1,
    strangers: 100,
    rude: Duration::from_secs(1),
    body: 20_000_000,
    lies: 1_000,
    samples: 1_000,
};

const ORGANIZATION: &str = "acme";
const MIB: u64 = 1024 * 1024;

/// Imports a small and a large project and reads the large one again, unchanged.
fn first_import(scale: &Scale, table: &mut Table) {
    section("First imports");
    let mut peaks = Vec::new();
    for count in [scale.small, scale.large] {
        let sonar = Sonar::start(Mode::Cloud);
        sonar.edit(|model| {
            model.add_project(ORGANIZATION, "big", "Big");
            model.add_issues("big", "main", count)
        });
        let gateway = Gateway::start();
        connect(&gateway, &sonar);
        sonar.forget_requests();
        let begin = Instant::now();
        import(&gateway, &["big"]);
        let took = begin.elapsed();
        let calls = sonar.requests();
        let rules = calls.iter().filter(|call| call.path.contains("rules/show")).count();
        let needed = count.div_ceil(500) + rules + OTHER_REQUESTS;
        assert_eq!(total(&gateway, "findings?limit=1"), count as u64);
        peaks.push(memory(gateway.id(), "VmHWM"));
        table.noted(&format!("first import of {count} findings"), Figure::Time(took));
        table.limited(
            &format!("  its requests; limit: pages + {rules} rules + {OTHER_REQUESTS}"),
            Figure::Count(calls.len() as u64),
            Figure::Count(needed as u64),
        );
        table.noted("  the gateway's peak memory", Figure::Bytes(peaks[peaks.len() - 1]));
        if count == scale.large {
            read_again(&gateway, count, table);
        }
    }
    let grown = peaks[1].saturating_sub(peaks[0]);
    let what = format!("peak memory with {} findings beyond that with {}", scale.large, scale.small);
    // What ten times the findings may cost: fixed tables and buffers fill up, but nothing is kept for each finding.
    table.limited(&what, Figure::Bytes(grown), Figure::Bytes(4 * MIB));
}

/// Requests of a first import beside pages and rules: is the token good, which branches are there, and the like.
const OTHER_REQUESTS: usize = 10;

fn read_again(gateway: &Gateway, count: usize, table: &mut Table) {
    let before = (written(gateway.id()), changes(gateway));
    let begin = Instant::now();
    gateway.json(&["sync", ORGANIZATION, "big", "--wait"]);
    let took = begin.elapsed();
    table.noted(&format!("reading {count} unchanged findings again"), Figure::Time(took));
    table.limited_bytes("  bytes that it wrote", written_since(gateway.id(), before.0), 256 * 1024);
    table.limited("  changes that it found", Figure::Count(changes(gateway) - before.1), Figure::Count(0));
}

/// Entries in the change log of some findings.
fn changes(gateway: &Gateway) -> u64 {
    let list = api::get(&gateway.state(), "findings?limit=200");
    let ids = list["findings"].as_array().expect("a list").iter().filter_map(|finding| finding["id"].as_str());
    let of = |id| api::get(&gateway.state(), &format!("findings/{id}"))["changes"].as_array().map_or(0, Vec::len);
    ids.map(|id| of(id) as u64).sum()
}

/// Fills an inventory while webhooks come in, then starts with it after every kind of end.
fn large_inventory(scale: &Scale, table: &mut Table) {
    let all = scale.projects * scale.of_each;
    section(&format!("An inventory of {all} findings"));
    let sonar = Sonar::start(Mode::Cloud);
    let names: Vec<String> = (0..scale.projects).map(|number| format!("project-{number}")).collect();
    sonar.edit(|model| {
        for name in &names {
            model.add_project(ORGANIZATION, name, name);
            model.add_issues(name, "main", scale.of_each);
        }
        model.add_project(ORGANIZATION, "pulse", "Pulse");
        model.add_issues("pulse", "main", 5);
    });
    let gateway = Gateway::start();
    // So many webhooks for one project would use up the default budget, and the imports would wait for theirs.
    gateway.json(&["config", "set", "requests-per-minute", "100000"]);
    connect(&gateway, &sonar);
    import(&gateway, &["pulse"]);
    let sender = Steady::start(&gateway);
    let begin = Instant::now();
    import(&gateway, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let took = begin.elapsed();
    let mut answers = sender.stop().expect("every webhook was accepted");
    answers.sort();
    table.noted(
        &format!("import of {all} findings, webhooks coming in meanwhile, without a budget"),
        Figure::Time(took),
    );
    let limit = Figure::Bytes(64 * MIB);
    table.limited("  the gateway's peak memory", Figure::Bytes(memory(gateway.id(), "VmHWM")), limit);
    let limit = Figure::Time(Duration::from_millis(250));
    let sent = answers.len();
    table.limited(&format!("  the slowest answer to one of {sent} webhooks"), Figure::Time(most(&answers)), limit);
    table.noted("  99 of 100 answered within", Figure::Time(answers[sent * 99 / 100]));
    assert_eq!(total(&gateway, "findings?limit=1"), all as u64 + 5);
    let size = std::fs::metadata(gateway.state().join("hydrophone.redb")).map_or(0, |file| file.len());
    table.noted("  the database file", Figure::Bytes(size));
    starts(scale, table, gateway, &sonar, &names);
}

fn starts(scale: &Scale, table: &mut Table, mut gateway: Gateway, sonar: &Sonar, names: &[String]) {
    settle(&gateway);
    // The threads that the work had called up end after a few seconds.
    thread::sleep(Duration::from_secs(7));
    let limit = Figure::Bytes(64 * MIB);
    table.limited("memory when idle, after the import", Figure::Bytes(memory(gateway.id(), "VmRSS")), limit);
    let limit = Figure::Bytes(15 * MIB);
    let mut clean = Vec::new();
    for _ in 0..scale.starts {
        let (again, took) = start_after(gateway.stop(), &[]);
        gateway = again;
        clean.push(took);
    }
    table.limited(
        "start to ready after a clean stop, slowest",
        Figure::Time(most(&clean)),
        Figure::Time(Duration::from_millis(100)),
    );
    table.limited("memory when idle, after the start", Figure::Bytes(memory(gateway.id(), "VmRSS")), limit);
    for _ in 0..20 {
        api::get(&gateway.state(), "status");
        api::get(&gateway.state(), "projects");
        assert!(total(&gateway, "findings?limit=50") > 0);
        api::get(&gateway.state(), "deliveries?limit=50");
    }
    thread::sleep(Duration::from_secs(1));
    table.limited("memory when idle, after 80 calls of the API", Figure::Bytes(memory(gateway.id(), "VmRSS")), limit);
    let mut killed = Vec::new();
    for _ in 0..scale.starts {
        let (again, took) = start_after(gateway.kill(), &[]);
        gateway = again;
        killed.push(took);
    }
    let limit = Figure::Time(Duration::from_millis(500));
    table.limited("start to ready after kill -9, slowest", Figure::Time(most(&killed)), limit);
    let mut interrupted = Vec::new();
    for pair in names.chunks_exact(2).take(scale.starts) {
        // Both workers at work and webhooks between them: the writer is never without work, which is when its commits
        // are those that a start has to repair.
        for name in pair {
            change_all(sonar, name);
        }
        let sender = Steady::start(&gateway);
        for name in pair {
            gateway.json(&["sync", ORGANIZATION, name]);
        }
        let of = |gateway: &Gateway, name| total(gateway, &format!("findings?project={name}&severity=info&limit=1"));
        wait("half of the changes to be applied", || of(&gateway, &pair[0]) >= scale.of_each as u64 / 2);
        let folder = gateway.kill();
        // It was cut off in the middle of a webhook.
        let _ = sender.stop();
        let (again, took) = start_after(folder, &[]);
        gateway = again;
        interrupted.push(took);
        wait("the rest to be applied", || pair.iter().all(|name| of(&gateway, name) == scale.of_each as u64));
    }
    table.limited("start to ready after kill -9 while applying, slowest", Figure::Time(most(&interrupted)), limit);
    settle(&gateway);
    drop(gateway.stop());
}

/// Somebody who sends one webhook after the other, with a short pause between them.
struct Steady {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Option<Vec<Duration>>>,
}

impl Steady {
    fn start(gateway: &Gateway) -> Self {
        let hook = Hook::of(gateway, ORGANIZATION);
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut sender = hook.connect();
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    times.push(sender.try_send("pulse")?);
                    thread::sleep(Duration::from_millis(20));
                }
                Some(times)
            }
        });
        Self { stop, thread }
    }

    /// How long each answer took; nothing if one failed.
    fn stop(self) -> Option<Vec<Duration>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

/// Gives every finding of a project another severity.
fn change_all(sonar: &Sonar, project: &str) {
    sonar.edit(|model| {
        let keys: Vec<String> = model
            .branch(project, "main")
            .expect("the project is there")
            .issues()
            .iter()
            .map(|issue| issue.key.clone())
            .collect();
        for key in keys {
            model.set_severity(&key, Severity::Info);
        }
    });
}

fn start_after(folder: Arc<tempfile::TempDir>, flags: &[&str]) -> (Gateway, Duration) {
    let begin = Instant::now();
    let gateway = Gateway::start_in(folder, flags).unwrap_or_else(|log| panic!("the gateway does not start:\n{log}"));
    let took = begin.elapsed();
    assert_eq!(api::get(&gateway.state(), "status")["ready"], true);
    (gateway, took)
}

/// Imports projects and waits, without the pauses of the command line, until they are read.
fn import(gateway: &Gateway, projects: &[&str]) {
    import_from(gateway, ORGANIZATION, projects);
}

fn import_from(gateway: &Gateway, organization: &str, projects: &[&str]) {
    let mut arguments = vec!["project", "import", organization];
    arguments.extend(projects.iter().flat_map(|project| ["--project", project]));
    gateway.json(&arguments);
    wait("the import", || {
        let all = api::get(&gateway.state(), "projects");
        let all = all["projects"].as_array().expect("a list");
        let is_read = |branch: &Value| {
            branch["error"].is_null() && branch["synced_at"].is_string() && branch["activity"] == "idle"
        };
        projects.iter().all(|key| {
            let project = all.iter().find(|project| project["key"] == *key).expect("it was imported");
            project["branches"].as_array().is_some_and(|all| !all.is_empty() && all.iter().all(is_read))
        })
    });
}

/// Waits until nothing is read from SonarQube.
fn settle(gateway: &Gateway) {
    wait("the gateway to come to rest", || {
        let sync = &api::get(&gateway.state(), "status")["sync"];
        sync["running"] == 0 && sync["queued"] == 0
    });
}

/// A metric that has no labels.
fn metric(gateway: &Gateway, name: &str) -> f64 {
    let text = api::text(&gateway.state(), "/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|number| number.parse().ok()).expect("it is told")
}

fn total(gateway: &Gateway, path: &str) -> u64 {
    api::get(&gateway.state(), path)["total"].as_u64().expect("a list has a total")
}

/// Looks again and again, with a pause that costs the gateway little of its processor.
fn wait(what: &str, is_so: impl FnMut() -> bool) {
    wait_for(WAIT_MAX, what, is_so);
}

fn wait_for(patience: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + patience;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

const WAIT_MAX: Duration = Duration::from_mins(4);

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn most(times: &[Duration]) -> Duration {
    *times.iter().max().expect("something was measured")
}

fn section(text: &str) {
    eprintln!("{text}");
}
