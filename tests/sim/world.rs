//! One seed's life: a SonarQube, a box with a disk and a clock of its own, and what happens to them.

#[path = "destinations.rs"]
mod destinations;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use hydrophone::domain::delivery::{Outcome, Payload};
use hydrophone::domain::finding::{Finding, State};
use hydrophone::domain::ids::{
    AssetName, DeliveryId, OrganizationKey, OrganizationRef, ProjectId, ProjectKey, SourceName,
};
use hydrophone::domain::schedule::{Reason, Task};
use hydrophone::domain::selection::Selection;
use hydrophone::domain::time::Timestamp;
use hydrophone::store::records::{Asset, Project, Scope, SecretBytes, Source};
use hydrophone::store::{
    Accepted, Arrival, Reply, Store, StoreError, agenda, catalogue, deliveries, findings, lists, settings,
};
use hydrophone::sys::bell::Bell;
use hydrophone::sys::clock::Clock;
use hydrophone::sys::dice::Dice;
use hydrophone::sys::trust::Trust;
use hydrophone::work::deliver::Deliver;
use hydrophone::work::progress::Progress;
use hydrophone::work::sources::Sources;
use hydrophone::work::{Stepped, Work};

use self::destinations::Platforms;
use crate::disk::{Chance, Disk};
use crate::support::sonar::{
    Analysis, Branch, Fault, Hotspot, HotspotResolution, Issue, Mode, Model, Severity, Sonar, Target, Twist, When,
};
use crate::truth::{Truth, findings as true_findings, hotspot_state, issue_state};

/// 2026-03-01T00:00:00Z, when every life begins.
const BEGIN: i64 = 1_772_323_200;

const PROJECTS: [&str; 2] = ["shop", "bank"];

const RULES: [&str; 3] = ["java:S2076", "java:S3649", "java:S5131"];

pub struct World {
    seed: u64,
    told: bool,
    /// What happened, a line each.
    story: RefCell<Vec<String>>,
    chance: Chance,
    sonar: Sonar,
    truth: Truth,
    /// SonarQube's time.
    now: i64,
    disk: Disk,
    clock: Clock,
    dice: Dice,
    store: Store,
    work: Arc<Work>,
    projects: BTreeMap<&'static str, ProjectId>,
    /// The keys that the projects have in SonarQube by now.
    keys: BTreeMap<&'static str, String>,
    acknowledged: Vec<DeliveryId>,
    tasks: u64,
    names: u64,
    offline: bool,
    deliver: Arc<Deliver>,
    platforms: Platforms,
}

impl World {
    pub fn new(seed: u64, told: bool) -> Self {
        let mut chance = Chance(seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(seed));
        let mode = match chance.below(4) {
            0 => Mode::Server { version: "9.9.4.87374", mqr: false },
            1 => Mode::Server { version: "2026.3.0.1", mqr: true },
            _ => Mode::Cloud,
        };
        let sonar = Sonar::start(mode);
        let disk = Disk::default();
        let clock = Clock::by_hand(Timestamp(BEGIN * 1000));
        let dice = Dice::seeded(seed.wrapping_mul(0xD1B5_4A32_D192_ED03));
        let (store, work) = open(&disk, &clock, &dice);
        let deliver = Deliver::new(Arc::clone(&work));
        let mut world = Self {
            seed,
            told,
            story: RefCell::default(),
            chance,
            sonar,
            truth: Truth::default(),
            now: BEGIN,
            disk,
            clock,
            dice,
            store,
            work,
            projects: BTreeMap::new(),
            keys: PROJECTS.into_iter().map(|name| (name, name.to_owned())).collect(),
            acknowledged: Vec::new(),
            tasks: 0,
            names: 0,
            offline: false,
            deliver,
            platforms: Platforms::drawn(seed),
        };
        world.tell(&format!("{mode:?}"));
        world.begin();
        world
    }

    fn tell(&self, what: &str) {
        let line = format!("{} {what}", Timestamp(self.now * 1000));
        if self.told {
            println!("{line}");
        }
        self.story.borrow_mut().push(line);
    }

