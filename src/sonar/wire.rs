//! Reads Sonar's answers. Pure: bytes in, our words out.
//!
//! Sonar's answers differ by version and edition, so every member is optional here and one of an unexpected type
//! costs that member only. Two things are never forgiven, since a finding could be closed for them: a list that is
//! not there is no empty list, and a row that cannot be used is counted. Members that are not read, such as an
//! issue's flows, are never held in memory.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read};
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use crate::domain::finding::{
    Impact, Kind, Observed, Severity, SonarWords, State, TextRange, hotspot_state, issue_state, severity,
};
use crate::domain::ids::{IssueKey, OrganizationKey, ProjectKey, RuleKey, ScopeName};
use crate::domain::limits::{FINDING_TEXT_BYTES_MAX, RULE_TEXT_BYTES_MAX, SONAR_ANSWER_ROWS_MAX};
use crate::domain::rule::cwe_numbers;
use crate::domain::time::Timestamp;

use super::dialect::Mode;

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

/// A page of findings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FindingsPage {
    /// Rows on the page, whether they can be used or not.
    pub rows: u64,
    /// What Sonar says the whole list has.
    pub total: u64,
    /// The rows in our words.
    pub findings: Vec<Observed>,
    /// Rows without a key that could be one. A crawl with any of them cannot add up.
    pub unusable: u64,
    /// The counts per status of everything that is not closed, summed; absent where the answer has none.
    pub facet_sum: Option<u64>,
    /// Words for states that this program does not know, each once. Their findings count as open.
    pub odd_words: Vec<String>,
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
    Ok(read::<Vec<WireOrganization>>(answer)?.into_iter().filter_map(WireOrganization::read).collect())
}

/// The older `organizations/search`.
pub fn organizations_page(answer: impl Read) -> Result<OrganizationsPage, BadAnswer> {
    #[derive(Deserialize)]
    struct Wire {
        paging: Option<Paging>,
        #[serde(default, deserialize_with = "rows")]
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
        #[serde(default, deserialize_with = "rows")]
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

/// `project_analyses/search`: the dates that can be read, in Sonar's order, newest first.
pub fn analyses(answer: impl Read) -> Result<Vec<Timestamp>, BadAnswer> {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(default, deserialize_with = "rows")]
        analyses: Option<Vec<Analysis>>,
    }
    #[derive(Deserialize)]
    struct Analysis {
        #[serde(default, deserialize_with = "text")]
        date: Option<String>,
    }
    let rows = read::<Wire>(answer)?.analyses.ok_or(BadAnswer::Lacks("analyses"))?;
    Ok(rows.iter().filter_map(|row| time(row.date.as_deref())).collect())
}

/// A list, of which no more is taken into memory than any list of Sonar's can have.
fn rows<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Rows<T>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Rows<T> {
        type Value = Option<Vec<T>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut rows = Vec::new();
            while let Some(row) = list.next_element()? {
                if rows.len() == SONAR_ANSWER_ROWS_MAX {
                    return Err(serde::de::Error::custom("a list has more rows than any of Sonar's"));
                }
                rows.push(row);
            }
            Ok(Some(rows))
        }
    }

    deserializer.deserialize_any(Rows(std::marker::PhantomData))
}

/// `issues/search`. Old exports hold the bare array of issues; its length is then the total, and it has no counts
/// per status, so that it proves nothing.
pub fn issues(answer: impl Read) -> Result<FindingsPage, BadAnswer> {
    #[derive(Deserialize)]
    struct Wire {
        paging: Option<Paging>,
        #[serde(default, deserialize_with = "number")]
        total: Option<u64>,
        #[serde(default, deserialize_with = "rows")]
        issues: Option<Vec<WireIssue>>,
        #[serde(default, deserialize_with = "rows")]
        components: Option<Vec<Component>>,
        #[serde(default, deserialize_with = "rows")]
        facets: Option<Vec<Facet>>,
    }
    match read::<BareOr<WireIssue, Wire>>(answer)? {
        BareOr::Bare(rows) => Ok(page(rows.len() as u64, rows, &[], None)),
        BareOr::Object(wire) => {
            let rows = wire.issues.ok_or(BadAnswer::Lacks("issues"))?;
            let total = total(wire.paging.as_ref(), wire.total)?;
            let facet_sum = wire.facets.as_deref().and_then(not_closed);
            Ok(page(total, rows, wire.components.as_deref().unwrap_or_default(), facet_sum))
        }
    }
}

