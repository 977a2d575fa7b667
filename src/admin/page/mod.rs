//! The local page: HTML from the same answers that the API gives, read without script, with a little script for what is
//! nicer with it. Every page is whole when it is sent; nothing is fetched from anywhere else.

mod assets;
mod certificate;
mod chart;
mod connect;
mod deliveries;
mod destinations;
mod doctor;
mod error;
mod fields;
mod files;
mod finding;
mod findings;
mod fleet;
mod frame;
mod marks;
mod news;
mod overview;
mod people;
mod projects;
mod prose;
mod settings;
mod sign;
mod webhooks;
mod words;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Redirect, Response};
use axum::routing::{MethodFilter, get};

pub(super) use self::error::nowhere;
use super::Admin;
use super::guard::{self, Despite};
use super::handlers::Routed;
use crate::domain::access::Role;

/// One page, or one thing that a page's form does.
struct Place {
    method: Method,
    path: &'static str,
    /// The least that somebody must be; none where anybody may.
    role: Option<Role>,
    /// What it does, as the audit log shows it.
    what: &'static str,
    /// What it is done in spite of.
    despite: Despite,
    route: axum::routing::MethodRouter<Arc<Admin>>,
}

fn place<How, Args>(
    role: impl Into<Option<Role>>,
    method: &Method,
    path: &'static str,
    handler: impl Routed<How, Args>,
    what: &'static str,
) -> Place {
    let filter = MethodFilter::try_from(method.clone()).expect("the methods of the table are ordinary ones");
    Place {
        method: method.clone(),
        path,
        role: role.into(),
        what,
        despite: Despite::Nothing,
        route: handler.route(filter),
    }
}

impl Place {
    fn despite(self, despite: Despite) -> Self {
        Self { despite, ..self }
    }
}

