//! Finding or making the asset that a scope's findings go to.

use serde_json::{Value, json};

use super::client::{Asset, Client, Failed};
use super::documents::{CREATE_ASSET, Mutation, UPDATE_ASSET};
use super::wire::{id, id_value, sentence};
use crate::platform::Trouble;

/// What is known of the asset that is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// Its name, or its id.
    pub(super) name: &'a str,
    /// The clone address of its repository, with the branch: Conviso takes both or neither.
    pub(super) repository: Option<(&'a str, &'a str)>,
    /// What one that is made gets.
    pub(super) business_impact: Option<&'a str>,
}

/// Where findings go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The asset's id.
    pub(super) id: String,
    /// Whether it was there before, so that it may hold issues already.
    pub(super) existing: bool,
}

/// Finds the asset or makes it.
pub(super) fn find_or_make(client: &mut Client, wanted: Wanted<'_>) -> Result<Found, Trouble> {
    if let Some(asset) = by_name(client, wanted.name)? {
        return enter_repository(client, asset, wanted);
    }
    // Somebody may have called the repository's asset something else; its address can be registered only once.
    if let Some((url, _)) = wanted.repository
        && let Some(asset) = by_repository(client, url)?
    {
        return Ok(Found { id: asset.id, existing: true });
    }
    make(client, wanted)
}

/// Whether an asset is shown to this key, whatever it is called now.
pub(super) fn is_shown(client: &mut Client, id: &str, name: &str) -> Result<bool, Trouble> {
    let mut found = false;
    // There is no search by id. Most are called as they were.
    for search in [Some(name), None] {
        client.each_asset(search, |asset| {
            found |= asset.id == id;
            !found
        })?;
        if found {
            break;
        }
    }
    Ok(found)
}

/// The asset of exactly this name, else of this id.
fn by_name(client: &mut Client, name: &str) -> Result<Option<Asset>, Trouble> {
    let mut same = Vec::new();
    client.each_asset(Some(name), |asset| {
        if asset.name == name {
            same.push(asset);
        }
        true
    })?;
    if same.len() > 1 {
        let ids: Vec<&str> = same.iter().map(|asset| asset.id.as_str()).collect();
        return Err(Trouble::target(
            format!("Conviso has {} assets named {name:?} (ids {})", same.len(), ids.join(", ")),
            "map this box's asset to the id of one of them, or rename the others in Conviso",
        ));
    }
    if same.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
        // There is no search by id.
        client.each_asset(None, |asset| {
            if asset.id == name {
                same.push(asset);
            }
            same.is_empty()
        })?;
    }
    Ok(same.pop())
}

/// The asset whose repository this is. The server does not search by it: the last two parts of the address are
/// searched for, as Conviso's own client does, and the repository's key compared.
fn by_repository(client: &mut Client, url: &str) -> Result<Option<Asset>, Trouble> {
    let key = repository_key(url);
    let parts: Vec<&str> = key.rsplit('/').take(2).collect();
    let last_two = parts.iter().rev().copied().collect::<Vec<_>>().join("/");
    for search in [last_two.as_str(), parts.first().copied().unwrap_or_default()] {
        let mut same = Vec::new();
        client.each_asset(Some(search), |asset| {
            if asset.repository.as_deref().is_some_and(|one| one.eq_ignore_ascii_case(&key)) {
                same.push(asset);
            }
            true
        })?;
        if same.len() > 1 {
            return Err(Trouble::target(
                format!("Conviso has {} assets with the repository {key}", same.len()),
                "map this box's asset to the id of one of them",
            ));
        }
        if let Some(asset) = same.pop() {
            return Ok(Some(asset));
        }
    }
    Ok(None)
}

