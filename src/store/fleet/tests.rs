//! What comes twice, out of its time, or under other numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::finding::{Finding, Kind, Observed, Severity, SonarWords, State};
use crate::domain::fleet::said::{AliveSaid, FindingSaid, Heard, Names, Origin, Said, ScopeSaid};
use crate::domain::ids::{
    AssetName, FindingId, IssueKey, OrganizationKey, ProjectId, ProjectKey, RuleKey, ScopeId, ScopeKind, ScopeName,
};
use crate::store::{Store, findings, lists};

const STATES: [State; 4] = [State::Open, State::Confirmed, State::Fixed, State::Removed];

fn name() -> SourceName {
    SourceName::parse("all").unwrap()
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Arc::default()).unwrap();
    let fleet = Fleet {
        name: name(),
        url: "nats://nats.example".to_owned(),
        stream: "HYDROPHONE".to_owned(),
        plain: false,
        ca_pem: None,
        added_at: Timestamp(0),
    };
    store.write::<_, StoreError>(move |batch| put(batch, &fleet, None)).unwrap();
    (folder, store)
}

fn inventory(number: u8) -> InventoryId {
    InventoryId([number; 8])
}

fn origin(teller: u8, scope: u32) -> Origin {
    Origin { inventory: inventory(teller), project: ProjectId(1), scope: ScopeId(scope), main: scope == 1 }
}

fn names(scope: u32) -> Names {
    Names {
        source: SourceName::parse("cloud").unwrap(),
        organization: OrganizationKey::parse("acme").unwrap(),
        project: ProjectKey::parse("shop").unwrap(),
        asset: AssetName::parse("Shop").unwrap(),
        kind: ScopeKind::Branch,
        scope: ScopeName::parse(&format!("branch-{scope}")).unwrap(),
    }
}

fn observed(key: u8, state: State) -> Observed {
    Observed {
        key: IssueKey::parse(&format!("K{key}")).unwrap(),
        kind: Kind::Vulnerability,
        rule: None,
        message: "m".to_owned(),
        severity: Severity::High,
        state,
        path: Some("src/a.java".to_owned()),
        line: Some(1),
        range: None,
        created_at: Some(Timestamp(1)),
        updated_at: None,
        closed_at: state.is_closed().then_some(Timestamp(9)),
        sonar: SonarWords::default(),
        flows: Vec::new(),
    }
}

/// Messages come a minute apart.
fn heard(sequence: u64, said: Said) -> Heard {
    let at = Timestamp(i64::try_from(sequence * 60_000).unwrap());
    Heard { sequence, at, site: "berlin".parse().unwrap(), term: None, said }
}

fn finding(teller: u8, scope: u32, id: u64, key: u8, state: State) -> Said {
    Said::Finding(Box::new(FindingSaid {
        origin: origin(teller, scope),
        names: names(scope).into(),
        id: FindingId(id),
        observed: observed(key, state),
        rule_name: None,
        cwe: Vec::new(),
        first_seen_at: Timestamp(5),
    }))
}

/// A finding of a rule with CWE 79; none names the rule where the message is its name.
fn of_rule(id: u64, rule_name: Option<&str>) -> Said {
    let Said::Finding(mut said) = finding(1, 1, id, u8::try_from(id).unwrap(), State::Open) else { unreachable!() };
    said.observed.rule = Some(RuleKey::parse("java:S5131").unwrap());
    (said.rule_name, said.cwe) = (rule_name.map(str::to_owned), vec![79]);
    Said::Finding(said)
}

fn scope(teller: u8, number: u32, complete: bool) -> Said {
    Said::Scope(Box::new(ScopeSaid {
        origin: origin(teller, number),
        names: names(number),
        project_name: "Web shop".to_owned(),
        url: "https://sonarcloud.io".to_owned(),
        cloud: true,
        repository: None,
        analysed_at: Some(Timestamp(3)),
        // As of when it is told, at the latest.
        synced_at: Some(Timestamp(i64::MAX)),
        complete,
        sonar_total: Some(1),
        retired_at: None,
    }))
}

