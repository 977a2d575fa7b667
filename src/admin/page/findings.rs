//! What is open: the list of findings, and one of them with all that is known of it.

use std::sync::Arc;

use axum::extract::{Extension, Path, Query, RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use maud::{Markup, PreEscaped, html};
use serde::Deserialize;

use super::frame::{Frame, Here};
use super::marks::{severity, short_path, state};
use super::words::{capital, number, when_told};
use crate::admin::answers::Sent;
use crate::admin::findings::{self, Wanted};
use crate::admin::{Admin, Problem, shapes};
use crate::domain::access::{Caller, Role};
use crate::domain::finding::{Severity, State as FindingState};
use crate::domain::time::Timestamp;
use crate::store::catalogue;
use crate::sys::clock;

/// `GET /findings`.
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Query(mut wanted): Query<Wanted>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    // Empty fields of the form choose nothing.
    for field in [
        &mut wanted.organization,
        &mut wanted.project,
        &mut wanted.asset,
        &mut wanted.branch,
        &mut wanted.severity,
        &mut wanted.state,
        &mut wanted.kind,
        &mut wanted.search,
        &mut wanted.cursor,
    ] {
        field.take_if(|value| value.is_empty());
    }
    wanted.limit = Some(wanted.limit.unwrap_or(ROWS).min(ROWS_MAX));
    let (page, choices, wanted) = admin
        .read(move |_, view| {
            let projects = catalogue::projects(view)?.into_iter().map(|(_, project)| project.key.to_string());
            let assets = catalogue::assets(view)?.into_iter().map(|(_, asset)| asset.name.to_string());
            let choices = Choices { projects: projects.collect(), assets: assets.collect() };
            Ok((findings::page(view, &wanted)?, choices, wanted))
        })
        .await?;
    let now = clock::now();
    let query = query.unwrap_or_default();
    let main = html! {
        div.head { div { h1 { "Findings" } p.sub { (total(&page)) } } }
        div.stack {
            (filters(&wanted, &choices))
            (chips(&wanted))
        }
        @if page.findings.is_empty() { (nothing(&wanted)) } @else { (table(&page, now)) (pager(&page, &wanted, &query)) }
    };
    Ok(Frame::of(&admin, "Findings", Here::Findings, &caller).page(&main))
}

/// Findings on a page, and at most.
const ROWS: usize = 25;
const ROWS_MAX: usize = 100;

struct Choices {
    projects: Vec<String>,
    assets: Vec<String>,
}

fn total(page: &shapes::FindingList) -> Markup {
    html! {
        @if page.total_exact { (number(page.total)) } @else { "More than " (number(page.total)) }
        @if page.total == 1 { " matches." } @else { " match." }
        @if page.filtered > 0 { " " (number(page.filtered)) " more are held and kept back by the filter of their organization." }
    }
}

fn filters(wanted: &Wanted, choices: &Choices) -> Markup {
    let chosen = |field: &Option<String>, value: &str| field.as_deref() == Some(value);
    html! {
        form.filters role="search" {
            input.in.search type="search" name="search" placeholder="Rule, file, message …" aria-label="Search findings"
                aria-keyshortcuts="/" value=[wanted.search.as_deref()];
            select.in name="severity" aria-label="Severity" {
                option value="" { "Any severity" }
                option value="critical,high" selected[chosen(&wanted.severity, "critical,high")] { "Critical and high" }
                @for one in Severity::ALL {
                    option value=(one) selected[chosen(&wanted.severity, one.as_str())] { (capital(one.as_str())) }
                }
            }
            select.in name="state" aria-label="State" {
                option value="" { "Not closed" }
                @for one in FindingState::ALL {
                    option value=(one) selected[chosen(&wanted.state, one.as_str())] { (capital(&one.as_str().replace('_', " "))) }
                }
            }
            select.in name="project" aria-label="Project" {
                option value="" { "Any project" }
                @for one in &choices.projects { option value=(one) selected[chosen(&wanted.project, one)] { (one) } }
            }
            select.in name="asset" aria-label="Asset" {
                option value="" { "Any asset" }
                @for one in &choices.assets { option value=(one) selected[chosen(&wanted.asset, one)] { (one) } }
            }
            button.button.plainly { "Show" }
        }
    }
}

