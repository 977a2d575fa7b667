//! What has to be done so that a box is as a document says: the steps in their order, each a call of the API, and what a
//! person is told of it. Nothing is done here.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::client::{path, path_with};
use super::document::{Document, Reference, Text, members, setting};
use crate::domain::masking::{has_login, without_password};
use crate::domain::settings::known;

/// A call of the API.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Call {
    Get(String),
    Post(String, Value),
    Put(String, Value),
    Patch(String, Value),
    Delete(String),
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    /// `add`, `change`, `remove`.
    pub(super) action: &'static str,
    /// `setting`, `source`, …
    pub(super) kind: &'static str,
    pub(super) name: String,
    /// What changes, line by line; of what is added or removed nothing but its name.
    pub(super) lines: Vec<String>,
    pub(super) call: Call,
}

/// How far a document goes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct How {
    /// What the document's parts do not name is removed.
    pub(super) prune: bool,
    /// Secrets of what exists are set, too.
    pub(super) secrets: bool,
}

/// The steps from one state to the other.
pub(super) fn plan(now: &Document, wanted: &Document, how: How) -> Result<Vec<Step>, String> {
    let mut plan = Plan { how, steps: Vec::new(), removals: Vec::new() };
    plan.settings(now, wanted);
    plan.sources(now, wanted)?;
    plan.organizations(now, wanted);
    plan.assets(now, wanted);
    plan.projects(now, wanted);
    plan.webhooks(now, wanted);
    plan.destinations(now, wanted)?;
    plan.users(now, wanted);
    // What depends on others goes before them.
    plan.steps.extend(plan.removals.into_iter().rev());
    Ok(plan.steps)
}

struct Plan {
    how: How,
    steps: Vec<Step>,
    removals: Vec<Step>,
}

impl Plan {
    fn step(&mut self, action: &'static str, kind: &'static str, name: &str, lines: Vec<String>, call: Call) {
        self.steps.push(Step { action, kind, name: name.to_owned(), lines, call });
    }

    fn remove(&mut self, kind: &'static str, name: &str, call: Call) {
        let name = name.to_owned();
        self.removals.push(Step { action: "remove", kind, name, lines: Vec::new(), call });
    }

    fn settings(&mut self, now: &Document, wanted: &Document) {
        let Some(wanted) = &wanted.settings else { return };
        let empty = BTreeMap::new();
        let now = now.settings.as_ref().unwrap_or(&empty);
        let own = |key: &str| now.get(key).and_then(|value| setting(value).ok().flatten());
        for (key, value) in wanted {
            let value = setting(value).ok().flatten();
            let default = known(key).and_then(|known| known.default).map(str::to_owned);
            let (former, new) = (own(key).or_else(|| default.clone()), value.clone().or(default));
            if former != new {
                let lines = vec![format!("{} → {}", shown(&json!(former)), shown(&json!(new)))];
                let call = Call::Put(path(&["config", key]), json!({ "value": value }));
                self.step("change", "setting", key, lines, call);
            }
        }
        if self.how.prune {
            for key in now.keys().filter(|key| !wanted.contains_key(*key)) {
                self.remove("setting", key, Call::Put(path(&["config", key]), json!({ "value": null })));
            }
        }
    }

    fn sources(&mut self, now: &Document, wanted: &Document) -> Result<(), String> {
        let known = named(now.sources.as_deref(), |one| one.name.clone());
        let Some(wanted) = &wanted.sources else { return Ok(()) };
        for source in wanted {
            let place = format!("sources ({})", source.name);
            let Some(former) = known.get(&source.name) else {
                let mut body = without(&members(source), &["ca", "token", "proxy"]);
                let token = source.token.as_ref().ok_or_else(|| format!("{place}: a new source needs a token"))?;
                body.insert("token".to_owned(), resolved(token, &place, "token")?);
                optional(&mut body, "ca_pem", source.ca.as_ref(), &place)?;
                proxied(&mut body, source.proxy.as_ref(), &place)?;
                self.step(
                    "add",
                    "source",
                    &source.name,
                    Vec::new(),
                    Call::Post("sources".to_owned(), Value::Object(body)),
                );
                continue;
            };
            let lines = differences(&members(*former), &members(source), &["region"]);
            if !lines.is_empty() {
                return Err(format!(
                    "{place}: a source's address cannot be changed, as its findings belong to it ({}); remove the source first, \
                     or give this one another name",
                    lines.join("; ")
                ));
            }
            if let Some(token) = source.token.as_ref().filter(|_| self.how.secrets) {
                let body = json!({ "token": resolved(token, &place, "token")? });
                let call = Call::Put(path(&["sources", &source.name, "token"]), body);
                self.step("change", "source", &source.name, vec!["token".to_owned()], call);
            }
        }
        if self.how.prune {
            for name in known.keys().filter(|name| !wanted.iter().any(|one| one.name == **name)) {
                self.remove("source", name, Call::Delete(path(&["sources", name])));
            }
        }
        Ok(())
    }

