//! Findings told to a simulated DefectDojo over real HTTP, as the machine tells them: what is known of each is kept
//! between calls, and only what differs is told.
//!
//! What can go wrong is that a finding is made twice, is closed without a cause, or that a person's decision is lost. Most
//! stories are told twice: to a server that goes by Sonar's key, and to one that goes by hashes and allows no change
//! of that.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hydrophone::domain::destination::{Destination, PlatformKind};
use hydrophone::domain::finding::{Finding, Kind, Observed, Severity, SonarWords, State};
use hydrophone::domain::ids::{
    AssetName, DestinationName, FindingId, IssueKey, OrganizationKey, ProjectKey, RuleKey, ScopeId, ScopeKind,
    ScopeName, SourceName,
};
use hydrophone::domain::message::{Cause, Held, Message, Place, Plan, Remote, RuleText, Target, plan};
use hydrophone::domain::time::Timestamp;
use hydrophone::domain::triage;
use hydrophone::platform::defectdojo::DefectDojo as Platform;
use hydrophone::platform::{Platform as _, Polled, Told, Trouble};
use hydrophone::sys::clock::Clock;
use hydrophone::sys::dice::Dice;
use hydrophone::sys::trust::Trust;
use serde_json::json;
use support::defectdojo::{Call, DefectDojo, Fault, Mishap, Model, Moment, When};
use support::gateway::Gateway;
use support::sonar::{Issue, Mode, Sonar};

/// How the server finds a row's finding again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Key,
    /// It refuses to be switched.
    Hash,
}

const BOTH: [By; 2] = [By::Key, By::Hash];

/// A gateway's side: what it holds of Sonar, what it remembers of the platform.
struct Side {
    dojo: Arc<DefectDojo>,
    destination: Destination,
    platform: Platform,
    place: Place,
    findings: BTreeMap<FindingId, Finding>,
    remotes: BTreeMap<FindingId, Remote>,
    target: Option<Target>,
    prepared: bool,
    mark: Option<String>,
    refused: Vec<(FindingId, Told)>,
}

