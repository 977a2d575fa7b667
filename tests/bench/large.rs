//! Projects larger than the window that Sonar shows: requests, time and memory of reading them, also where Sonar refuses
//! some requests, and what a webhook costs in one of 100,000 findings.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hydrophone::domain::ids::{ProjectId, ScopeId, SourceName};
use hydrophone::store::{catalogue, findings};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::process::memory;
use crate::support::gateway::Gateway;
use crate::support::inside::Inside;
use crate::support::sonar::{Call, DAY_SECONDS, Fault, Issue, Mode, Severity, Sonar, When};
use crate::support::{api, connect, hook_up};
use crate::table::{Figure, Table};
use crate::{MIB, Scale, import_from, section, total, wait};

const SERVER: Mode = Mode::Server { version: "2026.3.0.1", mqr: true };
const ISSUES: &str = "/api/issues/search";

/// Findings on Cloud, many of which were created in one second.
pub(crate) fn of_one_second(scale: &Scale, table: &mut Table) {
    section("More findings of one second than the window shows");
    let (all, of_one) = (scale.cloud, scale.of_one_second);
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        model.add_project("acme", "big", "Big");
        model.add_issues("big", "main", all - of_one);
        let then = (model.now() / DAY_SECONDS - 300) * DAY_SECONDS;
        model.add_issues_at("big", "main", of_one, then);
    });
    let gateway = Gateway::start();
    let (calls, _) = imported(&gateway, &sonar, all);
    table.limited(
        &format!("{all} findings on Cloud, {of_one} of one second: searches; limit: 1.3 x pages"),
        Figure::Count(searches(&calls, 200)),
        Figure::Count(pages(all) * 13 / 10),
    );
}

/// Findings on a Server nearby: requests, memory, and the time beside that of fetching the same pages and no more.
pub(crate) fn nearby(scale: &Scale, table: &mut Table) {
    section("A Server nearby");
    let all = scale.server;
    let sonar = server_of(all);
    let gateway = Gateway::start();
    let (calls, took) = imported(&gateway, &sonar, all);
    let clean = searches(&calls, 200);
    let asked = clean + calls.iter().filter(|call| call.path == "/api/hotspots/search").count() as u64;
    table.limited(
        &format!("{all} findings on a Server: searches; limit: 1.15 x pages"),
        Figure::Count(asked),
        Figure::Count(pages(all) * 115 / 100),
    );
    table.limited("  the gateway's peak memory", Figure::Bytes(memory(gateway.id(), "VmHWM")), Figure::Bytes(40 * MIB));
    let plain = fetched(&sonar, &calls);
    table.noted("  the same pages one after another with curl", Figure::Time(plain));
    table.limited(
        "  import, until all is on disk; limit: 1.3 x curl",
        Figure::Time(took),
        Figure::Time(plain * 13 / 10),
    );
    drop(gateway.stop());
    for (every, hint) in
        [(scale.refused[0], true), (scale.refused[0], false), (scale.refused[1], true), (scale.refused[1], false)]
    {
        let gateway = Gateway::start();
        gateway.json(&["config", "set", "pause-seconds", "1"]);
        connect(&gateway, &sonar);
        let fault = Fault::too_many_requests(1);
        let fault = if hint { fault.with_header("Retry-After", "1") } else { fault };
        let of_the_read = |call: &Call| !call.path.contains("components");
        sonar.fault_by(When::EveryNth(every), of_the_read, fault);
        sonar.forget_requests();
        import_from(&gateway, "sonar", &["big"]);
        sonar.clear_faults();
        let calls = sonar.requests();
        assert_eq!(total(&gateway, "findings?limit=1"), all as u64);
        let how = if hint { "with Retry-After" } else { "without a hint" };
        let (answered, refused) = (searches(&calls, 200), searches(&calls, 429));
        table.limited(
            &format!("  every {every}th call refused {how} ({refused} searches): answered searches beyond {clean}"),
            Figure::Count(answered.saturating_sub(clean)),
            Figure::Count(5),
        );
        drop(gateway.stop());
    }
}

