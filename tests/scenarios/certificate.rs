//! The certificate of the listeners: exchanged while they run, refused with what is wrong with it, and the way on which
//! SonarQube comes to trust this box.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::steps::{CLOUD, NEWEST_SERVER, assert_tells, organization, sonar_with};
use crate::support::gateway::{Gateway, program};
use crate::support::https::ask;
use crate::support::{connect, tls};

/// A certificate of an authority of one's own, with its whole chain, and its key.
pub struct Pair {
    pub chain: String,
    pub leaf: String,
    pub key: String,
}

pub fn pair(name: &str, days: i64) -> Pair {
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let (root_key, middle_key, key) =
        (KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let root = authority("Root").self_signed(&root_key).unwrap().pem();
    let middle = authority("Middle").signed_by(&middle_key, &Issuer::new(authority("Root"), root_key)).unwrap().pem();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let end = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC) + jiff::Span::new().days(days);
    let (month, day) = (u8::try_from(end.month()).unwrap(), u8::try_from(end.day()).unwrap());
    params.not_after = rcgen::date_time_ymd(i32::from(end.year()), month, day);
    let leaf = params.signed_by(&key, &Issuer::new(authority("Middle"), middle_key)).unwrap().pem();
    Pair { chain: [leaf.as_str(), &middle, &root].concat(), leaf, key: key.serialize_pem() }
}

/// The files that a command line names.
pub fn files(folder: &Path, certificate: &str, key: &str) -> [String; 2] {
    ["given.crt", "given.key"].map(|name| {
        let path = folder.join(name);
        std::fs::write(&path, if name == "given.crt" { certificate } else { key }).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

pub fn set(files: &[String; 2]) -> [&str; 6] {
    ["certificate", "set", "--cert", &files[0], "--key", &files[1]]
}

pub fn of(gateway: &Gateway) -> String {
    tls::certificate_of(gateway.address().trim_start_matches("https://"))
}

pub fn same(left: &str, right: &str) -> bool {
    let plain = |text: &str| text.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    plain(left) == plain(right)
}

pub fn conditions(gateway: &Gateway) -> String {
    gateway.json(&["status"])["conditions"].to_string()
}

#[test]
fn a_certificate_is_exchanged_on_both_listeners_while_a_connection_goes_on() {
    let gateway = Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]);
    let page = gateway.json(&["status"])["page"].as_str().unwrap().trim_start_matches("https://").to_owned();
    let own = of(&gateway);
    let (one, other) = (pair("hooks.example", 300), pair("hooks.example", 200));
    let mut before = tls::connect(gateway.address().trim_start_matches("https://"));
    let ask_again = |stream: &mut rustls::StreamOwned<_, _>| {
        use std::io::{Read, Write};
        let stream: &mut rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream> = stream;
        stream.write_all(b"GET /hooks/none HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        let mut rest = Vec::new();
        while !rest.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            rest.push(byte[0]);
        }
        assert_eq!(&answer, b"HTTP/1.1 404");
    };
    ask_again(&mut before);
    for (pair, days) in [(&one, 300), (&other, 200)] {
        let change = gateway.json(&set(&files(gateway.folder(), &pair.chain, &pair.key)));
        assert!(same(&of(&gateway), &pair.leaf) && same(&tls::certificate_of(&page), &pair.leaf));
        let told = &change["certificate"];
        assert_eq!(
            (&told["origin"], &told["anchor"], &told["way"]["code"]),
            (&json!("set"), &json!("private"), &json!("trust_store"))
        );
        assert!((days - 1..=days).contains(&told["days_left"].as_i64().unwrap()), "{told}");
        assert_tells(&change["notes"].to_string(), &["CN=Root", "SonarQube refuses it unless it was told to trust it"]);
        ask_again(&mut before);
    }
    // What a Server's Java is given: the chain with its authority.
    let pem = gateway.cli(&["certificate", "show", "--pem"]).out;
    assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 3);
    // keytool takes the first alone, and the box's own is another one after a renewal: it is given the authority's.
    let authority = gateway.cli(&["certificate", "show", "--ca-pem"]).out;
    assert!(authority.matches("BEGIN CERTIFICATE").count() == 1 && pem.ends_with(&authority), "{authority}");
    for line in [&["certificate", "show"][..], &["doctor"]] {
        assert_tells(&gateway.cli(line).out, &["the authority's own certificate, \"CN=Root\"", "show --ca-pem >"]);
    }
    let gateway = gateway.restart(Gateway::kill);
    assert!(same(&of(&gateway), &other.leaf));
    let made = gateway.json(&["certificate", "self-signed"]);
    assert_eq!(made["certificate"]["why"], "made by this box itself");
    assert_eq!((&made["certificate"]["origin"], &made["certificate"]["anchor"]), (&json!("own"), &json!("itself")));
    assert!(!same(&of(&gateway), &other.leaf) && !same(&of(&gateway), &own), "it is made anew");
    let audit = gateway.json(&["audit"])["entries"].to_string();
    assert_tells(&audit, &["Give the box a certificate", "Have the box make a certificate of its own"]);
    assert!(!audit.contains("PRIVATE KEY"));
}

