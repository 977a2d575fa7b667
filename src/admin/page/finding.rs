//! One finding, with all that is known of it: what Sonar says, the rule, what happened to it and by whom, and the decision.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, PreEscaped, html};
use serde::Deserialize;

use super::findings::of_project;
use super::frame::{Frame, Here, quiet, wrong};
use super::marks::{severity, short_path, state};
use super::words::{capital, encoded, sentence, when_told};
use crate::admin::answers::Sent;
use crate::admin::{Admin, Problem, findings, shapes, triage};
use crate::domain::access::{Caller, Role};
use crate::domain::finding::{Kind, State as FindingState};
use crate::domain::time::Timestamp;
use crate::domain::triage::steps;
use crate::sys::clock;

/// `GET /findings/{id}`.
pub(super) async fn show(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    path: Path<String>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let detail = findings::show(state, path).await?.0;
    let main = one(&detail, &caller, clock::now(), &Form::default());
    Ok(Frame::of(&admin, &detail.finding.title, Here::Findings, &caller).page(&main))
}

/// What was typed into the form of a decision, and what is wrong with it.
#[derive(Default)]
struct Form<'f> {
    state: &'f str,
    comment: &'f str,
    problem: Option<&'f str>,
}

fn one(detail: &shapes::FindingDetail, caller: &Caller, now: Timestamp, form: &Form) -> Markup {
    let finding = &detail.finding;
    html! {
        div.head {
            div {
                nav aria-label="You are here" { ol.row.small.soft.crumbs {
                    li { a href="/findings" { "Findings" } }
                    li { a href=(of_project(&finding.project, finding.site.as_deref())) { (finding.project) } }
                } }
                h1 { (finding.title) }
                p.sub { span.row #standing data-live="changes" {
                    (severity(&finding.severity)) (state(&finding.state))
                    @if let Some(path) = &finding.path {
                        span.mono title=(path) { (short_path(path)) @if let Some(line) = finding.line { ":" (line) } }
                    }
                } }
                (quiet(caller, Role::Operator))
            }
            @if let Some(url) = web(&finding.url) {
                div.row { a.button href=(url) rel="noreferrer" { "Open in SonarQube ↗" } }
            }
        }
        div.cols.side {
            div.stack.loose {
                (said(finding))
                (rule(detail))
                div #history data-live="changes" { (history(&detail.changes, now)) }
            }
            aside.stack.loose {
                @if caller.role() >= Role::Operator {
                    // What was typed must not be replaced by news.
                    div #decide data-live=[form.problem.is_none().then_some("changes")] { (decide(finding, form)) }
                }
                div #facts data-live { (facts(finding, now)) }
            }
        }
    }
}

fn said(finding: &shapes::Finding) -> Markup {
    html! {
        section.stack {
            h2 { "What Sonar says" }
            p { (finding.message) }
            @if let Some(flow) = finding.flows.first() {
                ol.flow {
                    @for step in flow {
                        li { p {
                            @if step.message.is_empty() { "Goes on here." } @else { (step.message) }
                            @if let Some(path) = &step.path {
                                " " span.mono.soft title=(path) {
                                    (short_path(path)) @if let Some(range) = step.range { ":" (range.start_line) }
                                }
                            }
                        } }
                    }
                }
                @if finding.flows.len() > 1 {
                    p.soft.small { "One of " (finding.flows.len()) " ways that lead here." }
                }
            }
        }
    }
}

/// The rule's text is Sonar's HTML: what is not plain structure is taken out of it.
fn rule(detail: &shapes::FindingDetail) -> Markup {
    html! {
        @if let Some(text) = &detail.rule_description {
            section.prose {
                h2 { "The rule " @if let Some(key) = &detail.finding.rule { span.mono.soft.small { (key) } } }
                (PreEscaped(super::prose::clean(text)))
            }
        }
    }
}

fn history(changes: &[shapes::Change], now: Timestamp) -> Markup {
    html! {
        section {
            div.ends { h2 { "History" } }
            ol.log {
                @for change in changes.iter().rev() {
                    @let tone = match change.kind.as_str() {
                        "opened" | "reopened" => "bad",
                        "fixed" | "removed" => "ok",
                        _ => "new",
                    };
                    li.(tone) {
                        (happened(change))
                        span.when { (when_told(Some(&change.at), now)) " · change " (change.id) }
                    }
                }
            }
        }
    }
}

fn happened(change: &shapes::Change) -> Markup {
    let to = change.to.replace('_', " ");
    let whose = change.by.as_deref();
    html! {
        @match (change.kind.as_str(), &change.from) {
            ("opened", _) => "Opened; Sonar found it",
            ("updated", _) => "Something that Sonar says of it changed",
            ("fixed", _) => "Fixed; Sonar does not find it any more",
            ("removed", _) => "Sonar knows it no longer",
            ("reopened", _) => { "Back, as " (to) },
            ("moved", _) => "Sonar keeps it under another key",
            ("triaged", from) => {
                @match whose {
                    // Names stand as they are; a decision of before this was noted says no way.
                    Some(who) => {
                        @match change.via.as_deref() {
                            Some("user") => { "The user " strong { (who) } }
                            Some("token") => { "The token " strong { (who) } }
                            Some("socket") => { "Somebody on the box itself" }
                            Some("destination") => { "Somebody on " strong { (who.trim_start_matches("destination ")) } }
                            _ => { strong { (who) } }
                        }
                    },
                    None => "Somebody, in SonarQube,",
                }
                " decided: " @if let Some(from) = from { "from " (from.replace('_', " ")) " " } "to " (to)
                @if let Some(why) = &change.why { ": " q { (why.trim_end_matches(SIGNED)) } }
            },
            (kind, _) => { (capital(kind)) ": " (to) },
        }
    }
}