fn alive(teller: u8) -> Said {
    let (machine, version) = (format!("box-{teller}"), "0.1.0".to_owned());
    Said::Alive(AliveSaid { inventory: inventory(teller), machine, version, every_seconds: 60, offer: None })
}

fn taken(store: &Store, messages: &[Heard]) {
    taken_as(store, messages, true);
}

fn taken_as(store: &Store, messages: &[Heard], is_live: bool) {
    let messages = messages.to_vec();
    let last = messages.iter().map(|heard| heard.sequence).max().unwrap_or_default();
    let mut from = 0;
    while from < messages.len() {
        let rest = messages[from..].to_vec();
        from += store
            .write::<_, StoreError>(move |batch| {
                let position = Position { sequence: last, ..position(batch, &name())? };
                take(batch, (&name(), Timestamp(0)), (&rest, is_live), &position, Timestamp(50_000))
            })
            .unwrap();
    }
}

/// A finding's scope by name, its state, and when it was closed.
type Row = (String, State, Option<Timestamp>);

/// Every finding by its key, and the count of open ones that lists show.
fn held(store: &Store) -> (BTreeMap<String, Row>, u64) {
    store
        .read::<_, StoreError>(|view| {
            let (mut all, mut open) = (BTreeMap::new(), 0);
            for (project, _) in catalogue::projects(view)? {
                for (id, scope) in catalogue::scopes(view, project)? {
                    open += lists::count_open(view, id)?;
                    for Finding { observed, closed_at, .. } in findings::after(view, id, None, 1_000)? {
                        all.insert(observed.key.to_string(), (scope.name.to_string(), observed.state, closed_at));
                    }
                }
            }
            Ok((all, open))
        })
        .unwrap()
}

/// Looks through everything until nothing is left to clear up; returns the messages that nobody needs.
fn swept(store: &Store, now: Timestamp) -> Vec<u64> {
    let mut needless = Vec::new();
    let all = store.read(|view| sites(view, &name())).unwrap();
    for (_, record) in all {
        for looked in looked(&record) {
            let (stale, _) = store.read(|view| look(view, looked, (0, now), None, 1_000)).unwrap();
            needless.extend(stale.iter().filter_map(|one| one.sequence));
            store.delete::<_, StoreError>(move |batch| sweep(batch, &stale, now)).unwrap();
        }
    }
    needless.sort_unstable();
    needless
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Numbers, keys and states as they come; each finding of a box has one key, as it has there.
    #[test]
    fn what_comes_twice_or_late_comes_to_the_same_as_each_once_in_order(
        told in prop::collection::vec((1_u64..6, 0_usize..4), 1..30),
        again in prop::collection::vec(0_usize..30, 0..30),
    ) {
        let messages: Vec<Heard> = told
            .iter()
            .enumerate()
            .map(|(index, &(id, state))| {
                let key = u8::try_from(id).unwrap();
                let scope = u32::try_from(id % 2).unwrap() + 1;
                heard(index as u64 + 1, finding(1, scope, id, key, STATES[state]))
            })
            .collect();
        let (_folder, straight) = store();
        taken(&straight, &messages);
        let (_other, muddled) = store();
        for index in again {
            // Something of before, or something that was not to come yet.
            if let Some(message) = messages.get(index) {
                taken(&muddled, std::slice::from_ref(message));
            }
        }
        taken(&muddled, &messages);
        prop_assert_eq!(held(&straight), held(&muddled));
    }
}

#[test]
fn a_finding_that_gets_another_key_stays_the_same_one() {
    let (_folder, store) = store();
    taken(&store, &[heard(1, finding(1, 1, 7, 1, State::Open)), heard(2, finding(1, 1, 8, 2, State::Open))]);
    // The first has the key of the second by now, which has another one.
    taken(&store, &[heard(3, finding(1, 1, 7, 2, State::Open)), heard(4, finding(1, 1, 8, 3, State::Open))]);
    let (all, open) = held(&store);
    assert_eq!((all.keys().map(String::as_str).collect::<Vec<_>>(), open), (vec!["K2", "K3"], 2));
}

