#![allow(dead_code, unreachable_pub, reason = "shared by programs of which none uses all of it")]
//! What the tests, the demonstration and the benchmarks share: simulated servers and a way to run the daemon.

pub mod api;
pub mod conviso;
pub mod damage;
pub mod defectdojo;
pub mod gateway;
pub mod https;
pub mod inside;
pub mod receiver;
pub mod sonar;
pub mod survey;
pub mod tls;
pub mod web;
pub mod wire;

use gateway::Gateway;
use serde_json::Value;
use sonar::Sonar;

/// Connects a gateway to a simulated SonarQube, as the source `sonar`.
pub fn connect(gateway: &Gateway, sonar: &Sonar) -> Value {
    connect_with(gateway, sonar, sonar.token())
}

/// Connects with a token of one's own.
pub fn connect_with(gateway: &Gateway, sonar: &Sonar, token: &str) -> Value {
    let (url, api_url) = (sonar.url(), sonar.api_url());
    let cloud = ["source", "add", "sonar", "--cloud", "--url", &url, "--api-url", &api_url, "--token-file", "-"];
    let server = ["source", "add", "sonar", "--server", &url, "--token-file", "-"];
    let arguments: &[&str] = if sonar.edit(|model| model.edition.cloud) { &cloud } else { &server };
    gateway.json_with(arguments, token)
}

/// Imports projects and waits until they are read.
pub fn import(gateway: &Gateway, organization: &str, projects: &[&str]) -> Value {
    let mut arguments = vec!["project", "import", organization, "--wait"];
    arguments.extend(projects.iter().flat_map(|project| ["--project", project]));
    gateway.json(&arguments)
}

/// Enters the gateway's webhook into SonarQube, for the whole organization, and makes SonarQube trust it.
pub fn hook_up(gateway: &Gateway, sonar: &Sonar, organization: &str) {
    let webhook = gateway.json(&["webhook", "show", organization, "--reveal"]);
    let text = |member: &str| webhook[member].as_str().expect("it is told").to_owned();
    trust(gateway, sonar);
    sonar.edit(|model| model.add_webhook(None, &text("url"), Some(&text("secret"))));
}

/// Makes SonarQube trust the certificate that the gateway shows.
pub fn trust(gateway: &Gateway, sonar: &Sonar) {
    if let Some(address) = gateway.address().strip_prefix("https://") {
        sonar.trust(&tls::certificate_of(address));
    }
}

/// Findings that match these flags.
pub fn findings(gateway: &Gateway, flags: &[&str]) -> Vec<Value> {
    let list = gateway.json(&[&["finding", "list", "--limit", "500"][..], flags].concat());
    list["findings"].as_array().expect("a list of findings").clone()
}
