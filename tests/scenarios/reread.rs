//! What people do on a platform without deciding anything: they delete findings, edit what these show, or the whole
//! server is set back to a backup. No poll tells of it. Once a day what was told is compared with what is shown, and put
//! right; what people decided is left alone.

use std::time::Duration;

use hydrophone::domain::destination::PlatformKind;
use hydrophone::domain::ids::FindingId;
use hydrophone::store::changes::Cursor;
use hydrophone::store::destinations::{Progress, Woe};
use hydrophone::store::{StoreError, destinations};

use crate::life::{Life, on_conviso, on_dojo, there};
use crate::support::conviso::Conviso;
use crate::support::defectdojo::{Call, DefectDojo, Fault, Model, Moment, When};
use crate::support::sonar::Issue;

const DAY: Duration = Duration::from_hours(24);

const KEYS: &[&str] = &["A", "B", "C", "D", "E", "F"];

fn begun(dojo: &DefectDojo) -> Life {
    let life = Life::begun(PlatformKind::DefectDojo, dojo.url(), &dojo.token(), KEYS);
    assert_eq!(on_dojo(dojo).len(), KEYS.len());
    life
}

fn id(dojo: &DefectDojo, key: &str) -> u64 {
    dojo.edit(|model| model.finding_with(key).id)
}

/// Whether it asks how findings stand.
fn is_look(call: &Call) -> bool {
    call.method == "GET" && call.param("id").is_some()
}

/// Calls that change something.
fn writes(dojo: &DefectDojo) -> Vec<Call> {
    dojo.requests().into_iter().filter(|call| call.method != "GET").collect()
}

#[test]
fn what_was_edited_or_deleted_on_defectdojo_is_put_right_within_a_day_and_decisions_stay() {
    let dojo = DefectDojo::start();
    let mut life = begun(&dojo);
    life.sonar.analyse("shop", "main", |analysis| analysis.fix("F"));
    life.sync();
    let before = on_dojo(&dojo);
    let former = id(&dojo, "A");
    dojo.edit(|model| {
        model.delete_finding(former);
        let id = |model: &Model, key: &str| model.finding_with(key).id;
        model.rate(id(model, "B"), "Info");
        let edited = id(model, "C");
        let edited = model.findings.get_mut(&edited).unwrap();
        edited.title = "Looked at by Ann".to_owned();
        edited.line = Some(4711);
        // A decision, and an edit beside it.
        model.mark_false_positive(id(model, "D"));
        model.rate(id(model, "D"), "Low");
        model.mitigate(id(model, "E"));
        // A closed one is not missed.
        model.delete_finding(id(model, "F"));
    });
    life.pass(Duration::from_hours(20));
    assert_eq!(on_dojo(&dojo)["B"].1, "info", "it is looked at once a day");
    life.pass(Duration::from_hours(5));
    let mut right = before.clone();
    right.remove("F");
    right.get_mut("D").unwrap().0 = "false_positive".to_owned();
    right.get_mut("E").unwrap().0 = "closed".to_owned();
    assert_eq!(on_dojo(&dojo), right);
    assert_ne!(id(&dojo, "A"), former);
    assert!(!dojo.edit(|model| model.finding_with("C").title.contains("Ann")));
    // Made anew, it is followed as before.
    life.sonar.analyse("shop", "main", |analysis| analysis.fix("A"));
    life.sync();
    assert_eq!(on_dojo(&dojo)["A"].0, "closed");
    dojo.forget_requests();
    life.pass(3 * DAY);
    assert_eq!(writes(&dojo), [], "what is right is left alone");
}

#[test]
fn a_defectdojo_that_was_set_back_to_a_backup_is_told_again_what_it_lost() {
    let dojo = DefectDojo::start();
    let mut life = begun(&dojo);
    let backup = dojo.edit(|model| model.findings.clone());
    // Its clock goes with ours: what moved in the very minute of a poll is looked at again.
    let pass = |life: &mut Life, hours| {
        life.pass(Duration::from_hours(hours));
        let now = jiff::Timestamp::from_millisecond(life.inside.clock.now().0).unwrap();
        dojo.edit(|model| model.freeze_clock(Some(now)));
    };
    pass(&mut life, 2);
    life.sonar.analyse("shop", "main", |analysis| {
        analysis.fix("A");
        analysis.shift_line("B", 22);
        analysis.open(Issue::vulnerability("java:S3649", "src/a.java", 90).with_key("N"));
    });
    life.sonar.triage("shop", "main", |model| {
        model.accept("C");
        model.mark_false_positive("D");
        model.confirm("E");
    });
    life.sync();
    let right = on_dojo(&dojo);
    let verified = |key: &str| dojo.edit(|model| model.finding_with(key).status.verified);
    assert!(right["C"].0 == "accepted" && right["D"].0 == "false_positive" && verified("E"));
    assert_eq!((right["A"].0.as_str(), right["B"].2, right["N"].2), ("closed", 22, 90));
    pass(&mut life, 1);
    dojo.edit(|model| model.findings = backup);
    pass(&mut life, 25);
    assert_eq!(on_dojo(&dojo), right);
    assert!(verified("E"));
    // The other way round: closed by us at the time of the backup, and reopened since.
    let backup = dojo.edit(|model| model.findings.clone());
    life.sonar.analyse("shop", "main", |analysis| analysis.reopen("A"));
    life.sync();
    assert_eq!(on_dojo(&dojo)["A"].0, "open");
    pass(&mut life, 1);
    dojo.edit(|model| model.findings = backup);
    pass(&mut life, 25);
    assert_eq!(on_dojo(&dojo)["A"].0, "open");
}

