//! Imported projects and how far each is in step, and the assets that group them.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use maud::{Markup, html};

use super::frame::{Frame, Here};
use super::words::{counted, encoded, number, when_told};
use crate::admin::answers::Sent;
use crate::admin::{Admin, Problem, assets, projects, shapes};
use crate::domain::access::{Caller, Role};
use crate::domain::time::Timestamp;
use crate::sys::clock;

/// `GET /projects`.
pub(super) async fn list(state: State<Arc<Admin>>, Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let list = projects::list(state).await?.0.projects;
    let now = clock::now();
    let steers = caller.role() >= Role::Operator;
    let main = html! {
        div.head {
            div {
                h1 { "Projects" }
                p.sub { (counted(list.len() as u64, "project")) " in step with SonarQube. Sonar's count and ours are equal where a branch was read completely." }
            }
            @if steers && !list.is_empty() {
                div.row {
                    a.button href="/webhooks" { "Webhooks" }
                    @if caller.role() == Role::Admin { a.button href="/connect" { "Bring in projects" } }
                    form method="post" action="/sync" { button.button { "Synchronize all" } }
                }
            }
        }
        @if list.is_empty() { (none(caller.role())) } @else { (table(&list, steers, now)) }
    };
    Ok(Frame::of(&admin, "Projects", Here::Projects, &caller).page(&main))
}

fn none(role: Role) -> Markup {
    html! {
        section.empty {
            h2 { "No projects yet" }
            @if role == Role::Admin {
                p.soft { "Connect SonarQube and choose some: it takes a token and five minutes." }
                div.row { a.button.first href="/connect" { "Connect SonarQube" } }
            } @else {
                p.soft { "An admin can bring some in." }
            }
        }
    }
}

fn table(list: &[shapes::Project], steers: bool, now: Timestamp) -> Markup {
    html! {
        table.rows role="table" {
            caption.hide { "Imported projects" }
            thead role="rowgroup" { tr role="row" {
                th role="columnheader" scope="col" { "Project" }
                th role="columnheader" scope="col" { "In step" }
                th role="columnheader" scope="col" { "Quality gate" }
                th.num role="columnheader" scope="col" { "In Sonar" }
                th.num role="columnheader" scope="col" { "Held here" }
                th.num role="columnheader" scope="col" { "Analysed" }
                th.num role="columnheader" scope="col" { "Read" }
                @if steers { th.act role="columnheader" scope="col" { span.hide { "Actions" } } }
            } }
            tbody role="rowgroup" {
                @for project in list {
                    @if project.branches.is_empty() { (empty_row(project, steers)) }
                    @for branch in &project.branches { (row(project, branch, steers, now)) }
                }
            }
        }
    }
}

fn name(project: &shapes::Project, branch: Option<&shapes::Branch>) -> Markup {
    html! {
        th role="rowheader" scope="row" {
            a href={ "/findings?project=" (encoded(&project.key)) } { (project.name) }
            @if let Some(branch) = branch {
                " " span.soft { @if branch.kind == "pull_request" { "pull request " } (branch.name) }
            }
            span.under { (project.key) @if let Some(asset) = &project.asset { " · " (asset) } }
        }
    }
}

fn empty_row(project: &shapes::Project, steers: bool) -> Markup {
    html! {
        tr role="row" {
            (name(project, None))
            td role="cell" {
                @match &project.error {
                    Some(error) => { span.is.bad { (error) } }
                    None => { span.is.busy { "Its branches are asked for" } }
                }
            }
            td role="cell" {} td.num role="cell" {} td.num role="cell" {} td.num role="cell" {} td.num role="cell" {}
            @if steers { (act(project)) }
        }
    }
}

fn row(project: &shapes::Project, branch: &shapes::Branch, steers: bool, now: Timestamp) -> Markup {
    html! {
        tr role="row" {
            (name(project, Some(branch)))
            td role="cell" { (standing(branch)) }
            td role="cell" data-l="Quality gate" {
                @match branch.quality_gate.as_deref() {
                    Some("OK") => { span.is.ok { "Passed" } }
                    Some("ERROR") => { span.is.bad { "Failed" } }
                    Some(other) => { span.is.none { (other) } }
                    None => { span.is.none { "not known" } }
                }
            }
            td.num role="cell" data-l="In Sonar" {
                @match branch.sonar_total { Some(total) => { (number(total)) } None => { span.is.none { "not known" } } }
            }
            td.num role="cell" data-l="Held here" { (number(branch.stored_total)) }
            td.num.soft role="cell" data-l="Analysed" { (when_told(branch.analysed_at.as_deref(), now)) }
            td.num.soft role="cell" data-l="Read" { (when_told(branch.synced_at.as_deref(), now)) }
            @if steers { (act(project)) }
        }
    }
}

