//! The platforms that findings are passed on to: one module a kind, all behind [`Platform`].
//!
//! A platform's module knows how to speak to it and nothing of the store: it is handed messages with what is
//! remembered of each finding, and hands back what is to be remembered. Order, retries, cursors and dead letters are
//! the machine's (`work/deliver`).

mod cloud_events;
mod conviso;
pub mod defectdojo;
pub mod events;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod github;
pub mod http;
pub mod nats;
pub mod sarif;
pub mod sarif_folder;
mod scope_log;

use std::time::Duration;

use crate::domain::destination::{Destination, PlatformKind, Words};
use crate::domain::fleet::offer::Outcome;
use crate::domain::fleet::{InventoryId, Site};
use crate::domain::ids::{FindingId, ScopeId};
use crate::domain::message::{Message, Place, Remote, Target};
use crate::domain::notice::Notice;
use crate::domain::time::Timestamp;
use crate::sys::clock::Clock;
use crate::sys::dice::Dice;
use crate::sys::trust::Trust;

/// What a platform wants to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Findings as they are now: several changes of one may come as one message. What was told is remembered for each.
    Findings,
    /// Every change, in order. Nothing is remembered of single findings.
    Changes,
    /// Whole scopes, when anything in them changed. Nothing is remembered of single findings.
    Scopes,
}

/// What a platform can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// What it wants to be told.
    pub manner: Manner,
    /// Messages that one [`Platform::push`] takes at most.
    pub batch_max: usize,
    /// Whether decisions made there can be read.
    pub decisions: bool,
    /// Its words for states.
    pub words: &'static Words,
}

/// What a box says of itself though nothing changed.
#[derive(Debug, Clone, Copy)]
pub struct Life<'a> {
    /// What it calls its inventory.
    pub inventory: InventoryId,
    /// What became of the configuration that it was offered last, where it takes any.
    pub offer: Option<&'a Outcome>,
}

/// Why a platform cannot be told something now. Each text is one sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It may work later by itself: not reachable, overloaded, failing.
    #[error("{why}")]
    Later {
        /// What happened.
        why: String,
        /// When it asks to be tried again.
        after: Option<Duration>,
    },
    /// A person has to act: credentials, rights, an address that is no such platform.
    #[error("{why}; {remedy}")]
    Refused {
        /// What happened.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// This scope's place there is gone, or cannot be used. Others may do well.
    #[error("{why}; {remedy}")]
    Target {
        /// What happened.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// It does not want to be told anything ever again.
    #[error("{why}")]
    Gone {
        /// What happened.
        why: String,
    },
}

impl Trouble {
    /// It may work later.
    pub fn later(why: impl Into<String>) -> Self {
        Self::Later { why: why.into(), after: None }
    }

    /// A person has to act.
    pub fn refused(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused { why: why.into(), remedy: remedy.into() }
    }

    /// Only this scope's place there.
    pub fn target(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Target { why: why.into(), remedy: remedy.into() }
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The platform knows it; this is to be remembered. Boxed, as most batches are long.
    Yes(Option<Box<Remote>>),
    /// It refuses this one message for good, for this reason: it becomes a dead letter.
    Refused(String),
    /// It breaks at this one message, for this reason, and may not do so later: it becomes a dead letter that is tried
    /// again.
    Broke(String),
}

/// What became of a batch: of those messages that are not among `told`, `trouble` says why.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// By finding, in the order of the batch as far as it came.
    pub told: Vec<(FindingId, Told)>,
    /// Why it came no further.
    pub trouble: Option<Trouble>,
}

/// A line of what `destination check` reports: what was looked at, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: `address`, `token`, `version`, `right to create products`.
    pub what: &'static str,
    /// Whether it is good.
    pub good: bool,
    /// What was found; of something bad also what to do.
    pub text: String,
}

/// A place on the platform that findings of an asset can go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its id there.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A decision that was made on the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The platform's id of the finding.
    pub id: String,
    /// Sonar's key as the platform knows it, where it says it.
    pub key: Option<String>,
    /// The status there, in the platform's word.
    pub word: String,
    /// Why, as far as it is told.
    pub reason: Option<String>,
    /// When, by the platform's clock.
    pub at: Option<Timestamp>,
}

/// Decisions since a mark.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Polled {
    /// Each finding once, as it stands now.
    pub decisions: Vec<Decision>,
    /// Where the next poll goes on. Means nothing to whoever keeps it.
    pub mark: Option<String>,
}

