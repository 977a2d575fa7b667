//! What a hub holds of other sites: told apart from what it reads itself, and left to the boxes that read it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use self::github::GitHub;
use super::hub::gather;
use super::server::{Server, confined, hub, usual};
use super::support::gateway::Gateway;
use super::support::https::ask;
use super::support::receiver::Receiver;
use super::support::sonar::{Issue, Mode, Sonar};
use super::support::{connect, import, wire};
use super::{joined, shop};

#[path = "../support/github.rs"]
mod github;

/// A fleet of two sites with the same project, and a hub that reads a project `own` itself.
struct Fleet {
    hub: Gateway,
    own: Sonar,
    _boxes: [(Sonar, Gateway); 2],
    _server: Server,
}

const SITES: [&str; 2] = ["berlin", "oslo"];

impl Fleet {
    fn start(flags: &[&str]) -> Self {
        let server = Server::start(&[confined("berlin"), confined("oslo"), hub()]);
        server.make(usual());
        let boxes = SITES.map(|site| {
            let (sonar, gateway) = shop();
            joined(&gateway, &server, site);
            (sonar, gateway)
        });
        let own = Sonar::start(Mode::Cloud);
        own.edit(|model| {
            model.add_project("acme", "own", "Own");
            model.add_issue("own", "main", Issue::vulnerability("java:S3649", "src/own.java", 1).with_key("O"));
        });
        let gateway = Gateway::start_with(flags);
        connect(&gateway, &own);
        import(&gateway, "acme", &["own"]);
        gather(&gateway, &server);
        gateway.wait("all to be held", |hub| {
            let status = hub.json(&["fleet", "status"]);
            let sites = status["fleets"][0]["sites"].as_array()?;
            // Also how their scopes stand, which comes apart from the findings.
            let told = sites.len() == 2 && sites.iter().all(|site| site["synced_at"].is_string() && site["open"] == 2);
            let is_done = told && status["fleets"][0]["state"] == "up_to_date";
            (is_done && hub.json(&["finding", "list"])["total"] == 5).then_some(())
        });
        Self { hub: gateway, own, _boxes: boxes, _server: server }
    }

    /// The findings that a command lists, as `site project key`, in order.
    fn listed(&self, flags: &[&str]) -> Vec<String> {
        let list = self.hub.json(&[&["finding", "list"], flags].concat());
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let rows = list["findings"].as_array().unwrap().iter();
        let mut rows: Vec<String> =
            rows.map(|one| ["site", "project", "key"].map(|name| text(&one[name])).join(" ")).collect();
        rows.sort();
        rows
    }
}

