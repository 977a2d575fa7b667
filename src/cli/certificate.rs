//! `certificate`: what the listeners show, and how it is exchanged.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::Session;
use super::client::{Answer, Failure};
use super::pem::{read_certificates, read_pair};
use super::proxy::Proxy;
use super::secret::read_secret;
use super::table::{Output, clean, counted, minute_ago, now};
use crate::admin::shapes::{Certificate, CertificateChange, Fetching, NewCertificate, NewFetching};

/// What can be done with the certificate.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show which certificate the listeners show, and why that one.
    #[command(after_help = "Example: for the trust store of a Server's Java\n  \
        hydrophone certificate show --pem > hydrophone.pem\n  \
        keytool -importcert -cacerts -noprompt -alias hydrophone \\\n    -file hydrophone.pem\n\n\
        The last line is for the Server, which is then to be restarted. Of an authority of your own: --ca-pem, which outlives \
        renewals.")]
    Show {
        /// Print the certificate with its chain, PEM.
        #[arg(long)]
        pem: bool,
        /// Print the certificate at the end of the chain alone, PEM: that of an authority of your own.
        #[arg(long, conflicts_with = "pem")]
        ca_pem: bool,
    },
    /// Give the listeners a certificate and its key; everything about them is checked first.
    #[command(after_help = "Example:\n  hydrophone certificate set --cert fullchain.pem --key privkey.pem")]
    Set {
        /// Read the certificate from this PEM file, or from standard input for `-`, followed by those that lead to its authority.
        #[arg(long, value_name = "FILE")]
        cert: PathBuf,
        /// Read its key from this PEM file, or from standard input for `-`.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Have the box make a certificate of its own, and show it instead of one that was set or fetched.
    SelfSigned,
    /// Have a certificate fetched from an ACME server, such as Let's Encrypt, and fetched anew before it ends.
    #[command(
        after_help = "Examples:\n  hydrophone certificate acme --domain hooks.example.com \\\n    --contact ines@example.com \
        --agree-to-terms\n  hydrophone certificate acme --domain hooks.lan.example \\\n    --ca-file ca.pem --directory https://ca.lan.example/dir \
        --agree-to-terms\n\nThe server looks at port 443 of the name (http-01: port 80), which has to lead to \
        this box."
    )]
    Acme(Box<Acme>),
    /// Fetch a certificate now, and say what is in the way.
    Renew,
}

/// How a certificate is fetched.
#[derive(Debug, Args)]
pub struct Acme {
    /// Name the certificate's names; may be given more than once.
    #[arg(long = "domain", value_name = "NAME", required = true)]
    domains: Vec<String>,
    /// Agree to the terms of the server's operator.
    #[arg(long)]
    agree_to_terms: bool,
    /// Ask the server with this directory [default: Let's Encrypt].
    #[arg(long, value_name = "URL")]
    directory: Option<String>,
    /// Let the operator write to this mail address.
    #[arg(long, value_name = "MAIL")]
    contact: Vec<String>,
    /// Trust the certificates of this PEM file too, for the server.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    proxy: Proxy,
    /// Prove the names this way [default: tls-alpn-01].
    #[arg(long, value_parser = ["tls-alpn-01", "http-01"])]
    challenge: Option<String>,
    /// Bind the account to one at the operator, by the id of its key.
    #[arg(long, value_name = "ID", requires = "eab_key_file")]
    eab_id: Option<String>,
    /// Read that key from this file, or from standard input for `-`.
    #[arg(long, value_name = "FILE", requires = "eab_id")]
    eab_key_file: Option<PathBuf>,
}

impl Command {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self {
            Self::Show { pem, ca_pem } => show(session, pem, ca_pem),
            Self::Set { cert, key } => {
                let (certificate, key) = read_pair(&cert, &key)?;
                let new = NewCertificate { certificate, key };
                let answer: Answer<CertificateChange> = session.client.put("certificate", &new)?;
                changed(session, &answer, "The certificate is taken.")
            }
            Self::SelfSigned => {
                let nothing = serde_json::json!({});
                let answer: Answer<CertificateChange> = session.client.post("certificate/self-signed", &nothing)?;
                changed(session, &answer, "The box has made a certificate of its own.")
            }
            Self::Acme(acme) => {
                let answer: Answer<Fetching> = session.client.put("certificate/acme", &acme.into_new()?)?;
                follow(session, answer)
            }
            Self::Renew => {
                let answer: Answer<Fetching> = session.client.post("certificate/renew", &serde_json::json!({}))?;
                follow(session, answer)
            }
        }
    }
}

impl Acme {
    fn into_new(self) -> Result<NewFetching, Failure> {
        let eab_key = self.eab_key_file.map(|file| read_secret(&file, "key of the external account")).transpose()?;
        Ok(NewFetching {
            domains: self.domains,
            agree_to_terms: self.agree_to_terms,
            directory: self.directory,
            contact: self.contact,
            ca_pem: self.ca_file.map(|file| read_certificates(&file)).transpose()?,
            proxy: self.proxy.read()?,
            challenge: self.challenge,
            eab_id: self.eab_id,
            eab_key,
        })
    }
}

