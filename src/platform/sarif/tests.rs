//! Whole logs, judged by the official schema and by GitHub's rules.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::domain::finding::FlowStep;

#[path = "../../../tests/support/sarif.rs"]
mod judge;

const HEAD: Head = Head {
    site: None,
    source: "cloud",
    organization: "acme",
    project: "shop",
    branch: "feature/pay",
    kind: ScopeKind::Branch,
    revision: Some("3f2a"),
    analysed_at: Some("2026-11-20T10:00:00Z"),
    repository_url: Some("https://git.example/shop"),
};

const NOTHING: &Value = &Value::Null;

const PLAIN: Finding = Finding {
    id: "F1",
    key: "AX1",
    kind: Kind::Vulnerability,
    rule: Some("java:S2077"),
    message: "Do not build this query.",
    severity: Severity::High,
    state: State::Open,
    path: Some("src/Pay.java"),
    line: Some(12),
    range: Some(TextRange { start_line: 12, end_line: 13, start_offset: 4, end_offset: 9 }),
    flows: &[],
    cwe: &[89],
    line_hash: Some("0a1b"),
    url: "https://sonar.example/issues?open=AX1",
    sonar: NOTHING,
    site: None,
};

#[expect(clippy::unnecessary_wraps, reason = "the form in which a log asks for rules")]
fn known(_: &str, key: &str) -> Result<Option<Rule>, io::Error> {
    Ok((key == "java:S2077").then(|| Rule {
        name: Some("Queries should not be built".to_owned()),
        description: Some(format!("<p>Why &lt;so&gt;.</p><pre>a = b</pre>{}", "<p>More.</p>".repeat(500))),
        cwe: (80..95).collect(),
        url: Some("https://sonar.example/coding_rules?open=java%3AS2077".to_owned()),
    }))
}

/// The log, once the judges have let it pass.
#[track_caller]
fn judged(bytes: &[u8]) -> Value {
    let log = serde_json::from_slice(bytes).unwrap();
    judge::assert_valid(&log);
    judge::assert_fit_for_github(&log);
    log
}

#[track_caller]
fn log_with(suppressions: Suppressions, findings: &[Finding]) -> Value {
    let mut log = Log::begin(Vec::new(), suppressions, known).unwrap();
    log.run(&HEAD).unwrap();
    for finding in findings {
        log.result(finding).unwrap();
    }
    let (bytes, summary) = log.finish().unwrap();
    assert_eq!(summary.runs, 1);
    judged(&bytes)
}

fn results(log: &Value) -> &[Value] {
    log["runs"][0]["results"].as_array().unwrap()
}

