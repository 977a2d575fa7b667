//! Findings: issues of either model, and hotspots, in our words.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use serde::Deserialize;

use super::lenient::{BareOr, KeyOrObject, at_most, cut, first_rows, number, object, rows, text, time, word};
use super::{BadAnswer, Component, ODD_WORDS_MAX, Paging, TAGS_MAX, WORD_BYTES_MAX, read, total};
use crate::domain::finding::{
    Flow, FlowStep, Impact, Kind, Observed, Severity, SonarWords, State, TextRange, hotspot_state, issue_state,
    severity,
};
use crate::domain::ids::{IssueKey, RuleKey};
use crate::domain::limits::{
    FINDING_TEXT_BYTES_MAX, FLOW_STEPS_MAX, FLOW_TEXT_BYTES_MAX, FLOWS_BYTES_MAX, FLOWS_MAX, SONAR_PAGED_ROWS_MAX,
};

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
    /// The counts that were asked for: what by, and how many of each value.
    pub facets: Vec<(String, Vec<(String, u64)>)>,
    /// The projects that the rows belong to, and how many rows each has.
    pub projects: BTreeMap<String, u64>,
    /// Words for states that this program does not know, each once. Their findings count as open.
    pub odd_words: Vec<String>,
}

impl FindingsPage {
    /// The values of a facet; nothing if the answer does not have it.
    pub fn facet(&self, name: &str) -> Option<&[(String, u64)]> {
        self.facets.iter().find(|(facet, _)| facet == name).map(|(_, values)| values.as_slice())
    }

    /// Issues by status, summed over some statuses; nothing if the answer has no such counts.
    pub fn by_status(&self, of: impl Fn(&str) -> bool) -> Option<u64> {
        let counts = self.facet("statuses")?.iter().filter(|(status, _)| of(status)).map(|(_, count)| count);
        // What nobody can have proves nothing, whatever it adds up to.
        counts.copied().try_fold(0_u64, u64::checked_add)
    }
}

/// `issues/search`. Old exports hold the bare array of issues; its length is then the total, and it has no counts
/// per status, so that it proves nothing.
pub fn issues(answer: impl Read) -> Result<FindingsPage, BadAnswer> {
    #[derive(Deserialize)]
    struct Wire {
        paging: Option<Paging>,
        #[serde(default, deserialize_with = "number")]
        total: Option<u64>,
        #[serde(default, deserialize_with = "at_most::<_, _, SONAR_PAGED_ROWS_MAX>")]
        issues: Option<Vec<WireIssue>>,
        #[serde(default, deserialize_with = "rows")]
        components: Option<Vec<Component>>,
        #[serde(default, deserialize_with = "rows")]
        facets: Option<Vec<Facet>>,
    }
    match read::<BareOr<WireIssue, Wire>>(answer)? {
        BareOr::Bare(rows) => Ok(page(rows.len() as u64, rows, &[], Vec::new())),
        BareOr::Object(wire) => {
            let rows = wire.issues.ok_or(BadAnswer::Lacks("issues"))?;
            let total = total(wire.paging.as_ref(), wire.total)?;
            let facets = wire.facets.unwrap_or_default().into_iter().filter_map(Facet::read).collect();
            Ok(page(total, rows, wire.components.as_deref().unwrap_or_default(), facets))
        }
    }
}

