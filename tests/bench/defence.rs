//! How the webhook listener fares while strangers are rude to it: what an honest webhook waits meanwhile, and what the
//! gateway spends on them. And whether the time of an answer tells anything about a signature.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hydrophone::domain::signature::{Secret, Signature};

use crate::client::Hook;
use crate::process::{forget_peak, memory, written, written_since};
use crate::support::gateway::Gateway;
use crate::support::sonar::{Mode, Sonar};
use crate::support::{connect, tls};
use crate::table::{Figure, Table};
use crate::{MIB, ORGANIZATION, Scale, import, most, section, wait};

/// Every rudeness beside an honest SonarQube, then the lies that cost the most, then the time of an answer.
pub(crate) fn measure(scale: &Scale, table: &mut Table) {
    section("Strangers at the webhook listener");
    let (gateway, sonar) = follows_pulse(&[]);
    let target = Target::of(&gateway);
    let count = scale.strangers.min(descriptors().saturating_sub(500));
    beside(&gateway, table, &format!("{count} idle connections"), 16 * MIB, || idle(&target, count, scale.rude));
    beside(&gateway, table, "handshakes without end", 16 * MIB, || repeat(&target, scale.rude, shake_hands));
    beside(&gateway, table, "headers without end", 16 * MIB, || repeat(&target, scale.rude, send_headers));
    // As many connections as there may be, with all that a connection has.
    beside(&gateway, table, "half a request and silence", 24 * MIB, || idle_in_the_middle(&target, count, scale.rude));
    let sent = AtomicU64::new(0);
    let length = scale.body;
    beside(&gateway, table, "a chunked body of 200 MB without a right signature", 2 * MIB, || {
        sent.store(send_body(&target, length), Ordering::Relaxed);
    });
    table.limited("  of it taken off its sender", Figure::Bytes(sent.load(Ordering::Relaxed)), Figure::Bytes(8 * MIB));
    slow_http(scale, table, &gateway, &target);
    drop((gateway, sonar));
    lies(scale, table);
    timing(scale, table);
}

fn follows_pulse(flags: &[&str]) -> (Gateway, Sonar) {
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        model.add_project(ORGANIZATION, "pulse", "Pulse");
        model.add_issues("pulse", "main", 5);
    });
    let gateway = Gateway::start_with(flags);
    connect(&gateway, &sonar);
    gateway.json(&["config", "set", "requests-per-minute", "100000"]);
    import(&gateway, &["pulse"]);
    (gateway, sonar)
}

/// Does something rude while honest webhooks come in, each over a connection of its own as SonarQube makes them.
fn beside(gateway: &Gateway, table: &mut Table, what: &str, memory_max: u64, rude: impl FnOnce()) {
    let honest = Honest::start(gateway);
    // The first ones fill what is kept for all that follow.
    wait("honest webhooks", || honest.count() > 20);
    let before = memory(gateway.id(), "VmRSS");
    forget_peak(gateway.id());
    let from = honest.count();
    rude();
    let during = honest.count();
    wait("webhooks after it is over", || honest.count() > during + 5);
    let grown = memory(gateway.id(), "VmHWM").saturating_sub(before);
    let (mut times, failed) = honest.stop();
    let mut times = times.split_off(usize::try_from(from).expect("it is a count").min(times.len() - 1));
    times.sort();
    let sent = times.len();
    let second = Figure::Time(Duration::from_secs(1));
    table.limited(
        &format!("{what}: 99 of 100 of {sent} honest webhooks answered within"),
        Figure::Time(times[(sent * 99 / 100).min(sent - 1)]),
        second,
    );
    table.noted("  the slowest", Figure::Time(most(&times)));
    table.limited("  honest webhooks without an answer", Figure::Count(failed), Figure::Count(0));
    table.limited("  memory beyond that before", Figure::Bytes(grown), Figure::Bytes(memory_max));
}

/// Where webhooks go, and an endpoint that is real.
struct Target {
    address: SocketAddr,
    secure: bool,
    path: String,
}

impl Target {
    fn of(gateway: &Gateway) -> Self {
        let (scheme, address) = gateway.address().split_once("://").expect("it has a scheme");
        let path = Hook::of(gateway, ORGANIZATION).path().to_owned();
        Self { address: address.parse().expect("it is an address"), secure: scheme == "https", path }
    }

