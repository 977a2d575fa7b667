//! The simulated DefectDojo keeps to what is known of the real one.
//!
//! Beside the facts tested one by one, recorded sequences are replayed against it when their folder is there: named by
//! `DEFECTDOJO_SAMPLES`, or else `../shared/defectdojo-api`. They are not part of this repository.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, thread};

use serde_json::{Map, Value, json};
use support::defectdojo::{Algorithm, DefectDojo, Fault, Mishap, Moment, When};

/// A scope as the gateway sets it up: a Test of its own type that goes by unique id.
struct Scope {
    dojo: DefectDojo,
    test: u64,
}

impl Scope {
    fn new() -> Scope {
        let dojo = DefectDojo::start();
        let (status, made) = reimport(&dojo, &names("shop", "main"), &file(&[]));
        assert_eq!(status, 201, "{made}");
        let test = made["test"].as_u64().unwrap();
        let (status, patched) =
            patch(&dojo, &format!("tests/{test}/"), &json!({ "scan_type": "SonarQube Scan detailed" }));
        assert_eq!((status, &patched["deduplication_algorithm"]), (200, &json!("unique_id_from_tool")));
        Scope { dojo, test }
    }

    fn push(&self, rows: &[Value]) -> (u16, Value) {
        reimport(&self.dojo, &delta(self.test), &file(rows))
    }

    fn pushed(rows: &[Value]) -> Scope {
        let scope = Scope::new();
        assert_eq!(scope.push(rows).0, 201);
        scope
    }

    fn id(&self, key: &str) -> u64 {
        self.dojo.edit(|model| model.finding_with(key).id)
    }

    fn finding(&self, key: &str) -> Value {
        get(&self.dojo, &format!("findings/{}/", self.id(key))).1
    }

    /// The keys a poll lists, newest decision first, and only those after a moment.
    fn moved_since(&self, mark: &str) -> Vec<String> {
        let (_, page) = get(&self.dojo, "findings/?o=-last_status_update,-id&limit=100");
        let rows = page["results"].as_array().unwrap().iter();
        rows.filter(|row| row["last_status_update"].as_str().unwrap() > mark)
            .map(|row| row["unique_id_from_tool"].as_str().unwrap().to_owned())
            .collect()
    }

    fn mark(&self) -> String {
        let (_, page) = get(&self.dojo, "findings/?o=-last_status_update&limit=1");
        page["results"][0]["last_status_update"].as_str().unwrap().to_owned()
    }
}

#[test]
fn credentials_are_told_apart_by_text_alone() {
    let dojo = DefectDojo::start();
    let detail = |authorization: Option<&str>| {
        let (status, body) = call(&dojo, "GET", "findings/", authorization, None);
        (status, body["detail"].as_str().unwrap_or_default().to_owned())
    };
    let absent = "Authentication credentials were not provided.";
    assert_eq!(detail(None), (403, absent.to_owned()));
    assert_eq!(detail(Some(&format!("Bearer {}", dojo.token()))), (403, absent.to_owned()));
    assert_eq!(detail(Some("Token nobody's")), (403, "Invalid token.".to_owned()));
    let token = format!("Token {}", dojo.token());
    dojo.edit(|model| model.user_mut(DefectDojo::USER).active = false);
    assert_eq!(detail(Some(&token)), (403, "User inactive or deleted.".to_owned()));
    dojo.revoke_token(DefectDojo::USER);
    assert_eq!(detail(Some(&token)), (403, "Invalid token.".to_owned()));
}

