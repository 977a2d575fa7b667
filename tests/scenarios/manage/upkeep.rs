//! Settings, the certificate, users and the audit log on the page.

use super::{Managed, field, text};

#[test]
fn settings_are_all_set_or_none_and_what_is_wrong_stands_at_its_field() {
    let managed = Managed::start();
    let page = managed.shown("/settings");
    for part in ["Intervals", "Retention", "Address at which Sonar reaches this box", "Certificate"] {
        assert!(text(&page).contains(part), "{part} in {}", text(&page));
    }
    let value = |managed: &Managed, key: &str| {
        let list = managed.api("/config");
        let one = list["settings"].as_array().unwrap().iter().find(|one| one["key"] == key).unwrap().clone();
        one["value"].as_str().map(str::to_owned)
    };
    let fields = [
        ("poll-minutes", "20"),
        ("public-url", "<b>ftp://x"),
        ("keep-closed-days", "0"),
        ("keep-delivery-days", "<script>alert(1)</script>"),
    ];
    let refused = managed.post("/settings", &fields);
    assert_eq!(refused.status, 400, "{}", refused.body);
    super::no_markup_of_others(&refused.body);
    for key in ["public-url", "keep-closed-days", "keep-delivery-days"] {
        assert!(field(&refused.body, key).contains("aria-invalid=\"true\""), "{key}");
        assert!(
            refused.body.contains(&format!("id=\"{key}-e\"")) && refused.body.contains(&format!("href=\"#{key}\""))
        );
    }
    assert!(field(&refused.body, "poll-minutes").contains("value=\"20\""));
    assert!(!field(&refused.body, "poll-minutes").contains("aria-invalid"));
    assert_eq!(value(&managed, "poll-minutes").as_deref(), Some("15"), "nothing is changed");
    let fields = [("poll-minutes", "20"), ("public-url", "https://hooks.example.com"), ("keep-closed-days", "")];
    assert_eq!(managed.led("/settings", &fields), "/settings");
    assert_eq!(value(&managed, "poll-minutes").as_deref(), Some("20"));
    assert_eq!(value(&managed, "public-url").as_deref(), Some("https://hooks.example.com"));
    // What was not among the fields stays; what is empty has its default again.
    managed.led("/settings", &[("poll-minutes", "")]);
    assert_eq!(value(&managed, "poll-minutes").as_deref(), Some("15"));
    assert_eq!(value(&managed, "public-url").as_deref(), Some("https://hooks.example.com"));
    let operator = managed.get_as(&managed.operator, "/settings").body;
    assert!(
        !operator.contains("name=\"poll-minutes\"")
            && text(&operator).contains("You may look; an admin can change this.")
    );
    assert_eq!(managed.post_as(&managed.operator, "/settings", &[("poll-minutes", "1")]).status, 403);
}

#[test]
fn the_certificate_is_described_as_it_is_shown() {
    let managed = Managed::start();
    let certificate = managed.api("/certificate");
    let der = crate::support::tls::certificate_of(managed.page.strip_prefix("https://").unwrap());
    let pem: String = der.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, pem).unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, &der);
    let pairs: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(certificate["fingerprint"], pairs.join(":"));
    assert_eq!(certificate["not_after"], "2036-01-01T00:00:00Z");
    assert!(certificate["names"].to_string().contains("localhost"), "{certificate}");
    assert_eq!(certificate["listeners"].as_array().unwrap().len(), 2, "{certificate}");
    let page = text(&managed.shown("/settings"));
    assert!(page.contains(&pairs.join(":")) && page.contains("2036-01-01"), "{page}");
}

