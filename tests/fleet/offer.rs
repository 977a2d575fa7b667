//! Configuration that is offered over the fleet: a box takes what somebody signed whom it was set to trust, and nothing else.

use std::path::{Path, PathBuf};

use hydrophone::domain::fleet::offer::{Claims, SigningKey};
use serde_json::{Value, json};

use super::hub::gather;
use super::server::{Server, usual};
use super::support::gateway::{Gateway, Said};
use super::{joined, refused};

/// A line of the configuration for a site whose box may also read what it is offered.
fn configured(site: &str) -> String {
    format!(
        r#"{{ user: {site}, password: {site}-secret, permissions: {{
            publish: ["hydrophone.v1.{site}.>", "$JS.API.DIRECT.GET.KV_HYDROPHONE_CONFIG.$KV.HYDROPHONE_CONFIG.{site}"],
            subscribe: ["_INBOX.hydrophone.{site}.>"] }} }}"#
    )
}

/// A line of the configuration for a hub that may also offer it.
fn offering() -> String {
    let api = [
        "STREAM.INFO.HYDROPHONE",
        "STREAM.CREATE.KV_HYDROPHONE_CONFIG",
        "CONSUMER.CREATE.HYDROPHONE.>",
        "CONSUMER.MSG.NEXT.HYDROPHONE.>",
        "CONSUMER.DELETE.HYDROPHONE.>",
    ];
    let api = api.map(|subject| format!("\"$JS.API.{subject}\"")).join(", ");
    format!(
        r#"{{ user: hub, password: hub-secret, permissions: {{
            publish: [{api}, "$KV.HYDROPHONE_CONFIG.>"], subscribe: ["_INBOX.hydrophone-hub.>"] }} }}"#
    )
}

/// A hub of two sites, and a folder for keys and documents.
struct Fleet {
    server: Server,
    hub: Gateway,
    berlin: Gateway,
    oslo: Gateway,
    folder: tempfile::TempDir,
}

impl Fleet {
    fn start(hub_may: String) -> Self {
        let server = Server::start(&[configured("berlin"), configured("oslo"), hub_may]);
        server.make(usual());
        let (berlin, oslo) = (Gateway::start(), Gateway::start());
        joined(&berlin, &server, "berlin");
        joined(&oslo, &server, "oslo");
        let hub = Gateway::start();
        gather(&hub, &server);
        let fleet = Self { server, hub, berlin, oslo, folder: tempfile::tempdir().unwrap() };
        for site in ["berlin", "oslo"] {
            fleet.hub.wait(site, |_| fleet.site(site).filter(|site| site["machine"] != Value::Null));
        }
        fleet
    }

