//! The doctor: what is wrong is named with what helps, and what support is sent holds no secret.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::calls::{Hook, body};
use crate::steps::{
    CLOUD, NEWEST_SERVER, add_source, assert_tells, holding_shop, organization, reachable, sonar_with, text,
};
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
    // Somebody gives the Server a certificate of another authority.
    sonar.change_authority();
    let found = look(&gateway, &[]);
    assert_tells(
        &all(&found, "tls"),
        &["fault: ", "\"CN=sonarqube.example.com\" was issued by ", "Example Private CA", "have it trusted: --ca-file"],
    );
    assert_eq!(lines(&found, "token"), [""; 0], "the token is not sent there");
}

/// What stands on the way to a Sonar or a destination, each named by the step that fails.
#[test]
fn each_step_that_fails_is_named() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let gateway = holding_shop(&sonar);
    let url = format!("http://{}", closed());
    let line = ["destination", "add", "events", "siem", "--url", &url, "--unchecked", "--paused"];
    gateway.json(&line);
    sonar.edit(|model| model.tokens.iter_mut().for_each(|token| token.expires = Some(0)));
    let found = look(&gateway, &[]);
    assert_tells(&all(&found, "token"), &["fault: ", "expired", "hydrophone source token sonar --token-file FILE"]);
    assert_tells(&all(&found, "destination"), &["fault: ", "hydrophone destination edit"]);
}

/// Starts it where the environment names this proxy, or none.
fn start_behind(folder: Arc<tempfile::TempDir>, proxy: Option<SocketAddr>) -> Gateway {
    let mut command = program();
    match proxy {
        Some(proxy) => command.env("ALL_PROXY", format!("http://{proxy}")),
        None => command.env_remove("ALL_PROXY"),
    };
    Gateway::start_as(command, folder, &[], [Stdio::null(), Stdio::null()]).unwrap_or_else(|log| panic!("{log}"))
}

/// A proxy that knows one machine, whatever it is called.
fn proxy_to(target: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut near, mut far) = (stream.unwrap(), TcpStream::connect(&target).unwrap());
            let mut reader = BufReader::new(near.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
            let mut back = far.try_clone().unwrap();
            std::thread::spawn(move || std::io::copy(&mut back, &mut near));
            std::thread::spawn(move || std::io::copy(&mut reader, &mut far));
        }
    });
    address
}

#[test]
fn a_name_that_is_not_known_and_a_proxy_that_takes_nobody_are_named() {
    let sonar = sonar_with(NEWEST_SERVER, &["A"]);
    let target = sonar.url().trim_start_matches("http://").to_owned();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let gateway = start_behind(Arc::clone(&folder), Some(proxy_to(target)));
    let line = ["source", "add", "lab", "--server", "http://sonar.invalid", "--token-file", "-"];
    gateway.json_with(&line, sonar.token());
    let found = look(&gateway, &[]);
    assert_tells(&format!("{}\n{}", all(&found, "proxy"), all(&found, "token")), &["ok: 127.0.0.1:", "ok: a user's"]);
    gateway.stop();
    let gateway = start_behind(Arc::clone(&folder), None);
    let told = all(&look(&gateway, &[]), "name");
    assert_tells(&told, &["fault: the name sonar.invalid is not known (DNS)", "/etc/resolv.conf"]);
    gateway.stop();
    let gateway = start_behind(folder, Some(closed()));
    let told = all(&look(&gateway, &[]), "proxy");
    assert_tells(&told, &["fault: 127.0.0.1 port", "does not take the connection", "NO_PROXY"]);
}

/// Where nobody listens: a port that the system gives nobody who asks for any.
fn closed() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

/// The listeners show a certificate of an administrator's: that is the one to be looked at, and not the box's own.
#[test]
fn the_certificate_of_the_files_is_looked_at_and_they_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (file("tls.crt"), file("tls.key"));
    let put = |days: i64| {
        let issued = issued(days);
        std::fs::write(&certificate, issued.0).unwrap();
        std::fs::write(&key, issued.1).unwrap();
    };
    put(10);
    let gateway = Gateway::start_with(&["--tls-cert", &certificate, "--tls-key", &key]);
    let told = all(&look(&gateway, &[]), "certificate");
    assert_tells(&told, &["warning: good for box.example, issued by CN=Example Issuer", &certificate, &key]);
    assert_tells(&told, &["systemctl reload hydrophone"]);
    put(90);
    gateway.reload();
    gateway.wait_for_log("the listeners show another certificate");
    assert_tells(&all(&look(&gateway, &[]), "certificate"), &["ok: ", "issued by CN=Example Issuer"]);
    put(-1);
    let gateway = gateway.restart(Gateway::stop);
    assert_tells(&all(&look(&gateway, &[]), "certificate"), &["fault: ", "issued by CN=Example Issuer; ended at"]);
}

