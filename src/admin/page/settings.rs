//! Settings, and what this box is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use flate2::read::GzDecoder;
use maud::{Markup, html};

use super::certificate::facts;
use super::fields::{Typed, sentence};
use super::frame::{Frame, Here, wrong};
use super::words::{capital, number, when_told};
use crate::admin::{Admin, Problem, settings, shapes, status};
use crate::domain::access::{Caller, Role};
use crate::domain::settings::known;
use crate::sys::clock;

/// `GET /settings`.
pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    page(&admin, &caller, &Typed::default(), &BTreeMap::new()).await
}

/// Settings by what they are about: their keys, and what people call them.
const GROUPS: [(&str, &[(&str, &str)]); 4] = [
    (
        "Addresses",
        &[
            ("public-url", "Address at which Sonar reaches this box"),
            ("trusted-proxies", "Proxies in front of this box"),
            ("webhook-networks-mode", "Webhook calls from outside the listed networks"),
        ],
    ),
    (
        "Intervals",
        &[
            ("poll-minutes", "Minutes between two looks at a project"),
            ("reread-minutes", "Minutes after which a branch is read again"),
            ("whole-read-hours", "Hours after which a large branch is read whole"),
            ("whole-read-max", "Open findings up to which a branch is always read whole"),
        ],
    ),
    (
        "Retention",
        &[
            ("keep-delivery-days", "Days that webhook calls are kept"),
            ("keep-closed-days", "Days that closed findings are kept"),
            ("keep-retired-days", "Days that pull requests are kept that Sonar does not list"),
            ("keep-changes-mib", "MiB of history that are kept"),
        ],
    ),
    (
        "Limits",
        &[
            ("requests-per-minute", "Requests to a source in a minute"),
            ("pause-seconds", "Seconds of pause after Sonar asks for one"),
            ("sync-workers", "Branches that are read at the same time"),
            ("free-space-min-mib", "MiB of free disk below which webhooks are refused"),
        ],
    ),
];

/// What is wrong, by setting.
type Problems = BTreeMap<String, String>;

async fn page(admin: &Arc<Admin>, caller: &Caller, typed: &Typed, problems: &Problems) -> Result<Response, Problem> {
    let list = settings::list(State(Arc::clone(admin))).await?.0.settings;
    let certificate = settings::certificate::show(State(Arc::clone(admin))).await.ok();
    let sets_up = caller.role() == Role::Admin;
    let groups = html! {
        @for (title, some) in grouped(&list) {
            fieldset.stack {
                legend { h2 { (title) } }
                @for (one, label) in some { (field(one, label, typed, problems, sets_up)) }
            }
        }
    };
    let main = html! {
        div.head { div { h1 { "Settings" } @if !sets_up { p.sub { "You may look; an admin can change this." } } } }
        (summary(problems))
        @if sets_up {
            form.stack.loose.narrow method="post" action="/settings" {
                (groups)
                div { button.button.first { "Save settings" } }
            }
        } @else {
            div.stack.loose.narrow { (groups) }
        }
        @if let Some(Json(certificate)) = &certificate {
            (facts(certificate))
            p { a href="/settings/certificate" { @if sets_up { "Exchange the certificate" } @else { "How SonarQube trusts this box" } } }
        }
    };
    Ok(Frame::of(admin, "Settings", Here::Settings, caller).page(&main))
}

/// All settings in their groups; one that no group names comes last, under its own name.
fn grouped(list: &[shapes::Setting]) -> Vec<(&'static str, Vec<(&shapes::Setting, &str)>)> {
    let mut groups: Vec<_> = GROUPS
        .iter()
        .map(|(title, keys)| {
            let of = keys.iter().filter_map(|(key, label)| Some((list.iter().find(|one| one.key == *key)?, *label)));
            (*title, of.collect::<Vec<_>>())
        })
        .collect();
    let is_named = |one: &&shapes::Setting| GROUPS.iter().any(|(_, keys)| keys.iter().any(|(key, _)| *key == one.key));
    let others: Vec<_> = list.iter().filter(|one| !is_named(one)).map(|one| (one, one.key.as_str())).collect();
    if !others.is_empty() {
        groups.push(("Others", others));
    }
    groups
}

fn summary(problems: &Problems) -> Markup {
    html! {
        @if !problems.is_empty() {
            div.notice.boxed.bad #problem role="alert" tabindex="-1" {
                span.is.bad { span.hide { "Error" } }
                div.stack {
                    p { strong { "No setting is changed yet" } }
                    @for (key, problem) in problems { p { a href={ "#" (key) } { (sentence(problem)) } } }
                    p { "Everything that you typed is kept." }
                }
            }
        }
    }
}

