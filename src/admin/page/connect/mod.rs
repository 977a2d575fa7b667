//! Setting up, in six steps that each have an address of their own: source, organization, projects, import, webhook,
//! destinations. What was chosen stands in the address, so that every step can be left, come back to and sent on; nothing
//! is kept for a visitor. The same steps serve for a second source or organization.

mod chosen;
mod import;
mod projects;
mod source;
mod welcome;

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

pub(super) use self::import::show as show_import;
pub(super) use self::projects::{act as choose_projects, show as show_projects};
pub(super) use self::source::{add as add_source, show as show_source};
pub(super) use self::welcome::welcome;
use super::destinations::platform;
use super::frame::{Frame, Here};
use super::marks::{actions_column, column};
use super::webhooks;
use super::words::encoded;
use crate::admin::answers::Query;
use crate::admin::webhooks as hooks;
use crate::admin::{Admin, Problem, destinations, projects as imported, settings, shapes, sources, views};
use crate::domain::access::Caller;
use crate::domain::settings::PUBLIC_URL;

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Source,
    Organization,
    Projects,
    Import,
    Webhook,
    Destinations,
}

const STEPS: [(Step, &str, &str); 6] = [
    (Step::Source, "source", "Source"),
    (Step::Organization, "organization", "Organization"),
    (Step::Projects, "projects", "Projects"),
    (Step::Import, "import", "Import"),
    (Step::Webhook, "webhook", "Webhook"),
    (Step::Destinations, "destinations", "Destinations"),
];

/// What was chosen up to now, as the address says it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct At {
    #[serde(default)]
    source: String,
    /// `SOURCE/ORG`, or the organization's key alone beside a source.
    #[serde(default)]
    organization: String,
}

impl At {
    /// The organization in its long form, if one was chosen.
    pub(super) fn organization(&self) -> Option<String> {
        match (self.organization.trim(), self.source.as_str()) {
            ("", _) => None,
            (long, _) if long.contains('/') => Some(long.to_owned()),
            (key, "") => Some(key.to_owned()),
            (key, source) => Some(format!("{source}/{key}")),
        }
    }

    fn source(&self) -> &str {
        match self.organization.split_once('/') {
            Some((source, _)) => source,
            None => &self.source,
        }
    }
}

/// The address of a step.
pub(super) fn address(step: Step, organization: Option<&str>) -> String {
    let name = STEPS.iter().find(|(known, ..)| *known == step).map_or("source", |(_, name, _)| name);
    match organization {
        Some(organization) if step == Step::Organization => {
            let source = organization.split('/').next().unwrap_or_default();
            format!("/connect/{name}?source={}", encoded(source))
        }
        Some(organization) if step != Step::Source => {
            format!("/connect/{name}?organization={}", encoded(organization))
        }
        _ => format!("/connect/{name}"),
    }
}

/// The line of steps. Those before are done; those after can be gone to once there is something to see.
pub(super) fn steps(here: Step, organization: Option<&str>, ahead: bool) -> Markup {
    html! {
        nav aria-label="Set-up" { ol.steps {
            @for (step, _, title) in STEPS {
                @if step == here {
                    li aria-current="step" { span { (title) } }
                } @else if step < here {
                    li.done { a href=(address(step, organization)) { (title) span.hide { ", done" } } }
                } @else if ahead && organization.is_some() {
                    li { a href=(address(step, organization)) { (title) } }
                } @else {
                    li { span { (title) } }
                }
            }
        } }
    }
}

/// A summary on top of a form, which leads to the field that is wrong.
pub(super) fn summary(title: &str, inside: &Markup) -> Markup {
    html! {
        div.notice.boxed.bad #summary role="alert" tabindex="-1" {
            span.is.bad { span.hide { "Error" } }
            div { p { strong { (title) } } p { (inside) } }
        }
    }
}

/// Whether projects can be brought in of a source: not of a fleet, and not of what another site's box reads.
pub(super) fn reads_sonar(source: &shapes::Source) -> bool {
    source.site.is_none() && source.kind != "fleet"
}

/// `GET /connect`: where one is in all this.
pub(super) async fn begin(state: State<Arc<Admin>>) -> Result<Response, Problem> {
    let mut known = sources::list(state).await?.0.sources;
    known.retain(reads_sonar);
    Ok(match known.as_slice() {
        [one] => Redirect::to(&format!("/connect/organization?source={}", encoded(&one.name))).into_response(),
        _ => Redirect::to("/connect/source").into_response(),
    })
}

/// `GET /connect/organization`.
pub(super) async fn organization(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Query(at): Query<At>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let source = at.source().to_owned();
    let known = sources::list(state.clone()).await?.0.sources;
    let Some(of) = known.iter().find(|known| known.name == source && reads_sonar(known)) else {
        return Ok(Redirect::to("/connect/source").into_response());
    };
    let seen = sources::organizations(state, Query(sources::OfSource::named(&source))).await?.0.organizations;
    // A Server counts as one organization: there is nothing to choose.
    if let ("server", [one]) = (of.kind.as_str(), seen.as_slice()) {
        let organization = format!("{}/{}", one.source, one.key);
        return Ok(Redirect::to(&address(Step::Projects, Some(&organization))).into_response());
    }
    let chosen = at.organization();
    let main = html! {
        (steps(Step::Organization, chosen.as_deref(), false))
        div.head { div {
            h1 { "Choose an organization" }
            p.sub { "The token of " strong { (source) } " is right. " (of.url) " shows it "
                @match seen.len() { 0 => "no organization", 1 => "one organization", _ => "these organizations" } "." }
        } }
        (organization_list(&seen))
        @if seen.is_empty() { (organization_by_key(&source)) }
        div.tray { p.soft.spare { "Others can be added at any time." }
            div.row { a.button href="/connect/source" { "Back" }
                form method="post" action="/connect/organization" {
                    input type="hidden" name="source" value=(source);
                    button.button { "Ask Sonar again" }
                } } }
    };
    Ok(Frame::of(&admin, "Choose an organization", Here::Elsewhere, &caller).page(&main))
}

