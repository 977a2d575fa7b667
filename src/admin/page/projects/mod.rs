//! Imported projects and how far each is in step.

pub(super) mod one;

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use maud::{Markup, html};
use serde::Deserialize;

use super::frame::{Frame, Here};
use super::marks::{actions_column, column, number_column};
use super::words::{counted, encoded, number, when_told};
use crate::admin::answers::{Query, Sent};
use crate::admin::{Admin, Problem, projects, shapes};
use crate::domain::access::{Caller, Role};
use crate::domain::time::Timestamp;
use crate::sys::clock;

/// The page of a project.
pub(super) fn page_of(source: &str, organization: &str, key: &str) -> String {
    format!("/projects/{}/{}", encoded(&format!("{source}/{organization}")), encoded(key))
}

fn address(project: &shapes::Project) -> String {
    page_of(&project.source, &project.organization, &project.key)
}

/// Which of the projects are shown.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    /// A part of the name, the key or the asset's name.
    #[serde(default)]
    q: String,
}

impl Wanted {
    fn takes(&self, project: &shapes::Project) -> bool {
        let wanted = self.q.trim().to_lowercase();
        let texts = [Some(&project.name), Some(&project.key), project.asset.as_ref(), project.site.as_ref()];
        texts.into_iter().flatten().any(|text| text.to_lowercase().contains(&wanted))
    }
}

/// `GET /projects`.
pub(super) async fn list(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let all = projects::list(state).await?.0.projects;
    let (is_empty, role, now) = (all.is_empty(), caller.role(), clock::now());
    // What other sites' boxes read is read there.
    let steers = role >= Role::Operator && all.iter().any(|project| project.site.is_none());
    let list: Vec<_> = all.into_iter().filter(|project| wanted.takes(project)).collect();
    let main = html! {
        div.head {
            div {
                h1 { "Projects" }
                p.sub { (counted(list.len() as u64, "project")) " in step with SonarQube. Sonar's count and ours are equal where a branch was read completely." }
                @if role < Role::Operator { p.sub { "You may look; an operator can change this." } }
            }
            @if !is_empty {
                div.row {
                    a.button href="/webhooks" { "Webhooks" }
                    @if role == Role::Admin { a.button href="/connect" { "Bring in projects" } }
                    @if steers { form method="post" action="/sync" { button.button { "Synchronize all" } } }
                }
            }
        }
        @if is_empty { (none(role)) } @else {
            form.filters role="search" {
                input.in.search type="search" name="q" value=(wanted.q) placeholder="Project or asset" aria-label="Search projects";
                button.button { "Search" }
            }
            @if list.is_empty() {
                section.empty { h2 { "No project matches" } a href="/projects" { "Clear" } }
            } @else {
                div #projects data-live { (table(&list, steers, now)) }
            }
        }
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
                (column("Project"))
                (branch_heads())
                @if steers { (actions_column()) }
            } }
            tbody role="rowgroup" {
                @for project in list {
                    @if project.branches.is_empty() { (empty_row(project, steers)) }
                    @for branch in &project.branches { tr role="row" {
                        (name(project, Some(branch)))
                        (branch_cells(branch, now))
                        @if steers { (act(project)) }
                    } }
                }
            }
        }
    }
}

/// The heads of what is shown of a branch.
pub(super) fn branch_heads() -> Markup {
    html! {
        (column("In step"))
        (column("Quality gate"))
        (number_column("In Sonar"))
        (number_column("Held here"))
        (number_column("Analysed"))
        (number_column("Read"))
    }
}

fn name(project: &shapes::Project, branch: Option<&shapes::Branch>) -> Markup {
    html! {
        th role="rowheader" scope="row" {
            a href=(address(project)) { (project.name) }
            @if let Some(branch) = branch {
                " " span.soft { (branch_name(branch)) }
            }
            span.under { (project.key) @if let Some(asset) = &project.asset { " · " (asset) } @if let Some(site) = &project.site { " · site " (site) } }
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

/// A branch as it is called.
pub(super) fn branch_name(branch: &shapes::Branch) -> Markup {
    html! { @if branch.kind == "pull_request" { "pull request " } (branch.name) }
}

/// What is shown of a branch.
pub(super) fn branch_cells(branch: &shapes::Branch, now: Timestamp) -> Markup {
    html! {
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
    html! { td.act role="cell" { @if project.site.is_none() { (synchronize(project, "button plain little")) } } }
}

/// The button that has a project read now.
pub(super) fn synchronize(project: &shapes::Project, class: &str) -> Markup {
    html! {
        form method="post" action="/sync" {
            input type="hidden" name="organization" value={ (project.source) "/" (project.organization) };
            input type="hidden" name="project" value=(project.key);
            button class=(class) { "Synchronize" }
        }
    }
}

/// `POST /sync`: back to the page of the project, where one was named.
pub(super) async fn sync(state: State<Arc<Admin>>, Form(new): Form<shapes::NewSync>) -> Result<Response, Problem> {
    let one = new.project.is_some();
    let (_, Json(done)) = projects::sync(state, Sent(new)).await?;
    let back = done.projects.first().filter(|_| one).map_or_else(|| "/projects".to_owned(), address);
    Ok(Redirect::to(&back).into_response())
}
