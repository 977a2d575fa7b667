//! A box's whole content as one file, taken while it works, and a box that is made of it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::calls::{Hook, body};
use crate::steps::{
    CLOUD, assert_refused, assert_tells, conditions, holding_shop, members, sonar_with, states, vulnerability,
};
use crate::support::gateway::{Gateway, Said, program, run};
use crate::support::sonar::Sonar;

const PASSPHRASE: &str = "correct horse battery staple";

/// A gateway that holds a project, with a key to its secrets that the test knows nothing of.
fn holding(sonar: &Sonar) -> (Gateway, Hook) {
    let gateway = holding_shop(sonar);
    let hook = Hook::of(&gateway, "acme");
    (gateway, hook)
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(name)
}

/// Runs a command that needs no daemon, on a state folder.
fn offline(state: &Path, arguments: &[&str], input: &str) -> Said {
    run(program().arg("--state").arg(state).args(arguments), input)
}

/// Backups are read in pieces while the box works. Were those of different moments, a restored box could lack a call that was
/// acknowledged, or hold a finding that no list shows. It must also be able to go on: with its tokens and webhooks.
#[test]
fn a_backup_under_load_becomes_a_box_that_lacks_nothing_and_goes_on() {
    let sonar = sonar_with(CLOUD, &["A", "B"]);
    sonar.edit(|model| {
        model.add_project("acme", "bulk", "Bulk");
        for number in 0..2_000 {
            model.add_issue("bulk", "main", vulnerability(&format!("N{number}")));
        }
    });
    let (gateway, hook) = holding(&sonar);
    let acknowledged: Vec<String> =
        (0..20).map(|number| hook.accepted(&body("shop", &format!("before-{number}")))).collect();
    let backup = file(gateway.folder(), "gateway.bak");
    let stop = AtomicBool::new(false);
    let during = std::thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                hook.accepted(&body("shop", &format!("during-{count}")));
                count += 1;
            }
            count
        });
        let import = scope.spawn(|| gateway.json(&["project", "import", "acme", "--project", "bulk", "--wait"]));
        let name = backup.to_str().unwrap();
        let passphrase = file(gateway.folder(), "passphrase");
        std::fs::write(&passphrase, PASSPHRASE).unwrap();
        let mut rounds = 0;
        while rounds < 3 || !import.is_finished() {
            let line = ["backup", name, "--with-keys", "--passphrase-file", passphrase.to_str().unwrap()];
            let made = gateway.json(&line);
            assert_eq!((made["damaged"].as_u64(), made["with_keys"].as_bool()), (Some(0), Some(true)), "{made}");
            rounds += 1;
            if rounds == 1 {
                std::fs::copy(&backup, backup.with_extension("first")).unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
        import.join().unwrap();
        caller.join().unwrap()
    });
    assert!(during > 0);
    let shown = gateway.cli(&["verify"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert_tells(&shown.out, &["findings", "are whole"]);
    let before = members(&gateway, "shop", &["key", "id", "state", "first_seen_at"]);
    let _kept = gateway.stop();

    let fresh = tempfile::tempdir().unwrap();
    let state = fresh.path().join("state");
    for name in ["gateway.first", "gateway.bak"] {
        let from = backup.with_file_name(name);
        let line = ["restore", from.to_str().unwrap(), "--passphrase-file", "-"];
        let said = offline(&state, &line, PASSPHRASE);
        assert_eq!(said.code, 0, "{said:?}");
        assert_tells(&said.out, &["Restored", "The key is in", "TPM", "Now start it"]);
        let said = offline(&state, &["verify"], "");
        assert_eq!(said.code, 0, "{said:?}");
    }
    let gateway = Gateway::start_in(Arc::new(fresh), &[]).unwrap_or_else(|log| panic!("{log}"));
    assert!(!conditions(&gateway).contains(&"locked".to_owned()));
    for (number, id) in acknowledged.iter().enumerate() {
        assert_eq!(gateway.json(&["delivery", "show", id])["task_id"], format!("before-{number}"));
    }
    assert_eq!(members(&gateway, "shop", &["key", "id", "state", "first_seen_at"]), before);
    let bulk = gateway.json(&["project", "show", "acme", "bulk"]);
    assert_eq!(bulk["branches"][0]["stored_total"], bulk["branches"][0]["sonar_total"], "{bulk}");
    // Token and webhook secret are there.
    let hook = Hook { address: gateway.address().to_owned(), ..hook };
    hook.accepted(&body("shop", "after"));
    sonar.analyse("shop", "main", |analysis| analysis.fix("A"));
    gateway.json(&["sync", "--wait", "--timeout", "60"]);
    assert_eq!(states(&gateway, "shop"), ["A fixed", "B open"]);
}

#[test]
fn a_backup_holds_no_secret_and_without_its_key_the_box_is_locked() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let (gateway, hook) = holding(&sonar);
    let backup = file(gateway.folder(), "gateway.bak");
    let name = backup.to_str().unwrap();
    let said = gateway.cli(&["backup", name]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_tells(&said.out, &["Wrote", "sealed with the key", "not in it", "hydrophone.key", "--with-keys"]);
    let bytes = std::fs::read(&backup).unwrap();
    for secret in [sonar.token(), hook.secret.as_str()] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }
    assert_eq!(std::fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    assert_tells(&gateway.cli(&["verify", name]).out, &["which is this box's; it is not in the backup"]);
    // Another box has another key, and its database needs that one.
    let (other, _) = holding(&sonar);
    assert_tells(&other.cli(&["verify", name]).out, &["the file in the state folder is another one", "has to be kept"]);
    let state = other.state();
    let kept = other.stop();
    let said = offline(&state, &["restore", name], "");
    assert_eq!(said.code, 0, "{said:?}");
    assert_tells(&said.out, &["starts locked", "is another key", "which the former database needs", "mv "]);
    drop(kept);
    let fresh = Arc::new(tempfile::tempdir().unwrap());
    let state = fresh.path().join("state");
    assert_tells(&offline(&state, &["verify", name], "").out, &["neither in it nor"]);
    let said = offline(&state, &["restore", name], "");
    assert_eq!(said.code, 0, "{said:?}");
    assert_tells(&said.out, &["is not in the state folder", "starts locked", "TPM does not move", "--with-keys"]);
    let restored = Gateway::start_in(Arc::clone(&fresh), &[]).unwrap_or_else(|log| panic!("{log}"));
    assert!(conditions(&restored).contains(&"locked".to_owned()));
    assert_eq!(states(&restored, "shop"), ["A open"]);
    // A locked box can be backed up, and its key not.
    let again = file(restored.folder(), "again.bak");
    assert_eq!(restored.cli(&["backup", again.to_str().unwrap()]).code, 0);
    let line = ["backup", again.to_str().unwrap(), "--with-keys", "--passphrase-file", "-"];
    assert_refused(&restored.cli_with(&line, PASSPHRASE), &["the box is locked"]);
    restored.stop();
    std::fs::copy(gateway.state().join("hydrophone.key"), state.join("hydrophone.key")).unwrap();
    let restored = Gateway::start_in(fresh, &[]).unwrap();
    assert!(!conditions(&restored).contains(&"locked".to_owned()));
}

/// A box may have a credential of its own, such as one bound to its TPM. The key that came with the backup is the needed one.
#[test]
fn a_backup_with_its_key_works_on_a_box_that_has_another_credential() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let (gateway, _) = holding(&sonar);
    let backup = file(gateway.folder(), "gateway.bak");
    let name = backup.to_str().unwrap();
    gateway.json_with(&["backup", name, "--with-keys", "--passphrase-file", "-"], PASSPHRASE);
    let (fresh, credentials) = (Arc::new(tempfile::tempdir().unwrap()), tempfile::tempdir().unwrap());
    for (credential, digits) in [("hydrophone.key", "ab"), ("hydrophone.key.encrypted", "cd")] {
        std::fs::write(credentials.path().join(credential), digits.repeat(32)).unwrap();
        let other =
            Gateway::start_credited(Arc::clone(&fresh), credentials.path()).unwrap_or_else(|log| panic!("{log}"));
        assert!(!conditions(&other).contains(&"locked".to_owned()), "{credential}");
        let folder = other.stop();
        assert!(!folder.path().join("state/hydrophone.key").exists(), "a key was made");
    }
    let said = offline(&fresh.path().join("state"), &["restore", name, "--passphrase-file", "-"], PASSPHRASE);
    assert_eq!(said.code, 0, "{said:?}");
    assert_tells(&said.out, &["also where a credential holds another key", "API tokens", "hydrophone user list"]);
    assert_tells(&said.out, &["rotate webhook secrets", "sign in again", "hydrophone.key.encrypted"]);
    let restored = Gateway::start_credited(fresh, credentials.path()).unwrap_or_else(|log| panic!("{log}"));
    assert!(!conditions(&restored).contains(&"locked".to_owned()));
    assert_eq!(restored.cli(&["source", "check", "sonar"]).code, 0);
}

