//! `api/hotspots/search` and `api/hotspots/show`.

use super::api::{Answer, Asked, Outcome, branch_of};
use super::issue::Hotspot;
use super::model::{Model, Project};
use super::params::{Given, any, one_of, paging, required, unsimulated, yes_or_no};
use super::render;
use super::words::{HotspotResolution, HotspotStatus};

pub(super) fn search(model: &Model, asked: &Asked) -> Outcome {
    let mut table = vec![any("projectKey"), any("hotspots"), any("branch"), any("pullRequest"), any("files")];
    table.push(one_of("status", &["TO_REVIEW", "REVIEWED"]));
    // Acknowledged does not exist on Cloud.
    let resolutions = ["FIXED", "SAFE", "ACKNOWLEDGED"];
    table.push(one_of("resolution", &resolutions[..if model.edition.cloud { 2 } else { 3 }]));
    table.push(yes_or_no("onlyMine"));
    table.extend(["cwe", "inNewCodePeriod", "owaspTop10", "owaspTop10-2021", "sonarsourceSecurity"].map(unsimulated));
    table.extend(paging());
    if model.edition.server_since(10, 2) {
        table.push(any("project"));
    }
    let given = Given::check(&table, &asked.pairs)?;
    // The definition names no largest page; only the window bounds it.
    let page = given.page(100, None)?;
    if given.text("branch").is_some() && given.text("pullRequest").is_some() {
        return Err(Answer::error(400, "Only one of parameters 'branch' and 'pullRequest' can be provided"));
    }
    if given.text("resolution").is_some() && given.text("status") != Some("REVIEWED") {
        let message =
            "Value of parameter 'resolution' can only be provided if value of parameter 'status' is 'REVIEWED'";
        return Err(Answer::error(400, message));
    }
    if model.settings.indexing {
        return Err(Answer::error(503, "Results are temporarily unavailable. Indexing of issues is in progress."));
    }
    let keys = given.list("hotspots");
    let token = asked.token(model).expect("the token was checked before routing");
    let mut all: Vec<(&Project, &Hotspot)> = match (given.text("project").or(given.text("projectKey")), &keys) {
        (None, None) => {
            let message = "A value must be provided for either parameter 'project' or parameter 'hotspots'";
            return Err(Answer::error(400, message));
        }
        (Some(key), _) => {
            let absent = || Answer::error(404, &format!("Project '{key}' not found"));
            let project = model.project(key).ok_or_else(absent)?;
            if !token.may_browse(key) {
                return Err(Answer::forbidden());
            }
            let (name, pull_request) = (given.text("branch"), given.text("pullRequest"));
            let branch = branch_of(project, name, pull_request).ok_or_else(|| match (name, pull_request) {
                (Some(name), _) => Answer::error(404, &format!("Branch '{name}' in project '{key}' not found")),
                (_, other) => {
                    let other = other.unwrap_or_default();
                    Answer::error(404, &format!("Pull request '{other}' in project '{key}' not found"))
                }
            })?;
            project.indexed(branch).hotspots.iter().map(|hotspot| (project, hotspot)).collect()
        }
        (None, Some(_)) => indexed(model).filter(|(project, _)| token.may_browse(&project.key)).collect(),
    };
    let resolution = given.text("resolution").and_then(HotspotResolution::from_word);
    let files = given.list("files");
    all.retain(|(_, hotspot)| {
        hotspot.status != HotspotStatus::Closed
            && given.text("status").is_none_or(|status| status == hotspot.status.word())
            && (resolution.is_none() || hotspot.resolution == resolution)
            && keys.as_ref().is_none_or(|keys| keys.contains(&hotspot.key.as_str()))
            && files.as_ref().is_none_or(|files| files.contains(&hotspot.path.as_str()))
            // Nothing is ever assigned to the user of a simulated token.
            && given.flag("onlyMine") != Some(true)
    });
    let line = |hotspot: &Hotspot| hotspot.text_range.as_ref().map(|range| range.start_line);
    all.sort_by_cached_key(|(_, one)| {
        (one.probability, one.category.clone(), one.path.clone(), line(one), one.key.clone())
    });
    let (rows, total) = page.twisted(&all, asked.twist);
    Ok(Answer::json(render::hotspots_page(model, &rows, page, total)))
}

pub(super) fn show(model: &Model, asked: &Asked) -> Outcome {
    let given = Given::check(&[required("hotspot")], &asked.pairs)?;
    let key = given.the("hotspot");
    let found = everywhere(model).find(|(_, hotspot)| hotspot.key == key && hotspot.status != HotspotStatus::Closed);
    let (project, hotspot) = found.ok_or_else(|| Answer::error(404, &format!("Hotspot '{key}' does not exist")))?;
    if !asked.token(model).is_some_and(|token| token.may_browse(&project.key)) {
        return Err(Answer::forbidden());
    }
    Ok(Answer::json(render::hotspot_page(model, project, hotspot)))
}

/// What the search finds, which may be stale.
fn indexed(model: &Model) -> impl Iterator<Item = (&Project, &Hotspot)> {
    model.projects.iter().flat_map(|project| {
        let branches = project.branches.iter().map(|branch| project.indexed(branch));
        branches.flat_map(move |branch| branch.hotspots.iter().map(move |hotspot| (project, hotspot)))
    })
}

fn everywhere(model: &Model) -> impl Iterator<Item = (&Project, &Hotspot)> {
    model.projects.iter().flat_map(|project| {
        let branches = project.branches.iter();
        branches.flat_map(move |branch| branch.hotspots.iter().map(move |hotspot| (project, hotspot)))
    })
}