#[test]
fn rights_end_at_the_product_type() {
    let dojo = DefectDojo::start();
    dojo.edit(|model| {
        model.add_product_type("Others");
        model.add_product("Others", "theirs");
        model.add_product(DefectDojo::PRODUCT_TYPE, "ours");
        let member = model.add_user("member").id;
        model.product_mut("ours").authorized_users.push(member);
        model.add_user("nobody");
    });
    let push = |user: &str, form: &[(&str, &str)]| {
        let token = format!("Token {}", dojo.token_of(user));
        let (status, body) = upload(&dojo, Some(&token), form, &file(&[row("K1")]));
        (status, body["detail"].as_str().unwrap_or_default().to_owned())
    };
    let no = "You do not have permission to perform this action.".to_owned();
    assert_eq!(push("member", &names("ours", "main")).0, 201);
    assert_eq!(push("nobody", &names("ours", "main")), (403, no.clone()));
    assert_eq!(push(DefectDojo::USER, &names("theirs", "main")), (403, no));
    assert_eq!(
        push("member", &names("new", "main")),
        (403, "No permission to create products in product_type \"Applications\"".to_owned())
    );
    let mut form = names("new", "main");
    form[0].1 = "Fresh";
    assert_eq!(push(DefectDojo::USER, &form), (403, "No permission to create product_type \"Fresh\"".to_owned()));
    // What may not be seen is not there: shorter lists, and a 404 for the object itself.
    let id = dojo.edit(|model| model.finding_with("K1").id);
    let nobody = format!("Token {}", dojo.token_of("nobody"));
    assert_eq!(call(&dojo, "GET", "findings/", Some(&nobody), None).1["count"], 0);
    let (status, body) = call(&dojo, "GET", &format!("findings/{id}/"), Some(&nobody), None);
    assert_eq!((status, &body["detail"]), (404, &json!("No Finding matches the given query.")));
    assert_eq!(get(&dojo, &format!("products/?name_exact={}", "ours")).1["count"], 1);
    assert_eq!(get(&dojo, "products/?name_exact=theirs").1["count"], 0);
    assert_eq!(get(&dojo, "user_profile/").1["user"]["username"], DefectDojo::USER);
    assert_eq!(get(&dojo, "oa3/schema/?format=json").1["info"]["version"], "3.2.0");
}

#[test]
fn errors_come_in_many_shapes() {
    let scope = Scope::pushed(&[row("K1")]);
    let dojo = &scope.dojo;
    let token = format!("Token {}", dojo.token());
    assert_eq!(call(dojo, "GET", "findings", Some(&token), None), (301, Value::Null));
    assert_eq!(call(dojo, "GET", "roles/", Some(&token), None), (404, Value::Null));
    assert_eq!(get(dojo, "findings/?test=99999").0, 400);
    assert_eq!(get(dojo, "findings/?o=-updated").0, 400);
    assert_eq!(get(dojo, "findings/?no_such_filter=1").1["count"], 1);
    assert_eq!(reimport(dojo, &delta(99999), &file(&[])), (400, json!(["Test \"99999\" does not exist"])));
    let mut form = names("shop", "elsewhere");
    form.retain(|(name, _)| *name != "auto_create_context");
    assert_eq!(reimport(dojo, &form, &file(&[])), (404, json!({ "detail": "A test could not be found!" })));
    let mut tomorrow = delta(scope.test);
    tomorrow.push(("scan_date", "2999-01-01".to_owned().leak()));
    assert_eq!(reimport(dojo, &tomorrow, &file(&[])).1["scan_date"][0], "The scan_date cannot be in the future!");
    assert_eq!(reimport(dojo, &delta(scope.test), &json!([])).0, 500);
    assert_eq!(reimport(dojo, &delta(scope.test), &json!({ "type": "Other", "findings": [] })).0, 400);
    let mut odd = row("K2");
    odd["cvs"] = json!(1);
    let (status, body) = scope.push(&[row("K3"), odd]);
    assert_eq!((status, &body["message"]), (400, &json!("[\"Not allowed fields are present: ['cvs']\"]")));
    assert_eq!(dojo.edit(|model| model.findings.len()), 1, "the whole file was refused");
    let close = format!("findings/{}/close/", scope.id("K1"));
    assert_eq!(send(dojo, "POST", &close, &json!({})).0, 500);
}

