//! Setting up in the browser: from the link in the log to Sonar's first call, with script and without.

use serde_json::json;

use crate::browser::Browser;
use crate::support::gateway::Gateway;
use crate::support::sonar::{Issue, Mode, Sonar};
use crate::support::{findings, trust};
use crate::world::PASSWORD;

const SERVER: Mode = Mode::Server { version: "2026.3.0.1", mqr: true };

/// A box as it comes, a Server with three projects, and a browser that has nothing yet.
struct Beginning {
    gateway: Gateway,
    sonar: Sonar,
    browser: Browser,
}

impl Beginning {
    fn new() -> Self {
        let sonar = Sonar::start(SERVER);
        sonar.edit(|model| {
            for (key, name) in [("shop", "Web shop"), ("till", "Till"), ("bank", "Bank")] {
                model.add_project("acme", key, name);
                model.add_issue(key, "main", Issue::vulnerability("java:S3649", "src/a.java", 12));
            }
            model.add_issues("shop", "main", 40);
        });
        let gateway = Gateway::start_with(&["--admin-listen", "127.0.0.1:0"]);
        let page = gateway.json(&["status"])["page"].as_str().expect("it is served").to_owned();
        let browser = Browser::open(&page);
        Self { gateway, sonar, browser }
    }

    /// The first admin, by the link that the log holds.
    #[track_caller]
    fn come_in(&self) {
        let told = self.gateway.wait_for_log("make the first admin at");
        let link = told.split_whitespace().find(|word| word.starts_with("https://")).expect("a link");
        self.browser.go(link);
        self.browser.write("input[name=user]", "ines");
        self.browser.write("input[name=password]", PASSWORD);
        self.browser.press("form button.first");
        self.browser.arrive("/");
        self.browser.see("h1", "This box is ready and holds nothing yet");
    }

    /// The source: a wrong token first, which costs nothing but the token.
    #[track_caller]
    fn connect(&self) {
        let browser = &self.browser;
        browser.press("#begin");
        browser.arrive("/connect/source");
        browser.press("#kind-server");
        browser.write("#source-url", &self.sonar.url());
        browser.write("#source-token", "squ_wrong");
        browser.press("#source-form button.first");
        browser.see("#source-token-e", "does not accept this token");
        browser.see("#summary", "but for the token");
        let kept = "const value = name => document.forms['source-form'].elements[name].value;
            return ['kind', 'url', 'token', 'name'].map(value)";
        assert_eq!(browser.run(kept, &[]), json!(["server", self.sonar.url(), "", "sonarqube"]));
        let sources = self.gateway.json(&["source", "list"]);
        assert_eq!(sources["sources"], json!([]), "nothing is kept that was not accepted");
        browser.write("#source-token", self.sonar.admin_token());
        browser.press("#source-form button.first");
        // A Server has no organizations to choose from.
        browser.arrive("/connect/projects?organization=sonarqube%2Fsonarqube");
        browser.see(".steps [aria-current]", "Projects");
    }

    /// Two projects, one of them found by searching; the other goes along with the name of its new asset.
    #[track_caller]
    fn choose(&self) {
        let browser = &self.browser;
        browser.press("input[name=project][value=shop]");
        browser.write("input[name=\"new-asset:shop\"]", "Storefront");
        browser.write("input[name=search]", "til");
        browser.press("button[value=look]");
        browser.until("the search", |_| (browser.texts("#projects th label") == ["Till"]).then_some(()));
        browser.see("#elsewhere", "Web shop");
        browser.press("input[name=project][value=till]");
        browser.press("button[value=preview]");
        browser.see("#preview", "2 projects with 2 branches bring in 42 findings.");
        assert_eq!(self.gateway.json(&["asset", "list"])["assets"], json!([]), "looking ahead brings nothing in");
        browser.press("button[value=import]");
        browser.see("h1", "Import");
    }

