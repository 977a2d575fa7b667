//! Webhook calls on the page: what was sent, what came of it, and what Sonar's own log says.

use serde_json::json;

use super::{Managed, text};
use crate::support::hook_up;
use crate::support::receiver::Receiver;
use crate::support::sonar::Issue;

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

fn newest(managed: &Managed) -> serde_json::Value {
    managed.api("/deliveries")["deliveries"][0].clone()
}

#[test]
fn a_delivery_is_shown_with_what_was_sent_and_what_came_of_it() {
    let (sonar, managed) = Managed::with_shop();
    hook_up(&managed.gateway, &sonar, "acme");
    let receiver = Receiver::start(SECRET);
    let url = receiver.url();
    managed.gateway.json_with(&["destination", "add", "events", "siem", "--url", &url, "--token-file", "-"], SECRET);
    sonar.analyse("shop", "main", |analysis| {
        analysis.property("sonar.analysis.ciToken", "hunter2-token");
        analysis.fix("A");
        analysis.open(Issue::vulnerability("java:S5131", "src/c.java", 7).with_key("C"));
    });
    managed.gateway.wait("it to be read", |_| (newest(&managed)["outcome"] == "synced").then_some(()));
    let id = newest(&managed)["id"].as_str().unwrap().to_owned();
    managed.gateway.wait("it to be passed on", |_| {
        (managed.api(&format!("/deliveries/{id}"))["passed_to"] == json!(["siem"])).then_some(())
    });
    let detail = managed.api(&format!("/deliveries/{id}"));
    assert!(!detail.to_string().contains("hunter2"), "{detail}");
    assert_eq!(detail["payload"]["properties"]["sonar.analysis.ciToken"], "•••••• hidden");
    assert_eq!(detail["payload"]["project"]["key"], "shop");
    let mut kinds: Vec<_> =
        detail["changes"].as_array().unwrap().iter().map(|change| change["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!((kinds, &detail["whole"], &detail["waiting"]), (vec!["fixed", "opened"], &json!(true), &json!([])));

    let list = managed.shown("/deliveries");
    assert!(list.contains(&format!("href=\"/deliveries/{id}\"")), "{list}");
    let page = managed.shown(&format!("/deliveries/{id}"));
    assert!(!page.contains("hunter2"), "{page}");
    let said = text(&page);
    for part in ["sonar.analysis.ciToken", "hidden", "Received and written to disk", "Opened:", "siem is past these"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let viewer = managed.get_as(&managed.viewer, &format!("/deliveries/{id}"));
    assert!(viewer.status == 200 && !viewer.body.contains("/replay\""), "{}", viewer.body);
    assert_eq!(managed.post_as(&managed.viewer, &format!("/deliveries/{id}/replay"), &[]).status, 403);
    let again = managed.post_as(&managed.operator, &format!("/deliveries/{id}/replay"), &[]);
    let to = again.header("location").expect("it leads to the new one").to_owned();
    assert!(text(&managed.shown(&to)).contains(&format!("Run again; it came first as {id}")));
    assert_eq!(managed.get("/deliveries/D999").status, 404);
}

#[test]
fn sonars_own_log_is_asked_for_and_a_token_that_may_not_is_told_plainly() {
    let (sonar, managed) = Managed::with_shop();
    let give = |token: &str| managed.gateway.json_with(&["source", "token", "sonar", "--token-file", "-"], token);
    give(sonar.admin_token());
    hook_up(&managed.gateway, &sonar, "acme");
    sonar.analyse("shop", "main", |analysis| analysis.fix("A"));
    managed.gateway.wait("it to be read", |_| (newest(&managed)["outcome"] == "synced").then_some(()));
    let id = newest(&managed)["id"].as_str().unwrap().to_owned();
    assert!(managed.shown("/deliveries/sonar").contains("/deliveries/sonar/sonar%2Facme"));
    let page = text(&managed.shown("/deliveries/sonar/sonar%2Facme"));
    for part in ["Sonar was asked", "The webhook of the organization", "Answered (HTTP 202)", &id] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert_eq!(managed.get_as(&managed.viewer, "/deliveries/sonar/sonar%2Facme").status, 403);
    // Each look costs requests, so that news do not have it made again.
    assert!(managed.shown("/deliveries/sonar/sonar%2Facme").contains("data-still"));
    give(sonar.token());
    let page = text(&managed.shown("/deliveries/sonar/sonar%2Facme"));
    assert!(page.contains("The token of sonar may not see Sonar's log of webhook calls."), "{page}");
    assert!(page.contains("nothing is lost"), "{page}");
}

#[test]
fn a_test_of_the_way_is_not_offered_to_be_run_again() {
    let (_sonar, managed) = Managed::with_shop();
    managed.gateway.json(&["config", "set", "public-url", managed.gateway.address()]);
    assert_eq!(managed.gateway.json(&["webhook", "test", "acme"])["result"], "arrived");
    let test = newest(&managed);
    assert_eq!(test["outcome"], "test");
    let page = managed.shown(&format!("/deliveries/{}", test["id"].as_str().unwrap()));
    assert!(!page.contains("/replay\""), "{page}");
}
