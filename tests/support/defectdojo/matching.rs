//! The heart of a reimport: rows matched with the findings of their Test, and what a match does to each of them.

use std::collections::{BTreeSet, HashMap, VecDeque};

use jiff::Timestamp;

use super::finding::{Finding, SEVERITIES};
use super::model::{Algorithm, Model};
use super::rows::Row;

/// What a request asks of the import, beside its rows.
#[derive(Clone, Debug)]
pub(super) struct Wishes {
    pub(super) close_old_findings: bool,
    pub(super) do_not_reactivate: bool,
    pub(super) active: Option<bool>,
    pub(super) verified: Option<bool>,
    pub(super) service: Option<String>,
    pub(super) minimum_severity: String,
    pub(super) scan_date: Option<Timestamp>,
    /// Deduplication is done before the answer.
    pub(super) waits_for_deduplication: bool,
}

/// A reimport at work. It was matched when it began; whatever another one stores meanwhile, it does not see.
pub(super) struct Work {
    test: u64,
    user: u64,
    type_name: String,
    scan_type: String,
    algorithm: Algorithm,
    wishes: Wishes,
    first: bool,
    rows: VecDeque<Row>,
    candidates: HashMap<Key, Vec<u64>>,
    /// The findings in reach of the service: was it mitigated, was its risk accepted?
    originals: Vec<(u64, bool, bool)>,
    created: Vec<u64>,
    reactivated: BTreeSet<u64>,
    unchanged: BTreeSet<u64>,
    closed: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Hash(String),
    UniqueId(String),
    Legacy(String, String),
}

/// A value did not fit its column. What was stored before it stays.
pub(super) struct Broken;

impl Work {
    /// `first` is an import into a Test that was just made: it matches nothing, not even within the file.
    pub(super) fn begin(model: &Model, test: u64, user: u64, wishes: Wishes, first: bool, rows: Vec<Row>) -> Work {
        let place = model.test(test).expect("the Test was found before");
        let algorithm = model.algorithm(place);
        let rank = |severity: &str| SEVERITIES.iter().position(|one| *one == severity);
        let mut rows: VecDeque<Row> =
            rows.into_iter().filter(|row| rank(&row.finding.severity) <= rank(&wishes.minimum_severity)).collect();
        for row in &mut rows {
            if let Some(service) = &wishes.service {
                row.finding.service = Some(service.clone());
            }
            // With the service in it.
            row.finding.hash_code = row.finding.hash();
        }
        let mut candidates: HashMap<Key, Vec<u64>> = HashMap::new();
        let mut originals = Vec::new();
        for finding in model.findings_of(test) {
            for key in keys(algorithm, finding) {
                candidates.entry(key).or_default().push(finding.id);
            }
            if finding.service.as_deref().unwrap_or_default() == wishes.service.as_deref().unwrap_or_default() {
                let status = &finding.status;
                let mitigated = status.is_mitigated && status.mitigated.is_some();
                originals.push((finding.id, mitigated, status.risk_accepted));
            }
        }
        Work {
            test,
            user,
            type_name: model.type_name(place).to_owned(),
            scan_type: place.scan_type.clone(),
            algorithm,
            wishes,
            first,
            rows,
            candidates,
            originals,
            created: Vec::new(),
            reactivated: BTreeSet::new(),
            unchanged: BTreeSet::new(),
            closed: Vec::new(),
        }
    }

    pub(super) fn rows_left(&self) -> usize {
        self.rows.len()
    }

    /// Works through the next rows.
    pub(super) fn store(&mut self, model: &mut Model, count: usize) -> Result<(), Broken> {
        for _ in 0..count {
            let Some(row) = self.rows.pop_front() else { break };
            match self.matched(model, &row.finding) {
                Some(existing) => self.meet(model, existing, &row.finding),
                None if row.breaks => return Err(Broken),
                None => self.create(model, row.finding),
            }
        }
        Ok(())
    }

    /// The oldest match that is still there.
    fn matched(&self, model: &Model, row: &Finding) -> Option<u64> {
        if self.first {
            return None;
        }
        let all = keys(self.algorithm, row);
        let ids = all.iter().filter_map(|key| self.candidates.get(key)).flatten().copied();
        ids.filter(|id| model.findings.contains_key(id)).min()
    }

    fn meet(&mut self, model: &mut Model, id: u64, row: &Finding) {
        let existing = model.findings[&id].status.clone();
        let (user, verified) = (self.user, self.wishes.verified);
        if existing.false_p || existing.out_of_scope || existing.risk_accepted {
            let same = existing.false_p == row.status.false_p
                && existing.out_of_scope == row.status.out_of_scope
                && existing.risk_accepted == row.status.risk_accepted;
            if same || (existing.risk_accepted && !existing.active) {
                self.unchanged.insert(id);
            }
        } else if existing.is_mitigated {
            if row.status.is_mitigated {
                self.unchanged.insert(id);
            } else if self.wishes.do_not_reactivate {
                let entry = format!(
                    "Finding has skipped reactivation from {} re-upload with user decision do_not_reactivate.",
                    self.scan_type
                );
                let finding = model.findings.get_mut(&id).expect("it was matched");
                if finding.notes.iter().all(|note| note.entry != entry || note.author != user) {
                    finding.note(user, entry);
                }
            } else {
                let entry = format!("Re-activated by {} re-upload.", self.scan_type);
                model.save(id, user, |finding| {
                    finding.status.is_mitigated = false;
                    // A duplicate must not become active.
                    finding.status.active = !finding.duplicate;
                    finding.status.verified = verified.unwrap_or(finding.status.verified) && !finding.duplicate;
                    finding.note(user, entry);
                });
                self.reactivated.insert(id);
            }
        } else if row.status.is_mitigated {
            model.save(id, user, |finding| {
                (finding.status.is_mitigated, finding.status.active) = (true, false);
                finding.status.mitigated = row.status.mitigated;
                finding.status.verified = verified.unwrap_or(finding.status.verified);
            });
        } else if row.status.risk_accepted || row.status.false_p || row.status.out_of_scope {
            model.save(id, user, |finding| {
                finding.status.risk_accepted = row.status.risk_accepted;
                finding.status.false_p = row.status.false_p;
                finding.status.out_of_scope = row.status.out_of_scope;
                finding.status.active = false;
                finding.status.verified = verified.unwrap_or(finding.status.verified);
            });
        } else {
            self.unchanged.insert(id);
        }
    }

