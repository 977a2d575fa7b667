//! `destination`: the platforms that findings are passed on to.

mod mapping;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::de::IgnoredAny;

use self::mapping::Mapping;
use super::Session;
use super::client::{Answer, Failure, path, path_with};
use super::pem::read_certificates;
use super::proxy::Proxy;
use super::secret::read_secret;
use super::table::{Output, cell, clean, minute_ago, now, number, shortened, table};
use crate::admin::shapes::{
    self, CheckLine, DeadLetterCount, DeadLetterList, Destination, DestinationCheck, DestinationEdit,
    DestinationFilter, DestinationList, DestinationPreview, DestinationReplay, NewDestination, OfferList, TriageEdit,
};

/// What can be done with destinations.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Pass findings on to a platform.
    #[command(after_help = "Examples:\n  \
        hydrophone destination add defectdojo dojo \\\n    --url https://dojo.example.com --token-file token.txt\n  \
        hydrophone destination add conviso conviso \\\n    --option company=42 --token-file key.txt\n  \
        hydrophone destination add events siem \\\n    --url https://siem.example.com/hydrophone\n  \
        hydrophone destination add sarif files --url /var/lib/hydrophone/sarif\n  \
        hydrophone destination add github code \\\n    --option repository=acme/shop --token-file token.txt\n  \
        hydrophone destination add nats fleet \\\n    --url tls://nats.example.com --option site=berlin --token-file berlin.txt\n\n\
        What --option sets, by kind:\n  \
        defectdojo  product-type (in which missing products are made), engagement (SonarQube), verified (yes|no)\n  \
        conviso     company (its number; needed), business-impact (of assets that are made), repository-url (with\n              \
        {organization} {project} {name}), repository-url.PROJECT\n  \
        events      plain (yes takes http://), timeout (seconds)\n  \
        sarif       keep (former versions of each file), suppressions (all|false-positives|none)\n  \
        github      repository (OWNER/NAME), repository.PROJECT, ref (refs/heads/{branch}), commit (analysed|head),\n              \
        suppressions\n  \
        nats        site (what this box's place is called; needed), stream (HYDROPHONE), plain (yes takes a way without\n              \
        TLS)\n\n\
        What an organization's own filter keeps back is not passed on either; see `hydrophone organization filter --help`.")]
    Add(Box<Add>),
    /// List the destinations.
    List,
    /// Show a destination.
    Show {
        /// Name the destination.
        name: String,
    },
    /// Ask the platform now whether address, credentials and rights are good.
    Check {
        /// Name the destination.
        name: String,
    },
    /// Change what a destination is told, and how.
    #[command(long_about = "Change what a destination is told, and how.\n\n\
        A narrower filter closes nothing on DefectDojo and Conviso. SARIF files and GitHub show what passes now, so that \
        GitHub counts the rest as fixed, and signed events and NATS tell nothing more of it. To keep what was told, narrow the \
        organization's filter instead: `hydrophone organization filter --help`.")]
    Edit(Box<Edit>),
    /// Tell a destination nothing until it is resumed.
    Pause {
        /// Name the destination.
        name: String,
    },
    /// Tell a paused destination again, from where it was.
    Resume {
        /// Name the destination.
        name: String,
    },
    /// Count what a destination would be told if it were told everything now, and tell it nothing.
    Preview {
        /// Name the destination.
        name: String,
    },
    /// Tell a destination again: the whole present state, or what changed since a point.
    Replay(Replay),
    /// List the places on the platform that an asset's findings can go to.
    Targets {
        /// Name the destination.
        name: String,
        /// Show those whose names contain this.
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// Show or change which state is which status of the platform.
    Mapping(Mapping),
    /// Show the messages that a platform refuses; try them again, or drop them.
    DeadLetters(DeadLetters),
    /// Forget a destination. Nothing is closed there.
    Remove {
        /// Name the destination.
        name: String,
    },
}

/// What a destination is told.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What is passed on")]
pub struct Filter {
    /// Pass on findings of this organization only, `ORG` or `SOURCE/ORG`; may be repeated.
    #[arg(long = "organization", value_name = "ORG")]
    organizations: Vec<String>,
    /// Pass on findings of this project only; `*` stands for anything, and it may be repeated.
    #[arg(long = "project", value_name = "KEY")]
    projects: Vec<String>,
    /// Pass on findings of this branch only; `*` stands for anything, and it may be repeated.
    #[arg(long = "branch", value_name = "NAME")]
    branches: Vec<String>,
    /// Pass on findings of this severity only; may be repeated.
    #[arg(long = "severity", value_name = "S", value_parser = ["critical", "high", "medium", "low", "info"])]
    severities: Vec<String>,
    /// Pass on findings of this kind only.
    #[arg(long = "kind", value_name = "KIND", value_parser = ["vulnerability", "hotspot"])]
    kinds: Vec<String>,
    /// Pass on findings of pull requests, too.
    #[arg(long)]
    pull_requests: bool,
    /// Pass on findings of this site of a fleet only; may be repeated.
    #[arg(long = "site", value_name = "NAME")]
    sites: Vec<String>,
}

impl Filter {
    fn into_shape(self) -> DestinationFilter {
        DestinationFilter {
            organizations: self.organizations,
            projects: self.projects,
            branches: self.branches,
            severities: self.severities,
            kinds: self.kinds,
            pull_requests: self.pull_requests,
            sites: self.sites,
        }
    }

    fn is_given(&self) -> bool {
        let lists = [&self.organizations, &self.projects, &self.branches, &self.severities, &self.kinds, &self.sites];
        self.pull_requests || lists.iter().any(|list| !list.is_empty())
    }
}

/// Which way decisions are passed on.
#[derive(Debug, Clone, Copy, Args)]
pub struct Triage {
    /// Make decisions of the platform (false positive, accepted) decisions in Sonar.
    #[arg(long)]
    triage_to_sonar: bool,
    /// Make decisions of Sonar statuses of the platform.
    #[arg(long)]
    triage_from_sonar: bool,
}

/// A new destination.
#[derive(Debug, Args)]
pub struct Add {
    /// Choose the platform.
    #[arg(value_parser = ["defectdojo", "conviso", "events", "sarif", "github", "nats"])]
    kind: String,
    /// Choose a name: letters, digits and `- _ .`.
    name: String,
    /// Name its address; for SARIF files, a folder.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Read the token or key from this file, or from standard input for `-`.
    #[arg(long, value_name = "FILE", visible_alias = "secret-file")]
    token_file: Option<PathBuf>,
    /// Set what only this kind of platform knows; may be repeated.
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,
    /// Tell signed events of this box's own conditions, too: what came up, and what is over.
    #[arg(long)]
    conditions: bool,
    /// Name what an asset is called there; may be repeated.
    #[arg(long = "asset", value_name = "ASSET=NAME", value_parser = pair)]
    assets: Vec<(String, String)>,
    /// Trust the certificates of this PEM file too.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    proxy: Proxy,
    #[command(flatten)]
    triage: Triage,
    /// Begin paused, to look at `destination preview` first.
    #[arg(long)]
    paused: bool,
    /// Add it although it cannot be asked now.
    #[arg(long)]
    unchecked: bool,
    #[command(flatten)]
    filter: Filter,
}

/// A change to a destination.
#[derive(Debug, Args)]
pub struct Edit {
    /// Name the destination.
    name: String,
    /// Say that the same platform is at this address now; another one is a destination of its own.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Read a new token or key from this file, or from standard input for `-`.
    #[arg(long, value_name = "FILE", visible_alias = "secret-file")]
    token_file: Option<PathBuf>,
    /// Set what only this kind of platform knows; an empty value takes it away.
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,
    /// Tell signed events of this box's own conditions, too, or stop.
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    conditions: Option<bool>,
    /// Name what an asset is called there; an empty name takes it away.
    #[arg(long = "asset", value_name = "ASSET=NAME", value_parser = pair)]
    assets: Vec<(String, String)>,
    /// Make decisions of the platform decisions in Sonar, or stop.
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    triage_to_sonar: Option<bool>,
    /// Make decisions of Sonar statuses of the platform, or stop.
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    triage_from_sonar: Option<bool>,
    /// Trust the certificates of this PEM file too, in place of those that were given before.
    #[arg(long, value_name = "FILE", conflicts_with = "no_ca")]
    ca_file: Option<PathBuf>,
    /// Trust the system's certificates only.
    #[arg(long)]
    no_ca: bool,
    #[command(flatten)]
    proxy: Proxy,
    /// Ask the platform first, and change nothing where it does not accept what was given.
    #[arg(long)]
    check: bool,
    /// Pass everything on again.
    #[arg(long, conflicts_with_all = ["organizations", "projects", "branches", "severities", "kinds", "pull_requests", "sites"])]
    no_filter: bool,
    #[command(flatten)]
    filter: Filter,
}

/// What to tell again.
#[derive(Debug, Args)]
pub struct Replay {
    /// Name the destination.
    name: String,
    /// Tell what changed after this change again, such as C120, instead of everything.
    #[arg(long, value_name = "CHANGE", conflicts_with = "since")]
    after: Option<String>,
    /// Tell what changed since this time again, such as 2026-11-21T14:03:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

/// Messages that are refused.
#[derive(Debug, Args)]
pub struct DeadLetters {
    /// Name the destination.
    name: String,
    /// Try this finding's message again, or `all` of them.
    #[arg(long, value_name = "FINDING")]
    replay: Option<String>,
    /// Drop this finding's message, or `all` of them.
    #[arg(long, value_name = "FINDING", conflicts_with = "replay")]
    drop: Option<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => Err("it is written NAME=VALUE".to_owned()),
    }
}

pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" | "on" | "true" => Ok(true),
        "no" | "off" | "false" => Ok(false),
        _ => Err("it is yes or no".to_owned()),
    }
}

