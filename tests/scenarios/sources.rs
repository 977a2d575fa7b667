//! What the inventory holds of each kind of SonarQube, and how it follows what happens there.

use serde_json::Value;

use crate::steps::{
    ALL_STATES, CLOUD, NEWEST_SERVER, add_source, assert_refused, assert_tells, branch, conditions, count, finding,
    holding_shop, inventory, members, organization, sonar_with, states, sync, text, told, told_of, vulnerability,
};
use crate::support::gateway::Gateway;
use crate::support::sonar::{
    Browse, Fault, Hotspot, HotspotResolution, ImpactSeverity, Issue, Mode, Quality, Rule, Severity, Sonar, Target,
};
use crate::support::{connect, findings, hook_up, import};

const SERVER_10_6: Mode = Mode::Server { version: "10.6.0.92116", mqr: true };
const SERVER_9_9: Mode = Mode::Server { version: "9.9.0.65466", mqr: false };
const STANDARD_SERVER: Mode = Mode::Server { version: "2026.3.0.1", mqr: false };

// --- What counts as a finding, and how bad it is ---

/// One issue of each severity and each kind, beside much that is not about security.
fn sonar_with_everything(mode: Mode) -> Sonar {
    let sonar = sonar_with(mode, &[]);
    sonar.edit(|model| {
        let all = [Severity::Blocker, Severity::Critical, Severity::Major, Severity::Minor, Severity::Info];
        for (key, severity) in ["1", "2", "3", "4", "5"].into_iter().zip(all) {
            model.add_issue("shop", "main", vulnerability(key).with_severity(severity));
        }
        let smell = Issue::smell_with_security_impact("java:S3649", "src/smell.java", 1).with_key("smell");
        model.add_issue("shop", "main", smell.with_severity(Severity::Critical));
        for (key, change) in [
            ("6", None),
            ("7", Some(crate::support::sonar::Change::Confirm)),
            ("8", Some(crate::support::sonar::Change::Accept)),
            ("9", Some(crate::support::sonar::Change::FalsePositive)),
            ("gone", Some(crate::support::sonar::Change::Fix)),
        ] {
            model.add_issue("shop", "main", vulnerability(key).with_severity(Severity::Major));
            if let Some(change) = change {
                model.change(key, change);
            }
        }
        model.add_code_smells("shop", "main", 30);
    });
    sonar
}

const SHOWN: [&str; 4] = ["key", "kind", "severity", "state"];

#[test]
fn cloud_gives_every_issue_with_a_security_impact() {
    let sonar = sonar_with_everything(CLOUD);
    let gateway = holding_shop(&sonar);
    assert_eq!(
        members(&gateway, "shop", &SHOWN),
        [
            "1 vulnerability critical open",
            "2 vulnerability high open",
            "3 vulnerability medium open",
            "4 vulnerability low open",
            "5 vulnerability info open",
            "6 vulnerability medium open",
            "7 vulnerability medium confirmed",
            "8 vulnerability medium accepted",
            "9 vulnerability medium false_positive",
            "smell vulnerability high open",
        ]
    );
    let branch = branch(&gateway, "acme", "shop", "main");
    assert_eq!((&branch["complete"], &branch["sonar_total"]), (&true.into(), &10.into()));
    let asked = sonar.requests().into_iter().find(|call| call.path == "/api/issues/search").unwrap();
    assert_eq!(asked.param("impactSoftwareQualities"), Some("SECURITY"));
}

#[test]
fn cloud_may_leave_the_older_taxonomy_out() {
    let sonar = sonar_with_everything(CLOUD);
    sonar.edit(|model| model.settings.newer_taxonomy_only = true);
    let gateway = holding_shop(&sonar);
    let shown = members(&gateway, "shop", &SHOWN);
    assert_eq!(shown.len(), 10);
    assert_eq!(shown[0], "1 vulnerability critical open");
    assert_eq!(shown[8], "9 vulnerability medium false_positive");
}

#[test]
fn an_impact_outweighs_the_older_severity() {
    let sonar = sonar_with(CLOUD, &[]);
    sonar.edit(|model| {
        let mut issue = vulnerability("A").with_severity(Severity::Info);
        issue.impacts = vec![(Quality::Reliability, ImpactSeverity::Low), (Quality::Security, ImpactSeverity::Blocker)];
        model.add_issue("shop", "main", issue);
    });
    let gateway = holding_shop(&sonar);
    let finding = finding(&gateway, "shop", "A");
    assert_eq!((&finding["severity"], &finding["sonar"]["severity"]), (&"critical".into(), &"INFO".into()));
}

