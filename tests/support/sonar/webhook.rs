//! Webhooks: the body, its signature, and the sender with SonarQube's habits: ten at a time, ten seconds to connect and
//! ten to answer, no second try, one redirect.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ring::hmac;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

use super::super::web::WAIT_MAX;
use super::hooks_api;
use super::json::Json;
use super::model::{Branch, Gate, Model, Place, Project};
use super::{Shared, TaskId, lock, tls};

/// A registered webhook. Without a project it belongs to an organization, or to the whole installation.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub key: String,
    pub name: String,
    pub url: String,
    pub secret: Option<String>,
    pub project: Option<String>,
    pub organization: Option<String>,
}

impl Webhook {
    pub(super) fn is_of(&self, project: Option<&str>, organization: Option<&str>) -> bool {
        self.project.as_deref() == project
            && (self.organization.is_none() || self.organization.as_deref() == organization)
    }

    /// Hooks of the project and of the level above both fire.
    fn fires_for(&self, project: &Project) -> bool {
        self.project.as_ref().is_none_or(|key| *key == project.key)
            && self.organization.as_ref().is_none_or(|key| *key == project.organization)
    }
}

/// A line of the delivery log.
#[derive(Clone, Debug)]
pub struct LoggedDelivery {
    pub id: String,
    pub webhook: String,
    pub component: String,
    pub task: Option<String>,
    pub name: String,
    pub url: String,
    pub at: i64,
    pub status: Option<u16>,
    /// The exception's class, as `errorStacktrace` shows it; see `Failure`.
    pub error: Option<String>,
    pub duration: Duration,
    pub payload: String,
}

/// A finished webhook call, as the sender saw it.
#[derive(Clone, Debug)]
pub struct Delivered {
    pub url: String,
    pub status: Option<u16>,
    pub error: Option<String>,
    pub body: Vec<u8>,
    pub duration: Duration,
}

/// What a webhook tells.
pub(super) struct Event {
    /// Absent when a person's change of an issue turned the gate.
    pub(super) task: Option<TaskId>,
    pub(super) failed: bool,
    pub(super) analysed_at: Option<i64>,
    pub(super) changed_at: i64,
    pub(super) revision: Option<String>,
    pub(super) gate: Option<Gate>,
    pub(super) properties: Vec<(String, String)>,
}

/// The body: the same bytes for every hook of an event.
pub(super) fn body(model: &Model, project: &Project, branch: &Branch, event: &Event) -> String {
    let zone = model.settings.zone;
    Json::object(|json| {
        json.text("serverUrl", &model.settings.public_url);
        json.text_if("taskId", event.task.as_ref().map(|task| task.0.as_str()));
        json.text("status", if event.failed { "FAILED" } else { "SUCCESS" });
        json.text_if("analysedAt", event.analysed_at.map(|at| zone.show(at)).as_deref());
        json.text_if("revision", event.revision.as_deref());
        json.text("changedAt", &zone.show(event.changed_at));
        json.nested("project", |json| {
            json.text("key", &project.key);
            json.text("name", &project.name);
            json.text("url", &format!("{}/dashboard?id={}", model.settings.public_url, encoded(&project.key)));
        });
        json.nested("branch", |json| {
            json.text("name", &branch.name);
            json.text("type", branch.type_word(model.edition.cloud));
            json.flag("isMain", branch.is_main());
            json.text("url", &branch_url(model, project, branch));
        });
        if let Some(gate) = event.gate.as_ref().filter(|_| !event.failed) {
            json.nested("qualityGate", |json| {
                json.text("name", &gate.name);
                json.text("status", gate.status.word());
                json.list("conditions", |json| {
                    for condition in &gate.conditions {
                        json.item(|json| {
                            json.text("metric", &condition.metric);
                            json.text("operator", condition.operator);
                            json.text_if("value", condition.value.as_deref());
                            json.text("status", condition.status);
                            json.text("errorThreshold", &condition.error_threshold);
                        });
                    }
                });
            });
        }
        json.nested("properties", |json| {
            // Only these leave the server.
            for (name, value) in event.properties.iter().filter(|(name, _)| name.starts_with("sonar.analysis.")) {
                json.text(name, value);
            }
        });
    })
}

fn branch_url(model: &Model, project: &Project, branch: &Branch) -> String {
    let (root, key, name) = (&model.settings.public_url, encoded(&project.key), encoded(&branch.name));
    match branch.place {
        Place::Main => format!("{root}/dashboard?id={key}"),
        Place::Branch { long: false } if model.edition.cloud => {
            format!("{root}/project/issues?branch={name}&id={key}&resolved=false")
        }
        Place::Branch { .. } => format!("{root}/dashboard?id={key}&branch={name}"),
        Place::PullRequest { .. } => format!("{root}/dashboard?id={key}&pullRequest={name}"),
    }
}