impl Side {
    fn new(by: By) -> Side {
        let dojo = DefectDojo::start();
        if by == By::Hash {
            dojo.fault_by(
                When::Always,
                |call| call.method == "PATCH" && call.path.starts_with("/api/v2/tests/"),
                Fault::json(403, r#"{"detail":"You do not have permission to perform this action."}"#, 1),
            );
        }
        Side::at(Arc::new(dojo), "main")
    }

    fn at(dojo: Arc<DefectDojo>, branch: &str) -> Side {
        let name = DestinationName::parse("dojo").unwrap();
        let destination = Destination::new(name, PlatformKind::DefectDojo, dojo.url(), Timestamp(0));
        let platform = open(&destination, &dojo.token());
        Side {
            dojo,
            destination,
            platform,
            place: place(branch),
            findings: BTreeMap::new(),
            remotes: BTreeMap::new(),
            target: None,
            prepared: false,
            mark: None,
            refused: Vec::new(),
        }
    }

    /// With so many open findings, K1 and on.
    fn with(by: By, count: u64) -> Side {
        let mut side = Side::new(by);
        side.find(1..=count);
        side.tell();
        side
    }

    fn find(&mut self, numbers: impl IntoIterator<Item = u64>) {
        let branch = self.place.branch.as_str().to_owned();
        let prefix = if branch == "main" { String::new() } else { format!("{branch}-") };
        for number in numbers {
            self.findings.insert(FindingId(number), finding(number, &format!("{prefix}K{number}")));
        }
    }

    fn change(&mut self, number: u64, change: impl FnOnce(&mut Finding)) {
        change(self.findings.get_mut(&FindingId(number)).unwrap());
    }

    fn set(&mut self, number: u64, state: State) {
        self.change(number, |finding| {
            finding.observed.state = state;
            finding.observed.closed_at = state.is_closed().then_some(Timestamp(1_780_000_000_000));
        });
    }

    /// The daemon begins anew with what it stored.
    fn restart(&mut self) {
        self.platform = open(&self.destination, &self.dojo.token());
        self.prepared = false;
    }

    /// What the platform is to be told now.
    fn messages(&self) -> Vec<Message> {
        let all = self.findings.values().map(|finding| Message {
            cause: Cause::Present,
            state: finding.observed.state,
            rule: rule(),
            known: self.remotes.get(&finding.id).cloned(),
            url: self.place.page(&finding.observed),
            finding: finding.clone(),
        });
        let due = |message: &Message| !matches!(plan(message, Ok(())), Plan::Nothing | Plan::LeftOut(_));
        all.filter(due).collect()
    }

    /// Tells what is due once, as the machine does.
    fn try_tell(&mut self) -> Result<(), Trouble> {
        let batch = self.messages();
        self.try_batch(batch)
    }

    fn try_batch(&mut self, mut batch: Vec<Message>) -> Result<(), Trouble> {
        if batch.is_empty() {
            return Ok(());
        }
        if !self.prepared {
            self.target = Some(self.platform.prepare(&self.place, self.target.clone())?);
            self.prepared = true;
        }
        self.announce(&mut batch)?;
        let mut target = self.target.clone().unwrap();
        let pushed = self.platform.push(&self.place, &mut target, &batch);
        self.target = Some(target);
        if pushed.trouble.is_none() {
            assert_eq!(pushed.told.len(), batch.len(), "every message has an outcome");
        }
        for (finding, told) in pushed.told {
            match told {
                Told::Yes(remote) => drop(self.remotes.insert(finding, *remote.unwrap())),
                Told::Refused(_) | Told::Broke(_) => self.refused.push((finding, told)),
            }
        }
        if matches!(pushed.trouble, Some(Trouble::Target { .. })) {
            self.prepared = false;
        }
        pushed.trouble.map_or(Ok(()), Err)
    }

    /// What is stored before a push.
    fn announce(&mut self, batch: &mut [Message]) -> Result<(), Trouble> {
        let mut intended = Vec::new();
        for message in batch.iter_mut() {
            let mut remote = message.known.clone().unwrap_or_else(|| self.platform.intend(&self.place, message));
            remote.begin(message.state);
            intended.push((message.finding.id, remote.clone()));
            message.known.get_or_insert(remote);
        }
        let mut target = self.target.clone().unwrap();
        self.platform.begin(&self.place, &mut target, batch)?;
        self.target = Some(target);
        self.remotes.extend(intended);
        Ok(())
    }

    fn tell(&mut self) {
        self.try_tell().unwrap();
    }

    /// Tells until nothing is due, however often it is told to come later.
    fn tell_on(&mut self) {
        let begun = Instant::now();
        while let Err(trouble) = self.try_tell() {
            assert!(matches!(trouble, Trouble::Later { .. }), "{trouble}");
            assert!(begun.elapsed() < Duration::from_secs(20), "{trouble}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The words that a poll brings, by key.
    fn poll(&mut self) -> Vec<(String, String)> {
        let polled: Polled = self.platform.decisions(self.mark.as_deref()).unwrap();
        self.mark = polled.mark;
        let mut words = Vec::new();
        for decision in polled.decisions {
            words.push((decision.key.clone().unwrap(), decision.word.clone()));
            let Some(remote) = self.remotes.values_mut().find(|one| one.id.as_ref() == Some(&decision.id)) else {
                continue;
            };
            let table = hydrophone::platform::words(PlatformKind::DefectDojo);
            let said = (decision.word.as_str(), None);
            if let Some(taken) = triage::take_in(remote, None, said, &self.destination, table, Timestamp(0)) {
                remote.decided = taken.decided;
            }
        }
        words.sort();
        words
    }

    fn edit<R>(&self, change: impl FnOnce(&mut Model) -> R) -> R {
        self.dojo.edit(change)
    }

    fn id(&self, key: &str) -> u64 {
        self.edit(|model| model.finding_with(key).id)
    }

    /// The flags that are set, of the only finding with this key.
    fn flags(&self, key: &str) -> String {
        self.edit(|model| {
            let status = &model.finding_with(key).status;
            let flags = [
                (status.active, "active"),
                (status.verified, "verified"),
                (status.false_p, "false_p"),
                (status.out_of_scope, "out_of_scope"),
                (status.risk_accepted, "risk_accepted"),
                (status.is_mitigated, "mitigated"),
                (model.finding_with(key).duplicate, "duplicate"),
            ];
            flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
        })
    }

    fn count(&self) -> usize {
        self.edit(|model| model.findings.len())
    }

    fn active(&self) -> usize {
        self.edit(|model| model.findings.values().filter(|one| one.status.active).count())
    }

    /// Methods and paths since the last look.
    fn calls(&self) -> Vec<String> {
        let calls = self.dojo.requests();
        self.dojo.forget_requests();
        calls.iter().map(|call| format!("{} {}", call.method, call.path.trim_start_matches("/api/v2/"))).collect()
    }
}

fn open(destination: &Destination, token: &str) -> Platform {
    Platform::open(destination, Some(token), &Trust::load()).unwrap()
}

fn place(branch: &str) -> Place {
    Place {
        scope: ScopeId(1),
        source: SourceName::parse("sonar").unwrap(),
        site: None,
        source_url: "https://sonar.example".to_owned(),
        cloud: true,
        organization: OrganizationKey::parse("acme").unwrap(),
        project: ProjectKey::parse("shop").unwrap(),
        project_name: "Shop".to_owned(),
        repository: None,
        asset: AssetName::parse("Shop").unwrap(),
        branch: ScopeName::parse(branch).unwrap(),
        scope_kind: ScopeKind::Branch,
        main: branch == "main",
        analysed_at: Some(Timestamp(1_770_000_000_000)),
        revision: None,
        complete: true,
        held: Held::default(),
    }
}

fn rule() -> Arc<RuleText> {
    let description = Some("<p>Use a strong cipher.</p>".to_owned());
    Arc::new(RuleText { name: Some("Weak ciphers should not be used".to_owned()), cwe: vec![327, 326], description })
}

fn finding(number: u64, key: &str) -> Finding {
    let observed = Observed {
        key: IssueKey::parse(key).unwrap(),
        kind: Kind::Vulnerability,
        rule: Some(RuleKey::parse("java:S5542").unwrap()),
        message: "Use a stronger cipher.".to_owned(),
        severity: Severity::High,
        state: State::Open,
        path: Some("src/Safe.java".to_owned()),
        line: Some(10),
        range: None,
        created_at: Some(Timestamp(1_760_000_000_000)),
        updated_at: None,
        closed_at: None,
        sonar: SonarWords::default(),
        flows: Vec::new(),
    };
    let first_seen_at = Timestamp(1_770_000_000_000);
    Finding {
        id: FindingId(number),
        slot: 0,
        observed,
        first_seen_at,
        closed_at: None,
        closed_by: None,
        former: Vec::new(),
    }
}

#[test]
fn findings_are_made_once_and_what_is_known_is_not_told_again() {
    for by in BOTH {
        // All of them have the same rule, file and line: twins but for their keys.
        let mut side = Side::with(by, 8);
        assert_eq!((side.count(), side.active()), (8, 8), "{by:?}");
        side.calls();
        side.tell();
        assert_eq!(side.calls(), Vec::<String>::new());
        // Told again as if nothing were known of it, as after a lost answer.
        for remote in side.remotes.values_mut() {
            (remote.state, remote.id) = (None, None);
        }
        side.tell();
        assert_eq!((side.count(), side.active()), (8, 8), "{by:?}");
        assert!(side.remotes.values().all(|remote| remote.id.is_some()));
    }
}

#[test]
fn five_hundred_findings_take_two_requests_and_closing_them_one() {
    let mut side = Side::new(By::Key);
    side.find([1]);
    side.tell();
    side.find(2..=501);
    side.calls();
    side.tell();
    assert_eq!(side.calls(), ["POST reimport-scan/", "GET findings/"]);
    assert_eq!(side.count(), 501);
    assert!(side.remotes.values().all(|remote| remote.id.is_some()));
    for number in 2..=501 {
        side.set(number, State::Fixed);
    }
    side.tell();
    assert_eq!(side.calls(), ["POST reimport-scan/"]);
    assert_eq!(side.active(), 1);
    for number in 2..=501 {
        side.set(number, State::Open);
    }
    side.tell();
    assert_eq!(side.calls(), ["POST reimport-scan/"]);
    assert_eq!((side.count(), side.active()), (501, 501));
}

#[test]
fn the_form_of_every_import_wipes_and_closes_nothing() {
    let mut side = Side::with(By::Key, 2);
    side.set(1, State::Fixed);
    side.tell();
    for call in side.dojo.reimports() {
        assert_eq!(call.field("close_old_findings"), Some("false"));
        assert_eq!(call.field("deduplication_execution_mode"), Some("sync"));
    }
    let test = side.edit(|model| model.test_titled("sonar:acme:shop:main").unwrap().clone());
    assert_eq!((test.branch_tag.as_str(), test.version.as_str()), ("main", "2026-02-02T02:40:00Z"));
    assert_eq!(side.active(), 1, "a file with one of two closes no other");
}

#[test]
fn a_finding_is_fixed_with_sonars_date_and_reopened() {
    for by in BOTH {
        let mut side = Side::with(by, 3);
        side.set(1, State::Fixed);
        side.set(2, State::Removed);
        side.tell();
        assert_eq!(
            (side.flags("K1"), side.flags("K2"), side.flags("K3")),
            ("mitigated".into(), "mitigated".into(), "active".into())
        );
        let at = side.edit(|model| model.finding_with("K1").status.mitigated.unwrap());
        assert_eq!(at.as_millisecond(), 1_780_000_000_000);
        side.set(1, State::Open);
        side.tell();
        assert_eq!((side.flags("K1"), side.count()), ("active".into(), 3));
    }
}

#[test]
fn sonars_decisions_are_told_and_taken_back() {
    for by in BOTH {
        let mut side = Side::with(by, 1);
        for (state, flags) in [
            (State::FalsePositive, "false_p mitigated"),
            (State::Open, "active"),
            (State::Accepted, "risk_accepted"),
            (State::FalsePositive, "false_p mitigated"),
            (State::Accepted, "risk_accepted"),
            (State::Open, "active"),
            (State::Confirmed, "active verified"),
            (State::Open, "active"),
            (State::FalsePositive, "false_p mitigated"),
            (State::Fixed, "mitigated"),
            (State::Open, "active"),
            (State::Accepted, "risk_accepted"),
            (State::Fixed, "mitigated"),
            (State::Accepted, "risk_accepted"),
            (State::Confirmed, "active verified"),
            (State::Fixed, "verified mitigated"),
            (State::Confirmed, "active verified"),
        ] {
            side.set(1, state);
            side.tell();
            assert_eq!(side.flags("K1"), flags, "{by:?}: {state}");
        }
        assert_eq!(side.count(), 1);
        // A finding may be told for the first time with a decision.
        side.find([2, 3]);
        side.set(2, State::FalsePositive);
        side.set(3, State::Accepted);
        side.tell();
        assert_eq!((side.flags("K2"), side.flags("K3")), ("false_p mitigated".into(), "risk_accepted".into()));
    }
}

#[test]
fn what_changes_visibly_is_changed_on_the_same_finding() {
    for by in BOTH {
        let mut side = Side::with(by, 2);
        let id = side.id("K1");
        side.change(1, |finding| {
            finding.observed.severity = Severity::Critical;
            finding.observed.line = Some(99);
            finding.observed.path = Some("src/Other.java".to_owned());
            finding.observed.message = "Use AES.".to_owned();
        });
        side.calls();
        side.tell();
        assert_eq!(side.calls(), [format!("PATCH findings/{id}/")]);
        side.tell();
        assert_eq!(side.calls(), Vec::<String>::new());
        // The next rows find it by what it was at birth.
        side.set(1, State::Fixed);
        side.tell();
        side.set(1, State::Open);
        side.tell();
        assert_eq!((side.id("K1"), side.count(), side.flags("K1")), (id, 2, "active".into()), "{by:?}");
        side.edit(|model| {
            let one = model.finding_with("K1");
            assert_eq!((one.severity.as_str(), one.line), ("Critical", Some(99)));
            assert_eq!(one.file_path.as_deref(), Some("src/Other.java"));
            assert!(one.description.starts_with("Use AES."), "{}", one.description);
        });
    }
}

#[test]
fn decisions_of_people_are_kept_whatever_is_told() {
    for by in BOTH {
        let mut side = Side::with(by, 7);
        let [k1, k2, k3, k4, k5, k6] = ["K1", "K2", "K3", "K4", "K5", "K6"].map(|key| side.id(key));
        side.edit(|model| {
            model.mark_false_positive(k1);
            model.accept_risk(k2);
            model.accept_risk_of(&[k3]);
            model.mark_out_of_scope(k4);
            model.mitigate(k5);
            model.verify(k6);
        });
        let decided = ["K1", "K2", "K3", "K4", "K5"].map(|key| side.flags(key));
        let all = |side: &Side| ["K1", "K2", "K3", "K4", "K5"].map(|key| side.flags(key));
        // Told everything anew: nothing changed in Sonar.
        side.tell();
        // Something else of them changed in Sonar, and another finding.
        for number in 1..=6 {
            side.change(number, |finding| finding.observed.line = Some(77));
        }
        side.set(7, State::Fixed);
        side.tell();
        assert_eq!(all(&side), decided, "{by:?}");
        // Sonar decides otherwise, and takes it back.
        for state in [State::Accepted, State::FalsePositive, State::Open] {
            for number in 1..=5 {
                side.set(number, state);
            }
            side.tell();
            let kept = all(&side);
            assert_eq!(kept, decided, "{by:?} {state}");
        }
        // Fixed and reopened in Sonar: what a person only mitigated is back, decisions stay.
        for state in [State::Fixed, State::Open] {
            for number in 1..=6 {
                side.set(number, state);
            }
            side.tell();
            assert_eq!(all(&side)[..4], decided[..4], "{by:?} {state}");
        }
        assert_eq!((side.flags("K5"), side.flags("K6")), ("active".into(), "active verified".into()));
        assert_eq!(side.edit(|model| model.acceptances[0].findings.clone()), [k3]);
        assert_eq!(side.count(), 7);
    }
}

#[test]
fn a_poll_brings_each_decision_once_and_costs_one_request() {
    let mut side = Side::with(By::Key, 7);
    assert_eq!(side.poll(), []);
    side.calls();
    side.poll();
    assert_eq!(side.calls(), ["GET findings/"]);
    let [k1, k2, k3, k4, k5, k6, k7] = ["K1", "K2", "K3", "K4", "K5", "K6", "K7"].map(|key| side.id(key));
    side.edit(|model| {
        model.mark_false_positive(k1);
        model.accept_risk_of(&[k2]);
        model.mark_out_of_scope(k3);
        model.mitigate(k4);
        model.verify(k5);
        model.deactivate(k6);
        model.rate(k7, "Low");
    });
    let pair = |key: &str, word: &str| (key.to_owned(), word.to_owned());
    let decided = [
        pair("K1", "false_positive"),
        pair("K2", "risk_accepted"),
        pair("K3", "out_of_scope"),
        pair("K4", "mitigated"),
        pair("K5", "verified"),
        pair("K6", "inactive"),
    ];
    assert_eq!(side.poll(), decided);
    assert_eq!(side.poll(), []);
    assert_eq!(side.calls(), ["GET findings/", "GET findings/"]);
    // After a restart the mark alone is enough, and the last minute comes once more.
    side.restart();
    let again = side.poll();
    assert!(decided.iter().all(|one| again.contains(one)), "{again:?}");
    assert_eq!(side.poll(), []);
    // Our own writes come back as what was told.
    side.set(7, State::Fixed);
    side.tell();
    assert_eq!(side.poll(), [pair("K7", "mitigated")]);
    assert_eq!(side.remotes[&FindingId(7)].decided, None);
    side.edit(|model| model.unaccept_risk(k2));
    assert_eq!(side.poll(), [pair("K2", "active")]);
    // A gateway that never polled hears of all that stands otherwise.
    side.mark = None;
    let all = side.poll();
    assert_eq!(all.len(), 6, "{all:?}");
}

#[test]
fn many_moves_are_read_page_by_page() {
    let mut side = Side::with(By::Key, 250);
    side.poll();
    let ids: Vec<u64> = side.edit(|model| model.findings.keys().copied().collect());
    side.edit(|model| ids.iter().for_each(|id| model.mark_false_positive(*id)));
    assert_eq!(side.poll().len(), 250);
}

#[test]
fn a_dropped_connection_is_waited_for() {
    for by in BOTH {
        let mut side = Side::with(by, 1);
        side.edit(|model| model.settings.reimport_takes = Duration::from_millis(600));
        let dropped = Mishap::Dropped { after: Duration::from_millis(100) };
        side.dojo.fault("/api/v2/reimport-scan/", Fault::mishap(dropped, 1));
        side.find(2..=40);
        assert!(matches!(side.try_tell(), Err(Trouble::Later { .. })));
        let sent = side.dojo.reimports().len();
        let Err(Trouble::Later { why, after }) = side.try_tell() else { panic!("it is not waited for") };
        assert!(why.contains("may still be under way") && after.is_some(), "{why}");
        assert_eq!(side.dojo.reimports().len(), sent, "a second import was sent beside the first");
        side.edit(|model| model.settings.reimport_takes = Duration::ZERO);
        side.tell_on();
        assert_eq!((side.count(), side.active()), (40, 40), "{by:?}");
        assert_eq!(side.dojo.reimports().len(), sent, "all of it was there");
        assert!(side.remotes.values().all(|remote| remote.id.is_some()));
    }
}

#[test]
fn an_import_is_waited_for_after_a_restart() {
    // The process ends while the server works: all it leaves is what was stored before the push.
    let mut side = Side::with(By::Key, 1);
    side.find(2..=30);
    let mut batch = side.messages();
    side.announce(&mut batch).unwrap();
    let stored = (side.target.clone(), side.remotes.clone());
    side.edit(|model| model.settings.reimport_takes = Duration::from_millis(400));
    let hold = side.dojo.hold_when(Moment::Amid, Call::is_reimport);
    thread::scope(|threads| {
        let (platform, place, mut target) = (&mut side.platform, &side.place, stored.0.clone().unwrap());
        let lost = threads.spawn(move || platform.push(place, &mut target, &batch));
        hold.wait_held(1);
        let mut other = Side::at(Arc::clone(&side.dojo), "main");
        (other.target, other.remotes) = stored.clone();
        other.findings.clone_from(&side.findings);
        assert!(matches!(other.try_tell(), Err(Trouble::Later { .. })));
        hold.release();
        lost.join().unwrap();
        other.tell_on();
        assert_eq!(other.count(), 30);
        assert!(other.remotes.values().all(|remote| remote.id.is_some()));
    });
}

#[test]
fn an_import_that_never_ends_is_given_up_and_only_what_is_missing_is_told() {
    let mut side = Side::with(By::Key, 1);
    side.find(2..=20);
    // The server goes down in the middle; its history will never know of it.
    let matches = |call: &Call| call.is_reimport();
    side.dojo.fault_when(matches, Fault::mishap(Mishap::MidRows { rows: 7 }, 1));
    side.dojo.fault_when(|call| call.path.contains("test_imports"), Fault::bad_gateway(1));
    assert!(side.try_tell().is_err());
    assert_eq!(side.count(), 8);
    let Err(Trouble::Later { why, .. }) = side.try_tell() else { panic!("it may be under way") };
    assert!(why.contains("may still be under way"), "{why}");
    side.platform = open(&side.destination, &side.dojo.token()).with_patience(Duration::ZERO);
    side.dojo.forget_requests();
    side.tell();
    assert_eq!((side.count(), side.active()), (20, 20));
    assert_eq!(side.dojo.reimports()[0].rows().len(), 12, "what was there was not sent again");
}

/// A box without a clock of its own is given the time when it finds a time server, days on from where it began.
#[test]
fn a_clock_that_is_set_gives_no_import_up() {
    let mut side = Side::with(By::Key, 1);
    let clock = Clock::by_hand(Timestamp(1_780_000_000_000));
    side.platform = open(&side.destination, &side.dojo.token()).by(&clock, &Dice::seeded(1));
    side.find(2..=20);
    side.dojo.fault_when(Call::is_reimport, Fault::mishap(Mishap::Late, 1));
    side.try_tell().unwrap_err();
    side.try_tell().unwrap_err();
    clock.set(Timestamp(1_790_000_000_000));
    let Err(Trouble::Later { why, .. }) = side.try_tell() else { panic!("it is under way") };
    assert!(why.contains("may still be under way"), "{why}");
    side.dojo.end_late();
    side.tell();
    assert_eq!((side.count(), side.active()), (20, 20));
    // One that never comes to its end is given up by the steady count.
    side.find(21..=30);
    side.dojo.fault_when(Call::is_reimport, Fault::Reset { times: 1 });
    side.try_tell().unwrap_err();
    side.try_tell().unwrap_err();
    clock.advance(Duration::from_mins(6));
    side.tell();
    assert_eq!((side.count(), side.active()), (30, 30));
}

#[test]
fn five_hundreds_leave_nothing_out_and_nothing_twice() {
    for mishap in [Mishap::AfterCommit, Mishap::MidRows { rows: 13 }] {
        for by in BOTH {
            let mut side = Side::with(by, 1);
            side.find(2..=40);
            side.dojo.fault("/api/v2/reimport-scan/", Fault::mishap(mishap, 1));
            side.tell_on();
            assert_eq!((side.count(), side.active()), (40, 40), "{by:?} {mishap:?}");
            assert!(side.remotes.values().all(|remote| remote.id.is_some()), "{by:?} {mishap:?}");
        }
    }
}

/// An answer that is lost leaves two states that the platform may be in, another one a third. A row takes no decision
/// back, so each of them has to be known as ours, also where nothing at all was ever answered.
#[test]
fn whichever_answers_are_lost_the_state_that_is_told_last_stands() {
    const STATES: [State; 4] = [State::Open, State::Confirmed, State::Accepted, State::FalsePositive];
    for told in [None, Some(State::Open), Some(State::Accepted), Some(State::FalsePositive)] {
        // Another one is told before, so that its Test is there.
        let mut side = Side::with(By::Key, 1);
        side.platform = open(&side.destination, &side.dojo.token()).with_patience(Duration::ZERO);
        let mut lives: Vec<[State; 3]> = Vec::new();
        for first in STATES {
            for second in STATES {
                lives.extend(STATES.iter().chain(&[State::Fixed]).map(|third| [first, second, *third]));
            }
        }
        let numbers = 2..2 + lives.len() as u64;
        side.find(numbers.clone());
        let set = |side: &mut Side, at: usize| {
            (2..).zip(&lives).for_each(|(number, life)| side.set(number, life[at]));
        };
        if let Some(told) = told {
            numbers.for_each(|number| side.set(number, told));
            side.tell();
            side.poll();
        }
        // It arrives, and its answer does not.
        set(&mut side, 0);
        side.dojo.fault_when(Call::is_reimport, Fault::CutBody { times: 1 });
        side.try_tell().unwrap_err();
        side.poll();
        // It does not arrive.
        set(&mut side, 1);
        side.dojo.fault_when(|call| call.method != "GET", Fault::Reset { times: 1 });
        side.try_tell().unwrap_err();
        side.poll();
        set(&mut side, 2);
        side.tell();
        for (number, life) in (2..).zip(&lives) {
            let right = match life[2] {
                State::Open => "active",
                State::Confirmed => "active verified",
                State::Accepted => "risk_accepted",
                State::FalsePositive => "false_p mitigated",
                State::Fixed | State::Removed => "mitigated",
            };
            let flags = side.flags(&format!("K{number}")).replace("verified mitigated", "mitigated");
            assert_eq!(flags.trim_start_matches("verified "), right, "{told:?}, then {life:?}");
        }
    }
}

#[test]
fn one_bad_row_is_found_and_the_others_pass() {
    let mut side = Side::with(By::Key, 1);
    let poison = |call: &Call| call.is_reimport() && call.rows().iter().any(|row| row["unique_id_from_tool"] == "K33");
    side.dojo.fault_by(When::Always, poison, Fault::internal_error(1));
    side.find(2..=50);
    side.tell();
    assert_eq!((side.count(), side.refused.len()), (49, 1));
    assert_eq!(side.refused[0].0, FindingId(33));
    // It may be the server's fault after all, and is tried again later.
    let Told::Broke(why) = &side.refused[0].1 else { panic!("{:?}", side.refused[0]) };
    assert!(why.contains("breaks off"), "{why}");
    assert!(side.dojo.reimports().len() < 20);
    // A file that is refused for one row is told apart from one that breaks.
    side.dojo.clear_faults();
    let poison = |call: &Call| call.is_reimport() && call.rows().iter().any(|row| row["unique_id_from_tool"] == "K60");
    let body = r#"{"message":"[\"Not allowed fields are present: ['x']\"]","pro":[]}"#;
    side.dojo.fault_by(When::Always, poison, Fault::json(400, body, 1));
    side.find(51..=70);
    side.findings.remove(&FindingId(33));
    side.refused.clear();
    side.tell();
    assert_eq!((side.count(), side.refused[0].0), (68, FindingId(60)));
    let Told::Refused(why) = &side.refused[0].1 else { panic!("{:?}", side.refused[0]) };
    assert!(why.contains("Not allowed fields"), "{why}");
}

#[test]
fn a_server_that_takes_nothing_is_not_taken_for_bad_rows() {
    let mut side = Side::with(By::Key, 1);
    side.find(2..=100);
    side.dojo.fault_always("/api/v2/reimport-scan/", Fault::internal_error(1));
    assert!(matches!(side.try_tell(), Err(Trouble::Later { .. })));
    assert_eq!((side.refused.len(), side.count()), (0, 1));
    side.dojo.clear_faults();
    side.tell_on();
    assert_eq!(side.count(), 100);
}

#[test]
fn what_does_not_fit_is_cut_before_it_is_sent() {
    let mut side = Side::with(By::Key, 1);
    side.find(2..=6);
    side.change(2, |finding| finding.observed.path = Some("p".repeat(5000)));
    side.change(3, |finding| finding.observed.line = Some(u32::MAX));
    side.change(4, |finding| finding.observed.message = "a\0b\u{7}".to_owned());
    side.change(5, |finding| finding.observed.message = "m".repeat(1 << 20));
    side.change(6, |finding| finding.observed.path = Some(String::new()));
    side.tell();
    assert_eq!((side.count(), side.refused.len()), (6, 0));
    assert_eq!(side.dojo.reimports().len(), 3);
}

#[test]
fn a_second_branch_is_a_test_of_its_own_and_no_duplicate() {
    for by in BOTH {
        let mut main = Side::with(by, 8);
        main.edit(|model| model.settings.deduplication = true);
        let mut next = Side::at(Arc::clone(&main.dojo), "next");
        next.find(1..=8);
        next.tell();
        assert_eq!((next.count(), next.active()), (16, 16), "{by:?}");
        assert_eq!(next.edit(|model| (model.tests.len(), model.products.len(), model.engagements.len())), (2, 1, 1));
        main.set(1, State::Fixed);
        main.tell();
        assert_eq!((main.flags("K1"), main.flags("next-K1")), ("mitigated".into(), "active".into()));
    }
}

#[test]
fn a_new_key_is_handed_over() {
    for by in BOTH {
        let mut side = Side::with(by, 2);
        let id = side.id("K1");
        side.change(1, |finding| finding.observed.key = IssueKey::parse("N1").unwrap());
        side.tell();
        side.set(1, State::Fixed);
        side.tell();
        assert_eq!((side.id("N1"), side.flags("N1"), side.count()), (id, "mitigated".into(), 2), "{by:?}");
        // The key changes in the same moment as the state.
        side.change(2, |finding| finding.observed.key = IssueKey::parse("N2").unwrap());
        side.set(2, State::Fixed);
        side.tell();
        assert_eq!((side.flags("N2"), side.count()), ("mitigated".into(), 2), "{by:?}");
    }
}

#[test]
fn a_lost_local_database_finds_everything_again() {
    for by in BOTH {
        let mut side = Side::with(by, 8);
        side.change(1, |finding| finding.observed.line = Some(40));
        side.tell();
        let [k2, k3, k4] = ["K2", "K3", "K4"].map(|key| side.id(key));
        side.set(5, State::Fixed);
        side.tell();
        side.edit(|model| {
            model.mark_false_positive(k2);
            model.mitigate(k3);
            model.accept_risk_of(&[k4]);
        });
        let ids: Vec<Option<String>> = side.remotes.values().map(|remote| remote.id.clone()).collect();
        let mut anew = Side::at(Arc::clone(&side.dojo), "main");
        anew.findings.clone_from(&side.findings);
        anew.set(5, State::Open);
        anew.set(6, State::FalsePositive);
        anew.change(7, |finding| finding.observed.severity = Severity::Low);
        anew.find([9]);
        if by == By::Hash {
            anew.edit(|model| model.product_mut("Shop").simple_risk_acceptance = true);
        }
        anew.tell();
        let again: Vec<Option<String>> = anew.remotes.values().map(|remote| remote.id.clone()).collect();
        assert_eq!((&again[..8], anew.count()), (&ids[..], 9), "{by:?}");
        assert_eq!(anew.edit(|model| model.tests.len()), 1);
        assert_eq!((anew.flags("K2"), anew.flags("K3")), ("false_p mitigated".into(), "mitigated".into()));
        assert_eq!((anew.flags("K4"), anew.flags("K5")), ("risk_accepted".into(), "active".into()));
        assert_eq!((anew.flags("K6"), anew.flags("K9")), ("false_p mitigated".into(), "active".into()));
        assert_eq!(anew.edit(|model| model.finding_with("K7").severity.clone()), "Low");
        assert_eq!(anew.remotes[&FindingId(3)].decided.as_deref(), Some("mitigated"));
        // And goes on as before.
        anew.set(1, State::Fixed);
        anew.tell();
        anew.set(1, State::Open);
        anew.tell();
        assert_eq!((anew.flags("K1"), anew.count()), ("active".into(), 9), "{by:?}");
    }
}

#[test]
fn a_test_is_known_by_its_number_and_made_again_when_it_is_gone() {
    for by in BOTH {
        let mut side = Side::with(by, 3);
        let test = side.edit(|model| model.test_titled("sonar:acme:shop:main").unwrap().id);
        side.edit(|model| model.rename_test(test, "renamed by a person"));
        side.restart();
        side.find([4]);
        side.tell();
        assert_eq!(side.edit(|model| model.tests.len()), 1, "{by:?}");
        side.edit(|model| model.delete_test(test));
        side.find([5]);
        assert!(matches!(side.try_tell(), Err(Trouble::Target { .. })));
        side.tell();
        assert_eq!((side.flags("K5"), side.edit(|model| model.tests.len())), ("active".into(), 1), "{by:?}");
    }
}

#[test]
fn a_finding_that_a_person_deleted_is_made_anew() {
    for by in BOTH {
        let mut side = Side::with(by, 3);
        for number in 1..=3 {
            let id = side.id(&format!("K{number}"));
            side.edit(|model| model.delete_finding(id));
        }
        side.change(1, |finding| finding.observed.line = Some(5));
        side.set(2, State::FalsePositive);
        side.set(3, State::Fixed);
        side.tell();
        side.set(3, State::Open);
        side.tell();
        assert_eq!((side.flags("K1"), side.flags("K2")), ("active".into(), "false_p mitigated".into()), "{by:?}");
        assert_eq!((side.flags("K3"), side.count()), ("active".into(), 3));
        for number in 1..=3 {
            let id = side.id(&format!("K{number}")).to_string();
            assert_eq!(side.remotes[&FindingId(number)].id, Some(id), "{by:?} K{number}");
        }
        assert_eq!(side.edit(|model| model.finding_with("K1").line), Some(5));
    }
}

#[test]
fn what_is_not_held_here_any_more_is_closed_with_what_is_remembered() {
    for by in BOTH {
        let mut side = Side::with(by, 2);
        let known = side.remotes[&FindingId(1)].clone();
        side.findings.remove(&FindingId(1));
        side.try_batch(vec![Message::gone(FindingId(1), known, Timestamp(1_790_000_000_000))]).unwrap();
        assert_eq!((side.flags("K1"), side.count()), ("mitigated".into(), 2), "{by:?}");
    }
}

#[test]
fn what_was_closed_before_it_was_told_is_not_made() {
    let mut side = Side::with(By::Key, 1);
    side.find([2]);
    let mut batch = side.messages();
    side.announce(&mut batch).unwrap();
    side.target.as_mut().unwrap().0.remove("importing");
    side.set(2, State::Fixed);
    side.tell();
    assert_eq!(side.count(), 1);
    assert_eq!(side.remotes[&FindingId(2)].state, Some(State::Fixed));
}

#[test]
fn trouble_is_told_apart() {
    let mut side = Side::with(By::Key, 1);
    side.find([2]);
    // The token is revoked in the middle.
    side.dojo.fault("/api/v2/reimport-scan/", Fault::mishap(Mishap::TokenRevoked, 1));
    let Err(Trouble::Refused { why, remedy }) = side.try_tell() else { panic!("no person is asked") };
    assert!(why.contains("refuses the token: Invalid token"), "{why}");
    assert!(remedy.contains("destination edit dojo --token-file"), "{remedy}");
    side.edit(|model| model.user_mut(DefectDojo::USER).token = Some("token-of-hydrophone".to_owned()));
    side.tell();
    // Rights are lost: the place is hidden, and nothing is closed.
    side.edit(|model| model.product_type_mut(DefectDojo::PRODUCT_TYPE).authorized_users.clear());
    side.set(1, State::Fixed);
    let Err(Trouble::Target { why, .. }) = side.try_tell() else { panic!("it is no matter of the place") };
    assert!(why.contains("may not do this"), "{why}");
    assert_eq!(side.flags("K1"), "active");
    for (fault, later) in [
        (Fault::too_many_requests(1).with_header("Retry-After", "7"), true),
        (Fault::bad_gateway(1), true),
        (Fault::html(200, 1), false),
        (Fault::NoAnswer { times: 1 }, true),
        (Fault::CutBody { times: 1 }, true),
    ] {
        let mut side = Side::new(By::Key);
        side.find([1]);
        side.dojo.fault("/api/v2/products/", fault);
        let trouble = side.try_tell().unwrap_err();
        assert_eq!(matches!(trouble, Trouble::Later { .. }), later, "{trouble}");
        side.tell_on();
        assert_eq!(side.count(), 1);
    }
}

#[test]
fn a_page_in_place_of_an_answer_is_not_taken_for_a_change() {
    let mut side = Side::with(By::Key, 1);
    side.change(1, |finding| finding.observed.severity = Severity::Critical);
    side.dojo.fault_when(|call| call.method == "PATCH", Fault::html(200, 1));
    let trouble = side.try_tell().unwrap_err();
    assert!(trouble.to_string().contains("an HTML page"), "{trouble}");
    side.tell();
    assert_eq!(side.edit(|model| model.finding_with("K1").severity.clone()), "Critical");
}

#[test]
fn an_answer_that_breaks_is_no_reason_to_make_a_finding_twice() {
    for fault in [
        Fault::NoAnswer { times: 1 },
        Fault::CutBody { times: 1 },
        Fault::ResetBody { times: 1 },
        Fault::bad_gateway(1),
    ] {
        let mut side = Side::with(By::Hash, 1);
        side.platform = open(&side.destination, &side.dojo.token()).with_patience(Duration::from_millis(100));
        side.find(2..=20);
        side.dojo.fault("/api/v2/reimport-scan/", fault.clone());
        assert!(side.try_tell().is_err(), "{fault:?}");
        side.tell_on();
        assert_eq!((side.count(), side.active()), (20, 20), "{fault:?}");
        // An answer about ids is lost after everything was made.
        side.find(21..=40);
        side.dojo.fault("/api/v2/findings/", fault.clone());
        assert!(side.try_tell().is_err(), "{fault:?}");
        side.tell_on();
        assert_eq!((side.count(), side.active()), (40, 40), "{fault:?}");
        assert!(side.remotes.values().all(|remote| remote.id.is_some()), "{fault:?}");
    }
}

#[test]
fn a_product_is_found_by_name_or_number_or_made_where_it_may_be() {
    let dojo = Arc::new(DefectDojo::start());
    let number = dojo.edit(|model| model.add_product(DefectDojo::PRODUCT_TYPE, "Web shop").id);
    let asset = |name: &str| {
        let mut side = Side::at(Arc::clone(&dojo), "main");
        side.destination.assets.insert(AssetName::parse("Shop").unwrap(), name.to_owned());
        side.restart();
        side.find([1]);
        side.try_tell().map(|()| dojo.edit(|model| model.products.len()))
    };
    assert_eq!(asset(&number.to_string()), Ok(1));
    assert_eq!(asset("web shop"), Ok(2), "names are exact");
    assert_eq!(dojo.edit(|model| model.tests.len()), 2);
    let mut side = Side::at(Arc::clone(&dojo), "main");
    let offers = side.platform.offers(Some("WEB")).unwrap();
    assert_eq!(offers.iter().map(|offer| offer.name.as_str()).collect::<Vec<_>>(), ["Web shop", "web shop"]);
    side.destination.options.insert("product-type".to_owned(), "Others".to_owned());
    side.restart();
    side.find([1]);
    let Err(Trouble::Target { why, .. }) = side.try_tell() else { panic!("it was made") };
    assert!(why.contains("No permission to create product_type \"Others\""), "{why}");
}

#[test]
fn options_are_checked_before_anything_is_sent() {
    let destination = Side::new(By::Key).destination;
    let refused = |change: &dyn Fn(&mut Destination), secret: Option<&str>| {
        let mut destination = destination.clone();
        change(&mut destination);
        Platform::open(&destination, secret, &Trust::load()).unwrap_err().to_string()
    };
    let option = |name: &'static str, value: &'static str| {
        move |destination: &mut Destination| drop(destination.options.insert(name.to_owned(), value.to_owned()))
    };
    assert!(refused(&option("product", "x"), Some("t")).contains("they are: product-type, engagement, verified"));
    assert!(refused(&option("verified", "maybe"), Some("t")).contains("yes or no"));
    assert!(refused(&option("engagement", " "), Some("t")).contains("is empty"));
    assert!(refused(&|_| {}, None).contains("--token-file"));
    assert!(refused(&|_| {}, Some("two words")).contains("right file"));
    assert!(refused(&|one| one.url = "dojo".to_owned(), Some("t")).contains("dojo"));
}

#[test]
fn the_verified_option_tells_everything_as_verified() {
    let mut side = Side::new(By::Key);
    side.destination.options.insert("verified".to_owned(), "yes".to_owned());
    side.destination.url.push_str("/api/v2/");
    side.restart();
    side.find([1, 2]);
    side.tell();
    assert_eq!(side.flags("K1"), "active verified");
    side.poll();
    side.poll();
    side.set(2, State::Fixed);
    side.tell();
    assert_eq!(side.poll(), [("K2".to_owned(), "mitigated".to_owned())]);
}

#[test]
fn a_check_says_what_is_good_and_what_to_do() {
    let side = Side::new(By::Key);
    let check = |token: &str, change: &dyn Fn(&mut Destination)| {
        let mut destination = side.destination.clone();
        change(&mut destination);
        open(&destination, token).check()
    };
    let lines = |token: &str| {
        let all = check(token, &|_| {}).unwrap();
        all.iter().map(|line| format!("{} {} {}", line.what, line.good, line.text)).collect::<Vec<_>>().join("\n")
    };
    let good = lines(&side.dojo.token());
    for part in
        ["version true 3.2.0", "token true it is of hydrophone", "create products true in product type Applications"]
    {
        assert!(good.contains(part), "{good}");
    }
    assert!(lines(&side.dojo.admin_token()).contains("a superuser"));
    assert!(lines("wrong").contains("token false") && lines("wrong").contains("Invalid token"));
    side.edit(|model| model.add_user("nobody").id);
    assert!(lines(&side.dojo.token_of("nobody")).contains("create products false none"));
    let wrong = check(&side.dojo.token(), &|one| one.url.push_str("/elsewhere")).unwrap();
    assert!(!wrong[0].good && wrong[0].text.contains("check it"), "{wrong:?}");
    let missing = check(&side.dojo.token(), &|one| {
        one.options.insert("product-type".to_owned(), "Others".to_owned());
    });
    assert!(!missing.unwrap().last().unwrap().good);
    for (fault, text) in [
        (Fault::html(200, 1), "an HTML page"),
        (Fault::json(301, "", 1).with_header("Location", "https://other.example/"), "https://other.example/"),
        (Fault::json(403, r#"{"detail":"User inactive or deleted."}"#, 1), "User inactive or deleted"),
        (Fault::json(401, r#"{"detail":"no"}"#, 1), "refuses the token"),
    ] {
        side.dojo.fault("/api/v2/user_profile/", fault);
        let found = lines(&side.dojo.token());
        assert!(found.contains("false") && found.contains(text), "{found}");
    }
    side.edit(|model| model.settings.version = "1.9.0".to_owned());
    assert!(lines(&side.dojo.token()).contains("version false"));
    assert_eq!(json!(side.count()), json!(0), "a check makes nothing");
}

#[test]
fn a_daemon_follows_sonar_and_tells_a_deleted_test_anew() {
    // Whole: SonarQube, the gateway and DefectDojo. What a person deletes there counts as told here; only looking for the
    // place again shows that nothing of it is known any more.
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        model.add_project("acme", "shop", "Web shop");
        for (key, line) in [("A", 12), ("B", 3), ("C", 7)] {
            model.add_issue("shop", "main", Issue::vulnerability("java:S3649", "src/a.java", line).with_key(key));
        }
    });
    let dojo = DefectDojo::start();
    let gateway = Gateway::start();
    support::connect(&gateway, &sonar);
    support::import(&gateway, "acme", &["shop"]);
    let url = dojo.url();
    gateway.json_with(&["destination", "add", "defectdojo", "dojo", "--url", &url, "--token-file", "-"], &dojo.token());
    let active = |keys: &[&str]| {
        gateway.wait(&format!("{keys:?} to be active"), |_| {
            let found = dojo.edit(|model| {
                let active = model.findings.values().filter(|finding| finding.status.active);
                let mut keys: Vec<String> = active.filter_map(|finding| finding.unique_id.clone()).collect();
                keys.sort();
                keys
            });
            (found == keys).then_some(())
        });
    };
    active(&["A", "B", "C"]);
    sonar.analyse("shop", "main", |analysis| analysis.fix("A"));
    gateway.json(&["sync", "acme", "shop", "--wait"]);
    active(&["B", "C"]);
    dojo.edit(|model| {
        let test = model.test_titled("sonar:acme:shop:main").unwrap().id;
        model.delete_test(test);
    });
    sonar.analyse("shop", "main", |analysis| analysis.fix("B"));
    gateway.json(&["sync", "acme", "shop", "--wait"]);
    active(&["C"]);
}
