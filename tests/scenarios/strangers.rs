//! Strangers at the listeners: they crowd, try out secrets, knock at wrong doors, come from where nobody should, and say
//! that they are somebody else. Honest webhooks find their way in all the same, and nothing of it reaches the disk.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use crate::calls::{Answer, Call, Hook, Line, SIGNATURE, body, idle};
use crate::steps::{assert_tells, serve};
use crate::support::gateway::{Gateway, SOON, program};
use crate::support::sonar::{Mode, Sonar};
use crate::support::{connect, import};

const MIB: usize = 1024 * 1024;

/// A gateway that knows the project `shop`.
pub(crate) struct Scene {
    _sonar: Sonar,
    pub(crate) gateway: Gateway,
    pub(crate) hook: Hook,
}

impl Scene {
    pub(crate) fn new(flags: &[&str]) -> Self {
        Self::of(Gateway::start_with(flags))
    }

    fn of(gateway: Gateway) -> Self {
        let sonar = Sonar::start(Mode::Cloud);
        sonar.edit(|model| {
            model.add_project("acme", "shop", "Web shop");
        });
        connect(&gateway, &sonar);
        import(&gateway, "acme", &["shop"]);
        let hook = Hook::of(&gateway, "acme");
        idle(&gateway);
        Self { _sonar: sonar, gateway, hook }
    }

    /// A connection from another address of this machine.
    fn from(&self, address: &str) -> Line {
        Line::open_from(&self.hook.address, address)
    }

    /// A call from there, on a connection of its own.
    fn send_from(&self, address: &str, call: &Call) -> Option<Answer> {
        let mut line = self.from(address);
        line.write(&call.bytes());
        line.answer()
    }

    pub(crate) fn wrong(&self) -> Call {
        self.hook.call(&body("shop", "T")).with(SIGNATURE, &"0".repeat(64))
    }

    /// Sends a call from there until it is answered 429; how often it was answered otherwise before. Budgets come back
    /// while this goes on, so it may take more than they hold at once.
    fn exhaust(&self, address: &str, call: &Call) -> (usize, Answer) {
        let mut line = self.from(address);
        let bytes = call.bytes();
        for count in 0..20_000 {
            line.write(&bytes);
            let answer = line.answer();
            let answer = answer.unwrap_or_else(|| panic!("call {count} is not answered:\n{}", self.gateway.log()));
            if answer.status == 429 {
                assert!(line.is_closed(), "what follows is not read");
                return (count, answer);
            }
        }
        panic!("no end of the budget:\n{}", self.gateway.log());
    }

    fn stored(&self) -> Vec<u8> {
        std::fs::read(self.gateway.state().join("hydrophone.redb")).unwrap()
    }

