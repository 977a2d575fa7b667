//! Is something wrong, what is open, did it arrive: the first page.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Response;
use maud::{Markup, html};

use super::connect;
use super::destinations::platform;
use super::frame::{Frame, Here};
use super::marks::{column, number_column};
use super::words::{between, clock_of, coded, counted, number, sentence, when_told};
use super::{chart, deliveries, marks};
use crate::admin::{Admin, Problem, shapes, status, trend, views};
use crate::domain::access::{Caller, Role};
use crate::domain::time::Timestamp;
use crate::store;
use crate::sys::clock;

/// `GET /`.
pub(super) async fn show(state: State<Arc<Admin>>, Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    let admin = Arc::clone(&state);
    let shown = status::show(state).await?.0;
    let now = clock::now();
    let needs = status::needs(&shown.conditions);
    if shown.inventory.sources == 0 {
        let main = connect::welcome(&shown, caller.role(), connect::is_reached(&admin).await?);
        return Ok(Frame {
            title: "Welcome",
            here: Here::Overview,
            caller: &caller,
            needs,
            gathers: admin.gathers(),
            own: None,
            still: false,
        }
        .page(&main));
    }
    let (trend, calls, changed_at) = admin
        .read(move |_, view| {
            let calls = store::deliveries::list(view, None, CALLS)?;
            let calls: Vec<_> =
                calls.into_iter().map(|(id, call, settled)| views::delivery(id, call, settled)).collect();
            Ok((trend::read(view, now, DAYS)?, calls, store::changes::newest_at(view)?))
        })
        .await?;
    let main = html! {
        div.head { div {
            h1 { "Overview" }
            p.sub #standing data-live { (state_of(&shown, views::time(changed_at).as_deref(), now)) }
            (super::frame::quiet(&caller, Role::Operator))
        }
        @if caller.role() >= Role::Operator && shown.inventory.projects > 0 && !shown.sources.is_empty() {
            form.row method="post" action="/sync" { button.button { "Synchronize all" } }
        } }
        div #conditions data-live="conditions" { (attention(&shown.conditions)) }
        @if shown.inventory.projects == 0 { (nothing(&caller)) } @else {
            dl.figures #figures data-live { (figures(&shown, &trend.days, now)) }
            div.cols.wide #trend data-live="changes" { (line(&trend.days)) (severities(&shown, &trend.days)) }
        }
        div.cols {
            section #calls data-live="deliveries" { (webhooks(&calls, now)) }
            section #told data-live="destinations" { (destinations(&shown.destinations)) }
        }
    };
    Ok(Frame {
        title: "Overview",
        here: Here::Overview,
        caller: &caller,
        needs,
        gathers: admin.gathers(),
        own: None,
        still: false,
    }
    .page(&main))
}

/// Days of the line.
const DAYS: u32 = 30;

/// Webhook calls that are shown.
const CALLS: usize = 6;

fn state_of(status: &shapes::Status, changed_at: Option<&str>, now: Timestamp) -> Markup {
    let (in_step, projects) = (status.freshness.in_step, status.inventory.projects);
    html! {
        @if projects == 0 { "Nothing is imported yet." }
        @else if in_step == projects {
            @if projects == 1 { "The one project is" } @else { "All " (number(projects)) " projects are" } " in step with SonarQube."
        } @else {
            (number(in_step)) " of " (counted(projects, "project"))
            @if in_step == 1 { " is" } @else { " are" } " in step with SonarQube."
        }
        @if changed_at.is_some() { " Last change " (when_told(changed_at, now)) "." }
    }
}

fn nothing(caller: &Caller) -> Markup {
    html! {
        section.empty {
            h2 { "No project is imported yet" }
            @if caller.role() == Role::Admin {
                p.soft { "Connect SonarQube and choose what to read; figures and trend begin with the first project." }
                p { a.button.first href="/connect" { "Choose projects" } }
            } @else {
                p.soft { "An admin connects SonarQube and chooses what to read; figures and trend begin with the first project." }
            }
        }
    }
}

