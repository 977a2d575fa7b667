//! What is open: the list of findings, filtered, sorted, taken out as a file and decided about.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::fields::{is_mendable, status_again};
use super::frame::{Frame, Here, quiet, wrong};
use super::marks::{column, severity, short_path, state};
use super::words::{capital, counted, encoded, number, sentence, when_told};
use crate::admin::findings::{self, Wanted};
use crate::admin::{Admin, Problem, answers, fleet, shapes, triage};
use crate::domain::access::{Caller, Role};
use crate::domain::finding::{Kind, Severity, State as FindingState};
use crate::domain::time::Timestamp;
use crate::store::{Reader, StoreError, catalogue};
use crate::sys::clock;

/// An address leads to itself, whatever is in it. See [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(query: &str) {
    let Ok(address) = Address::parse(query) else { return };
    let _ = address.wanted();
    let here = address.here();
    assert!(here.bytes().all(|byte| byte.is_ascii_graphic()), "{here:?}");
    let again = Address::parse(here.split_once('?').map_or("", |(_, query)| query)).map(|address| address.here());
    assert_eq!(again.ok(), Some(here), "it leads to where it is");
}

/// Where the findings of a project are listed: those of its site, as another one may read the same project.
pub(super) fn of_project(project: &str, site: Option<&str>) -> String {
    let site = site.map(|site| format!("&site={}", encoded(site))).unwrap_or_default();
    format!("/findings?project={}{site}", encoded(project))
}

/// What the address says is to be shown: names with values, as it has them.
#[derive(Debug, Default, Clone)]
struct Address(Vec<(String, String)>);

impl Address {
    fn parse(query: &str) -> Result<Self, Problem> {
        let pairs: Vec<(String, String)> =
            axum::extract::Query::try_from_uri(&format!("/?{query}").parse().unwrap_or_default())
                .map(|query| query.0)
                .map_err(|_| Problem::bad("the address has a filter that cannot be read"))?;
        // Empty fields of the form choose nothing.
        Ok(Self(pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect()))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The address with these values in place of what it has; nothing takes one away. A new filter or order begins with
    /// the first page.
    fn with(&self, base: &str, changes: &[(&str, Option<&str>)]) -> String {
        // A name that nothing here knows leads nowhere.
        let stays = |name: &str| {
            (FILTERS.contains(&name) || ["sort", "limit"].contains(&name))
                && !changes.iter().any(|(other, _)| *other == name)
        };
        let kept = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).filter(|(name, _)| stays(name));
        let new = changes.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        let pairs: Vec<String> =
            kept.chain(new).map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        if pairs.is_empty() { base.to_owned() } else { format!("{base}?{}", pairs.join("&")) }
    }

    /// The address of what is shown, with its place in the list.
    fn here(&self) -> String {
        self.with("/findings", &[("cursor", self.get("cursor"))])
    }

    fn wanted(&self) -> Result<Wanted, Problem> {
        let text = |name: &str| self.get(name).map(str::to_owned);
        let limit = self.get("limit").map(str::parse::<usize>).transpose();
        Ok(Wanted {
            organization: text("organization"),
            project: text("project"),
            asset: text("asset"),
            site: text("site"),
            branch: text("branch"),
            scope: text("scope"),
            severity: text("severity"),
            state: text("state"),
            kind: text("kind"),
            search: text("search"),
            retired: self.get("retired") == Some("true"),
            filtered: self.get("filtered") == Some("true"),
            with: None,
            sort: text("sort"),
            limit: Some(limit.map_err(|_| Problem::bad("limit is no number"))?.unwrap_or(ROWS).clamp(1, ROWS_MAX)),
            cursor: text("cursor"),
        })
    }

    /// What is filtered, each with the words of its chip.
    fn filters(&self) -> Vec<(&str, String)> {
        let shown = |(name, value): &(&'static str, &str)| match (*name, *value) {
            ("state", CLOSED) => "Closed".to_owned(),
            ("state", ALL) => "Open and closed".to_owned(),
            ("severity", "critical,high") => "Critical and high".to_owned(),
            ("retired", _) => "Also of branches that Sonar no longer lists".to_owned(),
            ("filtered", _) => "Also what is kept back".to_owned(),
            ("severity" | "state" | "kind", value) => capital(&value.replace('_', " ").replace(',', ", ")),
            ("search", value) => format!("“{value}”"),
            ("branch", value) => format!("Branch {value}"),
            ("site", value) => format!("Site {value}"),
            (_, value) => value.to_owned(),
        };
        FILTERS.iter().filter_map(|&name| Some((name, self.get(name)?))).map(|pair| (pair.0, shown(&pair))).collect()
    }
}

