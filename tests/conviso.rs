//! The platform Conviso, driven over HTTP against a simulated one.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/conviso/mod.rs"]
mod conviso;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use conviso::{BatchAnswer, Conviso, Fault, Guesses, UpsertKey, Variant};
use hydrophone::domain::destination::{Destination, PlatformKind};
use hydrophone::domain::finding::{Finding, Kind, Observed, Severity, SonarWords, State};
use hydrophone::domain::ids::{
    AssetName, DestinationName, FindingId, IssueKey, OrganizationKey, ProjectKey, RuleKey, ScopeId, ScopeKind,
    ScopeName, SourceName,
};
use hydrophone::domain::message::{Cause, Held, Message, Place, Remote, RuleText, Target};
use hydrophone::domain::time::Timestamp;
use hydrophone::platform::{self, Known, Platform, Seen, Told, Trouble};
use hydrophone::sys::clock::Clock;
use hydrophone::sys::dice::Dice;
use hydrophone::sys::trust::Trust;

// --- what the machine does, in small ---

/// A platform with what the machine would remember of it.
struct Box_<'a> {
    conviso: &'a Conviso,
    destination: Destination,
    platform: Box<dyn Platform>,
    place: Place,
    target: Option<Target>,
    remotes: BTreeMap<u64, Remote>,
}

impl<'a> Box_<'a> {
    fn new(conviso: &'a Conviso) -> Self {
        Self::with(conviso, &[])
    }

    fn with(conviso: &'a Conviso, options: &[(&str, &str)]) -> Self {
        let destination = destination(&conviso.url(), options);
        let platform = open(&destination, Conviso::KEY);
        Self { conviso, destination, platform, place: place("main"), target: None, remotes: BTreeMap::new() }
    }

    /// As after a restart: what is stored stays, what is in memory does not.
    fn restart(&mut self) {
        self.platform = open(&self.destination, Conviso::KEY);
    }

    fn lose_database(&mut self) {
        self.restart();
        self.target = None;
        self.remotes.clear();
    }

    fn prepare(&mut self) -> Result<(), Trouble> {
        self.target = Some(self.platform.prepare(&self.place, self.target.clone())?);
        Ok(())
    }

    /// Tells findings with what is remembered of them, and remembers what comes back. What is told for the first time
    /// is noted before, as the machine does.
    fn tell(&mut self, findings: &[One]) -> (Vec<(u64, Option<String>)>, Option<Trouble>) {
        if let Err(trouble) = self.prepare() {
            return (Vec::new(), Some(trouble));
        }
        let messages: Vec<Message> =
            findings.iter().map(|one| one.message(self.remotes.get(&one.id).cloned())).collect();
        for message in messages.iter().filter(|message| message.known.is_none()) {
            self.remotes.insert(message.finding.id.0, self.platform.intend(&self.place, message));
        }
        let mut target = self.target.clone().unwrap();
        let pushed = self.platform.push(&self.place, &mut target, &messages);
        self.target = Some(target);
        let mut told = Vec::new();
        for (id, one) in pushed.told {
            let refused = match one {
                Told::Yes(Some(remote)) => {
                    self.remotes.insert(id.0, *remote);
                    None
                }
                Told::Yes(None) => {
                    self.remotes.remove(&id.0);
                    None
                }
                Told::Refused(why) | Told::Broke(why) => Some(why),
            };
            told.push((id.0, refused));
        }
        (told, pushed.trouble)
    }

    /// The same, where all has to go well.
    fn tell_well(&mut self, findings: &[One]) {
        let (told, trouble) = self.tell(findings);
        assert_eq!(trouble, None);
        let expected: Vec<(u64, Option<String>)> = findings.iter().map(|one| (one.id, None)).collect();
        assert_eq!(told, expected);
    }

    fn status(&self, key: &str) -> String {
        self.conviso.edit(|model| model.issue(key).status.clone())
    }

    fn issues(&self) -> usize {
        self.conviso.edit(|model| model.issues.len())
    }
}

/// A finding in short.
#[derive(Clone)]
struct One {
    id: u64,
    state: State,
    line: u32,
    title: String,
    rule: &'static str,
    severity: Severity,
}

fn one(id: u64) -> One {
    One {
        id,
        state: State::Open,
        line: u32::try_from(id).unwrap() * 10,
        title: "SQL queries should not be vulnerable".to_owned(),
        rule: "java:S3649",
        severity: Severity::High,
    }
}

impl One {
    fn in_state(&self, state: State) -> One {
        One { state, ..self.clone() }
    }

    fn on_line(&self, line: u32) -> One {
        One { line, ..self.clone() }
    }

    fn message(&self, known: Option<Remote>) -> Message {
        let observed = Observed {
            key: IssueKey::parse(&key(self.id)).unwrap(),
            kind: Kind::Vulnerability,
            rule: Some(RuleKey::parse(self.rule).unwrap()),
            message: format!("Change this code, finding {}", self.id),
            severity: self.severity,
            state: self.state,
            path: Some("src/Shop.java".to_owned()),
            line: Some(self.line),
            range: None,
            created_at: None,
            updated_at: None,
            closed_at: None,
            sonar: SonarWords::default(),
            flows: Vec::new(),
        };
        Message {
            finding: Finding {
                id: FindingId(self.id),
                slot: 0,
                observed,
                first_seen_at: Timestamp(1_700_000_000_000),
                closed_at: None,
                closed_by: None,
                former: Vec::new(),
            },
            state: self.state,
            cause: Cause::Present,
            rule: Arc::new(RuleText {
                name: Some(self.title.clone()),
                cwe: vec![89],
                description: Some("<p>Use &lt;bind&gt; variables.</p>".to_owned()),
            }),
            known,
            url: format!("https://sonar.example/issue/{}", self.id),
        }
    }
}

