//! What a destination is to be told: a part of the log of changes, with everything that a message needs.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::domain::destination::{Destination, LeftOut, PlatformKind};
use crate::domain::finding::{Finding, Former, State};
use crate::domain::ids::{ChangeNumber, DestinationId, FindingId, RuleKey, ScopeId, SourceName};
use crate::domain::message::{Cause, Held, Message, Place, Plan, Remote, RuleText, plan, told_state};
use crate::domain::passing::Passing;
use crate::platform::{self, Manner};
use crate::store::changes::{Cursor, Followed, Item, follow};
use crate::store::destinations::Untold;
use crate::store::{Reader, StoreError, View, catalogue, destinations, findings};

/// Messages of one scope, in order.
pub(super) struct Group {
    /// The scope.
    pub(super) place: Place,
    /// What the platform is told, and how many items of the log are done with when it is.
    pub(super) messages: Vec<(Message, usize)>,
}

/// What a destination is to be told.
#[derive(Default)]
pub(super) struct Gathered {
    /// Only of what the platform is to be told.
    pub(super) groups: Vec<Group>,
    /// Findings whose scope cannot be read here, so that it is not known what to tell.
    pub(super) unreadable: Vec<Unreadable>,
}

/// A finding that nothing can be told of now, because a record that it belongs to is damaged.
pub(super) struct Unreadable {
    pub(super) finding: FindingId,
    pub(super) scope: ScopeId,
    pub(super) change: Option<ChangeNumber>,
}

/// Reads what follows a cursor.
pub(super) fn gather(
    view: &Reader,
    id: DestinationId,
    destination: &Destination,
    manner: Manner,
    cursor: &Cursor,
    most: usize,
) -> Result<(Gathered, Followed), StoreError> {
    let followed = follow(view, cursor, most)?;
    let mut names = Names::new(view);
    let mut gathered = Gathered::default();
    // Of several changes of one finding a platform that is told findings hears the last.
    let mut heard = BTreeSet::new();
    let mut wanted: Vec<(usize, FindingId, Cause)> = Vec::new();
    for (index, item) in followed.items.iter().enumerate().rev() {
        let (finding, cause) = match item {
            Item::Current(_, finding) => (finding.id, Cause::Seeded(followed.began())),
            Item::Change(number, change) => {
                let cause = Cause::Changed { number: *number, kind: change.kind, from: change.from, at: change.at };
                (change.finding, cause)
            }
        };
        if manner == Manner::Changes || heard.insert(finding) {
            wanted.push((index, finding, cause));
        }
    }
    wanted.reverse();
    for (index, finding, cause) in wanted {
        let made = message(view, &mut names, (id, destination, manner), finding, cause)?;
        gathered.take(made, index + 1, manner);
    }
    Ok((gathered, followed))
}

impl Gathered {
    fn take(&mut self, made: Made, index: usize, manner: Manner) {
        let (place, message) = match made {
            Made::Message(made) => *made,
            Made::Unreadable(unreadable) => return self.unreadable.push(unreadable),
            Made::Nothing => return,
        };
        // Changes keep their order; findings are told scope by scope.
        let group = match manner {
            Manner::Changes => self.groups.last_mut().filter(|group| group.place.scope == place.scope),
            Manner::Findings | Manner::Scopes => self.groups.iter_mut().find(|group| group.place.scope == place.scope),
        };
        match group {
            Some(group) => group.messages.push((message, index)),
            None => self.groups.push(Group { place, messages: vec![(message, index)] }),
        }
    }
}

/// What a destination is told of single findings, as they are now, of each since a change that it was not told of.
pub(super) fn of_findings(
    view: &Reader,
    id: DestinationId,
    destination: &Destination,
    manner: Manner,
    wanted: &[Untold],
) -> Result<Gathered, StoreError> {
    let mut names = Names::new(view);
    let mut gathered = Gathered::default();
    for (finding, change) in wanted {
        // A state that came back is news, so that the change is part of what makes a message another one.
        let cause = change.map_or(Cause::Present, Cause::Seeded);
        let made = message(view, &mut names, (id, destination, manner), *finding, cause)?;
        // These are in no order.
        gathered.take(made, 0, Manner::Findings);
    }
    Ok(gathered)
}

/// Who is told: the destination's number, what it is, and how it wants to be told.
pub(super) type For<'a> = (DestinationId, &'a Destination, Manner);

/// What became of a finding that might be told.
enum Made {
    /// It is to be told.
    Message(Box<(Place, Message)>),
    /// It is not held any more, or there is nothing to tell.
    Nothing,
    /// Nobody knows.
    Unreadable(Unreadable),
}

