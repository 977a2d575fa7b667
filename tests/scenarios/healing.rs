//! Webhooks that never arrived: found in Sonar's own log and taken in as deliveries, once.

use std::io::{Read, Write};
use std::net::TcpListener;

use std::time::Duration;

use hydrophone::domain::ids::SourceName;
use hydrophone::store::deliveries;
use hydrophone::store::records::Delivery;

use crate::steps::{CLOUD, count, sonar_with, vulnerability};
use crate::support::inside::Inside;
use crate::support::sonar::{LoggedDelivery, Sonar};

/// Long enough for everything to have its turn once.
const A_ROUND: Duration = Duration::from_mins(17);

/// A SonarQube whose webhook leads nowhere, and workers that hold its project `shop`.
fn scene(base: &str, project: Option<&str>, token: fn(&Sonar) -> &str) -> (Sonar, Inside) {
    let sonar = sonar_with(CLOUD, &["A"]);
    let inside = Inside::connected(&sonar, token(&sonar));
    inside.import("shop", &[]);
    let path = inside.hook(project);
    sonar.edit(|model| model.add_webhook(project, &format!("{base}{path}"), Some("a secret of many characters")));
    inside.pass(A_ROUND);
    (sonar, inside)
}

/// An address at which nobody listens: a port that the system gives nobody who asks for any.
const NOBODY: &str = "http://127.0.0.1:9";

fn told(deliveries: &[Delivery]) -> Vec<(Option<&str>, Option<&str>)> {
    deliveries.iter().map(|one| (one.task.as_deref(), one.healed.as_deref())).collect()
}

#[test]
fn a_webhook_that_never_arrived_is_taken_from_sonars_log_once() {
    let (sonar, inside) = scene(NOBODY, None, Sonar::admin_token);
    let task = sonar.analyse("shop", "main", |analysis| {
        analysis.open(vulnerability("B"));
    });
    assert_eq!(sonar.wait_deliveries(1)[0].status, None);
    inside.pass(A_ROUND);
    let expected = [(Some(task.0.as_str()), Some("ConnectException"))];
    assert_eq!(told(&inside.deliveries()), expected);
    let list = inside.json(&["delivery", "list"]);
    let shown = &list["deliveries"][0];
    assert_eq!((&shown["healed"], &shown["outcome"]), (&"ConnectException".into(), &"synced".into()));
    let condition = inside.told("webhooks_missed");
    assert!(condition[0].contains("1 webhook did not arrive since") && condition[0].contains("ConnectException"));

    // Neither the next look nor one after a restart takes it in again, or fetches what is known.
    sonar.forget_requests();
    inside.pass(A_ROUND);
    assert!(count(&sonar.requests(), "/api/webhooks/deliveries") >= 1);
    let inside = inside.restarted_after(Duration::from_mins(1));
    inside.settle();
    inside.pass(A_ROUND);
    assert_eq!(told(&inside.deliveries()), expected);
    assert_eq!(count(&sonar.requests(), "/api/webhooks/delivery"), 0);
}

/// The log of deliveries is kept for a time and up to a size. What was in it and was deleted did arrive, and is not to be
/// taken for lost because Sonar's log, which is looked through anew after a start, goes further back.
#[test]
fn a_webhook_that_our_own_log_no_longer_holds_is_not_taken_for_lost() {
    let (sonar, inside) = scene(NOBODY, None, Sonar::admin_token);
    sonar.analyse("shop", "main", |_| {});
    sonar.wait_deliveries(1);
    inside.pass(A_ROUND);
    assert_eq!(inside.deliveries().len(), 1);
    let all = inside.clock.now();
    sonar.edit(|model| model.freeze_clock(Some(all.0 / 1000 + 1)));
    assert_eq!(inside.store.delete(move |batch| deliveries::prune(batch, all)), Ok(1));

    let inside = inside.restarted_after(Duration::from_mins(1));
    inside.pass(A_ROUND);
    assert_eq!(told(&inside.deliveries()), []);
    assert_eq!(inside.told("webhooks_missed"), [""; 0]);

    // What never arrived since is.
    sonar.edit(|model| model.freeze_clock(Some(inside.clock.now().0 / 1000 + 1)));
    let task = sonar.analyse("shop", "main", |_| {});
    sonar.wait_deliveries(2);
    inside.pass(A_ROUND);
    assert_eq!(told(&inside.deliveries()), [(Some(task.0.as_str()), Some("ConnectException"))]);
}

#[test]
fn a_webhook_that_somebody_else_answered_well_never_arrived() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let (sonar, inside) = scene(&base, None, Sonar::admin_token);
    let task = sonar.analyse("shop", "main", |_| {});
    assert_eq!(sonar.wait_deliveries(1)[0].status, Some(200));
    inside.pass(A_ROUND);
    assert_eq!(told(&inside.deliveries()), [(Some(task.0.as_str()), Some("HTTP 200 from somebody else"))]);
}

/// A project's administrator may enter a hook of the project alone; what it tells of another project does not count.
#[test]
fn a_projects_hook_heals_that_project_alone() {
    let (sonar, inside) = scene(NOBODY, Some("shop"), Sonar::admin_token);
    sonar.analyse("shop", "main", |_| {});
    sonar.wait_deliveries(1);
    sonar.edit(|model| {
        let real = model.deliveries[0].clone();
        let payload = real.payload.replace("\"key\":\"shop\"", "\"key\":\"other\"").replace("AZ", "AY");
        let forged = LoggedDelivery { id: "forged".to_owned(), task: Some("AY".to_owned()), payload, ..real };
        model.deliveries.push(forged);
    });
    inside.pass(A_ROUND);
    let taken = inside.deliveries();
    let projects: Vec<_> = taken.iter().map(|one| one.project.as_ref().unwrap().as_str()).collect();
    assert_eq!(projects, ["shop"]);
}

#[test]
fn a_long_outage_is_healed_a_hundred_calls_at_a_time() {
    let (sonar, inside) = scene(NOBODY, None, Sonar::admin_token);
    sonar.analyse("shop", "main", |_| {});
    sonar.wait_deliveries(1);
    sonar.edit(|model| {
        let real = model.deliveries[0].clone();
        let task = real.task.clone().unwrap();
        for number in 0..120 {
            let other = format!("T{number}");
            let payload = real.payload.replace(&task, &other);
            let (id, at) = (format!("D{number}"), real.at + number);
            model.deliveries.push(LoggedDelivery { id, at, task: Some(other), payload, ..real.clone() });
        }
    });
    inside.pass(A_ROUND);
    assert_eq!(inside.deliveries().len(), 121);
}

#[test]
fn a_token_that_may_not_see_the_log_is_not_asked_for_it_again_and_again() {
    let (sonar, inside) = scene(NOBODY, None, Sonar::token);
    sonar.forget_requests();
    inside.pass(A_ROUND * 3);
    assert_eq!(count(&sonar.requests(), "/api/webhooks"), 0);
    let source = inside.json(&["source", "list"])["sources"][0].clone();
    assert!(source["error"].is_null(), "{source}");
    // A new token may be allowed more.
    let token = sonar.token().to_owned();
    sonar.edit(|model| model.token_mut(&token).admin = true);
    inside.work.resume(&SourceName::parse("sonar").unwrap());
    inside.pass(A_ROUND);
    assert!(count(&sonar.requests(), "/api/webhooks/list") >= 1);
}
