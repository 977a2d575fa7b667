//! A webhook's page: what to enter in Sonar and where, or to have it entered; a test of the way; Sonar's first call. It is
//! a step of the set-up, and stands on its own for each organization.

mod secrets;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use maud::{Markup, html};
use serde::Deserialize;

use super::certificate::told as way_told;
use super::connect::{Step, address, steps, summary};
use super::frame::{Frame, Here, wrong};
use super::marks::column;
use super::words::{capital, encoded, when_told};
use crate::admin::answers::{Query, Sent};
use crate::admin::webhooks::{self as hooks, Of};
use crate::admin::{Admin, Problem, projects, settings, shapes, sources};
use crate::domain::access::{Caller, Role};
use crate::domain::secret::SecretText;
use crate::domain::settings::PUBLIC_URL;
use crate::domain::time::Timestamp;
use crate::sys::clock;

/// Whose webhook is shown, and whether as a step of the set-up.
#[derive(Debug, Clone)]
pub(super) struct Whose {
    /// `SOURCE/ORG`.
    pub(super) organization: String,
    pub(super) project: Option<String>,
    pub(super) setting_up: bool,
}

/// What the page says that it would not say by itself.
pub(super) enum News {
    None,
    /// The secret, which somebody asked for just now.
    Secret(SecretText),
    /// Why Sonar was not told.
    NotRegistered(Problem),
    /// A new secret that a person has to enter, and why.
    Rotated(Box<shapes::WebhookRotation>),
    /// An address that was typed, and what is wrong with it.
    Address(String, String),
    /// What is wrong with the span for which the former secret is to be taken.
    Overlap(String),
}

/// What goes along with every form of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Along {
    project: String,
    /// Anything, where the page is a step of the set-up.
    step: String,
    /// What was typed, in the form of the address.
    address: String,
    /// Hours for which the former secret stays valid.
    overlap: String,
}

impl Whose {
    fn of((source, organization): (String, String), along: &Along) -> Self {
        let project = Some(along.project.clone()).filter(|project| !project.is_empty());
        Self { organization: format!("{source}/{organization}"), project, setting_up: !along.step.is_empty() }
    }

    fn own(&self) -> (Path<String>, Query<Of>) {
        (Path(self.organization.clone()), Query(Of { project: self.project.clone() }))
    }

    /// Where the page is.
    fn address(&self) -> String {
        if self.setting_up {
            return address(Step::Webhook, Some(&self.organization));
        }
        let project = self.project.as_deref().map(|project| format!("?project={}", encoded(project)));
        format!("{}{}", self.base(), project.unwrap_or_default())
    }

    fn base(&self) -> String {
        let (source, organization) = self.organization.split_once('/').unwrap_or_default();
        format!("/webhooks/{}/{}", encoded(source), encoded(organization))
    }

    /// A form's address, and what goes along with it.
    fn form(&self, what: &str, inside: &Markup) -> Markup {
        html! {
            form.row method="post" action={ (self.base()) "/" (what) } id={ "webhook-" (what) } {
                @if let Some(project) = &self.project { input type="hidden" name="project" value=(project); }
                @if self.setting_up { input type="hidden" name="step" value="webhook"; }
                (inside)
            }
        }
    }
}

type Place = Path<(String, String)>;

/// `GET /webhooks`.
pub(super) async fn list(state: State<Arc<Admin>>, Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let mut all = projects::list(state).await?.0.projects;
    // Sonar calls the boxes that read it.
    all.retain(|project| project.site.is_none());
    let organizations: BTreeSet<_> = all.iter().map(|one| (one.source.as_str(), one.organization.as_str())).collect();
    let main = html! {
        div.head { div { h1 { "Webhooks" } p.sub { "One for each organization lets Sonar call this box after every analysis. A project may have one of its own, where only its administrator can help." } } }
        @if organizations.is_empty() {
            section.empty { h2 { "No organizations yet" } p.soft { "They appear here with their first project." } }
        } @else {
            table.rows role="table" {
                caption.hide { "Webhooks" }
                thead role="rowgroup" { tr role="row" {
                    (column("Organization")) (column("Of one project"))
                } }
                tbody role="rowgroup" { @for (source, organization) in organizations {
                    @let base = format!("/webhooks/{}/{}", encoded(source), encoded(organization));
                    tr role="row" {
                        th role="rowheader" scope="row" { a href=(base) { (organization) } @if source != organization { span.under { (source) } } }
                        td.full role="cell" {
                            @for (index, project) in all.iter().filter(|one| one.source == source && one.organization == organization).enumerate() {
                                @if index > 0 { ", " }
                                a href={ (base) "?project=" (encoded(&project.key)) } { (project.name) }
                            }
                        }
                    }
                } }
            }
        }
    };
    Ok(Frame::of(&admin, "Webhooks", Here::Projects, &caller).page(&main))
}

