//! Steps that several stories share.

use std::process::{Command, Stdio};
use std::sync::mpsc;

use serde_json::Value;

use crate::support::gateway::{Gateway, SOON, Said, program, run};
use crate::support::sonar::{Call, Issue, Mode, Sonar};
use crate::support::{connect_with, findings, import, trust};

pub(crate) const CLOUD: Mode = Mode::Cloud;
pub(crate) const NEWEST_SERVER: Mode = Mode::Server { version: "2026.3.0.1", mqr: true };

/// States of every finding, closed ones too.
pub(crate) const ALL_STATES: [&str; 2] = ["--state", "open,confirmed,accepted,false_positive,fixed,removed"];

/// Every finding of a project, closed ones too, by Sonar's key.
pub(crate) fn inventory(gateway: &Gateway, project: &str) -> Vec<Value> {
    let mut all = findings(gateway, &[&["--project", project][..], &ALL_STATES].concat());
    all.sort_by_key(|finding| text(finding, "key"));
    all
}

/// The states of a project's findings by Sonar's key, such as `A open`.
pub(crate) fn states(gateway: &Gateway, project: &str) -> Vec<String> {
    members(gateway, project, &["key", "state"])
}

/// Some members of a project's findings, by Sonar's key.
pub(crate) fn members(gateway: &Gateway, project: &str, names: &[&str]) -> Vec<String> {
    let shown = |finding: &Value| names.iter().map(|name| text(finding, name)).collect::<Vec<_>>().join(" ");
    inventory(gateway, project).iter().map(shown).collect()
}

/// The finding with Sonar's key.
pub(crate) fn finding(gateway: &Gateway, project: &str, key: &str) -> Value {
    let found = inventory(gateway, project).into_iter().find(|finding| finding["key"] == key);
    found.unwrap_or_else(|| panic!("no finding {key} in {project}"))
}

/// What the change log tells of a finding.
pub(crate) fn told_of(gateway: &Gateway, finding: &Value) -> Vec<String> {
    let detail = gateway.json(&["finding", "show", &text(finding, "id")]);
    detail["changes"].as_array().unwrap().iter().map(|change| text(change, "kind")).collect()
}

/// A member as plain text.
pub(crate) fn text(value: &Value, name: &str) -> String {
    match &value[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A branch of an imported project.
pub(crate) fn branch(gateway: &Gateway, organization: &str, project: &str, name: &str) -> Value {
    let project = gateway.json(&["project", "show", organization, project]);
    let found = project["branches"].as_array().unwrap().iter().find(|branch| branch["name"] == name).cloned();
    found.unwrap_or_else(|| panic!("no branch {name} in {project}"))
}

/// The codes of the conditions that hold.
pub(crate) fn conditions(gateway: &Gateway) -> Vec<String> {
    let status = gateway.json(&["status"]);
    status["conditions"].as_array().unwrap().iter().map(|condition| text(condition, "code")).collect()
}

/// What a condition says that holds.
#[track_caller]
pub(crate) fn told(gateway: &Gateway, code: &str) -> String {
    let status = gateway.json(&["status"]);
    let found = status["conditions"].as_array().unwrap().iter().find(|condition| condition["code"] == code);
    let found = found.unwrap_or_else(|| panic!("no {code} among {}", status["conditions"]));
    format!("{}\n{}", text(found, "text"), text(found, "remedy"))
}

/// Reads everything now, which has to succeed.
pub(crate) fn sync(gateway: &Gateway) {
    gateway.json(&["sync", "--wait", "--timeout", "30"]);
}

/// Adds a source by hand, whatever comes of it.
pub(crate) fn add_source(gateway: &Gateway, sonar: &Sonar, name: &str, token: &str, more: &[&str]) -> Said {
    let (url, api_url) = (sonar.url(), sonar.api_url());
    let mut arguments = vec!["source", "add", name, "--token-file", "-"];
    if sonar.edit(|model| model.edition.cloud) {
        arguments.extend(["--cloud", "--url", &url, "--api-url", &api_url]);
    } else {
        arguments.extend(["--server", &url]);
    }
    arguments.extend(more);
    gateway.cli_with(&arguments, token)
}

/// A vulnerability with Sonar's key.
pub(crate) fn vulnerability(key: &str) -> Issue {
    Issue::vulnerability("java:S3649", &format!("src/{key}.java"), 12).with_key(key)
}

/// A SonarQube with a project `shop` that holds these vulnerabilities.
pub(crate) fn sonar_with(mode: Mode, keys: &[&str]) -> Sonar {
    let sonar = Sonar::start(mode);
    sonar.edit(|model| {
        model.add_project("acme", "shop", "Web shop");
        for key in keys {
            model.add_issue("shop", "main", vulnerability(key));
        }
    });
    sonar
}

/// How many requests went to a path.
pub(crate) fn count(requests: &[Call], path: &str) -> usize {
    requests.iter().filter(|call| call.path.starts_with(path)).count()
}

/// A gateway that holds the project `shop` as it is in this SonarQube.
pub(crate) fn holding_shop(sonar: &Sonar) -> Gateway {
    let gateway = Gateway::start();
    crate::support::connect(&gateway, sonar);
    import(&gateway, organization(sonar), &["shop"]);
    gateway
}

/// The organization that the tests use: a Server's has the source's name.
pub(crate) fn organization(sonar: &Sonar) -> &'static str {
    if sonar.edit(|model| model.edition.cloud) { "acme" } else { "sonar" }
}

/// Checks a message that a person has to read: it says all of this, and neither a secret nor a trace of a crash.
#[track_caller]
pub(crate) fn assert_tells(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in:\n{message}");
    }
    for odd in ["squ_", "panicked", "RUST_BACKTRACE", "Err(", "Some(", "Os {", "kind:"] {
        assert!(!message.contains(odd), "{odd:?} is in:\n{message}");
    }
}

/// Checks a command that was refused: exit code 1, nothing on stdout, and these words on stderr.
#[track_caller]
pub(crate) fn assert_refused(said: &Said, parts: &[&str]) {
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    assert!(said.err.lines().any(|line| line.starts_with("error: ")), "{said:?}");
    assert_tells(&said.err, parts);
}

/// Runs `serve`, which has to end by itself.
pub(crate) fn serve(command: &mut Command, arguments: &[&str]) -> Said {
    command.arg("serve").args(arguments);
    if !arguments.contains(&"--admin-listen") {
        command.args(["--admin-listen", "off"]);
    }
    command.env_remove("NOTIFY_SOCKET").env_remove("HYDROPHONE_SOCKET").env_remove("CONFIGURATION_DIRECTORY");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = rustix::process::Pid::from_child(&child);
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let output = ended.recv_timeout(SOON).unwrap_or_else(|_| {
        let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        panic!("it runs although it should not");
    });
    let output = output.unwrap();
    let plain = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap_or(-1), out: plain(output.stdout), err: plain(output.stderr) }
}

/// Runs a command line that needs no gateway.
pub(crate) fn alone(arguments: &[&str]) -> Said {
    run(program().args(arguments), "")
}

/// A gateway that holds the project `shop`, and that Sonar can reach and believes.
pub(crate) fn reachable(sonar: &Sonar, token: &str) -> Gateway {
    let gateway = Gateway::start();
    connect_with(&gateway, sonar, token);
    import(&gateway, organization(sonar), &["shop"]);
    gateway.json(&["config", "set", "public-url", gateway.address()]);
    trust(&gateway, sonar);
    gateway
}
