//! `finding`: the inventory, as a list and one by one.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use super::Session;
use super::client::{Answer, Failure, path, path_with};
use super::pages::{first_rows, shaped};
use super::table::{Output, cell, cell_of, clean, minute, minute_ago, now, number, plain_text, shortened, table};
use crate::admin::shapes::{Finding, FindingDetail, FindingList, TriageDecision};
use crate::domain::finding::{CloseReason, Kind, Severity, State};

/// What can be done with findings.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List findings, the worst first; without --state those that are not closed.
    #[command(after_help = "Examples:\n  hydrophone finding list --severity critical --severity high\n  \
        hydrophone finding list --project web-shop --search injection")]
    List {
        /// Which ones.
        #[command(flatten)]
        filters: Box<Filters>,
        /// Show at most so many.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
    },
    /// Show a finding with its history and its rule, and why it is closed.
    Show {
        /// Give the finding's id, as the list shows it.
        id: String,
    },
    /// Decide about a finding, in Sonar.
    #[command(
        after_help = "The decision is told to Sonar, whose token's user needs the permission to administer issues \
        (or security\nhotspots); the inventory follows with the next read, which is asked for at once.\n\nExample:\n  \
        hydrophone finding triage F12 --state false_positive \\\n    --comment \"The value is a constant.\""
    )]
    Triage {
        /// Give the finding's id, as the list shows it.
        id: String,
        /// Decide what it is.
        #[arg(long, value_parser = ["open", "confirmed", "accepted", "false_positive"])]
        state: String,
        /// Say why; others read it in Sonar.
        #[arg(long, value_name = "TEXT")]
        comment: String,
        /// Use this state folder; `--state DIR` before the command does the same.
        #[arg(long, value_name = "DIR", help_heading = "Global options")]
        state_folder: Option<PathBuf>,
    },
    /// Undo the closing of a finding, until the next complete read of its branch.
    #[command(after_help = "The finding has the state again that it had before it was closed. The next complete read \
        of its branch closes\nit again if Sonar still says so: what lasts is decided in Sonar.\n\nExample:\n  \
        hydrophone finding reopen F12")]
    Reopen {
        /// Give the finding's id, as the list shows it.
        id: String,
    },
}

/// Which findings are meant.
#[derive(Debug, Clone, Default, Args)]
pub struct Filters {
    /// Choose those of this organization, as ORG or SOURCE/ORG.
    #[arg(long, value_name = "ORG")]
    pub organization: Option<String>,
    /// Choose those of this project.
    #[arg(long, value_name = "KEY")]
    pub project: Option<String>,
    /// Choose those of this asset.
    #[arg(long, value_name = "NAME")]
    pub asset: Option<String>,
    /// Choose those of this site of a fleet.
    #[arg(long, value_name = "NAME")]
    pub site: Option<String>,
    /// Choose those of this branch or pull request.
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,
    /// Choose those of this severity; may be repeated.
    #[arg(long, value_name = "SEVERITY", value_delimiter = ',', value_parser = words(Severity::ALL, Severity::as_str))]
    pub severity: Vec<String>,
    /// Choose those in this state; may be repeated.
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = words(State::ALL, State::as_str))]
    pub state: Vec<String>,
    /// Choose those of this kind.
    #[arg(long, value_parser = words(Kind::ALL, Kind::as_str))]
    pub kind: Option<String>,
    /// Choose those whose rule, title, message or path holds these words.
    #[arg(long, value_name = "TEXT")]
    pub search: Option<String>,
    /// Choose also those of branches and pull requests that SonarQube does not list any more.
    #[arg(long)]
    pub retired: bool,
    /// Choose also those that their organization's filter keeps back.
    #[arg(long)]
    pub filtered: bool,
    /// Use this state folder; `--state DIR` before the command does the same.
    #[arg(long, value_name = "DIR", help_heading = "Global options")]
    pub state_folder: Option<PathBuf>,
}

fn words<T: Copy>(all: &[T], word: fn(T) -> &'static str) -> PossibleValuesParser {
    all.iter().map(|&value| word(value)).collect::<Vec<_>>().into()
}

impl Filters {
    /// The path of a page of the findings that are meant.
    pub fn path(&self, rows: u64, cursor: Option<&str>) -> String {
        let rows = rows.to_string();
        self.path_of(&["findings"], &[("limit", Some(&rows)), ("cursor", cursor)])
    }

