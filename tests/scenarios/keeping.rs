//! What people and other programs learn of closings and changes, and what they can undo.

use serde_json::Value;

use crate::steps::{
    CLOUD, assert_refused, assert_tells, conditions, finding, holding_shop, sonar_with, states, sync, text, told_of,
};
use crate::support::api;

#[test]
fn a_closing_says_why_and_can_be_undone_until_the_next_read() {
    let sonar = sonar_with(CLOUD, &["A", "B"]);
    let gateway = holding_shop(&sonar);
    let id = text(&finding(&gateway, "shop", "A"), "id");
    assert_eq!(finding(&gateway, "shop", "A")["closed_by"], Value::Null);
    assert_refused(&gateway.cli(&["finding", "reopen", &id]), &["is not closed", "open"]);
    sonar.edit(|model| model.fix("A"));
    sync(&gateway);
    let closed = finding(&gateway, "shop", "A");
    assert_eq!(
        (text(&closed["closed_by"], "reason"), text(&closed["closed_by"], "from")),
        ("fixed".into(), "open".into())
    );
    assert_tells(&gateway.cli(&["finding", "show", &id]).out, &["Closed because:", "Sonar says that it was fixed"]);

    let said = gateway.cli(&["finding", "reopen", &id]);
    assert_tells(&said.out, &[&id, "is open again, until the next complete read of main"]);
    assert_eq!(states(&gateway, "shop"), ["A open", "B open"]);
    sync(&gateway);
    assert_eq!(states(&gateway, "shop"), ["A fixed", "B open"]);
    assert_eq!(told_of(&gateway, &closed), ["opened", "fixed", "reopened", "fixed"]);

    gateway.json(&["project", "remove", "acme", "shop"]);
    assert_refused(&gateway.cli(&["finding", "reopen", &id]), &["there is no finding", "removed here"]);
    assert_refused(&gateway.cli(&["finding", "reopen", "7"]), &["a finding's id looks like F12"]);
}

#[test]
fn another_program_follows_what_changes() {
    let sonar = sonar_with(CLOUD, &["A", "B", "C"]);
    let gateway = holding_shop(&sonar);
    let ask = |cursor: &str| {
        let answer = api::get(&gateway.state(), &format!("changes?limit=2&after={cursor}"));
        let told: Vec<String> = answer["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|change| {
                format!("{} {} {}", text(change, "kind"), text(&change["finding"], "key"), text(change, "to"))
            })
            .collect();
        (told, answer["seeding"] == true, text(&answer, "next"))
    };
    let (told, seeding, next) = ask("");
    assert_eq!((told, seeding), (vec!["current A open".to_owned(), "current B open".to_owned()], true));
    let (told, seeding, next) = ask(&next);
    assert_eq!((told, seeding), (vec!["current C open".to_owned()], false));
    assert_eq!(ask(&next), (vec![], false, next.clone()), "the cursor stays");
    sonar.edit(|model| model.fix("B"));
    sync(&gateway);
    let (told, _, next) = ask(&next);
    assert_eq!(told, ["fixed B fixed"]);
    assert_eq!(ask(&next).0, Vec::<String>::new());
    assert_eq!(api::try_get(&gateway.state(), "changes?after=nonsense"), None, "that is refused");
    assert!(!conditions(&gateway).contains(&"store_damaged".to_owned()), "a wrong cursor is no damaged value");
}
