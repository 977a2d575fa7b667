//! Being one of two boxes of a site: the lease, and what follows from having it or not. The one that has it works, and tells
//! the other one all that it writes ([`hold`]); the other one writes the same, takes webhooks and hands them over
//! ([`follow`]), and takes the lease when it is not renewed any more.
//!
//! A box that cannot reach the server does not stop reading SonarQube: what it reads is so. But it tells no platform
//! anything, as the other one may be doing that by now; and as soon as it sees that this is so, it stands by.

mod follow;
mod hold;
mod seen;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use self::follow::Following;
use self::hold::Holding;
pub use self::seen::{Lost, Other, Role, Seen, Standby};
use super::{Work, small_thread};
use crate::domain::limits::PLATFORM_CALL_MAX;
use crate::domain::retry::Failures;
use crate::domain::standby::{BoxId, Holds, Judge, Lease, May, Pair, Part, Post};
use crate::platform::nats::pair::{Found, Slot, Speaking};
use crate::platform::{BadDestination, Trouble};
use crate::store::records::SecretBytes;
use crate::store::{StoreError, catalogue, standby};
use crate::sys::clock::Clock;
use crate::sys::fence::Fence;
use crate::sys::loops;
use crate::sys::seal::Key;

/// Opens the way to the other box with what was given; nothing is sent.
///
/// # Errors
/// If it cannot be right.
pub fn open(
    work: &Work,
    pair: &Pair,
    credentials: &SecretBytes,
    key: &SecretBytes,
) -> Result<(Speaking, Arc<Key>), BadDestination> {
    let key = Key::parse(key.as_bytes()).map(Arc::new).ok_or_else(|| {
        BadDestination(
            "the key is none: it is a line of 64 hexadecimal digits, as `hydrophone standby key` makes it".to_owned(),
        )
    })?;
    let speaking = Speaking::open(pair, credentials.as_text(), Arc::clone(&key), work.sources.trust())?;
    Ok((speaking, key))
}

/// Who has the lease, as the server says it. Makes the bucket where there is none.
///
/// # Errors
/// If the server cannot be asked, or says what cannot be understood.
pub fn lease(speaking: &mut Speaking) -> Result<Result<(u64, Lease), u64>, Trouble> {
    let found = match speaking.get(Slot::Lease, "") {
        Err(Trouble::Later { .. }) if speaking.is_missing() => {
            speaking.make_bucket()?;
            speaking.get(Slot::Lease, "")?
        }
        found => found?,
    };
    match found {
        Found::Nothing(revision) => Ok(Err(revision)),
        Found::Said { revision, text } => match serde_json::from_slice(&text) {
            Ok(lease) => Ok(Ok((revision, lease))),
            Err(_) => Err(Trouble::refused("the lease of this site is of a newer version", NEWER)),
        },
        Found::Sealed => {
            Err(Trouble::refused("the lease of this site is sealed with another key than this box's", OTHER_KEY))
        }
    }
}

const NEWER: &str = "bring this box to the version of the other one";

const OTHER_KEY: &str = "set both boxes up with the same key: `hydrophone standby join`; where the other one is gone for good, \
    whoever looks after the server deletes the bucket HYDROPHONE_STANDBY";

/// Says in the lease that this box works alone from here on, so that the other one does not take its work over.
///
/// # Errors
/// If the server cannot be asked.
pub fn end(speaking: &mut Speaking, me: BoxId) -> Result<(), Trouble> {
    // The thread that looks after it may renew it once more.
    for _ in 0..ENDS {
        let Ok((revision, held)) = lease(speaking)? else { return Ok(()) };
        if held.holder != me || held.ended {
            return Ok(());
        }
        let text = serde_json::to_vec(&Lease { ended: true, ..held }).expect("it is text and numbers");
        if speaking.exchange(Slot::Lease, revision, &text)?.is_some() {
            return Ok(());
        }
    }
    Err(Trouble::later("somebody else writes the lease of this site all the time"))
}

/// Takes back what this box said as the one that stands by, so that another one finds its place free. Where that cannot be done,
/// it does so a while later.
pub fn fall_silent(speaking: &mut Speaking, me: BoxId) {
    if let Ok(Found::Said { revision, text }) = speaking.get(Slot::Post, "")
        && serde_json::from_slice::<Post>(&text).is_ok_and(|post| post.from == me)
    {
        let _ = speaking.exchange(Slot::Post, revision, b"");
    }
}

