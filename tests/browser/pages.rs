//! The list of all pages, and what holds for every one of them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::world::World;

/// All pages, by the names of their pictures. What stands in braces is filled by [`World::fill`]. A page that is missing
/// here is missed by [`the_list_of_pages_is_whole`].
pub const PAGES: [(&str, &str); 40] = [
    ("overview", "/"),
    ("connect-source", "/connect/source"),
    ("connect-organization", "/connect/organization?source=sonar"),
    ("connect-projects", "/connect/projects?organization=sonar%2Facme"),
    ("connect-import", "/connect/import?organization=sonar%2Facme"),
    ("connect-webhook", "/connect/webhook?organization=sonar%2Facme"),
    ("connect-destinations", "/connect/destinations?organization=sonar%2Facme"),
    ("webhooks", "/webhooks"),
    ("webhook", "/webhooks/sonar/acme"),
    ("findings", "/findings"),
    ("findings-none", "/findings?search=nothing+has+this+in+it"),
    ("finding", "/findings/{finding}"),
    ("projects", "/projects"),
    ("project", "/projects/{organization}/web-shop"),
    ("project-hostile", "/projects/{organization}/payments-api"),
    ("project-remove", "/projects/{organization}/web-shop/remove"),
    ("assets", "/assets"),
    ("asset", "/assets/Web%20shop"),
    ("fleet", "/fleet"),
    ("deliveries", "/deliveries"),
    ("deliveries-sonar", "/deliveries/sonar"),
    ("deliveries-sonar-acme", "/deliveries/sonar/{organization}"),
    ("delivery", "/deliveries/{delivery}"),
    ("destinations", "/destinations"),
    ("destination-add", "/destinations/add"),
    ("destination-add-events", "/destinations/add?kind=events"),
    ("destination-add-defectdojo", "/destinations/add?kind=defectdojo"),
    ("destination-edit", "/destinations/siem/edit"),
    ("destination-remove", "/destinations/siem/remove"),
    ("destination-replay", "/destinations/siem/replay"),
    ("destination-preview", "/destinations/siem/preview"),
    ("destination-mapping", "/destinations/siem/mapping"),
    ("destination-parked", "/destinations/siem/parked"),
    ("users", "/users"),
    ("audit", "/audit"),
    ("settings", "/settings"),
    ("certificate", "/settings/certificate"),
    ("about", "/about"),
    ("licences", "/about/licences"),
    ("doctor", "/doctor"),
];

/// Addresses that show nothing of their own: one leads on to a step of the set-up, one is a file.
const NO_PAGES: [&str; 2] = ["/connect", "/audit/export"];

/// The pages of whoever is not let in yet.
pub const ENTRIES: [(&str, &str); 2] = [("sign-in", "/sign-in"), ("setup", "/setup?user=omar&code=0123456789abcdef")];

impl World {
    /// An address with what this world has for the names in braces.
    pub fn fill(&self, address: &str) -> String {
        let mut filled = address.to_owned();
        if filled.contains("{finding}") {
            filled = filled.replace("{finding}", self.finding("XSS")["id"].as_str().expect("it has an id"));
        }
        if filled.contains("{delivery}") {
            let calls = self.gateway.json(&["delivery", "list"]);
            let id = calls["deliveries"][0]["id"].to_string();
            filled = filled.replace("{delivery}", id.trim_matches('"'));
        }
        filled = filled.replace("{organization}", "sonar%2Facme");
        assert!(!filled.contains('{'), "nothing is known for {filled}");
        filled
    }
}

/// Does something with every page, those of whoever is not let in yet first.
pub fn each(world: &World, browser: &Browser, mut with: impl FnMut(&str, &str)) {
    for (name, address) in ENTRIES {
        with(name, address);
    }
    crate::world::sign_in(browser, "ines");
    for (name, address) in PAGES {
        with(name, &world.fill(address));
    }
}

