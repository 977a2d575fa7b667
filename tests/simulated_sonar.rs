//! The simulated SonarQube keeps to what is known of the real one.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use support::sonar::{
    Change, Fault, Hotspot, HotspotResolution, Issue, Mode, Moment, Severity, Sonar, Target, Twist, When, signature,
};

const NEW_SERVER: Mode = Mode::Server { version: "2026.3.0.1", mqr: true };
const OLD_SERVER: Mode = Mode::Server { version: "9.9.0.65466", mqr: false };

#[test]
fn a_search_refuses_what_lies_beyond_the_window() {
    let sonar = server_with_issues(10);
    let refused = |query: &str| {
        let (status, body) = get(&sonar, &format!("/api/issues/search?{query}"));
        (status, body["errors"][0]["msg"].as_str().expect("an error has a message").to_owned())
    };
    assert_eq!(refused("ps=501"), (400, "'ps' value (501) must be less than 500".to_owned()));
    assert_eq!(
        refused("p=21&ps=500"),
        (400, "Can return only the first 10000 results. 10500th result asked.".to_owned())
    );
    assert_eq!(get(&sonar, "/api/issues/search?p=20&ps=500").0, 200);
    assert_eq!(
        refused("types=SECURITY_HOTSPOT"),
        (
            400,
            "Value of parameter 'types' (SECURITY_HOTSPOT) must be one of: [CODE_SMELL, BUG, VULNERABILITY]".to_owned()
        )
    );
    assert_eq!(refused("type=BUG").0, 400);
}

#[test]
fn cloud_counts_to_the_window_and_a_server_to_the_end() {
    for (mode, total, keys) in [(Mode::Cloud, 10_000, "componentKeys"), (NEW_SERVER, 10_500, "components")] {
        let sonar = Sonar::start(mode);
        sonar.edit(|model| {
            model.add_project("org", "p", "P");
            model.add_issues("p", "main", 10_500);
            model.add_code_smells("p", "main", 10);
        });
        let path = format!("/api/issues/search?{keys}=p&types=VULNERABILITY&p=20&ps=500&facets=types");
        let (_, page) = get(&sonar, &path);
        assert_eq!(counts(&page, "types")["VULNERABILITY"], 10_500);
        assert_eq!((&page["total"], &page["paging"]["total"]), (&total.into(), &total.into()));
        assert_eq!(page["issues"].as_array().map(Vec::len), Some(500));
    }
}

#[test]
fn pages_after_the_first_are_served_from_the_same_result() {
    let sonar = server_with_issues(100_000);
    let mut seen = std::collections::HashSet::new();
    for page in 1..=20 {
        let (status, body) = get(&sonar, &format!("/api/issues/search?components=p&ps=500&p={page}"));
        assert_eq!(status, 200);
        seen.extend(body["issues"].as_array().expect("a list").iter().map(|one| one["key"].to_string()));
    }
    assert_eq!(seen.len(), 10_000);
}

#[test]
fn a_facet_ignores_its_own_filter() {
    let sonar = Sonar::start(NEW_SERVER);
    sonar.edit(|model| {
        model.add_project("", "p", "P");
        model.add_issue("p", "main", Issue::vulnerability("java:S3649", "src/a.java", 1));
        model.add_issue("p", "main", Issue::vulnerability("java:S5145", "src/a.java", 2));
        model.add_issue("p", "main", Issue::smell_with_security_impact("java:S4423", "src/b.java", 3));
        model.add_code_smells("p", "main", 1);
    });
    let facet = |query: &str, name: &str, value: &str| {
        let (_, body) = get(&sonar, &format!("/api/issues/search?components=p&{query}"));
        let facets = body["facets"].as_array().expect("a list");
        let facet = facets.iter().find(|one| one["property"] == name).expect("the facet asked for");
        let values = facet["values"].as_array().expect("a list").iter();
        values.filter(|one| one["val"] == value).map(|one| one["count"].as_u64().expect("a number")).sum::<u64>()
    };
    let query = "severities=BLOCKER&types=VULNERABILITY&facets=severities,types,files";
    assert_eq!(facet(query, "severities", "MINOR"), 1);
    assert_eq!(facet(query, "types", "VULNERABILITY"), 1);
    assert_eq!(facet(query, "files", "src/b.java"), 0);
    let query = "impactSoftwareQualities=SECURITY&impactSeverities=BLOCKER&facets=impactSeverities";
    assert_eq!(facet(query, "impactSeverities", "LOW"), 1);
    assert_eq!(facet(query, "impactSeverities", "MEDIUM"), 0);
    assert_eq!(get(&sonar, "/api/issues/search?components=p&facets=issueStatuses").0, 400);
}

#[test]
fn a_creation_date_may_be_a_start_but_not_in_the_future() {
    let sonar = Sonar::start(NEW_SERVER);
    sonar.edit(|model| {
        model.add_project("", "p", "P");
        let issue = Issue::vulnerability("java:S3649", "src/a.java", 1);
        model.add_issue("p", "main", issue.created_at(1_700_000_000));
    });
    let total = |query: &str| get(&sonar, &format!("/api/issues/search?components=p&{query}")).1["total"].clone();
    assert_eq!(total("createdAfter=2023-11-15T00:13:20%2B0200"), 1);
    assert_eq!(total("createdBefore=2023-11-15T00:13:20%2B0200"), 0);
    assert_eq!(total("createdBefore=2023-11-15"), 1);
    assert_eq!(total("createdAfter=2023-11-14T22:13:20%2B0000&createdBefore=2023-11-14T22:13:21%2B0000"), 1);
    assert_eq!(total("createdAfter=2023-11-14T22:13:21%2B0000"), 0);
    assert_eq!(total("createdAt=2023-11-14T22:13:20%2B0000"), 1);
    for wrong in [
        "createdAfter=2999-01-01",
        "createdAfter=2023-11-15&createdBefore=2023-11-15T00:00:00%2B0200",
        "createdAfter=2023-11-15T00:13:20%2B02:00",
        "createdAfter=2023-11-15T00:13:20+0200",
    ] {
        assert_eq!(get(&sonar, &format!("/api/issues/search?components=p&{wrong}")).0, 400, "{wrong}");
    }
    // The present second has begun, so it is no future.
    sonar.edit(|model| model.freeze_clock(Some(1_700_000_000)));
    assert_eq!(total("createdAfter=2023-11-14T22:13:20%2B0000"), 1);
    assert_eq!(get(&sonar, "/api/issues/search?components=p&createdAfter=2023-11-14T22:13:21%2B0000").0, 400);
}

#[test]
fn every_filter_keeps_what_it_names() {
    let sonar = Sonar::start(NEW_SERVER);
    sonar.edit(|model| {
        model.add_project("", "p", "P");
        for (key, rule, path) in [
            ("a", "java:S3649", "src/a/A.java"),
            ("b", "java:S5145", "src/a/B.java"),
            ("c", "java:S4423", "src/b/A.java"),
            ("d", "java:S4423", "pom.xml"),
        ] {
            model.add_issue("p", "main", Issue::vulnerability(rule, path, 1).with_key(key));
        }
        model.mark_false_positive("b");
        model.accept("c");
        model.fix("d");
    });
    let found = |query: &str| {
        let (status, page) = get(&sonar, &format!("/api/issues/search?components=p&s=FILE_LINE&{query}"));
        assert_eq!(status, 200, "{query}: {page}");
        let mut keys = keys(&page["issues"]);
        keys.sort_unstable();
        assert_eq!(page["total"], keys.len(), "{query}");
        keys.concat()
    };
    for (query, keys) in [
        ("severities=MINOR,CRITICAL", "bcd"),
        ("impactSoftwareQualities=SECURITY&impactSeverities=BLOCKER,LOW", "ab"),
        ("rules=java:S4423", "cd"),
        ("files=src/b/A.java,pom.xml", "cd"),
        ("directories=src/a", "ab"),
        ("issueStatuses=OPEN,FALSE_POSITIVE", "ab"),
        ("issueStatuses=ACCEPTED,FIXED", "cd"),
        ("statuses=OPEN,RESOLVED", "abc"),
        ("statuses=CLOSED", "d"),
        ("resolved=false", "a"),
        ("resolutions=FALSE-POSITIVE,WONTFIX", "bc"),
        ("issues=a,d", "ad"),
        ("rules=java:S4423&statuses=RESOLVED", "c"),
    ] {
        assert_eq!(found(query), keys, "{query}");
    }
}

