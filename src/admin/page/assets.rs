//! Assets: what the security team manages, each with its projects and what is open in them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Form, Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::fields::{Line, Sheet, Typed, is_mendable, status_again};
use super::frame::{Asked, Frame, Here, asks};
use super::marks::{column, number_column, severity};
use super::projects::{branch_cells, branch_heads, branch_name, page_of};
use super::words::{capital, counted, encoded, number};
use crate::admin::answers::{Query, Sent};
use crate::admin::{Admin, Problem, assets, projects, shapes};
use crate::domain::access::{Caller, Role};
use crate::domain::time::Timestamp;
use crate::sys::clock;

/// Which of the assets are shown.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    /// A part of the name, or a tag.
    #[serde(default)]
    q: String,
}

impl Wanted {
    fn takes(&self, asset: &shapes::Asset) -> bool {
        let wanted = self.q.trim().to_lowercase();
        let mut texts = std::iter::once(&asset.name).chain(&asset.tags);
        texts.any(|text| text.to_lowercase().contains(&wanted))
    }
}

fn address(asset: &shapes::Asset) -> String {
    format!("/assets/{}", encoded(&asset.name))
}

/// `GET /assets`.
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    list_with(&admin, &caller, &wanted, Sheet { typed: &Typed::default(), problem: None }).await
}