fn encoded(text: &str) -> String {
    const KEPT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*');
    utf8_percent_encode(text, &KEPT).to_string()
}

/// The lower-case hexadecimal HMAC-SHA256 of a body.
pub fn signature(secret: &str, body: &[u8]) -> String {
    use std::fmt::Write as _;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hmac::sign(&key, body).as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
        hex
    })
}

/// A URL as logs show it: who may log in is masked.
pub(super) fn masked(url: &str) -> String {
    match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?))) {
        Some((scheme, (user, rest))) if !user.contains('/') => format!("{scheme}://{}@{rest}", "*".repeat(user.len())),
        _ => url.to_owned(),
    }
}

/// Why no answer came.
struct Failure {
    class: &'static str,
    message: String,
}

impl Failure {
    fn new(class: &'static str, message: &(impl fmt::Display + ?Sized)) -> Failure {
        Failure { class, message: message.to_string() }
    }

    fn invalid(message: &(impl fmt::Display + ?Sized)) -> Failure {
        Failure::new("java.lang.IllegalArgumentException", message)
    }

    fn timeout(message: &str) -> Failure {
        Failure::new("java.net.SocketTimeoutException", message)
    }

    /// The log names the class alone, save for an address that was refused or not found: then it says why.
    fn logged(&self) -> String {
        if ["java.lang.IllegalArgumentException", "java.net.UnknownHostException"].contains(&self.class) {
            return self.to_string();
        }
        self.class.to_owned()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.class, self.message)
    }
}

/// The sender's memory: whom it trusts and what it finished.
pub(super) struct Sender {
    /// While set, calls are lost: not sent, and logged as if nobody had answered in time.
    pub(super) losing: AtomicBool,
    trusted: Mutex<Vec<CertificateDer<'static>>>,
    finished: Mutex<Vec<Delivered>>,
    bell: Condvar,
    slots: Semaphore,
}

impl Sender {
    pub(super) fn new() -> Sender {
        let slots = Semaphore::new(AT_ONCE_MAX);
        let losing = AtomicBool::new(false);
        Sender { losing, trusted: Mutex::default(), finished: Mutex::default(), bell: Condvar::new(), slots }
    }

    pub(super) fn trust(&self, pem: &str) {
        lock(&self.trusted).extend(tls::certificates(pem));
    }

    pub(super) fn wait_finished(&self, count: usize) -> Vec<Delivered> {
        let finished = lock(&self.finished);
        let waited = self.bell.wait_timeout_while(finished, WAIT_MAX, |finished| finished.len() < count);
        let (finished, _) = waited.expect("no thread panics while it notes a delivery");
        assert!(finished.len() >= count, "waited for {count} webhook calls, {} finished", finished.len());
        finished.clone()
    }

    pub(super) fn forget(&self) {
        lock(&self.finished).clear();
    }
}

const AT_ONCE_MAX: usize = 10;
const CONNECT_MAX: Duration = Duration::from_secs(10);
const READ_MAX: Duration = Duration::from_secs(10);

/// Sends one event to every hook that fires for it, each as a job of its own, in no fixed order.
pub(super) fn send(shared: &Arc<Shared>, model: &Model, project: &Project, branch: &Branch, event: &Event) {
    let hooks: Vec<_> = model.webhooks.iter().filter(|hook| hook.fires_for(project)).cloned().collect();
    if hooks.is_empty() {
        return;
    }
    let body = body(model, project, branch, event);
    let lost = shared.sender.losing.load(Ordering::SeqCst);
    for hook in hooks {
        let job = Job {
            refused: hooks_api::refusal_of_address(model, &hook.url),
            lost,
            hook,
            project: project.key.clone(),
            task: event.task.as_ref().map(|task| task.0.clone()),
            body: body.clone(),
            user_agent: format!("SonarQube/{}", model.edition.version()),
        };
        let owner = Arc::clone(shared);
        shared.runtime.spawn(async move { job.run(&owner).await });
    }
}

struct Job {
    hook: Webhook,
    project: String,
    task: Option<String>,
    body: String,
    user_agent: String,
    refused: Option<&'static str>,
    lost: bool,
}

