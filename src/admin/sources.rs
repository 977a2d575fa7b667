//! Sources: connecting, checking, and what their tokens see.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::answers::{Query, Sent};
use super::guard::remark;
use super::webhooks::register::{Unregister, part};
use super::{Admin, Problem, Shared, fleet, shapes, views};
use crate::domain::ids::SourceName;
use crate::domain::settings::check_url;
use crate::sonar::FetchError;
use crate::sonar::client::{BadConnection, Client, Token};
use crate::sonar::dialect::Mode;
use crate::store::records::{Organization, SecretBytes, Source};
use crate::store::{self, Reader, StoreError, View, catalogue};
use crate::sys::clock;
use crate::work::sources::connection;

/// `GET /sources`.
pub(super) async fn list(State(admin): Shared) -> Result<Json<shapes::SourceList>, Problem> {
    let sources = admin
        .read(|admin, view| {
            let mut counts: BTreeMap<SourceName, u64> = BTreeMap::new();
            for (_, project) in catalogue::projects(view)? {
                *counts.entry(project.organization.source).or_default() += 1;
            }
            let mut shown = fleet::list(admin, view)?;
            let count = |name: &SourceName| counts.get(name).copied().unwrap_or_default();
            shown.extend(catalogue::sources(view)?.iter().map(|source| views::source(source, count(&source.name))));
            Ok(shown)
        })
        .await?;
    Ok(Json(shapes::SourceList { sources }))
}

fn project_count(view: &impl View, source: &SourceName) -> Result<u64, StoreError> {
    Ok(catalogue::projects(view)?.iter().filter(|(_, project)| project.organization.source == *source).count() as u64)
}

/// `POST /sources`: nothing is stored unless Sonar accepts the token.
pub(super) async fn add(
    State(admin): Shared,
    Sent(new): Sent<shapes::NewSource>,
) -> Result<(StatusCode, Json<shapes::SourceCheck>), Problem> {
    remark(&new.name);
    let check = admin
        .ask(move |admin| {
            if new.kind == fleet::FLEET {
                let name = SourceName::given(&new.name).map_err(|error| Problem::from(error).at("name"))?;
                return fleet::add(admin, &new, name);
            }
            let (source, token) = described(&new)?;
            if admin.store.read::<_, Problem>(|view| Ok(catalogue::source(view, &source.name)?))?.is_some() {
                return Err(taken(&source.name));
            }
            let source = ask(admin, source, &token)?;
            let secret = SecretBytes::trimmed(&new.token);
            let stored = source.clone();
            admin.store.write(move |batch| match catalogue::source(batch, &stored.name)? {
                Some(_) => Err(taken(&stored.name)),
                None if store::fleet::fleet(batch, &stored.name)?.is_some() => Err(taken(&stored.name)),
                None => Ok(catalogue::put_source(batch, &stored, Some(&secret))?),
            })?;
            admin.work.sources.forget(&source.name);
            Ok(shapes::SourceCheck { organizations: views::organizations(&source), source: views::source(&source, 0) })
        })
        .await?;
    Ok((StatusCode::CREATED, Json(check)))
}

pub(super) fn taken(name: &SourceName) -> Problem {
    Problem::conflict(format!("there is a source {name} already"))
        .remedy(format!(
            "give this one another name, or change that one's token: hydrophone source token {name} --token-file FILE"
        ))
        .at("name")
}

/// The source that a request describes.
fn described(new: &shapes::NewSource) -> Result<(Source, Token), Problem> {
    let name = SourceName::given(&new.name).map_err(|error| Problem::from(error).at("name"))?;
    let token = Token::parse(&new.token).map_err(|error| Problem::bad(error.to_string()).at("token"))?;
    let (cloud, url, api_url) = match (new.kind.as_str(), new.region.as_deref()) {
        ("cloud", None | Some("eu")) => (true, "https://sonarcloud.io", Some("https://api.sonarcloud.io")),
        ("cloud", Some("us")) => (true, "https://sonarqube.us", Some("https://api.sonarqube.us")),
        ("cloud", Some(other)) => return Err(Problem::bad(format!("there is no region {other:?}; it is eu or us"))),
        ("server", None) => (false, "", None),
        ("server", Some(_)) => return Err(Problem::bad("a Server has no region")),
        (other, _) => return Err(Problem::bad(format!("a source is of kind cloud, server or fleet, not {other:?}"))),
    };
    let url = new.url.clone().unwrap_or_else(|| url.to_owned());
    if url.is_empty() {
        return Err(Problem::bad("a Server needs its address").at("url"));
    }
    // Somebody may have put a password into it, which belongs into no message.
    let shown = if url.contains('@') { "…" } else { url.as_str() };
    check_url(&url).map_err(|problem| Problem::bad(format!("the address {shown:?} {problem}")).at("url"))?;
    if let Some(webhook_url) = &new.webhook_url {
        check_url(webhook_url)
            .map_err(|problem| Problem::bad(format!("the webhook address {problem}")).at("webhook_url"))?;
    }
    let source = Source {
        name,
        cloud,
        url,
        api_url: new.api_url.clone().or_else(|| api_url.map(str::to_owned)).filter(|_| cloud),
        ca_pem: new.ca_pem.clone(),
        proxy: new.proxy.clone(),
        webhook_url: new.webhook_url.clone(),
        version: None,
        standard_mode: false,
        checked_at: None,
        token_expires_at: None,
        error: None,
        organizations: Vec::new(),
        unsorted: false,
        filters: BTreeMap::new(),
        at: None,
    };
    Ok((source, token))
}

