//! What the box that works does for the other one: it tells all that it writes, and takes over the calls that came there.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use super::{Other, Way, Work};
use crate::domain::delivery::Payload;
use crate::domain::ids::{OrganizationKey, OrganizationRef, SourceName};
use crate::domain::standby::{Call, Copied, Head, Lease, Part, Post, Taken};
use crate::domain::time::Timestamp;
use crate::platform::Trouble;
use crate::platform::nats::pair::{Found, Slot};
use crate::store::backup::BackupError;
use crate::store::standby::{self, Shipping};
use crate::store::{Arrival, StoreError};

/// While the lease is held.
pub(super) struct Holding {
    part: Part,
    /// What the other one has been told; nothing before there is another one, and where all has to be told anew.
    told: Option<Told>,
    /// Copies that were begun in this term.
    copies: u32,
    /// No copy is begun before, by the steady clock.
    not_before: Duration,
    /// The last that the other one said; nothing before that was looked for.
    post: Option<u64>,
}

struct Told {
    shipping: Shipping,
    head: Head,
    /// Bytes of the copy, and of all changes since.
    copy_bytes: u64,
    changes_bytes: u64,
    /// Changes that were read from the store, and are not told yet.
    unsent: Option<Vec<u8>>,
    /// When the copy was made, by the steady clock.
    made: Duration,
}

impl Told {
    fn changes(&mut self, work: &Arc<Work>, way: &mut Way, lease: &Lease) -> Result<(), Unshipped> {
        if self.unsent.is_none() && work.store.has_changes(&self.shipping) {
            let mut bytes = Vec::new();
            let rows = work.store.ship_changes(&self.shipping, &way.key, work.clock.now(), &mut bytes)?;
            self.unsent = (rows > 0).then_some(bytes);
        }
        let Some(bytes) = &self.unsent else { return Ok(()) };
        let mut head = self.head;
        let mut parts = bytes.chunks(PART_BYTES).peekable();
        while let Some(part) = parts.next() {
            let text = [&[if parts.peek().is_some() { MORE } else { LAST }], part].concat();
            way.speaking.put(Slot::Change(head.of.changes), &about(head.of), &text)?;
            head.of.changes += 1;
            // A slow way must not cost the lease.
            if !way.renew(lease)? {
                return Err(Trouble::later("another box has the lease").into());
            }
            way.open_fence();
        }
        put_head(way, head)?;
        self.changes_bytes += bytes.len() as u64;
        (self.head, self.unsent) = (head, None);
        Ok(())
    }
}

/// Bytes of a part: servers take messages of 1 MiB where nobody said otherwise.
const PART_BYTES: usize = 256 * 1024;

/// Changes are told in the place of a new copy as long as they have no more bytes than that, or than this.
const CHANGES_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// How old a copy is at least that is made anew because the other one asks for it.
const WANTED_AFTER: Duration = Duration::from_mins(5);

/// The pause before a copy is begun anew that could not be told.
const COPY_AGAIN: Duration = Duration::from_secs(30);

/// That what follows is the last part of changes that belong together, or that more follow.
pub(super) const LAST: u8 = 1;
const MORE: u8 = 0;

impl Holding {
    pub(super) fn new(part: Part) -> Self {
        Self { part, told: None, copies: 0, not_before: Duration::ZERO, post: None }
    }

    /// Hears what the other one says, and tells it what was written.
    pub(super) fn turn(
        &mut self,
        work: &Arc<Work>,
        way: &mut Way,
        lease: &Lease,
    ) -> Result<Result<(), Trouble>, StoreError> {
        if let Err(trouble) = self.hear(work, way)? {
            return Ok(Err(trouble));
        }
        self.ship(work, way, lease)
    }

