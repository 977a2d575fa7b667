//! The store on a disk of the test's own: what is answered is synced, and a failed write is got over.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unreachable_pub, reason = "a test program exports nothing")]

#[path = "support/damage.rs"]
mod damage;
#[path = "support/disk.rs"]
mod disk;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use hydrophone::domain::delivery::{Outcome, Payload};
use hydrophone::domain::finding::{Kind, Observed, Severity, SonarWords, State};
use hydrophone::domain::ids::{
    AssetId, AssetName, DeliveryId, EndpointId, IssueKey, OrganizationKey, OrganizationRef, ProjectId, ProjectKey,
    ScopeId, ScopeKind, ScopeName, SourceName,
};
use hydrophone::domain::limits;
use hydrophone::domain::reconcile::Staged;
use hydrophone::domain::schedule::{self, Due, Next, Reason, Task};
use hydrophone::domain::selection::Selection;
use hydrophone::domain::time::Timestamp;
use hydrophone::store::records::{Asset, Delivery, Project, Scope, SealedCrawl, SecretBytes};
use hydrophone::store::{
    Accepted, Arrival, Reply, Store, StoreError, agenda, catalogue, crawls, deliveries, findings, hooks, lists,
    settings,
};
use hydrophone::sys::bell::Bell;

use crate::disk::{Disk, SOON};

