//! The fourth step: how far the import is. It goes on whether somebody looks or not.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::super::marks::{column, number_column};
use super::{At, Step, address, here, named, steps};
use crate::admin::answers::Query;
use crate::admin::page::frame::{Frame, Here};
use crate::admin::page::words::{counted, number};
use crate::admin::{Admin, Problem, shapes};
use crate::domain::access::Caller;
use crate::domain::time::Timestamp;
use crate::sys::clock;

/// When the import was begun, for the time that is left.
#[derive(Debug, Default, Deserialize)]
pub(in crate::admin::page) struct Since {
    since: Option<i64>,
}

/// `GET /connect/import`.
pub(in crate::admin::page) async fn show(
    state: State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Query(at): Query<At>,
    Query(since): Query<Since>,
) -> Result<Response, Problem> {
    let Some(organization) = named(&state, &at).await? else { return Ok(Redirect::to("/connect").into_response()) };
    let projects = here(&state, &organization).await?;
    if projects.is_empty() {
        return Ok(Redirect::to(&address(Step::Projects, Some(&organization))).into_response());
    }
    let far = Far::of(&projects);
    let main = html! {
        (steps(Step::Import, Some(&organization), true))
        div.head { div {
            h1 { "Import" }
            p.sub { "It goes on by itself, also if you leave this page." }
        } }
        section.stack #import-progress data-live {
            (progress(&far, since.since))
            (table(&projects))
        }
        div.tray { p.soft.spare { "The next step need not wait for this one." }
            div.row {
                a.button href=(address(Step::Projects, Some(&organization))) { "Back" }
                a.button.plainly href=(own(&organization, since.since)) { "Look again" }
                a.button.first href=(address(Step::Webhook, Some(&organization))) { "Next: webhook" }
            } }
    };
    Ok(Frame::of(&state, "Import", Here::Elsewhere, &caller).page(&main))
}

fn own(organization: &str, since: Option<i64>) -> String {
    let since = since.map(|since| format!("&since={since}")).unwrap_or_default();
    format!("{}{since}", address(Step::Import, Some(organization)))
}

/// How far all of it is.
#[derive(Debug, Default, PartialEq)]
struct Far {
    projects: usize,
    done: usize,
    failed: usize,
    findings: u64,
    /// Thousandths.
    share: u64,
}

impl Far {
    fn of(projects: &[shapes::Project]) -> Self {
        let mut far = Self { projects: projects.len(), ..Self::default() };
        let (mut units, mut parts) = (0, 0);
        for project in projects {
            let standing = standing(project);
            far.done += usize::from(standing == Standing::Done);
            far.failed += usize::from(standing == Standing::Failed);
            far.findings += project.branches.iter().map(|branch| branch.stored_total.max(branch.read)).sum::<u64>();
            // Until its branches are known, a project counts as one that has not begun.
            units += 1000 * project.branches.len().max(1) as u64;
            parts += project.branches.iter().map(share).sum::<u64>();
            if project.branches.is_empty() && standing == Standing::Failed {
                parts += 1000;
            }
        }
        far.share = (1000 * parts).checked_div(units).unwrap_or_default();
        far
    }

    fn is_over(&self) -> bool {
        self.done + self.failed == self.projects
    }
}