    fn site(&self, name: &str) -> Option<Value> {
        let status = self.hub.json(&["fleet", "status"]);
        status["fleets"][0]["sites"].as_array()?.iter().find(|site| site["site"] == name).cloned()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, document: &Value) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, document.to_string()).unwrap();
        path
    }

    /// A new key, and whom boxes are to trust.
    fn key(&self, name: &str) -> (PathBuf, String) {
        let path = self.file(name);
        let made = self.hub.json(&["fleet", "key", text(&path)]);
        assert_eq!(made["new"], true);
        (path, made["signer"].as_str().unwrap().to_owned())
    }

    fn offer(&self, document: &Path, key: &Path, sites: &[&str]) -> Said {
        let sites = sites.iter().flat_map(|site| ["--site", site]);
        let line = ["fleet", "apply", text(document), "--key", text(key)].into_iter().chain(sites);
        self.hub.cli(&line.collect::<Vec<_>>())
    }

    fn offered(&self, document: &Path, key: &Path, sites: &[&str]) {
        let said = self.offer(document, key, sites);
        assert_eq!(said.code, 0, "{said:?}\n{}", self.hub.log());
    }

    /// What stands in the bucket for a site.
    fn held(&self, site: &str) -> String {
        self.server.ask(async |context| {
            let stream = context.get_stream("KV_HYDROPHONE_CONFIG").await.unwrap();
            let message = stream.get_last_raw_message_by_subject(&format!("$KV.HYDROPHONE_CONFIG.{site}")).await;
            String::from_utf8(message.unwrap().payload.to_vec()).unwrap()
        })
    }

    /// Puts something into the bucket past the hub.
    fn put(&self, site: &str, text: String) {
        self.server.ask(async |context| {
            let subject = format!("$KV.HYDROPHONE_CONFIG.{site}");
            context.publish(subject, text.into()).await.unwrap().await.unwrap();
        });
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn poll_minutes(minutes: u32) -> Value {
    json!({ "hydrophone": 1, "settings": { "poll-minutes": minutes } })
}

fn trust(gateway: &Gateway, signer: &str) {
    let said = gateway.cli(&["config", "set", "fleet-signer", signer]);
    assert_eq!(said.code, 0, "{said:?}");
}

fn setting(gateway: &Gateway, key: &str) -> Value {
    let settings = gateway.json(&["config", "show"]);
    settings["settings"].as_array().unwrap().iter().find(|one| one["key"] == key).unwrap()["value"].clone()
}

fn wait_poll_minutes(gateway: &Gateway, minutes: &str) {
    gateway.wait("the setting", |gateway| (setting(gateway, "poll-minutes") == minutes).then_some(()));
}

/// Waits until a box does not take what it is offered, and says this of it.
fn wait_refusal(gateway: &Gateway, words: &str) {
    // Not only after a minute.
    assert_eq!(gateway.cli(&["destination", "resume", "fleet"]).code, 0);
    gateway.wait(words, |gateway| {
        let status = gateway.json(&["status"]);
        let conditions = status["conditions"].as_array().unwrap().iter();
        let mut said = conditions.filter(|one| one["code"] == "fleet_configuration");
        said.any(|one| one["text"].as_str().unwrap().contains(words)).then_some(())
    });
}

#[test]
fn boxes_take_what_somebody_signed_whom_they_trust() {
    let fleet = Fleet::start(offering());
    let (key, signer) = fleet.key("fleet.key");
    let document = fleet.write("box.json", &poll_minutes(7));
    fleet.offered(&document, &key, &["berlin", "oslo"]);
    trust(&fleet.berlin, &signer);
    wait_poll_minutes(&fleet.berlin, "7");
    let site = fleet.hub.wait("the hub to hear of it", |_| {
        fleet.site("berlin").filter(|site| site["configuration"]["state"] == "applied")
    });
    assert_eq!((&site["configuration"]["changes"], &site["configuration"]["why"]), (&json!(1), &Value::Null));
    // It never said that it trusts anybody.
    assert_eq!(setting(&fleet.oslo, "poll-minutes"), "15");
    assert_eq!(fleet.site("oslo").unwrap()["configuration"], Value::Null);
    // Once: what somebody changes there stays as it is, until something else is offered.
    assert_eq!(fleet.berlin.cli(&["config", "set", "poll-minutes", "9"]).code, 0);
    assert_eq!(fleet.berlin.cli(&["destination", "resume", "fleet"]).code, 0);
    let newer = fleet.write("newer.json", &json!({ "hydrophone": 1, "settings": { "keep-closed-days": 300 } }));
    fleet.offered(&newer, &key, &["berlin"]);
    assert_eq!(fleet.berlin.cli(&["destination", "resume", "fleet"]).code, 0);
    fleet.berlin.wait("the newer one", |gateway| (setting(gateway, "keep-closed-days") == "300").then_some(()));
    assert_eq!(setting(&fleet.berlin, "poll-minutes"), "9");
    // A clock that was ahead when something was signed.
    let ahead = SigningKey::parse(&std::fs::read_to_string(&key).unwrap()).unwrap().sign(&Claims {
        serial: 1_u64 << 50,
        sites: vec!["berlin".to_owned()],
        configuration: poll_minutes(11),
    });
    fleet.put("berlin", ahead);
    assert_eq!(fleet.berlin.cli(&["destination", "resume", "fleet"]).code, 0);
    wait_poll_minutes(&fleet.berlin, "11");
    fleet.hub.wait("the hub to hear of it", |_| {
        fleet.site("berlin").filter(|site| site["configuration"]["serial"] == 1_u64 << 50)
    });
    fleet.offered(&fleet.write("after.json", &poll_minutes(12)), &key, &["berlin"]);
    assert_eq!(fleet.berlin.cli(&["destination", "resume", "fleet"]).code, 0);
    wait_poll_minutes(&fleet.berlin, "12");
}

#[test]
fn what_is_old_or_for_another_site_or_signed_by_a_stranger_is_not_taken() {
    let fleet = Fleet::start(offering());
    let (key, signer) = fleet.key("fleet.key");
    let (strange, _) = fleet.key("strange.key");
    let first = fleet.write("first.json", &poll_minutes(7));
    let second = fleet.write("second.json", &poll_minutes(8));
    trust(&fleet.berlin, &signer);
    fleet.offered(&first, &strange, &["berlin"]);
    wait_refusal(&fleet.berlin, "none of the signers that this box trusts signed it");
    fleet.offered(&first, &key, &["oslo"]);
    fleet.put("berlin", fleet.held("oslo"));
    wait_refusal(&fleet.berlin, "it is for other sites than berlin");
    assert_eq!(setting(&fleet.berlin, "poll-minutes"), "15");
    fleet.offered(&first, &key, &["berlin"]);
    let old = fleet.held("berlin");
    fleet.offered(&second, &key, &["berlin"]);
    assert_eq!(fleet.berlin.cli(&["destination", "resume", "fleet"]).code, 0);
    wait_poll_minutes(&fleet.berlin, "8");
    let taken = fleet.held("berlin");
    fleet.put("berlin", old);
    wait_refusal(&fleet.berlin, "it is older than the one that was taken last");
    fleet.put("berlin", "no offer".to_owned());
    wait_refusal(&fleet.berlin, "it is no signed configuration");
    assert_eq!(setting(&fleet.berlin, "poll-minutes"), "8");
    let refused_site = fleet.hub.wait("the hub to hear of it", |_| {
        fleet.site("berlin").filter(|site| site["configuration"]["state"] == "refused")
    });
    assert_eq!(refused_site["configuration"]["why"], "it is no signed configuration");
    // One that was taken before is not carried out once more because another one stood in its place for a while.
    assert_eq!(fleet.berlin.cli(&["config", "set", "poll-minutes", "9"]).code, 0);
    fleet.put("berlin", taken);
    assert_eq!(fleet.berlin.cli(&["destination", "resume", "fleet"]).code, 0);
    fleet.hub.wait("the hub to hear of it", |_| {
        fleet.site("berlin").filter(|site| site["configuration"]["state"] == "applied")
    });
    assert_eq!(setting(&fleet.berlin, "poll-minutes"), "9");
    // Whoever is trusted no more has nothing to say.
    assert_eq!(fleet.berlin.cli(&["config", "set", "fleet-signer", ""]).code, 0);
    let status = fleet.berlin.json(&["status"]);
    assert!(!status.to_string().contains("fleet_configuration"), "{status:#}");
}

#[test]
fn what_cannot_be_carried_out_is_said_on_both_sides() {
    let fleet = Fleet::start(offering());
    let (key, signer) = fleet.key("fleet.key");
    trust(&fleet.berlin, &signer);
    let document = json!({ "hydrophone": 1, "settings": { "poll-minutes": 7 },
        "destinations": [{ "name": "siem", "kind": "events", "url": "https://siem.example", "secret": { "credential": "siem" } }] });
    fleet.offered(&fleet.write("box.json", &document), &key, &["berlin"]);
    wait_refusal(&fleet.berlin, "secret: cannot read");
    // A plan is whole, or nothing of it is done.
    assert_eq!(setting(&fleet.berlin, "poll-minutes"), "15");
    let site = fleet.hub.wait("the hub to hear of it", |_| {
        fleet.site("berlin").filter(|site| site["configuration"]["state"] == "failed")
    });
    assert!(site["configuration"]["why"].as_str().unwrap().contains("credentials/siem"), "{site:#}");
    let said = fleet.hub.cli(&["fleet", "status", "berlin"]);
    assert!(said.out.contains("failed") && said.out.contains("credentials/siem"), "{said:?}");
}

#[test]
fn what_may_not_be_offered_is_refused_before_it_is_signed() {
    let fleet = Fleet::start(offering());
    let (key, _) = fleet.key("fleet.key");
    let refusal = |name: &str, document: &Value, words: &[&str]| {
        refused(&fleet.offer(&fleet.write(name, document), &key, &["berlin"]), words);
    };
    let destination = |secret: Value| json!({ "hydrophone": 1, "destinations": [{ "name": "siem", "kind": "events", "url": "https://x", "secret": secret }] });
    refusal("a", &json!({ "hydrophone": 1, "users": [{ "name": "eve", "role": "admin" }] }), &["users:"]);
    refusal("b", &json!({ "hydrophone": 1, "settings": { "fleet-signer": "x" } }), &["fleet-signer"]);
    refusal("c", &destination(json!({ "file": "/etc/hydrophone/tls.key" })), &["destinations (siem)", "credential"]);
    refusal("d", &destination(json!({ "env": "HOME" })), &["destinations (siem)", "credential"]);
    refusal("e", &destination(json!({ "credential": "../tls.key" })), &["plain name"]);
    refusal("f", &json!({ "hydrophone": 2 }), &["form 1"]);
    let good = fleet.write("good", &poll_minutes(7));
    refused(&fleet.offer(&good, &key, &["paris"]), &["no site paris has said anything"]);
    refused(&fleet.offer(&good, &good, &["berlin"]), &["is no Ed25519 private key"]);
    refused(
        &fleet.berlin.cli(&["fleet", "apply", text(&good), "--key", text(&key), "--site", "berlin"]),
        &["gathers no fleet"],
    );
}

#[test]
fn a_hub_that_may_not_offer_and_a_box_that_may_not_read_say_so() {
    let fleet = Fleet::start(super::server::hub());
    let (key, signer) = fleet.key("fleet.key");
    let good = fleet.write("good", &poll_minutes(7));
    refused(
        &fleet.offer(&good, &key, &["berlin"]),
        &["does not let this hub offer configuration", "$KV.HYDROPHONE_CONFIG.>"],
    );
    let server = Server::start(&[super::server::confined("quito")]);
    server.make(usual());
    let gateway = Gateway::start();
    joined(&gateway, &server, "quito");
    trust(&gateway, &signer);
    wait_refusal(&gateway, "does not let this box read $KV.HYDROPHONE_CONFIG.quito");
    // What it knows is told all the same.
    super::wait_state(&gateway, "up_to_date");
}