    /// A connection from one of many addresses.
    fn connect(&self, number: usize) -> std::io::Result<TcpStream> {
        let from = Ipv4Addr::new(
            127,
            1,
            u8::try_from(number / 200 % 200).expect("below 200"),
            1 + u8::try_from(number % 200).expect("below 200"),
        );
        let stream = tls::connect_from(from.into(), self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        Ok(stream)
    }

    fn open(&self, number: usize) -> std::io::Result<Box<dyn ReadWrite>> {
        let stream = self.connect(number)?;
        Ok(if self.secure { Box::new(tls::over(stream)) } else { Box::new(stream) })
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// Many connections from 200 addresses that say nothing.
fn idle(target: &Target, count: usize, time: Duration) {
    let end = Instant::now() + time;
    let held: Vec<_> = (0..count).filter_map(|number| target.connect(number % 200).ok()).collect();
    thread::sleep(end.saturating_duration_since(Instant::now()));
    drop(held);
}

/// The same, but that each has shaken hands and begun a request.
fn idle_in_the_middle(target: &Target, count: usize, time: Duration) {
    let end = Instant::now() + time;
    let mut held = Vec::new();
    for number in 0..count {
        let begun = target.open(number % 200).and_then(|mut stream| {
            stream.write_all(b"POST /hooks/")?;
            Ok(stream)
        });
        held.extend(begun);
        if Instant::now() > end {
            break;
        }
    }
    thread::sleep(end.saturating_duration_since(Instant::now()));
    drop(held);
}

/// Four do it over and over, each from addresses of its own.
fn repeat(target: &Target, time: Duration, rude: fn(&Target, usize)) {
    let end = Instant::now() + time;
    thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                for number in (0..).map(|number| part * 50 + number % 50) {
                    if Instant::now() > end {
                        break;
                    }
                    rude(target, number);
                }
            });
        }
    });
}

fn shake_hands(target: &Target, number: usize) {
    // Whoever is shown the door has been dealt with, too.
    let _ = target.connect(number).map(|stream| {
        let mut stream = tls::over(stream);
        stream.conn.complete_io(&mut stream.sock)
    });
}

fn send_headers(target: &Target, number: usize) {
    let _ = target.open(number).and_then(|mut stream| {
        stream.write_all(format!("POST {} HTTP/1.1\r\n", target.path).as_bytes())?;
        // Far more than anybody needs; the gateway ends it.
        for number in 0..100_000 {
            stream.write_all(format!("X-Header-{number}: {number}\r\n").as_bytes())?;
        }
        Ok(())
    });
}

/// Sends a body in chunks with a signature of the right form, and returns how many bytes of it were taken.
fn send_body(target: &Target, length: u64) -> u64 {
    let mut stream = target.open(0).expect("the gateway listens");
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: box\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\
         X-Sonar-Webhook-HMAC-SHA256: {}\r\n\r\n",
        target.path,
        "0".repeat(64)
    );
    stream.write_all(head.as_bytes()).expect("the gateway listens");
    let mut chunk = b"10000\r\n".to_vec();
    chunk.resize(chunk.len() + 0x1_0000, b' ');
    chunk.extend_from_slice(b"\r\n");
    let mut sent = 0;
    while sent < length {
        if stream.write_all(&chunk).is_err() {
            break;
        }
        sent += 0x1_0000;
    }
    sent
}

/// Debian's slowhttptest, where it is installed: four ways of taking one's time.
fn slow_http(scale: &Scale, table: &mut Table, gateway: &Gateway, target: &Target) {
    if Command::new("slowhttptest").arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return eprintln!("  slowhttptest is not installed, and not measured with");
    }
    let scheme = if target.secure { "https" } else { "http" };
    let url = format!("{scheme}://{}{}", target.address, target.path);
    let seconds = scale.rude.as_secs().max(1).to_string();
    let connections = scale.strangers.min(1_000).to_string();
    for (what, mode) in [("slow headers", "-H"), ("slow body", "-B"), ("ranges", "-R"), ("slow reading", "-X")] {
        beside(gateway, table, &format!("slowhttptest, {connections} connections, {what}"), 16 * MIB, || {
            let ran = Command::new("slowhttptest")
                .args([mode, "-c", &connections, "-r", "500", "-l", &seconds, "-i", "2", "-u", &url])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            assert!(ran.is_ok(), "slowhttptest can be run");
        });
    }
}

