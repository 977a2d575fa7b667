//! What the box that stands by does: it takes in what the other one wrote, and hands over the calls that came here.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::hold::about;
use super::{Other, Way, Work, machine};
use crate::domain::delivery::Outcome;
use crate::domain::standby::{Call, Copied, Head, LEASE, Lease, Pair, Part, Post, Taken};
use crate::platform::Trouble;
use crate::platform::nats::pair::{Found, Slot};
use crate::store::standby::{self, TakeError};
use crate::store::{StoreError, catalogue, deliveries};

/// While another box has the lease.
#[derive(Default)]
pub(super) struct Following {
    /// What was last said to the other one, and when, by the steady clock.
    said: Option<(Post, Duration)>,
    /// Up to which call the other one has them.
    taken: Taken,
    /// A copy of which nothing could be made, until when it is not fetched again, by the steady clock, and whether that has passed
    /// by then.
    failed: Option<(Copied, Duration, bool)>,
    /// Since when nothing can be made of what is told, by the steady clock.
    stuck: Option<Duration>,
    /// The number of what this box said last, where nobody else has said anything in its place.
    posted: Option<u64>,
    /// A third box that says something in this one's place.
    rival: Option<Rival>,
    /// When it was last seen that the other one is there: the lease's revision changed, by the steady clock.
    heard: Option<(u64, Duration)>,
}

/// A box whose words stand where this one's belong.
struct Rival {
    machine: String,
    /// The number of what it said last, and since when that is there, by the steady clock.
    revision: u64,
    at: Duration,
    /// When this box looked last.
    looked: Duration,
    /// Whether it said something else while this box looked.
    is_there: bool,
}

/// What nobody has said again for so long was said by a box that is gone: one that is there says something every ten seconds,
/// and as soon as it has taken in a copy.
const RIVAL_MAX: Duration = LEASE;

/// Whoever has not looked for longer has not seen that nothing was said.
const LOOKS_EVERY: Duration = Duration::from_secs(10);

/// How often the other box is told that this one is there, where nothing else is to be said.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Calls that are told at once, and how many bytes their bodies may have together.
const CALLS_MAX: usize = 50;
/// See [`CALLS_MAX`].
const CALLS_BYTES_MAX: usize = 400_000;

/// A body of a call that is longer is told without what nobody reads of it: a message takes 1 MiB.
const BODY_BYTES_MAX: usize = 100_000;

/// After so long in which nothing could be made of what is told, another copy is asked for.
const STUCK_MAX: Duration = Duration::from_mins(1);

/// A copy that could not be taken in just then is not fetched again before.
const FETCH_SOON: Duration = Duration::from_secs(30);

/// A copy of which nothing could be made is not fetched again before.
const FETCH_AGAIN: Duration = Duration::from_mins(5);

/// The copy's name in the state folder while it comes in, and until it is taken in.
const FILE_NAME: &str = "hydrophone.standby";

const SAME_VERSION: &str = "bring both boxes to one version";

/// Why nothing is taken in: between the two boxes, which a person has to look at, or by the way.
enum Untaken {
    Problem(String, &'static str),
    Trouble(Trouble),
    Store(StoreError),
    /// It was replaced in the middle of it.
    Overtaken,
}

impl From<Trouble> for Untaken {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<StoreError> for Untaken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<TakeError> for Untaken {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Store(error) => Self::Store(error),
            TakeError::Busy => Self::Overtaken,
            other => Self::Problem(other.to_string(), SAME_VERSION),
        }
    }
}

impl Following {
    /// Takes in what there is, and says what is to be said.
    pub(super) fn turn(
        &mut self,
        work: &Arc<Work>,
        way: &mut Way,
        (pair, part): (&Pair, Part),
        lease: &Lease,
    ) -> Result<Result<(), Trouble>, StoreError> {
        self.note_other(work, way, lease);
        let (mut is_current, steady) = (false, work.clock.steady());
        let taken = self.take_in(work, way, (pair, part), lease);
        if matches!(taken, Err(Untaken::Overtaken)) {
            self.stuck.get_or_insert(steady);
        } else {
            self.stuck = None;
        }
        let problem = match taken {
            Ok(current) => {
                is_current = current;
                self.third()
            }
            Err(Untaken::Overtaken) => self.third(),
            Err(Untaken::Problem(text, remedy)) => Some((text, remedy)),
            Err(Untaken::Trouble(trouble)) => return Ok(Err(trouble)),
            Err(Untaken::Store(error)) => return Err(error),
        };
        if let Some((text, _)) = problem.as_ref().filter(|_| work.standby.seen().problem != problem) {
            tracing::warn!("{text}");
        }
        let copied = work.store.read(standby::copied)?;
        work.standby.note(|seen| {
            (seen.problem, seen.copied, seen.is_current) = (problem, copied, is_current);
        });
        if let Err(trouble) = self.settle(work, way, part)? {
            return Ok(Err(trouble));
        }
        self.say(work, way, (part, lease), copied)
    }