fn open(disk: &Disk) -> Store {
    let disk = disk.clone();
    Store::open_on(move || disk.clone(), Arc::new(Bell::default())).unwrap()
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

/// A reply that nobody waits for any more.
struct Unwanted(mpsc::Sender<()>);

impl Reply for Unwanted {
    fn is_wanted(&self) -> bool {
        false
    }

    fn send(self: Box<Self>, _: Result<Accepted, StoreError>) {
        let _ = self.0.send(());
    }
}

fn arrival(task: &str) -> Arrival {
    let body = format!(r#"{{"taskId":"{task}","status":"SUCCESS","project":{{"key":"shop"}}}}"#).into_bytes();
    Arrival {
        at: Timestamp(1_700_000_000_000),
        organization: organization("acme"),
        payload: Payload::parse(&body, None),
        body,
        replay_of: None,
        healed: None,
        signed_by: None,
    }
}

fn organization(key: &str) -> OrganizationRef {
    OrganizationRef { source: SourceName::parse("sonar").unwrap(), key: OrganizationKey::parse(key).unwrap() }
}

/// Hands a delivery to the store; the answer comes when it comes.
fn hand_in(store: &Store, task: &str) -> Receiver<Result<Accepted, StoreError>> {
    let (reply, answer) = mpsc::channel();
    store.accept(arrival(task), Box::new(Waiting(reply)));
    answer
}

/// Hands a delivery to the store and waits for the answer.
fn accept(store: &Store, task: &str) -> Result<Accepted, StoreError> {
    hand_in(store, task).recv_timeout(SOON).expect("every delivery is answered")
}

/// The tasks of all stored deliveries, oldest first.
fn stored(store: &Store) -> Result<Vec<String>, StoreError> {
    store.read(|view| {
        let list = deliveries::list(view, None, 10_000)?;
        Ok(list.into_iter().rev().map(|(_, Delivery { task, .. }, _)| task.unwrap()).collect())
    })
}

/// Asks until there is an answer.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + SOON;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_delivery_is_answered_only_after_the_sync_of_its_commit() {
    let disk = Disk::default();
    let store = open(&disk);
    disk.edit(|platters| platters.held = true);
    let answer = hand_in(&store, "T1");
    disk.wait_for_sync();
    assert!(answer.try_recv().is_err(), "it is answered before it is synced");
    assert_eq!(stored(&store).unwrap(), Vec::<String>::new(), "it is shown before it is synced");
    let syncs = disk.edit(|platters| {
        platters.held = false;
        platters.syncs
    });
    let accepted = answer.recv_timeout(SOON).unwrap().unwrap();
    assert_eq!(accepted, Accepted { id: DeliveryId(1), duplicate: false, outcome: Outcome::NotImported });
    assert!(disk.lock().syncs > syncs);
    // Cut the power at this moment: what was answered is there.
    assert_eq!(stored(&open(&disk.after_power_cut())).unwrap(), ["T1"]);
}

#[test]
fn whatever_was_answered_at_a_power_cut_is_there_after_it() {
    let disk = Disk::default();
    let store = open(&disk);
    let mut answered = Vec::new();
    for number in 0..50 {
        let task = format!("T{number}");
        accept(&store, &task).unwrap();
        answered.push(task);
        // Rows whose sync may wait must not make one that may not wait.
        store.write_unsynced::<(), StoreError>(move |batch| settings::set(batch, "note", Some("x"))).unwrap();
        if number % 10 == 0 {
            assert_eq!(stored(&open(&disk.after_power_cut())).unwrap(), answered);
        }
    }
    assert_eq!(stored(&open(&disk.after_power_cut())).unwrap(), answered);
}

/// Breaks the disk at every write and sync that three deliveries take, one after the other, and looks at what a power
/// cut at that moment leaves: no less than what was answered, and no more than what was handed in, in its order.
#[test]
fn whichever_write_or_sync_is_the_last_what_was_answered_is_there() {
    let tasks = ["T1", "T2", "T3"];
    for last in 0.. {
        let disk = Disk::default();
        let store = open(&disk);
        accept(&store, "T0").unwrap();
        disk.edit(|platters| platters.breaks_after = Some(last));
        let mut answered = vec!["T0"];
        answered.extend(tasks.iter().take_while(|task| accept(&store, task).is_ok()));
        let broke = disk.lock().broken;
        let after = disk.after_power_cut();
        store.close();
        let kept = stored(&open(&after)).unwrap();
        assert!(
            kept.starts_with(&answered.iter().map(|&task| task.to_owned()).collect::<Vec<_>>()),
            "{last}: {kept:?}"
        );
        assert!(kept.iter().eq(["T0", "T1", "T2", "T3"].iter().take(kept.len())), "{last}: {kept:?}");
        if !broke {
            assert!(last > 6, "only {last} writes and syncs for three commits");
            assert_eq!(answered.len(), 4);
            break;
        }
    }
}

/// As before, but the disk only stumbles: the store goes on by itself, with everything that it answered.
#[test]
fn whichever_write_or_sync_fails_once_the_store_goes_on() {
    for nth in 0..12 {
        let disk = Disk::default();
        let store = open(&disk);
        let mut answered = Vec::new();
        for number in 0..6 {
            let task = format!("T{number}");
            if number == 2 {
                disk.edit(|platters| platters.stumbles_after = Some(nth));
            }
            if accept(&store, &task).is_ok() {
                answered.push(task);
            }
        }
        until("the store to take deliveries", || accept(&store, "last").ok());
        let kept = stored(&store).unwrap();
        assert!(answered.iter().all(|task| kept.contains(task)), "{nth}: {answered:?} was answered, {kept:?} is kept");
        assert_eq!(kept.iter().collect::<std::collections::BTreeSet<_>>().len(), kept.len(), "{nth}: {kept:?}");
    }
}

#[test]
fn deliveries_that_wait_share_a_commit() {
    let disk = Disk::default();
    let store = open(&disk);
    accept(&store, "T").unwrap();
    let one = {
        let before = disk.lock().syncs;
        accept(&store, "one").unwrap();
        disk.lock().syncs - before
    };
    disk.edit(|platters| platters.held = true);
    let first = hand_in(&store, "first");
    disk.wait_for_sync();
    let others: Vec<_> = (0..500).map(|number| hand_in(&store, &format!("T{number}"))).collect();
    let before = disk.edit(|platters| {
        platters.held = false;
        platters.syncs
    });
    first.recv_timeout(SOON).unwrap().unwrap();
    let mut ids: Vec<u64> = others.into_iter().map(|answer| answer.recv_timeout(SOON).unwrap().unwrap().id.0).collect();
    let syncs = disk.lock().syncs - before;
    assert!(syncs <= 2 * one.max(2), "{syncs} syncs for two commits, where one takes {one}");
    ids.dedup();
    assert_eq!(ids, (4..504).collect::<Vec<_>>(), "numbered in the order in which they came");
}

/// Whether the store opens on a disk without a look at all of its pages, however large it is.
fn opens_at_once(disk: &Disk) -> bool {
    let repairs = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&repairs);
    let mut builder = redb::Database::builder();
    builder.set_repair_callback(move |_| noted.store(true, Ordering::Relaxed));
    builder.create_with_backend(disk.clone()).unwrap();
    !repairs.load(Ordering::Relaxed)
}

