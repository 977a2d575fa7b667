//! Who may use the API over the network, and what is written down of it: by a real daemon, over real TLS.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::https::{Answer, ask};

pub const PASSWORD: &str = "correct horse battery";

/// A gateway whose page is served.
pub struct Appliance {
    pub gateway: Gateway,
    pub page: String,
}

impl Appliance {
    pub fn start() -> Self {
        Self::of(Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]))
    }

    fn of(gateway: Gateway) -> Self {
        let page = gateway.json(&["status"])["page"].as_str().expect("it is served").to_owned();
        Self { gateway, page }
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let json = [("Content-Type", "application/json")];
        let (kind, body): (&[_], _) = if body.is_null() { (&[], String::new()) } else { (&json, body.to_string()) };
        ask(&self.page, method, path, &[headers, kind].concat(), &body)
    }

    pub fn get(&self, path: &str, token: &str) -> Answer {
        self.ask("GET", path, &[("Authorization", &format!("Bearer {token}"))], &Value::Null)
    }

    pub fn token(&self, name: &str, role: &str) -> String {
        self.gateway.json(&["token", "add", name, "--role", role])["secret"].as_str().unwrap().to_owned()
    }

    pub fn user(&self, name: &str, role: &str) {
        self.gateway.json_with(&["user", "add", name, "--role", role, "--password-file", "-"], PASSWORD);
    }

    pub fn log_in(&self, user: &str, password: &str) -> Answer {
        self.ask("POST", "/api/v1/session", &[], &json!({ "user": user, "password": password }))
    }

    /// The cookie of somebody who has just logged in.
    pub fn cookie(&self, user: &str) -> String {
        cookie_of(&self.log_in(user, PASSWORD))
    }
}

pub fn cookie_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    let cookie = answer.header("set-cookie").expect("a cookie is set");
    cookie.split(';').next().unwrap().to_owned()
}

pub fn linked_code(text: &str) -> String {
    let code = text.split("code=").nth(1).unwrap_or_else(|| panic!("no code in {text}"));
    code.chars().take_while(char::is_ascii_hexdigit).collect()
}

#[test]
fn the_first_admin_is_made_with_the_code_of_the_log_and_only_once() {
    let appliance = Appliance::start();
    let code = linked_code(&appliance.gateway.wait_for_log("make the first admin at"));
    assert_eq!(code.len(), 32);
    let set_up = |user: &str, code: &str, password: &str| {
        appliance.ask("POST", "/api/v1/setup", &[], &json!({ "user": user, "code": code, "password": password }))
    };
    let wrong = set_up("ines", &"0".repeat(32), PASSWORD);
    assert_eq!(wrong.status, 403, "{wrong:?}");
    let short = set_up("ines", &code, "short");
    assert_eq!(
        (short.status, short.json()["detail"].as_str()),
        (400, Some("the password is shorter than 10 characters"))
    );
    let made = set_up("ines", &code, PASSWORD);
    assert_eq!(made.json(), json!({ "name": "ines", "role": "admin", "via": "page" }));
    let cookie = made.header("set-cookie").unwrap();
    for part in ["__Host-hydrophone=", "; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax"] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    let asked = appliance.ask("GET", "/api/v1/session", &[("Cookie", &cookie_of(&made))], &Value::Null);
    assert_eq!(asked.json()["name"], "ines");
    assert_eq!(set_up("mallory", &code, PASSWORD).status, 403, "a code is good once");
    // A start makes no new one, since there is an admin.
    let appliance = Appliance::of(appliance.gateway.restart(Gateway::kill));
    assert!(!appliance.gateway.log().contains("first admin"), "{}", appliance.gateway.log());
    assert_eq!(appliance.log_in("ines", PASSWORD).status, 200);
}

