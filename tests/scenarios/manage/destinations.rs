//! Destinations on the page.

use super::{HOSTILE, Managed, field, text};
use crate::support::conviso::Conviso;
use crate::support::receiver::{Receiver, Reply};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

fn wait_state(managed: &Managed, name: &str, state: &str) {
    managed.gateway.wait(&format!("{name} to be {state}"), |gateway| {
        (gateway.json(&["destination", "show", name])["state"] == state).then_some(())
    });
}

#[test]
fn a_destination_is_added_changed_and_removed_by_forms() {
    let (_sonar, managed) = Managed::with_shop();
    let receiver = Receiver::start(SECRET);
    let url = receiver.url();
    let kinds = text(&managed.shown("/destinations/add"));
    for name in ["DefectDojo", "Conviso Platform", "Signed webhook", "SARIF folder", "GitHub code scanning"] {
        assert!(kinds.contains(name), "{name} in {kinds}");
    }
    let form = managed.shown("/destinations/add?kind=events");
    for name in ["triage.from_sonar", "filter.pull_requests", "paused"] {
        assert!(!field(&form, name).contains("checked"), "{name} is off until somebody wants it");
    }
    let added = managed.post(
        "/destinations/add",
        &[
            ("kind", "events"),
            ("name", "siem"),
            ("url", &url),
            ("secret", SECRET),
            ("filter.projects", "shop\r\n other*"),
            ("filter.severities", "high"),
            ("filter.severities", "critical"),
            ("paused", "yes"),
        ],
    );
    assert_eq!(added.status, 201, "{}", added.body);
    let said = text(&added.body);
    assert!(said.contains("siem is added") && said.contains("a signed event") && !said.contains(SECRET), "{said}");
    let shown = managed.api("/destinations/siem");
    assert_eq!(shown["filter"]["projects"], serde_json::json!(["shop", "other*"]));
    assert_eq!(shown["filter"]["severities"], serde_json::json!(["high", "critical"]));
    assert_eq!((&shown["state"], &shown["triage"]["from_sonar"]), (&"paused".into(), &false.into()));

    let form = managed.shown("/destinations/siem/edit");
    assert!(!form.contains(SECRET) && form.contains("other*"));
    assert!(form.contains("value=\"high\" checked") && !form.contains("value=\"low\" checked"), "{form}");
    let changed = managed.post(
        "/destinations/siem/edit",
        &[("url", &url), ("options.timeout", "7"), ("triage.from_sonar", "yes"), ("filter.projects", "")],
    );
    assert_eq!(changed.status, 200, "{}", changed.body);
    assert!(text(&changed.body).contains("siem is changed"), "{}", text(&changed.body));
    let shown = managed.api("/destinations/siem");
    assert_eq!(shown["options"], serde_json::json!({ "timeout": "7" }));
    assert_eq!((&shown["filter"]["projects"], &shown["triage"]["from_sonar"]), (&serde_json::json!([]), &true.into()));

    assert_eq!(managed.led("/destinations/siem/resume", &[]), "/destinations#d-siem");
    wait_state(&managed, "siem", "up_to_date");
    let asked = managed.shown("/destinations/siem/remove");
    assert!(text(&asked).contains("Remove siem?") && text(&asked).contains("nothing is closed or deleted there"));
    assert_eq!(managed.led("/destinations/siem/remove", &[]), "/destinations");
    assert_eq!(managed.api("/destinations")["destinations"], serde_json::json!([]));
}

#[test]
fn what_is_wrong_with_a_destination_stands_at_its_field_and_nothing_else_is_lost() {
    let managed = Managed::start();
    let fields = [
        ("kind", "defectdojo"),
        ("name", "dojo"),
        ("url", "dojo.example"),
        ("secret", "hunter2-secret"),
        ("options.engagement", HOSTILE),
        ("filter.branches", "release/*"),
        ("filter.kinds", "hotspot"),
        ("assets", "Shop=Web"),
        ("triage.to_sonar", "yes"),
    ];
    let refused = managed.post("/destinations/add", &fields);
    assert_eq!(refused.status, 400, "{}", refused.body);
    super::no_markup_of_others(&refused.body);
    let page = &refused.body;
    assert!(field(page, "url").contains("aria-invalid=\"true\"") && field(page, "url").contains("dojo.example"));
    assert!(page.contains("id=\"url-wrong\"") && page.contains("href=\"#url\""), "{page}");
    assert!(!page.contains("hunter2-secret"), "a secret is never sent back");
    assert!(page.contains("release/*") && page.contains("Shop=Web") && page.contains("gnp.exe"), "{page}");
    assert!(field(page, "triage.to_sonar").contains("checked"));
    assert!(page.contains("value=\"hotspot\" checked"));
    assert!(managed.api("/destinations")["destinations"].as_array().unwrap().is_empty());

    let lines = managed.post("/destinations/add", &[&fields[..1], &[("name", "dojo"), ("assets", "no pair")]].concat());
    assert_eq!(lines.status, 400);
    assert!(lines.body.contains("id=\"assets-wrong\""), "{}", lines.body);
}

