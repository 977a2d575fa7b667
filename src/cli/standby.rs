//! `standby`: two boxes for one site.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Session;
use super::client::{Answer, Failure, path_with};
use super::export::Draft;
use super::pem::read_certificates;
use super::secret::read_secret;
use super::table::{Output, minute_ago, now};
use crate::admin::shapes::{NewStandby, Standby};
use crate::domain::time::Timestamp;
use crate::sys::seal;

/// What can be done with the two boxes of a site.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show which of the two boxes works, and how far the other one's copy has come.
    Status,
    /// Make the key with which the two boxes seal what they tell each other.
    #[command(
        after_help = "Whoever has the key and can read the server's bucket has everything that the boxes hold, their\n\
        secrets too. Bring it to the other box as you would bring a password.\n\nExample:\n  \
        hydrophone standby key pair.key"
    )]
    Key(Key),
    /// Make this box one of the two of a site.
    #[command(
        after_help = "On both boxes, first on the one whose inventory is to be kept; the other one takes that over\n\
        with all sources, destinations, webhooks and secrets. Settings, users and the certificate are\n\
        each box's own.\n\nExample:\n  \
        hydrophone standby join --url tls://nats.example.com --site berlin \\\n    --credentials berlin.creds --key pair.key"
    )]
    Join(Join),
    /// Have the other box take over, as before this one is updated.
    HandOver,
    /// Make this box one alone again.
    #[command(
        after_help = "A box that works goes on alone. One that stands by gives its copy up, and is as a new one, so\n\
        that no two boxes tell a platform the same; with --keep it goes on with the copy, as where the\n\
        other box is gone for good."
    )]
    Leave(Leave),
}

/// What `standby key` takes.
#[derive(Debug, Args)]
pub struct Key {
    /// Write the key to this file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What `standby join` takes.
#[derive(Debug, Args)]
pub struct Join {
    /// Meet the other box at this server of NATS.
    #[arg(long, value_name = "URL")]
    url: String,
    /// Name the site, the same for both boxes.
    #[arg(long, value_name = "SITE")]
    site: String,
    /// Read what the server knows the site's boxes by from this file, or from standard input for `-`.
    #[arg(long, value_name = "FILE")]
    credentials: PathBuf,
    /// Seal what the boxes tell each other with the key in this file, as `standby key` makes it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Trust the certificates of this PEM file too.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Go to the server without TLS: the way there is safe.
    #[arg(long)]
    plain: bool,
    /// Give the inventory that this box holds up for the other one's.
    #[arg(long)]
    replace: bool,
}

/// What `standby leave` takes.
#[derive(Debug, Args)]
pub struct Leave {
    /// Go on alone though the other box is not told: it is gone for good.
    #[arg(long)]
    keep: bool,
    /// Give up webhook calls that came here and that the other box has not taken over.
    #[arg(long, conflicts_with = "keep")]
    drop_calls: bool,
}

impl Command {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self {
            Self::Status => {
                let answer: Answer<Standby> = session.client.get("standby")?;
                session.show(&answer, shown)
            }
            Self::Key(key) => key.run(session),
            Self::Join(join) => {
                let answer: Answer<Standby> = session.client.put("standby", &join.into_new()?)?;
                session.show(&answer, |out, standby| {
                    let site = standby.site.as_deref().unwrap_or_default();
                    out.line(format_args!("This box is one of the two of site {site} now."))?;
                    out.line("`hydrophone standby status` shows which of them works, and whether the copy is whole.")
                })
            }
            Self::HandOver => {
                let answer: Answer<Standby> = session.client.post("standby/hand-over", &json!({}))?;
                session.show(&answer, |out, _| {
                    out.line("The other box takes over as soon as it has everything: within seconds.")?;
                    out.line("`hydrophone standby status` shows when it has.")
                })
            }
            Self::Leave(leave) => {
                let (keep, drop_calls) = (leave.keep.to_string(), leave.drop_calls.to_string());
                let query = path_with(&["standby"], &[("keep", Some(&keep)), ("drop_calls", Some(&drop_calls))]);
                let answer: Answer<Standby> = session.client.delete(&query)?;
                session.show(&answer, |out, _| out.line("This box is one alone again."))
            }
        }
    }
}

impl Key {
    fn run(self, session: &mut Session) -> Result<(), Failure> {
        if self.file.exists() {
            let text = format!("{} is there already", self.file.display());
            let hint = "Both boxes take the same key; where that is one, bring it to the other box. Choose another name for a new one.";
            return Err(Failure::Input { text, hint });
        }
        Draft::write(&self.file, seal::Key::random().text().trim_end())?;
        let file = self.file.display();
        if session.out.json {
            return session.out.document(&json!({ "file": file.to_string() }).to_string());
        }
        session.out.line(format_args!("Wrote {file}, for its owner alone. Both boxes need it: hydrophone standby join"))
    }
}

impl Join {
    fn into_new(self) -> Result<NewStandby, Failure> {
        Ok(NewStandby {
            url: self.url,
            site: self.site,
            credentials: read_secret(&self.credentials, "credentials")?,
            key: read_secret(&self.key, "key")?,
            ca_pem: self.ca_file.as_deref().map(read_certificates).transpose()?,
            plain: self.plain,
            replace: self.replace,
        })
    }
}

fn shown(out: &mut Output, standby: &Standby) -> Result<(), Failure> {
    let Some(site) = &standby.site else {
        return out.line("This box is one alone. Give it another one that stands by: hydrophone standby join --help");
    };
    let now = now();
    out.field("Site", format!("{site}, at {}", standby.url.as_deref().unwrap_or_default()))?;
    let since = standby.since.as_deref().map(|at| format!(", since {}", minute_ago(at, now))).unwrap_or_default();
    let term = standby.term.map(|term| format!(", term {term}")).unwrap_or_default();
    let role = match standby.role.as_str() {
        "works" => "works",
        "stands_by" => "stands by",
        _ => "reads SonarQube and tells nobody anything, as it cannot renew its site's lease",
    };
    out.field("This box", format!("{role}{since}{term}"))?;
    out.field("Other box", other(standby, now))?;
    if standby.role == "stands_by" {
        let copy = match (&standby.copied, standby.current) {
            (None, _) => "none yet: it could not take over".to_owned(),
            (Some(place), Some(true)) => format!("up to date ({place})"),
            (Some(place), _) => format!("behind ({place})"),
        };
        out.field("Copy", copy)?;
    }
    out.field("Problem", standby.problem.as_deref().unwrap_or_default())?;
    out.field("Remedy", standby.remedy.as_deref().unwrap_or_default())
}

fn other(standby: &Standby, now: Timestamp) -> String {
    let Some(other) = &standby.other else { return "not heard of yet".to_owned() };
    let version = other.version.as_ref().map(|version| format!(", version {version}")).unwrap_or_default();
    let copied = match (&other.copied, standby.role.as_str()) {
        (Some(place), _) => format!(", has a copy ({place})"),
        (None, "works") => ", has no copy yet".to_owned(),
        (None, "stands_by") if other.is_there => ", which works".to_owned(),
        (None, _) => String::new(),
    };
    let heard =
        if other.is_there { String::new() } else { format!(", last heard {}", minute_ago(&other.heard_at, now)) };
    format!("{}{version}{copied}{heard}", other.machine)
}