    fn create(&mut self, model: &mut Model, mut finding: Finding) {
        let (id, now) = (model.new_id(), model.now());
        finding.id = id;
        finding.test = self.test;
        finding.found_by = vec![model.test(self.test).map_or(0, |test| test.test_type)];
        finding.title = super::text::stored_title(&finding.title);
        finding.reporter = self.user;
        finding.created = now;
        finding.status.active = self.wishes.active.unwrap_or(finding.status.active);
        finding.status.verified = self.wishes.verified.unwrap_or(finding.status.verified);
        if let Some(date) = self.wishes.scan_date {
            finding.date = date.strftime("%Y-%m-%d").to_string();
        }
        finding.settle(None, self.user, now);
        for key in keys(self.algorithm, &finding) {
            self.candidates.entry(key).or_default().push(id);
        }
        self.created.push(id);
        model.findings.insert(id, finding);
    }

    /// Closes what was absent, if that was asked for, and tells what happened to which finding.
    pub(super) fn finish(mut self, model: &mut Model) -> Vec<(char, u64)> {
        if self.wishes.close_old_findings && !self.first {
            self.close_absent(model);
        }
        let new: BTreeSet<u64> = self.created.iter().copied().collect();
        let mut actions: Vec<(char, u64)> = new.iter().map(|id| ('N', *id)).collect();
        actions.extend(self.closed.iter().map(|id| ('C', *id)));
        actions.extend(self.reactivated.iter().filter(|id| !new.contains(id)).map(|id| ('R', *id)));
        let untouched = |id: &&u64| !new.contains(id) && !self.reactivated.contains(id) && !self.closed.contains(id);
        actions.extend(self.unchanged.iter().filter(untouched).map(|id| ('U', *id)));
        actions.retain(|(_, id)| model.findings.contains_key(id));
        actions
    }

    /// A finding counts as absent by what it was when the reimport began: one that a row of this very file closed is
    /// closed once more, with a note.
    fn close_absent(&mut self, model: &mut Model) {
        let (user, date) = (self.user, self.wishes.scan_date);
        for (id, was_mitigated, was_accepted) in std::mem::take(&mut self.originals) {
            let kept = self.unchanged.contains(&id) || self.reactivated.contains(&id) || was_mitigated;
            if kept || !model.findings.contains_key(&id) {
                continue;
            }
            let entry = format!("Mitigated by {} re-upload.", self.type_name);
            let now = model.now();
            model.save(id, user, |finding| {
                (finding.status.is_mitigated, finding.status.active) = (true, false);
                (finding.status.mitigated, finding.status.mitigated_by) = (Some(date.unwrap_or(now)), Some(user));
                finding.note(user, entry);
            });
            // An acceptance is lost with it, but not one that a row of this file has just set.
            if was_accepted {
                model.unaccept(id, user);
            }
            self.closed.push(id);
        }
    }

    /// The findings this import made.
    pub(super) fn created(&self) -> &[u64] {
        &self.created
    }

    pub(super) fn waits_for_deduplication(&self) -> bool {
        self.wishes.waits_for_deduplication
    }
}

/// Marks each new finding that another Test of its product has already, however that one stands. The mark stays when the
/// original is fixed.
pub(super) fn deduplicate(model: &mut Model, created: &[u64], user: u64) {
    if !model.settings.deduplication {
        return;
    }
    for id in created {
        let Some(new) = model.findings.get(id) else { continue };
        let Some(test) = model.test(new.test) else { continue };
        let (algorithm, type_name) = (model.algorithm(test), test.test_type);
        let engagement = model.engagement(test.engagement).clone();
        let wanted = keys(algorithm, new);
        let original = model.findings.range(..id).map(|(_, one)| one).find(|one| {
            let Some(other) = model.test(one.test) else { return false };
            let home = model.engagement(other.engagement);
            let alone = home.deduplication_on_engagement || engagement.deduplication_on_engagement;
            home.product == engagement.product
                && (home.id == engagement.id || !alone)
                && (algorithm != Algorithm::UniqueId || other.test_type == type_name)
                && !one.duplicate
                && keys(algorithm, one).iter().any(|key| wanted.contains(key))
        });
        if let Some(original) = original.map(|one| one.id) {
            model.save(*id, user, |finding| {
                (finding.duplicate, finding.duplicate_finding) = (true, Some(original));
                (finding.status.active, finding.status.verified) = (false, false);
            });
        }
    }
}

fn keys(algorithm: Algorithm, finding: &Finding) -> Vec<Key> {
    let hash = || Some(Key::Hash(finding.hash_code.clone()));
    let unique_id = || finding.unique_id.clone().map(Key::UniqueId);
    let keys = match algorithm {
        Algorithm::Hash => vec![hash()],
        Algorithm::UniqueId => vec![unique_id()],
        Algorithm::UniqueIdOrHash => vec![unique_id(), hash()],
        Algorithm::Legacy => vec![Some(Key::Legacy(finding.title.to_lowercase(), finding.severity.clone()))],
    };
    keys.into_iter().flatten().collect()
}
