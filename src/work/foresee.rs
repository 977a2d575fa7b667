//! What reading a project would bring: reads Sonar as an import does, compares it with the inventory, and stores nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::sources::{Connected, with_urgency};
use super::sync::hash;
use super::{Work, WorkError, crawl, discover};
use crate::domain::crawl::Crawl;
use crate::domain::delivery::ScopeRef;
use crate::domain::destination::LeftOut;
use crate::domain::finding::Observed;
use crate::domain::ids::{OrganizationRef, ProjectId, ProjectKey, ScopeId, ScopeKind, ScopeName};
use crate::domain::limits::PREVIEW_PAGES_MAX;
use crate::domain::passing::Choice;
use crate::domain::selection::Selection;
use crate::store::{StoreError, catalogue, findings, lists};

/// What would come of a branch or pull request, in findings that are not closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// Branch or pull request.
    pub kind: ScopeKind,
    /// Its name.
    pub name: ScopeName,
    /// Whether it is the main branch.
    pub main: bool,
    /// What Sonar counts; absent where it was not asked.
    pub sonar_total: Option<u64>,
    /// Held here.
    pub open: u64,
    /// What was found out from Sonar's rows.
    pub found: Found,
    /// Why not all of Sonar's rows were read; then what was found is of those that were.
    pub problem: Option<String>,
}

/// Sonar's rows compared with what is held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// That pass the organization's filter.
    pub passing: u64,
    /// That do not, by reason.
    pub left_out: BTreeMap<LeftOut, u64>,
    /// That are not held.
    pub create: u64,
    /// That are held otherwise.
    pub update: u64,
    /// That are held as closed.
    pub reopen: u64,
    /// That are held and that Sonar does not list any more; nothing unless all rows were read.
    pub close: u64,
    /// That are held as they are.
    pub same: u64,
}

/// A project that is to be looked at.
#[derive(Debug)]
pub struct Subject<'a> {
    /// Its organization.
    pub organization: &'a OrganizationRef,
    /// Its key.
    pub key: &'a ProjectKey,
    /// Its number here, if it is imported.
    pub id: Option<ProjectId>,
    /// Which branches would be held.
    pub selection: &'a Selection,
    /// What passes of its organization.
    pub choice: &'a Choice,
}

/// How much of Sonar is read for one person who asks, all projects together.
#[derive(Debug)]
pub struct Allowance {
    /// Pages that are left; the listing of a project's branches counts as one.
    pub pages: u32,
    /// Whether nobody waits for the answer any more.
    pub given_up: Arc<AtomicBool>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { pages: PREVIEW_PAGES_MAX, given_up: Arc::default() }
    }
}

impl Allowance {
    /// Takes one page, if there is one left.
    fn take(&mut self) -> bool {
        let left = self.pages.checked_sub(1);
        self.pages = left.unwrap_or(0);
        left.is_some()
    }

    fn go_on(&self, work: &Work) -> Result<(), WorkError> {
        if self.given_up.load(Ordering::Relaxed) { Err(WorkError::Stopping) } else { work.go_on() }
    }
}

/// Looks at all scopes that would be held. It waits for what is more urgent, and asks for no more pages than allowed:
/// what is left of a very large project is only counted, or not asked for, and it says so. Nothing where not even a
/// page was left for its branches.
///
/// # Errors
/// If Sonar cannot be asked, lists nothing that is chosen, or the store cannot be read; [`WorkError::Stopping`] where
/// nobody waits for it any more, or the daemon stops.
pub fn foresee(work: &Work, subject: &Subject, allowance: &mut Allowance) -> Result<Option<Vec<Foreseen>>, WorkError> {
    allowance.go_on(work)?;
    if !allowance.take() {
        return Ok(None);
    }
    with_urgency(false, || {
        let connected = work.sources.connect(&subject.organization.source)?;
        let listing = discover::list(work, subject.organization, subject.key, subject.selection.pull_requests)?;
        let mut found = Vec::new();
        for listed in listing.scopes {
            let held = held(work, subject.id, listed.kind, &listed.name)?;
            // What is held already is read whatever is chosen.
            if held.is_none() && !subject.selection.selects(listed.kind, listed.name.as_str(), listed.main) {
                continue;
            }
            let scope_ref = if listed.main {
                ScopeRef::Main
            } else {
                ScopeRef::Named { kind: listed.kind, name: listed.name.clone() }
            };
            let mut look = Look { work, subject, connected: &connected, scope_ref, held, seen: Seen::default() };
            let (sonar_total, problem) = look.read(allowance)?;
            let open = held.map_or(Ok(0), |id| work.store.read(|view| lists::count_open(view, id)))?;
            if problem.is_none() {
                look.seen.found.close += open.saturating_sub(look.seen.met);
            }
            let (kind, name, main) = (listed.kind, listed.name, listed.main);
            found.push(Foreseen { kind, name, main, sonar_total, open, found: look.seen.found, problem });
        }
        Ok(Some(found))
    })
}

