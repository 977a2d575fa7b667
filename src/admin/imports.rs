//! What an import would bring, before it is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::extract::State;

use super::answers::Sent;
use super::projects::{Placing, selection, wanted};
use super::{Admin, Problem, Shared, filters, shapes, views};
use crate::domain::ids::{OrganizationRef, ScopeKind};
use crate::domain::selection::Selection;
use crate::sonar::wire;
use crate::store::catalogue;
use crate::work::WorkError;
use crate::work::discover::nothing_chosen;
use crate::work::foresee::{Allowance, Foreseen, NOT_REACHED, Subject, foresee};

/// Says, when it is dropped, that nobody waits any more: the server drops a handler whose client went away.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// `POST /imports/preview`: refuses what an import would refuse, and stores nothing. One at a time, as each keeps Sonar
/// busy; it ends when nobody waits for it.
pub(super) async fn preview(
    State(admin): Shared,
    Sent(new): Sent<shapes::NewImport>,
) -> Result<Json<shapes::ImportPreview>, Problem> {
    let mut allowance = Allowance::default();
    let _waiting = Waiting(Arc::clone(&allowance.given_up));
    // The work holds it, not this future: what was given up counts until it has really ended.
    let turn = Arc::clone(&admin.previews).acquire_owned().await.expect("nobody closes the semaphore");
    let preview = admin
        .block(move |admin| {
            let _turn = turn;
            let organization = admin.store.read(|view| views::organization(view, &new.organization))?;
            let wanted = wanted(admin, &organization, &new)?;
            let placing = Placing::of(&new)?;
            admin.store.read(|view| placing.check(view))?;
            let selection = selection(&new)?;
            let mut projects = Vec::with_capacity(wanted.len());
            for seen in wanted {
                projects.push(project(admin, &organization, seen, &placing, &selection, &mut allowance)?);
            }
            Ok(shapes::ImportPreview { projects })
        })
        .await?;
    Ok(Json(preview))
}

fn project(
    admin: &Admin,
    organization: &OrganizationRef,
    seen: wire::Project,
    placing: &Placing,
    selection: &Selection,
    allowance: &mut Allowance,
) -> Result<shapes::ProjectPreview, Problem> {
    let (id, choice, (asset, exists)) = admin.store.read::<_, Problem>(|view| {
        let id = catalogue::project_id(view, organization, &seen.key)?;
        let known = match id {
            Some(id) => catalogue::project(view, id)?,
            None => None,
        };
        let asset = placing.foresee(view, known.as_ref(), &seen)?;
        Ok((id, catalogue::passing(view, organization)?.choice, asset))
    })?;
    let subject = Subject { organization, key: &seen.key, id, selection, choice: &choice };
    // One project that cannot be read says nothing of the others.
    let (branches, error) = match foresee(&admin.work, &subject, allowance) {
        Ok(None) => (Vec::new(), Some(NOT_REACHED.to_owned())),
        Ok(Some(none)) if none.is_empty() => (Vec::new(), Some(nothing_chosen(selection))),
        Ok(Some(found)) => (found.into_iter().map(branch).collect(), None),
        Err(error @ WorkError::Stopping) => return Err(error.into()),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    Ok(shapes::ProjectPreview {
        source: organization.source.to_string(),
        organization: organization.key.to_string(),
        key: seen.key.to_string(),
        name: seen.name,
        imported: id.is_some(),
        asset: asset.to_string(),
        asset_is_new: !exists,
        filter: filters::choice(&choice),
        branches,
        error,
    })
}

fn branch(foreseen: Foreseen) -> shapes::BranchPreview {
    let found = foreseen.found;
    shapes::BranchPreview {
        name: foreseen.name.to_string(),
        kind: match foreseen.kind {
            ScopeKind::Branch => "branch",
            ScopeKind::PullRequest => "pull_request",
        }
        .to_owned(),
        main: foreseen.main,
        sonar_total: foreseen.sonar_total,
        open: foreseen.open,
        read: foreseen.problem.is_none(),
        passing: found.passing,
        left_out: found.left_out.into_iter().map(|(why, count)| (why.to_string(), count)).collect(),
        create: found.create,
        update: found.update,
        reopen: found.reopen,
        close: found.close,
        same: found.same,
        problem: foreseen.problem,
    }
}
