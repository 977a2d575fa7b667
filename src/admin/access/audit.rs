//! The audit log, read: some of it at a time, or all of it as a file.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::admin::answers::Query;
use crate::admin::{Admin, Problem, Shared, shapes};
use crate::domain::limits::LIST_ROWS_MAX;
use crate::store::{Reader, StoreError, audit};

/// Which part of the log.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Wanted {
    /// Entries before this one.
    pub(in crate::admin) before: Option<u64>,
    /// So many at most; 100 without it.
    limit: Option<usize>,
    /// Those by whoever has this in their name.
    pub(in crate::admin) who: Option<String>,
    /// Those that have this in what was done, or in what it was done to.
    pub(in crate::admin) what: Option<String>,
}

impl Wanted {
    fn takes(&self, entry: &audit::Entry) -> bool {
        let has = |wanted: &Option<String>, texts: &[&str]| {
            let wanted = wanted.as_deref().unwrap_or_default().trim().to_lowercase();
            texts.iter().any(|text| text.to_lowercase().contains(&wanted))
        };
        has(&self.who, &[&entry.who]) && has(&self.what, &[&entry.what, &entry.target])
    }
}

/// Some of the log, the newest first. Where nearly nothing matches, a page may hold less than was asked for, or nothing,
/// and still say where the next one begins.
fn some(view: &Reader, wanted: &Wanted, most: usize) -> Result<shapes::AuditList, StoreError> {
    let (mut entries, mut before) = (Vec::new(), wanted.before);
    for _ in 0..EXAMINED_MAX / LIST_ROWS_MAX {
        let rows = audit::before(view, before, LIST_ROWS_MAX)?;
        let is_last = rows.len() < LIST_ROWS_MAX;
        for (id, entry) in rows {
            if entries.len() == most {
                return Ok(shapes::AuditList { entries, next: before });
            }
            before = Some(id);
            if wanted.takes(&entry) {
                entries.push(shown(id, entry));
            }
        }
        if is_last {
            return Ok(shapes::AuditList { entries, next: None });
        }
    }
    Ok(shapes::AuditList { entries, next: before })
}

/// Entries that one page is looked for in.
const EXAMINED_MAX: usize = 20 * LIST_ROWS_MAX;

fn shown(id: u64, entry: audit::Entry) -> shapes::AuditEntry {
    shapes::AuditEntry {
        id,
        at: entry.at.to_string(),
        who: entry.who,
        via: entry.via,
        what: entry.what,
        target: entry.target,
        status: entry.status,
        from: entry.from,
    }
}

/// `GET /audit`.
pub(in crate::admin) async fn list(
    State(admin): Shared,
    Query(wanted): Query<Wanted>,
) -> Result<Json<shapes::AuditList>, Problem> {
    let most = wanted.limit.unwrap_or(100).clamp(1, LIST_ROWS_MAX);
    Ok(Json(admin.read(move |_, view| Ok(some(view, &wanted, most)?)).await?))
}

/// As which file.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct File {
    /// `csv`, or `jsonl` for a JSON document a line.
    format: String,
    /// Those by whoever has this in their name.
    who: Option<String>,
    /// Those that have this in what was done, or in what it was done to.
    what: Option<String>,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Csv,
    JsonLines,
}

/// `GET /audit/export`: all that matches, the newest first, read and sent some at a time.
pub(in crate::admin) async fn export(State(admin): Shared, Query(file): Query<File>) -> Result<Response, Problem> {
    let (form, kind, name) = match file.format.as_str() {
        "csv" => (Form::Csv, "text/csv; charset=utf-8", "audit.csv"),
        "jsonl" => (Form::JsonLines, "application/jsonl", "audit.jsonl"),
        other => return Err(Problem::bad(format!("{other:?} is no format; they are: csv, jsonl")).at("format")),
    };
    let wanted = Wanted { before: None, limit: None, who: file.who, what: file.what };
    let (sender, channel) = Channel::<Bytes, std::io::Error>::new(2);
    tokio::spawn(send(admin, wanted, form, sender));
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    Ok((headers, Body::new(channel)).into_response())
}

async fn send(admin: Arc<Admin>, mut wanted: Wanted, form: Form, mut sender: Sender<Bytes, std::io::Error>) {
    let mut head = form == Form::Csv;
    loop {
        let asked = wanted.clone();
        let page = admin.read(move |_, view| Ok(some(view, &asked, LIST_ROWS_MAX)?)).await;
        let text = page.as_ref().map_err(|_| ()).and_then(|page| written(page, form, head));
        let (Ok(page), Ok(text)) = (page, text) else {
            // A file that ends early must not look whole.
            sender.abort(std::io::Error::other("the audit log cannot be read"));
            return;
        };
        head = false;
        if !text.is_empty() && sender.send_data(Bytes::from(text)).await.is_err() {
            return;
        }
        match page.next {
            Some(next) => wanted.before = Some(next),
            None => return,
        }
    }
}

fn written(page: &shapes::AuditList, form: Form, head: bool) -> Result<Vec<u8>, ()> {
    match form {
        Form::JsonLines => {
            let mut text = Vec::new();
            for entry in &page.entries {
                serde_json::to_writer(&mut text, entry).map_err(drop)?;
                text.push(b'\n');
            }
            Ok(text)
        }
        Form::Csv => {
            let mut rows = csv::Writer::from_writer(Vec::new());
            if head {
                rows.write_record(shapes::AuditEntry::COLUMNS).map_err(drop)?;
            }
            for entry in &page.entries {
                rows.write_record(entry.columns()).map_err(drop)?;
            }
            rows.into_inner().map_err(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_rows_has_one_head_and_no_formulas() {
        let entry = |id, target: &str| shapes::AuditEntry {
            id,
            at: "2026-11-21T14:03:00Z".to_owned(),
            who: "ines".to_owned(),
            via: "page".to_owned(),
            what: "Add an asset".to_owned(),
            target: target.to_owned(),
            status: (id == 1).then_some(201),
            from: None,
        };
        let page = shapes::AuditList { entries: vec![entry(1, "=1+1"), entry(2, "/a,\"b\"")], next: None };
        let text = |form, head| String::from_utf8(written(&page, form, head).expect("it is written")).expect("text");
        let rows = "1,2026-11-21T14:03:00Z,ines,page,,Add an asset,'=1+1,201\n\
                    2,2026-11-21T14:03:00Z,ines,page,,Add an asset,\"/a,\"\"b\"\"\",\n";
        assert_eq!(text(Form::Csv, false), rows);
        assert_eq!(text(Form::Csv, true), format!("id,at,who,via,from,what,target,status\n{rows}"));
        let lines: Vec<serde_json::Value> =
            text(Form::JsonLines, true).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!((lines.len(), &lines[0]["target"]), (2, &"=1+1".into()));
    }
}
