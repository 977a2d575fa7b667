//! What cannot be undone is asked about first, with script or without.

use serde_json::json;

use crate::world::World;

#[test]
fn a_user_is_removed_only_after_the_box_has_asked() {
    let world = World::empty();
    for (name, role) in crate::world::PEOPLE {
        world.user(name, role);
    }
    let names = || {
        let users = world.gateway.json(&["user", "list"]);
        users["users"].as_array().unwrap().iter().map(|user| user["name"].clone()).collect::<Vec<_>>()
    };
    let browser = world.browser_of("ines");
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    browser.go("/users");
    let opener = "tr:has(form[action=\"/users/vera/remove\"]) td.act button[popovertarget]:not(dialog *)";
    browser.press(opener);
    browser.see("dialog:popover-open h2", "Remove vera?");
    browser.press("dialog:popover-open button[popovertargetaction=hide]");
    assert_eq!(browser.count("dialog:popover-open"), 0);
    assert_eq!(names(), ["ines", "omar", "vera"]);
    browser.press(opener);
    browser.press("dialog:popover-open button.danger");
    browser.until("vera to be gone", |_| (browser.count(opener) == 0).then_some(()));
    assert_eq!(names(), ["ines", "omar"]);
}
