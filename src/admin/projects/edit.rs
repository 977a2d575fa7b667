//! Changing an imported project: the asset that it belongs to, and which of its branches are held.

use axum::Json;
use axum::extract::{Path, State};

use super::{Placing, imported, selected, shown};
use crate::admin::answers::Sent;
use crate::admin::destinations::edit::look_again;
use crate::admin::{Problem, Shared, shapes, views};
use crate::domain::ids::AssetName;
use crate::domain::schedule::{Reason, Task};
use crate::store::records::Project;
use crate::store::{agenda, catalogue};
use crate::sys::clock;

/// `PATCH /organizations/{organization}/projects/{key}`: asks Sonar nothing. Its findings keep their ids, their history
/// and what platforms were told of them.
pub(in crate::admin) async fn edit(
    State(admin): Shared,
    Path((organization, key)): Path<(String, String)>,
    Sent(edit): Sent<shapes::ProjectEdit>,
) -> Result<Json<shapes::Project>, Problem> {
    let project = admin
        .run(move |admin| {
            let chooses = edit.branches.is_some() || edit.pull_requests.is_some();
            let (_, id, known) = admin.store.read::<_, Problem>(|view| {
                let found = imported(view, &organization, &key)?;
                if chooses {
                    // To which asset it belongs here is for this box to say; which branches are read is not.
                    views::must_be_own(view, &found.0.source, format_args!("project {key}"))?;
                }
                Ok(found)
            })?;
            let placing = placing(&edit)?;
            let selection = selected(
                edit.branches.as_ref().unwrap_or(&known.selection.branches),
                edit.pull_requests.unwrap_or(known.selection.pull_requests),
            )?;
            let store = admin.store.clone();
            let moved = admin.store.write::<_, Problem>(move |batch| {
                let known = catalogue::project(batch, id)?
                    .ok_or_else(|| Problem::missing(format!("project {key} was removed meanwhile")))?;
                let now = clock::now();
                let asset = match &placing {
                    Some(placing) => {
                        placing.check(batch).map_err(|problem| problem.at("new_asset"))?;
                        placing.of_name(batch, now).map_err(|problem| problem.at("asset"))?
                    }
                    None => known.asset,
                };
                let (moved, chosen) = (asset != known.asset, selection != known.selection);
                catalogue::put_project(batch, id, &Project { asset, selection, ..known })?;
                if chosen {
                    agenda::ask(batch, Task::Discover(id), Reason::Manual, now, store.ticket())?;
                }
                Ok(moved)
            })?;
            if moved {
                look_again(admin)?;
            }
            let gone = || Problem::missing("the project was removed meanwhile");
            shown(admin, &[id])?.pop().ok_or_else(gone)
        })
        .await?;
    Ok(Json(project))
}

fn placing(edit: &shapes::ProjectEdit) -> Result<Option<Placing>, Problem> {
    let name = |text: &str, field: &'static str| AssetName::parse(text).map_err(|error| Problem::from(error).at(field));
    match (&edit.asset, &edit.new_asset) {
        (None, None) => Ok(None),
        (Some(asset), None) => Ok(Some(Placing::Existing(name(asset, "asset")?))),
        (None, Some(asset)) => Ok(Some(Placing::New(name(asset, "new_asset")?))),
        (Some(_), Some(_)) => Err(Problem::bad("an asset is either new or exists").at("new_asset")),
    }
}
