//! A real server of NATS: Debian's package `nats-server`, with JetStream on a folder of its own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;

use async_nats::jetstream::stream::{Config, Stream};
use async_nats::jetstream::{self, Context};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::gateway::SOON;

/// Who may do everything.
const KEEPER: [&str; 2] = ["keeper", "keeper-secret"];

/// A server that runs. It is killed when dropped.
pub struct Server {
    folder: tempfile::TempDir,
    child: Option<Child>,
    host: String,
    port: u16,
    /// What starts it: the words before its own.
    through: Vec<String>,
}

/// The stream that a keeper makes for a fleet.
pub fn usual() -> Config {
    Config {
        name: "HYDROPHONE".to_owned(),
        subjects: vec!["hydrophone.v1.>".to_owned()],
        max_messages_per_subject: 1,
        ..Config::default()
    }
}

/// A line of the configuration for a site that may do no more than its box needs.
pub fn confined(site: &str) -> String {
    format!(
        r#"{{ user: {site}, password: {site}-secret, permissions: {{
            publish: ["hydrophone.v1.{site}.>"], subscribe: ["_INBOX.hydrophone.{site}.>"] }} }}"#
    )
}

/// A line of the configuration for a hub that may do no more than it needs.
pub fn hub() -> String {
    let api = [
        "STREAM.INFO.HYDROPHONE",
        "CONSUMER.CREATE.HYDROPHONE.>",
        "CONSUMER.MSG.NEXT.HYDROPHONE.>",
        "CONSUMER.DELETE.HYDROPHONE.>",
        "STREAM.MSG.GET.HYDROPHONE",
        "STREAM.MSG.DELETE.HYDROPHONE",
    ];
    let api = api.map(|subject| format!("\"$JS.API.{subject}\"")).join(", ");
    format!(
        r#"{{ user: hub, password: hub-secret, permissions: {{
            publish: [{api}], subscribe: ["_INBOX.hydrophone-hub.>"] }} }}"#
    )
}

impl Server {
    /// With these users beside the keeper.
    pub fn start(users: &[String]) -> Self {
        Self::configured(&with_users(users))
    }

    /// The same at another of this machine's addresses, and by a command to which its words are added.
    #[allow(dead_code, reason = "only tests of networks do so")]
    pub fn start_at(host: &str, port: u16, through: Vec<String>, users: &[String]) -> Self {
        Self::at((host, port), through, tempfile::tempdir().unwrap(), &with_users(users))
    }

    /// With this configuration, in which `FOLDER` stands for a folder that is its own.
    pub fn configured(configuration: &str) -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), configuration)
    }

    pub fn in_folder(folder: tempfile::TempDir, configuration: &str) -> Self {
        // Nobody else takes it between this and the start, as nothing else here asks for it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::at(("127.0.0.1", port), Vec::new(), folder, configuration)
    }

    fn at((host, port): (&str, u16), through: Vec<String>, folder: tempfile::TempDir, configuration: &str) -> Self {
        let configuration = configuration.replace("FOLDER", folder.path().to_str().unwrap());
        std::fs::write(folder.path().join("nats.conf"), format!("listen: \"{host}:{port}\"\n{configuration}\n"))
            .unwrap();
        let mut server = Self { folder, child: None, host: host.to_owned(), port, through };
        server.again();
        server
    }

    /// Starts it, with what it had stored.
    pub fn again(&mut self) {
        let words: Vec<&str> = self.through.iter().map(String::as_str).chain(["nats-server", "-c"]).collect();
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .arg(self.file("nats.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Debian's package nats-server is installed");
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (ready, is_ready) = channel();
        // Read to its end, so that it never waits for us.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.contains("Server is ready") {
                    let _ = ready.send(());
                }
            }
        });
        self.child = Some(child);
        is_ready.recv_timeout(SOON).expect("nats-server starts");
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Its process.
    #[allow(dead_code, reason = "only the benchmarks ask")]
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Where it listens.
    #[allow(dead_code, reason = "only tests ask")]
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("nats://{}:{}", self.host, self.port)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Asks the server something as its keeper.
    pub fn ask<T>(&self, question: impl AsyncFnOnce(Context) -> T) -> T {
        let [name, password] = KEEPER.map(str::to_owned);
        Runtime::new().unwrap().block_on(async {
            let options = async_nats::ConnectOptions::with_user_and_password(name, password);
            let client = options.connect(self.url()).await.expect("the server runs");
            question(jetstream::new(client)).await
        })
    }

    /// Makes a stream that is like this.
    pub fn make(&self, stream: Config) {
        self.ask(async |context| context.create_stream(stream).await.map(drop).unwrap());
    }

    /// What the stream of this name holds, by subject; none if there is no such stream.
    pub fn holds(&self, stream: &str) -> Option<BTreeMap<String, Value>> {
        self.ask(async |context| {
            let stream = context.get_stream(stream).await.ok()?;
            Some(all(&stream).await)
        })
    }

    /// The findings of the usual stream as `site key state`, in order.
    pub fn findings(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        let held = self.holds("HYDROPHONE").unwrap_or_default();
        let findings = held.values().filter(|event| text(&event["type"]).starts_with("dev.hydrophone.finding."));
        let told = findings.map(|event| {
            format!("{} {} {}", text(&event["site"]), text(&event["data"]["key"]), text(&event["data"]["state"]))
        });
        let mut told: Vec<_> = told.collect();
        told.sort();
        told
    }
}

/// A configuration for these users beside the keeper.
fn with_users(users: &[String]) -> String {
    let [name, password] = KEEPER;
    let keeper = format!("{{ user: {name}, password: {password} }}");
    let users = [&[keeper], users].concat().join("\n");
    format!("jetstream {{ store_dir: \"FOLDER/store\" }}\nauthorization {{ users: [\n{users}\n] }}")
}

async fn all(stream: &Stream) -> BTreeMap<String, Value> {
    let state = &stream.cached_info().state;
    let mut all = BTreeMap::new();
    for sequence in state.first_sequence..=state.last_sequence {
        // Where a newer message of its subject took its place, there is none.
        if let Ok(message) = stream.get_raw_message(sequence).await {
            all.insert(message.subject.to_string(), serde_json::from_slice(&message.payload).unwrap());
        }
    }
    all
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
