//! Settings: what they are set to, and setting them.

pub(super) mod certificate;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};

use super::answers::Sent;
use super::guard::remark;
use super::{Admin, Problem, Shared, shapes};
use crate::domain::settings::{FREE_SPACE_MIN, KNOWN, LOG_LEVEL, NETWORKS_MODE, PUBLIC_URL, TRUSTED_PROXIES, known};
use crate::store::settings;
use crate::store::settings::number_of;
use crate::sys::log;

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
                        notes: Vec::new(),
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
    let known = known(&key).ok_or_else(|| {
        let names: Vec<_> = KNOWN.iter().map(|known| known.key).collect();
        Problem::missing(format!("there is no setting {key:?}"))
            .remedy(format!("the settings are: {}", names.join(", ")))
    })?;
    let value = new.value.filter(|value| !value.is_empty());
    if let Some(value) = &value {
        (known.check)(value).map_err(|problem| Problem::bad(format!("{key} {problem}")).at("value"))?;
    }
    set_all(&admin, vec![(known.key, value.clone())]).await?;
    let notes = if known.key == PUBLIC_URL {
        admin.run(|admin| Ok(admin.certificates.get().and_then(|held| held.public_url_note()))).await?
    } else {
        None
    };
    Ok(Json(shapes::Setting {
        key,
        value: value.or_else(|| known.default.map(str::to_owned)),
        default: known.default.map(str::to_owned),
        help: known.help.to_owned(),
        notes: Vec::from_iter(notes),
    }))
}

/// Sets settings whose values were checked, all of them or none; one without a value has its default again.
pub(super) async fn set_all(admin: &Arc<Admin>, values: Vec<(&'static str, Option<String>)>) -> Result<(), Problem> {
    let told = values.iter().map(|(key, value)| format!("{key} = {}", value.as_deref().unwrap_or("the default")));
    remark(&told.collect::<Vec<_>>().join(", "));
    admin
        .run(move |admin| {
            // Admitted on a full disk as deletions are: it takes no room, and is how a person lets more in again.
            admin.store.delete::<_, Problem>(move |batch| {
                for (key, value) in &values {
                    settings::set(batch, key, value.as_deref())?;
                }
                Ok(())
            })?;
            let (free, [level, proxies, mode]) = admin.store.read::<_, Problem>(|view| {
                let value = |key| settings::value(view, key);
                let values = [value(LOG_LEVEL)?, value(TRUSTED_PROXIES)?, value(NETWORKS_MODE)?];
                Ok((number_of(view, FREE_SPACE_MIN)?, values))
            })?;
            admin.store.set_free_space_min(free * 1024 * 1024);
            log::choose(level.as_deref());
            admin.border.heed(proxies.as_deref(), mode.as_deref());
            Ok(())
        })
        .await
}