impl Command {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.run(session),
            Self::List => list(session),
            Self::Show { name } => {
                let answer: Answer<Destination> = session.client.get(&path(&["destinations", &name]))?;
                session.show(&answer, print)
            }
            Self::Check { name } => {
                let path = path(&["destinations", &name, "check"]);
                let answer: Answer<DestinationCheck> = session.client.post_long(&path, &serde_json::json!({}))?;
                session.show(&answer, |out, check| lines(out, &check.lines))
            }
            Self::Edit(edit) => edit.run(session),
            Self::Pause { name } => pause(session, &name, true),
            Self::Resume { name } => pause(session, &name, false),
            Self::Preview { name } => preview(session, &name),
            Self::Replay(Replay { name, after, since }) => {
                let path = path(&["destinations", &name, "replay"]);
                let whole = after.is_none() && since.is_none();
                let answer: Answer<IgnoredAny> = session.client.post(&path, &DestinationReplay { after, since })?;
                session.show(&answer, |out, _| {
                    let what = if whole { "the present state" } else { "what changed since then" };
                    out.line(format_args!("{} is told {what} again.", clean(&name)))
                })
            }
            Self::Targets { name, search } => targets(session, &name, search.as_deref()),
            Self::Mapping(mapping) => mapping.run(session),
            Self::DeadLetters(letters) => letters.run(session),
            Self::Remove { name } => {
                let answer: Answer<IgnoredAny> = session.client.delete(&path(&["destinations", &name]))?;
                session.show(&answer, |out, _| {
                    out.line(format_args!("Removed the destination {}. Nothing was closed there.", clean(&name)))
                })
            }
        }
    }
}

