//! Destinations: adding, looking at, steering.

pub(super) mod dead_letters;
pub(super) mod edit;
pub(super) mod mapping;

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::answers::{Query, Sent};
use super::guard::remark;
use super::{Admin, Problem, Shared, shapes, views};
use crate::domain::condition::{Condition, Urgency};
use crate::domain::destination::{Destination, Filter, PlatformKind};
use crate::domain::finding::{Kind, Severity};
use crate::domain::fleet::Site;
use crate::domain::ids::{AssetName, ChangeNumber, DestinationId, DestinationName, FindingId};
use crate::domain::limits;
use crate::domain::masking::without_password;
use crate::domain::time::Timestamp;
use crate::platform::{self, BadDestination, Platform, Trouble};
use crate::store::changes::Cursor;
use crate::store::destinations::Progress;
use crate::store::records::SecretBytes;
use crate::store::{Reader, StoreError, View, catalogue, changes, destinations, findings};
use crate::sys::clock;
use crate::work::deliver::preview;

impl From<BadDestination> for Problem {
    fn from(bad: BadDestination) -> Self {
        Self::bad(bad.to_string())
    }
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Later { why, .. } | Trouble::Gone { why } => Self::unreachable(why),
            Trouble::Refused { why, remedy } | Trouble::Target { why, remedy } => Self::unreachable(why).remedy(remedy),
        }
    }
}

fn no_destination(name: &str) -> Problem {
    Problem::missing(format!("there is no destination {name}")).remedy("hydrophone destination list")
}

/// The destination of a name.
fn named(view: &impl View, name: &str) -> Result<(DestinationId, Destination), Problem> {
    let parsed = DestinationName::parse(name)?;
    destinations::named(view, &parsed)?.ok_or_else(|| no_destination(name))
}

/// How a destination is doing: its state's word, and its lag.
fn standing(
    view: &Reader,
    destination: &Destination,
    progress: &Progress,
) -> Result<(&'static str, Option<u64>), StoreError> {
    let newest = findings::last_change(view)?;
    let lag = match &progress.cursor {
        Cursor::At(number) => Some(newest.0.saturating_sub(number.0)),
        Cursor::New | Cursor::Seeding { .. } => None,
    };
    let waiting = !progress.scopes.is_empty();
    let state = match (progress.woe(), lag) {
        _ if destination.paused => "paused",
        _ if progress.gone => "gone",
        (Some(woe), _) if woe.remedy.is_some() => "refused",
        (Some(_), _) => "retrying",
        (None, None) => "seeding",
        (None, Some(0)) if !waiting => "up_to_date",
        (None, Some(_)) => "behind",
    };
    Ok((state, lag))
}

/// How the destinations are doing, and what of it an operator should know.
pub(super) fn health(
    view: &Reader,
    now: Timestamp,
) -> Result<(Vec<shapes::DestinationHealth>, Vec<Condition>), StoreError> {
    let (mut shown, mut conditions) = (Vec::new(), Vec::new());
    for (id, destination) in destinations::destinations(view)? {
        let progress = destinations::progress(view, id)?;
        let (state, lag) = standing(view, &destination, &progress)?;
        let letters = destinations::dead_letter_count(view, id)?;
        conditions.extend(of_destination(&destination.name, state, &progress, letters, now));
        conditions.extend(of_orders(&destination.name, destinations::refused_orders(view, id)?));
        let (name, kind) = (destination.name.to_string(), destination.kind.to_string());
        shown.push(shapes::DestinationHealth { name, kind, lag, state: state.to_owned() });
    }
    Ok((shown, conditions))
}

