//! What people decide: `api/issues/do_transition`, `api/issues/add_comment` and `api/hotspots/change_status`. States,
//! refusals and their words as in SonarQube's own `IssueWorkflow`, `TransitionService` and `ChangeStatusAction`.

use super::api::{Answer, Asked, Outcome};
use super::edition::Edition;
use super::issue::{Change, Issue};
use super::json::Json;
use super::model::Model;
use super::params::{Given, any, one_of, required};
use super::words::{HotspotResolution, HotspotStatus, Status};

/// The paths that are called by POST.
pub(super) const PATHS: [&str; 3] =
    ["api/issues/do_transition", "api/issues/add_comment", "api/hotspots/change_status"];

pub(super) fn do_transition(model: &mut Model, asked: &Asked) -> Outcome {
    let names = transitions(&model.edition);
    let given = Given::check(&[required("issue"), one_of("transition", &names).must()], &asked.pairs)?;
    let (key, name) = (given.the("issue"), given.the("transition"));
    let issue = found(model, asked, key)?;
    let possible = target(issue.status, name);
    // A right is asked for only where the step is possible.
    if possible.is_some() && DECISIONS.contains(&name) && !asked.token(model).is_some_and(|one| one.administers_issues)
    {
        return Err(Answer::forbidden());
    }
    if issue.external_engine.is_some() && !model.settings.external_transitions {
        let message = "Transition is not allowed on issues imported from external rule engines";
        return Err(Answer::error(400, message));
    }
    let Some(change) = possible else {
        let state = issue.status.word();
        return Err(Answer::error(400, &format!("Transition from state {state} does not exist: {name}")));
    };
    model.found.forget();
    model.change(key, change);
    Ok(changed(model, key))
}

pub(super) fn add_comment(model: &mut Model, asked: &Asked) -> Outcome {
    let given = Given::check(&[required("issue"), required("text")], &asked.pairs)?;
    let (key, text) = (given.the("issue"), given.the("text").to_owned());
    found(model, asked, key)?;
    model.found.forget();
    let now = model.now();
    let issue = model.issue_mut(key);
    issue.comments.push(text);
    issue.updated = now;
    Ok(changed(model, key))
}

pub(super) fn change_status(model: &mut Model, asked: &Asked) -> Outcome {
    let resolutions = ["FIXED", "SAFE", "ACKNOWLEDGED"];
    let resolutions = &resolutions[..if model.settings.acknowledges { 3 } else { 2 }];
    let table = [
        required("hotspot"),
        one_of("status", &["TO_REVIEW", "REVIEWED"]).must(),
        one_of("resolution", resolutions),
        any("comment"),
    ];
    let given = Given::check(&table, &asked.pairs)?;
    let (key, status) = (given.the("hotspot"), given.the("status"));
    let resolution = given.text("resolution").and_then(HotspotResolution::from_word);
    let wrong = match (status, resolution) {
        ("TO_REVIEW", Some(_)) => Some("must not"),
        ("REVIEWED", None) => Some("must"),
        _ => None,
    };
    if let Some(must) = wrong {
        let message =
            format!("Parameter 'resolution' {must} be specified when Parameter 'status' has value '{status}'");
        return Err(Answer::error(400, &message));
    }
    let project = model.project_of_hotspot(key).filter(|_| model.hotspot(key).status != HotspotStatus::Closed);
    let Some(project) = project else {
        return Err(Answer::error(404, &format!("Hotspot '{key}' does not exist")));
    };
    let token = asked.token(model).expect("the token was checked before routing");
    if !(token.may_browse(&project.key) && token.administers_hotspots) {
        return Err(Answer::forbidden());
    }
    let now = model.now();
    let status = HotspotStatus::from_word(status).expect("the word was checked");
    let hotspot = model.hotspot_mut(key);
    // The present state again changes nothing, and the comment is not kept either.
    if (hotspot.status, hotspot.resolution) != (status, resolution) {
        hotspot.status = status;
        hotspot.resolution = resolution;
        hotspot.updated = now;
        hotspot.comments.extend(given.text("comment").map(str::to_owned));
    }
    Ok(Answer::empty(204))
}

/// What the definition of the endpoint lists. The older names stay when `accept` comes.
fn transitions(edition: &Edition) -> Vec<&'static str> {
    let mut names = vec!["confirm", "unconfirm", "reopen", "resolve", "falsepositive", "wontfix", "close"];
    if edition.since(10, 4) {
        names.push("accept");
    }
    names
}

/// Transitions that need the permission to administer issues.
const DECISIONS: [&str; 4] = ["resolve", "falsepositive", "wontfix", "accept"];

/// What a transition makes of an issue, where the state has it.
fn target(status: Status, transition: &str) -> Option<Change> {
    Some(match (status, transition) {
        (Status::Open | Status::Reopened, "confirm") => Change::Confirm,
        (Status::Confirmed, "unconfirm") | (Status::Resolved, "reopen") => Change::Reopen,
        (Status::Open | Status::Reopened | Status::Confirmed, name) => match name {
            "resolve" => Change::Resolve,
            "falsepositive" => Change::FalsePositive,
            "wontfix" | "accept" => Change::Accept,
            _ => return None,
        },
        _ => return None,
    })
}

/// An issue that the token may see. A key is looked up first and permissions are asked for then.
fn found<'m>(model: &'m Model, asked: &Asked, key: &str) -> Result<&'m Issue, Answer> {
    let absent = || Answer::error(404, &format!("Issue with key '{key}' does not exist"));
    let (project, issue) = model.issue(key).ok_or_else(absent)?;
    let token = asked.token(model).expect("the token was checked before routing");
    if token.may_browse(&project.key) { Ok(issue) } else { Err(Answer::forbidden()) }
}

/// The answer to a change: the issue as it is now. Of it only what tells its state is simulated.
fn changed(model: &Model, key: &str) -> Answer {
    let (project, issue) = model.issue(key).expect("the issue was changed just now");
    Answer::json(Json::object(|json| {
        json.nested("issue", |json| {
            json.text("key", &issue.key);
            json.text("rule", &issue.rule);
            json.text("component", &issue.component(&project.key));
            json.text("project", &project.key);
            json.text("status", issue.status.word());
            json.text_if("resolution", issue.resolution.map(super::words::Resolution::word));
            if model.edition.has_issue_status() {
                json.text("issueStatus", issue.issue_status().word());
            }
            json.text("updateDate", &model.settings.zone.show(issue.updated));
            json.list("comments", |json| {
                for text in &issue.comments {
                    json.item(|json| json.text("markdown", text));
                }
            });
        });
    }))
}
