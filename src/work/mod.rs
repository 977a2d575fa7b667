//! The daemon's workers: plain threads with plain loops. They ask the domain what to do, ask Sonar, and hand the
//! store what follows. What is to be done stands in the store, so that a worker that ends loses nothing but time.

pub mod certificates;
pub mod configuration;
mod crawl;
pub mod deliver;
pub mod discover;
pub mod fleet;
pub mod foresee;
mod gone;
pub mod heal;
mod moved;
pub mod progress;
mod recent;
mod rounds;
pub mod sources;
pub mod standby;
pub mod standing;
pub mod sync;
pub mod triage;
pub mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use self::progress::{Progress, Step};
use self::sources::{Sources, with_urgency};
use self::standing::Standings;
use crate::domain::clock::{Heard, Standing, Watch};
use crate::domain::fleet::Site;
use crate::domain::ids::{ProjectId, RuleKey, ScopeId, ScopeName, SourceName};
use crate::domain::limits;
use crate::domain::rounds::{Round, Turn};
use crate::domain::schedule::{self, Due, Next, Reason, Task};
use crate::domain::time::Timestamp;
use crate::sonar::FetchError;
use crate::store::records::Source;
use crate::store::{Store, StoreError, agenda, catalogue, deliveries, retention};
use crate::sys::bell::Bell;
use crate::sys::clock::Clock;
use crate::sys::dice::Dice;
use crate::sys::guard::EndWithMe;
use crate::sys::loops::Watched;

/// What workers share.
pub struct Work {
    /// The store.
    pub store: Store,
    /// Connections to Sonar.
    pub sources: Arc<Sources>,
    /// What is under way, for whoever watches.
    pub progress: Arc<Progress>,
    /// What time it is for the workers.
    pub clock: Clock,
    /// What the workers leave to chance.
    pub dice: Dice,
    watch: Mutex<Watch>,
    /// What routine reads proved and nobody has written down.
    pub standing: Standings,
    /// What is known of the fleets that are read.
    pub fleets: fleet::Fleets,
    /// What is known of the configuration that this box is offered.
    pub offers: configuration::Offers,
    /// Whether this box works, where its site has two.
    pub standby: standby::Standby,
    /// What looks at Sonar's log of webhooks remember.
    pub heal: heal::Memory,
    /// Rules that could not be asked for. The next read of their source asks for them.
    rules_left: Mutex<BTreeMap<SourceName, BTreeSet<RuleKey>>>,
    plan: rounds::Plan,
    busy: Mutex<Busy>,
    workers: AtomicUsize,
    stopping: AtomicBool,
    /// Rings when something was removed whose findings are to be deleted.
    tidy: Bell,
}

/// What workers are at.
#[derive(Debug, Default)]
struct Busy {
    tasks: BTreeSet<Task>,
    rounds: BTreeSet<Round>,
    /// How many of the workers do something that nobody waits for.
    yielding: usize,
    /// Tasks whose source is paused, until when by the steady clock. In memory only, as the pause is.
    held: BTreeMap<Task, Duration>,
}

/// What a worker is to do.
#[derive(Debug, Clone, Copy)]
enum Taken {
    Task(Task, Due),
    Round(Round),
    Nothing { most: Duration },
}

impl Taken {
    fn is_urgent(self) -> bool {
        matches!(self, Self::Task(_, due) if due.reason.is_urgent())
    }
}

/// What a worker did in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stepped {
    /// It carried a task out, well or not.
    Worked,
    /// There is nothing to do, for so long at most unless the store's bell rings.
    Idle {
        /// How long.
        most: Duration,
    },
}

/// Why a task did not end well.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// Sonar could not be asked.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The source cannot be connected to with what is stored of it.
    #[error("{0}")]
    Connect(String),
    /// Another site's box reads it.
    #[error("the box at site {0} reads this, and tells this one what it holds")]
    Elsewhere(Site),
    /// The store could not read or write.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Sonar no longer shows the branch, pull request or project. Nothing is closed because of it.
    #[error(
        "Sonar no longer shows {what}; its findings stay as they are. If it was removed on purpose, remove the project here or import it anew"
    )]
    NotShown {
        /// `branch main`, `project x`.
        what: String,
    },
    /// Sonar lists the project's branches, or pull requests, and this one is no longer among them.
    #[error("Sonar does not list it any more")]
    Retired,
    /// Something more urgent is to be read of the same scope.
    #[error("something more urgent is to be read")]
    Yielded,
    /// Another branch has become the project's main one; its scopes know it by now.
    #[error("another branch has become the main one")]
    MainMoved,
    /// Too little space is free to store what would be read.
    #[error("too little space is free on the disk of the state folder")]
    Full,
    /// Project, scope or source were removed here meanwhile.
    #[error("it was removed meanwhile")]
    Gone,
    /// The daemon is stopping; the task begins anew at the next start.
    #[error("the daemon is stopping")]
    Stopping,
}

