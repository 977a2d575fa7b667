//! Speaks HTTP with the daemon over its unix socket. One connection a call: the calls are few, and a daemon that
//! restarts between two of them is not noticed.

use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::shapes::Problem;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody listens on the socket.
    #[error("no daemon answers at {}", socket.display())]
    NoDaemon {
        /// The path that was tried.
        socket: PathBuf,
    },
    /// The socket is there, and not for this user.
    #[error("no permission to use {}", socket.display())]
    Denied {
        /// The path that was tried.
        socket: PathBuf,
    },
    /// The daemon refused, and says why.
    #[error("{}", problem.detail)]
    Refused {
        /// What it says.
        problem: Box<Problem>,
        /// The same, as it was sent.
        document: String,
    },
    /// The daemon took too long.
    #[error("the daemon at {} did not answer within {} s", socket.display(), limit.as_secs())]
    TimedOut {
        /// Its socket.
        socket: PathBuf,
        /// How long it had.
        limit: Duration,
    },
    /// The connection broke, or the answer is not one of ours.
    #[error("no usable answer from the daemon: {0}")]
    Lost(String),
    /// A file or a value named on the command line is of no use.
    #[error("{text}")]
    Input {
        /// What is the matter, with what.
        text: String,
        /// What to do.
        hint: &'static str,
    },
    /// The answer could not be written.
    #[error("cannot write the answer: {0}")]
    Write(#[source] io::Error),
    /// Whoever read the answer has seen enough.
    #[error("the reader of the answer is gone")]
    ReaderGone,
    /// Ctrl-C while waiting.
    #[error("stopped waiting")]
    Interrupted,
    /// Waiting had a limit.
    #[error("not done after {seconds} s")]
    Unfinished {
        /// The limit.
        seconds: u64,
    },
    /// All was said already; only the exit code is left.
    #[error("failed")]
    Told,
}

impl Failure {
    /// A write to standard output that failed.
    pub fn from_write(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::ReaderGone } else { Self::Write(error) }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::NoDaemon { .. } => {
                Some("Start it with `systemctl start hydrophone`, or `hydrophone serve --state DIR` to try it.")
            }
            Self::Denied { .. } => {
                Some("Use sudo, or join the group: `sudo usermod -aG hydrophone $USER`, then log in again.")
            }
            Self::Refused { problem, .. } => problem.remedy.as_deref(),
            Self::TimedOut { .. } | Self::Lost(_) => Some("See its log: `journalctl -u hydrophone`."),
            Self::Input { hint, .. } => Some(hint).filter(|hint| !hint.is_empty()).copied(),
            Self::Interrupted | Self::Unfinished { .. } => {
                Some("The daemon goes on with the work; `hydrophone status` shows it.")
            }
            Self::Write(_) | Self::ReaderGone | Self::Told => None,
        }
    }

    /// Whether the daemon says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { problem, .. } if problem.status == StatusCode::NOT_FOUND.as_u16())
    }
}

/// An answer: as a shape, and as it was sent for `--json`.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// The shape.
    pub value: T,
    /// The document; `{}` where the daemon sent none.
    pub document: String,
}

/// A connection to the daemon, made anew for each call.
pub struct Client {
    socket: PathBuf,
    runtime: Runtime,
}

