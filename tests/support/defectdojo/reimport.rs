//! `POST /reimport-scan/`: what it refuses, where it stores, and the course of its work, which is neither atomic nor
//! safe against another one at the same time.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::answer::{Answer, bad_context, bad_file, detail, internal_error, json_answer, not_permitted, refused};
use super::api::{Asked, authenticate};
use super::finding::{Finding, SEVERITIES};
use super::matching::{Wishes, Work, deduplicate};
use super::model::{Model, TestImport, User};
use super::multipart::Form;
use super::rows::{Report, check_severities};
use super::{Call, Moment, Shared, lock};

/// A reimport from its request to its answer. With `breaks_after`, it breaks off after this many rows.
pub(super) async fn run(shared: &Arc<Shared>, call: &Call, asked: &Asked, breaks_after: Option<usize>) -> Answer {
    let begun = begin(&mut lock(&shared.model), asked);
    let (course, mut work) = match begun {
        Ok(begun) => begun,
        Err(refusal) => return refusal,
    };
    shared.traps.pass(call, Moment::Amid).await;
    let takes = lock(&shared.model).settings.reimport_takes;
    let part = work.rows_left().div_ceil(PARTS).max(1);
    let mut left = breaks_after.unwrap_or(usize::MAX);
    while work.rows_left() > 0 {
        if !takes.is_zero() {
            tokio::time::sleep(takes / u32::try_from(PARTS).expect("a small number")).await;
        }
        let stored = work.store(&mut lock(&shared.model), part.min(left));
        left -= part.min(left);
        if stored.is_err() || (left == 0 && breaks_after.is_some()) {
            return internal_error();
        }
    }
    course.end(&mut lock(&shared.model), work)
}

/// A reimport that is matched and stores nothing yet; whatever is stored meanwhile, it does not see.
pub(super) struct Late(Course, Work);

impl Late {
    /// What is refused at once is never late.
    pub(super) fn begin(shared: &Shared, asked: &Asked) -> Option<Late> {
        begin(&mut lock(&shared.model), asked).ok().map(|(course, work)| Late(course, work))
    }

    pub(super) fn end(self, shared: &Shared) {
        let Late(course, mut work) = self;
        let model = &mut lock(&shared.model);
        // Its Test may be deleted by now.
        if model.test(course.test).is_some() && work.store(model, usize::MAX).is_ok() {
            let _ = course.end(model, work);
        }
    }
}

/// In so many parts a slow reimport stores its rows.
const PARTS: usize = 10;

/// What is needed to end what was begun.
struct Course {
    form: Form,
    user: u64,
    test: u64,
    /// The counts before, unless the Test was just made.
    before: Option<Value>,
    close_old_findings: bool,
}

fn begin(model: &mut Model, asked: &Asked) -> Result<(Course, Work), Answer> {
    let user = authenticate(model, asked)?;
    let content_type = asked.content_type.as_deref().unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type != "multipart/form-data" {
        return Err(detail(415, &format!("Unsupported media type \"{media_type}\" in request.")));
    }
    let form = Form::parse(content_type, &asked.body)
        .map_err(|error| detail(400, &format!("Multipart form parse error - {error}")))?;
    let found = find_place(model, &user, &form)?;
    let wishes = check(model, &form)?;
    let now = model.now();
    let scan_type = form.text("scan_type").expect("it was checked");
    let file = form.file.as_ref().expect("it was checked");
    let report = |bytes: &[u8]| match scan_type {
        "SARIF" => Report::sarif(bytes, now),
        _ => Report::generic(bytes, now),
    };
    let close_old_findings = wishes.close_old_findings;
    let (test, before, rows) = match found {
        Place::Test(test) => {
            let report = report(&file.bytes)?;
            check_type(model, test, &report.test_type)?;
            check_severities(&report.rows)?;
            (test, Some(counts(model.findings_of(test))), report.rows)
        }
        Place::New { product_type, product, engagement } => {
            // Product and engagement stay behind whatever the file is like, the Test if only its severities are wrong.
            let engagement = make_context(model, &user, &form, product_type, product, engagement);
            let report = report(&file.bytes)?;
            let test_type = model.test_type(&report.test_type);
            let title = form.text("test_title").unwrap_or(&report.test_type).to_owned();
            let test = model.add_test(engagement, &title, test_type, scan_type);
            check_severities(&report.rows)?;
            (test, None, report.rows)
        }
    };
    let work = Work::begin(model, test, user.id, wishes, before.is_none(), rows);
    Ok((Course { form, user: user.id, test, before, close_old_findings }, work))
}

