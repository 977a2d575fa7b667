//! Answers that are meant to harm: too much of everything, in few bytes; numbers that lie; lists without an end; words that
//! steer. Whatever they are, the outcome is the same: the read is incomplete and says so, nothing is closed, nothing falls
//! over, the memory stays within a bound, and with the next good answer all is well again.

use serde_json::json;

use crate::steps::{
    ALL_STATES, CLOUD, NEWEST_SERVER, branch, holding_shop, inventory, sonar_with, states, sync, vulnerability,
};
use crate::support::gateway::Gateway;
use crate::support::https::ask;
use crate::support::sonar::{Fault, Sonar};

/// What an answer may make the gateway's memory grow by, whatever it holds. What is read of an answer at most stays below
/// it, and so does the limit that systemd sets (512 MiB).
const GROWTH_MAX: u64 = 200 * 1024 * 1024;

/// The most memory that a gateway has had.
fn peak(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Hands the gateway these in place of Sonar's list of issues, one after the other; then Sonar itself again, where one
/// finding is fixed.
fn withstands(sonar: &Sonar, gateway: &Gateway, path: &str, bodies: &[(&str, String)]) {
    let base = peak(gateway);
    for (what, body) in bodies {
        sonar.fault(path, Fault::json(200, body, 1000));
        let said = gateway.cli(&["sync", "--full", "--wait", "--timeout", "60"]);
        sonar.clear_faults();
        assert_eq!(said.code, 1, "{what}: {said:?}");
        assert!(said.err.contains("error: shop"), "{what}: {}", said.err);
        assert!(said.err.len() < 2000, "{what}: {}", &said.err[..2000]);
        // What is incomplete may add and change, and never close.
        assert_eq!(held(gateway), ["A open", "B open"], "{what}");
        let told = branch(gateway, crate::steps::organization(sonar), "shop", "main");
        assert!(told["complete"] == json!(false) || !told["error"].is_null(), "{what}: {told}");
        let grown = peak(gateway).saturating_sub(base);
        assert!(grown < GROWTH_MAX, "{what}: the memory grew by {} MiB", grown / 1024 / 1024);
    }
    sonar.edit(|model| model.fix("A"));
    sync(gateway);
    assert_eq!(held(gateway), ["A fixed", "B open"]);
}

/// The two findings that Sonar has, whatever else somebody claims.
fn held(gateway: &Gateway) -> Vec<String> {
    states(gateway, "shop").into_iter().filter(|state| state.starts_with(['A', 'B'])).collect()
}

fn list(one: &str, times: usize) -> String {
    let mut text = String::with_capacity((one.len() + 1) * times + 2);
    text.push('[');
    for number in 0..times {
        text.push_str(if number == 0 { "" } else { "," });
        text.push_str(one);
    }
    text.push(']');
    text
}

fn issues(rows: &str, rest: &str) -> String {
    format!(r#"{{"paging":{{"pageIndex":1,"pageSize":500,"total":2}},"issues":{rows}{rest}}}"#)
}

#[test]
fn answers_that_would_fill_the_memory_leave_an_incomplete_read_and_close_nothing() {
    let sonar = sonar_with(CLOUD, &["A", "B"]);
    let gateway = holding_shop(&sonar);
    let tags = format!(r#"{{"key":"A","tags":{}}}"#, list(r#""""#, 9_999));
    let impacts = format!(r#"{{"key":"A","impacts":{}}}"#, list("{}", 9_999));
    let flows = format!(r#"{{"key":"A","flows":{}}}"#, list(&format!(r#"{{"locations":{}}}"#, list("{}", 40)), 10));
    let values = format!(r#"{{"property":"statuses","values":{}}}"#, list("{}", 9_999));
    withstands(
        &sonar,
        &gateway,
        "api/issues/search",
        &[
            ("a million rows", issues(&list("{}", 1_000_000), "")),
            ("a million rows without anything around them", list("{}", 1_000_000)),
            ("tags", issues(&list(&tags, 250), "")),
            ("impacts", issues(&list(&impacts, 150), "")),
            ("flows", issues(&list(&flows, 3_000), "")),
            ("facets", issues("[]", &format!(r#","facets":{}"#, list(&values, 150)))),
            ("components", issues("[]", &format!(r#","components":{}"#, list("{}", 1_000_000)))),
            ("one long text", issues(&format!(r#"[{{"key":"{}"}}]"#, "k".repeat(5_000_000)), "")),
            ("brackets", "[".repeat(100_000)),
            ("brackets where nobody looks", issues("[]", &format!(r#","x":{}"#, "[".repeat(100_000)))),
            ("objects in objects", r#"{"a":"#.repeat(100_000)),
        ],
    );
}

#[test]
fn answers_that_lie_about_numbers_leave_an_incomplete_read_and_close_nothing() {
    let facet =
        |count: &str| format!(r#","facets":[{{"property":"statuses","values":[{{"val":"OPEN","count":{count}}}]}}]"#);
    let with_total = |total: &str| format!(r#"{{"paging":{{"total":{total}}},"issues":[]{}}}"#, facet("0"));
    for mode in [CLOUD, NEWEST_SERVER] {
        let sonar = sonar_with(mode, &["A", "B"]);
        let gateway = holding_shop(&sonar);
        let row = r#"{"key":"Z","rule":"java:S1","project":"shop","component":"shop:a","issueStatus":"OPEN"}"#;
        withstands(
            &sonar,
            &gateway,
            "api/issues/search",
            &[
                ("a negative total", with_total("-2")),
                ("a total beyond all numbers", with_total("1e400")),
                ("a total that is a fraction", with_total("0.5")),
                ("a total that is none", with_total("NaN")),
                ("the largest total", with_total("18446744073709551615")),
                ("a count that wraps around", issues("[]", &facet("18446744073709551615"))),
                ("a negative count", issues("[]", &facet("-1"))),
                ("a member twice", format!(r#"{{"paging":{{"total":0}},"issues":[],"issues":[]{}}}"#, facet("0"))),
                ("a surrogate alone", issues(r#"[{"key":"\ud800"}]"#, &facet("2"))),
                ("a zero in a key", issues(r#"[{"key":"A\u0000"},{"key":"B"}]"#, &facet("2"))),
                ("one row for ever", format!(r#"{{"paging":{{"total":9999}},"issues":[{row}]{}}}"#, facet("9999"))),
                (
                    "a page for ever",
                    format!(r#"{{"paging":{{"total":9999}},"issues":{}{}}}"#, list(row, 500), facet("9999")),
                ),
                ("two that are one", issues(&format!("[{row},{row}]"), &facet("2"))),
            ],
        );
    }
}

#[test]
fn lists_of_projects_and_branches_without_an_end_are_refused_too() {
    let sonar = sonar_with(CLOUD, &["A", "B"]);
    let gateway = holding_shop(&sonar);
    let base = peak(&gateway);
    let endless = [
        ("api/components", format!(r#"{{"paging":{{"total":1}},"components":{}}}"#, list("{}", 500_000))),
        ("api/project_branches", format!(r#"{{"branches":{}}}"#, list("{}", 500_000))),
        ("api/project_pull_requests", format!(r#"{{"pullRequests":{}}}"#, list("{}", 500_000))),
        ("organizations/", list("{}", 500_000)),
    ];
    for (path, body) in &endless {
        sonar.fault(path, Fault::json(200, body, 1000));
        gateway.cli(&["project", "list", "acme"]);
        gateway.cli(&["source", "check", "sonar"]);
        gateway.cli(&["sync", "--wait", "--timeout", "60"]);
        sonar.clear_faults();
        assert_eq!(states(&gateway, "shop"), ["A open", "B open"], "{path}");
        assert!(peak(&gateway).saturating_sub(base) < GROWTH_MAX, "{path}");
    }
    sync(&gateway);
}

/// Sonar's words stand in messages, logs and tables. They are words there, whatever they are made of.
#[test]
fn words_of_sonar_steer_no_terminal_and_pass_for_no_line_of_the_log() {
    let words = "no\n<3>FORGED line\r\u{1b}]0;owned\u{7}\u{1b}[31m\u{202e}gnp.exe";
    let sonar = sonar_with(CLOUD, &["B"]);
    let formula = format!("=cmd|' /C calc'!A0 {words}");
    sonar.edit(|model| model.add_issue("shop", "main", vulnerability("A").with_message(&formula)));
    let gateway = holding_shop(&sonar);
    sonar.fault("api/issues/search", Fault::json(400, &json!({"errors": [{"msg": words}]}).to_string(), 1000));
    let said = gateway.cli(&["sync", "--wait"]);
    assert_eq!(said.code, 1, "{said:?}");
    sonar.clear_faults();
    sync(&gateway);
    let finding = &inventory(&gateway, "shop")[0];
    let id = finding["id"].as_str().unwrap();
    let table = gateway.cli(&[&["finding", "list"][..], &ALL_STATES].concat()).out;
    let shown = gateway.cli(&["finding", "show", id]).out;
    let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    for (what, text) in
        [("the table", &table), ("the finding", &shown), ("the error", &said.err), ("the log", &gateway.log())]
    {
        assert!(!text.contains(steers), "{what}: {text:?}");
        assert!(!text.lines().any(|line| line.trim_start().starts_with("<3>")), "{what}: {text:?}");
    }
    let csv = gateway.cli(&["export", "--format", "csv"]).out;
    assert!(csv.contains("'=cmd|"), "no cell is a formula: {csv}");
    assert!(!csv.contains(",=cmd") && !csv.contains("\"=cmd"), "no cell is a formula: {csv}");
}

/// Requests that cost much to read are refused before they do, whoever sends them; a stranger's sooner.
#[test]
fn requests_that_would_fill_the_memory_are_refused() {
    let gateway = Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]);
    let page = gateway.json(&["status"])["page"].as_str().unwrap().to_owned();
    let token = |role: &str| {
        let made = gateway.json(&["token", "add", role, "--role", role]);
        format!("Bearer {}", made["secret"].as_str().unwrap())
    };
    let (viewer, operator) = (token("viewer"), token("operator"));
    let send = |path: &str, token: &str, body: &str| {
        let headers = [("Content-Type", "application/json"), ("Authorization", token)];
        ask(&page, "POST", path, if token.is_empty() { &headers[..1] } else { &headers }, body).status
    };
    let nested = "[".repeat(4_000_000);
    let small = format!(r#"{{"findings":{}}}"#, list(r#""""#, 1_000_000));
    let base = peak(&gateway);
    assert_eq!(send("/api/v1/findings/triage", &viewer, &nested[..100_000]), 403, "a viewer's body is not read");
    assert_eq!(send("/api/v1/findings/triage", &operator, &nested), 413);
    assert_eq!(send("/api/v1/findings/triage", &operator, &small), 413);
    assert_eq!(send("/api/v1/session", "", &format!(r#"{{"user":"{}"}}"#, "u".repeat(20_000))), 413);
    assert_eq!(send("/api/v1/setup", "", &nested[..100_000]), 413);
    let many: Vec<String> = (0..4_000).map(|number| format!("x{number}=1")).collect();
    let query = |path: &str| ask(&page, "GET", path, &[("Authorization", &viewer)], "").status;
    assert_eq!(query(&format!("/api/v1/findings?{}", many.join("&"))), 431, "no head is so long");
    assert_eq!(query(&format!("/api/v1/findings?{}", many[..1_000].join("&"))), 400);
    assert_eq!(query(&format!("/api/v1/findings?{}", ["severity=high"; 500].join("&"))), 400);
    let severities = ["high"; 1_000].join(",");
    assert_eq!(query(&format!("/api/v1/findings?severity={severities}")), 200, "a word is a word however often");
    let search = ["word"; 1_000].join("+");
    assert!([200, 400].contains(&query(&format!("/api/v1/findings?search={search}"))));
    assert!(peak(&gateway).saturating_sub(base) < GROWTH_MAX);
    assert_eq!(query("/api/v1/status"), 200);
}