    /// The path of something about the findings that are meant.
    pub fn path_of(&self, segments: &[&str], more: &[(&str, Option<&str>)]) -> String {
        let joined = |words: &[String]| (!words.is_empty()).then(|| words.join(","));
        let parameters = [
            ("organization", self.organization.clone()),
            ("project", self.project.clone()),
            ("asset", self.asset.clone()),
            ("site", self.site.clone()),
            ("branch", self.branch.clone()),
            ("severity", joined(&self.severity)),
            ("state", joined(&self.state)),
            ("kind", self.kind.clone()),
            ("search", self.search.clone()),
            ("retired", self.retired.then(|| "true".to_owned())),
            ("filtered", self.filtered.then(|| "true".to_owned())),
        ];
        let parameters = parameters.each_ref().map(|(name, value)| (*name, value.as_deref()));
        path_with(segments, &[&parameters[..], more].concat())
    }
}

impl Command {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self {
            Self::List { filters, limit } => list(session, &filters, limit),
            Self::Show { id } => {
                let answer: Answer<FindingDetail> = session.client.get(&path(&["findings", &id]))?;
                session.show(&answer, print)
            }
            Self::Triage { id, state, comment, .. } => {
                let decision = TriageDecision { state: state.clone(), comment };
                let path = path(&["findings", &id, "triage"]);
                let answer: Answer<FindingDetail> = session.client.post_long(&path, &decision)?;
                session.show(&answer, |out, _| {
                    out.line(format_args!(
                        "Sonar says that finding {} is {} now; its branch is read.",
                        clean(&id),
                        state.replace('_', " ")
                    ))
                })
            }
            Self::Reopen { id } => {
                let path = path(&["findings", &id, "reopen"]);
                let answer: Answer<FindingDetail> = session.client.post(&path, &serde_json::json!({}))?;
                session.show(&answer, reopened)
            }
        }
    }
}

fn reopened(out: &mut Output, detail: &FindingDetail) -> Result<(), Failure> {
    let finding = &detail.finding;
    let (id, state) = (clean(&finding.id), clean(&finding.state));
    out.line(format_args!(
        "Finding {id} is {state} again, until the next complete read of {}, which closes it again if Sonar still does.",
        clean(&finding.branch)
    ))
}

fn list(session: &mut Session, filters: &Filters, limit: u64) -> Result<(), Failure> {
    let answer = first_rows(&session.client, "findings", limit, |rows, cursor| filters.path(rows, cursor))?;
    session.show(&answer, |out, value| {
        let list: FindingList = shaped(value)?;
        if list.findings.is_empty() {
            out.line("No findings match. Without --state only those that are not closed are looked at.")?;
            return kept_back(out, list.filtered);
        }
        let of_sites = list.findings.iter().any(|finding| finding.site.is_some());
        let mut names = vec!["id", "severity", "state", "project", "branch", "place", "title"];
        if of_sites {
            names.insert(SITE_COLUMN, "site");
        }
        let mut rows = table(&names);
        for finding in &list.findings {
            let mut row = vec![
                cell(&finding.id),
                out.severity_cell(&finding.severity),
                cell(state(finding)),
                cell(&finding.project),
                cell(branch(finding)),
                cell(place(finding)),
                cell(shortened(&finding.title, TITLE_MAX)),
            ];
            if of_sites {
                row.insert(SITE_COLUMN, cell_of(finding.site.as_deref()));
            }
            rows.add_row(row);
        }
        out.table(rows)?;
        let about = if list.total_exact { "" } else { "at least " };
        out.line(format_args!("{} of {about}{} shown", number(list.findings.len() as u64), number(list.total)))?;
        kept_back(out, list.filtered)
    })
}

/// Where the site is shown: beside the project.
const SITE_COLUMN: usize = 3;

fn kept_back(out: &mut Output, filtered: u64) -> Result<(), Failure> {
    match filtered {
        0 => Ok(()),
        more => out.line(format_args!("{} more are kept back by a filter; --filtered shows them", number(more))),
    }
}

fn state(finding: &Finding) -> String {
    if finding.filtered { format!("{} (kept back)", finding.state) } else { finding.state.clone() }
}

fn branch(finding: &Finding) -> String {
    if finding.retired { format!("{} (not listed any more)", finding.branch) } else { finding.branch.clone() }
}