#[test]
fn a_value_too_long_breaks_the_import_at_its_row() {
    let scope = Scope::new();
    for (name, value) in [
        ("unique_id_from_tool", json!("k".repeat(501))),
        ("file_path", json!("f".repeat(4001))),
        ("service", json!("s".repeat(201))),
        ("line", json!(3_000_000_000_u64)),
        ("component_name", json!("a\0b")),
    ] {
        let mut bad = row("bad");
        bad[name] = value;
        assert_eq!(scope.push(&[row("before"), bad, row("after")]).0, 500, "{name}");
    }
    let keys = scope.dojo.edit(|model| model.findings_with("before").count() + model.findings_with("after").count());
    assert_eq!(keys, 1, "what came before stays");
    let (_, history) = get(&scope.dojo, &format!("test_imports/?test={}", scope.test));
    assert_eq!(history["count"], 1, "only the set-up came to its end");
    let long = "t".repeat(600);
    let mut titled = row("K1");
    titled["title"] = json!(long);
    assert_eq!(scope.push(&[titled]).0, 201);
    assert_eq!(scope.finding("K1")["title"].as_str().unwrap().len(), 511);
}

#[test]
fn the_test_goes_by_unique_id_and_birth_values_do_not_matter() {
    let scope = Scope::pushed(&[row("K1"), row("K2")]);
    let mut changed = row("K1");
    changed["title"] = json!("another");
    changed["line"] = json!(99);
    let (_, answer) = scope.push(&[changed]);
    assert_eq!(totals(&answer)["untouched"]["total"], 1);
    assert_eq!(scope.finding("K1")["line"], 10);
    let (status, patched) = patch(
        &scope.dojo,
        &format!("findings/{}/", scope.id("K1")),
        &json!({ "line": 99, "title": "another title", "severity": "Low", "hash_code": "x", "test": 1 }),
    );
    assert_eq!(
        (status, &patched["title"], &patched["numerical_severity"]),
        (200, &json!("Another Title"), &json!("S3"))
    );
    assert_eq!((&patched["hash_code"], &patched["test"]), (&scope.finding("K1")["hash_code"], &json!(scope.test)));
    // A key is contained, in any case, and a Test that was switched is found by no name.
    assert_eq!(get(&scope.dojo, "findings/?unique_id_from_tool=k").1["count"], 2);
    let (_, second) = reimport(&scope.dojo, &names("shop", "main"), &file(&[]));
    assert_ne!(second["test"], scope.test);
    assert_eq!(scope.dojo.edit(|model| model.algorithm(model.test(scope.test).unwrap())), Algorithm::UniqueId);
}

#[test]
fn what_is_left_out_is_wiped() {
    let scope = Scope::new();
    let mut form = delta(scope.test);
    form.extend([("branch_tag", "main"), ("commit_hash", "c0ffee"), ("version", "1"), ("tags", "a"), ("tags", "b")]);
    reimport(&scope.dojo, &form, &file(&[]));
    let test = |scope: &Scope| get(&scope.dojo, &format!("tests/{}/", scope.test)).1;
    assert_eq!((&test(&scope)["commit_hash"], &test(&scope)["tags"]), (&json!("c0ffee"), &json!(["a", "b"])));
    reimport(&scope.dojo, &delta(scope.test), &file(&[]));
    assert_eq!((&test(&scope)["commit_hash"], &test(&scope)["version"]), (&json!(""), &json!("")));
}

