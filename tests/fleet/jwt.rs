//! Credentials as an operator of NATS makes them: an operator signs accounts, an account signs users
//! (<https://docs.nats.io/running-a-nats-service/configuration/securing_nats/jwt>).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// A server's configuration with one account, and a file of credentials of a user in it.
pub fn operated(user: &str) -> (String, String) {
    let [operator, system, account] = [KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account()];
    let own = KeyPair::new_user();
    let limits = json!({
        "conn": -1, "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let of_operator = signed(&operator, &operator, "operator", json!({ "system_account": system.public_key() }));
    let of_system = signed(
        &operator,
        &system,
        "system",
        json!({ "type": "account", "limits": { "conn": -1, "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true } }),
    );
    let of_account = signed(&operator, &account, "fleet", json!({ "type": "account", "limits": limits }));
    let of_user = signed(&account, &own, user, json!({ "type": "user", "subs": -1, "data": -1, "payload": -1 }));
    let configuration = format!(
        "operator: {of_operator}\nsystem_account: {system}\nresolver: MEMORY\n\
         resolver_preload: {{ {system}: {of_system}, {account}: {of_account} }}",
        system = system.public_key(),
        account = account.public_key(),
    );
    let seed = own.seed().unwrap();
    let file = format!(
        "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n\
         ************************* IMPORTANT *************************\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    (configuration, file)
}

fn signed(issuer: &KeyPair, subject: &KeyPair, name: &str, mut claims: Value) -> String {
    claims["version"] = json!(2);
    if claims["type"].is_null() {
        claims["type"] = json!("operator");
    }
    let claims = json!({
        "jti": name,
        "iat": 1_700_000_000,
        "iss": issuer.public_key(),
        "sub": subject.public_key(),
        "name": name,
        "nats": claims,
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" })), part(&claims));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(text.as_bytes()).unwrap());
    format!("{text}.{signature}")
}
