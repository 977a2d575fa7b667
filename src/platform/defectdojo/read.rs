//! Looking at findings before they are told, and finding them by Sonar's key.

use std::collections::{BTreeMap, HashMap};

use super::place::encode;
use super::status::{Status, needs_look};
use super::wire::{self, Row};
use super::{DefectDojo, rows};
use crate::domain::finding::Digest;
use crate::domain::ids::FindingId;
use crate::domain::limits::DEFECTDOJO_ROWS_MAX;
use crate::domain::message::Message;
use crate::platform::Trouble;

/// A finding as DefectDojo holds it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) id: u64,
    pub(super) status: Status,
    /// Whether this token's user mitigated it.
    pub(super) ours: bool,
    /// Of what follows Sonar.
    pub(super) visible: Digest,
}

impl DefectDojo {
    /// The findings that must be looked at before they are told, as far as they are there.
    pub(super) fn look_at(
        &mut self,
        test: &str,
        batch: &[Message],
    ) -> Result<BTreeMap<FindingId, Option<Seen>>, Trouble> {
        let (mut looked, mut by_id) = (BTreeMap::new(), BTreeMap::new());
        for message in batch {
            let Some(known) = &message.known else { continue };
            let to = self.status(message.state);
            let told = known.state.map(|state| self.status(state));
            let Some(told) = told else {
                // It was told otherwise before, and a row takes no decision back.
                if known.in_doubt().any(|state| state != message.state) {
                    looked.insert(message.finding.id, self.find(test, known.key.as_str())?);
                }
                continue;
            };
            let changes = known.content != Some(message.content()) && to != Status::Mitigated;
            match known.id.as_deref().and_then(|id| id.parse::<u64>().ok()) {
                Some(id) if needs_look(Some(told), to) || known.telling.is_some() => {
                    by_id.insert(id, message.finding.id);
                }
                None if changes
                    || known.key != message.finding.observed.key
                    || needs_look(Some(told), to)
                    || known.telling.is_some() =>
                {
                    looked.insert(message.finding.id, self.find(test, known.key.as_str())?);
                }
                _ => {}
            }
        }
        let ids: Vec<u64> = by_id.keys().copied().collect();
        for some in ids.chunks(PAGE) {
            let list: Vec<String> = some.iter().map(u64::to_string).collect();
            let page = self.calls.findings(&format!("id={}&limit={}", list.join(","), some.len()))?;
            for row in &page.results {
                if let Some(finding) = by_id.get(&row.id) {
                    let seen = self.seen(row)?;
                    looked.insert(*finding, Some(seen));
                }
            }
            for id in some {
                looked.entry(by_id[id]).or_insert(None);
            }
        }
        Ok(looked)
    }

    /// The finding with exactly this key.
    pub(super) fn find(&mut self, test: &str, key: &str) -> Result<Option<Seen>, Trouble> {
        let query = format!("test={test}&unique_id_from_tool={}&o=id&limit={PAGE}", encode(key));
        let page = self.calls.findings(&query)?;
        let row = page.results.iter().find(|row| row.unique_id_from_tool.as_deref() == Some(key));
        row.map(|row| self.seen(row)).transpose()
    }

    /// Reads a Test's findings by key: the newest, or all of them. Of two with one key the older counts, as it does in
    /// an import.
    pub(super) fn read(&mut self, test: &str, newest: Option<usize>) -> Result<HashMap<String, Seen>, Trouble> {
        let mut all = HashMap::new();
        let most = newest.unwrap_or(usize::MAX);
        let mut read = 0;
        while read < most {
            let limit = (most - read).min(READ_PAGE);
            let page = self.calls.findings(&format!("test={test}&o=-id&limit={limit}&offset={read}"))?;
            for row in &page.results {
                if let Some(key) = row.unique_id_from_tool.clone() {
                    let seen = self.seen(row)?;
                    all.insert(key, seen);
                }
            }
            read += page.results.len();
            if page.next.is_none() || page.results.is_empty() {
                break;
            }
            if read >= DEFECTDOJO_ROWS_MAX {
                return Err(Trouble::later(format!(
                    "{} lists findings of Test {test} without an end",
                    self.calls.host()
                )));
            }
        }
        Ok(all)
    }

    /// Reads everything that a Test held before us, once.
    pub(super) fn hold(&mut self, test: &str) -> Result<(), Trouble> {
        if self.held.as_ref().is_none_or(|(of, _)| of != test) {
            self.held = None;
            let all = self.read(test, None)?;
            self.held = Some((test.to_owned(), all));
        }
        Ok(())
    }

    pub(super) fn seen(&mut self, row: &Row) -> Result<Seen, Trouble> {
        let by = row.mitigated_by.as_ref().and_then(wire::id);
        let ours = match by {
            Some(by) => by == self.me()?.id,
            None => false,
        };
        let status = Status::of(row.flags, self.verified_always);
        Ok(Seen { id: row.id, status, ours, visible: rows::digest(&row.visible()) })
    }
}

/// Findings looked at in one question.
pub(super) const PAGE: usize = 100;

/// Findings that are read in one page; each is some kilobytes.
const READ_PAGE: usize = 500;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::domain::destination::{Destination, PlatformKind};
    use crate::domain::ids::DestinationName;
    use crate::domain::time::Timestamp;
    use crate::platform::http::tests::{Hostile, answer};
    use crate::sys::trust::Trust;

    /// A server whose every page is followed by another one would be read for ever, and all of it held.
    #[test]
    fn a_list_without_an_end_is_given_up() {
        let row = r#"{"id":1,"unique_id_from_tool":"K","active":true}"#;
        let rows = vec![row; 4_000].join(",");
        let page = format!(r#"{{"count":9,"next":"http://x/","results":[{rows}]}}"#);
        let server = Hostile::once(answer("", page.as_bytes()));
        let name = DestinationName::parse("dojo").unwrap();
        let url = format!("http://{}", server.address);
        let destination = Destination::new(name, PlatformKind::DefectDojo, url, Timestamp(0));
        let mut dojo = DefectDojo::open(&destination, Some("token"), &Trust::load()).unwrap();
        let error = dojo.read("7", None).unwrap_err();
        assert!(matches!(error, Trouble::Later { .. }), "{error}");
        assert!(error.to_string().ends_with("lists findings of Test 7 without an end"), "{error}");
        assert_eq!(dojo.read("7", Some(1)).unwrap().len(), 1);
    }
}
