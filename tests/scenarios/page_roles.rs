//! Who may see which page and use which form: by the table that the router is made from, tried out on a real daemon.
//!
//! What can go wrong: a page lets somebody in whom its table keeps out, a page offers what its reader may not do, or a
//! link leads nowhere.

use std::collections::{BTreeSet, VecDeque};

use hydrophone::domain::access::Role;
use serde_json::json;

use crate::steps::{CLOUD, sonar_with};
use crate::support::defectdojo::DefectDojo;
use crate::support::gateway::Gateway;
use crate::support::https::{Answer, ask};
use crate::support::{connect, hook_up, import};

const PASSWORD: &str = "correct horse battery";

/// A page that is served, and its reader.
struct Reader<'a> {
    page: &'a str,
    cookie: Option<String>,
}

impl<'a> Reader<'a> {
    fn nobody(page: &'a str) -> Self {
        Self { page, cookie: None }
    }

    /// Somebody new with a role.
    fn with(gateway: &Gateway, page: &'a str, role: Role) -> Self {
        let name = role.as_str();
        gateway.json_with(&["user", "add", name, "--role", name, "--password-file", "-"], PASSWORD);
        let credentials = json!({ "user": name, "password": PASSWORD }).to_string();
        let answer = ask(page, "POST", "/api/v1/session", &[("Content-Type", "application/json")], &credentials);
        let cookie = answer.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie is set");
        Self { page, cookie: Some(cookie.to_owned()) }
    }

    /// Asks as a browser does that stands on the page itself.
    fn ask(&self, method: &str, path: &str) -> Answer {
        let mut headers = vec![("Origin", self.page), ("Content-Type", "application/x-www-form-urlencoded")];
        if let Some(cookie) = &self.cookie {
            headers.push(("Cookie", cookie));
        }
        ask(self.page, method, path, &headers, "")
    }
}

fn served(gateway: &Gateway) -> String {
    gateway.json(&["status"])["page"].as_str().expect("it is served").to_owned()
}

/// Whether an address is one of those that a pattern such as `/findings/{id}` stands for.
fn fits(pattern: &str, address: &str) -> bool {
    let (pattern, address): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), address.split('/').collect());
    pattern.len() == address.len()
        && pattern.iter().zip(&address).all(|(part, other)| part == other || part.starts_with('{'))
}

#[test]
fn every_page_and_form_lets_in_whom_its_table_says_and_nobody_else() {
    let gateway = Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]);
    let page = served(&gateway);
    let readers = Role::ALL.map(|role| (role, Reader::with(&gateway, &page, role)));
    let nobody = Reader::nobody(&page);
    let mut tried = 0;
    for (method, path, least) in hydrophone::admin::pages() {
        let method = method.as_str();
        // What the others need would end; it has tests of its own.
        if path == "/sign-out" {
            continue;
        }
        let filled: Vec<&str> = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
        let address = filled.join("/");
        let refused = nobody.ask(method, &address);
        let Some(least) = least else {
            assert!(["/sign-in", "/setup"].contains(&path), "{method} {path} is for anybody");
            assert!(!matches!(refused.status, 401 | 403 | 405 | 500..), "{method} {path}: {refused:?}");
            continue;
        };
        assert!(method == "GET" || least > Role::Viewer, "{method} {path} lets a viewer change something");
        // A form that was sent cannot be sent again by going back to it.
        let next = format!("/sign-in?next={}", address.replace('/', "%2F"));
        let expected = if method == "GET" { next.as_str() } else { "/sign-in" };
        assert_eq!((refused.status, refused.header("location")), (303, Some(expected)), "{method} {path} for nobody");
        for (role, reader) in &readers {
            let answer = reader.ask(method, &address);
            let led = answer.header("location").is_some_and(|to| to.starts_with("/sign-in"));
            assert_eq!(answer.status == 403, *role < least, "{method} {path} for {role}: {answer:?}");
            assert!(!led && !matches!(answer.status, 401 | 405 | 500..), "{method} {path} for {role}: {answer:?}");
            tried += 1;
        }
    }
    assert!(tried >= 75, "{tried}");
}

/// The values of an attribute in a page.
fn values<'a>(html: &'a str, attribute: &str) -> Vec<String> {
    let start = format!(" {attribute}=\"");
    let values = html.split(start.as_str()).skip(1).filter_map(|rest: &'a str| rest.split('"').next());
    values.map(|value| value.replace("&amp;", "&")).collect()
}

#[test]
fn every_page_offers_its_reader_what_leads_somewhere_and_what_may_be_done() {
    let sonar = sonar_with(CLOUD, &["A", "B"]);
    let gateway = Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]);
    connect(&gateway, &sonar);
    import(&gateway, "acme", &["shop"]);
    hook_up(&gateway, &sonar, "acme");
    sonar.analyse("shop", "main", |analysis| analysis.fix("A"));
    gateway.wait("the webhook to be read", |gateway| {
        let list = gateway.json(&["delivery", "list"]);
        (list["deliveries"][0]["outcome"] == "synced").then_some(())
    });
    let dojo = DefectDojo::start();
    let add = ["destination", "add", "defectdojo", "dojo", "--url", &dojo.url(), "--token-file", "-"];
    gateway.json_with(&add, &dojo.token());
    gateway.json(&["asset", "add", "Unused"]);
    gateway.json(&["token", "add", "robot", "--role", "viewer"]);
    let page = served(&gateway);
    let table = hydrophone::admin::pages();
    for role in Role::ALL {
        let reader = Reader::with(&gateway, &page, role);
        let mut found: BTreeSet<String> = BTreeSet::from(["/".to_owned()]);
        let mut ahead: VecDeque<String> = VecDeque::from(["/".to_owned()]);
        while let Some(address) = ahead.pop_front() {
            let answer = reader.ask("GET", &address);
            // The set-up begins where it was left.
            if let (303, Some(onward)) = (answer.status, answer.header("location")) {
                if found.insert(onward.to_owned()) {
                    ahead.push_back(onward.to_owned());
                }
                continue;
            }
            assert_eq!(answer.status, 200, "{address} is offered to the {role}: {answer:?}");
            for action in values(&answer.body, "action") {
                let (_, _, least) = table
                    .iter()
                    .find(|(method, pattern, _)| method == "POST" && fits(pattern, &action))
                    .unwrap_or_else(|| panic!("{address} has a form for {action}, which is nothing"));
                assert!(least.is_none_or(|least| role >= least), "{address} offers {action} to the {role}");
            }
            for link in values(&answer.body, "href") {
                let link = link.split('#').next().unwrap_or_default().to_owned();
                if link.starts_with('/') && found.insert(link.clone()) {
                    assert!(found.len() < 300, "there is no end of links: {found:?}");
                    ahead.push_back(link);
                }
            }
        }
        // Nothing is hidden from those who may see it.
        for (method, pattern, least) in &table {
            if method == "GET" && least.is_some_and(|least| role >= least) {
                let reached = found.iter().any(|link| fits(pattern, link.split('?').next().unwrap_or_default()));
                // They are linked where something was refused, and where a fleet is gathered.
                assert!(
                    reached || ["/destinations/{name}/parked", "/fleet"].contains(pattern),
                    "no link leads the {role} to {pattern}: {found:?}"
                );
            }
        }
    }
}
