//! What a destination is told of a finding, and what this box remembers of having told it.
//!
//! A message carries the finding as it is now. What to do about it follows from comparing it with what the platform
//! was last told ([`plan`]), so that a message that comes twice, or after a later one, does no harm.

use std::collections::BTreeMap;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::digest::{Context, SHA256};

use super::destination::LeftOut;
use super::finding::{CloseReason, ClosedBy, Digest, Finding, Kind, Observed, Severity, SonarWords, State};
use super::fleet::{InventoryId, Site};
use super::ids::{
    AssetName, ChangeNumber, FindingId, IssueKey, OrganizationKey, ProjectId, ProjectKey, ScopeId, ScopeKind,
    ScopeName, SourceName,
};
use super::reconcile::ChangeKind;
use super::time::Timestamp;

/// Where a finding is: the scope with all the names that lead to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The scope's number here.
    pub scope: ScopeId,
    /// The source.
    pub source: SourceName,
    /// The site whose box reads it, where that is another one.
    pub site: Option<Site>,
    /// Where the source's own page is, without a slash at its end.
    pub source_url: String,
    /// Whether it is SonarQube Cloud.
    pub cloud: bool,
    /// The organization.
    pub organization: OrganizationKey,
    /// The project's key.
    pub project: ProjectKey,
    /// The project's name.
    pub project_name: String,
    /// The clone address of the project's repository, where a person gave it.
    pub repository: Option<String>,
    /// The asset that holds the project.
    pub asset: AssetName,
    /// The branch's name, or the pull request's key.
    pub branch: ScopeName,
    /// Which of the two.
    pub scope_kind: ScopeKind,
    /// Whether it is the main branch.
    pub main: bool,
    /// Sonar's last analysis.
    pub analysed_at: Option<Timestamp>,
    /// The commit that was analysed then, where it is known.
    pub revision: Option<String>,
    /// Whether the last read of it was complete.
    pub complete: bool,
    /// How it is held here.
    pub held: Held,
}

/// How a scope is held here: what whoever gathers the inventories of many boxes has to know of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Whose numbers these are.
    pub inventory: InventoryId,
    /// The project's number.
    pub project: ProjectId,
    /// The last complete read.
    pub synced_at: Option<Timestamp>,
    /// Findings that are not closed, as Sonar counted them then.
    pub sonar_total: Option<u64>,
    /// Since when Sonar does not list it any more.
    pub retired_at: Option<Timestamp>,
}

impl Place {
    /// The page on which Sonar shows a finding of this scope.
    pub fn page(&self, observed: &Observed) -> String {
        page(&self.source_url, &self.project, (self.scope_kind, self.main, &self.branch), observed)
    }
}

/// The page on which Sonar shows a finding: of a source at `url`, of a project, of a scope by kind, whether it is the
/// main branch, and name.
pub fn page(
    url: &str,
    project: &ProjectKey,
    (kind, main, name): (ScopeKind, bool, &ScopeName),
    observed: &Observed,
) -> String {
    let encode = |text: &str| utf8_percent_encode(text, QUERY).to_string();
    let (key, project) = (encode(observed.key.as_str()), encode(project.as_str()));
    let place = match (kind, main) {
        (ScopeKind::PullRequest, _) => format!("&pullRequest={}", encode(name.as_str())),
        (ScopeKind::Branch, true) => String::new(),
        (ScopeKind::Branch, false) => format!("&branch={}", encode(name.as_str())),
    };
    let url = url.trim_end_matches('/');
    match observed.kind {
        Kind::Vulnerability => format!("{url}/project/issues?id={project}{place}&issues={key}&open={key}"),
        Kind::Hotspot => format!("{url}/security_hotspots?id={project}{place}&hotspots={key}"),
    }
}

/// What may stand as it is in a query of an address.
pub const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What a rule's text says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleText {
    /// Its name.
    pub name: Option<String>,
    /// CWE numbers in it.
    pub cwe: Vec<u32>,
    /// HTML as Sonar writes it.
    pub description: Option<String>,
}

/// Why a destination is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It is told the present state: it is new, or is told everything anew.
    Present,
    /// It is told everything as it was after this change, and what followed from there.
    Seeded(ChangeNumber),
    /// Something changed.
    Changed {
        /// The change's number.
        number: ChangeNumber,
        /// What kind.
        kind: ChangeKind,
        /// The state before; absent for a new finding.
        from: Option<State>,
        /// When.
        at: Timestamp,
    },
}

impl Cause {
    /// The change that it goes back to.
    pub fn change(&self) -> Option<ChangeNumber> {
        match self {
            Self::Present => None,
            Self::Seeded(number) | Self::Changed { number, .. } => Some(*number),
        }
    }
}

/// What a destination is told of one finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Why.
    pub cause: Cause,
    /// The finding as it is now.
    pub finding: Finding,
    /// The state to tell: the finding's, or open where Sonar's decisions are not passed on.
    pub state: State,
    /// Its rule, as far as it is known; shared by all messages about it, as its text may be long.
    pub rule: Arc<RuleText>,
    /// What the platform knows of it.
    pub known: Option<Remote>,
    /// The finding's page in Sonar.
    pub url: String,
}

