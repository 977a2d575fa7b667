//! The page's style sheet, script and mark. They are part of the program; their addresses change with their content, so
//! that a browser keeps them for ever and never has an old one.

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ring::digest::{SHA256, digest};

use crate::domain::signature::to_hex;

/// A file of the page.
pub(super) struct File {
    path: String,
    kind: &'static str,
    content: &'static str,
}

impl File {
    fn new(stem: &str, end: &str, kind: &'static str, content: &'static str) -> Self {
        let print = to_hex(&digest(&SHA256, content.as_bytes()).as_ref()[..6]);
        Self { path: format!("/{stem}-{print}.{end}"), kind, content }
    }

    /// Its address.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The file, or that it is the one that is known.
    pub(super) fn answer(&'static self, headers: &HeaderMap) -> Response {
        let tag = HeaderValue::from_str(&format!("\"{}\"", self.path)).expect("an address is plain text");
        let cached = HeaderValue::from_static("public, max-age=31536000, immutable");
        if headers.get(header::IF_NONE_MATCH) == Some(&tag) {
            return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag), (header::CACHE_CONTROL, cached)]).into_response();
        }
        let kind = HeaderValue::from_static(self.kind);
        let headers = [(header::CONTENT_TYPE, kind), (header::ETAG, tag), (header::CACHE_CONTROL, cached)];
        (headers, Body::from(self.content)).into_response()
    }
}

/// The look of all pages.
pub(super) static LOOK: LazyLock<File> =
    LazyLock::new(|| File::new("look", "css", "text/css; charset=utf-8", include_str!("look.css")));

/// What is nicer with script.
pub(super) static SCRIPT: LazyLock<File> =
    LazyLock::new(|| File::new("page", "js", "text/javascript; charset=utf-8", include_str!("page.js")));

/// The mark in the browser's tab.
pub(super) static MARK: LazyLock<File> =
    LazyLock::new(|| File::new("mark", "svg", "image/svg+xml", include_str!("mark.svg")));
