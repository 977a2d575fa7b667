//! The whole store as one file, and whether all of it is what was written.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use http_body_util::channel::Channel;
use tokio::sync::oneshot;

use super::answers::Sent;
use super::{Problem, Shared, export, shapes};
use crate::domain::access::Caller;
use crate::store::backup::BackupError;
use crate::sys::clock;
use crate::sys::seal::passphrase::Wrapping;

/// `POST /backup`: everything as of one moment, as a file. Secrets in it stay sealed; with a wrapping, the key that opens
/// them is in it, sealed with that.
///
/// Only over the socket: whoever asks over the network chooses the wrapping, and would have every secret in plain text with a
/// session or token that was stolen. What the API otherwise never tells stays on the box.
pub(super) async fn make(
    State(admin): Shared,
    Extension(caller): Extension<Caller>,
    Sent(asked): Sent<shapes::BackupAsked>,
) -> Result<Response, Problem> {
    if asked.wrapping.is_some() && caller != Caller::Socket {
        return Err(Problem::forbidden("the key of this box is not given out over the network")
            .at("wrapping")
            .remedy("on the box itself: hydrophone backup FILE --with-keys; or take a backup without it"));
    }
    let wrapping = match asked.wrapping.as_deref() {
        None => None,
        Some(text) => Some(wrapping(text).ok_or_else(|| Problem::bad("this is no wrapping").at("wrapping"))?),
    };
    let Ok(permit) = Arc::clone(&admin.backups).try_acquire_owned() else {
        return Err(Problem::too_many(
            "a backup is being taken, or every record read, just now",
            Duration::from_secs(10),
        ));
    };
    let (sender, channel) = Channel::<Bytes, io::Error>::new(1);
    let sent = export::Sent::new(sender);
    let (begun, beginning) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let mut out = Begun { out: BufWriter::with_capacity(export::CHUNK_BYTES, sent), begun: Some(begun) };
        match admin.store.backup(&mut out, wrapping.as_ref(), clock::now()) {
            Ok(rows) => tracing::info!("a backup of {rows} rows was made"),
            Err(error) => {
                if let Some(begun) = out.begun.take() {
                    // Whoever asked may be gone.
                    drop(begun.send(Err(error)));
                } else {
                    tracing::warn!("a backup ended early: {error}");
                    // Without it what was sent would look whole.
                    let (sent, _) = out.out.into_parts();
                    sent.abort(io::Error::other(error.to_string()));
                }
            }
        }
    });
    match beginning.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(refused(error)),
        Err(_) => return Err(Problem::internal("the backup failed inside hydrophone; its log says more")),
    }
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-store")),
    ];
    Ok((headers, Body::new(channel)).into_response())
}

fn refused(error: BackupError) -> Problem {
    match error {
        BackupError::Store(error) => error.into(),
        BackupError::Busy | BackupError::KeyChanging => Problem::conflict(error.to_string()),
        BackupError::Write(_) | BackupError::TooMuch => Problem::internal(error.to_string()),
    }
}

/// Says when the first of it is there: until then it can be refused.
struct Begun {
    out: BufWriter<export::Sent>,
    begun: Option<oneshot::Sender<Result<(), BackupError>>>,
}

impl Write for Begun {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(begun) = self.begun.take() {
            let _ = begun.send(Ok(()));
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn wrapping(text: &str) -> Option<Wrapping> {
    use base64::Engine;
    let bytes = zeroize::Zeroizing::new(base64::engine::general_purpose::STANDARD.decode(text).ok()?);
    Wrapping::from_bytes(&bytes)
}

/// `GET /verify`: reads every record.
pub(super) async fn verify(State(admin): Shared) -> Result<Json<shapes::Verified>, Problem> {
    let Ok(permit) = Arc::clone(&admin.backups).try_acquire_owned() else {
        return Err(Problem::too_many(
            "a backup is being taken, or every record read, just now",
            Duration::from_secs(10),
        ));
    };
    // It goes with this request: whoever asked may hang up.
    let asking = Arc::new(());
    let asked = Arc::downgrade(&asking);
    let verified = admin
        .block(move |admin| {
            // The reading is what is limited, not the waiting for it.
            let _permit = permit;
            Ok(admin.store.verify(&|| asked.strong_count() > 0)?)
        })
        .await?;
    drop(asking);
    let tables = verified.tables.into_iter();
    let tables =
        tables.map(|table| shapes::VerifiedTable { table: table.table, rows: table.rows, damaged: table.damaged });
    Ok(Json(shapes::Verified { rows: verified.rows, damaged: verified.damaged, tables: tables.collect() }))
}
