//! The API but for reimports: who asks, which path is meant, and what each answers.

use serde_json::{Value, json};

use super::answer::{
    Answer, Outcome, bad_choice, bare, detail, json_answer, list, moved, no_content, no_such, not_permitted, ok,
    page_not_found, refused, unsimulated,
};
use super::edit;
use super::filter;
use super::finding::{Finding, Note, metadata_shown};
use super::model::{Model, RiskAcceptance, Test, User};
use super::text::shown;

/// One request, taken apart.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    /// With its leading slash, without the query.
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) authorization: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Asked {
    pub(super) fn is_reimport(&self) -> bool {
        self.path == "/api/v2/reimport-scan/" && self.method == "POST"
    }

    /// The body of a call that takes JSON.
    fn json(&self) -> Result<Value, Answer> {
        let media_type = self.content_type.as_deref().and_then(|text| text.split(';').next()).unwrap_or_default();
        if media_type != "application/json" {
            return Err(detail(415, &format!("Unsupported media type \"{media_type}\" in request.")));
        }
        let value =
            serde_json::from_slice(&self.body).map_err(|error| detail(400, &format!("JSON parse error - {error}")))?;
        match value {
            Value::Object(_) => Ok(value),
            _ => Err(bare(400, "Invalid data. Expected a dictionary.")),
        }
    }
}

/// The user of a token, told apart from bad ones only by text.
pub(super) fn authenticate(model: &Model, asked: &Asked) -> Result<User, Answer> {
    let absent = || detail(403, "Authentication credentials were not provided.");
    let token = asked.authorization.as_deref().and_then(|text| text.strip_prefix("Token ")).ok_or_else(absent)?;
    let user = model.users.iter().find(|user| user.token.as_deref() == Some(token));
    let user = user.ok_or_else(|| detail(403, "Invalid token."))?;
    if user.active { Ok(user.clone()) } else { Err(detail(403, "User inactive or deleted.")) }
}

pub(super) fn answer(model: &mut Model, asked: &Asked, url: &str) -> Answer {
    route(model, asked, url).unwrap_or_else(|refusal| refusal)
}

fn route(model: &mut Model, asked: &Asked, url: &str) -> Outcome {
    let Some(rest) = asked.path.strip_prefix("/api/v2/") else { return Err(page_not_found()) };
    let parts: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
    if !is_known(&parts) {
        return Err(page_not_found());
    }
    if !asked.path.ends_with('/') {
        return Err(moved(format!("{}/", asked.path)));
    }
    if parts == ["oa3", "schema"] {
        let info = json!({ "title": "DefectDojo API v2", "version": model.settings.version });
        return Ok(ok(&json!({ "openapi": "3.0.3", "info": info, "paths": {} })));
    }
    let user = authenticate(model, asked)?;
    let caller = Caller { asked, url, user: &user };
    let id = parts.get(1).map(|text| text.parse::<u64>().unwrap_or(0));
    match (asked.method.as_str(), parts[0], id, parts.get(2).copied()) {
        ("GET", "user_profile", None, None) => Ok(profile(&user)),
        // One that followed a redirect and lost its form.
        ("GET", "reimport-scan", None, None) => Err(super::answer::bad_context("product_name parameter missing")),
        ("GET", "product_types", id, None) => caller.product_types(model, id),
        ("GET", "products", id, None) => caller.products(model, id),
        ("GET", "engagements", id, None) => caller.engagements(model, id),
        ("GET", "tests", id, None) => caller.tests(model, id),
        ("PATCH", "tests", Some(id), None) => caller.patch_test(model, id),
        ("GET", "test_imports", None, None) => caller.test_imports(model),
        ("GET", "findings", None, None) => caller.findings(model),
        ("GET", "findings", Some(id), None) => {
            caller.finding(model, id)?;
            Ok(ok(&finding_shown(model, id)))
        }
        ("PATCH", "findings", Some(id), None) => {
            caller.finding(model, id)?;
            edit::patch(model, &user, id, &asked.json()?)
        }
        ("DELETE", "findings", Some(id), None) => {
            caller.finding(model, id)?;
            // Members may do everything but this.
            if !user.staff && !user.superuser {
                return Err(not_permitted());
            }
            model.delete_finding(id);
            Ok(no_content())
        }
        ("POST", "findings", Some(id), Some("close")) => {
            caller.finding(model, id)?;
            edit::close(model, &user, id, &asked.json()?)
        }
        (_, "findings", Some(id), Some("notes")) => caller.notes(model, id),
        (_, "findings", Some(id), Some("metadata")) => caller.metadata(model, id),
        (_, "findings", Some(id), Some("tags")) => caller.tags(model, id),
        (_, "risk_acceptance", id, None) => caller.risk_acceptance(model, id),
        (
            "POST" | "PUT" | "DELETE" | "PATCH",
            "findings" | "tests" | "products" | "product_types" | "engagements",
            ..,
        ) => Err(unsimulated(&format!("{} {}", asked.method, asked.path))),
        _ => Err(detail(405, &format!("Method \"{}\" not allowed.", asked.method))),
    }
}

