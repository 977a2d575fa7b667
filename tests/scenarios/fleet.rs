//! A box's set-up as one document: written, applied to another box, applied again.

use serde_json::{Value, json};

use crate::steps::{assert_tells, text};
use crate::support::gateway::{Gateway, Said, program, run};
use crate::support::sonar::{Issue, Mode, Sonar};
use crate::support::{connect_with, import};

fn sonar() -> Sonar {
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        for (key, name) in [("shop", "Web shop"), ("till", "Till")] {
            model.add_project("acme", key, name);
            model.add_issue(key, "main", Issue::vulnerability("java:S3649", "src/a.java", 12));
        }
        model.add_branch("till", "release/1");
    });
    sonar
}

/// A box with something of everything that a document holds.
fn furnished(sonar: &Sonar) -> Gateway {
    let gateway = Gateway::start();
    connect_with(&gateway, sonar, sonar.admin_token());
    gateway.json(&["config", "set", "poll-minutes", "20"]);
    gateway.json(&["config", "set", "public-url", "https://hooks.example.com"]);
    gateway.json(&["organization", "filter", "acme", "--min-severity", "high"]);
    import(&gateway, "acme", &["shop"]);
    gateway.json(&["asset", "edit", "Web shop", "--description", "what it sells", "--impact", "high", "--tag", "pci"]);
    let till = ["project", "import", "acme", "--project", "till", "--new-asset", "Tills", "--branch", "release/*"];
    gateway.json(&[&till[..], &["--pull-requests"]].concat());
    gateway.json(&["webhook", "register", "acme"]);
    let siem = ["destination", "add", "events", "siem", "--url", "http://127.0.0.1:9", "--unchecked", "--paused"];
    gateway.json(&[&siem[..], &["--project", "sh*", "--severity", "critical"]].concat());
    gateway.json(&["user", "add", "vera", "--role", "viewer"]);
    gateway
}

