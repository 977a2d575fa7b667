//! Every command against the real daemon: what people see, and what programs get with `--json`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::steps::{
    ALL_STATES, CLOUD, assert_refused, assert_tells, holding_shop, inventory, members, states, sync, text,
};
use crate::support::gateway::{Gateway, program, run};
use crate::support::sonar::{Fault, Hotspot, Issue, Mode, Severity, Sonar};
use crate::support::{connect, findings, hook_up, import};

/// A SonarQube Cloud with two projects that differ in all that a list can be filtered by.
fn sonar_with_two_projects() -> Sonar {
    let sonar = Sonar::start(CLOUD);
    sonar.edit(|model| {
        model.add_project("acme", "shop", "Web shop");
        model.add_project("acme", "bank", "Bank");
        let issue = |rule: &str, path: &str, key: &str| Issue::vulnerability(rule, path, 7).with_key(key);
        model.add_issue("shop", "main", issue("java:S3649", "src/main/Orders.java", "A"));
        let xss = issue("java:S5131", "src/main/Cart.java", "B").with_severity(Severity::Critical);
        model.add_issue("shop", "main", xss.with_message("Escape the customer's name."));
        model.add_issue("shop", "main", issue("python:S5145", "tools/log.py", "C").with_severity(Severity::Minor));
        model.add_issue("bank", "main", issue("java:S3649", "src/main/Ledger.java", "D"));
        model.add_issue("bank", "main", issue("java:S4423", "src/main/Tls.java", "E"));
        model.accept("B");
        model.fix("E");
    });
    sonar
}

fn keys(findings: &[Value]) -> Vec<String> {
    let mut keys: Vec<_> = findings.iter().map(|finding| text(finding, "key")).collect();
    keys.sort();
    keys
}

/// Runs a command that has to succeed, and returns what people see.
fn shown(gateway: &Gateway, line: &[&str]) -> String {
    let said = gateway.cli(line);
    assert_eq!(said.code, 0, "{line:?}: {said:?}");
    said.out
}

fn lines(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect()
}

// --- The first steps ---

#[test]
fn a_newcomer_is_led_from_an_empty_gateway_to_the_webhook() {
    let sonar = sonar_with_two_projects();
    let gateway = Gateway::start();
    assert_tells(
        &shown(&gateway, &["status"]),
        &["Ready:", "yes", "No sources yet. Connect one: hydrophone source add"],
    );
    assert_tells(&shown(&gateway, &["source", "list"]), &["No sources yet", "hydrophone source add NAME"]);
    assert_tells(&shown(&gateway, &["asset", "list"]), &["No assets yet", "hydrophone project import"]);
    assert_tells(&shown(&gateway, &["finding", "list"]), &["No findings match"]);

    let (url, api_url) = (sonar.url(), sonar.api_url());
    let line = ["source", "add", "cloud", "--cloud", "--url", &url, "--api-url", &api_url, "--token-file", "-"];
    let said = gateway.cli_with(&line, sonar.token());
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert_tells(
        &said.out,
        &["Added the source cloud.", "SonarQube Cloud", &url, "acme", "Next: hydrophone project list acme"],
    );

    let list = shown(&gateway, &["project", "list", "acme"]);
    assert_eq!(lines(&list)[0], ["PROJECT", "NAME", "IMPORTED", "ASSET", "OPEN", "PROBLEM"]);
    assert_eq!(lines(&list)[1][..3], ["bank", "Bank", "no"]);
    assert_tells(&list, &["None is imported yet. Next: hydrophone project import acme --project KEY"]);
    assert_eq!(lines(&shown(&gateway, &["project", "list", "acme", "--search", "web"])).len(), 3);

    let import = gateway.cli(&["project", "import", "acme", "--project", "shop", "--wait"]);
    assert_eq!(import.code, 0, "{import:?}");
    let expected = "Imported 1 project.\n1 project done, 3 findings open.\nNext: hydrophone webhook show acme\n";
    assert_eq!(import.out, expected);
    assert_eq!(import.err, "shop: 3 findings open in 1 scope\n");

    let webhook = shown(&gateway, &["webhook", "show", "acme"]);
    assert_tells(&webhook, &["/hooks/", "hidden; add --reveal to show it", "Administration → Webhooks → Create"]);
    assert_tells(&shown(&gateway, &["project", "show", "acme", "shop"]), &["Web shop", "main (main)", "complete"]);
    let status = shown(&gateway, &["status"]);
    assert_tells(
        &status,
        &["1 source, 1 project, 1 asset", "3 open, 0 closed", "no_public_url", "config set public-url"],
    );
}