#[test]
fn names_follow_the_numbers_behind_them() {
    let (_folder, store) = store();
    taken(&store, &[heard(1, finding(1, 1, 7, 1, State::Open)), heard(2, scope(1, 1, true))]);
    let mut renamed = names(1);
    renamed.project = ProjectKey::parse("shop-2").unwrap();
    renamed.scope = ScopeName::parse("trunk").unwrap();
    let Said::Scope(told) = scope(1, 1, true) else { unreachable!() };
    let told = ScopeSaid { names: renamed, ..*told };
    taken(&store, &[heard(3, Said::Scope(Box::new(told)))]);
    assert_eq!(held(&store).0["K1"].0, "trunk");
    let projects = store.read(catalogue::projects).unwrap();
    assert_eq!((projects.len(), projects[0].1.key.as_str()), (1, "shop-2"));
    assert_eq!(projects[0].1.organization.source.as_str(), "cloud@berlin");
    // What was said before it changes nothing any more.
    taken(&store, &[heard(2, scope(1, 1, true))]);
    assert_eq!(held(&store).0["K1"].0, "trunk");
}

/// What the former inventory told: two findings of a branch and one of another.
fn former() -> [Heard; 6] {
    [
        heard(1, finding(1, 1, 7, 1, State::Open)),
        heard(2, finding(1, 1, 8, 2, State::Open)),
        heard(3, finding(1, 2, 9, 3, State::Open)),
        heard(4, scope(1, 1, true)),
        heard(5, scope(1, 2, true)),
        heard(6, alive(1)),
    ]
}

/// The first finding under other numbers, in the first branch under another number.
fn anew(sequence: u64) -> [Heard; 2] {
    let mut told = scope(2, 4, true);
    let Said::Scope(said) = &mut told else { unreachable!() };
    said.names = names(1);
    let Said::Finding(mut first) = finding(2, 4, 1, 1, State::Open) else { unreachable!() };
    first.names = names(1).into();
    [heard(sequence, Said::Finding(first)), heard(sequence + 1, told)]
}

const LONG_AFTER: Timestamp = Timestamp(100 * 24 * 60 * 60 * 1000);

#[test]
fn a_box_that_was_set_up_anew_takes_its_findings_over_and_what_it_does_not_tell_is_closed() {
    let (_folder, store) = store();
    taken(&store, &former());
    taken(&store, &anew(7));
    taken(&store, &[heard(9, alive(2))]);
    let soon = heard(10, alive(2)).at;
    assert_eq!(swept(&store, soon), [0_u64; 0], "the former one may be there");
    assert_eq!(held(&store).0["K2"].1, State::Open);
    // An hour of signs of life later.
    taken(&store, &[heard(80, alive(2))]);
    let later = heard(81, alive(2)).at;
    assert_eq!(swept(&store, later), [0_u64; 0], "another hub may not have heard of them");
    let (all, _) = held(&store);
    assert_eq!((all["K1"].1, all["K2"].1), (State::Open, State::Removed));
    assert!(!all.contains_key("K3"), "its branch is not told any more");
    assert_eq!(swept(&store, LONG_AFTER), [1, 2, 3]);
    assert_eq!(swept(&store, LONG_AFTER), [0_u64; 0]);
}

#[test]
fn a_copy_that_spoke_for_a_while_closes_nothing() {
    let (_folder, store) = store();
    taken(&store, &former());
    // A backup that was tried out somewhere tells everything it has, and is gone again.
    taken(&store, &anew(7));
    taken(&store, &[heard(9, alive(2)), heard(10, scope(1, 1, true)), heard(11, scope(1, 2, true))]);
    taken(&store, &[heard(90, alive(1)), heard(200, alive(1))]);
    assert_eq!(swept(&store, LONG_AFTER), [0_u64; 0]);
    let (all, open) = held(&store);
    assert_eq!((all.len(), open), (3, 3), "{all:?}");
}

