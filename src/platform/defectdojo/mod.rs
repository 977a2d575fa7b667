//! DefectDojo (3.x, open source edition; tried with 3.2): told by its API `reimport-scan`, a Test for each branch or
//! pull request.
//!
//! What is sent is what changed, and nothing is ever closed by being absent: each reimport says so. A row carries the
//! five values that DefectDojo hashes as they were when the finding was first told, and Sonar's key; so it is found again
//! by whichever of the two the server goes by. What changes visibly follows by PATCH. One import at a time is under way
//! for a Test, also across lost answers and restarts: two at once would make every finding twice.
//!
//! The address is the server's own, `https://dojo.example.com`; the secret is a token of its page "API v2 Key", best of a
//! user for this alone who is an authorized user of one product type. An asset is a product of that name; `--asset
//! NAME=OTHER` names another one, or an existing one by its number. Options:
//!
//! | option | meaning | default |
//! |---|---|---|
//! | `product-type` | the product type in which missing products are made | the only one of the token's user, else `Hydrophone` |
//! | `engagement` | the engagement of each product that holds the Tests; made if missing | `SonarQube` |
//! | `verified` | `yes` tells every finding as verified: unverified ones count in no metrics and do not go to Jira. A finding confirmed in Sonar then looks like any other | `no` |
//!
//! Statuses: open is `active`, confirmed `verified`, accepted `risk_accepted`, false positive `false_positive`, fixed and
//! removed `mitigated`. A person's `out_of_scope` there means accepted here. What a person decided there stays: only a
//! finding that Sonar itself reopened is reopened there, and only a decision that was told from here is taken back.

mod calls;
mod check;
mod compare;
mod decisions;
mod imports;
mod place;
mod push;
mod read;
mod rows;
mod status;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use ureq::http::header;

use self::calls::Calls;
use self::read::Seen;
use self::status::Status;
use self::wire::User;
use crate::domain::destination::{Destination, Words};
use crate::domain::finding::{Digest, State};
use crate::domain::ids::FindingId;
use crate::domain::message::{Message, Place, Remote, Target};
use crate::platform::http::Http;
use crate::platform::{
    self, Abilities, BadDestination, Finding, Known, Manner, Offer, Platform, Polled, Pushed, Trouble,
};
use crate::sys::clock::Clock;
use crate::sys::dice::Dice;
use crate::sys::trust::Trust;

/// A DefectDojo server.
pub struct DefectDojo {
    calls: Calls,
    destination: Destination,
    engagement: String,
    verified_always: bool,
    patience: Duration,
    clock: Clock,
    dice: Dice,
    /// Who the token is, once asked.
    me: Option<User>,
    /// The number of our test type there, the same for all Tests.
    test_type: Option<u64>,
    /// The Test whose newest findings may be ones that we do not know to be there.
    look_back: Option<String>,
    /// The import that is waited for, by its build id, and since when by the steady count.
    awaited: Option<(String, Duration)>,
    /// What a Test held that was there before us, by Sonar's key.
    held: Option<(String, HashMap<String, Seen>)>,
    /// What the last poll saw within its overlap.
    polled: BTreeMap<u64, String>,
    /// What findings showed that did not show what they were told.
    odd: BTreeMap<u64, Digest>,
}

impl fmt::Debug for DefectDojo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefectDojo").field("destination", &self.destination.name).finish_non_exhaustive()
    }
}

impl DefectDojo {
    /// Checks what was given; nothing is sent.
    ///
    /// # Errors
    /// If address, options or token cannot be right.
    pub fn open(destination: &Destination, secret: Option<&str>, trust: &Trust) -> Result<Self, BadDestination> {
        let bad = |text: &str| Err(BadDestination(text.to_owned()));
        if let Some(odd) = destination.options.keys().find(|name| !OPTIONS.contains(&name.as_str())) {
            return bad(&format!("{odd:?} is no option of a DefectDojo; they are: {}", OPTIONS.join(", ")));
        }
        if let Some(empty) = destination.options.iter().find(|(_, value)| value.trim().is_empty()) {
            return bad(&format!("the option {} is empty", empty.0));
        }
        let verified_always = match destination.option("verified") {
            None | Some("no") => false,
            Some("yes") => true,
            Some(other) => return bad(&format!("the option verified is yes or no, not {other:?}")),
        };
        let Some(token) = secret.map(str::trim).filter(|token| !token.is_empty()) else {
            return bad("a DefectDojo needs a token: copy it from its page \"API v2 Key\", and give --token-file FILE");
        };
        let token = token.strip_prefix("Token ").unwrap_or(token);
        if token.contains(char::is_whitespace) {
            return bad("the token has blanks or several lines; is it the right file?");
        }
        let mut plain = destination.clone();
        // People copy the address of the API as well as that of the page.
        let url = destination.url.trim().trim_end_matches('/');
        url.strip_suffix("/api/v2").unwrap_or(url).clone_into(&mut plain.url);
        let http = Http::new(&plain, trust)?.with_secret_header(header::AUTHORIZATION, &format!("Token {token}"))?;
        Ok(Self {
            calls: Calls::new(http, destination.name.to_string()),
            engagement: rows::fit(destination.option("engagement").unwrap_or("SonarQube"), rows::NAME_MAX),
            verified_always,
            patience: PATIENCE,
            clock: Clock::system(),
            dice: Dice::system(),
            me: None,
            test_type: None,
            look_back: None,
            awaited: None,
            held: None,
            polled: BTreeMap::new(),
            odd: BTreeMap::new(),
            destination: plain,
        })
    }

