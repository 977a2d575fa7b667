#![allow(dead_code, unreachable_pub, reason = "every test that includes this uses its own part of it")]
//! A simulated GitHub Enterprise Server as far as code scanning goes: it takes SARIF apart as GitHub documents it,
//! processes it a few questions later, and keeps alerts: what is absent from an analysis of the same category and ref
//! is closed, what a person dismissed stays dismissed. It shares no code with the product.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, BufReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::wire::{Request, Response};

/// A running server; it takes no new connections once it is dropped.
pub struct GitHub {
    shared: Arc<Mutex<Model>>,
    address: SocketAddr,
}

/// What the server knows.
#[derive(Default)]
pub struct Model {
    pub token: String,
    /// What a classic token may; a fine-grained one does not say.
    pub scopes: Option<&'static str>,
    pub repositories: BTreeMap<String, Repository>,
    /// Every call as `METHOD path`, in order.
    pub calls: Vec<String>,
    /// Answers that are given instead of the deserved ones.
    pub answers: VecDeque<Response>,
    /// How often an upload is still pending when it is asked for.
    pub pending: usize,
    /// Why uploads fail when they are processed.
    pub failure: Option<&'static str>,
    ended: bool,
}

/// A repository.
#[derive(Default)]
pub struct Repository {
    /// Whether code scanning is allowed for it.
    pub code_security: bool,
    /// Commits by ref.
    pub refs: BTreeMap<String, String>,
    /// All that it has.
    pub commits: BTreeSet<String>,
    pub uploads: Vec<Upload>,
    pub alerts: Vec<Alert>,
}

/// An upload as it came.
pub struct Upload {
    pub commit: String,
    pub git_ref: String,
    pub tool: String,
    pub log: Value,
    pending: usize,
    errors: Option<Vec<String>>,
    processed: bool,
}

/// An alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub git_ref: String,
    pub category: String,
    pub rule: String,
    pub line_hash: String,
    /// `open`, `dismissed` or `fixed`.
    pub state: &'static str,
}

impl GitHub {
    /// With one token, and one repository that has these refs.
    pub fn start(token: &str, repository: &str, refs: &[(&str, &str)]) -> GitHub {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let refs: BTreeMap<_, _> = refs.iter().map(|(name, to)| ((*name).to_owned(), (*to).to_owned())).collect();
        let commits = refs.values().cloned().collect();
        let first = Repository { code_security: true, refs, commits, ..Repository::default() };
        let repositories = [(repository.to_owned(), first)].into();
        let shared = Arc::new(Mutex::new(Model { token: token.to_owned(), repositories, ..Model::default() }));
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if locked(&accepting).ended {
                    break;
                }
                let shared = Arc::clone(&accepting);
                // A client that goes away is its own business.
                thread::spawn(move || serve(&shared, stream));
            }
        });
        GitHub { shared, address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Looks at what the server knows, or changes it.
    pub fn edit<T>(&self, change: impl FnOnce(&mut Model) -> T) -> T {
        change(&mut locked(&self.shared))
    }

    /// The alerts of a repository, by rule and line, with their states.
    pub fn alerts(&self, repository: &str) -> Vec<Alert> {
        self.edit(|model| model.repositories[repository].alerts.clone())
    }

    /// The log that was uploaded last.
    pub fn last_log(&self, repository: &str) -> Value {
        self.edit(|model| model.repositories[repository].uploads.last().expect("there was an upload").log.clone())
    }
}

impl Drop for GitHub {
    fn drop(&mut self) {
        locked(&self.shared).ended = true;
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn locked(shared: &Mutex<Model>) -> MutexGuard<'_, Model> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(shared: &Mutex<Model>, stream: TcpStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = Request::read(&mut stream)? {
        let answer = locked(shared).answer(&request);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970").as_secs();
        answer.write(stream.get_mut(), i64::try_from(now).expect("it is not that late"))?;
    }
    Ok(())
}