impl Job {
    async fn run(self, shared: &Shared) {
        let _slot = shared.sender.slots.acquire().await.expect("the slots are never closed");
        let start = Instant::now();
        let outcome = match self.refused {
            Some(reason) => Err(Failure::invalid(reason)),
            None if self.lost => Err(Failure::timeout("timeout")),
            None => self.call(shared).await,
        };
        // A lost call was waited for in vain, though not by the test.
        let duration = start.elapsed() + if self.lost { READ_MAX } else { Duration::ZERO };
        let (status, failure) = outcome.map_or_else(|failure| (None, Some(failure)), |status| (Some(status), None));
        let error = failure.as_ref().map(Failure::to_string);
        {
            let mut model = lock(&shared.model);
            let (id, at) = (model.new_key(), model.now());
            model.deliveries.push(LoggedDelivery {
                id,
                webhook: self.hook.key,
                component: self.project,
                task: self.task,
                name: self.hook.name,
                url: self.hook.url.clone(),
                at,
                status,
                error: failure.as_ref().map(Failure::logged),
                duration,
                payload: self.body.clone(),
            });
        }
        let body = self.body.into_bytes();
        lock(&shared.sender.finished).push(Delivered { url: self.hook.url, status, error, body, duration });
        shared.sender.bell.notify_all();
    }

    async fn call(&self, shared: &Shared) -> Result<u16, Failure> {
        let response = self.post(shared, &self.hook.url).await?;
        if ![301, 302, 307, 308].contains(&response.status().as_u16()) {
            return Ok(response.status().as_u16());
        }
        // Followed by hand, once, with the same method, body and headers; a second redirect is the final answer.
        let location = response.headers().get("location").and_then(|value| value.to_str().ok());
        let missing = || Failure::new("java.lang.IllegalStateException", "Missing HTTP header 'Location'");
        let location = location.ok_or_else(missing)?;
        let target = if location.starts_with('/') {
            let (scheme, rest) = self.hook.url.split_once("://").ok_or_else(|| Failure::invalid("no scheme"))?;
            format!("{scheme}://{}{location}", rest.split('/').next().unwrap_or(rest))
        } else {
            location.to_owned()
        };
        Ok(self.post(shared, &target).await?.status().as_u16())
    }

    async fn post(&self, shared: &Shared, url: &str) -> Result<Response<()>, Failure> {
        let uri: Uri = url.parse().map_err(|error| Failure::invalid(&error))?;
        let host = uri.host().ok_or_else(|| Failure::invalid("no host"))?.trim_matches(['[', ']']).to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        // One address only, and Java puts those of the older protocol first.
        let addresses = lookup_host((host.as_str(), port)).await;
        let address = addresses.ok().and_then(|all| all.min_by_key(SocketAddr::is_ipv6));
        let address = address.ok_or_else(|| Failure::new("java.net.UnknownHostException", &host))?;
        let stream = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address))
            .await
            .map_err(|_| Failure::timeout("connect timed out"))?
            .map_err(|error| Failure::new("java.net.ConnectException", &error))?;
        let request = self.request(&uri)?;
        if !secure {
            return exchange(stream, request).await;
        }
        let config = tls::client(lock(&shared.sender.trusted).clone());
        let name = match host.parse::<IpAddr>() {
            Ok(address) => ServerName::from(address),
            Err(_) => {
                ServerName::try_from(host).map_err(|error| Failure::new("java.net.UnknownHostException", &error))?
            }
        };
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let stream = tokio::time::timeout(READ_MAX, handshake)
            .await
            .map_err(|_| Failure::timeout("handshake timed out"))?
            .map_err(|error| Failure::new("javax.net.ssl.SSLHandshakeException", &error))?;
        exchange(stream, request).await
    }

    fn request(&self, uri: &Uri) -> Result<Request<Full<Bytes>>, Failure> {
        let authority = uri.authority().ok_or_else(|| Failure::invalid("no host"))?.as_str();
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let mut request = Request::post(uri.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str))
            .header("Host", host)
            .header("Content-Type", "application/json; charset=utf-8")
            .header("X-SonarQube-Project", &self.project)
            .header("User-Agent", &self.user_agent)
            .header("Accept-Encoding", "gzip");
        if let Some(secret) = &self.hook.secret {
            request = request.header("X-Sonar-Webhook-HMAC-SHA256", signature(secret, self.body.as_bytes()));
        }
        if let Some(user) = user {
            let user: Vec<u8> = percent_decode_str(user).collect();
            request = request.header("Authorization", format!("Basic {}", base64(&user)));
        }
        request.body(Full::new(Bytes::from(self.body.clone()))).map_err(|error| Failure::invalid(&error))
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<()>, Failure> {
    let broken = |error: hyper::Error| Failure::new("java.io.IOException", &error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    let response = tokio::time::timeout(READ_MAX, sender.send_request(request))
        .await
        .map_err(|_| Failure::timeout("timeout"))?
        .map_err(broken)?;
    let (head, body) = response.into_parts();
    // The status counts, whatever becomes of the body.
    let _ = tokio::time::timeout(READ_MAX, body.collect()).await;
    Ok(Response::from_parts(head, ()))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = (0..3).fold(0_usize, |group, at| group << 8 | usize::from(chunk.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let digit = DIGITS[group >> (18 - 6 * at) & 63];
            text.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}
