//! Webhooks as fast as they are answered, beside what others answer to the same load in the same run: Node with a file
//! and an fdatasync for each call, which is what many would write, and nginx, which stores nothing and is the machine's
//! limit. The load is wrk's (`webhook.lua`): one thread, a fresh body and signature for each call.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::client::Hook;
use crate::process::{memory, ticks, written, written_since};
use crate::support::connect;
use crate::support::gateway::Gateway;
use crate::support::sonar::{Mode, Sonar};
use crate::table::{Figure, Table};
use crate::{MIB, ORGANIZATION, Scale, import, section, wait};

/// Connections, as many as one address may have; half as many where each is made anew, as those that are being closed count.
const CONNECTIONS: usize = 32;

pub(crate) fn measure(scale: &Scale, table: &mut Table) {
    section("Beside others");
    let missing: Vec<&str> = ["wrk", "nginx", "node"].into_iter().filter(|name| tool(name).is_none()).collect();
    if !missing.is_empty() {
        eprintln!("  left out, as there is no {}: apt-get install wrk nginx-light nodejs", missing.join(" and no "));
        return;
    }
    let scene = Scene::new();
    let mut runs: Vec<Vec<Run>> = LOADS.iter().map(|_| Vec::new()).collect();
    for _ in 0..scale.turns {
        for (load, runs) in LOADS.iter().zip(&mut runs) {
            runs.push(scene.run(load, scale.load));
        }
    }
    let runs: Vec<Run> = runs.iter().map(|runs| Run::median(runs)).collect();
    tell(&runs, table);
}

/// Who is called, and how.
struct Load {
    whom: Whom,
    tls: bool,
    /// With a new connection each time, as SonarQube calls.
    anew: bool,
    /// With signatures that are wrong.
    wrong: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whom {
    Us,
    Node,
    Nginx,
}

/// What is measured, by its place here.
const LOADS: [Load; 9] = {
    const fn load(whom: Whom, tls: bool, anew: bool, wrong: bool) -> Load {
        Load { whom, tls, anew, wrong }
    }
    [
        load(Whom::Us, false, false, false),
        load(Whom::Node, false, false, false),
        load(Whom::Nginx, false, false, false),
        load(Whom::Us, true, false, false),
        load(Whom::Nginx, true, false, false),
        load(Whom::Us, true, true, false),
        load(Whom::Nginx, true, true, false),
        load(Whom::Us, false, false, true),
        load(Whom::Nginx, false, false, true),
    ]
};
const US: usize = 0;
const NODE: usize = 1;
const NGINX: usize = 2;
const US_TLS: usize = 3;
const NGINX_TLS: usize = 4;
const US_ANEW: usize = 5;
const NGINX_ANEW: usize = 6;
const US_WRONG: usize = 7;
const NGINX_WRONG: usize = 8;

/// Everybody, started once.
struct Scene {
    folder: tempfile::TempDir,
    plain: Gateway,
    secure: Gateway,
    node: Peer,
    nginx: Peer,
    _sonar: Sonar,
}

/// Where calls go, what signs them, and the process whose time is taken.
struct Target {
    url: String,
    secret: String,
    process: u32,
}

/// A program of others. It is killed when dropped.
struct Peer {
    child: Child,
    ports: [u16; 2],
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    fn start(command: &mut Command, ports: [u16; 2]) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let peer = Self { child: child.expect("the program starts"), ports };
        for port in ports {
            wait("the program to listen", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        }
        peer
    }
}

/// The secret of everybody but us.
const SECRET: &str = "a secret of many characters";

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("body"), body()).expect("the folder can be written");
        std::fs::write(folder.path().join("webhook.lua"), include_str!("webhook.lua")).expect("as before");
        std::fs::write(folder.path().join("receiver.js"), include_str!("receiver.js")).expect("as before");
        let sonar = Sonar::start(Mode::Cloud);
        sonar.edit(|model| {
            model.add_project(ORGANIZATION, "pulse", "Pulse");
            model.add_issues("pulse", "main", 5);
        });
        let gateway = |flags: &[&str]| {
            let gateway = Gateway::start_with(flags);
            connect(&gateway, &sonar);
            import(&gateway, &["pulse"]);
            gateway
        };
        let plain = gateway(&["--webhook-plain"]);
        // Wrong signatures come from as many addresses, as one alone would soon be refused unread.
        plain.json(&["config", "set", "trusted-proxies", "127.0.0.1"]);
        let secure = gateway(&[]);
        let (node, nginx) = (node(folder.path()), nginx(folder.path()));
        Self { folder, plain, secure, node, nginx, _sonar: sonar }
    }

    fn target(&self, load: &Load) -> Target {
        let scheme = if load.tls { "https" } else { "http" };
        let peer = |peer: &Peer| Target {
            url: format!("{scheme}://127.0.0.1:{}/hooks/sonar", peer.ports[usize::from(load.tls)]),
            secret: SECRET.to_owned(),
            process: peer.child.id(),
        };
        match load.whom {
            Whom::Node => peer(&self.node),
            Whom::Nginx => peer(&self.nginx),
            Whom::Us => {
                let gateway = if load.tls { &self.secure } else { &self.plain };
                let hook = Hook::of(gateway, ORGANIZATION);
                let url = format!("{}{}", gateway.address(), hook.path());
                Target { url, secret: hook.secret().to_owned(), process: gateway.id() }
            }
        }
    }

    /// One turn. What it left to do is done before anybody else has theirs.
    fn run(&self, load: &Load, time: Duration) -> Run {
        let target = self.target(load);
        self.wrk(load, &target, Duration::from_secs(1));
        self.settle();
        let (time_before, disk, commits) = (ticks(target.process), written(target.process), self.commits(load));
        let mut run = self.wrk(load, &target, time);
        #[allow(clippy::cast_precision_loss, reason = "a few seconds in microseconds")]
        let processor = (ticks(target.process) - time_before) as f64 * 10_000.0;
        run.processor = processor / run.calls;
        run.memory = memory(target.process, "VmRSS");
        run.written = written_since(target.process, disk);
        run.commits = self.commits(load) - commits;
        self.settle();
        run
    }

    fn wrk(&self, load: &Load, target: &Target, time: Duration) -> Run {
        let flag = |asked: bool| if asked { "1" } else { "0" };
        let output = Command::new(tool("wrk").expect("it was looked for"))
            .args(["--threads", "1", "--latency"])
            .args(["--connections", &if load.anew { CONNECTIONS / 2 } else { CONNECTIONS }.to_string()])
            .args(["--duration", &format!("{}s", time.as_secs().max(1))])
            .args(["--script", "webhook.lua", &target.url])
            .env("SECRET", &target.secret)
            .env("BODY", "body")
            .env("CLOSE", flag(load.anew))
            .env("WRONG", flag(load.wrong))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("wrk starts");
        let said = String::from_utf8_lossy(&output.stdout);
        let line = said.lines().find_map(|line| line.strip_prefix("RESULT ")).unwrap_or_else(|| panic!("{output:?}"));
        let numbers: Vec<f64> = line.split(' ').map(|number| number.parse().expect("it is a number")).collect();
        let [took, accepted, refused, other, errors, p99] = numbers[..] else { panic!("{line}") };
        // nginx looks at no signature.
        let calls = if load.wrong && load.whom == Whom::Us { refused } else { accepted };
        let wrong = accepted + refused - calls + other + errors;
        assert!(calls > 0.0 && wrong <= calls / 1000.0, "{}: {line}", target.url);
        Run { rate: calls / took * 1e6, p99: p99 / 1e6, calls, ..Run::default() }
    }

    fn settle(&self) {
        for gateway in [&self.plain, &self.secure] {
            crate::settle(gateway);
        }
    }

    fn commits(&self, load: &Load) -> f64 {
        let gateway = if load.tls { &self.secure } else { &self.plain };
        crate::metric(gateway, "hydrophone_commits_total")
    }
}