#[test]
fn a_burst_may_leave_a_repair_to_the_next_opening_and_a_rest_after_it_does_not() {
    let disk = Disk::default();
    let store = open(&disk);
    let repaired = (0..20).any(|number| {
        accept(&store, &format!("T{number}")).unwrap();
        !opens_at_once(&disk.after_power_cut())
    });
    assert!(repaired, "no commit of the burst did without");
    // One that is begun and refused makes good for nothing.
    let refused = store.write::<(), StoreError>(|_| Err(StoreError::Stale));
    assert!(matches!(refused, Err(StoreError::Stale)), "{refused:?}");
    until("the commit after the burst", || opens_at_once(&disk.after_power_cut()).then_some(()));
}

/// Up to format 5 calls stood in the order of their digests.
#[test]
fn calls_of_an_older_format_are_still_known() {
    let disk = Disk::default();
    let store = open(&disk);
    let tasks = ["AZx", "AZx0123456789ABCDEFGHIJ-1", "AZx0123456789ABCDEFGHIJ-2"];
    for task in tasks {
        assert!(!accept(&store, task).unwrap().duplicate);
    }
    store.close();
    as_in_format_5(&disk);
    let store = open(&disk);
    for task in tasks {
        assert!(accept(&store, task).unwrap().duplicate, "{task}");
    }
    assert!(!accept(&store, "AZx0123456789ABCDEFGHIJ-3").unwrap().duplicate);
    // Each is found where it is forgotten with its delivery, too.
    while store.delete::<_, StoreError>(|batch| deliveries::prune(batch, Timestamp(i64::MAX))).unwrap() > 0 {}
    for task in tasks {
        assert!(!accept(&store, task).unwrap().duplicate, "{task}");
    }
    store.close();
}

fn as_in_format_5(disk: &Disk) {
    let database = redb::Database::builder().create_with_backend(disk.clone()).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = |name: &'static str| redb::TableDefinition::<&[u8], &[u8]>::new(name);
    let sealed = |key: &[u8], value: &[u8]| {
        let mut bytes = [&[0x81], value].concat();
        let checksum = crc32fast::hash(&[&bytes, key].concat());
        bytes.extend(checksum.to_le_bytes());
        bytes
    };
    {
        let mut calls = transaction.open_table(table("calls")).unwrap();
        let (organization, task) = (b"sonar\0acme\0".len(), 20);
        let rows: Vec<(Vec<u8>, Vec<u8>)> = std::iter::from_fn(|| {
            let (key, value) = calls.pop_first().unwrap()?;
            Some((key.value().to_vec(), value.value().to_vec()))
        })
        .collect();
        assert_eq!(rows.len(), 3);
        for (key, value) in rows {
            let key = [&key[..organization], &key[organization + task..]].concat();
            calls.insert(&key[..], &sealed(&key, &value[1..value.len() - 4])[..]).unwrap();
        }
        let mut meta = transaction.open_table(table("meta")).unwrap();
        meta.insert(&b"schema"[..], &sealed(b"schema", &[5])[..]).unwrap();
    }
    transaction.commit().unwrap();
}

#[test]
fn a_batch_is_over_as_soon_as_a_delivery_waits() {
    let store = open(&Disk::default());
    let (begun, begins) = mpsc::channel();
    let writing = store.clone();
    let batch = std::thread::spawn(move || {
        writing.write::<_, StoreError>(move |batch| {
            assert!(!batch.is_over(), "nobody waits yet");
            begun.send(()).unwrap();
            let waiting_since = Instant::now();
            while !batch.is_over() {
                std::thread::yield_now();
            }
            Ok(waiting_since.elapsed())
        })
    });
    begins.recv_timeout(SOON).unwrap();
    accept(&store, "T1").unwrap();
    let held = batch.join().unwrap().unwrap();
    assert!(held < limits::BATCH_MAX, "it held the writer for {held:?}");
    store.close();
}