/// Where the findings go.
enum Place {
    Test(u64),
    New { product_type: Option<u64>, product: Option<u64>, engagement: Option<u64> },
}

/// Looks for the Test by id or by names, and says first what the user may not do.
fn find_place(model: &Model, user: &User, form: &Form) -> Result<Place, Answer> {
    if let Some(id) = form.text("test") {
        let number = id.parse::<u64>().map_err(|_| refused("test", "A valid integer is required."))?;
        let Some(test) = model.test(number) else {
            return Err(bad_context(&format!("Test \"{number}\" does not exist")));
        };
        let product = model.product_of(number);
        if !model.may_see(user, product) {
            return Err(not_permitted());
        }
        let engagement = model.engagement(test.engagement);
        let named = |field: &str, is: &str| form.text(field).is_none_or(|name| name == is);
        for (field, is, kind) in [
            ("product_name", &product.name, "product"),
            ("engagement_name", &engagement.name, "engagement"),
            ("test_title", &test.title, "title"),
        ] {
            if !named(field, is) {
                return Err(bad_context(&format!(
                    "The provided identifiers are inconsistent \u{2014} the test does not belong to the specified {kind}."
                )));
            }
        }
        return Ok(Place::Test(number));
    }
    let needed = |name: &str| {
        let text = form.text(name).filter(|text| !text.is_empty());
        text.ok_or_else(|| bad_context(&format!("{name} parameter missing")))
    };
    let (product_name, engagement_name) = (needed("product_name")?, needed("engagement_name")?);
    let creates = form.text("auto_create_context").is_some_and(|text| parse_bool(text) == Some(true));
    let absent = || detail(404, "A test could not be found!");
    let Some(product) = model.products.iter().find(|one| one.name == product_name) else {
        if !creates {
            return Err(absent());
        }
        let Some(type_name) = form.text("product_type_name") else {
            return Err(bad_context(&format!(
                "Product \"{product_name}\" does not exist and no product_type_name provided to create the new product in"
            )));
        };
        let product_type = model.product_types.iter().find(|one| one.name == type_name).map(|one| one.id);
        let may = product_type.map_or(user.staff || user.superuser, |id| model.may_see_type(user, id));
        let what = if product_type.is_some() { "products in product_type" } else { "product_type" };
        if !may {
            return Err(detail(403, &format!("No permission to create {what} \"{type_name}\"")));
        }
        return Ok(Place::New { product_type, product: None, engagement: None });
    };
    if !model.may_see(user, product) {
        return Err(not_permitted());
    }
    let product_type = Some(product.product_type);
    let mut engagements = model.engagements.iter().rev();
    let engagement = engagements.find(|one| one.product == product.id && one.name == engagement_name).map(|one| one.id);
    // By name a Test is found only under the scan type it has.
    let wanted = |test: &&super::model::Test| {
        Some(test.engagement) == engagement
            && Some(test.scan_type.as_str()) == form.text("scan_type")
            && form.text("test_title").is_none_or(|title| title == test.title)
    };
    match model.tests.iter().rev().find(wanted) {
        Some(test) => Ok(Place::Test(test.id)),
        None if creates => Ok(Place::New { product_type, product: Some(product.id), engagement }),
        None => Err(absent()),
    }
}