/// The secrets that an exported document asks for.
fn with_secrets(sonar: &Sonar) -> Vec<(&'static str, String)> {
    vec![
        ("HYDROPHONE_SOURCE_SONAR_TOKEN", sonar.admin_token().to_owned()),
        ("HYDROPHONE_DESTINATION_SIEM_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()),
    ]
}

fn apply(gateway: &Gateway, document: &Value, secrets: &[(&str, String)], more: &[&str]) -> Said {
    let mut command = program();
    command.arg("--state").arg(gateway.state()).args(["config", "apply", "-"]).args(more);
    for (name, value) in secrets {
        command.env(name, value);
    }
    run(&mut command, &document.to_string())
}

fn told(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

fn names(told: &Value) -> Vec<String> {
    let changes = told["changes"].as_array().unwrap().iter();
    changes.map(|one| format!("{} {} {}", text(one, "action"), text(one, "kind"), text(one, "name"))).collect()
}

#[test]
fn what_one_box_exports_another_is_brought_to() {
    let sonar = sonar();
    let first = furnished(&sonar);
    let document = first.json(&["config", "export"]);
    assert!(!document.to_string().contains(sonar.admin_token()), "{document}");
    assert_eq!(document["sources"][0]["token"], json!({ "env": "HYDROPHONE_SOURCE_SONAR_TOKEN" }));
    // A document that was just written changes nothing, and asks for no secret.
    let same = told(&apply(&first, &document, &[], &["--json"]));
    assert_eq!(same, json!({ "changed": false, "dry_run": false, "changes": [] }));

    let second = Gateway::start();
    // Sonar would refuse a second webhook of the same address; each box has an endpoint of its own, so it takes it.
    let secrets = with_secrets(&sonar);
    let tried = apply(&second, &document, &secrets, &["--dry-run"]);
    assert_eq!(tried.code, 0, "{tried:?}");
    for line in ["~ setting poll-minutes\n    15 → 20", "+ source sonar", "+ project sonar/acme/till", "nothing was."]
    {
        assert!(tried.out.contains(line), "{line} is missing in:\n{}", tried.out);
    }
    assert_eq!(second.json(&["source", "list"])["sources"], json!([]), "a dry run changes nothing");
    let done = apply(&second, &document, &secrets, &["--json"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(told(&done)["changed"], true);
    let again = told(&apply(&second, &document, &secrets, &["--json"]));
    assert_eq!(again["changed"], false, "{again}");
    assert_eq!(second.json(&["config", "export"]), document);
    assert_eq!(document["destinations"][0]["filter"]["projects"], json!(["sh*"]));
}

#[test]
fn a_part_of_a_document_touches_what_it_names_alone() {
    let sonar = sonar();
    let gateway = furnished(&sonar);
    let before = gateway.json(&["config", "export"]);
    let part = json!({
        "hydrophone": 1,
        "settings": { "poll-minutes": 5 },
        "projects": [{ "organization": "sonar/acme", "key": "till", "branches": ["main"], "asset": "Web shop" }],
        "users": [{ "name": "vera", "role": "operator" }],
        "destinations": [{ "name": "siem", "kind": "events", "filter": { "projects": ["till"] } }],
    });
    let said = apply(&gateway, &part, &[], &["--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    let wanted = [
        "change setting poll-minutes",
        "change project sonar/acme/till",
        "change destination siem",
        "change user vera",
    ];
    assert_eq!(names(&told(&said)), wanted);
    let now = gateway.json(&["config", "export"]);
    assert_eq!((&now["settings"]["poll-minutes"], &now["users"][0]["role"]), (&json!("5"), &json!("operator")));
    assert_eq!(
        (&now["projects"][1]["asset"], &now["projects"][1]["pull_requests"]),
        (&json!("Web shop"), &json!(true))
    );
    for name in ["sources", "organizations", "assets", "webhooks"] {
        assert_eq!(now[name], before[name]);
    }
    assert_eq!(told(&apply(&gateway, &part, &[], &["--json"]))["changed"], false);
}

#[test]
fn what_a_part_does_not_name_goes_only_where_that_is_asked_for() {
    let sonar = sonar();
    let gateway = furnished(&sonar);
    let part = json!({
        "hydrophone": 1, "settings": {}, "assets": [{ "name": "Web shop" }], "destinations": [],
        "projects": [{ "organization": "sonar/acme", "key": "shop" }], "webhooks": [],
    });
    assert_eq!(told(&apply(&gateway, &part, &[], &["--json"]))["changed"], false);
    let said = apply(&gateway, &part, &[], &["--json", "--prune"]);
    assert_eq!(said.code, 0, "{said:?}");
    let mut gone = names(&told(&said));
    gone.sort();
    let wanted = [
        "remove asset Tills",
        "remove destination siem",
        "remove project sonar/acme/till",
        "remove setting poll-minutes",
        "remove setting public-url",
        "remove webhook sonar/acme",
    ];
    assert_eq!(gone, wanted);
    assert_eq!(sonar.edit(|model| model.webhooks.len()), 0);
    let now = gateway.json(&["config", "export"]);
    assert_eq!((now["users"].as_array().unwrap().len(), now["sources"].as_array().unwrap().len()), (1, 1));
}

#[test]
fn a_document_that_is_wrong_is_refused_whole_with_the_place() {
    let sonar = sonar();
    let gateway = furnished(&sonar);
    let before = gateway.json(&["config", "export"]);
    let refused = |document: &str, parts: &[&str]| {
        let said = run(program().arg("--state").arg(gateway.state()).args(["config", "apply", "-"]), document);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        assert_tells(&said.err, parts);
    };
    let good = r#""hydrophone": 1, "settings": { "poll-minutes": 5 }"#;
    refused("{", &["line 1"]);
    refused(r#"{ "settings": {} }"#, &["hydrophone"]);
    refused(r#"{ "hydrophone": 2 }"#, &["this version knows form 1, not 2"]);
    refused(&format!("{{ {good},\n \"surces\": [] }}"), &["unknown field `surces`", "line 2"]);
    refused(
        &format!("{{ {good}, \"users\": [\n{{ \"name\": \"x\", \"rolle\": \"admin\" }}] }}"),
        &["`rolle`", "line 2"],
    );
    refused(r#"{ "hydrophone": 1, "settings": { "pol-minutes": 5 } }"#, &["settings.pol-minutes: there is no such"]);
    refused(
        r#"{ "hydrophone": 1, "settings": { "poll-minutes": 0 } }"#,
        &["settings.poll-minutes: it must be a number"],
    );
    refused(&format!(r#"{{ {good}, "users": [{{ "name": "x", "role": "king" }}] }}"#), &["users[0] (x)", "role"]);
    let twice = r#""assets": [{ "name": "A" }, { "name": "A" }]"#;
    refused(&format!("{{ {good}, {twice} }}"), &["assets[1] (A): it is named twice"]);
    let bare = r#""projects": [{ "organization": "acme", "key": "shop" }]"#;
    refused(&format!("{{ {good}, {bare} }}"), &["projects[0]", "SOURCE/ORGANIZATION"]);
    let source = |token: &str| format!(r#"{{ {good}, "sources": [{{ "name": "new", "kind": "cloud"{token} }}] }}"#);
    refused(&source(""), &["sources (new): a new source needs a token"]);
    refused(
        &source(r#", "token": { "env": "NOWHERE_SET" }"#),
        &["sources (new): token: the variable NOWHERE_SET is not set"],
    );
    refused(&source(r#", "token": { "file": "/nowhere/token" }"#), &["cannot read /nowhere/token"]);
    refused(&source(r#", "token": { "env": "A", "file": "/b" }"#), &["sources[0] (new): token: it is one of"]);
    refused(&source(r#", "token": "squ_in_the_document""#), &["line 1"]);
    let moved = r#""sources": [{ "name": "sonar", "kind": "cloud", "url": "https://elsewhere.example" }]"#;
    refused(&format!("{{ {good}, {moved} }}"), &["sources (sonar): a source's address cannot be changed", "elsewhere"]);
    assert_eq!(gateway.json(&["config", "export"]), before, "nothing of a wrong document was done");
}

#[test]
fn where_a_step_fails_what_was_done_is_told_and_the_next_run_goes_on() {
    let sonar = sonar();
    let gateway = Gateway::start();
    let url = (sonar.url(), sonar.api_url());
    let document = json!({
        "hydrophone": 1,
        "sources": [{ "name": "sonar", "kind": "cloud", "url": url.0, "api_url": url.1, "token": { "env": "TOKEN" } }],
        "projects": [{ "organization": "sonar/acme", "key": "shop", "asset": "Shops" }],
    });
    let wrong = [("TOKEN", "squ_wrong_token".to_owned())];
    let said = apply(&gateway, &document, &wrong, &["--json"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert_tells(&said.err, &["source sonar was not done", "does not accept this token", "goes on from there"]);
    let failed = told(&said);
    assert_eq!((&failed["changed"], &failed["failed"]["name"]), (&json!(false), &json!("sonar")));
    let right = [("TOKEN", sonar.token().to_owned())];
    let said = apply(&gateway, &document, &right, &["--json"]);
    assert_eq!(names(&told(&said)), ["add source sonar", "add asset Shops", "add project sonar/acme/shop"]);
    // A secret of what exists is set only where that is asked for.
    let kept = apply(&gateway, &document, &wrong, &["--json"]);
    assert_eq!(told(&kept)["changed"], false);
    let set = apply(&gateway, &document, &right, &["--json", "--set-secrets"]);
    assert_eq!(names(&told(&set)), ["change source sonar"]);
}