#[test]
fn sources_are_listed_checked_and_given_new_tokens() {
    let sonar = Sonar::start(Mode::Server { version: "2026.3.0.1", mqr: true });
    sonar.edit(|model| model.add_project("", "shop", "Web shop").gated = true);
    let gateway = Gateway::start();
    let added = connect(&gateway, &sonar);
    assert_eq!(added["source"]["kind"], "server");
    assert_eq!(added["organizations"], json!([{"source": "sonar", "key": "sonar", "name": "sonar"}]));
    let list = shown(&gateway, &["source", "list"]);
    assert_eq!(lines(&list)[0], ["SOURCE", "KIND", "ADDRESS", "PROJECTS", "CHECKED", "PROBLEM"]);
    assert_eq!(lines(&list)[1][..4], ["sonar", "SonarQube Server 2026.3.0.1", &sonar.url(), "0"]);
    let source = &gateway.json(&["source", "list"])["sources"][0];
    assert_eq!(
        (&source["name"], &source["version"], &source["error"]),
        (&"sonar".into(), &"2026.3.0.1".into(), &Value::Null)
    );
    assert_tells(&shown(&gateway, &["source", "check", "sonar"]), &["SonarQube Server 2026.3.0.1", &sonar.url()]);
    let file = gateway.folder().join("token");
    std::fs::write(&file, format!("{}\n", sonar.admin_token())).unwrap();
    let said = gateway.cli(&["source", "token", "sonar", "--token-file", file.to_str().unwrap()]);
    assert_eq!((said.code, said.out.as_str()), (0, "Replaced the token of sonar.\n"), "{said:?}");
    let organizations = shown(&gateway, &["organization", "list", "--source", "sonar"]);
    assert!(organizations.contains("sonar"), "{organizations}");
    assert_eq!(shown(&gateway, &["source", "remove", "sonar"]), "Removed the source sonar.\n");
}

// --- Assets ---

