//! The pages of findings, as a browser without script asks for them: filtered, sorted, taken out as files, decided about.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::steps::{CLOUD, conditions, finding, sonar_with, sync, text, vulnerability};
use crate::support::gateway::Gateway;
use crate::support::https::{Answer, ask};
use crate::support::sonar::{Hotspot, IssueStatus, Severity, Sonar};
use crate::support::{connect, import};

/// A gateway whose pages are asked for as somebody who is let in.
pub(crate) struct Reader {
    pub(crate) gateway: Gateway,
    page: String,
    token: String,
}

impl Reader {
    pub(crate) fn new(gateway: Gateway, role: &str) -> Self {
        let page = gateway.json(&["status"])["page"].as_str().expect("it is served").to_owned();
        let token = gateway.json(&["token", "add", &format!("as-{role}"), "--role", role])["secret"].clone();
        Self { gateway, page, token: token.as_str().unwrap().to_owned() }
    }

    /// Of a SonarQube with one project `shop`, which is imported.
    fn of_shop(sonar: &Sonar, role: &str) -> Self {
        let reader = Self::new(Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]), role);
        connect(&reader.gateway, sonar);
        import(&reader.gateway, "acme", &["shop"]);
        reader
    }

    pub(crate) fn ask(&self, method: &str, path: &str, kind: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let mut headers = vec![("Authorization", bearer.as_str())];
        headers.extend((!kind.is_empty()).then_some(("Content-Type", kind)));
        ask(&self.page, method, path, &headers, body)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", "")
    }

    /// The page at an address, which has to be there.
    #[track_caller]
    fn page(&self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    }

    fn send(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", value.replace(' ', "+"))).collect();
        self.ask("POST", path, "application/x-www-form-urlencoded", &fields.join("&"))
    }

    /// The numbers of the findings that a page lists, in its order.
    fn listed(&self, query: &str) -> Vec<String> {
        let page = self.page(&format!("/findings{query}"));
        let rows = page.split("data-row=\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
        rows.collect()
    }

    fn id(&self, key: &str) -> String {
        text(&finding(&self.gateway, "shop", key), "id")
    }
}

/// A text as a part of an address.
pub(crate) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Lets the token's user decide.
fn allow(sonar: &Sonar) {
    let token = sonar.token().to_owned();
    sonar.edit(|model| {
        let token = model.token_mut(&token);
        (token.administers_issues, token.administers_hotspots) = (true, true);
    });
}

#[test]
fn a_list_is_sorted_by_severity_by_age_and_by_path_page_by_page() {
    let sonar = sonar_with(CLOUD, &["A", "B", "C"]);
    sonar.edit(|model| {
        model.set_severity("B", Severity::Minor);
        model.move_file("A", "src/z.java");
        let now = model.now();
        model.issue_mut("A").created = now - 3_000_000;
        model.issue_mut("B").created = now - 1_000_000;
        model.issue_mut("C").created = now - 2_000_000;
    });
    let reader = Reader::of_shop(&sonar, "viewer");
    let [a, b, c] = ["A", "B", "C"].map(|key| reader.id(key));
    assert_eq!(reader.listed(""), [c.clone(), a.clone(), b.clone()]);
    assert_eq!(reader.listed("?sort=newest"), [b.clone(), c.clone(), a.clone()]);
    assert_eq!(reader.listed("?sort=path"), [b.clone(), c.clone(), a.clone()]);
    for sort in ["severity", "newest", "path"] {
        let all = reader.listed(&format!("?sort={sort}"));
        let mut paged = Vec::new();
        let mut query = format!("/api/v1/findings?limit=1&sort={sort}");
        loop {
            let page = reader.get(&query).json();
            paged.extend(page["findings"].as_array().unwrap().iter().map(|finding| text(finding, "id")));
            let Some(next) = page["next"].as_str() else { break };
            query = format!("/api/v1/findings?limit=1&sort={sort}&cursor={next}");
        }
        assert_eq!(paged, all, "{sort}");
    }
    // What is changed or gone is not left behind in an order.
    sonar.edit(|model| {
        model.move_file("A", "a.java");
        model.fix("C");
    });
    sync(&reader.gateway);
    assert_eq!(reader.listed("?sort=path"), [a.clone(), b.clone()]);
    assert_eq!(reader.listed("?sort=path&state=fixed"), [c]);
    let page = reader.page("/findings?sort=path");
    assert!(page.contains("aria-sort=\"ascending\"><a href=\"/findings?sort=path\">Where</a>"), "{page}");
    let cursor = reader.get("/api/v1/findings?limit=1&sort=path").json()["next"].as_str().unwrap().to_owned();
    let other = reader.get(&format!("/api/v1/findings?sort=newest&cursor={cursor}"));
    assert_eq!(other.status, 400, "a place in one order is none in another");
}