    /// What is the matter where a third box stands by.
    fn third(&self) -> Option<(String, &'static str)> {
        let rival = self.rival.as_ref().filter(|rival| rival.is_there)?;
        let text = format!(
            "{} stands by for this site, too, and a site has two boxes; calls that come here wait",
            rival.machine
        );
        Some((text, "end it on one of the two that stand by: `hydrophone standby leave`"))
    }

    fn note_other(&mut self, work: &Work, way: &Way, lease: &Lease) {
        let Some(revision) = way.judge.revision() else { return };
        let (now, steady) = (work.clock.now(), work.clock.steady());
        if self.heard.is_none_or(|(known, _)| known != revision) {
            self.heard = Some((revision, steady));
            let machine = lease.machine.clone();
            work.standby.note(|seen| {
                seen.other = Some(Other { machine, version: None, heard_at: now, heard: steady, copied: None });
            });
        }
    }

    /// Settles calls that the other one has.
    fn settle(&mut self, work: &Work, way: &mut Way, part: Part) -> Result<Result<(), Trouble>, StoreError> {
        if work.store.read(|view| deliveries::waiting(view, 0, 1))?.is_empty() {
            return Ok(Ok(()));
        }
        let text = match way.speaking.get(Slot::Taken, "") {
            Ok(Found::Said { text, .. }) => text,
            Ok(_) => return Ok(Ok(())),
            Err(trouble) => return Ok(Err(trouble)),
        };
        let taken = serde_json::from_slice::<Taken>(&text).unwrap_or_default();
        if taken.of == part.me && taken.up_to > self.taken.up_to {
            let now = work.clock.now();
            work.store.delete::<_, StoreError>(move |batch| {
                deliveries::end_waiting(batch, taken.up_to, Outcome::HandedOver, now)
            })?;
            self.taken = taken;
        }
        Ok(Ok(()))
    }

    /// Says that this box is there, how far it has come, and which calls it took.
    fn say(
        &mut self,
        work: &Work,
        way: &mut Way,
        (part, lease): (Part, &Lease),
        copied: Option<Copied>,
    ) -> Result<Result<(), Trouble>, StoreError> {
        let after = self.taken.up_to;
        let calls = work.store.read::<_, StoreError>(|view| {
            let (mut calls, mut bytes) = (Vec::new(), 0);
            for (id, _) in deliveries::waiting(view, after, usize::MAX)? {
                let Some((delivery, body)) = deliveries::whole(view, id)? else { continue };
                let body = told(&body);
                bytes += body.len();
                if calls.len() == CALLS_MAX || (bytes > CALLS_BYTES_MAX && !calls.is_empty()) {
                    break;
                }
                calls.push(Call {
                    id: id.0,
                    at: delivery.received_at.0,
                    source: delivery.organization.source.to_string(),
                    organization: delivery.organization.key.to_string(),
                    body,
                });
            }
            Ok(calls)
        })?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let steady = work.clock.steady();
        let wants = self.stuck.is_some_and(|since| steady.saturating_sub(since) > STUCK_MAX);
        let post = Post { from: part.me, machine: machine(), version, copied, wants, calls };
        if self.said.as_ref().is_some_and(|(said, at)| *said == post && steady.saturating_sub(*at) < SAY_EVERY) {
            return Ok(Ok(()));
        }
        let text = serde_json::to_vec(&post).expect("it is text and numbers");
        match self.post(way, (part, lease), (&text, steady)) {
            Ok(true) => self.said = Some((post, steady)),
            Ok(false) => {}
            Err(trouble) => return Ok(Err(trouble)),
        }
        Ok(Ok(()))
    }

    /// Puts words where those of the box that stands by belong, unless a third box has its own there.
    fn post(
        &mut self,
        way: &mut Way,
        (part, lease): (Part, &Lease),
        (text, steady): (&[u8], Duration),
    ) -> Result<bool, Trouble> {
        let revision = match self.posted.take() {
            Some(revision) => revision,
            None => match way.speaking.get(Slot::Post, "")? {
                Found::Nothing(revision) => revision,
                // Nobody of this site said it.
                Found::Sealed => return way.speaking.put(Slot::Post, "", text).map(|()| true),
                Found::Said { revision, text } => {
                    let there = serde_json::from_slice::<Post>(&text).ok();
                    // The holder said it when it stood by.
                    let others = there.filter(|post| post.from != part.me && post.from != lease.holder);
                    if others.is_some_and(|post| self.is_taken(post.machine, revision, steady)) {
                        return Ok(false);
                    }
                    revision
                }
            },
        };
        self.posted = way.speaking.exchange(Slot::Post, revision, text)?;
        if self.posted.is_some() {
            self.rival = None;
        }
        Ok(self.posted.is_some())
    }