#[test]
fn servers_give_issues_and_hotspots() {
    for mode in [NEWEST_SERVER, SERVER_10_6, SERVER_9_9, STANDARD_SERVER] {
        let sonar = sonar_with_everything(mode);
        sonar.edit(|model| {
            model.add_hotspot("shop", "main", Hotspot::new("java:S4502", "src/h.java", 4).with_key("hot1"));
            model.add_hotspot("shop", "main", Hotspot::new("java:S2245", "src/h.java", 5).with_key("hot2"));
            model.add_hotspot("shop", "main", Hotspot::new("java:S5332", "src/h.java", 6).with_key("hot3"));
        });
        let gateway = holding_shop(&sonar);
        // Impacts counted three severities before 10.8; without impacts the older severity has five.
        let (blocker, info) = if mode == SERVER_10_6 { ("high", "low") } else { ("critical", "info") };
        let mut expected = vec![
            format!("1 vulnerability {blocker} open"),
            "2 vulnerability high open".to_owned(),
            "3 vulnerability medium open".to_owned(),
            "4 vulnerability low open".to_owned(),
            format!("5 vulnerability {info} open"),
            "6 vulnerability medium open".to_owned(),
            "7 vulnerability medium confirmed".to_owned(),
            "8 vulnerability medium accepted".to_owned(),
            "9 vulnerability medium false_positive".to_owned(),
            "hot1 hotspot high open".to_owned(),
            "hot2 hotspot medium open".to_owned(),
            "hot3 hotspot low open".to_owned(),
        ];
        if mode == NEWEST_SERVER || mode == SERVER_10_6 {
            expected.push("smell vulnerability high open".to_owned());
        }
        assert_eq!(members(&gateway, "shop", &SHOWN), expected, "{mode:?}");
        let branch = branch(&gateway, "sonar", "shop", "main");
        assert_eq!((&branch["complete"], &branch["sonar_total"]), (&true.into(), &expected.len().into()), "{mode:?}");

        let asked = |path: &str| sonar.requests().into_iter().find(|call| call.path == path).unwrap();
        let hotspots = asked("/api/hotspots/search");
        let parameter = if mode == SERVER_9_9 { "projectKey" } else { "project" };
        assert_eq!(hotspots.param(parameter), Some("shop"), "{mode:?}");
        let issues = asked("/api/issues/search");
        let by_type = mode == SERVER_9_9 || mode == STANDARD_SERVER;
        assert_eq!(issues.param("types").is_some(), by_type, "{mode:?}");
        assert_eq!(issues.param("impactSoftwareQualities").is_some(), !by_type, "{mode:?}");
    }
}

#[test]
fn a_reviewed_hotspot_shows_the_decision_and_a_closed_one_is_removed() {
    for mode in [NEWEST_SERVER, SERVER_9_9] {
        let sonar = sonar_with(mode, &["A"]);
        sonar.edit(|model| {
            for key in ["acknowledged", "fixed", "gone", "safe", "waiting"] {
                model.add_hotspot("shop", "main", Hotspot::new("java:S4502", "src/h.java", 4).with_key(key));
            }
        });
        let gateway = holding_shop(&sonar);
        let ids = members(&gateway, "shop", &["key", "id"]);
        sonar.edit(|model| {
            model.review_hotspot("acknowledged", HotspotResolution::Acknowledged);
            model.review_hotspot("fixed", HotspotResolution::Fixed);
            model.review_hotspot("safe", HotspotResolution::Safe);
            model.close_hotspot("gone");
        });
        sync(&gateway);
        assert_eq!(
            states(&gateway, "shop"),
            ["A open", "acknowledged accepted", "fixed fixed", "gone removed", "safe false_positive", "waiting open"]
        );
        assert_eq!(members(&gateway, "shop", &["key", "id"]), ids);
        let branch = branch(&gateway, "sonar", "shop", "main");
        let totals = (&branch["complete"], &branch["sonar_total"], &branch["stored_total"]);
        assert_eq!(totals, (&true.into(), &4.into(), &4.into()));
    }
}

// --- Organizations ---

