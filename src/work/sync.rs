//! Reads a scope and brings the inventory in step with it.
//!
//! Rows that are as they are stored leave nothing behind but a bit in memory; changed ones are staged. Only when
//! the crawl's counts add up are stored findings that it did not meet asked for by key, and closed. Then the crawl
//! is sealed and applied, which goes on after a kill.

use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::gone::{self, Gone};
use super::progress::Step;
use super::sources::Connected;
use super::{Work, WorkError};
use crate::domain::crawl::{Ask, Crawl, Incomplete, List, Met, PageCount, Snapshot};
use crate::domain::delivery::ScopeRef;
use crate::domain::finding::Observed;
use crate::domain::ids::{DeliveryId, IssueKey, RuleKey, ScopeId, ScopeKind};
use crate::domain::limits;
use crate::domain::reconcile::Staged;
use crate::domain::schedule::Due;
use crate::domain::time::Timestamp;
use crate::sonar::{Branch, FetchError};
use crate::store::crawls::Applied;
use crate::store::records::{Project, Rule, Scope, SealedCrawl};
use crate::store::{StoreError, catalogue, crawls, deliveries, findings};

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
    let reading = Reading::begin(work, id, due)?;
    let source = reading.project.organization.source.clone();
    let result = reading.read();
    match &result {
        Err(WorkError::Fetch(error)) => work.note_source(&source, Some(error))?,
        Ok(_) => work.note_source(&source, None)?,
        Err(_) => {}
    }
    let crawl = result?;
    let now = work.clock.now();
    let applied = work.store.write(move |batch| {
        crawls::seal(batch, id, &crawl)?;
        crawls::apply(batch, id, now)
    })?;
    if applied == Applied::Some { apply(work, id) } else { Ok(()) }
}

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
    due: Due,
    deliveries: Vec<DeliveryId>,
}

/// What a crawl gathers beside the staged rows.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) met: Met,
    /// Closed rows that the inventory does not hold, by a hash of their key: counted, and not worth staging.
    closed_elsewhere: HashSet<u64>,
    /// Rows that are closed; Sonar's lists of hotspots hold some.
    closed: u64,
    rules: BTreeSet<RuleKey>,
    odd_words: BTreeSet<String>,
}

impl<'w> Reading<'w> {
    fn begin(work: &'w Work, id: ScopeId, due: Due) -> Result<Self, WorkError> {
        let began_at = work.clock.now();
        let (scope, project, waiting) = work.store.read::<_, WorkError>(|view| {
            let scope = catalogue::scope(view, id)?.ok_or(WorkError::Gone)?;
            let project = catalogue::project(view, scope.project)?.ok_or(WorkError::Gone)?;
            let mut waiting = Vec::new();
            for (delivery, scope_ref) in deliveries::pending(view, scope.project)? {
                if catalogue::scope_id(view, scope.project, &project, &scope_ref)? == Some(id) {
                    waiting.push(delivery);
                }
            }
            Ok((scope, project, waiting))
        })?;
        let connected = work.sources.connect(&project.organization.source)?;
        let scope_ref =
            if scope.main { ScopeRef::Main } else { ScopeRef::Named { kind: scope.kind, name: scope.name.clone() } };
        Ok(Self { work, id, due, scope, project, scope_ref, connected, deliveries: waiting, began_at })
    }

    /// Reads the scope, and returns what is to be sealed.
    fn read(self) -> Result<SealedCrawl, WorkError> {
        let (analysed_at, gate) = self.standing()?;
        let (gathered, proof) = self.crawl_until_it_adds_up()?;
        let mut crawl = SealedCrawl {
            sonar_total: None,
            problem: None,
            again: false,
            began_at: self.began_at,
            analysed_at,
            gate,
            deliveries: self.deliveries.clone(),
            due: self.due,
            suspicion: None,
            odd_words: gathered.odd_words.iter().take(ODD_WORDS_MAX).cloned().collect(),
            recent: false,
            watermark: None,
        };
        match proof {
            Err(problem) => {
                crawl.again = problem.is_passing();
                crawl.problem = Some(problem.to_string());
            }
            Ok(snapshot) => match gone::settle(&self, &gathered, &snapshot)? {
                Gone::Settled => crawl.sonar_total = Some(snapshot.held() - gathered.closed),
                Gone::Disputed(problem) => {
                    crawl.again = true;
                    crawl.problem = Some(problem);
                }
                Gone::Suspicious(suspicion) => {
                    crawl.suspicion = Some(suspicion);
                    crawl.problem = Some(SUSPICIOUS.to_owned());
                }
            },
        }
        self.learn_rules(&gathered.rules)?;
        Ok(crawl)
    }

    /// That the branch is still there: Sonar answers an empty list for one that it does not know.
    fn standing(&self) -> Result<(Option<Timestamp>, Option<String>), WorkError> {
        let client = &self.connected.client;
        let gone = |error| match error {
            FetchError::NotFound { .. } => WorkError::NotShown { what: format!("project {}", self.project.key) },
            other => WorkError::Fetch(other),
        };
        if self.scope.kind == ScopeKind::PullRequest {
            let requests = client.pull_requests(&self.project.key).map_err(gone)?;
            let found = requests.into_iter().find(|request| request.key == self.scope.name);
            let found =
                found.ok_or_else(|| WorkError::NotShown { what: format!("pull request {}", self.scope.name) })?;
            return Ok((found.analysed_at, found.quality_gate));
        }
        let found = self.branch(client.branches(&self.project.key).map_err(gone)?)?;
        Ok((found.analysed_at, found.quality_gate))
    }

