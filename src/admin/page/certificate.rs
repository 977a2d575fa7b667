//! The certificate: which one the listeners show, on which way SonarQube trusts this box, and how it is exchanged.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use maud::{Markup, html};

use super::fields::{Line, Sheet, Typed, is_mendable, sentence, status_again};
use super::frame::{Frame, Here, quiet};
use super::words::{number, when_told};
use crate::admin::answers::Sent;
use crate::admin::settings::certificate as api;
use crate::admin::{Admin, Problem, shapes, status};
use crate::domain::access::{Caller, Role};
use crate::domain::secret::SecretText;
use crate::sys::acme::LETS_ENCRYPT;
use crate::sys::clock;

/// Which form somebody sent that was not accepted, and what came of one that was.
#[derive(Default)]
struct Said {
    set: Option<Problem>,
    fetch: Option<Problem>,
    other: Option<Problem>,
    typed: Typed,
    notes: Vec<String>,
}

/// `GET /settings/certificate`.
pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    page(&admin, &caller, &Said::default()).await
}

/// `POST /settings/certificate`.
pub(super) async fn set(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Form(typed): Form<Typed>,
) -> Result<Response, Problem> {
    let new =
        shapes::NewCertificate { certificate: typed.text("certificate").to_owned(), key: typed.text("key").into() };
    match api::set(state.clone(), Sent(new)).await {
        Ok(Json(done)) => page(&state, &caller, &Said { notes: told_of(done), ..Said::default() }).await,
        Err(problem) => {
            again(&state, &caller, problem, |problem| Said { set: Some(problem), typed, ..Said::default() }).await
        }
    }
}

/// `POST /settings/certificate/own`.
pub(super) async fn make_own(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    match api::make_own(state.clone()).await {
        Ok(Json(done)) => page(&state, &caller, &Said { notes: told_of(done), ..Said::default() }).await,
        Err(problem) => {
            again(&state, &caller, problem, |problem| Said { other: Some(problem), ..Said::default() }).await
        }
    }
}

/// What came of a change, the most surprising first.
fn told_of(done: shapes::CertificateChange) -> Vec<String> {
    let hidden = done.hidden_by.map(|files| format!("kept, but not shown: {files} stand before it"));
    hidden.into_iter().chain(done.notes).collect()
}

/// `POST /settings/certificate/acme`.
pub(super) async fn fetch(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Form(typed): Form<Typed>,
) -> Result<Response, Problem> {
    let new = shapes::NewFetching {
        domains: typed.lines("domains"),
        agree_to_terms: typed.ticked("agree_to_terms"),
        directory: typed.given("directory"),
        contact: typed.lines("contact"),
        ca_pem: typed.given("ca_pem"),
        proxy: typed.given("proxy").map(SecretText::new),
        challenge: typed.given("challenge"),
        eab_id: typed.given("eab_id"),
        eab_key: typed.given("eab_key").map(SecretText::new),
    };
    match api::fetch(state.clone(), Sent(new)).await {
        Ok(_) => Ok(Redirect::to("/settings/certificate#fetched").into_response()),
        Err(problem) => {
            again(&state, &caller, problem, |problem| Said { fetch: Some(problem), typed, ..Said::default() }).await
        }
    }
}

/// `POST /settings/certificate/renew`.
pub(super) async fn renew(state: State<Arc<Admin>>, Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    match api::renew(state.clone()).await {
        Ok(_) => Ok(Redirect::to("/settings/certificate#fetched").into_response()),
        Err(problem) => {
            again(&state, &caller, problem, |problem| Said { other: Some(problem), ..Said::default() }).await
        }
    }
}

async fn again(
    admin: &Arc<Admin>,
    caller: &Caller,
    problem: Problem,
    said: impl FnOnce(Problem) -> Said,
) -> Result<Response, Problem> {
    if !is_mendable(&problem) {
        return Err(problem);
    }
    let status = status_again(&problem);
    Ok((status, page(admin, caller, &said(problem)).await?).into_response())
}

