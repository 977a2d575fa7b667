//! Inventories of three sizes, each ten times the one before: what should not grow with them is held beside the smallest.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use redb::{ReadableDatabase, ReadableTableMetadata};

use crate::process::memory;
use crate::support::gateway::Gateway;
use crate::support::sonar::{Issue, Mode, Sonar};
use crate::support::{api, connect};
use crate::table::{Figure, Table};
use crate::{MIB, ORGANIZATION, Scale, import, median, most, page, section, settle, start_after, total};

/// See the module. The page is shown with the largest.
pub(crate) fn measure(scale: &Scale, table: &mut Table) {
    let mut former: Vec<Seen> = Vec::new();
    for projects in [scale.shown_projects.div_ceil(100), scale.shown_projects.div_ceil(10), scale.shown_projects] {
        let all = projects * scale.of_each + 1;
        section(&format!("An inventory of {all} findings"));
        let (gateway, sonar) = filled(projects, scale, table);
        let (gateway, seen) = look(gateway, scale, all, table);
        former.push(seen);
        if projects == scale.shown_projects {
            page::measure(gateway, &sonar, table);
        } else {
            drop(gateway.stop());
        }
    }
    compare(&former[0], &former[former.len() - 1], table);
}

const PAGE: &[&str] = &["--admin-listen", "127.0.0.1:0"];

/// So many projects, imported.
fn filled(projects: usize, scale: &Scale, table: &mut Table) -> (Gateway, Sonar) {
    let sonar = Sonar::start(Mode::Cloud);
    let gateway = Gateway::start_with(PAGE);
    gateway.json(&["config", "set", "requests-per-minute", "100000"]);
    connect(&gateway, &sonar);
    let all = projects * scale.of_each + 1;
    let begin = Instant::now();
    // So many at once are imported within the time that anything may take here.
    for some in (0..projects).collect::<Vec<_>>().chunks(10) {
        let names: Vec<String> = some.iter().map(|number| format!("project-{number}")).collect();
        sonar.edit(|model| {
            for name in &names {
                model.add_project(ORGANIZATION, name, name);
                model.add_issues(name, "main", scale.of_each);
            }
            if names[0] == "project-0" {
                model.add_issue(
                    "project-0",
                    "main",
                    Issue::vulnerability("java:S3649", "src/Rare.java", 1).with_message("A needle"),
                );
            }
        });
        import(&gateway, &names.iter().map(String::as_str).collect::<Vec<_>>());
    }
    table.noted(&format!("{all} findings imported, for what follows"), Figure::Time(begin.elapsed()));
    assert_eq!(total(&gateway, "findings?limit=1"), all as u64);
    settle(&gateway);
    (gateway, sonar)
}

/// What was seen of one size.
struct Seen {
    all: usize,
    clean: Duration,
    killed: Duration,
    memory: u64,
    list: Duration,
    search: Duration,
    exported: f64,
    bytes: u64,
}

fn look(gateway: Gateway, scale: &Scale, all: usize, table: &mut Table) -> (Gateway, Seen) {
    let state = gateway.state();
    let folder = gateway.stop();
    let (bytes, words) = of_each(&state, all);
    table.limited(
        "  bytes in the database for each finding, without the search index",
        Figure::Count(bytes),
        Figure::Count(1500),
    );
    table.limited("  and for the search index", Figure::Count(words), Figure::Count(1000));
    let (mut gateway, first) = start_after(folder, PAGE);
    let mut clean = vec![first];
    let mut killed = Vec::new();
    for _ in 0..scale.starts {
        let took;
        (gateway, took) = start_after(gateway.stop(), PAGE);
        clean.push(took);
    }
    for _ in 0..scale.starts {
        let took;
        (gateway, took) = start_after(gateway.kill(), PAGE);
        killed.push(took);
    }
    settle(&gateway);
    let seen = Seen {
        all,
        clean: median(&mut clean),
        killed: median(&mut killed),
        memory: memory(gateway.id(), "VmRSS"),
        list: asked(&gateway, "findings?limit=50"),
        search: asked(&gateway, "findings?search=needle&limit=50"),
        exported: exported(&gateway, all),
        bytes: bytes + words,
    };
    table.limited("  start to ready, slowest", Figure::Time(most(&clean)), Figure::Time(Duration::from_millis(100)));
    table.limited("  after kill -9, slowest", Figure::Time(most(&killed)), Figure::Time(Duration::from_millis(500)));
    table.limited("  memory when idle", Figure::Bytes(seen.memory), Figure::Bytes(15 * MIB));
    table.limited(
        "  first page of 50 by the API, median",
        Figure::Time(seen.list),
        Figure::Time(Duration::from_millis(20)),
    );
    table.limited(
        "  a search for a word that one finding has, median",
        Figure::Time(seen.search),
        Figure::Time(Duration::from_millis(20)),
    );
    table.noted("  findings exported as CSV", Figure::Rate(seen.exported));
    (gateway, seen)
}

