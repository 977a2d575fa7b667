//! The endpoints other than the searches, and who may call them.

use super::faults::Twist;
use super::hooks_api;
use super::hotspots;
use super::json::Json;
use super::model::{AnalysisRecord, Branch, Model, Place, Project, Token};
use super::params::{Given, any, one_of, paging, required, some_of, unsimulated, yes_or_no};
use super::render;
use super::search;
use super::triage;
use super::words::IssueType;

/// One request, taken apart.
pub(super) struct Asked {
    pub(super) host: Host,
    pub(super) method: String,
    /// With its leading slash, without the query.
    pub(super) path: String,
    /// The query's parameters and, of a POST, the form's.
    pub(super) pairs: Vec<(String, String)>,
    pub(super) token: Option<String>,
    /// How the answer of a search is to depart from the truth.
    pub(super) twist: Option<Twist>,
}

/// Cloud answers on two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Web,
    Api,
}

/// An answer, good or bad.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: String,
    pub(super) headers: Vec<(String, String)>,
}

pub(super) type Outcome = Result<Answer, Answer>;

impl Answer {
    pub(super) fn json(body: String) -> Answer {
        Answer { status: 200, content_type: "application/json".to_owned(), body, headers: Vec::new() }
    }

    /// The error shape of the whole v1 API.
    pub(super) fn error(status: u16, message: &str) -> Answer {
        let body = Json::object(|json| json.list("errors", |json| json.item(|json| json.text("msg", message))));
        Answer { status, ..Answer::json(body) }
    }

    pub(super) fn empty(status: u16) -> Answer {
        Answer { status, ..Answer::json(String::new()) }
    }

    pub(super) fn forbidden() -> Answer {
        Answer::error(403, "Insufficient privileges")
    }
}

impl Asked {
    /// The token, if it is a good one.
    pub(super) fn token<'m>(&self, model: &'m Model) -> Option<&'m Token> {
        let value = self.token.as_deref()?;
        let now = model.now();
        model.tokens.iter().find(|token| token.value == value && token.expires.is_none_or(|expires| now < expires))
    }
}

pub(super) fn answer(model: &mut Model, asked: &Asked) -> Answer {
    let mut answer = route(model, asked).unwrap_or_else(|error| error);
    if let Some(expires) = asked.token(model).and_then(|token| token.expires) {
        let name = "sonarqube-authentication-token-expiration".to_owned();
        answer.headers.push((name, model.settings.zone.show(expires)));
    }
    if model.edition.cloud {
        answer.headers.push(("sonar-version".to_owned(), model.edition.version().to_owned()));
        answer.headers.push(("x-sonar-server-time".to_owned(), (model.now() * 1000).to_string()));
    }
    answer
}

fn route(model: &mut Model, asked: &Asked) -> Outcome {
    let path = asked.path.trim_start_matches('/');
    if asked.host == Host::Web && path == "api/authentication/validate" {
        return validate(model, asked);
    }
    // The version is for everybody, yet a bad token is refused everywhere.
    let open = path == "api/server/version" && asked.token.is_none();
    if asked.token(model).is_none() && !open {
        return Err(Answer::empty(401));
    }
    if asked.host == Host::Api {
        return match path {
            "organizations/organizations" => organizations_v2(model, asked),
            _ => Err(unknown(asked)),
        };
    }
    let cloud = model.edition.cloud;
    let posts = hooks_api::POSTS.contains(&path) || triage::PATHS.contains(&path);
    if posts != (asked.method == "POST") {
        let needed = if posts { "POST" } else { "GET" };
        return Err(Answer::error(405, &format!("HTTP method {needed} is required")));
    }
    match path {
        "api/server/version" if !cloud => version(model, asked),
        "api/v2/clean-code-policy/mode" if model.edition.server_since(10, 8) => quality_mode(model, asked),
        "api/organizations/search" if cloud && model.settings.organizations_v1 => organizations_v1(model, asked),
        "api/components/search" => components_search(model, asked),
        "api/components/show" => components_show(model, asked),
        "api/project_branches/list" => branches(model, asked),
        "api/project_pull_requests/list" => pull_requests(model, asked),
        "api/project_analyses/search" => analyses(model, asked),
        "api/issues/do_transition" => triage::do_transition(model, asked),
        "api/issues/add_comment" => triage::add_comment(model, asked),
        "api/issues/search" => search::search(model, asked),
        "api/hotspots/search" if !cloud || model.settings.cloud_hotspots => hotspots::search(model, asked),
        "api/hotspots/change_status" if !cloud || model.settings.cloud_hotspots => triage::change_status(model, asked),
        "api/hotspots/show" if !cloud || model.settings.cloud_hotspots => hotspots::show(model, asked),
        "api/rules/show" => rules_show(model, asked),
        "api/webhooks/list" => hooks_api::list(model, asked),
        "api/webhooks/create" => hooks_api::create(model, asked),
        "api/webhooks/update" => hooks_api::update(model, asked),
        "api/webhooks/delete" => hooks_api::delete(model, asked),
        "api/webhooks/deliveries" => hooks_api::deliveries(model, asked),
        "api/webhooks/delivery" => hooks_api::delivery(model, asked),
        _ => Err(unknown(asked)),
    }
}

