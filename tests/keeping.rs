//! What is kept and for how long, at the level of the store: retention, the change log's followers, and a year that
//! passes in a moment.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hydrophone::domain::delivery::Payload;
use hydrophone::domain::finding::{Finding, Kind, Observed, Severity, SonarWords, State};
use hydrophone::domain::ids::{
    AssetId, EndpointId, FindingId, IssueKey, OrganizationKey, OrganizationRef, ProjectId, ProjectKey, ScopeId,
    ScopeKind, ScopeName, SourceName,
};
use hydrophone::domain::limits;
use hydrophone::domain::reconcile::Staged;
use hydrophone::domain::schedule::{Due, Reason, Task};
use hydrophone::domain::selection::Selection;
use hydrophone::domain::time::Timestamp;
use hydrophone::store::changes::{Cursor, Item, follow};
use hydrophone::store::findings::Reopened;
use hydrophone::store::records::{Project, Scope, SealedCrawl, SecretBytes};
use hydrophone::store::retention::{Keep, Lot};
use hydrophone::store::trend::DayNumber;
use hydrophone::store::{
    Accepted, Arrival, Reply, Store, StoreError, agenda, catalogue, crawls, deliveries, findings, hooks, lists,
    settings, trend,
};
use hydrophone::sys::bell::Bell;
use redb::{ReadableDatabase, ReadableTableMetadata};

const DAY: Duration = Duration::from_hours(24);
const START: Timestamp = Timestamp(1_800_000_000_000);

/// A disk that is never broken.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<Vec<u8>>>);

impl std::fmt::Debug for Disk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Disk")
    }
}

fn place(offset: u64, length: usize) -> std::ops::Range<usize> {
    let start = usize::try_from(offset).unwrap();
    start..start + length
}

impl redb::StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.copy_from_slice(&self.0.lock().unwrap()[place(offset, out.len())]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.lock().unwrap().resize(usize::try_from(length).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap()[place(offset, data.len())].copy_from_slice(data);
        Ok(())
    }
}

/// A store, and what time it is.
struct Home {
    disk: Disk,
    store: Store,
    now: Timestamp,
}

impl Home {
    fn new() -> Self {
        let disk = Disk::default();
        let storage = disk.clone();
        let store = Store::open_on(move || storage.clone(), Arc::new(Bell::default())).unwrap();
        Self { disk, store, now: START }
    }

