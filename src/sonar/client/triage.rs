//! Decisions about findings, told to Sonar. The only writes beside webhooks, and only when a person asked for them.

use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::atomic::Ordering;

use percent_encoding::utf8_percent_encode;
use ureq::http::header;

use super::{Client, ERROR_BODY_BYTES_MAX, PLAIN};
use crate::domain::ids::IssueKey;
use crate::domain::triage::Step;
use crate::sonar::failure::FetchError;

impl Client {
    /// Takes one step of a decision. A comment goes along with a hotspot's; an issue's is a call of its own.
    ///
    /// # Errors
    /// [`FetchError::BadRequest`] where the finding is in a state from which Sonar knows no such step, and
    /// [`FetchError::NoPermission`] where the token's user may not administer issues or hotspots.
    pub fn triage(&self, key: &IssueKey, step: Step, comment: &str) -> Result<(), FetchError> {
        let key = ("issue", key.as_str());
        match step {
            Step::Transition(transition) => self.post(
                "api/issues/do_transition",
                &[key, ("transition", transition)],
                "a change of an issue's status",
            ),
            Step::Hotspot { status, resolution } => {
                let mut form = vec![("hotspot", key.1), ("status", status)];
                form.extend(resolution.map(|resolution| ("resolution", resolution)));
                form.push(("comment", comment));
                self.post("api/hotspots/change_status", &form, "a change of a hotspot's status")
            }
        }
    }

    /// Adds a comment to an issue.
    ///
    /// # Errors
    /// As [`triage`](Self::triage).
    pub fn comment(&self, key: &IssueKey, text: &str) -> Result<(), FetchError> {
        self.post("api/issues/add_comment", &[("issue", key.as_str()), ("text", text)], "a comment to an issue")
    }

    /// Whether it knows the transition `accept`: Cloud, and Servers from 10.4.
    pub fn accepts(&self, version: Option<&str>) -> bool {
        self.cloud
            || version.and_then(super::Version::parse).is_none_or(|version| version >= super::Version::new(10, 4))
    }

    pub(super) fn post(&self, path: &str, form: &[(&str, &str)], what: &str) -> Result<(), FetchError> {
        let token = self.token.header(self.basic()?);
        if let Some(pacer) = &self.pacer {
            pacer.before()?;
            let result = self.post_now(path, form, what, token);
            pacer.after(result.as_ref().err());
            return result;
        }
        self.post_now(path, form, what, token)
    }

    fn post_now(
        &self,
        path: &str,
        form: &[(&str, &str)],
        what: &str,
        token: ureq::http::HeaderValue,
    ) -> Result<(), FetchError> {
        let mut body = String::new();
        for (name, value) in form {
            let mark = if body.is_empty() { "" } else { "&" };
            write!(body, "{mark}{name}={}", utf8_percent_encode(value, PLAIN))
                .expect("writing to a string cannot fail");
        }
        let base = &self.base;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let request = self
            .agent
            .post(base.url(path, &[]))
            .header(header::AUTHORIZATION, token)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let response = request.send(body).map_err(|error| FetchError::no_answer(error, base.way.clone()))?;
        let (head, mut body) = response.into_parts();
        self.note_date(&head.headers);
        let mut text = Vec::new();
        // An answer without its text is still an answer; of a success nothing in it matters.
        let _ = body.as_reader().take(ERROR_BODY_BYTES_MAX).read_to_end(&mut text);
        if head.status.is_success() {
            return Ok(());
        }
        Err(self.unsuccessful(base, head.status.as_u16(), &head.headers, &text, what))
    }
}
