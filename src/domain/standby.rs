//! Two boxes for one site: which of them works, and how the other comes to do it.
//!
//! A lease says which. It lies in a key-value bucket of the fleet's server, and is exchanged by comparing: whoever writes it
//! names the revision that it replaces. Its holder counts its time from before it asked, by its own steady clock; the other
//! one counts the same time, and some more, from when it first saw a revision. So no clock is compared with another, and
//! nobody takes the lease while its former holder may still think that it has it, however slow that is.
//!
//! Each holding is a *term*, and no two are the same: what a box says bears its term, so that what a former holder said too
//! late can be told from what counts.
//!
//! Under `$KV.HYDROPHONE_STANDBY.<site>.`:
//!
//! ```text
//! lease       who works
//! post        what the one that stands by says: that it is there, how far it has come, and what calls it took
//! taken       up to which of those calls the holder has them
//! head        which copy of the inventory there is, and how many changes of it
//! copy.<n>    a part of the copy
//! change.<n>  a part of what changed since
//! ```
//!
//! All of it is sealed with a key that both boxes have and the server has not.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::fleet::{InventoryId, Site};
use super::signature::{hex, to_hex};
use super::time::Timestamp;

/// How long a lease lasts that is not renewed: longer than any call to a platform, which must not end after it.
pub const LEASE: Duration = Duration::from_mins(3);

/// For so much longer it is waited before another one takes it: two clocks of one speed may differ by a part in a thousand,
/// and these by one in twelve.
pub const LEASE_MARGIN: Duration = Duration::from_secs(15);

/// How often it is renewed.
pub const LEASE_RENEW: Duration = Duration::from_secs(10);

/// The key-value bucket of leases, copies and changes.
pub const BUCKET: &str = "HYDROPHONE_STANDBY";

/// All of its keys.
pub const BUCKET_SUBJECTS: &str = "$KV.HYDROPHONE_STANDBY.>";

/// The stream that JetStream keeps that bucket in.
pub const BUCKET_STREAM: &str = "KV_HYDROPHONE_STANDBY";

/// Names a box among those of its site, whatever machine it is on.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct BoxId(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 8]);

impl fmt::Display for BoxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&to_hex(&self.0))
    }
}

impl fmt::Debug for BoxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for BoxId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'d> Deserialize<'d> for BoxId {
    fn deserialize<D: Deserializer<'d>>(from: D) -> Result<Self, D::Error> {
        let mut bytes = [0; 8];
        let text = String::deserialize(from)?;
        hex(text.as_bytes(), &mut bytes).ok_or_else(|| de::Error::custom("a box is named by 16 hex digits"))?;
        Ok(Self(bytes))
    }
}

/// How a box reaches the other one of its site. Credentials and key are among the secrets.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Pair {
    /// Where the server is.
    #[n(0)]
    pub url: String,
    /// The site.
    #[n(1)]
    pub site: Site,
    /// Whether the way there is safe without TLS.
    #[n(2)]
    pub plain: bool,
    /// Certificates (PEM) to trust beside the system's.
    #[n(3)]
    pub ca_pem: Option<String>,
    /// Whether the inventory that this box holds is given up for the other one's.
    #[n(4)]
    pub replaces: bool,
    /// When it was set up.
    #[n(5)]
    pub added_at: Timestamp,
}

/// What a box knows of itself as one of two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct Part {
    /// Which of them it is.
    #[n(0)]
    pub me: BoxId,
    /// Whether it works, as far as it knows.
    #[n(1)]
    pub works: bool,
    /// The newest term that it knows of.
    #[n(2)]
    pub term: u64,
    /// Whether it is to tell streams everything once more, as it has taken over.
    #[n(3)]
    #[cbor(default)]
    pub tells_again: bool,
}

/// How far a copy of the other one's inventory has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
pub struct Copied {
    /// In which term it was made.
    #[n(0)]
    pub term: u64,
    /// Which of that term it is.
    #[n(1)]
    pub copy: u32,
    /// How many changes were taken in since.
    #[n(2)]
    pub changes: u32,
}

impl Copied {
    /// Whether another one is of the same copy.
    pub fn is_of(self, other: Self) -> bool {
        (self.term, self.copy) == (other.term, other.copy)
    }
}

