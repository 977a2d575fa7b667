//! The list of findings and one of them: found, read, decided about.

use serde_json::json;
use thirtyfour::Key;

use crate::browser::Browser;
use crate::support::import;
use crate::world::{World, sign_in};

/// The names of the files on the list.
fn listed(browser: &Browser) -> Vec<String> {
    let places = browser.texts("tbody td .under.mono");
    let name = |place: &str| Some(place.rsplit('/').next()?.split(':').next()?.trim().to_owned());
    let mut names: Vec<String> = places.iter().filter_map(|place| name(place)).collect();
    names.sort();
    names
}

/// Waits until the list shows these files and no others.
#[track_caller]
fn await_listed(browser: &Browser, names: &[&str]) {
    browser.until(&format!("a list of {names:?}"), |_| (listed(browser) == names).then_some(()));
}

#[test]
fn what_is_filtered_and_searched_stands_in_the_address_bar() {
    let world = World::with_shop();
    let browser = world.browser_of("vera");
    browser.go("/findings");
    browser.see("#total", "5 findings match.");
    browser.choose("select[name=severity]", "critical,high");
    await_listed(&browser, &["GatewayClient.java", "OrderDao.java", "SearchController.java"]);
    browser.write("input[name=search]", "search");
    browser.keys(Key::Enter);
    await_listed(&browser, &["SearchController.java"]);
    let address = browser.address();
    assert!(address.contains("severity=critical%2Chigh") && address.contains("search=search"), "{address}");

    // Whoever gets the address sees the same.
    let narrow = browser.address();
    browser.go("/");
    browser.go(&narrow);
    await_listed(&browser, &["SearchController.java"]);
    assert_eq!(browser.run("return document.querySelector('select[name=severity]').value", &[]), "critical,high");

    // One filter is taken away, then all, and the browser's own button brings them back.
    browser.press("[aria-label=\"Filters in use\"] a[href*=\"search=search\"]:not([href*=severity])");
    await_listed(&browser, &["SearchController.java"]);
    assert_eq!(browser.address(), "/findings?search=search");
    browser.write("input[name=search]", "nothing has this in it");
    browser.keys(Key::Enter);
    browser.see("main", "No finding matches");
    browser.press("a[href=\"/findings\"]:not(nav *)");
    browser.see("#total", "5 findings match.");
    browser.back();
    browser.see("main", "No finding matches");
}

#[test]
fn of_many_projects_one_is_found_by_a_part_of_its_name() {
    let world = World::with_shop();
    let keys: Vec<String> = (1..=25).map(|number| format!("service-{number}")).collect();
    world.sonar.edit(|model| {
        for key in &keys {
            model.add_project("acme", key, key);
        }
    });
    import(&world.gateway, "acme", &keys.iter().map(String::as_str).collect::<Vec<_>>());
    let browser = world.browser_of("vera");
    browser.go("/findings");
    assert_eq!(browser.count("datalist#all-project option"), 26);
    assert_eq!(browser.run("return document.querySelector('input[name=project]').list.id", &[]), "all-project");
    // A suggestion that is taken says of itself no more than this; the list of them is drawn outside the page.
    let take = "const field = document.querySelector('input[name=project]');
        field.value = 'web-shop'; field.dispatchEvent(new Event('input', { bubbles: true }));";
    browser.run(take, &[]);
    browser.arrive("/findings?project=web-shop");
    browser.see("#total", "5 findings match.");
    browser.press("[aria-label=\"Filters in use\"] a");
    browser.arrive("/findings");

    // What nothing is called stays in the field, and says so.
    browser.write("input[name=project]", "web");
    browser.keys(Key::Enter);
    browser.see(".wrong", "Project web is not imported.");
    assert_eq!(browser.run("return document.querySelector('input[name=project]').value", &[]), "web");
}

#[test]
fn a_finding_is_opened_from_the_list_and_tells_all_that_is_known() {
    let world = World::with_shop();
    let browser = world.browser_of("vera");
    browser.go("/findings?search=OrderDao");
    browser.press("tbody th a");
    browser.arrive(&world.finding_page("SQL"));
    for text in ["What Sonar says", "src/main/java/shop/order/OrderDao.java", "java:S3649", "History", "Opened", "CWE"]
    {
        let whole = browser.run("return document.querySelector('main').innerHTML", &[]);
        assert!(whole.as_str().unwrap().contains(text), "{text}");
    }
    let link = browser.run("return document.querySelector('.head a.button').href", &[]);
    assert!(link.as_str().unwrap().starts_with(&world.sonar.url()), "{link}");
}

#[test]
fn an_operator_decides_and_another_browser_sees_it() {
    let world = World::with_shop();
    let address = world.finding_page("XSS");
    let [omar, vera] = Browser::open_all(&world.page);
    sign_in(&omar, "omar");
    sign_in(&vera, "vera");
    vera.go(&address);
    vera.see(".head", "Open");
    omar.go(&address);
    omar.choose("select[name=state]", "accepted");
    omar.write("textarea[name=comment]", "Only reachable from the inside.");
    omar.press("form[action$=triage] button");
    world.decided(&omar, "XSS", "accepted");
    let comments = world.sonar.edit(|model| model.issue("XSS").unwrap().1.comments.clone());
    assert!(comments.last().unwrap().starts_with("Only reachable from the inside."), "{comments:?}");
    for browser in [&omar, &vera] {
        browser.reload();
        browser.see(".head", "Accepted");
        browser.see(".log", "The user omar decided: from open to accepted");
    }
}

#[test]
fn a_viewer_is_offered_nothing_that_changes_something_and_may_not_do_it_by_hand_either() {
    let world = World::with_shop();
    let browser = world.browser_of("vera");
    let address = world.finding_page("XSS");
    for page in
        [&address, "/", "/findings", "/projects", "/assets", "/deliveries", "/destinations", "/settings", "/about"]
    {
        browser.go(page);
        let forms =
            "return [...document.querySelectorAll('form[method=post]')].map(form => form.getAttribute('action'))";
        assert_eq!(browser.run(forms, &[]), json!(["/sign-out"]), "on {page}");
        assert_eq!(browser.count("main [type=submit], main button.first"), 0, "on {page}");
    }
    browser.go(&address);
    let send = "const [address, done] = arguments;
        const body = new URLSearchParams({ state: 'accepted', comment: 'By hand.' });
        fetch(address, { method: 'POST', body }).then(answer => done(answer.status), problem => done(String(problem)));";
    for action in [&format!("{address}/triage"), "/sync", "/settings", "/assets", "/users", "/tokens"] {
        assert_eq!(browser.run_slowly(send, &[json!(action)]), 403, "{action}");
    }
    assert_eq!(world.finding("XSS")["state"], "open");
    for page in ["/users", "/audit"] {
        browser.go(page);
        browser.see("main", "this takes the role admin");
    }
}