/// Sees to it that something is done at a moment of DefectDojo's first request of a kind.
fn just_at(
    (dojo, moment): (&DefectDojo, Moment),
    request: fn(&Call) -> bool,
    done: impl FnOnce() + Send,
    meanwhile: impl FnOnce(),
) {
    let hold = dojo.hold_when(moment, request);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            hold.wait_held(1);
            done();
            hold.release();
        });
        meanwhile();
    });
}

#[test]
fn what_a_person_decides_while_it_is_looked_at_is_not_taken_for_something_that_was_lost() {
    let dojo = DefectDojo::start();
    let mut life = begun(&dojo);
    life.sonar.analyse("shop", "main", |analysis| analysis.fix("A"));
    life.sonar.triage("shop", "main", |model| model.mark_false_positive("B"));
    life.sync();
    assert_eq!((on_dojo(&dojo)["A"].0.as_str(), on_dojo(&dojo)["B"].0.as_str()), ("closed", "false_positive"));
    life.pass(Duration::from_hours(23));
    let reopen = || {
        dojo.edit(|model| {
            for key in ["A", "B"] {
                let id = model.finding_with(key).id;
                model.reopen(id);
            }
        });
    };
    just_at((&dojo, Moment::BeforeReading), is_look, reopen, || life.pass(Duration::from_hours(3)));
    life.pass(2 * DAY);
    assert_eq!((on_dojo(&dojo)["A"].0.as_str(), on_dojo(&dojo)["B"].0.as_str()), ("open", "open"));
}