/// Who works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Which box.
    pub holder: BoxId,
    /// Its machine's name.
    pub machine: String,
    /// Which inventory it holds.
    pub inventory: InventoryId,
    /// Which holding this is.
    pub term: u64,
    /// Whether its holder gives it to the other box, once that has all that it told.
    #[serde(default)]
    pub released: Option<Copied>,
    /// Whether its holder works alone from here on, so that no other box takes it.
    #[serde(default)]
    pub ended: bool,
    /// Whether its holder holds nothing that another box should give its own up for.
    #[serde(default)]
    pub empty: bool,
}

impl Lease {
    /// Whether its holder has let it go.
    pub fn is_over(&self) -> bool {
        self.released.is_some() || self.ended
    }
}

/// What a box holds that looks at the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holds {
    /// Which inventory.
    pub inventory: InventoryId,
    /// Whether all of it is there.
    pub is_whole: bool,
    /// How far it is a copy of the other one's.
    pub copied: Option<Copied>,
    /// Whether this box was the last to work, as far as it knows.
    pub works: bool,
}

/// Which copy of the inventory there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Which it is, and how many changes there are.
    pub of: Copied,
    /// How many parts the copy has; none while it is being made.
    pub parts: u32,
}

/// What the box that stands by says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Post {
    /// Which box it is.
    pub from: BoxId,
    /// Its machine's name.
    pub machine: String,
    /// The version that it runs.
    pub version: String,
    /// How far it has come; none before it has a copy.
    pub copied: Option<Copied>,
    /// Whether it needs another copy, as it cannot make anything of the one that there is.
    #[serde(default)]
    pub wants: bool,
    /// Calls that it took, the oldest first.
    #[serde(default)]
    pub calls: Vec<Call>,
}

/// A webhook call that the box which stands by has stored and acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its number there.
    pub id: u64,
    /// When it arrived there.
    pub at: i64,
    /// Whose endpoint it came to: the source's name.
    pub source: String,
    /// The organization.
    pub organization: String,
    /// The body.
    pub body: String,
}

/// Up to which of a box's calls the holder has stored them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Taken {
    /// Whose calls.
    #[n(0)]
    pub of: BoxId,
    /// The last of them.
    #[n(1)]
    pub up_to: u64,
}

impl Serialize for InventoryId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'d> Deserialize<'d> for InventoryId {
    fn deserialize<D: Deserializer<'d>>(from: D) -> Result<Self, D::Error> {
        Self::from_str(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

/// Judges the lease. All times are of this machine's count that also goes on while it sleeps.
#[derive(Debug)]
pub struct Judge {
    me: BoxId,
    /// The newest term that is known.
    term: u64,
    /// The last term of its own.
    own: u64,
    /// The lease as it was last seen, and since when it is that revision.
    seen: Option<Seen>,
    /// Where there is no lease: the revision of what took its place.
    vacant: u64,
    /// Since when there may be a lease of the other one that this one has not seen.
    blind_since: Duration,
    held: Option<Held>,
}

#[derive(Debug)]
struct Seen {
    revision: u64,
    lease: Lease,
    at: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    term: u64,
    revision: u64,
    asked_at: Duration,
}

/// The lease may be had: what to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct May {
    /// The revision that it replaces; 0 where there is none.
    pub revision: u64,
    /// The term that begins or goes on.
    pub term: u64,
}

impl Judge {
    /// Of a box that begins now.
    pub fn new(part: Part, now: Duration) -> Self {
        Self { me: part.me, term: part.term, own: part.term, seen: None, vacant: 0, blind_since: now, held: None }
    }

    /// Notes the lease as it was found just now, or the revision of what is there in its place.
    pub fn see(&mut self, found: Result<(u64, Lease), u64>, now: Duration) {
        match found {
            Ok((revision, lease)) => {
                self.term = self.term.max(lease.term);
                let is_mine = |held: &Held| lease.holder == self.me && lease.term == held.term && !lease.is_over();
                // An answer may have been lost.
                self.held = self.held.filter(is_mine).map(|held| Held { revision, ..held });
                let at = self.seen.as_ref().filter(|seen| seen.revision == revision).map_or(now, |seen| seen.at);
                self.seen = Some(Seen { revision, lease, at });
                self.blind_since = now;
            }
            Err(revision) => (self.seen, self.held, self.vacant) = (None, None, revision),
        }
    }