const FILTERS: [&str; 12] = [
    "search",
    "severity",
    "state",
    "kind",
    "organization",
    "project",
    "asset",
    "site",
    "branch",
    "scope",
    "retired",
    "filtered",
];

/// Findings on a page, and at most.
const ROWS: usize = 25;
const ROWS_MAX: usize = 100;

/// As many choices are read through. Of more, one types a part of the name; and a browser takes a fifth of the time that
/// it has for its first paint to lay out a selection of some hundred.
const CHOICES_MAX: usize = 25;

const CLOSED: &str = "fixed,removed";
const ALL: &str = "open,confirmed,accepted,false_positive,fixed,removed";

/// `GET /findings`.
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let address = Address::parse(&query.unwrap_or_default())?;
    listing(&admin, &caller, &address, None).await
}

/// A decision about rows as it was sent, and why nothing came of it.
struct Sent<'s> {
    ids: &'s [String],
    state: &'s str,
    comment: &'s str,
    problem: String,
    /// Whether it is the reason that is wrong.
    at_reason: bool,
}

/// The list; with the decision that was refused, where one was.
async fn listing(
    admin: &Arc<Admin>,
    caller: &Caller,
    address: &Address,
    sent: Option<&Sent<'_>>,
) -> Result<Response, Problem> {
    let wanted = address.wanted()?;
    let (page, choices) = admin
        .read(move |_, view| Ok((findings::page(view, &wanted), Choices::read(view, wanted.project.as_deref())?)))
        .await?;
    let page = match page {
        Ok(page) => page,
        Err(problem) if problem.status().is_client_error() => {
            return Ok(unlisted(admin, caller, address, &choices, &problem));
        }
        Err(problem) => return Err(problem),
    };
    let main = html! {
        (head(&page, address, caller))
        (decided(address))
        @if let Some(sent) = sent { (refused(sent)) }
        div.stack { (filters(address, &choices)) (chips(address)) }
        // What was sent and not taken must not be replaced by news.
        div.stack #list data-live=[sent.is_none().then_some("changes")] data-wait {
            @if page.findings.is_empty() { (nothing(&page, address)) } @else {
                (table(&page, address, caller, clock::now(), sent))
            }
            (pager(&page, address))
        }
    };
    let frame = Frame::of(admin, "Findings", Here::Findings, caller);
    Ok(if sent.is_some() { frame.at(address.here()) } else { frame }.page(&main))
}

/// No list, since nothing is called so, or no word is searched for: said below what was chosen and typed.
fn unlisted(admin: &Arc<Admin>, caller: &Caller, address: &Address, choices: &Choices, problem: &Problem) -> Response {
    let main = html! {
        div.head { div { h1 { "Findings" } } }
        div.stack {
            (filters(address, choices))
            (wrong("filter-e", Some(&sentence(problem.detail()))))
            (chips(address))
        }
        section.empty { h2 { "No finding matches" } p { a href="/findings" { "Clear" } } }
    };
    (problem.status(), Frame::of(admin, "Findings", Here::Findings, caller).page(&main)).into_response()
}

fn refused(sent: &Sent<'_>) -> Markup {
    html! {
        div.notice.boxed.bad #problem role="alert" tabindex="-1" {
            span.is.bad { span.hide { "Error" } }
            div {
                p { strong { "Nothing was decided" } }
                p { @if sent.at_reason { a href="#reason" { (sent.problem) } } @else { (sent.problem) } " What you chose and typed is kept." }
            }
        }
    }
}

/// What can be chosen.
struct Choices {
    organizations: Vec<String>,
    projects: BTreeSet<String>,
    assets: Vec<String>,
    /// None on a box that gathers no fleet.
    sites: Vec<String>,
    /// Of the chosen project.
    branches: Vec<String>,
}