/// A webhook in the largest project, and the read of the whole that follows.
pub(crate) fn webhook(scale: &Scale, table: &mut Table) {
    let all = scale.largest;
    section(&format!("A webhook in a project of {all} findings"));
    let sonar = server_of(all);
    let gateway = Gateway::start();
    gateway.json(&["config", "set", "whole-read-max", scale.whole_max]);
    let (calls, took) = imported(&gateway, &sonar, all);
    table
        .noted(&format!("one project of {all} findings, first import: searches"), Figure::Count(searches(&calls, 200)));
    table.noted("  its time, within the default budget of 300 requests a minute", Figure::Time(took));
    table.limited("  the gateway's peak memory", Figure::Bytes(memory(gateway.id(), "VmHWM")), Figure::Bytes(64 * MIB));
    hook_up(&gateway, &sonar, "sonar");
    let keys: Vec<String> = sonar.edit(|model| {
        model.branch("big", "main").expect("it is there").issues()[..4].iter().map(|one| one.key.clone()).collect()
    });
    sonar.forget_requests();
    let begin = Instant::now();
    sonar.analyse("big", "main", |analysis| {
        analysis.fix(&keys[0]);
        analysis.fix(&keys[1]);
        analysis.set_severity(&keys[2], Severity::Info);
        analysis.open(Issue::vulnerability("java:S3649", "src/new/Added.java", 1));
        analysis.open(Issue::vulnerability("java:S3649", "src/new/Added.java", 2));
    });
    wait("the delivery to be synced", || {
        let list = api::get(&gateway.state(), "deliveries?limit=1");
        list["deliveries"].as_array().is_some_and(|all| all.iter().any(|delivery| delivery["outcome"] == "synced"))
    });
    let took = begin.elapsed();
    let asked = sonar.requests();
    assert_eq!(total(&gateway, "findings?state=fixed&limit=1"), 2);
    assert_eq!(total(&gateway, "findings?limit=1"), all as u64);
    table.limited(
        "  a webhook with 5 changes: requests until they are visible",
        Figure::Count(asked.len() as u64),
        Figure::Count(6),
    );
    table.limited("  the time that took", Figure::Time(took), Figure::Time(Duration::from_secs(1)));
    sonar.edit(|model| model.shift_line(&keys[3], 4_711));
    whole_after(&sonar, gateway, &keys[3], table);
}

/// The minutes after it, by a clock that is turned: the second look, and the whole.
fn whole_after(sonar: &Sonar, gateway: Gateway, shifted: &str, table: &mut Table) {
    let state = gateway.state();
    let inside = Inside::over(gateway.stop(), &state);
    let name = SourceName::parse("sonar").expect("it is a name");
    let (project, _) = inside.store.read(catalogue::projects).expect("the store reads").remove(0);
    let before = digests(&inside, project);
    sonar.forget_requests();
    let mut most = 0;
    for _ in 0..12 {
        inside.pass(Duration::from_mins(1));
        most = most.max(inside.work.sources.health(&name).requests_last_minute);
    }
    let searches = searches(&sonar.requests(), 200);
    table.noted("  the second look and the whole, 5 minutes later: searches", Figure::Count(searches));
    table.limited("    the most requests in one of those minutes", Figure::Count(most.into()), Figure::Count(300));
    let after = digests(&inside, project);
    let changed: Vec<_> = after.iter().filter(|one| before.binary_search(one).is_err()).collect();
    assert!(changed.len() == 1 && changed[0].0 == shifted, "{changed:?}");
    table.limited(
        "    what it found: the line that had shifted",
        Figure::Count(changed.len() as u64),
        Figure::Count(1),
    );
}

/// What is held of each finding, in the order of their keys.
fn digests(inside: &Inside, project: ProjectId) -> Vec<(String, String)> {
    let (scope, _): (ScopeId, _) = inside.scope(project, "main").expect("it was imported");
    let mut all: Vec<(String, String)> = Vec::new();
    let mut after = None;
    loop {
        let found =
            inside.store.read(|view| findings::after(view, scope, after.as_ref(), 1000)).expect("the store reads");
        let Some(last) = found.last() else { break };
        after = Some(last.observed.key.clone());
        all.extend(found.iter().map(|one| (one.observed.key.to_string(), format!("{:?}", one.observed))));
    }
    all.sort();
    all
}

fn server_of(findings: usize) -> Sonar {
    let sonar = Sonar::start(SERVER);
    sonar.edit(|model| {
        model.add_project("", "big", "Big");
        model.add_issues("big", "main", findings);
    });
    sonar
}

/// Imports the project; the requests and the time of that.
fn imported(gateway: &Gateway, sonar: &Sonar, findings: usize) -> (Vec<Call>, Duration) {
    connect(gateway, sonar);
    sonar.forget_requests();
    let begin = Instant::now();
    let organization = if sonar.edit(|model| model.edition.cloud) { "acme" } else { "sonar" };
    import_from(gateway, organization, &["big"]);
    let took = begin.elapsed();
    assert_eq!(total(gateway, "findings?limit=1"), findings as u64);
    (sonar.requests(), took)
}

fn pages(findings: usize) -> u64 {
    findings.div_ceil(500) as u64
}

fn searches(calls: &[Call], status: u16) -> u64 {
    calls.iter().filter(|call| call.path == ISSUES && call.status == status).count() as u64
}

/// How long curl takes for the same searches over one connection, without looking at what they hold.
fn fetched(sonar: &Sonar, calls: &[Call]) -> Duration {
    use std::fmt::Write as _;
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut config = format!("silent\nfail\ncompressed\nheader = \"Authorization: Bearer {}\"\n", sonar.token());
    for call in calls.iter().filter(|call| call.path == ISSUES) {
        let query: Vec<String> = call.query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        write!(config, "url = \"{}{}?{}\"\noutput = \"/dev/null\"\n", sonar.url(), call.path, query.join("&"))
            .expect("text can be written");
    }
    // What SonarQube found for the import it would have at hand.
    sonar.edit(|_| ());
    let begin = Instant::now();
    let mut child = Command::new("curl")
        .args(["--config", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("curl is installed");
    child.stdin.take().expect("it is a pipe").write_all(config.as_bytes()).expect("curl reads it");
    let status = child.wait().expect("curl ends");
    assert!(status.success(), "curl: {status}");
    begin.elapsed()
}
