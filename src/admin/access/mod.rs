//! Who is asking: over the socket whoever may open it, over the network whoever shows a token or is logged in.

pub(super) mod audit;
mod guesses;
pub(super) mod local;
pub(super) mod login;
pub(super) mod tokens;
pub(super) mod users;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Admin, Problem};
use crate::domain::access::Caller;
use crate::domain::signature::to_hex;
use crate::domain::time::Timestamp;
use crate::ingress::connections::Seat;
use crate::store::StoreError;
use crate::store::access::{self, Code, Print, Session, Token};
use crate::sys::{clock, random};

/// Where a request came from over the network.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The connection that it came on, to be told that somebody of ours is on it.
#[derive(Clone)]
pub(super) struct On(pub(super) Weak<Seat>);

/// What is remembered of those who ask, in memory only.
#[derive(Default)]
pub(in crate::admin) struct Access {
    /// Wrong passwords.
    guesses: guesses::AllGuesses,
    /// Somebody can log in who may set everything up. Once that is so it stays so, until somebody is removed.
    has_admin: AtomicBool,
}

impl Access {
    /// Somebody was added, changed or removed.
    fn changed(&self) {
        self.has_admin.store(false, Ordering::Release);
    }
}

impl Admin {
    /// Whether anybody can log in who may set everything up.
    pub fn has_admin(&self) -> Result<bool, StoreError> {
        if self.access.has_admin.load(Ordering::Acquire) {
            return Ok(true);
        }
        let has = self.store.read(access::has_admin)?;
        self.access.has_admin.store(has, Ordering::Release);
        Ok(has)
    }
}

impl Admin {
    /// Makes a new code for whoever reads it where only an operator of this box can, and the link with it. Nothing where
    /// there is an admin.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub fn new_setup_link(&self) -> Result<Option<String>, StoreError> {
        if self.has_admin()? {
            return Ok(None);
        }
        let (secret, now) = (to_hex(&random::bytes::<16>()), clock::now());
        let code = Code::new(&secret, now);
        self.store.write::<_, StoreError>(move |batch| access::put_setup_code(batch, Some(&code)))?;
        Ok(Some(format!("{}/setup?code={secret}", self.page_url())))
    }
}

/// For the socket: its file's permission is the right to do everything.
pub(super) async fn by_socket(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Caller::Socket);
    next.run(request).await
}

/// For the network: finds out who is asking, and notes it with the request. Nobody in particular is let through to what
/// takes no role.
pub(super) async fn by_network(State(admin): State<Arc<Admin>>, mut request: Request, next: Next) -> Response {
    let shown = shown(request.headers());
    // A page of somebody else's can have a browser send our cookie, or log in with a name and password of theirs, and cannot
    // name another origin than its own.
    if !is_safe(request.method()) && !is_meant(request.headers(), request.uri(), &shown) {
        return Problem::forbidden("this request came from a page of another site")
            .remedy("use the page of this box itself, or an API token")
            .into_response();
    }
    let caller = match shown {
        Shown::Nothing => None,
        Shown::Token(secret) => match admin.run(move |admin| by_token(admin, &secret)).await {
            Ok(Some(caller)) => Some(caller),
            Ok(None) => return Problem::unknown_caller().into_response(),
            Err(problem) => return problem.into_response(),
        },
        Shown::Cookie(secret) => {
            // A page that keeps itself current is nobody at work.
            let works = !request.headers().contains_key(LIVE) && request.uri().path() != "/api/v1/events";
            match admin.run(move |admin| by_cookie(admin, &secret, works)).await {
                Ok(caller) => caller,
                Err(problem) => return problem.into_response(),
            }
        }
    };
    if let Some(caller) = caller {
        if let Some(seat) = request.extensions().get().and_then(|On(seat)| seat.upgrade()) {
            seat.prove();
        }
        request.extensions_mut().insert(caller);
    }
    next.run(request).await
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// What somebody shows to be let in.
enum Shown {
    Nothing,
    Token(String),
    Cookie(String),
}

fn shown(headers: &HeaderMap) -> Shown {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(bearer) = bearer {
        let token = bearer.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        return Shown::Token(token.map(|(_, token)| token.trim().to_owned()).unwrap_or_default());
    }
    cookie(headers).map_or(Shown::Nothing, Shown::Cookie)
}

/// What our cookie holds.
pub(super) fn cookie(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value.to_owned())
}

/// The prefix has browsers take it only over TLS, for this host alone and for all its addresses (RFC 6265bis, section
/// 4.1.3.2).
pub(super) const COOKIE: &str = "__Host-hydrophone";

/// What is made of headers before anybody is known. See [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(headers: &HeaderMap, address: &Uri) {
    match shown(headers) {
        Shown::Nothing => {}
        Shown::Token(secret) | Shown::Cookie(secret) => drop(Print::of(&secret)),
    }
    let _ = is_own_page(headers, address);
}

/// Whether whoever sits before the browser meant a request that changes something. What a browser says of where it came from
/// must be this box. A program says nothing; but our cookie is in browsers alone, and those have to say it.
fn is_meant(headers: &HeaderMap, address: &Uri, shown: &Shown) -> bool {
    let is_told = headers.contains_key(header::ORIGIN) || headers.contains_key(FETCH_SITE);
    (!is_told && !matches!(shown, Shown::Cookie(_))) || is_own_page(headers, address)
}

