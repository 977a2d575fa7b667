//! Points in time, as numbers that are handed in; nothing here asks a clock.

use std::fmt;
use std::time::Duration;

use minicbor::{Decode, Encode};

/// Milliseconds since 1970-01-01T00:00:00Z. Printed as RFC 3339 in UTC, to the second as Sonar's dates are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Timestamp(#[n(0)] pub i64);

/// The text is not a date that Sonar or RFC 3339 would write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a date and time with an offset")]
pub struct BadTimestamp;

impl Timestamp {
    /// Reads Sonar's `2024-06-27T05:29:54+0200` and RFC 3339 alike.
    pub fn parse(text: &str) -> Result<Self, BadTimestamp> {
        jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%z", text)
            .and_then(|parsed| parsed.to_timestamp())
            .or_else(|_| text.parse::<jiff::Timestamp>())
            .map(|time| Self(time.as_millisecond()))
            .map_err(|_| BadTimestamp)
    }

    /// This time and a span more.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This time less a span.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long this time lies after another; zero if it does not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0.div_euclid(1000)) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => f.write_str("-"),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A time as HTTP's `Date` header writes it (RFC 9110, section 5.6.7).
pub fn http_date(text: &str) -> Option<Timestamp> {
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Some(Timestamp(date.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sonars_offset_without_a_colon_is_read() {
        let sonar = Timestamp::parse("2013-05-13T17:55:39+0200").unwrap();
        assert_eq!(sonar, Timestamp::parse("2013-05-13T15:55:39Z").unwrap());
        assert_eq!(sonar, Timestamp::parse("2013-05-13T11:55:39-04:00").unwrap());
        assert_eq!(sonar.to_string(), "2013-05-13T15:55:39Z");
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for bad in ["", "2013-05-13", "yesterday", "2013-13-13T17:55:39+0200", "2013-05-13T17:55:39"] {
            assert_eq!(Timestamp::parse(bad), Err(BadTimestamp), "{bad}");
        }
    }

    #[test]
    fn a_span_to_an_earlier_time_is_zero() {
        assert_eq!(Timestamp(5).since(Timestamp(7)), Duration::ZERO);
        assert_eq!(Timestamp(7).since(Timestamp(5)), Duration::from_millis(2));
    }
}
