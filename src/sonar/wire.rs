//! Reads Sonar's answers. Pure: bytes in, our words out.
//!
//! Sonar's answers differ by version and edition, so every member is optional here and one of an unexpected type
//! costs that member only. Two things are never forgiven, since a finding could be closed for them: a list that is
//! not there is no empty list, and a row that cannot be used is counted. Members that are not read, and what is beyond
//! the limits of an issue's flows, are never held in memory.

use std::io::{self, Read};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::domain::ids::{OrganizationKey, ProjectKey, RuleKey, ScopeName};
use crate::domain::limits::{
    FINDING_TEXT_BYTES_MAX, RULE_TEXT_BYTES_MAX, SONAR_ANSWER_TEXT_BYTES_MAX, SONAR_PAGED_ROWS_MAX,
};
use crate::domain::measure::{Bounds, Measure};
use crate::domain::rule::cwe_numbers;
use crate::domain::time::Timestamp;

use super::dialect::Mode;

mod findings;
mod lenient;
pub mod webhooks;

pub use findings::{FindingsPage, hotspot, hotspots, issues};
use lenient::{at_most, cut, flag, number, object, rows, text, time, word};

/// Why an answer could not be used.
#[derive(Debug, thiserror::Error)]
pub enum BadAnswer {
    /// It is not JSON, not of the expected shape, or could not be read to its end.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// It could not be read to its end.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is JSON, but without a member that makes it the answer to what was asked.
    #[error("it has no `{0}`")]
    Lacks(&'static str),
}

/// A page of projects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectsPage {
    /// Rows on the page, whether they can be used or not.
    pub rows: u64,
    /// What Sonar says the whole list has.
    pub total: u64,
    /// The projects.
    pub projects: Vec<Project>,
    /// Rows without a key that could be one.
    pub unusable: u64,
}

/// A project as the token sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Sonar's key.
    pub key: ProjectKey,
    /// Its display name; the key where it has none.
    pub name: String,
    /// The organization that the answer names; Cloud and old Servers.
    pub organization: Option<String>,
}

/// An organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Sonar's key.
    pub key: OrganizationKey,
    /// Its display name; the key where it has none.
    pub name: String,
}

/// A page of organizations of the older interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrganizationsPage {
    /// Rows on the page, whether they can be used or not.
    pub rows: u64,
    /// What Sonar says the whole list has.
    pub total: u64,
    /// The organizations.
    pub organizations: Vec<Organization>,
}

/// A branch of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Its name.
    pub name: ScopeName,
    /// Whether it is the main branch.
    pub main: bool,
    /// When it was last analysed; absent if never.
    pub analysed_at: Option<Timestamp>,
    /// The colour of its quality gate.
    pub quality_gate: Option<String>,
}

/// A pull request of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// Its key.
    pub key: ScopeName,
    /// Its title.
    pub title: String,
    /// The branch that it would merge.
    pub branch: Option<String>,
    /// The branch that it would merge into.
    pub base: Option<String>,
    /// When it was last analysed; absent if never.
    pub analysed_at: Option<Timestamp>,
    /// The colour of its quality gate.
    pub quality_gate: Option<String>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Sonar's key.
    pub key: RuleKey,
    /// Its title; the key where it has none.
    pub name: String,
    /// Sonar's HTML, cut. It may end inside a tag: whoever shows it has to clean it.
    pub description_html: String,
    /// The CWE numbers that its whole text names.
    pub cwe: Vec<u32>,
    /// The language's key, such as `java`.
    pub language: Option<String>,
}

/// `authentication/validate`. A bad token is answered 200 and `false`.
pub fn validation(answer: impl Read) -> Result<bool, BadAnswer> {
    #[derive(Deserialize)]
    struct Wire {
        valid: Option<bool>,
    }
    read::<Wire>(answer)?.valid.ok_or(BadAnswer::Lacks("valid"))
}

/// Cloud's `organizations/organizations`, a bare array. A row without a usable key is left out: it could not be
/// asked for anyway.
pub fn organizations(answer: impl Read) -> Result<Vec<Organization>, BadAnswer> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Wire {
        #[serde(deserialize_with = "rows")]
        organizations: Option<Vec<WireOrganization>>,
    }
    let rows = read::<Wire>(answer)?.organizations.ok_or(BadAnswer::Lacks("list"))?;
    Ok(rows.into_iter().filter_map(WireOrganization::read).collect())
}

