//! Certificates from a real ACME server: issue, renewal, refusal, limits, and what is left of it all after a kill. Needs
//! Debian's package `pebble`; tests/run runs it where that is installed.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unreachable_pub, reason = "a test program exports nothing")]

mod limited;
mod pebble;
#[path = "../support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use serde_json::{Value, json};

use self::limited::Limited;
use self::pebble::{EAB_KEY, Pebble, Wanted, free_port};
use self::support::gateway::{Gateway, Said};
use self::support::tls;

const NAME: &str = "hooks.example.test";

/// A gateway, and a server that looks at its webhook listener.
fn both(wanted: Wanted) -> (Gateway, Pebble) {
    let gateway = Gateway::start();
    let pebble = Pebble::start(Wanted { tls_port: port(&gateway), ..wanted });
    (gateway, pebble)
}

fn address(gateway: &Gateway) -> String {
    gateway.address().trim_start_matches("https://").to_owned()
}

fn port(gateway: &Gateway) -> u16 {
    address(gateway).rsplit(':').next().unwrap().parse().unwrap()
}

/// Has one fetched, and waits for what comes of it.
fn fetch(gateway: &Gateway, pebble: &Pebble, more: &[&str]) -> Said {
    let (directory, ca) = (pebble.directory(), pebble.ca_file());
    let line = ["certificate", "acme", "--directory", &directory, "--ca-file", &ca, "--agree-to-terms"];
    let name = ["--domain", NAME];
    let names = if more.contains(&"--domain") { &[][..] } else { &name[..] };
    gateway.cli(&[&line[..], names, more].concat())
}

fn fetched(gateway: &Gateway, pebble: &Pebble, more: &[&str]) {
    let said = fetch(gateway, pebble, more);
    assert_eq!(said.code, 0, "{said:?}\n{}", gateway.log());
    assert!(said.out.contains("fetched just now") || said.out.contains("State:          fetched"), "{}", said.out);
}

fn refused(gateway: &Gateway, pebble: &Pebble, more: &[&str], words: &[&str]) {
    let said = fetch(gateway, pebble, more);
    assert_eq!(said.code, 1, "{said:?}");
    tells(&format!("{}{}", said.out, said.err), words);
}

fn tells(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

fn shown(gateway: &Gateway) -> Value {
    gateway.json(&["certificate", "show"])
}

fn conditions(gateway: &Gateway) -> Vec<String> {
    let status = gateway.json(&["status"]);
    let all = status["conditions"].as_array().unwrap().clone();
    all.iter().map(|one| format!("{} {}: {} → {}", one["severity"], one["code"], one["text"], one["remedy"])).collect()
}

fn audited(gateway: &Gateway) -> usize {
    let audit = gateway.json(&["audit"]);
    audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["what"] == "Fetch a certificate" && entry["via"] == "acme")
        .count()
}

