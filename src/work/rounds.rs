//! Looks at everything from time to time, whoever else speaks of it: a webhook may never arrive, and most of what
//! people do in Sonar sends none. What has its turn is decided in `domain::rounds`; here it is carried out. A look that
//! finds nothing new writes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Work, WorkError, heal, sync};
use crate::domain::ids::{ProjectId, ScopeId, ScopeKind, SourceName};
use crate::domain::limits;
use crate::domain::rounds::{Ended, Found, Held, Listed, Noticed, Round, Rounds, Turn, notice};
use crate::domain::schedule::{Due, Reason, Task};
use crate::domain::settings::{POLL_MINUTES, REREAD_MINUTES};
use crate::sonar::FetchError;
use crate::store::records::Project;
use crate::store::{StoreError, agenda, catalogue, hooks, settings};

/// The rounds as workers share them.
#[derive(Debug, Default)]
pub(super) struct Plan {
    rounds: Mutex<Rounds>,
    refreshed_at: Mutex<Option<Duration>>,
    /// What polls noticed and put on the agenda, as a digest: the same news is no news.
    noticed: Mutex<BTreeMap<Task, u64>>,
}

impl Plan {
    fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn noticed(&self) -> MutexGuard<'_, BTreeMap<Task, u64>> {
        self.noticed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has its turn.
    pub(super) fn next(&self, now: Duration, may: impl Fn(Round) -> bool) -> Turn {
        let mut rounds = self.rounds();
        let turn = rounds.next(now, may);
        if let Turn::Look(round) = turn {
            rounds.begin(round);
        }
        turn
    }

    /// Gives everything of a source its turn.
    pub(super) fn retry(&self, source: &SourceName, now: Duration) {
        self.rounds().retry(source, now);
    }
}

/// Looks in the store for what there is to look at, from time to time.
pub(super) fn refresh(work: &Work) -> Result<(), StoreError> {
    let now = work.clock.steady();
    {
        let mut refreshed_at = work.plan.refreshed_at.lock().unwrap_or_else(PoisonError::into_inner);
        if refreshed_at.is_some_and(|at| now.saturating_sub(at) < limits::ROUNDS_REFRESH) {
            return Ok(());
        }
        *refreshed_at = Some(now);
    }
    let wall = work.clock.now();
    let mut scopes = BTreeSet::new();
    let found = work.store.read::<_, StoreError>(|view| {
        let minutes = |key| Ok::<_, StoreError>(Duration::from_mins(settings::number_of(view, key)?));
        let (poll, reread) = (minutes(POLL_MINUTES)?, minutes(REREAD_MINUTES)?);
        let mut found = Vec::new();
        let afar = catalogue::sources_afar(view)?;
        for (id, project) in catalogue::projects(view)? {
            let source = project.organization.source;
            if afar.contains_key(&source) {
                continue;
            }
            found.push(Found { round: Round::Poll(id), source: source.clone(), age: None, interval: poll });
            for (id, scope) in catalogue::scopes(view, id)? {
                scopes.insert(id);
                if scope.retired_at.is_none() {
                    let age = work.standing.synced_at(id, &scope).map(|synced_at| wall.since(synced_at));
                    found.push(Found { round: Round::Reread(id), source: source.clone(), age, interval: reread });
                }
            }
        }
        for (hook, _) in hooks::all(view)? {
            let (round, source) = (Round::Heal(hook.endpoint), hook.organization.source);
            found.push(Found { round, source, age: None, interval: poll });
        }
        Ok(found)
    })?;
    work.standing.keep(|id| scopes.contains(&id));
    work.plan.rounds().take_over(found, now, || work.dice.number());
    Ok(())
}

/// Carries a round out.
pub(super) fn carry_out(work: &Work, round: Round) {
    let interval = work.plan.rounds().interval(round).unwrap_or(limits::ROUND_DELAY_MIN);
    let result = match round {
        Round::Poll(project) => poll(work, project).map(|()| interval),
        Round::Reread(scope) => reread(work, scope).map(|()| after_read(work, scope, interval)),
        Round::Heal(endpoint) => heal::heal(work, endpoint).map(|more| if more { Duration::ZERO } else { interval }),
    };
    let ended = match &result {
        Ok(after) => Ended::Next(*after),
        Err(error) => {
            tracing::debug!("{round:?} failed: {error}");
            ended(work, round, error, interval)
        }
    };
    work.plan.rounds().end(round, ended, work.clock.steady());
}