#[test]
fn a_code_may_be_got_wrong_a_few_times_only() {
    let appliance = Appliance::start();
    let code = linked_code(&appliance.gateway.wait_for_log("make the first admin at"));
    let set_up = |code: &str| {
        appliance
            .ask("POST", "/api/v1/setup", &[], &json!({ "user": "ines", "code": code, "password": PASSWORD }))
            .status
    };
    for _ in 0..5 {
        assert_eq!(set_up("no code"), 403);
    }
    assert_eq!(set_up(&code), 403);
    // Whoever can use the socket makes a new one.
    let added = appliance.gateway.json(&["user", "add", "ines", "--role", "admin"]);
    let link = added["link"].as_str().unwrap();
    assert!(link.starts_with(&format!("{}/setup?user=ines&code=", appliance.page)), "{link}");
    assert_eq!(set_up(&linked_code(link)), 200);
}

/// The table of the document, tried out: whoever is less than what an operation takes is refused, whoever is enough gets
/// as far as the operation.
#[test]
fn every_operation_lets_in_whom_its_description_says_and_nobody_else() {
    let appliance = Appliance::start();
    let roles = ["viewer", "operator", "admin"];
    let tokens = roles.map(|role| appliance.token(role, role));
    let document = appliance.ask("GET", "/api/v1/openapi.json", &[], &Value::Null).json();
    let mut tried = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let filled: Vec<String> =
            path.split('/').map(|part| if part.starts_with('{') { "x".to_owned() } else { part.to_owned() }).collect();
        let address = format!("/api/v1{}", filled.join("/"));
        for (method, operation) in operations.as_object().unwrap() {
            let method = method.to_ascii_uppercase();
            let description = operation["description"].as_str().unwrap();
            let least = roles.iter().position(|role| description == format!("Takes the role {role}."));
            // What would end what the others need is tried by tests of its own.
            if path == "/session" && method == "DELETE" {
                continue;
            }
            let nobody = appliance.ask(&method, &address, &[], &json!({})).status;
            let Some(least) = least else {
                assert_eq!(description, "Takes no login.", "{method} {path}");
                assert_ne!(nobody, 401, "{method} {path}");
                continue;
            };
            assert_eq!(nobody, 401, "{method} {path} for nobody");
            // A stream has no end to wait for; it has a test of its own.
            if path == "/events" {
                continue;
            }
            for (rank, token) in tokens.iter().enumerate() {
                let bearer = format!("Bearer {token}");
                let answer = appliance.ask(&method, &address, &[("Authorization", &bearer)], &json!({}));
                let (role, status) = (roles[rank], answer.status);
                // Nobody changes the key over the network, or has one of two boxes work alone.
                let is_local = path == "/key/rotate" || (path == "/standby" && method == "DELETE");
                let forbidden = rank < least || is_local;
                assert_eq!(status == 403, forbidden, "{method} {path} for {role}: {answer:?}");
                assert!(!matches!(status, 401 | 405 | 500..), "{method} {path} for {role}: {answer:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 150, "{tried}");
}

#[test]
fn the_document_describes_every_name_and_refers_to_nothing_that_is_not_there() {
    let appliance = Appliance::start();
    let document = appliance.ask("GET", "/api/v1/openapi.json", &[], &Value::Null).json();
    assert_eq!(document["openapi"], "3.1.0");
    let schemas: BTreeSet<&str> =
        document["components"]["schemas"].as_object().unwrap().keys().map(String::as_str).collect();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let reference = reference.split('"').next().unwrap();
        let name = reference.strip_prefix("#/components/schemas/").unwrap_or_else(|| panic!("{reference}"));
        assert!(schemas.contains(name), "{reference}");
    }
    let mut ids = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let names: Vec<&str> = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        for (method, operation) in operations.as_object().unwrap() {
            let what = format!("{method} {path}");
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{what}");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{what}");
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let in_path = parameters.iter().filter(|one| one["in"] == "path").map(|one| one["name"].as_str().unwrap());
            assert_eq!(in_path.collect::<Vec<_>>(), names, "{what}");
            for parameter in parameters.iter().filter(|one| one["in"] == "query") {
                assert!(parameter["description"].is_string(), "{what}: {parameter}");
            }
            assert!(operation["responses"]["default"].is_object(), "{what}");
        }
    }
}

