//! The real daemon between the simulated SonarQube and each simulated platform: whatever happens on either side, both
//! end up equal, and nothing is there twice.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::conviso::Conviso;
use crate::support::defectdojo::DefectDojo;
use crate::support::gateway::Gateway;
use crate::support::sonar::{Issue, Mode, Severity, Sonar};
use crate::support::{connect, hook_up, import};

fn shop() -> (Sonar, Gateway) {
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        model.add_project("acme", "shop", "Web shop");
        model.add_issue("shop", "main", Issue::vulnerability("java:S3649", "src/a.java", 12).with_key("A"));
        model.add_issue("shop", "main", Issue::vulnerability("java:S2068", "src/b.java", 3).with_key("B"));
    });
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    import(&gateway, "acme", &["shop"]);
    hook_up(&gateway, &sonar, "acme");
    (sonar, gateway)
}

fn wait_up_to_date(gateway: &Gateway, name: &str) -> Value {
    gateway.wait(&format!("{name} to be up to date"), |gateway| {
        Some(gateway.json(&["destination", "show", name])).filter(|shown| shown["state"] == "up_to_date")
    })
}

/// Statuses on Conviso by Sonar's key. Each key is there once.
fn on_conviso(conviso: &Conviso) -> BTreeMap<String, String> {
    conviso.edit(|model| {
        let all = model.issues.iter().filter_map(|issue| Some((issue.tool_id.clone()?, issue.status.clone())));
        let all: Vec<_> = all.collect();
        let statuses: BTreeMap<_, _> = all.iter().cloned().collect();
        assert_eq!(statuses.len(), all.len(), "something is there twice: {all:?}");
        statuses
    })
}

fn wait_conviso(gateway: &Gateway, conviso: &Conviso, expected: &[(&str, &[&str])]) {
    gateway.wait(&format!("{expected:?} on Conviso"), |_| {
        let there = on_conviso(conviso);
        let fits = |(key, statuses): &(&str, &[&str])| {
            there.get(*key).is_some_and(|status| statuses.contains(&status.as_str()))
        };
        (there.len() == expected.len() && expected.iter().all(fits)).then_some(())
    });
}

const OPEN: &[&str] = &["CREATED", "IDENTIFIED"];
const FIXED: &[&str] = &["FIX_ACCEPTED"];

#[test]
fn conviso_follows_the_life_of_findings_and_keeps_what_people_decide_there() {
    let (sonar, gateway) = shop();
    let conviso = Conviso::start();
    let url = conviso.url();
    let add =
        ["destination", "add", "conviso", "conviso", "--url", &url, "--option", "company=42", "--token-file", "-"];
    let added = gateway.json_with(&add, Conviso::KEY);
    assert!(added["lines"].as_array().unwrap().iter().all(|line| line["good"] == true), "{added}");
    wait_conviso(&gateway, &conviso, &[("A", OPEN), ("B", OPEN)]);
    wait_up_to_date(&gateway, "conviso");

    sonar.analyse("shop", "main", |analysis| {
        analysis.fix("A");
        analysis.set_severity("B", Severity::Blocker);
        analysis.open(Issue::vulnerability("java:S5131", "src/c.java", 7).with_key("C"));
    });
    wait_conviso(&gateway, &conviso, &[("A", FIXED), ("B", OPEN), ("C", OPEN)]);
    gateway.wait("the severity", |_| {
        conviso.edit(|model| model.issue("B").said.get("severity").is_some_and(|s| s == "CRITICAL")).then_some(())
    });
    sonar.analyse("shop", "main", |analysis| analysis.reopen("A"));
    wait_conviso(&gateway, &conviso, &[("A", OPEN), ("B", OPEN), ("C", OPEN)]);

    // A person decides there; nothing of ours undoes it.
    conviso.edit(|model| model.decide("B", "FALSE_POSITIVE", "a constant"));
    sonar.analyse("shop", "main", |analysis| analysis.shift_line("B", 9));
    sonar.analyse("shop", "main", |analysis| analysis.fix("C"));
    wait_conviso(&gateway, &conviso, &[("A", OPEN), ("B", &["FALSE_POSITIVE"]), ("C", FIXED)]);
    gateway.wait("the line", |_| {
        conviso.edit(|model| model.issue("B").said.get("vulnerableLine").is_some_and(|line| line == "9")).then_some(())
    });

    // Its key is made anew while things go on; and everything is told once more.
    conviso.set_key("made-anew");
    sonar.analyse("shop", "main", |analysis| {
        analysis.fix("A");
        analysis.reopen("C");
        analysis.open(Issue::vulnerability("java:S5131", "src/d.java", 1).with_key("D"));
    });
    gateway.wait("the destination to be in trouble", |gateway| {
        (gateway.json(&["destination", "show", "conviso"])["state"] == "refused").then_some(())
    });
    let conditions = gateway.json(&["status"])["conditions"].to_string();
    assert!(conditions.contains("destination_refused"), "{conditions}");
    conviso.set_key(Conviso::KEY);
    let gateway = gateway.restart(Gateway::kill);
    wait_conviso(&gateway, &conviso, &[("A", FIXED), ("B", &["FALSE_POSITIVE"]), ("C", OPEN), ("D", OPEN)]);
    let before = conviso.edit(|model| model.issues.len());
    gateway.json(&["destination", "replay", "conviso"]);
    wait_up_to_date(&gateway, "conviso");
    wait_conviso(&gateway, &conviso, &[("A", FIXED), ("B", &["FALSE_POSITIVE"]), ("C", OPEN), ("D", OPEN)]);
    assert_eq!(conviso.edit(|model| model.issues.len()), before);
    let letters = gateway.json(&["destination", "dead-letters", "conviso"]);
    assert_eq!(letters["dead_letters"], json!([]));
}

