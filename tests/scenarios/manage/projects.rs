//! Projects and assets on the page.

use serde_json::json;

use super::{HOSTILE, Managed, field, text};
use crate::support::conviso::Conviso;
use crate::support::sonar::Issue;
use crate::support::{findings, import};

const SHOP: &str = "/projects/sonar%2Facme/shop";

#[test]
fn a_project_is_shown_with_its_branches_and_sonars_count_beside_ours() {
    let (_sonar, managed) = Managed::with_shop();
    let list = managed.shown("/projects");
    assert!(list.contains(&format!("href=\"{SHOP}\"")) && list.contains("id=\"projects\" data-live"), "{list}");
    assert!(text(&managed.shown("/projects?q=SHOP")).contains("Web shop"));
    assert!(text(&managed.shown("/projects?q=nothing")).contains("No project matches"));
    let page = text(&managed.shown(SHOP));
    for part in ["Web shop", "main", "Complete", "In Sonar", "Held here", "the main branch", "Synchronize"] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert_eq!(managed.led("/sync", &[("organization", "sonar/acme"), ("project", "shop")]), SHOP);
    let viewer = managed.get_as(&managed.viewer, SHOP);
    assert_eq!(viewer.status, 200);
    assert!(!viewer.body.contains("action=\"/sync\"") && !viewer.body.contains(&format!("action=\"{SHOP}")));
    for path in [SHOP, &format!("{SHOP}/remove")] {
        assert_eq!(managed.post_as(&managed.operator, path, &[]).status, 403, "{path}");
    }
    assert_eq!(managed.get("/projects/sonar%2Facme/none").status, 404);
}

#[test]
fn a_project_is_moved_to_another_asset_and_its_branches_are_chosen() {
    let (sonar, managed) = Managed::with_shop();
    sonar.edit(|model| model.add_branch("shop", "release/1"));
    let ids = |managed: &Managed| -> Vec<String> {
        findings(&managed.gateway, &["--branch", "main"]).iter().map(|one| one["id"].to_string()).collect()
    };
    let before = ids(&managed);
    let fields =
        [("asset", "Web shop"), ("new_asset", "Web shop"), ("branches", "main\r\nrelease/*"), ("pull_requests", "yes")];
    let taken = managed.post(SHOP, &fields);
    assert_eq!(taken.status, 409, "{}", taken.body);
    assert!(field(&taken.body, "new_asset").contains("value=\"Web shop\""), "{}", taken.body);
    assert!(taken.body.contains("id=\"new_asset-wrong\"") && taken.body.contains("release/*"));
    assert!(field(&taken.body, "pull_requests").contains("checked"));
    let empty = managed.post(SHOP, &[("asset", "Web shop"), ("branches", &"x".repeat(300))]);
    assert!(empty.status == 400 && empty.body.contains("id=\"branches-wrong\""), "{}", empty.body);

    assert_eq!(
        managed.led(SHOP, &[("asset", "Web shop"), ("new_asset", HOSTILE), ("branches", "main\nrelease/*")]),
        SHOP
    );
    let shown = managed.api("/organizations/acme/projects/shop");
    assert_eq!((&shown["asset"], &shown["selected_branches"]), (&json!(HOSTILE), &json!(["main", "release/*"])));
    managed.gateway.wait("the branch to be held", |gateway| {
        let project = gateway.json(&["project", "show", "acme", "shop"]);
        project["branches"].as_array().unwrap().iter().any(|branch| branch["name"] == "release/1").then_some(())
    });
    assert_eq!(ids(&managed), before, "its findings keep their ids");
    for page in ["/projects", SHOP, "/assets", "/findings"] {
        assert!(text(&managed.shown(page)).contains("gnp.exe"), "{page}");
    }
    // By the command line, back again; what it does not name stays.
    let edited = managed.gateway.json(&["project", "edit", "acme", "shop", "--asset", "Web shop"]);
    assert_eq!((&edited["asset"], &edited["selected_branches"]), (&json!("Web shop"), &json!(["main", "release/*"])));
    managed.gateway.refused(&["project", "edit", "acme", "shop", "--asset", "No such"], "");
}

