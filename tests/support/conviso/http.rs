//! The server: one thread a connection, one request after the other.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Call, Fault, Shared, execute, lock};

pub(super) fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        let (Ok(stream), shared) = (stream, Arc::clone(shared)) else { continue };
        // A client that goes away is its own business.
        thread::spawn(move || while converse(&stream, &shared).is_some() {});
    }
}

/// Status, body and headers.
type Answer = (u16, String, Vec<(String, String)>);

struct Request {
    path: String,
    method: String,
    key: Option<String>,
    body: Vec<u8>,
}

/// Answers one request; nothing once the connection is to end.
fn converse(stream: &TcpStream, shared: &Shared) -> Option<()> {
    let request = read(stream)?;
    let (status, body, headers) = answer(shared, &request)?;
    let mut head =
        format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        for part in [&name, ": ", &value, "\r\n"] {
            head.push_str(part);
        }
    }
    let mut stream = stream;
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).ok()
}

/// Status, body and headers of an answer; nothing where none is to come.
fn answer(shared: &Shared, request: &Request) -> Option<Answer> {
    let down = *lock(&shared.down);
    if let Some(status) = down {
        return (status > 0).then(|| (status, "<!DOCTYPE html><h1>Sorry</h1>".to_owned(), Vec::new()));
    }
    if request.path != "/graphql" {
        return Some((404, "<!DOCTYPE html><h1>Not Found</h1>".to_owned(), Vec::new()));
    }
    let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let query = asked["query"].as_str().unwrap_or_default();
    let operation = execute::operation(query);
    let mut call = Call { operation: operation.clone(), variables: asked["variables"].clone(), status: 0 };
    let answer = judge(shared, request, &asked, &operation);
    call.status = answer.as_ref().map_or(0, |(status, ..)| *status);
    lock(&shared.calls).push(call);
    answer
}

fn judge(shared: &Shared, request: &Request, asked: &Value, operation: &str) -> Option<Answer> {
    let plain = |status, body: Value| Some((status, body.to_string(), Vec::new()));
    let fault = strike(shared, operation);
    if let Some(Fault::RevokesKey) = fault {
        "another".clone_into(&mut lock(&shared.key));
    }
    if let Some(Fault::Answer { status, body, headers }) = fault {
        return Some((status, body, headers));
    }
    if request.method != "POST" {
        return plain(405, json!({"errors": ["method not allowed"]}));
    }
    if request.key.as_deref() != Some(lock(&shared.key).as_str()) {
        return plain(401, json!({"errors": ["You need to sign in or sign up before continuing."]}));
    }
    let now = Instant::now();
    let busy = {
        let mut recent = lock(&shared.recent);
        recent.retain(|at| now.duration_since(*at) < Duration::from_mins(1));
        recent.push(now);
        recent.len() > *lock(&shared.per_minute)
    };
    if busy {
        return plain(429, json!({"errors": ["rate limit exceeded"]}));
    }
    if let Some(Fault::Slow(pause)) = fault {
        thread::sleep(pause);
    }
    let query = asked["query"].as_str().unwrap_or_default();
    let body = execute::execute(&shared.schema, &shared.guesses, &mut lock(&shared.model), query, &asked["variables"]);
    match fault {
        Some(Fault::FailsAfterCommit) => plain(500, json!({"errors": ["Internal Server Error"]})),
        Some(Fault::LosesAnswer) => None,
        Some(Fault::Waits(gate)) => {
            gate.pass();
            plain(200, body)
        }
        Some(Fault::CutsJson) => {
            let text = body.to_string();
            Some((200, text[..text.len() / 2].to_owned(), Vec::new()))
        }
        _ if shared.guesses.refusals_are_400 && body.get("data").is_none() => plain(400, body),
        _ => plain(200, body),
    }
}

fn strike(shared: &Shared, operation: &str) -> Option<Fault> {
    let mut traps = lock(&shared.traps);
    let at = traps.iter().position(|trap| trap.operation == operation)?;
    let trap = &mut traps[at];
    if trap.after > 0 {
        trap.after -= 1;
        return None;
    }
    trap.times -= 1;
    let fault = trap.fault.clone();
    if trap.times == 0 {
        traps.remove(at);
    }
    Some(fault)
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&bytes| bytes > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut key, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&bytes| bytes > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "x-api-key" => key = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { path, method, key, body })
}