fn key(id: u64) -> String {
    format!("AX-{id}")
}

fn destination(url: &str, options: &[(&str, &str)]) -> Destination {
    let name = DestinationName::parse("conviso").unwrap();
    let mut destination = Destination::new(name, PlatformKind::Conviso, url.to_owned(), Timestamp(0));
    destination.options.insert("company".to_owned(), Conviso::COMPANY.to_owned());
    for (name, value) in options {
        destination.options.insert((*name).to_owned(), (*value).to_owned());
    }
    destination
}

fn open(destination: &Destination, key: &str) -> Box<dyn Platform> {
    platform::open(destination, Some(key), &Trust::load()).expect("a good destination")
}

fn place(branch: &str) -> Place {
    Place {
        scope: ScopeId(7),
        source: SourceName::parse("sonar").unwrap(),
        site: None,
        source_url: "https://sonar.example".to_owned(),
        cloud: true,
        organization: OrganizationKey::parse("team").unwrap(),
        project: ProjectKey::parse("shop").unwrap(),
        project_name: "Shop".to_owned(),
        repository: None,
        asset: AssetName::parse("Shop").unwrap(),
        branch: ScopeName::parse(branch).unwrap(),
        scope_kind: ScopeKind::Branch,
        main: branch == "main",
        analysed_at: None,
        revision: None,
        complete: true,
        held: Held::default(),
    }
}

fn every_answer() -> Vec<(Variant, Guesses)> {
    let usual = Guesses::default;
    let mut all = vec![(Variant::New, usual()), (Variant::Old, usual()), (Variant::Oldest, usual())];
    for guesses in [
        Guesses { upsert_key: UpsertKey::ToolIdAndBranch, ..usual() },
        Guesses { upsert_key: UpsertKey::Place, ..usual() },
        Guesses { batch_max: 2, ..usual() },
        Guesses { batch_answer: BatchAnswer::Padded, ..usual() },
        Guesses { batch_answer: BatchAnswer::Reordered, ..usual() },
        Guesses { batch_is_atomic: true, ..usual() },
        Guesses { sonar_tools: &[], ..usual() },
        Guesses { per_page_max: 2, ..usual() },
        Guesses { per_page_max: 25, per_page_refuses: true, ..usual() },
        Guesses { created_may_be_fixed: false, ..usual() },
        Guesses { upsert_reopens: true, ..usual() },
        Guesses { asset_ids_are_numbers: false, ..usual() },
        Guesses { snippet_required: true, ..usual() },
        Guesses { search_finds_parts: false, ..usual() },
        Guesses { unknown_company_is_an_error: false, ..usual() },
        Guesses { usual_input_names: false, ..usual() },
        Guesses { introspection: false, ..usual() },
        Guesses { secrets: false, ..usual() },
        Guesses { permitted_status_told: false, ..usual() },
        Guesses { refusals_are_400: true, ..usual() },
        Guesses { null_errors: true, ..usual() },
    ] {
        all.push((Variant::New, guesses));
    }
    all
}

// --- the life of findings ---

/// Nobody outside knows how the real one answers where its clients and documents are silent. Whatever it does, each
/// finding is there once and in the right state, what people decided stands, and a lost database changes nothing.
#[test]
fn findings_live_their_lives_under_every_answer_to_every_guess() {
    for (variant, guesses) in every_answer() {
        println!("{variant:?} {guesses:?}");
        let by_place = guesses.upsert_key == UpsertKey::Place;
        let conviso = Conviso::start_as(variant, guesses);
        let mut gateway = Box_::new(&conviso);
        let all: Vec<One> = (1..=5).map(one).collect();
        gateway.tell_well(&all);
        assert_eq!(gateway.issues(), 5);
        assert_eq!(gateway.status("AX-1"), "CREATED");

        conviso.forget_calls();
        gateway.tell_well(&all);
        assert_eq!(conviso.calls(), [], "what is known costs nothing");

        // A person accepts one, and works on another.
        conviso.edit(|model| model.decide("AX-1", "RISK_ACCEPTED", "we live with it"));
        conviso.edit(|model| model.decide("AX-2", "IDENTIFIED", "seen"));
        conviso.edit(|model| model.decide("AX-2", "IN_PROGRESS", "at it"));
        gateway.tell_well(&all.iter().map(|one| one.on_line(one.line + 1)).collect::<Vec<_>>());
        if !by_place {
            assert_eq!(gateway.issues(), 5);
            assert_eq!(gateway.status("AX-1"), "RISK_ACCEPTED");
            assert_eq!(gateway.status("AX-2"), "IN_PROGRESS");
            assert_eq!(gateway.remotes[&1].decided.as_deref(), Some("RISK_ACCEPTED"));
        }
        let open = |conviso: &Conviso| {
            conviso.edit(|model| {
                let open = |status: &str| !["FIX_ACCEPTED", "RISK_ACCEPTED"].contains(&status);
                model
                    .issues
                    .iter()
                    .filter(|issue| open(&issue.status))
                    .filter_map(|one| one.tool_id.clone())
                    .collect::<Vec<_>>()
            })
        };
        if by_place {
            // Another line is another issue there; the one that is left behind does not stay open.
            assert_eq!(open(&conviso), ["AX-1", "AX-2", "AX-3", "AX-4", "AX-5"]);
            continue;
        }

        let moved: Vec<One> = all.iter().map(|one| one.on_line(one.line + 1)).collect();
        conviso.forget_calls();
        gateway.tell_well(&moved.iter().map(|one| one.in_state(State::Fixed)).collect::<Vec<_>>());
        assert_eq!(open(&conviso), Vec::<String>::new());
        assert_eq!(gateway.status("AX-1"), "RISK_ACCEPTED", "a decision stands");
        let upserts = conviso.calls().iter().filter(|call| call.operation.contains("Finding")).count();
        assert_eq!(upserts, 0, "what only changes its status is not told anew");

        gateway.tell_well(&moved);
        for id in 2..=5 {
            assert_eq!(gateway.status(&key(id)), "IDENTIFIED");
        }
        assert_eq!(gateway.status("AX-1"), "RISK_ACCEPTED");

        gateway.lose_database();
        gateway.tell_well(&moved);
        assert_eq!(gateway.issues(), 5, "what is there is adopted");
        assert_eq!(gateway.remotes[&1].decided.as_deref(), Some("RISK_ACCEPTED"));
        assert_eq!(gateway.status("AX-1"), "RISK_ACCEPTED");
        assert_eq!(gateway.status("AX-2"), "IDENTIFIED");
        gateway.restart();
        gateway.tell_well(&[moved[2].in_state(State::Removed)]);
        assert_eq!(gateway.status("AX-3"), "FIX_ACCEPTED");
    }
}

