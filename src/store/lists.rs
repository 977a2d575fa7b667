//! Lists of findings, a page at a time, and counts of them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use redb::ReadableTable;

use super::codec;
use super::findings::{ALL_SCOPES, Cell, PATH_KEY_BYTES_MAX, Place, finding_key, path_key};
use super::tables::{self, Key};
use super::words;
use super::{Reader, StoreError, View, scan};
use crate::domain::finding::{Finding, Kind, Severity, State};
use crate::domain::ids::{FindingId, IssueKey, RuleKey, ScopeId};
use crate::domain::limits::{COUNT_MAX, LIST_EXAMINED_MAX, READ_MAX};
use crate::domain::passing::Choice;
use crate::domain::signature::{hex, to_hex};

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

/// In which order a list is. What is not closed comes before what is, in each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Worst first, then newest first.
    #[default]
    Severity,
    /// Newest first.
    Newest,
    /// By path and line; what has no path comes last.
    Path,
}

/// A place in a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// In [`Order::Severity`].
    Severity(Place),
    /// In [`Order::Newest`].
    Newest(Newest),
    /// In [`Order::Path`].
    Path(Vec<u8>),
}

/// A place by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Newest {
    closed: bool,
    age: u64,
    severity: Severity,
    id: FindingId,
}

impl Newest {
    fn of(Place { closed, severity, age, id }: Place) -> Self {
        Self { closed, age, severity, id }
    }

    fn place(self) -> Place {
        let Self { closed, age, severity, id } = self;
        Place { closed, severity, age, id }
    }

    /// The last place of a severity that is not after this one.
    fn before(self, severity: Severity) -> Place {
        let id = match severity.cmp(&self.severity) {
            Ordering::Less => FindingId(u64::MAX),
            Ordering::Equal => self.id,
            Ordering::Greater => FindingId(0),
        };
        Place { severity, id, ..self.place() }
    }
}

impl At {
    fn of(order: Order, finding: &Finding) -> Self {
        match order {
            Order::Severity => Self::Severity(Place::of(finding)),
            Order::Newest => Self::Newest(Newest::of(Place::of(finding))),
            Order::Path => Self::Path(path_key(finding).0),
        }
    }

    /// The order that it is a place in.
    pub fn order(&self) -> Order {
        match self {
            Self::Severity(_) => Order::Severity,
            Self::Newest(_) => Order::Newest,
            Self::Path(_) => Order::Path,
        }
    }

    /// The place as text that a caller hands back to go on from it.
    pub fn to_cursor(&self) -> String {
        let hex = |place: Place| to_hex(&place.append(Key::new()).0);
        match self {
            Self::Severity(place) => hex(*place),
            Self::Newest(newest) => format!("n{}", hex(newest.place())),
            Self::Path(key) => format!("p{}", to_hex(key)),
        }
    }

    /// Reads a cursor back.
    pub fn from_cursor(text: &str) -> Option<Self> {
        let place = |text: &str| {
            let mut bytes = [0; 18];
            hex(text.as_bytes(), &mut bytes)?;
            Place::read(&bytes)
        };
        match text.split_at_checked(1)? {
            ("n", rest) => place(rest).map(|place| Self::Newest(Newest::of(place))),
            ("p", rest) if rest.len() <= 2 * PATH_KEY_BYTES_MAX => {
                let mut bytes = vec![0; rest.len() / 2];
                hex(rest.as_bytes(), &mut bytes)?;
                Some(Self::Path(bytes))
            }
            ("p", _) => None,
            _ => place(text).map(Self::Severity),
        }
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
    pub next: Option<At>,
    /// Findings that were looked through.
    pub examined: usize,
    /// Records on the way that are damaged: what they hold is not known, so that they are in no page.
    pub damaged: u64,
}

/// How a finding's title is looked up: the rule's name by the scope's source.
pub type Title<'f> = &'f dyn Fn(ScopeId, &Finding) -> Option<String>;

/// A page of findings. `after` is the former page's end. Ends early, with a place to go on from, rather than look
/// through more than `limits::LIST_EXAMINED_MAX` or read for longer than `limits::READ_MAX`.
pub fn page(
    view: &Reader,
    filter: &Filter,
    (order, after): (Order, Option<&At>),
    most: usize,
    title: Title,
) -> Result<Page, StoreError> {
    let mut found = match by_words(view, filter)? {
        Some(candidates) => from_candidates(view, filter, (order, after), most, candidates, title)?,
        None => walk(view, filter, (order, after), most, title)?,
    };
    (found.total, found.total_exact) = match (found.total_exact, filter.words.is_empty()) {
        (true, _) => (found.total, true),
        (false, true) => (count(view, filter)?, true),
        (false, false) => count_words(view, filter, title)?,
    };
    Ok(found)
}

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
    (order, after): (Order, Option<&At>),
    most: usize,
    mut candidates: Vec<(ScopeId, Finding)>,
    title: Title,
) -> Result<Page, StoreError> {
    let examined = candidates.len();
    candidates
        .retain(|(scope, finding)| filter.is_of(*scope) && filter.has(*scope, finding, || title(*scope, finding)));
    let mut held = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        if super::has(view, tables::SCOPES, &Key::new().u32(candidate.0.0))? {
            held.push(candidate);
        }
    }
    held.sort_by_cached_key(|(_, finding)| At::of(order, finding));
    let total = held.len() as u64;
    let mut rest = held.into_iter().filter(|(_, finding)| after.is_none_or(|after| At::of(order, finding) > *after));
    let findings: Vec<_> = rest.by_ref().take(most).collect();
    let next = rest.next().and(findings.last()).map(|(_, finding)| At::of(order, finding));
    Ok(Page { findings, total, total_exact: true, next, examined, damaged: 0 })
}