/// Asks Sonar what token and version are worth, and which organizations the token sees.
fn ask(admin: &Admin, source: Source, token: &Token) -> Result<Source, Problem> {
    let client = Client::new(connection(&source, token.clone()), admin.work.sources.trust()).map_err(|error| {
        let field = match &error {
            BadConnection::Url { .. } => "url",
            BadConnection::Authorities(_) => "ca_pem",
            BadConnection::Proxy { .. } => "proxy",
        };
        Problem::bad(error.to_string()).at(field)
    })?;
    let checked = client.validate().map_err(|error| {
        let field = match &error {
            FetchError::Refused { .. } | FetchError::NoPermission { .. } => "token",
            FetchError::Untrusted { .. } => "ca_pem",
            _ => "url",
        };
        Problem::from(error).at(field)
    })?;
    if !checked.valid {
        return Err(Problem::bad(format!(
            "{} does not accept this token: it is wrong, revoked or expired",
            source.url
        ))
        .at("token")
        .remedy("make a new one in Sonar (My Account, Security) and put it into the file"));
    }
    let (dialect, version) = client.dialect()?;
    let organizations = client.organizations()?;
    Ok(Source {
        version,
        standard_mode: dialect.mode() == Some(Mode::Standard),
        checked_at: Some(clock::now()),
        token_expires_at: checked.expires_at,
        error: None,
        organizations: organizations
            .into_iter()
            .map(|organization| Organization { key: organization.key, name: organization.name })
            .collect(),
        ..source
    })
}

/// Asks with a stored source.
fn ask_stored(admin: &Admin, name: &SourceName, token: &Token) -> Result<Source, Problem> {
    let known = admin
        .store
        .read::<_, Problem>(|view| Ok(catalogue::source(view, name)?))?
        .ok_or_else(|| views::no_source(name))?;
    ask(admin, known, token)
}

/// Stores what a check found out, with the token it was made with where that is new. The source may have been
/// changed or removed while Sonar was asked: only the check's own findings are written.
fn store_check(admin: &Admin, checked: Source, token: Option<SecretBytes>) -> Result<Source, Problem> {
    let name = checked.name.clone();
    let source = admin.store.write::<_, Problem>(move |batch| {
        let known = catalogue::source(batch, &checked.name)?.ok_or_else(|| views::no_source(&checked.name))?;
        let source = Source {
            version: checked.version,
            standard_mode: checked.standard_mode,
            checked_at: checked.checked_at,
            token_expires_at: checked.token_expires_at,
            error: None,
            organizations: checked.organizations,
            // A newer version may sort: the next read tries it.
            unsorted: false,
            ..known
        };
        catalogue::put_source(batch, &source, token.as_ref())?;
        Ok(source)
    })?;
    admin.work.sources.forget(&name);
    Ok(source)
}

fn checked(admin: &Admin, source: &Source) -> Result<shapes::SourceCheck, Problem> {
    let projects = admin.store.read::<_, Problem>(|view| Ok(project_count(view, &source.name)?))?;
    Ok(shapes::SourceCheck { organizations: views::organizations(source), source: views::source(source, projects) })
}

/// `POST /sources/{name}/check`.
pub(super) async fn check(
    State(admin): Shared,
    Path(name): Path<String>,
) -> Result<Json<shapes::SourceCheck>, Problem> {
    let check = admin
        .ask(move |admin| {
            let name = SourceName::parse(&name)?;
            if let Some(fleet) = fleet::named(admin, &name)? {
                return fleet::check(admin, &fleet);
            }
            own(admin, &name)?;
            let token = admin
                .store
                .read::<_, Problem>(|view| Ok(catalogue::token(view, &name)?))?
                .ok_or_else(|| views::no_source(&name))?;
            let token = Token::parse(token.as_text()).map_err(|error| Problem::conflict(error.to_string()))?;
            let source = ask_stored(admin, &name, &token)?;
            let source = store_check(admin, source, None)?;
            // It has just answered, so whatever pause it asked for is over.
            admin.work.resume(&name);
            checked(admin, &source)
        })
        .await?;
    Ok(Json(check))
}