/// 1.5 kB, as Sonar's documentation shows it. Without blanks: as Sonar sends it.
fn body() -> String {
    let conditions: Vec<_> = ["new_security_rating", "new_reliability_rating", "new_maintainability_rating"]
        .into_iter()
        .map(|metric| {
            serde_json::json!({
                "errorThreshold": "1", "metric": metric, "onLeakPeriod": true, "operator": "GREATER_THAN",
                "status": "OK", "value": "1",
            })
        })
        .collect();
    let mut document = serde_json::json!({
        "serverUrl": "https://sonarcloud.io",
        "taskId": "TASK",
        "status": "SUCCESS",
        "analysedAt": "2026-01-05T10:00:00+0100",
        "changedAt": "2026-01-05T10:00:00+0100",
        "revision": "0123456789012345678901234567890123456789",
        "project": {"key": "pulse", "name": "Pulse", "url": "https://sonarcloud.io/dashboard?id=pulse"},
        "branch": {"name": "main", "type": "LONG", "isMain": true, "url": "https://sonarcloud.io/dashboard?id=pulse"},
        "qualityGate": {"conditions": conditions, "name": "SonarQube way", "status": "OK"},
        "properties": {"sonar.analysis.build": ""},
    });
    let length = document.to_string().len() + 20 - "TASK".len();
    document["properties"]["sonar.analysis.build"] = "x".repeat(1532_usize.saturating_sub(length)).into();
    document.to_string()
}

fn node(folder: &Path) -> Peer {
    let port = free_port();
    let mut command = Command::new(tool("node").expect("it was looked for"));
    command.arg("receiver.js").env("PORT", port.to_string()).env("SECRET", SECRET).env("FILE", "node.log");
    Peer::start(command.current_dir(folder), [port; 2])
}