    /// Whether this box may take the lease, which it does not hold, and what to write then.
    ///
    /// Terms are seconds since 1970, or one more than the newest that is known: also where all that was known of them is gone,
    /// a new one is newer.
    pub fn may_take(
        &self,
        Holds { inventory, is_whole, copied, works }: Holds,
        (now, date): (Duration, Timestamp),
    ) -> Option<May> {
        let next = u64::try_from(date.0 / 1000).unwrap_or_default().max(self.term + 1);
        let Some(seen) = &self.seen else {
            // Nobody has one, as far as can be seen. The other one may have had it until a moment ago.
            let is_over = now.saturating_sub(self.blind_since) >= LEASE + LEASE_MARGIN;
            return (self.term == 0 || (is_whole && is_over)).then_some(May { revision: self.vacant, term: next });
        };
        let may = May { revision: seen.revision, term: next };
        if seen.lease.ended {
            return self.is_left(works).then_some(may);
        }
        if self.is_own(&seen.lease) && seen.lease.released.is_none() {
            return Some(may);
        }
        // Whoever gave it back leaves it to the other one, for as long as that may need. One of an older term was put back.
        let has_all = copied.is_some() && seen.lease.released == copied && seen.lease.term == self.term;
        let is_free = has_all && !self.is_own(&seen.lease);
        let is_over = is_free || now.saturating_sub(seen.at) >= LEASE + LEASE_MARGIN;
        (is_over && is_whole && seen.lease.inventory == inventory).then_some(may)
    }

    /// Whether somebody who works alone by now left the lease to this box, as far as it works: it was joined anew, or worked
    /// after that one.
    pub fn is_left(&self, works: bool) -> bool {
        let ended = self.seen.as_ref().map(|seen| &seen.lease).filter(|lease| lease.ended);
        works && ended.is_some_and(|lease| self.own == 0 || lease.term <= self.own)
    }

    /// Whether the lease is to be renewed now.
    pub fn may_renew(&self, now: Duration) -> Option<May> {
        let held = self.held.filter(|held| now.saturating_sub(held.asked_at) >= LEASE_RENEW)?;
        Some(May { revision: held.revision, term: held.term })
    }

    /// What is to be replaced by a lease that nobody has.
    pub fn may_release(&self) -> Option<May> {
        self.held.map(|held| May { revision: held.revision, term: held.term })
    }

    /// Notes that the lease is about to be written, of which the answer may be lost.
    pub fn ask(&mut self, may: May) {
        self.own = may.term;
    }

    /// Notes that the lease was written, which was asked for at that time.
    pub fn hold(&mut self, may: May, revision: u64, asked_at: Duration) {
        self.term = self.term.max(may.term);
        self.own = may.term;
        self.held = Some(Held { term: may.term, revision, asked_at });
        self.seen = None;
        self.blind_since = asked_at;
    }

    /// Notes that it was given back, or that somebody else wrote it.
    pub fn lose(&mut self) {
        self.held = None;
    }

    /// The term that this box is in, and until when it may count on that; also where that is over.
    pub fn held(&self) -> Option<(u64, Duration)> {
        self.held.map(|held| (held.term, held.asked_at + LEASE))
    }

    /// Whose it is, where it is somebody else's.
    pub fn other(&self) -> Option<&Lease> {
        self.seen.as_ref().map(|seen| &seen.lease).filter(|lease| !self.is_own(lease))
    }

    /// Whether this box wrote a lease. One that was copied, disk and all, has its name, and another term.
    fn is_own(&self, lease: &Lease) -> bool {
        lease.holder == self.me && lease.term == self.own
    }

    /// Which revision of the lease was seen last.
    pub fn revision(&self) -> Option<u64> {
        self.seen.as_ref().map(|seen| seen.revision)
    }