/// What is filtered, each to be taken away by itself.
fn chips(wanted: &Wanted) -> Markup {
    let all = [
        ("search", &wanted.search),
        ("severity", &wanted.severity),
        ("state", &wanted.state),
        ("kind", &wanted.kind),
        ("project", &wanted.project),
        ("asset", &wanted.asset),
        ("branch", &wanted.branch),
        ("organization", &wanted.organization),
    ];
    let set: Vec<(&str, &str)> = all.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
    let without = |left: &str| {
        let pairs = set.iter().filter(|(name, _)| *name != left);
        let query: Vec<String> = pairs.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        format!("/findings?{}", query.join("&"))
    };
    html! {
        @if !set.is_empty() {
            div.row role="group" aria-label="Filters in use" {
                @for (name, value) in &set {
                    a.button.little.chip href=(without(name)) { (value.replace('_', " ")) span.hide { ", remove this filter" } }
                }
                a.button.plain.little href="/findings" { "Clear" }
            }
        }
    }
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, crate::domain::message::QUERY).to_string()
}

fn nothing(wanted: &Wanted) -> Markup {
    let filtered = chips(wanted).into_string();
    html! {
        section.empty {
            @if filtered.is_empty() {
                h2 { "No findings yet" }
                p.soft { "They appear here as soon as the first project is read. That takes seconds for most projects." }
            } @else {
                h2 { "No finding matches" }
                p { a href="/findings" { "Clear the filters" } }
            }
        }
    }
}

fn table(page: &shapes::FindingList, now: Timestamp) -> Markup {
    html! {
        table.rows role="table" {
            caption.hide { "Findings, most severe first" }
            thead role="rowgroup" { tr role="row" {
                th role="columnheader" scope="col" aria-sort="descending" { "Severity" }
                th role="columnheader" scope="col" { "Finding" }
                th role="columnheader" scope="col" { "Where" }
                th role="columnheader" scope="col" { "State" }
                th.num role="columnheader" scope="col" { "First seen" }
            } }
            tbody role="rowgroup" { @for finding in &page.findings { (row(finding, now)) } }
        }
    }
}

fn row(finding: &shapes::Finding, now: Timestamp) -> Markup {
    let place = finding.path.as_ref().map(|path| match finding.line {
        Some(line) => (format!("{path}:{line}"), format!("{}:{line}", short_path(path))),
        None => (path.clone(), short_path(path)),
    });
    html! {
        tr role="row" {
            td.lead role="cell" { (severity(&finding.severity)) }
            th role="rowheader" scope="row" {
                a href={ "/findings/" (finding.id) } { (finding.title) }
                span.under {
                    @if let Some(rule) = &finding.rule { span.mono { (rule) } }
                    @if let Some(cwe) = finding.cwe.first() { " · CWE-" (cwe) }
                }
            }
            td.full role="cell" {
                span.clip title=(finding.project) { (finding.project) }
                @if let Some((whole, short)) = &place { " " span.under.mono title=(whole) { (short) } }
            }
            td.lead role="cell" { (state(&finding.state)) }
            td.num.soft.lead role="cell" { (when_told(Some(&finding.first_seen_at), now)) }
        }
    }
}

fn pager(page: &shapes::FindingList, wanted: &Wanted, query: &str) -> Markup {
    let rest: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor=")).collect();
    let next = page.next.as_ref().map(|cursor| {
        let cursor = format!("cursor={}", encoded(cursor));
        format!("/findings?{}", rest.iter().copied().chain([cursor.as_str()]).collect::<Vec<_>>().join("&"))
    });
    html! {
        nav.pager aria-label="Pages" {
            span { (number(page.findings.len() as u64)) " shown" }
            span.row {
                @if wanted.cursor.is_some() {
                    a.button.little href={ "/findings?" (rest.join("&")) } { "First page" }
                }
                @if let Some(next) = next { a.button.little href=(next) rel="next" { "Next" } }
            }
        }
    }
}

