//! Prints for people: tables, times, numbers and colours. Text that comes from Sonar is cleaned here, so that
//! nothing it holds can steer a terminal.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use jiff::tz::TimeZone;

use super::client::Failure;
use crate::admin::shapes::SeverityCount;
use crate::domain::rule;
use crate::domain::time::Timestamp;

/// Where a command's answer goes. Everything a command prints passes through it, so that a reader who closes the
/// pipe ends the command quietly.
pub struct Output {
    /// Whether the answer is one JSON document.
    pub json: bool,
    writer: Box<dyn Write>,
    colour: bool,
    terminal: bool,
}

impl Output {
    /// The process's standard output.
    pub fn stdout(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { json, writer: Box::new(io::stdout().lock()), colour: terminal && !refused, terminal }
    }

    /// Anything else; never a terminal.
    pub fn to(writer: Box<dyn Write>, json: bool) -> Self {
        Self { json, writer, colour: false, terminal: false }
    }

    /// One line.
    pub fn line(&mut self, text: impl Display) -> Result<(), Failure> {
        writeln!(self.writer, "{text}").map_err(Failure::from_write)
    }

    /// A label and its value; nothing for an empty value. The value is cleaned.
    pub fn field(&mut self, label: &str, value: impl AsRef<str>) -> Result<(), Failure> {
        let value = value.as_ref();
        if value.is_empty() {
            return Ok(());
        }
        let label = format!("{label}:");
        self.line(format_args!("{label:<16}{}", clean(value)))
    }

    /// A document as the API gave it.
    pub fn document(&mut self, text: &str) -> Result<(), Failure> {
        self.line(text.trim_end())
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.writer.write_all(bytes).map_err(Failure::from_write)
    }

    /// A table; its last column may wrap on a terminal, and nothing wraps elsewhere.
    pub fn table(&mut self, mut table: Table) -> Result<(), Failure> {
        if self.terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        } else {
            table.force_no_tty();
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.line(table.trim_fmt())
    }

    /// Makes sure that all of it is out.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(Failure::from_write)
    }

    /// A table's cell in the colour of a severity, of a finding or of a condition.
    pub fn severity_cell(&self, severity: &str) -> Cell {
        self.coloured_cell(severity, colour_of(severity))
    }

    /// A cell, red on a terminal.
    pub fn alarm_cell(&self, text: &str) -> Cell {
        self.coloured_cell(text, Some(Color::Red))
    }

    /// A severity for a line of text, coloured on a terminal.
    pub fn severity(&self, severity: &str) -> String {
        let word = clean(severity);
        match colour_of(severity).filter(|_| self.colour).and_then(sgr) {
            Some(code) => format!("\u{1b}[{code}m{word}\u{1b}[0m"),
            None => word.into_owned(),
        }
    }

    fn coloured_cell(&self, text: &str, colour: Option<Color>) -> Cell {
        match colour.filter(|_| self.colour) {
            Some(colour) => cell(text).fg(colour),
            None => cell(text),
        }
    }
}

/// An empty table with a header row.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(|word| Cell::new(word.to_uppercase())));
    table
}

/// A cell of cleaned text; a dash stands for an empty one.
pub fn cell(text: impl AsRef<str>) -> Cell {
    match clean(text.as_ref()) {
        text if text.is_empty() => Cell::new("-"),
        text => Cell::new(text),
    }
}

/// A cell of a text that may be missing.
pub fn cell_of(text: Option<&str>) -> Cell {
    cell(text.unwrap_or_default())
}

/// The text without anything that could steer a terminal: line breaks and tabs become spaces, other control
/// characters and the marks that reverse the direction of text become a replacement character.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let replaced = |c| match c {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        c if steers(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    Cow::Owned(text.chars().map(replaced).collect())
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}')
        || matches!(c, '\u{2028}' | '\u{2029}')
}

