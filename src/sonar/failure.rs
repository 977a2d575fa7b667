//! What can go wrong when Sonar is asked, named by what to do next, and worded for the person who will read it.
//! No message holds the token or any part of an answer but Sonar's own error text, shortened.

use std::io;
use std::time::Duration;

use crate::domain::ids::SourceName;
use crate::domain::measure::TooMuch;
use crate::sys::reach::Obstacle;
use crate::sys::trust::Distrust;

/// Why a question to Sonar has no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The token is not valid (any more). A person has to make a new one.
    #[error(
        "Sonar refused the token (HTTP {status}): it is wrong, expired or revoked; make a new one and run \
         `hydrophone source token {source_name} --token-file FILE`"
    )]
    Refused {
        /// 401.
        status: u16,
        /// Whose token.
        source_name: SourceName,
    },
    /// The token is valid and may not read this.
    #[error(
        "Sonar does not let the token of source {source_name} read {what} (HTTP 403); give its user the permission \
         Browse there, and check that no list of allowed addresses keeps this box out"
    )]
    NoPermission {
        /// What was asked for.
        what: String,
        /// Whose token.
        source_name: SourceName,
    },
    /// Sonar knows no such thing, or hides it from this token.
    #[error("Sonar knows no {what} that this token may see (HTTP 404); it may have been renamed or deleted")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// Sonar did not like the question. Most likely it is a version that this program does not know.
    #[error("Sonar did not accept the question for {what}: {message}")]
    BadRequest {
        /// What was asked for.
        what: String,
        /// Sonar's words, shortened.
        message: String,
    },
    /// Sonar asked us to slow down.
    #[error("Sonar asked for a pause{} (HTTP 429)", in_words(*retry_after))]
    Throttled {
        /// For how long, where it said so.
        retry_after: Option<Duration>,
    },
    /// Nothing was sent: the source is left alone for a while, as Sonar asked, or its budget of requests is used up.
    #[error("the source is left alone for another {} s", retry_after.as_secs().max(1))]
    Paused {
        /// For how long.
        retry_after: Duration,
    },
    /// Sonar, or something before it, cannot answer for now.
    #[error(
        "Sonar at {host} cannot answer for now (HTTP {status}): {}", message.as_deref().unwrap_or("no reason given")
    )]
    Unavailable {
        /// Whom we asked.
        host: String,
        /// 500 and above.
        status: u16,
        /// When to ask again, where it said so.
        retry_after: Option<Duration>,
        /// Sonar's words, shortened; nothing if something before it answered.
        message: Option<String>,
    },
    /// An authority that the box does not know vouches for the other side.
    #[error(
        "the certificate of {host} was issued by {}, which this box does not trust; give the authority's \
         certificate with --ca-file",
        issuer.as_ref().map_or_else(|| "somebody".to_owned(), |issuer| format!("\"{issuer}\""))
    )]
    Untrusted {
        /// Whom we asked.
        host: String,
        /// Who issued the certificate, where that could be read.
        issuer: Option<String>,
    },
    /// The certificate cannot be used for another reason.
    #[error("the certificate of {host} {problem}")]
    BadCertificate {
        /// Whom we asked.
        host: String,
        /// The reason.
        problem: CertificateProblem,
    },
    /// No connection, or none that lasted until an answer.
    #[error("{host} cannot be reached: {cause}")]
    Unreachable {
        /// Whom we asked, and through which proxy.
        host: String,
        /// What stood in the way.
        cause: String,
    },
    /// Somebody else answered than Sonar's Web API.
    #[error(
        "{host} gave an answer (HTTP {status}) that is {hint}: a proxy or a login page stands between, or the \
         address is not Sonar's; check the address and the proxy that the source was added with"
    )]
    NotJson {
        /// Whom we asked.
        host: String,
        /// The answer's status.
        status: u16,
        /// What it is instead.
        hint: &'static str,
    },
    /// The answer is JSON of a shape that this program does not know.
    #[error(
        "the answer of {host} for {what} is not understood: {detail}; this version of Sonar may be too new or too old"
    )]
    NotUnderstood {
        /// Whom we asked.
        host: String,
        /// What was asked for.
        what: String,
        /// Where the reading stopped.
        detail: String,
    },
    /// The address has moved. Not followed, so that the token goes only where a person sent it.
    #[error("{host} answers that it has moved to {to}; if that is right, add the source with that address")]
    Moved {
        /// Whom we asked.
        host: String,
        /// Scheme and host that it names.
        to: String,
    },
    /// The answer began and did not end.
    #[error("the answer of {host} was cut short")]
    CutShort {
        /// Whom we asked.
        host: String,
    },
    /// The answer is larger than any that Sonar should give.
    #[error("the answer of {host} is larger than {} MiB, which is the most that is read", bytes_max / (1024 * 1024))]
    TooLarge {
        /// Whom we asked.
        host: String,
        /// The limit.
        bytes_max: u64,
    },
    /// The answer is none that Sonar should give, and reading it would take too much memory.
    #[error("the answer of {host} {problem}, which is the most that is read")]
    TooMuch {
        /// Whom we asked.
        host: String,
        /// Of what.
        problem: TooMuch,
    },
}

