use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::delivery::{Outcome, Payload};
use crate::domain::ids::{OrganizationKey, OrganizationRef, SourceName};
use crate::store::deliveries::UNPLACED;
use crate::store::tables::ALL;
use crate::store::{Arrival, settings};
use crate::sys::bell::Bell;
use crate::sys::seal;

/// A table that is added is to be shared or not, which somebody has to decide.
#[test]
fn of_each_table_it_is_said_whether_it_is_shared() {
    let own = [
        tables::SETTINGS,
        tables::DELIVERIES,
        tables::SETTLEMENTS,
        tables::PENDING,
        tables::CALLS,
        tables::AGENDA,
        tables::USERS,
        tables::SESSIONS,
        tables::TOKENS,
        tables::TOKEN_NAMES,
        tables::AUDIT,
    ];
    let said = || SHARED.iter().chain(PARTLY).chain(UNDER_WAY).chain(&own);
    for table in ALL {
        assert_eq!(said().filter(|one| same(one, table)).count(), 1, "{table}");
    }
    assert_eq!(said().count(), ALL.len());
}

fn open(folder: &tempfile::TempDir) -> Store {
    Store::open(folder.path(), Arc::new(Bell::default())).unwrap()
}

/// All shared rows but secrets, and those opened.
fn shared(store: &Store) -> BTreeMap<(String, Vec<u8>), Vec<u8>> {
    use redb::ReadableTable;
    let read = store.read::<_, StoreError>(|view| {
        let mut all = BTreeMap::new();
        for table in ALL {
            for row in view.rows(*table)?.iter()? {
                let (key, value) = row?;
                let key = key.value().to_vec();
                if !is_shared_in(table, &key) {
                    continue;
                }
                let value = if same(table, &tables::SECRETS) {
                    secrets::secret(view, &Key(key.clone()))?.unwrap().as_bytes().to_vec()
                } else {
                    value.value().to_vec()
                };
                all.insert((redb::TableHandle::name(table).to_owned(), key), value);
            }
        }
        Ok(all)
    });
    read.unwrap()
}

fn place(changes: u32) -> Copied {
    Copied { term: 1, copy: 1, changes }
}

/// Tells all that there is.
fn copy(from: &Store, to: &Store, key: &Arc<seal::Key>, folder: &tempfile::TempDir) -> Shipping {
    paired(to);
    let shipping = from.begin_shipping().unwrap();
    let file = folder.path().join("copy");
    from.ship_copy(&shipping, key, Timestamp(1), &mut std::fs::File::create(&file).unwrap()).unwrap();
    to.take_copy(key, ME, &file, place(0)).unwrap();
    shipping
}

const ME: BoxId = BoxId([0; 8]);

/// Makes it one of two.
fn paired(store: &Store) {
    let pair = Pair {
        url: "nats://127.0.0.1".to_owned(),
        site: "berlin".parse().unwrap(),
        plain: true,
        ca_pem: None,
        replaces: false,
        added_at: Timestamp(1),
    };
    store
        .write::<_, StoreError>(move |batch| {
            let secret = || SecretBytes::new(b"x".to_vec());
            put_pair(batch, &pair, &secret(), &secret())?;
            put_part(batch, Part { works: true, ..Part::default() })
        })
        .unwrap();
}

