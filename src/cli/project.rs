//! `project`: which of Sonar's projects are kept in step.

mod preview;

use clap::{ArgGroup, Args, Subcommand};
use serde_json::Value;

use super::Session;
use super::client::{Answer, Failure, path, path_with};
use super::pages::shaped;
use super::table::{Output, cell, cell_of, clean, counted, minute, minute_ago, now, number, table};
use super::wait::{self, Wait};
use super::webhook::parted;
use crate::admin::shapes::{Branch, NewImport, NewKey, Project, ProjectEdit, ProjectList, Removal};

/// What can be done with projects.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List all projects that the token sees, imported or not.
    List {
        /// Name the organization, as ORG or SOURCE/ORG.
        #[arg(value_name = "ORG")]
        organization: String,
        /// Show those whose name or key holds this text.
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// Import projects: from now on they are kept in step.
    #[command(after_help = "Without --asset or --new-asset each project gets an asset of its own name.\n\n\
        Examples:\n  hydrophone project import acme --project web-shop --new-asset Shop --wait\n  \
        hydrophone project import acme --all --branch main --branch 'release/*'\n  \
        hydrophone project import acme --all --dry-run\n\n\
        --dry-run reads what an import reads, page by page. What it counts as to be closed an import asks Sonar for by \
        its key\nfirst; a hotspot that has become an issue is counted as one created and one closed, and imported as the \
        same finding.\n\nAll security findings are held; `hydrophone organization filter` chooses which of them are shown and passed on.")]
    Import(Import),
    /// Show an imported project and its branches.
    Show(Name),
    /// Follow a project that has another key in SonarQube now; its findings keep their ids and their history.
    #[command(after_help = "The former key must not be shown by SonarQube any more, and the new one must not be \
        imported itself. Webhook calls\nfor the new key that came before stay in the log as not_imported: the project is \
        read anyway, as with `hydrophone\nsync`, and `hydrophone delivery replay` works off one of them by itself.\n\n\
        Example:\n  hydrophone project rename acme web-shop store --wait")]
    Rename {
        /// Which one.
        #[command(flatten)]
        name: Name,
        /// Give the key that SonarQube shows it under now.
        #[arg(value_name = "NEW-KEY")]
        to: String,
        /// Whether to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Move a project to another asset, or choose which of its branches are kept.
    #[command(
        after_help = "Moving closes nothing and tells nothing twice: platforms keep what they were told where it is, \
        and it is followed there.\nWhat is new goes where the new asset's findings go; on DefectDojo a branch keeps its Test. \
        Branches that are held stay held.\n\n\
        Examples:\n  hydrophone project edit acme web-shop --asset Shop\n  \
        hydrophone project edit acme web-shop --branch main --branch 'release/*'"
    )]
    Edit(Edit),
    /// Stop keeping a project in step and remove its findings here.
    #[command(
        after_help = "A webhook of its own, in Sonar, would call an address that answers 404 from then on; with \
        --unregister it is\ntaken away there first.\n\nExample:\n  hydrophone project remove acme web-shop --unregister"
    )]
    Remove {
        /// Which.
        #[command(flatten)]
        name: Name,
        /// Take the project's own webhook away from Sonar first.
        #[arg(long)]
        unregister: bool,
    },
}

/// Names a project.
#[derive(Debug, Args)]
pub struct Name {
    /// Name the organization, as ORG or SOURCE/ORG.
    #[arg(value_name = "ORG")]
    organization: String,
    /// Give the project's key.
    key: String,
}

/// A change to a project.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true)
    .args(["asset", "new_asset", "branches", "main_branch", "pull_requests"]))]
pub struct Edit {
    #[command(flatten)]
    name: Name,
    /// Move it to this asset.
    #[arg(long, value_name = "NAME", conflicts_with = "new_asset")]
    asset: Option<String>,
    /// Move it to a new asset.
    #[arg(long, value_name = "NAME")]
    new_asset: Option<String>,
    /// Keep this branch, or those of a pattern, in place of what was chosen before; may be repeated.
    #[arg(long = "branch", value_name = "NAME", conflicts_with = "main_branch")]
    branches: Vec<String>,
    /// Keep the main branch only.
    #[arg(long)]
    main_branch: bool,
    /// Keep pull requests too, or no new ones any more.
    #[arg(long, value_name = "yes|no", value_parser = super::destination::yes_or_no)]
    pull_requests: Option<bool>,
}

