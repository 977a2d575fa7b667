//! `api/webhooks/…`: which webhooks there are, and the log of their calls.

use std::io::Read;

use serde::Deserialize;

use super::lenient::{cut, flag, number, object, rows, text, time, word};
use super::{BadAnswer, Paging, read, total};
use crate::domain::limits::WEBHOOK_BODY_BYTES_MAX;
use crate::domain::time::Timestamp;

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Sonar's key of it.
    pub key: String,
    /// Where it calls; a user in it is masked.
    pub url: String,
}

/// A page of a webhook's log, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallsPage {
    /// Rows on the page, whether they can be used or not.
    pub rows: u64,
    /// What Sonar says the whole log has.
    pub total: u64,
    /// The calls.
    pub calls: Vec<Call>,
}

/// One call of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Sonar's identity of it.
    pub id: String,
    /// When it was made.
    pub at: Timestamp,
    /// The analysis task that it tells of, if it tells of one.
    pub task: Option<String>,
    /// Whether it was answered with success.
    pub success: bool,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
}

/// A call with what only one of them is shown with.
#[derive(Clone, PartialEq, Eq)]
pub struct CallDetail {
    /// The body. May hold users' secrets.
    pub payload: String,
    /// Why there was no answer: the class of the failure alone.
    pub error: Option<String>,
}

/// `webhooks/list`.
pub fn webhooks(answer: impl Read) -> Result<Vec<Webhook>, BadAnswer> {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(default, deserialize_with = "rows")]
        webhooks: Option<Vec<Row>>,
    }
    #[derive(Deserialize)]
    struct Row {
        #[serde(default, deserialize_with = "text")]
        key: Option<String>,
        #[serde(default, deserialize_with = "text")]
        url: Option<String>,
    }
    let rows = read::<Wire>(answer)?.webhooks.ok_or(BadAnswer::Lacks("webhooks"))?;
    Ok(rows.into_iter().filter_map(|row| Some(Webhook { key: word(row.key)?, url: row.url? })).collect())
}

/// `webhooks/deliveries`.
pub fn calls(answer: impl Read) -> Result<CallsPage, BadAnswer> {
    #[derive(Deserialize)]
    struct Wire {
        paging: Option<Paging>,
        #[serde(default, deserialize_with = "rows")]
        deliveries: Option<Vec<Row>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Row {
        #[serde(default, deserialize_with = "text")]
        id: Option<String>,
        #[serde(default, deserialize_with = "text")]
        at: Option<String>,
        #[serde(default, deserialize_with = "text")]
        ce_task_id: Option<String>,
        #[serde(default, deserialize_with = "flag")]
        success: Option<bool>,
        #[serde(default, deserialize_with = "number")]
        http_status: Option<u64>,
    }
    let wire: Wire = read(answer)?;
    let rows = wire.deliveries.ok_or(BadAnswer::Lacks("deliveries"))?;
    Ok(CallsPage {
        rows: rows.len() as u64,
        total: total(wire.paging.as_ref(), None)?,
        calls: rows
            .into_iter()
            .filter_map(|row| {
                let status = row.http_status.and_then(|status| u16::try_from(status).ok());
                Some(Call {
                    id: word(row.id)?,
                    at: time(row.at.as_deref())?,
                    task: word(row.ce_task_id),
                    // Without its own word the status tells; without either it is worth a look.
                    success: row.success.unwrap_or(status.is_some_and(|status| (200..300).contains(&status))),
                    status,
                })
            })
            .collect(),
    })
}

/// `webhooks/delivery`.
pub fn call(answer: impl Read) -> Result<CallDetail, BadAnswer> {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(default, deserialize_with = "object")]
        delivery: Option<Row>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Row {
        #[serde(default, deserialize_with = "text")]
        payload: Option<String>,
        #[serde(default, deserialize_with = "text")]
        error_stacktrace: Option<String>,
    }
    let row = read::<Wire>(answer)?.delivery.ok_or(BadAnswer::Lacks("delivery"))?;
    let payload = row.payload.ok_or(BadAnswer::Lacks("delivery.payload"))?;
    if payload.len() > WEBHOOK_BODY_BYTES_MAX {
        return Err(BadAnswer::Lacks("delivery.payload of a size that a webhook may have"));
    }
    Ok(CallDetail { payload, error: row.error_stacktrace.as_deref().and_then(failure) })
}

/// `SocketTimeoutException` out of `java.net.SocketTimeoutException: timeout\n\tat okhttp3…`. Messages may name hosts
/// and addresses of the other side; the class alone says what a person needs to know.
fn failure(trace: &str) -> Option<String> {
    let class = trace.trim_start().split(|c: char| c == ':' || c.is_whitespace()).next()?.rsplit('.').next()?;
    let plain = !class.is_empty() && class.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$');
    plain.then(|| cut(class.to_owned(), CLASS_BYTES_MAX))
}

const CLASS_BYTES_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_without_a_key_or_an_address_is_passed_over_and_a_list_that_is_missing_is_not() {
        let list =
            r#"{"webhooks":[{"key":"k","name":"n","url":"https://h/1","latestDelivery":{"id":"d"}},{"key":"x"}]}"#;
        assert_eq!(
            webhooks(list.as_bytes()).unwrap(),
            [Webhook { key: "k".to_owned(), url: "https://h/1".to_owned() }]
        );
        assert!(matches!(webhooks(&b"{}"[..]), Err(BadAnswer::Lacks("webhooks"))));
    }

    #[test]
    fn a_log_is_read_with_what_each_version_tells() {
        let log = r#"{"paging":{"pageIndex":1,"pageSize":10,"total":4},"deliveries":[
            {"id":"a","at":"2026-01-01T00:00:00+0100","ceTaskId":"t","success":true,"httpStatus":202,"durationMs":3},
            {"id":"b","at":"2026-01-01T00:00:00+0100","success":false},
            {"id":"c","at":"2026-01-01T00:00:00+0100","httpStatus":502},
            {"id":"d"}]}"#;
        let page = calls(log.as_bytes()).unwrap();
        assert_eq!((page.rows, page.total), (4, 4));
        let told: Vec<_> =
            page.calls.iter().map(|call| (call.id.as_str(), call.task.as_deref(), call.success, call.status)).collect();
        assert_eq!(told, [("a", Some("t"), true, Some(202)), ("b", None, false, None), ("c", None, false, Some(502))]);
        assert_eq!(page.calls[0].at, Timestamp::parse("2025-12-31T23:00:00Z").unwrap());
        assert!(matches!(calls(&br#"{"deliveries":[]}"#[..]), Err(BadAnswer::Lacks("paging.total"))));
    }

    #[test]
    fn of_a_failure_only_its_class_is_kept() {
        let told = |error: &str| {
            let json = serde_json::json!({"delivery": {"id": "a", "payload": "{}", "errorStacktrace": error}});
            call(json.to_string().as_bytes()).unwrap().error
        };
        for trace in [
            "java.net.SocketTimeoutException: timeout\n\tat okhttp3.X",
            "SocketTimeoutException",
            "\nSocketTimeoutException: x",
        ] {
            assert_eq!(told(trace).as_deref(), Some("SocketTimeoutException"), "{trace}");
        }
        for odd in ["", "<html>", "../../etc"] {
            assert_eq!(told(odd), None, "{odd}");
        }
        assert!(matches!(call(&br#"{"delivery":{"id":"a"}}"#[..]), Err(BadAnswer::Lacks("delivery.payload"))));
    }
}