#[test]
fn a_finding_is_told_whole() {
    let words = json!({"type": "VULNERABILITY", "status": "OPEN", "assignee": "ada", "tags": [], "hash": "0a1b",
                       "impacts": [{"softwareQuality": "SECURITY", "severity": "HIGH"}]});
    let step = |path: Option<&str>, line, message: &str| FlowStep {
        path: path.map(str::to_owned),
        range: Some(TextRange { start_line: line, end_line: line, start_offset: 0, end_offset: 3 }),
        message: message.to_owned(),
    };
    let flows = [Flow(vec![step(Some("src/In.java"), 3, "from here"), step(None, 12, "")]), Flow(vec![])];
    let log = log_with(Suppressions::All, &[Finding { sonar: &words, flows: &flows, ..PLAIN }]);
    let place = |uri: &str, region: [u32; 4]| {
        json!({
            "artifactLocation": {"uri": uri, "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": region[0], "startColumn": region[1], "endLine": region[2], "endColumn": region[3]},
        })
    };
    let mut result = results(&log)[0].clone();
    let line = result.as_object_mut().unwrap().remove("partialFingerprints").unwrap();
    assert!(line["primaryLocationLineHash"].as_str().unwrap().ends_with(":1"), "{line}");
    let expected = json!({
        "ruleId": "java:S2077/high",
        "ruleIndex": 0,
        "kind": "fail",
        "level": "error",
        "message": {"text": "Do not build this query. (Sonar key AX1)"},
        "locations": [{"physicalLocation": place("src/Pay.java", [12, 5, 13, 10])}],
        "fingerprints": {"sonarIssueKey/v1": "AX1"},
        "taxa": [{"id": "CWE-89", "toolComponent": {"name": "CWE", "index": 0}}],
        "codeFlows": [{"threadFlows": [{"locations": [
            {"location": {"physicalLocation": place("src/In.java", [3, 1, 3, 4]), "message": {"text": "from here"}}},
            {"location": {"physicalLocation": place("src/Pay.java", [12, 1, 12, 4])}},
        ]}]}],
        "hostedViewerUri": "https://sonar.example/issues?open=AX1",
        "properties": {
            "hydrophone/id": "F1",
            "hydrophone/kind": "vulnerability",
            "hydrophone/state": "open",
            "hydrophone/severity": "high",
            "sonar/type": "VULNERABILITY",
            "sonar/status": "OPEN",
            "sonar/impacts": [{"softwareQuality": "SECURITY", "severity": "HIGH"}],
        },
    });
    assert_eq!(result, expected);

    let run = &log["runs"][0];
    assert_eq!(run["automationDetails"]["id"], "sonar/acme/shop/feature/pay/");
    assert_eq!(run["invocations"], json!([{"executionSuccessful": true, "endTimeUtc": "2026-11-20T10:00:00Z"}]));
    let version = json!([{"repositoryUri": "https://git.example/shop", "revisionId": "3f2a", "branch": "feature/pay",
                          "mappedTo": {"uriBaseId": "%SRCROOT%"}}]);
    assert_eq!(run["versionControlProvenance"], version);
    let rule = &run["tool"]["driver"]["rules"][0];
    assert_eq!(rule["shortDescription"]["text"], "Queries should not be built");
    assert!(rule["fullDescription"]["text"].as_str().unwrap().starts_with("Why <so>.\n\na = b"), "{rule}");
    assert!(rule["help"]["markdown"].as_str().unwrap().starts_with("Why &lt;so&gt;.\n\n```\na = b\n```"), "{rule}");
    assert_eq!(rule["properties"]["security-severity"], "8.0");
    assert_eq!(rule["properties"]["tags"].as_array().unwrap().len(), 10);
    assert_eq!(rule["relationships"].as_array().unwrap().len(), 15);
    assert_eq!(run["taxonomies"][0]["taxa"].as_array().unwrap().len(), 15);
}

#[test]
fn an_empty_inventory_and_a_branch_without_findings_are_whole_logs() {
    let (bytes, summary) = Log::begin(Vec::new(), Suppressions::All, known).unwrap().finish().unwrap();
    assert_eq!(judged(&bytes)["runs"], json!([]));
    assert_eq!(summary, Summary::default());
    let log = log_with(Suppressions::All, &[]);
    assert_eq!(results(&log), &[] as &[Value]);
    assert_eq!(log["runs"][0]["tool"]["driver"]["rules"], json!([]));
}

#[test]
fn what_is_missing_is_told_as_missing() {
    let bare = Finding { rule: None, path: None, line: None, range: None, cwe: &[], line_hash: None, url: "", ..PLAIN };
    let log = log_with(
        Suppressions::All,
        &[
            Finding { message: "", ..bare },
            Finding { key: "H1", kind: Kind::Hotspot, severity: Severity::Medium, ..bare },
            Finding { key: "AX2", rule: Some("odd:rule"), path: Some("a.c"), ..bare },
            Finding { key: "AX3", rule: Some("odd:rule"), path: Some("/"), line: Some(4), ..bare },
            Finding { key: "AX4", rule: Some(" "), line: Some(0), ..bare },
        ],
    );
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    let ids: Vec<_> = rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["sonar:vulnerability/high", "sonar:hotspot/medium", "odd:rule/high"]);
    assert_eq!(rules[2]["help"]["text"], "odd:rule");
    assert_eq!(rules[1]["properties"]["tags"], json!(["security", "hotspot"]));
    assert!(log["runs"][0].get("taxonomies").is_none());
    assert_eq!(results(&log)[0]["message"]["text"], "(Sonar key AX1)");
    let places: Vec<_> = results(&log).iter().map(|result| &result["locations"][0]["physicalLocation"]).collect();
    let told: Vec<_> = places.iter().map(|at| (&at["artifactLocation"]["uri"], &at["region"]["startLine"])).collect();
    let expected = [("./", 1), ("./", 1), ("a.c", 1), ("./", 4), ("./", 1)];
    assert_eq!(told, expected.map(|(uri, line)| (Value::from(uri), Value::from(line))).each_ref().map(|(u, l)| (u, l)));

    let unknown = Head { revision: None, analysed_at: None, repository_url: Some(""), ..HEAD };
    let mut log = Log::begin(Vec::new(), Suppressions::All, known).unwrap();
    log.run(&Head { kind: ScopeKind::PullRequest, branch: "7", ..unknown }).unwrap();
    let log = judged(&log.finish().unwrap().0);
    assert_eq!(log["runs"][0]["automationDetails"]["id"], "sonar/acme/shop/pull/7/");
    assert!(log["runs"][0].get("versionControlProvenance").is_none());
}

