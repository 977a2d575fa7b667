//! `fleet`: the sites that this box gathers, and the configuration that they are offered.

mod offer;

use clap::Subcommand;

use super::Session;
use super::client::{Answer, Failure};
use super::table::{Output, cell, cell_of, clean, counted, minute_ago, now, number, table};
use crate::admin::shapes::{Fleet, FleetSite, FleetStatus, SiteConfiguration};
use crate::domain::time::Timestamp;

/// What can be done with fleets.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the sites that this box gathers: who speaks for them, since when, and what is the matter there.
    #[command(after_help = "To gather a fleet:\n  hydrophone source add fleet --fleet tls://nats.example.com \\\n    \
        --credentials hub.creds")]
    Status {
        /// Show this site only, with what is the matter with its box.
        site: Option<String>,
    },
    /// Make a key that configuration for boxes is signed with, and show whom they are to trust.
    #[command(after_help = "Keep the file where only those can read it who look after the fleet; no box needs it.\n\n\
        Example:\n  hydrophone fleet key fleet.key")]
    Key(offer::Key),
    /// Offer boxes a configuration; those that were set to trust its signer take it.
    #[command(
        after_help = "The document is one of `config apply`, without users, and with secrets by {\"credential\": \
        \"NAME\"} only: each box\nreads them from /etc/hydrophone/credentials/NAME, where whoever set it up has put them. \
        What the document does not\nname stays as it is. It is signed here, and a box takes none that is older than what it took. \
        To have a box trust the\nsigner, there: hydrophone config set fleet-signer KEY\n\nExamples:\n  \
        hydrophone fleet apply box.json --key fleet.key --site berlin --site oslo\n  \
        hydrophone fleet apply box.json --key fleet.key --all-sites"
    )]
    Apply(offer::Apply),
}

impl Command {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self {
            Self::Status { site } => status(session, site.as_deref()),
            Self::Key(key) => key.run(session),
            Self::Apply(apply) => apply.run(session),
        }
    }
}

fn status(session: &mut Session, site: Option<&str>) -> Result<(), Failure> {
    let answer: Answer<FleetStatus> = session.client.get("fleet")?;
    let known = |status: &FleetStatus, wanted: &str| {
        status.fleets.iter().any(|fleet| fleet.sites.iter().any(|one| one.site == wanted))
    };
    if let Some(wanted) = site.filter(|wanted| !known(&answer.value, wanted)) {
        let text = format!("no site {wanted} has said anything");
        return Err(Failure::Input { text, hint: "`hydrophone fleet status` shows those that have." });
    }
    session.show(&answer, |out, status| {
        if status.fleets.is_empty() {
            return out.line(
                "This box gathers no fleet. Have it do so: hydrophone source add NAME --fleet URL --credentials FILE",
            );
        }
        for (index, fleet) in status.fleets.iter().enumerate() {
            if index > 0 {
                out.line("")?;
            }
            shown(out, fleet, site)?;
        }
        Ok(())
    })
}

fn shown(out: &mut Output, fleet: &Fleet, wanted: Option<&str>) -> Result<(), Failure> {
    out.field("Fleet", format!("{} at {}, stream {}", fleet.name, fleet.url, fleet.stream))?;
    let state = match fleet.state.as_str() {
        "up_to_date" => "up to date".to_owned(),
        "catching_up" => format!("catching up, {} messages to go", number(fleet.pending)),
        _ => format!("unreachable: {}", fleet.trouble.as_deref().unwrap_or("no reason is known")),
    };
    out.field("State", state)?;
    out.field("Remedy", fleet.remedy.as_deref().unwrap_or_default())?;
    if fleet.sites.is_empty() {
        return out.line("No site has said anything yet. Join one: hydrophone destination add nats NAME --url URL --option site=SITE --token-file FILE");
    }
    let now = now();
    let of = |site: &&FleetSite| wanted.is_none_or(|wanted| site.site == wanted);
    out.line("")?;
    let mut rows = table(&["site", "machine", "version", "heard", "projects", "open", "oldest read", "problems"]);
    for site in fleet.sites.iter().filter(of) {
        let heard = site.heard_at.as_deref().map_or_else(|| "never".to_owned(), |at| minute_ago(at, now));
        let heard =
            if site.silent_seconds.is_some() { out.alarm_cell(&format!("silent, {heard}")) } else { cell(heard) };
        let problems = problems(site);
        rows.add_row([
            cell(&site.site),
            cell_of(site.machine.as_deref()),
            cell_of(site.version.as_deref()),
            heard,
            cell(number(site.projects)),
            cell(number(site.open)),
            cell(site.synced_at.as_deref().map(|at| minute_ago(at, now)).unwrap_or_default()),
            if problems.is_empty() { cell("") } else { out.alarm_cell(&problems) },
        ]);
    }
    out.table(rows)?;
    if wanted.is_none() {
        return Ok(());
    }
    for configuration in fleet.sites.iter().filter(of).filter_map(|site| site.configuration.as_ref()) {
        out.line("")?;
        out.field("Configuration", configured(configuration, now))?;
    }
    for condition in fleet.sites.iter().filter(of).flat_map(|site| &site.conditions) {
        out.line("")?;
        out.line(format_args!(
            "{} {}: {}",
            clean(&condition.severity),
            clean(&condition.code),
            clean(&condition.text)
        ))?;
        out.line(format_args!("  {}", clean(&condition.remedy)))?;
    }
    Ok(())
}

/// What became of the configuration that a box was offered.
fn configured(configuration: &SiteConfiguration, now: Timestamp) -> String {
    let at = configuration.at.as_deref().map(|at| minute_ago(at, now)).unwrap_or_default();
    let why = configuration.why.as_deref().unwrap_or("no reason is known");
    match configuration.state.as_str() {
        "none" => "none was offered yet".to_owned(),
        "begun" => format!("being carried out, {at}"),
        "applied" => format!("applied {at}, {}", counted(configuration.changes.into(), "change")),
        "refused" => format!("refused {at}: {why}"),
        _ => format!("failed {at}: {why}"),
    }
}

/// What is the matter at a site, in a few words.
fn problems(site: &FleetSite) -> String {
    let mut told = Vec::new();
    if site.incomplete > 0 {
        told.push(format!("{} incomplete", number(site.incomplete)));
    }
    let serious = site.conditions.iter().filter(|condition| condition.severity != "info").count();
    if serious > 0 {
        told.push(counted(u64::try_from(serious).unwrap_or(u64::MAX), "condition"));
    }
    match site.configuration.as_ref().map(|one| one.state.as_str()) {
        Some("refused") => told.push("configuration refused".to_owned()),
        Some("failed") => told.push("configuration failed".to_owned()),
        _ => {}
    }
    told.join(", ")
}
