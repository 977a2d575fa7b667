//! What DefectDojo knows: users and their rights, products down to findings, and the history of imports.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{Timestamp, ToSpan};

use super::finding::{Finding, Status};

/// Everything behind the API. A test edits it freely; `Model`'s methods in `people` are what a person does on the page.
pub struct Model {
    pub settings: Settings,
    pub users: Vec<User>,
    pub product_types: Vec<ProductType>,
    pub products: Vec<Product>,
    pub engagements: Vec<Engagement>,
    pub tests: Vec<Test>,
    pub test_types: Vec<TestType>,
    pub findings: BTreeMap<u64, Finding>,
    /// One row for each import that came to its end.
    pub imports: Vec<TestImport>,
    pub acceptances: Vec<RiskAcceptance>,
    next_id: u64,
    frozen: Option<Timestamp>,
    latest: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub version: String,
    /// `enable_deduplication`, off by default.
    pub deduplication: bool,
    /// How long a reimport works on its rows. They are stored in ten parts, so a reader meanwhile sees some of them.
    pub reimport_takes: Duration,
    pub file_bytes_max: usize,
    /// Before 2026-07 a Test did not tell its algorithm.
    pub tells_algorithm: bool,
}

#[derive(Clone, Debug)]
pub struct User {
    pub id: u64,
    pub username: String,
    pub token: Option<String>,
    pub active: bool,
    pub staff: bool,
    pub superuser: bool,
}

#[derive(Clone, Debug)]
pub struct ProductType {
    pub id: u64,
    pub name: String,
    pub authorized_users: Vec<u64>,
}

#[derive(Clone, Debug)]
pub struct Product {
    pub id: u64,
    pub name: String,
    pub product_type: u64,
    pub authorized_users: Vec<u64>,
    pub simple_risk_acceptance: bool,
    pub full_risk_acceptance: bool,
}

#[derive(Clone, Debug)]
pub struct Engagement {
    pub id: u64,
    pub name: String,
    pub product: u64,
    pub status: String,
    pub deduplication_on_engagement: bool,
}

/// Not to be mistaken for a test of ours: DefectDojo's name for a place of findings.
#[derive(Clone, Debug)]
pub struct Test {
    pub id: u64,
    pub engagement: u64,
    pub title: String,
    pub test_type: u64,
    pub scan_type: String,
    pub branch_tag: String,
    pub commit_hash: String,
    pub build_id: String,
    pub version: String,
    pub tags: Vec<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

#[derive(Clone, Debug)]
pub struct TestType {
    pub id: u64,
    pub name: String,
}

#[derive(Clone, Debug)]
pub struct TestImport {
    pub id: u64,
    pub test: u64,
    pub created: Timestamp,
    /// `import` for the first into a Test, `reimport` for the others.
    pub kind: &'static str,
    /// `N`ew, `C`losed, `R`eactivated or `U`ntouched, and the finding.
    pub actions: Vec<(char, u64)>,
    pub branch_tag: String,
    pub commit_hash: String,
    pub build_id: String,
    pub version: String,
    pub close_old_findings: bool,
}

/// A full acceptance, which is an object of its own; a simple one is only a flag.
#[derive(Clone, Debug)]
pub struct RiskAcceptance {
    pub id: u64,
    pub name: String,
    pub owner: u64,
    pub findings: Vec<u64>,
    pub created: Timestamp,
}

impl Model {
    pub(super) fn new() -> Model {
        let settings = Settings {
            version: "3.2.0".to_owned(),
            deduplication: false,
            reimport_takes: Duration::ZERO,
            file_bytes_max: 100 << 20,
            tells_algorithm: true,
        };
        Model {
            settings,
            users: Vec::new(),
            product_types: Vec::new(),
            products: Vec::new(),
            engagements: Vec::new(),
            tests: Vec::new(),
            test_types: Vec::new(),
            findings: BTreeMap::new(),
            imports: Vec::new(),
            acceptances: Vec::new(),
            next_id: 1,
            frozen: None,
            latest: Timestamp::UNIX_EPOCH,
        }
    }