#[test]
fn a_restore_that_cannot_be_right_changes_nothing() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let (gateway, _) = holding(&sonar);
    let backup = file(gateway.folder(), "gateway.bak");
    let name = backup.to_str().unwrap();
    gateway.json_with(&["backup", name, "--with-keys", "--passphrase-file", "-"], PASSPHRASE);
    let short = gateway.cli_with(&["backup", name, "--with-keys", "--passphrase-file", "-"], "short");
    assert_refused(&short, &["at least 12 characters"]);
    // A service that runs has its folder.
    let said = gateway.cli_with(&["restore", name, "--passphrase-file", "-"], PASSPHRASE);
    assert_refused(&said, &["is in use", "systemctl stop hydrophone.service 'hydrophone-*.socket'"]);
    let folder = gateway.stop();
    let state = folder.path().join("state");
    let before = listing(&state);
    let good = std::fs::read(&backup).unwrap();
    let middle = good.len() / 2;
    let flipped = [&good[..middle], &[good[middle] ^ 1], &good[middle + 1..]].concat();
    let newer = [b"hydrophone backup 9\n", &good[20..]].concat();
    let bad = file(folder.path(), "bad.bak");
    for (bytes, part) in [
        (&good[..good.len() - 1], "cut short"),
        (&good[..middle], "cut short"),
        (&flipped[..], "is damaged near byte"),
        (&newer[..], "a newer version of hydrophone made it"),
        (b"{}", "it is no backup of hydrophone"),
        (b"", "it is no backup of hydrophone"),
    ] {
        std::fs::write(&bad, bytes).unwrap();
        for line in
            [&["restore", bad.to_str().unwrap(), "--passphrase-file", "-"][..], &["verify", bad.to_str().unwrap()]]
        {
            let said = offline(&state, line, PASSPHRASE);
            assert_refused(&said, &[bad.to_str().unwrap(), part]);
        }
    }
    let said = offline(&state, &["restore", "/nowhere/x.bak"], "");
    assert_refused(&said, &["/nowhere/x.bak", "cannot be read"]);
    let said = offline(&state, &["restore", name, "--passphrase-file", "-"], "another passphrase");
    assert_refused(&said, &["is not the passphrase", "Nothing was changed"]);
    let said = offline(&state, &["restore", name], "");
    assert_refused(&said, &["no terminal to ask", "--passphrase-file"]);
    assert!(listing(&state) == before, "something was touched");
    // And what can be right keeps what was there.
    let said = offline(&state, &["--json", "restore", name, "--passphrase-file", "-"], PASSPHRASE);
    assert_eq!(said.code, 0, "{said:?}");
    let told: Value = serde_json::from_str(&said.out).unwrap();
    let former = PathBuf::from(told["former"].as_str().unwrap());
    let database = before.iter().find(|(name, _)| name == "hydrophone.redb").unwrap();
    assert!(std::fs::read(former).unwrap() == database.1, "the former database is kept as it was");
    assert_eq!((told["has_key"].as_bool(), told["former_key"].as_str()), (Some(true), None));
    let gateway = Gateway::start_in(folder, &[]).unwrap();
    assert_eq!(states(&gateway, "shop"), ["A open"]);
}

/// Names and content of what lies in a folder.
fn listing(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    found.sort();
    found
}