/// The older `organizations/search`.
pub fn organizations_page(answer: impl Read) -> Result<OrganizationsPage, BadAnswer> {
    #[derive(Deserialize)]
    struct Wire {
        paging: Option<Paging>,
        #[serde(default, deserialize_with = "at_most::<_, _, SONAR_PAGED_ROWS_MAX>")]
        organizations: Option<Vec<WireOrganization>>,
    }
    let wire: Wire = read(answer)?;
    let rows = wire.organizations.ok_or(BadAnswer::Lacks("organizations"))?;
    Ok(OrganizationsPage {
        rows: rows.len() as u64,
        total: total(wire.paging.as_ref(), None)?,
        organizations: rows.into_iter().filter_map(WireOrganization::read).collect(),
    })
}

/// `components/search`, and `projects/search`, which has the same shape.
pub fn projects(answer: impl Read) -> Result<ProjectsPage, BadAnswer> {
    #[derive(Deserialize)]
    struct Wire {
        paging: Option<Paging>,
        #[serde(default, deserialize_with = "at_most::<_, _, SONAR_PAGED_ROWS_MAX>")]
        components: Option<Vec<Component>>,
    }
    let wire: Wire = read(answer)?;
    let components = wire.components.ok_or(BadAnswer::Lacks("components"))?;
    let rows = components.len() as u64;
    let mut unusable = 0;
    let mut projects = Vec::with_capacity(components.len());
    for component in components {
        if component.is_project() {
            match component.project() {
                Some(project) => projects.push(project),
                None => unusable += 1,
            }
        }
    }
    Ok(ProjectsPage { rows, total: total(wire.paging.as_ref(), None)?, projects, unusable })
}

/// `components/show`.
pub fn project(answer: impl Read) -> Result<Project, BadAnswer> {
    #[derive(Deserialize)]
    struct Wire {
        component: Option<Component>,
    }
    let component = read::<Wire>(answer)?.component.ok_or(BadAnswer::Lacks("component"))?;
    component.project().ok_or(BadAnswer::Lacks("component.key"))
}

/// `project_branches/list`. A branch whose name cannot be one is left out: it could never have been imported.
pub fn branches(answer: impl Read) -> Result<Vec<Branch>, BadAnswer> {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(default, deserialize_with = "rows")]
        branches: Option<Vec<WireBranch>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct WireBranch {
        #[serde(default, deserialize_with = "text")]
        name: Option<String>,
        #[serde(default, deserialize_with = "flag")]
        is_main: Option<bool>,
        #[serde(default, deserialize_with = "text")]
        analysis_date: Option<String>,
        #[serde(default, deserialize_with = "object")]
        status: Option<Gate>,
    }
    let rows = read::<Wire>(answer)?.branches.ok_or(BadAnswer::Lacks("branches"))?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            Some(Branch {
                name: ScopeName::parse(&row.name?).ok()?,
                main: row.is_main.unwrap_or(false),
                analysed_at: time(row.analysis_date.as_deref()),
                quality_gate: row.status.and_then(|status| word(status.quality_gate_status)),
            })
        })
        .collect())
}

/// `project_pull_requests/list`.
pub fn pull_requests(answer: impl Read) -> Result<Vec<PullRequest>, BadAnswer> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire {
        #[serde(default, deserialize_with = "rows")]
        pull_requests: Option<Vec<WirePullRequest>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct WirePullRequest {
        #[serde(default, deserialize_with = "text")]
        key: Option<String>,
        #[serde(default, deserialize_with = "text")]
        title: Option<String>,
        #[serde(default, deserialize_with = "text")]
        branch: Option<String>,
        #[serde(default, deserialize_with = "text")]
        base: Option<String>,
        #[serde(default, deserialize_with = "text")]
        analysis_date: Option<String>,
        #[serde(default, deserialize_with = "object")]
        status: Option<Gate>,
    }
    let rows = read::<Wire>(answer)?.pull_requests.ok_or(BadAnswer::Lacks("pullRequests"))?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            Some(PullRequest {
                key: ScopeName::parse(&row.key?).ok()?,
                title: cut(row.title.unwrap_or_default(), FINDING_TEXT_BYTES_MAX),
                branch: row.branch.map(|branch| cut(branch, FINDING_TEXT_BYTES_MAX)),
                base: row.base.map(|base| cut(base, FINDING_TEXT_BYTES_MAX)),
                analysed_at: time(row.analysis_date.as_deref()),
                quality_gate: row.status.and_then(|status| word(status.quality_gate_status)),
            })
        })
        .collect())
}

