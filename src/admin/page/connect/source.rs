//! The first step: where SonarQube is, and the token that lets us in.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Form;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::super::marks::column;
use super::{Step, reads_sonar, steps, summary};
use crate::admin::answers::Sent;
use crate::admin::page::frame::{Frame, Here, wrong};
use crate::admin::page::words::{capital, counted, encoded};
use crate::admin::{Admin, Problem, shapes, sources};
use crate::domain::access::Caller;
use crate::domain::secret::SecretText;

/// What the form sends. The token goes one way only.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::admin::page) struct Typed {
    kind: String,
    url: String,
    token: SecretText,
    name: String,
    ca: String,
    proxy: SecretText,
}

/// `GET /connect/source`.
pub(in crate::admin::page) async fn show(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let known = sources::list(state.clone()).await?.0.sources;
    let name = free_name(&known);
    let typed = Typed { kind: "cloud-eu".to_owned(), name, ..Typed::default() };
    Ok(page(&state, &caller, &known, &typed, None, StatusCode::OK))
}

/// A name that no source has.
fn free_name(known: &[shapes::Source]) -> String {
    let taken = |name: &str| known.iter().any(|source| source.name == name);
    let numbered = (2..).map(|number| format!("sonarqube-{number}"));
    std::iter::once("sonarqube".to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
}

/// `POST /connect/source`: nothing is kept unless Sonar accepts the token.
pub(in crate::admin::page) async fn add(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Form(typed): Form<Typed>,
) -> Result<Response, Problem> {
    let filled = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let (kind, region) = match typed.kind.as_str() {
        "server" => ("server", None),
        "cloud-us" => ("cloud", Some("us".to_owned())),
        _ => ("cloud", Some("eu".to_owned())),
    };
    let new = shapes::NewSource {
        name: typed.name.trim().to_owned(),
        kind: kind.to_owned(),
        region,
        url: filled(&typed.url).filter(|_| kind == "server"),
        token: typed.token.clone(),
        ca_pem: filled(&typed.ca),
        proxy: filled(&typed.proxy).map(Into::into),
        ..shapes::NewSource::default()
    };
    match sources::add(state.clone(), Sent(new)).await {
        Ok((_, added)) => {
            let to = format!("/connect/organization?source={}", encoded(&added.source.name));
            Ok(Redirect::to(&to).into_response())
        }
        Err(problem) if problem.field().is_some() || problem.status() == StatusCode::BAD_GATEWAY => {
            let known = sources::list(state.clone()).await?.0.sources;
            // A proxy before this page would put a page of its own in the place of a 502.
            let status = match problem.status() {
                StatusCode::CONFLICT => StatusCode::CONFLICT,
                _ => StatusCode::BAD_REQUEST,
            };
            Ok(page(&state, &caller, &known, &typed, Some(&problem), status))
        }
        Err(problem) => Err(problem),
    }
}

/// Where each field of the API stands in the form, and what it is called there.
const FIELDS: [(&str, &str, &str); 5] = [
    ("url", "source-url", "Address"),
    ("token", "source-token", "Token"),
    ("name", "source-name", "Name"),
    ("ca_pem", "source-ca", "Certificate of an authority"),
    ("proxy", "source-proxy", "Proxy"),
];

fn page(
    admin: &Arc<Admin>,
    caller: &Caller,
    known: &[shapes::Source],
    typed: &Typed,
    problem: Option<&Problem>,
    status: StatusCode,
) -> Response {
    let mut problems = BTreeMap::new();
    let mut place = None;
    if let Some(problem) = problem {
        // On Cloud there is no field for an address: what goes wrong on the way is the token's line, which everybody has.
        let wanted = problem.field().filter(|field| *field != "url" || typed.kind == "server").unwrap_or("token");
        place = FIELDS.iter().find(|(field, ..)| *field == wanted);
        let remedy = problem.hint().filter(|hint| !hint.contains("hydrophone ") && !hint.contains("file"));
        let text = remedy.map_or_else(
            || sentence(problem.detail()),
            |hint| format!("{} {}", sentence(problem.detail()), sentence(hint)),
        );
        problems.insert(wanted.to_owned(), text);
    }
    let main = html! {
        (steps(Step::Source, None, false))
        div.head { div {
            h1 { "Connect SonarQube" }
            p.sub { "This box reads security findings with a token of yours. It writes nothing there, unless you decide so later." }
        } }
        @if let Some((_, id, label)) = place {
            (summary("One field needs another look.", &html! {
                "See " a href={ "#" (id) } { (label) } ". Everything else you entered is kept, but for the token, which is never shown again."
            }))
        }
        (connected(known))
        @if !known.is_empty() { h2 { "Connect another" } }
        (form(typed, &problems))
    };
    (status, Frame::of(admin, "Connect SonarQube", Here::Elsewhere, caller).page(&main)).into_response()
}

/// Text of the API as a sentence of the page, without what is about the command line.
fn sentence(text: &str) -> String {
    let text = text.split("; give the authority's certificate with --ca-file").next().unwrap_or(text);
    let text = text.split("; make a new one and run").next().unwrap_or(text);
    let text = text.trim_end_matches('.');
    // An address keeps its letters.
    if text.starts_with("http") { format!("{text}.") } else { format!("{}.", capital(text)) }
}

fn connected(known: &[shapes::Source]) -> Markup {
    let known: Vec<_> = known.iter().filter(|one| reads_sonar(one)).collect();
    html! {
        @if !known.is_empty() {
            section.stack #sources aria-labelledby="sources-h" {
                h2 #sources-h { "Connected" }
                table.rows role="table" {
                    caption.hide { "Connected sources" }
                    thead.hide role="rowgroup" { tr role="row" {
                        (column("Source")) (column("Projects"))
                        (column("Actions"))
                    } }
                    tbody role="rowgroup" { @for one in known {
                        tr role="row" {
                            th role="rowheader" scope="row" { (one.name) span.under { (one.url) } }
                            td role="cell" {
                                @match &one.error {
                                    Some(error) => { span.is.bad { (error) } }
                                    None => { span.is.ok { (counted(one.projects, "project")) " here" } }
                                }
                            }
                            td.act role="cell" {
                                a.button.little href={ "/connect/organization?source=" (encoded(&one.name)) } {
                                    "Bring in projects" span.hide { " of " (one.name) }
                                }
                            }
                        }
                    } }
                }
            }
        }
    }
}