fn of_destination(
    name: &DestinationName,
    state: &str,
    progress: &Progress,
    letters: u64,
    now: Timestamp,
) -> Vec<Condition> {
    let mut conditions = Vec::new();
    let mut add = |urgency, code, text, remedy| conditions.push(Condition { urgency, code, text, remedy });
    if let (Some(woe), "refused" | "retrying") = (progress.woe(), state) {
        match &woe.remedy {
            Some(remedy) => add(
                Urgency::Error,
                "destination_refused",
                format!("destination {name}: {}", woe.why),
                format!("{remedy}; then `hydrophone destination check {name}`"),
            ),
            // It is tried again by itself; a moment's trouble is nobody's business.
            None if now.since(woe.since) >= FAILING_AFTER && progress.trouble.is_none() => add(
                Urgency::Error,
                "destination_failing",
                format!("destination {name} cannot be compared with what it was told since {}: {}", woe.since, woe.why),
                "it is asked again every hour; what was edited or deleted there is put right when it answers"
                    .to_owned(),
            ),
            None if now.since(woe.since) >= FAILING_AFTER => add(
                Urgency::Error,
                "destination_failing",
                format!("destination {name} has not been told anything since {}: {}", woe.since, woe.why),
                "it is tried again and catches up by itself; nothing is lost".to_owned(),
            ),
            None => {}
        }
    }
    if state == "gone" {
        add(
            Urgency::Warning,
            "destination_gone",
            format!("destination {name} said that it wants nothing any more, and is told nothing"),
            format!("hydrophone destination resume {name}, or hydrophone destination remove {name}"),
        );
    }
    if letters > 0 {
        let counted = if letters >= destinations::DEAD_LETTERS_COUNTED as u64 {
            format!("at least {letters}")
        } else {
            letters.to_string()
        };
        add(
            Urgency::Warning,
            "dead_letters",
            format!("destination {name} refuses messages ({counted}); the others are passed on"),
            format!("hydrophone destination dead-letters {name}"),
        );
    }
    if progress.overtaken_at.is_some_and(|at| now.since(at) < OVERTAKEN_SHOWN_FOR) {
        add(
            Urgency::Info,
            "destination_overtaken",
            format!("destination {name} was away for longer than changes are kept, and is told the present state anew"),
            "nothing to do; `hydrophone config set keep-changes-mib` keeps changes for longer".to_owned(),
        );
    }
    conditions
}

/// Decisions made on a platform that Sonar refuses.
fn of_orders(name: &DestinationName, refused: u64) -> Option<Condition> {
    (refused > 0).then(|| Condition {
        urgency: Urgency::Warning,
        code: "triage_refused",
        text: format!(
            "Sonar refuses decisions that were made in destination {name} ({refused}); they stand there alone"
        ),
        remedy: format!(
            "the log says why; give the user of the source's token the permission to administer issues, then \
             `hydrophone destination replay {name}`"
        ),
    })
}

/// How long a destination may fail before that is a condition.
const FAILING_AFTER: Duration = Duration::from_mins(5);

/// For how long it is shown that a destination was overtaken.
const OVERTAKEN_SHOWN_FOR: Duration = Duration::from_hours(7 * 24);

fn shown(view: &Reader, id: DestinationId, destination: Destination) -> Result<shapes::Destination, StoreError> {
    let progress = destinations::progress(view, id)?;
    let (state, lag) = standing(view, &destination, &progress)?;
    let trouble = progress.woe().cloned();
    Ok(shapes::Destination {
        name: destination.name.to_string(),
        kind: destination.kind.to_string(),
        url: destination.url,
        options: destination.options,
        own_ca: destination.ca_pem.is_some(),
        has_secret: destinations::has_secret(view, id)?,
        proxy: destination.proxy.as_deref().map(without_password),
        filter: shapes::DestinationFilter {
            organizations: destination.filter.organizations,
            projects: destination.filter.projects,
            branches: destination.filter.branches,
            severities: destination.filter.severities.iter().map(ToString::to_string).collect(),
            kinds: destination.filter.kinds.iter().map(ToString::to_string).collect(),
            pull_requests: destination.filter.pull_requests,
            sites: destination.filter.sites.iter().map(ToString::to_string).collect(),
        },
        assets: destination.assets.into_iter().map(|(asset, name)| (asset.to_string(), name)).collect(),
        triage: shapes::Triage { to_sonar: destination.triage_to_sonar, from_sonar: destination.triage_from_sonar },
        state: state.to_owned(),
        lag,
        told: progress.told,
        told_at: views::time(progress.told_at),
        dead_letters: destinations::dead_letter_count(view, id)?,
        trouble_since: trouble.as_ref().map(|woe| woe.since.to_string()),
        remedy: trouble.as_ref().and_then(|woe| woe.remedy.clone()),
        trouble: trouble.map(|woe| woe.why),
        created_at: destination.created_at.to_string(),
    })
}