#[test]
fn organizations_come_from_the_older_address_where_the_newer_one_has_none() {
    for fault in [
        Fault::json(404, r#"{"message":"not found"}"#, 1),
        Fault::json(401, "", 1),
        Fault::json(403, r#"{"message":"Access denied"}"#, 1),
        Fault::html(200, 1),
    ] {
        let sonar = sonar_with(CLOUD, &["A"]);
        let gateway = Gateway::start();
        sonar.fault("organizations/organizations", fault.clone());
        connect(&gateway, &sonar);
        let list = gateway.json(&["organization", "list"]);
        assert_eq!(list["organizations"][0]["key"], "acme", "{fault:?}");
        assert_eq!(count(&sonar.requests(), "/api/organizations/search"), 1, "{fault:?}");
    }
}

#[test]
fn the_newer_address_of_organizations_is_asked_first_and_its_trouble_is_told() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let gateway = Gateway::start();
    sonar.fault("organizations/organizations", Fault::unavailable(1));
    let said = add_source(&gateway, &sonar, "sonar", sonar.token(), &[]);
    assert_refused(&said, &["cannot answer for now (HTTP 503)", &sonar.api_url().replace("http://", "")]);
    connect(&gateway, &sonar);
    assert_eq!(count(&sonar.requests(), "/api/organizations/search"), 0);
}

#[test]
fn a_project_of_another_organization_is_not_imported_by_mistake() {
    let sonar = sonar_with(CLOUD, &["A"]);
    sonar.edit(|model| {
        model.add_project("other", "theirs", "Theirs");
    });
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    let said = gateway.cli(&["project", "import", "acme", "--project", "theirs"]);
    assert_refused(&said, &["Sonar shows no project theirs in sonar/acme"]);
    import(&gateway, "other", &["theirs"]);
    let keys = |organization: &str| {
        let list = gateway.json(&["project", "list", organization]);
        list["projects"].as_array().unwrap().iter().map(|project| text(project, "key")).collect::<Vec<_>>()
    };
    assert_eq!((keys("acme"), keys("other")), (vec!["shop".to_owned()], vec!["theirs".to_owned()]));
}

#[test]
fn an_organization_that_two_sources_share_is_named_with_its_source() {
    let (one, two) = (sonar_with(CLOUD, &["A"]), sonar_with(CLOUD, &["B"]));
    let gateway = Gateway::start();
    for (name, sonar) in [("one", &one), ("two", &two)] {
        assert_eq!(add_source(&gateway, sonar, name, sonar.token(), &[]).code, 0);
    }
    let said = gateway.cli(&["project", "import", "acme", "--project", "shop"]);
    assert_refused(&said, &["both one and two have an organization acme", "write one/acme or two/acme"]);
    import(&gateway, "one/acme", &["shop"]);
    import(&gateway, "two/acme", &["shop"]);
    for (organization, key) in [("one/acme", "A"), ("two/acme", "B")] {
        let found = findings(&gateway, &["--organization", organization]);
        assert_eq!(found.iter().map(|finding| text(finding, "key")).collect::<Vec<_>>(), [key]);
    }
    let url = |organization: &str| text(&gateway.json(&["webhook", "show", organization]), "url");
    assert_ne!(url("one/acme"), url("two/acme"));
    assert_eq!(gateway.cli(&["project", "remove", "one/acme", "shop"]).code, 0);
    assert_eq!(states(&gateway, "shop"), ["B open"]);
}

// --- Following what happens ---

#[test]
fn triage_in_sonar_shows_after_a_sync_and_is_told() {
    for mode in [CLOUD, NEWEST_SERVER, SERVER_10_6, SERVER_9_9, STANDARD_SERVER] {
        let sonar = sonar_with(mode, &["A", "B", "C", "D"]);
        let gateway = holding_shop(&sonar);
        sonar.edit(|model| {
            model.accept("A");
            model.mark_false_positive("B");
            model.confirm("C");
        });
        sync(&gateway);
        let now = ["A accepted", "B false_positive", "C confirmed", "D open"];
        assert_eq!(states(&gateway, "shop"), now, "{mode:?}");
        assert_eq!(told_of(&gateway, &finding(&gateway, "shop", "A")), ["opened", "triaged"], "{mode:?}");
        sonar.edit(|model| model.reopen("A"));
        sync(&gateway);
        assert_eq!(finding(&gateway, "shop", "A")["state"], "open", "{mode:?}");
    }
}

#[test]
fn a_finding_that_comes_back_keeps_its_id_and_its_history() {
    for mode in [CLOUD, SERVER_9_9] {
        let sonar = sonar_with(mode, &["A", "B"]);
        let gateway = holding_shop(&sonar);
        let before = finding(&gateway, "shop", "A");
        sonar.edit(|model| model.fix("A"));
        sync(&gateway);
        let fixed = finding(&gateway, "shop", "A");
        assert_eq!((&fixed["state"], &fixed["id"]), (&"fixed".into(), &before["id"]));
        assert_ne!(fixed["closed_at"], Value::Null);
        sonar.edit(|model| model.reopen("A"));
        sync(&gateway);
        let back = finding(&gateway, "shop", "A");
        assert_eq!((&back["state"], &back["id"], &back["closed_at"]), (&"open".into(), &before["id"], &Value::Null));
        assert_eq!(back["first_seen_at"], before["first_seen_at"]);
        assert_eq!(told_of(&gateway, &back), ["opened", "fixed", "reopened"]);
    }
}

#[test]
fn a_close_without_a_fix_is_removed() {
    for mode in [CLOUD, SERVER_9_9] {
        let sonar = sonar_with(mode, &["A", "B"]);
        let gateway = holding_shop(&sonar);
        sonar.edit(|model| model.remove("A"));
        sync(&gateway);
        assert_eq!(states(&gateway, "shop"), ["A removed", "B open"]);
        assert_eq!(told_of(&gateway, &finding(&gateway, "shop", "A")), ["opened", "removed"]);
    }
}

#[test]
fn few_findings_that_sonar_no_longer_knows_are_removed() {
    let sonar = sonar_with(CLOUD, &["A", "B", "C", "D", "E"]);
    let gateway = holding_shop(&sonar);
    sonar.edit(|model| {
        model.purge("A");
        model.purge("D");
    });
    sync(&gateway);
    assert_eq!(states(&gateway, "shop"), ["A removed", "B open", "C open", "D removed", "E open"]);
    assert_ne!(finding(&gateway, "shop", "A")["closed_at"], Value::Null);
}

#[test]
fn many_findings_that_sonar_no_longer_knows_are_held_back() {
    // All of a scope's, and more than three or a tenth of it.
    for (held, purged) in [(2, 2), (8, 4)] {
        let keys = &["A", "B", "C", "D", "E", "F", "G", "H"][..held];
        let sonar = sonar_with(CLOUD, keys);
        let gateway = holding_shop(&sonar);
        sonar.edit(|model| keys[..purged].iter().for_each(|key| model.purge(key)));
        for _ in 0..2 {
            let said = gateway.cli(&["sync", "--wait"]);
            assert_eq!(said.code, 1, "{said:?}");
            assert_tells(&said.err, &["shop main", "many findings are unknown to Sonar all at once", "second read"]);
            assert!(states(&gateway, "shop").iter().all(|state| state.ends_with("open")), "{purged} of {held}");
        }
        assert!(conditions(&gateway).contains(&"closing_held_back".to_owned()));
        let branch = branch(&gateway, "acme", "shop", "main");
        assert_eq!((&branch["complete"], &branch["stored_total"]), (&false.into(), &held.into()));
    }
}

#[test]
fn held_back_closings_are_forgotten_when_the_findings_are_there_again() {
    let sonar = sonar_with(CLOUD, &["A", "B"]);
    let gateway = holding_shop(&sonar);
    sonar.edit(|model| ["A", "B"].iter().for_each(|key| model.purge(key)));
    assert_eq!(gateway.cli(&["sync", "--wait"]).code, 1);
    sonar.edit(|model| {
        for key in ["A", "B"] {
            model.add_issue("shop", "main", vulnerability(key));
        }
    });
    sync(&gateway);
    assert_eq!(states(&gateway, "shop"), ["A open", "B open"]);
    assert!(!conditions(&gateway).contains(&"closing_held_back".to_owned()));
}

#[test]
fn many_findings_that_sonar_says_are_fixed_are_closed_at_once() {
    let keys = ["A", "B", "C", "D", "E", "F"];
    let sonar = sonar_with(CLOUD, &keys);
    let gateway = holding_shop(&sonar);
    sonar.edit(|model| keys.iter().for_each(|key| model.fix(key)));
    sync(&gateway);
    assert!(states(&gateway, "shop").iter().all(|state| state.ends_with("fixed")));
    let branch = branch(&gateway, "acme", "shop", "main");
    assert_eq!((&branch["complete"], &branch["sonar_total"]), (&true.into(), &0.into()));
}

#[test]
fn a_line_that_only_shifts_is_seen_although_sonars_date_stands_still() {
    for mode in [CLOUD, SERVER_9_9] {
        let sonar = sonar_with(mode, &["A", "B"]);
        let gateway = holding_shop(&sonar);
        let before = finding(&gateway, "shop", "A");
        sonar.edit(|model| model.shift_line("A", 99));
        sync(&gateway);
        let after = finding(&gateway, "shop", "A");
        assert_eq!((&before["line"], &after["line"]), (&12.into(), &99.into()));
        assert_eq!((&before["updated_at"], &before["id"]), (&after["updated_at"], &after["id"]));
        assert_eq!(told_of(&gateway, &after), ["opened", "updated"]);
        assert_eq!(told_of(&gateway, &finding(&gateway, "shop", "B")), ["opened"]);
    }
}

#[test]
fn a_moved_file_keeps_the_finding() {
    let sonar = sonar_with(CLOUD, &["A", "B"]);
    let gateway = holding_shop(&sonar);
    let before = finding(&gateway, "shop", "A");
    sonar.edit(|model| model.move_file("A", "lib/moved.java"));
    sync(&gateway);
    let after = finding(&gateway, "shop", "A");
    assert_eq!((&after["path"], &after["id"]), (&"lib/moved.java".into(), &before["id"]));
    assert_eq!(findings(&gateway, &["--search", "moved"]).len(), 1, "it is found by its new path");
    assert_eq!(findings(&gateway, &["--search", "src"]).len(), 1, "and no more by its old one");
}

#[test]
fn a_changed_severity_moves_the_finding_in_lists_and_totals() {
    let sonar = sonar_with(CLOUD, &["A", "B"]);
    let gateway = holding_shop(&sonar);
    sonar.edit(|model| model.set_severity("A", Severity::Minor));
    sync(&gateway);
    let by = |severity: &str| gateway.json(&["finding", "list", "--severity", severity])["total"].clone();
    assert_eq!((by("critical"), by("low")), (1.into(), 1.into()));
}

// --- Ten thousand ---

/// Cloud counts no further than ten thousand, and no search shows more: the list is read in slices that are smaller.
#[test]
fn ten_thousand_and_more_on_cloud_are_read_whole_and_closed_as_any_other() {
    // As Cloud says it, this is ten thousand.
    let count = 10_001;
    let sonar = sonar_with(CLOUD, &[]);
    let keys = sonar.edit(|model| model.add_issues("shop", "main", count));
    let gateway = holding_shop(&sonar);
    let total = |flags: &[&str]| {
        gateway.json(&[&["finding", "list", "--limit", "1"][..], flags].concat())["total"].as_u64().unwrap()
    };
    assert_eq!(total(&[]), count as u64);
    assert!(!conditions(&gateway).contains(&"scope_incomplete".to_owned()));
    let main = branch(&gateway, "acme", "shop", "main");
    assert_eq!((&main["complete"], &main["sonar_total"]), (&true.into(), &count.into()));

    sonar.edit(|model| {
        model.fix(&keys[1]);
        model.purge(&keys[2]);
        model.add_issue("shop", "main", vulnerability("new"));
        model.add_issue("shop", "main", vulnerability("newer"));
    });
    sync(&gateway);
    assert_eq!((total(&[]), total(&["--state", "fixed"]), total(&["--state", "removed"])), (count as u64, 1, 1));
}

#[test]
fn ten_thousand_on_a_server_is_a_number() {
    let sonar = sonar_with(NEWEST_SERVER, &[]);
    sonar.edit(|model| model.add_issues("shop", "main", 10_000));
    let gateway = holding_shop(&sonar);
    let main = branch(&gateway, "sonar", "shop", "main");
    let totals = (&main["complete"], &main["sonar_total"], &main["stored_total"]);
    assert_eq!(totals, (&true.into(), &10_000.into(), &10_000.into()));
    assert!(!conditions(&gateway).contains(&"scope_incomplete".to_owned()));
}

// --- Branches and pull requests ---

fn sonar_with_branches(mode: Mode) -> Sonar {
    let sonar = sonar_with(mode, &["main-A", "main-B"]);
    sonar.edit(|model| {
        for name in ["release/1", "release/2", "feature/x"] {
            model.add_branch("shop", name);
            model.add_issue("shop", name, vulnerability(&format!("{name}-A")));
        }
        model.add_pull_request("shop", "7", "feature/x", "main");
        model.add_issue("shop", Target::PullRequest("7"), vulnerability("pr-A"));
    });
    sonar
}

fn branches(gateway: &Gateway, organization: &str) -> Vec<String> {
    let project = gateway.json(&["project", "show", organization, "shop"]);
    let mut names: Vec<_> = project["branches"].as_array().unwrap().iter().map(|branch| text(branch, "name")).collect();
    names.sort();
    names
}

#[test]
fn without_a_wish_only_the_main_branch_is_read() {
    for mode in [CLOUD, SERVER_9_9] {
        let sonar = sonar_with_branches(mode);
        let gateway = holding_shop(&sonar);
        assert_eq!(branches(&gateway, organization(&sonar)), ["main"]);
        assert_eq!(states(&gateway, "shop"), ["main-A open", "main-B open"]);
    }
}

#[test]
fn a_pattern_chooses_branches() {
    for mode in [CLOUD, NEWEST_SERVER] {
        let sonar = sonar_with_branches(mode);
        let gateway = Gateway::start();
        connect(&gateway, &sonar);
        let organization = organization(&sonar);
        let line = ["project", "import", organization, "--project", "shop", "--wait", "--branch"];
        gateway.json(&[&line[..], &["release/*"]].concat());
        assert_eq!(branches(&gateway, organization), ["release/1", "release/2"]);
        assert_eq!(members(&gateway, "shop", &["key", "branch"]), ["release/1-A release/1", "release/2-A release/2"]);
        // A later import with another wish reads those, too, before the wait ends.
        gateway.json(&[&line[..], &["main", "--branch", "release/*"]].concat());
        assert_eq!(states(&gateway, "shop").len(), 4);
        let one = findings(&gateway, &["--project", "shop", "--branch", "release/1"]);
        assert_eq!(one.iter().map(|finding| text(finding, "key")).collect::<Vec<_>>(), ["release/1-A"]);
        assert!(text(&one[0], "url").contains("branch=release%2F1"), "{}", one[0]["url"]);
    }
}

#[test]
fn pull_requests_are_read_where_asked_for_and_close_nothing_on_the_main_branch() {
    for mode in [CLOUD, NEWEST_SERVER] {
        let sonar = sonar_with_branches(mode);
        let gateway = Gateway::start();
        connect(&gateway, &sonar);
        let organization = organization(&sonar);
        gateway.json(&["project", "import", organization, "--project", "shop", "--pull-requests", "--wait"]);
        assert_eq!(branches(&gateway, organization), ["7", "main"]);
        hook_up(&gateway, &sonar, organization);
        sonar.analyse("shop", Target::PullRequest("7"), |analysis| {
            analysis.fix("pr-A");
            analysis.open(vulnerability("pr-B"));
        });
        assert_eq!(sonar.wait_deliveries(1)[0].status, Some(202));
        let expected = ["main-A open", "main-B open", "pr-A fixed", "pr-B open"];
        gateway.wait("the pull request to be read", |gateway| (states(gateway, "shop") == expected).then_some(()));
        let request = finding(&gateway, "shop", "pr-B");
        assert_eq!(request["branch"], "7");
        assert!(text(&request, "url").contains("pullRequest=7"), "{}", request["url"]);
    }
}

#[test]
fn a_pull_request_nobody_asked_for_changes_nothing() {
    let sonar = sonar_with_branches(CLOUD);
    let gateway = holding_shop(&sonar);
    hook_up(&gateway, &sonar, "acme");
    let before = inventory(&gateway, "shop");
    sonar.analyse("shop", Target::PullRequest("7"), |analysis| {
        analysis.open(vulnerability("pr-B"));
    });
    assert_eq!(sonar.wait_deliveries(1)[0].status, Some(202));
    let outcome = gateway.wait("the delivery to be settled", |gateway| {
        let outcome = text(&gateway.json(&["delivery", "list"])["deliveries"][0], "outcome");
        (!["received", "pending", "waiting", "queued"].contains(&outcome.as_str())).then_some(outcome)
    });
    assert_eq!(outcome, "not_selected");
    assert_eq!(inventory(&gateway, "shop"), before);
}

#[test]
fn a_new_branch_that_fits_the_pattern_comes_with_its_first_webhook() {
    let sonar = sonar_with_branches(CLOUD);
    let gateway = Gateway::start();
    connect(&gateway, &sonar);
    gateway.json(&["project", "import", "acme", "--project", "shop", "--branch", "release/*", "--wait"]);
    hook_up(&gateway, &sonar, "acme");
    sonar.edit(|model| model.add_branch("shop", "release/3"));
    sonar.analyse("shop", "release/3", |analysis| {
        analysis.open(vulnerability("fresh"));
    });
    assert_eq!(sonar.wait_deliveries(1)[0].status, Some(202));
    gateway.wait("the new branch's finding", |gateway| {
        states(gateway, "shop").contains(&"fresh open".to_owned()).then_some(())
    });
    assert_eq!(branches(&gateway, "acme"), ["release/1", "release/2", "release/3"]);
}

#[test]
fn a_branch_deleted_in_sonar_closes_nothing_and_is_told() {
    for mode in [CLOUD, NEWEST_SERVER] {
        let sonar = sonar_with_branches(mode);
        let gateway = Gateway::start();
        connect(&gateway, &sonar);
        let organization = organization(&sonar);
        gateway.json(&["project", "import", organization, "--project", "shop", "--branch", "release/*", "--wait"]);
        sonar.edit(|model| model.delete_branch("shop", "release/1"));
        sync(&gateway);
        assert_eq!(states(&gateway, "shop"), ["release/2-A open"]);
        let kept = findings(&gateway, &[&["--branch", "release/1"][..], &ALL_STATES].concat());
        assert_eq!(kept.iter().map(|finding| text(finding, "state")).collect::<Vec<_>>(), ["open"]);
        assert_tells(&told(&gateway, "branch_retired"), &["shop: branch release/1 is no longer listed by SonarQube"]);
    }
}

#[test]
fn a_project_renamed_or_deleted_in_sonar_closes_nothing_and_is_told() {
    let renames: [fn(&Sonar); 2] = [
        |sonar| sonar.edit(|model| model.rename_project("shop", "store")),
        |sonar| {
            sonar.edit(|model| model.delete_project("shop"));
        },
    ];
    for (mode, change) in [CLOUD, NEWEST_SERVER].into_iter().flat_map(|mode| renames.map(|change| (mode, change))) {
        let sonar = sonar_with(mode, &["A", "B"]);
        let gateway = holding_shop(&sonar);
        change(&sonar);
        let said = gateway.cli(&["sync", "--wait"]);
        assert_eq!(said.code, 1, "{said:?}");
        assert_tells(&said.err, &["Sonar no longer shows project shop", "its findings stay as they are"]);
        assert_eq!(states(&gateway, "shop"), ["A open", "B open"]);
        let elsewhere = sonar.edit(|model| model.project("store").is_some());
        assert_eq!(conditions(&gateway).contains(&"project_moved".to_owned()), elsewhere, "{mode:?}");
    }
}

#[test]
fn a_main_branch_with_another_name_is_the_same_scope() {
    let sonar = sonar_with(CLOUD, &["A", "B"]);
    let gateway = holding_shop(&sonar);
    let ids = members(&gateway, "shop", &["key", "id"]);
    sonar.edit(|model| "trunk".clone_into(&mut model.project_mut("shop").branches[0].name));
    sync(&gateway);
    assert_eq!(branches(&gateway, "acme"), ["trunk"]);
    assert_eq!(members(&gateway, "shop", &["key", "id"]), ids);
    assert_eq!(states(&gateway, "shop"), ["A open", "B open"]);
}

// --- How much is asked and written ---

#[test]
fn a_sync_without_news_writes_no_change_and_asks_little() {
    for mode in [CLOUD, NEWEST_SERVER] {
        let sonar = sonar_with(mode, &[]);
        sonar.edit(|model| model.add_issues("shop", "main", 600));
        let gateway = holding_shop(&sonar);
        let shown = |gateway: &Gateway| {
            let id = text(&inventory(gateway, "shop")[0], "id");
            let mut detail = gateway.json(&["finding", "show", &id]);
            // It tells of the last read, not of the finding.
            detail.as_object_mut().unwrap().remove("last_seen_at");
            detail
        };
        let before = shown(&gateway);
        sonar.forget_requests();
        sync(&gateway);
        assert_eq!(shown(&gateway), before);
        let requests = sonar.requests();
        assert_eq!(count(&requests, "/api/issues/search"), 2, "600 issues are two pages");
        assert_eq!(count(&requests, "/api/rules"), 0);
        let hotspots = usize::from(mode != CLOUD);
        assert_eq!(count(&requests, "/api/hotspots"), hotspots);
        // The branches are asked for to find new ones, and again to know that this one is still there.
        assert_eq!(count(&requests, "/api/project_branches/list"), 2);
        assert_eq!(requests.len(), 4 + hotspots, "{requests:#?}");
    }
}

#[test]
fn a_first_import_asks_for_pages_and_rules_and_little_else() {
    let sonar = sonar_with(CLOUD, &[]);
    sonar.edit(|model| model.add_issues("shop", "main", 2_000));
    let gateway = holding_shop(&sonar);
    assert_eq!(gateway.json(&["finding", "list", "--limit", "1"])["total"], 2_000);
    let requests = sonar.requests();
    assert_eq!(count(&requests, "/api/issues/search"), 4);
    let mut rules: Vec<_> =
        requests.iter().filter_map(|call| call.param("key").filter(|_| call.path == "/api/rules/show")).collect();
    let asked = rules.len();
    rules.sort_unstable();
    rules.dedup();
    assert_eq!((asked, rules.len()), (60, 60), "each rule is read once");
    assert!(requests.len() <= 60 + 4 + 6, "{} requests", requests.len());
}

#[test]
fn a_rules_text_is_read_once_and_shown_with_its_findings() {
    let sonar = sonar_with(CLOUD, &["A"]);
    let gateway = holding_shop(&sonar);
    sonar.edit(|model| {
        model.add_project("acme", "store", "Store");
        model.add_issue("store", "main", vulnerability("X"));
    });
    import(&gateway, "acme", &["store"]);
    assert_eq!(count(&sonar.requests(), "/api/rules/show"), 1, "the second project needs no other read");
    let shown = gateway.json(&["finding", "show", &text(&finding(&gateway, "store", "X"), "id")]);
    assert_eq!(shown["title"], "Database queries should not be vulnerable to injection attacks");
    assert_eq!(shown["cwe"], serde_json::json!([20, 89]));
    assert!(text(&shown, "rule_description").contains("Noncompliant code example"));
}

#[test]
fn a_rule_that_sonar_does_not_know_leaves_the_message_as_title() {
    let sonar = sonar_with(CLOUD, &[]);
    sonar.edit(|model| {
        let issue = Issue::external("trivy", "CVE-2026-1", "openssl is out of date").with_key("E");
        model.add_issue("shop", "main", issue);
        model.rules.remove("external_trivy:CVE-2026-1");
    });
    let gateway = holding_shop(&sonar);
    let shown = finding(&gateway, "shop", "E");
    assert_eq!(
        (&shown["title"], &shown["rule"], &shown["path"], &shown["line"], &shown["cwe"]),
        (
            &"openssl is out of date".into(),
            &"external_trivy:CVE-2026-1".into(),
            &Value::Null,
            &Value::Null,
            &Value::Array(vec![])
        )
    );
    sonar.forget_requests();
    sync(&gateway);
    assert_eq!(count(&sonar.requests(), "/api/rules"), 0, "it is not asked for at every sync");
    // Once it is known it is shown, but that is not worth an early question.
    sonar.edit(|model| {
        model.rules.insert("external_trivy:CVE-2026-1".to_owned(), Rule::unknown("external_trivy:CVE-2026-1"))
    });
    assert_eq!(finding(&gateway, "shop", "E")["title"], "openssl is out of date");
}

#[test]
fn a_token_that_sees_some_projects_lists_those() {
    let sonar = sonar_with(CLOUD, &["A"]);
    sonar.edit(|model| {
        model.add_project("acme", "secret", "Secret");
        model.add_token("squ_some", Browse::Projects(vec!["shop".to_owned()]));
    });
    let gateway = Gateway::start();
    crate::support::connect_with(&gateway, &sonar, "squ_some");
    let list = gateway.json(&["project", "list", "acme"]);
    assert_eq!(list["projects"].as_array().unwrap().len(), 1);
    gateway.json(&["project", "import", "acme", "--all", "--wait"]);
    assert_eq!(findings(&gateway, &ALL_STATES).len(), 1);
}
