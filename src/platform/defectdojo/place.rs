//! Where a scope's findings go: product, engagement and Test, found by their exact names or made.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::calls::Sent;
use super::wire::{BY_KEY, Named, SCAN_TYPE, SWITCHED, TEST_TYPE, Test};
use super::{DefectDojo, keys, rows, status, wire};
use crate::domain::message::{Place, Target};
use crate::platform::{Offer, Trouble};

impl DefectDojo {
    pub(super) fn set_up(&mut self, place: &Place, known: Option<Target>) -> Result<Target, Trouble> {
        // By its id, since a person may have given it another name.
        if let Some(known) = known
            && let Some(id) = known.get(keys::TEST)
            && let Some(test) = self.calls.find::<Test>(&format!("tests/{id}/"))?
        {
            return self.settle(known, test);
        }
        let mut target = Target::default();
        let asset = rows::fit(self.destination.asset_name(&place.asset), rows::NAME_MAX);
        let title = rows::test_title(place);
        let product = self.product(&asset)?;
        if let Some(product) = &product {
            target.set(keys::PRODUCT, product.id.to_string());
            if let Some(engagement) = self.engagement_of(product.id)? {
                target.set(keys::ENGAGEMENT, engagement.id.to_string());
                let query = format!("engagement={}&title={}", engagement.id, encode(&title));
                let tests: Vec<Test> = self.calls.all("tests/", &query)?;
                let ours = tests
                    .into_iter()
                    .filter(|test| test.title.as_deref() == Some(&title) && test.test_type_name == TEST_TYPE);
                if let Some(test) = ours.min_by_key(|test| test.id) {
                    target.set(keys::ADOPTED, "yes");
                    return self.settle(target, test);
                }
            }
        }
        let test = self.make(&asset, product.as_ref(), &title)?;
        target.set(keys::TEST, test.to_string());
        let path = format!("tests/{test}/");
        let Some(test) = self.calls.find::<Test>(&path)? else {
            return Err(Trouble::target(format!("Test {test} went away while it was made"), "it is made again"));
        };
        self.settle(target, test)
    }

    /// Has a Test go by Sonar's key where the server lets us, and notes what it goes by.
    fn settle(&mut self, mut target: Target, mut test: Test) -> Result<Target, Trouble> {
        if test.scan_type.as_deref() != Some(SWITCHED) {
            let wish = status::fields(json!({ "scan_type": SWITCHED }));
            let answer = self.calls.patch(&format!("tests/{}/", test.id), &wish)?;
            match self.calls.judge(&answer) {
                Ok(()) => test = answer.read()?,
                Err(_) if answer.status == 400 => {}
                // Without that right findings are found again by their birth values.
                Err(Trouble::Target { .. }) if answer.status == 403 => {}
                Err(trouble) => return Err(trouble),
            }
        }
        target.set(keys::TEST, test.id.to_string());
        target.set(keys::TEST_TYPE, test.test_type.to_string());
        target.set(keys::ALGORITHM, test.deduplication_algorithm.as_deref().unwrap_or("hash_code"));
        self.test_type = Some(test.test_type);
        Ok(target)
    }

    /// The oldest product of a name, or the one of a number.
    fn product(&self, name: &str) -> Result<Option<Named>, Trouble> {
        let found: Vec<Named> = self.calls.all("products/", &format!("name_exact={}", encode(name)))?;
        if let Some(product) = found.into_iter().filter(|one| one.name == name).min_by_key(|one| one.id) {
            return Ok(Some(product));
        }
        match name.parse::<u64>() {
            Ok(id) => self.calls.find(&format!("products/{id}/")),
            Err(_) => Ok(None),
        }
    }

    fn engagement_of(&self, product: u64) -> Result<Option<Named>, Trouble> {
        let query = format!("product={product}&name={}", encode(&self.engagement));
        let found: Vec<Named> = self.calls.all("engagements/", &query)?;
        Ok(found.into_iter().filter(|one| one.name == self.engagement).min_by_key(|one| one.id))
    }

    /// Makes what is missing by an empty import, and returns the Test's id.
    fn make(&mut self, asset: &str, product: Option<&Named>, title: &str) -> Result<u64, Trouble> {
        let mut form = vec![
            ("scan_type", SCAN_TYPE.to_owned()),
            ("product_name", product.map_or_else(|| asset.to_owned(), |product| product.name.clone())),
            ("engagement_name", self.engagement.clone()),
            ("test_title", title.to_owned()),
            ("auto_create_context", "true".to_owned()),
            // An empty file would close everything that is there.
            ("close_old_findings", "false".to_owned()),
            ("deduplication_execution_mode", "sync".to_owned()),
        ];
        if product.is_none() {
            form.push(("product_type_name", self.product_type(asset)?));
        }
        match self.calls.reimport(&form, &[]) {
            Sent::Done(imported) => Ok(imported.test),
            Sent::Broke(why) => Err(Trouble::later(format!("{} cannot make a Test for now: {why}", self.calls.host()))),
            Sent::Refused(why) => Err(Trouble::target(
                format!("{} refuses to make a Test for asset {asset}: {why}", self.calls.host()),
                "make the product there, and name it with --asset",
            )),
            Sent::Not(trouble) | Sent::Unknown(trouble) => Err(trouble),
        }
    }

    /// The product type for a new product.
    fn product_type(&mut self, asset: &str) -> Result<String, Trouble> {
        if let Some(name) = self.destination.option("product-type") {
            return Ok(name.to_owned());
        }
        let user = self.me()?.clone();
        let mut own: Vec<String> = self.own_types(user.id)?;
        match own.len() {
            1 => Ok(own.remove(0)),
            _ if own.iter().any(|name| name == PRODUCT_TYPE) => Ok(PRODUCT_TYPE.to_owned()),
            0 if user.is_staff || user.is_superuser => Ok(PRODUCT_TYPE.to_owned()),
            0 => Err(Trouble::target(
                format!("there is no product {asset} that {} may see, and it may make none", user.username),
                "enter it among the authorized users of a product type, or of a product that --asset names",
            )),
            _ => Err(Trouble::target(
                format!("there is no product {asset}, and {} belongs to several product types", user.username),
                "name the one for new products with --option product-type=NAME",
            )),
        }
    }

    /// The product types that a user is an authorized user of.
    pub(super) fn own_types(&self, user: u64) -> Result<Vec<String>, Trouble> {
        let types: Vec<Named> = self.calls.all("product_types/", "")?;
        let own = |one: &Named| one.authorized_users.iter().any(|of| wire::id(of) == Some(user));
        Ok(types.into_iter().filter(own).map(|one| one.name).collect())
    }

    pub(super) fn products(&self, search: Option<&str>) -> Result<Vec<Offer>, Trouble> {
        let query = format!("name={}&limit={OFFERS_MAX}", encode(search.unwrap_or_default()));
        let page: wire::Page<Named> = self.calls.get(&format!("products/?{query}"))?;
        let mut offers: Vec<Offer> =
            page.results.into_iter().map(|one| Offer { id: one.id.to_string(), name: one.name }).collect();
        offers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(offers)
    }

    /// Whether rows of a scope find their findings by Sonar's key alone.
    pub(super) fn goes_by_key(target: &Target) -> bool {
        target.get(keys::ALGORITHM) == Some(BY_KEY)
    }
}

pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Where new products go if nobody says otherwise.
const PRODUCT_TYPE: &str = "Hydrophone";

const OFFERS_MAX: usize = 100;