fn show_named(admin: &Admin, name: &str) -> Result<shapes::Destination, Problem> {
    admin.store.read(|view| {
        let (id, destination) = named(view, name)?;
        Ok(shown(view, id, destination)?)
    })
}

/// `GET /destinations`.
pub(super) async fn list(State(admin): Shared) -> Result<Json<shapes::DestinationList>, Problem> {
    let destinations = admin
        .read(|_, view| {
            let all = destinations::destinations(view)?.into_iter();
            Ok(all.map(|(id, destination)| shown(view, id, destination)).collect::<Result<_, StoreError>>()?)
        })
        .await?;
    Ok(Json(shapes::DestinationList { destinations }))
}

/// `GET /destinations/{name}`.
pub(super) async fn show(State(admin): Shared, Path(name): Path<String>) -> Result<Json<shapes::Destination>, Problem> {
    Ok(Json(admin.run(move |admin| show_named(admin, &name)).await?))
}

fn filter(given: shapes::DestinationFilter) -> Result<Filter, Problem> {
    let at = |field: &'static str| move |error| Problem::from(error).at(field);
    let severities = given.severities.iter().map(|word| word.parse::<Severity>()).collect::<Result<_, _>>();
    let kinds = given.kinds.iter().map(|word| word.parse::<Kind>()).collect::<Result<_, _>>();
    let sites = given.sites.iter().map(|name| name.parse::<Site>()).collect::<Result<_, _>>();
    Ok(Filter {
        organizations: given.organizations,
        projects: given.projects,
        branches: given.branches,
        severities: severities.map_err(at("filter.severities"))?,
        kinds: kinds.map_err(at("filter.kinds"))?,
        pull_requests: given.pull_requests,
        sites: sites.map_err(|error| Problem::bad(error.to_string()).at("filter.sites"))?,
    })
}

/// The destination that a request describes, its secret, and whether that was made here.
fn described(new: shapes::NewDestination) -> Result<(Destination, Option<SecretBytes>, bool), Problem> {
    let name = DestinationName::parse(&new.name).map_err(|error| Problem::from(error).at("name"))?;
    let kind: PlatformKind = new.kind.parse().map_err(|error| Problem::bad(format!("{error}")).at("kind"))?;
    let url = new.url.or_else(|| platform::default_url(kind).map(str::to_owned));
    let url = url.ok_or_else(|| Problem::bad(format!("a destination of kind {kind} needs its address")).at("url"))?;
    let assets = new.assets.into_iter().map(|(asset, name)| {
        let asset = AssetName::parse(&asset).map_err(|error| Problem::from(error).at("assets"))?;
        Ok((asset, name))
    });
    let destination = Destination {
        options: new.options,
        ca_pem: new.ca_pem,
        proxy: new.proxy,
        filter: filter(new.filter)?,
        assets: assets.collect::<Result<_, Problem>>()?,
        triage_to_sonar: new.triage.to_sonar,
        triage_from_sonar: new.triage.from_sonar,
        paused: new.paused,
        ..Destination::new(name, kind, url, clock::now())
    };
    let made = new.secret.is_none().then(|| platform::new_secret(kind)).flatten();
    let own = new.secret.map(|secret| SecretBytes::trimmed(&secret));
    let is_made = made.is_some();
    Ok((destination, own.or_else(|| made.map(|secret| SecretBytes::new(secret.into_bytes()))), is_made))
}

fn lines(platform: &mut dyn Platform) -> Result<Vec<shapes::CheckLine>, Trouble> {
    let lines = platform.check()?.into_iter();
    Ok(lines.map(|line| shapes::CheckLine { what: line.what.to_owned(), good: line.good, text: line.text }).collect())
}

