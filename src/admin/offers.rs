//! Configuration: offering it to the boxes of a fleet, and what became of that which this box was offered.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;

use super::answers::Sent;
use super::guard::remark;
use super::{Admin, Problem, Shared, shapes};
use crate::domain::condition::{Condition, Urgency};
use crate::domain::fleet::Site;
use crate::domain::fleet::offer::{Claims, State as Standing, claims as claims_of};
use crate::domain::settings::FLEET_SIGNER;
use crate::store::records::SecretBytes;
use crate::store::{Reader, StoreError, fleet, offer, settings};

/// `POST /fleet/offers`.
pub(super) async fn add(
    State(admin): Shared,
    Sent(new): Sent<shapes::NewOffer>,
) -> Result<Json<shapes::Offered>, Problem> {
    let claims = claims_of(&new.offer).map_err(|bad| Problem::bad(bad.to_string()).at("offer"))?;
    remark(&format!("serial {}, for {}", claims.serial, claims.sites.join(", ")));
    let offered = admin.ask(move |admin| offered(admin, &new, claims)).await?;
    Ok(Json(offered))
}

fn offered(admin: &Admin, new: &shapes::NewOffer, claims: Claims) -> Result<shapes::Offered, Problem> {
    let (fleet, known, credentials) = admin.store.read::<_, Problem>(|view| {
        let mut fleets = fleet::fleets(view)?;
        fleets.retain(|one| new.fleet.as_deref().is_none_or(|name| one.name.as_str() == name));
        let fleet = match (fleets.pop(), fleets.is_empty()) {
            (Some(fleet), true) => fleet,
            (None, _) => {
                let named = new.fleet.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
                return Err(Problem::missing(format!("this box gathers no fleet{named}"))
                    .remedy("`hydrophone source add NAME --fleet URL --credentials FILE` joins one as its hub"));
            }
            (Some(_), false) => {
                return Err(Problem::bad("this box gathers several fleets, and none is named").at("fleet"));
            }
        };
        let known: BTreeSet<Site> = fleet::sites(view, &fleet.name)?.into_iter().map(|(site, _)| site).collect();
        let credentials = fleet::credentials(view, &fleet.name)?;
        Ok((fleet, known, credentials))
    })?;
    let mut sites = Vec::new();
    for name in &claims.sites {
        let site = name.parse().ok().filter(|site| known.contains(site)).ok_or_else(|| {
            Problem::missing(format!("no site {name} has said anything"))
                .remedy("`hydrophone fleet status` shows those that have")
        })?;
        sites.push(site);
    }
    if sites.is_empty() {
        return Err(Problem::bad("it is for no site").at("offer"));
    }
    let credentials = credentials.unwrap_or_else(|| SecretBytes::new(Vec::new()));
    admin.work.open_offering(&fleet, credentials.as_text())?.put(&sites, &new.offer)?;
    Ok(shapes::Offered { fleet: fleet.name.to_string(), serial: claims.serial, sites: claims.sites })
}

/// What is the matter with the configuration that this box itself is offered.
pub(super) fn condition(admin: &Admin, view: &Reader) -> Result<Option<Condition>, StoreError> {
    if settings::value(view, FLEET_SIGNER)?.is_none() {
        return Ok(None);
    }
    let warning = |text: String, remedy: &str| {
        let (urgency, code, remedy) = (Urgency::Warning, "fleet_configuration", remedy.to_owned());
        Ok(Some(Condition { urgency, code, text, remedy }))
    };
    if let Some(trouble) = admin.work.offers.trouble() {
        return warning(
            format!("whether the fleet offers this box a configuration is not known: {trouble}"),
            "the README says what its user has to be allowed, Many boxes; `hydrophone config set fleet-signer \"\"` ends the asking",
        );
    }
    let outcome = offer::outcome(view)?;
    let why = outcome.why.unwrap_or_default();
    match outcome.state {
        Standing::Refused => warning(
            format!("the configuration that the fleet offers is not taken: {why}"),
            "nothing of it was done; whoever looks after the fleet offers another one with `hydrophone fleet apply`",
        ),
        Standing::Failed => warning(
            format!("the configuration that the fleet offers could not be carried out: {why}"),
            "what stands before it is done, and it is tried again every 15 minutes; mend it on the box, or offer another one",
        ),
        _ => Ok(None),
    }
}