/// A stream holds the newest alone: a hub that begins later does not hear that the box spoke before its copy did.
#[test]
fn a_hub_that_did_not_hear_a_box_begin_closes_nothing_for_it() {
    let (_folder, store) = store();
    // What is left of two boxes: all findings as the copy told them, and what the box said since.
    taken_as(&store, &anew(7), false);
    taken_as(&store, &[heard(8, finding(2, 4, 3, 2, State::Open)), heard(9, alive(2))], false);
    taken_as(&store, &[heard(20, scope(1, 1, true)), heard(90, alive(1))], false);
    taken(&store, &[heard(200, alive(1))]);
    assert_eq!(swept(&store, LONG_AFTER), [0_u64; 0]);
    assert_eq!(held(&store).1, 2);
}

/// A backup that is put back knows what was complete when it was made.
#[test]
fn a_branch_that_was_not_read_since_a_box_began_anew_ends_nothing() {
    let (_folder, store) = store();
    taken(&store, &former());
    let [first, mut told] = anew(7);
    let Said::Scope(said) = &mut told.said else { unreachable!() };
    said.synced_at = Some(Timestamp(1));
    taken(&store, &[first, told, heard(9, alive(2)), heard(80, alive(2))]);
    swept(&store, LONG_AFTER);
    assert_eq!(held(&store).0["K2"].1, State::Open);
}

#[test]
fn a_branch_that_gets_the_name_of_another_is_not_ended_with_it() {
    let (_folder, store) = store();
    taken(&store, &[heard(1, finding(1, 1, 7, 1, State::Open)), heard(2, scope(1, 1, true))]);
    // The project was removed and imported anew: the same names under other numbers, and then the end of the former ones.
    let renumbered = |number: u32, id: u64, key: u8| {
        let Said::Finding(mut said) = finding(1, number, id, key, State::Open) else { unreachable!() };
        said.names = names(1).into();
        said.origin.project = ProjectId(2);
        Said::Finding(said)
    };
    taken(
        &store,
        &[
            heard(3, renumbered(5, 20, 1)),
            heard(4, Said::Gone { inventory: inventory(1), scope: ScopeId(1) }),
            heard(5, renumbered(5, 21, 2)),
        ],
    );
    store
        .delete::<_, StoreError>(|batch| {
            while let Some(scope) = catalogue::discarded(batch)? {
                findings::discard(batch, scope)?;
            }
            Ok(())
        })
        .unwrap();
    let (all, open) = held(&store);
    assert_eq!((all.keys().map(String::as_str).collect::<Vec<_>>(), open), (vec!["K1", "K2"], 2));
}

#[test]
fn what_many_branches_bring_at_once_is_counted_once() {
    let (_folder, store) = store();
    let today = crate::store::trend::DayNumber::of(Timestamp(50_000));
    let open = |store: &Store| {
        let days = store.read(|view| crate::store::trend::days(view, today, 1)).unwrap();
        days.last().unwrap().1.open.iter().sum::<u64>()
    };
    taken(&store, &[heard(1, finding(1, 1, 7, 1, State::Open)), heard(2, finding(1, 2, 8, 2, State::Open))]);
    assert_eq!(open(&store), 2);
    taken(&store, &[heard(3, finding(1, 1, 7, 1, State::Fixed)), heard(4, finding(1, 2, 9, 3, State::Open))]);
    assert_eq!((open(&store), held(&store).1), (2, 2));
}

#[test]
fn what_this_box_itself_tells_a_fleet_is_not_gathered_by_it() {
    let (_folder, store) = store();
    let own = store.read(catalogue::inventory).unwrap();
    let Said::Finding(mut said) = finding(1, 1, 7, 1, State::Open) else { unreachable!() };
    said.origin.inventory = own;
    taken(&store, &[heard(1, Said::Finding(said))]);
    assert!(held(&store).0.is_empty());
    assert!(store.read(|view| sites(view, &name())).unwrap().is_empty());
}

#[test]
fn who_makes_inventories_up_fills_nothing() {
    let (_folder, store) = store();
    for number in 1..=100 {
        taken(&store, &[heard(u64::from(number), alive(number))]);
    }
    let sites = store.read(|view| sites(view, &name())).unwrap();
    assert_eq!(sites[0].1.tellers.len(), crate::domain::limits::FLEET_TELLERS_MAX);
}

