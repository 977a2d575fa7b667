//! Lists of findings, a page at a time, and counts of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use redb::ReadableTable;

use super::codec;
use super::findings::{ALL_SCOPES, Cell, Place, finding_key};
use super::tables::{self, Key};
use super::words;
use super::{Reader, StoreError, View, scan};
use crate::domain::finding::{Finding, Kind, Severity, State};
use crate::domain::ids::{IssueKey, RuleKey, ScopeId};
use crate::domain::limits::{COUNT_MAX, READ_MAX};
use crate::domain::passing::Choice;

/// Which findings.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of these scopes; of all if absent.
    pub scopes: Option<BTreeSet<ScopeId>>,
    /// Not of these scopes.
    pub hidden: BTreeSet<ScopeId>,
    /// Of these scopes only what passes.
    pub passing: BTreeMap<ScopeId, Arc<Choice>>,
    /// Of these severities; of all if empty.
    pub severities: BTreeSet<Severity>,
    /// In these states; those that are not closed if empty.
    pub states: BTreeSet<State>,
    /// Of this kind.
    pub kind: Option<Kind>,
    /// Beginnings of words, in lower case, all of which rule, title, message or path must have.
    pub words: Vec<String>,
}

impl Filter {
    /// Takes a search text apart.
    pub fn search(&mut self, text: &str) {
        self.words = words::words(text).collect();
    }

    /// Leaves out what is of these scopes.
    pub fn hide(&mut self, hidden: BTreeSet<ScopeId>) {
        match &mut self.scopes {
            Some(scopes) => scopes.retain(|scope| !hidden.contains(scope)),
            None => self.hidden = hidden,
        }
    }

    fn is_of(&self, scope: ScopeId) -> bool {
        self.scopes.as_ref().is_none_or(|scopes| scopes.contains(&scope)) && !self.hidden.contains(&scope)
    }

    fn has_cell(&self, cell: Cell) -> bool {
        let state = if self.states.is_empty() { !cell.state.is_closed() } else { self.states.contains(&cell.state) };
        state
            && (self.severities.is_empty() || self.severities.contains(&cell.severity))
            && self.kind.is_none_or(|kind| kind == cell.kind)
    }

    fn passes(&self, scope: ScopeId, cell: Cell) -> bool {
        self.passing.get(&scope).is_none_or(|choice| choice.takes(cell.kind, cell.severity).is_ok())
    }

    fn has(&self, scope: ScopeId, finding: &Finding, title: impl FnOnce() -> Option<String>) -> bool {
        let observed = &finding.observed;
        let cell = Cell { kind: observed.kind, state: observed.state, severity: observed.severity };
        self.has_cell(cell)
            && self.passes(scope, cell)
            && (self.words.is_empty() || self.has_words(finding, title().as_deref()))
    }

    fn has_words(&self, finding: &Finding, title: Option<&str>) -> bool {
        let observed = &finding.observed;
        let rule = observed.rule.as_ref().map(RuleKey::as_str);
        let texts = [rule, title, Some(observed.message.as_str()), observed.path.as_deref()];
        let held: Vec<String> = texts.into_iter().flatten().flat_map(words::words).collect();
        self.words.iter().all(|wanted| held.iter().any(|word| word.starts_with(wanted)))
    }

    /// Which parts of the order can hold what is asked for.
    fn wants(&self, closed: bool, severity: Severity) -> bool {
        let closed_too =
            if self.states.is_empty() { !closed } else { self.states.iter().any(|state| state.is_closed() == closed) };
        closed_too && (self.severities.is_empty() || self.severities.contains(&severity))
    }
}

/// A page of a list.
#[derive(Debug)]
pub struct Page {
    /// The findings, each with its scope.
    pub findings: Vec<(ScopeId, Finding)>,
    /// How many match.
    pub total: u64,
    /// Whether that is exact.
    pub total_exact: bool,
    /// Where the next page begins.
    pub next: Option<Place>,
}