impl Message {
    /// What a person reads first: the rule's name, which stays the same where the message changes with the line.
    pub fn title(&self) -> &str {
        self.rule.name.as_deref().unwrap_or(&self.finding.observed.message)
    }

    /// A digest of everything that a platform shows of a finding, but for its state.
    pub fn content(&self) -> Digest {
        let observed = &self.finding.observed;
        let mut context = Context::new(&SHA256);
        let mut add = |part: &[u8]| {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        };
        add(observed.key.as_str().as_bytes());
        add(&[observed.kind as u8, observed.severity as u8]);
        add(observed.rule.as_ref().map_or("", |rule| rule.as_str()).as_bytes());
        add(self.title().as_bytes());
        add(observed.message.as_bytes());
        add(observed.path.as_deref().unwrap_or_default().as_bytes());
        add(&observed.line.unwrap_or_default().to_be_bytes());
        for cwe in &self.rule.cwe {
            add(&cwe.to_be_bytes());
        }
        cut(context)
    }

    /// That a finding is gone which this box does not hold any more, from what the platform was told of it.
    pub fn gone(id: FindingId, known: Remote, now: Timestamp) -> Self {
        let birth = known.birth.clone();
        let observed = Observed {
            key: known.key.clone(),
            kind: Kind::Vulnerability,
            rule: None,
            message: birth.as_ref().map(|birth| birth.title.clone()).unwrap_or_default(),
            severity: Severity::Medium,
            state: State::Removed,
            path: birth.as_ref().and_then(|birth| birth.path.clone()),
            line: birth.as_ref().and_then(|birth| birth.line),
            range: None,
            created_at: None,
            updated_at: None,
            closed_at: None,
            sonar: SonarWords::default(),
            flows: Vec::new(),
        };
        let closed_by = ClosedBy { reason: CloseReason::Removed, read_at: now, from: State::Open };
        Self {
            cause: Cause::Present,
            finding: Finding {
                id,
                slot: 0,
                observed,
                first_seen_at: known.since,
                closed_at: Some(now),
                closed_by: Some(closed_by),
                former: Vec::new(),
            },
            state: State::Removed,
            rule: Arc::default(),
            known: Some(known),
            url: String::new(),
        }
    }

    /// The same for every attempt to tell this message, and for no other message.
    pub fn idempotency_key(&self) -> String {
        let mut context = Context::new(&SHA256);
        // After a restore a number is used again, at another time.
        let (number, at) = match &self.cause {
            Cause::Present | Cause::Seeded(_) => (0, 0),
            Cause::Changed { number, at, .. } => (number.0, at.0),
        };
        context.update(&number.to_be_bytes());
        context.update(&at.to_be_bytes());
        context.update(&self.finding.id.0.to_be_bytes());
        context.update(&self.finding.first_seen_at.0.to_be_bytes());
        // A state that comes back after another one is news, also where nothing but the present state can be told.
        if let Cause::Seeded(began) = &self.cause {
            context.update(&began.0.to_be_bytes());
        }
        if number == 0 {
            context.update(&self.content().0);
            context.update(&[self.state as u8]);
        }
        super::signature::to_hex(&cut(context).0)
    }
}

fn cut(context: Context) -> Digest {
    let digest = context.finish();
    Digest(digest.as_ref()[..16].try_into().expect("a SHA-256 has 32 bytes"))
}

/// What a platform knows of a finding, as far as this box told it or saw it there.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Remote {
    /// The scope that the finding is of.
    #[n(0)]
    pub scope: ScopeId,
    /// The platform's own id, where it has one for each finding.
    #[n(1)]
    pub id: Option<String>,
    /// Sonar's key that the platform knows it by.
    #[n(2)]
    pub key: IssueKey,
    /// The state last told. Absent where telling it was begun and the answer is not known.
    #[n(3)]
    pub state: Option<State>,
    /// A digest of the rest last told.
    #[n(4)]
    pub content: Option<Digest>,
    /// The values that it was first told with, for a platform that finds it again by them.
    #[n(5)]
    pub birth: Option<Birth>,
    /// A decision that was made on the platform, in the platform's word.
    #[n(6)]
    pub decided: Option<String>,
    /// When the finding was first told.
    #[n(7)]
    pub since: Timestamp,
    /// The state that was being told when it was last heard of. Until the platform has answered it may know this one
    /// as well as the one before.
    #[n(8)]
    pub telling: Option<State>,
    /// Those that were being told before that one, and that the platform did not answer either.
    #[n(9)]
    #[cbor(default)]
    pub unanswered: Vec<State>,
}

impl Remote {
    /// Notes that a state is about to be told.
    pub fn begin(&mut self, state: State) {
        self.unanswered.retain(|one| *one != state);
        if let Some(former) = self.telling.replace(state).filter(|former| *former != state) {
            self.unanswered.push(former);
        }
    }

