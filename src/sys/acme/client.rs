//! The way to an ACME server: through our own agent, so that authorities, proxies and roots are those of every other call.

use std::future::Future;
use std::io::Read as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem};
use ureq::Agent;
use ureq::http::{HeaderMap, Request, Response, StatusCode, header};

use super::trouble::{Kind, Trouble, of_problem};
use crate::domain::limits::{ACME_ANSWER_BYTES_MAX, ACME_CALL_MAX, ACME_TRY_MAX};
use crate::domain::time::{Timestamp, http_date};
use crate::sys::reach::{self, BadWay, Obstacle};
use crate::sys::trust::{Authorities, Distrust, Trust};

/// Whether the daemon is to stop.
pub type Stop = Arc<AtomicBool>;

/// Speaks to one ACME server. Clones share what it said last.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    agent: Agent,
    host: String,
    /// Host and port of the proxy before it, for messages.
    through: Option<String>,
    stop: Stop,
    last: Mutex<Last>,
}

/// What the server said beside its answers.
#[derive(Default)]
struct Last {
    date: Option<Timestamp>,
    pause: Option<Duration>,
    /// When the attempt that is under way is to be over.
    until: Option<Instant>,
}

/// What kept a request from an answer, on its way through the library.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.why)]
struct Lost(Trouble);

