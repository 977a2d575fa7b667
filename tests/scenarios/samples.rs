//! The sample webhook payloads, sent to the gateway with the signatures that come with them. They are not part of this
//! repository: `SONAR_SAMPLES` names the folder that holds `webhook_payloads`.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::calls::{Call, Hook, SIGNATURE, deliveries, delivery, settled};
use crate::support::gateway::Gateway;
use crate::support::sonar::{Mode, Sonar};
use crate::support::{connect, import};

/// A sample: a body and the headers that it came with.
struct Sample {
    name: String,
    body: Vec<u8>,
    secret: String,
    headers: Vec<(String, String)>,
}

impl Sample {
    fn call(&self, hook: &Hook) -> Call {
        let mut call = hook.call("");
        call.remove(SIGNATURE);
        call.body.clone_from(&self.body);
        call.set("Content-Length", &self.body.len().to_string());
        for (name, value) in &self.headers {
            call.set(name, value);
        }
        call
    }
}

/// The nine samples in order; nothing if they are not at hand, which is said.
fn samples(test: &str) -> Option<Vec<Sample>> {
    let Some(folder) = std::env::var_os("SONAR_SAMPLES") else {
        println!("{test}: skipped, as SONAR_SAMPLES names no folder");
        return None;
    };
    let folder = PathBuf::from(folder).join("webhook_payloads");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".hmac.json").map(str::to_owned))
        .collect();
    names.sort();
    let samples = names.into_iter().map(|name| {
        let read = |end: &str| std::fs::read(folder.join(format!("{name}{end}"))).unwrap();
        let beside: Value = serde_json::from_slice(&read(".hmac.json")).unwrap();
        let headers = beside["headers"].as_object().unwrap().iter();
        Sample {
            body: read(".json"),
            secret: beside["secret"].as_str().unwrap().to_owned(),
            headers: headers.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect(),
            name,
        }
    });
    let samples: Vec<_> = samples.collect();
    assert_eq!(samples.len(), 9, "the samples are complete");
    Some(samples)
}

/// A gateway whose organization `acme` has taken the samples' secret over.
fn gateway(sonar: &Sonar, samples: &[Sample]) -> (Gateway, Hook) {
    let gateway = Gateway::start();
    connect(&gateway, sonar);
    let hook = Hook::of(&gateway, "acme");
    let secret = &samples[0].secret;
    assert!(samples.iter().all(|sample| sample.secret == *secret), "they share one secret");
    gateway.json_with(&["webhook", "secret", "acme", "--secret-file", "-"], secret);
    (gateway, hook)
}

/// Sends a sample, which has to be accepted; returns the delivery's number.
fn send(hook: &Hook, sample: &Sample) -> String {
    let answer = hook.send(&sample.call(hook));
    assert_eq!(answer.status, 202, "{}: {answer:?}", sample.name);
    answer.json()["delivery"].as_str().unwrap().to_owned()
}

#[test]
fn the_samples_are_accepted_for_projects_that_are_not_imported() {
    let Some(samples) = samples("the_samples_are_accepted_for_projects_that_are_not_imported") else { return };
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| model.add_organization("acme", "Acme"));
    let (gateway, hook) = gateway(&sonar, &samples);
    let sent: Vec<String> = samples.iter().map(|sample| send(&hook, sample)).collect();
    let mut logged: Vec<String> = deliveries(&gateway)
        .iter()
        .map(|delivery| {
            let text = |member: &str| delivery[member].as_str().unwrap_or("-").to_owned();
            let parts = ["project", "branch", "status", "outcome"].map(text);
            assert_eq!(delivery["duplicate_of"].is_string(), ["D2", "D3"].contains(&text("id").as_str()), "{delivery}");
            format!("{} {}", text("id"), parts.join(" "))
        })
        .collect();
    logged.reverse();
    let expected = [
        "test-sonar master SUCCESS not_imported",
        // The same task as the first.
        "test-sonar master SUCCESS not_imported",
        "test-sonar - SUCCESS not_imported",
        "P1 - SUCCESS not_imported",
        "P1 feature/foo SUCCESS not_imported",
        "Username_Test_Python_App master SUCCESS not_imported",
        "my-service 7 SUCCESS not_imported",
        "P1 - FAILED task_failed",
        "myProject - SUCCESS not_imported",
    ];
    let expected: Vec<String> = sent.iter().zip(expected).map(|(id, rest)| format!("{id} {rest}")).collect();
    assert_eq!(logged, expected);
    let counted = gateway.json(&["status"])["deliveries"].clone();
    assert_eq!(counted, json!({ "accepted": 9, "duplicate": 2, "rejected": 0, "unavailable": 0 }));

    // A pretty-printed body is signed as it is: the same JSON in other bytes is another body.
    for sample in &samples {
        let mut call = sample.call(&hook);
        call.body.push(b'\n');
        call.set("Content-Length", &call.body.len().to_string());
        assert_eq!(hook.send(&call).status, 401, "{}", sample.name);
    }
}

#[test]
fn the_samples_bring_imported_projects_in_step() {
    let Some(samples) = samples("the_samples_bring_imported_projects_in_step") else { return };
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        for key in ["test-sonar", "P1", "Username_Test_Python_App", "my-service", "myProject"] {
            "master".clone_into(&mut model.add_project("acme", key, key).branches[0].name);
            model.add_issues(key, "master", 3);
        }
        model.add_short_branch("P1", "feature/foo");
        model.add_issues("P1", "feature/foo", 2);
        model.add_pull_request("my-service", "7", "topic", "master");
    });
    let (gateway, hook) = gateway(&sonar, &samples);
    import(&gateway, "acme", &["test-sonar", "P1", "Username_Test_Python_App"]);
    gateway.json(&["project", "import", "acme", "--wait", "--project", "my-service", "--pull-requests"]);
    import(&gateway, "acme", &["myProject"]);

    // One after the other, each settled before the next: only then is it certain which is whose duplicate.
    let expected = [
        ("synced", "master"),
        ("duplicate", "master"),
        ("duplicate", "-"),
        ("synced", "-"),
        ("not_selected", "feature/foo"),
        ("synced", "master"),
        ("synced", "7"),
        ("task_failed", "-"),
        ("synced", "-"),
    ];
    for (sample, (outcome, branch)) in samples.iter().zip(expected) {
        let id = send(&hook, sample);
        let settled = settled(&gateway, &id, outcome);
        assert_eq!(settled["branch"].as_str().unwrap_or("-"), branch, "{}: {settled}", sample.name);
        assert_eq!(settled["synced_at"].is_string(), outcome == "synced", "{}: {settled}", sample.name);
    }

    // Its branch chosen, the short-lived branch's call runs when it comes again.
    gateway.json(&[
        "project",
        "import",
        "acme",
        "--wait",
        "--project",
        "P1",
        "--branch",
        "master",
        "--branch",
        "feature/*",
    ]);
    let again = send(&hook, &samples[4]);
    settled(&gateway, &again, "synced");
    assert_eq!(delivery(&gateway, &again)["branch"], "feature/foo");
    let project = gateway.json(&["project", "show", "acme", "P1"]);
    let mut held: Vec<_> = project["branches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|branch| format!("{} {}", branch["name"].as_str().unwrap(), branch["stored_total"]))
        .collect();
    held.sort();
    assert_eq!(held, ["feature/foo 2", "master 3"]);
}