/// Every field but those that name the place.
fn check(model: &mut Model, form: &Form) -> Result<Wishes, Answer> {
    for (name, _) in &form.fields {
        // Anything else the real one passes over; here it shows.
        if !FIELDS.contains(&name.as_str()) {
            return Err(detail(501, &format!("Simulation: the form field '{name}' is not simulated")));
        }
    }
    for name in TEXTS {
        if form.text(name) == Some("") {
            return Err(refused(name, "This field may not be blank."));
        }
    }
    for (name, characters_max) in [("branch_tag", 150), ("commit_hash", 150), ("build_id", 150), ("version", 100)] {
        // Their columns are that wide, and only they say so.
        if form.text(name).is_some_and(|text| text.chars().count() > characters_max) {
            return Err(internal_error());
        }
    }
    let choice = |name: &str, choices: &[&str]| match form.text(name) {
        Some(text) if !choices.contains(&text) => Err(refused(name, &format!("\"{text}\" is not a valid choice."))),
        other => Ok(other.map(str::to_owned)),
    };
    let flag = |name: &str| match form.text(name) {
        None => Ok(None),
        Some(text) => parse_bool(text).map(Some).ok_or_else(|| refused(name, "Must be a valid boolean.")),
    };
    if choice("scan_type", &SCAN_TYPES)?.is_none() {
        return Err(refused("scan_type", "This field is required."));
    }
    let mode = choice("deduplication_execution_mode", &["async", "async_wait", "sync"])?;
    let minimum_severity = choice("minimum_severity", &SEVERITIES)?.unwrap_or_else(|| "Info".to_owned());
    let environments = ["Development", "Production", "Staging", "Test"];
    if choice("environment", &environments).is_err() && flag("auto_create_context")? != Some(true) {
        return Err(bad_file(&format!("Environment named {} does not exist.", form.text("environment").unwrap_or(""))));
    }
    let scan_date = match form.text("scan_date") {
        None => None,
        Some(text) => {
            let wrong = "Date has wrong format. Use one of these formats instead: YYYY-MM-DD.";
            let date: jiff::civil::Date = text.parse().map_err(|_| refused("scan_date", wrong))?;
            let today = model.now().to_zoned(jiff::tz::TimeZone::UTC).date();
            if date > today {
                return Err(refused("scan_date", "The scan_date cannot be in the future!"));
            }
            super::text::moment(text)
        }
    };
    let Some(file) = &form.file else { return Err(bad_file("No file was submitted.")) };
    let extension = file.name.rsplit_once('.').map(|(_, extension)| extension.to_lowercase());
    if !extension.is_some_and(|one| EXTENSIONS.contains(&one.as_str())) {
        return Err(refused("file", "Unsupported extension. Extension must be one of the following: json, sarif, ..."));
    }
    if file.bytes.is_empty() {
        return Err(refused("file", "The submitted file is empty."));
    }
    if file.bytes.len() > model.settings.file_bytes_max {
        return Err(bad_file("Report file is too large. Maximum supported size is 100 MB"));
    }
    for name in ["push_to_jira", "apply_tags_to_findings", "apply_tags_to_endpoints"] {
        if flag(name)? == Some(true) {
            return Err(detail(501, &format!("Simulation: {name} is not simulated")));
        }
    }
    Ok(Wishes {
        close_old_findings: flag("close_old_findings")?.unwrap_or(true),
        do_not_reactivate: flag("do_not_reactivate")?.unwrap_or(false),
        active: flag("active")?,
        verified: flag("verified")?,
        service: form.text("service").map(str::to_owned),
        minimum_severity,
        scan_date,
        waits_for_deduplication: matches!(mode.as_deref(), Some("sync" | "async_wait")),
    })
}

/// A Test of the bare type accepts any file.
fn check_type(model: &Model, test: u64, in_file: &str) -> Result<(), Answer> {
    let name = model.type_name(model.test(test).expect("the Test was found before"));
    if name == in_file || name == super::rows::BARE_TYPE || name == "SARIF" {
        return Ok(());
    }
    Err(bad_file(&format!(
        "Test type mismatch: Test {test} has test_type '{name}', but the report contains test_type '{in_file}'. \
         Reimport with matching test_type or create a new test."
    )))
}

fn make_context(
    model: &mut Model,
    user: &User,
    form: &Form,
    product_type: Option<u64>,
    product: Option<u64>,
    engagement: Option<u64>,
) -> u64 {
    let product = product.unwrap_or_else(|| {
        let name = form.text("product_type_name").expect("it was checked");
        if product_type.is_none() {
            let maker = user.id;
            model.add_product_type(name).authorized_users.push(maker);
        }
        model.add_product(name, form.text("product_name").expect("it was checked")).id
    });
    let alone = form.text("deduplication_on_engagement").and_then(parse_bool).unwrap_or(false);
    let name = form.text("engagement_name").expect("it was checked");
    engagement.unwrap_or_else(|| model.add_engagement(product, name, alone))
}