#[test]
fn a_poll_shows_decisions_and_nothing_else() {
    let keys = ["K1", "K2", "K3", "K4", "K5", "K6", "K7"];
    let scope = Scope::pushed(&keys.map(row));
    let mark = scope.mark();
    let [k1, k2, k3, k4, k5, k6, k7] = keys.map(|key| scope.id(key));
    scope.dojo.edit(|model| {
        model.put_under_review(k6);
        model.rate(k7, "Low");
    });
    send(&scope.dojo, "POST", &format!("findings/{k6}/notes/"), &json!({ "entry": "seen" }));
    send(&scope.dojo, "POST", &format!("findings/{k6}/metadata/"), &json!({ "name": "a", "value": "b" }));
    scope.push(&keys.map(row));
    assert_eq!(scope.moved_since(&mark), Vec::<String>::new());
    scope.dojo.edit(|model| {
        model.mark_false_positive(k1);
        model.accept_risk(k2);
        model.accept_risk_of(&[k3]);
        model.mitigate(k4);
        model.verify(k5);
    });
    assert_eq!(scope.moved_since(&mark), ["K5", "K4", "K3", "K2", "K1"]);
    // A delta of everything keeps all of them but the one mitigated by hand, which it reopens.
    let mark = scope.mark();
    scope.push(&keys.map(row));
    assert_eq!(scope.moved_since(&mark), ["K4"]);
    assert_eq!((&scope.finding("K1")["false_p"], &scope.finding("K3")["risk_accepted"]), (&json!(true), &json!(true)));
    assert_eq!(scope.finding("K3")["accepted_risks"].as_array().unwrap().len(), 1);
    // Withdrawn by PATCH only.
    let withdraw = |id: u64, body: Value| patch(&scope.dojo, &format!("findings/{id}/"), &body);
    let (_, withdrawn) = withdraw(k1, json!({ "active": true, "false_p": false }));
    assert_eq!((&withdrawn["active"], &withdrawn["is_mitigated"]), (&json!(true), &json!(false)));
    assert_eq!(withdraw(k3, json!({ "active": true })).0, 400);
    assert_eq!(withdraw(k3, json!({ "risk_accepted": false, "active": true })).1["accepted_risks"], json!([]));
    assert_eq!(withdraw(k5, json!({ "risk_accepted": true, "active": false })).0, 400, "simple acceptance is off");
}

#[test]
fn a_fixed_row_closes_with_its_own_date_and_the_gateway_as_its_author() {
    let scope = Scope::pushed(&[row("K1"), row("K2")]);
    let user = scope.dojo.edit(|model| model.user(DefectDojo::USER).id);
    let mut fixed = row("K1");
    fixed["active"] = json!(false);
    fixed["is_mitigated"] = json!(true);
    fixed["mitigated"] = json!("2026-03-01T10:00:00Z");
    let (_, answer) = scope.push(&[fixed.clone()]);
    assert_eq!(totals(&answer), json!({ "created": {}, "closed": {}, "reactivated": {}, "untouched": {} }));
    let closed = scope.finding("K1");
    assert_eq!((&closed["mitigated"], &closed["mitigated_by"]), (&json!("2026-03-01T10:00:00Z"), &json!(user)));
    let mark = scope.mark();
    scope.push(&[fixed]);
    assert_eq!((scope.mark(), scope.finding("K2")["active"].clone()), (mark, json!(true)));
    // A close by call has the server's own date, and moves it each time.
    let close = format!("findings/{}/close/", scope.id("K2"));
    let body = json!({ "is_mitigated": true, "mitigated": "2026-03-01T10:00:00Z" });
    let [first, second] = [1, 2].map(|_| send(&scope.dojo, "POST", &close, &body).1["mitigated"].clone());
    assert!(first.as_str().unwrap() > "2026-03-01T10:00:01" && first != second);
}

#[test]
fn a_deleted_finding_is_gone_and_made_anew() {
    let scope = Scope::pushed(&[row("K1")]);
    let id = scope.id("K1");
    scope.dojo.edit(|model| model.delete_finding(id));
    assert_eq!(patch(&scope.dojo, &format!("findings/{id}/"), &json!({ "severity": "Low" })).0, 404);
    assert_eq!(scope.push(&[row("K1")]).0, 201);
    assert_ne!(scope.id("K1"), id);
    scope.dojo.edit(|model| model.delete_test(scope.test));
    assert_eq!(scope.push(&[row("K1")]).0, 400);
}