/// `hotspots/search`.
pub fn hotspots(answer: impl Read) -> Result<FindingsPage, BadAnswer> {
    #[derive(Deserialize)]
    struct Wire {
        paging: Option<Paging>,
        #[serde(default, deserialize_with = "rows")]
        hotspots: Option<Vec<WireHotspot>>,
        #[serde(default, deserialize_with = "rows")]
        components: Option<Vec<Component>>,
    }
    let wire: Wire = read(answer)?;
    let rows = wire.hotspots.ok_or(BadAnswer::Lacks("hotspots"))?;
    let total = total(wire.paging.as_ref(), None)?;
    Ok(page(total, rows, wire.components.as_deref().unwrap_or_default(), None))
}

/// `hotspots/show`.
pub fn hotspot(answer: impl Read) -> Result<Observed, BadAnswer> {
    let row: WireHotspot = read(answer)?;
    if row.status.is_none() {
        // Without it the hotspot would count as open whatever became of it.
        return Err(BadAnswer::Lacks("status"));
    }
    row.observed(&HashMap::new()).ok_or(BadAnswer::Lacks("key"))
}

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
        let name = self.name.map(|name| cut(name, FINDING_TEXT_BYTES_MAX)).filter(|name| !name.is_empty());
        Some(Organization { name: name.unwrap_or_else(|| key.to_string()), key })
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
        Some(Project { name: name.unwrap_or_else(|| key.to_string()), key, organization: self.organization })
    }
}

#[derive(Deserialize)]
struct Facet {
    #[serde(default, deserialize_with = "text")]
    property: Option<String>,
    #[serde(default, deserialize_with = "rows")]
    values: Option<Vec<FacetValue>>,
}

#[derive(Deserialize)]
struct FacetValue {
    #[serde(default, deserialize_with = "text")]
    val: Option<String>,
    #[serde(default, deserialize_with = "number")]
    count: Option<u64>,
}

/// The facet ignores the filter by status that it belongs to, so CLOSED may be among its values.
fn not_closed(facets: &[Facet]) -> Option<u64> {
    let values = facets.iter().find(|facet| facet.property.as_deref() == Some("statuses"))?.values.as_ref()?;
    let counts = values
        .iter()
        .filter(|value| {
            matches!(value.val.as_deref(), Some("OPEN" | "CONFIRMED" | "REOPENED" | "RESOLVED" | "IN_SANDBOX"))
        })
        .map(|value| value.count.unwrap_or(0));
    Some(counts.sum())
}

/// A row of either list.
trait Row {
    fn odd_word(&self) -> Option<&str>;
    fn observed(self, paths: &HashMap<&str, Option<&str>>) -> Option<Observed>;
}

