//! Lines and bars, drawn on the server: SVG with all text outside it, so that nothing is distorted on a phone.

use maud::{Markup, html};

use super::words::{day, number};
use crate::admin::shapes::TrendDay;

/// The round values that a line lies between, and the step from one to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scale {
    low: u64,
    high: u64,
    step: u64,
}

impl Scale {
    /// Begins and ends at round values, with at most four steps between them.
    fn of(values: &[u64]) -> Self {
        let (least, most) =
            values.iter().fold((u64::MAX, 0), |(least, most), &value| (value.min(least), value.max(most)));
        let least = least.min(most);
        let mut step = 1;
        let mut factors = [2, 5, 10].iter().cycle();
        let mut decade = 1;
        loop {
            let (low, high) = (least / step * step, most.div_ceil(step) * step);
            if high - low <= STEPS_MAX * step {
                return Self { low, high: high.max(low + step), step };
            }
            let factor = factors.next().expect("a cycle does not end");
            step = decade * factor;
            if *factor == 10 {
                decade = step;
            }
        }
    }

    /// How far below the top a value is, in parts of a hundred.
    fn below_top(self, value: u64) -> f64 {
        share(self.high.saturating_sub(value), self.high - self.low) * 100.0
    }

    fn marks(self) -> impl Iterator<Item = u64> {
        (0..=(self.high - self.low) / self.step).map(move |step| self.high - step * self.step)
    }
}

const STEPS_MAX: u64 = 4;

#[allow(clippy::cast_precision_loss, reason = "places in a drawing")]
fn share(part: u64, of: u64) -> f64 {
    part as f64 / of.max(1) as f64
}

/// What is open, as a line that starts at a round value; under it what was opened and fixed on each day, and both as a
/// table.
pub(super) fn trend(days: &[TrendDay]) -> Markup {
    let (Some(first), Some(last)) = (days.first(), days.last()) else { return html! {} };
    let open: Vec<u64> = days.iter().map(|day| day.open.sum()).collect();
    let scale = Scale::of(&open);
    let points: Vec<String> =
        open.iter().enumerate().map(|(at, &value)| format!("{at},{:.1}", scale.below_top(value))).collect();
    let end = format!("{:.1}%", scale.below_top(last.open.sum()));
    html! {
        figure.chart {
            div.scale aria-hidden="true" { @for mark in scale.marks() { span { (number(mark)) } } }
            svg.plot role="img" aria-label=(sentence(first, last)) {
                @for mark in scale.marks() {
                    @let y = format!("{:.1}%", scale.below_top(mark));
                    line x1="0" x2="100%" y1=(y) y2=(y) {}
                }
                svg viewBox=(format!("0 0 {} 100", days.len() - 1)) preserveAspectRatio="none" {
                    polyline points=(points.join(" ")) {}
                }
                circle cx="100%" cy=(end) r="4" {}
            }
            (bars(days))
            div.ends.axis aria-hidden="true" {
                @for at in 0..4 { span { (day(&days[at * (days.len() - 1) / 4].day)) } }
                span { "today" }
            }
            figcaption.legend { span { "Open" } span.came { "Opened that day" } span.went { "Fixed that day" } }
            (table(days))
        }
    }
}

fn sentence(first: &TrendDay, last: &TrendDay) -> String {
    let (before, now) = (first.open.sum(), last.open.sum());
    let verb = match now.cmp(&before) {
        std::cmp::Ordering::Less => "fell",
        std::cmp::Ordering::Equal => return format!("{} findings are open, as on {}", number(now), day(&first.day)),
        std::cmp::Ordering::Greater => "rose",
    };
    format!("Open findings {verb} from {} on {} to {} today", number(before), day(&first.day), number(now))
}

