//! With the keyboard alone.

use thirtyfour::Key;

use crate::browser::Browser;
use crate::world::World;

fn focused(browser: &Browser, property: &str) -> String {
    let script = format!("return String(document.activeElement.{property})");
    browser.run(&script, &[]).as_str().unwrap().to_owned()
}

#[test]
fn keys_lead_to_the_content_to_the_search_and_to_other_pages() {
    let world = World::with_shop();
    let browser = world.browser_of("vera");
    browser.go("/");
    // A page that is not painted yet takes no keys.
    let painted = "return performance.getEntriesByType('paint').length > 0";
    browser.until("the page to be painted", |_| (browser.run(painted, &[]) == true).then_some(()));
    browser.keys(Key::Tab);
    assert_eq!(focused(&browser, "className"), "skip");
    let ring = "return document.activeElement.getBoundingClientRect().width > 50";
    assert_eq!(browser.run(ring, &[]), true, "who has the focus is seen");
    browser.keys(Key::Enter);
    browser.arrive("/#main");
    // From there on the content comes next, not the bar once more.
    browser.keys(Key::Tab);
    assert_eq!(browser.run("return document.activeElement.closest('main') !== null", &[]), true);

    browser.keys("gf");
    browser.arrive("/findings");
    browser.see("h1", "Findings");
    browser.keys("/");
    assert_eq!(focused(&browser, "name"), "search");
    // In a field they are letters.
    browser.keys("gd/");
    assert_eq!(focused(&browser, "value"), "gd/");
    assert_eq!(browser.address(), "/findings");
    browser.write("input[name=search]", "OrderDao");
    browser.keys(Key::Enter);
    browser.see("#total", "1 finding matches.");

    for (key, title) in
        [("o", "Overview"), ("p", "Projects"), ("a", "Assets"), ("d", "Deliveries"), ("t", "Destinations")]
    {
        browser.keys(format!("g{key}"));
        browser.see("h1", title);
    }
}

#[test]
fn a_decision_takes_no_mouse() {
    let world = World::with_shop();
    let browser = world.browser_of("omar");
    browser.go(&world.finding_page("LOG"));
    let mut stops = 0;
    while focused(&browser, "name") != "state" {
        browser.keys(Key::Tab);
        stops += 1;
        assert!(stops < 60, "the form cannot be reached");
    }
    browser.keys("Acc");
    assert_eq!(focused(&browser, "value"), "accepted");
    browser.keys(Key::Tab);
    assert_eq!(focused(&browser, "name"), "comment");
    browser.keys("Nothing secret is logged.");
    browser.control(Key::Enter);
    world.decided(&browser, "LOG", "accepted");
}