fn unknown(asked: &Asked) -> Answer {
    Answer::error(404, &format!("Unknown url : {}", asked.path))
}

/// Says 200 also of a bad token; the content type is a curiosity of this endpoint.
fn validate(model: &Model, asked: &Asked) -> Outcome {
    Given::check(&[], &asked.pairs)?;
    let body = Json::object(|json| json.flag("valid", asked.token(model).is_some()));
    Ok(Answer { content_type: "application/json;charset=ISO-8859-1".to_owned(), ..Answer::json(body) })
}

fn version(model: &Model, asked: &Asked) -> Outcome {
    Given::check(&[], &asked.pairs)?;
    Ok(Answer { content_type: "text/plain".to_owned(), ..Answer::json(model.edition.version().to_owned()) })
}

fn quality_mode(model: &Model, asked: &Asked) -> Outcome {
    Given::check(&[], &asked.pairs)?;
    let mqr = matches!(model.edition.mode, super::edition::Mode::Server { mqr: true, .. });
    Ok(Answer::json(Json::object(|json| json.text("mode", if mqr { "MQR" } else { "STANDARD_EXPERIENCE" }))))
}

/// The organizations of the token's user: here those with a project it may browse, or without any project.
fn own_organizations<'m>(model: &'m Model, asked: &Asked) -> Vec<&'m super::model::Organization> {
    let token = asked.token(model).expect("the token was checked before routing");
    let own = |key: &str| {
        let mut projects = model.projects.iter().filter(|project| project.organization == key).peekable();
        projects.peek().is_none() || projects.any(|project| token.may_browse(&project.key))
    };
    model.organizations.iter().filter(|organization| own(&organization.key)).collect()
}

fn organizations_v2(model: &Model, asked: &Asked) -> Outcome {
    let given = Given::check(&[yes_or_no("excludeEligibility"), any("organizationKey")], &asked.pairs)?;
    let wanted = given.text("organizationKey");
    Ok(Answer::json(Json::array(|json| {
        for one in own_organizations(model, asked) {
            if wanted.is_none_or(|key| key == one.key) {
                json.item(|json| {
                    json.text("id", &one.id);
                    json.text("key", &one.key);
                    json.text("name", &one.name);
                    json.text("uuidV4", &format!("uuid-{}", one.id));
                });
            }
        }
    })))
}

fn organizations_v1(model: &Model, asked: &Asked) -> Outcome {
    let mut table = vec![yes_or_no("member"), any("organizations"), any("q")];
    table.extend(paging());
    let given = Given::check(&table, &asked.pairs)?;
    let page = given.page(100, Some(500))?;
    let wanted = given.list("organizations");
    let mut all = own_organizations(model, asked);
    all.retain(|one| wanted.as_ref().is_none_or(|keys| keys.contains(&one.key.as_str())));
    Ok(Answer::json(Json::object(|json| {
        render::paging(json, page, all.len());
        json.list("organizations", |json| {
            for one in page.of(&all) {
                json.item(|json| {
                    json.text("key", &one.key);
                    json.text("name", &one.name);
                });
            }
        });
    })))
}

