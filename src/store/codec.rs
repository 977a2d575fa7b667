//! The bytes of a stored value: one byte for the version of its form, the value in CBOR (arrays by index, so that
//! members can be added), and a CRC-32 over both and the key, so that a damaged key does not show a value as
//! another's. A value whose checksum is wrong is reported, never used.

use std::sync::atomic::{AtomicU64, Ordering};

use minicbor::decode::Decoder;
use minicbor::{Decode, Encode};

use super::StoreError;

/// A value that has a place in the store.
pub(crate) trait Record: Encode<()> + for<'b> Decode<'b, ()> {
    /// What it is, for a message about a damaged one.
    const NAME: &'static str;
    /// Raised when a change of form cannot be read by adding members; the store's migrations then rewrite it.
    const VERSION: u8 = 1;
}

/// Marks the version byte of a value whose checksum covers its key, too. Those that format 1 wrote do not have it.
const KEY_IS_COVERED: u8 = 0x80;

/// The stored form of a value at a key.
pub(super) fn seal<R: Record>(key: &[u8], record: &R) -> Vec<u8> {
    let mut bytes = vec![R::VERSION | KEY_IS_COVERED];
    minicbor::encode(record, &mut bytes).expect("encoding to memory cannot fail");
    let checksum = checksum(key, &bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Damaged values that were met since the process started.
pub(super) static DAMAGED: AtomicU64 = AtomicU64::new(0);

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(value);
    hasher.update(key);
    hasher.finalize()
}

/// Whether a stored form at a key is what was written there.
pub(super) fn is_whole(key: &[u8], bytes: &[u8]) -> bool {
    let Some((value, stored)) = bytes.split_last_chunk::<4>() else { return false };
    let covered = value.first().is_some_and(|version| version & KEY_IS_COVERED != 0);
    checksum(if covered { key } else { &[] }, value) == u32::from_le_bytes(*stored)
}

/// The value of a stored form at a key.
pub(super) fn open<R: Record>(key: &[u8], bytes: &[u8]) -> Result<R, StoreError> {
    let damaged = || {
        DAMAGED.fetch_add(1, Ordering::Relaxed);
        StoreError::Damaged { what: R::NAME }
    };
    if !is_whole(key, bytes) {
        return Err(damaged());
    }
    match bytes[..bytes.len() - 4].split_first() {
        Some((&version, value)) if version & !KEY_IS_COVERED == R::VERSION => {
            Decoder::new(value).decode().map_err(|_| damaged())
        }
        _ => Err(damaged()),
    }
}

/// These bytes as a stored form whose version and checksum are right.
#[cfg(any(test, fuzzing))]
pub(super) fn passing<R: Record>(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = [&[R::VERSION | KEY_IS_COVERED], value].concat();
    bytes.extend_from_slice(&checksum(key, &bytes).to_le_bytes());
    bytes
}

macro_rules! record {
    ($($type:ty = $name:literal),+ $(,)?) => {
        $(impl $crate::store::codec::Record for $type {
            const NAME: &'static str = $name;
        })+
    };
}
pub(super) use record;

record!(
    u32 = "number",
    u64 = "number",
    String = "text",
    crate::domain::ids::SourceName = "name",
    crate::domain::fleet::InventoryId = "name",
    crate::domain::finding::Finding = "finding",
    crate::domain::reconcile::Staged = "staged row",
    crate::domain::schedule::Due = "agenda entry",
    crate::domain::delivery::ScopeRef = "pending delivery",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_reads_back_and_every_flipped_bit_is_noticed() {
        let bytes = seal(b"key", &"hydrophone".to_owned());
        assert_eq!(open::<String>(b"key", &bytes).unwrap(), "hydrophone");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(open::<String>(b"key", &flipped), Err(StoreError::Damaged { what: "text" })), "bit {bit}");
        }
    }

    #[test]
    fn a_value_at_another_key_is_damaged() {
        let bytes = seal(b"key", &7_u64);
        for key in [&b"kex"[..], b"ke", b"key0", b""] {
            assert!(matches!(open::<u64>(key, &bytes), Err(StoreError::Damaged { what: "number" })), "{key:?}");
        }
    }

    #[test]
    fn a_value_of_format_1_is_still_read() {
        let mut older = vec![1_u8];
        minicbor::encode("hydrophone", &mut older).unwrap();
        let checksum = crc32fast::hash(&older);
        older.extend_from_slice(&checksum.to_le_bytes());
        assert_eq!(open::<String>(b"any key", &older).unwrap(), "hydrophone");
    }

    #[test]
    fn a_cut_value_is_damaged_not_a_panic() {
        let bytes = seal(b"", &7_u64);
        for length in 0..bytes.len() {
            assert!(open::<u64>(b"", &bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_member_added_later_reads_as_absent_from_older_bytes() {
        #[derive(Encode, Decode)]
        struct Before {
            #[n(0)]
            name: String,
        }
        #[derive(Encode, Decode, Debug, PartialEq)]
        struct After {
            #[n(0)]
            name: String,
            #[n(1)]
            note: Option<String>,
        }
        record!(Before = "before", After = "after");
        let older = seal(b"", &Before { name: "n".to_owned() });
        assert_eq!(open::<After>(b"", &older).unwrap(), After { name: "n".to_owned(), note: None });
        let newer = seal(b"", &After { name: "n".to_owned(), note: Some("x".to_owned()) });
        assert_eq!(open::<Before>(b"", &newer).unwrap().name, "n");
    }
}