/// Whether decisions can be told from losses is not known where decisions may not be asked for.
#[test]
fn where_nobody_may_be_asked_for_decisions_no_status_is_told_again() {
    let dojo = DefectDojo::start();
    let mut life = begun(&dojo);
    life.sonar.analyse("shop", "main", |analysis| analysis.fix("A"));
    life.sync();
    life.pass(Duration::from_hours(1));
    dojo.edit(|model| {
        let id = model.finding_with("A").id;
        model.reopen(id);
        let edited = model.finding_with("B").id;
        model.rate(edited, "Info");
    });
    let poll = |call: &Call| call.param("o").is_some_and(|order| order.contains("last_status_update"));
    dojo.fault_by(When::Always, poll, Fault::json(418, r#"{"detail":"not you"}"#, 1));
    life.pass(DAY + Duration::from_hours(2));
    assert_ne!(on_dojo(&dojo)["B"].1, "info", "it is compared");
    assert_eq!(on_dojo(&dojo)["A"].0, "open");
    dojo.clear_faults();
    life.pass(DAY + Duration::from_hours(2));
    assert_eq!(on_dojo(&dojo)["A"].0, "open", "it is a decision, which is known now");
}

/// An operator who has it compared does not care how far it happened to be.
#[test]
fn a_comparison_that_is_asked_for_in_the_middle_of_one_begins_anew() {
    let dojo = DefectDojo::start();
    let mut life = begun(&dojo);
    life.pass(Duration::from_hours(23));
    let b = id(&dojo, "B");
    let (store, destination) = (life.inside.store.clone(), life.id);
    let replay = || {
        dojo.edit(|model| model.rate(b, "Info"));
        // As `destination replay` does it.
        let replay = store.write::<_, StoreError>(move |batch| {
            let mut progress = destinations::progress(batch, destination)?;
            progress.reread = Some(FindingId(0));
            progress.replay(Cursor::New);
            destinations::put_progress(batch, destination, &progress)
        });
        replay.unwrap();
    };
    just_at((&dojo, Moment::BeforeAnswering), is_look, replay, || life.pass(Duration::from_hours(3)));
    assert_ne!(on_dojo(&dojo)["B"].1, "info");
}

#[test]
fn a_process_that_begins_in_the_middle_of_a_comparison_knows_what_was_lost_before() {
    let dojo = DefectDojo::start();
    let mut life = begun(&dojo);
    life.pass(Duration::from_hours(1));
    let woe = Woe { why: "no Test".into(), remedy: Some("make one".into()), since: life.inside.clock.now() };
    let (lost, id) = (Some(woe.clone()), life.id);
    let noted = life.inside.store.write::<_, StoreError>(move |batch| {
        let progress = destinations::progress(batch, id)?;
        destinations::put_progress(batch, id, &Progress { lost, reread: Some(FindingId(1)), ..progress })
    });
    noted.unwrap();
    life.begin_anew();
    life.settle();
    assert_eq!((life.progress().reread, life.progress().lost), (None, Some(woe)));
    life.pass(Duration::from_hours(2));
    assert_eq!(life.progress().lost, None, "compared from the beginning, nothing is lost");
}

/// A platform may answer everything but this. It must not be asked without a pause for that, and somebody has to know.
#[test]
fn a_platform_that_cannot_be_compared_is_asked_once_an_hour_and_that_is_shown() {
    let dojo = DefectDojo::start();
    let mut life = begun(&dojo);
    life.pass(Duration::from_hours(23));
    let b = id(&dojo, "B");
    dojo.edit(|model| model.rate(b, "Info"));
    let minutes = |life: &mut Life, count| {
        for _ in 0..count {
            life.inside.clock.advance(Duration::from_mins(1));
            life.settle();
        }
    };
    for refuses in [is_look, |call: &Call| call.method == "PATCH"] {
        dojo.fault_by(When::Always, refuses, Fault::bad_gateway(1));
        dojo.forget_requests();
        let from = life.inside.clock.now();
        minutes(&mut life, 4 * 60);
        let asked = dojo.requests().into_iter().filter(refuses).count();
        assert!((2..=5).contains(&asked), "{asked}");
        let lost = life.progress().lost.unwrap();
        assert!(lost.since.since(from) < Duration::from_mins(130), "{lost:?}");
        dojo.clear_faults();
        minutes(&mut life, 1);
    }
    minutes(&mut life, 120);
    assert_ne!(on_dojo(&dojo)["B"].1, "info");
    assert_eq!((life.progress().woe(), life.progress().reread), (None, None));
}

#[test]
fn a_deleted_test_is_made_again_within_a_day_and_a_hidden_one_is_not_taken_for_deleted() {
    let dojo = DefectDojo::start();
    let mut life = begun(&dojo);
    let before = on_dojo(&dojo);
    let test = dojo.edit(|model| model.finding_with("A").test);
    // The token's user loses its rights: lists are empty, and nothing is deleted.
    let users = dojo.edit(|model| std::mem::take(&mut model.product_types[0].authorized_users));
    life.pass(2 * DAY);
    assert!(life.progress().woe().is_some(), "somebody has to see that");
    dojo.edit(|model| model.product_types[0].authorized_users = users);
    life.begin_anew();
    life.pass(2 * DAY);
    assert_eq!(on_dojo(&dojo), before);
    assert_eq!(life.progress().woe(), None);
    // Deleted it is really.
    dojo.edit(|model| model.delete_test(test));
    life.pass(2 * DAY);
    assert_eq!(on_dojo(&dojo), before);
}

#[test]
fn the_daily_read_is_taken_up_where_it_ended_and_waits_for_what_is_new() {
    let dojo = DefectDojo::start();
    let mut life = begun(&dojo);
    life.pass(Duration::from_hours(22));
    let b = id(&dojo, "B");
    dojo.edit(|model| model.rate(b, "Info"));
    // It cannot be put back at first; the process ends, and the next one does.
    dojo.fault_when(|call| call.method == "PATCH", Fault::bad_gateway(1));
    life.pass(Duration::from_hours(3));
    life.begin_anew();
    life.pass(Duration::from_hours(1));
    assert_ne!(on_dojo(&dojo)["B"].1, "info");
    assert_eq!(life.progress().reread, None);
    // A server that makes something else of what it is told is not told so every day.
    dojo.edit(|model| model.findings.get_mut(&b).unwrap().severity = "Low".to_owned());
    dojo.fault_by(When::Always, |call| call.method == "PATCH", Fault::json(200, &format!("{{\"id\":{b}}}"), 1));
    dojo.forget_requests();
    life.pass(5 * DAY);
    assert_eq!(writes(&dojo).len(), 1, "{:?}", writes(&dojo));
}

#[test]
fn what_was_deleted_or_lost_on_conviso_is_told_again_within_a_day() {
    let conviso = Conviso::start();
    let mut life = Life::begun(PlatformKind::Conviso, conviso.url(), Conviso::KEY, &["A", "B", "C", "D"]);
    life.sonar.analyse("shop", "main", |analysis| analysis.fix("D"));
    life.sync();
    let before = on_conviso(&conviso);
    conviso.edit(|model| {
        model.issues.retain(|issue| issue.tool_id.as_deref() != Some("A"));
        model.decide("B", "IN_PROGRESS", "Ann looks at it");
        model.decide("C", "RISK_ACCEPTED", "for a year");
        // As before we closed it.
        let lost = model.issues.iter_mut().find(|issue| issue.tool_id.as_deref() == Some("D")).unwrap();
        "CREATED".clone_into(&mut lost.status);
    });
    life.pass(DAY + Duration::from_hours(1));
    let mut right = before;
    right.get_mut("B").unwrap().0 = "odd".to_owned();
    right.get_mut("C").unwrap().0 = "accepted".to_owned();
    assert_eq!(on_conviso(&conviso), right);
    let usual = right["A"].1.clone();
    assert_eq!(right["A"], there(&[("A", "open", &usual, 1)])["A"]);
    let told = life.progress().told;
    life.pass(3 * DAY);
    assert_eq!(life.progress().told, told);
}
