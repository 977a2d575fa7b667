//! One project: its branches, its asset, what of it is held, and how it is removed.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Form, Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::super::fields::{Line, Sheet, Typed, is_mendable, status_again};
use super::super::findings::of_project;
use super::super::frame::{Frame, Here};
use super::super::marks::column;
use super::super::words::{counted, when_told};
use super::{address, branch_cells, branch_heads, branch_name, encoded, synchronize};
use crate::admin::answers::{Query, Sent};
use crate::admin::webhooks::register::Unregister;
use crate::admin::{Admin, Problem, assets, projects, shapes, webhooks};
use crate::domain::access::{Caller, Role};
use crate::domain::time::Timestamp;
use crate::sys::clock;

/// `GET /projects/{organization}/{key}`.
pub(in crate::admin::page) async fn show(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    path: Path<(String, String)>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let project = projects::show(state, path).await?.0;
    let typed = as_typed(&project);
    page(&admin, &caller, &project, Sheet { typed: &typed, problem: None }).await
}

fn as_typed(project: &shapes::Project) -> Typed {
    let mut typed = Typed::default();
    typed.put("asset", project.asset.clone().unwrap_or_default());
    typed.put("branches", project.selected_branches.join("\n"));
    if project.pull_requests {
        typed.put("pull_requests", "yes");
    }
    typed
}

async fn page(
    admin: &Arc<Admin>,
    caller: &Caller,
    project: &shapes::Project,
    sheet: Sheet<'_>,
) -> Result<Response, Problem> {
    let (role, now) = (caller.role(), clock::now());
    let names = match role {
        Role::Admin => {
            assets::list(State(Arc::clone(admin))).await?.0.assets.into_iter().map(|asset| asset.name).collect()
        }
        _ => Vec::new(),
    };
    let main = html! {
        div.head {
            div {
                nav aria-label="You are here" { ol.row.small.soft.crumbs {
                    li { a href="/projects" { "Projects" } } li { (project.source) "/" (project.organization) }
                } }
                h1 { (project.name) }
                p.sub { span.mono { (project.key) } }
                @if let Some(site) = &project.site {
                    p.sub { "The box at site " a href={ "/findings?site=" (encoded(site)) } { (site) } " reads it: whatever asks Sonar about it, or tells Sonar, is done there." }
                }
            }
            div.row {
                a.button href=(of_project(&project.key, project.site.as_deref())) { "Findings" }
                @if role >= Role::Operator && project.site.is_none() { (synchronize(project, "button")) }
            }
        }
        (sheet.summary("The project is not changed yet", "It goes on as it was; everything that you typed is kept."))
        @if let Some(error) = &project.error { p.is.bad { span { (error) } } }
        div #branches data-live { (branches(project, now)) }
        div.cols {
            section.stack {
                h2 { "What of it is held" }
                (facts(project, now))
            }
            @if role == Role::Admin { (form(project, &names, sheet)) }
        }
        @if role == Role::Admin && project.site.is_none() { section.stack {
            h2 { "Remove" }
            p.soft { "It is read no more and leaves this box with its findings. Nothing is closed on any platform." }
            div.row { a.button.danger href={ (address(project)) "/remove" } { "Remove " (project.name) " …" } }
        } }
    };
    Ok(Frame::of(admin, &project.name, Here::Projects, caller).page(&main))
}

fn branches(project: &shapes::Project, now: Timestamp) -> Markup {
    html! {
        @if project.branches.is_empty() {
            section.empty { h2 { "No branch is held yet" } p.soft { "Sonar is asked which there are." } }
        } @else {
            table.rows role="table" {
                caption.hide { "Branches and pull requests" }
                thead role="rowgroup" { tr role="row" {
                    (column("Branch"))
                    (branch_heads())
                } }
                tbody role="rowgroup" {
                    @for branch in &project.branches { tr role="row" {
                        th role="rowheader" scope="row" {
                            a href={ (of_project(&project.key, project.site.as_deref())) "&branch=" (encoded(&branch.name)) } { (branch_name(branch)) }
                            @if branch.main { " " span.badge { "main" } }
                            @if let Some(passing) = branch.passing_total.filter(|passing| *passing != branch.stored_total) {
                                span.under { (counted(passing, "finding")) " pass the organization's filter" }
                            }
                        }
                        (branch_cells(branch, now))
                    } }
                }
            }
        }
    }
}

fn facts(project: &shapes::Project, now: Timestamp) -> Markup {
    html! {
        dl.facts {
            dt { "Asset" } dd {
                @match &project.asset {
                    Some(asset) => { a href={ "/assets/" (encoded(asset)) } { (asset) } }
                    None => { span.is.none { "not known" } }
                }
            }
            @match &project.site {
                Some(site) => { dt { "Site" } dd { (site) } dt { "Source" } dd { (project.source) } }
                None => {
                    dt { "Branches" } dd {
                        @if project.selected_branches.is_empty() { "the main branch" } @else { (project.selected_branches.join(", ")) }
                    }
                    dt { "Pull requests" } dd { (if project.pull_requests { "held" } else { "not held" }) }
                }
            }
            @if let Some(at) = &project.next_at { dt { "Branches are asked for" } dd { (when_told(Some(at), now)) } }
        }
    }
}

