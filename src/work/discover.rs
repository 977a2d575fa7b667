//! Which branches and pull requests of a project are held: asks Sonar, and makes scopes of those that were chosen.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Work, WorkError, moved};
use crate::domain::delivery::{Outcome, ScopeRef};
use crate::domain::ids::{DeliveryId, OrganizationRef, ProjectId, ProjectKey, ScopeKind, ScopeName};
use crate::domain::limits;
use crate::domain::schedule::{self, Due, Reason, Task};
use crate::domain::selection::Selection;
use crate::domain::time::Timestamp;
use crate::sonar::FetchError;
use crate::store::records::{Project, Scope};
use crate::store::{Batch, StoreError, agenda, catalogue, deliveries, trend};

/// What Sonar lists of a project.
pub(super) struct Listing {
    pub(super) scopes: Vec<Listed>,
    /// Whether pull requests were asked for.
    requests: bool,
}

/// A branch or pull request as Sonar lists it.
pub(super) struct Listed {
    pub(super) kind: ScopeKind,
    pub(super) name: ScopeName,
    pub(super) main: bool,
}

/// Carries the task out: new scopes go on the agenda, and deliveries that waited to know their scope follow it. A
/// delivery whose branch was chosen but is not listed yet waits for the next time.
pub(super) fn discover(work: &Work, id: ProjectId, due: Due) -> Result<(), WorkError> {
    let (project, waiting) = work.store.read::<_, WorkError>(|view| {
        let project = catalogue::project(view, id)?.ok_or(WorkError::Gone)?;
        Ok((project, deliveries::pending(view, id)?))
    })?;
    let result = list(work, &project.organization, &project.key, project.selection.pull_requests);
    match &result {
        Err(WorkError::Fetch(error)) => work.note_source(&project.organization.source, Some(error))?,
        Err(WorkError::NotShown { .. }) => moved::look(work, id),
        _ => {}
    }
    let listed = result?;
    if project.moved.is_some() {
        moved::note(work, id, None)?;
    }
    work.note_source(&project.organization.source, None)?;
    let now = work.clock.now();
    let mut listed = Some(listed);
    let mut left = false;
    // Some deliveries at a time, so that others are answered in between. Mostly that is one batch. Until the last one
    // the task stays on the agenda.
    let mut waiting = waiting.chunks(limits::DELETIONS_PER_COMMIT_MAX).map(<[_]>::to_vec).peekable();
    loop {
        let (listed, some, store) = (listed.take(), waiting.next().unwrap_or_default(), work.store.clone());
        let is_last = waiting.peek().is_none();
        left = work.store.write::<_, StoreError>(move |batch| {
            if let Some(listed) = listed {
                note(batch, id, &listed, now, store.ticket())?;
            }
            let left = resolve(batch, id, &some, due, now, store.ticket())? || left;
            if is_last {
                let again = left.then(|| schedule::after_failure(due, now, Duration::ZERO));
                agenda::follow(batch, Task::Discover(id), due, again)?;
            }
            Ok(left)
        })?;
        if is_last {
            return Ok(());
        }
    }
}

/// Notes what Sonar lists of a project, and that nothing was chosen, if so.
fn note(batch: &Batch, id: ProjectId, listed: &Listing, now: Timestamp, ticket: u64) -> Result<(), StoreError> {
    let Some(project) = catalogue::project(batch, id)? else { return Ok(()) };
    let held = hold(batch, id, &project, listed, now, ticket)?;
    let error = (!held).then(|| nothing_chosen(&project.selection));
    // Holding may have changed the record.
    if let Some(project) = catalogue::project(batch, id)? {
        catalogue::put_project(batch, id, &Project { error, ..project })?;
    }
    Ok(())
}

/// Asks for the branches of a project, and its pull requests where they are wanted.
pub(super) fn list(
    work: &Work,
    organization: &OrganizationRef,
    project: &ProjectKey,
    requests: bool,
) -> Result<Listing, WorkError> {
    let connected = work.sources.connect(&organization.source)?;
    let missing = |error| match error {
        FetchError::NotFound { .. } => WorkError::NotShown { what: format!("project {project}") },
        other => WorkError::Fetch(other),
    };
    let branches = connected.client.branches(project).map_err(missing)?;
    let mut listed: Vec<Listed> = branches
        .into_iter()
        .map(|branch| Listed { kind: ScopeKind::Branch, name: branch.name, main: branch.main })
        .collect();
    if requests {
        let requests = connected.client.pull_requests(project).map_err(missing)?;
        listed.extend(requests.into_iter().map(|request| Listed {
            kind: ScopeKind::PullRequest,
            name: request.key,
            main: false,
        }));
    }
    Ok(Listing { scopes: listed, requests })
}

/// What is said where nothing was chosen.
pub fn nothing_chosen(selection: &Selection) -> String {
    if selection.branches.is_empty() {
        "Sonar lists no main branch for it".to_owned()
    } else {
        format!("no branch matches {}", selection.branches.join(", "))
    }
}

