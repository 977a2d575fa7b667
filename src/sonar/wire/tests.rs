//! Our own fixtures, written after the shapes that Sonar's answers have.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::domain::finding::{Flow, FlowStep, Impact, Kind, Observed, Severity, SonarWords, State, TextRange};
use crate::domain::ids::IssueKey;
use crate::domain::limits::SONAR_PAGED_ROWS_MAX;

const ISSUE: &str = r#"{"key":"K1","rule":"java:S2076","component":"shop:src/Pay.java","project":"shop","line":12,
        "hash":"0a1b","textRange":{"startLine":12,"endLine":13,"startOffset":4,"endOffset":9},
        "flows":[{"locations":[{"component":"shop:src/Pay.java","msg":"from here"},{"component":"shop:src/In.java",
        "textRange":{"startLine":3,"endLine":3,"startOffset":1,"endOffset":5},"msg":"to there"}]}],
        "message":"Do not build a \u0027command\u0027 from this.","author":"","tags":["cwe"],
        "creationDate":"2026-01-05T10:00:00+0100","updateDate":"2026-02-05T10:00:00+0100",
        "type":"VULNERABILITY","severity":"CRITICAL","status":"RESOLVED","resolution":"WONTFIX",
        "impacts":[{"softwareQuality":"SECURITY","severity":"HIGH"}],"issueStatus":"ACCEPTED","assignee":"ada"}"#;

fn answer(issues: &str, rest: &str) -> String {
    format!(r#"{{"paging":{{"pageIndex":1,"pageSize":500,"total":7}},"issues":[{issues}]{rest}}}"#)
}

fn one(issue: &str) -> Observed {
    let page = issues(answer(issue, "").as_bytes()).unwrap();
    page.findings.into_iter().next().unwrap()
}

#[test]
fn an_issue_is_read_whole() {
    let text = |text: &str| Some(text.to_owned());
    let expected = Observed {
        key: IssueKey::parse("K1").unwrap(),
        kind: Kind::Vulnerability,
        rule: Some(RuleKey::parse("java:S2076").unwrap()),
        message: "Do not build a 'command' from this.".to_owned(),
        severity: Severity::High,
        state: State::Accepted,
        path: text("lib/Pay.java"),
        line: Some(12),
        range: Some(TextRange { start_line: 12, end_line: 13, start_offset: 4, end_offset: 9 }),
        created_at: Some(Timestamp::parse("2026-01-05T09:00:00Z").unwrap()),
        updated_at: Some(Timestamp::parse("2026-02-05T09:00:00Z").unwrap()),
        closed_at: None,
        sonar: SonarWords {
            r#type: text("VULNERABILITY"),
            severity: text("CRITICAL"),
            status: text("RESOLVED"),
            resolution: text("WONTFIX"),
            issue_status: text("ACCEPTED"),
            impacts: vec![Impact { software_quality: "SECURITY".to_owned(), severity: "HIGH".to_owned() }],
            tags: vec!["cwe".to_owned()],
            hash: text("0a1b"),
            assignee: text("ada"),
            component: text("shop:src/Pay.java"),
            ..SonarWords::default()
        },
        flows: vec![Flow(vec![
            FlowStep { path: None, range: None, message: "from here".to_owned() },
            FlowStep {
                path: text("src/In.java"),
                range: Some(TextRange { start_line: 3, end_line: 3, start_offset: 1, end_offset: 5 }),
                message: "to there".to_owned(),
            },
        ])],
    };
    let components = r#","components":[{"key":"shop","qualifier":"TRK"},
            {"key":"shop:src/Pay.java","qualifier":"FIL","path":"lib/Pay.java"}]"#;
    let page = issues(answer(ISSUE, components).as_bytes()).unwrap();
    let projects = [("shop".to_owned(), 1)].into();
    assert_eq!(page, FindingsPage { rows: 1, total: 7, findings: vec![expected], projects, ..FindingsPage::default() });
}

