//! How findings that were told stand there now: what no poll shows, since edits and deletions move no status.

use std::collections::{BTreeMap, BTreeSet};

use super::read::{PAGE, Seen};
use super::status::Status;
use super::wire::Test;
use super::{DefectDojo, keys, rows};
use crate::domain::ids::FindingId;
use crate::domain::message::Remote;
use crate::platform::{self, Known, Trouble};

impl DefectDojo {
    /// One request for a hundred findings, and one for each Test that some are missing of.
    pub(super) fn compare(&mut self, known: &[Known<'_>]) -> Result<Vec<(FindingId, platform::Seen)>, Trouble> {
        let id = |one: &Known<'_>| number(one.message.known.as_ref()?);
        let ids: BTreeSet<u64> = known.iter().filter_map(id).collect();
        let there = self.by_id(&ids.into_iter().collect::<Vec<_>>())?;
        // A list is just shorter by what may not be seen: is it the finding that is gone, or the right?
        let mut is_there: BTreeMap<&str, bool> = BTreeMap::new();
        for one in known.iter().filter(|one| id(one).is_some_and(|id| !there.contains_key(&id))) {
            let test = one.target.get(keys::TEST).unwrap_or_default();
            if !is_there.contains_key(test) {
                let found = !test.is_empty() && self.calls.find::<Test>(&format!("tests/{test}/"))?.is_some();
                is_there.insert(test, found);
            }
        }
        let mut stands = Vec::with_capacity(known.len());
        for one in known {
            let Some(remote) = &one.message.known else { continue };
            let (Some(id), Some(told)) = (number(remote), remote.state) else { continue };
            let told = self.status(told);
            let stand = if let Some(seen) = there.get(&id) {
                let visible = rows::digest(&rows::visible(one.place, one.message));
                platform::Seen::There {
                    word: seen.status.word().to_owned(),
                    slipped: has_slipped(told, seen),
                    // What is gone is not worth more than its closing.
                    shown: told == Status::Mitigated || visible == seen.visible || self.is_stubborn(id, seen),
                }
            } else if is_there.get(one.target.get(keys::TEST).unwrap_or_default()) == Some(&true) {
                platform::Seen::Missing
            } else {
                platform::Seen::Nowhere
            };
            stands.push((one.message.finding.id, stand));
        }
        Ok(stands)
    }

    fn by_id(&mut self, ids: &[u64]) -> Result<BTreeMap<u64, Seen>, Trouble> {
        let mut there = BTreeMap::new();
        for some in ids.chunks(PAGE) {
            let list: Vec<String> = some.iter().map(u64::to_string).collect();
            let page = self.calls.findings(&format!("id={}&limit={}", list.join(","), some.len()))?;
            for row in &page.results {
                if some.binary_search(&row.id).is_err() {
                    // A filter that a server does not know is one that it ignores.
                    return Err(Trouble::refused(
                        format!("{} answers about findings that it was not asked for", self.calls.host()),
                        "what people change there is not put right; report this with the version of DefectDojo",
                    ));
                }
                let seen = self.seen(row)?;
                there.insert(row.id, seen);
            }
        }
        Ok(there)
    }

    /// Whether a finding shows the same that it showed when it was last put right: then it is the server that makes it so,
    /// and putting it right every day would never end.
    fn is_stubborn(&mut self, id: u64, seen: &Seen) -> bool {
        if self.odd.len() >= ODD_MAX && !self.odd.contains_key(&id) {
            self.odd.clear();
        }
        self.odd.insert(id, seen.visible) == Some(seen.visible)
    }
}

fn number(remote: &Remote) -> Option<u64> {
    remote.id.as_deref()?.parse().ok()
}

/// Whether a status is another than was told without anybody's decision: open though it was closed or decided, or closed
/// by nobody but us. That is what a server shows that was set back to a backup. Whoever had reopened it now would have
/// been met by a poll.
fn has_slipped(told: Status, seen: &Seen) -> bool {
    match seen.status {
        Status::Active => told != Status::Active,
        Status::Verified => !told.is_live(),
        Status::Mitigated => told.is_live() && seen.ours,
        _ => false,
    }
}

/// Findings whose oddness is remembered.
const ODD_MAX: usize = 10_000;