    /// The newest term that is known.
    pub fn term(&self) -> u64 {
        self.term
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: Holds = Holds { inventory: InventoryId([7; 8]), is_whole: true, copied: Some(COPIED), works: false };
    const COPIED: Copied = Copied { term: 1, copy: 1, changes: 5 };
    const ME: BoxId = BoxId([1; 8]);
    const OTHER: BoxId = BoxId([2; 8]);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn lease(holder: BoxId, term: u64) -> Lease {
        Lease {
            holder,
            machine: "m".to_owned(),
            inventory: OURS.inventory,
            term,
            released: None,
            ended: false,
            empty: false,
        }
    }

    fn judge(term: u64, now: u64) -> Judge {
        Judge::new(Part { me: ME, works: false, term, tells_again: false }, at(now))
    }

    #[test]
    fn the_first_of_two_takes_it_at_once_and_the_other_waits_until_it_is_not_renewed() {
        let mut first = judge(0, 5);
        first.see(Err(0), at(5));
        let may = first.may_take(OURS, (at(5), Timestamp(0))).unwrap();
        assert_eq!(may, May { revision: 0, term: 1 });
        first.hold(may, 9, at(5));
        assert_eq!((first.may_renew(at(14)), first.held()), (None, Some((1, at(185)))));
        assert_eq!(first.may_renew(at(15)), Some(May { revision: 9, term: 1 }));
        let mut other = judge(0, 0);
        for now in [0, 10, 194] {
            other.see(Ok((9, lease(OTHER, 1))), at(now));
            assert_eq!(other.may_take(OURS, (at(now), Timestamp(0))), None, "{now}");
        }
        assert_eq!(other.may_take(OURS, (at(195), Timestamp(0))), Some(May { revision: 9, term: 2 }));
        // Renewed in the last moment.
        other.see(Ok((10, lease(OTHER, 1))), at(195));
        assert_eq!(other.may_take(OURS, (at(195), Timestamp(0))), None);
    }

    #[test]
    fn a_box_that_begins_again_goes_on_with_its_lease_and_one_that_was_copied_from_it_does_not() {
        let part = Part { me: ME, works: true, term: 4, tells_again: false };
        let mut again = Judge::new(part, at(0));
        again.see(Ok((9, lease(ME, 4))), at(0));
        assert_eq!(again.may_take(OURS, (at(0), Timestamp(0))), Some(May { revision: 9, term: 5 }));
        let mut copied = Judge::new(part, at(0));
        copied.see(Ok((10, lease(ME, 5))), at(0));
        assert_eq!(copied.may_take(OURS, (at(194), Timestamp(0))), None);
        assert_eq!(copied.other().map(|lease| lease.term), Some(5));
        assert!(copied.may_take(OURS, (at(195), Timestamp(0))).is_some());
    }

    #[test]
    fn who_has_no_copy_or_another_inventory_takes_nothing_over() {
        let mut judge = judge(0, 0);
        judge.see(Ok((9, lease(OTHER, 1))), at(0));
        assert_eq!(judge.may_take(Holds { is_whole: false, ..OURS }, (at(900), Timestamp(0))), None);
        assert_eq!(judge.may_take(Holds { inventory: InventoryId([8; 8]), ..OURS }, (at(900), Timestamp(0))), None);
        judge.see(Ok((10, Lease { released: Some(COPIED), ..lease(OTHER, 1) })), at(901));
        assert_eq!(judge.may_take(Holds { inventory: InventoryId([8; 8]), ..OURS }, (at(901), Timestamp(0))), None);
        assert_eq!(judge.may_take(OURS, (at(901), Timestamp(0))), Some(May { revision: 10, term: 2 }));
    }

    #[test]
    fn a_lease_that_was_given_back_is_for_whoever_has_all_and_one_that_was_ended_for_nobody() {
        let given = |term| Lease { released: Some(COPIED), ..lease(OTHER, term) };
        let late = Holds { copied: Some(Copied { changes: 4, ..COPIED }), ..OURS };
        let mut judge = judge(0, 0);
        judge.see(Ok((10, given(3))), at(0));
        assert_eq!(judge.may_take(late, (at(0), Timestamp(0))), None);
        assert!(judge.may_take(OURS, (at(0), Timestamp(0))).is_some());
        // An old one that somebody put back.
        judge.see(Ok((11, lease(OTHER, 4))), at(1));
        judge.see(Ok((12, given(3))), at(2));
        assert_eq!(judge.may_take(OURS, (at(2), Timestamp(0))), None);
        judge.see(Ok((13, Lease { ended: true, ..lease(OTHER, 5) })), at(3));
        assert_eq!(judge.may_take(OURS, (at(900), Timestamp(0))), None);
        assert!(judge.may_take(Holds { works: true, ..OURS }, (at(3), Timestamp(0))).is_some());
        // One that worked before whoever ended it has been replaced, and does not know that yet.
        let mut replaced = Judge::new(Part { me: ME, works: true, term: 4, tells_again: false }, at(0));
        replaced.see(Ok((13, Lease { ended: true, ..lease(OTHER, 5) })), at(3));
        assert_eq!(replaced.may_take(Holds { works: true, ..OURS }, (at(900), Timestamp(0))), None);
    }

    #[test]
    fn a_lease_that_is_gone_is_no_reason_for_haste() {
        let mut stood_by = judge(4, 0);
        stood_by.see(Err(0), at(0));
        assert_eq!(stood_by.may_take(OURS, (at(194), Timestamp(0))), None);
        assert_eq!(stood_by.may_take(OURS, (at(195), Timestamp(0))), Some(May { revision: 0, term: 5 }));
        assert_eq!(stood_by.may_take(Holds { is_whole: false, ..OURS }, (at(195), Timestamp(0))), None);
    }

    #[test]
    fn whoever_sees_another_holder_or_a_later_term_of_its_own_has_lost_it() {
        for seen in [lease(OTHER, 2), lease(ME, 2)] {
            let mut judge = judge(0, 0);
            judge.hold(May { revision: 0, term: 1 }, 3, at(0));
            judge.see(Ok((4, lease(ME, 1))), at(1));
            assert!(judge.held().is_some());
            judge.see(Ok((5, seen)), at(2));
            assert_eq!((judge.held(), judge.term()), (None, 2));
        }
    }

    /// A box as the property below moves it.
    struct Party {
        judge: Judge,
        /// Its clock runs this many thousandths faster or slower.
        speed: u64,
        down: bool,
    }

    proptest! {
        /// Whoever asks when, however slow the answer is, whatever clocks run a twentieth apart: no two hold it at once.
        #[test]
        fn never_do_two_hold_it(
            steps in proptest::collection::vec((0..2_usize, 0..120_u64, 0..100_u64, 0..10_u8), 1..120),
            speeds in (970..1030_u64, 970..1030_u64),
        ) {
            let boxes = [ME, OTHER];
            let mut bucket: Option<(u64, Lease)> = None;
            let (mut now, mut revision, mut last_term) = (1_000_u64, 0, 0);
            let mut all: Vec<Party> = [speeds.0, speeds.1].into_iter().zip(boxes).map(|(speed, me)| {
                let judge = Judge::new(Part { me, works: false, term: 0, tells_again: false }, at(1_000 * speed / 1_000));
                Party { judge, speed, down: false }
            }).collect();
            for (who, wait, slow, kind) in steps {
                now += wait;
                let one = &mut all[who];
                let local = |now: u64| at(now * one.speed / 1_000);
                let asked_at = local(now);
                match kind {
                    0 => one.down = !one.down,
                    _ if one.down => {}
                    // A new process.
                    1 => {
                        let works = one.judge.held().is_some();
                        let part = Part { me: boxes[who], works, term: one.judge.term(), ..Part::default() };
                        one.judge = Judge::new(part, asked_at);
                    }
                    _ => {
                        one.judge.see(bucket.clone().ok_or(0), asked_at);
                        let may = if one.judge.held().is_some() {
                            one.judge.may_renew(asked_at)
                        } else {
                            one.judge.may_take(OURS, (asked_at, Timestamp(0)))
                        };
                        if let Some(may) = may {
                            let there = bucket.as_ref().map_or(0, |(revision, _)| *revision);
                            now += slow;
                            if there == may.revision {
                                revision += 1;
                                prop_assert!(may.term >= last_term);
                                last_term = may.term;
                                bucket = Some((revision, lease(boxes[who], may.term)));
                                one.judge.hold(may, revision, asked_at);
                            } else {
                                one.judge.lose();
                            }
                        }
                    }
                }
                let holding = all.iter().filter(|one| {
                    one.judge.held().is_some_and(|(_, until)| at(now * one.speed / 1_000) < until)
                }).count();
                prop_assert!(holding < 2);
            }
        }
    }
}
