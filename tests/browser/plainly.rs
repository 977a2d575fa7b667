//! Without script: everything is read, and forms do what they do.

use serde_json::json;

use crate::browser::Browser;
use crate::world::{World, send_credentials};

fn without_script(world: &World) -> Browser {
    let browser = Browser::open(&world.page);
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    browser
}

#[test]
fn without_script_one_signs_in_reads_filters_decides_and_signs_out() {
    let world = World::with_shop();
    let browser = without_script(&world);
    browser.go("/findings");
    send_credentials(&browser, "omar", "wrong password");
    browser.see(".wrong", "Account and password do not match.");
    send_credentials(&browser, "omar", crate::world::PASSWORD);
    browser.arrive("/findings");
    // It is truly off: what the script does first did not happen.
    assert_eq!(browser.count("html.scripted"), 0);

    browser.choose("select[name=severity]", "critical,high");
    browser.write("input[name=search]", "OrderDao");
    browser.press("form.filters button");
    browser.see("#total", "1 finding matches.");
    browser.press("tbody th a");
    browser.arrive(&world.finding_page("SQL"));
    browser.see("aside", "First seen");
    browser.choose("select[name=state]", "false_positive");
    browser.write("textarea[name=comment]", "The parameter is a number.");
    browser.press("form[action$=triage] button");
    world.decided(&browser, "SQL", "false_positive");
    browser.see(".head", "False positive");

    for (_, address) in crate::pages::PAGES {
        let address = world.fill(address);
        browser.go(&address);
        browser.see("main h1", "");
        assert_eq!(browser.count(".script:not([hidden])"), browser.count(".script"), "{address}");
    }
    browser.press("button[popovertarget=me]");
    browser.press("form[action=\"/sign-out\"] button");
    browser.arrive("/sign-in");
}