impl Choices {
    fn read(view: &Reader, project: Option<&str>) -> Result<Self, StoreError> {
        let projects = catalogue::projects(view)?;
        let mut organizations: Vec<String> =
            projects.iter().map(|(_, project)| project.organization.to_string()).collect();
        organizations.sort();
        organizations.dedup();
        let mut branches = Vec::new();
        for (id, _) in projects.iter().filter(|(_, held)| Some(held.key.as_str()) == project) {
            let scopes = catalogue::scopes(view, *id)?.into_iter();
            branches.extend(
                scopes.filter(|(_, scope)| scope.retired_at.is_none()).map(|(_, scope)| scope.name.to_string()),
            );
        }
        branches.sort();
        branches.dedup();
        let mut assets: Vec<String> =
            catalogue::assets(view)?.into_iter().map(|(_, asset)| asset.name.to_string()).collect();
        assets.sort();
        Ok(Self {
            organizations,
            projects: projects.into_iter().map(|(_, project)| project.key.to_string()).collect(),
            assets,
            sites: fleet::names(view)?.iter().map(ToString::to_string).collect(),
            branches,
        })
    }
}

fn head(page: &shapes::FindingList, address: &Address, caller: &Caller) -> Markup {
    let file = |format: &str| address.with("/api/v1/findings/export", &[("limit", None), ("format", Some(format))]);
    html! {
        div.head {
            div {
                h1 { "Findings" }
                p.sub #total data-live="changes" { (total(page)) }
                (quiet(caller, Role::Operator))
            }
            @if !page.findings.is_empty() {
                div.row {
                    button.button.script popovertarget="export" aria-keyshortcuts="e" { "Export" }
                    div.menu.below #export popover {
                        p.soft.small { "All that match, as" }
                        a href=(file("csv")) download { "CSV" }
                        a href=(file("json")) download { "JSON" }
                        @if !address.get("state").is_some_and(|words| words.contains("fixed") || words.contains("removed")) {
                            a href=(file("sarif")) download { "SARIF 2.1.0" }
                        }
                    }
                }
            }
        }
    }
}

fn total(page: &shapes::FindingList) -> Markup {
    html! {
        @if page.total_exact { (counted(page.total, "finding")) } @else { "More than " (counted(page.total, "finding")) }
        @if page.total == 1 { " matches." } @else { " match." }
        @if page.filtered > 0 { " " (number(page.filtered)) " more are held and kept back by the filter of their organization." }
    }
}

/// That decisions were made, on the page that shows the list again.
fn decided(address: &Address) -> Markup {
    let count = address.get("decided").and_then(|count| count.parse::<u64>().ok());
    html! {
        @if let Some(count) = count {
            p role="status" { span.is.ok { span {
                "Sonar was told about " (counted(count, "finding")) ". The list says so as soon as their branches are read."
            } } }
        }
    }
}

fn choice(name: &str, label: &str, any: &str, options: &[(&str, &str)], address: &Address) -> Markup {
    let chosen = address.get(name);
    let is_known = chosen.is_none_or(|chosen| options.iter().any(|(value, _)| *value == chosen));
    if options.len() > CHOICES_MAX {
        return html! {
            input.in name=(name) list={ "all-" (name) } value=[chosen] placeholder=(any) aria-label=(label) autocomplete="off";
            datalist id={ "all-" (name) } { @for (value, _) in options { option value=(value); } }
        };
    }
    html! {
        select.in name=(name) aria-label=(label) {
            option value="" { (any) }
            @for (value, text) in options { option value=(value) selected[chosen == Some(*value)] { (text) } }
            // Sending the form must not lose what the address has.
            @if let (false, Some(chosen)) = (is_known, chosen) { option value=(chosen) selected { (chosen) } }
        }
    }
}

