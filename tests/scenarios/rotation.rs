//! A webhook gets a new secret while calls come in, and webhooks leave Sonar with what they belong to.

use serde_json::{Value, json};

use crate::calls::{Hook, body};
use crate::steps::{CLOUD, assert_tells, conditions, organization, reachable, sonar_with, text, told};
use crate::support::gateway::Gateway;
use crate::support::sonar::{Mode, Sonar};

const LAN: Mode = Mode::Server { version: "10.6.0.92116", mqr: true };

fn secret_in_sonar(sonar: &Sonar) -> Option<String> {
    sonar.edit(|model| model.webhooks.first().and_then(|hook| hook.secret.clone()))
}

fn secrets(gateway: &Gateway, organization: &str) -> Vec<Value> {
    gateway.json(&["webhook", "show", organization])["secrets"].as_array().unwrap().clone()
}

#[test]
fn sonar_is_given_the_new_secret_and_the_former_one_is_taken_for_the_overlap() {
    for mode in [CLOUD, LAN] {
        let sonar = sonar_with(mode, &["A"]);
        let (gateway, org) = (reachable(&sonar, sonar.admin_token()), organization(&sonar));
        gateway.json(&["webhook", "register", org]);
        let former = Hook::of(&gateway, org);
        former.accepted(&body("shop", "T1"));
        assert!(secrets(&gateway, org)[0]["used_at"].is_string());

        let rotated = gateway.json(&["webhook", "rotate", org]);
        assert_eq!((&rotated["done"], &rotated["problem"]), (&json!("known"), &Value::Null), "{rotated}");
        assert_eq!(rotated["webhook"]["secret"], Value::Null, "it is not told without being asked for");
        let new = Hook::of(&gateway, org);
        assert_ne!(new.secret, former.secret);
        assert_eq!((new.path.clone(), secret_in_sonar(&sonar)), (former.path.clone(), Some(new.secret.clone())));
        let known = secrets(&gateway, org);
        assert_eq!((known.len(), &known[0]["expires_at"], &known[0]["used_at"]), (2, &Value::Null, &Value::Null));
        assert_eq!(known[1]["expires_at"], rotated["former_ends_at"]);
        // Sonar may have been at it: what it signed with either is taken.
        former.accepted(&body("shop", "T2"));
        assert_eq!(conditions(&gateway), ["webhook_secret_ends"]);
        sonar.analyse("shop", "main", |analysis| analysis.fix("A"));
        assert_eq!(sonar.wait_deliveries(1)[0].status, Some(202));
        let known = secrets(&gateway, org);
        assert!(known.iter().all(|secret| secret["used_at"].is_string()), "{known:?}");
        assert_eq!(conditions(&gateway), [""; 0]);
        let gateway = gateway.restart(Gateway::stop);
        former.accepted(&body("shop", "T3"));
        assert!(secrets(&gateway, org)[0]["used_at"].is_string(), "it is written down");
    }
}

/// A box that got another address may have two webhooks in Sonar, and both call it. The one that were left with the former
/// secret would be refused from the end of the overlap on.
#[test]
fn each_webhook_that_leads_here_is_given_the_new_secret() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let gateway = reachable(&sonar, sonar.admin_token());
    gateway.json(&["webhook", "register", "acme"]);
    sonar.edit(|model| {
        let mut former = model.webhooks[0].clone();
        (former.key, former.url) = ("AZformer".to_owned(), former.url.replace("127.0.0.1", "localhost"));
        model.webhooks.push(former);
    });
    assert_eq!(gateway.json(&["webhook", "rotate", "acme"])["done"], "known");
    let new = Hook::of(&gateway, "acme").secret;
    let secrets: Vec<_> = sonar.edit(|model| model.webhooks.iter().map(|hook| hook.secret.clone()).collect());
    assert_eq!(secrets, [Some(new.clone()), Some(new)]);
}