fn is_known(parts: &[&str]) -> bool {
    match parts {
        ["oa3", "schema"] => true,
        [one] | [one, _] if NAMES.contains(one) => parts.len() == 1 || !["user_profile", "reimport-scan"].contains(one),
        ["findings", _, action] => ["close", "notes", "metadata", "tags"].contains(action),
        _ => false,
    }
}

const NAMES: [&str; 9] = [
    "user_profile",
    "reimport-scan",
    "product_types",
    "products",
    "engagements",
    "tests",
    "test_imports",
    "findings",
    "risk_acceptance",
];

fn profile(user: &User) -> Answer {
    let about = json!({
        "id": user.id, "username": user.username, "first_name": "", "last_name": "",
        "email": format!("{}@example.com", user.username), "is_active": user.active, "is_staff": user.staff,
        "is_superuser": user.superuser,
    });
    ok(&json!({ "user": about, "user_contact_info": null }))
}

pub(super) fn finding_shown(model: &Model, id: u64) -> Value {
    let finding = &model.findings[&id];
    let accepted: Vec<Value> =
        model.acceptances.iter().filter(|one| one.findings.contains(&id)).map(acceptance_shown).collect();
    finding.shown(&accepted, |note| note_shown(model, note))
}

fn note_shown(model: &Model, note: &Note) -> Value {
    let name = model.users.iter().find(|user| user.id == note.author).map(|user| user.username.clone());
    let author = json!({ "id": note.author, "username": name, "first_name": "", "last_name": "" });
    json!({ "author": author, "editor": null, "entry": note.entry, "private": false, "edit_time": null })
}

fn acceptance_shown(one: &RiskAcceptance) -> Value {
    json!({
        "id": one.id, "path": "No proof has been supplied", "name": one.name, "recommendation": "A",
        "decision": "A", "accepted_by": null, "expiration_date": null, "reactivate_expired": true,
        "restart_sla_expired": false, "created": shown(one.created), "owner": one.owner,
        "accepted_findings": one.findings, "notes": [],
    })
}

fn test_shown(model: &Model, test: &Test) -> Value {
    let mut shown = json!({
        "id": test.id, "test_type_name": model.type_name(test), "hash_code_fields": null,
        "scan_type": test.scan_type, "title": test.title, "description": null, "target_start": shown(test.created),
        "target_end": shown(test.updated), "percent_complete": 100, "updated": shown(test.updated),
        "created": shown(test.created), "version": test.version, "build_id": test.build_id,
        "commit_hash": test.commit_hash, "branch_tag": test.branch_tag, "engagement": test.engagement, "lead": null,
        "test_type": test.test_type, "environment": 1, "api_scan_configuration": null, "notes": [], "files": [],
        "tags": test.tags, "finding_groups": [],
    });
    if model.settings.tells_algorithm {
        shown["deduplication_algorithm"] = json!(model.algorithm(test).word());
    }
    shown
}

/// Who asks for what.
struct Caller<'a> {
    asked: &'a Asked,
    url: &'a str,
    user: &'a User,
}