/// One analysis of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Analysis {
    /// When.
    pub date: Timestamp,
    /// The commit that was analysed; nothing where the scanner found no repository.
    pub revision: Option<String>,
}

/// `project_analyses/search`: those whose date can be read, in Sonar's order, newest first.
pub fn analyses(answer: impl Read) -> Result<Vec<Analysis>, BadAnswer> {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(default, deserialize_with = "rows")]
        analyses: Option<Vec<WireAnalysis>>,
    }
    #[derive(Deserialize)]
    struct WireAnalysis {
        #[serde(default, deserialize_with = "text")]
        date: Option<String>,
        #[serde(default, deserialize_with = "text")]
        revision: Option<String>,
    }
    let rows = read::<Wire>(answer)?.analyses.ok_or(BadAnswer::Lacks("analyses"))?;
    let analysis = |row: WireAnalysis| {
        let revision = row.revision.filter(|text| (1..=REVISION_BYTES_MAX).contains(&text.len()));
        Some(Analysis { date: time(row.date.as_deref())?, revision })
    };
    Ok(rows.into_iter().filter_map(analysis).collect())
}

/// What names a commit: 40 digits of Git, 64 of its newer form, a number of Subversion, and Sonar's column has 100.
const REVISION_BYTES_MAX: usize = 100;

/// `rules/show`, and the bare rule that old exports and `hotspots/show` hold. Where the text is depends on the
/// version: `htmlDesc` until 2025.1, `descriptionSections` since 9.5, three fields of their own for hotspots.
pub fn rule(answer: impl Read) -> Result<Rule, BadAnswer> {
    #[derive(Deserialize)]
    struct Wire {
        rule: Option<WireRule>,
        #[serde(flatten)]
        bare: WireRule,
    }
    let wire: Wire = read(answer)?;
    wire.rule.unwrap_or(wire.bare).read().ok_or(BadAnswer::Lacks("rule"))
}

/// `server/version`, a bare text such as `10.6.0.92116`. What is printed of it is shortened.
pub fn version(answer: impl Read) -> Result<String, BadAnswer> {
    let mut text = Vec::new();
    answer.take(VERSION_BYTES_MAX).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.trim().chars().filter(char::is_ascii_graphic).collect())
}

/// `v2/clean-code-policy/mode` of a Server from 10.8 on (`ModeService` in Sonar's own client).
pub fn mode(answer: impl Read) -> Result<Mode, BadAnswer> {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(default, deserialize_with = "text")]
        mode: Option<String>,
    }
    match read::<Wire>(answer)?.mode.as_deref() {
        Some("STANDARD_EXPERIENCE") => Ok(Mode::Standard),
        Some(_) => Ok(Mode::MultiQuality),
        None => Err(BadAnswer::Lacks("mode")),
    }
}

/// What Sonar says went wrong: `{"errors":[{"msg":…}]}`, or `{"message":…}` of the newer interface. Shortened, on
/// one line; nothing if the body is neither.
pub fn error_message(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(default)]
        errors: Option<Vec<Message>>,
        #[serde(default, deserialize_with = "text")]
        message: Option<String>,
    }
    #[derive(Deserialize)]
    struct Message {
        #[serde(default, deserialize_with = "text")]
        msg: Option<String>,
    }
    Measure::whole(ERROR_BOUNDS, body).ok()?;
    let wire: Wire = serde_json::from_slice(body).ok()?;
    let messages: Vec<String> = match (wire.errors, wire.message) {
        (Some(errors), _) => errors.into_iter().filter_map(|error| error.msg).collect(),
        (None, Some(message)) => vec![message],
        (None, None) => return None,
    };
    let line: String = messages.join("; ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Some(cut(line, ERROR_BYTES_MAX))
}

