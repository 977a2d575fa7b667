//! Logging in and out, and choosing a password with a one-time code.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{Access, COOKIE, Peer, cookie, counted};
use crate::admin::answers::Sent;
use crate::admin::{Admin, Problem, Shared, shapes};
use crate::domain::access::{Caller, Role, SESSION_AGE_MAX, check_password};
use crate::domain::ids::UserName;
use crate::domain::signature::to_hex;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::access::{self, Code, Entry, Print, Session, User};
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
    let mut keys = vec![format!("user {}", given.user.chars().take(64).collect::<String>())];
    keys.extend(peer.map(|peer| counted(peer.0.ip())));
    refuse_guessing(&admin.access, &keys, steady)?;
    let turn = admin.hashing.acquire().await.expect("nobody closes the semaphore");
    // While waiting for the turn others may have guessed on.
    refuse_guessing(&admin.access, &keys, steady)?;
    let found = admin
        .run(move |admin| {
            let name = UserName::parse(&given.user).ok();
            let user = match &name {
                Some(name) => admin.store.read(|view| access::user(view, name))?,
                None => None,
            };
            let hash = user.as_ref().and_then(|user| user.password.as_deref());
            let good = password::verify(hash, &given.password);
            Ok(name.zip(user).filter(|_| good))
        })
        .await;
    drop(turn);
    let Some((name, user)) = found? else {
        // From now on, and not from before it was looked at: hashing takes longer than the first wait on a small box.
        admin.access.fail(&keys, admin.work.clock.steady());
        // Without the name: people type passwords there by mistake.
        let from = peer.map_or_else(|| "the socket".to_owned(), |peer| peer.0.ip().to_string());
        tracing::warn!("a log-in from {from} was refused: name or password is wrong");
        return Err(Problem::unauthorized("name or password is wrong"));
    };
    admin.access.succeed(&keys);
    admin.run(move |admin| open_session(admin, &name, user, peer)).await
}

/// Too many wrong passwords have to wait, the right one as well: an answer at once would tell it from a wrong one.
fn refuse_guessing(access: &Access, keys: &[String], steady: Duration) -> Result<(), Problem> {
    let wait = access.wait(keys, steady);
    if wait.is_zero() {
        return Ok(());
    }
    Err(Problem::too_many(
        format!("too many wrong passwords; the next one is looked at in {} s", wait.as_secs() + 1),
        wait,
    ))
}

fn open_session(admin: &Admin, name: &UserName, user: User, peer: Option<Peer>) -> Result<Begun, Problem> {
    let (secret, now) = (to_hex(&random::bytes::<32>()), clock::now());
    let print = Print::of(&secret);
    let caller = Caller::Session { user: name.clone(), role: user.role };
    let entry = entry(&caller, "Log in", "/session", peer, now);
    let stored = name.clone();
    admin.store.write::<_, StoreError>(move |batch| {
        let session = Session { user: stored.clone(), created_at: now, used_at: now };
        access::put_session(batch, &print, &session, now)?;
        access::audit(batch, &entry)?;
        access::put_user(batch, &stored, &User { login_at: Some(now), ..user })
    })?;
    let cookie =
        format!("{COOKIE}={secret}; Path=/; Max-Age={}; Secure; HttpOnly; SameSite=Lax", SESSION_AGE_MAX.as_secs());
    let cookie = HeaderValue::from_str(&cookie).expect("a cookie of hex digits is plain text");
    Ok(Begun { caller: shown(&caller), cookie })
}

fn entry(caller: &Caller, what: &str, target: &str, peer: Option<Peer>, now: Timestamp) -> Entry {
    Entry {
        at: now,
        who: caller.name().to_owned(),
        via: caller.via().to_owned(),
        what: what.to_owned(),
        target: target.to_owned(),
        status: Some(StatusCode::OK.as_u16()),
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

/// `DELETE /session`: nothing happens to whoever is not logged in.
pub(in crate::admin) async fn end(
    State(admin): Shared,
    headers: HeaderMap,
) -> Result<(StatusCode, HeaderMap), Problem> {
    if let Some(secret) = cookie(&headers) {
        let print = Print::of(&secret);
        admin
            .run(move |admin| {
                Ok(admin.store.delete::<_, StoreError>(move |batch| access::end_session(batch, &print))?)
            })
            .await?;
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
    // A user's own code counts for that user; without an admin, the code of the journal for whoever has it.
    let own = user.as_ref().and_then(|user| user.code.clone());
    let (code, is_setup) = match own {
        Some(code) => (Some(code), false),
        None => (setup.filter(|_| !has_admin && user.is_none()), true),
    };
    let wrong = || {
        Problem::forbidden("the code is wrong, used, or older than an hour").remedy(
            "`hydrophone user passwd NAME` makes a new link; without an admin `hydrophone user add NAME --role admin`",
        )
    };
    let Some(code) = code.filter(|code| code.is_good(now)) else { return Err(wrong()) };
    if code.print != Print::of(given.code.trim()) {
        // A few tries are written down, and after those nothing is.
        let tried = Code { tries: code.tries + 1, ..code };
        let name = name.clone();
        admin.store.write::<_, StoreError>(move |batch| match (is_setup, user) {
            (true, _) => access::put_setup_code(batch, Some(&tried)),
            (false, Some(user)) => access::put_user(batch, &name, &User { code: Some(tried), ..user }),
            (false, None) => Ok(()),
        })?;
        return Err(wrong());
    }
    let made = User {
        role: user.as_ref().map_or(Role::Admin, |user| user.role),
        password: Some(password::hash(&given.password)),
        created_at: user.as_ref().map_or(now, |user| user.created_at),
        login_at: user.and_then(|user| user.login_at),
        code: None,
    };
    let (stored, user) = (name.clone(), made.clone());
    let tried = code.print;
    admin.store.write::<_, Problem>(move |batch| {
        // Two may have tried with the same code at once.
        let still = if is_setup {
            access::setup_code(batch)?
        } else {
            access::user(batch, &stored)?.and_then(|user| user.code)
        };
        if still.is_none_or(|code| code.print != tried) {
            return Err(wrong());
        }
        if is_setup {
            access::put_setup_code(batch, None)?;
        }
        access::log_out(batch, &stored)?;
        Ok(access::put_user(batch, &stored, &user)?)
    })?;
    admin.access.changed();
    open_session(admin, &name, made, peer)
}
