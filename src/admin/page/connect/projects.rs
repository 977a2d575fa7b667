//! The third step: which projects come in, each with its branches and asset; and what would come, before anything does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use maud::{Markup, html};

use super::super::marks::{column, number_column};
use super::chosen::{Choice, Chosen};
use super::{At, Step, address, named, steps, summary};
use crate::admin::answers::{Query, Sent};
use crate::admin::page::frame::{Frame, Here, wrong};
use crate::admin::page::words::{capital, counted, encoded, number};
use crate::admin::{Admin, Problem, assets, imports, projects, shapes};
use crate::domain::access::Caller;
use crate::sys::clock;

/// `GET /connect/projects`.
pub(in crate::admin::page) async fn show(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Query(at): Query<At>,
) -> Result<Response, Problem> {
    let Some(organization) = named(&state, &at).await? else { return Ok(Redirect::to("/connect").into_response()) };
    let chosen = Chosen { organization, page: 1, ..Chosen::default() };
    Ok(Choosing::read(&state, chosen).await?.page(&state, &caller, StatusCode::OK))
}

/// `POST /connect/projects`: searches, turns the page, looks ahead or imports, whichever was pressed. What was chosen goes
/// along each time.
pub(in crate::admin::page) async fn act(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let chosen = Chosen::read(pairs);
    let mut choosing = Choosing::read(&state, chosen).await?;
    let goes_on = matches!(choosing.chosen.act.as_str(), "preview" | "import");
    if goes_on && choosing.chosen.is_empty() {
        choosing.trouble = Some(html! { "Choose at least one project." });
    }
    if !goes_on || choosing.trouble.is_some() {
        let status = if choosing.trouble.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        return Ok(choosing.page(&state, &caller, status));
    }
    let imports = choosing.chosen.imports(&choosing.here());
    if let Err(status) = choosing.check(&state, &imports).await {
        return Ok(choosing.page(&state, &caller, status));
    }
    let done = if choosing.chosen.act == "preview" {
        choosing.look_ahead(&state, imports).await
    } else {
        let begun = clock::now();
        match take_in(&state, imports).await {
            Ok(()) => {
                let to = address(Step::Import, Some(&choosing.chosen.organization));
                return Ok(Redirect::to(&format!("{to}&since={}", begun.0)).into_response());
            }
            Err((done, problem)) => {
                choosing = choosing.after(&state, done).await;
                Err(problem)
            }
        }
    };
    let status = match done {
        Ok(()) => StatusCode::OK,
        Err(problem) => {
            let detail = format!("{}.", capital(problem.detail().trim_end_matches('.')));
            choosing.trouble = Some(html! { (detail) " What you chose is kept." });
            if problem.status() == StatusCode::CONFLICT { StatusCode::CONFLICT } else { StatusCode::BAD_REQUEST }
        }
    };
    Ok(choosing.page(&state, &caller, status))
}

/// Imports one after the other. An asset that one of them has made is there for the next. With what is wrong come the keys
/// of the projects that were brought in before.
async fn take_in(
    state: &State<Arc<Admin>>,
    imports: Vec<shapes::NewImport>,
) -> Result<(), (BTreeSet<String>, Problem)> {
    let (mut made, mut done): (Vec<String>, _) = (Vec::new(), BTreeSet::new());
    for mut new in imports {
        if let Some(name) = new.new_asset.take_if(|name| made.contains(name)) {
            new.asset = Some(name);
        }
        made.extend(new.new_asset.clone());
        match projects::import(state.clone(), Sent(new)).await {
            Ok((_, Json(list))) => done.extend(list.projects.into_iter().map(|project| project.key)),
            Err(problem) => return Err((done, problem)),
        }
    }
    Ok(())
}

