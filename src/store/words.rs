//! The search index. Findings share most of their texts (a rule's name, a message, a path), so words lead to
//! texts and texts to findings: three entries a finding instead of one for each word.

use std::collections::BTreeSet;

use redb::ReadableTable;

use super::tables::{self, Key};
use super::touched::Rows;
use super::{Batch, StoreError, View, keys};
use crate::domain::finding::Observed;
use crate::domain::ids::{FindingId, RuleKey, SourceName};

/// Names a text: eight bytes of its hash. Two texts that share them share their findings in the index; a search
/// compares the words again, so nothing wrong is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text([u8; 8]);

fn text(kind: &str, parts: &[&str]) -> Text {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    for part in std::iter::once(&kind).chain(parts) {
        hash.update(part.as_bytes());
        hash.update(&[0]);
    }
    let mut short = [0; 8];
    short.copy_from_slice(&hash.finish().as_ref()[..8]);
    Text(short)
}

pub(super) fn rule_text(source: &SourceName, rule: &RuleKey) -> Text {
    text("rule", &[source.as_str(), rule.as_str()])
}

/// The texts of a finding, each with its words.
fn texts<'a>(source: &SourceName, observed: &'a Observed) -> impl Iterator<Item = (Text, &'a str)> {
    let rule = observed.rule.as_ref().map(|rule| (rule_text(source, rule), rule.as_str()));
    let message = Some((text("message", &[&observed.message]), observed.message.as_str()));
    let path = observed.path.as_deref().map(|path| (text("path", &[path]), path));
    [rule, message, path].into_iter().flatten()
}

/// The words of a text, in lower case: runs of letters and digits. Long texts count with their first words.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(WORDS_MAX)
        .map(|word| word.chars().take(WORD_CHARACTERS_MAX).flat_map(char::to_lowercase).collect())
}

const WORDS_MAX: usize = 64;
const WORD_CHARACTERS_MAX: usize = 32;

fn word_key(word: &str, text: Text) -> Key {
    Key::new().name(word).tail(&text.0)
}

fn finding_key(text: Text, finding: FindingId) -> Key {
    Key::new().tail(&text.0).u64(finding.0)
}

/// Both tables of the index, open for writing. Entries are gathered and written in the order of their keys: those of
/// one batch then share pages that each of them alone would have written.
pub(super) struct Index<'t> {
    words: Rows<'t>,
    texts: Rows<'t>,
    new_words: BTreeSet<Key>,
    new_texts: BTreeSet<(Text, FindingId)>,
}

impl<'t> Index<'t> {
    pub(super) fn open(batch: &'t Batch) -> Result<Self, StoreError> {
        Ok(Self {
            words: batch.rows(tables::WORDS)?,
            texts: batch.rows(tables::TEXTS)?,
            new_words: BTreeSet::new(),
            new_texts: BTreeSet::new(),
        })
    }

    /// Makes a text found by its words.
    pub(super) fn add(&mut self, text: Text, content: &str) {
        self.new_words.extend(words(content).map(|word| word_key(&word, text)));
    }

    /// Makes a finding found by its texts.
    pub(super) fn link(
        &mut self,
        source: &SourceName,
        finding: FindingId,
        observed: &Observed,
    ) -> Result<(), StoreError> {
        for (text, content) in texts(source, observed) {
            if self.is_unused(text)? {
                self.add(text, content);
            }
            self.new_texts.insert((text, finding));
        }
        Ok(())
    }

    /// Takes a finding's texts away, and their words with the last finding.
    pub(super) fn unlink(
        &mut self,
        source: &SourceName,
        finding: FindingId,
        observed: &Observed,
    ) -> Result<(), StoreError> {
        self.write()?;
        for (text, content) in texts(source, observed) {
            self.texts.remove(finding_key(text, finding).0.as_slice())?;
            if self.is_unused(text)? {
                for word in words(content) {
                    self.words.remove(word_key(&word, text).0.as_slice())?;
                }
            }
        }
        Ok(())
    }

    /// Writes what was gathered; the batch is not to be committed without it.
    pub(super) fn write(&mut self) -> Result<(), StoreError> {
        for key in std::mem::take(&mut self.new_words) {
            self.words.insert(key.0.as_slice(), &[][..])?;
        }
        for (text, finding) in std::mem::take(&mut self.new_texts) {
            self.texts.insert(finding_key(text, finding).0.as_slice(), &[][..])?;
        }
        Ok(())
    }

    fn is_unused(&self, text: Text) -> Result<bool, StoreError> {
        if self.new_texts.range((text, FindingId(0))..).next().is_some_and(|(first, _)| *first == text) {
            return Ok(false);
        }
        let first = self.texts.range::<&[u8]>(text.0.as_slice()..)?.next().transpose()?;
        Ok(first.is_none_or(|(key, _)| !key.value().starts_with(&text.0)))
    }
}

/// Findings with a word that begins like this one; nothing if there are more than `most`.
pub(super) fn findings(view: &impl View, beginning: &str, most: usize) -> Result<Option<Vec<FindingId>>, StoreError> {
    let mut found = Vec::new();
    let texts = keys(view, tables::WORDS, &Key::new().tail(beginning.as_bytes()), most + 1)?;
    if texts.len() > most {
        return Ok(None);
    }
    for key in &texts {
        let Some(text) = key.last_chunk::<8>() else { continue };
        let room = (most + 1).saturating_sub(found.len());
        let ids = keys(view, tables::TEXTS, &Key::new().tail(text), room)?;
        found.extend(ids.iter().filter_map(|key| tables::u64_at(key, 8)).map(FindingId));
        if found.len() > most {
            return Ok(None);
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_and_digits_in_lower_case() {
        let found: Vec<_> = words("src/Main.java: don't use MD5 (Größe)").collect();
        assert_eq!(found, ["src", "main", "java", "don", "t", "use", "md5", "größe"]);
        assert_eq!(words(&"w ".repeat(100)).count(), WORDS_MAX);
    }
}