fn must_be_free(view: &impl View, name: &DestinationName) -> Result<(), Problem> {
    if destinations::named(view, name)?.is_none() {
        return Ok(());
    }
    let problem = Problem::conflict(format!("there is a destination {name} already"));
    Err(problem.remedy("give this one another name").at("name"))
}

/// `POST /destinations`: nothing is stored unless the platform accepts what was given.
pub(super) async fn add(
    State(admin): Shared,
    Sent(new): Sent<shapes::NewDestination>,
) -> Result<(StatusCode, Json<shapes::DestinationCheck>), Problem> {
    // Without its address, which may be a secret of its own.
    remark(&format!("{}, {}", new.name, new.kind));
    let check = admin
        .ask(move |admin| {
            let unchecked = new.unchecked;
            let (destination, secret, made) = described(new)?;
            admin.store.read(|view| must_be_free(view, &destination.name))?;
            let mut platform = admin.deliver.open(&destination, secret.as_ref()).map_err(edit::of_field)?;
            let lines = if unchecked { Vec::new() } else { lines(platform.as_mut()).map_err(edit::asked)? };
            if let Some(bad) = lines.iter().find(|line| !line.good) {
                return Err(edit::refused(bad, &lines));
            }
            let (name, made) = (destination.name.to_string(), made.then(|| secret.clone()).flatten());
            admin.store.write(move |batch| {
                must_be_free(batch, &destination.name)?;
                if destinations::ids(batch)?.len() >= limits::DESTINATIONS_MAX {
                    return Err(Problem::conflict(format!(
                        "there are {} destinations, and that is the most there may be",
                        limits::DESTINATIONS_MAX
                    ))
                    .remedy("remove one; events can be passed on to many places behind one address"));
                }
                Ok(destinations::add(batch, &destination, secret.as_ref())?)
            })?;
            Ok(shapes::DestinationCheck {
                destination: show_named(admin, &name)?,
                lines,
                secret: made.as_ref().map(Into::into),
            })
        })
        .await?;
    Ok((StatusCode::CREATED, Json(check)))
}

/// `POST /destinations/{name}/check`.
pub(super) async fn check(
    State(admin): Shared,
    Path(name): Path<String>,
) -> Result<Json<shapes::DestinationCheck>, Problem> {
    let check = admin
        .ask(move |admin| {
            let (id, mut platform) = opened(admin, &name)?;
            let lines = lines(platform.as_mut())?;
            if lines.iter().all(|line| line.good) {
                // It has just answered: whatever pause there was is over.
                admin.deliver.kick(id);
            }
            Ok(shapes::DestinationCheck { destination: show_named(admin, &name)?, lines, secret: None })
        })
        .await?;
    Ok(Json(check))
}

fn opened(admin: &Admin, name: &str) -> Result<(DestinationId, Box<dyn Platform>), Problem> {
    let (id, destination, secret) = admin.store.read::<_, Problem>(|view| {
        let (id, destination) = named(view, name)?;
        Ok((id, destination, destinations::secret(view, id)?))
    })?;
    Ok((id, admin.deliver.open(&destination, secret.as_ref())?))
}

/// `DELETE /destinations/{name}`: closes nothing there.
pub(super) async fn remove(State(admin): Shared, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    admin
        .run(move |admin| {
            admin.store.delete::<_, Problem>(move |batch| {
                let (id, _) = named(batch, &name)?;
                Ok(destinations::remove(batch, id)?)
            })?;
            Ok(StatusCode::NO_CONTENT)
        })
        .await
}

/// `POST /destinations/{name}/replay`.
pub(super) async fn replay(
    State(admin): Shared,
    Path(name): Path<String>,
    Sent(from): Sent<shapes::DestinationReplay>,
) -> Result<Json<shapes::Destination>, Problem> {
    let shown = admin
        .run(move |admin| {
            let (id, cursor) = admin.store.read::<_, Problem>(|view| {
                let (id, _) = named(view, &name)?;
                Ok((id, place(view, &from)?))
            })?;
            admin.store.write::<_, Problem>(move |batch| {
                let mut progress = destinations::progress(batch, id)?;
                if cursor == Cursor::New {
                    progress.reread = Some(FindingId(0));
                }
                progress.replay(cursor);
                destinations::retry_orders(batch, id)?;
                Ok(destinations::put_progress(batch, id, &progress)?)
            })?;
            admin.deliver.kick(id);
            show_named(admin, &name)
        })
        .await?;
    Ok(Json(shown))
}