/// Makes scopes of what was chosen and is not held yet, and puts their first read on the agenda. Returns whether
/// anything was chosen at all.
fn hold(
    batch: &Batch,
    id: ProjectId,
    project: &Project,
    listing: &Listing,
    now: Timestamp,
    ticket: u64,
) -> Result<bool, StoreError> {
    let listed = &listing.scopes;
    let main = listed.iter().find(|listed| listed.main);
    if let Some(main) = main {
        follow_name(batch, project, main, listed)?;
    }
    let chosen = |listed: &&Listed| project.selection.selects(listed.kind, listed.name.as_str(), listed.main);
    let mut any = false;
    for listed_one in listed.iter().filter(chosen) {
        any = true;
        let named = ScopeRef::Named { kind: listed_one.kind, name: listed_one.name.clone() };
        if catalogue::scope_id(batch, id, project, &named)?.is_some() {
            continue;
        }
        let scope =
            catalogue::add_scope(batch, &Scope::new(id, listed_one.kind, listed_one.name.clone(), listed_one.main))?;
        agenda::ask(batch, Task::Sync(scope), Reason::Import, now, ticket)?;
    }
    catalogue::set_main(batch, id, main.map(|main| &main.name))?;
    retire(batch, id, listing, now, ticket)?;
    Ok(any)
}

/// Gives the main branch that is held the name that Sonar lists it under now. It is the same branch only if nothing
/// bears the former name any more, and if none that is held bears the new one.
fn follow_name(batch: &Batch, project: &Project, main: &Listed, listed: &[Listed]) -> Result<(), StoreError> {
    let Some(id) = project.main else { return Ok(()) };
    let Some(held) = catalogue::scope(batch, id)? else { return Ok(()) };
    if !listed.iter().any(|listed| listed.kind == ScopeKind::Branch && listed.name == held.name) {
        catalogue::rename_scope(batch, id, &main.name)?;
    }
    Ok(())
}

/// Notes which of the held scopes Sonar does not list any more; those that it lists again are read again. A list
/// without a main branch is none to believe. Deliveries that wait are settled by the read that they asked for.
fn retire(batch: &Batch, id: ProjectId, listing: &Listing, now: Timestamp, ticket: u64) -> Result<(), StoreError> {
    let listed: BTreeSet<_> = listing.scopes.iter().map(|listed| (listed.kind, listed.name.as_str())).collect();
    if !listing.scopes.iter().any(|listed| listed.main) {
        return Ok(());
    }
    let mut altered = false;
    for (scope, record) in catalogue::scopes(batch, id)? {
        let is_listed = listed.contains(&(record.kind, record.name.as_str()));
        if is_listed && record.retired_at.is_some() {
            catalogue::put_scope(batch, scope, &Scope { retired_at: None, ..record })?;
            altered = true;
            agenda::ask(batch, Task::Sync(scope), Reason::Import, now, ticket)?;
        } else if !is_listed && (record.kind == ScopeKind::Branch || listing.requests) {
            altered |= record.retired_at.is_none();
            catalogue::note_retired(batch, scope, record, now)?;
        }
    }
    if altered { trend::recount(batch, now) } else { Ok(()) }
}

/// Deliveries that came before the branches were asked for: those whose scope is held by now have it read, those
/// that nobody chose are settled, the others wait. Returns whether any has to.
fn resolve(
    batch: &Batch,
    id: ProjectId,
    waiting: &[(DeliveryId, ScopeRef)],
    due: Due,
    now: Timestamp,
    ticket: u64,
) -> Result<bool, StoreError> {
    let Some(project) = catalogue::project(batch, id)? else { return Ok(false) };
    let mut left = false;
    for (delivery, scope) in waiting {
        // Some may have been settled while Sonar was asked.
        if !deliveries::is_pending(batch, id, *delivery)? {
            continue;
        }
        if let Some(scope) = catalogue::scope_id(batch, id, &project, scope)? {
            // The delivery asked for a read, but not of this scope if it was not held then, or was not the main
            // branch. A read that failed is tried again anyway.
            let awaited = |due: Due| due.reason == Reason::Webhook || due.attempts > 0;
            if !agenda::of(batch, Task::Sync(scope))?.is_some_and(awaited) {
                agenda::ask(batch, Task::Sync(scope), Reason::Webhook, now, ticket)?;
            }
            continue;
        }
        let chosen = match scope {
            ScopeRef::Main => project.selection.branches.is_empty(),
            ScopeRef::Named { kind, name } => project.selection.selects(*kind, name.as_str(), false),
        };
        if chosen && due.attempts < limits::DISCOVERIES_MAX {
            left = true;
        } else {
            let outcome = if chosen { Outcome::Dropped } else { Outcome::NotSelected };
            deliveries::settle(batch, id, [*delivery], outcome, now)?;
        }
    }
    Ok(left)
}
