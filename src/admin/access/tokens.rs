//! API tokens: 256 random bits that are shown once.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::admin::answers::Sent;
use crate::admin::{Problem, Shared, shapes, views};
use crate::domain::access::Role;
use crate::domain::ids::TokenName;
use crate::domain::signature::to_hex;
use crate::store::access::{self, Print, Token};
use crate::sys::{clock, random};

fn shown(token: &Token) -> shapes::ApiToken {
    shapes::ApiToken {
        name: token.name.to_string(),
        role: token.role.to_string(),
        created_at: token.created_at.to_string(),
        expires_at: views::time(token.expires_at),
        used_at: views::time(token.used_at),
    }
}

/// `GET /tokens`.
pub(in crate::admin) async fn list(State(admin): Shared) -> Result<Json<shapes::ApiTokenList>, Problem> {
    let tokens = admin.read(|_, view| Ok(access::tokens(view)?.iter().map(shown).collect())).await?;
    Ok(Json(shapes::ApiTokenList { tokens }))
}

/// `POST /tokens`.
pub(in crate::admin) async fn add(
    State(admin): Shared,
    Sent(new): Sent<shapes::NewApiToken>,
) -> Result<(StatusCode, Json<shapes::MadeApiToken>), Problem> {
    let made = admin
        .run(move |admin| {
            let (name, role, now) = (TokenName::parse(&new.name)?, new.role.parse::<Role>()?, clock::now());
            if new.days == Some(0) {
                return Err(Problem::bad("a token is good for a day at least"));
            }
            let expires_at = new.days.map(|days| now.plus(Duration::from_hours(24 * u64::from(days))));
            let token = Token { name, role, created_at: now, expires_at, used_at: None };
            // The prefix lets people and scanners of secrets know what it is.
            let secret = format!("hyd_{}", to_hex(&random::bytes::<32>()));
            let (print, stored) = (Print::of(&secret), token.clone());
            admin.store.write::<_, Problem>(move |batch| {
                if access::token_named(batch, &stored.name)?.is_some() {
                    return Err(Problem::conflict(format!("there is a token {} already", stored.name))
                        .remedy("give this one another name, or remove that one"));
                }
                Ok(access::put_token(batch, &print, &stored)?)
            })?;
            Ok(shapes::MadeApiToken { token: shown(&token), secret: secret.into() })
        })
        .await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// `DELETE /tokens/{name}`: it is not good any more at once.
pub(in crate::admin) async fn remove(State(admin): Shared, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    admin
        .run(move |admin| {
            let name = TokenName::parse(&name)?;
            admin.store.delete::<_, Problem>(move |batch| {
                if access::remove_token(batch, &name)? {
                    return Ok(());
                }
                Err(Problem::missing(format!("there is no token {name}")).remedy("hydrophone token list"))
            })?;
            Ok(StatusCode::NO_CONTENT)
        })
        .await
}
