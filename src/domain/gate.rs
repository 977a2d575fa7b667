//! Who may try again: what one address may do in vain before its calls are refused unread, in a table that cannot grow.
//! An address that does nothing in vain is not in it.

use core::net::{IpAddr, Ipv6Addr};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use super::limits::{self, BYTES_IN_VAIN, SILENT_CONNECTIONS, STRAY_CALLS, WRONG_SIGNATURES};

/// An address as it is counted: of IPv6 the network that one customer has, a /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sender(IpAddr);

impl Sender {
    /// Whoever has this address.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => write!(f, "{v4}"),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

/// How much at once, and how fast it comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// At once.
    pub burst: u64,
    /// What comes back in a minute.
    pub per_minute: u64,
}

/// What was spent of a budget.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    /// In parts of which 60,000 are one: what comes back in a millisecond is whole then.
    parts: u64,
    at: Duration,
}

/// See [`Spent`].
const PARTS: u64 = 60_000;

impl Spent {
    /// Spends so much. However much it is, at most twice the burst is owed, so that nobody waits for ever.
    pub fn spend(&mut self, budget: Budget, amount: u64, now: Duration) {
        self.settle(budget, now);
        self.parts = self.parts.saturating_add(amount.saturating_mul(PARTS)).min(2 * budget.burst * PARTS);
    }

    /// How long until something is left; nothing if something is.
    pub fn wait(&mut self, budget: Budget, now: Duration) -> Option<Duration> {
        self.settle(budget, now);
        let over = (self.parts + PARTS).checked_sub(budget.burst * PARTS).filter(|&over| over > 0)?;
        Some(Duration::from_millis(over.div_ceil(budget.per_minute)))
    }

    /// Whether less than half of it is spent.
    fn is_calm(&mut self, budget: Budget, now: Duration) -> bool {
        self.settle(budget, now);
        self.parts < budget.burst * PARTS / 2
    }

    fn settle(&mut self, budget: Budget, now: Duration) {
        let passed = u64::try_from(now.saturating_sub(self.at).as_millis()).unwrap_or(u64::MAX);
        self.parts = self.parts.saturating_sub(passed.saturating_mul(budget.per_minute));
        self.at = now;
    }
}

/// A call that is refused because of others before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// When to come again.
    pub wait: Duration,
    /// Whether it is the first one so refused, or the first one after a calm.
    pub begins: bool,
}

/// What one address did in vain.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    signatures: Spent,
    bytes: Spent,
    strays: Spent,
    silent: Spent,
    /// Its calls are refused, and that was told.
    is_refused: bool,
    /// Its connections are closed, and that was told.
    is_turned_away: bool,
    heard_at: Duration,
}

impl Account {
    fn is_calm(&mut self, now: Duration) -> bool {
        self.signatures.is_calm(WRONG_SIGNATURES, now) && self.bytes.is_calm(BYTES_IN_VAIN, now)
    }
}

/// See the module. Time is passed in, as what a steady clock says.
#[derive(Debug, Default)]
pub struct Gate {
    accounts: HashMap<Sender, Account>,
    /// When each of them was last heard of, the longest ago first: whoever calls from ever new addresses is not to make
    /// the whole table be looked through for each.
    heard: BTreeSet<(Duration, Sender)>,
}

impl Gate {
    /// Whether calls of this address are refused before anything of them is read.
    pub fn refuses(&mut self, sender: Sender, now: Duration) -> Option<Refused> {
        let account = self.known(sender, now)?;
        if account.is_calm(now) {
            account.is_refused = false;
        }
        let waits = [account.signatures.wait(WRONG_SIGNATURES, now), account.bytes.wait(BYTES_IN_VAIN, now)];
        let wait = waits.into_iter().flatten().max()?;
        let begins = !std::mem::replace(&mut account.is_refused, true);
        Some(Refused { wait, begins })
    }

    /// Notes a call without a right signature, and the bytes of its body that were read.
    pub fn wrong_signature(&mut self, sender: Sender, bytes: u64, now: Duration) {
        let account = self.account(sender, now);
        account.signatures.spend(WRONG_SIGNATURES, 1, now);
        account.bytes.spend(BYTES_IN_VAIN, bytes, now);
    }

