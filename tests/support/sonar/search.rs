//! `api/issues/search`: filters, facets, order and pages over the issues of the model.
//!
//! Filtering 100,000 issues takes a while, so the last results are kept until the model changes: the pages after the
//! first cost only their own rendering.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::api::{Answer, Asked, Outcome};
use super::dates::DAY_SECONDS;
use super::faults::Twist;
use super::issue::Issue;
use super::model::{Branch, Model, Project};
use super::params::{Given, Page, Param, WINDOW, any, one_of, paging, some_of, unsimulated, yes_or_no};
use super::render;
use super::words::{ImpactSeverity, IssueStatus, IssueType, Quality, Resolution, Severity, Status};

pub(super) fn search(model: &mut Model, asked: &Asked) -> Outcome {
    let given = Given::check(&table(model), &asked.pairs)?;
    let page = given.page(100, Some(500))?;
    if model.settings.indexing {
        return Err(Answer::error(503, "Results are temporarily unavailable. Indexing of issues is in progress."));
    }
    let query = Query::read(model, &given)?;
    let asked_for = format!("{:?} {}", asked.token, given.without_page());
    let found = model.found.recall(&asked_for).unwrap_or_else(|| {
        let found = Arc::new(query.run(model, asked, &given));
        model.found.keep(asked_for, Arc::clone(&found));
        found
    });
    let extra = given.list("additionalFields").unwrap_or_default();
    let with_rules = extra.contains(&"rules") || extra.contains(&"_all");
    let seen = Seen::of(&found, page, asked.twist, model.edition.cloud);
    Ok(Answer::json(render::issues_page(model, &seen, page, with_rules)))
}

/// What one answer shows of a result.
pub(super) struct Seen<'a> {
    pub(super) rows: Vec<Spot>,
    pub(super) total: usize,
    pub(super) effort_minutes: usize,
    pub(super) facets: Option<Cow<'a, [Facet]>>,
}

impl Seen<'_> {
    fn of(found: &Found, page: Page, twist: Option<Twist>, cloud: bool) -> Seen<'_> {
        let (rows, counted) = page.twisted(&found.spots, twist);
        let facets = match twist {
            Some(Twist::FacetsAbsent) => None,
            Some(Twist::FacetsEmpty) => Some(Cow::default()),
            Some(Twist::EmptyThroughout) => Some(found.facets.iter().map(|facet| lowered(facet, usize::MAX)).collect()),
            Some(Twist::Undercount { by } | Twist::Shortened { by }) => {
                Some(found.facets.iter().map(|facet| lowered(facet, by)).collect())
            }
            _ => Some(Cow::Borrowed(found.facets.as_slice())),
        };
        // Cloud counts no further than the window; a Server tells the true number.
        let total = if cloud { counted.min(WINDOW) } else { counted };
        Seen { rows, total, effort_minutes: counted * render::EFFORT_MINUTES, facets }
    }
}

/// A facet whose sum is lower. The rarest values, at its end, go first, so that it stays in its order.
fn lowered((name, values): &Facet, by: usize) -> Facet {
    let (mut values, mut rest) = (values.clone(), by);
    for (_, count) in values.iter_mut().rev() {
        let taken = rest.min(*count);
        (*count, rest) = (*count - taken, rest - taken);
    }
    // What nothing has is not listed, save in facets over a small vocabulary and in the histogram.
    if name != "createdAt" && always_listed(name).is_empty() {
        values.retain(|(_, count)| *count > 0);
    }
    (name.clone(), values)
}

/// Results of the last searches. Every change of the model forgets them all.
#[derive(Default)]
pub(super) struct Cache(VecDeque<(String, Arc<Found>)>);

impl Cache {
    const ENTRIES_MAX: usize = 16;

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    fn recall(&self, asked_for: &str) -> Option<Arc<Found>> {
        self.0.iter().find(|(one, _)| one == asked_for).map(|(_, found)| Arc::clone(found))
    }

    fn keep(&mut self, asked_for: String, found: Arc<Found>) {
        if self.0.len() == Self::ENTRIES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((asked_for, found));
    }
}

/// All matches in order, and the facets asked for.
pub(super) struct Found {
    spots: Vec<Spot>,
    facets: Vec<Facet>,
}

