//! One answer from one thread to another. A channel of the standard library holds as much code for each type that goes
//! through it as ten of these.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::loops;

struct Slot<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
}

struct State<T> {
    answer: Option<T>,
    /// Whoever was to answer is gone.
    over: bool,
}

impl<T> Slot<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is to answer. Dropped without an answer, it says that none comes.
pub struct Answerer<T>(Arc<Slot<T>>);

/// Who waits for it.
pub struct Awaited<T>(Arc<Slot<T>>);

/// Both ends.
pub fn pair<T>() -> (Answerer<T>, Awaited<T>) {
    let slot = Arc::new(Slot { state: Mutex::new(State { answer: None, over: false }), wake: Condvar::new() });
    (Answerer(Arc::clone(&slot)), Awaited(slot))
}

impl<T> Answerer<T> {
    /// Answers. Whoever waited may be gone, and does not need it then.
    pub fn give(self, answer: T) {
        self.0.state().answer = Some(answer);
    }
}

impl<T> Drop for Answerer<T> {
    fn drop(&mut self) {
        self.0.state().over = true;
        self.0.wake.notify_one();
    }
}

impl<T> Awaited<T> {
    /// Waits for the answer; nothing if none comes.
    pub fn wait(self) -> Option<T> {
        // Who is to answer is watched, too.
        let _rest = loops::resting();
        let mut state = self.0.state();
        while !state.over {
            state = self.0.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.answer.take()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn an_answer_is_waited_for_and_its_absence_is_told() {
        let (answerer, awaited) = pair();
        let waiting = thread::spawn(move || awaited.wait());
        answerer.give(7);
        assert_eq!(waiting.join().unwrap(), Some(7));
        let (answerer, awaited) = pair::<()>();
        drop(answerer);
        assert_eq!(awaited.wait(), None);
        let (answerer, awaited) = pair();
        drop(awaited);
        answerer.give(());
    }
}
