//! A week in which a platform cannot be reached, while much changes in SonarQube. What can go wrong: something is told
//! twice when it is back, or not at all; a decision that people made there is undone; and after so long the log of changes
//! may not reach back to where the platform stopped, so that it has to be told everything anew.

use std::time::Duration;

use hydrophone::domain::destination::PlatformKind;
use hydrophone::store::{StoreError, changes};

use crate::life::{Life, There, on_conviso, on_dojo, there};
use crate::support::conviso::Conviso;
use crate::support::defectdojo::{DefectDojo, Fault};
use crate::support::sonar::{Issue, Severity};

const DAY: Duration = Duration::from_hours(24);

const KEYS: &[&str] = &["A", "B", "C", "D", "E", "F", "G", "H"];

/// A week of changes. In its middle the platform goes from one way of being down to another, and the log may be cut.
fn week(life: &mut Life, log_is_cut: bool, next_way_of_being_down: impl FnOnce()) {
    let told = life.progress().told;
    for day in 0..7_u32 {
        life.sonar.analyse("shop", "main", |analysis| match day {
            0 => {
                analysis.fix("A");
                analysis.fix("B");
                analysis.open(Issue::vulnerability("java:S5131", "src/new.java", 70).with_key("N1"));
            }
            1 => {
                analysis.reopen("B");
                analysis.set_severity("C", Severity::Info);
                analysis.open(Issue::vulnerability("java:S5131", "src/new.java", 71).with_key("N2"));
            }
            2 => {
                analysis.shift_line("D", 44);
                analysis.shift_line("G", 77);
                analysis.fix("N2");
            }
            3 => analysis.fix("B"),
            4 => {
                analysis.reopen("A");
                analysis.fix("H");
            }
            5 => analysis.reopen("B"),
            _ => analysis.fix("A"),
        });
        if day == 2 {
            life.sonar.triage("shop", "main", |model| model.accept("E"));
            life.sonar.triage("shop", "main", |model| model.mark_false_positive("F"));
        }
        if day == 4 {
            life.sonar.triage("shop", "main", |model| model.reopen("F"));
        }
        life.sync();
        life.pass(DAY);
        let progress = life.progress();
        assert!(progress.trouble.is_some(), "nobody is told that it is down on day {day}");
        assert_eq!((progress.told, life.letters()), (told, 0), "day {day}");
    }
    next_way_of_being_down();
    life.pass(Duration::from_hours(2));
    if log_is_cut {
        let cut = || life.inside.store.delete::<_, StoreError>(|batch| changes::prune(batch, 1)).unwrap();
        while cut() > 0 {}
    }
}

/// How everything has to be afterwards, with these words for severities.
fn afterwards(lowest: &str, usual: &str) -> There {
    there(&[
        ("A", "closed", usual, 1),
        ("B", "open", usual, 2),
        ("C", "open", lowest, 3),
        ("D", "open", usual, 44),
        ("E", "accepted", usual, 5),
        ("F", "open", usual, 6),
        // What people decided there before: this one, and H, which they accepted and which is fixed.
        ("G", "false_positive", usual, 77),
        ("N1", "open", usual, 70),
    ])
}

fn assert_held(life: &Life) {
    let held = ["A fixed", "B open", "C open", "D open", "E accepted", "F open", "G open", "H fixed"];
    let mut held: Vec<String> = held.iter().map(|one| (*one).to_owned()).collect();
    held.extend(["N1 open".to_owned(), "N2 fixed".to_owned()]);
    assert_eq!(life.held(), held);
}

fn assert_rest(life: &mut Life, log_is_cut: bool) {
    let progress = life.progress();
    assert_eq!((progress.trouble, life.letters()), (None, 0));
    assert_eq!(progress.overtaken_at.is_some(), log_is_cut);
    // And nothing is left that would be told again.
    life.begin_anew();
    life.pass(Duration::from_hours(1));
    assert_eq!(life.progress().told, progress.told);
}

#[test]
fn a_week_without_defectdojo_ends_with_both_sides_equal() {
    for log_is_cut in [false, true] {
        let dojo = DefectDojo::start();
        let mut life = Life::begun(PlatformKind::DefectDojo, dojo.url(), &dojo.token(), KEYS);
        dojo.edit(|model| {
            let (g, h) = (model.finding_with("G").id, model.finding_with("H").id);
            model.mark_false_positive(g);
            model.accept_risk(h);
        });
        life.pass(Duration::from_hours(1));
        let usual = on_dojo(&dojo)["A"].1.clone();
        dojo.set_offline(true);
        week(&mut life, log_is_cut, || {
            dojo.set_offline(false);
            dojo.fault_always("/api/v2/", Fault::internal_error(1));
        });
        dojo.clear_faults();
        life.pass(DAY);
        assert_held(&life);
        let mut right = afterwards("info", &usual);
        right.insert("H".to_owned(), ("accepted".to_owned(), usual, 8));
        assert_eq!(on_dojo(&dojo), right, "log cut: {log_is_cut}");
        assert_rest(&mut life, log_is_cut);
        assert_eq!(on_dojo(&dojo), right, "log cut: {log_is_cut}");
    }
}

#[test]
fn a_week_without_conviso_ends_with_both_sides_equal() {
    for log_is_cut in [false, true] {
        let conviso = Conviso::start();
        let mut life = Life::begun(PlatformKind::Conviso, conviso.url(), Conviso::KEY, KEYS);
        conviso.edit(|model| {
            model.decide("G", "FALSE_POSITIVE", "a constant");
            model.decide("H", "RISK_ACCEPTED", "for a year");
        });
        life.pass(Duration::from_hours(1));
        let usual = on_conviso(&conviso)["A"].1.clone();
        conviso.set_down(Some(0));
        week(&mut life, log_is_cut, || conviso.set_down(Some(500)));
        conviso.set_down(None);
        life.pass(DAY);
        assert_held(&life);
        let mut right = afterwards("notification", &usual);
        right.insert("H".to_owned(), ("accepted".to_owned(), usual, 8));
        assert_eq!(on_conviso(&conviso), right, "log cut: {log_is_cut}");
        assert_rest(&mut life, log_is_cut);
        assert_eq!(on_conviso(&conviso), right, "log cut: {log_is_cut}");
    }
}