fn field(one: &shapes::Setting, label: &str, typed: &Typed, problems: &Problems, sets_up: bool) -> Markup {
    let problem = problems.get(&one.key).map(|problem| sentence(problem));
    let (help, error) = (format!("{}-h", one.key), format!("{}-e", one.key));
    let described = if problem.is_some() { format!("{help} {error}") } else { help.clone() };
    let value = if typed.has_field(&one.key) { typed.text(&one.key) } else { own(one) };
    html! {
        div.field {
            @if sets_up {
                label for=(one.key) { (label) }
                input.in id=(one.key) name=(one.key) value=(value) placeholder=[one.default.as_deref()]
                    autocomplete="off" aria-describedby=(described) aria-invalid=[problem.as_ref().map(|_| "true")];
            } @else {
                p.label { (label) }
                p { (one.value.as_deref().unwrap_or("not set")) }
            }
            p.help id=(help) {
                (capital(&one.help)) "."
                @if let Some(default) = &one.default { " Without a value: " (default) "." }
            }
            (wrong(&error, problem.as_deref()))
        }
    }
}

/// A value that differs from the default.
fn own(one: &shapes::Setting) -> &str {
    one.value.as_deref().filter(|value| Some(*value) != one.default.as_deref()).unwrap_or_default()
}

/// `POST /settings`: sets what differs, all of it or nothing. What was typed stays in the form where something is wrong.
pub(super) async fn save(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Form(typed): Form<Typed>,
) -> Result<Response, Problem> {
    let list = settings::list(State(Arc::clone(&admin))).await?.0.settings;
    let changed = list.iter().filter(|one| typed.has_field(&one.key) && typed.text(&one.key) != own(one));
    let (mut values, mut problems) = (Vec::new(), Problems::new());
    for known in changed.filter_map(|one| known(&one.key)) {
        let value = typed.given(known.key);
        if let Some(Err(problem)) = value.as_deref().map(known.check) {
            problems.insert(known.key.to_owned(), format!("it {problem}"));
        }
        values.push((known.key, value));
    }
    if !problems.is_empty() {
        let page = page(&admin, &caller, &typed, &problems).await?;
        return Ok((StatusCode::BAD_REQUEST, page).into_response());
    }
    settings::set_all(&admin, values).await?;
    Ok(Redirect::to("/settings").into_response())
}

/// A size as people read it.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", number(bytes.div_ceil(1000))),
        _ => format!("{} MB", number(bytes / 1_000_000)),
    }
}

/// `GET /about`.
pub(super) async fn about(state: State<Arc<Admin>>, Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let shown = status::show(state).await?.0;
    let bytes = std::fs::metadata(admin.store.folder().join(crate::store::FILE_NAME)).map_or(0, |file| file.len());
    let now = clock::now();
    let main = html! {
        div.head { div { h1 { "About this box" } } }
        dl.facts {
            dt { "Hydrophone" } dd { (shown.version) " " span.soft { (std::env::consts::ARCH) } }
            dt { "Running since" } dd { (when_told(Some(&shown.started_at), now)) }
            dt { "Webhooks at" } dd.mono { (shown.webhook_listener) }
            dt { "This page at" } dd.mono { (shown.page) }
            dt { "State folder" } dd.mono { (shown.state_folder) }
            dt { "Database" } dd { (size(bytes)) }
            dt { "API" } dd { a href="/api/v1/openapi.json" { "Its description" } " " span.soft { "OpenAPI 3.1" } }
            @if caller.role() >= Role::Operator { dt { "Doctor" } dd { a href="/doctor" { "Look at everything that has to work" } } }
            dt { "Licence" } dd { "MIT or Apache 2.0" " " a href="/about/licences" { "Those of its libraries" } }
        }
    };
    Ok(Frame::of(&admin, "About this box", Here::Elsewhere, &caller).page(&main))
}

/// Where the packages put the licences of the libraries that are linked in.
const LICENCES: [&str; 2] =
    ["/usr/share/doc/hydrophone/third-party.txt.gz", "/usr/share/licenses/hydrophone/third-party.txt.gz"];

/// Bytes of them that are shown; they are a tenth of it.
const LICENCES_BYTES_MAX: u64 = 4 << 20;

/// `GET /about/licences`.
pub(super) async fn licences(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let text = admin.block(|_| Ok(licences_in(&LICENCES))).await?;
    let main = html! {
        div.head { div { h1 { "Licences of the libraries" } } }
        @match text {
            Some(text) => pre.code.flat tabindex="0" aria-label="Licences" { (text) },
            None => p { "They come with the packages, in " code { (LICENCES[0]) } ", and that file is not on this box. "
                "The sources make it: " code { "packaging/materials licences" } "." },
        }
    };
    Ok(Frame::of(&admin, "Licences", Here::Elsewhere, &caller).page(&main))
}

/// The first of the files that is there, unpacked.
fn licences_in(files: &[&str]) -> Option<String> {
    let file = files.iter().find_map(|path| File::open(path).ok())?;
    let mut text = String::new();
    GzDecoder::new(file).take(LICENCES_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn the_licences_of_either_package_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("third-party.txt.gz");
        let path = path.to_str().unwrap();
        assert_eq!(licences_in(&["/nowhere", path]), None);
        let mut file = GzEncoder::new(File::create(path).unwrap(), Compression::default());
        file.write_all(b"redb 4.5.0: MIT\n").unwrap();
        file.finish().unwrap();
        assert_eq!(licences_in(&["/nowhere", path]).as_deref(), Some("redb 4.5.0: MIT\n"));
    }
}
