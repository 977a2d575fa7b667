//! SonarQube's side of a webhook, one connection a call, as SonarQube makes them.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use crate::support::sonar::signature;
use crate::support::tls;

/// A webhook as SonarQube knows it.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Below which address.
    pub path: String,
    /// What signs its calls.
    pub secret: String,
}

impl Hook {
    /// Where the packages have webhooks taken.
    pub const ADDRESS: &str = "127.0.0.1:8443";

    /// Makes a call about a project, of a task that no other call names: the status, and the delivery's id if it was
    /// accepted. Without any answer, an error that says so.
    pub fn call(&self, project: &str) -> Result<(u16, String), String> {
        static TASKS: AtomicU64 = AtomicU64::new(1);
        let task = format!("AZbox{:015}", TASKS.fetch_add(1, Ordering::Relaxed));
        let body = json!({
            "serverUrl": "https://sonarcloud.io",
            "taskId": task,
            "status": "SUCCESS",
            "analysedAt": "2026-01-05T10:00:00+0100",
            "changedAt": "2026-01-05T10:00:00+0100",
            "project": {"key": project, "name": project, "url": "https://sonarcloud.io/dashboard?id=box"},
            "branch": {"name": "main", "type": "LONG", "isMain": true, "url": "https://sonarcloud.io/dashboard"},
            "properties": {},
        })
        .to_string();
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nConnection: close\r\n\
             X-SonarQube-Project: {project}\r\nX-Sonar-Webhook-HMAC-SHA256: {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.path,
            Self::ADDRESS,
            signature(&self.secret, body.as_bytes()),
            body.len()
        );
        let mut stream = tls::connect(Self::ADDRESS);
        stream.write_all(request.as_bytes()).map_err(|error| format!("{task}: not sent: {error}"))?;
        let mut answer = Vec::new();
        // A server that closes without TLS's own goodbye has still answered.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| format!("{task}: no answer: {answer:?}"))?;
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        let document: Value = serde_json::from_str(body).unwrap_or_default();
        Ok((status, document["delivery"].as_str().unwrap_or_default().to_owned()))
    }
}

/// Calls that do not cease until they are told to.
pub struct Load {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    callers: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// As many callers at a time. A call that is not accepted ends the test.
    pub fn start(hook: &Hook, project: &'static str, callers: usize) -> Self {
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let caller = || {
            let (hook, stop, made) = (hook.clone(), Arc::clone(&stop), Arc::clone(&made));
            thread::spawn(move || {
                let mut accepted = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match hook.call(project) {
                        Ok((202, delivery)) => accepted.push(delivery),
                        other => panic!("after {} calls: {other:?}", accepted.len()),
                    }
                    made.fetch_add(1, Ordering::Relaxed);
                }
                accepted
            })
        };
        let callers = (0..callers).map(|_| caller()).collect();
        Self { stop, made, callers }
    }

    /// How many were accepted up to now.
    pub fn made(&self) -> u64 {
        assert!(!self.callers.iter().any(JoinHandle::is_finished), "a call was refused");
        self.made.load(Ordering::Relaxed)
    }

    /// Ends them; the deliveries that were accepted.
    pub fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.callers.into_iter().flat_map(|caller| caller.join().expect("every call is accepted")).collect()
    }
}