fn filters(address: &Address, choices: &Choices) -> Markup {
    let words = |all: Vec<&'static str>| all.into_iter().map(|word| (word, capital(&word.replace('_', " ")))).collect();
    let severities: Vec<(&str, String)> = words(Severity::ALL.iter().map(|one| one.as_str()).collect());
    let states: Vec<(&str, String)> = words(FindingState::ALL.iter().map(|one| one.as_str()).collect());
    let kinds: Vec<(&str, String)> = words(Kind::ALL.iter().map(|one| one.as_str()).collect());
    let named =
        |of: &'static [(&'static str, &'static str)], all: &[(&'static str, String)]| -> Vec<(String, String)> {
            let all = all.iter().map(|(value, text)| ((*value).to_owned(), text.clone()));
            of.iter().map(|(value, text)| ((*value).to_owned(), (*text).to_owned())).chain(all).collect()
        };
    let same = |all: &mut dyn Iterator<Item = &String>| all.map(|one| (one.clone(), one.clone())).collect::<Vec<_>>();
    let show = |name: &str, label: &str, any: &str, options: Vec<(String, String)>| {
        let options: Vec<(&str, &str)> = options.iter().map(|(value, text)| (value.as_str(), text.as_str())).collect();
        choice(name, label, any, &options, address)
    };
    html! {
        form.filters role="search" {
            input.in.search type="search" name="search" placeholder="Rule, file, message …" aria-label="Search findings"
                aria-keyshortcuts="/" value=[address.get("search")];
            (show("severity", "Severity", "Any severity", named(&[("critical,high", "Critical and high")], &severities)))
            (show("state", "State", "Not closed", named(&[(CLOSED, "Closed"), (ALL, "Open and closed")], &states)))
            (show("kind", "Kind", "Any kind", named(&[], &kinds)))
            @if choices.organizations.len() > 1 || address.get("organization").is_some() {
                (show("organization", "Organization", "Any organization", same(&mut choices.organizations.iter())))
            }
            (show("project", "Project", "Any project", same(&mut choices.projects.iter())))
            @if choices.branches.len() > 1 || address.get("branch").is_some() {
                (show("branch", "Branch", "Any branch", same(&mut choices.branches.iter())))
            }
            (show("asset", "Asset", "Any asset", same(&mut choices.assets.iter())))
            @if !choices.sites.is_empty() { (show("site", "Site", "Any site", same(&mut choices.sites.iter()))) }
            @for name in ["sort", "limit", "scope", "retired", "filtered"] {
                @if let Some(value) = address.get(name) { input type="hidden" name=(name) value=(value); }
            }
            button.button.plainly { "Show" }
        }
    }
}

/// What is filtered, each to be taken away by itself.
fn chips(address: &Address) -> Markup {
    let set = address.filters();
    html! {
        @if !set.is_empty() {
            div.row role="group" aria-label="Filters in use" {
                @for (name, text) in &set {
                    a.button.little.chip href=(address.with("/findings", &[(name, None)])) {
                        (text) span.hide { ", remove this filter" }
                    }
                }
                a.button.plain.little href="/findings" { "Clear" }
            }
        }
    }
}

fn nothing(page: &shapes::FindingList, address: &Address) -> Markup {
    html! {
        section.empty {
            @if page.partial {
                h2 { "None so far" }
                p.soft { "No finding matches among the first " (number(page.examined)) " that were looked through." }
            } @else if address.filters().is_empty() {
                h2 { "No findings yet" }
                p.soft { "They appear here as soon as the first project is read. That takes seconds for most projects." }
                p { a href="/projects" { "See the projects" } }
            } @else {
                h2 { "No finding matches" }
                p { a href="/findings" { "Clear" } }
            }
        }
    }
}

fn table(
    page: &shapes::FindingList,
    address: &Address,
    caller: &Caller,
    now: Timestamp,
    sent: Option<&Sent<'_>>,
) -> Markup {
    let chosen = sent.map_or(&[][..], |sent| sent.ids);
    let elsewhere: Vec<_> = chosen.iter().filter(|id| !page.findings.iter().any(|one| one.id == **id)).collect();
    // What another site's box reads is decided there.
    let decides = caller.role() >= Role::Operator
        && (sent.is_some() || page.findings.iter().any(|finding| finding.site.is_none()));
    let inside = html! {
        table.rows role="table" {
            caption.hide { "Findings" }
            thead role="rowgroup" { tr role="row" {
                @if decides {
                    th.tick role="columnheader" scope="col" {
                        input.script type="checkbox" aria-label="Select all on this page" data-all;
                        span.hide { "Select" }
                    }
                }
                (sorted("severity", "Severity", "descending", "", address))
                (column("Finding"))
                (sorted("path", "Where", "ascending", "", address))
                (column("State"))
                (sorted("newest", "Found", "descending", "num", address))
            } }
            tbody role="rowgroup" { @for finding in &page.findings { (row(finding, decides, now, chosen)) } }
        }
    };
    html! {
        @if decides {
            form.picks method="post" action="/findings/triage" {
                (inside)
                @if !elsewhere.is_empty() {
                    fieldset.row.small {
                        legend { "Chosen, and not in the list above" }
                        @for id in elsewhere { label.choice { input type="checkbox" name="id" value=(id) checked; span { (id) } } }
                    }
                }
                (tray(&address.here(), sent))
            }
        } @else { (inside) }
    }
}

fn sorted(order: &str, text: &str, direction: &str, class: &str, address: &Address) -> Markup {
    let is_it = address.get("sort").unwrap_or("severity") == order;
    let order = (order != "severity").then_some(order);
    html! {
        th.(class) role="columnheader" scope="col" aria-sort=[is_it.then_some(direction)] {
            a href=(address.with("/findings", &[("sort", order)])) { (text) }
        }
    }
}

