//! Takes the deliveries of one commit in. Whatever they have in common is looked up once and written once: calls that come
//! in bursts are mostly of one project, and opening a table costs as much as a row in it.

use super::records::{Delivery, Settlement};
use super::tables::{self, Key};
use super::touched::Rows;
use super::{
    Batch, Counter, StoreError, View, agenda, catalogue, codec, deliveries, get, get_in, hooks, secrets, settings,
};
use crate::domain::delivery::{self, BadPayload, Circumstances, Outcome, Payload, ScopeRef};
use crate::domain::ids::{
    DeliveryId, EndpointId, OrganizationRef, ProjectId, ProjectKey, ScopeId, ScopeKind, ScopeName,
};
use crate::domain::schedule::{self, Due, Reason, Task};
use crate::domain::settings::SEAL_BODIES;
use crate::domain::time::Timestamp;

/// A call whose signature was right, on its way into the store.
pub struct Arrival {
    /// When it arrived.
    pub at: Timestamp,
    /// Whose endpoint it came to.
    pub organization: OrganizationRef,
    /// What the body says, or why it is answered 400.
    pub payload: Result<Payload, BadPayload>,
    /// The body as it came.
    pub body: Vec<u8>,
    /// The delivery that a person had replayed. A replay is never a duplicate.
    pub replay_of: Option<DeliveryId>,
    /// How the call failed, if it was taken from Sonar's log because it never arrived.
    pub healed: Option<String>,
    /// The endpoint, and which of its secrets signed the call; absent where this box made it itself.
    pub signed_by: Option<(EndpointId, u32)>,
}

/// What was made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Its number.
    pub id: DeliveryId,
    /// Whether the same call came before.
    pub duplicate: bool,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// See the module. Nothing of it counts before [`finish`](Self::finish).
pub(super) struct Intake<'b> {
    batch: &'b Batch<'b>,
    log: Rows<'b>,
    calls: Rows<'b>,
    pending: Rows<'b>,
    next: u64,
    /// Bytes that the log's records take.
    bytes: u64,
    /// Whether bodies are sealed.
    seals: bool,
    /// Mostly few, and never more than a commit has deliveries.
    places: Vec<(Where, Found)>,
    /// What is to be read, as it will stand on the agenda.
    asked: Vec<(Task, Due)>,
    used: Vec<(EndpointId, u32)>,
}

/// What of a call decides where its scope is.
#[derive(PartialEq, Eq)]
struct Where {
    organization: OrganizationRef,
    project: ProjectKey,
    scope: ScopeRef,
    branch: Option<ScopeName>,
}

impl Where {
    fn of(organization: &OrganizationRef, payload: &Payload) -> Self {
        Self {
            organization: organization.clone(),
            project: payload.project.clone(),
            scope: payload.scope.clone(),
            branch: payload.branch.clone(),
        }
    }

    fn is_of(&self, organization: &OrganizationRef, payload: &Payload) -> bool {
        self.project == payload.project
            && self.scope == payload.scope
            && self.branch == payload.branch
            && self.organization == *organization
    }
}

/// The project, if it is imported, and the place of the scope, if that is among those that were chosen.
#[derive(Clone, Copy)]
struct Found {
    project: Option<ProjectId>,
    place: Option<Place>,
}

#[derive(Clone, Copy)]
enum Place {
    Held(ScopeId),
    Undiscovered,
}

impl<'b> Intake<'b> {
    pub(super) fn open(batch: &'b Batch<'b>) -> Result<Self, StoreError> {
        // Before the tables are open: where it is damaged, they are asked.
        let next = Counter::Delivery.next(batch)?;
        Ok(Self {
            batch,
            log: batch.rows(tables::DELIVERIES)?,
            calls: batch.rows(tables::CALLS)?,
            pending: batch.rows(tables::PENDING)?,
            next,
            bytes: deliveries::log_bytes(batch)?,
            seals: settings::value(batch, SEAL_BODIES)?.as_deref() == Some("yes"),
            places: Vec::new(),
            asked: Vec::new(),
            used: Vec::new(),
        })
    }

    /// Stores a delivery and, where its scope is to be read, the reason on the agenda.
    pub(super) fn accept(&mut self, arrival: Arrival, ticket: u64) -> Result<Accepted, StoreError> {
        let id = DeliveryId(self.next);
        self.next += 1;
        let payload = match arrival.payload {
            Ok(payload) => payload,
            Err(problem) => {
                self.put(id, malformed(arrival.at, arrival.organization, problem))?;
                return Ok(Accepted { id, duplicate: false, outcome: Outcome::Malformed });
            }
        };
        if let Some(mark) = payload.test {
            self.put(id, test(arrival.at, arrival.organization, mark))?;
            return Ok(Accepted { id, duplicate: false, outcome: Outcome::Test });
        }
        if let Some(secret) = arrival.signed_by
            && !self.used.contains(&secret)
        {
            self.used.push(secret);
            hooks::note_use(self.batch, secret, arrival.at)?;
        }
        let call = deliveries::Call::of(&arrival.organization, &payload, &arrival.body);
        let former = match arrival.replay_of {
            Some(_) => None,
            None => call.former(&self.calls, &self.log, arrival.at)?,
        };
        let mut found = self.find(&arrival.organization, &payload)?;
        // Whether it is to be read knows the box that works: a copy may be behind, or on its way.
        if self.batch.stands_by && found.place.is_none() {
            found = Found { project: Some(deliveries::UNPLACED), place: Some(Place::Undiscovered) };
        }
        let outcome = delivery::outcome(Circumstances {
            status: payload.status,
            imported: found.project.is_some(),
            selected: found.place.is_some(),
            former: match former {
                Some(former) => deliveries::passing_over(self.outcome_of(former))?,
                None => None,
            },
        });
        if let (Outcome::Queued, Some(project), Some(place)) = (outcome, found.project, found.place) {
            let key = Key::new().u32(project.0).u64(id.0);
            self.pending.insert(&key.0, &codec::seal(&key.0, &payload.scope))?;
            let task = match place {
                Place::Held(scope) => Task::Sync(scope),
                Place::Undiscovered => Task::Discover(project),
            };
            if project != deliveries::UNPLACED {
                self.ask(task, arrival.at, ticket)?;
            }
        }
        if former.is_none() {
            self.calls.insert(&call.key.0, &codec::seal(&call.key.0, &id.0))?;
        }
        if arrival.healed.is_some() {
            self.batch.put(tables::META, &deliveries::healed_key(id.0), &arrival.at.0.cast_unsigned())?;
        }
        let record = Delivery {
            project: Some(payload.project),
            scope: Some(payload.scope),
            branch: payload.branch,
            task: payload.task,
            status: Some(payload.status),
            duplicate_of: former,
            replay_of: arrival.replay_of,
            body: if former.is_some() { Vec::new() } else { arrival.body },
            healed: arrival.healed,
            ..logged(arrival.at, arrival.organization, outcome)
        };
        self.put(id, record)?;
        Ok(Accepted { id, duplicate: former.is_some(), outcome })
    }