#[test]
fn flows_stay_within_their_limits_and_odd_ones_cost_nothing_else() {
    let with = |flows: &str| one(&format!(r#"{{"key":"K","component":"p:a.c","project":"p","flows":{flows}}}"#)).flows;
    let step = |message: &str| format!(r#"{{"component":"p:a.c","msg":"{message}"}}"#);
    let many = |entry: String, count: usize| vec![entry; count].join(",");
    let flow = |steps: String| format!(r#"{{"locations":[{steps}]}}"#);

    let flows = with(&format!("[{}]", many(flow(many(step("m"), 40)), 12)));
    assert_eq!(flows.iter().map(|flow| flow.0.len()).collect::<Vec<_>>(), [32; 8]);
    let flows = with(&format!("[{}]", many(flow(many(step(&"é".repeat(500)), 40)), 12)));
    assert_eq!(flows[0].0[0].message, "é".repeat(100));
    let texts: usize = flows.iter().flat_map(|flow| &flow.0).map(|step| step.message.len()).sum();
    assert!((7000..=8192).contains(&texts), "{texts}");

    for odd in ["null", "{}", "7", "\"x\"", "true", "-1", "0.5", "[]", "[7,null]", r#"[{"locations":[]}]"#] {
        assert_eq!(with(odd), [], "{odd}");
    }
    let own = with(r#"[[1],{"locations":{}},{"locations":[7,{"textRange":4,"msg":["x"]}]}]"#);
    assert_eq!(own, [Flow(vec![FlowStep::default()])]);
    // Where it is in a file whose path nobody tells, it is left out.
    assert_eq!(with(r#"[{"locations":[{"component":"other-project:b.c","msg":"m"}]}]"#), []);
}

#[test]
fn a_path_comes_from_the_component_if_the_answer_does_not_say_it() {
    let at = |component: &str| one(&format!(r#"{{"key":"K","component":"{component}","project":"g:shop"}}"#)).path;
    assert_eq!(at("g:shop:src/a.c"), Some("src/a.c".to_owned()));
    assert_eq!(at("g:shop"), None);
    assert_eq!(at("g:shop:"), None);
    assert_eq!(at("g:shopping:src/a.c"), None);
    assert_eq!(at("odd.html"), None);
}

#[test]
fn a_row_without_a_usable_key_is_counted() {
    let rows = r#"{"key":"K1"},{"message":"no key"},{"key":""},{"key":["K2"]},{"key":"two words"}"#;
    let page = issues(answer(rows, "").as_bytes()).unwrap();
    assert_eq!((page.rows, page.findings.len(), page.unusable), (5, 1, 4));
}

#[test]
fn members_of_unexpected_types_cost_only_themselves() {
    let odd = one(r#"{"key":"K","line":"3","message":{"a":[1]},"textRange":[],"severity":null,"impacts":null,
            "component":false,"creationDate":17,"status":"OPEN"}"#);
    assert_eq!((odd.line, odd.message.as_str(), odd.range), (Some(3), "", None));
    assert_eq!((odd.created_at, odd.state), (None, State::Open));
}

#[test]
fn an_answer_without_its_list_or_total_is_none() {
    let lacks = |answer: &str| issues(answer.as_bytes()).unwrap_err().to_string();
    assert_eq!(lacks(r#"{"paging":{"total":0}}"#), "it has no `issues`");
    assert_eq!(lacks(r#"{"paging":{"total":0},"issues":null}"#), "it has no `issues`");
    assert_eq!(lacks(r#"{"issues":[]}"#), "it has no `paging.total`");
    assert!(issues(&b"{\"total\":3,\"issues\":[]}"[..]).is_ok());
    assert!(hotspots(&b"{\"paging\":{\"total\":0}}"[..]).is_err());
    assert!(projects(&b"{\"errors\":[]}"[..]).is_err());
    assert!(branches(&b"{}"[..]).is_err());
    assert!(organizations(&b"{\"errors\":[]}"[..]).is_err());
    assert!(validation(&b"{}"[..]).is_err());
}

#[test]
fn a_cut_answer_is_an_error_and_not_a_shorter_list() {
    let whole = answer(ISSUE, "");
    for length in 0..whole.len() {
        assert!(issues(&whole.as_bytes()[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn a_bare_array_of_issues_is_read() {
    let page = issues(format!("[{ISSUE}]").as_bytes()).unwrap();
    assert_eq!((page.rows, page.total, page.facet("statuses")), (1, 1, None));
}

#[test]
fn issues_are_counted_by_status() {
    let facets = r#","facets":[{"property":"types","values":[]},{"property":"statuses","values":[
            {"val":"OPEN","count":3},{"val":"CONFIRMED","count":1},{"val":"REOPENED","count":0},
            {"val":"RESOLVED","count":2},{"val":"CLOSED","count":99},{"val":"IN_SANDBOX","count":1}]}]"#;
    let page = issues(answer("", facets).as_bytes()).unwrap();
    assert_eq!(page.by_status(|status| status != "CLOSED"), Some(7));
    assert_eq!(page.by_status(|status| status == "CLOSED"), Some(99));
    assert_eq!(issues(answer("", r#","facets":[]"#).as_bytes()).unwrap().by_status(|_| true), None);
}

#[test]
fn words_that_are_not_known_are_kept_and_told_once() {
    let rows = r#"{"key":"1","issueStatus":"IN_SANDBOX"},{"key":"2","issueStatus":"IN_SANDBOX"},
            {"key":"3","status":"NEW"},{"key":"4","issueStatus":"FIXED","status":"NEW"},{"key":"5"}"#;
    let page = issues(answer(rows, "").as_bytes()).unwrap();
    assert_eq!(page.odd_words, ["IN_SANDBOX", "NEW"]);
    assert_eq!(page.findings[0].state, State::Open);
    assert_eq!(page.findings[0].sonar.issue_status.as_deref(), Some("IN_SANDBOX"));
}

#[test]
fn long_texts_are_cut_between_characters() {
    let message = "ä".repeat(FINDING_TEXT_BYTES_MAX);
    let issue = one(&format!(r#"{{"key":"K","message":"x{message}"}}"#));
    assert_eq!(issue.message.len(), FINDING_TEXT_BYTES_MAX - 1);
}

#[test]
fn hotspots_of_both_answers_are_the_same_finding() {
    let listed = r#"{"paging":{"total":1},"hotspots":[{"key":"H1","component":"shop:a.py","project":"shop",
            "securityCategory":"auth","vulnerabilityProbability":"HIGH","status":"REVIEWED","resolution":"SAFE",
            "line":4,"message":"Review this.","ruleKey":"python:S2068","author":"",
            "creationDate":"2026-01-05T10:00:00+0000"}],"components":[{"key":"shop:a.py","path":"a.py"}]}"#;
    let shown = r#"{"key":"H1","component":{"key":"shop:a.py","path":"a.py"},"project":{"key":"shop"},
            "rule":{"key":"python:S2068","securityCategory":"auth","vulnerabilityProbability":"HIGH"},
            "status":"REVIEWED","resolution":"SAFE","line":4,"message":"Review this.",
            "creationDate":"2026-01-05T10:00:00+0000","comment":[],"canChangeStatus":true}"#;
    let listed = hotspots(listed.as_bytes()).unwrap();
    assert_eq!(listed.findings, [hotspot(shown.as_bytes()).unwrap()]);
    let hotspot = &listed.findings[0];
    assert_eq!((hotspot.kind, hotspot.severity, hotspot.state), (Kind::Hotspot, Severity::High, State::FalsePositive));
    assert_eq!(hotspot.path.as_deref(), Some("a.py"));
}

#[test]
fn a_hotspot_of_an_old_server_has_no_rule() {
    let page = r#"{"paging":{"total":1},"hotspots":[{"key":"H1","component":"shop","project":"shop","status":"ODD"}]}"#;
    let page = hotspots(page.as_bytes()).unwrap();
    assert_eq!((&page.findings[0].rule, &page.findings[0].path), (&None, &None));
    assert_eq!(page.odd_words, ["ODD"]);
}

#[test]
fn a_rule_is_read_wherever_its_text_is() {
    let sections = r#"{"rule":{"key":"java:S1","name":"No","lang":"java","descriptionSections":[
            {"key":"root_cause","content":"<p>CWE-89</p>"},
            {"key":"how_to_fix","content":"<p>Fix.</p>","context":{"key":"spring"}},{"key":"empty"}]},"actives":[]}"#;
    let expected = Rule {
        key: RuleKey::parse("java:S1").unwrap(),
        name: "No".to_owned(),
        description_html: "<p>CWE-89</p>\n<p>Fix.</p>".to_owned(),
        cwe: vec![89],
        language: Some("java".to_owned()),
    };
    assert_eq!(rule(sections.as_bytes()).unwrap(), expected);
    let html = r#"{"rule":{"key":"java:S1","name":"No","lang":"java","htmlDesc":"<p>CWE-89</p>\n<p>Fix.</p>"}}"#;
    assert_eq!(rule(html.as_bytes()).unwrap(), expected);
    let bare = r#"{"key":"java:S1","riskDescription":"Risk","fixRecommendations":"see CWE-798"}"#;
    let bare = rule(bare.as_bytes()).unwrap();
    assert_eq!((bare.name.as_str(), bare.description_html.as_str()), ("java:S1", "Risk\nsee CWE-798"));
    assert_eq!(bare.cwe, [798]);
    assert!(rule(&b"{\"rule\":{}}"[..]).is_err());
}

#[test]
fn numbers_past_the_cut_of_a_rules_text_are_found() {
    let long = format!(r#"{{"rule":{{"key":"a:b","htmlDesc":"{}CWE-22"}}}}"#, "x".repeat(RULE_TEXT_BYTES_MAX));
    let rule = rule(long.as_bytes()).unwrap();
    assert_eq!((rule.description_html.len(), rule.cwe), (RULE_TEXT_BYTES_MAX, vec![22]));
}

#[test]
fn branches_and_pull_requests_are_read() {
    let list = r#"{"branches":[{"name":"main","isMain":true,"type":"LONG","status":{"qualityGateStatus":"OK"},
            "analysisDate":"2026-01-05T10:00:00+0100"},{"name":"new","isMain":false},{"isMain":false}]}"#;
    let list = branches(list.as_bytes()).unwrap();
    let main = Branch {
        name: ScopeName::parse("main").unwrap(),
        main: true,
        analysed_at: Some(Timestamp::parse("2026-01-05T09:00:00Z").unwrap()),
        quality_gate: Some("OK".to_owned()),
    };
    assert_eq!(list[0], main);
    assert_eq!((list.len(), list[1].analysed_at, list[1].main), (2, None, false));
    let requests = r#"{"pullRequests":[{"key":7,"title":"T","branch":"b","base":"main"}]}"#;
    let requests = pull_requests(requests.as_bytes()).unwrap();
    assert_eq!((requests[0].key.as_str(), requests[0].base.as_deref()), ("7", Some("main")));
}

#[test]
fn projects_leave_out_what_is_none() {
    let list = r#"{"paging":{"total":4},"components":[{"key":"shop","name":"Shop","qualifier":"TRK",
            "organization":"acme"},{"key":"app","qualifier":"APP"},{"name":"no key"},{"key":"bare"}]}"#;
    let page = projects(list.as_bytes()).unwrap();
    assert_eq!((page.rows, page.total, page.unusable), (4, 4, 1));
    let names: Vec<_> = page.projects.iter().map(|project| project.name.as_str()).collect();
    assert_eq!(names, ["Shop", "bare"]);
    assert_eq!(page.projects[0].organization.as_deref(), Some("acme"));
}

#[test]
fn small_answers_are_read() {
    assert!(!validation(&b"{\"valid\":false}"[..]).unwrap());
    let list = organizations(&br#"[{"id":"1","key":"acme","name":"Acme","uuidV4":"u"},{"id":"2"}]"#[..]).unwrap();
    assert_eq!(list, [Organization { key: OrganizationKey::parse("acme").unwrap(), name: "Acme".to_owned() }]);
    let page = organizations_page(&br#"{"paging":{"total":1},"organizations":[{"key":"acme"}]}"#[..]).unwrap();
    assert_eq!((page.rows, page.total, page.organizations[0].name.as_str()), (1, 1, "acme"));
    assert_eq!(mode(&br#"{"mode":"STANDARD_EXPERIENCE","modified":false}"#[..]).unwrap(), Mode::Standard);
    assert_eq!(version(&b" 10.6.0.92116\n"[..]).unwrap(), "10.6.0.92116");
    assert_eq!(mode(&br#"{"mode":"MQR"}"#[..]).unwrap(), Mode::MultiQuality);
    let list = analyses(&br#"{"analyses":[{"key":"A","date":"2026-01-05T10:00:00+0100"},{"key":"B"}]}"#[..]);
    assert_eq!(list.unwrap(), [Analysis { date: Timestamp::parse("2026-01-05T09:00:00Z").unwrap(), revision: None }]);
}

#[test]
fn analyses_name_their_commits() {
    // The shape of the published example, with what it has beside: one of its analyses has no revision.
    let answer = br#"{"paging":{"pageIndex":1,"pageSize":100,"total":3},"analyses":[
        {"key":"A2","date":"2016-12-12T17:12:45+0100","projectVersion":"1.2.1","buildString":"1.2.1.423",
         "revision":"be6c75b85da526349c44e3978374c95e0b80a96d","manualNewCodePeriodBaseline":false,
         "events":[{"key":"E21","category":"QUALITY_PROFILE","name":"Quality Profile changed to Sonar Way"}]},
        {"key":"P1","date":"2015-11-11T10:00:00+0100","projectVersion":"1.1.0.1","events":[]},
        {"key":"P2","date":"2015-11-10T10:00:00+0100","revision":""}]}"#;
    let analysis = |date: &str, revision: Option<&str>| Analysis {
        date: Timestamp::parse(date).unwrap(),
        revision: revision.map(str::to_owned),
    };
    let expected = [
        analysis("2016-12-12T16:12:45Z", Some("be6c75b85da526349c44e3978374c95e0b80a96d")),
        analysis("2015-11-11T09:00:00Z", None),
        analysis("2015-11-10T09:00:00Z", None),
    ];
    assert_eq!(analyses(&answer[..]).unwrap(), expected);
}

#[test]
fn an_error_is_put_on_one_short_line() {
    let message = |body: &str| error_message(body.as_bytes());
    assert_eq!(
        message(r#"{"errors":[{"msg":"The \u0027key\u0027 is\nmissing"},{"msg":"And more"}]}"#).as_deref(),
        Some("The 'key' is missing; And more")
    );
    assert_eq!(message(r#"{"message":"Not Found"}"#).as_deref(), Some("Not Found"));
    assert_eq!(message(&format!(r#"{{"message":"{}"}}"#, "x".repeat(1000))).unwrap().len(), 300);
    for none in ["", "{}", "<html>", "[]", "nginx"] {
        assert_eq!(message(none), None, "{none}");
    }
}

#[test]
fn lists_without_an_end_are_cut_off_whatever_they_hold() {
    let rows = |one: &str, times: usize| vec![one; times].join(",");
    let odd = |json: &BadAnswer| json.to_string().contains("more rows than any of Sonar's");
    let many = rows("{}", SONAR_PAGED_ROWS_MAX + 1);
    for body in [format!("[{many}]"), answer(&many, "")] {
        assert!(issues(body.as_bytes()).is_err_and(|error| odd(&error)));
    }
    let hotspot_rows = format!(r#"{{"paging":{{"total":1}},"hotspots":[{many}]}}"#);
    assert!(hotspots(hotspot_rows.as_bytes()).is_err_and(|error| odd(&error)));
    let full = rows("{}", SONAR_PAGED_ROWS_MAX);
    assert_eq!(issues(format!("[{full}]").as_bytes()).unwrap().rows, SONAR_PAGED_ROWS_MAX as u64);
    assert!(organizations(format!("[{}]", rows("{}", 10_001)).as_bytes()).is_err_and(|error| odd(&error)));
    assert_eq!(organizations(&br#"[{"key":"acme"}]"#[..]).unwrap().len(), 1);
    assert!(organizations(&b"null"[..]).is_err());
}

#[test]
fn counts_that_nobody_can_have_prove_nothing() {
    let facet = |counts: &str| answer("", &format!(r#","facets":[{{"property":"statuses","values":[{counts}]}}]"#));
    let sum = |counts: &str| issues(facet(counts).as_bytes()).unwrap().by_status(|_| true);
    assert_eq!(sum(r#"{"val":"OPEN","count":3},{"val":"CONFIRMED","count":4}"#), Some(7));
    assert_eq!(sum(r#"{"val":"OPEN","count":18446744073709551615},{"val":"CONFIRMED","count":8}"#), None);
    assert_eq!(
        sum(r#"{"val":"OPEN","count":-3},{"val":"CONFIRMED","count":"x"}"#),
        Some(0),
        "what is no count is none"
    );
    assert!(issues(facet(r#"{"val":"OPEN","count":1e400}"#).as_bytes()).is_err());
}