    fn organizations(&mut self, now: &Document, wanted: &Document) {
        let known = named(now.organizations.as_deref(), |one| one.organization.clone());
        let Some(wanted) = &wanted.organizations else { return };
        let filter = |name: &str, value: Value| Call::Put(path(&["organizations", name, "filter"]), value);
        for one in wanted {
            let former = known.get(&one.organization).map(|former| members(*former)).unwrap_or_default();
            let none = members(&json!({ "filter": { "severities": [], "kinds": [] } }));
            let lines = differences(if former.is_empty() { &none } else { &former }, &members(one), &["organization"]);
            if !lines.is_empty() {
                self.step("change", "filter", &one.organization, lines, filter(&one.organization, json!(one.filter)));
            }
        }
        if self.how.prune {
            for name in known.keys().filter(|name| !wanted.iter().any(|one| one.organization == **name)) {
                self.remove("filter", name, filter(name, json!({})));
            }
        }
    }

    fn assets(&mut self, now: &Document, wanted: &Document) {
        let known = named(now.assets.as_deref(), |one| one.name.clone());
        let named_here = wanted.assets.as_deref().unwrap_or_default();
        for asset in named_here {
            match known.get(&asset.name) {
                None => {
                    let body = Value::Object(members(asset));
                    self.step("add", "asset", &asset.name, Vec::new(), Call::Post("assets".to_owned(), body));
                }
                Some(former) => {
                    let body = members(asset);
                    let lines = differences(&members(*former), &body, &["name"]);
                    if !lines.is_empty() {
                        let call =
                            Call::Patch(path(&["assets", &asset.name]), Value::Object(without(&body, &["name"])));
                        self.step("change", "asset", &asset.name, lines, call);
                    }
                }
            }
        }
        // Projects may name assets that nobody describes.
        let projects = wanted.projects.as_deref().unwrap_or_default();
        let mut made: Vec<&String> = projects.iter().filter_map(|one| one.asset.as_ref()).collect();
        made.sort();
        made.dedup();
        for name in made
            .into_iter()
            .filter(|name| !known.contains_key(*name) && !named_here.iter().any(|one| one.name == **name))
        {
            self.step("add", "asset", name, Vec::new(), Call::Post("assets".to_owned(), json!({ "name": name })));
        }
        if self.how.prune && wanted.assets.is_some() {
            let is_used = |name: &String| projects.iter().any(|one| one.asset.as_ref() == Some(name));
            for name in known.keys().filter(|name| !named_here.iter().any(|one| one.name == **name) && !is_used(name)) {
                self.remove("asset", name, Call::Delete(path(&["assets", name])));
            }
        }
    }