#[test]
fn the_list_of_pages_is_whole() {
    let listed: Vec<&str> = PAGES.iter().chain(&ENTRIES).map(|(_, address)| *address).chain(NO_PAGES).collect();
    let fits = |pattern: &str, address: &str| {
        let address = address.split('?').next().unwrap_or_default();
        let (pattern, address): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), address.split('/').collect());
        pattern.len() == address.len()
            && pattern.iter().zip(&address).all(|(part, other)| part == other || part.starts_with('{'))
    };
    let missing: Vec<&str> = hydrophone::admin::pages()
        .into_iter()
        .filter(|(method, ..)| method == "GET")
        .map(|(_, path, _)| path)
        .filter(|pattern| !listed.iter().any(|address| fits(pattern, address)))
        .collect();
    assert_eq!(missing, [""; 0]);
}

/// What a page did in the network: the addresses it asked for, and all bytes that came, heads included.
fn transfer(browser: &Browser) -> (BTreeSet<String>, u64) {
    let (mut asked, mut bytes) = (BTreeSet::new(), 0);
    for event in browser.network() {
        let parameters = &event["params"];
        match event["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                asked.extend(parameters["request"]["url"].as_str().map(str::to_owned));
            }
            Some("Network.loadingFinished") => {
                // Told as a number with a point.
                bytes +=
                    format!("{:.0}", parameters["encodedDataLength"].as_f64().unwrap_or(0.0)).parse::<u64>().unwrap();
            }
            _ => {}
        }
    }
    (asked, bytes)
}

/// How far the parts of the page have moved since it began to show.
fn shifts(browser: &Browser) -> Value {
    let script = "const done = arguments[0], seen = [];
        const note = list => seen.push(...list.map(shift => [shift.value, shift.sources.map(s => s.node?.outerHTML?.slice(0, 200))]));
        const observer = new PerformanceObserver(list => note(list.getEntries()));
        observer.observe({ type: 'layout-shift', buffered: true });
        // Two frames later everything that was kept for the observer has been handed over.
        requestAnimationFrame(() => requestAnimationFrame(() => { note(observer.takeRecords()); done(seen); }));";
    browser.run_slowly(script, &[])
}

const PAGE_BYTES_MAX: u64 = 100_000;

#[test]
fn every_page_is_light_stands_still_asks_nobody_else_and_gives_the_browser_nothing_to_complain_of() {
    let world = World::at_work();
    let browser = Browser::open(&world.page);
    browser.devtools("Network.setCacheDisabled", json!({ "cacheDisabled": true }));
    each(&world, &browser, |name, address| {
        // What came before is of another page.
        browser.complaints();
        browser.network();
        browser.go(address);
        assert_eq!(shifts(&browser), json!([]), "{name} jumps");
        let (asked, bytes) = transfer(&browser);
        assert!(asked.len() >= 3, "{name}: the page, its look and its script were asked for, not only {asked:?}");
        let foreign: Vec<&String> = asked.iter().filter(|url| !url.starts_with(&format!("{}/", world.page))).collect();
        assert_eq!(foreign, [""; 0], "{name} asks somebody else");
        assert!((1_000..PAGE_BYTES_MAX).contains(&bytes), "{name} takes {bytes} bytes");
        assert_eq!(browser.complaints(), [""; 0], "{name}");
    });
}

#[test]
fn no_page_is_wider_than_its_window() {
    let world = World::at_work();
    let browser = Browser::open(&world.page);
    each(&world, &browser, |name, address| {
        browser.go(address);
        for width in [360, 390, 820, 1280, 3840] {
            browser.window(width, 900, false);
            let wider =
                "const page = document.documentElement; return [innerWidth, page.scrollWidth - page.clientWidth]";
            assert_eq!(browser.run(wider, &[]), json!([width, 0]), "{name}");
        }
    });
}

#[test]
fn what_somebody_wrote_into_sonar_stays_text() {
    let world = World::at_work();
    let browser = world.browser_of("ines");
    let finding = world.finding_page("HOSTILE");
    browser.complaints();
    for address in [&finding, "/", "/findings?severity=critical", "/projects", "/assets", "/deliveries", "/audit"] {
        browser.go(address);
        assert_eq!(browser.count("img, main script, iframe, [onerror]"), 0, "{address}");
        assert_eq!(browser.complaints(), [""; 0], "{address}");
    }
    browser.go(&finding);
    browser.see("h1", crate::world::HOSTILE);
}