/// How a finding's title is looked up: the rule's name by the scope's source.
pub type Title<'f> = &'f dyn Fn(ScopeId, &Finding) -> Option<String>;

/// A page of findings: not closed before closed, worst first, newest first. `after` is the former page's end.
/// Ends early, with a place to go on from, rather than read for longer than `limits::READ_MAX`.
pub fn page(
    view: &Reader,
    filter: &Filter,
    after: Option<Place>,
    most: usize,
    title: Title,
) -> Result<Page, StoreError> {
    let began = Instant::now();
    let found = match by_words(view, filter)? {
        Some(candidates) => from_candidates(view, filter, after, most, candidates, title)?,
        None => walk(view, filter, after, most, title, began)?,
    };
    let (findings, next, all) = found;
    let (total, total_exact) = match (all, filter.words.is_empty()) {
        (Some(all), _) => (all, true),
        (None, true) => (count(view, filter)?, true),
        (None, false) => count_words(view, filter, title)?,
    };
    Ok(Page { findings, total, total_exact, next })
}

/// The findings of a page, where the next begins, and how many match in all where that came with it.
type Found = (Vec<(ScopeId, Finding)>, Option<Place>, Option<u64>);

/// Above this many findings the index of words is no help: a walk finds enough of them soon.
const CANDIDATES_MAX: usize = 2000;

/// Findings that have the rarest of the words, if the index makes them few.
fn by_words(view: &Reader, filter: &Filter) -> Result<Option<Vec<(ScopeId, Finding)>>, StoreError> {
    let mut best: Option<Vec<_>> = None;
    for word in &filter.words {
        if let Some(ids) = words::findings(view, word, CANDIDATES_MAX)?
            && best.as_ref().is_none_or(|best| ids.len() < best.len())
        {
            best = Some(ids);
        }
    }
    let Some(ids) = best else { return Ok(None) };
    let mut candidates = Vec::with_capacity(ids.len());
    for id in ids {
        candidates.extend(super::findings::with_id(view, id)?);
    }
    Ok(Some(candidates))
}

fn from_candidates(
    view: &Reader,
    filter: &Filter,
    after: Option<Place>,
    most: usize,
    mut candidates: Vec<(ScopeId, Finding)>,
    title: Title,
) -> Result<Found, StoreError> {
    candidates
        .retain(|(scope, finding)| filter.is_of(*scope) && filter.has(*scope, finding, || title(*scope, finding)));
    let mut held = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        if super::has(view, tables::SCOPES, &Key::new().u32(candidate.0.0))? {
            held.push(candidate);
        }
    }
    held.sort_by_key(|(_, finding)| Place::of(finding));
    let all = held.len() as u64;
    let mut rest = held.into_iter().filter(|(_, finding)| after.is_none_or(|after| Place::of(finding) > after));
    let findings: Vec<_> = rest.by_ref().take(most).collect();
    let next = rest.next().and(findings.last()).map(|(_, finding)| Place::of(finding));
    Ok((findings, next, Some(all)))
}

/// Goes through the order until the page is full or time is up.
fn walk(
    view: &Reader,
    filter: &Filter,
    after: Option<Place>,
    most: usize,
    title: Title,
    began: Instant,
) -> Result<Found, StoreError> {
    let mut findings = Vec::new();
    let mut next = None;
    let mut last = after;
    each_place(view, filter, after, &mut |place, scope, finding| {
        if findings.len() >= most || began.elapsed() >= READ_MAX {
            next = last;
            return false;
        }
        last = Some(place);
        if filter.has(scope, &finding, || title(scope, &finding)) {
            findings.push((scope, finding));
        }
        true
    })?;
    Ok((findings, next, None))
}

