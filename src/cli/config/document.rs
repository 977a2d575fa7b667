//! What a box is set up to, as one document: for fleets, and to set a box up again. Secrets stand in it by reference alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::admin::shapes::{DestinationFilter, FilterChoice, MappingEdit, Triage};
use crate::domain::access::Role;
use crate::domain::ids::{AssetName, DestinationName, OrganizationKey, ProjectKey, SourceName, UserName};
use crate::domain::secret::SecretText;
use crate::domain::settings::known;

/// The form of the document that this version writes and reads.
pub(super) const FORMAT: u32 = 1;

/// The whole. A part that is absent is not touched, and neither is what a part does not name.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    /// The form.
    pub(super) hydrophone: u32,
    /// Settings by name; `null` brings a default back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) settings: Option<BTreeMap<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sources: Option<Vec<Source>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) organizations: Option<Vec<Organization>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) assets: Option<Vec<Asset>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) projects: Option<Vec<Project>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) webhooks: Option<Vec<Webhook>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) destinations: Option<Vec<Destination>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) users: Option<Vec<User>>,
}

macro_rules! entry {
    ($name:ident { $($must:ident: $must_type:ty),* ; $($may:ident: $may_type:ty),* }) => {
        #[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            $(pub(super) $must: $must_type,)*
            $(#[serde(default, skip_serializing_if = "Option::is_none")] pub(super) $may: Option<$may_type>,)*
        }
    };
}

entry!(Source {
    name: String, kind: String;
    region: String, url: String, api_url: String, webhook_url: String, proxy: Text, ca: Reference, token: Reference,
    stream: String, plain: bool
});
entry!(Organization { organization: String, filter: FilterChoice; });
entry!(Asset { name: String; description: String, business_impact: String, tags: Vec<String> });
entry!(Project {
    organization: String, key: String;
    asset: String, branches: Vec<String>, pull_requests: bool, repository: String
});
entry!(Webhook { organization: String; project: String, registered: bool });
entry!(Destination {
    name: String, kind: String;
    url: String, options: BTreeMap<String, String>, proxy: Text, ca: Reference, secret: Reference,
    filter: DestinationFilter, assets: BTreeMap<String, String>, triage: Triage, paused: bool, mapping: MappingEdit
});
entry!(User { name: String, role: String; });

/// Where a secret is: it is read by the command line, on the machine where that runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reference {
    /// A variable of the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) env: Option<String>,
    /// A file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<PathBuf>,
    /// A credential of systemd's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) credential: Option<String>,
}

/// A text, or where it is: a proxy's address may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum Text {
    Plain(SecretText),
    At(Reference),
}

/// What cannot be used, and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong(pub(super) String);

impl Wrong {
    fn at(place: &str, problem: &str) -> Self {
        Self(format!("{place}: {problem}"))
    }
}

impl Document {
    /// Reads a document and checks all of it that can be checked without a box.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let document: Self = serde_json::from_str(text).map_err(|error| Wrong(plainly(&error)))?;
        if document.hydrophone != FORMAT {
            let problem = format!("this version knows form {FORMAT}, not {}", document.hydrophone);
            return Err(Wrong::at("hydrophone", &problem));
        }
        document.check()?;
        Ok(document)
    }

    fn check(&self) -> Result<(), Wrong> {
        for (key, value) in self.settings.iter().flatten() {
            let place = format!("settings.{key}");
            let known = known(key).ok_or_else(|| Wrong::at(&place, "there is no such setting; see `config show`"))?;
            if let Some(text) = setting(value).map_err(|problem| Wrong::at(&place, problem))? {
                (known.check)(&text).map_err(|problem| Wrong::at(&place, &format!("it {problem}")))?;
            }
        }
        each(
            "sources",
            self.sources.as_deref(),
            |one| one.name.clone(),
            |one| {
                parsed(SourceName::parse(&one.name))?;
                if !["cloud", "server", "fleet"].contains(&one.kind.as_str()) {
                    return Err(format!("kind: a source is of kind cloud, server or fleet, not {:?}", one.kind));
                }
                if one.kind == "fleet" && one.url.is_none() {
                    return Err("url: a fleet needs the address of its server".to_owned());
                }
                if one.kind == "server" && one.url.is_none() {
                    return Err("url: a Server needs its address".to_owned());
                }
                one.references()
            },
        )?;
        each(
            "organizations",
            self.organizations.as_deref(),
            |one| one.organization.clone(),
            |one| organization(&one.organization),
        )?;
        each("assets", self.assets.as_deref(), |one| one.name.clone(), |one| parsed(AssetName::parse(&one.name)))?;
        each("projects", self.projects.as_deref(), Project::id, |one| {
            organization(&one.organization)?;
            if let Some(asset) = &one.asset {
                parsed(AssetName::parse(asset)).map_err(|problem| format!("asset: {problem}"))?;
            }
            parsed(ProjectKey::parse(&one.key))
        })?;
        each("webhooks", self.webhooks.as_deref(), Webhook::id, |one| organization(&one.organization))?;
        each(
            "destinations",
            self.destinations.as_deref(),
            |one| one.name.clone(),
            |one| {
                parsed(DestinationName::parse(&one.name))?;
                one.references()
            },
        )?;
        each(
            "users",
            self.users.as_deref(),
            |one| one.name.clone(),
            |one| {
                parsed(UserName::parse(&one.name))?;
                parsed(one.role.parse::<Role>()).map_err(|problem| format!("role: {problem}"))
            },
        )
    }
}

