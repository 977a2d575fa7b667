//! What storing a webhook costs the disk: commits and bytes, one webhook after the other and in a burst, beside what the
//! disk syncs by itself.

use std::fs::File;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Hook;
use crate::process::{written, written_since};
use crate::support::gateway::Gateway;
use crate::support::sonar::{Mode, Sonar};
use crate::support::{api, connect};
use crate::table::{Figure, Table};
use crate::{ORGANIZATION, Scale, import, metric, section, settle, wait};

/// See the module.
pub(crate) fn measure(scale: &Scale, table: &mut Table) {
    let syncs = syncs(scale.load);
    table.noted("the disk's own: 4 KiB appended and synced, one after the other", Figure::Rate(syncs));
    let (sonar, gateway) = scene(&[]);
    one_after_the_other(scale, &gateway, syncs, table);
    drop((gateway, sonar));
    burst(scale, table, "over TLS", &[], syncs);
    burst(scale, table, "plain", &["--webhook-plain"], syncs);
}

fn scene(flags: &[&str]) -> (Sonar, Gateway) {
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        model.add_project(ORGANIZATION, "pulse", "Pulse");
        model.add_issues("pulse", "main", 5);
    });
    let gateway = Gateway::start_with(flags);
    connect(&gateway, &sonar);
    import(&gateway, &["pulse"]);
    settle(&gateway);
    (sonar, gateway)
}

/// How often a second the disk of temporary files syncs what was appended, when nobody else asks it to.
fn syncs(time: Duration) -> f64 {
    let mut file = tempfile::tempfile().expect("a temporary file");
    let append = |file: &mut File| file.write_all(&[1; 4096]).and_then(|()| file.sync_data());
    let (begin, mut count) = (Instant::now(), 0.0);
    while begin.elapsed() < time {
        append(&mut file).expect("it can be written");
        count += 1.0;
    }
    count / begin.elapsed().as_secs_f64()
}

/// What the gateway did between two looks.
struct Cost {
    commits: f64,
    bytes: Option<u64>,
}

impl Cost {
    fn of(gateway: &Gateway, work: impl FnOnce()) -> Self {
        let (bytes, commits) = (written(gateway.id()), metric(gateway, "hydrophone_commits_total"));
        work();
        Self {
            commits: metric(gateway, "hydrophone_commits_total") - commits,
            bytes: written_since(gateway.id(), bytes),
        }
    }

    fn tell(&self, table: &mut Table, webhooks: usize, took: Duration, syncs: f64) {
        #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
        let count = webhooks as f64;
        let rate = self.commits / took.as_secs_f64();
        table.noted("  commits", Figure::Rate(rate));
        table.noted("  commits beside the disk's own syncs", Figure::Ratio(rate / syncs));
        table.noted("  webhooks for each commit", Figure::Ratio(count / self.commits.max(1.0)));
        if let Some(bytes) = self.bytes {
            table.noted("  bytes written for each webhook", Figure::Bytes(bytes / webhooks as u64));
        }
    }
}

/// Each after the answer to the one before, as nothing else comes.
fn one_after_the_other(scale: &Scale, gateway: &Gateway, syncs: f64, table: &mut Table) {
    section("One webhook after the other");
    let mut sender = Hook::of(gateway, ORGANIZATION).connect();
    let count = scale.webhooks / 4;
    let begin = Instant::now();
    let mut took = Duration::ZERO;
    let cost = Cost::of(gateway, || {
        for _ in 0..count {
            sender.send("pulse");
        }
        took = begin.elapsed();
    });
    table.noted(
        &format!("{count} webhooks over TLS, one after the other: each"),
        Figure::Time(took / u32::try_from(count).expect("a few thousand")),
    );
    cost.tell(table, count, took, syncs);
    settle(gateway);
}

/// Webhooks as fast as they are answered.
fn burst(scale: &Scale, table: &mut Table, how: &str, flags: &[&str], syncs: f64) {
    section(&format!("A burst of webhooks {how}"));
    let (_sonar, gateway) = scene(flags);
    let hook = Hook::of(&gateway, ORGANIZATION);
    let mut senders: Vec<_> = (0..scale.connections).map(|_| hook.connect()).collect();
    let of_each = scale.webhooks / scale.connections;
    let (mut took, mut times) = (Duration::ZERO, Vec::new());
    let cost = Cost::of(&gateway, || {
        let begin = Instant::now();
        times = thread::scope(|scope| {
            let running: Vec<_> = senders
                .iter_mut()
                .map(|sender| scope.spawn(move || (0..of_each).map(|_| sender.send("pulse")).collect::<Vec<_>>()))
                .collect();
            running.into_iter().flat_map(|thread| thread.join().expect("every webhook was accepted")).collect()
        });
        took = begin.elapsed();
    });
    times.sort();
    let (count, connections) = (times.len(), scale.connections);
    #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
    let rate = count as f64 / took.as_secs_f64();
    table.noted(&format!("{count} webhooks {how}, {connections} connections"), Figure::Rate(rate));
    table.noted("  99 of 100 answered within", Figure::Time(times[count * 99 / 100]));
    cost.tell(table, count, took, syncs);
    wait("all deliveries to be settled", || {
        let list = api::get(&gateway.state(), "deliveries?limit=500");
        list["deliveries"].as_array().is_some_and(|all| all.iter().all(|delivery| delivery["outcome"] == "synced"))
    });
    let accepted = api::get(&gateway.state(), "status")["deliveries"]["accepted"].as_u64();
    assert_eq!(accepted, Some(count as u64), "not all of them were counted");
}
