//! `webhook`: what Sonar has to be told, so that its calls reach the gateway.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::de::IgnoredAny;

use super::Session;
use super::client::{Answer, Client, Failure, path_with};
use super::secret::read_secret;
use super::table::{Output, clean, minute_ago, now};
use crate::admin::shapes::{
    NewRotation, NewSecret, Removal, SourceList, Webhook, WebhookRegistration, WebhookRotation, WebhookTest,
};
use crate::sys::reach::is_private_url;

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
    /// Have Sonar call this box, through Sonar's Web API.
    #[command(
        after_help = "The token needs the right to administer: the organization on Cloud, the Server, or with --project \
        the project.\nOne that Sonar has already is recognised, and its address and secret are made right.\n\n\
        Examples:\n  hydrophone webhook register acme\n  hydrophone webhook register acme --project web-shop"
    )]
    Register(Whose),
    /// Take the webhook away from Sonar again; this box keeps its address.
    Unregister(Whose),
    /// Make a new secret; calls signed with the former one are still taken for a while.
    #[command(
        after_help = "Sonar is given the new secret through its Web API where the token may; else the clicks are shown, and the \
        overlap\nleaves time for them. `webhook show` tells when Sonar last signed with each secret. While this box's clock may \
        be\nwrong, no secret ends.\n\n\
        Examples:\n  hydrophone webhook rotate acme\n  hydrophone webhook rotate acme --project web-shop --overlap 12h\n  \
        hydrophone webhook rotate acme --overlap 0  # somebody knows the former"
    )]
    Rotate {
        /// Whose webhook.
        #[command(flatten)]
        whose: Whose,
        /// Take the former secret for so long: days (7d) or hours (12h); 0 ends it at once.
        #[arg(long, value_name = "SPAN", default_value = "7d", value_parser = overlap_hours)]
        overlap: u64,
    },
    /// Send this box a signed call through its public address, and say how far it comes.
    #[command(
        after_help = "The call is logged with the outcome `test` and changes nothing. Where a router does not let the box \
        reach its own\npublic address, that is said: then Sonar's next call shows whether it arrives.\n\n\
        Example:\n  hydrophone webhook test acme"
    )]
    Test(Whose),
}

/// Whose webhook.
#[derive(Debug, Args)]
pub struct Whose {
    /// Name the organization, as ORG or SOURCE/ORG.
    #[arg(value_name = "ORG")]
    organization: String,
    /// Mean the webhook of this project alone.
    #[arg(long, value_name = "KEY")]
    project: Option<String>,
}

impl Whose {
    fn path(&self, what: &str) -> String {
        path_with(&["organizations", &self.organization, "webhook", what], &[("project", self.project.as_deref())])
    }

    /// The same, as a person types it.
    fn typed(&self) -> String {
        let project = self.project.as_deref().map(|project| format!(" --project {project}")).unwrap_or_default();
        clean(&format!("{}{project}", self.organization)).to_string()
    }
}

