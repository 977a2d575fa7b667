//! News on an open page: what an analysis changes is shown without loading the page again.

use serde_json::json;

use crate::support::sonar::Issue;
use crate::world::World;

#[test]
fn an_analysis_arrives_on_pages_that_are_open() {
    let world = World::with_shop();
    let [overview, list] = crate::browser::Browser::open_all(&world.page);
    for browser in [&overview, &list] {
        crate::world::sign_in(browser, "vera");
    }
    let open = ".figures div:first-child dd";
    overview.see(open, "5");
    list.go("/findings");
    list.see("#total", "5 findings match.");
    for browser in [&overview, &list] {
        // A page that is loaded again forgets it.
        browser.run("window.kept = 'kept'", &[]);
    }
    world.sonar.analyse("web-shop", "main", |analysis| {
        analysis.open(Issue::vulnerability("java:S2755", "src/main/java/shop/import/Parser.java", 66).with_key("XXE"));
    });
    overview.see(open, "6");
    list.see("#total", "6 findings match.");
    // A row that came while somebody looks waits until it is asked for.
    list.see("[data-held=list] button", "1 new, show");
    assert_eq!(list.count("#list tbody tr"), 5);
    list.press("[data-held=list] button");
    list.until("the new row", |_| (list.count("#list tbody tr") == 6).then_some(()));
    assert_eq!(list.count("[data-held]"), 0);
    for browser in [&overview, &list] {
        assert_eq!(browser.run("return window.kept", &[]), json!("kept"));
    }
}