fn row(finding: &shapes::Finding, decides: bool, now: Timestamp, chosen: &[String]) -> Markup {
    let place = finding.path.as_ref().map(|path| match finding.line {
        Some(line) => (format!("{path}:{line}"), format!("{}:{line}", short_path(path))),
        None => (path.clone(), short_path(path)),
    });
    html! {
        tr role="row" data-row=(finding.id) data-at=(finding.first_seen_at) {
            @if decides {
                td.tick role="cell" {
                    @if !matches!(finding.state.as_str(), "fixed" | "removed") && !finding.retired && finding.site.is_none() {
                        input type="checkbox" name="id" value=(finding.id) checked[chosen.contains(&finding.id)] aria-label={ "Select: " (finding.title) };
                    }
                }
            }
            td.lead role="cell" { (severity(&finding.severity)) }
            th role="rowheader" scope="row" {
                a href={ "/findings/" (finding.id) } { (finding.title) }
                span.under {
                    @if let Some(rule) = &finding.rule { span.mono { (rule) } }
                    @if let Some(cwe) = finding.cwe.first() { " · CWE-" (cwe) }
                }
            }
            td.full role="cell" {
                span.clip title={ (finding.project) " " (finding.branch) } {
                    (finding.project) " " span.soft { (finding.branch) }
                    @if let Some(site) = &finding.site { " " span.badge { (site) } }
                }
                @if let Some((whole, short)) = &place { " " span.under.mono title=(whole) { (short) } }
            }
            td.lead role="cell" { (state(&finding.state)) }
            td.num.soft.lead role="cell" {
                (when_told(finding.created_at.as_deref().or(Some(&finding.first_seen_at)), now))
            }
        }
    }
}

/// What is done with the rows that are chosen; absent while none is.
fn tray(back: &str, sent: Option<&Sent<'_>>) -> Markup {
    let state = sent.map_or("accepted", |sent| sent.state);
    let problem = sent.filter(|sent| sent.at_reason).map(|sent| sent.problem.as_str());
    html! {
        div.tray {
            div.row {
                select.in name="state" aria-label="State" {
                    @for one in ["open", "confirmed", "accepted", "false_positive"] {
                        option value=(one) selected[one == state] { (capital(&one.replace('_', " "))) }
                    }
                }
                input.in #reason name="comment" required maxlength="1000" aria-label="Reason" placeholder="Reason, for Sonar and the developers"
                    value=[sent.map(|sent| sent.comment)] aria-invalid=[problem.map(|_| "true")] aria-describedby=[problem.map(|_| "reason-e")];
                button.button.first { span { "Decide about " span data-count { "what is chosen" } } }
            }
            (wrong("reason-e", problem))
            input type="hidden" name="back" value=(back);
        }
    }
}

fn pager(page: &shapes::FindingList, address: &Address) -> Markup {
    let at = |cursor: &str| address.with("/findings", &[("cursor", Some(cursor))]);
    let rows = |rows: &str| address.with("/findings", &[("limit", Some(rows))]);
    html! {
        @if !page.findings.is_empty() || page.next.is_some() || address.get("cursor").is_some() {
            nav.pager aria-label="Pages" {
                span {
                    (number(page.findings.len() as u64)) " shown"
                    @if page.partial { "; looked through " (number(page.examined)) " for them" }
                }
                span.row {
                    @if address.get("limit").is_some_and(|limit| limit != "25") { a href=(rows("25")) { "25 a page" } }
                    @else { a href=(rows("100")) { "100 a page" } }
                }
                span.row {
                    @if address.get("cursor").is_some() { a.button.little href=(address.with("/findings", &[])) { "First page" } }
                    @if let Some(next) = &page.next {
                        a.button.little href=(at(next)) rel="next" { @if page.partial { "Go on" } @else { "Next" } }
                    }
                }
            }
        }
    }
}

