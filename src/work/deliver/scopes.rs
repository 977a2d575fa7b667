//! Telling whole scopes to platforms that take no single findings.

use std::collections::{BTreeSet, VecDeque};

use super::gather::{self, Home, Names, compose};
use super::runner::{Runner, UNREADABLE_REMEDY};
use crate::domain::delivery::ScopeRef;
use crate::domain::destination::{Destination, PlatformKind};
use crate::domain::ids::{DestinationId, IssueKey, ScopeId};
use crate::domain::message::{Cause, Message, Place};
use crate::platform::{Manner, Trouble};
use crate::store::changes::{Item, follow};
use crate::store::destinations::{Progress, Woe};
use crate::store::{Store, StoreError, crawls, findings};
use crate::work::WorkError;

impl Runner {
    /// Tells whole scopes in which something changed, when they are read completely.
    pub(super) fn tell_scopes(&mut self, progress: &Progress) -> Result<bool, StoreError> {
        let Some(destination) = self.open.as_ref().map(|open| open.destination.clone()) else { return Ok(false) };
        let cursor = &progress.cursor;
        let (scopes, followed) = self.store().read::<_, StoreError>(|view| {
            let gathered = follow(view, cursor, SCOPE_CHUNK)?;
            let scopes: BTreeSet<ScopeId> = gathered.items.iter().map(Item::scope).collect();
            Ok((scopes, gathered))
        })?;
        if !followed.items.is_empty() || followed.next != *cursor {
            let (next, replays) = (followed.next, progress.replays);
            self.note(move |progress| {
                progress.advance(replays, next);
                progress.scopes.extend(scopes);
            })?;
            return Ok(true);
        }
        let steady = self.steady();
        self.postponed.retain(|_, postponed| postponed.until > steady);
        for scope in progress.scopes.iter().copied() {
            if self.postponed.contains_key(&scope) {
                continue;
            }
            let place = self.store().read::<_, StoreError>(|view| {
                let settled = crawls::sealed(view, scope)?.is_none();
                Ok(gather::place(view, scope)?.map(|place| (place, settled)))
            });
            let place = match place {
                // The others do not wait for it.
                Err(error @ StoreError::Damaged { .. }) => {
                    self.tell_later(scope, error.to_string(), UNREADABLE_REMEDY)?;
                    continue;
                }
                place => place?,
            };
            let published = match place {
                // It was removed here, which closes nothing there.
                None => false,
                Some((place, _)) if destination.filter.takes_place(&place).is_err() => false,
                // What is missing from a part would count as closed there.
                Some((place, settled)) if !place.complete || !settled => continue,
                Some((place, _)) => match self.publish(&place) {
                    // What is missing from the list would count as fixed there.
                    Err(error @ StoreError::Damaged { .. }) => {
                        let why = format!("{} of {} is not told: {error}", place.branch, place.project);
                        self.tell_later(scope, why, DAMAGED_REMEDY)?;
                        continue;
                    }
                    published => match published? {
                        Ok(()) => true,
                        Err(Trouble::Target { why, remedy }) => {
                            self.tell_later(scope, why, &remedy)?;
                            continue;
                        }
                        Err(trouble) => return self.stop(trouble).map(|()| true),
                    },
                },
            };
            let (now, well) = (self.deliver.work.clock.now(), self.postponed.is_empty());
            self.note(move |progress| {
                progress.scopes.remove(&scope);
                if published {
                    progress.told += 1;
                    progress.told_at = Some(now);
                }
                if published && well {
                    progress.trouble = None;
                }
            })?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Tells a scope later, and shows why.
    fn tell_later(&mut self, scope: ScopeId, why: String, remedy: &str) -> Result<(), StoreError> {
        tracing::warn!("{}: {why}; {remedy}", self.name());
        self.postpone(scope, format!("{why}; {remedy}"));
        let since = self.deliver.work.clock.now();
        self.woe(Woe { why, remedy: Some(remedy.to_owned()), since })
    }

    /// Tells one scope whole. Its findings are read some at a time while they are told.
    fn publish(&mut self, place: &Place) -> Result<Result<(), Trouble>, StoreError> {
        let mut target = match self.target(place)? {
            Ok(target) => target,
            Err(trouble) => return Ok(Err(trouble)),
        };
        // Asked for each time: the store does not keep it, and a scope is told no more often than it changes.
        let revision = match self.revision(place) {
            Ok(revision) => revision,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let place = &Place { revision, ..place.clone() };
        let Some(open) = &mut self.open else { return Ok(Err(Trouble::later("it is not open"))) };
        let store = &self.deliver.work.store;
        let home = store.read(|view| Home::read(view, place.scope, &open.destination))?;
        let Some(home) = home else { return Ok(Err(Trouble::later("its project was removed here"))) };
        let mut rows = Rows::new(store, self.id, &open.destination, place, home);
        let done = open.platform.publish(place, &mut target, &mut rows);
        if let Some(error) = rows.failed.take() {
            return Err(error);
        }
        if done.is_ok() {
            self.failures.succeed();
        }
        Ok(done)
    }
}

impl Runner {
    /// The commit whose findings are told, as Sonar knows it.
    fn revision(&self, place: &Place) -> Result<Option<String>, Trouble> {
        // Only the box that reads it can ask; a platform that cannot do without a commit says so of this scope alone.
        if place.site.is_some() {
            return Ok(None);
        }
        let named = || ScopeRef::Named { kind: place.scope_kind, name: place.branch.clone() };
        let scope = if place.main { ScopeRef::Main } else { named() };
        let connected = self.deliver.work.sources.connect(&place.source);
        let asked =
            connected.and_then(|connected| Ok(connected.client.revision(&place.project, &scope, place.analysed_at)?));
        let error = match asked {
            Ok(revision) => return Ok(revision),
            Err(error) => error,
        };
        let kind = self.open.as_ref().map(|open| open.destination.kind);
        if kind == Some(PlatformKind::GitHub) {
            // Alerts are shown with their commit. A wrong one could not be taken back.
            let after = if let WorkError::Fetch(error) = &error { error.retry_after() } else { None };
            let why = format!("Sonar cannot be asked which commit of {} it analysed: {error}", place.branch);
            return Err(Trouble::Later { why, after });
        }
        tracing::warn!("{}: {} {} is told without its commit: {error}", self.name(), place.project, place.branch);
        Ok(None)
    }
}

/// The findings of a scope that are not closed and that a destination is told, read some at a time.
struct Rows<'a> {
    store: &'a Store,
    id: DestinationId,
    destination: &'a Destination,
    place: &'a Place,
    /// As of the beginning, so that all parts are of one filter.
    home: Home,
    after: Option<IssueKey>,
    read: VecDeque<Message>,
    ended: bool,
    failed: Option<StoreError>,
}

impl<'a> Rows<'a> {
    fn new(store: &'a Store, id: DestinationId, destination: &'a Destination, place: &'a Place, home: Home) -> Self {
        Self { store, id, destination, place, home, after: None, read: VecDeque::new(), ended: false, failed: None }
    }

    fn read_on(&mut self) -> Result<(), StoreError> {
        let (destination, place, id, home) = (self.destination, self.place, self.id, &self.home);
        let after = self.after.as_ref();
        let (messages, last) = self.store.read::<_, StoreError>(|view| {
            let rows = findings::all_after(view, place.scope, after, ROWS)?;
            let last = rows.last().map(|finding| finding.observed.key.clone());
            let mut names = Names::new(view);
            let mut messages = VecDeque::new();
            for finding in rows {
                if finding.observed.state.is_closed() || home.follows(&finding, id, destination).is_err() {
                    continue;
                }
                let cause = Cause::Present;
                messages.push_back(compose(
                    view,
                    &mut names,
                    (id, destination, Manner::Scopes),
                    place,
                    finding,
                    cause,
                )?);
            }
            Ok((messages, last))
        })?;
        self.ended = last.is_none();
        self.after = last.or_else(|| self.after.take());
        self.read = messages;
        Ok(())
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Message, Trouble>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(message) = self.read.pop_front() {
                return Some(Ok(message));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.read_on() {
                self.ended = true;
                let trouble = Trouble::later(format!("the findings cannot be read: {error}"));
                self.failed = Some(error);
                return Some(Err(trouble));
            }
        }
    }
}

const DAMAGED_REMEDY: &str = "`hydrophone sync` reads the project again, which mends what Sonar still has; if that does \
                              not help, remove the project and import it anew";

/// Items of the log looked through at once.
const SCOPE_CHUNK: usize = 500;

/// Findings read at once.
const ROWS: usize = 200;