fn bars(days: &[TrendDay]) -> Markup {
    let most = days.iter().map(|day| day.opened.sum().max(day.fixed.sum())).max().unwrap_or(0);
    let bar = |class: &str, x: String, value: u64| {
        let height = share(value, most) * 20.0;
        html! {
            @if value > 0 {
                rect class=(class) x=(x) y=(format!("{:.2}", 20.0 - height)) width=".34" height=(format!("{height:.2}")) {}
            }
        }
    };
    html! {
        svg.bars viewBox=(format!("0 0 {} 20", days.len())) preserveAspectRatio="none" role="img"
            aria-label="Opened and fixed on each day" {
            @for (at, day) in days.iter().enumerate() {
                (bar("came", format!("{at}.14"), day.opened.sum()))
                (bar("went", format!("{at}.52"), day.fixed.sum()))
            }
        }
    }
}

fn table(days: &[TrendDay]) -> Markup {
    html! {
        details {
            summary { "The last 7 days as a table" }
            table {
                thead { tr {
                    th scope="col" { "Day (UTC)" }
                    th.num scope="col" { "Open" }
                    th.num scope="col" { "Opened" }
                    th.num scope="col" { "Fixed" }
                } }
                tbody { @for one in days.iter().rev().take(7) {
                    tr {
                        th scope="row" { (day(&one.day)) }
                        td.num { (number(one.open.sum())) }
                        td.num { (number(one.opened.sum())) }
                        td.num { (number(one.fixed.sum())) }
                    }
                } }
            }
        }
    }
}

/// A little line on a scale of its own.
pub(super) fn spark(class: &str, values: &[u64]) -> Markup {
    let least = values.iter().min().copied().unwrap_or(0);
    let most = values.iter().max().copied().unwrap_or(0);
    let at = |value: u64| if most == least { 10.0 } else { share(most - value, most - least) * 20.0 };
    let points: Vec<String> =
        values.iter().enumerate().map(|(index, &value)| format!("{index},{:.1}", at(value))).collect();
    html! {
        @if values.len() > 1 {
            svg.{ "spark " (class) } viewBox=(format!("0 -2 {} 24", values.len() - 1)) preserveAspectRatio="none"
                aria-hidden="true" { polyline points=(points.join(" ")) {} }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::shapes::BySeverity;

    #[test]
    fn a_scale_begins_and_ends_at_round_values() {
        let of = |values: &[u64]| {
            let Scale { low, high, step } = Scale::of(values);
            (low, high, step)
        };
        assert_eq!(of(&[1284, 1355]), (1280, 1360, 20));
        assert_eq!(of(&[0]), (0, 1, 1));
        assert_eq!(of(&[7, 7]), (7, 8, 1));
        assert_eq!(of(&[0, 3]), (0, 3, 1));
        assert_eq!(of(&[0, 9]), (0, 10, 5));
        assert_eq!(of(&[12, 1_000_000]), (0, 1_000_000, 500_000));
        assert_eq!(of(&[]), (0, 1, 1));
    }

    #[test]
    fn every_value_lies_within_its_scale() {
        for least in [0, 1, 9, 10, 99, 1234, 999_999] {
            for more in [0, 1, 2, 5, 49, 100, 12_345] {
                let scale = Scale::of(&[least, least + more]);
                assert!(scale.low <= least && least + more <= scale.high, "{scale:?} of {least} and {more} more");
                assert!(scale.marks().count() <= 5, "{scale:?}");
                assert_eq!((scale.marks().next(), scale.marks().last()), (Some(scale.high), Some(scale.low)));
            }
        }
    }

    #[test]
    fn a_line_says_in_words_what_it_shows() {
        let on = |day: &str, open| TrendDay {
            day: day.to_owned(),
            open: BySeverity { low: open, ..BySeverity::default() },
            opened: BySeverity::default(),
            fixed: BySeverity::default(),
        };
        let said = |before, now| sentence(&on("2026-10-21", before), &on("2026-11-19", now));
        assert_eq!(said(1355, 1284), "Open findings fell from 1,355 on 21 Oct to 1,284 today");
        assert_eq!(said(1, 2), "Open findings rose from 1 on 21 Oct to 2 today");
        assert_eq!(said(5, 5), "5 findings are open, as on 21 Oct");
    }
}
