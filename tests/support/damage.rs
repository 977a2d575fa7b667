//! Damage to what the store holds.

#![allow(dead_code, reason = "shared by programs of which none uses all of it")]
#![allow(clippy::unwrap_used, reason = "tests")]

/// Flips a bit in the middle of the nth value of a table, as a bad block would, past the store's own checks.
pub fn damage(file: &std::path::Path, table: &str, nth: usize) {
    use redb::{ReadableDatabase, ReadableTable};
    let table = redb::TableDefinition::<&[u8], &[u8]>::new(table);
    let database = redb::Database::open(file).unwrap();
    let (key, mut value) = {
        let rows = database.begin_read().unwrap().open_table(table).unwrap();
        let (key, value) = rows.iter().unwrap().nth(nth).expect("there is one").unwrap();
        (key.value().to_vec(), value.value().to_vec())
    };
    let middle = value.len() / 2;
    value[middle] ^= 1;
    let transaction = database.begin_write().unwrap();
    transaction.open_table(table).unwrap().insert(key.as_slice(), value.as_slice()).unwrap();
    transaction.commit().unwrap();
}
