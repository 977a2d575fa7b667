//! Standby: making this box one of two, and how the two of them stand.

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};

use super::answers::{Query, Sent};
use super::{Admin, Problem, Shared, shapes, views};
use crate::domain::access::Caller;
use crate::domain::condition::{Condition, Urgency};
use crate::domain::secret::SecretText;
use crate::domain::standby::{Copied, LEASE, Pair};
use crate::store::records::SecretBytes;
use crate::store::{Reader, StoreError, catalogue, deliveries, standby};
use crate::sys::clock;
use crate::work::standby::{Other, Role, Seen, end, fall_silent, lease, open};

/// `GET /standby`.
pub(super) async fn show(State(admin): Shared) -> Result<Json<shapes::Standby>, Problem> {
    Ok(Json(admin.ask(|admin| Ok(shown(admin)?)).await?))
}

/// `PUT /standby`: makes this box one of the two of a site.
///
/// Only over the socket: whoever sets the other box up is given everything that this one holds, its secrets among it.
pub(super) async fn join(
    State(admin): Shared,
    Extension(caller): Extension<Caller>,
    Sent(new): Sent<shapes::NewStandby>,
) -> Result<Json<shapes::Standby>, Problem> {
    if caller != Caller::Socket {
        return Err(Problem::forbidden(
            "the other box is given all that this one holds, so this is not set up over the network",
        )
        .remedy("on the box itself: hydrophone standby join"));
    }
    Ok(Json(admin.ask(move |admin| joined(admin, new)).await?))
}

fn joined(admin: &Admin, new: shapes::NewStandby) -> Result<shapes::Standby, Problem> {
    let site = new.site.parse().map_err(|bad| Problem::bad(format!("{bad}")).at("site"))?;
    let pair = Pair {
        url: new.url,
        site,
        plain: new.plain,
        ca_pem: new.ca_pem,
        replaces: new.replace,
        added_at: clock::now(),
    };
    let bytes = |text: &SecretText| SecretBytes::new(text.as_bytes().to_vec());
    let (credentials, key) = (bytes(&new.credentials), bytes(&new.key));
    let (mut speaking, _) = open(&admin.work, &pair, &credentials, &key)?;
    speaking.server()?;
    let held = lease(&mut speaking)?;
    drop(speaking);
    let (inventory, is_empty) =
        admin.store.read::<_, StoreError>(|view| Ok((catalogue::inventory(view)?, standby::is_empty(view)?)))?;
    let held = held.ok().map(|(_, held)| held).filter(|held| !held.ended && held.inventory != inventory && !is_empty);
    if let Some(held) = held.as_ref().filter(|held| held.empty) {
        let text = format!("{} works for this site and holds nothing, and this box holds an inventory", held.machine);
        return Err(Problem::conflict(text)
            .remedy("`hydrophone standby leave` there; then join this box first, and that one when this one works"));
    }
    if let Some(held) = held.filter(|_| !pair.replaces) {
        let text = format!("{} works for this site, and this box holds an inventory of its own", held.machine);
        return Err(Problem::conflict(text).at("replace").remedy(
            "--replace gives it up for that of the other box, with all sources and destinations; take a backup before",
        ));
    }
    admin.store.write::<_, StoreError>(move |batch| standby::put_pair(batch, &pair, &credentials, &key))?;
    admin.work.standby.kick();
    Ok(shown(admin)?)
}

/// `DELETE /standby?keep=&drop_calls=`: makes this box one alone again. Only over the socket, as it may give up all that this box holds,
/// or have two boxes work.
pub(super) async fn leave(
    State(admin): Shared,
    Extension(caller): Extension<Caller>,
    Query(how): Query<shapes::StandbyEnd>,
) -> Result<Json<shapes::Standby>, Problem> {
    if caller != Caller::Socket {
        return Err(Problem::forbidden("a box of two is made one alone on the box itself")
            .remedy("on the box itself: hydrophone standby leave"));
    }
    Ok(Json(admin.ask(move |admin| left(admin, how)).await?))
}

