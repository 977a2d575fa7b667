//! What is to be read next, and when. The agenda itself is in the store; here are the rules.

use std::time::Duration;

use minicbor::{Decode, Encode};

use super::ids::{ProjectId, ScopeId};
use super::limits::{
    AGENDA_AHEAD_MAX, RETRY_AFTER_MAX, RETRY_DELAY_MAX, RETRY_DELAY_MIN, SECOND_LOOK_AFTER, WHOLE_AFTER,
};
use super::time::Timestamp;

/// Something that a worker can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// Ask which branches and pull requests a project has, and make scopes of those that were chosen.
    Discover(ProjectId),
    /// Read a scope and bring the inventory in step.
    Sync(ScopeId),
}

/// Why a task is carried out; the more urgent, the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Reason {
    /// A webhook spoke of it.
    #[n(0)]
    Webhook,
    /// A person asked for it.
    #[n(1)]
    Manual,
    /// A person asked for it to be read whole.
    #[n(5)]
    Full,
    /// It was imported and never read.
    #[n(2)]
    Import,
    /// The first read after a webhook may have been too early.
    #[n(3)]
    SecondLook,
    /// The former attempt failed.
    #[n(4)]
    Retry,
    /// Its time has come: nobody asked. Such tasks are planned in memory and leave no trace if nothing changed.
    #[n(6)]
    Sweep,
    /// Only what had changed was read before; what Sonar does not date is found by reading the whole.
    #[n(7)]
    Whole,
}

impl Reason {
    /// Whether somebody waits for it: a webhook's sender, or a person. The rest yields to it.
    pub fn is_urgent(self) -> bool {
        match self {
            Self::Webhook | Self::Manual | Self::Full | Self::SecondLook => true,
            Self::Import | Self::Retry | Self::Sweep | Self::Whole => false,
        }
    }
}

/// An entry of the agenda.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Due {
    /// Not before.
    #[n(0)]
    pub at: Timestamp,
    /// Why.
    #[n(1)]
    pub reason: Reason,
    /// Failed attempts so far.
    #[n(2)]
    pub attempts: u32,
    /// Different whenever somebody asks, so that a worker that ends can see whether it was asked again.
    #[n(3)]
    pub ticket: u64,
}

/// What a worker should do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// This.
    Run(Task, Due),
    /// Nothing before then, unless somebody rings.
    Wait(Option<Timestamp>),
}

/// Picks the most urgent task that is due and that nobody works on; among equals the one that waits longest.
pub fn next(agenda: impl Iterator<Item = (Task, Due)>, busy: &[Task], now: Timestamp) -> Next {
    let mut best: Option<(Task, Due)> = None;
    let mut earliest: Option<Timestamp> = None;
    for (task, due) in agenda.filter(|(task, _)| !busy.contains(task)) {
        // No delay is that long: the clock was ahead when this was planned.
        let misplanned = due.at > now.plus(AGENDA_AHEAD_MAX);
        if due.at > now && !misplanned {
            earliest = Some(earliest.map_or(due.at, |time| time.min(due.at)));
        } else if best.is_none_or(|(_, other)| (due.reason, due.at) < (other.reason, other.at)) {
            best = Some((task, due));
        }
    }
    best.map_or(Next::Wait(earliest), |(task, due)| Next::Run(task, due))
}

/// The entry that a webhook, a person or an import makes of the one that is there: the more urgent of the two,
/// at once, with a new ticket.
pub fn asked(former: Option<Due>, reason: Reason, now: Timestamp, ticket: u64) -> Due {
    let reason = match former.map(|former| (former.reason, former.at)) {
        // The second look that a webhook is owed must not be lost because somebody else asked meanwhile.
        Some((Reason::Webhook | Reason::SecondLook, _)) if reason != Reason::Full => Reason::Webhook,
        // A wish for the whole is more than any other look, whoever came first.
        Some((Reason::Full, _)) => Reason::Full,
        Some((waiting, at)) if at <= now && reason != Reason::Full => reason.min(waiting),
        _ => reason,
    };
    Due { at: now, reason, attempts: 0, ticket }
}

/// What follows a successful sync: a second look after a webhook; a read of the whole after one of what had changed;
/// nothing after anything else.
pub fn after_success(done: Due, now: Timestamp, recent: bool) -> Option<Due> {
    let then = |reason, after| Due { at: now.plus(after), reason, attempts: 0, ticket: done.ticket };
    match done.reason {
        // A person's wish for the whole may have taken a webhook's place.
        Reason::Webhook | Reason::Full => Some(then(Reason::SecondLook, SECOND_LOOK_AFTER)),
        _ if recent => Some(then(Reason::Whole, WHOLE_AFTER)),
        _ => None,
    }
}

/// What follows a failure: another attempt, later each time, never sooner than Sonar asked for.
pub fn after_failure(failed: Due, now: Timestamp, wait_at_least: Duration) -> Due {
    let delay = RETRY_DELAY_MIN.saturating_mul(2_u32.saturating_pow(failed.attempts)).min(RETRY_DELAY_MAX);
    let reason = match failed.reason {
        // A webhook's second look must not be forgotten because the first attempt failed, nor that the whole is to be
        // read.
        kept @ (Reason::Webhook | Reason::Full | Reason::Whole) => kept,
        _ => Reason::Retry,
    };
    Due {
        at: now.plus(delay.max(wait_at_least.min(RETRY_AFTER_MAX))),
        reason,
        attempts: failed.attempts.saturating_add(1),
        ..failed
    }
}

