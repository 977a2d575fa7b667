//! `fleet key` and `fleet apply`: configuration for boxes, signed where this runs. The daemon passes on what was signed, and
//! never holds the key.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::super::Session;
use super::super::client::{Answer, Failure};
use super::super::config;
use super::super::export::Draft;
use super::super::secret::{name, secret_bytes};
use super::super::table::{clean, counted, now};
use crate::admin::shapes::{FleetSite, FleetStatus, NewOffer, Offered};
use crate::domain::fleet::offer::{Claims, SigningKey};
use crate::domain::limits::FLEET_OFFER_BYTES_MAX;
use crate::sys::random;

/// What `fleet key` takes.
#[derive(Debug, Args)]
pub struct Key {
    /// Write the key to this file; where there is a key already, show whom boxes are to trust.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What `fleet apply` takes.
#[derive(Debug, Args)]
pub struct Apply {
    /// Read the document from this file, or from standard input for `-`.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Sign it with the key in this file, as `fleet key` makes it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Offer it to this site; may be given several times.
    #[arg(long = "site", value_name = "SITE", required_unless_present = "all_sites")]
    sites: Vec<String>,
    /// Offer it to all sites that have said anything.
    #[arg(long, conflicts_with = "sites")]
    all_sites: bool,
    /// The fleet, where this box gathers several.
    #[arg(long, value_name = "NAME")]
    fleet: Option<String>,
}

impl Key {
    pub(super) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let is_new = !self.file.exists();
        if is_new {
            Draft::write(&self.file, SigningKey::pem(&random::bytes()).trim_end())?;
        }
        let signer = signing_key(&self.file)?.signer();
        if session.out.json {
            let document =
                json!({ "file": self.file.display().to_string(), "signer": signer.to_string(), "new": is_new });
            return session.out.document(&document.to_string());
        }
        if is_new {
            session.out.line(format_args!("Wrote {}, for its owner alone.", self.file.display()))?;
        }
        session.out.line(format_args!("Have boxes trust it, on each: hydrophone config set fleet-signer {signer}"))
    }
}

impl Apply {
    pub(super) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let configuration = config::for_others(&self.file)?;
        let key = signing_key(&self.key)?;
        let known = sites_of(session, self.fleet.as_deref())?;
        let sites = if self.all_sites { all(&known)? } else { self.sites };
        let serial = serial(&known);
        let offer = key.sign(&Claims { serial, sites, configuration });
        if offer.len() > FLEET_OFFER_BYTES_MAX {
            let text = format!(
                "signed it is longer than {} kB, more than a server of NATS takes",
                FLEET_OFFER_BYTES_MAX / 1000
            );
            return Err(Failure::Input {
                text,
                hint: "Leave out what is the same on the boxes already; what is not named stays as it is.",
            });
        }
        let answer: Answer<Offered> = session.client.post("fleet/offers", &NewOffer { fleet: self.fleet, offer })?;
        session.show(&answer, |out, offered| {
            let count = u64::try_from(offered.sites.len()).unwrap_or(u64::MAX);
            out.line(format_args!("Offered to {}: {}.", counted(count, "site"), clean(&offered.sites.join(", "))))?;
            out.line("Boxes that trust its signer take it within two minutes; `hydrophone fleet status SITE` shows what became of it.")
        })
    }
}

fn sites_of(session: &Session, fleet: Option<&str>) -> Result<Vec<FleetSite>, Failure> {
    let status: Answer<FleetStatus> = session.client.get("fleet")?;
    let fleets = status.value.fleets.into_iter().filter(|one| fleet.is_none_or(|name| one.name == name));
    Ok(fleets.flat_map(|one| one.sites).collect())
}

/// When it was signed, and above all that boxes have taken: a clock that was ahead once must not make them refuse what comes
/// after it.
fn serial(known: &[FleetSite]) -> u64 {
    let taken = known.iter().filter_map(|site| site.configuration.as_ref()).map(|one| one.serial).max();
    u64::try_from(now().0).unwrap_or_default().max(taken.map_or(0, |taken| taken.saturating_add(1)))
}

fn all(known: &[FleetSite]) -> Result<Vec<String>, Failure> {
    let sites: Vec<String> = known.iter().map(|site| site.site.clone()).collect();
    if sites.is_empty() {
        return Err(Failure::Input {
            text: "no site has said anything".to_owned(),
            hint: "`hydrophone fleet status` shows those that have.",
        });
    }
    Ok(sites)
}

fn signing_key(path: &Path) -> Result<SigningKey, Failure> {
    let bytes = secret_bytes(path, "signing key")?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    SigningKey::parse(text).map_err(|bad| Failure::Input {
        text: format!("{} {bad}", name(path)),
        hint: "`hydrophone fleet key FILE` makes one.",
    })
}