#[test]
fn findings_are_listed_and_taken_out_by_site() {
    let fleet = Fleet::start(&[]);
    let hub = &fleet.hub;
    let berlin = ["berlin com.acme:shop A", "berlin com.acme:shop B"];
    let all = [&["- own O"], &berlin[..], &["oslo com.acme:shop A", "oslo com.acme:shop B"]].concat();
    assert_eq!(fleet.listed(&[]), all);
    assert_eq!(fleet.listed(&["--site", "berlin"]), berlin);
    assert_eq!(fleet.listed(&["--site", "berlin", "--search", "S3649"]).len(), 1);
    assert_eq!(fleet.listed(&["--site", "berlin", "--organization", "sonar@oslo/acme"]).len(), 0);
    let unknown = hub.refused(&["finding", "list", "--site", "quito"], "");
    assert!(unknown.contains("no site quito has said anything") && unknown.contains("fleet status"), "{unknown}");
    // Files.
    let export = |format: &str| {
        let said = hub.cli(&["export", "--format", format, "--site", "oslo"]);
        assert_eq!(said.code, 0, "{said:?}");
        said.out
    };
    let file: Value = serde_json::from_str(&export("json")).unwrap();
    let sites: Vec<&Value> = file["findings"].as_array().unwrap().iter().map(|one| &one["site"]).collect();
    assert_eq!(sites, [&json!("oslo"), &json!("oslo")]);
    let csv = export("csv");
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows.len(), 3, "{csv}");
    assert!(rows[0].ends_with(",site") && rows[1..].iter().all(|row| row.ends_with(",oslo")), "{csv}");
    let log: Value = serde_json::from_str(&export("sarif")).unwrap();
    assert_eq!(log["runs"].as_array().unwrap().len(), 1);
    let run = &log["runs"][0];
    let result = &run["results"][0]["properties"];
    assert_eq!((&run["properties"]["site"], &result["hydrophone/site"]), (&json!("oslo"), &json!("oslo")));
    // Tables name sites where there are some, and there alone.
    let table = |flags: &[&str]| hub.cli(&[&["finding", "list"], flags].concat()).out;
    assert!(table(&[]).starts_with("ID") && table(&[]).lines().next().unwrap().contains("SITE"));
    let own = table(&["--organization", "sonar/acme"]);
    assert!(own.contains("src/own.java") && !own.contains("SITE"), "{own}");
    let project = hub.json(&["project", "show", "sonar@berlin/acme", "com.acme:shop"]);
    assert_eq!((&project["site"], &project["source"]), (&json!("berlin"), &json!("sonar@berlin")));
    assert_eq!(hub.json(&["project", "show", "sonar/acme", "own"])["site"], Value::Null);
    // None can put something into another's.
    let asset = hub.json(&["asset", "show", "Web shop (berlin)"]);
    let sites: Vec<&Value> = asset["projects"].as_array().unwrap().iter().map(|one| &one["site"]).collect();
    assert_eq!(sites, [&json!("berlin")]);
    assert!(hub.cli(&["asset", "show", "Web shop (berlin)"]).out.contains("SITE"));
}

#[test]
fn what_another_sites_box_reads_is_left_to_it() {
    const SHOP: [&str; 2] = ["sonar@berlin/acme", "com.acme:shop"];
    let fleet = Fleet::start(&[]);
    let hub = &fleet.hub;
    let id = hub.json(&["finding", "list", "--site", "berlin"])["findings"][0]["id"].as_str().unwrap().to_owned();
    let state = || {
        let config = hub.cli(&["config", "export"]);
        assert_eq!(config.code, 0, "{config:?}");
        (
            hub.json(&["project", "show", SHOP[0], SHOP[1]])["selected_branches"].clone(),
            hub.json(&["finding", "show", &id]),
            config.out,
        )
    };
    let before = state();
    let refused: &[(&[&str], &str)] = &[
        (&["project", "remove", SHOP[0], SHOP[1]], "project com.acme:shop"),
        (&["project", "edit", SHOP[0], SHOP[1], "--branch", "next"], "project com.acme:shop"),
        (&["project", "rename", SHOP[0], SHOP[1], "other"], "project com.acme:shop"),
        (&["project", "import", SHOP[0], "--all"], "organization sonar@berlin/acme"),
        (&["sync", SHOP[0], SHOP[1]], "project com.acme:shop"),
        (&["sync", SHOP[0]], "organization sonar@berlin/acme"),
        (&["finding", "triage", &id, "--state", "accepted", "--comment", "so"], &id),
        (&["finding", "reopen", &id], &id),
        (&["webhook", "show", SHOP[0]], "organization sonar@berlin/acme"),
        (&["webhook", "show", SHOP[0], "--project", SHOP[1], "--reveal"], "organization sonar@berlin/acme"),
        (&["webhook", "register", SHOP[0]], "organization sonar@berlin/acme"),
        (&["webhook", "unregister", SHOP[0]], "organization sonar@berlin/acme"),
        (&["webhook", "rotate", SHOP[0]], "organization sonar@berlin/acme"),
        (&["webhook", "test", SHOP[0]], "organization sonar@berlin/acme"),
        (&["source", "check", "sonar@berlin"], "sonar@berlin"),
        (&["source", "remove", "sonar@berlin"], "sonar@berlin"),
        (&["doctor", "sonar@berlin"], "sonar@berlin"),
    ];
    for (line, what) in refused {
        let said = hub.refused(line, "");
        let sentence = format!("{what} is read by the box at site berlin");
        assert!(said.contains(&sentence) && said.to_lowercase().contains("do it there"), "{line:?}: {said}");
    }
    assert_eq!(state(), before);
    // What belongs to this box is done, and nothing else.
    assert_eq!(hub.json(&["sync"])["projects"].as_array().unwrap().len(), 1);
    let moved = hub.json(&["project", "edit", SHOP[0], SHOP[1], "--new-asset", "Berlin"]);
    assert_eq!((&moved["asset"], &moved["site"]), (&json!("Berlin"), &json!("berlin")));
    // What is the matter with what others read is for them to say, and whether they are in step counts here, too.
    hub.wait("all to be in step", |hub| (hub.json(&["status"])["freshness"]["in_step"] == 3).then_some(()));
    let status = hub.json(&["status"]);
    assert_eq!(status["inventory"]["projects"], 3);
    let open: u64 =
        status["inventory"]["open"].as_array().unwrap().iter().map(|one| one["count"].as_u64().unwrap()).sum();
    assert_eq!(open, 5);
    let sources: Vec<&Value> = status["sources"].as_array().unwrap().iter().map(|source| &source["name"]).collect();
    assert_eq!(sources, [&json!("sonar")]);
    let doctor = hub.cli(&["doctor", "--json"]).out;
    assert!(doctor.contains("\"sonar\"") && !doctor.contains("sonar@"), "{doctor}");
}

