//! Every page before axe-core, which finds what keeps people with a screen reader, weak eyes or no mouse out.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::pages;
use crate::world::World;

/// What axe finds serious or critical, with where.
fn found(browser: &Browser, axe: &str) -> Vec<String> {
    browser.run(axe, &[]);
    let run = "const done = arguments[0];
        axe.run(document, { resultTypes: ['violations'] }).then(done, problem => done({ problem: String(problem) }));";
    let result = browser.run_slowly(run, &[]);
    assert!(result["passes"].as_array().is_some_and(|passes| passes.len() > 5), "axe did not run: {result}");
    let violations = result["violations"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let grave = violations.iter().filter(|one| ["serious", "critical"].contains(&text(&one["impact"]).as_str()));
    grave
        .flat_map(|one| {
            let nodes = one["nodes"].as_array().expect("a list");
            nodes.iter().map(|node| format!("{}: {} in {}", text(&one["id"]), text(&one["help"]), text(&node["html"])))
        })
        .collect()
}

#[test]
#[ignore = "needs axe-core, whose file HYDROPHONE_AXE names; tests/run fetches it"]
fn axe_finds_nothing_serious_on_any_page() {
    let file = std::env::var("HYDROPHONE_AXE").expect("HYDROPHONE_AXE names axe-core's file");
    let axe = std::fs::read_to_string(file).expect("it can be read");
    let world = World::at_work();
    let browser = Browser::open(&world.page);
    pages::each(&world, &browser, |name, address| {
        browser.go(address);
        for (width, height) in [(390, 844), (1280, 900)] {
            for dark in [false, true] {
                browser.window(width, height, dark);
                assert_eq!(found(&browser, &axe), [""; 0], "{name} at {width} px, dark: {dark}");
            }
        }
    });
    // It finds something where there is something.
    browser.go("/about");
    browser.run("document.querySelector('main').append(document.createElement('button'))", &[]);
    assert_eq!(found(&browser, &axe).len(), 1, "{}", json!(found(&browser, &axe)));
}