impl Work {
    /// Puts the workers' common things together.
    pub fn new(store: Store, sources: Arc<Sources>, progress: Arc<Progress>, clock: Clock, dice: Dice) -> Arc<Self> {
        // Without it the date of this version alone is the floor.
        let stored = store.read(retention::newest_time).unwrap_or_default();
        Arc::new(Self {
            standby: standby::Standby::new(&store, &clock),
            store,
            sources,
            progress,
            standing: Standings::new(clock.clone()),
            fleets: fleet::Fleets::default(),
            offers: configuration::Offers::default(),
            heal: heal::Memory::default(),
            rules_left: Mutex::default(),
            plan: rounds::Plan::default(),
            clock,
            dice,
            watch: Mutex::new(Watch::new(stored)),
            busy: Mutex::default(),
            workers: AtomicUsize::new(1),
            stopping: AtomicBool::new(false),
            tidy: Bell::default(),
        })
    }

    /// Starts so many workers and the upkeep.
    pub fn start(self: &Arc<Self>, workers: usize) -> Vec<JoinHandle<()>> {
        self.workers.store(workers, Ordering::Relaxed);
        let mut threads: Vec<_> =
            (1..=workers).map(|number| self.thread(&format!("sync {number}"), Self::run)).collect();
        threads.push(self.thread("upkeep", upkeep::run));
        threads
    }

