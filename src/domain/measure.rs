//! How much a JSON text asks of whoever reads it. A few bytes on the wire can become hundreds in memory (`{},` a whole
//! row, `"",` a text), and nothing of that shows in their number. So what comes from outside is measured while it passes
//! by, before anything is made of it.

use std::fmt;

/// What a JSON text may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Values: members, entries, objects and lists together.
    pub values_max: usize,
    /// Bytes of one text, or of one number.
    pub text_bytes_max: usize,
}

/// Lists and objects within one another. What reads JSON here refuses the same.
const DEPTH_MAX: usize = 127;

/// What a JSON text holds more of than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// Values.
    #[error("holds more than {0} values")]
    Values(usize),
    /// Bytes in one text.
    #[error("holds a text of more than {0} bytes")]
    Text(usize),
    /// Lists in lists.
    #[error("is nested more than {DEPTH_MAX} deep")]
    Depth,
}

/// Measures a JSON text in whatever pieces it comes. Of what is no JSON it says nothing.
pub struct Measure {
    bounds: Bounds,
    values: usize,
    depth: usize,
    /// Of the text, number or word that the last byte belongs to.
    run: usize,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Between,
    Text,
    Escape,
}

impl fmt::Debug for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measure").field("values", &self.values).field("depth", &self.depth).finish_non_exhaustive()
    }
}

impl Measure {
    /// With nothing read yet.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, values: 0, depth: 0, run: 0, place: Place::Between }
    }

    /// Measures a whole text.
    ///
    /// # Errors
    /// If it holds too much.
    pub fn whole(bounds: Bounds, text: &[u8]) -> Result<(), TooMuch> {
        Self::new(bounds).take(text)
    }

    /// Measures the next piece.
    ///
    /// # Errors
    /// If the text holds too much by now.
    pub fn take(&mut self, piece: &[u8]) -> Result<(), TooMuch> {
        for &byte in piece {
            match (self.place, byte) {
                (Place::Escape, _) => self.stay(Place::Text)?,
                (Place::Text, b'\\') => self.stay(Place::Escape)?,
                (Place::Text, b'"') => self.leave(),
                (Place::Between, b'"') => (self.place, self.run) = (Place::Text, 0),
                (Place::Between, b',') => self.value()?,
                (Place::Between, b'[' | b'{') => {
                    self.value()?;
                    self.depth += 1;
                    if self.depth > DEPTH_MAX {
                        return Err(TooMuch::Depth);
                    }
                }
                (Place::Between, b']' | b'}') => {
                    self.depth = self.depth.saturating_sub(1);
                    self.run = 0;
                }
                (Place::Between, b':' | b' ' | b'\t' | b'\r' | b'\n') => self.run = 0,
                (place, _) => self.stay(place)?,
            }
        }
        Ok(())
    }

    fn leave(&mut self) {
        (self.place, self.run) = (Place::Between, 0);
    }

    fn stay(&mut self, place: Place) -> Result<(), TooMuch> {
        self.place = place;
        self.run += 1;
        if self.run > self.bounds.text_bytes_max {
            return Err(TooMuch::Text(self.bounds.text_bytes_max));
        }
        Ok(())
    }

    fn value(&mut self) -> Result<(), TooMuch> {
        self.run = 0;
        self.values += 1;
        if self.values > self.bounds.values_max {
            return Err(TooMuch::Values(self.bounds.values_max));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { values_max: 4, text_bytes_max: 5 };

    fn measured(text: &str) -> Result<(), TooMuch> {
        let whole = Measure::whole(BOUNDS, text.as_bytes());
        let mut pieces = Measure::new(BOUNDS);
        let piecewise = text.as_bytes().iter().try_for_each(|byte| pieces.take(&[*byte]));
        assert_eq!(whole, piecewise, "the pieces that it comes in do not matter: {text}");
        whole
    }

    #[test]
    fn values_are_counted_wherever_they_are() {
        assert_eq!(measured("[1,2,3,4]"), Ok(()));
        assert_eq!(measured("[1,2,3,4,5]"), Err(TooMuch::Values(4)));
        assert_eq!(measured("[{},{}]"), Ok(()));
        assert_eq!(measured("[{},{},{}]"), Err(TooMuch::Values(4)));
        assert_eq!(measured(r#"{"a":1,"b":2,"c":[]}"#), Ok(()));
    }

    #[test]
    fn what_stands_in_a_text_counts_for_nothing_else() {
        assert_eq!(measured(r#"[",,,,,"]"#), Ok(()));
        assert_eq!(measured(r#"["[[{{\""]"#), Err(TooMuch::Text(5)));
        assert_eq!(measured(r#"["\"\\",1]"#), Ok(()));
        assert_eq!(measured(r#"["\\",1,2,3,4]"#), Err(TooMuch::Values(4)));
    }

    #[test]
    fn a_text_or_a_number_has_a_length() {
        assert_eq!(measured(r#"["12345"]"#), Ok(()));
        assert_eq!(measured(r#"["123456"]"#), Err(TooMuch::Text(5)));
        assert_eq!(measured("[12345]"), Ok(()));
        assert_eq!(measured("[123456]"), Err(TooMuch::Text(5)));
        assert_eq!(measured("[123 456]"), Ok(()), "it is no JSON, and holds nothing long");
    }

    #[test]
    fn what_is_nested_too_deep_is_refused_and_never_followed() {
        let wide = Bounds { values_max: usize::MAX, text_bytes_max: 1 };
        assert_eq!(Measure::whole(wide, "[".repeat(DEPTH_MAX).as_bytes()), Ok(()));
        assert_eq!(Measure::whole(wide, "[".repeat(100_000).as_bytes()), Err(TooMuch::Depth));
        assert_eq!(Measure::whole(wide, "[]".repeat(100_000).as_bytes()), Ok(()));
        assert_eq!(Measure::whole(wide, b"]]]]]"), Ok(()));
    }

    proptest::proptest! {
        /// A text is measured the same in whatever pieces it comes, and what is let through is no more than was allowed.
        #[test]
        fn whatever_comes_no_more_is_let_through_than_is_allowed(
            bytes in proptest::collection::vec(proptest::sample::select(&b"[]{},:\"\\ ab1"[..]), 0..60),
        ) {
            let whole = Measure::whole(BOUNDS, &bytes);
            let mut pieces = Measure::new(BOUNDS);
            proptest::prop_assert_eq!(bytes.chunks(7).try_for_each(|piece| pieces.take(piece)), whole);
            if let (Ok(()), Ok(value)) = (whole, serde_json::from_slice::<serde_json::Value>(&bytes)) {
                proptest::prop_assert!(values(&value) <= 2 * BOUNDS.values_max + 1);
            }
        }
    }

    fn values(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::Array(all) => 1 + all.iter().map(values).sum::<usize>(),
            serde_json::Value::Object(all) => 1 + all.values().map(values).sum::<usize>(),
            _ => 1,
        }
    }
}