impl Caller<'_> {
    fn filter(&self, name: &str) -> Option<&str> {
        let query = &self.asked.query;
        query.iter().rev().find(|(one, value)| one == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// A filter by the id of another object, which must exist and be in sight.
    fn by_id(&self, name: &str, exists: impl Fn(u64) -> bool) -> Result<Option<u64>, Answer> {
        let Some(text) = self.filter(name) else { return Ok(None) };
        let id = text.parse().ok().filter(|id| exists(*id));
        id.map(Some).ok_or_else(|| bad_choice(name))
    }

    /// One object, or a page of all.
    fn one_or_page(&self, kind: &str, id: Option<u64>, rows: Vec<Value>) -> Outcome {
        match id {
            None => Ok(list(self.url, &self.asked.path, &self.asked.query, &rows)),
            Some(id) => rows.into_iter().find(|row| row["id"] == id).map(|row| ok(&row)).ok_or_else(|| no_such(kind)),
        }
    }

    fn sees_test(&self, model: &Model, test: u64) -> bool {
        model.test(test).is_some() && model.may_see(self.user, model.product_of(test))
    }

    fn product_types(&self, model: &Model, id: Option<u64>) -> Outcome {
        let name = self.filter("name").map(str::to_lowercase);
        let seen = model.product_types.iter().filter(|one| model.may_see_type(self.user, one.id));
        let seen = seen.filter(|one| name.as_ref().is_none_or(|name| one.name.to_lowercase().contains(name)));
        let rows = seen.map(|one| json!({ "id": one.id, "name": one.name, "authorized_users": one.authorized_users }));
        self.one_or_page("Product_Type", id, rows.collect())
    }

    fn products(&self, model: &Model, id: Option<u64>) -> Outcome {
        let product_type = self.by_id("prod_type", |id| model.may_see_type(self.user, id))?;
        let (part, exact) = (self.filter("name").map(str::to_lowercase), self.filter("name_exact"));
        let seen = model.products.iter().filter(|one| {
            model.may_see(self.user, one)
                && product_type.is_none_or(|id| id == one.product_type)
                && part.as_ref().is_none_or(|part| one.name.to_lowercase().contains(part))
                && exact.is_none_or(|name| name == one.name)
        });
        let rows = seen.map(|one| {
            json!({
                "id": one.id, "name": one.name, "description": one.name, "prod_type": one.product_type,
                "authorized_users": one.authorized_users, "enable_simple_risk_acceptance": one.simple_risk_acceptance,
                "enable_full_risk_acceptance": one.full_risk_acceptance,
            })
        });
        self.one_or_page("Product", id, rows.collect())
    }

    fn engagements(&self, model: &Model, id: Option<u64>) -> Outcome {
        let in_sight = |id: u64| model.products.iter().any(|one| one.id == id && model.may_see(self.user, one));
        let product = self.by_id("product", in_sight)?;
        let name = self.filter("name").map(str::to_lowercase);
        let seen = model.engagements.iter().filter(|one| {
            in_sight(one.product)
                && product.is_none_or(|id| id == one.product)
                && name.as_ref().is_none_or(|name| one.name.to_lowercase().contains(name))
        });
        let rows = seen.map(|one| {
            json!({
                "id": one.id, "name": one.name, "product": one.product, "status": one.status,
                "engagement_type": "CI/CD", "active": true,
                "deduplication_on_engagement": one.deduplication_on_engagement,
            })
        });
        self.one_or_page("Engagement", id, rows.collect())
    }

    fn tests(&self, model: &Model, id: Option<u64>) -> Outcome {
        let engagement = self.by_id("engagement", |id| model.engagements.iter().any(|one| one.id == id))?;
        let test_type = self.by_id("test_type", |id| model.test_types.iter().any(|one| one.id == id))?;
        // Contains, any case: whoever wants one title compares.
        let title = self.filter("title").map(str::to_lowercase);
        let seen = model.tests.iter().filter(|one| {
            self.sees_test(model, one.id)
                && engagement.is_none_or(|id| id == one.engagement)
                && test_type.is_none_or(|id| id == one.test_type)
                && title.as_ref().is_none_or(|title| one.title.to_lowercase().contains(title))
        });
        self.one_or_page("Test", id, seen.map(|one| test_shown(model, one)).collect())
    }

    fn patch_test(&self, model: &mut Model, id: u64) -> Outcome {
        if !self.sees_test(model, id) {
            return Err(no_such("Test"));
        }
        let body = self.asked.json()?;
        let now = model.now();
        let mut test = model.test(id).expect("it is seen").clone();
        let given = |name: &str| match body.get(name) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value.clone())),
            Some(_) => Err(refused(name, "Not a valid string.")),
        };
        for (name, place) in [
            ("scan_type", &mut test.scan_type),
            ("title", &mut test.title),
            ("branch_tag", &mut test.branch_tag),
            ("commit_hash", &mut test.commit_hash),
            ("build_id", &mut test.build_id),
            ("version", &mut test.version),
        ] {
            if let Some(value) = given(name)? {
                *place = value;
            }
        }
        if let Some(tags) = body.get("tags") {
            test.tags = edit::tags(tags)?;
        }
        test.updated = now;
        *model.test_mut(id).expect("it is seen") = test.clone();
        Ok(ok(&test_shown(model, &test)))
    }

    /// The newest first: the mark that a reimport has ended.
    fn test_imports(&self, model: &Model) -> Outcome {
        let test = self.by_id("test", |id| self.sees_test(model, id))?;
        let seen = model.imports.iter().rev().filter(|one| self.sees_test(model, one.test));
        let seen = seen.filter(|one| test.is_none_or(|id| id == one.test));
        let rows: Vec<Value> = seen
            .map(|one| {
                let actions: Vec<Value> = one.actions.iter().map(|(action, finding)| {
                    json!({ "action": action.to_string(), "test_import": one.id, "finding": finding })
                }).collect();
                let affected: Vec<u64> = one.actions.iter().map(|(_, finding)| *finding).collect();
                json!({
                    "id": one.id, "test": one.test, "type": one.kind, "created": shown(one.created),
                    "modified": shown(one.created), "test_import_finding_action_set": actions,
                    "findings_affected": affected, "version": one.version, "build_id": one.build_id,
                    "commit_hash": one.commit_hash, "branch_tag": one.branch_tag,
                    "import_settings": { "close_old_findings": one.close_old_findings },
                })
            })
            .collect();
        self.one_or_page("Test_Import", None, rows)
    }

    fn findings(&self, model: &Model) -> Outcome {
        let seen: Vec<&Finding> = model.findings.values().filter(|one| self.sees_test(model, one.test)).collect();
        let found = filter::filtered(model, seen, &self.asked.query, |test| self.sees_test(model, test))?;
        // Only the rows of the page are written out: lists of thousands are common.
        let rows: Vec<Value> = found.iter().map(|one| json!(one.id)).collect();
        let page = list(self.url, &self.asked.path, &self.asked.query, &rows);
        let mut page: Value = serde_json::from_str(&page.body).expect("a list is JSON");
        for row in page["results"].as_array_mut().expect("a list has results") {
            *row = finding_shown(model, row.as_u64().expect("an id"));
        }
        Ok(ok(&page))
    }

    /// Hidden and deleted look alike.
    fn finding(&self, model: &Model, id: u64) -> Result<(), Answer> {
        let finding = model.findings.get(&id).filter(|one| self.sees_test(model, one.test));
        finding.map(|_| ()).ok_or_else(|| no_such("Finding"))
    }

    /// Not deduplicated.
    fn notes(&self, model: &mut Model, id: u64) -> Outcome {
        self.finding(model, id)?;
        match self.asked.method.as_str() {
            "GET" => {
                let notes: Vec<Value> = model.findings[&id].notes.iter().map(|note| note_shown(model, note)).collect();
                Ok(ok(&json!({ "finding_id": id, "notes": notes })))
            }
            "POST" => {
                let body = self.asked.json()?;
                let entry = body["entry"].as_str().ok_or_else(|| refused("entry", "This field is required."))?;
                if entry.is_empty() {
                    return Err(refused("entry", "This field may not be blank."));
                }
                model.save(id, self.user.id, |finding| finding.note(self.user.id, entry));
                let note = model.findings[&id].notes.last().expect("one was added");
                Ok(json_answer(201, &note_shown(model, note)))
            }
            method => Err(detail(405, &format!("Method \"{method}\" not allowed."))),
        }
    }

    /// Moves nothing on the finding. A name given twice is refused; `PUT` changes its value.
    fn metadata(&self, model: &mut Model, id: u64) -> Outcome {
        self.finding(model, id)?;
        let finding = model.findings.get_mut(&id).expect("it is seen");
        if self.asked.method == "GET" {
            return Ok(ok(&finding.metadata.iter().map(metadata_shown).collect()));
        }
        let body = self.asked.json()?;
        let text =
            |name: &str| body[name].as_str().map(str::to_owned).ok_or_else(|| refused(name, "This field is required."));
        let pair = (text("name")?, text("value")?);
        let known = finding.metadata.iter_mut().find(|(name, _)| *name == pair.0);
        match (self.asked.method.as_str(), known) {
            ("POST", Some(_)) => Err(bare(400, "Create: the finding has this metadata already")),
            ("POST", None) => {
                finding.metadata.push(pair.clone());
                Ok(ok(&metadata_shown(&pair)))
            }
            ("PUT", Some(known)) => {
                known.1.clone_from(&pair.1);
                Ok(ok(&metadata_shown(&pair)))
            }
            ("PUT", None) => Err(no_such("DojoMeta")),
            (method, _) => Err(detail(405, &format!("Method \"{method}\" not allowed."))),
        }
    }

    /// `POST` adds.
    fn tags(&self, model: &mut Model, id: u64) -> Outcome {
        self.finding(model, id)?;
        if self.asked.method == "POST" {
            let tags = edit::tags(&self.asked.json()?["tags"])?;
            model.save(id, self.user.id, |finding| {
                let new: Vec<String> = tags.into_iter().filter(|tag| !finding.tags.contains(tag)).collect();
                finding.tags.extend(new);
            });
        } else if self.asked.method != "GET" {
            return Err(detail(405, &format!("Method \"{}\" not allowed.", self.asked.method)));
        }
        let status = if self.asked.method == "POST" { 201 } else { 200 };
        Ok(json_answer(status, &json!({ "tags": model.findings[&id].tags })))
    }

    fn risk_acceptance(&self, model: &mut Model, id: Option<u64>) -> Outcome {
        let in_sight = |model: &Model, one: &RiskAcceptance| {
            one.findings.iter().filter_map(|id| model.findings.get(id)).all(|one| self.sees_test(model, one.test))
        };
        match (self.asked.method.as_str(), id) {
            ("GET", id) => {
                let seen = model.acceptances.iter().filter(|one| in_sight(model, one));
                self.one_or_page("Risk_Acceptance", id, seen.map(acceptance_shown).collect())
            }
            ("POST", None) => {
                let body = self.asked.json()?;
                let name = body["name"].as_str().ok_or_else(|| refused("name", "This field is required."))?;
                let findings = body["accepted_findings"].as_array();
                let findings = findings.ok_or_else(|| refused("accepted_findings", "This field is required."))?;
                let ids: Vec<u64> = findings.iter().filter_map(Value::as_u64).collect();
                for id in &ids {
                    self.finding(model, *id).map_err(|_| {
                        refused("accepted_findings", &format!("Invalid pk \"{id}\" - object does not exist."))
                    })?;
                    if !model.product_of(model.findings[id].test).full_risk_acceptance {
                        return Err(not_permitted());
                    }
                }
                let id = model.accept_fully(name, &ids, self.user.id);
                let made = model.acceptances.iter().find(|one| one.id == id).expect("it was just made");
                Ok(json_answer(201, &acceptance_shown(made)))
            }
            ("DELETE", Some(id)) => {
                if !model.acceptances.iter().any(|one| one.id == id && in_sight(model, one)) {
                    return Err(no_such("Risk_Acceptance"));
                }
                if !self.user.staff && !self.user.superuser {
                    return Err(not_permitted());
                }
                model.delete_acceptance(id);
                Ok(no_content())
            }
            _ => Err(unsimulated("this call of a risk acceptance")),
        }
    }
}