/// `hotspots/search`.
pub fn hotspots(answer: impl Read) -> Result<FindingsPage, BadAnswer> {
    #[derive(Deserialize)]
    struct Wire {
        paging: Option<Paging>,
        #[serde(default, deserialize_with = "at_most::<_, _, SONAR_PAGED_ROWS_MAX>")]
        hotspots: Option<Vec<WireHotspot>>,
        #[serde(default, deserialize_with = "rows")]
        components: Option<Vec<Component>>,
    }
    let wire: Wire = read(answer)?;
    let rows = wire.hotspots.ok_or(BadAnswer::Lacks("hotspots"))?;
    let total = total(wire.paging.as_ref(), None)?;
    Ok(page(total, rows, wire.components.as_deref().unwrap_or_default(), Vec::new()))
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

impl Facet {
    fn read(self) -> Option<(String, Vec<(String, u64)>)> {
        let values = self.values?.into_iter().filter_map(|value| Some((value.val?, value.count.unwrap_or(0))));
        Some((self.property?, values.collect()))
    }
}

/// A row of either list.
trait Row {
    fn odd_word(&self) -> Option<&str>;
    fn project(&self) -> Option<&str>;
    fn observed(self, paths: &HashMap<&str, Option<&str>>) -> Option<Observed>;
}

fn page<R: Row>(
    total: u64,
    rows: Vec<R>,
    components: &[Component],
    facets: Vec<(String, Vec<(String, u64)>)>,
) -> FindingsPage {
    let paths: HashMap<&str, Option<&str>> = components
        .iter()
        .filter_map(|component| Some((component.key.as_deref()?, component.path.as_deref())))
        .collect();
    let mut page = FindingsPage { rows: rows.len() as u64, total, facets, ..FindingsPage::default() };
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
        if let Some(project) = row.project() {
            if let Some(rows) = page.projects.get_mut(project) {
                *rows += 1;
            } else if page.projects.len() < PROJECTS_MAX {
                page.projects.insert(cut(project.to_owned(), FINDING_TEXT_BYTES_MAX), 1);
            }
        }
        match row.observed(&paths) {
            Some(observed) => page.findings.push(observed),
            None => page.unusable += 1,
        }
    }
    page
}

/// Projects that one page's rows are told apart by; a page of one scope has one.
const PROJECTS_MAX: usize = 100;

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
    #[serde(default, deserialize_with = "first_rows::<_, _, FLOWS_MAX>")]
    flows: Vec<WireFlow>,
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
struct WireFlow {
    #[serde(default, deserialize_with = "first_rows::<_, _, FLOW_STEPS_MAX>")]
    locations: Vec<WireStep>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireStep {
    /// Absent where the place is in the issue's own file.
    #[serde(default, deserialize_with = "text")]
    component: Option<String>,
    #[serde(default, deserialize_with = "object")]
    text_range: Option<WireRange>,
    #[serde(default, deserialize_with = "text")]
    msg: Option<String>,
}

/// The flows within their limits: places beyond the bytes that a finding may have for them are left out.
fn flows(wire: Vec<WireFlow>, issue: &Place, project: Option<&str>, paths: &HashMap<&str, Option<&str>>) -> Vec<Flow> {
    let mut left = FLOWS_BYTES_MAX;
    let mut flows = Vec::new();
    for flow in wire {
        let mut steps = Vec::new();
        for step in flow.locations {
            let other = step.component.filter(|component| Some(component) != issue.component.as_ref());
            let path = path(other.as_deref(), project, paths).map(|path| cut(path, FINDING_TEXT_BYTES_MAX));
            let message = cut(step.msg.unwrap_or_default(), FLOW_TEXT_BYTES_MAX);
            let bytes = message.len() + path.as_ref().map_or(0, String::len) + FLOW_STEP_BYTES;
            // A place in another file whose path is not told would be shown in the wrong one.
            if bytes > left || (other.is_some() && path.is_none()) {
                continue;
            }
            left -= bytes;
            let path = path.filter(|path| Some(path) != issue.path.as_ref());
            steps.push(FlowStep { path, range: step.text_range.and_then(|range| range.read()), message });
        }
        if !steps.is_empty() {
            flows.push(Flow(steps));
        }
    }
    flows
}

/// What a place takes beside its texts.
const FLOW_STEP_BYTES: usize = 16;

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
    fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

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
        let flows = flows(self.flows, &place, self.project.as_deref(), paths);
        let key = IssueKey::parse(&self.key?).ok()?;
        let issue = observed(key, Kind::Vulnerability, self.rule, self.message, (ours, state), place, dates, words);
        Some(Observed { flows, ..issue })
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
    fn project(&self) -> Option<&str> {
        self.project.key.as_deref()
    }

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
        flows: Vec::new(),
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