/// A facet's name and its values with their counts.
pub(super) type Facet = (String, Vec<(String, usize)>);

/// Where an issue lies: project, branch and position in what the index has of the branch.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub(super) project: usize,
    pub(super) branch: usize,
    pub(super) issue: usize,
}

impl Spot {
    pub(super) fn look(self, model: &Model) -> (&Project, &Branch, &Issue) {
        let project = &model.projects[self.project];
        let branch = &project.branches[self.branch];
        (project, branch, &project.indexed(branch).issues[self.issue])
    }
}

fn table(model: &Model) -> Vec<Param> {
    let edition = model.edition;
    let words = |all: &[&'static str]| all.to_vec();
    let mut table = vec![
        any("componentKeys"),
        any("branch"),
        any("pullRequest"),
        any("issues"),
        any("rules"),
        any("files"),
        any("directories"),
        any("tags"),
        any("languages"),
        any("assignees"),
        any("author"),
        any("createdAfter"),
        any("createdBefore"),
        any("createdAt"),
        yes_or_no("resolved"),
        yes_or_no("assigned"),
        yes_or_no("asc"),
        some_of("types", IssueType::ALL.iter().map(|one| one.word()).collect()),
        some_of("severities", Severity::ALL.iter().map(|one| one.word()).collect()),
        some_of("resolutions", Resolution::ALL.iter().map(|one| one.word()).collect()),
        some_of("statuses", without(Status::ALL, Status::InSandbox, edition.has_sandbox(), Status::word)),
        some_of("facets", facets(model)),
        some_of(
            "additionalFields",
            words(&[
                "_all",
                "comments",
                "languages",
                "rules",
                "ruleDescriptionContextKey",
                "transitions",
                "actions",
                "users",
            ]),
        ),
        one_of("s", &["CREATION_DATE", "UPDATE_DATE", "CLOSE_DATE", "SEVERITY", "STATUS", "FILE_LINE", "HOTSPOTS"]),
    ];
    table.extend(paging());
    table.extend(UNSIMULATED.iter().map(|name| unsimulated(name)));
    if edition.cloud {
        table.push(any("organization"));
    }
    if edition.server_since(10, 2) {
        table.push(any("components"));
    }
    if edition.has_impacts() {
        let severities = ImpactSeverity::ALL.iter().filter(|one| edition.has_wide_impacts() || is_narrow(**one));
        table.push(some_of("impactSoftwareQualities", Quality::ALL.iter().map(|one| one.word()).collect()));
        table.push(some_of("impactSeverities", severities.map(|one| one.word()).collect()));
    }
    if edition.has_issue_status() {
        let statuses = without(IssueStatus::ALL, IssueStatus::InSandbox, edition.has_sandbox(), IssueStatus::word);
        table.push(some_of("issueStatuses", statuses));
    }
    table
}

fn without<T: Copy + PartialEq>(all: &[T], odd: T, keep: bool, word: impl Fn(T) -> &'static str) -> Vec<&'static str> {
    // No published table names a state of some version to come.
    let words = all.iter().filter(|one| keep || **one != odd).map(|one| word(*one));
    words.filter(|word| *word != Status::Quarantined.word()).collect()
}

fn is_narrow(severity: ImpactSeverity) -> bool {
    !matches!(severity, ImpactSeverity::Info | ImpactSeverity::Blocker)
}

fn facets(model: &Model) -> Vec<&'static str> {
    let mut facets =
        vec!["projects", "files", "directories", "severities", "statuses", "resolutions", "rules", "languages", "tags"];
    facets.extend(["types", "createdAt"]);
    if model.edition.has_impacts() {
        facets.extend(["impactSoftwareQualities", "impactSeverities"]);
    }
    if model.edition.has_issue_status() && model.settings.issue_statuses_facet {
        facets.push("issueStatuses");
    }
    facets
}

const UNSIMULATED: [&str; 12] = [
    "createdInLast",
    "cwe",
    "inNewCodePeriod",
    "onComponentOnly",
    "owaspTop10",
    "owaspTop10-2021",
    "projects",
    "sansTop25",
    "scopes",
    "sinceLeakPeriod",
    "sonarsourceSecurity",
    "timeZone",
];

/// One bit for each filter that an issue can fail. A facet ignores the filter of its own name ("sticky"), so it counts
/// an issue that fails nothing else.
mod fails {
    pub(super) const OTHER: u32 = 1;
    pub(super) const TYPES: u32 = 1 << 1;
    pub(super) const SEVERITIES: u32 = 1 << 2;
    pub(super) const STATUSES: u32 = 1 << 3;
    pub(super) const RESOLUTIONS: u32 = 1 << 4;
    pub(super) const ISSUE_STATUSES: u32 = 1 << 5;
    pub(super) const RULES: u32 = 1 << 6;
    pub(super) const FILES: u32 = 1 << 7;
    pub(super) const DIRECTORIES: u32 = 1 << 8;
    pub(super) const TAGS: u32 = 1 << 9;
    pub(super) const LANGUAGES: u32 = 1 << 10;
    /// One impact must satisfy both filters, of quality and of severity, at once.
    pub(super) const IMPACTS: u32 = 1 << 11;
}

struct Query<'a> {
    types: Option<Vec<IssueType>>,
    severities: Option<Vec<Severity>>,
    statuses: Option<Vec<Status>>,
    resolutions: Option<Vec<Resolution>>,
    issue_statuses: Option<Vec<IssueStatus>>,
    qualities: Option<Vec<Quality>>,
    impact_severities: Option<Vec<ImpactSeverity>>,
    rules: Option<HashSet<&'a str>>,
    files: Option<HashSet<&'a str>>,
    directories: Option<HashSet<&'a str>>,
    tags: Option<HashSet<&'a str>>,
    languages: Option<HashSet<&'a str>>,
    issues: Option<HashSet<&'a str>>,
    assignees: Option<HashSet<&'a str>>,
    author: Option<&'a str>,
    assigned: Option<bool>,
    resolved: Option<bool>,
    created: std::ops::Range<i64>,
    wide_impacts: bool,
}