#[test]
fn a_platform_that_refuses_is_quoted_and_the_form_is_kept() {
    let managed = Managed::start();
    let conviso = Conviso::start();
    let url = conviso.url();
    let fields = |key| {
        [("kind", "conviso"), ("name", "conviso"), ("url", url.as_str()), ("options.company", "42"), ("secret", key)]
    };
    let refused = managed.post("/destinations/add", &fields("wrong key"));
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(field(&refused.body, "secret").contains("aria-invalid=\"true\""), "{}", refused.body);
    assert!(field(&refused.body, "options.company").contains("value=\"42\""));
    let added = managed.post("/destinations/add", &fields(Conviso::KEY));
    assert_eq!(added.status, 201, "{}", added.body);
    assert!(text(&added.body).contains("Company : the key is good for"), "{}", text(&added.body));
    let taken = managed.post("/destinations/add", &fields(Conviso::KEY));
    assert_eq!(taken.status, 409);
    assert!(taken.body.contains("id=\"name-wrong\""), "{}", taken.body);
}

#[test]
fn the_failing_one_stands_first_with_the_field_that_mends_it() {
    let (_sonar, managed) = Managed::with_shop();
    let receiver = Receiver::start(SECRET);
    let url = receiver.url();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    managed.gateway.json(&["destination", "add", "sarif", "files", "--url", path]);
    let add = ["destination", "add", "events", "siem", "--url", &url, "--token-file", "-", "--unchecked"];
    let other = "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyb3Q=";
    managed.gateway.json_with(&add, other);
    wait_state(&managed, "siem", "refused");
    let page = managed.shown("/destinations");
    let (siem, files) = (page.find("id=\"d-siem\"").unwrap(), page.find("id=\"d-files\"").unwrap());
    assert!(siem < files, "the failing one comes first");
    assert!(field(&page, "secret-siem").contains("type=\"password\""));
    assert!(!managed.get_as(&managed.operator, "/destinations").body.contains("name=\"secret-siem\""));

    let wrong = managed.post("/destinations/siem/secret", &[("secret-siem", "whsec_short")]);
    assert_eq!(wrong.status, 400, "{}", wrong.body);
    assert!(wrong.body.contains("id=\"secret-siem-wrong\""), "{}", wrong.body);
    let mended = managed.post("/destinations/siem/secret", &[("secret-siem", SECRET)]);
    assert_eq!(mended.status, 200, "{}", mended.body);
    assert!(text(&mended.body).contains("siem is changed"), "{}", text(&mended.body));
    wait_state(&managed, "siem", "up_to_date");
    let checked = managed.post_as(&managed.operator, "/destinations/siem/check", &[]);
    assert!(text(&checked.body).contains("Signed webhook answers Good: Address"), "{}", text(&checked.body));
}

#[test]
fn parked_messages_are_shown_with_their_reason_tried_again_and_dropped() {
    let (_sonar, managed) = Managed::with_shop();
    let receiver = Receiver::start(SECRET);
    let url = receiver.url();
    let add = ["destination", "add", "events", "siem", "--url", &url, "--token-file", "-", "--paused"];
    managed.gateway.json_with(&add, SECRET);
    receiver.answer_always(Some(Reply::Text(422, HOSTILE)));
    managed.led("/destinations/siem/resume", &[]);
    let letters = |gateway: &crate::support::gateway::Gateway| {
        gateway.json(&["destination", "show", "siem"])["dead_letters"].as_u64().unwrap()
    };
    managed.gateway.wait("both to be parked", |gateway| (letters(gateway) == 2).then_some(()));
    let page = managed.shown("/destinations");
    assert!(text(&page).contains("2 parked messages") && text(&page).contains("HTTP 422"), "{}", text(&page));
    let all = managed.shown("/destinations/siem/parked");
    let finding = all.split("/parked/").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let viewer = managed.get_as(&managed.viewer, "/destinations").body;
    assert!(
        text(&viewer).contains("2 parked messages") && !viewer.contains("<form method=\"post\" action=\"/destinations")
    );
    let refused = managed.post_as(&managed.viewer, &format!("/destinations/siem/parked/{finding}/drop"), &[]);
    assert_eq!(refused.status, 403);

    managed.led(&format!("/destinations/siem/parked/{finding}/drop"), &[]);
    assert_eq!(letters(&managed.gateway), 1);
    receiver.answer_always(None);
    managed.led("/destinations/siem/replay", &[("from", "parked"), ("since-siem", "")]);
    managed.gateway.wait("none to be parked", |gateway| (letters(gateway) == 0).then_some(()));
}