const ERROR_BYTES_MAX: usize = 300;
const ERROR_BOUNDS: Bounds = Bounds { values_max: 1000, text_bytes_max: SONAR_ANSWER_TEXT_BYTES_MAX };
const VERSION_BYTES_MAX: u64 = 100;
const WORD_BYTES_MAX: usize = 255;
const TAGS_MAX: usize = 100;
const ODD_WORDS_MAX: usize = 20;

fn read<T: DeserializeOwned>(answer: impl Read) -> Result<T, BadAnswer> {
    Ok(serde_json::from_reader(answer)?)
}

#[derive(Deserialize)]
struct Paging {
    #[serde(default, deserialize_with = "number")]
    total: Option<u64>,
}

/// Without a total nothing could be proven, so an answer without one is no answer.
fn total(paging: Option<&Paging>, beside: Option<u64>) -> Result<u64, BadAnswer> {
    paging.and_then(|paging| paging.total).or(beside).ok_or(BadAnswer::Lacks("paging.total"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Gate {
    #[serde(default, deserialize_with = "text")]
    quality_gate_status: Option<String>,
}

#[derive(Deserialize)]
struct WireOrganization {
    #[serde(default, deserialize_with = "text")]
    key: Option<String>,
    #[serde(default, deserialize_with = "text")]
    name: Option<String>,
}

impl WireOrganization {
    fn read(self) -> Option<Organization> {
        let key = OrganizationKey::parse(&self.key?).ok()?;
        Some(Organization { name: word(self.name).unwrap_or_else(|| key.to_string()), key })
    }
}

#[derive(Deserialize)]
struct Component {
    #[serde(default, deserialize_with = "text")]
    key: Option<String>,
    #[serde(default, deserialize_with = "text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "text")]
    organization: Option<String>,
    #[serde(default, deserialize_with = "text")]
    qualifier: Option<String>,
    #[serde(default, deserialize_with = "text")]
    path: Option<String>,
}

impl Component {
    fn is_project(&self) -> bool {
        self.qualifier.as_deref().is_none_or(|qualifier| qualifier == "TRK")
    }

    fn project(self) -> Option<Project> {
        let key = ProjectKey::parse(&self.key?).ok()?;
        let name = self.name.map(|name| cut(name, FINDING_TEXT_BYTES_MAX)).filter(|name| !name.is_empty());
        Some(Project { name: name.unwrap_or_else(|| key.to_string()), key, organization: word(self.organization) })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRule {
    #[serde(default, deserialize_with = "text")]
    key: Option<String>,
    #[serde(default, deserialize_with = "text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "text")]
    lang: Option<String>,
    #[serde(default, deserialize_with = "text")]
    html_desc: Option<String>,
    #[serde(default, deserialize_with = "rows")]
    description_sections: Option<Vec<Section>>,
    #[serde(default, deserialize_with = "text")]
    risk_description: Option<String>,
    #[serde(default, deserialize_with = "text")]
    vulnerability_description: Option<String>,
    #[serde(default, deserialize_with = "text")]
    fix_recommendations: Option<String>,
}

#[derive(Deserialize)]
struct Section {
    #[serde(default, deserialize_with = "text")]
    content: Option<String>,
}

impl WireRule {
    fn read(self) -> Option<Rule> {
        let key = RuleKey::parse(&self.key?).ok()?;
        let join = |parts: Vec<Option<String>>| -> String {
            let parts: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
            parts.join("\n")
        };
        let sections: Vec<_> =
            self.description_sections.unwrap_or_default().into_iter().map(|section| section.content).collect();
        let [html, sections, hotspot] = [
            self.html_desc.unwrap_or_default(),
            join(sections),
            join(vec![self.risk_description, self.vulnerability_description, self.fix_recommendations]),
        ];
        let mut cwe = [&html, &sections, &hotspot].map(|text| cwe_numbers(text)).concat();
        cwe.sort_unstable();
        cwe.dedup();
        let text = [html, sections, hotspot].into_iter().find(|text| !text.is_empty()).unwrap_or_default();
        let name = self.name.map(|name| cut(name, FINDING_TEXT_BYTES_MAX)).filter(|name| !name.is_empty());
        Some(Rule {
            name: name.unwrap_or_else(|| key.to_string()),
            key,
            description_html: cut(text, RULE_TEXT_BYTES_MAX),
            cwe,
            language: word(self.lang),
        })
    }
}

#[cfg(test)]
mod tests;