    fn write<T: Send + 'static>(
        &self,
        batch: impl FnOnce(&mut hydrophone::store::Batch) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        self.store.write(batch).unwrap()
    }

    fn read<T>(&self, read: impl FnOnce(&hydrophone::store::Reader) -> Result<T, StoreError>) -> T {
        self.store.read(read).unwrap()
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now.plus(span);
    }

    fn project(&self, key: &str) -> ProjectId {
        let project = Project {
            organization: organization(),
            key: ProjectKey::parse(key).unwrap(),
            name: key.to_owned(),
            asset: AssetId(1),
            selection: Selection::default(),
            main: None,
            imported_at: self.now,
            error: None,
            moved: None,
            repository: None,
        };
        self.write(move |batch| catalogue::add_project(batch, &project))
    }

    fn scope(&self, project: ProjectId, kind: ScopeKind, name: &str) -> ScopeId {
        let scope = Scope::new(project, kind, ScopeName::parse(name).unwrap(), false);
        self.write(move |batch| catalogue::add_scope(batch, &scope))
    }

    fn branch(&self, key: &str) -> ScopeId {
        self.scope(self.project(key), ScopeKind::Branch, "main")
    }

    fn retire(&self, id: ScopeId) {
        let now = self.now;
        self.write(move |batch| {
            let scope = catalogue::scope(batch, id)?.unwrap();
            catalogue::put_scope(batch, id, &Scope { retired_at: Some(now), ..scope })
        });
    }

    /// A read that finds these rows.
    #[allow(clippy::needless_pass_by_value, reason = "callers make the rows for this")]
    fn crawl(&self, scope: ScopeId, rows: Vec<Observed>) {
        let now = self.now;
        for some in rows.chunks(500) {
            let staged: Vec<_> = some.iter().map(|row| Staged::Seen(Box::new(row.clone()))).collect();
            self.write(move |batch| crawls::stage(batch, scope, &staged));
        }
        let crawl = SealedCrawl {
            sonar_total: Some(rows.len() as u64),
            problem: None,
            again: false,
            began_at: now,
            analysed_at: None,
            gate: None,
            deliveries: Vec::new(),
            due: Due { at: now, reason: Reason::Import, attempts: 0, ticket: 1 },
            suspicion: None,
            odd_words: Vec::new(),
            recent: false,
            watermark: None,
        };
        self.write(move |batch| crawls::seal(batch, scope, &crawl));
        while self.write(move |batch| crawls::apply(batch, scope, now)) == crawls::Applied::Some {}
    }

    fn set(&self, setting: &'static str, value: &'static str) {
        self.write(move |batch| settings::set(batch, setting, Some(value)));
    }

    /// Deletes what has had its time, to the end; returns how many batches that took.
    fn prune(&self) -> usize {
        let now = self.now;
        let keep = self.read(Keep::read);
        let mut batches = 0;
        for lot in Lot::ALL {
            while self.read(|view| lot.is_due(view, &keep, now)) {
                let gone = self.store.delete::<_, StoreError>(move |batch| lot.prune(batch, &keep, now)).unwrap();
                assert!((1..=limits::DELETIONS_PER_COMMIT_MAX).contains(&gone), "{lot:?}: {gone}");
                // A day of the trend goes with each new one, whatever else there is.
                batches += usize::from(lot != Lot::Trend);
            }
        }
        while let Some(scope) = self.read(catalogue::discarded) {
            self.store.delete::<_, StoreError>(move |batch| findings::discard(batch, scope)).unwrap();
            batches += 1;
        }
        batches
    }

    fn keys(&self, scope: ScopeId) -> Vec<String> {
        let held = self.read(|view| findings::after(view, scope, None, 100_000));
        held.into_iter().map(|finding| finding.observed.key.to_string()).collect()
    }

    fn find(&self, scope: ScopeId, key: &str) -> Finding {
        let key = IssueKey::parse(key).unwrap();
        self.read(|view| findings::with_key(view, scope, &key)).unwrap()
    }

    fn total(&self, states: &[State]) -> u64 {
        let filter = lists::Filter { states: states.iter().copied().collect(), ..lists::Filter::default() };
        self.read(|view| lists::count(view, &filter))
    }

    fn deliver(&self, task: &str, size: usize) -> Accepted {
        let body = format!(
            r#"{{"taskId":"{task}","status":"SUCCESS","project":{{"key":"shop"}},"note":"{}"}}"#,
            "x".repeat(size)
        );
        let body = body.into_bytes();
        let arrival = Arrival {
            at: self.now,
            organization: organization(),
            payload: Payload::parse(&body, None),
            body,
            replay_of: None,
            healed: None,
            signed_by: None,
        };
        let (reply, answer) = mpsc::channel();
        self.store.accept(arrival, Box::new(Waiting(reply)));
        answer.recv().unwrap().unwrap()
    }

    /// Closes the store and counts the rows of its tables.
    fn rows(self) -> BTreeMap<String, u64> {
        use redb::TableHandle;
        self.store.close();
        let database = redb::Database::builder().create_with_backend(self.disk).unwrap();
        let view = database.begin_read().unwrap();
        let tables: Vec<_> = view.list_tables().unwrap().collect();
        let count = |table: redb::UntypedTableHandle| {
            let name = table.name().to_owned();
            (name, view.open_untyped_table(table).unwrap().len().unwrap())
        };
        tables.into_iter().map(count).collect()
    }
}

struct Waiting(mpsc::Sender<Result<Accepted, StoreError>>);

impl Reply for Waiting {
    fn is_wanted(&self) -> bool {
        true
    }

    fn send(self: Box<Self>, result: Result<Accepted, StoreError>) {
        let _ = self.0.send(result);
    }
}

fn organization() -> OrganizationRef {
    OrganizationRef { source: SourceName::parse("sonar").unwrap(), key: OrganizationKey::parse("acme").unwrap() }
}

fn row(key: &str, state: State) -> Observed {
    Observed {
        key: IssueKey::parse(key).unwrap(),
        kind: Kind::Vulnerability,
        rule: None,
        message: format!("Change this code, {key}."),
        severity: Severity::High,
        state,
        path: Some(format!("src/{key}.java")),
        line: Some(7),
        range: None,
        created_at: None,
        updated_at: None,
        closed_at: None,
        sonar: SonarWords::default(),
        flows: Vec::new(),
    }
}

fn open(keys: &[&str]) -> Vec<Observed> {
    keys.iter().map(|key| row(key, State::Open)).collect()
}