fn put(store: &Store, table: Table, key: Vec<u8>, value: Option<u8>) -> Result<(), StoreError> {
    store.write(move |batch| {
        let key = Key(key);
        match value {
            Some(value) if same(&table, &tables::SECRETS) => {
                secrets::put(batch, &key, &SecretBytes::new(vec![value; 9]))
            }
            Some(value) => batch.put_bytes(table, &key, &[value; 5]),
            None => batch.delete(table, &key),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Whatever one box writes, and whenever it tells that: the other one has the same, and keeps what is its own.
    #[test]
    fn the_other_box_has_the_same_rows(
        steps in proptest::collection::vec((0..4_usize, 0..6_u8, proptest::option::weighted(0.7, 1..9_u8), 0..3_u8), 1..30),
    ) {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [one, other] = [&folders[0], &folders[1]].map(open);
        let key = Arc::new(seal::Key::random());
        // What it had of its own is given up.
        put(&other, tables::ASSETS, vec![200], Some(1)).unwrap();
        other.write::<_, StoreError>(|batch| settings::set(batch, "own", Some("7"))).unwrap();
        let shipping = copy(&one, &other, &key, &folders[0]);
        other.stand_by(true);
        let mut told = 0;
        for (table, number, value, tells) in steps {
            let (table, row) = [
                (tables::FINDINGS, vec![number]),
                (tables::SECRETS, [b"token/".as_slice(), &[number]].concat()),
                (tables::META, [b"next/asset".as_slice(), &[number]].concat()),
                (tables::SETTINGS, vec![number]),
            ][table].clone();
            put(&one, table, row.clone(), value).unwrap();
            let refused = put(&other, table, row, value);
            prop_assert_eq!(refused.is_err(), !same(&table, &tables::SETTINGS));
            if tells == 0 && one.has_changes(&shipping) {
                let mut bytes = Vec::new();
                if one.ship_changes(&shipping, &key, Timestamp(2), &mut bytes).unwrap() > 0 {
                    told += 1;
                    other.take_changes(&key, ME, &bytes, place(told)).unwrap();
                    prop_assert_eq!(shared(&one), shared(&other));
                }
            }
        }
        let mut bytes = Vec::new();
        if one.ship_changes(&shipping, &key, Timestamp(2), &mut bytes).unwrap() > 0 {
            other.take_changes(&key, ME, &bytes, place(told + 1)).unwrap();
        }
        prop_assert_eq!(shared(&one), shared(&other));
        prop_assert!(other.read(|view| super::super::has(view, tables::SETTINGS, &Key::new().tail(b"own"))).unwrap());
        one.close();
        other.close();
    }
}

#[test]
fn what_was_changed_on_its_way_or_is_another_boxs_own_is_not_taken_in() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, other] = [&folders[0], &folders[1]].map(open);
    let key = Arc::new(seal::Key::random());
    let shipping = copy(&one, &other, &key, &folders[0]);
    let before = shared(&other);
    put(&one, tables::SECRETS, b"token/x".to_vec(), Some(7)).unwrap();
    put(&one, tables::ASSETS, vec![1], Some(7)).unwrap();
    let mut bytes = Vec::new();
    assert_eq!(one.ship_changes(&shipping, &key, Timestamp(2), &mut bytes).unwrap(), 2);
    for at in (0..bytes.len()).step_by(7) {
        let mut bad = bytes.clone();
        bad[at] ^= 4;
        assert!(other.take_changes(&key, ME, &bad, place(1)).is_err(), "byte {at}");
        assert!(other.take_changes(&key, ME, &bytes[..at], place(1)).is_err(), "cut at {at}");
    }
    let stranger = Arc::new(seal::Key::random());
    assert!(other.take_changes(&stranger, ME, &bytes, place(1)).is_err());
    let head = one.head(None, Timestamp(1)).unwrap();
    for (table, row) in
        [("users", b"admin".as_slice()), ("settings", b"x"), ("meta", b"schema"), ("secrets", b"tls/x"), ("?", b"x")]
    {
        let mut forged = Vec::new();
        let mut writer = super::super::backup::format::Writer::begin(&mut forged, &head).unwrap();
        writer.row(table, row, Some(b"1")).unwrap();
        writer.end().unwrap();
        assert!(matches!(other.take_changes(&key, ME, &forged, place(1)), Err(TakeError::NotShared(_))), "{table}");
    }
    assert_eq!(shared(&other), before);
    assert_eq!(other.read(copied).unwrap(), Some(place(0)));
    other.take_changes(&key, ME, &bytes, place(1)).unwrap();
    assert_eq!(shared(&other), shared(&one));
}

#[test]
fn a_copy_that_was_cut_short_is_no_inventory_until_it_was_taken_in_again() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, other] = [&folders[0], &folders[1]].map(open);
    let key = Arc::new(seal::Key::random());
    put(&one, tables::ASSETS, vec![1], Some(7)).unwrap();
    let _shipping = copy(&one, &other, &key, &folders[0]);
    // As at its beginning, when what was there is deleted.
    other
        .write::<_, StoreError>(|batch| {
            batch.put(tables::META, &of_taking(), &place(0))?;
            take::wipe(batch)
        })
        .unwrap();
    assert!(other.read(is_taking).unwrap());
    assert_eq!(other.taking().unwrap(), Some(place(0)));
    other.take_copy(&key, ME, &folders[0].path().join("copy"), place(0)).unwrap();
    assert!(!other.read(is_taking).unwrap());
    assert_eq!(shared(&other), shared(&one));
}

/// The numbers that the other one may have given since are known elsewhere.
#[test]
fn whoever_takes_over_gives_numbers_that_nobody_gave() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let next = |counter: Counter| store.read(|view| counter.next(view)).unwrap();
    let before = (next(Counter::Finding), next(Counter::Scope));
    paired(&store);
    store.stand_by(true);
    let part = Part { works: true, term: 9, ..Part::default() };
    store.write::<_, StoreError>(move |batch| take_over(batch, part, Timestamp(5), 1)).unwrap();
    assert_eq!((next(Counter::Finding), next(Counter::Scope)), (before.0 + MANY_LEFT_OUT, before.1 + FEW_LEFT_OUT));
    assert_eq!(store.read(self::part).unwrap(), part);
}

/// The box that it was may run, and the other one may have taken over.
#[test]
fn a_box_that_was_restored_is_another_one_and_stands_by() {
    let (folder, restored) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(&folder);
    paired(&store);
    let pair = store.read(self::pair).unwrap();
    let before = store.read(part).unwrap();
    assert!(before.works && !store.stands_by());
    let file = folder.path().join("backup");
    store.backup(&mut std::fs::File::create(&file).unwrap(), None, Timestamp(2)).unwrap();
    store.close();
    let key = seal::Place::folder(folder.path()).find().unwrap().unwrap();
    crate::store::backup::restore(&file, restored.path(), Some(&key), Timestamp(3)).unwrap();
    let store = open(&restored);
    let after = store.read(part).unwrap();
    assert!(!after.works && after.me != before.me && store.stands_by());
    assert_eq!(store.read(self::pair).unwrap(), pair);
}

