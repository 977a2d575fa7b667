//! Webhook calls byte by byte, as no well-behaved sender would make them, and what the gateway tells of them.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, SOON};
use crate::support::sonar::signature;
use crate::support::tls;

/// A webhook's address and secret.
#[derive(Clone)]
pub struct Hook {
    pub address: String,
    pub path: String,
    pub secret: String,
}

impl Hook {
    /// Of an organization.
    pub fn of(gateway: &Gateway, organization: &str) -> Self {
        Self::told(gateway, &[organization])
    }

    /// Of one project.
    pub fn of_project(gateway: &Gateway, organization: &str, project: &str) -> Self {
        Self::told(gateway, &[organization, "--project", project])
    }

    fn told(gateway: &Gateway, of: &[&str]) -> Self {
        let webhook = gateway.json(&[&["webhook", "show", "--reveal"], of].concat());
        let url = webhook["url"].as_str().unwrap();
        let path = url.strip_prefix(gateway.address()).expect("without a public URL it is the listener's").to_owned();
        let secret = webhook["secret"].as_str().unwrap().to_owned();
        Self { address: gateway.address().to_owned(), path, secret }
    }

    /// A call as Sonar makes it, to be spoilt at will.
    pub fn call(&self, body: &str) -> Call {
        let mut call = Call {
            method: "POST".to_owned(),
            path: self.path.clone(),
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        };
        call.set("Host", "gateway.example");
        call.set("Content-Type", "application/json; charset=utf-8");
        call.set("Content-Length", &body.len().to_string());
        call.set(SIGNATURE, &signature(&self.secret, body.as_bytes()));
        call
    }

    /// Sends a call on a connection of its own.
    pub fn send(&self, call: &Call) -> Answer {
        let mut line = Line::open(&self.address);
        line.write(&call.bytes());
        line.answer().expect("an answer comes")
    }

    /// Sends a body, signed, on a connection of its own.
    pub fn post(&self, body: &str) -> Answer {
        self.send(&self.call(body))
    }

    /// Sends a body that has to be accepted; returns the delivery's number.
    pub fn accepted(&self, body: &str) -> String {
        let answer = self.post(body);
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["delivery"].as_str().unwrap().to_owned()
    }
}

pub const SIGNATURE: &str = "X-Sonar-Webhook-HMAC-SHA256";

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Call {
    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(one, _)| !one.eq_ignore_ascii_case(name));
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.remove(name);
        self
    }

    /// The request up to the empty line.
    pub fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        (head + "\r\n").into_bytes()
    }

    pub fn bytes(&self) -> Vec<u8> {
        [self.head(), self.body.clone()].concat()
    }
}

/// A response.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(one, _)| one.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A connection. Reading from it has a deadline.
pub struct Line {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

impl Line {
    /// Opens one to `https://…` or `http://…`.
    pub fn open(address: &str) -> Self {
        Self::over(address, |address| TcpStream::connect(address).expect("the gateway listens"))
    }

    /// The same from another address of this machine.
    pub fn open_from(address: &str, from: &str) -> Self {
        Self::over(address, |address| tls::connected(address, from.parse().unwrap()))
    }

    fn over(address: &str, connect: impl FnOnce(&str) -> TcpStream) -> Self {
        let (scheme, address) = address.split_once("://").expect("it has a scheme");
        let stream = connect(address);
        stream.set_read_timeout(Some(SOON)).unwrap();
        let stream: Box<dyn Stream> = match scheme {
            "https" => Box::new(tls::over(stream)),
            _ => Box::new(stream),
        };
        Self { stream, read: Vec::new() }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the gateway reads");
        self.stream.flush().expect("the gateway reads");
    }

    /// The next answer; nothing if the gateway closes the connection instead.
    pub fn answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more() {
                assert!(self.read.is_empty(), "half an answer: {:?}", String::from_utf8_lossy(&self.read));
                return None;
            }
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
        let mut answer = Answer { status, head, body: String::new() };
        let length: usize = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.read.len() < length {
            assert!(self.more(), "the body is cut: {answer:?}");
        }
        answer.body = String::from_utf8(self.read.drain(..length).collect()).unwrap();
        Some(answer)
    }

    /// Whether the gateway closes the connection without another word.
    pub fn is_closed(&mut self) -> bool {
        self.read.is_empty() && !self.more()
    }

    fn more(&mut self) -> bool {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.read.extend_from_slice(&bytes[..count]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no answer within {SOON:?}"),
            // Closed without TLS's goodbye, or reset: closed all the same.
            Err(_) => false,
        }
    }
}

/// A body as Sonar sends it after an analysis of a main branch.
pub fn body(project: &str, task: &str) -> String {
    json!({
        "serverUrl": "https://sonar.example", "taskId": task, "status": "SUCCESS",
        "analysedAt": "2026-01-02T03:04:05+0000", "changedAt": "2026-01-02T03:04:05+0000",
        "project": {"key": project, "name": project, "url": format!("https://sonar.example/dashboard?id={project}")},
        "branch": {"name": "main", "type": "LONG", "isMain": true, "url": "https://sonar.example"},
        "properties": {},
    })
    .to_string()
}

/// The delivery log, newest first.
pub fn deliveries(gateway: &Gateway) -> Vec<Value> {
    gateway.json(&["delivery", "list", "--limit", "500"])["deliveries"].as_array().unwrap().clone()
}

/// A delivery by its number.
pub fn delivery(gateway: &Gateway, id: &str) -> Value {
    gateway.json(&["delivery", "show", id])
}

/// Waits until a delivery has an outcome, and returns it.
pub fn settled(gateway: &Gateway, id: &str, outcome: &str) -> Value {
    gateway.wait(&format!("delivery {id} to be {outcome}"), |gateway| {
        let delivery = delivery(gateway, id);
        (delivery["outcome"] == outcome).then_some(delivery)
    })
}

/// Waits until nothing is read or due.
pub fn idle(gateway: &Gateway) -> Value {
    gateway.wait("the gateway to be idle", |gateway| {
        let status = gateway.json(&["status"]);
        (status["sync"]["queued"] == 0 && status["sync"]["running"] == 0).then_some(status)
    })
}