impl Client {
    /// Prepares; nothing is opened yet.
    pub fn new(socket: &Path) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Lost(format!("cannot begin: {error}")))?;
        Ok(Self { socket: socket.to_owned(), runtime })
    }

    /// Reads.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, Failure> {
        self.call(Method::GET, path, Bytes::new(), CALL_MAX)
    }

    /// Reads something of any length, as it comes; answers what stands behind it.
    pub fn stream(&self, path: &str, each: &mut dyn FnMut(&[u8]) -> Result<(), Failure>) -> Result<HeaderMap, Failure> {
        self.take(request(Method::GET, path, Bytes::new())?, each)
    }

    fn take(
        &self,
        request: Request<Full<Bytes>>,
        each: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<HeaderMap, Failure> {
        self.runtime.block_on(async {
            let mut response = self.in_time(self.begin(request)).await?;
            if !response.status().is_success() {
                let body = self.in_time(whole(response.body_mut())).await?;
                return Err(refused(response.status(), &String::from_utf8_lossy(&body)));
            }
            let mut trailers = HeaderMap::new();
            while let Some(frame) = self.in_time(async { Ok(response.frame().await) }).await? {
                let early = |_| Failure::Lost("what was sent ended early; the daemon's log says why".to_owned());
                match frame.map_err(early)?.into_data() {
                    Ok(data) => each(&data)?,
                    Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
                }
            }
            Ok(trailers)
        })
    }

    /// Does a part of a call that nothing says the length of.
    async fn in_time<T>(&self, part: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let out = |_| Failure::TimedOut { socket: self.socket.clone(), limit: CALL_MAX };
        tokio::time::timeout(CALL_MAX, part).await.map_err(out)?
    }

    /// Adds or starts something.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<Answer<T>, Failure> {
        self.call(Method::POST, path, encoded(body)?, CALL_MAX)
    }

    /// Asks for something that is of no use later than within this time.
    pub fn post_within<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<Answer<T>, Failure> {
        self.call(Method::POST, path, encoded(body)?, limit)
    }

    /// Adds or starts something that may take minutes, such as an import of all projects.
    pub fn post_long<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<Answer<T>, Failure> {
        self.call(Method::POST, path, encoded(body)?, LONG_CALL_MAX)
    }

    /// Reads something that may take minutes.
    pub fn get_long<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, Failure> {
        self.call(Method::GET, path, Bytes::new(), LONG_CALL_MAX)
    }

    /// Asks for a file, and writes it as it comes.
    pub fn post_into(&self, path: &str, body: &impl Serialize, out: &mut dyn Write) -> Result<(), Failure> {
        let request = request(Method::POST, path, encoded(body)?)?;
        self.take(request, &mut |bytes| out.write_all(bytes).map_err(Failure::Write)).map(drop)
    }

    /// Replaces.
    pub fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<Answer<T>, Failure> {
        self.call(Method::PUT, path, encoded(body)?, CALL_MAX)
    }

    /// Changes a part.
    pub fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<Answer<T>, Failure> {
        self.call(Method::PATCH, path, encoded(body)?, CALL_MAX)
    }

    /// Changes a part of something that may be asked first whether it agrees.
    pub fn patch_long<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<Answer<T>, Failure> {
        self.call(Method::PATCH, path, encoded(body)?, LONG_CALL_MAX)
    }

    /// Removes.
    pub fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, Failure> {
        self.call(Method::DELETE, path, Bytes::new(), LONG_CALL_MAX)
    }

    /// Takes Ctrl-C from here on, so that waiting can end with a word instead of at once.
    pub fn interrupts(&self) -> Result<Interrupts, Failure> {
        let _inside = self.runtime.enter();
        let signal = signal(SignalKind::interrupt()).map_err(|error| Failure::Lost(error.to_string()))?;
        Ok(Interrupts(signal))
    }

    /// Reads, unless Ctrl-C comes first.
    pub fn get_unless<T: DeserializeOwned>(
        &self,
        interrupts: &mut Interrupts,
        path: &str,
    ) -> Result<Answer<T>, Failure> {
        let exchange = self.exchange(Method::GET, path, Bytes::new(), CALL_MAX);
        read(self.unless(interrupts, exchange)??)
    }

    /// Lets time pass, unless Ctrl-C comes first.
    pub fn pause(&self, interrupts: &mut Interrupts, span: Duration) -> Result<(), Failure> {
        // The future is made inside, where the runtime's timer is.
        self.unless(interrupts, async { tokio::time::sleep(span).await })
    }

    fn unless<F: Future>(&self, interrupts: &mut Interrupts, future: F) -> Result<F::Output, Failure> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = interrupts.0.recv() => Err(Failure::Interrupted),
                output = future => Ok(output),
            }
        })
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<Answer<T>, Failure> {
        read(self.runtime.block_on(self.exchange(method, path, body, limit))?)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let request = request(method, path, body)?;
        match tokio::time::timeout(limit, self.send(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::TimedOut { socket: self.socket.clone(), limit }),
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), Failure> {
        let mut response = self.begin(request).await?;
        let body = whole(response.body_mut()).await?;
        Ok((response.status(), body))
    }

    async fn begin(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.not_connected(&error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| lost(&error))?;
        // It ends with the answer, or with the runtime.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| lost(&error))
    }

    fn not_connected(&self, error: &io::Error) -> Failure {
        let socket = self.socket.clone();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Failure::Denied { socket },
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                Failure::NoDaemon { socket }
            }
            _ => Failure::Lost(format!("{}: {error}", socket.display())),
        }
    }
}

fn request(method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
    Request::builder()
        .method(method)
        .uri(format!("{BASE_PATH}/{path}"))
        .header(header::HOST, "localhost")
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::TE, "trailers")
        .body(Full::new(body))
        .map_err(|error| Failure::Lost(error.to_string()))
}