#[test]
fn a_decision_on_conviso_becomes_one_in_sonar_and_is_not_told_back() {
    let (sonar, gateway) = shop();
    let token = sonar.token().to_owned();
    sonar.edit(|model| model.token_mut(&token).administers_issues = true);
    let conviso = Conviso::start();
    let url = conviso.url();
    let add =
        ["destination", "add", "conviso", "conviso", "--url", &url, "--option", "company=42", "--token-file", "-"];
    gateway.json_with(&[&add[..], &["--triage-to-sonar", "--triage-from-sonar"]].concat(), Conviso::KEY);
    wait_conviso(&gateway, &conviso, &[("A", OPEN), ("B", OPEN)]);
    wait_up_to_date(&gateway, "conviso");
    conviso.edit(|model| model.decide("A", "RISK_ACCEPTED", "for a year"));
    // Decisions are looked for each minute, or when a person has it looked at.
    gateway.json(&["destination", "check", "conviso"]);
    let state = |gateway: &Gateway, key: &str| {
        let all = gateway.json(&["finding", "list", "--state", "open,accepted,false_positive"]);
        let rows = all["findings"].as_array().unwrap().clone();
        rows.iter().find(|row| row["key"] == key).map(|row| row["state"].as_str().unwrap().to_owned())
    };
    gateway.wait("the decision to come back by way of Sonar", |gateway| {
        (state(gateway, "A").as_deref() == Some("accepted")).then_some(())
    });
    let comments = sonar.edit(|model| model.issue_mut("A").comments.clone());
    assert!(
        comments.iter().any(|comment| comment.contains("conviso") && comment.contains("for a year")),
        "{comments:?}"
    );
    wait_up_to_date(&gateway, "conviso");
    let history = |key: &str| conviso.edit(|model| model.issue(key).history.len());
    let told = history("A");
    gateway.json(&["destination", "check", "conviso"]);
    wait_up_to_date(&gateway, "conviso");
    assert_eq!(history("A"), told, "it is not told what it decided itself");

    // The other way round.
    sonar.triage("shop", "main", |model| model.mark_false_positive("B"));
    gateway.json(&["sync", "acme", "shop", "--wait"]);
    wait_conviso(&gateway, &conviso, &[("A", &["RISK_ACCEPTED"]), ("B", &["FALSE_POSITIVE"])]);
    wait_up_to_date(&gateway, "conviso");
    let comments = sonar.edit(|model| model.issue_mut("B").comments.len());
    gateway.json(&["destination", "check", "conviso"]);
    wait_up_to_date(&gateway, "conviso");
    assert_eq!(sonar.edit(|model| model.issue_mut("B").comments.len()), comments, "nor is Sonar");
}