/// How often it is tried to end a lease that somebody else writes.
const ENDS: usize = 5;

/// Starts the thread that looks after it. It ends when the workers are told to.
pub fn start(work: &Arc<Work>) -> JoinHandle<()> {
    let work = Arc::clone(work);
    small_thread("standby".to_owned(), move || Keeper::new(work).run())
}

/// The thread's own.
struct Keeper {
    work: Arc<Work>,
    open: Option<Open>,
    failures: Failures,
}

/// A pair whose way is known.
struct Open {
    pair: Pair,
    part: Part,
    way: Way,
    holding: Option<Holding>,
    following: Following,
    /// Whether it is noted from which call on the other box may work, since this one's lease is over.
    unsure: bool,
}

/// The lease and the way to it.
struct Way {
    speaking: Speaking,
    key: Arc<Key>,
    judge: Judge,
    clock: Clock,
    fence: Arc<Fence>,
}

impl Way {
    /// Renews the lease where that is due; false if it is lost.
    fn renew(&mut self, lease: &Lease) -> Result<bool, Trouble> {
        let asked_at = self.clock.awake_or_asleep();
        let Some(may) = self.judge.may_renew(asked_at) else { return Ok(self.judge.held().is_some()) };
        match self.write(may, &Lease { term: may.term, ..lease.clone() }, asked_at) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            // The bucket is gone, and a new one holds nothing.
            Err(_) if self.speaking.is_missing() => {}
            Err(trouble) => return Err(trouble),
        }
        // Somebody wrote it: perhaps this box itself, whose answer was lost.
        self.see()?;
        Ok(self.judge.held().is_some())
    }

    fn write(&mut self, may: May, lease: &Lease, asked_at: Duration) -> Result<bool, Trouble> {
        let text = serde_json::to_vec(lease).expect("it is text and numbers");
        self.judge.ask(may);
        let Some(revision) = self.speaking.exchange(Slot::Lease, may.revision, &text)? else { return Ok(false) };
        self.judge.hold(may, revision, asked_at);
        Ok(true)
    }

    fn see(&mut self) -> Result<(), Trouble> {
        let found = lease(&mut self.speaking)?;
        self.judge.see(found, self.clock.awake_or_asleep());
        if self.judge.held().is_none() {
            self.fence.shut();
        }
        Ok(())
    }

    /// Opens the fence for as long as the lease lasts.
    fn open_fence(&self) {
        if let Some((_, until)) = self.judge.held() {
            self.fence.open_until(until);
        }
    }
}

impl Keeper {
    fn new(work: Arc<Work>) -> Self {
        Self { work, open: None, failures: Failures::default() }
    }

    fn run(mut self) {
        let work = Arc::clone(&self.work);
        while !work.is_stopping() {
            let heard = work.standby.bell.rings();
            let wait = match self.turn() {
                Ok(Ok(wait)) => wait,
                Ok(Err(trouble)) => self.trouble(trouble),
                Err(error) => self.trouble(Trouble::later(format!("what the two of them hold: {error}"))),
            };
            work.standby.bell.wait(heard, wait);
        }
        // What was written last is told, where that is quickly done.
        if let Some(open) = &mut self.open
            && let Some(holding) = &mut open.holding
            && let Ok(lease) = lease_of(&self.work, open.part)
        {
            let _ = holding.ship(&self.work, &mut open.way, &lease);
        }
    }

    /// Does what is next; how long nothing is to be done then.
    fn turn(&mut self) -> Result<Result<Duration, Trouble>, StoreError> {
        let work = Arc::clone(&self.work);
        let Some(open) = self.opened()? else {
            return Ok(Ok(if work.standby.seen().role == Role::Alone { ALONE } else { RETRY_MAX }));
        };
        if open.is_unsure() {
            open.note_unsure(&work)?;
        }
        let turned = match open.way.judge.held() {
            Some(_) => open.work_on(&work)?,
            None => open.look(&work)?,
        };
        if turned.is_ok() {
            self.failures = Failures::default();
            work.standby.note(|seen| seen.trouble = None);
        }
        Ok(turned.map(|()| TICK))
    }