/// A batch gathers what it adds to the lists and the search index, and writes it at its end: what it changes again
/// before that must not be found in its former place, and what it opens must be found by words that others share.
#[test]
fn what_one_batch_opens_and_changes_is_listed_and_found_once() {
    let store = open(&Disk::default());
    let (_, scope) = store.write::<_, StoreError>(fill).unwrap();
    let row = |key: &str, severity, message: &str| {
        let observed = Observed { severity, message: message.to_owned(), ..observed(key) };
        Staged::Seen(Box::new(observed))
    };
    store
        .write::<_, StoreError>(move |batch| {
            for rows in [
                vec![row("n1", Severity::Low, "weak cipher"), row("n2", Severity::Low, "weak cipher")],
                vec![row("n1", Severity::Critical, "weak cipher"), row("n2", Severity::Low, "strong cipher")],
            ] {
                crawls::stage(batch, scope, &rows)?;
                crawls::seal(batch, scope, &sealed(5))?;
                assert_eq!(crawls::apply(batch, scope, NOW)?, crawls::Applied::All);
            }
            Ok(())
        })
        .unwrap();
    let found = |search: &str, severities: &[Severity]| -> Vec<String> {
        let mut filter = lists::Filter { severities: severities.iter().copied().collect(), ..lists::Filter::default() };
        filter.search(search);
        let page = store
            .read::<_, StoreError>(|view| lists::page(view, &filter, (lists::Order::Severity, None), 100, &|_, _| None))
            .unwrap();
        page.findings.iter().map(|(_, finding)| finding.observed.key.to_string()).collect()
    };
    assert_eq!(found("weak", &[]), ["n1"]);
    assert_eq!(found("strong", &[]), ["n2"]);
    assert_eq!(found("cipher", &[]), ["n1", "n2"], "the worst first, and each once");
    assert_eq!(found("cipher", &[Severity::Low]), ["n2"]);
    store.close();
}

#[test]
fn a_failed_write_is_told_and_the_store_opens_itself_again() {
    let disk = Disk::default();
    let store = open(&disk);
    accept(&store, "before").unwrap();
    disk.edit(|platters| platters.failures = 1);
    let failed = accept(&store, "failed");
    assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
    until("the store to open again", || (store.reopened() == 1).then_some(()));
    assert_eq!(stored(&store).unwrap(), ["before"]);
    assert!(!accept(&store, "after").unwrap().duplicate);
    assert_eq!(stored(&store).unwrap(), ["before", "after"]);
    assert_eq!(store.reopened(), 1);
    assert_eq!(stored(&open(&disk.after_power_cut())).unwrap(), ["before", "after"]);
}

/// Sonar repeats nothing, but a sender that was told 503 may: what failed must not be taken for the former call.
#[test]
fn a_call_whose_commit_failed_is_no_duplicate_when_it_comes_again() {
    let disk = Disk::default();
    let store = open(&disk);
    disk.edit(|platters| platters.failures = 1);
    accept(&store, "T1").unwrap_err();
    let again = until("the store to take it", || accept(&store, "T1").ok());
    assert!(!again.duplicate);
    assert_eq!(stored(&store).unwrap(), ["T1"]);
}

#[test]
fn a_failed_sync_is_a_failed_commit() {
    let disk = Disk::default();
    let store = open(&disk);
    accept(&store, "before").unwrap();
    disk.edit(|platters| platters.held = true);
    let answer = hand_in(&store, "failed");
    disk.wait_for_sync();
    disk.edit(|platters| {
        platters.failures = 1;
        platters.held = false;
    });
    let failed = answer.recv_timeout(SOON).unwrap();
    assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
    until("the store to take deliveries", || accept(&store, "after").ok());
    let kept = stored(&store).unwrap();
    assert!(kept.starts_with(&["before".to_owned()]) && kept.ends_with(&["after".to_owned()]), "{kept:?}");
}