#[test]
fn every_filter_is_in_the_address_and_on_a_chip() {
    let sonar = sonar_with(CLOUD, &["A", "B"]);
    sonar.edit(|model| {
        model.set_severity("B", Severity::Minor);
        model.add_branch("shop", "release");
        model.add_issue("shop", "release", vulnerability("R"));
    });
    let reader = Reader::new(Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]), "viewer");
    connect(&reader.gateway, &sonar);
    reader.gateway.json(&["project", "import", "acme", "--project", "shop", "--branch", "*", "--wait"]);
    sonar.edit(|model| model.fix("A"));
    sync(&reader.gateway);
    let [a, b, r] = ["A", "B", "R"].map(|key| reader.id(key));
    for (query, listed) in [
        ("?severity=low", vec![&b]),
        ("?state=fixed,removed", vec![&a]),
        ("?branch=release", vec![&r]),
        ("?project=shop&branch=main&state=open,fixed", vec![&b, &a]),
        ("?organization=acme&severity=critical", vec![&r]),
        ("?kind=hotspot", vec![]),
        ("?kind=vulnerability&search=src", vec![&r, &b]),
        ("?severity=&state=&project=", vec![&r, &b]),
    ] {
        let found: BTreeSet<_> = reader.listed(query).into_iter().collect();
        assert_eq!(found, listed.into_iter().cloned().collect(), "{query}");
    }
    let page = reader.page("/findings?state=fixed,removed&branch=release&sort=path");
    for chip in [
        "<a class=\"button little chip\" href=\"/findings?branch=release&amp;sort=path\">Closed<",
        "<a class=\"button little chip\" href=\"/findings?state=fixed%2Cremoved&amp;sort=path\">Branch release<",
    ] {
        assert!(page.contains(chip), "{chip} in {page}");
    }
    assert!(page.contains("No finding matches"));
}

#[test]
fn what_is_shown_can_be_taken_out_as_a_file() {
    let sonar = sonar_with(CLOUD, &["A", "B", "C"]);
    sonar.edit(|model| model.set_severity("B", Severity::Minor));
    let reader = Reader::of_shop(&sonar, "viewer");
    let take = |query: &str, kind: &str, end: &str| {
        let answer = reader.get(&format!("/api/v1/findings/export?{query}"));
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)), "{answer:?}");
        let name = answer.header("content-disposition").unwrap();
        assert!(name.starts_with("attachment; filename=\"findings-") && name.ends_with(&format!(".{end}\"")), "{name}");
        unchunked(&answer)
    };
    let csv = take("format=csv&severity=critical&sort=path", "text/csv; charset=utf-8", "csv");
    let mut rows = csv::Reader::from_reader(csv.as_bytes());
    let at = rows.headers().unwrap().iter().position(|name| name == "key").unwrap();
    let keys: Vec<_> = rows.records().map(|row| row.unwrap()[at].to_owned()).collect();
    assert_eq!(keys, ["A", "C"]);
    let all: Value = serde_json::from_str(&take("format=json&sort=path", "application/json", "json")).unwrap();
    let listed = reader.get("/api/v1/findings?sort=path").json();
    assert_eq!(all["findings"], listed["findings"]);
    let sarif = take("format=sarif&project=shop", "application/sarif+json", "sarif");
    let told: Value = serde_json::from_str(&reader.gateway.cli(&["export", "--format", "sarif"]).out).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&sarif).unwrap(), told, "as the command line writes it");
    // The links of a list lead to a file, whatever else its address has.
    let page = reader.page("/findings?scope=branch&utm_source=mail");
    let links = page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap().replace("&amp;", "&"));
    let links: Vec<_> = links.filter(|link| link.starts_with("/api/v1/findings/export")).collect();
    assert_eq!(links.len(), 3, "{links:?}");
    for link in links {
        assert!(link.contains("scope=branch"), "{link}");
        assert_eq!(reader.get(&link).status, 200, "{link}");
    }
    let none = take("format=csv&scope=pull_request", "text/csv; charset=utf-8", "csv");
    assert_eq!(none.lines().count(), 1, "{none}");
    for (query, status) in
        [("format=pdf", 400), ("", 400), ("format=csv&severity=worst", 400), ("format=sarif&state=fixed", 400)]
    {
        assert_eq!(reader.get(&format!("/api/v1/findings/export?{query}")).status, status, "{query}");
    }
}

