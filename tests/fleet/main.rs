//! Boxes that speak to a real server of NATS JetStream: what its stream holds is what the boxes know, whatever breaks
//! between them, and a box may do no more than it needs. Needs Debian's package `nats-server`; tests/run fetches it.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unreachable_pub, reason = "a test program exports nothing")]

mod cut;
mod hub;
mod jwt;
mod offer;
mod relay;
mod server;
mod sites;
mod skew;
mod standby;
mod storm;
#[path = "../support/mod.rs"]
mod support;
mod wall;
mod week;

use std::collections::BTreeMap;
use std::net::TcpListener;

use async_nats::jetstream::stream::{Config, StorageType};
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer};
use serde_json::{Value, json};

use self::server::{Server, confined, usual};
use self::support::gateway::{Gateway, Said};
use self::support::sonar::{Issue, Mode, Severity, Sonar};
use self::support::{connect, hook_up, import};

/// A gateway that holds two findings, A and B, and takes webhooks.
fn shop() -> (Sonar, Gateway) {
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        model.add_project("acme", "com.acme:shop", "Web shop");
        model.add_issue("com.acme:shop", "main", Issue::vulnerability("java:S3649", "src/a.java", 12).with_key("A"));
        model.add_issue("com.acme:shop", "main", Issue::vulnerability("java:S2068", "src/b.java", 3).with_key("B"));
    });
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    import(&gateway, "acme", &["com.acme:shop"]);
    hook_up(&gateway, &sonar, "acme");
    (sonar, gateway)
}

/// Has a gateway tell a server, as the box of this site, with this secret.
fn join(gateway: &Gateway, url: &str, site: &str, secret: &str, flags: &[&str]) -> Said {
    let site = format!("site={site}");
    let add = ["destination", "add", "nats", "fleet", "--url", url, "--option", &site];
    let given: &[&str] = if secret.is_empty() { &[] } else { &["--token-file", "-"] };
    gateway.cli_with(&[&add[..], given, flags].concat(), secret)
}

fn joined(gateway: &Gateway, server: &Server, site: &str) {
    let said = join(gateway, &server.url(), site, &format!("{site}:{site}-secret"), &[]);
    assert_eq!(said.code, 0, "{said:?}\n{}", gateway.log());
}