/// While the disk stays broken, whoever reads or writes is told so at once; nobody waits for it to recover.
#[test]
fn while_the_disk_is_broken_everybody_is_told_and_nobody_hangs() {
    let disk = Disk::default();
    let store = open(&disk);
    accept(&store, "before").unwrap();
    disk.edit(|platters| platters.broken = true);
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (store, over) = (store.clone(), Arc::clone(&over));
            std::thread::spawn(move || {
                let (mut data, mut errors) = (0_u64, 0_u64);
                while !over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    match stored(&store) {
                        Ok(found) => {
                            assert_eq!(found[0], "before");
                            data += 1;
                        }
                        Err(StoreError::Failed(_)) => errors += 1,
                        Err(other) => panic!("{other}"),
                    }
                    assert!(began.elapsed() < SOON, "a reader hung");
                }
                (data, errors)
            })
        })
        .collect();
    let failed = accept(&store, "failed");
    assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
    let told = until("a reader to be told", || stored(&store).err());
    assert!(matches!(told, StoreError::Failed(_)), "{told:?}");
    assert_eq!(store.reopened(), 0);
    disk.edit(|platters| platters.broken = false);
    until("the store to take deliveries", || accept(&store, "after").ok());
    over.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.join().unwrap();
    }
    assert_eq!(store.reopened(), 1);
    assert_eq!(stored(&store).unwrap(), ["before", "after"]);
}

#[test]
fn a_failed_write_of_work_is_told_and_got_over_too() {
    let disk = Disk::default();
    let store = open(&disk);
    let note =
        |text: &'static str| store.write::<(), StoreError>(move |batch| settings::set(batch, "note", Some(text)));
    note("one").unwrap();
    disk.edit(|platters| platters.failures = 1);
    assert!(matches!(note("two"), Err(StoreError::Failed(_))));
    until("the store to open again", || (store.reopened() == 1).then_some(()));
    let read = || store.read::<_, StoreError>(|view| settings::value(view, "note")).unwrap();
    assert_eq!(read().as_deref(), Some("one"));
    note("three").unwrap();
    assert_eq!(read().as_deref(), Some("three"));
}

#[test]
fn what_nobody_waits_for_is_not_stored() {
    let disk = Disk::default();
    let store = open(&disk);
    let (reply, answer) = mpsc::channel();
    store.accept(arrival("given up"), Box::new(Unwanted(reply)));
    accept(&store, "T1").unwrap();
    assert_eq!(answer.recv_timeout(SOON), Err(mpsc::RecvTimeoutError::Disconnected), "nobody is told");
    assert_eq!(stored(&store).unwrap(), ["T1"]);
}

#[test]
fn closing_finishes_what_waits_and_refuses_what_comes_after() {
    let disk = Disk::default();
    let store = open(&disk);
    let answers: Vec<_> = (0..20).map(|number| hand_in(&store, &format!("T{number}"))).collect();
    store.close();
    for answer in answers {
        answer.recv_timeout(SOON).unwrap().unwrap();
    }
    assert_eq!(accept(&store, "late"), Err(StoreError::Closed));
    let late = store.write::<(), StoreError>(|batch| settings::set(batch, "note", Some("x")));
    assert_eq!(late, Err(StoreError::Closed));
    assert_eq!(stored(&open(&disk)).unwrap().len(), 20);
}

// --- Single values that are damaged ---

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn observed(key: &str) -> Observed {
    Observed {
        key: IssueKey::parse(key).unwrap(),
        kind: Kind::Vulnerability,
        rule: None,
        message: "Change this code.".to_owned(),
        severity: Severity::High,
        state: State::Open,
        path: None,
        line: None,
        range: None,
        created_at: None,
        updated_at: None,
        closed_at: None,
        sonar: SonarWords::default(),
        flows: Vec::new(),
    }
}

/// A disk with a closed store: a project `shop` with its main branch, three findings, three deliveries that wait,
/// two endpoints, and both kinds of task planned for later.
fn filled() -> (Disk, ProjectId, ScopeId) {
    let disk = Disk::default();
    let store = open(&disk);
    let (project, scope) = store.write::<_, StoreError>(fill).unwrap();
    for task in ["T1", "T2", "T3"] {
        assert_eq!(accept(&store, task).unwrap().outcome, Outcome::Queued);
    }
    // A task that has failed lies ahead.
    store
        .write::<_, StoreError>(move |batch| {
            for task in [Task::Discover(project), Task::Sync(scope)] {
                let ticket = agenda::of(batch, task)?.map_or(0, |due| due.ticket);
                agenda::ask(batch, task, Reason::Manual, NOW, ticket)?;
                let asked = agenda::of(batch, task)?.unwrap();
                agenda::follow(batch, task, asked, Some(Due { at: Timestamp(NOW.0 + 60_000), ..asked }))?;
            }
            Ok(())
        })
        .unwrap();
    store.close();
    (disk, project, scope)
}