/// One process, as the load has the other processor.
fn nginx(folder: &Path) -> Peer {
    let key = rcgen::KeyPair::generate().expect("a key can be made");
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).and_then(|of| of.self_signed(&key));
    std::fs::write(folder.join("cert.pem"), certificate.expect("a certificate can be made").pem()).expect("as before");
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).expect("as before");
    let ports = [free_port(), free_port()];
    let at = folder.display();
    let temporary: String =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|of| format!("{of}_temp_path {at}/{of};\n")).concat();
    let configuration = format!(
        "daemon off;\nmaster_process off;\npid {at}/nginx.pid;\nerror_log {at}/nginx.log warn;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\naccess_log off;\n{temporary}keepalive_requests 1000000000;\n\
         ssl_certificate {at}/cert.pem;\nssl_certificate_key {at}/key.pem;\nssl_protocols TLSv1.2 TLSv1.3;\n\
         ssl_session_cache shared:sessions:1m;\n\
         server {{ listen 127.0.0.1:{}; location / {{ return 204; }} }}\n\
         server {{ listen 127.0.0.1:{} ssl; location / {{ return 204; }} }}\n}}\n",
        ports[0], ports[1]
    );
    std::fs::write(folder.join("nginx.conf"), configuration).expect("the folder can be written");
    let mut command = Command::new(tool("nginx").expect("it was looked for"));
    command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf")).arg("-e").arg(folder.join("nginx.log"));
    Peer::start(&mut command, ports)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("there is a port").port()
}

/// Which versions of others' programs are here, in a line.
pub(crate) fn versions() -> String {
    let version = |(name, flag): &(&str, &str)| {
        let output = Command::new(tool(name)?).arg(flag).output().ok()?;
        // nginx and wrk say it as an error would be said, wrk with its usage.
        let said = [output.stdout, output.stderr].concat();
        let line = String::from_utf8_lossy(&said).lines().next()?.to_owned();
        Some(format!(
            "{name} {}",
            line.trim_start_matches("nginx version: nginx/")
                .split(" [")
                .next()?
                .trim_start_matches("wrk ")
                .trim_start_matches("nats-server: ")
        ))
    };
    [("node", "--version"), ("nginx", "-v"), ("wrk", "-v"), ("nats-server", "--version")]
        .iter()
        .filter_map(version)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Where a program is. Debian's servers are where only root looks.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// What one turn showed.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    /// Calls a second.
    rate: f64,
    /// 99 of 100 answered within, in seconds.
    p99: f64,
    calls: f64,
    /// Microseconds of processor for each call.
    processor: f64,
    memory: u64,
    written: Option<u64>,
    commits: f64,
}

impl Run {
    /// What counts of several turns: medians, the most memory, and all that was written.
    fn median(runs: &[Self]) -> Self {
        let middle = |of: fn(&Run) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let most = runs.iter().map(|run| run.memory).max().unwrap_or_default();
        Self {
            rate: middle(|run| run.rate),
            p99: middle(|run| run.p99),
            calls: middle(|run| run.calls),
            processor: middle(|run| run.processor),
            memory: most,
            written: runs.iter().map(|run| run.written).sum(),
            commits: middle(|run| run.commits),
        }
    }
}

fn tell(runs: &[Run], table: &mut Table) {
    let rate = |which: usize| Figure::Rate(runs[which].rate);
    let beside = |which: usize, other: usize| Figure::Ratio(runs[which].rate / runs[other].rate);
    table.noted("webhooks over kept connections, signed, stored and synced", rate(US));
    table.noted("  Node with a file and an fdatasync each", rate(NODE));
    table.noted("  nginx answering 204", rate(NGINX));
    table.at_least("  beside Node", beside(US, NODE), Figure::Ratio(1.5));
    table.at_least("  beside nginx", beside(US, NGINX), Figure::Ratio(0.4));
    let most = Figure::Time(Duration::from_millis(10));
    table.limited("  99 of 100 answered within", Figure::Time(Duration::from_secs_f64(runs[US].p99)), most);
    table.limited("  memory meanwhile", Figure::Bytes(runs[US].memory), Figure::Bytes(25 * MIB));
    table.noted("  for each commit", Figure::Ratio(runs[US].calls / runs[US].commits.max(1.0)));
    table.noted("webhooks over kept TLS connections", rate(US_TLS));
    table.at_least("  beside nginx", beside(US_TLS, NGINX_TLS), Figure::Ratio(0.4));
    table.noted("webhooks over a new TLS connection each", rate(US_ANEW));
    table.noted("  beside nginx", beside(US_ANEW, NGINX_ANEW));
    let part = runs[US_ANEW].processor / runs[NGINX_ANEW].processor;
    table.limited("  processor for each, beside nginx", Figure::Ratio(part), Figure::Ratio(1.0));
    table.noted("wrong signatures", rate(US_WRONG));
    table.at_least("  beside nginx answering 204", beside(US_WRONG, NGINX_WRONG), Figure::Ratio(0.8));
    table.limited_bytes("  written to disk meanwhile", runs[US_WRONG].written, 0);
}