#[test]
fn from_where_a_destination_is_told_again_is_asked_and_a_wrong_day_is_told() {
    let (_sonar, managed) = Managed::with_shop();
    let receiver = Receiver::start(SECRET);
    let url = receiver.url();
    managed.gateway.json_with(&["destination", "add", "events", "siem", "--url", &url, "--token-file", "-"], SECRET);
    wait_state(&managed, "siem", "up_to_date");
    let page = managed.shown("/destinations");
    assert!(page.contains("<dialog id=\"replay-siem\"") && page.contains("href=\"/destinations/siem/replay\""));
    assert!(text(&managed.shown("/destinations/siem/replay")).contains("Send again to siem"));
    let wrong = managed.post("/destinations/siem/replay", &[("from", "since"), ("since-siem", "yesterday")]);
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("id=\"since-siem-wrong\"") && wrong.body.contains("value=\"yesterday\""));
    let before = receiver.calls().len();
    managed.led("/destinations/siem/replay", &[("from", "all"), ("since-siem", "")]);
    managed.gateway.wait("both to be told again", |_| (receiver.calls().len() >= before + 2).then_some(()));
    let preview = text(&managed.shown("/destinations/siem/preview"));
    assert!(preview.contains("What siem would be told") && preview.contains("2 open findings"), "{preview}");
}

#[test]
fn statuses_are_shown_and_changed_and_restored() {
    let managed = Managed::start();
    let conviso = Conviso::start();
    let url = conviso.url();
    let add =
        ["destination", "add", "conviso", "conviso", "--url", &url, "--option", "company=42", "--token-file", "-"];
    managed.gateway.json_with(&add, Conviso::KEY);
    let page = managed.shown("/destinations/conviso/mapping");
    assert!(text(&page).contains("What is told") && text(&page).contains("RISK_ACCEPTED"), "{}", text(&page));
    let viewer = managed.get_as(&managed.viewer, "/destinations/conviso/mapping");
    assert!(viewer.status == 200 && !viewer.body.contains("name=\"outward.open\""));
    let saved = managed.led(
        "/destinations/conviso/mapping",
        &[("outward.accepted", HOSTILE), ("inward.FALSE_POSITIVE", "nothing"), ("inward.RISK_ACCEPTED", "confirmed")],
    );
    assert_eq!(saved, "/destinations/conviso/mapping");
    let mapping = managed.api("/destinations/conviso/mapping");
    let told = mapping["outward"].as_array().unwrap().iter().find(|row| row["state"] == "accepted").unwrap();
    assert_eq!((told["word"].as_str(), &told["own"]), (Some(HOSTILE), &true.into()));
    let understood = |word: &str| {
        let row = mapping["inward"].as_array().unwrap().iter().find(|row| row["word"] == word).unwrap().clone();
        (row["state"].clone(), row["own"].clone())
    };
    assert_eq!(understood("FALSE_POSITIVE"), (serde_json::Value::Null, true.into()));
    assert_eq!(understood("RISK_ACCEPTED"), ("confirmed".into(), true.into()));
    managed.shown("/destinations/conviso/mapping");
    managed.led("/destinations/conviso/mapping", &[]);
    let mapping = managed.api("/destinations/conviso/mapping").to_string();
    assert!(!mapping.contains("\"own\":true"), "{mapping}");
}

#[test]
fn whoever_may_not_neither_sees_nor_uses_what_changes_a_destination() {
    let managed = Managed::start();
    let folder = tempfile::tempdir().unwrap();
    managed.gateway.json(&["destination", "add", "sarif", "files", "--url", folder.path().to_str().unwrap()]);
    let deeds = ["edit", "secret", "remove", "pause", "resume", "mapping"];
    let steers = ["check", "replay", "retry", "drop"];
    let operator = managed.get_as(&managed.operator, "/destinations").body;
    for deed in deeds {
        let path = format!("/destinations/files/{deed}");
        assert!(!operator.contains(&path), "{path}");
        assert_eq!(managed.post_as(&managed.operator, &path, &[]).status, 403, "{path}");
    }
    assert_eq!(managed.get_as(&managed.operator, "/destinations/add").status, 403);
    let viewer = managed.get_as(&managed.viewer, "/destinations").body;
    assert!(!viewer.contains("/destinations/add") && viewer.contains("You may look; an operator can change this."));
    for deed in deeds.iter().chain(&steers) {
        let path = format!("/destinations/files/{deed}");
        assert!(!viewer.contains(&path), "{path}");
        assert_eq!(managed.post_as(&managed.viewer, &path, &[]).status, 403, "{path}");
    }
}
