//! API tokens: 256 random bits that are shown once.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::admin::answers::Sent;
use crate::admin::guard::remark;
use crate::admin::{Problem, Shared, shapes, views};
use crate::domain::access::Role;
use crate::domain::condition::{Condition, Urgency};
use crate::domain::ids::TokenName;
use crate::domain::limits;
use crate::domain::signature::to_hex;
use crate::domain::time::Timestamp;
use crate::store::access::{self, Print, Token};
use crate::store::{Reader, StoreError};
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

/// Tokens that end soon, or that ended not long ago: what uses them is refused then.
pub(in crate::admin) fn conditions(view: &Reader, now: Timestamp) -> Result<Vec<Condition>, StoreError> {
    Ok(access::tokens(view)?.iter().filter_map(|token| of_token(token, now)).collect())
}

fn of_token(token: &Token, now: Timestamp) -> Option<Condition> {
    let (name, ends) = (&token.name, token.expires_at?);
    let text = if ends <= now {
        format!("API token {name} ended at {ends}, and what uses it is refused")
    } else {
        format!("API token {name} ends at {ends}, in {} days", ends.since(now).as_secs() / 86_400)
    };
    let is_near = ends.since(now) < limits::TOKEN_ENDS_SOON && now.since(ends) < limits::TOKEN_ENDED_SHOWN_FOR;
    is_near.then(|| Condition {
        urgency: Urgency::Warning,
        code: "api_token_ends",
        text,
        remedy: format!(
            "make another (hydrophone token add NAME --role {} --days DAYS), give it to what uses this one, and remove this \
             one: hydrophone token remove {name}",
            token.role
        ),
    })
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
    let ends = new.days.map(|days| format!(", for {days} days")).unwrap_or_default();
    remark(&format!("{}, {}{ends}", new.name, new.role));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_token_is_a_condition_fourteen_days_before_its_end_and_after_it() {
        let day = |day: u64| Timestamp(0).plus(Duration::from_hours(24 * day));
        let token = |expires_at| Token {
            name: TokenName::parse("robot").expect("a name"),
            role: Role::Operator,
            created_at: day(0),
            expires_at,
            used_at: None,
        };
        let shown = |now| of_token(&token(Some(day(100))), now);
        for (now, is_shown) in [(86, false), (87, true), (99, true), (100, true), (113, true), (114, false)] {
            assert_eq!(shown(day(now)).is_some(), is_shown, "day {now}");
        }
        assert_eq!(of_token(&token(None), day(100)), None);
        let (before, after) = (shown(day(90)).expect("it is near"), shown(day(101)).expect("it was near"));
        assert!(before.text.ends_with("in 10 days") && after.text.contains("ended at"), "{before:?} {after:?}");
        assert!(before.remedy.contains("--role operator") && before.remedy.contains("token remove robot"));
    }
}
