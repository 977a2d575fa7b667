//! Doors for fuzzing (tests/fuzz): each hands bytes to what reads them in the daemon, and holds what comes out to what is
//! promised of it. Built for fuzzing and for tests alone. The tests walk through each door with what fuzzing begins with
//! and with what it once found.

#![allow(missing_docs, reason = "each is said in the table")]

use crate::domain::delivery::Payload;
use crate::domain::ids::{EndpointId, ProjectKey};
use crate::domain::limits::{self, SONAR_ANSWER_TEXT_BYTES_MAX};
use crate::domain::measure::{Bounds, Measure};
use crate::domain::signature::{Secret, Signature, to_hex};
use crate::domain::time::{Timestamp, http_date};
use crate::domain::{masking, rule};
use crate::sonar::{FindingsPage, wire};
use crate::store::changes::Cursor;
use crate::store::lists::At;
use crate::sys::trust::Authorities;
use crate::sys::{shown, tls};
use crate::{admin, cli, platform, store};

/// A door.
pub type Door = fn(&[u8]);

/// All of them, by the names of their targets.
pub const DOORS: [(&str, Door); 14] = [
    // A webhook's request: its path, two headers and its body.
    ("webhook", webhook),
    // A webhook's body whose signature was right.
    ("payload", payload),
    // Sonar's answers; the first byte says which.
    ("sonar", sonar),
    // The platforms' answers; the first byte says which.
    ("platform", platform::fuzz::answer),
    // What other boxes tell a fleet: the subject, a line's end, the event.
    ("fleet", platform::nats::feed::fuzz),
    // Records of the store, as they lie there and with their checksums made right.
    ("record", store::fuzz::record),
    // A backup, and one whose checksums are made right.
    ("backup", store::fuzz::backup),
    // Documents of the configuration.
    ("document", cli::config::fuzz_document),
    // Bodies of the API.
    ("body", admin::fuzz::body),
    // Cookies and tokens.
    ("login", admin::fuzz::login),
    // What stands behind the question mark of the page's and the API's addresses.
    ("query", admin::fuzz::query),
    // Cursors of lists and of the change log.
    ("cursor", cursor),
    // Certificates and keys in PEM form.
    ("certificate", certificate),
    // HTML of rules, addresses with passwords, times, documents to be masked.
    ("text", text),
];

/// Hands bytes to the door of this name.
pub fn enter(name: &str, data: &[u8]) {
    let door = DOORS.iter().find(|(known, _)| *known == name).expect("each target has its door").1;
    door(data);
}

fn webhook(data: &[u8]) {
    let mut lines = data.splitn(4, |byte| *byte == b'\n');
    let [path, signature, project, body] = [(); 4].map(|()| lines.next().unwrap_or_default());
    let path = String::from_utf8_lossy(path);
    if let Some(endpoint) = path.strip_prefix("/hooks/").and_then(|text| text.parse::<EndpointId>().ok()) {
        assert_eq!(path, format!("/hooks/{endpoint}"), "an address has one form");
    }
    let secret = Secret::parse("0123456789abcdef").expect("it is long enough");
    let right = secret.sign(body);
    if let Some(signature) = Signature::parse(signature) {
        let holds = signature.verifies(body, [&secret].into_iter());
        assert_eq!(holds, signature == Signature::parse(right.as_bytes()).expect("it is ours"));
    }
    // The header is not signed, and may be anything.
    if let Ok(named) = std::str::from_utf8(project)
        && let Ok(read) = Payload::parse(body, Some(named))
    {
        assert_eq!(read.project.as_str(), named);
    }
}

fn payload(data: &[u8]) {
    if let Ok(read) = Payload::parse(data, None) {
        assert!(read.project.as_str().len() <= ProjectKey::BYTES_MAX);
        assert!(read.task.as_ref().is_none_or(|task| task.len() <= 100));
        assert!(read.gate.as_ref().is_none_or(|gate| gate.chars().count() <= 20));
        assert_eq!(read.identity(data), read.identity(data));
        assert_eq!(Payload::parse(data, Some(read.project.as_str())).as_ref(), Ok(&read));
    }
}

fn sonar(data: &[u8]) {
    let Some((which, answer)) = data.split_first() else { return };
    let bounds = Bounds { values_max: 100_000, text_bytes_max: SONAR_ANSWER_TEXT_BYTES_MAX };
    if Measure::whole(bounds, answer).is_err() {
        return;
    }
    match which % 16 {
        0 => whole(wire::issues(answer)),
        1 => whole(wire::hotspots(answer)),
        2 => {
            if let Ok(hotspot) = wire::hotspot(answer) {
                assert!(hotspot.message.len() <= limits::FINDING_TEXT_BYTES_MAX);
            }
        }
        3 => drop(wire::validation(answer)),
        4 => drop(wire::organizations(answer)),
        5 => drop(wire::organizations_page(answer)),
        6 => drop(wire::projects(answer)),
        7 => drop(wire::project(answer)),
        8 => drop(wire::branches(answer)),
        9 => drop(wire::pull_requests(answer)),
        10 => drop(wire::analyses(answer)),
        11 => {
            if let Ok(rule) = wire::rule(answer) {
                assert!(rule.description_html.len() <= limits::RULE_TEXT_BYTES_MAX);
                assert!(rule.cwe.is_sorted());
            }
        }
        12 => drop(wire::mode(answer)),
        13 => drop(wire::version(answer)),
        14 => {
            let message = wire::error_message(answer);
            assert!(message.is_none_or(|text| text.len() <= 300 && !text.contains(char::is_control)));
        }
        _ => {
            drop(wire::webhooks::webhooks(answer));
            drop(wire::webhooks::calls(answer));
            drop(wire::webhooks::call(answer));
        }
    }
}

