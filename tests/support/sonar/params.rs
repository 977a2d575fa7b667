//! Parameters, checked as strictly as SonarQube checks them, and stricter in one thing: it ignores names it does not
//! know, while here they are refused, so that a client's typing error shows.

use std::collections::HashMap;

use super::api::Answer;
use super::faults::Twist;

/// One parameter an endpoint takes.
pub(super) struct Param {
    name: &'static str,
    takes: Takes,
    required: bool,
}

enum Takes {
    Anything,
    OneOf(Vec<&'static str>),
    /// A comma-separated list of these words.
    SomeOf(Vec<&'static str>),
    Number,
    /// Exists in SonarQube, but is not simulated.
    Unsimulated,
}

pub(super) fn any(name: &'static str) -> Param {
    Param { name, takes: Takes::Anything, required: false }
}

pub(super) fn required(name: &'static str) -> Param {
    Param { name, takes: Takes::Anything, required: true }
}

pub(super) fn one_of(name: &'static str, words: &[&'static str]) -> Param {
    Param { name, takes: Takes::OneOf(words.to_vec()), required: false }
}

pub(super) fn some_of(name: &'static str, words: Vec<&'static str>) -> Param {
    Param { name, takes: Takes::SomeOf(words), required: false }
}

pub(super) fn yes_or_no(name: &'static str) -> Param {
    one_of(name, &["true", "false", "yes", "no"])
}

pub(super) fn unsimulated(name: &'static str) -> Param {
    Param { name, takes: Takes::Unsimulated, required: false }
}

/// `p` and `ps`.
pub(super) fn paging() -> [Param; 2] {
    ["p", "ps"].map(|name| Param { name, takes: Takes::Number, required: false })
}

impl Param {
    pub(super) fn must(self) -> Param {
        Param { required: true, ..self }
    }
}

/// The parameters of one request after every check. An empty value counts as absent.
pub(super) struct Given(HashMap<&'static str, String>);

impl Given {
    pub(super) fn check(table: &[Param], pairs: &[(String, String)]) -> Result<Given, Answer> {
        let mut given = HashMap::new();
        for (name, value) in pairs {
            let Some(param) = table.iter().find(|param| param.name == name) else {
                return Err(Answer::error(400, &format!("Simulation: this endpoint has no parameter '{name}'")));
            };
            param.check(value)?;
            if !value.is_empty() && given.insert(param.name, value.clone()).is_some() {
                return Err(Answer::error(400, &format!("Simulation: parameter '{name}' was given twice")));
            }
        }
        match table.iter().find(|param| param.required && !given.contains_key(param.name)) {
            Some(missing) => Err(Answer::error(400, &format!("The '{}' parameter is missing", missing.name))),
            None => Ok(Given(given)),
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A required parameter.
    pub(super) fn the(&self, name: &str) -> &str {
        self.text(name).expect("a required parameter was checked to be there")
    }

    pub(super) fn list(&self, name: &str) -> Option<Vec<&str>> {
        self.text(name).map(|text| text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect())
    }

    /// A list of words of a vocabulary, checked before.
    pub(super) fn words<T>(&self, name: &str, from_word: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
        self.list(name).map(|words| words.into_iter().filter_map(from_word).collect())
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.text(name).map(|text| text == "true" || text == "yes")
    }

    /// Everything but the page, in a fixed order: what a search's result depends on.
    pub(super) fn without_page(&self) -> String {
        let mut pairs: Vec<_> = self.0.iter().filter(|(name, _)| !["p", "ps"].contains(name)).collect();
        pairs.sort_unstable();
        format!("{pairs:?}")
    }

    /// The page asked for. SonarQube shows only the first 10,000 results, and 500 at a time.
    pub(super) fn page(&self, size_default: usize, size_max: Option<usize>) -> Result<Page, Answer> {
        let number = |name: &str| self.text(name).map(|text| text.parse::<usize>().expect("numbers were checked"));
        let page = Page { number: number("p").unwrap_or(1), size: number("ps").unwrap_or(size_default) };
        if let Some(max) = size_max.filter(|max| page.size > *max) {
            return Err(Answer::error(400, &format!("'ps' value ({}) must be less than {max}", page.size)));
        }
        for (name, value) in [("p", page.number), ("ps", page.size)] {
            if value == 0 {
                return Err(Answer::error(400, &format!("'{name}' value (0) must be greater than 0")));
            }
        }
        let last = page.number.saturating_mul(page.size);
        if last > WINDOW {
            let message = format!("Can return only the first {WINDOW} results. {last}th result asked.");
            return Err(Answer::error(400, &message));
        }
        Ok(page)
    }
}

impl Param {
    fn check(&self, value: &str) -> Result<(), Answer> {
        let refuse = |value: &str, words: &[&str]| {
            let words = words.join(", ");
            let message = format!("Value of parameter '{}' ({value}) must be one of: [{words}]", self.name);
            Err(Answer::error(400, &message))
        };
        match &self.takes {
            _ if value.is_empty() => Ok(()),
            Takes::Anything => Ok(()),
            Takes::Number if value.parse::<usize>().is_ok() => Ok(()),
            Takes::Number => {
                let message = format!("The '{}' parameter cannot be parsed as an integer value: {value}", self.name);
                Err(Answer::error(400, &message))
            }
            Takes::OneOf(words) if words.contains(&value) => Ok(()),
            Takes::OneOf(words) => refuse(value, words),
            Takes::SomeOf(words) => match value.split(',').map(str::trim).find(|word| !words.contains(word)) {
                Some(wrong) => refuse(wrong, words),
                None => Ok(()),
            },
            Takes::Unsimulated => {
                Err(Answer::error(501, &format!("Simulation: the parameter '{}' is not simulated", self.name)))
            }
        }
    }
}

/// The results a search will show, however they are paged.
pub(super) const WINDOW: usize = 10_000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    pub(super) number: usize,
    pub(super) size: usize,
}

impl Page {
    pub(super) fn of<T>(self, all: &[T]) -> &[T] {
        let start = ((self.number - 1) * self.size).min(all.len());
        &all[start..(start + self.size).min(all.len())]
    }

    /// The rows of this page and the count of all, as a twist has them.
    pub(super) fn twisted<T: Clone>(self, all: &[T], twist: Option<Twist>) -> (Vec<T>, usize) {
        let former = (self.number > 1).then(|| Page { number: self.number - 1, ..self });
        let (mut rows, count) = (self.of(all).to_vec(), all.len());
        match twist {
            Some(Twist::Empty | Twist::EmptyThroughout) => (Vec::new(), 0),
            Some(Twist::Undercount { by }) => (rows, count.saturating_sub(by)),
            Some(Twist::Shortened { by }) => {
                let count = count.saturating_sub(by);
                (self.of(&all[..count]).to_vec(), count)
            }
            Some(Twist::RowsMissing { rows: missing }) => {
                rows.truncate(rows.len().saturating_sub(missing));
                (rows, count)
            }
            Some(Twist::PageRepeated) => (former.map_or(rows, |former| former.of(all).to_vec()), count),
            Some(Twist::RowRepeated) => {
                if let (Some(row), Some(repeated)) = (rows.first_mut(), former.and_then(|former| former.of(all).last()))
                {
                    *row = repeated.clone();
                }
                (rows, count)
            }
            Some(Twist::FacetsEmpty | Twist::FacetsAbsent) | None => (rows, count),
        }
    }
}