#[test]
fn an_asset_lives_from_add_to_remove() {
    let sonar = sonar_with_two_projects();
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    let added = shown(&gateway, &["asset", "add", "Shop", "--description", "All of shop.example.com"]);
    assert_tells(&added, &["Added the asset Shop.", "Next: hydrophone project import"]);
    gateway.json(&["project", "import", "acme", "--project", "shop", "--asset", "Shop", "--wait"]);
    let list = shown(&gateway, &["asset", "list"]);
    assert_eq!(lines(&list)[0], ["ASSET", "PROJECTS", "OPEN FINDINGS", "DESCRIPTION"]);
    assert_eq!(lines(&list)[1], ["Shop", "1", "1 critical, 1 high, 1 low", "All of shop.example.com"]);
    let asset = gateway.json(&["asset", "show", "Shop"]);
    assert_eq!(asset["projects"][0]["key"], "shop");
    assert_eq!(asset["open"][0], json!({"severity": "critical", "count": 1}));
    assert_tells(
        &shown(&gateway, &["asset", "show", "Shop"]),
        &["Shop", "All of shop.example.com", "1 project", "Web shop"],
    );

    assert_eq!(shown(&gateway, &["asset", "edit", "Shop", "--name", "Store"]), "Changed the asset Shop.\n");
    assert_eq!(gateway.json(&["project", "show", "acme", "shop"])["asset"], "Store");
    assert_eq!(keys(&findings(&gateway, &["--asset", "Store"])), ["A", "B", "C"]);
    gateway.json(&["asset", "edit", "Store", "--description", ""]);
    assert_eq!(gateway.json(&["asset", "show", "Store"])["description"], Value::Null);

    gateway.json(&["project", "import", "acme", "--project", "shop", "--new-asset", "Other", "--wait"]);
    assert_eq!(shown(&gateway, &["asset", "remove", "Store"]), "Removed the asset Store.\n");
    let names: Vec<_> = gateway.json(&["asset", "list"])["assets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|asset| text(asset, "name"))
        .collect();
    assert_eq!(names, ["Other"]);
    assert_eq!(keys(&findings(&gateway, &["--asset", "Other"])), ["A", "B", "C"], "they went along");
}

#[test]
fn without_a_wish_a_project_gets_an_asset_of_its_name_or_joins_the_one_that_has_it() {
    let sonar = sonar_with_two_projects();
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    gateway.json(&["asset", "add", "Bank", "--description", "ours"]);
    gateway.json(&["project", "import", "acme", "--all", "--wait"]);
    let assets = gateway.json(&["asset", "list"]);
    let assets: Vec<_> = assets["assets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|asset| (text(asset, "name"), text(asset, "description")))
        .collect();
    assert_eq!(assets, [("Bank".to_owned(), "ours".to_owned()), ("Web shop".to_owned(), "null".to_owned())]);
    let asset = |project: &str| text(&gateway.json(&["project", "show", "acme", project]), "asset");
    assert_eq!((asset("bank"), asset("shop")), ("Bank".to_owned(), "Web shop".to_owned()));
    // Importing once more without a wish leaves it where it is.
    gateway.json(&["project", "import", "acme", "--project", "shop", "--asset", "Bank", "--wait"]);
    gateway.json(&["project", "import", "acme", "--project", "shop", "--wait"]);
    assert_eq!(asset("shop"), "Bank");
    gateway.json(&["project", "import", "acme", "--all", "--new-asset", "Everything", "--wait"]);
    assert_eq!((asset("bank"), asset("shop")), ("Everything".to_owned(), "Everything".to_owned()));
}

// --- Projects ---

#[test]
fn a_removed_project_takes_its_findings_out_of_lists_and_totals_and_its_words_out_of_the_search() {
    let sonar = sonar_with_two_projects();
    let gateway = holding_shop(&sonar);
    import(&gateway, "acme", &["bank"]);
    assert_eq!(keys(&findings(&gateway, &ALL_STATES)), ["A", "B", "C", "D"]);
    let gone = inventory(&gateway, "shop");
    assert_eq!(shown(&gateway, &["project", "remove", "acme", "shop"]), "Removed the project shop.\n");
    assert_eq!(keys(&findings(&gateway, &ALL_STATES)), ["D"]);
    assert_eq!(gateway.json(&["finding", "list"])["total"], 1);
    assert!(findings(&gateway, &["--search", "orders"]).is_empty());
    assert_refused(&gateway.cli(&["finding", "show", &text(&gone[0], "id")]), &["there is no finding"]);
    assert_eq!(gateway.json(&["asset", "show", "Web shop"])["projects"], json!([]));
    gateway.wait("the counts to be without it", |gateway| {
        let inventory = gateway.json(&["status"])["inventory"].clone();
        let open: u64 =
            inventory["open"].as_array().unwrap().iter().map(|entry| entry["count"].as_u64().unwrap()).sum();
        (open == 1 && inventory["projects"] == 1).then_some(())
    });
    // Imported anew it is a new project with new findings.
    import(&gateway, "acme", &["shop"]);
    let ids = |findings: &[Value]| findings.iter().map(|finding| text(finding, "id")).collect::<BTreeSet<_>>();
    let again = inventory(&gateway, "shop");
    assert_eq!(keys(&again), ["A", "B", "C"]);
    assert!(ids(&again).is_disjoint(&ids(&gone)), "an id is never used twice");
}

#[test]
fn the_data_of_a_removed_project_is_deleted() {
    let sonar = sonar_with_two_projects();
    sonar.edit(|model| model.add_issues("shop", "main", 1_200));
    let gateway = holding_shop(&sonar);
    import(&gateway, "acme", &["bank"]);
    shown(&gateway, &["project", "remove", "acme", "shop"]);
    gateway.wait("the upkeep to have deleted it", |gateway| {
        let open = &gateway.json(&["status"])["inventory"]["open"];
        (open.as_array().unwrap().iter().map(|entry| entry["count"].as_u64().unwrap()).sum::<u64>() == 1).then_some(())
    });
    let folder = gateway.stop();
    let database = redb::Database::open(folder.path().join("state/hydrophone.redb")).unwrap();
    let transaction = redb::ReadableDatabase::begin_read(&database).unwrap();
    for (table, rows) in
        [("findings", 1), ("finding_ids", 1), ("order", 1), ("scope_order", 1), ("staging", 0), ("discarded", 0)]
    {
        let definition: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new(table);
        let held = redb::ReadableTableMetadata::len(&transaction.open_table(definition).unwrap()).unwrap();
        assert_eq!(held, rows, "{table}");
    }
}

// --- Findings ---

#[test]
fn findings_are_filtered_by_all_that_tells_them_apart() {
    let sonar = sonar_with_two_projects();
    let gateway = holding_shop(&sonar);
    import(&gateway, "acme", &["bank"]);
    sonar.edit(|model| model.remove("C"));
    sync(&gateway);
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &["A", "B", "D"]),
        (&["--project", "shop"], &["A", "B"]),
        (&["--organization", "acme"], &["A", "B", "D"]),
        (&["--organization", "sonar/acme", "--project", "bank"], &["D"]),
        (&["--asset", "Bank"], &["D"]),
        (&["--branch", "main"], &["A", "B", "D"]),
        (&["--branch", "other"], &[]),
        (&["--severity", "critical"], &["A", "D"]),
        (&["--severity", "critical", "--severity", "high"], &["A", "B", "D"]),
        (&["--severity", "critical,high", "--project", "shop"], &["A", "B"]),
        (&["--severity", "info"], &[]),
        (&["--state", "accepted"], &["B"]),
        (&["--state", "removed"], &["C"]),
        (&["--state", "open,removed", "--project", "shop"], &["A", "C"]),
        (&["--kind", "vulnerability"], &["A", "B", "D"]),
        (&["--kind", "hotspot"], &[]),
        (&["--search", "S3649"], &["A", "D"]),
        (&["--search", "java"], &["A", "B", "D"]),
        (&["--search", "data quer"], &["A", "D"]),
        (&["--search", "QUERIES"], &["A", "D"]),
        (&["--search", "escape customer"], &["B"]),
        (&["--search", "ledg"], &["D"]),
        (&["--search", "main/orders"], &["A"]),
        (&["--search", "edger"], &[]),
        (&["--search", "orders ledger"], &[]),
        (&["--search", "log.py"], &[]),
        (&["--search", "log.py", "--state", "removed"], &["C"]),
        (&["--search", "queries", "--project", "bank", "--severity", "critical"], &["D"]),
    ];
    for (flags, expected) in cases {
        let list = gateway.json(&[&["finding", "list"][..], flags].concat());
        assert_eq!(keys(list["findings"].as_array().unwrap()), *expected, "{flags:?}");
        assert_eq!((&list["total"], &list["total_exact"]), (&expected.len().into(), &true.into()), "{flags:?}");
        assert_eq!(list["next"], Value::Null, "{flags:?}");
    }
    assert_refused(&gateway.cli(&["finding", "list", "--search", "?!"]), &["no word to search for"]);
}