#[test]
fn a_facet_lists_a_hundred_values_and_those_asked_for() {
    let sonar = server_with_issues(20_000);
    let page = |query: &str| get(&sonar, &format!("/api/issues/search?components=p&ps=1&{query}")).1;
    let all = page("facets=statuses,rules,files,directories");
    for (name, values, sum) in [("rules", 60, 20_000), ("directories", 80, 20_000), ("statuses", 5, 20_000)] {
        let counts = counts(&all, name);
        assert_eq!((counts.len(), counts.values().sum::<u64>()), (values, sum), "{name}");
    }
    let files = counts(&all, "files");
    assert_eq!(files.len(), 100);
    let rare = sonar.edit(|model| {
        let branch = model.branch("p", "main").expect("every project has a main branch");
        let paths = branch.issues().iter().filter_map(|issue| issue.path.clone());
        paths.into_iter().find(|path| !files.contains_key(path)).expect("there are more than a hundred files")
    });
    let chosen = page(&format!("facets=files&files={rare}"));
    let facet = counts(&chosen, "files");
    assert_eq!((facet.len(), facet[&rare]), (101, chosen["total"].as_u64().expect("a number")));
    // Its own filter is ignored, so the others are counted as before.
    assert!(files.iter().all(|(path, count)| facet[path] == *count));
}

#[test]
fn an_unknown_project_has_no_issues_but_no_branches_either() {
    let sonar = server_with_issues(1);
    assert_eq!(get(&sonar, "/api/issues/search?components=nowhere").1["total"], 0);
    assert_eq!(get(&sonar, "/api/project_branches/list?project=nowhere").0, 404);
    assert_eq!(get(&sonar, "/api/components/show?component=nowhere").0, 404);
}

#[test]
fn a_bad_token_is_answered_without_a_word() {
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| model.add_token("old", support::sonar::Browse::All).expires = Some(1_700_000_000));
    for token in ["wrong", "old"] {
        let (status, content_type, body) = raw_get(&sonar, "/api/issues/search", token);
        assert_eq!((status, content_type, body.as_str()), (401, None, ""));
        let (status, content_type, body) = raw_get(&sonar, "/api/authentication/validate", token);
        assert_eq!((status, body.as_str()), (200, r#"{"valid":false}"#));
        assert_eq!(content_type.as_deref(), Some("application/json;charset=ISO-8859-1"));
    }
}

#[test]
fn a_token_sees_only_its_projects() {
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        model.add_project("org", "seen", "Seen");
        model.add_project("org", "hidden", "Hidden");
        model.add_token("some", support::sonar::Browse::Projects(vec!["seen".to_owned()]));
    });
    let (_, _, list) = raw_get(&sonar, "/api/components/search?organization=org", "some");
    assert!(list.contains("seen") && !list.contains("hidden"), "{list}");
    assert_eq!(raw_get(&sonar, "/api/project_branches/list?project=hidden", "some").0, 404);
    assert_eq!(raw_get(&sonar, "/api/components/show?component=hidden", "some").0, 403);
    let (status, error) = get(&sonar, "/api/components/search");
    assert_eq!((status, &error["errors"][0]["msg"]), (400, &"The 'organization' parameter is missing".into()));
    let v2 = raw(&sonar.api_url(), "/organizations/organizations?excludeEligibility=true", sonar.token(), None);
    let v2: Value = serde_json::from_str(&v2.2).expect("an answer is JSON");
    assert_eq!(v2[0]["key"], "org");
}

#[test]
fn an_old_server_speaks_only_the_older_taxonomy() {
    let (new, old) = (Sonar::start(NEW_SERVER), Sonar::start(OLD_SERVER));
    for sonar in [&new, &old] {
        sonar.edit(|model| {
            model.add_project("", "p", "P");
            model.add_issue("p", "main", Issue::vulnerability("java:S3649", "src/a.java", 12));
        });
    }
    let issue = |sonar: &Sonar| get(sonar, "/api/issues/search?componentKeys=p").1["issues"][0].clone();
    let (new_issue, old_issue) = (issue(&new), issue(&old));
    assert_eq!((&new_issue["type"], &new_issue["issueStatus"]), (&"VULNERABILITY".into(), &"OPEN".into()));
    assert_eq!(new_issue["impacts"][0]["severity"], "BLOCKER");
    assert_eq!((old_issue.get("impacts"), old_issue.get("issueStatus")), (None, None));
    assert_eq!(get(&old, "/api/issues/search?impactSoftwareQualities=SECURITY").0, 400);
    assert_eq!(get(&old, "/api/issues/search?components=p").0, 400);
    assert_eq!(get(&old, "/api/v2/clean-code-policy/mode").0, 404);
    assert_eq!(get(&new, "/api/v2/clean-code-policy/mode").1["mode"], "MQR");
    assert_eq!(get(&old, "/api/hotspots/search?project=p").0, 400);
    assert_eq!(raw_get(&old, "/api/server/version", old.token()).2, "9.9.0.65466");
}

#[test]
fn a_closed_hotspot_is_in_no_list() {
    let sonar = Sonar::start(NEW_SERVER);
    let (kept, closed) = sonar.edit(|model| {
        model.add_project("", "p", "P");
        let kept = model.add_hotspot("p", "main", Hotspot::new("java:S2245", "src/a.java", 3));
        let closed = model.add_hotspot("p", "main", Hotspot::new("java:S4502", "src/a.java", 4));
        model.review_hotspot(&kept, HotspotResolution::Safe);
        model.close_hotspot(&closed);
        (kept, closed)
    });
    let (_, page) = get(&sonar, "/api/hotspots/search?project=p&status=REVIEWED&resolution=SAFE");
    assert_eq!((&page["paging"]["total"], &page["hotspots"][0]["key"]), (&1.into(), &kept.as_str().into()));
    assert_eq!(get(&sonar, &format!("/api/hotspots/search?hotspots={kept},{closed}")).1["paging"]["total"], 1);
    assert_eq!(get(&sonar, "/api/hotspots/search?project=p&resolution=SAFE").0, 400);
    assert_eq!(get(&sonar, "/api/hotspots/search?project=nowhere").0, 404);
    assert_eq!(get(&sonar, &format!("/api/hotspots/show?hotspot={closed}")).0, 404);
}

#[test]
fn a_shifted_line_leaves_the_update_date_and_a_fix_moves_it() {
    let sonar = Sonar::start(NEW_SERVER);
    let key = sonar.edit(|model| {
        model.add_project("", "p", "P");
        let issue = Issue::vulnerability("java:S3649", "src/a.java", 12).created_at(1_700_000_000);
        model.add_issue("p", "main", issue)
    });
    let look = || get(&sonar, "/api/issues/search?components=p").1["issues"][0].clone();
    let before = look();
    sonar.analyse("p", "main", |analysis| analysis.shift_line(&key, 14));
    let shifted = look();
    assert_eq!((&shifted["line"], &shifted["updateDate"]), (&14.into(), &before["updateDate"]));
    sonar.analyse("p", "main", |analysis| analysis.change(&key, Change::Fix));
    let fixed = look();
    assert_eq!(
        (&fixed["status"], &fixed["resolution"], &fixed["issueStatus"]),
        (&"CLOSED".into(), &"FIXED".into(), &"FIXED".into())
    );
    let branches = get(&sonar, "/api/project_branches/list?project=p").1;
    assert_eq!(fixed["closeDate"], branches["branches"][0]["analysisDate"]);
    sonar.edit(|model| model.purge(&key));
    assert_eq!(get(&sonar, "/api/issues/search?components=p").1["total"], 0);
}