impl Model {
    fn answer(&mut self, request: &Request) -> Response {
        self.calls.push(format!("{} {}", request.method, request.path));
        if let Some(answer) = self.answers.pop_front() {
            return answer;
        }
        if request.header("user-agent").is_none_or(str::is_empty) {
            return said(403, "Request forbidden by administrative rules. Please set a User-Agent");
        }
        if request.header("authorization") != Some(&format!("Bearer {}", self.token)) {
            return said(401, "Bad credentials");
        }
        let mut answer = self.known(request);
        answer.headers.extend(self.scopes.map(|scopes| ("x-oauth-scopes", scopes.to_owned())));
        answer
    }

    fn known(&mut self, request: &Request) -> Response {
        let path = request.path.split('?').next().unwrap_or_default();
        let Some(path) = path.strip_prefix("/api/v3/repos/") else { return said(404, "Not Found") };
        let mut parts = path.splitn(3, '/');
        let name = format!("{}/{}", parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let rest = parts.next().unwrap_or_default().to_owned();
        let (pending, failure) = (self.pending, self.failure);
        let Some(repository) = self.repositories.get_mut(&name) else { return said(404, "Not Found") };
        match (request.method.as_str(), rest.as_str()) {
            ("GET", "") => ok(200, &json!({ "full_name": name, "private": true })),
            ("GET", "code-scanning/alerts") | ("POST", "code-scanning/sarifs") if !repository.code_security => {
                said(403, CODE_SECURITY)
            }
            ("GET", "code-scanning/alerts") if repository.uploads.is_empty() => said(404, "no analysis found"),
            ("GET", "code-scanning/alerts") => ok(200, &json!([])),
            ("POST", "code-scanning/sarifs") => match take(&request.body) {
                Err(why) => said(400, &why),
                Ok(upload) => {
                    repository.uploads.push(Upload { pending, ..upload });
                    let id = format!("upload-{}", repository.uploads.len());
                    ok(202, &json!({ "id": id, "url": format!("{}/{id}", request.path) }))
                }
            },
            ("GET", rest) if rest.starts_with("git/ref/") => {
                let git_ref = rest.replacen("git/ref/", "refs/", 1);
                match repository.refs.get(&git_ref) {
                    Some(sha) => ok(200, &json!({ "ref": git_ref, "object": { "type": "commit", "sha": sha } })),
                    None => said(404, "Not Found"),
                }
            }
            ("GET", rest) => {
                let number: Option<usize> =
                    rest.strip_prefix("code-scanning/sarifs/upload-").and_then(|number| number.parse().ok());
                match number {
                    Some(number) if (1..=repository.uploads.len()).contains(&number) => {
                        ok(200, &repository.process(number - 1, failure))
                    }
                    _ => said(404, "Not Found"),
                }
            }
            _ => said(404, "Not Found"),
        }
    }
}

impl Repository {
    /// What is told of an upload, which is processed once it is no longer pending.
    fn process(&mut self, index: usize, failure: Option<&str>) -> Value {
        let upload = &mut self.uploads[index];
        if upload.pending > 0 {
            upload.pending -= 1;
            return json!({ "processing_status": "pending" });
        }
        if !upload.processed {
            upload.processed = true;
            let unknown = !self.commits.contains(&upload.commit);
            let why = failure.map(str::to_owned).or_else(|| unknown.then(|| "commit not found".to_owned()));
            upload.errors = why.map(|why| vec![why]);
            if upload.errors.is_none() {
                let (log, git_ref) = (upload.log.clone(), upload.git_ref.clone());
                for run in log["runs"].as_array().expect("it was looked at") {
                    self.settle(run, &git_ref);
                }
            }
        }
        match &self.uploads[index].errors {
            Some(errors) => json!({ "processing_status": "failed", "errors": errors }),
            None => json!({ "processing_status": "complete", "analyses_url": "…" }),
        }
    }

