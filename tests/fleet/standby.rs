//! Two boxes of one site: one works, the other one has all that it holds, and takes over where it is to.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::hub::{gather, wait_union};
use super::relay::{Relay, Way};
use super::server::{Server, hub, usual};
use super::support::gateway::{Gateway, Said};
use super::support::sonar::{Issue, Severity, Sonar};
use super::support::{findings, hook_up, trust};
use super::{join, joined, refused, shop, wait_findings, wait_state};

/// A line of the configuration for the two boxes of a site, which may do no more than they need.
fn pair(site: &str) -> String {
    format!(
        r#"{{ user: {site}, password: {site}-secret, permissions: {{
            publish: ["hydrophone.v1.{site}.>", "$KV.HYDROPHONE_STANDBY.{site}.>",
                "$JS.API.DIRECT.GET.KV_HYDROPHONE_STANDBY.$KV.HYDROPHONE_STANDBY.{site}.>",
                "$JS.API.STREAM.CREATE.KV_HYDROPHONE_STANDBY"],
            subscribe: ["_INBOX.hydrophone.{site}.>"] }} }}"#
    )
}

/// The key that two boxes have.
struct Key(tempfile::TempDir);

impl Key {
    fn new(gateway: &Gateway) -> Self {
        let key = Self(tempfile::tempdir().unwrap());
        let made = gateway.cli(&["standby", "key", &key.path()]);
        assert_eq!(made.code, 0, "{made:?}");
        key
    }

    fn path(&self) -> String {
        self.0.path().join("pair.key").to_str().unwrap().to_owned()
    }
}

fn try_join(gateway: &Gateway, server: &Server, key: &Key, flags: &[&str]) -> Said {
    let (url, key) = (server.url(), key.path());
    let line = ["standby", "join", "--url", &url, "--site", "berlin", "--credentials", "-", "--key", &key];
    gateway.cli_with(&[&line[..], flags].concat(), "berlin:berlin-secret")
}

fn pair_up(gateway: &Gateway, server: &Server, key: &Key) {
    let said = try_join(gateway, server, key, &[]);
    assert_eq!(said.code, 0, "{said:?}\n{}", gateway.log());
}

fn standing(gateway: &Gateway) -> Value {
    gateway.json(&["standby", "status"])
}

fn wait_role(gateway: &Gateway, role: &str) -> Value {
    gateway.wait(role, |gateway| Some(standing(gateway)).filter(|standing| standing["role"] == role))
}

/// Waits until the one that stands by has all that the other one has.
fn wait_current(works: &Gateway, stands_by: &Gateway) {
    works.wait("it to know the other one", |works| {
        let standing = standing(works);
        (standing["role"] == "works" && standing["other"]["copied"].is_string()).then_some(())
    });
    let held = || held(works);
    stands_by.wait("the copy", |stands_by| {
        let standing = standing(stands_by);
        (standing["role"] == "stands_by" && standing["current"] == true && self::held(stands_by) == held())
            .then_some(())
    });
}

/// All findings as `id key state severity asset`.
fn held(gateway: &Gateway) -> Vec<String> {
    let all = findings(gateway, &["--state", "open,confirmed,accepted,false_positive,fixed,removed"]);
    let of = |one: &Value| ["id", "key", "state", "severity", "asset"].map(|name| one[name].to_string()).join(" ");
    let mut all: Vec<String> = all.iter().map(of).collect();
    all.sort();
    all
}

/// Two boxes of a site, of which the first works.
struct Two {
    server: Server,
    sonar: Sonar,
    first: Gateway,
    second: Gateway,
    key: Key,
}

impl Two {
    fn start() -> Self {
        let server = Server::start(&[pair("berlin"), hub()]);
        server.make(usual());
        let (sonar, first) = shop();
        joined(&first, &server, "berlin");
        let key = Key::new(&first);
        pair_up(&first, &server, &key);
        wait_role(&first, "works");
        let second = Gateway::start();
        pair_up(&second, &server, &key);
        let two = Self { server, sonar, first, second, key };
        wait_current(&two.first, &two.second);
        two
    }
}