    /// How long an import whose answer was lost may be under way without a sign, from when it is first asked for.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Waits by this clock, and names imports by these dice.
    #[must_use]
    pub fn by(self, clock: &Clock, dice: &Dice) -> Self {
        Self { clock: clock.clone(), dice: dice.clone(), ..self }
    }

    /// The status that tells a state.
    fn status(&self, state: State) -> Status {
        if state.is_closed() {
            return Status::Mitigated;
        }
        let told = self.destination.mapping.word(state, status::WORDS).and_then(|word| Status::told_by(&word));
        told.unwrap_or(match state {
            State::Confirmed => Status::Verified,
            State::Accepted => Status::RiskAccepted,
            State::FalsePositive => Status::FalsePositive,
            State::Open | State::Fixed | State::Removed => Status::Active,
        })
    }

    fn me(&mut self) -> Result<&User, Trouble> {
        if self.me.is_none() {
            let profile: wire::Profile = self.calls.get("user_profile/")?;
            self.me = Some(profile.user);
        }
        Ok(self.me.as_ref().expect("it was just set"))
    }
}

impl Platform for DefectDojo {
    fn abilities(&self) -> Abilities {
        Abilities { manner: Manner::Findings, batch_max: BATCH_MAX, decisions: true, words: status::WORDS }
    }

    fn check(&mut self) -> Result<Vec<Finding>, Trouble> {
        self.look()
    }

    fn offers(&mut self, search: Option<&str>) -> Result<Vec<Offer>, Trouble> {
        self.products(search)
    }

    fn prepare(&mut self, place: &Place, known: Option<Target>) -> Result<Target, Trouble> {
        self.set_up(place, known)
    }

    /// Rights that were taken away and given again leave the Test where it was, whatever it is called by now.
    fn prepare_again(&mut self, place: &Place, lost: Target) -> Result<Target, Trouble> {
        self.set_up(place, Some(lost))
    }

    fn is_elsewhere(&self, former: &Target, now: &Target) -> bool {
        former.get(keys::TEST) != now.get(keys::TEST)
    }

    fn intend(&self, place: &Place, message: &Message) -> Remote {
        Remote {
            scope: place.scope,
            id: None,
            key: message.finding.observed.key.clone(),
            state: None,
            content: None,
            birth: Some(rows::birth(place, message)),
            decided: None,
            since: message.finding.first_seen_at,
            telling: None,
            unanswered: Vec::new(),
        }
    }

    fn begin(&mut self, _place: &Place, target: &mut Target, batch: &[Message]) -> Result<(), Trouble> {
        self.announce(target, batch)
    }

    fn push(&mut self, place: &Place, target: &mut Target, batch: &[Message]) -> Pushed {
        self.tell(place, target, batch)
    }

    fn decisions(&mut self, since: Option<&str>) -> Result<Polled, Trouble> {
        // What lies in no single scope is for a person, whichever it is.
        self.poll(since).map_err(|trouble| match trouble {
            Trouble::Target { why, remedy } => Trouble::Refused { why, remedy },
            other => other,
        })
    }

    fn look(&mut self, known: &[Known<'_>]) -> Result<Option<Vec<(FindingId, platform::Seen)>>, Trouble> {
        self.compare(known).map(Some)
    }
}

/// The words for states.
pub fn words() -> &'static Words {
    status::WORDS
}

const OPTIONS: [&str; 3] = ["product-type", "engagement", "verified"];

/// 500 new findings take DefectDojo up to six seconds, and closing as many up to twelve.
const BATCH_MAX: usize = 500;

/// The longest import that was measured took three and a half minutes, with twenty times as many findings.
const PATIENCE: Duration = Duration::from_mins(5);

/// What is remembered of a scope's place.
mod keys {
    pub(super) const PRODUCT: &str = "product";
    pub(super) const ENGAGEMENT: &str = "engagement";
    pub(super) const TEST: &str = "test";
    pub(super) const TEST_TYPE: &str = "test_type";
    /// What the server finds a row's finding by.
    pub(super) const ALGORITHM: &str = "algorithm";
    /// Set where the Test was there before us.
    pub(super) const ADOPTED: &str = "adopted";
    /// The import that is, or may be, under way: its build id.
    pub(super) const IMPORTING: &str = "importing";
}

/// See [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(body: &[u8]) {
    wire::fuzz(body);
}