/// The page, and what it is made from.
struct Choosing {
    chosen: Chosen,
    /// All that the token sees, by name.
    seen: Vec<shapes::Project>,
    assets: Vec<String>,
    /// What is wrong with a field, by project and field.
    problems: BTreeMap<(String, &'static str), String>,
    trouble: Option<Markup>,
    /// Projects that came in before one could not.
    brought_in: usize,
    previews: BTreeMap<String, shapes::ProjectPreview>,
}

impl Choosing {
    async fn read(state: &State<Arc<Admin>>, chosen: Chosen) -> Result<Self, Problem> {
        let all = Query(projects::Search::default());
        let mut seen = projects::visible(state.clone(), Path(chosen.organization.clone()), all).await?.0.projects;
        seen.sort_by_cached_key(|project| project.name.to_lowercase());
        let assets = assets::list(state.clone()).await?.0.assets.into_iter().map(|asset| asset.name).collect();
        let (problems, previews) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { chosen, seen, assets, problems, trouble: None, brought_in: 0, previews })
    }

    /// The same after some of what was chosen came in, and some did not: what is here now is not chosen any more.
    async fn after(self, state: &State<Arc<Admin>>, mut done: BTreeSet<String>) -> Self {
        let before = self.here();
        let mut chosen = self.chosen.clone();
        let mut now = match Self::read(state, self.chosen.clone()).await {
            Ok(now) => now,
            // Sonar may be what failed; what is known here is known without it.
            Err(_) => self,
        };
        // An import of many may end half way.
        done.extend(now.here().into_iter().filter(|key| !before.contains(key)));
        for project in now.seen.iter_mut().filter(|project| done.contains(&project.key)) {
            project.imported = true;
        }
        chosen.choices.retain(|key, _| !done.contains(key));
        Self { chosen, brought_in: done.len(), ..now }
    }

    /// Keys of those that are imported already.
    fn here(&self) -> Vec<String> {
        self.seen.iter().filter(|project| project.imported).map(|project| project.key.clone()).collect()
    }

    /// Refuses all before anything is done, with the reason at its field.
    async fn check(&mut self, state: &State<Arc<Admin>>, imports: &[shapes::NewImport]) -> Result<(), StatusCode> {
        let mut status = None;
        for new in imports {
            let wanted = new.clone();
            let Err(problem) = state.run(move |admin| projects::check(admin, &wanted)).await else { continue };
            let field = match problem.field() {
                Some("branches") => "branches",
                Some("repository") => "repository",
                _ => "new-asset",
            };
            let text = match (&new.new_asset, problem.status()) {
                (Some(name), StatusCode::CONFLICT) => {
                    format!("An asset named “{name}” exists. Choose it under Asset, or take another name.")
                }
                _ => format!("{}.", capital(problem.detail())),
            };
            self.problems.extend(new.projects.iter().map(|key| ((key.clone(), field), text.clone())));
            status = Some(problem.status());
        }
        status.map_or(Ok(()), Err)
    }

    async fn look_ahead(&mut self, state: &State<Arc<Admin>>, imports: Vec<shapes::NewImport>) -> Result<(), Problem> {
        for new in imports {
            let found = imports::preview(state.clone(), Sent(new)).await?.0.projects;
            self.previews.extend(found.into_iter().map(|preview| (preview.key.clone(), preview)));
        }
        Ok(())
    }

    fn rows(&self) -> Vec<&shapes::Project> {
        let wanted = self.chosen.search.to_lowercase();
        let fits = |project: &&shapes::Project| {
            (project.name.to_lowercase().contains(&wanted) || project.key.to_lowercase().contains(&wanted))
                && match self.chosen.show.as_str() {
                    "new" => !project.imported,
                    "chosen" => self.chosen.is_chosen(&project.key) || (self.chosen.all && !project.imported),
                    _ => true,
                }
        };
        let mut rows: Vec<_> = self.seen.iter().filter(fits).collect();
        // A field that needs another look is on the page that is shown.
        rows.sort_by_key(|project| !self.problems.keys().any(|(key, _)| *key == project.key));
        rows
    }