    /// The pair as it is set up now; nothing where there is none.
    fn opened(&mut self) -> Result<Option<&mut Open>, StoreError> {
        let work = &self.work;
        let (pair, part, is_unsure) = work.store.read::<_, StoreError>(|view| {
            Ok((standby::pair(view)?, standby::part(view)?, standby::is_unsure(view)?))
        })?;
        let Some(pair) = pair else {
            if self.open.take().is_some() || work.standby.seen().role != Role::Alone {
                self.alone();
            }
            return Ok(None);
        };
        let is_same =
            |open: &Open| Pair { replaces: pair.replaces, ..open.pair.clone() } == pair && open.part.me == part.me;
        if !self.open.as_ref().is_some_and(is_same) {
            work.standby.fence.shut();
            self.open = None;
            if part.works && !is_unsure {
                // Also where there is no way to the other one.
                let now = work.clock.now();
                work.store.delete::<_, StoreError>(move |batch| standby::put_unsure(batch, now))?;
            }
            let (credentials, key) = work.store.read(standby::secrets_of)?;
            let empty = || SecretBytes::new(Vec::new());
            let (credentials, key) = (credentials.unwrap_or_else(empty), key.unwrap_or_else(empty));
            match open(work, &pair, &credentials, &key) {
                Ok((speaking, key)) => {
                    let clock = work.clock.clone();
                    let judge = Judge::new(part, clock.awake_or_asleep());
                    let way = Way { speaking, key, judge, clock, fence: Arc::clone(&work.standby.fence) };
                    self.open =
                        Some(Open { pair, part, way, holding: None, following: Following::default(), unsure: false });
                }
                Err(bad) => {
                    self.trouble(Trouble::refused(bad.to_string(), "set it up anew: `hydrophone standby join`"));
                    return Ok(None);
                }
            }
            let role = if part.works { Role::Unsure } else { Role::StandsBy };
            work.standby.be(role, &work.clock);
        } else if let Some(open) = &mut self.open {
            open.pair = pair;
        }
        Ok(self.open.as_mut())
    }

    /// Works alone again.
    fn alone(&self) {
        let standby = &self.work.standby;
        self.work.store.stand_by(false);
        follow::forget_file(&self.work);
        standby.note(|seen| *seen = Seen::default());
        standby.works.store(true, Ordering::Release);
        standby.fence.open();
        standby.changed();
        self.work.store.bell().ring();
    }

    fn trouble(&mut self, trouble: Trouble) -> Duration {
        let (wait, remedy, why) = match trouble {
            Trouble::Later { why, after } => {
                (self.failures.fail(after, self.work.dice.byte()).min(RETRY_MAX), None, why)
            }
            Trouble::Refused { why, remedy } | Trouble::Target { why, remedy } => (RETRY_MAX, Some(remedy), why),
            Trouble::Gone { why } => (RETRY_MAX, None, why),
        };
        let (now, steady) = (self.work.clock.now(), self.work.clock.steady());
        let (is_unsure, since) = (self.open.as_ref().is_some_and(Open::is_unsure), now);
        self.work.standby.note(|seen| {
            if seen.trouble.as_ref().is_none_or(|lost| lost.why != why) {
                tracing::warn!("the other box of this site: {why}");
            }
            let (since, steady) = seen.trouble.as_ref().map_or((since, steady), |lost| (lost.since, lost.steady));
            seen.trouble = Some(Lost { why, remedy, since, steady });
            seen.is_current = false;
        });
        if is_unsure {
            self.work.standby.be(Role::Unsure, &self.work.clock);
        }
        wait
    }
}

impl Open {
    /// Whether this box works and its lease is over.
    fn is_unsure(&self) -> bool {
        let now = self.way.clock.awake_or_asleep();
        self.part.works && self.way.judge.held().is_none_or(|(_, until)| until <= now)
    }

    /// Holds the lease.
    fn work_on(&mut self, work: &Arc<Work>) -> Result<Result<(), Trouble>, StoreError> {
        // It was written, and what follows from it was not.
        if !self.part.works || !work.standby.works() {
            self.take_over(work)?;
        }
        let lease = lease_of(work, self.part)?;
        match self.way.renew(&lease) {
            Err(trouble) => return Ok(Err(trouble)),
            Ok(true) => {
                self.way.open_fence();
                if self.unsure {
                    work.store.delete::<_, StoreError>(|batch| standby::put_sure(batch))?;
                    self.unsure = false;
                }
            }
            Ok(false) => {
                self.holding = None;
                return Ok(Ok(()));
            }
        }
        work.standby.be(Role::Works, &work.clock);
        self.tell_again(work)?;
        let holding = self.holding.get_or_insert_with(|| Holding::new(self.part));
        if let Err(trouble) = holding.turn(work, &mut self.way, &lease)? {
            return Ok(Err(trouble));
        }
        if work.standby.hands_over.swap(false, Ordering::AcqRel) {
            return self.give_back(work, lease);
        }
        Ok(Ok(()))
    }