/// All pages, and what their forms do.
fn places() -> Vec<Place> {
    const GET: &Method = &Method::GET;
    const POST: &Method = &Method::POST;
    use Role::{Admin, Operator, Viewer};
    vec![
        place(None, GET, "/sign-in", sign::show, "Show the sign-in page"),
        place(None, POST, "/sign-in", sign::sign_in, "Log in").despite(Despite::Lock),
        place(None, GET, "/setup", sign::welcome, "Show the page of the one-time code"),
        place(None, POST, "/setup", sign::choose, "Choose a password with a one-time code"),
        place(None, POST, "/sign-out", sign::sign_out, "Log out").despite(Despite::Lock),
        place(Viewer, GET, "/", overview::show, "Show the overview"),
        place(Admin, GET, "/connect", connect::begin, "Show the set-up"),
        place(Admin, GET, "/connect/source", connect::show_source, "Show the set-up"),
        place(Admin, POST, "/connect/source", connect::add_source, "Connect a source"),
        place(Admin, GET, "/connect/organization", connect::organization, "Show the set-up"),
        place(Admin, POST, "/connect/organization", connect::ask_again, "Check a source"),
        place(Admin, GET, "/connect/projects", connect::show_projects, "Show the set-up"),
        place(Admin, POST, "/connect/projects", connect::choose_projects, "Choose and import projects"),
        place(Admin, GET, "/connect/import", connect::show_import, "Show the set-up"),
        place(Admin, GET, "/connect/webhook", connect::webhook, "Show the set-up"),
        place(Admin, GET, "/connect/destinations", connect::show_destinations, "Show the set-up"),
        place(Viewer, GET, "/webhooks", webhooks::list, "List webhooks"),
        place(Viewer, GET, "/webhooks/{source}/{organization}", webhooks::show, "Show a webhook's address"),
        place(
            Admin,
            POST,
            "/webhooks/{source}/{organization}/address",
            webhooks::set_address,
            "Say at which address Sonar reaches this box",
        ),
        place(
            Admin,
            POST,
            "/webhooks/{source}/{organization}/reveal",
            webhooks::reveal,
            "Show a webhook's address and secret",
        ),
        place(
            Admin,
            POST,
            "/webhooks/{source}/{organization}/register",
            webhooks::register,
            "Register a webhook in Sonar",
        ),
        place(
            Admin,
            POST,
            "/webhooks/{source}/{organization}/unregister",
            webhooks::unregister,
            "Take a webhook away from Sonar",
        ),
        place(Admin, POST, "/webhooks/{source}/{organization}/rotate", webhooks::rotate, "Give a webhook a new secret"),
        place(Operator, POST, "/webhooks/{source}/{organization}/test", webhooks::test, "Test the way of a webhook"),
        place(Viewer, GET, "/findings", findings::list, "List findings"),
        place(Viewer, GET, "/findings/{id}", finding::show, "Show a finding"),
        place(Operator, POST, "/findings/{id}/triage", finding::decided, "Decide about a finding"),
        place(Operator, POST, "/findings/triage", findings::decide, "Decide about findings"),
        place(Viewer, GET, "/projects", projects::list, "List imported projects"),
        place(Operator, POST, "/sync", projects::sync, "Read Sonar now"),
        place(Viewer, GET, "/projects/{organization}/{key}", projects::one::show, "Show a project"),
        place(
            Admin,
            POST,
            "/projects/{organization}/{key}",
            projects::one::save,
            "Move a project, or choose its branches",
        ),
        place(Admin, GET, "/projects/{organization}/{key}/remove", projects::one::ask_remove, "Ask before a removal"),
        place(Admin, POST, "/projects/{organization}/{key}/remove", projects::one::remove, "Remove a project"),
        place(Viewer, GET, "/assets", assets::list, "List assets"),
        place(Admin, POST, "/assets", assets::add, "Add an asset"),
        place(Viewer, GET, "/assets/{name}", assets::show, "Show an asset"),
        place(Admin, POST, "/assets/{name}", assets::save, "Change an asset"),
        place(Admin, POST, "/assets/{name}/remove", assets::remove, "Remove an asset"),
        place(Viewer, GET, "/deliveries", deliveries::list, "List webhook calls"),
        place(Operator, GET, "/deliveries/sonar", deliveries::sonar::list, "List what Sonar can be asked about"),
        place(Operator, GET, "/deliveries/sonar/{organization}", deliveries::sonar::show, "Ask Sonar for its calls"),
        place(Viewer, GET, "/deliveries/{id}", deliveries::one::show, "Show a webhook call"),
        place(Operator, POST, "/deliveries/{id}/replay", deliveries::replay, "Run a webhook call again"),
        place(Viewer, GET, "/destinations", destinations::list, "List destinations"),
        place(Admin, GET, "/destinations/add", destinations::form::choose, "Show how a destination is added"),
        place(Admin, POST, "/destinations/add", destinations::form::add, "Add a destination"),
        place(Admin, GET, "/destinations/{name}/edit", destinations::form::show, "Show how a destination is changed"),
        place(Admin, POST, "/destinations/{name}/edit", destinations::form::save, "Change a destination"),
        place(
            Admin,
            POST,
            "/destinations/{name}/secret",
            destinations::steer::secret,
            "Give a destination another key",
        ),
        place(Admin, GET, "/destinations/{name}/remove", destinations::steer::ask_remove, "Ask before a removal"),
        place(Admin, POST, "/destinations/{name}/remove", destinations::steer::remove, "Remove a destination"),
        place(Operator, POST, "/destinations/{name}/check", destinations::steer::check, "Check a destination"),
        place(Admin, POST, "/destinations/{name}/pause", destinations::steer::pause, "Pause a destination"),
        place(Admin, POST, "/destinations/{name}/resume", destinations::steer::resume, "Resume a destination"),
        place(Operator, GET, "/destinations/{name}/replay", destinations::steer::ask_again, "Ask from where to tell"),
        place(Operator, POST, "/destinations/{name}/replay", destinations::steer::replay, "Tell a destination anew"),
        place(Viewer, GET, "/destinations/{name}/preview", destinations::steer::preview, "Show what it would be told"),
        place(Viewer, GET, "/destinations/{name}/mapping", destinations::mapping::show, "Show which state is which"),
        place(Admin, POST, "/destinations/{name}/mapping", destinations::mapping::save, "Say which state is which"),
        place(Viewer, GET, "/destinations/{name}/parked", destinations::letters::list, "List what was refused"),
        place(
            Operator,
            POST,
            "/destinations/{name}/retry",
            destinations::letters::retry_all,
            "Try all dead letters again",
        ),
        place(Operator, POST, "/destinations/{name}/drop", destinations::letters::drop_all, "Drop all dead letters"),
        place(
            Operator,
            POST,
            "/destinations/{name}/parked/{finding}/retry",
            destinations::letters::retry,
            "Try a dead letter again",
        ),
        place(
            Operator,
            POST,
            "/destinations/{name}/parked/{finding}/drop",
            destinations::letters::drop,
            "Drop a dead letter",
        ),
        place(Viewer, GET, "/fleet", fleet::show, "Show the sites that this box gathers"),
        place(Viewer, GET, "/settings", settings::show, "List settings"),
        place(Admin, POST, "/settings", settings::save, "Change settings"),
        place(Viewer, GET, "/settings/certificate", certificate::show, "Show the box's certificate"),
        place(Admin, POST, "/settings/certificate", certificate::set, "Give the box a certificate"),
        place(
            Admin,
            POST,
            "/settings/certificate/own",
            certificate::make_own,
            "Have the box make a certificate of its own",
        ),
        place(Admin, POST, "/settings/certificate/acme", certificate::fetch, "Have a certificate fetched by ACME"),
        place(Admin, POST, "/settings/certificate/renew", certificate::renew, "Fetch a certificate now"),
        place(Viewer, GET, "/about", settings::about, "Show what this box is"),
        place(Viewer, GET, "/about/licences", settings::licences, "Show the licences of the libraries"),
        place(Operator, GET, "/doctor", doctor::show, "Show the doctor"),
        place(Operator, POST, "/doctor", doctor::look, "Look at everything that has to work")
            .despite(Despite::LockAndStore),
        place(Admin, GET, "/users", people::show, "List users and tokens"),
        place(Admin, POST, "/users", people::add, "Add a user"),
        place(Admin, POST, "/users/{name}/invite", people::invite, "Make a user a new link"),
        place(Admin, POST, "/users/{name}/remove", people::remove, "Remove a user"),
        place(Admin, POST, "/tokens", people::add_token, "Make an API token"),
        place(Admin, POST, "/tokens/{name}/remove", people::remove_token, "Remove an API token"),
        place(Admin, POST, "/users/{name}/role", people::role, "Change a user's role"),
        place(Admin, GET, "/audit", people::audit, "List who did what"),
        place(Admin, GET, "/audit/export", people::export, "Export who did what"),
    ]
}

