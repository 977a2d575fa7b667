//! Pictures of every page, light and dark, on a phone and on a desktop, for a person to look at.

use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::browser::Browser;
use crate::pages;
use crate::world::World;

/// The folder that `HYDROPHONE_SHOTS` names, or one in the cache.
fn folder() -> PathBuf {
    let named = std::env::var_os("HYDROPHONE_SHOTS").map(PathBuf::from);
    named.unwrap_or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
        cache.unwrap_or_else(std::env::temp_dir).join("hydrophone").join("shots")
    })
}

#[test]
fn every_page_has_its_picture_taken() {
    let folder = folder();
    std::fs::create_dir_all(&folder).expect("the folder for the pictures");
    let world = World::at_work();
    let browser = Browser::open(&world.page);
    pages::each(&world, &browser, |name, address| {
        browser.go(address);
        for (device, width, height) in [("desktop", 1280, 900), ("phone", 390, 844)] {
            for (scheme, dark) in [("light", false), ("dark", true)] {
                browser.window(width, height, dark);
                let whole = json!({ "format": "png", "captureBeyondViewport": true });
                let picture = browser.devtools("Page.captureScreenshot", whole);
                let picture = BASE64_STANDARD.decode(picture["data"].as_str().expect("a picture")).expect("base64");
                let file = folder.join(format!("{name}-{device}-{scheme}.png"));
                std::fs::write(&file, picture).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            }
        }
    });
}