#[test]
fn the_mapping_of_statuses_is_shown_changed_and_reset() {
    let (_sonar, gateway) = shop();
    let conviso = Conviso::start();
    let url = conviso.url();
    let add =
        ["destination", "add", "conviso", "conviso", "--url", &url, "--option", "company=42", "--token-file", "-"];
    gateway.json_with(&add, Conviso::KEY);
    let word = |mapping: &Value, state: &str| {
        let row = mapping["outward"].as_array().unwrap().iter().find(|row| row["state"] == state).unwrap().clone();
        (row["word"].as_str().unwrap_or_default().to_owned(), row["own"] == true)
    };
    let mapping = |arguments: &[&str]| gateway.json(&[&["destination", "mapping", "conviso"], arguments].concat());
    assert_eq!(word(&mapping(&[]), "accepted"), ("RISK_ACCEPTED".to_owned(), false));
    let changed = mapping(&["--tell", "accepted=IDENTIFIED", "--understand", "SUPPRESSED=accepted"]);
    assert_eq!(word(&changed, "accepted"), ("IDENTIFIED".to_owned(), true));
    assert_eq!(mapping(&[]), changed, "it stays");
    let suppressed = changed["inward"].as_array().unwrap().iter().find(|row| row["word"] == "SUPPRESSED").unwrap();
    assert_eq!(suppressed["state"], "accepted");
    assert_eq!(word(&mapping(&["--reset"]), "accepted"), ("RISK_ACCEPTED".to_owned(), false));
    let text = gateway.refused(&["destination", "mapping", "conviso", "--tell", "severe=X"], "");
    assert!(text.contains("is none of"), "{text}");
}

/// A finding on DefectDojo: active, false positive, risk accepted, mitigated.
fn flags(dojo: &DefectDojo, key: &str) -> [bool; 4] {
    dojo.edit(|model| {
        let all: Vec<_> = model.findings_with(key).collect();
        assert!(all.len() <= 1, "{key} is there {} times", all.len());
        all.first().map_or([false; 4], |found| {
            [found.status.active, found.status.false_p, found.status.risk_accepted, found.status.is_mitigated]
        })
    })
}

const ACTIVE: [bool; 4] = [true, false, false, false];
const MITIGATED: [bool; 4] = [false, false, false, true];

fn wait_dojo(gateway: &Gateway, dojo: &DefectDojo, expected: &[(&str, [bool; 4])]) {
    gateway.wait(&format!("{expected:?} on DefectDojo"), |_| {
        expected.iter().all(|(key, wanted)| flags(dojo, key) == *wanted).then_some(())
    });
}

fn add_dojo(gateway: &Gateway, dojo: &DefectDojo, flags: &[&str]) {
    let url = dojo.url();
    let add = ["destination", "add", "defectdojo", "dojo", "--url", &url, "--token-file", "-"];
    let added = gateway.json_with(&[&add[..], flags].concat(), &dojo.token());
    assert!(added["lines"].as_array().unwrap().iter().all(|line| line["good"] == true), "{added}");
}