async fn list_with(
    admin: &Arc<Admin>,
    caller: &Caller,
    wanted: &Wanted,
    sheet: Sheet<'_>,
) -> Result<Response, Problem> {
    let all = assets::list(State(Arc::clone(admin))).await?.0.assets;
    let is_empty = all.is_empty();
    let list: Vec<_> = all.into_iter().filter(|asset| wanted.takes(asset)).collect();
    let main = html! {
        div.head { div {
            h1 { "Assets" }
            p.sub { "What the security team manages, each with one or more projects." }
            @if caller.role() < Role::Admin { p.sub { "You may look; an admin can change this." } }
        } }
        (sheet.summary("The asset is not added yet", "Everything that you typed is kept."))
        @if is_empty {
            section.empty { h2 { "No assets yet" } p.soft { "Each imported project joins one, or gets one of its own." } }
        } @else {
            form.filters role="search" {
                input.in.search type="search" name="q" value=(wanted.q) placeholder="Asset or tag" aria-label="Search assets";
                button.button { "Search" }
            }
            @if list.is_empty() { section.empty { h2 { "No asset matches" } a href="/assets" { "Clear" } } }
            @else { div #assets data-live { (table(&list)) } }
        }
        @if caller.role() == Role::Admin {
            form.stack.narrow method="post" action="/assets" aria-labelledby="new-h" {
                h2 #new-h { "Add an asset" }
                (described(sheet))
                div.row { button.button { "Add asset" } }
            }
        }
    };
    Ok(Frame::of(admin, "Assets", Here::Assets, caller).page(&main))
}

/// The fields of an asset.
fn described(sheet: Sheet<'_>) -> Markup {
    html! {
        (sheet.line(Line { name: "name", label: "Name", required: true, ..Line::default() }))
        (sheet.line(Line { name: "description", label: "What it is", ..Line::default() }))
        (sheet.choice(
            Line { name: "business_impact", label: "Business impact", help: "What it would mean if something happened to it.", ..Line::default() },
            &IMPACTS,
        ))
        (sheet.line(Line { name: "tags", label: "Tags", help: "With commas between them.", example: "internet, pci", required: false }))
    }
}

const IMPACTS: [(&str, &str); 4] = [("", "Not said"), ("low", "Low"), ("medium", "Medium"), ("high", "High")];

fn open_of(asset: &shapes::Asset, words: &[&str]) -> u64 {
    asset
        .open
        .iter()
        .filter(|one| words.is_empty() || words.contains(&one.severity.as_str()))
        .map(|one| one.count)
        .sum()
}

fn table(list: &[shapes::Asset]) -> Markup {
    html! {
        table.rows role="table" {
            caption.hide { "Assets" }
            thead role="rowgroup" { tr role="row" {
                (column("Asset"))
                (column("Projects"))
                (column("Business impact"))
                (number_column("Open"))
                (number_column("Critical and high"))
            } }
            tbody role="rowgroup" {
                @for asset in list {
                    tr role="row" {
                        th role="rowheader" scope="row" {
                            a href=(address(asset)) { (asset.name) }
                            @for tag in &asset.tags { " " span.badge { (tag) } }
                            @if let Some(about) = &asset.description { span.under { (about) } }
                        }
                        td.full role="cell" { (held(asset)) }
                        td role="cell" data-l="Business impact" { (impact(asset)) }
                        td.num role="cell" data-l="Open" { (number(open_of(asset, &[]))) }
                        td.num role="cell" data-l="Critical and high" { (number(open_of(asset, &["critical", "high"]))) }
                    }
                }
            }
        }
    }
}

/// The names of the first projects, and how many more there are.
fn held(asset: &shapes::Asset) -> String {
    let names: Vec<_> = asset.projects.iter().take(NAMES_MAX).map(|project| project.name.as_str()).collect();
    match asset.projects.len().saturating_sub(NAMES_MAX) {
        0 => names.join(", "),
        more => format!("{} and {}", names.join(", "), counted(more as u64, "other")),
    }
}

const NAMES_MAX: usize = 4;

fn impact(asset: &shapes::Asset) -> Markup {
    html! { @match &asset.business_impact { Some(impact) => { (capital(impact)) } None => { span.is.none { "not said" } } } }
}

fn edit_of(typed: &Typed) -> shapes::AssetEdit {
    let tags = typed.text("tags").split(',').map(str::trim).filter(|tag| !tag.is_empty());
    shapes::AssetEdit {
        name: Some(typed.text("name").to_owned()),
        description: Some(typed.text("description").to_owned()),
        business_impact: Some(typed.text("business_impact").to_owned()),
        tags: Some(tags.map(str::to_owned).collect()),
    }
}

/// `POST /assets`.
pub(super) async fn add(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Form(typed): Form<Typed>,
) -> Result<Response, Problem> {
    match assets::add(State(Arc::clone(&admin)), Sent(edit_of(&typed))).await {
        Ok((_, Json(asset))) => Ok(Redirect::to(&address(&asset)).into_response()),
        Err(problem) if is_mendable(&problem) => {
            let sheet = Sheet { typed: &typed, problem: Some(&problem) };
            let page = list_with(&admin, &caller, &Wanted::default(), sheet).await?;
            Ok((status_again(&problem), page).into_response())
        }
        Err(problem) => Err(problem),
    }
}

/// `GET /assets/{name}`.
pub(super) async fn show(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    name: Path<String>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let asset = assets::show(state, name).await?.0;
    let mut typed = Typed::default();
    typed.put("name", &*asset.name);
    typed.put("description", asset.description.as_deref().unwrap_or_default());
    typed.put("business_impact", asset.business_impact.as_deref().unwrap_or_default());
    typed.put("tags", asset.tags.join(", "));
    page(&admin, &caller, &asset, Sheet { typed: &typed, problem: None }).await
}

async fn page(
    admin: &Arc<Admin>,
    caller: &Caller,
    asset: &shapes::Asset,
    sheet: Sheet<'_>,
) -> Result<Response, Problem> {
    let now = clock::now();
    let all = projects::list(State(Arc::clone(admin))).await?.0.projects;
    let held: Vec<_> = all.into_iter().filter(|project| project.asset.as_ref() == Some(&asset.name)).collect();
    let sets_up = caller.role() == Role::Admin;
    let main = html! {
        div.head {
            div {
                nav aria-label="You are here" { ol.row.small.soft.crumbs { li { a href="/assets" { "Assets" } } } }
                h1 { (asset.name) @for tag in &asset.tags { " " span.badge { (tag) } } }
                @if let Some(about) = &asset.description { p.sub { (about) } }
                p.sub { "Business impact: " (impact(asset)) @if !sets_up { ". You may look; an admin can change this." } }
            }
            div.row { a.button href={ "/findings?asset=" (encoded(&asset.name)) } { "Findings" } }
        }
        (sheet.summary("The asset is not changed yet", "Everything that you typed is kept."))
        dl.figures #open data-live {
            @for one in &asset.open {
                div {
                    dt { (severity(&one.severity)) }
                    dd { a href={ "/findings?asset=" (encoded(&asset.name)) "&severity=" (one.severity) } { (number(one.count)) } }
                }
            }
        }
        section {
            div.ends { h2 { "Projects" } span.soft { (counted(held.len() as u64, "project")) } }
            @if held.is_empty() { p.soft { "None yet. A project is moved here on its own page." } }
            @else { div #held data-live { (project_table(&held, now)) } }
        }
        @if sets_up { (change(asset, sheet)) }
    };
    Ok(Frame::of(admin, &asset.name, Here::Assets, caller).page(&main))
}

fn project_table(held: &[shapes::Project], now: Timestamp) -> Markup {
    html! {
        table.rows role="table" {
            caption.hide { "Projects of this asset" }
            thead role="rowgroup" { tr role="row" { (column("Project")) (branch_heads()) } }
            tbody role="rowgroup" {
                @for project in held {
                    @let page = page_of(&project.source, &project.organization, &project.key);
                    @if project.branches.is_empty() { tr role="row" {
                        th role="rowheader" scope="row" { a href=(page) { (project.name) } }
                        td role="cell" colspan="6" { span.is.busy { "Its branches are asked for" } }
                    } }
                    @for branch in &project.branches { tr role="row" {
                        th role="rowheader" scope="row" {
                            a href=(page) { (project.name) } " " span.soft { (branch_name(branch)) }
                            @if let Some(site) = &project.site { span.under { "site " (site) } }
                        }
                        (branch_cells(branch, now))
                    } }
                }
            }
        }
    }
}

fn change(asset: &shapes::Asset, sheet: Sheet<'_>) -> Markup {
    html! {
        form.stack.narrow method="post" action=(address(asset)) aria-labelledby="change-h" {
            h2 #change-h { "Change" }
            (described(sheet))
            p.help { "With another name, platforms keep what they were told where it is; what is new goes to the place of that name." }
            div.row { button.button.first { "Save" } }
        }
        section.stack {
            h2 { "Remove" }
            @if asset.projects.is_empty() {
                div.row { (asks(&Asked {
                    id: "remove",
                    deed: &format!("Remove {}", asset.name),
                    text: "It holds no project, so no finding goes with it. What platforms were told of it stays there.",
                    action: &format!("{}/remove", address(asset)),
                    class: "danger",
                })) }
            } @else {
                p.soft { "It holds " (counted(asset.projects.len() as u64, "project")) ". Once they are moved to other assets, or removed, it can be removed." }
            }
        }
    }
}

/// `POST /assets/{name}`.
pub(super) async fn save(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Form(typed): Form<Typed>,
) -> Result<Response, Problem> {
    let known = assets::show(State(Arc::clone(&admin)), Path(name.clone())).await?.0;
    match assets::edit(State(Arc::clone(&admin)), Path(name), Sent(edit_of(&typed))).await {
        Ok(Json(asset)) => Ok(Redirect::to(&address(&asset)).into_response()),
        Err(problem) if is_mendable(&problem) => {
            let page = page(&admin, &caller, &known, Sheet { typed: &typed, problem: Some(&problem) }).await?;
            Ok((status_again(&problem), page).into_response())
        }
        Err(problem) => Err(problem),
    }
}

/// `POST /assets/{name}/remove`.
pub(super) async fn remove(state: State<Arc<Admin>>, name: Path<String>) -> Result<Response, Problem> {
    assets::remove(state, name).await?;
    Ok(Redirect::to("/assets").into_response())
}