/// What it read because of them is given up for what the other one holds, which may never have heard of them.
#[test]
fn a_box_that_was_replaced_hands_over_what_came_since_it_is_not_known_who_works() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    paired(&store);
    let minute = |minute: i64| Timestamp(minute * 60_000);
    let came = |at: i64, task: &str| accepted(&store, minute(at), task);
    let settled = |id: DeliveryId, outcome: Outcome| {
        let settle = move |batch: &Batch| deliveries::settle(batch, UNPLACED, [id], outcome, minute(30));
        store.write::<_, StoreError>(move |batch| settle(batch)).unwrap();
    };
    let waiting = || store.read(|view| deliveries::waiting(view, 0, 99)).unwrap();
    let replaced = || {
        let part = store.read(part).unwrap();
        store.write(move |batch| put_replaced(batch, part, minute(29))).unwrap()
    };
    let old = came(1, "old");
    let [before, after] = [came(17, "before"), came(21, "after")];
    for id in [old, before, after] {
        settled(id, Outcome::Synced);
    }
    // Noticed some minutes after it may have been so; noticed once.
    store.write::<_, StoreError>(|batch| put_unsure(batch, Timestamp(20 * 60_000))).unwrap();
    store.write::<_, StoreError>(|batch| put_unsure(batch, Timestamp(28 * 60_000))).unwrap();
    let [later, handed] = [came(28, "later"), came(28, "handed")];
    settled(handed, Outcome::HandedOver);
    assert_eq!(replaced(), 3);
    let again: Vec<_> = waiting().into_iter().map(|(id, _)| id).collect();
    assert_eq!(again, [before, after, later]);
    for (id, what) in [(old, Some(Outcome::Synced)), (after, None), (handed, Some(Outcome::HandedOver))] {
        let shown = store.read(|view| deliveries::show(view, id)).unwrap().unwrap();
        assert_eq!(shown.1.map(|settled| settled.outcome), what, "{id}");
    }
    // Once the other one has them they are done with.
    store
        .write::<_, StoreError>(move |batch| deliveries::end_waiting(batch, later.0, Outcome::HandedOver, minute(30)))
        .unwrap();
    assert_eq!((waiting(), replaced()), (Vec::new(), 0));
    // One that had the lease all along has nothing to hand over but what came a moment ago.
    let last = came(31, "last");
    settled(last, Outcome::Synced);
    store.write::<_, StoreError>(|batch| put_unsure(batch, Timestamp(40 * 60_000))).unwrap();
    store.write::<_, StoreError>(|batch| put_sure(batch)).unwrap();
    let part = store.read(part).unwrap();
    assert_eq!(store.write(move |batch| put_replaced(batch, part, minute(37))).unwrap(), 0);
}

/// What is deleted with the log waits for nothing any more.
#[test]
fn no_call_waits_that_is_not_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    paired(&store);
    let id = accepted(&store, Timestamp(0), "one");
    let part = store.read(part).unwrap();
    assert_eq!(store.write(move |batch| put_replaced(batch, part, Timestamp(1))).unwrap(), 1);
    assert_eq!(store.read(|view| deliveries::waiting(view, 0, 9)).unwrap(), [(id, UNPLACED)]);
    assert!(store.read(|view| deliveries::whole(view, id)).unwrap().is_some());
    assert_eq!(store.write(|batch| deliveries::prune(batch, Timestamp(5))).unwrap(), 1);
    assert_eq!(store.read(|view| deliveries::waiting(view, 0, 9)).unwrap(), []);
    // As if it had been damaged when it was deleted.
    store
        .write::<_, StoreError>(move |batch| {
            batch.put(tables::PENDING, &Key::new().u32(0).u64(id.0), &crate::domain::delivery::ScopeRef::Main)
        })
        .unwrap();
    assert!(store.read(|view| deliveries::whole(view, id)).unwrap().is_none());
    store.write(|batch| deliveries::end_waiting(batch, 99, Outcome::HandedOver, Timestamp(6))).unwrap();
    assert_eq!(store.read(|view| deliveries::waiting(view, 0, 9)).unwrap(), []);
}

/// Has a call come.
fn accepted(store: &Store, at: Timestamp, task: &str) -> DeliveryId {
    let body = format!(r#"{{"taskId":"{task}","status":"SUCCESS","project":{{"key":"shop"}}}}"#);
    let arrival = Arrival {
        at,
        organization: OrganizationRef {
            source: SourceName::parse("eu").unwrap(),
            key: OrganizationKey::parse("acme").unwrap(),
        },
        payload: Payload::parse(body.as_bytes(), None),
        body: body.into_bytes(),
        replay_of: None,
        healed: None,
        signed_by: None,
    };
    store.accept_and_wait(arrival).unwrap().id
}
