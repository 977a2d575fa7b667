//! A box's key under a passphrase, so that it can go with a backup. Argon2id makes guessing slow: 64 MiB and three
//! passes, the second choice of RFC 9106, which a small box has memory for.

use argon2::{Algorithm, Argon2, Params, Version};
use minicbor::bytes::ByteSlice;
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use super::{BYTES, Key, KeyId, aead, open, seal};
use crate::sys::random;

/// How a passphrase becomes a key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Stretching {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    salt: [u8; 16],
    #[n(1)]
    memory_kib: u32,
    #[n(2)]
    passes: u32,
}

/// A box's key, sealed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Wrapped {
    #[n(0)]
    stretching: Stretching,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    sealed: Vec<u8>,
}

/// What a passphrase was made into.
pub struct Wrapping {
    stretching: Stretching,
    key: Zeroizing<[u8; BYTES]>,
}

/// Shorter ones are guessed, whatever is done to make it slow.
pub const CHARACTERS_MIN: usize = 12;

/// A file from elsewhere must not take the box's memory or hours.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;

impl Stretching {
    fn stretch(&self, passphrase: &str) -> Option<Zeroizing<[u8; BYTES]>> {
        if self.memory_kib > MEMORY_KIB_MAX || self.passes > PASSES_MAX {
            return None;
        }
        let params = Params::new(self.memory_kib, self.passes, 1, Some(BYTES)).ok()?;
        let mut key = Zeroizing::new([0; BYTES]);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(passphrase.as_bytes(), &self.salt, &mut *key).ok()?;
        Some(key)
    }
}

impl Wrapping {
    /// Of a new passphrase; takes a moment and 64 MiB.
    pub fn new(passphrase: &str) -> Self {
        let stretching = Stretching { salt: random::bytes(), memory_kib: 64 * 1024, passes: 3 };
        let key = stretching.stretch(passphrase).expect("these parameters are within the limits");
        Self { stretching, key }
    }

    /// As bytes, for the process that holds the box's key.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(128));
        minicbor::encode((&self.stretching, <&ByteSlice>::from(&self.key[..])), &mut *bytes)
            .expect("encoding to memory cannot fail");
        bytes
    }

    /// From such bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (stretching, key): (Stretching, &ByteSlice) = minicbor::decode(bytes).ok()?;
        Some(Self { stretching, key: Zeroizing::new(<[u8; BYTES]>::try_from(&**key).ok()?) })
    }
}

impl Key {
    /// This key, sealed under a passphrase.
    pub fn wrap(&self, wrapping: &Wrapping) -> Wrapped {
        let sealed = seal(&aead(&wrapping.key), &about(self.id), &*self.master);
        Wrapped { stretching: wrapping.stretching.clone(), sealed }
    }
}

impl Wrapped {
    /// The key, if the passphrase is the right one.
    pub fn unwrap(&self, passphrase: &str, id: KeyId) -> Option<Key> {
        let key = self.stretching.stretch(passphrase)?;
        let master = Zeroizing::new(open(&aead(&key), &about(id), &self.sealed)?);
        let key = Key::of(Zeroizing::new(<[u8; BYTES]>::try_from(master.as_slice()).ok()?));
        (key.id == id).then_some(key)
    }
}

fn about(id: KeyId) -> Vec<u8> {
    [b"hydrophone key ".as_slice(), &id.0.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_under_its_passphrase_alone() {
        let key = Key::random();
        let wrapping = Wrapping::from_bytes(&Wrapping::new("correct horse battery").to_bytes()).unwrap();
        let wrapped = key.wrap(&wrapping);
        assert_eq!(wrapped.unwrap("correct horse battery", key.id()).map(|key| key.id()), Some(key.id()));
        assert!(wrapped.unwrap("correct horse batterx", key.id()).is_none());
        assert!(wrapped.unwrap("correct horse battery", KeyId(7)).is_none());
        let mut other = wrapped;
        other.stretching.memory_kib = u32::MAX;
        assert!(other.unwrap("correct horse battery", key.id()).is_none(), "no file says how much memory is taken");
        assert!(Wrapping::from_bytes(b"\x82").is_none());
    }
}
