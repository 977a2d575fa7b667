//! The real daemon, killed over and over at random moments while webhooks pour in and projects are read: every
//! delivery that was answered 202 is found again, with its task, and none that nobody sent.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unreachable_pub, reason = "a test program exports nothing")]

#[path = "support/disk.rs"]
mod disk;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::disk::Chance;
use crate::support::gateway::{Gateway, SOON};
use crate::support::sonar::{Mode, Sonar, signature};
use crate::support::{api, connect, import, survey};

const SENDERS: usize = 4;

/// The longest that the daemon may live, and how many deliveries one sender sends in that time at most.
const LIFE_MAX_MS: usize = 400;
const SENT_PER_LIFE_MAX: usize = 60;

/// Where webhooks go.
struct Hook {
    address: String,
    path: String,
    secret: String,
}

impl Hook {
    fn of(gateway: &Gateway) -> Self {
        let webhook = gateway.json(&["webhook", "show", "acme", "--reveal"]);
        let url = webhook["url"].as_str().unwrap();
        let path = url.strip_prefix(gateway.address()).expect("without a public URL it is the listener's").to_owned();
        let address = gateway.address().strip_prefix("http://").unwrap().to_owned();
        Self { address, path, secret: webhook["secret"].as_str().unwrap().to_owned() }
    }

    /// Sends a signed call. The delivery's number if it was answered 202; nothing if the answer was another or none.
    fn send(&self, task: &str) -> Option<String> {
        let body = json!({
            "taskId": task, "status": "SUCCESS", "analysedAt": "2026-01-02T03:04:05+0000",
            "project": {"key": "shop", "name": "shop"}, "branch": {"name": "main", "type": "LONG", "isMain": true},
        });
        let body = body.to_string();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: gateway.example\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             X-Sonar-Webhook-HMAC-SHA256: {}\r\nConnection: close\r\n\r\n",
            self.path,
            body.len(),
            signature(&self.secret, body.as_bytes())
        );
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(SOON)).ok()?;
        stream.write_all((head + &body).as_bytes()).ok()?;
        let mut answer = Vec::new();
        // A kill cuts the answer off anywhere; what counts is what came.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        if !head.starts_with("HTTP/1.1 202 ") {
            return None;
        }
        let body: Value = serde_json::from_str(body).ok()?;
        Some(body["delivery"].as_str()?.to_owned())
    }
}

/// The whole delivery log: task by number.
fn logged(gateway: &Gateway) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut path = "deliveries?limit=500".to_owned();
    loop {
        let page = api::get(&gateway.state(), &path);
        for delivery in page["deliveries"].as_array().unwrap() {
            let text = |member: &str| delivery[member].as_str().unwrap().to_owned();
            assert!(found.insert(text("id"), text("task_id")).is_none(), "a delivery is there twice");
        }
        match page["next"].as_str() {
            Some(next) => path = format!("deliveries?limit=500&before={next}"),
            None => return found,
        }
    }
}

#[test]
fn every_202_is_found_again_after_any_number_of_kills() {
    let kills = survey::number("HYDROPHONE_KILLS", 50);
    let seed = survey::number("HYDROPHONE_SEED", 7);
    eprintln!("HYDROPHONE_SEED={seed}");
    let mut chance = Chance(seed as u64);
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        model.add_project("acme", "shop", "Web shop");
        model.add_issues("shop", "main", 700);
    });
    let mut gateway = Gateway::start_with(&["--webhook-plain"]);
    connect(&gateway, &sonar);
    import(&gateway, "acme", &["shop"]);
    let hook = Hook::of(&gateway);
    let mut answered: BTreeMap<String, String> = BTreeMap::new();
    let (mut unchecked, mut slowest) = (0, Duration::ZERO);
    let next = AtomicU64::new(0);
    for kill in 1..=kills {
        // So that there is something to be read, and to be cut in the middle.
        sonar.edit(|model| model.add_issues("shop", "main", 3));
        let over = AtomicBool::new(false);
        let life = Duration::from_millis(chance.below(LIFE_MAX_MS) as u64);
        let (stopped, told) = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..SENDERS)
                .map(|_| {
                    scope.spawn(|| {
                        let mut told = Vec::new();
                        for _ in 0..SENT_PER_LIFE_MAX {
                            if over.load(Ordering::Relaxed) {
                                break;
                            }
                            let task = format!("T{}", next.fetch_add(1, Ordering::Relaxed));
                            told.extend(hook.send(&task).map(|id| (id, task)));
                        }
                        told
                    })
                })
                .collect();
            // A random moment is what is wanted here, not an event.
            std::thread::sleep(life);
            let stopped = gateway.kill();
            over.store(true, Ordering::Relaxed);
            let told: Vec<_> = senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
            (stopped, told)
        });
        for (id, task) in told {
            assert!(answered.insert(id.clone(), task).is_none(), "kill {kill}: the number {id} is given twice");
            unchecked += 1;
        }
        let began = Instant::now();
        gateway = Gateway::start_in(stopped, &["--webhook-plain", "--webhook-listen", &hook.address])
            .unwrap_or_else(|log| panic!("kill {kill}: it does not start again:\n{log}"));
        slowest = slowest.max(began.elapsed());
        if unchecked > 0 && (kill % 10 == 0 || kill == kills) {
            let log = logged(&gateway);
            for (id, task) in &answered {
                assert_eq!(log.get(id), Some(task), "kill {kill}: {id} was answered 202 and is lost");
            }
            let sent = next.load(Ordering::Relaxed);
            for task in log.values() {
                let number: u64 = task.strip_prefix('T').unwrap().parse().unwrap();
                assert!(number < sent, "kill {kill}: {task} was never sent");
            }
            unchecked = 0;
        }
    }
    // When the kills are over, all is worked off, and the inventory is Sonar's.
    gateway.wait("everything to be worked off", |gateway| {
        let status = api::get(&gateway.state(), "status");
        (status["sync"]["queued"] == 0 && status["sync"]["running"] == 0).then_some(())
    });
    let branch = gateway.json(&["project", "show", "acme", "shop"])["branches"][0].clone();
    let issues = 700 + 3 * kills;
    assert_eq!((&branch["sonar_total"], &branch["stored_total"]), (&json!(issues), &json!(issues)), "{branch}");
    for delivery in gateway.json(&["delivery", "list", "--limit", "500"])["deliveries"].as_array().unwrap() {
        assert_eq!(delivery["outcome"], "synced", "{delivery}");
    }
    assert!(answered.len() >= kills, "only {} deliveries were answered", answered.len());
    let outcome = format!("{} answered 202, none lost; slowest start {} ms", answered.len(), slowest.as_millis());
    survey::note("kill -9 under webhook load", kills, &outcome);
}