impl<'a> Query<'a> {
    fn read(model: &Model, given: &'a Given) -> Result<Query<'a>, Answer> {
        if given.text("branch").is_some() && given.text("pullRequest").is_some() {
            return Err(Answer::error(400, "Only one of parameters 'branch' and 'pullRequest' can be provided"));
        }
        if given.text("componentKeys").is_some() && given.text("components").is_some() {
            return Err(Answer::error(400, "Only one of parameters 'components' and 'componentKeys' can be provided"));
        }
        if let Some(key) = given.text("organization")
            && !model.organizations.iter().any(|one| one.key == key)
        {
            return Err(Answer::error(404, &format!("No organization with key '{key}'")));
        }
        let set = |name| given.list(name).map(HashSet::from_iter);
        Ok(Query {
            types: given.words("types", IssueType::from_word),
            severities: given.words("severities", Severity::from_word),
            statuses: given.words("statuses", Status::from_word),
            resolutions: given.words("resolutions", Resolution::from_word),
            issue_statuses: given.words("issueStatuses", IssueStatus::from_word),
            qualities: given.words("impactSoftwareQualities", Quality::from_word),
            impact_severities: given.words("impactSeverities", ImpactSeverity::from_word),
            rules: set("rules"),
            files: set("files"),
            directories: set("directories"),
            tags: set("tags"),
            languages: set("languages"),
            issues: set("issues"),
            assignees: set("assignees"),
            author: given.text("author"),
            assigned: given.flag("assigned"),
            resolved: given.flag("resolved"),
            created: created_range(model, given)?,
            wide_impacts: model.edition.has_wide_impacts(),
        })
    }

    fn run(&self, model: &Model, asked: &Asked, given: &Given) -> Found {
        let mut tallies: Vec<Tally> = given.list("facets").unwrap_or_default().into_iter().map(Tally::new).collect();
        let mut spots = Vec::new();
        for (project, branch) in scope(model, asked, given) {
            let owner = &model.projects[project];
            for (issue, one) in owner.indexed(&owner.branches[branch]).issues.iter().enumerate() {
                let failed = self.failed(model, one);
                for tally in &mut tallies {
                    if failed & !tally.ignores == 0 {
                        self.count(tally, model, owner, one);
                    }
                }
                if failed == 0 {
                    spots.push(Spot { project, branch, issue });
                }
            }
        }
        sort(model, &mut spots, given.text("s"), given.flag("asc").unwrap_or(true));
        let facets = tallies.into_iter().map(|tally| tally.close(model, given, &self.created)).collect();
        Found { spots, facets }
    }

    fn failed(&self, model: &Model, issue: &Issue) -> u32 {
        let mut failed = 0;
        let mut need = |holds: bool, bit: u32| {
            if !holds {
                failed |= bit;
            }
        };
        need(self.created.contains(&issue.created), fails::OTHER);
        need(self.resolved.is_none_or(|wanted| wanted == issue.resolution.is_some()), fails::OTHER);
        need(self.assigned.is_none_or(|wanted| wanted == issue.assignee.is_some()), fails::OTHER);
        need(self.author.is_none_or(|author| author == issue.author), fails::OTHER);
        need(holds(self.issues.as_ref(), Some(&issue.key)), fails::OTHER);
        need(holds(self.assignees.as_ref(), issue.assignee.as_deref()), fails::OTHER);
        need(holds(self.rules.as_ref(), Some(&issue.rule)), fails::RULES);
        need(holds(self.files.as_ref(), issue.path.as_deref()), fails::FILES);
        need(holds(self.directories.as_ref(), issue.directory()), fails::DIRECTORIES);
        need(
            self.tags.as_ref().is_none_or(|tags| issue.tags.iter().any(|tag| tags.contains(tag.as_str()))),
            fails::TAGS,
        );
        need(self.languages.is_none() || holds(self.languages.as_ref(), language(model, issue)), fails::LANGUAGES);
        need(among(self.types.as_ref(), issue.kind), fails::TYPES);
        need(among(self.severities.as_ref(), issue.severity), fails::SEVERITIES);
        need(among(self.statuses.as_ref(), issue.status), fails::STATUSES);
        need(
            self.resolutions.as_ref().is_none_or(|all| issue.resolution.is_some_and(|one| all.contains(&one))),
            fails::RESOLUTIONS,
        );
        need(among(self.issue_statuses.as_ref(), issue.issue_status()), fails::ISSUE_STATUSES);
        if self.qualities.is_some() || self.impact_severities.is_some() {
            need(self.has_wanted_impact(issue), fails::IMPACTS);
        }
        failed
    }

    fn has_wanted_impact(&self, issue: &Issue) -> bool {
        issue.impacts.iter().any(|&(quality, severity)| {
            among(self.qualities.as_ref(), quality)
                && among(self.impact_severities.as_ref(), render::shown(severity, self.wide_impacts))
        })
    }

    fn count<'m>(&self, tally: &mut Tally<'m>, model: &'m Model, project: &'m Project, issue: &'m Issue) {
        match tally.name.as_str() {
            "projects" => tally.add(&project.key),
            "files" => issue.path.iter().for_each(|path| tally.add(path)),
            "directories" => issue.directory().into_iter().for_each(|directory| tally.add(directory)),
            "severities" => tally.add(issue.severity.word()),
            "statuses" => tally.add(issue.status.word()),
            "resolutions" => tally.add(issue.resolution.map_or("", Resolution::word)),
            "rules" => tally.add(&issue.rule),
            "types" => tally.add(issue.kind.word()),
            "issueStatuses" => tally.add(issue.issue_status().word()),
            "tags" => issue.tags.iter().for_each(|tag| tally.add(tag)),
            "languages" => language(model, issue).into_iter().for_each(|language| tally.add(language)),
            "createdAt" => *tally.days.entry(model.settings.zone.day_start(issue.created)).or_default() += 1,
            "impactSoftwareQualities" => {
                let wanted =
                    |severity| among(self.impact_severities.as_ref(), render::shown(severity, self.wide_impacts));
                let impacts = issue.impacts.iter().filter(|(_, severity)| wanted(*severity));
                impacts.for_each(|(quality, _)| tally.add(quality.word()));
            }
            "impactSeverities" => {
                let impacts = issue.impacts.iter().filter(|(quality, _)| among(self.qualities.as_ref(), *quality));
                impacts.for_each(|(_, severity)| tally.add(render::shown(*severity, self.wide_impacts).word()));
            }
            other => unreachable!("the facet {other} passed the check of names"),
        }
    }
}