fn standing(branch: &shapes::Branch) -> Markup {
    html! {
        @if branch.retired_at.is_some() { span.is.none { "Not listed by Sonar any more" } }
        @else if branch.activity == "running" {
            span.is.busy { "Being read" }
            @if branch.expected > 0 {
                " " progress value=(branch.read) max=(branch.expected) aria-label="Findings read" {}
                " " span.soft { (number(branch.read)) " of " (number(branch.expected)) }
            }
        }
        @else if branch.activity == "queued" { span.is.busy { "Waits to be read" } }
        @else if let Some(error) = &branch.error { span.is.bad { (error) } }
        @else if branch.stale { span.is.warn { "Stale" } }
        @else if branch.complete { span.is.ok { "Complete" } }
        @else { span.is.warn { "Incomplete" } }
    }
}

fn act(project: &shapes::Project) -> Markup {
    html! {
        td.act role="cell" {
            form method="post" action="/sync" {
                input type="hidden" name="organization" value={ (project.source) "/" (project.organization) };
                input type="hidden" name="project" value=(project.key);
                button.button.plain.little { "Synchronize" }
            }
        }
    }
}

/// `POST /sync`.
pub(super) async fn sync(state: State<Arc<Admin>>, Form(new): Form<shapes::NewSync>) -> Result<Response, Problem> {
    let (_, Json(_)) = projects::sync(state, Sent(new)).await?;
    Ok(Redirect::to("/projects").into_response())
}

/// `GET /assets`.
pub(super) async fn list_assets(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let list = assets::list(state).await?.0.assets;
    let sets_up = caller.role() == Role::Admin;
    let main = html! {
        div.head { div { h1 { "Assets" } p.sub { "What the security team manages, each with one or more projects." } } }
        @if list.is_empty() {
            section.empty { h2 { "No assets yet" } p.soft { "Each imported project joins one, or gets one of its own." } }
        } @else {
            (asset_table(&list))
        }
        @if sets_up {
            form.row method="post" action="/assets" {
                div.field { label for="asset" { "New asset" } input.in #asset name="name" required maxlength="400"; }
                div.field { label for="about" { "What it is" } input.in #about name="description" maxlength="400"; }
                button.button { "Add asset" }
            }
        }
    };
    Ok(Frame::of(&admin, "Assets", Here::Assets, &caller).page(&main))
}

fn asset_table(list: &[shapes::Asset]) -> Markup {
    html! {
        table.rows role="table" {
            caption.hide { "Assets" }
            thead role="rowgroup" { tr role="row" {
                th role="columnheader" scope="col" { "Asset" }
                th role="columnheader" scope="col" { "Projects" }
                th.num role="columnheader" scope="col" { "Open" }
                th.num role="columnheader" scope="col" { "Critical and high" }
            } }
            tbody role="rowgroup" {
                @for asset in list {
                    @let count = |words: &[&str]| asset.open.iter()
                        .filter(|one| words.is_empty() || words.contains(&one.severity.as_str()))
                        .map(|one| one.count).sum::<u64>();
                    tr role="row" {
                        th role="rowheader" scope="row" {
                            a href={ "/findings?asset=" (encoded(&asset.name)) } { (asset.name) }
                            @if let Some(about) = &asset.description { span.under { (about) } }
                        }
                        td.full role="cell" {
                            (asset.projects.iter().map(|project| project.name.as_str()).collect::<Vec<_>>().join(", "))
                        }
                        td.num role="cell" data-l="Open" { (number(count(&[]))) }
                        td.num role="cell" data-l="Critical and high" { (number(count(&["critical", "high"]))) }
                    }
                }
            }
        }
    }
}

/// `POST /assets`.
pub(super) async fn add_asset(
    state: State<Arc<Admin>>,
    Form(new): Form<shapes::AssetEdit>,
) -> Result<Response, Problem> {
    let description = new.description.filter(|text| !text.is_empty());
    let (_, Json(_)) = assets::add(state, Sent(shapes::AssetEdit { description, ..new })).await?;
    Ok(Redirect::to("/assets").into_response())
}

/// `POST /assets/{name}/remove`.
pub(super) async fn remove_asset(state: State<Arc<Admin>>, name: Path<String>) -> Result<Response, Problem> {
    assets::remove(state, name).await?;
    Ok(Redirect::to("/assets").into_response())
}
