//! Which branches and pull requests of a project are held: asks Sonar, and makes scopes of those that were chosen.

use super::{Work, WorkError};
use crate::domain::ids::{ProjectId, ScopeKind, ScopeName};
use crate::domain::schedule::{Due, Reason, Task};
use crate::sonar::FetchError;
use crate::store::records::{Project, Scope};
use crate::store::{Batch, StoreError, agenda, catalogue, deliveries};
use crate::sys::clock;

/// A branch or pull request as Sonar lists it.
struct Listed {
    kind: ScopeKind,
    name: ScopeName,
    main: bool,
}

/// Carries the task out: new scopes go on the agenda, deliveries that waited for them too, and deliveries whose
/// branch was not chosen are settled.
pub(super) fn discover(work: &Work, id: ProjectId, due: Due) -> Result<(), WorkError> {
    let project = work.store.read(|view| catalogue::project(view, id))?.ok_or(WorkError::Gone)?;
    let result = list(work, &project);
    if let Err(WorkError::Fetch(error)) = &result {
        work.note_source(&project.organization.source, Some(error))?;
    }
    let listed = result?;
    work.note_source(&project.organization.source, None)?;
    let chosen: Vec<Listed> = listed
        .into_iter()
        .filter(|listed| project.selection.selects(listed.kind, listed.name.as_str(), listed.main))
        .collect();
    let now = clock::now();
    let store = work.store.clone();
    work.store.write(move |batch| {
        let Some(mut project) = catalogue::project(batch, id)? else { return Ok(()) };
        project.error = chosen.is_empty().then(|| nothing_chosen(&project));
        for listed in chosen {
            hold(batch, id, &mut project, listed, |task| (task, now, store.ticket()))?;
        }
        catalogue::put_project(batch, id, &project)?;
        for (_, scope) in deliveries::pending(batch, id)? {
            if let Some(scope) = catalogue::scope_id(batch, id, &project, &scope)? {
                agenda::ask(batch, Task::Sync(scope), Reason::Webhook, now, store.ticket())?;
            }
        }
        catalogue::settle_unselected(batch, id, now)?;
        agenda::follow(batch, Task::Discover(id), due, None)
    })?;
    Ok(())
}

fn list(work: &Work, project: &Project) -> Result<Vec<Listed>, WorkError> {
    let connected = work.sources.connect(&project.organization.source)?;
    let missing = |error| match error {
        FetchError::NotFound { .. } => WorkError::NotShown { what: format!("project {}", project.key) },
        other => WorkError::Fetch(other),
    };
    let branches = connected.client.branches(&project.key).map_err(missing)?;
    let mut listed: Vec<Listed> = branches
        .into_iter()
        .map(|branch| Listed { kind: ScopeKind::Branch, name: branch.name, main: branch.main })
        .collect();
    if project.selection.pull_requests {
        let requests = connected.client.pull_requests(&project.key).map_err(missing)?;
        listed.extend(requests.into_iter().map(|request| Listed {
            kind: ScopeKind::PullRequest,
            name: request.key,
            main: false,
        }));
    }
    Ok(listed)
}

fn nothing_chosen(project: &Project) -> String {
    if project.selection.branches.is_empty() {
        "Sonar lists no main branch for it".to_owned()
    } else {
        format!("no branch matches {}", project.selection.branches.join(", "))
    }
}

/// Makes a scope unless it is held already, and puts its first read on the agenda.
fn hold(
    batch: &Batch,
    id: ProjectId,
    project: &mut Project,
    listed: Listed,
    ask: impl FnOnce(Task) -> (Task, crate::domain::time::Timestamp, u64),
) -> Result<(), StoreError> {
    let named = crate::domain::delivery::ScopeRef::Named { kind: listed.kind, name: listed.name.clone() };
    if let Some(scope) = catalogue::scope_id(batch, id, project, &named)? {
        if listed.main {
            project.main = Some(scope);
        }
        return Ok(());
    }
    if let (true, Some(main)) = (listed.main, project.main) {
        return catalogue::rename_scope(batch, main, &listed.name);
    }
    let scope = catalogue::add_scope(
        batch,
        &Scope {
            project: id,
            kind: listed.kind,
            name: listed.name,
            main: listed.main,
            slot_next: 0,
            analysed_at: None,
            gate: None,
            synced_at: None,
            complete: false,
            sonar_total: None,
            error: None,
            suspected_at: None,
            odd_words: Vec::new(),
        },
    )?;
    if listed.main {
        project.main = Some(scope);
    }
    let (task, now, ticket) = ask(Task::Sync(scope));
    agenda::ask(batch, task, Reason::Import, now, ticket)
}
