#![allow(dead_code, unreachable_pub, reason = "every test that includes this uses its own part of it")]
//! HTTP/1.1 as the smaller of the simulated platforms speak it: one call after the other, bodies of a stated length.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, Write};

/// A call as it came in.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With its query.
    pub path: String,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// What it is answered.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Request {
    /// The next call of a connection; nothing at its end.
    pub fn read(stream: &mut impl BufRead) -> io::Result<Option<Request>> {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        Ok(Some(Request { method, path, headers, body }))
    }

    /// A header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

impl Response {
    /// Nothing but a status.
    pub fn status(status: u16) -> Response {
        Response { status, headers: Vec::new(), body: String::new() }
    }

    /// Writes it, dated with these seconds since 1970.
    pub fn write(&self, stream: &mut impl Write, seconds: i64) -> io::Result<()> {
        let time = jiff::Timestamp::from_second(seconds).expect("a time of this century");
        let date = time.strftime("%a, %d %b %Y %H:%M:%S GMT");
        let mut head = format!("HTTP/1.1 {} Answer\r\ndate: {date}\r\n", self.status);
        // An answer of this status has no body, and says no length.
        if self.status != 204 {
            write!(head, "content-length: {}\r\n", self.body.len()).expect("writing to a string cannot fail");
        }
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").expect("writing to a string cannot fail");
        }
        stream.write_all(format!("{head}\r\n{}", self.body).as_bytes())?;
        stream.flush()
    }
}
