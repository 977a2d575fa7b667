//! Asks the daemon over TLS as a browser or a program does, one connection a request.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::tls;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    /// A header, or nothing.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// Sends a request with these headers and this body to `https://HOST:PORT`.
pub fn ask(page: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let address = page.strip_prefix("https://").expect("the page is served with TLS");
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").expect("writing to a string cannot fail");
    }
    if !body.is_empty() {
        write!(request, "Content-Length: {}\r\n", body.len()).expect("writing to a string cannot fail");
    }
    let answer = tls::exchange(address, format!("{request}\r\n{body}").as_bytes());
    let (head, body) =
        answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {method} {path}: {answer}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(": "));
    Answer {
        status: status.unwrap_or_else(|| panic!("no status in {head}")),
        headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
        body: body.to_owned(),
    }
}