/// Whoever has stolen a token or a session would have a box of their own stand by, and be told everything.
#[test]
fn a_pair_is_set_up_on_the_box_itself_only() {
    let appliance = Appliance::start();
    let token = appliance.token("root", "admin");
    let new =
        json!({ "url": "nats://127.0.0.1:1", "site": "x", "credentials": "a:b", "key": "0".repeat(64), "plain": true });
    let headers = [("Authorization", format!("Bearer {token}"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = appliance.ask("PUT", "/api/v1/standby", &headers, &new);
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(answer.json()["remedy"].as_str().unwrap().contains("hydrophone standby join"), "{answer:?}");
}

/// Whoever has stolen a token or a session would choose a wrapping that they can open, and have every secret of the box.
#[test]
fn the_key_is_not_given_out_over_the_network() {
    let appliance = Appliance::start();
    appliance.user("ines", "admin");
    let (token, cookie) = (format!("Bearer {}", appliance.token("root", "admin")), appliance.cookie("ines"));
    let own = appliance.page.clone();
    let callers =
        [&[("Authorization", token.as_str())][..], &[("Cookie", cookie.as_str()), ("Origin", own.as_str())][..]];
    for caller in callers {
        let answer = appliance.ask("POST", "/api/v1/backup", caller, &json!({ "wrapping": "AAAA" }));
        assert_eq!((answer.status, answer.json()["field"].as_str()), (403, Some("wrapping")), "{answer:?}");
        assert!(answer.json()["remedy"].as_str().unwrap().contains("hydrophone backup FILE --with-keys"), "{answer:?}");
        let answer = appliance.ask("POST", "/api/v1/backup", caller, &json!({}));
        assert_eq!(answer.status, 200, "without the key it is given");
    }
}

#[test]
fn a_page_of_another_site_can_change_nothing_with_our_cookie() {
    let appliance = Appliance::start();
    appliance.user("ines", "admin");
    let cookie = appliance.cookie("ines");
    let add = |origin: &[(&str, &str)], name: &str| {
        let headers = [&[("Cookie", cookie.as_str())], origin].concat();
        appliance.ask("POST", "/api/v1/assets", &headers, &json!({ "name": name })).status
    };
    assert_eq!(add(&[("Origin", "https://evil.example")], "A"), 403);
    assert_eq!(add(&[("Origin", "null")], "A"), 403);
    assert_eq!(add(&[], "A"), 403);
    assert_eq!(add(&[("Sec-Fetch-Site", "cross-site")], "A"), 403);
    assert_eq!(add(&[("Origin", &appliance.page)], "A"), 201);
    assert_eq!(add(&[("Sec-Fetch-Site", "same-origin")], "B"), 201);
    assert_eq!(appliance.gateway.json(&["asset", "list"])["assets"].as_array().unwrap().len(), 2);
}

#[test]
fn a_login_ends_with_a_log_out_another_password_and_the_user() {
    let appliance = Appliance::start();
    appliance.user("ines", "admin");
    appliance.user("omar", "viewer");
    let is_in =
        |cookie: &str| appliance.ask("GET", "/api/v1/session", &[("Cookie", cookie)], &Value::Null).status == 200;
    let (first, second, omar) = (appliance.cookie("ines"), appliance.cookie("ines"), appliance.cookie("omar"));
    let ended =
        appliance.ask("DELETE", "/api/v1/session", &[("Cookie", &first), ("Origin", &appliance.page)], &Value::Null);
    assert_eq!(ended.status, 204, "{ended:?}");
    assert!(ended.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!([is_in(&first), is_in(&second)], [false, true]);
    appliance.gateway.json_with(&["user", "passwd", "ines", "--password-file", "-"], "another long password");
    assert!(!is_in(&second));
    assert_eq!(appliance.log_in("ines", PASSWORD).status, 401);
    assert!(is_in(&omar));
    appliance.gateway.json(&["user", "remove", "omar"]);
    assert!(!is_in(&omar));
}

#[test]
fn whoever_guesses_has_to_wait_and_a_name_is_not_given_away() {
    let appliance = Appliance::start();
    appliance.user("ines", "admin");
    let (wrong, nobody) = (appliance.log_in("ines", "wrong password"), appliance.log_in("nobody", "wrong password"));
    assert_eq!((wrong.status, &wrong.body), (401, &nobody.body));
    for _ in 0..3 {
        assert_eq!(appliance.log_in("ines", "wrong password").status, 401);
    }
    // The address has been wrong five times by now, and so nothing is looked at, not even what is right.
    let late = appliance.log_in("ines", PASSWORD);
    assert_eq!(late.status, 429, "{late:?}");
    assert!((1..=3).contains(&late.header("retry-after").unwrap().parse::<u64>().unwrap()), "{late:?}");
}

#[test]
fn a_token_is_shown_once_stored_as_a_digest_and_not_good_any_more_when_it_is_removed() {
    let appliance = Appliance::start();
    let token = appliance.token("prometheus", "viewer");
    assert!(token.starts_with("hyd_") && token.len() == 68, "{token}");
    assert_eq!(appliance.get("/api/v1/status", &token).status, 200);
    let listed = appliance.gateway.json(&["token", "list"]);
    assert_eq!(listed["tokens"][0]["name"], "prometheus");
    assert!(listed["tokens"][0]["used_at"].is_string(), "{listed}");
    assert!(!listed.to_string().contains(&token));
    appliance.gateway.refused(&["token", "add", "prometheus", "--role", "viewer"], "");
    appliance.gateway.json(&["token", "remove", "prometheus"]);
    let refused = appliance.get("/api/v1/status", &token);
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    let log = appliance.gateway.log();
    let folder = appliance.gateway.stop();
    let file = std::fs::read(folder.path().join("state").join("hydrophone.redb")).unwrap();
    for secret in [&token, &token[4..]] {
        assert!(!file.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "the database holds it");
        assert!(!log.contains(secret));
    }
}

#[test]
fn the_audit_log_says_who_did_what_and_how_it_ended() {
    let appliance = Appliance::start();
    appliance.user("ines", "admin");
    let token = appliance.token("robot", "operator");
    let cookie = appliance.cookie("ines");
    let own = [("Cookie", cookie.as_str()), ("Origin", appliance.page.as_str())];
    appliance.ask("POST", "/api/v1/assets", &own, &json!({ "name": "Shop" }));
    appliance.ask(
        "POST",
        "/api/v1/sync",
        &[("Authorization", &format!("Bearer {token}"))],
        &json!({ "organization": "no" }),
    );
    appliance.gateway.json(&["asset", "remove", "Shop"]);
    let list = appliance.gateway.json(&["audit"]);
    let told: Vec<String> = list["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
            format!("{} {} {} {}", text("who"), text("via"), text("what"), entry["status"])
        })
        .collect();
    // The tests and the box run as the same user.
    let id = std::process::Command::new("id").arg("-un").output().expect("there is id(1)");
    let local = format!("local ({})", String::from_utf8(id.stdout).unwrap().trim());
    assert_eq!(
        told,
        [
            &format!("{local} socket Remove an asset 204"),
            "robot token Read Sonar now 404",
            "ines page Add an asset 201",
            "ines page Log in 200",
            &format!("{local} socket Make an API token 201"),
            &format!("{local} socket Add a user 201"),
        ]
    );
    assert_eq!(list["entries"][2]["from"], "127.0.0.1");
    assert!(!list.to_string().contains(PASSWORD) && !list.to_string().contains(&token));
    let older = appliance.gateway.json(&["audit", "--limit", "2", "--before", &list["entries"][3]["id"].to_string()]);
    assert_eq!(older["entries"], json!([list["entries"][4], list["entries"][5]]));
}

#[test]
fn the_last_admin_stays_over_the_network() {
    let appliance = Appliance::start();
    appliance.user("ines", "admin");
    let cookie = appliance.cookie("ines");
    let own = [("Cookie", cookie.as_str()), ("Origin", appliance.page.as_str())];
    let removed = appliance.ask("DELETE", "/api/v1/users/ines", &own, &Value::Null);
    assert_eq!(removed.status, 409, "{removed:?}");
    let less = appliance.ask("PATCH", "/api/v1/users/ines", &own, &json!({ "role": "viewer" }));
    assert_eq!(less.status, 409, "{less:?}");
    appliance.user("omar", "admin");
    assert_eq!(appliance.ask("PATCH", "/api/v1/users/ines", &own, &json!({ "role": "viewer" })).status, 200);
    // It counts at once.
    assert_eq!(appliance.ask("GET", "/api/v1/users", &own, &Value::Null).status, 403);
}

#[test]
fn what_has_not_changed_is_not_sent_again() {
    let appliance = Appliance::start();
    let token = appliance.token("reader", "viewer");
    let first = appliance.get("/api/v1/assets", &token);
    let tag = first.header("etag").expect("a tag").to_owned();
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str()), ("If-None-Match", tag.as_str())];
    let again = appliance.ask("GET", "/api/v1/assets", &headers, &Value::Null);
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    appliance.gateway.json(&["asset", "add", "Shop"]);
    let changed = appliance.ask("GET", "/api/v1/assets", &headers, &Value::Null);
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
}

#[test]
fn whoever_watches_the_box_is_told_one_word_without_a_login() {
    let appliance = Appliance::start();
    for (path, word) in [("/livez", "alive\n"), ("/readyz", "ready\n")] {
        let answer = appliance.ask("GET", path, &[], &Value::Null);
        assert_eq!((answer.status, answer.body.as_str()), (200, word));
    }
}

#[test]
fn metrics_are_for_a_viewer_and_say_what_they_count() {
    let appliance = Appliance::start();
    let token = appliance.token("prometheus", "viewer");
    assert_eq!(appliance.ask("GET", "/metrics", &[], &Value::Null).status, 401);
    let answer = appliance.get("/metrics", &token);
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    for line in [
        "# TYPE hydrophone_webhooks counter",
        "hydrophone_webhooks_total{outcome=\"accepted\"} 0",
        "# UNIT hydrophone_database_size_bytes bytes",
        "hydrophone_ready 1",
        "hydrophone_projects 0",
    ] {
        assert!(answer.body.lines().any(|one| one == line), "{line} in {}", answer.body);
    }
    assert!(answer.body.ends_with("# EOF\n"));
    let names = answer.body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    for name in names {
        assert!(answer.body.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
}

#[test]
fn whoever_listens_is_told_that_something_changed() {
    let appliance = Appliance::start();
    let token = appliance.token("watcher", "viewer");
    let address = appliance.page.strip_prefix("https://").unwrap();
    let mut stream = crate::support::tls::connect(address);
    let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stream)).map(Result::unwrap);
    assert!(lines.by_ref().any(|line| line == "content-type: text/event-stream"));
    assert!(lines.by_ref().any(|line| line == "event: changes"));
    assert!(lines.next().unwrap().contains("\"newest\":\"C0\""));
    let sonar = crate::support::sonar::Sonar::start(crate::support::sonar::Mode::Cloud);
    sonar.edit(|model| {
        model.add_project("acme", "shop", "Web shop");
        let issue = crate::support::sonar::Issue::vulnerability("java:S3649", "src/a.java", 12);
        model.add_issue("shop", "main", issue.with_key("A"));
    });
    crate::support::connect(&appliance.gateway, &sonar);
    crate::support::import(&appliance.gateway, "acme", &["shop"]);
    assert!(lines.any(|line| line.contains("\"newest\":\"C1\"")));
}
