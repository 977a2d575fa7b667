//! Tells Sonar what a person decided about a finding, here or on a platform. The inventory is not touched: it follows
//! with the read that is asked for afterwards, so that it only ever says what Sonar says.

use super::{Work, WorkError};
use crate::domain::finding::{Kind, State};
use crate::domain::ids::FindingId;
use crate::domain::schedule::{Reason, Task};
use crate::domain::triage::{Impossible, steps};
use crate::sonar::FetchError;
use crate::store::records::Decision;
use crate::store::{StoreError, agenda, catalogue, findings};

/// Why Sonar was not told.
#[derive(Debug, thiserror::Error)]
pub enum TriageError {
    /// There is no such finding, or what it belongs to was removed here.
    #[error("there is no finding {0}, or its project was removed here")]
    Missing(FindingId),
    /// Nothing leads to that state.
    #[error(transparent)]
    Impossible(#[from] Impossible),
    /// The token's user may not decide.
    #[error(
        "Sonar does not let the token of source {source_name} decide about {what} (HTTP 403): its user needs the \
         permission \"Administer {what}\" in the project"
    )]
    NoPermission {
        /// `Issues` or `Security Hotspots`.
        what: &'static str,
        /// Whose token.
        source_name: String,
    },
    /// Sonar has it in another state than the inventory.
    #[error("Sonar does not take the decision: {0}; the branch is read again, so that its present state shows")]
    NotTaken(String),
    /// The way to the decision leads over open, and ended there.
    #[error("{0}; the former decision was taken back on the way, so that the finding is open in Sonar now")]
    Halfway(Box<Self>),
    /// Sonar could not be asked, or the store.
    #[error(transparent)]
    Work(#[from] WorkError),
}

impl From<StoreError> for TriageError {
    fn from(error: StoreError) -> Self {
        Self::Work(error.into())
    }
}

impl TriageError {
    /// Whether the same will most likely come of trying again.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Missing(_)
            | Self::Impossible(_)
            | Self::NotTaken(_)
            | Self::NoPermission { .. }
            | Self::Work(WorkError::Elsewhere(_)) => true,
            Self::Halfway(why) => why.is_final(),
            Self::Work(WorkError::Fetch(error)) => {
                matches!(error, FetchError::NotFound { .. } | FetchError::BadRequest { .. })
            }
            Self::Work(_) => false,
        }
    }
}

/// Tells Sonar that a finding is in a state, and why; the history says who decided it, and by which way. Returns the state
/// that it had.
///
/// # Errors
/// See [`TriageError`]. After one the finding may be on its way: from one decision to another by way of open.
pub fn triage(
    work: &Work,
    id: FindingId,
    to: State,
    comment: &str,
    (by, via): (&str, &str),
) -> Result<State, TriageError> {
    let (scope, finding, source) = work.store.read::<_, TriageError>(|view| {
        let (scope, finding) = findings::with_id(view, id)?.ok_or(TriageError::Missing(id))?;
        let missing = || TriageError::Missing(id);
        let record = catalogue::scope(view, scope)?.ok_or_else(missing)?;
        let project = catalogue::project(view, record.project)?.ok_or_else(missing)?;
        let source = catalogue::source(view, &project.organization.source)?.ok_or_else(missing)?;
        Ok((scope, finding, source))
    })?;
    let (kind, from, key) = (finding.observed.kind, finding.observed.state, &finding.observed.key);
    let client = &work.sources.connect(&source.name)?;
    let steps = steps(kind, from, to, client.client.accepts(source.version.as_deref()))?;
    if steps.is_empty() {
        return Ok(from);
    }
    let decision = Decision { state: to, by: by.to_owned(), why: comment.to_owned(), via: Some(via.to_owned()) };
    work.store.write::<_, StoreError>(move |batch| findings::note_decision(batch, id, &decision))?;
    let (mut told, mut taken) = (Ok(()), 0);
    for step in steps {
        told = client.client.triage(key, step, comment);
        if told.is_err() {
            break;
        }
        taken += 1;
    }
    if told.is_ok()
        && kind == Kind::Vulnerability
        && let Err(error) = client.client.comment(key, comment)
    {
        // The decision stands; only its reason is missing there.
        tracing::warn!("the comment on finding {id} was not taken: {error}");
    }
    let ticket = work.store.ticket();
    let now = work.clock.now();
    // Also after a failure: what was done of it is to be seen.
    let is_taken = told.is_ok();
    work.store.write::<_, StoreError>(move |batch| {
        if !is_taken {
            findings::forget_decision(batch, id)?;
        }
        agenda::ask(batch, Task::Sync(scope), Reason::Webhook, now, ticket)
    })?;
    let why = match told {
        Ok(()) => return Ok(from),
        Err(FetchError::NoPermission { .. }) => TriageError::NoPermission {
            what: if kind == Kind::Hotspot { "Security Hotspots" } else { "Issues" },
            source_name: source.name.to_string(),
        },
        Err(FetchError::BadRequest { message, .. }) => TriageError::NotTaken(message),
        Err(error) => WorkError::from(error).into(),
    };
    Err(if taken > 0 { TriageError::Halfway(Box::new(why)) } else { why })
}