#[test]
fn paging_gives_every_finding_once_the_worst_first() {
    let sonar = sonar_with_two_projects();
    sonar.edit(|model| model.add_issues("shop", "main", 700));
    let gateway = holding_shop(&sonar);
    let whole = gateway.json(&["finding", "list", "--limit", "5000"]);
    assert_eq!((&whole["total"], &whole["next"]), (&703.into(), &Value::Null));
    let ids: Vec<_> = whole["findings"].as_array().unwrap().iter().map(|finding| text(finding, "id")).collect();
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (703, 703));
    let order = ["critical", "high", "medium", "low", "info"];
    let ranks: Vec<_> = whole["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| order.iter().position(|word| finding["severity"] == *word).unwrap())
        .collect();
    assert!(ranks.is_sorted());

    // The pages as another program reads them, over the socket.
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = get(&gateway, &format!("findings?limit=100{cursor}"));
        assert_eq!((&page["total"], &page["total_exact"]), (&703.into(), &true.into()));
        paged.extend(page["findings"].as_array().unwrap().iter().map(|finding| text(finding, "id")));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, ids);
    let problem = get(&gateway, "findings?cursor=none-of-yours");
    assert_eq!(
        (&problem["status"], &problem["detail"]),
        (&400.into(), &"the cursor is none of ours; begin without one".into())
    );

    let table = shown(&gateway, &["finding", "list", "--limit", "2"]);
    assert_eq!(table.lines().count(), 4);
    assert_tells(&table, &["2 of 703 shown"]);
}

/// Asks the API over its socket.
fn get(gateway: &Gateway, path: &str) -> Value {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(gateway.state().join("admin.sock")).unwrap();
    write!(stream, "GET /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"))
}