fn in_words(wish: Option<Duration>) -> String {
    wish.map(|wish| format!(" of {} s", wish.as_secs())).unwrap_or_default()
}

/// What is wrong with a certificate whose issuer is not the problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateProblem {
    /// Made for another name.
    #[error(
        "is made for {}, not for this name; use that name in the address, or give the server a certificate for this one",
        if presented.is_empty() { "another name".to_owned() } else { presented.join(", ") }
    )]
    WrongName {
        /// The names that it is made for.
        presented: Vec<String>,
    },
    /// Its time is over.
    #[error("has expired; renew it, or set this box's clock if it is ahead")]
    Expired,
    /// Its time has not come.
    #[error("is not valid yet; this box's clock may be behind")]
    NotYetValid,
    /// Anything else.
    #[error("cannot be used: {0}")]
    Other(String),
}

impl FetchError {
    /// How long Sonar wants to be left alone, where it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after } | Self::Unavailable { retry_after, .. } => *retry_after,
            Self::Paused { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether a person has to act, since asking again will most likely bring the same.
    pub fn needs_person(&self) -> bool {
        !matches!(
            self,
            Self::Throttled { .. }
                | Self::Paused { .. }
                | Self::Unavailable { .. }
                | Self::Unreachable { .. }
                | Self::CutShort { .. }
        )
    }

    /// From a call that brought no answer. `host` is the way to the other side, in words.
    pub(super) fn no_answer(error: ureq::Error, host: String) -> Self {
        match Obstacle::of(error) {
            Obstacle::Distrusted(distrust) => Self::distrusted(distrust, host),
            Obstacle::Unreachable(cause) => Self::Unreachable { host, cause },
        }
    }

    /// From an answer that could not be read to its end.
    pub(super) fn broken_answer(error: io::Error, host: String) -> Self {
        if let Some(TooLarge { bytes_max }) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            return Self::TooLarge { host, bytes_max: *bytes_max };
        }
        if let Some(&problem) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            return Self::TooMuch { host, problem };
        }
        match ureq::Error::from(error) {
            error @ ureq::Error::Timeout(_) => Self::no_answer(error, host),
            _ => Self::CutShort { host },
        }
    }

    fn distrusted(distrust: Distrust, host: String) -> Self {
        let problem = match distrust {
            Distrust::UnknownIssuer { issuer } => return Self::Untrusted { host, issuer },
            Distrust::WrongName { presented } => CertificateProblem::WrongName { presented },
            Distrust::Expired => CertificateProblem::Expired,
            Distrust::NotYetValid => CertificateProblem::NotYetValid,
            Distrust::Other(reason) => CertificateProblem::Other(reason),
        };
        Self::BadCertificate { host, problem }
    }
}

/// Travels through a reader's error.
#[derive(Debug, thiserror::Error)]
#[error("more than {bytes_max} bytes")]
pub(super) struct TooLarge {
    pub(super) bytes_max: u64,
}
