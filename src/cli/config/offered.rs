//! A document that boxes are offered by their fleet: what may stand in one, and carrying one out on the box itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::super::client::{Client, Failure};
use super::apply::{carry_out, input, read};
use super::document::{Document, Reference, Text, Wrong};
use super::plan::{How, plan};
use super::state;
use crate::domain::fleet::offer::{Apply, Unapplied};
use crate::domain::settings::FLEET_SIGNER;

/// Reads a document that is to be offered to boxes.
pub(crate) fn for_others(path: &Path) -> Result<Value, Failure> {
    let text = read(path)?;
    let wrong = |wrong: Wrong| input(format!("{}: {}", path.display(), wrong.0));
    let mut document = Document::parse(&text).map_err(wrong)?;
    document.bound(None).map_err(wrong)?;
    serde_json::to_value(&document).map_err(|error| Failure::Lost(error.to_string()))
}

/// Carries documents out over the box's own admin socket, as `config apply` does. Their secrets are files of this folder.
pub(crate) fn carried_out(socket: &Path, secrets: PathBuf) -> Arc<Apply> {
    let socket = socket.to_owned();
    Arc::new(move |document| {
        let unapplied = |changes: u32, why: String| Unapplied { why, changes };
        let none = |why: String| unapplied(0, why);
        let mut wanted = Document::parse(&document.to_string()).map_err(|wrong| none(wrong.0))?;
        wanted.bound(Some(&secrets)).map_err(|wrong| none(wrong.0))?;
        let client = Client::new(&socket).map_err(|failure| none(failure.to_string()))?;
        let now = state::read(&client).map_err(|failure| none(failure.to_string()))?;
        let mut changes = 0;
        for step in plan(&now, &wanted, How::default()).map_err(none)? {
            let failed = |failure: Failure| unapplied(changes, format!("{} {}: {failure}", step.kind, step.name));
            carry_out(&client, &step.call).map_err(failed)?;
            changes += 1;
        }
        Ok(changes)
    })
}

impl Document {
    /// Refuses what somebody from outside may not set: who may use the box, whose configuration it takes, and what it reads of
    /// its own files, but for the secrets in a folder that was made for that.
    fn bound(&mut self, secrets: Option<&Path>) -> Result<(), Wrong> {
        let wrong = |place: String, why: &str| Err(Wrong(format!("{place}: {why}")));
        // What `config export` writes of a box without any is empty.
        if self.users.as_ref().is_some_and(|users| !users.is_empty()) {
            return wrong("users".to_owned(), "who may use a box is decided there; leave this part out");
        }
        if self.settings.as_ref().is_some_and(|settings| settings.contains_key(FLEET_SIGNER)) {
            return wrong(format!("settings.{FLEET_SIGNER}"), "whom a box trusts is decided there; leave it out");
        }
        let sources = self.sources.iter_mut().flatten().flat_map(|one| {
            let place = format!("sources ({})", one.name);
            let all = [one.token.as_mut(), one.ca.as_mut(), one.proxy.as_mut().and_then(at)];
            all.into_iter().flatten().map(move |reference| (place.clone(), reference))
        });
        let destinations = self.destinations.iter_mut().flatten().flat_map(|one| {
            let place = format!("destinations ({})", one.name);
            let all = [one.secret.as_mut(), one.ca.as_mut(), one.proxy.as_mut().and_then(at)];
            all.into_iter().flatten().map(move |reference| (place.clone(), reference))
        });
        for (place, reference) in sources.chain(destinations) {
            let Some(name) = reference.credential.clone() else {
                let why =
                    "a secret is named as {\"credential\": NAME}, which the box reads from /etc/hydrophone/credentials";
                return wrong(place, why);
            };
            if let Some(folder) = secrets {
                *reference = Reference { file: Some(folder.join(name)), ..Reference::default() };
            }
        }
        Ok(())
    }
}

fn at(text: &mut Text) -> Option<&mut Reference> {
    match text {
        Text::At(reference) => Some(reference),
        Text::Plain(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::client::tests::FakeDaemon;
    use super::*;

    fn document(secret: &Value) -> Value {
        let siem = json!({ "name": "siem", "kind": "events", "url": "https://siem.example", "secret": secret });
        json!({ "hydrophone": 1, "destinations": [siem] })
    }

    /// What a box that holds nothing makes of a document whose secrets are to be in a folder.
    fn carried_out_with(secrets: &Path, document: &Value) -> (Result<u32, Unapplied>, Vec<(String, Value)>) {
        let parts = ["settings", "sources", "organizations", "assets", "projects", "webhooks", "destinations", "users"];
        let daemon =
            FakeDaemon::start(move |_, _| (200, Value::from_iter(parts.map(|one| (one, json!([])))).to_string()));
        let done = carried_out(&daemon.socket(), secrets.to_owned())(document);
        (done, daemon.asked().into_iter().filter(|(line, _)| !line.starts_with("GET ")).collect())
    }

    #[test]
    fn secrets_are_read_from_the_folder_that_was_made_for_them() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("siem"), "whsec_x\n").unwrap();
        let (done, asked) = carried_out_with(folder.path(), &document(&json!({ "credential": "siem" })));
        assert_eq!(done, Ok(1));
        let [(line, body)] = asked.as_slice() else { panic!("{asked:?}") };
        assert!(line.starts_with("POST ") && line.contains("destinations"), "{line}");
        assert_eq!(body["secret"], "whsec_x");
    }

    /// A signer is trusted with the configuration, and not with the box's files.
    #[test]
    fn a_box_reads_nothing_else_for_a_signer() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("tls.key");
        std::fs::write(&elsewhere, "private").unwrap();
        let secrets = folder.path().join("credentials");
        std::fs::create_dir(&secrets).unwrap();
        let ways = [json!({ "file": elsewhere }), json!({ "env": "PATH" }), json!({ "credential": "../tls.key" })];
        for secret in ways {
            let (done, asked) = carried_out_with(&secrets, &document(&secret));
            assert!(done.is_err() && asked.is_empty(), "{secret}: {done:?} {asked:?}");
        }
        for other in
            [json!({ "users": [{ "name": "eve", "role": "admin" }] }), json!({ "settings": { "fleet-signer": null } })]
        {
            let mut document = other;
            document["hydrophone"] = json!(1);
            let (done, asked) = carried_out_with(&secrets, &document);
            assert!(done.is_err() && asked.is_empty(), "{document}: {done:?} {asked:?}");
        }
    }
}