#[test]
fn a_finding_is_shown_with_its_history_and_its_rule() {
    let sonar = sonar_with_two_projects();
    let gateway = holding_shop(&sonar);
    sonar.edit(|model| model.fix("A"));
    sync(&gateway);
    let finding = crate::steps::finding(&gateway, "shop", "A");
    let id = text(&finding, "id");
    let detail = gateway.json(&["finding", "show", &id]);
    let fields = [
        "id",
        "key",
        "source",
        "organization",
        "project",
        "branch",
        "asset",
        "kind",
        "rule",
        "title",
        "message",
        "severity",
        "state",
        "path",
        "line",
        "cwe",
        "url",
        "created_at",
        "updated_at",
        "closed_at",
        "first_seen_at",
        "last_seen_at",
        "sonar",
    ];
    for field in fields {
        assert!(detail.get(field).is_some() && finding.get(field).is_some(), "{field}");
    }
    assert_eq!(
        (&detail["key"], &detail["source"], &detail["organization"], &detail["asset"], &detail["rule"]),
        (&"A".into(), &"sonar".into(), &"acme".into(), &"Web shop".into(), &"java:S3649".into())
    );
    assert_eq!(text(&detail, "url"), format!("{}/project/issues?id=shop&issues=A&open=A", sonar.url()));
    for time in ["created_at", "updated_at", "closed_at", "first_seen_at"] {
        assert!(text(&detail, time).ends_with('Z'), "{time}: {}", detail[time]);
    }
    let shown = shown(&gateway, &["finding", "show", &id]);
    let parts = [
        "Database queries should not be vulnerable",
        "critical",
        "fixed",
        "src/main/Orders.java",
        "CWE-20, CWE-89",
        "java:S3649",
        "opened",
        "Noncompliant code example",
        "http",
    ];
    assert_tells(&shown, &parts);
    assert!(!shown.contains("<p>") && !shown.contains("&lt;"), "{shown}");
}

#[test]
fn texts_from_sonar_cannot_steer_a_terminal() {
    let sonar = Sonar::start(Mode::Server { version: "2026.3.0.1", mqr: true });
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\n\u{9b}31m\u{202e}evil";
    sonar.edit(|model| {
        model.add_project("", "shop", &format!("Web{evil}"));
        let issue = Issue::vulnerability("java:S3649", &format!("src/{evil}.java"), 12).with_key("A");
        model.add_issue("shop", "main", issue.with_message(evil));
        model.rules.get_mut("java:S3649").unwrap().name = format!("Rule {evil}");
        let mut hotspot = Hotspot::new("java:S4502", "src/h.java", 1).with_key("H");
        hotspot.message = evil.to_owned();
        model.add_hotspot("shop", "main", hotspot);
        model.add_branch("shop", "release/1");
    });
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    let said = gateway.cli(&["project", "import", "sonar", "--project", "shop", "--wait"]);
    assert_eq!(said.code, 0, "{said:?}");
    let mut texts = vec![said.out, said.err, gateway.log()];
    let id = text(&crate::steps::finding(&gateway, "shop", "A"), "id");
    for line in [
        &["finding", "list"][..],
        &["finding", "show", &id],
        &["project", "list", "sonar"],
        &["project", "show", "sonar", "shop"],
        &["asset", "list"],
        &["organization", "list"],
        &["status"],
    ] {
        texts.push(shown(&gateway, line));
    }
    for text in texts {
        let odd = text.chars().find(|&c| (c.is_control() && c != '\n') || c == '\u{202e}');
        assert_eq!(odd, None, "in {text:?}");
    }
    assert_eq!(crate::steps::finding(&gateway, "shop", "A")["message"], evil, "JSON holds what Sonar said");
}

// --- Export ---