/// Feeds the findings of a filter's scopes in order; the filter's other parts are for the caller to check.
fn each_place(
    view: &Reader,
    filter: &Filter,
    after: Option<Place>,
    each: &mut dyn FnMut(Place, ScopeId, Finding) -> bool,
) -> Result<(), StoreError> {
    let findings = view.rows(tables::FINDINGS)?;
    let scopes = view.rows(tables::SCOPES)?;
    let few = filter.scopes.as_ref().filter(|scopes| scopes.len() <= MERGED_SCOPES_MAX);
    for closed in [false, true] {
        for &severity in Severity::ALL {
            if !filter.wants(closed, severity)
                || after.is_some_and(|after| (after.closed, after.severity) > (closed, severity))
            {
                continue;
            }
            let mut entries = Merged::open(view, few, closed, severity, after)?;
            while let Some((place, scope, key)) = entries.next()? {
                // A scope that was removed is deleted little by little; until then its findings are not shown.
                if !filter.is_of(scope) || ReadableTable::get(&scopes, Key::new().u32(scope.0).0.as_slice())?.is_none()
                {
                    continue;
                }
                let Some(value) = ReadableTable::get(&findings, key.0.as_slice())? else { continue };
                // One damaged finding must not hide the others.
                let Ok(finding) = codec::open(&key.0, value.value()) else { continue };
                // An entry that a damaged finding left behind leads to its successor, which has a place of its own.
                if Place::of(&finding) != place {
                    continue;
                }
                if !each(place, scope, finding) {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Up to so many scopes are merged from their own orders; for more, the order of all is gone through.
const MERGED_SCOPES_MAX: usize = 64;

/// One part of the order, from one table or merged from the orders of several scopes.
struct Merged {
    streams: Vec<Stream>,
}

struct Stream {
    scope: Option<ScopeId>,
    range: redb::Range<'static, &'static [u8], &'static [u8]>,
    head: Option<(Place, ScopeId, Key)>,
}

impl Merged {
    fn open(
        view: &Reader,
        scopes: Option<&BTreeSet<ScopeId>>,
        closed: bool,
        severity: Severity,
        after: Option<Place>,
    ) -> Result<Self, StoreError> {
        let streams = match scopes {
            None => vec![Stream::open(view, None, closed, severity, after)?],
            Some(scopes) => scopes
                .iter()
                .map(|&scope| Stream::open(view, Some(scope), closed, severity, after))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self { streams })
    }

    fn next(&mut self) -> Result<Option<(Place, ScopeId, Key)>, StoreError> {
        let first = self.streams.iter_mut().filter(|stream| stream.head.is_some());
        let Some(stream) = first.min_by_key(|stream| stream.head.as_ref().map(|head| head.0)) else {
            return Ok(None);
        };
        let head = stream.head.take();
        stream.advance()?;
        Ok(head)
    }
}

impl Stream {
    fn open(
        view: &Reader,
        scope: Option<ScopeId>,
        closed: bool,
        severity: Severity,
        after: Option<Place>,
    ) -> Result<Self, StoreError> {
        let prefix = || match scope {
            Some(scope) => Key::new().u32(scope.0),
            None => Key::new(),
        };
        let part = prefix().byte(u8::from(closed)).byte(severity as u8);
        let start = after.map(|after| after.append(prefix())).filter(|start| *start > part);
        let end = part.end();
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (
            start.as_ref().map_or(Bound::Included(part.0.as_slice()), |start| Bound::Excluded(start.0.as_slice())),
            end.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
        );
        let table = if scope.is_some() { tables::SCOPE_ORDER } else { tables::ORDER };
        let mut stream = Self { scope, range: view.rows(table)?.range::<&[u8]>(bounds)?, head: None };
        stream.advance()?;
        Ok(stream)
    }

    fn advance(&mut self) -> Result<(), StoreError> {
        self.head = None;
        for row in self.range.by_ref() {
            let (key, value) = row?;
            let at = if self.scope.is_some() { 4 } else { 0 };
            let Some(place) = key.value().get(at..).and_then(Place::read) else { continue };
            let found = match self.scope {
                Some(scope) => std::str::from_utf8(value.value())
                    .ok()
                    .and_then(|key| IssueKey::parse(key).ok())
                    .map(|key| (scope, finding_key(scope, &key))),
                None => tables::u32_at(value.value(), 0).map(|scope| (ScopeId(scope), Key::new().tail(value.value()))),
            };
            if let Some((scope, key)) = found {
                self.head = Some((place, scope, key));
                break;
            }
        }
        Ok(())
    }
}

/// How many match a filter without words: exact, from the counts.
pub fn count(view: &impl View, filter: &Filter) -> Result<u64, StoreError> {
    Ok(count_by_severity(view, filter)?.values().sum())
}

/// The same by severity.
pub fn count_by_severity(view: &impl View, filter: &Filter) -> Result<BTreeMap<Severity, u64>, StoreError> {
    let mut sums: BTreeMap<Severity, u64> = BTreeMap::new();
    match &filter.scopes {
        None => {
            each_cell(view, ALL_SCOPES, |cell, count| {
                if filter.has_cell(cell) {
                    *sums.entry(cell.severity).or_default() += count;
                }
            })?;
            let apart: BTreeSet<ScopeId> = filter.hidden.iter().chain(filter.passing.keys()).copied().collect();
            for scope in apart {
                each_cell(view, scope, |cell, count| {
                    let is_out = filter.hidden.contains(&scope) || !filter.passes(scope, cell);
                    if filter.has_cell(cell) && is_out {
                        let sum = sums.entry(cell.severity).or_default();
                        *sum = sum.saturating_sub(count);
                    }
                })?;
            }
        }
        Some(scopes) => {
            for &scope in scopes.iter().filter(|&&scope| filter.is_of(scope)) {
                each_cell(view, scope, |cell, count| {
                    if filter.has_cell(cell) && filter.passes(scope, cell) {
                        *sums.entry(cell.severity).or_default() += count;
                    }
                })?;
            }
        }
    }
    Ok(sums)
}

fn each_cell(view: &impl View, scope: ScopeId, mut each: impl FnMut(Cell, u64)) -> Result<(), StoreError> {
    scan::<u64>(view, tables::COUNTS, &Key::new().u32(scope.0), |key, count| {
        if let Some(cell) = Cell::read(key) {
            each(cell, count);
        }
        true
    })
}

/// How many findings of one scope there are of each kind and state.
pub fn by_state(view: &impl View, scope: ScopeId) -> Result<BTreeMap<(Kind, State), u64>, StoreError> {
    let mut found = BTreeMap::new();
    each_cell(view, scope, |cell, count| *found.entry((cell.kind, cell.state)).or_default() += count)?;
    Ok(found)
}

/// Findings of one scope that are not closed.
pub fn count_open(view: &impl View, scope: ScopeId) -> Result<u64, StoreError> {
    count(view, &Filter { scopes: Some(BTreeSet::from([scope])), ..Filter::default() })
}

fn count_words(view: &Reader, filter: &Filter, title: Title) -> Result<(u64, bool), StoreError> {
    let began = Instant::now();
    let (mut total, mut exact) = (0, true);
    each_place(view, filter, None, &mut |_, scope, finding| {
        if began.elapsed() >= COUNT_MAX {
            exact = false;
            return false;
        }
        total += u64::from(filter.has(scope, &finding, || title(scope, &finding)));
        true
    })?;
    Ok((total, exact))
}

impl Place {
    /// The place as text that a caller hands back to go on from it.
    pub fn to_cursor(self) -> String {
        crate::domain::signature::to_hex(&self.append(Key::new()).0)
    }

    /// Reads a cursor back.
    pub fn from_cursor(text: &str) -> Option<Self> {
        let mut bytes = [0; 18];
        crate::domain::signature::hex(text.as_bytes(), &mut bytes)?;
        Self::read(&bytes)
    }
}
