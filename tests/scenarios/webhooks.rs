//! What a person does about webhooks: have Sonar told of this box, take that back, and try the way out.

use serde_json::{Value, json};

use crate::certificate;
use crate::steps::{CLOUD, assert_tells, text};
use crate::support::gateway::Gateway;
use crate::support::sonar::{Issue, Mode, Sonar};
use crate::support::{connect_with, import, trust};

fn sonar(mode: Mode) -> Sonar {
    let sonar = Sonar::start(mode);
    sonar.edit(|model| {
        model.add_project("acme", "shop", "Web shop");
        model.add_project("acme", "till", "Till");
        model.add_issue("shop", "main", Issue::vulnerability("java:S3649", "src/a.java", 12).with_key("A"));
    });
    sonar
}

/// A gateway that holds the shop, whose token may administer, and of which it is said where it is reached.
fn scene(sonar: &Sonar) -> Gateway {
    let gateway = Gateway::start();
    connect_with(&gateway, sonar, sonar.admin_token());
    import(&gateway, organization(sonar), &["shop"]);
    gateway.json(&["config", "set", "public-url", gateway.address()]);
    gateway
}

fn organization(sonar: &Sonar) -> &'static str {
    if sonar.edit(|model| model.edition.cloud) { "acme" } else { "sonar" }
}

/// Name, address and secret of the webhooks that Sonar has.
fn hooks(sonar: &Sonar) -> Vec<(String, String, Option<String>)> {
    let one = |hook: &crate::support::sonar::Webhook| (hook.name.clone(), hook.url.clone(), hook.secret.clone());
    sonar.edit(|model| model.webhooks.iter().map(one).collect())
}

#[test]
fn sonar_is_told_once_and_its_calls_arrive_from_then_on() {
    for mode in [CLOUD, Mode::Server { version: "10.6.0.92116", mqr: true }] {
        let sonar = sonar(mode);
        let (gateway, organization) = (scene(&sonar), organization(&sonar));
        trust(&gateway, &sonar);
        let told = gateway.json(&["webhook", "register", organization]);
        assert_eq!((&told["done"], &told["webhook"]["registered"]), (&json!("created"), &json!(true)));
        assert_eq!(told["webhook"]["secret"], Value::Null, "it is not told without being asked for");
        let shown = gateway.json(&["webhook", "show", organization, "--reveal"]);
        let wanted = (text(&shown, "name"), text(&shown, "url"), Some(text(&shown, "secret")));
        assert!(wanted.0.starts_with("hydrophone ") && wanted.1.starts_with(gateway.address()), "{wanted:?}");
        assert_eq!(hooks(&sonar), std::slice::from_ref(&wanted));
        assert_eq!(gateway.json(&["webhook", "register", organization])["done"], "known");
        assert_eq!(hooks(&sonar), [wanted]);

        sonar.analyse("shop", "main", |analysis| analysis.fix("A"));
        assert_eq!(sonar.wait_deliveries(1)[0].status, Some(202));
        let called = gateway.json(&["webhook", "show", organization]);
        assert!(called["last_delivery_at"].is_string(), "{called}");

        assert_eq!(gateway.json(&["webhook", "unregister", organization])["done"], "removed");
        assert_eq!(
            (hooks(&sonar), gateway.json(&["webhook", "unregister", organization])["done"].clone()),
            (vec![], json!("absent"))
        );
        assert_eq!(gateway.json(&["webhook", "show", organization])["registered"], false);
    }
}

/// Somebody entered it by hand with a secret of their own, and the box has moved since: its endpoint, which nobody else
/// has, tells that it is ours.
#[test]
fn a_webhook_that_sonar_has_is_known_by_its_endpoint_and_made_right() {
    let sonar = sonar(CLOUD);
    let gateway = scene(&sonar);
    let shown = gateway.json(&["webhook", "show", "acme", "--reveal"]);
    let former = text(&shown, "url").replace(gateway.address(), "https://former.example");
    sonar.edit(|model| {
        model.add_webhook(None, &former, Some("a secret of somebody's"));
        model.add_webhook(None, "https://ci.example/hook", None);
    });
    assert_eq!(gateway.json(&["webhook", "register", "acme"])["done"], "known");
    let mut urls = hooks(&sonar);
    let other = urls.pop().unwrap();
    assert_eq!(urls, [(text(&shown, "name"), text(&shown, "url"), Some(text(&shown, "secret")))]);
    assert_eq!(other.1, "https://ci.example/hook");
    gateway.json(&["webhook", "unregister", "acme"]);
    assert_eq!(hooks(&sonar), [other], "what is not ours stays");
}

