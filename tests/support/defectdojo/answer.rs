//! Answers, in the five shapes of DefectDojo's errors and in its shape of lists.

use serde_json::{Map, Value, json};

/// An answer, good or bad.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: String,
    pub(super) location: Option<String>,
}

pub(super) type Outcome = Result<Answer, Answer>;

pub(super) fn json_answer(status: u16, body: &Value) -> Answer {
    Answer { status, content_type: "application/json", body: body.to_string(), location: None }
}

pub(super) fn ok(body: &Value) -> Answer {
    json_answer(200, body)
}

/// `{"detail"}`: rights, unknown objects, methods.
pub(super) fn detail(status: u16, text: &str) -> Answer {
    json_answer(status, &json!({ "detail": text }))
}

pub(super) fn not_permitted() -> Answer {
    detail(403, "You do not have permission to perform this action.")
}

/// An object that is not there or may not be seen; the two look alike.
pub(super) fn no_such(kind: &str) -> Answer {
    detail(404, &format!("No {kind} matches the given query."))
}

/// `{"<field>":[..],"message","pro"}`: a value that was refused.
pub(super) fn refused(field: &str, text: &str) -> Answer {
    let message = format!("{{'{field}': [ErrorDetail(string='{text}', code='invalid')]}}");
    let mut body = with_pro(400, &message);
    body.insert(field.to_owned(), json!([text]));
    json_answer(400, &Value::Object(body))
}

/// `{"message","pro"}`: a file that was refused, its message written as Python writes a list of one text.
pub(super) fn bad_file(text: &str) -> Answer {
    let quoted = if text.contains('\'') && !text.contains('"') {
        format!("\"{text}\"")
    } else {
        format!("'{}'", text.replace('\'', "\\'"))
    };
    json_answer(400, &Value::Object(with_pro(400, &format!("[{quoted}]"))))
}

pub(super) fn internal_error() -> Answer {
    json_answer(500, &Value::Object(with_pro(500, "Internal server error, check logs for details")))
}

/// A bare array of one text: what the import's context refuses.
pub(super) fn bad_context(text: &str) -> Answer {
    json_answer(400, &json!([text]))
}

/// A bare text.
pub(super) fn bare(status: u16, text: &str) -> Answer {
    json_answer(status, &json!(text))
}

/// A filter with a value that is no choice.
pub(super) fn bad_choice(filter: &str) -> Answer {
    let text = "Select a valid choice. That choice is not one of the available choices.";
    json_answer(400, &json!({ filter: [text] }))
}

/// What DefectDojo has, but this simulation does not. No status of DefectDojo's, so that it shows.
pub(super) fn unsimulated(what: &str) -> Answer {
    detail(501, &format!("Simulation: {what} is not simulated"))
}

/// A path outside the API is answered by the web interface.
pub(super) fn page_not_found() -> Answer {
    let body = "<!DOCTYPE html><html lang=\"en\"><head><title>DefectDojo | Not Found</title></head>\
                <body><h1>404 Not Found</h1></body></html>";
    Answer { status: 404, content_type: "text/html; charset=utf-8", body: body.to_owned(), location: None }
}

pub(super) fn moved(to: String) -> Answer {
    Answer { status: 301, content_type: "text/html; charset=utf-8", body: String::new(), location: Some(to) }
}

pub(super) fn no_content() -> Answer {
    Answer { status: 204, content_type: "application/json", body: String::new(), location: None }
}

fn with_pro(status: u16, message: &str) -> Map<String, Value> {
    debug_assert!(status >= 400, "good answers advertise nothing");
    let mut body = Map::new();
    body.insert("message".to_owned(), json!(message));
    // The real one advertises the paid edition here.
    body.insert("pro".to_owned(), json!(["An advertisement."]));
    body
}

/// One page of a list, as `limit` and `offset` ask for it. A limit that is no positive number means 25; there is no
/// ceiling.
pub(super) fn list(url: &str, path: &str, query: &[(String, String)], rows: &[Value]) -> Answer {
    let number = |name: &str| query.iter().rev().find(|(one, _)| one == name).and_then(|(_, v)| v.parse::<i64>().ok());
    let limit = number("limit").and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0).unwrap_or(25);
    let offset = number("offset").and_then(|offset| usize::try_from(offset).ok()).unwrap_or(0);
    let link = |offset: Option<usize>| {
        let mut pairs: Vec<(String, String)> =
            query.iter().filter(|(name, _)| name != "limit" && name != "offset").cloned().collect();
        pairs.push(("limit".to_owned(), limit.to_string()));
        pairs.extend(offset.map(|offset| ("offset".to_owned(), offset.to_string())));
        pairs.sort();
        let pairs: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
        format!("{url}{path}?{}", pairs.join("&"))
    };
    let next = (offset + limit < rows.len()).then(|| link(Some(offset + limit)));
    let previous = (offset > 0).then(|| link(offset.checked_sub(limit).filter(|offset| *offset > 0)));
    let start = offset.min(rows.len());
    let page = &rows[start..(start + limit).min(rows.len())];
    ok(&json!({ "count": rows.len(), "next": next, "previous": previous, "results": page, "prefetch": {} }))
}

fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
