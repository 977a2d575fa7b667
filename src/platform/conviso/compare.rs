//! How issues that were told stand there now: what no poll shows. An answer may lack an issue for many reasons, of which
//! that somebody deleted it is but one; only what was surely deleted is called missing, as it is made anew then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::client::Shown;
use super::status::{self, Step, WORDS};
use super::{ASSET, Conviso, NAME, assets, by_people};
use crate::domain::ids::FindingId;
use crate::domain::limits::CONVISO_PAGE;
use crate::platform::{Known, Seen, Trouble};

impl Conviso {
    /// What Conviso shows beside a status is not asked for: what people change there of it is theirs.
    pub(super) fn compare(&mut self, known: &[Known<'_>]) -> Result<Vec<(FindingId, Seen)>, Trouble> {
        let ids: Vec<String> = known.iter().filter_map(id).map(str::to_owned).collect();
        let mut there = Shown::default();
        for some in ids.chunks(CONVISO_PAGE) {
            there.join(self.client.shown(some)?);
        }
        let hidden = self.hidden(known, &there)?;
        let doubtful = self.doubtful(known, &there);
        let mut seen = Vec::with_capacity(known.len());
        for one in known {
            let finding = one.message.finding.id;
            let (Some(id), Some(told)) = (id(one), one.message.known.as_ref().and_then(|remote| remote.state)) else {
                continue;
            };
            let Some(issue) = there.issues.get(id) else {
                let asset = asset(one);
                if hidden.contains(asset) {
                    seen.push((finding, Seen::Nowhere));
                } else if there.lacks(id) && !doubtful.contains(asset) {
                    self.doubted.remove(id);
                    seen.push((finding, Seen::Missing));
                }
                continue;
            };
            self.doubted.remove(id);
            let Some(word) = self.mapping.word(told, WORDS) else { continue };
            // Whoever had it begun anew now would have been met by a poll.
            let begun = matches!(issue.status.as_str(), "CREATED" | "DRAFT" | "IDENTIFIED");
            let differs = status::step(issue, told, &word, true) != Step::Stay;
            let slipped = differs && (begun || !by_people(issue));
            let word = if by_people(issue) { issue.status.clone() } else { word };
            seen.push((finding, Seen::There { word, slipped, shown: true }));
        }
        Ok(seen)
    }

    /// Assets of missing issues that are not shown themselves: deleted, or the key's user may not see them any more.
    fn hidden<'k>(&mut self, known: &'k [Known<'_>], there: &Shown) -> Result<BTreeSet<&'k str>, Trouble> {
        let lacking = known.iter().filter(|one| id(one).is_some_and(|id| there.lacks(id)));
        let names: BTreeMap<&str, &str> =
            lacking.map(|one| (asset(one), one.target.get(NAME).unwrap_or_default())).collect();
        let mut hidden = BTreeSet::new();
        for (asset, name) in names {
            if asset.is_empty() || !assets::is_shown(&mut self.client, asset, name)? {
                hidden.insert(asset);
            }
        }
        Ok(hidden)
    }

    /// Assets of which nothing is shown that was told: as likely as that somebody emptied them is that the search is
    /// being made anew. What is missing the next day, too, is believed to be gone.
    fn doubtful<'k>(&mut self, known: &'k [Known<'_>], there: &Shown) -> BTreeSet<&'k str> {
        let mut ids: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for one in known {
            if let Some(id) = id(one) {
                ids.entry(asset(one)).or_default().push(id);
            }
        }
        ids.retain(|_, ids| ids.iter().all(|id| there.lacks(id)));
        let now = self.clock.steady();
        if self.doubted.len() >= DOUBTED_MAX {
            self.doubted.clear();
        }
        let mut doubtful = BTreeSet::new();
        for (asset, ids) in ids {
            let since = ids.iter().map(|id| *self.doubted.entry((*id).to_owned()).or_insert(now)).max();
            if since.is_some_and(|since| now.saturating_sub(since) < DOUBT) {
                tracing::warn!("Conviso shows the asset {asset} and none of {} issues that are known there", ids.len());
                doubtful.insert(asset);
            }
        }
        doubtful
    }
}

/// Conviso's id of what it was told.
fn id<'k>(one: &'k Known<'_>) -> Option<&'k str> {
    let remote = one.message.known.as_ref()?;
    remote.state.and(remote.id.as_deref())
}

fn asset<'k>(one: &'k Known<'_>) -> &'k str {
    one.target.get(ASSET).unwrap_or_default()
}

/// So long an asset of which nothing is shown is not taken for emptied: it is compared once a day.
const DOUBT: Duration = Duration::from_hours(12);

/// Issues that are doubted at once. Beyond it the doubt begins anew, and with each start.
const DOUBTED_MAX: usize = 100_000;