/// What follows a failure. Where Sonar cannot be asked, nothing is written: it is no news of this project.
fn ended(work: &Work, round: Round, error: &WorkError, interval: Duration) -> Ended {
    match error {
        WorkError::Gone | WorkError::MainMoved | WorkError::Retired | WorkError::Yielded => Ended::Next(interval),
        WorkError::Fetch(FetchError::Paused { retry_after }) => Ended::Unreachable { after: Some(*retry_after) },
        WorkError::Fetch(error @ (FetchError::Throttled { .. } | FetchError::Unavailable { status: 503, .. })) => {
            let pause = source_of(work, round).and_then(|source| work.sources.health(&source).pause);
            Ended::Unreachable { after: pause.map(|pause| pause.left).or(error.retry_after()) }
        }
        WorkError::Fetch(FetchError::Unreachable { .. }) => Ended::Unreachable { after: None },
        _ => Ended::Failed,
    }
}

/// The source that a round asks.
pub(super) fn source_of(work: &Work, round: Round) -> Option<SourceName> {
    let read = work.store.read::<_, StoreError>(|view| {
        let project = match round {
            Round::Poll(project) => Some(project),
            Round::Reread(scope) => catalogue::scope(view, scope)?.map(|scope| scope.project),
            Round::Heal(endpoint) => {
                let hooks = hooks::all(view)?;
                let hook = hooks.into_iter().find(|(hook, _)| hook.endpoint == endpoint);
                return Ok(hook.map(|(hook, _)| hook.organization.source));
            }
        };
        let project = project.map(|id| catalogue::project(view, id)).transpose()?.flatten();
        Ok(project.map(|project| project.organization.source))
    });
    read.ok().flatten()
}

/// Moves a scope's next reread, as it was just read for whatever reason.
pub(super) fn read(work: &Work, scope: ScopeId) {
    let round = Round::Reread(scope);
    let Some(interval) = work.plan.rounds().interval(round) else { return };
    let after = after_read(work, scope, interval);
    work.plan.rounds().seen(round, work.clock.steady(), after);
}

/// When a scope that was read has its next turn: sooner where the read proved nothing, or waits for a second one.
fn after_read(work: &Work, id: ScopeId, interval: Duration) -> Duration {
    match work.store.read(|view| catalogue::scope(view, id)) {
        Ok(Some(scope)) if scope.complete && scope.suspicion.is_none() => {
            work.standing.prove(id);
            interval
        }
        // What is incomplete for good is not worth a whole read each time.
        Ok(Some(scope)) if scope.suspicion.is_none() => interval.min(limits::INCOMPLETE_AGAIN),
        _ => interval.min(limits::GUARD_WAIT),
    }
}

fn reread(work: &Work, scope: ScopeId) -> Result<(), WorkError> {
    // Not on the agenda, and with a ticket that no entry has: nothing is left to be taken off it.
    let due = Due { at: work.clock.now(), reason: Reason::Sweep, attempts: 0, ticket: 0 };
    let result = work.reading(scope, || sync::sync(work, scope, due));
    match &result {
        Ok(()) => {}
        Err(WorkError::Retired) => work.retire(Task::Sync(scope), due),
        Err(error) => note(work, scope, error)?,
    }
    result
}

/// Notes with the scope why it cannot be read, if that is about the scope and is news.
fn note(work: &Work, id: ScopeId, error: &WorkError) -> Result<(), StoreError> {
    let lasting = match error {
        WorkError::Fetch(error) => error.needs_person(),
        WorkError::NotShown { .. } | WorkError::Connect(_) => true,
        _ => false,
    };
    let text = error.to_string();
    if !lasting {
        tracing::debug!("{}: {text}", work.describe(Task::Sync(id)));
        return Ok(());
    }
    let known = work.store.read(|view| catalogue::scope(view, id))?;
    if known.is_none_or(|scope| scope.error.as_ref() == Some(&text)) {
        return Ok(());
    }
    tracing::warn!("{}: {text}", work.describe(Task::Sync(id)));
    work.store.delete(move |batch| match catalogue::scope(batch, id)? {
        Some(mut scope) => {
            scope.error = Some(text);
            catalogue::put_scope(batch, id, &scope)
        }
        None => Ok(()),
    })
}

