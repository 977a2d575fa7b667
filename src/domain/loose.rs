//! JSON of others, of which little is read: a member of another type than it should have costs that member and not the
//! document, and what is not read takes no memory.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A value on its own.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Leaf<'d> {
    Text(Cow<'d, str>),
    Flag(bool),
    /// Whatever is neither, or is not there.
    #[default]
    Other,
}

impl Leaf<'_> {
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Flag(_) | Self::Other => None,
        }
    }
}

/// The members of an object, without what lies deeper; none of what is no object.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Object<'d>(Vec<(Cow<'d, str>, Leaf<'d>)>);

impl Object<'_> {
    /// Of a member that is there twice the last one counts.
    fn member(&self, name: &str) -> Option<&Leaf<'_>> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, leaf)| leaf)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.member(name)?.as_text()
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match self.member(name)? {
            Leaf::Flag(flag) => Some(*flag),
            Leaf::Text(_) | Leaf::Other => None,
        }
    }
}

/// Takes whatever comes; of an object its members, or nothing.
struct Any<const MEMBERS: bool>;

enum Found<'d> {
    Leaf(Leaf<'d>),
    Object(Object<'d>),
}

impl<'d, const MEMBERS: bool> Visitor<'d> for Any<MEMBERS> {
    type Value = Found<'d>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_borrowed_str<E>(self, text: &'d str) -> Result<Found<'d>, E> {
        Ok(Found::Leaf(Leaf::Text(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Found<'d>, E> {
        Ok(Found::Leaf(Leaf::Text(Cow::Owned(text.to_owned()))))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Found<'d>, E> {
        Ok(Found::Leaf(Leaf::Flag(flag)))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Found<'d>, E> {
        Ok(Found::Leaf(Leaf::Other))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Found<'d>, E> {
        Ok(Found::Leaf(Leaf::Other))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Found<'d>, E> {
        Ok(Found::Leaf(Leaf::Other))
    }

    fn visit_unit<E>(self) -> Result<Found<'d>, E> {
        Ok(Found::Leaf(Leaf::Other))
    }

    fn visit_seq<A: SeqAccess<'d>>(self, mut values: A) -> Result<Found<'d>, A::Error> {
        while values.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Found::Leaf(Leaf::Other))
    }

    fn visit_map<A: MapAccess<'d>>(self, mut members: A) -> Result<Found<'d>, A::Error> {
        if !MEMBERS {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Found::Leaf(Leaf::Other));
        }
        let mut found = Vec::new();
        while let Some(name) = members.next_key::<Leaf>()? {
            let leaf = members.next_value()?;
            if let Leaf::Text(name) = name {
                found.push((name, leaf));
            }
        }
        Ok(Found::Object(Object(found)))
    }
}

impl<'de: 'd, 'd> Deserialize<'de> for Leaf<'d> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(match from.deserialize_any(Any::<false>)? {
            Found::Leaf(leaf) => leaf,
            Found::Object(_) => Self::Other,
        })
    }
}

impl<'de: 'd, 'd> Deserialize<'de> for Object<'d> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(match from.deserialize_any(Any::<true>)? {
            Found::Object(object) => object,
            Found::Leaf(_) => Self(Vec::new()),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn whatever_a_member_is_the_others_are_read() {
        let object: Object = serde_json::from_str(
            r#"{"a": "text", "b": true, "c": null, "d": 1, "e": -1, "f": 1.5, "g": [1, {"a": 2}], "h": {"a": "deep"},
                "i": "a \u00e9", "a": "again"}"#,
        )
        .unwrap();
        assert_eq!(
            (object.text("a"), object.flag("b"), object.text("i")),
            (Some("again"), Some(true), Some("a \u{e9}"))
        );
        for name in ["b", "c", "d", "e", "f", "g", "h", "j"] {
            assert_eq!(object.text(name), None, "{name}");
        }
        assert_eq!((object.flag("a"), object.flag("c")), (None, None));
    }

    #[test]
    fn what_is_no_object_has_no_members() {
        for text in ["null", "1", "\"key\"", "[\"key\"]", "false", "-1.5", "{}"] {
            assert_eq!(serde_json::from_str::<Object>(text).unwrap(), Object(Vec::new()), "{text}");
        }
        assert!(serde_json::from_str::<Object>("{\"a\": [}").is_err());
    }
}
