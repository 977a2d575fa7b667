//! SARIF from the real daemon: what is exported is valid, and complete.

use hydrophone::store::FILE_NAME;
use serde_json::Value;

use self::judge::{assert_fit_for_github, assert_valid};
use crate::steps::{NEWEST_SERVER, assert_tells, holding_shop, organization, sync};
use crate::support::damage::damage;
use crate::support::gateway::Gateway;
use crate::support::sonar::{Hotspot, Issue, Severity, Sonar, Step};
use crate::support::{connect, import};

#[path = "../support/sarif.rs"]
mod judge;

/// The log that an export writes, once the judges have let it pass, and what the command said beside it.
fn exported(gateway: &Gateway, flags: &[&str]) -> (Value, String) {
    let said = gateway.cli(&[&["export", "--format", "sarif"][..], flags].concat());
    assert_eq!(said.code, 0, "{said:?}");
    let log: Value = serde_json::from_str(&said.out).unwrap();
    assert_valid(&log);
    assert_fit_for_github(&log);
    (log, said.err)
}

fn runs(log: &Value) -> Vec<(String, Vec<String>)> {
    let key = |result: &Value| result["fingerprints"]["sonarIssueKey/v1"].as_str().unwrap().to_owned();
    let of = |run: &Value| {
        let mut keys: Vec<_> = run["results"].as_array().unwrap().iter().map(key).collect();
        keys.sort();
        (run["automationDetails"]["id"].as_str().unwrap().to_owned(), keys)
    };
    log["runs"].as_array().unwrap().iter().map(of).collect()
}

fn result<'a>(log: &'a Value, key: &str) -> &'a Value {
    let results = log["runs"].as_array().unwrap().iter().flat_map(|run| run["results"].as_array().unwrap());
    let found = results.into_iter().find(|result| result["fingerprints"]["sonarIssueKey/v1"] == key);
    found.unwrap_or_else(|| panic!("no result {key} in {log}"))
}

/// A Server whose project has all that SARIF treats in its own way: a flow through two files, a hotspot, a finding on
/// the project, odd paths, one rule in two severities, decisions of people, and a closed finding.
fn sonar() -> Sonar {
    let sonar = Sonar::start(NEWEST_SERVER);
    sonar.edit(|model| {
        model.add_project("", "shop", "Web shop");
        let mut flowing = Issue::vulnerability("java:S3649", "src/A.java", 12).with_key("A");
        let step = |path: &str, line, message: &str| Step { path: path.to_owned(), line, message: message.to_owned() };
        flowing.flows = vec![vec![step("src/In.java", 3, "a value comes in"), step("src/A.java", 12, "and is used")]];
        let odd = Issue::vulnerability("java:S3649", "src/größe 100%#1.java", 5).with_key("B");
        let external = Issue::external("tool", "X1", "Look\u{1b}[2J at this.\u{0}");
        model.add_issue("shop", "main", flowing);
        model.add_issue("shop", "main", odd.with_severity(Severity::Minor));
        model.add_issue("shop", "main", external.with_key("C"));
        for key in ["D", "E", "F"] {
            model.add_issue("shop", "main", Issue::vulnerability("python:S5145", "tools/log.py", 7).with_key(key));
        }
        model.add_hotspot("shop", "main", Hotspot::new("java:S4502", "src/h.java", 1).with_key("H"));
        model.accept("D");
        model.mark_false_positive("E");
    });
    sonar
}