    /// Looks who has the lease, and does what follows.
    fn look(&mut self, work: &Arc<Work>) -> Result<Result<(), Trouble>, StoreError> {
        self.holding = None;
        work.standby.hands_over.store(false, Ordering::Release);
        if let Err(trouble) = self.way.see() {
            return Ok(Err(trouble));
        }
        let term = self.way.judge.term();
        work.standby.note(|seen| seen.term = term);
        let mut followed = Ok(());
        if let Some(other) = self.way.judge.other().cloned().filter(|_| !self.way.judge.is_left(self.part.works)) {
            // Whatever it wrote is later than what is here.
            if self.part.works {
                tracing::warn!("{} works for this site, in term {term}; this box stands by", other.machine);
                end_work(work, END_MAX);
                let (part, now) = (Part { works: false, ..self.part }, work.clock.now());
                let calls = work.store.delete::<_, StoreError>(move |batch| standby::put_replaced(batch, part, now))?;
                if calls > 0 {
                    tracing::info!("hands over {calls} calls that came since it is not known who works");
                }
                self.now_stand_by(work, part);
            }
            self.note_term(work, term)?;
            work.standby.be(Role::StandsBy, &work.clock);
            // Also where it has gone: all that it told is taken in before it is replaced. What goes wrong with that keeps nobody
            // from replacing it.
            followed = match self.following.turn(work, &mut self.way, (&self.pair, self.part), &other) {
                Ok(followed) => followed,
                Err(error) => Err(Trouble::later(error.to_string())),
            };
        }
        let asked_at = self.way.clock.awake_or_asleep();
        let holds = work.store.read::<_, StoreError>(|view| {
            let (inventory, copied) = (catalogue::inventory(view)?, standby::copied(view)?);
            Ok(Holds { inventory, is_whole: !standby::is_taking(view)?, copied, works: self.part.works })
        })?;
        let Some(may) = self.way.judge.may_take(holds, (asked_at, work.clock.now())) else { return Ok(followed) };
        // Where the answer is lost, this box knows its own.
        self.note_term(work, may.term)?;
        let lease = Lease { term: may.term, ..lease_of(work, self.part)? };
        match self.way.write(may, &lease, asked_at) {
            Ok(true) => self.take_over(work).map(Ok),
            Ok(false) => Ok(followed),
            Err(trouble) => Ok(Err(trouble)),
        }
    }

    /// Notes the newest term that is known, so that an older one is told from it after a start, too.
    fn note_term(&mut self, work: &Work, term: u64) -> Result<(), StoreError> {
        if term > self.part.term {
            let part = Part { term, ..self.part };
            work.store.delete::<_, StoreError>(move |batch| standby::put_part_still(batch, part))?;
            self.part = part;
        }
        Ok(())
    }

    /// Begins to work, or goes on with it, in a new term.
    fn take_over(&mut self, work: &Arc<Work>) -> Result<(), StoreError> {
        let term = self.way.judge.term();
        let stood_by = !self.part.works || work.store.stands_by();
        let part = Part { works: true, term, tells_again: self.part.tells_again || stood_by, ..self.part };
        let (now, ticket) = (work.clock.now(), work.store.ticket());
        work.store.delete::<_, StoreError>(move |batch| {
            if stood_by { standby::take_over(batch, part, now, ticket) } else { standby::put_working(batch, part) }
        })?;
        if stood_by {
            let age = work.standby.seen().other.map(|other| other.heard_at);
            let heard = age.map_or_else(String::new, |at| format!("; the other one was last heard at {at}"));
            tracing::warn!("this box takes over the work of its site, in term {term}{heard}");
            work.store.stand_by(false);
            work.sources.forget_all();
            work.standby.changed();
        } else {
            tracing::info!("this box works for its site, in term {term}");
        }
        work.standby.works.store(true, Ordering::Release);
        (self.part, self.unsure) = (part, false);
        self.way.open_fence();
        work.standby.be(Role::Works, &work.clock);
        work.standby.note(|seen| (seen.term, seen.copied, seen.problem, seen.other) = (term, None, None, None));
        work.store.bell().ring();
        work.tidy();
        Ok(())
    }

