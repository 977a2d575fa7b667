//! Secrets at rest: sealed with the box's key, and of no use to whoever has the database, a log or an answer. A box
//! whose key is missing says so, shows what it has, and does nothing by halves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use crate::calls::{Hook, body};
use crate::steps::{
    CLOUD, NEWEST_SERVER, add_source, assert_refused, assert_tells, conditions, holding_shop, sonar_with, states,
};
use crate::support::gateway::{Gateway, Said, program, run};
use crate::support::https::ask;
use crate::support::import;

const KEY: &str = "hydrophone.key";

fn key_of(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("state").join(KEY)
}

/// Which of the files in a folder hold a text.
fn holding(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && std::fs::read(&path).unwrap().windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(path);
        }
    }
    found
}

#[test]
fn no_planted_secret_is_in_a_file_of_the_state_folder() {
    let sonar = sonar_with(NEWEST_SERVER, &["A"]);
    let gateway = Gateway::start();
    let added = add_source(&gateway, &sonar, "sonar", sonar.token(), &[]);
    assert_eq!(added.code, 0, "{added:?}");
    import(&gateway, "sonar", &["shop"]);
    gateway.json_with(&["webhook", "secret", "sonar", "--secret-file", "-"], "planted-webhook-secret");
    let line = [
        "destination",
        "add",
        "defectdojo",
        "dojo",
        "--url",
        "https://dojo.invalid",
        "--unchecked",
        "--token-file",
        "-",
    ];
    let proxy = gateway.folder().join("proxy");
    std::fs::write(&proxy, "http://me:planted-proxy@127.0.0.1:9\n").unwrap();
    let proxy = proxy.to_str().unwrap();
    let added = gateway.cli_with(&[&line[..], &["--proxy-file", proxy]].concat(), "planted-key");
    assert_eq!(added.code, 0, "{added:?}");
    let shown = gateway.json(&["destination", "show", "dojo"]);
    assert_eq!(shown["proxy"], "http://***@127.0.0.1:9");
    let revealed = Hook::of(&gateway, "sonar").secret;
    assert_eq!(revealed, "planted-webhook-secret");
    let state = gateway.state();
    let log = gateway.log();
    let _kept = gateway.stop();
    for secret in [sonar.token(), "planted-webhook-secret", "planted-proxy", "planted-key", "PRIVATE KEY"] {
        assert_eq!(holding(&state, secret), [""; 0].map(PathBuf::from), "{secret}");
        assert!(!log.contains(secret), "{secret}");
    }
    let bytes = std::fs::read(state.join(KEY)).unwrap();
    assert_eq!(
        holding(&state, std::str::from_utf8(&bytes).unwrap().trim()),
        [state.join(KEY)],
        "the key is in its file alone"
    );
}