/// A certificate that ends in so many days with its authority's, and its key, PEM.
fn issued(days: i64) -> (String, String) {
    let named = |name: &str| {
        let mut parameters = rcgen::CertificateParams::new(vec!["box.example".to_owned()]).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters
    };
    let (issuer_key, key) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let mut parameters = named("box.example");
    let span = std::time::Duration::from_hours(24 * days.unsigned_abs());
    let now = std::time::SystemTime::now();
    parameters.not_after = if days < 0 { now - span } else { now + span }.into();
    parameters.not_before = rcgen::date_time_ymd(2024, 1, 1);
    let mut authority = named("Example Issuer");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&issuer_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, issuer_key);
    (parameters.signed_by(&key, &issuer).unwrap().pem() + &root, key.serialize_pem())
}

/// Whoever asks and goes away must not have more and more looked at: what was begun goes on.
#[test]
fn while_a_look_goes_on_there_is_no_second_one() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let gateway = holding_shop(&sonar);
    // Neither Sonar nor the way to this box answers, so that all of the look is under way.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    gateway.json(&["config", "set", "public-url", &format!("https://{}", silent.local_addr().unwrap())]);
    gateway.json(&["webhook", "show", "acme"]);
    let hold = sonar.hold("/api/authentication/validate");
    let mut stream = UnixStream::connect(gateway.state().join("admin.sock")).unwrap();
    let head = "POST /api/v1/doctor HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2";
    stream.write_all(format!("{head}\r\n\r\n{{}}").as_bytes()).unwrap();
    hold.wait_held(1);
    let called = silent.accept().unwrap();
    drop(stream);
    // The first of them may come before it is noticed that nobody waits any more.
    for _ in 0..10 {
        let said = gateway.cli(&["doctor"]);
        assert_tells(&said.err, &["the doctor is looking at this box already", "try again"]);
    }
    drop((called, silent));
    hold.release();
    gateway.wait("the first look's end", |gateway| {
        gateway.cli(&["--json", "doctor"]).out.contains("\"running\":true").then_some(())
    });
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
    assert_tells(&said.out, &["FAULT   daemon", "FAULT   store", "→ start it", "→ look after the disk"]);
    assert_eq!(std::fs::read_dir(nothing.path()).unwrap().count(), 0, "it makes nothing");
}

/// An address that is all that keeps others out; nobody listens there.
const CAPABILITY: &str = "http://127.0.0.1:9/webhook/6f1c2d3e-4b5a-4c3d-9e8f-0123456789ab";

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
    let events = ["destination", "add", "events", "siem", "--url", CAPABILITY, "--unchecked", "--paused"];
    let proxied = [&events[..], &["--proxy-file", "-"]].concat();
    let proxy = "http://robot:planted-proxy-password@127.0.0.1:9";
    let made = text(&gateway.json_with(&proxied, proxy), "secret");
    let hook = Hook::of(&gateway, "sonar");
    let property = r#""properties":{"sonar.analysis.token":"planted-property"}"#;
    let body = body("shop", "T1").replace(r#""properties":{}"#, property);
    assert!(body.contains("planted"), "{body}");
    hook.accepted(&body);
    let path = gateway.folder().join("bundle.json");
    // What is there already keeps neither its permission nor a link its target.
    let target = gateway.folder().join("target");
    std::fs::write(&target, "untouched").unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    let said = gateway.cli(&["doctor", "--bundle", path.to_str().unwrap()]);
    assert!(said.err.contains("wrote "), "{said:?}");
    let bundle = std::fs::read_to_string(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "untouched");
    let own = gateway.json(&["webhook", "show", "sonar", "--project", "shop", "--reveal"]);
    let endpoint = |url: &str| url.split("/hooks/").nth(1).unwrap().to_owned();
    let secrets = [
        sonar.admin_token().to_owned(),
        taken_over.to_owned(),
        "planted".to_owned(),
        token,
        made,
        hook.secret.clone(),
        "6f1c2d3e".to_owned(),
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