/// Tells an existing asset its repository and branch, if it has none. Conviso may fold it into the asset that has the
/// address, and then answers with that one's id.
fn enter_repository(client: &mut Client, asset: Asset, wanted: Wanted<'_>) -> Result<Found, Trouble> {
    let Some((url, branch)) = wanted.repository else { return Ok(Found { id: asset.id, existing: true }) };
    if asset.repository.as_deref().is_some_and(|key| !key.is_empty()) || !client.schema()?.has(UPDATE_ASSET) {
        return Ok(Found { id: asset.id, existing: true });
    }
    let mut input = json!({
        "id": id_value(&asset.id), "companyId": client.company(), "name": asset.name,
        "repoUrl": url, "branchName": branch,
    });
    keep_known(client, UPDATE_ASSET, &mut input)?;
    match client.mutate(UPDATE_ASSET, &input) {
        Ok(answer) if payload_error(&answer).is_none() => {
            Ok(Found { id: id(&answer["asset"]["id"]).unwrap_or(asset.id), existing: true })
        }
        // Without it, findings are told without a branch's own view; they are told.
        Ok(_) | Err(Failed::Refused { .. }) => Ok(Found { id: asset.id, existing: true }),
        Err(Failed::Trouble(trouble)) => Err(trouble),
    }
}

fn make(client: &mut Client, wanted: Wanted<'_>) -> Result<Found, Trouble> {
    let mut input = json!({
        "companyId": client.company(), "name": wanted.name,
        "description": "Findings of SonarQube, kept in step by Hydrophone",
    });
    if let Some(impact) = wanted.business_impact {
        input["businessImpact"] = Value::from(impact);
    }
    if let Some((url, branch)) = wanted.repository {
        input["repoUrl"] = Value::from(url);
        input["branchName"] = Value::from(branch);
    }
    keep_known(client, CREATE_ASSET, &mut input)?;
    let why = match client.mutate(CREATE_ASSET, &input) {
        Ok(answer) => match (id(&answer["asset"]["id"]), payload_error(&answer)) {
            (Some(id), None) => return Ok(Found { id, existing: false }),
            (_, error) => error.unwrap_or_else(|| "no reason is told".to_owned()),
        },
        Err(Failed::Refused { failure, .. }) => failure.message,
        Err(Failed::Trouble(trouble)) => return Err(trouble),
    };
    // Another may have made it since it was looked for, or an answer was lost.
    if let Some(asset) = by_name(client, wanted.name)? {
        return Ok(Found { id: asset.id, existing: true });
    }
    if let Some((url, _)) = wanted.repository
        && let Some(asset) = by_repository(client, url)?
    {
        return Ok(Found { id: asset.id, existing: true });
    }
    Err(Trouble::target(
        format!("Conviso does not make the asset {:?}: {why}", wanted.name),
        "make it there by hand, or map this box's asset to one that Conviso has",
    ))
}

/// Leaves out what the server does not know, and the branch without its repository, or the other way round.
fn keep_known(client: &mut Client, mutation: Mutation, input: &mut Value) -> Result<(), Trouble> {
    let Some(members) = client.schema()?.inputs.get(mutation.name) else { return Ok(()) };
    if let Some(input) = input.as_object_mut() {
        let repository = members.contains_key("repoUrl") && members.contains_key("branchName");
        input.retain(|name, _| match name.as_str() {
            "repoUrl" | "branchName" => repository,
            name => members.contains_key(name),
        });
    }
    Ok(())
}

fn payload_error(answer: &Value) -> Option<String> {
    answer["errors"].as_array()?.first().map(|error| sentence(error.as_str().unwrap_or("no reason is told")))
}

/// Host, organization and name of a repository, as Conviso writes them: without scheme, name and `.git`.
pub(super) fn repository_key(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let rest = rest.trim_end_matches('/').trim_end_matches(".git");
    // git@host:organization/name
    let rest = if url.contains("://") { rest.to_owned() } else { rest.replacen(':', "/", 1) };
    rest.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_one_key_however_it_is_cloned() {
        for url in [
            "https://git.example/team/shop.git",
            "https://user@git.example/team/shop",
            "ssh://git@git.example/team/shop.git",
            "git@git.example:team/shop.git",
            "git.example/team/shop/",
        ] {
            assert_eq!(repository_key(url), "git.example/team/shop", "{url}");
        }
    }
}