    fn thread(self: &Arc<Self>, name: &str, run: fn(&Self)) -> JoinHandle<()> {
        let work = Arc::clone(self);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _guard = EndWithMe("worker");
                let _watched = Watched::thread(thread::current().name().unwrap_or("worker"));
                run(&work);
            })
            .expect("the system can start a thread")
    }

    /// Tells the workers to end after the step they are at.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.sources.stop();
        self.store.bell().ring();
        self.tidy.ring();
        self.standby.kick();
    }

    /// Whether anybody reads SonarQube just now.
    fn is_reading(&self) -> bool {
        let busy = self.busy();
        !busy.tasks.is_empty() || !busy.rounds.is_empty()
    }

    /// Has the upkeep look at once for what is to be deleted.
    pub fn tidy(&self) {
        self.tidy.ring();
    }

    /// What is to be thought of the clock, as of the upkeep's last look.
    pub fn clock_standing(&self) -> Standing {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).standing().clone()
    }

    /// Whether nobody works, and nothing is due.
    fn is_idle(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let busy = !self.busy.lock().unwrap_or_else(PoisonError::into_inner).tasks.is_empty();
        Ok(!busy && self.store.read(agenda::all)?.iter().all(|(_, due)| due.at > now))
    }

    /// What time it is, and whether that may end anything.
    fn look_at_clock(&self) -> (Timestamp, Standing) {
        let (dates, now, steady) = (self.sources.dates(), self.clock.now(), self.clock.steady());
        let heard: Vec<Heard> = dates
            .into_iter()
            .chain(self.fleets.dates(self.clock.steady()))
            .map(|(source, date, ago)| Heard { source, date, at: steady.saturating_sub(ago) })
            .collect();
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        (now, watch.look(now, steady, &heard).clone())
    }

    /// Whether the workers were told to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Ends a task early when the daemon is stopping.
    fn go_on(&self) -> Result<(), WorkError> {
        if self.is_stopping() || !self.standby.works() { Err(WorkError::Stopping) } else { Ok(()) }
    }

    fn run(&self) {
        while !self.is_stopping() {
            let heard = self.store.bell().rings();
            match self.step() {
                Ok(Stepped::Worked) => {}
                Ok(Stepped::Idle { most }) => self.store.bell().wait(heard, most),
                Err(error) => {
                    tracing::warn!("the agenda cannot be read: {error}");
                    self.store.bell().wait(heard, RETRY);
                }
            }
        }
    }

    /// Carries out the most urgent task that is due, or the round that has its turn, if there is one.
    ///
    /// # Errors
    /// If the agenda cannot be read. What goes wrong with a task is noted with its scope or project instead.
    pub fn step(&self) -> Result<Stepped, StoreError> {
        // Another box of the site does what is to be done.
        if !self.standby.works() {
            return Ok(Stepped::Idle { most: IDLE_MAX });
        }
        let taken = self.take()?;
        if let Taken::Nothing { most } = taken {
            return Ok(Stepped::Idle { most: most.clamp(TICK, IDLE_MAX) });
        }
        with_urgency(taken.is_urgent(), || match taken {
            Taken::Task(task, due) => self.carry_out(task, due),
            Taken::Round(round) => rounds::carry_out(self, round),
            Taken::Nothing { .. } => {}
        });
        self.give_back(taken);
        self.store.bell().ring();
        Ok(Stepped::Worked)
    }

    fn rules_left(&self) -> MutexGuard<'_, BTreeMap<SourceName, BTreeSet<RuleKey>>> {
        self.rules_left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn busy(&self) -> MutexGuard<'_, Busy> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Picks a task or a round and marks it as taken, so that no two workers read one scope. One worker, where there
    /// are several, is kept for what somebody waits for.
    fn take(&self) -> Result<Taken, StoreError> {
        rounds::refresh(self)?;
        let mut busy = self.busy();
        let agenda = self.store.read(agenda::all)?;
        let (now, steady) = (self.clock.now(), self.clock.steady());
        busy.held.retain(|_, until| *until > steady);
        let spare = busy.yielding < self.workers.load(Ordering::Relaxed).saturating_sub(1).max(1);
        let not_now: Vec<Task> = busy.tasks.iter().chain(busy.held.keys()).copied().collect();
        let may = agenda.iter().copied().filter(|(_, due)| spare || due.reason.is_urgent());
        let taken = match schedule::next(may, &not_now, now) {
            Next::Run(task, due) => Taken::Task(task, due),
            Next::Wait(until) => {
                // What is on the agenda will be read, with patience of its own.
                let awaited = |scope| agenda.iter().any(|(task, _)| *task == Task::Sync(scope));
                let turn = self.plan.next(steady, |round| {
                    let free = !busy.rounds.contains(&round);
                    let apart = match round {
                        Round::Reread(scope) => !busy.tasks.contains(&Task::Sync(scope)) && !awaited(scope),
                        Round::Poll(_) | Round::Heal(_) => true,
                    };
                    spare && free && apart
                });
                let round = match turn {
                    Turn::Look(round) => return Ok(Self::mark(&mut busy, Taken::Round(round))),
                    Turn::Wait(wait) => wait,
                };
                let held = busy.held.values().min().map(|until| until.saturating_sub(steady));
                let waits = [until.map(|until| until.since(now)), round, held];
                Taken::Nothing { most: waits.into_iter().flatten().min().unwrap_or(IDLE_MAX) }
            }
        };
        Ok(Self::mark(&mut busy, taken))
    }

    fn mark(busy: &mut Busy, taken: Taken) -> Taken {
        match taken {
            Taken::Task(task, _) => drop(busy.tasks.insert(task)),
            Taken::Round(round) => {
                busy.rounds.insert(round);
                if let Round::Reread(scope) = round {
                    busy.tasks.insert(Task::Sync(scope));
                }
            }
            Taken::Nothing { .. } => return taken,
        }
        busy.yielding += usize::from(!taken.is_urgent());
        taken
    }

    fn give_back(&self, taken: Taken) {
        let mut busy = self.busy();
        match taken {
            Taken::Task(task, _) => drop(busy.tasks.remove(&task)),
            Taken::Round(round) => {
                busy.rounds.remove(&round);
                if let Round::Reread(scope) = round {
                    busy.tasks.remove(&Task::Sync(scope));
                }
            }
            Taken::Nothing { .. } => return,
        }
        busy.yielding -= usize::from(!taken.is_urgent());
    }

    /// Shows for as long as it takes that a scope is read.
    fn reading<T>(&self, scope: ScopeId, read: impl FnOnce() -> T) -> T {
        // From the first question on, and also while a crawl of a former process is applied.
        self.progress.set(scope, Step::default());
        let done = read();
        self.progress.end(scope);
        done
    }

    fn carry_out(&self, task: Task, due: Due) {
        let mut got_further = false;
        let result = match task {
            Task::Discover(project) => discover::discover(self, project, due),
            Task::Sync(scope) => self.reading(scope, || {
                let result = sync::sync(self, scope, due);
                got_further = self.progress.of(scope).is_some_and(|step| step.interrupted);
                result
            }),
        };
        match result {
            Ok(()) => {
                if let Task::Sync(scope) = task {
                    rounds::read(self, scope);
                }
            }
            Err(WorkError::Stopping | WorkError::Yielded) => {}
            Err(WorkError::MainMoved) => self.follow_main(task, due),
            Err(WorkError::Retired) => self.retire(task, due),
            Err(WorkError::Gone) => self.forget(task, due),
            // It has done nothing yet, and nothing is wrong with it.
            Err(WorkError::Fetch(FetchError::Paused { retry_after })) => {
                let until = self.clock.steady() + retry_after;
                self.busy().held.insert(task, until);
            }
            Err(error) => self.put_off(task, due, got_further, &error),
        }
    }

    /// Notes that Sonar does not list a scope any more. Its findings stay as they are; nobody waits for it.
    fn retire(&self, task: Task, due: Due) {
        let Task::Sync(id) = task else { return };
        tracing::info!("{} is not listed any more", self.describe(task));
        let now = self.clock.now();
        let noted = self.store.delete::<_, StoreError>(move |batch| {
            let left = catalogue::retire(batch, id, now)?;
            agenda::follow(batch, task, due, left.then_some(due))
        });
        if let Err(error) = noted {
            tracing::warn!("a branch that is gone could not be noted: {error}");
            self.store.bell().wait(self.store.bell().rings(), RETRY);
        }
    }

    /// Takes a task off the agenda whose project was removed.
    fn forget(&self, task: Task, due: Due) {
        if let Err(error) = self.store.delete::<(), StoreError>(move |batch| agenda::follow(batch, task, due, None)) {
            tracing::warn!("the agenda cannot be written: {error}");
            self.store.bell().wait(self.store.bell().rings(), RETRY);
        }
    }

    /// After a move of the main branch the task is to read the right branch.
    fn follow_main(&self, task: Task, due: Due) {
        let then = schedule::after_main_moved(due, self.clock.now());
        let noted = self.store.delete::<(), StoreError>(move |batch| agenda::follow(batch, task, due, Some(then)));
        if let Err(error) = noted {
            tracing::warn!("the agenda cannot be written: {error}");
            self.store.bell().wait(self.store.bell().rings(), RETRY);
        }
    }

    /// Notes why a task failed where people look for it, and puts it on the agenda again.
    fn put_off(&self, task: Task, due: Due, got_further: bool, error: &WorkError) {
        let pause = match error {
            WorkError::Fetch(error @ (FetchError::Throttled { .. } | FetchError::Unavailable { .. })) => {
                error.retry_after().or_else(|| self.pause_of(task))
            }
            _ => None,
        };
        tracing::warn!("{}: {error}", self.describe(task));
        let text = error.to_string();
        let now = self.clock.now();
        let hopeless = matches!(error, WorkError::NotShown { .. }) && due.attempts >= limits::NOT_SHOWN_ATTEMPTS_MAX;
        // Admitted as deletions are: a full disk is among the reasons for a failure, and this is what ends the haste.
        let noted = self.store.delete::<(), StoreError>(move |batch| {
            let mut project = None;
            match task {
                Task::Sync(id) => {
                    if let Some(mut scope) = catalogue::scope(batch, id)? {
                        project = Some(scope.project);
                        scope.error = Some(text);
                        catalogue::put_scope(batch, id, &scope)?;
                    }
                }
                Task::Discover(id) => {
                    if let Some(mut record) = catalogue::project(batch, id)? {
                        project = Some(id);
                        record.error = Some(text);
                        catalogue::put_project(batch, id, &record)?;
                    }
                }
            }
            let mut then = Some(if got_further {
                schedule::after_interruption(due, now, pause)
            } else {
                schedule::after_failure(due, now, pause.unwrap_or_default())
            });
            if let (true, Some(project)) = (hopeless, project)
                && !deliveries::give_up(batch, project, task, now)?
            {
                then = None;
            }
            agenda::follow(batch, task, due, then)
        });
        if let Err(error) = noted {
            tracing::warn!("a failed read could not be noted: {error}");
            // The agenda still holds the task as due at once; without a pause it would be tried in a tight loop.
            self.store.bell().wait(self.store.bell().rings(), RETRY);
        }
    }

    /// What is left of the pause of a task's source.
    fn pause_of(&self, task: Task) -> Option<Duration> {
        let round = match task {
            Task::Discover(project) => Round::Poll(project),
            Task::Sync(scope) => Round::Reread(scope),
        };
        Some(self.sources.health(&rounds::source_of(self, round)?).pause?.left)
    }

    /// A task in words, for the log.
    fn describe(&self, task: Task) -> String {
        let words = self.store.read::<_, StoreError>(|view| {
            let (project, branch) = match task {
                Task::Discover(project) => (Some(project), None),
                Task::Sync(scope) => match catalogue::scope(view, scope)? {
                    Some(scope) => (Some(scope.project), Some(scope.name)),
                    None => (None, None),
                },
            };
            let Some(project) = project.map(|id| catalogue::project(view, id)).transpose()?.flatten() else {
                return Ok(None);
            };
            Ok(Some(match branch {
                Some(branch) => format!("{}/{} {branch}", project.organization, project.key),
                None => format!("{}/{}", project.organization, project.key),
            }))
        });
        words.ok().flatten().unwrap_or_else(|| "a removed project".to_owned())
    }

    /// Ends a source's pause, as a person asked it and was answered.
    pub fn resume(&self, name: &SourceName) {
        self.sources.resume(name);
        // Those of other sources meet their pause again.
        self.busy().held.clear();
        self.plan.retry(name, self.clock.steady());
        self.heal.forget(name);
        self.store.bell().ring();
    }

    /// Makes all waiting tasks of a source due at once, as its token was replaced.
    pub fn retry_source(&self, name: &SourceName) -> Result<(), StoreError> {
        let waiting = self.store.read::<_, StoreError>(|view| {
            let mut waiting = Vec::new();
            for (task, _) in agenda::all(view)? {
                let project = match task {
                    Task::Discover(project) => catalogue::project(view, project)?,
                    Task::Sync(scope) => match catalogue::scope(view, scope)? {
                        Some(scope) => catalogue::project(view, scope.project)?,
                        None => None,
                    },
                };
                if project.is_some_and(|project| project.organization.source == *name) {
                    waiting.push(task);
                }
            }
            Ok(waiting)
        })?;
        // Some at a time, so that deliveries are answered in between.
        for some in waiting.chunks(limits::DELETIONS_PER_COMMIT_MAX) {
            let (some, store, now) = (some.to_vec(), self.store.clone(), self.clock.now());
            self.store.write::<_, StoreError>(move |batch| {
                for task in some {
                    // It may have been worked off meanwhile.
                    if let Some(due) = agenda::of(batch, task)? {
                        agenda::ask(batch, task, due.reason, now, store.ticket())?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Notes which branch is the main one now, and has the branches asked for again: it may have to be held, and
    /// deliveries that speak of it have asked for a read of the former one.
    fn note_main(&self, project: ProjectId, main: Option<ScopeName>) -> Result<(), StoreError> {
        let (ticket, now) = (self.store.ticket(), self.clock.now());
        // Together: nobody would notice the move again.
        self.store.write(move |batch| {
            catalogue::set_main(batch, project, main.as_ref())?;
            agenda::ask(batch, Task::Discover(project), Reason::Retry, now, ticket)
        })
    }

    /// Notes with the source whether a person has to do something about it; writes only if that changed.
    fn note_source(&self, name: &SourceName, error: Option<&FetchError>) -> Result<(), StoreError> {
        let text = match error {
            Some(error) if error.needs_person() => Some(error.to_string()),
            Some(_) => return Ok(()),
            None => None,
        };
        let known = self.store.read(|view| catalogue::source(view, name))?;
        if known.is_none_or(|known| known.error == text) {
            return Ok(());
        }
        let name = name.clone();
        self.store.write(move |batch| match catalogue::source(batch, &name)? {
            Some(source) => catalogue::put_source(batch, &Source { error: text, ..source }, None),
            None => Ok(()),
        })
    }
}

/// A watched thread with a small stack, which ends the process where it panics.
fn small_thread(name: String, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::Builder::new()
        .name(name)
        .stack_size(512 * 1024)
        .spawn(move || {
            let _guard = EndWithMe("worker");
            let _watched = Watched::thread(thread::current().name().unwrap_or("worker"));
            run();
        })
        .expect("the system can start a thread")
}

/// An idle worker looks at the agenda this often even if nobody rings.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// The shortest wait for a task that will be due.
const TICK: Duration = Duration::from_millis(10);

/// The pause after the store failed.
const RETRY: Duration = Duration::from_secs(1);
