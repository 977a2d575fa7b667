//! Coming in, going out, and being put out.

use crate::browser::Browser;
use crate::world::{PASSWORD, World, send_credentials};

#[test]
fn the_first_admin_comes_in_by_the_link_of_the_log() {
    let world = World::empty();
    let told = world.gateway.wait_for_log("make the first admin at");
    let link = told.split_whitespace().find(|word| word.starts_with("https://")).expect("a link");
    let browser = Browser::open(&world.page);
    // Whoever has not the link is told where it is.
    browser.go("/");
    browser.arrive("/setup");
    browser.see("main", "journalctl -u hydrophone");
    browser.go(link);
    browser.see("h1", "Welcome");
    browser.write("input[name=user]", "ines");
    browser.write("input[name=password]", PASSWORD);
    browser.press("form button.first");
    browser.arrive("/");
    browser.see("h1", "This box is ready and holds nothing yet");
    let users = world.gateway.json(&["user", "list"]);
    assert_eq!((&users["users"][0]["name"], &users["users"][0]["role"]), (&"ines".into(), &"admin".into()));
}

#[test]
fn whoever_signs_out_is_out() {
    let world = World::empty();
    world.user("ines", "admin");
    let browser = world.browser_of("ines");
    browser.press("button[popovertarget=me]");
    browser.see("#me", "ines");
    browser.press("form[action=\"/sign-out\"] button");
    browser.arrive("/sign-in");
    // Neither is a page shown that was there before.
    browser.back();
    browser.see("h1", "Sign in");
    browser.go("/findings");
    browser.see("h1", "Sign in");
    assert_eq!(browser.address(), "/sign-in?next=%2Ffindings");
}

#[test]
fn a_wrong_password_is_told_where_it_was_typed_and_the_account_stays() {
    let world = World::empty();
    world.user("ines", "admin");
    let browser = Browser::open(&world.page);
    browser.go("/findings?severity=high");
    for (account, password) in [("ines", "not the password"), ("nobody", PASSWORD)] {
        send_credentials(&browser, account, password);
        browser.see(".field:has(input[name=password]) .wrong", "Account and password do not match.");
        let account_now = browser.run("return document.querySelector('input[name=account]').value", &[]);
        assert_eq!(account_now, account);
        let described =
            "return document.getElementById(document.activeElement.getAttribute('aria-describedby')).innerText";
        assert_eq!(browser.run(described, &[]), "Account and password do not match.");
    }
    send_credentials(&browser, "ines", PASSWORD);
    browser.arrive("/findings?severity=high");
}

#[test]
fn whose_session_has_ended_comes_back_to_the_same_page_with_the_same_filters() {
    let world = World::with_shop();
    let browser = world.browser_of("omar");
    let address = "/findings?search=java&severity=critical%2Chigh&state=&project=web-shop&asset=";
    browser.go(address);
    browser.see("h1", "Findings");
    // Another password ends all sessions of an account.
    let password = "another long password";
    world.gateway.json_with(&["user", "passwd", "omar", "--password-file", "-"], password);
    browser.reload();
    browser.see("h1", "Sign in");
    send_credentials(&browser, "omar", password);
    browser.arrive(address);
    browser.see("h1", "Findings");
    assert_eq!(browser.run("return document.querySelector('input[name=search]').value", &[]), "java");
}