    /// Tells what was written since the last time.
    pub(super) fn ship(
        &mut self,
        work: &Arc<Work>,
        way: &mut Way,
        lease: &Lease,
    ) -> Result<Result<(), Trouble>, StoreError> {
        // Nobody stands by.
        if self.post.is_none_or(|post| post == 0) {
            return Ok(Ok(()));
        }
        let done = match &mut self.told {
            Some(told) => told.changes(work, way, lease),
            None if work.clock.steady() < self.not_before => return Ok(Ok(())),
            None => self.copy(work, way, lease),
        };
        let is_long = |told: &Told| told.changes_bytes > told.copy_bytes.max(CHANGES_BYTES_MIN);
        match done {
            Ok(()) => {
                self.told.take_if(|told| is_long(told));
                Ok(Ok(()))
            }
            // What was to be told is kept, and told when the server can be reached.
            Err(Unshipped::Trouble(trouble)) if self.told.is_some() => Ok(Err(trouble)),
            Err(error) => {
                self.told = None;
                self.not_before = work.clock.steady() + COPY_AGAIN;
                match error {
                    Unshipped::Trouble(trouble) => Ok(Err(trouble)),
                    Unshipped::Backup(BackupError::Store(error)) if error != StoreError::Stale => Err(error),
                    Unshipped::Backup(error) => {
                        tracing::info!("the copy for the other box of this site is begun anew: {error}");
                        Ok(Ok(()))
                    }
                }
            }
        }
    }

    /// How far the other one has come when it has all that was told, where that is all that was written.
    pub(super) fn all_told(&self, work: &Work) -> Option<Copied> {
        let told = self.told.as_ref().filter(|told| told.unsent.is_none() && !work.store.has_changes(&told.shipping));
        told.map(|told| told.head.of)
    }

    fn copy(&mut self, work: &Arc<Work>, way: &mut Way, lease: &Lease) -> Result<(), Unshipped> {
        self.copies += 1;
        let of = Copied { term: way.judge.term(), copy: self.copies, changes: 0 };
        // Its parts take the place of those of the copy before.
        put_head(way, Head { of, parts: 0 })?;
        let shipping = work.store.begin_shipping().map_err(BackupError::Store)?;
        let key = Arc::clone(&way.key);
        let mut parts = Parts { work, way, lease, of, held: Vec::new(), count: 0, trouble: None };
        let copied = work.store.ship_copy(&shipping, &key, work.clock.now(), &mut parts);
        let (count, trouble) = (parts.count, parts.trouble.take());
        let rows = copied.map_err(|error| trouble.map_or(Unshipped::Backup(error), Unshipped::Trouble))?;
        let head = Head { of, parts: count };
        put_head(way, head)?;
        tracing::info!("told the other box of this site a copy of {rows} rows");
        let copy_bytes = u64::from(count) * PART_BYTES as u64;
        let made = work.clock.steady();
        self.told = Some(Told { shipping, head, copy_bytes, changes_bytes: 0, unsent: None, made });
        Ok(())
    }