/// Goes through the order until the page is full, enough was looked through or time is up.
fn walk(
    view: &Reader,
    filter: &Filter,
    (order, after): (Order, Option<&At>),
    most: usize,
    title: Title,
) -> Result<Page, StoreError> {
    let began = Instant::now();
    let (mut findings, mut next, mut examined) = (Vec::new(), None, 0);
    let mut last = after.cloned();
    let damaged = each_place(view, filter, (order, after), &mut |at, scope, finding| {
        // A page that took too long to begin gets on by one finding all the same.
        let is_late = examined > 0 && began.elapsed() >= READ_MAX;
        if findings.len() >= most || examined >= LIST_EXAMINED_MAX || is_late {
            next = last.take();
            return false;
        }
        last = Some(at);
        examined += 1;
        if let Some(finding) = finding
            && filter.has(scope, &finding, || title(scope, &finding))
        {
            findings.push((scope, finding));
        }
        true
    })?;
    Ok(Page { findings, total: 0, total_exact: false, next, examined, damaged })
}

/// Takes a place of a list and what is there: nothing where the filter's scopes leave it out. Says whether to go on.
type Each<'e> = &'e mut dyn FnMut(At, ScopeId, Option<Finding>) -> bool;

/// Feeds the findings of a filter's scopes in order; the filter's other parts are for the caller to check. Tells how
/// many records on the way are damaged.
fn each_place(
    view: &Reader,
    filter: &Filter,
    (order, after): (Order, Option<&At>),
    each: Each,
) -> Result<u64, StoreError> {
    let (findings, scopes) = (view.rows(tables::FINDINGS)?, view.rows(tables::SCOPES)?);
    let reading = Reading { findings, scopes, filter, is_damaged: false.into(), damaged: 0.into() };
    match (order, after) {
        (Order::Severity, Some(At::Severity(after))) => by_severity(view, &reading, Some(*after), each),
        (Order::Severity, _) => by_severity(view, &reading, None, each),
        (Order::Newest, Some(At::Newest(after))) => by_age(view, &reading, Some(*after), each),
        (Order::Newest, _) => by_age(view, &reading, None, each),
        (Order::Path, Some(At::Path(after))) => by_path(view, &reading, Some(after), each),
        (Order::Path, _) => by_path(view, &reading, None, each),
    }?;
    Ok(reading.damaged.get())
}

type Table = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

/// What every order needs.
struct Reading<'f> {
    findings: Table,
    scopes: Table,
    filter: &'f Filter,
    /// Whether the record that was looked at last is damaged, and how many before it were.
    is_damaged: std::cell::Cell<bool>,
    damaged: std::cell::Cell<u64>,
}

