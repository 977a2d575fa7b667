//! What is looked at without being asked to: when each thing has its turn. Planned in memory by a clock that nobody
//! sets, so that a quiet hour leaves no trace on the disk and a clock that jumps changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::delivery::ScopeRef;
use super::ids::{EndpointId, ProjectId, ScopeId, ScopeKind, ScopeName, SourceName};
use super::limits::{ROUND_DELAY_MIN, START_SPREAD};
use super::selection::Selection;
use super::time::Timestamp;

/// One thing to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Round {
    /// Which branches a project has, and when they were last analysed.
    Poll(ProjectId),
    /// A scope's findings.
    Reread(ScopeId),
    /// The calls of a webhook, in Sonar's own log.
    Heal(EndpointId),
}

/// A thing as it is found in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What.
    pub round: Round,
    /// Of which source.
    pub source: SourceName,
    /// How long ago it was looked at, if that is known. What is new in a running daemon was just looked at.
    pub age: Option<Duration>,
    /// How often it is to be looked at.
    pub interval: Duration,
}

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Well; the next one is due after this.
    Next(Duration),
    /// Not well, for a reason of its own.
    Failed,
    /// The source cannot be asked. `after` is how long it wants to be left alone, where that is known.
    Unreachable {
        /// See above.
        after: Option<Duration>,
    },
}

/// What has its turn now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// This.
    Look(Round),
    /// Nothing for so long; for ever if there is nothing to look at.
    Wait(Option<Duration>),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Rounds {
    plan: BTreeMap<Round, Entry>,
    sources: BTreeMap<SourceName, Hold>,
    begun: bool,
}

#[derive(Debug)]
struct Entry {
    source: SourceName,
    at: Duration,
    interval: Duration,
    failures: u32,
}

/// A source that could not be asked. Until `at` nobody looks there, then one does, and the others follow if that went
/// well: a source that is down costs one question a while, however many projects it has.
#[derive(Debug, Default)]
struct Hold {
    at: Duration,
    failures: u32,
    probing: bool,
}

impl Rounds {
    /// Takes over what is in the store: new things get their turn, those that are gone lose it. `jitter` is a random
    /// number for each thing: at the start everything has its first turn within a minute, but not all in one second.
    pub fn take_over(&mut self, found: Vec<Found>, now: Duration, mut jitter: impl FnMut() -> u32) {
        let at_start = !std::mem::replace(&mut self.begun, true);
        let mut former = std::mem::take(&mut self.plan);
        for Found { round, source, age, interval } in found {
            let entry = if let Some(mut known) = former.remove(&round) {
                if known.interval != interval {
                    // A setting was changed: what waits, waits by the new one.
                    known.at = (known.at + interval).saturating_sub(known.interval).clamp(now, now + interval);
                }
                Entry { source, interval, ..known }
            } else {
                let wait = match (round, age) {
                    (Round::Reread(_), Some(age)) => interval.saturating_sub(age),
                    _ if at_start => Duration::ZERO,
                    _ => interval,
                };
                let spread = START_SPREAD.mul_f64(f64::from(jitter()) / (f64::from(u32::MAX) + 1.0));
                let at = now + if wait < START_SPREAD { spread } else { wait };
                Entry { source, at, interval, failures: 0 }
            };
            self.plan.insert(round, entry);
        }
        let held = std::mem::take(&mut self.sources);
        self.sources =
            held.into_iter().filter(|(source, _)| self.plan.values().any(|entry| entry.source == *source)).collect();
    }

    /// What has its turn: the one that has waited longest, of those that `may` be looked at.
    pub fn next(&self, now: Duration, may: impl Fn(Round) -> bool) -> Turn {
        let mut best: Option<(Duration, Round)> = None;
        for (round, entry) in &self.plan {
            if !may(*round) {
                continue;
            }
            let at = match self.sources.get(&entry.source) {
                Some(hold) if hold.probing => continue,
                Some(hold) => entry.at.max(hold.at),
                None => entry.at,
            };
            if best.is_none_or(|(earliest, _)| at < earliest) {
                best = Some((at, *round));
            }
        }
        match best {
            Some((at, round)) if at <= now => Turn::Look(round),
            Some((at, _)) => Turn::Wait(Some(at.saturating_sub(now))),
            None => Turn::Wait(None),
        }
    }