#[test]
fn defectdojo_follows_the_life_of_findings_and_keeps_what_people_decide_there() {
    let (sonar, gateway) = shop();
    let dojo = DefectDojo::start();
    add_dojo(&gateway, &dojo, &[]);
    wait_dojo(&gateway, &dojo, &[("A", ACTIVE), ("B", ACTIVE)]);
    wait_up_to_date(&gateway, "dojo");

    sonar.analyse("shop", "main", |analysis| {
        analysis.fix("A");
        analysis.set_severity("B", Severity::Blocker);
        analysis.open(Issue::vulnerability("java:S5131", "src/c.java", 7).with_key("C"));
    });
    wait_dojo(&gateway, &dojo, &[("A", MITIGATED), ("B", ACTIVE), ("C", ACTIVE)]);
    gateway.wait("the severity", |_| dojo.edit(|model| model.finding_with("B").severity == "Critical").then_some(()));
    sonar.analyse("shop", "main", |analysis| analysis.reopen("A"));
    wait_dojo(&gateway, &dojo, &[("A", ACTIVE), ("B", ACTIVE), ("C", ACTIVE)]);

    // People decide there; nothing of ours undoes it.
    dojo.edit(|model| {
        let (b, c) = (model.finding_with("B").id, model.finding_with("C").id);
        model.mark_false_positive(b);
        model.accept_risk(c);
    });
    let (b, c) = (flags(&dojo, "B"), flags(&dojo, "C"));
    assert!(b[1] && c[2], "{b:?} {c:?}");
    // While it lets nobody in, lines shift, something is fixed, something is new.
    let token = dojo.token();
    dojo.revoke_token(DefectDojo::USER);
    sonar.analyse("shop", "main", |analysis| {
        analysis.shift_line("B", 99);
        analysis.fix("A");
        analysis.open(Issue::vulnerability("java:S5131", "src/d.java", 1).with_key("D"));
    });
    gateway.wait("the destination to be in trouble", |gateway| {
        (gateway.json(&["destination", "show", "dojo"])["state"] == "refused").then_some(())
    });
    dojo.edit(|model| model.user_mut(DefectDojo::USER).token = Some(token));
    let gateway = gateway.restart(Gateway::kill);
    wait_dojo(&gateway, &dojo, &[("A", MITIGATED), ("B", b), ("C", c), ("D", ACTIVE)]);
    wait_up_to_date(&gateway, "dojo");
    assert_eq!(dojo.edit(|model| model.finding_with("B").line), Some(99), "what shows follows beside a decision");
    gateway.json(&["destination", "replay", "dojo"]);
    wait_up_to_date(&gateway, "dojo");
    wait_dojo(&gateway, &dojo, &[("A", MITIGATED), ("B", b), ("C", c), ("D", ACTIVE)]);
    assert_eq!(dojo.edit(|model| model.findings.len()), 4, "nothing is there twice");
    assert_eq!(gateway.json(&["destination", "dead-letters", "dojo"])["dead_letters"], json!([]));
}

#[test]
fn a_decision_on_defectdojo_becomes_one_in_sonar_and_is_not_told_back() {
    let (sonar, gateway) = shop();
    let token = sonar.token().to_owned();
    sonar.edit(|model| model.token_mut(&token).administers_issues = true);
    let dojo = DefectDojo::start();
    add_dojo(&gateway, &dojo, &["--triage-to-sonar", "--triage-from-sonar"]);
    wait_dojo(&gateway, &dojo, &[("A", ACTIVE), ("B", ACTIVE)]);
    wait_up_to_date(&gateway, "dojo");
    // The first look at decisions comes a minute after the first message, or when a person has it looked at.
    gateway.json(&["destination", "check", "dojo"]);
    dojo.edit(|model| {
        let a = model.finding_with("A").id;
        model.mark_false_positive(a);
    });
    gateway.json(&["destination", "check", "dojo"]);
    let state = |gateway: &Gateway, key: &str| {
        let all = gateway.json(&["finding", "list", "--state", "open,accepted,false_positive"]);
        let rows = all["findings"].as_array().unwrap().clone();
        rows.iter().find(|row| row["key"] == key).map(|row| row["state"].as_str().unwrap().to_owned())
    };
    gateway.wait("the decision to come back by way of Sonar", |gateway| {
        (state(gateway, "A").as_deref() == Some("false_positive")).then_some(())
    });
    let comments = sonar.edit(|model| model.issue_mut("A").comments.clone());
    assert!(comments.iter().any(|comment| comment.contains("dojo")), "{comments:?}");
    wait_up_to_date(&gateway, "dojo");
    let told = dojo.reimports().len();
    gateway.json(&["destination", "check", "dojo"]);
    wait_up_to_date(&gateway, "dojo");
    assert_eq!(dojo.reimports().len(), told, "it is not told what it decided itself");

    // The other way round.
    sonar.triage("shop", "main", |model| model.accept("B"));
    gateway.json(&["sync", "acme", "shop", "--wait"]);
    gateway.wait("the acceptance to be told", |_| flags(&dojo, "B")[2].then_some(()));
    let comments = sonar.edit(|model| model.issue_mut("B").comments.len());
    gateway.json(&["destination", "check", "dojo"]);
    wait_up_to_date(&gateway, "dojo");
    assert_eq!(sonar.edit(|model| model.issue_mut("B").comments.len()), comments, "nor is Sonar");
}