#[test]
fn a_project_has_a_webhook_of_its_own() {
    let sonar = sonar(CLOUD);
    let gateway = scene(&sonar);
    gateway.json(&["webhook", "register", "acme", "--project", "shop"]);
    let projects = sonar.edit(|model| model.webhooks.iter().map(|hook| hook.project.clone()).collect::<Vec<_>>());
    assert_eq!(projects, [Some("shop".to_owned())]);
    assert_eq!(gateway.json(&["webhook", "show", "acme"])["registered"], false);
    assert_eq!(gateway.json(&["webhook", "test", "acme", "--project", "shop"])["result"], "arrived");
}

#[test]
fn where_sonar_refuses_a_webhook_the_way_out_is_named() {
    let sonar = sonar(CLOUD);
    let gateway = Gateway::start();
    connect_with(&gateway, &sonar, sonar.token());
    let register = |gateway: &Gateway| gateway.refused(&["webhook", "register", "acme"], "");
    assert_tells(&register(&gateway), &["at which address", "hydrophone config set public-url"]);
    gateway.json(&["config", "set", "public-url", gateway.address()]);
    let said = register(&gateway);
    assert_tells(&said, &["may not administer the webhooks of acme", "\"Administer Organization\""]);
    assert_tells(&said, &["acme → Administration → Permissions", "acme → Administration → Webhooks → Create"]);

    gateway.json_with(&["source", "token", "sonar", "--token-file", "-"], sonar.admin_token());
    sonar.edit(|model| model.settings.validate_webhooks = true);
    assert_tells(&register(&gateway), &["SonarQube Cloud calls no private address", "public-url"]);
    sonar.edit(|model| {
        model.settings.validate_webhooks = false;
        for number in 0..10 {
            model.add_webhook(None, &format!("https://ci.example/{number}"), None);
        }
    });
    assert_tells(&register(&gateway), &["10 webhooks already", "acme → Administration → Webhooks"]);
    assert_eq!(gateway.json(&["webhook", "show", "acme"])["registered"], false);
}

#[test]
fn a_server_that_refuses_private_addresses_is_told_of_with_its_setting() {
    let sonar = sonar(Mode::Server { version: "2026.1.0.1", mqr: true });
    let gateway = scene(&sonar);
    sonar.edit(|model| model.settings.validate_webhooks = true);
    let said = gateway.refused(&["webhook", "register", "sonar"], "");
    assert_tells(&said, &["sonar.validateWebhooks", "Administration → Configuration → General Settings → Security"]);
    assert_eq!(hooks(&sonar), []);
}

fn hop<'a>(test: &'a Value, name: &str) -> &'a Value {
    let hops = test["hops"].as_array().unwrap().iter();
    hops.clone().find(|hop| hop["hop"] == name).unwrap_or_else(|| panic!("no {name} in {test}"))
}

fn outcomes(gateway: &Gateway) -> Vec<String> {
    let list = gateway.json(&["delivery", "list"]);
    list["deliveries"].as_array().unwrap().iter().map(|one| text(one, "outcome")).collect()
}