/// `PUT /sources/{name}/token`: the former token stays in force unless Sonar accepts the new one.
pub(super) async fn token(
    State(admin): Shared,
    Path(name): Path<String>,
    Sent(new): Sent<shapes::NewToken>,
) -> Result<Json<shapes::SourceCheck>, Problem> {
    let check = admin
        .ask(move |admin| {
            let name = SourceName::parse(&name)?;
            if let Some(fleet) = fleet::named(admin, &name)? {
                return fleet::renew(admin, &fleet, &new.token);
            }
            own(admin, &name)?;
            let token = Token::parse(&new.token).map_err(|error| Problem::bad(error.to_string()))?;
            let source = ask_stored(admin, &name, &token)?;
            let secret = SecretBytes::trimmed(&new.token);
            let source = store_check(admin, source, Some(secret))?;
            admin.work.resume(&name);
            admin.work.retry_source(&name)?;
            checked(admin, &source)
        })
        .await?;
    Ok(Json(check))
}

/// `DELETE /sources/{name}`.
pub(super) async fn remove(
    State(admin): Shared,
    Path(name): Path<String>,
    Query(asked): Query<Unregister>,
) -> Result<Json<shapes::Removal>, Problem> {
    let removal = admin
        .ask(move |admin| {
            let name = SourceName::parse(&name)?;
            if let Some(fleet) = fleet::named(admin, &name)? {
                fleet::remove(admin, &fleet)?;
                return Ok(shapes::Removal::default());
            }
            own(admin, &name)?;
            let refuse = |view: &Reader| -> Result<(), Problem> {
                catalogue::source(view, &name)?.ok_or_else(|| views::no_source(&name))?;
                in_use(&name, project_count(view, &name)?)
            };
            // Before Sonar is asked: what is refused here changes nothing there.
            admin.store.read(refuse)?;
            let removal = part(admin, asked, |hook| hook.organization.source == name)?;
            let gone = name.clone();
            admin.store.delete::<_, Problem>(move |batch| {
                catalogue::source(batch, &gone)?.ok_or_else(|| views::no_source(&gone))?;
                in_use(&gone, project_count(batch, &gone)?)?;
                Ok(catalogue::remove_source(batch, &gone)?)
            })?;
            admin.work.sources.forget(&name);
            admin.directory.reload(&admin.store)?;
            Ok(removal)
        })
        .await?;
    Ok(Json(removal))
}

/// Refuses what another site's box reads.
fn own(admin: &Admin, name: &SourceName) -> Result<(), Problem> {
    let source = admin.store.read::<_, Problem>(|view| Ok(catalogue::source(view, name)?))?;
    let Some(at) = source.and_then(|source| source.at) else { return Ok(()) };
    Err(Problem::elsewhere(name, &at.site)
        .remedy(format!("do it there; `hydrophone source remove {}` leaves the whole fleet", at.fleet)))
}

fn in_use(name: &SourceName, projects: u64) -> Result<(), Problem> {
    if projects == 0 {
        return Ok(());
    }
    Err(Problem::conflict(format!("projects are imported from {name} ({projects})")).remedy(
        "remove them first: `hydrophone project list ORG`, `hydrophone project remove ORG KEY`; nothing is closed on a platform",
    ))
}

#[derive(Default, Deserialize, IntoParams)]
pub(super) struct OfSource {
    /// Only those of this source.
    source: Option<String>,
}

impl OfSource {
    /// Those of this source.
    pub(super) fn named(source: &str) -> Self {
        Self { source: Some(source.to_owned()) }
    }
}

/// `GET /organizations`.
pub(super) async fn organizations(
    State(admin): Shared,
    Query(of): Query<OfSource>,
) -> Result<Json<shapes::OrganizationList>, Problem> {
    let organizations = admin
        .read(move |_, view| {
            let wanted = of.source.as_deref().map(SourceName::parse).transpose()?;
            let sources = views::sources(view)?;
            if let Some(wanted) = &wanted
                && !sources.iter().any(|source| source.name == *wanted)
            {
                return Err(views::no_source(wanted));
            }
            let shown = sources.iter().filter(|source| wanted.as_ref().is_none_or(|wanted| source.name == *wanted));
            Ok(shown.flat_map(views::organizations).collect())
        })
        .await?;
    Ok(Json(shapes::OrganizationList { organizations }))
}
