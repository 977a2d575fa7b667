//! A file for support: what helps to see what is wrong, and no secret. Nothing secret is asked for; and whatever looks like
//! one is removed from every text all the same, since people paste tokens into the oddest places.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};

use super::super::Session;
use super::super::client::Failure;
use crate::admin::shapes::Diagnosis;
use crate::domain::masking::mask;
use crate::domain::time::Timestamp;
use crate::sys::clock;

/// What is asked for, by the member that it becomes.
const PARTS: [(&str, &str); 8] = [
    ("status", "status"),
    ("settings", "config"),
    ("sources", "sources"),
    ("organizations", "organizations"),
    ("projects", "projects"),
    ("destinations", "destinations"),
    ("certificate", "certificate"),
    ("deliveries", "deliveries?limit=100"),
];

/// Writes it, for its owner alone to read.
pub(super) fn write(session: &Session, diagnosis: &Diagnosis, path: &Path, with_findings: bool) -> Result<(), Failure> {
    let document = document(session, diagnosis, with_findings, clock::now());
    let text = serde_json::to_string_pretty(&document).map_err(|error| Failure::Lost(error.to_string()))?;
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| writeln!(file, "{text}"));
    written.map_err(|error| Failure::Input {
        text: format!("cannot write {}: {error}", path.display()),
        hint: "Name a file in a folder that may be written to.",
    })
}

fn document(session: &Session, diagnosis: &Diagnosis, with_findings: bool, now: Timestamp) -> Value {
    let mut document = Map::new();
    document.insert("made_at".to_owned(), json!(now.to_string()));
    document.insert("system".to_owned(), system());
    document.insert("doctor".to_owned(), json!(diagnosis));
    if diagnosis.running {
        let findings = with_findings.then_some(("findings", "findings?limit=500&sort=newest"));
        for (name, path) in PARTS.into_iter().chain(findings) {
            let part = match session.client.get::<Value>(path) {
                Ok(answer) => answer.value,
                Err(failure) => json!({ "missing": failure.to_string() }),
            };
            document.insert(name.to_owned(), part);
        }
    }
    document.insert("log".to_owned(), log());
    let mut document = Value::Object(document);
    mask(&mut document);
    scrub(&mut document);
    document
}

fn system() -> Value {
    let system = rustix::system::uname();
    json!({
        "command_line": env!("CARGO_PKG_VERSION"),
        "architecture": std::env::consts::ARCH,
        "system": system.sysname().to_string_lossy(),
        "release": system.release().to_string_lossy(),
        "distribution": std::fs::read_to_string("/etc/os-release").ok().and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
            Some(line.trim_matches('"').to_owned())
        }),
    })
}

/// The log's end, where the journal has it.
fn log() -> Value {
    let mut journal = Command::new("journalctl");
    journal.args(["--unit=hydrophone", "--lines=500", "--no-pager", "--quiet", "--output=short-iso"]);
    match journal.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            json!(text.lines().collect::<Vec<_>>())
        }
        Ok(_) => {
            json!({ "missing": "journalctl failed; run this as root, or as a member of the group systemd-journal" })
        }
        Err(error) => json!({ "missing": format!("journalctl: {error}") }),
    }
}

/// Removes what is random from every text: webhooks' endpoints and secrets, tokens of SonarQube Cloud, one-time codes.
fn scrub(value: &mut Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(scrub),
        Value::Array(items) => items.iter_mut().for_each(scrub),
        Value::String(text) => *text = scrubbed(text),
        _ => {}
    }
}

fn scrubbed(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_of_word) {
        let (before, from) = rest.split_at(start);
        let (word, after) = from.split_at(from.find(|c| !is_of_word(c)).unwrap_or(from.len()));
        clean.push_str(before);
        clean.push_str(if is_random(word) { "[removed]" } else { word });
        rest = after;
    }
    clean.push_str(rest);
    clean
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Whether a word is what a machine made up: long, of hex digits, or of letters and digits in turns.
fn is_random(word: &str) -> bool {
    let hex = word.len() >= 24 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let turns = word.as_bytes().windows(2).filter(|two| two[0].is_ascii_digit() != two[1].is_ascii_digit()).count();
    hex || (word.len() >= 24 && turns >= 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_random_is_removed_and_words_stay() {
        let endpoint = "0123456789abcdef0123456789abcdef";
        assert_eq!(scrubbed(&format!("https://h.example/hooks/{endpoint}?x")), "https://h.example/hooks/[removed]?x");
        assert_eq!(scrubbed("token aB3dE5fG7hI9jK1lM3nO5pQ7 in a line"), "token [removed] in a line");
        for plain in [
            "the certificate \"CN=Hydrophone\" is valid until 2036-01-01T00:00:00Z",
            "",
            "webhook_secret_ends",
            "ü 0x01",
        ] {
            assert_eq!(scrubbed(plain), plain);
        }
    }
}