fn among<T: Copy + PartialEq>(wanted: Option<&Vec<T>>, one: T) -> bool {
    wanted.is_none_or(|wanted| wanted.contains(&one))
}

fn holds(wanted: Option<&HashSet<&str>>, one: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| one.is_some_and(|one| wanted.contains(one)))
}

fn language<'m>(model: &'m Model, issue: &Issue) -> Option<&'m str> {
    model.rules.get(&issue.rule).map(|rule| rule.language().0).filter(|language| !language.is_empty())
}

/// The branches a search looks at. An unknown project or branch is no error: it finds nothing.
fn scope(model: &Model, asked: &Asked, given: &Given) -> Vec<(usize, usize)> {
    let keys = given.list("components").or_else(|| given.list("componentKeys"));
    let token = asked.token(model);
    let mut scope = Vec::new();
    for (at, project) in model.projects.iter().enumerate() {
        let wanted = keys.as_ref().is_none_or(|keys| keys.contains(&project.key.as_str()))
            && given.text("organization").is_none_or(|organization| organization == project.organization)
            && token.is_some_and(|token| token.may_browse(&project.key));
        if !wanted {
            continue;
        }
        for (number, branch) in project.branches.iter().enumerate() {
            let here = match (given.text("branch"), given.text("pullRequest")) {
                (Some(name), _) => branch.name == name && !branch.is_pull_request(),
                (_, Some(key)) => branch.name == key && branch.is_pull_request(),
                // A search by issue key alone finds the issue wherever it is.
                (None, None) => branch.is_main() || (keys.is_none() && given.text("issues").is_some()),
            };
            if here {
                scope.push((at, number));
            }
        }
    }
    scope
}