#[test]
fn a_role_is_changed_and_the_last_admin_stays() {
    let managed = Managed::start();
    for (name, role) in [("ines", "admin"), ("omar", "viewer")] {
        let add = ["user", "add", name, "--role", role, "--password-file", "-"];
        managed.gateway.json_with(&add, "correct horse battery");
    }
    let page = managed.shown("/users");
    assert!(page.contains("action=\"/users/omar/role\"") && text(&page).contains("Change"), "{page}");
    assert_eq!(managed.led("/users/omar/role", &[("role", "operator")]), "/users");
    assert!(
        managed.api("/users").to_string().contains(r#""name":"omar","role":"operator""#),
        "{}",
        managed.api("/users")
    );
    let kept = managed.post("/users/ines/role", &[("role", "viewer")]);
    assert_eq!(kept.status, 409, "{}", kept.body);
    assert!(text(&kept.body).contains("The role is not changed") && text(&kept.body).contains("the last admin"));
    let odd = managed.post("/users/omar/role", &[("role", "<script>alert(1)</script>")]);
    assert_eq!(odd.status, 400);
    super::no_markup_of_others(&odd.body);
    assert_eq!(managed.post_as(&managed.operator, "/users/omar/role", &[("role", "admin")]).status, 403);
}

#[test]
fn the_audit_log_is_searched_paged_and_exported() {
    let managed = Managed::start();
    for name in ["One", "Two", "Three"] {
        managed.gateway.json(&["asset", "add", name]);
    }
    managed.led("/assets", &[("name", "Four")]);
    let page = text(&managed.shown("/audit?what=asset"));
    assert!(page.contains("Add an asset") && !page.contains("Make an API token"), "{page}");
    assert!(text(&managed.shown("/audit?who=nobody")).contains("No entry matches"));
    let entries = |query: &str| managed.api(&format!("/audit?{query}"));
    assert_eq!(entries("who=admin&what=ASSET")["entries"].as_array().unwrap().len(), 1);
    let first = entries("what=/assets&limit=3");
    let second = entries(&format!("what=/assets&limit=3&before={}", first["next"]));
    assert_eq!([&first, &second].map(|list| list["entries"].as_array().unwrap().len()), [3, 1]);
    assert!(second["next"].is_null(), "{second}");

    let csv = managed.get("/api/v1/audit/export?format=csv&what=/assets");
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    assert!(csv.header("content-disposition").unwrap().contains("audit.csv"));
    assert!(csv.body.contains("id,at,who,via,from,what,target,status\n"), "{}", csv.body);
    assert_eq!(csv.body.matches("Add an asset").count(), 4, "{}", csv.body);
    let lines = managed.get("/audit/export?format=jsonl&what=/assets");
    assert_eq!(lines.body.matches("\"what\":\"Add an asset\"").count(), 4, "{}", lines.body);
    assert_eq!(managed.get("/api/v1/audit/export?format=xml").status, 400);
    assert_eq!(managed.get_as(&managed.operator, "/audit/export?format=csv").status, 403);
    let told = managed.gateway.cli(&["audit", "--what", "/assets", "--export", "csv"]).out;
    assert_eq!(told.lines().count(), 5, "{told}");
    assert!(told.starts_with("id,at,who"), "{told}");
}

#[test]
fn a_user_or_token_that_is_not_added_loses_nothing_of_the_form() {
    let managed = Managed::start();
    assert_eq!(managed.post("/users", &[("name", "omar"), ("role", "operator")]).status, 200);
    let taken = managed.post("/users", &[("name", "omar"), ("role", "operator")]);
    assert_eq!(taken.status, 409, "{}", taken.body);
    assert!(taken.body.contains("value=\"omar\"") && taken.body.contains("href=\"#user\""), "{}", taken.body);
    assert!(taken.body.contains("<option value=\"operator\" selected>"), "{}", taken.body);
    assert!(text(&taken.body).contains("There is a user omar already."), "{}", taken.body);
    let odd = managed.post("/users", &[("name", super::HOSTILE), ("role", "viewer")]);
    assert_eq!(odd.status, 400);
    super::no_markup_of_others(&odd.body);
    assert!(odd.body.contains("id=\"user-e\""), "{}", odd.body);
    let days = managed.post("/tokens", &[("name", "robot"), ("role", "operator"), ("days", "soon")]);
    assert_eq!(days.status, 400);
    for part in ["value=\"robot\"", "value=\"soon\"", "href=\"#token-days\"", "id=\"token-days-e\""] {
        assert!(days.body.contains(part), "{part} in {}", days.body);
    }
    let taken = managed.post("/tokens", &[("name", "admin"), ("role", "viewer"), ("days", "30")]);
    assert_eq!(taken.status, 409);
    assert!(taken.body.contains("value=\"admin\"") && taken.body.contains("value=\"30\""), "{}", taken.body);
    assert_eq!(managed.api("/tokens")["tokens"].as_array().unwrap().len(), 3, "none is made");
}

#[test]
fn an_address_of_a_form_leads_to_its_page_and_one_of_nothing_says_so() {
    let managed = Managed::start();
    for (form, page) in [
        ("/destinations/siem/check", "/destinations"),
        ("/destinations/siem/parked/F1/retry", "/destinations/siem/parked"),
        ("/findings/F1/triage", "/findings/F1"),
        ("/findings/triage", "/findings"),
        ("/assets/Cash%20desk/remove", "/assets/Cash%20desk"),
        ("/tokens", "/users"),
        ("/sync", "/"),
    ] {
        let answer = managed.get(form);
        assert_eq!((answer.status, answer.header("location")), (303, Some(page)), "{form}");
    }
    let bearer = format!("Bearer {}", managed.viewer);
    let browser = [("Authorization", bearer.as_str()), ("Accept", "text/html,*/*;q=0.8")];
    let asked =
        |path: &str, headers: &[(&str, &str)]| crate::support::https::ask(&managed.page, "GET", path, headers, "");
    let page = asked("/finding", &browser);
    assert_eq!((page.status, page.header("content-type")), (404, Some("text/html; charset=utf-8")));
    assert!(text(&page.body).contains("There is no such page.") && !page.body.contains("API"), "{}", page.body);
    assert!(page.header("content-security-policy").is_some());
    for (path, headers) in [("/finding", &browser[..1]), ("/api/v1/finding", &browser[..])] {
        let answer = asked(path, headers);
        assert_eq!((answer.status, answer.header("content-type")), (404, Some("application/problem+json")), "{path}");
    }
}

#[test]
fn a_certificate_is_given_on_the_page_and_what_is_wrong_with_one_is_told_at_its_field() {
    let managed = Managed::start();
    let page = text(&managed.shown("/settings/certificate"));
    assert!(page.contains("signed by itself, and SonarQube refuses such a one"), "{page}");
    let operator = managed.get_as(&managed.operator, "/settings/certificate").body;
    assert!(!operator.contains("<textarea") && text(&operator).contains("You may look"), "{operator}");
    let rsa = include_str!("../../tls/rsa.pem");
    let bad = managed.post("/settings/certificate", &[("certificate", rsa), ("key", "no key")]);
    assert_eq!(bad.status, 400);
    assert!(bad.body.contains("href=\"#key\"") && bad.body.contains("BEGIN CERTIFICATE"), "{}", bad.body);
    let done = managed.post("/settings/certificate", &[("certificate", rsa), ("key", rsa)]);
    assert_eq!(done.status, 200, "{}", done.body);
    assert!(!done.body.contains("BEGIN PRIVATE KEY-----\n"), "the key is not shown again");
    assert_eq!(managed.api("/certificate")["origin"], "set");
    let bad = managed.post("/settings/certificate/acme", &[("domains", "hooks.example.com")]);
    assert!(bad.status == 400 && bad.body.contains("href=\"#agree_to_terms\""), "{}", bad.body);
    managed.post("/settings/certificate/own", &[]);
    assert_eq!(managed.api("/certificate")["origin"], "own");
}
