//! The doctor: what is wrong is named with what helps, and what support is sent holds no secret.

use serde_json::{Value, json};

use crate::calls::{Hook, body};
use crate::steps::{CLOUD, NEWEST_SERVER, add_source, assert_tells, organization, reachable, sonar_with, text};
use crate::support::gateway::{Gateway, program, run};
use crate::support::sonar::Sonar;

/// What the doctor says, whatever its verdict.
fn look(gateway: &Gateway, more: &[&str]) -> Value {
    let said = gateway.cli(&[&["--json", "doctor"], more].concat());
    let found: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    assert_eq!(said.code, i32::from(found["verdict"] == "fault"), "{found}");
    found
}

/// The lines of one check, as `verdict: text → remedy`.
fn lines(found: &Value, check: &str) -> Vec<String> {
    let of = found["lines"].as_array().unwrap().iter().filter(|line| line["check"] == check);
    of.map(|line| format!("{}: {} → {}", text(line, "verdict"), text(line, "text"), text(line, "remedy"))).collect()
}

fn all(found: &Value, check: &str) -> String {
    lines(found, check).join("\n")
}

#[test]
fn a_box_that_is_well_is_told_so_hop_by_hop() {
    for mode in [CLOUD, NEWEST_SERVER] {
        let sonar = sonar_with(mode, &["A"]);
        let gateway = reachable(&sonar, sonar.admin_token());
        gateway.json(&["webhook", "register", organization(&sonar)]);
        sonar.analyse("shop", "main", |analysis| analysis.fix("A"));
        sonar.wait_deliveries(1);
        let found = look(&gateway, &[]);
        assert_eq!(found["running"], true);
        for (check, word) in [
            ("daemon", "hydrophone"),
            ("store", "the database answers"),
            ("disk", "are free where"),
            ("certificate", "made by this box itself"),
            ("name", "takes connections"),
            ("token", "it is valid"),
            ("calls", "all of the last 1 calls"),
        ] {
            assert_tells(&all(&found, check), &["ok: ", word]);
        }
        assert_tells(&all(&found, "clock"), &["ok: this box and Sonar are"]);
        assert_tells(&all(&found, "permissions"), &["ok: Browse: all of the 1 imported", "ok: Administer: it may"]);
        // The call comes in; that the certificate is the box's own is another matter.
        assert_tells(&all(&found, "webhook"), &["warning: ", "A signed call came in through the public address"]);
        // A loopback address: Cloud cannot reach it, and Servers refuse it.
        let address = all(&found, "address");
        match mode {
            CLOUD => assert_tells(&address, &["fault: SonarQube Cloud cannot reach the private address"]),
            _ => assert_tells(&address, &["warning: ", "sonar.validateWebhooks=false"]),
        }
        assert!(found["lines"].as_array().unwrap().iter().all(|line| !line.to_string().contains("/hooks/")), "{found}");
        let said = gateway.cli(&["doctor"]);
        assert_tells(&said.out, &["ok      token sonar", "        → "]);
    }
}

#[test]
fn what_the_token_lacks_and_what_that_costs_is_told() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let gateway = reachable(&sonar, sonar.token());
    gateway.json(&["webhook", "show", "acme"]);
    let found = look(&gateway, &["sonar"]);
    assert_tells(
        &all(&found, "permissions"),
        &["warning: Administer: it may not see the webhooks of acme", "by the polls"],
    );
    assert_tells(&all(&found, "calls"), &["unknown: the token may not see Sonar's log"]);
    sonar.edit(|model| model.tokens.clear());
    let found = look(&gateway, &[]);
    assert_tells(&all(&found, "token"), &["fault: ", "hydrophone source token sonar --token-file FILE"]);
    assert_tells(&gateway.refused(&["doctor", "nowhere"], ""), &["nowhere"]);
}

#[test]
fn sonars_own_log_names_what_its_calls_fail_with() {
    let sonar = sonar_with(NEWEST_SERVER, &["A"]);
    let gateway = reachable(&sonar, sonar.admin_token());
    assert_eq!(lines(&look(&gateway, &[]), "calls"), [""; 0], "no webhook was made yet");
    gateway.json(&["webhook", "show", "sonar"]);
    let missing = all(&look(&gateway, &[]), "calls");
    assert_tells(
        &missing,
        &["warning: Sonar has no webhook of this box for sonar", "hydrophone webhook register sonar/sonar"],
    );
    gateway.json(&["webhook", "register", "sonar"]);
    sonar.edit(|model| model.webhooks[0].secret = Some("a secret that is not ours".to_owned()));
    sonar.analyse("shop", "main", |analysis| analysis.fix("A"));
    sonar.wait_deliveries(1);
    let found = look(&gateway, &[]);
    assert_tells(&all(&found, "calls"), &["fault: 1 of the last 1 calls for sonar failed", "HTTP 401", "webhook test"]);
}