#[test]
fn everything_that_is_known_of_a_finding_is_told() {
    let conviso = Conviso::start();
    let mut gateway = Box_::new(&conviso);
    gateway.tell_well(&[one(1)]);
    let (issue, asset) = conviso.edit(|model| (model.issue("AX-1").clone(), model.asset("Shop").id));
    let said = |name: &str| issue.said.get(name).map(String::as_str).unwrap_or_default();
    assert_eq!(said("title"), "SQL queries should not be vulnerable");
    assert_eq!((said("severity"), said("category")), ("HIGH", "CWE-89"));
    assert_eq!((said("fileName"), said("vulnerableLine"), said("firstLine")), ("src/Shop.java", "10", "10"));
    assert_eq!((said("reference"), said("solution")), ("https://sonar.example/issue/1", "Use <bind> variables."));
    assert!(said("description").starts_with("Change this code, finding 1\n\nRule java:S3649, project shop, main\n"));
    assert_eq!((issue.asset, issue.branch.as_deref()), (asset, None), "no branch without a repository");
    let syncs = conviso.edit(|model| model.syncs.clone());
    assert_eq!(syncs.len(), 1);
    assert_eq!((syncs[0].integration.as_str(), syncs[0].expected), ("SONARCLOUD", 1));
    assert_eq!((syncs[0].success, syncs[0].failure), (Some(1), 0));
}

#[test]
fn a_secret_is_told_as_a_secret_where_there_is_a_place_for_it() {
    for secrets in [true, false] {
        let conviso = Conviso::start_as(Variant::New, Guesses { secrets, ..Guesses::default() });
        let mut gateway = Box_::new(&conviso);
        gateway.tell_well(&[One { rule: "secrets:S6290", ..one(1) }, one(2)]);
        assert_eq!(conviso.edit(|model| (model.issue("AX-1").secret, model.issue("AX-2").secret)), (secrets, false));
    }
}

#[test]
fn decisions_of_sonar_are_told_and_taken_back() {
    let conviso = Conviso::start();
    let mut gateway = Box_::new(&conviso);
    gateway.tell_well(&[one(1).in_state(State::Accepted), one(2).in_state(State::FalsePositive), one(3)]);
    assert_eq!((gateway.status("AX-1"), gateway.status("AX-2")), ("RISK_ACCEPTED".into(), "FALSE_POSITIVE".into()));
    gateway.tell_well(&[one(1), one(2).in_state(State::Confirmed), one(3).in_state(State::Confirmed)]);
    for id in 1..=3 {
        assert_eq!(gateway.status(&key(id)), "IDENTIFIED", "{id}");
    }
    // The same decision by a person there is not ours to take back.
    conviso.edit(|model| model.decide("AX-3", "RISK_ACCEPTED", "ours"));
    gateway.tell_well(&[one(3).in_state(State::Accepted)]);
    gateway.tell_well(&[one(3)]);
    assert_eq!(gateway.status("AX-3"), "RISK_ACCEPTED");
}

#[test]
fn what_came_and_went_before_it_was_told_is_not_told() {
    let conviso = Conviso::start();
    let mut gateway = Box_::new(&conviso);
    let message = one(1).message(None);
    gateway.remotes.insert(1, gateway.platform.intend(&gateway.place, &message));
    gateway.tell_well(&[one(1).in_state(State::Fixed)]);
    assert_eq!((gateway.issues(), gateway.remotes.len()), (0, 0));
}

#[test]
fn what_somebody_deleted_there_comes_back_and_its_end_is_no_trouble() {
    let conviso = Conviso::start();
    let mut gateway = Box_::new(&conviso);
    gateway.tell_well(&[one(1), one(2)]);
    conviso.edit(|model| model.issues.clear());
    gateway.tell_well(&[one(1).in_state(State::Confirmed), one(2).in_state(State::Fixed)]);
    assert_eq!((gateway.issues(), gateway.status("AX-1")), (1, "IDENTIFIED".to_owned()));
}

#[test]
fn a_status_that_is_not_permitted_is_refused_with_the_reason() {
    let conviso = Conviso::start();
    let mut gateway = Box_::new(&conviso);
    gateway.tell_well(&[one(1), one(2)]);
    gateway.destination.mapping.outward.insert(State::Fixed as u8, "AWAITING_VALIDATION".to_owned());
    gateway.restart();
    conviso.edit(|model| model.decide("AX-1", "FIX_ACCEPTED", "done"));
    conviso.edit(|model| model.decide("AX-2", "IDENTIFIED", "seen"));
    let (told, trouble) = gateway.tell(&[one(2).in_state(State::Fixed)]);
    assert_eq!((told, trouble), (vec![(2, None)], None));
    gateway.destination.mapping.outward.insert(State::Confirmed as u8, "DRAFT".to_owned());
    gateway.restart();
    let (told, trouble) = gateway.tell(&[one(2).in_state(State::Confirmed)]);
    assert_eq!(trouble, None);
    let why = told[0].1.as_deref().unwrap();
    assert!(
        why.contains("does not let issue 104 go") && why.contains("from IDENTIFIED to DRAFT; it permits IN_PROGRESS, "),
        "{why}"
    );
}