fn page<R: Row>(total: u64, rows: Vec<R>, components: &[Component], facet_sum: Option<u64>) -> FindingsPage {
    let paths: HashMap<&str, Option<&str>> = components
        .iter()
        .filter_map(|component| Some((component.key.as_deref()?, component.path.as_deref())))
        .collect();
    let mut page = FindingsPage { rows: rows.len() as u64, total, facet_sum, ..FindingsPage::default() };
    page.findings.reserve_exact(rows.len());
    for row in rows {
        if let Some(odd) = row.odd_word()
            && page.odd_words.len() < ODD_WORDS_MAX
        {
            let odd = cut(odd.to_owned(), WORD_BYTES_MAX);
            if !page.odd_words.contains(&odd) {
                page.odd_words.push(odd);
            }
        }
        match row.observed(&paths) {
            Some(observed) => page.findings.push(observed),
            None => page.unusable += 1,
        }
    }
    page
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireIssue {
    #[serde(default, deserialize_with = "text")]
    key: Option<String>,
    #[serde(default, deserialize_with = "text")]
    rule: Option<String>,
    #[serde(default, deserialize_with = "text")]
    component: Option<String>,
    #[serde(default, deserialize_with = "text")]
    project: Option<String>,
    #[serde(default, deserialize_with = "number")]
    line: Option<u64>,
    #[serde(default, deserialize_with = "object")]
    text_range: Option<WireRange>,
    #[serde(default, deserialize_with = "text")]
    message: Option<String>,
    #[serde(default, deserialize_with = "text")]
    creation_date: Option<String>,
    #[serde(default, deserialize_with = "text")]
    update_date: Option<String>,
    #[serde(default, deserialize_with = "text")]
    close_date: Option<String>,
    #[serde(default, deserialize_with = "text")]
    r#type: Option<String>,
    #[serde(default, deserialize_with = "text")]
    severity: Option<String>,
    #[serde(default, deserialize_with = "text")]
    status: Option<String>,
    #[serde(default, deserialize_with = "text")]
    resolution: Option<String>,
    #[serde(default, deserialize_with = "text")]
    issue_status: Option<String>,
    #[serde(default, deserialize_with = "rows")]
    impacts: Option<Vec<WireImpact>>,
    #[serde(default, deserialize_with = "rows")]
    tags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "text")]
    hash: Option<String>,
    #[serde(default, deserialize_with = "text")]
    assignee: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireImpact {
    #[serde(default, deserialize_with = "text")]
    software_quality: Option<String>,
    #[serde(default, deserialize_with = "text")]
    severity: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRange {
    #[serde(default, deserialize_with = "number")]
    start_line: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    end_line: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    start_offset: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    end_offset: Option<u64>,
}

impl WireRange {
    fn read(&self) -> Option<TextRange> {
        let small = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok());
        let start_line = small(self.start_line)?;
        Some(TextRange {
            start_line,
            end_line: small(self.end_line).unwrap_or(start_line),
            start_offset: small(self.start_offset).unwrap_or(0),
            end_offset: small(self.end_offset).unwrap_or(0),
        })
    }
}

impl Row for WireIssue {
    fn odd_word(&self) -> Option<&str> {
        match (self.issue_status.as_deref(), self.status.as_deref()) {
            (Some("OPEN" | "CONFIRMED" | "ACCEPTED" | "FALSE_POSITIVE" | "FIXED"), _)
            | (None, None | Some("OPEN" | "CONFIRMED" | "REOPENED" | "RESOLVED" | "CLOSED")) => None,
            (Some(odd), _) | (None, Some(odd)) => Some(odd),
        }
    }