/// `POST /findings/triage`: one decision about the rows that were chosen.
pub(super) async fn decide(
    state: State<Arc<Admin>>,
    caller: Extension<Caller>,
    axum::Form(pairs): axum::Form<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let first = |name: &str| {
        let found = pairs.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let ids: Vec<String> = pairs.iter().filter(|(name, _)| name == "id").map(|(_, id)| id.clone()).collect();
    let batch = shapes::TriageBatch { ids, state: first("state"), comment: first("comment") };
    let back = Some(first("back")).filter(|back| back.split('?').next() == Some("/findings"));
    let back = back.unwrap_or_else(|| "/findings".to_owned());
    let sent = |problem: String, at_reason: bool| Sent {
        ids: &batch.ids,
        state: &batch.state,
        comment: &batch.comment,
        problem,
        at_reason,
    };
    let told = match wanting(&batch) {
        Some((text, at_reason)) => Err((Problem::bad(text), sent(text.to_owned(), at_reason))),
        None => triage::many(state, caller.clone(), answers::Sent(batch.clone())).await.map_err(|problem| {
            let text = sentence(problem.detail());
            (problem, sent(text, false))
        }),
    };
    let told = match told {
        Ok(Json(told)) => told,
        Err((problem, sent)) if is_mendable(&problem) => {
            let query = back.split_once('?').map(|(_, query)| query).unwrap_or_default();
            let page = listing(&admin, &caller, &Address::parse(query)?, Some(&sent)).await?;
            return Ok((status_again(&problem), page).into_response());
        }
        Err((problem, _)) => return Err(problem),
    };
    let decided = told.outcomes.iter().filter(|one| one.outcome == "decided").count();
    if told.outcomes.iter().all(|one| matches!(one.outcome.as_str(), "decided" | "unchanged")) {
        let sign = if back.contains('?') { '&' } else { '?' };
        return Ok(Redirect::to(&format!("{back}{sign}decided={decided}")).into_response());
    }
    let main = outcomes(&told, &back, decided as u64, &sent(String::new(), false));
    let page = Frame::of(&admin, "Decisions", Here::Findings, &caller).at(back).page(&main);
    Ok((axum::http::StatusCode::CONFLICT, page).into_response())
}

/// What a decision lacks before anybody is asked, and whether it is its reason.
fn wanting(batch: &shapes::TriageBatch) -> Option<(&'static str, bool)> {
    if batch.comment.trim().is_empty() {
        return Some(("A decision needs a reason: Sonar is told it, and the developers see it there.", true));
    }
    batch.ids.is_empty().then_some(("Choose at least one finding.", false))
}

/// What became of each, where not all could be decided; and the same form about those that were not.
fn outcomes(told: &shapes::TriageOutcomes, back: &str, decided: u64, sent: &Sent<'_>) -> Markup {
    html! {
        div.head { div {
            h1 { "Not all could be decided" }
            p.sub { "Sonar was told about " (counted(decided, "finding")) "; those below were not decided." }
        } div.row { a.button href=(back) { "Back to the list" } } }
        form.picks method="post" action="/findings/triage" {
            table.rows role="table" {
                caption.hide { "Findings that were not decided" }
                thead role="rowgroup" { tr role="row" {
                    th.tick role="columnheader" scope="col" { span.hide { "Select" } }
                    (column("Finding"))
                    (column("Why not"))
                } }
                tbody role="rowgroup" {
                    @for one in told.outcomes.iter().filter(|one| matches!(one.outcome.as_str(), "refused" | "not_tried")) {
                        tr role="row" {
                            td.tick role="cell" {
                                input type="checkbox" name="id" value=(one.id) checked aria-label={ "Select: finding " (one.id) };
                            }
                            th role="rowheader" scope="row" { a href={ "/findings/" (one.id) } { "Finding " (one.id) } }
                            td.full role="cell" {
                                @match &one.problem {
                                    Some(problem) => (sentence(problem)),
                                    None => "Not tried, as Sonar could not be asked.",
                                }
                            }
                        }
                    }
                }
            }
            (tray(back, Some(sent)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_of_a_project_are_those_of_its_site() {
        assert_eq!(of_project("com.acme:shop", None), "/findings?project=com.acme%3Ashop");
        assert_eq!(of_project("shop", Some("berlin")), "/findings?project=shop&site=berlin");
    }

    #[test]
    fn an_address_keeps_what_it_has_and_begins_anew() {
        let address = Address::parse("project=a%26b&severity=&sort=path&cursor=p00&decided=3&utm=x").unwrap();
        assert_eq!(address.with("/findings", &[]), "/findings?project=a%26b&sort=path");
        assert_eq!(address.with("/findings", &[("project", None), ("sort", None)]), "/findings");
        assert_eq!(
            address.with("/findings", &[("state", Some("open"))]),
            "/findings?project=a%26b&sort=path&state=open"
        );
    }
}
