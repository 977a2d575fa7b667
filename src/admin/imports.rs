//! What an import would bring, before it is made.

use axum::Json;
use axum::extract::State;

use super::answers::Sent;
use super::projects::{Placing, selection, wanted};
use super::{Admin, Problem, Shared, filters, shapes, views};
use crate::domain::ids::{OrganizationRef, ScopeKind};
use crate::domain::selection::Selection;
use crate::sonar::wire;
use crate::store::catalogue;
use crate::work::discover::nothing_chosen;
use crate::work::foresee::{Foreseen, Subject, foresee};

/// `POST /imports/preview`: refuses what an import would refuse, and stores nothing.
pub(super) async fn preview(
    State(admin): Shared,
    Sent(new): Sent<shapes::NewImport>,
) -> Result<Json<shapes::ImportPreview>, Problem> {
    let preview = admin
        .run(move |admin| {
            let organization = admin.store.read(|view| views::organization(view, &new.organization))?;
            let wanted = wanted(admin, &organization, &new)?;
            let placing = Placing::of(&new)?;
            admin.store.read(|view| placing.check(view))?;
            let selection = selection(&new)?;
            let projects = wanted.into_iter().map(|seen| project(admin, &organization, seen, &placing, &selection));
            Ok(shapes::ImportPreview { projects: projects.collect::<Result<_, _>>()? })
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
    let (branches, error) = match foresee(&admin.work, &subject) {
        Ok(none) if none.is_empty() => (Vec::new(), Some(nothing_chosen(selection))),
        Ok(found) => (found.into_iter().map(branch).collect(), None),
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
