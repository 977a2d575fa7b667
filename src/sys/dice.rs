//! Chance for what may be guessed: how long to wait, and what an import is called.
//!
//! A secret is never made of it. Secrets are bytes of [`random`](super::random), which has no seed and which nobody can
//! set; dice give a number of few bits or a [`Label`], which is text for others to read.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::random;
use crate::domain::signature::to_hex;

/// Thrown by the system, or from a seed. The workers throw these instead of asking the system, so that a test can have
/// the same throws again. Clones of seeded dice go on with one row of throws.
#[derive(Clone)]
pub struct Dice(Kind);

#[derive(Clone)]
enum Kind {
    System,
    Seeded(Arc<Mutex<u64>>),
}

impl Dice {
    /// The system's, the same for nobody.
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// Ones that fall alike for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Kind::Seeded(Arc::new(Mutex::new(seed))))
    }

    /// From 0 to 255, each as likely.
    pub fn byte(&self) -> u8 {
        self.bytes::<1>()[0]
    }

    /// Any number, each as likely.
    pub fn number(&self) -> u32 {
        u32::from_be_bytes(self.bytes())
    }

    /// A name that nothing else has.
    pub fn label(&self) -> Label {
        Label(self.bytes())
    }

    /// Not for others: whoever wants bytes may want a secret.
    fn bytes<const N: usize>(&self) -> [u8; N] {
        let Kind::Seeded(state) = &self.0 else { return random::bytes() };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = [0; N];
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&splitmix64(&mut state).to_be_bytes()[..part.len()]);
        }
        bytes
    }
}

impl fmt::Debug for Dice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::System => "Dice(system)",
            Kind::Seeded(_) => "Dice(seeded)",
        })
    }
}

/// 96 bits as 24 hex digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label([u8; 12]);

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

/// Sebastiano Vigna's `splitmix64`.
fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throws(dice: &Dice) -> (u8, u32, String) {
        (dice.byte(), dice.number(), dice.label().to_string())
    }

    #[test]
    fn a_seed_has_one_row_of_throws_and_clones_share_it() {
        let (one, other) = (Dice::seeded(7), Dice::seeded(7));
        let row = [throws(&one), throws(&one.clone()), throws(&one)];
        assert_eq!(row, [throws(&other), throws(&other), throws(&other)]);
        assert_ne!(row[0], row[1]);
        assert_ne!(row[0], throws(&Dice::seeded(8)));
    }

    #[test]
    fn the_systems_throws_are_the_same_for_nobody() {
        let label = Dice::system().label().to_string();
        assert_eq!(label.len(), 24);
        assert_ne!(label, Dice::system().label().to_string());
    }
}
