//! Logging in and out, and choosing a password with a one-time code.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::guesses::Guesser;
use super::{Access, COOKIE, Peer, cookie};
use crate::admin::answers::Sent;
use crate::admin::{Admin, Problem, Shared, guard, shapes};
use crate::domain::access::{Caller, Role, SESSION_AGE_MAX, check_password};
use crate::domain::ids::UserName;
use crate::domain::signature::to_hex;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::access::{self, Code, Print, User};
use crate::store::audit::{self, Entry};
use crate::sys::{clock, password, random};

/// Somebody who has just logged in, with the cookie that says so.
pub(in crate::admin) struct Begun {
    pub(in crate::admin) caller: shapes::Caller,
    pub(in crate::admin) cookie: HeaderValue,
}

/// `POST /session`.
pub(in crate::admin) async fn begin(
    State(admin): Shared,
    peer: Option<Extension<Peer>>,
    Sent(given): Sent<shapes::Credentials>,
) -> Result<(HeaderMap, Json<shapes::Caller>), Problem> {
    let begun = log_in(&admin, peer.map(|Extension(peer)| peer), given).await?;
    Ok(answer(begun))
}

fn answer(begun: Begun) -> (HeaderMap, Json<shapes::Caller>) {
    (HeaderMap::from_iter([(header::SET_COOKIE, begun.cookie)]), Json(begun.caller))
}

/// Logs somebody in. Takes as long for a user that there is not as for a wrong password, and says the same.
pub(in crate::admin) async fn log_in(
    admin: &Arc<Admin>,
    peer: Option<Peer>,
    given: shapes::Credentials,
) -> Result<Begun, Problem> {
    let steady = admin.work.clock.steady();
    let guesser = Guesser::new(&given.user, peer.map(|peer| peer.0.ip()));
    refuse_guessing(&admin.access, &guesser, steady)?;
    let turn = admin.hashing.acquire().await.expect("nobody closes the semaphore");
    // While waiting for the turn others may have guessed on.
    refuse_guessing(&admin.access, &guesser, steady)?;
    let verified = admin
        .run(move |admin| {
            let name = UserName::parse(&given.user).ok();
            let user = match &name {
                Some(name) => admin.store.read(|view| access::user(view, name))?,
                None => None,
            };
            let is_account = user.is_some();
            let hash = user.and_then(|user| user.password);
            let good = password::verify(hash.as_deref(), &given.password);
            Ok((is_account, name.zip(hash).filter(|_| good)))
        })
        .await;
    drop(turn);
    let (is_account, verified) = verified?;
    let begun = match verified {
        Some((name, hash)) => admin.run(move |admin| Ok(open_session(admin, &name, &hash, peer)?)).await?,
        None => None,
    };
    let Some(begun) = begun else {
        // From now on, and not from before it was looked at: hashing takes longer than the first wait on a small box.
        admin.access.guesses.fail(&guesser, is_account, admin.work.clock.steady());
        // Without the name: people type passwords there by mistake.
        let from = peer.map_or_else(|| "the socket".to_owned(), |peer| peer.0.ip().to_string());
        tracing::warn!("a log-in from {from} was refused: name or password is wrong");
        return Err(wrong_password());
    };
    admin.access.guesses.succeed(&guesser);
    Ok(begun)
}

fn wrong_password() -> Problem {
    Problem::unauthorized("name or password is wrong")
}

/// Too many wrong passwords have to wait, the right one as well: an answer at once would tell it from a wrong one.
fn refuse_guessing(access: &Access, guesser: &Guesser, steady: Duration) -> Result<(), Problem> {
    let wait = access.guesses.wait(guesser, steady);
    if wait.is_zero() {
        return Ok(());
    }
    Err(Problem::too_many(
        format!("too many wrong passwords; the next one is looked at in {} s", wait.as_secs() + 1),
        wait,
    ))
}

/// Lets somebody in whose password was verified against this hash; nothing where it is not theirs any more.
fn open_session(
    admin: &Admin,
    name: &UserName,
    verified: &str,
    peer: Option<Peer>,
) -> Result<Option<Begun>, StoreError> {
    let (secret, now) = (to_hex(&random::bytes::<32>()), clock::now());
    let print = Print::of(&secret);
    let (stored, verified) = (name.clone(), verified.to_owned());
    let begun = admin.store.write::<_, StoreError>(move |batch| {
        let Some(user) = access::log_in(batch, &stored, &verified, &print, now)? else { return Ok(None) };
        let caller = Caller::Session { user: stored, role: user.role };
        let entry = entry(&caller, "Log in", StatusCode::OK, peer, now);
        audit::note(batch, audit::Kind::Passing, &entry)?;
        Ok(Some((caller, entry)))
    })?;
    let Some((caller, entry)) = begun else { return Ok(None) };
    guard::tell(&entry);
    let cookie =
        format!("{COOKIE}={secret}; Path=/; Max-Age={}; Secure; HttpOnly; SameSite=Lax", SESSION_AGE_MAX.as_secs());
    let cookie = HeaderValue::from_str(&cookie).expect("a cookie of hex digits is plain text");
    Ok(Some(Begun { caller: shown(&caller), cookie }))
}

fn entry(caller: &Caller, what: &str, status: StatusCode, peer: Option<Peer>, now: Timestamp) -> Entry {
    Entry {
        at: now,
        who: caller.name().to_owned(),
        via: caller.via().to_owned(),
        what: what.to_owned(),
        target: "/session".to_owned(),
        status: Some(status.as_u16()),
        from: peer.map(|peer| peer.0.ip().to_string()),
    }
}