    fn observed(self, paths: &HashMap<&str, Option<&str>>) -> Option<Observed> {
        let impacts = self.impacts.unwrap_or_default().into_iter().filter_map(|impact| {
            Some(Impact { software_quality: word(impact.software_quality)?, severity: word(impact.severity)? })
        });
        let tags = self.tags.unwrap_or_default().into_iter().take(TAGS_MAX);
        let words = SonarWords {
            r#type: word(self.r#type),
            severity: word(self.severity),
            status: word(self.status),
            resolution: word(self.resolution),
            issue_status: word(self.issue_status),
            impacts: impacts.collect(),
            tags: tags.map(|tag| cut(tag, WORD_BYTES_MAX)).collect(),
            hash: word(self.hash),
            assignee: word(self.assignee),
            ..SonarWords::default()
        };
        let place = Place {
            path: path(self.component.as_deref(), self.project.as_deref(), paths),
            component: self.component,
            line: self.line,
            range: self.text_range.and_then(|range| range.read()),
        };
        let dates = [self.creation_date, self.update_date, self.close_date];
        let (ours, state) = (severity(&words), issue_state(&words));
        let key = IssueKey::parse(&self.key?).ok()?;
        Some(observed(key, Kind::Vulnerability, self.rule, self.message, (ours, state), place, dates, words))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireHotspot {
    #[serde(default, deserialize_with = "text")]
    key: Option<String>,
    /// Since 9.7; earlier only in `hotspots/show`, there inside `rule`.
    #[serde(default, deserialize_with = "text")]
    rule_key: Option<String>,
    #[serde(default, deserialize_with = "object")]
    rule: Option<RuleOfHotspot>,
    #[serde(default)]
    component: KeyOrObject,
    #[serde(default)]
    project: KeyOrObject,
    #[serde(default, deserialize_with = "number")]
    line: Option<u64>,
    #[serde(default, deserialize_with = "object")]
    text_range: Option<WireRange>,
    #[serde(default, deserialize_with = "text")]
    message: Option<String>,
    #[serde(default, deserialize_with = "text")]
    creation_date: Option<String>,
    #[serde(default, deserialize_with = "text")]
    update_date: Option<String>,
    #[serde(default, deserialize_with = "text")]
    status: Option<String>,
    #[serde(default, deserialize_with = "text")]
    resolution: Option<String>,
    #[serde(default, deserialize_with = "text")]
    vulnerability_probability: Option<String>,
    #[serde(default, deserialize_with = "text")]
    security_category: Option<String>,
    #[serde(default, deserialize_with = "text")]
    hash: Option<String>,
    #[serde(default, deserialize_with = "text")]
    assignee: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleOfHotspot {
    #[serde(default, deserialize_with = "text")]
    key: Option<String>,
    #[serde(default, deserialize_with = "text")]
    vulnerability_probability: Option<String>,
    #[serde(default, deserialize_with = "text")]
    security_category: Option<String>,
}

impl Row for WireHotspot {
    fn odd_word(&self) -> Option<&str> {
        let resolution = self.resolution.as_deref();
        match self.status.as_deref() {
            None | Some("TO_REVIEW" | "REVIEWED" | "CLOSED") => {
                resolution.filter(|word| !matches!(*word, "FIXED" | "SAFE" | "ACKNOWLEDGED"))
            }
            odd => odd,
        }
    }

    fn observed(self, paths: &HashMap<&str, Option<&str>>) -> Option<Observed> {
        let rule =
            self.rule.unwrap_or(RuleOfHotspot { key: None, vulnerability_probability: None, security_category: None });
        let words = SonarWords {
            status: word(self.status),
            resolution: word(self.resolution),
            vulnerability_probability: word(self.vulnerability_probability.or(rule.vulnerability_probability)),
            security_category: word(self.security_category.or(rule.security_category)),
            hash: word(self.hash),
            assignee: word(self.assignee),
            ..SonarWords::default()
        };
        let from_list = path(self.component.key.as_deref(), self.project.key.as_deref(), paths);
        let place = Place {
            path: self.component.path.or(from_list),
            component: self.component.key,
            line: self.line,
            range: self.text_range.and_then(|range| range.read()),
        };
        let dates = [self.creation_date, self.update_date, None];
        let (ours, state) = (severity(&words), hotspot_state(&words));
        let rule = self.rule_key.or(rule.key);
        let key = IssueKey::parse(&self.key?).ok()?;
        Some(observed(key, Kind::Hotspot, rule, self.message, (ours, state), place, dates, words))
    }
}

struct Place {
    path: Option<String>,
    component: Option<String>,
    line: Option<u64>,
    range: Option<TextRange>,
}

#[expect(clippy::too_many_arguments, reason = "the parts of one row, gathered by the two kinds of rows")]
fn observed(
    key: IssueKey,
    kind: Kind,
    rule: Option<String>,
    message: Option<String>,
    (severity, state): (Severity, State),
    place: Place,
    [created, updated, closed]: [Option<String>; 3],
    mut words: SonarWords,
) -> Observed {
    words.component = place.component.map(|component| cut(component, FINDING_TEXT_BYTES_MAX));
    let line = place.line.and_then(|line| u32::try_from(line).ok()).filter(|&line| line > 0);
    Observed {
        key,
        kind,
        rule: rule.and_then(|rule| RuleKey::parse(&rule).ok()),
        message: cut(message.unwrap_or_default(), FINDING_TEXT_BYTES_MAX),
        severity,
        state,
        path: place.path.map(|path| cut(path, FINDING_TEXT_BYTES_MAX)).filter(|path| !path.is_empty()),
        line: line.or(place.range.map(|range| range.start_line).filter(|&line| line > 0)),
        range: place.range,
        created_at: time(created.as_deref()),
        updated_at: time(updated.as_deref()),
        closed_at: time(closed.as_deref()),
        sonar: words,
    }
}

/// The path that the answer gives the component, else what follows the project's key. A finding on the project
/// itself has none.
fn path(component: Option<&str>, project: Option<&str>, paths: &HashMap<&str, Option<&str>>) -> Option<String> {
    let component = component?;
    if let Some(Some(path)) = paths.get(component) {
        return Some((*path).to_owned());
    }
    let rest = component.strip_prefix(project?)?.strip_prefix(':')?;
    Some(rest.to_owned())
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

fn time(text: Option<&str>) -> Option<Timestamp> {
    Timestamp::parse(text?).ok()
}

/// Empty words say nothing: Sonar writes `"author": ""`.
fn word(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(|text| cut(text, WORD_BYTES_MAX))
}

/// At most so many bytes, ending with a whole character.
fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.shrink_to_fit();
    }
    text
}

/// An object, or the bare array of its rows.
enum BareOr<R, O> {
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
                Vec::deserialize(de::value::SeqAccessDeserializer::new(seq)).map(BareOr::Bare)
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
struct KeyOrObject {
    key: Option<String>,
    path: Option<String>,
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
enum Lenient<O> {
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

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Lenient::<IgnoredAny>::deserialize(deserializer)? {
        Lenient::Text(text) => Some(text),
        Lenient::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(match Lenient::<IgnoredAny>::deserialize(deserializer)? {
        Lenient::Number(number) => Some(number),
        Lenient::Text(text) => text.parse().ok(),
        _ => None,
    })
}

fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    Ok(match Lenient::<IgnoredAny>::deserialize(deserializer)? {
        Lenient::Flag(flag) => Some(flag),
        Lenient::Text(text) => text.parse().ok(),
        _ => None,
    })
}

fn object<'de, D: Deserializer<'de>, O: Deserialize<'de>>(deserializer: D) -> Result<Option<O>, D::Error> {
    Ok(match Lenient::<O>::deserialize(deserializer)? {
        Lenient::Object(object) => Some(object),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const ISSUE: &str = r#"{"key":"K1","rule":"java:S2076","component":"shop:src/Pay.java","project":"shop","line":12,
        "hash":"0a1b","textRange":{"startLine":12,"endLine":13,"startOffset":4,"endOffset":9},
        "flows":[{"locations":[{"component":"shop:src/Pay.java","msg":"from here"}]}],
        "message":"Do not build a \u0027command\u0027 from this.","author":"","tags":["cwe"],
        "creationDate":"2026-01-05T10:00:00+0100","updateDate":"2026-02-05T10:00:00+0100",
        "type":"VULNERABILITY","severity":"CRITICAL","status":"RESOLVED","resolution":"WONTFIX",
        "impacts":[{"softwareQuality":"SECURITY","severity":"HIGH"}],"issueStatus":"ACCEPTED","assignee":"ada"}"#;

    fn answer(issues: &str, rest: &str) -> String {
        format!(r#"{{"paging":{{"pageIndex":1,"pageSize":500,"total":7}},"issues":[{issues}]{rest}}}"#)
    }

    fn one(issue: &str) -> Observed {
        let page = issues(answer(issue, "").as_bytes()).unwrap();
        page.findings.into_iter().next().unwrap()
    }

    #[test]
    fn an_issue_is_read_whole() {
        let text = |text: &str| Some(text.to_owned());
        let expected = Observed {
            key: IssueKey::parse("K1").unwrap(),
            kind: Kind::Vulnerability,
            rule: Some(RuleKey::parse("java:S2076").unwrap()),
            message: "Do not build a 'command' from this.".to_owned(),
            severity: Severity::High,
            state: State::Accepted,
            path: text("lib/Pay.java"),
            line: Some(12),
            range: Some(TextRange { start_line: 12, end_line: 13, start_offset: 4, end_offset: 9 }),
            created_at: Some(Timestamp::parse("2026-01-05T09:00:00Z").unwrap()),
            updated_at: Some(Timestamp::parse("2026-02-05T09:00:00Z").unwrap()),
            closed_at: None,
            sonar: SonarWords {
                r#type: text("VULNERABILITY"),
                severity: text("CRITICAL"),
                status: text("RESOLVED"),
                resolution: text("WONTFIX"),
                issue_status: text("ACCEPTED"),
                impacts: vec![Impact { software_quality: "SECURITY".to_owned(), severity: "HIGH".to_owned() }],
                tags: vec!["cwe".to_owned()],
                hash: text("0a1b"),
                assignee: text("ada"),
                component: text("shop:src/Pay.java"),
                ..SonarWords::default()
            },
        };
        let components = r#","components":[{"key":"shop","qualifier":"TRK"},
            {"key":"shop:src/Pay.java","qualifier":"FIL","path":"lib/Pay.java"}]"#;
        let page = issues(answer(ISSUE, components).as_bytes()).unwrap();
        assert_eq!(page, FindingsPage { rows: 1, total: 7, findings: vec![expected], ..FindingsPage::default() });
    }

    #[test]
    fn a_path_comes_from_the_component_if_the_answer_does_not_say_it() {
        let at = |component: &str| one(&format!(r#"{{"key":"K","component":"{component}","project":"g:shop"}}"#)).path;
        assert_eq!(at("g:shop:src/a.c"), Some("src/a.c".to_owned()));
        assert_eq!(at("g:shop"), None);
        assert_eq!(at("g:shop:"), None);
        assert_eq!(at("g:shopping:src/a.c"), None);
        assert_eq!(at("odd.html"), None);
    }

    #[test]
    fn a_row_without_a_usable_key_is_counted() {
        let rows = r#"{"key":"K1"},{"message":"no key"},{"key":""},{"key":["K2"]},{"key":"two words"}"#;
        let page = issues(answer(rows, "").as_bytes()).unwrap();
        assert_eq!((page.rows, page.findings.len(), page.unusable), (5, 1, 4));
    }

    #[test]
    fn members_of_unexpected_types_cost_only_themselves() {
        let odd = one(r#"{"key":"K","line":"3","message":{"a":[1]},"textRange":[],"severity":null,"impacts":null,
            "component":false,"creationDate":17,"status":"OPEN"}"#);
        assert_eq!((odd.line, odd.message.as_str(), odd.range), (Some(3), "", None));
        assert_eq!((odd.created_at, odd.state), (None, State::Open));
    }

    #[test]
    fn an_answer_without_its_list_or_total_is_none() {
        let lacks = |answer: &str| issues(answer.as_bytes()).unwrap_err().to_string();
        assert_eq!(lacks(r#"{"paging":{"total":0}}"#), "it has no `issues`");
        assert_eq!(lacks(r#"{"paging":{"total":0},"issues":null}"#), "it has no `issues`");
        assert_eq!(lacks(r#"{"issues":[]}"#), "it has no `paging.total`");
        assert!(issues(&b"{\"total\":3,\"issues\":[]}"[..]).is_ok());
        assert!(hotspots(&b"{\"paging\":{\"total\":0}}"[..]).is_err());
        assert!(projects(&b"{\"errors\":[]}"[..]).is_err());
        assert!(branches(&b"{}"[..]).is_err());
        assert!(organizations(&b"{\"errors\":[]}"[..]).is_err());
        assert!(validation(&b"{}"[..]).is_err());
    }

    #[test]
    fn a_cut_answer_is_an_error_and_not_a_shorter_list() {
        let whole = answer(ISSUE, "");
        for length in 0..whole.len() {
            assert!(issues(&whole.as_bytes()[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn a_bare_array_of_issues_is_read() {
        let page = issues(format!("[{ISSUE}]").as_bytes()).unwrap();
        assert_eq!((page.rows, page.total, page.facet_sum), (1, 1, None));
    }

    #[test]
    fn the_facet_counts_what_is_not_closed() {
        let facets = r#","facets":[{"property":"types","values":[]},{"property":"statuses","values":[
            {"val":"OPEN","count":3},{"val":"CONFIRMED","count":1},{"val":"REOPENED","count":0},
            {"val":"RESOLVED","count":2},{"val":"CLOSED","count":99},{"val":"IN_SANDBOX","count":1}]}]"#;
        assert_eq!(issues(answer("", facets).as_bytes()).unwrap().facet_sum, Some(7));
        assert_eq!(issues(answer("", r#","facets":[]"#).as_bytes()).unwrap().facet_sum, None);
    }

    #[test]
    fn words_that_are_not_known_are_kept_and_told_once() {
        let rows = r#"{"key":"1","issueStatus":"IN_SANDBOX"},{"key":"2","issueStatus":"IN_SANDBOX"},
            {"key":"3","status":"NEW"},{"key":"4","issueStatus":"FIXED","status":"NEW"},{"key":"5"}"#;
        let page = issues(answer(rows, "").as_bytes()).unwrap();
        assert_eq!(page.odd_words, ["IN_SANDBOX", "NEW"]);
        assert_eq!(page.findings[0].state, State::Open);
        assert_eq!(page.findings[0].sonar.issue_status.as_deref(), Some("IN_SANDBOX"));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let message = "ä".repeat(FINDING_TEXT_BYTES_MAX);
        let issue = one(&format!(r#"{{"key":"K","message":"x{message}"}}"#));
        assert_eq!(issue.message.len(), FINDING_TEXT_BYTES_MAX - 1);
    }

    #[test]
    fn hotspots_of_both_answers_are_the_same_finding() {
        let listed = r#"{"paging":{"total":1},"hotspots":[{"key":"H1","component":"shop:a.py","project":"shop",
            "securityCategory":"auth","vulnerabilityProbability":"HIGH","status":"REVIEWED","resolution":"SAFE",
            "line":4,"message":"Review this.","ruleKey":"python:S2068","author":"",
            "creationDate":"2026-01-05T10:00:00+0000"}],"components":[{"key":"shop:a.py","path":"a.py"}]}"#;
        let shown = r#"{"key":"H1","component":{"key":"shop:a.py","path":"a.py"},"project":{"key":"shop"},
            "rule":{"key":"python:S2068","securityCategory":"auth","vulnerabilityProbability":"HIGH"},
            "status":"REVIEWED","resolution":"SAFE","line":4,"message":"Review this.",
            "creationDate":"2026-01-05T10:00:00+0000","comment":[],"canChangeStatus":true}"#;
        let listed = hotspots(listed.as_bytes()).unwrap();
        assert_eq!(listed.findings, [hotspot(shown.as_bytes()).unwrap()]);
        let hotspot = &listed.findings[0];
        assert_eq!(
            (hotspot.kind, hotspot.severity, hotspot.state),
            (Kind::Hotspot, Severity::High, State::FalsePositive)
        );
        assert_eq!(hotspot.path.as_deref(), Some("a.py"));
    }

    #[test]
    fn a_hotspot_of_an_old_server_has_no_rule() {
        let page =
            r#"{"paging":{"total":1},"hotspots":[{"key":"H1","component":"shop","project":"shop","status":"ODD"}]}"#;
        let page = hotspots(page.as_bytes()).unwrap();
        assert_eq!((&page.findings[0].rule, &page.findings[0].path), (&None, &None));
        assert_eq!(page.odd_words, ["ODD"]);
    }

    #[test]
    fn a_rule_is_read_wherever_its_text_is() {
        let sections = r#"{"rule":{"key":"java:S1","name":"No","lang":"java","descriptionSections":[
            {"key":"root_cause","content":"<p>CWE-89</p>"},
            {"key":"how_to_fix","content":"<p>Fix.</p>","context":{"key":"spring"}},{"key":"empty"}]},"actives":[]}"#;
        let expected = Rule {
            key: RuleKey::parse("java:S1").unwrap(),
            name: "No".to_owned(),
            description_html: "<p>CWE-89</p>\n<p>Fix.</p>".to_owned(),
            cwe: vec![89],
            language: Some("java".to_owned()),
        };
        assert_eq!(rule(sections.as_bytes()).unwrap(), expected);
        let html = r#"{"rule":{"key":"java:S1","name":"No","lang":"java","htmlDesc":"<p>CWE-89</p>\n<p>Fix.</p>"}}"#;
        assert_eq!(rule(html.as_bytes()).unwrap(), expected);
        let bare = r#"{"key":"java:S1","riskDescription":"Risk","fixRecommendations":"see CWE-798"}"#;
        let bare = rule(bare.as_bytes()).unwrap();
        assert_eq!((bare.name.as_str(), bare.description_html.as_str()), ("java:S1", "Risk\nsee CWE-798"));
        assert_eq!(bare.cwe, [798]);
        assert!(rule(&b"{\"rule\":{}}"[..]).is_err());
    }

    #[test]
    fn numbers_past_the_cut_of_a_rules_text_are_found() {
        let long = format!(r#"{{"rule":{{"key":"a:b","htmlDesc":"{}CWE-22"}}}}"#, "x".repeat(RULE_TEXT_BYTES_MAX));
        let rule = rule(long.as_bytes()).unwrap();
        assert_eq!((rule.description_html.len(), rule.cwe), (RULE_TEXT_BYTES_MAX, vec![22]));
    }

    #[test]
    fn branches_and_pull_requests_are_read() {
        let list = r#"{"branches":[{"name":"main","isMain":true,"type":"LONG","status":{"qualityGateStatus":"OK"},
            "analysisDate":"2026-01-05T10:00:00+0100"},{"name":"new","isMain":false},{"isMain":false}]}"#;
        let list = branches(list.as_bytes()).unwrap();
        let main = Branch {
            name: ScopeName::parse("main").unwrap(),
            main: true,
            analysed_at: Some(Timestamp::parse("2026-01-05T09:00:00Z").unwrap()),
            quality_gate: Some("OK".to_owned()),
        };
        assert_eq!(list[0], main);
        assert_eq!((list.len(), list[1].analysed_at, list[1].main), (2, None, false));
        let requests = r#"{"pullRequests":[{"key":7,"title":"T","branch":"b","base":"main"}]}"#;
        let requests = pull_requests(requests.as_bytes()).unwrap();
        assert_eq!((requests[0].key.as_str(), requests[0].base.as_deref()), ("7", Some("main")));
    }

    #[test]
    fn projects_leave_out_what_is_none() {
        let list = r#"{"paging":{"total":4},"components":[{"key":"shop","name":"Shop","qualifier":"TRK",
            "organization":"acme"},{"key":"app","qualifier":"APP"},{"name":"no key"},{"key":"bare"}]}"#;
        let page = projects(list.as_bytes()).unwrap();
        assert_eq!((page.rows, page.total, page.unusable), (4, 4, 1));
        let names: Vec<_> = page.projects.iter().map(|project| project.name.as_str()).collect();
        assert_eq!(names, ["Shop", "bare"]);
        assert_eq!(page.projects[0].organization.as_deref(), Some("acme"));
    }

    #[test]
    fn small_answers_are_read() {
        assert!(!validation(&b"{\"valid\":false}"[..]).unwrap());
        let list = organizations(&br#"[{"id":"1","key":"acme","name":"Acme","uuidV4":"u"},{"id":"2"}]"#[..]).unwrap();
        assert_eq!(list, [Organization { key: OrganizationKey::parse("acme").unwrap(), name: "Acme".to_owned() }]);
        let page = organizations_page(&br#"{"paging":{"total":1},"organizations":[{"key":"acme"}]}"#[..]).unwrap();
        assert_eq!((page.rows, page.total, page.organizations[0].name.as_str()), (1, 1, "acme"));
        assert_eq!(mode(&br#"{"mode":"STANDARD_EXPERIENCE","modified":false}"#[..]).unwrap(), Mode::Standard);
        assert_eq!(version(&b" 10.6.0.92116\n"[..]).unwrap(), "10.6.0.92116");
        assert_eq!(mode(&br#"{"mode":"MQR"}"#[..]).unwrap(), Mode::MultiQuality);
        let dates = analyses(&br#"{"analyses":[{"key":"A","date":"2026-01-05T10:00:00+0100"},{"key":"B"}]}"#[..]);
        assert_eq!(dates.unwrap(), [Timestamp::parse("2026-01-05T09:00:00Z").unwrap()]);
    }

    #[test]
    fn an_error_is_put_on_one_short_line() {
        let message = |body: &str| error_message(body.as_bytes());
        assert_eq!(
            message(r#"{"errors":[{"msg":"The \u0027key\u0027 is\nmissing"},{"msg":"And more"}]}"#).as_deref(),
            Some("The 'key' is missing; And more")
        );
        assert_eq!(message(r#"{"message":"Not Found"}"#).as_deref(), Some("Not Found"));
        assert_eq!(message(&format!(r#"{{"message":"{}"}}"#, "x".repeat(1000))).unwrap().len(), 300);
        for none in ["", "{}", "<html>", "[]", "nginx"] {
            assert_eq!(message(none), None, "{none}");
        }
    }
}