    /// The server's clock, in microseconds. No two looks at it see the same time.
    pub fn now(&mut self) -> Timestamp {
        let now = self.frozen.unwrap_or_else(Timestamp::now);
        let now = Timestamp::from_microsecond(now.as_microsecond()).expect("times lie within the calendar");
        self.latest = now.max(self.latest + 1.microsecond());
        self.latest
    }

    /// Stops the clock at a time, or lets it go on.
    pub fn freeze_clock(&mut self, at: Option<Timestamp>) {
        self.frozen = at;
        self.latest = at.unwrap_or(Timestamp::UNIX_EPOCH);
    }

    /// Ids grow over all kinds of objects together, so that one kind's id is never another's.
    pub(super) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// A user without any rights, with a token of its name.
    pub fn add_user(&mut self, name: &str) -> &mut User {
        let (id, username) = (self.new_id(), name.to_owned());
        let token = Some(format!("token-of-{name}"));
        self.users.push(User { id, username, token, active: true, staff: false, superuser: false });
        self.users.last_mut().expect("one was pushed")
    }

    pub fn user(&self, name: &str) -> &User {
        self.users.iter().find(|user| user.username == name).unwrap_or_else(|| panic!("no user {name}"))
    }

    pub fn user_mut(&mut self, name: &str) -> &mut User {
        self.users.iter_mut().find(|user| user.username == name).unwrap_or_else(|| panic!("no user {name}"))
    }

    pub fn add_product_type(&mut self, name: &str) -> &mut ProductType {
        let id = self.new_id();
        self.product_types.push(ProductType { id, name: name.to_owned(), authorized_users: Vec::new() });
        self.product_types.last_mut().expect("one was pushed")
    }

    pub fn product_type_mut(&mut self, name: &str) -> &mut ProductType {
        let mut all = self.product_types.iter_mut();
        all.find(|one| one.name == name).unwrap_or_else(|| panic!("no product type {name}"))
    }

    pub fn add_product(&mut self, product_type: &str, name: &str) -> &mut Product {
        let product_type = self.product_type_mut(product_type).id;
        let id = self.new_id();
        self.products.push(Product {
            id,
            name: name.to_owned(),
            product_type,
            authorized_users: Vec::new(),
            simple_risk_acceptance: false,
            full_risk_acceptance: true,
        });
        self.products.last_mut().expect("one was pushed")
    }

    pub fn product(&self, name: &str) -> &Product {
        self.products.iter().find(|one| one.name == name).unwrap_or_else(|| panic!("no product {name}"))
    }

    pub fn product_mut(&mut self, name: &str) -> &mut Product {
        self.products.iter_mut().find(|one| one.name == name).unwrap_or_else(|| panic!("no product {name}"))
    }

    pub(super) fn add_engagement(&mut self, product: u64, name: &str, deduplicates_alone: bool) -> u64 {
        let id = self.new_id();
        self.engagements.push(Engagement {
            id,
            name: name.to_owned(),
            product,
            status: "In Progress".to_owned(),
            deduplication_on_engagement: deduplicates_alone,
        });
        id
    }

    pub(super) fn add_test(&mut self, engagement: u64, title: &str, test_type: u64, scan_type: &str) -> u64 {
        let (id, now) = (self.new_id(), self.now());
        self.tests.push(Test {
            id,
            engagement,
            title: title.to_owned(),
            test_type,
            scan_type: scan_type.to_owned(),
            branch_tag: String::new(),
            commit_hash: String::new(),
            build_id: String::new(),
            version: String::new(),
            tags: Vec::new(),
            created: now,
            updated: now,
        });
        id
    }

    /// The type of this name, made if there is none.
    pub(super) fn test_type(&mut self, name: &str) -> u64 {
        if let Some(found) = self.test_types.iter().find(|one| one.name == name) {
            return found.id;
        }
        let id = self.new_id();
        self.test_types.push(TestType { id, name: name.to_owned() });
        id
    }