#[test]
fn a_box_without_its_key_starts_locked_and_goes_on_when_it_is_back() {
    let sonar = sonar_with(CLOUD, &["A", "B"]);
    let gateway = holding_shop(&sonar);
    let hook = Hook::of(&gateway, "acme");
    hook.accepted(&body("shop", "T1"));
    let shown = gateway.cli(&["key", "show"]).out;
    assert_tells(&shown, &["Protected by:   a file only: whoever has the whole disk has it\n"]);
    let needed = gateway.json(&["key", "show"])["id"].as_str().unwrap().to_owned();
    let folder = gateway.stop();
    let kept = folder.path().join("kept.key");
    std::fs::rename(key_of(&folder), &kept).unwrap();
    for wrong in [false, true] {
        if wrong {
            write_key(&key_of(&folder), &"0f".repeat(32), 0o600);
        }
        sonar.forget_requests();
        let gateway = Gateway::start_in(Arc::clone(&folder), &[]).unwrap_or_else(|log| panic!("{log}"));
        let status = gateway.json(&["status"]);
        assert_eq!(status["ready"], false);
        assert!(conditions(&gateway).contains(&"locked".to_owned()), "{status}");
        let why = if wrong { "the sealing key is " } else { "is not there" };
        let shown = gateway.cli(&["status"]).out;
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_tells(&shown, &["the box is locked", why, "put the key back", "hydrophone.key", "restart hydrophone"]);
        assert_tells(&gateway.log(), &["locked: ", why]);
        let shown = gateway.cli(&["key", "show"]).out;
        assert_tells(&shown, &["Key:", &needed, why, "put the key back"]);
        // Lists work.
        assert_eq!(states(&gateway, "shop"), ["A open", "B open"]);
        assert_eq!(gateway.json(&["source", "list"])["sources"][0]["name"], "sonar");
        assert_eq!(gateway.json(&["delivery", "list"])["deliveries"].as_array().map(Vec::len), Some(1));
        // Webhooks are asked to come again, whatever their signature; an unknown one is still unknown.
        let here = Hook { address: gateway.address().to_owned(), ..hook.clone() };
        let answer = here.post(&body("shop", "T2"));
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.header("Retry-After").is_some(), "{answer:?}");
        let nobody = Hook { path: format!("/hooks/{}", "0".repeat(32)), ..here.clone() };
        assert_eq!(nobody.post(&body("shop", "T2")).status, 404);
        // Nothing is changed by halves.
        for line in [
            &["sync"][..],
            &["webhook", "show", "acme", "--reveal"],
            &["webhook", "secret", "acme", "--secret-file", "-"],
            &["source", "token", "sonar", "--token-file", "-"],
            &["source", "check", "sonar"],
            &["config", "set", "public-url", "https://a.example"],
            // Whatever a thing is called.
            &["asset", "remove", "backup"],
            &["asset", "remove", "session"],
            &["user", "remove", "sign-out"],
            &["project", "remove", "acme", "backup"],
        ] {
            let said = gateway.cli_with(line, "sixteen-letters!!");
            assert_refused(&said, &["the box is locked", "put the key back"]);
        }
        // Why it is locked can be looked into.
        let said = gateway.cli(&["--json", "doctor"]);
        let found: serde_json::Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
        assert_eq!(found["running"], true);
        assert_tells(&found["lines"].to_string(), &["the box is locked", "hydrophone.key", "the database answers"]);
        // Nobody is asked anything without a token.
        assert_eq!(sonar.requests().len(), 0);
        gateway.stop();
    }
    std::fs::rename(&kept, key_of(&folder)).unwrap();
    let gateway = Gateway::start_in(Arc::clone(&folder), &[]).unwrap();
    assert!(!conditions(&gateway).contains(&"locked".to_owned()));
    let here = Hook { address: gateway.address().to_owned(), ..hook };
    here.accepted(&body("shop", "T2"));
    gateway.json(&["sync", "--wait", "--timeout", "30"]);
}

/// What takes no login changes something all the same.
#[test]
fn a_locked_box_lets_people_log_in_and_nobody_choose_a_password() {
    let gateway = Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]);
    let line = ["user", "add", "ines", "--role", "admin", "--password-file", "-"];
    gateway.json_with(&line, "correct horse battery");
    let folder = gateway.stop();
    std::fs::remove_file(key_of(&folder)).unwrap();
    let gateway = Gateway::start_in(folder, &["--admin-listen", "127.0.0.1:0"]).unwrap_or_else(|log| panic!("{log}"));
    let page = gateway.json(&["status"])["page"].as_str().unwrap().to_owned();
    let post = |path: &str, body: serde_json::Value| {
        ask(&page, "POST", path, &[("Content-Type", "application/json")], &body.to_string())
    };
    let chosen = json!({ "user": "ines", "code": "0", "password": "another horse battery" });
    let answer = post("/api/v1/setup", chosen);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_tells(&answer.body, &["the box is locked", "put the key back"]);
    let answer = post("/api/v1/session", json!({ "user": "ines", "password": "correct horse battery" }));
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_credential_seals_and_no_key_is_left_on_the_disk() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let credentials = tempfile::tempdir().unwrap();
    write_key(&credentials.path().join(KEY), &"ab".repeat(32), 0o440);
    let gateway = Gateway::start_credited(Arc::clone(&folder), credentials.path()).unwrap();
    crate::support::connect(&gateway, &sonar);
    assert!(!key_of(&folder).exists());
    gateway.stop();
    // Without the credential it does not go on with a key of its own.
    let gateway = Gateway::start_in(Arc::clone(&folder), &[]).unwrap();
    assert!(conditions(&gateway).contains(&"locked".to_owned()));
    gateway.stop();
    assert!(!key_of(&folder).exists());
    // The same key as a file is the same key.
    write_key(&key_of(&folder), &"ab".repeat(32), 0o600);
    let gateway = Gateway::start_in(Arc::clone(&folder), &[]).unwrap();
    assert!(!conditions(&gateway).contains(&"locked".to_owned()));
    assert_eq!(gateway.cli(&["source", "check", "sonar"]).code, 0);
}