impl Course {
    fn end(self, model: &mut Model, work: Work) -> Answer {
        let (test, form, first) = (self.test, &self.form, self.before.is_none());
        let created = work.created().to_vec();
        let waits = work.waits_for_deduplication();
        let actions = work.finish(model);
        if waits {
            deduplicate(model, &created, self.user);
        }
        let now = model.now();
        let given = |name: &str| form.text(name).unwrap_or_default().to_owned();
        let Some(place) = model.test_mut(test) else { return internal_error() };
        // What is left out is wiped.
        (place.branch_tag, place.commit_hash) = (given("branch_tag"), given("commit_hash"));
        (place.build_id, place.version) = (given("build_id"), given("version"));
        place.updated = now;
        let tags = form.all("tags");
        if !tags.is_empty() {
            place.tags = tags;
        }
        let place = place.clone();
        let import = TestImport {
            id: model.new_id(),
            test,
            created: now,
            kind: if first { "import" } else { "reimport" },
            actions: actions.clone(),
            branch_tag: place.branch_tag.clone(),
            commit_hash: place.commit_hash.clone(),
            build_id: place.build_id.clone(),
            version: place.version.clone(),
            close_old_findings: self.close_old_findings,
        };
        model.imports.push(import);
        let mut statistics = Map::new();
        if let Some(before) = self.before {
            statistics.insert("before".to_owned(), before);
            let of = |action: char| {
                let ids = actions.iter().filter(move |(one, _)| *one == action).map(|(_, id)| id);
                counts(ids.filter_map(|id| model.findings.get(id)))
            };
            let delta = json!({ "created": of('N'), "closed": of('C'), "reactivated": of('R'), "untouched": of('U') });
            statistics.insert("delta".to_owned(), delta);
        }
        statistics.insert("after".to_owned(), counts(model.findings_of(test)));
        let product = model.product_of(test);
        let mut body = json!({
            "minimum_severity": "Info", "active": false, "verified": false, "endpoint_to_add": null,
            "auto_create_context": false, "deduplication_on_engagement": false, "lead": null, "push_to_jira": false,
            "deduplication_execution_mode": null, "api_scan_configuration": null,
            "create_finding_groups_for_all_findings": true, "test_id": test, "engagement_id": place.engagement,
            "product_id": product.id, "product_type_id": product.product_type, "statistics": statistics,
            "deduplication_complete": waits, "apply_tags_to_findings": false, "apply_tags_to_endpoints": false,
            "do_not_reactivate": false, "close_old_findings": true, "close_old_findings_product_scope": false,
        });
        for (name, value) in &form.fields {
            let value = parse_bool(value).filter(|_| body[name].is_boolean()).map_or(json!(value), Value::Bool);
            body[name.as_str()] = value;
        }
        body["test"] = json!(test);
        if !waits {
            // Done behind the answer, whose counts do not know of it.
            deduplicate(model, &created, self.user);
        }
        json_answer(201, &body)
    }
}

/// Counters for each severity and for all.
fn counts<'f>(findings: impl Iterator<Item = &'f Finding>) -> Value {
    let findings: Vec<&Finding> = findings.collect();
    let count = |severity: Option<&str>| {
        let some: Vec<_> = findings.iter().filter(|one| severity.is_none_or(|word| word == one.severity)).collect();
        let of = |holds: fn(&Finding) -> bool| some.iter().filter(|one| holds(one)).count();
        json!({
            "active": of(|one| one.status.active), "verified": of(|one| one.status.verified),
            "duplicate": of(|one| one.duplicate), "false_p": of(|one| one.status.false_p),
            "out_of_scope": of(|one| one.status.out_of_scope), "is_mitigated": of(|one| one.status.is_mitigated),
            "risk_accepted": of(|one| one.status.risk_accepted), "total": some.len(),
        })
    };
    let mut all: Map<String, Value> = SEVERITIES.iter().map(|word| (word.to_lowercase(), count(Some(word)))).collect();
    all.insert("total".to_owned(), count(None));
    Value::Object(all)
}

/// The words Django takes for a truth value.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}

const SCAN_TYPES: [&str; 2] = ["Generic Findings Import", "SARIF"];
const EXTENSIONS: [&str; 15] =
    ["xml", "csv", "nessus", "json", "jsonl", "html", "js", "zip", "xlsx", "txt", "sarif", "fpr", "md", "log", "fvdl"];
const TEXTS: [&str; 9] = [
    "product_type_name",
    "product_name",
    "engagement_name",
    "test_title",
    "build_id",
    "branch_tag",
    "commit_hash",
    "service",
    "version",
];
const FIELDS: [&str; 26] = [
    "product_type_name",
    "product_name",
    "engagement_name",
    "test_title",
    "build_id",
    "branch_tag",
    "commit_hash",
    "service",
    "version",
    "scan_type",
    "test",
    "scan_date",
    "minimum_severity",
    "active",
    "verified",
    "auto_create_context",
    "deduplication_on_engagement",
    "deduplication_execution_mode",
    "environment",
    "close_old_findings",
    "close_old_findings_product_scope",
    "do_not_reactivate",
    "push_to_jira",
    "tags",
    "apply_tags_to_findings",
    "apply_tags_to_endpoints",
];
