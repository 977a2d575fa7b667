//! SonarQube's dates: whole seconds, in the server's zone, with an offset that has no colon (`+0200`).

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};

pub const DAY_SECONDS: i64 = 86_400;

/// The zone of the simulated server: a fixed distance from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    pub offset_seconds: i32,
}

impl Zone {
    /// `yyyy-MM-dd'T'HH:mm:ssZ`.
    pub fn show(self, at: i64) -> String {
        let timestamp = Timestamp::from_second(at).expect("dates of the simulation lie within the calendar");
        let local = self.offset().to_datetime(timestamp);
        let (sign, distance) =
            if self.offset_seconds < 0 { ('-', -self.offset_seconds) } else { ('+', self.offset_seconds) };
        let mut text = String::with_capacity(24);
        write!(
            text,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{sign}{:02}{:02}",
            local.year(),
            local.month(),
            local.day(),
            local.hour(),
            local.minute(),
            local.second(),
            distance / 3600,
            distance / 60 % 60,
        )
        .expect("writing to a string cannot fail");
        text
    }

    /// A date-time, or a date meaning its first second.
    pub fn parse_start(self, text: &str) -> Option<i64> {
        self.parse_day(text).or_else(|| parse_date_time(text))
    }

    /// A date-time, or a date meaning the first second of the day after: as an exclusive end it takes in the day.
    pub fn parse_end(self, text: &str) -> Option<i64> {
        self.parse_day(text).map(|day| day + DAY_SECONDS).or_else(|| parse_date_time(text))
    }

    /// The first second of the local day that holds `at`.
    pub fn day_start(self, at: i64) -> i64 {
        let offset = i64::from(self.offset_seconds);
        (at + offset).div_euclid(DAY_SECONDS) * DAY_SECONDS - offset
    }

    pub fn date(self, at: i64) -> Date {
        let timestamp = Timestamp::from_second(at).expect("dates of the simulation lie within the calendar");
        self.offset().to_datetime(timestamp).date()
    }

    pub fn at(self, date: Date) -> i64 {
        let midnight = date.to_zoned(TimeZone::fixed(self.offset())).expect("a fixed offset has every midnight");
        midnight.timestamp().as_second()
    }

    fn parse_day(self, text: &str) -> Option<i64> {
        if text.len() != "2024-01-31".len() {
            return None;
        }
        Date::strptime("%Y-%m-%d", text).ok().map(|date| self.at(date))
    }

    fn offset(self) -> Offset {
        Offset::from_seconds(self.offset_seconds).expect("a zone lies within a day of UTC")
    }
}

fn parse_date_time(text: &str) -> Option<i64> {
    // `+02:00` and fractions are refused by SonarQube, while the parser below would take some of them.
    if text.len() != "2024-01-31T10:20:30+0200".len() {
        return None;
    }
    let parts = jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%z", text).ok()?;
    parts.to_timestamp().ok().map(Timestamp::as_second)
}
