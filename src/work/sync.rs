//! Reads a scope and brings the inventory in step with it.
//!
//! Small scopes, and now and then all others, are read whole ([`super::crawl`]); large ones by what changed
//! ([`super::recent`]). What differs is staged. Only when the counts of a whole read add up are stored findings that it
//! did not meet asked for by key, and closed ([`super::gone`]). Then the read is sealed and applied, which goes on after
//! a kill.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::gone::{self, Gone};
use super::sources::Connected;
use super::{Work, WorkError, crawl, moved, recent};
use crate::domain::crawl::{Gathered, Snapshot};
use crate::domain::delivery::ScopeRef;
use crate::domain::ids::{DeliveryId, RuleKey, ScopeId, ScopeKind};
use crate::domain::recent::{Extent, History, extent};
use crate::domain::reconcile::Staged;
use crate::domain::schedule::{Due, Reason, Task};
use crate::domain::settings::{WHOLE_HOURS, WHOLE_MAX};
use crate::domain::time::Timestamp;
use crate::sonar::{Branch, FetchError};
use crate::store::crawls::Applied;
use crate::store::findings::Tally;
use crate::store::records::{Project, Rule, Scope, SealedCrawl};
use crate::store::{Begun, Store, StoreError, agenda, catalogue, crawls, deliveries, findings, lists, settings};

/// Carries the task out, or the rest of it that a former process left.
pub(super) fn sync(work: &Work, id: ScopeId, due: Due) -> Result<(), WorkError> {
    match work.store.read(|view| crawls::sealed(view, id)) {
        Ok(None) => {}
        Ok(Some(_)) => match apply(work, id) {
            Err(WorkError::Store(StoreError::Damaged { what })) => give_up(work, id, what)?,
            done => return done,
        },
        Err(StoreError::Damaged { what }) => give_up(work, id, what)?,
        Err(error) => return Err(error.into()),
    }
    if work.store.is_full() {
        // What is read could not be stored: no reason to ask Sonar again and again.
        return Err(WorkError::Full);
    }
    let mut reading = Reading::begin(work, id, due)?;
    let source = reading.project.organization.source.clone();
    let result = reading.read();
    match &result {
        Err(WorkError::Fetch(error)) => work.note_source(&source, Some(error))?,
        Ok(_) => work.note_source(&source, None)?,
        Err(_) => {}
    }
    let project = reading.scope.project;
    if let Err(WorkError::NotShown { .. }) = &result {
        moved::look(work, project);
    }
    let sealed = result?;
    if reading.project.moved.is_some() {
        moved::note(work, project, None)?;
    }
    if reading.is_as_stored(&sealed)? {
        work.standing.note(id, sealed.began_at, (!sealed.recent).then_some(sealed.began_at));
        // A poll's task is on the agenda, a round's is not.
        if work.store.read(|view| agenda::of(view, Task::Sync(id)))? == Some(due) {
            work.store.delete::<_, StoreError>(move |batch| agenda::follow(batch, Task::Sync(id), due, None))?;
        }
        return Ok(());
    }
    let (now, proven) = (work.clock.now(), sealed.sonar_total.is_some());
    let (store, reopened) = (work.store.clone(), reading.reopened);
    let applied = work.store.write(move |batch| {
        is_same_store(&store, reopened)?;
        crawls::seal(batch, id, &sealed)?;
        crawls::apply(batch, id, now)
    })?;
    if applied == Applied::Some {
        apply(work, id)?;
    }
    if proven { recount(work, id) } else { Ok(()) }
}