    /// This scope's branch among those that Sonar lists. Another branch may have become the main one, which moves
    /// no finding; or the main branch has a new name, which is the same branch only if nothing bears the former.
    fn branch(&self, listed: Vec<Branch>) -> Result<Branch, WorkError> {
        let main = listed.iter().position(|branch| branch.main);
        let named = listed.iter().position(|branch| branch.name == self.scope.name);
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
            (None, _) => return Err(WorkError::NotShown { what: format!("branch {}", self.scope.name) }),
        };
        Ok(listed.into_iter().nth(at).expect("its place was found in this list"))
    }

    /// Crawls again when rows moved between the pages: a list that is read while it changes does not add up.
    fn crawl_until_it_adds_up(&self) -> Result<(Gathered, Result<Snapshot, Incomplete>), WorkError> {
        let mut attempt = 1;
        loop {
            self.clear()?;
            let (gathered, proof) = self.crawl()?;
            match proof {
                Err(problem) if problem.is_passing() && attempt < limits::CRAWL_ATTEMPTS_MAX => {
                    tracing::debug!("{}: {problem}; reading again", self.project.key);
                    attempt += 1;
                }
                proof => return Ok((gathered, proof)),
            }
        }
    }

    /// Takes away what an interrupted crawl left.
    fn clear(&self) -> Result<(), WorkError> {
        let id = self.id;
        while self.work.store.read(|view| crawls::has_staged(view, id))? {
            self.work.store.write_unsynced(move |batch| crawls::clear(batch, id))?;
        }
        Ok(())
    }

    fn crawl(&self) -> Result<(Gathered, Result<Snapshot, Incomplete>), WorkError> {
        let mut gathered = Gathered::default();
        let mut crawl = Crawl::new(self.connected.dialect.lists());
        while let Some(ask) = crawl.next() {
            self.work.go_on()?;
            let page = self.page(ask)?;
            gathered.rules.extend(page.findings.iter().filter_map(|row| row.rule.clone()));
            gathered.odd_words.extend(page.odd_words);
            let (rows, total, facet_sum) = (page.rows, page.total, page.facet_sum);
            let new_keys = self.stage(page.findings, &mut gathered)?;
            crawl.page(PageCount { rows, new_keys, total, facet_sum });
            self.work.progress.set(self.id, Step { read: crawl.read(), expected: crawl.expected() });
        }
        Ok((gathered, crawl.finish()))
    }

    fn page(&self, ask: Ask) -> Result<crate::sonar::wire::FindingsPage, FetchError> {
        let Connected { client, dialect } = &*self.connected;
        let (organization, project) = (&self.project.organization.key, &self.project.key);
        match ask.list {
            List::Issues => client.issues(*dialect, organization, project, &self.scope_ref, ask.page),
            List::Hotspots => client.hotspots(*dialect, project, &self.scope_ref, ask.page),
        }
    }

    /// Stages what differs from the inventory, and counts the rows that no earlier page had.
    fn stage(&self, rows: Vec<Observed>, gathered: &mut Gathered) -> Result<u64, WorkError> {
        let id = self.id;
        let stored = self.work.store.read(|view| findings::with_keys(view, id, rows.iter().map(|row| &row.key)))?;
        let mut new_keys = 0;
        let (mut fresh, mut changed) = (Vec::new(), Vec::new());
        for (row, stored) in rows.into_iter().zip(stored) {
            let closed = row.state.is_closed();
            let is_new = match stored {
                Some(stored) => {
                    let is_new = gathered.met.mark(stored.slot);
                    if stored.observed != row {
                        changed.push(Staged::Seen(Box::new(row)));
                    }
                    is_new
                }
                None if closed => gathered.closed_elsewhere.insert(hash(&row.key)),
                None => {
                    fresh.push(Staged::Seen(Box::new(row)));
                    false
                }
            };
            new_keys += u64::from(is_new);
            gathered.closed += u64::from(is_new && closed);
        }
        if fresh.is_empty() && changed.is_empty() {
            return Ok(new_keys);
        }
        let staged = self.work.store.write_unsynced(move |batch| {
            crawls::stage(batch, id, &changed)?;
            crawls::stage(batch, id, &fresh)
        })?;
        Ok(new_keys + staged.into_iter().filter(|&is_new| is_new).count() as u64)
    }

    /// Reads the rules that were not read before. A rule that cannot be read costs its title, not the sync.
    fn learn_rules(&self, rules: &BTreeSet<RuleKey>) -> Result<(), WorkError> {
        let source = &self.project.organization.source;
        let now = self.work.clock.now();
        let missing = self.work.store.read::<_, StoreError>(|view| {
            let mut missing = Vec::new();
            for rule in rules {
                let known = catalogue::rule(view, source, rule)?;
                if known.is_none_or(|known| known.name.is_none() && now.since(known.read_at) > UNKNOWN_RULE_KEPT) {
                    missing.push(rule.clone());
                }
            }
            Ok(missing)
        })?;
        for key in missing {
            self.work.go_on()?;
            let rule = match self.connected.client.rule(&self.project.organization.key, &key) {
                Ok(rule) => rule,
                Err(error) => {
                    tracing::warn!("rules of {source} are read later: {error}");
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

fn hash(key: &IssueKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

const SUSPICIOUS: &str = "many findings are unknown to Sonar all at once; they are closed when a second read, ten minutes later, finds the same";

/// Words of Sonar's kept with a scope.
const ODD_WORDS_MAX: usize = 10;

/// A rule that Sonar did not know is asked for again after this.
const UNKNOWN_RULE_KEPT: std::time::Duration = std::time::Duration::from_hours(24);