/// All pages and what their forms do, as method, address and the least that somebody must be; none where anybody may.
/// For whoever checks that: the API's own document does not tell of them.
pub fn pages() -> Vec<(Method, &'static str, Option<Role>)> {
    places().into_iter().map(|place| (place.method, place.path, place.role)).collect()
}

/// See [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz_query(query: &str) {
    findings::fuzz(query);
}

/// What is left of HTML can do nothing. See [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz_prose(text: &str) {
    let clean = prose::clean(text);
    for bad in ["<script", "<style", "<svg", "<math", "<img", "<iframe", "<form", "<input", "<link", "<base", "<meta"] {
        assert!(!clean.contains(bad), "{bad} in {clean}");
    }
}

/// The router of all pages.
pub(super) fn router(admin: &Arc<Admin>) -> Router<Arc<Admin>> {
    let mut router = Router::new();
    for (form, page) in pages_of_forms(&places()) {
        router = router.route(form, get(async move |uri: Uri| lead_back(&uri, page)));
    }
    for place in places() {
        let needs = guard::Needs {
            admin: Arc::clone(admin),
            role: place.role,
            what: place.what,
            changes: place.method != Method::GET,
            despite: place.despite,
            repeatable: false,
        };
        router = router.route(place.path, place.route.layer(from_fn_with_state(needs, guard::let_in)));
    }
    router
        .layer(from_fn_with_state(Arc::clone(admin), error::dress))
        .layer(from_fn_with_state(Arc::clone(admin), news::note))
        .route(files::LOOK.path(), get(async |headers: HeaderMap| files::LOOK.answer(&headers)))
        .route(files::SCRIPT.path(), get(async |headers: HeaderMap| files::SCRIPT.answer(&headers)))
        .route("/mark.svg", get(async |headers: HeaderMap| files::MARK.answer(&headers)))
        .layer(from_fn(keep_strict))
}

/// The addresses that only forms are sent to, each with the pattern of the page that is nearest: somebody who asks for one
/// again, as from a browser's address bar, is led there.
fn pages_of_forms(places: &[Place]) -> Vec<(&'static str, &'static str)> {
    let is_page = |path: &str| places.iter().any(|place| place.method == Method::GET && place.path == path);
    let nearest = |path: &'static str| {
        let ends = path.match_indices('/').map(|(end, _)| &path[..end]);
        ends.rev().find(|before| is_page(before)).unwrap_or(if path.starts_with("/tokens") { "/users" } else { "/" })
    };
    let forms: BTreeSet<_> = places.iter().map(|place| place.path).filter(|path| !is_page(path)).collect();
    forms.into_iter().map(|path| (path, nearest(path))).collect()
}

/// Leads to the page of this pattern whose names are those of the address.
fn lead_back(asked: &Uri, page: &str) -> Redirect {
    let parts = asked.path().split('/').zip(page.split('/'));
    let parts: Vec<_> = parts.map(|(asked, part)| if part.starts_with('{') { asked } else { part }).collect();
    Redirect::to(if page == "/" { "/".to_owned() } else { parts.join("/") }.as_str())
}

/// What browsers are told of every page: nothing comes from elsewhere, nothing is run that is not ours, nobody frames it.
async fn keep_strict(request: Request, next: Next) -> Response {
    strictly(next.run(request).await)
}

fn strictly(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in STRICT {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    }
    response
}

const STRICT: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_locked_box_people_can_log_in_and_out_and_have_it_looked_at() {
        let done: Vec<_> = places().into_iter().filter(|place| place.despite != Despite::Nothing).collect();
        assert!(done.iter().all(|place| place.method == Method::POST));
        assert_eq!(done.iter().map(|place| place.path).collect::<Vec<_>>(), ["/sign-in", "/sign-out", "/doctor"]);
    }
}
