//! Secrets of known text, and a look for each of them in every form that it may have taken on the way.

use std::collections::HashMap;
use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// What is looked for.
#[derive(Default)]
pub(super) struct Needles {
    forms: Vec<(String, Vec<u8>)>,
    /// By its first bytes, so that a large file is read once.
    by_start: HashMap<[u8; START], Vec<usize>>,
}

/// Every form of a secret has as many bytes.
const START: usize = 8;

impl Needles {
    /// Adds a secret by what it is.
    pub(super) fn add(&mut self, what: &str, secret: &[u8]) {
        assert!(secret.len() >= 12, "{what} is too short to be told from what is there by chance");
        for (form, bytes) in forms(secret) {
            let start = *bytes.first_chunk().expect("it is long enough");
            self.by_start.entry(start).or_default().push(self.forms.len());
            self.forms.push((format!("{what}, {form}"), bytes));
        }
    }

    /// Which of them are in something.
    pub(super) fn found_in(&self, hay: &[u8]) -> Vec<&str> {
        let mut starts = vec![false; 1 << 16];
        for start in self.by_start.keys() {
            starts[usize::from(u16::from_be_bytes([start[0], start[1]]))] = true;
        }
        let mut found = Vec::new();
        for at in 0..hay.len().saturating_sub(START - 1) {
            if !starts[usize::from(u16::from_be_bytes([hay[at], hay[at + 1]]))] {
                continue;
            }
            let start: [u8; START] = hay[at..at + START].try_into().unwrap();
            for &form in self.by_start.get(&start).into_iter().flatten() {
                let (name, bytes) = &self.forms[form];
                if hay[at..].starts_with(bytes) && !found.contains(&name.as_str()) {
                    found.push(name.as_str());
                }
            }
        }
        found
    }

    /// Fails if one of them is in something.
    #[track_caller]
    pub(super) fn assert_none_in(&self, place: &str, hay: impl AsRef<[u8]>) {
        let found = self.found_in(hay.as_ref());
        assert!(found.is_empty(), "in {place}: {found:?}\n{}", String::from_utf8_lossy(hay.as_ref()).escape_debug());
    }
}

fn forms(secret: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut forms = vec![("as it is".to_owned(), secret.to_vec())];
    let hex = |upper: bool| {
        secret.iter().fold(String::new(), |mut text, byte| {
            if upper { write!(text, "{byte:02X}") } else { write!(text, "{byte:02x}") }.unwrap();
            text
        })
    };
    for upper in [false, true] {
        forms.push(("in hexadecimal".to_owned(), hex(upper).into_bytes()));
        let percent = secret.iter().fold(String::new(), |mut text, &byte| {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => text.push(byte.into()),
                _ if upper => write!(text, "%{byte:02X}").unwrap(),
                _ => write!(text, "%{byte:02x}").unwrap(),
            }
            text
        });
        forms.push(("percent-encoded".to_owned(), percent.into_bytes()));
    }
    for before in 0..3 {
        // What stands before and after it makes a part of the first and last characters.
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(secret);
        let whole = bytes.len() / 3 * 4;
        for encoded in [STANDARD.encode(&bytes), URL_SAFE.encode(&bytes)] {
            let part = &encoded.as_bytes()[[0, 2, 3][before]..whole];
            forms.push((format!("in base64 at {before}"), part.to_vec()));
        }
    }
    if let Ok(text) = std::str::from_utf8(secret) {
        let json = serde_json::to_string(text).unwrap();
        forms.push(("in JSON".to_owned(), json.as_bytes()[1..json.len() - 1].to_vec()));
        let html = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
        forms.push(("in HTML".to_owned(), html.into_bytes()));
        forms.push(("as Rust shows it".to_owned(), text.escape_debug().to_string().into_bytes()));
        forms.push(("as numbers".to_owned(), format!("{secret:?}").trim_matches(['[', ']']).as_bytes().to_vec()));
    }
    forms
}

#[test]
fn a_secret_is_found_in_every_form_and_nothing_is_found_where_there_is_none() {
    let secret = b"planted \"one\"/+\xc3\xa4 of them";
    let mut needles = Needles::default();
    needles.add("it", secret);
    let text = std::str::from_utf8(secret).unwrap();
    for before in 0..4 {
        let whole = [vec![b'x'; before], secret.to_vec(), b"yyy".to_vec()].concat();
        let hays = [
            whole.clone(),
            STANDARD.encode(&whole).into_bytes(),
            URL_SAFE.encode(&whole).into_bytes(),
            serde_json::to_vec(&serde_json::json!({ "a": text })).unwrap(),
            format!("{secret:?}").into_bytes(),
            format!("{text:?}").into_bytes(),
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string().into_bytes(),
        ];
        for hay in hays {
            assert!(!needles.found_in(&hay).is_empty(), "{}", String::from_utf8_lossy(&hay));
            assert!(needles.found_in(&hay[..hay.len() / 2]).is_empty());
        }
    }
}