/// The text, cut to so many characters with a mark at its end.
pub fn shortened(text: &str, characters_max: usize) -> String {
    let text = clean(text);
    if text.chars().count() <= characters_max {
        return text.into_owned();
    }
    let kept: String = text.chars().take(characters_max.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// `1,234,567`.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 project`, `2 projects`.
pub fn counted(value: u64, singular: &str) -> String {
    let ending = if value == 1 { "" } else { "s" };
    format!("{} {singular}{ending}", number(value))
}

/// `2026-11-21 14:03`, in UTC as the API gives it; what is no time stays as it is.
pub fn minute(text: &str) -> String {
    match Timestamp::parse(text).ok().and_then(|time| jiff::Timestamp::from_millisecond(time.0).ok()) {
        Some(time) => time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M").to_string(),
        None => clean(text).into_owned(),
    }
}

/// A minute and how long ago it was: `2026-11-21 14:03 (3 min ago)`.
pub fn minute_ago(text: &str, now: Timestamp) -> String {
    match Timestamp::parse(text) {
        Ok(time) => format!("{} ({})", minute(text), ago(time, now)),
        Err(_) => minute(text),
    }
}

/// `3 min ago`, or `in 3 min` for what is to come.
pub fn ago(time: Timestamp, now: Timestamp) -> String {
    let span = |seconds: u64| match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => counted(seconds / 86_400, "day"),
    };
    if time > now {
        format!("in {}", span(time.since(now).as_secs()))
    } else {
        format!("{} ago", span(now.since(time).as_secs()))
    }
}

/// The box's time.
pub fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// `2 critical, 5 high`; severities without any are left out.
pub fn severities(counts: &[SeverityCount]) -> String {
    let words: Vec<_> = counts
        .iter()
        .filter(|entry| entry.count > 0)
        .map(|entry| format!("{} {}", number(entry.count), clean(&entry.severity)))
        .collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// Sonar's HTML as plain text that cannot steer a terminal.
pub fn plain_text(html: &str) -> String {
    rule::plain_text(html).lines().map(clean).collect::<Vec<_>>().join("\n")
}

fn colour_of(severity: &str) -> Option<Color> {
    match severity {
        "critical" | "error" => Some(Color::Red),
        "high" => Some(Color::Magenta),
        "medium" | "warning" => Some(Color::Yellow),
        "low" => Some(Color::Cyan),
        _ => None,
    }
}

fn sgr(colour: Color) -> Option<u8> {
    match colour {
        Color::Red => Some(31),
        Color::Yellow => Some(33),
        Color::Magenta => Some(35),
        Color::Cyan => Some(36),
        _ => None,
    }
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mred\u{7}\u{9b}x"), "a\u{fffd}[31mred\u{fffd}\u{fffd}x");
        assert_eq!(clean("two\nlines\tand\u{202e}back"), "two lines and\u{fffd}back");
        assert!(matches!(clean("Zażółć 漢字"), Cow::Borrowed(_)));
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(counted(1, "project"), "1 project");
        assert_eq!(counted(0, "project"), "0 projects");
    }

    #[test]
    fn times_are_shortened_to_the_minute_in_utc() {
        assert_eq!(minute("2026-11-21T14:03:59Z"), "2026-11-21 14:03");
        assert_eq!(minute("2026-11-21T14:03:59+02:00"), "2026-11-21 12:03");
        assert_eq!(minute("never\u{1b}"), "never\u{fffd}");
    }

    #[test]
    fn spans_are_told_in_their_largest_unit() {
        let time = |second: i64| Timestamp(second * 1000);
        let cases = [
            (0, "0 s ago"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (7199, "1 h ago"),
            (86_400, "1 day ago"),
            (-120, "in 2 min"),
        ];
        for (seconds, text) in cases {
            assert_eq!(ago(time(1_000_000), time(1_000_000 + seconds)), text);
        }
    }

    #[test]
    fn a_long_text_is_cut_by_characters() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüß", 3), "äö…");
    }

    #[test]
    fn html_becomes_readable_lines() {
        let html =
            "<h2>Why</h2>\n<p>A &lt;b&gt; is <code>x &amp; y</code> if a < b.</p><ul><li>one</li><li>two</li></ul>";
        assert_eq!(plain_text(html), "Why\n\nA <b> is x & y if a < b.\n\n- one\n- two");
    }

    #[test]
    fn an_escape_hidden_in_an_entity_is_cleaned_too() {
        assert_eq!(plain_text("&#27;[2J&#x1b;&bogus; &#xFFFFFFFF;&"), "\u{fffd}[2J\u{fffd}&bogus; &#xFFFFFFFF;&");
        assert_eq!(plain_text("<p unclosed"), "<p unclosed");
        assert_eq!(plain_text("é<é>"), "é<é>");
    }

    #[test]
    fn a_table_elsewhere_than_on_a_terminal_has_no_colours_and_no_trailing_blanks() {
        let shared = Shared::default();
        let mut out = Output::to(Box::new(shared.clone()), false);
        let mut rows = table(&["severity", "title"]);
        rows.add_row([out.severity_cell("critical"), cell("SQL\u{1b}[31m")]);
        rows.add_row([out.severity_cell("low"), cell("")]);
        out.table(rows).unwrap();
        assert_eq!(shared.text(), "SEVERITY  TITLE\ncritical  SQL\u{fffd}[31m\nlow       -\n");
    }

    #[test]
    fn a_closed_pipe_is_told_from_other_failures() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut out = Output::to(Box::new(Closed), false);
        assert!(matches!(out.line("x"), Err(Failure::ReaderGone)));
    }

    #[derive(Clone, Default)]
    pub(in crate::cli) struct Shared(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

    impl Shared {
        pub(in crate::cli) fn text(&self) -> String {
            String::from_utf8(self.0.borrow().clone()).unwrap()
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
