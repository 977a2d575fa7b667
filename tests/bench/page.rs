//! The page and the lists behind it with a large inventory, asked for over TLS as a browser does, and the gateway's
//! memory while ten look on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};
use serde_json::json;

use crate::process::memory;
use crate::support::gateway::Gateway;
use crate::support::sonar::{Issue, Sonar};
use crate::support::{hook_up, https, tls};
use crate::table::{Figure, Table};
use crate::{MIB, ORGANIZATION, median, most, section, settle, wait};

const PASSWORD: &str = "only for measuring";

/// See the module.
pub(crate) fn measure(gateway: Gateway, sonar: &Sonar, table: &mut Table) {
    section("The page");
    gateway.json_with(&["user", "add", "watch", "--role", "admin", "--password-file", "-"], PASSWORD);
    // Its memory is to be that of showing, and not that of importing.
    let gateway = gateway.restart(Gateway::stop);
    let cookie = log_in(&gateway);
    pages(&gateway, &cookie, table);
    paint(&gateway, table);
    audience(&gateway, &cookie, sonar, table);
    drop(gateway.stop());
}

fn log_in(gateway: &Gateway) -> String {
    let page = page_of(gateway);
    let body = json!({ "user": "watch", "password": PASSWORD }).to_string();
    let answer = https::ask(&page, "POST", "/api/v1/session", &[("Content-Type", "application/json")], &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let cookie = answer.header("set-cookie").and_then(|cookie| cookie.split(';').next());
    cookie.expect("a cookie is set").to_owned()
}

fn page_of(gateway: &Gateway) -> String {
    gateway.json(&["status"])["page"].as_str().expect("it is served").to_owned()
}

/// What is asked for, and whether its order and filter have an index.
const ADDRESSES: &[(&str, &str, bool)] = &[
    ("overview", "/", true),
    ("findings, most severe first", "/findings", true),
    ("findings, critical", "/findings?severity=critical", true),
    ("findings, low, of one project", "/findings?severity=low&project=project-1", true),
    ("findings, a word that one has", "/findings?search=needle", true),
    ("findings, a word that one in a thousand has", "/findings?search=699", false),
    ("findings, a word that all have", "/findings?search=java", true),
    ("findings, fixed", "/findings?state=fixed", true),
    ("findings, two words and a kind: no index", "/findings?search=java+s3649&kind=hotspot", false),
    ("findings, newest first", "/findings?sort=newest", true),
    ("findings, by path", "/findings?sort=path", true),
    ("projects", "/projects", false),
    ("the API, 50 findings", "/api/v1/findings?limit=50", true),
];

/// Each address 21 times over one connection.
fn pages(gateway: &Gateway, cookie: &str, table: &mut Table) {
    let mut browser = Browser::open(&page_of(gateway), cookie);
    for &(what, address, indexed) in ADDRESSES {
        let mut bytes = 0;
        let mut times = Vec::new();
        for _ in 0..21 {
            let begin = Instant::now();
            bytes = browser.get(address).len();
            times.push(begin.elapsed());
        }
        let what = format!("{what}: median, over a kept TLS connection");
        let limit = Figure::Time(Duration::from_millis(20));
        if indexed {
            table.limited(&what, Figure::Time(median(&mut times)), limit);
        } else {
            table.noted(&what, Figure::Time(median(&mut times)));
        }
        table.noted("  the slowest", Figure::Time(most(&times)));
        table.noted("  its size", Figure::Bytes(bytes as u64));
    }
    let page = String::from_utf8(browser.get("/findings")).expect("pages are text");
    let parts = ["href=\"/look", "src=\"/page"].map(|part| {
        let from = page.find(part).map(|at| &page[at..]).expect("the page names its style and script");
        from.split('"').nth(1).expect("it is an attribute").to_owned()
    });
    let bytes: usize = parts.iter().map(|part| browser.get(part).len()).sum::<usize>() + page.len();
    table.limited("the findings with style and script: sent", Figure::Bytes(bytes as u64), Figure::Bytes(100_000));
}

/// How soon Chromium shows something of a page, where it is installed.
fn paint(gateway: &Gateway, table: &mut Table) {
    if Command::new("chromedriver").arg("--version").stdout(Stdio::null()).status().is_err() {
        return eprintln!("  what a browser paints is not measured: there is no chromedriver");
    }
    let browser = crate::browser::Browser::open(&page_of(gateway));
    browser.go("/sign-in");
    browser.write("input[name=account]", "watch");
    browser.write("input[name=password]", PASSWORD);
    browser.press("form button.first");
    browser.arrive("/");
    for (what, address) in [("one word, for comparison", "/livez"), ("overview", "/"), ("findings", "/findings")] {
        let mut times: Vec<Duration> = (0..11)
            .map(|_| {
                browser.go(address);
                let script = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null";
                let milliseconds = browser.until("a paint", |_| browser.run(script, &[]).as_f64());
                Duration::from_secs_f64(milliseconds / 1000.0)
            })
            .collect();
        let what = format!("{what}: first contentful paint in Chromium, median");
        let median = Figure::Time(median(&mut times));
        // What the browser takes for itself, on a machine that it shares with the gateway.
        if address == "/livez" {
            table.noted(&what, median);
        } else {
            table.limited(&what, median, Figure::Time(Duration::from_millis(100)));
        }
    }
}

/// Ten follow what happens and look at pages, while analyses come in.
fn audience(gateway: &Gateway, cookie: &str, sonar: &Sonar, table: &mut Table) {
    hook_up(gateway, sonar, ORGANIZATION);
    let page = page_of(gateway);
    let heard = Arc::new(AtomicU64::new(0));
    for _ in 0..10 {
        let (page, cookie, heard) = (page.clone(), cookie.to_owned(), Arc::clone(&heard));
        // It ends with the gateway.
        thread::spawn(move || Browser::open(&page, &cookie).follow(&heard));
    }
    wait("all to listen", || heard.load(Ordering::Relaxed) >= 10);
    let looking: Vec<_> = (0..10)
        .map(|number| {
            let (page, cookie) = (page.clone(), cookie.to_owned());
            thread::spawn(move || {
                let mut browser = Browser::open(&page, &cookie);
                (0..30).map(|step| browser.timed(ADDRESSES[(number + step) % ADDRESSES.len()].1)).max()
            })
        })
        .collect();
    for round in 0..10 {
        sonar.analyse("project-1", "main", |analysis| {
            analysis.open(Issue::vulnerability("java:S3649", "src/new/Added.java", round));
        });
    }
    let mut slowest: Vec<Duration> = looking.into_iter().filter_map(|one| one.join().expect("it looks")).collect();
    settle(gateway);
    table.noted(
        "the slowest of 300 pages to ten browsers at once, while analyses come in",
        Figure::Time(most(&slowest)),
    );
    table.noted("  the median of their slowest", Figure::Time(median(&mut slowest)));
    let limit = Figure::Bytes(40 * MIB);
    table.limited("the gateway's peak memory with ten browsers", Figure::Bytes(memory(gateway.id(), "VmHWM")), limit);
    table.noted("  its memory at the end", Figure::Bytes(memory(gateway.id(), "VmRSS")));
}

/// A connection that is kept.
struct Browser {
    host: String,
    cookie: String,
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

impl Browser {
    fn open(page: &str, cookie: &str) -> Self {
        let host = page.strip_prefix("https://").expect("the page is served with TLS").to_owned();
        let stream = tls::connect(&host);
        stream.sock.set_nodelay(true).expect("it is a socket");
        Self { host, cookie: cookie.to_owned(), stream: BufReader::new(stream) }
    }

    fn send(&mut self, path: &str) {
        let Self { host, cookie, .. } = self;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nAccept-Encoding: gzip\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes()).expect("the gateway reads it");
        self.stream.get_mut().flush().expect("the gateway reads it");
    }

    /// The body, as it was sent.
    fn get(&mut self, path: &str) -> Vec<u8> {
        self.send(path);
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("the gateway answers");
        assert!(line.starts_with("HTTP/1.1 200"), "{path}: {line:?}");
        let mut length = None;
        loop {
            line.clear();
            self.stream.read_line(&mut line).expect("the gateway answers");
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            }
        }
        let mut body = vec![0; length.expect("a page says how long it is")];
        self.stream.read_exact(&mut body).expect("the gateway sends all of it");
        body
    }

    fn timed(&mut self, path: &str) -> Duration {
        let begin = Instant::now();
        self.get(path);
        begin.elapsed()
    }

    /// Reads events until the connection ends, and counts the first one of it.
    fn follow(mut self, heard: &AtomicU64) {
        self.send("/api/v1/events");
        let (mut line, mut first) = (String::new(), true);
        while self.stream.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            if first && line.starts_with("event: ") {
                heard.fetch_add(1, Ordering::Relaxed);
                first = false;
            }
            line.clear();
        }
    }
}