fn shown(caller: &Caller) -> shapes::Caller {
    shapes::Caller { name: caller.name().to_owned(), role: caller.role().to_string(), via: caller.via().to_owned() }
}

/// `GET /session`.
pub(in crate::admin) async fn show(Extension(caller): Extension<Caller>) -> Result<Json<shapes::Caller>, Problem> {
    Ok(Json(shown(&caller)))
}

/// `DELETE /session`: nothing happens to whoever is not logged in, and nothing is noted of that.
pub(in crate::admin) async fn end(
    State(admin): Shared,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Result<(StatusCode, HeaderMap), Problem> {
    if let Some(secret) = cookie(&headers) {
        let (print, now, peer) = (Print::of(&secret), clock::now(), peer.map(|Extension(peer)| peer));
        let ended = move |admin: &Admin| {
            Ok(admin.store.delete::<_, StoreError>(move |batch| {
                let Some((user, role)) = access::end_session(batch, &print, now)? else { return Ok(None) };
                let caller = Caller::Session { user, role };
                let entry = entry(&caller, "Log out", StatusCode::NO_CONTENT, peer, now);
                audit::note(batch, audit::Kind::Passing, &entry)?;
                Ok(Some(entry))
            })?)
        };
        if let Some(entry) = admin.run(ended).await? {
            guard::tell(&entry);
        }
    }
    let headers = HeaderMap::from_iter([(header::SET_COOKIE, HeaderValue::from_static(NO_COOKIE))]);
    Ok((StatusCode::NO_CONTENT, headers))
}

/// Takes our cookie away.
pub(in crate::admin) const NO_COOKIE: &str = "__Host-hydrophone=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax";

/// `POST /setup`.
pub(in crate::admin) async fn set_up(
    State(admin): Shared,
    peer: Option<Extension<Peer>>,
    Sent(given): Sent<shapes::NewPassword>,
) -> Result<(HeaderMap, Json<shapes::Caller>), Problem> {
    let begun = choose_password(&admin, peer.map(|Extension(peer)| peer), given).await?;
    Ok(answer(begun))
}

/// Takes a password from whoever has a one-time code, and logs them in. The first admin is made this way.
pub(in crate::admin) async fn choose_password(
    admin: &Arc<Admin>,
    peer: Option<Peer>,
    given: shapes::NewPassword,
) -> Result<Begun, Problem> {
    let turn = admin.hashing.acquire().await.expect("nobody closes the semaphore");
    let begun = admin.run(move |admin| choose(admin, peer, &given)).await;
    drop(turn);
    begun
}

fn choose(admin: &Admin, peer: Option<Peer>, given: &shapes::NewPassword) -> Result<Begun, Problem> {
    let (name, now) = (UserName::parse(&given.user)?, clock::now());
    check_password(&given.password).map_err(|problem| Problem::bad(format!("the password {problem}")))?;
    let (user, setup, has_admin) = admin.store.read::<_, StoreError>(|view| {
        Ok((access::user(view, &name)?, access::setup_code(view)?, access::has_admin(view)?))
    })?;
    let (code, _) = code_for(user.as_ref(), setup, has_admin);
    let wrong = || {
        Problem::forbidden("the code is wrong, used, or older than an hour").remedy(
            "`hydrophone user passwd NAME` makes a new link; without an admin `hydrophone user add NAME --role admin`",
        )
    };
    let Some(code) = code.filter(|code| code.is_good(now)) else { return Err(wrong()) };
    let is_right = code.print == Print::of(given.code.trim());
    let hash = is_right.then(|| password::hash(&given.password));
    let (stored, chosen) = (name.clone(), hash.clone());
    admin.store.write::<_, Problem>(move |batch| {
        // Hashing takes a while: two may have tried with the same code at once, and the user may be gone or another.
        let user = access::user(batch, &stored)?;
        let (still, is_setup) = code_for(user.as_ref(), access::setup_code(batch)?, access::has_admin(batch)?);
        let Some(still) = still.filter(|still| still.print == code.print) else { return Err(wrong()) };
        let Some(chosen) = chosen else {
            // A few tries are written down, and after those nothing is.
            let tried = Code { tries: still.tries.saturating_add(1), ..still };
            match user {
                Some(user) => access::put_user(batch, &stored, &User { code: Some(tried), ..user })?,
                None => access::put_setup_code(batch, Some(&tried))?,
            }
            return Ok(());
        };
        if is_setup {
            access::put_setup_code(batch, None)?;
        }
        access::log_out(batch, &stored)?;
        let made = User { role: Role::Admin, password: None, created_at: now, login_at: None, code: None };
        let user = User { password: Some(chosen), code: None, ..user.unwrap_or(made) };
        Ok(access::put_user(batch, &stored, &user)?)
    })?;
    let Some(hash) = hash else { return Err(wrong()) };
    admin.access.changed();
    open_session(admin, &name, &hash, peer)?.ok_or_else(wrong_password)
}

/// The code that a password is chosen with, and whether it is the one of the journal: a user's own counts for that user;
/// without an admin, the journal's for whoever has it.
fn code_for(user: Option<&User>, setup: Option<Code>, has_admin: bool) -> (Option<Code>, bool) {
    match user.and_then(|user| user.code.clone()) {
        Some(code) => (Some(code), false),
        None => (setup.filter(|_| !has_admin && user.is_none()), true),
    }
}