/// A million calls with wrong signatures from 200 addresses, of which nothing is to be left.
fn lies(scale: &Scale, table: &mut Table) {
    let (gateway, _sonar) = follows_pulse(&["--webhook-plain"]);
    // Strangers are told apart only where it is known who stands before the listener; these come by themselves.
    gateway.json(&["config", "set", "trusted-proxies", "192.0.2.1"]);
    let target = Target::of(&gateway);
    let body = format!("{{\"project\":{{\"key\":\"pulse\"}},\"filling\":\"{}\"}}", "x".repeat(1_400));
    let call = format!(
        "POST {} HTTP/1.1\r\nHost: box\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         X-Sonar-Webhook-HMAC-SHA256: {}\r\n\r\n{body}",
        target.path,
        body.len(),
        "0".repeat(64)
    );
    let (answered, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    // What a call costs for the first time is not counted.
    lie(&target, 0, &call, &answered, 100);
    let log = gateway.log().len();
    let disk = written(gateway.id());
    let before = memory(gateway.id(), "VmRSS");
    let begin = Instant::now();
    answered.store(0, Ordering::Relaxed);
    thread::scope(|scope| {
        for part in 0..8 {
            let (target, call, answered, ended) = (&target, &call, &answered, &ended);
            scope.spawn(move || {
                for number in (0..).map(|number| part * 25 + number % 25) {
                    if ended.load(Ordering::Relaxed) || answered.load(Ordering::Relaxed) >= scale.lies {
                        break;
                    }
                    lie(target, number, call, answered, scale.lies);
                    // Bounded in time, too.
                    if begin.elapsed() > LIES_MAX {
                        ended.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let took = begin.elapsed();
    let count = answered.load(Ordering::Relaxed);
    #[allow(clippy::cast_precision_loss, reason = "a million")]
    let rate = count as f64 / took.as_secs_f64();
    table.noted(&format!("{count} wrong signatures from 200 addresses"), Figure::Rate(rate));
    table.limited_bytes("  written to disk meanwhile", written_since(gateway.id(), disk), 0);
    let logged = gateway.log().len() - log;
    table.limited("  logged", Figure::Bytes(logged as u64), Figure::Bytes(64 * 1024));
    let grown = memory(gateway.id(), "VmRSS").saturating_sub(before);
    table.limited("  memory beyond that before", Figure::Bytes(grown), Figure::Bytes(4 * MIB));
}

/// Calls until the connection is ended, and counts the answers.
fn lie(target: &Target, number: usize, call: &str, answered: &AtomicU64, enough: u64) {
    let Ok(mut stream) = target.connect(number) else { return };
    let mut answer = [0; 4096];
    while answered.load(Ordering::Relaxed) < enough && stream.write_all(call.as_bytes()).is_ok() {
        match stream.read(&mut answer) {
            Ok(bytes) if bytes > 0 => {
                let status = &answer[..bytes.min(12)];
                assert!(
                    status == b"HTTP/1.1 401" || status == b"HTTP/1.1 429",
                    "not refused: {}",
                    status.escape_ascii()
                );
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

const LIES_MAX: Duration = Duration::from_mins(4);

/// Wrong signatures, of which one kind is wrong in its first digit and right in all others, and the other kind the other
/// way round. Welch's t says whether their times differ; beyond 4.5 it is no chance (as dudect judges).
fn timing(scale: &Scale, table: &mut Table) {
    section("The time of a wrong signature");
    let secret = Secret::parse("a secret of no value").expect("it is long enough");
    let body = vec![b' '; 256];
    let right = secret.sign(&body);
    let kinds = [0, 63].map(|wrong| {
        let mut digits = right.clone().into_bytes();
        digits[wrong] = if digits[wrong] == b'0' { b'1' } else { b'0' };
        Signature::parse(&digits).expect("it has the form")
    });
    let mut random = vec![0; scale.samples];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random).expect("the system has randomness");
    let mut times = [const { Vec::new() }; 2];
    for (number, byte) in random.into_iter().enumerate() {
        let kind = usize::from(byte & 1);
        let begin = Instant::now();
        let verified =
            std::hint::black_box(&kinds[kind]).verifies(std::hint::black_box(&body), std::iter::once(&secret));
        let took = begin.elapsed();
        assert!(!verified, "it is wrong");
        // What it takes until everything is warm says nothing.
        if number >= scale.samples / 100 {
            times[kind].push(took);
        }
    }
    // What was interrupted says nothing either; the same bound for both.
    let mut all: Vec<_> = times.iter().flatten().copied().collect();
    all.sort();
    let bound = all[all.len() * 95 / 100];
    let kept = times.map(|times| times.into_iter().filter(|&took| took <= bound).collect::<Vec<_>>());
    let what = format!("{} wrong signatures, right but for their first or their last digit: Welch's t", all.len());
    table.limited(&what, Figure::Ratio(welch(&kept[0], &kept[1]).abs()), Figure::Ratio(4.5));
}

/// Welch's t of two samples.
#[allow(clippy::cast_precision_loss, reason = "times of less than a second, and fewer samples than a double can count")]
fn welch(one: &[Duration], other: &[Duration]) -> f64 {
    let [one, other] = [one, other].map(|sample| {
        let count = sample.len() as f64;
        let times = || sample.iter().map(|time| time.as_nanos() as f64);
        let mean = times().sum::<f64>() / count;
        let variance = times().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    (one.0 - other.0) / (one.1 + other.1).sqrt()
}

/// How many connections one process may have.
fn descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// SonarQube, which makes a connection for every webhook.
struct Honest {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    thread: thread::JoinHandle<(Vec<Duration>, u64)>,
}

impl Honest {
    fn start(gateway: &Gateway) -> Self {
        let hook = Hook::of(gateway, ORGANIZATION);
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = thread::spawn({
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            move || {
                let (mut times, mut failed) = (Vec::new(), 0);
                while !stop.load(Ordering::Relaxed) {
                    let begin = Instant::now();
                    if hook.connect().try_send("pulse").is_some() {
                        times.push(begin.elapsed());
                        count.fetch_add(1, Ordering::Relaxed);
                    } else {
                        failed += 1;
                    }
                    thread::sleep(Duration::from_millis(20));
                }
                (times, failed)
            }
        });
        Self { stop, count, thread }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// How long each answer took, and how many calls had none.
    fn stop(self) -> (Vec<Duration>, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}