#[test]
fn the_certificate_that_is_not_believed_is_named() {
    let sonar = Sonar::start_tls(NEWEST_SERVER);
    sonar.edit(|model| {
        model.add_project("acme", "shop", "Web shop");
    });
    let gateway = Gateway::start();
    let file = gateway.folder().join("ca.pem");
    std::fs::write(&file, sonar.ca_pem().unwrap()).unwrap();
    let added = add_source(&gateway, &sonar, "lab", sonar.token(), &["--ca-file", file.to_str().unwrap()]);
    assert_eq!(added.code, 0, "{added:?}");
    assert_tells(&all(&look(&gateway, &[]), "tls"), &["ok: the certificate is trusted: issued by \""]);
    // The same Server, trusted by nobody: the database of a box that knows no such authority.
    let other = Gateway::start();
    let refused = add_source(&other, &sonar, "lab", sonar.token(), &[]);
    assert_eq!(refused.code, 1, "such a source cannot be added: {refused:?}");
}

#[test]
fn without_the_daemon_it_looks_at_what_can_be_seen() {
    let sonar = sonar_with(NEWEST_SERVER, &["A"]);
    let gateway = reachable(&sonar, sonar.admin_token());
    let folder = gateway.kill();
    let state = folder.path().join("state");
    let said = run(program().arg("--state").arg(&state).args(["--json", "doctor"]), "");
    assert_eq!(said.code, 1, "{said:?}");
    let found: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&found["running"], &found["verdict"]), (&json!(false), &json!("fault")));
    assert_tells(&all(&found, "daemon"), &["fault: the daemon does not run", "systemctl start hydrophone"]);
    assert_tells(&all(&found, "store"), &["ok: the database answers"]);
    assert_tells(&all(&found, "token"), &["ok: "]);
    let again = Gateway::start_in(folder, &[]).unwrap_or_else(|log| panic!("it left something behind:\n{log}"));
    assert_eq!(again.json(&["project", "show", "sonar", "shop"])["imported"], true);

    let nothing = tempfile::tempdir().unwrap();
    let said = run(program().arg("--state").arg(nothing.path()).arg("doctor"), "");
    assert_eq!(said.code, 1);
    assert_tells(&said.out, &["FAULT   daemon", "FAULT   store", "→ start it"]);
    assert_eq!(std::fs::read_dir(nothing.path()).unwrap().count(), 0, "it makes nothing");
}

/// Secrets in every place that takes one, and a look for each of them in what support is sent.
#[test]
fn a_bundle_for_support_holds_no_secret() {
    let sonar = sonar_with(NEWEST_SERVER, &["A"]);
    let gateway = reachable(&sonar, sonar.admin_token());
    gateway.json(&["webhook", "register", "sonar"]);
    let taken_over = "planted-taken-over-webhook-secret";
    gateway.json_with(&["webhook", "secret", "sonar", "--project", "shop", "--secret-file", "-"], taken_over);
    gateway.json_with(&["user", "add", "ines", "--role", "admin", "--password-file", "-"], "planted password");
    let token = text(&gateway.json(&["token", "add", "ci", "--role", "viewer"]), "secret");
    // Nothing listens there.
    let events = ["destination", "add", "events", "siem", "--url", "http://127.0.0.1:9", "--unchecked", "--paused"];
    let proxied = [&events[..], &["--proxy", "http://robot:planted-proxy-password@127.0.0.1:9"]].concat();
    let made = text(&gateway.json(&proxied), "secret");
    let hook = Hook::of(&gateway, "sonar");
    let property = r#""properties":{"sonar.analysis.token":"planted-property"}"#;
    let body = body("shop", "T1").replace(r#""properties":{}"#, property);
    assert!(body.contains("planted"), "{body}");
    hook.accepted(&body);
    let path = gateway.folder().join("bundle.json");
    let said = gateway.cli(&["doctor", "--bundle", path.to_str().unwrap()]);
    assert!(said.err.contains("wrote "), "{said:?}");
    let bundle = std::fs::read_to_string(&path).unwrap();
    let own = gateway.json(&["webhook", "show", "sonar", "--project", "shop", "--reveal"]);
    let endpoint = |url: &str| url.split("/hooks/").nth(1).unwrap().to_owned();
    let secrets = [
        sonar.admin_token().to_owned(),
        taken_over.to_owned(),
        "planted".to_owned(),
        token,
        made,
        hook.secret.clone(),
        endpoint(&hook.path),
        endpoint(&text(&own, "url")),
    ];
    for secret in secrets {
        assert!(!bundle.contains(&secret), "{secret} is in the bundle:\n{bundle}");
    }
    assert!(!bundle.contains("PRIVATE KEY"));
    let bundle: Value = serde_json::from_str(&bundle).unwrap();
    assert_eq!(bundle["status"]["version"], env!("CARGO_PKG_VERSION"));
    let heads: Vec<_> = bundle["deliveries"]["deliveries"].as_array().unwrap().iter().collect();
    assert!(heads.iter().any(|head| head["task_id"] == "T1" && head["outcome"] != "test"), "{heads:?}");
    assert!(bundle["doctor"]["lines"].as_array().unwrap().len() > 8);
    assert_eq!(bundle["findings"], Value::Null, "findings' texts are sent only where that is asked for");
    let permissions = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(permissions & 0o777, 0o600);
    gateway.cli(&["doctor", "--bundle", path.to_str().unwrap(), "--with-findings"]);
    let bundle: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(bundle["findings"]["findings"][0]["project"], "shop");
}