fn place(finding: &Finding) -> String {
    match (&finding.path, finding.line) {
        (Some(path), Some(line)) => format!("{path}:{line}"),
        (Some(path), None) => path.clone(),
        (None, _) => String::new(),
    }
}

fn print(out: &mut Output, detail: &FindingDetail) -> Result<(), Failure> {
    let finding = &detail.finding;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    out.line(clean(&finding.title))?;
    out.line("")?;
    out.field("Finding", &finding.id)?;
    out.field("Message", &finding.message)?;
    let severity = out.severity(&finding.severity);
    out.line(format_args!("{:<16}{severity}", "Severity:"))?;
    out.field("State", state(finding))?;
    out.field("Kind", &finding.kind)?;
    out.field("Rule", text(&finding.rule))?;
    out.field("CWE", finding.cwe.iter().map(|number| format!("CWE-{number}")).collect::<Vec<_>>().join(", "))?;
    out.field("Place", place(finding))?;
    out.field("Project", &finding.project)?;
    out.field("Branch", branch(finding))?;
    out.field("Organization", &finding.organization)?;
    out.field("Source", &finding.source)?;
    out.field("Site", text(&finding.site))?;
    out.field("Asset", text(&finding.asset))?;
    out.field("Sonar's key", &finding.key)?;
    out.field("In Sonar", &finding.url)?;
    times(out, finding)?;
    closed_by(out, finding)?;
    sonar_words(out, finding)?;
    history(out, detail)?;
    rule(out, detail)
}

fn times(out: &mut Output, finding: &Finding) -> Result<(), Failure> {
    let now = now();
    let times = [
        ("Created", finding.created_at.as_deref()),
        ("Updated", finding.updated_at.as_deref()),
        ("Closed", finding.closed_at.as_deref()),
        ("First seen", Some(finding.first_seen_at.as_str())),
        ("Last seen", finding.last_seen_at.as_deref()),
    ];
    for (label, time) in times {
        out.field(label, time.map(|time| minute_ago(time, now)).unwrap_or_default())?;
    }
    Ok(())
}

fn closed_by(out: &mut Output, finding: &Finding) -> Result<(), Failure> {
    let Some(by) = &finding.closed_by else { return Ok(()) };
    let why = match by.reason.parse() {
        Ok(CloseReason::Fixed) => "Sonar says that it was fixed",
        Ok(CloseReason::Removed) => "Sonar says that it was closed without a fix: rule off, or file out of scope",
        Ok(CloseReason::Unknown) => "a complete read did not meet it, and Sonar, asked for it, does not know it",
        Ok(CloseReason::NoLongerSecurity) => "Sonar no longer has it as a security finding of this branch",
        Err(_) => &by.reason,
    };
    out.field("Closed because", format!("{why} (read of {}; it was {})", minute(&by.read_at), by.from))
}

fn sonar_words(out: &mut Output, finding: &Finding) -> Result<(), Failure> {
    let Some(words) = finding.sonar.as_object() else { return Ok(()) };
    let said: Vec<_> = words
        .iter()
        .filter_map(|(name, value)| Some(format!("{name} {}", value.as_str().filter(|word| !word.is_empty())?)))
        .collect();
    out.field("Sonar says", said.join(", "))
}

fn history(out: &mut Output, detail: &FindingDetail) -> Result<(), Failure> {
    if detail.changes.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let mut rows = table(&["when", "change", "from", "to"]);
    for change in &detail.changes {
        rows.add_row([cell(minute(&change.at)), cell(&change.kind), cell_of(change.from.as_deref()), cell(&change.to)]);
    }
    out.table(rows)
}

fn rule(out: &mut Output, detail: &FindingDetail) -> Result<(), Failure> {
    let Some(description) = &detail.rule_description else { return Ok(()) };
    out.line("")?;
    out.line(plain_text(description))
}

/// Characters of a title in a list.
const TITLE_MAX: usize = 80;

#[cfg(test)]
pub(in crate::cli) mod tests {
    use serde_json::{Value, json};

    use super::super::client::tests::FakeDaemon;
    use super::super::tests::told;
    use super::*;