fn show(session: &mut Session, pem: bool, ca_pem: bool) -> Result<(), Failure> {
    let answer: Answer<Certificate> = session.client.get("certificate")?;
    if pem && !session.out.json {
        return session.out.bytes(answer.value.pem.as_bytes());
    }
    if ca_pem && !session.out.json {
        let shown = &answer.value;
        return match (&shown.ca_pem, &shown.authority) {
            (Some(pem), _) => session.out.bytes(pem.as_bytes()),
            (None, Some(authority)) => Err(Failure::Input {
                text: format!("the chain does not hold the certificate of its authority, {}", clean(authority)),
                hint: "Get it from whoever runs that authority, or give the box the whole chain: hydrophone certificate set.",
            }),
            (None, None) => Err(Failure::Input {
                text: format!("the chain does not hold the certificate of its authority, {}", clean(&shown.issuer)),
                hint: "It is generally known: nobody has to be told of it.",
            }),
        };
    }
    session.show(&answer, |out, shown| {
        described(out, shown)?;
        if let Some(fetching) = &shown.acme {
            out.line("")?;
            fetched(out, fetching)?;
        }
        way(out, shown)
    })
}

fn described(out: &mut Output, shown: &Certificate) -> Result<(), Failure> {
    out.field("Origin", &shown.why)?;
    out.field("Good for", if shown.names.is_empty() { "no name".to_owned() } else { shown.names.join(", ") })?;
    let left = match u64::try_from(shown.days_left).unwrap_or_default() {
        0 => "it ends within a day, or has ended".to_owned(),
        days => format!("{} left", counted(days, "day")),
    };
    out.field("Good until", format!("{} ({left})", shown.not_after))?;
    out.field("Issued by", if shown.self_signed { "itself" } else { shown.issuer.as_str() })?;
    out.field("Key", &shown.key)?;
    out.field("SHA-256", &shown.fingerprint)?;
    let shown_at: Vec<_> = shown.listeners.iter().map(|one| format!("{} at {}", one.what, one.address)).collect();
    out.field("Shown by", shown_at.join(", "))
}

fn way(out: &mut Output, shown: &Certificate) -> Result<(), Failure> {
    out.line("")?;
    if let Some(misnamed) = &shown.misnamed {
        out.line(format_args!("Warning: {}.", clean(misnamed)))?;
    }
    out.line(format_args!("{}.", clean(&shown.way.text)))?;
    match &shown.way.remedy {
        Some(remedy) => out.line(format_args!("What to do: {}.", clean(remedy))),
        None => Ok(()),
    }
}

fn changed(session: &mut Session, answer: &Answer<CertificateChange>, done: &str) -> Result<(), Failure> {
    session.show(answer, |out, change| {
        match &change.hidden_by {
            Some(files) => out.line(format_args!("Kept, but not shown: {} stand before it.", clean(files)))?,
            None => out.line(done)?,
        }
        described(out, &change.certificate)?;
        notes(out, &change.notes)?;
        way(out, &change.certificate)
    })
}

fn notes(out: &mut Output, notes: &[String]) -> Result<(), Failure> {
    for note in notes {
        out.line(format_args!("Note: {}.", clean(note)))?;
    }
    Ok(())
}

/// Waits until the server has been asked, and says what came of it.
fn follow(session: &mut Session, mut answer: Answer<Fetching>) -> Result<(), Failure> {
    let told = std::mem::take(&mut answer.value.notes);
    if !session.out.json {
        notes(&mut session.out, &told)?;
    }
    let mut interrupts = session.client.interrupts()?;
    let end = Instant::now() + FOLLOWED_MAX;
    while answer.value.state == "working" && Instant::now() < end {
        session.client.pause(&mut interrupts, LOOK_INTERVAL)?;
        answer = session.client.get_unless(&mut interrupts, "certificate/acme")?;
    }
    session.show(&answer, fetched)?;
    if answer.value.state == "failed" { Err(Failure::Told) } else { Ok(()) }
}

fn fetched(out: &mut Output, fetching: &Fetching) -> Result<(), Failure> {
    out.field("Fetched for", fetching.domains.join(", "))?;
    out.field("From", &fetching.directory)?;
    out.field("Proof", &fetching.challenge)?;
    let at = fetching.fetched_at.as_deref().map(|at| minute_ago(at, now()));
    match fetching.state.as_str() {
        "working" => out.field("State", "the server is being asked")?,
        "fetched" => out.field("State", format!("fetched {}", at.unwrap_or_default()))?,
        "failed" => {
            out.field("State", "the last attempt failed")?;
            out.field("Why", fetching.problem.as_deref().unwrap_or_default())?;
            let remedy = fetching.remedy.as_deref().filter(|remedy| !remedy.is_empty());
            out.field(
                "What to do",
                match remedy {
                    Some(remedy) => format!("{remedy}; after mending it: `hydrophone certificate renew`"),
                    None => "`hydrophone certificate renew` tries it again".to_owned(),
                },
            )?;
        }
        _ => out.field("State", "not asked yet")?,
    }
    out.field("Next", format!("{} at the earliest, by itself", fetching.next_at))
}

/// An attempt has three minutes.
const FOLLOWED_MAX: Duration = Duration::from_secs(200);

const LOOK_INTERVAL: Duration = Duration::from_millis(300);