fn created_range(model: &Model, given: &Given) -> Result<std::ops::Range<i64>, Answer> {
    let zone = model.settings.zone;
    let read = |name: &str, parse: &dyn Fn(&str) -> Option<i64>| match given.text(name) {
        None => Ok(None),
        Some(text) => parse(text).map(Some).ok_or_else(|| {
            Answer::error(400, &format!("Date '{text}' cannot be parsed as either a date or date+time"))
        }),
    };
    if let Some(at) = read("createdAt", &|text| zone.parse_start(text))? {
        return Ok(at..at + 1);
    }
    let after = read("createdAfter", &|text| zone.parse_start(text))?;
    let before = read("createdBefore", &|text| zone.parse_end(text))?;
    if after.is_some_and(|after| after > model.now()) {
        return Err(Answer::error(400, "Start bound cannot be in the future"));
    }
    if let (Some(after), Some(before)) = (after, before)
        && after >= before
    {
        return Err(Answer::error(400, "Start bound cannot be larger or equal to end bound"));
    }
    Ok(after.unwrap_or(i64::MIN)..before.unwrap_or(i64::MAX))
}

fn sort(model: &Model, spots: &mut [Spot], by: Option<&str>, ascending: bool) {
    // Ignored, the order of update dates is that of creation, whichever way it was asked for.
    let ascending = ascending || (by == Some("UPDATE_DATE") && !model.settings.sorts_by_update_date);
    let compare = |left: &Spot, right: &Spot| {
        let ((left_project, _, left), (right_project, _, right)) = (left.look(model), right.look(model));
        let place = || {
            let project = left_project.key.cmp(&right_project.key);
            project.then_with(|| left.path.cmp(&right.path)).then_with(|| left.line().cmp(&right.line()))
        };
        let order = match by {
            Some("UPDATE_DATE") if model.settings.sorts_by_update_date => left.updated.cmp(&right.updated),
            Some("CREATION_DATE" | "UPDATE_DATE") => left.created.cmp(&right.created),
            Some("CLOSE_DATE") => left.closed.cmp(&right.closed),
            Some("SEVERITY") => left.severity.cmp(&right.severity),
            Some("STATUS") => left.status.cmp(&right.status),
            Some("FILE_LINE") => place(),
            Some(_) => Ordering::Equal,
            None => right.created.cmp(&left.created).then_with(place),
        };
        let order = if ascending || by.is_none() { order } else { order.reverse() };
        order.then_with(|| left.key.cmp(&right.key))
    };
    spots.sort_unstable_by(compare);
}

