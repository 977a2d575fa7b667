//! Asks the daemon's API over its socket without starting a command for it, where a measurement must not pay for one.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// The answer to `GET /api/v1/PATH`.
///
/// # Panics
/// If the daemon does not answer with a document.
pub fn get(state: &Path, path: &str) -> Value {
    try_get(state, path).unwrap_or_else(|| panic!("no usable answer to {path}"))
}

/// The text at a path, such as `/metrics`.
pub fn text(state: &Path, path: &str) -> String {
    let mut stream = UnixStream::connect(state.join("admin.sock")).expect("the gateway runs");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).expect("it has a head")
}

/// As [`get`]; nothing if no daemon answers, or not with a document.
pub fn try_get(state: &Path, path: &str) -> Option<Value> {
    let mut stream = UnixStream::connect(state.join("admin.sock")).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    write!(stream, "GET /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    if !answer.starts_with(b"HTTP/1.1 200") {
        return None;
    }
    serde_json::from_slice(&answer[head + 4..]).ok()
}