/// The body of an answer whose length was not known when it began.
fn unchunked(answer: &Answer) -> String {
    if answer.header("transfer-encoding") != Some("chunked") {
        return answer.body.clone();
    }
    let (mut rest, mut body) = (answer.body.as_str(), String::new());
    loop {
        let (size, after) = rest.split_once("\r\n").expect("a chunk begins with its size");
        let size = usize::from_str_radix(size, 16).expect("a size is hexadecimal");
        if size == 0 {
            return body;
        }
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
}

#[test]
fn one_decision_about_many_says_what_became_of_each() {
    let sonar = sonar_with(CLOUD, &["A", "B", "C"]);
    allow(&sonar);
    sonar.edit(|model| model.accept("B"));
    let reader = Reader::of_shop(&sonar, "operator");
    sonar.edit(|model| model.fix("C"));
    sync(&reader.gateway);
    let [a, b, c] = ["A", "B", "C"].map(|key| reader.id(key));
    let decide = |ids: &[&str], comment: &str| {
        let body = json!({ "ids": ids, "state": "accepted", "comment": comment });
        reader.ask("POST", "/api/v1/findings/triage", "application/json", &body.to_string())
    };
    assert_eq!(decide(&[&a], " ").status, 400, "a decision has a reason");
    assert_eq!(decide(&[], "Why.").status, 400);
    let many: Vec<String> = (1..=101).map(|id| format!("F{id}")).collect();
    assert_eq!(decide(&many.iter().map(String::as_str).collect::<Vec<_>>(), "Why.").status, 400);
    let told = decide(&[&a, &b, &c, &a], "Behind a firewall.");
    let outcomes: Vec<(String, String)> = told.json()["outcomes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|outcome| (text(outcome, "id"), text(outcome, "outcome")))
        .collect();
    let of = |id: &str, outcome: &str| (id.to_owned(), outcome.to_owned());
    assert_eq!(outcomes, [of(&a, "decided"), of(&b, "unchanged"), of(&c, "refused")]);
    reader.gateway.wait("the decision", |gateway| (finding(gateway, "shop", "A")["state"] == "accepted").then_some(()));
    assert_eq!(sonar.edit(|model| model.issue("A").unwrap().1.issue_status()), IssueStatus::Accepted);
    let history =
        reader.get(&format!("/api/v1/findings/{a}")).json()["changes"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((text(&history, "kind"), text(&history, "by")), ("triaged".to_owned(), "as-operator".to_owned()));
    assert_eq!(text(&history, "why"), "Behind a firewall. (decided in Hydrophone)");
    let page = reader.page(&format!("/findings/{a}"));
    assert!(
        page.contains(
            "The token <strong>as-operator</strong> decided: from open to accepted: <q>Behind a firewall.</q>"
        ),
        "{page}"
    );
    // Who decided in SonarQube is not known here.
    sonar.edit(|model| model.reopen("A"));
    sync(&reader.gateway);
    let page = reader.page(&format!("/findings/{a}"));
    assert!(page.contains("Somebody, in SonarQube,"), "{page}");
}

#[test]
fn rows_are_chosen_in_the_list_and_a_refusal_says_why() {
    let sonar = sonar_with(CLOUD, &["A", "B"]);
    allow(&sonar);
    let reader = Reader::of_shop(&sonar, "operator");
    let [a, b] = ["A", "B"].map(|key| reader.id(key));
    let page = reader.page("/findings?sort=path");
    assert!(page.contains(&format!("<input type=\"checkbox\" name=\"id\" value=\"{a}\"")), "{page}");
    let fields = [
        ("id", a.as_str()),
        ("id", &b),
        ("state", "false_positive"),
        ("comment", "Test code."),
        ("back", "/findings?sort=path"),
    ];
    let sent = reader.send("/findings/triage", &fields);
    assert_eq!((sent.status, sent.header("location")), (303, Some("/findings?sort=path&decided=2")), "{sent:?}");
    assert!(reader.page("/findings?sort=path&decided=2").contains("Sonar was told about 2 findings."));
    let token = sonar.token().to_owned();
    sonar.edit(|model| model.token_mut(&token).administers_issues = false);
    let refused = reader.send(
        "/findings/triage",
        &[("id", a.as_str()), ("state", "accepted"), ("comment", "x"), ("back", "https://evil.example")],
    );
    assert_eq!(refused.status, 409);
    assert!(refused.body.contains("Administer Issues") && !refused.body.contains("evil.example"), "{}", refused.body);
    // Those that were not decided can be decided from there.
    for part in ["those below were not decided", &format!("name=\"id\" value=\"{a}\" checked"), "value=\"x\""] {
        assert!(refused.body.contains(part), "{part} in {}", refused.body);
    }
    let blank = [("id", a.as_str()), ("state", "confirmed"), ("comment", "  "), ("back", "/findings?sort=path")];
    let blank = reader.send("/findings/triage", &blank);
    assert_eq!(blank.status, 400);
    for part in [
        "A decision needs a reason",
        &format!("name=\"id\" value=\"{a}\" checked"),
        "<option value=\"confirmed\" selected>",
        "href=\"#reason\"",
        "data-self=\"/findings?sort=path\"",
    ] {
        assert!(blank.body.contains(part), "{part} in {}", blank.body);
    }
    assert!(!blank.body.contains("--comment"), "{}", blank.body);
    let none = reader.send("/findings/triage", &[("state", "confirmed"), ("comment", "As agreed.")]);
    assert_eq!(none.status, 400);
    for part in ["Choose at least one finding.", "value=\"As agreed.\""] {
        assert!(none.body.contains(part), "{part} in {}", none.body);
    }
    // The former decision was taken back on the way there, and that is read.
    reader.gateway.wait("what is left of the decision to be read", |gateway| {
        (text(&finding(gateway, "shop", "A"), "state") == "open").then_some(())
    });
    // One finding's form keeps what was typed.
    let refused = reader.send(&format!("/findings/{a}/triage"), &[("state", "accepted"), ("comment", "As agreed.")]);
    assert_eq!(refused.status, 409);
    for part in [">As agreed.</textarea>", "aria-invalid=\"true\"", "Administer Issues"] {
        assert!(refused.body.contains(part), "{part} in {}", refused.body);
    }
}

#[test]
fn a_viewer_is_told_so_once_and_sees_no_action() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let reader = Reader::of_shop(&sonar, "viewer");
    let a = reader.id("A");
    for path in ["/findings".to_owned(), format!("/findings/{a}")] {
        let page = reader.page(&path);
        assert_eq!(page.matches("You may look; an operator can change this.").count(), 1, "{path}");
        for action in ["/triage", "type=\"checkbox\" name=\"id\"", "Decide"] {
            assert!(!page.contains(action), "{action} on {path}");
        }
    }
    assert_eq!(reader.send(&format!("/findings/{a}/triage"), &[("state", "open"), ("comment", "x")]).status, 403);
}

#[test]
fn only_what_can_be_decided_is_offered_of_a_hotspot() {
    let sonar = sonar_with(crate::steps::NEWEST_SERVER, &[]);
    sonar.edit(|model| model.add_hotspot("shop", "main", Hotspot::new("java:S2245", "src/h.java", 3).with_key("H")));
    let reader = Reader::new(Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]), "operator");
    connect(&reader.gateway, &sonar);
    import(&reader.gateway, "sonar", &["shop"]);
    let page = reader.page(&format!("/findings/{}", reader.id("H")));
    assert!(page.contains("<option value=\"accepted\">") && !page.contains("<option value=\"confirmed\">"), "{page}");
}