    fn page(&self, admin: &Arc<Admin>, caller: &Caller, status: StatusCode) -> Response {
        let rows = self.rows();
        let pages = rows.len().div_ceil(ROWS).max(1);
        let page = self.chosen.page.clamp(1, pages);
        let shown: Vec<_> = rows.iter().skip((page - 1) * ROWS).take(ROWS).copied().collect();
        let organization = self.chosen.organization.as_str();
        let key = organization.split('/').next_back().unwrap_or_default();
        let is_any_here = self.seen.iter().any(|project| project.imported);
        let main = html! {
            (steps(Step::Projects, Some(organization), is_any_here))
            div.head { div {
                h1 { "Choose the projects to bring in" }
                p.sub { "The token sees " (counted(self.seen.len() as u64, "project")) " of " strong { (key) }
                    ". Only security findings come in: vulnerabilities and hotspots." }
            } }
            (self.summary(&shown))
            @if self.seen.is_empty() { (none(organization)) } @else {
                form.stack #projects-form method="post" action="/connect/projects" {
                    input type="hidden" name="organization" value=(organization);
                    input type="hidden" name="page" value=(page);
                    (self.filters())
                    (self.elsewhere(&shown))
                    (self.table(&shown, organization))
                    (pager(page, pages, rows.len()))
                    (self.tray(organization))
                }
            }
        };
        (status, Frame::of(admin, "Choose projects", Here::Elsewhere, caller).page(&main)).into_response()
    }

    fn summary(&self, shown: &[&shapes::Project]) -> Markup {
        let place = |key: &str, field: &str| {
            let index = shown.iter().position(|project| project.key == key).unwrap_or_default();
            format!("#{field}-{index}")
        };
        html! {
            @if let Some(trouble) = &self.trouble {
                (match self.brought_in {
                    0 => summary("Nothing was brought in yet.", trouble),
                    1 => summary("1 project was brought in, the others were not.", trouble),
                    count => summary(&format!("{count} projects were brought in, the others were not."), trouble),
                })
            }
            @else if !self.problems.is_empty() {
                @let count = self.problems.len();
                (summary(if count == 1 { "One field needs another look." } else { "Some fields need another look." }, &html! {
                    "See "
                    @for (index, (key, field)) in self.problems.keys().enumerate() {
                        @if index > 0 { ", " }
                        a href=(place(key, field)) { (self.name(key)) }
                    }
                    ". Everything else you chose is kept."
                }))
            }
        }
    }

    fn name<'a>(&'a self, key: &'a str) -> &'a str {
        self.seen.iter().find(|project| project.key == key).map_or(key, |project| project.name.as_str())
    }

    fn filters(&self) -> Markup {
        let new = self.seen.iter().filter(|project| !project.imported).count();
        html! {
            div.filters role="search" {
                input.in.search #search type="search" name="search" placeholder="Name or key" aria-label="Search projects by name or key"
                    value=(self.chosen.search);
                select.in #show name="show" aria-label="Show" {
                    option value="" { "All " (number(self.seen.len() as u64)) }
                    option value="new" selected[self.chosen.show == "new"] { "Not here yet" }
                    option value="chosen" selected[self.chosen.show == "chosen"] { "Chosen" }
                }
                button.button name="act" value="look" { "Show" }
                @if new > 0 {
                    label.choice.small for="all" {
                        input #all type="checkbox" name="all" checked[self.chosen.all];
                        span { "Select all " (number(new as u64)) " that are not here yet" }
                    }
                }
            }
        }
    }

    /// What is chosen and not among the rows, so that it goes along and can be let go.
    fn elsewhere(&self, shown: &[&shapes::Project]) -> Markup {
        let away: Vec<_> = self.chosen.keys().filter(|key| !shown.iter().any(|project| project.key == *key)).collect();
        html! {
            @if !away.is_empty() {
                fieldset.row.small #elsewhere {
                    legend { "Chosen, and not in the list below" }
                    @for key in away {
                        @let choice = &self.chosen.choices[key];
                        label.choice { input type="checkbox" name="project" value=(key) checked; span { (self.name(key)) } }
                        input type="hidden" name={ "branches:" (key) } value=(choice.branches);
                        @if choice.pull_requests { input type="hidden" name={ "pulls:" (key) } value="on"; }
                        input type="hidden" name={ "asset:" (key) } value=(choice.asset);
                        input type="hidden" name={ "new-asset:" (key) } value=(choice.new_asset);
                        input type="hidden" name={ "repository:" (key) } value=(choice.repository);
                    }
                }
            }
        }
    }

    fn table(&self, shown: &[&shapes::Project], organization: &str) -> Markup {
        html! {
            @if shown.is_empty() {
                section.empty { h2 { "No project matches" }
                    p.soft { "Take another word, or show all." } }
            } @else {
                table.rows.pick role="table" #projects {
                    caption.hide { "Projects of " (organization) }
                    thead role="rowgroup" { tr role="row" {
                        th.tick role="columnheader" scope="col" { span.hide { "Chosen" } }
                        (column("Project"))
                        (column("Here"))
                        (number_column("Comes in"))
                    } }
                    @for (index, project) in shown.iter().enumerate() { (self.row(index, project)) }
                }
            }
        }
    }

    fn row(&self, index: usize, project: &shapes::Project) -> Markup {
        let fresh = Choice {
            branches: project.selected_branches.join(", "),
            pull_requests: project.pull_requests,
            repository: project.repository.clone().unwrap_or_default(),
            asset: project.asset.clone().or_else(|| self.asset_of_that_name(&project.name)).unwrap_or_default(),
            ..Choice::default()
        };
        // What was sent is shown as it was sent, chosen or not.
        let choice = self.chosen.choices.get(&project.key).unwrap_or(&fresh);
        html! {
            tbody role="rowgroup" {
                tr role="row" {
                    td.tick role="cell" { input type="checkbox" name="project" value=(project.key) id={ "project-" (index) } checked[choice.chosen]; }
                    th role="rowheader" scope="row" {
                        label for={ "project-" (index) } { (project.name) }
                        span.under.mono { (project.key) }
                    }
                    td role="cell" {
                        @if project.imported { span.is.ok { "In step" } " " a.small href={ "/findings?project=" (encoded(&project.key)) } { "its findings" } }
                    }
                    td.num role="cell" data-l="Comes in" { (comes_in(self.previews.get(&project.key))) }
                }
                tr.more role="row" { td role="cell" {} td role="cell" colspan="3" { (self.fields(index, project, choice)) } }
            }
        }
    }

    fn asset_of_that_name(&self, name: &str) -> Option<String> {
        self.assets.iter().find(|asset| *asset == name).cloned()
    }

    fn fields(&self, index: usize, project: &shapes::Project, choice: &Choice) -> Markup {
        let key = &project.key;
        let problem = |field: &'static str| self.problems.get(&(key.clone(), field)).map(String::as_str);
        let invalid = |field: &'static str| problem(field).map(|_| "true");
        html! {
            div.pick-fields {
                div.field {
                    label for={ "branches-" (index) } { "Branches" }
                    input.in id={ "branches-" (index) } name={ "branches:" (key) } value=(choice.branches) placeholder="the main branch"
                        aria-invalid=[invalid("branches")] aria-describedby={ "branches-e-" (index) " branches-h-" (index) };
                    (wrong(&format!("branches-e-{index}"), problem("branches")))
                    p.help id={ "branches-h-" (index) } { "Names or patterns, with commas: " code { "main, release/*" } }
                }
                div.field {
                    label for={ "asset-" (index) } { "Asset" }
                    select.in.asset id={ "asset-" (index) } name={ "asset:" (key) } {
                        option.new value="" { "A new asset" }
                        @for asset in &self.assets { option value=(asset) selected[*asset == choice.asset] { (asset) } }
                    }
                }
                div.field.new-asset {
                    label for={ "new-asset-" (index) } { "Name of the new asset" }
                    input.in id={ "new-asset-" (index) } name={ "new-asset:" (key) } value=(choice.new_asset) placeholder=(project.name) maxlength="400"
                        aria-invalid=[invalid("new-asset")] aria-describedby={ "new-asset-e-" (index) };
                    (wrong(&format!("new-asset-e-{index}"), problem("new-asset")))
                }
                div.field {
                    label for={ "repository-" (index) } { "Repository address " span.soft { "(optional)" } }
                    input.in id={ "repository-" (index) } name={ "repository:" (key) } value=(choice.repository) inputmode="url" placeholder="https://"
                        aria-invalid=[invalid("repository")] aria-describedby={ "repository-e-" (index) };
                    (wrong(&format!("repository-e-{index}"), problem("repository")))
                }
                div.field {
                    span.label { "Pull requests" }
                    label.choice for={ "pulls-" (index) } {
                        input type="checkbox" id={ "pulls-" (index) } name={ "pulls:" (key) } checked[choice.pull_requests];
                        span { "Bring them in too" }
                    }
                }
            }
        }
    }

    fn tray(&self, organization: &str) -> Markup {
        html! {
            div.tray {
                p #preview aria-live="polite" {
                    span.chosen-count.soft { "Chosen: " } " "
                    @if self.previews.is_empty() { span.soft { "Nothing comes in before you press Import." } }
                    @else { (self.told_ahead()) }
                }
                div.row {
                    a.button href=(address(Step::Organization, Some(organization))) { "Back" }
                    button.button name="act" value="preview" { "See what comes in" }
                    button.button.first name="act" value="import" { "Import the chosen projects" }
                }
            }
        }
    }

    fn told_ahead(&self) -> Markup {
        let branches = self.previews.values().flat_map(|preview| &preview.branches);
        let (mut passing, mut left_out, mut count, mut unread) = (0, 0, 0, 0);
        for branch in branches {
            count += 1;
            passing += branch.passing;
            left_out += branch.left_out.values().sum::<u64>();
            unread += u64::from(!branch.read);
        }
        let plural = if self.previews.len() == 1 { "brings" } else { "bring" };
        html! {
            (counted(self.previews.len() as u64, "project")) " with " (number(count))
            @if count == 1 { " branch " } @else { " branches " } (plural) " in "
            strong { (counted(passing, "finding")) } "."
            @if left_out > 0 { " " span.soft { (number(left_out)) " more are held back by the organization's filter." } }
            @if unread > 0 { " " span.soft { "Not all could be read to the end, so there may be more." } }
        }
    }
}