#[test]
fn pages_and_metrics_tell_sites() {
    let fleet = Fleet::start(&["--admin-listen", "127.0.0.1:0"]);
    let hub = &fleet.hub;
    let page = hub.json(&["status"])["page"].as_str().unwrap().to_owned();
    let token = hub.json(&["token", "add", "as-admin", "--role", "admin"])["secret"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let get = |path: &str| ask(&page, "GET", path, &[("Authorization", &bearer)], "");
    let shown = |path: &str| {
        let answer = get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    };
    // The table of sites, each with its findings.
    let sites = shown("/fleet");
    for site in SITES {
        assert!(sites.contains(&format!("<a href=\"/findings?site={site}\">{site}</a>")), "{sites}");
    }
    assert!(sites.contains("<a href=\"/fleet\" aria-current=\"page\">Sites</a>"), "{sites}");
    // The list by site, also along with other filters and on its next page.
    let rows = |body: &str| body.matches("data-row=").count();
    let all = shown("/findings");
    assert_eq!(rows(&all), 5);
    assert!(all.contains("name=\"site\"") && all.contains("<option value=\"oslo\">oslo</option>"), "{all}");
    let one = shown("/findings?site=berlin&limit=1");
    assert_eq!(rows(&one), 1);
    assert!(one.contains("Site berlin") && one.contains("<span class=\"badge\">berlin</span>"), "{one}");
    let next = one.split("href=\"").map(|rest| rest.split('"').next().unwrap()).find(|to| to.contains("cursor="));
    let next = next.unwrap().replace("&amp;", "&");
    assert!(next.contains("site=berlin"), "{next}");
    assert_eq!(rows(&shown(&next)), 1);
    assert!(!one.contains("type=\"checkbox\" name=\"id\""), "nothing of Berlin is decided here: {one}");
    assert_eq!(get("/findings?site=quito").status, 404);
    // Finding and project say who reads them, and offer nothing that is for others to do.
    let id = hub.json(&["finding", "list", "--site", "berlin"])["findings"][0]["id"].as_str().unwrap().to_owned();
    let finding = shown(&format!("/findings/{id}"));
    assert!(finding.contains("The box at site berlin reads it") && !finding.contains("/triage"), "{finding}");
    let project = shown("/projects/sonar%40berlin%2Facme/com.acme%3Ashop");
    assert!(project.contains("The box at site") && project.contains("is done there"), "{project}");
    for absent in ["action=\"/sync\"", "/remove\"", "name=\"branches\""] {
        assert!(!project.contains(absent), "{absent} in {project}");
    }
    let findings = "/findings?project=com.acme%3Ashop&site=berlin";
    let link = format!("href=\"{}\"", findings.replace('&', "&amp;"));
    assert!(project.contains(&link) && finding.contains(&link), "{project}");
    assert_eq!(rows(&shown(findings)), 2);
    let own = shown("/projects/sonar%2Facme/own");
    assert!(own.contains("action=\"/sync\"") && own.contains("name=\"branches\""), "{own}");
    assert!(!shown("/webhooks").contains("@berlin"));
    assert_eq!(get("/projects/sonar%40berlin%2Facme/com.acme%3Ashop/remove").status, 409);
    // A decision about many ends at none of them.
    let own = hub.json(&["finding", "list", "--organization", "sonar/acme"])["findings"][0]["id"].clone();
    let batch = json!({ "ids": [id, own], "state": "accepted", "comment": "so" }).to_string();
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let told = ask(&page, "POST", "/api/v1/findings/triage", &headers, &batch).json();
    let outcomes = &told["outcomes"];
    assert_eq!(outcomes[0]["outcome"], "refused", "{told}");
    assert!(outcomes[0]["problem"].as_str().unwrap().contains("the box at site berlin"), "{told}");
    assert_ne!(outcomes[1]["outcome"], "not_tried", "{told}");
    let metrics = shown("/metrics");
    for line in [
        "hydrophone_fleet_up{fleet=\"all\"} 1",
        "hydrophone_fleet_pending_messages{fleet=\"all\"} 0",
        "hydrophone_site_open_findings{fleet=\"all\",site=\"berlin\"} 2",
        "hydrophone_site_open_findings{fleet=\"all\",site=\"oslo\"} 2",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line} in {metrics}");
    }
    assert!(metrics.contains("hydrophone_site_heard_seconds{fleet=\"all\",site=\"oslo\"}"), "{metrics}");
}

