//! Wrong passwords, counted by the name that was guessed at and by the address that it came from, in memory only.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::access::Guesses;
use crate::domain::gate::Sender;

/// Who may be guessing.
pub(super) struct Guesser {
    name: String,
    from: Option<String>,
}

impl Guesser {
    /// At this name, whatever it is, from this address.
    pub(super) fn new(name: &str, from: Option<IpAddr>) -> Self {
        Self {
            name: name.chars().take(NAME_CHARACTERS_MAX).collect(),
            from: from.map(|from| Sender::of(from).to_string()),
        }
    }
}

/// Longer names are nobody's.
const NAME_CHARACTERS_MAX: usize = 64;

/// Everybody's. What strangers make up is counted apart from accounts that there are, and addresses from both, so that
/// neither pushes an account's count out.
#[derive(Default)]
pub(super) struct AllGuesses(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    accounts: Counts,
    invented: Counts,
    senders: Counts,
}

#[derive(Default)]
struct Counts(BTreeMap<String, Guesses>);

impl AllGuesses {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long somebody has to wait until they may try again.
    pub(super) fn wait(&self, of: &Guesser, now: Duration) -> Duration {
        let tables = self.tables();
        let by_name = tables.accounts.wait(&of.name, now).max(tables.invented.wait(&of.name, now));
        let by_sender = of.from.as_ref().map(|from| tables.senders.wait(from, now));
        by_name.max(by_sender.unwrap_or_default())
    }

    /// Notes a wrong password of an account that there is, or for a name that is nobody's.
    pub(super) fn fail(&self, of: &Guesser, is_account: bool, now: Duration) {
        let mut tables = self.tables();
        if is_account {
            tables.accounts.fail(&of.name, now);
        } else {
            tables.invented.fail(&of.name, now);
        }
        if let Some(from) = &of.from {
            tables.senders.fail(from, now);
        }
    }

    /// Notes a right one.
    pub(super) fn succeed(&self, of: &Guesser) {
        let mut tables = self.tables();
        tables.accounts.0.remove(&of.name);
        tables.invented.0.remove(&of.name);
        if let Some(from) = &of.from {
            tables.senders.0.remove(from);
        }
    }
}

impl Counts {
    fn wait(&self, key: &str, now: Duration) -> Duration {
        self.0.get(key).map(|one| one.wait(now)).unwrap_or_default()
    }

    /// Counts one more. Where there is no room, what was not guessed at for longest makes some: a count that is not begun
    /// would be no brake at all.
    fn fail(&mut self, key: &str, now: Duration) {
        if self.0.len() >= GUESSES_MAX && !self.0.contains_key(key) {
            let stalest = self.0.iter().min_by_key(|(_, one)| one.last()).map(|(stalest, _)| stalest.clone());
            stalest.and_then(|stalest| self.0.remove(&stalest));
        }
        self.0.entry(key.to_owned()).or_default().fail(now);
    }
}

/// Accounts, names and addresses with wrong passwords that are remembered, of each so many.
const GUESSES_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn from(number: u32) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + number).into()
    }

    #[test]
    fn wrong_passwords_are_counted_by_account_and_address_and_forgotten_by_a_right_one() {
        let (guesses, now) = (AllGuesses::default(), Duration::from_hours(1));
        let ines = Guesser::new("ines", Some(from(1)));
        for _ in 0..6 {
            guesses.fail(&ines, true, now);
        }
        let waits =
            |name: &str, number: u32| guesses.wait(&Guesser::new(name, Some(from(number))), now) > Duration::ZERO;
        assert!(waits("ines", 2) && waits("omar", 1) && !waits("omar", 2));
        guesses.succeed(&ines);
        assert!(!waits("ines", 1));
    }

    /// Whoever fills the memory with names and addresses that they make up must neither end what holds up guesses at an
    /// account, nor be free of the brake from then on.
    #[test]
    fn names_and_addresses_that_are_made_up_push_out_no_account_and_are_counted_however_many_there_are() {
        let (guesses, begin) = (AllGuesses::default(), Duration::from_hours(1));
        let at = |second: u32| begin + Duration::from_millis(u64::from(second));
        let most = u32::try_from(GUESSES_MAX).unwrap();
        for _ in 0..12 {
            guesses.fail(&Guesser::new("ines", None), true, at(0));
        }
        for number in 1..=most + 10 {
            guesses.fail(&Guesser::new(&format!("nobody{number}"), Some(from(number))), false, at(number));
        }
        let now = at(most + 10);
        assert!(guesses.wait(&Guesser::new("ines", None), now) > Duration::ZERO, "the account still waits");
        for _ in 0..6 {
            guesses.fail(&Guesser::new("somebody new", Some(from(most + 11))), false, now);
        }
        assert!(guesses.wait(&Guesser::new("somebody new", None), now) > Duration::ZERO, "a name is counted");
        assert!(guesses.wait(&Guesser::new("-", Some(from(most + 11))), now) > Duration::ZERO, "an address too");
        let tables = guesses.tables();
        assert_eq!([&tables.invented, &tables.senders].map(|counts| counts.0.len()), [GUESSES_MAX; 2]);
        let stalest = [tables.invented.0.contains_key("nobody11"), tables.invented.0.contains_key("nobody12")];
        assert_eq!(stalest, [false, true], "what was not guessed at for longest has gone");
    }
}
