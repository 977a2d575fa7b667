//! What the browsers look at: a gateway whose page is served, the SonarQube that it reads, and those it tells.

use serde_json::Value;

use crate::browser::Browser;
use crate::support::gateway::Gateway;
use crate::support::receiver::{Receiver, Reply};
use crate::support::sonar::{Issue, Mode, Model, Severity, Sonar};
use crate::support::{connect, findings, hook_up, import};

/// The password of everybody here.
pub const PASSWORD: &str = "correct horse battery";

/// What somebody might write into Sonar to have it run in our page.
pub const HOSTILE: &str = "\"'><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// A gateway with its page.
pub struct World {
    pub gateway: Gateway,
    pub sonar: Sonar,
    pub page: String,
    receivers: Vec<Receiver>,
}

impl World {
    /// A gateway that knows nothing and nobody.
    pub fn empty() -> Self {
        let sonar = Sonar::start(Mode::Cloud);
        let gateway = Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]);
        let page = gateway.json(&["status"])["page"].as_str().expect("it is served").to_owned();
        Self { gateway, sonar, page, receivers: Vec::new() }
    }

    /// A gateway with a shop of five findings, of which webhooks tell; an admin, an operator and a viewer may sign in.
    pub fn with_shop() -> Self {
        let world = Self::empty();
        world.sonar.edit(fill_shop);
        connect(&world.gateway, &world.sonar);
        import(&world.gateway, "acme", &["web-shop"]);
        world.gateway.json(&["config", "set", "public-url", world.gateway.address()]);
        hook_up(&world.gateway, &world.sonar, "acme");
        for (name, role) in PEOPLE {
            world.user(name, role);
        }
        world
    }

    /// A gateway that has been at work: several projects, one that is hostile, an analysis, a token, a destination that
    /// is told everything and one that refuses us.
    pub fn at_work() -> Self {
        let mut world = Self::with_shop();
        world.sonar.edit(fill_others);
        import(&world.gateway, "acme", &["payments-api", "warehouse"]);
        for (name, reply) in [("siem", None), ("ticketing", Some(Reply::Status(401)))] {
            let receiver = Receiver::start(SECRET);
            let add = ["destination", "add", "events", name, "--url", &receiver.url(), "--token-file", "-"];
            world.gateway.json_with(&add, SECRET);
            receiver.answer_always(reply);
            world.receivers.push(receiver);
        }
        world.gateway.json(&["token", "add", "prometheus", "--role", "viewer"]);
        world.analyse();
        world.gateway.wait("a destination that refuses us", |gateway| {
            let conditions = gateway.json(&["status"])["conditions"].as_array().map_or(0, Vec::len);
            (conditions > 0).then_some(())
        });
        world
    }

    /// An analysis of the shop that repairs the SQL injection and finds another; returns once the webhook is settled.
    pub fn analyse(&self) {
        self.sonar.analyse("web-shop", "main", |analysis| {
            analysis.fix("SQL");
            analysis
                .open(Issue::vulnerability("java:S2755", "src/main/java/shop/import/Parser.java", 66).with_key("XXE"));
        });
        self.gateway.wait("the analysis to be read", |gateway| {
            let found = findings(gateway, &["--project", "web-shop"]);
            found.iter().any(|finding| finding["key"] == "XXE").then_some(())
        });
    }

    /// Somebody who may sign in.
    pub fn user(&self, name: &str, role: &str) {
        self.gateway.json_with(&["user", "add", name, "--role", role, "--password-file", "-"], PASSWORD);
    }

    /// A browser in which somebody has signed in.
    #[track_caller]
    pub fn browser_of(&self, name: &str) -> Browser {
        let browser = Browser::open(&self.page);
        sign_in(&browser, name);
        browser
    }

    /// The finding with Sonar's key, as the command line shows it.
    pub fn finding(&self, key: &str) -> Value {
        let states = ["--state", "open,confirmed,accepted,false_positive,fixed,removed"];
        let found = findings(&self.gateway, &states).into_iter().find(|finding| finding["key"] == key);
        found.unwrap_or_else(|| panic!("no finding {key}"))
    }

    /// Waits until a decision that was sent from a finding's page has come back from Sonar, and shows it.
    #[track_caller]
    pub fn decided(&self, browser: &Browser, key: &str, state: &str) {
        browser.arrive(&self.finding_page(key));
        self.gateway.wait("the decision to be read", |_| (self.finding(key)["state"] == state).then_some(()));
        browser.reload();
    }

    /// The page of the finding with Sonar's key.
    pub fn finding_page(&self, key: &str) -> String {
        format!("/findings/{}", self.finding(key)["id"].as_str().expect("it has an id"))
    }
}

/// Who may sign in, and as what.
pub const PEOPLE: [(&str, &str); 3] = [("ines", "admin"), ("omar", "operator"), ("vera", "viewer")];

fn fill_shop(model: &mut Model) {
    model.add_organization("acme", "Acme");
    model.add_project("acme", "web-shop", "Web shop");
    let rows = [
        ("SQL", "java:S3649", "src/main/java/shop/order/OrderDao.java", 88, Severity::Blocker),
        ("XSS", "java:S5131", "src/main/java/shop/search/SearchController.java", 54, Severity::Blocker),
        ("TLS", "java:S4423", "src/main/java/shop/payment/GatewayClient.java", 40, Severity::Critical),
        ("LOG", "java:S5145", "src/main/java/shop/login/AuditLog.java", 19, Severity::Minor),
        ("OLD", "java:S5542", "src/main/java/shop/config/Vault.java", 7, Severity::Major),
    ];
    for (key, rule, path, line, severity) in rows {
        model.add_issue(
            "web-shop",
            "main",
            Issue::vulnerability(rule, path, line).with_key(key).with_severity(severity),
        );
    }
    for token in &mut model.tokens {
        (token.administers_issues, token.administers_hotspots) = (true, true);
    }
}

fn fill_others(model: &mut Model) {
    model.mark_false_positive("OLD");
    model.add_project("acme", "payments-api", HOSTILE);
    model.add_issue(
        "payments-api",
        "main",
        Issue::vulnerability("java:S6437", &format!("src/{HOSTILE}/{}.java", "long".repeat(30)), 3)
            .with_key("HOSTILE")
            .with_message(HOSTILE),
    );
    if let Some(rule) = model.rules.get_mut("java:S6437") {
        HOSTILE.clone_into(&mut rule.name);
    }
    model.add_project("acme", "warehouse", "Warehouse");
    model.add_issues("warehouse", "main", 60);
}

/// Signs in and waits for the overview.
#[track_caller]
pub fn sign_in(browser: &Browser, name: &str) {
    browser.go("/sign-in");
    send_credentials(browser, name, PASSWORD);
    browser.arrive("/");
}

/// Fills in the sign-in form and sends it.
#[track_caller]
pub fn send_credentials(browser: &Browser, name: &str, password: &str) {
    browser.write("input[name=account]", name);
    browser.write("input[name=password]", password);
    browser.press("form button.first");
}
