//! HTTP as the platforms are spoken to: one agent a destination, no redirect followed, answers bounded, and what
//! stands in the way said in one sentence.

use std::fmt;
use std::io::Read as _;
use std::time::Duration;

use ureq::Agent;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};

use super::{BadDestination, Trouble};
use crate::domain::destination::Destination;
use crate::domain::limits::{
    CALL_SLACK, PLATFORM_ANSWER_BYTES_MAX, PLATFORM_ANSWER_TEXT_BYTES_MAX, PLATFORM_ANSWER_VALUES_MAX,
    PLATFORM_CALL_MAX,
};
use crate::domain::measure::{Bounds, Measure};
use crate::domain::time::Timestamp;
use crate::sys::reach::{self, Obstacle};
use crate::sys::trust::{Authorities, Distrust, Trust};
use crate::sys::{fence, loops};

/// The way to one destination.
pub struct Http {
    agent: Agent,
    /// With a slash at its end.
    base: String,
    host: String,
    headers: HeaderMap,
    call_max: Duration,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers hold secrets.
        f.debug_struct("Http").field("base", &self.base).finish_non_exhaustive()
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, no longer than `PLATFORM_ANSWER_BYTES_MAX`.
    pub body: Vec<u8>,
    host: String,
}

/// No answer came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// What happened.
    pub trouble: Trouble,
    /// Whether the request may have arrived.
    pub sent: bool,
}

impl Http {
    /// Checks what was given; nothing is sent.
    ///
    /// # Errors
    /// If address, authorities or proxy cannot be used.
    pub fn new(destination: &Destination, trust: &Trust) -> Result<Self, BadDestination> {
        Self::within(destination, trust, PLATFORM_CALL_MAX)
    }

    /// The same, where no call may take longer than this.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn within(destination: &Destination, trust: &Trust, call_max: Duration) -> Result<Self, BadDestination> {
        let bad = |error: reach::BadWay| BadDestination(error.to_string());
        let authorities = match &destination.ca_pem {
            Some(pem) => Authorities::parse(pem).map_err(|error| bad(error.into()))?,
            None => Authorities::default(),
        };
        let uri = reach::address(&destination.url).map_err(bad)?;
        let proxy = reach::proxy(destination.proxy.as_deref(), &uri).map_err(bad)?;
        let config = Agent::config_builder()
            .user_agent(concat!("Hydrophone/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(call_max))
            .timeout_connect(Some(Duration::from_secs(10).min(call_max)))
            .max_idle_connections(2)
            .max_idle_connections_per_host(2)
            .proxy(proxy)
            .build();
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let scheme = uri.scheme_str().unwrap_or_default();
        let path = uri.path().trim_matches('/');
        let slash = if path.is_empty() { "" } else { "/" };
        Ok(Self {
            agent: trust.agent(config, authorities),
            base: format!("{scheme}://{host}/{path}{slash}"),
            host,
            headers: HeaderMap::new(),
            call_max,
        })
    }

    /// The same, with a header on every request whose value is a secret.
    ///
    /// # Errors
    /// If the value has a character that no header may have.
    pub fn with_secret_header(mut self, name: HeaderName, value: &str) -> Result<Self, BadDestination> {
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            BadDestination(
                "the secret has a line break or another character that none has; is it the right file?".to_owned(),
            )
        })?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Name and port of the other side, for messages.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The address of a path below the destination's.
    pub fn url(&self, path: &str) -> String {
        format!("{}{}", self.base, path.trim_start_matches('/'))
    }

    /// Asks for a path below the destination's address; a query is part of it.
    ///
    /// # Errors
    /// If no answer came.
    pub fn get(&self, path: &str) -> Result<Answer, Trouble> {
        self.send(Method::GET, &self.url(path), &[], Vec::new())
    }

    /// Sends a body to a path.
    ///
    /// # Errors
    /// If no answer came. Whether the other side did what it was asked for is not known then.
    pub fn post(&self, path: &str, content_type: &str, body: Vec<u8>) -> Result<Answer, Trouble> {
        self.send(Method::POST, &self.url(path), &[(header::CONTENT_TYPE, content_type.to_owned())], body)
    }

    /// Sends JSON to a path.
    ///
    /// # Errors
    /// As [`post`](Self::post).
    pub fn json(&self, method: Method, path: &str, body: &serde_json::Value) -> Result<Answer, Trouble> {
        let content = [(header::CONTENT_TYPE, "application/json".to_owned())];
        self.send(method, &self.url(path), &content, body.to_string().into_bytes())
    }

