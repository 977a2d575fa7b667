//! Waits until Sonar was read, and shows how far it is. Only the daemon's answers count here; the daemon goes on
//! whether somebody waits or not.

use std::collections::HashSet;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use super::client::{Client, Failure, Interrupts, path};
use super::pages::shaped;
use super::table::{counted, number};
use super::{Session, note};
use crate::admin::shapes::{Branch, Project};
use crate::domain::time::Timestamp;

/// The flags of commands that can wait.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Wait {
    /// Wait until Sonar was read.
    #[arg(long)]
    pub wait: bool,
    /// Wait at most so long; the daemon goes on.
    #[arg(long, value_name = "SECONDS", requires = "wait")]
    pub timeout: Option<u64>,
}

/// Where a project stands.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// Some of it is still to be read.
    Waiting,
    /// All of it was read.
    Read,
    /// Nothing is under way any more, and these are the reasons.
    Failed(Vec<String>),
    /// Some of it was not read, and nothing tells why: it is not on the agenda, and no error was noted.
    Stuck(Vec<String>),
}

/// Waits until every branch of the projects was read since that time or has ended with an error, and shows the
/// outcome.
pub fn until_read(session: &mut Session, projects: &[Project], since: Timestamp, wait: Wait) -> Result<(), Failure> {
    let mut interrupts = session.client.interrupts()?;
    let progress = Progress::new(projects.len());
    let mut watch = Watch { projects, since: whole_second(since), progress, told: HashSet::new(), stuck: 0 };
    let begin = Instant::now();
    let mut interval = POLL_MIN;
    let (latest, failures) = loop {
        let latest = read_projects(&session.client, &mut interrupts, projects)?;
        if let Some(failures) = watch.look(&latest)? {
            break (latest, failures);
        }
        if let Some(seconds) = wait.timeout.filter(|&seconds| begin.elapsed() >= Duration::from_secs(seconds)) {
            return Err(Failure::Unfinished { seconds });
        }
        session.client.pause(&mut interrupts, interval)?;
        interval = (interval * 5 / 4).min(POLL_MAX);
    };
    drop(watch);
    show(session, latest, &failures)
}

fn show(session: &mut Session, latest: Vec<Option<Value>>, failures: &[String]) -> Result<(), Failure> {
    let latest: Vec<Value> = latest.into_iter().flatten().collect();
    if session.out.json {
        session.out.document(&serde_json::json!({"projects": latest}).to_string())?;
    } else {
        let projects = latest.iter().map(shaped::<Project>).collect::<Result<Vec<_>, _>>()?;
        let open: u64 = projects.iter().map(open_findings).sum();
        let read = counted(projects.len() as u64, "project");
        session.out.line(format_args!("{read} done, {} open.", counted(open, "finding")))?;
    }
    session.out.flush()?;
    for failure in failures {
        note(&format!("error: {failure}"));
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::Told) }
}

/// The projects as they are now, in the order asked for; none for one that is gone.
fn read_projects(
    client: &Client,
    interrupts: &mut Interrupts,
    projects: &[Project],
) -> Result<Vec<Option<Value>>, Failure> {
    if let [project] = projects {
        let organization = format!("{}/{}", project.source, project.organization);
        let path = path(&["organizations", &organization, "projects", &project.key]);
        return match client.get_unless::<Value>(interrupts, &path) {
            Ok(answer) => Ok(vec![Some(answer.value)]),
            Err(failure) if failure.is_not_found() => Ok(vec![None]),
            Err(failure) => Err(failure),
        };
    }
    let mut all = client.get_unless::<Value>(interrupts, "projects")?.value;
    let all = all["projects"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let mut known: std::collections::HashMap<_, _> = all.into_iter().map(|value| (identity(&value), value)).collect();
    let wanted = |project: &Project| [project.source.clone(), project.organization.clone(), project.key.clone()];
    Ok(projects.iter().map(|project| known.remove(&wanted(project))).collect())
}

fn identity(value: &Value) -> [String; 3] {
    ["source", "organization", "key"].map(|field| value[field].as_str().unwrap_or_default().to_owned())
}

/// What the waiting has seen so far.
struct Watch<'a> {
    projects: &'a [Project],
    since: Timestamp,
    progress: Progress,
    told: HashSet<usize>,
    /// Looks in a row that found nothing under way, and yet not all read.
    stuck: u32,
}