#[test]
fn destinations_of_a_hub_are_told_the_site_and_may_be_told_some_sites_only() {
    const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    let fleet = Fleet::start(&[]);
    let (some, all) = (Receiver::start(SECRET), Receiver::start(SECRET));
    for (name, receiver, flags) in [("some", &some, &["--site", "berlin"][..]), ("every", &all, &[])] {
        let line = ["destination", "add", "events", name, "--url", &receiver.url(), "--token-file", "-"];
        fleet.hub.json_with(&[&line[..], flags].concat(), SECRET);
    }
    let told = |receiver: &Receiver| {
        let events = receiver.events().into_iter().filter(|event| event["type"] == "dev.hydrophone.finding.present");
        let mut told: Vec<String> = events
            .map(|event| {
                assert_eq!(event.get("site"), None, "that would be the speaker's");
                format!("{} {}", event["data"]["site"].as_str().unwrap_or("-"), event["data"]["key"].as_str().unwrap())
            })
            .collect();
        told.sort();
        told
    };
    let everything = ["- O", "berlin A", "berlin B", "oslo A", "oslo B"];
    fleet.hub.wait("everything to be told", |_| (told(&all) == everything).then_some(()));
    fleet.hub.wait("the other to be in step", |hub| {
        (hub.json(&["destination", "show", "some"])["state"] == "up_to_date").then_some(())
    });
    assert_eq!(told(&some), ["berlin A", "berlin B"]);
    let shown = fleet.hub.json(&["destination", "show", "some"]);
    assert_eq!(shown["filter"]["sites"], json!(["berlin"]));
    assert_eq!(fleet.hub.json(&["destination", "show", "every"])["filter"].get("sites"), None);
    let preview = fleet.hub.json(&["destination", "preview", "some"]);
    assert_eq!(preview["left_out"]["of another site"], 3, "{preview}");
    // Set up anew it is the same, and what other sites' boxes tell is no part of that.
    let config: Value = serde_json::from_str(&fleet.hub.cli(&["config", "export"]).out).unwrap();
    let filters: Vec<&Value> =
        config["destinations"].as_array().unwrap().iter().map(|one| &one["filter"]["sites"]).collect();
    assert_eq!(filters, [&Value::Null, &json!(["berlin"])]);
    let sources: Vec<_> =
        config["sources"].as_array().unwrap().iter().map(|one| [&one["name"], &one["kind"]]).collect();
    assert_eq!(sources, [[&json!("all"), &json!("fleet")], [&json!("sonar"), &json!("cloud")]]);
    let said = fleet.hub.cli_with(&["config", "apply", "-", "--dry-run"], &config.to_string());
    assert!(said.code == 0 && said.out.contains("Nothing is to be changed"), "{said:?}");
    let keys: Vec<&Value> = config["projects"].as_array().unwrap().iter().map(|one| &one["key"]).collect();
    assert_eq!(keys, [&json!("own")]);
    let bad = fleet.hub.refused(&["destination", "edit", "some", "--site", "ber.lin"], "");
    assert!(bad.contains("\"ber.lin\" is no site"), "{bad}");
    fleet.hub.json(&["destination", "edit", "some", "--site", "berlin", "--site", "oslo"]);
    let preview = fleet.hub.json(&["destination", "preview", "some"]);
    assert_eq!(preview["left_out"]["of another site"], 1, "{preview}");
}