    /// The projects with some findings, imported and read.
    fn begin(&mut self) {
        let count = 3 + self.chance.below(12);
        self.edit(|model, _| {
            model.freeze_clock(Some(BEGIN));
            for project in PROJECTS {
                model.add_project("acme", project, project);
                model.add_branch(project, "develop");
                model.add_pull_request(project, "7", "feature", "main");
            }
        });
        for project in PROJECTS {
            for branch in ["main", "develop"] {
                self.analyse(project, Target::Branch(branch), count);
            }
        }
        let cloud = self.sonar.edit(|model| model.edition.cloud);
        let version = match self.sonar.edit(|model| model.edition.mode) {
            Mode::Cloud => None,
            Mode::Server { version, .. } => Some(version.to_owned()),
        };
        let source = Source {
            name: SourceName::parse("sonar").unwrap(),
            cloud,
            url: self.sonar.url(),
            api_url: cloud.then(|| self.sonar.api_url()),
            ca_pem: None,
            proxy: None,
            webhook_url: None,
            version,
            standard_mode: false,
            checked_at: None,
            token_expires_at: None,
            error: None,
            organizations: Vec::new(),
            unsorted: false,
            filters: std::collections::BTreeMap::default(),
            at: None,
        };
        let token = SecretBytes::new(self.sonar.token().as_bytes().to_vec());
        let (organization, now) = (self.organization(), self.clock.now());
        let tickets: Vec<u64> = PROJECTS.iter().map(|_| self.store.ticket()).collect();
        let ids = self.store.write::<_, StoreError>(move |batch| {
            catalogue::put_source(batch, &source, Some(&token))?;
            // So that in some lives large branches are read by what changed, and all of it within hours.
            for (key, value) in [
                ("whole-read-max", "8"),
                ("whole-read-hours", "3"),
                ("requests-per-minute", "100000"),
                ("keep-closed-days", "3650"),
                ("keep-delivery-days", "3650"),
            ] {
                settings::set(batch, key, Some(value))?;
            }
            let asset = Asset::new(AssetName::parse("all").unwrap(), now);
            let asset = catalogue::add_asset(batch, &asset)?;
            let mut ids = Vec::new();
            for (key, ticket) in PROJECTS.iter().zip(tickets) {
                let project = Project {
                    organization: organization.clone(),
                    key: ProjectKey::parse(key).unwrap(),
                    name: (*key).to_owned(),
                    asset,
                    selection: Selection { branches: vec!["*".to_owned()], pull_requests: true },
                    main: None,
                    imported_at: now,
                    error: None,
                    moved: None,
                    repository: None,
                };
                let id = catalogue::add_project(batch, &project)?;
                agenda::ask(batch, Task::Discover(id), Reason::Import, now, ticket)?;
                ids.push(id);
            }
            Ok(ids)
        });
        self.projects = PROJECTS.into_iter().zip(ids.unwrap()).collect();
        self.settle();
    }

    fn organization(&self) -> OrganizationRef {
        let key = if self.sonar.edit(|model| model.edition.cloud) { "acme" } else { "sonar" };
        OrganizationRef { source: SourceName::parse("sonar").unwrap(), key: OrganizationKey::parse(key).unwrap() }
    }

    /// Changes what is true, and notes what was.
    fn edit<R>(&mut self, change: impl FnOnce(&mut Model, &mut Truth) -> R) -> R {
        let truth = &mut self.truth;
        self.sonar.edit(|model| {
            let done = change(model, truth);
            truth.look(model);
            done
        })
    }

    /// One thing happens, and some time passes.
    pub fn event(&mut self) {
        self.about_platforms();
        match self.chance.below(100) {
            0..36 => self.analysis(),
            36..50 => self.triage(),
            50..54 => self.purge(),
            54..66 => self.fault(),
            66..70 => self.outage(),
            70..75 => self.index(),
            75..79 => self.restart(false),
            79..84 => self.restart(true),
            84..88 => self.turn_clock(),
            88..92 => self.branches(),
            92..94 => self.rename(),
            _ => self.hotspots(),
        }
        let spans = [0, 0, 2, 30, 61, 61, 600, 700, 3_700, 20_000];
        let span = spans[self.chance.below(spans.len())];
        self.pass(span);
    }