#[test]
fn an_export_holds_what_the_list_holds() {
    let sonar = sonar_with_two_projects();
    sonar.edit(|model| model.add_issues("bank", "main", 620));
    let gateway = holding_shop(&sonar);
    import(&gateway, "acme", &["bank"]);
    let flags: [&[&str]; 4] =
        [&[], &["--severity", "critical"], &["--project", "shop", "--state", "accepted"], &ALL_STATES];
    for flags in flags {
        let listed = gateway.json(&[&["finding", "list", "--limit", "5000"][..], flags].concat())["findings"].clone();
        let line = [&["export", "--format", "json"][..], flags].concat();
        let exported: Value = serde_json::from_str(&shown(&gateway, &line)).unwrap();
        assert_eq!(exported, json!({"findings": listed}), "{flags:?}");

        let file = gateway.folder().join("findings.csv");
        let path = file.to_str().unwrap();
        let said = gateway.cli(&[&["export", "--format", "csv", "-o", path][..], flags].concat());
        assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:?}");
        assert!(said.err.starts_with("Wrote ") && said.err.contains(path), "{said:?}");
        let mut reader = csv::Reader::from_path(&file).unwrap();
        assert_eq!(reader.headers().unwrap().iter().take(3).collect::<Vec<_>>(), ["id", "key", "source"]);
        let rows: Vec<_> = reader.records().map(|row| row.unwrap()[0].to_owned()).collect();
        let ids: Vec<_> = listed.as_array().unwrap().iter().map(|finding| text(finding, "id")).collect();
        assert_eq!(rows, ids, "{flags:?}");
        assert_eq!(
            shown(&gateway, &[&["export", "--format", "csv"][..], flags].concat()),
            std::fs::read_to_string(&file).unwrap()
        );
    }
    let nowhere = gateway.folder().join("missing/findings.json");
    let said = gateway.cli(&["export", "--format", "json", "-o", nowhere.to_str().unwrap()]);
    assert_refused(&said, &["cannot write", "missing"]);
}

// --- Webhooks and settings ---

#[test]
fn a_webhook_is_shown_with_its_secret_only_when_asked_for() {
    let sonar = sonar_with_two_projects();
    let gateway = holding_shop(&sonar);
    let hidden = gateway.json(&["webhook", "show", "acme"]);
    assert_eq!(
        (&hidden["secret"], &hidden["registered"], &hidden["project"]),
        (&Value::Null, &false.into(), &Value::Null)
    );
    let revealed = gateway.json(&["webhook", "show", "acme", "--reveal"]);
    assert_eq!(revealed["url"], hidden["url"]);
    let secret = text(&revealed, "secret");
    assert_eq!(secret.len(), 64);
    let shown_to_people = shown(&gateway, &["webhook", "show", "acme"]);
    assert!(!shown_to_people.contains(&secret), "{shown_to_people}");
    assert_tells(&shown(&gateway, &["webhook", "show", "acme", "--reveal"]), &[&secret, &text(&revealed, "url")]);

    let of_project = gateway.json(&["webhook", "show", "acme", "--project", "shop", "--reveal"]);
    assert_eq!(of_project["project"], "shop");
    assert_ne!((&of_project["url"], &of_project["secret"]), (&revealed["url"], &revealed["secret"]));
    let said = shown(&gateway, &["webhook", "show", "acme", "--project", "shop"]);
    assert_tells(&said, &["the project: Project Settings → Webhooks → Create"]);
}

#[test]
fn a_projects_own_webhook_brings_its_findings_and_no_other_projects() {
    let sonar = sonar_with_two_projects();
    let gateway = holding_shop(&sonar);
    import(&gateway, "acme", &["bank"]);
    let webhook = gateway.json(&["webhook", "show", "acme", "--project", "shop", "--reveal"]);
    crate::support::trust(&gateway, &sonar);
    let (url, secret) = (text(&webhook, "url"), text(&webhook, "secret"));
    sonar.edit(|model| model.add_webhook(Some("shop"), &url, Some(&secret)));
    sonar.analyse("shop", "main", |analysis| analysis.fix("A"));
    assert_eq!(sonar.wait_deliveries(1)[0].status, Some(202));
    gateway.wait("the fix", |gateway| (states(gateway, "shop")[0] == "A fixed").then_some(()));
    // Somebody enters it for another project by mistake.
    sonar.edit(|model| model.add_webhook(Some("bank"), &url, Some(&secret)));
    sonar.analyse("bank", "main", |analysis| analysis.fix("D"));
    assert_ne!(sonar.wait_deliveries(2)[1].status, Some(202));
    let log = gateway.json(&["delivery", "list"]);
    assert!(
        log["deliveries"]
            .as_array()
            .unwrap()
            .iter()
            .all(|delivery| delivery["outcome"] != "synced" || delivery["project"] == "shop"),
        "{log}"
    );
    assert_eq!(states(&gateway, "bank"), ["D open"]);
}

