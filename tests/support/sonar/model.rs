//! What the simulated SonarQube knows, and how a test changes it. Methods that name something unknown panic: a test
//! that misspells a project should hear of it at once.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use super::dates::{DAY_SECONDS, Zone};
use super::edition::{Edition, Mode};
use super::issue::{self, Change, Hotspot, Issue, scramble};
use super::rules::{self, Raises, Rule};
use super::search::Cache;
use super::webhook::{LoggedDelivery, Webhook};
use super::words::{GateStatus, HotspotResolution, HotspotStatus, IssueType, Severity};

pub struct Model {
    pub edition: Edition,
    pub settings: Settings,
    pub organizations: Vec<Organization>,
    pub projects: Vec<Project>,
    pub rules: BTreeMap<String, Rule>,
    pub tokens: Vec<Token>,
    pub webhooks: Vec<Webhook>,
    pub deliveries: Vec<LoggedDelivery>,
    pub(super) found: Cache,
    made: usize,
    frozen: Option<i64>,
    latest: i64,
}

/// Traits of this installation that a test may change.
#[allow(clippy::struct_excessive_bools, reason = "independent switches, not the states of one thing")]
pub struct Settings {
    pub zone: Zone,
    /// `serverUrl` in webhooks and the root of dashboard links; real servers may have none, or a wrong one.
    pub public_url: String,
    /// Whether Cloud still answers the old `api/organizations/search`.
    pub organizations_v1: bool,
    /// Whether Cloud answers `api/hotspots/…`, which is internal there and on its way out.
    pub cloud_hotspots: bool,
    /// Whether webhooks to private addresses are refused. Off, because tests listen on the loopback address.
    pub validate_webhooks: bool,
    /// While the index is rebuilt, searches answer 503.
    pub indexing: bool,
    /// Leave `type`, `severity`, `status` and `resolution` out of issues, as the newest examples do.
    pub newer_taxonomy_only: bool,
    /// The published parameter table has an `issueStatuses` facet, other sources do not; off means refused.
    pub issue_statuses_facet: bool,
    /// Whether hotspots can be acknowledged. Cloud does not have it.
    pub acknowledges: bool,
    /// Whether people may decide about issues that were imported from other tools.
    pub external_transitions: bool,
    /// Off, `s=UPDATE_DATE` is accepted and ignored: the rows come in the order of their creation.
    pub sorts_by_update_date: bool,
}

#[derive(Clone, Debug)]
pub struct Organization {
    pub key: String,
    pub name: String,
    pub id: String,
}

#[derive(Clone, Debug)]
pub struct Project {
    pub key: String,
    pub name: String,
    /// Empty on a Server.
    pub organization: String,
    /// Whether the project has a quality gate; without one webhooks carry no `qualityGate`.
    pub gated: bool,
    pub branches: Vec<Branch>,
    /// The branches by id as the index has them, while it is held.
    held: Option<HashMap<String, Held>>,
}

/// What the index has of a branch.
#[derive(Clone, Debug, Default)]
struct Held {
    issues: Vec<Issue>,
    hotspots: Vec<Hotspot>,
}

/// What the searches see of a branch.
#[derive(Clone, Copy, Default)]
pub(super) struct Indexed<'a> {
    pub(super) issues: &'a [Issue],
    pub(super) hotspots: &'a [Hotspot],
}

/// A branch or a pull request: both hold findings and are analysed.
#[derive(Clone, Debug)]
pub struct Branch {
    pub name: String,
    pub id: String,
    pub place: Place,
    pub(super) issues: Vec<Issue>,
    pub hotspots: Vec<Hotspot>,
    /// Oldest first.
    pub analyses: Vec<AnalysisRecord>,
    pub gate: Option<Gate>,
    positions: HashMap<String, usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Main,
    /// On Cloud, long-lived or short-lived; a Server does not tell them apart.
    Branch {
        long: bool,
    },
    PullRequest {
        source: String,
        target: String,
    },
}

#[derive(Clone, Debug)]
pub struct AnalysisRecord {
    pub key: String,
    pub date: i64,
    pub revision: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    pub name: String,
    pub status: GateStatus,
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub metric: String,
    pub operator: &'static str,
    /// Absent when there was nothing to measure.
    pub value: Option<String>,
    pub status: &'static str,
    pub error_threshold: String,
}

