//! `webhook`: what Sonar has to be told, so that its calls reach the gateway.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Subcommand;
use hyper::Uri;
use serde::de::IgnoredAny;

use super::Session;
use super::client::{Answer, Client, Failure, path_with};
use super::secret::read_secret;
use super::table::{Output, clean, minute_ago, now};
use crate::admin::shapes::{NewSecret, SourceList, Webhook};

/// What can be done with webhooks.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the URL and the secret to paste into Sonar, and where.
    #[command(after_help = "Examples:\n  hydrophone webhook show acme --reveal\n  \
        hydrophone webhook show acme --project web-shop")]
    Show {
        /// Name the organization, as ORG or SOURCE/ORG.
        #[arg(value_name = "ORG")]
        organization: String,
        /// Show the webhook of this project alone.
        #[arg(long, value_name = "KEY")]
        project: Option<String>,
        /// Show the secret too.
        #[arg(long)]
        reveal: bool,
    },
    /// Take over a secret that Sonar has already.
    #[command(after_help = "Example:\n  hydrophone webhook secret acme --secret-file secret.txt")]
    Secret {
        /// Name the organization, as ORG or SOURCE/ORG.
        #[arg(value_name = "ORG")]
        organization: String,
        /// Take it over for this project's webhook.
        #[arg(long, value_name = "KEY")]
        project: Option<String>,
        /// Read the secret (16 to 200 characters) from this file, or from standard input for `-`.
        #[arg(long, value_name = "FILE")]
        secret_file: PathBuf,
    },
}

impl Command {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self {
            Self::Show { organization, project, reveal } => show(session, &organization, project.as_deref(), reveal),
            Self::Secret { organization, project, secret_file } => {
                let secret = read_secret(&secret_file, "secret")?;
                let new = NewSecret { secret: secret.to_string() };
                let segments = ["organizations", &organization, "webhook", "secret"];
                let path = path_with(&segments, &[("project", project.as_deref())]);
                let answer: Answer<IgnoredAny> = session.client.put(&path, &new)?;
                session.show(&answer, |out, _| {
                    out.line("Took over the secret. Calls that Sonar signs with it are taken from now on.")?;
                    out.line(format_args!("Next: hydrophone webhook show {}", clean(&organization)))
                })
            }
        }
    }
}

fn show(session: &mut Session, organization: &str, project: Option<&str>, reveal: bool) -> Result<(), Failure> {
    let parameters = [("project", project)];
    let answer: Answer<Webhook> = if reveal {
        let path = path_with(&["organizations", organization, "webhook", "reveal"], &parameters);
        session.client.post(&path, &serde_json::json!({}))?
    } else {
        session.client.get(&path_with(&["organizations", organization, "webhook"], &parameters))?
    };
    if session.out.json {
        return session.out.document(&answer.document);
    }
    let webhook = &answer.value;
    if !webhook.listening {
        let out = &mut session.out;
        out.line("This box takes no webhooks: `serve` was started with --webhook-listen off.")?;
        return out.line(format_args!(
            "Sonar is asked every {} minutes instead (poll-minutes); nothing is to be entered there.",
            webhook.poll_minutes
        ));
    }
    let kind = source_kind(&session.client, &webhook.source);
    let out = &mut session.out;
    out.field("URL", &webhook.url)?;
    match &webhook.secret {
        Some(secret) => out.field("Secret", secret)?,
        None => out.field("Secret", "hidden; add --reveal to show it")?,
    }
    let last = webhook.last_delivery_at.as_deref().map(|time| minute_ago(time, now()));
    out.field("Last call", last.as_deref().unwrap_or("none yet"))?;
    out.field("Registered", if webhook.registered { "by Hydrophone" } else { "not by Hydrophone" })?;
    out.line("")?;
    where_to_paste(out, webhook.project.is_some(), kind.as_deref())?;
    notes(out, &webhook.url, kind.as_deref())
}

/// `cloud` or `server`. Only the advice depends on it, so whatever fails here leaves the advice general.
fn source_kind(client: &Client, source: &str) -> Option<String> {
    let list: SourceList = client.get("sources").ok()?.value;
    list.sources.into_iter().find(|known| known.name == source).map(|source| source.kind)
}

fn where_to_paste(out: &mut Output, of_project: bool, kind: Option<&str>) -> Result<(), Failure> {
    out.line("Paste URL and secret into Sonar:")?;
    if of_project {
        return out.line("  the project: Project Settings → Webhooks → Create");
    }
    if kind != Some("server") {
        out.line("  SonarQube Cloud: the organization → Administration → Webhooks → Create")?;
    }
    if kind != Some("cloud") {
        out.line("  SonarQube Server: Administration → Configuration → Webhooks → Create")?;
    }
    Ok(())
}

fn notes(out: &mut Output, url: &str, kind: Option<&str>) -> Result<(), Failure> {
    out.line("Sonar refuses self-signed certificates: the URL needs one that Sonar trusts, or a proxy that has one.")?;
    if !is_private(url) {
        return Ok(());
    }
    match kind {
        Some("cloud") => out.line(
            "SonarQube Cloud cannot reach a private address; set one that it can: hydrophone config set public-url URL",
        ),
        _ => {
            out.line("A Server refuses webhooks to private addresses unless sonar.validateWebhooks=false is set there.")
        }
    }
}

fn is_private(url: &str) -> bool {
    let Some(host) = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)) else { return false };
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified(),
        Ok(IpAddr::V6(ip)) => {
            ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified()
        }
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::tests::FakeDaemon;
    use super::super::tests::told;
    use super::*;

    #[test]
    fn private_addresses_are_recognised() {
        for url in
            ["https://192.168.1.5:8443/hooks/x", "http://localhost:1/x", "https://[fd00::1]/x", "https://0.0.0.0:1/"]
        {
            assert!(is_private(url), "{url}");
        }
        for url in ["https://hooks.example.com/x", "https://8.8.8.8/x", "https://[2001:db8::1]/x", "no url"] {
            assert!(!is_private(url), "{url}");
        }
    }

    #[test]
    fn the_secret_is_shown_only_when_asked_for() {
        let daemon = FakeDaemon::start(|line, _| {
            let secret = if line.contains("/webhook/reveal") { r#""s3cret""# } else { "null" };
            let webhook = format!(
                r#"{{"source":"eu","organization":"acme","project":null,"url":"https://h.example/hooks/1",
                    "secret":{secret},"registered":false,"last_delivery_at":null}}"#
            );
            if line.contains("/sources") { (500, String::new()) } else { (200, webhook) }
        });
        let (hidden, _) = told(&daemon, &["webhook", "show", "acme"]);
        assert!(hidden.contains("add --reveal"), "{hidden}");
        assert!(hidden.contains("SonarQube Cloud: the organization → Administration → Webhooks"), "{hidden}");
        assert!(hidden.contains("SonarQube Server: Administration → Configuration → Webhooks"), "{hidden}");
        assert!(hidden.contains("self-signed"), "{hidden}");
        let (shown, _) = told(&daemon, &["webhook", "show", "acme", "--reveal"]);
        assert!(shown.contains("Secret:         s3cret\n"), "{shown}");
    }
}