impl Reading<'_> {
    /// The finding at a key, if lists show its scope.
    fn get(&self, scope: ScopeId, key: &[u8]) -> Result<Option<Finding>, StoreError> {
        // A scope that was removed is deleted little by little; until then its findings are not shown.
        if !self.filter.is_of(scope)
            || ReadableTable::get(&self.scopes, Key::new().u32(scope.0).0.as_slice())?.is_none()
        {
            return Ok(None);
        }
        // One damaged finding must not hide the others.
        let Some(value) = ReadableTable::get(&self.findings, key)? else { return Ok(None) };
        let finding = codec::open(key, value.value()).ok();
        self.is_damaged.set(finding.is_none());
        Ok(finding)
    }

    /// Hands a place on; false if there is enough.
    fn tell(&self, each: Each, at: At, scope: ScopeId, finding: Option<Finding>) -> bool {
        let is_damaged = self.is_damaged.take();
        let goes_on = each(at, scope, finding);
        // Where a page ends before it, it is the next one's.
        self.damaged.set(self.damaged.get() + u64::from(is_damaged && goes_on));
        goes_on
    }

    /// Scopes that are few enough to be merged from orders of their own.
    fn few(&self) -> Option<&BTreeSet<ScopeId>> {
        self.filter.scopes.as_ref().filter(|scopes| scopes.len() <= MERGED_SCOPES_MAX)
    }

    /// Feeds merged streams; false if there is enough.
    fn feed(&self, mut entries: Merged, order: Order, each: Each) -> Result<bool, StoreError> {
        while let Some((place, scope, key)) = entries.next()? {
            let at = match order {
                Order::Newest => At::Newest(Newest::of(place)),
                _ => At::Severity(place),
            };
            // An entry that a damaged finding left behind leads to its successor, which has a place of its own.
            let finding = self.get(scope, &key.0)?.filter(|finding| Place::of(finding) == place);
            if !self.tell(each, at, scope, finding) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn by_severity(view: &Reader, reading: &Reading, after: Option<Place>, each: Each) -> Result<(), StoreError> {
    for closed in [false, true] {
        for &severity in Severity::ALL {
            if !reading.filter.wants(closed, severity)
                || after.is_some_and(|after| (after.closed, after.severity) > (closed, severity))
            {
                continue;
            }
            let mut entries = Merged { streams: Vec::new(), by_age: false };
            entries.add(view, reading.few(), (closed, severity), after)?;
            if !reading.feed(entries, Order::Severity, each)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Each severity is in the order of age already.
fn by_age(view: &Reader, reading: &Reading, after: Option<Newest>, each: Each) -> Result<(), StoreError> {
    for closed in [false, true] {
        if after.is_some_and(|after| after.closed && !closed) {
            continue;
        }
        let after = after.filter(|after| after.closed == closed);
        let mut entries = Merged { streams: Vec::new(), by_age: true };
        for &severity in Severity::ALL.iter().filter(|&&severity| reading.filter.wants(closed, severity)) {
            entries.add(view, reading.few(), (closed, severity), after.map(|after| after.before(severity)))?;
        }
        if !reading.feed(entries, Order::Newest, each)? {
            return Ok(());
        }
    }
    Ok(())
}

fn by_path(view: &Reader, reading: &Reading, after: Option<&Vec<u8>>, each: Each) -> Result<(), StoreError> {
    let (paths, ids) = (view.rows(tables::PATHS)?, view.rows(tables::FINDING_IDS)?);
    for closed in [false, true] {
        if !Severity::ALL.iter().any(|&severity| reading.filter.wants(closed, severity)) {
            continue;
        }
        let part = Key::new().byte(u8::from(closed)).0;
        let end = [u8::from(closed) + 1];
        let start = match after {
            Some(after) if *after > part => Bound::Excluded(after.as_slice()),
            _ => Bound::Included(part.as_slice()),
        };
        if matches!(start, Bound::Excluded(start) if start >= &end[..]) {
            continue;
        }
        for row in paths.range::<&[u8]>((start, Bound::Excluded(&end[..])))? {
            let (key, value) = row?;
            let at = At::Path(key.value().to_vec());
            let (Some(scope), Some(cell)) = (tables::u32_at(value.value(), 0), Cell::read(value.value())) else {
                continue;
            };
            let id = key.value().last_chunk::<8>();
            // What the row says already need not be read.
            let found = match id.filter(|_| reading.filter.has_cell(cell)) {
                Some(id) => match ReadableTable::get(&ids, id.as_slice())? {
                    Some(of_finding) => reading.get(ScopeId(scope), of_finding.value())?,
                    None => None,
                },
                None => None,
            };
            let found = found.filter(|finding| path_key(finding).0 == key.value());
            if !reading.tell(each, at, ScopeId(scope), found) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Up to so many scopes are merged from their own orders; for more, the order of all is gone through.
const MERGED_SCOPES_MAX: usize = 64;

/// Parts of the order, from one table or from the orders of several scopes, merged.
struct Merged {
    streams: Vec<Stream>,
    by_age: bool,
}

struct Stream {
    scope: Option<ScopeId>,
    range: redb::Range<'static, &'static [u8], &'static [u8]>,
    head: Option<(Place, ScopeId, Key)>,
}

impl Merged {
    /// Adds what is of one severity.
    fn add(
        &mut self,
        view: &Reader,
        scopes: Option<&BTreeSet<ScopeId>>,
        (closed, severity): (bool, Severity),
        after: Option<Place>,
    ) -> Result<(), StoreError> {
        match scopes {
            None => self.streams.push(Stream::open(view, None, closed, severity, after)?),
            Some(scopes) => {
                for &scope in scopes {
                    self.streams.push(Stream::open(view, Some(scope), closed, severity, after)?);
                }
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(Place, ScopeId, Key)>, StoreError> {
        let first = self.streams.iter_mut().filter(|stream| stream.head.is_some());
        let rank = |place: Place| if self.by_age { (place.age, Some(place.severity), place) } else { (0, None, place) };
        let Some(stream) = first.min_by_key(|stream| stream.head.as_ref().map(|head| rank(head.0))) else {
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
    each_place(view, filter, (Order::Severity, None), &mut |_, scope, finding| {
        if began.elapsed() >= COUNT_MAX {
            exact = false;
            return false;
        }
        let found = finding.is_some_and(|finding| filter.has(scope, &finding, || title(scope, &finding)));
        total += u64::from(found);
        true
    })?;
    Ok((total, exact))
}