/// A project with this key.
fn shop(key: &str) -> Project {
    Project {
        organization: organization("acme"),
        key: ProjectKey::parse(key).unwrap(),
        name: "Web shop".to_owned(),
        asset: AssetId(1),
        selection: Selection::default(),
        main: None,
        imported_at: NOW,
        error: None,
        moved: None,
        repository: None,
    }
}

/// A read that found so many findings open.
fn sealed(total: u64) -> SealedCrawl {
    SealedCrawl {
        sonar_total: Some(total),
        problem: None,
        again: false,
        began_at: NOW,
        analysed_at: None,
        gate: None,
        deliveries: Vec::new(),
        due: Due { at: NOW, reason: Reason::Import, attempts: 0, ticket: 1 },
        suspicion: None,
        odd_words: Vec::new(),
        recent: false,
        watermark: None,
    }
}

fn fill(batch: &mut hydrophone::store::Batch) -> Result<(ProjectId, ScopeId), StoreError> {
    let id = catalogue::add_project(batch, &shop("shop"))?;
    let name = ScopeName::parse("main").unwrap();
    let scope = catalogue::add_scope(batch, &Scope::new(id, ScopeKind::Branch, name.clone(), true))?;
    catalogue::set_main(batch, id, Some(&name))?;
    let rows: Vec<Staged> = ["A", "B", "C"].map(|key| Staged::Seen(Box::new(observed(key)))).into();
    crawls::stage(batch, scope, &rows)?;
    crawls::seal(batch, scope, &sealed(3))?;
    assert_eq!(crawls::apply(batch, scope, NOW)?, crawls::Applied::All);
    for (key, number) in [("acme", 1), ("other", 2)] {
        let secret = SecretBytes::new(vec![number; 32]);
        hooks::make(batch, &organization(key), None, EndpointId([number; 16]), &secret, NOW)?;
    }
    Ok((id, scope))
}

fn database(disk: &Disk) -> redb::Database {
    redb::Database::builder().create_with_backend(disk.clone()).unwrap()
}

/// See [`damage::damage`].
fn damage(disk: &Disk, table: &str, nth: usize) {
    damage::damage_nth(&database(disk), table, nth);
}

/// As [`damage`], in the first value whose key is meant.
fn damage_at(disk: &Disk, table: &str, is_meant: impl FnMut(&[u8]) -> bool) {
    damage::damage_at(&database(disk), table, is_meant);
}

/// What can be read of a filled store.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    agenda: Vec<Task>,
    pending: Vec<u64>,
    /// Endpoints, and how many secrets each has.
    hooks: Vec<(String, usize)>,
    findings: Vec<String>,
    log: Vec<String>,
}

/// What a damaged value takes away.
type Loss = fn(&mut Shown);

fn shown(store: &Store, project: ProjectId, scope: ScopeId) -> Shown {
    let agenda = store.read::<_, StoreError>(agenda::all).unwrap();
    let pending = store.read::<_, StoreError>(|view| deliveries::pending(view, project)).unwrap();
    let hooks = store.read::<_, StoreError>(hooks::all).unwrap();
    let held = store.read::<_, StoreError>(|view| findings::after(view, scope, None, 100)).unwrap();
    let filter = lists::Filter::default();
    let page = store
        .read::<_, StoreError>(|view| lists::page(view, &filter, (lists::Order::Severity, None), 100, &|_, _| None))
        .unwrap();
    let keys = |mut keys: Vec<String>| {
        keys.sort();
        keys
    };
    let held = keys(held.iter().map(|finding| finding.observed.key.to_string()).collect());
    let listed = keys(page.findings.iter().map(|(_, finding)| finding.observed.key.to_string()).collect());
    assert_eq!(listed, held, "the list shows what is held");
    Shown {
        agenda: agenda.into_iter().map(|(task, _)| task).collect(),
        pending: pending.into_iter().map(|(id, _)| id.0).collect(),
        hooks: hooks.into_iter().map(|(hook, secrets)| (hook.organization.key.to_string(), secrets.len())).collect(),
        findings: held,
        log: stored(store).unwrap(),
    }
}