fn organization_list(seen: &[shapes::Organization]) -> Markup {
    html! {
        @if !seen.is_empty() {
            table.rows role="table" #organizations {
                caption.hide { "Organizations" }
                thead role="rowgroup" { tr role="row" {
                    (column("Organization"))
                    (actions_column())
                } }
                tbody role="rowgroup" {
                    @for one in seen {
                        @let next = address(Step::Projects, Some(&format!("{}/{}", one.source, one.key)));
                        tr role="row" {
                            th role="rowheader" scope="row" { a href=(next) { (one.name) } span.under.mono { (one.key) } }
                            td.act role="cell" {
                                a.button.little href=(next) { "Choose" span.hide { " " (one.name) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Cloud need not list an organization for its projects to be seen.
fn organization_by_key(source: &str) -> Markup {
    html! {
        section.empty {
            h2 { "Sonar lists no organization to this token" }
            p.soft { "Its user may have been added to none. If you know that it may read one, give its key: it stands in the \
                address of its page, after " code { "organizations/" } "." }
        }
        form.row method="get" action="/connect/projects" {
            input type="hidden" name="source" value=(source);
            div.field {
                label for="organization-key" { "Key of the organization" }
                input.in.mono #organization-key name="organization" required maxlength="400" autocapitalize="none" spellcheck="false";
            }
            button.button.first { "Show its projects" }
        }
    }
}

/// `POST /connect/organization`: asks Sonar anew.
pub(super) async fn ask_again(state: State<Arc<Admin>>, axum::Form(at): axum::Form<At>) -> Result<Response, Problem> {
    let to = format!("/connect/organization?source={}", encoded(&at.source));
    let axum::Json(_) = sources::check(state, axum::extract::Path(at.source)).await?;
    Ok(Redirect::to(&to).into_response())
}

/// The organization that the address names, in its long form and as it is known.
pub(super) async fn named(admin: &Arc<Admin>, at: &At) -> Result<Option<String>, Problem> {
    let Some(text) = at.organization() else { return Ok(None) };
    let found = admin.read(move |_, view| views::organization(view, &text)).await?;
    Ok(Some(found.to_string()))
}

/// Whether somebody has said at which address Sonar reaches this box.
pub(super) async fn is_reached(admin: &Arc<Admin>) -> Result<bool, Problem> {
    let settings = settings::list(State(Arc::clone(admin))).await?.0.settings;
    let is_set = settings.iter().any(|setting| setting.key == PUBLIC_URL && setting.value.is_some());
    Ok(admin.public_url.is_some() || is_set)
}

/// The projects of an organization that are here already.
pub(super) async fn here(admin: &Arc<Admin>, organization: &str) -> Result<Vec<shapes::Project>, Problem> {
    let all = imported::list(State(Arc::clone(admin))).await?.0.projects;
    let is_of = |project: &shapes::Project| format!("{}/{}", project.source, project.organization) == organization;
    Ok(all.into_iter().filter(is_of).collect())
}

/// `GET /connect/webhook`.
pub(super) async fn webhook(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Query(at): Query<At>,
) -> Result<Response, Problem> {
    let Some(organization) = named(&state, &at).await? else { return Ok(Redirect::to("/connect").into_response()) };
    webhooks::page(
        &state,
        &caller,
        webhooks::Whose { organization, project: None, setting_up: true },
        webhooks::News::None,
    )
    .await
}

/// `GET /connect/destinations`.
pub(super) async fn show_destinations(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Query(at): Query<At>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let organization = named(&admin, &at).await?;
    let known = destinations::list(state.clone()).await?.0.destinations;
    let has_called = match &organization {
        Some(organization) => {
            let of = Query(hooks::Of::default());
            hooks::show(state, axum::extract::Path(organization.clone()), of).await?.0.last_delivery_at.is_some()
        }
        None => true,
    };
    let main = html! {
        (steps(Step::Destinations, organization.as_deref(), true))
        div.head { div {
            h1 { "Pass findings on" }
            p.sub { "To DefectDojo, Conviso, GitHub, a folder of SARIF files, NATS, or anything that takes signed events. This can wait: \
                a destination that comes later is told everything that is open." }
        } }
        @if known.is_empty() {
            section.empty { h2 { "No destinations yet" } p.soft { "Findings stay on this box until there is one." } }
        } @else {
            dl.facts { @for one in &known { dt { (one.name) } dd { (platform(&one.kind)) } } }
        }
        @if !has_called {
            p.soft #first-call data-live { "Sonar has not called yet. Until it does, this box looks for itself; "
                a href=(address(Step::Webhook, organization.as_deref())) { "the webhook" } "." }
        }
        div.tray { p.soft.spare { "Everything chosen so far is kept." }
            div.row {
                a.button href=(address(Step::Webhook, organization.as_deref())) { "Back" }
                a.button href="/destinations/add" { @if known.is_empty() { "Add a destination" } @else { "Add another destination" } }
                a.button.first href="/" { "Finish" }
            } }
    };
    Ok(Frame::of(&admin, "Pass findings on", Here::Elsewhere, &caller).page(&main))
}