#[derive(Clone, Debug)]
pub struct Token {
    pub value: String,
    pub browse: Browse,
    /// May manage webhooks.
    pub admin: bool,
    /// May say that an issue is accepted, a false positive or fixed: "Administer Issues".
    pub administers_issues: bool,
    /// May review hotspots: "Administer Security Hotspots".
    pub administers_hotspots: bool,
    /// From this second on the token answers as a bad one.
    pub expires: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Browse {
    All,
    Projects(Vec<String>),
    None,
}

/// How a test names a branch or a pull request of a project. A plain string is a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    Branch(&'a str),
    PullRequest(&'a str),
}

impl<'a> From<&'a str> for Target<'a> {
    fn from(name: &'a str) -> Self {
        Target::Branch(name)
    }
}

impl<'a> From<&'a String> for Target<'a> {
    fn from(name: &'a String) -> Self {
        Target::Branch(name)
    }
}

impl Model {
    pub(super) fn new(mode: Mode, url: &str) -> Model {
        let edition = Edition::of(mode);
        Model {
            settings: Settings {
                zone: Zone { offset_seconds: 7200 },
                public_url: url.to_owned(),
                organizations_v1: edition.cloud,
                cloud_hotspots: false,
                validate_webhooks: false,
                indexing: false,
                newer_taxonomy_only: false,
                issue_statuses_facet: false,
                acknowledges: !edition.cloud,
                external_transitions: false,
                sorts_by_update_date: true,
            },
            edition,
            organizations: Vec::new(),
            projects: Vec::new(),
            rules: rules::all().into_iter().map(|rule| (rule.key.clone(), rule)).collect(),
            tokens: Vec::new(),
            webhooks: Vec::new(),
            deliveries: Vec::new(),
            found: Cache::default(),
            made: 0,
            frozen: None,
            latest: 0,
        }
    }

    /// The server's clock in seconds since 1970: never behind the last analysis, so that its own dates are past.
    pub fn now(&self) -> i64 {
        self.frozen.unwrap_or_else(|| {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
            let system = i64::try_from(since_epoch.as_secs()).expect("seconds since 1970 fit 63 bits");
            system.max(self.latest)
        })
    }

    /// Stops the clock at a moment, or lets it follow the system again.
    pub fn freeze_clock(&mut self, at: Option<i64>) {
        self.frozen = at;
    }

    pub fn add_organization(&mut self, key: &str, name: &str) {
        let id = self.new_key();
        self.organizations.push(Organization { key: key.to_owned(), name: name.to_owned(), id });
    }

    /// Adds a project with an unanalysed main branch named `main`. On Cloud its organization is made if it is new; a
    /// Server has none and ignores it.
    pub fn add_project(&mut self, organization: &str, key: &str, name: &str) -> &mut Project {
        let organization = if self.edition.cloud { organization } else { "" };
        if self.edition.cloud && !self.organizations.iter().any(|one| one.key == organization) {
            self.add_organization(organization, organization);
        }
        assert!(self.projects.iter().all(|one| one.key != key), "the project {key} exists already");
        let main = Branch::new("main", self.new_key(), Place::Main);
        self.projects.push(Project {
            key: key.to_owned(),
            name: name.to_owned(),
            organization: organization.to_owned(),
            gated: true,
            branches: vec![main],
            held: None,
        });
        self.projects.last_mut().expect("a project was pushed just now")
    }

    /// A long-lived branch (Cloud) or simply a branch (Server).
    pub fn add_branch(&mut self, project: &str, name: &str) {
        let branch = Branch::new(name, self.new_key(), Place::Branch { long: true });
        self.project_mut(project).branches.push(branch);
    }

    pub fn add_short_branch(&mut self, project: &str, name: &str) {
        let branch = Branch::new(name, self.new_key(), Place::Branch { long: false });
        self.project_mut(project).branches.push(branch);
    }

    pub fn add_pull_request(&mut self, project: &str, key: &str, source: &str, target: &str) {
        let place = Place::PullRequest { source: source.to_owned(), target: target.to_owned() };
        let branch = Branch::new(key, self.new_key(), place);
        self.project_mut(project).branches.push(branch);
    }

    /// Makes another branch the main one; the former main branch stays as a long-lived one. No webhook tells of it.
    pub fn set_main(&mut self, project: &str, name: &str) {
        assert!(self.branch(project, name).is_some(), "no branch {name} of {project} in the model");
        for branch in self.project_mut(project).branches.iter_mut().filter(|branch| !branch.is_pull_request()) {
            branch.place = if branch.name == name { Place::Main } else { Place::Branch { long: true } };
        }
    }