// --- what goes wrong ---

#[test]
fn a_poisonous_finding_is_refused_alone() {
    for (variant, guesses) in every_answer() {
        println!("{variant:?} {guesses:?}");
        let conviso = Conviso::start_as(variant, guesses);
        conviso.edit(|model| model.poison.push("bad".to_owned()));
        let mut gateway = Box_::new(&conviso);
        let mut all: Vec<One> = (1..=8).map(one).collect();
        all[3].title = "bad".to_owned();
        let (told, trouble) = gateway.tell(&all);
        assert_eq!(trouble, None);
        let refused: Vec<&(u64, Option<String>)> = told.iter().filter(|(_, why)| why.is_some()).collect();
        assert_eq!((told.len(), refused.len(), refused[0].0), (8, 1, 4));
        assert!(refused[0].1.as_deref().unwrap().contains("is not valid"), "{refused:?}");
        assert_eq!(gateway.issues(), 7);
        for one in all.iter().filter(|one| one.id != 4) {
            let id = conviso.edit(|model| model.issue(&key(one.id)).id);
            assert_eq!(gateway.remotes[&one.id].id.as_deref(), Some(id.to_string().as_str()), "ids are told apart");
        }
    }
}

/// An answer may be lost after everything was done. The next attempt finds what is there, also where the platform
/// itself would not.
#[test]
fn a_lost_answer_makes_no_duplicate() {
    for upsert_key in [UpsertKey::ToolId, UpsertKey::Place] {
        for variant in [Variant::New, Variant::Old, Variant::Oldest] {
            for fault in [Fault::FailsAfterCommit, Fault::LosesAnswer, Fault::CutsJson] {
                let conviso = Conviso::start_as(variant, Guesses { upsert_key, ..Guesses::default() });
                let operation = match variant {
                    Variant::New => "batchCreateOrUpdateFindings",
                    Variant::Old => "createOrUpdateSastFinding",
                    Variant::Oldest => "createSastFinding",
                };
                conviso.fault(operation, fault.clone());
                let mut gateway = Box_::new(&conviso);
                let (told, trouble) = gateway.tell(&[one(1), one(2)]);
                assert!(told.is_empty() && matches!(trouble, Some(Trouble::Later { .. })), "{fault:?}: {trouble:?}");
                gateway.restart();
                // The line moved meanwhile.
                gateway.tell_well(&[one(1).on_line(99), one(2)]);
                let left = conviso.edit(|model| {
                    model
                        .issues
                        .iter()
                        .filter(|one| one.status == "CREATED")
                        .map(|one| one.tool_id.clone().unwrap())
                        .collect::<Vec<_>>()
                });
                assert_eq!(left.len(), 2, "{variant:?} {fault:?} {upsert_key:?}: {left:?}");
            }
        }
    }
}

#[test]
fn a_status_whose_answer_is_lost_is_set_once() {
    let conviso = Conviso::start();
    let mut gateway = Box_::new(&conviso);
    gateway.tell_well(&[one(1)]);
    conviso.fault("changeIssueStatus", Fault::LosesAnswer);
    let (told, trouble) = gateway.tell(&[one(1).in_state(State::Fixed)]);
    assert!(told.is_empty() && matches!(trouble, Some(Trouble::Later { .. })));
    gateway.tell_well(&[one(1).in_state(State::Fixed)]);
    let history = conviso.edit(|model| model.issue("AX-1").history.len());
    assert_eq!(history, 2);
}

#[test]
fn an_overloaded_or_failing_conviso_is_tried_again_later() {
    let conviso = Conviso::start();
    let mut gateway = Box_::new(&conviso);
    let headers = vec![("Retry-After".to_owned(), "0".to_owned())];
    let limited = Fault::Answer { status: 429, body: "{}".to_owned(), headers };
    let internal = Fault::error("INTERNAL_SERVER_ERROR", "Something went wrong.");
    for fault in [Fault::status(503), internal, limited, Fault::status(502)] {
        conviso.fault("batchCreateOrUpdateFindings", fault);
        let (told, trouble) = gateway.tell(&[one(1)]);
        assert!(told.is_empty() && matches!(trouble, Some(Trouble::Later { .. })), "{trouble:?}");
    }
    conviso.fault("batchCreateOrUpdateFindings", Fault::Slow(Duration::from_millis(50)));
    gateway.tell_well(&[one(1)]);
    assert_eq!(gateway.issues(), 1);
}

#[test]
fn over_the_limit_it_waits_as_long_as_conviso_is_likely_to() {
    let conviso = Conviso::start();
    conviso.limit_per_minute(3);
    let mut gateway = Box_::new(&conviso);
    let (_, trouble) = gateway.tell(&[one(1)]);
    let Some(Trouble::Later { after: Some(after), .. }) = trouble else { panic!("{trouble:?}") };
    assert!(after > Duration::from_secs(50), "{after:?}");
    let before = conviso.calls().len();
    let (_, trouble) = gateway.tell(&[one(1)]);
    assert!(matches!(trouble, Some(Trouble::Later { .. })));
    assert_eq!(conviso.calls().len(), before, "nobody is asked during a pause");
}

