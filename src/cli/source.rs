//! `source`: the SonarQubes that findings come from.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Session;
use super::client::{Answer, Failure, path, path_with};
use super::pem::read_certificates;
use super::proxy::Proxy;
use super::secret::read_secret;
use super::table::{Output, cell, cell_of, clean, minute_ago, now, number, table};
use super::webhook::parted;
use crate::admin::shapes::{
    NewSource, NewToken, Organization, OrganizationList, Removal, Source, SourceCheck, SourceList,
};

/// What can be done with sources.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Connect SonarQube Cloud, a SonarQube Server, or a fleet of boxes.
    #[command(after_help = "Examples:\n  hydrophone source add cloud --cloud --token-file token.txt\n  \
        hydrophone source add lab --server https://sonar.example.com \\\n    --token-file - --ca-file ca.pem\n  \
        hydrophone source add fleet --fleet tls://nats.example.com \\\n    --credentials hub.creds")]
    Add(Box<Add>),
    /// List the sources.
    List,
    /// Ask Sonar now whether address and token are good.
    Check {
        /// Name the source.
        name: String,
    },
    /// Replace a source's token.
    Token {
        /// Name the source.
        name: String,
        /// Read the new token from this file, or from standard input for `-`.
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
    },
    /// Remove a source from which no project is imported any more.
    #[command(after_help = "Example: and have Sonar forget the webhooks that call this box for it\n  \
        hydrophone source remove lab --unregister")]
    Remove {
        /// Name the source.
        name: String,
        /// Take its webhooks away from Sonar first.
        #[arg(long)]
        unregister: bool,
    },
}

/// A new source.
#[derive(Debug, Args)]
#[command(
    override_usage = "hydrophone source add [OPTIONS] <--cloud|--server <URL>> --token-file <FILE> <NAME>\n       \
    hydrophone source add [OPTIONS] --fleet <URL> --credentials <FILE> <NAME>"
)]
#[command(group = ArgGroup::new("place").required(true).args(["cloud", "server", "fleet"]))]
#[command(group = ArgGroup::new("secret").required(true).args(["token_file", "credentials"]))]
pub struct Add {
    /// Choose a name: letters, digits and `- _ .`.
    name: String,
    /// Connect SonarQube Cloud.
    #[arg(long)]
    cloud: bool,
    /// Choose Cloud's region [default: eu].
    #[arg(long, value_parser = ["eu", "us"], conflicts_with = "server")]
    region: Option<String>,
    /// Connect the SonarQube Server at this address.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Gather what the boxes of a fleet tell this server of NATS.
    #[arg(long, value_name = "URL", requires = "credentials")]
    fleet: Option<String>,
    /// Read the token from this file, or from standard input for `-`.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Read a hub's credentials for the fleet from this file, or from standard input for `-`.
    #[arg(long, value_name = "FILE", requires = "fleet")]
    credentials: Option<PathBuf>,
    /// Name the fleet's stream [default: HYDROPHONE].
    #[arg(long, value_name = "NAME", requires = "fleet")]
    stream: Option<String>,
    /// Go to the fleet's server without TLS: the way there is safe.
    #[arg(long, requires = "fleet")]
    plain: bool,
    /// Trust the certificates of this PEM file too.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    proxy: Proxy,
    /// Name this address to Sonar instead of the public URL.
    #[arg(long, value_name = "URL", conflicts_with = "fleet")]
    webhook_url: Option<String>,
    /// Replace Cloud's address, for a mirror.
    #[arg(long, value_name = "URL", conflicts_with = "server")]
    url: Option<String>,
    /// Replace the address of Cloud's second API.
    #[arg(long, value_name = "URL", conflicts_with = "server")]
    api_url: Option<String>,
}

/// A new source's answer: the check with what was found, or the source alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Added {
    Checked(SourceCheck),
    Plain(Source),
}

impl Command {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.run(session),
            Self::List => list(session),
            Self::Check { name } => {
                let path = path(&["sources", &name, "check"]);
                let answer: Answer<SourceCheck> = session.client.post(&path, &serde_json::json!({}))?;
                session.show(&answer, |out, check| found(out, &check.source, &check.organizations))
            }
            Self::Token { name, token_file } => {
                let token = read_secret(&token_file, "token")?;
                let new = NewToken { token };
                let answer: Answer<IgnoredAny> = session.client.put(&path(&["sources", &name, "token"]), &new)?;
                session.show(&answer, |out, _| out.line(format_args!("Replaced the token of {}.", clean(&name))))
            }
            Self::Remove { name, unregister } => {
                let path = path_with(&["sources", &name], &[("unregister", unregister.then_some("true"))]);
                let answer: Answer<Removal> = session.client.delete(&path)?;
                session.show(&answer, |out, removal| {
                    out.line(format_args!("Removed the source {}.", clean(&name)))?;
                    parted(out, removal)
                })
            }
        }
    }
}

impl Add {
    fn run(self, session: &mut Session) -> Result<(), Failure> {
        let name = self.name.clone();
        let answer: Answer<Added> = session.client.post("sources", &self.into_new()?)?;
        if session.out.json {
            return session.out.document(&answer.document);
        }
        let (source, organizations) = match answer.value {
            Added::Checked(check) => (check.source, check.organizations),
            Added::Plain(source) => {
                let path = path_with(&["organizations"], &[("source", Some(&name))]);
                (source, session.client.get::<OrganizationList>(&path)?.value.organizations)
            }
        };
        session.out.line(format_args!("Added the source {}.", clean(&name)))?;
        found(&mut session.out, &source, &organizations)?;
        match organizations.first() {
            Some(first) => session.out.line(format_args!("Next: hydrophone project list {}", clean(&first.key))),
            None => Ok(()),
        }
    }