impl Add {
    fn run(self, session: &mut Session) -> Result<(), Failure> {
        let (name, paused) = (self.name.clone(), self.paused);
        let answer: Answer<DestinationCheck> = session.client.post_long("destinations", &self.into_new()?)?;
        session.show(&answer, |out, check| {
            out.line(format_args!("Added the destination {}.", clean(&name)))?;
            lines(out, &check.lines)?;
            if let Some(secret) = &check.secret {
                out.field("Secret", secret)?;
                out.line("Give it to the receiver now: it is not shown again.")?;
            }
            if paused {
                let name = clean(&name);
                return out.line(format_args!(
                    "It is paused. Next: hydrophone destination preview {name}, then hydrophone destination resume {name}"
                ));
            }
            out.line("It is told the present state now: hydrophone destination list")
        })
    }

    fn into_new(self) -> Result<NewDestination, Failure> {
        let conditions = self.conditions.then(|| ("conditions".to_owned(), "yes".to_owned()));
        let secret = self.token_file.as_deref().map(|file| read_secret(file, "token")).transpose()?;
        let ca_pem = self.ca_file.as_deref().map(read_certificates).transpose()?;
        Ok(NewDestination {
            name: self.name,
            kind: self.kind,
            url: self.url,
            secret,
            options: self.options.into_iter().chain(conditions).collect(),
            ca_pem,
            proxy: self.proxy.read()?,
            filter: self.filter.into_shape(),
            assets: self.assets.into_iter().collect(),
            triage: shapes::Triage { to_sonar: self.triage.triage_to_sonar, from_sonar: self.triage.triage_from_sonar },
            paused: self.paused,
            unchecked: self.unchecked,
        })
    }
}