impl Edit {
    fn run(self, session: &mut Session) -> Result<(), Failure> {
        let edit = ProjectEdit {
            asset: self.asset,
            new_asset: self.new_asset,
            branches: Some(self.branches).filter(|branches| self.main_branch || !branches.is_empty()),
            pull_requests: self.pull_requests,
        };
        let answer: Answer<Project> = session.client.patch(&self.name.path(), &edit)?;
        session.show(&answer, print)
    }
}

/// An import.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["projects", "all"]))]
pub struct Import {
    /// Name the organization, as ORG or SOURCE/ORG.
    #[arg(value_name = "ORG")]
    organization: String,
    /// Import the project with this key; may be repeated.
    #[arg(long = "project", value_name = "KEY")]
    projects: Vec<String>,
    /// Import all projects that the token sees.
    #[arg(long)]
    all: bool,
    /// Add them to this asset.
    #[arg(long, value_name = "NAME", conflicts_with = "new_asset")]
    asset: Option<String>,
    /// Add them to a new asset.
    #[arg(long, value_name = "NAME")]
    new_asset: Option<String>,
    /// Keep this branch, or those of a pattern such as `release/*` [default: the main branch].
    #[arg(long = "branch", value_name = "NAME")]
    branches: Vec<String>,
    /// Keep pull requests too.
    #[arg(long)]
    pull_requests: bool,
    /// Tell destinations that the code is at this clone address.
    #[arg(long, value_name = "URL", conflicts_with = "all")]
    repository: Option<String>,
    /// Read Sonar and say what would be created, updated and closed, and what the filter keeps back; import nothing.
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    #[command(flatten)]
    wait: Wait,
}

impl Command {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self {
            Self::List { organization, search } => list(session, &organization, search.as_deref()),
            Self::Import(import) if import.dry_run => import.dry_run(session),
            Self::Import(import) => import.run(session),
            Self::Show(name) => {
                let answer: Answer<Project> = session.client.get(&name.path())?;
                session.show(&answer, print)
            }
            Self::Edit(edit) => edit.run(session),
            Self::Rename { name, to, wait } => rename(session, &name, to, wait),
            Self::Remove { name, unregister } => {
                let segments = ["organizations", &name.organization, "projects", &name.key];
                let path = path_with(&segments, &[("unregister", unregister.then_some("true"))]);
                let answer: Answer<Removal> = session.client.delete(&path)?;
                session.show(&answer, |out, removal| {
                    out.line(format_args!("Removed the project {}.", clean(&name.key)))?;
                    parted(out, removal)
                })
            }
        }
    }
}

impl Name {
    fn path(&self) -> String {
        path(&["organizations", &self.organization, "projects", &self.key])
    }
}

impl Import {
    fn run(self, session: &mut Session) -> Result<(), Failure> {
        let since = now();
        let organization = self.organization.clone();
        let answer: Answer<ProjectList> = session.client.post_long("imports", &self.to_new())?;
        let projects = &answer.value.projects;
        let waits = self.wait.wait && !projects.is_empty();
        if !session.out.json {
            session.out.line(format_args!("Imported {}.", counted(projects.len() as u64, "project")))?;
        }
        if waits {
            wait::until_read(session, projects, since, self.wait)?;
        } else if session.out.json {
            session.out.document(&answer.document)?;
        }
        if session.out.json || projects.is_empty() {
            return Ok(());
        }
        session.out.line(format_args!("Next: hydrophone webhook show {}", clean(&organization)))
    }
}