/// Where a read was proven and what is stored is not as many, the counts themselves may be wrong: a damaged finding that
/// Sonar's row replaced was counted twice. Then they are set right, for the next read to agree with.
fn recount(work: &Work, id: ScopeId) -> Result<(), WorkError> {
    let scope = work.store.read(|view| catalogue::scope(view, id))?;
    if scope.is_none_or(|scope| scope.complete) {
        return Ok(());
    }
    let (mut tally, mut after) = (Tally::default(), None);
    loop {
        work.go_on()?;
        let stored = work.store.read(|view| findings::after(view, id, after.as_ref(), STORED_PER_READ))?;
        let Some(last) = stored.last() else { break };
        after = Some(last.observed.key.clone());
        for finding in &stored {
            tally.count(finding);
        }
    }
    if work.store.write::<_, StoreError>(move |batch| findings::recount(batch, id, &tally))? {
        tracing::warn!("the counts of a branch were wrong and are set right");
    }
    Ok(())
}

/// Findings looked at in one read of the store.
const STORED_PER_READ: usize = 1000;

/// What a crawl staged can be read again from Sonar.
fn give_up(work: &Work, id: ScopeId, what: &str) -> Result<(), WorkError> {
    tracing::warn!("a {what} of an interrupted read is damaged; the scope is read anew");
    work.store.write(move |batch| crawls::abandon(batch, id))?;
    Ok(())
}

fn apply(work: &Work, id: ScopeId) -> Result<(), WorkError> {
    loop {
        work.go_on()?;
        let now = work.clock.now();
        match work.store.write(move |batch| crawls::apply(batch, id, now))? {
            Applied::Some => {}
            Applied::All | Applied::Gone => return Ok(()),
        }
    }
}

/// One scope being read.
pub(super) struct Reading<'w> {
    pub(super) work: &'w Work,
    pub(super) id: ScopeId,
    pub(super) scope: Scope,
    pub(super) project: Project,
    pub(super) scope_ref: ScopeRef,
    pub(super) connected: Arc<Connected>,
    pub(super) began_at: Timestamp,
    /// What Sonar says of the branch before anything of it is read.
    pub(super) standing: Standing,
    extent: Extent,
    pub(super) due: Due,
    /// How often the store had been opened anew when the read began. What is staged is synced with a later commit: with a
    /// store that was opened anew it may be gone, and nothing that was counted before is true of it.
    pub(super) reopened: u64,
    /// Deliveries that wait for this read.
    pub(super) deliveries: Vec<DeliveryId>,
}

/// What Sonar says of a branch or pull request.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    pub(super) analysed_at: Option<Timestamp>,
    gate: Option<String>,
}

impl<'w> Reading<'w> {
    fn begin(work: &'w Work, id: ScopeId, due: Due) -> Result<Self, WorkError> {
        let (began_at, reopened) = (work.clock.now(), work.store.reopened());
        let (scope, project, waiting, history, whole_hours) = work.store.read::<_, WorkError>(|view| {
            let scope = catalogue::scope(view, id)?.ok_or(WorkError::Gone)?;
            let project = catalogue::project(view, scope.project)?.ok_or(WorkError::Gone)?;
            let mut waiting = Vec::new();
            for (delivery, scope_ref) in deliveries::pending(view, scope.project)? {
                if catalogue::scope_id(view, scope.project, &project, &scope_ref)? == Some(id) {
                    waiting.push(delivery);
                }
            }
            let source = catalogue::source(view, &project.organization.source)?.ok_or(WorkError::Gone)?;
            let history = History {
                open: lists::count_open(view, id)?,
                complete: scope.complete,
                crawled_at: scope.crawled_at.max(work.standing.of(id).and_then(|standing| standing.crawled_at)),
                watermark: scope.watermark,
                sorted: !source.unsorted,
                whole_max: settings::number_of(view, WHOLE_MAX)?,
            };
            Ok((scope, project, waiting, history, settings::number_of(view, WHOLE_HOURS)?))
        })?;
        let connected = work.sources.connect(&project.organization.source)?;
        let scope_ref =
            if scope.main { ScopeRef::Main } else { ScopeRef::Named { kind: scope.kind, name: scope.name.clone() } };
        let extent = extent(&history, due.reason, Duration::from_hours(whole_hours), began_at);
        Ok(Self {
            work,
            id,
            due,
            scope,
            project,
            scope_ref,
            connected,
            deliveries: waiting,
            reopened,
            began_at,
            standing: Standing::default(),
            extent,
        })
    }

