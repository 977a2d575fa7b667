//! Reads what Sonar touched since the last read, and proves with the counts per state that nothing else changed them.

use std::collections::BTreeSet;

use super::WorkError;
use super::crawl::differing;
use super::sources::Connected;
use super::sync::{Reading, hash};
use crate::domain::crawl::{Ask, List, Slice};
use crate::domain::finding::{Kind, Observed};
use crate::domain::ids::{IssueKey, RuleKey};
use crate::domain::limits::SONAR_PAGE_ROWS;
use crate::domain::recent::{ByState, Next, Recent};
use crate::domain::reconcile::Staged;
use crate::domain::time::Timestamp;
use crate::store::{catalogue, findings, lists};

/// What came of it.
pub(super) enum Outcome {
    /// What changed is staged, and the counts agree.
    Proven {
        /// Findings that are not closed, as Sonar counts them.
        sonar_total: u64,
        watermark: Timestamp,
        rules: BTreeSet<RuleKey>,
        odd_words: BTreeSet<String>,
    },
    /// The whole has to be read.
    Whole(&'static str),
}

/// Reads what was touched since a time, by Sonar's dates.
pub(super) fn read(reading: &Reading, since: Timestamp) -> Result<Outcome, WorkError> {
    let id = reading.id;
    // What a read of the whole staged before it was interrupted was never proven.
    reading.clear()?;
    let mut counts = ByState::default();
    let (mut open_hotspots, mut open) = (0, 0);
    for ((kind, state), count) in reading.work.store.read(|view| lists::by_state(view, id))? {
        open += if state.is_closed() { 0 } else { count };
        match kind {
            Kind::Vulnerability => counts.add(state, i64::try_from(count).unwrap_or(i64::MAX)),
            Kind::Hotspot if !state.is_closed() => open_hotspots += count,
            Kind::Hotspot => {}
        }
    }
    let mut recent = Recent::new(since, open);
    let mut number = 1;
    let (mut seen, mut rules, mut odd_words) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut sonars = None;
    let mut fresh: Vec<Observed> = Vec::new();
    loop {
        reading.may_go_on()?;
        let Connected { client, dialect } = &*reading.connected;
        let (organization, project) = (&reading.project.organization.key, &reading.project.key);
        let page = client.recent(*dialect, organization, project, &reading.scope_ref, number)?;
        if number == 1 {
            sonars = page.facet("statuses").map(ByState::counted);
        }
        let touched: Vec<_> = page.findings.iter().map(|row| row.updated_at).collect();
        let next = recent.page(&touched, page.total);
        odd_words.extend(page.odd_words);
        // A row that moved to the top while pages were turned comes twice, or has come as it was before.
        let rows: Vec<Observed> = page
            .findings
            .into_iter()
            .filter(|row| row.updated_at.is_some_and(|at| at >= since) && seen.insert(hash(&row.key)))
            .collect();
        rules.extend(rows.iter().filter_map(|row| row.rule.clone()));
        fresh.extend(count_and_stage(reading, rows, &mut counts)?);
        match next {
            Next::Page(next) => number = next,
            Next::Done => break,
            Next::Unsorted => {
                note_unsorted(reading)?;
                return Ok(Outcome::Whole("Sonar does not sort by update date"));
            }
            Next::Much => return Ok(Outcome::Whole("much has changed")),
        }
    }
    if sonars != Some(counts) {
        return Ok(Outcome::Whole("the counts per state do not agree with what changed"));
    }
    if open_hotspots > 0 && was_hotspot(reading, &fresh)? {
        return Ok(Outcome::Whole("hotspots seem to have become issues"));
    }
    if reading.connected.dialect.lists().hotspots && !hotspots_are_as_stored(reading, open_hotspots)? {
        return Ok(Outcome::Whole("hotspots have changed"));
    }
    let watermark = recent.watermark();
    Ok(Outcome::Proven { sonar_total: counts.total() + open_hotspots, watermark, rules, odd_words })
}

/// Stages the rows that changed, counts what that does to the states, and returns the new ones.
fn count_and_stage(reading: &Reading, rows: Vec<Observed>, counts: &mut ByState) -> Result<Vec<Observed>, WorkError> {
    let id = reading.id;
    let changed = differing(reading, rows, |_| true)?;
    let stored = reading.work.store.read(|view| findings::with_keys(view, id, changed.iter().map(Staged::key)))?;
    let mut fresh = Vec::new();
    for (row, stored) in changed.iter().zip(stored) {
        let Staged::Seen(row) = row else { continue };
        match stored {
            Some(stored) => counts.add(stored.observed.state, -1),
            None => fresh.push((**row).clone()),
        }
        counts.add(row.state, 1);
    }
    reading.stage(changed)?;
    Ok(fresh)
}

/// Whether Sonar's hotspots are those that are stored: all that it lists are stored as they are, and as many are open.
/// They have no dates to be asked for by; where there are many, it is not worth the questions.
fn hotspots_are_as_stored(reading: &Reading, open: u64) -> Result<bool, WorkError> {
    let Connected { client, dialect } = &*reading.connected;
    let (organization, project) = (&reading.project.organization.key, &reading.project.key);
    let mut seen = BTreeSet::new();
    for page in 1..=HOTSPOT_PAGES_MAX {
        reading.may_go_on()?;
        let ask = Ask { list: List::Hotspots, slice: Slice::default(), page, facet: None };
        let answer = client.list(*dialect, organization, project, &reading.scope_ref, &ask)?;
        let listed = answer.findings.iter().filter(|row| !row.state.is_closed()).map(|row| hash(&row.key));
        seen.extend(listed);
        if answer.unusable > 0 || !differing(reading, answer.findings, |_| true)?.is_empty() {
            return Ok(false);
        }
        if u64::from(page) * u64::from(SONAR_PAGE_ROWS) >= answer.total {
            return Ok(seen.len() as u64 == open);
        }
    }
    Ok(false)
}

/// Pages of hotspots that are looked through before all is read instead.
const HOTSPOT_PAGES_MAX: u32 = 4;

/// Whether a new issue is where an open hotspot is: only a read of the whole can tell whether it is the same.
fn was_hotspot(reading: &Reading, fresh: &[Observed]) -> Result<bool, WorkError> {
    let places: BTreeSet<_> = fresh.iter().map(|row| (row.rule.as_ref(), row.path.as_deref())).collect();
    if places.is_empty() {
        return Ok(false);
    }
    let mut after: Option<IssueKey> = None;
    loop {
        reading.work.go_on()?;
        let stored = reading.work.store.read(|view| findings::after(view, reading.id, after.as_ref(), 1000))?;
        let Some(last) = stored.last() else { return Ok(false) };
        after = Some(last.observed.key.clone());
        let same = stored.iter().map(|finding| &finding.observed).any(|row| {
            row.kind == Kind::Hotspot
                && !row.state.is_closed()
                && places.contains(&(row.rule.as_ref(), row.path.as_deref()))
        });
        if same {
            return Ok(true);
        }
    }
}

fn note_unsorted(reading: &Reading) -> Result<(), WorkError> {
    let name = reading.project.organization.source.clone();
    reading.work.store.write(move |batch| match catalogue::source(batch, &name)? {
        Some(source) => catalogue::put_source(batch, &crate::store::records::Source { unsorted: true, ..source }, None),
        None => Ok(()),
    })?;
    Ok(())
}