    fn into_new(self) -> Result<NewSource, Failure> {
        let token = match (&self.token_file, &self.credentials) {
            (Some(file), _) => read_secret(file, "token")?,
            (None, Some(file)) => read_secret(file, "credentials")?,
            (None, None) => return Err(Failure::Input { text: "no token is given".to_owned(), hint: "" }),
        };
        let kind = match (self.cloud, &self.fleet) {
            (true, _) => "cloud",
            (false, Some(_)) => "fleet",
            (false, None) => "server",
        };
        let ca_pem = self.ca_file.as_deref().map(read_certificates).transpose()?;
        Ok(NewSource {
            name: self.name,
            kind: kind.to_owned(),
            region: self.region,
            url: self.server.or(self.fleet).or(self.url),
            api_url: self.api_url,
            token,
            ca_pem,
            proxy: self.proxy.read()?,
            webhook_url: self.webhook_url,
            stream: self.stream,
            plain: self.plain,
        })
    }
}

fn list(session: &mut Session) -> Result<(), Failure> {
    let answer: Answer<SourceList> = session.client.get("sources")?;
    session.show(&answer, |out, list| {
        if list.sources.is_empty() {
            return out.line(
                "No sources yet. Connect one: hydrophone source add NAME (--cloud | --server URL) --token-file FILE",
            );
        }
        let now = now();
        let mut rows = table(&["source", "kind", "address", "projects", "checked", "problem"]);
        for source in &list.sources {
            let checked = source.checked_at.as_deref().map(|time| minute_ago(time, now)).unwrap_or_default();
            let problem = source.error.as_deref().map_or_else(|| cell(""), |error| out.alarm_cell(error));
            let projects = cell(number(source.projects));
            rows.add_row([cell(&source.name), cell(kind(source)), cell(&source.url), projects, cell(checked), problem]);
        }
        out.table(rows)
    })
}

fn found(out: &mut Output, source: &Source, organizations: &[Organization]) -> Result<(), Failure> {
    out.field("Kind", kind(source))?;
    out.field("Address", &source.url)?;
    out.field("Projects", format!("{} imported", number(source.projects)))?;
    if let Some(time) = &source.token_expires_at {
        out.field("Token ends", minute_ago(time, now()))?;
    }
    out.field("Problem", source.error.as_deref().unwrap_or_default())?;
    if source.kind == "fleet" {
        return out.line("What its boxes tell is taken in: hydrophone fleet status");
    }
    if organizations.is_empty() {
        return out.line("The token sees no organization. Give it the right to browse projects.");
    }
    out.line("")?;
    let mut rows = table(&["organization", "name"]);
    for organization in organizations {
        rows.add_row([cell(&organization.key), cell_of(Some(&organization.name))]);
    }
    out.table(rows)
}

fn kind(source: &Source) -> String {
    let name = match source.kind.as_str() {
        "cloud" => "SonarQube Cloud",
        "server" => "SonarQube Server",
        "fleet" => "NATS fleet",
        other => other,
    };
    match &source.version {
        Some(version) => format!("{name} {version}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::client::tests::FakeDaemon;
    use super::super::tests::told;

    fn source() -> Value {
        json!({"name": "lab", "kind": "server", "url": "https://s.example", "api_url": null, "version": "10.7",
               "own_ca": false, "proxy": null, "webhook_url": null, "checked_at": "2026-11-21T14:03:00Z",
               "token_expires_at": null, "error": null, "projects": 0})
    }

    fn organizations() -> Value {
        json!([{"source": "lab", "key": "lab", "name": "Lab\u{1b}[31m"}])
    }

    #[test]
    fn adding_a_source_sends_the_token_and_tells_what_was_found() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "squ_1\n").unwrap();
        let token_file = file.path().to_str().unwrap();
        let line = ["source", "add", "lab", "--server", "https://s.example", "--token-file", token_file];
        let checked = json!({"source": source(), "organizations": organizations()});
        let expected = "Added the source lab.\nKind:           SonarQube Server 10.7\nAddress:        https://s.example\n\
            Projects:       0 imported\n\nORGANIZATION  NAME\nlab           Lab\u{fffd}[31m\nNext: hydrophone project list lab\n";
        for answer in [checked, source()] {
            let daemon = FakeDaemon::start(move |line, _| match line {
                "POST /api/v1/sources" => (201, answer.to_string()),
                "GET /api/v1/organizations?source=lab" => (200, json!({"organizations": organizations()}).to_string()),
                other => panic!("{other}"),
            });
            assert_eq!(told(&daemon, &line).0, expected);
            let body = &daemon.asked()[0].1;
            assert_eq!(
                (&body["kind"], &body["url"], &body["token"]),
                (&json!("server"), &json!("https://s.example"), &json!("squ_1"))
            );
        }
    }

    #[test]
    fn an_empty_list_says_what_to_do() {
        let daemon = FakeDaemon::start(|_, _| (200, r#"{"sources":[]}"#.to_owned()));
        assert!(told(&daemon, &["source", "list"]).0.starts_with("No sources yet. Connect one: hydrophone source add"));
        assert_eq!(told(&daemon, &["source", "list", "--json"]).0, "{\"sources\":[]}\n");
    }
}
