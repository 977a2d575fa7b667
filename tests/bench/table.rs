//! The table of figures.

use std::time::Duration;

/// A measured quantity; it decides how figure and limit are written.
#[derive(Clone, Copy)]
pub(crate) enum Figure {
    /// Time.
    Time(Duration),
    /// Memory or disk.
    Bytes(u64),
    /// A plain number.
    Count(u64),
    /// So many a second.
    Rate(f64),
    /// So many of one thing for each of another.
    Ratio(f64),
}

impl Figure {
    #[allow(clippy::cast_precision_loss, reason = "for a ratio of two figures that a person reads")]
    fn size(self) -> f64 {
        match self {
            Self::Time(time) => time.as_secs_f64(),
            Self::Bytes(number) | Self::Count(number) => number as f64,
            Self::Rate(number) | Self::Ratio(number) => number,
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "for a figure that a person reads")]
    fn text(self) -> String {
        match self {
            Self::Time(time) if time < Duration::from_secs(10) => format!("{:.1} ms", time.as_secs_f64() * 1000.0),
            Self::Time(time) => format!("{:.1} s", time.as_secs_f64()),
            Self::Bytes(bytes) if bytes < 1024 * 1024 => format!("{:.1} KiB", bytes as f64 / 1024.0),
            Self::Bytes(bytes) => format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0),
            Self::Count(number) => number.to_string(),
            Self::Rate(number) => format!("{number:.0} /s"),
            Self::Ratio(number) => format!("{number:.4}"),
        }
    }
}

/// Rows, in the order in which they are shown.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<(String, Figure, Option<Bound>)>,
}

/// What a figure is held against.
#[derive(Clone, Copy)]
enum Bound {
    Most(Figure),
    Least(Figure),
}

impl Table {
    /// A figure that has a limit, which it must not exceed.
    pub(crate) fn limited(&mut self, what: &str, figure: Figure, limit: Figure) {
        eprintln!("  {what}: {}", figure.text());
        self.rows.push((what.to_owned(), figure, Some(Bound::Most(limit))));
    }

    /// A figure that is to be at least this.
    pub(crate) fn at_least(&mut self, what: &str, figure: Figure, least: Figure) {
        eprintln!("  {what}: {}", figure.text());
        self.rows.push((what.to_owned(), figure, Some(Bound::Least(least))));
    }

    /// Bytes that have a limit, where this user may learn them.
    pub(crate) fn limited_bytes(&mut self, what: &str, bytes: Option<u64>, limit: u64) {
        match bytes {
            Some(bytes) => self.limited(what, Figure::Bytes(bytes), Figure::Bytes(limit)),
            None => eprintln!("  {what}: only root may learn this"),
        }
    }

    /// A figure to know.
    pub(crate) fn noted(&mut self, what: &str, figure: Figure) {
        eprintln!("  {what}: {}", figure.text());
        self.rows.push((what.to_owned(), figure, None));
    }

    /// Prints all of it, and returns how many figures miss their limits.
    pub(crate) fn print(&self) -> usize {
        let width = self.rows.iter().map(|(what, ..)| what.chars().count()).max().unwrap_or_default();
        println!("{:width$}  {:>12}  {:>12}  of limit", "", "measured", "limit");
        let mut over = 0;
        for (what, figure, limit) in &self.rows {
            let (limit, is_over, word) = match *limit {
                None => {
                    println!("{what:width$}  {:>12}", figure.text());
                    continue;
                }
                Some(Bound::Most(limit)) => (limit, figure.size() > limit.size(), "OVER"),
                Some(Bound::Least(limit)) => (limit, figure.size() < limit.size(), "UNDER"),
            };
            over += usize::from(is_over);
            // Nothing has no parts.
            let part = figure.size() / limit.size();
            let part = if part.is_finite() { format!("{:.0} %", part * 100.0) } else { String::new() };
            let verdict = if is_over { word } else { "ok" };
            println!("{what:width$}  {:>12}  {:>12}  {part:>8}  {verdict}", figure.text(), limit.text());
        }
        over
    }
}
