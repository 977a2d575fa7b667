//! See [`crate::fuzz`].

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde::de::DeserializeOwned;

use super::{access, answers, changes, findings, page, shapes};

/// The body of a request to the API.
pub(crate) fn body(data: &[u8]) {
    let Some((which, body)) = data.split_first() else { return };
    if !answers::is_measured(body) {
        return;
    }
    let doors: [fn(&[u8]); 17] = [
        one::<shapes::NewSource>,
        one::<shapes::NewToken>,
        one::<shapes::NewImport>,
        one::<shapes::ProjectEdit>,
        one::<shapes::AssetEdit>,
        one::<shapes::NewValue>,
        one::<shapes::TriageDecision>,
        one::<shapes::TriageBatch>,
        one::<shapes::Credentials>,
        one::<shapes::NewUser>,
        one::<shapes::NewApiToken>,
        one::<shapes::NewDestination>,
        one::<shapes::DestinationEdit>,
        one::<shapes::DestinationReplay>,
        one::<shapes::MappingEdit>,
        one::<shapes::FilterChoice>,
        one::<shapes::NewSync>,
    ];
    doors[usize::from(*which) % doors.len()](body);
}

fn one<T: DeserializeOwned>(body: &[u8]) {
    let _ = serde_json::from_slice::<T>(body);
}

/// Headers, one a line, and an address before them.
pub(crate) fn login(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let address: Uri =
        std::str::from_utf8(lines.next().unwrap_or_default()).unwrap_or_default().parse().unwrap_or_default();
    let mut headers = HeaderMap::new();
    for line in lines.take(50) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    access::fuzz(&headers, &address);
    let _ = super::repeats::key(&headers);
}

/// What stands behind a question mark.
pub(crate) fn query(data: &[u8]) {
    let Ok(query) = std::str::from_utf8(data) else { return };
    let Ok(address) = format!("/?{query}").parse::<Uri>() else { return };
    let _ = axum::extract::Query::<findings::Wanted>::try_from_uri(&address);
    let _ = axum::extract::Query::<changes::Wanted>::try_from_uri(&address);
    page::fuzz_query(query);
}

/// A rule's HTML on the page.
pub(crate) fn prose(text: &str) {
    page::fuzz_prose(text);
}