#[test]
fn a_rule_of_several_severities_has_an_entry_for_each() {
    let findings = [(Severity::High, "A"), (Severity::Low, "B"), (Severity::High, "C"), (Severity::Info, "D")];
    let log = log_with(
        Suppressions::All,
        &findings.map(|(severity, key)| Finding { severity, key, line_hash: None, ..PLAIN }),
    );
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    let told: Vec<_> = rules
        .iter()
        .map(|rule| (rule["id"].as_str().unwrap(), rule["properties"]["security-severity"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("java:S2077/high", "8.0"), ("java:S2077/low", "2.0"), ("java:S2077/info", "0.0")]);
    let met: Vec<_> = results(&log).iter().map(|result| result["ruleIndex"].as_u64().unwrap()).collect();
    assert_eq!(met, [0, 1, 0, 2]);
}

#[test]
fn odd_characters_stay_within_addresses_and_texts() {
    let paths = [
        ("src/a b.c", "src/a%20b.c"),
        ("src/größe.c", "src/gr%C3%B6%C3%9Fe.c"),
        ("src/100%#1?.c", "src/100%25%231%3F.c"),
        ("http://a/b", "http%3A//a/b"),
        ("//host/x", "host/x"),
        ("a\\b\n\"[c]\".c", "a%5Cb%0A%22%5Bc%5D%22.c"),
    ];
    let keys: Vec<String> = (0..paths.len()).map(|number| format!("K{number}")).collect();
    let findings: Vec<_> =
        paths.iter().zip(&keys).map(|((path, _), key)| Finding { key, path: Some(path), ..PLAIN }).collect();
    let log = log_with(Suppressions::All, &findings);
    for (result, (_, uri)) in results(&log).iter().zip(paths) {
        assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], uri);
    }
    let endless = "é".repeat(3000);
    let messages = ["a\u{0}b\u{1b}[31m\r\nc\td\u{85}", endless.as_str(), "  "];
    let findings: Vec<_> = messages.iter().zip(&keys).map(|(message, key)| Finding { key, message, ..PLAIN }).collect();
    let log = log_with(Suppressions::All, &findings);
    assert_eq!(results(&log)[0]["message"]["text"], "a b [31m \nc\td (Sonar key K0)");
    let cut = results(&log)[1]["message"]["text"].as_str().unwrap();
    assert!(cut.chars().count() == 1024 && cut.ends_with("é… (Sonar key K1)"), "{cut}");
    assert_eq!(results(&log)[2]["message"]["text"], "(Sonar key K2)");
}

#[test]
fn ranges_that_end_before_they_begin_are_set_right() {
    let range = |numbers: [u32; 4]| {
        Some(TextRange {
            start_line: numbers[0],
            start_offset: numbers[1],
            end_line: numbers[2],
            end_offset: numbers[3],
        })
    };
    let cases = [[5, 9, 5, 2], [5, 9, 4, 2], [0, 0, 0, 0], [u32::MAX, u32::MAX, u32::MAX, u32::MAX]];
    let keys: Vec<String> = (0..cases.len()).map(|number| format!("K{number}")).collect();
    let findings: Vec<_> =
        cases.iter().zip(&keys).map(|(case, key)| Finding { key, range: range(*case), ..PLAIN }).collect();
    let log = log_with(Suppressions::All, &findings);
    let region = |result: &Value| {
        let region = &result["locations"][0]["physicalLocation"]["region"];
        ["startLine", "startColumn", "endLine", "endColumn"].map(|name| region[name].as_u64().unwrap())
    };
    let told: Vec<_> = results(&log).iter().map(region).collect();
    let most = u64::from(u32::MAX);
    assert_eq!(told, [[5, 10, 5, 10], [12, 1, 12, 1], [12, 1, 12, 1], [most; 4]]);
}