    /// Notes that a look begins.
    pub fn begin(&mut self, round: Round) {
        if let Some(hold) = self.plan.get(&round).and_then(|entry| self.sources.get_mut(&entry.source)) {
            hold.probing = true;
        }
    }

    /// Notes how a look ended.
    pub fn end(&mut self, round: Round, ended: Ended, now: Duration) {
        let Some(entry) = self.plan.get_mut(&round) else {
            // It was removed meanwhile. Nobody else would end the probe.
            self.sources.values_mut().for_each(|hold| hold.probing = false);
            return;
        };
        match ended {
            Ended::Next(after) => {
                (entry.at, entry.failures) = (now + after, 0);
                self.sources.remove(&entry.source);
            }
            Ended::Failed => {
                entry.failures = entry.failures.saturating_add(1);
                entry.at = now + delay(entry.failures, entry.interval);
                self.sources.remove(&entry.source);
            }
            Ended::Unreachable { after } => {
                let hold = self.sources.entry(entry.source.clone()).or_default();
                hold.probing = false;
                match after {
                    Some(after) => hold.at = hold.at.max(now + after),
                    // Several looks may have been under way when it failed.
                    None if hold.at > now => {}
                    None => {
                        hold.failures = hold.failures.saturating_add(1);
                        hold.at = now + delay(hold.failures, entry.interval);
                    }
                }
            }
        }
    }

    /// Moves a look that somebody else has made, whoever asked for it.
    pub fn seen(&mut self, round: Round, now: Duration, after: Duration) {
        if let Some(entry) = self.plan.get_mut(&round) {
            (entry.at, entry.failures) = (now + after, 0);
        }
    }

    /// Gives everything of a source its turn at once, as its token was replaced or it was seen to answer.
    pub fn retry(&mut self, source: &SourceName, now: Duration) {
        self.sources.remove(source);
        for entry in self.plan.values_mut().filter(|entry| entry.source == *source && entry.failures > 0) {
            (entry.at, entry.failures) = (now, 0);
        }
    }

    /// How often a thing is looked at.
    pub fn interval(&self, round: Round) -> Option<Duration> {
        self.plan.get(&round).map(|entry| entry.interval)
    }
}

/// 1, 2, 4 … minutes, up to the interval.
fn delay(failures: u32, interval: Duration) -> Duration {
    ROUND_DELAY_MIN.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(interval)
}

/// A branch or pull request as Sonar lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Branch or pull request.
    pub kind: ScopeKind,
    /// Its name.
    pub name: ScopeName,
    /// Whether it is the main branch.
    pub main: bool,
    /// Its last analysis.
    pub analysed_at: Option<Timestamp>,
}

/// A scope as it is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its number.
    pub id: ScopeId,
    /// Branch or pull request.
    pub kind: ScopeKind,
    /// Its name.
    pub name: ScopeName,
    /// Whether it counts as the main branch.
    pub main: bool,
    /// The last analysis that was read.
    pub analysed_at: Option<Timestamp>,
    /// Whether Sonar was seen not to list it.
    pub retired: bool,
}

/// What a poll shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Noticed {
    /// Branches or pull requests that came, went, or became the main one: the project's scopes are to be looked at.
    pub moved: Vec<ScopeRef>,
    /// Scopes that were analysed after they were read, with that analysis.
    pub analysed: Vec<(ScopeId, Timestamp)>,
}

