//! Settings: their names, defaults, checks and what they are for.

use axum::Json;
use axum::extract::{Path, State};

use super::answers::Sent;
use super::{Problem, Shared, shapes};
use crate::domain::limits;
use crate::store::{StoreError, View, settings};

/// A setting that the product knows.
struct Known {
    key: &'static str,
    default: Option<&'static str>,
    help: &'static str,
    check: fn(&str) -> Result<(), String>,
}

/// The address at which Sonar reaches the webhook listener.
pub const PUBLIC_URL: &str = "public-url";
/// Threads that read Sonar.
pub const SYNC_WORKERS: &str = "sync-workers";
/// Free space below which nothing new is taken in, MiB.
pub const FREE_SPACE_MIN: &str = "free-space-min-mib";

const _: () = assert!(limits::FREE_SPACE_BYTES_MIN == 64 * 1024 * 1024, "the table's default is the limit's");

const KNOWN: &[Known] = &[
    Known {
        key: FREE_SPACE_MIN,
        default: Some("64"),
        help: "free space on the state folder's disk, in MiB, below which webhooks are answered 503",
        check: |value| number(value, 1, 1_000_000),
    },
    Known {
        key: PUBLIC_URL,
        default: None,
        help: "the address at which Sonar reaches the webhook listener, such as https://hooks.example.com",
        check: check_url,
    },
    Known {
        key: SYNC_WORKERS,
        default: Some("2"),
        help: "scopes that are read at the same time, 1 to 16; takes effect at the next start",
        check: |value| number(value, 1, 16),
    },
];

fn number(value: &str, least: u64, most: u64) -> Result<(), String> {
    match value.parse::<u64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(()),
        _ => Err(format!("must be a number from {least} to {most}")),
    }
}

/// Checks an address that others shall reach us at: http or https, a host, no path that ends in a slash is needed.
pub fn check_url(value: &str) -> Result<(), String> {
    let rest = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
    if value.chars().any(|c| c.is_whitespace() || c.is_control()) || value.contains(['?', '#', '@']) {
        return Err("must be a plain address without query, fragment or user".to_owned());
    }
    // Sonar takes addresses of up to 512 characters; the endpoint's part has 39.
    match host {
        Some(host) if !host.is_empty() && value.len() <= 470 => Ok(()),
        Some(_) => Err("must name a host and have at most 470 characters".to_owned()),
        None => Err("must begin with https:// (or http:// behind a tunnel that adds TLS)".to_owned()),
    }
}

/// A setting's number in force.
pub fn number_of(view: &impl View, key: &str) -> Result<u64, StoreError> {
    let own = settings::value(view, key)?.and_then(|value| value.parse().ok());
    let default = || KNOWN.iter().find(|known| known.key == key)?.default?.parse().ok();
    Ok(own.or_else(default).unwrap_or_default())
}

/// `GET /config`.
pub(super) async fn list(State(admin): Shared) -> Result<Json<shapes::SettingList>, Problem> {
    let settings = admin
        .read(|_, view| {
            KNOWN
                .iter()
                .map(|known| {
                    let own = settings::value(view, known.key)?;
                    Ok(shapes::Setting {
                        key: known.key.to_owned(),
                        value: own.or_else(|| known.default.map(str::to_owned)),
                        default: known.default.map(str::to_owned),
                        help: known.help.to_owned(),
                    })
                })
                .collect::<Result<Vec<_>, Problem>>()
        })
        .await?;
    Ok(Json(shapes::SettingList { settings }))
}

/// `PUT /config/{key}`.
pub(super) async fn set(
    State(admin): Shared,
    Path(key): Path<String>,
    Sent(new): Sent<shapes::NewValue>,
) -> Result<Json<shapes::Setting>, Problem> {
    let known = KNOWN.iter().find(|known| known.key == key).ok_or_else(|| {
        let names: Vec<_> = KNOWN.iter().map(|known| known.key).collect();
        Problem::missing(format!("there is no setting {key:?}"))
            .remedy(format!("the settings are: {}", names.join(", ")))
    })?;
    let value = new.value.filter(|value| !value.is_empty());
    if let Some(value) = &value {
        (known.check)(value).map_err(|problem| Problem::bad(format!("{key} {problem}")))?;
    }
    let stored = value.clone();
    admin
        .run(move |admin| {
            // Admitted on a full disk as deletions are: it takes no room, and is how a person lets more in again.
            admin.store.delete::<_, Problem>(move |batch| Ok(settings::set(batch, known.key, stored.as_deref())?))?;
            let free = admin.store.read::<_, Problem>(|view| Ok(number_of(view, FREE_SPACE_MIN)?))?;
            admin.store.set_free_space_min(free * 1024 * 1024);
            Ok(())
        })
        .await?;
    Ok(Json(shapes::Setting {
        key,
        value: value.or_else(|| known.default.map(str::to_owned)),
        default: known.default.map(str::to_owned),
        help: known.help.to_owned(),
    }))
}