#[test]
fn the_second_box_has_all_that_the_first_one_has_with_its_numbers() {
    let two = Two::start();
    assert_eq!(held(&two.second), held(&two.first));
    assert_eq!(held(&two.second).len(), 2);
    two.sonar.analyse("com.acme:shop", "main", |analysis| {
        analysis.fix("A");
        analysis.set_severity("B", Severity::Blocker);
        analysis.open(Issue::vulnerability("java:S5131", "src/c.java", 7).with_key("C"));
    });
    two.first.wait("the change", |first| (held(first).len() == 3).then_some(()));
    wait_current(&two.first, &two.second);
    for line in [&["source", "list"][..], &["project", "list", "acme"], &["asset", "list"], &["destination", "list"]] {
        let names = |gateway: &Gateway| {
            let list = gateway.json(line);
            list.as_object().unwrap().values().find_map(Value::as_array).unwrap().len()
        };
        assert_eq!(names(&two.first), names(&two.second), "{line:?}");
    }
    // What is its own stays so, and what is not cannot be changed there.
    assert_eq!(two.second.cli(&["config", "set", "poll-minutes", "7"]).code, 0);
    refused(&two.second.cli(&["asset", "add", "Other"]), &["stands by", "hydrophone standby status"]);
    assert_eq!(two.first.cli(&["asset", "add", "Other"]).code, 0);
    two.second.wait("the asset", |second| {
        second.json(&["asset", "list"])["assets"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["name"] == "Other")
            .then_some(())
    });
    let said = |gateway: &Gateway| gateway.json(&["status"])["conditions"].to_string();
    assert!(said(&two.second).contains("stands_by"), "{}", said(&two.second));
    // Nothing of it can be read at the server.
    let bytes = two.server.ask(async |context| {
        let stream = context.get_stream("KV_HYDROPHONE_STANDBY").await.unwrap();
        let last = stream.cached_info().state.last_sequence;
        let mut all = Vec::new();
        for sequence in 1..=last {
            if let Ok(message) = stream.get_raw_message(sequence).await {
                all.extend_from_slice(&message.payload);
            }
        }
        all
    });
    let text = String::from_utf8_lossy(&bytes);
    assert!(bytes.len() > 3_000);
    for word in ["com.acme", "src/a.java", "berlin", "holder", two.sonar.token()] {
        assert!(!text.contains(word), "{word}");
    }
}

#[test]
fn the_second_box_takes_over_when_it_is_handed_the_work_and_goes_on_with_the_same_findings() {
    let two = Two::start();
    let hub = Gateway::start();
    gather(&hub, &two.server);
    wait_union(&hub, &[("berlin", &two.first)]);
    let before = held(&two.first);
    let said = two.first.cli(&["standby", "hand-over"]);
    assert_eq!(said.code, 0, "{said:?}");
    wait_role(&two.second, "works");
    wait_role(&two.first, "stands_by");
    assert_eq!(held(&two.second), before);
    // It reads, and tells the same stream, under the same numbers.
    hook_up(&two.second, &two.sonar, "acme");
    two.sonar.analyse("com.acme:shop", "main", |analysis| {
        analysis.fix("A");
        analysis.open(Issue::vulnerability("java:S5131", "src/c.java", 7).with_key("C"));
    });
    wait_findings(&two.second, &two.server, &["berlin A fixed", "berlin B open", "berlin C open"]);
    wait_union(&hub, &[("berlin", &two.second)]);
    let number = |gateway: &Gateway, key: &str| {
        findings(gateway, &["--state", "open,fixed"]).into_iter().find(|one| one["key"] == key).unwrap()["id"].clone()
    };
    assert!(before.iter().any(|one| one.starts_with(&number(&two.second, "A").to_string())), "{before:?}");
    wait_current(&two.second, &two.first);
    // And back.
    assert_eq!(two.second.cli(&["standby", "hand-over"]).code, 0);
    wait_role(&two.first, "works");
    wait_current(&two.first, &two.second);
    wait_state(&two.first, "up_to_date");
    wait_union(&hub, &[("berlin", &two.first)]);
    let terms: Vec<u64> =
        two.server.holds("HYDROPHONE").unwrap().values().filter_map(|event| event["term"].as_u64()).collect();
    assert!(terms.iter().all(|term| *term > 1_700_000_000), "{terms:?}");
}