#[test]
fn two_reimports_at_once_duplicate_their_rows() {
    let scope = Scope::new();
    let hold = scope.dojo.hold_when(Moment::Amid, support::defectdojo::Call::is_reimport);
    let rows: Vec<Value> = (0..30).map(|at| row(&format!("K{at}"))).collect();
    thread::scope(|threads| {
        let both = [threads.spawn(|| scope.push(&rows)), threads.spawn(|| scope.push(&rows))];
        hold.wait_held(2);
        hold.release();
        for one in both {
            assert_eq!(one.join().unwrap().0, 201);
        }
    });
    assert_eq!(scope.dojo.edit(|model| model.findings_of(scope.test).count()), 60);
}

#[test]
fn a_lost_answer_does_not_stop_the_server() {
    let scope = Scope::new();
    let history = || get(&scope.dojo, &format!("test_imports/?test={}&limit=1", scope.test)).1["count"].clone();
    scope.dojo.fault("/api/v2/reimport-scan/", Fault::mishap(Mishap::AfterCommit, 1));
    assert_eq!(scope.push(&[row("K1")]).0, 500);
    assert_eq!(history(), 2, "it was done all the same");

    scope.dojo.edit(|model| model.settings.reimport_takes = Duration::from_millis(400));
    let dropped = Mishap::Dropped { after: Duration::from_millis(50) };
    scope.dojo.fault("/api/v2/reimport-scan/", Fault::mishap(dropped, 1));
    let rows: Vec<Value> = (0..20).map(|at| row(&format!("L{at}"))).collect();
    let body = multipart(&delta(scope.test), &file(&rows));
    let request = agent().post(format!("{}/api/v2/reimport-scan/", scope.dojo.url()));
    let request = request.header("Authorization", format!("Token {}", scope.dojo.token()));
    assert!(request.header("Content-Type", CONTENT_TYPE).send(&body[..]).is_err(), "no answer comes");
    assert_eq!(history(), 2, "its row comes at the end only");
    for _ in 0..200 {
        if history() == 3 {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((history(), scope.dojo.edit(|model| model.findings.len())), (json!(3), 21));

    scope.dojo.edit(|model| model.settings.reimport_takes = Duration::ZERO);
    scope.dojo.fault("/api/v2/reimport-scan/", Fault::mishap(Mishap::MidRows { rows: 3 }, 1));
    let rows: Vec<Value> = (0..20).map(|at| row(&format!("M{at}"))).collect();
    assert_eq!(scope.push(&rows).0, 500);
    assert_eq!((history(), scope.dojo.edit(|model| model.findings.len())), (json!(3), 24));
}

#[test]
fn faults_strike_when_they_are_told_to() {
    let scope = Scope::pushed(&[row("K1")]);
    scope.dojo.fault("/api/v2/findings/", Fault::too_many_requests(1).with_header("Retry-After", "7"));
    assert_eq!(get(&scope.dojo, "findings/").0, 429);
    scope.dojo.fault_by(When::EveryNth(2), |call| call.method == "GET", Fault::internal_error(1));
    assert_eq!([1, 2, 3].map(|_| get(&scope.dojo, "findings/").0), [200, 500, 200]);
    scope.dojo.clear_faults();
    let token = format!("Token {}", scope.dojo.token());
    scope.dojo.fault("/api/v2/tests/", Fault::mishap(Mishap::TokenRevoked, 1));
    assert_eq!(call(&scope.dojo, "GET", "tests/", Some(&token), None).1["detail"], "Invalid token.");
    assert_eq!(call(&scope.dojo, "GET", "findings/", Some(&token), None).0, 403);
    assert_eq!(scope.dojo.reimports().last().unwrap().rows().len(), 1);
}

#[test]
fn equal_findings_of_two_tests_are_duplicates_only_where_that_is_on() {
    for (on, same) in [(false, true), (true, true), (true, false)] {
        let dojo = DefectDojo::start();
        dojo.edit(|model| model.settings.deduplication = on);
        for branch in ["main", "next"] {
            let mut row = row(&format!("{branch}-K"));
            if same {
                (row["description"], row["file_path"]) = (json!("one text"), json!("src/One.java"));
            }
            let mut form = names("shop", branch);
            form.push(("deduplication_execution_mode", "sync"));
            assert_eq!(reimport(&dojo, &form, &file(&[row])).1["deduplication_complete"], true);
        }
        let duplicate = dojo.edit(|model| model.finding_with("next-K").duplicate);
        assert_eq!(duplicate, on && same);
        assert_eq!(dojo.edit(|model| model.finding_with("next-K").status.active), !duplicate);
    }
}

#[test]
fn pages_follow_limit_and_offset() {
    let scope = Scope::pushed(&(0..60).map(|at| row(&format!("K{at}"))).collect::<Vec<_>>());
    for (query, count) in [("", 25), ("?limit=0", 25), ("?limit=-3", 25), ("?limit=x", 25), ("?limit=5000", 60)] {
        let (_, page) = get(&scope.dojo, &format!("findings/{query}"));
        assert_eq!((page["results"].as_array().unwrap().len(), &page["count"]), (count, &json!(60)), "{query}");
    }
    let (mut path, mut ids) = ("findings/?limit=25&o=id".to_owned(), Vec::new());
    loop {
        let (_, page) = get(&scope.dojo, &path);
        ids.extend(page["results"].as_array().unwrap().iter().map(|row| row["id"].as_u64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        path = next.split_once("/api/v2/").unwrap().1.to_owned();
    }
    assert!(ids.is_sorted() && ids.len() == 60);
}

#[test]
fn recorded_sequences_are_followed_step_by_step() {
    let Some(folder) = samples() else { return };
    let recorded: Value = serde_json::from_slice(&fs::read(folder.join("scenarios.json")).unwrap()).unwrap();
    let (mut scenarios, mut steps, mut compared, mut deltas, mut wrong) = (0, 0, 0, 0, Vec::new());
    for scenario in recorded["scenarios"].as_array().unwrap() {
        let name = format!("{} ({})", scenario["name"].as_str().unwrap(), scenario["match"].as_str().unwrap());
        let dojo = DefectDojo::start();
        dojo.edit(|model| model.add_product(DefectDojo::PRODUCT_TYPE, "shop").simple_risk_acceptance = true);
        let mut test = (scenario["match"] == "uid").then(|| {
            let (_, made) = reimport(&dojo, &names("shop", "main"), &file(&[]));
            patch(&dojo, &format!("tests/{}/", made["test"]), &json!({ "scan_type": "SonarQube Scan detailed" }));
            made["test"].as_u64().unwrap()
        });
        for (at, step) in scenario["steps"].as_array().unwrap().iter().enumerate() {
            let at = format!("{name}, step {}", at + 1);
            let (status, answer) = take(&dojo, &mut test, step);
            let mut compare = |what: &str, ours: &Value, theirs: &Value| {
                if ours != theirs {
                    wrong.push(format!("{at}: {what}\n  ours   {ours}\n  theirs {theirs}"));
                }
            };
            compare("status", &json!(status), &step["status"]);
            if step["error"]["message"].is_string() {
                compare("message", &answer["message"], &step["error"]["message"]);
            }
            if step["op"] == "reimport" && status == 201 {
                compare("delta", &totals(&answer), &step["delta"]);
                deltas += 1;
            }
            if let Some(theirs) = step["after"].as_array() {
                compare("findings", &state(&dojo, test), &sorted(theirs.clone()));
                compared += 1;
            }
            steps += 1;
        }
        scenarios += 1;
    }
    println!("{scenarios} sequences of {steps} steps: {compared} states and {deltas} sets of counters compared");
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn recorded_hashes_are_made_of_the_same_fields() {
    let Some(folder) = samples() else { return };
    let read = |name: &str| -> Value { serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap() };
    let poll = read("findings-poll.json");
    let mut rows: Vec<Value> = poll["body"]["results"].as_array().unwrap().clone();
    rows.push(read("finding-post.json")["body"].clone());
    let scope = Scope::new();
    for theirs in &rows {
        let mut row = row(theirs["unique_id_from_tool"].as_str().unwrap());
        for name in ["title", "cwe", "line", "file_path", "description"] {
            row[name] = theirs[name].clone();
        }
        scope.push(&[row]);
        let ours = scope.finding(theirs["unique_id_from_tool"].as_str().unwrap());
        assert_eq!((&ours["hash_code"], &ours["title"]), (&theirs["hash_code"], &theirs["title"]));
        let absent: Vec<_> = theirs.as_object().unwrap().keys().filter(|name| ours.get(name).is_none()).collect();
        println!("{}: hash compared, fields absent here: {absent:?}", ours["unique_id_from_tool"]);
    }
}

/// Carries out a step; the Test is known after the first reimport that made one.
fn take(dojo: &DefectDojo, test: &mut Option<u64>, step: &Value) -> (u16, Value) {
    let of = |key: &Value| dojo.edit(|model| model.findings_with(key.as_str().unwrap()).next().unwrap().id);
    match step["op"].as_str().unwrap() {
        "reimport" => {
            let id = test.map(|id| id.to_string());
            let mut form: Vec<(&str, &str)> = match &id {
                Some(id) => vec![("test", id)],
                None => names("shop", "main")
                    .into_iter()
                    .filter(|(n, _)| *n != "scan_type" && *n != "close_old_findings")
                    .collect(),
            };
            let given = step["form"].as_object().unwrap();
            form.extend(given.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())));
            let (status, answer) = reimport(dojo, &form, &step["file"]);
            *test = test.or(answer["test"].as_u64());
            (status, answer)
        }
        "patch" => patch(dojo, &format!("findings/{}/", of(&step["finding"])), &step["json"]),
        "close" => send(dojo, "POST", &format!("findings/{}/close/", of(&step["finding"])), &step["json"]),
        other => panic!("a step {other} is not known"),
    }
}

/// The findings of a Test in the form of the recordings.
fn state(dojo: &DefectDojo, test: Option<u64>) -> Value {
    let Some(test) = test else { return json!([]) };
    let (_, page) = get(dojo, &format!("findings/?test={test}&limit=1000"));
    let shown = |row: &Value| {
        let flags = ["active", "verified", "false_p", "risk_accepted", "out_of_scope", "is_mitigated", "duplicate"];
        let flags: Vec<&str> = flags.into_iter().filter(|flag| row[*flag] == true).collect();
        let count = |name: &str| row[name].as_array().unwrap().len();
        json!({
            "finding": row["unique_id_from_tool"], "title": row["title"], "severity": row["severity"],
            "file_path": row["file_path"], "line": row["line"], "cwe": row["cwe"], "flags": flags,
            "notes": count("notes"), "risk_acceptances": count("accepted_risks"),
        })
    };
    sorted(page["results"].as_array().unwrap().iter().map(shown).collect())
}

fn sorted(mut rows: Vec<Value>) -> Value {
    for row in &mut rows {
        let mut flags = row["flags"].as_array().unwrap().clone();
        flags.sort_by_key(Value::to_string);
        row["flags"] = json!(flags);
    }
    rows.sort_by_key(Value::to_string);
    json!(rows)
}

/// The counters of a delta that are not zero; null where there is none.
fn totals(answer: &Value) -> Value {
    let Some(delta) = answer["statistics"]["delta"].as_object() else { return Value::Null };
    let counted = |action: &Value| -> Map<String, Value> {
        let counters = action["total"].as_object().unwrap().iter();
        counters.filter(|(_, count)| **count != 0).map(|(name, count)| (name.clone(), count.clone())).collect()
    };
    delta.iter().map(|(action, of)| (action.clone(), Value::Object(counted(of)))).collect::<Map<_, _>>().into()
}

fn samples() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/defectdojo-api");
    let folder = env::var_os("DEFECTDOJO_SAMPLES").map_or_else(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: DEFECTDOJO_SAMPLES names no folder of DefectDojo's answers");
    None
}

fn row(key: &str) -> Value {
    json!({
        "title": "use of a weak cipher", "severity": "High", "description": format!("SonarQube issue {key}"),
        "cwe": 327, "file_path": format!("src/{key}.java"), "line": 10, "unique_id_from_tool": key,
        "vuln_id_from_tool": "java:S5542", "active": true, "verified": false,
    })
}

fn file(rows: &[Value]) -> Value {
    json!({ "type": "Hydrophone", "findings": rows })
}

/// The form that makes what is missing.
fn names<'a>(product: &'a str, title: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("product_type_name", DefectDojo::PRODUCT_TYPE),
        ("product_name", product),
        ("engagement_name", "SonarQube"),
        ("test_title", title),
        ("auto_create_context", "true"),
        ("scan_type", "Generic Findings Import"),
        ("close_old_findings", "false"),
    ]
}

/// The form of a push.
fn delta(test: u64) -> Vec<(&'static str, &'static str)> {
    let test: &'static str = test.to_string().leak();
    vec![("scan_type", "Generic Findings Import"), ("test", test), ("close_old_findings", "false")]
}

fn get(dojo: &DefectDojo, path: &str) -> (u16, Value) {
    call(dojo, "GET", path, Some(&format!("Token {}", dojo.token())), None)
}

fn patch(dojo: &DefectDojo, path: &str, body: &Value) -> (u16, Value) {
    send(dojo, "PATCH", path, body)
}

fn send(dojo: &DefectDojo, method: &str, path: &str, body: &Value) -> (u16, Value) {
    call(
        dojo,
        method,
        path,
        Some(&format!("Token {}", dojo.token())),
        Some(("application/json", body.to_string().into_bytes())),
    )
}

fn reimport(dojo: &DefectDojo, form: &[(&str, &str)], file: &Value) -> (u16, Value) {
    upload(dojo, Some(&format!("Token {}", dojo.token())), form, file)
}

fn upload(dojo: &DefectDojo, authorization: Option<&str>, form: &[(&str, &str)], file: &Value) -> (u16, Value) {
    call(dojo, "POST", "reimport-scan/", authorization, Some((CONTENT_TYPE, multipart(form, file))))
}

const CONTENT_TYPE: &str = "multipart/form-data; boundary=a-boundary";

fn multipart(form: &[(&str, &str)], file: &Value) -> Vec<u8> {
    let field = |(name, value): &(&str, &str)| {
        format!("--a-boundary\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let fields: String = form.iter().map(field).collect();
    let head =
        "Content-Disposition: form-data; name=\"file\"; filename=\"findings.json\"\r\nContent-Type: application/json";
    format!("{fields}--a-boundary\r\n{head}\r\n\r\n{file}\r\n--a-boundary--\r\n").into_bytes()
}

/// What is no JSON is null.
fn call(
    dojo: &DefectDojo,
    method: &str,
    path: &str,
    authorization: Option<&str>,
    body: Option<(&str, Vec<u8>)>,
) -> (u16, Value) {
    let mut request = ureq::http::Request::builder().method(method).uri(format!("{}/api/v2/{path}", dojo.url()));
    if let Some(authorization) = authorization {
        request = request.header("Authorization", authorization);
    }
    if let Some((content_type, _)) = &body {
        request = request.header("Content-Type", *content_type);
    }
    let answer = match body {
        Some((_, body)) => agent().run(request.body(body).unwrap()),
        None => agent().run(request.body(()).unwrap()),
    };
    let mut answer = answer.expect("an answer");
    let text = answer.body_mut().with_config().limit(1 << 30).read_to_string().unwrap();
    (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null))
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
    config.timeout_global(Some(Duration::from_secs(20))).build().into()
}