async fn whole(body: &mut Incoming) -> Result<Bytes, Failure> {
    let collected = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| {
        let text = if error.is::<LengthLimitError>() { "it is too long".to_owned() } else { error.to_string() };
        Failure::Lost(text)
    })?;
    Ok(collected.to_bytes())
}

fn lost(error: &hyper::Error) -> Failure {
    Failure::Lost(error.to_string())
}

/// Ctrl-C, as it arrives.
pub struct Interrupts(Signal);

/// A path below the API's base: every segment is encoded whole, so that `SOURCE/ORG` stays one.
pub fn path(segments: &[&str]) -> String {
    let encoded: Vec<_> = segments.iter().map(|segment| encode(segment)).collect();
    encoded.join("/")
}

/// A path with the parameters that have a value.
pub fn path_with(segments: &[&str], parameters: &[(&str, Option<&str>)]) -> String {
    let mut text = path(segments);
    let mut mark = '?';
    for (name, value) in parameters {
        if let Some(value) = value {
            text.extend([mark.to_string(), (*name).to_owned(), "=".to_owned(), encode(value)]);
            mark = '&';
        }
    }
    text
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

fn encoded(body: &impl Serialize) -> Result<Bytes, Failure> {
    serde_json::to_vec(body).map(Bytes::from).map_err(|error| Failure::Lost(error.to_string()))
}

fn read<T: DeserializeOwned>((status, body): (StatusCode, Bytes)) -> Result<Answer<T>, Failure> {
    let text = String::from_utf8_lossy(&body);
    if !status.is_success() {
        return Err(refused(status, &text));
    }
    let document = if text.trim().is_empty() { "{}" } else { text.as_ref() };
    match serde_json::from_str(document) {
        Ok(value) => Ok(Answer { value, document: document.to_owned() }),
        Err(error) => Err(Failure::Lost(format!("it is not what this version expects ({error})"))),
    }
}

fn refused(status: StatusCode, text: &str) -> Failure {
    if let Ok(problem) = serde_json::from_str::<Problem>(text) {
        return Failure::Refused { problem: Box::new(problem), document: text.to_owned() };
    }
    let problem = Problem {
        title: "unexpected answer".to_owned(),
        status: status.as_u16(),
        detail: format!("the daemon answered HTTP {status} without saying why"),
        remedy: Some("Check that the command and the daemon are of one version: `hydrophone --version`.".to_owned()),
        field: None,
        lines: Vec::new(),
    };
    let document = serde_json::to_string(&problem).unwrap_or_default();
    Failure::Refused { problem: Box::new(problem), document }
}

const BASE_PATH: &str = "/api/v1";

/// A call from connect to last byte. Adding a source asks Sonar, which has 30 s a request.
const CALL_MAX: Duration = Duration::from_mins(1);

/// Calls that read or remove much: all projects of an organization, a source with everything in it.
const LONG_CALL_MAX: Duration = Duration::from_mins(10);

/// An answer. 500 findings with long texts stay far below it.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// All but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

#[cfg(test)]
pub(in crate::cli) mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::{Arc, Mutex};
    use std::thread;

    use hyper::Response;
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;

    /// A daemon that gives each request the answer that `respond` names, and remembers what was asked.
    pub(in crate::cli) struct FakeDaemon {
        folder: TempDir,
        asked: Arc<Mutex<Vec<(String, Value)>>>,
    }

    impl FakeDaemon {
        pub(in crate::cli) fn start<F>(respond: F) -> Self
        where
            F: Fn(&str, &Value) -> (u16, String) + Send + Sync + 'static,
        {
            let folder = tempfile::tempdir().unwrap();
            let listener = std::os::unix::net::UnixListener::bind(folder.path().join("admin.sock")).unwrap();
            listener.set_nonblocking(true).unwrap();
            let asked = Arc::new(Mutex::new(Vec::new()));
            let heard = Arc::clone(&asked);
            thread::spawn(move || serve(listener, Arc::new(respond), heard));
            Self { folder, asked }
        }

        pub(in crate::cli) fn socket(&self) -> PathBuf {
            self.folder.path().join("admin.sock")
        }

        pub(in crate::cli) fn client(&self) -> Client {
            Client::new(&self.socket()).unwrap()
        }

        /// `METHOD /path` and body of every request so far.
        pub(in crate::cli) fn asked(&self) -> Vec<(String, Value)> {
            self.asked.lock().unwrap().clone()
        }
    }

    type Respond = dyn Fn(&str, &Value) -> (u16, String) + Send + Sync;

    fn serve(
        listener: std::os::unix::net::UnixListener,
        respond: Arc<Respond>,
        asked: Arc<Mutex<Vec<(String, Value)>>>,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(|request: Request<Incoming>| {
                    let (respond, asked) = (Arc::clone(&respond), Arc::clone(&asked));
                    async move {
                        let line = format!("{} {}", request.method(), request.uri());
                        let bytes = request.into_body().collect().await?.to_bytes();
                        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                        let (status, text) = respond(&line, &body);
                        asked.lock().unwrap().push((line, body));
                        let response = Response::builder().status(status).body(Full::new(Bytes::from(text))).unwrap();
                        Ok::<_, hyper::Error>(response)
                    }
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
        });
    }

    #[test]
    fn an_answer_is_kept_as_it_was_sent() {
        let daemon = FakeDaemon::start(|_, _| (200, r#"{ "future": 1, "value": "x" }"#.to_owned()));
        let answer: Answer<Value> = daemon.client().post("things", &json!({"a": 1})).unwrap();
        assert_eq!(answer.document, r#"{ "future": 1, "value": "x" }"#);
        assert_eq!(answer.value["value"], "x");
        assert_eq!(daemon.asked(), [("POST /api/v1/things".to_owned(), json!({"a": 1}))]);
    }

    #[test]
    fn an_empty_answer_is_an_empty_document() {
        let daemon = FakeDaemon::start(|_, _| (204, String::new()));
        assert_eq!(daemon.client().delete::<Value>("things/x").unwrap().document, "{}");
    }

    #[test]
    fn a_problem_document_becomes_a_failure_with_its_remedy() {
        let text = r#"{"title":"unknown","status":404,"detail":"no source is named x","remedy":"See the list."}"#;
        let daemon = FakeDaemon::start(move |_, _| (404, text.to_owned()));
        let failure = daemon.client().get::<Value>("sources/x").unwrap_err();
        assert_eq!(failure.to_string(), "no source is named x");
        assert_eq!(failure.hint(), Some("See the list."));
        assert!(failure.is_not_found());
        assert!(matches!(failure, Failure::Refused { document, .. } if document == text));
    }

    #[test]
    fn an_error_without_a_problem_document_is_told_by_its_status() {
        let daemon = FakeDaemon::start(|_, _| (502, "<html>".to_owned()));
        let failure = daemon.client().get::<Value>("status").unwrap_err();
        assert_eq!(failure.to_string(), "the daemon answered HTTP 502 Bad Gateway without saying why");
    }

    #[test]
    fn an_answer_of_another_shape_is_not_taken() {
        let daemon = FakeDaemon::start(|_, _| (200, "[]".to_owned()));
        let failure = daemon.client().get::<crate::admin::shapes::SourceList>("sources").unwrap_err();
        assert!(matches!(failure, Failure::Lost(_)), "{failure:?}");
    }

    #[test]
    fn without_a_daemon_the_path_that_was_tried_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let failure = Client::new(&socket).unwrap().get::<Value>("status").unwrap_err();
        assert_eq!(failure.to_string(), format!("no daemon answers at {}", socket.display()));
        // A socket that a killed daemon left behind refuses.
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let failure = Client::new(&socket).unwrap().get::<Value>("status").unwrap_err();
        assert!(matches!(failure, Failure::NoDaemon { .. }), "{failure:?}");
        assert!(failure.hint().unwrap().contains("hydrophone serve --state DIR"));
    }

    #[test]
    fn a_socket_for_others_names_the_group() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o000)).unwrap();
        let client = Client::new(&socket).unwrap();
        let failure = if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
            // Root may connect to anything; the refusal is handed in instead.
            client.not_connected(&io::ErrorKind::PermissionDenied.into())
        } else {
            client.get::<Value>("status").unwrap_err()
        };
        assert!(matches!(failure, Failure::Denied { .. }), "{failure:?}");
        assert!(failure.hint().unwrap().contains("hydrophone"));
    }

    #[test]
    fn a_pair_of_source_and_organization_stays_one_segment() {
        assert_eq!(
            path(&["organizations", "eu/acme", "projects", "a:b?c"]),
            "organizations/eu%2Facme/projects/a%3Ab%3Fc"
        );
        let parameters = [("search", Some("a b&c")), ("limit", None), ("cursor", Some("ü"))];
        assert_eq!(path_with(&["findings"], &parameters), "findings?search=a%20b%26c&cursor=%C3%BC");
        assert_eq!(path_with(&["findings"], &[("limit", None)]), "findings");
    }
}