/// `GET /findings/{id}`.
pub(super) async fn show(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    path: Path<String>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let detail = findings::show(state, path).await?.0;
    Ok(Frame::of(&admin, &detail.finding.title, Here::Findings, &caller).page(&one(&detail, &caller, clock::now())))
}

fn one(detail: &shapes::FindingDetail, caller: &Caller, now: Timestamp) -> Markup {
    let finding = &detail.finding;
    html! {
        div.head {
            div {
                nav aria-label="You are here" { ol.row.small.soft.crumbs {
                    li { a href="/findings" { "Findings" } }
                    li { a href={ "/findings?project=" (encoded(&finding.project)) } { (finding.project) } }
                } }
                h1 { (finding.title) }
                p.sub { span.row {
                    (severity(&finding.severity)) (state(&finding.state))
                    @if let Some(path) = &finding.path {
                        span.mono title=(path) { (short_path(path)) @if let Some(line) = finding.line { ":" (line) } }
                    }
                } }
            }
            div.row { a.button href=(finding.url) rel="noreferrer" { "Open in SonarQube ↗" } }
        }
        div.cols.side {
            div.stack.loose {
                (said(finding))
                (rule(detail))
                (history(&detail.changes, now))
            }
            aside.stack.loose {
                @if caller.role() >= Role::Operator { (decide(finding)) }
                (facts(finding, now))
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

fn happened(change: &shapes::Change) -> String {
    let to = change.to.replace('_', " ");
    match (change.kind.as_str(), &change.from) {
        ("opened", _) => "Opened".to_owned(),
        ("updated", _) => "Something that Sonar says of it changed".to_owned(),
        ("fixed", _) => "Fixed".to_owned(),
        ("removed", _) => "Sonar knows it no longer".to_owned(),
        ("reopened", _) => format!("Back, as {to}"),
        ("moved", _) => "Sonar keeps it under another key".to_owned(),
        ("triaged", Some(from)) => format!("Decided: from {} to {to}", from.replace('_', " ")),
        (kind, _) => format!("{}: {to}", capital(kind)),
    }
}

fn decide(finding: &shapes::Finding) -> Markup {
    let closed = matches!(finding.state.as_str(), "fixed" | "removed");
    html! {
        @if !closed {
            form.stack method="post" action={ "/findings/" (finding.id) "/triage" } aria-labelledby="triage-h" {
                h2 #triage-h { "Decide" }
                div.field {
                    label for="st" { "State" }
                    select.in #st name="state" {
                        @for one in ["open", "confirmed", "accepted", "false_positive"] {
                            @if !(one == "confirmed" && finding.kind == "hotspot") {
                                option value=(one) selected[one == finding.state] { (capital(&one.replace('_', " "))) }
                            }
                        }
                    }
                }
                div.field {
                    label for="why" { "Reason" }
                    textarea.in #why name="comment" required maxlength="1000" aria-describedby="why-h" {}
                    p.help #why-h { "Sonar is told the decision with this reason; the developers see it there." }
                }
                button.button.first { "Save" }
            }
        }
    }
}

fn facts(finding: &shapes::Finding, now: Timestamp) -> Markup {
    html! {
        dl.facts {
            dt { "Project" } dd { a href={ "/findings?project=" (encoded(&finding.project)) } { (finding.project) } }
            dt { "Branch" } dd { (finding.branch) }
            @if let Some(asset) = &finding.asset {
                dt { "Asset" } dd { a href={ "/findings?asset=" (encoded(asset)) } { (asset) } }
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
pub(super) async fn triage(
    state: State<Arc<Admin>>,
    Path(id): Path<String>,
    Form(form): Form<Decision>,
) -> Result<Response, Problem> {
    let decision = shapes::TriageDecision { state: form.state, comment: form.comment };
    let Json(_) = findings::triage(state, Path(id.clone()), Sent(decision)).await?;
    Ok(Redirect::to(&format!("/findings/{id}")).into_response())
}
