//! Which statuses moved in DefectDojo since a mark: the newest moves first, until the mark is met.

use std::collections::{BTreeMap, BTreeSet};

use super::DefectDojo;
use super::status::Status;
use super::wire::Row;
use crate::domain::time::Timestamp;
use crate::platform::{Decision, Polled, Trouble};

impl DefectDojo {
    pub(super) fn poll(&mut self, since: Option<&str>) -> Result<Polled, Trouble> {
        let mark = since.and_then(Mark::parse);
        let kind = self.test_type.or(mark.as_ref().map(|mark| mark.test_type));
        // Nothing was told yet, so nothing was decided about it.
        let Some(kind) = kind else { return Ok(Polled::default()) };
        match mark.filter(|mark| mark.test_type == kind) {
            Some(mark) => self.poll_after(&mark),
            None => self.poll_all(kind),
        }
    }

    /// One request while less than a page moved.
    fn poll_after(&mut self, mark: &Mark) -> Result<Polled, Trouble> {
        let (mut newest, mut seen) = (mark.at.clone(), BTreeMap::new());
        let mut decisions = Vec::new();
        let overlap = mark.time().map(|time| time.minus(OVERLAP));
        for page in 0..PAGES_MAX {
            let query = format!(
                "test__test_type={}&o=-last_status_update,-id&limit={PAGE}&offset={}",
                mark.test_type,
                page * PAGE
            );
            let found = self.calls.findings(&query)?;
            let mut met = found.next.is_none();
            for row in found.results {
                let Some(at) = row.last_status_update.clone() else { continue };
                let time = Timestamp::parse(&at).ok();
                if time.is_some() && time < overlap {
                    met = true;
                    break;
                }
                // Its own clock, to its own fraction of a second.
                if time > Timestamp::parse(&newest).ok() {
                    newest.clone_from(&at);
                }
                let known = self.polled.get(&row.id) == Some(&at);
                if seen.insert(row.id, at).is_none() && !known {
                    decisions.push(self.decision(&row));
                }
            }
            if met {
                break;
            }
        }
        let reach = Timestamp::parse(&newest).ok().map(|time| time.minus(OVERLAP));
        seen.retain(|_, at| Timestamp::parse(at).ok() >= reach);
        self.polled = seen;
        Ok(Polled { decisions, mark: Some(Mark { at: newest, ..mark.clone() }.to_string()) })
    }

    /// Everything that does not stand as it was made. Costs three requests where nothing was decided.
    fn poll_all(&mut self, test_type: u64) -> Result<Polled, Trouble> {
        let newest = self.calls.findings(&format!("test__test_type={test_type}&o=-last_status_update,-id&limit=1"))?;
        let newest = newest.results.into_iter().next().and_then(|row| row.last_status_update);
        let Some(at) = newest else { return Ok(Polled::default()) };
        let (mut decisions, mut known) = (Vec::new(), BTreeSet::new());
        for filter in ["active=false", "active=true&verified=true"] {
            for page in 0..PAGES_MAX {
                let query = format!("test__test_type={test_type}&{filter}&o=id&limit={PAGE}&offset={}", page * PAGE);
                let found = self.calls.findings(&query)?;
                for row in &found.results {
                    if known.insert(row.id) && Status::of(row.flags, self.verified_always) != Status::Active {
                        decisions.push(self.decision(row));
                    }
                }
                if found.next.is_none() {
                    break;
                }
            }
        }
        Ok(Polled { decisions, mark: Some(Mark { test_type, at }.to_string()) })
    }

    fn decision(&self, row: &Row) -> Decision {
        let status = Status::of(row.flags, self.verified_always);
        let reason = row.accepted_risks.iter().find_map(|risk| risk.name.clone());
        Decision {
            id: row.id.to_string(),
            key: row.unique_id_from_tool.clone(),
            word: status.word().to_owned(),
            reason: reason.filter(|_| status == Status::RiskAccepted),
            at: row.last_status_update.as_deref().and_then(|at| Timestamp::parse(at).ok()),
        }
    }
}

/// How far a poll came: the newest move, by the server's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    /// The number of our test type. It is part of the mark so that a poll after a start needs no other question.
    test_type: u64,
    at: String,
}

impl Mark {
    fn parse(text: &str) -> Option<Self> {
        let (test_type, at) = text.split_once(' ')?;
        let mark = Self { test_type: test_type.parse().ok()?, at: at.to_owned() };
        mark.time().map(|_| mark)
    }

    fn time(&self) -> Option<Timestamp> {
        Timestamp::parse(&self.at).ok()
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.test_type, self.at)
    }
}

/// What is stored in the same moment by several of the server's processes may become visible late.
const OVERLAP: std::time::Duration = std::time::Duration::from_mins(1);

const PAGE: usize = 100;

/// A hundred thousand moves in one poll.
const PAGES_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back() {
        let mark = Mark { test_type: 280, at: "2026-11-21T20:27:52.194174Z".to_owned() };
        assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
        assert_eq!(Mark::parse("280"), None);
        assert_eq!(Mark::parse("280 yesterday"), None);
    }
}
