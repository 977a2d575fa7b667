//! What somebody who may do a little, or once could, makes of it: logins, stored secrets, the audit log, exports.

use serde_json::{Value, json};

use crate::access::{Appliance, PASSWORD, cookie_of, linked_code};
use crate::support::https::ask;

/// Somebody else's page could log a browser in as its author, who then reads what its owner enters.
#[test]
fn a_page_of_another_site_can_log_nobody_in() {
    let appliance = Appliance::start();
    appliance.user("ines", "admin");
    let code =
        linked_code(appliance.gateway.json(&["user", "add", "omar", "--role", "viewer"])["link"].as_str().unwrap());
    let (login, chosen) = (
        json!({ "user": "ines", "password": PASSWORD }),
        json!({ "user": "omar", "code": code, "password": PASSWORD }),
    );
    let own = appliance.page.clone();
    let form = |path: &str, told: &[(&str, &str)], body: &str| {
        let kind = [("Content-Type", "application/x-www-form-urlencoded")];
        ask(&appliance.page, "POST", path, &[&kind, told].concat(), body)
    };
    let (sign_in, set_up) = (
        format!("account=ines&password={}", PASSWORD.replace(' ', "+")),
        format!("user=omar&code={code}&password={}", PASSWORD.replace(' ', "+")),
    );
    for told in [&[("Origin", "https://evil.example")][..], &[("Origin", "null")], &[("Sec-Fetch-Site", "cross-site")]]
    {
        for answer in [
            appliance.ask("POST", "/api/v1/session", told, &login),
            appliance.ask("POST", "/api/v1/setup", told, &chosen),
            form("/sign-in", told, &sign_in),
            form("/setup", told, &set_up),
        ] {
            assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{told:?}: {answer:?}");
        }
    }
    // A page of its own, and a program, which names no origin.
    for told in [&[("Origin", own.as_str())][..], &[("Sec-Fetch-Site", "same-origin")], &[]] {
        assert_eq!(appliance.ask("POST", "/api/v1/session", told, &login).status, 200, "{told:?}");
        assert_eq!(form("/sign-in", told, &sign_in).status, 303, "{told:?}");
    }
    assert_eq!(form("/setup", &[("Origin", &own)], &set_up).status, 303);
}

/// A password takes a while to be looked at. Whoever is removed during that must be gone after it, and not be written back
/// with the record that was read before.
#[test]
fn who_was_removed_does_not_come_back_by_a_login_under_way() {
    let appliance = Appliance::start();
    appliance.user("ines", "admin");
    for _ in 0..3 {
        appliance.user("omar", "admin");
        std::thread::scope(|scope| {
            // Several wait for their turn with the one that is hashed at a time.
            let logins: Vec<_> = (0..3).map(|_| scope.spawn(|| appliance.log_in("omar", PASSWORD))).collect();
            appliance.gateway.json(&["user", "remove", "omar"]);
            for login in logins {
                let login = login.join().unwrap();
                assert!(matches!(login.status, 200 | 401 | 429), "{login:?}");
                if login.status == 200 {
                    let asked =
                        appliance.ask("GET", "/api/v1/session", &[("Cookie", &cookie_of(&login))], &Value::Null);
                    assert_eq!(asked.status, 401);
                }
            }
        });
        let users = appliance.gateway.json(&["user", "list"]);
        let names: Vec<_> = users["users"].as_array().unwrap().iter().map(|user| user["name"].as_str()).collect();
        assert_eq!(names, [Some("ines")]);
    }
}