/// What a decision's reason ends with in Sonar.
const SIGNED: &str = " (decided in Hydrophone)";

/// An address that leads to a page, and to nothing else.
fn web(url: &str) -> Option<&str> {
    (url.starts_with("https://") || url.starts_with("http://")).then_some(url)
}

/// The states that a person may bring a finding into.
pub(super) fn choices(kind: &str, from: &str) -> Vec<FindingState> {
    let (Ok(kind), Ok(from)) = (kind.parse::<Kind>(), from.parse::<FindingState>()) else { return Vec::new() };
    let leads = |&to: &FindingState| to != from && steps(kind, from, to, true).is_ok();
    FindingState::ALL.iter().copied().filter(leads).collect()
}

/// The form of a decision, where one can be made.
fn decide(finding: &shapes::Finding, form: &Form) -> Markup {
    let choices = choices(&finding.kind, &finding.state);
    html! {
        @if let Some(site) = &finding.site {
            p.soft { "The box at site " (site) " reads it, and it is decided there." }
        } @else if !choices.is_empty() && !finding.retired {
            form.stack method="post" action={ "/findings/" (finding.id) "/triage" } aria-labelledby="triage-h" {
                h2 #triage-h { "Decide" }
                div.field {
                    label for="st" { "State" }
                    select.in #st name="state" {
                        @for one in &choices {
                            option value=(one) selected[one.as_str() == form.state] { (capital(&one.as_str().replace('_', " "))) }
                        }
                    }
                }
                div.field {
                    label for="why" { "Reason" }
                    textarea.in #why name="comment" required maxlength="1000"
                        aria-describedby=(if form.problem.is_some() { "why-e" } else { "why-h" })
                        aria-invalid=[form.problem.map(|_| "true")] { (form.comment) }
                    (wrong("why-e", form.problem))
                    p.help #why-h { "Sonar is told the decision with this reason; the developers see it there." }
                }
                button.button.first { "Save" }
            }
        } @else if matches!(finding.state.as_str(), "fixed" | "removed") {
            p.soft { "It is closed, and there is nothing to decide." }
        }
    }
}

fn facts(finding: &shapes::Finding, now: Timestamp) -> Markup {
    html! {
        dl.facts {
            dt { "Project" } dd { a href=(of_project(&finding.project, finding.site.as_deref())) { (finding.project) } }
            dt { "Branch" } dd { (finding.branch) }
            @if let Some(asset) = &finding.asset {
                dt { "Asset" } dd { a href={ "/findings?asset=" (encoded(asset)) } { (asset) } }
            }
            @if let Some(site) = &finding.site {
                dt { "Site" } dd { a href={ "/findings?site=" (encoded(site)) } { (site) } }
            }
            dt { "Kind" } dd { (capital(&finding.kind)) }
            @if !finding.cwe.is_empty() {
                dt { "CWE" }
                dd { (finding.cwe.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")) }
            }
            dt { "First seen" } dd { (when_told(Some(&finding.first_seen_at), now)) }
            dt { "Last seen" } dd { (when_told(finding.last_seen_at.as_deref(), now)) }
            @if finding.closed_at.is_some() { dt { "Closed" } dd { (when_told(finding.closed_at.as_deref(), now)) } }
            dt { "In Sonar" } dd { span.mono { (finding.key) } }
            dt { "Number" } dd { (finding.id) }
        }
    }
}

/// What the form of a decision sends.
#[derive(Deserialize)]
pub(super) struct Decision {
    state: String,
    comment: String,
}

/// `POST /findings/{id}/triage`.
pub(super) async fn decided(
    state: State<Arc<Admin>>,
    caller: Extension<Caller>,
    Path(id): Path<String>,
    axum::Form(given): axum::Form<Decision>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let decision = shapes::TriageDecision { state: given.state.clone(), comment: given.comment.clone() };
    match triage::one(state, caller.clone(), Path(id.clone()), Sent(decision)).await {
        Ok(Json(_)) => Ok(Redirect::to(&format!("/findings/{id}")).into_response()),
        Err(problem) => {
            let status = problem.status();
            let Ok(Json(detail)) = findings::show(State(Arc::clone(&admin)), Path(id)).await else {
                return Err(problem);
            };
            let text = sentence(problem.detail());
            let form = Form { state: &given.state, comment: &given.comment, problem: Some(&text) };
            let main = one(&detail, &caller, clock::now(), &form);
            let own = format!("/findings/{}", detail.finding.id);
            let page = Frame::of(&admin, &detail.finding.title, Here::Findings, &caller).at(own).page(&main);
            Ok((status, page).into_response())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_decided_is_offered() {
        let words = |kind, from| choices(kind, from).iter().map(|one| one.as_str()).collect::<Vec<_>>();
        assert_eq!(words("vulnerability", "open"), ["confirmed", "accepted", "false_positive"]);
        assert_eq!(words("vulnerability", "accepted"), ["open", "confirmed", "false_positive"]);
        assert_eq!(words("hotspot", "open"), ["accepted", "false_positive"]);
        assert_eq!(words("hotspot", "fixed"), [""; 0]);
        assert_eq!(words("unheard of", "open"), [""; 0]);
    }

    #[test]
    fn only_addresses_of_pages_become_links() {
        assert_eq!(web("https://sonar.example/x"), Some("https://sonar.example/x"));
        for other in ["javascript:alert(1)", "data:text/html,x", "//sonar.example", ""] {
            assert_eq!(web(other), None, "{other}");
        }
    }
}
