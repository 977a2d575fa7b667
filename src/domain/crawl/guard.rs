//! What keeps a read from closing too much at once, and the map of what a read has met.

use minicbor::{Decode, Encode};

use crate::domain::finding::Digest;
use crate::domain::limits::GUARD_WAIT;
use crate::domain::time::Timestamp;

/// Whether so many findings that Sonar no longer knows need a second crawl that agrees: all of a scope's, or
/// more than the larger of 3 and a tenth.
pub fn is_suspicious(unknown: u64, stored: u64) -> bool {
    unknown > 0 && (unknown >= stored || unknown > (stored / 10).max(3))
}

/// What Sonar did not know when it did not know so much that a second crawl has to agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Suspicion {
    /// When it was first seen.
    #[n(0)]
    pub since: Timestamp,
    /// A digest of the keys that Sonar did not know. What it said was fixed is none of it: on a busy project something
    /// else is fixed each time.
    #[n(1)]
    pub keys: Digest,
}

impl Suspicion {
    /// Whether a crawl that finds the very same keys unknown now confirms it.
    pub fn is_confirmed(self, now: Timestamp) -> bool {
        now.since(self.since) >= GUARD_WAIT
    }
}

/// Which findings of a scope a crawl has met: one bit each, by slot, so that a scope of a million findings
/// takes 125 kB.
#[derive(Debug, Clone, Default, Encode, Decode)]
pub struct Met {
    #[n(0)]
    bits: Vec<u64>,
}

impl Met {
    /// Marks a slot and says whether it was not yet marked.
    pub fn mark(&mut self, slot: u32) -> bool {
        let (word, bit) = (slot as usize / 64, 1_u64 << (slot % 64));
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        let fresh = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        fresh
    }

    /// Whether a slot was marked.
    pub fn has(&self, slot: u32) -> bool {
        self.bits.get(slot as usize / 64).is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_lets_few_unknown_findings_pass_and_stops_many() {
        for (unknown, stored, suspicious) in
            [(0, 0, false), (0, 9, false), (1, 1, true), (3, 9, false), (4, 9, true), (10, 100, false), (11, 100, true)]
        {
            assert_eq!(is_suspicious(unknown, stored), suspicious, "{unknown} of {stored}");
        }
    }

    #[test]
    fn a_suspicion_is_confirmed_after_ten_minutes() {
        let suspicion = Suspicion { since: Timestamp(0), keys: Digest([7; 16]) };
        assert!(!suspicion.is_confirmed(Timestamp(599_999)));
        assert!(suspicion.is_confirmed(Timestamp(600_000)));
        assert!(!Suspicion { since: Timestamp(900_000), ..suspicion }.is_confirmed(Timestamp(600_000)));
    }

    #[test]
    fn a_slot_is_met_once() {
        let mut met = Met::default();
        assert!(met.mark(70));
        assert!(!met.mark(70));
        assert!(met.has(70) && !met.has(69) && !met.has(100_000));
    }
}