    /// Notes that the platform has answered: it knows the state last told and no other.
    pub fn settle(&mut self) {
        self.telling = None;
        self.unanswered.clear();
    }

    /// The states that the platform may know beside the one last told, since it was told them and did not answer.
    pub fn in_doubt(&self) -> impl Iterator<Item = State> {
        self.telling.into_iter().chain(self.unanswered.iter().copied())
    }
}

/// What a finding looked like when a platform was first told of it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Birth {
    /// Title.
    #[n(0)]
    pub title: String,
    /// The first CWE number.
    #[n(1)]
    pub cwe: Option<u32>,
    /// Path.
    #[n(2)]
    pub path: Option<String>,
    /// Line.
    #[n(3)]
    pub line: Option<u32>,
    /// Description.
    #[n(4)]
    pub description: String,
}

/// Where the findings of a scope go on a platform: its ids and names there, by the platform's own names for them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Target(#[n(0)] pub BTreeMap<String, String>);

impl Target {
    /// One of the ids.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets one.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }
}

/// What a message comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// The platform has not heard of it.
    Create,
    /// Something that is shown of it changed, and perhaps its state, too.
    Update,
    /// It is gone.
    Close,
    /// It is back.
    Reopen,
    /// Only a decision about it changed.
    Triage,
    /// The platform knows all this.
    Nothing,
    /// The filter keeps it back.
    LeftOut(LeftOut),
}

/// The state that a destination is told. Where Sonar's decisions are not passed on, what a person decided there is open.
pub fn told_state(state: State, decisions: bool) -> State {
    match state {
        State::Confirmed | State::Accepted | State::FalsePositive if !decisions => State::Open,
        state => state,
    }
}

/// What to do about a message. `taken` says whether the filters pass it on, which counts for what is not known there.
pub fn plan(message: &Message, taken: Result<(), LeftOut>) -> Plan {
    let state = message.state;
    let Some(known) = &message.known else {
        let decided = matches!(message.finding.observed.state, State::Accepted | State::FalsePositive);
        return match taken {
            Err(left_out) => Plan::LeftOut(left_out),
            Ok(()) if state.is_closed() => Plan::LeftOut(LeftOut::Closed),
            Ok(()) if decided && state == State::Open => Plan::LeftOut(LeftOut::Decided),
            Ok(()) => Plan::Create,
        };
    };
    let Some(told) = known.state else { return Plan::Create };
    match (told.is_closed(), state.is_closed()) {
        (false, true) => Plan::Close,
        (true, false) => Plan::Reopen,
        (true, true) if known.in_doubt().any(|state| !state.is_closed()) => Plan::Close,
        (true, true) => Plan::Nothing,
        _ if known.content != Some(message.content()) => Plan::Update,
        _ if told != state || known.telling.is_some() => Plan::Triage,
        _ => Plan::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(state: State, telling: Option<State>) -> Message {
        let birth = None;
        let known = Remote {
            scope: ScopeId(1),
            id: Some("7".to_owned()),
            key: IssueKey::parse("A").unwrap(),
            state: Some(state),
            content: None,
            birth,
            decided: None,
            since: Timestamp(0),
            telling,
            unanswered: Vec::new(),
        };
        let mut message = Message::gone(FindingId(1), known, Timestamp(0));
        let content = message.content();
        message.known.as_mut().unwrap().content = Some(content);
        message
    }

    fn planned(told: State, telling: Option<State>, now: State) -> Plan {
        let message = Message { state: now, ..known(told, telling) };
        plan(&message, Ok(()))
    }

    #[test]
    fn what_follows_is_the_difference_between_what_was_told_and_what_is() {
        assert_eq!(planned(State::Open, None, State::Open), Plan::Nothing);
        assert_eq!(planned(State::Open, None, State::Fixed), Plan::Close);
        assert_eq!(planned(State::Fixed, None, State::Open), Plan::Reopen);
        assert_eq!(planned(State::Fixed, None, State::Removed), Plan::Nothing);
        assert_eq!(planned(State::Open, None, State::Accepted), Plan::Triage);
    }

    #[test]
    fn until_it_answers_a_platform_may_know_whatever_it_was_told() {
        let mut remote = known(State::Open, None).known.unwrap();
        for state in [State::Accepted, State::FalsePositive, State::Accepted, State::Open, State::Open] {
            remote.begin(state);
        }
        assert_eq!(remote.in_doubt().collect::<Vec<_>>(), [State::Open, State::FalsePositive, State::Accepted]);
        remote.settle();
        assert_eq!(remote.in_doubt().count(), 0);
    }

    #[test]
    fn what_was_told_without_an_answer_is_told_again_even_if_it_is_as_before() {
        assert_eq!(planned(State::Confirmed, Some(State::Open), State::Confirmed), Plan::Triage);
        assert_eq!(planned(State::Open, Some(State::Fixed), State::Open), Plan::Triage);
        assert_eq!(planned(State::Fixed, Some(State::Open), State::Fixed), Plan::Close);
        assert_eq!(planned(State::Fixed, Some(State::Removed), State::Fixed), Plan::Nothing);
    }
}