fn left(
    admin: &Admin,
    shapes::StandbyEnd { keep, drop_calls }: shapes::StandbyEnd,
) -> Result<shapes::Standby, Problem> {
    let (pair, part, secrets, is_taking) = admin.store.read::<_, StoreError>(|view| {
        Ok((standby::pair(view)?, standby::part(view)?, standby::secrets_of(view)?, standby::is_taking(view)?))
    })?;
    let Some(pair) = pair else { return Err(alone()) };
    let waiting = admin.store.read(|view| deliveries::waiting(view, 0, usize::MAX))?.len();
    if !part.works && !keep && !drop_calls && waiting > 0 {
        let text = format!("webhook calls that came here and are not handed over yet: {waiting}");
        return Err(Problem::conflict(text).at("drop_calls").remedy(
            "wait until they are (`hydrophone delivery list`); --drop-calls gives them up, and the other box reads what they \
             told of at its next look",
        ));
    }
    if keep && is_taking && !part.works {
        return Err(Problem::conflict("this box has a part of a copy only, which is no inventory")
            .remedy("`hydrophone standby leave` without --keep makes it a new one"));
    }
    let mut speaking = None;
    if !keep {
        let empty = || SecretBytes::new(Vec::new());
        let (credentials, key) = (secrets.0.unwrap_or_else(empty), secrets.1.unwrap_or_else(empty));
        match open(&admin.work, &pair, &credentials, &key) {
            Ok((way, _)) => speaking = Some(way),
            Err(bad) if part.works => return Err(bad.into()),
            Err(_) => {}
        }
    }
    if let Some(way) = speaking.as_mut().filter(|_| part.works) {
        let asked = lease(way).map_err(|trouble| {
            Problem::from(trouble)
                .remedy("the other box is to be told, or it takes over; --keep does without, where it is gone for good")
        });
        asked?.ok();
    }
    let (now, ticket) = (clock::now(), admin.store.ticket());
    admin.store.delete::<_, StoreError>(move |batch| standby::leave(batch, keep, now, ticket))?;
    admin.work.standby.kick();
    if let Some(mut speaking) = speaking {
        if part.works {
            end(&mut speaking, part.me)?;
        } else {
            fall_silent(&mut speaking, part.me);
        }
    }
    Ok(shown(admin)?)
}

/// `POST /standby/hand-over`: has the other box take over as soon as it has everything.
pub(super) async fn hand_over(State(admin): Shared) -> Result<Json<shapes::Standby>, Problem> {
    let asked = admin.ask(|admin| {
        let seen = admin.work.standby.seen();
        match seen.role {
            Role::Alone => return Err(alone()),
            Role::StandsBy => return Err(Problem::conflict("this box stands by; the other one works already")),
            Role::Unsure => {
                return Err(Problem::conflict("this box does not have its site's lease just now")
                    .remedy("try again in a moment"));
            }
            Role::Works => {}
        }
        if !seen.other.as_ref().is_some_and(|other| is_there(admin, other) && other.copied.is_some()) {
            return Err(Problem::conflict("no other box stands by that could take over")
                .remedy("`hydrophone standby status` shows what is known of it"));
        }
        admin.work.standby.hand_over();
        Ok(shown(admin)?)
    });
    Ok(Json(asked.await?))
}

fn alone() -> Problem {
    Problem::conflict("this box is none of two").remedy("`hydrophone standby join` makes it one")
}

fn is_there(admin: &Admin, other: &Other) -> bool {
    admin.work.clock.steady().saturating_sub(other.heard) < MISSED
}

/// A box that said nothing for so long is not there: it does every ten seconds.
const MISSED: Duration = Duration::from_mins(2);