/// Bytes in the pages of the database for each finding: without the search index, and of that alone.
fn of_each(state: &Path, all: usize) -> (u64, u64) {
    let database = redb::ReadOnlyDatabase::open(state.join("hydrophone.redb")).expect("it was closed");
    let view = database.begin_read().expect("it can be read");
    let (mut rest, mut words) = (0, 0);
    for table in view.list_tables().expect("they can be listed") {
        let name = redb::TableHandle::name(&table).to_owned();
        let held = view.open_untyped_table(table).and_then(|table| Ok(table.stats()?)).expect("it can be read");
        let bytes = held.stored_bytes() + held.metadata_bytes() + held.fragmented_bytes();
        if ["words", "texts"].contains(&name.as_str()) {
            words += bytes;
        } else {
            rest += bytes;
        }
    }
    (rest / all as u64, words / all as u64)
}

/// The median of 21 answers.
fn asked(gateway: &Gateway, path: &str) -> Duration {
    let state = gateway.state();
    let times = (0..21).map(|_| {
        let begin = Instant::now();
        assert!(api::get(&state, path)["findings"].as_array().is_some_and(|list| !list.is_empty()));
        begin.elapsed()
    });
    median(&mut times.collect::<Vec<_>>())
}

/// Findings a second, written as CSV by the API and read to the end.
fn exported(gateway: &Gateway, all: usize) -> f64 {
    let mut stream = UnixStream::connect(gateway.state().join("admin.sock")).expect("the gateway runs");
    let begin = Instant::now();
    write!(stream, "GET /api/v1/findings/export?format=csv HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("it reads");
    // Each row names a file, whatever line ends are in it.
    let mut rows = 0;
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).expect("it answers") > 0 {
        rows += usize::from(line.windows(9).any(|part| part == b"src/main/"));
        line.clear();
    }
    let took = begin.elapsed();
    assert!(rows >= all * 9 / 10, "{rows} rows of {all} findings");
    #[allow(clippy::cast_precision_loss, reason = "a million")]
    let findings = all as f64;
    findings / took.as_secs_f64()
}

fn compare(small: &Seen, large: &Seen, table: &mut Table) {
    let times = large.all / small.all;
    let mut row = |what: &str, part: f64, most: f64| {
        table.limited(
            &format!("{times} times the findings: {what}, as a multiple"),
            Figure::Ratio(part),
            Figure::Ratio(most),
        );
    };
    let of = |large: Duration, small: Duration| large.as_secs_f64() / small.as_secs_f64();
    row("start to ready", of(large.clean, small.clean), 2.0);
    row("after kill -9", of(large.killed, small.killed), 2.0);
    row("first page", of(large.list, small.list), 2.0);
    row("that search", of(large.search, small.search), 2.0);
    #[allow(clippy::cast_precision_loss, reason = "megabytes and kilobytes")]
    let (memory, bytes) = (large.memory as f64 / small.memory as f64, large.bytes as f64 / small.bytes as f64);
    row("memory when idle", memory, 1.5);
    row("bytes for each finding", bytes, 1.25);
    row("time for each exported finding", small.exported / large.exported, 1.5);
}