    pub(in crate::cli) fn finding(id: &str, message: &str) -> Value {
        json!({"id": id, "key": "AX", "source": "eu", "organization": "acme", "project": "web", "branch": "main",
               "asset": null, "kind": "vulnerability", "rule": "java:S1", "title": "Title", "message": message,
               "severity": "high", "state": "open", "path": "a.java", "line": 7, "cwe": [79, 89], "url": "https://u",
               "created_at": null, "updated_at": null, "closed_at": null, "first_seen_at": "2026-11-21T14:03:00Z",
               "last_seen_at": null, "sonar": {"type": "VULNERABILITY", "severity": "MAJOR", "status": "OPEN"}})
    }

    #[test]
    fn filters_become_parameters_of_the_path() {
        let filters = Filters {
            organization: Some("eu/acme".to_owned()),
            severity: vec!["high".to_owned(), "low".to_owned()],
            search: Some("a b".to_owned()),
            retired: true,
            ..Filters::default()
        };
        let path = "findings?organization=eu%2Facme&severity=high%2Clow&search=a%20b&retired=true&limit=50";
        assert_eq!(filters.path(50, None), path);
        assert_eq!(filters.path(50, Some("x")), format!("{path}&cursor=x"));
    }

    #[test]
    fn a_list_tells_how_many_there_are() {
        let daemon = FakeDaemon::start(|_, _| {
            let list = json!({"findings": [finding("1", "m")], "total": 1234, "total_exact": true, "next": "x"});
            (200, list.to_string())
        });
        let text = told(&daemon, &["finding", "list", "--limit", "1"]).0;
        let expected = "ID  SEVERITY  STATE  PROJECT  BRANCH  PLACE     TITLE\n\
                        1   high      open   web      main    a.java:7  Title\n1 of 1,234 shown\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_list_names_sites_where_there_are_some() {
        let daemon = FakeDaemon::start(|line, _| {
            assert_eq!(line, "GET /api/v1/findings?site=berlin&limit=50");
            let mut told = finding("1", "m");
            told["site"] = json!("berlin");
            let list = json!({"findings": [told, finding("2", "m")], "total": 2, "total_exact": true, "next": null});
            (200, list.to_string())
        });
        let text = told(&daemon, &["finding", "list", "--site", "berlin"]).0;
        let expected = "ID  SEVERITY  STATE  SITE    PROJECT  BRANCH  PLACE     TITLE\n\
                        1   high      open   berlin  web      main    a.java:7  Title\n\
                        2   high      open   -       web      main    a.java:7  Title\n2 of 2 shown\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_closed_finding_says_why_and_by_which_read() {
        let mut detail = finding("F1", "m");
        detail["state"] = json!("removed");
        detail["closed_by"] = json!({"reason": "unknown_to_sonar", "read_at": "2026-11-21T14:03:00Z", "from": "open"});
        detail["changes"] = json!([]);
        let daemon = FakeDaemon::start(move |_, _| (200, detail.to_string()));
        let text = told(&daemon, &["finding", "show", "F1"]).0;
        let line = "a complete read did not meet it, and Sonar, asked for it, does not know it (read of 2026-11-21 14:03; it was open)";
        assert!(text.lines().any(|told| told.starts_with("Closed because:") && told.ends_with(line)), "{text}");
    }

    #[test]
    fn reopening_says_for_how_long() {
        let mut detail = finding("F1", "m");
        detail["changes"] = json!([]);
        let daemon = FakeDaemon::start(move |_, _| (200, detail.to_string()));
        let text = told(&daemon, &["finding", "reopen", "F1"]).0;
        let expected = "Finding F1 is open again, until the next complete read of main, which closes it again if Sonar still does.\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_finding_is_shown_with_history_and_rule_and_without_escapes() {
        let mut detail = finding("1", "bad\u{1b}[2J");
        detail["rule_description"] = json!("<p>Do &lt;this&gt;.</p>");
        detail["changes"] =
            json!([{"id": "9", "at": "2026-11-21T14:03:00Z", "kind": "opened", "from": null, "to": "open"}]);
        let daemon = FakeDaemon::start(move |_, _| (200, detail.to_string()));
        let text = told(&daemon, &["finding", "show", "1"]).0;
        for part in
            ["bad\u{fffd}[2J", "CWE-79, CWE-89", "2026-11-21 14:03  opened  -     open", "Do <this>.", "severity MAJOR"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains('\u{1b}'));
    }
}