/// What needs a person, with what to do. With nothing to do there is no such list.
fn attention(conditions: &[shapes::Condition]) -> Markup {
    html! {
        @if !conditions.is_empty() {
            section #attention aria-labelledby="attention-h" {
                h2.hide #attention-h { "Needs a person" }
                div.notices {
                    @for condition in conditions {
                        @let (tone, word) = match condition.severity.as_str() {
                            "error" => ("bad", "Error"),
                            "warning" => ("warn", "Warning"),
                            _ => ("none", "Note"),
                        };
                        div.notice {
                            span.{ "is " (tone) } { span.hide { (word) } }
                            div { p { strong { (coded(&sentence(&condition.text))) } } p { (coded(&condition.remedy)) } }
                            @if let Some((address, text)) = place(&condition.code) {
                                div.row { a.button.little href=(address) { (text) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Where more is said of a condition.
fn place(code: &str) -> Option<(&'static str, &'static str)> {
    Some(match code {
        "webhooks_missed" => ("/deliveries", "Show deliveries"),
        "no_public_url" => ("/settings", "Open settings"),
        _ if code.starts_with("destination") || code.starts_with("decision") => ("/destinations", "Show destinations"),
        _ if ["project", "scope", "sync", "branch", "closing"].iter().any(|part| code.starts_with(part)) => {
            ("/projects", "Show projects")
        }
        _ => return None,
    })
}

fn figures(status: &shapes::Status, days: &[shapes::TrendDay], now: Timestamp) -> Markup {
    let of = |severity: &str| {
        let all = status.inventory.open.iter();
        all.filter(|count| count.severity == severity).map(|count| count.count).sum::<u64>()
    };
    let open: u64 = status.inventory.open.iter().map(|count| count.count).sum();
    let week = &days[days.len().saturating_sub(7)..];
    let before = days.len().checked_sub(8).map(|at| days[at].open.sum());
    let sum = |of: fn(&shapes::TrendDay) -> u64| week.iter().map(of).sum::<u64>();
    let critical = sum(|day| day.opened.critical);
    let fixed = sum(|day| day.fixed.critical + day.fixed.high);
    html! {
        div { dt { "Open findings" } dd { (number(open)) } dd { (against(open, before)) } }
        div {
            dt { "Critical and high" } dd { (number(of("critical") + of("high"))) }
            dd {
                @if critical == 0 { "no critical one came this week" }
                @else { span.up { (number(critical)) " critical" } " came this week" }
            }
        }
        div { dt { "Opened in 7 days" } dd { (number(sum(|day| day.opened.sum()))) } dd { "without first readings" } }
        div {
            dt { "Fixed in 7 days" } dd { (number(sum(|day| day.fixed.sum()))) }
            dd { @if fixed == 0 { "no critical or high one" } @else { (number(fixed)) " critical or high" } }
        }
        (in_step(status, now))
    }
}

fn against(open: u64, before: Option<u64>) -> Markup {
    html! {
        @match before {
            None => { "no week to compare with yet" }
            Some(before) if before > open => { span.down { (number(before - open)) " fewer" } " than 7 days ago" }
            Some(before) if before < open => { span.up { (number(open - before)) " more" } " than 7 days ago" }
            Some(_) => { "as 7 days ago" }
        }
    }
}

/// How current all of it is. What is stale keeps its number, and says from when it is.
fn in_step(status: &shapes::Status, now: Timestamp) -> Markup {
    let freshness = &status.freshness;
    let oldest = freshness.oldest.as_ref();
    let read_at = oldest.and_then(|oldest| Timestamp::parse(oldest.synced_at.as_deref()?).ok());
    html! {
        div {
            dt { "Projects in step" }
            dd { (number(freshness.in_step)) " " span.soft { "of " (number(status.inventory.projects)) } }
            dd {
                @match (oldest, read_at) {
                    (Some(oldest), Some(at)) if freshness.stale > 0 => {
                        span.is.warn title=(oldest.project) { span { "as of " (clock_of(at)) ", " (between(at, now)) " old" } }
                    }
                    (Some(oldest), Some(at)) => span title=(oldest.project) { "oldest reading " (between(at, now)) },
                    (Some(oldest), None) => span.is.none title=(oldest.project) { "one was never read whole" },
                    (None, _) if status.sources.is_empty() => { "read at their sites" }
                    (None, _) => span.is.none { "nothing was read yet" },
                }
            }
        }
    }
}

fn line(days: &[shapes::TrendDay]) -> Markup {
    html! {
        section {
            div.ends {
                h2 { "Open findings" }
                @if days.len() > 1 { span.soft.small { "last " (days.len()) " days" } }
            }
            @if days.len() > 1 { (chart::trend(days)) } @else {
                p.soft { "The line begins tomorrow, when there are two days to join." }
            }
        }
    }
}

fn severities(status: &shapes::Status, days: &[shapes::TrendDay]) -> Markup {
    let before = days.len().checked_sub(8).map(|at| days[at].open.values());
    html! {
        section {
            div.ends { h2 { "By severity" } a href="/findings" { "All findings" } }
            table role="table" {
                caption.hide { "Open findings by severity" }
                thead role="rowgroup" { tr role="row" {
                    (column("Severity"))
                    (number_column("Open"))
                    th role="columnheader" scope="col" { (days.len()) @if days.len() == 1 { " day" } @else { " days" } }
                    (number_column("7 days"))
                } }
                tbody role="rowgroup" {
                    @for (at, one) in status.inventory.open.iter().enumerate() {
                        @let values: Vec<u64> = days.iter().map(|day| day.open.values()[at]).collect();
                        tr role="row" {
                            th role="rowheader" scope="row" {
                                a href={ "/findings?severity=" (one.severity) } { (marks::severity(&one.severity)) }
                            }
                            td.num role="cell" { (number(one.count)) }
                            td role="cell" { (chart::spark(&one.severity, &values)) }
                            td.num role="cell" { (change(one.count, before.map(|before| before[at]))) }
                        }
                    }
                }
            }
        }
    }
}

fn change(now: u64, before: Option<u64>) -> Markup {
    html! {
        @match before {
            None => span.is.none { span.hide { "not known yet" } },
            Some(before) if now > before => span.up { "+" (number(now - before)) },
            Some(before) if now < before => span.down { "−" (number(before - now)) },
            Some(_) => "0",
        }
    }
}

fn webhooks(calls: &[shapes::Delivery], now: Timestamp) -> Markup {
    html! {
        div.ends { h2 { "Last webhooks" } a href="/deliveries" { "All deliveries" } }
        @if calls.is_empty() {
            p.soft { "None has come in yet. Projects are read on time all the same; a webhook has them read at once." }
        } @else {
            table.rows role="table" {
                caption.hide { "Last webhooks" }
                thead role="rowgroup" { tr role="row" {
                    (column("Project"))
                    (column("Outcome"))
                    (number_column("Received"))
                } }
                tbody role="rowgroup" { @for call in calls {
                    tr role="row" {
                        th role="rowheader" scope="row" {
                            @match &call.project {
                                Some(project) => (project),
                                None => span.is.none { "no project" },
                            }
                            @if let Some(branch) = &call.branch { " " span.soft { (branch) } }
                        }
                        td role="cell" { (deliveries::outcome(call)) }
                        td.num.soft role="cell" { (when_told(Some(&call.received_at), now)) }
                    }
                } }
            }
        }
    }
}

fn destinations(destinations: &[shapes::DestinationHealth]) -> Markup {
    html! {
        div.ends { h2 { "Passed on" } a href="/destinations" { "All destinations" } }
        @if destinations.is_empty() {
            p.soft { "Nothing is passed on: no destination is connected." }
        } @else {
            table.rows role="table" {
                caption.hide { "Destinations" }
                thead role="rowgroup" { tr role="row" {
                    (column("Destination"))
                    (column("State"))
                    (number_column("Waiting"))
                } }
                tbody role="rowgroup" { @for one in destinations {
                    tr role="row" {
                        th role="rowheader" scope="row" { (one.name) " " span.soft { (platform(&one.kind)) } }
                        td role="cell" { (standing(&one.state)) }
                        td.num role="cell" {
                            @match one.lag {
                                Some(0) => span.soft { "none" },
                                Some(lag) => (counted(lag, "change")),
                                None => span.is.none { "not known" },
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn standing(state: &str) -> Markup {
    let (tone, word) = match state {
        "up_to_date" => ("ok", "Up to date"),
        "behind" => ("busy", "Being told"),
        "seeding" => ("busy", "Told the present state"),
        "paused" => ("pause", "Paused"),
        "refused" => ("bad", "Refuses"),
        "retrying" => ("warn", "Tried again"),
        "gone" => ("bad", "Gone"),
        other => ("none", other),
    };
    html! { span.{ "is " (tone) } { (word) } }
}
