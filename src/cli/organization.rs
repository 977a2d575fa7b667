//! `organization`: what the tokens see, and what of it is shown and passed on.

use clap::{Args, Subcommand};

use super::Session;
use super::client::{Answer, Failure, path, path_with};
use super::table::{Output, cell, clean, number, table};
use crate::admin::shapes::{FilterChoice, OrganizationFilter, OrganizationList};
use crate::domain::finding::Severity;

/// What can be done with organizations.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the organizations that the tokens see.
    List {
        /// Show those of this source only.
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
    },
    /// Choose which findings of an organization are shown and passed on; without a choice, show which.
    #[command(
        after_help = "All findings are held, whatever passes. Those that do not pass are not in `finding list`, \
        `export` and the totals\nof `status` and `asset list`, unless --filtered asks for them, and destinations are not \
        told of them.\n\nA choice replaces the one before. Nothing is closed because of it: what a destination was told \
        before is followed\nto its end, and closed there when it is really gone. Where more passes than before, the \
        destinations of the\norganization are told the present state again.\n\n\
        Examples:\n  hydrophone organization filter acme --min-severity high\n  \
        hydrophone organization filter cloud/acme \\\n    --severity critical --kind vulnerability\n  \
        hydrophone organization filter acme --no-filter"
    )]
    Filter(Choice),
}

/// A choice of what passes.
#[derive(Debug, Args)]
pub struct Choice {
    /// Name the organization, as ORG or SOURCE/ORG.
    #[arg(value_name = "ORG")]
    organization: String,
    /// Let findings of this severity pass; may be repeated.
    #[arg(long = "severity", value_name = "S", value_delimiter = ',', value_parser = SEVERITIES, conflicts_with = "min_severity")]
    severities: Vec<String>,
    /// Let findings of this severity and of worse ones pass.
    #[arg(long, value_name = "S", value_parser = SEVERITIES)]
    min_severity: Option<String>,
    /// Let findings of this kind pass.
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',', value_parser = ["vulnerability", "hotspot"])]
    kinds: Vec<String>,
    /// Let everything pass again.
    #[arg(long, conflicts_with_all = ["severities", "min_severity", "kinds"])]
    no_filter: bool,
}

const SEVERITIES: [&str; 5] = ["critical", "high", "medium", "low", "info"];

impl Command {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self {
            Self::List { source } => list(session, source.as_deref()),
            Self::Filter(filter) => filter.run(session),
        }
    }
}

fn list(session: &mut Session, source: Option<&str>) -> Result<(), Failure> {
    let path = path_with(&["organizations"], &[("source", source)]);
    let answer: Answer<OrganizationList> = session.client.get(&path)?;
    session.show(&answer, |out, list| {
        if list.organizations.is_empty() {
            return out.line("No organizations yet. Connect a source: hydrophone source add --help");
        }
        let mut rows = table(&["source", "organization", "name", "passed on"]);
        for organization in &list.organizations {
            rows.add_row([
                cell(&organization.source),
                cell(&organization.key),
                cell(&organization.name),
                cell(passed_on(&organization.filter)),
            ]);
        }
        out.table(rows)
    })
}

impl Choice {
    fn run(self, session: &mut Session) -> Result<(), Failure> {
        let path = path(&["organizations", &self.organization, "filter"]);
        let answer: Answer<OrganizationFilter> = match self.choice() {
            None => session.client.get(&path)?,
            Some(choice) => session.client.put(&path, &choice)?,
        };
        session.show(&answer, print)
    }

    /// What was chosen; nothing where nothing was.
    fn choice(self) -> Option<FilterChoice> {
        let severities = match self.min_severity {
            Some(least) => {
                let least: Option<Severity> = least.parse().ok();
                let passes = |severity: &&Severity| least.is_none_or(|least| **severity <= least);
                Severity::ALL.iter().filter(passes).map(ToString::to_string).collect()
            }
            None => self.severities,
        };
        let choice = FilterChoice { severities, kinds: self.kinds };
        (self.no_filter || !choice.is_all()).then_some(choice)
    }
}

fn print(out: &mut Output, filter: &OrganizationFilter) -> Result<(), Failure> {
    out.field("Organization", format!("{}/{}", filter.source, filter.organization))?;
    out.field("Passed on", passed_on(&filter.filter))?;
    out.line(format_args!("We hold {}, {} pass the filter.", number(filter.open), number(filter.passing)))?;
    if filter.told_anew.is_empty() {
        return Ok(());
    }
    let told = filter.told_anew.iter().map(|name| clean(name).to_string()).collect::<Vec<_>>().join(", ");
    out.line(format_args!("More passes than before: {told} is told the present state again."))
}

/// What passes, in words.
pub fn passed_on(filter: &FilterChoice) -> String {
    let lists = [("severity", &filter.severities), ("kind", &filter.kinds)];
    let chosen = lists.iter().filter(|(_, list)| !list.is_empty());
    let parts: Vec<String> = chosen.map(|(what, list)| format!("{what} {}", list.join(" or "))).collect();
    if parts.is_empty() { "everything".to_owned() } else { parts.join("; ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::client::tests::FakeDaemon;
    use super::super::tests::told;

    #[test]
    fn a_choice_replaces_the_one_before_and_is_shown_with_what_passes() {
        let answer = json!({"source": "eu", "organization": "acme", "open": 65, "passing": 40, "told_anew": ["dojo"],
                            "filter": {"severities": ["critical", "high"], "kinds": ["hotspot"]}});
        let daemon = FakeDaemon::start(move |_, _| (200, answer.to_string()));
        let line = ["organization", "filter", "eu/acme", "--min-severity", "high", "--kind", "hotspot"];
        let expected = "Organization:   eu/acme\nPassed on:      severity critical or high; kind hotspot\n\
            We hold 65, 40 pass the filter.\nMore passes than before: dojo is told the present state again.\n";
        assert_eq!(told(&daemon, &line).0, expected);
        for flags in [&["--no-filter"][..], &[]] {
            assert_eq!(told(&daemon, &[&["organization", "filter", "eu/acme"][..], flags].concat()).0, expected);
        }
        let asked = daemon.asked();
        let path = "/api/v1/organizations/eu%2Facme/filter";
        assert_eq!(asked[0].0, format!("PUT {path}"));
        assert_eq!(asked[0].1, json!({"severities": ["critical", "high"], "kinds": ["hotspot"]}));
        assert_eq!(asked[1].1, json!({"severities": [], "kinds": []}));
        assert_eq!(asked[2].0, format!("GET {path}"));
    }

    #[test]
    fn the_list_says_what_passes() {
        let list = json!({"organizations": [
            {"source": "eu", "key": "acme", "name": "Acme", "filter": {"severities": ["critical"], "kinds": []}},
            {"source": "eu", "key": "other", "name": "Other"}]});
        let daemon = FakeDaemon::start(move |_, _| (200, list.to_string()));
        let expected = "SOURCE  ORGANIZATION  NAME   PASSED ON\neu      acme          Acme   severity critical\n\
            eu      other         Other  everything\n";
        assert_eq!(told(&daemon, &["organization", "list"]).0, expected);
    }
}