fn form(typed: &Typed, problems: &BTreeMap<String, String>) -> Markup {
    let problem = |field: &str| problems.get(field).map(String::as_str);
    let invalid = |field: &str| problem(field).map(|_| "true");
    let more = ["name", "ca_pem", "proxy"].iter().any(|field| problems.contains_key(*field));
    html! {
        form.stack.loose #source-form method="post" action="/connect/source" {
            fieldset {
                legend { "Where it is" }
                (kind(typed, "cloud-eu", "SonarQube Cloud, Europe", "sonarcloud.io"))
                (kind(typed, "cloud-us", "SonarQube Cloud, United States", "sonarqube.us"))
                (kind(typed, "server", "SonarQube Server", "your own"))
            }
            div.field.narrow.for-server {
                label for="source-url" { "Address" }
                input.in #source-url name="url" type="url" inputmode="url" placeholder="https://sonar.example.com" value=(typed.url)
                    aria-invalid=[invalid("url")] aria-describedby="source-url-e";
                (wrong("source-url-e", problem("url")))
            }
            div.field.narrow {
                label for="source-token" { "Token" }
                input.in.mono #source-token name="token" type="password" required maxlength="512" autocomplete="off" spellcheck="false"
                    aria-invalid=[invalid("token")] aria-describedby="source-token-e source-token-h";
                (wrong("source-token-e", problem("token")))
                p.help #source-token-h { "It is sealed in this box and never shown again. Its user needs the permission "
                    strong { "Browse" } " on the projects." }
                (how_to_make_a_token())
            }
            details open[more] {
                summary { "Name, certificate, proxy" }
                div.stack {
                    div.field.narrow {
                        label for="source-name" { "Name" }
                        input.in #source-name name="name" required maxlength="100" value=(typed.name) autocapitalize="none" spellcheck="false"
                            aria-invalid=[invalid("name")] aria-describedby="source-name-e source-name-h";
                        (wrong("source-name-e", problem("name")))
                        p.help #source-name-h { "What this box calls it: letters, digits, " code { "- _ ." } }
                    }
                    div.field.narrow {
                        label for="source-ca" { "Certificate of an authority " span.soft { "(optional)" } }
                        textarea.in.mono #source-ca name="ca" rows="4" spellcheck="false" placeholder="-----BEGIN CERTIFICATE-----"
                            aria-invalid=[invalid("ca_pem")] aria-describedby="source-ca-e source-ca-h" { (typed.ca) }
                        (wrong("source-ca-e", problem("ca_pem")))
                        p.help #source-ca-h { "Only if the address has a certificate of your own authority. Paste the file (PEM)." }
                    }
                    div.field.narrow {
                        label for="source-proxy" { "Proxy " span.soft { "(optional)" } }
                        input.in #source-proxy name="proxy" placeholder="http://proxy.example.com:3128" value=(&*typed.proxy)
                            aria-invalid=[invalid("proxy")] aria-describedby="source-proxy-e";
                        (wrong("source-proxy-e", problem("proxy")))
                    }
                }
            }
            div.tray { p.soft.spare { "The connection is tried before anything is kept." }
                div.row { a.button href="/" { "Back" } button.button.first { "Save and check" } } }
        }
    }
}

fn kind(typed: &Typed, value: &str, label: &str, about: &str) -> Markup {
    html! {
        label.choice for={ "kind-" (value) } {
            input type="radio" name="kind" id={ "kind-" (value) } value=(value) checked[typed.kind == value];
            span { (label) " " span.soft { (about) } }
        }
    }
}

fn how_to_make_a_token() -> Markup {
    html! {
        details.small {
            summary { "How to make a token" }
            ol.flow {
                li { p { "In SonarQube, press your picture, then " strong { "My Account" } ", then " strong { "Security" } "." } }
                li { p { "Give the token a name such as " code { "hydrophone" } ". On a Server, choose " strong { "User Token" } "." } }
                li { p { "Press " strong { "Generate" } ", copy the token and paste it here. A user made for this box alone is best." } }
            }
        }
    }
}