/// A finding that a platform was told, and where.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Its scope.
    pub place: &'a Place,
    /// The scope's place there.
    pub target: &'a Target,
    /// What it is to show, with what is remembered of it: an id and the state last told.
    pub message: &'a Message,
}

/// How a finding that was told stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Somebody deleted it.
    Missing,
    /// So is its scope's place, or it may not be seen.
    Nowhere,
    /// It is there.
    There {
        /// Its status, in the platform's word; the word that was told where it comes to the same.
        word: String,
        /// The status is another than was told, and not because somebody decided so: what was told was lost there, and is
        /// told again.
        slipped: bool,
        /// Whether it shows what it is to show, but for its status.
        shown: bool,
    },
}

/// The findings of one scope, one after the other, none of them closed.
pub type Findings<'a> = dyn Iterator<Item = Result<Message, Trouble>> + 'a;

/// One destination, ready to be told. All calls of one destination come from one thread.
pub trait Platform: Send {
    /// What it can do.
    fn abilities(&self) -> Abilities;

    /// Looks whether address, credentials and rights are good. Changes nothing there.
    ///
    /// # Errors
    /// If it cannot even be asked.
    fn check(&mut self) -> Result<Vec<Finding>, Trouble>;

    /// Places that an asset's findings can go to, by a part of their name.
    ///
    /// # Errors
    /// If it cannot be asked. Platforms without places have none to offer.
    fn offers(&mut self, _search: Option<&str>) -> Result<Vec<Offer>, Trouble> {
        Ok(Vec::new())
    }

    /// Says in which term of its site's lease this box tells it something, where there are two boxes.
    fn set_term(&mut self, _term: Option<u64>) {}

    /// Finds or makes the place of a scope's findings. Called before the first push of a scope after a start; `known` is
    /// what it returned before.
    ///
    /// # Errors
    /// If it can be neither found nor made.
    fn prepare(&mut self, _place: &Place, known: Option<Target>) -> Result<Target, Trouble> {
        Ok(known.unwrap_or_default())
    }

    /// The same after [`Trouble::Target`], with the place that could not be used: it may be gone, or only have been hidden.
    ///
    /// # Errors
    /// If none can be found or made.
    fn prepare_again(&mut self, place: &Place, _lost: Target) -> Result<Target, Trouble> {
        self.prepare(place, None)
    }

    /// Whether a scope's place is another than it was, so that nothing is known there of what was told before.
    fn is_elsewhere(&self, _former: &Target, _now: &Target) -> bool {
        false
    }

    /// What is to be remembered of a finding before it is told for the first time, so that an answer that is lost
    /// leaves a trace: with birth values, without a state.
    fn intend(&self, place: &Place, message: &Message) -> Remote {
        Remote {
            scope: place.scope,
            id: None,
            key: message.finding.observed.key.clone(),
            state: None,
            content: None,
            birth: None,
            decided: None,
            since: message.finding.first_seen_at,
            telling: None,
            unanswered: Vec::new(),
        }
    }

    /// Called before each push, and before what is about to be told is noted. What it writes into the target is stored
    /// with that, so that it survives an end of this process in the middle of the push.
    ///
    /// # Errors
    /// If nothing can be told now.
    fn begin(&mut self, _place: &Place, _target: &mut Target, _batch: &[Message]) -> Result<(), Trouble> {
        Ok(())
    }

    /// Tells findings or changes of one scope, at most [`Abilities::batch_max`] at once. Of one that was never told
    /// nothing is known; of one whose telling was begun and never answered, what was intended, without a state.
    fn push(&mut self, place: &Place, target: &mut Target, batch: &[Message]) -> Pushed;

    /// Tells a whole scope ([`Manner::Scopes`]).
    ///
    /// # Errors
    /// If it could not be told.
    fn publish(&mut self, _place: &Place, _target: &mut Target, _findings: &mut Findings<'_>) -> Result<(), Trouble> {
        Err(Trouble::refused("this platform takes no whole scopes", "report this as a fault of hydrophone"))
    }

    /// Decisions made there since a mark, or all there are.
    ///
    /// # Errors
    /// If it cannot be asked.
    fn decisions(&mut self, _since: Option<&str>) -> Result<Polled, Trouble> {
        Ok(Polled::default())
    }