fn message(
    view: &Reader,
    names: &mut Names<'_>,
    told: For<'_>,
    finding: FindingId,
    cause: Cause,
) -> Result<Made, StoreError> {
    let (id, destination, manner) = told;
    let Some((scope, finding)) = held(view, finding)? else { return Ok(Made::Nothing) };
    let home = match names.home(scope, destination)? {
        Known::Home(home) => home,
        Known::Removed => return Ok(Made::Nothing),
        Known::Unreadable => {
            return Ok(Made::Unreadable(Unreadable { finding: finding.id, scope, change: cause.change() }));
        }
    };
    let message = compose(view, names, told, &home.place, finding, cause)?;
    let told = match manner {
        Manner::Changes => {
            // What was closed before there was a destination is history. What was closed since, it is told also when
            // it is told everything anew: it may not have heard of it.
            let history = !matches!(message.cause, Cause::Changed { .. })
                // A fleet's stream may hold it as open since before this destination was made.
                && destination.kind != PlatformKind::Nats
                && message.finding.closed_at.is_some_and(|closed_at| closed_at < destination.created_at);
            !history && home.follows(&message.finding, id, destination).is_ok()
        }
        Manner::Findings | Manner::Scopes => match plan(&message, home.takes(&message.finding, destination)) {
            Plan::Nothing | Plan::LeftOut(_) => false,
            // What was decided there and came back by way of Sonar is known there.
            Plan::Triage => !is_decided_there(destination, &message),
            Plan::Create | Plan::Update | Plan::Close | Plan::Reopen => true,
        },
    };
    Ok(if told { Made::Message(Box::new((home.place.clone(), message))) } else { Made::Nothing })
}

pub(super) fn compose(
    view: &Reader,
    names: &mut Names<'_>,
    (id, destination, manner): For<'_>,
    place: &Place,
    finding: Finding,
    cause: Cause,
) -> Result<Message, StoreError> {
    let known = match manner {
        Manner::Findings => match destinations::memory(view, id, finding.id) {
            Err(StoreError::Damaged { .. }) => Some(forgotten(place, &finding)),
            known => known?,
        },
        Manner::Changes | Manner::Scopes => None,
    };
    let decisions = manner != Manner::Findings || destination.triage_from_sonar;
    Ok(Message {
        cause,
        state: told_state(finding.observed.state, decisions),
        rule: names.rule(&place.source, finding.observed.rule.as_ref())?,
        url: place.page(&finding.observed),
        known,
        finding,
    })
}

/// What is remembered of a finding where that cannot be read: it was told, and nobody knows how. It is looked for on the
/// platform as after an answer that was lost, neither made twice nor left open there.
fn forgotten(place: &Place, finding: &Finding) -> Remote {
    Remote {
        scope: place.scope,
        id: None,
        key: finding.observed.key.clone(),
        state: None,
        content: None,
        birth: None,
        decided: None,
        since: finding.first_seen_at,
        // It may be open there or closed, so that a platform looks before it tells.
        telling: Some(State::Open),
        unanswered: vec![State::Fixed],
    }
}

fn is_decided_there(destination: &Destination, message: &Message) -> bool {
    let decided = message.known.as_ref().and_then(|known| known.decided.as_deref());
    let state = decided.and_then(|word| destination.mapping.state(word, platform::words(destination.kind)));
    state == Some(message.state)
}

/// A finding with its scope; nothing where it is not held. Of a damaged one nothing is told either: Sonar's row replaces
/// it under a new number.
pub(super) fn held(view: &impl View, id: FindingId) -> Result<Option<(ScopeId, Finding)>, StoreError> {
    match findings::with_id(view, id) {
        Err(StoreError::Damaged { .. }) => Ok(None),
        found => found,
    }
}

/// What is known of a scope.
#[derive(Clone)]
pub(super) enum Known {
    /// Its names, and what decides about its findings.
    Home(Rc<Home>),
    /// It, or what it belongs to, was removed here.
    Removed,
    /// One of the records is damaged.
    Unreadable,
}

/// A scope with its names, and what decides whether a destination is told of its findings.
pub(super) struct Home {
    pub(super) place: Place,
    /// Whether it is told of the scope at all, or why not.
    taken: Result<(), LeftOut>,
    /// What passes of the organization.
    passing: Passing,
}

impl Home {
    /// Nothing where the scope, or what it belongs to, was removed here.
    pub(super) fn read(view: &Reader, scope: ScopeId, destination: &Destination) -> Result<Option<Self>, StoreError> {
        let Some(place) = place(view, scope)? else { return Ok(None) };
        let source = catalogue::source(view, &place.source)?;
        let passing = source.and_then(|mut source| source.filters.remove(&place.organization)).unwrap_or_default();
        // Whoever gathers a fleet does not tell it to a fleet: it would come back to it under another name.
        let comes_back = destination.kind == PlatformKind::Nats && place.site.is_some();
        let taken = if comes_back { Err(LeftOut::Site) } else { destination.filter.takes_place(&place) };
        Ok(Some(Self { place, taken, passing }))
    }