async fn page(admin: &Arc<Admin>, caller: &Caller, said: &Said) -> Result<Response, Problem> {
    let shown = api::show(State(Arc::clone(admin))).await.ok().map(|shown| shown.0);
    let way = status::show(State(Arc::clone(admin))).await?.0.way;
    let sets_up = caller.role() == Role::Admin;
    let main = html! {
        div.head { div {
            h1 { "Certificate" }
            p.sub { "What SonarQube and browsers see of this box before they speak with it." }
            (quiet(caller, Role::Admin))
        } }
        @if let Some(problem) = &said.other {
            (Sheet { typed: &said.typed, problem: Some(problem) }.summary("Nothing is changed", "The listeners show what they showed."))
        }
        @if !said.notes.is_empty() {
            div.notice role="status" { div.stack { @for note in &said.notes { p { (sentence(note)) } } } }
        }
        (told(&way))
        @match &shown {
            Some(shown) => {
                (facts(shown))
                @if let Some(fetching) = &shown.acme { (fetched(fetching, sets_up)) }
                @if sets_up { (forms(shown, said)) }
            }
            None => { section.empty { h2 { "This box shows none" } p.soft { "Neither of its listeners speaks TLS by itself." } } }
        }
    };
    Ok(Frame::of(admin, "Certificate", Here::Settings, caller).at("/settings/certificate").page(&main))
}

/// The way on which SonarQube trusts this box.
pub(super) fn told(way: &shapes::WayTold) -> Markup {
    html! {
        section.stack aria-labelledby="way" {
            h2 #way { "How SonarQube trusts this box" }
            p { span.{ "is " (if way.remedy.is_some() { "warn" } else { "ok" }) } { (sentence(&way.text)) } }
            @if let Some(remedy) = &way.remedy { p.soft { (super::words::coded(&sentence(remedy))) } }
        }
    }
}

/// What a certificate says.
pub(super) fn facts(certificate: &shapes::Certificate) -> Markup {
    let ending = certificate.days_left < ENDS_SOON_DAYS;
    html! {
        section.stack aria-labelledby="certificate-facts" {
            h2 #certificate-facts { "Certificate of the listeners" }
            dl.facts {
                dt { "Origin" } dd { (sentence(&certificate.why)) }
                dt { "Shown by" } dd { @for (index, one) in certificate.listeners.iter().enumerate() {
                    @if index > 0 { ", " }
                    (if one.what == "page" { "this page" } else { "the webhook listener" }) " at " span.mono { (one.address) }
                } }
                dt { "Good for" } dd {
                    @if certificate.names.is_empty() { "no name" } @else { (certificate.names.join(", ")) }
                }
                dt { "Good until" } dd {
                    @if certificate.days_left == 0 { span.is.bad { "it has ended: " (day(&certificate.not_after)) } }
                    @else if ending { span.is.warn { (day(&certificate.not_after)) ", in " (number(certificate.days_left.unsigned_abs())) " days" } }
                    @else { (day(&certificate.not_after)) }
                }
                dt { "Signed by" } dd {
                    @if certificate.self_signed { "itself: browsers ask before they trust it, and Sonar does not" } @else { (certificate.issuer) }
                }
                dt { "Key" } dd { (certificate.key) }
                dt { "SHA-256" } dd.mono { (certificate.fingerprint) }
            }
            @if let Some(misnamed) = &certificate.misnamed {
                p { span.is.warn { (super::words::coded(&sentence(misnamed))) } }
            }
            p.help { "Compare the fingerprint with what your browser shows before you trust it for the first time." }
        }
    }
}

/// A certificate that ends within so many days is marked.
const ENDS_SOON_DAYS: i64 = 30;

fn day(at: &str) -> Markup {
    html! { time datetime=(at) { (at.split('T').next().unwrap_or(at)) } }
}

fn fetched(fetching: &shapes::Fetching, sets_up: bool) -> Markup {
    let now = clock::now();
    html! {
        section.stack #fetched aria-labelledby="fetched-head" {
            h2 #fetched-head { "Fetched by ACME" }
            dl.facts {
                dt { "For" } dd { (fetching.domains.join(", ")) }
                dt { "From" } dd.mono { (fetching.directory) }
                dt { "State" } dd { @match fetching.state.as_str() {
                    "working" => { span.is.run { "The server is being asked." } }
                    "fetched" => { span.is.ok { "Fetched " (when_told(fetching.fetched_at.as_deref(), now)) } }
                    "failed" => { span.is.bad { "The last attempt failed, " (when_told(fetching.tried_at.as_deref(), now)) } }
                    _ => { span.is.none { "Not asked yet" } }
                } }
                dt { "Next" } dd { time datetime=(fetching.next_at) { (fetching.next_at) } ", by itself" }
            }
            @if fetching.state == "failed" {
                p { (sentence(fetching.problem.as_deref().unwrap_or_default())) }
                p { (super::words::coded(&sentence(fetching.remedy.as_deref().unwrap_or_default()))) }
            }
            @if fetching.state != "fetched" { p.help { "The server has to see this box: " (sentence(&fetching.reach)) } }
            @if sets_up { form method="post" action="/settings/certificate/renew" { button.button { "Fetch it now" } } }
        }
    }
}