impl Client {
    /// Checks what was given; nothing is sent.
    ///
    /// # Errors
    /// If address, authorities or proxy cannot be used.
    pub fn new(
        directory: &str,
        ca_pem: Option<&str>,
        proxy: Option<&str>,
        trust: &Trust,
        stop: Stop,
    ) -> Result<Self, BadWay> {
        let authorities = ca_pem.map_or_else(|| Ok(Authorities::default()), Authorities::parse)?;
        let uri = reach::address(directory)?;
        if uri.scheme_str() != Some("https") {
            let problem = "an ACME server is spoken to by https";
            let example = "https://acme.example/directory";
            return Err(BadWay::Url { given: directory.to_owned(), problem, example });
        }
        let through = reach::proxy(proxy, &uri)?.filter(|proxy| !proxy.is_no_proxy(&uri));
        let config = Agent::config_builder()
            .user_agent(concat!("Hydrophone/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .https_only(true)
            .timeout_connect(Some(Duration::from_secs(10)))
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .proxy(reach::proxy(proxy, &uri)?)
            .build();
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let agent = trust.agent(config, authorities);
        let through = through.map(|proxy| format!("{}:{}", proxy.host(), proxy.port()));
        Ok(Self(Arc::new(Shared { agent, host, through, stop, last: Mutex::default() })))
    }

    /// Name and port of the server, for messages.
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// What time it was there at its last answer.
    pub fn date(&self) -> Option<Timestamp> {
        self.last(|last| last.date)
    }

    /// Begins an attempt, all of whose calls are to be over within this time.
    pub(super) fn begin(&self, most: Duration) {
        self.last(|last| last.until = Some(Instant::now() + most));
    }

    /// What is said of a server that was too slow.
    pub(super) fn slow(&self) -> Trouble {
        let text = format!("{} did not finish within {} minutes", self.host(), ACME_TRY_MAX.as_secs() / 60);
        Trouble::later(text, "it is tried again by itself")
    }

    fn last<T>(&self, look: impl FnOnce(&mut Last) -> T) -> T {
        look(&mut self.0.last.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What an error of the library means.
    pub(super) fn trouble(&self, error: Error, reach: &str) -> Trouble {
        let host = self.host();
        match error {
            Error::Api(problem) => self.of(None, &problem, reach),
            Error::Other(inner) => match inner.downcast::<Lost>() {
                Ok(lost) => lost.0,
                Err(inner) => Trouble::later(format!("{host}: {inner}"), "it is tried again by itself"),
            },
            Error::Json(error) => Trouble::new(
                Kind::Refused,
                format!("the answer of {host} is none of ACME ({error})"),
                "check the directory's address: hydrophone certificate acme --directory URL",
            ),
            Error::Timeout(_) => {
                Trouble::later(format!("{host} did not finish in time"), "it is tried again by itself")
            }
            error => Trouble::later(format!("{host}: {error}"), "it is tried again by itself"),
        }
    }

    /// Why the server did not find a name proven.
    pub(super) fn refused(&self, name: &str, problem: &Problem, reach: &str) -> Trouble {
        self.of(Some(name), problem, reach)
    }

    fn of(&self, name: Option<&str>, problem: &Problem, reach: &str) -> Trouble {
        of_problem(self.host(), name, problem, reach).after(self.last(|last| last.pause.take()))
    }

    fn send(&self, request: Request<Vec<u8>>) -> Result<Response<String>, Trouble> {
        let host = self.host();
        if self.0.stop.load(Ordering::Relaxed) {
            return Err(Trouble::new(Kind::Stopped, "the daemon is stopping", ""));
        }
        let until = self.last(|last| last.until);
        let left = until.map_or(ACME_CALL_MAX, |until| until.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(self.slow());
        }
        let within = self.0.agent.configure_request(request).timeout_global(Some(left.min(ACME_CALL_MAX))).build();
        let response = self.0.agent.run(within).map_err(|error| self.lost(error))?;
        let (parts, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        let limit = ACME_ANSWER_BYTES_MAX + 1;
        let cut = || Trouble::later(format!("the answer of {host} was cut short"), "it is tried again by itself");
        body.as_reader().take(limit).read_to_end(&mut bytes).map_err(|_| cut())?;
        if bytes.len() as u64 == limit {
            let text = format!("the answer of {host} is larger than any that is read");
            return Err(Trouble::new(Kind::Refused, text, "check the directory's address"));
        }
        let body = String::from_utf8_lossy(&bytes).into_owned();
        self.note(parts.status, &parts.headers);
        let is_good = parts.status.is_success();
        if !is_good && serde_json::from_str::<Problem>(&body).is_err() {
            let status = parts.status.as_u16();
            let text = format!("{host} answers HTTP {status}, and no word of ACME");
            let remedy = "check the directory's address; a proxy may stand between, or the server be down for now";
            return Err(Trouble::later(text, remedy).after(self.last(|last| last.pause.take())));
        }
        Ok(Response::from_parts(parts, body))
    }

    /// Notes what time it is there, and whether it wants to be left alone.
    fn note(&self, status: StatusCode, headers: &HeaderMap) {
        let text = |name| headers.get(name).and_then(|value: &ureq::http::HeaderValue| value.to_str().ok());
        let date = text(header::DATE).and_then(http_date);
        let overloaded = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let pause = text(header::RETRY_AFTER).filter(|_| overloaded).and_then(|value| match value.trim().parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => Some(http_date(value)?.since(date?)),
        });
        self.last(|last| *last = Last { date: date.or(last.date), pause, until: last.until });
    }

    fn lost(&self, error: ureq::Error) -> Trouble {
        let host = self.host();
        let distrust = match Obstacle::of(error) {
            Obstacle::Unreachable(cause) => {
                let Some(proxy) = &self.0.through else {
                    let remedy =
                        "see that this box reaches it, by --proxy URL where it has to; it is tried again by itself";
                    return Trouble::later(format!("{host} cannot be reached: {cause}"), remedy);
                };
                let why = format!("{host} (through the proxy {proxy}) cannot be reached: {cause}");
                let remedy =
                    format!("see that the proxy {proxy} runs and lets this box reach it; it is tried again by itself");
                return Trouble::later(why, remedy);
            }
            Obstacle::Distrusted(distrust) => distrust,
        };
        let (kind, remedy) = match &distrust {
            Distrust::UnknownIssuer { .. } => (Kind::Refused, "give its authority's certificate with --ca-file"),
            Distrust::WrongName { .. } => (Kind::Refused, "use the name that its certificate is made for"),
            Distrust::Expired => (Kind::Clock, "look at this box's clock, which may be ahead: timedatectl"),
            Distrust::NotYetValid => (Kind::Clock, "set this box's clock, which is behind: timedatectl"),
            Distrust::Other(_) => (Kind::Refused, "see who answers there"),
        };
        Trouble::new(kind, format!("the certificate of {host} is not trusted: {distrust}"), remedy)
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<hyper::body::Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
            // It blocks: nothing else runs on this thread.
            match client.send(Request::from_parts(parts, body)) {
                Ok(response) => Ok(BytesResponse::from(response)),
                Err(trouble) => Err(Error::Other(Box::new(Lost(trouble)))),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(directory: &str) -> Result<Client, BadWay> {
        Client::new(directory, None, None, &Trust::load(), Stop::default())
    }

    #[test]
    fn a_server_is_spoken_to_by_tls_alone() {
        assert!(client("https://ca.example/dir").is_ok());
        for bad in ["http://ca.example/dir", "ca.example", "https://name:word@ca.example/dir"] {
            assert!(client(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_attempt_whose_time_is_over_calls_nobody_any_more() {
        let client = client("https://ca.invalid/dir").unwrap();
        client.begin(Duration::ZERO);
        let request = Request::get("https://ca.invalid/dir").body(Vec::new()).unwrap();
        let trouble = client.send(request).unwrap_err();
        assert!(trouble.why.contains("did not finish within 3 minutes"), "{}", trouble.why);
    }

    #[test]
    fn what_an_overloaded_server_says_of_the_time_is_kept_until_it_is_told() {
        let client = client("https://ca.example/dir").unwrap();
        let headers = |retry: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::DATE, "Sun, 01 Nov 2026 00:00:00 GMT".parse().unwrap());
            headers.insert(header::RETRY_AFTER, retry.parse().unwrap());
            headers
        };
        let pause = || client.last(|last| last.pause.take());
        client.note(StatusCode::TOO_MANY_REQUESTS, &headers("7200"));
        assert_eq!((client.date(), pause()), (Some(Timestamp(1_793_491_200_000)), Some(Duration::from_hours(2))));
        client.note(StatusCode::SERVICE_UNAVAILABLE, &headers("Sun, 01 Nov 2026 03:00:00 GMT"));
        assert_eq!(pause(), Some(Duration::from_hours(3)));
        // An order that is being worked on says so, too, and is no overload.
        client.note(StatusCode::OK, &headers("5"));
        assert_eq!(pause(), None);
    }
}