    fn projects(&mut self, now: &Document, wanted: &Document) {
        let known = named(now.projects.as_deref(), super::document::Project::id);
        let Some(wanted) = &wanted.projects else { return };
        for project in wanted {
            let import = || {
                let mut body = without(&members(project), &["key"]);
                body.insert("projects".to_owned(), json!([project.key]));
                Call::Post("imports".to_owned(), Value::Object(body))
            };
            let Some(former) = known.get(&project.id()) else {
                self.step("add", "project", &project.id(), Vec::new(), import());
                continue;
            };
            let (former, members) = (members(*former), members(project));
            let lines = differences(&former, &members, &["organization", "key"]);
            if lines.is_empty() {
                continue;
            }
            let call = if project.repository.is_some() && former.get("repository") != members.get("repository") {
                // Whatever an import does not name would be set back.
                let mut whole = former.clone();
                whole.extend(members);
                let mut body = without(&whole, &["key"]);
                body.insert("projects".to_owned(), json!([project.key]));
                Call::Post("imports".to_owned(), Value::Object(body))
            } else {
                let body = without(&members, &["organization", "key", "repository"]);
                Call::Patch(
                    path(&["organizations", &project.organization, "projects", &project.key]),
                    Value::Object(body),
                )
            };
            self.step("change", "project", &project.id(), lines, call);
        }
        if self.how.prune {
            for (name, one) in known.iter().filter(|(name, _)| !wanted.iter().any(|one| one.id() == **name)) {
                let segments = ["organizations", &one.organization, "projects", &one.key];
                self.remove("project", name, Call::Delete(path(&segments)));
            }
        }
    }

    fn webhooks(&mut self, now: &Document, wanted: &Document) {
        let known = named(now.webhooks.as_deref(), super::document::Webhook::id);
        let Some(wanted) = &wanted.webhooks else { return };
        let at = |one: &super::document::Webhook, what: &[&str]| {
            let segments = [&["organizations", &one.organization, "webhook"][..], what].concat();
            path_with(&segments, &[("project", one.project.as_deref())])
        };
        for webhook in wanted {
            let former = known.get(&webhook.id());
            let registered = former.and_then(|former| former.registered).unwrap_or_default();
            match webhook.registered {
                Some(wish) if wish != registered => {
                    let what = if wish { "register" } else { "unregister" };
                    let lines = vec![format!("registered: {registered} → {wish}")];
                    let call = Call::Post(at(webhook, &[what]), json!({}));
                    let action = if former.is_some() { "change" } else { "add" };
                    self.step(action, "webhook", &webhook.id(), lines, call);
                }
                // It is made as soon as it is asked for.
                _ if former.is_none() => {
                    self.step("add", "webhook", &webhook.id(), Vec::new(), Call::Get(at(webhook, &[])));
                }
                _ => {}
            }
        }
        if self.how.prune {
            let gone = known.iter().filter(|(name, _)| !wanted.iter().any(|one| one.id() == **name));
            for (name, one) in gone.filter(|(_, one)| one.registered == Some(true)) {
                self.remove("webhook", name, Call::Post(at(one, &["unregister"]), json!({})));
            }
        }
    }

