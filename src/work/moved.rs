//! Where a project went that Sonar does not show any more. Keys of issues survive when a project gets another key, so
//! Sonar is asked for some of its findings wherever they are. What that finds is only told; a person confirms it.

use std::collections::BTreeMap;

use super::{Work, WorkError};
use crate::domain::finding::Kind;
use crate::domain::ids::{IssueKey, ProjectId, ProjectKey};
use crate::domain::limits;
use crate::store::records::{Moved, Project};
use crate::store::{StoreError, catalogue, findings};

/// Looks for the project of another key that has this one's findings, and notes it. That it is not shown is what
/// matters, so trouble with this question must not stand in its place.
pub(super) fn look(work: &Work, id: ProjectId) {
    if let Err(error) = ask(work, id) {
        tracing::info!("where a project went that Sonar does not show could not be asked for: {error}");
    }
}

fn ask(work: &Work, id: ProjectId) -> Result<(), WorkError> {
    let (project, mut scopes) = work.store.read::<_, WorkError>(|view| {
        let project = catalogue::project(view, id)?.ok_or(WorkError::Gone)?;
        Ok((project, catalogue::scopes(view, id)?))
    })?;
    // The main branch first: it is the one that has findings, if any has.
    scopes.sort_by_key(|(_, scope)| !scope.main);
    let mut keys: Vec<IssueKey> = Vec::new();
    for (scope, _) in scopes.into_iter().take(SCOPES_MAX) {
        work.go_on()?;
        // A read for each: one of all would hold pages of the store for long.
        let some = work.store.read(|view| findings::after(view, scope, None, STORED_PER_SCOPE))?;
        let open = some.into_iter().map(|finding| finding.observed);
        let open = open.filter(|row| row.kind == Kind::Vulnerability && !row.state.is_closed()).map(|row| row.key);
        keys.extend(open.take(limits::SONAR_KEYS_PER_QUESTION - keys.len()));
        if keys.len() == limits::SONAR_KEYS_PER_QUESTION {
            break;
        }
    }
    if keys.is_empty() {
        return Ok(());
    }
    let connected = work.sources.connect(&project.organization.source)?;
    let page = connected.client.issues_anywhere(connected.dialect, &project.organization.key, &keys)?;
    let moved = candidate(&project.key, keys.len(), &page.projects).map(|(to, found)| {
        let since = match &project.moved {
            Some(known) if known.to == to => known.since,
            _ => work.clock.now(),
        };
        Moved { to, asked: u32::try_from(keys.len()).unwrap_or(u32::MAX), found, since }
    });
    note(work, id, moved)
}

/// Notes where a project seems to be now, or that it is where it was; writes only if that changed.
pub(super) fn note(work: &Work, id: ProjectId, moved: Option<Moved>) -> Result<(), WorkError> {
    let known = work.store.read::<_, StoreError>(|view| catalogue::project(view, id))?;
    if known.is_none_or(|known| known.moved == moved) {
        return Ok(());
    }
    work.store.write::<_, StoreError>(move |batch| match catalogue::project(batch, id)? {
        // It may have got the other key while Sonar was asked.
        Some(project) if moved.as_ref().is_none_or(|moved| moved.to != project.key) => {
            catalogue::put_project(batch, id, &Project { moved, ..project })
        }
        _ => Ok(()),
    })?;
    Ok(())
}

/// The other project that has most of what was asked for, at least half.
fn candidate(own: &ProjectKey, asked: usize, found: &BTreeMap<String, u64>) -> Option<(ProjectKey, u32)> {
    let others = found.iter().filter(|(key, _)| key.as_str() != own.as_str());
    let (key, &count) = others.max_by_key(|(_, count)| **count)?;
    let enough = usize::try_from(count).is_ok_and(|count| 2 * count >= asked);
    Some((ProjectKey::parse(key).ok().filter(|_| enough)?, u32::try_from(count).unwrap_or(u32::MAX)))
}

/// Branches and pull requests that are looked at for open findings.
const SCOPES_MAX: usize = 50;

/// Findings of one scope that are looked at for open ones.
const STORED_PER_SCOPE: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_project_with_half_of_the_findings_is_a_candidate() {
        let own = ProjectKey::parse("shop").unwrap();
        let find = |rows: &[(&str, u64)], asked| {
            let rows = rows.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect();
            candidate(&own, asked, &rows).map(|(key, count)| (key.to_string(), count))
        };
        assert_eq!(find(&[("store", 50), ("fork", 3)], 100), Some(("store".to_owned(), 50)));
        assert_eq!(find(&[("store", 49)], 100), None);
        assert_eq!(find(&[("shop", 100)], 100), None);
        assert_eq!(find(&[], 1), None);
    }
}
