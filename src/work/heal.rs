//! Finds webhook calls that never arrived, in Sonar's own log of them, and takes them in as deliveries. Sonar does not
//! repeat a call, whatever became of it: the box was off, the way to it was cut, a proxy answered in its place.
//!
//! Where the token may not see that log nothing is lost but time: the polls find every analysis.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Work, WorkError};
use crate::domain::delivery::Payload;
use crate::domain::ids::{EndpointId, SourceName};
use crate::domain::limits;
use crate::domain::time::Timestamp;
use crate::sonar::FetchError;
use crate::sonar::client::Client;
use crate::sonar::wire::webhooks::Call;
use crate::store::records::Hook;
use crate::store::{Arrival, deliveries, hooks};

/// How far Sonar's logs were looked through, in memory only: after a restart they are looked through again, and what
/// is known already is passed over.
#[derive(Debug, Default)]
pub struct Memory {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By endpoint and Sonar's key of the webhook.
    marks: BTreeMap<(EndpointId, String), Mark>,
    /// Sources whose token may not see the log of an endpoint, until when it is not tried again.
    refused: BTreeMap<EndpointId, (SourceName, Duration)>,
}

/// Everything up to a time was looked at, and around it these calls.
#[derive(Debug, Clone, Default)]
struct Mark {
    until: Option<Timestamp>,
    seen: BTreeMap<String, Timestamp>,
}

impl Memory {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new token may be allowed more.
    pub(super) fn forget(&self, source: &SourceName) {
        self.inner().refused.retain(|_, (refused, _)| refused != source);
    }
}

/// Looks through the log of one endpoint's webhooks. Returns whether more is to be done at once.
pub(super) fn heal(work: &Work, endpoint: EndpointId) -> Result<bool, WorkError> {
    let now = work.clock.steady();
    if work.heal.inner().refused.get(&endpoint).is_some_and(|(_, until)| *until > now) {
        return Ok(false);
    }
    let hook = work.store.read::<_, WorkError>(|view| {
        let hooks = hooks::all(view)?;
        Ok(hooks.into_iter().find(|(hook, _)| hook.endpoint == endpoint).ok_or(WorkError::Gone)?.0)
    })?;
    let result = Healing { work, hook: &hook }.run();
    match result {
        // Seeing the log takes a right that the product does not need otherwise, so this is nobody's fault. A 404 is
        // Sonar's word for a project that this token may not administer, too.
        Err(WorkError::Fetch(
            FetchError::Refused { .. }
            | FetchError::NoPermission { .. }
            | FetchError::NotFound { .. }
            | FetchError::BadRequest { .. },
        )) => {
            let until = now + limits::HEAL_REFUSED_FOR;
            tracing::debug!("the token of {} may not see the log of webhooks", hook.organization.source);
            work.heal.inner().refused.insert(endpoint, (hook.organization.source.clone(), until));
            Ok(false)
        }
        other => other,
    }
}

struct Healing<'w> {
    work: &'w Work,
    hook: &'w Hook,
}