#[test]
fn what_must_not_be_shown_is_refused_in_a_sentence_and_changes_nothing() {
    let gateway = Gateway::start();
    let own = of(&gateway);
    let (good, other) = (pair("hooks.example", 300), pair("hooks.example", 300));
    let ended = pair("hooks.example", -1);
    for (certificate, key, words) in [
        (
            good.leaf.as_str(),
            good.key.as_str(),
            ["\"CN=hooks.example\" was issued by \"CN=Middle\"", "add the certificate of \"CN=Middle\""],
        ),
        (&good.chain, &other.key, ["the key does not belong to the certificate", "give the one that it was made with"]),
        (&ended.chain, &ended.key, ["\"CN=hooks.example\" has ended at", "renew it, or set the clock"]),
    ] {
        let told = gateway.refused(&set(&files(gateway.folder(), certificate, key)), "");
        assert_tells(&told, &words);
        assert_eq!(of(&gateway), own);
    }
    // A subject's own signs do not cut a sentence in two.
    let mut reversed: Vec<_> = good.chain.split_inclusive("-----END CERTIFICATE-----\n").collect();
    reversed.reverse();
    let reversed = reversed.concat();
    let said = gateway.cli(&set(&files(gateway.folder(), &reversed, &good.key)));
    assert_tells(
        &said.err,
        &[
            "error: the certificates are in another order than needed\n",
            "put them into this one: \"CN=hooks.example\", then \"CN=Middle\", then \"CN=Root\"",
        ],
    );
    let text = gateway.refused(&set(&files(gateway.folder(), "no certificate", &good.key)), "");
    assert_tells(&text, &["holds no certificate in PEM form"]);
    assert_eq!(gateway.json(&["certificate", "show"])["origin"], "own");
}

#[test]
fn files_of_an_administrator_stand_before_what_is_set_and_that_before_the_boxs_own() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let configuration = tempfile::tempdir().unwrap();
    let (filed, given) = (pair("filed.example", 300), pair("given.example", 300));
    let [crt, key] = ["tls.crt", "tls.key"].map(|name| configuration.path().join(name));
    std::fs::write(&crt, &filed.chain).unwrap();
    std::fs::write(&key, &filed.key).unwrap();
    let mut command = std::process::Command::new("sh");
    command
        .arg("-c")
        .arg(format!("CONFIGURATION_DIRECTORY='{}' exec \"$0\" \"$@\"", configuration.path().display()))
        .arg(program().get_program());
    let gateway = Gateway::start_as(command, folder, &[], [Stdio::null(), Stdio::null()]).unwrap();
    let said = gateway.cli(&set(&files(gateway.folder(), &given.chain, &given.key))).out;
    assert!(said.starts_with("Kept, but not shown: ") && said.contains("tls.key stand before it.\n"), "{said}");
    let said = gateway.cli(&["certificate", "self-signed"]).out;
    assert!(said.starts_with("Kept, but not shown: "), "{said}");
    let change = gateway.json(&set(&files(gateway.folder(), &given.chain, &given.key)));
    assert!(same(&of(&gateway), &filed.leaf));
    assert_eq!(change["certificate"]["origin"], "files");
    assert_tells(
        &change["notes"].to_string(),
        &["the listeners go on to show", "tls.crt", "systemctl reload hydrophone"],
    );
    std::fs::remove_file(&crt).unwrap();
    std::fs::remove_file(&key).unwrap();
    gateway.reload();
    gateway.wait("what was set", |gateway| same(&of(gateway), &given.leaf).then_some(()));
    assert_eq!(gateway.json(&["certificate", "show"])["origin"], "set");
}