fn comes_in(preview: Option<&shapes::ProjectPreview>) -> Markup {
    let Some(preview) = preview else { return html! {} };
    let passing: u64 = preview.branches.iter().map(|branch| branch.passing).sum();
    html! {
        @match &preview.error {
            Some(error) => { span.is.bad { (error) } }
            None => {
                (number(passing))
                span.under {
                    @if let [only] = preview.branches.as_slice() { (only.name) }
                    @else { (number(preview.branches.len() as u64)) " branches" }
                    @if preview.asset_is_new { " · new asset " } @else { " · asset " } (preview.asset)
                }
            }
        }
    }
}

fn none(organization: &str) -> Markup {
    html! {
        section.empty {
            h2 { "The token sees no project here" }
            p.soft { "Give its user the permission " strong { "Browse" } " on the projects in Sonar, then look again." }
            div.row {
                a.button href=(address(Step::Organization, Some(organization))) { "Back" }
                a.button href=(address(Step::Projects, Some(organization))) { "Look again" }
            }
        }
    }
}

fn pager(page: usize, pages: usize, rows: usize) -> Markup {
    let first = (page - 1) * ROWS + 1;
    html! {
        @if pages > 1 {
            nav.pager aria-label="Pages" {
                span { (first) "–" (rows.min(page * ROWS)) " of " (number(rows as u64)) }
                @if page > 1 { button.button.little name="act" value={ "page-" (page - 1) } { "Former" } }
                @if page < pages { button.button.little name="act" value={ "page-" (page + 1) } { "Next" } }
            }
        }
    }
}

/// Rows of one page.
const ROWS: usize = 25;