    /// Gives a branch another name; it stays the branch that it was. No webhook tells of it.
    pub fn rename_branch(&mut self, project: &str, name: &str, new_name: &str) {
        new_name.clone_into(&mut self.branch_mut(project, name).name);
    }

    /// Deletes a branch or a pull request with all its findings. No webhook tells of it.
    pub fn delete_branch<'a>(&mut self, project: &str, target: impl Into<Target<'a>>) {
        let target = target.into();
        self.project_mut(project).branches.retain(|branch| !branch.is(target));
    }

    /// Gives a project another key; the history stays and the old key is unknown from here on.
    pub fn rename_project(&mut self, key: &str, new_key: &str) {
        new_key.clone_into(&mut self.project_mut(key).key);
        for webhook in self.webhooks.iter_mut().filter(|one| one.project.as_deref() == Some(key)) {
            webhook.project = Some(new_key.to_owned());
        }
        // Permissions belong to the project, not to its key.
        for token in &mut self.tokens {
            if let Browse::Projects(keys) = &mut token.browse {
                keys.iter_mut().filter(|one| *one == key).for_each(|one| new_key.clone_into(one));
            }
        }
    }

    pub fn delete_project(&mut self, key: &str) {
        self.projects.retain(|project| project.key != key);
        self.webhooks.retain(|webhook| webhook.project.as_deref() != Some(key));
    }

    /// From here on the searches answer from the project's findings as they are now, whatever happens to them, until
    /// the index is released. Names and keys of branches and projects are looked up elsewhere and stay current; a
    /// branch made meanwhile has no findings yet, and those of a deleted one are in no answer.
    pub fn hold_index(&mut self, project: &str) {
        let project = self.project_mut(project);
        let copy = |branch: &Branch| Held { issues: branch.issues.clone(), hotspots: branch.hotspots.clone() };
        project.held = Some(project.branches.iter().map(|branch| (branch.id.clone(), copy(branch))).collect());
    }

    /// The index catches up. A project that is gone, or that was not held, is no error.
    pub fn release_index(&mut self, project: &str) {
        if let Some(project) = self.projects.iter_mut().find(|one| one.key == project) {
            project.held = None;
        }
    }

    pub fn project(&self, key: &str) -> Option<&Project> {
        self.projects.iter().find(|project| project.key == key)
    }

    pub fn project_mut(&mut self, key: &str) -> &mut Project {
        let found = self.projects.iter_mut().find(|project| project.key == key);
        found.unwrap_or_else(|| panic!("no project {key} in the model"))
    }

    pub fn branch<'a>(&self, project: &str, target: impl Into<Target<'a>>) -> Option<&Branch> {
        let target = target.into();
        self.project(project)?.branches.iter().find(|branch| branch.is(target))
    }

    pub fn branch_mut<'a>(&mut self, project: &str, target: impl Into<Target<'a>>) -> &mut Branch {
        let target = target.into();
        let found = self.project_mut(project).branches.iter_mut().find(|branch| branch.is(target));
        found.unwrap_or_else(|| panic!("no {target:?} of {project} in the model"))
    }

    /// Adds one issue and gives its key.
    pub fn add_issue<'a>(&mut self, project: &str, target: impl Into<Target<'a>>, mut issue: Issue) -> String {
        let now = self.now();
        if issue.key.is_empty() {
            issue.key = self.new_key();
        }
        if issue.created == 0 {
            issue.created = now;
        }
        if issue.updated == 0 {
            issue.updated = issue.created;
        }
        if !self.rules.contains_key(&issue.rule) {
            self.rules.insert(issue.rule.clone(), Rule::unknown(&issue.rule));
        }
        let key = issue.key.clone();
        self.branch_mut(project, target).push(issue);
        key
    }

    /// Adds `count` security issues: deterministic, over all rules, some 800 files and two years.
    pub fn add_issues<'a>(&mut self, project: &str, target: impl Into<Target<'a>>, count: usize) -> Vec<String> {
        self.add_numbered(project, target.into(), count, true)
    }

    /// Adds `count` security issues that were all created in one second. Adding more goes on where the last ended, so
    /// that no two have the same message.
    pub fn add_issues_at<'a>(
        &mut self,
        project: &str,
        target: impl Into<Target<'a>>,
        count: usize,
        created: i64,
    ) -> Vec<String> {
        let target = target.into();
        let first = self.branch_mut(project, target).issues.len();
        let make = |number| issue::numbered(number, true, created).created_at(created);
        (first..first + count).map(|number| self.add_issue(project, target, make(number))).collect()
    }

    /// Adds issues that are not about security, which no security inventory may take in.
    pub fn add_code_smells<'a>(&mut self, project: &str, target: impl Into<Target<'a>>, count: usize) -> Vec<String> {
        self.add_numbered(project, target.into(), count, false)
    }

    pub fn add_hotspot<'a>(&mut self, project: &str, target: impl Into<Target<'a>>, mut hotspot: Hotspot) -> String {
        let now = self.now();
        if hotspot.key.is_empty() {
            hotspot.key = self.new_key();
        }
        if hotspot.created == 0 {
            hotspot.created = now;
        }
        if hotspot.updated == 0 {
            hotspot.updated = hotspot.created;
        }
        let key = hotspot.key.clone();
        self.branch_mut(project, target).hotspots.push(hotspot);
        key
    }

    pub fn add_hotspots<'a>(&mut self, project: &str, target: impl Into<Target<'a>>, count: usize) -> Vec<String> {
        let target = target.into();
        let add = |number: usize| {
            let line = u32::try_from(number + 1).expect("a line number fits 32 bits");
            let path = format!("src/main/hot/Spot{}.java", number % 50);
            self.add_hotspot(project, target, Hotspot::new(rules::hotspot_rule(number).0, &path, line))
        };
        (0..count).map(add).collect()
    }

    pub fn fix(&mut self, issue: &str) {
        self.change(issue, Change::Fix);
    }

    pub fn remove(&mut self, issue: &str) {
        self.change(issue, Change::Remove);
    }

    pub fn reopen(&mut self, issue: &str) {
        self.change(issue, Change::Reopen);
    }

    pub fn accept(&mut self, issue: &str) {
        self.change(issue, Change::Accept);
    }

    pub fn mark_false_positive(&mut self, issue: &str) {
        self.change(issue, Change::FalsePositive);
    }

    pub fn confirm(&mut self, issue: &str) {
        self.change(issue, Change::Confirm);
    }

    pub fn quarantine(&mut self, issue: &str) {
        self.change(issue, Change::Quarantine);
    }

    pub fn set_severity(&mut self, issue: &str, severity: Severity) {
        self.change(issue, Change::Severity(severity));
    }

    pub fn move_file(&mut self, issue: &str, path: &str) {
        self.change(issue, Change::MoveFile(path.to_owned()));
    }

    pub fn shift_line(&mut self, issue: &str, line: u32) {
        self.change(issue, Change::ShiftLine(line));
    }

    /// Closed so long ago that the housekeeping deleted it: the issue is in no answer any more.
    pub fn purge(&mut self, issue: &str) {
        let branch = self.branch_of_issue(issue);
        let position = branch.positions.remove(issue).expect("the branch was found by this key");
        branch.issues.swap_remove(position);
        if let Some(moved) = branch.issues.get(position) {
            branch.positions.insert(moved.key.clone(), position);
        }
    }

    pub fn change(&mut self, issue: &str, change: Change) {
        let now = self.now();
        self.issue_mut(issue).apply(change, now);
    }

    pub fn issue_mut(&mut self, key: &str) -> &mut Issue {
        let branch = self.branch_of_issue(key);
        let position = branch.positions[key];
        &mut branch.issues[position]
    }

    /// An issue and its project.
    pub fn issue(&self, key: &str) -> Option<(&Project, &Issue)> {
        self.projects.iter().find_map(|project| {
            let branch = project.branches.iter().find(|branch| branch.positions.contains_key(key))?;
            Some((project, &branch.issues[branch.positions[key]]))
        })
    }

    pub fn review_hotspot(&mut self, key: &str, resolution: HotspotResolution) {
        let now = self.now();
        let hotspot = self.hotspot_mut(key);
        hotspot.status = HotspotStatus::Reviewed;
        hotspot.resolution = Some(resolution);
        hotspot.updated = now;
    }

    /// The code is gone: the hotspot is kept as closed, and no search lists it.
    pub fn close_hotspot(&mut self, key: &str) {
        let now = self.now();
        let hotspot = self.hotspot_mut(key);
        hotspot.status = HotspotStatus::Closed;
        hotspot.resolution = None;
        hotspot.updated = now;
    }

    /// The rule of a hotspot now raises issues: the hotspot is gone, and an issue with an impact on security lies at
    /// its place, with the outcome of its review. Gives the issue's key.
    pub fn convert_hotspot(&mut self, key: &str, keep_key: bool) -> String {
        let issue_key = if keep_key { key.to_owned() } else { self.new_key() };
        let now = self.now();
        let mut branches = self.projects.iter_mut().flat_map(|project| &mut project.branches);
        let found = branches.find_map(|branch| {
            let position = branch.hotspots.iter().position(|hotspot| hotspot.key == key)?;
            Some((branch, position))
        });
        let (branch, position) = found.unwrap_or_else(|| panic!("no hotspot {key} in the model"));
        let hotspot = branch.hotspots.remove(position);
        let rule = hotspot.rule.clone();
        branch.push(Issue::from_hotspot(hotspot, &issue_key, now));
        let rule = self.rules.entry(rule).or_insert_with_key(|key| Rule::unknown(key));
        rule.raises = Raises::Issues(IssueType::Vulnerability);
        issue_key
    }

    pub fn hotspot(&self, key: &str) -> &Hotspot {
        let hotspots = self.projects.iter().flat_map(|project| &project.branches).flat_map(|branch| &branch.hotspots);
        hotspots
            .into_iter()
            .find(|hotspot| hotspot.key == key)
            .unwrap_or_else(|| panic!("no hotspot {key} in the model"))
    }

    pub(super) fn project_of_hotspot(&self, key: &str) -> Option<&Project> {
        let holds = |project: &&Project| {
            project.branches.iter().any(|branch| branch.hotspots.iter().any(|hotspot| hotspot.key == key))
        };
        self.projects.iter().find(holds)
    }

    pub fn hotspot_mut(&mut self, key: &str) -> &mut Hotspot {
        let hotspots = self.projects.iter_mut().flat_map(|project| &mut project.branches);
        let found = hotspots.flat_map(|branch| &mut branch.hotspots).find(|hotspot| hotspot.key == key);
        found.unwrap_or_else(|| panic!("no hotspot {key} in the model"))
    }

    pub fn add_token(&mut self, value: &str, browse: Browse) -> &mut Token {
        self.tokens.push(Token {
            value: value.to_owned(),
            browse,
            admin: false,
            administers_issues: false,
            administers_hotspots: false,
            expires: None,
        });
        self.tokens.last_mut().expect("a token was pushed just now")
    }

    pub fn token_mut(&mut self, value: &str) -> &mut Token {
        let found = self.tokens.iter_mut().find(|token| token.value == value);
        found.unwrap_or_else(|| panic!("no such token in the model"))
    }

    /// Adds a webhook of one project, or without a project one of the whole Server or organization.
    pub fn add_webhook(&mut self, project: Option<&str>, url: &str, secret: Option<&str>) -> String {
        let key = self.new_key();
        self.webhooks.push(Webhook {
            key: key.clone(),
            name: "Hook".to_owned(),
            url: url.to_owned(),
            secret: secret.map(str::to_owned),
            project: project.map(str::to_owned),
            organization: None,
        });
        key
    }

    /// A key as this edition makes them: 20 characters on Cloud, a UUID on a Server.
    pub(super) fn new_key(&mut self) -> String {
        self.made += 1;
        let (left, right) = (scramble("key", self.made), scramble("more", self.made));
        if self.edition.cloud {
            return format!("AZ{left:016x}{:02x}", right % 256);
        }
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            left >> 32,
            left >> 16 & 0xffff,
            left & 0xfff,
            right >> 48 & 0xfff,
            right & 0xffff_ffff_ffff
        )
    }

    /// A number for made-up revisions, another one every time.
    pub(super) fn new_number(&mut self) -> u64 {
        self.made += 1;
        scramble("number", self.made)
    }

    /// The moment the clock is stopped at.
    pub(super) fn clock(&self) -> Option<i64> {
        self.frozen
    }

    /// Records a finished analysis at a moment later than any before and gives that moment.
    pub(super) fn begin_analysis(&mut self) -> i64 {
        let now = self.now().max(self.latest + 1);
        self.latest = now;
        now
    }

    /// The gate's verdict on a branch as it stands: red while an open vulnerability is worse than a note.
    pub(super) fn judge<'a>(&self, project: &str, target: impl Into<Target<'a>>) -> Option<Gate> {
        if !self.project(project)?.gated {
            return None;
        }
        let open = |issue: &&Issue| issue.kind == IssueType::Vulnerability && issue.resolution.is_none();
        let branch = self.branch(project, target)?;
        let rating = branch.issues.iter().filter(open).map(|issue| issue.severity.rating()).max().unwrap_or(1);
        let status = if rating > 1 { GateStatus::Error } else { GateStatus::Ok };
        Some(Gate::sonar_way(status, rating))
    }

    fn add_numbered(&mut self, project: &str, target: Target<'_>, count: usize, security: bool) -> Vec<String> {
        // One moment, on a day's boundary, so that two runs on a day build the same project.
        let now = self.now() / DAY_SECONDS * DAY_SECONDS;
        (0..count).map(|number| self.add_issue(project, target, issue::numbered(number, security, now))).collect()
    }

    fn branch_of_issue(&mut self, key: &str) -> &mut Branch {
        let mut branches = self.projects.iter_mut().flat_map(|project| &mut project.branches);
        let found = branches.find(|branch| branch.positions.contains_key(key));
        found.unwrap_or_else(|| panic!("no issue {key} in the model"))
    }
}