impl Import {
    fn to_new(&self) -> NewImport {
        NewImport {
            organization: self.organization.clone(),
            projects: self.projects.clone(),
            all: self.all,
            except: Vec::new(),
            asset: self.asset.clone(),
            new_asset: self.new_asset.clone(),
            branches: self.branches.clone(),
            pull_requests: self.pull_requests,
            repository: self.repository.clone(),
        }
    }

    /// One project at a time, so that no call takes too long.
    fn dry_run(self, session: &mut Session) -> Result<(), Failure> {
        let mut keys = self.projects.clone();
        if self.all {
            let path = path(&["organizations", &self.organization, "projects"]);
            let all: Answer<ProjectList> = session.client.get(&path)?;
            keys = all.value.projects.into_iter().map(|project| project.key).collect();
        }
        let mut calls: Vec<NewImport> =
            keys.into_iter().map(|key| NewImport { projects: vec![key], all: false, ..self.to_new() }).collect();
        if calls.is_empty() {
            // The daemon says why there is nothing to import.
            calls.push(self.to_new());
        }
        let mut whole: Option<Value> = None;
        for call in calls {
            let mut answer: Answer<Value> = session.client.post_long("imports/preview", &call)?;
            match &mut whole {
                None => whole = Some(answer.value),
                Some(whole) => {
                    if let (Some(all), Some(more)) =
                        (whole["projects"].as_array_mut(), answer.value["projects"].as_array_mut())
                    {
                        all.append(more);
                    }
                }
            }
        }
        let value = whole.unwrap_or_default();
        let answer = Answer { document: value.to_string(), value };
        session.show(&answer, |out, value| preview::print(out, &shaped(value)?))
    }
}

fn rename(session: &mut Session, name: &Name, to: String, wait: Wait) -> Result<(), Failure> {
    let since = now();
    let path = path(&["organizations", &name.organization, "projects", &name.key, "rename"]);
    let answer: Answer<Project> = session.client.post_long(&path, &NewKey { to })?;
    let project = &answer.value;
    if !session.out.json {
        let (key, to) = (clean(&name.key), clean(&project.key));
        session.out.line(format_args!("Project {key} is {to} now; its findings keep their ids. It is being read."))?;
    } else if !wait.wait {
        session.out.document(&answer.document)?;
    }
    if wait.wait { wait::until_read(session, std::slice::from_ref(project), since, wait) } else { Ok(()) }
}

fn list(session: &mut Session, organization: &str, search: Option<&str>) -> Result<(), Failure> {
    let path = path_with(&["organizations", organization, "projects"], &[("search", search)]);
    let answer: Answer<ProjectList> = session.client.get(&path)?;
    session.show(&answer, |out, list| {
        if list.projects.is_empty() {
            return out.line("No projects. The token may not see any; see: hydrophone source check NAME");
        }
        let mut rows = table(&["project", "name", "imported", "asset", "open", "problem"]);
        for project in &list.projects {
            let open = wait::open_findings(project);
            let problem = project.branches.iter().find_map(|branch| branch.error.as_deref());
            let problem = project.error.as_deref().or(problem);
            rows.add_row([
                cell(&project.key),
                cell(&project.name),
                cell(if project.imported { "yes" } else { "no" }),
                cell_of(project.asset.as_deref()),
                cell(if project.imported { number(open) } else { String::new() }),
                problem.map_or_else(|| cell(""), |problem| out.alarm_cell(problem)),
            ]);
        }
        out.table(rows)?;
        if !list.projects.iter().any(|project| project.imported) {
            let organization = clean(organization);
            out.line(format_args!(
                "None is imported yet. Next: hydrophone project import {organization} --project KEY"
            ))?;
        }
        Ok(())
    })
}

