//! Tokens that will not be good for long.

use std::sync::Arc;

use hydrophone::domain::ids::SourceName;
use hydrophone::domain::time::Timestamp;
use hydrophone::store::records::{SecretBytes, Source};
use hydrophone::store::{Store, StoreError, catalogue};

use crate::steps::{NEWEST_SERVER, add_source, assert_tells, conditions, sonar_with, told};
use crate::support::gateway::Gateway;

/// What reads the box with an API token is refused when that ends, and whoever gave it should know before.
#[test]
fn an_api_token_that_ends_soon_is_a_condition_until_it_is_removed() {
    let gateway = Gateway::start();
    for (name, days) in [("robot", &["--days", "10"][..]), ("later", &["--days", "20"]), ("ever", &[])] {
        gateway.json(&[&["token", "add", name, "--role", "viewer"], days].concat());
    }
    assert_eq!(conditions(&gateway).iter().filter(|code| *code == "api_token_ends").count(), 1);
    assert_tells(
        &told(&gateway, "api_token_ends"),
        &["API token robot ends at", "in 9 days", "hydrophone token add NAME --role viewer", "token remove robot"],
    );
    gateway.json(&["token", "remove", "robot"]);
    assert!(!conditions(&gateway).contains(&"api_token_ends".to_owned()));
}

/// A token that ends takes the inventory's currency with it, and one that Cloud removes for idleness does, too: both are known
/// before.
#[test]
fn a_token_that_ends_soon_or_that_nobody_uses_is_a_condition() {
    let sonar = sonar_with(NEWEST_SERVER, &["A"]);
    let gateway = Gateway::start();
    let seconds = hydrophone::sys::clock::now().0 / 1000;
    let day = 86_400;
    for (days, ends) in [(20, false), (10, true)] {
        sonar.edit(|model| model.token_mut(sonar.token()).expires = Some(seconds + days * day));
        let said = if ends {
            gateway.cli(&["source", "check", "sonar"])
        } else {
            add_source(&gateway, &sonar, "sonar", sonar.token(), &[])
        };
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(conditions(&gateway).contains(&"token_ends".to_owned()), ends, "{days} days");
    }
    assert_tells(
        &told(&gateway, "token_ends"),
        &["source sonar ends at", "days", "hydrophone source token sonar --token-file"],
    );
    let folder = gateway.stop();
    let store = Store::open(&folder.path().join("state"), Arc::default()).unwrap();
    let written = store.write::<_, StoreError>(move |batch| {
        for (name, days) in [("idle", 46), ("used", 44)] {
            let known = catalogue::source(batch, &SourceName::parse("sonar").unwrap())?.unwrap();
            let source = Source {
                name: SourceName::parse(name).unwrap(),
                cloud: true,
                url: "https://127.0.0.1:9".to_owned(),
                checked_at: Some(Timestamp((seconds - days * day) * 1000)),
                token_expires_at: None,
                organizations: Vec::new(),
                ..known
            };
            catalogue::put_source(batch, &source, Some(&SecretBytes::new(b"squ_idle".to_vec())))?;
        }
        Ok(())
    });
    assert_eq!(written, Ok(()));
    store.close();
    let gateway = Gateway::start_in(folder, &[]).unwrap_or_else(|log| panic!("{log}"));
    assert_eq!(conditions(&gateway).iter().filter(|code| *code == "token_idle").count(), 1);
    assert_tells(
        &told(&gateway, "token_idle"),
        &["source idle was last used at", "60 days", "hydrophone source check idle"],
    );
}