/// The API tells nobody a secret. Whoever has an admin's session must not have it sent to a place of their own either.
#[test]
fn a_stored_secret_goes_to_no_other_place_over_the_network_unless_it_is_given_again() {
    let appliance = Appliance::start();
    appliance.user("ines", "admin");
    let (cookie, token) = (appliance.cookie("ines"), format!("Bearer {}", appliance.token("root", "admin")));
    let add = ["destination", "add", "defectdojo", "dojo", "--url", "http://127.0.0.1:9", "--token-file", "-"];
    appliance.gateway.json_with(&[&add[..], &["--unchecked", "--paused"]].concat(), "the-token");
    let thief = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    thief.set_nonblocking(true).unwrap();
    let elsewhere = format!("http://{}", thief.local_addr().unwrap());
    let own = appliance.page.clone();
    let certificate = crate::support::tls::certificate_of(own.strip_prefix("https://").unwrap());
    let callers =
        [&[("Authorization", token.as_str())][..], &[("Cookie", cookie.as_str()), ("Origin", own.as_str())][..]];
    for caller in callers {
        for other in [
            json!({ "url": elsewhere, "check": true }),
            json!({ "url": elsewhere }),
            json!({ "proxy": elsewhere, "check": true }),
            json!({ "ca_pem": certificate, "check": true }),
        ] {
            let answer = appliance.ask("PATCH", "/api/v1/destinations/dojo", caller, &other);
            assert_eq!((answer.status, answer.json()["field"].as_str()), (400, Some("secret")), "{other}: {answer:?}");
            assert!(answer.json()["detail"].as_str().unwrap().contains("give the secret again"), "{answer:?}");
        }
    }
    // The page says it at the field where the secret is entered.
    let form = [("Content-Type", "application/x-www-form-urlencoded"), callers[1][0], callers[1][1]];
    let page = ask(&own, "POST", "/destinations/dojo/edit", &form, &format!("url={elsewhere}&unchecked=yes"));
    assert!(page.body.contains("give the secret again") && page.body.contains("name=\"secret\""), "{page:?}");
    assert_eq!(appliance.gateway.json(&["destination", "show", "dojo"])["url"], "http://127.0.0.1:9");
    assert_eq!(thief.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody was sent there");
    // Another path of the same place, and what is given again.
    for edit in [json!({ "url": "http://127.0.0.1:9/v2" }), json!({ "url": elsewhere, "secret": "another" })] {
        let answer = appliance.ask("PATCH", "/api/v1/destinations/dojo", callers[0], &edit);
        assert_eq!(answer.status, 200, "{edit}: {answer:?}");
    }
    // Whoever is on the box has its secrets anyway.
    appliance.gateway.json(&["destination", "edit", "dojo", "--url", "http://127.0.0.1:9"]);
}

/// What an address does not tell: which one was added, and what is another now. Never a secret.
#[test]
fn the_audit_log_says_what_was_changed_and_to_what() {
    let appliance = Appliance::start();
    let gateway = &appliance.gateway;
    appliance.user("ines", "admin");
    let token = appliance.token("robot", "operator");
    gateway.json(&["config", "set", "log-level", "info,hydrophone::work=debug"]);
    gateway.json_with(&["user", "passwd", "ines", "--password-file", "-"], "another long password");
    let cookie = cookie_of(&appliance.log_in("ines", "another long password"));
    let own = [("Cookie", cookie.as_str()), ("Origin", appliance.page.as_str())];
    appliance.user("omar", "viewer");
    let role = appliance.ask("PATCH", "/api/v1/users/omar", &own, &json!({ "role": "operator" }));
    assert_eq!(role.status, 200, "{role:?}");
    let url = "http://127.0.0.1:9/capability";
    let add =
        ["destination", "add", "defectdojo", "dojo", "--url", url, "--token-file", "-", "--unchecked", "--paused"];
    gateway.json_with(&add, "the-token");
    appliance.ask("PATCH", "/api/v1/destinations/dojo", &own, &json!({ "secret": "other-token", "url": url }));
    let certificate = gateway.json(&["certificate", "self-signed"]);
    let fingerprint = certificate["certificate"]["fingerprint"].as_str().expect("it has one").to_owned();
    let list = gateway.json(&["audit"]);
    let told: Vec<_> =
        list["entries"].as_array().unwrap().iter().map(|entry| entry["target"].as_str().unwrap()).collect();
    let shown = format!("/certificate/self-signed: fingerprint {fingerprint}");
    for target in [
        "/users: ines, admin",
        "/tokens: robot, operator",
        "/config/log-level: log-level = info,hydrophone::work=debug",
        "/users/ines: another password",
        "/users/omar: role operator",
        "/destinations: dojo, defectdojo",
        "/destinations/dojo: url, secret",
        shown.as_str(),
    ] {
        assert!(told.contains(&target), "{target} in {told:?}");
    }
    let (list, log) = (list.to_string(), gateway.log());
    for secret in [token.as_str(), PASSWORD, "another long password", "the-token", "other-token", "capability"] {
        assert!(!list.contains(secret) && !log.contains(secret), "{secret}");
    }
}

/// Whoever may only look must not fill the audit log, and what is in it is told to whoever collects the service's log.
#[test]
fn a_log_out_is_noted_only_where_a_login_ended_and_the_log_tells_what_the_audit_log_does() {
    let appliance = Appliance::start();
    appliance.user("ines", "viewer");
    let token = format!("Bearer {}", appliance.token("robot", "viewer"));
    for _ in 0..3 {
        let answer = appliance.ask("DELETE", "/api/v1/session", &[("Authorization", &token)], &Value::Null);
        assert_eq!(answer.status, 204, "{answer:?}");
    }
    let (first, second) = (appliance.cookie("ines"), appliance.cookie("ines"));
    let own = appliance.page.as_str();
    let end = |path: &str, method: &str, cookie: &str| {
        appliance.ask(method, path, &[("Cookie", cookie), ("Origin", own)], &Value::Null).status
    };
    assert_eq!([end("/api/v1/session", "DELETE", &first), end("/api/v1/session", "DELETE", &first)], [204, 401]);
    assert_eq!([end("/sign-out", "POST", &second), end("/sign-out", "POST", &second)], [303, 303]);
    let list = appliance.gateway.json(&["audit", "--what", "log"]);
    let told: Vec<_> =
        list["entries"].as_array().unwrap().iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    assert_eq!(told, ["Log out", "Log out", "Log in", "Log in"]);
    for line in [
        "ines by page from 127.0.0.1: Log in: /session: 200",
        "ines by page from 127.0.0.1: Log out: /session: 204",
        "by socket: Add a user: /users",
    ] {
        appliance.gateway.wait_for_log(line);
    }
    assert!(!appliance.gateway.log().contains(PASSWORD));
}

/// Two who read an export drop by drop hold all that there is for exports, and that must not be what backups need.
#[test]
fn exports_that_nobody_reads_keep_no_backup_from_being_made() {
    let sonar = crate::support::sonar::Sonar::start(crate::support::sonar::Mode::Cloud);
    sonar.edit(|model| {
        model.add_project("acme", "shop", "Web shop");
        for number in 0..3000 {
            let path = format!("src/{}/{number}.java", "folder/".repeat(20));
            let issue = crate::support::sonar::Issue::vulnerability("java:S3649", &path, 12);
            model.add_issue("shop", "main", issue.with_key(&format!("K{number}")));
        }
    });
    let appliance = Appliance::start();
    crate::support::connect(&appliance.gateway, &sonar);
    crate::support::import(&appliance.gateway, "acme", &["shop"]);
    let token = appliance.token("robot", "viewer");
    let address = appliance.page.strip_prefix("https://").unwrap();
    let slow: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = crate::support::tls::over(crate::support::tls::connect_narrow(address));
            let request = format!(
                "GET /api/v1/findings/export?format=json HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
            std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
            let mut first = [0; 12];
            std::io::Read::read_exact(&mut stream, &mut first).unwrap();
            assert_eq!(&first, b"HTTP/1.1 200");
            stream
        })
        .collect();
    let third = appliance.get("/api/v1/findings/export?format=json", &token);
    assert_eq!(third.status, 429, "exports are taken: {}", third.body.len());
    let file = appliance.gateway.folder().join("backup");
    appliance.gateway.json(&["backup", file.to_str().unwrap()]);
    assert_eq!(appliance.gateway.json(&["verify"])["damaged"], 0);
    drop(slow);
}