fn print(out: &mut Output, project: &Project) -> Result<(), Failure> {
    let selected = match project.selected_branches.as_slice() {
        [] => "the main branch".to_owned(),
        patterns => patterns.join(", "),
    };
    out.field("Project", &project.key)?;
    out.field("Name", &project.name)?;
    out.field("Source", &project.source)?;
    out.field("Site", project.site.as_deref().unwrap_or_default())?;
    out.field("Organization", &project.organization)?;
    if !project.imported {
        return out.line("It is not imported. See: hydrophone project import --help");
    }
    out.field("Asset", project.asset.as_deref().unwrap_or_default())?;
    out.field("Branches", selected)?;
    out.field("Pull requests", if project.pull_requests { "yes" } else { "no" })?;
    if let Some(repository) = &project.repository {
        out.field("Repository", repository)?;
    }
    if let Some(error) = &project.error {
        out.field("Problem", error)?;
    } else if project.branches.is_empty() {
        out.line("Its branches are not known yet; they are being asked for.")?;
    }
    if project.branches.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let is_filtered = project.branches.iter().any(|branch| branch.passing_total.is_some());
    let mut names = vec!["branch", "gate", "analysed", "read", "in Sonar", "here", "state"];
    if is_filtered {
        names.insert(PASS_COLUMN, "pass");
    }
    let mut rows = table(&names);
    for branch in &project.branches {
        let mut row = row(out, branch).to_vec();
        if is_filtered {
            row.insert(PASS_COLUMN, cell(branch.passing_total.map(number).unwrap_or_default()));
        }
        rows.add_row(row);
    }
    out.table(rows)
}

/// Where it is shown how many pass a filter: beside how many are held.
const PASS_COLUMN: usize = 6;

fn row(out: &Output, branch: &Branch) -> [comfy_table::Cell; 7] {
    let name = match branch.kind.as_str() {
        "pull_request" => format!("{} (pull request)", branch.name),
        _ if branch.main => format!("{} (main)", branch.name),
        _ => branch.name.clone(),
    };
    let synced = branch.synced_at.as_deref().map_or_else(|| "never".to_owned(), |time| minute_ago(time, now()));
    [
        cell(name),
        cell_of(branch.quality_gate.as_deref()),
        cell(branch.analysed_at.as_deref().map(minute).unwrap_or_default()),
        cell(synced),
        cell(branch.sonar_total.map(number).unwrap_or_default()),
        cell(number(branch.stored_total)),
        match &branch.error {
            Some(error) => out.alarm_cell(error),
            None if branch.retired_at.is_some() && branch.activity == "idle" => cell(format!(
                "not listed by SonarQube since {}; its findings are kept",
                minute(branch.retired_at.as_deref().unwrap_or_default())
            )),
            None if branch.activity != "idle" => cell(wait::activity(branch)),
            None if branch.stale => out.alarm_cell("stale"),
            None => cell(if branch.complete { "complete" } else { "incomplete" }),
        },
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::client::tests::FakeDaemon;
    use super::super::tests::told;

    #[test]
    fn an_import_tells_the_next_step() {
        let project = json!({"source": "eu", "organization": "acme", "key": "web", "name": "Web", "imported": true,
                             "asset": "Web", "branches": []});
        let daemon = FakeDaemon::start(move |_, _| (200, json!({"projects": [project]}).to_string()));
        let line = ["project", "import", "eu/acme", "--project", "web", "--branch", "release/*"];
        assert_eq!(told(&daemon, &line).0, "Imported 1 project.\nNext: hydrophone webhook show eu/acme\n");
        let expected = json!({"organization": "eu/acme", "projects": ["web"], "all": false, "except": [],
                              "asset": null, "new_asset": null, "branches": ["release/*"], "pull_requests": false,
                              "repository": null});
        assert_eq!(daemon.asked(), [("POST /api/v1/imports".to_owned(), expected)]);
    }

    #[test]
    fn a_renamed_project_is_told_with_both_keys() {
        let project = json!({"source": "eu", "organization": "acme", "key": "store", "name": "Web", "imported": true,
                             "asset": "Web", "branches": []});
        let daemon = FakeDaemon::start(move |_, _| (202, project.to_string()));
        let text = told(&daemon, &["project", "rename", "acme", "web", "store"]).0;
        assert_eq!(text, "Project web is store now; its findings keep their ids. It is being read.\n");
        let asked = ("POST /api/v1/organizations/acme/projects/web/rename".to_owned(), json!({"to": "store"}));
        assert_eq!(daemon.asked(), [asked]);
    }
}