#[test]
fn what_is_gone_here_needs_its_message_only_while_it_may_be_open_elsewhere() {
    let (_folder, store) = store();
    taken(
        &store,
        &[
            heard(1, finding(1, 1, 7, 1, State::Fixed)),
            heard(2, finding(1, 1, 8, 2, State::Open)),
            heard(3, finding(1, 2, 9, 3, State::Open)),
        ],
    );
    taken(&store, &[heard(4, Said::Gone { inventory: inventory(1), scope: ScopeId(2) })]);
    store
        .delete::<_, StoreError>(|batch| {
            while let Some(scope) = catalogue::discarded(batch)? {
                findings::discard(batch, scope)?;
            }
            findings::prune_closed(batch, Timestamp(100)).map(drop)
        })
        .unwrap();
    assert_eq!(held(&store).0.keys().collect::<Vec<_>>(), ["K2"]);
    assert_eq!(swept(&store, heard(100, alive(1)).at), [0_u64; 0], "another hub may not have heard of them");
    assert_eq!(swept(&store, LONG_AFTER), [1, 3]);
}

#[test]
fn a_fleet_that_is_left_leaves_nothing_behind() {
    let (_folder, store) = store();
    taken(&store, &[heard(1, finding(1, 1, 7, 1, State::Open)), heard(2, alive(1)), heard(3, scope(1, 1, true))]);
    store.delete::<_, StoreError>(|batch| remove(batch, &name())).unwrap();
    while store.delete::<_, StoreError>(|batch| clear(batch, Timestamp(60_000))).unwrap() {}
    let left = store.read::<_, StoreError>(|view| {
        let of = |table| Ok::<_, StoreError>(keys(view, table, &Key::new(), 10)?.len());
        let tables = [tables::SOURCES, tables::PROJECTS, tables::SITES, tables::FLEET_IDS, tables::FLEET_POSITIONS];
        tables.into_iter().map(of).sum::<Result<usize, _>>()
    });
    assert_eq!(left.unwrap(), 0);
}

/// A box that was only slow does not know yet that another one speaks for its site.
#[test]
fn what_was_said_in_an_older_term_of_a_lease_does_not_count() {
    let (_folder, store) = store();
    let said = |sequence, term, state| Heard { term, ..heard(sequence, finding(1, 1, 1, 1, state)) };
    let is_open = |store: &Store| held(store).0.values().all(|row| row.1 == State::Open);
    taken(&store, &[heard(1, scope(1, 1, true)), said(2, Some(7), State::Open), said(3, Some(8), State::Open)]);
    // Later in the stream, and yet older.
    taken(&store, &[said(4, Some(7), State::Fixed)]);
    assert!(is_open(&store));
    // Within what is taken in together, too.
    taken(&store, &[said(5, Some(9), State::Open), said(6, Some(8), State::Fixed)]);
    assert!(is_open(&store));
    taken(&store, &[said(7, Some(9), State::Fixed)]);
    assert!(!is_open(&store));
    // One alone has none.
    taken(&store, &[said(8, None, State::Open)]);
    assert!(is_open(&store));
}

/// What it is called is what all of its findings are shown under.
#[test]
fn a_message_that_is_its_rules_name_leaves_the_rule_its_name() {
    let (_folder, store) = store();
    let named = |store: &Store| {
        let (source, key) = (SourceName::parse("cloud@berlin").unwrap(), RuleKey::parse("java:S5131").unwrap());
        store.read(|view| catalogue::rule(view, &source, &key)).unwrap().map(|rule| (rule.name, rule.cwe))
    };
    // In either order, also within a batch.
    taken(&store, &[heard(1, of_rule(1, None)), heard(2, of_rule(2, Some("No XSS")))]);
    let both = Some((Some("No XSS".to_owned()), vec![79]));
    assert_eq!(named(&store), both);
    taken(&store, &[heard(3, of_rule(3, None))]);
    assert_eq!(named(&store), both);
    taken(&store, &[heard(4, of_rule(4, Some("Another name"))), heard(5, of_rule(1, None))]);
    assert_eq!(named(&store), Some((Some("Another name".to_owned()), vec![79])));
}