fn fixed(keys: &[&str]) -> Vec<Observed> {
    keys.iter().map(|key| row(key, State::Fixed)).collect()
}

/// Tables that hold findings or lead to them.
const OF_FINDINGS: [&str; 9] =
    ["paths", "findings", "finding_ids", "order", "scope_order", "closed", "words", "texts", "counts"];

#[test]
fn a_closed_finding_goes_after_400_days_with_all_that_leads_to_it() {
    let mut held = Home::new();
    let scope = held.branch("shop");
    held.crawl(scope, open(&["A", "B", "C"]));
    held.crawl(scope, fixed(&["A"]));
    held.pass(DAY);
    held.crawl(scope, fixed(&["B", "C"]));
    held.pass(DAY * 399);
    assert_eq!(held.prune(), 0, "a day less is not enough, and nothing is written");
    held.pass(Duration::from_secs(1));
    assert_eq!(held.prune(), 1);
    assert_eq!(held.keys(scope), ["B", "C"]);
    assert_eq!(held.total(&[State::Fixed]), 2);
    // What was closed may come back; then it stays.
    held.crawl(scope, open(&["B"]));
    held.pass(DAY * 10);
    held.prune();
    assert_eq!(held.keys(scope), ["B"]);
    held.crawl(scope, fixed(&["B"]));
    held.pass(DAY * 401);
    held.prune();
    let rows = held.rows();
    assert_eq!(OF_FINDINGS.map(|table| rows[table]), [0; 9], "{rows:?}");
}

#[test]
fn many_are_deleted_in_batches_that_stay_small() {
    let mut held = Home::new();
    held.set("keep-closed-days", "2");
    let scopes = [held.branch("shop"), held.branch("till")];
    let keys: Vec<String> = (0..700).map(|number| format!("K{number:04}")).collect();
    for scope in scopes {
        held.crawl(scope, keys.iter().map(|key| row(key, State::Open)).collect());
        held.crawl(scope, keys.iter().map(|key| row(key, State::Fixed)).collect());
    }
    held.pass(DAY * 3);
    assert!(held.prune() >= 3);
    assert_eq!(scopes.map(|scope| held.keys(scope).len()), [0, 0]);
    assert_eq!(held.total(State::ALL), 0);
}

