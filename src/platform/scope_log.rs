//! A scope as it is told to platforms that take whole scopes: its findings as a SARIF log.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value, json};

use super::sarif::{Finding, Head, Log, Rule, Summary, Suppressions};
use super::{BadDestination, Findings, Trouble};
use crate::domain::destination::Destination;
use crate::domain::finding::SonarWords;
use crate::domain::fleet::Site;
use crate::domain::ids::RuleKey;
use crate::domain::message::{Message, Place, QUERY, RuleText};

/// Why a log was not written to its end.
#[derive(Debug)]
pub(super) enum Broken {
    /// It cannot be written.
    Write(io::Error),
    /// The findings cannot be told.
    Told(Trouble),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Writes the findings of a scope. Memory grows with its rules.
pub(super) fn write<W: Write>(
    out: W,
    place: &Place,
    (suppressions, repository_url): (Suppressions, Option<&str>),
    findings: &mut Findings<'_>,
) -> Result<(W, Summary), Broken> {
    let rules: RefCell<HashMap<String, Arc<RuleText>>> = RefCell::default();
    let rule = |_: &str, key: &str| {
        Ok::<_, Broken>(rules.borrow().get(key).map(|text| Rule {
            name: text.name.clone(),
            description: text.description.clone(),
            cwe: text.cwe.clone(),
            url: Some(rule_page(place, key)),
        }))
    };
    let analysed_at = place.analysed_at.map(|at| at.to_string());
    let mut log = Log::begin(out, suppressions, rule)?;
    let site = place.site.as_ref().map(Site::as_str);
    log.run(&Head {
        site,
        source: place.source.as_str(),
        organization: place.organization.as_str(),
        project: place.project.as_str(),
        branch: place.branch.as_str(),
        kind: place.scope_kind,
        revision: place.revision.as_deref(),
        analysed_at: analysed_at.as_deref(),
        repository_url: repository_url.or(place.repository.as_deref()),
    })?;
    for message in findings {
        let message = message.map_err(Broken::Told)?;
        if let Some(key) = &message.finding.observed.rule
            && !rules.borrow().contains_key(key.as_str())
        {
            rules.borrow_mut().insert(key.to_string(), Arc::clone(&message.rule));
        }
        result(&message, site, |finding| log.result(finding))?;
    }
    log.finish()
}

fn result<T>(message: &Message, site: Option<&str>, write: impl FnOnce(&Finding) -> T) -> T {
    let observed = &message.finding.observed;
    write(&Finding {
        id: &message.finding.id.to_string(),
        key: observed.key.as_str(),
        kind: observed.kind,
        rule: observed.rule.as_ref().map(RuleKey::as_str),
        message: &observed.message,
        severity: observed.severity,
        state: message.state,
        path: observed.path.as_deref(),
        line: observed.line,
        range: observed.range,
        flows: &observed.flows,
        cwe: &message.rule.cwe,
        line_hash: observed.sonar.hash.as_deref(),
        url: &message.url,
        sonar: &words(&observed.sonar),
        site,
    })
}

/// Those of Sonar's own words that a log tells.
fn words(words: &SonarWords) -> Value {
    let said = [
        ("type", &words.r#type),
        ("severity", &words.severity),
        ("status", &words.status),
        ("resolution", &words.resolution),
        ("issueStatus", &words.issue_status),
        ("vulnerabilityProbability", &words.vulnerability_probability),
        ("securityCategory", &words.security_category),
    ];
    let said = said.into_iter().filter_map(|(name, word)| Some((name.to_owned(), Value::from(word.as_deref()?))));
    let mut object: Map<_, _> = said.collect();
    let impact = |impact: &crate::domain::finding::Impact| json!({ "softwareQuality": impact.software_quality, "severity": impact.severity });
    object.insert("impacts".to_owned(), words.impacts.iter().map(impact).collect());
    object.insert("tags".to_owned(), words.tags.clone().into());
    object.into()
}

/// The page on which Sonar shows a rule.
fn rule_page(place: &Place, key: &str) -> String {
    let encode = |text: &str| utf8_percent_encode(text, QUERY).to_string();
    let (url, key) = (&place.source_url, encode(key));
    if place.cloud {
        let organization = encode(place.organization.as_str());
        return format!("{url}/organizations/{organization}/rules?open={key}&rule_key={key}");
    }
    format!("{url}/coding_rules?open={key}&rule_key={key}")
}

/// The option `suppressions`: `all` tells accepted findings and false positives as suppressed, `false-positives` only
/// the latter, `none` none of them.
pub(super) fn suppressions(destination: &Destination) -> Result<Suppressions, BadDestination> {
    match destination.option("suppressions") {
        None | Some("all") => Ok(Suppressions::All),
        Some("false-positives") => Ok(Suppressions::FalsePositives),
        Some("none") => Ok(Suppressions::Off),
        Some(other) => {
            Err(BadDestination(format!("the option suppressions is all, false-positives or none, not {other:?}")))
        }
    }
}