    /// Reads the scope, and returns what is to be sealed.
    fn read(&mut self) -> Result<SealedCrawl, WorkError> {
        self.standing = self.ask_standing()?;
        let Extent::Recent { since } = self.extent else { return self.read_whole() };
        match recent::read(self, since)? {
            recent::Outcome::Whole(reason) => {
                tracing::debug!("{}: {reason}; reading all of it", self.project.key);
                self.read_whole()
            }
            recent::Outcome::Proven { sonar_total, watermark, rules, odd_words } => {
                self.learn_rules(&rules)?;
                Ok(SealedCrawl {
                    sonar_total: Some(sonar_total),
                    recent: true,
                    watermark: Some(watermark),
                    odd_words: odd_words.into_iter().collect(),
                    ..self.seal(self.began_at)
                })
            }
        }
    }

    fn read_whole(&self) -> Result<SealedCrawl, WorkError> {
        let crawl::Crawled { gathered, proof, began_at, watermark } = crawl::read(self)?;
        let mut sealed =
            SealedCrawl { odd_words: gathered.odd_words.iter().cloned().collect(), watermark, ..self.seal(began_at) };
        match proof {
            Err(problem) => {
                gone::hold_back(self, &gathered)?;
                sealed.again = problem.is_passing();
                sealed.problem = Some(problem.to_string());
            }
            Ok(snapshot) => match self.settle_gone(&gathered, &snapshot)? {
                Gone::Settled { unlisted, odd_words } => {
                    let listed = snapshot.held().checked_sub(gathered.closed.len() as u64);
                    sealed.sonar_total = listed.map(|listed| listed + unlisted);
                    let odd_words = gathered.odd_words.iter().cloned().chain(odd_words).collect::<BTreeSet<_>>();
                    sealed.odd_words = odd_words.into_iter().take(crawl::ODD_WORDS_MAX).collect();
                    sealed.again = sealed.sonar_total.is_none();
                }
                Gone::Disputed(problem) => {
                    sealed.again = true;
                    sealed.problem = Some(problem);
                }
                Gone::Suspicious(suspicion) => {
                    sealed.suspicion = Some(suspicion);
                    sealed.problem = Some(SUSPICIOUS.to_owned());
                }
            },
        }
        self.learn_rules(&gathered.rules)?;
        Ok(sealed)
    }

    /// From here on closings are staged, which only this crawl's counts allow: it cannot be gone on with.
    fn settle_gone(&self, gathered: &Gathered, snapshot: &Snapshot) -> Result<Gone, WorkError> {
        let id = self.id;
        if self.work.store.read(|view| crawls::underway(view, id))?.is_some() {
            self.work.store.write_unsynced::<_, StoreError>(move |batch| crawls::forget(batch, id))?;
        }
        gone::settle(self, gathered, snapshot)
    }

    /// What every read seals, as if it had proven nothing.
    fn seal(&self, began_at: Timestamp) -> SealedCrawl {
        SealedCrawl {
            sonar_total: None,
            problem: None,
            again: false,
            began_at,
            analysed_at: self.standing.analysed_at,
            gate: self.standing.gate.clone(),
            deliveries: self.deliveries.clone(),
            due: self.due,
            suspicion: None,
            odd_words: Vec::new(),
            recent: false,
            watermark: None,
        }
    }

