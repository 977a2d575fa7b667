//! A webhook's whole way: into the inventory, and on to a receiver of signed events and a platform.

use std::time::{Duration, Instant};

use crate::support::defectdojo::DefectDojo;
use crate::support::gateway::Gateway;
use crate::support::receiver::Receiver;
use crate::support::sonar::{Issue, Mode, Sonar};
use crate::support::{api, connect, hook_up};
use crate::table::{Figure, Table};
use crate::{ORGANIZATION, Scale, import, median, section, total, wait};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// What is waited for after each analysis, in the order of the table's rows.
const ENDS: [&str; 3] = [
    "webhook sent to findings in the inventory",
    "  to the last of its events at a receiver",
    "  to its findings in DefectDojo (simulated)",
];

/// From the moment that SonarQube sends the webhook to the moment that the API shows its delivery as synced, which is
/// committed together with the last finding, and to the moments when the change has arrived at two destinations.
pub(crate) fn measure(scale: &Scale, table: &mut Table) {
    section("A webhook's way into the inventory and on");
    let sonar = Sonar::start(Mode::Cloud);
    let keys = sonar.edit(|model| {
        model.add_project(ORGANIZATION, "watched", "Watched");
        model.add_issues("watched", "main", scale.watched)
    });
    let (receiver, dojo) = (Receiver::start(SECRET), DefectDojo::start());
    let gateway = Gateway::start();
    // An analysis a second asks more often than a SonarQube that is used by people.
    gateway.json(&["config", "set", "requests-per-minute", "100000"]);
    connect(&gateway, &sonar);
    import(&gateway, &["watched"]);
    hook_up(&gateway, &sonar, ORGANIZATION);
    let add = |flags: &[&str], secret: &str| {
        gateway.json_with(&[&["destination", "add"], flags, &["--token-file", "-"]].concat(), secret);
        wait("the first push", || {
            api::get(&gateway.state(), &format!("destinations/{}", flags[1]))["state"] == "up_to_date"
        });
    };
    add(&["events", "siem", "--url", &receiver.url()], SECRET);
    add(&["defectdojo", "dojo", "--url", &dojo.url()], &dojo.token());
    let mut way = Way { sonar: &sonar, gateway: &gateway, receiver: &receiver, dojo: &dojo, keys };
    let mut times: [Vec<Duration>; 3] = Default::default();
    for round in 0..scale.analyses {
        for (times, took) in times.iter_mut().zip(way.once(scale, round)) {
            times.push(took);
        }
    }
    let fixed = total(&gateway, "findings?project=watched&state=fixed&limit=1");
    assert_eq!(fixed, (scale.analyses * (scale.changed / 2)) as u64, "not all changes arrived");
    println!("{} analyses of {} findings, {} changed by each", scale.analyses, scale.watched, scale.changed);
    for (what, times) in ENDS.iter().zip(&mut times) {
        let median = Figure::Time(median(times));
        let slow = Figure::Time(times[times.len() * 99 / 100]);
        if what.starts_with(' ') {
            table.noted(&format!("{what}, median"), median);
            table.noted("    99 of 100", slow);
        } else {
            let limit = Figure::Time(Duration::from_secs(1));
            table.limited(&format!("{what}, median"), median, limit);
            table.limited("    99 of 100", slow, limit);
        }
    }
}

struct Way<'a> {
    sonar: &'a Sonar,
    gateway: &'a Gateway,
    receiver: &'a Receiver,
    dojo: &'a DefectDojo,
    keys: Vec<String>,
}

impl Way<'_> {
    /// One analysis that fixes some and opens as many: when it had arrived where.
    fn once(&mut self, scale: &Scale, round: usize) -> [Duration; 3] {
        let half = scale.changed / 2;
        let (events, findings) = (self.told(), self.dojo.edit(|model| model.findings.len()));
        let mut sent = Instant::now();
        self.sonar.forget_deliveries();
        self.sonar.analyse("watched", "main", |analysis| {
            for key in self.keys.drain(..half) {
                analysis.fix(&key);
            }
            for number in half..scale.changed {
                let line = u32::try_from(round * scale.changed + number).expect("a line number fits");
                self.keys.push(analysis.open(Issue::vulnerability("java:S3649", "src/new/Added.java", line)));
            }
            sent = Instant::now();
        });
        let mut arrived = [None; 3];
        wait("the change to arrive everywhere", || {
            let are_there = [
                self.is_synced(round),
                self.told() >= events + 2 * half,
                self.dojo.edit(|model| model.findings.len()) >= findings + half,
            ];
            for (at, is_there) in arrived.iter_mut().zip(are_there) {
                if is_there {
                    at.get_or_insert_with(|| sent.elapsed());
                }
            }
            arrived.iter().all(Option::is_some)
        });
        let delivered = self.sonar.wait_deliveries(1).remove(0);
        assert_eq!(delivered.status, Some(202), "{delivered:?}");
        arrived.map(|at| at.expect("all were waited for"))
    }

    fn is_synced(&self, round: usize) -> bool {
        let newest = api::get(&self.gateway.state(), "deliveries?limit=200");
        let deliveries = newest["deliveries"].as_array().expect("a list");
        deliveries.len() > round && deliveries.iter().all(|delivery| delivery["outcome"] == "synced")
    }

    /// How many changes of findings the receiver was told.
    fn told(&self) -> usize {
        self.receiver.events().iter().filter(|event| event["data"]["key"].is_string()).count()
    }
}
