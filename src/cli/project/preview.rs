//! `project import --dry-run`: what an import would bring.

use std::collections::{BTreeMap, BTreeSet};

use super::super::client::Failure;
use super::super::organization::passed_on;
use super::super::table::{Output, cell, counted, number, table};
use crate::admin::shapes::{BranchPreview, ImportPreview};

pub(super) fn print(out: &mut Output, preview: &ImportPreview) -> Result<(), Failure> {
    let mut rows = table(&["project", "branch", "in Sonar", "here", "pass", "asset", "problem"]);
    for project in &preview.projects {
        let asset = if project.asset_is_new { format!("{} (new)", project.asset) } else { project.asset.clone() };
        let problem = |out: &Output, text: Option<&str>| text.map_or_else(|| cell(""), |text| out.alarm_cell(text));
        if project.branches.is_empty() {
            let none = || cell("");
            let problem = problem(out, project.error.as_deref());
            rows.add_row([cell(&project.key), none(), none(), none(), none(), cell(asset), problem]);
            continue;
        }
        for branch in &project.branches {
            rows.add_row([
                cell(&project.key),
                cell(name(branch)),
                cell(branch.sonar_total.map(number).unwrap_or_default()),
                cell(number(branch.open)),
                cell(passing(branch)),
                cell(&asset),
                problem(out, branch.problem.as_deref()),
            ]);
        }
    }
    out.table(rows)?;
    out.line("")?;
    totals(out, preview)?;
    out.line("Nothing was imported.")
}

fn name(branch: &BranchPreview) -> String {
    match branch.kind.as_str() {
        "pull_request" => format!("{} (pull request)", branch.name),
        _ if branch.main => format!("{} (main)", branch.name),
        _ => branch.name.clone(),
    }
}

/// Of a branch that was not read whole, no more is known than of the rows that were read.
fn passing(branch: &BranchPreview) -> String {
    let count = number(branch.passing);
    if branch.read { count } else { format!("at least {count}") }
}

fn totals(out: &mut Output, preview: &ImportPreview) -> Result<(), Failure> {
    let branches: Vec<&BranchPreview> = preview.projects.iter().flat_map(|project| &project.branches).collect();
    let sum = |of: fn(&BranchPreview) -> u64| branches.iter().map(|branch| of(branch)).sum::<u64>();
    let asked = preview.projects.iter().all(|project| project.error.is_none());
    let sonar = match branches.iter().map(|branch| branch.sonar_total).sum::<Option<u64>>() {
        Some(total) if asked => number(total),
        Some(total) => format!("at least {}", number(total)),
        None => "an unknown number".to_owned(),
    };
    let (open, pass) = (number(sum(|branch| branch.open)), number(sum(|branch| branch.passing)));
    let about = if asked && branches.iter().all(|branch| branch.read) { "" } else { "at least " };
    out.line(format_args!("Sonar says {sonar}, we hold {open}, {about}{pass} pass the filter."))?;
    let filters: BTreeSet<String> = preview.projects.iter().map(|project| passed_on(&project.filter)).collect();
    out.field("Passed on", filters.into_iter().collect::<Vec<_>>().join(" / "))?;
    let mut rows = table(&["would", "findings"]);
    for (what, count) in [
        ("create", sum(|branch| branch.create)),
        ("update", sum(|branch| branch.update)),
        ("reopen", sum(|branch| branch.reopen)),
        ("close, where Sonar, asked by key, agrees", sum(|branch| branch.close)),
        ("leave as they are", sum(|branch| branch.same)),
    ] {
        rows.add_row([cell(what), cell(number(count))]);
    }
    let mut left_out: BTreeMap<&str, u64> = BTreeMap::new();
    for (why, count) in branches.iter().flat_map(|branch| &branch.left_out) {
        *left_out.entry(why).or_default() += count;
    }
    for (why, count) in left_out {
        rows.add_row([cell(format!("hold, but not show or pass on: {why}")), cell(number(count))]);
    }
    out.table(rows)?;
    let made = preview.projects.iter().filter(|project| project.asset_is_new).map(|project| project.asset.as_str());
    let made = made.collect::<BTreeSet<_>>().len() as u64;
    let known = preview.projects.iter().filter(|project| project.imported).count() as u64;
    let (all, made) = (counted(preview.projects.len() as u64, "project"), counted(made, "asset"));
    out.line(format_args!("{all}, of which {} imported already; {made} would be made.", number(known)))
}
