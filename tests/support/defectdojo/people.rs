//! What people decide on DefectDojo's pages. Every decision here is taken by the administrator, never by the gateway's
//! own user, and moves `last_status_update` where the real one does.

use super::finding::SEVERITIES;
use super::model::{Model, RiskAcceptance};

/// The administrator, the first object there is.
pub(super) const ADMINISTRATOR: u64 = 1;

impl Model {
    pub fn mark_false_positive(&mut self, finding: u64) {
        self.save(finding, ADMINISTRATOR, |finding| {
            (finding.status.false_p, finding.status.active, finding.status.verified) = (true, false, false);
        });
    }

    /// The bulk edit done a second time leaves a false positive that is not mitigated.
    pub fn mark_false_positive_again(&mut self, finding: u64) {
        self.save(finding, ADMINISTRATOR, |finding| {
            (finding.status.false_p, finding.status.active) = (true, false);
            finding.status.is_mitigated = false;
        });
    }

    pub fn mark_out_of_scope(&mut self, finding: u64) {
        self.save(finding, ADMINISTRATOR, |finding| {
            (finding.status.out_of_scope, finding.status.active) = (true, false);
        });
    }

    /// A simple acceptance, which is a flag and a note.
    pub fn accept_risk(&mut self, finding: u64) {
        self.accept_simply(finding, ADMINISTRATOR);
    }

    /// A full acceptance, which is an object over findings; its id.
    pub fn accept_risk_of(&mut self, findings: &[u64]) -> u64 {
        self.accept_fully("Accepted by the team", findings, ADMINISTRATOR)
    }

    /// Deletes a full acceptance: its findings are active again.
    pub fn delete_acceptance(&mut self, acceptance: u64) {
        let at = self.acceptances.iter().position(|one| one.id == acceptance).expect("no such acceptance");
        for finding in self.acceptances.remove(at).findings {
            self.save(finding, ADMINISTRATOR, |finding| {
                (finding.status.risk_accepted, finding.status.active) = (false, true);
            });
        }
    }

    /// Takes a finding out of its acceptance, simple or full.
    pub fn unaccept_risk(&mut self, finding: u64) {
        self.unaccept(finding, ADMINISTRATOR);
    }

    pub fn mitigate(&mut self, finding: u64) {
        self.save(finding, ADMINISTRATOR, |finding| {
            (finding.status.is_mitigated, finding.status.active) = (true, false);
        });
    }

    /// Makes a finding active again, whatever it was.
    pub fn reopen(&mut self, finding: u64) {
        self.unaccept(finding, ADMINISTRATOR);
        self.save(finding, ADMINISTRATOR, |finding| {
            (finding.status.active, finding.status.is_mitigated) = (true, false);
            (finding.status.false_p, finding.status.out_of_scope) = (false, false);
        });
    }

    pub fn verify(&mut self, finding: u64) {
        self.save(finding, ADMINISTRATOR, |finding| finding.status.verified = true);
    }

    /// Neither active nor anything else.
    pub fn deactivate(&mut self, finding: u64) {
        self.save(finding, ADMINISTRATOR, |finding| finding.status.active = false);
    }

    /// Moves `updated` and no status.
    pub fn put_under_review(&mut self, finding: u64) {
        self.save(finding, ADMINISTRATOR, |finding| finding.under_review = true);
    }

    /// Moves `updated` and no status.
    pub fn rate(&mut self, finding: u64, severity: &str) {
        assert!(SEVERITIES.contains(&severity), "{severity} is no severity");
        self.save(finding, ADMINISTRATOR, |finding| severity.clone_into(&mut finding.severity));
    }

    pub fn delete_finding(&mut self, finding: u64) {
        self.findings.remove(&finding).expect("no such finding");
        for acceptance in &mut self.acceptances {
            acceptance.findings.retain(|one| *one != finding);
        }
        for other in self.findings.values_mut().filter(|one| one.duplicate_finding == Some(finding)) {
            other.duplicate_finding = None;
        }
    }

    pub fn rename_test(&mut self, test: u64, title: &str) {
        title.clone_into(&mut self.test_mut(test).expect("no such Test").title);
    }

    /// With its findings and its import history.
    pub fn delete_test(&mut self, test: u64) {
        let findings: Vec<u64> = self.findings_of(test).map(|finding| finding.id).collect();
        for finding in findings {
            self.delete_finding(finding);
        }
        self.imports.retain(|one| one.test != test);
        self.tests.retain(|one| one.id != test);
    }

    pub(super) fn accept_simply(&mut self, finding: u64, user: u64) {
        self.save(finding, user, |finding| {
            (finding.status.risk_accepted, finding.status.active) = (true, false);
            finding.note(user, format!("User {user} has risk accepted this finding"));
        });
    }

    pub(super) fn accept_fully(&mut self, name: &str, findings: &[u64], user: u64) -> u64 {
        for finding in findings {
            self.save(*finding, user, |finding| {
                (finding.status.risk_accepted, finding.status.active) = (true, false);
            });
        }
        let (id, created, name) = (self.new_id(), self.now(), name.to_owned());
        self.acceptances.push(RiskAcceptance { id, name, owner: user, findings: findings.to_vec(), created });
        id
    }

    /// Does nothing to a finding that is not accepted.
    pub(super) fn unaccept(&mut self, finding: u64, user: u64) {
        if !self.findings.get(&finding).expect("no such finding").status.risk_accepted {
            return;
        }
        for acceptance in &mut self.acceptances {
            acceptance.findings.retain(|one| *one != finding);
        }
        self.save(finding, user, |finding| {
            let status = &mut finding.status;
            status.active |= status.mitigated.is_none() && !status.false_p && !status.out_of_scope;
            status.risk_accepted = false;
            finding.note(user, format!("User {user} removed a risk exception from this finding"));
        });
    }
}