impl Edit {
    fn run(self, session: &mut Session) -> Result<(), Failure> {
        let secret = self.token_file.as_deref().map(|file| read_secret(file, "token")).transpose()?;
        let ca_pem = self.ca_file.as_deref().map(read_certificates).transpose()?;
        let filter = (self.no_filter || self.filter.is_given()).then(|| self.filter.clone().into_shape());
        let conditions =
            self.conditions.map(|told| ("conditions".to_owned(), if told { "yes" } else { "no" }.to_owned()));
        let edit = DestinationEdit {
            url: self.url,
            secret,
            options: self.options.into_iter().chain(conditions).collect(),
            filter,
            assets: self.assets.into_iter().collect(),
            triage: Some(TriageEdit { to_sonar: self.triage_to_sonar, from_sonar: self.triage_from_sonar }),
            paused: None,
            ca_pem: if self.no_ca { Some(String::new()) } else { ca_pem },
            proxy: self.proxy.read()?,
            check: self.check,
        };
        let answer: Answer<Destination> = session.client.patch_long(&path(&["destinations", &self.name]), &edit)?;
        session.show(&answer, print)
    }
}

impl DeadLetters {
    fn run(self, session: &mut Session) -> Result<(), Failure> {
        let of = |finding: &str, verb: &[&str]| {
            let mut segments = vec!["destinations", self.name.as_str(), "dead-letters"];
            if finding != "all" {
                segments.push(finding);
            }
            segments.extend(verb);
            path(&segments)
        };
        if let Some(finding) = &self.replay {
            let answer: Answer<DeadLetterCount> =
                session.client.post(&of(finding, &["replay"]), &serde_json::json!({}))?;
            return session.show(&answer, |out, count| {
                out.line(format_args!("Messages that are tried again: {}.", number(count.dead_letters)))
            });
        }
        if let Some(finding) = &self.drop {
            let answer: Answer<DeadLetterCount> = session.client.delete(&of(finding, &[]))?;
            return session.show(&answer, |out, count| {
                out.line(format_args!("Messages that were dropped: {}.", number(count.dead_letters)))
            });
        }
        let path = path_with(&["destinations", &self.name, "dead-letters"], &[("limit", Some("100"))]);
        let answer: Answer<DeadLetterList> = session.client.get(&path)?;
        session.show(&answer, |out, list| {
            if list.dead_letters.is_empty() {
                return out.line("None: the platform takes everything that it is told.");
            }
            let now = now();
            let mut rows = table(&["finding", "title", "why", "since", "tried"]);
            for letter in &list.dead_letters {
                let title = shortened(letter.title.as_deref().unwrap_or_default(), 40);
                let tried = cell(number(u64::from(letter.attempts)));
                let since = cell(minute_ago(&letter.since, now));
                rows.add_row([cell(&letter.finding), cell(title), cell(&letter.why), since, tried]);
            }
            out.table(rows)?;
            if list.next.is_some() {
                out.line("There are more; --json with the API shows them all.")?;
            }
            let name = clean(&self.name);
            out.line(format_args!("Try them again: hydrophone destination dead-letters {name} --replay all"))
        })
    }
}

fn pause(session: &mut Session, name: &str, paused: bool) -> Result<(), Failure> {
    let edit = DestinationEdit { paused: Some(paused), ..DestinationEdit::default() };
    let answer: Answer<IgnoredAny> = session.client.patch(&path(&["destinations", name]), &edit)?;
    session.show(&answer, |out, _| {
        let name = clean(name);
        if paused {
            out.line(format_args!("{name} is told nothing until `hydrophone destination resume {name}`."))
        } else {
            out.line(format_args!("{name} is told again, from where it was."))
        }
    })
}

fn list(session: &mut Session) -> Result<(), Failure> {
    let answer: Answer<DestinationList> = session.client.get("destinations")?;
    session.show(&answer, |out, list| {
        if list.destinations.is_empty() {
            return out.line("No destinations yet. Add one: hydrophone destination add --help");
        }
        let now = now();
        let mut rows = table(&["destination", "kind", "state", "behind", "told", "refused", "last", "problem"]);
        for one in &list.destinations {
            let last = one.told_at.as_deref().map(|time| minute_ago(time, now)).unwrap_or_default();
            let problem = one.trouble.as_deref().map_or_else(|| cell(""), |trouble| out.alarm_cell(trouble));
            let behind = one.lag.map(number).unwrap_or_default();
            rows.add_row([
                cell(&one.name),
                cell(&one.kind),
                cell(one.state.replace('_', " ")),
                cell(behind),
                cell(number(one.told)),
                cell(number(one.dead_letters)),
                cell(last),
                problem,
            ]);
        }
        out.table(rows)
    })
}