fn components_search(model: &Model, asked: &Asked) -> Outcome {
    let cloud = model.edition.cloud;
    let mut table = vec![any("q")];
    table.extend(paging());
    table.push(if cloud {
        required("organization")
    } else {
        some_of("qualifiers", vec!["APP", "VW", "SVW", "TRK"]).must()
    });
    let given = Given::check(&table, &asked.pairs)?;
    let page = given.page(100, Some(500))?;
    if cloud {
        known_organization(model, given.the("organization"))?;
    }
    let token = asked.token(model).expect("the token was checked before routing");
    let listed = |project: &&Project| {
        let matches =
            given.text("q").is_none_or(|q| project.name.to_lowercase().contains(&q.to_lowercase()) || project.key == q);
        let here = if cloud {
            project.organization == given.the("organization")
        } else {
            given.list("qualifiers").unwrap_or_default().contains(&"TRK")
        };
        matches && here && token.may_browse(&project.key)
    };
    let mut all: Vec<&Project> = model.projects.iter().filter(listed).collect();
    all.sort_by_key(|project| (project.name.to_lowercase(), &project.key));
    Ok(Answer::json(Json::object(|json| {
        render::paging(json, page, all.len());
        json.list("components", |json| {
            for project in page.of(&all) {
                json.item(|json| {
                    if cloud {
                        json.text("organization", &project.organization);
                    }
                    json.text("key", &project.key);
                    json.text("name", &project.name);
                    json.text("qualifier", "TRK");
                    json.text("project", &project.key);
                });
            }
        });
    })))
}

pub(super) fn known_organization(model: &Model, key: &str) -> Result<(), Answer> {
    if model.organizations.iter().any(|organization| organization.key == key) {
        return Ok(());
    }
    Err(Answer::error(404, &format!("No organization with key '{key}'")))
}

fn components_show(model: &Model, asked: &Asked) -> Outcome {
    let given = Given::check(&[required("component"), any("branch"), any("pullRequest")], &asked.pairs)?;
    let key = given.the("component");
    let project = model.project(key).ok_or_else(|| Answer::error(404, &format!("Component key '{key}' not found")))?;
    let token = asked.token(model).expect("the token was checked before routing");
    if !token.may_browse(key) {
        return Err(Answer::forbidden());
    }
    let branch = branch_of(project, given.text("branch"), given.text("pullRequest")).ok_or_else(|| {
        match (given.text("branch"), given.text("pullRequest")) {
            (Some(name), _) => Answer::error(404, &format!("Component '{key}' on branch '{name}' not found")),
            (_, name) => {
                let name = name.unwrap_or_default();
                Answer::error(404, &format!("Component '{key}' of pull request '{name}' not found"))
            }
        }
    })?;
    Ok(Answer::json(Json::object(|json| {
        json.nested("component", |json| {
            if model.edition.cloud {
                json.text("organization", &project.organization);
            }
            json.text("key", &project.key);
            json.text("name", &project.name);
            json.text("qualifier", "TRK");
            let date = branch.analysis_date().map(|at| model.settings.zone.show(at));
            json.text_if("analysisDate", date.as_deref());
            json.texts("tags", []);
            json.text("visibility", "private");
            if !branch.is_main() {
                json.text(if branch.is_pull_request() { "pullRequest" } else { "branch" }, &branch.name);
            }
        });
        json.list("ancestors", |_| {});
    })))
}

/// The branch or pull request meant by a request's two parameters; without either, the main branch.
pub(super) fn branch_of<'m>(
    project: &'m Project,
    name: Option<&str>,
    pull_request: Option<&str>,
) -> Option<&'m Branch> {
    project.branches.iter().find(|branch| match (name, pull_request) {
        (Some(name), _) => branch.name == name && !branch.is_pull_request(),
        (_, Some(key)) => branch.name == key && branch.is_pull_request(),
        (None, None) => branch.is_main(),
    })
}

/// A project the token may not browse looks like one that does not exist.
fn visible<'m>(model: &'m Model, asked: &Asked, key: &str) -> Result<&'m Project, Answer> {
    let token = asked.token(model).expect("the token was checked before routing");
    let project = model.project(key).filter(|project| token.may_browse(&project.key));
    project.ok_or_else(|| Answer::error(404, &format!("Project '{key}' not found")))
}

fn branches(model: &Model, asked: &Asked) -> Outcome {
    let given = Given::check(&[required("project")], &asked.pairs)?;
    let project = visible(model, asked, given.the("project"))?;
    Ok(Answer::json(Json::object(|json| {
        json.list("branches", |json| {
            for branch in project.branches.iter().filter(|branch| !branch.is_pull_request()) {
                json.item(|json| {
                    json.text("name", &branch.name);
                    json.flag("isMain", branch.is_main());
                    json.text("type", branch.type_word(model.edition.cloud));
                    json.nested("status", |json| {
                        json.text_if("qualityGateStatus", branch.gate.as_ref().map(|gate| gate.status.word()));
                    });
                    let date = branch.analysis_date().map(|at| model.settings.zone.show(at));
                    json.text_if("analysisDate", date.as_deref());
                    json.flag("excludedFromPurge", branch.is_main());
                    json.text("branchId", &branch.id);
                });
            }
        });
    })))
}

