//! The key that secrets are sealed with: which one it is, and another one in its place.

use axum::Json;
use axum::extract::{Extension, State};

use super::{Problem, Shared, shapes};
use crate::domain::access::Caller;
use crate::store::keychange::KeyChangeError;
use crate::store::secrets::Locked;
use crate::sys::clock;
use crate::sys::seal::BadKey;

/// `GET /key`: nothing of the key itself.
pub(super) async fn show(State(admin): Shared) -> Result<Json<shapes::SealingKey>, Problem> {
    let found = admin.run(|admin| match admin.store.locked() {
        Some(locked) => Ok(Err(locked)),
        None => Ok(Ok(admin.store.key()?)),
    });
    let key = match found.await? {
        Ok(key) => key,
        Err(locked) => return Ok(Json(missing(locked))),
    };
    Ok(Json(shapes::SealingKey {
        id: key.id.to_string(),
        missing: None,
        credential: key.is_credential,
        name: key.file.as_ref().and_then(|file| file.file_name()).map(|name| name.to_string_lossy().into_owned()),
        place: key.file.map(|file| file.display().to_string()),
        since: key.since.map(|since| since.to_string()),
        former: key.former.map(|former| former.to_string()),
    }))
}

/// Of a box that is locked, the key that it needs.
fn missing(locked: Locked) -> shapes::SealingKey {
    shapes::SealingKey {
        id: locked.needed.to_string(),
        missing: Some(locked.to_string()),
        credential: false,
        name: None,
        place: None,
        since: None,
        former: None,
    }
}

/// `POST /key/rotate`: everything is sealed with another key, and the former one is forgotten.
///
/// Only over the socket: the former key is what older backups need, and whoever stole a session could make them worthless.
pub(super) async fn rotate(
    State(admin): Shared,
    Extension(caller): Extension<Caller>,
) -> Result<Json<shapes::KeyRotated>, Problem> {
    if caller != Caller::Socket {
        return Err(Problem::forbidden("the key of this box is not changed over the network")
            .remedy("on the box itself: hydrophone key rotate"));
    }
    let changed = admin
        .block(|admin| {
            let changed = admin.store.begin_key_change(clock::now()).map_err(refused)?;
            tracing::info!("secrets are sealed with the key {} from here on", changed.present);
            let finished = loop {
                match admin.store.continue_key_change(clock::now()) {
                    Ok(true) => {}
                    Ok(false) => break true,
                    Err(error) => {
                        tracing::warn!("the change of the key goes on later: {error}");
                        break false;
                    }
                }
            };
            let (id, former) = (changed.present.to_string(), changed.former.to_string());
            Ok(shapes::KeyRotated { id, former, finished, credential: admin.store.key()?.is_credential })
        })
        .await?;
    Ok(Json(changed))
}

fn refused(error: KeyChangeError) -> Problem {
    match error {
        KeyChangeError::Store(error) => error.into(),
        KeyChangeError::Key(BadKey::NoNext) => Problem::conflict(error.to_string()).remedy(
            "the steps: hydrophone key rotate --help; the new key is made and encrypted in one go, so that it never lies on the disk",
        ),
        KeyChangeError::Key(_) | KeyChangeError::Underway | KeyChangeError::Busy => Problem::conflict(error.to_string()),
        KeyChangeError::Copy(_) | KeyChangeError::Place(_) => Problem::internal(error.to_string()),
    }
}