/// The counts of one facet.
struct Tally<'m> {
    name: String,
    ignores: u32,
    counts: HashMap<&'m str, usize>,
    days: HashMap<i64, usize>,
}

impl<'m> Tally<'m> {
    const VALUES_MAX: usize = 100;

    fn new(name: &str) -> Tally<'m> {
        let ignores = match name {
            "types" => fails::TYPES,
            "severities" => fails::SEVERITIES,
            "statuses" => fails::STATUSES,
            "resolutions" => fails::RESOLUTIONS,
            "issueStatuses" => fails::ISSUE_STATUSES,
            "rules" => fails::RULES,
            "files" => fails::FILES,
            "directories" => fails::DIRECTORIES,
            "tags" => fails::TAGS,
            "languages" => fails::LANGUAGES,
            // Each ignores its own half; the other half is looked at when counting.
            "impactSoftwareQualities" | "impactSeverities" => fails::IMPACTS,
            _ => 0,
        };
        Tally { name: name.to_owned(), ignores, counts: HashMap::new(), days: HashMap::new() }
    }

    fn add(&mut self, value: &'m str) {
        *self.counts.entry(value).or_default() += 1;
    }

    fn close(self, model: &Model, given: &Given, created: &std::ops::Range<i64>) -> (String, Vec<(String, usize)>) {
        if self.name == "createdAt" {
            return (self.name, histogram(model, &self.days, created));
        }
        let mut counts = self.counts;
        for word in always_listed(&self.name) {
            counts.entry(word).or_default();
        }
        let mut values: Vec<(String, usize)> = counts.into_iter().map(|(value, n)| (value.to_owned(), n)).collect();
        values.sort_unstable_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        // Values filtered by stay in the list even when a hundred others are more frequent.
        let chosen = given.list(&self.name).unwrap_or_default();
        let beyond: Vec<_> = values.split_off(values.len().min(Self::VALUES_MAX));
        values.extend(beyond.into_iter().filter(|(value, _)| chosen.contains(&value.as_str())));
        let absent = chosen.into_iter().filter(|one| !values.iter().any(|(value, _)| value == one));
        let absent: Vec<_> = absent.map(|one| (one.to_owned(), 0)).collect();
        values.extend(absent);
        (self.name, values)
    }
}

/// Facets over a small vocabulary list its words even when nothing was counted.
fn always_listed(facet: &str) -> Vec<&'static str> {
    match facet {
        "severities" => Severity::ALL.iter().map(|one| one.word()).collect(),
        "statuses" => without(Status::ALL, Status::InSandbox, false, Status::word),
        "types" => IssueType::ALL.iter().map(|one| one.word()).collect(),
        "resolutions" => [""].into_iter().chain(Resolution::ALL.iter().map(|one| one.word())).collect(),
        _ => Vec::new(),
    }
}

/// Creation dates by day, week, month or year, depending on the span; empty steps are listed too.
fn histogram(model: &Model, days: &HashMap<i64, usize>, created: &std::ops::Range<i64>) -> Vec<(String, usize)> {
    let zone = model.settings.zone;
    let Some(&first) = days.keys().min() else { return Vec::new() };
    let start = if created.start == i64::MIN { first } else { created.start };
    let end = created.end.min(model.now());
    let span_days = (end - start) / DAY_SECONDS;
    let step_start = |day: i64| {
        let date = zone.date(day);
        let since_monday = i64::from(date.weekday().to_monday_zero_offset());
        match span_days {
            ..=20 => zone.day_start(day),
            21..=140 => zone.day_start(day) - since_monday * DAY_SECONDS,
            141..=600 => zone.at(date.first_of_month()),
            _ => zone.at(date.first_of_year()),
        }
    };
    let mut steps = std::collections::BTreeMap::new();
    let mut day = zone.day_start(start);
    while day < end {
        steps.entry(step_start(day)).or_insert(0);
        day += DAY_SECONDS;
    }
    for (day, count) in days {
        *steps.entry(step_start(*day)).or_insert(0) += count;
    }
    steps.into_iter().map(|(step, count)| (zone.show(step), count)).collect()
}
