//! The calls of DefectDojo's API, and what its refusals mean.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use ureq::http::{Method, header};

use super::wire::{self, Imported, Page, Row, TestImport};
use crate::domain::signature::to_hex;
use crate::platform::Trouble;
use crate::platform::http::{Answer, Http};
use crate::sys::random;

/// The API of one server.
pub(super) struct Calls {
    http: Http,
    /// The destination's name, for remedies.
    name: String,
}

/// What became of a PATCH of one finding.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Patched {
    Done,
    /// Somebody deleted it, or took it out of our sight.
    Missing,
    /// It will not have it, for this reason.
    Refused(String),
}

/// What became of a reimport.
#[derive(Debug)]
pub(super) enum Sent {
    Done(Imported),
    /// It broke off in its middle. What came before stays.
    Broke(String),
    /// Nothing of the file was taken.
    Refused(String),
    /// Nothing was done.
    Not(Trouble),
    /// The server may still be at it.
    Unknown(Trouble),
}

impl Calls {
    pub(super) fn new(http: Http, name: String) -> Self {
        Self { http, name }
    }

    pub(super) fn host(&self) -> &str {
        self.http.host()
    }

    /// Asks for one object; nothing where it is not there, or may not be seen.
    pub(super) fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Trouble> {
        let answer = self.http.get(&format!("{API}{path}"))?;
        if answer.status == 404 && wire::complaint(&answer.body).is_some() {
            return Ok(None);
        }
        self.judge(&answer)?;
        answer.read().map(Some)
    }