    /// Notes bytes of a body that never became a call.
    pub fn in_vain(&mut self, sender: Sender, bytes: u64, now: Duration) {
        self.account(sender, now).bytes.spend(BYTES_IN_VAIN, bytes, now);
    }

    /// Notes a call that is none of Sonar's, and says whether there were too many. Those say nothing about calls to an
    /// endpoint: who knows its address is no scanner, and may share one with a webhook that was set up wrongly.
    pub fn stray(&mut self, sender: Sender, now: Duration) -> Option<Duration> {
        let account = self.account(sender, now);
        let wait = account.strays.wait(STRAY_CALLS, now);
        if wait.is_none() {
            account.strays.spend(STRAY_CALLS, 1, now);
        }
        wait
    }

    /// Notes a connection that ended without a request.
    pub fn silent(&mut self, sender: Sender, now: Duration) {
        self.account(sender, now).silent.spend(SILENT_CONNECTIONS, 1, now);
    }

    /// Whether connections of this address are closed before anything is said.
    pub fn turns_away(&mut self, sender: Sender, now: Duration) -> Option<Refused> {
        let account = self.known(sender, now)?;
        if account.silent.is_calm(SILENT_CONNECTIONS, now) {
            account.is_turned_away = false;
        }
        let wait = account.silent.wait(SILENT_CONNECTIONS, now)?;
        let begins = !std::mem::replace(&mut account.is_turned_away, true);
        Some(Refused { wait, begins })
    }

    /// Whose calls are refused at the moment, in order.
    pub fn refused(&mut self, now: Duration) -> Vec<Sender> {
        let mut all: Vec<_> = self
            .accounts
            .iter_mut()
            .filter_map(|(sender, account)| {
                if account.is_calm(now) {
                    account.is_refused = false;
                }
                account.is_refused.then_some(*sender)
            })
            .collect();
        all.sort_unstable();
        all
    }

    /// The account of an address that has one, which was heard of just now.
    fn known(&mut self, sender: Sender, now: Duration) -> Option<&mut Account> {
        let account = self.accounts.get_mut(&sender)?;
        if account.heard_at != now {
            self.heard.remove(&(std::mem::replace(&mut account.heard_at, now), sender));
            self.heard.insert((now, sender));
        }
        Some(account)
    }