/// The number in the bar is worked out before a page is made, whichever it is.
#[test]
fn every_page_says_how_many_conditions_need_a_person() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let reader = Reader::of_shop(&sonar, "viewer");
    let needs = |path: &str| reader.page(path).contains("class=\"button little needs\"");
    assert!(!needs("/findings"));
    let token = sonar.token().to_owned();
    sonar.edit(|model| model.tokens.retain(|one| one.value != token));
    reader.gateway.cli(&["sync"]);
    let is_refused = |gateway: &Gateway| conditions(gateway).contains(&"source_refused".to_owned()).then_some(());
    reader.gateway.wait("a condition", is_refused);
    assert!(needs("/findings"), "{}", reader.page("/"));
    assert!(needs("/about"));
}

#[test]
fn the_overview_says_what_is_open_and_how_that_came() {
    let sonar = sonar_with(CLOUD, &["A", "B"]);
    let reader = Reader::of_shop(&sonar, "viewer");
    sonar.edit(|model| model.add_issue("shop", "main", vulnerability("C")));
    sync(&reader.gateway);
    let page = reader.page("/");
    for part in [
        "<dt>Open findings</dt><dd>3</dd>",
        "<dt>Opened in 7 days</dt><dd>1</dd>",
        "The one project is in step with SonarQube.",
        "<a href=\"/findings?severity=critical\">",
        "None has come in yet.",
        "Nothing is passed on: no destination is connected.",
        "<meta name=\"theme-color\"",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
}