    /// Called while there is nothing to tell: what this box says although nothing changed, such as that it is there. When it
    /// is to be called again, where that is ever.
    ///
    /// # Errors
    /// If nothing can be said now.
    fn attend(&mut self, _life: Life<'_>) -> Result<Option<Duration>, Trouble> {
        Ok(None)
    }

    /// The signed configuration that is offered there to this box, and as which site's.
    ///
    /// # Errors
    /// If it cannot be asked for now.
    fn offered(&mut self) -> Result<Option<(Site, String)>, Trouble> {
        Ok(None)
    }

    /// Whether it is to be told how scopes stand, also where nothing in them changes, and which are gone.
    fn wants_scopes(&self) -> bool {
        false
    }

    /// Tells it how scopes stand.
    ///
    /// # Errors
    /// If not all could be told.
    fn stand(&mut self, _places: &[Place]) -> Result<(), Trouble> {
        Ok(())
    }

    /// Tells it that a scope is not held here any more, by what [`prepare`](Self::prepare) returned for it.
    ///
    /// # Errors
    /// If it cannot be told now.
    fn leave(&mut self, _inventory: InventoryId, _scope: ScopeId, _target: &Target) -> Result<(), Trouble> {
        Ok(())
    }

    /// Whether it is to be told of this box's own conditions.
    fn wants_notices(&self) -> bool {
        false
    }

    /// Tells it that a condition of this box came up or is over; the id is the same for every attempt.
    ///
    /// # Errors
    /// If it cannot be told now.
    fn notify(&mut self, _id: &[u8; 16], _notice: &Notice) -> Result<Told, Trouble> {
        Ok(Told::Yes(None))
    }

    /// How findings that it was told stand there now; changes nothing. Each of them once, or nothing at all where this
    /// platform cannot be asked.
    ///
    /// # Errors
    /// If it cannot be asked now.
    fn look(&mut self, _known: &[Known<'_>]) -> Result<Option<Vec<(FindingId, Seen)>>, Trouble> {
        Ok(None)
    }
}

/// Why a destination cannot be made from what was given: one sentence, with the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadDestination(pub String);

/// Checks what was given and makes the platform; nothing is sent.
///
/// # Errors
/// If address, options or secret cannot be right.
pub fn open(
    destination: &Destination,
    secret: Option<&str>,
    trust: &Trust,
) -> Result<Box<dyn Platform>, BadDestination> {
    open_by(destination, secret, trust, &Clock::system(), &Dice::system())
}

/// The same, with a clock by which a platform is waited for, and dice for what it leaves to chance.
///
/// # Errors
/// If address, options or secret cannot be right.
pub fn open_by(
    destination: &Destination,
    secret: Option<&str>,
    trust: &Trust,
    clock: &Clock,
    dice: &Dice,
) -> Result<Box<dyn Platform>, BadDestination> {
    match destination.kind {
        PlatformKind::Conviso => Ok(Box::new(conviso::open(destination, secret, trust)?.by(clock))),
        PlatformKind::DefectDojo => {
            Ok(Box::new(defectdojo::DefectDojo::open(destination, secret, trust)?.by(clock, dice)))
        }
        PlatformKind::Events => Ok(Box::new(events::Events::open(destination, secret, trust)?)),
        PlatformKind::Sarif => Ok(Box::new(sarif_folder::SarifFolder::open(destination)?)),
        PlatformKind::GitHub => Ok(Box::new(github::GitHub::open(destination, secret, trust)?)),
        PlatformKind::Nats => Ok(Box::new(nats::Nats::open(destination, secret, trust)?)),
    }
}

/// The address of a kind that has one of its own.
pub fn default_url(kind: PlatformKind) -> Option<&'static str> {
    match kind {
        PlatformKind::Conviso => Some("https://api.convisoappsec.com/graphql"),
        PlatformKind::GitHub => Some("https://api.github.com"),
        PlatformKind::DefectDojo | PlatformKind::Events | PlatformKind::Sarif | PlatformKind::Nats => None,
    }
}

/// A new secret for a kind whose secret is ours to choose.
pub fn new_secret(kind: PlatformKind) -> Option<String> {
    (kind == PlatformKind::Events).then(events::new_secret)
}

/// A kind's words for states.
pub fn words(kind: PlatformKind) -> &'static Words {
    match kind {
        PlatformKind::Conviso => conviso::WORDS,
        PlatformKind::DefectDojo => defectdojo::words(),
        PlatformKind::Events | PlatformKind::Sarif | PlatformKind::GitHub | PlatformKind::Nats => &[],
    }
}