#[test]
fn human_decisions_are_suppressions_as_far_as_they_are_wanted() {
    let states = [State::Open, State::Confirmed, State::Accepted, State::FalsePositive, State::Fixed, State::Removed];
    let keys = ["A", "B", "C", "D", "E", "F"];
    let findings: Vec<_> = states.iter().zip(keys).map(|(&state, key)| Finding { key, state, ..PLAIN }).collect();
    let suppressed = |suppressions| {
        let log = log_with(suppressions, &findings);
        // What is closed is absent.
        assert_eq!(results(&log).len(), 4);
        let of = |result: &Value| result.get("suppressions").map(|told| told[0]["justification"].clone());
        results(&log).iter().map(of).collect::<Vec<_>>()
    };
    let (accepted, wrong) = (Some("accepted in SonarQube".into()), Some("false positive in SonarQube".into()));
    assert_eq!(suppressed(Suppressions::All), [None, None, accepted, wrong.clone()]);
    assert_eq!(suppressed(Suppressions::FalsePositives), [None, None, None, wrong]);
    assert_eq!(suppressed(Suppressions::Off), [None, None, None, None]);
}

/// GitHub goes by the line's fingerprint alone: two equal lines of a file must not become one alert, and the same line
/// on another branch, where Sonar has another key, must stay one.
#[test]
fn equal_lines_are_told_apart_and_known_again_on_other_branches() {
    let told = |keys: [&'static str; 3]| {
        let hashes = [Some("0a1b"), Some("0a1b"), None];
        let findings: Vec<_> =
            keys.iter().zip(hashes).map(|(key, line_hash)| Finding { key, line_hash, ..PLAIN }).collect();
        let log = log_with(Suppressions::All, &findings);
        let of = |result: &Value| result["partialFingerprints"]["primaryLocationLineHash"].clone();
        results(&log).iter().map(of).collect::<Vec<_>>()
    };
    let (main, branch) = (told(["A", "B", "C"]), told(["X", "Y", "Z"]));
    assert_eq!(main[..2], branch[..2]);
    assert_ne!(main[2], branch[2]);
}

/// Counts what arrives and keeps nothing.
#[derive(Default)]
struct Counted(u64);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn results_are_written_as_they_come_and_texts_of_rules_asked_for_after_them() {
    let mut asked = 0;
    let mut log = Log::begin(Counted::default(), Suppressions::All, |source: &str, key: &str| {
        asked += 1;
        assert_eq!(source, "cloud");
        known(source, key)
    })
    .unwrap();
    log.run(&HEAD).unwrap();
    for number in 0..12_000_u64 {
        let before = log.out.0;
        log.result(&Finding { key: &format!("K{number}"), ..PLAIN }).unwrap();
        assert!(log.out.0 - before > 500, "it was kept back");
    }
    let (out, summary) = log.finish().unwrap();
    assert_eq!(summary, Summary { runs: 1, results: 12_000 });
    assert_eq!(asked, 1);
    assert!(out.0 < 12_000 * 1200, "{} bytes", out.0);
}

#[test]
fn more_results_than_a_run_may_have_go_on_in_another_one() {
    let mut log = Log::begin(Vec::new(), Suppressions::All, known).unwrap();
    log.run(&HEAD).unwrap();
    for number in 0..=RESULTS_MAX {
        log.result(&Finding { key: &format!("K{number}"), ..PLAIN }).unwrap();
    }
    log.run(&Head { branch: "main", ..HEAD }).unwrap();
    let (bytes, summary) = log.finish().unwrap();
    assert_eq!(summary, Summary { runs: 3, results: RESULTS_MAX as u64 + 1 });
    let mut log: Value = serde_json::from_slice(&bytes).unwrap();
    judge::assert_fit_for_github(&log);
    let of = |run: &Value| (run["automationDetails"]["id"].clone(), run["results"].as_array().unwrap().len());
    let told: Vec<_> = log["runs"].as_array().unwrap().iter().map(of).collect();
    let id = |text: &str| Value::from(format!("sonar/acme/shop/{text}/"));
    assert_eq!(told, [(id("feature/pay"), RESULTS_MAX), (id("feature/pay/part-2"), 1), (id("main"), 0)]);
    // All of them would take the schema minutes.
    log["runs"][0]["results"].as_array_mut().unwrap().truncate(100);
    judge::assert_valid(&log);
}

#[test]
fn what_fails_while_rules_are_asked_for_ends_the_writing() {
    let failing = |_: &str, _: &str| Err(io::Error::other("gone"));
    let mut log = Log::begin(Vec::new(), Suppressions::All, failing).unwrap();
    log.run(&HEAD).unwrap();
    log.result(&PLAIN).unwrap();
    assert_eq!(log.finish().unwrap_err().to_string(), "gone");
}
