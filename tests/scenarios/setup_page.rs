//! Setting up with the page alone, without script: what a form sends and a browser follows, up to a test that arrives.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::steps::{NEWEST_SERVER, assert_tells};
use crate::support::gateway::Gateway;
use crate::support::https::{Answer, ask};
use crate::support::sonar::{Issue, Mode, Sonar};
use crate::support::trust;

/// Somebody with a browser that runs no script.
struct Visitor {
    gateway: Gateway,
    page: String,
    cookie: String,
}

impl Visitor {
    fn admin() -> Self {
        let gateway = Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]);
        let page = gateway.json(&["status"])["page"].as_str().unwrap().to_owned();
        let mut visitor = Self { gateway, page, cookie: String::new() };
        visitor.cookie = visitor.sign_in("ines", "admin");
        visitor
    }

    fn sign_in(&self, name: &str, role: &str) -> String {
        let password = "correct horse battery";
        self.gateway.json_with(&["user", "add", name, "--role", role, "--password-file", "-"], password);
        let answer = self.post_as("", "/sign-in", &[("account", name), ("password", password)]);
        answer.header("set-cookie").expect("a cookie").split(';').next().unwrap().to_owned()
    }

    fn get(&self, path: &str) -> Answer {
        ask(&self.page, "GET", path, &[("Cookie", &self.cookie)], "")
    }

    /// A page that is there.
    fn see(&self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    }

    fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.post_as(&self.cookie, path, fields)
    }

    fn post_as(&self, cookie: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let body: Vec<_> = fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let kind = ("Content-Type", "application/x-www-form-urlencoded");
        ask(&self.page, "POST", path, &[("Cookie", cookie), ("Origin", &self.page), kind], &body.join("&"))
    }

    /// Sends a form that leads on, and says where to.
    fn led(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let answer = self.post(path, fields);
        assert_eq!(answer.status, 303, "{path}: {answer:?}");
        answer.header("location").unwrap().to_owned()
    }
}

fn sonar(mode: Mode) -> Sonar {
    let sonar = Sonar::start(mode);
    sonar.edit(|model| {
        for (key, name) in [("shop", "Web shop"), ("till", "Till <b>&</b>"), ("bank", "Bank")] {
            model.add_project("acme", key, name);
            model.add_issue(key, "main", Issue::vulnerability("java:S3649", "src/a.java", 12));
        }
        model.add_branch("till", "release/1");
    });
    sonar
}

/// The fields of the form of the first step.
fn source<'a>(url: &'a str, token: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![("kind", "server"), ("url", url), ("token", token), ("name", "lan"), ("ca", ""), ("proxy", "")]
}

const PROJECTS: &str = "/connect/projects";
const WEBHOOK: &str = "/webhooks/lan/lan";

fn connected(sonar: &Sonar) -> Visitor {
    let visitor = Visitor::admin();
    visitor.led("/connect/source", &source(&sonar.url(), sonar.admin_token()));
    visitor
}

fn brought_in(visitor: &Visitor, keys: &[&str]) {
    let mut fields = vec![("organization", "lan/lan"), ("act", "import")];
    fields.extend(keys.iter().map(|&key| ("project", key)));
    visitor.led(PROJECTS, &fields);
}