    /// Whether a third box is there, as far as can be seen by what it said.
    fn is_taken(&mut self, machine: String, revision: u64, steady: Duration) -> bool {
        let (at, is_there) = match &self.rival {
            Some(rival) if rival.revision != revision => (steady, true),
            Some(rival) if steady.saturating_sub(rival.looked) <= LOOKS_EVERY => (rival.at, rival.is_there),
            known => (steady, known.as_ref().is_some_and(|rival| rival.is_there)),
        };
        self.rival = Some(Rival { machine, revision, at, looked: steady, is_there });
        steady.saturating_sub(at) < RIVAL_MAX
    }
}

/// The body of a call as it is told the other box: all of it, or of a long one what is read of it.
fn told(body: &[u8]) -> String {
    let whole = String::from_utf8_lossy(body).into_owned();
    if whole.len() <= BODY_BYTES_MAX {
        return whole;
    }
    let Ok(Value::Object(mut members)) = serde_json::from_slice(body) else { return whole };
    members.retain(|name, _| READ_OF_BODY.contains(&name.as_str()));
    for (member, read) in [("project", "key"), ("qualityGate", "status")] {
        if let Some(Value::Object(inner)) = members.get_mut(member) {
            inner.retain(|name, _| name == read);
        }
    }
    Value::Object(members).to_string()
}

/// What a [payload](crate::domain::delivery::Payload) is read from.
const READ_OF_BODY: &[&str] =
    &["taskId", "status", "changedAt", "analysedAt", "project", "branch", "qualityGate", "hydrophone"];

/// Deletes a copy that was fetched, and that nobody needs any more.
pub(super) fn forget_file(work: &Work) {
    if work.store.has_folder() {
        // Most often there is none; else the next one takes its place.
        let _ = std::fs::remove_file(work.store.folder().join(FILE_NAME));
    }
}

impl Following {
    /// Takes in what the other one told; whether that was all that there is.
    fn take_in(
        &mut self,
        work: &Arc<Work>,
        way: &mut Way,
        (pair, part): (&Pair, Part),
        lease: &Lease,
    ) -> Result<bool, Untaken> {
        let (copied, inventory, is_empty, taking) = work.store.read::<_, StoreError>(|view| {
            Ok((
                standby::copied(view)?,
                catalogue::inventory(view)?,
                standby::is_empty(view)?,
                standby::is_taking(view)?,
            ))
        })?;
        let file = work.store.folder().join(FILE_NAME);
        // It was all there, and is of use whatever became of the other box.
        if taking
            && let Some(of) = work.store.taking()?
            && file.is_file()
        {
            let taken = work.store.take_copy(&way.key, part.me, &file, of);
            // Where something else was in the way, it is of use a moment later.
            if !matches!(&taken, Err(error) if error.is_passing()) {
                forget_file(work);
            }
            taken?;
            work.standby.changed();
            return Ok(false);
        }
        if lease.ended {
            let text = format!("{} works alone, and tells this box nothing any more", lease.machine);
            return Err(Untaken::Problem(text, "join that one again, or this one no more: `hydrophone standby leave`"));
        }
        let head = match way.speaking.get(Slot::Head, "")? {
            Found::Nothing(_) => return Ok(false),
            Found::Sealed => {
                let text = "what the other box told is sealed with another key than this box's".to_owned();
                return Err(Untaken::Problem(text, super::OTHER_KEY));
            }
            Found::Said { text, .. } => serde_json::from_slice::<Head>(&text).map_err(|_| {
                Untaken::Problem("what the other box told is of a newer version".to_owned(), super::NEWER)
            })?,
        };
        if head.parts == 0 {
            return Ok(false);
        }
        let is_ours = inventory == lease.inventory;
        // What is here may be a copy itself: of what the other one held before it was restored.
        let is_given_up = copied.is_some() || taking || is_empty || pair.replaces;
        if !is_ours && lease.empty && !is_empty {
            let text = format!("{} holds nothing, and this box does not give its inventory up for that", lease.machine);
            return Err(Untaken::Problem(
                text,
                "`hydrophone standby leave` there, and join it again when this one works",
            ));
        }
        if !is_ours && !is_given_up {
            let text =
                format!("this box holds an inventory of its own, which is not given up for that of {}", lease.machine);
            return Err(Untaken::Problem(text, "`hydrophone standby join … --replace` gives it up; a backup keeps it"));
        }
        let copied = match copied.filter(|copied| copied.is_of(head.of) && is_ours) {
            Some(copied) => copied,
            // One of a former holder is older than what is here, where this box is that; whoever works makes another one soon.
            // And whoever keeps the server may show an old one.
            None if head.of.term != lease.term || copied.is_some_and(|copied| copied > head.of) => return Ok(false),
            None => self.copy(work, way, part, (head, &file))?,
        };
        changes(work, way, part, copied, head)?;
        Ok(true)
    }

