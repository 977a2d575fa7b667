//! What `destination check` looks at.

use super::wire::{Named, Page, Profile, Schema};
use super::{DefectDojo, place};
use crate::platform::{Finding, Trouble};

impl DefectDojo {
    pub(super) fn look(&mut self) -> Result<Vec<Finding>, Trouble> {
        let host = self.calls.host().to_owned();
        let good = |what: &'static str, text: String| Finding { what, good: true, text };
        let bad = |what: &'static str, text: String| Finding { what, good: false, text };
        let profile: Profile = match self.calls.get("user_profile/") {
            Ok(profile) => profile,
            Err(Trouble::Later { why, after }) => return Err(Trouble::Later { why, after }),
            Err(trouble) => return Ok(vec![bad("token", trouble.to_string())]),
        };
        let user = profile.user;
        self.me = Some(user.clone());
        let mut lines = vec![good("address", format!("a DefectDojo answers at {host}"))];
        lines.push(match self.calls.get::<Schema>("oa3/schema/?format=json") {
            Ok(schema) => version(&schema.info.title, &schema.info.version),
            // It can be switched off.
            Err(_) => good("version", "it does not tell its version".to_owned()),
        });
        let alone = "better make a user for this box alone, so that its changes can be told from a person's";
        lines.push(good(
            "token",
            match (user.is_superuser, user.is_staff) {
                (true, _) => format!("it is of {}, a superuser, who may do everything; {alone}", user.username),
                (false, true) => format!("it is of {}, who belongs to the staff; {alone}", user.username),
                (false, false) => format!("it is of {}", user.username),
            },
        ));
        lines.push(self.rights(user.id, user.is_staff || user.is_superuser)?);
        Ok(lines)
    }

    fn rights(&self, user: u64, staff: bool) -> Result<Finding, Trouble> {
        let line = |good: bool, text: String| Ok(Finding { what: "right to create products", good, text });
        let own = self.own_types(user)?;
        if let Some(wanted) = self.destination.option("product-type") {
            let query = format!("product_types/?name={}&limit=100", place::encode(wanted));
            let found: Page<Named> = self.calls.get(&query)?;
            let there = found.results.iter().any(|one| one.name == wanted);
            return match (there, staff, own.iter().any(|name| name == wanted)) {
                (true, true, _) | (_, _, true) => line(true, format!("in product type {wanted}")),
                (false, true, _) => line(true, format!("product type {wanted} is made with the first product")),
                _ => line(
                    false,
                    format!("none in product type {wanted}; enter the token's user among its authorized users there"),
                ),
            };
        }
        match &own[..] {
            [one] => return line(true, format!("in product type {one}")),
            [] if staff => return line(true, "in any product type; new ones go to Hydrophone".to_owned()),
            [] => {}
            several => {
                let names = several.join(", ");
                return line(
                    true,
                    format!("in {names}; name the one for new products with --option product-type=NAME"),
                );
            }
        }
        let products: Page<Named> = self.calls.get("products/?limit=1")?;
        if products.count > 0 {
            let text = "none, but some products can be used: name one for each asset with --asset ASSET=PRODUCT";
            return line(true, format!("{text} ({} in sight)", products.count));
        }
        line(
            false,
            "none, and no product is in sight; enter the token's user among the authorized users of a product type"
                .to_owned(),
        )
    }
}

/// The versions in which the ways used here were seen to work.
fn version(title: &str, version: &str) -> Finding {
    let line = |good: bool, text: String| Finding { what: "version", good, text };
    let shown: String = version.chars().filter(|c| !c.is_control()).take(40).collect();
    let major: Option<u32> = shown.trim_start_matches('v').split('.').next().and_then(|number| number.parse().ok());
    match major {
        _ if !title.is_empty() && !title.contains("DefectDojo") => {
            line(false, "its API is not DefectDojo's; check the address".to_owned())
        }
        Some(3) => line(true, shown),
        Some(2) => line(true, format!("{shown}, older than 3.2, with which this was tried")),
        Some(major) if major > 3 => line(true, format!("{shown}, newer than 3.2, with which this was tried")),
        _ => line(false, format!("{shown} is too old; 3.2 is what this was tried with")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_judged_by_its_first_number() {
        let judged = |text: &str| version("DefectDojo API v2", text).good;
        assert!(judged("3.2.0") && judged("2.58.1") && judged("4.0.0"));
        assert!(!judged("1.15.1") && !judged("none"));
        assert!(!version("Petstore", "3.2.0").good);
    }
}