    /// Whether the destination is told of a finding that it does not know, or why not.
    pub(super) fn takes(&self, finding: &Finding, destination: &Destination) -> Result<(), LeftOut> {
        let (kind, severity) = (finding.observed.kind, finding.observed.severity);
        let passes = self.taken.and_then(|()| self.passing.takes(finding));
        passes.and_then(|()| destination.filter.takes(kind, severity))
    }

    /// Whether a destination is told of a finding where nobody remembers what it knows, or why not. What it may have heard
    /// of is followed also when its kind or severity would be kept back by now.
    pub(super) fn follows(
        &self,
        finding: &Finding,
        id: DestinationId,
        destination: &Destination,
    ) -> Result<(), LeftOut> {
        let passes = |kind, severity| {
            self.passing.follows(finding.id, (kind, severity), id)?;
            destination.filter.takes(kind, severity)
        };
        self.taken?;
        passes(finding.observed.kind, finding.observed.severity).or_else(|left_out| {
            let knows = |former: &Former| id < former.until && passes(former.kind, former.severity).is_ok();
            if finding.former.iter().any(knows) { Ok(()) } else { Err(left_out) }
        })
    }
}

/// Names that many findings share, read once.
pub(super) struct Names<'v> {
    view: &'v Reader,
    homes: BTreeMap<ScopeId, Known>,
    rules: BTreeMap<(SourceName, RuleKey), Arc<RuleText>>,
}

impl<'v> Names<'v> {
    pub(super) fn new(view: &'v Reader) -> Self {
        Self { view, homes: BTreeMap::new(), rules: BTreeMap::new() }
    }

    /// A scope.
    pub(super) fn home(&mut self, scope: ScopeId, destination: &Destination) -> Result<Known, StoreError> {
        if let Some(known) = self.homes.get(&scope) {
            return Ok(known.clone());
        }
        let known = match Home::read(self.view, scope, destination) {
            Ok(Some(home)) => Known::Home(Rc::new(home)),
            Ok(None) => Known::Removed,
            Err(StoreError::Damaged { .. }) => Known::Unreadable,
            Err(error) => return Err(error),
        };
        self.homes.insert(scope, known.clone());
        Ok(known)
    }

    fn rule(&mut self, source: &SourceName, key: Option<&RuleKey>) -> Result<Arc<RuleText>, StoreError> {
        let Some(key) = key else { return Ok(Arc::default()) };
        let known = (source.clone(), key.clone());
        if let Some(rule) = self.rules.get(&known) {
            return Ok(Arc::clone(rule));
        }
        let rule = match catalogue::rule(self.view, source, key) {
            Err(StoreError::Damaged { .. }) => None,
            found => found?,
        };
        let text = rule.map(|rule| RuleText { name: rule.name, cwe: rule.cwe, description: rule.description });
        let text = Arc::new(text.unwrap_or_default());
        self.rules.insert(known, Arc::clone(&text));
        Ok(text)
    }
}

/// A scope with all the names that lead to it; nothing where one of them was removed here.
pub(super) fn place(view: &Reader, id: ScopeId) -> Result<Option<Place>, StoreError> {
    let Some(scope) = catalogue::scope(view, id)? else { return Ok(None) };
    let Some(project) = catalogue::project(view, scope.project)? else { return Ok(None) };
    let organization = project.organization;
    let Some(source) = catalogue::source(view, &organization.source)? else { return Ok(None) };
    let Some(asset) = catalogue::asset(view, project.asset)? else { return Ok(None) };
    Ok(Some(Place {
        scope: id,
        source: source.name,
        site: source.at.map(|at| at.site),
        source_url: source.url.trim_end_matches('/').to_owned(),
        cloud: source.cloud,
        organization: organization.key,
        project: project.key,
        project_name: project.name,
        repository: project.repository,
        asset: asset.name,
        branch: scope.name,
        scope_kind: scope.kind,
        main: scope.main,
        analysed_at: scope.analysed_at,
        // The store does not keep it; it is asked for where it is told.
        revision: None,
        complete: scope.complete,
        held: Held {
            inventory: catalogue::inventory(view)?,
            project: scope.project,
            synced_at: scope.synced_at,
            sonar_total: scope.sonar_total,
            retired_at: scope.retired_at,
        },
    }))
}