    /// Asks for an object that is there, or for a page of a list.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Trouble> {
        let answer = self.http.get(&format!("{API}{path}"))?;
        self.judge(&answer)?;
        answer.read()
    }

    /// Asks for a list to its end, which had better be near.
    pub(super) fn all<T: DeserializeOwned>(&self, path: &str, query: &str) -> Result<Vec<T>, Trouble> {
        let mut all = Vec::new();
        for page in 0..PAGES_MAX {
            let offset = page * PAGE;
            let mut found: Page<T> = self.get(&format!("{path}?limit={PAGE}&offset={offset}&{query}"))?;
            all.append(&mut found.results);
            if found.next.is_none() {
                return Ok(all);
            }
        }
        Err(Trouble::later(format!("{} lists {path} without an end", self.host())))
    }

    pub(super) fn findings(&self, query: &str) -> Result<Page<Row>, Trouble> {
        self.get(&format!("findings/?{query}"))
    }

    /// The newest imports of a Test that came to their end: the one with this build id, if it is among them.
    pub(super) fn has_ended(&self, test: &str, build_id: &str) -> Result<bool, Trouble> {
        let path = format!("{API}test_imports/?test={test}&build_id={build_id}&limit=5");
        let answer = self.http.get(&path)?;
        if answer.status == 400 {
            // A Test that is not there is no choice.
            return Err(Trouble::target(format!("{} has Test {test} no more", self.host()), LOOK_THERE));
        }
        self.judge(&answer)?;
        let page: Page<TestImport> = answer.read()?;
        Ok(page.results.iter().any(|one| one.build_id.as_deref() == Some(build_id)))
    }

    pub(super) fn patch(&self, path: &str, fields: &Map<String, Value>) -> Result<Answer, Trouble> {
        self.http.json(Method::PATCH, &format!("{API}{path}"), &Value::Object(fields.clone()))
    }

    pub(super) fn patch_finding(&self, id: u64, fields: &Map<String, Value>) -> Result<Patched, Trouble> {
        let answer = self.patch(&format!("findings/{id}/"), fields)?;
        let complaint = wire::complaint(&answer.body);
        match (answer.status, complaint) {
            // A page that a proxy answers with says nothing of what became of the finding.
            (200..300, _) => match answer.read::<wire::Numbered>()?.id {
                of if of == id => Ok(Patched::Done),
                of => Err(Trouble::later(format!("{} answers about finding {of} instead of {id}", self.host()))),
            },
            (404, Some(_)) => Ok(Patched::Missing),
            (400, complaint) => {
                let why = complaint.unwrap_or_else(|| answer.excerpt());
                Ok(Patched::Refused(format!("DefectDojo refuses to change finding {id}: {why}")))
            }
            _ => Err(self.judge(&answer).err().unwrap_or_else(|| Trouble::later("it has no answer"))),
        }
    }

    /// Sends a file of findings.
    pub(super) fn reimport(&self, fields: &[(&str, String)], findings: &[Value]) -> Sent {
        // A finding's text that held it could pass for another field.
        let boundary = format!("hydrophone-{}", to_hex(&random::bytes::<16>()));
        let body = wire::form(fields, findings, &boundary);
        let url = self.http.url(&format!("{API}reimport-scan/"));
        let content = [(header::CONTENT_TYPE, format!("multipart/form-data; boundary={boundary}"))];
        let answer = match self.http.attempt(Method::POST, &url, &content, body) {
            Ok(answer) => answer,
            Err(lost) if lost.sent => return Sent::Unknown(lost.trouble),
            Err(lost) => return Sent::Not(lost.trouble),
        };
        let why = wire::complaint(&answer.body);
        match answer.status {
            201 => match answer.read() {
                Ok(imported) => Sent::Done(imported),
                Err(trouble) => Sent::Unknown(trouble),
            },
            500 => Sent::Broke(why.unwrap_or_else(|| answer.excerpt())),
            400 if why.as_deref().is_some_and(|why| why.contains("does not exist") || why.contains("mismatch")) => {
                let why = why.unwrap_or_default();
                Sent::Not(Trouble::target(format!("{} has no such place any more: {why}", self.host()), LOOK_THERE))
            }
            // Too large for a proxy is refused in halves until it passes.
            400 | 413 => Sent::Refused(why.unwrap_or_else(|| answer.excerpt())),
            // A proxy gave up waiting; DefectDojo did not.
            502..=504 => Sent::Unknown(answer.trouble().unwrap_or_else(|| Trouble::later("it has no answer"))),
            _ => Sent::Not(
                self.judge(&answer)
                    .err()
                    .unwrap_or_else(|| Trouble::later(format!("{} answers with HTTP {}", self.host(), answer.status))),
            ),
        }
    }

    /// What an answer that is no success means, where it means the same for every call.
    pub(super) fn judge(&self, answer: &Answer) -> Result<(), Trouble> {
        if answer.is_success() {
            return Ok(());
        }
        if let Some(trouble) = answer.trouble() {
            return Err(trouble);
        }
        let (host, status) = (self.host(), answer.status);
        let Some(why) = wire::complaint(&answer.body) else {
            return Err(Trouble::refused(
                format!("{host} answers with something that is none of DefectDojo's (HTTP {status})"),
                "the address is not DefectDojo's, or a proxy or a login page stands between: check it",
            ));
        };
        // A bad token has no status of its own; only the text tells it from missing rights.
        let token = ["Invalid token", "Authentication credentials", "User inactive"];
        if status == 401 || token.iter().any(|text| why.starts_with(text)) {
            return Err(Trouble::refused(
                format!("{host} refuses the token: {}", why.trim_end_matches('.')),
                format!(
                    "copy a token from its page `API v2 Key` and run `hydrophone destination edit {} --token-file FILE`",
                    self.name
                ),
            ));
        }
        let why = why.trim_end_matches('.');
        Err(match status {
            403 => Trouble::target(
                format!("the token's user may not do this in {host}: {why}"),
                "enter the user among the authorized users of the product type, or of the product",
            ),
            404 => Trouble::target(format!("{host} has no such object, or hides it: {why}"), LOOK_THERE),
            _ => Trouble::refused(format!("{host} refuses a request (HTTP {status}): {why}"), "report this"),
        })
    }
}

const LOOK_THERE: &str = "it is looked for and made again; see whether somebody deletes it there, or took the rights";

/// Where the API is below the server's address.
const API: &str = "api/v2/";

const PAGE: usize = 200;

/// More than 20,000 of one name are none that a person can tell apart.
const PAGES_MAX: usize = 100;