    pub fn type_name(&self, test: &Test) -> &str {
        &self.test_types.iter().find(|one| one.id == test.test_type).expect("a Test has a type").name
    }

    pub fn test(&self, id: u64) -> Option<&Test> {
        self.tests.iter().find(|test| test.id == id)
    }

    pub(super) fn test_mut(&mut self, id: u64) -> Option<&mut Test> {
        self.tests.iter_mut().find(|test| test.id == id)
    }

    /// The oldest Test of a title.
    pub fn test_titled(&self, title: &str) -> Option<&Test> {
        self.tests.iter().find(|test| test.title == title)
    }

    pub(super) fn engagement(&self, id: u64) -> &Engagement {
        self.engagements.iter().find(|one| one.id == id).expect("an engagement outlives its Tests")
    }

    pub(super) fn product_of(&self, test: u64) -> &Product {
        let engagement = self.test(test).expect("a finding has a Test").engagement;
        let product = self.engagement(engagement).product;
        self.products.iter().find(|one| one.id == product).expect("a product outlives its engagements")
    }

    /// The findings of a Test, by id.
    pub fn findings_of(&self, test: u64) -> impl Iterator<Item = &Finding> {
        self.findings.values().filter(move |finding| finding.test == test)
    }

    /// The findings with a unique id, by id.
    pub fn findings_with(&self, unique_id: &str) -> impl Iterator<Item = &Finding> {
        self.findings.values().filter(move |finding| finding.unique_id.as_deref() == Some(unique_id))
    }

    /// The only finding with a unique id.
    pub fn finding_with(&self, unique_id: &str) -> &Finding {
        let all: Vec<&Finding> = self.findings_with(unique_id).collect();
        let [one] = all[..] else { panic!("{} findings have the unique id {unique_id}", all.len()) };
        one
    }

    /// Changes a finding as one save of it by a user.
    pub(super) fn save<R>(&mut self, id: u64, user: u64, change: impl FnOnce(&mut Finding) -> R) -> R {
        let now = self.now();
        let finding = self.findings.get_mut(&id).unwrap_or_else(|| panic!("no finding {id}"));
        let former: Status = finding.status.clone();
        let result = change(finding);
        finding.settle(Some(&former), user, now);
        result
    }

    /// What the Test's findings are matched by, looked up by its type first and by its scan type then.
    pub fn algorithm(&self, test: &Test) -> Algorithm {
        let known = |name: &str| match name {
            "Generic Findings Import" => Some(Algorithm::Hash),
            "SonarQube Scan detailed" => Some(Algorithm::UniqueId),
            "SARIF" => Some(Algorithm::UniqueIdOrHash),
            _ => None,
        };
        known(self.type_name(test)).or_else(|| known(&test.scan_type)).unwrap_or(Algorithm::Legacy)
    }

    pub(super) fn may_see(&self, user: &User, product: &Product) -> bool {
        self.may_see_type(user, product.product_type) || product.authorized_users.contains(&user.id)
    }

    /// A member of a product type may also make products in it.
    pub(super) fn may_see_type(&self, user: &User, product_type: u64) -> bool {
        let mut all = self.product_types.iter();
        let found = all.find(|one| one.id == product_type);
        user.staff || user.superuser || found.is_some_and(|one| one.authorized_users.contains(&user.id))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Hash,
    UniqueId,
    UniqueIdOrHash,
    /// Title and severity.
    Legacy,
}

impl Algorithm {
    pub(super) fn word(self) -> &'static str {
        match self {
            Algorithm::Hash => "hash_code",
            Algorithm::UniqueId => "unique_id_from_tool",
            Algorithm::UniqueIdOrHash => "unique_id_from_tool_or_hash_code",
            Algorithm::Legacy => "legacy",
        }
    }
}
