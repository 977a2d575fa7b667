//! Users: adding, changing, removing.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;

use crate::admin::answers::Sent;
use crate::admin::guard::remark;
use crate::admin::{Admin, Problem, Shared, shapes, views};
use crate::domain::access::{Caller, Role, check_password};
use crate::domain::ids::UserName;
use crate::domain::signature::to_hex;
use crate::store::View;
use crate::store::access::{self, Code, User};
use crate::sys::{clock, password, random};

fn shown(name: &UserName, user: &User) -> shapes::User {
    shapes::User {
        name: name.to_string(),
        role: user.role.to_string(),
        can_log_in: user.password.is_some(),
        created_at: user.created_at.to_string(),
        login_at: views::time(user.login_at),
    }
}

fn no_user(name: &UserName) -> Problem {
    Problem::missing(format!("there is no user {name}")).remedy("hydrophone user list")
}

/// `GET /users`.
pub(in crate::admin) async fn list(State(admin): Shared) -> Result<Json<shapes::UserList>, Problem> {
    let users =
        admin.read(|_, view| Ok(access::users(view)?.iter().map(|(name, user)| shown(name, user)).collect())).await?;
    Ok(Json(shapes::UserList { users }))
}

fn hashed(text: &str) -> Result<String, Problem> {
    check_password(text).map_err(|problem| Problem::bad(format!("the password {problem}")))?;
    Ok(password::hash(text))
}

/// A user with a link of their own where one was made.
fn invited(admin: &Admin, name: &UserName, user: &User, code: Option<String>) -> shapes::Invitation {
    let link = code.as_ref().map(|code| format!("{}/setup?user={name}&code={code}", admin.page_url()));
    shapes::Invitation { user: shown(name, user), link: link.map(Into::into), code: code.map(Into::into) }
}

fn new_code() -> String {
    to_hex(&random::bytes::<16>())
}

/// `POST /users`.
pub(in crate::admin) async fn add(
    State(admin): Shared,
    Sent(new): Sent<shapes::NewUser>,
) -> Result<(StatusCode, Json<shapes::Invitation>), Problem> {
    remark(&format!("{}, {}", new.name, new.role));
    let turn = admin.hashing.acquire().await.expect("nobody closes the semaphore");
    let made = admin
        .run(move |admin| {
            let (name, role, now) = (UserName::parse(&new.name)?, new.role.parse::<Role>()?, clock::now());
            let password = new.password.as_deref().map(hashed).transpose()?;
            let code = password.is_none().then(new_code);
            let user = User {
                role,
                password,
                created_at: now,
                login_at: None,
                code: code.as_deref().map(|code| Code::new(code, now)),
            };
            let (stored, record) = (name.clone(), user.clone());
            admin.store.write::<_, Problem>(move |batch| {
                if access::user(batch, &stored)?.is_some() {
                    return Err(Problem::conflict(format!("there is a user {stored} already"))
                        .remedy(format!("hydrophone user passwd {stored}")));
                }
                Ok(access::put_user(batch, &stored, &record)?)
            })?;
            admin.access.changed();
            Ok(invited(admin, &name, &user, code))
        })
        .await;
    drop(turn);
    Ok((StatusCode::CREATED, Json(made?)))
}

/// Over the network nobody takes away the last one who can set everything up; over the socket one can be made again.
fn keep_an_admin(view: &impl View, name: &UserName, caller: &Caller) -> Result<(), Problem> {
    let others = access::users(view)?;
    let others =
        others.iter().any(|(other, user)| other != name && user.role == Role::Admin && user.password.is_some());
    if others || *caller == Caller::Socket {
        return Ok(());
    }
    Err(Problem::conflict(format!("{name} is the last admin, and somebody has to be one"))
        .remedy("make another user an admin first"))
}

/// `PATCH /users/{name}`.
pub(in crate::admin) async fn edit(
    State(admin): Shared,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Sent(edit): Sent<shapes::UserEdit>,
) -> Result<Json<shapes::Invitation>, Problem> {
    let role = edit.role.as_deref().map(|role| format!("role {role}"));
    let told = [
        role,
        edit.password.is_some().then(|| "another password".to_owned()),
        edit.invite.then(|| "a link to choose a password".to_owned()),
    ];
    remark(&told.into_iter().flatten().collect::<Vec<_>>().join(", "));
    let turn = admin.hashing.acquire().await.expect("nobody closes the semaphore");
    let made = admin
        .run(move |admin| {
            let (name, now) = (UserName::parse(&name)?, clock::now());
            let role = edit.role.as_deref().map(str::parse::<Role>).transpose()?;
            let password = edit.password.as_deref().map(hashed).transpose()?;
            let code = edit.invite.then(new_code);
            let (stored, made) = (name.clone(), code.clone());
            let user = admin.store.write::<_, Problem>(move |batch| {
                let mut user = access::user(batch, &stored)?.ok_or_else(|| no_user(&stored))?;
                if role.is_some_and(|role| role < user.role) && user.role == Role::Admin {
                    keep_an_admin(batch, &stored, &caller)?;
                }
                user.role = role.unwrap_or(user.role);
                if let Some(code) = &made {
                    user.code = Some(Code::new(code, now));
                }
                if password.is_some() {
                    user.password = password;
                    user.code = None;
                    access::log_out(batch, &stored)?;
                }
                access::put_user(batch, &stored, &user)?;
                Ok(user)
            })?;
            admin.access.changed();
            Ok(invited(admin, &name, &user, code))
        })
        .await;
    drop(turn);
    Ok(Json(made?))
}

/// `DELETE /users/{name}`: they are logged out at once.
pub(in crate::admin) async fn remove(
    State(admin): Shared,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    admin
        .run(move |admin| {
            let name = UserName::parse(&name)?;
            admin.store.delete::<_, Problem>(move |batch| {
                let user = access::user(batch, &name)?.ok_or_else(|| no_user(&name))?;
                if user.role == Role::Admin && user.password.is_some() {
                    keep_an_admin(batch, &name, &caller)?;
                }
                Ok(access::remove_user(batch, &name)?)
            })?;
            admin.access.changed();
            Ok(StatusCode::NO_CONTENT)
        })
        .await
}