#[test]
fn a_test_goes_the_whole_way_is_logged_as_one_and_changes_nothing() {
    let sonar = sonar(CLOUD);
    let gateway = scene(&sonar);
    sonar.forget_requests();
    let test = gateway.json(&["webhook", "test", "acme"]);
    assert_eq!(test["result"], "arrived", "{test}");
    for name in ["connection", "answer", "arrival"] {
        assert_eq!(hop(&test, name)["state"], "ok", "{test}");
    }
    // The box trusts its own certificate for this; Sonar would not.
    assert_eq!(hop(&test, "certificate")["state"], "warning");
    assert_tells(&text(&test, "remedy"), &["SonarQube Cloud refuses the certificate that this box made itself"]);
    // There is no end of names that nobody imported, and no endpoint for each of them.
    let refused = gateway.cli(&["webhook", "test", "acme", "--project", "nowhere"]);
    assert!(refused.code != 0 && refused.err.contains("is not imported"), "{refused:?}");
    let again = gateway.json(&["webhook", "test", "acme"]);
    assert_ne!(again["delivery"], test["delivery"]);
    assert_eq!(outcomes(&gateway), ["test", "test"]);
    let shown = gateway.json(&["delivery", "show", &text(&again, "delivery")]);
    assert_eq!(
        (&shown["project"], &shown["duplicate_of"], &shown["status"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    let webhook = gateway.json(&["webhook", "show", "acme"]);
    assert_eq!((&webhook["last_test"], &webhook["last_delivery_at"]), (&again, &Value::Null));
    gateway.refused(&["delivery", "replay", &text(&again, "delivery")], "");
    assert_eq!(sonar.requests(), [], "nothing is read for a test");
    let status = gateway.json(&["status"]);
    assert_eq!(status["deliveries"], json!({ "accepted": 0, "duplicate": 0, "rejected": 0, "unavailable": 0 }));
    let said = gateway.cli(&["webhook", "test", "acme"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_tells(&said.out, &["ok   127.0.0.1:", "note The certificate is this box's own", "A signed call came in"]);
}

#[test]
fn a_test_names_the_hop_that_fails() {
    let sonar = sonar(CLOUD);
    let gateway = scene(&sonar);
    let test = |url: &str| {
        gateway.json(&["config", "set", "public-url", url]);
        let said = gateway.cli(&["--json", "webhook", "test", "acme"]);
        assert_eq!(said.code, 1, "{said:?}");
        serde_json::from_str::<Value>(&said.out).unwrap()
    };
    let nowhere = test("https://hooks.invalid");
    assert_eq!((&nowhere["result"], &hop(&nowhere, "name")["state"]), (&json!("failed"), &json!("failed")));
    assert_tells(&text(hop(&nowhere, "name"), "text"), &["hooks.invalid is not known"]);
    let refused = test("https://127.0.0.1:9");
    assert_tells(&text(hop(&refused, "connection"), "text"), &["refuses the connection"]);
    // What listens there speaks no TLS.
    let plain = test(&sonar.url().replace("http://", "https://"));
    assert_tells(&text(hop(&plain, "certificate"), "text"), &["TLS failed"]);
    // What answers is Sonar, which knows no such path.
    let other = test(&sonar.url());
    assert_eq!((&other["result"], &hop(&other, "answer")["state"]), (&json!("failed"), &json!("failed")));
    assert_eq!(outcomes(&gateway), Vec::<String>::new());
    let said = gateway.cli(&["webhook", "test", "acme"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert_tells(&said.out, &["  NO   ", "The call did not arrive."]);
}

/// A Server may have been told of an authority of one's own, which says nothing here.
#[test]
fn a_test_goes_through_where_the_chain_is_of_ones_own_and_judges_no_other_authority() {
    let sonar = sonar(CLOUD);
    let gateway = scene(&sonar);
    let given = certificate::pair("127.0.0.1", 300);
    gateway.json(&certificate::set(&certificate::files(gateway.folder(), &given.chain, &given.key)));
    let test = gateway.json(&["webhook", "test", "acme"]);
    assert_eq!((&test["result"], &hop(&test, "certificate")["state"]), (&json!("arrived"), &json!("warning")));
    assert_tells(&text(&test, "remedy"), &["a certificate of an authority of your own", "certificate acme"]);
    let other = Sonar::start_tls(CLOUD);
    gateway.json(&["config", "set", "public-url", &other.url()]);
    let said = gateway.cli(&["--json", "webhook", "test", "acme"]);
    let test: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&test["result"], &hop(&test, "certificate")["state"]), (&json!("not_judged"), &json!("not_judged")));
    assert_tells(&text(hop(&test, "certificate"), "text"), &["which this box does not know"]);
    assert_tells(&text(&test, "remedy"), &["Whether Sonar knows that authority, its next call will tell."]);
}

#[test]
fn a_test_through_a_proxy_that_changes_the_path_says_so() {
    let sonar = sonar(CLOUD);
    let gateway = scene(&sonar);
    gateway.json(&["config", "set", "public-url", &format!("{}/elsewhere", gateway.address())]);
    let said = gateway.cli(&["--json", "webhook", "test", "acme"]);
    let test: Value = serde_json::from_str(&said.out).unwrap();
    assert_tells(&text(hop(&test, "answer"), "text"), &["404"]);
    assert_tells(&text(&test, "remedy"), &["/hooks/"]);
}

#[test]
fn a_box_that_takes_no_webhooks_has_nothing_to_register_or_to_test() {
    let sonar = sonar(CLOUD);
    let gateway = Gateway::start_with(&["--webhook-listen", "off"]);
    connect_with(&gateway, &sonar, sonar.admin_token());
    for what in ["register", "test"] {
        assert_tells(&gateway.refused(&["webhook", what, "acme"], ""), &["takes no webhooks", "--webhook-listen off"]);
    }
}

#[test]
fn a_test_says_nothing_of_another_address_or_secret() {
    let sonar = sonar(CLOUD);
    let gateway = scene(&sonar);
    let last = |gateway: &Gateway| gateway.json(&["webhook", "show", "acme"])["last_test"]["result"].clone();
    gateway.json(&["webhook", "test", "acme"]);
    assert_eq!(last(&gateway), "arrived");
    gateway.json(&["config", "set", "public-url", "https://hooks.example.com"]);
    assert_eq!(last(&gateway), Value::Null);
    gateway.json(&["config", "set", "public-url", gateway.address()]);
    assert_eq!(last(&gateway), "arrived");
    gateway.json_with(&["webhook", "secret", "acme", "--secret-file", "-"], "a secret of sixteen and more");
    assert_eq!(last(&gateway), Value::Null);
}