#[test]
fn a_key_that_ends_in_mid_run_is_for_a_person() {
    let conviso = Conviso::start();
    let mut gateway = Box_::new(&conviso);
    gateway.tell_well(&[one(1)]);
    conviso.fault("batchCreateOrUpdateFindings", Fault::RevokesKey);
    let (told, trouble) = gateway.tell(&[one(2)]);
    assert!(told.is_empty());
    assert_sentence(&trouble.unwrap(), "does not accept the API key (HTTP 401); make a new one in Conviso");
    conviso.set_key(Conviso::KEY);
    gateway.tell_well(&[one(2)]);
    assert_eq!(gateway.issues(), 2);
}

#[test]
fn what_was_told_before_the_trouble_is_remembered() {
    let conviso = Conviso::start_as(Variant::New, Guesses::default());
    let mut gateway = Box_::new(&conviso);
    gateway.tell_well(&[one(1), one(2), one(3)]);
    conviso.fault_times("changeIssueStatus", Fault::status(500), 1, 1);
    let fixed: Vec<One> = (1..=3).map(|id| one(id).in_state(State::Fixed)).collect();
    let (told, trouble) = gateway.tell(&fixed);
    assert_eq!(told, [(1, None)]);
    assert!(matches!(trouble, Some(Trouble::Later { .. })));
    gateway.tell_well(&fixed);
    for id in 1..=3 {
        assert_eq!(gateway.status(&key(id)), "FIX_ACCEPTED");
    }
}

#[test]
fn without_a_right_the_sentence_says_so() {
    let conviso = Conviso::start();
    let mut gateway = Box_::new(&conviso);
    conviso.edit(|model| model.may_write = false);
    let (told, trouble) = gateway.tell(&[one(1)]);
    assert!(told.is_empty());
    assert_sentence(&trouble.unwrap(), "does not permit it: Permission denied; give the key's user the right");
}

/// If the API no longer takes the form that findings are told in, every one of them is refused. That must not make dead
/// letters of an inventory: it is for a person, and the schema is asked for anew.
#[test]
fn a_form_that_is_no_longer_taken_is_for_a_person_and_makes_no_dead_letters() {
    for variant in [Variant::New, Variant::Old] {
        let conviso = Conviso::start_as(variant, Guesses::default());
        let mut gateway = Box_::new(&conviso);
        let error = r#"{"errors":[{"message":"InputObject doesn't accept argument 'x'","extensions":{"code":"argumentNotAccepted"}}]}"#;
        let fault = Fault::Answer { status: 200, body: error.to_owned(), headers: Vec::new() };
        let batch = variant == Variant::New;
        let operation = if batch { "batchCreateOrUpdateFindings" } else { "createOrUpdateSastFinding" };
        conviso.fault_times(operation, fault, 0, if batch { 5 } else { 3 });
        let (told, trouble) = gateway.tell(&[one(1), one(2), one(3)]);
        assert_eq!(told, []);
        assert_sentence(&trouble.unwrap(), "doesn't accept argument 'x'; its API may have changed");
        conviso.forget_calls();
        gateway.tell_well(&[one(1), one(2), one(3)]);
        assert!(conviso.count("__type") > 0);
        assert_eq!(gateway.issues(), 3);
    }
}

#[test]
fn findings_are_told_where_syncs_cannot_be_shown() {
    let conviso = Conviso::start();
    let mut gateway = Box_::new(&conviso);
    let faults = [Fault::error("FORBIDDEN", "no"), Fault::status(500), Fault::error("", "unknown"), Fault::LosesAnswer];
    for (id, fault) in (1..).zip(faults) {
        conviso.fault("createControlSyncStatus", fault);
        gateway.tell_well(&[one(id)]);
        assert_eq!(gateway.status(&key(id)), "CREATED");
    }
    conviso.fault("increaseIssueScanCount", Fault::status(500));
    gateway.tell_well(&[one(9)]);
}

/// With its database this box loses what it told. Where the platform itself would not know a finding again, as its line
/// moved meanwhile, it is found by Sonar's key, also after a restart in the middle.
#[test]
fn a_lost_database_leaves_nothing_open_twice() {
    let conviso = Conviso::start_as(Variant::New, Guesses { upsert_key: UpsertKey::Place, ..Guesses::default() });
    let mut gateway = Box_::new(&conviso);
    let all: Vec<One> = (1..=4).map(one).collect();
    gateway.tell_well(&all);
    gateway.lose_database();
    let moved: Vec<One> = all.iter().map(|one| one.on_line(one.line + 1)).collect();
    conviso.fault("batchCreateOrUpdateFindings", Fault::status(500));
    let (_, trouble) = gateway.tell(&moved[..2]);
    assert!(matches!(trouble, Some(Trouble::Later { .. })));
    gateway.tell_well(&moved[..2]);
    gateway.restart();
    gateway.tell_well(&moved[2..]);
    let mut open = conviso.edit(|model| {
        let open = model.issues.iter().filter(|issue| issue.status != "FIX_ACCEPTED");
        open.map(|issue| issue.tool_id.clone().unwrap()).collect::<Vec<_>>()
    });
    open.sort();
    assert_eq!(open, ["AX-1", "AX-2", "AX-3", "AX-4"]);
}

/// Searches may lag behind what was told. Until an issue is shown its status cannot be judged, so it is told again.
#[test]
fn what_is_not_shown_yet_is_looked_for_again_and_made_once() {
    let conviso = Conviso::start_as(Variant::New, Guesses { searches_lag: 2, ..Guesses::default() });
    let mut gateway = Box_::new(&conviso);
    let all = [one(1), one(2).in_state(State::Accepted)];
    let (told, trouble) = gateway.tell(&all);
    assert!(told.is_empty() && matches!(trouble, Some(Trouble::Later { .. })), "{told:?} {trouble:?}");
    gateway.tell(&all);
    gateway.tell_well(&all);
    assert_eq!((gateway.issues(), gateway.status("AX-2")), (2, "RISK_ACCEPTED".to_owned()));
}

