//! Telling how scopes stand to platforms that gather the inventories of many boxes: when they were last read and whether that
//! was complete, also where no finding changed; and which are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::gather;
use super::runner::Runner;
use crate::domain::ids::ScopeId;
use crate::domain::limits::{FLEET_ALIVE_EVERY, FLEET_SCOPE_EVERY};
use crate::domain::message::{Held, Place};
use crate::platform::Trouble;
use crate::store::{StoreError, catalogue, destinations};

impl Runner {
    /// Tells how scopes stand of which that is news, and which are gone: where something was stored, and once a minute. When it
    /// is to be looked again at the latest.
    pub(super) fn tell_standing(&mut self) -> Result<Result<Duration, Trouble>, StoreError> {
        let (id, now, commits) = (self.id, self.steady(), self.store().commits());
        let filter = match &self.open {
            Some(open) if open.platform.wants_scopes() => open.destination.filter.clone(),
            _ => return Ok(Ok(FLEET_ALIVE_EVERY)),
        };
        let stood = &mut self.standing;
        let due = if stood.commits == commits { FLEET_ALIVE_EVERY } else { stood.apart };
        let left = stood.looked_at.map_or(Duration::ZERO, |at| (at + due).saturating_sub(now));
        if !left.is_zero() {
            return Ok(Ok(left));
        }
        let proven = &self.deliver.work.standing;
        let (places, told, inventory) = self.store().read::<_, StoreError>(|view| {
            let mut places = Vec::new();
            for (project, _) in catalogue::projects(view)? {
                for (scope, record) in catalogue::scopes(view, project)? {
                    let Some(mut place) = gather::place(view, scope)?.filter(|place| place.site.is_none()) else {
                        continue;
                    };
                    place.held.synced_at = proven.synced_at(scope, &record);
                    places.push(place);
                }
            }
            Ok((places, destinations::targets(view, id)?, catalogue::inventory(view)?))
        })?;
        let held: BTreeSet<ScopeId> = places.iter().map(|place| place.scope).collect();
        self.standing.told.retain(|scope, _| held.contains(scope));
        let is_news = |place: &Place| {
            let Some((known, at)) = self.standing.told.get(&place.scope) else { return true };
            let (then, since) = (known.held.synced_at, now.saturating_sub(*at));
            let as_then = Place { held: Held { synced_at: then, ..place.held.clone() }, ..place.clone() };
            as_then != *known || (place.held.synced_at != then && since >= FLEET_SCOPE_EVERY)
        };
        let news: Vec<Place> =
            places.into_iter().filter(|place| filter.takes_place(place).is_ok() && is_news(place)).collect();
        for place in &news {
            if let Err(trouble) = self.target(place)? {
                return Ok(Err(trouble));
            }
        }
        let Some(open) = &mut self.open else { return Ok(Ok(FLEET_ALIVE_EVERY)) };
        if let Err(trouble) = open.platform.stand(&news) {
            return Ok(Err(trouble));
        }
        self.standing.told.extend(news.into_iter().map(|place| (place.scope, (place, now))));
        for (scope, target) in told.into_iter().filter(|(scope, _)| !held.contains(scope)) {
            if let Err(trouble) = open.platform.leave(inventory, scope, &target) {
                return Ok(Err(trouble));
            }
            self.deliver
                .work
                .store
                .delete::<_, StoreError>(move |batch| destinations::remove_target(batch, id, scope))?;
        }
        // Where there are many scopes a look takes its time.
        let apart = (self.steady().saturating_sub(now) * LOOK_SHARE).clamp(APART_MIN, FLEET_ALIVE_EVERY);
        let stood = &mut self.standing;
        (stood.looked_at, stood.commits, stood.apart) = (Some(now), commits, apart);
        Ok(Ok(apart))
    }
}

/// What was told of how scopes stand.
#[derive(Debug, Default)]
pub(super) struct Stood {
    /// How each stood, and when that was told, by the steady clock.
    told: BTreeMap<ScopeId, (Place, Duration)>,
    /// When it was last looked, by the steady clock, after how many commits, and how far apart two looks are.
    looked_at: Option<Duration>,
    commits: u64,
    apart: Duration,
}

/// Two looks are no closer than this.
const APART_MIN: Duration = Duration::from_secs(2);

/// One part in so many of a thread's time may go into looks.
const LOOK_SHARE: u32 = 20;