    /// The key of one of the projects.
    fn project(&mut self) -> String {
        self.keys[PROJECTS[self.chance.below(PROJECTS.len())]].clone()
    }

    fn target(&mut self) -> (String, String, bool) {
        let project = self.project();
        let branches: Vec<(String, bool)> = self.sonar.edit(|model| {
            let branches = &model.project(&project).unwrap().branches;
            branches.iter().map(|branch| (branch.name.clone(), branch.is_pull_request())).collect()
        });
        let (name, request) = branches[self.chance.below(branches.len())].clone();
        (project, name, request)
    }

    fn analysis(&mut self) {
        let (project, name, request) = self.target();
        let target = if request { Target::PullRequest(&name) } else { Target::Branch(&name) };
        let count = self.chance.below(7);
        if self.chance.below(12) == 0 {
            self.tell(&format!("a failed task of {project} {name}"));
            return self.webhook(&project, &name, request, "FAILED");
        }
        self.analyse(&project, target, count);
        match self.chance.below(10) {
            0..6 => self.webhook(&project, &name, request, "SUCCESS"),
            6 => {
                self.webhook(&project, &name, request, "SUCCESS");
                self.tasks -= 1;
                self.webhook(&project, &name, request, "SUCCESS");
            }
            _ => self.tell("  its webhook is lost"),
        }
    }

    /// An analysis that does so many things to a branch's issues.
    fn analyse(&mut self, project: &str, target: Target, count: usize) {
        self.tell(&format!("analysis of {project} {target:?}"));
        let (chance, mut said) = (&mut self.chance, Vec::new());
        self.sonar.analyse(project, target, |analysis| {
            for _ in 0..count {
                said.push(change_one(analysis, project, target, chance));
            }
        });
        self.tell(&format!("  {}", said.join(", ")));
        self.edit(|_, _| ());
        // Each analysis has a second of its own in SonarQube.
        self.now = self.sonar.edit(|model| model.now());
    }

    /// A person changes one issue. No webhook tells of it.
    fn triage(&mut self) {
        let Some(key) = self.some_issue(|state| !state.is_closed()) else { return };
        let what = self.chance.below(4);
        self.tell(&format!("triage {key} {what}"));
        self.edit(|model, _| match what {
            0 => model.accept(&key),
            1 => model.mark_false_positive(&key),
            2 => model.confirm(&key),
            _ => model.reopen(&key),
        });
    }

    fn purge(&mut self) {
        let Some(key) = self.some_issue(State::is_closed) else { return };
        self.tell(&format!("purge {key}"));
        self.edit(|model, _| model.purge(&key));
    }

    fn some_issue(&mut self, fits: impl Fn(State) -> bool) -> Option<String> {
        let keys: Vec<String> = self.sonar.edit(|model| {
            let branches = model.projects.iter().flat_map(|project| &project.branches);
            let issues = branches.flat_map(Branch::issues);
            issues.filter(|issue| fits(issue_state(issue))).map(|issue| issue.key.clone()).collect()
        });
        (!keys.is_empty()).then(|| keys[self.chance.below(keys.len())].clone())
    }

