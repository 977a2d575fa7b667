//! A file for support: what helps to see what is wrong, and no secret. Nothing secret is asked for; and whatever looks like
//! one is removed from every text all the same, since people paste tokens into the oddest places.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};

use super::super::Session;
use super::super::client::Failure;
use super::super::export::Draft;
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
    Draft::write(path, &text)
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
    cut_addresses(&mut document);
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

/// Leaves of the addresses of destinations and settings no more than where they lead, wherever they are told: with some,
/// what stands after that is all that keeps others out.
fn cut_addresses(document: &mut Value) {
    let mut known = BTreeSet::new();
    for part in ["destinations", "settings"] {
        note_addresses(&document[part], &mut known);
    }
    // One may begin as another does: the longer ones come first.
    for whole in known.into_iter().rev() {
        if let Some(origin) = origin(&whole) {
            replace(document, &whole, &format!("{origin}/[removed]"));
        }
    }
}

fn note_addresses(value: &Value, known: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => members.values().for_each(|member| note_addresses(member, known)),
        Value::Array(items) => items.iter().for_each(|item| note_addresses(item, known)),
        Value::String(text) => drop(origin(text).is_some() && known.insert(text.clone())),
        _ => {}
    }
}

fn replace(value: &mut Value, text: &str, by: &str) {
    match value {
        Value::Object(members) => members.values_mut().for_each(|member| replace(member, text, by)),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, text, by)),
        Value::String(whole) if whole.contains(text) => *whole = whole.replace(text, by),
        _ => {}
    }
}

/// Scheme, host and port of a text that is an address with more than that.
fn origin(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    let is_address = matches!(scheme, "http" | "https") && !text.contains(char::is_whitespace);
    let end = rest.find(['/', '?', '#']).filter(|end| rest[*end..].len() > 1)?;
    is_address.then(|| &text[..scheme.len() + 3 + end])
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
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// Whether a word is what a machine made up: long, and of hex digits, such as a UUID, or of letters and digits in turns, or
/// with a part in which small and capital letters and digits have no order.
fn is_random(word: &str) -> bool {
    let plain: Vec<u8> = word.bytes().filter(u8::is_ascii_alphanumeric).collect();
    if plain.len() < RANDOM_CHARACTERS_MIN {
        return false;
    }
    let is_hex = plain.iter().all(u8::is_ascii_hexdigit) && plain.iter().any(u8::is_ascii_digit);
    is_hex
        || turns(&plain, |byte| (byte.is_ascii_digit(), false)) >= 6
        // What people name has hyphens and underscores between words, and capitals where words begin.
        || word.split(['_', '-']).map(str::as_bytes).any(|part| {
            let mixed = turns(part, |byte| (byte.is_ascii_digit(), byte.is_ascii_uppercase()));
            part.len() * 2 >= RANDOM_CHARACTERS_MIN && mixed * 3 >= part.len()
        })
}

/// How often the next character is of another kind.
fn turns(text: &[u8], kind: fn(u8) -> (bool, bool)) -> usize {
    text.windows(2).filter(|two| kind(two[0]) != kind(two[1])).count()
}

/// Shorter words are names, and keys of Sonar's.
const RANDOM_CHARACTERS_MIN: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_random_is_removed_and_words_stay() {
        let endpoint = "0123456789abcdef0123456789abcdef";
        assert_eq!(scrubbed(&format!("https://h.example/hooks/{endpoint}?x")), "https://h.example/hooks/[removed]?x");
        assert_eq!(scrubbed("token aB3dE5fG7hI9jK1lM3nO5pQ7 in a line"), "token [removed] in a line");
        for random in [
            "6f1c2d3e-4b5a-4c3d-9e8f-0123456789ab",
            "kXqPzRtWvBnMaSdFgHjKlYuI",
            "aB3dE5fG7hI9jK1lM3nO5pQ7",
            "dGhpc19pc19h-cmFuZG9t_dG9rZW4",
            "0123456789abcdef01234567",
        ] {
            assert_eq!(scrubbed(&format!("at {random}.")), "at [removed].");
        }
        for plain in [
            "My-Own-Project-With-Many-Words",
            "FindingSecurityHotspotReviewed",
            "hydrophone_delivery_attempts_total",
            "0-x86_64-unknown-linux-musleabihf",
            "2026-11-22T19:16:07.123Z gateway-2 hydrophone[1]",
            "the certificate \"CN=Hydrophone\" is valid until 2036-01-01T00:00:00Z",
            "",
            "webhook_secret_ends",
            "ü 0x01",
        ] {
            assert_eq!(scrubbed(plain), plain);
        }
    }

    #[test]
    fn an_address_of_a_destination_is_cut_wherever_it_is_told() {
        let mut document = json!({
            "destinations": [{ "url": "https://n8n.example/webhook/abc" }, { "url": "https://n8n.example/webhook/abc/d?e" }],
            "settings": { "public-url": "https://box.example:8443", "other": "https://box.example/in/here" },
            "sources": [{ "url": "https://sonar.example/sonar" }],
            "log": ["GET https://n8n.example/webhook/abc/d?e failed, https://n8n.example/webhook/abc did not"],
        });
        cut_addresses(&mut document);
        let cut = "https://n8n.example/[removed]";
        let expected = json!({
            "destinations": [{ "url": cut }, { "url": cut }],
            "settings": { "public-url": "https://box.example:8443", "other": "https://box.example/[removed]" },
            "sources": [{ "url": "https://sonar.example/sonar" }],
            "log": [format!("GET {cut} failed, {cut} did not")],
        });
        assert_eq!(document, expected);
    }
}
