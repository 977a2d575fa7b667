//! Requests that may come twice: whoever did not hear an answer sends the same `Idempotency-Key` again, and is given the
//! answer that was given before instead of having it done once more (IETF draft "The Idempotency-Key HTTP Header Field").
//!
//! Answers are kept in memory, for a day and within bounds; a restart forgets them. An answer that holds a secret is not
//! kept: who asks again is told that it was done. Only what went well is kept, so that what failed can be tried again
//! with the same key.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Bytes;
use ring::hmac;

use super::Problem;
use crate::sys::random;

/// The header's name.
pub(super) const HEADER: &str = "idempotency-key";

/// Says that an answer is one that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What was asked with a key: who, and the key.
type Name = (String, String);

/// What is remembered of requests with a key.
pub(super) struct Repeats {
    inner: Mutex<Inner>,
    /// Requests may hold passwords, so that of them only a digest is kept that nobody can try words on.
    key: hmac::Key,
}

#[derive(Default)]
struct Inner {
    known: BTreeMap<Name, Known>,
    bytes: usize,
}

struct Known {
    print: Vec<u8>,
    at: Duration,
    /// Nothing while it is being done.
    answer: Option<Answer>,
}

/// An answer as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    status: StatusCode,
    kind: Option<HeaderValue>,
    /// Nothing where it holds a secret, or is too long to be kept.
    body: Option<Bytes>,
}

/// What is to be done about a request.
pub(super) enum Begun {
    /// It is new.
    Run(Ticket),
    /// It is answered.
    Answered(Response),
}

/// That something is being done. Dropped without an answer, it is forgotten.
pub(super) struct Ticket {
    repeats: Arc<Repeats>,
    name: Option<Name>,
}

impl Repeats {
    /// With nothing known.
    pub(super) fn new() -> Arc<Self> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &random::bytes::<32>());
        Arc::new(Self { inner: Mutex::default(), key })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn print(&self, target: &str, body: &[u8]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(target.len() as u64).to_be_bytes());
        context.update(target.as_bytes());
        context.update(body);
        context.sign().as_ref().to_vec()
    }

    /// Notes that something is begun: who asks, with which key, for what (method and address), with which body.
    pub(super) fn begin(
        self: &Arc<Self>,
        (who, key): (&str, String),
        target: &str,
        body: &[u8],
        now: Duration,
    ) -> Begun {
        let (name, print) = ((who.to_owned(), key), self.print(target, body));
        let mut inner = self.inner();
        inner.forget_old(now);
        let Some(known) = inner.known.get(&name) else {
            inner.known.insert(name.clone(), Known { print, at: now, answer: None });
            return Begun::Run(Ticket { repeats: Arc::clone(self), name: Some(name) });
        };
        if known.print != print {
            let problem = Problem::unfit("this Idempotency-Key was used for another request");
            return Begun::Answered(problem.remedy("give each request a key of its own").into_response());
        }
        let Some(answer) = &known.answer else {
            let problem = Problem::conflict("the same request is being carried out");
            return Begun::Answered(problem.remedy("ask again in a moment").into_response());
        };
        Begun::Answered(answer.again())
    }
}

impl Inner {
    fn forget_old(&mut self, now: Duration) {
        let old = |known: &Known| known.answer.is_some() && now.saturating_sub(known.at) >= KEPT_FOR;
        let (kept, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.known).into_iter().partition(|(_, known)| !old(known));
        self.known = kept;
        self.bytes = self.bytes.saturating_sub(gone.values().map(Known::bytes).sum());
        while self.known.len() >= ANSWERS_MAX || self.bytes > BYTES_MAX {
            let answered = self.known.iter().filter(|(_, known)| known.answer.is_some());
            let Some(oldest) = answered.min_by_key(|(_, known)| known.at).map(|(name, _)| name.clone()) else { return };
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, name: &Name) {
        if let Some(known) = self.known.remove(name) {
            self.bytes = self.bytes.saturating_sub(known.bytes());
        }
    }
}

impl Known {
    fn bytes(&self) -> usize {
        self.answer.as_ref().and_then(|answer| answer.body.as_ref()).map_or(0, Bytes::len)
    }
}

impl Ticket {
    /// Keeps an answer for whoever asks again, where it went well.
    pub(super) fn done(mut self, status: StatusCode, kind: Option<&HeaderValue>, body: &Bytes) {
        if !status.is_success() {
            return;
        }
        let Some(name) = self.name.take() else { return };
        let kept = (body.len() <= BODY_BYTES_MAX && !holds_secret(body)).then(|| body.clone());
        let mut inner = self.repeats.inner();
        if let Some(known) = inner.known.get_mut(&name) {
            known.answer = Some(Answer { status, kind: kind.cloned(), body: kept });
            let bytes = known.bytes();
            inner.bytes += bytes;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            self.repeats.inner().forget(&name);
        }
    }
}

impl Answer {
    fn again(&self) -> Response {
        let Some(body) = &self.body else {
            let problem = Problem::conflict("this was done before, and its answer is not kept");
            let remedy = "secrets are told only once: look at what was made, and where its secret is lost, remove it and \
                          make another one with another key";
            return problem.remedy(remedy).into_response();
        };
        let mut response = (self.status, Body::from(body.clone())).into_response();
        response.headers_mut().remove(header::CONTENT_TYPE);
        if let Some(kind) = &self.kind {
            response.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
        }
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}

/// Whether an answer tells something that is told only once.
fn holds_secret(body: &[u8]) -> bool {
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(body) else { return false };
    SECRETS.iter().any(|name| document.get(name).is_some_and(|member| !member.is_null()))
}

/// Members of answers that are told once: of a token or a destination, and of a user.
const SECRETS: [&str; 3] = ["secret", "link", "code"];

/// The key of a request, if it has one.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut all = headers.get_all(HEADER).iter();
    let (Some(value), others) = (all.next(), all.next().is_some()) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    // The draft has it a string of structured fields, in quotes; many send it without.
    let plain = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let is_good = (1..=KEY_BYTES_MAX).contains(&plain.len()) && plain.bytes().all(|byte| byte.is_ascii_graphic());
    if others || !is_good || plain.contains('"') {
        return Err(Problem::bad(format!("an Idempotency-Key is one text of 1 to {KEY_BYTES_MAX} visible letters")));
    }
    Ok(Some(plain.to_owned()))
}

/// So long an answer is kept.
const KEPT_FOR: Duration = Duration::from_hours(24);

/// Answers that are kept.
const ANSWERS_MAX: usize = 1000;

/// Bytes of all answers that are kept.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of one answer that is kept.
const BODY_BYTES_MAX: usize = 256 * 1024;

const KEY_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn status(begun: Begun) -> Option<u16> {
        match begun {
            Begun::Run(_) => None,
            Begun::Answered(response) => Some(response.status().as_u16()),
        }
    }