/// `GET /webhooks/{source}/{organization}`.
pub(super) async fn show(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(place): Place,
    Query(of): Query<Of>,
) -> Result<Response, Problem> {
    let along = Along { project: of.project.unwrap_or_default(), ..Along::default() };
    page(&state, &caller, Whose::of(place, &along), News::None).await
}

/// `POST …/address`.
pub(super) async fn set_address(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(place): Place,
    Form(along): Form<Along>,
) -> Result<Response, Problem> {
    let whose = Whose::of(place, &along);
    let value = Some(along.address.trim().to_owned()).filter(|address| !address.is_empty());
    let new = shapes::NewValue { value };
    match settings::set(state.clone(), Path(PUBLIC_URL.to_owned()), Sent(new)).await {
        Ok(_) => Ok(Redirect::to(&whose.address()).into_response()),
        Err(problem) if problem.status() == StatusCode::BAD_REQUEST => {
            let detail = problem.detail();
            let text = format!("It {}.", detail.strip_prefix("public-url ").unwrap_or(detail));
            let news = News::Address(along.address, text);
            Ok((StatusCode::BAD_REQUEST, page(&state, &caller, whose, news).await?).into_response())
        }
        Err(problem) => Err(problem),
    }
}

/// `POST …/reveal`: the page with the secret in it. It is in no address and in no history.
pub(super) async fn reveal(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(place): Place,
    Form(along): Form<Along>,
) -> Result<Response, Problem> {
    let whose = Whose::of(place, &along);
    let (path, of) = whose.own();
    let secret = hooks::reveal(state.clone(), path, of).await?.0.secret.unwrap_or_default();
    page(&state, &caller, whose, News::Secret(secret)).await
}

/// `POST …/register`.
pub(super) async fn register(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(place): Place,
    Form(along): Form<Along>,
) -> Result<Response, Problem> {
    let whose = Whose::of(place, &along);
    let (path, of) = whose.own();
    told(&state, &caller, whose, hooks::register::register(state.clone(), path, of).await.map(drop)).await
}

/// `POST …/unregister`.
pub(super) async fn unregister(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(place): Place,
    Form(along): Form<Along>,
) -> Result<Response, Problem> {
    let whose = Whose::of(place, &along);
    let (path, of) = whose.own();
    told(&state, &caller, whose, hooks::register::unregister(state.clone(), path, of).await.map(drop)).await
}

/// `POST …/rotate`.
pub(super) async fn rotate(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Path(place): Place,
    Form(along): Form<Along>,
) -> Result<Response, Problem> {
    let whose = Whose::of(place, &along);
    let (path, of) = whose.own();
    let overlap_hours = match along.overlap.trim() {
        "" => None,
        typed => match typed.parse() {
            Ok(hours) => Some(hours),
            Err(_) => return not_rotated(&state, &caller, whose, "It is not a number of hours.").await,
        },
    };
    match hooks::rotate::rotate(state.clone(), path, of, Sent(shapes::NewRotation { overlap_hours })).await {
        Err(problem) if problem.field() == Some("overlap_hours") => {
            let text = format!("{}.", capital(problem.detail()));
            not_rotated(&state, &caller, whose, &text).await
        }
        Ok(Json(done)) if done.problem.is_some() => page(&state, &caller, whose, News::Rotated(Box::new(done))).await,
        done => told(&state, &caller, whose, done.map(drop)).await,
    }
}