/// A setting's value as the API takes it.
pub(super) fn setting(value: &Value) -> Result<Option<String>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Value::Number(number) => Ok(Some(number.to_string())),
        _ => Err("a setting is a text, a number or null"),
    }
}

/// Checks each entry of a part; none may be named twice.
fn each<T>(
    part: &str,
    entries: Option<&[T]>,
    id: impl Fn(&T) -> String,
    check: impl Fn(&T) -> Result<(), String>,
) -> Result<(), Wrong> {
    let mut seen = std::collections::BTreeSet::new();
    for (index, entry) in entries.unwrap_or_default().iter().enumerate() {
        let name = id(entry);
        let place = format!("{part}[{index}] ({name})");
        check(entry).map_err(|problem| Wrong::at(&place, &problem))?;
        if !seen.insert(name) {
            return Err(Wrong::at(&place, "it is named twice"));
        }
    }
    Ok(())
}

fn parsed<T, E: ToString>(result: Result<T, E>) -> Result<(), String> {
    result.map(drop).map_err(|error| error.to_string())
}

fn organization(text: &str) -> Result<(), String> {
    let (source, key) = text.split_once('/').ok_or("organization: it is written SOURCE/ORGANIZATION")?;
    parsed(SourceName::parse(source))?;
    parsed(OrganizationKey::parse(key))
}

/// serde's own words, which name the field and its line.
fn plainly(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    // What stands in the place of a reference may be the secret itself.
    if let (Some(begin), Some(end)) = (text.find("invalid type: string \""), text.rfind("\", expected ")) {
        text.replace_range(begin..=end, "invalid type: a text");
    }
    text.replace("did not match any variant of untagged enum Text", "neither a text nor a reference to one")
}

impl Source {
    fn references(&self) -> Result<(), String> {
        references([("token", self.token.as_ref()), ("ca", self.ca.as_ref()), ("proxy", at(self.proxy.as_ref()))])
    }
}

impl Destination {
    fn references(&self) -> Result<(), String> {
        references([("secret", self.secret.as_ref()), ("ca", self.ca.as_ref()), ("proxy", at(self.proxy.as_ref()))])
    }
}

impl Project {
    pub(super) fn id(&self) -> String {
        format!("{}/{}", self.organization, self.key)
    }
}

impl Webhook {
    pub(super) fn id(&self) -> String {
        match &self.project {
            Some(project) => format!("{}/{project}", self.organization),
            None => self.organization.clone(),
        }
    }
}

fn at(text: Option<&Text>) -> Option<&Reference> {
    match text {
        Some(Text::At(reference)) => Some(reference),
        _ => None,
    }
}

fn references<const N: usize>(of: [(&str, Option<&Reference>); N]) -> Result<(), String> {
    for (name, reference) in of.into_iter().filter_map(|(name, reference)| Some((name, reference?))) {
        let ways = [reference.env.is_some(), reference.file.is_some(), reference.credential.is_some()];
        if ways.iter().filter(|way| **way).count() != 1 {
            return Err(format!("{name}: it is one of {{\"env\": …}}, {{\"file\": …}}, {{\"credential\": …}}"));
        }
        let odd = |name: &String| name.is_empty() || name.contains('/') || name.starts_with('.');
        if reference.credential.as_ref().is_some_and(odd) {
            return Err(format!("{name}: a credential has a plain name"));
        }
    }
    Ok(())
}

impl Reference {
    /// One by a variable of this name.
    pub(super) fn env(name: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        Self { env: Some(name.chars().map(plain).collect()), ..Self::default() }
    }

    /// The text itself, without a newline at its end. Says what is the matter, and never what was read.
    pub(super) fn resolve(&self) -> Result<Zeroizing<String>, String> {
        let text = if let Some(name) = &self.env {
            let set = std::env::var(name).map_err(|_| format!("the variable {name} is not set"))?;
            Zeroizing::new(set)
        } else if let Some(file) = &self.file {
            read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?
        } else {
            let name = self.credential.as_deref().unwrap_or_default();
            let given = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
            let folders = given.into_iter().chain(CREDENTIALS.iter().map(PathBuf::from));
            let found = folders.map(|folder| folder.join(name)).find(|path| path.exists());
            let path = found
                .ok_or_else(|| format!("no credential {name} in $CREDENTIALS_DIRECTORY, {}", CREDENTIALS.join(", ")))?;
            read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?
        };
        let text = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
        if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(text) }
    }
}

fn read(path: &Path) -> std::io::Result<Zeroizing<String>> {
    fs::read_to_string(path).map(Zeroizing::new)
}

/// Where systemd keeps credentials that are not encrypted.
const CREDENTIALS: [&str; 2] = ["/etc/credstore", "/run/credstore"];

/// An entry's members, but for those that are absent.
pub(super) fn members(entry: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(entry) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}