    fn account(&mut self, sender: Sender, now: Duration) -> &mut Account {
        if !self.accounts.contains_key(&sender) {
            if self.accounts.len() >= limits::SENDERS_MAX
                && let Some((_, stalest)) = self.heard.pop_first()
            {
                self.accounts.remove(&stalest);
            }
            self.heard.insert((now, sender));
            self.accounts.insert(sender, Account { heard_at: now, ..Account::default() });
        }
        self.known(sender, now).expect("it was just made")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn sender(text: &str) -> Sender {
        Sender::of(text.parse().unwrap())
    }

    const START: Duration = Duration::from_hours(5);

    fn fail(gate: &mut Gate, sender: Sender, times: u64, now: Duration) {
        (0..times).for_each(|_| gate.wrong_signature(sender, 0, now));
    }

    #[test]
    fn a_customers_network_of_ipv6_is_one_sender() {
        assert_eq!(sender("2001:db8:1:2::7"), sender("2001:db8:1:2:ffff::1"));
        assert_ne!(sender("2001:db8:1:2::7"), sender("2001:db8:1:3::7"));
        assert_eq!(sender("::ffff:192.0.2.1"), sender("192.0.2.1"));
        assert_eq!(sender("2001:db8:1:2::7").to_string(), "2001:db8:1:2::/64");
        assert_eq!(sender("::ffff:192.0.2.1").to_string(), "192.0.2.1");
    }

    #[test]
    fn wrong_signatures_beyond_the_budget_are_refused_until_it_comes_back_and_nobody_else_is() {
        let (mut gate, [bad, good]) = (Gate::default(), ["192.0.2.1", "192.0.2.2"].map(sender));
        fail(&mut gate, bad, WRONG_SIGNATURES.burst - 1, START);
        assert_eq!(gate.refuses(bad, START), None);
        fail(&mut gate, bad, 1, START);
        let wait = Duration::from_millis(200);
        assert_eq!(gate.refuses(bad, START), Some(Refused { wait, begins: true }));
        assert_eq!(gate.refuses(bad, START), Some(Refused { wait, begins: false }), "told once");
        assert_eq!((gate.refuses(good, START), gate.refused(START)), (None, vec![bad]));
        // One more a fifth of a second, and no new telling before it was calm for a while.
        assert_eq!(gate.refuses(bad, START + wait), None);
        fail(&mut gate, bad, 1, START + wait);
        assert_eq!(gate.refuses(bad, START + wait), Some(Refused { wait, begins: false }));
        let calm = START + Duration::from_secs(32);
        assert_eq!((gate.refused(calm), gate.refuses(bad, calm)), (vec![], None));
        fail(&mut gate, bad, WRONG_SIGNATURES.burst, calm);
        assert!(gate.refuses(bad, calm).unwrap().begins);
    }

    /// A company's SonarQube Cloud with a wrong secret, behind addresses that others use, too.
    #[test]
    fn a_webhook_with_a_wrong_secret_never_meets_the_budget_at_the_pace_of_analyses() {
        let (mut gate, sonar) = (Gate::default(), sender("192.0.2.1"));
        let mut now = START;
        for _ in 0..20_000 {
            now += Duration::from_millis(200);
            assert_eq!(gate.refuses(sonar, now), None);
            gate.wrong_signature(sonar, 2_000, now);
        }
    }

    #[test]
    fn bytes_in_vain_have_a_budget_of_their_own_and_nobody_owes_for_ever() {
        let (mut gate, bad) = (Gate::default(), sender("192.0.2.1"));
        for _ in 0..63 {
            gate.wrong_signature(bad, 1024 * 1024, START);
        }
        assert_eq!(gate.refuses(bad, START), None);
        gate.in_vain(bad, 1024 * 1024, START);
        assert!(gate.refuses(bad, START).is_some());
        gate.in_vain(bad, u64::MAX, START);
        assert!(gate.refuses(bad, START).unwrap().wait < Duration::from_secs(66));
        assert_eq!(gate.refuses(bad, START + Duration::from_secs(66)), None);
    }

    #[test]
    fn stray_calls_are_too_many_in_the_end_and_say_nothing_about_real_ones() {
        let (mut gate, scanner) = (Gate::default(), sender("192.0.2.1"));
        for _ in 0..STRAY_CALLS.burst {
            assert_eq!(gate.stray(scanner, START), None);
        }
        assert_eq!(gate.stray(scanner, START), Some(Duration::from_millis(100)));
        assert_eq!((gate.refuses(scanner, START), gate.refused(START)), (None, vec![]));
        assert_eq!(gate.stray(scanner, START + Duration::from_millis(100)), None);
    }

    #[test]
    fn silent_connections_are_turned_away_in_the_end_and_told_once() {
        let (mut gate, [bad, good]) = (Gate::default(), ["192.0.2.1", "192.0.2.2"].map(sender));
        for _ in 0..SILENT_CONNECTIONS.burst {
            assert_eq!(gate.turns_away(bad, START), None);
            gate.silent(bad, START);
        }
        let wait = Duration::from_millis(200);
        assert_eq!(gate.turns_away(bad, START), Some(Refused { wait, begins: true }));
        assert_eq!(gate.turns_away(bad, START), Some(Refused { wait, begins: false }));
        assert_eq!((gate.turns_away(good, START), gate.refuses(bad, START)), (None, None));
        assert_eq!(gate.turns_away(bad, START + Duration::from_secs(32)), None);
        (0..SILENT_CONNECTIONS.burst).for_each(|_| gate.silent(bad, START + Duration::from_secs(32)));
        assert!(gate.turns_away(bad, START + Duration::from_secs(32)).unwrap().begins);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_was_not_heard_of_for_longest() {
        let mut gate = Gate::default();
        let nth = |number: usize| Sender::of(core::net::Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into());
        for number in 0..limits::SENDERS_MAX {
            fail(&mut gate, nth(number), WRONG_SIGNATURES.burst, START + Duration::from_micros(number as u64));
        }
        let later = START + Duration::from_millis(50);
        assert!(gate.refuses(nth(0), later).is_some(), "heard of again");
        fail(&mut gate, nth(limits::SENDERS_MAX), 1, later);
        assert_eq!((gate.accounts.len(), gate.heard.len()), (limits::SENDERS_MAX, limits::SENDERS_MAX));
        assert!(gate.refuses(nth(0), later).is_some() && gate.refuses(nth(1), later).is_none());
    }
}