fn refused(said: &Said, words: &[&str]) {
    assert_eq!(said.code, 1, "{said:?}");
    let text = format!("{}{}", said.out, said.err);
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

fn wait_state(gateway: &Gateway, state: &str) -> Value {
    gateway.wait(&format!("the destination to be {state}"), |gateway| {
        Some(gateway.json(&["destination", "show", "fleet"])).filter(|shown| shown["state"] == state)
    })
}

fn wait_findings(gateway: &Gateway, server: &Server, findings: &[&str]) {
    gateway.wait(&format!("{findings:?}"), |_| (server.findings() == findings).then_some(()));
}

#[test]
fn the_stream_holds_the_newest_state_of_each_finding_and_who_told_it() {
    let server = Server::start(&[confined("berlin")]);
    server.make(usual());
    let (sonar, gateway) = shop();
    joined(&gateway, &server, "berlin");
    wait_findings(&gateway, &server, &["berlin A open", "berlin B open"]);
    sonar.analyse("com.acme:shop", "main", |analysis| {
        analysis.fix("A");
        analysis.set_severity("B", Severity::Blocker);
        analysis.open(Issue::vulnerability("java:S5131", "src/c.java", 7).with_key("C"));
    });
    wait_findings(&gateway, &server, &["berlin A fixed", "berlin B open", "berlin C open"]);
    wait_state(&gateway, "up_to_date");
    let alive = "hydrophone.v1.berlin.~box";
    let held = gateway.wait("the box to say that it is there", |_| {
        server.holds("HYDROPHONE").filter(|held| held.contains_key(alive))
    });
    let kinds: BTreeMap<&str, &str> =
        held.iter().map(|(subject, event)| (subject.as_str(), event["type"].as_str().unwrap())).collect();
    let project = "sonar.acme.com%2Eacme%3Ashop";
    let finding = |subject: &str| kinds.get(format!("hydrophone.v1.berlin.{project}.{subject}").as_str()).copied();
    // One message for each thing, the newest.
    assert_eq!(
        [finding("F1"), finding("F2"), finding("F3")].map(Option::unwrap),
        ["dev.hydrophone.finding.fixed", "dev.hydrophone.finding.updated", "dev.hydrophone.finding.opened"]
    );
    let scope = &held.iter().find(|(subject, _)| subject.starts_with("hydrophone.v1.berlin.~scope.")).unwrap().1;
    assert_eq!((&scope["data"]["complete"], &scope["data"]["project"]), (&json!(true), &json!("com.acme:shop")));
    assert_eq!(kinds["hydrophone.v1.berlin.~ping"], "dev.hydrophone.ping");
    assert_eq!(held[alive]["data"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(held[alive]["source"], "hydrophone://berlin/");
    assert!(held.values().all(|event| event["site"] == "berlin" && event["specversion"] == "1.0"), "{held:#?}");
}

#[test]
fn boxes_of_many_sites_share_a_stream_and_none_is_another() {
    let server = Server::start(&["berlin", "oslo", "quito"].map(confined));
    server.make(usual());
    let boxes = ["berlin", "oslo", "quito"].map(|site| {
        let (sonar, gateway) = shop();
        joined(&gateway, &server, site);
        (sonar, gateway)
    });
    for (_, gateway) in &boxes {
        wait_state(gateway, "up_to_date");
    }
    let all = ["berlin A open", "berlin B open", "oslo A open", "oslo B open", "quito A open", "quito B open"];
    assert_eq!(server.findings(), all);
    let (sonar, gateway) = &boxes[1];
    sonar.analyse("com.acme:shop", "main", |analysis| analysis.fix("B"));
    let all = ["berlin A open", "berlin B open", "oslo A open", "oslo B fixed", "quito A open", "quito B open"];
    wait_findings(gateway, &server, &all);
}

#[test]
fn how_scopes_stand_is_told_where_no_finding_changes_and_also_that_they_are_gone() {
    let server = Server::start(&[confined("berlin")]);
    server.make(usual());
    let (sonar, gateway) = shop();
    sonar.edit(|model| {
        model.add_project("acme", "empty", "Empty");
    });
    import(&gateway, "acme", &["empty"]);
    joined(&gateway, &server, "berlin");
    let told = |kind: &str| {
        let held = server.holds("HYDROPHONE")?;
        let of_scope = |subject: &str| {
            let rest = subject.strip_prefix("hydrophone.v1.berlin.~scope.");
            rest.and_then(|rest| rest.split_once('.')).is_some_and(|(_, scope)| scope == "S2")
        };
        let event = held.into_iter().find(|(subject, _)| of_scope(subject))?.1;
        (event["type"] == format!("dev.hydrophone.scope.{kind}")).then(|| event["data"].clone())
    };
    let data = gateway.wait("the scope to be told", |_| told("told"));
    assert_eq!((&data["sonar_total"], &data["complete"], &data["cloud"]), (&json!(0), &json!(true), &json!(true)));
    assert_eq!(data["url"], sonar.url());
    let origin = &data["origin"];
    assert_eq!((&origin["project"], &origin["scope"], &origin["main"]), (&json!("P2"), &json!("S2"), &json!(true)));
    let said = gateway.cli(&["project", "remove", "acme", "empty"]);
    assert_eq!(said.code, 0, "{said:?}");
    // Another process than the one that told it.
    let gateway = gateway.restart(Gateway::kill);
    let data = gateway.wait("its end to be told", |_| told("gone"));
    let (inventory, scope) = (&data["origin"]["inventory"], &data["origin"]["scope"]);
    assert_eq!((inventory, scope), (&origin["inventory"], &json!("S2")));
}

#[test]
fn what_happens_while_the_server_is_gone_is_told_when_it_is_back() {
    let mut server = Server::start(&[confined("berlin")]);
    server.make(usual());
    let (sonar, gateway) = shop();
    joined(&gateway, &server, "berlin");
    wait_findings(&gateway, &server, &["berlin A open", "berlin B open"]);
    server.kill();
    sonar.analyse("com.acme:shop", "main", |analysis| analysis.fix("A"));
    let shown = wait_state(&gateway, "retrying");
    let trouble = shown["trouble"].as_str().unwrap();
    assert!(trouble.contains("was lost") || trouble.contains("connection was refused"), "{trouble}");
    // Nothing else waits for it.
    gateway.wait("the inventory to go on", |gateway| {
        (gateway.json(&["finding", "list", "--state", "open"])["total"] == 1).then_some(())
    });
    // Neither does it matter that the box is not the same process any more.
    let gateway = gateway.restart(Gateway::kill);
    sonar.analyse("com.acme:shop", "main", |analysis| {
        analysis.open(Issue::vulnerability("java:S5131", "src/c.java", 7).with_key("C"));
    });
    server.again();
    gateway.wait("a check to go well", |gateway| {
        (gateway.cli(&["destination", "check", "fleet"]).code == 0).then_some(())
    });
    wait_findings(&gateway, &server, &["berlin A fixed", "berlin B open", "berlin C open"]);
    assert_eq!(wait_state(&gateway, "up_to_date")["trouble"], Value::Null);
}

#[test]
fn a_kill_amid_the_first_push_leaves_nothing_out() {
    const COUNT: usize = 2_400;
    let server = Server::start(&[confined("berlin")]);
    server.make(usual());
    let sonar = Sonar::start(Mode::Cloud);
    let keys = sonar.edit(|model| {
        model.add_project("acme", "big", "Big");
        model.add_issues("big", "main", COUNT)
    });
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    import(&gateway, "acme", &["big"]);
    joined(&gateway, &server, "berlin");
    let count = |server: &Server| {
        server.ask(async |context| context.get_stream("HYDROPHONE").await.unwrap().cached_info().state.messages)
    };
    gateway.wait("some to be there", |_| (count(&server) > 200).then_some(()));
    let gateway = gateway.restart(Gateway::kill);
    wait_state(&gateway, "up_to_date");
    let mut expected: Vec<_> = keys.into_iter().map(|key| format!("berlin {key} open")).collect();
    expected.sort();
    assert_eq!(server.findings(), expected);
}

#[test]
fn conditions_of_the_box_are_told_each_on_a_subject_of_its_own() {
    let server = Server::start(&[confined("berlin")]);
    server.make(usual());
    let (sonar, gateway) = shop();
    joined(&gateway, &server, "berlin");
    let told = |code: &str| {
        let held = server.holds("HYDROPHONE").unwrap().into_iter();
        held.filter(|(_, event)| event["type"] == "dev.hydrophone.condition.raised")
            .find(|(_, event)| event["subject"] == code)
    };
    let (subject, _) = gateway.wait("a condition that held before to be told", |_| told("no_public_url"));
    assert!(subject.starts_with("hydrophone.v1.berlin.~condition.no_public_url."), "{subject}");
    sonar.edit(|model| model.token_mut(sonar.token()).expires = Some(0));
    gateway.cli(&["sync", "--wait", "--timeout", "20"]);
    let (subject, event) = gateway.wait("a new condition to be told", |_| told("source_refused"));
    assert!(subject.starts_with("hydrophone.v1.berlin.~condition.source_refused."), "{subject}");
    assert_eq!((&event["site"], &event["data"]["severity"]), (&json!("berlin"), &json!("error")), "{event}");
}

#[test]
fn a_stolen_box_can_say_nothing_as_another_site() {
    let server = Server::start(&["berlin", "oslo"].map(confined));
    server.make(usual());
    let (_sonar, gateway) = shop();
    let said = join(&gateway, &server.url(), "oslo", "berlin:berlin-secret", &[]);
    refused(&said, &["does not let this box publish on hydrophone.v1.oslo.>", "the credentials of its own site"]);
    assert_eq!(server.findings(), [""; 0]);
    // Nor can it look at what others say, or change how the stream keeps it.
    joined(&gateway, &server, "berlin");
    let check = gateway.json(&["destination", "check", "fleet"]);
    let lines: Vec<&str> =
        check["lines"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert!(lines.iter().any(|line| line.contains("may not be looked at with these credentials")), "{lines:?}");
}

#[test]
fn a_box_makes_the_stream_where_it_may_and_else_says_that_there_is_none() {
    let server = Server::start(&[confined("berlin"), "{ user: oslo, password: oslo-secret }".to_owned()]);
    let (_sonar, gateway) = shop();
    let said = join(&gateway, &server.url(), "berlin", "berlin:berlin-secret", &[]);
    refused(
        &said,
        &["no stream of 127.0.0.1", "takes hydrophone.v1.berlin.>", "this box may not make it", "Many boxes"],
    );
    // Added all the same, it waits until there is one.
    let said = join(&gateway, &server.url(), "berlin", "berlin:berlin-secret", &["--unchecked"]);
    assert_eq!(said.code, 0, "{said:?}");
    wait_state(&gateway, "retrying");
    let (_other, oslo) = shop();
    joined(&oslo, &server, "oslo");
    wait_state(&oslo, "up_to_date");
    gateway.json(&["destination", "check", "fleet"]);
    wait_findings(&gateway, &server, &["berlin A open", "berlin B open", "oslo A open", "oslo B open"]);
    let lines = oslo.json(&["destination", "check", "fleet"]);
    assert!(lines["lines"].to_string().contains("it keeps the newest message of each subject, on disk"), "{lines}");
}

/// The server compares ids of messages whatever their subject is.
#[test]
fn a_box_that_goes_to_another_site_says_everything_there() {
    let server = Server::start(&["berln", "berlin"].map(confined));
    server.make(usual());
    let (_sonar, gateway) = shop();
    joined(&gateway, &server, "berln");
    wait_findings(&gateway, &server, &["berln A open", "berln B open"]);
    let edit = ["destination", "edit", "fleet", "--option", "site=berlin", "--token-file", "-", "--check"];
    let said = gateway.cli_with(&edit, "berlin:berlin-secret");
    assert_eq!(said.code, 0, "{said:?}");
    wait_findings(&gateway, &server, &["berlin A open", "berlin B open", "berln A open", "berln B open"]);
}

#[test]
fn a_destination_without_a_secret_comes_to_another_box_without_one() {
    let gateway = Gateway::start();
    let said = join(&gateway, "nats://nats.example", "berlin", "berlin:secret", &["--unchecked", "--paused"]);
    assert_eq!(said.code, 0, "{said:?}");
    let document = gateway.json(&["config", "export"]);
    assert!(document.to_string().contains("HYDROPHONE_DESTINATION_FLEET_SECRET"), "{document}");
    gateway.json(&["destination", "remove", "fleet"]);
    let said = join(&gateway, "nats://nats.example", "berlin", "", &["--unchecked", "--paused"]);
    assert_eq!(said.code, 0, "{said:?}");
    let file = gateway.folder().join("box.json");
    let file = file.to_str().unwrap();
    gateway.json(&["config", "export", file]);
    let other = Gateway::start();
    let said = other.cli(&["config", "apply", file]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(other.json(&["destination", "show", "fleet"])["kind"], "nats");
}

#[test]
fn a_stream_that_keeps_messages_otherwise_is_named() {
    let full = "{ user: oslo, password: oslo-secret }".to_owned();
    for (stream, words) in [
        (Config { max_messages_per_subject: -1, ..usual() }, "it keeps every message of a subject"),
        (Config { max_messages_per_subject: 5, ..usual() }, "it keeps 5 messages of each subject"),
        (Config { storage: StorageType::Memory, ..usual() }, "it keeps messages in memory"),
        (Config { max_age: std::time::Duration::from_hours(1), ..usual() }, "it drops messages after 3600 s"),
        (Config { max_bytes: 1 << 20, ..usual() }, "it drops old messages when it is full"),
    ] {
        let server = Server::start(std::slice::from_ref(&full));
        server.make(stream);
        let gateway = Gateway::start();
        refused(&join(&gateway, &server.url(), "oslo", "oslo:oslo-secret", &[]), &[words, "README"]);
    }
    let server = Server::start(std::slice::from_ref(&full));
    server.make(Config { name: "OTHER".to_owned(), ..usual() });
    let gateway = Gateway::start();
    let said = join(&gateway, &server.url(), "oslo", "oslo:oslo-secret", &[]);
    refused(&said, &["another stream of 127.0.0.1", "--option stream=NAME"]);
    let said = join(&gateway, &server.url(), "oslo", "oslo:oslo-secret", &["--option", "stream=OTHER"]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn a_box_proves_itself_by_a_password_a_token_a_key_or_a_file_of_credentials() {
    let jetstream = "jetstream { store_dir: \"FOLDER/store\" }";
    let gateway = Gateway::start();
    let wrong = |server: &Server, secret: &str| {
        refused(&join(&gateway, &server.url(), "berlin", secret, &[]), &["refuses the credentials"]);
    };
    let right = |server: &Server, secret: &str| {
        let said = join(&gateway, &server.url(), "berlin", secret, &[]);
        assert_eq!(said.code, 0, "{said:?}");
        gateway.json(&["destination", "remove", "fleet"]);
    };
    let server = Server::start(&["{ user: berlin, password: \"with:colon\" }".to_owned()]);
    wrong(&server, "");
    wrong(&server, "berlin:else");
    right(&server, "berlin:with:colon");
    let server = Server::configured(&format!("{jetstream}\nauthorization {{ token: s3cr3t }}"));
    wrong(&server, "else");
    right(&server, "s3cr3t");
    let pair = KeyPair::new_user();
    let users = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", pair.public_key());
    let server = Server::configured(&format!("{jetstream}\n{users}"));
    wrong(&server, &KeyPair::new_user().seed().unwrap());
    right(&server, &pair.seed().unwrap());
    let (configuration, file) = jwt::operated("berlin");
    let server = Server::configured(&format!("{jetstream}\n{configuration}"));
    wrong(&server, &jwt::operated("berlin").1);
    right(&server, &file);
}

#[test]
fn nothing_goes_over_a_network_without_tls_unless_it_was_said_to_be_safe() {
    let folder = tempfile::tempdir().unwrap();
    let authority = certificate(&folder);
    let server = Server::in_folder(
        folder,
        "jetstream { store_dir: \"FOLDER/store\" }\ntls { cert_file: \"FOLDER/own.crt\", key_file: \"FOLDER/own.key\" }",
    );
    let gateway = Gateway::start();
    let said = join(&gateway, &server.url(), "berlin", "", &[]);
    refused(&said, &["the certificate of 127.0.0.1", "is not trusted", "--ca-file"]);
    let ca = server.file("ca.pem");
    std::fs::write(&ca, authority).unwrap();
    let trusting = ["--ca-file", ca.to_str().unwrap()];
    let said = join(&gateway, &server.url(), "berlin", "", &trusting);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("over TLS"), "{}", said.out);
    // A server that offers no TLS is not spoken to where it is asked for.
    let plain = Server::configured("jetstream { store_dir: \"FOLDER/store\" }");
    gateway.json(&["destination", "remove", "fleet"]);
    let url = plain.url().replace("nats://", "tls://");
    refused(&join(&gateway, &url, "berlin", "", &[]), &["cannot be reached"]);
}

#[test]
fn what_is_no_server_of_nats_is_said_to_be_none() {
    let gateway = Gateway::start();
    // A port at which nobody listens.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let said = join(&gateway, &format!("nats://127.0.0.1:{gone}"), "berlin", "", &[]);
    refused(&said, &["cannot be reached: the connection was refused; nothing listens there"]);
    // One that says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let said = join(&gateway, &format!("nats://{}", silent.local_addr().unwrap()), "berlin", "", &[]);
    refused(&said, &["does not answer as a server of NATS does"]);
    // One without JetStream.
    let server = Server::configured("");
    let said = join(&gateway, &server.url(), "berlin", "", &[]);
    refused(&said, &["no stream of 127.0.0.1", "it needs JetStream"]);
    for (url, words) in [
        ("https://nats.example", "it has to begin with nats:// or tls://"),
        ("nats://name:password@nats.example", "secrets are given apart"),
        ("nats://nats.example/path", "it must not have a path"),
    ] {
        refused(&join(&gateway, url, "berlin", "", &[]), &[words]);
    }
    refused(&join(&gateway, "nats://nats.example", "a.b", "", &[]), &["is no site"]);
    let proxy = ["--proxy", "http://127.0.0.1:9"];
    refused(&join(&gateway, "nats://nats.example", "berlin", "", &proxy), &["NATS is not spoken through one"]);
}

/// A certificate for this machine's address in files, and the authority that signed it.
fn certificate(folder: &tempfile::TempDir) -> String {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let own = own.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
    std::fs::write(folder.path().join("own.crt"), own.pem()).unwrap();
    std::fs::write(folder.path().join("own.key"), key.serialize_pem()).unwrap();
    root.pem()
}