impl Watch<'_> {
    /// Takes in how the projects are now. Gives what failed once nothing is left to wait for.
    fn look(&mut self, latest: &[Option<Value>]) -> Result<Option<Vec<String>>, Failure> {
        let (mut failures, mut branches) = (Vec::new(), Vec::new());
        let (mut waiting, mut stuck) = (false, false);
        for (index, value) in latest.iter().enumerate() {
            let name = &self.projects[index].key;
            let project = value.as_ref().map(shaped::<Project>).transpose()?.filter(|project| project.imported);
            let standing = match &project {
                None => Standing::Failed(vec![format!("{name} is not imported any more")]),
                Some(project) => standing(project, self.since),
            };
            match standing {
                Standing::Waiting => waiting = true,
                Standing::Read => self.tell(index, project.as_ref()),
                Standing::Failed(reasons) => {
                    self.told.insert(index);
                    failures.extend(reasons);
                }
                Standing::Stuck(reasons) => {
                    stuck = true;
                    failures.extend(reasons);
                }
            }
            branches.extend(project.into_iter().flat_map(|project| project.branches));
        }
        self.progress.update(self.told.len(), &branches);
        // The agenda and the times of reads are told in one answer, so one look would do. A few more cost a moment, and
        // a wait that ends too early would call a read failed that goes on.
        self.stuck = if stuck && !waiting { self.stuck + 1 } else { 0 };
        Ok(if waiting || (stuck && self.stuck < STUCK_LOOKS) { None } else { Some(failures) })
    }

    fn tell(&mut self, index: usize, project: Option<&Project>) {
        if self.told.insert(index)
            && let Some(project) = project
        {
            let listed = project.branches.iter().filter(|branch| branch.retired_at.is_none()).count();
            let branches = counted(listed as u64, "scope");
            let findings = counted(open_findings(project), "finding");
            self.progress.line(&format!("{}: {findings} open in {branches}", project.key));
        }
    }
}

fn standing(project: &Project, since: Timestamp) -> Standing {
    if project.activity == "queued" {
        return Standing::Waiting;
    }
    // A project whose branches were never found, or of which none was chosen, has no branch to hold the reason.
    let mut reasons: Vec<_> = project.error.iter().map(|error| format!("{}: {error}", project.key)).collect();
    let mut unread = Vec::new();
    if project.branches.is_empty() && reasons.is_empty() {
        if project.next_at.is_some() {
            return Standing::Waiting;
        }
        unread.push(format!("{}: {UNREAD}", project.key));
    }
    for branch in &project.branches {
        let read = branch.synced_at.as_deref().and_then(|time| Timestamp::parse(time).ok());
        match &branch.error {
            _ if branch.activity != "idle" => return Standing::Waiting,
            // Nobody reads what Sonar does not list any more, so what went wrong with it before is no news.
            _ if branch.retired_at.is_some() => {}
            Some(error) => reasons.push(format!("{} {}: {error}", project.key, branch.name)),
            None if read.is_some_and(|read| read >= since) => {}
            // Planned for later, as after a look that found a branch in the middle of a change.
            None if branch.next_at.is_some() => return Standing::Waiting,
            None => unread.push(format!("{} {}: {UNREAD}", project.key, branch.name)),
        }
    }
    match (unread.is_empty(), reasons.is_empty()) {
        (true, true) => Standing::Read,
        (true, false) => Standing::Failed(reasons),
        (false, _) => {
            reasons.extend(unread);
            Standing::Stuck(reasons)
        }
    }
}

const UNREAD: &str = "it was not read, and nothing of it is left to be done; ask again with `hydrophone sync`";

/// Looks in a row that find nothing under way before the wait ends without all being read.
const STUCK_LOOKS: u32 = 5;

/// The API's times have whole seconds, so a read that ends within the second of the request carries its number.
fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp(time.0.div_euclid(1000) * 1000)
}

/// Findings of a project that lists and totals show.
pub fn open_findings(project: &Project) -> u64 {
    let listed = project.branches.iter().filter(|branch| branch.retired_at.is_none());
    listed.map(|branch| branch.stored_total).sum()
}

/// Bars on a terminal, lines elsewhere; on standard error, as the answer has standard output to itself.
struct Progress {
    bars: Option<(MultiProgress, ProgressBar, ProgressBar)>,
}