    /// Tells streams everything once more when nothing of the former holder can be under way any more: what came from it behind
    /// what this box told took its place there.
    fn tell_again(&mut self, work: &Work) -> Result<(), StoreError> {
        let worked = work.clock.steady().saturating_sub(work.standby.seen().steady);
        if !self.part.tells_again || worked < UNDER_WAY_MAX {
            return Ok(());
        }
        let part = Part { tells_again: false, ..self.part };
        work.store.write::<_, StoreError>(move |batch| {
            standby::tell_streams(batch)?;
            standby::put_part_still(batch, part)
        })?;
        self.part = part;
        Ok(())
    }

    /// Notes from which call on the other box may work.
    fn note_unsure(&mut self, work: &Work) -> Result<(), StoreError> {
        if !self.unsure {
            let now = work.clock.now();
            work.store.delete::<_, StoreError>(move |batch| standby::put_unsure(batch, now))?;
            self.unsure = true;
        }
        Ok(())
    }

    /// Stands by from here on, which is noted.
    fn now_stand_by(&mut self, work: &Work, part: Part) {
        (self.part, self.unsure, self.following) = (part, false, Following::default());
        work.standing.keep(|_| false);
        work.standby.note(|seen| seen.other = None);
    }

    /// Gives the lease back: the other one takes it as soon as it sees that, and has all that was written here.
    fn give_back(&mut self, work: &Arc<Work>, lease: Lease) -> Result<Result<(), Trouble>, StoreError> {
        tracing::info!("this box hands its work over");
        // No call to a platform takes longer, and it is to be over before the other box makes any.
        end_work(work, PLATFORM_CALL_MAX);
        let part = Part { works: false, ..self.part };
        work.store.delete::<_, StoreError>(move |batch| standby::put_part_still(batch, part))?;
        self.now_stand_by(work, part);
        let Some(holding) = &mut self.holding else { return Ok(Ok(())) };
        let told = match holding.ship(work, &mut self.way, &lease)? {
            Ok(()) => holding.all_told(work),
            Err(trouble) => return Ok(Err(trouble)),
        };
        // It has the lease still, and takes the work up again.
        let (Some(told), Some(may)) = (told, self.way.judge.may_release()) else {
            return Ok(Err(Trouble::later(
                "the work was not handed over, as the other box could not be told everything",
            )));
        };
        self.holding = None;
        let released = Lease { released: Some(told), ..lease };
        let now = self.way.clock.awake_or_asleep();
        let written = self.way.write(may, &released, now);
        self.way.judge.lose();
        Ok(written.map(drop))
    }
}

/// Ends to work. What is under way is waited for, for so long at most.
fn end_work(work: &Work, most: Duration) {
    work.standby.fence.shut();
    work.standby.works.store(false, Ordering::Release);
    work.store.bell().ring();
    // Whoever is in the middle of something ends it at its next step, or meets a store that takes nothing.
    let end = work.clock.steady() + most;
    let is_busy = || work.is_reading() || work.standby.fence.is_busy();
    let rest = loops::resting();
    while is_busy() && work.clock.steady() < end && !work.is_stopping() {
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(rest);
    work.store.stand_by(true);
}

/// The lease as a box writes it that holds it.
fn lease_of(work: &Work, part: Part) -> Result<Lease, StoreError> {
    let (inventory, empty) =
        work.store.read::<_, StoreError>(|view| Ok((catalogue::inventory(view)?, standby::is_empty(view)?)))?;
    Ok(Lease { holder: part.me, machine: machine(), inventory, term: part.term, released: None, ended: false, empty })
}

fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// How often the lease and the other box are looked at.
const TICK: Duration = Duration::from_secs(1);

/// How long a box that is no part of a pair looks at nothing.
const ALONE: Duration = Duration::from_hours(24);

/// The longest wait for a server that does not answer: much shorter than a lease.
const RETRY_MAX: Duration = Duration::from_secs(15);

/// For so long at most a message may be on its way to a server of NATS: that ends a connection which answers nothing for some
/// four minutes.
const UNDER_WAY_MAX: Duration = Duration::from_mins(10);

/// How long it is waited for reads to end.
const END_MAX: Duration = Duration::from_secs(20);