    fn destinations(&mut self, now: &Document, wanted: &Document) -> Result<(), String> {
        let known = named(now.destinations.as_deref(), |one| one.name.clone());
        let Some(wanted) = &wanted.destinations else { return Ok(()) };
        for one in wanted {
            let place = format!("destinations ({})", one.name);
            let mut body = without(&members(one), &["ca", "secret", "proxy", "mapping"]);
            let mut former = known.get(&one.name).map(|former| members(*former));
            if let Some(former) = &mut former {
                if former.get("kind") != body.get("kind") {
                    return Err(format!("{place}: kind: it is a destination of another kind here; remove it first"));
                }
                let mut lines = differences(former, &members(one), &["mapping"]);
                body = without(&body, &["name", "kind"]);
                for member in ["options", "assets"] {
                    empty_what_is_gone(former.get(member), body.get_mut(member));
                }
                if self.how.secrets {
                    optional(&mut body, "secret", one.secret.as_ref(), &place)?;
                    optional(&mut body, "ca_pem", one.ca.as_ref(), &place)?;
                    lines.extend(one.secret.as_ref().map(|_| "secret".to_owned()));
                    lines.extend(one.ca.as_ref().map(|_| "ca".to_owned()));
                    let is_secret = |proxy: &Text| match proxy {
                        Text::Plain(text) => has_login(text),
                        Text::At(_) => true,
                    };
                    // One that is a difference is among the lines already.
                    let is_told = lines.iter().any(|line| line.starts_with("proxy: "));
                    let proxy = one.proxy.as_ref().filter(|proxy| is_secret(proxy) && !is_told);
                    lines.extend(proxy.map(|_| "proxy".to_owned()));
                }
                if self.how.secrets || matches!(one.proxy, Some(Text::Plain(_))) {
                    proxied(&mut body, one.proxy.as_ref(), &place)?;
                }
                if !lines.is_empty() {
                    let call = Call::Patch(path(&["destinations", &one.name]), Value::Object(body));
                    self.step("change", "destination", &one.name, lines, call);
                }
            } else {
                optional(&mut body, "secret", one.secret.as_ref(), &place)?;
                optional(&mut body, "ca_pem", one.ca.as_ref(), &place)?;
                proxied(&mut body, one.proxy.as_ref(), &place)?;
                // One that is told nothing yet need not be there yet.
                body.insert("unchecked".to_owned(), json!(one.paused == Some(true)));
                let call = Call::Post("destinations".to_owned(), Value::Object(body));
                self.step("add", "destination", &one.name, Vec::new(), call);
            }
            let mapping = former.as_ref().and_then(|former| former.get("mapping")).cloned();
            let none = json!({ "outward": {}, "inward": {} });
            if let Some(wish) = one.mapping.as_ref().map(|wish| json!(wish))
                && wish != mapping.clone().unwrap_or_else(|| none.clone())
            {
                let lines = vec![format!("mapping: {} → {}", shown(&mapping.unwrap_or(none)), shown(&wish))];
                self.step(
                    "change",
                    "destination",
                    &one.name,
                    lines,
                    Call::Put(path(&["destinations", &one.name, "mapping"]), wish),
                );
            }
        }
        if self.how.prune {
            for name in known.keys().filter(|name| !wanted.iter().any(|one| one.name == **name)) {
                self.remove("destination", name, Call::Delete(path(&["destinations", name])));
            }
        }
        Ok(())
    }

    fn users(&mut self, now: &Document, wanted: &Document) {
        let known = named(now.users.as_deref(), |one| one.name.clone());
        let Some(wanted) = &wanted.users else { return };
        for user in wanted {
            match known.get(&user.name) {
                None => self.step("add", "user", &user.name, Vec::new(), Call::Post("users".to_owned(), json!(user))),
                Some(former) if former.role != user.role => {
                    let lines = vec![format!("role: {} → {}", former.role, user.role)];
                    let call = Call::Patch(path(&["users", &user.name]), json!({ "role": user.role }));
                    self.step("change", "user", &user.name, lines, call);
                }
                Some(_) => {}
            }
        }
        if self.how.prune {
            for name in known.keys().filter(|name| !wanted.iter().any(|one| one.name == **name)) {
                self.remove("user", name, Call::Delete(path(&["users", name])));
            }
        }
    }
}

fn named<T>(entries: Option<&[T]>, id: impl Fn(&T) -> String) -> BTreeMap<String, &T> {
    entries.unwrap_or_default().iter().map(|entry| (id(entry), entry)).collect()
}

fn without(members: &Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    members
        .iter()
        .filter(|(name, _)| !names.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// What the document names and the box has otherwise. Secrets are not compared, as nobody can read one back: references, and
/// a proxy with a login where the box has one with a login.
fn differences(now: &Map<String, Value>, wanted: &Map<String, Value>, apart: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, wish) in wanted.iter().filter(|(name, _)| !apart.contains(&name.as_str())) {
        let former = now.get(name).unwrap_or(&Value::Null);
        let is_secret = |value: &Value| is_reference(value) || is_proxy_with_login(name, value);
        if is_reference(wish)
            || (is_reference(former) && is_secret(wish))
            || ordered(former) == ordered(wish)
            || (former.is_null() && is_empty(wish))
        {
            continue;
        }
        let shown = |value: &Value| match value {
            Value::String(proxy) if name == "proxy" => without_password(proxy),
            _ if is_reference(value) => "one that is not shown".to_owned(),
            other => self::shown(other),
        };
        lines.push(format!("{name}: {} → {}", shown(former), shown(wish)));
    }
    lines
}

fn is_proxy_with_login(name: &str, value: &Value) -> bool {
    name == "proxy" && value.as_str().is_some_and(has_login)
}

fn is_reference(value: &Value) -> bool {
    let is_one = |members: &Map<String, Value>| {
        members.len() == 1 && ["env", "file", "credential"].iter().any(|way| members.contains_key(*way))
    };
    value.as_object().is_some_and(is_one)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(is_empty),
        _ => false,
    }
}