#[test]
fn a_key_that_is_of_no_use_refuses_the_start_in_one_sentence() {
    let folder = Gateway::start().stop();
    let key = key_of(&folder);
    let good = std::fs::read_to_string(&key).unwrap();
    let name = key.display().to_string();
    for (text, mode, parts) in [
        ("hunter2", 0o600, ["is not one", "64 hexadecimal digits"]),
        ("", 0o600, ["is not one", "put the right one there"]),
        (good.as_str(), 0o644, ["may be read by others (mode 0644)", "chmod 600"]),
    ] {
        write_key(&key, text, mode);
        let said = refused(&folder, None);
        assert_tells(&said.err, &[&[name.as_str()][..], &parts].concat());
        assert!(!said.err.contains("hunter2"), "{said:?}");
    }
    std::fs::remove_file(&key).unwrap();
    let credentials = tempfile::tempdir().unwrap();
    let credential = credentials.path().join(KEY);
    write_key(&credential, "nonsense", 0o400);
    let said = refused(&folder, Some(credentials.path()));
    assert_tells(&said.err, &[&credential.display().to_string(), "is not one", "64 hexadecimal digits"]);
    std::fs::remove_file(&credential).unwrap();
    std::fs::create_dir(&credential).unwrap();
    let said = refused(&folder, Some(credentials.path()));
    assert_tells(&said.err, &[&credential.display().to_string(), "cannot be read"]);
    // None of it made another key, or left the database to one.
    assert!(!key.exists());
    write_key(&key, &good, 0o600);
    let gateway = Gateway::start_in(folder, &[]).unwrap_or_else(|log| panic!("{log}"));
    assert!(!conditions(&gateway).contains(&"locked".to_owned()));
}

/// Starts a daemon that has to refuse because of its configuration, in one sentence.
fn refused(folder: &tempfile::TempDir, credentials: Option<&Path>) -> Said {
    let arguments = ["serve", "--webhook-listen", "127.0.0.1:0", "--admin-listen", "off", "--state"];
    let mut command = program();
    command.args(arguments).arg(folder.path().join("state"));
    if let Some(credentials) = credentials {
        command.env("CREDENTIALS_DIRECTORY", credentials);
    }
    let said = run(&mut command, "");
    assert_eq!((said.code, said.err.lines().count()), (78, 1), "{said:?}");
    said
}