    fn fault(&mut self) {
        if self.chance.below(3) == 0 {
            self.tell("faults end");
            self.sonar.clear_faults();
            return;
        }
        let times = 1 + self.chance.below(6);
        let by = 1 + self.chance.below(3);
        // A list and the answers by key may each lie, but not both alike: two lies that agree are the truth to anybody.
        let (fault, keys) = match self.chance.below(22) {
            0 => (Fault::too_many_requests(times), None),
            1 => (Fault::too_many_requests(times).with_header("Retry-After", "30"), None),
            2 => (Fault::unavailable(times), None),
            3 => (Fault::indexing(times), None),
            4 => (Fault::internal_error(times), None),
            5 => (Fault::unauthorized(times), None),
            6 => (Fault::html(200, times), None),
            7 => (Fault::CutBody { times }, None),
            8 => (Fault::NoAnswer { times }, None),
            9 => (Fault::Reset { times }, None),
            10 => (Fault::ResetBody { times }, None),
            11 => (Fault::json(404, r#"{"errors":[{"msg":"Not found"}]}"#, times), None),
            12 => (Fault::json(403, r#"{"errors":[{"msg":"Insufficient privileges"}]}"#, times), None),
            13 => (Fault::twist(Twist::Empty, times), Some(false)),
            14 => (Fault::twist(Twist::EmptyThroughout, times), Some(self.chance.below(2) == 0)),
            15 => (Fault::twist(Twist::Undercount { by }, times), Some(false)),
            16 => (Fault::twist(Twist::Shortened { by }, times), Some(false)),
            17 => (Fault::twist(Twist::RowsMissing { rows: by }, times), None),
            18 => (Fault::twist(Twist::PageRepeated, times), None),
            19 => (Fault::twist(Twist::RowRepeated, times), None),
            20 => (Fault::twist(Twist::FacetsEmpty, times), None),
            _ => (Fault::twist(Twist::FacetsAbsent, times), None),
        };
        let when = match self.chance.below(3) {
            0 => When::EveryNth(2 + self.chance.below(4)),
            _ => When::Times(times),
        };
        self.tell(&format!("fault {fault:?} {when:?} of keys {keys:?}"));
        let Some(keys) = keys else { return self.sonar.fault_by(when, |_| true, fault) };
        self.sonar.clear_faults();
        self.sonar.fault_by(
            // Of a branch without any issue nothing tells an answer by key that lies, but that it does not lie twice.
            When::Times(if keys { 1 } else { times }),
            move |call| call.path.ends_with("/search") && call.param("issues").is_some() == keys,
            fault,
        );
    }

    fn outage(&mut self) {
        self.offline = !self.offline;
        self.tell(if self.offline { "offline" } else { "online" });
        self.sonar.set_offline(self.offline);
    }

    /// SonarQube's index falls behind, or catches up.
    fn index(&mut self) {
        let project = self.project();
        let hold = self.chance.below(2) == 0;
        self.tell(&format!("index of {project} {}", if hold { "held" } else { "released" }));
        self.edit(|model, _| if hold { model.hold_index(&project) } else { model.release_index(&project) });
    }

    fn restart(&mut self, power_cut: bool) {
        self.tell(if power_cut { "power cut" } else { "restart" });
        if power_cut {
            let disk = self.disk.after_bad_power_cut(&mut Chance(self.chance.next()));
            self.store.close();
            self.disk = disk;
        } else {
            // As the daemon does at a clean stop.
            self.work.standing.flush(&self.store).unwrap();
            self.store.close();
        }
        (self.store, self.work) = open(&self.disk, &self.clock, &self.dice);
        self.runners_anew();
    }

    fn turn_clock(&mut self) {
        const HOUR: i64 = 3_600_000;
        let steps = [-40 * 365 * 24 * HOUR, -26 * HOUR, -HOUR, -60_000, 60_000, HOUR, 26 * HOUR, 3 * 365 * 24 * HOUR];
        let time = if self.chance.below(3) == 0 {
            Timestamp(self.now * 1000)
        } else {
            Timestamp(self.clock.now().0 + steps[self.chance.below(steps.len())])
        };
        self.tell(&format!("the box's clock says {time}"));
        self.clock.set(time);
    }

    fn branches(&mut self) {
        let project = &self.project();
        let (extra, request) = self.sonar.edit(|model| {
            let branches = &model.project(project).unwrap().branches;
            let extra = branches.iter().find(|branch| !branch.is_main() && !branch.is_pull_request());
            let request = branches.iter().find(|branch| branch.is_pull_request());
            (extra.map(|branch| branch.name.clone()), request.map(|branch| branch.name.clone()))
        });
        let (extra, request): (Option<String>, Option<String>) = (extra, request);
        self.names += 1;
        let name = format!("b{}", self.names);
        match (self.chance.below(4), extra, request) {
            (0, Some(extra), _) => self.delete(project, Target::Branch(&extra)),
            (1, _, Some(request)) => self.delete(project, Target::PullRequest(&request)),
            (2, ..) => {
                self.tell(&format!("new branch {name} of {project}"));
                self.edit(|model, _| model.add_branch(project, &name));
                self.analyse(project, Target::Branch(&name), 4);
                self.webhook(project, &name, false, "SUCCESS");
            }
            _ => {
                self.tell(&format!("new pull request {name} of {project}"));
                self.edit(|model, _| model.add_pull_request(project, &name, "feature", "main"));
                self.analyse(project, Target::PullRequest(&name), 4);
            }
        }
    }

    fn delete(&mut self, project: &str, target: Target) {
        self.tell(&format!("{target:?} of {project} is deleted"));
        self.edit(|model, truth| {
            let keys: Vec<String> = true_findings(model.branch(project, target).unwrap()).into_keys().collect();
            truth.freeze(keys);
            model.delete_branch(project, target);
        });
    }

    /// A project gets another key, or a person confirms that it did.
    fn rename(&mut self) {
        let name = PROJECTS[self.chance.below(PROJECTS.len())];
        if self.is_renamed(name) {
            return self.confirm(name);
        }
        self.names += 1;
        let (key, to) = (self.keys[name].clone(), format!("{name}-{}", self.names));
        self.tell(&format!("{key} gets the key {to}"));
        self.edit(|model, _| model.rename_project(&key, &to));
        self.keys.insert(name, to);
    }

    fn held_key(&self, name: &str) -> ProjectKey {
        let id = self.projects[name];
        self.store.read(|view| catalogue::project(view, id)).unwrap().unwrap().key
    }

    fn is_renamed(&self, name: &str) -> bool {
        self.held_key(name).as_str() != self.keys[name]
    }

    /// As `project rename` does.
    fn confirm(&mut self, name: &str) {
        let (id, key) = (self.projects[name], ProjectKey::parse(&self.keys[name]).unwrap());
        self.tell(&format!("{key} is confirmed"));
        let (store, now) = (self.store.clone(), self.clock.now());
        self.store
            .write::<_, StoreError>(move |batch| {
                catalogue::rename_project(batch, id, &key, key.to_string())?;
                agenda::ask(batch, Task::Discover(id), Reason::Manual, now, store.ticket())?;
                for (scope, _) in catalogue::scopes(batch, id)? {
                    agenda::ask(batch, Task::Sync(scope), Reason::Manual, now, store.ticket())?;
                }
                Ok(())
            })
            .unwrap();
    }

    /// A Server's hotspots are found, reviewed, gone, or turned into issues.
    fn hotspots(&mut self) {
        if self.sonar.edit(|model| model.edition.cloud) {
            return self.analysis();
        }
        let (project, name, request) = self.target();
        let target = if request { Target::PullRequest(&name) } else { Target::Branch(&name) };
        let keys: Vec<String> = self.sonar.edit(|model| {
            let hotspots = &model.branch(&project, target).unwrap().hotspots;
            hotspots.iter().filter(|one| !hotspot_state(one).is_closed()).map(|one| one.key.clone()).collect()
        });
        let one: Option<String> = (!keys.is_empty()).then(|| keys[self.chance.below(keys.len())].clone());
        let line = 1 + u32::try_from(self.chance.below(2_000_000)).unwrap();
        let what = self.chance.below(6);
        self.tell(&format!("hotspots of {project} {name}: {what} {one:?}"));
        self.edit(|model, truth| match (what, one) {
            (3, Some(key)) => model.review_hotspot(&key, HotspotResolution::Safe),
            (4, Some(key)) => model.close_hotspot(&key),
            (5, Some(key)) => {
                let to = model.convert_hotspot(&key, line % 2 == 0);
                truth.moved(&key, &to);
            }
            _ => {
                model.add_hotspot(&project, target, Hotspot::new("java:S2245", "src/Spot.java", line));
            }
        });
        self.analyse(&project, target, 1);
        self.webhook(&project, &name, request, "SUCCESS");
    }

    /// A webhook arrives. What is answered has to be found again.
    fn webhook(&mut self, project: &str, name: &str, request: bool, status: &str) {
        self.tasks += 1;
        let kind = if request { "PULL_REQUEST" } else { "BRANCH" };
        let at = jiff_date(self.now);
        let main = name == "main";
        let body = format!(
            r#"{{"taskId":"T{}","status":"{status}","analysedAt":"{at}","changedAt":"{at}","project":{{"key":"{project}"}},"branch":{{"name":"{name}","type":"{kind}","isMain":{main}}}}}"#,
            self.tasks
        )
        .into_bytes();
        let (sender, answer) = mpsc::channel();
        let arrival = Arrival {
            at: self.clock.now(),
            organization: self.organization(),
            payload: Payload::parse(&body, None),
            body,
            replay_of: None,
            healed: None,
            signed_by: None,
        };
        self.store.accept(arrival, Box::new(Answer(sender)));
        let accepted = answer.recv().expect("every delivery is answered").expect("the disk is well");
        self.tell(&format!("  webhook {:?} {:?}", accepted.id, accepted.outcome));
        self.acknowledged.push(accepted.id);
    }

    /// Lets time pass for both sides, and does what is due meanwhile.
    fn pass(&mut self, seconds: i64) {
        let mut left = seconds;
        loop {
            let some = left.min(600);
            self.now += some;
            self.clock.advance(Duration::from_secs(u64::try_from(some).unwrap()));
            let now = self.now;
            self.sonar.edit(|model| model.freeze_clock(Some(now)));
            if some > 0 {
                self.freeze_platforms(now);
                self.end_late();
            }
            self.settle();
            self.note_calls();
            left -= some;
            if left == 0 {
                return;
            }
        }
    }

    /// Puts down what was asked meanwhile.
    fn note_calls(&self) {
        let mut story = self.story.borrow_mut();
        for call in self.sonar.requests() {
            story.push(format!("  sonar: {} {} {:?} {}", call.method, call.path, call.query, call.status));
        }
        self.sonar.forget_requests();
        self.note_told(&mut story);
    }

    /// Everything that happened, and what was left. Ports are the system's to give, and not told.
    pub fn story(self) -> Vec<String> {
        let mut story = self.story.take();
        for project in self.projects.values() {
            for (scope, _) in self.store.read(|view| catalogue::scopes(view, *project)).unwrap() {
                for finding in self.store.read(|view| findings::after(view, scope, None, 100_000)).unwrap() {
                    let log = self.store.read(|view| findings::changes_of(view, finding.id)).unwrap();
                    story.push(format!("{scope:?} {finding:?} {log:?}"));
                }
            }
        }
        self.note_left(&mut story);
        let ports = std::iter::once(self.sonar.url()).chain(self.platform_urls());
        let ports: Vec<String> = ports.map(|url| url.rsplit(':').next().unwrap_or_default().to_owned()).collect();
        let plain = |line: String| ports.iter().fold(line, |line, port| line.replace(&format!(":{port}"), ""));
        story.into_iter().map(plain).collect()
    }

    fn settle(&mut self) {
        if !self.platforms.told.is_empty() {
            return self.settle_all();
        }
        for _ in 0..5_000 {
            if let Stepped::Idle { .. } = self.work.step().unwrap() {
                return;
            }
        }
        panic!("seed {}: there is no end of work", self.seed);
    }

    /// The faults end, some hours pass, and everything is compared.
    pub fn rest(&mut self) {
        self.tell("rest");
        self.sonar.clear_faults();
        self.sonar.set_offline(false);
        self.rest_platforms();
        let keys = self.keys.clone();
        self.edit(|model, _| keys.values().for_each(|project| model.release_index(project)));
        for _ in 0..8 {
            self.pass(3_600);
        }
        let renamed: Vec<&str> = PROJECTS.into_iter().filter(|name| self.is_renamed(name)).collect();
        for name in &renamed {
            self.compare_moved(name);
            self.confirm(name);
        }
        if !renamed.is_empty() {
            for _ in 0..8 {
                self.pass(3_600);
            }
        }
        self.compare();
        self.compare_platforms();
    }

    fn compare(&self) {
        let seed = self.seed;
        for id in &self.acknowledged {
            let found = self.store.read(|view| deliveries::show(view, *id)).unwrap();
            let (delivery, settlement) =
                found.unwrap_or_else(|| panic!("seed {seed}: {id:?} was answered and is lost"));
            let outcome = settlement.map_or(delivery.outcome, |settlement| settlement.outcome);
            assert_ne!(outcome, Outcome::Queued, "seed {seed}: {id:?} still waits: {:?}", delivery.scope);
        }
        for (name, id) in &self.projects {
            self.compare_project(&self.keys[name], *id);
        }
    }

    /// A project whose key changed is told of where its findings show it, and nothing of it is closed for that.
    fn compare_moved(&self, name: &str) {
        let (id, key) = (self.projects[name], &self.keys[name]);
        let project = self.store.read(|view| catalogue::project(view, id)).unwrap().unwrap();
        if let Some(moved) = project.moved {
            assert_eq!(moved.to.as_str(), key, "seed {}: {name} moved elsewhere", self.seed);
        }
        for (scope, _) in self.store.read(|view| catalogue::scopes(view, id)).unwrap() {
            let stored = self.store.read(|view| findings::after(view, scope, None, 100_000)).unwrap();
            for finding in &stored {
                self.compare_log(finding);
            }
        }
    }

    fn compare_project(&self, key: &str, id: ProjectId) {
        let seed = self.seed;
        let scopes = self.store.read(|view| catalogue::scopes(view, id)).unwrap();
        let branches = self.sonar.edit(|model| model.project(key).unwrap().branches.clone());
        for branch in &branches {
            let place = format!("seed {seed}: {key} {}", branch.name);
            let found = scopes.iter().find(|(_, scope)| {
                scope.name.as_str() == branch.name
                    && (scope.kind == hydrophone::domain::ids::ScopeKind::PullRequest) == branch.is_pull_request()
            });
            let Some((scope, record)) = found else { panic!("{place} is not held") };
            let stored = self.store.read(|view| findings::after(view, *scope, None, 100_000)).unwrap();
            self.compare_branch(&place, branch, record, &stored);
            let open = self.store.read(|view| lists::count_open(view, *scope)).unwrap();
            let scanned = stored.iter().filter(|one| !one.observed.state.is_closed()).count() as u64;
            assert_eq!(open, scanned, "{place}: the counts");
            assert_eq!(record.sonar_total, Some(open), "{place}: what SonarQube counts");
        }
        for (scope, record) in &scopes {
            let listed = branches.iter().any(|branch| branch.name == record.name.as_str());
            assert_eq!(record.retired_at.is_none(), listed, "seed {seed}: {key} {} is retired or not", record.name);
            let stored = self.store.read(|view| findings::after(view, *scope, None, 100_000)).unwrap();
            for finding in &stored {
                self.compare_log(finding);
            }
        }
    }

    fn compare_branch(&self, place: &str, branch: &Branch, record: &Scope, stored: &[Finding]) {
        let waiting = self.store.read(agenda::all).unwrap();
        let now = self.clock.now();
        assert!(record.complete && record.error.is_none(), "{place}: {record:?}\n{waiting:?} at {now}");
        let truth = true_findings(branch);
        let open = |state: &State| !state.is_closed();
        let expected: BTreeMap<String, State> = truth.into_iter().filter(|(_, state)| open(state)).collect();
        let held = stored.iter().map(|one| (one.observed.key.to_string(), one.observed.state));
        let held: BTreeMap<String, State> = held.filter(|(_, state)| open(state)).collect();
        assert_eq!(held, expected, "{place}: what is stored, what is true");
        for issue in branch.issues().iter().filter(|issue| expected.contains_key(&issue.key)) {
            let one = stored.iter().find(|one| one.observed.key.as_str() == issue.key).unwrap();
            let held = (one.observed.path.as_deref(), one.observed.line, one.observed.sonar.severity.as_deref());
            let severity = held.2.map(|_| issue.severity.word());
            assert_eq!(held, (issue.path.as_deref(), issue.line(), severity), "{place}: {}", issue.key);
        }
    }

    /// The log of a finding tells of what happened, in its order, and ends where the finding is.
    fn compare_log(&self, finding: &Finding) {
        let log = self.store.read(|view| findings::changes_of(view, finding.id)).unwrap();
        let key = finding.observed.key.as_str();
        let place = format!("seed {}: {key}", self.seed);
        let mut states: Vec<State> = Vec::new();
        if self.platforms.pruned {
            // The newest part is left, and begins where the part that is gone ended.
            states.extend(log.first().map_or(Some(finding.observed.state), |(_, change)| change.from));
        }
        for (_, change) in &log {
            assert_eq!(change.from, states.last().copied(), "{place}: {log:?}");
            states.push(change.to);
        }
        assert_eq!(states.last(), Some(&finding.observed.state), "{place}: {log:?}");
        states.dedup();
        assert!(
            self.truth.tells(key, &states),
            "{place}: the log tells {states:?}, the truth was {:?}",
            self.truth.of(key)
        );
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.store.close();
    }
}

/// One thing that an analysis finds.
fn change_one(analysis: &mut Analysis, project: &str, target: Target, chance: &mut Chance) -> String {
    let keys: Vec<(String, bool)> = analysis
        .branch(project, target)
        .unwrap()
        .issues()
        .iter()
        .map(|issue| (issue.key.clone(), issue_state(issue).is_closed()))
        .collect();
    let one = (!keys.is_empty()).then(|| keys[chance.below(keys.len())].clone());
    let line = 1 + u32::try_from(chance.below(5_000)).unwrap();
    match (chance.below(11), one) {
        (0 | 1, Some((key, false))) => {
            analysis.fix(&key);
            format!("fix {key}")
        }
        (2, Some((key, false))) => {
            analysis.remove(&key);
            format!("remove {key}")
        }
        (3 | 4, Some((key, true))) => {
            analysis.reopen(&key);
            format!("reopen {key}")
        }
        (5, Some((key, false))) => {
            analysis.move_file(&key, "src/Moved.java");
            format!("move {key}")
        }
        (6, Some((key, false))) => {
            analysis.shift_line(&key, line);
            format!("shift {key}")
        }
        (7, Some((key, false))) => {
            analysis.set_severity(&key, Severity::Blocker);
            format!("severity of {key}")
        }
        _ => {
            let rule = RULES[chance.below(RULES.len())];
            let key = analysis.open(Issue::vulnerability(rule, "src/Some.java", line));
            format!("open {key}")
        }
    }
}

fn open(disk: &Disk, clock: &Clock, dice: &Dice) -> (Store, Arc<Work>) {
    let disk = disk.clone();
    let store = Store::open_on(move || disk.clone(), Arc::new(Bell::default())).unwrap();
    let sources = Arc::new(Sources::new(store.clone(), Trust::load(), clock.clone()));
    let work = Work::new(store.clone(), sources, Arc::new(Progress::default()), clock.clone(), dice.clone());
    (store, work)
}

struct Answer(mpsc::Sender<Result<Accepted, StoreError>>);

impl Reply for Answer {
    fn is_wanted(&self) -> bool {
        true
    }

    fn send(self: Box<Self>, result: Result<Accepted, StoreError>) {
        let _ = self.0.send(result);
    }
}

/// As SonarQube writes dates.
fn jiff_date(seconds: i64) -> String {
    Timestamp(seconds * 1000).to_string().replace('Z', "+0000")
}
