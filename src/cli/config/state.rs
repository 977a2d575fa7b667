//! What a box is set up to now, read from its API.

use serde_json::json;

use super::super::client::{Answer, Client, Failure, path};
use super::document::{
    Asset, Destination, Document, FORMAT, Organization, Project, Reference, Source, Text, User, Webhook,
};
use crate::admin::shapes::{
    self, AssetList, DestinationList, DestinationMapping, MappingEdit, OrganizationList, ProjectList, SettingList,
    SourceList, UserList, WebhookList,
};

/// Reads all of it.
pub(super) fn read(client: &Client) -> Result<Document, Failure> {
    let settings: Answer<SettingList> = client.get("config")?;
    let own = settings.value.settings.into_iter().filter(|one| one.value.is_some() && one.value != one.default);
    let sources: Answer<SourceList> = client.get("sources")?;
    let organizations: Answer<OrganizationList> = client.get("organizations")?;
    let filtered = organizations.value.organizations.into_iter().filter(|one| !one.filter.is_all());
    let assets: Answer<AssetList> = client.get("assets")?;
    let projects: Answer<ProjectList> = client.get("projects")?;
    // What other sites' boxes tell is not set up here.
    let own_projects = projects.value.projects.into_iter().filter(|one| one.site.is_none());
    let is_own = |one: &shapes::Source| one.site.is_none();
    let webhooks: Answer<WebhookList> = client.get("webhooks")?;
    let destinations: Answer<DestinationList> = client.get("destinations")?;
    let users: Answer<UserList> = client.get("users")?;
    let mut document = Document {
        hydrophone: FORMAT,
        settings: Some(own.map(|one| (one.key, json!(one.value))).collect()),
        sources: Some(sources.value.sources.into_iter().filter(is_own).map(source).collect()),
        organizations: Some(
            filtered
                .map(|one| Organization { organization: format!("{}/{}", one.source, one.key), filter: one.filter })
                .collect(),
        ),
        assets: Some(assets.value.assets.into_iter().map(asset).collect()),
        projects: Some(own_projects.map(project).collect()),
        webhooks: Some(
            webhooks
                .value
                .webhooks
                .into_iter()
                .map(|one| Webhook {
                    organization: format!("{}/{}", one.source, one.organization),
                    project: one.project,
                    registered: Some(one.registered),
                })
                .collect(),
        ),
        destinations: None,
        users: Some(users.value.users.into_iter().map(|one| User { name: one.name, role: one.role }).collect()),
    };
    let mut all = Vec::new();
    for one in destinations.value.destinations {
        let mapping: Answer<DestinationMapping> = client.get(&path(&["destinations", &one.name, "mapping"]))?;
        all.push(destination(one, mapping.value));
    }
    document.destinations = Some(all);
    document.sort();
    Ok(document)
}

impl Document {
    /// By name, so that two boxes that are set up alike have the same document.
    fn sort(&mut self) {
        self.sources.as_mut().into_iter().for_each(|all| all.sort_by(|one, other| one.name.cmp(&other.name)));
        self.organizations
            .as_mut()
            .into_iter()
            .for_each(|all| all.sort_by(|one, other| one.organization.cmp(&other.organization)));
        self.assets.as_mut().into_iter().for_each(|all| all.sort_by(|one, other| one.name.cmp(&other.name)));
        self.projects.as_mut().into_iter().for_each(|all| all.sort_by_key(Project::id));
        self.webhooks.as_mut().into_iter().for_each(|all| all.sort_by_key(Webhook::id));
        self.destinations.as_mut().into_iter().for_each(|all| all.sort_by(|one, other| one.name.cmp(&other.name)));
        self.users.as_mut().into_iter().for_each(|all| all.sort_by(|one, other| one.name.cmp(&other.name)));
    }
}

fn source(one: shapes::Source) -> Source {
    let of = format!("HYDROPHONE_SOURCE_{}", one.name);
    Source {
        ca: one.own_ca.then(|| ca(&one.name)),
        token: Some(Reference::env(&format!("{of}_TOKEN"))),
        proxy: one.proxy.map(|proxy| self::proxy(proxy, &of)),
        name: one.name,
        kind: one.kind,
        region: None,
        url: Some(one.url),
        api_url: one.api_url,
        webhook_url: one.webhook_url,
        stream: one.stream,
        plain: one.plain.then_some(true),
    }
}

/// The API tells no password of a proxy.
fn proxy(shown: String, of: &str) -> Text {
    if shown.contains("***@") { Text::At(Reference::env(&format!("{of}_PROXY"))) } else { Text::Plain(shown.into()) }
}

fn ca(name: &str) -> Reference {
    Reference { file: Some(format!("/etc/hydrophone/{name}-ca.pem").into()), ..Reference::default() }
}

fn asset(one: shapes::Asset) -> Asset {
    Asset {
        name: one.name,
        description: one.description,
        business_impact: one.business_impact,
        tags: Some(one.tags).filter(|tags| !tags.is_empty()),
    }
}

fn project(one: shapes::Project) -> Project {
    Project {
        organization: format!("{}/{}", one.source, one.organization),
        key: one.key,
        asset: one.asset,
        branches: Some(one.selected_branches).filter(|branches| !branches.is_empty()),
        pull_requests: one.pull_requests.then_some(true),
        repository: one.repository,
    }
}

fn destination(one: shapes::Destination, mapping: DestinationMapping) -> Destination {
    let of = format!("HYDROPHONE_DESTINATION_{}", one.name);
    let outward = mapping.outward.into_iter().filter(|row| row.own);
    let inward = mapping.inward.into_iter().filter(|row| row.own);
    let mapping = MappingEdit {
        outward: outward.filter_map(|row| Some((row.state, row.word?))).collect(),
        inward: inward.map(|row| (row.word, row.state)).collect(),
    };
    Destination {
        secret: one.has_secret.then(|| Reference::env(&format!("{of}_SECRET"))),
        ca: one.own_ca.then(|| ca(&one.name)),
        proxy: one.proxy.map(|proxy| self::proxy(proxy, &of)),
        name: one.name,
        kind: one.kind,
        url: Some(one.url),
        options: Some(one.options).filter(|options| !options.is_empty()),
        filter: Some(one.filter).filter(|filter| *filter != shapes::DestinationFilter::default()),
        assets: Some(one.assets).filter(|assets| !assets.is_empty()),
        triage: Some(one.triage).filter(|triage| *triage != shapes::Triage::default()),
        paused: (one.state == "paused").then_some(true),
        mapping: Some(mapping).filter(|mapping| *mapping != MappingEdit::default()),
    }
}