fn write_key(path: &Path, text: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A key may be changed because it is known to others, and a box may lose its power just then: with a part of its secrets under
/// one key and a part under the other it must go on, and come to the end by itself.
#[test]
fn a_change_of_the_key_survives_kills_and_comes_to_its_end() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let gateway = holding_shop(&sonar);
    gateway.json(&["config", "set", "seal-bodies", "yes"]);
    let hook = Hook::of(&gateway, "acme");
    let ids: Vec<String> = (0..40).map(|number| hook.accepted(&body("shop", &format!("T{number}")))).collect();
    let shown = |gateway: &Gateway| gateway.json(&["key", "show"]);
    let first = shown(&gateway);
    assert_eq!((&first["credential"], &first["name"]), (&json!(false), &json!(KEY)));
    let mut folder = gateway.stop();
    let next = folder.path().join("state").join("hydrophone.key.next");
    let mut former = first["id"].clone();
    for round in 0..6 {
        let gateway = Gateway::start_in(Arc::clone(&folder), &[]).unwrap_or_else(|log| panic!("{log}"));
        let state = gateway.state();
        let asking = std::thread::spawn(move || run(program().arg("--state").arg(state).args(["key", "rotate"]), ""));
        match round % 3 {
            // Before anything says that there is another key, or just then.
            0 => gateway.wait("the next key's file", |_| next.exists().then_some(())),
            1 => drop(gateway.wait_for_log("secrets are sealed with the key")),
            _ => drop(asking.join().unwrap()),
        }
        folder = gateway.kill();
        let gateway = Gateway::start_in(Arc::clone(&folder), &[]).unwrap_or_else(|log| panic!("{log}"));
        assert!(!conditions(&gateway).contains(&"locked".to_owned()), "round {round}");
        let ended =
            gateway.wait("the change to end", |gateway| Some(shown(gateway)).filter(|key| key["former"].is_null()));
        if round % 3 > 0 {
            assert_ne!(ended["id"], former, "round {round}");
        }
        former = ended["id"].clone();
        assert_eq!(gateway.cli(&["source", "check", "sonar"]).code, 0, "the token opens");
        assert_eq!(Hook::of(&gateway, "acme").secret, hook.secret);
        for id in &ids {
            let payload = &gateway.json(&["delivery", "show", id])["payload"];
            assert_eq!(payload["project"]["key"], "shop", "round {round}: {payload}");
        }
        assert_eq!(gateway.json(&["verify"])["damaged"], 0);
        folder = gateway.stop();
    }
    let key = std::fs::read_to_string(key_of(&folder)).unwrap();
    assert_eq!(key.trim().len(), 64);
}

#[test]
fn a_key_is_changed_on_the_box_alone_and_a_credential_for_a_credential() {
    let gateway = Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]);
    let token = gateway.json(&["token", "add", "ci", "--role", "admin"])["secret"].as_str().unwrap().to_owned();
    let page = gateway.json(&["status"])["page"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let before = gateway.json(&["key", "show"])["id"].clone();
    let answer = ask(&page, "POST", "/api/v1/key/rotate", &[("Authorization", &bearer)], "");
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_tells(&answer.body, &["not changed over the network", "hydrophone key rotate"]);
    assert_eq!(gateway.json(&["key", "show"])["id"], before);
    let said = gateway.cli(&["key", "rotate"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_tells(&said.out, &["Secrets are sealed with the key", "any more", "--with-keys"]);
    let log = gateway.log();
    assert!(log.contains("secrets are sealed with the key"), "{log}");
    let changes = gateway.json(&["audit", "--what", "Seal secrets"]);
    let statuses: Vec<_> = changes["entries"].as_array().unwrap().iter().map(|entry| entry["status"].clone()).collect();
    assert_eq!(statuses, [json!(200), json!(403)], "{changes}");
    gateway.stop();

    let folder = Arc::new(tempfile::tempdir().unwrap());
    let credentials = tempfile::tempdir().unwrap();
    write_key(&credentials.path().join(KEY), &"ab".repeat(32), 0o440);
    let gateway = Gateway::start_credited(Arc::clone(&folder), credentials.path()).unwrap();
    let shown = gateway.cli(&["key", "show"]).out;
    assert_tells(&shown, &["the credential hydrophone.key", "Protected by:   systemd-creds", "systemd does not say"]);
    assert_refused(
        &gateway.cli(&["key", "rotate"]),
        &["is a credential", "hydrophone.key.next", "hydrophone key rotate --help"],
    );
    gateway.stop();
    write_key(&credentials.path().join("hydrophone.key.next"), &"cd".repeat(32), 0o440);
    let gateway = Gateway::start_credited(Arc::clone(&folder), credentials.path()).unwrap();
    assert_tells(&gateway.cli(&["key", "rotate"]).out, &["Give the new credential the name of the one before"]);
    assert_eq!(gateway.json(&["key", "show"])["name"], "hydrophone.key.next");
    gateway.stop();
    assert!(!key_of(&folder).exists() && !key_of(&folder).with_extension("key.next").exists());
    // By then the former credential is of no use, and the new one may have its name.
    write_key(&credentials.path().join(KEY), &"cd".repeat(32), 0o440);
    std::fs::remove_file(credentials.path().join("hydrophone.key.next")).unwrap();
    let gateway = Gateway::start_credited(Arc::clone(&folder), credentials.path()).unwrap();
    assert!(!conditions(&gateway).contains(&"locked".to_owned()));
}