impl Project {
    /// What the searches see of one of its branches.
    pub(super) fn indexed<'a>(&'a self, branch: &'a Branch) -> Indexed<'a> {
        let Some(held) = &self.held else {
            return Indexed { issues: &branch.issues, hotspots: &branch.hotspots };
        };
        let held = held.get(&branch.id);
        held.map(|held| Indexed { issues: &held.issues, hotspots: &held.hotspots }).unwrap_or_default()
    }
}

impl Branch {
    fn new(name: &str, id: String, place: Place) -> Branch {
        Branch {
            name: name.to_owned(),
            id,
            place,
            issues: Vec::new(),
            hotspots: Vec::new(),
            analyses: Vec::new(),
            gate: None,
            positions: HashMap::new(),
        }
    }

    pub fn is(&self, target: Target<'_>) -> bool {
        match target {
            Target::Branch(name) => self.name == name && !self.is_pull_request(),
            Target::PullRequest(key) => self.name == key && self.is_pull_request(),
        }
    }

    pub fn issues(&self) -> &[Issue] {
        &self.issues
    }

    pub fn is_main(&self) -> bool {
        self.place == Place::Main
    }

    pub fn is_pull_request(&self) -> bool {
        matches!(self.place, Place::PullRequest { .. })
    }

    pub fn analysis_date(&self) -> Option<i64> {
        self.analyses.last().map(|analysis| analysis.date)
    }

