//! The certificate that the webhook listener and the page show.

use axum::Json;
use axum::extract::State;

use crate::admin::{Problem, Shared, shapes};
use crate::domain::time::Timestamp;
use crate::sys::{clock, tls};

/// `GET /certificate`.
pub(in crate::admin) async fn show(State(admin): Shared) -> Result<Json<shapes::Certificate>, Problem> {
    let certificate = admin
        .run(|admin| {
            let shown = admin.certificate().ok_or_else(|| {
                Problem::missing("this box has no certificate: neither listener speaks TLS by itself")
            })?;
            let read =
                tls::describe(&shown).ok_or_else(|| Problem::internal("the box's own certificate cannot be read"))?;
            let mut listeners = Vec::new();
            if let Some(address) = admin.webhook_address.filter(|_| admin.webhook_tls) {
                listeners.push(shapes::CertificateUse { what: "webhooks".to_owned(), address: address.to_string() });
            }
            if let Some(address) = admin.page_address {
                listeners.push(shapes::CertificateUse { what: "page".to_owned(), address: address.to_string() });
            }
            let time = |seconds: i64| Timestamp(seconds.saturating_mul(1000));
            let ends = time(read.not_after);
            Ok(shapes::Certificate {
                subject: read.subject,
                issuer: read.issuer,
                self_signed: read.self_signed,
                names: read.names,
                fingerprint: read.fingerprint,
                not_before: time(read.not_before).to_string(),
                not_after: ends.to_string(),
                days_left: i64::try_from(ends.since(clock::now()).as_secs() / 86_400).unwrap_or(i64::MAX),
                listeners,
            })
        })
        .await?;
    Ok(Json(certificate))
}