/// What was told stays where it is, and is followed to its end there; what is new goes to the new asset's place.
#[test]
fn a_project_that_is_moved_closes_nothing_and_tells_nothing_twice() {
    let (sonar, managed) = Managed::with_shop();
    let conviso = Conviso::start();
    let url = conviso.url();
    let add =
        ["destination", "add", "conviso", "conviso", "--url", &url, "--option", "company=42", "--token-file", "-"];
    managed.gateway.json_with(&add, Conviso::KEY);
    let there = |conviso: &Conviso| {
        conviso.edit(|model| {
            let mut all: Vec<_> = model
                .issues
                .iter()
                .map(|issue| (issue.tool_id.clone().unwrap_or_default(), issue.asset, issue.status.clone()))
                .collect();
            all.sort();
            all
        })
    };
    managed.gateway.wait("both to be told", |_| (there(&conviso).len() == 2).then_some(()));
    let told = there(&conviso);
    managed.led(SHOP, &[("asset", "Web shop"), ("new_asset", "Elsewhere")]);
    sonar.edit(|model| {
        model.add_issue("shop", "main", Issue::vulnerability("java:S5131", "src/c.java", 7).with_key("C"));
    });
    managed.gateway.json(&["sync", "acme", "shop", "--full", "--wait"]);
    managed.gateway.wait("the new one to be told", |_| (there(&conviso).len() == 3).then_some(()));
    let after = there(&conviso);
    assert_eq!(after[..2], told[..], "what was told is as it was");
    assert_ne!(after[2].1, told[0].1, "what is new is in the new asset's place");
}

#[test]
fn a_removal_says_what_goes_and_what_stays_before_it_is_done() {
    let (_sonar, managed) = Managed::with_shop();
    let asked = text(&managed.shown(&format!("{SHOP}/remove")));
    for part in ["Remove Web shop?", "Nothing is closed", "2 open findings"] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
    assert_eq!(managed.led(&format!("{SHOP}/remove"), &[]), "/projects");
    assert_eq!(managed.api("/projects")["projects"], json!([]));
}

#[test]
fn assets_have_an_impact_and_tags_and_tell_at_the_field_what_is_wrong() {
    let (_sonar, managed) = Managed::with_shop();
    let fields = [("name", HOSTILE), ("description", HOSTILE), ("business_impact", "high"), ("tags", "pci, internet")];
    let to = managed.led("/assets", &fields);
    let page = managed.shown(&to);
    assert!(text(&page).contains("Business impact: High") && text(&page).contains("internet"), "{}", text(&page));
    let taken = managed.post("/assets", &fields);
    assert!(taken.status == 409 && taken.body.contains("id=\"name-wrong\""), "{}", taken.body);
    super::no_markup_of_others(&taken.body);
    assert!(field(&taken.body, "tags").contains("pci, internet"));
    let many = (0..21).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    let refused = managed.post("/assets", &[("name", "New"), ("tags", &many)]);
    assert!(refused.status == 400 && refused.body.contains("id=\"tags-wrong\""), "{}", refused.body);
    assert!(text(&managed.shown("/assets?q=PCI")).contains("gnp.exe"));
    assert!(!text(&managed.shown("/assets?q=pci")).contains("Web shop"));

    let to = managed.led(&to, &[("name", "Kiosk"), ("business_impact", ""), ("tags", "")]);
    assert_eq!(to, "/assets/Kiosk");
    let asset = managed.api("/assets/Kiosk");
    assert_eq!(
        (&asset["business_impact"], &asset["tags"], &asset["description"]),
        (&json!(null), &json!([]), &json!(null))
    );
    let edited = managed.gateway.json(&["asset", "edit", "Kiosk", "--impact", "low", "--tag", "b", "--tag", "a"]);
    assert_eq!((&edited["business_impact"], &edited["tags"]), (&json!("low"), &json!(["a", "b"])));
    // What is not named stays.
    let edited = managed.gateway.json(&["asset", "edit", "Kiosk", "--description", "At the pier"]);
    assert_eq!((&edited["business_impact"], &edited["tags"]), (&json!("low"), &json!(["a", "b"])));
    assert_eq!(managed.led("/assets/Kiosk/remove", &[]), "/assets");

    let shop = managed.shown("/assets/Web%20shop");
    assert!(shop.contains("/findings?asset=Web%20shop&amp;severity=") && text(&shop).contains("It holds 1 project"));
    assert_eq!(managed.post("/assets/Web%20shop/remove", &[]).status, 409);
    let viewer = managed.get_as(&managed.viewer, "/assets/Web%20shop").body;
    assert!(!viewer.contains("name=\"tags\"") && !viewer.contains("/remove"), "{viewer}");
    assert_eq!(managed.post_as(&managed.operator, "/assets/Web%20shop", &[("name", "x")]).status, 403);
}

#[test]
fn a_project_whose_name_is_hostile_is_text_everywhere() {
    let (sonar, managed) = Managed::with_shop();
    sonar.edit(|model| {
        model.add_project("acme", "evil", HOSTILE);
        model.add_issue("evil", "main", Issue::vulnerability("java:S3649", "src/a.java", 1).with_key("E"));
    });
    import(&managed.gateway, "acme", &["evil"]);
    for page in ["/projects", "/projects/sonar%2Facme/evil", "/projects/sonar%2Facme/evil/remove", "/assets"] {
        assert!(text(&managed.shown(page)).contains("gnp.exe"), "{page}");
    }
}