    /// The webhook: the box's own address, the secret, Sonar told by the box, and the test of the way.
    #[track_caller]
    fn hook_up(&self) {
        let browser = &self.browser;
        browser.press(".tray a.first");
        browser.arrive(WEBHOOK);
        browser.see("#first-call", "Waiting for Sonar’s own first call.");
        browser.write("#public-url", self.gateway.address());
        browser.press("#webhook-address button");
        browser.see("details#address summary", self.gateway.address());
        browser.press("#webhook-register button");
        browser.see("#registered", "This box has registered it in Sonar.");
        assert_eq!(self.sonar.edit(|model| model.webhooks.len()), 1);
        browser.press("#webhook-test button");
        browser.see("#test .is.ok", "A signed call came in through the public address.");
        assert!(browser.count("#test .log li.ok") >= 3, "every hop: {:?}", browser.texts("#test .log li"));
        assert_eq!(browser.count("#test .log li.bad"), 0, "{:?}", browser.texts("#test .log li"));
        // Last, so that it is on the page while Sonar calls.
        assert!(!browser.texts("#webhook-secret")[0].contains(&self.secret()));
        browser.press("#webhook-reveal button");
        browser.see("#webhook-secret", &self.secret());
    }

    fn secret(&self) -> String {
        let webhook = self.gateway.json(&["webhook", "show", "sonarqube", "--reveal"]);
        webhook["secret"].as_str().expect("it is told").to_owned()
    }

    fn analyse(&self) {
        trust(&self.gateway, &self.sonar);
        self.sonar.analyse("shop", "main", |analysis| {
            analysis.open(Issue::vulnerability("java:S2755", "src/b.java", 66).with_key("NEW"));
        });
        self.gateway.wait("the analysis to be read", |gateway| {
            findings(gateway, &["--project", "shop"]).iter().any(|finding| finding["key"] == "NEW").then_some(())
        });
    }

    #[track_caller]
    fn finish(&self) {
        let browser = &self.browser;
        browser.go("/connect/destinations?organization=sonarqube%2Fsonarqube");
        browser.see("h1", "Pass findings on");
        browser.see("main", "No destinations yet");
        assert_eq!(browser.count("#first-call"), 0, "Sonar has called");
        browser.press(".tray a.first");
        browser.arrive("/");
        browser.see("h1", "Overview");
        browser.see(".figures div:first-child dd", "43");
    }
}

const WEBHOOK: &str = "/connect/webhook?organization=sonarqube%2Fsonarqube";

#[test]
fn an_empty_box_is_set_up_in_the_browser_until_sonar_calls() {
    let beginning = Beginning::new();
    let browser = &beginning.browser;
    beginning.come_in();
    beginning.connect();
    beginning.choose();
    // A page that is loaded again forgets it.
    browser.run("window.kept = 'kept'", &[]);
    browser.see("#import-progress", "All 2 projects are in step: 42 findings.");
    assert_eq!(browser.run("return window.kept", &[]), json!("kept"));
    let assets = beginning.gateway.json(&["asset", "list"]);
    let names: Vec<_> = assets["assets"].as_array().unwrap().iter().map(|asset| &asset["name"]).collect();
    assert_eq!(names, ["Storefront", "Till"]);

    beginning.hook_up();
    // The button copies what stands beside it. What it hands to the clipboard is looked at on its way there.
    browser.run("navigator.clipboard.writeText = async text => { window.copied = text; }; window.kept = 'kept'", &[]);
    browser.press("button[data-copy=webhook-secret]");
    browser.see("button[data-copy=webhook-secret]", "Copied");
    assert_eq!(browser.run("return window.copied", &[]), json!(beginning.secret()));

    beginning.analyse();
    browser.see("#first-call .is.ok + div", "Sonar calls this box.");
    assert_eq!(browser.run("return window.kept", &[]), json!("kept"), "without loading the page again");
    browser.see("#webhook-secret", &beginning.secret());
    beginning.finish();
}

#[test]
fn an_empty_box_is_set_up_without_script() {
    let beginning = Beginning::new();
    let browser = &beginning.browser;
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    beginning.come_in();
    assert_eq!(browser.count("html.scripted"), 0, "it is truly off");
    beginning.connect();
    beginning.choose();
    browser.until("the import", |asker| {
        browser.press(".tray a.plainly");
        asker.text("#import-progress")?.contains("All 2 projects are in step: 42 findings.").then_some(())
    });
    beginning.hook_up();
    beginning.analyse();
    browser.go(WEBHOOK);
    browser.see("#first-call", "Sonar calls this box.");
    beginning.finish();
}
