//! Decisions made at the box, told to SonarQube.
//!
//! What can go wrong: Sonar is told what it does not know, or twice; the inventory says what Sonar does not; a refusal
//! leaves the person without a word, or with the wrong one. The inventory follows only what Sonar says afterwards.

use crate::steps::{
    CLOUD, NEWEST_SERVER, assert_refused, assert_tells, finding, holding_shop, organization, sonar_with, sync, text,
    told_of,
};
use crate::support::gateway::{Gateway, Said, program, run};
use crate::support::sonar::{Call, Hotspot, HotspotResolution, HotspotStatus, Issue, IssueStatus, Mode, Sonar};

/// Before it knew the transition `accept`.
const OLD_SERVER: Mode = Mode::Server { version: "9.9.0.65466", mqr: false };

/// Lets the token's user decide.
fn allow(sonar: &Sonar, allowed: bool) {
    let token = sonar.token().to_owned();
    sonar.edit(|model| {
        let token = model.token_mut(&token);
        (token.administers_issues, token.administers_hotspots) = (allowed, allowed);
    });
}

fn decide(gateway: &Gateway, key: &str, state: &str, comment: &str) -> Said {
    let id = text(&finding(gateway, "shop", key), "id");
    gateway.cli(&["finding", "triage", &id, "--state", state, "--comment", comment])
}

/// Decides, which has to succeed, and waits until the inventory says so, too.
#[track_caller]
fn decided(gateway: &Gateway, key: &str, state: &str) {
    let said = decide(gateway, key, state, &format!("Now {state}."));
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert_tells(&said.out, &["Sonar says that finding", &state.replace('_', " "), "its branch is read"]);
    await_state(gateway, key, state);
}

fn await_state(gateway: &Gateway, key: &str, state: &str) {
    gateway.wait(state, |gateway| (finding(gateway, "shop", key)["state"] == state).then_some(()));
}

/// What Sonar was told since it was last asked, as `transition` or `status resolution`.
fn told_steps(sonar: &Sonar) -> Vec<String> {
    let steps = |call: &Call| match call.path.as_str() {
        "/api/issues/do_transition" => Some(call.param("transition")?.to_owned()),
        "/api/hotspots/change_status" => {
            Some(format!("{} {}", call.param("status")?, call.param("resolution").unwrap_or("-")))
        }
        _ => None,
    };
    let told = sonar.requests().iter().filter_map(steps).collect();
    sonar.forget_requests();
    told
}

fn in_sonar(sonar: &Sonar, key: &str) -> (IssueStatus, Vec<String>) {
    sonar.edit(|model| {
        let issue = model.issue(key).unwrap().1;
        (issue.issue_status(), issue.comments.clone())
    })
}

#[test]
fn a_decision_reaches_sonar_with_its_reason_and_comes_back_with_a_read() {
    for (mode, accept) in [(CLOUD, "accept"), (NEWEST_SERVER, "accept"), (OLD_SERVER, "wontfix")] {
        let sonar = sonar_with(mode, &["A", "B"]);
        allow(&sonar, true);
        let gateway = holding_shop(&sonar);
        sonar.forget_requests();
        decided(&gateway, "A", "accepted");
        assert_eq!(told_steps(&sonar), [accept], "{mode:?}");
        let comment = |text: &str| format!("{text} (decided in Hydrophone)");
        assert_eq!(in_sonar(&sonar, "A"), (IssueStatus::Accepted, vec![comment("Now accepted.")]), "{mode:?}");
        assert_eq!(told_of(&gateway, &finding(&gateway, "shop", "A")), ["opened", "triaged"], "{mode:?}");
        assert_eq!(finding(&gateway, "shop", "B")["state"], "open");

        // It is there already.
        assert_eq!(decide(&gateway, "A", "accepted", "Again.").code, 0);
        assert_eq!(told_steps(&sonar), [""; 0], "{mode:?}");
        assert_eq!(in_sonar(&sonar, "A").1.len(), 1);

        decided(&gateway, "A", "false_positive");
        assert_eq!(told_steps(&sonar), ["reopen", "falsepositive"], "{mode:?}");
        decided(&gateway, "A", "confirmed");
        assert_eq!(told_steps(&sonar), ["reopen", "confirm"], "{mode:?}");
        decided(&gateway, "A", "open");
        assert_eq!(told_steps(&sonar), ["unconfirm"], "{mode:?}");
        let (status, comments) = in_sonar(&sonar, "A");
        assert_eq!((status, comments.last()), (IssueStatus::Open, Some(&comment("Now open."))), "{mode:?}");
    }
}