#[test]
fn an_inventory_exported_as_sarif_is_valid_and_complete() {
    let sonar = sonar();
    let gateway = holding_shop(&sonar);
    sonar.edit(|model| model.fix("F"));
    sync(&gateway);
    let (log, err) = exported(&gateway, &[]);
    assert_eq!(err, "");
    let keys = ["A", "B", "C", "D", "E", "H"].map(str::to_owned).to_vec();
    assert_eq!(runs(&log), [("sonar/sonar/shop/main/".to_owned(), keys)]);

    let flow = &result(&log, "A")["codeFlows"][0]["threadFlows"][0]["locations"];
    assert_eq!(flow[0]["location"]["physicalLocation"]["artifactLocation"]["uri"], "src/In.java");
    assert_eq!(flow[0]["location"]["message"]["text"], "a value comes in");
    assert_eq!(flow[1]["location"]["physicalLocation"]["region"]["startLine"], 12);
    let uri = &result(&log, "B")["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(uri, "src/gr%C3%B6%C3%9Fe%20100%25%231.java");
    assert_eq!(result(&log, "C")["message"]["text"], "Look [2J at this.  (Sonar key C)");
    assert_eq!(result(&log, "C")["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "./");
    assert_eq!(result(&log, "H")["properties"]["hydrophone/kind"], "hotspot");
    assert_eq!(result(&log, "D")["suppressions"][0]["justification"], "accepted in SonarQube");
    assert!(result(&log, "E").get("suppressions").is_some() && result(&log, "A").get("suppressions").is_none());
    let ids = ["A", "B"].map(|key| result(&log, key)["ruleId"].as_str().unwrap().to_owned());
    assert!(ids[1] == "java:S3649/low" && ids[0].starts_with("java:S3649/"), "{ids:?}");

    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    let rule = rules.iter().find(|rule| rule["id"] == ids[0]).unwrap();
    assert!(rule["help"]["text"].as_str().unwrap().contains("is a weakness of this code."), "{rule}");
    assert!(rule["helpUri"].as_str().unwrap().ends_with("/coding_rules?open=java%3AS3649&rule_key=java%3AS3649"));
    let cwe = result(&log, "A")["taxa"][0]["id"].as_str().unwrap();
    assert!(rule["relationships"].as_array().unwrap().iter().any(|to| to["target"]["id"] == cwe), "{cwe} {rule}");

    let (log, _) = exported(&gateway, &["--suppressions", "false-positives"]);
    assert!(result(&log, "D").get("suppressions").is_none() && result(&log, "E").get("suppressions").is_some());
    let (log, _) = exported(&gateway, &["--severity", "low", "--kind", "vulnerability"]);
    assert_eq!(runs(&log)[0].1, ["B", "D", "E"]);
    let named =
        ["--project", "shop", "--branch", "main", "--repository", "https://git.example/shop", "--revision", "3f"];
    let version = exported(&gateway, &named).0["runs"][0]["versionControlProvenance"][0].clone();
    assert_eq!((&version["revisionId"], &version["branch"]), (&"3f".into(), &"main".into()));
}

#[test]
fn flows_that_shift_are_followed_and_no_news() {
    let sonar = sonar();
    let gateway = holding_shop(&sonar);
    let changes = || crate::steps::told_of(&gateway, &crate::steps::finding(&gateway, "shop", "A"));
    assert_eq!(changes(), ["opened"]);
    sonar.edit(|model| model.issue_mut("A").flows[0][0].line = 44);
    gateway.json(&["sync", "--full", "--wait", "--timeout", "30"]);
    let detail = crate::steps::finding(&gateway, "shop", "A");
    assert!(detail.get("flows").is_none(), "a list does not hold them: {detail}");
    let detail = gateway.json(&["finding", "show", detail["id"].as_str().unwrap()]);
    assert_eq!(detail["flows"][0][0]["range"]["start_line"], 44);
    assert_eq!(detail["flows"][0][1]["path"], "src/A.java");
    assert_eq!(changes(), ["opened"]);
}

/// Who reads a log closes what it does not hold: a branch without findings has to be in it, and a branch that was never
/// read must not.
#[test]
fn branches_without_findings_are_told_and_those_that_were_never_read_are_not() {
    let sonar = Sonar::start(NEWEST_SERVER);
    sonar.edit(|model| {
        model.add_project("", "shop", "Web shop");
        model.add_branch("shop", "release/1");
        model.add_branch("shop", "7");
        model.add_pull_request("shop", "7", "topic", "main");
        model.add_issue("shop", "7", Issue::vulnerability("java:S3649", "src/b.java", 1).with_key("OF-BRANCH"));
    });
    let gateway = Gateway::start();
    let (log, err) = exported(&gateway, &[]);
    assert_eq!((log["runs"].as_array().unwrap().len(), err.as_str()), (0, ""));
    connect(&gateway, &sonar);
    let mut line = vec!["project", "import", organization(&sonar), "--project", "shop", "--pull-requests", "--wait"];
    line.extend(["--branch", "main", "--branch", "release/*", "--branch", "7"]);
    gateway.json(&line);
    let (log, err) = exported(&gateway, &[]);
    let told = runs(&log);
    let run = |name: &str, keys: &[&str]| {
        (format!("sonar/sonar/shop/{name}/"), keys.iter().map(|&key| key.to_owned()).collect::<Vec<_>>())
    };
    for expected in [run("main", &[]), run("release/1", &[]), run("7", &["OF-BRANCH"]), run("pull/7", &[])] {
        assert!(told.contains(&expected), "{expected:?} in {told:?}");
    }
    assert_eq!((told.len(), err.as_str()), (4, ""));
}

/// Who reads a log takes what is absent for closed.
#[test]
fn a_branch_with_a_damaged_record_has_no_run_and_is_told_as_left_out() {
    let sonar = sonar();
    sonar.edit(|model| {
        model.add_project("", "bank", "Bank");
        model.add_issue("bank", "main", Issue::vulnerability("java:S1", "src/B.java", 1).with_key("Z"));
    });
    let gateway = holding_shop(&sonar);
    import(&gateway, organization(&sonar), &["bank"]);
    sync(&gateway);
    // Whoever cannot ask Sonar cannot mend it.
    sonar.set_offline(true);
    let folder = gateway.stop();
    damage(&folder.path().join("state").join(FILE_NAME), "findings", 0);
    let gateway = Gateway::start_in(folder, &[]).unwrap();

    let (log, err) = exported(&gateway, &[]);
    assert_eq!(runs(&log), [("sonar/sonar/bank/main/".to_owned(), vec!["Z".to_owned()])]);
    assert_tells(&err, &["Left out 1 branch with 1 finding whose record is damaged"]);
    let said = gateway.cli(&["export", "--format", "json"]);
    let held: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(held["findings"].as_array().unwrap().len(), 7, "eight, but for the damaged one");
    assert_tells(&said.err, &["Left out 1 finding whose record is damaged"]);
}

#[test]
fn what_does_not_go_together_is_told_in_one_sentence() {
    let gateway = Gateway::start();
    let cases: [(&[&str], &str); 6] = [
        (&["--format", "sarif", "--state", "open,fixed"], "--state fixed does not go with --format sarif"),
        (&["--format", "csv", "--suppressions", "off"], "--suppressions goes only with --format sarif"),
        (&["--format", "sarif", "--repository", "https://a.example"], "--repository goes only with --project"),
        (&["--format", "sarif", "--repository", "git@a:b", "--project", "p"], "is no http or https address"),
        (&["--format", "sarif", "--revision", "3f"], "--revision goes only with --repository and --branch"),
        (&["--format", "sarif", "--project", "nowhere"], "project nowhere is not imported"),
    ];
    for (flags, told) in cases {
        let said = gateway.cli(&[&["export"][..], flags].concat());
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        assert_tells(&said.err, &["error: ", told]);
    }
}