/// Compares what Sonar lists of a project with what is held of it.
pub fn notice(selection: &Selection, listed: &[Listed], held: &[Held]) -> Noticed {
    let mut noticed = Noticed::default();
    let named = |kind, name: &ScopeName| ScopeRef::Named { kind, name: name.clone() };
    for one in listed.iter().filter(|one| selection.selects(one.kind, one.name.as_str(), one.main)) {
        if !held.iter().any(|scope| (scope.kind, &scope.name) == (one.kind, &one.name)) {
            noticed.moved.push(named(one.kind, &one.name));
        }
    }
    for scope in held {
        // Pull requests that are no longer chosen are not asked for, so their absence says nothing.
        if scope.kind == ScopeKind::PullRequest && !selection.pull_requests {
            continue;
        }
        match listed.iter().find(|one| (one.kind, &one.name) == (scope.kind, &scope.name)) {
            Some(one) if one.main != scope.main || scope.retired => noticed.moved.push(named(scope.kind, &scope.name)),
            Some(one) => match one.analysed_at {
                Some(analysed_at) if scope.analysed_at != Some(analysed_at) => {
                    noticed.analysed.push((scope.id, analysed_at));
                }
                _ => {}
            },
            None if scope.retired => {}
            None => noticed.moved.push(named(scope.kind, &scope.name)),
        }
    }
    noticed
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLL: Duration = Duration::from_mins(15);
    const HOUR: Duration = Duration::from_hours(1);
    const A: Round = Round::Poll(ProjectId(1));
    const B: Round = Round::Poll(ProjectId(2));
    const R: Round = Round::Reread(ScopeId(1));

    fn mins(minutes: u64) -> Duration {
        Duration::from_mins(minutes)
    }

    fn source(name: &str) -> SourceName {
        SourceName::parse(name).unwrap()
    }

    fn found(round: Round, age: Option<Duration>) -> Found {
        let interval = if matches!(round, Round::Reread(_)) { HOUR } else { POLL };
        Found { round, source: source("s"), age, interval }
    }

    fn next(rounds: &Rounds, now: Duration) -> Turn {
        rounds.next(now, |_| true)
    }

    #[test]
    fn at_the_start_everything_has_its_turn_within_a_minute_unless_it_was_read_lately() {
        let mut rounds = Rounds::default();
        let mut numbers = [0, u32::MAX / 2, u32::MAX].into_iter();
        let found = vec![found(A, None), found(B, None), found(R, Some(mins(20)))];
        rounds.take_over(found, mins(0), || numbers.next().unwrap());
        assert_eq!(next(&rounds, mins(0)), Turn::Look(A));
        rounds.end(A, Ended::Next(POLL), mins(0));
        let Turn::Wait(Some(wait)) = next(&rounds, mins(0)) else { panic!("B waits for its turn") };
        assert_eq!(wait.as_secs(), 29);
        assert_eq!(next(&rounds, mins(1)), Turn::Look(B));
        rounds.end(B, Ended::Next(HOUR), mins(1));
        assert_eq!(next(&rounds, mins(1)), Turn::Wait(Some(mins(14))));
        rounds.end(A, Ended::Next(HOUR), mins(15));
        assert_eq!(next(&rounds, mins(40)), Turn::Look(R));
        assert_eq!(rounds.next(mins(40), |round| round != R), Turn::Wait(Some(mins(21))));
    }

    #[test]
    fn what_comes_later_waits_for_its_interval_and_what_goes_is_forgotten() {
        let mut rounds = Rounds::default();
        rounds.take_over(vec![], mins(0), || 0);
        rounds.take_over(vec![found(A, None), found(R, Some(mins(70)))], mins(5), || 0);
        assert_eq!(next(&rounds, mins(5)), Turn::Look(R));
        rounds.end(R, Ended::Next(HOUR), mins(5));
        assert_eq!(next(&rounds, mins(5)), Turn::Wait(Some(POLL)));
        rounds.take_over(vec![], mins(6), || 0);
        assert_eq!(next(&rounds, mins(60)), Turn::Wait(None));
    }

    #[test]
    fn another_interval_counts_at_once() {
        let mut rounds = Rounds::default();
        rounds.take_over(vec![found(A, None)], mins(0), || 0);
        rounds.end(A, Ended::Next(POLL), mins(0));
        rounds.take_over(vec![Found { interval: mins(1), ..found(A, None) }], mins(0), || 0);
        assert_eq!(next(&rounds, mins(0)), Turn::Wait(Some(mins(1))));
        rounds.take_over(vec![Found { interval: HOUR, ..found(A, None) }], mins(0), || 0);
        assert_eq!(next(&rounds, mins(0)), Turn::Wait(Some(HOUR)));
    }

    #[test]
    fn failures_of_its_own_delay_a_project_and_no_other() {
        let mut rounds = Rounds::default();
        rounds.take_over(vec![found(A, None), found(B, None)], mins(0), || 0);
        rounds.end(B, Ended::Next(HOUR * 24), mins(0));
        let (mut now, mut waits) = (mins(0), Vec::new());
        for _ in 0..6 {
            rounds.end(A, Ended::Failed, now);
            let Turn::Wait(Some(wait)) = next(&rounds, now) else { panic!("it waits") };
            waits.push(wait.as_secs() / 60);
            now += wait;
        }
        assert_eq!(waits, [1, 2, 4, 8, 15, 15]);
        rounds.end(A, Ended::Failed, now);
        rounds.retry(&source("s"), now);
        assert_eq!(next(&rounds, now), Turn::Look(A));
    }

    #[test]
    fn a_source_that_is_down_is_asked_by_one_at_a_time_and_all_follow_when_it_is_back() {
        let mut rounds = Rounds::default();
        rounds.take_over(vec![found(A, None), found(B, None)], mins(0), || 0);
        rounds.begin(A);
        rounds.begin(B);
        rounds.end(A, Ended::Unreachable { after: None }, mins(0));
        rounds.end(B, Ended::Unreachable { after: None }, mins(0));
        assert_eq!(next(&rounds, mins(0)), Turn::Wait(Some(mins(1))));
        assert_eq!(next(&rounds, mins(1)), Turn::Look(A));
        rounds.begin(A);
        assert_eq!(next(&rounds, mins(1)), Turn::Wait(None));
        rounds.end(A, Ended::Unreachable { after: None }, mins(1));
        assert_eq!(next(&rounds, mins(1)), Turn::Wait(Some(mins(2))));
        rounds.begin(A);
        rounds.end(A, Ended::Next(POLL), mins(3));
        assert_eq!(next(&rounds, mins(3)), Turn::Look(B));
        rounds.end(B, Ended::Unreachable { after: Some(mins(10)) }, mins(3));
        assert_eq!(next(&rounds, mins(3)), Turn::Wait(Some(mins(10))));
    }

    fn name(name: &str) -> ScopeName {
        ScopeName::parse(name).unwrap()
    }

    fn listed(text: &str, main: bool, analysed: i64) -> Listed {
        Listed { kind: ScopeKind::Branch, name: name(text), main, analysed_at: Some(Timestamp(analysed)) }
    }

    fn held(id: u32, text: &str, main: bool, analysed: i64) -> Held {
        let analysed_at = Some(Timestamp(analysed));
        Held { id: ScopeId(id), kind: ScopeKind::Branch, name: name(text), main, analysed_at, retired: false }
    }

    fn branch(text: &str) -> ScopeRef {
        ScopeRef::Named { kind: ScopeKind::Branch, name: name(text) }
    }

    #[test]
    fn a_poll_notices_a_later_analysis_and_nothing_else_of_a_quiet_project() {
        let main_only = Selection::default();
        let sonar = [listed("main", true, 5), listed("other", false, 9)];
        assert_eq!(notice(&main_only, &sonar, &[held(1, "main", true, 5)]), Noticed::default());
        let noticed = notice(&main_only, &sonar, &[held(1, "main", true, 4)]);
        assert_eq!(noticed, Noticed { moved: vec![], analysed: vec![(ScopeId(1), Timestamp(5))] });
        let never = [Listed { analysed_at: None, ..listed("main", true, 0) }];
        assert_eq!(notice(&main_only, &never, &[held(1, "main", true, 4)]), Noticed::default());
    }

    #[test]
    fn a_poll_notices_branches_that_come_go_and_become_the_main_one() {
        let all = Selection { branches: vec!["*".to_owned()], pull_requests: false };
        let moved = |sonar: &[Listed], here: &[Held]| notice(&all, sonar, here).moved;
        let main = held(1, "main", true, 5);
        let gone = Held { retired: true, ..held(2, "x", false, 5) };
        assert_eq!(
            moved(&[listed("main", true, 5), listed("x", false, 5)], std::slice::from_ref(&main)),
            [branch("x")]
        );
        assert_eq!(moved(&[listed("main", true, 5)], &[main.clone(), held(2, "x", false, 5)]), [branch("x")]);
        assert_eq!(moved(&[listed("main", true, 5)], &[main.clone(), gone.clone()]), []);
        assert_eq!(
            moved(&[listed("main", true, 5), listed("x", false, 5)], &[main.clone(), gone]),
            [branch("x")],
            "listed again"
        );
        assert_eq!(
            moved(&[listed("main", false, 5), listed("x", true, 5)], &[main, held(2, "x", false, 5)]),
            [branch("main"), branch("x")]
        );
        let requests = [Held { kind: ScopeKind::PullRequest, ..held(3, "7", false, 5) }];
        assert_eq!(moved(&[], &requests), [], "nobody asked for pull requests");
    }
}
