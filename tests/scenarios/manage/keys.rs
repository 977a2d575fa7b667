//! Requests that come twice with an `Idempotency-Key`.

use serde_json::{Value, json};

use super::Managed;
use crate::support::https::{Answer, ask};

fn send(managed: &Managed, token: &str, path: &str, key: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json"), ("Idempotency-Key", key)];
    ask(&managed.page, "POST", &format!("/api/v1{path}"), &headers, &body.to_string())
}

#[test]
fn a_request_that_comes_twice_is_done_once_and_answered_twice() {
    let managed = Managed::start();
    let shop = json!({ "name": "Shop" });
    let post = |key: &str, body: &Value| send(&managed, &managed.admin, "/assets", key, body);
    let (first, again) = (post("\"a-1\"", &shop), post("a-1", &shop));
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body);
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), (None, Some("true")));
    assert_eq!(again.header("content-type"), Some("application/json"));
    let other = post("a-1", &json!({ "name": "Other" }));
    assert_eq!((other.status, other.header("content-type")), (422, Some("application/problem+json")));
    assert_eq!(send(&managed, &managed.admin, "/users", "a-1", &json!({})).status, 422, "another address");
    // Another caller's key is another key, and what fails can be tried again.
    assert_eq!(send(&managed, &managed.operator, "/assets", "a-1", &shop).status, 403);
    assert_eq!(post("b", &shop).status, 409);
    managed.gateway.json(&["asset", "remove", "Shop"]);
    assert_eq!(post("b", &shop).status, 201);
    assert_eq!(post("two words", &shop).status, 400);
    let told = managed.api("/audit?what=Add an asset".replace(' ', "%20").as_str());
    assert_eq!(
        told["entries"].as_array().unwrap().len(),
        3,
        "a request that was only answered again did nothing: {told}"
    );
}

#[test]
fn a_secret_is_told_once_whatever_the_key() {
    let managed = Managed::start();
    let new = json!({ "name": "robot", "role": "viewer" });
    let made = send(&managed, &managed.admin, "/tokens", "t", &new);
    assert_eq!(made.status, 201);
    let secret = made.json()["secret"].as_str().unwrap().to_owned();
    let again = send(&managed, &managed.admin, "/tokens", "t", &new);
    assert_eq!(again.status, 409, "{again:?}");
    assert!(!again.body.contains(&secret) && again.body.contains("done before"), "{again:?}");
    assert_eq!(managed.api("/tokens")["tokens"].as_array().unwrap().len(), 4);
}

#[test]
fn the_document_says_which_requests_may_come_twice() {
    let managed = Managed::start();
    let document = managed.api("/openapi.json");
    let takes = |path: &str| {
        let parameters = document["paths"][path]["post"]["parameters"].as_array().cloned().unwrap_or_default();
        parameters.iter().any(|one| one["in"] == "header" && one["name"] == "Idempotency-Key")
    };
    for path in ["/imports", "/sources", "/assets", "/destinations", "/users", "/tokens", "/deliveries/{id}/replay"] {
        assert!(takes(path), "{path}");
    }
    assert!(!takes("/session") && !takes("/imports/preview"));
}
