//! The workers of a gateway inside the test, on a clock that the test turns: an hour passes in a moment. No listener,
//! no threads; what is due is done when the test says so.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use hydrophone::admin::{self, Admin};
use hydrophone::domain::finding::State;
use hydrophone::domain::ids::{
    AssetName, EndpointId, OrganizationKey, OrganizationRef, ProjectId, ProjectKey, ScopeId, SourceName,
};
use hydrophone::domain::schedule::{Reason, Task};
use hydrophone::domain::selection::Selection;
use hydrophone::store::records::{Asset, Delivery, Project, Scope, SecretBytes, Source};
use hydrophone::store::{Store, StoreError, agenda, catalogue, deliveries, findings, hooks, settings};
use hydrophone::sys::bell::Bell;
use hydrophone::sys::clock::{self, Clock};
use hydrophone::sys::dice::Dice;
use hydrophone::sys::trust::Trust;
use hydrophone::work::deliver::Deliver;
use hydrophone::work::progress::Progress;
use hydrophone::work::sources::Sources;
use hydrophone::work::{Stepped, Work};

use super::gateway::{program, run};
use super::sonar::Sonar;

/// See the module.
pub struct Inside {
    pub folder: Arc<tempfile::TempDir>,
    pub store: Store,
    pub work: Arc<Work>,
    pub clock: Clock,
}

impl Inside {
    /// Connected to a SonarQube Cloud, as the source `sonar`, with this token.
    pub fn connected(sonar: &Sonar, token: &str) -> Self {
        let inside = Self::open(Arc::new(tempfile::tempdir().expect("a temporary folder")));
        let source = Source {
            name: SourceName::parse("sonar").unwrap(),
            cloud: true,
            url: sonar.url(),
            api_url: Some(sonar.api_url()),
            ca_pem: None,
            proxy: None,
            webhook_url: None,
            version: None,
            standard_mode: false,
            checked_at: None,
            token_expires_at: None,
            error: None,
            organizations: Vec::new(),
            unsorted: false,
            filters: std::collections::BTreeMap::default(),
            at: None,
        };
        let token = SecretBytes::new(token.as_bytes().to_vec());
        inside.store.write::<_, StoreError>(move |batch| catalogue::put_source(batch, &source, Some(&token))).unwrap();
        inside
    }

    fn open(folder: Arc<tempfile::TempDir>) -> Self {
        let state = folder.path().to_owned();
        Self::over(folder, &state)
    }

    /// Over what a gateway left that was stopped: its state lies somewhere in the folder.
    pub fn over(folder: Arc<tempfile::TempDir>, state: &std::path::Path) -> Self {
        let store = Store::open(state, Arc::new(Bell::default())).unwrap();
        let clock = Clock::by_hand(clock::now());
        let sources = Arc::new(Sources::new(store.clone(), Trust::load(), clock.clone()));
        let work = Work::new(store.clone(), sources, Arc::new(Progress::default()), clock.clone(), Dice::system());
        Self { folder, store, work, clock }
    }

    /// Ends it and starts it anew so much later.
    pub fn restarted_after(self, span: Duration) -> Self {
        self.work.standing.flush(&self.store).unwrap();
        let (folder, then) = (Arc::clone(&self.folder), self.clock.now().plus(span));
        drop(self);
        let again = Self::open(folder);
        again.clock.set(then);
        again
    }

    pub fn organization() -> OrganizationRef {
        OrganizationRef { source: SourceName::parse("sonar").unwrap(), key: OrganizationKey::parse("acme").unwrap() }
    }

    pub fn set(&self, setting: &'static str, value: &'static str) {
        self.store.write::<_, StoreError>(move |batch| settings::set(batch, setting, Some(value))).unwrap();
    }

    /// Takes a project in as an import does, and reads it.
    pub fn import(&self, key: &str, branches: &[&str]) -> ProjectId {
        let (now, ticket) = (self.clock.now(), self.store.ticket());
        let (key, name) = (ProjectKey::parse(key).unwrap(), key.to_owned());
        let branches = branches.iter().map(|&branch| branch.to_owned()).collect();
        let id = self.store.write::<_, StoreError>(move |batch| {
            let asset = Asset::new(AssetName::parse(&name).unwrap(), now);
            let project = Project {
                organization: Self::organization(),
                key,
                name,
                asset: catalogue::add_asset(batch, &asset)?,
                selection: Selection { branches, pull_requests: false },
                main: None,
                imported_at: now,
                error: None,
                moved: None,
                repository: None,
            };
            let id = catalogue::add_project(batch, &project)?;
            agenda::ask(batch, Task::Discover(id), Reason::Import, now, ticket)?;
            Ok(id)
        });
        let id = id.unwrap();
        self.settle();
        id
    }