#[test]
fn an_asset_that_is_gone_is_made_again() {
    let conviso = Conviso::start();
    let mut gateway = Box_::new(&conviso);
    gateway.tell_well(&[one(1)]);
    conviso.edit(|model| {
        model.assets.clear();
        model.issues.clear();
    });
    let (_, trouble) = gateway.tell(&[one(2)]);
    assert!(matches!(trouble, Some(Trouble::Target { .. })), "{trouble:?}");
    gateway.tell_well(&[one(2)]);
    assert_eq!(conviso.edit(|model| model.assets.len()), 1);
}

// --- what it shows of what it was told ---

impl Box_<'_> {
    /// In words, how findings that were told stand there; nothing of those of which that is not known.
    fn look(&mut self, findings: &[One]) -> Vec<(u64, &'static str)> {
        let messages: Vec<Message> =
            findings.iter().map(|one| one.message(self.remotes.get(&one.id).cloned())).collect();
        let (place, target) = (&self.place, self.target.as_ref().unwrap());
        let known: Vec<Known<'_>> = messages.iter().map(|message| Known { place, target, message }).collect();
        let seen = self.platform.look(&known).unwrap().unwrap();
        let word = |seen: &Seen| match seen {
            Seen::There { .. } => "there",
            Seen::Missing => "missing",
            Seen::Nowhere => "nowhere",
        };
        seen.iter().map(|(finding, seen)| (finding.0, word(seen))).collect()
    }
}