fn forms(shown: &shapes::Certificate, said: &Said) -> Markup {
    html! {
        section.stack.narrow aria-labelledby="exchange" {
            h2 #exchange { "Exchange it" }
            p.soft { "At once and without a restart; no connection is dropped." }
            (fetch_form(said))
            (set_form(said))
            @if shown.origin != "files" {
                details {
                    summary { "Have this box make one" }
                    form.stack method="post" action="/settings/certificate/own" {
                        p { "It signs itself, for the names that the box has now. One that was set or fetched is forgotten, and none is fetched any more." }
                        div { button.button { "Make a certificate" } }
                    }
                }
            }
        }
    }
}

fn fetch_form(said: &Said) -> Markup {
    let sheet = Sheet { typed: &said.typed, problem: said.fetch.as_ref() };
    let line = |name, label, help, example| sheet.line(Line { name, label, help, example, required: false });
    let area = |name, label, help, example| sheet.area(Line { name, label, help, example, required: false });
    html! {
        details open[said.fetch.is_some()] {
            summary { "Have one fetched by ACME, such as from Let's Encrypt" }
            form.stack method="post" action="/settings/certificate/acme" {
                (sheet.summary("Nothing is fetched yet", "Everything else that you typed is kept."))
                (area("domains", "Names, one a line", "Port 443 of each has to lead to this box.", "hooks.example.com"))
                (area("contact", "Mail addresses for the operator, one a line", "", "ines@example.com"))
                details {
                    summary { "Another server, proxy, challenge" }
                    div.stack {
                        (line("directory", "The server's directory", "Let's Encrypt's without one.", LETS_ENCRYPT))
                        (sheet.choice(
                            Line { name: "challenge", label: "How the server looks at this box", ..Line::default() },
                            &[("tls-alpn-01", "At port 443, by TLS (tls-alpn-01)"), ("http-01", "At port 80, by HTTP (http-01)")],
                        ))
                        (line("proxy", "Proxy", "Without one the system's is used.", "http://proxy.example:3128"))
                        (area("ca_pem", "Certificates to trust for the server", "PEM, beside the system's.", "-----BEGIN CERTIFICATE-----"))
                        (line("eab_id", "Id of the external account's key", "Where the operator asks for one.", ""))
                        (sheet.secret(Line { name: "eab_key", label: "That key", ..Line::default() }))
                    }
                }
                (sheet.tick("agree_to_terms", "yes", "I agree to the terms of the server's operator"))
                div { button.button { "Fetch a certificate" } }
            }
        }
    }
}

fn set_form(said: &Said) -> Markup {
    // The key is never shown again.
    let mut typed = Typed::default();
    typed.put("certificate", said.typed.text("certificate"));
    let sheet = Sheet { typed: &typed, problem: said.set.as_ref() };
    let area = |name, label, help, example| sheet.area(Line { name, label, help, example, required: true });
    html! {
        details open[said.set.is_some()] {
            summary { "Give it one" }
            form.stack method="post" action="/settings/certificate" {
                (sheet.summary("The certificate is not taken", "The listeners show what they showed. Paste the key again."))
                (area("certificate", "Certificate, and those up to its authority", "PEM, the box's own first.", "-----BEGIN CERTIFICATE-----"))
                (area("key", "Private key", "PEM, without a password.", "-----BEGIN PRIVATE KEY-----"))
                div { button.button { "Check and show it" } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_without_the_name_that_is_called_is_marked_and_so_is_one_without_any() {
        let of = |misnamed: Option<&str>| {
            let shown = shapes::Certificate { misnamed: misnamed.map(str::to_owned), ..shapes::Certificate::default() };
            facts(&shown).into_string()
        };
        let told = of(Some("the certificate is made for a.example; `hydrophone certificate self-signed` makes one"));
        assert!(told.contains("The certificate is made for a.example"), "{told}");
        assert!(told.contains("<code>hydrophone certificate self-signed</code>"), "{told}");
        assert!(of(None).contains("no name") && !of(None).contains("made for"));
    }

    #[test]
    fn what_is_kept_behind_files_is_told_first() {
        let notes = vec!["the listeners go on".to_owned()];
        let hidden_by = Some("/etc/hydrophone/tls.crt".to_owned());
        let told = told_of(shapes::CertificateChange { certificate: shapes::Certificate::default(), hidden_by, notes });
        assert_eq!(told, ["kept, but not shown: /etc/hydrophone/tls.crt stand before it", "the listeners go on"]);
    }
}