fn shown(admin: &Admin) -> Result<shapes::Standby, StoreError> {
    let (pair, me) = admin.store.read::<_, StoreError>(|view| Ok((standby::pair(view)?, standby::part(view)?.me)))?;
    let seen = admin.work.standby.seen();
    let Seen { role, since, term, other, copied, is_current, trouble, problem, .. } = seen;
    let (problem, remedy) = match (problem, trouble) {
        (Some((text, remedy)), _) => (Some(text), Some(remedy.to_owned())),
        (None, Some(lost)) => (Some(lost.why), lost.remedy),
        (None, None) => (None, None),
    };
    let role = if pair.is_none() { Role::Alone } else { role };
    Ok(shapes::Standby {
        role: role.as_str().to_owned(),
        since: views::time(since),
        site: pair.as_ref().map(|pair| pair.site.to_string()),
        url: pair.as_ref().map(|pair| pair.url.clone()),
        id: pair.is_some().then(|| me.to_string()),
        term: (term > 0).then_some(term),
        other: other.as_ref().map(|other| shapes::StandbyOther {
            machine: other.machine.clone(),
            version: other.version.clone(),
            heard_at: other.heard_at.to_string(),
            is_there: is_there(admin, other),
            copied: other.copied.map(place),
        }),
        copied: copied.map(place),
        current: (role == Role::StandsBy).then_some(is_current),
        problem,
        remedy,
    })
}

fn place(copied: Copied) -> String {
    format!("{}.{}.{}", copied.term, copied.copy, copied.changes)
}

/// What an operator should know of the two boxes.
pub(super) fn conditions(admin: &Admin, view: &Reader) -> Result<Vec<Condition>, StoreError> {
    let Some(pair) = standby::pair(view)? else { return Ok(Vec::new()) };
    let (seen, steady, site) = (admin.work.standby.seen(), admin.work.clock.steady(), &pair.site);
    let mut found = Vec::new();
    let mut say = |urgency, code, text: String, remedy: String| found.push(Condition { urgency, code, text, remedy });
    if let Some((text, remedy)) = seen.problem {
        say(Urgency::Warning, "standby_problem", text, remedy.to_owned());
    }
    if let Some(lost) = seen.trouble.filter(|lost| lost.remedy.is_some() || steady.saturating_sub(lost.steady) > LEASE)
    {
        let text = match seen.role {
            Role::Unsure => format!(
                "whether this box may work for site {site} is not known since {}: it reads SonarQube, and tells no destination anything: {}",
                lost.since, lost.why
            ),
            _ => format!("the other box of site {site} cannot be spoken to since {}: {}", lost.since, lost.why),
        };
        let remedy = lost.remedy.unwrap_or_else(|| {
            "it is tried again by itself; only where the other box is gone for good, `hydrophone standby leave --keep` has this one work alone".to_owned()
        });
        let urgency = if seen.role == Role::Unsure { Urgency::Error } else { Urgency::Warning };
        say(urgency, "standby_unreachable", text, remedy);
        return Ok(found);
    }
    let other = seen.other.as_ref();
    match seen.role {
        Role::Works
            if !other.is_some_and(|other| is_there(admin, other)) && steady.saturating_sub(seen.steady) > MISSED =>
        {
            let text = match other {
                Some(other) => {
                    format!("{}, which stood by for site {site}, was last heard at {}", other.machine, other.heard_at)
                }
                None => format!("no other box stands by for site {site}"),
            };
            let remedy = "set the other box up with `hydrophone standby join`, or look why it does not run".to_owned();
            say(Urgency::Warning, "standby_missing", text, remedy);
        }
        Role::StandsBy => {
            let name = other.map_or("another box", |other| other.machine.as_str());
            say(
                Urgency::Info,
                "stands_by",
                format!(
                    "this box stands by for site {site}, where {name} works; it shows a copy of what that one holds"
                ),
                "change things there; `hydrophone standby status` shows how the two stand".to_owned(),
            );
        }
        _ => {}
    }
    Ok(found)
}