    /// Whether a routine read found everything as it is stored: then there is nothing to write.
    fn is_as_stored(&self, sealed: &SealedCrawl) -> Result<bool, WorkError> {
        let scope = &self.scope;
        let as_stored = self.due.reason == Reason::Sweep
            && sealed.deliveries.is_empty()
            && scope.complete
            && sealed.sonar_total.is_some()
            && sealed.sonar_total == scope.sonar_total
            && sealed.analysed_at == scope.analysed_at
            && (sealed.gate.is_none() || sealed.gate == scope.gate)
            && sealed.odd_words == scope.odd_words
            && scope.error.is_none()
            && scope.suspicion.is_none()
            && scope.retired_at.is_none();
        if !as_stored {
            return Ok(false);
        }
        let id = self.id;
        let (staged, stored, underway) = self.work.store.read::<_, StoreError>(|view| {
            let underway = crawls::underway(view, id)?.is_some();
            Ok((crawls::has_staged(view, id)?, lists::count_open(view, id)?, underway))
        })?;
        if underway && !staged {
            self.work.store.write_unsynced::<_, StoreError>(move |batch| crawls::forget(batch, id))?;
        }
        Ok(!staged && sealed.sonar_total == Some(stored))
    }

    /// Ends the read early when the daemon is stopping, or when something more urgent is to be read of this scope.
    pub(super) fn may_go_on(&self) -> Result<(), WorkError> {
        self.work.go_on()?;
        if self.due.reason < Reason::Sweep {
            return Ok(());
        }
        let task = Task::Sync(self.id);
        let waiting = self.work.store.read(|view| agenda::of(view, task))?;
        match waiting {
            Some(due) if due.reason < self.due.reason && due.at <= self.work.clock.now() => Err(WorkError::Yielded),
            _ => Ok(()),
        }
    }

    /// That the branch is still there: Sonar answers an empty list for one that it does not know.
    fn ask_standing(&self) -> Result<Standing, WorkError> {
        let client = &self.connected.client;
        let gone = |error| match error {
            FetchError::NotFound { .. } => WorkError::NotShown { what: format!("project {}", self.project.key) },
            other => WorkError::Fetch(other),
        };
        if self.scope.kind == ScopeKind::PullRequest {
            let requests = client.pull_requests(&self.project.key).map_err(gone)?;
            let found = requests.into_iter().find(|request| request.key == self.scope.name);
            let found = found.ok_or(WorkError::Retired)?;
            return Ok(Standing { analysed_at: found.analysed_at, gate: found.quality_gate });
        }
        let found = self.branch(client.branches(&self.project.key).map_err(gone)?)?;
        Ok(Standing { analysed_at: found.analysed_at, gate: found.quality_gate })
    }

    /// This scope's branch among those that Sonar lists. Another branch may have become the main one, which moves
    /// no finding; or the main branch has a new name, which is the same branch only if nothing bears the former.
    fn branch(&self, listed: Vec<Branch>) -> Result<Branch, WorkError> {
        let main = listed.iter().position(|branch| branch.main);
        let mine = |branch: &Branch| branch.name == self.scope.name;
        // Sonar may list a name twice: then the row that is the main branch counts, for whoever bears that name.
        let named = main.filter(|&main| mine(&listed[main])).or_else(|| listed.iter().position(mine));
        let (id, project) = (self.id, self.scope.project);
        let at = match (named, main) {
            (Some(named), main) if self.scope.main == (main == Some(named)) => named,
            (Some(_), main) => {
                let main = main.map(|main| listed[main].name.clone());
                self.work.note_main(project, main)?;
                return Err(WorkError::MainMoved);
            }
            (None, Some(main)) if self.scope.main => {
                let name = listed[main].name.clone();
                if !self.work.store.write(move |batch| catalogue::rename_scope(batch, id, &name))? {
                    // The new main branch is held as a scope of its own, and this one is no more.
                    self.work.note_main(project, Some(listed[main].name.clone()))?;
                    return Err(WorkError::MainMoved);
                }
                main
            }
            // A list without a main branch is none to believe.
            (None, None) => return Err(WorkError::NotShown { what: format!("branch {}", self.scope.name) }),
            (None, Some(_)) => return Err(WorkError::Retired),
        };
        Ok(listed.into_iter().nth(at).expect("its place was found in this list"))
    }