#[test]
fn from_an_empty_box_to_a_test_that_arrives() {
    let sonar = sonar(NEWEST_SERVER);
    let visitor = Visitor::admin();
    assert_tells(
        &visitor.see("/"),
        &["This box is ready and holds nothing yet", "No public address is set", "href=\"/connect/source\""],
    );
    assert_tells(&visitor.see("/projects"), &["No projects yet", "href=\"/connect\""]);
    assert_tells(&visitor.see("/connect/source"), &["Connect SonarQube", "id=\"source-token\"", "Save and check"]);
    let to = visitor.led("/connect/source", &source(&sonar.url(), sonar.admin_token()));
    assert_eq!(to, "/connect/organization?source=lan");
    // A Server has nothing to choose from.
    let answer = visitor.get(&to);
    assert_eq!(answer.header("location"), Some("/connect/projects?organization=lan%2Flan"), "{answer:?}");

    let page = visitor.see("/connect/projects?organization=lan%2Flan");
    assert_tells(
        &page,
        &["3 projects", "Web shop", "Till &lt;b&gt;&amp;&lt;/b&gt;", "value=\"shop\"", "Nothing comes in before"],
    );
    assert!(!page.contains("<b>&"), "{page}");
    let chosen = [
        ("organization", "lan/lan"),
        ("project", "shop"),
        ("project", "till"),
        ("branches:till", "main, release/*"),
        ("new-asset:till", "Cash desk"),
        ("asset:till", ""),
        ("repository:till", "https://git.example/till.git"),
    ];
    let with = |act| [&chosen[..], &[("act", act)]].concat();
    let ahead = visitor.post(PROJECTS, &with("preview"));
    assert_eq!(ahead.status, 200);
    assert_tells(
        &ahead.body,
        &["2 projects with 3 branches bring in", "<strong>2 findings</strong>", "new asset Cash desk"],
    );
    assert_eq!(visitor.gateway.json(&["asset", "list"])["assets"].as_array().unwrap().len(), 0, "nothing is stored");

    let to = visitor.led(PROJECTS, &with("import"));
    assert!(to.starts_with("/connect/import?organization=lan%2Flan&since="), "{to}");
    visitor
        .gateway
        .wait("the import", |_| visitor.see(&to).contains("All 2 projects are in step: 2 findings.").then_some(()));
    let till = visitor.gateway.json(&["project", "show", "lan", "till"]);
    assert_eq!((&till["asset"], till["branches"].as_array().unwrap().len()), (&"Cash desk".into(), 2));
    assert_eq!(till["repository"], "https://git.example/till.git");

    let page = visitor.see("/connect/webhook?organization=lan%2Flan");
    assert_tells(
        &page,
        &["At which address does Sonar reach this box?", "Administration", "Waiting for Sonar’s own first call"],
    );
    let along = [("step", "webhook")];
    let to = visitor.led(&format!("{WEBHOOK}/address"), &[along[0], ("address", visitor.gateway.address())]);
    assert_eq!(to, "/connect/webhook?organization=lan%2Flan");
    visitor.led(&format!("{WEBHOOK}/register"), &along);
    assert_eq!(sonar.edit(|model| model.webhooks.len()), 1);
    visitor.led(&format!("{WEBHOOK}/test"), &along);
    let page = visitor.see(&to);
    assert_tells(
        &page,
        &[
            "This box has registered it in Sonar.",
            "A signed call came in through the public address.",
            "answered with 202",
        ],
    );

    trust(&visitor.gateway, &sonar);
    sonar.analyse("shop", "main", |_| {});
    assert_eq!(sonar.wait_deliveries(1)[0].status, Some(202));
    assert_tells(&visitor.see(&to), &["Sonar calls this box."]);
    assert_tells(
        &visitor.see("/connect/destinations?organization=lan%2Flan"),
        &["href=\"/destinations/add\"", "Finish"],
    );
}

#[test]
fn a_wrong_token_is_said_at_its_field_and_the_rest_is_kept() {
    let sonar = sonar(NEWEST_SERVER);
    let visitor = Visitor::admin();
    let url = sonar.url();
    let answer = visitor.post("/connect/source", &source(&url, "squ_wrong"));
    assert_eq!(answer.status, 400);
    assert_tells(&answer.body, &["href=\"#source-token\"", "does not accept this token", &format!("value=\"{url}\"")]);
    assert!(answer.body.contains("id=\"kind-server\" value=\"server\" checked"), "{}", answer.body);
    assert!(!answer.body.contains("squ_wrong"), "a token is never shown again");
    let nowhere = visitor.post("/connect/source", &source("https://sonar.invalid", sonar.token()));
    assert_eq!(nowhere.status, 400);
    assert_tells(&nowhere.body, &["href=\"#source-url\"", "cannot be reached", "value=\"https://sonar.invalid\""]);
    let no_address = visitor.post("/connect/source", &source("", sonar.token()));
    assert_tells(&no_address.body, &["href=\"#source-url\"", "A Server needs its address."]);
    let mut with_ca = source(&url, sonar.token());
    with_ca[4].1 = "no certificate";
    let answer = visitor.post("/connect/source", &with_ca);
    assert_tells(&answer.body, &["href=\"#source-ca\"", "holds no certificate", ">no certificate</textarea>"]);
    assert_eq!(visitor.gateway.json(&["source", "list"])["sources"], Value::Array(vec![]), "nothing is kept");
    visitor.led("/connect/source", &source(&url, sonar.token()));
    let taken = visitor.post("/connect/source", &source(&url, sonar.token()));
    assert_eq!(taken.status, 409);
    assert_tells(
        &taken.body,
        &["href=\"#source-name\"", "there is a source lan already".replacen('t', "T", 1).as_str()],
    );
}