/// What a browser says of a request: by which of its sites it was caused (W3C, Fetch Metadata Request Headers).
const FETCH_SITE: &str = "sec-fetch-site";

/// Whether a request was made by a page of this box: by what the browser says of its origin (OWASP's cheat sheet against
/// cross-site request forgery, "verifying origin").
fn is_own_page(headers: &HeaderMap, address: &Uri) -> bool {
    let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    // HTTP/2 names the host in the address, and browsers then leave the header out (RFC 9113, section 8.3.1).
    let host = address.authority().map(axum::http::uri::Authority::as_str).or_else(|| text(header::HOST));
    match (text(header::ORIGIN), host) {
        (Some(origin), Some(host)) => origin.strip_prefix("https://").is_some_and(|of| of.eq_ignore_ascii_case(host)),
        (Some(_), None) => false,
        (None, _) => headers.get(FETCH_SITE).is_some_and(|site| site == "same-origin"),
    }
}

fn by_token(admin: &Admin, secret: &str) -> Result<Option<Caller>, Problem> {
    let (print, now) = (Print::of(secret), clock::now());
    let Some(token) = admin.store.read(|view| access::token(view, &print, now))? else { return Ok(None) };
    let caller = Caller::Token { name: token.name.to_string(), role: token.role };
    if token.used_at.is_none_or(|used_at| is_news(used_at, now)) {
        let used = Token { used_at: Some(now), ..token };
        admin.store.write::<_, StoreError>(move |batch| {
            // It may have been removed meanwhile.
            match access::token(batch, &print, now)? {
                Some(_) => access::put_token(batch, &print, &used),
                None => Ok(()),
            }
        })?;
    }
    Ok(Some(caller))
}

/// What the page's script says when it asks by itself.
const LIVE: &str = "x-hydrophone-live";

fn by_cookie(admin: &Admin, secret: &str, works: bool) -> Result<Option<Caller>, Problem> {
    let (print, now) = (Print::of(secret), clock::now());
    let Some((session, user)) = admin.store.read(|view| access::session(view, &print, now))? else { return Ok(None) };
    let caller = Caller::Session { user: session.user.clone(), role: user.role };
    if works && is_news(session.used_at, now) {
        let session = Session { used_at: now, ..session };
        admin.store.write::<_, StoreError>(move |batch| match access::session(batch, &print, now)? {
            Some(_) => access::put_session(batch, &print, &session, now),
            None => Ok(()),
        })?;
    }
    Ok(Some(caller))
}

/// When something was last used is written once an hour.
fn is_news(used_at: Timestamp, now: Timestamp) -> bool {
    now.since(used_at) >= Duration::from_hours(1)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_our_own_page_may_change_something_with_a_cookie() {
        let path = Uri::from_static("/projects");
        let own = [("origin", "https://box.example:8444"), ("host", "box.example:8444")];
        assert!(is_own_page(&headers(&own), &path));
        assert!(is_own_page(&headers(&[("sec-fetch-site", "same-origin")]), &path));
        for foreign in [
            &[("origin", "https://evil.example"), ("host", "box.example:8444")][..],
            &[("origin", "http://box.example:8444"), ("host", "box.example:8444")],
            &[("origin", "null"), ("host", "box.example:8444")],
            &[("origin", "https://box.example"), ("host", "box.example:8444")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[],
        ] {
            assert!(!is_own_page(&headers(foreign), &path), "{foreign:?}");
        }
        let http_2 = Uri::from_static("https://box.example:8444/projects");
        assert!(is_own_page(&headers(&[("origin", "https://box.example:8444")]), &http_2));
        assert!(!is_own_page(&headers(&[("origin", "https://evil.example"), ("host", "evil.example")]), &http_2));
    }

    #[test]
    fn what_a_browser_says_counts_with_a_cookie_and_without_and_a_program_need_not_say_anything() {
        let path = Uri::from_static("/sign-in");
        let callers = || {
            [Shown::Nothing, Shown::Token("hyd_0".to_owned()), Shown::Cookie("0".to_owned())].into_iter().enumerate()
        };
        for (at, caller) in callers() {
            let is_meant = |pairs: &[(&'static str, &'static str)]| is_meant(&headers(pairs), &path, &caller);
            assert!(is_meant(&[("origin", "https://box.example"), ("host", "box.example")]));
            assert!(!is_meant(&[("origin", "https://evil.example"), ("host", "box.example")]), "{at}");
            assert!(!is_meant(&[("sec-fetch-site", "cross-site"), ("host", "box.example")]), "{at}");
            assert_eq!(is_meant(&[("host", "box.example")]), at < 2, "a browser's cookie comes from a browser");
        }
    }

    #[test]
    fn our_cookie_is_found_among_others() {
        assert_eq!(cookie(&headers(&[("cookie", "a=b; __Host-hydrophone=x; c=d")])).as_deref(), Some("x"));
        assert_eq!(cookie(&headers(&[("cookie", "hydrophone=x; x__Host-hydrophone=y")])), None);
    }
}