    fn do_it(repeats: &Arc<Repeats>, who: &str, key: &str, body: &'static str, now: Duration) {
        let Begun::Run(ticket) = repeats.begin((who, key.to_owned()), "POST /a", b"{}", now) else {
            panic!("it is new")
        };
        ticket.done(StatusCode::CREATED, None, &Bytes::from_static(body.as_bytes()));
    }

    fn again(repeats: &Arc<Repeats>, who: &str, key: &str, target: &str, now: Duration) -> Option<u16> {
        status(repeats.begin((who, key.to_owned()), target, b"{}", now))
    }

    #[test]
    fn the_same_request_is_answered_again_for_a_day_and_another_one_is_refused() {
        let repeats = Repeats::new();
        do_it(&repeats, "ines", "k", "{}", NOW);
        assert_eq!(again(&repeats, "ines", "k", "POST /a", NOW), Some(201));
        assert_eq!(again(&repeats, "ines", "k", "POST /b", NOW), Some(422));
        assert_eq!(again(&repeats, "omar", "k", "POST /b", NOW), None, "keys are each caller's own");
        let late = NOW + KEPT_FOR;
        assert_eq!(again(&repeats, "ines", "k", "POST /a", late.saturating_sub(Duration::from_secs(1))), Some(201));
        assert_eq!(again(&repeats, "ines", "k", "POST /a", late), None);
    }

    #[test]
    fn what_is_under_way_is_said_and_what_failed_can_be_tried_again() {
        let repeats = Repeats::new();
        let Begun::Run(ticket) = repeats.begin(("ines", "k".to_owned()), "POST /a", b"{}", NOW) else {
            panic!("it is new")
        };
        assert_eq!(again(&repeats, "ines", "k", "POST /a", NOW + KEPT_FOR), Some(409));
        ticket.done(StatusCode::CONFLICT, None, &Bytes::new());
        let Begun::Run(ticket) = repeats.begin(("ines", "k".to_owned()), "POST /a", b"{}", NOW) else {
            panic!("it failed")
        };
        drop(ticket);
        assert_eq!(again(&repeats, "ines", "k", "POST /a", NOW), None);
    }

    #[test]
    fn a_secret_is_not_kept() {
        let repeats = Repeats::new();
        do_it(&repeats, "ines", "k", r#"{"token":{},"secret":"hyd_1"}"#, NOW);
        assert_eq!(again(&repeats, "ines", "k", "POST /a", NOW), Some(409));
        assert_eq!(repeats.inner().bytes, 0);
        do_it(&repeats, "ines", "l", r#"{"destination":{},"secret":null}"#, NOW);
        assert_eq!(again(&repeats, "ines", "l", "POST /a", NOW), Some(201));
    }

    #[test]
    fn the_oldest_answers_are_forgotten_when_there_are_too_many() {
        let repeats = Repeats::new();
        for number in 0..=ANSWERS_MAX {
            do_it(&repeats, "ines", &number.to_string(), "{}", NOW + Duration::from_millis(number as u64));
        }
        let later = NOW + Duration::from_mins(1);
        assert_eq!(again(&repeats, "ines", &ANSWERS_MAX.to_string(), "POST /a", later), Some(201));
        assert_eq!(again(&repeats, "ines", "0", "POST /a", later), None);
        assert!(repeats.inner().known.len() <= ANSWERS_MAX && repeats.inner().bytes <= 2 * ANSWERS_MAX);
    }

    #[test]
    fn a_key_is_one_text_with_or_without_quotes() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HEADER, HeaderValue::from_static(value));
            }
            key(&headers)
        };
        assert_eq!(
            (of(&[]), of(&["abc"]), of(&["\"abc\""])),
            (Ok(None), Ok(Some("abc".into())), Ok(Some("abc".into())))
        );
        for bad in [&[""][..], &["\"\""], &["a b"], &["a\"b"], &["a", "b"]] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }
}