/// The place in the log that a replay begins at.
fn place(view: &Reader, from: &shapes::DestinationReplay) -> Result<Cursor, Problem> {
    match (&from.after, &from.since) {
        (None, None) => Ok(Cursor::New),
        (Some(_), Some(_)) => Err(Problem::bad("a replay begins after a change or at a time, not at both")),
        (Some(after), None) => {
            let number: ChangeNumber = after.parse()?;
            let newest = findings::last_change(view)?;
            if number > newest {
                return Err(Problem::bad(format!("there is no change {number} yet; the newest is {newest}")));
            }
            Ok(Cursor::At(number))
        }
        (None, Some(since)) => {
            let since = Timestamp::parse(since)
                .map_err(|_| Problem::bad(format!("{since:?} is no time; one looks like 2026-11-21T14:03:00Z")))?;
            Ok(Cursor::At(changes::before(view, since)?))
        }
    }
}

/// `GET /destinations/{name}/preview`.
pub(super) async fn preview_of(
    State(admin): Shared,
    Path(name): Path<String>,
) -> Result<Json<shapes::DestinationPreview>, Problem> {
    let preview = admin
        .ask(move |admin| {
            let (id, destination, total) = admin.store.read::<_, Problem>(|view| {
                let (id, destination) = named(view, &name)?;
                Ok((id, destination, sonar_total(view)?))
            })?;
            let manner = admin
                .deliver
                .open(&destination, None)
                .map_or(platform::Manner::Findings, |platform| platform.abilities().manner);
            let found = preview(&admin.store, Some(id), &destination, manner)?;
            Ok(shapes::DestinationPreview {
                sonar_total: total,
                open: found.open,
                create: found.create,
                update: found.update,
                close: found.close,
                reopen: found.reopen,
                same: found.same,
                left_out: found.left_out.into_iter().map(|(why, count)| (why.to_string(), count)).collect(),
            })
        })
        .await?;
    Ok(Json(preview))
}

fn sonar_total(view: &Reader) -> Result<Option<u64>, StoreError> {
    let mut total = Some(0);
    for (id, _) in catalogue::projects(view)? {
        for (_, scope) in catalogue::scopes(view, id)? {
            total = total.zip(scope.sonar_total).map(|(total, of_scope)| total + of_scope);
        }
    }
    Ok(total)
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    /// A part of the name.
    search: Option<String>,
}

/// `GET /destinations/{name}/targets`: asks the platform.
pub(super) async fn targets(
    State(admin): Shared,
    Path(name): Path<String>,
    Query(search): Query<Search>,
) -> Result<Json<shapes::OfferList>, Problem> {
    let targets = admin
        .ask(move |admin| {
            let (_, mut platform) = opened(admin, &name)?;
            let offers = platform.offers(search.search.as_deref())?;
            Ok(offers.into_iter().map(|offer| shapes::Offer { id: offer.id, name: offer.name }).collect())
        })
        .await?;
    Ok(Json(shapes::OfferList { targets }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::destinations::Woe;

    #[test]
    fn a_destination_that_is_told_but_cannot_be_compared_is_not_shown_as_told_nothing() {
        let name = DestinationName::parse("dojo").expect("a name");
        let woe = Woe { why: "it answers 502".to_owned(), remedy: None, since: Timestamp(0) };
        let text = |progress: &Progress| {
            let now = Timestamp(0).plus(FAILING_AFTER);
            of_destination(&name, "retrying", progress, 0, now).remove(0).text
        };
        let lost = Progress { lost: Some(woe.clone()), ..Progress::default() };
        assert!(text(&lost).contains("cannot be compared with what it was told since"), "{}", text(&lost));
        let down = Progress { trouble: Some(woe), ..lost };
        assert!(text(&down).contains("has not been told anything since"), "{}", text(&down));
    }
}