#[test]
fn a_public_url_changes_what_webhooks_show() {
    let sonar = sonar_with_two_projects();
    let gateway = holding_shop(&sonar);
    let url = |gateway: &Gateway| text(&gateway.json(&["webhook", "show", "acme"]), "url");
    let before = url(&gateway);
    assert!(before.starts_with(&format!("{}/hooks/", gateway.address())), "{before}");
    let said = shown(&gateway, &["config", "set", "public-url", "https://hooks.example.com/sonar/"]);
    assert!(said.starts_with("public-url is now https://hooks.example.com/sonar/.\nNote: the certificate"), "{said}");
    let endpoint = before.rsplit('/').next().unwrap();
    assert_eq!(url(&gateway), format!("https://hooks.example.com/sonar/hooks/{endpoint}"));
    assert!(!shown(&gateway, &["status"]).contains("no_public_url"));

    let settings = gateway.json(&["config", "show"]);
    let of = |key: &str| {
        settings["settings"].as_array().unwrap().iter().find(|setting| setting["key"] == key).unwrap().clone()
    };
    assert_eq!(of("public-url")["value"], "https://hooks.example.com/sonar/");
    assert_eq!((&of("sync-workers")["value"], &of("sync-workers")["default"]), (&"3".into(), &"3".into()));
    assert_eq!(lines(&shown(&gateway, &["config", "show"]))[0], ["SETTING", "VALUE", "DEFAULT", "WHAT IT IS"]);

    assert_eq!(shown(&gateway, &["config", "set", "public-url", ""]), "public-url has its default again.\n");
    assert_eq!(url(&gateway), before);
    // A flag of `serve` wins over the setting for that run.
    shown(&gateway, &["config", "set", "public-url", "https://stored.example.com"]);
    let folder = gateway.stop();
    let gateway =
        Gateway::start_in(folder, &["--public-url", "https://given.example.com"]).unwrap_or_else(|log| panic!("{log}"));
    assert_eq!(url(&gateway), format!("https://given.example.com/hooks/{endpoint}"));
    assert!(shown(&gateway, &["config", "show"]).contains("https://stored.example.com"));
}

#[test]
fn deliveries_are_listed_shown_and_replayed() {
    let sonar = sonar_with_two_projects();
    let gateway = holding_shop(&sonar);
    assert!(gateway.cli(&["delivery", "list"]).out.contains("hydrophone webhook show"), "an empty log says what to do");
    hook_up(&gateway, &sonar, "acme");
    sonar.analyse("shop", "main", |_| {});
    let answered = sonar.wait_deliveries(1);
    assert_eq!(answered[0].status, Some(202));
    let synced = |gateway: &Gateway, place: usize| {
        let delivery = gateway.json(&["delivery", "list"])["deliveries"][place].clone();
        (delivery["outcome"] == "synced").then_some(delivery)
    };
    let delivery = gateway.wait("the delivery to be synced", |gateway| synced(gateway, 0));
    for field in [
        "id",
        "received_at",
        "source",
        "organization",
        "project",
        "branch",
        "task_id",
        "status",
        "duplicate_of",
        "synced_at",
    ] {
        assert!(delivery.get(field).is_some(), "{field}");
    }
    let id = text(&delivery, "id");
    assert_tells(&shown(&gateway, &["delivery", "list"]), &[&id, "shop", "synced"]);
    assert_tells(&shown(&gateway, &["delivery", "show", &id]), &[&id, "shop", "SUCCESS", "synced"]);
    shown(&gateway, &["delivery", "replay", &id]);
    let replay = gateway.wait("the replay to be synced", |gateway| {
        let all = gateway.json(&["delivery", "list"])["deliveries"].as_array().unwrap().len();
        if all == 2 { synced(gateway, 0) } else { None }
    });
    assert_eq!((&replay["duplicate_of"], &replay["replay_of"]), (&Value::Null, &id.into()));
    assert!(shown(&gateway, &["status"]).contains("1 accepted"));
}

// --- Waiting, and the rest ---

