//! What a team says of an asset beside its name: how much depends on it, and tags to find it by.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use super::limits::{ASSET_TAGS_MAX, TAG_CHARACTERS_MAX};

/// What it would mean for the business if something happened to an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Impact {
    /// Little.
    #[n(0)]
    Low,
    /// Something.
    #[n(1)]
    Medium,
    /// Much.
    #[n(2)]
    High,
}

impl Impact {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Medium, Self::High];

    /// The word in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl fmt::Display for Impact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The word names no impact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no business impact; they are: low, medium, high")]
pub struct BadImpact(String);

impl FromStr for Impact {
    type Err = BadImpact;
    fn from_str(text: &str) -> Result<Self, BadImpact> {
        Self::ALL.into_iter().find(|impact| impact.as_str() == text).ok_or_else(|| BadImpact(text.to_owned()))
    }
}

/// Why something cannot be an asset's tags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTags {
    /// One of them.
    #[error("{0:?} cannot be a tag: it has 1 to {TAG_CHARACTERS_MAX} characters, and no comma")]
    Tag(String),
    /// Too many.
    #[error("an asset has at most {ASSET_TAGS_MAX} tags")]
    Many,
}

/// Tags as they are kept: in order, each once, without blanks around them.
///
/// # Errors
/// If one of them cannot be a tag, or there are too many.
pub fn tags<'a>(given: impl IntoIterator<Item = &'a str>) -> Result<Vec<String>, BadTags> {
    let mut tags = Vec::new();
    for tag in given {
        let tag = tag.trim();
        let length = tag.chars().count();
        if !(1..=TAG_CHARACTERS_MAX).contains(&length) || tag.chars().any(|c| c.is_control() || c == ',') {
            return Err(BadTags::Tag(tag.to_owned()));
        }
        tags.push(tag.to_owned());
    }
    tags.sort_unstable();
    tags.dedup();
    if tags.len() > ASSET_TAGS_MAX { Err(BadTags::Many) } else { Ok(tags) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_kept_in_order_and_once() {
        assert_eq!(tags([" pci ", "internet", "pci"]), Ok(vec!["internet".to_owned(), "pci".to_owned()]));
        let long = "x".repeat(TAG_CHARACTERS_MAX);
        assert_eq!(tags([long.as_str()]).map(|tags| tags.len()), Ok(1));
        for bad in ["", " ", "a,b", "a\nb", &format!("{long}x")] {
            assert!(matches!(tags([bad]), Err(BadTags::Tag(_))), "{bad:?}");
        }
        let many: Vec<String> = (0..=ASSET_TAGS_MAX).map(|number| number.to_string()).collect();
        assert_eq!(tags(many.iter().map(String::as_str)), Err(BadTags::Many));
        assert!(tags(many[1..].iter().map(String::as_str)).is_ok());
    }

    #[test]
    fn an_impact_is_one_of_three_words() {
        assert!(Impact::ALL.iter().all(|impact| impact.as_str().parse() == Ok(*impact)));
        assert!("High".parse::<Impact>().is_err() && "".parse::<Impact>().is_err());
    }
}