    /// `type` as branch lists and webhooks print it.
    pub fn type_word(&self, cloud: bool) -> &'static str {
        match self.place {
            Place::PullRequest { .. } => "PULL_REQUEST",
            _ if !cloud => "BRANCH",
            Place::Main | Place::Branch { long: true } => "LONG",
            Place::Branch { long: false } => "SHORT",
        }
    }

    fn push(&mut self, issue: Issue) {
        let position = self.issues.len();
        let double = self.positions.insert(issue.key.clone(), position);
        assert!(double.is_none(), "the branch {} has an issue {} already", self.name, issue.key);
        self.issues.push(issue);
    }
}

impl Gate {
    pub fn sonar_way(status: GateStatus, rating: u8) -> Gate {
        let rating_status = if rating > 1 { "ERROR" } else { "OK" };
        let condition = |metric: &str, operator, value: Option<String>, status, threshold: &str| Condition {
            metric: metric.to_owned(),
            operator,
            value,
            status,
            error_threshold: threshold.to_owned(),
        };
        Gate {
            name: "Sonar way".to_owned(),
            status,
            conditions: vec![
                condition("security_rating", "GREATER_THAN", Some(rating.to_string()), rating_status, "1"),
                condition("new_coverage", "LESS_THAN", None, "NO_VALUE", "80"),
            ],
        }
    }
}

impl Token {
    pub fn may_browse(&self, project: &str) -> bool {
        match &self.browse {
            Browse::All => true,
            Browse::Projects(keys) => keys.iter().any(|key| key == project),
            Browse::None => false,
        }
    }
}