#[test]
fn a_damaged_value_is_counted_and_hides_no_other() {
    let whole = |project, scope| Shown {
        agenda: vec![Task::Discover(project), Task::Sync(scope)],
        pending: vec![1, 2, 3],
        hooks: vec![("acme".to_owned(), 1), ("other".to_owned(), 1)],
        findings: ["A", "B", "C"].map(str::to_owned).into(),
        log: ["T1", "T2", "T3"].map(str::to_owned).into(),
    };
    let cases: [(&str, Loss); 5] = [
        ("agenda", |_| {}),
        ("pending", |shown| shown.pending.retain(|id| *id != 2)),
        ("secrets", |shown| shown.hooks[1].1 = 0),
        ("findings", |shown| drop(shown.findings.remove(1))),
        ("deliveries", |shown| drop(shown.log.remove(1))),
    ];
    for (table, loss) in cases {
        let (disk, project, scope) = filled();
        let store = open(&disk);
        assert_eq!(shown(&store, project, scope), whole(project, scope));
        store.close();

        damage(&disk, table, 1);
        let store = open(&disk);
        let before = store.damaged();
        let mut expected = whole(project, scope);
        loss(&mut expected);
        assert_eq!(shown(&store, project, scope), expected, "{table}");
        assert!(store.damaged() > before, "{table}: it is counted");
        // What comes is taken, and read for.
        assert_eq!(accept(&store, "T4").unwrap().outcome, Outcome::Queued, "{table}");
        assert_eq!(store.reopened(), 0, "{table}: a damaged value is no failure of the store");
        store.close();
    }
}

/// The counters are small values that every write needs: without them no webhook could be stored.
#[test]
fn a_damaged_counter_goes_on_behind_the_last_number_in_use() {
    for counter in ["next/change", "next/delivery", "next/finding", "next/project", "next/scope"] {
        let (disk, project, scope) = filled();
        let numbers = |store: &Store| {
            let rows: Vec<Staged> = ["C", "D"].map(|key| Staged::Seen(Box::new(observed(key)))).into();
            store
                .write::<_, StoreError>(move |batch| {
                    crawls::stage(batch, scope, &rows)?;
                    crawls::seal(batch, scope, &sealed(4))?;
                    crawls::apply(batch, scope, NOW)
                })
                .unwrap();
            let held = store.read::<_, StoreError>(|view| findings::after(view, scope, None, 100)).unwrap();
            let last = store.read::<_, StoreError>(findings::last_change).unwrap();
            let delivery = accept(store, "T4").unwrap().id;
            let added = store.write::<_, StoreError>(|batch| {
                let asset = Asset::new(AssetName::parse("Shop").unwrap(), NOW);
                let asset = catalogue::add_asset(batch, &asset)?;
                let project = catalogue::add_project(batch, &shop("another"))?;
                let name = ScopeName::parse("main").unwrap();
                let scope = catalogue::add_scope(batch, &Scope::new(project, ScopeKind::Branch, name, true))?;
                Ok((asset, project, scope))
            });
            (held.iter().map(|finding| finding.id.0).collect::<Vec<_>>(), last.0, delivery.0, added.unwrap())
        };
        damage_at(&disk, "meta", |key| key == counter.as_bytes());
        let store = open(&disk);
        let next = (AssetId(1), ProjectId(project.0 + 1), ScopeId(scope.0 + 1));
        assert_eq!(numbers(&store), (vec![1, 2, 3, 4], 4, 4, next), "{counter}");
        assert_eq!(store.reopened(), 0, "{counter}");
        store.close();
    }
}