/// No row is lost between the counts, and no text is longer than is kept.
fn whole(page: Result<FindingsPage, wire::BadAnswer>) {
    let Ok(page) = page else { return };
    assert_eq!(page.findings.len() as u64 + page.unusable, page.rows);
    assert!(page.rows <= limits::SONAR_PAGED_ROWS_MAX as u64);
    assert!(page.projects.values().sum::<u64>() <= page.rows);
    for finding in &page.findings {
        assert!(finding.message.len() <= limits::FINDING_TEXT_BYTES_MAX);
        assert!(finding.path.as_ref().is_none_or(|path| path.len() <= limits::FINDING_TEXT_BYTES_MAX));
        assert!(finding.flows.len() <= limits::FLOWS_MAX);
        assert!(finding.flows.iter().all(|flow| flow.0.len() <= limits::FLOW_STEPS_MAX));
        assert!(finding.line != Some(0));
    }
    let _ = page.by_status(|_| true);
}

fn cursor(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(at) = At::from_cursor(text) {
        assert_eq!(At::from_cursor(&at.to_cursor()).map(|at| at.to_cursor()), Some(at.to_cursor()));
    }
    if let Some(cursor) = Cursor::from_text(text) {
        assert_eq!(Cursor::from_text(&cursor.to_text()), Some(cursor));
    }
    // Few texts are hex digits by chance.
    let digits = to_hex(data);
    for text in [digits.clone(), format!("n{digits}"), format!("p{digits}")] {
        if let Some(at) = At::from_cursor(&text) {
            assert_eq!(at.to_cursor(), text, "a place has one form");
        }
    }
    if let Some(cursor) = Cursor::from_text(&digits) {
        assert_eq!(Cursor::from_text(&cursor.to_text()), Some(cursor));
    }
}

fn certificate(data: &[u8]) {
    if let Some(found) = tls::describe(data) {
        let texts = [&found.subject, &found.issuer].into_iter().chain(&found.names);
        assert!(texts.into_iter().all(|text| text.chars().count() <= 255 && !text.contains(char::is_control)));
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Authorities::parse(text);
    }
    shown::fuzz(data);
}

fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = rule::markdown(text);
    let _ = rule::plain_text(text);
    assert!(rule::cwe_numbers(text).len() <= text.len());
    admin::fuzz::prose(text);
    let shown = masking::without_password(text);
    assert_eq!(masking::without_password(&shown), shown, "what is masked once is masked");
    if let Ok(at) = Timestamp::parse(text) {
        // Whatever can be read can be written, and counted with.
        let _ = (at.to_string(), at.plus(limits::RETRY_DELAY_MAX), at.minus(limits::RETRY_DELAY_MAX));
    }
    let _ = http_date(text);
    if let Ok(mut document) = serde_json::from_str(text) {
        masking::mask(&mut document);
        let once = document.clone();
        masking::mask(&mut document);
        assert_eq!(document, once, "what is masked once is masked");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::DOORS;

    /// Each file whole, cut, and with single bytes changed: what fuzzing does for hours, once over.
    #[test]
    fn what_fuzzing_begins_with_and_what_it_found_is_read_without_a_fault() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
        for (target, door) in DOORS {
            let mut files = 0;
            for file in std::fs::read_dir(corpus.join(target)).unwrap_or_else(|error| panic!("{target}: {error}")) {
                let data = std::fs::read(file.unwrap().path()).unwrap();
                files += 1;
                door(&data);
                let step = data.len().div_ceil(40).max(1);
                for at in (0..data.len()).step_by(step) {
                    door(&data[..at]);
                    let mut changed = data.clone();
                    changed[at] ^= 1 << (at % 8);
                    door(&changed);
                }
            }
            assert!(files > 0, "{target} has nothing to begin with");
        }
    }

    #[test]
    fn every_door_has_a_target_that_leads_to_it() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
        let listed = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        for (target, _) in DOORS {
            let source = std::fs::read_to_string(folder.join(format!("targets/{target}.rs"))).unwrap();
            assert!(source.contains(&format!("\"{target}\"")), "{target}");
            assert!(listed.contains(&format!("name = \"{target}\"")), "{target} is not in Cargo.toml");
        }
    }
}