    /// Brings the alerts of a ref and category to what a run says.
    fn settle(&mut self, run: &Value, git_ref: &str) {
        let id = run["automationDetails"]["id"].as_str().unwrap_or_default();
        let category = id.rsplit_once('/').map_or("", |(category, _)| category).to_owned();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let told: BTreeSet<(String, String)> = run["results"]
            .as_array()
            .expect("it was looked at")
            .iter()
            .map(|result| (text(&result["ruleId"]), text(&result["partialFingerprints"]["primaryLocationLineHash"])))
            .collect();
        for alert in self.alerts.iter_mut().filter(|alert| alert.git_ref == git_ref && alert.category == category) {
            let is_told = told.contains(&(alert.rule.clone(), alert.line_hash.clone()));
            alert.state = match (is_told, alert.state) {
                (_, "dismissed") => "dismissed",
                (true, _) => "open",
                (false, _) => "fixed",
            };
        }
        for (rule, line_hash) in told {
            let known = |alert: &Alert| {
                (&*alert.git_ref, &alert.category, &alert.rule, &alert.line_hash)
                    == (git_ref, &category, &rule, &line_hash)
            };
            if !self.alerts.iter().any(known) {
                let (git_ref, category) = (git_ref.to_owned(), category.clone());
                self.alerts.push(Alert { git_ref, category, rule, line_hash, state: "open" });
            }
        }
    }
}

/// Takes an upload apart as GitHub does before it answers.
fn take(body: &[u8]) -> Result<Upload, String> {
    let body: Value = serde_json::from_slice(body).map_err(|_| "Problems parsing JSON")?;
    let text = |name: &str| body[name].as_str().ok_or_else(|| format!("{name} wasn't supplied"));
    let (commit, git_ref, sarif) = (text("commit_sha")?, text("ref")?, text("sarif")?);
    if commit.len() != 40 || !commit.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err("commit_sha is not a SHA".to_owned());
    }
    if !git_ref.starts_with("refs/heads/") && !git_ref.starts_with("refs/pull/") {
        return Err("ref must be a full ref".to_owned());
    }
    let zipped = BASE64_STANDARD.decode(sarif).map_err(|_| "sarif is not base64")?;
    if zipped.len() > 10 * 1024 * 1024 {
        return Err("sarif is too large".to_owned());
    }
    let mut bytes = Vec::new();
    GzDecoder::new(&*zipped).read_to_end(&mut bytes).map_err(|_| "sarif is not gzipped")?;
    let log: Value = serde_json::from_slice(&bytes).map_err(|_| "sarif is not JSON")?;
    let runs = log["runs"].as_array().ok_or("no runs")?;
    if log["version"] != "2.1.0" || !log["$schema"].is_string() || runs.len() > 20 {
        return Err("not the SARIF that is supported".to_owned());
    }
    for run in runs {
        let results = run["results"].as_array().ok_or("no results")?;
        let rules = run["tool"]["driver"]["rules"].as_array().ok_or("no rules")?;
        if results.len() > 25_000 || rules.len() > 25_000 || !run["tool"]["driver"]["name"].is_string() {
            return Err("a run is over the limits".to_owned());
        }
    }
    Ok(Upload {
        commit: commit.to_owned(),
        git_ref: git_ref.to_owned(),
        tool: body["tool_name"].as_str().unwrap_or("API").to_owned(),
        log,
        pending: 0,
        errors: None,
        processed: false,
    })
}

fn ok(status: u16, body: &Value) -> Response {
    Response { status, headers: vec![("content-type", "application/json".to_owned())], body: body.to_string() }
}

/// An error as GitHub words them.
pub fn said(status: u16, message: &str) -> Response {
    ok(status, &json!({ "message": message, "documentation_url": "https://docs.github.com/rest" }))
}

const CODE_SECURITY: &str = "Code Security must be enabled for this repository to use code scanning.";