    /// A number of the metrics.
    fn metric(&self, name: &str) -> u64 {
        let text = metrics(&self.gateway);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    pub(crate) fn refused(&self, listener: &str, reason: &str) -> u64 {
        self.metric(&format!("hydrophone_refused_total{{listener=\"{listener}\",reason=\"{reason}\"}}"))
    }

    fn open(&self, listener: &str) -> u64 {
        self.metric(&format!("hydrophone_connections_open{{listener=\"{listener}\"}}"))
    }

    fn condition(&self, code: &str) -> Option<Value> {
        let status = self.gateway.json(&["status"]);
        status["conditions"].as_array().unwrap().iter().find(|condition| condition["code"] == code).cloned()
    }

    /// Writes a file of networks.
    fn put(&self, networks: &str) {
        std::fs::write(self.gateway.folder().join("networks"), networks).unwrap();
    }
}

fn metrics(gateway: &Gateway) -> String {
    let mut stream = UnixStream::connect(gateway.state().join("admin.sock")).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A connection from one address of this machine that says nothing.
fn silent(to: &str, from: [u8; 4]) -> TcpStream {
    let to = to.split("://").nth(1).unwrap_or(to);
    let stream = crate::support::tls::connected(to, IpAddr::from(from));
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn is_ended(stream: &mut TcpStream) -> bool {
    !matches!(stream.read(&mut [0; 64]), Ok(1..))
}

/// Whether somebody ended a connection up to now.
fn has_ended(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    !matches!(stream.peek(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Many connections at a time take more files than a process has at first. Those of the gateway stay as they were.
fn have_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < 8192) {
        limit.current = limit.maximum.map_or(Some(8192), |most| Some(most.min(8192)));
        setrlimit(Resource::Nofile, limit).unwrap();
    }
}

/// Whoever opens connections and says nothing takes the seats of those who came before without a word, and of nobody who
/// proved to be one of ours.
#[test]
fn two_thousand_idle_connections_leave_honest_webhooks_their_way_in() {
    for flags in [&[][..], &["--webhook-plain"]] {
        let scene = Scene::new(flags);
        have_files();
        let mut proven = scene.from("127.0.0.1");
        proven.write(&scene.hook.call(&body("shop", "T0")).bytes());
        assert_eq!(proven.answer().unwrap().status, 202);
        let mut crowd = Vec::new();
        for number in 0..2000_u16 {
            let [high, low] = (number / 20).to_be_bytes();
            crowd.push(silent(&scene.hook.address, [127, 1, high, low + 1]));
            if number % 500 == 499 {
                assert_eq!(scene.hook.post(&body("shop", &format!("T{number}"))).status, 202, "{flags:?}");
            }
        }
        proven.write(&scene.hook.call(&body("shop", "T1")).bytes());
        assert_eq!(proven.answer().unwrap().status, 202, "{flags:?}: who proved to be Sonar stays");
        // The oldest of them went, all but those for whom there is room.
        for stream in crowd.iter_mut().take(1400) {
            assert!(is_ended(stream), "{flags:?}");
        }
        assert!(scene.open("webhook") <= 512, "{flags:?}");
        assert!(scene.metric("hydrophone_connections_ended_total{listener=\"webhook\"}") >= 1400, "{flags:?}");
        // Of a process that keeps its memory to itself, only root may count them.
        match std::fs::read_dir(format!("/proc/{}/fd", scene.gateway.id())) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            files => assert!(files.unwrap().count() < 1000, "too many files are open"),
        }
        drop(crowd);
        scene.gateway.wait("the seats to be free", |_| (scene.open("webhook") < 10).then_some(()));
    }
}

#[test]
fn one_address_with_too_many_connections_takes_seats_from_itself_alone() {
    let scene = Scene::new(&["--admin-listen", "127.0.0.1:0"]);
    let page = scene.gateway.json(&["status"])["page"].as_str().unwrap().to_owned();
    for (address, listener, most) in [(&scene.hook.address, "webhook", 32), (&page, "page", 48)] {
        let other = silent(address, [127, 0, 0, 3]);
        let mut crowd: Vec<_> = (0..most + 50).map(|_| silent(address, [127, 0, 0, 2])).collect();
        for stream in crowd.iter_mut().take(50) {
            assert!(is_ended(stream), "{listener}");
        }
        assert_eq!(scene.open(listener), most + 1, "{listener}");
        assert!(!has_ended(&other) && crowd[50..].iter().all(|stream| !has_ended(stream)), "{listener}");
        assert_eq!(scene.metric(&format!("hydrophone_connections_ended_total{{listener=\"{listener}\"}}")), 50);
        assert!(scene.metric(&format!("hydrophone_connections_max{{listener=\"{listener}\"}}")) > most);
    }
    assert_eq!(scene.hook.post(&body("shop", "T1")).status, 202);
}

/// The page has fewer seats than the webhook listener, and whoever works on it keeps theirs.
#[test]
fn who_is_logged_in_keeps_the_page_while_strangers_crowd_in() {
    let scene = Scene::new(&["--admin-listen", "127.0.0.1:0"]);
    have_files();
    let page = scene.gateway.json(&["status"])["page"].as_str().unwrap().to_owned();
    let token =
        scene.gateway.json(&["token", "add", "prometheus", "--role", "viewer"])["secret"].as_str().unwrap().to_owned();
    let ask = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut ours = Line::open(&page);
    ours.write(ask.as_bytes());
    assert_eq!(ours.answer().unwrap().status, 200);
    let mut crowd: Vec<_> = (0..400_u16)
        .map(|number| silent(&page, [127, 1, 1 + number.to_be_bytes()[0], number.to_be_bytes()[1]]))
        .collect();
    for stream in crowd.iter_mut().take(200) {
        assert!(is_ended(stream));
    }
    ours.write(ask.as_bytes());
    assert_eq!(ours.answer().unwrap().status, 200);
}

#[test]
fn too_many_wrong_signatures_from_one_address_are_refused_unread_and_nobody_else_is() {
    let scene = Scene::new(&[]);
    let stored = scene.stored();
    let (count, answer) = scene.exhaust("127.0.0.2", &scene.wrong());
    assert!(count >= 300, "{count}");
    assert_eq!((answer.body.as_str(), answer.header("connection")), ("", Some("close")), "{answer:?}");
    assert!((1..=60).contains(&answer.header("retry-after").unwrap().parse::<u32>().unwrap()), "{answer:?}");
    // Before the body is asked for, and a right signature is none yet. The budget comes back meanwhile, so it may take
    // more than one try to meet it empty.
    let right = scene.hook.call(&body("shop", "T1")).with("Expect", "100-continue");
    let met = (0..50).any(|_| {
        let mut line = scene.from("127.0.0.2");
        scene.exhaust("127.0.0.2", &scene.wrong());
        line.write(&right.head());
        let mut answer = line.answer().expect("it is answered");
        if answer.status == 100 {
            line.write(&right.body);
            answer = line.answer().expect("it is answered");
            assert_eq!(answer.status, 202);
        }
        answer.status == 429
    });
    assert!(met, "right calls from there are refused, too");
    assert!(stored == scene.stored() || scene.gateway.json(&["status"])["deliveries"]["accepted"] != 0);
    assert_eq!(scene.send_from("127.0.0.3", &scene.hook.call(&body("shop", "T2"))).unwrap().status, 202);

    let condition = scene.condition("webhook_sender_refused").expect("it is told");
    assert_eq!(condition["severity"], "info");
    assert_tells(condition["text"].as_str().unwrap(), &["from 127.0.0.2 are refused", "SonarQube", "regular reads"]);
    assert!(scene.refused("webhook", "budget") >= 1 && scene.refused("webhook", "signature") >= 300);
    assert_eq!(scene.metric("hydrophone_senders_refused"), 1);
    let log = scene.gateway.log();
    assert_eq!(log.matches("webhook calls from 127.0.0.2 are answered 429").count(), 1, "{log}");
}

/// Thousands of refused calls, of every kind and from many addresses: the database stays as it is, byte for byte, and the
/// log takes a few lines.
#[test]
fn refused_calls_write_nothing_to_the_disk_and_few_lines_to_the_log() {
    let scene = Scene::new(&[]);
    scene.gateway.json(&["asset", "list"]);
    let (stored, lines, start) = (scene.stored(), scene.gateway.log().lines().count(), Instant::now());
    let unknown = Call { path: format!("/hooks/{}", "0".repeat(32)), ..scene.wrong() };
    for number in 2..30 {
        let from = format!("127.0.0.{number}");
        scene.exhaust(&from, &scene.wrong());
        let mut line = scene.from(&from);
        for _ in 0..50 {
            line.write(&unknown.bytes());
            assert_eq!(line.answer().unwrap().status, 404);
        }
    }
    assert!(stored == scene.stored(), "refused calls were written to the disk");
    let log = scene.gateway.log();
    // Ten at once, and ten a minute from then on.
    let most = 11 + start.elapsed().as_secs() / 6;
    assert!((log.lines().count() - lines) as u64 <= most, "{log}");
    let refused = scene.metric("hydrophone_senders_refused");
    assert!(refused > 1, "{refused}");
    let condition = scene.condition("webhook_sender_refused").unwrap();
    assert!(condition["text"].as_str().unwrap().contains(" more are refused"), "{condition}");
}

#[test]
fn calls_to_no_endpoint_have_a_wider_budget_that_says_nothing_of_real_ones() {
    let scene = Scene::new(&[]);
    let unknown = Call { path: format!("/hooks/{}", "0".repeat(32)), ..scene.wrong() };
    let (count, answer) = scene.exhaust("127.0.0.2", &unknown);
    assert!(count >= 1000, "{count}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(scene.send_from("127.0.0.2", &scene.hook.call(&body("shop", "T1"))).unwrap().status, 202);
    assert!(scene.refused("webhook", "unknown_endpoint") >= 1000);
    assert_eq!((scene.metric("hydrophone_senders_refused"), scene.condition("webhook_sender_refused")), (0, None));
}

/// A list is tried out first: as long as the setting says so, it refuses nobody.
#[test]
fn a_refusal_of_networks_without_a_list_of_them_is_told() {
    let gateway = Gateway::start();
    let told = || gateway.json(&["status"])["conditions"].to_string();
    assert!(!told().contains("webhook_networks_missing"));
    gateway.json(&["config", "set", "webhook-networks-mode", "refuse"]);
    assert_tells(&told(), &["webhook_networks_missing", "may come from everywhere", "webhook-networks-mode log"]);
    gateway.json(&["config", "set", "webhook-networks-mode", "log"]);
    assert!(!told().contains("webhook_networks_missing"));
}

#[test]
fn networks_that_may_call_are_tried_out_first_and_then_hold() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let file = folder.path().join("networks");
    std::fs::write(&file, "# Sonar\n127.0.0.1\n127.0.0.3/32\n2001:db8::/32\n").unwrap();
    let flags = ["--webhook-networks", file.to_str().unwrap()];
    let scene = Scene::of(Gateway::start_in(Arc::clone(&folder), &flags).unwrap());
    let call = |task: &str| scene.hook.call(&body("shop", task));
    assert_eq!(scene.send_from("127.0.0.2", &call("T1")).unwrap().status, 202);
    scene.gateway.wait_for_log("127.0.0.2 is in none of the networks that may send webhooks; it was let in");
    assert_eq!((scene.metric("hydrophone_outside_networks_total"), scene.refused("webhook", "network")), (1, 0));

    assert_tells(
        &scene.gateway.refused(&["config", "set", "webhook-networks-mode", "on"], ""),
        &["must be log or refuse"],
    );
    scene.gateway.json(&["config", "set", "webhook-networks-mode", "refuse"]);
    let mut outside = silent(&scene.hook.address, [127, 0, 0, 2]);
    assert!(is_ended(&mut outside), "closed before a handshake");
    assert_eq!(scene.send_from("127.0.0.3", &call("T2")).unwrap().status, 202);
    assert_eq!((scene.metric("hydrophone_outside_networks_total"), scene.refused("webhook", "network")), (2, 1));
    scene.gateway.wait_for_log("refused 127.0.0.2");

    scene.put("127.0.0.2\n127.0.0.0/33\n");
    scene.gateway.reload();
    let told = scene.gateway.wait_for_log("the former networks may send webhooks");
    assert_tells(&told, &["networks: line 2: \"127.0.0.0/33\" is no network"]);
    let condition = scene.condition("webhook_networks_broken").expect("it is told");
    assert_tells(&condition.to_string(), &["line 2", "systemctl reload hydrophone"]);
    assert!(is_ended(&mut silent(&scene.hook.address, [127, 0, 0, 2])));
    scene.put("127.0.0.1\n127.0.0.2\n");
    scene.gateway.reload();
    scene.gateway.wait_for_log("other networks may send webhooks");
    scene.gateway.wait("the condition to go", |_| scene.condition("webhook_networks_broken").is_none().then_some(()));
    assert_eq!(scene.send_from("127.0.0.2", &call("T3")).unwrap().status, 202);
    assert!(is_ended(&mut silent(&scene.hook.address, [127, 0, 0, 3])));
    let looked = scene.gateway.json(&["doctor"])["lines"].to_string();
    assert_tells(&looked, &["webhooks may come from 2 networks", "from elsewhere were refused since the start"]);
    drop(scene);

    for (networks, words) in [
        ("127.0.0.1\nnowhere", "networks: line 2: \"nowhere\" is no network"),
        ("# nobody\n", "networks: it names no network, and would let in nobody"),
    ] {
        std::fs::write(&file, networks).unwrap();
        let state = folder.path().join("other");
        let line = ["--state", state.to_str().unwrap(), "--webhook-listen", "127.0.0.1:0"];
        let said = serve(&mut program(), &[&line[..], &flags].concat());
        assert_eq!(said.code, 78, "{said:?}");
        assert_tells(&said.err, &["the networks that may send webhooks cannot be read", words]);
    }
}

#[test]
fn a_forwarded_address_counts_where_a_trusted_proxy_says_it_and_nowhere_else() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let file = folder.path().join("networks");
    std::fs::write(&file, "198.51.100.0/24\n127.0.0.1\n").unwrap();
    let flags = ["--webhook-plain", "--webhook-networks", file.to_str().unwrap()];
    let scene = Scene::of(Gateway::start_in(folder, &flags).unwrap());
    scene.gateway.wait_for_log("no proxy is named: callers are not told apart");
    assert_tells(
        &scene.gateway.refused(&["config", "set", "trusted-proxies", "proxy"], ""),
        &["names networks with commas"],
    );
    scene.gateway.json(&["config", "set", "trusted-proxies", "127.0.0.5, 127.0.0.6"]);
    let forwarded = |call: Call, text: &str| call.with("X-Forwarded-For", text);
    scene.exhaust("127.0.0.5", &forwarded(scene.wrong(), "203.0.113.9, 198.51.100.1"));
    let condition = scene.condition("webhook_sender_refused").expect("it is told");
    assert_tells(&condition.to_string(), &["from 198.51.100.1 are refused"]);
    let call = |task: &str| scene.hook.call(&body("shop", task));
    let status =
        |from: &str, task: &str, text: &str| scene.send_from(from, &forwarded(call(task), text)).unwrap().status;
    assert_eq!(status("127.0.0.5", "T1", "198.51.100.1, 198.51.100.2"), 202, "another address behind the same proxy");
    // What anybody else writes is not read: else they would use up the budget of whom they name.
    let (count, _) = scene.exhaust("127.0.0.7", &forwarded(scene.wrong(), "198.51.100.2"));
    assert!(count >= 300);
    assert_tells(&scene.condition("webhook_sender_refused").unwrap().to_string(), &["127.0.0.7"]);
    assert_eq!(status("127.0.0.6", "T2", "198.51.100.2, 127.0.0.5"), 202);

    scene.gateway.json(&["config", "set", "webhook-networks-mode", "refuse"]);
    assert_eq!(status("127.0.0.5", "T3", "198.51.100.3"), 202, "the proxy itself need not be in the list");
    for refused in [forwarded(call("T4"), "203.0.113.9"), forwarded(call("T4"), "junk"), call("T4")] {
        let mut line = scene.from("127.0.0.5");
        line.write(&refused.bytes());
        let answer = line.answer().unwrap();
        assert_eq!((answer.status, answer.body.as_str(), line.is_closed()), (403, "", true));
    }
    // Fewer than one address may have, and more than it may have.
    let crowd: Vec<_> = (0..100).map(|_| silent(&scene.hook.address, [127, 0, 0, 5])).collect();
    assert_eq!(status("127.0.0.5", "T5", "198.51.100.4"), 202);
    assert!(crowd.iter().all(|stream| !has_ended(stream)), "a proxy's connections are not counted by its address");
}

/// Behind a proxy everybody has its address: wrong passwords of one would lock out all, and the audit log would name nobody.
#[test]
fn the_page_takes_a_forwarded_address_from_a_trusted_proxy_alone() {
    let scene = Scene::new(&["--admin-listen", "127.0.0.1:0"]);
    let page = scene.gateway.json(&["status"])["page"].as_str().unwrap().to_owned();
    let password = "correct horse battery";
    scene.gateway.json(&["config", "set", "trusted-proxies", "127.0.0.5"]);
    for (name, from, forwarded) in [("ines", "127.0.0.5", "198.51.100.7"), ("jo", "127.0.0.6", "198.51.100.8")] {
        scene.gateway.json_with(&["user", "add", name, "--role", "admin", "--password-file", "-"], password);
        let log_in = |user: &str, password: &str, forwarded: &str| {
            let body = serde_json::json!({ "user": user, "password": password }).to_string();
            let mut line = Line::open_from(&page, from);
            let head = format!(
                "POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Forwarded-For: {forwarded}\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            line.write(head.as_bytes());
            line.answer().unwrap().status
        };
        assert_eq!(log_in(name, password, forwarded), 200);
        let audit = scene.gateway.json(&["audit", "--what", "Log in"]).to_string();
        let (seen, other) = if name == "ines" { (forwarded, from) } else { (from, forwarded) };
        assert!(audit.contains(seen) && !audit.contains(other), "{audit}");
        // Each guess names another account, so that only the address is counted.
        for number in 0..6 {
            log_in(&format!("{name}{number}"), "a wrong password", forwarded);
        }
        assert_eq!(log_in(name, password, forwarded), 429);
        let elsewhere = log_in(name, password, "198.51.100.99");
        assert_eq!(elsewhere, if name == "ines" { 200 } else { 429 }, "{name}");
    }
}

/// A handshake costs more than all that a refused call does.
#[test]
fn an_address_that_connects_and_calls_nothing_is_turned_away_in_the_end() {
    let scene = Scene::new(&[]);
    let lines = || scene.gateway.log().matches("connections from 127.0.0.2 are closed for now").count();
    // Each waits for its end, so that it is counted before the next one comes; some come back meanwhile.
    let turned_away = (0..5000).find(|_| {
        let mut stream = silent(&scene.hook.address, [127, 0, 0, 2]);
        // It may be closed already.
        let _ = stream.write_all(b"no handshake");
        while !is_ended(&mut stream) {}
        lines() > 0
    });
    assert!(turned_away.expect("there is an end of it") >= 300);
    assert!(scene.refused("webhook", "handshake") >= 300 && scene.refused("webhook", "budget") >= 1);
    assert_eq!(scene.send_from("127.0.0.3", &scene.hook.call(&body("shop", "T1"))).unwrap().status, 202);
    assert_eq!(lines(), 1);
}

/// All that there is for bodies is held by strangers who send slowly: small ones, as Sonar's are, have room all the same.
#[test]
fn bodies_that_never_end_leave_room_for_those_of_sonar() {
    let scene = Scene::new(&["--webhook-plain"]);
    let to: SocketAddr = scene.hook.address.strip_prefix("http://").unwrap().parse().unwrap();
    let call = scene.hook.call("").with("Content-Length", "1048576");
    let begin = || {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.write_all(&call.head()).unwrap();
        // All but the last byte; for whom there is no room is told so, and closed.
        let _ = stream.write_all(&vec![b' '; MIB - 1]);
        stream
    };
    let mut slow: Vec<_> = (0..30).map(|_| begin()).collect();
    // A large one finds none; who still sends may not be told so before the end.
    let large = scene.hook.call(&format!("{}{}", body("shop", "T1"), " ".repeat(900 * 1024)));
    let is_refused = || {
        let mut stream = TcpStream::connect(to).unwrap();
        let _ = stream.write_all(&large.bytes());
        let mut answer = [0; 64];
        let length = stream.read(&mut answer).unwrap_or(0);
        !answer[..length].starts_with(b"HTTP/1.1 202")
    };
    scene.gateway.wait("the room to be taken", |_| {
        slow.push(begin());
        is_refused().then_some(())
    });
    assert_eq!(scene.hook.post(&body("shop", "T2")).status, 202);
}

#[test]
fn failed_handshakes_are_counted_on_both_listeners() {
    let scene = Scene::new(&["--admin-listen", "127.0.0.1:0"]);
    let page = scene.gateway.json(&["status"])["page"].as_str().unwrap().to_owned();
    for (address, listener) in [(&scene.hook.address, "webhook"), (&page, "page")] {
        let mut stream = silent(address, [127, 0, 0, 2]);
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        while !is_ended(&mut stream) {}
        scene.gateway.wait("it to be counted", |_| (scene.refused(listener, "handshake") == 1).then_some(()));
        let mut stream = silent(address, [127, 0, 0, 2]);
        assert!(is_ended(&mut stream), "who says nothing is cut in the end");
        assert_eq!(scene.refused(listener, "handshake_timeout"), 1);
    }
}