#[test]
fn a_secret_that_somebody_knows_ends_at_once() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let gateway = reachable(&sonar, sonar.admin_token());
    gateway.json(&["webhook", "register", "acme"]);
    let former = Hook::of(&gateway, "acme");
    gateway.json(&["webhook", "rotate", "acme", "--overlap", "12h"]);
    let said = gateway.cli(&["webhook", "rotate", "acme", "--overlap", "0"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_tells(&said.out, &["Sonar has it", "The former one is not valid any more"]);
    let new = Hook::of(&gateway, "acme");
    assert_eq!(secrets(&gateway, "acme").len(), 1, "all former ones are gone");
    assert_eq!(former.post(&body("shop", "T1")).status, 401);
    new.accepted(&body("shop", "T1"));
    assert_eq!(secret_in_sonar(&sonar), Some(new.secret));
}

/// Who has no right to administer enters the secret by hand, and has the overlap for it.
#[test]
fn where_sonar_cannot_be_told_the_clicks_are_named_and_no_call_is_lost() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let gateway = reachable(&sonar, sonar.token());
    let former = Hook::of(&gateway, "acme");
    former.accepted(&body("shop", "T1"));
    let said = gateway.cli(&["webhook", "rotate", "acme", "--overlap", "1d"]);
    assert_eq!(said.code, 0, "{said:?}");
    let clicks = "in Sonar: acme → Administration → Webhooks → the menu of \"hydrophone ";
    assert_tells(&said.out, &["may not administer the webhooks of acme", clicks, "webhook show acme --reveal"]);
    former.accepted(&body("shop", "T2"));
    // Until Sonar signs with the new one; a day before the end that is a warning.
    assert_tells(&told(&gateway, "webhook_secret_ends"), &["has not signed a call for sonar/acme with the new secret"]);
    let shown = gateway.cli(&["webhook", "show", "acme"]).out;
    assert_tells(&shown, &["New secret:", "Sonar has not signed with it", "Former secret:", "valid until"]);
    Hook::of(&gateway, "acme").accepted(&body("shop", "T3"));
    assert_eq!(conditions(&gateway), [""; 0]);
}

#[test]
fn an_overlap_has_bounds() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let gateway = reachable(&sonar, sonar.token());
    let rotate = |overlap: &str| gateway.cli(&["webhook", "rotate", "acme", "--overlap", overlap]);
    assert_eq!((rotate("soon").code, rotate("7").code, rotate("-1d").code), (2, 2, 2));
    let long = rotate("91d");
    assert_eq!(long.code, 1);
    assert_tells(&long.err, &["an overlap is of 90 days at most"]);
    assert_eq!([rotate("90d").code, rotate("1h").code, rotate("2d").code], [0, 0, 0]);
    let full = rotate("1d");
    assert_tells(&full.err, &["3 former secrets of this webhook are valid still", "an overlap of 0"]);
    // A longer overlap gives a secret no more time than it had.
    let ends: Vec<_> = secrets(&gateway, "acme").iter().map(|secret| text(secret, "expires_at")).collect();
    assert!(ends[2] < ends[1] && ends[3] == ends[2], "{ends:?}");
    let nowhere = gateway.refused(&["webhook", "rotate", "nowhere"], "");
    assert_tells(&nowhere, &["nowhere"]);
}

#[test]
fn what_is_removed_leaves_sonar_too_where_that_is_asked_for() {
    let sonar = sonar_with(LAN, &["A"]);
    let gateway = reachable(&sonar, sonar.admin_token());
    let count = || sonar.edit(|model| model.webhooks.len());
    gateway.json(&["webhook", "register", "sonar"]);
    gateway.json(&["webhook", "register", "sonar", "--project", "shop"]);
    assert_eq!(count(), 2);
    gateway.refused(&["source", "remove", "sonar", "--unregister"], "");
    assert_eq!(count(), 2, "what is not removed here stays in Sonar");
    let said = gateway.cli(&["project", "remove", "sonar", "shop", "--unregister"]);
    assert_tells(&said.out, &["Removed the project shop.", "Sonar does not have the webhook of shop any more."]);
    assert_eq!(count(), 1);
    let said = gateway.cli(&["source", "remove", "sonar"]);
    let left = "Sonar still has the webhook of sonar and calls an address that answers 404";
    assert_tells(&said.out, &["Removed the source sonar.", left, "Administration → Configuration → Webhooks"]);
    assert_eq!(count(), 1);
}

#[test]
fn where_sonar_refuses_to_forget_a_webhook_nothing_is_removed() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let gateway = reachable(&sonar, sonar.admin_token());
    gateway.json(&["webhook", "register", "acme", "--project", "shop"]);
    gateway.json_with(&["source", "token", "sonar", "--token-file", "-"], sonar.token());
    let refused = gateway.refused(&["project", "remove", "acme", "shop", "--unregister"], "");
    assert_tells(&refused, &["nothing is removed yet", "may not administer", "delete them there by hand"]);
    assert_eq!(gateway.json(&["project", "show", "acme", "shop"])["imported"], true);
    // A project whose webhook nobody registered is gone without a question to Sonar.
    let removal = gateway.json(&["project", "remove", "acme", "shop"]);
    assert_eq!(removal["webhooks"][0]["done"], "left");
}