    /// Writes what they have in common.
    pub(super) fn finish(self) -> Result<(), StoreError> {
        Counter::Delivery.set(self.batch, self.next)?;
        deliveries::set_log_bytes(self.batch, self.bytes)?;
        self.asked.iter().try_for_each(|(task, due)| agenda::put(self.batch, *task, due))
    }

    fn put(&mut self, id: DeliveryId, mut record: Delivery) -> Result<(), StoreError> {
        let key = Key::new().u64(id.0);
        if self.seals && !record.body.is_empty() {
            record.body = secrets::seal_body(self.batch, &key, &record.body)?;
            record.sealed = true;
        }
        let bytes = codec::seal(&key.0, &record);
        self.bytes += bytes.len() as u64;
        self.log.insert(&key.0, &bytes)
    }

    fn ask(&mut self, task: Task, at: Timestamp, ticket: u64) -> Result<(), StoreError> {
        let asked = |former| schedule::asked(former, Reason::Webhook, at, ticket);
        match self.asked.iter_mut().find(|(known, _)| *known == task) {
            Some((_, due)) => *due = asked(Some(*due)),
            None => self.asked.push((task, asked(agenda::of(self.batch, task)?))),
        }
        Ok(())
    }

    /// What became of a delivery up to now.
    fn outcome_of(&self, id: DeliveryId) -> Result<Option<Outcome>, StoreError> {
        let key = Key::new().u64(id.0);
        if let Some(settlement) = get::<Settlement>(self.batch, tables::SETTLEMENTS, &key)? {
            return Ok(Some(settlement.outcome));
        }
        Ok(get_in::<Delivery>(&self.log, &key)?.map(|delivery| delivery.outcome))
    }

    fn find(&mut self, organization: &OrganizationRef, payload: &Payload) -> Result<Found, StoreError> {
        let known = self.places.iter().find(|(place, _)| place.is_of(organization, payload));
        if let Some((_, found)) = known {
            return Ok(*found);
        }
        let project = catalogue::project_id(self.batch, organization, &payload.project)?;
        let place = match project {
            Some(project) => match place(self.batch, project, payload) {
                // What is damaged is looked at again, never passed over.
                Err(StoreError::Damaged { .. }) => Some(Place::Undiscovered),
                found => found?,
            },
            None => None,
        };
        let found = Found { project, place };
        self.places.push((Where::of(organization, payload), found));
        Ok(found)
    }
}

/// Where a call's scope is; nothing if it is not among those that were chosen.
fn place(view: &impl View, id: ProjectId, payload: &Payload) -> Result<Option<Place>, StoreError> {
    let Some(project) = catalogue::project(view, id)? else { return Ok(None) };
    if let Some(scope) = catalogue::scope_id(view, id, &project, &payload.scope)? {
        return Ok(Some(Place::Held(scope)));
    }
    let selected = match &payload.scope {
        ScopeRef::Main => {
            // Without a name the main branch may still fit a pattern: discovery decides.
            let selects = |name: &ScopeName| project.selection.selects(ScopeKind::Branch, name.as_str(), true);
            payload.branch.as_ref().is_none_or(selects)
        }
        ScopeRef::Named { kind, name } => project.selection.selects(*kind, name.as_str(), false),
    };
    Ok(selected.then_some(Place::Undiscovered))
}

/// What is only logged: it asks for no read, and is no call of Sonar's that another one could be the same as.
fn logged(at: Timestamp, organization: OrganizationRef, outcome: Outcome) -> Delivery {
    Delivery {
        received_at: at,
        organization,
        project: None,
        scope: None,
        branch: None,
        task: None,
        status: None,
        outcome,
        problem: None,
        duplicate_of: None,
        replay_of: None,
        body: Vec::new(),
        healed: None,
        sealed: false,
    }
}

fn malformed(at: Timestamp, organization: OrganizationRef, problem: BadPayload) -> Delivery {
    Delivery { problem: Some(problem), ..logged(at, organization, Outcome::Malformed) }
}

/// The mark stands where Sonar's calls have their task.
fn test(at: Timestamp, organization: OrganizationRef, mark: String) -> Delivery {
    Delivery { task: Some(mark), ..logged(at, organization, Outcome::Test) }
}