#[test]
fn what_is_wrong_with_one_project_loses_nothing_of_the_others() {
    let sonar = sonar(NEWEST_SERVER);
    let visitor = connected(&sonar);
    visitor.gateway.json(&["asset", "add", "Cash desk"]);
    let fields = [
        ("organization", "lan/lan"),
        ("act", "import"),
        ("project", "shop"),
        ("branches:shop", "develop"),
        ("pulls:shop", "on"),
        ("project", "till"),
        ("new-asset:till", "Cash desk"),
        ("project", "bank"),
        ("repository:bank", "https://ines:secret@git.example/bank.git"),
    ];
    let answer = visitor.post(PROJECTS, &fields);
    assert_eq!(answer.status, 409);
    let page = &answer.body;
    assert_tells(
        page,
        &[
            "Some fields need another look.",
            "no clone address of a repository",
            "An asset named “Cash desk” exists.",
            "value=\"develop\"",
        ],
    );
    // Their rows are first, and the summary leads to them.
    assert_tells(
        page,
        &["href=\"#repository-0\"", "href=\"#new-asset-1\"", "name=\"new-asset:till\" value=\"Cash desk\""],
    );
    assert!(page.contains("name=\"pulls:shop\" checked"), "{page}");
    assert_eq!(visitor.gateway.json(&["project", "list", "lan"])["projects"][0]["imported"], false, "nothing came in");
    let none = visitor.post(PROJECTS, &[("organization", "lan/lan"), ("act", "import")]);
    assert_eq!(none.status, 400);
    assert_tells(&none.body, &["Choose at least one project."]);
}

/// Projects that come in differently are imports of their own; that one of them fails says nothing of the others.
#[test]
fn what_came_in_before_a_failure_is_counted_and_not_asked_for_again() {
    let sonar = sonar(NEWEST_SERVER);
    let visitor = connected(&sonar);
    let fields = [
        ("organization", "lan/lan"),
        ("act", "import"),
        ("project", "shop"),
        ("new-asset:shop", "Shop front"),
        ("project", "zoo"),
        ("branches:zoo", "develop"),
    ];
    let answer = visitor.post(PROJECTS, &fields);
    assert_eq!(answer.status, 400);
    let page = &answer.body;
    assert_tells(page, &["1 project was brought in, the others were not.", "Sonar shows no project zoo"]);
    assert!(!page.contains("Nothing was brought in"), "{page}");
    assert_eq!(visitor.gateway.json(&["project", "show", "lan", "shop"])["asset"], "Shop front");
    // What is here is not chosen any more; what is not, still is.
    assert!(!page.contains("name=\"new-asset:shop\" value=\"Shop front\""), "{page}");
    assert_tells(page, &["name=\"project\" value=\"zoo\" checked", "value=\"develop\"", ">In step<"]);
}

#[test]
fn a_choice_goes_along_through_searching_and_paging() {
    let sonar = sonar(NEWEST_SERVER);
    sonar.edit(|model| {
        for number in 10..60 {
            model.add_project("acme", &format!("service-{number}"), &format!("Service {number}"));
        }
    });
    let visitor = connected(&sonar);
    let first = visitor.see("/connect/projects?organization=lan%2Flan");
    assert_tells(&first, &["1–25 of 53", "value=\"page-2\""]);
    let chosen = [("organization", "lan/lan"), ("project", "shop"), ("branches:shop", "develop"), ("page", "1")];
    let second = visitor.post(PROJECTS, &[&chosen[..], &[("act", "page-2")]].concat()).body;
    assert_tells(&second, &["26–50 of 53"]);
    let search = visitor.post(PROJECTS, &[&chosen[..], &[("act", "look"), ("search", "service-1")]].concat()).body;
    assert_tells(
        &search,
        &[
            "Service 10",
            "Chosen, and not in the list below",
            "name=\"project\" value=\"shop\" checked",
            "value=\"develop\"",
        ],
    );
    assert!(!search.contains("Service 20"), "{search}");
    let everything = visitor.led(
        PROJECTS,
        &[
            ("organization", "lan/lan"),
            ("act", "import"),
            ("all", "on"),
            ("project", "bank"),
            ("new-asset:bank", "Money"),
        ],
    );
    assert!(everything.starts_with("/connect/import"), "{everything}");
    let list = visitor.gateway.json(&["project", "list", "lan"]);
    assert!(list["projects"].as_array().unwrap().iter().all(|project| project["imported"] == true), "{list}");
    assert_eq!(visitor.gateway.json(&["project", "show", "lan", "bank"])["asset"], "Money");
}