impl Progress {
    fn new(projects: usize) -> Self {
        let bars = (io::stderr().is_terminal() && io::stdout().is_terminal()).then(|| {
            let bars = MultiProgress::new();
            let bar = |length, unit: &'static str| {
                let template = format!("{unit:<9} {{bar:30}} {{human_pos}} of {{human_len}}");
                let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
                bars.add(ProgressBar::new(length).with_style(style))
            };
            let (first, second) = (bar(projects as u64, "projects"), bar(0, "findings"));
            (bars, first, second)
        });
        Self { bars }
    }

    fn update(&self, done: usize, branches: &[Branch]) {
        let Some((_, projects, findings)) = &self.bars else { return };
        let (mut read, mut expected) = (0, 0);
        for branch in branches.iter().filter(|branch| branch.activity == "running") {
            read += branch.read;
            expected += branch.expected.max(branch.read);
        }
        projects.set_position(done as u64);
        findings.set_length(expected);
        findings.set_position(read);
    }

    fn line(&self, text: &str) {
        match &self.bars {
            Some((bars, ..)) => bars.suspend(|| note(text)),
            None => note(text),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((bars, ..)) = &self.bars {
            // Nothing more is drawn after this, so a terminal that does not answer changes nothing.
            let _ = bars.clear();
        }
    }
}

/// `web (main): 1,200 of 5,000` for what is being read, for commands that show a project.
pub fn activity(branch: &Branch) -> String {
    match branch.activity.as_str() {
        "running" if branch.expected > 0 => {
            format!("reading, {} of {}", number(branch.read), number(branch.expected))
        }
        "running" => "reading".to_owned(),
        other => other.to_owned(),
    }
}

/// The pause between the first two looks; it grows from there.
const POLL_MIN: Duration = Duration::from_millis(200);