    /// Hears how far the other one has come, and which calls it took.
    fn hear(&mut self, work: &Arc<Work>, way: &mut Way) -> Result<Result<(), Trouble>, StoreError> {
        let (revision, text) = match way.speaking.get(Slot::Post, "") {
            Ok(Found::Said { revision, text }) => (revision, text),
            Ok(Found::Nothing(_)) => {
                self.post = Some(0);
                return Ok(Ok(()));
            }
            Ok(Found::Sealed) => {
                let text = "the other box of this site has another key than this one".to_owned();
                work.standby.note(|seen| seen.problem = Some((text, super::OTHER_KEY)));
                return Ok(Ok(()));
            }
            Err(trouble) => return Ok(Err(trouble)),
        };
        // What was said before this term is no sign that anybody is there now.
        let is_first = self.post.is_none();
        let is_news = self.post.is_none_or(|post| revision > post);
        self.post = self.post.max(Some(revision));
        let Ok(post) = serde_json::from_slice::<Post>(&text) else { return Ok(Ok(())) };
        if !is_news || post.from == self.part.me {
            return Ok(Ok(()));
        }
        let (now, steady) = (work.clock.now(), work.clock.steady());
        work.standby.note(|seen| {
            if !is_first {
                let (machine, version) = (post.machine.clone(), Some(post.version.clone()));
                seen.other = Some(Other { machine, version, heard_at: now, heard: steady, copied: post.copied });
            }
            seen.problem = None;
        });
        let steady_since = |told: &mut Told| steady.saturating_sub(told.made) > WANTED_AFTER;
        if post.wants && self.told.take_if(steady_since).is_some() {
            tracing::info!("the other box of this site asks for another copy");
        }
        let known = work.store.read(standby::calls_taken)?;
        let mut taken = if known.of == post.from { known } else { Taken { of: post.from, up_to: 0 } };
        let before = taken;
        // What it tells again it does not know to be here.
        let is_behind = post.calls.iter().any(|call| call.id <= before.up_to);
        for call in post.calls.into_iter().filter(|call| call.id > before.up_to) {
            taken.up_to = taken.up_to.max(call.id);
            if let Some(arrival) = arrival(call) {
                work.store.accept_and_wait(arrival)?;
            }
        }
        if taken != known {
            work.store.write::<_, StoreError>(move |batch| standby::put_calls_taken(batch, taken))?;
        }
        if taken.up_to > 0 && (taken != known || is_first || is_behind) {
            let text = serde_json::to_vec(&taken).expect("it is text and numbers");
            return Ok(way.speaking.put(Slot::Taken, "", &text));
        }
        Ok(Ok(()))
    }
}

/// A call that came to the other box, as if it had come here; nothing where its names cannot be.
fn arrival(call: Call) -> Option<Arrival> {
    let source = SourceName::parse(&call.source).ok()?;
    let key = OrganizationKey::parse(&call.organization).ok()?;
    Some(Arrival {
        at: Timestamp(call.at),
        organization: OrganizationRef { source, key },
        payload: Payload::parse(call.body.as_bytes(), None),
        body: call.body.into_bytes(),
        replay_of: None,
        healed: None,
        signed_by: None,
    })
}

/// What a part is sealed as a part of.
pub(super) fn about(of: Copied) -> String {
    format!("{}.{}", of.term, of.copy)
}

fn put_head(way: &mut Way, head: Head) -> Result<(), Trouble> {
    way.speaking.put(Slot::Head, "", &serde_json::to_vec(&head).expect("it is numbers"))
}

/// Why the other one was not told.
enum Unshipped {
    Trouble(Trouble),
    Backup(BackupError),
}

impl From<Trouble> for Unshipped {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<BackupError> for Unshipped {
    fn from(error: BackupError) -> Self {
        Self::Backup(error)
    }
}

/// Puts a copy into the bucket, part by part, and keeps the lease meanwhile.
struct Parts<'p> {
    work: &'p Work,
    way: &'p mut Way,
    lease: &'p Lease,
    of: Copied,
    held: Vec<u8>,
    count: u32,
    trouble: Option<Trouble>,
}

impl Parts<'_> {
    fn put(&mut self) -> io::Result<()> {
        if self.work.is_stopping() {
            return Err(io::Error::other("the daemon is stopping"));
        }
        let put = self.way.speaking.put(Slot::Copy(self.count), &about(self.of), &self.held).and_then(|()| {
            let is_held = self.way.renew(self.lease)?;
            self.way.open_fence();
            Ok(is_held)
        });
        match put {
            Ok(true) => {
                self.held.clear();
                self.count += 1;
                Ok(())
            }
            Ok(false) => Err(io::Error::other("another box has the lease")),
            Err(trouble) => {
                let error = io::Error::other(trouble.to_string());
                self.trouble = Some(trouble);
                Err(error)
            }
        }
    }
}

impl Write for Parts<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let some = bytes.len().min(PART_BYTES - self.held.len());
        self.held.extend_from_slice(&bytes[..some]);
        if self.held.len() == PART_BYTES {
            self.put()?;
        }
        Ok(some)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.held.is_empty() { Ok(()) } else { self.put() }
    }
}