/// The runs of the files in a folder, as `site project results`, in order.
fn runs(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut runs: Vec<String> = files
        .filter(|file| file.extension().is_some_and(|kind| kind == "sarif"))
        .map(|file| {
            let log: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
            let run = &log["runs"][0];
            let (site, results) = (&run["properties"]["site"], run["results"].as_array().unwrap());
            assert!(results.iter().all(|one| one["properties"]["hydrophone/site"] == *site), "{run:#}");
            let project = run["properties"]["project"].as_str().unwrap();
            format!("{} {project} {}", site.as_str().unwrap_or("-"), results.len())
        })
        .collect();
    runs.sort();
    runs
}

#[test]
fn whole_branches_of_other_sites_are_told_without_asking_sonar_and_hold_up_nothing() {
    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    const TOKEN: &str = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
    let fleet = Fleet::start(&[]);
    let hub = &fleet.hub;
    let folder = hub.folder().join("sarif");
    fs::create_dir(&folder).unwrap();
    hub.json(&["destination", "add", "sarif", "files", "--url", folder.to_str().unwrap()]);
    let expected = ["- own 1", "berlin com.acme:shop 2", "oslo com.acme:shop 2"];
    hub.wait("a file for each branch", |_| (runs(&folder) == expected).then_some(()));
    // GitHub shows alerts with their commit, which is known at the site alone: what this box reads itself does not wait.
    fleet.own.analyse("own", "main", |analysis| analysis.revision = Some(COMMIT.to_owned()));
    hub.json(&["sync", "sonar/acme", "own", "--wait"]);
    let github = GitHub::start(TOKEN, "acme/shop", &[("refs/heads/main", COMMIT)]);
    let line = ["destination", "add", "github", "code", "--url", &github.url(), "--option", "repository=acme/shop"];
    hub.json_with(&[&line[..], &["--token-file", "-"]].concat(), TOKEN);
    hub.wait("its own finding to be told", |_| (github.alerts("acme/shop").len() == 1).then_some(()));
    let log = hub.log();
    assert!(!log.contains("is told without its commit"), "{log}");
}
