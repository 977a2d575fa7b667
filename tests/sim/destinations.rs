//! The platforms of a life: a DefectDojo and a receiver of signed events, each with faults and people of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use hydrophone::domain::destination::{Destination, PlatformKind};
use hydrophone::domain::finding::{Finding, Severity, State};
use hydrophone::domain::ids::{ChangeNumber, DestinationId, DestinationName, FindingId, ScopeId, ScopeKind};
use hydrophone::domain::message::told_state;
use hydrophone::store::changes::{self, Cursor};
use hydrophone::store::records::SecretBytes;
use hydrophone::store::{StoreError, catalogue, destinations, findings};
use hydrophone::work::deliver::{Runner, Turn};
use hydrophone::work::{Stepped, deliver::Deliver};

use super::{Chance, World, open};
use crate::support::defectdojo::{self, DefectDojo, Fault, Mishap, Moment, Status, When};
use crate::support::receiver::{Receiver, Reply};

const SECRETS: [&str; 2] =
    ["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "whsec_OTg3NjU0MzIxMDk4NzY1NDMyMTA5ODc2NTQzMjEwOTg="];

/// What of a life is about destinations. Its chance is one of its own, so that the rest of a life is the same without.
pub struct Platforms {
    pub chance: Chance,
    /// Those that are to be added, and before which event.
    due: Vec<(usize, PlatformKind)>,
    pub told: Vec<Told>,
    /// The log was cut, so that the histories of findings are no longer whole.
    pub pruned: bool,
    events: usize,
}

pub struct Told {
    id: DestinationId,
    runner: Option<Runner>,
    server: Server,
    /// What the server knows and the box was not told yet.
    secret: Option<String>,
    tokens: usize,
    down: bool,
    /// Told anew by a replay, or by a log that was cut: the order of numbers says nothing any more.
    anew: bool,
    /// Findings that a person decided about, by the server's number: how they were left, and the newest change then.
    decided: BTreeMap<u64, (Status, Option<ChangeNumber>)>,
    /// Keys of what a person deleted there.
    deleted: BTreeSet<String>,
}

enum Server {
    Dojo(Box<DefectDojo>),
    Events(Receiver),
}

impl Platforms {
    pub fn drawn(seed: u64) -> Self {
        let mut chance = Chance(seed.wrapping_mul(0x9E6D_62D0_6F6A_9A9B));
        let mut due = Vec::new();
        if seed % 3 == 2 {
            let kinds: &[PlatformKind] = match chance.below(5) {
                0 | 1 => &[PlatformKind::DefectDojo],
                2 => &[PlatformKind::Events],
                _ => &[PlatformKind::DefectDojo, PlatformKind::Events],
            };
            due.extend(kinds.iter().map(|kind| ([0, 0, 5, 12, 25][chance.below(5)], *kind)));
        }
        Self { chance, due, told: Vec::new(), pruned: false, events: 0 }
    }
}

impl World {
    /// What happens to destinations between two events.
    pub fn about_platforms(&mut self) {
        let events = self.platforms.events;
        self.platforms.events += 1;
        let (due, later) = std::mem::take(&mut self.platforms.due).into_iter().partition(|(at, _)| *at <= events);
        self.platforms.due = later;
        let due: Vec<(usize, PlatformKind)> = due;
        for (_, kind) in due {
            self.add_platform(kind);
        }
        if self.platforms.told.is_empty() || self.platforms.chance.below(3) == 0 {
            return;
        }
        let count = self.platforms.told.len();
        let which = self.platforms.chance.below(count);
        match self.platforms.chance.below(20) {
            0..6 => self.platform_fault(which),
            6..8 => self.platform_outage(which),
            8 | 9 => self.kill_amid(which),
            10..14 => self.person(which),
            14 => self.new_token(which),
            15 => self.edit_destination(which, "pause or resume", |one, _| one.paused = !one.paused, false),
            16 => self.edit_destination(which, "filter", |one, n| one.filter.pull_requests = n % 2 == 0, true),
            17 => self.edit_destination(which, "triage", |one, n| one.triage_from_sonar = n % 2 == 0, true),
            18 => self.replay(which),
            _ => self.cut_log(),
        }
    }

    fn add_platform(&mut self, kind: PlatformKind) {
        let (server, url, secret) = if kind == PlatformKind::DefectDojo {
            let server = DefectDojo::start();
            let (url, secret) = (server.url(), server.token());
            (Server::Dojo(Box::new(server)), url, secret)
        } else {
            let server = Receiver::start(SECRETS[0]);
            let url = server.url();
            (Server::Events(server), url, SECRETS[0].to_owned())
        };
        let name = DestinationName::parse(kind.as_str()).unwrap();
        let mut destination = Destination::new(name, kind, url, self.clock.now());
        destination.filter.pull_requests = self.platforms.chance.below(2) == 0;
        destination.triage_from_sonar = self.platforms.chance.below(2) == 0;
        self.tell(&format!("destination {kind}, {:?}", destination.filter));
        let secret = SecretBytes::new(secret.into_bytes());
        let id = self.store.write::<_, StoreError>(move |batch| destinations::add(batch, &destination, Some(&secret)));
        let id = id.unwrap();
        let runner = Some(Runner::new(self.deliver.clone(), id));
        self.platforms.told.push(Told {
            id,
            runner,
            server,
            secret: None,
            tokens: 0,
            down: false,
            anew: false,
            decided: BTreeMap::new(),
            deleted: BTreeSet::new(),
        });
        self.freeze_platforms(self.now);
    }

    /// Nothing that a runner had in memory survives the process.
    pub fn runners_anew(&mut self) {
        self.deliver = Deliver::new(self.work.clone());
        for told in &mut self.platforms.told {
            told.runner = Some(Runner::new(self.deliver.clone(), told.id));
        }
    }

    /// Lets workers and runners do in drawn order what is due.
    pub fn settle_all(&mut self) {
        let count = self.platforms.told.len();
        let mut busy: Vec<usize> = (0..=count).collect();
        for _ in 0..20_000 {
            if busy.is_empty() {
                return;
            }
            let at = self.platforms.chance.below(busy.len());
            let worked = match busy[at] {
                0 => self.work.step().unwrap() == Stepped::Worked,
                one => {
                    let runner = self.platforms.told[one - 1].runner.as_mut().expect("a runner that lives");
                    runner.step().unwrap() == Turn::Worked
                }
            };
            if !worked {
                busy.remove(at);
            } else if busy.len() <= count {
                // What one did may be news to the others.
                busy = (0..=count).collect();
            }
        }
        panic!("seed {}: there is no end of telling", self.seed);
    }

    pub fn freeze_platforms(&self, now: i64) {
        for told in &self.platforms.told {
            if let Server::Dojo(server) = &told.server {
                server.edit(|model| model.freeze_clock(Some(jiff::Timestamp::from_second(now).unwrap())));
            }
        }
    }

    /// Puts down what platforms were asked meanwhile.
    pub fn note_told(&self, story: &mut Vec<String>) {
        for told in &self.platforms.told {
            match &told.server {
                Server::Dojo(server) => {
                    for one in server.requests() {
                        let sent = format!("{:?} {} {}", one.form, one.file, one.body);
                        story
                            .push(format!("  dojo: {} {} {:?} {sent} {}", one.method, one.path, one.query, one.status));
                    }
                    server.forget_requests();
                }
                // Their signatures tell of the real time.
                Server::Events(_) => {}
            }
        }
    }

    /// Puts down how platforms were left.
    pub fn note_left(&self, story: &mut Vec<String>) {
        for told in &self.platforms.told {
            match &told.server {
                Server::Dojo(server) => server.edit(|model| {
                    let plain = |one: &defectdojo::Finding| {
                        format!("dojo {} {:?} {:?} {:?} {:?}", one.id, one.unique_id, one.status, one.line, one.title)
                    };
                    story.extend(model.findings.values().map(plain));
                }),
                Server::Events(server) => story.extend(server.events().iter().map(|event| format!("event {event}"))),
            }
        }
    }

    pub fn platform_urls(&self) -> impl Iterator<Item = String> {
        self.platforms.told.iter().map(|told| match &told.server {
            Server::Dojo(server) => server.url(),
            Server::Events(server) => server.url(),
        })
    }

    /// What platforms were at while time passed is done.
    pub fn end_late(&self) {
        for told in &self.platforms.told {
            if let Server::Dojo(server) = &told.server {
                server.end_late();
            }
        }
    }

    fn platform_fault(&mut self, which: usize) {
        let chance = &mut self.platforms.chance;
        let (what, times, rows) = (chance.below(12), 1 + chance.below(3), chance.below(4));
        let every = (chance.below(3) == 0).then(|| 2 + chance.below(4));
        let everything = chance.below(2) == 0;
        self.tell(&format!(
            "platform {which}: fault {what} times {times} rows {rows} every {every:?} all {everything}"
        ));
        let told = &self.platforms.told[which];
        match &told.server {
            Server::Dojo(server) => {
                let fault = match what {
                    0 => Fault::too_many_requests(times).with_header("Retry-After", "30"),
                    1 => Fault::bad_gateway(times),
                    2 => Fault::internal_error(times),
                    3 => Fault::mishap(Mishap::AfterCommit, times),
                    4 => Fault::mishap(Mishap::Late, times),
                    5 => Fault::mishap(Mishap::MidRows { rows }, times),
                    6 => Fault::CutBody { times },
                    7 => Fault::Drip { pieces: 3, pause: Duration::from_millis(2), times },
                    8 => Fault::Reset { times },
                    9 => Fault::ResetBody { times },
                    10 => return server.clear_faults(),
                    _ => Fault::html(200, times),
                };
                let when = every.map_or(When::Times(times), When::EveryNth);
                server.fault_by(when, move |call| everything || call.method != "GET", fault);
            }
            Server::Events(server) => {
                for _ in 0..times {
                    server.answer(match what {
                        0 => Reply::With(429, vec![("retry-after", "30".to_owned())]),
                        1 | 2 => Reply::Status(502),
                        3 | 4 => Reply::FailAfterAccepting,
                        5 | 6 => Reply::CloseAfterAccepting,
                        7 => Reply::Status(503),
                        _ => Reply::Close,
                    });
                }
            }
        }
    }

    fn platform_outage(&mut self, which: usize) {
        let down = !self.platforms.told[which].down;
        self.tell(&format!("platform {which} is {}", if down { "down" } else { "up" }));
        self.set_platform(which, down);
    }

    fn set_platform(&mut self, which: usize, down: bool) {
        let told = &mut self.platforms.told[which];
        told.down = down;
        match &told.server {
            Server::Dojo(server) => server.set_offline(down),
            Server::Events(server) => server.answer_always(down.then_some(Reply::Close)),
        }
    }

    /// The token is not good any more, or the box is given the new one.
    fn new_token(&mut self, which: usize) {
        let told = &mut self.platforms.told[which];
        if let Some(secret) = told.secret.take() {
            let id = told.id;
            self.tell(&format!("platform {which}: the box knows the new token"));
            let secret = SecretBytes::new(secret.into_bytes());
            self.store
                .write::<_, StoreError>(move |batch| {
                    let destination = destinations::destination(batch, id)?.expect("it was added");
                    destinations::put(batch, id, &destination, Some(&secret))
                })
                .unwrap();
            return self.deliver.kick(id);
        }
        told.tokens += 1;
        match &told.server {
            Server::Dojo(server) => {
                let token = format!("token-{}", told.tokens);
                server.edit(|model| model.user_mut(DefectDojo::USER).token = Some(token.clone()));
                told.secret = Some(token);
            }
            Server::Events(server) => {
                let secret = SECRETS[told.tokens % 2];
                server.know(&[secret]);
                told.secret = Some(secret.to_owned());
            }
        }
        self.tell(&format!("platform {which}: another token"));
    }

    /// As `destination edit` does; what the filter let in by that is told by a replay.
    fn edit_destination(&mut self, which: usize, what: &str, change: fn(&mut Destination, usize), anew: bool) {
        let (id, n) = (self.platforms.told[which].id, self.platforms.chance.below(2));
        self.tell(&format!("platform {which}: {what} {n}"));
        let change = self.store.write::<_, StoreError>(move |batch| {
            let mut destination = destinations::destination(batch, id)?.expect("it was added");
            change(&mut destination, n);
            destinations::put(batch, id, &destination, None)
        });
        change.unwrap();
        self.deliver.kick(id);
        if anew {
            self.replay(which);
        }
    }

    fn replay(&mut self, which: usize) {
        self.tell(&format!("platform {which}: replay"));
        let told = &mut self.platforms.told[which];
        let id = told.id;
        told.anew = true;
        let done = self.store.write::<_, StoreError>(move |batch| {
            let mut progress = destinations::progress(batch, id)?;
            progress.cursor = Cursor::New;
            destinations::put_progress(batch, id, &progress)
        });
        done.unwrap();
        self.deliver.kick(id);
    }

    /// The log is cut to its newest change, as its retention by size does.
    fn cut_log(&mut self) {
        self.tell("the log of changes is cut");
        self.platforms.pruned = true;
        for told in &mut self.platforms.told {
            told.anew = true;
        }
        while self.store.delete::<_, StoreError>(|batch| changes::prune(batch, 1)).unwrap() > 0 {}
    }

    /// The process is killed while a destination is being told; the platform goes on with what it has.
    fn kill_amid(&mut self, which: usize) {
        self.tell(&format!("killed while platform {which} is told"));
        let mut runner = self.platforms.told[which].runner.take().expect("a runner that lives");
        let before = self.disk.after_power_cut();
        let moment = [Moment::BeforeReading, Moment::Amid, Moment::BeforeAnswering][self.platforms.chance.below(3)];
        let disk = match &self.platforms.told[which].server {
            Server::Events(_) => {
                // Nothing is noted before it is told.
                let worked = runner.step().unwrap() == Turn::Worked;
                worked.then_some(before)
            }
            Server::Dojo(server) => {
                let mut of_disk = Chance(self.platforms.chance.next());
                let is_held = std::sync::Arc::new(AtomicBool::new(false));
                let seen = std::sync::Arc::clone(&is_held);
                let hold = server.hold_when(moment, move |call| {
                    let ours = call.is_reimport() || (call.method == "PATCH" && moment != Moment::Amid);
                    seen.fetch_or(ours, Ordering::SeqCst);
                    ours
                });
                let disk = &self.disk;
                thread::scope(|scope| {
                    let stopped = std::sync::Arc::clone(&is_held);
                    let stepping = scope.spawn(move || {
                        for _ in 0..20 {
                            if stopped.load(Ordering::SeqCst) || runner.step().unwrap() != Turn::Worked {
                                return;
                            }
                        }
                    });
                    while !is_held.load(Ordering::SeqCst) && !stepping.is_finished() {
                        thread::yield_now();
                    }
                    let cut = is_held.load(Ordering::SeqCst).then(|| {
                        hold.wait_held(1);
                        // Of the process that is dead nothing is heard any more.
                        server.set_offline(true);
                        disk.after_bad_power_cut(&mut of_disk)
                    });
                    hold.release();
                    stepping.join().unwrap();
                    cut
                })
            }
        };
        let down = self.platforms.told[which].down;
        self.set_platform(which, down);
        self.store.close();
        if let Some(disk) = disk {
            self.tell("  amid a call");
            self.disk = disk;
        }
        (self.store, self.work) = open(&self.disk, &self.clock, &self.dice);
        self.runners_anew();
    }

    /// Somebody does something on the platform's pages.
    fn person(&mut self, which: usize) {
        let newest = self.store.read(findings::last_change).unwrap();
        let id = self.platforms.told[which].id;
        let cursor = self.store.read(|view| destinations::progress(view, id)).unwrap().cursor;
        let (chance, told) = (&mut self.platforms.chance, &mut self.platforms.told[which]);
        let Server::Dojo(server) = &told.server else { return };
        let (what, pick) = (chance.below(11), chance.below(10_000));
        let said = server.edit(|model| {
            let ids: Vec<u64> = model.findings.keys().copied().collect();
            let one = *ids.get(pick % ids.len().max(1))?;
            let (test, key) = (model.findings[&one].test, model.findings[&one].unique_id.clone());
            match what {
                0 => model.mark_false_positive(one),
                1 => model.accept_risk(one),
                2 => model.mark_out_of_scope(one),
                3 => model.verify(one),
                4 => model.mitigate(one),
                5 => model.reopen(one),
                6 => model.deactivate(one),
                7 => model.put_under_review(one),
                8 => {
                    model.delete_finding(one);
                    told.deleted.extend(key);
                    return Some(format!("deletes finding {one}"));
                }
                9 => {
                    model.rename_test(test, "Renamed by a person");
                    return Some(format!("renames Test {test}"));
                }
                _ => {
                    let keys = model.findings_of(test).filter_map(|one| one.unique_id.clone());
                    told.deleted.extend(keys.collect::<Vec<_>>());
                    model.delete_test(test);
                    return Some(format!("deletes Test {test}"));
                }
            }
            let caught_up = (cursor == Cursor::At(newest)).then_some(newest);
            told.decided.insert(one, (model.findings[&one].status.clone(), caught_up));
            Some(format!("decides {what} about {one} {key:?}, caught up {caught_up:?}"))
        });
        self.tell(&format!("platform {which}: a person {}", said.unwrap_or_default()));
    }

    /// The faults of the platforms end.
    pub fn rest_platforms(&mut self) {
        for which in 0..self.platforms.told.len() {
            self.set_platform(which, false);
            if let Server::Dojo(server) = &self.platforms.told[which].server {
                server.clear_faults();
            }
            if self.platforms.told[which].secret.is_some() {
                self.new_token(which);
            }
            self.edit_destination(which, "resume", |one, _| one.paused = false, false);
        }
    }

    pub fn compare_platforms(&self) {
        for told in &self.platforms.told {
            self.compare_told(told);
        }
    }

    fn compare_told(&self, told: &Told) {
        let (id, seed) = (told.id, self.seed);
        let (destination, progress, letters, newest) = self
            .store
            .read::<_, StoreError>(|view| {
                let destination = destinations::destination(view, id)?.expect("it was added");
                let letters = destinations::dead_letters(view, id, None, 100)?;
                Ok((destination, destinations::progress(view, id)?, letters, findings::last_change(view)?))
            })
            .unwrap();
        let name = &destination.name;
        assert_eq!(progress.cursor, Cursor::At(newest), "seed {seed}: {name} is behind: {progress:?}");
        assert_eq!(letters, [], "seed {seed}: {name} has dead letters at {}", self.clock.now());
        assert_eq!(progress.trouble, None, "seed {seed}: {name} is in trouble");
        let mut held: Vec<(ScopeId, bool, Finding)> = Vec::new();
        for project in self.projects.values() {
            for (scope, record) in self.store.read(|view| catalogue::scopes(view, *project)).unwrap() {
                let taken = record.kind == ScopeKind::Branch || destination.filter.pull_requests;
                let all = self.store.read(|view| findings::after(view, scope, None, 100_000)).unwrap();
                held.extend(all.into_iter().map(|finding| (scope, taken, finding)));
            }
        }
        match &told.server {
            Server::Dojo(server) => self.compare_dojo(told, server, &destination, &held),
            Server::Events(server) => self.compare_events(told, server, &destination, &held),
        }
    }

    fn compare_dojo(
        &self,
        told: &Told,
        server: &DefectDojo,
        destination: &Destination,
        held: &[(ScopeId, bool, Finding)],
    ) {
        let seed = self.seed;
        let there: Vec<defectdojo::Finding> = server.edit(|model| model.findings.values().cloned().collect());
        for (_, taken, finding) in held {
            let (key, here) = (finding.observed.key.as_str(), finding.observed.state);
            let remote = self.store.read(|view| destinations::remote(view, told.id, finding.id)).unwrap();
            let place = format!("seed {seed}: defectdojo {key}, {here:?} here, {remote:?}");
            let state = told_state(here, destination.triage_from_sonar);
            let same: Vec<&defectdojo::Finding> =
                there.iter().filter(|one| one.unique_id.as_deref() == Some(key)).collect();
            let kept_back = state == State::Open && matches!(here, State::Accepted | State::FalsePositive);
            assert!(same.len() <= 1, "{place}: there is more than one: {same:?}");
            let Some(one) = same.first() else {
                let needed = *taken && !here.is_closed() && !kept_back && !told.deleted.contains(key);
                assert!(
                    !needed && (remote.is_none() || here.is_closed() || told.deleted.contains(key)),
                    "{place}: is not there"
                );
                continue;
            };
            let changes = self.store.read(|view| findings::changes_of(view, finding.id)).unwrap();
            if let Some((status, caught_up)) = told.decided.get(&one.id) {
                // What has not changed here since is exactly as it was left there.
                let is_later = |newest: &ChangeNumber| changes.iter().any(|(number, _)| number > newest);
                if caught_up.is_some_and(|newest| !is_later(&newest)) && !told.anew {
                    assert_eq!(one.status, *status, "{place}: a person decided about {}", one.id);
                }
                continue;
            }
            let (status, closed) = (&one.status, state.is_closed());
            let flags = (status.active, status.verified && !closed, status.risk_accepted, status.false_p);
            let right = match state {
                State::Open => (true, false, false, false),
                State::Confirmed => (true, true, false, false),
                State::Accepted => (false, status.verified, true, false),
                State::FalsePositive => (false, false, false, true),
                State::Fixed | State::Removed => (false, false, status.risk_accepted, status.false_p),
            };
            assert_eq!(flags, right, "{place}: {one:?}");
            if !closed {
                let shown = (one.severity.as_str(), one.line, one.file_path.as_deref());
                let right =
                    (word(finding.observed.severity), finding.observed.line.filter(|line| *line > 0).map(i64::from));
                assert_eq!(shown, (right.0, right.1, finding.observed.path.as_deref()), "{place}: {one:?}");
            }
        }
        let known: BTreeSet<&str> = held.iter().map(|(_, _, finding)| finding.observed.key.as_str()).collect();
        for one in there.iter().filter(|one| one.status.active && !told.decided.contains_key(&one.id)) {
            let key = one.unique_id.as_deref().unwrap_or_default();
            assert!(known.contains(key), "seed {seed}: {key} is active in defectdojo and not known here: {one:?}");
        }
    }

    fn compare_events(
        &self,
        told: &Told,
        server: &Receiver,
        destination: &Destination,
        held: &[(ScopeId, bool, Finding)],
    ) {
        let seed = self.seed;
        let events = server.events();
        for (_, taken, finding) in held {
            let FindingId(id) = finding.id;
            let about: Vec<_> = events.iter().filter(|event| event["data"]["id"] == finding.id.to_string()).collect();
            let place = format!("seed {seed}: events {} ({id})", finding.observed.key);
            let history = finding.closed_at.is_some_and(|at| at < destination.created_at);
            if *taken && !history {
                let Some(last) = about.last() else { panic!("{place}: was never told: {finding:?}") };
                let said = (last["data"]["state"].as_str().unwrap(), last["data"]["line"].as_u64());
                let right = (finding.observed.state.as_str(), finding.observed.line.map(u64::from));
                assert_eq!(said, right, "{place}: {about:#?}");
            }
            let numbers: Vec<u64> =
                about.iter().filter_map(|one| one["data"]["change"].as_str()?.parse().ok()).collect();
            assert!(told.anew || numbers.is_sorted_by(|a, b| a < b), "{place}: in another order: {numbers:?}");
        }
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "Critical",
        Severity::High => "High",
        Severity::Medium => "Medium",
        Severity::Low => "Low",
        Severity::Info => "Info",
    }
}
