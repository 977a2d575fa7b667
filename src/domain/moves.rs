//! The same finding under another key: Sonar turned its hotspots into issues.
//!
//! A hotspot that is gone and an issue that is new are one finding if rule and file are the same and so is their place.
//! Only pairs that are clear are made: where two could be meant, none is.

use std::collections::BTreeMap;

use super::finding::{Observed, TextRange};
use super::ids::{IssueKey, RuleKey};

/// What tells two findings of one rule and file apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Sonar's key.
    pub key: IssueKey,
    rule: Option<RuleKey>,
    path: Option<String>,
    line: Option<u32>,
    range: Option<TextRange>,
    message: String,
}

impl Sighting {
    /// Of a row.
    pub fn of(row: &Observed) -> Self {
        Self {
            key: row.key.clone(),
            rule: row.rule.clone(),
            path: row.path.clone(),
            line: row.line,
            range: row.range,
            message: row.message.clone(),
        }
    }
}

/// Pairs of keys, the former and the new one. Neither side is used twice.
pub fn pair(gone: Vec<Sighting>, fresh: Vec<Sighting>) -> Vec<(IssueKey, IssueKey)> {
    let mut places: BTreeMap<(RuleKey, String), (Vec<Sighting>, Vec<Sighting>)> = BTreeMap::new();
    for (side, sightings) in [gone, fresh].into_iter().enumerate() {
        for sighting in sightings {
            // Servers before 9.7 do not say a hotspot's rule: nothing to compare by.
            let (Some(rule), Some(path)) = (sighting.rule.clone(), sighting.path.clone()) else { continue };
            let place = places.entry((rule, path)).or_default();
            if side == 0 { place.0.push(sighting) } else { place.1.push(sighting) }
        }
    }
    let mut pairs = Vec::new();
    for (mut gone, mut fresh) in places.into_values() {
        // From the surest sign to the weakest; what a surer one has paired is not looked at again.
        let signs: [fn(&Sighting, &Sighting) -> bool; 3] = [
            |a, b| a.line == b.line && a.range == b.range && a.message == b.message,
            |a, b| a.line == b.line && a.range == b.range,
            |a, b| a.line == b.line,
        ];
        for same in signs {
            take_pairs(&mut gone, &mut fresh, same, &mut pairs);
        }
    }
    pairs
}

fn take_pairs(
    gone: &mut Vec<Sighting>,
    fresh: &mut Vec<Sighting>,
    same: fn(&Sighting, &Sighting) -> bool,
    pairs: &mut Vec<(IssueKey, IssueKey)>,
) {
    let alone = |one: &Sighting, others: &[Sighting]| others.iter().filter(|other| same(one, other)).count() == 1;
    let mut found = Vec::new();
    for one in gone.iter() {
        if !alone(one, fresh) {
            continue;
        }
        let Some(other) = fresh.iter().find(|other| same(one, other)) else { continue };
        if alone(other, gone) {
            found.push((one.key.clone(), other.key.clone()));
        }
    }
    gone.retain(|one| !found.iter().any(|(key, _)| *key == one.key));
    fresh.retain(|one| !found.iter().any(|(_, key)| *key == one.key));
    pairs.extend(found);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(key: &str, line: u32, message: &str) -> Sighting {
        Sighting {
            key: IssueKey::parse(key).unwrap(),
            rule: Some(RuleKey::parse("java:S1").unwrap()),
            path: Some("a.java".to_owned()),
            line: Some(line),
            range: None,
            message: message.to_owned(),
        }
    }

    fn pairs(gone: Vec<Sighting>, fresh: Vec<Sighting>) -> Vec<(String, String)> {
        let mut pairs: Vec<_> =
            pair(gone, fresh).into_iter().map(|(from, to)| (from.to_string(), to.to_string())).collect();
        pairs.sort();
        pairs
    }

    fn text(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
    }

    #[test]
    fn the_same_rule_file_and_line_are_the_same_finding() {
        let gone = vec![sighting("H1", 3, "a"), sighting("H2", 9, "b")];
        let fresh = vec![sighting("I1", 9, "reworded"), sighting("I2", 3, "a"), sighting("I3", 40, "a")];
        assert_eq!(pairs(gone, fresh), text(&[("H1", "I2"), ("H2", "I1")]));
    }

    #[test]
    fn two_on_one_line_are_told_apart_by_what_they_say_or_not_at_all() {
        let gone = vec![sighting("H1", 3, "a"), sighting("H2", 3, "b")];
        let fresh = vec![sighting("I1", 3, "b"), sighting("I2", 3, "a")];
        assert_eq!(pairs(gone.clone(), fresh), text(&[("H1", "I2"), ("H2", "I1")]));
        let alike = vec![sighting("I1", 3, "x"), sighting("I2", 3, "x")];
        assert_eq!(pairs(gone.clone(), alike), []);
        // What is left over of a clear pair is clear, too.
        let fresh = vec![sighting("I1", 3, "a"), sighting("I2", 3, "reworded")];
        assert_eq!(pairs(gone, fresh), text(&[("H1", "I1"), ("H2", "I2")]));
    }

    #[test]
    fn another_rule_or_file_or_none_is_no_sign() {
        let other_rule = Sighting { rule: Some(RuleKey::parse("java:S2").unwrap()), ..sighting("I1", 3, "a") };
        let other_file = Sighting { path: Some("b.java".to_owned()), ..sighting("I2", 3, "a") };
        let no_rule = Sighting { rule: None, ..sighting("I3", 3, "a") };
        assert_eq!(pairs(vec![sighting("H1", 3, "a")], vec![other_rule, other_file, no_rule]), []);
    }
}