impl Command {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self {
            Self::Show { organization, project, reveal } => show(session, &organization, project.as_deref(), reveal),
            Self::Register(whose) => register(session, &whose),
            Self::Unregister(whose) => unregister(session, &whose),
            Self::Rotate { whose, overlap } => rotate(session, &whose, overlap),
            Self::Test(whose) => test(session, &whose),
            Self::Secret { organization, project, secret_file } => {
                let secret = read_secret(&secret_file, "secret")?;
                let new = NewSecret { secret };
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
    secrets(out, webhook)?;
    out.line("")?;
    where_to_paste(out, webhook.project.is_some(), kind.as_deref())?;
    notes(out, webhook, kind.as_deref())
}

/// When Sonar last signed with each secret, while there is more than one.
fn secrets(out: &mut Output, webhook: &Webhook) -> Result<(), Failure> {
    if webhook.secrets.len() < 2 {
        return Ok(());
    }
    for (index, secret) in webhook.secrets.iter().enumerate() {
        let used = secret.used_at.as_deref().map(|time| minute_ago(time, now()));
        let used = used.map_or_else(|| "Sonar has not signed with it".to_owned(), |used| format!("last used {used}"));
        let until = secret.expires_at.as_deref().map(|until| format!(", valid until {until}")).unwrap_or_default();
        out.field(if index == 0 { "New secret" } else { "Former secret" }, format!("{used}{until}"))?;
    }
    Ok(())
}

fn rotate(session: &mut Session, whose: &Whose, overlap_hours: u64) -> Result<(), Failure> {
    let new = NewRotation { overlap_hours: Some(overlap_hours) };
    let answer: Answer<WebhookRotation> = session.client.post(&whose.path("rotate"), &new)?;
    session.show(&answer, |out, told| {
        match told.done.as_str() {
            "created" => {
                out.line("There is a new secret. Sonar had no webhook of this box; now it has one, with that secret.")?;
            }
            "known" => out.line("There is a new secret, and Sonar has it.")?,
            _ => out.line("There is a new secret. Sonar does not have it yet: enter it there.")?,
        }
        match &told.former_ends_at {
            Some(until) => out.line(format_args!("The former one is valid until {}.", clean(until)))?,
            None => out.line("The former one is not valid any more.")?,
        }
        let Some(problem) = &told.problem else {
            return out
                .line(format_args!("`hydrophone webhook show {}` tells when Sonar first uses it.", whose.typed()));
        };
        out.line("")?;
        out.line(format_args!("Sonar was not told: {}.", clean(problem)))?;
        if let Some(remedy) = &told.remedy {
            out.line(format_args!(
                "Either: {}, and then `hydrophone webhook register {}`.",
                clean(remedy),
                whose.typed()
            ))?;
        }
        out.line(format_args!("Or by hand, in Sonar: {}", clean(told.clicks.as_deref().unwrap_or_default())))?;
        out.line(format_args!("The secret to paste: hydrophone webhook show {} --reveal", whose.typed()))
    })
}

/// `7d`, `12h` or `0` in hours.
fn overlap_hours(text: &str) -> Result<u64, String> {
    let hours = match text.strip_suffix('d') {
        Some(days) => days.parse::<u64>().ok().and_then(|days| days.checked_mul(24)),
        None => text.strip_suffix('h').unwrap_or(if text == "0" { text } else { "" }).parse().ok(),
    };
    hours.ok_or_else(|| "a span is a number of days or hours, such as 7d or 12h".to_owned())
}

/// Which webhooks Sonar had of what was removed, and what became of them.
pub(super) fn parted(out: &mut Output, removal: &Removal) -> Result<(), Failure> {
    for webhook in &removal.webhooks {
        let whose = clean(webhook.project.as_deref().unwrap_or(&webhook.organization)).to_string();
        match webhook.done.as_str() {
            "removed" => out.line(format_args!("Sonar does not have the webhook of {whose} any more."))?,
            "absent" => out.line(format_args!("Sonar had no webhook of {whose}."))?,
            _ => out.line(format_args!(
                "Sonar still has the webhook of {whose} and calls an address that answers 404: delete it there ({}). \
                 With --unregister, Hydrophone does that before.",
                clean(&webhook.clicks)
            ))?,
        }
    }
    Ok(())
}

fn register(session: &mut Session, whose: &Whose) -> Result<(), Failure> {
    let answer: Answer<WebhookRegistration> = session.client.post(&whose.path("register"), &serde_json::json!({}))?;
    session.show(&answer, |out, told| {
        match told.done.as_str() {
            "created" => out.line("Sonar has the webhook now.")?,
            _ => out.line("Sonar had the webhook already; its address and secret are right.")?,
        }
        out.field("URL", &told.webhook.url)?;
        if let Some(note) = &told.note {
            out.line(note)?;
        }
        out.line(format_args!("Next: hydrophone webhook test {}", whose.typed()))
    })
}

fn unregister(session: &mut Session, whose: &Whose) -> Result<(), Failure> {
    let answer: Answer<WebhookRegistration> = session.client.post(&whose.path("unregister"), &serde_json::json!({}))?;
    session.show(&answer, |out, told| {
        match told.done.as_str() {
            "removed" => out.line("Sonar does not have the webhook any more.")?,
            _ => out.line("Sonar had no webhook of this box.")?,
        }
        out.line(format_args!("Sonar is asked every {} minutes.", told.webhook.poll_minutes))
    })
}

fn test(session: &mut Session, whose: &Whose) -> Result<(), Failure> {
    let answer: Answer<WebhookTest> = session.client.post(&whose.path("test"), &serde_json::json!({}))?;
    session.show(&answer, |out, test| {
        out.field("URL", &test.url)?;
        for hop in &test.hops {
            let mark = match hop.state.as_str() {
                "ok" => "ok  ",
                "warning" => "note",
                "failed" => "NO  ",
                _ => "?   ",
            };
            out.line(format_args!("  {mark} {} ({} ms)", clean(&hop.text), hop.milliseconds))?;
        }
        out.line(&test.text)?;
        test.remedy.as_ref().map_or(Ok(()), |remedy| out.line(remedy))
    })?;
    if answer.value.result == "failed" { Err(Failure::Told) } else { Ok(()) }
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

fn notes(out: &mut Output, webhook: &Webhook, kind: Option<&str>) -> Result<(), Failure> {
    if webhook.way.text.is_empty() {
        out.line(
            "Sonar refuses self-signed certificates: the URL needs one that Sonar trusts, or a proxy that has one.",
        )?;
    } else {
        out.line(format_args!("{}.", clean(&webhook.way.text)))?;
    }
    if let Some(remedy) = &webhook.way.remedy {
        out.line(format_args!("What to do: {}.", clean(remedy)))?;
    }
    if !is_private_url(&webhook.url) {
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

#[cfg(test)]
mod tests {
    use super::super::client::tests::FakeDaemon;
    use super::super::tests::told;

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