    /// Fetches a copy, unless nothing could be made of it a moment ago.
    fn copy(
        &mut self,
        work: &Arc<Work>,
        way: &mut Way,
        part: Part,
        (head, file): (Head, &Path),
    ) -> Result<Copied, Untaken> {
        let (of, steady) = (Copied { changes: 0, ..head.of }, work.clock.steady());
        let failed = self.failed.filter(|(failed, until, _)| *failed == of && steady < *until);
        if failed.is_some_and(|(.., is_passing)| is_passing) {
            return Err(Untaken::Overtaken);
        }
        if failed.is_some() {
            let text = "the copy that the other box told cannot be taken in; the log says why".to_owned();
            return Err(Untaken::Problem(text, SAME_VERSION));
        }
        if work.store.is_full() {
            let text = "there is too little space on the disk for a copy of the other box's inventory".to_owned();
            return Err(Untaken::Problem(text, "free some space on the disk of the state folder"));
        }
        let taken = copy(work, way, part, head, file);
        if taken.is_err() {
            // Where it was begun to be taken in it is needed still.
            if !work.store.read(standby::is_taking)? {
                forget_file(work);
            }
            self.failed = match taken {
                Err(Untaken::Trouble(_)) => None,
                Err(Untaken::Overtaken) => Some((of, steady + FETCH_SOON, true)),
                _ => Some((of, steady + FETCH_AGAIN, false)),
            };
        }
        taken.map(|()| of)
    }
}

/// Fetches a copy and puts it in the place of what is here.
fn copy(work: &Arc<Work>, way: &mut Way, part: Part, head: Head, path: &Path) -> Result<(), Untaken> {
    let of = Copied { changes: 0, ..head.of };
    let failed = |error: std::io::Error| Untaken::Trouble(Trouble::later(format!("{}: {error}", path.display())));
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    let mut out = BufWriter::new(file);
    for number in 0..head.parts {
        if work.is_stopping() {
            return Err(Untaken::Overtaken);
        }
        match way.speaking.get(Slot::Copy(number), &about(of))? {
            Found::Said { text, .. } => out.write_all(&text).map_err(failed)?,
            Found::Nothing(_) | Found::Sealed => return Err(Untaken::Overtaken),
        }
    }
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    drop(file);
    work.store.take_copy(&way.key, part.me, path, of)?;
    tracing::info!("took in a copy of the other box's inventory, {} parts", head.parts);
    forget_file(work);
    // What is read from the store at the start is read again.
    work.standby.changed();
    Ok(())
}

fn changes(work: &Arc<Work>, way: &mut Way, part: Part, mut copied: Copied, head: Head) -> Result<(), Untaken> {
    let begun = copied;
    while copied.changes < head.of.changes {
        let (mut bytes, mut next) = (Vec::new(), copied.changes);
        loop {
            let Found::Said { text, .. } = way.speaking.get(Slot::Change(next), &about(copied))? else {
                return Err(Untaken::Overtaken);
            };
            next += 1;
            let Some((&flag, rest)) = text.split_first() else { return Err(Untaken::Overtaken) };
            bytes.extend_from_slice(rest);
            if flag == super::hold::LAST {
                break;
            }
            if next >= head.of.changes {
                return Err(Untaken::Overtaken);
            }
        }
        copied.changes = next;
        work.store.take_changes(&way.key, part.me, &bytes, copied)?;
    }
    if copied != begun {
        work.standby.changed();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::Payload;

    #[test]
    fn a_long_body_is_told_as_far_as_it_is_read() {
        let long = |key: &str| {
            let body = serde_json::json!({
                "taskId": "t", "status": "SUCCESS", "changedAt": "2026-01-02T03:04:05+0000", "hydrophone": { "test": "m" },
                "project": { "key": "shop", "name": "x".repeat(BODY_BYTES_MAX) },
                "branch": { "name": "7", "type": "PULL_REQUEST", "isMain": false },
                "qualityGate": { "status": "OK", "conditions": ["x".repeat(BODY_BYTES_MAX)] },
                key: { "p": "x".repeat(BODY_BYTES_MAX) },
            });
            body.to_string()
        };
        let body = long("properties");
        let short = told(body.as_bytes());
        assert!(short.len() < 1000, "{}", short.len());
        assert_eq!(Payload::parse(short.as_bytes(), None), Payload::parse(body.as_bytes(), None));
        assert_eq!(told(b"{\"a\": 1}"), "{\"a\": 1}");
    }
}