fn form(project: &shapes::Project, assets: &[String], sheet: Sheet<'_>) -> Markup {
    let own = project.site.is_none();
    let words: Vec<(&str, &str)> = assets.iter().map(|name| (name.as_str(), name.as_str())).collect();
    html! {
        form.stack method="post" action=(address(project)) aria-labelledby="change-h" {
            h2 #change-h { @if own { "Move it, or choose its branches" } @else { "Move it" } }
            (sheet.choice(Line {
                name: "asset",
                label: "Asset",
                help: "Moving closes nothing and tells nothing twice: platforms keep what they were told where it is. What is \
                       new goes where the asset's findings go; on DefectDojo a branch keeps its test.",
                ..Line::default()
            }, &words))
            (sheet.line(Line { name: "new_asset", label: "Or a new asset", ..Line::default() }))
            @if own {
                (sheet.area(Line {
                    name: "branches",
                    label: "Branches, one a line",
                    help: "Names; * stands for anything. Without one it is the main branch. What is held already stays held.",
                    example: "release/*",
                    required: false,
                }))
                (sheet.tick("pull_requests", "yes", "Pull requests too"))
            }
            div.row { button.button.first { "Save" } }
        }
    }
}

/// `POST /projects/{organization}/{key}`.
pub(in crate::admin::page) async fn save(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<(String, String)>,
    Form(typed): Form<Typed>,
) -> Result<Response, Problem> {
    let known = projects::show(State(Arc::clone(&admin)), Path(path.clone())).await?.0;
    let new_asset = typed.given("new_asset");
    let edit = shapes::ProjectEdit {
        asset: typed.given("asset").filter(|asset| new_asset.is_none() && known.asset.as_ref() != Some(asset)),
        new_asset,
        branches: known.site.is_none().then(|| typed.lines("branches")),
        pull_requests: known.site.is_none().then(|| typed.ticked("pull_requests")),
    };
    match projects::edit::edit(State(Arc::clone(&admin)), Path(path), Sent(edit)).await {
        Ok(Json(project)) => Ok(Redirect::to(&address(&project)).into_response()),
        Err(problem) if is_mendable(&problem) => {
            let page = page(&admin, &caller, &known, Sheet { typed: &typed, problem: Some(&problem) }).await?;
            Ok((status_again(&problem), page).into_response())
        }
        Err(problem) => Err(problem),
    }
}

/// `GET /projects/{organization}/{key}/remove`: says what goes and what stays.
pub(in crate::admin::page) async fn ask_remove(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    path: Path<(String, String)>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let project = projects::show(state, path).await?.0;
    if let Some(site) = &project.site {
        return Err(Problem::elsewhere(format_args!("project {}", project.key), site));
    }
    let whose = format!("{}/{}", project.source, project.organization);
    let registered = webhooks::is_registered(&admin, &whose, &project.key).await?;
    let open: u64 = project.branches.iter().map(|branch| branch.stored_total).sum();
    let main = html! {
        form.stack.narrow method="post" action={ (address(&project)) "/remove" } {
            h1 { "Remove " (project.name) "?" }
            p { "Nothing is closed: platforms keep what they were told as it is, and SARIF files stay where they are." }
            p {
                "This box forgets the project with its " (counted(project.branches.len() as u64, "branch name"))
                ", " (counted(open, "open finding")) ", those that are closed, and their history. Webhook calls for it are "
                "answered and counted as not imported."
                @if !registered { " A webhook of its own is forgotten too; in Sonar it stays until somebody removes it." }
            }
            @if registered {
                p { label.choice { input type="checkbox" name="unregister" value="yes" checked; " "
                    span { "Take its own webhook away from Sonar, too; else Sonar goes on calling an address that answers 404" } } }
            }
            p.soft { "Imported again it is read anew, and its findings get other numbers here." }
            div.row {
                a.button href=(address(&project)) { "Cancel" }
                button.button.danger { "Remove " (project.name) }
            }
        }
    };
    let title = format!("Remove {}", project.name);
    Ok(Frame::of(&admin, &title, Here::Projects, &caller).page(&main))
}

/// `POST /projects/{organization}/{key}/remove`.
pub(in crate::admin::page) async fn remove(
    state: State<Arc<Admin>>,
    path: Path<(String, String)>,
    Form(typed): Form<Typed>,
) -> Result<Response, Problem> {
    let asked = Unregister { unregister: typed.ticked("unregister") };
    let Json(_) = projects::remove(state, path, Query(asked)).await?;
    Ok(Redirect::to("/projects").into_response())
}