#[test]
fn a_webhook_is_html_safe_signed_and_the_same_at_both_levels() {
    let secret = "shared-webhook-secret-0123456789";
    let sonar = Sonar::start(Mode::Cloud);
    let receiver = Receiver::start(2, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    sonar.edit(|model| {
        model.add_project("org", "p", "It's <P> & Q=R");
        model.add_webhook(None, &receiver.url, Some(secret));
        model.add_webhook(Some("p"), &receiver.url, None);
        model.settings.public_url = "https://sonarcloud.io".to_owned();
        model.freeze_clock(Some(1_700_000_000));
    });
    let task = sonar.analyse("p", "main", |analysis| {
        analysis.revision = None;
        analysis.property("sonar.analysis.note", "ü");
        analysis.property("sonar.login", "never told");
        analysis.open(Issue::vulnerability("java:S3649", "src/a.java", 12));
    });
    let delivered = sonar.wait_deliveries(2);
    let calls = receiver.join();
    let expected = format!(
        concat!(
            r#"{{"serverUrl":"https://sonarcloud.io","taskId":"{}","status":"SUCCESS","#,
            r#""analysedAt":"2023-11-15T00:13:20+0200","changedAt":"2023-11-15T00:13:20+0200","#,
            r#""project":{{"key":"p","name":"It\u0027s \u003cP\u003e \u0026 Q\u003dR","#,
            r#""url":"https://sonarcloud.io/dashboard?id\u003dp"}},"#,
            r#""branch":{{"name":"main","type":"LONG","isMain":true,"#,
            r#""url":"https://sonarcloud.io/dashboard?id\u003dp"}},"#,
            r#""qualityGate":{{"name":"Sonar way","status":"ERROR","conditions":["#,
            r#"{{"metric":"security_rating","operator":"GREATER_THAN","value":"5","status":"ERROR","errorThreshold":"1"}},"#,
            r#"{{"metric":"new_coverage","operator":"LESS_THAN","status":"NO_VALUE","errorThreshold":"80"}}]}},"#,
            r#""properties":{{"sonar.analysis.note":"ü"}}}}"#
        ),
        task
    );
    for call in &calls {
        assert_eq!(call.body, expected);
        assert!(call.head.contains("x-sonarqube-project: p\r\n"), "{}", call.head);
        assert!(call.head.contains("content-type: application/json; charset=utf-8\r\n"), "{}", call.head);
    }
    let signed = format!("x-sonar-webhook-hmac-sha256: {}\r\n", signature(secret, expected.as_bytes()));
    assert_eq!(calls.iter().filter(|call| call.head.contains(&signed)).count(), 1);
    assert_eq!(calls.iter().filter(|call| call.head.contains("hmac")).count(), 1);
    assert!(delivered.iter().all(|one| one.status == Some(200)), "{delivered:?}");
    let log = format!("/api/webhooks/deliveries?ceTaskId={task}");
    assert_eq!(get(&sonar, &log).0, 403);
    assert!(raw_get(&sonar, &log, sonar.admin_token()).2.contains(r#""total":2"#));
}

#[test]
fn a_signature_agrees_with_a_published_one() {
    let body = concat!(
        r##"{"serverUrl":"http://foo","taskId":"#1","status":"FAILED","analysedAt":"2017-07-14T04:40:00+0200","##,
        r##""changedAt":"2017-07-14T04:40:00+0200","project":{"key":"P1","name":"Project One","##,
        r##""url":"http://foo/dashboard?id\u003dP1"},"properties":{}}"##
    );
    // Computed with `openssl dgst -sha256 -hmac`.
    let expected = "af8f0068c4365d246a51acbfa9c0dae72c2bc86b45bc51bcbdfd39c8ec3345bd";
    assert_eq!(signature("shared-webhook-secret-0123456789", body.as_bytes()), expected);
}

#[test]
fn a_person_s_change_sends_a_webhook_only_when_it_turns_the_gate() {
    let sonar = Sonar::start(NEW_SERVER);
    let receiver = Receiver::start(3, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    let keys = sonar.edit(|model| {
        model.add_project("", "p", "P");
        model.add_pull_request("p", "7", "feature", "main");
        model.add_webhook(None, &receiver.url, None);
        ["a", "b"].map(|key| {
            let issue = Issue::vulnerability("java:S3649", "src/a.java", 12).with_key(key);
            model.add_issue("p", "main", issue.with_severity(Severity::Critical))
        })
    });
    sonar.analyse("p", "main", |_| {});
    sonar.wait_deliveries(1);
    assert!(!sonar.triage("p", "main", |model| model.accept(&keys[0])));
    assert!(sonar.triage("p", "main", |model| model.mark_false_positive(&keys[1])));
    let delivered = sonar.wait_deliveries(2);
    let event: Value = serde_json::from_slice(&delivered[1].body).expect("a body is JSON");
    assert_eq!((event.get("taskId"), &event["qualityGate"]["status"]), (None, &"OK".into()));
    sonar.analyse("p", Target::PullRequest("7"), |_| {});
    let delivered = sonar.wait_deliveries(3);
    let event: Value = serde_json::from_slice(&delivered[2].body).expect("a body is JSON");
    assert_eq!((&event["branch"]["name"], &event["branch"]["type"]), (&"7".into(), &"PULL_REQUEST".into()));
    receiver.join();
}

#[test]
fn a_redirect_is_followed_once_as_a_post() {
    let sonar = Sonar::start(NEW_SERVER);
    let second = Receiver::start(1, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let answer =
        format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", second.url);
    let first = Receiver::start(1, &answer);
    sonar.edit(|model| {
        model.add_project("", "p", "P");
        model.add_webhook(Some("p"), &first.url.replace("://", "://user:pass@"), None);
    });
    sonar.send_failed_task("p", "main");
    assert_eq!(sonar.wait_deliveries(1)[0].status, Some(200));
    let (first, second) = (first.join().remove(0), second.join().remove(0));
    assert!(second.head.starts_with("POST "), "{}", second.head);
    assert!(second.body.contains(r#""status":"FAILED""#) && !second.body.contains("qualityGate"));
    assert_eq!(first.body, second.body);
    assert!(first.head.contains("authorization: Basic dXNlcjpwYXNz\r\n"), "{}", first.head);
}

#[test]
fn a_webhook_is_made_by_an_administrator_and_with_a_long_secret() {
    let sonar = Sonar::start(NEW_SERVER);
    let create = |token: &str, form: &str| raw(&sonar.url(), "/api/webhooks/create", token, Some(form));
    let good = "name=Hydrophone&url=http%3A%2F%2Fgateway.example.com%2Fhook&secret=0123456789abcdef";
    assert_eq!(create(sonar.token(), good).0, 403);
    assert_eq!(create(sonar.admin_token(), &good.replace("abcdef", "")).0, 400);
    assert_eq!(create(sonar.admin_token(), good).0, 200);
    sonar.edit(|model| model.settings.validate_webhooks = true);
    assert_eq!(create(sonar.admin_token(), &good.replace("gateway.example.com", "10.0.0.7")).0, 400);
    let list = raw_get(&sonar, "/api/webhooks/list", sonar.admin_token()).2;
    assert!(list.contains(r#""hasSecret":true"#) && !list.contains("0123456789abcdef"), "{list}");
}

#[test]
fn a_fault_strikes_as_often_as_asked() {
    let sonar = server_with_issues(50);
    sonar.fault("api/issues", Fault::too_many_requests(1).with_header("Retry-After", "7"));
    sonar.fault("api/issues", Fault::CutBody { times: 1 });
    let agent = agent(None);
    let url = format!("{}/api/issues/search?components=p", sonar.url());
    let call = || agent.get(&url).header("Authorization", format!("Bearer {}", sonar.token())).call();
    let mut limited = call().expect("an answer");
    assert_eq!((limited.status().as_u16(), limited.headers()["retry-after"].as_bytes()), (429, &b"7"[..]));
    limited.body_mut().read_to_string().expect("a whole body");
    let mut cut = call().expect("the head of an answer");
    assert_eq!(cut.status(), 200);
    cut.body_mut().read_to_string().expect_err("the body breaks off");
    assert_eq!(call().expect("an answer").status(), 200);
    assert_eq!(sonar.requests().iter().map(|call| call.status).collect::<Vec<_>>(), [429, 200, 200]);
}

#[test]
fn a_fault_keeps_its_rhythm_until_it_is_cleared() {
    let sonar = server_with_issues(1);
    let ask = || raw_get(&sonar, "/api/issues/search?components=p", sonar.token());
    let statuses = |count: usize| (0..count).map(|_| ask().0).collect::<Vec<_>>();
    sonar.fault_every("api/issues", 3, Fault::internal_error(1));
    assert_eq!(statuses(7), [200, 200, 500, 200, 200, 500, 200]);
    assert_eq!(get(&sonar, "/api/components/show?component=p").0, 200);
    sonar.clear_faults();
    sonar.fault_always("api/issues", Fault::indexing(1));
    assert_eq!(statuses(3), [503; 3]);
    let told = ask();
    // The very words of an index that is built anew.
    sonar.clear_faults();
    sonar.edit(|model| model.settings.indexing = true);
    assert_eq!(ask(), told);
    sonar.edit(|model| model.settings.indexing = false);
    sonar.fault_by(When::Times(2), |call| call.param("components") == Some("p"), Fault::unauthorized(1));
    assert_eq!((ask(), ask()), ((401, None, String::new()), (401, None, String::new())));
    sonar.fault_always("api/issues", Fault::html(200, 1));
    let (status, content_type, body) = ask();
    assert_eq!((status, content_type.as_deref()), (200, Some("text/html")));
    assert!(body.starts_with("<!DOCTYPE html>"), "{body}");
    sonar.clear_faults();
    assert_eq!(statuses(1), [200]);
}

#[test]
fn a_connection_is_reset_before_an_answer_or_within_it() {
    let sonar = server_with_issues(50);
    let ask = || {
        let address = sonar.url().replace("http://", "");
        let mut stream = std::net::TcpStream::connect(&address).expect("a listener");
        let head = format!("GET /api/issues/search?components=p HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
        let request = format!("{head}Authorization: Bearer {}\r\n\r\n", sonar.token());
        stream.write_all(request.as_bytes()).expect("the server listens");
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer).map_err(|error| error.kind());
        (ended.err(), String::from_utf8(answer).expect("an answer is UTF-8"))
    };
    sonar.fault("api/issues", Fault::Reset { times: 1 });
    sonar.fault("api/issues", Fault::ResetBody { times: 1 });
    let reset = Some(std::io::ErrorKind::ConnectionReset);
    assert_eq!(ask(), (reset, String::new()));
    let (ended, half) = ask();
    assert_eq!(ended, reset);
    let (ended, whole) = ask();
    assert_eq!(ended, None);
    let body_bytes = |answer: &str| answer.split_once("\r\n\r\n").expect("a whole head").1.len();
    assert_eq!(body_bytes(&half), body_bytes(&whole) / 2);
    assert_eq!(sonar.requests().iter().map(|call| call.status).collect::<Vec<_>>(), [0, 200, 200]);
}

#[test]
fn a_secure_connection_is_reset_too() {
    let sonar = Sonar::start_tls(NEW_SERVER);
    let agent = agent(sonar.ca_pem().as_deref());
    let url = format!("{}/api/components/search?qualifiers=TRK", sonar.url());
    let call = || agent.get(&url).header("Authorization", format!("Bearer {}", sonar.token())).call();
    sonar.fault("api/components", Fault::Reset { times: 1 });
    sonar.fault("api/components", Fault::ResetBody { times: 1 });
    call().expect_err("no answer");
    call().expect("the head of an answer").body_mut().read_to_string().expect_err("half a body");
    assert_eq!(call().expect("an answer").status(), 200);
}

#[test]
fn a_slow_answer_comes_in_pieces() {
    let sonar = server_with_issues(50);
    let ask = || raw_get(&sonar, "/api/issues/search?components=p", sonar.token());
    let whole = ask();
    let pause = Duration::from_millis(20);
    sonar.fault("api/issues", Fault::Drip { pieces: 5, pause, times: 1 });
    let start = std::time::Instant::now();
    assert_eq!(ask(), whole);
    assert!(start.elapsed() >= pause * 4);
    // A client that gives up in the middle does not keep the others waiting.
    sonar.fault("api/issues", Fault::Drip { pieces: 2, pause: Duration::from_hours(1), times: 1 });
    let url = format!("{}/api/issues/search?components=p", sonar.url());
    let agent = agent(None);
    let slow = agent.get(&url).header("Authorization", format!("Bearer {}", sonar.token()));
    let slow = slow.config().timeout_global(Some(Duration::from_millis(300))).build().call();
    slow.expect("the head of an answer").body_mut().read_to_string().expect_err("half a body");
    assert_eq!(ask(), whole);
}

#[test]
fn a_twisted_page_of_issues_keeps_its_form() {
    let sonar = server_with_issues(10);
    let page = |number: usize| {
        let query = format!("components=p&s=CREATION_DATE&facets=severities,rules&ps=4&p={number}");
        get(&sonar, &format!("/api/issues/search?{query}")).1
    };
    let right = [1, 2, 3].map(page);
    let rows = |pages: &[Value; 3]| pages.each_ref().map(|page| keys(&page["issues"]));
    let told = |page: &Value| {
        let sums = ["severities", "rules"].map(|name| counts(page, name).values().sum::<u64>());
        [page["total"].as_u64(), page["paging"]["total"].as_u64(), Some(sums[0]), Some(sums[1])]
    };
    let truth = rows(&right);
    assert_eq!(told(&right[0]), [Some(10); 4]);
    let twisted = |twist: Twist| {
        sonar.fault_always("api/issues/search", Fault::twist(twist, 1));
        let pages = [1, 2, 3].map(page);
        sonar.clear_faults();
        for (right, twisted) in right.iter().zip(&pages) {
            let members = |page: &Value| page.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
            if twist != Twist::FacetsAbsent {
                assert_eq!(members(twisted), members(right), "{twist:?}");
            }
            assert_eq!((&twisted["p"], &twisted["paging"]["pageIndex"]), (&right["p"], &right["p"]), "{twist:?}");
        }
        pages
    };

    let none = [const { Vec::<String>::new() }; 3];
    let pages = twisted(Twist::Empty);
    assert_eq!((rows(&pages), told(&pages[0])), (none.clone(), [Some(0), Some(0), Some(10), Some(10)]));
    let pages = twisted(Twist::EmptyThroughout);
    assert_eq!((rows(&pages), told(&pages[0])), (none, [Some(0); 4]));
    let pages = twisted(Twist::Undercount { by: 3 });
    assert_eq!((rows(&pages), told(&pages[0])), (truth.clone(), [Some(7); 4]));
    let pages = twisted(Twist::Shortened { by: 3 });
    let short = [truth[0].clone(), truth[1][..3].to_vec(), Vec::new()];
    assert_eq!((rows(&pages), told(&pages[0])), (short, [Some(7); 4]));
    let pages = twisted(Twist::RowsMissing { rows: 1 });
    let missing = [&truth[0][..3], &truth[1][..3], &truth[2][..1]].map(<[String]>::to_vec);
    assert_eq!((rows(&pages), told(&pages[0])), (missing, [Some(10); 4]));
    let pages = twisted(Twist::PageRepeated);
    let repeated = [0, 0, 1].map(|number: usize| truth[number].clone());
    assert_eq!((rows(&pages), told(&pages[2])), (repeated, [Some(10); 4]));
    let pages = twisted(Twist::RowRepeated);
    let mut shifted = truth.clone();
    shifted[1][0].clone_from(&truth[0][3]);
    shifted[2][0].clone_from(&truth[1][3]);
    assert_eq!((rows(&pages), told(&pages[2])), (shifted, [Some(10); 4]));
    let pages = twisted(Twist::FacetsEmpty);
    assert_eq!((rows(&pages), &pages[0]["facets"]), (truth.clone(), &serde_json::json!([])));
    let pages = twisted(Twist::FacetsAbsent);
    assert_eq!((rows(&pages), pages[0].get("facets")), (truth, None));
    assert_eq!([1, 2, 3].map(page), right);
}

#[test]
fn a_twisted_page_of_hotspots_keeps_its_form() {
    let sonar = Sonar::start(NEW_SERVER);
    sonar.edit(|model| {
        model.add_project("", "p", "P");
        model.add_hotspots("p", "main", 5);
    });
    let page = |number: usize| {
        let (_, page) = get(&sonar, &format!("/api/hotspots/search?project=p&ps=2&p={number}"));
        (page["paging"]["total"].as_u64().expect("a number"), keys(&page["hotspots"]))
    };
    let [(_, first), (_, second), (_, third)] = [1, 2, 3].map(page);
    let crossed = vec![first[1].clone(), second[1].clone()];
    for (twist, expected) in [
        (Twist::Empty, (0, vec![])),
        (Twist::EmptyThroughout, (0, vec![])),
        (Twist::Undercount { by: 2 }, (3, second.clone())),
        (Twist::Shortened { by: 2 }, (3, second[..1].to_vec())),
        (Twist::RowsMissing { rows: 1 }, (5, second[..1].to_vec())),
        (Twist::PageRepeated, (5, first)),
        (Twist::RowRepeated, (5, crossed)),
        (Twist::FacetsAbsent, (5, second.clone())),
    ] {
        sonar.fault_always("api/hotspots/search", Fault::twist(twist, 1));
        assert_eq!(page(2), expected, "{twist:?}");
        sonar.clear_faults();
    }
    assert_eq!(page(3), (5, third));
}

#[test]
fn a_held_index_knows_nothing_newer_until_it_is_released() {
    let sonar = Sonar::start(NEW_SERVER);
    let spot = Hotspot::new("java:S2245", "src/a.java", 3);
    sonar.edit(|model| {
        model.add_project("", "p", "P");
        model.add_branch("p", "next");
        model.add_issue("p", "main", Issue::vulnerability("java:S3649", "src/a.java", 1).with_key("a"));
        model.add_issue("p", "main", Issue::vulnerability("java:S3649", "src/a.java", 2).with_key("b"));
        model.add_issue("p", "next", Issue::vulnerability("java:S3649", "src/a.java", 1).with_key("c"));
        model.add_hotspot("p", "main", spot.clone().with_key("h"));
        model.hold_index("p");
    });
    let issues =
        |query: &str| keys(&get(&sonar, &format!("/api/issues/search?s=FILE_LINE&{query}")).1["issues"]).concat();
    let hotspots = |query: &str| keys(&get(&sonar, &format!("/api/hotspots/search?{query}")).1["hotspots"]).concat();
    let stale = || {
        assert_eq!(issues("components=p&resolved=false"), "ab");
        assert_eq!(issues("components=p&statuses=CLOSED"), "");
        assert_eq!(
            (issues("issues=a,n"), hotspots("project=p"), hotspots("hotspots=h,i")),
            ("a".into(), "h".into(), "h".into())
        );
        let facet = get(&sonar, "/api/issues/search?components=p&facets=rules").1;
        assert_eq!(counts(&facet, "rules")["java:S3649"], 2);
    };
    stale();
    let analysed = get(&sonar, "/api/project_branches/list?project=p").1["branches"][0]["analysisDate"].clone();
    sonar.analyse("p", "main", |analysis| {
        analysis.fix("a");
        analysis.purge("b");
        analysis.open(Issue::vulnerability("java:S3649", "src/new.java", 1).with_key("n"));
        analysis.close_hotspot("h");
        analysis.open_hotspot(spot.clone().with_key("i"));
    });
    stale();
    // What does not come from the index is current.
    assert_ne!(get(&sonar, "/api/project_branches/list?project=p").1["branches"][0]["analysisDate"], analysed);
    assert_eq!(get(&sonar, "/api/hotspots/show?hotspot=i").0, 200);
    sonar.edit(|model| {
        model.delete_branch("p", "next");
        model.add_branch("p", "later");
        model.add_issue("p", "later", Issue::vulnerability("java:S3649", "src/a.java", 1).with_key("l"));
    });
    assert_eq!(issues("components=p&branch=next"), "");
    assert_eq!(issues("components=p&branch=later"), "");
    sonar.edit(|model| model.rename_project("p", "q"));
    assert_eq!((issues("components=q"), issues("components=p")), ("ab".into(), String::new()));
    sonar.edit(|model| {
        model.release_index("p");
        model.release_index("q");
    });
    assert_eq!((issues("components=q"), hotspots("project=q")), ("an".into(), "i".into()));
    assert_eq!(issues("components=q&branch=later"), "l");
    sonar.edit(|model| {
        model.hold_index("q");
        model.delete_project("q");
        model.release_index("q");
    });
    assert_eq!((issues("components=q"), issues("issues=a")), (String::new(), String::new()));
}

#[test]
fn answers_tell_the_time_of_the_model() {
    let sonar = server_with_issues(1);
    let date = |path: &str| {
        let call = agent(None).get(format!("{}{path}", sonar.url())).header("Authorization", "Bearer wrong").call();
        call.expect("an answer").headers()["date"].to_str().expect("text").to_owned()
    };
    sonar.edit(|model| model.freeze_clock(Some(1_700_000_000)));
    assert_eq!(date("/api/server/version"), "Tue, 14 Nov 2023 22:13:20 GMT");
    sonar.fault("api/", Fault::too_many_requests(1));
    sonar.fault("api/", Fault::too_many_requests(1).with_header("Date", "Thu, 01 Jan 1970 00:00:00 GMT"));
    assert_eq!(date("/api/server/version"), "Tue, 14 Nov 2023 22:13:20 GMT");
    assert_eq!(date("/api/server/version"), "Thu, 01 Jan 1970 00:00:00 GMT");
}

#[test]
fn an_order_by_update_date_may_be_ignored() {
    let sonar = Sonar::start(NEW_SERVER);
    sonar.edit(|model| {
        model.add_project("", "p", "P");
        for (key, created) in [("a", 1_700_000_000), ("b", 1_600_000_000), ("c", 1_650_000_000)] {
            let issue = Issue::vulnerability("java:S3649", "src/a.java", 1).with_key(key);
            model.add_issue("p", "main", issue.created_at(created));
        }
        model.confirm("b");
    });
    let rows = |asc: bool| {
        let path = format!("/api/issues/search?components=p&s=UPDATE_DATE&asc={asc}");
        keys(&get(&sonar, &path).1["issues"]).concat()
    };
    assert_eq!((rows(true), rows(false)), ("cab".into(), "bac".into()));
    sonar.edit(|model| model.settings.sorts_by_update_date = false);
    assert_eq!((rows(true), rows(false)), ("bca".into(), "bca".into()));
}

#[test]
fn a_converted_hotspot_is_an_issue_at_the_same_place() {
    let sonar = Sonar::start(NEW_SERVER);
    sonar.edit(|model| {
        model.add_project("", "p", "P");
        for (line, key) in (1..).zip(["open", "safe", "known", "fixed"]) {
            model.add_hotspot("p", "main", Hotspot::new("java:S2245", "src/a.java", line).with_key(key));
        }
        model.review_hotspot("safe", HotspotResolution::Safe);
        model.review_hotspot("known", HotspotResolution::Acknowledged);
        model.review_hotspot("fixed", HotspotResolution::Fixed);
    });
    let before = get(&sonar, "/api/hotspots/search?project=p").1["hotspots"].clone();
    assert_eq!(get(&sonar, "/api/rules/show?key=java:S2245").1["rule"]["type"], "SECURITY_HOTSPOT");
    let converted =
        sonar.edit(|model| ["open", "safe", "known", "fixed"].map(|key| model.convert_hotspot(key, key == "safe")));
    assert_eq!(get(&sonar, "/api/rules/show?key=java:S2245").1["rule"]["type"], "VULNERABILITY");
    assert_eq!(get(&sonar, "/api/hotspots/search?project=p").1["paging"]["total"], 0);
    let query = "components=p&impactSoftwareQualities=SECURITY&types=VULNERABILITY&s=FILE_LINE";
    let after = get(&sonar, &format!("/api/issues/search?{query}")).1["issues"].clone();
    assert_eq!(keys(&after), converted);
    assert_eq!((converted[1].as_str(), converted[0] == "open"), ("safe", false));
    let states = [
        ("OPEN", None, "OPEN"),
        ("RESOLVED", Some("FALSE-POSITIVE"), "FALSE_POSITIVE"),
        ("RESOLVED", Some("WONTFIX"), "ACCEPTED"),
        ("RESOLVED", Some("FIXED"), "FIXED"),
    ];
    for (number, (status, resolution, issue_status)) in states.into_iter().enumerate() {
        let issue = &after[number];
        let hotspot =
            before.as_array().expect("a list").iter().find(|one| one["line"] == issue["line"]).expect("a hotspot");
        for member in ["component", "textRange", "message", "creationDate"] {
            assert_eq!(issue[member], hotspot[member], "{member}");
        }
        assert_eq!(issue["rule"], hotspot["ruleKey"]);
        assert_eq!((&issue["status"], &issue["issueStatus"]), (&status.into(), &issue_status.into()));
        assert_eq!(issue.get("resolution").and_then(Value::as_str), resolution);
    }
}

#[test]
fn a_failed_webhook_is_logged_with_the_class_of_its_exception() {
    let sonar = Sonar::start(NEW_SERVER);
    let secure = Sonar::start_tls(NEW_SERVER);
    let refusing = Receiver::start(1, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        format!("http://{}/hook", listener.local_addr().expect("a bound socket has an address"))
    };
    let mut sent = 0;
    let mut logged = |url: &str| {
        sonar.edit(|model| {
            model.webhooks.clear();
            model.add_webhook(None, url, None);
            if model.project("p").is_none() {
                model.add_project("", "p", "P");
            }
        });
        let task = sonar.analyse("p", "main", |_| {});
        sent += 1;
        sonar.wait_deliveries(sent);
        let log = admin_get(&sonar, &format!("/api/webhooks/deliveries?ceTaskId={task}"))["deliveries"][0].clone();
        let id = log["id"].as_str().expect("a delivery has an id");
        let delivery = admin_get(&sonar, &format!("/api/webhooks/delivery?deliveryId={id}"))["delivery"].clone();
        assert!(delivery["payload"].as_str().expect("text").contains(&task.0), "{delivery}");
        assert_eq!(log["success"], false);
        let error = delivery.get("errorStacktrace").map(|text| text.as_str().expect("text").to_owned());
        (log.get("httpStatus").and_then(Value::as_u64), error.unwrap_or_default(), log["durationMs"].clone())
    };
    let error = |class: &str| (None, class.to_owned());
    let mut short = |url: &str| {
        let (status, error, _) = logged(url);
        (status, error)
    };
    assert_eq!(short(&refusing.url), (Some(503), String::new()));
    assert_eq!(short(&nobody), error("java.net.ConnectException"));
    assert_eq!(short(&secure.url()), error("javax.net.ssl.SSLHandshakeException"));
    let unknown = "gateway.invalid";
    assert_eq!(short(&format!("http://{unknown}/")), error(&format!("java.net.UnknownHostException: {unknown}")));
    sonar.edit(|model| model.settings.validate_webhooks = true);
    let refused = "java.lang.IllegalArgumentException: Invalid URL: loopback and wildcard addresses are not allowed for \
                   webhooks.";
    assert_eq!(short(&nobody), error(refused));
    refusing.join();
}

#[test]
fn lost_webhooks_are_logged_as_timeouts_newest_first() {
    let sonar = Sonar::start(NEW_SERVER);
    let receiver = Receiver::start(1, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let hook = sonar.edit(|model| {
        model.add_project("", "p", "P");
        model.add_webhook(Some("p"), &receiver.url, None)
    });
    sonar.lose_webhooks(true);
    for lost in 1..=2 {
        sonar.analyse("p", "main", |_| {});
        assert_eq!(sonar.wait_deliveries(lost)[lost - 1].status, None);
    }
    sonar.lose_webhooks(false);
    sonar.analyse("p", "main", |_| {});
    sonar.wait_deliveries(3);
    assert_eq!(receiver.join().len(), 1);
    let page = |number: usize| admin_get(&sonar, &format!("/api/webhooks/deliveries?webhook={hook}&ps=2&p={number}"));
    let [first, second] = [1, 2].map(page);
    assert_eq!((&first["paging"]["total"], first["deliveries"].as_array().map(Vec::len)), (&3.into(), Some(2)));
    let success =
        [&first["deliveries"][0], &first["deliveries"][1], &second["deliveries"][0]].map(|one| &one["success"]);
    assert_eq!(success, [true, false, false]);
    let lost = &second["deliveries"][0];
    assert_eq!(lost.get("httpStatus"), None);
    assert!(lost["durationMs"].as_u64().expect("a number") >= 10_000, "{lost}");
    let id = lost["id"].as_str().expect("a delivery has an id");
    let delivery = admin_get(&sonar, &format!("/api/webhooks/delivery?deliveryId={id}"));
    assert_eq!(delivery["delivery"]["errorStacktrace"], "java.net.SocketTimeoutException");
}

#[test]
fn many_issues_of_one_second_are_spread_over_everything_else() {
    let sonar = Sonar::start(NEW_SERVER);
    let created = 1_719_466_194;
    let keys = sonar.edit(|model| {
        model.add_project("", "p", "P");
        let mut keys = model.add_issues_at("p", "main", 600, created);
        keys.extend(model.add_issues_at("p", "main", 300, created));
        keys.extend(model.add_issues_at("p", "main", 100, created + 1));
        keys
    });
    assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), 1000);
    let query = "createdAfter=2024-06-27T05:29:54%2B0000&createdBefore=2024-06-27T05:29:55%2B0000";
    let facets = "impactSoftwareQualities=SECURITY&facets=rules,severities,files&ps=1";
    let (_, page) = get(&sonar, &format!("/api/issues/search?components=p&{query}&{facets}"));
    assert_eq!((&page["total"], &page["issues"][0]["creationDate"]), (&900.into(), &"2024-06-27T07:29:54+0200".into()));
    assert_eq!((counts(&page, "rules").len(), counts(&page, "files").len()), (60, 100));
    assert!(counts(&page, "severities").values().all(|count| *count > 0));
    let places = sonar.edit(|model| {
        let branch = model.branch("p", "main").expect("every project has a main branch");
        branch.issues().iter().map(|issue| issue.message.clone()).collect::<std::collections::HashSet<_>>().len()
    });
    assert_eq!(places, 1000);
}

#[test]
fn a_held_request_sees_the_model_of_its_moment() {
    let sonar = Arc::new(server_with_issues(1));
    for (moment, total) in [(Moment::BeforeReading, 2), (Moment::BeforeAnswering, 2)] {
        let hold = sonar.hold_when(moment, |call| call.param("components") == Some("p"));
        let asking = Arc::clone(&sonar);
        let asked = std::thread::spawn(move || get(&asking, "/api/issues/search?components=p").1["total"].clone());
        hold.wait_held(1);
        sonar.edit(|model| model.add_issue("p", "main", Issue::vulnerability("java:S3649", "src/new.java", 1)));
        hold.release();
        assert_eq!(asked.join().expect("the caller ends well"), total, "{moment:?}");
    }
}

#[test]
fn an_https_server_is_known_by_its_private_authority() {
    let sonar = Sonar::start_tls(Mode::Cloud);
    let ca = sonar.ca_pem().expect("an HTTPS server has an authority");
    let url = format!("{}/api/authentication/validate", sonar.url());
    let answer = agent(Some(&ca)).get(&url).header("Authorization", format!("Bearer {}", sonar.token())).call();
    let body = answer.expect("an answer").body_mut().read_to_string().expect("a whole body");
    assert_eq!(body, r#"{"valid":true}"#);
    agent(None).get(&url).call().expect_err("nobody else vouches for it");
}

/// Posts a form as the administrator; the status and, of an error, what it says.
fn post(sonar: &Sonar, path: &str, form: &str) -> (u16, String) {
    post_as(sonar, sonar.admin_token(), path, form)
}

fn post_as(sonar: &Sonar, token: &str, path: &str, form: &str) -> (u16, String) {
    let (status, _, body) = raw(&sonar.url(), path, token, Some(form));
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    (status, body["errors"][0]["msg"].as_str().unwrap_or_default().to_owned())
}

fn server_to_triage(mode: Mode) -> Sonar {
    let sonar = Sonar::start(mode);
    sonar.edit(|model| {
        model.add_project("org", "p", "P");
        model.add_issue("p", "main", Issue::vulnerability("java:S3649", "src/a.java", 1).with_key("a"));
        model.add_hotspot("p", "main", Hotspot::new("java:S2245", "src/a.java", 2).with_key("h"));
        model.settings.cloud_hotspots = true;
    });
    sonar
}

#[test]
fn people_lead_an_issue_from_state_to_state() {
    let sonar = server_to_triage(NEW_SERVER);
    let step = |name: &str| post(&sonar, "/api/issues/do_transition", &format!("issue=a&transition={name}"));
    let state = || {
        let issue = get(&sonar, "/api/issues/search?components=p").1["issues"][0].clone();
        ["status", "resolution", "issueStatus"].map(|name| issue[name].as_str().unwrap_or_default().to_owned())
    };
    let no_way = |state: &str, name: &str| (400, format!("Transition from state {state} does not exist: {name}"));
    let done = (200, String::new());
    assert_eq!(state(), ["OPEN", "", "OPEN"]);
    for name in ["unconfirm", "reopen"] {
        assert_eq!(step(name), no_way("OPEN", name));
    }
    assert_eq!((step("confirm"), state()), (done.clone(), ["CONFIRMED", "", "CONFIRMED"].map(str::to_owned)));
    assert_eq!(step("confirm"), no_way("CONFIRMED", "confirm"));
    assert_eq!((step("unconfirm"), state()), (done.clone(), ["REOPENED", "", "OPEN"].map(str::to_owned)));
    for (name, resolution, issue_status) in [
        ("falsepositive", "FALSE-POSITIVE", "FALSE_POSITIVE"),
        ("wontfix", "WONTFIX", "ACCEPTED"),
        ("accept", "WONTFIX", "ACCEPTED"),
        ("resolve", "FIXED", "FIXED"),
    ] {
        assert_eq!((step(name), state()), (done.clone(), ["RESOLVED", resolution, issue_status].map(str::to_owned)));
        for other in ["falsepositive", "accept", "confirm", name] {
            assert_eq!(step(other), no_way("RESOLVED", other));
        }
        assert_eq!((step("reopen"), state()), (done.clone(), ["REOPENED", "", "OPEN"].map(str::to_owned)));
    }
    sonar.edit(|model| model.fix("a"));
    assert_eq!(step("reopen"), no_way("CLOSED", "reopen"));
}

#[test]
fn a_change_by_hand_moves_the_update_date_and_keeps_the_comment() {
    let sonar = server_to_triage(NEW_SERVER);
    let updated = || {
        let issue = get(&sonar, "/api/issues/search?components=p").1["issues"][0].clone();
        let hotspot = get(&sonar, "/api/hotspots/search?project=p").1["hotspots"][0].clone();
        [issue, hotspot].map(|one| one["updateDate"].as_str().expect("text").to_owned())
    };
    let at = |second: i64| sonar.edit(|model| model.freeze_clock(Some(1_900_000_000 + second)));
    let done = (200, String::new());
    let [issue, hotspot] = updated();
    at(0);
    assert_eq!(post(&sonar, "/api/issues/do_transition", "issue=a&transition=accept"), done);
    let [accepted, untouched] = updated();
    assert!(accepted != issue && untouched == hotspot);
    at(1);
    assert_eq!(post(&sonar, "/api/issues/add_comment", "issue=a&text=50%25+of+it+%26+more"), done);
    at(2);
    let review = "hotspot=h&status=REVIEWED&resolution=SAFE&comment=Seen";
    assert_eq!(post(&sonar, "/api/hotspots/change_status", review), (204, String::new()));
    let [commented, reviewed] = updated();
    assert!(commented != accepted && reviewed != hotspot);
    at(3);
    // The same again is no change, and its comment is not kept.
    assert_eq!(post(&sonar, "/api/hotspots/change_status", review), (204, String::new()));
    assert_eq!(updated(), [commented, reviewed]);
    sonar.edit(|model| {
        assert_eq!(model.issue("a").expect("an issue").1.comments, ["50% of it & more"]);
        assert_eq!(model.hotspot("h").comments, ["Seen"]);
    });
    let page = get(&sonar, "/api/hotspots/show?hotspot=h").1;
    assert_eq!((&page["status"], &page["resolution"]), (&"REVIEWED".into(), &"SAFE".into()));
    assert_eq!(page["comment"][0]["markdown"], "Seen");
    assert_eq!(post(&sonar, "/api/hotspots/change_status", "hotspot=h&status=TO_REVIEW").0, 204);
    assert_eq!(get(&sonar, "/api/hotspots/show?hotspot=h").1.get("resolution"), None);
}

#[test]
fn a_change_by_hand_is_refused_as_sonar_refuses_it() {
    let sonar = server_to_triage(NEW_SERVER);
    let [transition, comment, status] =
        ["/api/issues/do_transition", "/api/issues/add_comment", "/api/hotspots/change_status"];
    let refused = |status: u16, message: &str| (status, message.to_owned());
    for (path, form, answer) in [
        (transition, "issue=x&transition=accept", refused(404, "Issue with key 'x' does not exist")),
        (transition, "transition=accept", refused(400, "The 'issue' parameter is missing")),
        (transition, "issue=a", refused(400, "The 'transition' parameter is missing")),
        (comment, "issue=x&text=t", refused(404, "Issue with key 'x' does not exist")),
        (comment, "issue=a&text=", refused(400, "The 'text' parameter is missing")),
        (status, "hotspot=x&status=TO_REVIEW", refused(404, "Hotspot 'x' does not exist")),
        (status, "hotspot=h", refused(400, "The 'status' parameter is missing")),
        (
            status,
            "hotspot=h&status=REVIEWED",
            refused(400, "Parameter 'resolution' must be specified when Parameter 'status' has value 'REVIEWED'"),
        ),
        (
            status,
            "hotspot=h&status=TO_REVIEW&resolution=SAFE",
            refused(400, "Parameter 'resolution' must not be specified when Parameter 'status' has value 'TO_REVIEW'"),
        ),
    ] {
        assert_eq!(post(&sonar, path, form), answer, "{path} {form}");
        // By POST only, and not by a stranger.
        assert_eq!(get(&sonar, &format!("{path}?{form}")).0, 405, "{path}");
        assert_eq!(post_as(&sonar, "squ_nobody", path, form).0, 401, "{path}");
    }
    // A body that is no form has no parameters.
    let call = agent(None).post(format!("{}{transition}", sonar.url()));
    let call = call.header("Authorization", format!("Bearer {}", sonar.admin_token()));
    let answer = call.header("Content-Type", "application/json").send(r#"{"issue":"a","transition":"accept"}"#);
    assert_eq!(answer.expect("an answer").status(), 400);

    // Who may not administer may still confirm, take back and comment.
    let plain = |path: &str, form: &str| post_as(&sonar, sonar.token(), path, form);
    let forbidden = refused(403, "Insufficient privileges");
    for name in ["accept", "wontfix", "falsepositive", "resolve"] {
        assert_eq!(plain(transition, &format!("issue=a&transition={name}")), forbidden);
    }
    assert_eq!(plain(status, "hotspot=h&status=REVIEWED&resolution=SAFE"), forbidden);
    for name in ["confirm", "unconfirm"] {
        assert_eq!(plain(transition, &format!("issue=a&transition={name}")).0, 200);
    }
    assert_eq!(plain(comment, "issue=a&text=t").0, 200);
    sonar.edit(|model| model.add_token("squ_other", support::sonar::Browse::None).administers_issues = true);
    assert_eq!(post_as(&sonar, "squ_other", transition, "issue=a&transition=accept"), forbidden);

    let external = sonar.edit(|model| model.add_issue("p", "main", Issue::external("tool", "X", "Odd")));
    let form = format!("issue={external}&transition=accept");
    let message = "Transition is not allowed on issues imported from external rule engines";
    assert_eq!(post(&sonar, transition, &form), refused(400, message));
    sonar.edit(|model| model.close_hotspot("h"));
    assert_eq!(post(&sonar, status, "hotspot=h&status=TO_REVIEW").0, 404);
}

#[test]
fn what_can_be_decided_depends_on_the_edition() {
    let old = server_to_triage(Mode::Server { version: "10.3.0.82913", mqr: false });
    let (status, message) = post(&old, "/api/issues/do_transition", "issue=a&transition=accept");
    assert_eq!(status, 400);
    assert!(message.starts_with("Value of parameter 'transition' (accept) must be one of: [confirm, "), "{message}");
    assert_eq!(post(&old, "/api/issues/do_transition", "issue=a&transition=wontfix").0, 200);
    let cloud = server_to_triage(Mode::Cloud);
    assert_eq!(post(&cloud, "/api/issues/do_transition", "issue=a&transition=accept").0, 200);
    let acknowledge = "hotspot=h&status=REVIEWED&resolution=ACKNOWLEDGED";
    let message = "Value of parameter 'resolution' (ACKNOWLEDGED) must be one of: [FIXED, SAFE]";
    assert_eq!(post(&cloud, "/api/hotspots/change_status", acknowledge), (400, message.to_owned()));
    assert_eq!(post(&old, "/api/hotspots/change_status", acknowledge).0, 204);
}

#[test]
fn every_analysis_names_its_commit_newest_first() {
    let sonar = server_to_triage(NEW_SERVER);
    sonar.edit(|model| model.add_branch("p", "next"));
    for branch in ["main", "main", "next"] {
        sonar.analyse("p", branch, |_| {});
    }
    let analyses = |query: &str| {
        let (status, body) = get(&sonar, &format!("/api/project_analyses/search?project=p&{query}"));
        assert_eq!(status, 200, "{body}");
        let list = body["analyses"].as_array().expect("a list").clone();
        list.iter().map(|one| one["revision"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    let main = analyses("");
    assert!(main.iter().all(|one| one.len() == 40 && one.bytes().all(|byte| byte.is_ascii_hexdigit())), "{main:?}");
    assert_eq!((main.len(), analyses("branch=main&ps=1")), (2, main[..1].to_vec()));
    let next = analyses("branch=next");
    assert!(next.len() == 1 && !main.contains(&next[0]) && main[0] != main[1]);
    assert_eq!(get(&sonar, "/api/project_analyses/search?project=q").0, 404);
}

fn server_with_issues(count: usize) -> Sonar {
    let sonar = Sonar::start(NEW_SERVER);
    sonar.edit(|model| {
        model.add_project("", "p", "P");
        model.add_issues("p", "main", count);
    });
    sonar
}

/// The keys of a list of findings.
fn keys(list: &Value) -> Vec<String> {
    let key = |one: &Value| one["key"].as_str().expect("a finding has a key").to_owned();
    list.as_array().expect("a list").iter().map(key).collect()
}

/// The values of a facet.
fn counts(page: &Value, facet: &str) -> BTreeMap<String, u64> {
    let facet = page["facets"].as_array().expect("a list").iter().find(|one| one["property"] == facet);
    let values = facet.expect("the facet asked for")["values"].as_array().expect("a list");
    let count = |one: &Value| (one["val"].as_str().expect("text").to_owned(), one["count"].as_u64().expect("a number"));
    values.iter().map(count).collect()
}

fn admin_get(sonar: &Sonar, path: &str) -> Value {
    serde_json::from_str(&raw_get(sonar, path, sonar.admin_token()).2).expect("an answer is JSON")
}

fn get(sonar: &Sonar, path: &str) -> (u16, Value) {
    let (status, _, body) = raw_get(sonar, path, sonar.token());
    (status, serde_json::from_str(&body).expect("an answer is JSON"))
}

fn raw_get(sonar: &Sonar, path: &str, token: &str) -> (u16, Option<String>, String) {
    if !sonar.edit(|model| model.edition.since(10, 0)) {
        // Servers before 10.0 take a token as the name of Basic authentication only.
        let basic = format!("Basic {}", base64(format!("{token}:").as_bytes()));
        return raw_as(&basic, &sonar.url(), path, None);
    }
    raw(&sonar.url(), path, token, None)
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut text, mut held, mut bits) = (String::new(), 0_u32, 0);
    for &byte in bytes {
        (held, bits) = (held << 8 | u32::from(byte), bits + 8);
        while bits >= 6 {
            bits -= 6;
            text.push(char::from(LETTERS[(held >> bits & 63) as usize]));
        }
    }
    if bits > 0 {
        text.push(char::from(LETTERS[(held << (6 - bits) & 63) as usize]));
    }
    text
}

fn raw(root: &str, path: &str, token: &str, form: Option<&str>) -> (u16, Option<String>, String) {
    raw_as(&format!("Bearer {token}"), root, path, form)
}

fn raw_as(authorization: &str, root: &str, path: &str, form: Option<&str>) -> (u16, Option<String>, String) {
    let (agent, url) = (agent(None), format!("{root}{path}"));
    let answer = match form {
        None => agent.get(url).header("Authorization", authorization).call(),
        Some(form) => agent
            .post(url)
            .header("Authorization", authorization)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .send(form),
    };
    let mut answer = answer.expect("an answer");
    let content_type = answer.headers().get("content-type").map(|value| value.to_str().expect("text").to_owned());
    let body = answer.body_mut().with_config().limit(1 << 30).read_to_string().expect("a whole body");
    (answer.status().as_u16(), content_type, body)
}

fn agent(ca: Option<&str>) -> ureq::Agent {
    use ureq::tls::{Certificate, RootCerts, TlsConfig, parse_pem};
    let certificates: Vec<Certificate<'static>> = ca
        .into_iter()
        .flat_map(|pem| parse_pem(pem.as_bytes()))
        .filter_map(|item| match item.expect("PEM") {
            ureq::tls::PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::from(certificates))
        .unversioned_rustls_crypto_provider(Arc::new(tokio_rustls::rustls::crypto::ring::default_provider()))
        .build();
    let config = ureq::Agent::config_builder().http_status_as_error(false).tls_config(tls);
    config.timeout_global(Some(Duration::from_secs(20))).build().into()
}

/// Takes a number of webhook calls, answering each the same.
struct Receiver {
    url: String,
    thread: JoinHandle<Vec<Received>>,
}

struct Received {
    head: String,
    body: String,
}

impl Receiver {
    fn start(calls: usize, answer: &str) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("a bound socket has an address"));
        let answer = answer.to_owned();
        let thread = std::thread::spawn(move || {
            (0..calls).map(|_| receive(&listener.accept().expect("a caller").0, &answer)).collect()
        });
        Receiver { url, thread }
    }

    fn join(self) -> Vec<Received> {
        self.thread.join().expect("the receiver ends well")
    }
}

fn receive(mut stream: &std::net::TcpStream, answer: &str) -> Received {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().expect("a number");
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    stream.write_all(answer.as_bytes()).expect("the caller listens");
    Received { head, body: String::from_utf8(body).expect("a body is UTF-8") }
}
