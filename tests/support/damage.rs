//! Damage to what the store holds.

#![allow(dead_code, reason = "shared by programs of which none uses all of it")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

/// Flips a bit in the middle of the nth value of a table, as a bad block would, past the store's own checks.
pub fn damage(file: &Path, table: &str, nth: usize) {
    damage_nth(&Database::open(file).unwrap(), table, nth);
}

/// The same in a database that is open.
pub fn damage_nth(database: &Database, table: &str, nth: usize) {
    let mut before = 0..nth;
    damage_at(database, table, |_| before.next().is_none());
}

/// The same in the first value whose key is meant.
pub fn damage_at(database: &Database, table: &str, mut is_meant: impl FnMut(&[u8]) -> bool) {
    let table = TableDefinition::<&[u8], &[u8]>::new(table);
    let (key, mut value) = {
        let rows = database.begin_read().unwrap().open_table(table).unwrap();
        let mut rows = rows.iter().unwrap().map(Result::unwrap);
        let (key, value) = rows.find(|(key, _)| is_meant(key.value())).expect("there is one");
        (key.value().to_vec(), value.value().to_vec())
    };
    let middle = value.len() / 2;
    value[middle] ^= 1;
    let transaction = database.begin_write().unwrap();
    transaction.open_table(table).unwrap().insert(key.as_slice(), value.as_slice()).unwrap();
    transaction.commit().unwrap();
}

/// Gives a database that nobody uses a format that is not there yet, 23, as a newer version would leave it.
pub fn make_newer(file: &Path) {
    let database = Database::open(file).unwrap();
    let transaction = database.begin_write().unwrap();
    // A value: the version of its form with the mark that the checksum covers the key, CBOR, and the checksum.
    let mut value = vec![0x81, 23];
    let checksum = crc32fast::hash(&[&value[..], b"schema"].concat());
    value.extend(checksum.to_le_bytes());
    let meta = TableDefinition::<&[u8], &[u8]>::new("meta");
    transaction.open_table(meta).unwrap().insert(&b"schema"[..], value.as_slice()).unwrap();
    transaction.commit().unwrap();
}