impl Healing<'_> {
    fn run(&self) -> Result<bool, WorkError> {
        let connected = self.work.sources.connect(&self.hook.organization.source)?;
        let client = &connected.client;
        let ours = self.hook.endpoint.to_string();
        let listed = client.webhooks(&self.hook.organization.key, self.hook.project.as_ref())?;
        let mut left = limits::HEALED_PER_ROUND_MAX;
        let mut more = false;
        for webhook in listed.into_iter().filter(|webhook| webhook.url.contains(&ours)) {
            more |= self.look_through(client, webhook.key, &mut left)?;
        }
        Ok(more)
    }

    /// One webhook's log, from where the last look ended. Oldest first, so that a look that does not get to the end
    /// leaves a beginning that is done.
    fn look_through(&self, client: &Client, key: String, left: &mut usize) -> Result<bool, WorkError> {
        let mark_key = (self.hook.endpoint, key);
        let mut mark = self.work.heal.inner().marks.get(&mark_key).cloned().unwrap_or_default();
        // By Sonar's clock, as the log's dates are.
        let now = client.server_date().unwrap_or_else(|| self.work.clock.now());
        let oldest = now.minus(limits::SONAR_LOG_AGE_MAX);
        // Of what came before our own log begins nobody can tell any more whether it arrived.
        let whole_since = self.work.store.read(deliveries::whole_since)?;
        // What lies ahead was noted by a clock that was wrong.
        let oldest = whole_since.filter(|at| *at <= now).map_or(oldest, |at| at.max(oldest));
        // Calls are logged when they end, so one may turn up that began before what was seen last.
        let from = mark.until.map_or(oldest, |until| until.minus(OVERLAP).max(oldest));
        let mut calls = self.calls(client, &mark_key.1, from)?;
        calls.retain(|call| !mark.seen.contains_key(&call.id));
        if calls.is_empty() {
            return Ok(false);
        }
        calls.sort_by_key(|call| call.at);
        let known = self.tasks_since(calls[0].at.minus(OVERLAP))?;
        let mut healed = 0;
        let result = calls.iter().try_for_each(|call| {
            let is_known = call.task.as_ref().is_some_and(|task| known.contains(task));
            // What was answered well and tells of no task cannot be missed by its task, and is not worth a question.
            if !is_known && (!call.success || call.task.is_some()) {
                if *left == 0 {
                    return Err(Stop::Enough);
                }
                *left -= 1;
                healed += u32::from(self.take_in(client, call).map_err(Stop::Failed)?);
            }
            mark.until = mark.until.max(Some(call.at));
            mark.seen.insert(call.id.clone(), call.at);
            Ok(())
        });
        if let Some(until) = mark.until {
            mark.seen.retain(|_, at| *at >= until.minus(OVERLAP));
        }
        self.work.heal.inner().marks.insert(mark_key, mark);
        if healed > 0 {
            tracing::warn!(
                "{healed} webhooks of {} that never arrived were taken from Sonar's log",
                self.hook.organization
            );
        }
        match result {
            Ok(()) => Ok(false),
            Err(Stop::Enough) => Ok(true),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// The calls since a time, as far back as a few pages reach.
    fn calls(&self, client: &Client, webhook: &str, from: Timestamp) -> Result<Vec<Call>, WorkError> {
        let mut calls: Vec<Call> = Vec::new();
        let mut rows = 0;
        for page in 1..=limits::HOOK_LOG_PAGES_MAX {
            self.work.go_on()?;
            let answer = client.deliveries(webhook, page)?;
            rows += answer.rows;
            let is_last = answer.rows == 0 || rows >= answer.total || answer.calls.iter().any(|call| call.at < from);
            for call in answer.calls {
                // The list moves on while it is read.
                if call.at >= from && !calls.iter().any(|known| known.id == call.id) {
                    calls.push(call);
                }
            }
            if is_last {
                break;
            }
        }
        Ok(calls)
    }

    /// Tasks of the organization that deliveries since a time told of, however they came.
    fn tasks_since(&self, since: Timestamp) -> Result<BTreeSet<String>, WorkError> {
        let mut tasks = BTreeSet::new();
        let mut before = None;
        loop {
            // A page at a time: a long log is not read in one breath.
            let page = self.work.store.read(|view| deliveries::list(view, before, limits::LIST_ROWS_MAX))?;
            let Some((last, ..)) = page.last() else { return Ok(tasks) };
            before = Some(*last);
            let is_last = page.iter().any(|(_, delivery, _)| delivery.received_at < since);
            let ours = page.into_iter().filter(|(_, delivery, _)| delivery.organization == self.hook.organization);
            tasks.extend(ours.filter_map(|(_, delivery, _)| delivery.task));
            if is_last {
                return Ok(tasks);
            }
        }
    }

    /// Takes a call in as a delivery, unless it turns out to be known; true if it was taken in. The same checks as at
    /// the listener; that it was Sonar who made it is known from whom it was asked.
    fn take_in(&self, client: &Client, call: &Call) -> Result<bool, WorkError> {
        self.work.go_on()?;
        let detail = match client.delivery(&call.id) {
            Ok(detail) => detail,
            // Purged between the two questions, or not what a webhook says: nothing that could be taken in.
            Err(
                FetchError::NotFound { .. }
                | FetchError::NotUnderstood { .. }
                | FetchError::TooLarge { .. }
                | FetchError::TooMuch { .. },
            ) => {
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        let body = detail.payload.into_bytes();
        let Ok(payload) = Payload::parse(&body, None) else { return Ok(false) };
        if self.hook.project.as_ref().is_some_and(|only| *only != payload.project) {
            return Ok(false);
        }
        let now = self.work.clock.now();
        let organization = self.hook.organization.clone();
        if self.work.store.read(|view| deliveries::is_known(view, &organization, &payload, &body, now))? {
            return Ok(false);
        }
        let healed = match (call.status, detail.error) {
            (Some(status), _) if call.success => format!("HTTP {status} from somebody else"),
            (Some(status), _) => format!("HTTP {status}"),
            (None, Some(class)) => class,
            (None, None) => "no answer".to_owned(),
        };
        let arrival = Arrival {
            at: now,
            organization,
            payload: Ok(payload),
            body,
            replay_of: None,
            healed: Some(healed),
            signed_by: None,
        };
        self.work.store.accept_and_wait(arrival)?;
        Ok(true)
    }
}

/// Why a look ends before the log does.
enum Stop {
    /// Enough for one look.
    Enough,
    Failed(WorkError),
}

/// A call takes up to twenty seconds, and its log entry a moment more.
const OVERLAP: Duration = Duration::from_mins(2);