#[test]
fn a_secret_is_on_the_page_only_when_asked_for_and_that_is_written_down() {
    let sonar = sonar(NEWEST_SERVER);
    let visitor = connected(&sonar);
    brought_in(&visitor, &["shop"]);
    let secret = visitor.gateway.json(&["webhook", "show", "lan", "--reveal"])["secret"].as_str().unwrap().to_owned();
    let page = visitor.see(WEBHOOK);
    assert!(!page.contains(&secret), "{page}");
    let revealed = visitor.post(&format!("{WEBHOOK}/reveal"), &[]);
    assert_eq!((revealed.status, revealed.header("cache-control")), (200, Some("private, no-store")));
    assert!(revealed.body.contains(&secret), "{}", revealed.body);
    // The page is to be had again at its own address, and so is that of the form.
    assert_tells(&revealed.body, &["data-self=\"/webhooks/lan/lan\""]);
    let again = visitor.get(&format!("{WEBHOOK}/reveal"));
    assert_eq!((again.status, again.header("location")), (303, Some(WEBHOOK)));
    let step = visitor.post(&format!("{WEBHOOK}/reveal"), &[("step", "webhook")]).body;
    assert_tells(&step, &["data-self=\"/connect/webhook?organization=lan%2Flan\""]);
    assert!(!visitor.see(WEBHOOK).contains(&secret));
    let newest = &visitor.gateway.json(&["audit", "--limit", "1"])["entries"][0];
    assert_eq!((&newest["who"], &newest["what"]), (&"ines".into(), &"Show a webhook's address and secret".into()));
}

#[test]
fn a_refusal_of_sonar_stands_on_the_page_with_the_clicks_that_help() {
    let sonar = sonar(NEWEST_SERVER);
    let visitor = connected(&sonar);
    brought_in(&visitor, &["shop"]);
    let bad = visitor.post(&format!("{WEBHOOK}/address"), &[("address", "hooks.example.com")]);
    assert_eq!(bad.status, 400);
    assert_tells(&bad.body, &["href=\"#public-url\"", "It must begin with https://", "value=\"hooks.example.com\""]);
    assert_eq!(visitor.led(&format!("{WEBHOOK}/address"), &[("address", visitor.gateway.address())]), WEBHOOK);
    sonar.edit(|model| model.settings.validate_webhooks = true);
    let refused = visitor.post(&format!("{WEBHOOK}/register"), &[]);
    assert_eq!(refused.status, 409);
    assert_tells(&refused.body, &["sonar.validateWebhooks", "Enable local webhooks validation", "Register it for me"]);
    sonar.edit(|model| model.settings.validate_webhooks = false);
    assert_eq!(visitor.led(&format!("{WEBHOOK}/register"), &[]), format!("{WEBHOOK}#registered"));
    let secret = || sonar.edit(|model| model.webhooks[0].secret.clone());
    let former = secret();
    for (typed, wrong) in [("soon", "It is not a number of hours."), ("9999", "An overlap is of 90 days at most.")] {
        let bad = visitor.post(&format!("{WEBHOOK}/rotate"), &[("overlap", typed)]);
        assert_eq!(bad.status, 400);
        assert_tells(&bad.body, &["href=\"#overlap\"", "aria-invalid=\"true\"", wrong]);
    }
    assert_eq!(secret(), former, "nothing is done with a span that nobody meant");
    visitor.led(&format!("{WEBHOOK}/rotate"), &[("overlap", "24")]);
    assert_ne!(secret(), former);
    visitor.led(&format!("{WEBHOOK}/unregister"), &[]);
    assert_eq!(sonar.edit(|model| model.webhooks.len()), 0);
}

#[test]
fn whoever_only_looks_is_offered_nothing_to_press() {
    let sonar = sonar(NEWEST_SERVER);
    let mut visitor = connected(&sonar);
    brought_in(&visitor, &["shop"]);
    visitor.cookie = visitor.sign_in("vera", "viewer");
    assert_eq!(visitor.get("/connect/source").status, 403);
    assert_tells(&visitor.see("/webhooks"), &["href=\"/webhooks/lan/lan\""]);
    let page = visitor.see(WEBHOOK);
    assert_tells(&page, &["You may look", "An admin can reveal it."]);
    for absent in ["Register it for me", "Test the way", "public-url", "action=\"/webhooks"] {
        assert!(!page.contains(absent), "{absent} in {page}");
    }
    assert_eq!(visitor.post(&format!("{WEBHOOK}/reveal"), &[]).status, 403);
    assert!(!visitor.see("/projects").contains("/connect"));
}