fn print(out: &mut Output, one: &Destination) -> Result<(), Failure> {
    out.field("Destination", &one.name)?;
    out.field("Kind", &one.kind)?;
    out.field("Address", &one.url)?;
    for (name, value) in &one.options {
        out.field("Option", format!("{name}={value}"))?;
    }
    for (asset, name) in &one.assets {
        out.field("Asset", format!("{asset} is {name} there"))?;
    }
    out.field("Passed on", passed_on(&one.filter))?;
    let triage = match (one.triage.to_sonar, one.triage.from_sonar) {
        (true, true) => "both ways",
        (true, false) => "from the platform to Sonar",
        (false, true) => "from Sonar to the platform",
        (false, false) => "off",
    };
    out.field("Triage", triage)?;
    out.field("State", one.state.replace('_', " "))?;
    out.field("Behind", one.lag.map(number).unwrap_or_default())?;
    out.field("Told", number(one.told))?;
    out.field("Last", one.told_at.as_deref().map(|time| minute_ago(time, now())).unwrap_or_default())?;
    out.field("Refused", if one.dead_letters == 0 { String::new() } else { number(one.dead_letters) })?;
    out.field("Problem", one.trouble.as_deref().unwrap_or_default())?;
    out.field("Remedy", one.remedy.as_deref().unwrap_or_default())
}

fn passed_on(filter: &DestinationFilter) -> String {
    let lists = [
        ("site", &filter.sites),
        ("organization", &filter.organizations),
        ("project", &filter.projects),
        ("branch", &filter.branches),
        ("severity", &filter.severities),
        ("kind", &filter.kinds),
    ];
    let mut parts: Vec<String> = lists
        .iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(what, list)| format!("{what} {}", list.join(" or ")))
        .collect();
    if filter.pull_requests {
        parts.push("pull requests too".to_owned());
    }
    if parts.is_empty() { "everything on branches".to_owned() } else { parts.join("; ") }
}

fn lines(out: &mut Output, lines: &[CheckLine]) -> Result<(), Failure> {
    for line in lines {
        let mark = if line.good { "ok" } else { "bad" };
        out.line(format_args!("{mark:<4} {}: {}", clean(&line.what), clean(&line.text)))?;
    }
    Ok(())
}

fn preview(session: &mut Session, name: &str) -> Result<(), Failure> {
    let answer: Answer<DestinationPreview> = session.client.get(&path(&["destinations", name, "preview"]))?;
    session.show(&answer, |out, preview| {
        let sonar = preview.sonar_total.map_or_else(|| "an unknown number".to_owned(), number);
        let left_out: u64 = preview.left_out.values().sum();
        let pass = preview.open.saturating_sub(left_out);
        out.line(format_args!(
            "Sonar says {sonar}, we hold {}, {} pass the filter.",
            number(preview.open),
            number(pass)
        ))?;
        let counts: BTreeMap<&str, u64> = [
            ("create", preview.create),
            ("update", preview.update),
            ("close", preview.close),
            ("reopen", preview.reopen),
            ("leave as they are", preview.same),
        ]
        .into();
        let mut rows = table(&["would", "findings"]);
        for (what, count) in counts {
            rows.add_row([cell(what), cell(number(count))]);
        }
        for (why, count) in &preview.left_out {
            rows.add_row([cell(format!("leave out: {why}")), cell(number(*count))]);
        }
        out.table(rows)
    })
}

fn targets(session: &mut Session, name: &str, search: Option<&str>) -> Result<(), Failure> {
    let path = path_with(&["destinations", name, "targets"], &[("search", search)]);
    let answer: Answer<OfferList> = session.client.get(&path)?;
    session.show(&answer, |out, list| {
        if list.targets.is_empty() {
            return out.line("None. What an asset needs is made when its first finding is passed on.");
        }
        let mut rows = table(&["id", "name"]);
        for offer in &list.targets {
            rows.add_row([cell(&offer.id), cell(&offer.name)]);
        }
        out.table(rows)?;
        let name = clean(name);
        out.line(format_args!("Send an asset there: hydrophone destination edit {name} --asset ASSET=NAME"))
    })
}
