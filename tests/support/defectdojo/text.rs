//! DefectDojo's habits with text and time: titles in title case, hashes without case, dates with microseconds.

use std::fmt::Write as _;

use jiff::Timestamp;
use ring::digest::{SHA256, digest};

/// What a finding is hashed over. Severity and unique id are not in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashed<'a> {
    pub(super) title: &'a str,
    pub(super) cwe: i64,
    pub(super) line: Option<i64>,
    pub(super) file_path: Option<&'a str>,
    pub(super) description: &'a str,
    pub(super) service: Option<&'a str>,
}

impl Hashed<'_> {
    /// Python's way: fields set end to end, an absent one as `None`, all in lower case.
    pub(super) fn code(&self) -> String {
        let line = self.line.map_or("None".to_owned(), |line| line.to_string());
        let path = self.file_path.unwrap_or("None");
        let (cwe, service) = (self.cwe, self.service.unwrap_or_default());
        let text = format!("{}{cwe}{line}{path}{}{service}", self.title, self.description).to_lowercase();
        let mut code = String::with_capacity(64);
        for byte in digest(&SHA256, text.trim().as_bytes()).as_ref() {
            write!(code, "{byte:02x}").expect("writing to a string cannot fail");
        }
        code
    }
}

/// The title as DefectDojo stores it: in title case, and cut at 511 characters.
pub(super) fn stored_title(title: &str) -> String {
    let words: Vec<&str> = title.split(' ').collect();
    let last = words.len().saturating_sub(1);
    let cased: Vec<String> = words.iter().enumerate().map(|(at, word)| cased(word, at == 0 || at == last)).collect();
    cased.join(" ").chars().take(TITLE_CHARACTERS_MAX).collect()
}

/// Words with a capital inside or with a dot or a slash stay; the small ones stay small unless they begin or end.
fn cased(word: &str, edge: bool) -> String {
    let bare = word.trim_matches(|one: char| !one.is_alphanumeric());
    if bare.chars().skip(1).any(char::is_uppercase) || bare.contains(['.', '/', '_', '@', '\\']) {
        return word.to_owned();
    }
    if !edge && SMALL_WORDS.contains(&bare.to_lowercase().as_str()) {
        return word.to_lowercase();
    }
    let mut begun = false;
    let upper = |one: char| {
        if begun || !one.is_alphanumeric() {
            return one.to_string();
        }
        begun = true;
        one.to_uppercase().collect()
    };
    word.chars().map(upper).collect()
}

const SMALL_WORDS: [&str; 17] =
    ["a", "an", "and", "as", "at", "but", "by", "en", "for", "if", "in", "of", "on", "or", "the", "to", "via"];
pub(super) const TITLE_CHARACTERS_MAX: usize = 511;

/// `2026-11-21T20:27:52.194174Z`; a whole second has no fraction.
pub(super) fn shown(at: Timestamp) -> String {
    let format = if at.subsec_microsecond() == 0 && at.subsec_millisecond() == 0 {
        "%Y-%m-%dT%H:%M:%SZ"
    } else {
        "%Y-%m-%dT%H:%M:%S.%6fZ"
    };
    at.strftime(format).to_string()
}

/// A date or a date-time of a row, taken to be of UTC when it names no zone.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    let utc = jiff::tz::TimeZone::UTC;
    text.parse::<Timestamp>()
        .ok()
        .or_else(|| text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(utc.clone()).ok().map(|one| one.timestamp()))
        .or_else(|| text.parse::<jiff::civil::Date>().ok()?.to_zoned(utc.clone()).ok().map(|one| one.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_title_cased() {
        assert_eq!(stored_title("use of a weak cipher"), "Use of a Weak Cipher");
        assert_eq!(stored_title("XML entities are read from files"), "XML Entities Are Read From Files");
        assert_eq!(stored_title("see config.yml (line 3)"), "See config.yml (Line 3)");
        assert_eq!(stored_title("what it is made of"), "What It Is Made Of");
    }
}