/// Asks Sonar for a project's branches, and puts what is news on the agenda.
fn poll(work: &Work, id: ProjectId) -> Result<(), WorkError> {
    let (project, held) = work.store.read::<_, WorkError>(|view| {
        let project = catalogue::project(view, id)?.ok_or(WorkError::Gone)?;
        let held = catalogue::scopes(view, id)?.into_iter().map(|(id, scope)| Held {
            id,
            kind: scope.kind,
            name: scope.name,
            main: scope.main,
            analysed_at: scope.analysed_at,
            retired: scope.retired_at.is_some(),
        });
        Ok((project, held.collect::<Vec<_>>()))
    })?;
    let source = &project.organization.source;
    let listed = list(work, &project);
    match &listed {
        Err(WorkError::Fetch(error)) => work.note_source(source, Some(error))?,
        Ok(_) => work.note_source(source, None)?,
        Err(_) => {}
    }
    let noticed = match listed {
        Ok(listed) => notice(&project.selection, &listed, &held),
        // Whether it is gone or has moved is found out, and told, where branches are asked for.
        Err(WorkError::Fetch(FetchError::NotFound { .. })) => {
            ask(work, Task::Discover(id), &"not found")?;
            return Err(WorkError::NotShown { what: format!("project {}", project.key) });
        }
        Err(error) => return Err(error),
    };
    tell(work, id, &held, &noticed)
}

fn list(work: &Work, project: &Project) -> Result<Vec<Listed>, WorkError> {
    let client = &work.sources.connect(&project.organization.source)?.client;
    let branches = client.branches(&project.key)?.into_iter().map(|branch| Listed {
        kind: ScopeKind::Branch,
        name: branch.name,
        main: branch.main,
        analysed_at: branch.analysed_at,
    });
    let mut listed: Vec<Listed> = branches.collect();
    if project.selection.pull_requests {
        listed.extend(client.pull_requests(&project.key)?.into_iter().map(|request| Listed {
            kind: ScopeKind::PullRequest,
            name: request.key,
            main: false,
            analysed_at: request.analysed_at,
        }));
    }
    Ok(listed)
}

fn tell(work: &Work, id: ProjectId, held: &[Held], noticed: &Noticed) -> Result<(), WorkError> {
    if noticed.moved.is_empty() {
        work.plan.noticed().remove(&Task::Discover(id));
    } else {
        ask(work, Task::Discover(id), &noticed.moved)?;
    }
    for scope in held {
        match noticed.analysed.iter().find(|(analysed, _)| *analysed == scope.id) {
            Some((_, at)) => ask(work, Task::Sync(scope.id), at)?,
            None => drop(work.plan.noticed().remove(&Task::Sync(scope.id))),
        }
    }
    Ok(())
}

/// Puts a task on the agenda because of some news, once. What is on it already is left as it is: it will be done, and
/// asking again would make a task that fails be tried without a pause.
fn ask(work: &Work, task: Task, news: &impl Hash) -> Result<(), StoreError> {
    let mut hasher = DefaultHasher::new();
    news.hash(&mut hasher);
    let news = hasher.finish();
    if work.plan.noticed().get(&task) == Some(&news) {
        return Ok(());
    }
    if work.store.read(|view| agenda::of(view, task))?.is_none() {
        let (now, ticket) = (work.clock.now(), work.store.ticket());
        work.store.write::<_, StoreError>(move |batch| match agenda::of(batch, task)? {
            Some(_) => Ok(()),
            None => agenda::ask(batch, task, Reason::Sweep, now, ticket),
        })?;
    }
    work.plan.noticed().insert(task, news);
    Ok(())
}
