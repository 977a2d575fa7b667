//! Signing in and out, and the page of the one-time code.

use std::sync::Arc;

use axum::Form;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::frame::{entry, wrong};
use super::words::capital;
use crate::admin::access::{Peer, login};
use crate::admin::answers::Query;
use crate::admin::{Admin, Problem, shapes};
use crate::domain::access::Caller;
use crate::domain::secret::SecretText;

/// Where somebody wanted to go before they were asked who they are.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

/// A page of ours, or the first one: nobody is led away by a link that looks like ours. Browsers leave tabs and ends of lines
/// out of an address before they look at it, and take `\` for `/` (WHATWG, URL Standard, section 4.4).
fn own(next: &str) -> &str {
    let is_plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let is_path = next.starts_with('/') && !next.starts_with("//");
    let is_own = is_plain && is_path && next.parse::<Uri>().is_ok_and(|address| address.authority().is_none());
    if is_own { next } else { "/" }
}

/// `GET /sign-in`.
pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    caller: Option<Extension<Caller>>,
    Query(next): Query<Next>,
) -> Response {
    if caller.is_some() {
        return Redirect::to(own(&next.next)).into_response();
    }
    match admin.run(|admin| Ok(admin.has_admin()?)).await {
        // Nobody could sign in.
        Ok(false) => Redirect::to("/setup").into_response(),
        _ => sign_in_page(&next.next, "", None, StatusCode::OK),
    }
}

fn sign_in_page(next: &str, account: &str, problem: Option<&str>, status: StatusCode) -> Response {
    let invalid = problem.map(|_| "true");
    let described = problem.map(|_| "p-e");
    let inside = html! {
        form.stack method="post" action="/sign-in" {
            input type="hidden" name="next" value=(own(next));
            div.field {
                label for="u" { "Account" }
                input.in #u name="account" autocomplete="username" autocapitalize="none" required value=(account)
                    autofocus[account.is_empty()];
            }
            div.field {
                label for="p" { "Password" }
                input.in #p name="password" type="password" autocomplete="current-password" required
                    aria-invalid=[invalid] aria-describedby=[described] autofocus[!account.is_empty()];
                (wrong("p-e", problem))
            }
            button.button.first { "Sign in" }
        }
        p.soft.small {
            "Forgotten? On the box, " code { "hydrophone user passwd NAME" } " makes a link for a new one."
        }
    };
    (status, entry("Sign in", &inside)).into_response()
}

/// What the sign-in form sends.
#[derive(Deserialize)]
pub(super) struct SignIn {
    #[serde(default)]
    next: String,
    account: String,
    password: SecretText,
}

/// `POST /sign-in`.
pub(super) async fn sign_in(
    State(admin): State<Arc<Admin>>,
    peer: Option<Extension<Peer>>,
    Form(form): Form<SignIn>,
) -> Response {
    let given = shapes::Credentials { user: form.account.trim().to_owned(), password: form.password };
    match login::log_in(&admin, peer.map(|Extension(peer)| peer), given).await {
        Ok(begun) => let_in(own(&form.next), begun.cookie),
        Err(problem) => {
            let text = match problem.status() {
                StatusCode::UNAUTHORIZED => "Account and password do not match.".to_owned(),
                _ => sentence(&problem),
            };
            sign_in_page(&form.next, &form.account, Some(&text), problem.status())
        }
    }
}

fn sentence(problem: &Problem) -> String {
    format!("{}.", capital(problem.detail()))
}

fn let_in(next: &str, cookie: HeaderValue) -> Response {
    let mut response = Redirect::to(next).into_response();
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response
}

/// `POST /sign-out`.
pub(super) async fn sign_out(
    state: State<Arc<Admin>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (_, headers) = login::end(state, peer, headers).await?;
    Ok((headers, Redirect::to("/sign-in")).into_response())
}

/// What the link of a one-time code says.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Invited {
    #[serde(default)]
    user: String,
    #[serde(default)]
    code: SecretText,
}

/// `GET /setup`.
pub(super) async fn welcome(State(admin): State<Arc<Admin>>, Query(invited): Query<Invited>) -> Response {
    let first = !admin.run(|admin| Ok(admin.has_admin()?)).await.unwrap_or(true);
    if !first && invited.code.is_empty() {
        return Redirect::to("/sign-in").into_response();
    }
    welcome_page(first, &invited.user, &invited.code, None, StatusCode::OK)
}

fn welcome_page(first: bool, user: &str, code: &str, problem: Option<&str>, status: StatusCode) -> Response {
    let inside = html! {
        (why(first))
        @if let Some(problem) = problem {
            div.notice.boxed.bad role="alert" { span.is.bad { span.hide { "Error" } } div { p { (problem) } } }
        }
        form.stack method="post" action="/setup" {
            div.field {
                label for="c" { "One-time code" }
                input.in.mono #c name="code" required autocomplete="off" spellcheck="false" value=(code);
            }
            div.field {
                label for="u" { "Account" }
                input.in #u name="user" required autocomplete="username" autocapitalize="none" value=(user);
            }
            div.field {
                label for="p" { "Password" }
                input.in #p name="password" type="password" required minlength="10" maxlength="256"
                    autocomplete="new-password" aria-describedby="p-h";
                p.help #p-h { "At least 10 characters. A few words in a row are good, and easy to keep." }
            }
            button.button.first { @if first { "Make the first account" } @else { "Set the password" } }
        }
    };
    let title = if first { "Welcome" } else { "Choose a password" };
    (status, entry(title, &inside)).into_response()
}

fn why(first: bool) -> Markup {
    html! {
        @if first {
            p.soft {
                "Nobody can sign in yet. The log of the service holds a link with a one-time code: "
                code { "journalctl -u hydrophone" } ". Or, on the box: "
                code { "hydrophone user add NAME --role admin" } "."
            }
        } @else {
            p.soft { "The code in your link is good once, and for an hour." }
        }
    }
}

/// `POST /setup`.
pub(super) async fn choose(
    State(admin): State<Arc<Admin>>,
    peer: Option<Extension<Peer>>,
    Form(form): Form<shapes::NewPassword>,
) -> Response {
    let (user, code) = (form.user.clone(), form.code.clone());
    match login::choose_password(&admin, peer.map(|Extension(peer)| peer), form).await {
        Ok(begun) => let_in("/", begun.cookie),
        Err(problem) => {
            let first = !admin.run(|admin| Ok(admin.has_admin()?)).await.unwrap_or(true);
            welcome_page(first, &user, &code, Some(&sentence(&problem)), problem.status())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::own;

    #[test]
    fn nobody_is_led_to_another_site() {
        assert_eq!(own("/findings?severity=high"), "/findings?severity=high");
        assert_eq!(own("/findings?search=a%09b"), "/findings?search=a%09b", "what is escaped stays so");
        for foreign in [
            "",
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "javascript:alert(1)",
            "evil.example",
            "/a\r\nb",
            "/\t/evil.example",
            "\t//evil.example",
            "/\u{1}/evil.example",
            "/\u{7f}/evil.example",
            "/\u{a0}/evil.example",
            "/ /evil.example",
            "*",
        ] {
            assert_eq!(own(foreign), "/", "{foreign:?}");
        }
    }
}