async fn not_rotated(admin: &Arc<Admin>, caller: &Caller, whose: Whose, text: &str) -> Result<Response, Problem> {
    let page = page(admin, caller, whose, News::Overlap(text.to_owned())).await?;
    Ok((StatusCode::BAD_REQUEST, page).into_response())
}

async fn told(
    admin: &Arc<Admin>,
    caller: &Caller,
    whose: Whose,
    done: Result<(), Problem>,
) -> Result<Response, Problem> {
    match done {
        Ok(()) => Ok(Redirect::to(&format!("{}#registered", whose.address())).into_response()),
        Err(problem) if matches!(problem.status(), StatusCode::CONFLICT | StatusCode::BAD_GATEWAY) => {
            let page = page(admin, caller, whose, News::NotRegistered(problem)).await?;
            Ok((StatusCode::CONFLICT, page).into_response())
        }
        Err(problem) => Err(problem),
    }
}

/// `POST …/test`: what it found stands on the page until there is a newer one.
pub(super) async fn test(
    state: State<Arc<Admin>>,
    Path(place): Place,
    Form(along): Form<Along>,
) -> Result<Response, Problem> {
    let whose = Whose::of(place, &along);
    let (path, of) = whose.own();
    let Json(_) = hooks::test::test(state, path, of).await?;
    Ok(Redirect::to(&format!("{}#test", whose.address())).into_response())
}

/// The page.
pub(super) async fn page(admin: &Arc<Admin>, caller: &Caller, whose: Whose, news: News) -> Result<Response, Problem> {
    let (path, of) = whose.own();
    let webhook = hooks::show(State(Arc::clone(admin)), path, of).await?.0;
    let source =
        sources::list(State(Arc::clone(admin))).await?.0.sources.into_iter().find(|one| one.name == webhook.source);
    let here = if whose.setting_up { Here::Elsewhere } else { Here::Projects };
    let own = whose.address();
    let shown = Shown {
        cloud: source.as_ref().is_some_and(|source| source.kind == "cloud"),
        fixed: admin.public_url.is_some() || source.is_some_and(|source| source.webhook_url.is_some()),
        now: clock::now(),
        role: caller.role(),
        webhook,
        whose,
        news,
    };
    Ok(Frame::of(admin, "Connect the webhook", here, caller).at(own).page(&shown.main()))
}

struct Shown {
    whose: Whose,
    webhook: shapes::Webhook,
    cloud: bool,
    /// Whether the address was given where the page cannot change it.
    fixed: bool,
    now: Timestamp,
    role: Role,
    news: News,
}

impl Shown {
    fn main(&self) -> Markup {
        let webhook = &self.webhook;
        html! {
            @if self.whose.setting_up { (steps(Step::Webhook, Some(&self.whose.organization), true)) }
            div.head { div {
                h1 { "Let SonarQube call this box" }
                p.sub { @match &webhook.project {
                    Some(project) => { "For the project " strong { (project) } " alone. " }
                    None => { "Once, for the whole " @if self.cloud { "organization " strong { (webhook.organization) } } @else { "Server" } ". " }
                } "After that each analysis shows up here within seconds. Without it, this box looks every " (webhook.poll_minutes) " minutes." }
                @if self.role < Role::Operator { p.sub { "You may look; an admin can change this." } }
            } }
            @if webhook.listening {
                (self.trouble())
                (self.address())
                (way_told(&webhook.way))
                div.cols.wide {
                    div.stack.loose { (self.by_hand()) (self.for_me()) (self.secrets()) }
                    (self.tests())
                }
            } @else {
                section.empty {
                    h2 { "This box takes no webhooks" }
                    p.soft { "It was started with " code { "--webhook-listen off" } ". Sonar is asked every " (webhook.poll_minutes)
                        " minutes instead, and the results are the same; nothing is to be entered there." }
                }
            }
            @if self.whose.setting_up {
                div.tray { p.soft.spare { "You need not wait for anything here." }
                    div.row {
                        a.button href=(address(Step::Import, Some(&self.whose.organization))) { "Back" }
                        a.button.first href=(address(Step::Destinations, Some(&self.whose.organization))) { "Next: destinations" }
                    } }
            }
        }
    }

