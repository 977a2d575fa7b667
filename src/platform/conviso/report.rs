//! What `destination check` says of an account: who the key is for, what its schema offers, and what stands in the way.

use std::collections::BTreeMap;

use serde_json::json;

use super::client::{Client, Failed};
use super::documents::{CHANGE_STATUS, COMPANY, CREATE_ASSET, SYNC_BEGIN, SYNC_END};
use super::schema::{Route, Schema, TOOLS};
use super::status::WORDS;
use crate::domain::destination::Mapping;
use crate::domain::finding::State;
use crate::domain::ids::AssetName;
use crate::platform::{Finding, Trouble};

pub(super) fn check(
    client: &mut Client,
    mapping: &Mapping,
    names: &BTreeMap<AssetName, String>,
) -> Result<Vec<Finding>, Trouble> {
    let mut lines = vec![company(client)?];
    if !lines[0].good {
        return Ok(lines);
    }
    let schema = client.schema()?.clone();
    lines.extend(operations(&schema));
    lines.push(integration(&schema));
    lines.push(statuses(&schema, mapping));
    lines.extend(assets(client, names)?);
    Ok(lines)
}

fn company(client: &mut Client) -> Result<Finding, Trouble> {
    let id = client.company();
    let label = match client.ask(COMPANY, &json!({ "id": id })) {
        Ok(data) => data["company"]["label"].as_str().map(str::to_owned),
        Err(Failed::Refused { failure, invalid: false }) if failure.code.contains("NOT_FOUND") => None,
        Err(failed) => return Err(failed.into()),
    };
    Ok(match label {
        Some(label) => good("company", format!("the key is good for {label:?} (company {id}) at {}", client.url())),
        None => bad(
            "company",
            format!("the key's user sees no company {id}; check the option company, or make the user a member of it"),
        ),
    })
}

fn operations(schema: &Schema) -> Vec<Finding> {
    let mut lines = Vec::new();
    if schema.assumed {
        let text = "the server does not describe its API (introspection); only what all clients rely on is used";
        lines.push(bad("schema", format!("{text}; ask Conviso to allow it for this key")));
    }
    lines.push(match schema.route() {
        Some(Route::Batch) => good("findings", "are told in batches, created or updated".to_owned()),
        Some(Route::Single) => good(
            "findings",
            "are told one by one, as this account's API has no batches: slower, and all right".to_owned(),
        ),
        Some(Route::CreateOnly) => bad(
            "findings",
            "can only be created, not updated: changes of text, severity and line stay unsaid; ask Conviso to enable \
             createOrUpdateSastFinding"
                .to_owned(),
        ),
        None => bad("findings", "cannot be told: the API has no operation for it; ask Conviso to enable it".to_owned()),
    });
    let members = schema.route().and_then(|route| schema.finding_members(route, false));
    let missing: Vec<&str> =
        MEMBERS.iter().copied().filter(|one| members.is_some_and(|members| !members.contains_key(*one))).collect();
    if missing.contains(&"originalIssueIdFromTool") {
        let text = "findings have no originalIssueIdFromTool here, by which they are known again";
        lines.push(bad("fields", format!("{text}; ask Conviso which account has it")));
    } else if missing.is_empty() {
        lines.push(good("fields", "all that is told of a finding is taken".to_owned()));
    } else {
        lines.push(good("fields", format!("not known to this account, and left out: {}", missing.join(", "))));
    }
    for (mutation, good_text, bad_text) in [
        (
            CHANGE_STATUS,
            "can be changed: findings are closed and reopened",
            "cannot be changed: nothing could be closed",
        ),
        (CREATE_ASSET, "can be made", "cannot be made: map every asset to one that Conviso has"),
    ] {
        let what = if mutation == CHANGE_STATUS { "statuses" } else { "assets" };
        lines.push(if schema.has(mutation) {
            good(what, good_text.to_owned())
        } else {
            bad(what, bad_text.to_owned())
        });
    }
    let syncs = schema.has(SYNC_BEGIN) && schema.has(SYNC_END);
    let text =
        if syncs { "are shown in Conviso, with counts" } else { "are not shown in Conviso: it has no such operation" };
    lines.push(good("syncs", text.to_owned()));
    lines
}

fn integration(schema: &Schema) -> Finding {
    match schema.integration() {
        (value, true) => good("integration", format!("findings are shown as {value}")),
        (value, false) => bad(
            "integration",
            format!(
                "{TOOLS} HAS NO VALUE FOR SONAR HERE: syncs are shown as {value}; findings are complete all the same, \
                 and Conviso can say whether the account may have one"
            ),
        ),
    }
}

fn statuses(schema: &Schema, mapping: &Mapping) -> Finding {
    let words: Vec<String> = State::ALL.iter().filter_map(|state| mapping.word(*state, WORDS)).collect();
    let mut unknown: Vec<&str> = Vec::new();
    for word in &words {
        if !schema.statuses.is_empty() && !schema.statuses.contains(word) && !unknown.contains(&word.as_str()) {
            unknown.push(word);
        }
    }
    if unknown.is_empty() {
        return good("words", "every state has a status there".to_owned());
    }
    let known: Vec<&str> = schema.statuses.iter().map(String::as_str).collect();
    bad("words", format!("no status of Conviso: {}; use one of: {}", unknown.join(", "), known.join(", ")))
}

/// Whether Conviso itself reads Sonar for an asset; then every finding would be there twice.
fn assets(client: &mut Client, names: &BTreeMap<AssetName, String>) -> Result<Vec<Finding>, Trouble> {
    let mut count = 0_usize;
    let mut pulled = Vec::new();
    let mut missing: Vec<&str> = names.values().map(String::as_str).collect();
    client.each_asset(None, |asset| {
        count += 1;
        missing.retain(|one| *one != asset.name && *one != asset.id);
        if asset.integrations.iter().any(|one| one.to_ascii_uppercase().contains("SONAR")) {
            pulled.push(asset.name);
        }
        true
    })?;
    let mut lines = vec![good("access", format!("{count} assets can be seen"))];
    if !missing.is_empty() {
        lines.push(good("mapping", format!("not there, and made when they are needed: {}", missing.join(", "))));
    }
    if !pulled.is_empty() {
        let more = pulled.len().saturating_sub(SHOWN_MAX);
        pulled.truncate(SHOWN_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        lines.push(bad(
            "duplicates",
            format!(
                "Conviso itself already reads Sonar for {}{more}: findings told there would be twice; end that \
                 integration, or map this box's assets to others",
                pulled.join(", ")
            ),
        ));
    }
    Ok(lines)
}

fn good(what: &'static str, text: String) -> Finding {
    Finding { what, good: true, text }
}

fn bad(what: &'static str, text: String) -> Finding {
    Finding { what, good: false, text }
}

/// What is told of a finding.
const MEMBERS: &[&str] = &[
    "title",
    "description",
    "solution",
    "severity",
    "category",
    "reference",
    "fileName",
    "vulnerableLine",
    "originalIssueIdFromTool",
    "branch",
];
/// Assets that one line names.
const SHOWN_MAX: usize = 5;
