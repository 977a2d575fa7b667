//! A sender of webhooks that keeps its connection, to measure the answers and not the handshakes.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::sonar::signature;
use crate::support::tls;

/// An organization's webhook, as Sonar would know it.
#[derive(Clone)]
pub(crate) struct Hook {
    path: String,
    secret: String,
    host: String,
    secure: bool,
}

impl Hook {
    /// The webhook of an organization.
    pub(crate) fn of(gateway: &Gateway, organization: &str) -> Self {
        let webhook = gateway.json(&["webhook", "show", organization, "--reveal"]);
        let url = webhook["url"].as_str().expect("it is told");
        let at = url.find("/hooks/").expect("that is where webhooks go");
        let (scheme, host) = gateway.address().split_once("://").expect("it has a scheme");
        Self {
            path: url[at..].to_owned(),
            secret: webhook["secret"].as_str().expect("it is revealed").to_owned(),
            host: host.to_owned(),
            secure: scheme == "https",
        }
    }

    /// The path that SonarQube calls.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// What signs its calls.
    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    /// Opens a connection.
    pub(crate) fn connect(&self) -> Sender {
        let host = self.host.parse().expect("it is an address");
        let stream = tls::connect_from(SONARQUBE, host).expect("the gateway listens");
        stream.set_nodelay(true).expect("it is a socket");
        let stream: Box<dyn Stream> = if self.secure { Box::new(tls::over(stream)) } else { Box::new(stream) };
        Sender { hook: self.clone(), stream: BufReader::new(stream) }
    }
}

/// Where webhooks come from. Strangers are told apart from it by their addresses, and tools of others have 127.0.0.1.
const SONARQUBE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection to the gateway.
pub(crate) struct Sender {
    hook: Hook,
    stream: BufReader<Box<dyn Stream>>,
}

impl Sender {
    /// Sends the webhook of a task that no other call names, and returns how long the answer took. It has to be 202.
    pub(crate) fn send(&mut self, project: &str) -> Duration {
        self.try_send(project).expect("the gateway answers")
    }

    /// As [`send`](Self::send); nothing if the connection breaks.
    pub(crate) fn try_send(&mut self, project: &str) -> Option<Duration> {
        static TASKS: AtomicU64 = AtomicU64::new(1);
        let task = TASKS.fetch_add(1, Ordering::Relaxed);
        let body = json!({
            "serverUrl": "https://sonarcloud.io",
            "taskId": format!("AZbench{task:012}"),
            "status": "SUCCESS",
            "analysedAt": "2026-01-05T10:00:00+0100",
            "changedAt": "2026-01-05T10:00:00+0100",
            "revision": "0123456789012345678901234567890123456789",
            "project": {"key": project, "name": project, "url": "https://sonarcloud.io/dashboard?id=bench"},
            "branch": {"name": "main", "type": "LONG", "isMain": true, "url": "https://sonarcloud.io/dashboard"},
            "properties": {},
        })
        .to_string();
        let mut request = String::new();
        let Hook { path, secret, host, .. } = &self.hook;
        write!(
            request,
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json; charset=utf-8\r\n\
             X-SonarQube-Project: {project}\r\nX-Sonar-Webhook-HMAC-SHA256: {}\r\nContent-Length: {}\r\n\r\n{body}",
            signature(secret, body.as_bytes()),
            body.len()
        )
        .expect("writing to a string cannot fail");
        let begin = Instant::now();
        self.stream.get_mut().write_all(request.as_bytes()).ok()?;
        self.stream.get_mut().flush().ok()?;
        let answer = self.answer()?;
        let took = begin.elapsed();
        assert!(answer["delivery"].is_string() && answer["duplicate"].is_null(), "it was not taken as new: {answer}");
        Some(took)
    }

    fn answer(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok().filter(|&bytes| bytes > 0)?;
        assert!(line.starts_with("HTTP/1.1 202"), "the gateway answered {line:?}");
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line).ok()?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().expect("a length is a number");
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some(serde_json::from_slice(&body).expect("the answer is a document"))
    }
}
