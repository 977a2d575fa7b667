//! `asset`: what the security team manages, each with one or more projects.

use clap::{ArgGroup, Args, Subcommand};
use serde::de::IgnoredAny;

use super::Session;
use super::client::{Answer, Failure, path};
use super::table::{Output, cell, cell_of, clean, counted, number, severities, shortened, table};
use crate::admin::shapes::{Asset, AssetEdit, AssetList};

/// What can be done with assets.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the assets with their open findings.
    List,
    /// Add an asset without projects.
    #[command(
        after_help = "Example:\n  hydrophone asset add Shop --description \"Everything behind shop.example.com\""
    )]
    Add(Add),
    /// Show an asset and its projects.
    Show {
        /// Name the asset.
        name: String,
    },
    /// Change an asset's name, description, business impact or tags.
    Edit(Edit),
    /// Remove an asset.
    Remove {
        /// Name the asset.
        name: String,
    },
}

/// A new asset.
#[derive(Debug, Args)]
pub struct Add {
    /// Name the asset.
    name: String,
    /// Say what it is.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Say what it would mean if something happened to it.
    #[arg(long, value_name = "low|medium|high", value_parser = ["low", "medium", "high"])]
    impact: Option<String>,
    /// Give it this tag; may be repeated.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

/// A change to an asset.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true).args(["new_name", "description", "impact", "tags", "no_tags"]))]
pub struct Edit {
    /// Name the asset.
    name: String,
    /// Give it this name.
    #[arg(long = "name", value_name = "NEW")]
    new_name: Option<String>,
    /// Give it this description.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Say what it would mean if something happened to it; an empty word takes it away.
    #[arg(long, value_name = "low|medium|high", value_parser = ["low", "medium", "high", ""])]
    impact: Option<String>,
    /// Give it this tag in place of those that it has; may be repeated.
    #[arg(long = "tag", value_name = "TAG", conflicts_with = "no_tags")]
    tags: Vec<String>,
    /// Take all its tags away.
    #[arg(long)]
    no_tags: bool,
}

impl Command {
    /// Does it.
    pub fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self {
            Self::List => list(session),
            Self::Add(Add { name, description, impact, tags }) => {
                let tags = Some(tags).filter(|tags| !tags.is_empty());
                let edit = AssetEdit { name: Some(name.clone()), description, business_impact: impact, tags };
                let answer: Answer<IgnoredAny> = session.client.post("assets", &edit)?;
                session.show(&answer, |out, _| {
                    out.line(format_args!("Added the asset {}.", clean(&name)))?;
                    out.line("Next: hydrophone project import ORG --project KEY --asset NAME")
                })
            }
            Self::Show { name } => show(session, &name),
            Self::Edit(Edit { name, new_name, description, impact, tags, no_tags }) => {
                let tags = Some(tags).filter(|tags| no_tags || !tags.is_empty());
                let edit = AssetEdit { name: new_name, description, business_impact: impact, tags };
                let answer: Answer<IgnoredAny> = session.client.patch(&path(&["assets", &name]), &edit)?;
                session.show(&answer, |out, _| out.line(format_args!("Changed the asset {}.", clean(&name))))
            }
            Self::Remove { name } => {
                let answer: Answer<IgnoredAny> = session.client.delete(&path(&["assets", &name]))?;
                session.show(&answer, |out, _| out.line(format_args!("Removed the asset {}.", clean(&name))))
            }
        }
    }
}

fn list(session: &mut Session) -> Result<(), Failure> {
    let answer: Answer<AssetList> = session.client.get("assets")?;
    session.show(&answer, |out, list| {
        if list.assets.is_empty() {
            return out.line("No assets yet. Importing projects makes them: hydrophone project import --help");
        }
        let mut rows = table(&["asset", "projects", "open findings", "description"]);
        for asset in &list.assets {
            let projects = number(asset.projects.len() as u64);
            let description = shortened(asset.description.as_deref().unwrap_or_default(), DESCRIPTION_MAX);
            rows.add_row([cell(&asset.name), cell(projects), cell(severities(&asset.open)), cell(description)]);
        }
        out.table(rows)
    })
}

fn show(session: &mut Session, name: &str) -> Result<(), Failure> {
    let answer: Answer<Asset> = session.client.get(&path(&["assets", name]))?;
    session.show(&answer, print)
}

fn print(out: &mut Output, asset: &Asset) -> Result<(), Failure> {
    out.field("Asset", &asset.name)?;
    out.field("Description", asset.description.as_deref().unwrap_or_default())?;
    out.field("Business impact", asset.business_impact.as_deref().unwrap_or_default())?;
    out.field("Tags", asset.tags.join(", "))?;
    out.field("Open findings", severities(&asset.open))?;
    out.field("Projects", counted(asset.projects.len() as u64, "project"))?;
    if asset.projects.is_empty() {
        return out.line("Add some: hydrophone project import ORG --project KEY --asset NAME");
    }
    let of_sites = asset.projects.iter().any(|project| project.site.is_some());
    let mut rows =
        table(["site", "source", "organization", "project", "name"].get(usize::from(!of_sites)..).unwrap_or_default());
    for project in &asset.projects {
        let name = cell_of(Some(&project.name));
        let row = [cell(&project.source), cell(&project.organization), cell(&project.key), name];
        let site = of_sites.then(|| cell_of(project.site.as_deref()));
        rows.add_row(site.into_iter().chain(row));
    }
    out.line("")?;
    out.table(rows)
}

/// Characters of a description in a list.
const DESCRIPTION_MAX: usize = 60;