#[test]
fn a_hotspot_is_reviewed_with_its_reason() {
    let sonar = sonar_with(NEWEST_SERVER, &[]);
    sonar.edit(|model| model.add_hotspot("shop", "main", Hotspot::new("java:S4502", "src/h.java", 1).with_key("H")));
    allow(&sonar, true);
    let gateway = holding_shop(&sonar);
    sonar.forget_requests();
    decided(&gateway, "H", "false_positive");
    decided(&gateway, "H", "accepted");
    assert_eq!(told_steps(&sonar), ["REVIEWED SAFE", "REVIEWED ACKNOWLEDGED"]);
    sonar.edit(|model| {
        let hotspot = model.hotspot("H");
        assert_eq!(hotspot.status, HotspotStatus::Reviewed);
        assert_eq!(hotspot.resolution, Some(HotspotResolution::Acknowledged));
        let comments = ["Now false_positive. (decided in Hydrophone)", "Now accepted. (decided in Hydrophone)"];
        assert_eq!(hotspot.comments, comments);
    });
    assert_refused(&decide(&gateway, "H", "confirmed", "No."), &["a hotspot cannot be confirmed", "open, accepted"]);
    decided(&gateway, "H", "open");
    assert_eq!(told_steps(&sonar), ["TO_REVIEW -"]);
    assert_eq!(told_of(&gateway, &finding(&gateway, "shop", "H")), ["opened", "triaged", "triaged", "triaged"]);
    allow(&sonar, false);
    let refused = decide(&gateway, "H", "false_positive", "No.");
    assert_refused(&refused, &["HTTP 403", "\"Administer Security Hotspots\"", "source sonar"]);
}

#[test]
fn a_decision_that_cannot_be_made_says_why_and_what_helps() {
    let sonar = sonar_with(NEWEST_SERVER, &["A", "B", "C", "D"]);
    sonar.edit(|model| {
        model.add_issue("shop", "main", Issue::external("tool", "X1", "Odd").with_key("X"));
        model.accept("D");
    });
    let gateway = holding_shop(&sonar);
    let id = text(&finding(&gateway, "shop", "A"), "id");
    sonar.forget_requests();

    // Without the permission; only what takes none goes through.
    let lacking = ["the token of source sonar", "HTTP 403", "needs the permission \"Administer Issues\""];
    assert_refused(&decide(&gateway, "A", "accepted", "No."), &lacking);
    assert_eq!(told_steps(&sonar), ["accept"]);
    assert_eq!(in_sonar(&sonar, "A"), (IssueStatus::Open, vec![]));
    decided(&gateway, "A", "confirmed");

    // From one decision to another the way leads over open, and may end there.
    assert_refused(
        &decide(&gateway, "D", "false_positive", "No."),
        &["HTTP 403", "the former decision was taken back on the way, so that the finding is open in Sonar now"],
    );
    await_state(&gateway, "D", "open");
    allow(&sonar, true);

    // Somebody was faster in Sonar.
    sonar.edit(|model| model.mark_false_positive("B"));
    assert_refused(
        &decide(&gateway, "B", "accepted", "Known."),
        &["Transition from state RESOLVED does not exist: accept", "the branch is read again"],
    );
    await_state(&gateway, "B", "false_positive");
    assert_eq!(in_sonar(&sonar, "B").1, [""; 0]);

    assert_refused(&decide(&gateway, "X", "accepted", "Known."), &["not allowed on issues imported from external"]);

    // What is closed.
    sonar.edit(|model| model.fix("C"));
    sync(&gateway);
    assert_refused(&decide(&gateway, "C", "open", "No."), &["the finding is fixed", "nothing left to decide"]);

    // What is no decision.
    assert_refused(&decide(&gateway, "A", "accepted", " "), &["a decision needs a comment", "--comment"]);
    for state in ["fixed", "removed", "wontfix"] {
        let said = decide(&gateway, "A", state, "No.");
        assert_eq!(said.code, 2, "{said:?}");
        assert_tells(&said.err, &["false_positive"]);
    }
    let line = |id| ["finding", "triage", id, "--state", "open", "--comment", "No."];
    assert_refused(&gateway.cli(&line("F999")), &["there is no finding F999", "hydrophone finding list"]);
    assert_refused(&gateway.cli(&line("7")), &["a finding's id looks like F12"]);

    // Nobody to ask.
    sonar.set_offline(true);
    assert_refused(&decide(&gateway, "A", "accepted", "Known."), &["cannot be reached"]);
    sonar.set_offline(false);
    gateway.json(&["project", "remove", organization(&sonar), "shop"]);
    assert_refused(&gateway.cli(&line(&id)), &["there is no finding", "removed here"]);
    let folder = gateway.stop();
    let state = folder.path().join("state");
    let said = run(program().arg("--state").arg(state).args(line(&id)), "");
    assert_refused(&said, &["no daemon answers at", "hydrophone serve"]);
}