/// TLS for a name, with what an ACME server calls its protocol.
fn look_for_proof(gateway: &Gateway, name: &str) -> Result<(), std::io::Error> {
    let mut config = tls::takes_any();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let config: Arc<ClientConfig> = Arc::new(config);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(config, name).unwrap();
    let mut stream = TcpStream::connect(address(gateway)).unwrap();
    while connection.is_handshaking() {
        if let Err(error) = connection.complete_io(&mut stream) {
            let what = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
            // A proof is there: its extension is one that nobody else may take for a certificate's.
            return if matches!(what, Some(rustls::Error::InvalidCertificate(_))) { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}

#[test]
fn a_certificate_is_fetched_by_tls_shown_at_once_and_kept() {
    let (gateway, pebble) = both(Wanted::default());
    let own = tls::certificate_of(&address(&gateway));
    let (directory, ca) = (pebble.directory(), pebble.ca_file());
    let line = ["certificate", "acme", "--domain", NAME, "--directory", &directory, "--ca-file", &ca];
    let said = gateway.refused(&line, "");
    tells(&said, &["agrees to the terms", "--agree-to-terms"]);

    let said = fetch(
        &gateway,
        &pebble,
        &["--contact", "ines@example.test", "--domain", NAME, "--domain", "Second.example.test"],
    );
    assert_eq!(said.code, 0, "{said:?}\n{}", gateway.log());
    tells(&said.out, &["the server looks at port 443, and this box listens on port", "ListenStream=443", "fetched"]);
    let first = tls::certificate_of(&address(&gateway));
    assert_ne!(first, own);
    let told = shown(&gateway);
    assert_eq!(
        (&told["origin"], &told["anchor"], &told["key"]),
        (&json!("acme"), &json!("private"), &json!("ECDSA on P-256"))
    );
    assert_eq!(told["names"], json!([NAME, "second.example.test"]));
    assert_eq!(told["acme"]["state"], "fetched", "{told}");
    assert!(told["issuer"].as_str().unwrap().contains("Pebble Intermediate"), "{told}");
    assert_eq!(audited(&gateway), 1);
    // Nobody gets a proof when none is laid out.
    assert!(look_for_proof(&gateway, NAME).is_err());
    // What is private to this box lies in the database sealed.
    let database = std::fs::read(gateway.state().join("hydrophone.redb")).unwrap();
    assert!(!database.windows(11).any(|window| window == b"PRIVATE KEY"));

    let gateway = gateway.restart(Gateway::stop);
    assert_eq!(tls::certificate_of(&address(&gateway)), first);
    // Asked for once more it is another certificate with another key.
    let said = gateway.cli(&["certificate", "renew"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_ne!(tls::certificate_of(&address(&gateway)), first);
    assert_eq!(audited(&gateway), 2);
    // The box's own is made anew, and nothing is fetched any more.
    gateway.json(&["certificate", "self-signed"]);
    assert_eq!(shown(&gateway)["origin"], "own");
    tells(&gateway.refused(&["certificate", "renew"], ""), &["no ACME server is set up"]);
}

#[test]
fn a_certificate_is_fetched_by_plain_http() {
    let http = free_port();
    let listen = format!("127.0.0.1:{http}");
    let gateway = Gateway::start_with(&["--acme-http-listen", &listen]);
    let pebble = Pebble::start(Wanted { http_port: http, tls_port: 1, ..Wanted::default() });
    fetched(&gateway, &pebble, &["--challenge", "http-01"]);
    assert_eq!(shown(&gateway)["acme"]["challenge"], "http-01");
    let mut stream = TcpStream::connect(&listen).unwrap();
    stream.write_all(b"GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

/// Two thirds of ten seconds.
#[test]
fn a_certificate_is_fetched_anew_before_it_ends() {
    let (gateway, pebble) = both(Wanted { seconds: Some(10), ..Wanted::default() });
    fetched(&gateway, &pebble, &[]);
    let first = tls::certificate_of(&address(&gateway));
    gateway.wait("a word about another", |gateway| (audited(gateway) >= 2).then_some(()));
    assert_ne!(tls::certificate_of(&address(&gateway)), first);
}

#[test]
fn what_a_server_refuses_is_told_in_its_words_and_what_is_shown_stays() {
    let gateway = Gateway::start();
    // Nobody listens where it looks.
    let pebble = Pebble::start(Wanted { tls_port: free_port(), ..Wanted::default() });
    let own = tls::certificate_of(&address(&gateway));
    refused(
        &gateway,
        &pebble,
        &[],
        &["refused hooks.example.test", "Failed to connect to", "let port 443 of hooks.example.test lead to port"],
    );
    assert_eq!(tls::certificate_of(&address(&gateway)), own);
    let conditions = conditions(&gateway).join("\n");
    tells(&conditions, &["\"error\" \"certificate_not_fetched\"", "hooks.example.test", "the next attempt is made at"]);
    let refusal = ["refused", "blocked.example.test", "rejectedIdentifier", "choose names that this authority takes"];
    self::refused(&gateway, &pebble, &["--domain", "blocked.example.test"], &refusal);
    // It says so itself to whoever asks the box.
    let found = gateway.cli(&["doctor"]).out;
    tells(&found, &["no certificate could be fetched for blocked.example.test"]);
    // Once somebody mends the way it comes.
    let reached = Pebble::start(Wanted { tls_port: port(&gateway), ..Wanted::default() });
    fetched(&gateway, &reached, &[]);
    assert!(!self::conditions(&gateway).join("").contains("certificate_not_fetched"));
}

#[test]
fn numbers_that_a_server_does_not_take_are_asked_for_again() {
    let (gateway, pebble) = both(Wanted { environment: vec![("PEBBLE_WFE_NONCEREJECT", "30")], ..Wanted::default() });
    let mut said = fetch(&gateway, &pebble, &[]);
    // Each is refused with three in ten, so that an attempt fails now and then, and the next one does not for that.
    for _ in 0..12 {
        if said.code == 0 {
            break;
        }
        tells(&said.out, &["badNonce"]);
        said = gateway.cli(&["certificate", "renew"]);
    }
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(shown(&gateway)["origin"], "acme");
}

#[test]
fn an_account_is_bound_to_one_at_the_operator() {
    let (gateway, pebble) = both(Wanted { bound: true, ..Wanted::default() });
    refused(&gateway, &pebble, &[], &["externalAccountRequired", "--eab-id ID --eab-key-file FILE"]);
    let key = gateway.folder().join("eab.key");
    std::fs::write(&key, EAB_KEY.replace('z', "y")).unwrap();
    let key = key.to_str().unwrap().to_owned();
    let bound = ["--eab-id", "kid-1", "--eab-key-file", &key];
    refused(&gateway, &pebble, &bound, &["refused"]);
    std::fs::write(&key, EAB_KEY).unwrap();
    fetched(&gateway, &pebble, &bound);
}

#[test]
fn a_server_that_forgot_the_account_is_given_a_new_one() {
    let (gateway, mut pebble) = both(Wanted::default());
    fetched(&gateway, &pebble, &[]);
    let first = tls::certificate_of(&address(&gateway));
    pebble.end();
    let said = gateway.cli(&["certificate", "renew"]);
    assert_eq!(said.code, 1, "{said:?}");
    tells(&said.out, &["cannot be reached", "nothing listens there", "the last attempt failed"]);
    assert_eq!(tls::certificate_of(&address(&gateway)), first, "what there is stays");
    let conditions = conditions(&gateway).join("\n");
    tells(&conditions, &["\"warning\" \"certificate_not_fetched\"", "cannot be reached"]);
    pebble.again();
    let said = gateway.cli(&["certificate", "renew"]);
    assert_eq!(said.code, 0, "{said:?}\n{}", gateway.log());
    tells(&gateway.log(), &["accountDoesNotExist", "a new account is made"]);
    assert_ne!(tls::certificate_of(&address(&gateway)), first);
}

#[test]
fn a_server_whose_certificate_seems_to_have_ended_has_the_clock_named() {
    let (gateway, pebble) = both(Wanted { ended: true, ..Wanted::default() });
    refused(&gateway, &pebble, &[], &["is not trusted: expired", "clock, which may be ahead"]);
    let foreign = Pebble::start(Wanted { tls_port: port(&gateway), ..Wanted::default() });
    let (directory, ca) = (foreign.directory(), pebble.ca_file());
    let line =
        ["certificate", "acme", "--domain", NAME, "--directory", &directory, "--ca-file", &ca, "--agree-to-terms"];
    let said = gateway.cli(&line);
    assert_eq!(said.code, 1);
    tells(&said.out, &["unknown authority", "--ca-file"]);
}

/// Killed while the server looks at it, a box begins anew when it is started, and calls come in all the while.
#[test]
fn a_kill_in_the_middle_costs_nothing_but_time() {
    let slow = vec![("PEBBLE_VA_NOSLEEP", ""), ("PEBBLE_VA_SLEEPTIME", "3600")];
    let (gateway, mut pebble) = both(Wanted { environment: slow, ..Wanted::default() });
    let own = tls::certificate_of(&address(&gateway));
    let body = json!({ "domains": [NAME], "agree_to_terms": true, "directory": pebble.directory(),
        "ca_pem": std::fs::read_to_string(pebble.ca_file()).unwrap() });
    let body = body.to_string();
    let mut stream = UnixStream::connect(gateway.state().join("admin.sock")).unwrap();
    write!(
        stream,
        "PUT /api/v1/certificate/acme HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut begun = String::new();
    stream.read_to_string(&mut begun).unwrap();
    tells(&begun, &["HTTP/1.1 200", "\"state\":\"working\""]);
    // From here on a proof is laid out; whoever calls is shown what was shown before, and no other name has a proof.
    gateway.wait("the proof", |gateway| look_for_proof(gateway, NAME).ok());
    assert_eq!(tls::certificate_of(&address(&gateway)), own);
    assert!(look_for_proof(&gateway, "other.example.test").is_err());
    let gateway = gateway.restart(Gateway::kill);
    assert_eq!(tls::certificate_of(&address(&gateway)), own);
    pebble.end();
    pebble.environment.clear();
    pebble.again();
    gateway.wait("a certificate", |gateway| {
        let _ = gateway.cli(&["certificate", "renew"]);
        (shown(gateway)["origin"] == "acme").then_some(())
    });
    assert_ne!(tls::certificate_of(&address(&gateway)), own);
}

/// What a public server says to whoever asks too often; pebble knows no limits.
#[test]
fn a_server_that_wants_to_be_left_alone_is_left_alone() {
    let gateway = Gateway::start();
    let server = Limited::start(7200);
    let said = gateway.cli(&server.line(NAME));
    assert_eq!(said.code, 1, "{said:?}\n{}", gateway.log());
    tells(&said.out, &["too many certificates already issued", "rateLimited", "once the server allows it"]);
    let asked = server.orders();
    tells(&gateway.refused(&["certificate", "renew"], ""), &["the next attempt may be made at"]);
    let told = gateway.json(&["certificate", "show"]);
    let at = |text: &Value| text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    let waits = at(&told["acme"]["next_at"]) - at(&told["acme"]["tried_at"]);
    assert!((7200..7300).contains(&waits), "{told}");
    // A restart forgets nothing of it.
    let gateway = gateway.restart(Gateway::kill);
    tells(&gateway.refused(&["certificate", "renew"], ""), &["the next attempt may be made at"]);
    assert_eq!(server.orders(), asked);
}

/// Each proof costs a call, and a server may answer as slowly as it likes.
#[test]
fn a_server_that_wants_more_proven_than_was_asked_for_is_not_believed() {
    let gateway = Gateway::start();
    let server = Limited::greedy();
    let said = gateway.cli(&server.line(NAME));
    assert_eq!(said.code, 1, "{said:?}\n{}", gateway.log());
    tells(&said.out, &["wants more names proven than it was asked for"]);
    assert!(server.orders() <= 2, "{} proofs were asked for", server.orders());
}