    /// Takes away what an interrupted crawl left.
    pub(super) fn clear(&self) -> Result<(), WorkError> {
        let id = self.id;
        if self.work.store.read(|view| crawls::underway(view, id))?.is_some() {
            self.work.store.write_unsynced::<_, StoreError>(move |batch| crawls::forget(batch, id))?;
        }
        while self.work.store.read(|view| crawls::has_staged(view, id))? {
            self.work.store.write_unsynced(move |batch| crawls::clear(batch, id))?;
        }
        Ok(())
    }

    /// Stages rows.
    pub(super) fn stage(&self, rows: Vec<Staged>) -> Result<(), WorkError> {
        Ok(self.begin_to_stage(rows).map_or(Ok(()), Begun::wait)?)
    }

    /// Hands rows over to be staged, if there are any, and leaves it to the caller to wait for it.
    pub(super) fn begin_to_stage(&self, rows: Vec<Staged>) -> Option<Begun<(), StoreError>> {
        let id = self.id;
        let (store, reopened) = (self.work.store.clone(), self.reopened);
        (!rows.is_empty()).then(|| {
            self.work.store.begin_unsynced(move |batch| {
                is_same_store(&store, reopened)?;
                crawls::stage(batch, id, &rows)
            })
        })
    }

    /// Reads the rules that were not read before. A rule that cannot be read costs its title, not the sync, and that
    /// until the next read only.
    fn learn_rules(&self, rules: &BTreeSet<RuleKey>) -> Result<(), WorkError> {
        let source = &self.project.organization.source;
        let now = self.work.clock.now();
        let left = self.work.rules_left().remove(source).unwrap_or_default();
        let missing = self.work.store.read::<_, StoreError>(|view| {
            let mut missing = Vec::new();
            for rule in rules.union(&left) {
                let known = catalogue::rule(view, source, rule)?;
                if known.is_none_or(|known| known.name.is_none() && now.since(known.read_at) > UNKNOWN_RULE_KEPT) {
                    missing.push(rule.clone());
                }
            }
            Ok(missing)
        })?;
        let mut missing = missing.into_iter();
        while let Some(key) = missing.next() {
            self.work.go_on()?;
            let rule = match self.connected.client.rule(&self.project.organization.key, &key) {
                Ok(rule) => rule,
                // About this rule alone.
                Err(
                    error @ (FetchError::BadRequest { .. }
                    | FetchError::NotUnderstood { .. }
                    | FetchError::NoPermission { .. }),
                ) => {
                    tracing::warn!("{error}");
                    continue;
                }
                Err(error) => {
                    tracing::warn!("rules of {source} are read later: {error}");
                    let left = std::iter::once(key).chain(missing);
                    self.work.rules_left().entry(source.clone()).or_default().extend(left);
                    return Ok(());
                }
            };
            let record = match rule {
                Some(rule) => Rule {
                    name: Some(rule.name),
                    cwe: rule.cwe,
                    description: Some(rule.description_html),
                    read_at: now,
                },
                None => Rule { name: None, cwe: Vec::new(), description: None, read_at: now },
            };
            let source = source.clone();
            self.work.store.write_unsynced(move |batch| catalogue::put_rule(batch, &source, &key, &record))?;
        }
        Ok(())
    }
}

/// Fails where the store was opened anew since a read began. Asked in the writer's turn, which is the one that opens.
pub(super) fn is_same_store(store: &Store, reopened: u64) -> Result<(), StoreError> {
    if store.reopened() == reopened {
        return Ok(());
    }
    Err(StoreError::Stale)
}

/// For telling things apart within one read; two that collide make a read incomplete.
pub(super) fn hash(key: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

const SUSPICIOUS: &str = "many findings are unknown to Sonar all at once; they are closed when a second read, ten minutes later, finds the same";

/// A rule that Sonar did not know is asked for again after this.
const UNKNOWN_RULE_KEPT: std::time::Duration = std::time::Duration::from_hours(24);
