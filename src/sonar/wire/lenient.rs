//! Reading leniently: a member of an unexpected type costs that member and not the answer.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use super::{Component, WORD_BYTES_MAX};
use crate::domain::limits::{SONAR_ANSWER_ROWS_MAX, SONAR_PAGED_ROWS_MAX};
use crate::domain::time::Timestamp;

/// A list, of which no more is taken into memory than any list of Sonar's can have.
pub(super) fn rows<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    at_most::<D, T, SONAR_ANSWER_ROWS_MAX>(deserializer)
}

/// The same of so many at most.
pub(super) fn at_most<'de, D, T, const MOST: usize>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Rows<T, const MOST: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Rows<T, MOST> {
        type Value = Option<Vec<T>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut rows = Vec::new();
            while let Some(row) = list.next_element()? {
                if rows.len() == MOST {
                    return Err(de::Error::custom("a list has more rows than any of Sonar's"));
                }
                rows.push(row);
            }
            Ok(Some(rows))
        }
    }

    deserializer.deserialize_any(Rows::<T, MOST>(PhantomData))
}

/// The first entries of a list; the rest is read over, as are entries that are no objects. What is no list is empty.
pub(super) fn first_rows<'de, D, T, const MOST: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct First<T, const MOST: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for First<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("anything")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut first = Vec::new();
            while first.len() < MOST {
                match list.next_element::<Lenient<T>>()? {
                    Some(Lenient::Object(row)) => first.push(row),
                    Some(_) => {}
                    None => return Ok(first),
                }
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(first)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(Vec::new())
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }
    }

    deserializer.deserialize_any(First::<T, MOST>(PhantomData))
}

pub(super) fn time(text: Option<&str>) -> Option<Timestamp> {
    Timestamp::parse(text?).ok()
}

/// Empty words say nothing: Sonar writes `"author": ""`.
pub(super) fn word(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(|text| cut(text, WORD_BYTES_MAX))
}

/// At most so many bytes, ending with a whole character.
pub(super) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.shrink_to_fit();
    }
    text
}

/// An object, or the bare array of its rows, of which no more are taken than a page may have.
pub(super) enum BareOr<R, O> {
    Bare(Vec<R>),
    Object(O),
}

impl<'de, R: Deserialize<'de>, O: Deserialize<'de>> Deserialize<'de> for BareOr<R, O> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<R, O>(PhantomData<(R, O)>);
        impl<'de, R: Deserialize<'de>, O: Deserialize<'de>> Visitor<'de> for Either<R, O> {
            type Value = BareOr<R, O>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object or an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                let rows = at_most::<_, R, SONAR_PAGED_ROWS_MAX>(de::value::SeqAccessDeserializer::new(seq))?;
                Ok(BareOr::Bare(rows.unwrap_or_default()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                O::deserialize(de::value::MapAccessDeserializer::new(map)).map(BareOr::Object)
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

/// `hotspots/search` names component and project by key, `hotspots/show` holds them as objects.
#[derive(Default)]
pub(super) struct KeyOrObject {
    pub(super) key: Option<String>,
    pub(super) path: Option<String>,
}

impl<'de> Deserialize<'de> for KeyOrObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Lenient::<Component>::deserialize(deserializer)? {
            Lenient::Text(key) => Self { key: Some(key), path: None },
            Lenient::Object(component) => Self { key: component.key, path: component.path },
            _ => Self::default(),
        })
    }
}

/// A member that may be of a type nobody expects.
pub(super) enum Lenient<O> {
    Nothing,
    Text(String),
    Number(u64),
    Flag(bool),
    Object(O),
}

impl<'de, O: Deserialize<'de>> Deserialize<'de> for Lenient<O> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any<O>(PhantomData<O>);
        impl<'de, O: Deserialize<'de>> Visitor<'de> for Any<O> {
            type Value = Lenient<O>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Lenient::Text(text.to_owned()))
            }
            fn visit_string<E: de::Error>(self, text: String) -> Result<Self::Value, E> {
                Ok(Lenient::Text(text))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Lenient::Number(number))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(u64::try_from(number).map_or(Lenient::Nothing, Lenient::Number))
            }
            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Lenient::Nothing)
            }
            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Self::Value, E> {
                Ok(Lenient::Flag(flag))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Lenient::Nothing)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Lenient::Nothing)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                O::deserialize(de::value::MapAccessDeserializer::new(map)).map(Lenient::Object)
            }
        }
        deserializer.deserialize_any(Any(PhantomData))
    }
}

pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Lenient::<IgnoredAny>::deserialize(deserializer)? {
        Lenient::Text(text) => Some(text),
        Lenient::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(match Lenient::<IgnoredAny>::deserialize(deserializer)? {
        Lenient::Number(number) => Some(number),
        Lenient::Text(text) => text.parse().ok(),
        _ => None,
    })
}

pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    Ok(match Lenient::<IgnoredAny>::deserialize(deserializer)? {
        Lenient::Flag(flag) => Some(flag),
        Lenient::Text(text) => text.parse().ok(),
        _ => None,
    })
}

pub(super) fn object<'de, D: Deserializer<'de>, O: Deserialize<'de>>(deserializer: D) -> Result<Option<O>, D::Error> {
    Ok(match Lenient::<O>::deserialize(deserializer)? {
        Lenient::Object(object) => Some(object),
        _ => None,
    })
}