    /// Asks for a read of all branches of a project that are held.
    pub fn ask(&self, project: ProjectId, reason: Reason) {
        let (now, ticket) = (self.clock.now(), self.store.ticket());
        self.store
            .write::<_, StoreError>(move |batch| {
                for (scope, _) in catalogue::scopes(batch, project)? {
                    agenda::ask(batch, Task::Sync(scope), reason, now, ticket)?;
                }
                Ok(())
            })
            .unwrap();
    }

    /// Does all that is due.
    pub fn settle(&self) -> Duration {
        for _ in 0..10_000 {
            match self.work.step().unwrap() {
                Stepped::Worked => {}
                Stepped::Idle { most } => return most,
            }
        }
        panic!("there is no end of work");
    }

    /// Lets time pass, a minute at a time, and does what is due meanwhile.
    pub fn pass(&self, span: Duration) {
        let end = self.clock.steady() + span;
        while self.clock.steady() < end {
            self.clock.advance(end.saturating_sub(self.clock.steady()).min(Duration::from_mins(1)));
            self.settle();
        }
    }

    pub fn scope(&self, project: ProjectId, name: &str) -> Option<(ScopeId, Scope)> {
        let scopes = self.store.read(|view| catalogue::scopes(view, project)).unwrap();
        scopes.into_iter().find(|(_, scope)| scope.name.as_str() == name)
    }

    /// The states of a branch's findings, such as `A Open`, by Sonar's key.
    pub fn states(&self, project: ProjectId, branch: &str) -> Vec<String> {
        let Some((scope, _)) = self.scope(project, branch) else { return Vec::new() };
        let found = self.store.read(|view| findings::after(view, scope, None, 1000)).unwrap();
        let shown = |state: State| format!("{state:?}").to_lowercase();
        found.iter().map(|one| format!("{} {}", one.observed.key, shown(one.observed.state))).collect()
    }

    /// Tasks on the agenda.
    pub fn agenda(&self) -> Vec<(Task, hydrophone::domain::schedule::Due)> {
        self.store.read(agenda::all).unwrap()
    }

    /// Makes an endpoint of the organization, or of a project, and returns its path.
    pub fn hook(&self, project: Option<&str>) -> String {
        let endpoint = EndpointId(hydrophone::sys::random::bytes());
        let (now, project) = (self.clock.now(), project.map(|key| ProjectKey::parse(key).unwrap()));
        let secret = SecretBytes::new(b"a secret of many characters".to_vec());
        self.store
            .write::<_, StoreError>(move |batch| {
                hooks::make(batch, &Self::organization(), project.as_ref(), endpoint, &secret, now)
            })
            .unwrap();
        format!("/hooks/{endpoint}")
    }

    /// The log of deliveries, oldest first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        let list = self.store.read(|view| deliveries::list(view, None, 1000)).unwrap();
        list.into_iter().rev().map(|(_, delivery, _)| delivery).collect()
    }

    /// Asks it by command line, over an admin socket that is there for as long as that takes. It listens nowhere.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let socket = self.folder.path().join("inside.sock");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let serving = {
            let _inside = runtime.enter();
            let (directory, counters) = (Arc::default(), Arc::default());
            let (store, work) = (self.store.clone(), Arc::clone(&self.work));
            let deliver = Deliver::new(Arc::clone(&work));
            let admin = Admin::new(store, work, deliver, directory, counters, None, true, None, self.clock.now(), None);
            runtime.spawn(admin::serve(admin::bind(&socket).unwrap(), admin, stopped))
        };
        let said = run(program().arg("--socket").arg(&socket).arg("--json").args(arguments), "");
        stop.send(true).unwrap();
        runtime.block_on(serving).unwrap();
        std::fs::remove_file(&socket).unwrap();
        assert_eq!(said.code, 0, "{arguments:?} failed: {} {}", said.out, said.err);
        serde_json::from_str(&said.out).unwrap()
    }

    /// The texts of conditions with a code.
    pub fn told(&self, code: &str) -> Vec<String> {
        let status = self.json(&["status"]);
        let conditions = status["conditions"].as_array().unwrap().iter();
        let with = conditions.filter(|condition| condition["code"] == code);
        with.map(|condition| condition["text"].as_str().unwrap().to_owned()).collect()
    }

    /// The bytes of the database.
    pub fn file(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("hydrophone.redb")).unwrap()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.store.close();
    }
}