/// Thousandths of a branch that are read.
fn share(branch: &shapes::Branch) -> u64 {
    match branch.activity.as_str() {
        "queued" => 0,
        "running" => (1000 * branch.read).checked_div(branch.expected).unwrap_or_default().min(999),
        _ => 1000,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Waits,
    Reads,
    Done,
    Failed,
}

fn standing(project: &shapes::Project) -> Standing {
    let any = |activity: &str| project.branches.iter().any(|branch| branch.activity == activity);
    if any("running") {
        Standing::Reads
    } else if any("queued") || project.activity == "queued" {
        Standing::Waits
    } else if problem(project).is_some() {
        Standing::Failed
    } else if project.branches.is_empty() {
        Standing::Waits
    } else {
        Standing::Done
    }
}

fn problem(project: &shapes::Project) -> Option<&str> {
    let of_branches = project.branches.iter().find_map(|branch| branch.error.as_deref());
    project.error.as_deref().or(of_branches)
}

fn progress(far: &Far, since: Option<i64>) -> Markup {
    html! {
        @if far.is_over() && far.failed == 0 {
            p role="status" { span.is.ok { strong {
                @if far.projects == 1 { "The project is in step: " } @else { "All " (far.projects) " projects are in step: " }
                (counted(far.findings, "finding")) "."
            } } }
        } @else if far.is_over() {
            p role="status" { span.is.warn { strong {
                (far.done) " of " (far.projects) " projects are in step. " (far.failed) " could not be read; they are tried again by themselves."
            } } }
        } @else {
            progress #import-bar value=(far.share) max="1000" aria-label="Import" {}
            p role="status" { span.is.busy {
                (far.done) " of " (counted(far.projects as u64, "project")) ", " (counted(far.findings, "finding")) " so far"
                @if let Some(left) = left(far.share, since) { ", " (left) }
            } }
        }
    }
}

/// The time that is left, if what is done went as fast as what is not will.
fn left(share: u64, since: Option<i64>) -> Option<String> {
    let seconds = clock::now().since(Timestamp(since?)).as_secs();
    // Of a beginning nothing can be said, and of one that is a day old neither.
    if share < 50 || !(3..86_400).contains(&seconds) {
        return None;
    }
    let left = seconds * (1000 - share) / share;
    Some(match left {
        0..10 => "a few seconds left".to_owned(),
        10..90 => format!("about {left} s left"),
        _ => format!("about {} min left", left.div_ceil(60)),
    })
}

fn table(projects: &[shapes::Project]) -> Markup {
    html! {
        table.rows role="table" {
            caption.hide { "Projects of this import" }
            thead role="rowgroup" { tr role="row" {
                (column("Project"))
                (column("State"))
                (number_column("Branches"))
                (number_column("Findings"))
            } }
            tbody role="rowgroup" { @for project in projects {
                @let found: u64 = project.branches.iter().map(|branch| branch.stored_total.max(branch.read)).sum();
                @let expected: u64 = project.branches.iter().map(|branch| branch.expected).sum();
                tr role="row" {
                    th role="rowheader" scope="row" { (project.name) span.under.mono { (project.key) } }
                    td role="cell" { @match standing(project) {
                        Standing::Waits => { span.is.wait { "Waits" } }
                        Standing::Reads => { span.is.busy { "Being read" } }
                        Standing::Done => { span.is.ok { "In step" } }
                        Standing::Failed => { span.is.bad { (problem(project).unwrap_or("not read")) } }
                    } }
                    td.num role="cell" data-l="Branches" { (number(project.branches.len() as u64)) }
                    td.num role="cell" data-l="Findings" { (number(found)) @if expected > found { " of " (number(expected)) } }
                }
            } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(activity: &str, read: u64, expected: u64) -> serde_json::Value {
        serde_json::json!({ "name": "main", "kind": "branch", "main": true, "complete": true, "stored_total": 0,
            "activity": activity, "read": read, "expected": expected })
    }

    fn project(activity: &str, error: Option<&str>, branches: &[serde_json::Value]) -> shapes::Project {
        let json = serde_json::json!({ "source": "s", "organization": "o", "key": "k", "name": "n", "imported": true,
            "asset": null, "branches": branches, "error": error, "activity": activity });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn an_import_is_over_when_every_project_is_read_or_has_failed() {
        let far = |projects: &[shapes::Project]| {
            let far = Far::of(projects);
            (far.share, far.is_over())
        };
        assert_eq!(far(&[project("queued", None, &[])]), (0, false));
        assert_eq!(far(&[project("idle", None, &[branch("queued", 0, 0)])]), (0, false));
        let reading = project("idle", None, &[branch("running", 50, 200), branch("idle", 0, 0)]);
        assert_eq!(far(std::slice::from_ref(&reading)), (625, false));
        // What it expects may be less than what there is.
        assert_eq!(far(&[project("idle", None, &[branch("running", 50, 40)])]), (999, false));
        let done = project("idle", None, &[branch("idle", 0, 0)]);
        let failed = project("idle", Some("Sonar knows it no more"), &[]);
        assert_eq!(far(&[done.clone(), failed]), (1000, true));
        assert_eq!(far(&[done, reading]), (750, false));
    }
}