fn held(work: &Work, id: Option<ProjectId>, kind: ScopeKind, name: &ScopeName) -> Result<Option<ScopeId>, StoreError> {
    let Some(id) = id else { return Ok(None) };
    work.store.read(|view| {
        let Some(project) = catalogue::project(view, id)? else { return Ok(None) };
        catalogue::scope_id(view, id, &project, &ScopeRef::Named { kind, name: name.clone() })
    })
}

/// One scope being looked at.
struct Look<'a> {
    work: &'a Work,
    subject: &'a Subject<'a>,
    connected: &'a Connected,
    scope_ref: ScopeRef,
    held: Option<ScopeId>,
    seen: Seen,
}

#[derive(Default)]
struct Seen {
    found: Found,
    /// Hashes of keys: a row may be on two pages.
    keys: BTreeSet<u64>,
    /// Findings that are held, not closed, and were met.
    met: u64,
    /// Rows that are closed.
    closed: u64,
}

impl Look<'_> {
    /// Reads the scope as far as there are pages left. Sonar's count, and why not all of it was read.
    fn read(&mut self, allowance: &mut Allowance) -> Result<(Option<u64>, Option<String>), WorkError> {
        let Connected { client, dialect } = self.connected;
        let (organization, project) = (&self.subject.organization.key, self.subject.key);
        let (mut crawl, mut expected) = (Crawl::new(dialect.lists()), 0);
        while let Some(ask) = crawl.next() {
            allowance.go_on(self.work)?;
            if !allowance.take() {
                let counted = (crawl.pages() > 0).then_some(expected);
                return Ok((counted, Some(TOO_LARGE.to_owned())));
            }
            let page = client.list(*dialect, organization, project, &self.scope_ref, &ask)?;
            crawl::tell(&mut crawl, *dialect, &ask, &page);
            expected = expected.max(crawl.expected());
            self.take_in(page.findings)?;
        }
        // As an import counts: without those rows of the lists that are closed.
        let (counted, problem) = match crawl.finish() {
            Ok(snapshot) => (snapshot.held().saturating_sub(self.seen.closed), None),
            Err(problem) => (expected, Some(problem.to_string())),
        };
        Ok((Some(counted), problem))
    }

    fn take_in(&mut self, rows: Vec<Observed>) -> Result<(), WorkError> {
        let Seen { found, keys, met, closed } = &mut self.seen;
        let rows: Vec<Observed> = rows.into_iter().filter(|row| keys.insert(hash(&row.key))).collect();
        let stored = match self.held {
            Some(id) => self.work.store.read(|view| findings::with_keys(view, id, rows.iter().map(|row| &row.key)))?,
            None => rows.iter().map(|_| None).collect(),
        };
        for (row, stored) in rows.into_iter().zip(stored) {
            let was_open = stored.as_ref().is_some_and(|stored| !stored.observed.state.is_closed());
            *met += u64::from(was_open);
            // Sonar's lists of what is not closed hold some that are all the same.
            if row.state.is_closed() {
                *closed += 1;
                found.close += u64::from(was_open);
                continue;
            }
            match self.subject.choice.takes(row.kind, row.severity) {
                Ok(()) => found.passing += 1,
                Err(why) => *found.left_out.entry(why).or_default() += 1,
            }
            match stored {
                None => found.create += 1,
                Some(_) if !was_open => found.reopen += 1,
                Some(stored) if stored.observed == row => found.same += 1,
                Some(_) => found.update += 1,
            }
        }
        Ok(())
    }
}

const TOO_LARGE: &str = "it is too large to be looked at whole; an import reads all of it";

/// What is said of a project that was not asked for.
pub const NOT_REACHED: &str = "so much was read for the projects before it that it was not looked at; ask for it alone";