#[test]
fn an_end_that_is_near_is_a_condition_and_a_metric() {
    let gateway = Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]);
    let page = gateway.json(&["status"])["page"].as_str().unwrap().to_owned();
    assert!(!conditions(&gateway).contains("certificate_ends"));
    for (days, severity) in [(20, "warning"), (5, "error")] {
        let soon = pair("hooks.example", days);
        gateway.json(&set(&files(gateway.folder(), &soon.chain, &soon.key)));
        let status = gateway.json(&["status"]);
        let told =
            status["conditions"].as_array().unwrap().iter().find(|one| one["code"] == "certificate_ends").unwrap();
        assert_eq!(told["severity"], severity, "{told}");
        assert_tells(&told["remedy"].to_string(), &["hydrophone certificate set --cert FILE --key FILE"]);
        let token =
            gateway.json(&["token", "add", severity, "--role", "viewer"])["secret"].as_str().unwrap().to_owned();
        let metrics = ask(&page, "GET", "/metrics", &[("Authorization", &format!("Bearer {token}"))], "").body;
        let ends: jiff::Timestamp = status["certificate_ends_at"].as_str().unwrap().parse().unwrap();
        assert_tells(&metrics, &[&format!("hydrophone_certificate_expiry_timestamp_seconds {}\n", ends.as_second())]);
    }
    assert_tells(&gateway.cli(&["doctor"]).out, &["FAULT", "days left", "certificate set --cert FILE"]);
}

#[test]
fn a_locked_box_takes_no_certificate() {
    let gateway = Gateway::start();
    let given = pair("given.example", 300);
    gateway.json(&set(&files(gateway.folder(), &given.chain, &given.key)));
    let folder = gateway.stop();
    std::fs::remove_file(folder.path().join("state/hydrophone.key")).unwrap();
    let gateway = Gateway::start_in(folder, &[]).unwrap();
    assert!(!same(&of(&gateway), &given.leaf), "its key cannot be read");
    for line in [&["certificate", "self-signed"][..], &set(&files(gateway.folder(), &given.chain, &given.key))] {
        assert_tells(&gateway.refused(line, ""), &["sealing key"]);
    }
    let shown = gateway.json(&["certificate", "show"]);
    assert_eq!(shown["origin"], "own");
    assert_tells(&shown["why"].to_string(), &["made by this box for this run alone", "without its key"]);
}

/// SonarQube refuses a certificate that it does not trust, and says nothing of it here: the box says which way it is on.
#[test]
fn the_way_on_which_sonarqube_trusts_this_box_is_told() {
    for (mode, words) in [
        (CLOUD, ["SonarQube Cloud cannot be told to trust it", "certificate acme"]),
        (NEWEST_SERVER, ["keytool -importcert -cacerts", "certificate show --pem"]),
    ] {
        let sonar = sonar_with(mode, &["A"]);
        let gateway = Gateway::start();
        connect(&gateway, &sonar);
        let said = gateway.cli(&["webhook", "show", organization(&sonar)]).out;
        assert_tells(&said, &[&["signed by itself, and SonarQube refuses such a one"][..], &words].concat());
        assert_eq!(way(&gateway), "trust_store");
        assert_tells(&gateway.cli(&["doctor"]).out, &[" way ", words[0]]);
        let plain = Gateway::start_with(&["--webhook-plain"]);
        connect(&plain, &sonar);
        assert_eq!(way(&plain), "proxy");
        assert_tells(
            &plain.cli(&["webhook", "show", organization(&sonar)]).out,
            &["A proxy or tunnel in front of this box"],
        );
        let polls = Gateway::start_with(&["--webhook-listen", "off"]);
        assert_eq!(way(&polls), "poll_only");
        assert_tells(&polls.cli(&["doctor"]).out, &["SonarQube is polled, with the same results"]);
    }
}

fn way(gateway: &Gateway) -> Value {
    gateway.json(&["status"])["way"]["code"].clone()
}

#[test]
fn nothing_is_fetched_where_nobody_would_answer_the_server() {
    let plain = Gateway::start_with(&["--webhook-plain", "--admin-listen", "127.0.0.1:0"]);
    let line = [
        "certificate",
        "acme",
        "--domain",
        "hooks.example.test",
        "--directory",
        "https://localhost:1/dir",
        "--agree-to-terms",
    ];
    let told = plain.refused(&line, "");
    assert_tells(&told, &["answered by the webhook listener, which does not speak TLS", "choose http-01 instead"]);
    let told = plain.refused(&[&line[..], &["--challenge", "http-01"]].concat(), "");
    assert_tells(&told, &["a plain listener that this box was not started with", "--acme-http-listen"]);
    let none = Gateway::start_with(&["--webhook-plain"]);
    assert_tells(&none.refused(&line, ""), &["neither listener of this box speaks TLS by itself"]);
    assert_tells(&none.refused(&["certificate", "renew"], ""), &["no ACME server is set up"]);
}