/// Lists are sets here.
fn ordered(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<_> = items.iter().map(ordered).collect();
            items.sort_by_key(ToString::to_string);
            Value::Array(items)
        }
        Value::Object(members) => members.iter().map(|(name, member)| (name.clone(), ordered(member))).collect(),
        other => other.clone(),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The API merges these; what is named no more is taken away by an empty text.
fn empty_what_is_gone(former: Option<&Value>, wanted: Option<&mut Value>) {
    let (Some(Value::Object(former)), Some(Value::Object(wanted))) = (former, wanted) else { return };
    for name in former.keys() {
        wanted.entry(name.clone()).or_insert_with(|| json!(""));
    }
}

fn resolved(reference: &Reference, place: &str, member: &str) -> Result<Value, String> {
    let text = reference.resolve().map_err(|problem| format!("{place}: {member}: {problem}"))?;
    Ok(Value::String(text.to_string()))
}

fn optional(
    body: &mut Map<String, Value>,
    member: &str,
    reference: Option<&Reference>,
    place: &str,
) -> Result<(), String> {
    if let Some(reference) = reference {
        body.insert(member.to_owned(), resolved(reference, place, member)?);
    }
    Ok(())
}

fn proxied(body: &mut Map<String, Value>, proxy: Option<&Text>, place: &str) -> Result<(), String> {
    match proxy {
        None => return Ok(()),
        Some(Text::Plain(text)) => body.insert("proxy".to_owned(), json!(text)),
        Some(Text::At(reference)) => body.insert("proxy".to_owned(), resolved(reference, place, "proxy")?),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn box_with(proxy: &Value) -> Document {
        Document {
            destinations: Some(vec![
                serde_json::from_value(json!({ "name": "siem", "kind": "events", "proxy": proxy })).unwrap(),
            ]),
            ..Document::default()
        }
    }

    fn lines(now: &Value, wanted: &Value, how: How) -> Vec<String> {
        let steps = plan(&box_with(now), &box_with(wanted), how).unwrap();
        steps.into_iter().flat_map(|step| step.lines).collect()
    }

    #[test]
    fn a_proxys_password_is_not_shown_and_a_proxy_without_one_is_another() {
        let (usual, hidden) = (How::default(), json!({ "env": "HYDROPHONE_DESTINATION_SIEM_PROXY" }));
        let (plain, login) = (json!("http://proxy:3128"), json!("http://box:hunter2@proxy:3128"));
        assert_eq!(lines(&Value::Null, &login, usual), ["proxy: none → http://***@proxy:3128"]);
        assert_eq!(lines(&plain, &login, usual), ["proxy: http://proxy:3128 → http://***@proxy:3128"]);
        assert_eq!(lines(&hidden, &plain, usual), ["proxy: one that is not shown → http://proxy:3128"]);
        // Nobody can tell whether that is another one.
        assert_eq!(lines(&hidden, &login, usual), [""; 0]);
        assert_eq!(lines(&hidden, &hidden, usual), [""; 0]);
        let secrets = How { secrets: true, ..usual };
        assert_eq!(lines(&hidden, &login, secrets), ["proxy"]);
        assert_eq!(lines(&hidden, &plain, secrets), ["proxy: one that is not shown → http://proxy:3128"]);
    }

    #[test]
    fn a_source_that_cannot_be_changed_is_refused_without_the_password() {
        let of = |proxy: &Value| Document {
            sources: Some(vec![
                serde_json::from_value(json!({ "name": "eu", "kind": "cloud", "proxy": proxy })).unwrap(),
            ]),
            ..Document::default()
        };
        let refused =
            plan(&of(&json!("http://proxy:1")), &of(&json!("http://box:hunter2@proxy:1")), How::default()).unwrap_err();
        assert!(refused.contains("http://***@proxy:1") && !refused.contains("hunter2"), "{refused}");
    }
}