#[test]
fn a_pull_request_that_is_not_listed_any_more_goes_after_30_days_and_a_branch_after_400() {
    let mut held = Home::new();
    let project = held.project("shop");
    let request = held.scope(project, ScopeKind::PullRequest, "7");
    let branch = held.scope(project, ScopeKind::Branch, "release/1");
    let stays = held.scope(project, ScopeKind::Branch, "main");
    for scope in [request, branch, stays] {
        held.crawl(scope, open(&["A", "B"]));
    }
    held.retire(request);
    held.retire(branch);
    held.write(move |batch| agenda::ask(batch, Task::Sync(request), Reason::Manual, START, 1));
    held.pass(DAY * 30);
    assert_eq!(held.prune(), 0);
    held.pass(Duration::from_secs(1));
    assert!(held.prune() > 0);
    let scopes = |held: &Home| {
        let scopes = held.read(|view| catalogue::scopes(view, project));
        scopes.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    assert_eq!(scopes(&held), [stays, branch], "by name");
    assert_eq!((held.keys(request).len(), held.total(&[State::Open])), (0, 4));
    assert_eq!(held.read(|view| agenda::of(view, Task::Sync(request))), None);
    held.pass(DAY * 370);
    assert!(held.prune() > 0);
    assert_eq!((scopes(&held), held.total(&[State::Open])), (vec![stays], 2));
}

#[test]
fn the_main_branch_is_never_deleted_by_time() {
    let mut held = Home::new();
    let project = held.project("shop");
    let scope = held.scope(project, ScopeKind::Branch, "main");
    held.write(move |batch| catalogue::set_main(batch, project, Some(&ScopeName::parse("main").unwrap())));
    held.crawl(scope, open(&["A"]));
    held.retire(scope);
    held.pass(DAY * 1000);
    assert_eq!(held.prune(), 0);
    assert_eq!(held.keys(scope), ["A"]);
}

#[test]
fn deliveries_are_kept_for_as_long_as_the_setting_says() {
    let mut held = Home::new();
    held.deliver("T1", 0);
    held.pass(DAY * 29);
    held.deliver("T2", 0);
    assert_eq!(held.prune(), 0);
    held.pass(DAY * 2);
    let tasks = |held: &Home| {
        let list = held.read(|view| deliveries::list(view, None, 10));
        list.into_iter().map(|(_, delivery, _)| delivery.task.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((held.prune(), tasks(&held)), (1, vec!["T2".to_owned()]));
    held.set("keep-delivery-days", "1");
    assert_eq!((held.prune(), tasks(&held)), (1, vec![]));
}

/// The oldest changes go first, from the log and from the histories of their findings, and what is left fits.
#[test]
fn the_change_log_is_kept_by_size() {
    let mut held = Home::new();
    held.set("keep-changes-mib", "1");
    let scope = held.branch("shop");
    let keys: Vec<String> = (0..1000).map(|number| format!("K{number:04}")).collect();
    let mut turn = 0;
    let overfull = |held: &Home| held.read(|view| hydrophone::store::changes::is_overfull(view, 1024 * 1024));
    while !overfull(&held) {
        let line = Some(turn + 1);
        turn += 1;
        held.pass(Duration::from_secs(1));
        held.crawl(scope, keys.iter().map(|key| Observed { line, ..row(key, State::Open) }).collect());
        assert!(turn < 100, "the log's size is not counted");
    }
    let newest = held.read(findings::last_change);
    assert_eq!(newest.0, u64::from(turn) * 1000);
    let batches = held.prune();
    assert!((1..=3).contains(&batches), "only as much as is needed, in {batches}");
    assert_eq!(held.prune(), 0);
    assert!(!overfull(&held));
    let history = held.read(|view| findings::changes_of(view, held.find(scope, "K0000").id));
    assert_eq!(history.len() as u64, u64::from(turn) - 1, "the oldest is gone");
    assert_eq!(held.read(findings::last_change), newest);
    let rows = held.rows();
    assert_eq!(rows["changes"], rows["finding_changes"]);
    assert!(rows["changes"] > 10_000 && rows["changes"] < newest.0, "{rows:?}");
}

/// What was closed under format 1 is found by its time, too, and the log's size is counted.
#[test]
fn a_database_of_the_first_format_gets_its_closed_findings_and_its_log_counted() {
    let mut held = Home::new();
    let scope = held.branch("shop");
    held.crawl(scope, open(&["A", "B"]));
    held.crawl(scope, fixed(&["A"]));
    held.store.close();
    {
        let database = redb::Database::builder().create_with_backend(held.disk.clone()).unwrap();
        let transaction = database.begin_write().unwrap();
        let table = |name: &'static str| redb::TableDefinition::<&[u8], &[u8]>::new(name);
        transaction.delete_table(table("closed")).unwrap();
        transaction.delete_table(table("paths")).unwrap();
        let mut format = vec![1, 1];
        format.extend(crc32fast::hash(&format).to_le_bytes());
        {
            let mut meta = transaction.open_table(table("meta")).unwrap();
            meta.insert(&b"schema"[..], format.as_slice()).unwrap();
            meta.remove(&b"change log bytes"[..]).unwrap().expect("it was counted");
        }
        transaction.commit().unwrap();
    }
    let storage = held.disk.clone();
    held.store = Store::open_on(move || storage.clone(), Arc::new(Bell::default())).unwrap();
    for (bytes, overfull) in [(3 * 24, true), (3 * 100, false)] {
        assert_eq!(held.read(|view| hydrophone::store::changes::is_overfull(view, bytes)), overfull, "{bytes}");
    }
    let by_path = |view: &hydrophone::store::Reader| {
        lists::page(view, &lists::Filter::default(), (lists::Order::Path, None), 10, &|_, _| None)
    };
    assert_eq!(held.read(by_path).findings.len(), 1, "and it has its order of paths");
    held.pass(DAY * 401);
    assert_eq!(held.prune(), 1);
    assert_eq!(held.keys(scope), ["B"]);
}

// --- Following the change log ---

/// Somebody elsewhere who keeps a copy.
#[derive(Default)]
struct Follower {
    cursor: Cursor,
    copy: BTreeMap<FindingId, (ScopeId, Finding)>,
    /// What it was told since it is told everything anew.
    fresh: Option<BTreeSet<FindingId>>,
    reseeded: u32,
}

impl Follower {
    /// Asks once; whether there was anything.
    fn ask(&mut self, held: &Home, most: usize) -> bool {
        // Its cursor goes out and comes back as text.
        let cursor = Cursor::from_text(&self.cursor.to_text()).unwrap();
        let followed = held.read(|view| follow(view, &cursor, most));
        assert!(followed.items.len() <= most);
        if followed.reseeded || cursor == Cursor::New {
            self.fresh = Some(BTreeSet::new());
            self.reseeded += u32::from(followed.reseeded);
        }
        let any = !followed.items.is_empty() || followed.next != cursor;
        for item in followed.items {
            match item {
                Item::Current(scope, finding) => self.take(scope, *finding),
                Item::Change(_, change) => match held.read(|view| findings::with_id(view, change.finding)) {
                    Some((scope, finding)) => self.take(scope, finding),
                    None => drop(self.copy.remove(&change.finding)),
                },
            }
        }
        if let (Cursor::At(_), Some(fresh)) = (&followed.next, &self.fresh) {
            self.copy.retain(|id, _| fresh.contains(id));
            self.fresh = None;
        }
        self.cursor = followed.next;
        any
    }

    fn take(&mut self, scope: ScopeId, finding: Finding) {
        if let Some(fresh) = &mut self.fresh {
            fresh.insert(finding.id);
        }
        self.copy.insert(finding.id, (scope, finding));
    }

    fn catch_up(&mut self, held: &Home, most: usize) {
        while self.ask(held, most) {}
    }
}

/// Everything that is held, by number.
fn inventory(held: &Home, scopes: &[ScopeId]) -> BTreeMap<FindingId, (ScopeId, Finding)> {
    let mut all = BTreeMap::new();
    for &scope in scopes {
        let findings = held.read(|view| findings::after(view, scope, None, 100_000));
        all.extend(findings.into_iter().map(|finding| (finding.id, (scope, finding))));
    }
    all
}

#[test]
fn whoever_follows_to_the_end_knows_what_is_held() {
    let mut held = Home::new();
    let scopes = [held.branch("shop"), held.branch("till")];
    held.crawl(scopes[0], open(&["A", "B", "C", "D", "E"]));
    let mut follower = Follower::default();
    // One at a time, while things change before and behind its place.
    assert!(follower.ask(&held, 2));
    held.pass(DAY);
    held.crawl(scopes[0], [fixed(&["A", "E"]), open(&["Z", "0"])].concat());
    held.crawl(scopes[1], open(&["A"]));
    follower.catch_up(&held, 1);
    assert_eq!(follower.copy, inventory(&held, &scopes));
    held.crawl(scopes[0], [open(&["A"]), fixed(&["Z"])].concat());
    follower.catch_up(&held, 100);
    assert_eq!(follower.copy, inventory(&held, &scopes));
    assert_eq!(follower.reseeded, 0);
    assert!(!follower.ask(&held, 100), "at the end there is nothing, and the cursor stays");
    let mut newcomer = Follower::default();
    newcomer.catch_up(&held, 3);
    assert_eq!((newcomer.copy, newcomer.cursor), (follower.copy, follower.cursor));
}

#[test]
fn a_follower_of_an_empty_box_is_at_the_end_at_once() {
    let held = Home::new();
    let mut follower = Follower::default();
    follower.catch_up(&held, 10);
    let scope = held.branch("shop");
    held.crawl(scope, open(&["A"]));
    follower.catch_up(&held, 10);
    assert_eq!((follower.copy.len(), follower.reseeded), (1, 0));
}

/// Retention deletes changes that a follower has not seen, findings that it knows, and a project is removed: all that
/// it misses is made up for by the present state.
#[test]
fn a_follower_that_was_overtaken_is_told_everything_anew() {
    let mut held = Home::new();
    held.set("keep-changes-mib", "1");
    held.set("keep-closed-days", "10");
    let removed = held.branch("till");
    let scope = held.branch("shop");
    let keys: Vec<String> = (0..1000).map(|number| format!("K{number:04}")).collect();
    held.crawl(removed, open(&["A", "B"]));
    held.crawl(scope, open(&["gone", "stays"]));
    let mut follower = Follower::default();
    follower.catch_up(&held, 500);
    // One that stops in the middle of the seed is overtaken, too.
    let mut seeding = Follower::default();
    seeding.ask(&held, 1);
    held.crawl(scope, fixed(&["gone"]));
    held.pass(DAY * 11);
    held.write(move |batch| {
        let scope = catalogue::scope(batch, removed)?.unwrap();
        catalogue::remove_project(batch, scope.project, START)
    });
    for line in 1..25 {
        held.crawl(scope, keys.iter().map(|key| Observed { line: Some(line), ..row(key, State::Open) }).collect());
    }
    assert!(held.prune() > 0);
    let expected = inventory(&held, &[scope]);
    assert_eq!(expected.len(), 1001);
    for mut late in [follower, seeding] {
        late.catch_up(&held, 300);
        assert_eq!((late.reseeded, late.copy.len()), (1, 1001));
        assert_eq!(late.copy, expected);
    }
}

/// A scope that was removed is deleted little by little; nobody is told of what is on its way out.
#[test]
fn a_new_follower_is_not_told_of_a_removed_project() {
    let held = Home::new();
    let (removed, scope) = (held.branch("till"), held.branch("shop"));
    held.crawl(removed, open(&["A", "B"]));
    held.crawl(scope, open(&["A"]));
    held.write(move |batch| {
        let scope = catalogue::scope(batch, removed)?.unwrap();
        catalogue::remove_project(batch, scope.project, START)
    });
    let mut follower = Follower::default();
    follower.catch_up(&held, 1);
    assert_eq!(follower.copy, inventory(&held, &[scope]));
}

// --- Reopening ---

#[test]
fn reopening_undoes_a_closing_until_the_next_read_closes_it_again() {
    let held = Home::new();
    let scope = held.branch("shop");
    held.crawl(scope, vec![row("A", State::Confirmed), row("B", State::Open)]);
    let before = held.find(scope, "A");
    let id = before.id;
    let reopen = || held.write(move |batch| findings::reopen(batch, id, START));
    assert_eq!(reopen(), Reopened::NotClosed(State::Confirmed));
    held.crawl(scope, fixed(&["A"]));
    assert_eq!(held.total(&[State::Fixed]), 1);
    assert_eq!(reopen(), Reopened::Done(State::Confirmed));
    assert_eq!(held.find(scope, "A"), before);
    assert_eq!((held.total(&[State::Fixed]), held.total(&[State::Confirmed]), held.total(&[])), (0, 1, 2));
    let page = held
        .read(|view| lists::page(view, &lists::Filter::default(), (lists::Order::Severity, None), 10, &|_, _| None));
    assert_eq!(page.findings.len(), 2, "it is where open ones are");
    let told = held.read(|view| findings::changes_of(view, id));
    let told: Vec<_> = told.into_iter().map(|(_, change)| (change.kind.as_str(), change.to)).collect();
    let expected = [("opened", State::Confirmed), ("fixed", State::Fixed), ("reopened", State::Confirmed)];
    assert_eq!(told, expected);
    held.crawl(scope, fixed(&["A"]));
    assert_eq!(held.find(scope, "A").observed.state, State::Fixed);
    // Nobody would close it again.
    held.retire(scope);
    assert_eq!(reopen(), Reopened::NotRead);
    held.write(move |batch| {
        let scope = catalogue::scope(batch, scope)?.unwrap();
        catalogue::remove_project(batch, scope.project, START)
    });
    assert_eq!(reopen(), Reopened::Missing);
    assert_eq!(held.write(|batch| findings::reopen(batch, FindingId(99), START)), Reopened::Missing);
}

// --- A year ---

/// What a box goes through in a year: every day its branches are analysed, findings come and are fixed, pull requests
/// come and go, and what has had its time is deleted. The file must not grow without what is in it growing. It may have
/// room: the database doubles it when it needs some, and its pages are two thirds full.
#[test]
fn over_a_year_the_file_grows_only_with_what_is_in_it() {
    const BRANCHES: usize = 4;
    const AT_ONCE: usize = 200;
    let mut held = Home::new();
    // Shorter than the defaults, so that a year holds several lives of everything.
    held.set("keep-closed-days", "60");
    held.set("keep-retired-days", "10");
    held.set("keep-delivery-days", "20");
    held.set("keep-changes-mib", "1");
    let project = held.project("shop");
    let branches: Vec<ScopeId> =
        (0..BRANCHES).map(|number| held.scope(project, ScopeKind::Branch, &format!("branch-{number}"))).collect();
    let key = |number: usize| format!("K{number:08}");
    let all = |from: usize| (from..from + AT_ONCE).map(|number| row(&key(number), State::Open)).collect::<Vec<_>>();
    for &branch in &branches {
        held.crawl(branch, all(0));
    }
    let mut requests: Vec<(ScopeId, u32)> = Vec::new();
    let (mut worst, mut settled, mut largest, mut compacted) = (0.0_f64, 0, 0, 0);
    for day in 1..=365_usize {
        held.pass(DAY);
        for number in 0..8 {
            held.deliver(&format!("T{day}-{number}"), 1000);
        }
        // Every day ten findings of each branch are fixed, and ten come.
        for &branch in &branches {
            let from = day * 10;
            let gone = (from - 10..from).map(|number| row(&key(number), State::Fixed));
            let come = (from + AT_ONCE - 10..from + AT_ONCE).map(|number| row(&key(number), State::Open));
            held.crawl(branch, gone.chain(come).collect());
        }
        if day % 7 == 0 {
            let request = held.scope(project, ScopeKind::PullRequest, &day.to_string());
            held.crawl(request, all(0));
            requests.push((request, 0));
        }
        for (request, age) in &mut requests {
            *age += 1;
            if *age == 14 {
                held.retire(*request);
            }
        }
        held.prune();
        let mut size = held.store.size().unwrap();
        if size.is_wasteful() {
            held.store.compact().unwrap();
            size = held.store.size().unwrap();
            compacted += 1;
        }
        #[allow(clippy::cast_precision_loss, reason = "to be printed")]
        let ratio = size.file as f64 / size.live as f64;
        if day <= 150 {
            settled = settled.max(size.file);
        } else {
            // All that is kept is there by now: from here on nothing may grow.
            worst = worst.max(ratio);
            largest = largest.max(size.file);
        }
        if day % 30 == 0 {
            let length = held.disk.0.lock().unwrap().len();
            println!(
                "day {day}: file {} KiB (disk {} KiB), live {} KiB, ratio {ratio:.2}",
                size.file >> 10,
                length >> 10,
                size.live >> 10
            );
        }
    }
    println!("worst ratio {worst:.2}; largest {} KiB; compacted {compacted} times", largest >> 10);
    // What the settings promise.
    let per_branch = AT_ONCE + 60 * 10;
    for &branch in &branches {
        let held = held.keys(branch).len();
        assert!((per_branch..=per_branch + 10).contains(&held), "{held}");
    }
    let listed = held.read(|view| catalogue::scopes(view, project)).len();
    assert!(listed <= BRANCHES + 4, "{listed} scopes");
    assert!(held.read(|view| deliveries::list(view, None, 1000)).len() <= 21 * 8);
    assert!(largest <= settled, "{largest} after {settled} bytes");
    assert!(worst < 3.0 && compacted == 0, "{worst:.2}, compacted {compacted} times");
    let rows = held.rows();
    assert!(rows["changes"] < 40_000, "{rows:?}");
}

#[test]
fn compacting_gives_back_what_a_removed_project_took() {
    let held = Home::new();
    let scope = held.branch("shop");
    let keys: Vec<String> = (0..8000).map(|number| format!("K{number:05}")).collect();
    held.crawl(scope, keys.iter().map(|key| row(key, State::Open)).collect());
    let full = held.store.size().unwrap();
    held.write(move |batch| {
        let scope = catalogue::scope(batch, scope)?.unwrap();
        catalogue::remove_project(batch, scope.project, START)
    });
    held.prune();
    let before = held.store.size().unwrap();
    assert!(before.is_wasteful(), "{before:?}");
    held.store.compact().unwrap();
    let after = held.store.size().unwrap();
    println!("full {full:?}, removed {before:?}, compacted {after:?}");
    assert!(after.file * 3 < before.file, "{before:?} {after:?}");
    // It works as before.
    held.deliver("T1", 0);
    assert_eq!(held.read(|view| deliveries::list(view, None, 10)).len(), 1);
}

#[test]
fn days_without_a_change_read_as_the_one_before_and_the_oldest_go() {
    let mut held = Home::new();
    let branch = held.branch("shop");
    let trend = |held: &Home, most: u32| {
        let today = DayNumber::of(held.now);
        let days = held.read(|view| trend::days(view, today, most));
        assert!(
            days.iter().map(|(day, _)| day.0).eq(today.0 + 1 - u32::try_from(days.len()).unwrap()..=today.0),
            "no day is left out"
        );
        let sum = |numbers: [u64; 5]| numbers.iter().sum::<u64>();
        days.into_iter().map(|(_, day)| [sum(day.open), sum(day.opened), sum(day.fixed)]).collect::<Vec<_>>()
    };
    assert_eq!(trend(&held, 30), [[0; 3]; 0], "there is nothing before the first");
    held.crawl(branch, open(&["A", "B", "C"]));
    assert_eq!(trend(&held, 30), [[3, 0, 0]]);
    held.pass(3 * DAY);
    assert_eq!(trend(&held, 30), [[3, 0, 0]; 4]);
    held.crawl(branch, [open(&["B", "C", "D", "E"]), fixed(&["A"])].concat());
    assert_eq!(trend(&held, 30), [[3, 0, 0], [3, 0, 0], [3, 0, 0], [4, 2, 1]]);
    held.pass(DAY);
    assert_eq!(trend(&held, 2), [[4, 2, 1], [4, 0, 0]]);
    assert_eq!(trend(&held, 1), [[4, 0, 0]], "what came before is known all the same");

    // What lists no longer show is not counted from then on, and was before.
    held.retire(branch);
    let now = held.now;
    held.write(move |batch| trend::recount(batch, now));
    assert_eq!(trend(&held, 2), [[4, 2, 1], [0; 3]]);

    held.pass(398 * DAY);
    let other = held.branch("desk");
    held.crawl(other, open(&["X"]));
    assert_eq!(trend(&held, 400).len(), 400);
    assert_eq!(trend(&held, 1), [[1, 0, 0]]);
    held.prune();
    assert_eq!(held.rows()["trend"], 3, "the first day is more than 400 days ago");
}

#[test]
fn a_page_that_no_index_leads_to_ends_early_and_says_where_to_go_on() {
    let held = Home::new();
    let branch = held.branch("shop");
    let mut rows: Vec<Observed> = (0..20_100).map(|number| row(&format!("K{number:05}"), State::Open)).collect();
    for row in &mut rows {
        row.created_at = Some(START);
    }
    // The oldest of them, so that it comes last.
    rows[7].created_at = Some(START.minus(DAY));
    rows[7].state = State::Confirmed;
    rows[7].path = Some("z".to_owned());
    held.crawl(branch, rows);
    let confirmed = lists::Filter { states: [State::Confirmed].into(), ..lists::Filter::default() };
    for order in [lists::Order::Severity, lists::Order::Newest, lists::Order::Path] {
        let page = |after: Option<&lists::At>| {
            held.read(|view| lists::page(view, &confirmed, (order, after), 10, &|_, _| None))
        };
        let (mut found, mut examined, mut pages, mut after) = (0, 0, 0, None);
        loop {
            // A slow machine ends a page even sooner.
            let page = page(after.as_ref());
            assert!(page.examined <= limits::LIST_EXAMINED_MAX && page.total == 1, "{order:?}: {page:?}");
            (found, examined, pages) = (found + page.findings.len(), examined + page.examined, pages + 1);
            assert!(page.next.is_none() || found == 0, "{order:?}: it is the last of them");
            let Some(next) = page.next else { break };
            after = Some(next);
        }
        assert_eq!((found, examined), (1, 20_100), "{order:?}: each is looked at once");
        assert!(pages > 1, "{order:?}");
    }
}

#[test]
fn former_secrets_of_webhooks_are_forgotten_at_the_end_of_their_overlap() {
    let mut home = Home::new();
    let secret = |text: &str| SecretBytes::new(text.as_bytes().to_vec());
    let (made, first) = (home.now, secret("the first secret of it"));
    let hook = home.write(move |batch| hooks::make(batch, &organization(), None, EndpointId([7; 16]), &first, made));
    let (of, second) = (hook.clone(), secret("the second secret of it"));
    home.write(move |batch| hooks::rotate(batch, &of, &second, made, made.plus(DAY)));
    let due = |home: &Home| {
        let (keep, now) = (home.read(Keep::read), home.now);
        home.read(|view| Lot::Secrets.is_due(view, &keep, now))
    };
    home.pass(DAY.saturating_sub(Duration::from_millis(1)));
    assert!(!due(&home));
    home.pass(Duration::from_millis(1));
    assert!(due(&home));
    let (keep, now) = (home.read(Keep::read), home.now);
    assert_eq!(home.write(move |batch| Lot::Secrets.prune(batch, &keep, now)), 1);
    assert!(!due(&home));
    let left = home.read(hooks::all).remove(0);
    let texts: Vec<_> = left.1.iter().map(|secret| secret.1.as_text().to_owned()).collect();
    assert_eq!((left.0.secrets.len(), texts), (1, vec!["the second secret of it".to_owned()]));
}