#[test]
fn a_call_that_came_to_the_second_box_is_worked_on_by_the_first_one_once() {
    let two = Two::start();
    // Only the second one is called.
    two.sonar.edit(|model| model.webhooks.clear());
    hook_up(&two.second, &two.sonar, "acme");
    trust(&two.second, &two.sonar);
    two.sonar.analyse("com.acme:shop", "main", |analysis| analysis.fix("A"));
    two.first.wait("the change", |first| (findings(first, &["--state", "open"]).len() == 1).then_some(()));
    let outcomes = |gateway: &Gateway| {
        let list = gateway.json(&["delivery", "list"]);
        let all = list["deliveries"].as_array().unwrap().clone();
        all.iter().map(|one| one["outcome"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    two.second.wait("the call to be handed over", |second| (outcomes(second) == ["handed_over"]).then_some(()));
    assert_eq!(outcomes(&two.first), ["synced"]);
    // Both are called.
    hook_up(&two.first, &two.sonar, "acme");
    two.sonar.analyse("com.acme:shop", "main", |analysis| analysis.fix("B"));
    two.second.wait("the second call", |second| (outcomes(second) == ["handed_over", "handed_over"]).then_some(()));
    two.first.wait("both", |first| (outcomes(first).len() == 3).then_some(()));
    two.first.wait("the change", |first| findings(first, &["--state", "open"]).is_empty().then_some(()));
    let mut last = outcomes(&two.first);
    last.sort();
    assert_eq!(last, ["duplicate", "synced", "synced"]);
    // The same one comes twice to the second one, which keeps what was sent with it once.
    two.sonar.edit(|model| model.webhooks.clear());
    hook_up(&two.second, &two.sonar, "acme");
    hook_up(&two.second, &two.sonar, "acme");
    two.sonar.analyse("com.acme:shop", "main", |analysis| analysis.reopen("A"));
    two.second.wait("both", |second| (outcomes(second) == ["handed_over"; 4]).then_some(()));
    two.first.wait("the change", |first| (findings(first, &["--state", "open"]).len() == 1).then_some(()));
    let last = outcomes(&two.first);
    assert!(
        last.len() == 5 && last.iter().all(|one| ["duplicate", "synced", "queued"].contains(&one.as_str())),
        "{last:?}"
    );
}

#[test]
fn what_cannot_be_a_pair_is_said_in_words() {
    let server = Server::start(&[pair("berlin"), super::server::confined("oslo")]);
    let (_sonar, first) = shop();
    let key = Key::new(&first);
    pair_up(&first, &server, &key);
    wait_role(&first, "works");
    refused(&first.cli(&["standby", "hand-over"]), &["no other box stands by"]);
    let (_other, second) = shop();
    refused(&try_join(&second, &server, &key, &[]), &["inventory of its own", "--replace", "backup"]);
    let other = Key::new(&second);
    refused(&try_join(&second, &server, &other, &["--replace"]), &["another key"]);
    std::fs::write(other.path(), "nonsense").unwrap();
    refused(&try_join(&second, &server, &other, &["--replace"]), &["64 hexadecimal digits"]);
    let line =
        ["standby", "join", "--url", &server.url(), "--site", "oslo", "--credentials", "-", "--key", &key.path()];
    refused(&second.cli_with(&line, "oslo:oslo-secret"), &["does not let this box", "HYDROPHONE_STANDBY"]);
    refused(&second.cli_with(&line, "oslo:wrong"), &["refuses the credentials"]);
    assert_eq!(standing(&second)["role"], "alone");
    assert_eq!(held(&second).len(), 2);
    // Where its inventory is given up, it has the other one's.
    let said = try_join(&second, &server, &key, &["--replace"]);
    assert_eq!(said.code, 0, "{said:?}");
    wait_current(&first, &second);
    // Alone again, it is as a new one; the other one goes on.
    assert_eq!(second.cli(&["standby", "leave"]).code, 0);
    second.wait("it to be alone", |second| (standing(second)["role"] == "alone").then_some(()));
    assert!(held(&second).is_empty());
    assert_eq!(second.cli(&["asset", "add", "Mine"]).code, 0);
    assert_eq!(held(&first).len(), 2);
    assert_eq!(first.cli(&["standby", "leave"]).code, 0);
    first.wait("it to be alone", |first| (standing(first)["role"] == "alone").then_some(()));
    assert_eq!(held(&first).len(), 2);
}

#[test]
fn without_the_server_the_first_box_reads_on_and_the_second_one_waits() {
    let mut two = Two::start();
    two.server.kill();
    two.sonar.analyse("com.acme:shop", "main", |analysis| analysis.fix("A"));
    two.first.wait("the change", |first| (findings(first, &["--state", "open"]).len() == 1).then_some(()));
    let first = two.first.restart(Gateway::kill);
    two.sonar.analyse("com.acme:shop", "main", |analysis| analysis.fix("B"));
    // It does not know whether it may work, and so it tells nobody anything; what it reads is so.
    first.cli(&["sync"]);
    first.wait("the change", |first| findings(first, &["--state", "open"]).is_empty().then_some(()));
    assert_eq!(standing(&first)["role"], "unsure");
    assert_eq!(standing(&two.second)["role"], "stands_by");
    two.server.again();
    wait_current(&first, &two.second);
    wait_findings(&first, &two.server, &["berlin A fixed", "berlin B fixed"]);
}

/// What is to happen by itself takes as long as a lease.
#[test]
fn the_second_box_takes_over_from_one_that_is_gone_and_that_one_stands_by_when_it_is_back() {
    let two = Two::start();
    let Two { server, sonar, first, second, key: _key } = two;
    let folder: Arc<tempfile::TempDir> = first.kill();
    hook_up(&second, &sonar, "acme");
    sonar.analyse("com.acme:shop", "main", |analysis| {
        analysis.fix("A");
        analysis.open(Issue::vulnerability("java:S5131", "src/c.java", 7).with_key("C"));
    });
    second.wait_for(Duration::from_mins(5), "the second one to work", |second| {
        (standing(second)["role"] == "works").then_some(())
    });
    // The call that it took while it stood by is worked on now.
    wait_findings(&second, &server, &["berlin A fixed", "berlin B open", "berlin C open"]);
    let first = Gateway::start_in(folder, &[]).unwrap();
    wait_role(&first, "stands_by");
    wait_current(&second, &first);
    let list = second.json(&["delivery", "list"]);
    assert_eq!(list["deliveries"][0]["outcome"], json!("synced"));
}

/// A box that stands still for longer than its lease, with a closing that it had not told yet, tells it to nobody when it goes on.
#[test]
fn a_box_that_was_only_slow_closes_nothing_that_another_one_knows_better() {
    let server = Server::start(&[pair("berlin"), hub()]);
    server.make(usual());
    let (sonar, first) = shop();
    let relay = Relay::to(server.port());
    let said = join(&first, &relay.url(), "berlin", "berlin:berlin-secret", &[]);
    assert_eq!(said.code, 0, "{said:?}");
    let key = Key::new(&first);
    pair_up(&first, &server, &key);
    wait_role(&first, "works");
    let second = Gateway::start();
    pair_up(&second, &server, &key);
    wait_current(&first, &second);
    wait_findings(&first, &server, &["berlin A open", "berlin B open"]);
    let gateway = Gateway::start();
    gather(&gateway, &server);
    wait_union(&gateway, &[("berlin", &first)]);
    // It reads that A is fixed, and cannot tell it.
    relay.set(Way::Silent);
    sonar.analyse("com.acme:shop", "main", |analysis| analysis.fix("A"));
    first.wait("the change", |first| (findings(first, &["--state", "open"]).len() == 1).then_some(()));
    let pid = rustix::process::Pid::from_raw(i32::try_from(first.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    hook_up(&second, &sonar, "acme");
    sonar.analyse("com.acme:shop", "main", |analysis| analysis.reopen("A"));
    relay.set(Way::Open);
    second.wait_for(Duration::from_mins(5), "the second one to work", |second| {
        (standing(second)["role"] == "works").then_some(())
    });
    second.wait("it to be read", |second| (findings(second, &["--state", "open"]).len() == 2).then_some(()));
    wait_state(&second, "up_to_date");
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    wait_role(&first, "stands_by");
    wait_current(&second, &first);
    assert_eq!(server.findings(), ["berlin A open", "berlin B open"]);
    wait_union(&gateway, &[("berlin", &second)]);
    let changes = gateway.json(&["finding", "list", "--state", "fixed"]);
    assert_eq!(changes["total"], 0, "{changes:#}");
}

/// A box that cannot reach the server reads on, as it may be the one that works. Where it was not, it hands over what came to it
/// meanwhile: what it made of that is given up.
#[test]
fn a_call_that_came_to_a_box_after_it_was_replaced_is_not_lost() {
    let server = Server::start(&[pair("berlin")]);
    server.make(usual());
    let (sonar, first) = shop();
    let key = Key::new(&first);
    let relay = Relay::to(server.port());
    let url = relay.url();
    let line = ["standby", "join", "--url", &url, "--site", "berlin", "--credentials", "-", "--key", &key.path()];
    let said = first.cli_with(&line, "berlin:berlin-secret");
    assert_eq!(said.code, 0, "{said:?}");
    wait_role(&first, "works");
    let second = Gateway::start();
    pair_up(&second, &server, &key);
    wait_current(&first, &second);
    sonar.edit(|model| model.webhooks.clear());
    hook_up(&first, &sonar, "acme");
    relay.set(Way::Silent);
    second.wait_for(Duration::from_mins(5), "the second one to work", |second| {
        (standing(second)["role"] == "works").then_some(())
    });
    // It has looked at all projects, and does not for a while.
    second.wait("its first look", |second| {
        let sync = second.json(&["status"])["sync"].clone();
        (sync["queued"] == 0 && sync["running"] == 0 && sync["later"] == 0).then_some(())
    });
    sonar.analyse("com.acme:shop", "main", |analysis| analysis.fix("A"));
    first.wait("the change", |first| (findings(first, &["--state", "open"]).len() == 1).then_some(()));
    wait_role(&first, "unsure");
    assert_eq!(findings(&second, &["--state", "open"]).len(), 2);
    relay.set(Way::Open);
    wait_role(&first, "stands_by");
    second.wait("the change", |second| (findings(second, &["--state", "open"]).len() == 1).then_some(()));
    let outcome = |gateway: &Gateway| gateway.json(&["delivery", "list"])["deliveries"][0]["outcome"].clone();
    first.wait("the call to be handed over", |first| (outcome(first) == "handed_over").then_some(()));
    assert_eq!(outcome(&second), "synced");
    wait_current(&second, &first);
}

#[test]
fn a_third_box_is_told_that_it_is_one_too_many() {
    let two = Two::start();
    let third = Gateway::start();
    pair_up(&third, &two.server, &two.key);
    let problem = |gateway: &Gateway| {
        let conditions = gateway.json(&["status"])["conditions"].as_array().unwrap().clone();
        conditions.into_iter().find(|one| one["code"] == "standby_problem")
    };
    let said = third.wait("it to be said", problem).to_string();
    for word in ["a site has two boxes", "hydrophone standby leave"] {
        assert!(said.contains(word), "{said}");
    }
    // The two go on.
    wait_current(&two.first, &two.second);
    assert!(problem(&two.first).is_none() && problem(&two.second).is_none());
    // A call that comes to it waits, and is not given up unasked.
    two.sonar.edit(|model| model.webhooks.clear());
    hook_up(&third, &two.sonar, "acme");
    two.sonar.analyse("com.acme:shop", "main", |analysis| analysis.fix("A"));
    third.wait("the call", |third| {
        (third.json(&["delivery", "list"])["deliveries"][0]["outcome"] == "queued").then_some(())
    });
    refused(&third.cli(&["standby", "leave"]), &["not handed over yet: 1", "--drop-calls"]);
    // Where the second one leaves, it takes its place.
    assert_eq!(two.second.cli(&["standby", "leave"]).code, 0);
    wait_current(&two.first, &third);
    third.wait("nothing to be said", |third| problem(third).is_none().then_some(()));
    two.first.wait("the change", |first| (findings(first, &["--state", "open"]).len() == 1).then_some(()));
}