/// What follows when another branch turned out to be the main one: the same again, at once the first time. A list that
/// contradicts itself from one time to the next is asked for as a failed read is.
pub fn after_main_moved(moved: Due, now: Timestamp) -> Due {
    match moved.attempts {
        0 => Due { at: now, attempts: 1, ..moved },
        _ => after_failure(moved, now, Duration::ZERO),
    }
}

/// What follows a read that was interrupted further on than it began: it goes on where it was, as if it had not failed
/// before, when the pause of its source is over.
pub fn after_interruption(failed: Due, now: Timestamp, pause: Option<Duration>) -> Due {
    let first = after_failure(Due { attempts: 0, ..failed }, now, Duration::ZERO);
    Due { at: pause.map_or(first.at, |pause| now.plus(pause.min(RETRY_AFTER_MAX))), ..first }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(at: i64, reason: Reason) -> Due {
        Due { at: Timestamp(at), reason, attempts: 0, ticket: 1 }
    }

    const A: Task = Task::Sync(ScopeId(1));
    const B: Task = Task::Sync(ScopeId(2));
    const C: Task = Task::Discover(ProjectId(1));

    #[test]
    fn a_webhook_goes_before_an_import_that_waits_longer() {
        let agenda = [(A, due(1, Reason::Import)), (B, due(9, Reason::Webhook)), (C, due(2, Reason::Import))];
        let pick = |busy: &[Task], now| match next(agenda.into_iter(), busy, Timestamp(now)) {
            Next::Run(task, _) => Ok(task),
            Next::Wait(until) => Err(until),
        };
        assert_eq!(pick(&[], 10), Ok(B));
        assert_eq!(pick(&[B], 10), Ok(A));
        assert_eq!(pick(&[B, A], 10), Ok(C));
        assert_eq!(pick(&[A, B, C], 10), Err(None));
        assert_eq!(pick(&[], 0), Err(Some(Timestamp(1))));
    }

    #[test]
    fn a_task_that_a_wrong_clock_planned_years_ahead_is_due() {
        let years = 10 * 365 * 24 * 3600 * 1000;
        let agenda = [(A, due(years, Reason::SecondLook))];
        assert_eq!(next(agenda.into_iter(), &[], Timestamp(0)), Next::Run(A, agenda[0].1));
    }

    #[test]
    fn asking_again_makes_a_waiting_retry_due_at_once() {
        let waiting = Due { at: Timestamp(1_000), reason: Reason::Retry, attempts: 4, ticket: 1 };
        let asked = asked(Some(waiting), Reason::Webhook, Timestamp(5), 2);
        assert_eq!(asked, Due { at: Timestamp(5), reason: Reason::Webhook, attempts: 0, ticket: 2 });
    }

    #[test]
    fn a_main_branch_that_moves_time_and_again_is_followed_ever_more_slowly() {
        let mut task = due(0, Reason::Webhook);
        let mut delays = Vec::new();
        for _ in 0..4 {
            task = after_main_moved(task, Timestamp(0));
            delays.push(task.at.0 / 1000);
        }
        assert_eq!((delays, task.reason), (vec![0, 10, 20, 40], Reason::Webhook));
    }

    #[test]
    fn a_person_does_not_take_a_webhooks_second_look_away() {
        for waiting in [due(1, Reason::Webhook), due(60_000, Reason::SecondLook)] {
            assert_eq!(asked(Some(waiting), Reason::Manual, Timestamp(5), 2).reason, Reason::Webhook);
        }
    }

    #[test]
    fn a_second_look_follows_a_webhook_once() {
        let look = after_success(due(1, Reason::Webhook), Timestamp(0), false).unwrap();
        assert_eq!((look.at, look.reason), (Timestamp(60_000), Reason::SecondLook));
        assert_eq!(after_success(look, Timestamp(60_000), false), None);
        assert_eq!(after_success(due(1, Reason::Manual), Timestamp(0), false), None);
    }

    #[test]
    fn the_whole_is_read_after_what_had_changed() {
        let look = after_success(due(1, Reason::Webhook), Timestamp(0), true).unwrap();
        assert_eq!(look.reason, Reason::SecondLook);
        let whole = after_success(look, Timestamp(0), true).unwrap();
        assert_eq!((whole.at, whole.reason), (Timestamp(300_000), Reason::Whole));
        assert_eq!(after_success(whole, Timestamp(0), false), None);
    }

    #[test]
    fn delays_double_to_an_hour_and_honour_sonars_wish() {
        let mut failed = due(0, Reason::Import);
        let mut delays = vec![];
        for _ in 0..12 {
            failed = after_failure(failed, Timestamp(0), Duration::ZERO);
            delays.push(failed.at.0 / 1000);
        }
        assert_eq!(delays, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
        assert_eq!(after_failure(due(0, Reason::Import), Timestamp(0), Duration::from_secs(90)).at, Timestamp(90_000));
    }

    #[test]
    fn an_attempt_that_fails_keeps_that_the_whole_is_to_be_read() {
        for reason in [Reason::Webhook, Reason::Full, Reason::Whole] {
            assert_eq!(after_failure(due(0, reason), Timestamp(0), Duration::ZERO).reason, reason);
        }
        for reason in [Reason::Manual, Reason::Import, Reason::SecondLook] {
            assert_eq!(after_failure(due(0, reason), Timestamp(0), Duration::ZERO).reason, Reason::Retry);
        }
    }

    #[test]
    fn a_read_that_got_further_goes_on_when_the_pause_is_over() {
        let failed = Due { attempts: 7, ..due(0, Reason::Whole) };
        let next = after_interruption(failed, Timestamp(0), Some(Duration::from_secs(1)));
        assert_eq!(next, Due { at: Timestamp(1_000), attempts: 1, ..failed });
        assert_eq!(after_interruption(failed, Timestamp(0), None).at, Timestamp(5_000));
    }
}