/// The key still says what is to be done; that it is done too soon costs nothing.
#[test]
fn an_agenda_entry_whose_value_is_damaged_is_due() {
    let next = |store: &Store| {
        let agenda = store.read::<_, StoreError>(agenda::all).unwrap();
        schedule::next(agenda.into_iter(), &[], NOW)
    };
    for nth in 0..2 {
        let (disk, project, scope) = filled();
        let task = [Task::Discover(project), Task::Sync(scope)][nth];
        let store = open(&disk);
        assert_eq!(next(&store), Next::Wait(Some(Timestamp(NOW.0 + 60_000))), "both lie ahead");
        store.close();

        damage(&disk, "agenda", nth);
        let store = open(&disk);
        let Next::Run(found, due) = next(&store) else { panic!("{task:?} is not due") };
        assert_eq!(found, task);
        // It is worked off as any other.
        store.write::<_, StoreError>(move |batch| agenda::follow(batch, task, due, None)).unwrap();
        assert_eq!(store.read::<_, StoreError>(|view| agenda::of(view, task)).unwrap(), None);
        store.close();
    }
}

#[test]
fn a_damaged_finding_is_replaced_by_sonars_row() {
    let (disk, _, scope) = filled();
    damage(&disk, "findings", 1);
    let store = open(&disk);
    let applied = store.write::<_, StoreError>(move |batch| {
        crawls::stage(batch, scope, &[Staged::Seen(Box::new(observed("B")))])?;
        crawls::seal(batch, scope, &sealed(3))?;
        crawls::apply(batch, scope, NOW)
    });
    assert_eq!(applied, Ok(crawls::Applied::All));
    let held = store.read::<_, StoreError>(|view| findings::after(view, scope, None, 100)).unwrap();
    let keys: Vec<_> = held.iter().map(|finding| finding.observed.key.to_string()).collect();
    assert_eq!(keys, ["A", "B", "C"]);
    // What still leads to the damaged one must not show its successor a second time.
    for words in ["", "change"] {
        let mut filter = lists::Filter::default();
        filter.search(words);
        let page = store
            .read::<_, StoreError>(|view| lists::page(view, &filter, (lists::Order::Severity, None), 100, &|_, _| None))
            .unwrap();
        let mut listed: Vec<_> = page.findings.iter().map(|(_, finding)| finding.observed.key.to_string()).collect();
        listed.sort();
        assert_eq!(listed, ["A", "B", "C"], "{words:?}");
    }
    store.close();
}

// --- The file itself ---

/// A state folder whose file is lost under the running store: a new, empty one in its place would look like an
/// inventory without findings, and be answered 202 for.
#[test]
fn a_file_that_vanished_is_waited_for_and_not_replaced() {
    for what in ["nothing", "an empty file"] {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state"), Arc::new(Bell::default())).unwrap();
        let file = store.folder().join(hydrophone::store::FILE_NAME);
        accept(&store, "before").unwrap();
        // More than the cache holds, so that reading it means reading the file.
        let long = "x".repeat(512 * 1024);
        for number in 0..24 {
            let (name, long) = (format!("long {number}"), long.clone());
            store.write::<_, StoreError>(move |batch| settings::set(batch, &name, Some(&long))).unwrap();
        }
        let kept = folder.path().join("kept");
        std::fs::copy(&file, &kept).unwrap();
        std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(0).unwrap();
        std::fs::remove_file(&file).unwrap();
        if what == "an empty file" {
            std::fs::File::create(&file).unwrap();
        }
        until("a read to fail", || {
            (0..24).find_map(|number| {
                store.read::<_, StoreError>(|view| settings::value(view, &format!("long {number}"))).err()
            })
        });
        // The first may be refused because of the failure itself, the others after another look for the file. A reply
        // that is dropped says that nothing was stored.
        for _ in 0..3 {
            let refused = until("a delivery to be refused", || match hand_in(&store, "meanwhile").recv_timeout(SOON) {
                Ok(answer) => Some(answer.unwrap_err()),
                Err(mpsc::RecvTimeoutError::Disconnected) => None,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("every delivery is answered"),
            });
            assert!(matches!(refused, StoreError::Failed(_)), "{what}: {refused:?}");
        }
        let length = std::fs::metadata(&file).ok().map(|file| file.len());
        assert!(length.unwrap_or(0) == 0, "{what}: {length:?} bytes are in its place");
        assert_eq!(store.reopened(), 0, "{what}");
        std::fs::rename(&kept, &file).unwrap();
        until("the store to open again", || (store.reopened() == 1).then_some(()));
        accept(&store, "after").unwrap();
        assert_eq!(stored(&store).unwrap(), ["before", "after"], "{what}");
        assert_eq!(store.reopened(), 1, "{what}");
        store.close();
    }
}
