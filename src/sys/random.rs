//! Random bytes from the system, which nobody can guess or set: secrets are made of these. What may be guessed is left to
//! [`dice`](super::dice).

use ring::rand::{SecureRandom, SystemRandom};

/// So many random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system has random numbers");
    bytes
}