/// The longest pause between two looks.
const POLL_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::super::client::tests::FakeDaemon;
    use super::super::tests::told;
    use super::*;

    fn branch(activity: &str, synced_at: Option<&str>, error: Option<&str>) -> Value {
        json!({"name": "main", "kind": "branch", "main": true, "analysed_at": null, "quality_gate": null,
               "synced_at": synced_at, "complete": true, "sonar_total": 2, "stored_total": 2, "error": error,
               "activity": activity, "read": 1, "expected": 2})
    }

    fn project(key: &str, branches: &[Value]) -> Value {
        json!({"source": "eu", "organization": "acme", "key": key, "name": key, "imported": true, "asset": null,
               "branches": branches})
    }

    fn stands(branches: &[Value]) -> Standing {
        let since = Timestamp::parse("2026-11-21T14:03:00Z").unwrap();
        standing(&shaped(&project("web", branches)).unwrap(), since)
    }

    #[test]
    fn a_project_is_done_when_every_branch_was_read_since() {
        let (before, at, after) = ("2026-11-21T14:02:59Z", "2026-11-21T14:03:00Z", "2026-11-21T14:03:01Z");
        let planned = |synced_at: Option<&str>| {
            let mut branch = branch("idle", synced_at, None);
            branch["next_at"] = json!("2026-11-21T14:04:00Z");
            branch
        };
        assert_eq!(stands(&[planned(None)]), Standing::Waiting);
        assert_eq!(stands(&[planned(Some(before))]), Standing::Waiting);
        assert_eq!(stands(&[planned(Some(at))]), Standing::Read);
        assert_eq!(stands(&[branch("running", Some(after), None)]), Standing::Waiting);
        assert_eq!(stands(&[branch("queued", Some(after), Some("old"))]), Standing::Waiting);
        assert_eq!(stands(&[branch("idle", Some(at), None)]), Standing::Read);
        assert_eq!(stands(&[branch("idle", Some(after), None), branch("queued", None, None)]), Standing::Waiting);
        let failed = Standing::Failed(vec!["web main: no".to_owned()]);
        assert_eq!(stands(&[branch("idle", Some(before), Some("no")), branch("idle", Some(at), None)]), failed);
    }

    #[test]
    fn what_was_not_read_and_is_not_planned_either_is_told_as_such() {
        let unread = |of: &str| Standing::Stuck(vec![format!("{of}: {UNREAD}")]);
        assert_eq!(stands(&[]), unread("web"));
        assert_eq!(stands(&[branch("idle", None, None)]), unread("web main"));
        assert_eq!(stands(&[branch("idle", Some("2026-11-21T14:02:59Z"), None)]), unread("web main"));
    }

    /// Whatever the reason, such a wait must not last for ever.
    #[test]
    fn waiting_ends_where_nothing_is_under_way_and_nothing_was_read() {
        let daemon = FakeDaemon::start(|line, _| {
            let stale = project("web", &[branch("idle", Some("2026-11-21T14:02:59Z"), None)]);
            match line {
                "POST /api/v1/sync" => (200, json!({"projects": [stale]}).to_string()),
                _ => (200, stale.to_string()),
            }
        });
        let (text, done) = told(&daemon, &["sync", "--wait"]);
        assert_eq!(text, "1 project done, 2 findings open.\n");
        assert!(matches!(done, Err(Failure::Told)));
    }

    #[test]
    fn nobody_waits_for_a_branch_that_is_not_listed_any_more() {
        let retired = |activity: &str| {
            let mut branch = branch(activity, Some("2026-11-21T14:02:59Z"), None);
            branch["retired_at"] = json!("2026-11-21T14:02:59Z");
            branch
        };
        let read = || branch("idle", Some("2026-11-21T14:03:00Z"), None);
        assert_eq!(stands(&[read(), retired("idle")]), Standing::Read);
        assert_eq!(stands(&[read(), retired("queued")]), Standing::Waiting);
        let mut failed = retired("idle");
        failed["error"] = json!("no usable answer, before it was gone");
        assert_eq!(stands(&[read(), failed]), Standing::Read);
        let project = shaped(&project("web", &[read(), retired("idle")])).unwrap();
        assert_eq!(open_findings(&project), 2);
    }

    #[test]
    fn a_project_without_branches_ends_with_its_own_error_once_they_were_asked_for() {
        let standing = |activity: &str, error: Option<&str>| {
            let mut project = project("web", &[]);
            project["activity"] = json!(activity);
            project["error"] = json!(error);
            standing(&shaped(&project).unwrap(), Timestamp(0))
        };
        assert_eq!(standing("queued", None), Standing::Waiting);
        assert_eq!(standing("queued", Some("of before")), Standing::Waiting);
        assert_eq!(standing("idle", None), Standing::Stuck(vec![format!("web: {UNREAD}")]));
        let failed = Standing::Failed(vec!["web: no branch matches x".to_owned()]);
        assert_eq!(standing("idle", Some("no branch matches x")), failed);
    }

    #[test]
    fn branches_that_are_read_do_not_end_the_wait_while_more_are_asked_for() {
        let mut project = project("web", &[branch("idle", Some("2999-01-01T00:00:00Z"), None)]);
        project["activity"] = json!("queued");
        assert_eq!(standing(&shaped(&project).unwrap(), Timestamp(0)), Standing::Waiting);
    }

    #[test]
    fn waiting_ends_once_the_daemon_has_read_the_project() {
        let looks = AtomicUsize::new(0);
        let daemon = FakeDaemon::start(move |line, _| match line {
            "POST /api/v1/sync" => (200, json!({"projects": [project("web", &[])]}).to_string()),
            "GET /api/v1/organizations/eu%2Facme/projects/web" => {
                let branches = match looks.fetch_add(1, Ordering::Relaxed) {
                    0 => vec![],
                    1 => vec![branch("running", None, None)],
                    _ => vec![branch("idle", Some("2999-01-01T00:00:00Z"), None)],
                };
                (200, project("web", &branches).to_string())
            }
            other => panic!("{other}"),
        });
        let (text, done) = told(&daemon, &["sync", "acme", "web", "--wait"]);
        assert_eq!(text, "1 project done, 2 findings open.\n");
        assert!(done.is_ok());
        assert_eq!(daemon.asked().len(), 4);
    }

    #[test]
    fn waiting_for_several_projects_reads_them_in_one_call_and_reports_what_failed() {
        let daemon = FakeDaemon::start(move |line, _| {
            let a = project("a", &[branch("idle", Some("2999-01-01T00:00:00Z"), None)]);
            let b = project("b", &[branch("idle", None, Some("refused"))]);
            match line {
                "POST /api/v1/sync" => (200, json!({"projects": [a, b]}).to_string()),
                "GET /api/v1/projects" => (200, json!({"projects": [b, a, project("c", &[])]}).to_string()),
                other => panic!("{other}"),
            }
        });
        let (text, done) = told(&daemon, &["sync", "--wait", "--json"]);
        let keys: Vec<_> = serde_json::from_str::<Value>(&text).unwrap()["projects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|project| project["key"].clone())
            .collect();
        assert_eq!(keys, ["a", "b"]);
        assert!(matches!(done, Err(Failure::Told)));
    }

    #[test]
    fn waiting_ends_at_its_limit() {
        let daemon = FakeDaemon::start(|line, _| match line {
            "POST /api/v1/sync" => (200, json!({"projects": [project("web", &[])]}).to_string()),
            _ => (200, project("web", &[]).to_string()),
        });
        let (_, done) = told(&daemon, &["sync", "--wait", "--timeout", "0"]);
        assert!(matches!(done, Err(Failure::Unfinished { seconds: 0 })));
    }
}