    /// Sends a request with headers of its own to a whole address.
    ///
    /// # Errors
    /// As [`post`](Self::post).
    pub fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(HeaderName, String)],
        body: Vec<u8>,
    ) -> Result<Answer, Trouble> {
        self.attempt(method, url, headers, body).map_err(|lost| lost.trouble)
    }

    /// The same, for whoever has to know whether the other side may be doing what it was asked for.
    ///
    /// # Errors
    /// As [`post`](Self::post).
    pub fn attempt(
        &self,
        method: Method,
        url: &str,
        headers: &[(HeaderName, String)],
        body: Vec<u8>,
    ) -> Result<Answer, Lost> {
        let _step = loops::within(self.call_max + CALL_SLACK);
        let unsent = |trouble: Trouble| Lost { trouble, sent: false };
        if !fence::allows(self.call_max) {
            return Err(unsent(Trouble::later(fence::SHUT)));
        }
        let uri: Uri = url.parse().map_err(|_| {
            unsent(Trouble::refused(format!("{url:?} is no address"), "check the destination's address"))
        })?;
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let sent = match request.body(body) {
            Ok(request) => self.agent.run(request),
            Err(error) => {
                return Err(unsent(Trouble::refused(format!("the request cannot be made: {error}"), "report this")));
            }
        };
        let response = sent.map_err(|error| Lost { sent: !never_left(&error), trouble: self.no_answer(error) })?;
        let lost = |why: String| Lost { trouble: Trouble::later(why), sent: true };
        let (parts, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        let limit = PLATFORM_ANSWER_BYTES_MAX + 1;
        body.as_reader()
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|_| lost(format!("the answer of {} was cut short", self.host)))?;
        if bytes.len() as u64 == limit {
            return Err(lost(format!("the answer of {} is larger than any that is read", self.host)));
        }
        // Of what is no JSON, commas say nothing.
        if matches!(bytes.trim_ascii_start().first(), Some(b'[' | b'{'))
            && let Err(problem) = Measure::whole(BOUNDS, &bytes)
        {
            return Err(lost(format!("the answer of {} {problem}, which is the most that is read", self.host)));
        }
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body: bytes, host: self.host.clone() })
    }

    fn no_answer(&self, error: ureq::Error) -> Trouble {
        let host = &self.host;
        match Obstacle::of(error) {
            Obstacle::Unreachable(cause) => Trouble::later(format!("{host} cannot be reached: {cause}")),
            Obstacle::Distrusted(distrust) => distrusted(host, &distrust),
        }
    }
}

/// That a platform's certificate is not believed.
pub(super) fn distrusted(host: &str, distrust: &Distrust) -> Trouble {
    let remedy = match distrust {
        Distrust::UnknownIssuer { .. } => "give the authority's certificate with --ca-file",
        Distrust::WrongName { .. } => "use the name that the certificate is made for",
        Distrust::Expired => "renew it, or set this box's clock if it is ahead",
        Distrust::NotYetValid => "set this box's clock",
        Distrust::Other(_) => "give the server another certificate",
    };
    Trouble::refused(format!("the certificate of {host} is not trusted: {distrust}"), remedy)
}

/// Whether an answer is let through to what reads it. See [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
pub(super) fn is_measured(body: &[u8]) -> bool {
    Measure::whole(BOUNDS, body).is_ok()
}

/// What an answer may hold.
const BOUNDS: Bounds =
    Bounds { values_max: PLATFORM_ANSWER_VALUES_MAX, text_bytes_max: PLATFORM_ANSWER_TEXT_BYTES_MAX };

/// Whether there was not even a connection to send it on.
fn never_left(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::ConnectProxyFailed(_) => true,
        ureq::Error::Timeout(phase) => matches!(phase, ureq::Timeout::Resolve | ureq::Timeout::Connect),
        ureq::Error::Io(error) => matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable),
        _ => false,
    }
}

impl Answer {
    /// Whether it is a success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What every platform's answer of this status means: that it is overloaded, cannot answer for now, or is
    /// somewhere else. Nothing of a success, or of an answer that only the platform's module can judge.
    pub fn trouble(&self) -> Option<Trouble> {
        let (host, status) = (&self.host, self.status);
        let why = match status {
            300..400 => {
                let to = self.headers.get(header::LOCATION).and_then(|to| to.to_str().ok());
                let to = plainly(to.unwrap_or("another address"));
                return Some(Trouble::refused(
                    format!("{host} answers that it has moved to {to:?} (HTTP {status})"),
                    "if that is right, add the destination with that address",
                ));
            }
            429 => format!("{host} asks for a pause (HTTP 429)"),
            500.. => format!("{host} cannot answer for now (HTTP {status})"),
            _ => return None,
        };
        Some(Trouble::Later { why, after: self.retry_after() })
    }

    /// When to try again, where it says so: in seconds, or as a date, which counts by the clock that is there.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
        let at = || Some(crate::domain::time::http_date(text)?.since(self.date()?));
        text.trim().parse().ok().map(Duration::from_secs).or_else(at)
    }

    /// What time it was there.
    pub fn date(&self) -> Option<Timestamp> {
        crate::domain::time::http_date(self.headers.get(header::DATE)?.to_str().ok()?)
    }

    /// Reads it as JSON.
    ///
    /// # Errors
    /// If it is none of this form: somebody else answered, or another version.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, Trouble> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let (host, status) = (&self.host, self.status);
            if error.is_syntax() || error.is_eof() {
                let what = if self.body.trim_ascii_start().first() == Some(&b'<') { "an HTML page" } else { "no JSON" };
                return Trouble::refused(
                    format!("{host} answered with {what} (HTTP {status})"),
                    "a proxy or a login page stands between, or the address is not the platform's: check it",
                );
            }
            let (line, column) = (error.line(), error.column());
            Trouble::refused(
                format!("the answer of {host} is not understood (JSON at line {line}, column {column})"),
                "this version of the platform may be too new or too old",
            )
        })
    }

    /// The beginning of its text, for a message: one line, no control characters.
    pub fn excerpt(&self) -> String {
        plainly(&String::from_utf8_lossy(&self.body))
    }
}

/// The other side's words as a part of our sentences: the beginning of them, on one line, without control characters.
pub(super) fn plainly(text: &str) -> String {
    let plain: String = text.chars().take(WORDS_CHARACTERS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.trim().to_owned()
}

const WORDS_CHARACTERS_MAX: usize = 300;

#[cfg(test)]
pub(in crate::platform) mod tests;
