//! The rules of a run: which were met while its results were written, and what is said of them afterwards.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Finding, Rule, TAGS_MAX, TEXT_CHARACTERS_MAX, cut, filled, result};
use crate::domain::finding::{Kind, Severity};
use crate::domain::rule::{markdown, plain_text};

/// The rules that were met.
#[derive(Debug, Default)]
pub(super) struct Rules {
    entries: Vec<Entry>,
    /// Places among the entries, by key and severity.
    places: HashMap<String, Vec<(Severity, usize)>>,
    weaknesses: BTreeSet<u32>,
}

#[derive(Debug)]
struct Entry {
    id: String,
    key: String,
    /// Whether Sonar says the rule, so that something is known of it.
    known: bool,
    severity: Severity,
    kind: Kind,
}

/// How a result names its rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Met<'r> {
    pub(super) id: &'r str,
    pub(super) index: usize,
}

impl Rules {
    /// The rule of a finding, as an entry for its severity.
    pub(super) fn meet(&mut self, finding: &Finding) -> Met<'_> {
        let key = filled(finding.rule).unwrap_or(match finding.kind {
            Kind::Vulnerability => "sonar:vulnerability",
            Kind::Hotspot => "sonar:hotspot",
        });
        let index = match self.places.get(key).and_then(|met| met.iter().find(|met| met.0 == finding.severity)) {
            Some(&(_, index)) => index,
            None => self.add(key, finding),
        };
        for &number in finding.cwe {
            self.weaknesses.insert(number);
        }
        Met { id: &self.entries[index].id, index }
    }

    fn add(&mut self, key: &str, finding: &Finding) -> usize {
        let index = self.entries.len();
        let met = self.places.entry(key.to_owned()).or_default();
        let id = if met.is_empty() { key.to_owned() } else { format!("{key}/{}", finding.severity) };
        met.push((finding.severity, index));
        let known = filled(finding.rule).is_some();
        self.entries.push(Entry { id, key: key.to_owned(), known, severity: finding.severity, kind: finding.kind });
        index
    }

    /// Writes `"tool":…`, and `"taxonomies":…` if any weakness is named.
    pub(super) fn write<E: From<io::Error>>(
        mut self,
        out: &mut impl Write,
        mut rule: impl FnMut(&str) -> Result<Option<Rule>, E>,
    ) -> Result<(), E> {
        out.write_all(b"\"tool\":{\"driver\":{\"name\":\"SonarQube\"")?;
        out.write_all(b",\"informationUri\":\"https://www.sonarsource.com/products/sonarqube/\",\"rules\":[")?;
        for (index, entry) in self.entries.iter().enumerate() {
            let known = if entry.known { rule(&entry.key)? } else { None };
            let known = known.unwrap_or_default();
            self.weaknesses.extend(&known.cwe);
            out.write_all(if index == 0 { b"\n" } else { b",\n" })?;
            serde_json::to_writer(&mut *out, &entry.descriptor(&known)).map_err(io::Error::from)?;
        }
        out.write_all(b"\n]")?;
        if self.weaknesses.is_empty() {
            out.write_all(b"}}")?;
            return Ok(());
        }
        out.write_all(b",\"supportedTaxonomies\":[{\"name\":\"CWE\",\"index\":0}]}}")?;
        let taxa: Vec<Value> = self.weaknesses.iter().map(|&number| taxon(number)).collect();
        let taxonomy = json!({
            "name": "CWE",
            "organization": "MITRE",
            "informationUri": "https://cwe.mitre.org/",
            "shortDescription": { "text": "The MITRE Common Weakness Enumeration" },
            "isComprehensive": false,
            "taxa": taxa,
        });
        write!(out, ",\"taxonomies\":[{taxonomy}]")?;
        Ok(())
    }
}

impl Entry {
    fn descriptor(&self, rule: &Rule) -> Value {
        let name = filled(rule.name.as_deref()).map_or_else(|| self.name(), str::to_owned);
        let html = rule.description.as_deref().unwrap_or_default();
        let text = Some(plain_text(html)).filter(|text| !text.trim().is_empty()).unwrap_or_else(|| name.clone());
        let mut help = json!({ "text": cut(&text, usize::MAX) });
        if let Some(markdown) = Some(markdown(html)).filter(|text| !text.trim().is_empty()) {
            help["markdown"] = cut(&markdown, usize::MAX).into();
        }
        let mut descriptor = json!({
            "id": self.id,
            "name": cut(&name, TEXT_CHARACTERS_MAX),
            "shortDescription": { "text": cut(&name, TEXT_CHARACTERS_MAX) },
            "fullDescription": { "text": cut(&text, TEXT_CHARACTERS_MAX) },
            "help": help,
            "defaultConfiguration": { "level": result::level(self.severity) },
            "properties": {
                "tags": self.tags(rule),
                "security-severity": score(self.severity),
                "precision": match self.kind { Kind::Vulnerability => "high", Kind::Hotspot => "medium" },
            },
        });
        if let Some(url) = filled(rule.url.as_deref()).and_then(result::uri) {
            descriptor["helpUri"] = url.into();
        }
        if !rule.cwe.is_empty() {
            let related = |&number: &u32| json!({ "target": weakness(number), "kinds": ["superset"] });
            descriptor["relationships"] = rule.cwe.iter().map(related).collect();
        }
        descriptor
    }

    /// What a rule is called of which nothing is known.
    fn name(&self) -> String {
        match (self.known, self.kind) {
            (true, _) => self.key.clone(),
            (false, Kind::Vulnerability) => "Vulnerability whose rule SonarQube does not say".to_owned(),
            (false, Kind::Hotspot) => "Security hotspot".to_owned(),
        }
    }

    fn tags(&self, rule: &Rule) -> Vec<String> {
        let mut tags = vec!["security".to_owned()];
        if self.kind == Kind::Hotspot {
            tags.push("hotspot".to_owned());
        }
        tags.extend(rule.cwe.iter().map(|number| format!("external/cwe/cwe-{number}")));
        tags.truncate(TAGS_MAX);
        tags
    }
}

/// GitHub reads it as a number: over 9 critical, from 7 high, from 4 medium, above 0 low.
fn score(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "10.0",
        Severity::High => "8.0",
        Severity::Medium => "5.0",
        Severity::Low => "2.0",
        Severity::Info => "0.0",
    }
}

/// Names a weakness of the run's one taxonomy.
pub(super) fn weakness(number: u32) -> Value {
    json!({ "id": format!("CWE-{number}"), "toolComponent": { "name": "CWE", "index": 0 } })
}

fn taxon(number: u32) -> Value {
    json!({
        "id": format!("CWE-{number}"),
        "helpUri": format!("https://cwe.mitre.org/data/definitions/{number}.html"),
    })
}