    fn trouble(&self) -> Markup {
        html! {
            @match &self.news {
                News::NotRegistered(problem) => {
                    (summary(&format!("Sonar was not told: {}.", problem.detail()), &html! {
                        (capital(problem.hint().unwrap_or("try again in a moment"))) "."
                    }))
                }
                News::Rotated(done) => { (secrets::by_hand(done)) }
                News::Address(_, text) => {
                    (summary("One field needs another look.", &html! { a href="#public-url" { "Public address" } ": " (text) }))
                }
                News::Overlap(text) => {
                    (summary("One field needs another look.", &html! { a href="#overlap" { "Take the former one" } ": " (text) }))
                }
                _ => {}
            }
        }
    }

    /// Where this box is reached, which only a person can know.
    fn address(&self) -> Markup {
        let (typed, problem) = match &self.news {
            News::Address(typed, text) => (typed.as_str(), Some(text.as_str())),
            _ => ("", None),
        };
        let known = self.webhook.url.split("/hooks/").next().unwrap_or_default();
        let value = if problem.is_some() || !self.webhook.address_known { typed } else { known };
        let field = html! {
            div.field {
                label for="public-url" { "Public address" }
                input.in #public-url name="address" type="url" inputmode="url" placeholder="https://hooks.example.com" value=(value)
                    aria-invalid=[problem.map(|_| "true")] aria-describedby="public-url-e";
                (wrong("public-url-e", problem))
            }
            button.button { "Save address" }
        };
        html! {
            @if self.role == Role::Admin && !self.fixed {
                @if !self.webhook.address_known || problem.is_some() {
                    div.notice.boxed #address { span.is.warn { span.hide { "Warning" } }
                        div.stack {
                            p { strong { "At which address does Sonar reach this box?" } }
                            p { "Only you can know: the name of a proxy, tunnel or router that leads here, to port " (self.port())
                                ". SonarQube Cloud needs one that the whole internet reaches. Until you say it, the URL below is a guess." }
                            (self.whose.form("address", &field))
                        } }
                } @else {
                    details #address { summary { "Sonar reaches this box at " strong { (known) } }
                        (self.whose.form("address", &field)) }
                }
            }
        }
    }

    fn port(&self) -> &str {
        // The guess is the listener's own address.
        let rest = self.webhook.url.split("/hooks/").next().unwrap_or_default();
        rest.rsplit(':').next().filter(|port| port.bytes().all(|byte| byte.is_ascii_digit())).unwrap_or("8443")
    }

    fn by_hand(&self) -> Markup {
        let webhook = &self.webhook;
        html! {
            section.stack {
                div.ends { h2 { "By hand in " @if self.cloud { "SonarQube Cloud" } @else { "SonarQube Server" } }
                    a href=(webhook.page) rel="noreferrer" { "Open the page in Sonar ↗" } }
                ol.flow {
                    li { (self.where_to()) }
                    li { p { "Press " strong { "Create" } "." } }
                    li {
                        p { "Paste these three into the form." }
                        (copy("Name", "webhook-name", &webhook.name))
                        (copy("URL", "webhook-url", &webhook.url))
                        (self.secret())
                    }
                    li { p { "Press " strong { "Create" } " once more, come back and run the test." } }
                }
            }
        }
    }

    fn where_to(&self) -> Markup {
        let webhook = &self.webhook;
        html! { p {
            @match (&webhook.project, self.cloud) {
                (Some(project), _) => { "Open the project " strong { (project) } ", then " strong { "Project Settings" } ", then " strong { "Webhooks" }
                    ". You need the right to administer the project." }
                (None, true) => { "Open " strong { (webhook.organization) } ", then " strong { "Administration" } ", then " strong { "Webhooks" }
                    ". You need the right to administer the organization." }
                (None, false) => { "Open " strong { "Administration" } ", then " strong { "Configuration" } ", then " strong { "Webhooks" }
                    ". You need the right to administer the Server." }
            }
        } }
    }

    fn secret(&self) -> Markup {
        html! {
            @if self.role == Role::Admin {
                @if let News::Secret(secret) = &self.news {
                    (copy("Secret", "webhook-secret", secret))
                } @else {
                    div.field { span.label { "Secret" }
                        div.copy { code #webhook-secret { "••••••••••••••••" }
                            (self.whose.form("reveal", &html! { button.button { "Reveal" span.hide { " the secret" } } })) } }
                }
                p.help { "Revealing it is noted in the audit log. Whoever knows it can ask this box to look at Sonar again, and nothing more." }
            } @else {
                div.field { span.label { "Secret" } p.soft { "An admin can reveal it." } }
            }
        }
    }

    fn for_me(&self) -> Markup {
        let right = match (&self.webhook.project, self.cloud) {
            (Some(_), _) => "Administer",
            (None, true) => "Administer Organization",
            (None, false) => "Administer System",
        };
        html! {
            @if self.role == Role::Admin {
                section.stack #registered { h2 { "Or let this box do it" }
                    @if self.webhook.registered {
                        p { span.is.ok { "This box has registered it in Sonar." } }
                        div.row {
                            (self.whose.form("register", &html! { button.button { "Register it again" } }))
                            (self.whose.form("unregister", &html! { button.button.plain { "Take it away from Sonar" } }))
                        }
                    } @else {
                        p.soft { "It creates the same webhook through Sonar’s Web API. The token needs the permission " q { (right) } "; without it Sonar refuses, and nothing happens." }
                        (self.whose.form("register", &html! { button.button { "Register it for me" } }))
                    }
                }
            }
        }
    }

    fn tests(&self) -> Markup {
        let test = self.webhook.last_test.as_ref();
        html! {
            section.stack #test aria-labelledby="test-h" {
                div.ends { h2 #test-h { "Test" }
                    @if let Some(test) = test { span.soft.small { (when_told(Some(&test.at), self.now)) } } }
                @match test {
                    Some(test) => { (outcome(test)) }
                    None => { p.soft { "This box sends itself a signed call through the public address, and says how far it comes. It changes nothing." } }
                }
                @if self.role >= Role::Operator {
                    (self.whose.form("test", &html! { button.button { @if test.is_some() { "Test again" } @else { "Test the way" } } }))
                }
                (self.first_call())
            }
        }
    }

    /// What only Sonar can show.
    fn first_call(&self) -> Markup {
        html! {
            div #first-call data-live { @match &self.webhook.last_delivery_at {
                Some(at) => { div.notice.boxed.good { span.is.ok { span.hide { "Arrived" } }
                    div { p { strong { "Sonar calls this box." } } p { "Its last call came " (when_told(Some(at), self.now)) ". "
                        a href="/deliveries" { "All calls" } } } } }
                None => { div.notice.boxed { span.is.wait { span.hide { "Waiting" } }
                    div { p { strong { "Waiting for Sonar’s own first call." } }
                        p { "Start any analysis. This line turns green by itself when the call arrives; you need not wait for it." } } } }
            } }
        }
    }
}

fn outcome(test: &shapes::WebhookTest) -> Markup {
    let tone = match test.result.as_str() {
        "arrived" => "ok",
        "failed" => "bad",
        _ => "none",
    };
    html! {
        div.stack role="status" {
            p { span.{ "is " (tone) } { strong { (test.text) } } }
            ol.log { @for hop in &test.hops {
                @let (tone, word) = match hop.state.as_str() {
                    "ok" => ("ok", "works"),
                    "warning" => ("warn", "works, but"),
                    "failed" => ("bad", "fails"),
                    _ => ("none", "not known"),
                };
                li.(tone) { span.hide { (word) ": " } (hop.text) span.when { (hop.milliseconds) " ms" } }
            } }
            @if let Some(remedy) = &test.remedy { p.soft { (remedy) } }
        }
    }
}

/// A text to be copied.
fn copy(label: &str, id: &str, text: &str) -> Markup {
    html! {
        div.field { span.label { (label) }
            div.copy { code id=(id) { (text) }
                button.button.script type="button" data-copy=(id) aria-label={ "Copy the " (label.to_lowercase()) } { "Copy" } } }
    }
}