fn pull_requests(model: &Model, asked: &Asked) -> Outcome {
    let given = Given::check(&[required("project")], &asked.pairs)?;
    let project = visible(model, asked, given.the("project"))?;
    Ok(Answer::json(Json::object(|json| {
        json.list("pullRequests", |json| {
            for branch in &project.branches {
                let Place::PullRequest { source, target } = &branch.place else { continue };
                let vulnerabilities = branch
                    .issues
                    .iter()
                    .filter(|issue| issue.kind == IssueType::Vulnerability && issue.resolution.is_none());
                json.item(|json| {
                    json.text("key", &branch.name);
                    json.text("title", &format!("Merge {source}"));
                    json.text("branch", source);
                    json.text("base", target);
                    json.nested("status", |json| {
                        json.text_if("qualityGateStatus", branch.gate.as_ref().map(|gate| gate.status.word()));
                        json.number("bugs", 0);
                        json.number("vulnerabilities", vulnerabilities.count());
                        json.number("codeSmells", 0);
                    });
                    let date = branch.analysis_date().map(|at| model.settings.zone.show(at));
                    json.text_if("analysisDate", date.as_deref());
                    json.text("url", &format!("https://git.example.com/pulls/{}", branch.name));
                    json.text("target", target);
                });
            }
        });
    })))
}

fn analyses(model: &Model, asked: &Asked) -> Outcome {
    let mut table = vec![required("project"), any("branch"), any("from"), any("to"), unsimulated("statuses")];
    table.push(one_of("category", &["VERSION", "OTHER", "QUALITY_PROFILE", "QUALITY_GATE", "DEFINITION_CHANGE"]));
    table.extend(paging());
    let given = Given::check(&table, &asked.pairs)?;
    let page = given.page(100, Some(500))?;
    let key = given.the("project");
    let project = model.project(key).ok_or_else(|| Answer::error(404, &format!("Component key '{key}' not found")))?;
    if !asked.token(model).is_some_and(|token| token.may_browse(key)) {
        return Err(Answer::forbidden());
    }
    let branch = branch_of(project, given.text("branch"), None).ok_or_else(|| {
        let name = given.text("branch").unwrap_or_default();
        Answer::error(404, &format!("Component '{key}' on branch '{name}' not found"))
    })?;
    let zone = model.settings.zone;
    let bound = |name: &str, parse: &dyn Fn(&str) -> Option<i64>| {
        let text = given.text(name);
        let wrong = || Answer::error(400, &format!("'{}' cannot be parsed as a date", text.unwrap_or_default()));
        text.map(|text| parse(text).ok_or_else(wrong)).transpose()
    };
    let from = bound("from", &|text| zone.parse_start(text))?;
    let to = bound("to", &|text| zone.parse_end(text))?;
    let within = |one: &&AnalysisRecord| from.is_none_or(|from| one.date >= from) && to.is_none_or(|to| one.date <= to);
    let all: Vec<_> = branch.analyses.iter().rev().filter(within).collect();
    Ok(Answer::json(Json::object(|json| {
        render::paging(json, page, all.len());
        json.list("analyses", |json| {
            for one in page.of(&all) {
                json.item(|json| {
                    json.text("key", &one.key);
                    json.text("date", &zone.show(one.date));
                    json.text("projectVersion", "not provided");
                    json.text_if("revision", one.revision.as_deref());
                    json.flag("manualNewCodePeriodBaseline", false);
                    json.list("events", |_| {});
                });
            }
        });
    })))
}

fn rules_show(model: &Model, asked: &Asked) -> Outcome {
    let mut table = vec![required("key"), yes_or_no("actives")];
    if model.edition.cloud {
        table.push(required("organization"));
    }
    let given = Given::check(&table, &asked.pairs)?;
    if model.edition.cloud {
        known_organization(model, given.the("organization"))?;
    }
    let key = given.the("key");
    let rule = model.rules.get(key).ok_or_else(|| Answer::error(404, &format!("Rule not found: {key}")))?;
    Ok(Answer::json(render::rule_page(model, rule)))
}
