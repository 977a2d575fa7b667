//! A JSON writer with SonarQube's habits: members in the order written, compact, and "html-safe" strings in which
//! `< > & = '` are escaped. Signatures are computed over these very bytes, so the habits matter.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Writes one document; every method appends one member or one item.
#[derive(Default)]
pub(super) struct Json {
    out: String,
    comma: bool,
}

impl Json {
    pub(super) fn object(write: impl FnOnce(&mut Json)) -> String {
        let mut json = Json::default();
        json.braced('{', '}', write);
        json.out
    }

    pub(super) fn array(write: impl FnOnce(&mut Json)) -> String {
        let mut json = Json::default();
        json.braced('[', ']', write);
        json.out
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.string(value);
    }

    /// SonarQube leaves absent members out; it never writes `null`.
    pub(super) fn text_if(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    pub(super) fn number(&mut self, name: &str, value: impl TryInto<i64>) {
        self.name(name);
        let value: i64 = value.try_into().ok().expect("numbers of the simulation fit 63 bits");
        write!(self.out, "{value}").expect("writing to a string cannot fail");
    }

    pub(super) fn flag(&mut self, name: &str, value: bool) {
        self.name(name);
        self.out.push_str(if value { "true" } else { "false" });
    }

    pub(super) fn nested(&mut self, name: &str, write: impl FnOnce(&mut Json)) {
        self.name(name);
        self.braced('{', '}', write);
    }

    pub(super) fn list(&mut self, name: &str, write: impl FnOnce(&mut Json)) {
        self.name(name);
        self.braced('[', ']', write);
    }

    pub(super) fn texts<'a>(&mut self, name: &str, values: impl IntoIterator<Item = &'a str>) {
        self.list(name, |json| {
            for value in values {
                json.separate();
                json.string(value);
            }
        });
    }

    /// One object inside a list.
    pub(super) fn item(&mut self, write: impl FnOnce(&mut Json)) {
        self.separate();
        self.braced('{', '}', write);
    }

    fn braced(&mut self, open: char, close: char, write: impl FnOnce(&mut Json)) {
        self.out.push(open);
        self.comma = false;
        write(self);
        self.out.push(close);
        self.comma = true;
    }

    fn name(&mut self, name: &str) {
        self.separate();
        self.string(name);
        self.out.push(':');
    }

    fn separate(&mut self) {
        if self.comma {
            self.out.push(',');
        }
        self.comma = true;
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        let bytes = text.as_bytes();
        let (mut plain, mut at) = (0, 0);
        // A plain loop over bytes: answers of half a megabyte are common, and tests run unoptimised.
        while at < bytes.len() {
            let Some((length, escape)) = escape(&bytes[at..]) else {
                at += 1;
                continue;
            };
            self.out.push_str(&text[plain..at]);
            self.out.push_str(&escape);
            at += length;
            plain = at;
        }
        self.out.push_str(&text[plain..]);
        self.out.push('"');
    }
}

/// The escape of the character these bytes begin with, and how many bytes that is; none for a plain one.
fn escape(bytes: &[u8]) -> Option<(usize, Cow<'static, str>)> {
    let short = match bytes[0] {
        b'"' => "\\\"",
        b'\\' => "\\\\",
        b'\n' => "\\n",
        b'\r' => "\\r",
        b'\t' => "\\t",
        0x08 => "\\b",
        0x0c => "\\f",
        byte @ (b'<' | b'>' | b'&' | b'=' | b'\'' | 0..0x20) => return Some((1, format!("\\u{byte:04x}").into())),
        // Line and paragraph separator, U+2028 and U+2029, which older JavaScript took for line ends.
        0xe2 if bytes.starts_with("\u{2028}".as_bytes()) => return Some((3, "\\u2028".into())),
        0xe2 if bytes.starts_with("\u{2029}".as_bytes()) => return Some((3, "\\u2029".into())),
        _ => return None,
    };
    Some((1, short.into()))
}