#[test]
fn waiting_for_a_sync_fails_when_one_of_the_projects_fails() {
    let sonar = sonar_with_two_projects();
    let gateway = holding_shop(&sonar);
    import(&gateway, "acme", &["bank"]);
    sonar.fault_when(
        |call| {
            call.path == "/api/issues/search"
                && call.param("componentKeys").or(call.param("components")) == Some("bank")
        },
        Fault::json(403, r#"{"errors":[{"msg":"Insufficient privileges"}]}"#, 100),
    );
    sonar.edit(|model| model.fix("A"));
    let said = gateway.cli(&["sync", "--wait"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(said.out, "2 projects done, 3 findings open.\n");
    assert_tells(&said.err, &["error: bank main: ", "(HTTP 403)"]);
    assert!(!said.err.contains("error: shop"), "{said:?}");
    assert_eq!(states(&gateway, "shop")[0], "A fixed", "the other project was read");
    let json = gateway.cli(&["--json", "sync", "acme", "--wait"]);
    assert_eq!(json.code, 1, "{json:?}");
    assert_eq!(serde_json::from_str::<Value>(&json.out).unwrap()["projects"].as_array().unwrap().len(), 2);
    assert_eq!(gateway.cli(&["sync", "acme", "shop", "--wait"]).code, 0, "a project that is well is well");
    sonar.clear_faults();
    let said = gateway.cli(&["sync", "acme", "bank", "--full", "--wait"]);
    assert_eq!((said.code, said.out.as_str()), (0, "1 project done, 1 finding open.\n"), "{said:?}");
}

#[test]
fn a_wait_with_a_limit_ends_and_the_work_goes_on() {
    let sonar = sonar_with_two_projects();
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    let hold = sonar.hold("/api/issues/search");
    let said = gateway.cli(&["project", "import", "acme", "--project", "shop", "--wait", "--timeout", "0"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert_tells(&said.err, &["not done after 0 s", "The daemon goes on with the work", "hydrophone status"]);
    hold.release();
    gateway.wait("the import to end", |gateway| (states(gateway, "shop").len() == 3).then_some(()));
}

#[test]
fn a_sync_of_nothing_is_no_failure() {
    let gateway = Gateway::start();
    let said = gateway.cli(&["sync", "--wait"]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn findings_survive_a_restart_as_they_are() {
    let sonar = sonar_with_two_projects();
    let gateway = holding_shop(&sonar);
    let before = inventory(&gateway, "shop");
    let gateway = gateway.restart(Gateway::stop);
    assert_eq!(inventory(&gateway, "shop"), before);
    assert_eq!(members(&gateway, "shop", &["key"]), ["A", "B", "C"]);
}

#[test]
fn a_gateway_told_to_stop_as_soon_as_it_runs_stops_in_order() {
    for _ in 0..5 {
        let folder = Gateway::start().stop();
        assert!(!folder.path().join("state/admin.sock").exists(), "the socket is taken away");
    }
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let said = run(program().args(["completions", shell]), "");
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{shell}");
        for word in ["hydrophone", "webhook", "import", "reveal"] {
            assert!(said.out.contains(word), "{word} for {shell}");
        }
    }
}

#[test]
fn every_answer_with_json_is_one_document() {
    let sonar = sonar_with_two_projects();
    let gateway = holding_shop(&sonar);
    for line in [
        &["status"][..],
        &["source", "list"],
        &["source", "check", "sonar"],
        &["organization", "list"],
        &["project", "list", "acme"],
        &["project", "show", "acme", "shop"],
        &["project", "import", "acme", "--project", "shop", "--wait"],
        &["asset", "list"],
        &["asset", "add", "New"],
        &["asset", "show", "New"],
        &["asset", "edit", "New", "--name", "Newer"],
        &["asset", "remove", "Newer"],
        &["webhook", "show", "acme"],
        &["delivery", "list"],
        &["sync"],
        &["sync", "--wait"],
        &["finding", "list"],
        &["export", "--format", "json"],
        &["config", "show"],
        &["config", "set", "sync-workers", "3"],
        &["project", "remove", "acme", "shop"],
        &["source", "remove", "sonar"],
    ] {
        let document = gateway.json(line);
        assert!(document.is_object(), "{line:?}: {document}");
    }
}

#[test]
fn the_help_of_every_command_can_be_read() {
    for line in [
        &[][..],
        &["serve"],
        &["status"],
        &["source"],
        &["source", "add"],
        &["organization"],
        &["project"],
        &["project", "import"],
        &["asset"],
        &["webhook"],
        &["webhook", "show"],
        &["webhook", "secret"],
        &["delivery"],
        &["sync"],
        &["finding"],
        &["finding", "list"],
        &["export"],
        &["config"],
        &["completions"],
    ] {
        let said = run(program().args(line).arg("--help"), "");
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{line:?}");
        assert!(said.out.contains("Usage: hydrophone"), "{line:?}: {}", said.out);
        assert!(said.out.lines().all(|line| line.chars().count() <= 120), "{line:?}: {}", said.out);
    }
}