/// What is missing from an answer is made anew, and then it is there twice if it was only hidden: by a right that was
/// withdrawn, by a search that is being rebuilt, by an answer that is not as it was.
#[test]
fn what_an_answer_lacks_is_not_taken_for_deleted_as_long_as_it_may_be_hidden() {
    let conviso = Conviso::start();
    let mut gateway = Box_::new(&conviso);
    let clock = Clock::by_hand(Timestamp(1_700_000_000_000));
    let trust = Trust::load();
    gateway.platform =
        platform::open_by(&gateway.destination, Some(Conviso::KEY), &trust, &clock, &Dice::system()).unwrap();
    let all = [one(1), one(2), one(3)];
    gateway.tell_well(&all);
    let as_one = |word| vec![(1, word), (2, word), (3, word)];
    assert_eq!(gateway.look(&all), as_one("there"));

    // An answer that cannot be read, in one row or as a whole.
    let first = gateway.remotes[&1].id.clone().unwrap();
    let body =
        format!(r#"{{"data":{{"issues":{{"collection":[{{"id":"{first}"}}],"metadata":{{"totalPages":1}}}}}}}}"#);
    conviso.fault("issues", Fault::Answer { status: 200, body, headers: Vec::new() });
    assert_eq!(gateway.look(&all), [(2, "missing"), (3, "missing")]);
    for list in [r#"{"collection":null,"metadata":{"totalPages":1}}"#, r#"{"collection":[],"metadata":{}}"#] {
        let body = format!(r#"{{"data":{{"issues":{list}}}}}"#);
        conviso.fault("issues", Fault::Answer { status: 200, body, headers: Vec::new() });
        assert_eq!(gateway.look(&all), [], "{list}");
    }

    // An asset that is not shown any more.
    let (assets, issues) = conviso.edit(|model| (std::mem::take(&mut model.assets), std::mem::take(&mut model.issues)));
    assert_eq!(gateway.look(&all), as_one("nowhere"));
    conviso.edit(|model| model.assets = assets);

    // A search that finds nothing for some hours; and an asset that somebody emptied, as the next day shows.
    assert_eq!(gateway.look(&all), []);
    clock.advance(Duration::from_hours(3));
    assert_eq!(gateway.look(&all), []);
    conviso.edit(|model| model.issues.clone_from(&issues));
    assert_eq!(gateway.look(&all), as_one("there"));
    clock.advance(Duration::from_hours(21));
    conviso.edit(|model| model.issues.clear());
    assert_eq!(gateway.look(&all), []);
    clock.advance(Duration::from_hours(24));
    assert_eq!(gateway.look(&all), as_one("missing"));

    // One that is missing beside others was deleted, also where its asset has another name by now.
    conviso.edit(|model| {
        model.issues = issues;
        model.issues.retain(|issue| issue.tool_id.as_deref() != Some("AX-2"));
        model.assets[0].name = "Renamed".to_owned();
    });
    assert_eq!(gateway.look(&all), [(1, "there"), (2, "missing"), (3, "there")]);
}

// --- assets ---

#[test]
fn an_asset_is_found_by_its_exact_name_or_by_its_id() {
    let conviso = Conviso::start();
    let id = conviso.edit(|model| {
        model.add_asset("Shop of others");
        model.add_asset("shop");
        model.add_asset("Kasse")
    });
    for (mapped, expected, made) in
        [(None, "Shop", 4), (Some("Kasse".to_owned()), "Kasse", 4), (Some(id.to_string()), "Kasse", 4)]
    {
        let mut gateway = Box_::new(&conviso);
        if let Some(mapped) = mapped {
            gateway.destination.assets.insert(AssetName::parse("Shop").unwrap(), mapped);
            gateway.restart();
        }
        gateway.prepare().unwrap();
        let wanted = conviso.edit(|model| model.asset(expected).id.to_string());
        assert_eq!(gateway.target.as_ref().unwrap().get("asset"), Some(wanted.as_str()));
        assert_eq!(conviso.edit(|model| model.assets.len()), made);
    }
    let mut gateway = Box_::new(&conviso);
    let names: Vec<String> =
        gateway.platform.offers(Some("shop")).unwrap().into_iter().map(|offer| offer.name).collect();
    assert_eq!(names, ["Shop of others", "shop", "Shop"]);
}

#[test]
fn two_assets_of_one_name_are_for_a_person() {
    let conviso = Conviso::start();
    conviso.edit(|model| {
        model.add_asset("Shop");
        model.add_asset("Shop");
    });
    let trouble = Box_::new(&conviso).prepare().unwrap_err();
    assert!(matches!(trouble, Trouble::Target { .. }));
    assert_sentence(&trouble, "2 assets named \"Shop\" (ids 101, 102); map this box's asset to the id");
}

#[test]
fn an_asset_whose_making_was_not_answered_is_found() {
    let conviso = Conviso::start();
    conviso.fault("createAsset", Fault::LosesAnswer);
    let mut gateway = Box_::with(&conviso, &[("business-impact", "HIGH")]);
    assert!(matches!(gateway.prepare(), Err(Trouble::Later { .. })));
    gateway.tell_well(&[one(1)]);
    let impact = conviso.edit(|model| model.assets.iter().map(|one| one.business_impact.clone()).collect::<Vec<_>>());
    assert_eq!(impact, [Some("HIGH".to_owned())]);
}

#[test]
fn repository_and_branch_are_told_together() {
    for variant in [Variant::New, Variant::Old] {
        let conviso = Conviso::start_as(variant, Guesses::default());
        let options = [("repository-url", "https://git.example/{organization}/{project}.git")];
        let mut gateway = Box_::with(&conviso, &options);
        gateway.tell_well(&[one(1)]);
        let asset = conviso.edit(|model| model.asset("Shop").clone());
        assert_eq!(
            (asset.repository.as_deref(), asset.branch.as_deref()),
            (Some("git.example/team/shop"), Some("main"))
        );
        let branch = conviso.edit(|model| model.issue("AX-1").branch.clone());
        assert_eq!(branch.as_deref(), (variant == Variant::New).then_some("main"));
        if variant == Variant::New {
            assert_eq!(conviso.edit(|model| model.syncs[0].branch.clone()).as_deref(), Some("main"));
        }
    }
}

#[test]
fn the_asset_that_has_the_repository_is_taken_whatever_its_name() {
    let conviso = Conviso::start();
    let owner = conviso.edit(|model| {
        let id = model.add_asset("team/shop");
        model.assets[0].repository = Some("git.example/team/shop".to_owned());
        id
    });
    let options = [("repository-url.shop", "https://git.example/team/shop.git")];
    let mut gateway = Box_::with(&conviso, &options);
    gateway.prepare().unwrap();
    assert_eq!(gateway.target.as_ref().unwrap().get("asset"), Some(owner.to_string().as_str()));

    // One of our name without a repository is folded into the one that has it.
    conviso.edit(|model| model.add_asset("Shop"));
    let mut gateway = Box_::with(&conviso, &options);
    gateway.tell_well(&[one(1)]);
    assert_eq!(gateway.target.as_ref().unwrap().get("asset"), Some(owner.to_string().as_str()));
    assert_eq!(conviso.edit(|model| (model.assets.len(), model.issue("AX-1").asset)), (1, owner));
}

// --- decisions and the check ---

#[test]
fn decisions_of_people_are_read_and_our_own_are_not() {
    let conviso = Conviso::start();
    let mut gateway = Box_::new(&conviso);
    gateway.tell_well(&[one(1), one(2), one(3).in_state(State::FalsePositive), one(4)]);
    conviso.edit(|model| model.decide("AX-1", "RISK_ACCEPTED", "we live with it"));
    let polled = gateway.platform.decisions(None).unwrap();
    let read = |polled: &platform::Polled| {
        polled.decisions.iter().map(|one| (one.key.clone().unwrap(), one.word.clone())).collect::<Vec<_>>()
    };
    assert_eq!(read(&polled), [("AX-1".to_owned(), "RISK_ACCEPTED".to_owned())]);
    assert_eq!(polled.decisions[0].reason.as_deref(), Some("we live with it"));
    assert_eq!(Some(&polled.decisions[0].id), gateway.remotes[&1].id.as_ref());

    conviso.edit(|model| model.decide("AX-1", "IDENTIFIED", "no longer"));
    conviso.edit(|model| model.decide("AX-2", "FALSE_POSITIVE", "is none"));
    gateway.tell_well(&[one(4).in_state(State::Fixed)]);
    let next = gateway.platform.decisions(polled.mark.as_deref()).unwrap();
    let pair = |key: &str, word: &str| (key.to_owned(), word.to_owned());
    assert_eq!(read(&next), [pair("AX-2", "FALSE_POSITIVE"), pair("AX-1", "IDENTIFIED")]);
    let last = gateway.platform.decisions(next.mark.as_deref()).unwrap();
    assert_eq!((read(&last), &last.mark), (Vec::new(), &next.mark), "nothing new, the mark stays");
}

#[test]
fn changes_in_bulk_are_seen_when_they_are_done() {
    let conviso = Conviso::start();
    let mut gateway = Box_::new(&conviso);
    gateway.tell_well(&[one(1), one(2)]);
    let mark = gateway.platform.decisions(None).unwrap().mark;
    conviso.edit(|model| {
        let ids = model.issues.iter().map(|one| one.id.to_string()).collect();
        model.jobs.push((ids, "RISK_ACCEPTED".to_owned()));
    });
    assert!(gateway.platform.decisions(mark.as_deref()).unwrap().decisions.is_empty());
    conviso.edit(conviso::Model::run_jobs);
    assert_eq!(gateway.platform.decisions(mark.as_deref()).unwrap().decisions.len(), 2);
}

#[test]
fn more_decisions_than_a_page_holds_are_all_read() {
    for (per_page_max, per_page_refuses) in [(3, false), (25, true)] {
        let guesses = Guesses { per_page_max, per_page_refuses, ..Guesses::default() };
        let conviso = Conviso::start_as(Variant::New, guesses);
        let mut gateway = Box_::new(&conviso);
        let all: Vec<One> = (1..=40).map(one).collect();
        gateway.tell_well(&all);
        for id in 1..=40 {
            conviso.edit(|model| model.decide(&key(id), "FALSE_POSITIVE", "none"));
        }
        assert_eq!(gateway.platform.decisions(None).unwrap().decisions.len(), 40);
    }
}

#[test]
fn the_check_says_what_the_account_offers() {
    for (variant, guesses) in every_answer() {
        println!("{variant:?} {guesses:?}");
        let (sonar, introspection) = (!guesses.sonar_tools.is_empty(), guesses.introspection);
        let conviso = Conviso::start_as(variant, guesses);
        conviso.edit(|model| {
            model.add_asset("Shop");
            model.assets[0].integrations.push("SONARCLOUD".to_owned());
        });
        let lines = Box_::new(&conviso).platform.check().unwrap();
        let line =
            |what: &str| lines.iter().find(|line| line.what == what).unwrap_or_else(|| panic!("{what}: {lines:?}"));
        assert!(line("company").good && line("company").text.contains("\"Acme\""));
        assert_eq!(line("findings").good, variant != Variant::Oldest || !introspection);
        assert_eq!(line("integration").good, sonar && introspection, "{:?}", line("integration"));
        assert!(!line("duplicates").good && line("duplicates").text.contains("reads Sonar for Shop"));
        assert!(line("words").good && line("access").good);
        for line in &lines {
            assert!(!line.text.contains('\n') && !line.text.contains(Conviso::KEY), "{}", line.text);
        }
        assert_eq!(conviso.edit(|model| (model.assets.len(), model.issues.len())), (1, 0), "nothing is changed");
    }
}

#[test]
fn a_word_that_is_no_status_is_found_by_the_check() {
    let conviso = Conviso::start();
    let mut gateway = Box_::new(&conviso);
    gateway.destination.mapping.outward.insert(State::Fixed as u8, "DONE".to_owned());
    gateway.restart();
    let lines = gateway.platform.check().unwrap();
    let line = lines.iter().find(|line| line.what == "words").unwrap();
    assert!(!line.good && line.text.starts_with("no status of Conviso: DONE; use one of: "), "{}", line.text);
}

#[test]
fn what_was_given_wrong_is_said_in_one_sentence() {
    let conviso = Conviso::start();
    let check = |url: &str, options: &[(&str, &str)], key: &str| open(&destination(url, options), key).check();
    let url = conviso.url();
    assert_sentence(&check(&url, &[], "wrong").unwrap_err(), "does not accept the API key (HTTP 401)");
    let elsewhere = url.replace("/graphql", "/api");
    assert_sentence(&check(&elsewhere, &[], Conviso::KEY).unwrap_err(), "is no address of Conviso's API (HTTP 404)");
    for unknown_company_is_an_error in [true, false] {
        let guesses = Guesses { unknown_company_is_an_error, ..Guesses::default() };
        let conviso = Conviso::start_as(Variant::New, guesses);
        let lines = check(&conviso.url(), &[("company", "43")], Conviso::KEY).unwrap();
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].good && lines[0].text.contains("sees no company 43; check the option company"), "{lines:?}");
    }
    // The host alone is enough.
    assert!(check(url.trim_end_matches("/graphql"), &[], Conviso::KEY).is_ok());
    for (body, part) in [("<html>login</html>", "an HTML page"), (r#"{"ok":true}"#, "not as Conviso's API does")] {
        conviso.fault("company", Fault::Answer { status: 200, body: body.to_owned(), headers: Vec::new() });
        assert_sentence(&check(&url, &[], Conviso::KEY).unwrap_err(), part);
    }
    assert_sentence(&check("http://127.0.0.1:1/graphql", &[], Conviso::KEY).unwrap_err(), "nothing listens there");
    let bad = platform::open(&destination(&url, &[]), None, &Trust::load()).err().unwrap();
    assert!(bad.0.contains("needs an API key"), "{bad}");
}

fn assert_sentence(trouble: &Trouble, part: &str) {
    let text = trouble.to_string();
    assert!(text.contains(part), "{text:?} does not say {part:?}");
    assert!(
        !text.contains('\n') && !text.contains(". ") && !text.contains(Conviso::KEY),
        "{text:?} is no one sentence"
    );
}

// --- the simulation itself ---

#[test]
fn the_simulation_refuses_what_is_too_deep_or_too_large_without_data() {
    let conviso = Conviso::start();
    let ask = |query: &str| {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let body = serde_json::json!({"query": query, "variables": {}}).to_string();
        let mut answer =
            agent.post(conviso.url()).header("x-api-key", Conviso::KEY).send(body).expect("an answer comes");
        let text = answer.body_mut().read_to_string().unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let many = (0..200).map(|n| format!("c{n}: company(id: 42) {{ id }}")).collect::<Vec<_>>().join(" ");
    for (query, part) in [
        (format!("{{ {many} x: company(id: 42) {{ id }} }}"), "complexity of 402"),
        (
            format!(
                "{{ __type(name: \"A\") {{ fields {{ type {} {{ name }} {} }} }} }}",
                "{ name ofType ".repeat(13),
                "}".repeat(13)
            ),
            "depth",
        ),
        ("{ company(id: 42) { id nonsense } }".to_owned(), "nonsense"),
    ] {
        let answer = ask(&query);
        assert!(answer.get("data").is_none(), "{answer}");
        assert!(answer["errors"][0]["message"].as_str().unwrap().contains(part), "{answer}");
    }
    assert_eq!(ask("{ company(id: 42) { label } }")["data"]["company"]["label"], "Acme");
}
