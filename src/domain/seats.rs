//! Who may be connected: so many at a time, and so many of one address. Where there are too many, nobody is turned away at
//! the door, as that would turn away Sonar behind whoever came first; somebody who has not proved to be a sender of ours
//! has to go instead, the oldest first. Whoever proved it goes only where there is nobody else.

use std::collections::BTreeMap;

use super::gate::Sender;

/// A connection's number; later ones have higher numbers.
pub type Number = u64;

/// See the module.
#[derive(Debug)]
pub struct Seats {
    max: usize,
    per_sender: usize,
    next: Number,
    taken: BTreeMap<Number, Taken>,
}

#[derive(Debug, Clone, Copy)]
struct Taken {
    /// Nobody is counted for one who comes through a proxy.
    sender: Option<Sender>,
    is_proven: bool,
    /// It was told to go, and counts no more.
    is_ending: bool,
}

impl Taken {
    fn stays(&self) -> bool {
        !self.is_ending
    }
}

/// Somebody who was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// The number.
    pub number: Number,
    /// Who has to go for it.
    pub ends: Option<Number>,
}

impl Seats {
    /// So many, and so many of one address.
    pub fn new(max: usize, per_sender: usize) -> Self {
        Self { max, per_sender, next: 0, taken: BTreeMap::new() }
    }

    /// Lets one in.
    pub fn admit(&mut self, sender: Option<Sender>) -> Admitted {
        let of_sender = |taken: &Taken| taken.sender == sender;
        let is_full_of_them =
            sender.is_some() && self.staying().filter(|(_, taken)| of_sender(taken)).count() >= self.per_sender;
        let ends = if is_full_of_them {
            self.first_to_go(of_sender)
        } else if self.staying().count() >= self.max {
            self.first_to_go(|_| true)
        } else {
            None
        };
        if let Some(taken) = ends.and_then(|number| self.taken.get_mut(&number)) {
            taken.is_ending = true;
        }
        let number = self.next;
        self.next += 1;
        self.taken.insert(number, Taken { sender, is_proven: false, is_ending: false });
        Admitted { number, ends }
    }

    /// Notes that somebody proved to be a sender of ours.
    pub fn prove(&mut self, number: Number) {
        if let Some(taken) = self.taken.get_mut(&number) {
            taken.is_proven = true;
        }
    }

    /// Notes that somebody is gone.
    pub fn leave(&mut self, number: Number) {
        self.taken.remove(&number);
    }

    /// How many there are, without those that were told to go.
    pub fn count(&self) -> usize {
        self.staying().count()
    }

    /// How many there may be.
    pub fn max(&self) -> usize {
        self.max
    }

    fn staying(&self) -> impl Iterator<Item = (&Number, &Taken)> {
        self.taken.iter().filter(|(_, taken)| taken.stays())
    }

    fn first_to_go(&self, among: impl Fn(&Taken) -> bool) -> Option<Number> {
        let candidates = self.staying().filter(|(_, taken)| among(taken));
        candidates.min_by_key(|(number, taken)| (taken.is_proven, **number)).map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets them in one after the other, by the last number of their addresses; who had to go for each.
    fn come(seats: &mut Seats, who: &[u8]) -> Vec<Option<Number>> {
        let address = |last: &u8| core::net::Ipv4Addr::new(192, 0, 2, *last);
        who.iter().map(|last| seats.admit(Some(Sender::of(address(last).into()))).ends).collect()
    }

    #[test]
    fn the_oldest_that_proved_nothing_goes_when_all_seats_are_taken() {
        let mut seats = Seats::new(3, 3);
        assert_eq!(come(&mut seats, &[1, 2, 3]), [None; 3]);
        seats.prove(0);
        assert_eq!(come(&mut seats, &[4, 5, 6]), [Some(1), Some(2), Some(3)]);
        assert_eq!((seats.count(), seats.max()), (3, 3));
        seats.leave(4);
        assert_eq!(come(&mut seats, &[7]), [None], "there is room again");
    }

    #[test]
    fn an_address_with_too_many_loses_its_own_and_nobody_elses() {
        let mut seats = Seats::new(10, 2);
        assert_eq!(come(&mut seats, &[9, 1, 1]), [None; 3]);
        assert_eq!(come(&mut seats, &[1, 1, 2]), [Some(1), Some(2), None]);
        seats.prove(3);
        assert_eq!(come(&mut seats, &[1]), [Some(4)]);
    }

    #[test]
    fn whoever_proved_to_be_one_of_ours_goes_last_and_then_the_oldest() {
        let mut seats = Seats::new(2, 2);
        come(&mut seats, &[1, 2]);
        seats.prove(0);
        seats.prove(1);
        assert_eq!(come(&mut seats, &[3, 4]), [Some(0), Some(2)]);
        let mut of_one = Seats::new(9, 1);
        come(&mut of_one, &[1]);
        of_one.prove(0);
        assert_eq!(come(&mut of_one, &[1]), [Some(0)]);
    }

    #[test]
    fn who_comes_through_a_proxy_is_not_counted_by_address() {
        let mut seats = Seats::new(3, 1);
        let ends: Vec<_> = (0..4).map(|_| seats.admit(None).ends).collect();
        assert_eq!(ends, [None, None, None, Some(0)]);
    }

    #[test]
    fn whoever_was_told_to_go_is_not_told_twice_and_may_leave_late() {
        let mut seats = Seats::new(1, 1);
        assert_eq!(come(&mut seats, &[1, 2, 3]), [None, Some(0), Some(1)]);
        seats.leave(1);
        seats.leave(0);
        seats.prove(0);
        assert_eq!(seats.count(), 1);
    }
}
