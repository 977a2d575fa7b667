//! Numbers and times as people read them.

use maud::{Markup, html};

use crate::domain::time::Timestamp;

/// A number with commas between its thousands.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A text with a capital letter at its beginning.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}

/// A text as a part of an address.
pub(super) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, crate::domain::message::QUERY).to_string()
}

/// A text as it goes on in the middle of a sentence; what is all capitals stays so.
pub(super) fn uncapital(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().collect::<String>() + letters.as_str()
        }
        _ => text.to_owned(),
    }
}

/// So many of something: `1 finding`, `2 findings`.
pub(super) fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", number(count), if count == 1 { "" } else { "s" })
}

/// A time as far from now as it is, with the whole of it for whoever looks closer. In UTC; a browser with script shows it
/// in the reader's zone.
pub(super) fn when(at: Timestamp, now: Timestamp) -> Markup {
    html! { time datetime=(at) title=(full(at)) { (ago(at, now)) } }
}

/// The same from a time as the API tells it; a dash where there is none.
pub(super) fn when_told(at: Option<&str>, now: Timestamp) -> Markup {
    let at = at.and_then(|at| Timestamp::parse(at).ok());
    at.map_or_else(|| html! { span.is.none { "never" } }, |at| when(at, now))
}

/// A clock time, in the reader's zone where there is script.
pub(super) fn clock_of(at: Timestamp) -> Markup {
    html! { time datetime=(at) data-form="clock" title=(full(at)) { (civil(at, "%H:%M")) } }
}

/// How long something is ago, without saying so: `48 min`, `2 h`, `3 days`.
pub(super) fn between(at: Timestamp, now: Timestamp) -> String {
    match now.since(at).as_secs() {
        0..60 => "less than a minute".to_owned(),
        seconds @ 60..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// A day such as `2026-11-19` as people write it: `19 Nov`.
pub(super) fn day(day: &str) -> String {
    Timestamp::parse(&format!("{day}T00:00:00Z")).map_or_else(|_| day.to_owned(), |at| civil(at, "%-d %b"))
}

/// A text with a capital letter at its beginning, unless it begins with something's name.
fn opening(text: &str) -> String {
    let first = text.split_whitespace().next().unwrap_or_default();
    if first.contains('/') { text.to_owned() } else { capital(text) }
}

/// A text as a sentence: with a capital letter, and a full stop at its end.
pub(super) fn sentence(text: &str) -> String {
    let text = opening(text.trim());
    if text.ends_with(['.', '!', '?', '…']) || text.is_empty() { text } else { format!("{text}.") }
}

/// A remedy, with its commands set as such: what is between backticks, or all of it where it is but a command.
pub(super) fn coded(text: &str) -> Markup {
    html! {
        @if text.starts_with("hydrophone ") && !text.contains(';') { code { (text) } } @else {
            @for (at, part) in text.split('`').enumerate() {
                @if at % 2 == 1 { code { (part) } } @else if at == 0 { (opening(part)) } @else { (part) }
            }
        }
    }
}

fn full(at: Timestamp) -> String {
    format!("{} (UTC)", civil(at, "%-d %b %Y, %H:%M:%S"))
}

fn civil(at: Timestamp, form: &str) -> String {
    let Ok(time) = jiff::Timestamp::from_millisecond(at.0) else { return "unknown".to_owned() };
    time.to_zoned(jiff::tz::TimeZone::UTC).strftime(form).to_string()
}

/// `2 min ago`, `5 h ago`, `yesterday 22:14`, `14 Nov`, `3 Mar 2025`.
fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(at).as_secs();
    let days = now.0.div_euclid(DAY) - at.0.div_euclid(DAY);
    match seconds {
        _ if at > now => civil(at, "%-d %b %Y, %H:%M"),
        0..60 => "just now".to_owned(),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 if days == 0 || seconds < 12 * 3600 => format!("{} h ago", seconds / 3600),
        _ if days == 1 => civil(at, "yesterday %H:%M"),
        _ if days < 300 => civil(at, "%-d %b"),
        _ => civil(at, "%-d %b %Y"),
    }
}

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_told_apart() {
        let shown = [0, 999, 1000, 12_345, 1_234_567].map(number);
        assert_eq!(shown, ["0", "999", "1,000", "12,345", "1,234,567"]);
        assert_eq!([counted(1, "finding"), counted(1284, "finding")], ["1 finding", "1,284 findings"]);
    }

    #[test]
    fn a_time_is_told_by_its_distance() {
        let now = Timestamp::parse("2026-11-19T10:42:07Z").unwrap();
        let shown = |text: &str| ago(Timestamp::parse(text).unwrap(), now);
        assert_eq!(shown("2026-11-19T10:42:00Z"), "just now");
        assert_eq!(shown("2026-11-19T10:40:07Z"), "2 min ago");
        assert_eq!(shown("2026-11-19T05:00:00Z"), "5 h ago");
        assert_eq!(shown("2026-11-18T22:14:00Z"), "yesterday 22:14");
        assert_eq!(shown("2026-11-14T01:00:00Z"), "14 Nov");
        assert_eq!(shown("2025-03-03T01:00:00Z"), "3 Mar 2025");
        assert_eq!(shown("2026-11-20T08:00:00Z"), "20 Nov 2026, 08:00");
    }
}
